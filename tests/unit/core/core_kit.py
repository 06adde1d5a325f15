"""What tests of the core share: a moment to start from, one order, and short ways to say what a venue says."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import settings

from onefill.core.events import CopyOutcome
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.order import Copy, Order, Replacement
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


def copies(
    text: str, *, expiry_s: float | None = None, leaves_s: float | None = 2.0, first: int = 1
) -> tuple[Copy, ...]:
    """Return copies from text such as ``?0 n2.5``: what became of each, and the second in which it was claimed.

    ``leaves_s``: how long after its claim a copy's bytes can leave; ``None`` as in records that are older than that.
    """
    made = []
    for number, word in enumerate(text.split(), first):
        claimed_at_us = us(float(word[1:]))
        expires_at_us = None if expiry_s is None else claimed_at_us + round(expiry_s * 1_000_000)
        leaves_by_us = None if leaves_s is None else claimed_at_us + round(leaves_s * 1_000_000)
        made.append(Copy(number, claimed_at_us, expires_at_us, OUTCOMES[word[0]], leaves_by_us=leaves_by_us))
    return tuple(made)


def replacement(text: str = "", **changes: Any) -> Replacement:
    """Return the wish to make it 5 instead of 10 under the same id, until second 30, with copies as :func:`copies`."""
    fields: dict[str, Any] = {
        "number": 1,
        "client_order_id": "C1",
        "quantity": Decimal(5),
        "price": Decimal("25.50"),
        "valid_until_us": us(30),
    }
    fields |= changes
    fields.setdefault("copies", copies(text, first=fields.get("copies_before", 0) + 1))
    return Replacement(**fields)


def in_state(status: Status, **changes: Any) -> Order:
    """Return the order in a state, with the copies, cancels and replaces that lead there."""
    first = {Status.RECORDED: "n0", Status.SENDING: "~0", Status.UNCERTAIN: "?0", Status.EXPIRED_UNSENT: "n0"}
    fields: dict[str, Any] = {"status": status, "copies": copies(first.get(status, "a0"))}
    if status is Status.CANCELED_UNSENT:
        fields["copies"] = ()
    if status is Status.PENDING_CANCEL:
        fields |= {"cancels": copies("~1"), "cancel_wanted": True}
    if status is Status.PENDING_REPLACE:
        fields |= {"replacement": replacement("~1"), "replacements": 1, "replace_copies": 1}
    return order(**{**fields, **changes})


def replacing(text: str = "?1", *, strays: str = "", expiry_s: float | None = None, **changes: Any) -> Order:
    """Return the order V1 with an open replace, whose copies are as in ``text``; of an earlier replace there are strays.

    ``changes`` are those of the wish (see :func:`replacement`).
    """
    left = copies(strays, expiry_s=expiry_s)
    mine = copies(text, expiry_s=expiry_s, first=len(left) + 1)
    number = 2 if left else 1
    return order(
        status=Status.PENDING_REPLACE if mine else Status.NEW,
        copies=copies("a0"),
        answer=b"{}",
        venue_order_id="V1",
        replacement=replacement(number=number, copies=mine, copies_before=len(left), **changes),
        replacements=number,
        replace_copies=len(left) + len(mine),
        strays=left,
    )


def accepted(of: Order) -> Order:
    """Return the order as one whose submit was answered before: the venue accepted it."""
    return msgspec.structs.replace(of, answer=b"{}")


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
        "status": VenueStatus.REJECTED if kind is ExecutionKind.REJECTED else VenueStatus.NEW,
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
    fields = {"kind": ExecutionKind.TRADE, **fields, **changes}
    return report(fields.pop("kind"), **fields)
