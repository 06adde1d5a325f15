"""Everything that can happen to an order, as values. A journal entry holds one or more of them; nothing else changes an order.

Each event states a fact that somebody can be held to: what was decided here, or what a venue said and by which way.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from onefill.core.messages import VenueStatus, legible


class Source(StrEnum):
    """By which way the venue said it."""

    REPLY = "reply"
    LOOKUP = "lookup"
    STREAM = "stream"
    PERSON = "person"
    """Nobody asked the venue, or it could not say: somebody with a name says so (see :class:`Resolved`)."""


class Verdict(StrEnum):
    """What a person says of an order whose fate no automatic step can find out."""

    ADOPT = "adopt"
    """It is the order that the venue knows under this number."""
    NOT_SENT = "not_sent"
    """Nothing of it is or can come to be at the venue."""


class CopyOutcome(StrEnum):
    """What became of one sent copy of a request."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    TOO_LATE = "too_late"
    THROTTLED = "throttled"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ABSENT = "absent"
    """Unknown at first; later proven never to have had an effect."""


class Recorded(msgspec.Struct, frozen=True, gc=False, tag="recorded"):
    """An intent entered the ledger with its client order id (promises LEDGER-FIRST, SAME-ID)."""

    key: str
    client_order_id: str
    intent: msgspec.Raw
    valid_until_us: int


class Claimed(msgspec.Struct, frozen=True, gc=False, tag="claimed"):
    """This owner is about to send copy ``number`` of the order. From here on it counts as maybe sent.

    ``leaves_by_us``: the last moment at which its bytes can leave here.
    """

    number: int
    expires_at_us: int | None
    leaves_by_us: int | None = None


class CopySettled(msgspec.Struct, frozen=True, gc=False, tag="copy_settled"):
    """Copy ``number`` can have no further effect: it was answered, or never left."""

    number: int
    outcome: CopyOutcome
    reason: str
    retry_at_us: int | None = None


class OutcomeUnknown(msgspec.Struct, frozen=True, gc=False, tag="outcome_unknown"):
    """Copy ``number`` may or may not have reached the venue."""

    number: int
    reason: str


class ProvenAbsent(msgspec.Struct, frozen=True, gc=False, tag="proven_absent"):
    """A look-up begun at ``asked_at_us``, after every copy had expired, found nothing."""

    asked_at_us: int


class Acknowledged(msgspec.Struct, frozen=True, gc=False, tag="acknowledged"):
    """The order is at the venue. ``status`` is pending_new while the venue has not accepted it yet."""

    venue_order_id: str
    status: VenueStatus
    venue_cum_quantity: Decimal
    source: Source


class Rejected(msgspec.Struct, frozen=True, gc=False, tag="rejected"):
    """The venue rejected the order itself, by look-up or stream."""

    reason: str
    source: Source
    venue_order_id: str | None = None


class Traded(msgspec.Struct, frozen=True, gc=False, tag="traded"):
    """An execution was applied, once (promise FILL-ONCE)."""

    execution_id: str
    quantity: Decimal
    price: Decimal
    venue_order_id: str
    venue_cum_quantity: Decimal


class CancelRecorded(msgspec.Struct, frozen=True, gc=False, tag="cancel_recorded"):
    """Somebody wants the order gone. Remembered until the order's fate is known."""

    operation_key: str | None


class CancelClaimed(msgspec.Struct, frozen=True, gc=False, tag="cancel_claimed"):
    """Cancel request ``number`` is about to be sent."""

    number: int


class CancelSettled(msgspec.Struct, frozen=True, gc=False, tag="cancel_settled"):
    """Cancel request ``number`` had this outcome at the venue, or none that is known."""

    number: int
    outcome: CopyOutcome
    reason: str
    retry_at_us: int | None = None


class CancelRefused(msgspec.Struct, frozen=True, gc=False, tag="cancel_refused"):
    """The venue will not cancel and the order is still live: evidence, told to whoever asked."""

    reason: str


class ReplaceRecorded(msgspec.Struct, frozen=True, gc=False, tag="replace_recorded"):
    """Somebody wants the order to have this quantity and price. Remembered until the order's fate is known.

    ``client_order_id``: under which the order will go on; the same where the venue keeps it (FIX ClOrdID, OrigClOrdID).
    ``quantity`` is FIX OrderQty: what is already executed counts in it.
    """

    number: int
    client_order_id: str
    quantity: Decimal
    price: Decimal | None
    valid_until_us: int
    operation_key: str | None


class ReplaceClaimed(msgspec.Struct, frozen=True, gc=False, tag="replace_claimed"):
    """Replace request ``number`` is about to be sent. From here on it counts as maybe sent."""

    number: int
    expires_at_us: int | None
    leaves_by_us: int | None


