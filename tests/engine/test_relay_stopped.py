"""Events that a subscriber will not take: their order stops, with an incident, and goes on by a person's word."""

import asyncio
import functools
from typing import Any

import pytest
from gateway_world import World, intent, life, until
from prometheus_client import generate_latest
from relay_kit import Listener, journal, of_key, start, stopped, told_all, trade
from virtual_loop import run

from onefill.core.errors import CallerError, InvalidField, UnknownVenue
from onefill.core.incident import IncidentKind
from onefill.core.relay import TOLD, Gone, Invalid, Message, Outcome, Policy, Unavailable
from onefill.engine import readings
from onefill.engine.subscriptions import UnknownSubscriber
from onefill.service.metrics import registry

SAID = {"by": "ann", "reason": "they fixed it"}


def refusing(key: str, event: str = "acknowledged") -> Any:
    """Return the reply of a subscriber that does not take an order's event of this kind."""
    bad = of_key(key, event)

    def reply(message: Message) -> Outcome:
        return Invalid("no such account") if bad(message) else TOLD

    return reply


async def _stopped(world: World) -> tuple[Any, Listener]:
    """Return a gateway that stopped telling of k2 before its acknowledgement, and whom it tells."""
    listener = Listener()
    listener.reply = refusing("k2")
    gateway = await start(world, listener)
    await trade(gateway, "k1", "k2", "k3")
    await until(lambda: stopped(gateway))
    await told_all(world, gateway)
    return gateway, listener


def _complete(listener: Listener, sequences: list[int]) -> None:
    """Everything was told, and of each order for the first time in the journal's order."""
    assert sorted(set(listener.sequences())) == sequences
    for lane in {one.lane for one in listener.taken}:
        mine = [one.sequence for one in listener.taken if one.lane == lane]
        first = list(dict.fromkeys(mine))
        assert first == sorted(first)


def test_a_refused_event_stops_its_own_order_with_an_incident(world: World) -> None:
    """TOLD-ONCE, NO-SILENT-HEAL: a poison event stops its order alone; stop, incident and journal entry are one commit, and
    the route goes on as it was.
    """

    async def main() -> None:
        gateway, listener = await _stopped(world)
        taken = {(one.key, one.kind) for one in listener.taken}
        assert {("k1", "recorded"), ("k2", "recorded"), ("k3", "recorded")} <= taken
        assert not any(of_key("k2", "acknowledged")(one) for one in listener.taken)
        assert any(of_key("k3", "acknowledged")(one) for one in listener.taken)
        change = next(one for one in world.ledger.changes if one.kind == "lane_stopped")
        order = await gateway.order("k2", account="A", strategy="s")
        (incident,) = change.incidents
        (lane,) = change.subscription.stopped
        assert (incident.kind, incident.subject) == (IncidentKind.SUBSCRIBER, f"s0 {order.client_order_id}")
        assert "no such account" in incident.summary
        assert (lane.intent_id, lane.incident) == (order.intent_id, incident.number)
        assert [one.name for one in await gateway.incidents()] == [incident.name]
        (status,) = await gateway.subscribers()
        (order_stopped,) = status.stopped
        assert (order_stopped.order, order_stopped.key, order_stopped.incident) == (
            order.client_order_id,
            "k2",
            incident.name,
        )
        assert order_stopped.sequence == lane.position + 1
        assert gateway.status().state == "normal"
        assert (await gateway.submit(intent(), key="k4")).status == "new"
        await gateway.close()

    run(main)


def test_a_stopped_order_stays_stopped_over_restarts(world: World) -> None:
    """What is stopped is not told by the next process either, and nothing behind it."""

    async def main() -> None:
        gateway, listener = await _stopped(world)
        await world.kill(gateway)
        listener.reply = lambda _: TOLD
        gateway = await start(world, listener)
        await gateway.cancel("k2", account="A", strategy="s")
        await told_all(world, gateway)
        assert not any(of_key("k2", "acknowledged")(one) or of_key("k2", "canceled")(one) for one in listener.taken)
        await gateway.close()

    run(main)


def test_a_person_lets_it_go_on(world: World) -> None:
    """By a person's word the order is told from the refused event on, and what came since; the incident's cause is gone."""

    async def main() -> None:
        gateway, listener = await _stopped(world)
        await gateway.cancel("k2", account="A", strategy="s")
        listener.reply = lambda _: TOLD
        await gateway.resume_subscriber("s0", "k2", **SAID)
        await until(lambda: stopped(gateway) == {})
        await told_all(world, gateway)
        _complete(listener, await journal(world))
        (incident,) = await gateway.incidents()
        assert incident.converged_at_us is not None
        (status,) = await gateway.subscribers()
        assert (status.stopped, status.lag) == ((), 0)
        (word,) = [one for one in world.ledger.changes if one.kind == "lane_resumed"]
        assert '"by":"ann"' in word.payload
        await gateway.close()

    run(main)


