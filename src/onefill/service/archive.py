"""Archiving: whole days of the journal into files, each proved before the ledger lets go of it.

For each day, oldest first: a file for each route is written and made durable; it is read back, and its chain followed from
where the archive ended, on to entries that were signed, and compared with the execution log; then the ledger notes where each
route's archive ends now and drops the day, in one transaction. Whatever happens before that leaves the day as it is, and files
that the next run finds and uses.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from onefill.core.audit import Archived, ChainEnd, follow
from onefill.core.errors import CallerError, CannotArchive, LedgerAltered
from onefill.core.merkle import Frontier
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_archive import Archiver, Part, date_of
from onefill.ledger.postgres_settings import is_url, place_of
from onefill.ports.ledger import RouteInfo
from onefill.service import audit_export
from onefill.service.archive_folder import PartFile, belongs, file_of, sha256_of, sync_folder
from onefill.service.audit import ExecutionLog
from onefill.service.audit_marks import utc

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_PAGE = 1000
Progress = Callable[[int], None]


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the archive."""

    file: str
    route: str
    first: int
    last: int
    bytes: int


class ArchivedDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day that is in the archive now, and no longer in the ledger."""

    day: str
    entries: int
    files: list[ArchivedFile]


class ArchiveDone(msgspec.Struct, frozen=True, kw_only=True):
    """What archiving did. ``refused``: why it stopped before a day that was to be archived as well."""

    days: list[ArchivedDay]
    refused: str | None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a day before it is archived.

    ``keys``: by one of them a checkpoint must be signed that covers the day; ``None``: none is needed. ``open_orders``: entries
    of orders that are still open may go as well.
    """

    keys: "PublicKeys | None"
    open_orders: bool = False


async def archive(
    url: str, before: int, folder: Path, terms: Terms, on_progress: Progress = lambda _: None
) -> ArchiveDone:
    """Archive the days before ``before`` (counted from 1970) into ``folder``, oldest first, up to the first that cannot be.

    Raises CallerError for what cannot be used, LedgerInUse if somebody archives already, LedgerAltered if the record does not
    hold, LedgerError if ledger or files cannot be read or written. Days that were archived before that stay archived.
    """
    if not is_url(url):
        raise CallerError(
            f"{url}: only ledgers on PostgreSQL are archived. Nothing was done; a file of SQLite holds all there is, and is "
            "copied whole"
        )
    archiver = await Archiver.open(place_of(url))
    try:
        today = await archiver.prepare()
        if before > today:
            raise CallerError(
                f"--before: {date_of(before)} is not over; today is {date_of(today)} (UTC, by the database). Nothing was done"
            )
        ledger = await PostgresLedger.open_read_only(url, holder="archive")
        try:
            belongs(folder, await ledger.fingerprint(), make=True)
            return await _Archiving(ledger, archiver, folder, terms, on_progress).run(before)
        finally:
            await ledger.close()
    finally:
        await archiver.close()


