"""Several gateways tell one subscriber: each route's holder does, wherever the route goes (promises TOLD-ONCE, ONE-WRITER)."""

import asyncio
from typing import Any

import pytest
from gateway_world import World, intent, until
from nodes_kit import LEASE_S, Nodes, nodes
from relay_kit import FAST, Listener
from virtual_loop import run

from onefill.core.errors import RouteElsewhere
from onefill.core.relay import TOLD, Invalid
from onefill.engine.relay import Subscriber


def _told(listener: Listener) -> list[Subscriber]:
    """Return the one subscriber, as every node has it in its settings."""
    return [Subscriber(name="desk", publisher=listener, policy=FAST)]


async def _all(made: Nodes, listener: Listener, *routes: str) -> None:
    """Wait until all is told, and check that nothing was left out and each order's events first came in order."""
    for route in routes:

        async def last(route: str = route) -> int:
            return (await made.store.journal(route, 0, 10_000))[-1].sequence

        async def place(route: str = route) -> int:
            return next((one.position for one in await made.store.subscriptions(route)), -1)

        async with asyncio.timeout(600):
            while await place() != await last():  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.05)
        mine = [one for one in listener.taken if one.route == route]
        assert sorted({one.sequence for one in mine}) == list(range(1, await last() + 1))
        for lane in {one.lane for one in mine}:
            first = list(dict.fromkeys(one.sequence for one in mine if one.lane == lane))
            assert first == sorted(first)
        assert len({(one.sequence, one.id) for one in mine}) == len({one.sequence for one in mine})


def test_a_route_that_is_handed_over_is_told_of_by_the_next(world: World) -> None:
    """After a planned hand-over the other node goes on at the very place: nothing twice, nothing left out."""

    async def main() -> None:
        listener = Listener()
        async with nodes(world) as made:
            a = await made.start("a", subscribers=_told(listener))
            b = await made.start("b", subscribers=_told(listener))
            for number in range(4):
                here = a if a.held else b
                await here.gateway.submit(intent(), key=f"k{number}")
                await here.gateway.hand_over("X")
                await until(lambda here=here: (b if here is a else a).held)
            await _all(made, listener, "X")
            assert len(set(listener.sequences())) == len(listener.sequences())
            assert len(a.gateway.relays()) + len(b.gateway.relays()) == 1

    run(main)


def test_a_dead_nodes_routes_are_told_of_by_those_left(world: World) -> None:
    """Killed in the middle of telling, a node's routes are told of elsewhere, from the ledger's place, with the same ids."""

    async def main() -> None:
        listener, mute = Listener(), Listener()
        routes = ("X1", "X2", "X3")

        async def never() -> Any:
            await asyncio.get_running_loop().create_future()

        async with nodes(world) as made:
            a = await made.start("a", routes, subscribers=_told(mute))
            b = await made.start("b", routes, subscribers=_told(listener))
            await until(lambda: len(a.held | b.held) == 3)
            mute.before = never
            for route in sorted(a.held):
                await a.gateway.submit(intent(venue=route), key=f"k{route}")
            a.die()
            await until(lambda: b.held == set(routes), within_s=LEASE_S + 2)
            listener.taken[:0] = mute.taken
            await _all(made, listener, *routes)

    run(main)


def test_a_node_without_the_ledger_moves_no_place(world: World) -> None:
    """ONE-WRITER: a node that was cut off while it told may tell once more what it has, and moves no place any more."""

    async def main() -> None:
        listener = Listener()
        async with nodes(world) as made:
            a = await made.start("a", subscribers=_told(listener))
            await a.gateway.submit(intent(), key="k1")
            a.ledger.cut = True
            b = await made.start("b", subscribers=_told(listener))
            await until(lambda: b.held)
            await b.gateway.submit(intent(), key="k2")
            await _all(made, listener, "X")
            kept = (await made.store.subscriptions("X"))[0].position
            a.ledger.mend()
            await until(lambda: not a.held)
            await asyncio.sleep(LEASE_S)
            assert (await made.store.subscriptions("X"))[0].position >= kept
            await _all(made, listener, "X")

    run(main)


def test_what_is_stopped_stays_stopped_at_the_next_node(world: World) -> None:
    """An order that one node stopped is not told by the next; a word there lets it go on; elsewhere it is refused."""

    async def main() -> None:
        listener = Listener()
        listener.reply = lambda one: Invalid("no") if one.key == "k1" and one.kind != "recorded" else TOLD
        async with nodes(world) as made:
            a = await made.start("a", subscribers=_told(listener))
            b = await made.start("b", subscribers=_told(listener))
            await a.gateway.submit(intent(), key="k1")
            await until(lambda: a.gateway.relays()[0].lanes.stopped)
            with pytest.raises(RouteElsewhere):
                await b.gateway.resume_subscriber("desk", route="X", by="ann", reason="r")
            await a.gateway.hand_over("X")
            await until(lambda: b.held)
            await until(lambda: b.gateway.relays()[0].lanes)
            assert b.gateway.relays()[0].lanes.stopped
            listener.reply = lambda _: TOLD
            await b.gateway.resume_subscriber("desk", by="ann", reason="r")
            await _all(made, listener, "X")

    run(main)
