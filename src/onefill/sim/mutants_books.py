"""Guards of executions, positions, incidents, control states and reconciliation, each with a way of switching it off."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from onefill.core import control, executions, position, reconcile, replay, risk
from onefill.core import events as ev
from onefill.core import incident as incidents
from onefill.core.control import State
from onefill.core.lifecycle import Status
from onefill.core.messages import EXECUTED, Holdings, Listed
from onefill.core.order import Order
from onefill.core.position import DROP_COPY, STREAM, Execution, Kind
from onefill.core.values import EXACT, Side
from onefill.engine import book, gate, incident_book, intake, receiver, reconcile_reading, reconciler, route
from onefill.ledger import sqlite
from onefill.ports.ledger import Change, Committed, CursorMove
from onefill.sim.mutant import Mutant, always

_with = msgspec.structs.replace
_ZERO = Decimal(0)


# -------------------------------------------------------------------- dedupe and cursor


def _channel_in_the_name(original: Any) -> Any:
    """Name an execution by its channel too: the second one counts it again."""

    async def execution(self: Any, entry: Any, report: Any) -> None:
        if self.stream == DROP_COPY and report.execution_id:
            refers_to = None if report.refers_to is None else f"copy {report.refers_to}"
            report = _with(report, execution_id=f"copy {report.execution_id}", refers_to=refers_to)
        await original(self, entry, report)

    return execution


def _cursor_first(original: Any) -> Any:
    """Keep the cursor in a commit of its own before the effect: a crash in between loses the execution."""

    async def execution(self: Any, entry: Any, report: Any) -> None:
        await self._drain()
        move, route_ = CursorMove(self.stream, self._moved, report.position), self._route
        if not self._rewind_due and await route_.ledger.move_cursor(route_.name, route_.lease.epoch, move):
            self._moved = report.position
        await original(self, entry, report)

    return execution


def _effect_first(original: Any) -> Any:
    """Write the effect, and only then the row by which an execution is known again."""

    def record(self: Any, entry: Any, events: Any, *, execution: Any = None, then: Any = None, **more: Any) -> Any:
        if execution is None:
            return original(self, entry, events, then=then, **more)

        def known(done: Any) -> None:
            if not done.cancelled() and done.exception() is None and isinstance(done.result(), Committed):
                told = {"route": self.name, "epoch": self.lease.epoch, "at_us": self.clock.now_us()}
                row = self.ledger.commit(Change(kind="traded", payload="[]", execution=execution, **told))
                row.add_done_callback(folds)
            if then is not None:
                then(done)

        def folds(done: Any) -> None:
            if not done.cancelled() and done.exception() is None and isinstance(done.result(), Committed):
                self._fold(execution, done.result().execution_place, isinstance(events[0], ev.TradeAmended))

        return original(self, entry, events, then=known, **more)

    return record


def _known_by_the_ledger_only(original: Any) -> Any:
    """Look whether an execution is known only when its effect is in memory already."""

    async def execution(self: Any, entry: Any, report: Any) -> None:
        if entry is not None:
            entry.execution_ids.clear()
        await original(self, entry, report)

    return execution


class _OneCursor:
    """A route, or its ledger, in which the second channel's cursor goes by the first one's name."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return _OneCursor(found) if name == "ledger" else found

    def record(self, entry: Any, events: Any, *, cursor: Any = None, **more: Any) -> Any:
        return self._inner.record(entry, events, cursor=_first_ones(cursor), **more)

    def record_route_event(self, *events: Any, cursor: Any = None, **more: Any) -> Any:
        return self._inner.record_route_event(*events, cursor=_first_ones(cursor), **more)

    async def cursor(self, route_: str, _stream: str) -> Any:
        return await self._inner.cursor(route_, STREAM)

    async def move_cursor(self, route_: str, epoch: int, move: CursorMove) -> Any:
        return await self._inner.move_cursor(route_, epoch, _first_ones(move))


