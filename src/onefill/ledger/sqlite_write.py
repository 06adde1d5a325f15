"""Writing a group of changes into SQLite in one transaction. The constraints decide; this code reports what they said.

The usual group meets no conflict and takes one statement per table. A key that comes again is told apart at the insert.
Any other conflict (an execution seen before, a claim taken, an order that moved on) undoes the group and writes it again
change by change, so that each gets its own outcome and none spoils another.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import apsw
import msgspec

from onefill.core.audit import entry_hash
from onefill.core.errors import Fenced, InvariantBroken, LedgerError, LedgerFailed, require
from onefill.ledger import sqlite_rows as rows
from onefill.ledger import sqlite_statements as statements
from onefill.ledger.batch import Batch, Conflict, digest_of
from onefill.ledger.sqlite_read import Reader
from onefill.ledger.sqlite_statements import Statement
from onefill.ports.ledger import (
    INTENT_NUMBER_BITS,
    Change,
    ClientOrderIdTaken,
    Committed,
    CursorMove,
    EventKnown,
    ExecutionKnown,
    KeyTaken,
    OperationTaken,
    Outcome,
    Stale,
    StepTaken,
    SubscriptionMove,
    VenueOrderTaken,
)

T = TypeVar("T")
Result = Outcome | LedgerError | InvariantBroken


_BROKEN_RULES = {apsw.SQLITE_CONSTRAINT_CHECK, apsw.SQLITE_CONSTRAINT_NOTNULL, apsw.SQLITE_CONSTRAINT_DATATYPE}


class _Route(msgspec.Struct):
    route_id: int
    epoch: int
    last_sequence: int
    head: bytes
    last_number: int = 0


class Writer:
    """Applies groups of changes over one connection. Used from one thread only."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._db = connection
        self._path = path
        self._reader = Reader(connection)

    def apply(self, changes: Sequence[Change]) -> list[Result]:
        """Commit a group durably and return each change's outcome, in order.

        Raises :class:`LedgerFailed` if the group could not be written: it is then not known here whether it is on the
        disk, and the ledger must be opened again and read.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                results = self._group(changes)
            except (Conflict, apsw.ConstraintError):
                self._db.execute("ROLLBACK; BEGIN IMMEDIATE")
                results = [self._alone(change) for change in changes]
            self._db.execute("COMMIT")
        except apsw.Error as error:
            raise failed(self._path, error) from error
        return results

    def _alone(self, change: Change) -> Result:
        self._db.execute("SAVEPOINT alone")
        try:
            result = self._group([change])[0]
        except (Conflict, apsw.ConstraintError) as error:
            self._db.execute("ROLLBACK TO alone")
            result = self._diagnose(change, error)
        self._db.execute("RELEASE alone")
        return result

    def _group(self, changes: Sequence[Change]) -> list[Result]:
        routes = self._routes()
        results: list[Result | None] = [None] * len(changes)
        for index, change in enumerate(changes):
            route = routes.get(change.route)
            if route is None or route.epoch != change.epoch:
                results[index] = Fenced(change.route, change.epoch, None if route is None else route.epoch)
            elif change.adopts is not None:
                if len(changes) > 1:
                    raise Conflict  # what is before it in the group must be seen
                results[index] = self._adopted_before(change, route.route_id)
        self._insert_intents(changes, results, routes)
        going = [index for index, result in enumerate(results) if result is None]
        self._write([changes[index] for index in going], routes)
        place = self._db.last_insert_rowid() if any(changes[index].execution for index in going) else 0
        place -= sum(changes[index].execution is not None for index in going)
        for index, sequence in zip(going, self._journal([changes[i] for i in going], routes), strict=True):
            place += changes[index].execution is not None
            results[index] = Committed(sequence, place if changes[index].execution is not None else None)
        return [result for result in results if result is not None]

    def _adopted_before(self, change: Change, route_id: int) -> VenueOrderTaken | None:
        # Scans the orders: it is a person who adopts, and an index would cost every order something.
        intent_id = None if change.order is None else change.order.intent_id
        statement = statements.OTHER_WITH_VENUE_ORDER_ID
        row = self._db.execute(statement, (route_id, change.adopts, intent_id or 0)).fetchone()
        return None if row is None else VenueOrderTaken(row[0])

    def _routes(self) -> dict[str, _Route]:
        cursor = self._db.execute("SELECT name, id, epoch, last_sequence, head FROM route")
        return {row[0]: _Route(*row[1:]) for row in cursor}

    def _insert_intents(
        self, changes: Sequence[Change], results: list[Result | None], routes: dict[str, _Route]
    ) -> None:
        given: dict[int, tuple[int, bytes, str]] = {}
        batch = []
        for index, change in enumerate(changes):
            order, new = change.order, change.new
            if new is None or order is None or results[index] is not None:
                continue
            require(rows.is_fresh(order), f"intent {order.intent_id}: more is set than a new intent has")
            given[order.intent_id] = (index, new.key_digest, order.client_order_id)
            batch.append(rows.intent_row(routes[change.route].route_id, order, new))
        if not batch:
            return
        inserted = statements.INSERT_INTENT.run(self._db, batch)
        if inserted == len(batch):
            return
        missing = statements.not_inserted(self._db, batch)
        if inserted + len(missing) != len(batch):
            raise Conflict  # an intent that was handed in before, id and key alike
        taken = self._read(lambda: self._reader.orders_by_digest([given[intent_id][1] for intent_id in missing]))
        for intent_id in missing:
            index, digest, client_order_id = given[intent_id]
            order = taken.get(digest)
            results[index] = ClientOrderIdTaken(client_order_id) if order is None else KeyTaken(order)

    def _write(self, changes: Sequence[Change], routes: dict[str, _Route]) -> None:
        batch = Batch()
        for change in changes:
            batch.add(change, routes[change.route].route_id)
        self._all(statements.INSERT_CLAIM, batch.claims)
        self._all(statements.SETTLE_CLAIM, list(batch.settled.values()))
        self._all(statements.UPDATE_INTENT, list(batch.updates.values()))
        self._all(statements.KEEP_REPLACEMENT, batch.replacements)
        self._all(statements.INSERT_OPERATION, batch.opened)
        self._all(statements.ANSWER_OPERATION, batch.answered)
        for (route_id, _), move in batch.cursors.items():
            if not move_cursor(self._db, route_id, move):
                raise Conflict
        # In the order in which they were made: one may be opened and changed within a group.
        for row in batch.incidents:
            self._all(statements.KEEP_INCIDENT, [row])
        for row in batch.controls:
            self._all(statements.KEEP_CONTROL, [row])
        self._all(statements.INSERT_OPENING, batch.opening)
        for route_id, subscription in batch.subscriptions:
            if not move_subscription(self._db, route_id, subscription):
                raise Conflict
        self._all(statements.INSERT_INBOX, batch.inbox)
        for row in batch.steps:
            self._all(statements.KEEP_STEP, [row])
        self._all(statements.INSERT_EXECUTION, batch.executions)  # last: the caller reads the rowids it was given

    def _all(self, statement: Statement, batch: list[rows.Row]) -> None:
        if statement.run(self._db, batch) != len(batch):
            raise Conflict

    def _journal(self, changes: Sequence[Change], routes: dict[str, _Route]) -> list[int]:
        entries, sequences = [], []
        for change in changes:
            route = routes[change.route]
            sequence = route.last_sequence + 1
            intent_id = None if change.order is None else change.order.intent_id
            made = entry_hash(
                route.head, change.route, sequence, intent_id, change.kind, change.payload, change.at_us, change.epoch
            )
            entries.append(
                [
                    (route.route_id << INTENT_NUMBER_BITS) | sequence,
                    intent_id,
                    change.kind,
                    change.payload,
                    change.at_us,
                    change.epoch,
                    route.head,
                    made,
                ]
            )
            route.last_sequence, route.head = sequence, made
            if change.new is not None and intent_id is not None:
                route.last_number = max(route.last_number, intent_id & ((1 << INTENT_NUMBER_BITS) - 1))
            sequences.append(sequence)
        self._all(statements.INSERT_JOURNAL, entries)
        for name in {change.route for change in changes}:
            route = routes[name]
            self._db.execute(
                statements.MOVE_ROUTE, (route.last_number, route.last_sequence, route.head, route.route_id)
            )
        return sequences

    def _read(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except apsw.Error:
            raise
        except Exception as error:  # a damaged row may break anything that reads it
            raise LedgerFailed(
                f"{self._path}: a row cannot be read ({type(error).__name__}: {error}); the file is damaged: keep it, and "
                "restore a copy. Nothing of this group was acknowledged"
            ) from error

    def _diagnose(self, change: Change, error: Exception) -> Result:
        if getattr(error, "extendedresult", 0) in _BROKEN_RULES:
            return InvariantBroken(f"the ledger refused a row that breaks its rules: {error}. Nothing was written")
        for operation in (*change.opened, *change.answered):
            known = self._read(partial(self._reader.operation, digest_of(operation), operation.operation_key))
            if known is not None and (known.answer is not None or operation in change.opened):
                return OperationTaken(known)
        if change.execution is not None:
            known_execution = self._db.execute(
                "SELECT 1 FROM execution JOIN route ON route.id = execution.route "
                "WHERE route.name = ? AND scope = ? AND execution_id = ?",
                (change.route, change.execution.scope, change.execution.execution_id),
            ).fetchone()
            if known_execution is not None:
                return ExecutionKnown(change.execution.execution_id)
        known_before = self._known_before(change)
        if known_before is not None:
            return known_before
        taken_id = self._taken_replacement_id(change)
        if taken_id is not None:
            return ClientOrderIdTaken(taken_id)
        return Stale(f"the order had moved on: {error or 'its version differs'}")

    def _known_before(self, change: Change) -> EventKnown | StepTaken | None:
        """Return the callback or the step that stands in the way of this change, if one does."""
        if change.inbox is not None:
            event = self._reader.inbox_event(change.route, change.inbox.source, change.inbox.event_id)
            if event is not None:
                return EventKnown(event.event_id, event.digest)
        if change.step is not None:
            step = self._reader.step(change.route, change.step.key, change.step.step)
            begun = change.step.attempt - (change.step.result is None)
            if step is not None and (step.result is not None or step.attempt != begun):
                return StepTaken(step)
        return None

    def _taken_replacement_id(self, change: Change) -> str | None:
        """Return the id that a replace is to give its order if it belongs to another one, or to another replace."""
        if change.order is None or change.replacement is None or not change.replacement.new_id:
            return None
        intent_id, wanted = change.order.intent_id, change.replacement.replacement
        row = self._db.execute(
            statements.ID_IN_USE,
            (intent_id >> INTENT_NUMBER_BITS, wanted.client_order_id, intent_id, wanted.number),
        ).fetchone()
        return None if row is None else wanted.client_order_id


def move_cursor(connection: apsw.Connection, route_id: int, move: CursorMove) -> bool:
    """Move a stream's cursor on, if it stands where the mover thinks. Part of the caller's transaction."""
    if move.previous == 0:
        connection.execute(statements.START_CURSOR, (route_id, move.stream))
    connection.execute(statements.MOVE_CURSOR, (move.position, route_id, move.stream, move.previous))
    return connection.changes() == 1


def move_subscription(connection: apsw.Connection, route_id: int, move: SubscriptionMove) -> bool:
    """Move a subscriber on, if it stands where the mover thinks. Part of the caller's transaction."""
    if move.previous == 0:
        connection.execute(statements.START_SUBSCRIPTION, (route_id, move.subscriber))
    connection.execute(statements.MOVE_SUBSCRIPTION, (move.position, route_id, move.subscriber, move.previous))
    if connection.changes() != 1:
        return False
    for lane in move.stopped:
        row = [route_id, move.subscriber, lane.intent_id, lane.position, lane.incident]
        if statements.KEEP_STOPPED.run(connection, [row]) != 1:
            return False
    for intent_id in move.freed:
        connection.execute(statements.FREE_STOPPED, (route_id, move.subscriber, intent_id))
    return True


def failed(path: str, error: Exception) -> LedgerFailed:
    """Return what to tell when SQLite could not write."""
    hints = {
        apsw.FullError: "the disk is full: make room",
        apsw.IOError: "the disk reported an error: check it",
        apsw.ReadOnlyError: "the file or its folder became read-only",
        apsw.CorruptError: "the file is damaged: keep it, and restore a copy",
        apsw.BusyError: "another program holds the file's lock: stop it",
    }
    hint = next((text for kind, text in hints.items() if isinstance(error, kind)), "see the cause")
    return LedgerFailed(
        f"{path}: a write failed ({type(error).__name__}: {error}); {hint}, then open the ledger again. Everything "
        "acknowledged so far is safe; the route takes no new orders, and what was under way is re-read when it opens"
    )
