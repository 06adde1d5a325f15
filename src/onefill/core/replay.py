"""A route replayed from its journal alone: every order anew, and every execution through the same consumer into an empty book.

What the journal tells of an execution is turned back into the report that it came from. The report goes through the very
functions that production uses (:mod:`onefill.core.executions`), several times over; the positions that result must be the
stored ones. Pure: entries and rows are handed in, page by page.

Memory: the orders that are open at the place reached (with their executions), one digest for each execution ever applied
(about 100 bytes; an id may come again on any order, so none can be forgotten), and the executions of those positions in
which something was busted or corrected.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core import executions
from onefill.core.apply import advance
from onefill.core.audit import ChainEnd, JournalRow, follow
from onefill.core.capabilities import Capabilities
from onefill.core.errors import InvariantBroken, OnefillError
from onefill.core.events import Event, RouteEvent
from onefill.core.intent import from_canonical
from onefill.core.messages import ExecutionReport
from onefill.core.order import Order, Replacement
from onefill.core.position import Execution, Kind, Position, fold, fold_all, positions_key
from onefill.core.replay_reports import Telling, is_old, is_total, naming, quarantined_report, report_of
from onefill.core.values import plain

MOST_TOLD = 20
"""Differences that are kept: the first ones."""
_COMPARE_EVERY = 500
_FIELDS = (
    *("status", "version", "cum_quantity", "reversed_quantity", "venue_cum_quantity", "venue_order_id", "key"),
    *(
        "client_order_id",
        "intent",
        "valid_until_us",
        "reason",
        "anomaly",
        "parked",
        "cancel_wanted",
        "in_force",
        "answer",
    ),
)
_TERMS = ("number", "client_order_id", "quantity", "price", "valid_until_us", "operation_key", "copies_before")
_decode = msgspec.json.Decoder(list[Event | RouteEvent]).decode
_PositionKey = tuple[str, str, str, str]


class RouteReplay(msgspec.Struct, frozen=True, kw_only=True):
    """What replaying a route found. ``differences``: the first ones, in the order of the journal."""

    route: str
    entries: int
    events: int
    orders: int
    still_open: int
    executions: int
    """Applied to an order, once."""
    quarantined: int
    duplicates: int
    """Fed again, and dropped."""
    reversed_orders: int
    """Orders whose executions were also fed from the last to the first."""
    differing: int
    differences: list[str]
    positions: list[Position]
    """As they result from the replay."""

    @property
    def parity(self) -> bool:
        """Whether the record, replayed, gives what is stored."""
        return not self.differing


class Fold:
    """Positions as a fold over executions in the log's order, as they are now and as they were at a place of the log."""

    def __init__(self, amended: Iterable[_PositionKey], mark: int) -> None:
        self._amended = {key: list[tuple[int, Execution]]() for key in amended}
        self._now: dict[_PositionKey, Position] = {}
        self._mark = mark
        self._at_mark: dict[_PositionKey, Position] | None = None

    def add(self, place: int, row: Execution) -> bool:
        """Take in a row. False if it amends a position that was not named as amended: that fold is not right then."""
        if row.intent_id is None:
            return True
        if place > self._mark and self._at_mark is None:
            self._at_mark = dict(self._now)
        key = positions_key(row)
        if key in self._amended:
            self._amended[key].append((place, row))
            return True
        before = self._now.get(key) or _empty(key)
        self._now[key] = fold(before, row.side, row.quantity, row.price, row.fee, row.fee_currency)
        return row.kind is Kind.TRADE

    def positions(self, *, at_mark: bool = False) -> dict[_PositionKey, Position]:
        """Return the positions."""
        ordinary = self._at_mark if at_mark and self._at_mark is not None else self._now
        through = self._mark if at_mark else None
        found = dict(ordinary)
        for key, rows in self._amended.items():
            counted = [row for place, row in rows if through is None or place <= through]
            if counted:
                found[key] = fold_all(_empty(key), executions.effective(counted))
        return found


class _Held(msgspec.Struct, gc=False):
    """An order while it is replayed."""

    order: Order
    rows: list[Execution]
    fed: list[tuple[ExecutionReport, Capabilities, str]]
    """Its reports, with what named them and the stream that told them."""


