"""Routes that move while their nodes are well: to a node that joins, by a person's word, and to and fro under load."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from gateway_world import WHO, World, intent, until
from nodes_kit import Node, nodes, outcome, took_s
from virtual_loop import run

from onefill.core.errors import LeaseLost, OrderUncertain, RouteElsewhere
from onefill.core.spread import HandOverAsked

FOUR = ("X1", "X2", "X3", "X4")


def test_a_node_that_joins_gets_its_share_one_route_after_the_other(world: World) -> None:
    """It asks the one that holds most; in the end nobody holds two more than another, and nothing moves any more."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a", FOUR)
            assert a.held == set(FOUR)
            b = await made.start("b", FOUR)
            assert await took_s(lambda: len(b.held) == 2, within_s=10) > 1
            assert len(a.held) == 2
            epochs = {info.name: info.epoch for info in await made.store.routes()}
            await asyncio.sleep(30)
            assert {info.name: info.epoch for info in await made.store.routes()} == epochs
            c = await made.start("c", FOUR)
            await until(lambda: {len(one.held) for one in (a, b, c)} == {1, 2})

    run(main)


def test_what_is_meant_for_a_node_comes_to_it_when_it_joins(world: World) -> None:
    """``prefer`` moves a route that another holds, unless that one prefers it too."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a", FOUR, prefer=("X1",))
            b = await made.start("b", FOUR, prefer=("X1", "X2"), max_routes=2)
            await until(lambda: "X2" in b.held)
            await asyncio.sleep(70)
            assert "X1" in a.held
            assert "X2" in b.held

    run(main)


def test_a_person_hands_a_route_to_a_node_of_their_choice(world: World) -> None:
    """The wish is written beside the route by whoever: the holder gives it, and the node that is meant has it at once."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b, c = await made.start("a"), await made.start("b"), await made.start("c")
            for to, holder in (("c", c), ("b", b), ("a", a)):
                await made.store.ask_hand_over("X", HandOverAsked(by="ann", to=to))
                assert await took_s(lambda node=holder: node.held == {"X"}, within_s=1) < 1  # type: ignore[misc]
                assert all(one.held == set() for one in (a, b, c) if one is not holder)
            await a.gateway.hand_over("X", "c")
            assert await took_s(lambda: c.held == {"X"}, within_s=1) < 1

    run(main)


def test_a_route_that_is_handed_to_nobody_comes_back(world: World) -> None:
    """A name that no node has: others take it a moment later, and where there is none, the one that gave it."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            await a.gateway.hand_over("X", "nobody")
            assert a.held == set()
            await took_s(lambda: a.held == {"X"}, within_s=4)
            b = await made.start("b")
            await a.gateway.hand_over("X", "nobody")
            await took_s(lambda: b.held == {"X"}, within_s=1)

    run(main)


async def to_and_fro(a: Node, b: Node, draw: Random, done: asyncio.Event) -> None:
    """Hand the route to the other node again and again."""
    while not done.is_set():
        await asyncio.sleep(draw.uniform(0.3, 1.2))
        one, other = (a, b) if a.held else (b, a)
        if one.held:
            await one.gateway.hand_over("X", other.name)


def test_routes_that_move_all_the_time_lose_and_double_nothing(world: World) -> None:
    """Orders and cancels at both nodes while the route goes to and fro: one order for each decision, one answer, no defect."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            draw, answers = Random(5), {}
            done = asyncio.Event()

            async def insist(ask: Callable[[Node], Awaitable[Any]]) -> Any:
                while isinstance(said := await outcome(ask(draw.choice((a, b)))), Exception):
                    assert isinstance(said, RouteElsewhere | LeaseLost | OrderUncertain), said
                return said

            async def decide(key: str) -> None:
                await asyncio.sleep(draw.uniform(0, 0.4))
                answers[key] = await insist(lambda one: one.gateway.submit_raw(intent(), key=key, wait_s=5))
                if draw.random() < 0.5:
                    told = await insist(lambda one: one.gateway.cancel(key, **WHO, wait_s=5))
                    assert told.result == "canceled"

            async def caller(number: int) -> None:
                for turn in range(6):
                    await decide(f"{number}-{turn}")

            moving = asyncio.ensure_future(to_and_fro(a, b, draw, done))
            await asyncio.gather(*(caller(number) for number in range(12)))
            done.set()
            await moving
            (info,) = await made.store.routes()
            assert info.epoch > 5
            assert len(made.orders("X")) == len(answers) == 72
            await until(lambda: a.held | b.held == {"X"})
            for key, answer in answers.items():
                assert await a.gateway.submit_raw(intent(), key=key) == answer
            assert await made.store.suspicions("X", 0) == []

    run(main)
