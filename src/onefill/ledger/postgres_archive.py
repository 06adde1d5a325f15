"""Archiving days of a PostgreSQL ledger's journal: what is there to archive, what stands against it, and the one transaction.

What must hold for a day to go is asked before anything is written, and once more in the transaction that drops it: under the
locks by which the day's routes are written, and with nobody else at the journal.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

import msgspec

from onefill.core.audit import Archived
from onefill.core.errors import CannotArchive, LedgerError, LedgerInUse
from onefill.ledger import postgres_text as text
from onefill.ledger.postgres_connect import connect, driver, shut, told, troubles
from onefill.ledger.postgres_days import ONE_AT_A_TIME, make_days
from onefill.ledger.postgres_schema import check_version
from onefill.ledger.postgres_settings import PostgresPlace

T = TypeVar("T")
_TRIES = 40
_LOCK_MS = 200
"""How long the transaction waits for a lock, and so lets orders wait behind it, before it tries again later."""
_PAUSE_S = 0.25
_HOLDS_MS = 5000
"""How long it may hold the journal in one statement, or stand still with it."""
_PATIENCE_S = 3600.0
_HELD = "SELECT pg_try_advisory_lock(hashtext('onefill archive ' || current_schema()))"
_PARTS = (  # from where a route's entries of a day begin to where its next day begins, or its journal ends
    "SELECT route.id, route.name, first_sequence, coalesce((SELECT min(later.first_sequence) - 1 FROM journal_day AS later "
    "WHERE later.route = journal_day.route AND later.day > journal_day.day), last_sequence) "
    "FROM journal_day JOIN route ON route.id = journal_day.route WHERE journal_day.day = $1 ORDER BY route.id"
)
_SUBSCRIBER = (
    "SELECT subscriber, position FROM subscription WHERE route = $1 AND position < $2 ORDER BY position LIMIT 1"
)
_LANE = (
    "SELECT subscriber, intent_id, incident FROM subscription_stopped LEFT JOIN intent ON intent.id = intent_id "
    "WHERE subscription_stopped.route = $1 AND position < $2 AND (intent_id = 0 OR $3 BETWEEN first_day AND last_day) LIMIT 1"
)
_OPEN = (
    "SELECT key, account, strategy, (SELECT count(*) FROM intent AS other WHERE other.route = $1 AND other.closed = 0 "
    "AND $2 BETWEEN other.first_day AND other.last_day) FROM intent WHERE route = $1 AND closed = 0 "
    "AND $2 BETWEEN first_day AND last_day ORDER BY id LIMIT 1"
)
_INSERT = (
    "INSERT INTO archive (route, day, first_sequence, last_sequence, head, epoch, last_execution, frontier, file, sha256, "
    "archived_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now_us())"
)


class Part(msgspec.Struct, frozen=True):
    """A route's entries of a day."""

    route_id: int
    route: str
    first: int
    last: int


def date_of(day: int) -> str:
    """Return a day as people write it."""
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()


