"""Busts, corrections, restatements, fees and positions of the simulated exchange."""

from decimal import Decimal
from typing import Any

import pytest
from exchange_kit import ACME, DAY_US, NOON_US, ZINC, cancel, exchange, limit, market, replace, replaced

from onefill.core.capabilities import ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.messages import ExecutionKind, Listed, VenueStatus
from onefill.core.values import TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange

TEN = Decimal(10)


def traded(sold: object = 4, **dialect: Any) -> Exchange:
    """Return an exchange on which A bought 4 at 10 (order x), and B sold ``sold`` to it (order y)."""
    market_place = exchange(**dialect)
    market_place.submit(limit("x", "buy", 4, 10), NOON_US)
    market_place.submit(limit("y", "sell", sold, 10, account="B"), NOON_US)
    return market_place


def last(market_place: Exchange, account: str = "A") -> Any:
    """Return the account's last report."""
    return market_place.executions(account, 0)[-1]


def status(market_place: Exchange, number: int = 1) -> tuple[VenueStatus, Decimal]:
    """Return state and executed quantity of an order."""
    order = market_place.all_orders()[number - 1]
    return order.status, order.cum_quantity


# ------------------------------------------------------------------------- busts


def test_a_bust_of_a_filled_order_ends_it_canceled() -> None:
    """The report has an id of its own, names the execution, the total after it and the time; the other side keeps its trade."""
    market_place = traded()
    report = market_place.bust("A", "E2", NOON_US + 5)
    assert report == last(market_place)
    assert (report.kind, report.execution_id, report.refers_to) == (ExecutionKind.TRADE_CANCEL, "E3", "E2")
    assert (report.cum_quantity, report.leaves_quantity, report.status) == (0, 0, VenueStatus.CANCELED)
    assert (report.last_quantity, report.last_price, report.transacted_at_us) == (None, None, NOON_US + 5)
    assert report.text == "executions were busted"
    assert (market_place.positions("A"), market_place.positions("B")) == ({}, {"ACME": Decimal(-4)})
    assert market_place.open_orders("A") == []
    assert market_place.counts().busted == 1


def test_a_bust_can_give_a_filled_order_its_leaves_back() -> None:
    """It rests again, behind the others at its price, under the id it had."""
    market_place = traded()
    market_place.submit(limit("z", "buy", 1, 10), NOON_US)
    report = market_place.bust("A", "E2", NOON_US, live=True)
    assert (report.status, report.leaves_quantity) == (VenueStatus.NEW, 4)
    assert [order.client_order_id for order in market_place.book("ACME")[0]] == ["z", "x"]
    assert [order.client_order_id for order in market_place.open_orders("A")] == ["x", "z"]


def test_an_order_that_rests_again_is_matched_at_once() -> None:
    """The book may have moved meanwhile; the bust is told before the new trade."""
    market_place = traded()
    market_place.submit(limit("w", "sell", 1, "9.95", account="B"), NOON_US)
    market_place.bust("A", "E2", NOON_US, live=True)
    kinds = [report.kind for report in market_place.executions("A", 2)]
    assert kinds == [ExecutionKind.TRADE_CANCEL, ExecutionKind.TRADE]
    assert status(market_place) == (VenueStatus.PARTIALLY_FILLED, 1)
    assert market_place.positions("A") == {"ACME": Decimal(1)}


def test_a_live_order_gets_its_quantity_back() -> None:
    """It stays where it is, whatever ``live`` says."""
    market_place = traded(sold=1)
    report = market_place.bust("A", "E2", NOON_US)
    assert (report.status, report.cum_quantity, report.leaves_quantity) == (VenueStatus.NEW, 0, 4)
    market_place.submit(limit("w", "sell", 4, 10, account="B"), NOON_US)
    assert status(market_place) == (VenueStatus.FILLED, 4)


