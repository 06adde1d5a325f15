"""Reading a PostgreSQL ledger. Each answer is one statement, and so one moment: what belongs to an order comes with it."""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core.audit import Archived, Checkpoint, JournalEntry, JournalRow, StoredCheckpoint
from onefill.core.audit_executions import ExecutionRow
from onefill.core.control import Control
from onefill.core.errors import EntriesArchived, LedgerError
from onefill.core.incident import Incident
from onefill.core.order import Copy, Order
from onefill.core.position import Execution, Position
from onefill.core.spread import HandOverAsked
from onefill.ledger import postgres_text as text
from onefill.ledger import sqlite_rows as rows
from onefill.ledger.postgres_connect import lost, told, troubles
from onefill.ledger.postgres_settings import PostgresPlace
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

_SPAN = 1 << INTENT_NUMBER_BITS
_MASK = _SPAN - 1
_ROUTE = "(SELECT id FROM route WHERE name = $1)"


def _listed(columns: str, table: str, where: str, order: str) -> str:
    return f"(SELECT json_agg(json_build_array({columns}) ORDER BY {order}) FROM {table} WHERE {where})"


_REPLACES = (
    "CASE WHEN replaced = 1 THEN "
    + _listed(rows.REPLACEMENT_COLUMNS, "replacement", "replacement.intent_id = intent.id", "number")
    + " END"
)
_WITH_REPLACES = f"{rows.ORDER_COLUMNS}, {_REPLACES}"
_WHOLE = (
    _WITH_REPLACES
    + ", "
    + _listed(rows.COPY_COLUMNS, "attempt", "attempt.intent_id = intent.id", "number")
    + ", "
    + _listed("scope, execution_id, refers_to", "execution", "execution.intent_id = intent.id", "id")
    + ", "
    + _listed(
        ", ".join(f"operation.{name}" for name in rows.OPERATION_COLUMNS.split(", ")),
        "operation",
        "operation.intent_id = intent.id AND operation.answer IS NULL",
        "requested_at_us, operation_key",
    )
)
_WIDTH = len(rows.ORDER_COLUMNS.split(", "))
_JOURNAL = "intent_id, kind, payload, at_us, epoch, previous_hash, hash"
_EXECUTION_PAGE = (
    "SELECT execution.id, intent_id, execution_id, account, strategy, instrument, side, quantity, price, client_order_id, "
    "venue_order_id, transacted_at_us, execution.kind, refers_to, fee, fee_currency "
    f"FROM execution WHERE route = {_ROUTE} AND execution.id > $2 ORDER BY execution.id LIMIT $3"
)
_ARCHIVED = "day, first_sequence, last_sequence, head, epoch, last_execution, frontier, file, sha256"
_ARCHIVED_FIELDS = tuple(field.name for field in msgspec.structs.fields(Archived))
_CHECKPOINT = "size, root, head, at_us, key_id, signature, frontier"


