"""The gateway: what callers hold. Submit, cancel and read, each safe to repeat."""

import asyncio
import datetime as dt
import functools
from collections.abc import Mapping
from types import TracebackType

import msgspec

from onefill.core import events as ev
from onefill.core import identity, retry, values
from onefill.core.errors import (
    InvalidField,
    InvariantBroken,
    KeyReused,
    OnefillError,
    UnknownKey,
    UnknownVenue,
    require,
)
from onefill.core.events import Event
from onefill.core.identity import IdScheme
from onefill.core.intent import Intent, canonical, first_difference, fit
from onefill.core.lifecycle import ENDED
from onefill.core.order import Answer, CancelAnswer, Order, cancel_answer, unknown_key_answer
from onefill.core.position import Execution, Position
from onefill.engine.book import Book
from onefill.engine.entry import Entry, Waiter, wait_for_answer
from onefill.engine.receiver import Receiver
from onefill.engine.recovery import take_up
from onefill.engine.route import Counts, Pending, Route, tell_answer
from onefill.engine.sender import start_driver
from onefill.engine.settings import GatewaySettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import Committed, KeyTaken, Ledger, Operation
from onefill.ports.venue import Venue

_answer = msgspec.json.Decoder(Answer)
_cancel_answer = msgspec.json.Decoder(CancelAnswer)


