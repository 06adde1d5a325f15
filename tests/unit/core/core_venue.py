"""A venue of a few lines that keeps what its capabilities promise, and an order driven against it.

It decides by ids, expiries and its own clock alone. What becomes of each request on its way is scripted, see :class:`Small`.
Whatever happens, it counts the orders that it made: :attr:`Small.made`.
"""

from decimal import Decimal

import msgspec
from core_driver import Driven
from core_kit import report, shown, trade, us
from core_tables import spelt, venue_of

from onefill.core import messages as msg
from onefill.core import resolution, steps
from onefill.core.capabilities import DuplicateReply, ReplaceStyle, UniqueScope
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import LIVE, ExecutionKind, VenueOrder, VenueStatus
from onefill.core.order import Order, Replacement
from onefill.core.query import search


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way. ``orig`` is set for a replace."""

    kind: str
    client_order_id: str
    quantity: Decimal = Decimal(0)
    price: Decimal | None = None
    expires_at_us: int | None = None
    orig: str | None = None


class Small:
    """The venue, the order, and the way between them.

    ``fates``: what becomes of the next requests, the last one holding for all that follow: ``ok``, ``reply lost`` (it was
    done), ``lost`` (it never comes), ``late 3`` (it comes 3 s later, without a reply), ``crash`` (as ``reply lost``, and the
    process ends), ``not sent``, ``throttled 2``, ``rejected``, ``pending`` (taken in, not accepted yet).
    ``answers``: what becomes of the next queries: ``ok`` (the truth), ``failed``, ``blind`` (not found, whatever is there).
    """

    def __init__(self, venue: str, *fates: str, call_s: float = 1.0, **changes: object) -> None:
        self.capabilities = venue_of(venue)
        self.fates, self.answers = list(fates or ("ok",)), ["ok"]
        self.orders: list[VenueOrder] = []
        self.made = 0
        """How many orders were made that came of the intent's own id; replaced orders go on, and are not counted again."""
        self.under_way: list[tuple[int, Request]] = []
        self.reports: list[msg.ExecutionReport] = []
        self.sets_quantity = False
        """A replace below what is executed makes the quantity what is executed; else it is refused (FIX 4.4 appendix D)."""
        self.driven = Driven(self.capabilities, call_s=call_s, **changes)
        self.steps: list[str] = []
        """The steps taken, without waits; the same one again and again counts as one."""
        self._submit()

    @property
    def order(self) -> Order:
        """The order as we know it."""
        return self.driven.order

    @property
    def true_now_us(self) -> int:
        """The venue's time of day, which nobody sets."""
        return us(0) + self.driven.steady_us

    @property
    def live(self) -> list[VenueOrder]:
        """The orders that can trade."""
        return [order for order in self.orders if order.status in LIVE]

    # The way there.

    def _send(self, request: Request) -> msg.SubmitReply | msg.CancelReply | msg.ReplaceReply:
        fate, *argument = (self.fates.pop(0) if len(self.fates) > 1 else self.fates[0]).rsplit(" ", 1)
        if argument and not argument[0].isdigit():
            fate, argument = f"{fate} {argument[0]}", []
        match fate:
            case "ok" | "pending":
                return self._arrive(request, pending=fate == "pending")
            case "reply lost" | "crash":
                self._arrive(request)
            case "late":
                self.under_way.append((self.driven.steady_us + int(argument[0]) * 1_000_000, request))
            case "not sent":
                return msg.NotSent("refused connect")
            case "throttled":
                return msg.Throttled("slow down", float(argument[0]))
            case "rejected":
                return {
                    "submit": msg.Rejected("no funds"),
                    "cancel": msg.CancelRejected("not now"),
                    "replace": msg.ReplaceRejected("not now"),
                }[request.kind]
        return msg.Unknown("crash" if fate == "crash" else "time-out")

    def _take(self, reply: object, take: str) -> None:
        if reply == msg.Unknown("crash"):
            self.driven.restart()
        else:
            getattr(self.driven, take)(reply)

    def _submit(self) -> None:
        order = self.order
        request = Request(
            kind="submit",
            client_order_id=order.client_order_id,
            quantity=order.intent.quantity,
            price=order.intent.price,
            expires_at_us=order.copies[-1].expires_at_us,
        )
        self._take(self._send(request), "reply")

    def _cancel(self) -> None:
        self._take(self._send(Request(kind="cancel", client_order_id=self.order.live_id)), "cancel_reply")

    def _replace(self, wanted: Replacement) -> None:
        request = Request(
            kind="replace",
            client_order_id=wanted.client_order_id,
            orig=self.order.live_id,
            quantity=wanted.quantity,
            price=wanted.price,
            expires_at_us=wanted.copies[-1].expires_at_us,
        )
        self._take(self._send(request), "replace_reply")

    # The venue.

    def _arrive(
        self, request: Request, *, pending: bool = False
    ) -> msg.SubmitReply | msg.CancelReply | msg.ReplaceReply:
        if request.expires_at_us is not None and self.true_now_us > request.expires_at_us:
            return msg.TooLate("expired")
        if request.kind == "submit":
            return self._take_in(request, pending=pending)
        return self._cancels(request) if request.kind == "cancel" else self._replaces(request)

    def _refused_for(self, client_order_id: str) -> VenueOrder | None:
        scope = self.capabilities.unique_scope
        if scope is UniqueScope.NONE or self.capabilities.duplicate_reply is DuplicateReply.ACCEPTS:
            return None
        among = self.live if scope is UniqueScope.OPEN else self.orders
        return next((one for one in among if one.client_order_id == client_order_id), None)

    def _take_in(self, request: Request, *, pending: bool) -> msg.SubmitReply:
        first = self._refused_for(request.client_order_id)
        if first is not None:
            if self.capabilities.duplicate_reply is DuplicateReply.ORIGINAL:
                return msg.Accepted(first)
            return msg.DuplicateId("seen")
        self.made += 1
        made = shown(
            client_order_id=request.client_order_id,
            venue_order_id=f"V{len(self.orders) + 1}",
            quantity=request.quantity,
            price=request.price,
            status=VenueStatus.PENDING_NEW if pending else VenueStatus.NEW,
        )
        self.orders.append(made)
        if not pending:
            self._report(ExecutionKind.NEW, made)
        return msg.Accepted(made)

    def _cancels(self, request: Request) -> msg.CancelReply:
        for one in self.orders:
            if one.client_order_id == request.client_order_id:
                if one.status in LIVE:
                    return msg.Canceled(self.end(one, VenueStatus.CANCELED))
                if one.status is VenueStatus.CANCELED:
                    return msg.Canceled(one)
                return msg.CancelRejected("too late")
        return msg.CancelRejected("unknown order")

    def _replaces(self, request: Request) -> msg.ReplaceReply:
        one = next((one for one in self.live if one.client_order_id == request.orig), None)
        if one is None:
            return msg.ReplaceRejected("too late to replace")
        quantity = request.quantity
        if quantity < one.cum_quantity:
            if not self.sets_quantity:
                return msg.ReplaceRejected("below what is executed")
            quantity = one.cum_quantity
        full = quantity == one.cum_quantity
        status = VenueStatus.FILLED if full else one.status
        changes = {"quantity": quantity, "price": request.price, "status": status}
        if self.capabilities.replace is ReplaceStyle.KEEP:
            changed = self._change(one, **changes)
        else:
            self._change(one, status=VenueStatus.REPLACED)
            changes |= {"client_order_id": request.client_order_id, "venue_order_id": f"V{len(self.orders) + 1}"}
            changed = msgspec.structs.replace(one, **changes)
            self.orders.append(changed)
        self._report(ExecutionKind.REPLACED, changed)
        return msg.Replaced(changed)

    def _change(self, one: VenueOrder, **changes: object) -> VenueOrder:
        place = next(place for place, other in enumerate(self.orders) if other.venue_order_id == one.venue_order_id)
        self.orders[place] = msgspec.structs.replace(one, **changes)
        return self.orders[place]

    def _report(self, kind: ExecutionKind, of: VenueOrder, **changes: object) -> None:
        fields = {
            "client_order_id": of.client_order_id,
            "venue_order_id": of.venue_order_id,
            "cum_quantity": of.cum_quantity,
            "status": of.status,
            "execution_id": f"E{len(self.reports) + 1}",
            "order_quantity": of.quantity,
            "order_price": of.price,
        }
        make = trade if kind is ExecutionKind.TRADE else report
        first = (changes.pop("quantity"), of.cum_quantity) if kind is ExecutionKind.TRADE else (kind,)
        self.reports.append(make(*first, **{**fields, **changes}))

    def end(self, one: VenueOrder, status: VenueStatus) -> VenueOrder:
        """End an order."""
        ended = self._change(one, status=status)
        self._report(ExecutionKind.CANCELED if status is VenueStatus.CANCELED else ExecutionKind.EXPIRED, ended)
        return ended

    def accept(self) -> None:
        """Accept what was taken in."""
        (one,) = (one for one in self.orders if one.status is VenueStatus.PENDING_NEW)
        self._report(ExecutionKind.NEW, self._change(one, status=VenueStatus.NEW))

    def reject(self) -> None:
        """Reject what was taken in."""
        (one,) = (one for one in self.orders if one.status is VenueStatus.PENDING_NEW)
        self._report(ExecutionKind.REJECTED, self._change(one, status=VenueStatus.REJECTED))

    def fill(self, quantity: object) -> None:
        """Execute so much of the order that is live."""
        (one,) = self.live
        cum = one.cum_quantity + Decimal(str(quantity))
        full = cum >= one.quantity
        status = VenueStatus.FILLED if full else VenueStatus.PARTIALLY_FILLED
        self._report(ExecutionKind.TRADE, self._change(one, cum_quantity=cum, status=status), quantity=quantity)

    # The way back.

    def hear(self) -> None:
        """Take in what the execution stream has told so far."""
        while self.reports:
            self.driven.report(self.reports.pop(0))

    def shows(self, client_order_id: str) -> msg.LookupReply:
        """Return what a query says."""
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "failed":
            return msg.Unknown("time-out")
        return search(msg.Listed(tuple(self.orders if answer == "ok" else ())), client_order_id)

    def seen(self) -> resolution.Seen:
        """Return what a person is shown."""
        return resolution.Seen(self.shows(self.order.live_id), msg.Listed(tuple(self.orders)))

    # Time and steps.

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which late requests arrive; no step is taken."""
        until_us = self.driven.steady_us + round(seconds * 1_000_000)
        for at_us, request in sorted(self.under_way, key=lambda one: one[0]):
            if at_us <= until_us:
                self.driven.pass_time((at_us - self.driven.steady_us) / 1_000_000)
                self.under_way.remove((at_us, request))
                self._arrive(request)
        self.driven.pass_time((until_us - self.driven.steady_us) / 1_000_000)

    def follow(self, *, until_s: float = 1e6, stop: str = "") -> "Small":
        """Take the contract's steps until the order rests, waits for a person, or the second is reached (true time).

        ``stop``: end before this step is taken.
        """
        until_us = round(until_s * 1_000_000)
        for _ in range(1000):
            step = self.driven.next()
            if isinstance(step, steps.Rest) or (stop and spelt(step).startswith(stop)):
                return self
            if isinstance(step, steps.WaitUntil):
                seconds = (step.at_us - self.driven.now_us) / 1_000_000
                if self.order.parked or self.driven.steady_us + seconds * 1_000_000 > until_us:
                    if not self.order.parked:
                        self.pass_time((until_us - self.driven.steady_us) / 1_000_000)
                    return self
                self.pass_time(seconds)
                continue
            word = spelt(step).split(" until ")[0]
            if not self.steps or self.steps[-1] != word:
                self.steps.append(word)
            self._perform(step)
            if self.order.status in ENDED:
                continue
        raise AssertionError(f"no end: {self.steps}")

    def _perform(self, step: steps.Step) -> None:
        if isinstance(step, steps.Ask | steps.Scan):
            self.driven.ask(step, self.shows(step.client_order_id))
            return
        self.driven.perform(step)
        if isinstance(step, steps.Send):
            self._submit()
        elif isinstance(step, steps.SendCancel):
            self._cancel()
        elif isinstance(step, steps.SendReplace):
            assert self.order.replacement is not None
            self._replace(self.order.replacement)


def there(venue: str, *fates: str) -> Small:
    """Return an order that the venue has accepted."""
    small = Small(venue, "ok", *fates)
    small.hear()
    assert small.order.status is Status.NEW
    return small
