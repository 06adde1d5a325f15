"""The loop on which the processes of a simulated world stand still and have clocks of their own."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from onefill.sim.world_loop import SkewedLoop, WorldLoop, current


class _Process:
    def __init__(self, rate: float = 1.0, origin_s: float = 0.0) -> None:
        self.rate = rate
        self.origin_s = origin_s
        self.suspended_s = 0.0


def _inside(loop: WorldLoop, process: _Process, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    context = copy_context()
    context.run(current.set, process)
    return loop.create_task(work, context=context)


def _run(loop: WorldLoop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work())
    assert loop.complaints == []


def test_a_process_that_stands_still_does_nothing_until_it_goes_on() -> None:
    """What came due meanwhile happens when it goes on, in its order; another process is not held up."""
    loop = WorldLoop()
    seen: list[tuple[str, float]] = []

    async def ticks(name: str) -> None:
        for _ in range(4):
            await asyncio.sleep(1.0)
            seen.append((name, loop.time()))

    async def main() -> None:
        still, other = _Process(), _Process()
        tasks = [_inside(loop, still, ticks("still")), _inside(loop, other, ticks("other"))]
        loop.after(1.5, loop.stop_process, still)
        loop.after(3.25, loop.let_go_on, still)
        await asyncio.wait(tasks)

    _run(loop, main)
    assert [at for name, at in seen if name == "other"] == [1.0, 2.0, 3.0, 4.0]
    assert [at for name, at in seen if name == "still"] == [1.0, 3.25, 4.25, 5.25]


def test_clocks_of_processes_run_at_their_own_speed() -> None:
    """Each process counts and waits by its own clock; the world by the true one."""
    loop = SkewedLoop()
    woke: dict[float, float] = {}

    async def waits(process: _Process) -> None:
        began_s = loop.time()
        await asyncio.sleep(10.0)
        assert abs(loop.time() - began_s - 10.0) < 1e-6
        woke[process.rate] = loop.now_s

    async def main() -> None:
        every = [_Process(0.95, 5_000.0), _Process(1.0, 7.0), _Process(1.05, 90_000.0)]
        await asyncio.wait([_inside(loop, one, waits(one)) for one in every])
        assert loop.time() == loop.now_s

    _run(loop, main)
    assert {rate: round(at_s, 3) for rate, at_s in woke.items()} == {0.95: 10.526, 1.0: 10.0, 1.05: 9.524}


def test_a_suspended_process_finds_its_clock_where_it_was() -> None:
    """Of a suspended host the clock stands still, and every timer goes off by so much later; what was ready happens at once."""
    loop = SkewedLoop()
    seen: list[tuple[str, float, float]] = []

    async def waits(name: str, for_s: float) -> None:
        await asyncio.sleep(for_s)
        seen.append((name, round(loop.time(), 6), round(loop.now_s, 6)))

    async def main() -> None:
        process = _Process(1.0, 100.0)
        tasks = [_inside(loop, process, waits("due meanwhile", 2.0)), _inside(loop, process, waits("later", 5.0))]
        loop.after(1.0, loop.stop_process, process)
        loop.after(4.0, lambda: loop.let_go_on(process, suspended_s=3.0))
        await asyncio.wait(tasks)

    _run(loop, main)
    assert seen == [("due meanwhile", 102.0, 5.0), ("later", 105.0, 8.0)]
