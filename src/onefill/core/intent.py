"""What a caller wants: one order, as exact values, with a fingerprint that tells a repeat from a misuse of its key.

The fingerprint never decides identity (buying the same thing twice on purpose is legal). It only says whether the content
that came back under a known key is the content that was recorded there.
"""

import copy
import hashlib
from decimal import Decimal

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField
from onefill.core.values import Instrument, OrderType, Side, TimeInForce, plain

FINGERPRINT_VERSION = 1
"""Stored beside every fingerprint, so that a later canonical form cannot invent mismatches with an earlier one."""


class Intent(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """One order as its owner wants it. Checked on construction; raises :class:`InvalidField` naming the field.

    ``quantity`` and ``price`` are in the instrument's own units and take a Decimal, an int or plain text, never a float.
    ``price`` is required for a limit order and must be absent for a market order. ``venue`` is the route's name; it may
    stay empty where a gateway has just one. ``side``, ``order_type`` and ``time_in_force`` also take their text.

    ``parameters`` are what the venue is told beside these, such as post-only, reduce-only or a trigger price: a JSON object,
    as text or as a dict, kept in one spelling (sorted, no space) and passed on as it is. Nothing here reads them; a venue
    that does not know one refuses the order. Empty is ``None``.
    """

    account: str
    strategy: str
    instrument: str
    side: Side
    quantity: Decimal
    order_type: OrderType = OrderType.LIMIT
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    venue: str = ""
    parameters: str | None = None

    def __post_init__(self) -> None:
        """Bring every field into its one canonical form."""
        put = msgspec.structs.force_setattr
        for field in ("account", "strategy", "instrument"):
            values.name(getattr(self, field), field)
        if self.venue != "":
            values.name(self.venue, "venue")
        if type(self.side) is not Side:
            put(self, "side", values.choice(Side, self.side, "side"))
        if type(self.order_type) is not OrderType:
            put(self, "order_type", values.choice(OrderType, self.order_type, "order_type"))
        if type(self.time_in_force) is not TimeInForce:
            put(self, "time_in_force", values.choice(TimeInForce, self.time_in_force, "time_in_force"))
        put(self, "quantity", values.positive_decimal(self.quantity, "quantity"))
        if self.order_type is OrderType.LIMIT:
            if self.price is None:
                raise InvalidField("price", "a limit order needs one")
            put(self, "price", values.positive_decimal(self.price, "price"))
        elif self.price is not None:
            raise InvalidField("price", "a market order takes none")
        if self.parameters is not None:
            put(self, "parameters", values.json_object(self.parameters, "parameters"))


def at_venue(intent: Intent, venue: str) -> Intent:
    """Return the same intent for a venue, which must be a valid name. Nothing else is checked again."""
    moved = copy.copy(intent)
    msgspec.structs.force_setattr(moved, "venue", venue)
    return moved


FIELDS = (
    "venue",
    "account",
    "strategy",
    "instrument",
    "side",
    "quantity",
    "order_type",
    "price",
    "time_in_force",
    "parameters",
)
"""The fields that make an order what it is, in the order in which a difference is reported."""


def canonical(intent: Intent) -> bytes:
    """Return the one spelling of an intent: a JSON object in field order, numbers as plain text.

    Parameters are left out where there are none, so that orders without them are spelt as they were before there were any.
    """
    return msgspec.json.encode(as_plain(intent))


def as_plain(intent: Intent) -> dict[str, str | None]:
    """Return the intent's fields as text, numbers in canonical form."""
    fields: dict[str, str | None] = {
        "venue": intent.venue,
        "account": intent.account,
        "strategy": intent.strategy,
        "instrument": intent.instrument,
        "side": intent.side,
        "quantity": plain(intent.quantity),
        "order_type": intent.order_type,
        "price": None if intent.price is None else plain(intent.price),
        "time_in_force": intent.time_in_force,
    }
    if intent.parameters is not None:
        fields["parameters"] = intent.parameters
    return fields


def from_canonical(body: bytes | str) -> Intent:
    """Return the intent that :func:`canonical` wrote."""
    return msgspec.json.decode(body, type=Intent)


def fingerprint(body: bytes) -> bytes:
    """Return the 32-byte fingerprint (version 1) of a canonical body."""
    return hashlib.sha256(b"onefill-intent-1\n" + body).digest()


def first_difference(recorded: Intent, repeated: Intent) -> str | None:
    """Return the first field in which a repeat differs from what was recorded, or ``None`` if it is the same order."""
    for field in FIELDS:
        if getattr(recorded, field) != getattr(repeated, field):
            return field
    return None


def fit(intent: Intent, instrument: Instrument) -> None:
    """Raise :class:`InvalidField` unless quantity and price lie on the instrument's steps. Nothing is rounded."""
    fit_terms(intent.quantity, intent.price, instrument)


def fit_terms(quantity: Decimal, price: Decimal | None, instrument: Instrument) -> None:
    """Raise :class:`InvalidField` unless an order of these terms can be placed in the instrument."""
    values.on_grid(quantity, instrument.quantity_step, "quantity")
    if quantity < instrument.min_quantity:
        raise InvalidField(
            "quantity",
            f"{plain(quantity)} is below the smallest order of {instrument.symbol}, {plain(instrument.min_quantity)}",
        )
    if price is not None:
        values.on_grid(price, instrument.price_tick, "price")
