"""The gateway: what callers hold. Submit, cancel and read, each safe to repeat."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType

import msgspec

from onefill.core import identity, values
from onefill.core.answers import Answer, CancelAnswer, ReplaceAnswer
from onefill.core.errors import (
    Fenced,
    InvalidField,
    InvariantBroken,
    LedgerError,
    OnefillError,
    OrderUncertain,
    RouteClosed,
    UnknownKey,
    UnknownVenue,
    require,
)
from onefill.core.events import Verdict
from onefill.core.intent import Intent, at_venue, first_difference, fit
from onefill.core.order import Order
from onefill.core.position import Position
from onefill.core.risk_limits import Risk
from onefill.core.spread import Elsewhere
from onefill.engine.controller import BY_HAND, ControlPlan
from onefill.engine.desk import Desk, OrderName, Wish, Word, cancel, replace, resolve, same_content
from onefill.engine.entry import Entry, Waiter, wait_for_answer
from onefill.engine.holding import Holding
from onefill.engine.measures import Counts
from onefill.engine.new_order import new_order
from onefill.engine.relay import Subscriber
from onefill.engine.route import Pending, Route
from onefill.engine.sender import start_driver
from onefill.engine.settings import GatewaySettings, NodeSettings
from onefill.engine.telling import tell_answer
from onefill.ports.clock import Clock
from onefill.ports.ledger import KeyTaken, Ledger, Outcome
from onefill.ports.venue import Venue

_PATIENCE_S = 1.0
"""For how long at least a refusal waits for orders that may turn out to be repeats."""
_answer = msgspec.json.Decoder(Answer)
_cancel_answer = msgspec.json.Decoder(CancelAnswer)
_replace_answer = msgspec.json.Decoder(ReplaceAnswer)


class Gateway(Holding):
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
        node: NodeSettings | None = None,
    ) -> None:
        super().__init__(
            ledger,
            venues,
            clock=clock,
            holder=holder,
            settings=settings or GatewaySettings(),
            risk=risk,
            control=control,
            subscribers=subscribers,
            node=node,
        )
        self._desk = Desk(ledger, self._routes, clock, self._missing)

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
        """Acquire every route and take up its open orders. Raises LedgerError or VenueError, and closes what it opened.

        Where several nodes share the ledger it returns once this one has asked for what is free; what it gets later, or gets
        again, is opened behind it, and no venue or route that cannot be used keeps it from serving the others.
        """
        try:
            await self._begin()
        except BaseException:
            await self.close()
            raise

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
        intent = self._at_its_venue(intent)
        digest = identity.key_digest(intent.account, intent.strategy, key)
        wait_s = self._wait_s(wait_s)
        loop = asyncio.get_running_loop()
        patient_s, until_s = loop.time() + max(wait_s, _PATIENCE_S), loop.time() + wait_s
        while True:
            route = self._routes.get(intent.venue)
            if route is None and self._campaign is None:
                raise UnknownVenue(intent.venue, list(self._routes))
            try:
                if route is not None and (self._campaign is None or route.at_work):
                    left_s = max(until_s - loop.time(), 0) if self._campaign else wait_s
                    placed = await self._place(
                        route, intent, key, digest, time_to_live_s, left_s, allow_similar, patient_s
                    )
                    if isinstance(placed, bytes):
                        return placed
                    await asyncio.wait([placed], timeout=max(patient_s - loop.time(), 0))
                    continue
            except (RouteClosed, Fenced):
                if route is None or route.at_work or self._campaign is None or self._closing is not None:
                    raise  # otherwise the route goes, or went, elsewhere: the answer comes from there
            answer = await self._told_elsewhere(intent, key, until_s)
            if answer is not None:
                return answer

    async def _told_elsewhere(self, intent: Intent, key: str, until_s: float) -> bytes | None:
        """Return the answer that the holder of the route gives to a key; ``None``: the route is held here by now."""
        name, loop = intent.venue, asyncio.get_running_loop()
        wait = Elsewhere(loop.time(), until_s)
        while True:
            route = self._routes.get(name)
            if route is not None and route.at_work:
                return None
            try:
                async with asyncio.timeout(max(until_s - loop.time(), _PATIENCE_S)):
                    loaded = await self._ledger.by_key(intent.account, intent.strategy, key)
            except TimeoutError:
                raise self._elsewhere(name, "The ledger did not say in time whether the order is recorded") from None
            if loaded is not None:
                same_content(loaded.order, intent)
                if loaded.order.answer is not None:
                    return loaded.order.answer
            pause_s = wait.pause_s(loop.time(), known=loaded is not None)
            if pause_s is not None:
                await asyncio.sleep(pause_s)
            elif loaded is None:
                raise self._elsewhere(name, "Nothing was recorded under this key so far")
            else:
                holder = self._elsewhere(name, "").holder or "nobody yet"
                detail = f"no definite answer in time (status {loaded.order.status}); the route is held by {holder}"
                raise OrderUncertain(key, loaded.order.client_order_id, detail)

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
        while (entry := route.entries.get(digest) or self._of_another_route(digest)) is not None:
            if entry.doubtful:
                # The ledger refused a change: it may be that nothing stands under the key.
                homes = (home for home in self._routes.values() if home.entries.get(digest) is entry)
                await next(homes, route).make_sure(entry)
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

    def _at_its_venue(self, intent: Intent) -> Intent:
        if not intent.venue and len(self._venues) == 1:
            return at_venue(intent, next(iter(self._venues)))
        if intent.venue not in self._venues:
            raise UnknownVenue(intent.venue, list(self._venues))
        return intent

    def _of_another_route(self, digest: bytes) -> Entry | None:
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

    async def order_by_client_id(self, venue: str, client_order_id: str) -> Order | None:
        """Return the order that was ever sent to a venue under this client order id, as the ledger holds it now."""
        loaded = await self._ledger.by_client_order_id(venue, client_order_id)
        return None if loaded is None else loaded.order

    def positions(self) -> list[Position]:
        """Return the positions by the executions that are durably recorded."""
        return self._book.positions()

    async def catch_up(self) -> None:
        """Return once every execution report that the venues have by now is durably taken in."""
        for route in list(self._routes.values()):  # others may come and go meanwhile
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
            raise self._missing(venue)
        return self._routes[venue].instruments

    def reference_price(self, venue: str, instrument: str, price: Decimal | int | str | None) -> None:
        """Tell the last known price of an instrument at a venue, for the risk gates; ``None``: none is known any more.

        The price of a trade of one's own counts likewise. Whichever came last is the one that holds; none outlives the gateway.
        """
        if venue not in self._routes:
            raise self._missing(venue)
        self._routes[venue].risk.reference_price(instrument, price)

    def failure(self) -> Exception | None:
        """Return why a route is SAFE, or ``None`` while all take orders."""
        return next((route.failure for route in self._routes.values() if route.failure is not None), None)


def _waiter(route: Route, entry: Entry) -> Waiter:
    waiter: Waiter = route.loop.create_future()
    entry.answer_waiters.append(waiter)
    return waiter
