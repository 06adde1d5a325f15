"""How an order moves: one event, or one journal entry, along the life-cycle table. Pure."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.answers import submit_answer
from onefill.core.errors import InvariantBroken, require
from onefill.core.events import CopyOutcome, Event
from onefill.core.lifecycle import ENDED, NEVER_SENT, TABLE, UNANSWERED, WORKING, Signal, Status, To
from onefill.core.messages import VenueStatus
from onefill.core.order import Copy, Order, Replacement, Terms
from onefill.core.values import EXACT

_PARKABLE = WORKING | {Status.UNCERTAIN, Status.RECORDED}


def next_status(order: Order, signal: Signal) -> Status:
    """Return the state after ``signal``, reading the table. ``order`` carries the numbers as they are after the event."""
    row = TABLE[order.status]
    require(signal in row, f"order {order.client_order_id}: {signal} cannot happen in state {order.status}")
    target = row[signal]
    if isinstance(target, Status):
        return target
    full = order.cum_quantity >= order.most_quantity
    if target is To.AS_IT_WAS and not full and (order.answer is None or order.replacing):
        return Status.PENDING_REPLACE if order.replacing else Status.PENDING_NEW
    if target in {To.BY_QUANTITY, To.AS_IT_WAS}:
        if full:
            return Status.FILLED
        return Status.PARTIALLY_FILLED if order.cum_quantity else Status.NEW
    if target is To.FILLED_OR_SAME:
        return Status.FILLED if full else order.status
    if target is To.FILLED_OR_CANCELED:
        return Status.FILLED if full else Status.CANCELED
    if target is To.SAME:
        return order.status
    if order.copies_under_way:
        return Status.UNCERTAIN
    return Status.RECORDED if target is To.BY_COPIES else Status.REJECTED


def can(order: Order, signal: Signal) -> bool:
    """Tell whether the table allows ``signal`` now."""
    return signal in TABLE[order.status]


def apply(order: Order, event: Event, at_us: int) -> Order:
    """Return the order after one event. Pure; raises :class:`InvariantBroken` for what cannot happen."""
    return _APPLY[type(event)](order, event, at_us)


_with = msgspec.structs.replace


def _to(order: Order, signal: Signal, **changes: object) -> Order:
    target = TABLE[order.status].get(signal)
    if target is To.SAME:
        return _with(order, **changes) if changes else order
    if isinstance(target, Status):
        return _with(order, status=target, **changes)
    moved = _with(order, **changes) if changes else order
    status = next_status(moved, signal)
    return moved if status is moved.status else _with(moved, status=status)


def _settle(
    copies: tuple[Copy, ...], number: int, outcome: CopyOutcome, reason: str, retry: int | None
) -> tuple[Copy, ...]:
    require(0 < number <= len(copies), f"copy {number} was never claimed")
    settled = _with(copies[number - 1], outcome=outcome, reason=reason, retry_at_us=retry)
    return (*copies[: number - 1], settled, *copies[number:])


def _claimed(order: Order, event: ev.Claimed, at_us: int) -> Order:
    require(event.number == len(order.copies) + 1, f"copy {event.number} claimed out of turn")
    copy = Copy(event.number, at_us, event.expires_at_us, leaves_by_us=event.leaves_by_us)
    return _to(order, Signal.CLAIM, copies=(*order.copies, copy), parked=False)


def _copy_settled(order: Order, event: ev.CopySettled, _at_us: int) -> Order:
    copies = _settle(order.copies, event.number, event.outcome, event.reason, event.retry_at_us)
    if event.outcome is CopyOutcome.ACCEPTED:
        return _with(order, copies=copies)  # the Acknowledged beside it moves the state
    if event.outcome is CopyOutcome.DUPLICATE:
        # The venue has something under our id: our own earlier copy or a stranger. Only a look-up can tell.
        return _to(order, Signal.UNKNOWN, copies=copies, reason=event.reason)
    signal = Signal.REFUSE if event.outcome is CopyOutcome.REJECTED else Signal.SPENT
    return _to(order, signal, copies=copies, reason=event.reason)


def _outcome_unknown(order: Order, event: ev.OutcomeUnknown, _at_us: int) -> Order:
    copies = _settle(order.copies, event.number, CopyOutcome.UNKNOWN, event.reason, None)
    return _to(order, Signal.UNKNOWN, copies=copies, reason=event.reason)


def _proven_absent(order: Order, event: ev.ProvenAbsent, _at_us: int) -> Order:
    reason = "not at the venue after every copy had expired"
    copies = tuple(
        _with(copy, outcome=CopyOutcome.ABSENT, reason=reason) if copy in order.copies_under_way else copy
        for copy in order.copies
    )
    # A copy that the venue refused decides, once no other copy can still turn up.
    refused = next((copy for copy in reversed(copies) if copy.outcome is CopyOutcome.REJECTED), None)
    if refused is not None:
        return _to(order, Signal.REJECT, copies=copies, reason=refused.reason)
    return _to(order, Signal.ABSENT, copies=copies, parked=False)


def _acknowledged(order: Order, event: ev.Acknowledged, _at_us: int) -> Order:
    signal = Signal.PENDING if event.status is VenueStatus.PENDING_NEW else Signal.ACCEPT
    # Late news do not take away why it ended.
    reason = order.reason if order.status in ENDED and order.status not in NEVER_SENT else None
    return _to(order, signal, reason=reason, **_seen(order, event.venue_order_id, event.venue_cum_quantity))


def _rejected(order: Order, event: ev.Rejected, _at_us: int) -> Order:
    known = event.venue_order_id or order.venue_order_id
    moved = _to(
        order, Signal.REJECT, venue_order_id=known, reason=event.reason, copies=_one_refused(order, event.reason)
    )
    # While another copy may have been taken, the number of the refused one is not our order's.
    if moved.status is not Status.UNCERTAIN:
        return moved
    return _with(moved, venue_order_id=None, **(_replace_over(moved) if moved.replacement is not None else {}))


def _one_refused(order: Order, reason: str) -> tuple[Copy, ...]:
    """Return the copies with the one marked that made the rejected order: the venue decides about each by itself."""
    outcomes = [copy.outcome for copy in order.copies]
    if CopyOutcome.REJECTED in outcomes:
        return order.copies
    made_it = next((n for n, outcome in enumerate(outcomes) if outcome is CopyOutcome.ACCEPTED), None)
    if made_it is None:
        # The last: if its reply is awaited, that is about to say the same, and one refusal must not count for two copies.
        made_it = next((n for n, copy in reversed([*enumerate(order.copies)]) if copy.under_way), None)
    if made_it is None:
        return order.copies
    refused = _with(order.copies[made_it], outcome=CopyOutcome.REJECTED, reason=reason)
    return (*order.copies[:made_it], refused, *order.copies[made_it + 1 :])


def _traded(order: Order, event: ev.Traded, _at_us: int) -> Order:
    number = event.venue_order_id
    if order.venue_order_id is not None and (order.in_force is not None or order.replacing):
        number = order.venue_order_id  # it may be a late trade of the order as it was before its replace
    seen = _seen(order, number, event.venue_cum_quantity)
    return _to(order, Signal.TRADE, cum_quantity=EXACT.add(order.cum_quantity, event.quantity), **seen)


def _trade_amended(order: Order, event: ev.TradeAmended, _at_us: int) -> Order:
    number = event.venue_order_id if order.venue_order_id is None else order.venue_order_id
    seen = _seen(order, number, max(event.venue_cum_quantity, event.venue_gross_quantity))
    totals = {"cum_quantity": event.cum_quantity, "reversed_quantity": event.reversed_quantity}
    trades_on = event.live and order.status is Status.FILLED and event.cum_quantity < order.most_quantity
    return _to(order, Signal.REOPEN if trades_on else Signal.AMEND, **totals, **seen)


def _restated(order: Order, event: ev.Restated, _at_us: int) -> Order:
    require(event.number == order.replacements + 1, f"restatement {event.number} recorded out of turn")
    terms = Terms(event.number, order.live_id, event.quantity, event.price, event.transacted_at_us)
    seen = _seen(order, event.venue_order_id, event.venue_cum_quantity)
    trades_on = order.status is Status.FILLED and event.quantity > order.cum_quantity
    signal = Signal.REOPEN if trades_on else Signal.AMEND
    return _to(order, signal, in_force=terms, replacements=event.number, **seen)


def _refused(order: Order, event: ev.Refused, _at_us: int) -> Order:
    return _to(order, Signal.GATE, reason=f"{event.gate}: {event.reason}")


def _seen(order: Order, venue_order_id: str, venue_cum_quantity: Decimal) -> dict[str, object]:
    # A reply may be older than what the stream already told: the venue's total only ever grows.
    return {
        "venue_order_id": venue_order_id,
        "venue_cum_quantity": max(order.venue_cum_quantity, venue_cum_quantity),
        "parked": False,
    }


def _cancel_recorded(order: Order, _event: ev.CancelRecorded, _at_us: int) -> Order:
    return _with(order, cancel_wanted=order.status not in ENDED)


def _cancel_claimed(order: Order, event: ev.CancelClaimed, at_us: int) -> Order:
    require(event.number == len(order.cancels) + 1, f"cancel {event.number} claimed out of turn")
    return _to(order, Signal.CANCEL_CLAIM, cancels=(*order.cancels, Copy(event.number, at_us, None)))


def _cancel_settled(order: Order, event: ev.CancelSettled, _at_us: int) -> Order:
    return _with(order, cancels=_settle(order.cancels, event.number, event.outcome, event.reason, event.retry_at_us))


def _cancel_refused(order: Order, event: ev.CancelRefused, _at_us: int) -> Order:
    return _to(order, Signal.CANCEL_REFUSE, cancel_wanted=False, reason=event.reason)


def _replace_recorded(order: Order, event: ev.ReplaceRecorded, _at_us: int) -> Order:
    require(order.replacement is None, f"order {order.client_order_id}: an earlier replace is open")
    require(event.number == order.replacements + 1, f"replace {event.number} recorded out of turn")
    wanted = Replacement(
        number=event.number,
        client_order_id=event.client_order_id,
        quantity=event.quantity,
        price=event.price,
        valid_until_us=event.valid_until_us,
        operation_key=event.operation_key,
        copies_before=order.replace_copies,
    )
    return _with(order, replacement=wanted, replacements=event.number)


def _replace_claimed(order: Order, event: ev.ReplaceClaimed, at_us: int) -> Order:
    wanted = order.replacement
    if wanted is None or event.number != order.replace_copies + 1:
        raise InvariantBroken(f"order {order.client_order_id}: copy {event.number} of a replace claimed out of turn")
    copy = Copy(event.number, at_us, event.expires_at_us, leaves_by_us=event.leaves_by_us)
    wanted = _with(wanted, copies=(*wanted.copies, copy))
    return _to(order, Signal.REPLACE_CLAIM, replacement=wanted, replace_copies=event.number)


def _replace_settled(order: Order, event: ev.ReplaceSettled, _at_us: int) -> Order:
    wanted = order.replacement
    if wanted is not None and event.number > wanted.copies_before:
        place = event.number - wanted.copies_before
        copies = _settle(wanted.copies, place, event.outcome, event.reason, event.retry_at_us)
        return _with(order, replacement=_with(wanted, copies=copies))
    # Its replace is over already: all that is left to know is that this copy has no further effect.
    changes = {"outcome": event.outcome, "reason": event.reason, "retry_at_us": event.retry_at_us}
    strays = tuple(_with(copy, **changes) if copy.number == event.number else copy for copy in order.strays)
    return _with(order, strays=tuple(copy for copy in strays if copy.under_way))


def _replace_over(order: Order) -> dict[str, object]:
    """Return what changes when the open replace gets its end: those of its copies that may be under way become strays."""
    left = () if order.replacement is None else order.replacement.under_way
    return {
        "replacement": None,
        "strays": (*order.strays, *left) if left else order.strays,
        "given_up": (*order.given_up, order.replacement.client_order_id)
        if order.replacement is not None and order.gets_new_id
        else order.given_up,
    }


def _replaced(order: Order, event: ev.Replaced, _at_us: int) -> Order:
    wanted = order.replacement
    require(wanted is not None or order.status in ENDED, f"order {order.client_order_id}: nobody asked for a replace")
    if wanted is None:
        return order
    since_us = event.transacted_at_us
    terms = Terms(wanted.number, event.client_order_id, event.quantity, event.price, since_us)
    seen = _seen(order, event.venue_order_id, event.venue_cum_quantity)
    over = _replace_over(order) | {"given_up": order.given_up}
    return _to(order, Signal.REPLACE, in_force=terms, reason=None, **over, **seen)


def _replace_refused(order: Order, event: ev.ReplaceRefused, _at_us: int) -> Order:
    return _to(order, Signal.REPLACE_REFUSE, reason=event.reason, parked=False, **_replace_over(order))


def _superseded(order: Order, event: ev.Superseded, _at_us: int) -> Order:
    wanted = order.replacement
    if wanted is None:
        return order
    told = max(order.venue_cum_quantity, event.venue_cum_quantity)
    return _with(order, replacement=_with(wanted, original_over=event.status), venue_cum_quantity=told)


def _resolved(order: Order, event: ev.Resolved, _at_us: int) -> Order:
    said = f"{event.by}: {event.reason}"
    if event.verdict is not ev.Verdict.NOT_SENT or order.replacing:
        return _with(order, parked=False, reason=said)  # what it means for the state stands beside it
    copies = tuple(
        _with(copy, outcome=CopyOutcome.ABSENT, reason=said) if copy.under_way else copy for copy in order.copies
    )
    return _to(order, Signal.WITHDRAW, copies=copies, cancel_wanted=False, parked=False, reason=f"not sent, by {said}")


def _canceled(order: Order, event: ev.Canceled, _at_us: int) -> Order:
    seen = _seen(order, event.venue_order_id, event.venue_cum_quantity)
    return _to(order, Signal.CANCEL, cancel_wanted=False, reason=event.reason, **seen)


def _expired(order: Order, event: ev.Expired, _at_us: int) -> Order:
    seen = _seen(order, event.venue_order_id, event.venue_cum_quantity)
    return _to(order, Signal.EXPIRE, cancel_wanted=False, reason=event.reason, **seen)


def _expired_unsent(order: Order, event: ev.ExpiredUnsent, _at_us: int) -> Order:
    return _to(order, Signal.TIME_OUT, cancel_wanted=False, reason=event.reason)


def _withdrawn(order: Order, event: ev.Withdrawn, _at_us: int) -> Order:
    return _to(order, Signal.WITHDRAW, cancel_wanted=False, reason=event.reason)


def _parked(order: Order, event: ev.Parked, _at_us: int) -> Order:
    require(order.status in _PARKABLE, f"order {order.client_order_id}: an order that is {order.status} is not parked")
    return _with(order, parked=True, reason=event.reason)


def _anomaly(order: Order, event: ev.Anomaly, _at_us: int) -> Order:
    return _with(order, anomaly=event.reason)


def _recorded(order: Order, _event: ev.Recorded, _at_us: int) -> Order:
    require(order.version == 0, f"order {order.client_order_id} recorded twice")
    return order


_APPLY: dict[type[Event], Callable[[Order, Any, int], Order]] = {
    ev.Recorded: _recorded,
    ev.Claimed: _claimed,
    ev.CopySettled: _copy_settled,
    ev.OutcomeUnknown: _outcome_unknown,
    ev.ProvenAbsent: _proven_absent,
    ev.Acknowledged: _acknowledged,
    ev.Rejected: _rejected,
    ev.Traded: _traded,
    ev.TradeAmended: _trade_amended,
    ev.Restated: _restated,
    ev.Refused: _refused,
    ev.CancelRecorded: _cancel_recorded,
    ev.CancelClaimed: _cancel_claimed,
    ev.CancelSettled: _cancel_settled,
    ev.CancelRefused: _cancel_refused,
    ev.ReplaceRecorded: _replace_recorded,
    ev.ReplaceClaimed: _replace_claimed,
    ev.ReplaceSettled: _replace_settled,
    ev.Replaced: _replaced,
    ev.ReplaceRefused: _replace_refused,
    ev.Superseded: _superseded,
    ev.Resolved: _resolved,
    ev.Canceled: _canceled,
    ev.Expired: _expired,
    ev.ExpiredUnsent: _expired_unsent,
    ev.Withdrawn: _withdrawn,
    ev.Parked: _parked,
    ev.Anomaly: _anomaly,
}


def _shows_accepted(event: Event) -> bool:
    """Tell whether an event shows that the venue accepted the order, whatever became of it then."""
    if isinstance(event, ev.Acknowledged):
        return event.status is not VenueStatus.PENDING_NEW
    return isinstance(event, ev.Traded | ev.TradeAmended | ev.Restated)


def advance(order: Order, events: tuple[Event, ...], at_us: int) -> Order:
    """Return the order after one journal entry: all its events, then the version and, once it can be given, the answer."""
    for event in events:
        order = apply(order, event, at_us)
    if order.cancel_wanted and order.status in ENDED:
        order = _with(order, cancel_wanted=False)  # whoever asked is told what ended it instead
    if order.status in ENDED and (order.replacement is not None or order.parked):
        order = _with(order, parked=False, **_replace_over(order))
    accepted = order.status is Status.PENDING_CANCEL and any(map(_shows_accepted, events))
    if order.answer is None and (accepted or order.status not in UNANSWERED):
        return _with(order, version=order.version + 1, answer=submit_answer(order, at_us))
    return _with(order, version=order.version + 1)
