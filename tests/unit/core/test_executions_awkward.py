"""Awkward words about executions: numbers that mean nothing, other names of a replaced order, busts where totals are told."""

import itertools
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import accepted, in_state, replacing, trade, us

from onefill.core import events as ev
from onefill.core import executions
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.evidence import from_report
from onefill.core.executions import Taken
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.order import Order
from onefill.core.position import Execution, Kind, Position, fold_all
from onefill.core.values import EXACT

PLAIN = Capabilities(execution_id_scope=ExecutionIdScope.ACCOUNT)
BY_ORDER = Capabilities(execution_id_scope=ExecutionIdScope.ORDER)
TOTALS = Capabilities(cumulative_fills_only=True, execution_id_scope=ExecutionIdScope.ACCOUNT)
_but = msgspec.structs.replace


def live() -> Order:
    """Return an order for 10 that is new at the venue, as V1."""
    return accepted(in_state(Status.NEW, venue_order_id="V1"))


def told(execution_id: str, quantity: Any = 4, at: int = 1, **changes: Any) -> ExecutionReport:
    """Return a report of an execution."""
    fields: dict[str, Any] = {"execution_id": execution_id, "transacted_at_us": us(at), "last_price": Decimal(25)}
    return trade(quantity, quantity, **{**fields, **changes})


def bust(execution_id: str, refers_to: str, **changes: Any) -> ExecutionReport:
    """Return the report that an execution does not count."""
    fields: dict[str, Any] = {"kind": ExecutionKind.TRADE_CANCEL, "refers_to": refers_to, "cum_quantity": Decimal(0)}
    return told(execution_id, **{**fields, "status": VenueStatus.NEW, **changes})


def total(cum: Any, average: Any = "25", at: int = 1, **changes: Any) -> ExecutionReport:
    """Return a report that tells how much is executed by now, and at what average price."""
    fields: dict[str, Any] = {"last_quantity": None, "last_price": None, "cum_quantity": Decimal(cum)}
    fields |= {"average_price": Decimal(average), "transacted_at_us": us(at)}
    return trade(1, 1, **{"execution_id": "", **fields, **changes})


def taken(report: ExecutionReport, order: Order | None = None, rows: tuple[Execution, ...] = (), **how: Any) -> Taken:
    """Return what a report of an execution changes."""
    capabilities = how.pop("capabilities", PLAIN)
    named = executions.name(report, capabilities)
    return executions.take(order or live(), report, named, capabilities, rows=rows, **how)


def after(reports: tuple[ExecutionReport, ...], capabilities: Capabilities) -> tuple[Order, list[Execution]]:
    """Return the order after these reports, and its rows."""
    order, rows = live(), list[Execution]()
    for report in reports:
        seen = taken(report, order, tuple(rows), capabilities=capabilities)
        rows += [] if seen.execution is None else [seen.execution]
        order = advance(order, seen.events, us(1)) if seen.events else order
    return order, rows


LONG, FINE = Decimal("1E+28"), Decimal("1E-61")


