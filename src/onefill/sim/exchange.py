"""A simulated exchange without I/O: values in, values out, time as an argument. The same calls always give the same results.

Time: every call that can change something takes ``now_us`` (µs since 1970) and first brings the exchange there, so what is
due (asynchronous acknowledgements, the end of DAY orders) happens before the call itself. The clock never runs backwards: an
earlier ``now_us`` counts as the latest one seen.

A submit is judged in this order: rate, expiry, repeated id, form, then the instrument's rules. What is refused up to there
never becomes an order. Where acknowledgements are asynchronous, only the instrument's rules are judged later.

A replace is judged in this order: rate, expiry, the original (there, the same order in all its parts, live, accepted), the
new id, form, the instrument's rules, the executed quantity. It is decided at once and happens whole or not at all.
"""

from collections.abc import Callable

import msgspec

from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle
from onefill.core.messages import (
    EXECUTED,
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
from onefill.core.values import Side
from onefill.sim.dialect import SECOND_US, capabilities_of
from onefill.sim.exchange_account import Account, Counts
from onefill.sim.exchange_desk import Desk, ExchangeTrade
from onefill.sim.order_book import BookOrder, ExchangeOrder, judged

__all__ = ["Counts", "Exchange", "ExchangeTrade"]

ExchangeSubmitReply = Accepted | Rejected | TooLate | DuplicateId | Throttled
ExchangeCancelReply = Canceled | CancelRejected | Throttled
ExchangeReplaceReply = Replaced | ReplaceRejected | TooLate | Throttled
ExchangeLookupReply = Found | NotFound | Unknown
ExchangeScanReply = Listed | Unknown


class Exchange(Desk):
    """A simulated exchange: price-time matching, one order store and one execution stream per account.

    ``dialect`` is how it behaves, ``instruments`` what can be traded, ``holdings`` what accounts hold to begin with, by
    account and instrument. What its own people do is in :class:`~onefill.sim.exchange_desk.Desk`. Replies are the structs of
    :mod:`onefill.core.messages`. Nothing is ever forgotten, but a dialect may have ended orders be shown for a while only.
    Raises :class:`~onefill.core.errors.InvalidField` if two instruments share a symbol or a step is not above zero.
    """

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

        A refusal carries the order where there is one, so that the caller sees what is true, but in dialects that only say no.
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
        if order is None or self._forgotten(order, now):
            counts.cancels_rejected += 1
            return CancelRejected("unknown order")
        if order.status not in LIVE:
            counts.cancels_rejected += 1
            return CancelRejected(f"order is already {order.status}", self._shown_refused(order))
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
        if original is None or not request.orig_client_order_id or self._forgotten(original, now):
            counts.replaces_rejected += 1
            return ReplaceRejected("unknown order")
        wanted = self._rules.replacement(request, original, account.latest.get(request.client_order_id), now)
        if isinstance(wanted, str):
            counts.replaces_rejected += 1
            return ReplaceRejected(wanted, self._shown_refused(original))
        if wanted == original.request:
            return Replaced(original.view())
        counts.replaced += 1
        return Replaced(self._change(original, wanted, account, now).view())

    def lookup(self, client_order_id: str, account: str, now_us: int) -> ExchangeLookupReply:
        """Return the latest order under a client order id, dead ones included; Unknown where there is no look-up."""
        now = self._bring_to(now_us)
        if self.dialect.lookup is not Lookup.DIRECT:
            return Unknown("this venue has no look-up by client order id")
        kept = self._accounts.get(account)
        order = kept.latest.get(client_order_id) if kept is not None else None
        if order is None or self._forgotten(order, now):
            return NotFound("no order under this client order id")
        return Found(order.view())

    def scan(self, account: str, instrument: str, since_us: int, now_us: int) -> ExchangeScanReply:
        """List the account's orders in an instrument that are open, or that ended or traded at ``since_us`` (µs) or later.

        In order of arrival, and complete; Unknown where the dialect lists none.
        """
        now = self._bring_to(now_us)
        if self.dialect.lookup is Lookup.NONE:
            return Unknown("this venue does not list orders")
        kept = self._accounts.get(account)
        if kept is None:
            return Listed(())
        found = dict(kept.open)
        # Whatever ends or trades is reported, except an order that went on under another id: its successor is.
        for report in reversed(kept.reports):
            if report.transacted_at_us < since_us:
                if kept.retold:
                    continue
                break
            order = self._orders[int(report.venue_order_id[1:]) - 1]
            found[order.number] = order
            while order.replaced_by and report.kind in EXECUTED:  # a bust may give the last of them another total
                order = self._orders[order.replaced_by - 1]
                found[order.number] = order
            if report.kind is ExecutionKind.REPLACED and order.replaces:
                found[order.replaces] = self._orders[order.replaces - 1]
        listed = (order for _, order in sorted(found.items()) if order.request.instrument == instrument)
        return Listed(tuple(order.view() for order in listed if not self._forgotten(order, now)))

    def open_orders(self, account: str) -> list[VenueOrder]:
        """Return the account's live orders, oldest first, as of the latest time seen."""
        kept = self._accounts.get(account)
        return [order.view() for _, order in sorted(kept.open.items())] if kept is not None else []

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

    def _shown_refused(self, order: BookOrder) -> VenueOrder | None:
        return None if self.dialect.refuses_barely else order.view()

    def _forgotten(self, order: BookOrder, now: int) -> bool:
        """Tell whether an order ended so long ago that its owner is not shown it any more."""
        kept_s = self.dialect.lookup_forgets_after_s
        return kept_s is not None and order.status not in LIVE and now - order.ended_us >= kept_s * SECOND_US

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
