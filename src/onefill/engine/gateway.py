"""The gateway: what callers hold. Submit, cancel and read, each safe to repeat."""

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType

import msgspec

from onefill.core import identity, values
from onefill.core.answers import Answer, CancelAnswer, ReplaceAnswer
from onefill.core.errors import (
    InvalidField,
    InvariantBroken,
    LedgerError,
    OnefillError,
    RouteClosed,
    UnknownKey,
    UnknownVenue,
    require,
)
from onefill.core.events import Verdict
from onefill.core.intent import Intent, at_venue, first_difference, fit
from onefill.core.order import Order
from onefill.core.position import Execution, Position
from onefill.core.risk_limits import Risk
from onefill.engine.controller import BY_HAND, ControlPlan
from onefill.engine.desk import Desk, OrderName, Wish, Word, cancel, replace, resolve, same_content
from onefill.engine.entry import Entry, Waiter, wait_for_answer
from onefill.engine.measures import Counts
from onefill.engine.new_order import new_order
from onefill.engine.outside import Outside
from onefill.engine.receiver import DROP_COPY, Receiver
from onefill.engine.recovery import give_back, open_route, take_up
from onefill.engine.relay import Subscriber
from onefill.engine.risk_desk import open_desk
from onefill.engine.route import Pending, Route, tell_answer
from onefill.engine.sender import start_driver
from onefill.engine.settings import GatewaySettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import KeyTaken, Ledger, Outcome
from onefill.ports.venue import Venue

_PATIENCE_S = 1.0
"""For how long at least a refusal waits for orders that may turn out to be repeats."""
_answer = msgspec.json.Decoder(Answer)
_cancel_answer = msgspec.json.Decoder(CancelAnswer)
_replace_answer = msgspec.json.Decoder(ReplaceAnswer)


