"""Several gateways over one ledger: routes spread, are handed over, and move when a node dies (promise ONE-WRITER)."""

import asyncio
from collections import Counter

import pytest
from gateway_world import WHO, World, intent, until
from nodes_kit import LEASE_S, Node, nodes, outcome, took_s
from scripted_venue import held
from virtual_loop import run

from onefill.core.errors import CallerError, LeaseLost, LedgerFailed, OrderUncertain, RouteElsewhere, UnknownVenue

FOUR = ("X1", "X2", "X3", "X4")


def test_routes_spread_evenly_over_nodes_that_start_together(world: World) -> None:
    """Two nodes that start at once hold two of four routes each; every route has one holder, as the ledger says too."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await asyncio.gather(made.start("a", FOUR), made.start("b", FOUR))
            await until(lambda: len(a.held | b.held) == 4)
            assert (len(a.held), len(b.held)) == (2, 2)
            assert not a.held & b.held
            await asyncio.sleep(3 * LEASE_S)
            assert (len(a.held), len(b.held)) == (2, 2)
            holders = Counter(info.holder.partition(",")[0] for info in await made.store.routes())
            assert holders == {"a": 2, "b": 2}

    run(main)


def test_routes_of_a_dead_node_move_to_those_that_are_left(world: World) -> None:
    """Killed, a node's routes are open elsewhere within its lease and a second, spread over both that are left."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a", FOUR)
            b, c = await asyncio.gather(made.start("b", FOUR), made.start("c", FOUR))
            assert a.held == set(FOUR)
            await asyncio.sleep(1.7)
            a.die()
            assert await took_s(lambda: b.held | c.held == set(FOUR), within_s=LEASE_S + 1) < LEASE_S + 1
            assert (len(b.held), len(c.held)) == (2, 2)

    run(main)


def test_a_node_that_is_left_alone_takes_what_comes_free_without_delay(world: World) -> None:
    """A dead node counts no more once its lease is over: nobody leaves its routes to it, however many one holds already."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await asyncio.gather(made.start("a", FOUR), made.start("b", FOUR))
            await until(lambda: len(a.held | b.held) == 4)
            await asyncio.sleep(LEASE_S)
            until_us = max(info.lease_until_us or 0 for info in await made.store.routes() if info.holder[0] == "a")
            a.die()
            await took_s(lambda: b.held == set(FOUR), within_s=LEASE_S + 1)
            assert (world.clock.now_us() - until_us) / 1_000_000 < 0.4

    run(main)


@pytest.mark.parametrize("lease_s", [1.0, 3.0, 10.0])
def test_an_order_goes_on_where_its_route_goes(world: World, lease_s: float) -> None:
    """An order whose reply was lost with its node is asked for, not sent again, by the next; its answer is there in time."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a", lease_s=lease_s)
            b = await made.start("b", lease_s=lease_s)
            a.venues["X"].submits = [held(asyncio.Event())]
            asking = asyncio.ensure_future(outcome(a.gateway.submit(intent(), key="k", wait_s=2)))
            await until(lambda: a.sent() == 1)
            a.die()
            began_s = asyncio.get_running_loop().time()
            answer = await b.gateway.submit(intent(), key="k", wait_s=lease_s + 20)
            assert answer.accepted
            assert b.held == {"X"}
            assert asyncio.get_running_loop().time() - began_s < lease_s + 10
            assert len(made.orders("X")) == 1
            assert isinstance(await asking, OrderUncertain)

    run(main)


def test_a_planned_hand_over_takes_less_than_a_second(world: World) -> None:
    """Handed over, a route is open at the other node within a second, with its order, and the first does not take it back."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            assert (await a.gateway.submit(intent(), key="k")).accepted
            handing = asyncio.ensure_future(a.gateway.hand_over("X"))
            assert await took_s(lambda: b.held == {"X"}, within_s=1) < 1
            await handing
            assert a.held == set()
            cancelled = await b.gateway.cancel("k", **WHO)
            assert cancelled.changed
            await asyncio.sleep(3 * LEASE_S)
            assert (a.held, b.held) == (set(), {"X"})

    run(main)


def test_replies_under_way_are_waited_for_before_a_route_is_given_back(world: World) -> None:
    """A hand-over lets a reply that comes soon still be recorded: the order is known, and its caller gets the answer."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            gate = asyncio.Event()
            a.venues["X"].submits = [held(gate)]
            asking = asyncio.ensure_future(a.gateway.submit(intent(), key="k"))
            await until(lambda: a.sent() == 1)
            asyncio.get_running_loop().call_later(0.1, gate.set)
            await a.gateway.hand_over("X")
            assert (await asking).accepted
            await until(lambda: b.held == {"X"})
            assert b.sent("lookup") == 0

    run(main)


