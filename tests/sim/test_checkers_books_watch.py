"""The checks about those who watch can fail: each notices a run that was spoiled by hand."""

from decimal import Decimal
from typing import Any

import pytest
from books_kit import (
    calm_plan,
    claim,
    commit,
    empty,
    entry,
    history,
    index,
    order,
    report,
    row,
    run,
    sent,
    traded,
    with_,
)

from onefill.core import events as ev
from onefill.core.incident import Incident, IncidentKind
from onefill.core.messages import ExecutionKind
from onefill.core.order import Replacement
from onefill.core.position import fold_all
from onefill.core.replay import RouteReplay
from onefill.core.values import Side
from onefill.ports.ledger import RequestKind
from onefill.sim.checkers_index import Index
from onefill.sim.checkers_watch import as_told, false_alarm, incidents_kept, parity, shut
from onefill.sim.history import Answered, Called, Fault, Reported
from onefill.sim.world_books import Amendment, Books


def _said(verdict: Any) -> str:
    return "\n".join(violation.text for violation in verdict.violations)


# ---------------------------------------------------------------------------------- parity


def _replay(*differences: str) -> RouteReplay:
    return RouteReplay(
        route="X",
        entries=1,
        events=1,
        orders=1,
        still_open=0,
        executions=1,
        quarantined=0,
        duplicates=1,
        reversed_orders=0,
        differing=len(differences),
        differences=list(differences),
        positions=[],
    )


def test_parity_holds_where_replay_and_arithmetic_agree() -> None:
    """A replay without a difference and a position that its executions make break nothing, and are judged."""
    verdict = parity(index(replayed=_replay()))
    assert not verdict.violations
    assert verdict.cases == 2


def test_parity_notices_a_replay_that_differs() -> None:
    """What a replay finds is told."""
    assert "was applied before" in _said(parity(index(replayed=_replay("execution 'E1': was applied before"))))


def test_parity_notices_a_cost_that_was_rounded() -> None:
    """Cost and profit are counted in fractions: a position whose average was rounded does not come to them."""
    rows = [row(quantity=3, price=100), row("E2", 4, 101), row("E3", 2, 103, side=Side.SELL)]
    fine = fold_all(empty(), rows)
    assert not parity(index(executions=rows, positions=[fine])).violations
    rounded = with_(fine, cost=fine.cost.quantize(Decimal("0.01")))
    said = _said(parity(index(executions=rows, positions=[rounded])))
    assert "cost is" in said
    assert "realised profit is" in said


@pytest.mark.parametrize("last", [2, 7, 12])
def test_parity_counts_as_the_book_does_over_a_change_of_side(last: int) -> None:
    """A sale of a part, of all, and of more than is held: average cost by fractions is that of the book."""
    rows = [row(quantity=3, price=100), row("E2", 4, 101), row("E3", last, 103, side=Side.SELL)]
    assert not parity(index(executions=rows, positions=[fold_all(empty(), rows)])).violations


# -------------------------------------------------------------------------------- incidents


def _opened(kind: IncidentKind, number: int = 1) -> Any:
    return entry(1, ev.IncidentOpened(number, kind, "c1", "about nothing", ()))


@pytest.mark.parametrize("kind", sorted(set(IncidentKind) - {IncidentKind.UNCERTAIN}))
def test_an_incident_in_a_world_where_nothing_befalls_is_a_false_alarm(kind: IncidentKind) -> None:
    """No incident but that of an order that waits has a cause in a calm world."""
    assert "about nothing" in _said(false_alarm(index(journal=[_opened(kind)])))


def test_an_incident_with_a_cause_is_no_false_alarm() -> None:
    """What was hidden explains a missing execution, a restatement a restated order, and so on; other kinds stay alarms."""
    hidden = history(Fault(1, "hidden", "stream"))
    assert not false_alarm(index(journal=[_opened(IncidentKind.MISSING_EXECUTION)], history=hidden)).violations
    assert false_alarm(index(journal=[_opened(IncidentKind.STATE)], history=hidden)).violations
    restated = Books(amendments=(Amendment(at_s=1.0, what="restate", which=0.5, live=True),))
    world = with_(calm_plan(), books=restated)
    verdict = false_alarm(index(journal=[_opened(IncidentKind.RESTATED)], plan=world))
    assert (verdict.cases, verdict.violations) == (1, [])
    assert false_alarm(index(journal=[_opened(IncidentKind.TWO_ORDERS)], plan=world)).violations


def test_an_order_that_is_over_at_the_venue_may_be_missed_while_the_stream_is_cut() -> None:
    """That the venue does not list an order is true once it has ended there; while it is live there, it is a false alarm."""
    told = ev.IncidentOpened(1, IncidentKind.UNKNOWN_AT_VENUE, "c1", "about nothing", ())
    over_us = calm_plan().start_us + 5
    records = (Fault(1, "stream ends", "stream"), commit(order=order()), with_(commit(told), sequence=2))
    entries = [entry(2, told)]
    over = index(journal=entries, history=history(*records), reports=[report(transacted_at_us=over_us)])
    assert not false_alarm(over).violations
    later = index(journal=entries, history=history(*records), reports=[report(transacted_at_us=over_us + 1_000)])
    assert false_alarm(later).violations
    calm = index(journal=entries, history=history(*records[1:]), reports=[report(transacted_at_us=over_us)])
    assert false_alarm(calm).violations