class Gateway:
    """An order-execution gateway over one ledger and one or more venues, each a route by its name.

    Use it as an async context manager. All methods may be called any number of times, from any number of tasks, with the
    same key: the effect happens once and the answer is the same bytes.
    """

    def __init__(
        self,
        ledger: Ledger,
        venues: Mapping[str, Venue],
        *,
        clock: Clock,
        holder: str,
        settings: GatewaySettings | None = None,
    ) -> None:
        self._ledger = ledger
        self._venues = {values.name(name, "venue"): venue for name, venue in venues.items()}
        self._clock = clock
        self._holder = holder
        self._settings = settings or GatewaySettings()
        self._routes: dict[str, Route] = {}
        self._receivers: dict[str, Receiver] = {}
        self._book = Book()
        self._day = (0, "")
        self.recovered = 0
        """Open orders taken up at the start."""

    async def __aenter__(self) -> "Gateway":
        """Start: acquire the routes, take up what was open, follow the execution streams."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and close everything."""
        await self.close()

    async def start(self) -> None:
        """Acquire every route and take up its open orders. Raises LedgerError or VenueError, and closes what it opened."""
        try:
            await self._book.load(self._ledger)
            for name, venue in self._venues.items():
                await venue.start()
                lease = await self._ledger.acquire(name, self._holder, self._clock.now_us())
                route = Route(name, self._ledger, venue, self._clock, self._settings, lease, self._fold)
                self._routes[name] = route
                self.recovered += await take_up(route)
                receiver = Receiver(route)
                self._receivers[name] = receiver
                await receiver.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop sending, keep every cursor, and close venues and ledger. Requests under way read as *maybe sent* next time."""
        for name, route in self._routes.items():
            if name in self._receivers:
                await self._receivers[name].stop()
            await route.stop()
        for venue in self._venues.values():
            await venue.close()
        if self._routes and all(route.failure is None for route in self._routes.values()):
            await self._book.save(self._ledger)
        await self._ledger.close()

    async def submit(
        self, intent: Intent, *, key: str, time_to_live_s: float | None = None, wait_s: float | None = None
    ) -> Answer:
        """Place an order, once, however often this is called with the same ``key``.

        ``key`` identifies the decision within the intent's account and strategy. ``time_to_live_s``: how long from its
        first recording the order may still be sent. ``wait_s``: how long to wait for a definite answer.

        Returns the answer of the first call. Raises :class:`KeyReused` if the key belongs to another order,
        :class:`OrderUncertain` if no answer is known in time (call again with the same key), :class:`InvalidField`,
        :class:`UnknownVenue`, :class:`RouteClosed` or :class:`LedgerFailed`.
        """
        return _answer.decode(await self.submit_raw(intent, key=key, time_to_live_s=time_to_live_s, wait_s=wait_s))

    async def submit_raw(
        self, intent: Intent, *, key: str, time_to_live_s: float | None = None, wait_s: float | None = None
    ) -> bytes:
        """As :meth:`submit`, returning the stored bytes of the answer."""
        values.caller_key(key)
        route, intent = self._route_of(intent)
        digest = identity.key_digest(intent.account, intent.strategy, key)
        wait_s = self._settings.answer_wait_s if wait_s is None else wait_s
        entry = route.entries.get(digest) or self._elsewhere(digest)
        if entry is not None:
            return await self._join(route, entry, intent, wait_s)
        instrument = route.instruments.get(intent.instrument)
        if instrument is None:
            # A known key keeps its answer even if the venue no longer lists the instrument.
            loaded = await self._ledger.by_key(intent.account, intent.strategy, key)
            if loaded is not None:
                return await self._join(route, route.adopt(loaded), intent, wait_s)
            raise InvalidField("instrument", f"{intent.instrument!r} is not traded at venue {route.name!r}")
        fit(intent, instrument)
        route.admit()
        entry, events = self._new_order(route, intent, key, digest, time_to_live_s)
        waiter = _waiter(entry)
        pending = route.record(entry, events, new=True)  # sending begins when it is durable, whatever becomes of us
        pending.add_done_callback(functools.partial(self._refused, route, entry))
        return await wait_for_answer(waiter, entry, wait_s)

    def _refused(self, route: Route, entry: Entry, pending: Pending) -> None:
        """Hand those who wait on an intent that was not new to the order that has its key."""
        if pending.cancelled() or pending.exception() is not None or isinstance(pending.result(), Committed):
            return
        route.forget(entry)
        waiters, entry.answer_waiters = entry.answer_waiters, []
        outcome = pending.result()
        try:
            if not isinstance(outcome, KeyTaken):
                route.counts.id_collisions += 1
                raise InvariantBroken(f"client order id {entry.order.client_order_id} is taken; nothing was sent")
            _same_content(outcome.order, entry.order.intent)
        except OnefillError as error:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        route.counts.replayed_answers += len(waiters)
        if outcome.order.answer is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(outcome.order.answer)
            return
        route.spawn(asyncio.get_running_loop().create_task(self._take_over(outcome.order, waiters)))

    async def _take_over(self, order: Order, waiters: list[Waiter]) -> None:
        found = await self._find(order.intent.account, order.intent.strategy, order.key)
        require(found is not None, f"key {order.key!r} is taken and not there")
        if found is not None:
            route, entry = found
            entry.answer_waiters += waiters
            if entry.order.answer is not None and not entry.pending:
                tell_answer(entry, entry.order.answer)
            start_driver(route, entry)

    def _route_of(self, intent: Intent) -> tuple[Route, Intent]:
        if not intent.venue and len(self._routes) == 1:
            intent = msgspec.structs.replace(intent, venue=next(iter(self._routes)))
        route = self._routes.get(intent.venue)
        if route is None:
            raise UnknownVenue(intent.venue, list(self._routes))
        return route, intent

    def _elsewhere(self, digest: bytes) -> Entry | None:
        if len(self._routes) == 1:
            return None
        return next((route.entries[digest] for route in self._routes.values() if digest in route.entries), None)

    def _new_order(
        self, route: Route, intent: Intent, key: str, digest: bytes, time_to_live_s: float | None
    ) -> tuple[Entry, tuple[Event, ...]]:
        now_us = self._clock.now_us()
        number = route.next_number()
        form = route.capabilities.id_format
        if self._settings.client_order_ids is IdScheme.DERIVED:
            client_order_id = identity.derived_id(intent.account, intent.strategy, key, form)
        else:
            day = self._day_of(now_us)
            client_order_id = identity.sequence_id(intent.strategy, day, route.lease.session, number, form)
        live_s = self._settings.time_to_live_s if time_to_live_s is None else time_to_live_s
        if not 0 < live_s < 1e9:
            raise InvalidField("time_to_live_s", f"{live_s} is not a duration above zero, in seconds")
        order = Order(
            intent_id=route.lease.intent_id(number),
            key=key,
            client_order_id=client_order_id,
            intent=intent,
            recorded_at_us=now_us,
            valid_until_us=now_us + int(live_s * 1_000_000),
        )
        claim = retry.send(order, route.capabilities, now_us)
        entry = Entry(digest, order)
        route.add(entry)
        body = msgspec.Raw(canonical(intent))
        return entry, (
            ev.Recorded(key, client_order_id, body, order.valid_until_us),
            ev.Claimed(claim.number, claim.expires_at_us),
        )

    def _day_of(self, now_us: int) -> str:
        number = now_us // retry.DAY_US
        if self._day[0] != number:
            day = dt.datetime.fromtimestamp(now_us / 1_000_000, dt.UTC)
            self._day = (number, day.strftime("%Y%m%d"))
        return self._day[1]

    async def _join(self, route: Route, entry: Entry, intent: Intent, wait_s: float) -> bytes:
        """Give a repeat of a key the answer of the first, waiting for it if need be."""
        _same_content(entry.order, intent)
        route.counts.replayed_answers += 1
        if entry.order.answer is not None and not entry.pending:
            return entry.order.answer
        route.admit()
        return await wait_for_answer(_waiter(entry), entry, wait_s)

    async def cancel(
        self, key: str, *, account: str, strategy: str, operation_key: str | None = None, wait_s: float | None = None
    ) -> CancelAnswer:
        """Make an order go away, and say what is true of it then (promise CANCEL-QUIET).

        With an ``operation_key`` the answer is kept under it and given to every repeat, also where the order was unknown.
        Without one, repeats join the cancel under way or are told that the order had ended. Raises :class:`UnknownKey`
        (without an operation key), :class:`OrderUncertain`, :class:`RouteClosed`.
        """
        raw = await self.cancel_raw(key, account=account, strategy=strategy, operation_key=operation_key, wait_s=wait_s)
        return _cancel_answer.decode(raw)

    async def cancel_raw(
        self, key: str, *, account: str, strategy: str, operation_key: str | None = None, wait_s: float | None = None
    ) -> bytes:
        """As :meth:`cancel`, returning the stored bytes of the answer."""
        values.caller_key(key)
        if operation_key is not None:
            values.caller_key(operation_key, "operation_key")
        wait_s = self._settings.answer_wait_s if wait_s is None else wait_s
        while True:
            if operation_key is not None:
                known = await self._ledger.operation(account, strategy, key, operation_key)
                if known is not None and known.answer is not None:
                    return known.answer
            found = await self._find(account, strategy, key)
            operation = self._operation(found, account, strategy, key, operation_key)
            if found is None:
                if operation is None:
                    raise UnknownKey(key, account, strategy)
                answer = await self._answer_unknown(operation)
            else:
                answer = await self._cancel_order(*found, operation, wait_s)
            if answer is not None:
                return answer  # otherwise somebody else was first: look again

    def _operation(
        self, found: tuple[Route, Entry] | None, account: str, strategy: str, key: str, operation_key: str | None
    ) -> Operation | None:
        if operation_key is None:
            return None
        return Operation(
            account=account,
            strategy=strategy,
            key=key,
            operation_key=operation_key,
            intent_id=None if found is None else found[1].order.intent_id,
            requested_at_us=self._clock.now_us(),
        )

    async def _answer_unknown(self, operation: Operation) -> bytes | None:
        answer = unknown_key_answer(operation.key, operation.requested_at_us)
        event = ev.CancelOfUnknownKey(operation.key, operation.operation_key)
        route = next(iter(self._routes.values()))
        route.admit()
        done = msgspec.structs.replace(operation, answer=answer)
        outcome = await route.record_route_event(event, opened=(done,))
        return answer if isinstance(outcome, Committed) else None

    async def _cancel_order(
        self, route: Route, entry: Entry, operation: Operation | None, wait_s: float
    ) -> bytes | None:
        await route.settle(entry)
        order = entry.order
        if order.status in ENDED:
            answer = cancel_answer(order, self._clock.now_us(), changed=False)
            if operation is None:
                return answer
            done = msgspec.structs.replace(operation, answer=answer)
            event = ev.CancelAnswered(operation.operation_key)
            outcome = await route.record_route_event(event, opened=(done,))
            return answer if isinstance(outcome, Committed) else None
        if route.failure is not None:
            route.admit()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        operation_key = None if operation is None else operation.operation_key
        if operation_key is not None and operation_key in entry.operations:
            operation = None  # recorded already: wait with the first
        entry.cancel_waiters.append((operation_key, waiter))
        if operation is not None or not order.cancel_wanted:
            opened = () if operation is None else (operation,)
            outcome = await route.record(entry, (ev.CancelRecorded(operation_key),), opened=opened)
            if not isinstance(outcome, Committed):
                entry.cancel_waiters = [pair for pair in entry.cancel_waiters if pair[1] is not waiter]
                await route.reload(entry)
                return None
        return await wait_for_answer(waiter, entry, wait_s)

    async def _find(self, account: str, strategy: str, key: str) -> tuple[Route, Entry] | None:
        digest = identity.key_digest(account, strategy, key)
        for route in self._routes.values():
            if digest in route.entries:
                return route, route.entries[digest]
        loaded = await self._ledger.by_key(account, strategy, key)
        if loaded is None:
            return None
        home = self._routes.get(loaded.order.intent.venue)
        if home is None:
            raise UnknownVenue(loaded.order.intent.venue, list(self._routes))
        return home, home.adopt(loaded)

    async def order(self, key: str, *, account: str, strategy: str) -> Order:
        """Return an order as the ledger holds it now. Raises :class:`UnknownKey`."""
        loaded = await self._ledger.by_key(account, strategy, key)
        if loaded is None:
            raise UnknownKey(key, account, strategy)
        return loaded.order

    def positions(self) -> list[Position]:
        """Return the positions by the executions that are durably recorded."""
        return self._book.positions()

    async def catch_up(self) -> None:
        """Return once every execution report that the venues have by now is durably taken in."""
        for receiver in self._receivers.values():
            await receiver.catch_up()

    def counts(self) -> dict[str, Counts]:
        """Return what each route has done since the start."""
        return {name: route.counts for name, route in self._routes.items()}

    def open_orders(self) -> list[Order]:
        """Return the orders at work or uncertain now."""
        return [e.order for route in self._routes.values() for e in route.entries.values() if not e.order.closed]

    def instruments(self, venue: str) -> Mapping[str, values.Instrument]:
        """Return the instruments of a venue by symbol."""
        if venue not in self._routes:
            raise UnknownVenue(venue, list(self._routes))
        return self._routes[venue].instruments

    def failure(self) -> Exception | None:
        """Return why a route is SAFE, or ``None`` while all take orders."""
        return next((route.failure for route in self._routes.values() if route.failure is not None), None)

    def _fold(self, execution: Execution, place: int | None) -> None:
        self._book.add(execution, place)
        if self._book.save_due:
            route = self._routes[execution.venue]
            route.spawn(asyncio.get_running_loop().create_task(self._book.save(self._ledger)))


def _waiter(entry: Entry) -> Waiter:
    waiter: Waiter = asyncio.get_running_loop().create_future()
    entry.answer_waiters.append(waiter)
    return waiter


def _same_content(order: Order, intent: Intent) -> None:
    field = first_difference(order.intent, intent)
    if field is not None:
        raise KeyReused(order.key, field)
