"""The safety figures of a running gateway, against numbers counted by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from gateway_world import World, intent, turns, until
from scripted_venue import ScriptedVenue, follow, given, held, land, lose_reply, lose_request, reply, show
from virtual_loop import run

from onefill.core import events as ev
from onefill.core import incident as incidents
from onefill.core.errors import InvariantBroken, OrderUncertain
from onefill.core.incident import Finding, IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import Accepted, Found, NotFound, NotSent, SubmitRequest, Unknown
from onefill.engine import readings
from onefill.engine.gateway import Gateway
from onefill.engine.readings import RouteReading
from onefill.engine.route import Route
from onefill.ports.ledger import ClientOrderIdTaken, Stale

Make = Callable[..., World]
_but = msgspec.structs.replace


def read(gateway: Gateway) -> RouteReading:
    """Return how the one route stands."""
    (reading,) = readings.routes(gateway)
    return reading


def route_of(gateway: Gateway) -> Route:
    """Return the one route."""
    return gateway._routes["X"]


def slow(after_s: float) -> Any:
    """The request lands after a while, and so does its reply."""

    async def step(venue: ScriptedVenue, request: SubmitRequest) -> Any:
        await asyncio.sleep(after_s)
        return await land(venue, request)

    return step


def test_duplicate_rejects_are_counted_per_new_order(world: World) -> None:
    """Two of four orders lose their reply, are not found and sent again: DRR is 2/4. Repeats of a key change nothing."""
    world.venue.muted = True
    world.venue.submits = [lose_reply, land, land, lose_reply, land, land]
    world.venue.lookups = [reply(NotFound("this server is behind")), show] * 2

    async def main() -> None:
        async with world.gateway() as gateway:
            for key in ("a", "b", "c", "d"):
                await gateway.submit(intent(), key=key)
            for key in ("a", "b"):
                await gateway.submit(intent(), key=key)
            counts = gateway.counts()["X"]
            assert (counts.duplicate_replies, counts.new_orders) == (2, 4)
            assert (counts.unknown_outcomes, counts.resends, counts.copies_sent) == (2, 2, 6)
            replies = {kind.__name__: count for kind, count in read(gateway).measures.replies.items()}
            assert replies == {"Unknown": 2, "DuplicateId": 2, "Accepted": 2}

    run(main)


def test_a_reply_that_comes_between_other_news_is_counted_once(world: World) -> None:
    """A duplicate reply whose first change the ledger refuses is judged again, and counted once."""
    refused: list[Any] = []

    async def main() -> None:
        async with world.gateway() as gateway:
            world.venue.submits = [lose_reply]
            world.venue.lookups = [reply(Unknown("busy"))] * 2

            def spoil(change: Any) -> Any:
                if change.kind == "outcome_unknown" and not refused:
                    refused.append(change)
                    return Stale("made up")
                return None

            world.ledger.spoil = spoil
            await gateway.submit(intent(), key="k")
            assert len(refused) == 1
            assert gateway.counts()["X"].unknown_outcomes == 1

    run(main)


def test_uncertain_orders_are_those_that_were_asked_about_in_vain(world: World) -> None:
    """UOC is 0 while the first question is under way, 1 once it found nothing, and 0 when the order's fate is known."""
    asked, again = asyncio.Event(), asyncio.Event()
    world.venue.submits = [lose_request]
    world.venue.lookups = [held(asked, reply(Unknown("busy"))), held(again, show)]

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="k", wait_s=0)
            await until(lambda: world.venue.count("lookup") == 1)
            reading = read(gateway)
            assert (reading.uncertain, reading.orders) == (0, {"uncertain": 1})
            asked.set()
            await until(lambda: world.venue.count("lookup") == 2)
            assert read(gateway).uncertain == 1
            again.set()
            await until(lambda: world.venue.count("submit") == 2)
            await turns()
            reading = read(gateway)
            assert (reading.uncertain, reading.orders) == (0, {"new": 1})

    run(main)


