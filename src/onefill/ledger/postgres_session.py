"""The one connection that writes: made when it is needed, and again after it was lost, to whichever host takes writes.

A connection that is lost between two commits costs a reconnect and nothing else. One that is lost during a commit leaves its
outcome unknown: that is told as LedgerFailed, and the connection is not used again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from onefill.core.errors import LedgerError, LedgerFailed
from onefill.ledger.postgres_connect import connect, driver, failed, shut, troubles
from onefill.ledger.postgres_schema import check_durability, check_version
from onefill.ledger.postgres_settings import PostgresPlace, hosts_of
from onefill.ledger.postgres_statements import CALL

_GRACE = 1.5
"""By this factor longer than ``commit_timeout_s`` a statement may take before its connection is dropped."""
_WAITS = (
    "SELECT current_setting('synchronous_standby_names') <> '' "
    "AND current_setting('synchronous_commit') IN ('on', 'remote_apply')"
)


class Session:
    """Holds the writing connection, its prepared statement and how long it waits for standbys."""

    def __init__(self, place: PostgresPlace, holder: str) -> None:
        self.place = place
        self._holder = holder
        self._db: Any = None
        self._statement: Any = None
        self._level = ""
        self._as_set = ""
        self._warned: list[str] = []
        self._was_open = False
        self.alone = False
        """Commits are acknowledged on the primary's word, because its standby is gone and the settings allow that."""
        self.on_new: list[Callable[[], Awaitable[None]]] = []
        """Hear of every connection that was made, before it is used."""
        self.on_alone: Callable[[str], None] = lambda _: None
        """Hears what the server said when a commit was not confirmed by a standby."""

    @property
    def needs_standby(self) -> bool:
        """Whether a commit must be refused unless the server waits for a standby."""
        return self.place.settings.require_synchronous_standby and not self.alone

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known here."""
        return self._db is not None and not self._db.is_closed()

    async def use(self) -> Any:
        """Return the connection, made if there is none. Raises LedgerFailed if that cannot be."""
        if not self.connected:
            try:
                await self.make()
            except LedgerError as error:
                raise error if isinstance(error, LedgerFailed) else LedgerFailed(str(error)) from None
            except troubles() as error:
                raise failed(self.place, error) from None
        return self._db

    async def _set_level(self) -> None:
        """Wait for standbys from now on, or not, as it is to be."""
        wanted = "local" if self.alone else self._as_set
        if wanted != self._level:
            await self._db.execute(f"SET synchronous_commit = {wanted}")
            self._level = wanted

    async def make(self) -> None:
        """Make the connection. Raises LedgerError, or what the driver raises."""
        # A server that takes a connection and then stands still must not keep anybody waiting.
        times, hosts = self.place.settings, len(hosts_of(self.place))
        async with asyncio.timeout(times.connect_timeout_s * hosts + times.commit_timeout_s):
            await self._make()

    async def _make(self) -> None:
        self._db = self._statement = None
        made = await connect(self.place, self._holder, writer=True)
        try:
            await check_version(made, self.place)
            # Where commits may go on without a standby, so may they over another server. Only to begin with there must be one.
            alone = self._was_open and self.place.settings.on_standby_lost == "degrade"
            self._as_set = self._level = await check_durability(made, self.place, alone=alone)
            self._statement = await made.prepare(CALL)
            made.add_log_listener(self._hear)
            self._db = made
            for hear in self.on_new:
                await hear()
            self._was_open = True
        except BaseException:
            self._db = None
            made.terminate()
            raise

    def _hear(self, _: Any, message: Any) -> None:
        # Nothing in the schema warns. A warning at a commit is the server's word that it no longer waits for its standby.
        self._warned.append(f"{message.sqlstate}: {message.message}")

    @contextlib.asynccontextmanager
    async def limited(self) -> AsyncIterator[Any]:
        """Give the connection for one piece of work, which must not take longer than a commit may.

        What is still waiting for a standby then stops waiting: it is on the primary, and may not be anywhere else. Raises
        LedgerFailed, and drops the connection, if it is not known what became of the work.
        """
        db = await self.use()
        loop, limit_s = asyncio.get_running_loop(), self.place.settings.commit_timeout_s
        self._warned.clear()
        giving_up: list[asyncio.Task[None]] = []
        timers = [
            loop.call_later(limit_s, lambda: giving_up.append(loop.create_task(self._cancel(db)))),
            loop.call_later(limit_s * _GRACE, db.terminate),
        ]
        try:
            await self._set_level()
            yield db
        except LedgerFailed:
            self.drop()
            raise
        except driver().exceptions.DataError:
            raise
        except troubles() as error:
            self.drop()
            raise failed(self.place, error) from None
        except asyncio.CancelledError:
            self.drop()
            raise
        finally:
            for timer in timers:
                timer.cancel()
            for task in giving_up:
                task.cancel()
        self._judge_warnings()

    async def _cancel(self, db: Any) -> None:
        """Have the server stop what it does for this session: over another connection, since this one is busy."""
        with contextlib.suppress(LedgerError, *troubles()):
            other = await connect(self.place, self._holder, writer=False)
            try:
                await other.execute("SELECT pg_cancel_backend($1)", db.get_server_pid())
            finally:
                await shut(other)

    def _judge_warnings(self) -> None:
        if not self._warned:
            return
        said = self._warned[0]
        self.on_alone(said)
        if self.place.settings.on_standby_lost == "degrade":
            self.alone = True
            return
        self.drop()
        raise LedgerFailed(
            f"{self.place.name}: the server reported a commit with a warning ({said}). It may be on the primary alone, so it "
            "was not acknowledged; look at the standby, then open the ledger again"
        )

    async def require_standby(self) -> None:
        """Raise LedgerFailed unless commits are as safe as is wanted. Part of the caller's transaction."""
        if self.needs_standby and not await self._db.fetchval(_WAITS):
            raise LedgerFailed(
                f"{self.place.name}: a synchronous standby is required, and the server no longer waits for one. Nothing was "
                "written; set synchronous_standby_names, then open the ledger again"
            )

    async def call(self, *given: Any) -> str | None:
        """Call the schema's function. Part of :meth:`limited`."""
        answer: str | None = await self._statement.fetchval(*given)
        return answer

    def drop(self) -> None:
        """Let go of the connection: what it was doing is not known."""
        db, self._db = self._db, None
        if db is not None:
            db.terminate()

    async def close(self) -> None:
        """Close the connection in good order."""
        db, self._db = self._db, None
        if db is not None:
            await shut(db)