class Reader:
    """Reads over a pool of connections."""

    def __init__(self, pool: Any, place: PostgresPlace) -> None:
        self._pool = pool
        self._place = place

    async def renew(self) -> None:
        """Read over new connections from now on: the old ones may be to a server that was left behind."""
        await self._pool.expire_connections()

    async def fetch(self, statement: str, *given: Any) -> list[list[Any]]:
        """Return the rows of a statement. Raises LedgerError if they cannot be read."""
        bound = [text.stored(value) for value in given]
        for last in (False, True):
            try:
                return [text.row(record) for record in await self._pool.fetch(statement, *bound)]
            except troubles() as error:
                if last or not lost(error) or self._pool.is_closing():
                    raise LedgerError(
                        f"{self._place.name}: cannot be read ({told(error)}). Nothing was changed; check the server, then "
                        "ask again"
                    ) from None
        raise AssertionError  # never: the second round returns or raises

    async def _one(self, statement: str, *given: Any) -> list[Any] | None:
        found = await self.fetch(statement, *given)
        return found[0] if found else None

    # Orders.

    async def load(self, where: str, *given: Any) -> list[Loaded]:
        """Return whole orders, by id."""
        found = await self.fetch(f"SELECT {_WHOLE} FROM intent WHERE {where} ORDER BY id", *given)
        return [_loaded(row) for row in found]

    async def orders_by_digest(self, digests: Iterable[bytes]) -> dict[bytes, Order]:
        """Return the orders recorded under these key digests, without their copies."""
        statement = f"SELECT key_digest, {_WITH_REPLACES} FROM intent WHERE key_digest = ANY ($1)"
        return {row[0]: _without_copies(row[1:]) for row in await self.fetch(statement, list(digests))}

    async def by_digest(self, digest: bytes) -> Loaded | None:
        """Return the order recorded under a key digest."""
        return next(iter(await self.load("key_digest = $1", digest)), None)

    async def by_client_order_id(self, route: str, client_order_id: str) -> Loaded | None:
        """Return the order of a route with this client order id, be it the first or one that a replace gave it."""
        where = f"route = {_ROUTE} AND client_order_id = $2"
        found = await self.load(
            f"id IN (SELECT id FROM intent WHERE {where} UNION ALL SELECT intent_id FROM replacement WHERE {where})",
            route,
            client_order_id,
        )
        return found[0] if found else None

    async def open_orders(self, route: str) -> list[Loaded]:
        """Return the orders of a route that are not closed."""
        return await self.load(f"closed = 0 AND route = {_ROUTE}", route)

    async def orders(self, after: int, limit: int) -> list[Order]:
        """Return a page of orders, without their copies."""
        statement = f"SELECT {_WITH_REPLACES} FROM intent WHERE id > $1 ORDER BY id LIMIT $2"
        return [_without_copies(row) for row in await self.fetch(statement, after, limit)]

    async def last_orders(self, limit: int) -> list[Order]:
        """Return the orders recorded last, oldest first, without their copies."""
        statement = (
            f"SELECT {', '.join('intent.' + name for name in rows.ORDER_COLUMNS.split(', '))}, {_REPLACES} FROM route "
            "CROSS JOIN LATERAL (SELECT * FROM intent WHERE id BETWEEN route.id << $2 AND (route.id << $2) + $3 "
            "ORDER BY id DESC LIMIT $1) AS intent ORDER BY recorded_at_us DESC, intent.id DESC LIMIT $1"
        )
        found = await self.fetch(statement, limit, INTENT_NUMBER_BITS, _MASK)
        return [_without_copies(row) for row in reversed(found)]

    async def operation(self, digest: bytes, operation_key: str) -> Operation | None:
        """Return the operation recorded under a key digest and operation key."""
        statement = f"SELECT {rows.OPERATION_COLUMNS} FROM operation WHERE key_digest = $1 AND operation_key = $2"
        row = await self._one(statement, digest, operation_key)
        return None if row is None else rows.to_operation(row)

    async def id_in_use(self, route: str, client_order_id: str, of: int | None, number: int) -> bool:
        """Tell whether a client order id belongs to an order of a route, other than by replace ``number`` of order ``of``."""
        statement = (
            f"SELECT 1 FROM intent WHERE route = {_ROUTE} AND client_order_id = $2 UNION ALL SELECT 1 FROM replacement "
            f"WHERE route = {_ROUTE} AND client_order_id = $2 AND (intent_id, number) IS DISTINCT FROM ($3::bigint, $4::bigint)"
        )
        return await self._one(statement, route, client_order_id, of, number) is not None

    async def knows(self, intent_id: int) -> bool:
        """Tell whether an intent is recorded."""
        return await self._one("SELECT 1 FROM intent WHERE id = $1", intent_id) is not None

    async def other_with_venue_order_id(self, route: str, venue_order_id: str, intent_id: int) -> str | None:
        """Return the client order id of another order of the route that has a venue's order number. Reads the whole table."""
        statement = (
            f"SELECT client_order_id FROM intent WHERE route = {_ROUTE} AND venue_order_id = $2 AND id <> $3 LIMIT 1"
        )
        row = await self._one(statement, route, venue_order_id, intent_id)
        return None if row is None else str(row[0])

    # Executions and positions.

    async def _placed(self, rest: str, *given: Any) -> list[tuple[int, Execution]]:
        statement = (
            f"SELECT {rows.EXECUTION_COLUMNS} FROM execution JOIN route ON route.id = execution.route WHERE {rest}"
        )
        return [rows.to_execution(row) for row in await self.fetch(statement, *given)]

    async def executions(self, route: str, after: int, limit: int) -> list[tuple[int, Execution]]:
        """Return a page of a route's execution log."""
        rest = f"execution.route = {_ROUTE} AND execution.id > $2 ORDER BY execution.id LIMIT $3"
        return await self._placed(rest, route, after, limit)

    async def executions_named(self, route: str, names: Collection[tuple[str, str]]) -> list[tuple[int, Execution]]:
        """Return a route's executions with these scopes and ids, with their places."""
        rest = (
            f"execution.route = {_ROUTE} AND (scope, execution_id) IN (SELECT * FROM unnest($2::text[], $3::text[])) "
            "ORDER BY execution.id"
        )
        scopes = [text.stored(scope) for scope, _ in names]
        return await self._placed(rest, route, scopes, [text.stored(name) for _, name in names])

    async def quarantined(self, route: str) -> list[tuple[int, Execution]]:
        """Return a route's executions that belong to no order, with their places."""
        return await self._placed(f"execution.route = {_ROUTE} AND intent_id IS NULL ORDER BY execution.id", route)

    async def executions_of(self, intent_id: int) -> list[Execution]:
        """Return an order's rows of the execution log."""
        return [one for _, one in await self._placed("intent_id = $1 ORDER BY execution.id", intent_id)]

    async def executions_of_position(
        self, account: str, strategy: str, venue: str, instrument: str, through: int
    ) -> list[Execution]:
        """Return a position's rows of the execution log."""
        rest = (
            f"execution.route = {_ROUTE} AND account = $2 AND strategy = $3 AND instrument = $4 AND execution.id <= $5 "
            "AND intent_id IS NOT NULL ORDER BY execution.id"
        )
        return [one for _, one in await self._placed(rest, venue, account, strategy, instrument, through)]

    async def amended_positions(self, route: str) -> set[tuple[str, str, str, str]]:
        """Return the positions of a route of which an execution was busted or corrected."""
        statement = (
            f"SELECT DISTINCT account, strategy, instrument FROM execution WHERE route = {_ROUTE} "
            "AND refers_to IS NOT NULL AND intent_id IS NOT NULL"
        )
        return {(row[0], row[1], route, row[2]) for row in await self.fetch(statement, route)}

    async def positions(self, route: str) -> tuple[list[Position], int]:
        """Return a route's stored projection and how far it is folded."""
        statement = (
            "SELECT folded_through, (SELECT json_agg(json_build_array("
            f"{rows.POSITION_COLUMNS})) FROM position WHERE venue = $1) FROM route WHERE name = $1"
        )
        row = await self._one(statement, route)
        if row is None:
            return [], 0
        return [rows.to_position(text.row(found)) for found in _array(row[1])], row[0]

    # What people watch over.

    async def incidents(self, *, open_only: bool) -> list[Incident]:
        """Return the incidents, by route and number."""
        where = "WHERE open = 1 " if open_only else ""
        found = await self.fetch(f"SELECT body FROM incident {where}ORDER BY route, number")
        return [msgspec.json.decode(row[0], type=Incident) for row in found]

    async def last_incident(self, route: str) -> int:
        """Return the highest number of a route's incidents."""
        row = await self._one(f"SELECT coalesce(max(number), 0) FROM incident WHERE route = {_ROUTE}", route)
        return 0 if row is None else int(row[0])

    async def control(self, route: str) -> Control | None:
        """Return a route's control state."""
        row = await self._one(f"SELECT body FROM control WHERE route = {_ROUTE}", route)
        return None if row is None else msgspec.json.decode(row[0], type=Control)

    async def opening_positions(self, route: str) -> list[OpeningPosition]:
        """Return what a route's accounts held before its first order."""
        statement = (
            "SELECT DISTINCT ON (account, instrument) account, instrument, quantity, number FROM opening_position "
            f"WHERE route = {_ROUTE} ORDER BY account, instrument, number DESC"
        )
        return [
            OpeningPosition(account=row[0], instrument=row[1], quantity=Decimal(row[2]), number=row[3])
            for row in await self.fetch(statement, route)
        ]

    # The journal, and what is told from it.

    async def journal_rows(self, route: str, after: int, limit: int) -> list[JournalRow]:
        """Return a page of a route's journal, as bare rows."""
        statement = f"SELECT id & $4, {_JOURNAL} FROM journal_page({_ROUTE}, $2, $3)"
        found: list[Any] = await self.fetch(statement, route, after, limit, _MASK)
        await self._none_archived(route, after, found)
        return [tuple(row) for row in found]

    async def journal_hashes(self, route: str, after: int, limit: int) -> list[bytes]:
        """Return the stored hashes of a page of a route's journal."""
        statement = f"SELECT id & $4, hash FROM journal_page({_ROUTE}, $2, $3)"
        found = await self.fetch(statement, route, after, limit, _MASK)
        await self._none_archived(route, after, found)
        return [row[1] for row in found]

    async def _none_archived(self, route: str, after: int, found: list[list[Any]]) -> None:
        """Raise EntriesArchived if the page does not begin with the next entry because that one is archived."""
        if found and found[0][0] == after + 1:
            return
        statement = f"SELECT file, (SELECT max(last_sequence) FROM archive WHERE route = {_ROUTE}) FROM archive "
        wanted = f"WHERE route = {_ROUTE} AND last_sequence > $2 ORDER BY last_sequence LIMIT 1"
        row = await self._one(statement + wanted, route, after)
        if row is not None:
            raise EntriesArchived(route, after + 1, row[0], row[1])

    async def archives(self, route: str) -> list[Archived]:
        """Return what was archived of a route, by day."""
        statement = f"SELECT {_ARCHIVED} FROM archive WHERE route = {_ROUTE} ORDER BY last_sequence"
        return [_archived(row) for row in await self.fetch(statement, route)]

    async def archives_of(self, intent_id: int) -> list[Archived]:
        """Return where archived entries of an order may be, by day."""
        columns = ", ".join(f"archive.{name}" for name in _ARCHIVED.split(", "))
        statement = (
            f"SELECT {columns} FROM intent JOIN archive ON archive.route = intent.route "
            "AND day BETWEEN first_day AND last_day WHERE intent.id = $1 ORDER BY last_sequence"
        )
        return [_archived(row) for row in await self.fetch(statement, intent_id)]

    async def history(self, intent_id: int) -> list[JournalEntry]:
        """Return every journal entry of one order."""
        statement = (
            "SELECT journal.id & $2, intent_id, kind, payload, at_us, journal.epoch, previous_hash, hash, route.name "
            "FROM route CROSS JOIN LATERAL journal_page(route.id, 0, $3, $1) AS journal "
            "WHERE route.id = (SELECT route FROM intent WHERE id = $1) ORDER BY journal.id"
        )
        found = await self.fetch(statement, intent_id, _MASK, _SPAN)
        return [rows.to_entry(row[8], row[:8]) for row in found]

    async def outbox(self, route: str, after: int, limit: int, intent_id: int | None = None) -> list[OutboxRow]:
        """Return a page of a route's journal with the names of the orders; of one order alone, or (0) of none."""
        statement = (
            "SELECT journal.id & $4, intent_id, kind, payload, at_us, epoch, previous_hash, hash, account, strategy, key, "
            f"client_order_id FROM journal_page({_ROUTE}, $2, $3, $5) AS journal "
            "LEFT JOIN intent ON intent.id = journal.intent_id ORDER BY journal.id"
        )
        found = await self.fetch(statement, route, after, limit, _MASK, intent_id)
        if intent_id is None:
            await self._none_archived(route, after, found)
        elif any(one.last > after for one in await self._archives_in(route, intent_id)):
            await self._none_archived(route, after, [])
        return [
            OutboxRow(
                entry=rows.to_entry(route, row[:8]),
                account=row[8],
                strategy=row[9],
                key=row[10],
                client_order_id=row[11],
            )
            for row in found
        ]

    async def _archives_in(self, route: str, intent_id: int) -> list[Archived]:
        return await (self.archives_of(intent_id) if intent_id else self.archives(route))

    async def subscriptions(self, route: str) -> list[Subscription]:
        """Return how far each subscriber was told of a route."""
        statement = (
            "SELECT subscriber, position, (SELECT json_agg(json_build_array(s.intent_id, s.position, s.incident) "
            "ORDER BY s.intent_id) FROM subscription_stopped AS s WHERE s.route = subscription.route "
            f"AND s.subscriber = subscription.subscriber) FROM subscription WHERE route = {_ROUTE} ORDER BY subscriber"
        )
        return [
            Subscription(
                route=route,
                subscriber=row[0],
                position=row[1],
                stopped=tuple(StoppedLane(*lane) for lane in _array(row[2])),
            )
            for row in await self.fetch(statement, route)
        ]

    async def inbox_event(self, route: str, source: str, event_id: str) -> InboxEvent | None:
        """Return a callback that was taken in."""
        statement = f"SELECT digest FROM inbox WHERE route = {_ROUTE} AND source = $2 AND event_id = $3"
        row = await self._one(statement, route, source, event_id)
        return None if row is None else InboxEvent(source=source, event_id=event_id, digest=row[0])

    async def steps(self, route: str, key: str) -> list[StepRecord]:
        """Return a user's steps under a key, in the order in which they were first begun."""
        statement = f"SELECT {rows.STEP_COLUMNS} FROM step WHERE route = {_ROUTE} AND key = $2 ORDER BY id"
        return [rows.to_step(row) for row in await self.fetch(statement, route, key)]

    async def step(self, route: str, key: str, step: str) -> StepRecord | None:
        """Return one step of a user's process."""
        statement = f"SELECT {rows.STEP_COLUMNS} FROM step WHERE route = {_ROUTE} AND key = $2 AND step = $3"
        row = await self._one(statement, route, key, step)
        return None if row is None else rows.to_step(row)

    async def suspicions(self, route: str, after: int) -> list[Suspicion]:
        """Return what was noted of a route above a number."""
        statement = (
            f"SELECT number, epoch, holder, at_us, reason FROM suspicion WHERE route = {_ROUTE} AND number > $2 "
            "ORDER BY number"
        )
        return [
            Suspicion(route=route, number=row[0], epoch=row[1], holder=row[2], at_us=row[3], reason=row[4])
            for row in await self.fetch(statement, route, after)
        ]

    async def cursor(self, route: str, stream: str) -> int:
        """Return a stream's position, 0 at first."""
        row = await self._one(f"SELECT position FROM cursor WHERE route = {_ROUTE} AND stream = $2", route, stream)
        return 0 if row is None else int(row[0])

    async def routes(self) -> list[RouteInfo]:
        """Return every route."""
        statement = (
            "SELECT name, route.epoch, holder, acquired_at_us, last_number, route.last_sequence, route.head, lease_until_us, "
            "asked_by, node, at_us, (SELECT coalesce(max(number), 0) FROM suspicion WHERE suspicion.route = route.id), "
            f"{', '.join('newest.' + name for name in _ARCHIVED.split(', '))} FROM route "
            "LEFT JOIN hand_over ON hand_over.route = route.id LEFT JOIN LATERAL (SELECT * FROM archive "
            "WHERE archive.route = route.id ORDER BY archive.last_sequence DESC LIMIT 1) AS newest ON true ORDER BY route.id"
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
                archived=None if row[12] is None else _archived(row[12:]),
            )
            for row in await self.fetch(statement)
        ]

    # What verification reads.

    async def execution_rows(self, route: str, after: int, limit: int) -> list[ExecutionRow]:
        """Return a page of a route's part of the execution log."""
        found = await self.fetch(_EXECUTION_PAGE, route, after, limit)
        orders = list({row[1]: None for row in found if row[1] is not None})
        told = await self.fetch("SELECT intent_id, payload FROM journal_recorded($1)", orders) if orders else []
        recorded = {row[0]: row[1].encode() for row in told}
        recorded |= await self._recorded_before([one for one in orders if one not in recorded])
        return [ExecutionRow(*[*row, recorded.get(row[1])]) for row in found]

    async def _recorded_before(self, orders: list[int]) -> dict[int, bytes]:
        """Return what the entries would say that recorded these orders, of those that are archived: by the orders' own rows."""
        if not orders:
            return {}
        statement = "SELECT id, body FROM intent WHERE id = ANY ($1) AND first_day <= (SELECT max(day) FROM archive)"
        found = await self.fetch(statement, orders)
        return {row[0]: f'[{{"type":"recorded","intent":{row[1]}}}]'.encode() for row in found}

    async def bodies(self, orders: list[int]) -> dict[int, bytes]:
        """Return what was wanted of these orders, as their rows have it."""
        found = await self.fetch("SELECT id, body FROM intent WHERE id = ANY ($1)", orders)
        return {row[0]: row[1].encode() for row in found}

    async def checkpoints(self, route: str, after: int, limit: int) -> list[StoredCheckpoint]:
        """Return a page of a route's checkpoints, by size."""
        statement = f"SELECT {_CHECKPOINT} FROM checkpoint WHERE route = {_ROUTE} AND size > $2 ORDER BY size LIMIT $3"
        return [_checkpoint(route, row) for row in await self.fetch(statement, route, after, limit)]

    async def newest_checkpoint(self, route: str) -> StoredCheckpoint | None:
        """Return a route's largest checkpoint."""
        statement = f"SELECT {_CHECKPOINT} FROM checkpoint WHERE route = {_ROUTE} ORDER BY size DESC LIMIT 1"
        row = await self._one(statement, route)
        return None if row is None else _checkpoint(route, row)


