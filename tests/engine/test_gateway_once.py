"""Steps of a user's own process: each is carried out once and keeps its result, whatever dies in between."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_world import World, given_up, life, turns
from virtual_loop import run

from onefill.core import once as rules
from onefill.core.errors import (
    CallerError,
    InvalidField,
    RouteClosed,
    StepFailed,
    StepInDoubt,
    StepResultRefused,
    StepReused,
    UnknownVenue,
)
from onefill.core.once import Attempt
from onefill.engine.gateway import Gateway
from onefill.ports.ledger import StepRecord, StepTaken
from onefill.sync import SyncGateway

Make = Callable[..., World]


class Elsewhere:
    """Another system, which knows a repeat by its idempotency key, as any should."""

    def __init__(self) -> None:
        self.calls: list[Attempt] = []
        self.effects: dict[str, int] = {}

    async def __call__(self, attempt: Attempt) -> dict[str, Any]:
        self.calls.append(attempt)
        number = self.effects.setdefault(attempt.idempotency_key, len(self.effects) + 1)
        await asyncio.sleep(0)
        return {"number": number, "price": Decimal("1.10")}


RESULT = {"number": 1, "price": "1.10"}


def test_a_step_is_carried_out_once_and_keeps_its_result(world: World) -> None:
    """Later calls, and calls after a restart, get the first one's result and run nothing."""
    there = Elsewhere()

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await gateway.once("k", "book", there) == RESULT
            assert await gateway.once("k", "book", there) == RESULT
            other = await gateway.once("k", "tell", there)
            assert other["number"] == 2
        async with world.gateway() as gateway:
            assert await gateway.once("k", "book", there) == RESULT
            found = await gateway.steps("k")
        assert [(one.step, one.attempt) for one in found] == [("book", 1), ("tell", 1)]

    run(main)
    assert [one.number for one in there.calls] == [1, 1]
    kinds = [kind for (kind,) in world.rows("SELECT kind FROM journal WHERE kind LIKE 'step%' ORDER BY id")]
    assert kinds == ["step_begun", "step_done"] * 2


def test_calls_at_the_same_time_share_one_run(world: World) -> None:
    """Many callers, one run; one of them giving up ends it for nobody."""
    there, let_go = Elsewhere(), asyncio.Event()

    async def slow(attempt: Attempt) -> Any:
        await let_go.wait()
        return await there(attempt)

    async def main() -> None:
        async with world.gateway() as gateway:
            await given_up(gateway.once("k", "book", slow), 10)
            calls = [asyncio.ensure_future(gateway.once("k", "book", slow)) for _ in range(10)]
            await turns()
            let_go.set()
            assert await asyncio.gather(*calls) == [RESULT] * 10

    run(main)
    assert [one.number for one in there.calls] == [1]


@pytest.mark.parametrize("moment", range(8))
def test_a_process_that_dies_leaves_a_step_that_is_done_or_known_to_be_begun(make_world: Make, moment: int) -> None:
    """Whichever ledger call it dies at: one effect by its key, one result; a second attempt knows that it is one."""
    world, there, calls, results = make_world(), Elsewhere(), [0], list[Any]()

    def point(name: str) -> str | None:
        if name not in ("step", "commit") or not armed:
            return None
        calls[0] += 1
        return ("before", "after")[moment % 2] if calls[0] == moment // 2 + 1 else None

    armed, world.point = False, point

    async def work() -> None:
        nonlocal armed
        gateway = await world.start()
        armed = True
        results.append(await gateway.once("k", "book", there))
        armed = False
        await gateway.close()

    died = life(world, work)
    assert died is (moment < 6)
    armed = False
    if died:
        assert not life(world, work)
        assert there.calls[-1].begun_before is (len(there.calls) > 1 or moment == 3)
    assert results == [RESULT]
    assert list(there.effects.values()) == [1]


def test_a_step_in_doubt_is_not_repeated_unasked(world: World) -> None:
    """A step that was begun and never ended is refused with repeat=False, and goes on when that is lifted."""
    there = Elsewhere()

    async def fails(attempt: Attempt) -> Any:
        await there(attempt)
        raise ConnectionError("the line broke")

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(ConnectionError):
                await gateway.once("k", "pay", fails, repeat=False)
            with pytest.raises(StepInDoubt, match="begun 1 time and never ended"):
                await gateway.once("k", "pay", there, repeat=False)
            assert await gateway.once("k", "pay", there) == RESULT
            assert await gateway.once("k", "pay", there, repeat=False) == RESULT

    run(main)
    assert [one.number for one in there.calls] == [1, 2]


