"""From what a venue says to what that proves: replies, look-ups and reports in, events out.

Fills are never taken from a reply's or look-up's cumulative quantity: only executions move a position (FILL-ONCE). The
cumulative quantity is kept as the venue's word, and the order stays open until executions account for it.
"""

from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.errors import require
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import ENDED, NEVER_SENT, WORKING, Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.order import Order, Terms
from onefill.core.values import EXACT, TimeInForce, plain

_LONGEST_PAUSE_S = 86_400.0
_KNOWN_THERE = frozenset(
    {
        Status.NEW,
        Status.PARTIALLY_FILLED,
        Status.PENDING_REPLACE,
        Status.PENDING_CANCEL,
        Status.FILLED,
        Status.CANCELED,
    }
)
_OVER_THERE = frozenset({VenueStatus.CANCELED, VenueStatus.REPLACED})
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
    """Return what an order shown under one of our client order ids proves about ours: that it exists, if it *is* ours."""
    wanted = order.replacement
    if wanted is not None and wanted.copies:
        target = Terms(wanted.number, wanted.client_order_id, wanted.quantity, wanted.price)
        if seen.quantity == seen.cum_quantity > wanted.quantity and not is_as_in_force(order, seen):
            # Less was wanted than is executed: some venues make the quantity what is executed (FIX 4.4 appendix D).
            target = msgspec.structs.replace(target, quantity=seen.quantity)
        if foreign_field(order, seen, target) is None:
            return _shows_replaced(order, target, seen, source)
        over = order.gets_new_id and seen.status in _OVER_THERE
        if over and foreign_field(order, seen, _in_force(order)) is None:
            told = ev.Superseded(source, seen.venue_order_id, seen.cum_quantity, seen.status)
            return () if changes_nothing(order, told) else (told,)
    return _from_order_in_force(order, seen, source)


def _in_force(order: Order) -> Terms:
    return order.in_force or Terms(0, order.client_order_id, order.intent.quantity, order.intent.price)


def _shows_replaced(order: Order, target: Terms, seen: VenueOrder, source: Source) -> tuple[Event, ...]:
    """The venue shows the order with the terms that were asked for."""
    if order.gets_new_id and seen.status is VenueStatus.PENDING_NEW:
        return ()  # not decided: it may yet be refused, and the original go on
    if order.gets_new_id and seen.status is VenueStatus.REJECTED:
        return _copy_refused(order, seen.reason)
    replaced = ev.Replaced(
        source, target.client_order_id, seen.venue_order_id, target.quantity, target.price, seen.cum_quantity
    )
    if seen.status is VenueStatus.CANCELED:
        return (replaced, ev.Canceled(source, seen.venue_order_id, seen.cum_quantity, seen.reason))
    if seen.status is VenueStatus.EXPIRED:
        return (replaced, ev.Expired(source, seen.venue_order_id, seen.cum_quantity, seen.reason))
    return (replaced,)


def _copy_refused(order: Order, text: str | None) -> tuple[Event, ...]:
    """The order that was to go on was refused: one copy of the replace is done with. The original is another question."""
    wanted = order.replacement
    if wanted is None or any(copy.outcome is CopyOutcome.REJECTED for copy in wanted.copies) or not wanted.under_way:
        return ()
    return (ev.ReplaceSettled(wanted.under_way[0].number, CopyOutcome.REJECTED, text or "rejected"),)


def is_as_in_force(order: Order, seen: VenueOrder) -> bool:
    """Tell whether a venue shows the order with the id, quantity and price that it has by our record."""
    return foreign_field(order, seen, _in_force(order)) is None


def is_like(order: Order, seen: VenueOrder) -> bool:
    """Tell whether an order listed by the venue could be ours by its content. That is no proof that it is."""
    terms = [(order.quantity, order.price), (order.intent.quantity, order.intent.price)]
    if order.replacement is not None:
        terms.append((order.replacement.quantity, order.replacement.price))
    return (
        (seen.quantity, seen.price) in terms
        and seen.instrument == order.intent.instrument
        and seen.side is order.intent.side
    )


