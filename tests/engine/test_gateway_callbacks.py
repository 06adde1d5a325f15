"""Callbacks: each is applied once in one commit, and executions count once whichever channel tells of them first."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from callback_kit import KEY, VERIFIER, Callback, CallbackVenue, callback, opened, take, told, with_callbacks
from gateway_books_kit import agree, hold
from gateway_world import WHO, World, given_up, intent, life, quantity, turns, until
from scripted_venue import hang, land
from virtual_loop import run

from onefill.core.errors import (
    CallbackContradicts,
    CallbackNotHere,
    CallbackRefused,
    CallbackUnreadable,
    InvalidField,
    NotVerified,
    UnknownVenue,
)
from onefill.core.inbox import Receipt, Verifier
from onefill.core.lifecycle import Status
from onefill.core.position import CALLBACK, STREAM
from onefill.engine.gateway import Gateway
from onefill.ports.ledger import Stale

Make = Callable[..., World]


async def filled(world: World, gateway: Gateway) -> None:
    """Have an order executed in two parts."""
    await gateway.submit(intent(), key="k")
    for part in (4, 6):
        world.offer(part, 100)


def test_a_callback_is_applied_once_in_one_commit(world: World) -> None:
    """Execution, order, journal entry and the note that the callback was taken in are one change; a repeat changes nothing."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        let_go = hold(world, STREAM)
        await gateway.submit(intent(), key="k")
        world.offer(4, 100)
        sent = callback(world, told(world)[-1], event_id="evt_1")
        before = len(world.ledger.changes)
        assert await take(gateway, sent) == Receipt(event_id="evt_1", repeated=False, reports=1)
        (change,) = world.ledger.changes[before:]
        assert (change.inbox.event_id, change.execution.quantity, change.execution.stream) == ("evt_1", 4, CALLBACK)
        assert '"type":"callback_taken"' in change.payload
        assert '"type":"traded"' in change.payload
        assert change.order.cum_quantity == quantity(gateway) == 4
        for _ in range(10):
            assert (await take(gateway, sent)).repeated
        assert len(world.ledger.changes) == before + 1
        let_go.set()
        await gateway.catch_up()
        assert quantity(gateway) == 4
        await gateway.close()

    run(main)
    assert world.rows("SELECT source, event_id FROM inbox") == [("callback", "evt_1")]
    assert world.rows("SELECT stream, quantity FROM execution") == [("callback", "4")]


def test_what_the_stream_told_first_is_only_noted(world: World) -> None:
    """A callback about known executions changes no order, and is kept as taken in."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        await filled(world, gateway)
        await gateway.catch_up()
        assert await take(gateway, callback(world, *told(world))) == Receipt(
            event_id=world.rows("SELECT event_id FROM inbox")[0][0], repeated=False, reports=3
        )
        assert quantity(gateway) == 10
        await agree(world.ledger, gateway.positions())
        await gateway.close()

    run(main)
    assert world.rows("SELECT stream FROM execution") == [("executions",)] * 2


def test_a_callback_that_tells_nothing_is_taken_in(world: World) -> None:
    """An empty list of reports is an event all the same, and is known when it comes again."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        sent = callback(world)
        assert not (await take(gateway, sent)).repeated
        assert (await take(gateway, sent)).repeated
        await gateway.close()

    run(main)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_any_number_of_times_beside_the_stream(make_world: Make, seed: int) -> None:
    """FILL-ONCE: callbacks doubled, mixed up and at the same time as the stream give what the stream alone gives."""
    dice, world = random.Random(seed), make_world(execution_revisions=seed % 2 == 1)

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        let_go = hold(world, STREAM)
        for number in range(4):
            await gateway.submit(intent(quantity=5 + number), key=f"k{number}")
            world.offer(3 + number, 100)
        world.exchange.bust("A", world.exchange.trades("A")[0].execution_id, world.clock.now_us())
        await gateway.cancel("k3", **WHO)
        reports = told(world)
        sent = [callback(world, *dice.sample(reports, dice.randint(1, 3))) for _ in range(30)]
        sent += [callback(world, one) for one in reports]
        calls = [asyncio.ensure_future(take(gateway, one)) for one in dice.choices(sent, k=60) + sent]
        for place, _ in enumerate(calls):
            if place == 40:
                let_go.set()
            await turns(dice.randint(0, 3))
        await asyncio.gather(*calls)
        assert world.rows("SELECT count(*) FROM inbox") == [(len(sent),)]
        assert all([(await take(gateway, one)).repeated for one in sent])
        await gateway.catch_up()
        await agree(world.ledger, gateway.positions())
        assert all(not one.doubtful for route in gateway._routes.values() for one in route.entries.values())
        report = await gateway.reconcile(full=True)
        assert not report[0].breaks
        assert await gateway.incidents() == []
        held = quantity(gateway)
        await gateway.close()
        assert held == world.exchange.positions("A")["ACME"]

    run(main)


