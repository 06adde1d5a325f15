"""Telling subscribers (promise TOLD-ONCE): everything, in order per order, with the same ids, and never in the orders' way."""

import asyncio
from typing import Any

import pytest
from gateway_world import World, until
from relay_kit import Listener, body, journal, of_key, place, start, told_all, trade
from virtual_loop import run

from onefill.core.errors import InvalidField
from onefill.core.relay import TOLD, Policy, Unavailable
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Begin, Subscriber


def test_every_entry_is_told_in_order(world: World) -> None:
    """TOLD-ONCE: what the journal has is told, each entry once where nothing fails, and the ledger keeps how far."""

    async def main() -> None:
        listener = Listener()
        gateway = await start(world, listener)
        await trade(gateway, "k1", "k2")
        world.offer(10, 100)
        await gateway.catch_up()
        await told_all(world, gateway)
        assert sorted(listener.sequences()) == await journal(world)
        for lane in {one.lane for one in listener.taken}:
            mine = [one.sequence for one in listener.taken if one.lane == lane]
            assert mine == sorted(mine)
        entry = next(entry for entry in await world.ledger.journal("X", 0, 100) if entry.sequence == 2)
        told = next(one for one in listener.taken if one.sequence == 2)
        assert (told.id, body(told)["kind"], body(told)["key"]) == (entry.hash.hex()[:32], "recorded", "k1")
        await gateway.close()
        assert (listener.starts, listener.closed) == (1, 1)

    run(main)


def test_nothing_is_told_twice_over_a_close_in_order(world: World) -> None:
    """A gateway that is closed keeps the place: the next one goes on behind it, whatever the pace of the cursor."""

    async def main() -> None:
        listener = Listener()
        for key in ("k1", "k2", "k3"):
            gateway = await start(world, listener, policy=Policy(cursor_every_s=1000))
            await trade(gateway, key)
            await until(lambda key=key: any(of_key(key, "acknowledged")(one) for one in listener.taken))
            await gateway.close()
        assert len(set(listener.sequences())) == len(listener.sequences())

    run(main)


def test_after_a_kill_what_may_not_have_been_noted_is_told_again(world: World) -> None:
    """TOLD-ONCE: after kill -9 everything behind the place is told again, with the same ids and bytes, in the same order."""

    async def main() -> None:
        listener = Listener()
        gateway = await start(world, listener, policy=Policy(cursor_every_s=1000))
        await trade(gateway, "k1", "k2")
        await until(lambda: len(listener.taken) >= 5)
        before = list(listener.taken)
        kept = await place(world)
        assert kept <= 1
        await world.kill(gateway)
        gateway = await start(world, listener)
        await told_all(world, gateway)
        again = listener.taken[len(before) :]
        assert sorted(one.sequence for one in again) == list(range(kept + 1, (await journal(world))[-1] + 1))
        same = {one.sequence: one for one in again}
        assert all(same[one.sequence] == one for one in before if one.sequence > kept)
        await gateway.close()

    run(main)


