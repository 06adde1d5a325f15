"""Takes in the venue's execution stream: dedupe first, then effect, journal and cursor in one commit (promise FILL-ONCE).

Reports are processed in order and their commits pipelined. Each commit moves the cursor from the place where the one before
left it, so that a refused report holds back all later ones; the stream is then read again from the durable place.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from onefill.core import events as ev
from onefill.core import evidence
from onefill.core.claims import delay_us
from onefill.core.errors import OnefillError
from onefill.core.messages import ExecutionKind, ExecutionReport
from onefill.core.position import Execution, dedupe_scope
from onefill.engine.entry import Entry
from onefill.engine.route import Pending, Route
from onefill.engine.sender import start_driver
from onefill.ports.ledger import Committed, CursorMove, ExecutionKnown

STREAM = "executions"
_LAZY = 500
"""Reports without effect after which the cursor is moved on its own."""


class Receiver:
    """The consumer of one route's execution stream."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._seen = 0
        """Processed in memory through here."""
        self._moved = 0
        """The cursor has been handed to the ledger through here."""
        self._under_way: set[Pending] = set()
        self._refused: dict[Entry, None] = {}
        """Orders whose change the ledger refused: to be read again."""
        self._known: set[tuple[str, str]] = set()
        """Executions that the ledger had, under another order or none."""
        self._rewind_due = False
        self._waiting = False
        """For the next report."""
        self._interrupted = False
        self._stop = False
        self._task: asyncio.Task[None] | None = None
        self._progress: asyncio.Event = asyncio.Event()

    @property
    def seen(self) -> int:
        """The last position taken in."""
        return self._seen

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
                page = await route.deadlines.bound(route.venue.executions(after), route.settings.reply_timeout_s)
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
                await asyncio.wait_for(self._progress.wait(), route.settings.reply_timeout_s)

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
                await asyncio.sleep(delay_us(failures) / 1_000_000)
        finally:
            self._progress.set()

    async def _read_on(self) -> None:
        """Take in reports until the stream ends or breaks, skips one, or must be read again."""
        stream: AsyncIterator[ExecutionReport] | None = None
        try:
            while not (self._rewind_due or self._route.failure is not None):
                try:
                    stream = stream or self._route.venue.stream(self._seen)
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
        for entry in self._refused:
            await self._route.reload(entry)
            start_driver(self._route, entry)
        self._refused.clear()
        self._seen = self._moved = await self._route.ledger.cursor(self._route.name, STREAM)
        self._rewind_due = False
        self._progress.set()

    async def _drain(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def receive(self, report: ExecutionReport) -> None:
        """Take in one report. Reports at or before the place reached are repeats and are dropped."""
        route, report = self._route, report.legible()
        if report.position <= self._seen:
            route.counts.replayed_reports += 1
            return
        entry = route.by_client_order_id.get(report.client_order_id)
        if entry is None:
            loaded = await route.ledger.by_client_order_id(route.name, report.client_order_id)
            if loaded is not None:
                entry = route.adopt(loaded)
        if entry is None:
            self._stranger(report)
        elif report.kind is ExecutionKind.TRADE:
            self._trade(entry, report)
        elif not evidence.is_old_news(entry.order, report):
            events = evidence.resurrected(entry.order, evidence.from_report(entry.order, report))
            if not evidence.say_nothing_new(entry.order, events):
                self._take(entry, report, events, None)
        self._seen = report.position
        self._progress.set()
        if self._seen - self._moved >= _LAZY and not self._rewind_due:
            await self._keep_cursor()

    def _trade(self, entry: Entry, report: ExecutionReport) -> None:
        route, order = self._route, entry.order
        scope = dedupe_scope(report, route.capabilities.execution_id_scope)
        if (scope, report.execution_id) in entry.execution_ids:
            route.counts.replayed_reports += 1
            return
        events = evidence.from_report(order, report)
        execution = None
        if (scope, report.execution_id) in self._known:
            events = (ev.Anomaly(f"execution {report.execution_id} is already applied to another order"),)
        traded = next((event for event in events if isinstance(event, ev.Traded)), None)
        if traded is not None:
            execution = Execution(
                intent_id=order.intent_id,
                scope=scope,
                execution_id=report.execution_id,
                account=order.intent.account,
                strategy=order.intent.strategy,
                venue=route.name,
                instrument=report.instrument,
                side=report.side,
                quantity=traded.quantity,
                price=traded.price,
                client_order_id=report.client_order_id,
                venue_order_id=report.venue_order_id,
                transacted_at_us=report.transacted_at_us,
            )
            entry.execution_ids.add((scope, report.execution_id))
        self._take(entry, report, events, execution)

    def _take(
        self, entry: Entry, report: ExecutionReport, events: tuple[ev.Event, ...], execution: Execution | None
    ) -> None:
        move = CursorMove(STREAM, self._moved, report.position)
        self._moved = report.position
        pending = self._route.record(entry, events, execution=execution, cursor=move)
        self._watch(pending, entry, execution)
        if entry.driver is not None or entry.order.cancel_wanted or entry.order.replacement is not None:
            start_driver(self._route, entry)

    def _stranger(self, report: ExecutionReport) -> None:
        """Keep an execution of an order that nobody here sent, away from every position."""
        route = self._route
        if report.kind is not ExecutionKind.TRADE or report.last_quantity is None or report.last_price is None:
            return
        scope = dedupe_scope(report, route.capabilities.execution_id_scope)
        if (scope, report.execution_id) in self._known:
            route.counts.replayed_reports += 1
            return
        route.counts.quarantined += 1
        event = ev.Quarantined(
            execution_id=report.execution_id,
            client_order_id=report.client_order_id,
            venue_order_id=report.venue_order_id,
            instrument=report.instrument,
            side=report.side,
            quantity=report.last_quantity,
            price=report.last_price,
        )
        execution = Execution(
            intent_id=None,
            scope=scope,
            execution_id=report.execution_id,
            account=report.account,
            strategy="",
            venue=route.name,
            instrument=report.instrument,
            side=report.side,
            quantity=report.last_quantity,
            price=report.last_price,
            client_order_id=report.client_order_id,
            venue_order_id=report.venue_order_id,
            transacted_at_us=report.transacted_at_us,
        )
        move = CursorMove(STREAM, self._moved, report.position)
        self._moved = report.position
        self._watch(route.record_route_event(event, execution=execution, cursor=move), None, execution)

    def _watch(self, pending: Pending, entry: Entry | None, execution: Execution | None) -> None:
        self._under_way.add(pending)

        def done(future: Pending) -> None:
            self._under_way.discard(future)
            if future.cancelled() or future.exception() is not None:
                return
            if isinstance(future.result(), Committed):
                return
            if entry is not None:
                self._refused[entry] = None
            self._read_again()
            if isinstance(future.result(), ExecutionKnown) and execution is not None:
                self._route.counts.replayed_reports += 1
                self._known.add((execution.scope, execution.execution_id))

        pending.add_done_callback(done)

    async def _keep_cursor(self) -> None:
        if self._seen == self._moved:
            return
        move = CursorMove(STREAM, self._moved, self._seen)
        self._moved = self._seen
        await self._drain()
        if not self._rewind_due:
            await self._route.ledger.move_cursor(self._route.name, self._route.lease.epoch, move)
