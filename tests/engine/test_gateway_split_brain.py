"""Nodes that are cut off, or whose clocks go wrong: who lost its lease sends and writes nothing, and suspicion means SAFE."""

import asyncio
from decimal import Decimal

import msgspec
import pytest
from gateway_world import WHO, World, intent, turns, until
from nodes_kit import LEASE_S, Node, Nodes, nodes, outcome, took_s
from scripted_venue import given, held
from virtual_loop import run

from onefill.core.control import State
from onefill.core.errors import RouteElsewhere, SecondSession
from onefill.core.identity import IdFormat, sequence_id, session_tag
from onefill.core.incident import IncidentKind
from onefill.core.messages import SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.gate import RouteShut


async def cut_off(made: Nodes, orders: int = 3) -> tuple[Node, Node]:
    """Return two nodes, the first of which holds the route, has live orders, and has just lost the ledger."""
    a, b = await made.start("a"), await made.start("b")
    for number in range(orders):
        assert (await a.gateway.submit(intent(), key=f"k{number}")).accepted
    a.ledger.cut = True
    return a, b


def test_cut_off_from_the_ledger_a_node_sends_nothing_once_its_lease_is_over(world: World) -> None:
    """It can reach the venue all the time: what its callers ask for stays here, and the next holder goes on."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await cut_off(made)
            assert await took_s(lambda: b.held == {"X"}, within_s=LEASE_S + 1) > LEASE_S / 2
            sent = {kind: a.sent(kind) for kind in ("submit", "cancel", "replace")}
            asked = [
                asyncio.ensure_future(outcome(work))
                for work in (
                    a.gateway.submit(intent(), key="new", wait_s=3),
                    a.gateway.cancel("k0", **WHO, wait_s=3),
                    a.gateway.replace("k1", **WHO, quantity=5, wait_s=3),
                )
            ]
            await asyncio.sleep(2 * LEASE_S)
            assert {kind: a.sent(kind) for kind in sent} == sent
            a.ledger.mend()
            for one in asked:
                assert isinstance(await one, Exception)
            assert (await b.gateway.submit(intent(), key="new")).accepted
            assert (await b.gateway.cancel("k0", **WHO)).changed
            assert len(made.orders("X")) == 4

    run(main)


def test_a_copy_that_was_claimed_before_the_cut_does_not_leave_after_the_lease(world: World) -> None:
    """The commit of the claim came back only when another node had the route: the bytes stay, the order is the other's."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            commit, waiting = a.ledger.ledger.commit, asyncio.Event()

            def late(change: object) -> "asyncio.Future[object]":
                done = commit(change)  # durable now; the node hears of it late
                told = asyncio.get_running_loop().create_future()
                waiting.set()
                asyncio.get_running_loop().call_later(LEASE_S + 2, lambda: told.set_result(done.result()))
                return told

            a.ledger.commit = late  # type: ignore[method-assign]
            asked = asyncio.ensure_future(outcome(a.gateway.submit(intent(), key="k", wait_s=20)))
            await waiting.wait()
            await turns()
            a.ledger.commit = commit
            a.ledger.cut = True
            await until(lambda: b.held == {"X"})
            assert (await b.gateway.submit(intent(), key="k")).accepted
            await asyncio.sleep(LEASE_S)
            a.ledger.mend()
            await asked
            assert a.sent() == 0
            assert len(made.orders("X")) == 1

    run(main)


