"""The folder that archived days are in, and a ledger read together with it: as if nothing had been archived.

One file for each day and route, in the format of ``onefill audit export``. ``ledger.json`` says whose archive the folder is: no
two ledgers share one.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from onefill.core.audit import Archived, ChainEnd, JournalEntry, JournalRow, entry_of
from onefill.core.errors import CallerError, LedgerAltered, LedgerError
from onefill.core.merkle import Frontier
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_archive import date_of
from onefill.ports.ledger import RouteInfo
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.service import audit_export

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_BATCH = 1000
_OWNER = "ledger.json"
_IN_EMPTY = {"lost+found", _OWNER + ".part"}
"""What a new disk, or a run that was killed, leaves in a folder that holds nothing yet."""
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


_RECORDED = '[{"type":"recorded",'


class _First(msgspec.Struct, frozen=True):
    """The event that records an order."""

    intent: msgspec.Raw = msgspec.Raw(b"")


_first = msgspec.json.Decoder(list[_First])


class WhoseArchive(msgspec.Struct, frozen=True, kw_only=True, tag="onefill_archive", forbid_unknown_fields=True):
    """What ``ledger.json`` says: the format's version, and a digest that stands for the ledger."""

    version: int
    ledger: str


class NoArchive(CallerError):
    """There is no archive of this ledger there."""


def file_of(day: int, route_id: int, route: str) -> str:
    """Return the name of a part's file in the folder: its day, and the route by number and in readable letters."""
    return f"{date_of(day)}/{route_id}-{_ODD.sub('_', route)[:80]}.ndjson.xz"


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def belongs(folder: Path, ledger: str, *, make: bool) -> None:
    """Raise NoArchive unless the folder is this ledger's. ``make``: an empty one becomes so."""
    if not folder.is_dir():
        raise NoArchive(f"{folder}: is no folder. Nothing was done; make it, or mount what it is on")
    file = folder / _OWNER
    if not file.exists():
        if not make or {path.name for path in folder.iterdir()} - _IN_EMPTY:
            raise NoArchive(
                f"{folder}: holds no archive: {_OWNER} is not there. Nothing was done; name the right folder"
            )
        with audit_export.writing(file) as write:
            write(msgspec.json.encode(WhoseArchive(version=1, ledger=ledger)) + b"\n")
        sync_folder(folder)
    try:
        found = msgspec.json.decode(file.read_bytes(), type=WhoseArchive)
    except (OSError, msgspec.MsgspecError) as error:
        raise NoArchive(f"{file}: cannot be read: {error}. Nothing was done") from None
    if found.version != 1 or found.ledger != ledger:
        raise NoArchive(
            f"{folder}: is another ledger's archive. Nothing was done; give each ledger a folder of its own"
        )


def sha256_of(path: Path) -> bytes:
    """Return the SHA-256 of a file. Raises LedgerError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror or error}. Nothing was changed") from error


class PartFile:
    """An archived part as it is read: its entries come out verified, a batch at a time."""

    def __init__(
        self, path: Path, begin: tuple[ChainEnd, Frontier] | None = None, keys: "PublicKeys | None" = None
    ) -> None:
        self._path = path
        self._work = audit_export.Verification(keys, begin)
        self.end = ChainEnd()
        self.frontier: Frontier | None = None

    def batches(self) -> Iterator[list[JournalRow]]:
        """Give the entries, and at the end where the chain stands. Raises LedgerAltered for what is not as it was written."""
        number = 0
        try:
            with self._path.open("rb") as file, audit_export.packed(file, self._path.name, "rb") as lines:
                while line := lines.readline(audit_export.MAX_LINE):
                    number += 1
                    if (fault := self._work.line(line)) is not None:
                        raise self._altered(f"line {number}: {fault}")
                    if len(self._work.rows) >= _BATCH:
                        yield self._taken()
        except audit_export.UNREADABLE as error:
            raise self._altered(f"line {number + 1}: {error}") from error
        if (fault := self._work.finish()) is not None:
            raise self._altered(fault)
        self.end, self.frontier = self._work.stand()
        yield self._taken()

    def _taken(self) -> list[JournalRow]:
        taken, self._work.rows = self._work.rows, []
        return taken

    def _altered(self, problem: str) -> LedgerAltered:
        return LedgerAltered(f"{self._path}: {problem}. Keep the file as it is, and compare it with a copy")


class _Walk:
    """Where in a route's files somebody reads on."""

    def __init__(self, folder: Path, parts: Sequence[Archived]) -> None:
        self._folder = folder
        self._parts = parts
        self._next = 0
        self._entries: Iterator[JournalRow] = iter(())
        self._checked: set[str] = set()

    def rows(self, after: int, limit: int) -> list[JournalRow]:
        """Return the entries after ``after``, so many if the archive has them."""
        if after + 1 != self._next:
            self._go_to(after + 1)
        found: list[JournalRow] = []
        for row in self._entries:
            found.append(row)
            if len(found) == limit:
                break
        self._next = after + len(found) + 1
        return found

    def _go_to(self, sequence: int) -> None:
        place = next(n for n, part in enumerate(self._parts) if part.last >= sequence)
        self._entries = (row for row in self._from(place) if row[0] >= sequence)

    def _from(self, place: int) -> Iterator[JournalRow]:
        for part in self._parts[place:]:
            path = self._folder / part.file
            if part.file not in self._checked:
                if sha256_of(path) != part.sha256:
                    raise LedgerAltered(f"{path}: is not the file that was archived: its SHA-256 is another one")
                self._checked.add(part.file)
            for batch in PartFile(path).batches():
                yield from batch


