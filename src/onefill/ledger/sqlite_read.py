"""Reading a SQLite ledger. Lists come back as one JSON value, a whole page in one step."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import apsw
import msgspec

from onefill.core.audit import JournalEntry
from onefill.core.control import Control
from onefill.core.incident import Incident
from onefill.core.order import Copy, Order
from onefill.core.position import Execution, Position
from onefill.core.spread import HandOverAsked
from onefill.ledger import sqlite_rows as rows
from onefill.ledger.sqlite_file import one
from onefill.ports.ledger import (
    INTENT_NUMBER_BITS,
    InboxEvent,
    Loaded,
    OpeningPosition,
    Operation,
    OutboxRow,
    RequestKind,
    RouteInfo,
    StepRecord,
    StoppedLane,
    Subscription,
    Suspicion,
)

_LISTED = "IN (SELECT value FROM json_each(?))"


class Reader:
    """Reads over one connection. Used from one thread only."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def _page(self, columns: str, rest: str, bindings: tuple[Any, ...] = ()) -> list[rows.Row]:
        row = one(self._db, f"SELECT json_group_array(json_array({columns})) FROM {rest}", bindings)
        return msgspec.json.decode(row[0], type=list[rows.Row])

    def load(self, where: str, bindings: tuple[Any, ...]) -> list[Loaded]:
        """Return whole orders, by id."""
        found = self._page(rows.ORDER_COLUMNS, f"intent WHERE {where}", bindings)
        if not found:
            return []
        ids = rows.json_text([row[0] for row in found])
        copies: dict[tuple[int, RequestKind], list[Copy]] = {}
        for row in self._page(rows.COPY_COLUMNS, f"attempt WHERE intent_id {_LISTED}", (ids,)):
            intent_id, kind, copy = rows.to_copy(row)
            copies.setdefault((intent_id, kind), []).append(copy)
        replaces = self._replaces(found)
        executions: dict[int, set[tuple[str, str]]] = {}
        referred: dict[int, set[tuple[str, str]]] = {}
        columns = "intent_id, scope, execution_id, refers_to"
        for row in self._page(columns, f"execution WHERE intent_id {_LISTED}", (ids,)):
            executions.setdefault(row[0], set()).add((row[1], row[2]))
            if row[3] is not None:
                referred.setdefault(row[0], set()).add((row[1], row[3]))
        waiting: dict[int, list[Operation]] = {}
        rest = f"operation WHERE answer IS NULL AND intent_id {_LISTED}"
        for row in self._page(rows.OPERATION_COLUMNS, rest, (ids,)):
            waiting.setdefault(row[4], []).append(rows.to_operation(row))

        def numbered(intent_id: int, kind: RequestKind) -> tuple[Copy, ...]:
            return tuple(sorted(copies.get((intent_id, kind), ()), key=lambda copy: copy.number))

        def order(row: rows.Row) -> Order:
            made = rows.to_order(row, numbered(row[0], RequestKind.SUBMIT), numbered(row[0], RequestKind.CANCEL))
            if row[0] not in replaces:
                return made
            return rows.with_replaces(made, replaces[row[0]], numbered(row[0], RequestKind.REPLACE))

        return [
            Loaded(
                order=order(row),
                execution_ids=frozenset(executions.get(row[0], ())),
                referred_to=frozenset(referred.get(row[0], ())),
                operations=tuple(waiting.get(row[0], ())),
            )
            for row in sorted(found, key=lambda row: row[0])
        ]

    def _replaces(self, found: list[rows.Row]) -> dict[int, list[rows.Row]]:
        """Return the replaces of those orders that have any, ascending. ``found``: rows with ``ORDER_COLUMNS``."""
        ids = [row[0] for row in found if rows.was_replaced(row)]
        replaces: dict[int, list[rows.Row]] = {}
        if ids:  # hardly ever: other orders are not to pay for it
            rest = f"replacement WHERE intent_id {_LISTED}"
            for row in sorted(self._page(rows.REPLACEMENT_COLUMNS, rest, (rows.json_text(ids),))):
                replaces.setdefault(row[0], []).append(row)
        return replaces

    def _without_copies(self, found: list[rows.Row]) -> list[Order]:
        replaces, made = self._replaces(found), [rows.to_order(row) for row in found]
        if replaces:
            made = [rows.with_replaces(order, replaces.get(order.intent_id, []), ()) for order in made]
        return made

    def orders_by_digest(self, digests: Iterable[bytes]) -> dict[bytes, Order]:
        """Return the orders recorded under these key digests, without their copies."""
        listed = rows.json_text([digest.hex() for digest in digests])
        found = self._page(
            f"hex(key_digest), {rows.ORDER_COLUMNS}",
            "intent WHERE key_digest IN (SELECT unhex(value) FROM json_each(?))",
            (listed,),
        )
        orders = self._without_copies([row[1:] for row in found])
        return {bytes.fromhex(row[0]): order for row, order in zip(found, orders, strict=True)}

    def by_digest(self, digest: bytes) -> Loaded | None:
        """Return the order recorded under a key digest."""
        found = self.load("key_digest = ?", (digest,))
        return found[0] if found else None

    def by_client_order_id(self, route: str, client_order_id: str) -> Loaded | None:
        """Return the order of a route with this client order id, be it the first or one that a replace gave it."""
        where = "route = (SELECT id FROM route WHERE name = ?) AND client_order_id = ?"
        given = (route, client_order_id)
        found = self.load(where, given) or self.load(f"id = (SELECT intent_id FROM replacement WHERE {where})", given)
        return found[0] if found else None

    def open_orders(self, route: str) -> list[Loaded]:
        """Return the orders of a route that are not closed."""
        return self.load("closed = 0 AND route = (SELECT id FROM route WHERE name = ?)", (route,))

    def operation(self, digest: bytes, operation_key: str) -> Operation | None:
        """Return the operation recorded under a key digest and operation key."""
        where = "operation WHERE key_digest = ? AND operation_key = ?"
        found = self._page(rows.OPERATION_COLUMNS, where, (digest, operation_key))
        return rows.to_operation(found[0]) if found else None

    def orders(self, after: int, limit: int) -> list[Order]:
        """Return a page of orders, without their copies."""
        rest = "(SELECT * FROM intent WHERE id > ? ORDER BY id LIMIT ?) AS intent"
        return self._without_copies(self._page(rows.ORDER_COLUMNS, rest, (after, limit)))

    def last_orders(self, limit: int) -> list[Order]:
        """Return the orders recorded last, oldest first, without their copies."""
        found: list[Order] = []
        for (route_id,) in list[tuple[int]](self._db.execute("SELECT id FROM route")):
            first = route_id << INTENT_NUMBER_BITS
            rest = "(SELECT * FROM intent WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?) AS intent"
            page = self._page(rows.ORDER_COLUMNS, rest, (first, first + (1 << INTENT_NUMBER_BITS) - 1, limit))
            found += self._without_copies(page)
        return sorted(found, key=lambda order: (order.recorded_at_us, order.intent_id))[-limit:]

    def executions(self, route: str, after: int, limit: int) -> list[tuple[int, Execution]]:
        """Return a page of a route's execution log."""
        rest = (
            "(SELECT * FROM execution WHERE route = (SELECT id FROM route WHERE name = ?) AND id > ? ORDER BY id LIMIT ?) "
            "AS execution JOIN route ON route.id = execution.route"
        )
        found = self._page(rows.EXECUTION_COLUMNS, rest, (route, after, limit))
        return sorted((rows.to_execution(row) for row in found), key=lambda pair: pair[0])

    def _executions_where(self, where: str, bindings: tuple[Any, ...]) -> list[Execution]:
        return [execution for _, execution in self._placed_where(where, bindings)]

    def _placed_where(self, where: str, bindings: tuple[Any, ...]) -> list[tuple[int, Execution]]:
        rest = f"execution JOIN route ON route.id = execution.route WHERE {where}"
        found = self._page(rows.EXECUTION_COLUMNS, rest, bindings)
        return sorted(map(rows.to_execution, found), key=lambda pair: pair[0])

    def executions_named(self, route: str, names: Iterable[tuple[str, str]]) -> list[tuple[int, Execution]]:
        """Return a route's executions with these scopes and ids, with their places."""
        where = (
            "route.name = ? AND (execution.scope, execution.execution_id) IN "
            "(SELECT value ->> 0, value ->> 1 FROM json_each(?))"
        )
        return self._placed_where(where, (route, rows.json_text([list(name) for name in names])))

    def quarantined(self, route: str) -> list[tuple[int, Execution]]:
        """Return a route's executions that belong to no order, with their places."""
        return self._placed_where("route.name = ? AND intent_id IS NULL", (route,))

    def executions_of(self, intent_id: int) -> list[Execution]:
        """Return an order's rows of the execution log."""
        return self._executions_where("intent_id = ?", (intent_id,))

    def executions_of_position(
        self, account: str, strategy: str, venue: str, instrument: str, through: int
    ) -> list[Execution]:
        """Return a position's rows of the execution log."""
        where = (
            "execution.id <= ? AND account = ? AND strategy = ? AND instrument = ? AND route.name = ? "
            "AND intent_id IS NOT NULL"
        )
        return self._executions_where(where, (through, account, strategy, instrument, venue))

    def amended_positions(self, route: str) -> set[tuple[str, str, str, str]]:
        """Return the positions of a route of which an execution was busted or corrected."""
        cursor = self._db.execute(
            "SELECT DISTINCT account, strategy, instrument FROM execution WHERE refers_to IS NOT NULL "
            "AND intent_id IS NOT NULL AND route = (SELECT id FROM route WHERE name = ?)",
            (route,),
        )
        return {(account, strategy, route, instrument) for account, strategy, instrument in cursor}

    def incidents(self, *, open_only: bool) -> list[Incident]:
        """Return the incidents, by route and number."""
        where = "WHERE open = 1 " if open_only else ""
        cursor = self._db.execute(f"SELECT body FROM incident {where}ORDER BY route, number")
        return [msgspec.json.decode(row[0], type=Incident) for row in cursor]

    def last_incident(self, route: str) -> int:
        """Return the highest number of a route's incidents."""
        statement = "SELECT coalesce(max(number), 0) FROM incident WHERE route = (SELECT id FROM route WHERE name = ?)"
        return int(one(self._db, statement, (route,))[0])

    def control(self, route: str) -> Control | None:
        """Return a route's control state."""
        row = self._db.execute(
            "SELECT body FROM control WHERE route = (SELECT id FROM route WHERE name = ?)", (route,)
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Control)

    def opening_positions(self, route: str) -> list[OpeningPosition]:
        """Return what a route's accounts held before its first order."""
        cursor = self._db.execute(
            "SELECT account, instrument, quantity, max(number) FROM opening_position "
            "WHERE route = (SELECT id FROM route WHERE name = ?) GROUP BY account, instrument ORDER BY account, instrument",
            (route,),
        )
        return [
            OpeningPosition(account=account, instrument=instrument, quantity=Decimal(quantity), number=number)
            for account, instrument, quantity, number in cursor
        ]

    def positions(self, route: str) -> tuple[list[Position], int]:
        """Return a route's stored projection and how far it is folded."""
        row = self._db.execute("SELECT folded_through FROM route WHERE name = ?", (route,)).fetchone()
        found = self._page(rows.POSITION_COLUMNS, "position WHERE venue = ?", (route,))
        return [rows.to_position(one_row) for one_row in found], 0 if row is None else row[0]

    def journal(self, route: str, after: int, limit: int) -> list[JournalEntry]:
        """Return a page of a route's journal."""
        found = self._db.execute("SELECT id FROM route WHERE name = ?", (route,)).fetchone()
        if found is None:
            return []
        base = found[0] << INTENT_NUMBER_BITS
        cursor = self._db.execute(
            "SELECT id - ?, intent_id, kind, payload, at_us, epoch, previous_hash, hash FROM journal "
            "WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            (base, base + after, base + (1 << INTENT_NUMBER_BITS), limit),
        )
        return [rows.to_entry(route, list(row)) for row in cursor]

    def history(self, intent_id: int) -> list[JournalEntry]:
        """Return every journal entry of one order."""
        mask = (1 << INTENT_NUMBER_BITS) - 1
        cursor = self._db.execute(
            "SELECT journal.id & ?, intent_id, kind, payload, at_us, journal.epoch, previous_hash, hash, route.name "
            "FROM journal JOIN route ON route.id = journal.id >> ? WHERE intent_id = ? ORDER BY journal.id",
            (mask, INTENT_NUMBER_BITS, intent_id),
        )
        return [rows.to_entry(row[8], list(row[:8])) for row in cursor]

    def cursor(self, route: str, stream: str) -> int:
        """Return a stream's position, 0 at first."""
        row = self._db.execute(
            "SELECT position FROM cursor WHERE route = (SELECT id FROM route WHERE name = ?) AND stream = ?",
            (route, stream),
        ).fetchone()
        return int(row[0]) if row else 0

    def outbox(self, route: str, after: int, limit: int, intent_id: int | None = None) -> list[OutboxRow]:
        """Return a page of a route's journal with the names of the orders; of one order alone, or (0) of none."""
        found = self._db.execute("SELECT id FROM route WHERE name = ?", (route,)).fetchone()
        if found is None:
            return []
        base = found[0] << INTENT_NUMBER_BITS
        which = {None: "", 0: "AND journal.intent_id IS NULL"}.get(intent_id, "AND journal.intent_id = ?")
        given = (intent_id,) if intent_id else ()
        cursor = self._db.execute(
            "SELECT journal.id - ?, intent_id, kind, payload, at_us, epoch, previous_hash, hash, account, strategy, key, "
            "client_order_id FROM journal LEFT JOIN intent ON intent.id = journal.intent_id "
            f"WHERE journal.id > ? AND journal.id < ? {which} ORDER BY journal.id LIMIT ?",
            (base, base + after, base + (1 << INTENT_NUMBER_BITS), *given, limit),
        )
        return [
            OutboxRow(
                entry=rows.to_entry(route, list(row[:8])),
                account=row[8],
                strategy=row[9],
                key=row[10],
                client_order_id=row[11],
            )
            for row in cursor
        ]

    def subscriptions(self, route: str) -> list[Subscription]:
        """Return how far each subscriber was told of a route."""
        where = "WHERE route = (SELECT id FROM route WHERE name = ?)"
        stopped: dict[str, list[StoppedLane]] = {}
        for name, intent_id, position, incident in self._db.execute(
            f"SELECT subscriber, intent_id, position, incident FROM subscription_stopped {where} ORDER BY intent_id",
            (route,),
        ):
            stopped.setdefault(name, []).append(StoppedLane(intent_id, position, incident))
        cursor = self._db.execute(
            f"SELECT subscriber, position FROM subscription {where} ORDER BY subscriber", (route,)
        )
        return [
            Subscription(route=route, subscriber=name, position=position, stopped=tuple(stopped.get(name, ())))
            for name, position in cursor
        ]

    def inbox_event(self, route: str, source: str, event_id: str) -> InboxEvent | None:
        """Return a callback that was taken in."""
        row = self._db.execute(
            "SELECT digest FROM inbox WHERE route = (SELECT id FROM route WHERE name = ?) AND source = ? AND event_id = ?",
            (route, source, event_id),
        ).fetchone()
        return None if row is None else InboxEvent(source=source, event_id=event_id, digest=row[0])

    def steps(self, route: str, key: str, step: str | None = None) -> list[StepRecord]:
        """Return a user's steps under a key, or one of them, in the order in which they were first begun."""
        which, given = ("", ()) if step is None else ("AND step = ?", (step,))
        cursor = self._db.execute(
            f"SELECT {rows.STEP_COLUMNS} FROM step WHERE route = (SELECT id FROM route WHERE name = ?) AND key = ? {which} "
            "ORDER BY id",
            (route, key, *given),
        )
        return [rows.to_step(list(row)) for row in cursor]

    def step(self, route: str, key: str, step: str) -> StepRecord | None:
        """Return one step of a user's process."""
        return next(iter(self.steps(route, key, step)), None)

    def suspicions(self, route: str, after: int) -> list[Suspicion]:
        """Return what was noted of a route above a number."""
        cursor = self._db.execute(
            "SELECT number, suspicion.epoch, suspicion.holder, at_us, reason FROM suspicion "
            "WHERE route = (SELECT id FROM route WHERE name = ?) AND number > ? ORDER BY number",
            (route, after),
        )
        return [
            Suspicion(route=route, number=row[0], epoch=row[1], holder=row[2], at_us=row[3], reason=row[4])
            for row in cursor
        ]

    def routes(self) -> list[RouteInfo]:
        """Return every route."""
        cursor = self._db.execute(
            "SELECT name, epoch, holder, acquired_at_us, last_number, last_sequence, head, lease_until_us, "
            "asked_by, node, at_us, (SELECT coalesce(max(number), 0) FROM suspicion WHERE suspicion.route = route.id) "
            "FROM route LEFT JOIN hand_over ON hand_over.route = route.id ORDER BY route.id"
        )
        return [
            RouteInfo(
                name=row[0],
                epoch=row[1],
                holder=row[2],
                acquired_at_us=row[3],
                intents=row[4],
                journal_entries=row[5],
                head=row[6],
                lease_until_us=row[7],
                asked=None if row[8] is None else HandOverAsked(by=row[8], to=row[9], at_us=row[10]),
                suspicions=row[11],
            )
            for row in cursor
        ]