def _first_ones(move: CursorMove | None) -> CursorMove | None:
    return None if move is None else _with(move, stream=STREAM)


def _one_cursor_for_both(original: Any) -> Any:
    def init(self: Any, route_: Any, stream: str = STREAM) -> None:
        original(self, _OneCursor(route_) if stream == DROP_COPY else route_, stream)

    return init


def _never_known(_original: Any) -> Any:
    return lambda _self, _report, _capabilities: False


# --------------------------------------------------------------- busts, corrections, totals


def _without(kind: Kind) -> Any:
    """Drop what tells of other executions."""

    def make(original: Any) -> Any:
        def take(order: Any, report: Any, named: Any, *rest: Any, **more: Any) -> Any:
            return executions.Taken() if named.kind is kind else original(order, report, named, *rest, **more)

        return take

    return make


def _busts_twice(original: Any) -> Any:
    def totals(rows: Sequence[Execution]) -> Any:
        counts, reversed_quantity = original(rows)
        return max(EXACT.subtract(counts, reversed_quantity), _ZERO), reversed_quantity

    return totals


def _spoken_of_forgotten(original: Any) -> Any:
    return lambda named, capabilities, _referred_to: original(named, capabilities, ())


def _corrections_add(original: Any) -> Any:
    def name(report: Any, capabilities: Any) -> Any:
        named = original(report, capabilities)
        return _with(named, kind=Kind.TRADE, refers_to=None) if named.kind is Kind.CORRECT else named

    return name


def _revisions_are_executions(original: Any) -> Any:
    return lambda report, capabilities: original(report, _with(capabilities, execution_revisions=False))


def _totals_are_fills(original: Any) -> Any:
    def by_total(order: Any, report: Any, named: Any, _rows: Any, *rest: Any) -> Any:
        return original(order, report, named, (), *rest)

    return by_total


def _delta_from_the_last(original: Any) -> Any:
    """Take a total for what it is above the last one told, whatever of it was applied."""
    last: dict[str, Decimal] = {}

    def by_total(order: Any, report: Any, named: Any, rows: Any, *rest: Any) -> Any:
        told = last.get(report.venue_order_id + order.client_order_id, _ZERO)
        last[report.venue_order_id + order.client_order_id] = report.cum_quantity
        applied = [_with(rows[0], quantity=told)] if rows and told else []
        return original(order, report, named, applied, *rest)

    return by_total


# ---------------------------------------------------------------------------- positions


def _incremented_in_place(original: Any) -> Any:
    """Let a bust take its quantity off again, and a correction add its own."""

    def add(self: Any, execution: Any, place: Any, *, amends: bool = False) -> None:
        if execution.kind is not Kind.BUST:
            original(self, _with(execution, kind=Kind.TRADE, refers_to=None), place)
            return
        other = Side.SELL if execution.side is Side.BUY else Side.BUY
        original(self, _with(execution, kind=Kind.TRADE, refers_to=None, side=other), place)

    return add


def _rounded_average(original: Any) -> Any:
    """Keep the average price, to the cent, in place of what the open quantity cost."""

    def fold(before: Any, *execution: Any) -> Any:
        after = original(before, *execution)
        average = after.average_price
        if average is None:
            return after
        return _with(after, cost=EXACT.multiply(after.quantity, average.quantize(Decimal("0.01"))))

    return fold


# ------------------------------------------------------------- strangers and contradictions


def _strangers_are_ours(original: Any) -> Any:
    async def owner(self: Any, report: Any) -> Any:
        found = await original(self, report)
        if found is None and report.kind in EXECUTED:
            alike = (one for one in self._route.entries.values() if one.order.intent.side is report.side)
            found = next(alike, None)
        return found

    return owner


def _no_findings(original: Any) -> Any:
    return lambda *told, **named: _with(original(*told, **named), findings=())


# ---------------------------------------------------------------------------- incidents


