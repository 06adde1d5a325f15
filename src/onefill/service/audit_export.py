"""The journal as a file of its own: NDJSON with hashes and checkpoints, written and verified in one pass, in constant memory.

First a line that says what it is, then for each route a line with its name and where it begins and ends, its entries, each
checkpoint right behind the entry of its size, and at the end a line that counts them: a file that was cut shows it.
"""

import contextlib
import gzip
import lzma
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from onefill.core.audit import GENESIS, ChainEnd, Checkpoint, JournalRow, entry_of, follow
from onefill.core.audit_documents import (
    BadDocument,
    CheckpointDocument,
    EntryDocument,
    checkpoint_line,
    entry_document,
)
from onefill.core.errors import LedgerAltered
from onefill.core.merkle import Frontier
from onefill.ports.ledger import Ledger, RouteInfo
from onefill.service.audit_marks import CheckpointFileError, utc
from onefill.service.audit_proofs import NoProof

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_PAGE = 2000
MAX_LINE = 64 * 1024 * 1024
UNREADABLE = (OSError, EOFError, lzma.LZMAError)
"""What a file that cannot be read, or unpacked, raises."""
Progress = Callable[[int], None]


class ExportBegins(msgspec.Struct, frozen=True, kw_only=True, tag="onefill_export", forbid_unknown_fields=True):
    """The first line."""

    version: int


class RouteBegins(msgspec.Struct, frozen=True, kw_only=True, tag="route", forbid_unknown_fields=True):
    """A route's entries follow: those after ``after`` up to ``last``, whose hash is ``head``."""

    route: str
    after: int
    last: int
    head: str


class ExportEnds(msgspec.Struct, frozen=True, kw_only=True, tag="end", forbid_unknown_fields=True):
    """The last line."""

    entries: int
    checkpoints: int


_Line = ExportBegins | RouteBegins | EntryDocument | CheckpointDocument | ExportEnds
_lines: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(
    ExportBegins | RouteBegins | EntryDocument | CheckpointDocument | ExportEnds
)