class ReplaceSettled(msgspec.Struct, frozen=True, gc=False, tag="replace_settled"):
    """Replace request ``number`` had this outcome at the venue, or none that is known."""

    number: int
    outcome: CopyOutcome
    reason: str
    retry_at_us: int | None = None


class Replaced(msgspec.Struct, frozen=True, gc=False, tag="replaced"):
    """The venue shows the order with the wanted quantity and price."""

    source: Source
    client_order_id: str
    venue_order_id: str
    quantity: Decimal
    price: Decimal | None
    venue_cum_quantity: Decimal


class ReplaceRefused(msgspec.Struct, frozen=True, gc=False, tag="replace_refused"):
    """The order was not replaced and will not be: refused, come to nothing, or dropped before it was sent."""

    reason: str


class Superseded(msgspec.Struct, frozen=True, gc=False, tag="superseded"):
    """The order is over under the id it had: cancelled, or replaced. Whether the one that was to replace it goes on is not
    known yet.
    """

    source: Source
    venue_order_id: str
    venue_cum_quantity: Decimal
    status: VenueStatus = VenueStatus.CANCELED


class Resolved(msgspec.Struct, frozen=True, gc=False, tag="resolved"):
    """A person decided what became of an order. ``by`` names them; the record is theirs."""

    verdict: Verdict
    by: str
    reason: str
    venue_order_id: str | None = None


class Canceled(msgspec.Struct, frozen=True, gc=False, tag="canceled"):
    """The venue cancelled the order."""

    source: Source
    venue_order_id: str
    venue_cum_quantity: Decimal
    reason: str | None = None


class Expired(msgspec.Struct, frozen=True, gc=False, tag="expired"):
    """The venue expired the order (time in force)."""

    source: Source
    venue_order_id: str
    venue_cum_quantity: Decimal
    reason: str | None = None


class ExpiredUnsent(msgspec.Struct, frozen=True, gc=False, tag="expired_unsent"):
    """The intent's time to live ran out and nothing of it is or will be at the venue."""

    reason: str


class Withdrawn(msgspec.Struct, frozen=True, gc=False, tag="withdrawn"):
    """Cancelled here before anything was sent."""

    reason: str


class Parked(msgspec.Struct, frozen=True, gc=False, tag="parked"):
    """No safe step is left: the order waits, UNCERTAIN, for evidence or a person."""

    reason: str


class Anomaly(msgspec.Struct, frozen=True, gc=False, tag="anomaly"):
    """The venue's word contradicts what was known. Kept for a person; nothing is adjusted because of it."""

    reason: str


Event = (
    Recorded
    | Claimed
    | CopySettled
    | OutcomeUnknown
    | ProvenAbsent
    | Acknowledged
    | Rejected
    | Traded
    | CancelRecorded
    | CancelClaimed
    | CancelSettled
    | CancelRefused
    | ReplaceRecorded
    | ReplaceClaimed
    | ReplaceSettled
    | Replaced
    | ReplaceRefused
    | Superseded
    | Resolved
    | Canceled
    | Expired
    | ExpiredUnsent
    | Withdrawn
    | Parked
    | Anomaly
)


class RouteAcquired(msgspec.Struct, frozen=True, gc=False, tag="route_acquired"):
    """A process became the route's owner; every earlier owner is fenced (promise ONE-WRITER)."""

    holder: str


class Quarantined(msgspec.Struct, frozen=True, gc=False, tag="quarantined"):
    """An execution for an order that nobody here sent. Kept, and applied to no position."""

    execution_id: str
    client_order_id: str
    venue_order_id: str
    instrument: str
    side: str
    quantity: Decimal
    price: Decimal


class CancelOfUnknownKey(msgspec.Struct, frozen=True, gc=False, tag="cancel_of_unknown_key"):
    """A cancel with its own operation key named an order that was not here. The answer is kept under that key."""

    key: str
    operation_key: str


class CancelAnswered(msgspec.Struct, frozen=True, gc=False, tag="cancel_answered"):
    """A further cancel of an order whose fate was already known: nothing changed, and the caller was told so."""

    operation_key: str


class ReplaceAnswered(msgspec.Struct, frozen=True, gc=False, tag="replace_answered"):
    """A replace that had nothing to change, or came too late: nothing changed, and the caller was told so."""

    operation_key: str


RouteEvent = RouteAcquired | Quarantined | CancelOfUnknownKey | CancelAnswered | ReplaceAnswered


def legible_event(event: Event) -> Event:
    """Return an event whose texts can be written, whatever a venue put into them."""
    texts = {
        name: legible(value)
        for name in event.__struct_fields__
        if isinstance(value := getattr(event, name), str) and type(value) is str
    }
    return msgspec.structs.replace(event, **texts)