def test_an_order_left_for_a_person_counts_as_uncertain(make_world: Make) -> None:
    """Where the venue has another order under the id, UOC counts ours, and so do parked orders and open incidents."""
    world = make_world()

    async def main() -> None:
        async with world.gateway() as gateway:

            async def foreign(venue: ScriptedVenue, request: SubmitRequest) -> Any:
                return Accepted(other(venue.exchange.submit(request, venue.now_us())))

            async def show_other(venue: ScriptedVenue, client_order_id: str) -> Any:
                return Found(other(await show(venue, client_order_id)))

            def other(told: Any) -> Any:
                return _but(told.order, quantity=told.order.quantity + 1)

            world.venue.muted = True
            world.venue.submits, world.venue.lookups = [foreign], [show_other] * 99
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="k", wait_s=1)
            reading = read(gateway)
            assert (reading.uncertain, reading.parked) == (1, 1)
            assert reading.incidents == {IncidentKind.FOREIGN_ORDER: 1, IncidentKind.UNCERTAIN: 1}
            assert (reading.counts.id_collisions, reading.measures.collisions) == (0, 1)

    run(main)


def test_an_id_that_the_ledger_has_is_a_collision(world: World) -> None:
    """An intent whose client order id is taken is not sent, and ICC counts it; it is no new order."""

    async def main() -> None:
        async with world.gateway() as gateway:
            world.ledger.spoil = lambda change: ClientOrderIdTaken("x") if change.new is not None else None
            with pytest.raises(InvariantBroken):
                await gateway.submit(intent(), key="k")
            reading = read(gateway)
            assert (reading.counts.id_collisions, reading.measures.collisions) == (1, 0)
            assert reading.counts.new_orders == world.venue.count("submit") == 0

    run(main)


def test_replays_are_counted_however_they_are_known(world: World) -> None:
    """Three reports, all three again from the start, then one execution at a new place: RDR is 4/7, and 10 were bought."""

    async def once(venue: ScriptedVenue, after: int) -> AsyncIterator[Any]:
        async for report in follow(venue, after):
            yield report
            if report.position == 3:
                return

    async def again(venue: ScriptedVenue, _after: int) -> AsyncIterator[Any]:
        reports = venue.exchange.executions(venue.account, 0)
        async for report in given(*reports, _but(reports[-1], position=4))(venue, 0):
            yield report

    async def silent(venue: ScriptedVenue, _after: int) -> AsyncIterator[Any]:
        await asyncio.get_running_loop().create_future()
        yield

    world.venue.streams = [once, again, silent]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            world.offer(6, 100)
            await until(lambda: gateway.counts()["X"].reports == 7)
            counts = gateway.counts()["X"]
            assert (counts.replayed_reports, counts.reports, counts.executions) == (4, 7, 2)
            assert counts.stream_reconnects == 2
            reading = read(gateway)
            assert reading.positions == {"executions": 4}
            # The lag is that of the three that were new and the one that came at another place.
            assert (reading.measures.lag_us.count, reading.measures.lag_unusable) == (4, 0)

    run(main)


def test_the_lag_is_not_told_of_a_clock_that_is_wrong(world: World) -> None:
    """Reports from the future, and such without a time, are counted apart."""

    async def main() -> None:
        async with world.gateway() as gateway:
            route = route_of(gateway)
            now_us = world.clock.now_us()
            for told_at_us in (0, now_us + 1, now_us - 86_400_000_001):
                route.measures.took_in(told_at_us, now_us)
            route.measures.took_in(now_us - 3_000, now_us)
            assert (route.measures.lag_unusable, route.measures.lag_us.count, route.measures.lag_us.total) == (
                3,
                1,
                3_000,
            )

    run(main)


def test_breaks_last_from_first_sight_until_they_are_gone(world: World) -> None:
    """RBD of a break first seen 10 s before its incident and gone 30 s after is 40 s; back for 5 s, it is another of 5 s."""

    async def main() -> None:
        async with world.gateway() as gateway:
            route = route_of(gateway)
            seen = world.clock.now_us()
            await asyncio.sleep(10)
            found = Finding(kind=IncidentKind.QUANTITY, subject="o", summary="differs", first_seen_at_us=seen)
            other = Finding(kind=IncidentKind.STREAM, subject="", summary="stands still")
            await route.record_route_event(findings=(found, other))
            await asyncio.sleep(29)
            assert read(gateway).oldest_break_s == pytest.approx(39, abs=1e-3)
            await asyncio.sleep(1)
            await converge(route)
            duration = route.measures.breaks.duration_us
            assert (duration.count, duration.total) == (1, pytest.approx(40e6, abs=2))
            assert read(gateway).oldest_break_s == 0
            await asyncio.sleep(3600)
            await route.record_route_event(findings=(found,))
            await asyncio.sleep(5)
            await converge(route)
            assert (duration.count, duration.total) == (2, pytest.approx(45e6, abs=4))
            assert route.measures.opened == {IncidentKind.QUANTITY: 1, IncidentKind.STREAM: 1}

    async def converge(route: Route) -> None:
        changed, told = route.incidents.converge(IncidentKind.QUANTITY, "o", world.clock.now_us())
        await route.record_route_event(*told, incidents=changed)

    run(main)


