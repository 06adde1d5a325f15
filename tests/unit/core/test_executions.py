"""From reports to executions: each counts once, whatever comes twice, by two ways, late or in another order."""

import itertools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from core_kit import SEEDED, accepted, in_state, order, trade, us
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import events as ev
from onefill.core import executions
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.evidence import from_report
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.order import Order
from onefill.core.position import DROP_COPY, Execution, Kind
from onefill.core.values import Side

PLAIN = Capabilities(execution_id_scope=ExecutionIdScope.ACCOUNT)
TOTALS = Capabilities(cumulative_fills_only=True)
REVISED = Capabilities(execution_revisions=True)


class Consumer:
    """What the receiver does, without a ledger: dedupe by name, then effect."""

    def __init__(self, of: Order, capabilities: Capabilities = PLAIN) -> None:
        self.order = of
        self.capabilities = capabilities
        self.rows: list[Execution] = []
        self.kinds: list[IncidentKind] = []

    def take(self, report: ExecutionReport) -> None:
        """Take in one report."""
        if not executions.tells_execution(report, self.capabilities):
            return self._apply(from_report(self.order, report))
        named = executions.name(report, self.capabilities)
        if named.key in {(row.scope, row.execution_id) for row in self.rows}:
            return None
        referred = {(row.scope, row.refers_to or "") for row in self.rows if row.refers_to}
        plain = executions.is_plain(named, self.capabilities, referred)
        taken = executions.take(self.order, report, named, self.capabilities, rows=None if plain else tuple(self.rows))
        if taken.execution is not None:
            self.rows.append(taken.execution)
        self.kinds += [found.kind for found in taken.findings]
        return self._apply(taken.events)

    def _apply(self, events: tuple[ev.Event, ...]) -> None:
        self.kinds += [event.kind for event in events if isinstance(event, ev.Anomaly)]
        if events:
            self.order = advance(self.order, events, us(1))

    def take_all(self, reports: Iterable[ExecutionReport]) -> "Consumer":
        """Take in several."""
        for report in reports:
            self.take(report)
        return self

    def state(self) -> tuple[object, ...]:
        """Return what must not depend on the order of arrival."""
        counted = sorted((row.execution_id, row.quantity, row.price) for row in executions.effective(self.rows))
        return self.order.cum_quantity, self.order.reversed_quantity, counted


def live(**changes: Any) -> Order:
    """Return an order for 10 that is new at the venue, as V1."""
    return accepted(in_state(Status.NEW, venue_order_id="V1", **changes))


def told(execution_id: str, quantity: Any, price: Any = "25", **changes: Any) -> ExecutionReport:
    """Return a report of an execution, made at the time that its id's digits say."""
    digits = "".join(filter(str.isdigit, execution_id)) or "0"
    fields: dict[str, Any] = {"execution_id": execution_id, "transacted_at_us": us(int(digits))}
    return trade(quantity, quantity, **{**fields, "last_price": Decimal(price), **changes})


def bust(execution_id: str, refers_to: str | None, cum: Any = 0, **changes: Any) -> ExecutionReport:
    """Return the report that an execution does not count."""
    fields: dict[str, Any] = {"kind": ExecutionKind.TRADE_CANCEL, "refers_to": refers_to, "cum_quantity": Decimal(cum)}
    return told(execution_id, 1, **{**fields, "last_quantity": None, "last_price": None, **changes})


def correct(execution_id: str, refers_to: str, quantity: Any, price: Any = "25", **changes: Any) -> ExecutionReport:
    """Return the report that an execution had other terms."""
    fields: dict[str, Any] = {"kind": ExecutionKind.TRADE_CORRECT, "refers_to": refers_to}
    return told(execution_id, quantity, price, **{**fields, **changes})


# Busts and corrections.


def test_a_bust_takes_back_what_was_executed() -> None:
    """ExecType H: the execution does not count any more, and the order trades on by the venue's word."""
    consumer = Consumer(live()).take_all([told("E1", 4), told("E2", 6, cum_quantity=Decimal(10))])
    assert consumer.order.status is Status.FILLED
    consumer.take(bust("E3", "E2", 4, status=VenueStatus.PARTIALLY_FILLED))
    assert (consumer.order.status, consumer.order.cum_quantity) == (Status.PARTIALLY_FILLED, 4)
    assert consumer.order.leaves_quantity == 6
    assert consumer.order.reversed_quantity == 6
    assert not consumer.order.closed