def test_whoever_comes_back_is_fenced_writes_nothing_and_asks_anew(world: World) -> None:
    """Back at the ledger, the earlier holder's changes are refused; it lets go, and takes the route when it is free again."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await cut_off(made)
            await until(lambda: b.held == {"X"})
            journal = [info.journal_entries for info in await made.store.routes()]
            a.ledger.mend()
            asked = [outcome(a.gateway.submit(intent(), key=f"n{n}", wait_s=0)) for n in range(3)]
            assert {type(one) for one in await asyncio.gather(*asked)} == {RouteElsewhere}
            await until(lambda: a.held == set())
            assert [info.journal_entries for info in await made.store.routes()] == journal
            assert await made.store.suspicions("X", 0) == []
            await b.gateway.close()
            await until(lambda: a.held == {"X"})
            assert (await a.gateway.submit(intent(), key="n0")).accepted

    run(main)


def test_a_short_cut_costs_nothing(world: World) -> None:
    """A ledger that is away for less than a lease, while nothing is recorded, changes no holder and no epoch."""

    async def main() -> None:
        async with nodes(world) as made:
            a, _ = await cut_off(made)
            epoch = a.gateway.status().routes[0].epoch
            await asyncio.sleep(LEASE_S * 0.5)
            a.ledger.mend()
            await asyncio.sleep(2 * LEASE_S)
            assert a.held == {"X"}
            assert a.gateway.status().routes[0].epoch == epoch
            assert (await a.gateway.submit(intent(), key="new")).accepted

    run(main)


def test_a_lone_node_goes_on_under_its_epoch_after_its_lease_was_over(world: World) -> None:
    """Nobody took the route meanwhile: renewed, it is open again; in between nothing was taken."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            epoch = a.gateway.status().routes[0].epoch
            a.ledger.cut = True
            await asyncio.sleep(2 * LEASE_S)
            asking = asyncio.ensure_future(outcome(a.gateway.submit(intent(), key="k", wait_s=0)))
            await asyncio.sleep(0.5)
            assert a.sent() == 0
            a.ledger.mend()
            assert isinstance(await asking, Exception)
            assert (await a.gateway.submit(intent(), key="k", wait_s=10)).accepted
            assert a.gateway.status().routes[0].epoch == epoch

    run(main)


def test_cut_off_from_the_venue_a_holder_records_what_it_does_not_know(world: World) -> None:
    """Its orders go UNCERTAIN and are asked for wherever the route is handed to; nothing is sent twice."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            hang = asyncio.Event()
            a.venues["X"].submits = [held(hang)]
            a.venues["X"].lookups = [held(hang)] * 50
            asked = asyncio.ensure_future(outcome(a.gateway.submit_raw(intent(), key="k", wait_s=60)))
            await until(lambda: a.sent() == 1)
            await a.gateway.hand_over("X")
            await until(lambda: b.held == {"X"})
            assert await b.gateway.submit_raw(intent(), key="k", wait_s=60) == await asked
            assert len(made.orders("X")) == 1

    run(main)


async def too_early(made: Nodes) -> tuple[Node, Node]:
    """Return a holder whose lease lasts, and a node to which the ledger lent the route all the same: its clock had jumped."""
    a = await made.start("a")
    assert (await a.gateway.submit(intent(), key="k")).accepted
    b = Node(made, "b", ("X",), LEASE_S)
    b.clock.off_us = round((LEASE_S + 1) * 1_000_000)
    made._started.append(b)
    await b.gateway.start()
    await until(lambda: b.held == {"X"})
    return a, b


def test_a_holder_that_is_fenced_within_its_lease_makes_the_next_one_safe(world: World) -> None:
    """Two could have sent at once: the fenced one notes it, and the holder is SAFE with cause and incident."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await too_early(made)
            await until(lambda: a.held == set(), within_s=1)
            (noted,) = await made.store.suspicions("X", 0)
            assert (noted.holder, noted.epoch) == ("a, process 1 on test", 1)
            assert "while its lease still lasted" in noted.reason
            await until(lambda: b.gateway.status().state is State.SAFE, within_s=2)
            (incident,) = await b.gateway.incidents()
            assert incident.kind is IncidentKind.SPLIT_BRAIN
            assert "a, process 1 on test (epoch 1)" in incident.evidence[0]
            with pytest.raises(RouteShut, match="second holder"):
                await b.gateway.submit(intent(), key="new")
            assert (await b.gateway.cancel("k", **WHO)).changed
            kept = [entry for entry in await made.store.journal("X", 0, 100) if "holders_suspected" in entry.payload]
            assert len(kept) == 1
            told = msgspec.json.decode(kept[0].payload)
            assert {one["type"] for one in told} == {"control_moved", "holders_suspected", "incident_opened"}

    run(main)