@pytest.mark.parametrize("number", [LONG, FINE, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")], ids=str)
@pytest.mark.parametrize("field", ["last_quantity", "last_price"])
@pytest.mark.parametrize("kind", [ExecutionKind.TRADE, ExecutionKind.TRADE_CORRECT])
def test_what_cannot_be_added_up_is_told_and_not_counted(kind: ExecutionKind, field: str, number: Decimal) -> None:
    """No row of the log could be folded with it: a person is told which number it is."""
    seen = taken(told("E2", kind=kind, refers_to="E1", **{field: number}))
    assert (seen.execution, seen.findings) == (None, ())
    (anomaly,) = seen.events
    assert isinstance(anomaly, ev.Anomaly)
    assert field.removeprefix("last_") in anomaly.reason


@pytest.mark.parametrize("number", [Decimal("9999999999999999999999999999"), Decimal("1E-60")], ids=str)
def test_numbers_at_the_edge_are_counted_exactly(number: Decimal) -> None:
    """The largest and the finest that are taken can be folded with each other."""
    rows = [taken(told("E1", last_price=number)).execution, taken(told("E2", last_price=Decimal("1E-60"))).execution]
    empty = Position(account="A", strategy="s", venue="v", instrument="ACME")
    position = fold_all(empty, [row for row in rows if row is not None])
    value = EXACT.add(EXACT.multiply(Decimal(4), number), Decimal("4E-60"))
    assert (position.bought_value, position.executions) == (value, 2)


@pytest.mark.parametrize("capabilities", [PLAIN, TOTALS], ids=["executions", "totals"])
def test_a_total_that_is_no_number_of_this_world_is_not_counted(capabilities: Capabilities) -> None:
    """A venue's total beyond all digits does not become what the order has executed."""
    seen = taken(total(LONG, last_quantity=Decimal(1), last_price=Decimal(1)), capabilities=capabilities)
    assert seen.execution is None
    assert [type(event) for event in seen.events] == [ev.Anomaly]


@pytest.mark.parametrize("fee", [LONG, Decimal("NaN"), Decimal("-Infinity")], ids=str)
def test_a_fee_that_means_nothing_does_not_hide_the_execution(fee: Decimal) -> None:
    """The trade is counted, without a fee, and a person is told."""
    seen = taken(told("E1", fee=fee, fee_currency="USD"))
    assert seen.execution is not None
    assert (seen.execution.quantity, seen.execution.fee, seen.execution.fee_currency) == (4, None, None)
    assert [type(event) for event in seen.events] == [ev.Traded, ev.Anomaly]


def test_a_strangers_numbers_are_kept_as_text_where_they_mean_nothing() -> None:
    """The row can be added up with others; the incident's evidence says what was told."""
    report = told("E1", last_quantity=Decimal("NaN"), last_price=LONG, fee=LONG, fee_currency="USD")
    seen = executions.quarantined(report, executions.name(report, PLAIN), None, None, "executions", "v")
    assert seen.execution is not None
    assert (seen.execution.quantity, seen.execution.price, seen.execution.fee) == (0, 0, None)
    assert "NaN" in seen.findings[0].evidence[0]
    assert executions.is_row_of(report, seen.execution)
    assert not executions.is_row_of(_but(report, account="B"), seen.execution)
    assert not executions.is_row_of(report, _but(seen.execution, intent_id=1))


def test_a_bust_does_not_need_numbers() -> None:
    """Whatever it says of quantity and price, it takes back what it refers to."""
    first = taken(told("E1")).execution
    assert first is not None
    seen = taken(bust("E2", "E1", last_quantity=Decimal("NaN"), last_price=LONG), rows=(first,))
    assert seen.execution is not None
    assert (seen.execution.quantity, seen.execution.price) == (0, 0)
    assert executions.totals([first, seen.execution]) == (0, 4)


# Other names of a replaced order.


@pytest.mark.parametrize(
    "other",
    [{"client_order_id": "s-newer", "venue_order_id": "V1"}, {"venue_order_id": "V2"}],
    ids=["another client order id", "another number of the venue"],
)
@pytest.mark.parametrize("kind", ["bust", "correct"])
def test_an_amendment_by_another_name_of_its_order(kind: str, other: dict[str, str]) -> None:
    """Where ids are unique within an order only, a bust that names the order otherwise finds its execution, in any order."""
    amends = bust("E9", "E1", at=5, **other)
    if kind == "correct":
        amends = _but(amends, kind=ExecutionKind.TRADE_CORRECT, last_quantity=Decimal(3), last_price=Decimal(26))
    for reports in itertools.permutations([told("E1"), told("E2", 2, at=2), amends]):
        order, rows = after(reports, BY_ORDER)
        assert order.cum_quantity == (2 if kind == "bust" else 5)
        assert executions.totals(rows)[0] == order.cum_quantity
        assert order.reversed_quantity == (4 if kind == "bust" else 1)


def test_a_trade_that_was_spoken_of_by_another_name_is_not_plain() -> None:
    """The order's other executions are looked at before it counts."""
    spoken_of = {(executions.name(told("E1", client_order_id="s-newer"), BY_ORDER).scope, "E1")}
    assert not executions.is_plain(executions.name(told("E1"), BY_ORDER), BY_ORDER, spoken_of)
    assert executions.is_plain(executions.name(told("E2"), BY_ORDER), BY_ORDER, spoken_of)


def test_an_exact_name_comes_before_another() -> None:
    """Where two orders of a chain have an execution of one id each, a bust speaks of the one that it names."""
    other = {"client_order_id": "s-newer"}
    reports = (told("E1"), told("E1", 3, at=2, **other), bust("E9", "E1", at=5, **other))
    for shuffled in itertools.permutations(reports):
        order, _ = after(shuffled, BY_ORDER)
        assert order.cum_quantity == 4


def test_of_several_that_fit_none_is_guessed() -> None:
    """A bust that could speak of two executions busts neither."""
    reports = (
        told("E1", client_order_id="s-a"),
        told("E1", 3, at=2, client_order_id="s-b"),
        bust("E9", "E1", at=5, client_order_id="s-c"),
    )
    assert after(reports, BY_ORDER)[0].cum_quantity == 7


def test_rows_of_different_orders_have_no_other_names() -> None:
    """In a position, a bust of one order never takes back what another order executed under the same id."""
    _, rows = after((told("E1"), bust("E9", "E1", at=5, client_order_id="s-c")), BY_ORDER)
    assert executions.totals(rows)[0] == 0
    apart = [_but(rows[0], intent_id=(rows[0].intent_id or 0) + 1), rows[1]]
    assert executions.totals(apart)[0] == 4


def test_a_second_channel_may_use_the_orders_other_name() -> None:
    """Under the same number of the venue the same execution id is the same execution, whatever the order was called."""
    first = told("E1")
    known = {executions.name(first, BY_ORDER).key}

    def before(report: ExecutionReport, capabilities: Capabilities = BY_ORDER, *, replaced: bool = True) -> bool:
        return executions.told_before(executions.name(report, capabilities), report, known, replaced=replaced)

    assert before(first, replaced=False)
    renamed = _but(first, client_order_id="s-newer")
    assert before(renamed)
    assert not before(renamed, replaced=False)
    assert not before(_but(renamed, venue_order_id="V2"))
    assert not before(_but(renamed, execution_id="E2"))
    assert not before(_but(renamed, account="B"))
    assert not before(renamed, PLAIN)


def test_without_a_number_of_the_venue_names_are_not_mixed() -> None:
    """Two orders of a chain may then both have an execution of that id."""
    first = told("E1", venue_order_id="")
    known = {executions.name(first, BY_ORDER).key}
    renamed = _but(first, client_order_id="s-newer")
    assert not executions.told_before(executions.name(renamed, BY_ORDER), renamed, known, replaced=True)


# Totals, and busts beside them.


def test_a_total_after_a_bust_that_was_told_counts_from_what_counts() -> None:
    """A venue that tells totals and busts: what is executed after the bust is neither lost nor priced by what was busted."""
    first = total(10, "25", at=1)
    back = bust("E9", "total 10", at=2, last_quantity=Decimal(10), last_price=Decimal(25))
    named = executions.name(first, TOTALS)
    row = executions.take(live(), first, named, TOTALS, rows=()).execution
    assert row is not None
    gone = _but(executions.row_of(live(), back, executions.name(back, TOTALS), "executions"), scope=row.scope)
    seen = taken(total(6, "30", at=3), rows=(row, gone), capabilities=TOTALS)
    assert seen.execution is not None
    assert (seen.execution.quantity, seen.execution.price) == (6, 30)


def test_a_total_below_zero_is_told() -> None:
    """Nothing was executed and the venue counts less: a person is told, and nothing breaks."""
    seen = taken(total(-1), capabilities=TOTALS)
    assert seen.execution is None
    assert [event.kind for event in seen.events if isinstance(event, ev.Anomaly)] == [IncidentKind.CONTRADICTION]


@pytest.mark.parametrize("average", ["NaN", "Infinity", "1E+2000"])
def test_an_average_price_that_means_nothing_is_no_price(average: str) -> None:
    """It is told that there is no price; the execution waits."""
    seen = taken(total(4, average), capabilities=TOTALS)
    assert seen.execution is None
    assert isinstance(seen.events[-1], ev.Anomaly)


def test_a_total_that_is_taken_in_under_an_incident_says_so() -> None:
    """NO-SILENT-HEAL: the journal names the incident, as it does for a single execution."""
    (traded,) = taken(total(4), capabilities=TOTALS, incident=7).events
    assert isinstance(traded, ev.Traded)
    assert traded.incident == 7


# Orders that were held not to be there.


@pytest.mark.parametrize("status", [Status.EXPIRED_UNSENT, Status.CANCELED_UNSENT, Status.REJECTED])
@pytest.mark.parametrize("kind", list(Kind)[1:])
def test_an_amendment_shows_an_order_that_was_held_not_to_be_there(status: Status, kind: Kind) -> None:
    """An execution of it was busted or corrected, so it was at the venue: an incident, as for an execution."""
    report = bust("E2", "E1") if kind is Kind.BUST else told("E2", kind=ExecutionKind.TRADE_CORRECT, refers_to="E1")
    seen = taken(report, in_state(status))
    assert [event.kind for event in seen.events if isinstance(event, ev.Anomaly)] == [IncidentKind.RESURRECTED]
    assert seen.execution is not None
    assert seen.execution.kind is kind


def test_a_bust_of_a_live_order_resurrects_nothing() -> None:
    """The order is known to be there."""
    first = taken(told("E1")).execution
    assert first is not None
    assert [type(event) for event in taken(bust("E2", "E1"), rows=(first,)).events] == [ev.TradeAmended]


@pytest.mark.parametrize("last", ["bust", "correct"])
def test_an_execution_that_was_corrected_upwards_and_then_taken_back(last: str) -> None:
    """What the venue counted in between is not waited for: the cancelled order closes, in any order of arrival."""
    up = told("E2", 6, 2, kind=ExecutionKind.TRADE_CORRECT, refers_to="E1")
    down = bust("E3", "E2", at=3)
    if last == "correct":
        down = told("E3", 2, 3, kind=ExecutionKind.TRADE_CORRECT, refers_to="E2")
    over = trade(0, 0, kind=ExecutionKind.CANCELED, status=VenueStatus.CANCELED, cum_quantity=down.cum_quantity)
    for shuffled in itertools.permutations((told("E1"), up, down)):
        order, rows = after(shuffled, PLAIN)
        assert executions.totals(rows) == ((0, 6) if last == "bust" else (2, 4))
        for event in from_report(order, over):
            order = advance(order, (event,), us(9))
        assert (order.status, order.closed) == (Status.CANCELED, True)


@pytest.mark.parametrize("corrected", [False, True])
def test_more_executed_than_it_had_shows_that_the_replace_took_effect(corrected: bool) -> None:
    """Where the venue keeps the id and cannot be asked: 15 executed of 10 are the 15 that were wanted, for good."""
    order = replacing(quantity=Decimal(15))
    wanted = order.replacement
    assert wanted is not None
    assert (order.quantity, wanted.quantity, order.gets_new_id) == (10, 15, False)
    first = taken(told("E1", 8), order)
    assert first.execution is not None
    order = advance(order, first.events, us(1))
    assert (order.quantity, order.replacing) == (10, True)
    if corrected:
        news = told("E2", 15, 2, kind=ExecutionKind.TRADE_CORRECT, refers_to="E1", cum_quantity=Decimal(15))
    else:
        news = told("E2", 7, 2, cum_quantity=Decimal(15))
    second = taken(news, order, (first.execution,))
    assert second.execution is not None
    order = advance(order, second.events, us(2))
    assert (order.quantity, order.price, order.replacing) == (15, wanted.price, False)
    assert (order.status, order.cum_quantity, order.anomaly) == (Status.FILLED, 15, None)
    # A later bust leaves what it still has to do: 8 of 15, not 8 of 10.
    gone = bust("E3", "E2", status=VenueStatus.PARTIALLY_FILLED, cum_quantity=Decimal(0 if corrected else 8))
    rows = (first.execution, second.execution)
    order = advance(order, taken(gone, order, rows).events, us(3))
    assert order.status is (Status.NEW if corrected else Status.PARTIALLY_FILLED)
    assert order.leaves_quantity == order.quantity - order.cum_quantity


def test_as_much_as_a_replace_wants_shows_nothing_where_it_is_no_more_than_before() -> None:
    """6 executed of 10, to become 6: the order may as well be as it was, with 4 left."""
    order = replacing(quantity=Decimal(6))
    order = advance(order, taken(told("E1", 6), order).events, us(1))
    assert (order.quantity, order.replacing) == (10, True)
