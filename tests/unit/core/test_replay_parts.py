"""The replay's own parts: positions at any place of the log, and the way from an event back to its report."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import events as ev
from onefill.core import executions
from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.intent import Intent
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.order import Order
from onefill.core.position import Execution, Kind, Position, dedupe_scope, fold_all, positions_key
from onefill.core.replay import Fold
from onefill.core.replay_reports import naming, quarantined_report, report_of
from onefill.core.values import Side

WANTED = Intent(
    account="A", strategy="s", instrument="ACME", side="buy", quantity=10, price=100, time_in_force="gtc", venue="X"
)
ORDER = Order(intent_id=7, key="k", client_order_id="c", intent=WANTED, recorded_at_us=0, valid_until_us=9)


def row(
    number: int, strategy: str, side: str, quantity: int, price: int, refers_to: str | None, kind: Kind
) -> Execution:
    """Return a row of the execution log."""
    return Execution(
        intent_id=1,
        scope="A",
        execution_id=f"E{number}",
        account="A",
        strategy=strategy,
        venue="X",
        instrument="ACME",
        side=Side(side),
        quantity=Decimal(quantity),
        price=Decimal(price),
        client_order_id="c",
        venue_order_id="v",
        transacted_at_us=number,
        kind=kind,
        refers_to=refers_to,
        fee=Decimal(1),
        fee_currency="USD",
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Execution]:
    """Make a log of trades of two positions, some of them corrected or busted."""
    rows: list[Execution] = []
    for number in range(draw(st.integers(1, 12))):
        strategy, side = draw(st.sampled_from("st")), draw(st.sampled_from(["buy", "sell"]))
        quantity, price = draw(st.integers(1, 5)), draw(st.integers(1, 9))
        trades = [one for one in rows if one.kind is Kind.TRADE]
        if trades and draw(st.booleans()):
            of = draw(st.sampled_from(trades))
            kind = draw(st.sampled_from([Kind.BUST, Kind.CORRECT]))
            rows.append(row(number, of.strategy, of.side, quantity, price, of.execution_id, kind))
        else:
            rows.append(row(number, strategy, side, quantity, price, None, Kind.TRADE))
    return rows


@given(logs(), st.integers(0, 13))
def test_a_fold_is_what_the_whole_log_gives_now_and_at_its_mark(log: list[Execution], mark: int) -> None:
    """Streamed once, with the amended positions known, it equals the effective executions folded from nothing."""
    amended = {positions_key(one) for one in log if one.refers_to is not None}
    fold = Fold(amended, mark)
    for place, one in enumerate(log, 1):
        assert fold.add(place, one)
    for at_mark, counted in ((False, log), (True, log[:mark])):
        wanted: dict[tuple[str, str, str, str], Position] = {}
        for key in {positions_key(one) for one in counted}:
            empty = Position(account=key[0], strategy=key[1], venue=key[2], instrument=key[3])
            rows = [one for one in counted if positions_key(one) == key]
            wanted[key] = fold_all(empty, executions.effective(rows))
        assert fold.positions(at_mark=at_mark) == wanted


def test_a_fold_says_when_it_was_not_told_of_an_amendment() -> None:
    """Its position would be wrong; that is not passed over."""
    fold = Fold((), 0)
    assert fold.add(1, row(1, "s", "buy", 1, 1, None, Kind.TRADE))
    assert not fold.add(2, row(2, "s", "buy", 1, 1, "E1", Kind.BUST))


REPORT = ExecutionReport(
    position=1,
    execution_id="E1",
    kind=ExecutionKind.TRADE,
    client_order_id="c",
    venue_order_id="v",
    account="A",
    instrument="ACME",
    side=Side.BUY,
    last_quantity=Decimal(4),
    last_price=Decimal("99.5"),
    cum_quantity=Decimal(4),
    leaves_quantity=Decimal(6),
    status=VenueStatus.PARTIALLY_FILLED,
    transacted_at_us=5,
    fee=Decimal("0.1"),
    fee_currency="USD",
)
_but = msgspec.structs.replace
FIRST = executions.row_of(ORDER, REPORT, executions.Name("A", "E1"), "executions")
REPORTS = {
    "a trade": (REPORT, ()),
    "without an id": (_but(REPORT, execution_id=""), ()),
    "without a fee": (_but(REPORT, fee=None, fee_currency=None), ()),
    "under another id": (_but(REPORT, client_order_id="c2"), ()),
    "a correction": (_but(REPORT, execution_id="E2", kind=ExecutionKind.TRADE_CORRECT, refers_to="E1"), (FIRST,)),
    "a bust": (
        _but(
            REPORT,
            execution_id="E2",
            kind=ExecutionKind.TRADE_CANCEL,
            refers_to="E1",
            last_quantity=None,
            last_price=None,
            status=VenueStatus.CANCELED,
        ),
        (FIRST,),
    ),
    "a bust without an id": (
        _but(REPORT, execution_id="", kind=ExecutionKind.TRADE_CANCEL, refers_to="E1"),
        (FIRST,),
    ),
}


@pytest.mark.parametrize("scope", list(ExecutionIdScope))
@pytest.mark.parametrize("what", REPORTS)
def test_an_event_leads_back_to_a_report_that_makes_the_same_event_and_row(what: str, scope: ExecutionIdScope) -> None:
    """For every kind of execution and every scope: nothing that matters is lost on the way into the journal."""
    report, others = REPORTS[what]
    rows = tuple(_but(one, scope=dedupe_scope(report, scope)) for one in others)
    capabilities = Capabilities(execution_id_scope=scope)
    named = executions.name(report, capabilities)
    taken = executions.take(ORDER, report, named, capabilities, rows=rows, stream="drop_copy", incident=3)
    [event] = [one for one in taken.events if isinstance(one, ev.Traded | ev.TradeAmended)]
    assert taken.execution is not None
    back = report_of(ORDER, event, taken.execution)
    found = naming(back, taken.execution.scope)
    assert found is not None
    assert executions.name(back, found) == named
    again = executions.take(ORDER, back, named, found, rows=rows, stream="drop_copy", incident=3)
    assert (again.execution, again.events) == (taken.execution, taken.events)


@pytest.mark.parametrize("what", REPORTS)
def test_the_same_holds_for_what_is_kept_apart(what: str) -> None:
    """An execution that nobody here sent."""
    report, _ = REPORTS[what]
    capabilities = Capabilities(execution_id_scope=ExecutionIdScope.ORDER)
    named = executions.name(report, capabilities)
    taken = executions.quarantined(report, named, None, None, "executions", "X")
    assert taken.execution is not None
    back = quarantined_report(executions.quarantine_event(taken.execution, "why"), taken.execution)
    found = naming(back, taken.execution.scope)
    assert found is not None
    assert executions.name(back, found) == named
    assert executions.quarantined(back, named, None, None, "executions", "X").execution == taken.execution