def _from_order_in_force(order: Order, seen: VenueOrder, source: Source) -> tuple[Event, ...]:
    field = foreign_field(order, seen, _in_force(order))
    if field is not None and _is_earlier_self(order, seen, field):
        return ()
    if field is not None:
        reason = f"the venue has another order under {order.client_order_id}: its {field} differs"
        foreign = ev.Anomaly(reason, IncidentKind.FOREIGN_ORDER)
        if order.status is Status.UNCERTAIN:
            return (foreign, ev.Parked(reason))
        if order.status is Status.SENDING:
            number = order.copies[-1].number
            return (ev.OutcomeUnknown(number, reason), foreign, ev.Parked(reason))
        return (foreign,)
    if seen.status is VenueStatus.REJECTED:
        return _from_rejection(order, seen.reason, source, seen.venue_order_id)
    other = _other_order(order, seen.venue_order_id)
    if seen.status is VenueStatus.CANCELED:
        return (ev.Canceled(source, seen.venue_order_id, seen.cum_quantity, seen.reason), *other)
    if seen.status is VenueStatus.EXPIRED:
        return (ev.Expired(source, seen.venue_order_id, seen.cum_quantity, seen.reason), *other)
    if seen.status is VenueStatus.REPLACED:
        return (ev.Anomaly(f"the venue shows {order.live_id} as replaced, by an order that nobody here asked for"),)
    told = ev.Acknowledged(seen.venue_order_id, seen.status, seen.cum_quantity, source)
    if seen.status is VenueStatus.FILLED and order.replacement is not None:
        # Nothing is left to be replaced: a copy that is under way finds the order dead.
        reason, under_way = "the order was filled first", order.replacement.under_way
        dead = (ev.ReplaceSettled(copy.number, CopyOutcome.ABSENT, reason) for copy in under_way)
        return (told, *dead, *other)
    return (told, *other)


def _is_earlier_self(order: Order, seen: VenueOrder, field: str) -> bool:
    """Tell whether an order that differs may be ours all the same: as it was before a replace, or as one left it that ended
    with the order.
    """
    if not order.replace_copies or field not in ("client order id", "quantity", "price"):
        return False
    return order.status in ENDED or (order.in_force is not None and seen.status in _OVER_THERE)


def _from_rejection(order: Order, text: str | None, source: Source, venue_order_id: str) -> tuple[Event, ...]:
    reason = text or "rejected"
    if order.cum_quantity:
        return (ev.Anomaly(f"the venue rejects an order that traded: {reason}"),)
    # Where our order is known under another number, a repeat of its id was refused: the order itself stands. That number may
    # have been a provisional one, but "rejected" is said on evidence only.
    return _two_orders(order, venue_order_id) or (ev.Rejected(reason, source, venue_order_id),)


def _other_order(order: Order, venue_order_id: str) -> tuple[Event, ...]:
    """Return an anomaly if the venue's number is not the one our order has there: two orders under one id (ONE-ORDER)."""
    if order.status is Status.PENDING_NEW:
        return ()  # a number given before the venue accepts may be provisional
    return _two_orders(order, venue_order_id)


def _two_orders(order: Order, venue_order_id: str) -> tuple[Event, ...]:
    known = order.venue_order_id
    if known is None or known == venue_order_id:
        return ()
    if order.in_force is not None or order.replacing:
        return ()  # a replace may give an order another number, and late news name the earlier one
    first, second = sorted((known, venue_order_id))
    told = f"the venue has two orders under {order.client_order_id}: {first} and {second}"
    return (ev.Anomaly(told, IncidentKind.TWO_ORDERS),)


def foreign_field(order: Order, seen: VenueOrder, terms: Terms) -> str | None:
    """Return the first field by which the venue's order cannot be ours under these terms, or ``None``."""
    if seen.client_order_id != terms.client_order_id:
        return "client order id"
    for field in ("instrument", "side", "order_type"):
        if getattr(seen, field) != getattr(order.intent, field):
            return field
    if seen.quantity != terms.quantity:
        return "quantity"
    return None if seen.price == terms.price else "price"