def test_a_call_that_outlasts_the_hand_over_is_answered_by_the_next_holder(world: World) -> None:
    """A caller who waits while the route goes away gets its answer at the old node, by what the new one records."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            a.venues["X"].submits = [held(asyncio.Event())]
            asking = asyncio.ensure_future(a.gateway.submit_raw(intent(), key="k", wait_s=30))
            await until(lambda: a.sent() == 1)
            await a.gateway.hand_over("X")
            raw = await asking
            assert raw == await b.gateway.submit_raw(intent(), key="k")
            assert len(made.orders("X")) == 1

    run(main)


def test_a_node_that_is_closed_gives_its_routes_back(world: World) -> None:
    """Closing in order hands every route over within a second, without waiting for a lease to end."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a", FOUR), await made.start("b", FOUR)
            assert b.held == set()
            await a.gateway.close()
            assert await took_s(lambda: b.held == set(FOUR), within_s=1) < 1

    run(main)


def test_the_same_decision_on_two_nodes_gives_one_order_and_one_answer(world: World) -> None:
    """Sent to both nodes at once, a decision is one order at the venue, and both callers get the same bytes."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            for number in range(20):
                key = f"k{number}"
                both = [one.gateway.submit_raw(intent(), key=key) for one in (a, b)]
                answers = await asyncio.gather(*(both if number % 2 else both[::-1]))
                assert answers[0] == answers[1]
            assert len(made.orders("X")) == 20
            assert b.sent() == 0

    run(main)


def test_an_order_at_the_wrong_node_is_told_where_the_route_is(world: World) -> None:
    """Nothing is recorded or sent at a node that does not hold the route; after a moment the holder is named."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            loop = asyncio.get_running_loop()
            for wait_s, least_s, most_s in ((None, 0.9, 1.3), (0.3, 0.2, 0.5), (0, 0, 0.01)):
                began_s = loop.time()
                with pytest.raises(RouteElsewhere, match="held by a, process 1 on test") as told:
                    await b.gateway.submit(intent(), key="k", wait_s=wait_s)
                assert told.value.route == "X"
                assert least_s <= loop.time() - began_s <= most_s
            assert b.ledger.writes == []
            await a.gateway.submit(intent(), key="k")
            for work in (
                b.gateway.cancel("k", **WHO),
                b.gateway.replace("k", **WHO, quantity=5),
                b.gateway.reconcile("X"),
                b.gateway.freeze("X", by="ann", reason="odd"),
                b.gateway.hand_over("X"),
            ):
                assert isinstance(await outcome(work), RouteElsewhere)
            assert isinstance(await outcome(b.gateway.hand_over("Z")), UnknownVenue)
            with pytest.raises(RouteElsewhere):
                b.gateway.instruments("X")
            assert b.ledger.writes == []
            assert (await b.gateway.order("k", **WHO)).key == "k"

    run(main)


def test_a_key_that_is_used_for_another_order_is_refused_at_both_nodes(world: World) -> None:
    """SAME-ANSWER: the node that does not hold the route names the first differing field too."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            await a.gateway.submit(intent(), key="k")
            for one in (a, b):
                with pytest.raises(CallerError, match="quantity differs"):
                    await one.gateway.submit(intent(quantity=11), key="k")

    run(main)


def test_a_node_holds_no_more_than_it_is_meant_to_and_asks_first_for_its_own(world: World) -> None:
    """``prefer`` routes go to their node when all start together; ``max_routes`` is never passed, also when others die."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await asyncio.gather(
                made.start("a", FOUR, prefer=("X3", "X4")), made.start("b", FOUR, max_routes=2, prefer=("X1", "X2"))
            )
            await until(lambda: len(a.held | b.held) == 4)
            assert (a.held, b.held) == ({"X3", "X4"}, {"X1", "X2"})
            a.die()
            await asyncio.sleep(4 * LEASE_S)
            assert b.held == {"X1", "X2"}
            c = await made.start("c", FOUR)
            assert c.held == {"X3", "X4"}

    run(main)


def test_a_venue_that_cannot_be_used_here_keeps_no_node_from_the_rest(world: World) -> None:
    """A route that fails to open is left to others, tried again later, and its trouble is told with every refusal."""

    async def main() -> None:
        async with nodes(world) as made:
            node = Node(made, "a", ("X", "Y"), LEASE_S)
            made._started.append(node)
            broken = [OSError("no way there"), OSError("no way there")]

            async def start() -> None:
                if broken:
                    raise broken.pop()

            node.venues["Y"].start = start  # type: ignore[method-assign]
            await node.gateway.start()
            assert node.held == {"X"}
            with pytest.raises(RouteElsewhere, match=r"held by nobody.*no way there"):
                await node.gateway.submit(intent(venue="Y"), key="k", wait_s=0)
            await until(lambda: node.held == {"X", "Y"})
            assert (await node.gateway.submit(intent(venue="Y"), key="k")).accepted

    run(main)


