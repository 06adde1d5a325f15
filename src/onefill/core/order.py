"""An order as the ledger knows it, and the pure function that moves it along the life-cycle table."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.errors import require
from onefill.core.events import CopyOutcome, Event
from onefill.core.intent import Intent
from onefill.core.lifecycle import ENDED, NEVER_SENT, TABLE, UNANSWERED, Signal, Status, To
from onefill.core.messages import VenueStatus
from onefill.core.values import EXACT


class Copy(msgspec.Struct, frozen=True, gc=False):
    """One sent (or claimed) copy of a request. ``outcome`` is ``None`` while its reply is awaited."""

    number: int
    claimed_at_us: int
    expires_at_us: int | None
    outcome: CopyOutcome | None = None
    reason: str | None = None
    retry_at_us: int | None = None


class Order(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order as the ledger knows it. ``version`` rises by one with every journal entry."""

    intent_id: int
    key: str
    client_order_id: str
    intent: Intent
    recorded_at_us: int
    valid_until_us: int
    status: Status = Status.RECORDED
    version: int = 0
    cum_quantity: Decimal = Decimal(0)
    """Executed quantity by the executions applied here (FIX CumQty)."""
    venue_cum_quantity: Decimal = Decimal(0)
    """Executed quantity by the venue's word; executions may still be on their way."""
    venue_order_id: str | None = None
    reason: str | None = None
    anomaly: str | None = None
    parked: bool = False
    copies: tuple[Copy, ...] = ()
    cancels: tuple[Copy, ...] = ()
    cancel_wanted: bool = False
    answer: bytes | None = None

    @property
    def leaves_quantity(self) -> Decimal:
        """What can still trade (FIX LeavesQty)."""
        if self.status in ENDED:
            return Decimal(0)
        return max(EXACT.subtract(self.intent.quantity, self.cum_quantity), Decimal(0))

    @property
    def closed(self) -> bool:
        """Nothing more is expected: the order ended and every execution the venue counted has been applied."""
        return self.status in ENDED and self.cum_quantity >= self.venue_cum_quantity

    @property
    def copies_under_way(self) -> tuple[Copy, ...]:
        """The copies that may still reach the venue."""
        return tuple(copy for copy in self.copies if copy.outcome is None or copy.outcome is CopyOutcome.UNKNOWN)


def next_status(order: Order, signal: Signal) -> Status:
    """Return the state after ``signal``, reading the table. ``order`` carries the numbers as they are after the event."""
    row = TABLE[order.status]
    require(signal in row, f"order {order.client_order_id}: {signal} cannot happen in state {order.status}")
    target = row[signal]
    if isinstance(target, Status):
        return target
    full = order.cum_quantity >= order.intent.quantity
    if target is To.BY_QUANTITY:
        if full:
            return Status.FILLED
        return Status.PARTIALLY_FILLED if order.cum_quantity else Status.NEW
    if target is To.FILLED_OR_SAME:
        return Status.FILLED if full else order.status
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
    copy = Copy(event.number, at_us, event.expires_at_us)
    return _to(order, Signal.CLAIM, copies=(*order.copies, copy))


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
    return _to(order, Signal.ABSENT, copies=copies)


def _acknowledged(order: Order, event: ev.Acknowledged, _at_us: int) -> Order:
    signal = Signal.PENDING if event.status is VenueStatus.PENDING_NEW else Signal.ACCEPT
    return _to(order, signal, reason=None, **_seen(order, event.venue_order_id, event.venue_cum_quantity))


def _rejected(order: Order, event: ev.Rejected, _at_us: int) -> Order:
    known = event.venue_order_id or order.venue_order_id
    return _to(order, Signal.REJECT, venue_order_id=known, reason=event.reason)


def _traded(order: Order, event: ev.Traded, _at_us: int) -> Order:
    seen = _seen(order, event.venue_order_id, event.venue_cum_quantity)
    return _to(order, Signal.TRADE, cum_quantity=EXACT.add(order.cum_quantity, event.quantity), **seen)


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
    return _with(order, cancels=_settle(order.cancels, event.number, event.outcome, event.reason, None))


