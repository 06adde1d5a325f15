"""Executions as venues tell them: growing totals, no ids, revisions, fees, restated terms, strangers, too much."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_books_kit import (
    CHANNELS,
    Make,
    bust,
    by_hand,
    correct,
    even,
    kinds,
    log,
    payloads,
    reword,
    state,
    stored_is_the_fold,
    trades,
)
from gateway_world import WHO, World, intent, quantity, turns
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope, ReplaceStyle
from onefill.core.messages import EXECUTED, ExecutionKind, ExecutionReport
from onefill.core.position import DROP_COPY, STREAM
from onefill.core.values import Side

_but = msgspec.structs.replace


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("recent", [0, 1000])
def test_growing_totals(make_world: Make, recent: int, copy: bool) -> None:
    """Totals by one channel or two, told again and after a restart: executed is what the venue counts, at its average price."""
    world = make_world(cumulative_fills_only=True, drop_copy=copy)

    async def main() -> None:
        for life in range(2):
            async with world.gateway(recent_orders=recent) as gateway:
                await gateway.submit(intent(price=101), key="k")
                if not life:
                    world.offer(3, 101)
                    world.offer(2, 101)
                    assert await even(world, gateway) == 5
                    world.offer(5, 99)
                world.exchange.retell("A")
                assert await even(world, gateway) == 10
                (position,) = gateway.positions()
                assert position.bought_value == 10 * 101
                assert state(await gateway.order("k", **WHO)) == ("filled", 10, 0, True)
                assert kinds(gateway) == []
            await stored_is_the_fold(world)

    run(main)


@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
@pytest.mark.parametrize("copy", [False, True])
def test_growing_totals_of_a_replaced_order(make_world: Make, style: ReplaceStyle, copy: bool) -> None:
    """The total is that of the whole chain: what was executed before a replace is not executed again after it."""
    world = make_world(cumulative_fills_only=True, replace=style, drop_copy=copy)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            assert await even(world, gateway) == 4
            assert (await gateway.replace("k", **WHO, quantity=9, price=101)).result == "replaced"
            assert await even(world, gateway) == 4
            world.offer(2, 101)
            assert await even(world, gateway) == 6
            assert (await gateway.replace("k", **WHO, quantity=8, price=102)).result == "replaced"
            world.offer(5, 102)
            assert await even(world, gateway) == 8
            (position,) = gateway.positions()
            assert position.bought_value == 4 * 100 + 2 * 101 + 2 * 102
            assert kinds(gateway) == []

    run(main)


@pytest.mark.parametrize("recent", [0, 1000])
@pytest.mark.parametrize("first", [1, 4])
def test_a_total_that_falls_opens_one_incident_and_adjusts_nothing(make_world: Make, first: int, recent: int) -> None:
    """A bust is told by a lower total only: a person is told, the position stays, and nothing that follows counts twice."""
    world = make_world(cumulative_fills_only=True, drop_copy=True)

    async def main() -> None:
        async with world.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(first, 100)
            if first < 4:
                world.offer(4 - first, 100)
            await even(world, gateway)
            world.offer(2, 100)
            await asyncio.sleep(1)
            bust(world)
            assert await even(world, gateway, true=False) == 6
            assert kinds(gateway) == ["contradiction"]
            before = await gateway.order("k", **WHO)
            world.exchange.retell("A")
            assert await even(world, gateway, true=False) == 6
            assert await gateway.order("k", **WHO) == before
            world.offer(6, 100)
            assert await even(world, gateway) == 10
            assert len(payloads(world, "incident_opened")) == 1

    run(main)


def test_totals_with_a_bust_that_is_told(make_world: Make) -> None:
    """Where totals and busts are told: the bust takes back its total, once, and what is executed after it counts."""
    world = make_world(cumulative_fills_only=True)

    def change(report: ExecutionReport) -> ExecutionReport | None:
        if report.kind is not ExecutionKind.ORDER_STATUS or report.cum_quantity:
            return None
        return _but(report, kind=ExecutionKind.TRADE_CANCEL, refers_to="total 4")

    reword(world, STREAM, change)

    async def main() -> None:
        for life in range(2):
            async with world.gateway(recent_orders=0) as gateway:
                await gateway.submit(intent(), key="k")
                if not life:
                    world.offer(4, 100)
                    await asyncio.sleep(1)
                    bust(world)
                    assert await even(world, gateway) == 0
                    world.offer(6, 100)
                world.exchange.retell("A")
                assert await even(world, gateway) == 6
                assert log(world) == [("trade", STREAM), ("bust", STREAM), ("trade", STREAM)]
                assert kinds(gateway) == []

    run(main)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
def test_no_execution_ids(make_world: Make, style: ReplaceStyle, copy: bool) -> None:
    """Fills without an id, several alike, across a replace, told again and by two channels: each counts once."""
    world = make_world(execution_ids="none", drop_copy=copy, replace=style)

    async def main() -> None:
        for life in range(2):
            async with world.gateway(recent_orders=0) as gateway:
                await gateway.submit(intent(), key="k")
                if not life:
                    world.offer(2, 100)
                    world.offer(2, 100)
                    assert await even(world, gateway) == 4
                    assert (await gateway.replace("k", **WHO, quantity=8, price=101)).result == "replaced"
                    world.offer(2, 100)
                    world.offer(2, 100)
                world.exchange.retell("A")
                assert await even(world, gateway) == 8
                assert len(log(world)) == 4
                assert kinds(gateway) == []

    run(main)


def test_a_bust_without_ids_is_left_to_a_person(make_world: Make) -> None:
    """What it speaks of cannot be known: one incident, told in the same entry, and nothing is adjusted."""
    world = make_world(execution_ids="none", drop_copy=True)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(2, 100)
            await even(world, gateway)
            bust(world)
            assert await even(world, gateway, true=False) == 2
            assert kinds(gateway) == ["contradiction"]
            assert len(payloads(world, "anomaly", "incident_opened")) == 1

    run(main)


@pytest.mark.parametrize("scope", list(ExecutionIdScope))
def test_revisions(make_world: Make, scope: ExecutionIdScope) -> None:
    """Interactive Brokers' way: ``.02`` corrects ``.01``, a bust is the next revision, by two channels and after a restart."""
    world = make_world(execution_revisions=True, drop_copy=True, execution_id_scope=scope)

    async def main() -> None:
        for life in range(2):
            async with world.gateway(recent_orders=0) as gateway:
                await gateway.submit(intent(), key="k")
                if not life:
                    world.offer(4, 100)
                    world.offer(6, 100)
                    first, second = trades(world)
                    correct(world, 3, 99, first)
                    correct(world, 2, 98, first)
                    bust(world, second, live=True)
                world.exchange.retell("A")
                assert await even(world, gateway) == 2
                (position,) = gateway.positions()
                assert position.bought_value == 2 * 98
                assert kinds(gateway) == []
            await stored_is_the_fold(world)

    run(main)