def test_what_an_earlier_process_left_is_part_of_the_rest(world: World) -> None:
    """Waiting for the rest right after the start waits for what earlier processes committed, though nothing is new."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1", "k2")
        await gateway.close()
        listener = Listener()
        gateway = await start(world, listener)
        assert await gateway.tell_rest(60)
        assert sorted(listener.sequences()) == await journal(world)
        await gateway.close()

    run(main)


def test_a_subscriber_that_hangs_keeps_no_order_waiting(world: World) -> None:
    """With a subscriber that never answers orders take their time and no longer, and what is held for it is bounded."""

    async def main() -> None:
        listener, other = Listener(), Listener()
        listener.before = _never
        gateway = await start(world, listener, other, policy=Policy(window=20, answer_s=30))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(30):
            await trade(gateway, f"k{number}")
        assert loop.time() - began < 10
        await told_all(world, gateway, "s1")
        lanes = gateway.relays()[0].lanes
        assert lanes is not None
        assert lanes.read_through - lanes.position <= 20
        assert sorted(other.sequences()) == await journal(world)
        (status, *_) = await gateway.subscribers()
        assert (status.subscriber, status.position, status.told) == ("s0", 0, 0)
        assert status.lag == (await journal(world))[-1]
        await gateway.close()

    run(main)


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


def test_a_subscriber_that_is_down_is_told_when_it_is_back(world: World) -> None:
    """Nothing is left out while a subscriber is away: it is asked again, ever more rarely, and then told all of it."""

    async def main() -> None:
        listener = Listener()
        listener.reply = lambda _: Unavailable(reason="connection refused")
        gateway = await start(world, listener)
        await trade(gateway, "k1", "k2", "k3")
        await asyncio.sleep(600)
        assert len(listener.calls) < 200
        (status,) = await gateway.subscribers()
        assert (status.unavailable, status.stopped) == ("connection refused", ())
        assert await gateway.incidents() == []
        listener.reply = lambda _: TOLD
        await told_all(world, gateway)
        assert sorted(listener.sequences()) == await journal(world)
        await gateway.close()

    run(main)


def test_whatever_a_publisher_raises_is_tried_again(world: World) -> None:
    """A publisher that breaks is made ready and asked again; nothing of it reaches the orders."""

    async def main() -> None:
        listener = Listener()
        wrong = iter([RuntimeError("no"), OSError("gone"), KeyError("x")])

        def reply(_: Any) -> Any:
            for error in wrong:
                raise error
            return TOLD

        listener.reply = reply
        gateway = await start(world, listener)
        await trade(gateway, "k1")
        await told_all(world, gateway)
        assert sorted(listener.sequences()) == await journal(world)
        assert listener.starts == 4
        assert gateway.failure() is None
        await gateway.close()

    run(main)


def test_a_ledger_that_cannot_be_read_for_a_while_is_read_again(world: World) -> None:
    """Where the relay itself fails it begins again at the ledger's place, says why, and orders go on."""

    async def main() -> None:
        listener = Listener()
        ledger = await world.store()
        real, broken = ledger.ledger.outbox, [OSError("read"), OSError("read")]

        async def outbox(*given: Any) -> Any:
            if broken:
                raise broken.pop()
            return await real(*given)

        ledger.ledger.outbox = outbox  # type: ignore[method-assign]
        gateway = await start(world, listener, ledger=ledger)
        await until(lambda: gateway.relays()[0].problem)
        assert gateway.relays()[0].problem == "OSError: read"
        await trade(gateway, "k1")
        await told_all(world, gateway)
        assert gateway.relays()[0].problem is None
        assert sorted(listener.sequences()) == await journal(world)
        await gateway.close()

    run(main)