def test_a_person_leaves_an_event_out(world: World) -> None:
    """With *skip* the refused event is left out for good, which the journal says; all behind it is told."""

    async def main() -> None:
        gateway, listener = await _stopped(world)
        await gateway.cancel("k2", account="A", strategy="s")
        order = await gateway.order("k2", account="A", strategy="s")
        (status,) = await gateway.subscribers()
        left_out = status.stopped[0].sequence
        await gateway.resume_subscriber("s0", order.client_order_id, skip=True, **SAID)
        await until(lambda: stopped(gateway) == {})
        await told_all(world, gateway)
        assert left_out not in listener.sequences()
        _complete(listener, [one for one in await journal(world) if one != left_out])
        assert any(f'"sequence":{left_out},"skipped":true' in one.payload for one in world.ledger.changes)
        await gateway.close()

    run(main)


def test_one_that_is_refused_again_stops_again(world: World) -> None:
    """An order that goes on and is refused once more is stopped under the same incident."""

    async def main() -> None:
        gateway, listener = await _stopped(world)
        await gateway.resume_subscriber("s0", None, **SAID)
        await until(lambda: list((stopped(gateway) or {}).values()) == [1])
        assert [one.name for one in await gateway.incidents()] == ["X-1"]
        listener.reply = lambda _: TOLD
        await gateway.resume_subscriber("s0", None, **SAID)
        await told_all(world, gateway)
        await until(lambda: stopped(gateway) == {})
        _complete(listener, await journal(world))
        await gateway.close()

    run(main)


def test_events_of_no_order_stop_too(world: World) -> None:
    """What belongs to the route itself is a lane of its own, and is named by the route."""

    async def main() -> None:
        listener = Listener()
        listener.reply = lambda one: Invalid("what is that") if one.lane == 0 else TOLD
        gateway = await start(world, listener)
        await trade(gateway, "k1")
        await until(lambda: 0 in (stopped(gateway) or {}))
        await told_all(world, gateway)
        assert {one.key for one in listener.taken} == {"k1"}
        listener.reply = lambda _: TOLD
        await gateway.resume_subscriber("s0", "X", **SAID)
        await until(lambda: stopped(gateway) == {})
        await told_all(world, gateway)
        _complete(listener, await journal(world))
        await gateway.close()

    run(main)


def test_a_subscriber_that_wants_nothing_more_is_left_alone(world: World) -> None:
    """A subscriber that is gone is told nothing, with one incident; a person's word, or a start, asks it once more."""

    async def main() -> None:
        listener = Listener()
        listener.reply = lambda _: Gone("410 Gone")
        gateway = await start(world, listener)
        await trade(gateway, "k1", "k2")
        await asyncio.sleep(3600)
        assert len(listener.calls) <= 2
        (incident,) = await gateway.incidents()
        assert (incident.kind, incident.subject) == (IncidentKind.SUBSCRIBER, "s0")
        (status,) = await gateway.subscribers()
        assert (status.gone, status.position) == ("410 Gone", 0)
        listener.reply = lambda _: TOLD
        assert await gateway.tell_rest(1), "nobody waits for one that wants nothing"
        await gateway.resume_subscriber("s0", **SAID)
        assert await gateway.tell_rest(60)
        await told_all(world, gateway)
        _complete(listener, await journal(world))
        (incident,) = await gateway.incidents()
        assert incident.converged_at_us is not None
        await gateway.close()

    run(main)


def test_a_subscriber_is_told_once_more_from_an_earlier_place(world: World) -> None:
    """A person moves the place back: everything behind it is told again under the same ids, and the journal says who did it."""

    async def main() -> None:
        listener = Listener()
        gateway = await start(world, listener)
        await trade(gateway, "k1", "k2")
        await told_all(world, gateway)
        before = list(listener.taken)
        (status,) = await gateway.rewind_subscriber("s0", 3, **SAID)
        assert status.position <= before[-1].sequence
        await told_all(world, gateway)
        again = listener.taken[len(before) :]
        assert {one.sequence for one in again} == {n for n in await journal(world) if n > 3}
        known = {one.sequence: one for one in before}
        assert all(known[one.sequence] == one for one in again if one.sequence in known)
        assert any(one.kind == "subscriber_moved" and '"by":"ann"' in one.payload for one in world.ledger.changes)
        await gateway.close()

    run(main)


