"""One route: a venue, the lease on it, and the orders at work there. Every change to the ledger goes through here.

Memory runs ahead of the disk by the changes under way; effects (sending, answering, folding a position) wait for their own
commit. A change that the ledger refuses means that memory was wrong: the order is read again.
"""

import asyncio
import functools
import typing
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from onefill.core import events as ev
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities
from onefill.core.control import Control
from onefill.core.errors import InvariantBroken, OnefillError, RouteClosed
from onefill.core.events import Event, RouteEvent
from onefill.core.identity import key_digest
from onefill.core.incident import Finding, Incident
from onefill.core.lifecycle import ENDED
from onefill.core.position import Execution
from onefill.core.values import Instrument
from onefill.engine import changes
from onefill.engine.deadlines import Deadlines
from onefill.engine.entry import Entry
from onefill.engine.gate import Gate
from onefill.engine.incident_book import IncidentBook
from onefill.engine.measures import Counts, Measures, ticks
from onefill.engine.news import JournalNews
from onefill.engine.risk_desk import RiskDesk
from onefill.engine.settings import GatewaySettings
from onefill.engine.telling import tell, tell_answer
from onefill.engine.tenure import Tenure
from onefill.ports.clock import Clock
from onefill.ports.ledger import (
    Change,
    ClientOrderIdTaken,
    Committed,
    CursorMove,
    InboxEvent,
    Lease,
    Ledger,
    Loaded,
    NewIntent,
    OpeningPosition,
    Operation,
    Outcome,
    StepRecord,
    SubscriptionMove,
)
from onefill.ports.venue import TimedStream, Venue

Pending = asyncio.Future[Outcome]
_encode = msgspec.json.encode


KINDS: dict[type, str] = {
    kind: str(kind.__struct_config__.tag) for kind in (*typing.get_args(Event), *typing.get_args(RouteEvent))
}
"""The journal's word for each event."""
_AMENDED = KINDS[ev.TradeAmended]


