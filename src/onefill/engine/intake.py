"""What taking in a venue's report means, by whichever way it came: dedupe first, then effect and journal in one commit.

A venue may tell of the same executions by several channels: its stream, a drop copy, callbacks. What is deduped is the
execution, whichever channel was first (promise FILL-ONCE). Channels differ in what is committed together with the effect.
"""

import asyncio
import functools

import msgspec

from onefill.core import events as ev
from onefill.core import evidence, executions, split_brain
from onefill.core.events import RouteEvent
from onefill.core.executions import Name, Taken
from onefill.core.messages import EXECUTED, ExecutionReport
from onefill.core.position import Execution, Kind
from onefill.engine.entry import Entry
from onefill.engine.route import Pending, Route
from onefill.engine.sender import start_driver
from onefill.ports.ledger import Committed, CursorMove, ExecutionKnown, InboxEvent

_MOST_KNOWN = 100_000
_NO_TIME_US = 2**62


class Intake:
    """One channel of a route. A channel says what to do with an effect and with what the ledger refused."""

    def __init__(self, route: Route, stream: str) -> None:
        self._route = route
        self.stream = stream
        """Which of the venue's channels."""
        self._under_way: set[Pending] = set()
        self._refused: dict[Entry, None] = {}
        """Orders whose change the ledger refused: to be read again."""
        self._known = route.known_executions

    def _keep(self, entry: Entry | None, report: ExecutionReport, taken: Taken) -> None:
        """Hand the effect of a report to the ledger."""
        raise NotImplementedError

    def _read_again(self) -> None:
        """Hear that the ledger refused a change of this channel."""
        raise NotImplementedError

    def _replayed(self, count: int = 1) -> None:
        """Note that a report told what was known."""
        self._route.counts.replayed_reports += count

    async def _take_in(self, report: ExecutionReport) -> None:
        """Take in a report that is sound."""
        route = self._route
        route.measures.took_in(report.transacted_at_us, route.clock.now_us())
        entry = await self._owner(report)
        if executions.tells_execution(report, route.capabilities):
            await self._execution(entry, report)
        elif entry is not None:
            self._news(entry, report)

    async def _drain(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)

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
                self._replayed(int(known))
            return
        if entry is None:
            route.counts.quarantined += 1
            form = route.capabilities.id_format
            route.suspect(split_brain.sign_of_order(report.client_order_id, form, route.lease.session))
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
            self._replayed()
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
                self._replayed()
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
        if effect or not (entry is None or evidence.say_nothing_new(entry.order, taken.events)):
            self._keep(entry, report, taken)

    def _record(
        self,
        entry: Entry | None,
        taken: Taken,
        move: CursorMove | None,
        *,
        told: tuple[RouteEvent, ...] = (),
        inbox: InboxEvent | None = None,
    ) -> Pending:
        """Hand to the ledger what a report changes, with the cursor behind it, or the callback that told it."""
        route, execution = self._route, taken.execution
        then = functools.partial(self._done, entry, execution)
        if entry is not None and execution is not None:
            entry.execution_ids.add((execution.scope, execution.execution_id))
            if execution.refers_to is not None:
                entry.referred_to.add((execution.scope, execution.refers_to))
        if entry is not None and taken.events:
            pending = route.record(
                entry,
                taken.events,
                execution=execution,
                cursor=move,
                findings=taken.findings,
                told=told,
                inbox=inbox,
                then=then,
            )
        else:
            event = () if execution is None else (executions.quarantine_event(execution, _why(taken)),)
            pending = route.record_route_event(
                *event, *told, execution=execution, cursor=move, findings=taken.findings, inbox=inbox, then=then
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
            self._replayed()
            self._know((execution.scope, execution.execution_id))

    def _know(self, key: tuple[str, str]) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()  # the ledger knows them all the same
        self._known.add(key)


def sound(report: ExecutionReport) -> ExecutionReport:
    """Return a report whose time can be written down: one that cannot is no time."""
    if 0 <= report.transacted_at_us < _NO_TIME_US:
        return report
    return msgspec.structs.replace(report, transacted_at_us=0)


def _lower(entry: Entry, report: ExecutionReport) -> bool:
    return report.cum_quantity < entry.order.cum_quantity


def _why(taken: Taken) -> str:
    return taken.findings[0].summary if taken.findings else ""
