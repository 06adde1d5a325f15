"""From what a venue says to what that proves: replies, look-ups and reports in, events out.

Fills are never taken from a reply's or look-up's cumulative quantity: only executions move a position (FILL-ONCE). The
cumulative quantity is kept as the venue's word, and the order stays open until executions account for it.
"""

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.errors import require
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.lifecycle import ENDED, NEVER_SENT, WORKING, Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.order import Order
from onefill.core.values import EXACT, plain

_LONGEST_PAUSE_S = 86_400.0
_KNOWN_THERE = frozenset({Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_CANCEL, Status.FILLED, Status.CANCELED})
_NOT_THERE = NEVER_SENT | {Status.RECORDED, Status.REJECTED}


def from_submit_reply(order: Order, number: int, reply: msg.SubmitReply, now_us: int) -> tuple[Event, ...]:
    """Return what the reply to copy ``number`` proves."""
    if isinstance(reply, msg.Accepted):
        settled = ev.CopySettled(number, CopyOutcome.ACCEPTED, "")
        return (settled, *from_venue_order(order, reply.order, Source.REPLY))
    if isinstance(reply, msg.Unknown):
        return (ev.OutcomeUnknown(number, reply.reason),)
    if isinstance(reply, msg.Throttled):
        retry_at_us = now_us + _pause_us(reply.retry_after_s)
        return (ev.CopySettled(number, CopyOutcome.THROTTLED, reply.reason, retry_at_us),)
    outcome = {
        msg.Rejected: CopyOutcome.REJECTED,
        msg.TooLate: CopyOutcome.TOO_LATE,
        msg.DuplicateId: CopyOutcome.DUPLICATE,
        msg.NotSent: CopyOutcome.NOT_SENT,
    }[type(reply)]
    return (ev.CopySettled(number, outcome, reply.reason),)


def _pause_us(seconds: float) -> int:
    # A header can hold anything: below zero and NaN mean no pause, and none is longer than a day.
    return int(min(seconds, _LONGEST_PAUSE_S) * 1_000_000) if seconds > 0 else 0


def from_venue_order(order: Order, seen: VenueOrder, source: Source) -> tuple[Event, ...]:
    """Return what an order shown under our client order id proves about our order: that it exists, if it *is* ours."""
    field = foreign_field(order, seen)
    if field is not None:
        reason = f"the venue has another order under {order.client_order_id}: its {field} differs"
        if order.status is Status.UNCERTAIN:
            return (ev.Anomaly(reason), ev.Parked(reason))
        if order.status is Status.SENDING:
            number = order.copies[-1].number
            return (ev.OutcomeUnknown(number, reason), ev.Anomaly(reason), ev.Parked(reason))
        return (ev.Anomaly(reason),)
    if seen.status is VenueStatus.REJECTED:
        return _from_rejection(order, seen.reason, source, seen.venue_order_id)
    other = _other_order(order, seen.venue_order_id)
    if seen.status is VenueStatus.CANCELED:
        return (ev.Canceled(source, seen.venue_order_id, seen.cum_quantity, seen.reason), *other)
    if seen.status is VenueStatus.EXPIRED:
        return (ev.Expired(source, seen.venue_order_id, seen.cum_quantity, seen.reason), *other)
    return (ev.Acknowledged(seen.venue_order_id, seen.status, seen.cum_quantity, source), *other)


def _from_rejection(order: Order, text: str | None, source: Source, venue_order_id: str) -> tuple[Event, ...]:
    reason = text or "rejected"
    if order.cum_quantity:
        return (ev.Anomaly(f"the venue rejects an order that traded: {reason}"),)
    # Where our order is known under another number, a repeat of its id was refused: the order itself stands.
    return _other_order(order, venue_order_id) or (ev.Rejected(reason, source, venue_order_id),)


