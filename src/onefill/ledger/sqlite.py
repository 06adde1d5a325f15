"""The default ledger: one SQLite file, one writer, group commit."""

import asyncio
from collections.abc import Callable, Collection
from typing import Self, TypeVar

import apsw

from onefill.core.audit import GENESIS, JournalEntry, JournalRow, StoredCheckpoint, entry_hash
from onefill.core.audit_executions import ExecutionRow
from onefill.core.control import Control
from onefill.core.errors import Fenced, LeaseHeld, LedgerError, LedgerFailed, OtherVenue
from onefill.core.events import RouteAcquired
from onefill.core.identity import key_digest, session_tag
from onefill.core.incident import Incident
from onefill.core.lease import Held, may_take
from onefill.core.metrics import LedgerMeasures
from onefill.core.order import Order
from onefill.core.position import Execution, Position
from onefill.core.spread import HandOverAsked
from onefill.ledger import sqlite_checkpoints, sqlite_figures
from onefill.ledger import sqlite_rows as rows
from onefill.ledger.group_commit import GroupCommit
from onefill.ledger.sqlite_aside import Aside
from onefill.ledger.sqlite_file import LedgerFile, one, open_file, open_read_only, transaction
from onefill.ledger.sqlite_read import Reader
from onefill.ledger.sqlite_write import Writer, failed, move_cursor, move_subscription
from onefill.ports.ledger import (
    INTENT_NUMBER_BITS,
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


class SqliteLedger:
    """A ledger in one SQLite file. Open it with :meth:`open` or :meth:`open_read_only` on a running event loop."""

    def __init__(self, file: LedgerFile, *, inline: bool = False, aside: Aside | None = None) -> None:
        self._file = file
        self._aside = aside
        """Reads for subscribers; ``None``: the one connection does, as nothing is written or time is virtual."""
        self._reader = Reader(file.connection)
        self._writer = Writer(file.connection, file.path)
        self._commits = GroupCommit(self._writer.apply, inline=inline)

    @classmethod
    async def open(
        cls, path: str, *, seed: bytes, holder: str, at_us: int, vfs: str | None = None, inline: bool = False
    ) -> Self:
        """Open for writing; make the file if there is none.

        ``seed``: 16 random bytes, used when the file is made. ``holder`` is shown to whoever finds the file in use.
        Raises NotALedger, LedgerTooNew, LedgerInUse, LedgerError or LedgerFailed.
        """

        def work() -> LedgerFile:
            return open_file(path, seed=seed, holder=holder, at_us=at_us, vfs=vfs)

        file = work() if inline else await asyncio.get_running_loop().run_in_executor(None, work)
        return cls(file, inline=inline, aside=None if inline else Aside(path, vfs))

    @classmethod
    async def open_read_only(cls, path: str) -> "SqliteLedger":
        """Open an existing ledger for reading, also beside a running writer."""
        return cls(open_read_only(path))

    @property
    def failure(self) -> Exception | None:
        """Why nothing more is taken, or ``None``."""
        return self._commits.failure

    @property
    def depth(self) -> int:
        """Changes that wait for the commit under way."""
        return self._commits.depth

    @property
    def measures(self) -> LedgerMeasures:
        """How long commits take and how many changes share one, since it was opened."""
        return self._commits.measures

    async def acquire(
        self, route: str, holder: str, at_us: int, *, venue: str = "", lease_us: int | None = None
    ) -> Lease:
        """See :meth:`onefill.ports.ledger.Ledger.acquire`."""

        def work() -> Lease:
            with transaction(self._file.connection):
                return self._take(route, holder, at_us, venue, lease_us)

        return await self._guarded(work)

    async def renew(self, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.renew`."""
        # Given back, it is not lent for a time: the next owner's clock may be behind this one.
        until_us = at_us + lease_us if lease_us > 0 else None

        def work() -> None:
            db = self._file.connection
            with transaction(db):
                db.execute("UPDATE route SET lease_until_us = ? WHERE name = ? AND epoch = ?", (until_us, route, epoch))
                if db.changes() != 1:
                    row = db.execute("SELECT epoch FROM route WHERE name = ?", (route,)).fetchone()
                    raise Fenced(route, epoch, None if row is None else row[0])

        await self._guarded(work)

    def _take(self, route: str, holder: str, at_us: int, venue: str, lease_us: int | None) -> Lease:
        db = self._file.connection
        found = db.execute(
            "SELECT id, epoch, last_number, last_sequence, head, venue, holder, lease_until_us FROM route WHERE name = ?",
            (route,),
        ).fetchone()
        if found is None:
            next_id = one(db, "SELECT coalesce(max(id), 0) + 1 FROM route")[0]
            found = (next_id, 0, 0, 0, GENESIS, "", "", None)
            db.execute(
                "INSERT INTO route (id, name, epoch, holder, acquired_at_us, head) VALUES (?, ?, 1, ?, ?, ?)",
                (next_id, route, holder, at_us, GENESIS),
            )
        route_id, epoch, last_number, sequence, head, known_venue, known_holder, until_us = found
        held = Held(known_holder, epoch, until_us)
        if held.until_us is not None and not may_take(held, at_us):
            raise LeaseHeld(route, held.holder, (held.until_us - at_us) / 1_000_000)
        if venue and known_venue and venue != known_venue:
            raise OtherVenue(route)
        epoch, sequence = epoch + 1, sequence + 1
        payload = rows.json_text([RouteAcquired(holder)])
        made = entry_hash(head, route, sequence, None, "route_acquired", payload, at_us, epoch)
        db.execute(
            "INSERT INTO journal (id, kind, payload, at_us, epoch, previous_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((route_id << INTENT_NUMBER_BITS) | sequence, "route_acquired", payload, at_us, epoch, head, made),
        )
        db.execute(
            "UPDATE route SET epoch = ?, holder = ?, acquired_at_us = ?, last_sequence = ?, head = ?, venue = ?, "
            "lease_until_us = ? WHERE id = ?",
            (
                *(epoch, holder, at_us, sequence, made, venue or known_venue),
                *(None if lease_us is None else at_us + lease_us, route_id),
            ),
        )
        db.execute("DELETE FROM hand_over WHERE route = ?", (route_id,))
        seed = one(db, "SELECT seed FROM ledger")[0]
        return Lease(
            route=route,
            route_id=route_id,
            epoch=epoch,
            session=session_tag(seed, route, epoch),
            last_number=last_number,
        )

    def commit(self, change: Change) -> "asyncio.Future[Outcome]":
        """See :meth:`onefill.ports.ledger.Ledger.commit`. Returns a future, which costs less than a coroutine."""
        return self._commits.commit(change)

    async def move_cursor(self, route: str, epoch: int, move: CursorMove) -> bool:
        """See :meth:`onefill.ports.ledger.Ledger.move_cursor`."""

        def work() -> bool:
            db = self._file.connection
            with transaction(db):
                return move_cursor(db, self._fenced(route, epoch), move)

        return await self._guarded(work)

    async def move_subscription(self, route: str, epoch: int, move: SubscriptionMove) -> bool:
        """See :meth:`onefill.ports.ledger.Ledger.move_subscription`."""

        def work() -> bool:
            db = self._file.connection
            with transaction(db):
                moved = move_subscription(db, self._fenced(route, epoch), move)
                if not moved:
                    db.execute("ROLLBACK; BEGIN IMMEDIATE")
            return moved

        return await self._guarded(work)

    def _fenced(self, route: str, epoch: int) -> int:
        """Return the route's number, if this epoch still owns it. Part of the caller's transaction."""
        row = self._file.connection.execute("SELECT id, epoch FROM route WHERE name = ?", (route,)).fetchone()
        if row is None or row[1] != epoch:
            raise Fenced(route, epoch, None if row is None else row[1])
        return int(row[0])

    async def suspect(self, route: str, epoch: int, holder: str, at_us: int, reason: str) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.suspect`."""

        def work() -> None:
            db = self._file.connection
            with transaction(db):
                db.execute(
                    "INSERT INTO suspicion (route, number, epoch, holder, at_us, reason) "
                    "SELECT id, 1 + coalesce((SELECT max(number) FROM suspicion WHERE route = route.id), 0), ?, ?, ?, ? "
                    "FROM route WHERE name = ?",
                    (epoch, holder, at_us, reason, route),
                )

        await self._guarded(work)

    async def ask_hand_over(self, route: str, asked: HandOverAsked) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.ask_hand_over`."""

        def work() -> None:
            with transaction(self._file.connection):
                self._file.connection.execute(
                    "INSERT OR REPLACE INTO hand_over (route, node, asked_by, at_us) "
                    "SELECT id, ?, ?, ? FROM route WHERE name = ?",
                    (asked.to, asked.by, asked.at_us, route),
                )

        await self._guarded(work)

    async def save_positions(self, route: str, positions: list[Position], through: int) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.save_positions`."""

        def work() -> None:
            db = self._file.connection
            values = ", ".join(f"value ->> {n}" for n in range(11))
            text = rows.json_text([rows.position_row(position) for position in positions])
            with transaction(db):
                db.execute(
                    "UPDATE route SET folded_through = ? WHERE name = ? AND folded_through <= ?",
                    (through, route, through),
                )
                if not db.changes():
                    return  # a later owner has stored more: rows of two ages would be folded on twice
                db.execute(
                    f"INSERT OR REPLACE INTO position ({rows.POSITION_COLUMNS}) SELECT {values} FROM json_each(?)",
                    (text,),
                )

        await self._guarded(work)

    async def _guarded(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except apsw.Error as error:
                raise failed(self._file.path, error) from error

        return await self._commits.call(guarded)

    async def _read(self, work: Callable[[], T]) -> T:
        return await self._commits.call(lambda: self._readable(work))

    async def _read_aside(self, work: Callable[[Reader], T]) -> T:
        """Read for a subscriber: on a thread of its own, where the writer has one."""
        if self._aside is None:
            return await self._read(lambda: work(self._reader))
        return await self._aside.read(lambda reader: self._readable(lambda: work(reader)))

    def _readable(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except LedgerError:
            raise
        except Exception as error:  # a damaged row may break anything that reads it
            raise LedgerError(
                f"{self._file.path}: cannot be read: {error}. Keep the file, and check it with `onefill audit verify`"
            ) from error

    async def cursor(self, route: str, stream: str) -> int:
        """See :meth:`onefill.ports.ledger.Ledger.cursor`."""
        return await self._read(lambda: self._reader.cursor(route, stream))

    async def by_key(self, account: str, strategy: str, key: str) -> Loaded | None:
        """See :meth:`onefill.ports.ledger.Ledger.by_key`."""
        return await self._read(lambda: self._reader.by_digest(key_digest(account, strategy, key)))

    async def by_client_order_id(self, route: str, client_order_id: str) -> Loaded | None:
        """See :meth:`onefill.ports.ledger.Ledger.by_client_order_id`."""
        return await self._read(lambda: self._reader.by_client_order_id(route, client_order_id))

    async def operation(self, account: str, strategy: str, key: str, operation_key: str) -> Operation | None:
        """See :meth:`onefill.ports.ledger.Ledger.operation`."""
        return await self._read(lambda: self._reader.operation(key_digest(account, strategy, key), operation_key))

    async def open_orders(self, route: str) -> list[Loaded]:
        """See :meth:`onefill.ports.ledger.Ledger.open_orders`."""
        return await self._read(lambda: self._reader.open_orders(route))

    async def orders(self, after: int, limit: int) -> list[Order]:
        """See :meth:`onefill.ports.ledger.Ledger.orders`."""
        return await self._read(lambda: self._reader.orders(after, limit))

    async def last_orders(self, limit: int) -> list[Order]:
        """Return the ``limit`` orders recorded last, oldest first."""
        return await self._read(lambda: self._reader.last_orders(limit))

    async def matching_keys(self, key: str) -> list[Loaded]:
        """Return the orders with this key, whatever their account and strategy: for people, who may not know those."""
        return await self._read(lambda: self._reader.load("key = ?", (key,)))

    async def history(self, intent_id: int) -> list[JournalEntry]:
        """Return every journal entry of one order."""
        return await self._read(lambda: self._reader.history(intent_id))

    async def executions(self, route: str, after: int, limit: int) -> list[tuple[int, Execution]]:
        """See :meth:`onefill.ports.ledger.Ledger.executions`."""
        return await self._read(lambda: self._reader.executions(route, after, limit))

    async def executions_of(self, intent_id: int) -> list[Execution]:
        """See :meth:`onefill.ports.ledger.Ledger.executions_of`."""
        return await self._read(lambda: self._reader.executions_of(intent_id))

    async def executions_named(self, route: str, names: Collection[tuple[str, str]]) -> list[tuple[int, Execution]]:
        """See :meth:`onefill.ports.ledger.Ledger.executions_named`."""
        return await self._read(lambda: self._reader.executions_named(route, names))

    async def quarantined(self, route: str) -> list[tuple[int, Execution]]:
        """See :meth:`onefill.ports.ledger.Ledger.quarantined`."""
        return await self._read(lambda: self._reader.quarantined(route))

    async def executions_of_position(
        self, account: str, strategy: str, venue: str, instrument: str, through: int
    ) -> list[Execution]:
        """See :meth:`onefill.ports.ledger.Ledger.executions_of_position`."""
        return await self._read(
            lambda: self._reader.executions_of_position(account, strategy, venue, instrument, through)
        )

    async def amended_positions(self, route: str) -> set[tuple[str, str, str, str]]:
        """See :meth:`onefill.ports.ledger.Ledger.amended_positions`."""
        return await self._read(lambda: self._reader.amended_positions(route))

    async def incidents(self, *, open_only: bool = True) -> list[Incident]:
        """See :meth:`onefill.ports.ledger.Ledger.incidents`."""
        return await self._read(lambda: self._reader.incidents(open_only=open_only))

    async def last_incident(self, route: str) -> int:
        """See :meth:`onefill.ports.ledger.Ledger.last_incident`."""
        return await self._read(lambda: self._reader.last_incident(route))

    async def control(self, route: str) -> Control | None:
        """See :meth:`onefill.ports.ledger.Ledger.control`."""
        return await self._read(lambda: self._reader.control(route))

    async def opening_positions(self, route: str) -> list[OpeningPosition]:
        """See :meth:`onefill.ports.ledger.Ledger.opening_positions`."""
        return await self._read(lambda: self._reader.opening_positions(route))

    async def positions(self, route: str) -> tuple[list[Position], int]:
        """See :meth:`onefill.ports.ledger.Ledger.positions`."""
        return await self._read(lambda: self._reader.positions(route))

    async def journal(self, route: str, after: int, limit: int) -> list[JournalEntry]:
        """See :meth:`onefill.ports.ledger.Ledger.journal`."""
        return await self._read(lambda: self._reader.journal(route, after, limit))

    async def sums(self) -> list[RouteSums]:
        """Return sums over all that the ledger holds, by route: for people. Reads whole tables."""
        return await self._read(lambda: sqlite_figures.sums(self._file.connection))

    async def outbox(self, route: str, after: int, limit: int) -> list[OutboxRow]:
        """See :meth:`onefill.ports.ledger.Ledger.outbox`."""
        return await self._read_aside(lambda reader: reader.outbox(route, after, limit))

    async def outbox_of(self, route: str, intent_id: int, after: int, limit: int) -> list[OutboxRow]:
        """See :meth:`onefill.ports.ledger.Ledger.outbox_of`."""
        return await self._read_aside(lambda reader: reader.outbox(route, after, limit, intent_id))

    async def subscriptions(self, route: str) -> list[Subscription]:
        """See :meth:`onefill.ports.ledger.Ledger.subscriptions`."""
        return await self._read(lambda: self._reader.subscriptions(route))

    async def inbox_event(self, route: str, source: str, event_id: str) -> InboxEvent | None:
        """See :meth:`onefill.ports.ledger.Ledger.inbox_event`."""
        return await self._read(lambda: self._reader.inbox_event(route, source, event_id))

    async def step(self, route: str, key: str, step: str) -> StepRecord | None:
        """See :meth:`onefill.ports.ledger.Ledger.step`."""
        return await self._read(lambda: self._reader.step(route, key, step))

    async def steps(self, route: str, key: str) -> list[StepRecord]:
        """See :meth:`onefill.ports.ledger.Ledger.steps`."""
        return await self._read(lambda: self._reader.steps(route, key))

    async def suspicions(self, route: str, after: int) -> list[Suspicion]:
        """See :meth:`onefill.ports.ledger.Ledger.suspicions`."""
        return await self._read(lambda: self._reader.suspicions(route, after))

    async def routes(self) -> list[RouteInfo]:
        """See :meth:`onefill.ports.ledger.Ledger.routes`."""
        return await self._read(self._reader.routes)

    async def journal_rows(self, route: str, after: int, limit: int) -> list[JournalRow]:
        """See :meth:`onefill.ports.ledger.Ledger.journal_rows`."""
        db = self._file.connection
        return await self._read(lambda: sqlite_checkpoints.journal_rows(db, route, after, limit))

    async def journal_hashes(self, route: str, after: int, limit: int) -> list[bytes]:
        """See :meth:`onefill.ports.ledger.Ledger.journal_hashes`."""
        db = self._file.connection
        return await self._read(lambda: sqlite_checkpoints.journal_hashes(db, route, after, limit))

    async def execution_rows(self, route: str, after: int, limit: int) -> list[ExecutionRow]:
        """See :meth:`onefill.ports.ledger.Ledger.execution_rows`."""
        db = self._file.connection
        return await self._read(lambda: sqlite_checkpoints.execution_rows(db, route, after, limit))

    async def save_checkpoint(self, stored: StoredCheckpoint) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.save_checkpoint`."""

        def work() -> None:
            with transaction(self._file.connection):
                sqlite_checkpoints.save(self._file.connection, stored)

        await self._guarded(work)

    async def checkpoints(self, route: str, after: int, limit: int) -> list[StoredCheckpoint]:
        """See :meth:`onefill.ports.ledger.Ledger.checkpoints`."""
        db = self._file.connection
        return await self._read(lambda: sqlite_checkpoints.read(db, route, after, limit))

    async def newest_checkpoint(self, route: str) -> StoredCheckpoint | None:
        """See :meth:`onefill.ports.ledger.Ledger.newest_checkpoint`."""
        db = self._file.connection
        return await self._read(lambda: sqlite_checkpoints.newest(db, route))

    async def close(self) -> None:
        """Finish what was handed in, then close the file and release its lock."""
        try:
            await self._commits.close()
        except LedgerFailed:
            pass
        finally:
            if self._aside is not None:
                await self._aside.close()
            self._file.close()
