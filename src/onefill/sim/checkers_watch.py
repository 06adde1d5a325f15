"""Checks about incidents and what opens them, about what a shut route lets through, and about what a replay gives."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import msgspec

from onefill.core import events as ev
from onefill.core.control import State
from onefill.core.executions import effective
from onefill.core.incident import IncidentKind
from onefill.core.messages import EXECUTED, LIVE, ExecutionReport, ReplaceRequest, SubmitRequest
from onefill.core.position import Execution, Position
from onefill.core.values import Side, plain
from onefill.ports.ledger import RequestKind
from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.dialect import ExecutionIds
from onefill.sim.history import Called, Commit, Fault, Reported, Sent
from onefill.sim.world_plan import ACCOUNT, STRATEGY

_ROUNDED = Fraction(1, 10**20)
_CUTS = frozenset({"stream ends", "stream skips", "partition", "exchange restart", "stall", "held back"})
_events = msgspec.json.Decoder(tuple[ev.Event | ev.RouteEvent, ...])


def parity(index: Index) -> Verdict:
    """The journal, replayed, gives the orders, executions and positions that are stored; and the positions, counted by other
    means than the gateway's, come to the same.
    """
    verdict = Verdict(promise="PARITY")
    replayed = index.run.replayed
    if replayed is not None:
        verdict.cases += replayed.entries
        for difference in replayed.differences:
            verdict.broken(f"replayed: {difference}")
    if not index.run.rested:
        return verdict
    own = effective(row for row in index.run.executions if row.intent_id is not None)
    for position in index.run.positions:
        if position.strategy == STRATEGY:
            verdict.cases += 1
            _compare_cost(verdict, position, own)
    return verdict


def _compare_cost(verdict: Verdict, position: Position, rows: Iterable[Execution]) -> None:
    held = cost = received = Fraction(0)
    for row in rows:
        moved = Fraction(row.quantity) if row.side is Side.BUY else -Fraction(row.quantity)
        received -= moved * Fraction(row.price)
        if held * moved >= 0:
            cost += moved * Fraction(row.price)
        elif abs(moved) <= abs(held):
            cost -= cost * abs(moved) / abs(held)
        else:
            cost = (held + moved) * Fraction(row.price)
        held += moved
    for name, mine, theirs in (
        ("quantity", Fraction(position.quantity), held),
        ("cost", Fraction(position.cost), cost),
        ("realised profit", Fraction(position.realised), received + cost),
    ):
        if abs(mine - theirs) > _ROUNDED:
            verdict.broken(f"the position's {name} is {float(mine)}, and {float(theirs)} by its executions")


# -------------------------------------------------------------------------------- incidents


def false_alarm(index: Index) -> Verdict:
    """An incident says that something differs or contradicts only in worlds where something does."""
    verdict = Verdict(promise="FALSE-ALARM")
    for event, at in _opened(index):
        explained = _EXPLAINED.get(event.kind, _never)
        verdict.cases += 1
        if not explained(index) and not _over_there(index, event, at):
            verdict.broken(f"entry {at}: an incident ({event.kind}) about nothing: {event.summary}")
    return verdict


def _opened(index: Index) -> Iterator[tuple[ev.IncidentOpened, int]]:
    for entry in index.run.journal:
        if "incident_opened" in entry.payload:
            for event in _events.decode(entry.payload):
                if isinstance(event, ev.IncidentOpened):
                    yield event, entry.sequence


def _over_there(index: Index, event: ev.IncidentOpened, sequence: int) -> bool:
    """Tell whether an order that the venue did not list was over there, and what kept that from being known.

    That is a stream that was cut, or, of an order whose replace is open, a venue that shows orders in no refusal, or no more.
    """
    dialect = index.run.plan.dialect
    says_little = dialect.refuses_barely or dialect.lookup_forgets_after_s is not None
    if event.kind is not IncidentKind.UNKNOWN_AT_VENUE or not (_cut(index) or says_little):
        return False
    at_us = next(commit.at_us for _, commit in index.commits if commit.sequence == sequence) + index.plan.start_us
    chains = index.chains.get(index.owner.get(event.subject, ""), [])
    numbers = {order.venue_order_id for chain in chains for order in chain}
    ends = [one for one in index.run.reports if one.venue_order_id in numbers and one.status not in LIVE]
    return any(one.transacted_at_us <= at_us for one in ends)


def _never(_index: Index) -> bool:
    return False


def _always(_index: Index) -> bool:
    return True


def _hidden(index: Index) -> bool:
    return any(isinstance(one, Fault) and one.name == "hidden" for one in index.records)


def _restated(index: Index) -> bool:
    return any(one.what == "restate" for one in index.plan.books.amendments)


def _strangers(index: Index) -> bool:
    return index.plan.weather.wild or any(trade.account == ACCOUNT for trade in index.plan.trades)


def _mislabelled(index: Index) -> bool:
    return index.plan.books.mislabels


def _wild(index: Index) -> bool:
    return index.plan.weather.wild


def _wild_or_restated(index: Index) -> bool:
    return index.plan.weather.wild or _restated(index)


def _wild_or_amended(index: Index) -> bool:
    """Told in another order, what a correction takes away comes to more than the order, until the correction comes."""
    return index.plan.weather.wild or bool(index.plan.books.amendments)


def _cut(index: Index) -> bool:
    """A stream that was cut comes back after a pause, in which the venue can be asked already."""
    return any(isinstance(one, Fault) and one.name in _CUTS for one in index.records)


def _held_before(index: Index) -> bool:
    """What an account held before its first order is not known where something was executed before anybody asked."""
    return bool(index.plan.books.holding) or _hidden(index)


def _frozen(index: Index) -> bool:
    return bool(index.plan.books.frozen) or index.plan.control.common.automatic


_EXPLAINED: dict[IncidentKind, Callable[[Index], bool]] = {
    IncidentKind.UNCERTAIN: _always,  # SAY-UNKNOWN and CONVERGES judge who waits
    IncidentKind.CONTROL: _frozen,
    IncidentKind.RESTATED: _restated,
    IncidentKind.STRANGER_EXECUTION: _strangers,
    IncidentKind.FOREIGN_EXECUTION: _mislabelled,
    IncidentKind.UNKNOWN_HERE: _strangers,
    IncidentKind.MISSING_EXECUTION: _hidden,
    IncidentKind.POSITION: _held_before,
    IncidentKind.FOREIGN_ORDER: lambda index: _wild_or_restated(index) or _mislabelled(index),
    IncidentKind.STATE: lambda index: _wild(index) or (_hidden(index) and bool(index.plan.books.amendments)),
    IncidentKind.QUANTITY: _wild_or_restated,
    IncidentKind.PRICE: _restated,
    IncidentKind.TWO_ORDERS: _wild,
    IncidentKind.RESURRECTED: _wild,
    IncidentKind.OVERFILL: _wild_or_amended,
    IncidentKind.STREAM: _cut,
    IncidentKind.SPLIT_BRAIN: lambda index: bool(index.run.suspicions),  # SPLIT-BRAIN judges those
}
"""What a world must have for an incident of a kind to be about something; those not named here are never."""


def incidents_kept(index: Index) -> Verdict:
    """The ledger has the incidents that its journal tells of, open until the journal tells that a person closed them."""
    verdict = Verdict(promise="INCIDENTS")
    told: dict[int, bool] = {}
    for entry in index.run.journal:
        if '"incident_' not in entry.payload:
            continue
        for event in _events.decode(entry.payload):
            if isinstance(event, ev.IncidentOpened):
                told[event.number] = True
            elif isinstance(event, ev.IncidentResolved):
                told[event.number] = False
    kept = {one.number: one for one in index.run.incidents}
    for number in sorted({*told, *kept}):
        verdict.cases += 1
        if number not in kept or number not in told:
            where = "journal" if number in told else "ledger"
            verdict.broken(f"incident {number} is in the {where} alone")
        elif kept[number].open is not told[number]:
            verdict.broken(f"incident {number} is {'open' if kept[number].open else 'closed'}, and no entry says so")
    return verdict


def as_told(index: Index) -> Verdict:
    """What was applied without an incident had been told to the process that applied it, by one of its channels."""
    verdict = Verdict(promise="AS-TOLD")
    totals = index.plan.dialect.cumulative_fills_only
    named = not totals and index.plan.dialect.execution_ids is ExecutionIds.GIVEN
    told: set[tuple[int, str, str]] = set()
    for record in index.records:
        if isinstance(record, Reported) and (totals or record.report.kind in EXECUTED):
            told.add((record.life, record.report.venue_order_id, _name(record.report, named=named)))
        elif isinstance(record, Commit) and '"execution_id"' in record.payload:
            for event in _events.decode(record.payload):
                if isinstance(event, ev.Traded | ev.TradeAmended) and event.incident is None:
                    verdict.cases += 1
                    if (record.life, event.venue_order_id, event.execution_id) not in told:
                        text = f"execution {event.execution_id} of {event.venue_order_id} was taken in untold"
                        verdict.broken(text, record.at_us)
    return verdict


def _name(report: ExecutionReport, *, named: bool) -> str:
    return report.execution_id if named else f"total {plain(report.cum_quantity)}"


# --------------------------------------------------------------------------- control states


def shut(index: Index) -> Verdict:
    """Nothing that adds exposure leaves for the venue from a route that is durably SAFE, and no replace is claimed there; in
    DUP_RISK only such as take quantity away.
    """
    verdict = Verdict(promise="SHUT")
    state, since_us = State.NORMAL, 0
    freezes: dict[int, Called] = {}
    for record in index.records:
        if isinstance(record, Sent):
            adds = isinstance(record.request, SubmitRequest | ReplaceRequest)
            verdict.cases += state is State.SAFE
            asked = freezes.get(record.life)
            if adds and state is State.SAFE and record.begun_us > since_us:
                verdict.broken(f"#{record.message} left although the route was SAFE", record.at_us)
            elif adds and asked is not None and record.begun_us > asked.at_us:
                verdict.broken(f"#{record.message} left although the route was to be SAFE", record.at_us)
        elif isinstance(record, Called) and record.what == "freeze" and record.content == State.SAFE:
            if index.answer(record.call).answer is not None:
                freezes[record.life] = record  # in force at once
        elif isinstance(record, Commit):
            if "control_moved" in record.payload:
                moved = [one for one in _events.decode(record.payload) if isinstance(one, ev.ControlMoved)]
                asked = freezes.pop(record.life, None)
                state, since_us = State(moved[-1].state), record.at_us if asked is None else asked.at_us
            if state.rank >= State.DUP_RISK.rank and any(one.kind is RequestKind.REPLACE for one in record.claims):
                verdict.cases += 1
                if state is State.SAFE or not _takes_away(record):
                    verdict.broken(f"a replace was claimed in {state}", record.at_us)
    return verdict


def _takes_away(commit: Commit) -> bool:
    order = commit.order
    if order is None or order.replacement is None:
        return False
    return order.replacement.quantity < order.quantity and order.replacement.price == order.price


CHECKS: dict[str, Callable[[Index], Verdict]] = {
    "PARITY": parity,
    "FALSE-ALARM": false_alarm,
    "INCIDENTS": incidents_kept,
    "AS-TOLD": as_told,
    "SHUT": shut,
}
"""By promise."""
