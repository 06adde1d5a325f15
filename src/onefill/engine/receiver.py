"""Takes in a venue's execution stream: dedupe first, then effect, journal and cursor in one commit (promise FILL-ONCE).

A venue may tell of the same executions by two streams, its own and a drop copy. Each has a receiver and a cursor of its own;
what a report means is the same whichever way it came (:mod:`onefill.engine.intake`).

Reports are processed in order and their commits pipelined. Each commit moves the cursor from the place where the one before
left it, so that a refused report holds back all later ones; the stream is then read again from the durable place.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from onefill.core import executions
from onefill.core.claims import delay_us
from onefill.core.errors import OnefillError
from onefill.core.executions import Taken
from onefill.core.messages import ExecutionReport
from onefill.core.position import DROP_COPY, STREAM
from onefill.engine.entry import Entry
from onefill.engine.intake import Intake, sound
from onefill.engine.route import Route
from onefill.engine.sender import start_driver
from onefill.ports.ledger import Committed, CursorMove

__all__ = ["DROP_COPY", "STREAM", "Receiver"]
_LAZY = 500
"""Reports without effect after which the cursor is moved on its own."""


class Receiver(Intake):
    """The consumer of one of a route's execution streams."""

    def __init__(self, route: Route, stream: str = STREAM) -> None:
        super().__init__(route, stream)
        self._seen = 0
        """Processed in memory through here."""
        self._moved = 0
        """The cursor has been handed to the ledger through here."""
        self._rewind_due = False
        self._waiting = False
        """For the next report."""
        self._interrupted = False
        self._stop = False
        self._task: asyncio.Task[None] | None = None
        self._progress: asyncio.Event = asyncio.Event()
        self._hurry: asyncio.Event = asyncio.Event()
        self.came_back: Callable[[], object] = lambda: None
        """Called whenever the stream had ended or broken and is about to be read on."""

    @property
    def seen(self) -> int:
        """The last position taken in."""
        return self._seen

    @property
    def waiting(self) -> bool:
        """Whether everything that came was taken in, and the next report is awaited."""
        return self._waiting

    async def start(self) -> None:
        """Read the durable cursor and begin to follow the stream."""
        await self._rewind()
        if self._route.timed and not self._seen:
            await self._begin_now()
        self._task = asyncio.get_running_loop().create_task(self._follow())
        self._route.spawn(self._task)

    async def _begin_now(self) -> None:
        """Have a stream whose places are times begin at this moment, durably: what an account did before is not ours."""
        route, now_us = self._route, self._route.clock.now_us()
        if await route.ledger.move_cursor(route.name, route.lease.epoch, CursorMove(self.stream, 0, now_us)):
            self._seen = self._moved = now_us
        else:
            await self._rewind()

    async def stop(self) -> None:
        """Take in nothing more, and keep the cursor."""
        self._stop = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._progress.set()
        await self._drain()
        if self._route.failure is None and not self._rewind_due:
            try:
                await self._keep_cursor()
            except OnefillError as error:  # what is read twice does no harm
                self._route.fail(error)

    async def catch_up(self) -> None:
        """Return once every report that the venue has by now is taken in, durably.

        A question that fails is asked again, since the way there may be faulty, for as long as an answer is waited for
        (``answer_wait_s``); then the venue's error is raised. Raises TimeoutError if the stream stands still meanwhile,
        RouteClosed if the route takes nothing in.
        """
        route, loop, failures = self._route, asyncio.get_running_loop(), 0
        until = loop.time() + route.settings.answer_wait_s
        while True:
            route.admit()
            after = self._seen
            try:
                page = await route.deadlines.bound(self._page(after), route.settings.reply_timeout_s)
            except (OnefillError, TimeoutError, OSError):
                if loop.time() >= until:
                    raise
                failures += 1
                await asyncio.sleep(delay_us(failures) / 1_000_000)
                continue
            target = page[-1].position if page else 0
            if target <= after:
                await self._drain()
                rewound = self._rewind_due or self._seen < after  # something was refused since: it is read again
                if not rewound and route.failure is None:
                    return
            self._progress.clear()
            route.admit()
            if self._rewind_due or self._seen < target:
                self._hurry.set()
                await asyncio.wait_for(self._progress.wait(), route.settings.reply_timeout_s)

    def _page(self, after: int) -> Awaitable[list[ExecutionReport]]:
        venue = self._route.venue
        return venue.drop_copies(after) if self.stream == DROP_COPY else venue.executions(after)

    def _open(self) -> AsyncIterator[ExecutionReport]:
        venue = self._route.venue
        return venue.drop_copy(self._seen) if self.stream == DROP_COPY else venue.stream(self._seen)

    async def _follow(self) -> None:
        failures = 0
        try:
            while not self._stop and self._route.failure is None:
                began = self._seen
                await self._read_on()
                if self._rewind_due:
                    await self._rewind()
                failures = 0 if self._seen > began else failures + 1
                self._route.counts.stream_reconnects += 1
                self.came_back()
                await self._pause(delay_us(failures) / 1_000_000)
        finally:
            self._progress.set()

    async def _pause(self, for_s: float) -> None:
        """Wait before connecting again, unless somebody knows that there is something to read."""
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self._hurry.wait()

    async def _read_on(self) -> None:
        """Take in reports until the stream ends or breaks, skips one, or must be read again."""
        stream: AsyncIterator[ExecutionReport] | None = None
        try:
            while not (self._rewind_due or self._route.failure is not None):
                try:
                    stream = stream or self._open()
                    report = await self._next(stream)
                except Exception as error:  # noqa: BLE001 - the connection, whatever its client calls it: come back from the cursor
                    self._route.notice(error)
                    return
                if report is None or (report.position > self._seen + 1 and not self._route.timed):
                    return  # one that is missing must not be passed by
                await self.receive(report)
        finally:
            if (close := getattr(stream, "aclose", None)) is not None:
                with contextlib.suppress(Exception):
                    await close()

    async def _next(self, stream: AsyncIterator[ExecutionReport]) -> ExecutionReport | None:
        """Return the next report, or ``None`` if the stream ended or there is something to read again."""
        task = self._task
        self._waiting = True
        try:
            return await anext(stream, None)
        except asyncio.CancelledError:
            if task is None or task.cancelling() > self._interrupted:
                raise
            return None  # interrupted, or cancelled inside the venue's client: nobody asked this task to end
        finally:
            self._waiting = False
            if self._interrupted and task is not None:
                self._interrupted = False
                task.uncancel()

    def _read_again(self) -> None:
        """Have the stream read again from the durable cursor, also if no further report comes."""
        self._rewind_due = True
        if self._waiting and not self._interrupted and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def _rewind(self) -> None:
        """Go back to what is durable, after reading again the orders whose changes were refused."""
        await self._drain()
        while self._refused:  # more may be refused meanwhile, of what was taken in beside the stream
            entry = next(iter(self._refused))
            del self._refused[entry]
            await self._route.reload(entry)
            start_driver(self._route, entry)
        self._seen = self._moved = await self._route.ledger.cursor(self._route.name, self.stream)
        self._rewind_due = bool(self._refused)
        self._progress.set()

    async def receive(self, report: ExecutionReport) -> None:
        """Take in one report. Reports at or before the place reached are repeats and are dropped."""
        route, report = self._route, sound(report.legible())
        route.counts.reports += 1
        if report.position <= self._seen:
            route.counts.replayed_reports += 1
            return
        await self._take_in(report)
        self._seen = report.position
        self._progress.set()
        if self._seen - self._moved >= _LAZY and not self._rewind_due:
            await self._keep_cursor()

    async def taken_in(self) -> int:
        """Return the place through which everything that the stream told is durably taken in."""
        seen = self._seen
        await self._drain()
        if self._rewind_due or self._seen < seen:
            return await self._route.ledger.cursor(self._route.name, self.stream)
        return seen

    async def page(self, after: int) -> list[ExecutionReport]:
        """Return the venue's next reports after a place, asked once."""
        return await self._page(after)

    async def take_again(self, report: ExecutionReport, incident: int) -> bool:
        """Take in an execution that the stream has passed by, under the number of the incident about it.

        True if it was not known, and is durable now. The cursor stays where it is.
        """
        route, report = self._route, sound(report.legible())
        entry = await self._owner(report)
        if not executions.tells_execution(report, route.capabilities):
            return False
        named = executions.name(report, route.capabilities)
        if named.key in self._known or self._has(entry, report, named):
            return False
        if entry is None:
            taken = self._strangers(report, named)
        else:
            entry, taken = await self._taken(entry, report, named, incident)
        if taken.execution is None:
            return False
        # Whoever asked may give up. What is recorded is recorded, and memory must hear of it.
        outcome = await asyncio.shield(self._record(entry, taken, None))
        return isinstance(outcome, Committed)

    def _keep(self, entry: Entry | None, report: ExecutionReport, taken: Taken) -> None:
        move = CursorMove(self.stream, self._moved, report.position)
        self._moved = report.position
        self._record(entry, taken, move)

    async def _keep_cursor(self) -> None:
        if self._seen == self._moved:
            return
        move = CursorMove(self.stream, self._moved, self._seen)
        self._moved = self._seen
        await self._drain()
        if not self._rewind_due:
            await self._route.ledger.move_cursor(self._route.name, self._route.lease.epoch, move)