def from_lookup(order: Order, reply: msg.LookupReply, source: Source = Source.LOOKUP) -> tuple[Event, ...]:
    """Return what a status query proves. Not finding an order proves nothing here; the retry contract judges that."""
    if not isinstance(reply, msg.Found):
        return ()
    events = from_venue_order(order, reply.order, source)
    return () if say_nothing_new(order, events) else events


def from_replace_reply(order: Order, number: int, reply: msg.ReplaceReply, now_us: int) -> tuple[Event, ...]:
    """Return what the reply to copy ``number`` of a replace proves. A refusal speaks of this copy only."""
    if isinstance(reply, msg.Replaced):
        seen = from_venue_order(order, reply.order, Source.REPLY)
        wanted = order.replacement
        if wanted is not None and number > wanted.copies_before and not any(isinstance(e, ev.Replaced) for e in seen):
            reason = "the venue says it replaced the order, and shows another than was asked for"
            return (ev.ReplaceSettled(number, CopyOutcome.UNKNOWN, reason), *seen)
        return (ev.ReplaceSettled(number, CopyOutcome.ACCEPTED, ""), *seen)
    if isinstance(reply, msg.ReplaceRejected):
        refused = ev.ReplaceSettled(number, CopyOutcome.REJECTED, reply.reason)
        if reply.order is None:
            return (refused,)
        seen = from_venue_order(order, reply.order, Source.REPLY)
        settled = (refused.number, ev.ReplaceSettled)  # the reply itself says what became of this copy
        return (refused, *(event for event in seen if (getattr(event, "number", None), type(event)) != settled))
    if isinstance(reply, msg.Throttled):
        retry_at_us = now_us + _pause_us(reply.retry_after_s)
        return (ev.ReplaceSettled(number, CopyOutcome.THROTTLED, reply.reason, retry_at_us),)
    outcome = {
        msg.TooLate: CopyOutcome.TOO_LATE,
        msg.NotSent: CopyOutcome.NOT_SENT,
        msg.Unknown: CopyOutcome.UNKNOWN,
    }[type(reply)]
    return (ev.ReplaceSettled(number, outcome, reply.reason),)


def not_replaced(order: Order, reason: str) -> tuple[Event, ...]:
    """Return what it means that no copy of the open replace took effect: if the original is over, it was cancelled."""
    refused = ev.ReplaceRefused(reason)
    if order.replacement is not None and order.replacement.original_over:
        number = order.venue_order_id or ""
        return (refused, ev.Canceled(Source.LOOKUP, number, order.venue_cum_quantity, "over, and nothing replaced it"))
    excess = EXACT.subtract(order.cum_quantity, order.quantity)
    return (refused, overfill(excess)) if excess > 0 else (refused,)


def overfill(excess: Decimal) -> ev.Anomaly:
    """Return what is to be said of an order that was executed by more than its quantity."""
    told = f"overfill: {plain(excess)} more than the order's quantity was executed"
    return ev.Anomaly(told, IncidentKind.OVERFILL)


def from_cancel_reply(order: Order, number: int, reply: msg.CancelReply, now_us: int) -> tuple[Event, ...]:
    """Return what the reply to cancel ``number`` proves. A refusal alone proves little: the order must be looked at."""
    if isinstance(reply, msg.Canceled):
        settled = ev.CancelSettled(number, CopyOutcome.ACCEPTED, "")
        return (settled, *from_venue_order(order, reply.order, Source.REPLY))
    if isinstance(reply, msg.CancelRejected):
        refused = ev.CancelSettled(number, CopyOutcome.REJECTED, reply.reason)
        if reply.order is None:
            return (refused,)
        return (refused, *from_venue_order(order, reply.order, Source.REPLY))
    if isinstance(reply, msg.Throttled):
        retry_at_us = now_us + _pause_us(reply.retry_after_s)
        return (ev.CancelSettled(number, CopyOutcome.THROTTLED, reply.reason, retry_at_us),)
    outcome = {msg.NotSent: CopyOutcome.NOT_SENT, msg.Unknown: CopyOutcome.UNKNOWN}[type(reply)]
    return (ev.CancelSettled(number, outcome, reply.reason),)


