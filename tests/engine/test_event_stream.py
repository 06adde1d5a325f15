"""Events in this process: ``gateway.events()`` goes on where its consumer stopped, and holds nobody up."""

import asyncio
import contextlib
import threading
from typing import Any

import msgspec
import pytest
from gateway_world import World, intent
from relay_kit import FAST, Listener, body, journal, place, start, trade
from virtual_loop import run

import onefill.sync
from onefill.core.errors import InvalidField, InvariantBroken, LedgerError, RouteClosed, UnknownVenue
from onefill.core.relay import Message
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Begin


async def _take(stream: Any, count: int) -> list[Message]:
    """Return the next events, the last of which is not taken yet."""
    return [await anext(stream) for _ in range(count)]


async def _all(gateway: Gateway, world: World, **given: Any) -> list[int]:
    """Return what a new stream gives by now."""
    last = (await journal(world))[-1]
    found: list[int] = []
    async with gateway.events(**given) as stream:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                async for event in stream:
                    found.append(event.sequence)
                    if event.sequence == last:
                        break
    return found


def test_events_come_in_order_and_go_on_where_they_stopped(world: World) -> None:
    """TOLD-ONCE: a named stream gives the journal in order; the next one begins with the first event that was not taken."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1", "k2")
        async with gateway.events(subscriber="desk") as stream:
            first = await _take(stream, 3)
            assert [one.sequence for one in first] == [1, 2, 3]
            assert body(first[1])["key"] == first[1].key == "k1"
        async with gateway.events(subscriber="desk") as stream:
            again = await _take(stream, 2)
            assert again[0] == first[2]
        await gateway.close()
        gateway = await start(world)
        assert await _all(gateway, world, subscriber="desk") == [n for n in await journal(world) if n >= 4]
        await gateway.close()

    run(main)


def test_it_waits_for_what_comes(world: World) -> None:
    """At the end of the journal a stream waits, with its place noted, and gives what is committed next."""

    async def main() -> None:
        gateway = await start(world)
        async with gateway.events(subscriber="desk", begin=Begin.NOW, kinds=("recorded",)) as stream:
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(100)
            assert not waiting.done()
            await trade(gateway, "k1", "k2")
            assert (await waiting).key == "k1"
            assert (await anext(stream)).key == "k2"
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(1)
            assert await place(world, "desk") == (await journal(world))[-1]
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await trade(gateway, "k3")
            assert (await anext(stream)).key == "k3"
        await gateway.close()

    run(main)


def test_by_hand_only_what_was_acknowledged_is_taken(world: World) -> None:
    """With ``by_hand`` the place follows ``ack`` alone; what was given and not acknowledged comes again."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1", "k2")
        async with gateway.events(subscriber="desk", by_hand=True, keep_every_s=0) as stream:
            given = await _take(stream, 5)
            assert await place(world, "desk") == 0
            await stream.ack(given[2])
            assert await place(world, "desk") == 3
            await stream.ack(given[1])
            assert await place(world, "desk") == 3
            with pytest.raises(InvariantBroken):
                await stream.ack(msgspec.structs.replace(given[4], sequence=99))
        async with gateway.events(subscriber="desk") as stream:
            assert (await anext(stream)).sequence == 4
        await gateway.close()

    run(main)


def test_without_a_name_nothing_is_kept(world: World) -> None:
    """A stream without a name begins where it is told to and leaves nothing in the ledger."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1", "k2")
        whole = await journal(world)
        assert await _all(gateway, world) == whole
        assert await _all(gateway, world, after=3) == whole[3:]
        assert await world.ledger.subscriptions("X") == []
        await gateway.close()

    run(main)


def test_after_a_kill_the_rest_comes_once_more(world: World) -> None:
    """TOLD-ONCE: what was taken and not noted before kill -9 comes again with the same ids; nothing is left out."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1", "k2")
        stream = gateway.events(subscriber="desk", keep_every_s=1000)
        before = await _take(stream, 5)
        kept = await place(world, "desk")
        await world.kill(gateway)
        gateway = await start(world)
        async with gateway.events(subscriber="desk") as stream:
            again = await _take(stream, 5)
        assert again[0].sequence == kept + 1
        known = {one.sequence: one for one in before}
        assert all(known[one.sequence] == one for one in again if one.sequence in known)
        await gateway.close()

    run(main)


def test_a_consumer_that_sleeps_holds_nobody_up(world: World) -> None:
    """Orders and other subscribers go on while a consumer takes nothing; what is read ahead for it is one page."""

    async def main() -> None:
        listener = Listener()
        gateway = await start(world, listener, policy=FAST)
        async with gateway.events(subscriber="slow") as stream:
            await anext(stream)
            for number in range(150):
                await trade(gateway, f"k{number}")
            assert len(stream._page) <= 200
            rest = (await journal(world))[1:]
            assert [one.sequence for one in await _take(stream, len(rest))] == rest
        await gateway.close()

    run(main)


def test_two_consumers_of_one_name_are_noticed(world: World) -> None:
    """One name is for one consumer: the second to move its place is refused, and nothing is lost."""

    async def main() -> None:
        gateway = await start(world)
        await trade(gateway, "k1", "k2")
        first = gateway.events(subscriber="desk", keep_every_s=0)
        second = gateway.events(subscriber="desk", keep_every_s=0)
        await _take(first, 1)
        await _take(second, 2)
        with pytest.raises(LedgerError, match="another consumer named 'desk'"):
            await _take(first, 2)
        await gateway.close()

    run(main)


def test_it_ends_with_the_route(world: World) -> None:
    """Whoever waits when the gateway closes is told so; one that was left ends like any iterator."""

    async def main() -> None:
        gateway = await start(world)
        stream = gateway.events(subscriber="desk", begin=Begin.NOW)
        left = gateway.events()
        await anext(left)
        await left.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(left)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(1)
        await gateway.close()
        with pytest.raises(RouteClosed, match="is not held here any more"):
            await waiting
        await stream.aclose()

    run(main)


def test_what_cannot_be_is_refused(world: World) -> None:
    """A name that a configured subscriber has, a place before the first entry, and a route that is not there are refused."""

    async def main() -> None:
        gateway = await start(world, Listener())
        for given, error in (
            ({"subscriber": "s0"}, "'s0' is told by this gateway itself"),
            ({"subscriber": "a b\n"}, "subscriber"),
            ({"after": -1}, "after: -1 is not an entry"),
            ({"keep_every_s": -1.0}, "keep_every_s"),
        ):
            with pytest.raises(InvalidField, match=error):
                gateway.events(**given)
        with pytest.raises(UnknownVenue):
            gateway.events(route="Y")
        await gateway.close()

    run(main)


def test_plain_code_iterates_too(world: World) -> None:
    """``onefill.sync``: a plain iterator that waits on the calling thread and goes on where it stopped."""
    with onefill.sync.open(world.path, venues={"X": world.venue}) as gateway:
        gateway.submit(intent(), key="k1")
        events = gateway.events(subscriber="desk", kinds=("recorded",))
        assert next(events).key == "k1"
        found: list[str | None] = []
        thread = threading.Thread(target=lambda: found.append(next(events).key))
        thread.start()
        gateway.submit(intent(), key="k2")
        thread.join(60)
        assert found == ["k2"]
        events.close()
        again = gateway.events(subscriber="desk", kinds=("recorded",))
        assert next(again).key == "k2"
        waiting: list[type] = []

        def wait() -> None:
            try:
                next(again)
            except RouteClosed as error:
                waiting.append(type(error))

        thread = threading.Thread(target=wait)
        thread.start()
    thread.join(60)
    assert waiting == [RouteClosed]