def test_fees_follow_what_counts(make_world: Make) -> None:
    """A fee counts with its execution, a correction brings its own, and a bust takes it back."""
    world = make_world(fee_rate=Decimal("0.01"), drop_copy=True)

    def fees(gateway: Any) -> Any:
        (position,) = gateway.positions()
        return dict(position.fees).get("USD", 0)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            world.offer(2, 100)
            await even(world, gateway)
            assert fees(gateway) == 6
            correct(world, 1, 100)
            await even(world, gateway)
            assert fees(gateway) == 5
            bust(world, trades(world)[0])
            await even(world, gateway)
            assert fees(gateway) == 1
            bust(world)
            assert await even(world, gateway) == 0
            assert fees(gateway) == 0
        await stored_is_the_fold(world)

    run(main)


@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
def test_terms_that_the_venue_restated(make_world: Make, style: ReplaceStyle) -> None:
    """The venue gives the order other terms: they hold here, an incident says so, and what is filled then is no overfill."""
    world = make_world(replace=style, drop_copy=True)

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(), key="k")
        world.offer(4, 100)
        await even(world, gateway)
        (sent,) = world.venue.ids()
        world.exchange.restate("A", world.clock.now_us(), client_order_id=sent, quantity=Decimal(12), price=Decimal(99))
        await even(world, gateway)
        await gateway.close()
        gateway = await world.start(recent_orders=0)
        (order,) = gateway.open_orders()
        assert (order.quantity, order.price, order.leaves_quantity) == (12, 99, 8)
        world.offer(8, 99)
        assert await even(world, gateway) == 12
        assert kinds(gateway) == ["restated"]
        bust(world, live=True)
        assert await even(world, gateway) == 4
        assert (await gateway.cancel("k", **WHO)).result == "canceled"
        assert len(payloads(world, "restated", "incident_opened")) == 1
        await gateway.close()

    run(main)


@pytest.mark.parametrize("lives", [1, 2])
@pytest.mark.parametrize("totals", [False, True])
def test_strangers_executions_with_bust_and_correction(make_world: Make, lives: int, totals: bool) -> None:
    """They are in no strategy's position; all of them make one incident, and our own go on beside them."""
    world = make_world(drop_copy=True, cumulative_fills_only=totals, tells_positions=True)

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(price=99), key="k")
        by_hand(world, 7)
        world.offer(3, 100)
        world.offer(4, 100)
        await even(world, gateway)
        if lives == 2:
            await gateway.close()
            gateway = await world.start()
        bust(world)
        correct(world, 2, 100, trades(world)[0])
        world.offer(1, 99)
        world.exchange.retell("A")
        assert await even(world, gateway) == truth_of_ours(world)
        assert kinds(gateway) == ["stranger_execution"]
        assert all(
            row[0] is None for row in world.rows("SELECT intent_id FROM execution WHERE client_order_id = 'byhand'")
        )
        assert len(payloads(world, "quarantined", "incident_opened")) == 1
        (report,) = await gateway.reconcile(full=True)
        assert report.failure is None
        assert [kind for kind in kinds(gateway) if kind == "position"] == []
        await gateway.close()
        await stored_is_the_fold(world)

    def truth_of_ours(world: World) -> Decimal:
        (sent,) = world.venue.ids()
        ours = [one for one in world.exchange.trades("A") if one.client_order_id == sent and one.counts]
        return sum((one.quantity for one in ours), Decimal(0))

    run(main)


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "account": {"account": "B"},
    "instrument": {"instrument": "OTHER"},
    "side": {"side": Side.SELL},
}