class Replayer:
    """The replay of one route. Feed it pages; compare what it hands out; then read :meth:`result`."""

    def __init__(
        self,
        route: str,
        *,
        times: int,
        stored: Iterable[Position],
        folded_through: int,
        amended: Iterable[_PositionKey],
    ) -> None:
        self.route = route
        self.end = ChainEnd()
        self._times = times
        self._stored = {_key_of(position): position for position in stored if position.venue == route}
        amended = [key for key in amended if key[2] == route]
        self._replayed = Fold(amended, folded_through)
        self._logged = Fold(amended, folded_through)
        self._seen: set[bytes] = set()
        self._held: dict[int, _Held] = {}
        self._closed: dict[int, None] = {}
        """Orders that look over, in the order in which they came to their end."""
        self._fed_now: list[tuple[ExecutionReport, Capabilities]] = []
        self.broken = False
        """The chain does not hold: nothing more is read."""
        self._events = self._orders = self._executions = self._quarantined = 0
        self._duplicates = self._reversed = self._differing = 0
        self.differences: list[str] = []

    # ------------------------------------------------------------------ feeding

    def wanting(self, rows: Sequence[JournalRow]) -> int:
        """Return how many rows of the execution log these entries may tell of, at most."""
        return sum(row[3].count('"execution_id":"') for row in rows)

    def page(self, rows: Sequence[JournalRow], logged: deque[tuple[int, Execution]]) -> None:
        """Take in the next entries. ``logged``: the route's executions from where the last page left them."""
        before = self.end.sequence
        self.end, fault = follow(self.route, rows, self.end)
        for row in rows[: self.end.sequence - before]:
            self._entry(row, logged)
        for _ in range(self._times - 1):  # as a stream does that is read again from an earlier place
            for report, capabilities in self._fed_now:
                if self.knows(report, capabilities):
                    self._duplicates += 1
                else:
                    self.differ(f"execution {report.execution_id!r}: was taken for new when it came again")
        self._fed_now.clear()
        if fault is not None:
            self.broken = True
            self.differ(str(fault))

    def _entry(self, row: JournalRow, logged: deque[tuple[int, Execution]]) -> None:
        sequence, intent_id, _, payload, at_us = row[:5]
        try:
            events = _decode(payload)
        except msgspec.DecodeError as error:
            self.differ(f"entry {sequence}: its events cannot be read ({error})")
            return
        self._events += len(events)
        held = None if intent_id is None else self._order_of(sequence, intent_id, events)
        for event in events:
            if isinstance(event, ev.Traded | ev.TradeAmended | ev.Quarantined):
                self._execution(sequence, held, event, logged.popleft() if logged else None)
        if held is None or intent_id is None:
            return
        own = tuple(event for event in events if isinstance(event, Event))
        try:
            held.order = advance(held.order, own, at_us)
        except OnefillError as error:
            self.differ(f"entry {sequence}: cannot have happened to order {held.order.client_order_id}: {error}")
            del self._held[intent_id]
            self._closed.pop(intent_id, None)
            return
        self._closed.pop(intent_id, None)
        if held.order.closed:
            self._closed[intent_id] = None

    def _order_of(self, sequence: int, intent_id: int, events: list[Event | RouteEvent]) -> _Held | None:
        first = events[0] if events else None
        if isinstance(first, ev.Recorded):
            self._orders += 1
            order = Order(
                intent_id=intent_id,
                key=first.key,
                client_order_id=first.client_order_id,
                intent=from_canonical(bytes(first.intent)),
                recorded_at_us=0,  # told by the row alone
                valid_until_us=first.valid_until_us,
            )
            self._held[intent_id] = _Held(order, [], [])
        elif intent_id not in self._held:
            self.differ(f"entry {sequence}: is about order {intent_id}, which no entry before it left open")
        return self._held.get(intent_id)

    def _execution(
        self,
        sequence: int,
        held: _Held | None,
        event: Telling,
        logged: tuple[int, Execution] | None,
    ) -> None:
        where = f"entry {sequence}, execution {event.execution_id!r}"
        if logged is None:
            self.differ(f"{where}: is not in the execution log")
            return
        place, row = logged
        self._logged.add(place, row)
        report = quarantined_report(event, row) if isinstance(event, ev.Quarantined) else None
        if report is None and held is not None and not isinstance(event, ev.Quarantined):
            report = report_of(held.order, event, row)
        capabilities = None if report is None else naming(report, row.scope)
        if report is None or capabilities is None:
            self.differ(f"{where}: the execution log has {row.execution_id!r} of scope {row.scope!r} in its place")
            return
        if self.knows(report, capabilities):
            self.differ(f"{where}: was applied before")
            return
        named = executions.name(report, capabilities)
        self._seen.add(_digest(named.key))
        self._fed_now.append((report, capabilities))
        stream = row.stream if is_old(event) else event.stream
        if isinstance(event, ev.Quarantined) or held is None:
            taken = executions.quarantined(report, named, None, None, stream, self.route)
            self._quarantined += 1
        else:
            taken = _take(held, report, named, capabilities, stream, event.incident)
            self._executions += 1
            held.fed.append((report, capabilities, stream))
            told = next((one for one in taken.events if isinstance(one, ev.Traded | ev.TradeAmended)), None)
            if told != event and not is_old(event):
                self.differ(f"{where}: the consumer makes {_difference(told, event)} of it")
        made = taken.execution
        if made is None or made != row:
            self.differ(f"{where}: the consumer makes {_difference(made, row)} of it, by the execution log")
        if made is not None:
            if held is not None and made.intent_id is not None:
                held.rows.append(made)
            if not self._replayed.add(place, made):
                self.differ(f"{where}: the ledger does not know that its position was amended")

    def knows(self, report: ExecutionReport, capabilities: Capabilities) -> bool:
        """Tell whether the execution that a report tells of was applied: the dedupe, and all of it."""
        return _digest(executions.name(report, capabilities).key) in self._seen

    # ---------------------------------------------------------------- comparing

    def over(self, *, last: bool = False) -> list[int]:
        """Return orders that are to be compared with the ledger, once enough came to their end; ``last``: all."""
        if last:
            return sorted(self._held)
        if len(self._closed) < _COMPARE_EVERY:
            return []
        found, self._closed = sorted(self._closed), {}
        return found

    def compare(self, wanted: Sequence[int], found: dict[int, Order], *, last: bool = False) -> None:
        """Compare orders with those the ledger has, and let go of those that are over for good."""
        for intent_id in wanted:
            held, kept = self._held[intent_id], found.get(intent_id)
            if kept is not None and kept.version > held.order.version:
                if last:  # written since the replay began
                    self._check_reversed(held)
                continue  # more of it is to come
            difference = "is not in the ledger" if kept is None else _order_difference(held.order, kept)
            if difference is not None:
                self.differ(f"order {held.order.client_order_id}: {difference}")
            if last or held.order.closed:
                self._check_reversed(held)
            if not last:
                del self._held[intent_id]

    def _check_reversed(self, held: _Held) -> None:
        """Feed an order's reports from the last to the first: the same must count. Growing totals have one order only."""
        reports = held.fed
        if len(reports) < 2 or any(is_total(report) for report, _, _ in reports):
            return
        rows: list[Execution] = []
        for report, capabilities, stream in reversed(reports):
            named = executions.name(report, capabilities)
            taken = executions.take(held.order, report, named, capabilities, rows=tuple(rows), stream=stream)
            if taken.execution is not None:
                rows.append(taken.execution)
        self._reversed += 1
        if _counted(rows) != _counted(held.rows) or executions.totals(rows) != executions.totals(held.rows):
            self.differ(
                f"order {held.order.client_order_id}: its executions count otherwise from the last to the first"
            )

    def finish(self, left: Sequence[tuple[int, Execution]]) -> None:
        """Compare the positions. ``left``: executions in the log that no entry told of."""
        if left:
            self.differ(f"execution {left[0][1].execution_id!r}: is in the log and in no entry")
        replayed = self._replayed.positions()
        self._compare_positions(replayed, self._logged.positions(), "the fold of the execution log")
        self._compare_positions(self._replayed.positions(at_mark=True), self._stored, "the stored projection")

    def _compare_positions(
        self, replayed: dict[_PositionKey, Position], other: dict[_PositionKey, Position], what: str
    ) -> None:
        for key in sorted({*replayed, *other}):
            made, kept = replayed.get(key), other.get(key)
            if made != kept and (made or kept or _empty(key)).executions:
                self.differ(f"position {_position_name(key)}: {_position_difference(made, kept)} ({what})")

    def differ(self, difference: str) -> None:
        """Keep a difference."""
        self._differing += 1
        if len(self.differences) < MOST_TOLD:
            self.differences.append(difference)

    def result(self) -> RouteReplay:
        """Return what came of it."""
        positions = self._replayed.positions()
        return RouteReplay(
            route=self.route,
            entries=self.end.sequence,
            events=self._events,
            orders=self._orders,
            still_open=sum(not held.order.closed for held in self._held.values()),
            executions=self._executions,
            quarantined=self._quarantined,
            duplicates=self._duplicates,
            reversed_orders=self._reversed,
            differing=self._differing,
            differences=list(self.differences),
            positions=[positions[key] for key in sorted(positions)],
        )


