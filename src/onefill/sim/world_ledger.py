"""The ledger of a process that can be killed: the real SQLite ledger, over a database that outlives it.

The database is SQLite's own, in memory. What is committed stays, whoever dies; what was only handed in is gone. Each life has a
:class:`ProcessLedger` of its own over the same connection, as processes on one database have. Leases are granted by the
database's clock, which is nobody's host's.
"""

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw

from onefill.core.errors import LedgerError, LedgerFailed, OnefillError
from onefill.ledger.group_commit import GroupCommit
from onefill.ledger.sqlite import SqliteLedger
from onefill.ledger.sqlite_file import LedgerFile, open_file
from onefill.ledger.sqlite_write import Result
from onefill.ports.ledger import Change, Committed, CursorMove, Lease, Outcome, SubscriptionMove
from onefill.sim.history import Commit, Refused, Suspected
from onefill.sim.world_hosts import Fate, Held
from onefill.sim.world_nodes import GRANTED

if TYPE_CHECKING:
    from onefill.sim.world_life import Life

T = TypeVar("T")
_Group = list[tuple[Change, "asyncio.Future[Outcome]"]]


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


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run what waits for nothing, and return what it returns."""
    try:
        work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    work.close()
    raise AssertionError("it waits for something")


class _Commits(GroupCommit):
    """Group commit as the processes of a world see it: slow, failing or out of reach at times, gone with its process."""

    def __init__(self, life: "Life", apply: Callable[[Sequence[Change]], list[Result]]) -> None:
        super().__init__(apply, inline=True)
        self._life = life

    def commit(self, change: Change) -> "asyncio.Future[Outcome]":
        if self._life.dead:
            return self._loop.create_future()
        return super().commit(change)

    async def call(self, work: Callable[[], T]) -> T:
        life = self._life
        await life.step("call before")
        if self._failure is not None:
            raise self._failure
        held = life.world.hosts.held(life, "call")
        if held is None:
            result = await super().call(work)
        else:
            result = await self._call_over_a_cut(work, held)
        await life.step("call after")
        return result

    async def _call_over_a_cut(self, work: Callable[[], T], held: Held) -> T:
        """Make a call that hangs. The database does what reached it whatever becomes of the process meanwhile."""
        world = self._life.world
        answer: asyncio.Future[Callable[[], T]] = self._loop.create_future()
        effect = _outcome(work) if held.fate is Fate.UNANSWERED else None

        def ends() -> None:
            outcome = _outcome(work) if held.fate is Fate.LATE and not held.fails else effect
            if not answer.done():
                answer.set_result(_lost if held.fails or outcome is None else outcome)

        world.loop.after(held.for_s, ends, context=world.context)
        if held.fails and held.fate is Fate.LATE:
            world.loop.after(held.arrives_s, _outcome, work, context=world.context)  # nobody hears of it any more
        result = await answer
        return result()

    def _begin(self) -> None:
        delay_s = self._life.world.disk_delay_s()
        if delay_s:
            self._life.world.loop.after(delay_s, self._flush)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        life, world = self._life, self._life.world
        if life.dead or self._busy or not self._waiting or self._failure is not None or life.passes("commit before"):
            return
        life.stops_at("commit before")
        if life.stands():  # what was handed in leaves the process when it goes on
            self._flush_due = True
            world.loop.call_soon(self._flush, context=life.context)
            return
        group, self._waiting = self._waiting, []
        self._busy = True
        held = world.hosts.held(life, "commit")
        if held is None:
            self._write(group)
        elif held.fate is Fate.LATE and not held.fails:
            world.loop.after(held.for_s, self._write, group, context=world.context)
        else:
            if held.fate is Fate.LATE:
                world.loop.after(held.arrives_s, self._arrives_late, group, context=world.context)
            results = self._noted(group) if held.fate is Fate.UNANSWERED else None
            told = _LOST if held.fails else results
            world.loop.after(held.for_s, self._tell, group, told, context=world.context)

    def _noted(self, group: _Group) -> list[Result] | OnefillError:
        """Commit a group, and note what became of it."""
        results = self._attempt(group)
        if isinstance(results, list):
            for (change, _), result in zip(group, results, strict=True):
                self._life.committed(change, result)
        return results

    def _arrives_late(self, group: _Group) -> None:
        """Commit a group that its process has long taken for lost: the database does not know that, and decides by itself."""
        try:
            results = self._apply([change for change, _ in group])
        except OnefillError:
            return
        for (change, _), result in zip(group, results, strict=True):
            self._life.committed(change, result)

    def _write(self, group: _Group) -> None:
        life = self._life
        results = self._noted(group)
        if life.passes("commit after"):
            return
        stall_s = life.world.stall_s(life.number)
        if stall_s:
            life.world.hosts.pause(life, stall_s, "commit after")
        life.stops_at("commit after")
        self._tell(group, results)

    def _tell(self, group: _Group, results: object) -> None:
        """Tell the process, which hears of it when it goes on."""
        if self._life.stands():
            self._life.world.loop.call_soon(self._done, group, results, context=self._life.context)
        else:
            self._done(group, results)

    def _done(self, group: _Group, results: object) -> None:
        if not self._life.dead:
            self._broken = self._broken or (results if isinstance(results, OnefillError) else None)
            super()._done(group, results)  # type: ignore[arg-type]

    async def close(self) -> None:
        pause_s = 0.001
        while (self._waiting or self._busy) and self._failure is None and not self._life.dead:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)
        self._failure = self._failure or LedgerFailed("the ledger was closed")


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    """Do the work now; return what gives its result, or raises what it raised, later."""
    try:
        result = work()
    except OnefillError as error:
        caught = error

        def fails() -> T:
            raise caught

        return fails
    return lambda: result


_LOST: Final = LedgerFailed("the connection to the ledger was lost; whether the last change was made is not known")


def _lost() -> Any:
    raise LedgerError("the ledger did not answer; it is asked again")


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
        """See :meth:`onefill.ports.ledger.Ledger.acquire`. The time is the database's, when the call comes to it."""
        life, database = self._life, self._life.world.ledger

        def work() -> Lease:
            now_us = life.world.true_us()
            lease = _at_once(database.acquire(route, holder, now_us, venue=venue, lease_us=lease_us))
            life.acquired(lease.epoch, lease_us)  # at once: the process may die before it learns of it
            return lease

        lease = await self._commits.call(work)
        await self._heard_of_it()
        life.epoch = lease.epoch
        return lease

    async def renew(self, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.renew`. The time is the database's, as above."""
        life, database = self._life, self._life.world.ledger

        def work() -> None:
            _at_once(database.renew(route, epoch, life.world.true_us(), lease_us))
            life.renewed(epoch, lease_us)

        await self._commits.call(work)
        await self._heard_of_it()

    async def _heard_of_it(self) -> None:
        """Come to the step at which the process hears that the route is lent to it: it may stand still just then."""
        if self._life.stops_at(GRANTED):
            await asyncio.sleep(0)

    async def move_cursor(self, route: str, epoch: int, move: CursorMove) -> bool:
        """See :meth:`onefill.ports.ledger.Ledger.move_cursor`."""
        life, database = self._life, self._life.world.ledger

        def work() -> bool:
            moved = _at_once(database.move_cursor(route, epoch, move))
            if moved:
                life.moved(epoch, f"cursor of {move.stream} to {move.position}")
            return moved

        return await self._commits.call(work)

    async def move_subscription(self, route: str, epoch: int, move: SubscriptionMove) -> bool:
        """See :meth:`onefill.ports.ledger.Ledger.move_subscription`."""
        life, database = self._life, self._life.world.ledger

        def work() -> bool:
            moved = _at_once(database.move_subscription(route, epoch, move))
            if moved:
                life.told_through(epoch, move)
            return moved

        return await self._commits.call(work)

    async def suspect(self, route: str, epoch: int, holder: str, at_us: int, reason: str) -> None:
        """See :meth:`onefill.ports.ledger.Ledger.suspect`."""
        life, database = self._life, self._life.world.ledger

        def work() -> None:
            _at_once(database.suspect(route, epoch, holder, at_us, reason))
            life.world.history.add(Suspected(life.world.at_us(), life.number, epoch, reason))

        await self._commits.call(work)

    @property
    def broken(self) -> OnefillError | None:
        """Why it takes nothing more."""
        return self._commits.failure

    async def close(self) -> None:
        """Finish what was handed in. The database stays open for others."""
        with contextlib.suppress(LedgerFailed):
            await self._commits.close()


def record(change: Change, result: Result, life: "Life") -> Commit | Refused:
    """Return the record of a change that a process handed in."""
    world = life.world
    if not isinstance(result, Committed):
        return Refused(world.at_us(), life.number, change.epoch, change.kind, type(result).__name__)
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
