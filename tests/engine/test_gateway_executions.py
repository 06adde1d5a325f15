"""Executions: each moves the position once, by whatever way and however often it comes (promise FILL-ONCE)."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_world import WHO, World, intent, quantity, turns, until
from scripted_venue import ScriptedVenue, follow, given, held, lose_reply
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.errors import OnefillError, RouteClosed, VenueError
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.book import rebuild
from onefill.ports.ledger import ExecutionKnown, Stale

Make = Callable[..., World]
_but = msgspec.structs.replace


async def from_the_start(venue: ScriptedVenue, _after: int) -> AsyncIterator[ExecutionReport]:
    """A stream that takes no notice of where its reader stands."""
    async for report in follow(venue, 0):
        yield report


def executions(world: World) -> list[Any]:
    """Return (execution id, order) of what the ledger holds, in order."""
    return world.rows("SELECT execution_id, intent_id FROM execution ORDER BY id")


@pytest.mark.parametrize("scope", list(ExecutionIdScope))
def test_a_stream_that_repeats_itself_moves_nothing(make_world: Make, scope: ExecutionIdScope) -> None:
    """The same reports again, in the same process and after a restart, move neither position nor ledger."""
    world = make_world(execution_id_scope=scope)
    world.venue.streams = [from_the_start] * 9

    async def main() -> None:
        for _ in range(3):
            async with world.gateway() as gateway:
                for key in ("k", "l"):
                    await gateway.submit(intent(), key=key)
                if not executions(world):
                    for size in (3, 4, 13):
                        world.offer(size, 100)
                await gateway.catch_up()
                assert quantity(gateway) == 20
                for key in ("k", "l"):
                    assert (await gateway.order(key, **WHO)).status is Status.FILLED
        assert len(executions(world)) == 4

    run(main)


@pytest.mark.parametrize("evicted", [0, 1000])
def test_a_cursor_that_fell_behind_moves_nothing_twice(world: World, evicted: int) -> None:
    """A process that starts from an old cursor reads old executions again, of any order, and drops them."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.submit(intent(price=99), key="l")
            world.offer(14, 99)
            await gateway.catch_up()
            assert quantity(gateway) == 14
        writer = await world.store()
        writer.ledger._file.connection.execute("UPDATE cursor SET position = 0")
        await writer.close()
        async with world.gateway(recent_orders=evicted) as gateway:
            await gateway.catch_up()
            assert quantity(gateway) == 14
            world.offer(2, 99)
            await gateway.catch_up()
            assert quantity(gateway) == 16
            assert gateway.failure() is None
        assert len(executions(world)) == 3

    run(main)