def test_routes_are_held_again_soon_after_the_ledger_took_no_writes_for_long(world: World) -> None:
    """However long nothing could be written, routes are open within a second of the ledger's taking writes again."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a", FOUR)
            a.ledger.takes_no_writes = True
            with pytest.raises(LedgerFailed):
                await a.gateway.submit(intent(venue="X1"), key="k", wait_s=1)
            await asyncio.sleep(50 * LEASE_S)
            a.ledger.takes_no_writes = False
            assert await took_s(lambda: a.held == set(FOUR) and all(map(a.open, FOUR)), within_s=60) < 1
            assert (await a.gateway.submit(intent(venue="X1"), key="k")).accepted

    run(main)


def test_an_order_that_comes_while_its_route_is_handed_over_is_not_lost(world: World) -> None:
    """At any moment of a hand-over an order is taken by one node, or by none and told so: never by two, never in silence."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            asked = []

            async def orders(node: Node) -> None:
                for number in range(40):
                    asked.append(asyncio.ensure_future(outcome(node.gateway.submit_raw(intent(), key=f"k{number}"))))
                    await asyncio.sleep(0.02)

            feeding = asyncio.gather(orders(a), orders(b))
            await asyncio.sleep(0.2)
            await a.gateway.hand_over("X")
            await feeding
            results = await asyncio.gather(*asked)
            for number in range(40):
                pair = {results[i] for i in (2 * number, 2 * number + 1) if isinstance(results[i], bytes)}
                assert len(pair) == 1, (number, results[2 * number], results[2 * number + 1])
            odd = [one for one in results if not isinstance(one, bytes | RouteElsewhere | LeaseLost)]
            assert odd == []
            assert len(made.orders("X")) == 40

    run(main)


def test_a_node_tells_what_it_holds_and_who_holds_the_rest(world: World) -> None:
    """Its status: open routes with their epoch and what is left of the lease, the others with holder and trouble."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a", ("X", "Y"), prefer=("X", "Y"))
            b = await made.start("b", ("X", "Y", "Z"), max_routes=1)
            await until(lambda: b.held == {"Z"})
            await asyncio.sleep(1)
            status = b.gateway.status()
            assert [one.route for one in status.routes] == ["Z"]
            assert 0 < (status.routes[0].lease_left_s or 0) <= LEASE_S
            told = [(one.route, one.holder, one.trouble) for one in status.elsewhere]
            assert told == [("X", "a, process 1 on test", None), ("Y", "a, process 1 on test", None)]
            assert a.gateway.status().elsewhere == ()

    run(main)


def test_a_name_that_two_nodes_have_is_told(world: World) -> None:
    """Safe all the same, since a name is no proof; but it is no node of its own, and its status says so while it lasts."""

    async def main() -> None:
        async with nodes(world) as made:
            a, again = await made.start("a"), await made.start("a")
            await asyncio.sleep(1)
            (told,) = again.gateway.status().elsewhere
            assert "another one that was given the same name" in (told.trouble or "")
            assert (a.held, again.held) == ({"X"}, set())
            await a.gateway.close()
            await until(lambda: again.held == {"X"}, within_s=1)
            assert again.gateway.status().elsewhere == ()

    run(main)


def test_a_ledger_that_does_not_answer_keeps_no_caller_waiting(world: World) -> None:
    """Cut off from the ledger past its lease, a node says so within a second or ``wait_s``, and sends nothing."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            a.ledger.cut = True
            await asyncio.sleep(LEASE_S)
            loop = asyncio.get_running_loop()
            for wait_s in (0, 3):
                began_s = loop.time()
                with pytest.raises(RouteElsewhere, match="did not say in time"):
                    await a.gateway.submit(intent(), key="k", wait_s=wait_s)
                assert loop.time() - began_s < wait_s + 1.1
            assert a.sent() == 0

    run(main)


def test_a_request_expires_with_the_lease_it_is_sent_under(world: World) -> None:
    """What leaves at the last moment is refused by the venue after it; a longer lease leaves the venue's own time."""

    async def main() -> None:
        async with nodes(world) as made:
            for lease_s, least_us, most_us in ((1.0, 0, 950_000), (60.0, 1_999_000, 2_000_000)):
                node = await made.start(f"n{lease_s}", lease_s=lease_s)
                await asyncio.sleep(lease_s / 4)
                await node.gateway.submit(intent(), key=f"k{lease_s}")
                (call,) = [one for one in node.venues["X"].calls if one.kind == "submit"]
                assert least_us < call.request.expires_at_us - call.at_us <= most_us
                await node.gateway.close()

    run(main)


def test_a_look_that_fails_in_any_way_ends_no_campaign(world: World) -> None:
    """A node whose ledger raised what no ledger should goes on looking, and takes the route when it is free."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            routes, failures = b.ledger.ledger.routes, [ValueError("odd"), OSError("gone")]

            async def odd() -> object:
                if failures:
                    raise failures.pop()
                return await routes()

            b.ledger.routes = odd  # type: ignore[attr-defined]
            await until(lambda: not failures)
            await a.gateway.close()
            await until(lambda: b.held == {"X"}, within_s=1)

    run(main)
