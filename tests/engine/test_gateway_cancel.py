"""Cancelling: it happens once, says what is true, and is never lost (promise CANCEL-QUIET)."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from gateway_world import WHO, World, given_up, intent, turns, until
from scripted_venue import (
    fail,
    held,
    lose_cancel_reply,
    lose_reply,
    lose_request,
    reply,
    take_cancel,
)
from virtual_loop import run

from onefill.core.answers import CancelResult
from onefill.core.capabilities import UniqueScope
from onefill.core.errors import OrderUncertain, UnknownKey
from onefill.core.lifecycle import Status
from onefill.core.messages import CancelRejected, NotSent, Throttled
from onefill.engine.gateway import Gateway
from onefill.ports.ledger import Stale

Make = Callable[..., World]


def test_a_cancel_happens_once_and_a_repeat_changes_nothing(world: World) -> None:
    """The first cancel ends the order and says so; every repeat says that it had ended, without asking the venue."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            first = await gateway.cancel("k", **WHO)
            assert (first.result, first.changed) == (CancelResult.CANCELED, True)
            again = await gateway.cancel("k", **WHO)
            assert (again.result, again.changed) == (CancelResult.CANCELED, False)
        async with world.gateway() as gateway:
            assert not (await gateway.cancel("k", **WHO)).changed
        assert world.venue.kinds() == ["submit", "cancel"]

    run(main)


def test_cancels_at_once_make_one_request(world: World) -> None:
    """Eleven cancels at the same time, with operation keys and without, send one request and all learn the same."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            answers = await asyncio.gather(
                *(gateway.cancel("k", **WHO, operation_key=None if n % 3 else f"op{n % 2}") for n in range(11))
            )
            assert {answer.result for answer in answers} == {CancelResult.CANCELED}
        assert world.venue.count("cancel") == 1

    run(main)


@pytest.mark.parametrize("way", ["stream", "refusal with the order", "refusal without it"])
def test_a_cancel_that_crosses_a_fill_reports_the_fill(world: World, way: str) -> None:
    """A cancel that comes too late says FILLED, by whatever way that becomes known."""

    async def crossing(venue: Any, request: Any) -> Any:
        world.offer(10, 100)
        if way == "stream":
            raise TimeoutError
        answer = await take_cancel(venue, request)
        return answer if way == "refusal with the order" else CancelRejected("unknown order")

    world.venue.cancels = [crossing]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            answer = await gateway.cancel("k", **WHO)
            assert (answer.result, answer.changed, answer.cum_quantity) == (CancelResult.FILLED, False, "10")
            assert (await gateway.order("k", **WHO)).anomaly is None
        assert world.venue.count("cancel") == 1

    run(main)


def test_a_cancel_of_a_filled_order_reports_the_fill(world: World) -> None:
    """No request leaves for an order that has filled."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
            answer = await gateway.cancel("k", **WHO)
            assert (answer.result, answer.changed) == (CancelResult.FILLED, False)
        assert not world.venue.count("cancel")

    run(main)


