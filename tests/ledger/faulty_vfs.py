"""A disk that fails on command: SQLite's own file access, with every change to a file written down on the way.

The log of calls is enough to say what would be on the platter had the power failed after any of them. What was synced is
there. What was written since the file's last sync may be there, or not, or in part: :class:`Unsynced` says which. After a
*failed* sync the unsynced pages are gone for good although they still read back, as on Linux.

Model: a file's sync makes its content and its name durable; a deletion is durable at once where SQLite asks for it, else
with the rest of the unsynced; sectors of 512 bytes are written whole or not at all.
"""

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum

import apsw
import msgspec

SECTOR = 512
_names = iter(range(1_000_000))


class Kind(Enum):
    """What a call does to a file."""

    OPEN = "open"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    FAILED_SYNC = "failed sync"
    DELETE = "delete"
    DELETE_DURABLY = "delete durably"


class Call(msgspec.Struct, frozen=True):
    """One call that changed a file, or promised that it is durable."""

    kind: Kind
    path: str
    offset: int = 0
    data: bytes = b""

    @property
    def suffix(self) -> str:
        """``""`` for the database, ``-wal`` or ``-journal`` beside it."""
        return self.path.rpartition(".db")[2]


class Unsynced(Enum):
    """What a power loss does to what no sync had covered yet."""

    LOST = "lost"
    KEPT = "kept"
    MIXED = "any part of it lost, sector by sector"


class Fault(Enum):
    """What happens to a call instead."""

    IO_ERROR = apsw.SQLITE_IOERR_WRITE
    SYNC_ERROR = apsw.SQLITE_IOERR_FSYNC
    FULL = apsw.SQLITE_FULL
    POWER = -1
    TORN = -2
    """Half of the write reaches the disk; then the power fails."""


Plan = Callable[[int, Call], Fault | None]


class Disk:
    """The files behind one VFS: every call in order, and a plan for which of them fail."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_names)}"
        self.calls: list[Call] = []
        self.plan: Plan | None = None
        self.off = False
        """The power is gone: every further call fails, and none is written down."""
        self.faults: list[tuple[int, Fault]] = []
        """What failed: index of the call and how."""
        self._vfs = _Vfs(self)

    def take(self, call: Call) -> Fault | None:
        """Write a call down, unless it is to fail; then raise, or return TORN to have half of it done first."""
        if self.off:
            raise apsw.exception_for(apsw.SQLITE_IOERR)
        fault = self.plan(len(self.calls), call) if self.plan is not None else None
        if fault is None:
            self.calls.append(call)
            return None
        self.faults.append((len(self.calls), fault))
        if fault is Fault.SYNC_ERROR:
            self.calls.append(Call(Kind.FAILED_SYNC, call.path))
        if fault is Fault.TORN:
            self.calls.append(msgspec.structs.replace(call, data=call.data[: len(call.data) // 2 // SECTOR * SECTOR]))
        if fault in {Fault.POWER, Fault.TORN}:
            self.off = True
            raise apsw.exception_for(apsw.SQLITE_IOERR)
        raise apsw.exception_for(fault.value)

    def after_power_loss(
        self, calls: int | None = None, unsynced: Unsynced = Unsynced.LOST, seed: int = 0
    ) -> dict[str, bytes]:
        """Return what every file holds if the power fails after the first ``calls`` calls (all of them by default)."""
        durable: dict[str, bytearray] = {}
        waiting: dict[str, list[Call]] = {}
        for call in self.calls[:calls]:
            if call.kind is Kind.SYNC:
                for earlier in waiting.pop(call.path, []):
                    _perform(durable, earlier)
                durable.setdefault(call.path, bytearray())
            elif call.kind is Kind.FAILED_SYNC:
                waiting.pop(call.path, None)
            elif call.kind is Kind.DELETE_DURABLY:
                waiting.pop(call.path, None)
                durable.pop(call.path, None)
            else:
                waiting.setdefault(call.path, []).append(call)
        chance = random.Random(seed)
        for pending in waiting.values():
            for call in _survivors(pending, unsynced, chance):
                _perform(durable, call)
        return {path: bytes(content) for path, content in durable.items()}

    def restore(self, unsynced: Unsynced = Unsynced.LOST, seed: int = 0) -> None:
        """Put the power back: give every file what :meth:`after_power_loss` says. Nothing may have them open."""
        content = self.after_power_loss(None, unsynced, seed)
        for path in {call.path for call in self.calls}:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + "-shm")
        for path, data in content.items():
            with open(path, "wb") as file:
                file.write(data)
        self.calls = [
            c for path, data in content.items() for c in (Call(Kind.WRITE, path, 0, data), Call(Kind.SYNC, path))
        ]
        self.plan, self.off = None, False


def _survivors(pending: list[Call], unsynced: Unsynced, chance: random.Random) -> Iterator[Call]:
    """Yield what of a file's unsynced calls reached the platter.

    Names and lengths do: file systems journal them in order. A sector holds what it held at some moment: the writes to
    it up to then, and none after.
    """
    if unsynced is Unsynced.LOST:
        return
    pieces = [piece for call in pending for piece in _by_sector(call)]
    if unsynced is Unsynced.KEPT:
        yield from pieces
        return
    writes = [piece.offset // SECTOR for piece in pieces if piece.kind is Kind.WRITE]
    left = {sector: chance.choice((0, chance.randint(0, count), count)) for sector, count in Counter(writes).items()}
    for piece in pieces:
        if piece.kind is not Kind.WRITE:
            yield piece
        elif left[piece.offset // SECTOR] > 0:
            left[piece.offset // SECTOR] -= 1
            yield piece


def _by_sector(call: Call) -> Iterator[Call]:
    if call.kind is not Kind.WRITE:
        yield call
        return
    start = 0
    while start < len(call.data):
        end = min(len(call.data), start + SECTOR - (call.offset + start) % SECTOR)
        yield Call(Kind.WRITE, call.path, call.offset + start, call.data[start:end])
        start = end


def _perform(files: dict[str, bytearray], call: Call) -> None:
    if call.kind is Kind.DELETE:
        files.pop(call.path, None)
        return
    content = files.setdefault(call.path, bytearray())
    if call.kind is Kind.TRUNCATE:
        del content[call.offset :]
    elif call.kind is Kind.WRITE:
        content.extend(bytes(max(0, call.offset - len(content))))
        content[call.offset : call.offset + len(call.data)] = call.data


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "_File":  # noqa: N802
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        if os.path.exists(filename):
            self._disk.take(Call(Kind.DELETE_DURABLY if syncdir else Kind.DELETE, filename))
        super().xDelete(filename, syncdir)

    def excepthook(self, *_what: object) -> None:
        """Say nothing: SQLite ignores some failures on purpose."""


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = str(name.filename()) if isinstance(name, apsw.URIFilename) else name
        existed = self._path is not None and os.path.exists(self._path)
        super().__init__("", name, flags)
        if self._path is not None and not existed and flags[0] & apsw.SQLITE_OPEN_CREATE:
            disk.take(Call(Kind.OPEN, self._path))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._path is not None:
            self._disk.take(Call(Kind.WRITE, self._path, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._path is not None:
            self._disk.take(Call(Kind.TRUNCATE, self._path, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        # The real disk is left alone: what is durable here is what the log says.
        if self._path is not None:
            self._disk.take(Call(Kind.SYNC, self._path, flags))

    def excepthook(self, *_what: object) -> None:
        """Say nothing: SQLite ignores some failures on purpose."""
