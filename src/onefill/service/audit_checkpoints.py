"""Making signed checkpoints: by a command, or by a gateway as it runs.

A checkpoint goes into the ledger, and as a line into a file outside it. The one in the ledger is where the next one goes on;
the one outside is what shows that the ledger's end was cut off, or that the whole was written anew.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from onefill.core.audit import ChainEnd, Checkpoint, StoredCheckpoint, follow
from onefill.core.audit_documents import BadDocument, checkpoint_line, read_checkpoint
from onefill.core.errors import LedgerAltered, LedgerError
from onefill.core.merkle import Frontier
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger, RouteInfo
from onefill.service.audit_marks import read_outside, utc
from onefill.service.signing import PublicKeys, Signer

_PAGE = 250
"""Entries in one step: a gateway has other things to do meanwhile."""
_TAIL = 65_536


class CheckpointsUnwritable(LedgerError):
    """The file outside the ledger cannot be written."""


class Every(msgspec.Struct, frozen=True):
    """How often a gateway makes checkpoints: whichever comes first. Seconds count only where something was written."""

    entries: int = 10_000
    seconds: float = 60.0


class CheckpointFile:
    """The file outside the ledger: one line for each checkpoint, never changed, only added to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest(self, keys: PublicKeys) -> dict[str, Checkpoint]:
        """Return the largest checkpoint of each route; that there is no file yet is no error.

        Raises LedgerAltered if a line is no checkpoint, or not signed by one of ``keys``.
        """
        if not self._path.exists():
            return {}
        found = read_outside(keys, self._path)
        if found.faults:
            raise LedgerAltered(
                f"{found.faults[0]}. Nothing was signed or added; keep the file, and name another one for what comes"
            )
        return {route: marks[-1].checkpoint for route, marks in found.marks.items()}

    def add(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, durably. Raises CheckpointsUnwritable."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _mend(file)
                line = checkpoint_line(checkpoint)
                if os.write(file, line) != len(line):
                    raise OSError(None, "the disk is full")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise CheckpointsUnwritable(
                f"{self._path}: a checkpoint cannot be added: {error.strerror or error}. It is kept in the "
                "ledger, and is added here when the next one is made; orders are not touched by this"
            ) from error


def _mend(file: int) -> None:
    """Drop a last line that was not written to its end: it never was a checkpoint."""
    size = os.fstat(file).st_size
    tail = os.pread(file, _TAIL, max(size - _TAIL, 0))
    if not tail or tail.endswith(b"\n"):
        return
    torn = tail.rpartition(b"\n")[2]
    try:
        read_checkpoint(torn)
    except BadDocument:
        os.ftruncate(file, size - len(torn))
    else:  # whole, but for the end of its line
        os.write(file, b"\n")


class Checkpointer:
    """Makes the checkpoints of one ledger with one key.

    It signs only what it has verified: that the new entries follow from the checkpoint before, that this one is signed by
    the same key, and that the ledger has not lost what the file outside says was signed.
    """

    def __init__(self, signer: Signer, file: CheckpointFile | None, clock: Clock, every: Every | None = None) -> None:
        self._signer = signer
        self._keys = PublicKeys([signer.public])
        self._file = file
        self._clock = clock
        self._every = every or Every()
        self._sizes: dict[str, int] = {}
        self._outside: dict[str, Checkpoint] | None = None
        self._made_at_us = clock.now_us()

    async def due(self, ledger: Ledger) -> bool:
        """Tell whether enough was written, or it is long enough ago, to make checkpoints now. Cheap: asks for the routes."""
        late = self._clock.now_us() - self._made_at_us >= self._every.seconds * 1_000_000
        for route in await ledger.routes():
            if route.name not in self._sizes:
                stored = await ledger.newest_checkpoint(route.name)
                self._sizes[route.name] = 0 if stored is None else stored.checkpoint.size
            grown = route.journal_entries - self._sizes[route.name]
            if grown >= self._every.entries or (late and grown > 0):
                return True
        return False

    async def make(self, ledger: Ledger, on_progress: Callable[[int], None] = lambda _: None) -> list[Checkpoint]:
        """Make a checkpoint of every route that has grown since its last one.

        Raises LedgerAltered if the chain does not hold, or does not hold what was signed before: then nothing is signed.
        Raises LedgerError if ledger or file cannot be read or written.
        """
        if self._outside is None:
            self._outside = {} if self._file is None else await asyncio.to_thread(self._file.newest, self._keys)
        made = []
        for route in await ledger.routes():
            if self._sizes.get(route.name) == route.journal_entries and self._is_outside(route):
                continue
            before = await self._before(ledger, route)
            if before is not None and before.checkpoint.size == route.journal_entries:
                await self._add(before.checkpoint)  # it may have got into the ledger only
                self._sizes[route.name] = route.journal_entries
                continue
            if route.journal_entries:
                stored = await self._signed(ledger, route, before, on_progress)
                await ledger.save_checkpoint(stored)
                await self._add(stored.checkpoint)
                self._sizes[route.name] = route.journal_entries
                made.append(stored.checkpoint)
        self._made_at_us = self._clock.now_us()
        return made

    async def _before(self, ledger: Ledger, route: RouteInfo) -> StoredCheckpoint | None:
        """Return the route's last checkpoint, if the next one can go on from it."""
        stored, outside = await ledger.newest_checkpoint(route.name), (self._outside or {}).get(route.name)
        if outside is not None and outside.size > route.journal_entries:
            raise _altered(
                route, f"{outside.size} entries were signed at {utc(outside.at_us)}, and it has no more than these"
            )
        if stored is None or stored.checkpoint.key_id != self._signer.key_id:
            return None  # another key's: nothing is taken on trust, the whole chain is followed again
        fault = self._keys.fault(stored.checkpoint)
        if fault is not None:
            raise _altered(route, f"its checkpoint of {stored.checkpoint.size} entries {fault}")
        if stored.checkpoint.size > route.journal_entries:
            raise _altered(
                route, f"its own checkpoint is of {stored.checkpoint.size} entries, and it has no more than these"
            )
        return stored

    async def _signed(
        self, ledger: Ledger, route: RouteInfo, before: StoredCheckpoint | None, on_progress: Callable[[int], None]
    ) -> StoredCheckpoint:
        end, frontier = _beginning(route)
        if before is not None and before.checkpoint.size >= end.sequence:
            end, frontier = await self._resumed(ledger, route, before)
        outside = (self._outside or {}).get(route.name)
        while end.sequence < route.journal_entries:
            rows = await ledger.journal_rows(route.name, end.sequence, min(_PAGE, route.journal_entries - end.sequence))
            first = end.sequence + 1
            end, fault = follow(route.name, rows, end)
            if fault is not None or not rows:
                raise _altered(route, str(fault or f"entry {end.sequence + 1}: is missing"))
            if outside is not None and first <= outside.size <= end.sequence:
                self._agree(route, outside, rows[outside.size - first][7])
            frontier = frontier.extended([row[7] for row in rows])
            on_progress(len(rows))
        if end.hash != route.head:
            raise _altered(route, "the chain does not end in the hash that the route holds")
        checkpoint = self._signer.checkpoint(route.name, end.sequence, frontier.root(), end.hash, self._clock.now_us())
        return StoredCheckpoint(checkpoint, frontier.to_bytes())

    async def _resumed(self, ledger: Ledger, route: RouteInfo, before: StoredCheckpoint) -> tuple[ChainEnd, Frontier]:
        checkpoint = before.checkpoint
        try:
            frontier = Frontier.from_bytes(checkpoint.size, before.frontier)
        except ValueError:
            frontier = Frontier()
        if frontier.root() != checkpoint.root:
            raise _altered(
                route, f"the tree that is kept with its checkpoint of {checkpoint.size} entries is another one"
            )
        outside = (self._outside or {}).get(route.name)
        if outside is not None and outside.size == checkpoint.size:
            self._agree(route, outside, checkpoint.head)
        archived = route.archived
        if archived is not None and archived.last == checkpoint.size:  # its entry is not here any more
            if archived.head != checkpoint.head:
                raise _altered(route, f"the archive does not end in the entry {checkpoint.size} that was signed")
            return archived.end, frontier
        last = await ledger.journal_rows(route.name, checkpoint.size - 1, 1)
        if not last or last[0][0] != checkpoint.size or last[0][7] != checkpoint.head:
            raise _altered(route, f"entry {checkpoint.size}: is not the one that was signed at {utc(checkpoint.at_us)}")
        return ChainEnd(checkpoint.size, checkpoint.head, last[0][5]), frontier

    def _agree(self, route: RouteInfo, outside: Checkpoint, head: bytes) -> None:
        if outside.head != head:
            raise _altered(route, f"entry {outside.size}: is not the one that was signed at {utc(outside.at_us)}")

    def _is_outside(self, route: RouteInfo) -> bool:
        there = (self._outside or {}).get(route.name)
        return self._file is None or (there is not None and there.size == route.journal_entries)

    async def _add(self, checkpoint: Checkpoint) -> None:
        if self._file is None or self._outside is None:
            return
        there = self._outside.get(checkpoint.route)
        if there is None or there.size < checkpoint.size:
            await asyncio.to_thread(self._file.add, checkpoint)  # its disk may be a slow one
            self._outside[checkpoint.route] = checkpoint


def _beginning(route: RouteInfo) -> tuple[ChainEnd, Frontier]:
    """Return where the part of a chain begins that is in the ledger."""
    if route.archived is None:
        return ChainEnd(), Frontier()
    try:
        return route.archived.end, Frontier.from_bytes(route.archived.last, route.archived.frontier)
    except ValueError as error:
        raise _altered(route, f"the tree that is kept of its archived entries is none: {error}") from None


def _altered(route: RouteInfo, problem: str) -> LedgerAltered:
    return LedgerAltered(
        f"route {route.name}: {problem}. Nothing was signed. Keep the ledger as it is, and see what `onefill audit verify` says"
    )