@pytest.mark.parametrize("field", CONTRADICTIONS)
def test_an_execution_under_our_id_that_cannot_be_ours(make_world: Make, field: str) -> None:
    """Another account, instrument or side: in no position, one incident in the same entry, and its bust is kept apart too."""
    world = make_world(drop_copy=True)
    changed = CONTRADICTIONS[field]
    for channel in CHANNELS:
        reword(world, channel, lambda one: _but(one, **changed) if one.kind in EXECUTED else None)

    async def main() -> None:
        for life in range(2):
            async with world.gateway(recent_orders=0) as gateway:
                await gateway.submit(intent(), key="k")
                if not life:
                    world.offer(4, 100)
                    bust(world)
                world.exchange.retell("A")
                await gateway.catch_up()
                await turns()
                assert gateway.failure() is None
                assert quantity(gateway) == 0
                assert kinds(gateway) == ["foreign_execution"]
                assert len(log(world)) == 2
                assert (await gateway.order("k", **WHO)).anomaly is None
        ((quarantined, opened),) = payloads(world, "quarantined", "incident_opened")
        assert (quarantined["kind"], opened["kind"]) == ("trade", "foreign_execution")

    run(main)


def test_an_overfill_counts_and_is_told_in_the_same_entry(make_world: Make) -> None:
    """More than the order's quantity was executed: it is in the position, and the incident is in the same journal entry."""
    world = make_world(drop_copy=True)

    def change(report: ExecutionReport) -> ExecutionReport | None:
        if report.kind is ExecutionKind.TRADE:
            return _but(report, last_quantity=Decimal(13), cum_quantity=Decimal(13))
        return None

    for channel in CHANNELS:
        reword(world, channel, change)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            assert await even(world, gateway, true=False) == 13
            assert state(await gateway.order("k", **WHO)) == ("filled", 13, 0, True)
            assert kinds(gateway) == ["overfill"]
            assert len(payloads(world, "traded", "anomaly", "incident_opened")) == 1
            bust(world, live=True)
            assert await even(world, gateway, true=False) == 0
            assert [order.key for order in gateway.open_orders()] == ["k"]

    run(main)


@pytest.mark.parametrize("scope", [ExecutionIdScope.ORDER, ExecutionIdScope.ACCOUNT])
@pytest.mark.parametrize("what", ["bust", "second channel"])
def test_an_execution_is_named_by_another_id_of_the_chain(make_world: Make, scope: ExecutionIdScope, what: str) -> None:
    """A venue that keeps its number through a replace names an older execution by the newer client order id: it is the same."""
    world = make_world(replace=ReplaceStyle.NEW_ID, execution_id_scope=scope, drop_copy=what != "bust")
    newest: list[str] = []

    def same_number(report: ExecutionReport) -> ExecutionReport:
        newer = bool(newest) and (report.kind is ExecutionKind.TRADE_CANCEL)
        return _but(report, venue_order_id="N1", client_order_id=newest[0] if newer else report.client_order_id)

    def by_newest(report: ExecutionReport) -> ExecutionReport:
        return _but(report, venue_order_id="N1", client_order_id=newest[0])

    def show(report: ExecutionReport) -> ExecutionReport:
        # Ids go on through the chain, as the number does.
        again = same_number(report)
        return again if report.venue_order_id == "X1" else _but(again, execution_id=f"{again.execution_id}'")

    reword(world, STREAM, show)
    reword(world, DROP_COPY, by_newest)
    world.venue.submits = [_numbered]
    world.venue.replaces = [_numbered_replace]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.exchange.hold_drop_copies("A")
            world.offer(4, 100)
            await gateway.catch_up()
            assert (await gateway.replace("k", **WHO, quantity=8, price=101)).result == "replaced"
            newest.append((await gateway.order("k", **WHO)).live_id)
            if what == "bust":
                bust(world)
            else:
                world.exchange.release_drop_copies("A")
            await gateway.catch_up()
            await turns()
            assert quantity(gateway) == (0 if what == "bust" else 4)
            assert kinds(gateway) == []

    run(main)


async def _numbered(venue: Any, request: Any) -> Any:
    answer = venue.exchange.submit(request, venue.now_us())
    return _but(answer, order=_but(answer.order, venue_order_id="N1"))


async def _numbered_replace(venue: Any, request: Any) -> Any:
    answer = venue.exchange.replace(_but(request, venue_order_id=None), venue.now_us())
    return _but(answer, order=_but(answer.order, venue_order_id="N1"))
