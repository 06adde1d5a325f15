"""Everything that can happen to an order, as values. A journal entry holds one or more of them; nothing else changes an order.

Each event states a fact that somebody can be held to: what was decided here, or what a venue said and by which way.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from onefill.core.incident import IncidentKind, Snapshot, Step
from onefill.core.messages import VenueStatus, legible
from onefill.core.outside_events import CallbackTaken, StepBegun, StepDone
from onefill.core.relay_events import LaneResumed, LaneStopped, SubscriberMoved
from onefill.core.split_brain import HoldersSuspected


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
    ENDED = "ended"
    """It was at the venue and is over there, with no more executed than is known here."""


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


class Traded(msgspec.Struct, frozen=True, gc=False, tag="traded", omit_defaults=True):
    """An execution was applied, once (promise FILL-ONCE).

    ``client_order_id``: under which it came, where that is not the order's first one. ``incident``: under which it was taken
    in, where the stream had passed it by.
    """

    execution_id: str
    quantity: Decimal
    price: Decimal
    venue_order_id: str
    venue_cum_quantity: Decimal
    transacted_at_us: int = 0
    fee: Decimal | None = None
    fee_currency: str | None = None
    client_order_id: str | None = None
    stream: str = "executions"
    incident: int | None = None


class TradeAmended(msgspec.Struct, frozen=True, gc=False, tag="trade_amended", omit_defaults=True):
    """An execution was busted or corrected, or came after the news that it was. Executions came to these totals by it.

    ``kind``: trade, correct or bust; ``refers_to``: the execution it speaks of; ``quantity`` and ``price``: as it tells them.
    ``live``: by the venue's word the order can trade on. ``venue_gross_quantity``: the venue's count, and what it had taken
    back by then.
    """

    execution_id: str
    kind: str
    refers_to: str | None
    quantity: Decimal
    price: Decimal
    cum_quantity: Decimal
    reversed_quantity: Decimal
    venue_order_id: str
    venue_cum_quantity: Decimal
    live: bool
    venue_gross_quantity: Decimal = Decimal(0)
    transacted_at_us: int = 0
    fee: Decimal | None = None
    fee_currency: str | None = None
    client_order_id: str | None = None
    stream: str = "executions"
    incident: int | None = None


class Restated(msgspec.Struct, frozen=True, gc=False, tag="restated"):
    """The venue gave the order other quantity or price by itself (FIX ExecType D)."""

    number: int
    venue_order_id: str
    quantity: Decimal
    price: Decimal | None
    venue_cum_quantity: Decimal
    reason: str
    transacted_at_us: int = 0


class Refused(msgspec.Struct, frozen=True, gc=False, tag="refused"):
    """A risk gate refused the intent as it was recorded: nothing of it will be sent, whenever it is asked for again."""

    gate: str
    reason: str


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


class Replaced(msgspec.Struct, frozen=True, gc=False, tag="replaced", omit_defaults=True):
    """The venue shows the order with the wanted quantity and price. ``transacted_at_us``: since when, where it says."""

    source: Source
    client_order_id: str
    venue_order_id: str
    quantity: Decimal
    price: Decimal | None
    venue_cum_quantity: Decimal
    transacted_at_us: int = 0


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
    kind: IncidentKind = IncidentKind.CONTRADICTION


Event = (
    Recorded
    | Claimed
    | CopySettled
    | OutcomeUnknown
    | ProvenAbsent
    | Acknowledged
    | Rejected
    | Traded
    | TradeAmended
    | Restated
    | Refused
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


class Quarantined(msgspec.Struct, frozen=True, gc=False, tag="quarantined", omit_defaults=True):
    """An execution for an order that nobody here sent, or that contradicts its order. Kept, and applied to no position."""

    execution_id: str
    client_order_id: str
    venue_order_id: str
    instrument: str
    side: str
    quantity: Decimal
    price: Decimal
    account: str = ""
    kind: str = "trade"
    refers_to: str | None = None
    transacted_at_us: int = 0
    fee: Decimal | None = None
    fee_currency: str | None = None
    stream: str = "executions"
    reason: str = ""


class IncidentOpened(msgspec.Struct, frozen=True, gc=False, tag="incident_opened"):
    """A divergence was found (promise NO-SILENT-HEAL)."""

    number: int
    kind: IncidentKind
    subject: str
    summary: str
    evidence: tuple[str, ...]


class IncidentSeen(msgspec.Struct, frozen=True, gc=False, tag="incident_seen"):
    """The same was found again, with other evidence, or after it had been gone."""

    number: int
    evidence: tuple[str, ...]


class IncidentConverged(msgspec.Struct, frozen=True, gc=False, tag="incident_converged"):
    """The difference is gone. The incident stays open until a person closes it."""

    number: int


class IncidentSnapshot(msgspec.Struct, frozen=True, gc=False, tag="incident_snapshot"):
    """How things stood."""

    number: int
    snapshot: Snapshot


class IncidentStepped(msgspec.Struct, frozen=True, gc=False, tag="incident_stepped"):
    """A step of the runbook was done."""

    number: int
    step: Step
    by: str
    result: str
    skipped: bool


class IncidentResolved(msgspec.Struct, frozen=True, gc=False, tag="incident_resolved"):
    """A person closed the incident."""

    number: int
    by: str
    reason: str


class ControlMoved(msgspec.Struct, frozen=True, gc=False, tag="control_moved"):
    """The route lets other things through from now on."""

    state: str
    before: str
    reason: str
    by: str


class PositionOpened(msgspec.Struct, frozen=True, gc=False, tag="position_opened"):
    """What an account held before the first order was sent from here, by the venue's word or a person's."""

    account: str
    instrument: str
    quantity: Decimal
    by: str
    reason: str


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


IncidentEvent = (
    IncidentOpened | IncidentSeen | IncidentConverged | IncidentSnapshot | IncidentStepped | IncidentResolved
)
RouteEvent = (
    RouteAcquired
    | Quarantined
    | CancelOfUnknownKey
    | CancelAnswered
    | ReplaceAnswered
    | IncidentEvent
    | ControlMoved
    | PositionOpened
    | CallbackTaken
    | StepBegun
    | StepDone
    | LaneStopped
    | LaneResumed
    | SubscriberMoved
    | HoldersSuspected
)


def legible_event(event: Event) -> Event:
    """Return an event whose texts can be written, whatever a venue put into them."""
    texts = {
        name: legible(value)
        for name in event.__struct_fields__
        if isinstance(value := getattr(event, name), str) and type(value) is str
    }
    return msgspec.structs.replace(event, **texts)