def test_a_partial_fill_is_told_with_the_cancel(world: World) -> None:
    """What traded before the cancel took effect is in its answer, once the executions are in."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await gateway.catch_up()
            answer = await gateway.cancel("k", **WHO)
            assert (answer.result, answer.changed, answer.cum_quantity) == (CancelResult.CANCELED, True, "4")

    run(main)


@pytest.mark.parametrize("why", [NotSent("refused"), Throttled("slow", 3600.0)])
def test_an_order_that_never_left_is_withdrawn_at_once(world: World, why: Any) -> None:
    """A cancel does not wait for the pause between attempts, and the order is not sent after it."""
    world.venue.submits = [reply(why)] * 99

    async def main() -> None:
        async with world.gateway() as gateway:
            task = asyncio.ensure_future(gateway.submit(intent(), key="k", time_to_live_s=7200, wait_s=7200))
            await until(lambda: world.venue.count("submit") == (1 if isinstance(why, Throttled) else 8))
            await turns()
            sent, began = world.venue.count("submit"), asyncio.get_running_loop().time()
            answer = await gateway.cancel("k", **WHO)
            assert (answer.result, answer.changed) == (CancelResult.NEVER_SENT, True)
            assert asyncio.get_running_loop().time() == began
            assert (await task).status is Status.CANCELED_UNSENT
            await asyncio.sleep(100)
        assert world.venue.count("submit") == sent
        assert not world.venue.orders()

    run(main)


def test_a_cancel_that_comes_while_its_order_is_being_claimed_waits_for_it(make_world: Make) -> None:
    """However close a cancel follows its submit, the order ends cancelled and nothing is sent after the cancel."""
    for moment in range(8):
        world = make_world()

        async def main(world: World = world, moment: int = moment) -> None:
            async with world.gateway() as gateway:
                submit = asyncio.ensure_future(gateway.submit(intent(), key="k"))
                await turns(moment)
                with contextlib.suppress(UnknownKey):
                    assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
                assert (await submit).accepted
                if moment:
                    assert world.venue.kinds() == ["submit", "cancel"]

        run(main)


@pytest.mark.parametrize("scope", list(UniqueScope))
@pytest.mark.parametrize("fate", [lose_reply, lose_request])
def test_a_cancel_of_an_uncertain_order_is_remembered(make_world: Make, scope: UniqueScope, fate: Any) -> None:
    """A cancel wanted while nobody knows whether the order is there: found, it is cancelled; proven absent, withdrawn."""
    world = make_world(unique_scope=scope)
    world.venue.muted = True
    world.venue.submits = [fate]
    world.venue.lookups = [fail(OSError())] * 4

    async def main() -> None:
        async with world.gateway() as gateway:
            task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await until(lambda: world.venue.count("lookup") == 2)
            answer = await gateway.cancel("k", **WHO)
            found = fate is lose_reply
            assert answer.result is (CancelResult.CANCELED if found else CancelResult.NEVER_SENT)
            assert (await task).status in ({Status.NEW, Status.CANCELED} if found else {Status.CANCELED_UNSENT})
        assert world.venue.count("submit") == 1
        assert [str(order.status) for order in world.venue.orders()] == (["canceled"] if found else [])

    run(main)


def test_a_cancel_wanted_before_a_crash_is_done_after_it(world: World) -> None:
    """The wish is durable: killed before the request, the next process sends it, and answers the operation key."""

    async def never(_venue: object, _request: object) -> None:
        await asyncio.get_running_loop().create_future()

    world.venue.cancels = [never]

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(), key="k")
        task = asyncio.ensure_future(gateway.cancel("k", **WHO, operation_key="op"))
        await until(lambda: world.venue.count("cancel"))
        task.cancel()
        await world.kill(gateway)
        async with world.gateway() as gateway:
            answer = await gateway.cancel("k", **WHO, operation_key="op")
            assert (answer.result, answer.changed) == (CancelResult.CANCELED, True)
        assert [str(order.status) for order in world.venue.orders()] == ["canceled"]

    run(main)


def test_a_lost_reply_to_a_cancel_is_followed_by_a_question(world: World) -> None:
    """After a cancel without a reply the venue is asked first, and the answer is what it shows."""
    world.venue.cancels = [lose_cancel_reply]
    world.venue.muted = True

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
        assert world.venue.kinds() == ["submit", "cancel", "lookup"]

    run(main)


def test_a_cancel_that_the_venue_keeps_refusing_is_told(world: World) -> None:
    """A live order whose cancel is refused again and again: the caller is told REFUSED; a later cancel tries again."""
    world.venue.cancels = [reply(CancelRejected("not now"))] * 5

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            refused = await gateway.cancel_raw("k", **WHO, operation_key="op")
            assert b'"refused"' in refused
            assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
            assert await gateway.cancel_raw("k", **WHO, operation_key="op") == refused

    run(main)


def test_an_operation_key_replays_the_same_bytes(world: World) -> None:
    """Under one operation key every repeat gets the first answer's bytes: at once, later, after more cancels and restarts."""

    async def main() -> None:
        async with world.gateway(recent_orders=0) as gateway:
            await gateway.submit(intent(), key="k")
            first, second = await asyncio.gather(
                gateway.cancel_raw("k", **WHO, operation_key="op"), gateway.cancel_raw("k", **WHO, operation_key="op")
            )
            late = await gateway.cancel_raw("k", **WHO, operation_key="late")
            assert first == second != late
            assert b'"changed":true' in first
            assert b'"changed":false' in late
            await gateway.cancel("k", **WHO)
        async with world.gateway(recent_orders=0) as gateway:
            lates = await asyncio.gather(*(gateway.cancel_raw("k", **WHO, operation_key="later") for _ in range(5)))
            assert len(set(lates)) == 1
            assert await gateway.cancel_raw("k", **WHO, operation_key="op") == first
            assert await gateway.cancel_raw("k", **WHO, operation_key="late") == late
        assert world.venue.count("cancel") == 1

    run(main)


