"""What tests of the core share: a moment to start from, one order, and short ways to say what a venue says."""

from decimal import Decimal
from typing import Any

from hypothesis import settings

from onefill.core.events import CopyOutcome
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.order import Copy, Order
from onefill.core.values import OrderType, Side

NOON_US = 1_750_000_000 * 1_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
"""Noon of some day in UTC, the moment zero of these tests."""
SEEDED = settings(derandomize=True, deadline=None, max_examples=200)
"""The same examples in every run."""
OUTCOMES = {
    "?": CopyOutcome.UNKNOWN,
    "~": None,
    "n": CopyOutcome.NOT_SENT,
    "t": CopyOutcome.THROTTLED,
    "l": CopyOutcome.TOO_LATE,
    "d": CopyOutcome.DUPLICATE,
    "r": CopyOutcome.REJECTED,
    "a": CopyOutcome.ACCEPTED,
    "x": CopyOutcome.ABSENT,
}
"""How tables of these tests spell what became of a copy; ``~`` still waits for its reply."""


def us(seconds: float) -> int:
    """Return the moment so many seconds after noon, in µs since 1970."""
    return NOON_US + round(seconds * 1_000_000)


def intent(**changes: Any) -> Intent:
    """Return a limit order to buy 10 ACME at 25.50, with changes."""
    fields: dict[str, Any] = {
        "account": "A",
        "strategy": "momentum",
        "instrument": "ACME",
        "side": Side.BUY,
        "quantity": Decimal(10),
        "price": Decimal("25.50"),
        "venue": "sim",
    }
    return Intent(**{**fields, **changes})


def order(**changes: Any) -> Order:
    """Return that order as recorded at noon, to be sent within 30 s, with changes."""
    fields: dict[str, Any] = {
        "intent_id": 1,
        "key": "k",
        "client_order_id": "C1",
        "intent": intent(),
        "recorded_at_us": us(0),
        "valid_until_us": us(30),
    }
    return Order(**{**fields, **changes})


def copies(text: str, *, expiry_s: float | None = None) -> tuple[Copy, ...]:
    """Return copies from text such as ``?0 n2.5``: what became of each, and the second in which it was claimed."""
    made = []
    for number, word in enumerate(text.split(), 1):
        claimed_at_us = us(float(word[1:]))
        expires_at_us = None if expiry_s is None else claimed_at_us + round(expiry_s * 1_000_000)
        made.append(Copy(number, claimed_at_us, expires_at_us, OUTCOMES[word[0]]))
    return tuple(made)


def in_state(status: Status, **changes: Any) -> Order:
    """Return the order in a state, with the copies and cancels that lead there."""
    first = {Status.RECORDED: "n0", Status.SENDING: "~0", Status.UNCERTAIN: "?0", Status.EXPIRED_UNSENT: "n0"}
    fields: dict[str, Any] = {"status": status, "copies": copies(first.get(status, "a0"))}
    if status is Status.CANCELED_UNSENT:
        fields["copies"] = ()
    if status is Status.PENDING_CANCEL:
        fields |= {"cancels": copies("~1"), "cancel_wanted": True}
    return order(**{**fields, **changes})


def shown(of: Order | None = None, **changes: Any) -> VenueOrder:
    """Return the order as the venue shows it: live, nothing traded, number V1, with changes."""
    of = of or order()
    fields: dict[str, Any] = {
        "client_order_id": of.client_order_id,
        "venue_order_id": "V1",
        "instrument": of.intent.instrument,
        "side": of.intent.side,
        "quantity": of.intent.quantity,
        "order_type": OrderType.LIMIT,
        "price": of.intent.price,
        "status": VenueStatus.NEW,
        "cum_quantity": Decimal(0),
    }
    return VenueOrder(**{**fields, **changes})


def report(kind: ExecutionKind, **changes: Any) -> ExecutionReport:
    """Return a report of the venue's stream on the order, with changes."""
    fields: dict[str, Any] = {
        "position": 1,
        "execution_id": "E1",
        "kind": kind,
        "client_order_id": "C1",
        "venue_order_id": "V1",
        "account": "A",
        "instrument": "ACME",
        "side": Side.BUY,
        "last_quantity": None,
        "last_price": None,
        "cum_quantity": Decimal(0),
        "leaves_quantity": Decimal(10),
        "status": VenueStatus.NEW,
        "transacted_at_us": us(0),
    }
    return ExecutionReport(**{**fields, **changes})


def trade(quantity: object, cum: object, **changes: Any) -> ExecutionReport:
    """Return a report of a trade at 25.50."""
    fields: dict[str, Any] = {
        "last_quantity": Decimal(str(quantity)),
        "last_price": Decimal("25.50"),
        "cum_quantity": Decimal(str(cum)),
        "status": VenueStatus.PARTIALLY_FILLED,
    }
    return report(ExecutionKind.TRADE, **{**fields, **changes})
