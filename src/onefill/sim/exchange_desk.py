"""What the people of a simulated exchange do to orders and executions, and what happens in accounts beside them.

None of it can be asked for by a trader. Whatever does not fit what is there raises
:class:`~onefill.core.errors.InvalidField` and changes nothing.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from onefill.core.errors import InvalidField
from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.values import EXACT, MAX_DIGITS, OrderType, Side, TimeInForce
from onefill.sim.dialect import DAY_US
from onefill.sim.exchange_account import Account
from onefill.sim.exchange_floor import Floor
from onefill.sim.order_book import MAX_STEPS, BookOrder

_ZERO = Decimal(0)
_BUSTED = "executions were busted"


class ExchangeTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade of one account as it is in truth by now, whatever the dialect tells of it.

    ``execution_id`` is its first, ``latest_id`` that of the last report about it. ``counts``: it is not busted.
    """

    execution_id: str
    latest_id: str
    client_order_id: str
    venue_order_id: str
    instrument: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    transacted_at_us: int
    counts: bool


class Desk(Floor):
    """The exchange's own people. An order or execution is named as its reports name it."""

    # --------------------------------------------------------------- executions

    def bust(
        self,
        account: str,
        execution_id: str,
        now_us: int,
        *,
        client_order_id: str | None = None,
        venue_order_id: str | None = None,
        live: bool = False,
    ) -> ExecutionReport:
        """Have one side's execution count no more. Return the report as it is in truth.

        ``execution_id`` is the trade's or that of a correction of it, even where none is told (:meth:`trades`). Where several
        orders have one such id, ``client_order_id`` or ``venue_order_id`` says which. A live order gets back what was executed.
        A filled one does so with ``live``, if such an order may rest (again), otherwise it ends CANCELED. Of others only the
        total changes. The report names the order that traded; total, leaves and state are those of the chain of replaces.
        """
        return self._amend(account, execution_id, now_us, (client_order_id, venue_order_id), None, None, live=live)

    def correct(
        self,
        account: str,
        execution_id: str,
        quantity: Decimal,
        price: Decimal,
        now_us: int,
        *,
        client_order_id: str | None = None,
        venue_order_id: str | None = None,
        live: bool = False,
    ) -> ExecutionReport:
        """Give one side's execution another quantity and price. Otherwise as :meth:`bust`.

        More quantity than the order has left is refused.
        """
        for field, value in (("quantity", quantity), ("price", price)):
            if not (value.is_finite() and value > _ZERO):
                raise InvalidField(field, f"{value} is not above zero")
        named = (client_order_id, venue_order_id)
        return self._amend(account, execution_id, now_us, named, quantity, price, live=live)

    def trades(self, account: str) -> list[ExchangeTrade]:
        """Return every trade of an account as it is in truth, busted ones included, in the order in which they happened."""
        kept = self._accounts.get(account)
        if kept is None:
            return []
        return [_shown(trade, kept.amendments.get(place, ())) for place, trade in enumerate(kept.trades)]

    def _amend(
        self,
        name: str,
        execution_id: str,
        now_us: int,
        named: tuple[str | None, str | None],
        quantity: Decimal | None,
        price: Decimal | None,
        *,
        live: bool,
    ) -> ExecutionReport:
        now = self._bring_to(now_us)
        account, place = self._executed(name, execution_id, named)
        trade, changes = account.trades[place], account.amendments.get(place, [])
        before = changes[-1] if changes else trade
        if before.kind is ExecutionKind.TRADE_CANCEL:
            raise InvalidField("execution_id", f"{execution_id!r} is busted already")
        links = self._chain(trade.venue_order_id)
        last, symbol = links[-1], trade.instrument
        change = EXACT.subtract(quantity or _ZERO, before.last_quantity or _ZERO)
        if quantity is not None and price is not None:
            self._check_correction(last, symbol, (quantity, price), change)
        if self._totals:
            paid = EXACT.multiply(before.last_quantity or _ZERO, before.last_price or _ZERO)
            value = EXACT.subtract(EXACT.multiply(quantity or _ZERO, price or _ZERO), paid)
        else:
            value = _ZERO
        for link in links:
            link.cum_quantity += change
            link.value = EXACT.add(link.value, value)
        account.move(trade.side, symbol, change)
        rests_again = self._stand(last, account, live=live, now=now)
        report = self._amendment(account, links, changes, trade, now, quantity, price)
        account.amendments[place] = [*changes, report]
        self._count_amendment(report)
        account.tell(report, last if self._totals else links[0])
        for link in links:
            link.told = link.cum_quantity
        if rests_again:
            self._rest_again(last, now)
            if last.request.time_in_force is TimeInForce.DAY and self.dialect.day_orders_expire:
                self._day_orders.append(last)
        return report

    def _count_amendment(self, report: ExecutionReport) -> None:
        if report.kind is ExecutionKind.TRADE_CANCEL:
            self._counts.busted += 1
        else:
            self._counts.corrected += 1

    def _executed(self, name: str, execution_id: str, named: tuple[str | None, str | None]) -> tuple[Account, int]:
        """Return the account, and the place of the trade among its trades."""
        account = self._accounts.get(name)
        client_order_id, venue_order_id = named
        found = [
            place
            for place, trade in enumerate(account.trades if account is not None else ())
            if (client_order_id is None or client_order_id == trade.client_order_id)
            and (venue_order_id is None or venue_order_id == trade.venue_order_id)
            and account is not None
            and execution_id in (trade.execution_id, *(one.execution_id for one in account.amendments.get(place, ())))
        ]
        if account is None or not found:
            raise InvalidField("execution_id", f"no execution {execution_id!r} of this account and order")
        if len(found) > 1:
            raise InvalidField("execution_id", f"{execution_id!r} is that of several orders; name the order too")
        return account, found[0]

    def _chain(self, venue_order_id: str) -> list[BookOrder]:
        """Return an order and those that went on in its place."""
        links = [self._orders[int(venue_order_id[1:]) - 1]]
        while links[-1].replaced_by:
            links.append(self._orders[links[-1].replaced_by - 1])
        return links

    def _check_correction(self, last: BookOrder, symbol: str, terms: tuple[Decimal, Decimal], change: Decimal) -> None:
        quantity, price = terms
        instrument = self._books[symbol].instrument
        step, tick = instrument.quantity_step, instrument.price_tick
        if quantity > last.request.quantity or last.cum_quantity + change > last.request.quantity:
            raise InvalidField("quantity", f"{quantity} is more than the order has left")
        if quantity % step:
            raise InvalidField("quantity", f"{quantity} is not a multiple of {step}")
        if price > tick * MAX_STEPS or price % tick:
            raise InvalidField("price", f"{price} is not a multiple of {tick}")

    def _stand(self, order: BookOrder, account: Account, *, live: bool, now: int) -> bool:
        """Give an order the state that its new total makes. True: it is live again and rests nowhere yet."""
        filled = order.cum_quantity == order.request.quantity
        if order.status in LIVE:
            order.status = VenueStatus.PARTIALLY_FILLED if order.cum_quantity else VenueStatus.NEW
            if filled:
                self._rest_no_more(order)
                order.status = VenueStatus.FILLED
                account.close(order, now)
            return False
        if order.status is not VenueStatus.FILLED or filled:
            return False
        if live and self._may_rest(order, account, now):
            order.status = VenueStatus.PARTIALLY_FILLED if order.cum_quantity else VenueStatus.NEW
            account.open[order.number] = order
            return True
        order.status, order.reason = VenueStatus.CANCELED, _BUSTED
        return False

    def _may_rest(self, order: BookOrder, account: Account, now: int) -> bool:
        request = order.request
        if request.order_type is not OrderType.LIMIT or account.latest[request.client_order_id] is not order:
            return False
        if request.time_in_force is TimeInForce.DAY and self.dialect.day_orders_expire:
            return order.created_at_us // DAY_US == now // DAY_US
        return request.time_in_force in (TimeInForce.DAY, TimeInForce.GTC)

    def _amendment(
        self,
        account: Account,
        links: Sequence[BookOrder],
        changes: Sequence[ExecutionReport],
        trade: ExecutionReport,
        now: int,
        quantity: Decimal | None,
        price: Decimal | None,
    ) -> ExecutionReport:
        """Return the report of a bust or correction: it names the order that traded and the state of the last link.

        A total is that of the last link, and named so.
        """
        kind = ExecutionKind.TRADE_CANCEL if quantity is None else ExecutionKind.TRADE_CORRECT
        last = links[-1]
        report = account.made(last if self._totals else links[0], kind, now, quantity, price)
        execution_id, refers_to = report.execution_id, (changes[-1] if changes else trade).execution_id
        if self.dialect.execution_revisions:
            refers_to = trade.execution_id
            execution_id = f"{refers_to.removesuffix('.01')}.{len(changes) + 2:02d}"
        return msgspec.structs.replace(
            report,
            execution_id=execution_id,
            refers_to=refers_to,
            cum_quantity=last.cum_quantity,
            status=last.status,
            leaves_quantity=last.leaves if last.status in LIVE else _ZERO,
            text=last.reason,
        )

    # ------------------------------------------------------------------- orders

    def restate(
        self,
        account: str,
        now_us: int,
        *,
        client_order_id: str | None = None,
        venue_order_id: str | None = None,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        reason: str = "restated by the venue",
    ) -> VenueOrder:
        """Give a live order other quantity or price unasked (RESTATED). It costs the place in the queue as a replace does.

        Neither given, the order's own terms are told again. Return the order after matching.
        """
        now = self._bring_to(now_us)
        kept, order = self._live_order(account, client_order_id, venue_order_id)
        request = order.request
        wanted = msgspec.structs.replace(
            request,
            quantity=request.quantity if quantity is None else quantity,
            price=request.price if price is None else price,
        )
        problem = self._rules.malformed(wanted) or self._rules.refusal(wanted)
        if problem is not None:
            raise InvalidField("quantity" if "quantity" in problem[0] else "price", problem[1])
        if wanted.quantity < order.cum_quantity:
            raise InvalidField("quantity", "is below what is executed")
        return self._change(order, wanted, kept, now, restated=reason).view()

    def done_for_day(
        self, account: str, now_us: int, *, client_order_id: str | None = None, venue_order_id: str | None = None
    ) -> VenueOrder:
        """Have a live order trade no more today (DONE_FOR_DAY): a DAY order expires, another comes back at midnight."""
        now = self._bring_to(now_us)
        kept, order = self._live_order(account, client_order_id, venue_order_id)
        if order.number in self._resting_aside:
            raise InvalidField("venue_order_id", f"{order.venue_order_id} is done for the day already")
        self._rest_no_more(order)
        if order.request.time_in_force is TimeInForce.DAY:
            self._end(order, VenueStatus.EXPIRED, ExecutionKind.DONE_FOR_DAY, now, "done for the day")
            self._counts.expired += 1
        else:
            self._resting_aside[order.number] = order
            kept.report(order, ExecutionKind.DONE_FOR_DAY, now)
        return order.view()

    def _live_order(
        self, name: str, client_order_id: str | None, venue_order_id: str | None
    ) -> tuple[Account, BookOrder]:
        account = self._accounts.get(name)
        order: BookOrder | None = None
        if venue_order_id is not None:
            order = self._by_venue_id(venue_order_id)
        elif account is not None and client_order_id is not None:
            order = account.latest.get(client_order_id)
        if account is None or order is None or order.request.account != name:
            raise InvalidField("venue_order_id", "no such order of this account")
        if client_order_id not in (None, order.request.client_order_id):
            raise InvalidField("client_order_id", f"{order.venue_order_id} is another order")
        if order.status not in LIVE or order.status is VenueStatus.PENDING_NEW:
            raise InvalidField("venue_order_id", f"{order.venue_order_id} is {order.status}, and not at work")
        return account, order

    # ----------------------------------------------------------------- holdings

    def positions(self, account: str) -> dict[str, Decimal]:
        """Return what an account holds, by instrument: above zero long, below zero short. What is flat is left out."""
        kept = self._accounts.get(account)
        return {symbol: held for symbol, held in sorted(kept.held.items()) if held} if kept is not None else {}

    def transfer(self, account: str, instrument: str, quantity: Decimal) -> None:
        """Have an account hold that much more (below zero: less) without an execution that anybody is told of."""
        if not (
            quantity.is_finite() and abs(quantity) < MAX_STEPS and int(quantity.as_tuple().exponent) >= -MAX_DIGITS
        ):
            raise InvalidField("quantity", f"{quantity} is not a number below {MAX_STEPS}, or has too many digits")
        self._account(account).move(Side.BUY, instrument, quantity)

    # ------------------------------------------------------------ telling again

    def retell(self, account: str, from_position: int = 1, through: int | None = None) -> int:
        """Tell the stream's reports from a place on again, under new places, as a session that begins anew. Return how many."""
        kept = self._account(account)
        if from_position < 1:
            raise InvalidField("from_position", "places begin at 1")
        return kept.retell(from_position, len(kept.reports) if through is None else max(through, 0))

    def drop_copies(self, account: str, after: int, limit: int = 1000) -> list[ExecutionReport]:
        """Return at most ``limit`` reports of the account's drop copy after place ``after``; none where there is none."""
        kept = self._accounts.get(account)
        first = max(after, 0)
        return kept.copies[first : first + max(limit, 0)] if kept is not None else []

    def redeliver(self, account: str, *places: int) -> int:
        """Tell reports of the drop copy again (PossResend): those at ``places``, in that order, under new places."""
        kept = self._account(account)
        if not all(0 < place <= len(kept.copies) for place in places):
            raise InvalidField("places", f"the drop copy has the places 1 to {len(kept.copies)}")
        return kept.add_copies([kept.copies[place - 1] for place in places])

    def hold_drop_copies(self, account: str) -> None:
        """Have the drop copy fall behind: what comes is held back until :meth:`release_drop_copies`."""
        kept = self._account(account)
        if kept.held_copies is None:
            kept.held_copies = []

    def release_drop_copies(self, account: str, order: Sequence[int] | None = None) -> int:
        """Tell what the drop copy holds back, and hold back no more. Return how many.

        ``order`` is the order in which they are told: each of the numbers from 0 on once, for those held back. None: as they
        came.
        """
        kept = self._account(account)
        held = kept.held_copies or []
        told = list(range(len(held))) if order is None else list(order)
        if sorted(told) != list(range(len(held))):
            raise InvalidField("order", f"does not name each of the {len(held)} held back, from 0 on, once")
        kept.held_copies = None
        return kept.add_copies([held[place] for place in told])


def _shown(trade: ExecutionReport, changes: Sequence[ExecutionReport]) -> ExchangeTrade:
    last = changes[-1] if changes else trade
    counts = last.kind is not ExecutionKind.TRADE_CANCEL
    terms = next((one for one in reversed(changes) if one.last_quantity is not None), trade)
    return ExchangeTrade(
        execution_id=trade.execution_id,
        latest_id=last.execution_id,
        client_order_id=trade.client_order_id,
        venue_order_id=trade.venue_order_id,
        instrument=trade.instrument,
        side=trade.side,
        quantity=terms.last_quantity or _ZERO,
        price=terms.last_price or _ZERO,
        fee=terms.fee,
        transacted_at_us=trade.transacted_at_us,
        counts=counts,
    )