def test_a_suspicion_is_acted_on_once(world: World) -> None:
    """Opened again by a person, the route stays open: neither time nor another holder brings the same suspicion back."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await too_early(made)
            await until(lambda: b.gateway.status().state is State.SAFE)
            await a.gateway.close()  # by its clock every lease of its own is over for the others
            await b.gateway.release("X", by="ann", reason="the clock is right again", force=True)
            await asyncio.sleep(5)
            assert b.gateway.status().state is State.DEGRADED
            c = Node(made, "c", ("X",), LEASE_S)
            c.clock.off_us = b.clock.off_us
            made._started.append(c)
            await c.gateway.start()
            await b.gateway.hand_over("X")
            await until(lambda: c.held == {"X"})
            await asyncio.sleep(5)
            assert c.gateway.status().state is State.DEGRADED
            assert len(await c.gateway.incidents()) == 1

    run(main)


def test_a_suspicion_noted_while_nobody_held_the_route_waits_for_its_holder(world: World) -> None:
    """It is durable beside the route: whoever takes it next is SAFE for it, and a second one is one more line of evidence."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            await a.gateway.close()
            await made.store.suspect("X", 1, "z", world.clock.now_us(), "two of us")
            b = await made.start("b")
            await until(lambda: b.gateway.status().state is State.SAFE, within_s=2)
            await made.store.suspect("X", 1, "y", world.clock.now_us(), "three of us")
            await asyncio.sleep(2)
            (incident,) = await b.gateway.incidents()
            assert [line.partition(":")[0] for line in incident.evidence] == ["z (epoch 1)", "y (epoch 1)"]

    run(main)


def test_a_second_session_at_the_venue_means_safe(world: World) -> None:
    """The venue's own word counts as well: the holder that hears it takes no new exposure."""

    async def main() -> None:
        async with nodes(world) as made:
            a = Node(made, "a", ("X",), LEASE_S)
            made._started.append(a)
            a.venues["X"].streams = [given(error=SecondSession("logged on from elsewhere"))]
            await a.gateway.start()
            await until(lambda: a.gateway.status().state is State.SAFE, within_s=3)
            (incident,) = await a.gateway.incidents()
            assert incident.kind is IncidentKind.SPLIT_BRAIN
            assert "logged on from elsewhere" in incident.summary

    run(main)


def test_an_order_of_this_route_that_nobody_recorded_means_safe(world: World) -> None:
    """Executed under an id that only a holder of this route can have made, and not in the ledger: a copy of it sends too."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            route, venue = a.gateway._routes["X"], a.venues["X"]
            ids = [
                sequence_id("s", "20250616", session, 9, IdFormat())
                for session in (session_tag(b"another ledger's", "X", 1), route.lease.session)
            ]
            for number, client_order_id in enumerate(ids):
                for account, name, side in (("A", client_order_id, Side.BUY), ("M", f"m{number}", Side.SELL)):
                    request = SubmitRequest(
                        client_order_id=name,
                        account=account,
                        instrument="ACME",
                        side=side,
                        quantity=Decimal(1),
                        order_type=OrderType.LIMIT,
                        price=Decimal(100),
                        time_in_force=TimeInForce.GTC,
                        expires_at_us=None,
                    )
                    venue.exchange.submit(request, world.clock.now_us())
                await until(lambda: route.counts.quarantined == number + 1)  # noqa: B023 - awaited here
                await asyncio.sleep(2)
                assert a.gateway.status().state is (State.NORMAL, State.SAFE)[number]
            kinds = {one.kind: one for one in await a.gateway.incidents()}
            assert set(kinds) == {IncidentKind.STRANGER_EXECUTION, IncidentKind.SPLIT_BRAIN}
            assert ids[1] in kinds[IncidentKind.SPLIT_BRAIN].summary

    run(main)