def test_one_execution_at_two_places_of_the_stream_counts_once(world: World) -> None:
    """The same execution id under two positions is one execution, also across a restart and a full cache."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(3, 100)
            reports = world.exchange.executions("A", 0)
        new, trade = reports
        twice = [new, trade, _but(trade, position=3), _but(trade, position=4)]
        world.venue.streams = [given(*twice)]
        world.venue.muted = True
        for start in (2, 0):
            writer = await world.store()
            writer.ledger._file.connection.execute("UPDATE cursor SET position = 0")
            await writer.close()
            world.venue.streams = [given(*twice[start - 2 :] if start else twice)]
            async with world.gateway() as gateway:
                await asyncio.sleep(5)
                assert quantity(gateway) == 3
        assert len(executions(world)) == 1

    run(main)


def test_fills_before_the_acknowledgement_count_and_answer(world: World) -> None:
    """A fill that overtakes the reply answers the submit; the reply adds nothing."""
    gate = asyncio.Event()

    async def landed_but_silent(venue: Any, request: Any) -> Any:
        answer = venue.exchange.submit(request, venue.now_us())
        await gate.wait()
        return answer

    world.venue.submits = [landed_but_silent]

    async def main() -> None:
        async with world.gateway() as gateway:
            task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await until(world.venue.orders)
            world.offer(10, 100)
            answer = await task
            assert answer.accepted
            gate.set()
            await gateway.catch_up()
            assert quantity(gateway) == 10
            assert (await gateway.order("k", **WHO)).status is Status.FILLED
            assert await gateway.submit(intent(), key="k") == answer

    run(main)


def test_a_fill_after_the_end_counts_and_keeps_the_end(world: World) -> None:
    """A trade that is reported after the cancel still moves the position."""

    async def main() -> None:
        async with world.gateway(recent_orders=0) as gateway:
            await gateway.submit(intent(), key="k")
            world.venue.muted = True
            world.offer(4, 100)
            answer = await gateway.cancel("k", **WHO)
            assert answer.result == "canceled"
            assert not (await gateway.order("k", **WHO)).closed  # the venue counted more than was taken in
            world.venue.unmute()
            await gateway.catch_up()
            assert quantity(gateway) == 4
            order = await gateway.order("k", **WHO)
            assert (order.status, order.closed) == (Status.CANCELED, True)

    run(main)


def test_executions_of_strangers_are_kept_apart(world: World) -> None:
    """What nobody here sent is recorded once, moves no position, and does not stop what comes behind it."""

    async def main() -> None:
        for _ in range(2):
            async with world.gateway() as gateway:
                if not world.venue.orders():
                    world.exchange.submit(
                        SubmitRequest(
                            client_order_id="byhand",
                            account="A",
                            instrument="ACME",
                            side=Side.BUY,
                            quantity=Decimal(7),
                            order_type=OrderType.LIMIT,
                            price=Decimal(100),
                            time_in_force=TimeInForce.GTC,
                            expires_at_us=None,
                        ),
                        world.clock.now_us(),
                    )
                    world.offer(7, 100)
                await gateway.submit(intent(), key="k")
                if len(executions(world)) < 2:
                    world.offer(1, 100)
                await gateway.catch_up()
                assert quantity(gateway) == 1
                assert gateway.failure() is None
            writer = await world.store()
            writer.ledger._file.connection.execute("UPDATE cursor SET position = 0")
            await writer.close()
        assert [row[1] is None for row in executions(world)] == [True, False]

    run(main)


def test_the_position_is_what_the_venue_says_it_is(world: World) -> None:
    """After many orders, fills, cancels and restarts the position equals the venue's executed quantity, and the log's fold."""
    chance = random.Random(7)

    async def main() -> None:
        for day in range(6):
            async with world.gateway(recent_orders=chance.choice([0, 3])) as gateway:
                for n in range(12):
                    side = chance.choice(["buy", "sell"])
                    price = chance.randint(98, 102)
                    world.venue.submits = [chance.choice([lose_reply, held(_set(), lose_reply)])]
                    await gateway.submit(
                        intent(side=side, price=price, quantity=chance.randint(1, 9)), key=f"{day}-{n}"
                    )
                    world.offer(chance.randint(1, 9), chance.randint(98, 102))
                    world.offer(chance.randint(1, 9), chance.randint(98, 102), side="buy")
                    if chance.random() < 0.3:
                        await gateway.cancel(f"{day}-{n}", **WHO)
                await gateway.catch_up()
                signed = sum(o.cum_quantity if o.side == "buy" else -o.cum_quantity for o in world.venue.orders())
                assert quantity(gateway) == signed
                assert [p.quantity for p in await rebuild(world.ledger, "X")] == [quantity(gateway)]
                assert world.exchange.counts().trades > 5 * day

    run(main)


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@pytest.mark.parametrize("known", [True, False])
def test_a_refused_report_holds_the_cursor_back_and_is_read_again(world: World, known: bool) -> None:
    """When the ledger refuses a report, the cursor stays before it, although later ones were under way and none follows."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.catch_up()
            before = world.rows("SELECT position FROM cursor")
            refused: list[Any] = []

            def spoil(change: Any) -> Any:
                if change.execution is not None and not refused:
                    refused.append(change)
                    return ExecutionKnown("?") if known else Stale("made up")
                if refused and len(refused) < 3 and change.cursor is not None:
                    # What was handed in behind it is refused by the real ledger: its cursor does not follow.
                    refused.append(change)
                    assert world.rows("SELECT position FROM cursor") == before
                return None

            world.ledger.spoil = spoil
            for size in (1, 2, 3):
                world.offer(size, 100)
            await until(lambda: refused)
            world.ledger.spoil = lambda _: None
            await gateway.catch_up()
            assert quantity(gateway) == (5 if known else 6)
            assert gateway.failure() is None

    run(main)


BREAKS: dict[str, Any] = {
    "ends": given(),
    "raises OSError": given(error=OSError("reset")),
    "raises VenueError": given(error=VenueError("reset")),
    "raises something of its own": given(error=ValueError("bad frame")),
    "is cancelled inside": given(error=asyncio.CancelledError()),
}


