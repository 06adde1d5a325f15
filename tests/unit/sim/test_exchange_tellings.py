"""How a simulated exchange tells of executions: without ids, in totals, a second time, and on a second channel."""

from decimal import Decimal
from typing import Any

import pytest
from exchange_kit import NOON_US, exchange, limit, replace, replaced

from onefill.core.capabilities import ReplaceStyle
from onefill.core.errors import InvalidField
from onefill.core.messages import EXECUTED, ExecutionKind, ExecutionReport, Listed, VenueStatus
from onefill.core.values import TimeInForce
from onefill.sim.exchange import Exchange


def three_offers(**dialect: Any) -> Exchange:
    """Return an exchange with offers of B: 1 at 10, 2 at 10.05, 1 at 10.10."""
    market_place = exchange(**dialect)
    for name, quantity, price in (("p", 1, 10), ("q", 2, "10.05"), ("r", 1, "10.10")):
        market_place.submit(limit(name, "sell", quantity, price, account="B"), NOON_US)
    return market_place


def shown(reports: list[ExecutionReport]) -> list[tuple[str, ExecutionKind, Decimal, Decimal | None]]:
    """Return what a reader of totals sees."""
    return [(one.client_order_id, one.kind, one.cum_quantity, one.average_price) for one in reports]


def test_no_report_has_an_execution_id_where_none_is_given() -> None:
    """Nor does a bust name any; the exchange's own people name it by what it is in truth."""
    market_place = three_offers(execution_ids="none", drop_copy=True)
    market_place.submit(limit("x", "buy", 1, 10), NOON_US)
    (trade,) = market_place.trades("A")
    market_place.bust("A", trade.execution_id, NOON_US)
    for reports in (market_place.executions("A", 0), market_place.drop_copies("A", 0)):
        assert {(one.execution_id, one.refers_to) for one in reports} == {("", None)}
    assert trade.execution_id == "E2"


def test_several_fills_are_told_by_one_report() -> None:
    """The order that came is told once, with its total and average; each order that rested is told for itself."""
    market_place = three_offers(cumulative_fills_only=True)
    market_place.submit(limit("x", "buy", 3, "10.10"), NOON_US)
    average = Decimal("10.0333333333333333333333333333")
    assert shown(market_place.executions("A", 0)) == [
        ("x", ExecutionKind.NEW, 0, None),
        ("x", ExecutionKind.ORDER_STATUS, 3, average),
    ]
    assert market_place.executions("A", 1)[0].status is VenueStatus.FILLED
    assert shown(market_place.executions("B", 3)) == [
        ("p", ExecutionKind.ORDER_STATUS, 1, 10),
        ("q", ExecutionKind.ORDER_STATUS, 2, Decimal("10.05")),
    ]
    assert len(market_place.trades("A")) == 2
    assert market_place.capabilities.cumulative_fills_only


def test_an_order_that_ends_at_once_tells_its_fills_with_its_end() -> None:
    """The only report that has the total is that of the cancel."""
    market_place = three_offers(cumulative_fills_only=True)
    market_place.submit(limit("x", "buy", 9, 10, time_in_force=TimeInForce.IOC), NOON_US)
    assert shown(market_place.executions("A", 1)) == [("x", ExecutionKind.CANCELED, 1, 10)]


def test_a_total_goes_on_along_a_chain_and_falls_by_a_bust() -> None:
    """The order that goes on has what the one before it executed; no single execution or fee is told."""
    market_place = three_offers(cumulative_fills_only=True, replace=ReplaceStyle.NEW_ID, fee_rate=Decimal("0.1"))
    market_place.submit(limit("x", "buy", 2, 10), NOON_US)
    replaced(market_place.replace(replace("x", 4, "10.05", new="x2"), NOON_US))
    (first, _) = market_place.trades("A")
    market_place.correct("A", first.execution_id, Decimal("0.5"), Decimal(10), NOON_US)
    market_place.bust("A", first.execution_id, NOON_US)
    assert shown(market_place.executions("A", 2)) == [
        ("x2", ExecutionKind.REPLACED, 1, 10),
        ("x2", ExecutionKind.ORDER_STATUS, 3, Decimal("10.0333333333333333333333333333")),
        ("x2", ExecutionKind.ORDER_STATUS, Decimal("2.5"), Decimal("10.04")),
        ("x2", ExecutionKind.ORDER_STATUS, 2, Decimal("10.05")),
    ]
    for one in market_place.executions("A", 0):
        assert (one.last_quantity, one.last_price, one.fee, one.refers_to) == (None,) * 4


# ------------------------------------------------------------------- told again