def _take(
    held: _Held,
    report: ExecutionReport,
    named: executions.Name,
    capabilities: Capabilities,
    stream: str,
    incident: int | None,
) -> executions.Taken:
    """Take a report in as the receiver does."""
    referred = {(row.scope, row.refers_to) for row in held.rows if row.refers_to is not None}
    rows = None if executions.is_plain(named, capabilities, referred) else tuple(held.rows)
    return executions.take(held.order, report, named, capabilities, rows=rows, stream=stream, incident=incident)


# ---------------------------------------------------------------------------------- naming differences


def _digest(key: tuple[str, str]) -> bytes:
    return hashlib.blake2b("\0".join(key).encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _counted(rows: list[Execution]) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    return {(row.scope, row.execution_id): (row.quantity, row.price) for row in executions.effective(rows)}


def _difference(made: msgspec.Struct | None, kept: msgspec.Struct) -> str:
    """Return the first field in which two values of one kind differ."""
    if made is None or type(made) is not type(kept):
        return "nothing like it" if made is None else type(made).__name__
    for field in kept.__struct_fields__:
        ours, theirs = getattr(made, field), getattr(kept, field)
        if ours != theirs:
            return f"{field.replace('_', ' ')} {_text(ours)} instead of {_text(theirs)}"
    return "another one"


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    return repr(str(value)) if isinstance(value, str) else str(value)


def _order_difference(made: Order, kept: Order) -> str | None:
    """Return the first field in which a replayed order is not as the ledger has it, or ``None``."""
    for field in _FIELDS:
        ours, theirs = getattr(made, field), getattr(kept, field)
        if ours != theirs:
            return f"its {field.replace('_', ' ')} is {_text(theirs)} in the ledger; the journal gives {_text(ours)}"
    ours_open, theirs_open = _open_terms(made.replacement), _open_terms(kept.replacement)
    if ours_open != theirs_open:
        return f"its open replace is {theirs_open} in the ledger; the journal gives {ours_open}"
    return None


def _open_terms(wanted: Replacement | None) -> tuple[object, ...] | None:
    return None if wanted is None else tuple(getattr(wanted, field) for field in _TERMS)


def _empty(key: _PositionKey) -> Position:
    return Position(account=key[0], strategy=key[1], venue=key[2], instrument=key[3])


def _key_of(position: Position) -> _PositionKey:
    return position.account, position.strategy, position.venue, position.instrument


def _position_name(key: _PositionKey) -> str:
    return f"of account {key[0]}, strategy {key[1]}, {key[2]}, {key[3]}"


def _position_difference(made: Position | None, kept: Position | None) -> str:
    if made is None or kept is None:
        return (
            "is stored, and no execution makes it" if made is None else "the executions make it, and it is not stored"
        )
    shown = (
        "quantity",
        "average_price",
        "realised",
        "fees",
        "executions",
        "bought",
        "sold",
        "bought_value",
        "sold_value",
    )
    for field in (*shown, "cost"):
        ours, theirs = getattr(made, field), getattr(kept, field)
        if ours != theirs:
            return f"{field.replace('_', ' ')} is {_text(theirs)}; the replay gives {_text(ours)}"
    raise InvariantBroken("two positions differ in no field")
