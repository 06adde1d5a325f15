"""The retry contract: from what is known about an order to the one next step that is safe (promise ASK-FIRST).

Pure: order, capabilities, what the last look-up said, and now; out comes a step. The engine performs it and asks again.
"""

import msgspec

from onefill.core.capabilities import Capabilities, DuplicateReply, UniqueScope
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import ENDED, Status
from onefill.core.order import Copy, Order

DAY_US = 86_400_000_000
_FIRST_DELAY_US = 50_000
_LONGEST_DELAY_US = 5_000_000
MAX_CANCEL_REFUSALS = 5
"""After so many refusals of a cancel whose order is still live, whoever asked is told so."""
LOOKUPS_BEFORE_PARKING = 5
"""After so many look-ups that found nothing, where that never becomes conclusive, a person is told. Asking goes on."""
SEND_WITHIN_US = 2_000_000
"""A claimed copy that bears no expiry leaves within this time or never, so that there is a last possible send."""


class LastLookup(msgspec.Struct, frozen=True, gc=False):
    """The last status query in this process: when it was begun, how many there were, and whether it had an answer."""

    asked_at_us: int
    count: int
    not_found: bool
    """False where the query itself failed and so says nothing."""


class Send(msgspec.Struct, frozen=True, gc=False):
    """Claim copy ``number`` durably, then send it. ``expires_at_us`` goes on the request where the venue honours one."""

    number: int
    expires_at_us: int | None


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Query the order's status by its client order id."""


class WaitUntil(msgspec.Struct, frozen=True, gc=False):
    """Nothing is safe to do before this moment (µs since 1970)."""

    at_us: int
    reason: str


class ConcludeAbsent(msgspec.Struct, frozen=True, gc=False):
    """No copy is at the venue or can still get there."""

    asked_at_us: int


class ExpireUnsent(msgspec.Struct, frozen=True, gc=False):
    """The time to live ran out before anything was sent: end the order here."""

    reason: str


class Withdraw(msgspec.Struct, frozen=True, gc=False):
    """A cancel came before anything was sent: end the order here."""

    reason: str


class Park(msgspec.Struct, frozen=True, gc=False):
    """No automatic step is safe: leave the order UNCERTAIN for evidence or a person."""

    reason: str


class SendCancel(msgspec.Struct, frozen=True, gc=False):
    """Claim cancel ``number`` durably, then send it."""

    number: int


class TellRefused(msgspec.Struct, frozen=True, gc=False):
    """The venue keeps refusing the cancel of a live order: say so."""

    reason: str


class Rest(msgspec.Struct, frozen=True, gc=False):
    """Nothing to do until something happens."""


Step = Send | Ask | WaitUntil | ConcludeAbsent | ExpireUnsent | Withdraw | Park | SendCancel | TellRefused | Rest


