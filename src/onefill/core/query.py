"""Asking for an order: by its id where the venue can be asked, else by a scan, and at what pace."""

from onefill.core.capabilities import Capabilities, Lookup
from onefill.core.claims import PATIENT_DELAY_US, delay_us
from onefill.core.evidence import is_as_in_force, is_like
from onefill.core.messages import Found, Listed, LookupReply, NotFound, ScanReply, Unknown, VenueStatus
from onefill.core.order import Order
from onefill.core.steps import Ask, LastLookup, Scan, Step, WaitUntil

LOOKUPS_BEFORE_PARKING = 5
"""After so many queries that found nothing, where that never becomes conclusive, a person is told. Asking goes on."""
LOOKUPS_WITHOUT_ANSWER = 20
"""After so many queries without an answer, which takes a minute at least, a person is told. Asking goes on."""
_CLOCKS_DIFFER_US = 60_000_000
"""How far the venue's clock may be from ours, for a scan that begins at a moment."""


def query(order: Order, capabilities: Capabilities, client_order_id: str) -> Step:
    """Return the step that looks for the order under this id. The venue must have one (``can_be_asked``)."""
    if capabilities.lookup is Lookup.SCAN:
        return Scan(client_order_id, scan_from_us(order))
    return Ask(client_order_id)


def scan_from_us(order: Order) -> int:
    """Return the moment (µs since 1970) from which a list shows all that the order can have done."""
    return order.recorded_at_us - _CLOCKS_DIFFER_US


def query_again(
    order: Order, capabilities: Capabilities, client_order_id: str, last: LastLookup, now_us: int, reason: str
) -> Step:
    """Return the next query, or the wait until it is due. A clock that was set back does not hold it up."""
    pause_us = delay_us(last.count)
    if order.parked and last.count > LOOKUPS_BEFORE_PARKING:
        pause_us = PATIENT_DELAY_US
    if last.asked_at_us <= now_us < last.asked_at_us + pause_us:
        return WaitUntil(last.asked_at_us + pause_us, reason)
    return query(order, capabilities, client_order_id)


def looked_up(
    order: Order,
    client_order_id: str,
    reply: LookupReply,
    last: LastLookup | None,
    *,
    asked_at_us: int,
    waited_us: int | None,
) -> LastLookup:
    """Return what a query of ``order``, as it was when the query was begun, leaves to go on from. See :class:`LastLookup`."""
    seen = reply.order if isinstance(reply, Found) else None
    return LastLookup(
        client_order_id=client_order_id,
        asked_at_us=asked_at_us,
        count=1 if last is None else last.count + 1,
        not_found=isinstance(reply, NotFound),
        undecided=isinstance(reply, Unknown) and reply.answered,
        shown=None if seen is None else seen.status,
        as_in_force=seen is not None and is_as_in_force(order, seen),
        terms=order.terms_number,
        found=seen,
        copies=len(order.copies),
        cancels=len(order.cancels),
        replaces=order.replace_copies,
        waited_us=waited_us,
    )


def search(listed: ScanReply, client_order_id: str, wanted: Order | None = None) -> LookupReply:
    """Return what a scan says about one client order id. Only the id decides: likeness of content is no identity.

    But a list in which an order like the ``wanted`` one bears no id at all does not say that ours is not there.
    """
    if not isinstance(listed, Listed):
        return listed
    under_it = [order for order in listed.orders if order.client_order_id == client_order_id]
    if under_it:
        # Where each copy made an order of its own, the one that was not rejected is what matters.
        taken = [order for order in under_it if order.status is not VenueStatus.REJECTED]
        return Found((taken or under_it)[-1])
    if wanted is not None and any(not order.client_order_id and is_like(wanted, order) for order in listed.orders):
        return Unknown("an order like this one is listed without a client order id", answered=True)
    return NotFound("no order with this client order id among those listed")
