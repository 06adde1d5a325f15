"""Many time limits for the price of few timers."""

import asyncio

import pytest
from virtual_loop import NothingLeft, run

from onefill.engine.deadlines import TICK_S, Deadlines


@pytest.mark.parametrize("after_s", [0.0, 1e-9, TICK_S - 1e-9, TICK_S, TICK_S + 1e-9, 0.123, 1.0, 100.0, 1e6])
def test_a_limit_passes_on_time_or_a_tick_late(after_s: float) -> None:
    """A limit never passes early, and at most a tick late."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadlines, passed = Deadlines(), asyncio.Event()
        began = loop.time()
        deadlines.add(after_s, passed.set)
        await passed.wait()
        assert after_s <= loop.time() - began + 2e-6 <= after_s + 2 * TICK_S

    run(main)


def test_a_removed_limit_never_passes() -> None:
    """Removing works before, after and twice; others of the same tick are not touched."""

    async def main() -> None:
        deadlines, passed = Deadlines(), []
        tokens = [deadlines.add(1.0, lambda n=n: passed.append(n)) for n in range(3)]  # type: ignore[misc]
        deadlines.remove(tokens[1])
        deadlines.remove(tokens[1])
        await asyncio.sleep(2)
        deadlines.remove(tokens[0])
        assert passed == [0, 2]

    run(main)


def test_far_limits_that_were_removed_leave_nothing() -> None:
    """Waits of years, given up at once, keep no timer."""

    async def main() -> None:
        deadlines = Deadlines()
        for _ in range(100):
            await asyncio.sleep(TICK_S)
            deadlines.remove(deadlines.add(1e8, lambda: None))
        assert not deadlines._timers
        assert not deadlines._ticks

    run(main)


def test_bound_tells_its_own_limit_from_a_cancellation() -> None:
    """Past the limit it is TimeoutError; a task that is cancelled is cancelled, also at the same moment."""

    async def main() -> None:
        deadlines = Deadlines()
        with pytest.raises(TimeoutError):
            await deadlines.bound(asyncio.sleep(10), 1.0)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        for moment in (0.5, 1.0):
            bounded = asyncio.ensure_future(deadlines.bound(asyncio.sleep(10), 1.0))
            await asyncio.sleep(0)
            deadlines.add(moment, bounded.cancel)  # at 1.0: in the same turn of the loop as the limit
            with pytest.raises(asyncio.CancelledError):
                await bounded
        assert await deadlines.bound(asyncio.sleep(0.5, "done"), 1.0) == "done"

    run(main)


def test_bound_survives_work_that_takes_the_limit_for_its_own() -> None:
    """Work that swallows its cancellation, or answers it with an error, leaves the task ready for the next limit."""

    async def swallow() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "late"
        return ""

    async def turn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise OSError from None
        return ""

    async def main() -> None:
        deadlines = Deadlines()
        task = asyncio.current_task()
        assert task is not None
        assert await deadlines.bound(swallow(), 1.0) == "late"
        assert not task.cancelling()
        with pytest.raises(OSError):  # noqa: PT011 - the kind is the fact
            await deadlines.bound(turn(), 1.0)
        assert not task.cancelling()
        with pytest.raises(TimeoutError):
            await deadlines.bound(asyncio.sleep(10), 1.0)

    run(main)


def test_the_virtual_loop_takes_no_time_and_notices_a_hang() -> None:
    """A thousand days pass at once; somebody who waits for nothing is found, as are tasks and exceptions left behind."""

    async def long() -> float:
        await asyncio.sleep(86_400_000)
        return asyncio.get_running_loop().time()

    assert run(long) == 86_400_000

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NothingLeft):
        run(hang)

    async def leave() -> None:
        asyncio.get_running_loop().call_soon([].pop)

    with pytest.raises(AssertionError):
        run(leave)

    async def forget() -> None:
        asyncio.ensure_future(asyncio.sleep(5)).set_name("forgotten")

    with pytest.raises(AssertionError, match="forgotten"):
        run(forget)