def test_a_bust_of_a_filled_order_that_does_not_trade_on_leaves_it_cancelled() -> None:
    """Less than the quantity is executed and nothing can trade: to call it filled would be false."""
    consumer = Consumer(live()).take_all([told("E1", 10), bust("E2", "E1", 0, status=VenueStatus.CANCELED)])
    assert (consumer.order.status, consumer.order.cum_quantity) == (Status.CANCELED, 0)
    assert consumer.order.closed


def test_a_correction_replaces_quantity_and_price() -> None:
    """ExecType G: the execution has the quantity and price of its correction."""
    consumer = Consumer(live()).take_all([told("E1", 4), correct("E2", "E1", 3, "26")])
    assert consumer.order.cum_quantity == 3
    (row,) = executions.effective(consumer.rows)
    assert (row.execution_id, row.quantity, row.price) == ("E2", 3, 26)


@pytest.mark.parametrize("refers", [("E1", "E1"), ("E1", "E2")], ids=["each to the first", "each to the last"])
def test_of_several_corrections_the_latest_counts(refers: tuple[str, str]) -> None:
    """Whether a venue lets each correction refer to the first report or to the one before, in any order of arrival."""
    reports = [told("E1", 4), correct("E2", refers[0], 3), correct("E3", refers[1], 5)]
    for shuffled in itertools.permutations(reports):
        assert Consumer(live()).take_all(shuffled).state()[0] == 5


def test_a_bust_of_a_correction_leaves_nothing() -> None:
    """The last word on an execution decides, in any order of arrival."""
    reports = [told("E1", 4), correct("E2", "E1", 3), bust("E3", "E2"), told("E4", 2)]
    for shuffled in itertools.permutations(reports):
        consumer = Consumer(live()).take_all(shuffled)
        assert consumer.state()[0] == 2
        assert consumer.order.reversed_quantity == 4


def test_a_bust_before_its_execution() -> None:
    """The execution that comes after its own bust moves nothing, and the order can close all the same."""
    consumer = Consumer(live()).take_all([bust("E2", "E1"), told("E1", 4)])
    assert consumer.order.cum_quantity == 0
    assert consumer.order.reversed_quantity == 4
    canceled = trade(0, 0, kind=ExecutionKind.CANCELED, status=VenueStatus.CANCELED, cum_quantity=Decimal(0))
    consumer.take(canceled)
    assert consumer.order.closed


def test_old_news_from_before_a_bust_do_not_keep_an_order_open() -> None:
    """A late report with the venue's count from before the bust does not make the order wait for executions for ever."""
    consumer = Consumer(live()).take_all([told("E1", 4), bust("E2", "E1"), told("E1", 4)])
    late = trade(0, 0, kind=ExecutionKind.CANCELED, status=VenueStatus.CANCELED, cum_quantity=Decimal(4))
    assert consumer.take_all([late]).order.closed


def test_a_bust_outranks_every_correction_of_the_same() -> None:
    """Where a bust and a correction refer to the first report alike, nothing counts, whatever their ids and times."""
    rows = [told("E1.01", 5), told("E1.02", 3, transacted_at_us=us(90)), bust("E9.01", "E1.01", transacted_at_us=us(5))]
    for shuffled in itertools.permutations(rows):
        assert Consumer(live(), REVISED).take_all(shuffled).state()[0] == 0


def test_a_bust_without_a_reference_is_kept_for_a_person() -> None:
    """What it speaks of is not guessed: an anomaly, and nothing changes."""
    consumer = Consumer(live()).take_all([told("E1", 4), bust("E2", None)])
    assert consumer.order.cum_quantity == 4
    assert consumer.kinds == [IncidentKind.CONTRADICTION]


def test_a_correction_beyond_the_quantity_is_an_overfill() -> None:
    """It counts, since it was executed, and a person is told."""
    consumer = Consumer(live()).take_all([told("E1", 10), correct("E2", "E1", 12)])
    assert consumer.order.cum_quantity == 12
    assert consumer.kinds == [IncidentKind.OVERFILL]


def test_two_that_speak_of_each_other_end_in_something() -> None:
    """A venue's mistake in references makes no endless search."""
    reports = [correct("E1", "E2", 3), correct("E2", "E1", 4)]
    one, other = (Consumer(live()).take_all(them) for them in (reports, reports[::-1]))
    assert one.state() == other.state()


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[ExecutionReport], Decimal]:
    """Draw executions of one order with busts and corrections of some, and what counts in the end."""
    reports: list[ExecutionReport] = []
    total, number = Decimal(0), 0
    for _ in range(draw(st.integers(1, 4))):
        number += 1
        first = last = f"E{number}"
        quantity = Decimal(draw(st.integers(1, 3)))
        reports.append(told(first, quantity))
        to_first = draw(st.booleans())
        for word in draw(st.lists(st.sampled_from("gh"), max_size=2)):
            number += 1
            name, about = f"E{number}", first if to_first else last
            if word == "h":
                reports.append(bust(name, about))
                quantity = Decimal(0)
                break
            quantity = Decimal(draw(st.integers(1, 3)))
            reports.append(correct(name, about, quantity))
            last = name
        total += quantity
    return reports, total