def test_other_arguments_are_refused_at_any_time(world: World) -> None:
    """The same step with other arguments is an error while it runs, while it is open and when it is done."""
    there, let_go = Elsewhere(), asyncio.Event()

    async def slow(attempt: Attempt) -> Any:
        await let_go.wait()
        if not attempt.begun_before:
            raise ConnectionError("the line broke")
        return await there(attempt)

    async def main() -> None:
        async with world.gateway() as gateway:
            first = asyncio.ensure_future(gateway.once("k", "book", slow, arguments={"to": "B", "lots": 2}))
            await turns()
            with pytest.raises(StepReused):
                await gateway.once("k", "book", slow, arguments={"to": "C", "lots": 2})
            let_go.set()
            with pytest.raises(ConnectionError):
                await first
            with pytest.raises(StepReused):
                await gateway.once("k", "book", slow)
            assert await gateway.once("k", "book", slow, arguments={"lots": 2, "to": "B"}) == RESULT
        async with world.gateway() as gateway:
            with pytest.raises(StepReused, match="begun with other arguments"):
                await gateway.once("k", "book", slow, arguments={"to": "B", "lots": 3})

    run(main)
    assert len(there.calls) == 1


def test_an_error_is_kept_only_where_that_was_asked(world: World) -> None:
    """Without keep_errors an error leaves the step open; with it, it is the outcome, also after a restart."""
    runs: list[int] = []

    async def refused(attempt: Attempt) -> Any:
        runs.append(attempt.number)
        raise PermissionError("account is closed")

    async def main() -> None:
        async with world.gateway() as gateway:
            for _ in range(2):
                with pytest.raises(PermissionError):
                    await gateway.once("k", "pay", refused)
            with pytest.raises(StepFailed, match="PermissionError: account is closed"):
                await gateway.once("k", "pay", refused, keep_errors=PermissionError)
        async with world.gateway() as gateway:
            with pytest.raises(StepFailed) as told:
                await gateway.once("k", "pay", refused)
        assert (told.value.kind, told.value.message) == ("PermissionError", "account is closed")

    run(main)
    assert runs == [1, 2, 3]


@pytest.mark.parametrize("result", [object(), float("nan"), {"a": [1.0, float("inf")]}, "x" * rules.MOST_RESULT_BYTES])
def test_a_result_that_cannot_be_kept_is_refused(world: World, result: object) -> None:
    """What is no JSON, or too large, leaves the step open: it is begun again, and can end."""

    async def odd(attempt: Attempt) -> Any:
        return "mended" if attempt.begun_before else result

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(StepResultRefused):
                await gateway.once("k", "book", odd)
            assert await gateway.once("k", "book", odd) == "mended"

    run(main)


def test_what_cannot_be_meant_is_refused_before_anything_is_begun(world: World) -> None:
    """Wrong names, arguments that are no JSON, an unknown route, a step that calls itself."""
    there = Elsewhere()

    async def main() -> None:
        async with world.gateway() as gateway:

            async def itself(_: Attempt) -> Any:
                return await gateway.once("k", "loop", itself)

            with pytest.raises(CallerError, match="calls itself"):
                await gateway.once("k", "loop", itself)
            for key, step, more in (("", "book", {}), ("k", "no step", {}), ("k", "book", {"arguments": object()})):
                with pytest.raises(InvalidField):
                    await gateway.once(key, step, there, **more)
            with pytest.raises(UnknownVenue):
                await gateway.once("k", "book", there, route="elsewhere")
            assert await gateway.once("k", "book", there, route="X", result_type=dict[str, Any]) == RESULT
            with pytest.raises(InvalidField, match="result_type"):
                await gateway.once("k", "book", there, result_type=list[int])

    run(main)
    assert len(there.calls) == 1


def test_closing_the_gateway_ends_a_step_and_leaves_it_open(world: World) -> None:
    """Whoever waits for it is told, and the next start carries it out again, knowing that it was begun."""
    there = Elsewhere()

    async def for_ever(_: Attempt) -> Any:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        gateway = await world.start()
        waiting = asyncio.ensure_future(gateway.once("k", "book", for_ever))
        await turns()
        await gateway.close()
        with pytest.raises(RouteClosed, match="may have had its effect"):
            await waiting
        with pytest.raises(RouteClosed):
            await gateway.once("k", "new", there)
        async with world.gateway() as again:
            assert await again.once("k", "book", there) == RESULT

    run(main)
    assert [one.number for one in there.calls] == [2]


def test_who_lost_the_route_gets_the_result_of_who_has_it(world: World) -> None:
    """ONE-WRITER: a process that was overtaken while its step ran keeps nothing, and returns the result that stands."""
    late, let_go = Elsewhere(), asyncio.Event()

    async def slow(attempt: Attempt) -> Any:
        await let_go.wait()
        return {"mine": attempt.number}

    async def main() -> None:
        first = await world.start()
        waiting = asyncio.ensure_future(first.once("k", "book", slow))
        dropped = asyncio.ensure_future(first.once("k", "other", slow))
        await turns()
        second = Gateway(world.ledger, {"X": world.connection()}, clock=world.clock, holder="second")
        await second.start()
        assert await second.once("k", "book", late) == RESULT
        let_go.set()
        assert await waiting == RESULT
        with pytest.raises(Exception, match="another owner took the route"):
            await dropped
        assert late.calls[0].begun_before
        await second.close()
        await first.close()

    run(main)


