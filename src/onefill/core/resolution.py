"""A person's part: what somebody may say of an order whose fate no automatic step can find out, and what forbids it."""

import msgspec

from onefill.core import events as ev
from onefill.core import values
from onefill.core.capabilities import Capabilities, Lookup
from onefill.core.claims import under_way_for_us
from onefill.core.errors import ContradictsEvidence, InvalidField
from onefill.core.events import CopyOutcome, Event, Source, Verdict
from onefill.core.evidence import foreign_field, from_venue_order, is_as_in_force, not_replaced
from onefill.core.lifecycle import Status
from onefill.core.messages import Found, Listed, LookupReply, ScanReply, VenueOrder, VenueStatus
from onefill.core.messages import Unknown as NoReply
from onefill.core.order import Copy, Order, Replacement, Terms

_OPEN_QUESTIONS = frozenset({Status.UNCERTAIN, Status.PENDING_NEW})
_THERE = frozenset({Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_CANCEL})
_LONGEST = 500


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What the venue says now, asked for this purpose: a status query where it has one, a scan where it can be listed."""

    lookup: LookupReply | None
    scan: ScanReply


def adopt(
    order: Order, seen: Seen, venue_order_id: str, by: str, reason: str, *, forgotten: bool = False
) -> tuple[Event, ...]:
    """Return what it means that somebody says: this order is the venue's order ``venue_order_id``.

    ``forgotten``: the venue may have forgotten it by now (:func:`may_be_forgotten`). That it does not list it says nothing then
    of a replaced order, nor of a number that it gave itself.
    Raises :class:`ContradictsEvidence` if the venue shows otherwise, :class:`InvalidField` for texts that say nothing.
    """
    values.name(venue_order_id, "venue_order_id")
    said = _said(order, Verdict.ADOPT, by, reason, venue_order_id)
    if order.replacement is not None and order.replacing:
        return (said, *_adopt_replaced(order, order.replacement, seen, venue_order_id, forgotten=forgotten))
    if order.venue_order_id is not None and order.venue_order_id != venue_order_id:
        raise ContradictsEvidence(order.key, f"the venue itself gave it the number {order.venue_order_id}")
    shown = _shown(order, seen, venue_order_id, forgotten=forgotten and order.venue_order_id is not None)
    if shown is None:
        return (said, ev.Acknowledged(venue_order_id, VenueStatus.NEW, order.venue_cum_quantity, Source.PERSON))
    terms = Terms(0, shown.client_order_id or order.client_order_id, order.quantity, order.price)
    if shown.client_order_id not in ("", order.client_order_id):
        field: str | None = "client order id"
    else:
        field = foreign_field(order, msgspec.structs.replace(shown, client_order_id=terms.client_order_id), terms)
    if field is not None:
        raise ContradictsEvidence(order.key, f"the venue's order {venue_order_id} is another one: its {field} differs")
    refused = any(copy.outcome is CopyOutcome.REJECTED for copy in order.copies)
    if shown.status is VenueStatus.REJECTED and (refused or len(order.copies_under_way) > 1):
        # It is that of one copy, and the question is what became of the other.
        raise ContradictsEvidence(
            order.key, f"the venue's order {venue_order_id} was rejected; say not-sent once no copy can be under way"
        )
    ours = msgspec.structs.replace(shown, client_order_id=order.client_order_id)
    return (said, *from_venue_order(order, ours, Source.PERSON))


def not_sent(
    order: Order,
    capabilities: Capabilities,
    seen: Seen,
    by: str,
    reason: str,
    now_us: int,
    waited_us: int | None = None,
) -> tuple[Event, ...]:
    """Return what it means that somebody says: nothing of this order is or can come to be at the venue.

    ``waited_us``: the time since its last claim by a clock that nobody can set, if that was claimed by this process.

    The order ends here and nothing more of it is sent, whatever time it had left: another try is a new decision, under a new
    key. Raises :class:`ContradictsEvidence` if anything says otherwise or a copy may still be under way.
    """
    said = _said(order, Verdict.NOT_SENT, by, reason, None)
    if order.replacement is not None and order.replacing:
        copies, target = order.replacement.copies, order.replacement.client_order_id
        if order.replacement.original_over is VenueStatus.REPLACED:
            raise ContradictsEvidence(order.key, "the venue shows the order as replaced")
        if _is_listed(seen, target) and (order.gets_new_id or not _shows_in_force(order, seen)):
            raise ContradictsEvidence(order.key, "the venue shows the replace as done")
        _check_asked_and_dead(order, copies, capabilities, seen, now_us, waited_us)
        return (said, *not_replaced(order, f"not sent, by {by}: {reason}"))
    told = {copy.outcome for copy in order.copies}
    if CopyOutcome.ACCEPTED in told and order.status is not Status.PENDING_NEW:
        raise ContradictsEvidence(order.key, "the venue accepted a copy of it")
    if order.cum_quantity or order.venue_cum_quantity:
        raise ContradictsEvidence(order.key, "executions of it are known")
    under_id = [one for one in _all_shown(seen) if one.client_order_id == order.client_order_id]
    # What is shown as rejected came to nothing: it is not live, and another copy is what the word is about.
    ours = next(
        (one for one in under_id if one.status is not VenueStatus.REJECTED and is_as_in_force(order, one)), None
    )
    if ours is not None:
        raise ContradictsEvidence(order.key, f"the venue shows it now, as {ours.venue_order_id}")
    if CopyOutcome.DUPLICATE in told and CopyOutcome.REJECTED not in told and not under_id:
        raise ContradictsEvidence(order.key, "the venue called its id a duplicate, so something is there under it")
    _check_asked_and_dead(order, order.copies, capabilities, seen, now_us, waited_us)
    return (said,)


def ended(
    order: Order,
    capabilities: Capabilities,
    seen: Seen,
    by: str,
    reason: str,
    now_us: int,
    waited_us: int | None = None,
) -> tuple[Event, ...]:
    """Return what it means that somebody says: this order is over at the venue, and the venue shows it no more.

    For an order that the venue had accepted, which is live here, and which no channel tells the end of: the venue forgot it.
    ``waited_us`` as for :func:`not_sent`. It ends as cancelled, with what is executed by now. Raises
    :class:`ContradictsEvidence` if the venue shows it, or counts more executed than is known here, or anything of the order
    may be under way.
    """
    said = _said_in_words(Verdict.ENDED, by, reason, None)
    number = order.venue_order_id
    if order.status not in _THERE or number is None:
        raise ContradictsEvidence(order.key, f"it is {order.status}, not live at the venue by what is known here")
    if order.replacing:
        raise ContradictsEvidence(order.key, "what became of its replace comes first")
    known_as = (number, order.live_id)
    shown = next((o for o in _all_shown(seen) if o.venue_order_id in known_as or o.client_order_id in known_as), None)
    if shown is not None:
        raise ContradictsEvidence(order.key, f"the venue shows it now, as {shown.venue_order_id}, {shown.status}")
    if order.counted_quantity > order.cum_quantity:
        raise ContradictsEvidence(
            order.key,
            f"the venue counted {order.counted_quantity} executed, and {order.cum_quantity} are known here; what is missing "
            "comes first",
        )
    if order.cancels and order.cancels[-1].outcome is None:
        raise ContradictsEvidence(order.key, "the reply to a cancel is awaited")
    _check_asked_and_dead(order, (*order.copies, *order.strays), capabilities, seen, now_us, waited_us)
    why = f"ended, by {said.by}: {said.reason}"
    return (said, ev.Canceled(Source.PERSON, number, order.venue_cum_quantity, why))


def _check_asked_and_dead(
    order: Order,
    copies: tuple[Copy, ...],
    capabilities: Capabilities,
    seen: Seen,
    now_us: int,
    waited_us: int | None,
) -> None:
    """Raise where evidence can still come: the venue did not answer just now, or a copy may be under way."""
    answer = seen.scan if capabilities.lookup is Lookup.SCAN else seen.lookup
    if capabilities.can_be_asked and (answer is None or isinstance(answer, NoReply)):
        raise ContradictsEvidence(order.key, "the venue could not be asked just now; say it again when it can")
    left_us = under_way_for_us(copies, capabilities, now_us, waited_us)
    if left_us > 0:
        raise ContradictsEvidence(
            order.key, f"a copy of it may still be under way, for another {left_us / 1_000_000:.1f} s"
        )


def _is_listed(seen: Seen, client_order_id: str) -> bool:
    return any(one.client_order_id == client_order_id for one in _all_shown(seen))


def _shows_in_force(order: Order, seen: Seen) -> bool:
    return any(is_as_in_force(order, one) for one in _all_shown(seen))


def _all_shown(seen: Seen) -> tuple[VenueOrder, ...]:
    looked_up = (seen.lookup.order,) if isinstance(seen.lookup, Found) else ()
    return looked_up + (seen.scan.orders if isinstance(seen.scan, Listed) else ())


def may_be_forgotten(order: Order, capabilities: Capabilities, now_us: int) -> bool:
    """Tell whether the first claim was so long ago that the venue may show the order no more."""
    if capabilities.lookup_forgets_after_s is None:
        return False
    first_us = min((copy.claimed_at_us for copy in order.copies), default=now_us)
    return now_us - first_us >= int(capabilities.lookup_forgets_after_s * 1_000_000)


def _adopt_replaced(
    order: Order, wanted: Replacement, seen: Seen, venue_order_id: str, *, forgotten: bool
) -> tuple[Event, ...]:
    """Return what it means that the order goes on under this number, replaced."""
    target = Terms(wanted.number, wanted.client_order_id, wanted.quantity, wanted.price)
    shown = _shown(order, seen, venue_order_id, forgotten=forgotten)
    if shown is None:
        cum, person = order.venue_cum_quantity, Source.PERSON
        return (ev.Replaced(person, target.client_order_id, venue_order_id, target.quantity, target.price, cum),)
    if shown.client_order_id == "":
        shown = msgspec.structs.replace(shown, client_order_id=target.client_order_id)
    field = foreign_field(order, shown, target)
    if field is not None:
        raise ContradictsEvidence(
            order.key, f"the venue's order {venue_order_id} is not what was wanted: its {field} differs"
        )
    return from_venue_order(order, shown, Source.PERSON)


def _said(order: Order, verdict: Verdict, by: str, reason: str, venue_order_id: str | None) -> ev.Resolved:
    said = _said_in_words(verdict, by, reason, venue_order_id)
    if order.status not in _OPEN_QUESTIONS and not (order.parked and order.replacing):
        raise ContradictsEvidence(order.key, f"its fate is known: it is {order.status}")
    return said


def _said_in_words(verdict: Verdict, by: str, reason: str, venue_order_id: str | None) -> ev.Resolved:
    for field, text in (("by", by), ("reason", reason)):
        if not text.strip() or len(text) > _LONGEST or not text.isprintable():
            raise InvalidField(field, f"is to be a line of 1 to {_LONGEST} characters that says something")
    return ev.Resolved(verdict, by.strip(), reason.strip(), venue_order_id)


def _shown(order: Order, seen: Seen, venue_order_id: str, *, forgotten: bool) -> VenueOrder | None:
    """Return the order that the venue shows under this number, or ``None`` if it cannot say."""
    if isinstance(seen.lookup, Found) and seen.lookup.order.venue_order_id == venue_order_id:
        return seen.lookup.order
    if isinstance(seen.scan, Listed):
        for one in seen.scan.orders:
            if one.venue_order_id == venue_order_id:
                return one
        if forgotten:
            return None
        raise ContradictsEvidence(order.key, f"the venue lists no order {venue_order_id} since it was recorded")
    if isinstance(seen.lookup, Found):
        number = seen.lookup.order.venue_order_id
        raise ContradictsEvidence(order.key, f"the venue shows another order under its id: {number}")
    return None