def test_the_fate_of_an_uncertain_order_by_callback(world: World) -> None:
    """An order state that only a callback tells ends the question: the caller gets the answer."""

    async def main() -> None:
        async def arrives(venue: Any, request: Any) -> Any:
            await land(venue, request)
            return await hang(venue, request)

        with_callbacks(world).venue.submits.append(arrives)
        world.venue.lookups.extend([hang] * 100)
        gateway = await opened(world)
        hold(world, STREAM)
        asked = asyncio.ensure_future(gateway.submit(intent(), key="k", wait_s=600))
        await until(lambda: told(world))
        await turns()
        assert not asked.done()
        await take(gateway, callback(world, told(world)[0]))
        assert (await asked).status == Status.NEW
        await gateway.close()

    run(main)


def test_the_same_id_with_another_body_is_refused_and_an_incident(world: World) -> None:
    """The first one stands; nothing of the second is applied; one incident names both digests."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        hold(world, STREAM)
        await filled(world, gateway)
        first, second = (callback(world, report, event_id="evt_1") for report in told(world)[1:])
        await take(gateway, first)
        for _ in range(3):
            with pytest.raises(CallbackContradicts, match="evt_1"):
                await take(gateway, second)
        assert quantity(gateway) == 4
        (incident,) = await gateway.incidents()
        assert (incident.kind, incident.subject, incident.seen) == ("contradiction", "callback evt_1", 1)
        assert (await take(gateway, first)).repeated
        await gateway.close()

    run(main)


def test_what_is_not_genuine_changes_nothing(world: World) -> None:
    """Without the right key nothing is read, kept or counted, and nobody can fill the ledger."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        hold(world, STREAM)
        await filled(world, gateway)
        sent = callback(world, *told(world))
        before = len(world.ledger.changes)
        for headers, body in (({}, sent.body), (sent.headers, sent.body + b" "), (sent.headers, b"")):
            with pytest.raises(NotVerified):
                await gateway.take_callback("X", headers, body)
        assert (len(world.ledger.changes), quantity(gateway)) == (before, 0)
        gateway.expect_callbacks("X", Verifier(keys=(b"quite another key, long enough",)))
        with pytest.raises(NotVerified):
            await take(gateway, sent)
        gateway.expect_callbacks("X", Verifier(keys=(b"quite another key, long enough", KEY)))
        assert not (await take(gateway, sent)).repeated
        await gateway.close()

    run(main)


def test_what_cannot_be_read_needs_a_person(world: World) -> None:
    """A genuine callback in words that nobody knows is refused, with one incident however often it comes."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        odd = callback(world, body=b'{"hello":1}', event_id="odd")
        for _ in range(3):
            with pytest.raises(CallbackUnreadable):
                await take(gateway, odd)
        (incident,) = await gateway.incidents()
        assert (incident.subject, incident.seen) == ("callback odd", 1)
        await gateway.close()

    run(main)
    assert world.rows("SELECT count(*) FROM inbox") == [(0,)]


def test_who_does_not_have_the_route_leaves_it_to_come_again(world: World) -> None:
    """A fenced gateway, a closed one, and one that never had the route: nothing is written, and the sender is told so."""

    async def main() -> None:
        first = await opened(with_callbacks(world))
        sent = callback(world)
        with pytest.raises(CallbackNotHere):
            await first.take_callback("elsewhere", sent.headers, sent.body)
        second = Gateway(
            world.ledger, {"X": CallbackVenue(world.exchange, world.clock.now_us)}, clock=world.clock, holder="b"
        )
        await second.start()
        with pytest.raises(CallbackNotHere, match="expects no callbacks"):
            await take(second, sent)
        second.expect_callbacks("X", VERIFIER)
        with pytest.raises(CallbackNotHere, match="another owner took the route"):
            await take(first, sent)
        assert not (await take(second, sent)).repeated
        await second.close()
        with pytest.raises(CallbackNotHere):
            await take(second, callback(world))
        await first.close()

    run(main)


def test_a_venue_that_reads_no_callbacks_is_said_so(world: World) -> None:
    """Expecting callbacks of it is an error at once, not at the first one."""

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(InvalidField, match="reads none"):
                gateway.expect_callbacks("X", VERIFIER)
            with pytest.raises(UnknownVenue):
                gateway.expect_callbacks("Y", VERIFIER)

    run(main)


def test_a_change_that_the_ledger_refuses_is_made_anew(world: World) -> None:
    """Where the ledger knows better, the order is read again and the callback applied to what is true."""
    spoilt = [0]

    def spoil(change: Any) -> Any:
        if change.inbox is not None and spoilt[0] < 3:
            spoilt[0] += 1
            return Stale("the order had moved on")
        return None

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        hold(world, STREAM)
        await gateway.submit(intent(), key="k")
        world.offer(4, 100)
        world.ledger.spoil = spoil
        assert not (await take(gateway, callback(world, told(world)[-1]))).repeated
        assert (spoilt[0], quantity(gateway)) == (3, 4)
        assert world.rows("SELECT count(*) FROM inbox") == [(1,)]
        await gateway.close()

    run(main)


def test_it_counts_as_taken_in_only_with_all_that_it_tells(world: World) -> None:
    """If the ledger refuses the first of two reports, the callback is not noted before that one is applied too."""
    refused: list[str] = []

    def spoil(change: Any) -> Any:
        if change.execution is not None and len(refused) < 3 and change.order.key == "k0":
            refused.append(change.order.key)
            return Stale("the order had moved on")
        return None

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        hold(world, STREAM)
        for key in ("k0", "k1"):
            await gateway.submit(intent(), key=key, allow_similar=True)
            world.offer(10, 100)
        first, second = [one for one in told(world) if one.last_quantity]
        world.ledger.spoil = spoil
        assert not (await take(gateway, callback(world, first, second))).repeated
        assert (len(refused), quantity(gateway)) == (3, 20)
        await gateway.close()

    run(main)


def test_many_at_once_share_commits_and_each_counts_once(world: World) -> None:
    """Different callbacks wait for the ledger together; the same one, sent at the same time, is answered as a repeat."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        hold(world, STREAM)
        for number in range(20):
            await gateway.submit(intent(), key=f"k{number}", allow_similar=True)
        world.offer(200, 100)
        sent = [callback(world, one) for one in told(world) if one.last_quantity]
        assert len(sent) == 20
        receipts = await asyncio.gather(*(take(gateway, one) for one in sent + sent))
        assert [one.repeated for one in receipts] == [False] * 20 + [True] * 20
        assert quantity(gateway) == 200
        odd = callback(world, told(world)[0], event_id="evt_odd"), callback(world, event_id="evt_odd")
        outcomes = await asyncio.gather(*(take(gateway, one) for one in odd), return_exceptions=True)
        assert isinstance(outcomes[0], Receipt)
        assert isinstance(outcomes[1], CallbackContradicts)
        await gateway.close()

    run(main)