def test_a_bust_of_a_canceled_order_changes_its_total_only() -> None:
    """It is over, and stays so."""
    market_place = traded(sold=1)
    market_place.cancel(cancel("x"), NOON_US)
    report = market_place.bust("A", "E2", NOON_US, live=True)
    assert (report.status, report.cum_quantity, report.leaves_quantity) == (VenueStatus.CANCELED, 0, 0)


@pytest.mark.parametrize("other", [{"time_in_force": TimeInForce.IOC}, {"time_in_force": TimeInForce.FOK}, {}])
def test_what_may_not_rest_does_not_rest_again(other: dict[str, Any]) -> None:
    """An order that only takes what is there, and a market order, end CANCELED even so."""
    market_place = exchange()
    market_place.submit(limit("y", "sell", 4, 10, account="B"), NOON_US)
    order = limit("x", "buy", 4, 10, **other) if other else market("x", "buy", 4)
    market_place.submit(order, NOON_US)
    assert market_place.bust("A", "E2", NOON_US, live=True).status is VenueStatus.CANCELED


def test_a_day_order_rests_again_on_its_day_only() -> None:
    """Brought back to life it ends at midnight as any other; on the next day it does not come back."""
    for later, found in ((0, VenueStatus.NEW), (DAY_US, VenueStatus.CANCELED)):
        market_place = exchange()
        market_place.submit(limit("x", "buy", 4, 10, time_in_force=TimeInForce.DAY), NOON_US)
        market_place.submit(limit("y", "sell", 4, 10, account="B"), NOON_US)
        assert market_place.bust("A", "E2", NOON_US + later, live=True).status is found
    market_place = exchange()
    market_place.submit(limit("y", "sell", 4, 10, account="B"), NOON_US)
    market_place.submit(limit("x", "buy", 4, 10, time_in_force=TimeInForce.DAY), NOON_US)
    market_place.bust("A", "E2", NOON_US, live=True)
    market_place.advance(NOON_US + DAY_US)
    assert status(market_place, 2) == (VenueStatus.EXPIRED, 0)


def test_an_order_whose_id_came_again_does_not_rest_again() -> None:
    """Two live orders under one id would be one too many."""
    market_place = traded(unique_scope=UniqueScope.OPEN)
    market_place.submit(limit("x", "buy", 1, 9), NOON_US)
    assert market_place.bust("A", "E2", NOON_US, live=True).status is VenueStatus.CANCELED


@pytest.mark.parametrize("scope", ExecutionIdScope)
def test_a_bust_along_a_chain_names_the_order_that_traded(scope: ExecutionIdScope) -> None:
    """So its id is unique where the execution's is; total, leaves and state are those of the order that goes on. A scan shows
    that one too.
    """
    market_place = traded(sold=1, replace=ReplaceStyle.NEW_ID, execution_id_scope=scope)
    replaced(market_place.replace(replace("x", 6, 10, new="x2"), NOON_US))
    market_place.submit(limit("w", "sell", 2, 10, account="B"), NOON_US)
    report = market_place.bust("A", "E2", NOON_US + 9, venue_order_id="X1")
    assert (report.client_order_id, report.venue_order_id, report.refers_to) == ("x", "X1", "E2")
    assert (report.cum_quantity, report.leaves_quantity, report.status) == (2, 4, VenueStatus.PARTIALLY_FILLED)
    assert report.execution_id not in [one.execution_id for one in market_place.executions("A", 0, 2)]
    listed = market_place.scan("A", "ACME", NOON_US + 9, NOON_US + 9)
    assert isinstance(listed, Listed)
    assert [(one.client_order_id, one.cum_quantity) for one in listed.orders] == [("x", 0), ("x2", 2)]


