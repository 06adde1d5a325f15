"""What passes between the gateway and a venue, as values.

Adapters translate a venue's own words into these. The replies to a submit fall into few classes, told apart by what they
*prove*, because that is all the retry contract asks: :class:`Accepted`, :class:`Rejected` and :class:`TooLate` are
evidence, :class:`NotSent` is certainty that nothing left, :class:`Unknown` is neither.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from onefill.core.values import OrderType, Side, TimeInForce


class VenueStatus(StrEnum):
    """OrdStatus (FIX tag 39) as a venue reports it."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REPLACED = "replaced"
    """Over: another order goes on in its place, under another client order id."""


LIVE = frozenset({VenueStatus.PENDING_NEW, VenueStatus.NEW, VenueStatus.PARTIALLY_FILLED})
"""The states in which a venue's order can still trade."""


class SubmitRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A new order for a venue (FIX NewOrderSingle). ``expires_at_us``: the venue must refuse it after this moment.

    ``parameters``: what the intent wants beside this, a JSON object as text (:class:`~onefill.core.intent.Intent`). An adapter
    passes on every one of them or rejects the order; it leaves none out, and lets none take the place of what stands here.
    """

    client_order_id: str
    account: str
    instrument: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    price: Decimal | None
    time_in_force: TimeInForce
    expires_at_us: int | None
    parameters: str | None = None


class CancelRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A cancel (FIX OrderCancelRequest) of the order with this ClOrdID, or this OrderID where it is known."""

    client_order_id: str
    account: str
    instrument: str
    venue_order_id: str | None


class ReplaceRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A replace (FIX OrderCancelReplaceRequest) of the live order ``orig_client_order_id`` by other quantity and price.

    ``client_order_id`` is the same where the venue keeps it. ``quantity`` is FIX OrderQty: what is already executed counts
    in it. The venue must refuse the request after ``expires_at_us``, and whenever the original is not live any more.
    ``parameters`` are those of the order: where a replace makes a new order, it needs them again.
    """

    client_order_id: str
    orig_client_order_id: str
    account: str
    instrument: str
    venue_order_id: str | None
    side: Side
    quantity: Decimal
    order_type: OrderType
    price: Decimal | None
    time_in_force: TimeInForce
    expires_at_us: int | None
    parameters: str | None = None


class VenueOrder(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order as the venue shows it. Executed quantity and quantity are those of the whole chain of replaces."""

    client_order_id: str
    venue_order_id: str
    instrument: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    price: Decimal | None
    status: VenueStatus
    cum_quantity: Decimal
    reason: str | None = None


class Accepted(msgspec.Struct, frozen=True, gc=False, tag="accepted"):
    """The order exists at the venue."""

    order: VenueOrder


class Rejected(msgspec.Struct, frozen=True, gc=False, tag="rejected"):
    """The venue decided against the order and said so: evidence, final."""

    reason: str
    code: str | None = None


class TooLate(msgspec.Struct, frozen=True, gc=False, tag="too_late"):
    """This copy came after its expiry and was refused. It proves nothing about earlier copies."""

    reason: str


class DuplicateId(msgspec.Struct, frozen=True, gc=False, tag="duplicate_id"):
    """The venue already has an order under this client order id. Look at it before believing it is ours."""

    reason: str


class Throttled(msgspec.Struct, frozen=True, gc=False, tag="throttled"):
    """The venue refused for rate; this copy was not taken."""

    reason: str
    retry_after_s: float


class NotSent(msgspec.Struct, frozen=True, gc=False, tag="not_sent"):
    """Nothing can have left: refused connect, or raised before any I/O."""

    reason: str


class Unknown(msgspec.Struct, frozen=True, gc=False, tag="unknown"):
    """The request may have reached the venue. Also the answer of choice when in doubt.

    ``answered``: the venue did answer a query, and its answer decides nothing.
    """

    reason: str
    answered: bool = False


SubmitReply = Accepted | Rejected | TooLate | DuplicateId | Throttled | NotSent | Unknown


class Canceled(msgspec.Struct, frozen=True, gc=False, tag="canceled"):
    """The order is dead because of a cancel, this one or an earlier one."""

    order: VenueOrder


class CancelRejected(msgspec.Struct, frozen=True, gc=False, tag="cancel_rejected"):
    """The venue did not cancel (FIX OrderCancelReject): too late, or no such order. What is true must be looked up."""

    reason: str
    order: VenueOrder | None = None


CancelReply = Canceled | CancelRejected | Throttled | NotSent | Unknown


class Replaced(msgspec.Struct, frozen=True, gc=False, tag="replaced"):
    """The order now has the wanted quantity and price; ``order`` shows it."""

    order: VenueOrder


