"""A simulated exchange without I/O: values in, values out, time as an argument. The same calls always give the same results.

Time: every call that can change something takes ``now_us`` (µs since 1970) and first brings the exchange there, so what is
due (asynchronous acknowledgements, the end of DAY orders) happens before the call itself. The clock never runs backwards: an
earlier ``now_us`` counts as the latest one seen.

A submit is judged in this order: rate, expiry, repeated id, form, then the instrument's rules. What is refused up to there
never becomes an order. Where acknowledgements are asynchronous, only the instrument's rules are judged later.

A replace is judged in this order: rate, expiry, the original (there, the same order in all its parts, live, accepted), the
new id, form, the instrument's rules, the executed quantity. It is decided at once and happens whole or not at all.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec

from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle
from onefill.core.errors import InvalidField, require
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    CancelRejected,
    CancelRequest,
    DuplicateId,
    ExecutionKind,
    ExecutionReport,
    Found,
    Listed,
    NotFound,
    Rejected,
    Replaced,
    ReplaceRejected,
    ReplaceRequest,
    SubmitRequest,
    Throttled,
    TooLate,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.sim.dialect import DAY_US, SECOND_US, Dialect, Throttle, capabilities_of
from onefill.sim.exchange_account import Account, Counts
from onefill.sim.exchange_rules import Rules
from onefill.sim.order_book import BookOrder, ExchangeOrder, OrderBook, judged

__all__ = ["Counts", "Exchange"]

ExchangeSubmitReply = Accepted | Rejected | TooLate | DuplicateId | Throttled
ExchangeCancelReply = Canceled | CancelRejected | Throttled
ExchangeReplaceReply = Replaced | ReplaceRejected | TooLate | Throttled
ExchangeLookupReply = Found | NotFound | Unknown
ExchangeScanReply = Listed | Unknown

_ZERO = Decimal(0)


class Exchange:
    """A simulated exchange: price-time matching, one order store and one execution stream per account.

    ``instruments`` is what can be traded. Replies are the structs of :mod:`onefill.core.messages`. Nothing is ever forgotten.
    Raises :class:`~onefill.core.errors.InvalidField` if two instruments share a symbol or a step is not above zero.
    """

    def __init__(self, dialect: Dialect, instruments: Iterable[Instrument]) -> None:
        self.dialect = dialect
        self._books: dict[str, OrderBook] = {}
        for instrument in instruments:
            self._list(instrument)
        self.instruments: Mapping[str, Instrument] = MappingProxyType(
            {symbol: book.instrument for symbol, book in self._books.items()}
        )
        self._accounts: dict[str, Account] = {}
        self._orders: list[BookOrder] = []
        self._pending: deque[tuple[int, BookOrder]] = deque()
        self._day_orders: list[BookOrder] = []
        self._counts = Counts()
        self._now_us = 0
        self._midnight_us = DAY_US
        self._rules = Rules(dialect, self._books)
        self._asynchronous = dialect.acknowledges_asynchronously

    @property
    def capabilities(self) -> Capabilities:
        """What this exchange declares about repeats."""
        return capabilities_of(self.dialect)

    # ---------------------------------------------------------------- requests

    def submit(self, request: SubmitRequest, now_us: int) -> ExchangeSubmitReply:
        """Take a new order, or say why not. The reply shows the order as it is after matching."""
        counts = self._counts
        counts.submits += 1
        now = self._bring_to(now_us)
        account = self._accounts.get(request.account) or self._account(request.account)
        if account.throttle is not None and (wait_us := account.throttle.take(now)):
            counts.throttled += 1
            return Throttled("too many requests", wait_us / SECOND_US)
        if (late := self._late(request.expires_at_us, now)) is not None:
            return late
        earlier = account.latest.get(request.client_order_id)
        if earlier is not None and self._rules.in_use(earlier, now):
            counts.duplicates += 1
            if self.dialect.duplicate_reply is DuplicateReply.ORIGINAL:
                return Accepted(earlier.view())
            return DuplicateId(f"client order id {request.client_order_id!r} is in use")
        problem = self._rules.malformed(request)
        if problem is None and not self._asynchronous:
            problem = self._rules.refusal(request)
        if problem is not None:
            counts.rejected += 1
            return Rejected(problem[1], problem[0])
        order = self._record(request, account, now)
        if self._asynchronous:
            self._pending.append((now + self.dialect.acknowledge_delay_us, order))
        else:
            self._work(order, now)
        return Accepted(order.view())

    def cancel(self, request: CancelRequest, now_us: int) -> ExchangeCancelReply:
        """Cancel by venue order id where given (or required), else the latest order under the client order id.

        A refusal carries the order where there is one, so that the caller sees what is true.
        """
        counts = self._counts
        counts.cancels += 1
        now = self._bring_to(now_us)
        account = self._accounts.get(request.account) or self._account(request.account)
        if account.throttle is not None and (wait_us := account.throttle.take(now)):
            counts.throttled += 1
            return Throttled("too many requests", wait_us / SECOND_US)
        if request.venue_order_id is None and not self.dialect.cancel_by_client_order_id:
            counts.cancels_rejected += 1
            return CancelRejected("this venue cancels by its own order number, and none was given")
        order = self._find(request, request.client_order_id, account)
        if order is None:
            counts.cancels_rejected += 1
            return CancelRejected("unknown order")
        if order.status not in LIVE:
            counts.cancels_rejected += 1
            return CancelRejected(f"order is already {order.status}", order.view())
        self._rest_no_more(order)
        self._end(order, VenueStatus.CANCELED, ExecutionKind.CANCELED, now, None)
        counts.canceled += 1
        return Canceled(order.view())

    def replace(self, request: ReplaceRequest, now_us: int) -> ExchangeReplaceReply:
        """Give a live order other quantity and price (FIX OrderCancelReplaceRequest), or say why not.

        ``quantity`` counts what is executed; equal to it, it leaves nothing and the order ends FILLED. Another price or more
        quantity costs the place in the queue, and the order is matched again at once. Where the id is kept, a request for
        what the order already is changes nothing and is not reported. The reply shows the order after matching; a refusal
        shows the original where there is one.
        """
        counts = self._counts
        counts.replaces += 1
        now = self._bring_to(now_us)
        account = self._accounts.get(request.account) or self._account(request.account)
        if account.throttle is not None and (wait_us := account.throttle.take(now)):
            counts.throttled += 1
            return Throttled("too many requests", wait_us / SECOND_US)
        if (late := self._late(request.expires_at_us, now)) is not None:
            return late
        if self.dialect.replace is ReplaceStyle.NONE:
            counts.replaces_rejected += 1
            return ReplaceRejected("this venue does not replace orders")
        original = self._find(request, request.orig_client_order_id, account)
        if original is None or not request.orig_client_order_id:
            counts.replaces_rejected += 1
            return ReplaceRejected("unknown order")
        wanted = self._rules.replacement(request, original, account.latest.get(request.client_order_id), now)
        if isinstance(wanted, str):
            counts.replaces_rejected += 1
            return ReplaceRejected(wanted, original.view())
        if wanted == original.request:
            return Replaced(original.view())
        counts.replaced += 1
        return Replaced(self._replace(original, wanted, account, now).view())

    def lookup(self, client_order_id: str, account: str, now_us: int) -> ExchangeLookupReply:
        """Return the latest order under a client order id, dead ones included; Unknown where there is no look-up."""
        self._bring_to(now_us)
        if self.dialect.lookup is not Lookup.DIRECT:
            return Unknown("this venue has no look-up by client order id")
        kept = self._accounts.get(account)
        order = kept.latest.get(client_order_id) if kept is not None else None
        return Found(order.view()) if order is not None else NotFound("no order under this client order id")

    def scan(self, account: str, instrument: str, since_us: int, now_us: int) -> ExchangeScanReply:
        """List the account's orders in an instrument that are open, or that ended or traded at ``since_us`` (µs) or later.

        In order of arrival, and complete; Unknown where the dialect lists none.
        """
        self._bring_to(now_us)
        if self.dialect.lookup is Lookup.NONE:
            return Unknown("this venue does not list orders")
        kept = self._accounts.get(account)
        if kept is None:
            return Listed(())
        found = dict(kept.open)
        # Whatever ends or trades is reported, except an order that went on under another id: its successor is.
        for report in reversed(kept.reports):
            if report.transacted_at_us < since_us:
                break
            order = self._orders[int(report.venue_order_id[1:]) - 1]
            found[order.number] = order
            if report.kind is ExecutionKind.REPLACED and order.replaces:
                found[order.replaces] = self._orders[order.replaces - 1]
        listed = (order for _, order in sorted(found.items()) if order.request.instrument == instrument)
        return Listed(tuple(order.view() for order in listed))

    def open_orders(self, account: str) -> list[VenueOrder]:
        """Return the account's live orders, oldest first, as of the latest time seen."""
        kept = self._accounts.get(account)
        return [order.view() for order in kept.open.values()] if kept is not None else []

    def executions(self, account: str, after: int, limit: int = 1000) -> list[ExecutionReport]:
        """Return at most ``limit`` reports of the account's stream after position ``after`` (0: from the start)."""
        kept = self._accounts.get(account)
        first = max(after, 0)
        return kept.reports[first : first + max(limit, 0)] if kept is not None else []

    def subscribe(self, account: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called after each new report of ``account``; return what ends that. ``wake`` must not call back in."""
        listeners = self._account(account).listeners
        listeners.append(wake)
        return lambda: listeners.remove(wake)

    def listeners(self, account: str) -> int:
        """Return how many subscriptions to an account's reports there are."""
        kept = self._accounts.get(account)
        return len(kept.listeners) if kept is not None else 0

    # -------------------------------------------------------------------- time

    def advance(self, now_us: int) -> None:
        """Bring the exchange to ``now_us``: decide what is pending, end what has expired."""
        self._bring_to(now_us)

    def next_due_us(self) -> int | None:
        """Return when the next asynchronous acknowledgement falls due, or ``None`` if none is pending."""
        return self._pending[0][0] if self._pending else None

    # ------------------------------------------------------------------ judges

    def all_orders(self, after: int = 0, limit: int | None = None) -> list[ExchangeOrder]:
        """Return every order that ever existed, in order of arrival, from number ``after`` + 1 on."""
        first = max(after, 0)
        last = None if limit is None else first + max(limit, 0)
        return [judged(order) for order in self._orders[first:last]]

    def counts(self) -> Counts:
        """Return what happened so far."""
        return msgspec.structs.replace(
            self._counts,
            orders=len(self._orders),
            open_orders=sum(len(account.open) for account in self._accounts.values()),
            reports=sum(len(account.reports) for account in self._accounts.values()),
        )

    def book(self, symbol: str) -> tuple[list[ExchangeOrder], list[ExchangeOrder]]:
        """Return the resting bids and offers of an instrument, best first. Raises KeyError for an unknown symbol."""
        book = self._books[symbol]
        bids, offers = book.side(Side.BUY).orders(), book.side(Side.SELL).orders()
        return [judged(order) for order in bids], [judged(order) for order in offers]

    # ---------------------------------------------------------------- judgment

    def _late(self, expires_at_us: int | None, now: int) -> TooLate | None:
        if expires_at_us is None or now <= expires_at_us or not self.dialect.request_expiry:
            return None
        self._counts.too_late += 1
        return TooLate(f"request expired {now - expires_at_us} µs ago")

    def _find(
        self, request: CancelRequest | ReplaceRequest, client_order_id: str, account: Account
    ) -> BookOrder | None:
        if request.venue_order_id is None:
            order = account.latest.get(client_order_id)
        else:
            order = self._by_venue_id(request.venue_order_id)
        if order is None or order.request.account != request.account:
            return None
        # A request whose parts name different orders must not touch either.
        if order.request.instrument != request.instrument:
            return None
        return order if client_order_id in ("", order.request.client_order_id) else None

    def _by_venue_id(self, venue_order_id: str) -> BookOrder | None:
        digits = venue_order_id[1:]
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19 and 0 < int(digits) <= len(self._orders)):
            return None
        order = self._orders[int(digits) - 1]
        return order if order.venue_order_id == venue_order_id else None

    # ------------------------------------------------------------------- orders

    def _record(self, request: SubmitRequest, account: Account, now: int) -> BookOrder:
        number = len(self._orders) + 1
        order = BookOrder(number, request, VenueStatus.PENDING_NEW, _ZERO, now, number)
        self._orders.append(order)
        account.latest[request.client_order_id] = order
        account.open[number] = order
        return order

    def _work(self, order: BookOrder, now: int) -> None:
        """Make an order NEW, match it, and let the rest of it rest or end."""
        request = order.request
        book = self._books[request.instrument]
        order.status = VenueStatus.NEW
        order.key = book.key_of(request)
        self._accounts[request.account].report(order, ExecutionKind.NEW, now)
        passing = request.order_type is OrderType.MARKET or request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        if self.dialect.matching:
            self._match(order, book, now)
            if order.status is VenueStatus.FILLED:
                return
            if passing:
                # FIX 4.4 matrices D.34 and D.35: what cannot trade at once ends as Canceled.
                self._end(
                    order, VenueStatus.CANCELED, ExecutionKind.CANCELED, now, "nothing more to trade with at once"
                )
                return
            book.side(request.side).add(order)
        if request.time_in_force is TimeInForce.DAY and self.dialect.day_orders_expire:
            self._day_orders.append(order)

    def _match(self, order: BookOrder, book: OrderBook, now: int) -> None:
        request = order.request
        against = book.against(request.side)
        limit = None if request.order_type is OrderType.MARKET else -order.key
        if request.time_in_force is TimeInForce.FOK and not against.holds(request.quantity, limit):
            return
        while (resting := against.best()) is not None and (limit is None or resting.key >= limit):
            quantity = min(order.leaves, resting.leaves)
            price = resting.request.price
            require(price is not None, "exchange: only limit orders rest")
            self._counts.trades += 1
            self._trade(resting, quantity, price, now)
            if resting.status is VenueStatus.FILLED:
                against.remove(resting)
            self._trade(order, quantity, price, now)
            if order.status is VenueStatus.FILLED:
                return

    def _trade(self, order: BookOrder, quantity: Decimal, price: Decimal | None, now: int) -> None:
        order.cum_quantity += quantity
        filled = order.cum_quantity == order.request.quantity
        order.status = VenueStatus.FILLED if filled else VenueStatus.PARTIALLY_FILLED
        account = self._accounts[order.request.account]
        if filled:
            del account.open[order.number]
        account.report(order, ExecutionKind.TRADE, now, quantity, price)

    def _end(self, order: BookOrder, status: VenueStatus, kind: ExecutionKind, now: int, reason: str | None) -> None:
        """Give a live order that rests nowhere its last state."""
        order.status = status
        order.reason = reason
        account = self._accounts[order.request.account]
        del account.open[order.number]
        account.report(order, kind, now)

    def _rest_no_more(self, order: BookOrder) -> None:
        if order.status is not VenueStatus.PENDING_NEW and self.dialect.matching:
            self._books[order.request.instrument].side(order.request.side).remove(order)

    def _replace(self, original: BookOrder, wanted: SubmitRequest, account: Account, now: int) -> BookOrder:
        """Let an accepted order go on as ``wanted``, under its own number or, where the id changes, under a new one."""
        book, old = self._books[wanted.instrument], original.request
        ends = wanted.quantity == original.cum_quantity
        keeps_place = not ends and wanted.price == old.price and wanted.quantity <= old.quantity
        if not keeps_place:
            self._rest_no_more(original)
        order = original
        if self.dialect.replace is ReplaceStyle.NEW_ID:
            order = self._successor(original, wanted, account, now)
            if keeps_place and self.dialect.matching:
                book.side(wanted.side).take_place(order, original)
        order.request = wanted
        order.key = book.key_of(wanted)
        if ends:
            order.status = VenueStatus.FILLED
            del account.open[order.number]
        else:
            order.status = VenueStatus.PARTIALLY_FILLED if order.cum_quantity else VenueStatus.NEW
        account.report(order, ExecutionKind.REPLACED, now, orig_client_order_id=old.client_order_id)
        if not keeps_place and not ends and self.dialect.matching:
            self._match(order, book, now)
            if order.status is not VenueStatus.FILLED:
                book.side(wanted.side).add(order)
        return order

    def _successor(self, original: BookOrder, wanted: SubmitRequest, account: Account, now: int) -> BookOrder:
        """End an order that another goes on for, and return that other. Where it rests is left to the caller."""
        order = self._record(wanted, account, now)
        order.cum_quantity = original.cum_quantity
        order.orig_client_order_id = original.request.client_order_id
        order.replaces, original.replaced_by = original.number, order.number
        original.status = self.dialect.replaced_shows_as
        del account.open[original.number]
        if original.status is VenueStatus.CANCELED:
            account.report(original, ExecutionKind.CANCELED, now)
        if wanted.time_in_force is TimeInForce.DAY and self.dialect.day_orders_expire:
            self._day_orders.append(order)
        return order

    # ------------------------------------------------------------------ passing

    def _bring_to(self, now_us: int) -> int:
        self._now_us = max(self._now_us, now_us)
        if self._pending:
            self._decide()
        if self._now_us >= self._midnight_us:
            self._pass_midnight()
        return self._now_us

    def _decide(self) -> None:
        while self._pending and self._pending[0][0] <= self._now_us:
            due, order = self._pending.popleft()
            if due >= self._midnight_us:
                # Orders of the day before end before this one arrives.
                self._pass_midnight(due)
            if order.status is not VenueStatus.PENDING_NEW:
                continue
            problem = self._rules.refusal(order.request)
            if problem is None:
                self._work(order, due)
            else:
                self._counts.rejected += 1
                reason = f"{problem[0]}: {problem[1]}"
                self._end(order, VenueStatus.REJECTED, ExecutionKind.REJECTED, due, reason)

    def _pass_midnight(self, now: int | None = None) -> None:
        """End the DAY orders of the days before ``now``, at the midnight that ended their day."""
        midnight = self._midnight_us
        self._midnight_us = ((self._now_us if now is None else now) // DAY_US + 1) * DAY_US
        ending, self._day_orders = self._day_orders, []
        for order in ending:
            if order.status in LIVE:
                self._rest_no_more(order)
                self._end(order, VenueStatus.EXPIRED, ExecutionKind.EXPIRED, midnight, "end of day")
                self._counts.expired += 1

    # -------------------------------------------------------------------- state

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            rate = self.dialect.requests_per_s
            throttle = Throttle(rate, self.dialect.burst or rate) if rate is not None else None
            account = self._accounts[name] = Account(throttle, self.dialect.execution_id_scope)
        return account

    def _list(self, instrument: Instrument) -> None:
        if instrument.symbol in self._books:
            raise InvalidField("instruments", f"{instrument.symbol!r} is listed twice")
        for field in ("price_tick", "quantity_step", "min_quantity"):
            if not getattr(instrument, field) > _ZERO:
                raise InvalidField(f"instruments.{instrument.symbol}.{field}", "must be above zero")
        self._books[instrument.symbol] = OrderBook(instrument)