class _Archiving:
    """One run of it."""

    def __init__(
        self, ledger: PostgresLedger, archiver: Archiver, folder: Path, terms: Terms, on_progress: Progress
    ) -> None:
        self._ledger = ledger
        self._archiver = archiver
        self._folder = folder
        self._terms = terms
        self._on_progress = on_progress

    async def run(self, before: int) -> ArchiveDone:
        done: list[ArchivedDay] = []
        for day in await self._archiver.days(before):
            try:
                done.append(await self._day(day))
            except CannotArchive as refused:
                return ArchiveDone(days=done, refused=str(refused))
        return ArchiveDone(days=done, refused=None)

    async def _day(self, day: int) -> ArchivedDay:
        open_orders = self._terms.open_orders
        parts = await self._archiver.parts(day, open_orders=open_orders)
        routes = {info.name: info for info in await self._ledger.routes()}
        made = [(part, await self._part(day, part, routes[part.route])) for part in parts]
        await self._archiver.drop(day, made, open_orders=open_orders)
        files = [
            ArchivedFile(
                file=one.file,
                route=part.route,
                first=one.first,
                last=one.last,
                bytes=(self._folder / one.file).stat().st_size,
            )
            for part, one in made
        ]
        return ArchivedDay(day=date_of(day), entries=sum(one.last - one.first + 1 for _, one in made), files=files)

    async def _part(self, day: int, part: Part, info: RouteInfo) -> Archived:
        """Write a route's entries of a day, if they are not there from before, and prove what is in the file."""
        end, frontier = ChainEnd(), Frontier()
        if info.archived is not None:
            end, frontier = info.archived.end, Frontier.from_bytes(info.archived.last, info.archived.frontier)
        if part.first != end.sequence + 1:
            raise LedgerAltered(
                f"route {part.route}: the archive ends with entry {end.sequence}, and {date_of(day)} begins with entry "
                f"{part.first}. Nothing more was archived; see what `onefill audit verify` says"
            )
        name = file_of(day, part.route_id, part.route)
        path = self._folder / name
        if not path.exists():
            await self._write(path, part, info)
        executions = ExecutionLog(
            self._ledger, part.route, None, 0 if info.archived is None else info.archived.executions
        )
        reading = PartFile(path, (end, frontier), self._terms.keys)
        for rows in reading.batches():
            if (fault := await executions.fault(rows)) is not None:
                raise LedgerAltered(
                    f"route {part.route}: {fault}. {date_of(day)} was not archived; see `onefill audit verify`"
                )
            self._on_progress(len(rows))
        end, tree = reading.end, reading.frontier
        if tree is None or end.sequence != part.last or tree.size != part.last:
            raise CannotArchive(
                f"{path}: is there already, and ends with entry {end.sequence}, not {part.last}. {date_of(day)} stays as it "
                "is; move the file away"
            )
        await self._follows(part, info, end)
        await self._signed(part, end, tree)
        return Archived(
            day=day,
            first=part.first,
            last=part.last,
            head=end.hash,
            epoch=end.epoch,
            executions=executions.told,
            frontier=tree.to_bytes(),
            file=name,
            sha256=sha256_of(path),
        )

    async def _write(self, path: Path, part: Part, info: RouteInfo) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise CallerError(f"{path.parent}: cannot be made: {error.strerror or error}") from error
        upto = msgspec.structs.replace(info, journal_entries=part.last)
        with audit_export.writing(path) as write:
            async for chunk in audit_export.export_routes(self._ledger, [upto], part.first - 1):
                write(chunk)
        sync_folder(path.parent)
        sync_folder(self._folder)

    async def _follows(self, part: Part, info: RouteInfo, end: ChainEnd) -> None:
        """See that the ledger's own chain goes on from where the file ends."""
        after = await self._ledger.journal_rows(part.route, part.last, 1)
        goes_on = after[0][6] if after else info.head
        if goes_on != end.hash:
            raise LedgerAltered(
                f"route {part.route}: entry {part.last + 1} does not follow from entry {part.last} as the file has it. Nothing "
                "more was archived; see what `onefill audit verify` says"
            )

    async def _signed(self, part: Part, end: ChainEnd, tree: Frontier) -> None:
        """Follow the chain on to the next checkpoint, and see that it stands for just these entries."""
        keys = self._terms.keys
        if keys is None:
            return
        found = await self._ledger.checkpoints(part.route, part.last - 1, 1)
        if not found:
            raise CannotArchive(
                f"route {part.route!r}: no signed checkpoint covers entry {part.last}, the day's last. The day stays; make one "
                "with `onefill audit checkpoint`, or archive with --unsigned"
            )
        checkpoint = found[0].checkpoint
        fault = keys.fault(checkpoint)
        while fault is None and end.sequence < checkpoint.size:
            rows = await self._ledger.journal_rows(part.route, end.sequence, min(_PAGE, checkpoint.size - end.sequence))
            end, broken = follow(part.route, rows, end)
            fault = str(broken) if broken is not None else None if rows else f"entry {end.sequence + 1} is missing"
            tree = tree.extended([row[7] for row in rows])
        if fault is None and (end.hash, tree.root()) != (checkpoint.head, checkpoint.root):
            fault = f"its entries are not those that were signed at {utc(checkpoint.at_us)}"
        if fault is not None:
            raise LedgerAltered(
                f"route {part.route}: the checkpoint of {checkpoint.size} entries: {fault}. Nothing more was archived; see "
                "what `onefill audit verify` says"
            )