class Archiver:
    """A connection that archives. One at a time has a ledger."""

    def __init__(self, place: PostgresPlace, connection: Any) -> None:
        self._place = place
        self._db = connection

    @classmethod
    async def open(cls, place: PostgresPlace) -> Self:
        """Connect, as a role that owns the tables. Raises LedgerInUse if somebody archives already, or LedgerError."""
        # What it reads may take long. What it holds while it changes something is bounded by itself.
        patient = msgspec.structs.replace(place.settings, commit_timeout_s=_PATIENCE_S)
        connection = await connect(msgspec.structs.replace(place, settings=patient), "archive", writer=False)
        try:
            await check_version(connection, place)
            await connection.execute(f"SET idle_in_transaction_session_timeout = {_HOLDS_MS}")
            if not await connection.fetchval(_HELD):
                raise LedgerInUse(f"{place.name}: somebody else is archiving it now. Nothing was changed")
            return cls(place, connection)
        except troubles() as error:
            await shut(connection)
            raise _trouble(place, error) from None
        except BaseException:
            await shut(connection)
            raise

    async def close(self) -> None:
        """Let go of the ledger."""
        await shut(self._db)

    async def prepare(self) -> int:
        """Give every entry its day's partition, make those of the days to come, and return which day it is there.

        Raises LedgerError if others hold the journal for too long.
        """

        async def work() -> int:
            await make_days(self._db, sort=True)
            return int(await self._db.fetchval("SELECT floor(now_us() / 86400000000.0)::integer"))

        return await self._patiently(work)

    async def days(self, before: int) -> list[int]:
        """Return the days before ``before`` that have entries, oldest first."""
        try:
            found = await self._db.fetch("SELECT DISTINCT day FROM journal_day WHERE day < $1 ORDER BY day", before)
        except troubles() as error:
            raise _trouble(self._place, error) from None
        return [int(row[0]) for row in found]

    async def parts(self, day: int, *, open_orders: bool) -> list[Part]:
        """Return the routes with entries of a day. ``open_orders``: whether entries of orders that are open may go.

        Raises CannotArchive if the day is still needed, and LedgerError if it holds other entries than its routes know of.
        """
        try:
            parts = await self._needed_by_none(day, open_orders=open_orders)
            there = int(await self._db.fetchval("SELECT count(*) FROM journal WHERE day = $1", day))
        except troubles() as error:
            raise _trouble(self._place, error) from None
        expected = sum(part.last - part.first + 1 for part in parts)
        if there != expected:
            raise LedgerError(
                f"{date_of(day)}: the journal holds {there} entries of this day, and its routes know of {expected}. Nothing "
                "was archived; see what `onefill audit verify` says"
            )
        return parts

    async def drop(self, day: int, made: Sequence[tuple[Part, Archived]], *, open_orders: bool) -> None:
        """Note what was archived of a day and drop its partition: both or, where this raises, nothing.

        Raises CannotArchive if the day is needed by now, LedgerError if others hold the journal for too long, or if it
        is not known what became of it: the next run finds out.
        """

        async def work() -> None:
            async with self._db.transaction():
                await self._drop(day, made, open_orders=open_orders)

        await self._patiently(work)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``, which waits for locks for a moment only, until it gets them."""
        for left in reversed(range(_TRIES)):
            try:
                return await work()
            except (driver().exceptions.LockNotAvailableError, driver().exceptions.DeadlockDetectedError):
                if not left:
                    raise LedgerError(
                        f"{self._place.name}: others read or write the journal without a pause (pg_stat_activity shows who; a "
                        "backup does that). Nothing more was archived; try again later"
                    ) from None
            except troubles() as error:
                raise _trouble(self._place, error) from None
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError  # never: the last round returns or raises

    async def _drop(self, day: int, made: Sequence[tuple[Part, Archived]], *, open_orders: bool) -> None:
        db = self._db
        await db.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
        # Also for the commit: a standby that does not confirm it must not keep the orders waiting.
        await db.execute(f"SET LOCAL statement_timeout = {_HOLDS_MS}")
        await db.execute(ONE_AT_A_TIME)
        # In the order in which a gateway takes them: routes by number, then the journal.
        ids = [part.route_id for part, _ in made]
        await db.execute("SELECT FROM route WHERE id = ANY ($1) ORDER BY id FOR UPDATE", ids)
        await db.execute("LOCK TABLE ONLY journal IN ACCESS EXCLUSIVE MODE")
        now = await self._needed_by_none(day, open_orders=open_orders)
        if now != [part for part, _ in made]:
            raise CannotArchive(
                f"{date_of(day)}: entries of this day came while it was archived; some gateway's clock is behind. The day "
                "stays as it is; archive it when no gateway writes it any more"
            )
        for part, one in made:
            await db.execute(
                _INSERT,
                *(part.route_id, day, one.first, one.last, one.head, one.epoch, one.executions, one.frontier),
                *(one.file, one.sha256),
            )
        await db.execute("DELETE FROM journal_day WHERE day = $1", day)
        await db.execute("SELECT journal_drop_day($1)", day)

    async def _needed_by_none(self, day: int, *, open_orders: bool) -> list[Part]:
        """Return the routes with entries of a day. Raises CannotArchive if anybody needs them."""
        parts = [Part(row[0], text.shown(row[1]), row[2], row[3]) for row in await self._db.fetch(_PARTS, day)]
        for part in parts:
            where = f"{date_of(day)}, route {part.route!r}"
            if behind := await self._db.fetchrow(_SUBSCRIBER, part.route_id, part.last):
                raise CannotArchive(
                    f"{where}: subscriber {text.shown(behind[0])!r} was told through entry {behind[1]}, and the day ends with "
                    f"entry {part.last}. The day stays; let the subscriber catch up, or move it on"
                )
            if lane := await self._db.fetchrow(_LANE, part.route_id, part.last, day):
                whose = f"order {lane[1]}" if lane[1] else "the route itself"
                raise CannotArchive(
                    f"{where}: subscriber {text.shown(lane[0])!r} is not told the events of {whose} until incident {lane[2]} "
                    "is closed, and needs this day for them. The day stays; resolve the incident first"
                )
            if not open_orders and (order := await self._db.fetchrow(_OPEN, part.route_id, day)):
                others = f" and {order[3] - 1} more are" if order[3] > 1 else " is"
                raise CannotArchive(
                    f"{where}: order {text.shown(order[0])!r} (account {text.shown(order[1])}, strategy {text.shown(order[2])})"
                    f"{others} still open, and the day holds a part of its history. The day stays; wait for its end, or "
                    "archive with --open-orders"
                )
        return parts


def _trouble(place: PostgresPlace, error: BaseException) -> LedgerError:
    if str(getattr(error, "sqlstate", "") or "") == "42501":
        return LedgerError(
            f"{place.name}: this role may not archive: it must own the ledger's tables. Nothing was changed"
        )
    return LedgerError(
        f"{place.name}: archiving failed ({told(error)}). The day it was about is in the ledger still, or archived whole; run "
        "it again"
    )