def _without_incident(kind: type) -> Any:
    def make(original: Any) -> Any:
        def of_change(self: Any, before: Any, after: Any, events: Any, at_us: int) -> Any:
            return original(self, before, after, [one for one in events if not isinstance(one, kind)], at_us)

        return of_change

    return make


def _closes_itself(*, told_of: bool) -> Any:
    """Close an incident when its difference is gone, with an event of that or with none."""

    def make(original: Any) -> Any:
        def converge(self: Any, kind: Any, subject: str, at_us: int) -> Any:
            gone, told = original(self, kind, subject, at_us)
            closed = tuple(_closed(one, at_us) for one in gone)
            for one in closed:
                self.put(one)
            if told_of:
                told = (*told, *(ev.IncidentResolved(one.number, "onefill", "it is gone") for one in closed))
            return closed, told

        return converge

    return make


def _closed(one: Any, at_us: int) -> Any:
    return _with(incidents.resolved(one, "onefill", "it is gone", at_us, force=True), version=one.version)


def _incident_later(original: Any) -> Any:
    """Write what happened to an order, and the incident about it in a commit after that."""

    def record(self: Any, entry: Any, events: Any, *, then: Any = None, **more: Any) -> Any:
        book_, kept = self.incidents, []
        at_once = book_.of_change

        def later(*change: Any) -> Any:
            kept.append(at_once(*change))
            return incident_book.NOTHING

        def after(done: Any) -> None:
            for changed, told in kept:
                if told and not done.cancelled() and done.exception() is None:
                    self.record_route_event(*told, incidents=changed)
            if then is not None:
                then(done)

        book_.of_change = later
        try:
            return original(self, entry, events, then=after, **more)
        finally:
            del book_.of_change

    return record


# ----------------------------------------------------------------------- control states


def _takes_all_in(shut: State) -> Any:
    def make(original: Any) -> Any:
        return lambda state, *, reduces: state is shut or original(state, reduces=reduces)

    return make


def _alone(original: Any) -> Any:
    """Let every order be judged as if no other were open."""

    def reduces(side: Any, quantity: Any, account: Any, strategy: Any, *_open: Any) -> bool:
        return bool(original(side, quantity, account, strategy, _ZERO, _ZERO))

    return reduces


def _uncertain_do_not_count(original: Any) -> Any:
    def can_trade(order: Order) -> Any:
        return _ZERO if order.status is Status.UNCERTAIN else original(order)

    return can_trade


def _forgotten(_original: Any) -> Any:
    async def kept(_self: Any, _route: str) -> None:
        """Know nothing of it."""

    return kept


def _opens_by_itself(original: Any) -> Any:
    def judge(now: Any, readings: Any, thresholds: Any, now_us: int) -> Any:
        if now.state is State.DUP_RISK and thresholds.automatic and not control.holding(now, readings, thresholds):
            return State.NORMAL, "all is well again"
        return original(now, readings, thresholds, now_us)

    return judge


# ----------------------------------------------------------------------- reconciliation


def _taken_in_without_incident(_original: Any) -> Any:
    async def take_in(self: Any, looked: Any) -> int:
        taken = 0
        for one in looked.breaks:
            for told in sorted(one.missing, key=lambda told: told.report.position):
                taken += await self._receivers[told.stream].take_again(told.report, None)
        return taken

    return take_in


def _at_first_sight(_original: Any) -> Any:
    return lambda _difference, _since, _known, _grace_us, _now_us: True


def _silence_is_an_empty_list(original: Any) -> Any:
    async def ask(self: Any, question: Any) -> Any:
        name = question.__name__
        try:
            return await original(self, question)
        except reconcile_reading.Blind:
            if name == "open_orders":
                return Listed(())
            if name == "positions":
                return Holdings(())
            raise

    return ask


_Intake, _Receiver, _Reconciler = intake.Intake, receiver.Receiver, reconciler.Reconciler


