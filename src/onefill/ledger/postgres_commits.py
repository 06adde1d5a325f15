"""Group commit on the event loop: while one group's round trip is under way, the next one gathers.

A lone change goes out at once; under load the groups grow by themselves. No timer and no thread is involved: the driver
does not block, and the server works while Python gathers. One task at a time has the writing connection.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from onefill.core.errors import InvariantBroken, LedgerError, LedgerFailed, OnefillError
from onefill.core.metrics import LedgerMeasures
from onefill.ledger.postgres_write import Result
from onefill.ports.ledger import Change, Outcome

T = TypeVar("T")
MAX_GROUP = 384
"""Changes in one round trip at most: bounds the wait of the first of them."""

_Group = list[tuple[Change, "asyncio.Future[Outcome]"]]


class PostgresCommits:
    """Hands changes to ``apply`` in groups, on the event loop it was made on."""

    def __init__(self, apply: Callable[[Sequence[Change]], Awaitable[list[Result]]]) -> None:
        self._apply = apply
        self._loop = asyncio.get_running_loop()
        self.measures = LedgerMeasures()
        self._waiting: _Group = []
        self._connection = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None
        self._stopped: dict[str, OnefillError] = {}
        """Routes that take nothing more, and why: of some change of theirs it is not known what became of it."""
        self.closed: OnefillError | None = None

    @property
    def depth(self) -> int:
        """Changes that wait for the group under way to finish."""
        return len(self._waiting)

    @property
    def failure(self) -> OnefillError | None:
        """Why nothing more is taken, of some route at least, or ``None``."""
        return self.closed or next(iter(self._stopped.values()), None)

    def commit(self, change: Change) -> "asyncio.Future[Outcome]":
        """Return a future for the change's outcome. Changes are committed in the order of these calls."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        stopped = self.closed or self._stopped.get(change.route)
        if stopped is not None:
            future.set_exception(stopped)
            return future
        self._waiting.append((change, future))
        if self._worker is None:
            # The task begins at the end of this turn of the loop: the turn's changes share a commit.
            self._worker = self._loop.create_task(self._work())
        return future

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``, which uses the writing connection, between two groups."""
        if self.closed is not None:
            raise self.closed
        async with self._connection:
            if self.closed is not None:
                raise self.closed
            return await work()

    def resume(self, route: str) -> None:
        """Take changes of a route again: it has a new owner, who has read what is true."""
        self._stopped.pop(route, None)

    async def close(self) -> None:
        """Wait for everything handed in; take nothing more."""
        while self._worker is not None and self.closed is None:
            await asyncio.wait([self._worker])
        self.closed = self.closed or LedgerFailed("the ledger was closed")
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        self._stop([], self.closed)

    def _stop(self, group: _Group, error: OnefillError) -> None:
        """Fail a group and all that waits behind it. Never retried: it is not known what the server has."""
        failed, self._waiting = [*group, *self._waiting], []
        for change, future in failed:
            self._stopped[change.route] = error
            if not future.done():
                future.set_exception(error)

    async def _work(self) -> None:
        try:
            while self._waiting:
                async with self._connection:
                    await self._group()
        finally:
            self._worker = None

    async def _group(self) -> None:
        self.measures.waiting.observe(len(self._waiting))
        group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        began = time.perf_counter()
        try:
            results = await self._apply([change for change, _ in group])
        except (LedgerFailed, InvariantBroken) as error:
            failure: OnefillError = error
        except LedgerError as error:
            failure = LedgerFailed(f"what became of a group of changes cannot be read: {error}")
        except asyncio.CancelledError:
            self._stop(group, LedgerFailed("the ledger was closed while a commit was under way"))
            raise
        except Exception as error:  # noqa: BLE001 - a defect must fail closed, never leave callers waiting
            failure = InvariantBroken(f"the ledger's writer failed: {type(error).__name__}: {error}")
        else:
            self.measures.committed(time.perf_counter() - began, len(group))
            _tell(group, results)
            return
        self._stop(group, failure)


def _tell(group: _Group, results: list[Result]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