def test_a_subscriber_begins_where_it_wants(world: World) -> None:
    """A subscriber that is new begins at the first entry, or behind the last one; one that is known at its place."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1")
        await gateway.close()
        late = Listener()
        gateway = await start(world, late, begin=Begin.NOW)
        await trade(gateway, "k2")
        await told_all(world, gateway)
        assert {one.key for one in late.taken} == {"k2"}
        await gateway.close()
        early = Listener()
        gateway = await start(world, Listener(), early)
        await told_all(world, gateway, "s1")
        assert sorted(early.sequences()) == await journal(world)
        await gateway.close()

    run(main)


def test_a_filter_leaves_out_and_passes_on(world: World) -> None:
    """With ``kinds`` only entries with such an event are told, and the place moves through all; other routes are not told."""

    async def main() -> None:
        listener, elsewhere = Listener(), Listener()
        gateway = await start(world, listener, kinds=("acknowledged",))
        await trade(gateway, "k1", "k2")
        await told_all(world, gateway)
        assert [one.key for one in listener.taken] == ["k1", "k2"]
        assert all("acknowledged" in {event["type"] for event in body(one)["events"]} for one in listener.taken)
        await gateway.close()
        gateway = await start(world, elsewhere, routes=("Y",))
        assert gateway.relays() == []
        await gateway.close()

    run(main)


def test_who_lost_the_route_moves_no_place(world: World) -> None:
    """ONE-WRITER: a relay whose route somebody took tells nothing more of it, and its own gateway is told that it lost it."""

    async def main() -> None:
        listener = Listener()
        gateway = await start(world, listener)
        await told_all(world, gateway)
        await world.ledger.acquire("X", "somebody", world.clock.now_us())
        kept = await place(world)
        relay = gateway.relays()[0]
        relay.route.news.head += 1
        relay._news()
        await until(gateway.failure)
        assert "another owner took the route" in str(gateway.failure())
        assert await place(world) == kept
        await gateway.close()

    run(main)


def test_a_slow_answer_to_one_order_leaves_the_others_going(world: World) -> None:
    """Where a call hangs, other orders are told by the next call meanwhile; its own order waits."""

    async def main() -> None:
        listener = Listener()
        gateway = await start(world, listener, policy=Policy(batch=1, in_flight=2, answer_s=100))
        held = asyncio.get_running_loop().create_future()

        async def before() -> None:
            if listener.calls[-1][0].key == "k1" and not held.done():
                await held

        listener.before = before
        await trade(gateway, "k1", "k2", "k3")
        await until(lambda: any(of_key("k3", "acknowledged")(one) for one in listener.taken))
        assert not any(of_key("k1")(one) for one in listener.taken)
        held.set_result(None)
        await told_all(world, gateway)
        await gateway.close()

    run(main)


def test_an_entry_that_is_missing_is_never_passed_over(world: World) -> None:
    """Where the journal has a hole behind the place nothing behind it is told, and the status says so."""

    async def main() -> None:
        listener = Listener()
        ledger = await world.store()
        real = ledger.ledger.outbox

        async def outbox(route: str, after: int, limit: int) -> Any:
            return [row for row in await real(route, after, limit) if row.entry.sequence != 2]

        ledger.ledger.outbox = outbox  # type: ignore[method-assign]
        gateway = await start(world, listener, ledger=ledger)
        await trade(gateway, "k1")
        await until(lambda: "entry 2 of the journal is not there" in (gateway.relays()[0].problem or ""))
        assert set(listener.sequences()) <= {1}
        await gateway.close()
        assert world.rows("SELECT position FROM subscription")[0][0] <= 1

    run(main)


def test_only_what_was_acknowledged_is_told(world: World) -> None:
    """NO-LOSS, TOLD-ONCE: an entry that is in the ledger already, while its commit is not acknowledged, is told to nobody: it
    may be gone after a failover. It is told once the commit is.
    """

    async def main() -> None:
        listener = Listener()
        ledger = await world.store()
        gateway = await start(world, listener, ledger=ledger)
        await told_all(world, gateway)
        real, held = ledger.ledger.commit, asyncio.Event()

        def commit(change: Any) -> Any:
            done = asyncio.get_running_loop().create_future()

            async def acknowledge() -> None:
                outcome = await real(change)
                await held.wait()
                done.set_result(outcome)

            tasks.append(asyncio.ensure_future(acknowledge()))
            return done

        tasks: list[Any] = []
        ledger.ledger.commit = commit  # type: ignore[method-assign]
        events = gateway.events(begin=Begin.NOW)
        waiting = asyncio.ensure_future(anext(events))
        submitting = asyncio.ensure_future(trade(gateway, "k1"))
        await until(lambda: world.rows("SELECT count(*) FROM journal")[0][0] == 2)
        relay = gateway.relays()[0]
        relay._news()
        await asyncio.sleep(10)
        assert listener.sequences() == [1]
        assert not waiting.done()
        held.set()
        await submitting
        await told_all(world, gateway)
        assert sorted(listener.sequences()) == await journal(world)
        assert (await waiting).key == "k1"
        await events.aclose()
        await gateway.close()
        await asyncio.gather(*tasks)

    run(main)


def test_a_name_is_for_one_subscriber(world: World) -> None:
    """Two subscribers of one name would share a place: that is refused before anything starts."""

    async def main() -> None:
        twice = [Subscriber(name="desk", publisher=Listener())] * 2
        ledger = await world.store()
        with pytest.raises(InvalidField, match="two are named 'desk'"):
            Gateway(ledger, {"X": world.venue}, clock=world.clock, holder="test", subscribers=twice)  # type: ignore[arg-type]
        with pytest.raises(InvalidField, match="subscriber"):
            Subscriber(name="", publisher=Listener())
        await ledger.close()

    run(main)