def test_what_cannot_be_busted_is_refused() -> None:
    """No such execution, one of another account, one that two orders have, and one that is busted already."""
    market_place = traded(sold=1, execution_id_scope=ExecutionIdScope.ORDER)
    market_place.submit(limit("x2", "buy", 1, 10), NOON_US)
    market_place.submit(limit("w", "sell", 4, 10, account="B"), NOON_US)
    for account, execution_id in (("A", "E9"), ("A", ""), ("A", "E1"), ("C", "E2")):
        with pytest.raises(InvalidField, match="no execution"):
            market_place.bust(account, execution_id, NOON_US)
    with pytest.raises(InvalidField, match="several orders"):
        market_place.bust("A", "E2", NOON_US)
    before = market_place.executions("A", 0)
    market_place.bust("A", "E2", NOON_US, client_order_id="x2")
    with pytest.raises(InvalidField, match="busted already"):
        market_place.bust("A", "E2", NOON_US, venue_order_id="X3")
    assert len(market_place.executions("A", 0)) == len(before) + 1


# ------------------------------------------------------------------- corrections


def test_a_correction_gives_an_execution_other_terms() -> None:
    """Quantity and price are the whole execution's; the next correction refers to the latest id, and may be told by any id of
    the chain.
    """
    market_place = traded()
    report = market_place.correct("A", "E2", Decimal(3), Decimal("10.05"), NOON_US + 1)
    assert (report.kind, report.execution_id, report.refers_to) == (ExecutionKind.TRADE_CORRECT, "E3", "E2")
    assert (report.last_quantity, report.last_price) == (3, Decimal("10.05"))
    assert (report.cum_quantity, report.leaves_quantity, report.status) == (3, 0, VenueStatus.CANCELED)
    assert market_place.correct("A", "E2", Decimal(2), TEN, NOON_US).refers_to == "E3"
    assert market_place.bust("A", "E3", NOON_US).refers_to == "E4"
    assert market_place.positions("A") == {}
    (trade,) = market_place.trades("A")
    assert (trade.execution_id, trade.latest_id, trade.quantity, trade.counts) == ("E2", "E5", 2, False)
    assert (market_place.counts().corrected, market_place.counts().busted) == (2, 1)


def test_a_correction_of_the_price_leaves_the_order_filled() -> None:
    """Nothing is left over by it."""
    market_place = traded()
    report = market_place.correct("A", "E2", Decimal(4), Decimal("9.95"), NOON_US)
    assert (report.status, report.cum_quantity) == (VenueStatus.FILLED, 4)


def test_a_correction_can_fill_a_live_order() -> None:
    """Then it rests no more."""
    market_place = traded(sold=1)
    report = market_place.correct("A", "E2", Decimal(4), TEN, NOON_US)
    assert (report.status, report.leaves_quantity) == (VenueStatus.FILLED, 0)
    assert market_place.book("ACME") == ([], [])
    assert market_place.open_orders("A") == []


@pytest.mark.parametrize(
    ("quantity", "price", "told"),
    [
        ("5", "10", "more than the order has left"),
        ("1.25", "10", "not a multiple of 0.5"),
        ("0", "10", "not above zero"),
        ("NaN", "10", "not above zero"),
        ("1", "-1", "not above zero"),
        ("1", "Infinity", "not above zero"),
        ("1", "10.01", "not a multiple of 0.05"),
        ("1", "1E+99", "not a multiple of 0.05"),
    ],
)
def test_a_correction_that_fits_nothing_is_refused(quantity: str, price: str, told: str) -> None:
    """And changes nothing."""
    market_place = traded()
    before = market_place.executions("A", 0)
    with pytest.raises(InvalidField, match=told):
        market_place.correct("A", "E2", Decimal(quantity), Decimal(price), NOON_US)
    assert market_place.executions("A", 0) == before
    assert market_place.positions("A") == {"ACME": Decimal(4)}


