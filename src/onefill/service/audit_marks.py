"""Checkpoints to compare a chain with: those in the ledger and those in a file outside it, merged by size."""

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from onefill.core.audit import Checkpoint
from onefill.core.audit_documents import BadDocument, read_checkpoint
from onefill.core.errors import CallerError
from onefill.ports.ledger import Ledger

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_PAGE = 500
_MAX_LINE = 65_536


class CheckpointFileError(CallerError):
    """A file of checkpoints cannot be read."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint, and where it stands: for the person who reads of it."""

    checkpoint: Checkpoint
    place: str


class Outside(msgspec.Struct, frozen=True):
    """The checkpoints of files outside the ledger, by route and size; and what is wrong with the files themselves."""

    marks: dict[str, list[Mark]] = {}
    faults: list[str] = []
    notes: list[str] = []


def utc(at_us: int) -> str:
    """Return a time as people write it."""
    try:
        return dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at_us} µs after 1970"


def read_outside(keys: "PublicKeys | None", *paths: Path) -> Outside:
    """Read files of checkpoints. Raises CheckpointFileError if one cannot be read.

    A last line that was cut off, as by a power failure while it was written, is a note; any other line that is no checkpoint
    or whose signature does not hold is a fault.
    """
    found = Outside({}, [], [])
    for path in paths:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(_lines(file), 1):
                    _read_line(found, f"{path} line {number}", line, keys)
        except OSError as error:
            raise CheckpointFileError(f"{path}: cannot be read: {error.strerror or error}. Nothing was done") from error
    for marks in found.marks.values():
        marks.sort(key=lambda mark: mark.checkpoint.size)
    return found


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE):
        yield line


def _read_line(found: Outside, place: str, line: bytes, keys: "PublicKeys | None") -> None:
    if not line.strip():
        return
    try:
        checkpoint = read_checkpoint(line)
    except BadDocument as error:
        if line.endswith(b"\n") or len(line) == _MAX_LINE:
            found.faults.append(f"{place}: {error}")
        else:
            found.notes.append(f"{place}: was not written to its end, and was left out")
        return
    fault = None if keys is None else keys.fault(checkpoint)
    if fault is not None:
        found.faults.append(f"{place}: the checkpoint of {checkpoint.size} entries of {checkpoint.route} {fault}")
        return
    found.marks.setdefault(checkpoint.route, []).append(Mark(checkpoint, place))


class Marks:
    """A route's checkpoints, by size; those in the ledger are read as they are needed.

    A stored one whose signature does not hold is told in ``faults``, and is not compared.
    """

    def __init__(self, ledger: Ledger, route: str, outside: list[Mark], keys: "PublicKeys | None") -> None:
        self._stored = self._read(ledger, route)
        self._outside = iter(outside)
        self._keys = keys
        self._next_stored: Mark | None = None
        self._next_outside: Mark | None = next(self._outside, None)
        self._begun = False
        self.faults: list[str] = []

    async def peek(self) -> Mark | None:
        """Return the next checkpoint, which stays the next."""
        if not self._begun:
            self._begun = True
            self._next_stored = await anext(self._stored, None)
        stored, outside = self._next_stored, self._next_outside
        if stored is None or outside is None:
            return stored or outside
        return stored if stored.checkpoint.size <= outside.checkpoint.size else outside

    async def take(self) -> None:
        """Go on to the checkpoint after the next."""
        taken = await self.peek()
        if taken is self._next_stored:
            self._next_stored = await anext(self._stored, None)
        else:
            self._next_outside = next(self._outside, None)

    async def _read(self, ledger: Ledger, route: str) -> AsyncIterator[Mark]:
        after = 0
        while page := await ledger.checkpoints(route, after, _PAGE):
            for stored in page:
                checkpoint = stored.checkpoint
                fault = None if self._keys is None else self._keys.fault(checkpoint)
                if fault is None:
                    yield Mark(checkpoint, "in the ledger")
                else:
                    self.faults.append(f"{route}: the ledger's checkpoint of {checkpoint.size} entries {fault}")
            after = page[-1].checkpoint.size
