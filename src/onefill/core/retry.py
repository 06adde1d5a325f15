"""The retry contract: from what is known about an order to the one next step that is safe (promise ASK-FIRST).

Pure: order, capabilities, what the last query said, and now; out comes a step. The engine performs it and asks again.
``docs/retry-contract.md`` shows what it answers for each kind of venue.
"""

from onefill.core.capabilities import Capabilities
from onefill.core.claims import (
    all_dead,
    delay_us,
    expiry_us,
    may_be_forgotten,
    repeat_is_refused,
    wait_until_us,
)
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Order
from onefill.core.query import LOOKUPS_BEFORE_PARKING, LOOKUPS_WITHOUT_ANSWER, query, query_again
from onefill.core.retry_live import cancel_step, replace_step
from onefill.core.steps import (
    Adopt,
    ConcludeAbsent,
    ExpireUnsent,
    LastLookup,
    Park,
    Rest,
    Send,
    Step,
    WaitUntil,
    Withdraw,
)


def next_step(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    """Return what to do next. ``lookup`` is the last query since the order's latest news, if there was one."""
    if lookup is not None and lookup.terms != order.terms_number:
        lookup = None  # asked before a replace took effect: what it showed is another order by now
    if lookup is not None and lookup.found is not None:
        return Adopt(lookup.found)
    if order.status in ENDED or order.status is Status.SENDING:
        return Rest()  # while sending, the sender holds the claim and reports the outcome
    if order.status is Status.RECORDED:
        return _when_not_sent(order, capabilities, lookup, now_us)
    if order.status is Status.UNCERTAIN:
        return _when_uncertain(order, capabilities, lookup, now_us)
    return _when_at_venue(order, capabilities, lookup, now_us)


def _when_at_venue(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    if order.cancel_wanted:
        return cancel_step(order, capabilities, lookup, now_us)
    if order.status is Status.PENDING_NEW:
        return _when_pending(order, capabilities, lookup, now_us)
    if order.replacement is not None:
        return replace_step(order, order.replacement, capabilities, lookup, now_us)
    return Rest()


def send(order: Order, capabilities: Capabilities, now_us: int) -> Send:
    """Return the step that sends the next copy, expiring no later than the intent itself."""
    return Send(len(order.copies) + 1, expiry_us(capabilities, now_us, order.valid_until_us))


def _when_not_sent(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    if order.cancel_wanted:
        return Withdraw("cancelled before anything was sent")
    if now_us >= order.valid_until_us:
        return ExpireUnsent("its time to live ran out before it could be sent")
    if order.parked:
        return WaitUntil(order.valid_until_us, "parked: only evidence or a person moves it")
    if not order.copies:
        return send(order, capabilities, now_us)
    if not capabilities.refuses_repeats and any(copy.outcome is CopyOutcome.ABSENT for copy in order.copies):
        # By its own word nothing is there. Should that be wrong, nothing at the venue would stop a second order.
        return ExpireUnsent(
            "not at the venue; it is not sent again, as this venue refuses no repeat: another try is a new decision, under "
            "a new key"
        )
    last = order.copies[-1]
    retry_at_us = max(
        last.claimed_at_us + delay_us(len(order.copies)), *(copy.retry_at_us or 0 for copy in order.copies)
    )
    until_us = wait_until_us(last.claimed_at_us, retry_at_us, now_us)
    if until_us is not None:
        return WaitUntil(min(until_us, order.valid_until_us), "between attempts")
    if last.outcome is CopyOutcome.THROTTLED and capabilities.can_be_asked:
        # A venue under load may refuse at one door what it took at another: look before sending again.
        if lookup is None or lookup.copies < len(order.copies):
            return query(order, capabilities, order.client_order_id)
        if not lookup.not_found:
            return query_again(
                order, capabilities, order.client_order_id, lookup, now_us, "throttled: asking before the next attempt"
            )
    return send(order, capabilities, now_us)


def _when_uncertain(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    if not capabilities.can_be_asked:
        return _without_lookup(order, capabilities, now_us)
    if lookup is None or lookup.copies < len(order.copies):
        return query(order, capabilities, order.client_order_id)
    gone = lookup.not_found and not _called_duplicate(order)
    # Where one copy was rejected, the venue may show that one; another may still have been taken.
    forgotten = gone and may_be_forgotten(order.copies, capabilities, lookup)
    absent = (gone and not forgotten) or lookup.shown is VenueStatus.REJECTED
    if absent and all_dead(order.copies, capabilities, lookup):
        return ConcludeAbsent(lookup.asked_at_us)
    reason = "maybe sent: asking until found or proven absent"
    if order.parked:
        reason = "parked: only evidence or a person moves it"
    else:
        vain = _why_in_vain(order, capabilities, lookup, now_us)
        if vain is not None:
            return Park(vain)
        if gone and _may_resend(order, capabilities, now_us):
            last = order.copies[-1]
            if wait_until_us(last.claimed_at_us, last.claimed_at_us + delay_us(len(order.copies)), now_us) is None:
                return send(order, capabilities, now_us)
    return query_again(order, capabilities, order.client_order_id, lookup, now_us, reason)


def _why_in_vain(order: Order, capabilities: Capabilities, lookup: LastLookup, now_us: int) -> str | None:
    """Return why it is time for a person, after enough queries that decided nothing; ``None`` while it is not."""
    if lookup.undecided:
        unclear = lookup.count >= LOOKUPS_BEFORE_PARKING
        return "maybe sent; an order like it is listed without a client order id" if unclear else None
    if lookup.shown is None and not lookup.not_found:
        silent = lookup.count >= LOOKUPS_WITHOUT_ANSWER
        return "maybe sent; the venue does not say whether it is there" if silent else None
    if lookup.count < LOOKUPS_BEFORE_PARKING:
        return None
    if lookup.not_found and _called_duplicate(order):
        return "the venue calls the id a duplicate, yet shows no order under it"
    if lookup.not_found and may_be_forgotten(order.copies, capabilities, lookup):
        return "maybe sent; not found, and so late that the venue may have forgotten it"
    if capabilities.conclusive_after_s is not None:
        return None
    if lookup.shown is VenueStatus.REJECTED:
        return "a copy was rejected; another may have been taken, which this venue never makes certain"
    if lookup.not_found and not _may_resend(order, capabilities, now_us):
        return "maybe sent; not found, which this venue never makes conclusive"
    return None


def _without_lookup(order: Order, capabilities: Capabilities, now_us: int) -> Step:
    if order.parked:
        return Rest()
    if _called_duplicate(order):
        return Park("the venue calls the id a duplicate and cannot show the order")
    if _may_resend(order, capabilities, now_us):
        # The venue itself tells a repeat from a first copy: sending the same id again is the query.
        last = order.copies[-1]
        resend_at_us = wait_until_us(last.claimed_at_us, last.claimed_at_us + delay_us(len(order.copies)), now_us)
        if resend_at_us is not None:
            return WaitUntil(resend_at_us, "between attempts")
        return send(order, capabilities, now_us)
    return Park("maybe sent; the venue cannot be asked, and another copy is not safe there, or not wanted any more")


def _may_resend(order: Order, capabilities: Capabilities, now_us: int) -> bool:
    """Tell whether another copy is wanted, and safe while the others' fate is unknown."""
    if order.cancel_wanted or now_us >= order.valid_until_us:
        return False
    if any(copy.outcome is CopyOutcome.REJECTED for copy in order.copies):
        return False  # the venue decided against the order: only what an earlier copy did is still to be found out
    return repeat_is_refused(order, capabilities, now_us)


def _called_duplicate(order: Order) -> bool:
    return any(copy.outcome is CopyOutcome.DUPLICATE for copy in order.copies)


def _when_pending(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    """The venue took the order in and has not decided: the stream tells, and so does asking."""
    if not capabilities.can_be_asked:
        return Rest()
    if lookup is None:
        return query(order, capabilities, order.live_id)
    reason = "the venue has not accepted it yet"
    if order.parked:
        reason = "parked: only evidence or a person moves it"
    elif lookup.not_found and lookup.count >= LOOKUPS_BEFORE_PARKING:
        conclusive = all_dead(order.copies, capabilities, lookup)
        if conclusive or capabilities.conclusive_after_s is None:
            return Park("the venue took it in, and does not show it any more")
    return query_again(order, capabilities, order.live_id, lookup, now_us, reason)
