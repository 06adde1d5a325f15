"""The checks about executions, incidents and control states can fail: each notices a run that was spoiled by hand."""

from decimal import Decimal
from typing import Any

import pytest
from books_kit import at_venue, claim, commit, empty, entry, history, index, order, row, run, trade, traded, with_

from onefill.core import events as ev
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.position import Execution, Kind, fold_all
from onefill.core.values import Side
from onefill.sim.checkers_books import control_holds, fill_once, no_silent_heal
from onefill.sim.checkers_index import Index

_ONE = Decimal(1)


def _said(verdict: Any) -> str:
    return "\n".join(violation.text for violation in verdict.violations)


def test_a_run_in_which_all_is_well_passes() -> None:
    """An execution that is told, applied and held as it is at the exchange breaks nothing, and is judged."""
    verdict = fill_once(index())
    assert not verdict.violations
    assert verdict.cases


def test_a_bust_that_counts_for_nothing_passes() -> None:
    """What was busted at both sides is in no position, and nothing is wrong with that."""
    rows = [row(), row("E2", 0, 0, kind=Kind.BUST, refers_to="E1")]
    cancelled = order(executed=0, reversed_quantity=Decimal(5))
    fine = index(
        executions=rows,
        trades=[trade(latest_id="E2", counts=False)],
        held=Decimal(0),
        positions=[],
        orders=[cancelled],
        at_venue=[at_venue(executed=0)],
        history=history(commit(order=cancelled)),
    )
    assert not fill_once(fine).violations


def _folded(*rows: Execution) -> dict[str, Any]:
    return {"executions": list(rows), "positions": [fold_all(empty(), rows)]}


_STRANGER = {"intent_id": None, "strategy": "", "client_order_id": "", "venue_order_id": "X9", "scope": "A\n\nX9"}
_SPOILED: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"executions": [], "positions": []}, "is missing here"),
    "twice under two names": (_folded(row(), row("copy E1")), "too often"),
    "twice under one name": (_folded(row(), row()), "stands 2 times"),
    "another price": (_folded(row(price=101)), "came to"),
    "another quantity": (_folded(row(quantity=4)), "is executed here"),
    "busted there only": ({"trades": [trade(counts=False)], "held": Decimal(0)}, "0 at the exchange"),
    "busted here only": (
        {"executions": [row(), row("E2", 0, 0, kind=Kind.BUST, refers_to="E1")], "positions": []},
        "is missing here",
    ),
    "corrected there only": ({"trades": [trade(price=101, latest_id="E2")]}, "E2"),
    "order counts otherwise": ({"orders": [order(cum_quantity=Decimal(4))]}, "has 4 executed"),
    "position decremented": ({"positions": [fold_all(empty(), [row(quantity=4)])]}, "its executions give"),
    "position of two fills": ({"positions": [fold_all(empty(), [row(quantity=2), row(quantity=3)])]}, "2 fills"),
    "fee forgotten": ({"executions": [row(fee=_ONE, fee_currency="USD")]}, "its executions give"),
    "the account holds more": ({"held": Decimal(6)}, "moved by 6"),
    "a stranger in a position": (
        {"positions": [fold_all(empty(), [row()]), with_(empty(), strategy="")]},
        "nobody's order",
    ),
    "a stranger missing": ({"trades": [trade(), trade("E9", venue_order_id="X9")]}, "of X9 0 is executed here"),
    "a stranger too many": ({"executions": [row(), row("E9", **_STRANGER)]}, "of X9 5 is executed here"),
}


@pytest.mark.parametrize("name", _SPOILED)
def test_fill_once_notices(name: str) -> None:
    """Whatever is counted otherwise than at the exchange breaks FILL-ONCE."""
    changes, text = _SPOILED[name]
    verdict = fill_once(index(**changes))
    assert {violation.promise for violation in verdict.violations} == {"FILL-ONCE"}
    assert text in _said(verdict)


def test_a_world_that_never_rests_is_not_judged_by_what_it_holds() -> None:
    """What has not caught up is CONVERGES' case: FILL-ONCE has none."""
    verdict = fill_once(index(rested=False, executions=[]))
    assert (verdict.cases, verdict.violations) == (0, [])


# -------------------------------------------------------------------------------- incidents

_ANOMALY = ev.Anomaly("it contradicts", IncidentKind.FOREIGN_ORDER)
_ABOUT_ANOMALY = ev.IncidentOpened(1, IncidentKind.FOREIGN_ORDER, "c1", "about it", ())
_PARKED = ev.Parked("nothing is safe")
_ABOUT_PARKED = ev.IncidentOpened(1, IncidentKind.UNCERTAIN, "c1", "about it", ())
_ABOUT_STRANGER = ev.IncidentOpened(1, IncidentKind.STRANGER_EXECUTION, "A ACME", "about it", ())
_ABOUT_FOREIGN = ev.IncidentOpened(1, IncidentKind.FOREIGN_EXECUTION, "c1", "about it", ())


def _quarantined(client_order_id: str) -> ev.Quarantined:
    return ev.Quarantined("E9", client_order_id, "X9", "ACME", "sell", _ONE, _ONE, account="A")