class LedgerWithArchive:
    """A ledger whose archived entries are read from their files. What it tells of its routes is as if none were archived.

    Everything else is the ledger's own. For reading only.
    """

    def __init__(self, ledger: PostgresLedger, folder: Path, parts: dict[str, list[Archived]]) -> None:
        self._ledger = ledger
        self._folder = folder
        self._parts = {route: found for route, found in parts.items() if found}
        self._walks = {route: _Walk(folder, found) for route, found in self._parts.items()}

    def __getattr__(self, name: str) -> Any:
        """Return what the ledger itself has."""
        return getattr(self._ledger, name)

    async def routes(self) -> list[RouteInfo]:
        """Return the routes, as if all of them were in the ledger."""
        return [msgspec.structs.replace(info, archived=None) for info in await self._ledger.routes()]

    async def journal_rows(self, route: str, after: int, limit: int) -> list[JournalRow]:
        """See :meth:`onefill.ports.ledger.Ledger.journal_rows`."""
        walk, found = self._walks.get(route), list[JournalRow]()
        if walk is not None and after < self._parts[route][-1].last:
            found = walk.rows(after, limit)
            await self._agree(route, found)
        if len(found) < limit:
            found += await self._ledger.journal_rows(route, after + len(found), limit - len(found))
        return found

    async def _agree(self, route: str, rows: Sequence[JournalRow]) -> None:
        """See that orders' rows say what was recorded of them: executions are compared with them where the entry is archived.

        Raises LedgerAltered.
        """
        recorded = {row[1]: row for row in rows if row[1] is not None and row[3].startswith(_RECORDED)}
        bodies = await self._ledger.bodies(list(recorded)) if recorded else {}
        for intent_id, row in recorded.items():
            if bytes(_first.decode(row[3])[0].intent) != bodies.get(intent_id):
                raise LedgerAltered(
                    f"route {route}: entry {row[0]} records order {intent_id}, whose row in the ledger wants something else"
                )

    async def journal_hashes(self, route: str, after: int, limit: int) -> list[bytes]:
        """See :meth:`onefill.ports.ledger.Ledger.journal_hashes`."""
        return [row[7] for row in await self.journal_rows(route, after, limit)]

    async def journal(self, route: str, after: int, limit: int) -> list[JournalEntry]:
        """See :meth:`onefill.ports.ledger.Ledger.journal`."""
        return [entry_of(route, row) for row in await self.journal_rows(route, after, limit)]

    async def history(self, intent_id: int) -> list[JournalEntry]:
        """Return every journal entry of one order. Reads the whole files of its days."""
        found: list[JournalEntry] = []
        wanted = {part.file for part in await self._ledger.archives_of(intent_id)}
        for route, parts in self._parts.items():
            for part in (one for one in parts if one.file in wanted):
                rows = _Walk(self._folder, [part]).rows(part.first - 1, part.last)
                found += [entry_of(route, row) for row in rows if row[1] == intent_id]
        return found + await self._ledger.history(intent_id)


async def with_archive(ledger: BrowsableLedger, folder: Path) -> BrowsableLedger:
    """Return a ledger that is read together with its archive. Raises NoArchive if the folder is not that."""
    if not isinstance(ledger, PostgresLedger):
        raise NoArchive("--archive: only ledgers on PostgreSQL are archived; a file holds all there is")
    belongs(folder, await ledger.fingerprint(), make=False)
    parts = {info.name: await ledger.archives(info.name) for info in await ledger.routes()}
    return cast("BrowsableLedger", LedgerWithArchive(ledger, folder, parts))
