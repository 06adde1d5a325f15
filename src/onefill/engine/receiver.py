"""Takes in a venue's execution stream: dedupe first, then effect, journal and cursor in one commit (promise FILL-ONCE).

A venue may tell of the same executions by two channels, its own stream and a drop copy. Each has a receiver and a cursor of
its own; what is deduped is the execution, whichever channel was first.

Reports are processed in order and their commits pipelined. Each commit moves the cursor from the place where the one before
left it, so that a refused report holds back all later ones; the stream is then read again from the durable place.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from onefill.core import events as ev
from onefill.core import evidence, executions
from onefill.core.claims import delay_us
from onefill.core.errors import OnefillError
from onefill.core.executions import Name, Taken
from onefill.core.messages import EXECUTED, ExecutionReport
from onefill.core.position import DROP_COPY, STREAM, Execution, Kind
from onefill.engine.entry import Entry
from onefill.engine.route import Pending, Route
from onefill.engine.sender import start_driver
from onefill.ports.ledger import Committed, CursorMove, ExecutionKnown

__all__ = ["DROP_COPY", "STREAM", "Receiver"]
_MOST_KNOWN = 100_000
_NO_TIME_US = 2**62
_LAZY = 500
"""Reports without effect after which the cursor is moved on its own."""


class Receiver:
    """The consumer of one of a route's execution streams."""

    def __init__(self, route: Route, stream: str = STREAM) -> None:
        self._route = route
        self.stream = stream
        """Which of the venue's channels."""
        self._seen = 0
        """Processed in memory through here."""
        self._moved = 0
        """The cursor has been handed to the ledger through here."""
        self._under_way: set[Pending] = set()
        self._refused: dict[Entry, None] = {}
        """Orders whose change the ledger refused: to be read again."""
        self._known = route.known_executions
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
        self._task = asyncio.get_running_loop().create_task(self._follow())
        self._route.spawn(self._task)

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
                except Exception:  # noqa: BLE001 - the connection, whatever its client calls it: come back from the cursor
                    return
                if report is None or report.position > self._seen + 1:
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

    async def _drain(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def receive(self, report: ExecutionReport) -> None:
        """Take in one report. Reports at or before the place reached are repeats and are dropped."""
        route, report = self._route, _sound(report.legible())
        route.counts.reports += 1
        if report.position <= self._seen:
            route.counts.replayed_reports += 1
            return
        route.measures.took_in(report.transacted_at_us, route.clock.now_us())
        entry = await self._owner(report)
        if executions.tells_execution(report, route.capabilities):
            await self._execution(entry, report)
        elif entry is not None:
            self._news(entry, report)
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
        route, report = self._route, _sound(report.legible())
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

    async def _owner(self, report: ExecutionReport) -> Entry | None:
        """Return the order that a report is about, from memory or from the ledger."""
        route = self._route
        entry = route.by_client_order_id.get(report.client_order_id)
        if entry is None:
            loaded = await route.ledger.by_client_order_id(route.name, report.client_order_id)
            if loaded is not None:
                entry = route.adopt(loaded)
        return entry

    def _news(self, entry: Entry, report: ExecutionReport) -> None:
        """Take in a report that tells of no execution."""
        if evidence.is_old_news(entry.order, report):
            return
        events = evidence.resurrected(entry.order, evidence.from_report(entry.order, report))
        if not evidence.say_nothing_new(entry.order, events):
            self._take(entry, report, Taken(events))

    async def _execution(self, entry: Entry | None, report: ExecutionReport) -> None:
        """Take in a report of an execution, unless it is known."""
        route = self._route
        named = executions.name(report, route.capabilities)
        known = self._has(entry, report, named)
        if known or (entry is None and report.kind not in EXECUTED and not report.cum_quantity):
            totals = route.capabilities.cumulative_fills_only and named.kind is Kind.TRADE
            if entry is not None and totals and _lower(entry, report):
                await self._fallen(entry, report, named)
            elif entry is not None and report.kind not in EXECUTED:
                self._news(entry, report)  # a total that is known may come with other news
            else:
                route.counts.replayed_reports += int(known)
            return
        if entry is None:
            route.counts.quarantined += 1
            self._take(None, report, self._strangers(report, named))
            return
        entry, taken = await self._taken(entry, report, named, None)
        self._take(entry, report, taken)

    async def _fallen(self, entry: Entry, report: ExecutionReport, named: Name) -> None:
        """Take in a total that is known and lower than what was executed: old news, or something was taken back."""
        entry, rows = await self._with_rows(entry, report)
        if _lower(entry, report):
            capabilities = self._route.capabilities
            self._take(
                entry, report, executions.take(entry.order, report, named, capabilities, rows=rows, stream=self.stream)
            )

    def _has(self, entry: Entry | None, report: ExecutionReport, named: Name) -> bool:
        """Tell whether an execution is known, of an order or, without one, of those kept apart."""
        if entry is None:
            return named.key in self._known
        replaced = entry.order.replacements > 0
        return executions.told_before(named, report, entry.execution_ids, replaced=replaced)

    def _strangers(self, report: ExecutionReport, named: Name) -> Taken:
        """Return what an execution of an order that nobody here sent changes."""
        if named.kind is Kind.TRADE and self._route.capabilities.cumulative_fills_only:
            report, named = executions.strangers_total(report, named)
        return executions.quarantined(report, named, None, None, self.stream, self._route.name)

    async def _taken(
        self, entry: Entry, report: ExecutionReport, named: Name, incident: int | None
    ) -> tuple[Entry, Taken]:
        """Return what an execution changes, and the order that it changes as it is in memory by then."""
        route = self._route
        if named.key in self._known:
            return entry, await self._known_already(entry, report, named)
        if executions.is_plain(named, route.capabilities, entry.referred_to):
            return entry, executions.take(
                entry.order, report, named, route.capabilities, stream=self.stream, incident=incident
            )
        entry, rows = await self._with_rows(entry, report)
        if self._has(entry, report, named):
            route.counts.replayed_reports += 1
            return entry, Taken()
        return entry, executions.take(
            entry.order, report, named, route.capabilities, rows=rows, stream=self.stream, incident=incident
        )

    async def _known_already(self, entry: Entry, report: ExecutionReport, named: Name) -> Taken:
        """Return what it means that the ledger has an execution already, and not as one of this order's."""
        route = self._route
        if executions.stranger_to(entry.order, report) is not None:
            found = await route.ledger.executions_named(route.name, [named.key])
            if any(executions.is_row_of(report, row) for _, row in found):
                route.counts.replayed_reports += 1
                return Taken()  # kept apart when it was told before
        told = f"execution {report.execution_id} is already applied to another order"
        return Taken((ev.Anomaly(told),))

    async def _with_rows(self, entry: Entry, report: ExecutionReport) -> tuple[Entry, list[Execution]]:
        """Return an order as it is in memory, with all that the ledger has of its executions and none of them under way.

        While the ledger is read, the other channel may change the order, and a closed one may leave memory and come back as
        another entry. Of two entries for one order each would count the same change.
        """
        route = self._route
        while True:
            await route.settle(entry)
            while entry.doubtful:
                await route.reload(entry)
            version = entry.order.version
            rows = await route.ledger.executions_of(entry.order.intent_id)
            kept = route.entries.get(entry.digest)
            if kept is entry:
                if entry.order.version == version and not entry.doubtful:
                    return entry, rows
            elif kept is not None:
                entry = kept
            else:
                entry = await self._owner(report) or entry
                if not entry.doubtful and {(row.scope, row.execution_id) for row in rows} == entry.execution_ids:
                    return entry, rows

    def _take(self, entry: Entry | None, report: ExecutionReport, taken: Taken) -> None:
        effect = taken.execution is not None or bool(taken.findings)
        if not effect and (entry is None or evidence.say_nothing_new(entry.order, taken.events)):
            return
        move = CursorMove(self.stream, self._moved, report.position)
        self._moved = report.position
        self._record(entry, taken, move)

    def _record(self, entry: Entry | None, taken: Taken, move: CursorMove | None) -> Pending:
        """Hand to the ledger what a report changes, with the cursor behind it."""
        route, execution = self._route, taken.execution
        then = functools.partial(self._done, entry, execution)
        if entry is not None and execution is not None:
            entry.execution_ids.add((execution.scope, execution.execution_id))
            if execution.refers_to is not None:
                entry.referred_to.add((execution.scope, execution.refers_to))
        if entry is not None and taken.events:
            pending = route.record(
                entry, taken.events, execution=execution, cursor=move, findings=taken.findings, then=then
            )
        else:
            told = () if execution is None else (executions.quarantine_event(execution, _why(taken)),)
            pending = route.record_route_event(
                *told, execution=execution, cursor=move, findings=taken.findings, then=then
            )
        self._under_way.add(pending)
        if entry is not None and (
            entry.driver is not None or entry.order.cancel_wanted or entry.order.replacement is not None
        ):
            start_driver(route, entry)
        return pending

    def _done(self, entry: Entry | None, execution: Execution | None, pending: Pending) -> None:
        """Have the stream read again if the ledger refused a change."""
        self._under_way.discard(pending)
        if pending.cancelled() or pending.exception() is not None:
            return
        if isinstance(pending.result(), Committed):
            if execution is not None and execution.intent_id is None:
                self._know((execution.scope, execution.execution_id))  # not before: what was refused is read again
            return
        if entry is not None:
            self._refused[entry] = None
        self._read_again()
        if isinstance(pending.result(), ExecutionKnown) and execution is not None:
            self._route.counts.replayed_reports += 1
            self._know((execution.scope, execution.execution_id))

    def _know(self, key: tuple[str, str]) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()  # the ledger knows them all the same
        self._known.add(key)

    async def _keep_cursor(self) -> None:
        if self._seen == self._moved:
            return
        move = CursorMove(self.stream, self._moved, self._seen)
        self._moved = self._seen
        await self._drain()
        if not self._rewind_due:
            await self._route.ledger.move_cursor(self._route.name, self._route.lease.epoch, move)


def _sound(report: ExecutionReport) -> ExecutionReport:
    """Return a report whose time can be written down: one that cannot is no time."""
    if 0 <= report.transacted_at_us < _NO_TIME_US:
        return report
    return msgspec.structs.replace(report, transacted_at_us=0)


def _lower(entry: Entry, report: ExecutionReport) -> bool:
    return report.cum_quantity < entry.order.cum_quantity


def _why(taken: Taken) -> str:
    return taken.findings[0].summary if taken.findings else ""