def _line(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(document) + b"\n"


async def export(
    ledger: Ledger, route: str | None = None, after: int = 0, on_progress: Progress = lambda _: None
) -> AsyncIterator[bytes]:
    """Give the lines of an export, many at a time. Raises NoProof if there is no such route, LedgerAltered if entries lack."""
    infos = [info for info in await ledger.routes() if route in (None, info.name)]
    if route is not None and not infos:
        raise NoProof(f"{route!r}: is no route of this ledger; `onefill audit verify` lists them")
    async for chunk in export_routes(ledger, infos, after, on_progress):
        yield chunk


async def export_routes(
    ledger: Ledger, infos: Sequence[RouteInfo], after: int, on_progress: Progress = lambda _: None
) -> AsyncIterator[bytes]:
    """Give the lines of an export of these routes, each through the entry that it is said to end in. Raises LedgerAltered."""
    entries = checkpoints = 0
    yield _line(ExportBegins(version=1))
    for info in infos:
        begin = min(after, info.journal_entries)
        head = await _hash_of(ledger, info.name, info.journal_entries)
        yield _line(RouteBegins(route=info.name, after=begin, last=info.journal_entries, head=head.hex()))
        entries += info.journal_entries - begin
        async for chunk, count in _route_lines(ledger, info, begin, on_progress):
            checkpoints += count
            yield chunk
    yield _line(ExportEnds(entries=entries, checkpoints=checkpoints))


async def _hash_of(ledger: Ledger, route: str, sequence: int) -> bytes:
    page = await ledger.journal_hashes(route, sequence - 1, 1) if sequence else [GENESIS]
    if not page:
        raise LedgerAltered(f"route {route}: entry {sequence} is missing. See what `onefill audit verify` says")
    return page[0]


async def _route_lines(
    ledger: Ledger, info: RouteInfo, after: int, on_progress: Progress
) -> AsyncIterator[tuple[bytes, int]]:
    while after < info.journal_entries:
        limit = min(_PAGE, info.journal_entries - after)
        rows = await ledger.journal_rows(info.name, after, limit)
        if len(rows) != limit or rows[-1][0] != after + limit:
            raise LedgerAltered(
                f"route {info.name}: of the entries {after + 1} to {after + limit} some are missing. See what `onefill audit "
                "verify` says"
            )
        marks = await _checkpoints(ledger, info.name, after, after + limit)
        chunk = bytearray()
        for row in rows:
            chunk += _line(entry_document(entry_of(info.name, row)))
            if row[0] in marks:
                chunk += checkpoint_line(marks[row[0]])
        yield bytes(chunk), len(marks)
        after += limit
        on_progress(limit)


async def _checkpoints(ledger: Ledger, route: str, after: int, last: int) -> dict[int, Checkpoint]:
    found = await ledger.checkpoints(route, after, last - after)
    return {stored.checkpoint.size: stored.checkpoint for stored in found if stored.checkpoint.size <= last}


@contextlib.contextmanager
def packed(file: IO[bytes], name: str, mode: str) -> Iterator[IO[bytes]]:
    """Give what packs (mode ``wb``) or unpacks (``rb``) as a file's name says: ``.gz``, ``.xz``, anything else as it is."""
    if name.endswith(".gz"):
        with gzip.GzipFile(filename="", mode=mode, fileobj=file, mtime=0) as opened:
            yield cast("IO[bytes]", opened)
    elif name.endswith(".xz"):
        with lzma.LZMAFile(file, mode, preset=1 if mode == "wb" else None) as unpacked:
            yield cast("IO[bytes]", unpacked)
    else:
        yield file


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Give what writes a file that takes its name only when all of it is there. Raises CheckpointFileError."""
    if path.exists() and not path.is_file():
        raise CheckpointFileError(
            f"{path}: is there already and is not a plain file; name another. Nothing was written"
        )
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            with packed(file, path.name, "wb") as target:
                yield target.write
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise CheckpointFileError(f"{path}: cannot be written: {error.strerror or error}. It was not made") from error
    finally:
        part.unlink(missing_ok=True)


class ExportAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying an export found."""

    routes: list[str]
    entries: int
    checkpoints: int
    fault: str | None
    notes: list[str]

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return self.fault is None


def verify_export(path: Path, keys: "PublicKeys | None", on_progress: Progress = lambda _: None) -> ExportAudit:
    """Verify an export with nothing but the file. ``on_progress`` hears how many bytes of it were read since last time.

    Raises CheckpointFileError if the file cannot be read.
    """
    work, number = Verification(keys), 0
    fault: str | None = None
    try:
        with path.open("rb") as file, packed(file, path.name, "rb") as lines:
            done = 0
            while fault is None and (line := lines.readline(MAX_LINE)):
                number += 1
                fault = work.line(line)
                work.rows.clear()
                if number % 1000 == 0:
                    on_progress(file.tell() - done)
                    done = file.tell()
    except UNREADABLE as error:
        if number == 0:
            raise CheckpointFileError(f"{path}: cannot be read: {error}. Nothing was verified") from error
        fault, number = f"the file breaks off: {error}", number + 1
    where = f"line {number}: "
    if fault is None:
        fault, where = work.finish(), ""
    return ExportAudit(
        routes=work.routes,
        entries=work.entries,
        checkpoints=work.checkpoints,
        fault=None if fault is None else where + fault,
        notes=work.notes(),
    )


class Verification:
    """What was seen of an export so far. ``begin``: where the chain stood before its one route's first entry, and the tree."""

    def __init__(self, keys: "PublicKeys | None", begin: tuple[ChainEnd, Frontier] | None = None) -> None:
        self._keys = keys
        self._begin = begin
        self._begun = self._ended = False
        self._route: RouteBegins | None = None
        self._end = ChainEnd()
        self._frontier: Frontier | None = None
        self._hashes: list[bytes] = []
        self._partial = False
        self.rows: list[JournalRow] = []
        """Entries that were taken, for whoever wants them: to be emptied by the reader."""
        self.routes: list[str] = []
        self.entries = 0
        self.checkpoints = 0

    def line(self, line: bytes) -> str | None:
        """Take the next line. Return what is wrong with it."""
        try:
            document = _lines.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return f"is not a line of an export: {error}"
        if self._ended:
            return "stands behind the end"
        if not self._begun:
            self._begun = isinstance(document, ExportBegins) and document.version == 1
            return None if self._begun else "is not the beginning of an export of version 1"
        try:
            return self._take(document)
        except BadDocument as error:
            return str(error)

    def _take(self, document: Any) -> str | None:
        if isinstance(document, EntryDocument):
            return self._entry(document)
        if isinstance(document, CheckpointDocument):
            return self._checkpoint(document.checkpoint())
        fault = self._route_over()
        if fault is not None:
            return fault
        if isinstance(document, RouteBegins):
            if document.route in self.routes:
                return f"route {document.route} comes a second time"
            self.routes.append(document.route)
            self._route, self._end, self._hashes = document, ChainEnd(document.after), []
            self._frontier = Frontier() if document.after == 0 else None
            self._partial |= document.after > 0
            if self._begin is not None:
                self._partial = False
                self._end, self._frontier = self._begin
                if self._end.sequence != document.after:
                    return f"begins behind entry {document.after}, not behind entry {self._end.sequence}"
            return None
        if isinstance(document, ExportEnds):
            self._ended = True
            counted, told = (self.entries, self.checkpoints), (document.entries, document.checkpoints)
            return (
                None if counted == told else f"counts {told[0]} entries and {told[1]} checkpoints; there are {counted}"
            )
        return "begins an export inside an export"

    def _entry(self, document: EntryDocument) -> str | None:
        entry, route = document.entry(), self._route
        if route is None or entry.route != route.route:
            return f"entry {entry.sequence} is of route {entry.route}, which is not the one whose entries stand here"
        if self._end.sequence == route.after > 0 and self._end.hash == GENESIS:
            # What was before is not here: the first entry's own word is where the chain begins.
            self._end = ChainEnd(route.after, entry.previous_hash)
        row: JournalRow = (
            *(entry.sequence, entry.intent_id, entry.kind, entry.payload, entry.at_us, entry.epoch),
            *(entry.previous_hash, entry.hash),
        )
        self._end, fault = follow(route.route, [row], self._end)
        if fault is not None:
            return f"{route.route}: {fault}"
        self.entries += 1
        self.rows.append(row)
        self._hashes.append(entry.hash)
        if len(self._hashes) >= _PAGE:
            self._grow()
        return None

    def stand(self) -> tuple[ChainEnd, Frontier | None]:
        """Return where the last route's chain stands, and its tree, where that is known from the beginning."""
        self._grow()
        return self._end, self._frontier

    def _grow(self) -> None:
        if self._frontier is not None:
            self._frontier = self._frontier.extended(self._hashes)
        self._hashes = []

    def _checkpoint(self, checkpoint: Checkpoint) -> str | None:
        if self._route is None or (checkpoint.route, checkpoint.size) != (self._route.route, self._end.sequence):
            return f"a checkpoint of {checkpoint.size} entries of {checkpoint.route} does not belong here"
        fault = None if self._keys is None else self._keys.fault(checkpoint)
        if fault is not None:
            return f"the checkpoint of {checkpoint.size} entries of {checkpoint.route} {fault}"
        self._grow()
        if checkpoint.head != self._end.hash or (
            self._frontier is not None and self._frontier.root() != checkpoint.root
        ):
            return f"{checkpoint.route}: entry {checkpoint.size}: is not what was signed at {utc(checkpoint.at_us)}"
        self.checkpoints += 1
        return None

    def _route_over(self) -> str | None:
        route = self._route
        if route is None:
            return None
        if self._end.sequence != route.last:
            missing = self._end.sequence + 1
            return f"{route.route}: entry {missing}: is missing, and {route.last - missing} after it"
        if route.last > route.after and self._end.hash.hex() != route.head:
            return f"{route.route}: entry {route.last}: is not the one in which the route is said to end"
        return None

    def finish(self) -> str | None:
        """Return what is wrong with where the file ends."""
        return None if self._ended else "the file has no end: it was cut off, or not written to its end"

    def notes(self) -> list[str]:
        """Return what was not verified."""
        notes = []
        if self._keys is None:
            notes.append("signatures were not verified: give --public-key")
        elif not self.checkpoints:
            notes.append("there is no checkpoint in the file: nothing shows that it is the chain that was signed")
        if self._partial:
            notes.append(
                "it does not begin with the first entry: Merkle roots were not compared, only where the chain stood"
            )
        return notes