def _other_order(order: Order, venue_order_id: str) -> tuple[Event, ...]:
    """Return an anomaly if the venue's number is not the one our order has there: two orders under one id (ONE-ORDER)."""
    known = order.venue_order_id
    if known is None or known == venue_order_id or order.status is Status.PENDING_NEW:
        return ()  # a number given before the venue accepts may be provisional
    first, second = sorted((known, venue_order_id))
    return (ev.Anomaly(f"the venue has two orders under {order.client_order_id}: {first} and {second}"),)


def foreign_field(order: Order, seen: VenueOrder) -> str | None:
    """Return the first field by which the venue's order cannot be ours, or ``None``."""
    intent = order.intent
    if seen.client_order_id != order.client_order_id:
        return "client order id"
    for field in ("instrument", "side", "quantity", "order_type", "price"):
        if getattr(seen, field) != getattr(intent, field):
            return field
    return None


def from_lookup(order: Order, reply: msg.LookupReply, source: Source = Source.LOOKUP) -> tuple[Event, ...]:
    """Return what a status query proves. Not finding an order proves nothing here; the retry contract judges that."""
    if not isinstance(reply, msg.Found):
        return ()
    events = from_venue_order(order, reply.order, source)
    return () if say_nothing_new(order, events) else events


def from_cancel_reply(order: Order, number: int, reply: msg.CancelReply) -> tuple[Event, ...]:
    """Return what the reply to cancel ``number`` proves. A refusal alone proves little: the order must be looked at."""
    if isinstance(reply, msg.Canceled):
        settled = ev.CancelSettled(number, CopyOutcome.ACCEPTED, "")
        return (settled, *from_venue_order(order, reply.order, Source.REPLY))
    if isinstance(reply, msg.CancelRejected):
        refused = ev.CancelSettled(number, CopyOutcome.REJECTED, reply.reason)
        if reply.order is None:
            return (refused,)
        return (refused, *from_venue_order(order, reply.order, Source.REPLY))
    outcome = {
        msg.Throttled: CopyOutcome.THROTTLED,
        msg.NotSent: CopyOutcome.NOT_SENT,
        msg.Unknown: CopyOutcome.UNKNOWN,
    }[type(reply)]
    return (ev.CancelSettled(number, outcome, reply.reason),)


def from_report(order: Order, report: ExecutionReport) -> tuple[Event, ...]:
    """Return what a report of the execution stream says about our order. The caller has deduped trades by ExecID."""
    intent = order.intent
    if report.instrument != intent.instrument or report.side is not intent.side:
        return (ev.Anomaly(f"execution {report.execution_id} names another instrument or side than the order"),)
    if report.kind is ExecutionKind.TRADE:
        return _from_trade(order, report)
    if report.kind is ExecutionKind.REJECTED:
        return _from_rejection(order, report.text, Source.STREAM, report.venue_order_id)
    other = _other_order(order, report.venue_order_id)
    if report.kind is ExecutionKind.CANCELED:
        return (ev.Canceled(Source.STREAM, report.venue_order_id, report.cum_quantity, report.text), *other)
    if report.kind is ExecutionKind.EXPIRED:
        return (ev.Expired(Source.STREAM, report.venue_order_id, report.cum_quantity, report.text), *other)
    return (ev.Acknowledged(report.venue_order_id, report.status, report.cum_quantity, Source.STREAM), *other)


def _from_trade(order: Order, report: ExecutionReport) -> tuple[Event, ...]:
    quantity, price = report.last_quantity, report.last_price
    if quantity is None or price is None or not (quantity.is_finite() and price.is_finite()) or quantity <= 0:
        return (ev.Anomaly(f"execution {report.execution_id} is a trade without quantity or price"),)
    traded = ev.Traded(report.execution_id, quantity, price, report.venue_order_id, report.cum_quantity)
    excess = EXACT.subtract(EXACT.add(order.cum_quantity, quantity), order.intent.quantity)
    if excess > 0:
        return (traded, ev.Anomaly(f"overfill: {plain(excess)} more than the order's quantity was executed"))
    if order.status is Status.REJECTED or _held_for_absent(order):
        return (traded, ev.Anomaly(f"an execution came for an order that was {order.status}"))
    return (traded, *_other_order(order, report.venue_order_id))


