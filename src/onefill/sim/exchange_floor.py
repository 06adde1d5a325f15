"""The floor of a simulated exchange: where its orders rest, trade and end, and how its time passes."""

from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

from onefill.core.capabilities import ReplaceStyle
from onefill.core.errors import InvalidField, require
from onefill.core.messages import LIVE, ExecutionKind, SubmitRequest, VenueStatus
from onefill.core.values import Instrument, OrderType, TimeInForce
from onefill.sim.dialect import DAY_US, Dialect, Throttle
from onefill.sim.exchange_account import Account, Counts
from onefill.sim.exchange_rules import Rules
from onefill.sim.order_book import BookOrder, OrderBook

_ZERO = Decimal(0)
Holdings = Mapping[str, Mapping[str, Decimal]]
"""By account, by instrument."""


class Floor:
    """Orders and what becomes of them; the part of :class:`~onefill.sim.exchange.Exchange` that no caller sees."""

    def __init__(self, dialect: Dialect, instruments: Iterable[Instrument], holdings: Holdings | None = None) -> None:
        self.dialect = dialect
        self._books: dict[str, OrderBook] = {}
        for instrument in instruments:
            self._list(instrument)
        self.instruments: Mapping[str, Instrument] = MappingProxyType(
            {symbol: book.instrument for symbol, book in self._books.items()}
        )
        self._accounts: dict[str, Account] = {}
        self._holdings: Holdings = holdings or {}
        self._orders: list[BookOrder] = []
        self._pending: deque[tuple[int, BookOrder]] = deque()
        self._day_orders: list[BookOrder] = []
        self._resting_aside: dict[int, BookOrder] = {}
        self._counts = Counts()
        self._now_us = 0
        self._midnight_us = DAY_US
        self._rules = Rules(dialect, self._books)
        self._asynchronous = dialect.acknowledges_asynchronously
        self._totals = dialect.cumulative_fills_only
        for name in self._holdings:
            self._account(name)

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
            self._match(order, book, now, passing=passing)
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

    def _match(self, order: BookOrder, book: OrderBook, now: int, *, passing: bool = False) -> None:
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
            if self._totals:
                self._tell_total(resting, now)
            if order.status is VenueStatus.FILLED:
                break
        # What passes and is not filled ends at once: the report of its end tells the total too.
        if self._totals and not (passing and order.status in LIVE):
            self._tell_total(order, now)

    def _trade(self, order: BookOrder, quantity: Decimal, price: Decimal | None, now: int) -> None:
        order.cum_quantity += quantity
        filled = order.cum_quantity == order.request.quantity
        order.status = VenueStatus.FILLED if filled else VenueStatus.PARTIALLY_FILLED
        account = self._accounts[order.request.account]
        if filled:
            account.close(order, now)
        account.trade(order, quantity, price, now)

    def _tell_total(self, order: BookOrder, now: int) -> None:
        if order.cum_quantity != order.told:
            self._accounts[order.request.account].report(order, ExecutionKind.ORDER_STATUS, now)

    def _end(self, order: BookOrder, status: VenueStatus, kind: ExecutionKind, now: int, reason: str | None) -> None:
        """Give a live order that rests nowhere its last state."""
        order.status = status
        order.reason = reason
        account = self._accounts[order.request.account]
        account.close(order, now)
        account.report(order, kind, now)

    def _rest_no_more(self, order: BookOrder) -> None:
        if order.number in self._resting_aside:
            del self._resting_aside[order.number]
        elif order.status is not VenueStatus.PENDING_NEW and self.dialect.matching:
            self._books[order.request.instrument].side(order.request.side).remove(order)

    def _rest_again(self, order: BookOrder, now: int) -> None:
        """Match a live order that rests nowhere, and let what is left of it rest."""
        if not self.dialect.matching:
            return
        book = self._books[order.request.instrument]
        self._match(order, book, now)
        if order.status is not VenueStatus.FILLED:
            book.side(order.request.side).add(order)

    def _change(
        self, original: BookOrder, wanted: SubmitRequest, account: Account, now: int, *, restated: str | None = None
    ) -> BookOrder:
        """Let an accepted order go on as ``wanted``, under its own number or, where a replace changes the id, a new one.

        ``restated``: why the venue itself has it so.
        """
        book, old = self._books[wanted.instrument], original.request
        ends = wanted.quantity == original.cum_quantity
        aside = original.number in self._resting_aside
        keeps_place = not (ends or aside) and wanted.price == old.price and wanted.quantity <= old.quantity
        if not keeps_place:
            self._rest_no_more(original)
        order = original
        if self.dialect.replace is ReplaceStyle.NEW_ID and restated is None:
            order = self._successor(original, wanted, account, now)
            if keeps_place and self.dialect.matching:
                book.side(wanted.side).take_place(order, original)
        order.request = wanted
        order.key = book.key_of(wanted)
        if ends:
            order.status = VenueStatus.FILLED
            account.close(order, now)
        else:
            order.status = VenueStatus.PARTIALLY_FILLED if order.cum_quantity else VenueStatus.NEW
        if restated is not None:
            order.reason = restated
            account.report(order, ExecutionKind.RESTATED, now)
            order.reason = None
        else:
            account.report(order, ExecutionKind.REPLACED, now, orig_client_order_id=old.client_order_id)
        if not keeps_place and not ends:
            self._rest_again(order, now)
        return order

    def _successor(self, original: BookOrder, wanted: SubmitRequest, account: Account, now: int) -> BookOrder:
        """End an order that another goes on for, and return that other. Where it rests is left to the caller."""
        order = self._record(wanted, account, now)
        order.cum_quantity, order.value, order.told = original.cum_quantity, original.value, original.told
        order.orig_client_order_id = original.request.client_order_id
        order.replaces, original.replaced_by = original.number, order.number
        original.status = self.dialect.replaced_shows_as
        account.close(original, now)
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
        """End the DAY orders of the days before ``now``, at the midnight that ended their day; begin the next day."""
        midnight = self._midnight_us
        self._midnight_us = ((self._now_us if now is None else now) // DAY_US + 1) * DAY_US
        ending, self._day_orders = self._day_orders, []
        for order in ending:
            if order.status in LIVE:
                self._rest_no_more(order)
                self._end(order, VenueStatus.EXPIRED, ExecutionKind.EXPIRED, midnight, "end of day")
                self._counts.expired += 1
        returning, self._resting_aside = self._resting_aside, {}
        for order in returning.values():
            self._rest_again(order, midnight)

    # -------------------------------------------------------------------- state

    def _by_venue_id(self, venue_order_id: str) -> BookOrder | None:
        digits = venue_order_id[1:]
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19 and 0 < int(digits) <= len(self._orders)):
            return None
        order = self._orders[int(digits) - 1]
        return order if order.venue_order_id == venue_order_id else None

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            rate = self.dialect.requests_per_s
            throttle = Throttle(rate, self.dialect.burst or rate) if rate is not None else None
            account = self._accounts[name] = Account(throttle, self.dialect, self._holdings.get(name, {}))
        return account

    def _list(self, instrument: Instrument) -> None:
        if instrument.symbol in self._books:
            raise InvalidField("instruments", f"{instrument.symbol!r} is listed twice")
        for field in ("price_tick", "quantity_step", "min_quantity"):
            if not getattr(instrument, field) > _ZERO:
                raise InvalidField(f"instruments.{instrument.symbol}.{field}", "must be above zero")
        self._books[instrument.symbol] = OrderBook(instrument)
