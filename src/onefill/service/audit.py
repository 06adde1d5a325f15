"""Verifying a ledger: every route's chain from its first entry to its head, signed checkpoints and the execution log against
the chain, and the stored positions against the execution log.

Streams in pages; memory does not grow with the ledger. It may run while a gateway writes: what is compared is what stood
there at one moment.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from onefill.core.audit import Archived, ChainEnd, Fault, JournalRow, follow
from onefill.core.audit_executions import MARK, ExecutionRow, execution_fault, told_executions
from onefill.core.errors import LedgerError
from onefill.core.merkle import Frontier
from onefill.ports.ledger import Ledger, RouteInfo
from onefill.service.audit_marks import Mark, Marks, Outside, utc
from onefill.service.audit_positions import Positions

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_PAGE = 1000
Progress = Callable[[int], None]


class RouteAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying one route found. ``fault`` names the first bad entry, ``None`` if the chain holds."""

    route: str
    entries: int
    head: str
    fault: str | None
    first: int = 1
    """The first entry that was verified; those before it are archived."""
    checkpoints: int = 0
    """How many checkpoints the chain agrees with."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying a ledger found."""

    routes: list[RouteAudit]
    positions: list[str]
    """Where the stored positions differ from those computed anew from the executions."""
    checkpoints: list[str] = []
    """Checkpoints that are none: unreadable, or not signed by a given key."""
    notes: list[str] = []
    """What was not verified, and why."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.positions and not self.checkpoints and all(route.fault is None for route in self.routes)


async def verify(
    ledger: Ledger,
    on_progress: Progress = lambda _: None,
    *,
    keys: "PublicKeys | None" = None,
    outside: Outside | None = None,
) -> Audit:
    """Verify the whole ledger. ``on_progress`` hears how many entries were read since it was last called.

    ``keys``: whose signatures count; without any, checkpoints are compared with the chain, and their signatures are not looked
    at. ``outside``: checkpoints that were kept elsewhere.
    """
    outside = outside or Outside()
    routes, faults, unread, unseen = [], list(outside.faults), list[str](), list[str]()
    positions = await Positions.begin(ledger)
    for info in await ledger.routes():
        marks = Marks(ledger, info.name, outside.marks.get(info.name, []), keys)
        executions = ExecutionLog(
            ledger, info.name, positions, 0 if info.archived is None else info.archived.executions
        )
        routes.append(await _Route(ledger, info, marks, executions).verify(on_progress))
        await executions.rest()
        unread += [executions.problem] if executions.problem is not None else []
        faults += marks.faults
        unseen += [] if info.archived is None else [_unseen(info.name, info.archived)]
    there = {route.route for route in routes}
    faults += [
        f"{marks[-1].place}: {marks[-1].checkpoint.size} entries of route {name} were signed; this ledger has no such route"
        for name, marks in outside.marks.items()
        if name not in there
    ]
    notes = outside.notes + unseen + _notes(sum(route.checkpoints for route in routes), keys)
    return Audit(routes=routes, positions=unread or await positions.faults(ledger), checkpoints=faults, notes=notes)


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number of things as people write it."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _unseen(route: str, archived: Archived) -> str:
    return (
        f"{route}: entries 1 to {archived.last} are archived, the last of them in {archived.file}; they were not verified: "
        "give --archive with the folder"
    )


def _notes(compared: int, keys: "PublicKeys | None") -> list[str]:
    if keys is None and not compared:
        return ["checkpoints were not verified: there are none to compare with, and no public key was given"]
    if keys is None:
        return [
            f"checkpoints were not verified: the chain agrees with {counted(compared, 'checkpoint')}, but without a public key "
            "nobody can tell who signed; give --public-key"
        ]
    if not compared:
        return ["no checkpoint agrees with the chain: a cut end, or a chain that was written anew, would not be seen"]
    return []


class _Route:
    """The verification of one route."""

    def __init__(self, ledger: Ledger, info: RouteInfo, marks: Marks, executions: "ExecutionLog") -> None:
        self._ledger = ledger
        self._info = info
        self._marks = marks
        self._agreed = 0
        self._agreed_size = 0
        self._end = ChainEnd() if info.archived is None else info.archived.end
        self._frontier: Frontier | None = Frontier()
        self._executions = executions

    async def verify(self, on_progress: Progress) -> RouteAudit:
        fault = await self._behind_archive() or await self._walk(on_progress)
        if fault is None:
            fault = await self._beyond()
        return RouteAudit(
            route=self._info.name,
            entries=self._end.sequence,
            head=self._end.hash.hex(),
            fault=None if fault is None else str(fault),
            first=1 if self._info.archived is None else self._info.archived.last + 1,
            checkpoints=self._agreed,
        )

    async def _behind_archive(self) -> str | None:
        """Take up the tree where the archive ends. What was signed of less is not compared: its entries are not here."""
        archived = self._info.archived
        if archived is None:
            return None
        try:
            self._frontier = Frontier.from_bytes(archived.last, archived.frontier)
        except ValueError as error:
            return f"the tree that is kept of the archived entries is none: {error}"
        while (mark := await self._marks.peek()) is not None and mark.checkpoint.size <= archived.last:
            if mark.checkpoint.size == archived.last:
                fault = self._against(mark, archived.head, self._frontier)
                if fault is not None:
                    return fault
                self._agreed, self._agreed_size = self._agreed + 1, archived.last
            await self._marks.take()
        return None

    async def _walk(self, on_progress: Progress) -> Fault | str | None:
        """Follow the chain to where it ended when we began. Return the first fault."""
        last = self._info.journal_entries
        while (done := self._end.sequence) < last:
            rows, unreadable = await self._page(done, min(_PAGE, last - done))
            if not rows:
                missing = f"is missing, and {last - done - 1} after it"
                return Fault(done + 1, unreadable or missing)
            end, fault = follow(self._info.name, rows, self._end)
            good, self._end = rows[: end.sequence - done], end
            # What these say comes first: they name an entry before the chain's own fault.
            found = await self._executions.fault(good) or await self._compare(done, good) or fault
            if found is not None:
                return found
            on_progress(len(rows))
        if self._end.hash != self._info.head:
            return Fault(self._end.sequence, "the chain does not end in the hash that the route holds")
        return None

    async def _page(self, after: int, limit: int) -> tuple[list[JournalRow], str | None]:
        """Return a page; of one that cannot be read, the entries before the first that cannot, and why."""
        try:
            return await self._ledger.journal_rows(self._info.name, after, limit), None
        except LedgerError as error:
            if limit == 1:
                return [], f"cannot be read: {error.__cause__ or error}"
        rows: list[JournalRow] = []
        while len(rows) < limit:
            row, problem = await self._page(after + len(rows), 1)
            if not row:
                return rows, problem
            rows += row
        return rows, None

    async def _compare(self, after: int, rows: Sequence[JournalRow]) -> str | None:
        """Compare these entries, the next after ``after``, with the checkpoints of their sizes."""
        done = 0
        while self._frontier is not None:
            mark = await self._marks.peek()
            if mark is None:  # nothing more to compare with: no tree is needed
                self._frontier = None
                break
            upto = mark.checkpoint.size - after
            if upto > len(rows):
                self._frontier = self._frontier.extended([row[7] for row in rows[done:]])
                break
            self._frontier = self._frontier.extended([row[7] for row in rows[done:upto]])
            done = max(done, upto)
            fault = self._against(mark, rows[upto - 1][7], self._frontier)
            if fault is not None:
                return fault
            self._agreed, self._agreed_size = self._agreed + 1, mark.checkpoint.size
            await self._marks.take()
        return None

    def _against(self, mark: Mark, head: bytes, frontier: Frontier) -> str | None:
        checkpoint = mark.checkpoint
        if checkpoint.head != head:
            return (
                f"entries {self._agreed_size + 1} to {checkpoint.size}: are not those that were signed at "
                f"{utc(checkpoint.at_us)} (checkpoint {mark.place}): the chain was written anew"
            )
        if checkpoint.root != frontier.root():
            return (
                f"entry {checkpoint.size}: the checkpoint that was signed here at {utc(checkpoint.at_us)} ({mark.place}) has "
                "another Merkle root than the entries"
            )
        return None

    async def _beyond(self) -> Fault | str | None:
        """Look for what stands in the ledger and in no chain. A gateway that writes meanwhile adds to both."""
        last = self._end.sequence
        more = await self._ledger.journal_rows(self._info.name, last, 1)
        logged = await self._executions.next()
        now = next((route for route in await self._ledger.routes() if route.name == self._info.name), None)
        entries = 0 if now is None else now.journal_entries
        while (mark := await self._marks.peek()) is not None:
            if mark.checkpoint.size > entries:
                checkpoint = mark.checkpoint
                return Fault(
                    entries + 1,
                    f"is missing, and {checkpoint.size - entries - 1} after it: {checkpoint.size} entries were signed at "
                    f"{utc(checkpoint.at_us)} (checkpoint {mark.place}): the end was cut off",
                )
            await self._marks.take()  # of entries that came after we began
        if entries != self._info.journal_entries:
            return None
        if more:
            return Fault(last + 1, "stands beyond the end that the route holds")
        if logged is None:
            return self._executions.problem
        return f"execution {logged.execution_id!r} is in the log and in no entry"


class ExecutionLog:
    """The execution log of a route, which is in the order of the entries that tell of it. It is read once."""

    def __init__(self, ledger: Ledger, route: str, positions: Positions | None, told: int = 0) -> None:
        self._ledger = ledger
        self._route = route
        self._positions = positions
        self._after = told if positions is None else 0
        self.told = told
        """The place through which entries told of it. Whatever is up to where it began is told of by none that comes."""
        self._page: deque[ExecutionRow] = deque()
        self.problem: str | None = None
        """Why there are no further rows, if there may be some."""

    async def next(self) -> ExecutionRow | None:
        """Return the next row, if there is one."""
        while not self._page:
            try:
                page = await self._ledger.execution_rows(self._route, self._after, _PAGE)
            except LedgerError as error:
                self.problem = f"the execution log cannot be read: {error.__cause__ or error}"
                return None
            if not page:
                return None
            self._after = page[-1].place
            if self._positions is not None:
                self._positions.add(self._route, page)
            self._page.extend(row for row in page if row.place > self.told)
        row = self._page.popleft()
        self.told = row.place
        return row

    async def rest(self) -> None:
        """Read to the end, for the positions' sake: also where the chain was broken before."""
        while await self.next() is not None:
            self._page.clear()

    async def fault(self, rows: Sequence[JournalRow]) -> Fault | None:
        """Compare the executions that entries tell of with the log."""
        for row in rows:
            if MARK not in row[3]:
                continue
            try:
                for told in told_executions(row[3]):
                    logged = self._page.popleft() if self._page else await self.next()
                    if logged is not None:
                        self.told = logged.place
                    problem = execution_fault(told, row[1], logged)
                    if logged is None:
                        problem = self.problem or problem
                    if problem is not None:
                        return Fault(row[0], problem)
            except msgspec.DecodeError as error:
                return Fault(row[0], f"its events cannot be read ({error}): it was so written")
        return None