class ReplaceRejected(msgspec.Struct, frozen=True, gc=False, tag="replace_rejected"):
    """The venue did not replace: this copy has no effect. ``order`` shows what is true of the original, where it is told."""

    reason: str
    order: VenueOrder | None = None


ReplaceReply = Replaced | ReplaceRejected | TooLate | Throttled | NotSent | Unknown


class Found(msgspec.Struct, frozen=True, gc=False, tag="found"):
    """A status query found the order."""

    order: VenueOrder


class NotFound(msgspec.Struct, frozen=True, gc=False, tag="not_found"):
    """A status query found nothing. Not evidence of absence while a copy may be under way."""

    reason: str


LookupReply = Found | NotFound | Unknown


class Listed(msgspec.Struct, frozen=True, gc=False, tag="listed"):
    """What a scan saw: the account's orders that are open, or ended or traded since the moment asked for.

    ``client_order_id`` of each is empty where the venue does not show one.
    """

    orders: tuple[VenueOrder, ...]


ScanReply = Listed | Unknown


class Held(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What an account holds of an instrument at the venue: above zero long, below zero short."""

    instrument: str
    quantity: Decimal


class Holdings(msgspec.Struct, frozen=True, gc=False, tag="holdings"):
    """Everything that an account holds at the venue; an instrument that is not named is flat."""

    positions: tuple[Held, ...]


PositionsReply = Holdings | Unknown


class ExecutionKind(StrEnum):
    """ExecType (FIX tag 150)."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    TRADE = "trade"
    TRADE_CORRECT = "trade_correct"
    """An execution told before had another quantity or price (ExecType G; in FIX 4.2 ExecTransType 2)."""
    TRADE_CANCEL = "trade_cancel"
    """An execution told before does not count: it was busted (ExecType H; in FIX 4.2 ExecTransType 1)."""
    REPLACED = "replaced"
    """The order has other quantity and price now, under ``client_order_id``."""
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    DONE_FOR_DAY = "done_for_day"
    STOPPED = "stopped"
    """A price is guaranteed; the order is live."""
    SUSPENDED = "suspended"
    CALCULATED = "calculated"
    RESTATED = "restated"
    """The venue itself gave the order other quantity or price."""
    ORDER_STATUS = "order_status"
    """The answer to a question: the order as it is, and nothing new."""


EXECUTED = frozenset({ExecutionKind.TRADE, ExecutionKind.TRADE_CORRECT, ExecutionKind.TRADE_CANCEL})
"""The kinds that tell of executions."""


def legible(text: str | None) -> str | None:
    """Return a venue's text as something that can be written: halves of surrogate pairs become question marks."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


class ExecutionReport(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One message of a venue's execution stream (FIX ExecutionReport).

    ``position`` is the report's place in the stream, rising by one; a reader that has seen ``n`` resumes after ``n``.
    ``last_quantity`` and ``last_price`` are set on trades and their corrections only, ``order_quantity`` and ``order_price``
    (the order's, from now on) and ``orig_client_order_id`` when it was replaced. ``transacted_at_us`` is the venue's time.

    ``execution_id`` is empty where the venue gives none. ``refers_to``: the execution that a bust or correction speaks of
    (FIX ExecRefID). ``fee``: what was paid for this execution, below zero if it was received. ``average_price``: of all that
    was executed (FIX AvgPx), for venues that tell totals only.
    """

    position: int
    execution_id: str
    kind: ExecutionKind
    client_order_id: str
    venue_order_id: str
    account: str
    instrument: str
    side: Side
    last_quantity: Decimal | None
    last_price: Decimal | None
    cum_quantity: Decimal
    leaves_quantity: Decimal
    status: VenueStatus
    transacted_at_us: int
    text: str | None = None
    orig_client_order_id: str | None = None
    order_quantity: Decimal | None = None
    order_price: Decimal | None = None
    refers_to: str | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    average_price: Decimal | None = None

    def legible(self) -> "ExecutionReport":
        """Return the report with every text writable; itself, as nearly always, if all of it is."""
        # One by one: this runs for every report.
        if (
            self.execution_id.isascii()
            and self.client_order_id.isascii()
            and self.venue_order_id.isascii()
            and self.account.isascii()
            and self.instrument.isascii()
            and (self.text is None or self.text.isascii())
            and (self.refers_to is None or self.refers_to.isascii())
            and (self.fee_currency is None or self.fee_currency.isascii())
        ):
            return self
        return msgspec.structs.replace(
            self,
            execution_id=legible(self.execution_id),
            client_order_id=legible(self.client_order_id),
            venue_order_id=legible(self.venue_order_id),
            account=legible(self.account),
            instrument=legible(self.instrument),
            text=legible(self.text),
            refers_to=legible(self.refers_to),
            fee_currency=legible(self.fee_currency),
        )