def from_report(order: Order, report: ExecutionReport) -> tuple[Event, ...]:
    """Return what a report of the execution stream says about our order. The caller has deduped trades by ExecID."""
    intent = order.intent
    if report.instrument != intent.instrument or report.side is not intent.side:
        told = f"a report under {report.client_order_id} names another instrument or side than the order"
        return (ev.Anomaly(told, IncidentKind.FOREIGN_ORDER),)
    if report.kind is ExecutionKind.TRADE:
        return from_trade(order, report, report.execution_id)
    if report.client_order_id != order.live_id or report.kind is ExecutionKind.REPLACED:
        return _from_report_of_chain(order, report)
    if report.kind is ExecutionKind.CANCELED and order.replacing and order.gets_new_id:
        return (ev.Superseded(Source.STREAM, report.venue_order_id, report.cum_quantity),)
    if report.kind is ExecutionKind.REJECTED and report.status is VenueStatus.REJECTED:
        return _from_rejection(order, report.text, Source.STREAM, report.venue_order_id)
    if report.kind is ExecutionKind.RESTATED:
        return _from_restatement(order, report)
    other = _other_order(order, report.venue_order_id)
    kind = _meaning(order, report)
    if kind is ExecutionKind.CANCELED:
        return (ev.Canceled(Source.STREAM, report.venue_order_id, report.cum_quantity, report.text), *other)
    if kind is ExecutionKind.EXPIRED:
        reason = report.text or (_DONE if report.kind is ExecutionKind.DONE_FOR_DAY else None)
        return (ev.Expired(Source.STREAM, report.venue_order_id, report.cum_quantity, reason), *other)
    return (ev.Acknowledged(report.venue_order_id, report.status, report.cum_quantity, Source.STREAM), *other)


_DONE = "done for the day"


def _meaning(order: Order, report: ExecutionReport) -> ExecutionKind:
    """Return what a report means for the order: an answer to a question by the state it shows, the end of its only day as its
    end.
    """
    if report.kind is ExecutionKind.ORDER_STATUS:
        over = {VenueStatus.CANCELED: ExecutionKind.CANCELED, VenueStatus.EXPIRED: ExecutionKind.EXPIRED}
        return over.get(report.status, report.kind)
    if report.kind is ExecutionKind.DONE_FOR_DAY and order.intent.time_in_force is TimeInForce.DAY:
        return ExecutionKind.EXPIRED
    return report.kind


def _from_restatement(order: Order, report: ExecutionReport) -> tuple[Event, ...]:
    """Return what it proves that the venue tells an order's terms by itself: often they are the same."""
    quantity = order.quantity if report.order_quantity is None else report.order_quantity
    price = order.price if report.order_price is None else report.order_price
    if (quantity, price) == (order.quantity, order.price):
        return (ev.Acknowledged(report.venue_order_id, report.status, report.cum_quantity, Source.STREAM),)
    terms = f"{plain(quantity)}" if price is None else f"{plain(quantity)} at {plain(price)}"
    told = ev.Anomaly(f"the venue restated the order to {terms}: {report.text or 'no reason'}", IncidentKind.RESTATED)
    late = order.in_force is not None and report.transacted_at_us < order.in_force.since_us
    if late or order.status in ENDED - {Status.FILLED}:
        return (told,)
    number, at_us = order.replacements + 1, report.transacted_at_us
    reason = report.text or "restated by the venue"
    return (ev.Restated(number, report.venue_order_id, quantity, price, report.cum_quantity, reason, at_us), told)


_UNDECIDED = frozenset({ExecutionKind.PENDING_NEW, ExecutionKind.PENDING_REPLACE, ExecutionKind.PENDING_CANCEL})