def test_an_unknown_key_is_an_error_or_a_lasting_answer(world: World) -> None:
    """Without an operation key an unknown key raises; with one the answer sticks, even once the order exists."""

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(UnknownKey):
                await gateway.cancel("k", **WHO)
            answers = await asyncio.gather(*(gateway.cancel_raw("k", **WHO, operation_key="op") for _ in range(3)))
            assert len(set(answers)) == 1
            assert b"unknown_key" in answers[0]
            await gateway.submit(intent(), key="k")
            assert await gateway.cancel_raw("k", **WHO, operation_key="op") == answers[0]
            assert (await gateway.cancel("k", **WHO, operation_key="op2")).result is CancelResult.CANCELED
        async with world.gateway() as gateway:
            assert await gateway.cancel_raw("k", **WHO, operation_key="op") == answers[0]

    run(main)


@pytest.mark.parametrize("operation_key", [None, "op"])
def test_a_caller_who_gives_up_a_cancel_does_not_take_it_back(make_world: Make, operation_key: str | None) -> None:
    """However early a caller's own time-out comes, a cancel that was recorded is carried out, and the next caller joins it."""
    recorded = 0
    for moment in range(12):
        world = make_world()

        async def main(world: World = world, moment: int = moment) -> None:
            nonlocal recorded
            async with world.gateway() as gateway:
                await gateway.submit(intent(), key="k")
                await given_up(gateway.cancel("k", **WHO, operation_key=operation_key), moment)
                if any(change.kind == "cancel_recorded" for change in world.ledger.changes):
                    recorded += 1
                    await asyncio.sleep(1)
                    assert [str(order.status) for order in world.venue.orders()] == ["canceled"]
                answer = await asyncio.wait_for(gateway.cancel("k", **WHO, operation_key=operation_key), 5)
                assert answer.result is CancelResult.CANCELED
            assert world.venue.count("cancel") == 1

        run(main)
    assert 2 < recorded < 12


@pytest.mark.parametrize("operation_key", [None, "op"])
def test_nobody_is_told_an_end_that_the_ledger_has_refused(world: World, operation_key: str | None) -> None:
    """A cancel that comes while a refused change is in memory reads the order again and tells what is recorded."""
    told: list[Any] = []

    async def ask(gateway: Gateway) -> None:
        answer = await gateway.cancel("k", **WHO, operation_key=operation_key)
        told.append((answer.result, world.rows("SELECT status FROM intent")))

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            asking: list[Any] = []
            real = world.ledger.ledger.by_key

            async def slowly(*arguments: Any) -> Any:
                await turns()  # as from a thread: others run meanwhile
                return await real(*arguments)

            world.ledger.ledger.by_key = slowly  # type: ignore[method-assign]

            def spoil(change: Any) -> Any:
                if change.execution is not None and not asking:
                    asking.append(asyncio.ensure_future(ask(gateway)))
                    return Stale("made up")
                return None

            world.ledger.spoil = spoil
            world.venue.cancels = [held(asyncio.Event())]
            world.offer(10, 100)
            await until(lambda: asking)
            await asking[0]
        assert told == [(CancelResult.FILLED, [("filled",)])]

    run(main)


def test_a_reply_to_a_cancel_that_the_ledger_refuses_is_not_lost(world: World) -> None:
    """If the ledger refuses the outcome of a cancel because of other news, it is judged anew and recorded."""
    spoilt = []

    def spoil(change: Any) -> Any:
        if change.kind == "cancel_settled" and len(spoilt) < 3:
            spoilt.append(change)
            return Stale("made up")
        return None

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.venue.muted = True
            world.ledger.spoil = spoil
            assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
        assert len(spoilt) == 3
        assert world.venue.count("cancel") == 1

    run(main)


def test_a_cancel_waits_as_long_as_it_is_told(world: World) -> None:
    """A cancel whose fate stays unknown raises OrderUncertain after ``wait_s``; a repeat joins it."""
    gate = asyncio.Event()
    world.venue.cancels = [held(gate, take_cancel)]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            for _ in range(3):
                with pytest.raises(OrderUncertain):
                    await gateway.cancel("k", **WHO, wait_s=0.5)
            (entry,) = gateway._routes["X"].entries.values()
            assert not entry.cancel_waiters
            gate.set()
            assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
        assert world.venue.count("cancel") == 1

    run(main)