def test_revised_execution_ids() -> None:
    """A correction is a trade under the same root with the next revision; a bust has the one after it and names the first."""
    market_place = traded(execution_revisions=True)
    market_place.correct("A", "E2.01", Decimal(3), TEN, NOON_US)
    market_place.correct("A", "E2.02", Decimal(2), TEN, NOON_US)
    market_place.bust("A", "E2.03", NOON_US)
    told = [(one.execution_id, one.kind, one.refers_to) for one in market_place.executions("A", 1)]
    assert told == [
        ("E2.01", ExecutionKind.TRADE, None),
        ("E2.02", ExecutionKind.TRADE, None),
        ("E2.03", ExecutionKind.TRADE, None),
        ("E2.04", ExecutionKind.TRADE_CANCEL, "E2.01"),
    ]
    assert market_place.capabilities.execution_revisions


# ------------------------------------------------------------------ restatements


def test_a_restated_order_has_other_terms_unasked() -> None:
    """The report shows them and the reason, which later reports do not repeat."""
    market_place = traded(sold=1)
    order = market_place.restate("A", NOON_US, client_order_id="x", quantity=Decimal(3), reason="lot size")
    report = last(market_place)
    assert (report.kind, report.text, report.orig_client_order_id) == (ExecutionKind.RESTATED, "lot size", None)
    assert (report.order_quantity, report.order_price, report.leaves_quantity) == (3, TEN, 2)
    assert (order.quantity, order.cum_quantity, order.reason) == (3, 1, None)
    market_place.restate("A", NOON_US, venue_order_id="X1", price=Decimal("9.95"))
    market_place.restate("A", NOON_US, client_order_id="x", quantity=Decimal(1))
    assert status(market_place) == (VenueStatus.FILLED, 1)
    assert [one.kind for one in market_place.executions("A", 3)] == [ExecutionKind.RESTATED] * 2


def test_a_restated_order_is_matched_and_keeps_its_id() -> None:
    """Also where a replace would bring a new one."""
    market_place = exchange(replace=ReplaceStyle.NEW_ID)
    market_place.submit(limit("x", "buy", 4, 9), NOON_US)
    market_place.submit(limit("y", "sell", 1, 10, account="B"), NOON_US)
    order = market_place.restate("A", NOON_US, client_order_id="x", price=TEN)
    assert (order.venue_order_id, order.client_order_id, order.cum_quantity) == ("X1", "x", 1)


def test_what_cannot_be_restated_is_refused() -> None:
    """An order that is over, unknown, another's or undecided, and terms that no order may have."""
    market_place = traded(sold=1)
    for terms, told in (
        ({"quantity": Decimal("0.5")}, "below"),
        ({"quantity": Decimal("1.25")}, "multiple"),
        ({"price": Decimal("-1")}, "not above zero"),
    ):
        with pytest.raises(InvalidField, match=told):
            market_place.restate("A", NOON_US, client_order_id="x", **terms)
    for account, named in (("A", {}), ("A", {"client_order_id": "z"}), ("B", {"venue_order_id": "X1"})):
        with pytest.raises(InvalidField, match="no such order"):
            market_place.restate(account, NOON_US, **named)
    with pytest.raises(InvalidField, match="another order"):
        market_place.restate("A", NOON_US, client_order_id="y", venue_order_id="X1")
    with pytest.raises(InvalidField, match="filled, and not at work"):
        market_place.restate("B", NOON_US, client_order_id="y")
    undecided = exchange(acknowledges_asynchronously=True)
    undecided.submit(limit("x", "buy", 1, 10), NOON_US)
    with pytest.raises(InvalidField, match="pending_new"):
        undecided.restate("A", NOON_US, client_order_id="x", quantity=Decimal(2))


