"""Steps and callbacks where several nodes share a ledger: the route's holder takes them, what is done counts everywhere."""

import asyncio
from typing import Any

import pytest
from callback_kit import VERIFIER, CallbackVenue, callback, told
from gateway_world import World, intent, quantity, turns
from nodes_kit import LEASE_S, Node, Nodes, nodes, took_s
from virtual_loop import run

from onefill.core.errors import CallbackNotHere, RouteElsewhere, StepReused
from onefill.core.once import Attempt


class CallingNodes(Nodes):
    """Nodes whose venue tells by callbacks."""

    def connection(self, route: str) -> CallbackVenue:
        self.exchanges.setdefault(route, self.world.exchange)
        return CallbackVenue(self.world.exchange, self.world.clock.now_us)


class Work:
    """A step that hangs at its first attempt until it is let go."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.let_go = asyncio.Event()

    async def __call__(self, attempt: Attempt) -> int:
        self.attempts.append(attempt)
        if not attempt.begun_before:
            await self.let_go.wait()
        return attempt.number


async def moved(a: Node, b: Node) -> None:
    """Let a node die, and the other one take its route."""
    a.die()
    await took_s(lambda: b.held == {"X"}, within_s=2 * LEASE_S)


def test_a_step_goes_on_at_the_node_that_has_the_route(world: World) -> None:
    """A node without the route begins nothing and gives what is done; after its holder died it knows that it was begun."""
    work = Work()

    async def quick(attempt: Attempt) -> str:
        return attempt.idempotency_key

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            with pytest.raises(RouteElsewhere, match="held by a"):
                await b.gateway.once("k", "book", quick)
            first = await a.gateway.once("k", "book", quick, arguments=[1])
            assert await b.gateway.once("k", "book", quick, arguments=[1]) == first
            with pytest.raises(StepReused):
                await b.gateway.once("k", "book", quick, arguments=[2])
            assert [one.step for one in await b.gateway.steps("k")] == ["book"]
            lost = asyncio.ensure_future(a.gateway.once("k", "tell", work))
            await turns()
            with pytest.raises(RouteElsewhere):
                await b.gateway.once("k", "tell", work)
            assert b.ledger.writes == []
            await moved(a, b)
            assert await b.gateway.once("k", "tell", work) == 2
            assert work.attempts[0].idempotency_key == work.attempts[1].idempotency_key
            work.let_go.set()
            a.ledger.mend()
            assert await lost == 2  # its own result was refused, as another had the route: the one that stands is given
            assert [one.attempt for one in await b.gateway.steps("k")] == [1, 2]

    run(main)


def test_a_step_outlives_a_hand_over(world: World) -> None:
    """What runs while its route is handed over ends with one result for both nodes."""
    work = Work()

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            running = asyncio.ensure_future(a.gateway.once("k", "tell", work))
            await turns()
            await a.gateway.hand_over("X")
            await took_s(lambda: b.held == {"X"}, within_s=LEASE_S)
            there = await b.gateway.once("k", "tell", work)
            work.let_go.set()
            assert await running == there == 2
            assert await a.gateway.once("k", "tell", work) == 2

    run(main)


def test_a_callback_is_known_wherever_its_route_goes(world: World) -> None:
    """A node without the route leaves it to come again; taken in at one node, it is a repeat at the next holder."""

    async def main() -> None:
        async with nodes(world) as plain:
            made = CallingNodes(world, plain.store)
            a, b = await made.start("a"), await made.start("b")
            for node in (a, b):
                node.gateway.expect_callbacks("X", VERIFIER)
                for venue in node.venues.values():
                    venue.muted = True
            await a.gateway.submit(intent(), key="k")
            world.offer(4, 100)
            world.offer(6, 100)
            first, second = (callback(world, one) for one in told(world)[1:])

            async def take(node: Node, sent: Any) -> Any:
                return await node.gateway.take_callback("X", sent.headers, sent.body)

            with pytest.raises(CallbackNotHere):
                await take(b, first)
            assert not (await take(a, first)).repeated
            await moved(a, b)
            assert (await take(b, first)).repeated
            assert not (await take(b, second)).repeated
            assert quantity(b.gateway) == 10
            await made.close()

    run(main)
