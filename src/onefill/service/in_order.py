"""Results in the order of the file's lines, whatever order they come in, and written so that a file is whole or not there."""

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Generic, TypeVar

T = TypeVar("T")
MOST_HELD = 10_000
"""Results that may wait for an earlier one. Bounds memory; a row that takes long holds up new ones only beyond it."""


class InOrder(Generic[T]):
    """Hands results on in the order in which their lines were begun, holding back at most ``most``."""

    def __init__(self, emit: Callable[[T], None], most: int = MOST_HELD) -> None:
        self._emit = emit
        self._most = most
        self._lines: deque[int] = deque()
        self._held: dict[int, T] = {}
        self._room = asyncio.Event()

    async def begin(self, line: int) -> None:
        """Announce a line, the next of the file. Waits while too many results are held back."""
        while len(self._lines) >= self._most:
            self._room.clear()
            await self._room.wait()
        self._lines.append(line)

    def add(self, line: int, result: T) -> None:
        """Take the result of a line that was begun, and hand on what now has its turn."""
        self._held[line] = result
        while self._lines and self._lines[0] in self._held:
            self._emit(self._held.pop(self._lines.popleft()))
        self._room.set()

    def give_up(self) -> None:
        """Let nobody wait any more: some line will get no result."""
        self._most = len(self._lines) + 1
        self._room.set()


class WholeFile:
    """A file that takes its name only when :meth:`finish` is called; until then a file of that name stays as it was.

    An error in writing it is kept in ``failure`` and stops nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file: IO[bytes] | None = None
        self.failure: OSError | None = None

    def open(self) -> None:
        """Begin. Raises OSError if the place cannot be written."""
        if self._path.exists() and not self._path.is_file():
            # To take a device's or a pipe's name would remove it.
            raise FileExistsError(errno.EEXIST, "is there already and is not a plain file; name another")
        self._file = self._part.open("wb")

    def write(self, data: bytes) -> None:
        """Add data."""
        if self._file is not None and self.failure is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.failure = error

    def finish(self) -> None:
        """Make the file durable and give it its name. Anything else leaves no trace of it."""
        if self._file is None or self.failure is not None:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)
        except OSError as error:
            self.failure = error
        else:
            self._file = None

    def close(self) -> None:
        """Drop what was not finished."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except OSError as error:
            self.failure = self.failure or error
        self._part.unlink(missing_ok=True)