def test_done_for_the_day() -> None:
    """A DAY order is over. Another does not trade until midnight and is live all the while; a replace brings it back sooner."""
    market_place = exchange()
    market_place.submit(limit("d", "buy", 1, 10, time_in_force=TimeInForce.DAY), NOON_US)
    market_place.submit(limit("g", "buy", 1, 10), NOON_US)
    market_place.submit(limit("r", "buy", 2, 10), NOON_US)
    assert market_place.done_for_day("A", NOON_US, client_order_id="d").status is VenueStatus.EXPIRED
    for name in "gr":
        assert market_place.done_for_day("A", NOON_US, client_order_id=name).status is VenueStatus.NEW
    assert [one.kind for one in market_place.executions("A", 3)] == [ExecutionKind.DONE_FOR_DAY] * 3
    market_place.submit(limit("y", "sell", 3, 10, account="B"), NOON_US)
    assert market_place.counts().trades == 0
    replaced(market_place.replace(replace("r", 1, 10), NOON_US))
    assert market_place.counts().trades == 1
    with pytest.raises(InvalidField, match="done for the day already"):
        market_place.done_for_day("A", NOON_US, client_order_id="g")
    market_place.advance(NOON_US + DAY_US)
    assert status(market_place, 2) == (VenueStatus.FILLED, 1)
    market_place.submit(limit("c", "buy", 1, 9), NOON_US)
    market_place.done_for_day("A", NOON_US, client_order_id="c")
    market_place.cancel(cancel("c"), NOON_US)
    assert market_place.open_orders("A") == []


# -------------------------------------------------------------- fees and holdings


def test_every_trade_tells_its_fee() -> None:
    """The rate's part of the value, exactly; a correction tells that of the whole execution; below zero it is a rebate."""
    market_place = traded(fee_rate=Decimal("-0.00025"), fee_currency="EUR")
    assert (last(market_place).fee, last(market_place).fee_currency) == (Decimal("-0.01"), "EUR")
    market_place.correct("A", "E2", Decimal(2), TEN, NOON_US)
    assert (last(market_place).fee, market_place.trades("A")[0].fee) == (Decimal("-0.005"), Decimal("-0.005"))
    market_place.bust("A", "E2", NOON_US)
    assert (last(market_place).fee, last(market_place).fee_currency) == (None, None)


def test_no_rate_tells_no_fee_and_a_rate_of_zero_tells_it() -> None:
    """Not told and nothing paid are two things."""
    assert (last(traded()).fee, last(traded()).fee_currency) == (None, None)
    assert (last(traded(fee_rate=Decimal(0))).fee, last(traded(fee_rate=Decimal(0))).fee_currency) == (0, "USD")


def test_positions_begin_with_what_is_held() -> None:
    """They follow every trade of the account, whoever sent the order, and what is moved in and out without one; what is flat is
    left out.
    """
    holdings = {"A": {"ACME": Decimal("-1.5"), "GOLD": Decimal(7)}}
    market_place = Exchange(Dialect(), [ACME, ZINC], holdings)
    market_place.submit(limit("x", "buy", 4, 10), NOON_US)
    market_place.submit(limit("y", "sell", 1.5, 10, account="B"), NOON_US)
    assert market_place.positions("A") == {"GOLD": Decimal(7)}
    market_place.transfer("A", "GOLD", Decimal(-9))
    assert market_place.positions("A") == {"GOLD": Decimal(-2)}
    assert market_place.positions("B") == {"ACME": Decimal("-1.5")}
    assert market_place.positions("C") == {}
    for quantity in ("NaN", "1E+30", "1E-40"):
        with pytest.raises(InvalidField, match="quantity"):
            market_place.transfer("A", "GOLD", Decimal(quantity))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"fee_rate": Decimal(1)}, "fee_rate"),
        ({"fee_rate": Decimal("NaN")}, "fee_rate"),
        ({"fee_currency": ""}, "fee_currency"),
        ({"execution_ids": "some"}, "execution_ids"),
        ({"execution_revisions": True, "cumulative_fills_only": True}, "execution_revisions"),
        ({"execution_revisions": True, "execution_ids": "none"}, "execution_revisions"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    """By the field that is wrong."""
    with pytest.raises(InvalidField, match=told):
        Dialect(**settings)