def test_what_a_person_says_has_to_fit(world: World) -> None:
    """A word without name or reason, about nobody, about what is not stopped or beyond the journal changes nothing."""

    async def main() -> None:
        gateway, _ = await _stopped(world)
        kept = await world.ledger.subscriptions("X")
        with pytest.raises(InvalidField, match="by"):
            await gateway.resume_subscriber("s0", "k2", by=" ", reason="r")
        with pytest.raises(InvalidField, match="reason"):
            await gateway.rewind_subscriber("s0", 1, by="ann", reason="")
        with pytest.raises(UnknownSubscriber, match="known: s0"):
            await gateway.resume_subscriber("nobody", None, **SAID)
        with pytest.raises(CallerError, match="'k1' is not stopped"):
            await gateway.resume_subscriber("s0", "k1", **SAID)
        with pytest.raises(InvalidField, match="999 is not an entry"):
            await gateway.rewind_subscriber("s0", 999, **SAID)
        with pytest.raises(UnknownVenue):
            await gateway.subscribers("Y")
        assert await world.ledger.subscriptions("X") == kept
        await gateway.close()

    run(main)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["outbox", "outbox_of", "subscriptions", "move_subscription", "commit"])
def test_dying_at_any_call_leaves_nothing_out(world: World, call: str, when: str) -> None:
    """TOLD-ONCE: a process that dies at any call of the ledger, before or after its effect, leaves nothing out, and nothing
    out of order; what the next one tells again has the same ids. An order stops and goes on meanwhile.
    """
    listener = Listener()
    deaths = 0
    for number in range(1, 31):
        listener.reply = refusing(f"k{number}") if number % 3 else lambda _: TOLD
        calls = iter(range(10_000))

        def point(name: str, number: int = number, calls: Any = calls) -> str | None:
            return when if name == call and next(calls) == number // 2 else None

        world.point = point
        deaths += life(world, functools.partial(_live, world, listener, number))
    assert deaths >= 5
    world.point = lambda _: None
    listener.reply = lambda _: TOLD

    async def last() -> None:
        gateway = await start(world, listener)
        await gateway.resume_subscriber("s0", None, **SAID)
        await until(lambda: stopped(gateway) == {})
        await told_all(world, gateway)
        _complete(listener, await journal(world))
        assert len({(one.sequence, one.id) for one in listener.taken}) == len(set(listener.sequences()))
        await gateway.close()

    assert not life(world, last)


async def _live(world: World, listener: Listener, number: int) -> None:
    gateway = await start(world, listener, policy=Policy(invalid_tries=2, cursor_every_s=0.01))
    await trade(gateway, f"k{number}")
    await asyncio.sleep(1)
    await gateway.resume_subscriber("s0", None, **SAID)
    await asyncio.sleep(1)
    await gateway.close()


def test_the_figures_tell_how_it_stands(world: World) -> None:
    """Lag in entries and seconds, messages told, stopped orders, and whether it takes anything, are what is true then."""

    async def main() -> None:
        gateway, listener = await _stopped(world)

        def figures() -> Any:
            (route,) = readings.routes(gateway)
            (one,) = route.subscribers
            return one

        one = figures()
        assert (one.subscriber, one.lag, one.lag_s, one.stopped, one.up) == ("s0", 0, 0.0, 1, True)
        assert one.told == len(listener.taken)
        listener.reply = lambda _: Unavailable(reason="down")
        await trade(gateway, "k4")
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(100)
        one = figures()
        assert not one.up
        assert one.lag == (await journal(world))[-1] - gateway.relays()[0].lanes.told_through > 0
        assert 99 <= one.lag_s <= 101 + asyncio.get_running_loop().time() - began
        assert one.again > 0
        exposed = generate_latest(registry(gateway)).decode()
        assert f'onefill_subscriber_lag_entries{{route="X",subscriber="s0"}} {float(one.lag)}' in exposed
        assert 'onefill_subscriber_stopped_orders{route="X",subscriber="s0"} 1.0' in exposed
        assert 'onefill_subscriber_up{route="X",subscriber="s0"} 0.0' in exposed
        await gateway.close()

    run(main)


def test_forward_only_what_is_to_be_left_out(world: World) -> None:
    """With ``leave_out`` a place moves forward too: what lies between is never told, and the journal says who wanted that."""

    async def main() -> None:
        listener = Listener()
        listener.reply = lambda _: Unavailable(reason="down")
        gateway = await start(world, listener)
        await trade(gateway, "k1", "k2")
        await asyncio.sleep(1)
        head = (await journal(world))[-1]
        with pytest.raises(InvalidField, match="would never be told"):
            await gateway.rewind_subscriber("s0", head - 1, **SAID)
        await gateway.rewind_subscriber("s0", head - 1, leave_out=True, **SAID)
        listener.reply = lambda _: TOLD
        await told_all(world, gateway)
        assert listener.sequences() == [head, head + 1]
        assert [one.kind for one in listener.taken][-1] == "subscriber_moved"
        await gateway.close()

    run(main)
