"""What an answer of the simulated exchange says, read strictly: what is not the exchange's own word decides nothing."""

from decimal import Decimal
from typing import Final

import msgspec

from onefill.core.messages import LIVE, ReplaceRequest, Throttled, Unknown, VenueOrder, VenueStatus
from onefill.venues import exchange_wire as wire

_SHOWN: Final = 80
"""Bytes of a strange body that go into a reason."""
_order_body = msgspec.json.Decoder(wire.OrderBody)
_refusal_body = msgspec.json.Decoder(wire.RefusalBody)


class Answer(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    body: bytes

    def strange(self) -> Unknown:
        """Return that this is not the exchange's answer to what was asked."""
        return Unknown(f"HTTP {self.status} with an answer that is not the exchange's: {self.body[:_SHOWN]!r}")


def own_order(answer: Answer, client_order_id: str, venue_order_id: str | None = None) -> VenueOrder | Unknown:
    """Return the order in a 200 if it is the one asked about."""
    try:
        order = _order_body.decode(answer.body).order
    except msgspec.DecodeError as problem:
        return Unknown(f"HTTP 200 with an unreadable body ({problem}): {answer.body[:_SHOWN]!r}")
    if order.client_order_id != client_order_id or venue_order_id not in (None, order.venue_order_id):
        return Unknown(f"HTTP 200 about another order ({order.client_order_id!r}, {order.venue_order_id!r})")
    return order


def as_wanted(order: VenueOrder, request: ReplaceRequest) -> bool:
    """Tell whether an order is what a replace asked for, and can have been when the answer was given."""
    return (
        (order.status in LIVE or order.status is VenueStatus.FILLED)
        and order.side is request.side
        and order.instrument == request.instrument
        and _same(order.quantity, request.quantity)
        and _same(order.price, request.price)
    )


def _same(one: Decimal | None, other: Decimal | None) -> bool:
    # A signalling NaN may come over the wire; comparing it would raise.
    if one is None or other is None:
        return one is other
    return one.is_finite() and other.is_finite() and one == other


def refusal(answer: Answer) -> wire.RefusalBody | None:
    """Return the exchange's own words of refusal, if that is what the answer holds."""
    try:
        return _refusal_body.decode(answer.body)
    except msgspec.DecodeError:
        return None


def about(told: wire.RefusalBody, client_order_id: str) -> bool:
    """Tell whether a refusal shows no other order than that asked about."""
    return told.order is None or told.order.client_order_id == client_order_id


def throttled(told: wire.RefusalBody) -> Throttled:
    """Return that the exchange refused for rate."""
    return Throttled(told.reason, max(0.0, told.retry_after_s or 0.0))


def told(problem: BaseException) -> str:
    """Return what an error says, with its name."""
    text = str(problem)
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