@pytest.mark.parametrize("word", ["begun", "done"])
def test_what_the_ledger_says_of_a_step_is_what_counts(world: World, word: str) -> None:
    """Whoever comes second begins the next attempt, or gets the result that is kept."""
    there = Elsewhere()
    theirs = StepRecord(key="k", step="book", attempt=1, begun_at_us=1)
    done = msgspec.structs.replace(theirs, result=b'{"result":"theirs"}', done_at_us=2)
    told: list[str] = []

    def spoil(change: Any) -> Any:
        if change.step is None or told or (change.step.result is None) is (word == "done"):
            return None
        told.append(word)
        return StepTaken(theirs if word == "begun" else done)

    async def main() -> None:
        async with world.gateway() as gateway:
            world.ledger.spoil = spoil
            expected = RESULT if word == "begun" else "theirs"
            assert await gateway.once("k", "book", there) == expected
        assert [one.number for one in there.calls] == [2 if word == "begun" else 1]

    run(main)
    assert told == [word]


def test_plain_functions_do_not_hold_up_the_loop(world: World) -> None:
    """Under ``await`` a plain function runs on another thread; behind the plain gateway, on the caller's own."""
    threads: list[int] = []

    def plain(attempt: Attempt) -> int:
        threads.append(threading.get_ident())
        return attempt.number

    async def main() -> int:
        async with world.gateway() as gateway:
            assert await gateway.once("k", "async", plain) == 1
            return threading.get_ident()

    assert asyncio.run(main()) != threads.pop()
    with SyncGateway(world.gateway()) as gateway:
        assert gateway.once("k", "plain", plain) == gateway.once("k", "plain", plain) == 1
        with pytest.raises(ZeroDivisionError):
            gateway.once("k", "fails", lambda attempt: attempt.number // 0)
        assert gateway.once("k", "fails", plain) == 2
        assert [one.step for one in gateway.steps("k")] == ["async", "plain", "fails"]
    assert threads == [threading.get_ident()] * 2
    with pytest.raises(RouteClosed):
        gateway.once("k", "plain", plain)


def test_threads_that_want_the_same_step_share_one_run(world: World) -> None:
    """Behind the plain gateway too; a step that calls itself there is refused instead of waiting for ever."""
    began, let_go, runs = threading.Event(), threading.Event(), list[int]()

    def slow(attempt: Attempt) -> int:
        runs.append(attempt.number)
        began.set()
        assert let_go.wait(30)
        return 7

    with SyncGateway(world.gateway()) as gateway, ThreadPoolExecutor(4) as pool:
        first = pool.submit(gateway.once, "k", "book", slow)
        assert began.wait(30)
        others = [pool.submit(gateway.once, "k", "book", slow) for _ in range(3)]
        let_go.set()
        assert [one.result(30) for one in (first, *others)] == [7] * 4
        with pytest.raises(CallerError, match="calls itself"):
            gateway.once("k", "loop", lambda _: gateway.once("k", "loop", slow))
        assert gateway.once("k", "outer", lambda _: gateway.once("k", "inner", lambda _: 1)) == 1
    assert runs == [1]


def test_slow_plain_functions_take_no_thread_that_others_need(world: World) -> None:
    """As many as there are hang, and the loop's own threads, by which addresses are looked up, are still free."""
    let_go = threading.Event()

    async def main() -> None:
        async with world.gateway() as gateway:
            hanging = [asyncio.ensure_future(gateway.once("k", f"s{n}", lambda _: let_go.wait(30))) for n in range(40)]
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), 10) == 5
            let_go.set()
            assert await asyncio.gather(*hanging) == [True] * 40

    asyncio.run(main())


def test_a_step_has_one_key_of_its_own() -> None:
    """The idempotency key depends on route, key and step, is the same for ever, and reads as a UUID."""
    made = {
        rules.idempotency_key(*triple)
        for triple in [("r", "k", "s"), ("r", "ks", ""), ("rk", "", "s"), ("r", "k", "t")]
    }
    assert len(made) == 4
    assert rules.idempotency_key("X", "k", "book") == "2f1d6ff0-320b-8a14-b63e-c9d2b57d9dd9"
    assert rules.arguments_digest(None) == ""
    assert rules.arguments_digest({"a": 1, "b": Decimal("1.0")}) == rules.arguments_digest(
        {"b": Decimal("1.0"), "a": 1}
    )
    assert rules.arguments_digest({"a": 1}) != rules.arguments_digest({"a": 2})
    kept = rules.kept_result({"π": Decimal("1.10")}, "k", "s")
    assert msgspec.json.decode(kept) == {"result": {"π": "1.10"}}