@SEEDED
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_repeats_end_in_the_same(
    drawn: tuple[list[ExecutionReport], Decimal], shuffle: Random
) -> None:
    """FILL-ONCE: executions, busts and corrections in any order, any of them several times, count as the last word says."""
    reports, total = drawn
    straight = Consumer(live()).take_all(reports)
    assert straight.order.cum_quantity == total
    several = reports + [shuffle.choice(reports) for _ in range(3)]
    shuffle.shuffle(several)
    assert Consumer(live()).take_all(several).state() == straight.state()


# Revisions in the id's last part.


def test_a_higher_revision_corrects_a_lower_one() -> None:
    """Interactive Brokers: ``….02`` is the same execution as ``….01`` with other numbers, not a second one."""
    reports = [told("0001.5a.01", 100), told("0001.5a.02", 90), told("0001.5a.03", 80), told("0001.5b.01", 7)]
    for shuffled in itertools.permutations(reports):
        consumer = Consumer(live(intent=order().intent), REVISED).take_all(shuffled)
        assert consumer.state()[0] == 87


def test_the_revision_decides_and_not_the_time() -> None:
    """A higher revision counts although its time is earlier."""
    late = told("x.01", 4, transacted_at_us=us(9))
    early = told("x.02", 3, transacted_at_us=us(2))
    third = told("x.10", 2, transacted_at_us=us(1))
    for shuffled in itertools.permutations([late, early, third]):
        assert Consumer(live(), REVISED).take_all(shuffled).state()[0] == 2


def test_without_that_capability_a_last_part_is_part_of_the_id() -> None:
    """Where a venue numbers otherwise, ``x.01`` and ``x.02`` are two executions."""
    assert Consumer(live()).take_all([told("x.01", 4), told("x.02", 3)]).order.cum_quantity == 7


# Totals only, and no ids.


def total(cum: Any, average: Any = "25", **changes: Any) -> ExecutionReport:
    """Return a report that tells how much is executed by now, and at what average price."""
    fields: dict[str, Any] = {"execution_id": "", "last_quantity": None, "last_price": None}
    fields |= {"cum_quantity": Decimal(cum), "average_price": Decimal(average)}
    return trade(1, 1, **{**fields, **changes})


def test_growing_totals_make_executions() -> None:
    """What a total is above what was applied is one execution, at the price that makes the average right."""
    consumer = Consumer(live(), TOTALS).take_all([total(4, "25"), total(10, "26")])
    assert [(row.quantity, row.price) for row in consumer.rows] == [
        (4, 25),
        (6, Decimal("26.6666666666666666666666666667")),
    ]
    assert consumer.order.status is Status.FILLED


def test_a_total_that_is_told_again_or_late_changes_nothing() -> None:
    """Totals come twice and in another order: only what is more than ever before is an execution."""
    consumer = Consumer(live(), TOTALS).take_all([total(6), total(4), total(6), total(10), total(6)])
    assert consumer.order.cum_quantity == 10
    assert [row.quantity for row in consumer.rows] == [6, 4]


def test_a_total_in_another_report_counts_too() -> None:
    """A cancellation that tells a total not seen before is an execution and a cancellation."""
    canceled = total(4, kind=ExecutionKind.CANCELED, status=VenueStatus.CANCELED)
    consumer = Consumer(live(), TOTALS).take_all([canceled])
    assert (consumer.order.status, consumer.order.cum_quantity, consumer.order.closed) == (Status.CANCELED, 4, True)


def test_a_total_that_falls_is_told_to_a_person() -> None:
    """Where only totals are told, a later and lower one says that something was taken back: nothing is guessed, all is told."""
    consumer = Consumer(live(), TOTALS).take_all([total(6, transacted_at_us=us(2)), total(4, transacted_at_us=us(3))])
    assert consumer.order.cum_quantity == 6
    assert consumer.kinds == [IncidentKind.CONTRADICTION]