class Gateway(Outside):
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
        risk: Risk | None = None,
        control: ControlPlan = BY_HAND,
        subscribers: Iterable[Subscriber] = (),
    ) -> None:
        super().__init__(ledger, clock, settings or GatewaySettings(), control, subscribers)
        self._venues = {values.name(name, "venue"): venue for name, venue in venues.items()}
        self._holder = holder
        self._risk = risk
        self._desk = Desk(ledger, self._routes, clock)
        self._closing: asyncio.Task[None] | None = None
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
            for name, venue in self._venues.items():
                await venue.start()
                route = await open_route(
                    name, self._ledger, venue, self._clock, self._settings, holder=self._holder, fold=self._fold
                )
                route.taken = functools.partial(self._taken, route)
                self._routes[name] = route
                await self._book.load(self._ledger, name)
                self._guard(route)
                route.risk = await open_desk(self._risk, self._ledger, route.lease, self._book.positions(), self._clock)
                self.recovered += await take_up(route)
                receivers = self._receivers[name] = [Receiver(route)]
                if route.capabilities.drop_copy:
                    receivers.append(Receiver(route, DROP_COPY))
                for receiver in receivers:
                    await receiver.start()
                await self._oversee(route)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop sending, keep every cursor, and close venues and ledger. Requests under way read as *maybe sent* next time.

        Whoever still waits for an answer gets :class:`RouteClosed`. May be called again, and goes on if the caller gives up.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for route in self._routes.values():
            route.closing = True
        async with contextlib.AsyncExitStack() as last_first:  # each step is taken whatever becomes of the others
            last_first.push_async_callback(self._subscriptions.close)
            last_first.push_async_callback(self._ledger.close)
            for route in self._routes.values():
                last_first.push_async_callback(give_back, route)
            last_first.push_async_callback(self._save_positions)
            for venue in self._venues.values():
                last_first.push_async_callback(venue.close)
            for name, route in self._routes.items():
                last_first.push_async_callback(route.stop)
                for receiver in self._receivers.get(name, ()):
                    last_first.push_async_callback(receiver.stop)
            last_first.push_async_callback(self._close_outside)
            last_first.push_async_callback(self._subscriptions.stop_all)

    async def _save_positions(self) -> None:
        for name, route in self._routes.items():
            if route.failure is None:
                with contextlib.suppress(LedgerError):  # a projection: the next start folds it again
                    await self._book.save(self._ledger, name)

    async def submit(
        self,
        intent: Intent,
        *,
        key: str,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
        allow_similar: bool = False,
    ) -> Answer:
        """Place an order, once, however often this is called with the same ``key``.

        ``key`` identifies the decision within the intent's account and strategy. ``time_to_live_s``: how long from its
        first recording the order may still be sent. ``wait_s``: how long to wait for a definite answer. ``allow_similar``: the
        order is wanted although one just like it was taken a moment ago under another key.

        Where a risk gate refuses the order, that is its answer, recorded like every other (status ``refused``).

        Returns the answer of the first call. Raises :class:`KeyReused` if the key belongs to another order,
        :class:`OrderUncertain` if no answer is known in time (call again with the same key), :class:`InvalidField`,
        :class:`UnknownVenue`, :class:`RouteClosed` or :class:`LedgerFailed`.
        """
        raw = await self.submit_raw(
            intent, key=key, time_to_live_s=time_to_live_s, wait_s=wait_s, allow_similar=allow_similar
        )
        return _answer.decode(raw)

    async def submit_raw(
        self,
        intent: Intent,
        *,
        key: str,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
        allow_similar: bool = False,
    ) -> bytes:
        """As :meth:`submit`, returning the stored bytes of the answer."""
        values.caller_key(key)
        route, intent = self._route_of(intent)
        digest = identity.key_digest(intent.account, intent.strategy, key)
        wait_s = self._wait_s(wait_s)
        patient_s = route.loop.time() + max(wait_s, _PATIENCE_S)
        while True:
            placed = await self._place(route, intent, key, digest, time_to_live_s, wait_s, allow_similar, patient_s)
            if isinstance(placed, bytes):
                return placed
            await asyncio.wait([placed], timeout=max(patient_s - route.loop.time(), 0))

    async def _place(
        self,
        route: Route,
        intent: Intent,
        key: str,
        digest: bytes,
        time_to_live_s: float | None,
        wait_s: float,
        allow_similar: bool,
        patient_s: float,
    ) -> bytes | Pending:
        """Return the answer of a key, recording it first if it is new; or what to wait for before it is looked at again."""
        while (entry := route.entries.get(digest) or self._elsewhere(digest)) is not None:
            if entry.doubtful:
                # The ledger refused a change: it may be that nothing stands under the key.
                await next(home for home in self._routes.values() if home.entries.get(digest) is entry).make_sure(entry)
                continue
            if not entry.unrecorded or first_difference(entry.order.intent, intent) is None:
                return await self._join(route, entry, intent, wait_s)
            await route.settle(entry)  # an earlier order may turn out to have the key, and to be this one
        try:
            self._check_new(route, intent)
        except OnefillError:
            # A known key keeps its answer, whatever the venue lists now and although nothing new may be taken.
            loaded = None
            with contextlib.suppress(LedgerError):
                loaded = await self._ledger.by_key(intent.account, intent.strategy, key)
            if loaded is None:
                raise
            same_content(loaded.order, intent)
            return await self._join(route, route.adopt(loaded), intent, wait_s)
        refusal = route.risk.judge(intent, key, allow_similar=allow_similar)
        if refusal is not None and route.loop.time() < patient_s:
            doubt = route.risk.doubt(intent, key, allow_similar=allow_similar)
            if doubt is not None:
                return doubt
        entry, events, new = new_order(route, intent, key, digest, self._live_s(time_to_live_s), refusal)
        waiter = _waiter(route, entry)
        pending = route.record(entry, events, new=new)  # sending begins when it is durable, whatever becomes of us
        if refusal is None:
            route.risk.undecided(entry.order.intent_id, intent, pending)
        return await wait_for_answer(waiter, entry, wait_s, route.deadlines)

    def _wait_s(self, wait_s: float | None) -> float:
        if wait_s is None:
            return self._settings.answer_wait_s
        if not 0 <= wait_s < 1e9:
            raise InvalidField("wait_s", f"{wait_s} is not a duration from zero on, in seconds")
        return wait_s

    def _live_s(self, time_to_live_s: float | None) -> float:
        live_s = self._settings.time_to_live_s if time_to_live_s is None else time_to_live_s
        if not 0 < live_s < 1e9:
            raise InvalidField("time_to_live_s", f"{live_s} is not a duration above zero, in seconds")
        return live_s

    def _check_new(self, route: Route, intent: Intent) -> None:
        """Raise unless the route takes this as a new order."""
        instrument = route.instruments.get(intent.instrument)
        if instrument is None:
            raise InvalidField("instrument", f"{intent.instrument!r} is not traded at venue {route.name!r}")
        fit(intent, instrument)
        route.admit()
        route.gate.admit(intent)

    def _taken(self, route: Route, entry: Entry, outcome: Outcome) -> None:
        """Hand those who wait on an intent that was not new to the order that has its key."""
        waiters, entry.answer_waiters = entry.answer_waiters, []
        try:
            if not isinstance(outcome, KeyTaken):
                raise InvariantBroken(f"client order id {entry.order.client_order_id} is taken; nothing was sent")
            same_content(outcome.order, entry.order.intent)
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
        route.spawn(route.loop.create_task(self._take_over(route, outcome.order, waiters)))

    async def _take_over(self, route: Route, order: Order, waiters: list[Waiter]) -> None:
        try:
            loaded = await self._ledger.by_key(order.intent.account, order.intent.strategy, order.key)
            require(loaded is not None, f"key {order.key!r} is taken and not there")
            if loaded is not None:
                entry = route.adopt(loaded)
                entry.answer_waiters += waiters
                if entry.order.answer is not None and not entry.pending:
                    tell_answer(entry, entry.order.answer)
                start_driver(route, entry)
        except BaseException as error:
            reason = error if isinstance(error, OnefillError) else RouteClosed(f"route {route.name!r} was closed")
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(reason)
            raise

    def _route_of(self, intent: Intent) -> tuple[Route, Intent]:
        if not intent.venue and len(self._routes) == 1:
            intent = at_venue(intent, next(iter(self._routes)))
        route = self._routes.get(intent.venue)
        if route is None:
            raise UnknownVenue(intent.venue, list(self._routes))
        return route, intent

    def _elsewhere(self, digest: bytes) -> Entry | None:
        if len(self._routes) == 1:
            return None
        return next((route.entries[digest] for route in self._routes.values() if digest in route.entries), None)

    async def _join(self, route: Route, entry: Entry, intent: Intent, wait_s: float) -> bytes:
        """Give a repeat of a key the answer of the first, waiting for it if need be."""
        same_content(entry.order, intent)
        route.counts.replayed_answers += 1
        if entry.order.answer is not None and not (entry.pending or entry.doubtful):
            return entry.order.answer
        route.admit()
        return await wait_for_answer(_waiter(route, entry), entry, wait_s, route.deadlines)

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
        name = OrderName(account, strategy, values.caller_key(key))
        return await cancel(self._desk, name, operation_key, self._wait_s(wait_s))

    async def replace(
        self,
        key: str,
        *,
        account: str,
        strategy: str,
        quantity: Decimal | int | str | None = None,
        price: Decimal | int | str | None = None,
        operation_key: str | None = None,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
    ) -> ReplaceAnswer:
        """Give a live limit order other quantity or price (FIX OrderCancelReplaceRequest), once, however often called.

        ``quantity`` (FIX OrderQty: what is executed counts in it) and ``price`` are what the order is to have; one that is
        left out stays. While the order's own fate is unknown the replace waits; it is sent within ``time_to_live_s`` of its
        recording or never. With an ``operation_key`` the answer is kept under it and given to every repeat. A replace with
        other terms waits until the one before it is through.

        Raises :class:`CannotReplace`, :class:`KeyReused` if the operation key belongs to another wish, and what
        :meth:`cancel` raises.
        """
        raw = await self.replace_raw(
            key,
            account=account,
            strategy=strategy,
            quantity=quantity,
            price=price,
            operation_key=operation_key,
            time_to_live_s=time_to_live_s,
            wait_s=wait_s,
        )
        return _replace_answer.decode(raw)

    async def replace_raw(
        self,
        key: str,
        *,
        account: str,
        strategy: str,
        quantity: Decimal | int | str | None = None,
        price: Decimal | int | str | None = None,
        operation_key: str | None = None,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
    ) -> bytes:
        """As :meth:`replace`, returning the stored bytes of the answer."""
        name = OrderName(account, strategy, values.caller_key(key))
        wish = Wish.checked(quantity, price, operation_key, self._live_s(time_to_live_s))
        return await replace(self._desk, name, wish, self._wait_s(wait_s))

    async def resolve(
        self,
        key: str,
        *,
        account: str,
        strategy: str,
        verdict: Verdict,
        by: str,
        reason: str,
        venue_order_id: str | None = None,
    ) -> Order:
        """Take a person's word for what became of an order, if nothing contradicts it, and return the order after it.

        The venue is asked first. ``by`` and ``reason`` go into the audit log. ``venue_order_id``: the venue's number of the
        order that is to be adopted. Raises :class:`UnknownKey`, :class:`ContradictsEvidence`, :class:`InvalidField`,
        :class:`RouteClosed`.
        """
        name = OrderName(account, strategy, values.caller_key(key))
        word = Word(verdict, by, reason, venue_order_id)
        return await resolve(self._desk, name, word, self._catch_up_route)

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
        for route in self._routes.values():
            await self._catch_up_route(route)

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

    def reference_price(self, venue: str, instrument: str, price: Decimal | int | str | None) -> None:
        """Tell the last known price of an instrument at a venue, for the risk gates; ``None``: none is known any more.

        The price of a trade of one's own counts likewise. Whichever came last is the one that holds; none outlives the gateway.
        """
        if venue not in self._routes:
            raise UnknownVenue(venue, list(self._routes))
        self._routes[venue].risk.reference_price(instrument, price)

    def failure(self) -> Exception | None:
        """Return why a route is SAFE, or ``None`` while all take orders."""
        return next((route.failure for route in self._routes.values() if route.failure is not None), None)

    def _fold(self, execution: Execution, place: int | None, amends: bool) -> None:
        self._book.add(execution, place, amends=amends)
        route = self._routes[execution.venue]
        route.risk.traded(execution)
        if route.closing:
            return
        if self._book.save_due(route.name):
            route.spawn(route.loop.create_task(self._book.save(self._ledger, route.name)))
        elif not self._book.settled:
            route.spawn(route.loop.create_task(self._book.settle(self._ledger)))


def _waiter(route: Route, entry: Entry) -> Waiter:
    waiter: Waiter = route.loop.create_future()
    entry.answer_waiters.append(waiter)
    return waiter