def test_the_stream_can_be_told_again_under_new_places() -> None:
    """As by a session that begins anew: everything but the place is as before, ids and times included."""
    market_place = three_offers()
    market_place.submit(limit("x", "buy", 3, "10.10"), NOON_US)
    before = market_place.executions("A", 0)
    woken: list[int] = []
    market_place.subscribe("A", lambda: woken.append(len(market_place.executions("A", 0))))
    assert market_place.retell("A", 2) == 2
    after = market_place.executions("A", 0)
    assert [one.position for one in after] == [1, 2, 3, 4, 5]
    assert [one.execution_id for one in after] == ["E1", "E2", "E3", "E2", "E3"]
    assert after[:3] == before
    assert woken == [5]
    market_place.submit(limit("z", "buy", 1, 9), NOON_US)
    assert market_place.executions("A", 5)[0].execution_id == "E4"  # never one that was given before
    assert (market_place.retell("A", 2, through=1), market_place.retell("A", 9), market_place.retell("A", 1, 1)) == (
        0,
        0,
        1,
    )
    assert market_place.positions("A") == {"ACME": Decimal(3)}
    with pytest.raises(InvalidField, match="from_position"):
        market_place.retell("A", 0)


def test_a_scan_still_finds_what_ended_lately() -> None:
    """Old reports at the end of the stream do not hide newer ones before them."""
    market_place = three_offers()
    market_place.submit(limit("x", "buy", 1, 10), NOON_US + 100)
    market_place.retell("B", 1, 1)
    listed = market_place.scan("B", "ACME", NOON_US + 100, NOON_US + 100)
    assert isinstance(listed, Listed)
    assert [one.client_order_id for one in listed.orders] == ["p", "q", "r"]


# ---------------------------------------------------------------- the drop copy


def copied(**dialect: Any) -> Exchange:
    """Return an exchange with a drop copy, on which A's order x has traded twice."""
    market_place = three_offers(drop_copy=True, **dialect)
    market_place.submit(limit("x", "buy", 3, "10.10"), NOON_US)
    return market_place


def test_the_drop_copy_tells_executions_only() -> None:
    """Trades, busts and corrections under the stream's ids, at places of its own."""
    market_place = copied()
    market_place.correct("A", "E2", Decimal("0.5"), Decimal(10), NOON_US)
    market_place.bust("A", "E3", NOON_US)
    told = [one for one in market_place.executions("A", 0) if one.kind in EXECUTED]
    copies = market_place.drop_copies("A", 0)
    assert [one.position for one in copies] == [1, 2, 3, 4]
    assert [(one.execution_id, one.kind, one.refers_to) for one in copies] == [
        (one.execution_id, one.kind, one.refers_to) for one in told
    ]
    assert [one.position for one in market_place.drop_copies("A", 1, 2)] == [2, 3]
    assert market_place.drop_copies("C", 0) == []
    assert market_place.capabilities.drop_copy


def test_there_is_none_where_the_dialect_has_none() -> None:
    """Nothing is copied, and nothing can be told again."""
    market_place = three_offers()
    market_place.submit(limit("x", "buy", 3, "10.10"), NOON_US)
    assert market_place.drop_copies("A", 0) == []
    assert not market_place.capabilities.drop_copy
    with pytest.raises(InvalidField, match="places"):
        market_place.redeliver("A", 1)


def test_a_copy_can_be_told_again() -> None:
    """In any order, under new places; the stream does not notice."""
    market_place = copied()
    stream = market_place.executions("A", 0)
    assert market_place.redeliver("A", 2, 1, 2) == 3
    copies = market_place.drop_copies("A", 0)
    assert [(one.position, one.execution_id) for one in copies] == list(enumerate(["E2", "E3", "E3", "E2", "E3"], 1))
    assert market_place.executions("A", 0) == stream
    for wrong in (0, 6):
        with pytest.raises(InvalidField, match="places"):
            market_place.redeliver("A", wrong)


def test_the_drop_copy_can_fall_behind_and_come_in_another_order() -> None:
    """Held back until it is let go, each once; then it goes on by itself."""
    market_place = three_offers(drop_copy=True)
    market_place.hold_drop_copies("A")
    market_place.submit(limit("x", "buy", 4, "10.10"), NOON_US)
    market_place.hold_drop_copies("A")
    assert market_place.drop_copies("A", 0) == []
    for wrong in ([0, 1], [0, 1, 1], [1, 2, 3]):
        with pytest.raises(InvalidField, match="each of the 3"):
            market_place.release_drop_copies("A", wrong)
    assert market_place.release_drop_copies("A", [2, 0, 1]) == 3
    assert [(one.position, one.execution_id) for one in market_place.drop_copies("A", 0)] == [
        (1, "E4"),
        (2, "E2"),
        (3, "E3"),
    ]
    market_place.bust("A", "E2", NOON_US)
    assert [one.position for one in market_place.drop_copies("A", 3)] == [4]
    market_place.hold_drop_copies("A")
    market_place.bust("A", "E3", NOON_US)
    assert (market_place.release_drop_copies("A"), market_place.release_drop_copies("A")) == (1, 0)
    assert len(market_place.drop_copies("A", 0)) == 5


def test_the_drop_copy_of_totals_tells_totals() -> None:
    """Whenever the executed quantity changed, and only then."""
    market_place = copied(cumulative_fills_only=True)
    market_place.submit(limit("z", "buy", 1, 9), NOON_US)
    assert shown(market_place.drop_copies("A", 0)) == shown(market_place.executions("A", 1, 1))