def test_a_total_without_a_price_is_not_priced_by_guessing() -> None:
    """The order waits for its execution, and a person is told."""
    consumer = Consumer(live(), TOTALS).take_all([total(4, average_price=None)])
    assert (consumer.order.cum_quantity, consumer.order.venue_cum_quantity) == (0, 4)
    assert consumer.kinds == [IncidentKind.CONTRADICTION]


def test_a_fill_without_an_id_is_known_by_its_place_in_the_total() -> None:
    """FIX CumQty after it names an execution that the venue gave no id: told twice it counts once, two alike count twice."""
    first, second = told("", 4, cum_quantity=Decimal(4)), told("", 4, cum_quantity=Decimal(8))
    for shuffled in itertools.permutations([first, second, first, second]):
        assert Consumer(live()).take_all(shuffled).order.cum_quantity == 8


# Executions that are not ours.


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("account", "B", "account"), ("instrument", "OTHER", "instrument"), ("side", Side.SELL, "side")],
)
def test_an_execution_that_contradicts_its_order_is_quarantined(field: str, value: Any, named: str) -> None:
    """Under our id but in another account, instrument or side: kept apart with an incident, in no position."""
    consumer = Consumer(live()).take_all([told("E1", 4, **{field: value})])
    assert consumer.order.cum_quantity == 0
    assert [row.intent_id for row in consumer.rows] == [None]
    assert consumer.kinds == [IncidentKind.FOREIGN_EXECUTION]
    assert named in str(executions.stranger_to(live(), told("E1", 4, **{field: value})))


def test_a_strangers_execution_names_account_and_instrument_in_one_incident() -> None:
    """All executions of orders that nobody here sent, in one account and instrument, belong to one incident."""
    report = told("E1", 4, client_order_id="theirs")
    named = executions.name(report, PLAIN)
    taken = executions.quarantined(report, named, None, None, "executions", "sim")
    assert taken.execution is not None
    assert taken.execution.intent_id is None
    (found,) = taken.findings
    assert (found.kind, found.subject) == (IncidentKind.STRANGER_EXECUTION, "A ACME")
    assert "theirs" in found.evidence[0]
    event = executions.quarantine_event(taken.execution, "r")
    assert (event.account, event.quantity, event.reason) == ("A", 4, "r")


def test_fees_and_channel_are_kept() -> None:
    """A fee stays with its execution, in its currency, and so does the channel that told of it first."""
    report = told("E1", 4, fee=Decimal("0.02"), fee_currency="USD")
    named = executions.name(report, PLAIN)
    taken = executions.take(live(), report, named, PLAIN, stream=DROP_COPY)
    assert taken.execution is not None
    assert (taken.execution.fee, taken.execution.fee_currency, taken.execution.stream) == (
        Decimal("0.02"),
        "USD",
        DROP_COPY,
    )
    (traded,) = taken.events
    assert isinstance(traded, ev.Traded)
    assert (traded.fee, traded.fee_currency, traded.stream) == (Decimal("0.02"), "USD", DROP_COPY)


def test_what_the_journal_tells_of_an_execution_is_short() -> None:
    """Fields that are as usual are left out of the journal's entry, so that it costs no more than it did."""
    traded = ev.Traded("E1", Decimal(1), Decimal(2), "V1", Decimal(1))
    assert msgspec.json.decode(msgspec.json.encode(traded)) == {
        "type": "traded",
        "execution_id": "E1",
        "quantity": "1",
        "price": "2",
        "venue_order_id": "V1",
        "venue_cum_quantity": "1",
    }


def rows_of(words: Sequence[tuple[str, str | None, Kind, int]]) -> list[Execution]:
    """Return rows of the execution log."""
    base = executions.row_of(live(), told("E0", 1), executions.name(told("E0", 1), PLAIN), "executions")
    return [
        msgspec.structs.replace(
            base, execution_id=name, refers_to=about, kind=kind, quantity=Decimal(quantity), transacted_at_us=us(n)
        )
        for n, (name, about, kind, quantity) in enumerate(words)
    ]


def test_what_counts_stands_where_it_was_first_told() -> None:
    """A correction takes the place of what it corrects, so that the average price follows the order of trading."""
    rows = rows_of(
        [
            ("E1", None, Kind.TRADE, 1),
            ("E2", None, Kind.TRADE, 2),
            ("G1", "E1", Kind.CORRECT, 3),
            ("E3", None, Kind.TRADE, 4),
            ("H2", "E2", Kind.BUST, 0),
        ]
    )
    assert [row.execution_id for row in executions.effective(rows)] == ["G1", "E3"]
    assert executions.totals(rows) == (7, 2)