def is_old_news(order: Order, report: ExecutionReport) -> bool:
    """Tell at a glance whether a report only repeats that the order is new at the venue, as most reports do."""
    return (
        report.kind is ExecutionKind.NEW
        and order.status in _KNOWN_THERE
        and report.venue_order_id == order.venue_order_id
        and report.cum_quantity <= order.venue_cum_quantity
        and report.instrument == order.intent.instrument
        and report.side is order.intent.side
    )


def say_nothing_new(order: Order, events: tuple[Event, ...]) -> bool:
    """Tell whether all of ``events`` repeat what is known, so that they need no journal entry."""
    for event in events:  # noqa: SIM110 - this runs for every report; a generator costs more than the work
        if not changes_nothing(order, event):
            return False
    return True


def changes_nothing(order: Order, event: Event) -> bool:
    """Tell whether an event repeats what is known, so that it needs no journal entry."""
    if isinstance(event, ev.Acknowledged):
        if order.status in NEVER_SENT or _shows_rejected(order, event):
            return False
        pending = event.status is VenueStatus.PENDING_NEW
        told = order.status in ENDED or (
            order.status in WORKING and (pending or order.status is not Status.PENDING_NEW)
        )
        return told and event.venue_cum_quantity <= order.venue_cum_quantity
    if isinstance(event, ev.Canceled | ev.Expired):
        told = order.status in ENDED and order.status not in NEVER_SENT
        return told and event.venue_cum_quantity <= order.venue_cum_quantity
    if isinstance(event, ev.Rejected):
        return order.status is Status.REJECTED
    if isinstance(event, ev.Anomaly):
        return order.anomaly == event.reason
    if isinstance(event, ev.Parked):
        return order.parked
    return False


def was_unknown(order: Order) -> bool:
    """Tell whether finding the order at the venue answers an open question."""
    return order.status in {Status.UNCERTAIN, Status.SENDING}


def recovered(order: Order) -> tuple[Event, ...]:
    """Return what a restart means for an order: a claim without an outcome is *maybe sent*, never *not sent*."""
    reason = "the process ended before an outcome was recorded"
    unknown = tuple(ev.OutcomeUnknown(copy.number, reason) for copy in order.copies if copy.outcome is None)
    cancels = tuple(
        ev.CancelSettled(copy.number, CopyOutcome.UNKNOWN, reason) for copy in order.cancels if copy.outcome is None
    )
    require(not unknown or order.status is not Status.RECORDED, "a recorded order has no claim without an outcome")
    return (*unknown, *cancels)


def resurrected(order: Order, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Return ``events`` with an anomaly added if the venue shows an order that was held not to be there: never sent,
    proven absent, or rejected in reply.
    """
    if order.status not in _NOT_THERE:
        return events
    shows = (ev.Acknowledged, ev.Canceled, ev.Expired)
    absent = _held_for_absent(order)
    if any((absent and isinstance(event, shows)) or _shows_rejected(order, event) for event in events):
        return (*events, ev.Anomaly(f"the venue has an order that was {order.status} here"))
    return events


def _held_for_absent(order: Order) -> bool:
    if order.status is Status.RECORDED:
        return any(copy.outcome is CopyOutcome.ABSENT for copy in order.copies)
    return order.status in NEVER_SENT


def _shows_rejected(order: Order, event: Event) -> bool:
    # Rejected in reply, so never shown under a number; a late pending_new may still be told of such an order.
    accepted = isinstance(event, ev.Acknowledged) and event.status is not VenueStatus.PENDING_NEW
    return accepted and order.status is Status.REJECTED and order.venue_order_id is None
