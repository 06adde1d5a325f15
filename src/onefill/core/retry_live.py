"""The retry contract for an order that is at the venue: cancelling and replacing it."""

from onefill.core.capabilities import Capabilities, ReplaceStyle
from onefill.core.claims import (
    all_dead,
    dead_at_us,
    delay_us,
    expiry_us,
    may_be_forgotten,
    more_copies_than_orders,
    patient_delay_us,
    repeat_is_refused,
    wait_until_us,
)
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import Status
from onefill.core.messages import LIVE, VenueStatus
from onefill.core.order import Copy, Order, Replacement
from onefill.core.query import LOOKUPS_BEFORE_PARKING, query, query_again
from onefill.core.steps import (
    ConcludeNotReplaced,
    DropReplace,
    LastLookup,
    Park,
    Rest,
    SendCancel,
    SendReplace,
    Step,
    TellRefused,
    WaitUntil,
)

MAX_CANCEL_REFUSALS = 5
"""After so many refusals of a cancel whose order is still live, whoever asked is told so."""


def cancel_step(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    """Return what to do next about an order at the venue that is to be cancelled."""
    wanted = order.replacement
    if wanted is not None and not wanted.copies:
        return DropReplace("the order is to be cancelled")
    last = order.cancels[-1] if order.cancels else None
    if last is not None and last.outcome is None:
        return Rest()  # its reply is awaited
    if wanted is not None and (wanted.original_over or not wanted.under_way):
        return replace_step(order, wanted, capabilities, lookup, now_us)  # which order is there to be cancelled?
    if order.counted_quantity >= order.most_quantity:
        return Rest()  # filled by the venue's word; the executions are on their way
    return _hold_for_copies(order, capabilities, lookup, now_us) or _cancel(order, capabilities, lookup, now_us)


def _cancel(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    if not order.cancels:
        return SendCancel(1)
    last = order.cancels[-1]
    asking = order.status is Status.PENDING_CANCEL  # otherwise the last refusal was told, and this is a new wish
    refusals = sum(copy.outcome is CopyOutcome.REJECTED for copy in order.cancels)
    if asking and last.outcome is CopyOutcome.REJECTED and refusals % MAX_CANCEL_REFUSALS == 0:
        return _refused(order, last, capabilities, lookup, now_us)
    if asking and capabilities.can_be_asked and (lookup is None or lookup.cancels < len(order.cancels)):
        return query(order, capabilities, order.live_id)
    pause_us = patient_delay_us(len(order.cancels))
    until_us = wait_until_us(last.claimed_at_us, max(last.retry_at_us or 0, last.claimed_at_us + pause_us), now_us)
    if until_us is not None:
        return WaitUntil(until_us, "between cancels")
    return SendCancel(last.number + 1)  # harmless to repeat: it can only end the order it names


def _refused(order: Order, last: Copy, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    """Return the step after the last refusal: it is told once the venue, where it can be asked, has said what is true.

    An earlier cancel may have ended the order, and its reply be lost: then every later one is refused, and nothing is live.
    """
    if capabilities.can_be_asked:
        if lookup is None or lookup.cancels < len(order.cancels):
            return query(order, capabilities, order.live_id)
        if lookup.shown is None and not lookup.not_found:
            reason = "the cancel was refused; asking what is true of the order"
            return query_again(order, capabilities, order.live_id, lookup, now_us, reason)
    return TellRefused(last.reason or "refused")


def _hold_for_copies(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step | None:
    """Return the wait while the order's id must stay in use, because a late copy would be taken as a new order after that."""
    if not order.copies_under_way or repeat_is_refused(order, capabilities, now_us):
        return None
    if not more_copies_than_orders(order) or capabilities.conclusive_after_s is None:
        return None
    return _wait_for_death(
        order,
        order.copies,
        capabilities,
        lookup,
        now_us,
        "another copy of the order is under way; freeing the id would let it in",
    )


def _wait_for_death(
    order: Order,
    copies: tuple[Copy, ...],
    capabilities: Capabilities,
    lookup: LastLookup | None,
    now_us: int,
    reason: str,
) -> Step | None:
    """Return the step while a copy may take effect, ``None`` once none can. The venue must declare when that is."""
    at_us = dead_at_us(copies, capabilities) or 0
    if not capabilities.can_be_asked:
        return WaitUntil(at_us, reason) if now_us < at_us else None
    if lookup is not None and all_dead(copies, capabilities, lookup):
        return None
    set_back = any(now_us < copy.claimed_at_us for copy in copies)
    if now_us < at_us and not set_back:
        return WaitUntil(at_us, reason)
    # By the time of day they are dead; a query shows it by a clock that nobody can set.
    if lookup is None:
        return query(order, capabilities, order.live_id)
    return query_again(order, capabilities, order.live_id, lookup, now_us, reason)


def replace_step(
    order: Order, wanted: Replacement, capabilities: Capabilities, lookup: LastLookup | None, now_us: int
) -> Step:
    """Return what to do next about a replace whose fate is open.

    A replace names what it replaces: its second copy finds the first one's work done, and does nothing (the order has the
    terms already) or is refused (the original is gone). So a repeat is safe at once, with the same ids; what is not safe is
    to send another replace, or to believe in an end, while a copy is under way.
    """
    if not wanted.copies:
        return _first_replace(order, wanted, capabilities, lookup, now_us)
    if wanted.copies[-1].outcome is None:
        return Rest()  # its reply is awaited
    if not wanted.under_way:
        return _none_under_way(order, wanted, capabilities, lookup, now_us)
    if not capabilities.can_be_asked:
        return _replace_without_lookup(order, wanted, capabilities, now_us)
    if lookup is None or lookup.replaces < order.replace_copies:
        return query(order, capabilities, wanted.client_order_id)
    return _when_asked(order, wanted, capabilities, lookup, now_us)


def _when_asked(order: Order, wanted: Replacement, capabilities: Capabilities, lookup: LastLookup, now_us: int) -> Step:
    """Copies may be under way, and a query begun after the last of them has said what it can."""
    dead = all_dead(wanted.copies, capabilities, lookup)
    asked_new = order.gets_new_id and lookup.client_order_id == wanted.client_order_id
    if asked_new and (lookup.not_found or lookup.shown is VenueStatus.REJECTED):
        if dead and wanted.original_over is VenueStatus.REPLACED:
            return _park(order, wanted, capabilities, lookup, now_us, "replaced at the venue, and not by our order")
        if dead and lookup.not_found and may_be_forgotten(wanted.copies, capabilities, lookup):
            return _park(order, wanted, capabilities, lookup, now_us, "not found, and perhaps forgotten by the venue")
        if dead:
            return ConcludeNotReplaced("no copy of the replace took effect before all had expired")
        return query(order, capabilities, order.live_id)  # is the original still there?
    if not order.gets_new_id and lookup.as_in_force and dead:
        return ConcludeNotReplaced("the venue shows the order as it was, after every copy had expired")
    if lookup.as_in_force and lookup.shown in LIVE and _may_send_replace(order, wanted, now_us):
        last = wanted.copies[-1]
        if wait_until_us(last.claimed_at_us, last.claimed_at_us + delay_us(len(wanted.copies)), now_us) is None:
            return _send(order, wanted, capabilities, now_us)
    elif (lookup.not_found or lookup.shown or lookup.undecided) and (dead or capabilities.conclusive_after_s is None):
        return _park(
            order, wanted, capabilities, lookup, now_us, "maybe replaced, and nothing that the venue shows decides it"
        )
    return query_again(order, capabilities, wanted.client_order_id, lookup, now_us, "maybe replaced: asking")


def _park(
    order: Order,
    wanted: Replacement,
    capabilities: Capabilities,
    lookup: LastLookup,
    now_us: int,
    reason: str,
) -> Step:
    """Return what leaves it to a person after some queries in vain. Asking goes on."""
    if order.parked:
        reason = "parked: only evidence or a person moves it"
    elif lookup.count >= LOOKUPS_BEFORE_PARKING:
        return Park(reason)
    return query_again(order, capabilities, wanted.client_order_id, lookup, now_us, reason)


def _first_replace(
    order: Order, wanted: Replacement, capabilities: Capabilities, lookup: LastLookup | None, now_us: int
) -> Step:
    if now_us >= wanted.valid_until_us:
        return DropReplace("its time to live ran out before it could be sent")
    if order.counted_quantity >= order.quantity:
        return WaitUntil(wanted.valid_until_us, "filled by the venue's word; the executions are on their way")
    if capabilities.replace is ReplaceStyle.NONE:
        return DropReplace("this venue has no replace")
    held = None
    if order.gets_new_id:
        held = _hold_for_copies(order, capabilities, lookup, now_us)
    elif order.strays:
        # The venue keeps the id: a late copy of an earlier replace would undo this one.
        if capabilities.conclusive_after_s is None:
            return DropReplace(
                "a copy of an earlier replace may still be under way, which this venue never makes certain; cancel the "
                "order and send another instead"
            )
        reason = "a copy of an earlier replace is under way, and would undo this one"
        held = _wait_for_death(order, order.strays, capabilities, lookup, now_us, reason)
    if isinstance(held, WaitUntil):
        return WaitUntil(min(held.at_us, wanted.valid_until_us), held.reason)
    return held or _send(order, wanted, capabilities, now_us)


def _send(order: Order, wanted: Replacement, capabilities: Capabilities, now_us: int) -> SendReplace:
    return SendReplace(order.replace_copies + 1, expiry_us(capabilities, now_us, wanted.valid_until_us))


def _may_send_replace(order: Order, wanted: Replacement, now_us: int) -> bool:
    if order.cancel_wanted or wanted.original_over or now_us >= wanted.valid_until_us:
        return False
    return not any(copy.outcome is CopyOutcome.REJECTED for copy in wanted.copies)


def _none_under_way(
    order: Order, wanted: Replacement, capabilities: Capabilities, lookup: LastLookup | None, now_us: int
) -> Step:
    """Every copy had an answer, and none of them did it."""
    last = wanted.copies[-1]
    if order.counted_quantity >= order.quantity and now_us < wanted.valid_until_us:
        return WaitUntil(wanted.valid_until_us, "filled by the venue's word; the executions are on their way")
    if wanted.original_over is VenueStatus.REPLACED:
        # Not by ours: all of its copies were refused. Somebody else's order goes on in its place.
        reason = "replaced at the venue, and not by our order"
        if lookup is None or not capabilities.can_be_asked:
            return Rest() if order.parked else Park(reason)
        return _park(order, wanted, capabilities, lookup, now_us, reason)
    if wanted.original_over:
        return ConcludeNotReplaced(last.reason or "refused")
    if not _may_send_replace(order, wanted, now_us):
        if capabilities.can_be_asked and (lookup is None or lookup.replaces < order.replace_copies):
            return query(order, capabilities, order.live_id)  # the refusal's reason may be that the order is over
        return DropReplace(last.reason or "refused")
    pause_us = delay_us(len(wanted.copies))
    until_us = wait_until_us(last.claimed_at_us, max(last.retry_at_us or 0, last.claimed_at_us + pause_us), now_us)
    if until_us is not None:
        return WaitUntil(min(until_us, wanted.valid_until_us), "between attempts")
    return _send(order, wanted, capabilities, now_us)


def _replace_without_lookup(order: Order, wanted: Replacement, capabilities: Capabilities, now_us: int) -> Step:
    """The reply to a repeat is the only way to ask; the stream may tell meanwhile."""
    if order.parked:
        return Rest()
    if not _may_send_replace(order, wanted, now_us):
        return Park("maybe replaced; the venue cannot be asked")
    last = wanted.copies[-1]
    pause_us = delay_us(len(wanted.copies))
    until_us = wait_until_us(last.claimed_at_us, max(last.retry_at_us or 0, last.claimed_at_us + pause_us), now_us)
    if until_us is not None:
        return WaitUntil(min(until_us, wanted.valid_until_us), "between attempts")
    return _send(order, wanted, capabilities, now_us)
