"""Reading a ledger file beside its writer: a connection and a thread of their own, so that telling much delays no commit."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from onefill.core.errors import LedgerFailed
from onefill.ledger.sqlite_file import LedgerFile, open_read_only
from onefill.ledger.sqlite_read import Reader

T = TypeVar("T")


class Aside:
    """Opens the file for reading when it is first asked. What is committed by then is what it sees."""

    def __init__(self, path: str, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._thread: ThreadPoolExecutor | None = None
        self._file: LedgerFile | None = None
        self._reader: Reader | None = None
        self._closed = False

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run ``work`` over a reader, one after the other. Raises what it does, and what opening the file does."""
        if self._closed:
            raise LedgerFailed("the ledger was closed")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "onefill-aside")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, work)

    def _read(self, work: Callable[[Reader], T]) -> T:
        if self._reader is None:
            self._file = open_read_only(self._path, vfs=self._vfs)
            self._reader = Reader(self._file.connection)
        return work(self._reader)

    async def close(self) -> None:
        """Wait for what is being read, and close the file."""
        self._closed = True
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(None, thread.shutdown)
        if self._file is not None:
            self._file.close()
