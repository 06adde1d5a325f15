"""What callers are told, as bytes: written once, given to every repeat (promises SAME-ANSWER, CANCEL-QUIET)."""

from enum import StrEnum

import msgspec

from onefill.core.lifecycle import NEVER_SENT, Status
from onefill.core.order import Order


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
        Status.REFUSED: CancelResult.NEVER_SENT,
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


class ReplaceResult(StrEnum):
    """What came of wanting other quantity or price."""

    REPLACED = "replaced"
    REFUSED = "refused"
    """It was not replaced and goes on as it was (or is about to be cancelled)."""
    FILLED = "filled"
    """Too late: it had filled."""
    ENDED = "ended"
    """Too late: it was cancelled, rejected or expired."""
    NEVER_SENT = "never_sent"
    UNKNOWN_KEY = "unknown_key"
    """No such order had been recorded when the replace came."""


class ReplaceAnswer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a replace is answered. ``changed`` is false where the order was as wanted before this replace came.

    ``client_order_id`` is the one the order goes on under, ``orig_client_order_id`` the one it had when recorded;
    ``quantity`` and ``price`` are those in force, ``cum_quantity`` what had been executed (FIX OrderQty, Price, CumQty).
    """

    key: str
    result: ReplaceResult
    changed: bool
    client_order_id: str | None
    orig_client_order_id: str | None
    venue_order_id: str | None
    status: Status | None
    quantity: str | None
    price: str | None
    cum_quantity: str
    reason: str | None
    answered_at_us: int


def replace_answer(order: Order, at_us: int, *, done: bool, changed: bool) -> bytes:
    """Return the bytes that answer a replace of this order. ``done``: the order has what was wanted."""
    ends = {
        Status.FILLED: ReplaceResult.FILLED,
        Status.CANCELED: ReplaceResult.ENDED,
        Status.REJECTED: ReplaceResult.ENDED,
        Status.EXPIRED: ReplaceResult.ENDED,
        Status.EXPIRED_UNSENT: ReplaceResult.NEVER_SENT,
        Status.CANCELED_UNSENT: ReplaceResult.NEVER_SENT,
        Status.REFUSED: ReplaceResult.NEVER_SENT,
    }
    return msgspec.json.encode(
        ReplaceAnswer(
            key=order.key,
            result=ReplaceResult.REPLACED if done else ends.get(order.status, ReplaceResult.REFUSED),
            changed=done and changed,
            client_order_id=order.live_id,
            orig_client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            status=order.status,
            quantity=format(order.quantity, "f"),
            price=None if order.price is None else format(order.price, "f"),
            cum_quantity=format(order.cum_quantity, "f"),
            reason=order.reason,
            answered_at_us=at_us,
        )
    )


def replace_of_unknown_key_answer(key: str, at_us: int) -> bytes:
    """Return the bytes that answer a replace of a key that was never recorded."""
    return msgspec.json.encode(
        ReplaceAnswer(
            key=key,
            result=ReplaceResult.UNKNOWN_KEY,
            changed=False,
            client_order_id=None,
            orig_client_order_id=None,
            venue_order_id=None,
            status=None,
            quantity=None,
            price=None,
            cum_quantity="0",
            reason="no such order had been recorded",
            answered_at_us=at_us,
        )
    )