def _kept(**changes: Any) -> Incident:
    return with_(
        Incident(route="X", number=1, kind=IncidentKind.STATE, subject="c1", opened_at_us=1, summary="s"), **changes
    )


def test_incidents_that_are_told_of_pass() -> None:
    """One that is open and one that a person closed are in ledger and journal alike."""
    journal = [
        _opened(IncidentKind.STATE),
        _opened(IncidentKind.PRICE, 2),
        entry(2, ev.IncidentResolved(2, "operator", "looked at it")),
    ]
    kept = [_kept(), _kept(number=2, resolved_at_us=5, resolved_by="operator")]
    verdict = incidents_kept(index(journal=journal, incidents=kept))
    assert (verdict.cases, verdict.violations) == (2, [])


@pytest.mark.parametrize(
    ("incidents", "text"),
    [
        ([], "in the journal alone"),
        ([_kept(), _kept(number=2)], "in the ledger alone"),
        ([_kept(resolved_at_us=5, resolved_by="onefill")], "closed, and no entry says so"),
    ],
)
def test_incidents_that_are_not_as_told_are_noticed(incidents: list[Incident], text: str) -> None:
    """An incident that is lost, made up or closed in silence is noticed."""
    assert text in _said(incidents_kept(index(journal=[_opened(IncidentKind.STATE)], incidents=incidents)))


# ---------------------------------------------------------------------------------- as told


def test_an_execution_that_was_told_may_be_applied() -> None:
    """The channel told the process of it first; or an incident says under what it was taken in."""
    assert not as_told(index()).violations
    assert as_told(index()).cases == 1
    assert not as_told(index(history=history(commit(traded(incident=1))))).violations


@pytest.mark.parametrize(
    "records",
    [
        (),
        (Reported(5, 2, report()),),
        (Reported(5, 1, report(execution_id="E2")),),
        (Reported(5, 1, report(venue_order_id="X2")),),
        (Reported(5, 1, report(kind=ExecutionKind.ORDER_STATUS)),),
    ],
    ids=["nothing", "another process", "another execution", "another order", "no execution"],
)
def test_an_execution_that_nobody_told_of_is_noticed(records: tuple[Any, ...]) -> None:
    """Taken in without a word of a channel, and under no incident: a silent repair."""
    verdict = as_told(index(history=history(*records, commit(traded()))))
    assert "taken in untold" in _said(verdict)


# --------------------------------------------------------------------------- control states


def _moved(state: str, at_us: int = 10) -> Any:
    return commit(ev.ControlMoved(state, "normal", "a drill", "operator"), at_us=at_us)


def _shut(*records: Any) -> Any:
    return shut(Index(run(history=history(*records))))


def _replaces(quantity: int, price: int) -> Any:
    wanted = Replacement(
        number=1, client_order_id="c1", quantity=Decimal(quantity), price=Decimal(price), valid_until_us=9
    )
    return commit(order=order(executed=0, replacement=wanted), claims=(claim(RequestKind.REPLACE),), at_us=20)


def test_what_left_before_a_route_was_shut_passes() -> None:
    """Bytes that were on their way, and what leaves after a person's release, break nothing."""
    assert not _shut(_moved("safe"), sent(10)).violations
    assert not _shut(_moved("safe"), _moved("degraded", 15), sent(20)).violations
    assert not _shut(_moved("dup_risk"), _replaces(4, 100)).violations
    assert not _shut(_replaces(9, 101)).violations


@pytest.mark.parametrize(
    "records",
    [
        (_moved("safe"), sent(11)),
        (_moved("safe"), _replaces(4, 100)),
        (_moved("dup_risk"), _replaces(6, 100)),
        (_moved("dup_risk"), _replaces(4, 101)),
    ],
    ids=["a submit in SAFE", "a replace in SAFE", "more in DUP_RISK", "another price in DUP_RISK"],
)
def test_what_passes_a_shut_route_is_noticed(records: tuple[Any, ...]) -> None:
    """A send from a route that is SAFE, and a replace that adds in one that is shut, break SHUT."""
    assert [one.promise for one in _shut(*records).violations] == ["SHUT"]


def test_a_freeze_is_in_force_from_the_call_on() -> None:
    """What was claimed with the freeze and leaves after it is noticed, also before the freeze is durable."""
    asked = Called(5, 1, 1, "freeze", "", "safe")
    assert _shut(asked, Answered(12, 1, b"safe"), sent(6)).violations
    assert _shut(asked, _moved("safe"), Answered(12, 1, b"safe"), sent(10)).violations
    assert not _shut(asked, sent(5), _moved("safe"), Answered(12, 1, b"safe")).violations
    assert not _shut(asked, sent(6), Answered(12, 1, None, "RouteClosed")).violations
