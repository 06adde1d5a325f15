"""Group commit: while one group is being made durable, the next one gathers. One thread at a time has the database connection.

A lone change goes out at once; under load the groups grow by themselves, so that the cost of a sync is shared by all who
wait for it. No timer is involved. Groups are written by a thread of their own. A change that comes alone, after another that
came alone, is written by the event loop's thread while commits are quick: then nobody else is kept waiting, and the order is
at the wire a third of a commit earlier.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from onefill.core.errors import InvariantBroken, LedgerFailed, OnefillError
from onefill.core.metrics import LedgerMeasures
from onefill.ledger.sqlite_write import Result
from onefill.ports.ledger import Change, Outcome

T = TypeVar("T")
MAX_GROUP = 384
"""Changes in one transaction at most: bounds the wait of the first of them."""

_QUICK_S = 0.001
"""A commit that takes less may run on the event loop's own thread: waking another one costs as much as a third of it."""

_Group = list[tuple[Change, "asyncio.Future[Outcome]"]]
_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class GroupCommit:
    """Hands changes to ``apply`` in groups, from the event loop it was made on.

    ``inline`` runs the work on the event loop itself instead of a thread: for simulations, which own time and order.
    """

    def __init__(self, apply: Callable[[Sequence[Change]], list[Result]], *, inline: bool = False) -> None:
        self._apply = apply
        self._loop = asyncio.get_running_loop()
        self.measures = LedgerMeasures()
        self._waiting: _Group = []
        self._busy = False
        self._calls = 0
        self._lone = False
        """The last group was a single change: nobody is in a hurry beside it."""
        self._commit_s = _QUICK_S
        """How long a commit takes lately, in seconds."""
        self._flush_due = False
        self._failure: OnefillError | None = None
        self._broken: OnefillError | None = None
        """The same, as the thread that owns the connection knows it: at once, also for what is already queued."""
        self._jobs: queue.SimpleQueue[_Group | _Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if not inline:
            self._thread = threading.Thread(target=self._work, name="onefill-ledger", daemon=True)
            self._thread.start()

    @property
    def failure(self) -> OnefillError | None:
        """Why nothing more is taken, or ``None``."""
        return self._failure

    @property
    def depth(self) -> int:
        """Changes that wait for the group under way to finish."""
        return len(self._waiting)

    def commit(self, change: Change) -> "asyncio.Future[Outcome]":
        """Return a future for the change's outcome. Changes are committed in the order of these calls."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if self._failure is not None:
            future.set_exception(self._failure)
            return future
        self._waiting.append((change, future))
        if not self._busy and not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._begin)  # at the end of this turn of the loop: its changes share a commit
        return future

    async def call(self, work: Callable[[], T]) -> T:
        """Run ``work`` on the thread that owns the connection, between two groups."""
        if self._failure is not None:
            raise self._failure
        if self._thread is None:
            try:
                return self._run(work)
            finally:
                if self._broken is not None:
                    self._fail(self._broken)
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls += 1
        self._jobs.put((work, future))
        return await future

    async def close(self) -> None:
        """Wait for everything handed in, then end the thread."""
        while (self._waiting or self._busy) and self._failure is None:
            self._flush_due = False
            self._flush()
            if self._busy:
                await self.call(lambda: None)
                await asyncio.sleep(0)
        self._failure = self._failure or LedgerFailed("the ledger was closed")
        if self._thread is not None:
            self._jobs.put(None)
            await self._loop.run_in_executor(None, self._thread.join)
            self._thread = None

    def _begin(self) -> None:
        """Start a group although none is under way. A lone change, while commits are quick, needs no other thread."""
        idle = self._thread is not None and not (self._busy or self._calls)
        if idle and self._lone and len(self._waiting) == 1 and self._commit_s < _QUICK_S:
            self._flush_due, self._busy = False, True
            group, self._waiting = self._waiting, []
            self.measures.waiting.observe(1)
            self._done(group, self._attempt(group))
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        if self._busy or not self._waiting:
            return
        self.measures.waiting.observe(len(self._waiting))
        group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        self._busy, self._lone = True, len(group) == 1
        if self._thread is None:
            self._done(group, self._attempt(group))
        else:
            self._jobs.put(group)

    def _attempt(self, group: _Group) -> list[Result] | OnefillError:
        if self._broken is None:
            began = time.perf_counter()
            try:
                results = self._apply([change for change, _ in group])
                took_s = time.perf_counter() - began
                self._commit_s += (took_s - self._commit_s) / 8
                self.measures.committed(took_s, len(group))
                return results
            except OnefillError as error:
                self._broken = error
            except Exception as error:  # noqa: BLE001 - a defect must fail closed, never leave callers waiting
                self._broken = InvariantBroken(f"the ledger's writer failed: {type(error).__name__}: {error}")
        return self._broken

    def _run(self, work: Callable[[], T]) -> T:
        if self._broken is not None:
            raise self._broken
        try:
            return work()
        except LedgerFailed as error:
            self._broken = error  # a write or sync outside a group failed: as final as within one
            raise

    def _done(self, group: _Group, results: list[Result] | OnefillError) -> None:
        self._busy = False
        if isinstance(results, OnefillError):
            self._waiting = group + self._waiting
            self._fail(results)
            return
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._flush()

    def _fail(self, error: OnefillError) -> None:
        # Never retried: after a failed commit or sync it is not known what the disk holds.
        self._failure = self._failure or error
        group, self._waiting = self._waiting, []
        for _, future in group:
            if not future.done():
                future.set_exception(self._failure)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if isinstance(job, list):
                    self._loop.call_soon_threadsafe(self._done, job, self._attempt(job))
                else:
                    self._answer(*job)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _answer(self, work: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
        try:
            result, error = self._run(work), None
        except Exception as caught:  # noqa: BLE001 - handed to whoever asked
            result, error = None, caught

        def tell() -> None:
            self._calls -= 1
            if self._broken is not None:
                self._fail(self._broken)
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._loop.call_soon_threadsafe(tell)