def test_what_becomes_of_callbacks_is_counted(world: World) -> None:
    """By result; what they repeat of the stream is not counted among the stream's replays."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        await filled(world, gateway)
        await gateway.catch_up()
        counts, callbacks = gateway.counts()["X"], gateway._routes["X"].measures.callbacks
        before = (counts.reports, counts.replayed_reports)
        sent = callback(world, *told(world), event_id="evt_1")
        other = callback(world, event_id="evt_1")
        assert other.body != sent.body
        for one in (sent, sent, sent, other, callback(world, body=b"odd"), Callback({}, b"")):
            with contextlib.suppress(CallbackRefused):
                await take(gateway, one)
        assert callbacks == {"taken": 1, "repeated": 2, "contradictory": 1, "unreadable": 1, "unverified": 1}
        assert (counts.reports, counts.replayed_reports) == before
        gateway._routes["X"].closing = True
        with pytest.raises(CallbackNotHere):
            await take(gateway, callback(world))
        assert callbacks["sent_away"] == 1
        gateway._routes["X"].closing = False
        await gateway.close()

    run(main)


def test_whoever_sends_may_hang_up(world: World) -> None:
    """What was begun is finished, and the repeat is known as one."""

    async def main() -> None:
        gateway = await opened(with_callbacks(world))
        hold(world, STREAM)
        await filled(world, gateway)
        sent = callback(world, *told(world))
        await given_up(take(gateway, sent), 1)
        assert (await take(gateway, sent)).repeated
        assert quantity(gateway) == 10
        await gateway.close()

    run(main)


@pytest.mark.parametrize("moment", range(1, 5))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_dies_at_any_call_of_the_ledger(make_world: Make, moment: int, when: str) -> None:
    """Three reports in one callback, sent until it is answered: each execution once, the callback noted once."""
    world = with_callbacks(make_world())
    sent: list[Callback] = []
    calls, armed, deaths = 0, False, 0

    def point(name: str) -> str | None:
        nonlocal calls
        calls += armed and name in ("commit", "inbox_event", "by_client_order_id", "cursor")
        return when if armed and calls == moment else None

    world.point = point

    async def work() -> None:
        nonlocal armed
        gateway = await opened(world)
        hold(world, STREAM)
        if not sent:
            await filled(world, gateway)
            sent.append(callback(world, *told(world)))
        armed = True
        await take(gateway, sent[0])
        armed = False
        assert (await take(gateway, sent[0])).repeated
        assert quantity(gateway) == 10
        await gateway.close()

    while life(world, work):
        deaths, calls, armed = deaths + 1, moment, False
    assert deaths == (moment < 4)
    assert world.rows("SELECT sum(CAST(quantity AS INTEGER)), count(*) FROM execution") == [(10, 2)]
    assert world.rows("SELECT count(*) FROM inbox") == [(1,)]
    assert Decimal(10) == world.exchange.positions("A")["ACME"]