def test_a_break_that_a_person_closes_unconverged_has_no_duration(world: World) -> None:
    """Closing is no convergence: RBD counts nothing, and nothing lasts any more. After a restart an open one still lasts."""

    async def main() -> None:
        found = Finding(kind=IncidentKind.PRICE, subject="o", summary="differs")
        async with world.gateway() as gateway:
            await route_of(gateway).record_route_event(findings=(found,))
            await asyncio.sleep(7)
        async with world.gateway() as gateway:
            route = route_of(gateway)
            assert read(gateway).oldest_break_s == pytest.approx(7, abs=0.01)
            now = route.incidents.get(IncidentKind.PRICE, "o")
            assert now is not None
            closed = incidents.resolved(now, "ann", "known", world.clock.now_us(), force=True)
            event = ev.IncidentResolved(now.number, "ann", "known")
            await route.record_route_event(event, incidents=(closed,))
            assert read(gateway).oldest_break_s == 0
            assert route.measures.breaks.duration_us.count == 0

    run(main)


def test_ack_latency_and_attempts_are_taken_when_the_fate_is_known(world: World) -> None:
    """An ack after 0.2 s, and an order whose first copy was lost: two acks, of 1 and 2 copies; a repeat counts nothing."""
    world.venue.submits = [slow(0.2), lose_request]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="a")
            measures = read(gateway).measures
            assert (measures.ack_us.count, measures.ack_us.total) == (1, pytest.approx(200_000, abs=2))
            await gateway.submit(intent(), key="b")
            await gateway.submit(intent(), key="b")
            world.offer(20, 100)
            await gateway.catch_up()
            assert (measures.ack_us.count, measures.to_wire_us.count) == (2, 2)
            assert measures.attempts.counts[:3] == [1, 1, 0]
            assert measures.lookup_us.count == gateway.counts()["X"].lookups == world.venue.count("lookup")
            assert not measures._answerless
            assert not measures._recorded

    run(main)


def test_an_order_taken_up_after_a_crash_has_attempts_and_no_latency(world: World) -> None:
    """When its first claim became durable is not known to the second process: only its copies are counted."""
    world.venue.submits = [lose_request]

    async def main() -> None:
        gateway = await world.start()
        with pytest.raises(OrderUncertain):
            await gateway.submit(intent(), key="k", wait_s=0)
        await until(lambda: world.venue.count("submit") == 1)
        await world.kill(gateway)
        async with world.gateway() as gateway:
            answer = await gateway.submit(intent(), key="k")
            measures = read(gateway).measures
            assert (measures.ack_us.count, measures.attempts.counts[:3]) == (0, [0, 1, 0])
            assert answer.status is Status.NEW

    run(main)


def test_an_order_that_is_never_sent_has_no_ack(world: World) -> None:
    """Expired before it could be sent: neither a latency nor attempts, and nothing is kept of it."""
    world.venue.submits = [reply(NotSent("no way there"))] * 99

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k", time_to_live_s=1)
            measures = read(gateway).measures
            assert (measures.ack_us.count, measures.attempts.count) == (0, 0)
            assert not measures._answerless

    run(main)


def test_a_ledger_tells_of_every_group_it_commits(world: World) -> None:
    """Eight intents handed in at one turn of the loop share a commit: a group of 8, and 8 that waited."""

    async def main() -> None:
        async with world.gateway() as gateway:
            ledger = world.ledger.ledger.measures
            before, total = ledger.group.count, ledger.group.total
            world.venue.muted = True
            tasks = [asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}")) for n in range(8)]
            await turns(3)
            assert (ledger.group.count - before, ledger.group.total - total) == (1, 8)
            await asyncio.gather(*tasks)
            assert ledger.commit_us.count == ledger.group.count == ledger.waiting.count
            assert readings.ledger(gateway).depth == 0

    run(main)