def _from_report_of_chain(order: Order, report: ExecutionReport) -> tuple[Event, ...]:
    """Return what a report proves that names another order of the chain than the one in force, or a replace."""
    replaced = _replaced_by_report(order, report)
    wanted = order.replacement
    if wanted is not None and wanted.copies and report.client_order_id == wanted.client_order_id != order.live_id:
        if report.kind is ExecutionKind.REJECTED:
            return _copy_refused(order, report.text)
        if report.kind in _UNDECIDED:
            return ()  # it may yet be refused, and the original go on
    if replaced is None and report.client_order_id in order.given_up:
        if report.kind in _UNDECIDED or report.kind in (
            ExecutionKind.REJECTED,
            ExecutionKind.CANCELED,
            ExecutionKind.EXPIRED,
        ):
            return ()
        return (
            ev.Anomaly(f"the venue shows {report.client_order_id}, a replace that was held to have come to nothing"),
        )
    if replaced is None:
        known = report.kind is ExecutionKind.REPLACED and report.client_order_id == order.live_id
        if known and order.in_force is None and not order.replace_copies:
            return (ev.Anomaly(f"the venue replaced {order.live_id} by terms that nobody here asked for"),)
        return ()  # news of an order that has been replaced
    if report.kind is ExecutionKind.CANCELED:
        return (replaced, ev.Canceled(Source.STREAM, report.venue_order_id, report.cum_quantity, report.text))
    if report.kind is ExecutionKind.EXPIRED:
        return (replaced, ev.Expired(Source.STREAM, report.venue_order_id, report.cum_quantity, report.text))
    return (replaced,)


def _replaced_by_report(order: Order, report: ExecutionReport) -> ev.Replaced | None:
    """Return the replace that a report shows to have taken effect: it names the new id, or the terms that were wanted."""
    wanted = order.replacement
    if wanted is None or not wanted.copies or report.client_order_id != wanted.client_order_id:
        return None
    if not order.gets_new_id:
        if order.in_force is not None:
            return None  # it may be late news of an earlier replace by the same terms: only asking can tell
        made_of_it = max(wanted.quantity, report.cum_quantity)
        if report.order_price != wanted.price or report.order_quantity not in (wanted.quantity, made_of_it):
            return None
    quantity, made = wanted.quantity, report.order_quantity
    if made is not None and made == report.cum_quantity > quantity:
        quantity = made  # less was wanted than is executed: the venue made it what is executed (FIX 4.2 matrix D12)
    number, cum_quantity = report.venue_order_id, report.cum_quantity
    return ev.Replaced(
        Source.STREAM, wanted.client_order_id, number, quantity, wanted.price, cum_quantity, report.transacted_at_us
    )


def replaced_by_total(order: Order, report: ExecutionReport, total: Decimal) -> ev.Replaced | None:
    """Return the replace that executions show to have taken effect: as much was executed as it wants, which is more than
    the order had. Where the venue keeps the id, nothing else may ever tell.
    """
    wanted = order.replacement
    if wanted is None or not wanted.under_way or order.gets_new_id or not order.quantity < wanted.quantity == total:
        return None
    number, at_us = report.venue_order_id, report.transacted_at_us
    return ev.Replaced(
        Source.STREAM, wanted.client_order_id, number, wanted.quantity, wanted.price, report.cum_quantity, at_us
    )


def is_trade(report: ExecutionReport) -> bool:
    """Tell whether a report has the quantity and price of an execution."""
    quantity, price = report.last_quantity, report.last_price
    finite = quantity is not None and price is not None and quantity.is_finite() and price.is_finite()
    return finite and quantity is not None and quantity > 0