def next_step(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    """Return what to do next. ``lookup`` is the last status query since the order's latest news, if there was one."""
    if order.status in ENDED:
        return Rest()
    if order.status is Status.RECORDED:
        return _when_not_sent(order, capabilities, lookup, now_us)
    if order.status is Status.SENDING:
        return Rest()  # the sender holds the claim and reports the outcome
    if order.status is Status.UNCERTAIN:
        return _when_uncertain(order, capabilities, lookup, now_us)
    if order.cancel_wanted:
        return _cancel(order, capabilities, lookup, now_us)
    if order.status is Status.PENDING_NEW and capabilities.lookup_by_client_order_id:
        return _ask_again(lookup, now_us, "the venue has not accepted it yet")
    return Rest()


def _when_not_sent(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    if order.cancel_wanted:
        return Withdraw("cancelled before anything was sent")
    if now_us >= order.valid_until_us:
        return ExpireUnsent("its time to live ran out before it could be sent")
    if order.parked:
        return WaitUntil(order.valid_until_us, "parked: only evidence or a person moves it")
    retry_at_us = max((copy.retry_at_us or 0 for copy in order.copies), default=0)
    if order.copies:
        retry_at_us = max(retry_at_us, order.copies[-1].claimed_at_us + delay_us(len(order.copies)))
    if now_us < retry_at_us:
        return WaitUntil(min(retry_at_us, order.valid_until_us), "between attempts")
    if order.copies and order.copies[-1].outcome is CopyOutcome.THROTTLED and capabilities.lookup_by_client_order_id:
        # A venue under load may refuse at one door what it took at another: look before sending again.
        if not _asked_since(lookup, order.copies[-1]):
            return _ask_anew(lookup, order.copies[-1], now_us)
        if lookup is not None and not lookup.not_found:
            return _ask_again(lookup, now_us, "throttled: asking before the next attempt")
    return send(order, capabilities, now_us)


def send(order: Order, capabilities: Capabilities, now_us: int) -> Send:
    """Return the step that sends the next copy, expiring no later than the intent itself."""
    expires_at_us = None
    if capabilities.request_expiry_s is not None:
        expires_at_us = min(now_us + int(capabilities.request_expiry_s * 1_000_000), order.valid_until_us)
    return Send(len(order.copies) + 1, expires_at_us)


def _when_uncertain(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    if not capabilities.lookup_by_client_order_id:
        return _without_lookup(order, capabilities, now_us)
    if lookup is None or not _asked_since(lookup, order.copies[-1]):
        return _ask_anew(lookup, order.copies[-1], now_us)
    if order.parked:
        return _ask_again(lookup, now_us, "parked: only evidence or a person moves it")
    if lookup.not_found:
        if any(copy.outcome is CopyOutcome.DUPLICATE for copy in order.copies):
            if lookup.count >= LOOKUPS_BEFORE_PARKING:
                return Park("the venue calls the id a duplicate, yet shows no order under it")
            return _ask_again(lookup, now_us, "a duplicate that cannot be seen yet")
        dead_at_us = copies_dead_at_us(order, capabilities)
        if dead_at_us is not None and lookup.asked_at_us >= dead_at_us:
            return ConcludeAbsent(lookup.asked_at_us)
        if repeat_is_refused(order, capabilities, now_us) and not order.cancel_wanted and now_us < order.valid_until_us:
            resend_at_us = order.copies[-1].claimed_at_us + delay_us(len(order.copies))
            if now_us >= resend_at_us:
                return send(order, capabilities, now_us)
        elif dead_at_us is None and lookup.count >= LOOKUPS_BEFORE_PARKING:
            return Park("maybe sent; not found, which this venue never makes conclusive")
    return _ask_again(lookup, now_us, "maybe sent: asking until found or proven absent")


def _without_lookup(order: Order, capabilities: Capabilities, now_us: int) -> Step:
    if order.parked:
        return Rest()
    if repeat_is_refused(order, capabilities, now_us) and not order.cancel_wanted and now_us < order.valid_until_us:
        # The venue itself tells a repeat from a first copy: sending the same id again is the query.
        if any(copy.outcome is CopyOutcome.DUPLICATE for copy in order.copies):
            return Park("the venue calls the id a duplicate and cannot show the order")
        resend_at_us = order.copies[-1].claimed_at_us + delay_us(len(order.copies))
        if now_us < resend_at_us:
            return WaitUntil(resend_at_us, "between attempts")
        return send(order, capabilities, now_us)
    return Park("maybe sent; the venue can neither be asked nor refuses a repeat")


def _cancel(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
    last = order.cancels[-1] if order.cancels else None
    if last is not None and last.outcome is None:
        return Rest()  # its reply is awaited
    if order.venue_cum_quantity >= order.intent.quantity:
        return Rest()  # filled by the venue's word; the executions are on their way
    if order.copies_under_way and not repeat_is_refused(order, capabilities, now_us):
        # Once the order is cancelled this venue would take a late copy as a new order: let the copies die first.
        dead_at_us = copies_dead_at_us(order, capabilities)
        if dead_at_us is not None and now_us < dead_at_us and more_copies_than_orders(order):
            return WaitUntil(dead_at_us, "another copy of the order is under way; cancelling first would let it in")
    if last is None:
        return SendCancel(1)
    asking = order.status is Status.PENDING_CANCEL  # otherwise the last refusal was told, and this is a new wish
    refusals = sum(copy.outcome is CopyOutcome.REJECTED for copy in order.cancels)
    if asking and last.outcome is CopyOutcome.REJECTED and refusals % MAX_CANCEL_REFUSALS == 0:
        return TellRefused(last.reason or "refused")
    resend_at_us = last.claimed_at_us + delay_us(len(order.cancels))
    if asking and capabilities.lookup_by_client_order_id and not _asked_since(lookup, last):
        return _ask_anew(lookup, last, now_us)
    if now_us < resend_at_us:
        return WaitUntil(resend_at_us, "between cancels")
    return SendCancel(last.number + 1)  # harmless to repeat: it can only end the order it names


def too_late_to_send(order: Order, copy: Copy, now_us: int) -> str | None:
    """Return why a claimed copy must not leave any more, or ``None``: the process may have slept since the claim."""
    if now_us >= order.valid_until_us:
        return "its time to live ran out between claim and send"
    if copy.expires_at_us is not None and now_us >= copy.expires_at_us:
        return "its request expired between claim and send"
    if copy.expires_at_us is None and not 0 <= now_us - copy.claimed_at_us <= SEND_WITHIN_US:
        return "too long between claim and send"
    return None


def more_copies_than_orders(order: Order) -> bool:
    """Tell whether a copy may be under way besides the one that made the order we see."""
    answered = any(copy.outcome is CopyOutcome.ACCEPTED for copy in order.copies)
    return len(order.copies_under_way) > (0 if answered else 1)


def copies_dead_at_us(order: Order, capabilities: Capabilities) -> int | None:
    """Return from when on no copy can still take effect, or ``None`` if the venue never makes that certain."""
    if capabilities.conclusive_after_s is None:
        return None
    wait_us = int(capabilities.conclusive_after_s * 1_000_000)
    return max((last_send_us(copy) + wait_us for copy in order.copies), default=0)


def last_send_us(copy: Copy) -> int:
    """Return the moment from which ``conclusive_after_s`` counts: an expiry is stamped on the claim, else it may leave late."""
    return copy.claimed_at_us + (SEND_WITHIN_US if copy.expires_at_us is None else 0)


def repeat_is_refused(order: Order, capabilities: Capabilities, now_us: int) -> bool:
    """Tell whether the venue refuses every copy but one, whatever became of the first (even filled or cancelled)."""
    if capabilities.duplicate_reply is DuplicateReply.ACCEPTS:
        return False  # whatever its scope is said to be: of two statements the careful one counts
    if capabilities.unique_scope is UniqueScope.EVER:
        return True
    if capabilities.unique_scope is UniqueScope.DAY:
        # Only while all copies, the next one included, fall into one day of the venue.
        margin_s = max(capabilities.request_expiry_s or 0.0, capabilities.conclusive_after_s or 0.0) or 3600.0
        margin_us = int(margin_s * 1_000_000)
        days = {copy.claimed_at_us // DAY_US for copy in order.copies} | {
            now_us // DAY_US,
            (now_us + margin_us) // DAY_US,
        }
        return len(days) == 1
    return False


def _asked_since(lookup: LastLookup | None, copy: Copy) -> bool:
    """Tell whether the look-up was begun after the copy was claimed; an earlier one says nothing about it."""
    return lookup is not None and lookup.asked_at_us >= copy.claimed_at_us


def _ask_anew(lookup: LastLookup | None, copy: Copy, now_us: int) -> Step:
    # Asking now helps unless the clock went back behind the claim: then it is asked at the usual pace until it catches up.
    if now_us >= copy.claimed_at_us:
        return Ask()
    return _ask_again(lookup, now_us, "the clock went back behind the last claim")


def _ask_again(lookup: LastLookup | None, now_us: int, reason: str) -> Step:
    if lookup is None or lookup.asked_at_us > now_us:
        return Ask()
    ask_at_us = lookup.asked_at_us + delay_us(lookup.count)
    return Ask() if now_us >= ask_at_us else WaitUntil(ask_at_us, reason)


def delay_us(count: int) -> int:
    """Return the pause after the ``count``-th try in µs: 50 ms, doubling, at most 5 s."""
    return min(_FIRST_DELAY_US << min(max(count - 1, 0), 10), _LONGEST_DELAY_US)