def _array(found: str | None) -> list[Any]:
    return [] if found is None else msgspec.json.decode(found, type=list[Any])


def _copies(found: Sequence[Any], kind: RequestKind) -> tuple[Copy, ...]:
    return tuple(copy for _, asked, copy in found if asked is kind)


def _without_copies(row: list[Any]) -> Order:
    made = rows.to_order(row[:_WIDTH])
    replaces = [text.row(found) for found in _array(row[_WIDTH])]
    return rows.with_replaces(made, replaces, ()) if replaces else made


def _loaded(row: list[Any]) -> Loaded:
    """Return the whole order of a row with the columns of ``_WHOLE``."""
    copies = [rows.to_copy(text.row(found)) for found in _array(row[_WIDTH + 1])]
    order = rows.to_order(row[:_WIDTH], _copies(copies, RequestKind.SUBMIT), _copies(copies, RequestKind.CANCEL))
    replaces = [text.row(found) for found in _array(row[_WIDTH])]
    if replaces:
        order = rows.with_replaces(order, replaces, _copies(copies, RequestKind.REPLACE))
    executions = [text.row(found) for found in _array(row[_WIDTH + 2])]
    return Loaded(
        order=order,
        execution_ids=frozenset((scope, name) for scope, name, _ in executions),
        referred_to=frozenset((scope, other) for scope, _, other in executions if other is not None),
        operations=tuple(rows.to_operation(text.row(found)) for found in _array(row[_WIDTH + 3])),
    )


def _archived(row: Iterable[Any]) -> Archived:
    return Archived(**dict(zip(_ARCHIVED_FIELDS, row, strict=True)))


def _checkpoint(route: str, row: list[Any]) -> StoredCheckpoint:
    made = Checkpoint(route=route, size=row[0], root=row[1], head=row[2], at_us=row[3], key_id=row[4], signature=row[5])
    return StoredCheckpoint(made, row[6])