def from_trade(
    order: Order, report: ExecutionReport, execution_id: str, stream: str = "executions", incident: int | None = None
) -> tuple[Event, ...]:
    """Return what an execution proves about our order; ``execution_id``: what it goes by in the execution log.

    ``stream``: by which channel it came. ``incident``: under which it is taken in.
    """
    quantity, price = report.last_quantity, report.last_price
    if not is_trade(report) or quantity is None or price is None:
        return (ev.Anomaly(f"execution {execution_id} is a trade without quantity or price"),)
    paid = report.fee is not None and report.fee_currency is not None
    traded = ev.Traded(
        execution_id,
        quantity,
        price,
        report.venue_order_id,
        report.cum_quantity,
        report.transacted_at_us,
        report.fee if paid else None,
        report.fee_currency if paid else None,
        None if report.client_order_id == order.client_order_id else report.client_order_id,
        stream,
        incident,
    )
    # A trade under the new id shows that it is there.
    total = EXACT.add(order.cum_quantity, quantity)
    replaced = _replaced_by_report(order, report) if order.gets_new_id else replaced_by_total(order, report, total)
    known = (traded,) if replaced is None else (replaced, traded)
    most = order.most_quantity if replaced is None else replaced.quantity
    excess = EXACT.subtract(total, most)
    if excess > 0:
        return (*known, overfill(excess))
    if replaced is not None:
        return known
    if order.status is Status.REJECTED or _held_for_absent(order):
        told = f"an execution came for an order that was {order.status}"
        return (traded, ev.Anomaly(told, IncidentKind.RESURRECTED))
    return (traded, *_other_order(order, report.venue_order_id))


def is_old_news(order: Order, report: ExecutionReport) -> bool:
    """Tell at a glance whether a report only repeats that the order is new at the venue, as most reports do."""
    return (
        report.kind is ExecutionKind.NEW
        and report.client_order_id == order.live_id
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
            order.status in WORKING
            and (pending or (order.status is not Status.PENDING_NEW and order.answer is not None))
        )
        return told and event.venue_cum_quantity <= order.venue_cum_quantity
    if isinstance(event, ev.Canceled | ev.Expired):
        told = order.status in ENDED and order.status not in NEVER_SENT
        return told and event.venue_cum_quantity <= order.venue_cum_quantity
    if isinstance(event, ev.Superseded):
        known = order.replacement is None or order.replacement.original_over is not None
        return known and event.venue_cum_quantity <= order.venue_cum_quantity
    if isinstance(event, ev.ReplaceRefused):
        return order.replacement is None
    if isinstance(event, ev.Rejected):
        refused = any(copy.outcome is CopyOutcome.REJECTED for copy in order.copies)
        return order.status is Status.REJECTED or (order.status is Status.UNCERTAIN and refused)
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
    claimed = order.strays + (() if order.replacement is None else order.replacement.copies)
    replaces = tuple(
        ev.ReplaceSettled(copy.number, CopyOutcome.UNKNOWN, reason) for copy in claimed if copy.outcome is None
    )
    require(not unknown or order.status is not Status.RECORDED, "a recorded order has no claim without an outcome")
    return (*unknown, *cancels, *replaces)


def resurrected(order: Order, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Return ``events`` with an anomaly added if the venue shows an order that was held not to be there: never sent,
    proven absent, or rejected in reply.
    """
    if order.status not in _NOT_THERE:
        return events
    shows = (ev.Acknowledged, ev.Canceled, ev.Expired)
    absent = _held_for_absent(order)
    if any((absent and isinstance(event, shows)) or _shows_rejected(order, event) for event in events):
        return (*events, ev.Anomaly(f"the venue has an order that was {order.status} here", IncidentKind.RESURRECTED))
    return events


def _held_for_absent(order: Order) -> bool:
    if order.status is Status.RECORDED:
        return any(copy.outcome is CopyOutcome.ABSENT for copy in order.copies)
    return order.status in NEVER_SENT


def _shows_rejected(order: Order, event: Event) -> bool:
    # Late news of the rejected order itself are nothing new; one that was rejected in reply was never shown under a number.
    if not isinstance(event, ev.Acknowledged) or event.status is VenueStatus.PENDING_NEW:
        return False
    return order.status is Status.REJECTED and order.venue_order_id != event.venue_order_id
