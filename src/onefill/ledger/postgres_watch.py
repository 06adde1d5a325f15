"""Watches whether commits are confirmed by a standby, so that losing it is never silent."""

import asyncio
import contextlib
from collections.abc import Callable
from enum import StrEnum

from onefill.core.errors import LedgerError
from onefill.ledger.postgres_read import Reader
from onefill.ledger.postgres_schema import wanted
from onefill.ledger.postgres_session import Session

LOOK_EVERY_S = 1.0
_LOOK = (
    "SELECT current_setting('synchronous_standby_names'), "
    "(SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'), "
    "(SELECT count(*) FROM pg_stat_replication WHERE state IS NULL)"
)


class Standby(StrEnum):
    """How a ledger stands with its standby."""

    NOT_WANTED = "not wanted"
    """The server waits for none, and none is required."""
    THERE = "there"
    """Commits wait for it."""
    LOST = "lost"
    """Commits are to wait for one, and too few are there."""
    UNSEEN = "unseen"
    """It cannot be told: the server does not answer, or the role may not see its standbys."""


class StandbyWatch:
    """Looks at the server's standbys every :data:`LOOK_EVERY_S`, tells of every change and lets commits go on without one
    where the settings allow that.
    """

    def __init__(self, session: Session, reader: Reader, tell: Callable[[str], None]) -> None:
        self.standby = Standby.NOT_WANTED
        self._session = session
        self._reader = reader
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        session.on_alone = self._alone

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(LedgerError):  # commits tell of a server that is gone
                await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once. Raises LedgerError if the server cannot be asked."""
        try:
            ((names, there, hidden),) = await self._reader.fetch(_LOOK)
        except LedgerError:
            self._set(Standby.UNSEEN if self.standby is not Standby.NOT_WANTED else Standby.NOT_WANTED, "")
            raise
        required = self._session.place.settings.require_synchronous_standby
        need = max(wanted(names), int(required))
        if not need:
            self._set(Standby.NOT_WANTED, "")
        elif there >= need and names.strip():
            self._set(Standby.THERE, "")
        elif hidden:
            self._set(Standby.UNSEEN, "the role may not see the server's standbys; grant it pg_monitor")
        else:
            self._set(
                Standby.LOST, f"{there} of {need} synchronous standbys are there (wanted: {names or 'none named'})"
            )

    def _alone(self, said: str) -> None:
        self._set(Standby.LOST, said)

    def _set(self, now: Standby, why: str) -> None:
        before, self.standby = self.standby, now
        degrade = self._session.place.settings.on_standby_lost == "degrade"
        if now is Standby.LOST and degrade:
            self._session.alone = True
        elif now in (Standby.THERE, Standby.NOT_WANTED):
            self._session.alone = False
        if now is before:
            return
        name = self._session.place.name
        if now is Standby.LOST and degrade:
            self._tell(
                f"{name}: the standby is lost: {why}. Commits are acknowledged on the primary's word alone until it is back: "
                "losing the primary now loses acknowledged orders"
            )
        elif now is Standby.LOST:
            limit_s = self._session.place.settings.commit_timeout_s
            self._tell(
                f"{name}: the standby is lost: {why}. What is not confirmed within {limit_s:g} s is not acknowledged, and its "
                "route takes no new orders"
            )
        elif now is Standby.UNSEEN and why:
            self._tell(f"{name}: whether a standby has the commits cannot be seen: {why}")
        elif now is Standby.THERE and before is Standby.LOST:
            self._tell(f"{name}: the standby is back: commits wait for it again")