def _cancel_refused(order: Order, event: ev.CancelRefused, _at_us: int) -> Order:
    return _to(order, Signal.CANCEL_REFUSE, cancel_wanted=False, reason=event.reason)


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
    require(order.status is Status.UNCERTAIN, f"order {order.client_order_id}: only an uncertain order is parked")
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
    ev.CancelRecorded: _cancel_recorded,
    ev.CancelClaimed: _cancel_claimed,
    ev.CancelSettled: _cancel_settled,
    ev.CancelRefused: _cancel_refused,
    ev.Canceled: _canceled,
    ev.Expired: _expired,
    ev.ExpiredUnsent: _expired_unsent,
    ev.Withdrawn: _withdrawn,
    ev.Parked: _parked,
    ev.Anomaly: _anomaly,
}


def advance(order: Order, events: tuple[Event, ...], at_us: int) -> Order:
    """Return the order after one journal entry: all its events, then the version and, once it can be given, the answer."""
    for event in events:
        order = apply(order, event, at_us)
    if order.cancel_wanted and order.status in ENDED:
        order = _with(order, cancel_wanted=False)  # whoever asked is told what ended it instead
    if order.parked and order.status not in {Status.UNCERTAIN, Status.RECORDED}:
        order = _with(order, parked=False)  # evidence moved it
    if order.answer is None and order.status not in UNANSWERED:
        return _with(order, version=order.version + 1, answer=submit_answer(order, at_us))
    return _with(order, version=order.version + 1)


class Answer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a submit is answered. Written once; every repeat of the key gets the same bytes (promise SAME-ANSWER).

    ``status`` and ``cum_quantity`` are as of the moment of the answer, not of now; ``answered_at_us`` is that moment.
    """

    key: str
    account: str
    strategy: str
    venue: str
    client_order_id: str
    venue_order_id: str | None
    status: Status
    cum_quantity: str
    reason: str | None
    answered_at_us: int

    @property
    def accepted(self) -> bool:
        """Whether the order got to the venue and was taken."""
        return self.status not in NEVER_SENT and self.status is not Status.REJECTED


def submit_answer(order: Order, at_us: int) -> bytes:
    """Return the bytes that answer this order's submit, now and for ever."""
    return msgspec.json.encode(
        Answer(
            key=order.key,
            account=order.intent.account,
            strategy=order.intent.strategy,
            venue=order.intent.venue,
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            status=order.status,
            cum_quantity=format(order.cum_quantity, "f"),
            reason=order.reason,
            answered_at_us=at_us,
        )
    )


class CancelResult(StrEnum):
    """What came of wanting an order gone."""

    CANCELED = "canceled"
    FILLED = "filled"
    """Too late: it had filled."""
    ENDED = "ended"
    """It had ended otherwise: rejected or expired."""
    NEVER_SENT = "never_sent"
    REFUSED = "refused"
    """The venue would not cancel, and the order is live."""
    UNKNOWN_KEY = "unknown_key"
    """No such order had been recorded when the cancel came."""


class CancelAnswer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a cancel is answered. ``changed`` is false where the order had ended before this cancel came (CANCEL-QUIET)."""

    key: str
    result: CancelResult
    changed: bool
    client_order_id: str | None
    status: Status | None
    cum_quantity: str
    reason: str | None
    answered_at_us: int


def cancel_answer(order: Order, at_us: int, *, changed: bool) -> bytes:
    """Return the bytes that answer a cancel of this order, whose fate is known (or whose cancel was refused)."""
    results = {
        Status.CANCELED: CancelResult.CANCELED,
        Status.FILLED: CancelResult.FILLED,
        Status.REJECTED: CancelResult.ENDED,
        Status.EXPIRED: CancelResult.ENDED,
        Status.EXPIRED_UNSENT: CancelResult.NEVER_SENT,
        Status.CANCELED_UNSENT: CancelResult.NEVER_SENT,
    }
    return msgspec.json.encode(
        CancelAnswer(
            key=order.key,
            result=results.get(order.status, CancelResult.REFUSED),
            changed=changed and order.status in {Status.CANCELED, Status.CANCELED_UNSENT},
            client_order_id=order.client_order_id,
            status=order.status,
            cum_quantity=format(order.cum_quantity, "f"),
            reason=order.reason,
            answered_at_us=at_us,
        )
    )


def unknown_key_answer(key: str, at_us: int) -> bytes:
    """Return the bytes that answer a cancel of a key that was never recorded."""
    return msgspec.json.encode(
        CancelAnswer(
            key=key,
            result=CancelResult.UNKNOWN_KEY,
            changed=False,
            client_order_id=None,
            status=None,
            cum_quantity="0",
            reason="no such order had been recorded",
            answered_at_us=at_us,
        )
    )