class Route(Tenure):
    """The shared state of one route's shells."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        venue: Venue,
        clock: Clock,
        settings: GatewaySettings,
        lease: Lease,
        fold: Callable[["Route", Execution, int | None, bool], None],
        holder: str = "",
    ) -> None:
        super().__init__(name, ledger, clock, lease, holder)
        self.venue = venue
        self.settings = settings
        self.capabilities: Capabilities = venue.capabilities
        self.timed = isinstance(venue, TimedStream)
        """The places of its stream are times."""
        self.instruments: dict[str, Instrument] = {}
        self.counts = Counts()
        self.news = JournalNews()
        self.known_executions: set[tuple[str, str]] = set()
        """Executions that the ledger has under another order or none."""
        self.incidents = IncidentBook(name)
        self.control = Control()
        """What the route lets through, as the ledger has it."""
        self.entries: dict[bytes, Entry] = {}
        self.by_client_order_id: dict[str, Entry] = {}
        self.deadlines = Deadlines()
        self.measures = Measures(ticks(self.loop))
        self.risk = RiskDesk(None, self.loop.time)
        """Hears of every change to an order in memory. Replaced by the gateway before the first."""
        self.tasks: dict[asyncio.Task[None], None] = {}
        """In the order of their beginning: a run can be repeated exactly."""
        self.gate = Gate(self)
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._number = lease.last_number
        self._fold = fold
        self.drive: Callable[..., None] = _no_driver
        """Starts an order's driver. Set once the shells are put together."""
        self.taken: Callable[[Entry, Outcome], None] = _no_driver
        """Hears of an intent whose key or client order id was taken. Set by the gateway."""
        self.meet: Callable[[str], object] = lambda _account: None
        """Hears of an account, once, before its first order since the start is recorded."""
        self._accounts: set[str] = set()

    def next_number(self) -> int:
        """Return the next intent number. It becomes durable with its intent; a gap is harmless, a repeat impossible."""
        self._number += 1
        return self._number

    def admit(self) -> None:
        """Raise unless the route takes new exposure (promise FAIL-CLOSED)."""
        if self.failure is not None:
            raise RouteClosed(
                f"route {self.name!r} is SAFE and takes no new orders: {self.failure}. Open the ledger again to recover"
            )
        if self.closing:
            raise self._closed()
        self.check_held()

    def add(self, entry: Entry) -> None:
        """Keep an order in memory while something is expected of it."""
        self.entries[entry.digest] = entry
        for client_order_id in changes.ids(entry.order):
            self.by_client_order_id[client_order_id] = entry

    def adopt(self, loaded: Loaded) -> Entry:
        """Return the entry of an order read from the ledger, keeping the one in memory if there is one."""
        order = loaded.order
        digest = key_digest(order.intent.account, order.intent.strategy, order.key)
        known = self.entries.get(digest)
        if known is not None:
            return known
        live_s = max(order.valid_until_us - self.clock.now_us(), 0) / 1_000_000
        entry = Entry(digest, order, self.loop.time() + live_s)
        self._fill(entry, loaded)
        self.measures.taken_up(entry)
        self.add(entry)
        self.release(entry)
        return entry

    def _fill(self, entry: Entry, loaded: Loaded) -> None:
        self.risk.changed(entry.order, loaded.order)
        entry.order = loaded.order
        entry.doubtful = False
        entry.execution_ids = set(loaded.execution_ids)
        entry.referred_to = set(loaded.referred_to)
        entry.operations = {operation.operation_key: operation for operation in loaded.operations}

    def release(self, entry: Entry) -> None:
        """Let go of a closed order, keeping the last few for late news about them."""
        if not (entry.order.closed and entry.idle) or self.entries.get(entry.digest) is not entry:
            return
        self._recent[entry.digest] = None
        self._recent.move_to_end(entry.digest)
        while len(self._recent) > self.settings.recent_orders:
            digest, _ = self._recent.popitem(last=False)
            old = self.entries.get(digest)
            if old is not None and old.order.closed and old.idle:
                self.forget(old)

    def forget(self, entry: Entry) -> None:
        """Drop an order from memory. The ledger has it."""
        self.measures.forget(entry)
        if self.entries.get(entry.digest) is entry:
            self.risk.forgotten(entry.order)  # once: what is out of memory is counted no more
            del self.entries[entry.digest]
        for client_order_id in changes.ids(entry.order):
            if self.by_client_order_id.get(client_order_id) is entry:
                del self.by_client_order_id[client_order_id]

    def record(
        self,
        entry: Entry,
        events: tuple[Event, ...],
        *,
        new: NewIntent | None = None,
        opened: tuple[Operation, ...] = (),
        adopts: str | None = None,
        execution: Execution | None = None,
        cursor: CursorMove | None = None,
        findings: tuple[Finding, ...] = (),
        told: tuple[RouteEvent, ...] = (),
        inbox: InboxEvent | None = None,
        then: Callable[[Pending], None] | None = None,
    ) -> Pending:
        """Advance an order by ``events`` and hand the change to the ledger. Returns a future for the outcome.

        What needs an incident gets one in the same commit; ``told`` stands in the same journal entry. Effects that follow from
        the new state happen when that future is done, and ``then`` after them; callers who act on it await it first.
        """
        if new is not None and entry.order.intent.account not in self._accounts:
            self._accounts.add(entry.order.intent.account)
            self.meet(entry.order.intent.account)
        now_us = self.clock.now_us()
        try:
            payload = _encode(events)
        except UnicodeEncodeError:  # a venue's text can hold what no file can
            events = tuple(map(ev.legible_event, events))
            payload = _encode(events)
        before, order = entry.order, advance(entry.order, events, now_us)
        entry.order = order
        self.risk.changed(before, order)
        incidents, noted = self.incidents.of_change(before, order, events, now_us)
        if findings:
            more, also_noted = self.incidents.note(findings, now_us)
            incidents, noted = incidents + more, noted + also_noted
        if noted or told:
            payload = _encode((*events, *told, *noted))
        if entry.digest not in self.entries or order.replacement is not before.replacement:
            for client_order_id in changes.ids(before):
                self.by_client_order_id.pop(client_order_id, None)
            self.add(entry)  # let go of while somebody still held it, or it may have got another id
        claims, settled = changes.copies(before, order, events)
        if claims:
            entry.claimed_at_s = self.loop.time()
        if opened:
            entry.operations.update((operation.operation_key, operation) for operation in opened)
        refused = order.status not in ENDED and isinstance(events[-1], ev.CancelRefused)
        answered = changes.answered(entry.operations, before, order, now_us, refused=refused)
        for operation in answered:
            del entry.operations[operation.operation_key]
        change = Change(
            route=self.name,
            epoch=self.lease.epoch,
            at_us=now_us,
            kind=KINDS[type(events[0])],
            payload=payload.decode(),
            order=order,
            new=new,
            claims=claims,
            settled=settled,
            opened=opened,
            answered=answered,
            replacement=changes.replacement(before, order),
            adopts=adopts,
            execution=execution,
            cursor=cursor,
            incidents=incidents,
            inbox=inbox,
        )
        if order.anomaly is not before.anomaly:
            self.counts.anomalies += 1
        entry.pending += 1
        if new is not None:
            self.measures.recorded(entry)
        future = self.ledger.commit(change)
        future.add_done_callback(functools.partial(self._committed, entry, change, refused, then))
        return future

    def record_route_event(
        self,
        *events: RouteEvent,
        opened: tuple[Operation, ...] = (),
        execution: Execution | None = None,
        cursor: CursorMove | None = None,
        findings: tuple[Finding, ...] = (),
        incidents: tuple[Incident, ...] = (),
        control: Control | None = None,
        opening: tuple[OpeningPosition, ...] = (),
        inbox: InboxEvent | None = None,
        step: StepRecord | None = None,
        subscription: SubscriptionMove | None = None,
        then: Callable[[Pending], None] | None = None,
    ) -> Pending:
        """Hand a change to the ledger that belongs to the route and to no order's state.

        ``findings`` get their incident in the same commit. ``incidents`` are those that somebody changed, as they are now.
        """
        now_us = self.clock.now_us()
        for one in incidents:
            self.incidents.put(one)
        noted, told = self.incidents.note(findings, now_us)
        change = Change(
            route=self.name,
            epoch=self.lease.epoch,
            at_us=now_us,
            kind=KINDS[type((*events, *told)[0])],
            payload=_encode((*events, *told)).decode(),
            opened=opened,
            execution=execution,
            cursor=cursor,
            incidents=(*incidents, *noted),
            control=control,
            opening=opening,
            inbox=inbox,
            step=step,
            subscription=subscription,
        )
        future = self.ledger.commit(change)
        future.add_done_callback(functools.partial(self._watch, change, then))
        return future

    def _watch(self, change: Change, then: Callable[[Pending], None] | None, done: Pending) -> None:
        self.news.heard(done)
        if not done.cancelled() and done.exception() is not None:
            self.fail(done.exception())
        elif change.incidents:
            self._keep_incidents(change, done)
        if change.opening and _durable(done):
            self.risk.opened(change.opening)
        if change.execution is not None and _durable(done) and not self.risk.stranger(change.execution):
            self.spawn(self.loop.create_task(self._strangers_again()))
        if then is not None:
            then(done)

    async def _strangers_again(self) -> None:
        rows = await self.ledger.quarantined(self.name)
        self.risk.strangers([row for _, row in rows])

    def _keep_incidents(self, change: Change, done: Pending) -> None:
        if _durable(done):
            self.incidents.committed(change.incidents)
            self.measures.incidents(change.incidents, change.at_us)
        else:
            self.incidents.refused(change.incidents)

    def _committed(
        self, entry: Entry, change: Change, refused: bool, then: Callable[[Pending], None] | None, done: Pending
    ) -> None:
        entry.pending -= 1
        self.news.heard(done)
        if change.incidents:
            self._keep_incidents(change, done)
        try:
            if done.cancelled():
                entry.doubtful = True
            else:
                self._took(entry, change, refused, done)
        except Exception as error:  # noqa: BLE001 - a defect: a callback's exception would go unseen
            self.fail(error)
        if entry.pending == 0 and entry.settled is not None and not entry.settled.done():
            entry.settled.set_result(None)
        if entry.order.closed:
            self.release(entry)
        if then is not None:
            then(done)

    def _took(self, entry: Entry, change: Change, refused: bool, done: Pending) -> None:
        error = done.exception()
        if error is not None:
            entry.doubtful = True
            self.fail(error)
        elif isinstance(outcome := done.result(), Committed):
            if change.execution is not None:
                self.counts.executions += 1
                self._fold(self, change.execution, outcome.execution_place, change.kind == _AMENDED)
            order = change.order
            if change.new is not None:
                self.counts.intents += 1
                self.counts.new_orders += bool(change.claims)
                self.measures.durable(entry)
                if order is not None and order.status not in ENDED:
                    self.drive(entry, claimed=bool(change.claims))
            elif entry.order.cancel_wanted or entry.order.replacement is not None:
                self.drive(entry)  # also where it waits: a cancel or replace may change the next step
            if order is not None and (entry.answer_waiters or entry.cancel_waiters or entry.replace_waiters):
                tell(entry, order, change, refused=refused)
            if order is not None and order.answer is not None:
                self.measures.answered(entry, order)
            return
        self.counts.id_collisions += isinstance(outcome, ClientOrderIdTaken)
        if change.new is not None:
            self.forget(entry)
            self.taken(entry, outcome)
        else:
            entry.doubtful = True

    def fail(self, error: BaseException | None) -> None:
        """Put the route into SAFE: tell all who wait, start nothing more (promise FAIL-CLOSED)."""
        self._tell_all(self.failed_of(error))

    def _tell_all(self, error: OnefillError) -> None:
        for entry in self.entries.values():
            wanting = [waiter for _, waiter in entry.cancel_waiters]
            wanting += [waiter for *_, waiter in entry.replace_waiters]
            for waiter in (*entry.answer_waiters, *wanting):
                if not waiter.done():
                    waiter.set_exception(error)
            entry.rouse()

    def _closed(self) -> RouteClosed:
        return RouteClosed(
            f"route {self.name!r}: the gateway was closed. What was recorded stands: open the ledger again and repeat the call"
        )

    async def settle(self, entry: Entry) -> None:
        """Wait until every change of an order that was handed to the ledger has its outcome."""
        while entry.pending:
            if entry.settled is None or entry.settled.done():
                entry.settled = self.loop.create_future()
            await asyncio.shield(entry.settled)  # several may wait; one giving up must not end it for all

    async def make_sure(self, entry: Entry) -> None:
        """Wait until what memory says of an order is durable, reading it again if the ledger refused a change."""
        await self.settle(entry)
        while entry.doubtful:
            self.admit()
            await self.reload(entry)

    async def reload(self, entry: Entry) -> None:
        """Read an order again after the ledger refused a change: what the ledger holds is what is true."""
        await self.settle(entry)
        intent = entry.order.intent
        loaded = await self.ledger.by_key(intent.account, intent.strategy, entry.order.key)
        if loaded is None or loaded.order.intent_id != entry.order.intent_id:
            entry.doubtful = False  # it was never recorded: its key was free, or another order's
            self.forget(entry)
        elif not entry.pending:
            self._fill(entry, loaded)
            if entry.order.answer is not None:
                tell_answer(entry, entry.order.answer)
                self.measures.answered(entry, entry.order)

    def spawn(self, work: "asyncio.Task[None]") -> None:
        """Keep a background task alive until it ends; one that dies of an error closes the route."""
        self.tasks[work] = None
        work.add_done_callback(self._ended)

    async def stop(self, why: OnefillError | None = None) -> None:
        """End the background work and tell all who wait. What was under way reads as *maybe sent* when it is opened again."""
        self.closing = True
        drivers = [entry.driver for entry in self.entries.values() if entry.driver is not None]
        tasks = [*self.tasks, *drivers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tell_all(why or self._closed())
        self.deadlines.close()
        self.gate.pace.close()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.pop(task, None)
        if not task.cancelled():
            if task.exception() is not None:
                self.fail(task.exception())
        elif not self.closing:
            self.fail(RouteClosed("a task of the gateway was cancelled from outside"))


def _durable(done: Pending) -> bool:
    return not done.cancelled() and done.exception() is None and isinstance(done.result(), Committed)


def _no_driver(*_args: object, **_kwargs: object) -> None:
    raise InvariantBroken("the route has no driver yet")
