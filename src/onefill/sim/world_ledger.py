"""The ledger of a process that can be killed: the real SQLite ledger, over a database that outlives it.

The database is SQLite's own, in memory. What is committed stays, whoever dies; what was only handed in is gone. Each life has a
:class:`ProcessLedger` of its own over the same connection, as processes on one database have. Leases are granted by the
database's clock, which is nobody's host's.
"""

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from onefill.core.errors import LedgerFailed
from onefill.ledger.group_commit import GroupCommit
from onefill.ledger.sqlite import SqliteLedger
from onefill.ledger.sqlite_file import LedgerFile, open_file
from onefill.ledger.sqlite_write import Result
from onefill.ports.ledger import Change, Committed, Lease, Outcome
from onefill.sim.history import Commit, Refused

if TYPE_CHECKING:
    from onefill.sim.world_life import Life

T = TypeVar("T")


@functools.cache
def _template() -> bytes:
    """Return an empty ledger as the real code makes it."""
    with tempfile.TemporaryDirectory(prefix="onefill-simulation-") as folder:
        file = open_file(f"{folder}/template.db", seed=bytes(range(16)), holder="", at_us=0)
        try:
            file.connection.pragma("journal_mode", "delete")  # a database in memory has no log beside it
            return file.connection.serialize("main")
        finally:
            file.close()


def open_database() -> LedgerFile:
    """Return a new, empty ledger in memory."""
    connection = apsw.Connection(":memory:", statementcachesize=100)
    connection.deserialize("main", _template())
    connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; PRAGMA trusted_schema = 0").fetchall()
    return LedgerFile(connection, None, ":memory:")


class _Commits(GroupCommit):
    """Group commit as the processes of a world see it: slow at times, failing at times, gone with its process."""

    def __init__(self, life: "Life", apply: Callable[[Sequence[Change]], list[Result]]) -> None:
        super().__init__(apply, inline=True)
        self._life = life
        self._later: asyncio.TimerHandle | None = None

    def commit(self, change: Change) -> "asyncio.Future[Outcome]":
        if self._life.dead:
            return self._loop.create_future()
        return super().commit(change)

    async def call(self, work: Callable[[], T]) -> T:
        life = self._life
        await life.step("call before")
        if self._failure is not None:
            raise self._failure
        result = await super().call(work)
        await life.step("call after")
        return result

    def _begin(self) -> None:
        delay_s = self._life.world.disk_delay_s()
        if delay_s:
            self._later = self._loop.call_later(delay_s, self._flush)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        life = self._life
        if life.asleep_s():
            self._flush_due = True
            self._loop.call_later(life.asleep_s(), self._flush)
            return
        if life.dead or self._busy or not self._waiting or self._failure is not None or life.passes("commit before"):
            return
        group, self._waiting = self._waiting, []
        self._busy = True
        results = self._attempt(group)
        if isinstance(results, list):
            for (change, _), result in zip(group, results, strict=True):
                life.committed(change, result)
        if life.passes("commit after"):
            return
        stall_s = life.world.stall_s(life.number)
        if stall_s:
            life.sleep(stall_s)
            self._loop.call_later(stall_s, self._done, group, results)
        else:
            self._done(group, results)

    def _done(self, group: "list[tuple[Change, asyncio.Future[Outcome]]]", results: object) -> None:
        if not self._life.dead:
            super()._done(group, results)  # type: ignore[arg-type]

    async def close(self) -> None:
        while (self._waiting or self._busy) and self._failure is None and not self._life.dead:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.001)
        self._failure = self._failure or LedgerFailed("the ledger was closed")


class ProcessLedger(SqliteLedger):
    """The ledger as one process has it open. It ends with the process; the database does not."""

    def __init__(self, life: "Life", file: LedgerFile) -> None:
        super().__init__(file, inline=True)
        self._life = life
        self._write = self._writer.apply
        self._commits = _Commits(life, self._apply)

    def _apply(self, changes: Sequence[Change]) -> list[Result]:
        failure = self._life.world.ledger_failure(self._life.number)
        if failure is None:
            return self._write(changes)
        if failure:
            results = self._write(changes)
            for change, result in zip(changes, results, strict=True):
                self._life.committed(change, result)
        raise LedgerFailed("the disk failed")

    async def acquire(
        self, route: str, holder: str, at_us: int, *, venue: str = "", lease_us: int | None = None
    ) -> Lease:
        """See :meth:`onefill.ports.ledger.Ledger.acquire`."""
        true_us = self._life.world.true_us()
        return await super().acquire(route, holder, true_us, venue=venue, lease_us=lease_us)

    def _take(self, *arguments: Any) -> Lease:
        lease = super()._take(*arguments)
        self._life.acquired(lease.epoch)  # at once: the process may die before it learns of it
        return lease

    async def renew(self, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.renew`."""
        await super().renew(route, epoch, self._life.world.true_us(), lease_us)

    async def close(self) -> None:
        """Finish what was handed in. The database stays open for others."""
        with contextlib.suppress(LedgerFailed):
            await self._commits.close()


def record(change: Change, result: Result, life: "Life") -> Commit | Refused:
    """Return the record of a change that a process handed in."""
    world = life.world
    if not isinstance(result, Committed):
        return Refused(world.at_us(), life.number, change.kind, type(result).__name__)
    live = world.live_at_venue(change.order)
    return Commit(
        world.at_us(),
        life.number,
        change.epoch,
        result.sequence,
        change.kind,
        change.payload,
        change.order,
        change.claims,
        live,
    )