def test_what_has_its_incident_passes() -> None:
    """An anomaly, an order that waits and a stranger's execution break nothing if their entries open an incident each."""
    journal = [
        entry(1, _ANOMALY, _ABOUT_ANOMALY, intent_id=1),
        entry(2, _PARKED, with_(_ABOUT_PARKED, number=2), intent_id=1),
        entry(3, _quarantined("other1"), with_(_ABOUT_STRANGER, number=3)),
        entry(4, _quarantined("c1"), with_(_ABOUT_FOREIGN, number=4)),
        entry(5, traded(incident=3), intent_id=1),
        entry(6, ev.IncidentConverged(1), ev.IncidentResolved(1, "operator", "looked at it")),
        entry(7, _ANOMALY, with_(_ABOUT_ANOMALY, number=5), intent_id=1),
    ]
    verdict = no_silent_heal(index(journal=journal))
    assert not verdict.violations
    assert verdict.cases >= 5


@pytest.mark.parametrize(
    ("journal", "text"),
    [
        ([entry(1, _ANOMALY, intent_id=1)], "a anomaly without an incident"),
        ([entry(1, _ANOMALY, _ABOUT_PARKED, intent_id=1)], "a anomaly without an incident"),
        ([entry(1, _ANOMALY, intent_id=1), entry(2, _ABOUT_ANOMALY)], "a anomaly without an incident"),
        ([entry(1, _PARKED, intent_id=1)], "a parked without an incident"),
        ([entry(1, _quarantined("other1"))], "a quarantined without an incident"),
        ([entry(1, _quarantined("c1"), _ABOUT_STRANGER)], "a quarantined without an incident"),
        ([entry(1, traded(incident=4), intent_id=1)], "incident 4, unknown"),
        (
            [entry(1, _PARKED, _ABOUT_PARKED, intent_id=1), entry(2, ev.IncidentResolved(1, "onefill", "gone"))],
            "closed by nobody",
        ),
        (
            [
                entry(1, _PARKED, _ABOUT_PARKED, intent_id=1),
                entry(2, ev.IncidentResolved(1, "operator", "looked at it")),
                entry(3, _PARKED, intent_id=1),
            ],
            "a parked without an incident",
        ),
        ([entry(1, _ABOUT_PARKED), entry(2, with_(_ABOUT_PARKED, number=2))], "opened twice"),
    ],
)
def test_no_silent_heal_notices(journal: list[Any], text: str) -> None:
    """What needs an incident and has none in its own entry, or loses it to nobody, breaks NO-SILENT-HEAL."""
    verdict = no_silent_heal(index(journal=journal))
    assert {violation.promise for violation in verdict.violations} == {"NO-SILENT-HEAL"}
    assert text in _said(verdict)


# --------------------------------------------------------------------------- control states


def _moved(state: str, by: str = "operator") -> Any:
    return commit(ev.ControlMoved(state, "normal", "a drill", by))


def _judged(*records: Any) -> Any:
    return control_holds(Index(run(history=history(*records))))


_BOUGHT = commit(order=order())
_SELLS = order("k2", Side.SELL, 5, 0, status=Status.SENDING)
_SELLS_MORE = order("k3", Side.SELL, 1, 0, status=Status.UNCERTAIN)


def test_reductions_in_dup_risk_pass() -> None:
    """In DUP_RISK an order is claimed that only sells what is held; and after a person's release every order."""
    opened = commit(ev.ControlMoved("degraded", "dup_risk", "fine", "operator"))
    claimed = commit(order=order("k4", Side.BUY, 9, 0), claims=(claim(),))
    verdict = _judged(_BOUGHT, _moved("dup_risk"), commit(order=_SELLS, claims=(claim(),)), opened, claimed)
    assert not verdict.violations
    assert verdict.cases >= 3


@pytest.mark.parametrize(
    "records",
    [
        (_BOUGHT, _moved("safe"), commit(order=_SELLS, claims=(claim(),))),
        (_BOUGHT, _moved("dup_risk"), commit(order=order("k2", Side.BUY, 1, 0), claims=(claim(),))),
        (_BOUGHT, _moved("dup_risk"), commit(order=order("k2", Side.SELL, 6, 0), claims=(claim(),))),
        (_moved("dup_risk"), commit(order=_SELLS, claims=(claim(),))),
        (_BOUGHT, commit(order=_SELLS_MORE), _moved("dup_risk"), commit(order=_SELLS, claims=(claim(),))),
        (_BOUGHT, _moved("dup_risk"), _moved("safe"), commit(order=_SELLS, claims=(claim(),))),
    ],
    ids=["in SAFE", "buys", "sells more than is held", "nothing is held", "beside an uncertain one", "SAFE after all"],
)
def test_control_notices_a_claim(records: tuple[Any, ...]) -> None:
    """A claim in SAFE, or in DUP_RISK of what could open a position, breaks CONTROL."""
    verdict = _judged(*records)
    assert [violation.promise for violation in verdict.violations] == ["CONTROL"]
    assert "was claimed in" in _said(verdict)


@pytest.mark.parametrize(("state", "to"), [("safe", "normal"), ("safe", "dup_risk"), ("dup_risk", "degraded")])
def test_control_notices_a_route_that_opens_itself(state: str, to: str) -> None:
    """Only a person opens what was shut; DEGRADED alone ends by itself."""
    assert "by itself" in _said(_judged(_moved(state), _moved(to, "onefill")))
    assert not _judged(_moved(state), _moved(to)).violations
    assert not _judged(_moved("degraded"), _moved("normal", "onefill")).violations
