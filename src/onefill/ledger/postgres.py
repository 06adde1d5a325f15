"""The ledger for several nodes: a PostgreSQL database that several gateways share, each the owner of its own routes.

Open it with :meth:`PostgresLedger.open` (the schema must be there: :func:`onefill.ledger.postgres_schema.migrate`, which
``onefill migrate`` calls) or :meth:`PostgresLedger.open_read_only`. Opening is not exclusive, unlike that of a file: who may
write a route is decided by its epoch, in the transaction of every write.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Self, TypeVar

from onefill.core.audit import Archived, JournalEntry, JournalRow, StoredCheckpoint
from onefill.core.audit_executions import ExecutionRow
from onefill.core.control import Control
from onefill.core.errors import LedgerError, LedgerFailed
from onefill.core.identity import key_digest
from onefill.core.incident import Incident
from onefill.core.metrics import LedgerMeasures
from onefill.core.order import Order
from onefill.core.position import Execution, Position
from onefill.core.spread import HandOverAsked
from onefill.ledger import postgres_figures, postgres_lease, postgres_schema
from onefill.ledger import postgres_text as text
from onefill.ledger import sqlite_rows as rows
from onefill.ledger.postgres_commits import PostgresCommits
from onefill.ledger.postgres_connect import connect, make_pool, shut, told, troubles
from onefill.ledger.postgres_days import DaysAhead
from onefill.ledger.postgres_read import Reader
from onefill.ledger.postgres_session import Session
from onefill.ledger.postgres_settings import PostgresPlace, place_of
from onefill.ledger.postgres_watch import Standby, StandbyWatch
from onefill.ledger.postgres_write import Writer
from onefill.ports.ledger import (
    Change,
    CursorMove,
    InboxEvent,
    Lease,
    Loaded,
    OpeningPosition,
    Operation,
    OutboxRow,
    Outcome,
    RouteInfo,
    StepRecord,
    Subscription,
    SubscriptionMove,
    Suspicion,
)
from onefill.ports.ledger_browse import RouteSums

T = TypeVar("T")
_CHECKPOINT = (
    "INSERT INTO checkpoint (route, size, root, head, at_us, key_id, signature, frontier) "
    "SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM route WHERE name = $1 ON CONFLICT DO NOTHING"
)
_POSITIONS = (  # nothing where a later owner has stored more: rows of two ages would be folded on twice
    "WITH moved AS (UPDATE route SET folded_through = $2 WHERE name = $1 AND folded_through <= $2 RETURNING id) "
    f"INSERT INTO position ({rows.POSITION_COLUMNS}) "
    "SELECT v->>0, v->>1, v->>2, v->>3, v->>4, v->>5, v->>6, v->>7, v->>8, v->>9, (v->>10)::bigint "
    "FROM moved, json_array_elements($3::json) AS v ON CONFLICT (venue, account, strategy, instrument) DO UPDATE SET "
    "bought = excluded.bought, sold = excluded.sold, bought_value = excluded.bought_value, sold_value = excluded.sold_value, "
    "cost = excluded.cost, fees = excluded.fees, executions = excluded.executions"
)


def _unheard(_: str) -> None:
    """Take a word that nobody asked for."""


class PostgresLedger:
    """A ledger in one schema of a PostgreSQL database."""

    def __init__(self, place: PostgresPlace, pool: Any, session: Session | None = None) -> None:
        self._place = place
        self._pool = pool
        self._session = session
        self._reader = Reader(pool, place)
        self._writer = None if session is None else Writer(session, self._reader)
        self._commits = PostgresCommits(self._apply)
        self._days = DaysAhead(place, "partitions")
        self._watch: StandbyWatch | None = None

    @classmethod
    async def open(cls, url: str, *, holder: str, tell: Callable[[str], None] = _unheard) -> Self:
        """Open for writing. ``holder`` is shown in the server's list of sessions; ``tell`` hears of a standby lost or back.

        Raises SettingsError for a URL that cannot be used, NotALedger, LedgerTooNew or LedgerError if the database cannot be
        reached, is not durable enough, or has another schema than this code writes.
        """
        place = place_of(url)
        made = cls(place, await make_pool(place, holder, primary=True), Session(place, holder))
        try:
            await made._start(tell)
        except BaseException:
            await made.close()
            raise
        return made

    async def _start(self, tell: Callable[[str], None]) -> None:
        """Make the writing connection. What stands in the way is raised as it is: nothing was under way yet."""
        if self._session is None:
            return
        try:
            await self._session.make()
        except troubles() as error:
            raise LedgerError(f"{self._place.name}: cannot be opened ({told(error)}). Nothing was sent") from None
        self._watch = StandbyWatch(self._session, self._reader, tell)
        await self._watch.look()
        self._session.on_new.append(self._watch.look)
        self._watch.start()
        self._days.start()

    @classmethod
    async def open_read_only(cls, url: str, *, holder: str = "reader") -> "PostgresLedger":
        """Open for reading, also while gateways write it; a standby will do. Raises as :meth:`open`."""
        place = place_of(url)
        connection = await connect(place, holder, writer=False, primary=False)
        try:
            await postgres_schema.check_version(connection, place)
        except troubles() as error:
            raise LedgerError(f"{place.name}: cannot be opened ({told(error)})") from None
        finally:
            await shut(connection)
        return PostgresLedger(place, await make_pool(place, holder, primary=False))

    @property
    def name(self) -> str:
        """The ledger's URL without its password."""
        return self._place.name

    @property
    def failure(self) -> Exception | None:
        """Why nothing more is taken, of some route at least, or ``None``."""
        return self._commits.failure

    @property
    def standby(self) -> Standby:
        """Whether commits are confirmed by a standby, as far as is known."""
        return Standby.NOT_WANTED if self._watch is None else self._watch.standby

    @property
    def depth(self) -> int:
        """Changes that wait for the commit under way."""
        return self._commits.depth

    @property
    def measures(self) -> LedgerMeasures:
        """How long commits take and how many changes share one, since it was opened."""
        return self._commits.measures

    # Writing.

    async def _apply(self, changes: Any) -> Any:
        if self._writer is None:
            raise LedgerFailed(f"{self._place.name}: was opened for reading")
        return await self._writer.apply(changes)

    async def _alone(self, work: Callable[[Writer], Awaitable[T]]) -> T:
        """Run ``work`` on the writing connection between two groups."""
        writer = self._writer
        if writer is None:
            raise LedgerError(f"{self._place.name}: was opened for reading; nothing was written")
        return await self._commits.call(lambda: work(writer))

    async def acquire(
        self, route: str, holder: str, at_us: int, *, venue: str = "", lease_us: int | None = None
    ) -> Lease:
        """See :meth:`onefill.ports.ledger.Ledger.acquire`. Leases are judged by the database's clock, not by ``at_us``.

        A route that took nothing more after a failure goes on under the new epoch.
        """

        async def work(writer: Writer) -> Lease:
            lease, head = await writer.together(
                lambda db: postgres_lease.take(db, route, holder, at_us, venue, lease_us)
            )
            writer.took(route, head)
            self._commits.resume(route)
            return lease

        return await self._alone(work)

    async def renew(self, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.renew`. The lease ends by the database's clock; ``at_us`` is not used."""
        await self._alone(lambda writer: writer.single(lambda db: postgres_lease.renew(db, route, epoch, lease_us)))

    def commit(self, change: Change) -> "asyncio.Future[Outcome]":
        """See :meth:`onefill.ports.ledger.Ledger.commit`."""
        return self._commits.commit(change)

    async def move_cursor(self, route: str, epoch: int, move: CursorMove) -> bool:
        """See :meth:`onefill.ports.ledger.Ledger.move_cursor`."""
        return await self._alone(lambda writer: writer.move(route, epoch, cursor=move))

    async def move_subscription(self, route: str, epoch: int, move: SubscriptionMove) -> bool:
        """See :meth:`onefill.ports.ledger.Ledger.move_subscription`."""
        return await self._alone(lambda writer: writer.move(route, epoch, subscription=move))

    async def suspect(self, route: str, epoch: int, holder: str, at_us: int, reason: str) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.suspect`."""
        given = (route, epoch, holder, at_us, reason)
        await self._alone(lambda writer: writer.single(lambda db: postgres_lease.suspect(db, *given)))

    async def ask_hand_over(self, route: str, asked: HandOverAsked) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.ask_hand_over`."""
        await self._alone(lambda writer: writer.single(lambda db: postgres_lease.ask_hand_over(db, route, asked)))

    async def save_positions(self, route: str, positions: list[Position], through: int) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.save_positions`."""
        listed = rows.json_text([text.stored_all(rows.position_row(position)) for position in positions])
        given = (_POSITIONS, text.stored(route), through, listed)
        await self._alone(lambda writer: writer.single(lambda db: db.execute(*given)))

    async def save_checkpoint(self, stored: StoredCheckpoint) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.save_checkpoint`."""
        one, name = stored.checkpoint, text.stored(stored.checkpoint.route)
        given = (one.size, one.root, one.head, one.at_us, one.key_id, one.signature, stored.frontier)

        async def work(db: Any) -> None:
            if await db.fetchval("SELECT id FROM route WHERE name = $1", name) is None:
                raise LedgerError(f"route {one.route!r}: is not in this ledger; no checkpoint of it was kept")
            await db.execute(_CHECKPOINT, name, *given)

        await self._alone(lambda writer: writer.single(work))

    # Reading.

    def _read(self) -> Reader:
        if self._commits.closed is not None:
            raise self._commits.closed
        return self._reader

    async def cursor(self, route: str, stream: str) -> int:
        """See :meth:`onefill.ports.ledger.Ledger.cursor`."""
        return await self._read().cursor(route, stream)

    async def by_key(self, account: str, strategy: str, key: str) -> Loaded | None:
        """See :meth:`onefill.ports.ledger.Ledger.by_key`."""
        return await self._read().by_digest(key_digest(account, strategy, key))

    async def by_client_order_id(self, route: str, client_order_id: str) -> Loaded | None:
        """See :meth:`onefill.ports.ledger.Ledger.by_client_order_id`."""
        return await self._read().by_client_order_id(route, client_order_id)

    async def operation(self, account: str, strategy: str, key: str, operation_key: str) -> Operation | None:
        """See :meth:`onefill.ports.ledger.Ledger.operation`."""
        return await self._read().operation(key_digest(account, strategy, key), operation_key)

    async def open_orders(self, route: str) -> list[Loaded]:
        """See :meth:`onefill.ports.ledger.Ledger.open_orders`."""
        return await self._read().open_orders(route)

    async def orders(self, after: int, limit: int) -> list[Order]:
        """See :meth:`onefill.ports.ledger.Ledger.orders`."""
        return await self._read().orders(after, limit)

    async def last_orders(self, limit: int) -> list[Order]:
        """Return the ``limit`` orders recorded last, oldest first."""
        return await self._read().last_orders(limit)

    async def matching_keys(self, key: str) -> list[Loaded]:
        """Return the orders with this key, whatever their account and strategy: for people, who may not know those."""
        return await self._read().load("key = $1", key)

    async def history(self, intent_id: int) -> list[JournalEntry]:
        """Return every journal entry of one order."""
        return await self._read().history(intent_id)

    async def executions(self, route: str, after: int, limit: int) -> list[tuple[int, Execution]]:
        """See :meth:`onefill.ports.ledger.Ledger.executions`."""
        return await self._read().executions(route, after, limit)

    async def executions_of(self, intent_id: int) -> list[Execution]:
        """See :meth:`onefill.ports.ledger.Ledger.executions_of`."""
        return await self._read().executions_of(intent_id)

    async def executions_named(self, route: str, names: Collection[tuple[str, str]]) -> list[tuple[int, Execution]]:
        """See :meth:`onefill.ports.ledger.Ledger.executions_named`."""
        return await self._read().executions_named(route, names)

    async def quarantined(self, route: str) -> list[tuple[int, Execution]]:
        """See :meth:`onefill.ports.ledger.Ledger.quarantined`."""
        return await self._read().quarantined(route)

    async def executions_of_position(
        self, account: str, strategy: str, venue: str, instrument: str, through: int
    ) -> list[Execution]:
        """See :meth:`onefill.ports.ledger.Ledger.executions_of_position`."""
        return await self._read().executions_of_position(account, strategy, venue, instrument, through)

    async def amended_positions(self, route: str) -> set[tuple[str, str, str, str]]:
        """See :meth:`onefill.ports.ledger.Ledger.amended_positions`."""
        return await self._read().amended_positions(route)

    async def incidents(self, *, open_only: bool = True) -> list[Incident]:
        """See :meth:`onefill.ports.ledger.Ledger.incidents`."""
        return await self._read().incidents(open_only=open_only)

    async def last_incident(self, route: str) -> int:
        """See :meth:`onefill.ports.ledger.Ledger.last_incident`."""
        return await self._read().last_incident(route)

    async def control(self, route: str) -> Control | None:
        """See :meth:`onefill.ports.ledger.Ledger.control`."""
        return await self._read().control(route)

    async def opening_positions(self, route: str) -> list[OpeningPosition]:
        """See :meth:`onefill.ports.ledger.Ledger.opening_positions`."""
        return await self._read().opening_positions(route)

    async def positions(self, route: str) -> tuple[list[Position], int]:
        """See :meth:`onefill.ports.ledger.Ledger.positions`."""
        return await self._read().positions(route)

    async def sums(self) -> list[RouteSums]:
        """Return sums over all that the ledger holds, by route: for people. Reads whole tables."""
        return await postgres_figures.sums(self._read())

    async def outbox(self, route: str, after: int, limit: int) -> list[OutboxRow]:
        """See :meth:`onefill.ports.ledger.Ledger.outbox`."""
        return await self._read().outbox(route, after, limit)

    async def outbox_of(self, route: str, intent_id: int, after: int, limit: int) -> list[OutboxRow]:
        """See :meth:`onefill.ports.ledger.Ledger.outbox_of`."""
        return await self._read().outbox(route, after, limit, intent_id)

    async def subscriptions(self, route: str) -> list[Subscription]:
        """See :meth:`onefill.ports.ledger.Ledger.subscriptions`."""
        return await self._read().subscriptions(route)

    async def inbox_event(self, route: str, source: str, event_id: str) -> InboxEvent | None:
        """See :meth:`onefill.ports.ledger.Ledger.inbox_event`."""
        return await self._read().inbox_event(route, source, event_id)

    async def step(self, route: str, key: str, step: str) -> StepRecord | None:
        """See :meth:`onefill.ports.ledger.Ledger.step`."""
        return await self._read().step(route, key, step)

    async def steps(self, route: str, key: str) -> list[StepRecord]:
        """See :meth:`onefill.ports.ledger.Ledger.steps`."""
        return await self._read().steps(route, key)

    async def suspicions(self, route: str, after: int) -> list[Suspicion]:
        """See :meth:`onefill.ports.ledger.Ledger.suspicions`."""
        return await self._read().suspicions(route, after)

    async def journal(self, route: str, after: int, limit: int) -> list[JournalEntry]:
        """See :meth:`onefill.ports.ledger.Ledger.journal`."""
        found = await self._read().journal_rows(route, after, limit)
        return [rows.to_entry(route, list(row)) for row in found]

    async def journal_rows(self, route: str, after: int, limit: int) -> list[JournalRow]:
        """See :meth:`onefill.ports.ledger.Ledger.journal_rows`."""
        return await self._read().journal_rows(route, after, limit)

    async def journal_hashes(self, route: str, after: int, limit: int) -> list[bytes]:
        """See :meth:`onefill.ports.ledger.Ledger.journal_hashes`."""
        return await self._read().journal_hashes(route, after, limit)

    async def execution_rows(self, route: str, after: int, limit: int) -> list[ExecutionRow]:
        """See :meth:`onefill.ports.ledger.Ledger.execution_rows`."""
        return await self._read().execution_rows(route, after, limit)

    async def checkpoints(self, route: str, after: int, limit: int) -> list[StoredCheckpoint]:
        """See :meth:`onefill.ports.ledger.Ledger.checkpoints`."""
        return await self._read().checkpoints(route, after, limit)

    async def newest_checkpoint(self, route: str) -> StoredCheckpoint | None:
        """See :meth:`onefill.ports.ledger.Ledger.newest_checkpoint`."""
        return await self._read().newest_checkpoint(route)

    async def bodies(self, orders: list[int]) -> dict[int, bytes]:
        """Return what was wanted of these orders, as their rows have it."""
        return await self._read().bodies(orders)

    async def fingerprint(self) -> str:
        """Return a digest that stands for this ledger, wherever it is and whatever it is called."""
        found = await self._read().fetch("SELECT seed FROM ledger")
        return hashlib.sha256(b"onefill ledger " + found[0][0]).hexdigest()

    async def archives(self, route: str) -> list[Archived]:
        """Return what was archived of a route, by day."""
        return await self._read().archives(route)

    async def archives_of(self, intent_id: int) -> list[Archived]:
        """Return where archived entries of an order may be, by day."""
        return await self._read().archives_of(intent_id)

    async def routes(self) -> list[RouteInfo]:
        """See :meth:`onefill.ports.ledger.Ledger.routes`."""
        return await self._read().routes()

    async def close(self) -> None:
        """Finish what was handed in, then close the connections."""
        await self._days.close()
        await self._commits.close()
        if self._watch is not None:
            await self._watch.close()
        if self._session is not None:
            await self._session.close()
        self._pool.terminate()