def _core(guard: str, without: str, owner: Any, attribute: str, make: Any) -> Mutant:
    """Return a mutant of a rule of the core that the search does not come to."""
    return Mutant(guard, without, owner, attribute, make, searched=False)


BOOKS: Final[tuple[Mutant, ...]] = (
    Mutant("one execution, two channels", "the second counts again", _Intake, "_execution", _channel_in_the_name),
    Mutant("cursor with its effect", "the cursor goes first", _Intake, "_execution", _cursor_first),
    Mutant("row with its effect", "the effect goes first", route.Route, "record", _effect_first),
    Mutant("dedupe before effect", "the ledger finds it", _Intake, "_execution", _known_by_the_ledger_only),
    Mutant("a cursor for each channel", "both share one", _Receiver, "__init__", _one_cursor_for_both),
    _core("a bust counts", "it is ignored", executions, "take", _without(Kind.BUST)),
    _core("a bust counts once", "it subtracts twice", executions, "totals", _busts_twice),
    _core("a bust before its execution", "it is forgotten", executions, "is_plain", _spoken_of_forgotten),
    _core("a correction replaces", "it adds", executions, "name", _corrections_add),
    _core("a revision corrects", "it is another execution", executions, "name", _revisions_are_executions),
    _core("a total is no fill", "it is applied whole", executions, "_by_total", _totals_are_fills),
    _core("a total less what is applied", "less the last", executions, "_by_total", _delta_from_the_last),
    Mutant("a bust folds anew", "the position is decremented", book.Book, "add", _incremented_in_place),
    _core("cost is exact", "a rounded average is kept", position, "fold", _rounded_average),
    Mutant("a stranger is nobody's", "some order gets it", _Intake, "_owner", _strangers_are_ours),
    _core("a stranger has an incident", "it has none", executions, "quarantined", _no_findings),
    _core("an execution fits its order", "any is applied", executions, "stranger_to", always()),
    Mutant(
        "an anomaly has an incident",
        "it has none",
        incident_book.IncidentBook,
        "of_change",
        _without_incident(ev.Anomaly),
    ),
    Mutant(
        "who waits has an incident",
        "he has none",
        incident_book.IncidentBook,
        "of_change",
        _without_incident(ev.Parked),
    ),
    Mutant(
        "a person closes",
        "it closes when it converges",
        incident_book.IncidentBook,
        "converge",
        _closes_itself(told_of=True),
    ),
    Mutant(
        "a close is told", "it closes in silence", incident_book.IncidentBook, "converge", _closes_itself(told_of=False)
    ),
    Mutant("incident with its change", "it comes after", route.Route, "record", _incident_later),
    _core("SAFE takes no order", "it takes all", control, "takes_orders", _takes_all_in(State.SAFE)),
    _core("DUP_RISK takes reductions only", "it takes all", control, "takes_orders", _takes_all_in(State.DUP_RISK)),
    _core("a shut route replaces nothing", "it does", control, "takes_replace", always(value=True)),
    Mutant("a claim waits in a shut route", "it is sent", gate.Gate, "stopped", always()),
    _core("open orders count as traded", "each stands alone", risk, "reduces", _alone),
    _core("uncertain orders count", "they do not", risk, "can_trade", _uncertain_do_not_count),
    Mutant("a restart stays shut", "it opens the route", sqlite.SqliteLedger, "control", _forgotten),
    _core("a person opens DUP_RISK", "it opens itself", control, "judge", _opens_by_itself),
    Mutant("missing ones are under an incident", "they are not", _Reconciler, "_take_in", _taken_in_without_incident),
    _core("in flight is no break", "first sight is", reconcile, "_is_break", _at_first_sight),
    Mutant("silence is not an empty list", "it is", reconcile_reading.Readings, "_ask", _silence_is_an_empty_list),
    _core("a replay dedupes", "nothing is known", replay.Replayer, "knows", _never_known),
)
"""See :data:`onefill.sim.mutants.MUTANTS`."""