@pytest.mark.parametrize("how", [*BREAKS, "raises at the call"])
def test_a_stream_that_breaks_is_followed_again(world: World, how: str) -> None:
    """However the stream ends, it is opened again from where it was, and the route stays open."""

    def at_the_call(_venue: object, _after: int) -> Any:
        raise VenueError("no connection")

    world.venue.streams = [BREAKS.get(how, at_the_call)] * 3

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
            assert quantity(gateway) == 10
            assert gateway.failure() is None
            assert gateway.counts()["X"].stream_reconnects == 3

    run(main)


def test_a_stream_that_skips_a_report_is_read_again(world: World) -> None:
    """A gap in the positions is a missing report: nothing behind it is taken in before it has come."""
    skipped = []

    async def skipping(venue: ScriptedVenue, after: int) -> AsyncIterator[ExecutionReport]:
        async for report in follow(venue, after):
            if report.kind is ExecutionKind.TRADE and not skipped:
                skipped.append(report)
            else:
                yield report

    world.venue.streams = [skipping]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.catch_up()
            world.offer(3, 100)
            world.offer(4, 100)
            await gateway.catch_up()
            assert skipped
            assert quantity(gateway) == 7

    run(main)


def test_a_defect_in_taking_in_closes_the_route(world: World) -> None:
    """A report that cannot be judged closes the route instead of being read over and over; nobody waits for ever."""

    async def nonsense(venue: ScriptedVenue, after: int) -> AsyncIterator[ExecutionReport]:
        async for report in follow(venue, after):
            yield _but(report, cum_quantity=Decimal("sNaN")) if report.kind is ExecutionKind.TRADE else report

    world.venue.streams = [nonsense]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            await turns()
            await asyncio.sleep(1)
            assert gateway.failure() is not None
            with pytest.raises(RouteClosed):
                await gateway.submit(intent(), key="l")
            with pytest.raises(RouteClosed):
                await gateway.catch_up()
        async with world.gateway() as gateway:
            await gateway.catch_up()
            assert quantity(gateway) == 10

    run(main)


def test_catch_up_says_so_when_the_stream_stands_still(world: World) -> None:
    """``catch_up`` neither returns early nor waits for ever while the stream delivers nothing."""
    world.venue.muted = True

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            with pytest.raises(TimeoutError):
                await gateway.catch_up()
            waiting = asyncio.ensure_future(gateway.catch_up())
            await asyncio.sleep(1)
            world.venue.unmute()
            await waiting

    run(main)


def test_catch_up_ends_with_the_gateway(world: World) -> None:
    """A close wakes whoever waits in ``catch_up``."""
    world.venue.muted = True

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(), key="k")
        waiting = asyncio.ensure_future(gateway.catch_up())
        await asyncio.sleep(1)
        await gateway.close()
        with pytest.raises(OnefillError):
            await waiting

    run(main)


def test_catch_up_waits_for_what_was_refused(world: World) -> None:
    """A report that was refused and is to be read again is not yet taken in."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.catch_up()
            refused: list[Any] = []

            def spoil(change: Any) -> Any:
                if change.execution is not None and len(refused) < 3:
                    refused.append(change)
                    return Stale("made up")
                return None

            world.ledger.spoil = spoil
            world.offer(10, 100)
            await gateway.catch_up()
            assert len(refused) == 3
            assert quantity(gateway) == 10
            assert len(executions(world)) == 1

    run(main)


def test_the_projection_is_stored_now_and_then_and_is_right(world: World) -> None:
    """After thousands of executions the stored positions are few saves old, and folding what is left gives the same."""

    async def main() -> None:
        saves = []
        gateway = await world.start()
        real = world.ledger.ledger.save_positions

        async def save(route: str, positions: Any, through: int) -> None:
            saves.append(through)
            await real(route, positions, through)

        world.ledger.ledger.save_positions = save  # type: ignore[method-assign]
        await gateway.submit(intent(quantity=5000), key="k")
        for _ in range(4500):
            world.offer(1, 100)
        await gateway.catch_up()
        await turns()
        assert quantity(gateway) == 4500
        assert len(saves) == 2
        await world.kill(gateway)
        async with world.gateway() as gateway:
            assert quantity(gateway) == 4500

    run(main)
