"""What must hold of every change and of every step of an order, written apart from the code that makes them."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from onefill.core import steps
from onefill.core.answers import Answer
from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import ENDED, NEVER_SENT, UNANSWERED, WORKING, Status
from onefill.core.messages import LIVE, VenueStatus
from onefill.core.order import Copy, Order, Replacement
from onefill.core.steps import LastLookup

FINAL = ENDED - NEVER_SENT
DAY_US = 86_400_000_000


def check_change(before: Order, after: Order, traded: Decimal) -> None:
    """Check what must hold of every change of an order, whatever caused it."""
    assert after.version == before.version + 1
    assert after.client_order_id == before.client_order_id
    assert after.intent is before.intent
    assert before.answer is None or after.answer == before.answer, "an answer changed"
    if after.status not in UNANSWERED:
        assert after.answer is not None
    if before.answer is None and after.answer is not None:
        assert msgspec.json.decode(after.answer, type=Answer).status is after.status
        assert after.status not in UNANSWERED - {Status.PENDING_CANCEL}
    assert after.cum_quantity == traded, "executed quantity is not the sum of the executions"
    assert after.venue_cum_quantity >= before.venue_cum_quantity
    assert after.leaves_quantity >= 0
    assert not after.closed or after.status in ENDED
    for copies, old in ((after.copies, before.copies), (after.cancels, before.cancels)):
        assert [copy.number for copy in copies] == list(range(1, len(copies) + 1))
        assert len(old) <= len(copies) <= len(old) + 1
        assert sum(copy.outcome is None for copy in copies) <= 1
    if before.status in FINAL:
        assert after.status is before.status, "a terminal state was left"
    if before.status in NEVER_SENT and after.status is not before.status and after.status is not Status.REJECTED:
        assert after.anomaly is not None, "the venue has an order that was never sent, and nobody is told"
    if after.status is Status.RECORDED:
        assert not after.copies_under_way
    if after.status is Status.FILLED:
        assert after.cum_quantity >= after.quantity
    if after.status in {Status.NEW, Status.PARTIALLY_FILLED}:
        assert (after.cum_quantity > 0) == (after.status is Status.PARTIALLY_FILLED)
        assert after.cum_quantity < after.quantity
    assert not after.parked or after.status in WORKING | {Status.UNCERTAIN, Status.RECORDED}
    assert not (after.cancel_wanted and after.status in ENDED)
    excess = after.cum_quantity > after.most_quantity and after.cum_quantity > before.cum_quantity
    made_room = before.most_quantity > after.most_quantity and after.in_force is before.in_force
    if excess or (made_room and after.cum_quantity > after.most_quantity):
        assert after.anomaly is not None, "more was executed than ordered, and nobody is told"
    check_replaces(before, after)


def check_replaces(before: Order, after: Order) -> None:
    """Check what must hold of the replaces of an order: one at a time, with the ids of its first copy (SAME-ID)."""
    was, now = before.replacement, after.replacement
    assert after.status not in ENDED or now is None, "a replace is open of an order that ended"
    assert after.replacing == (after.status is Status.PENDING_REPLACE) or after.status is Status.PENDING_CANCEL
    if after.replacing:
        assert after.status in {Status.PENDING_REPLACE, Status.PENDING_CANCEL}
    if was is not None and now is not None:
        assert was.number == now.number, "another replace took the place of one whose fate is open"
        for field in ("client_order_id", "quantity", "price", "valid_until_us", "copies_before"):
            assert getattr(was, field) == getattr(now, field), f"the wish's {field} changed"
        assert after.live_id == before.live_id, "what a replace names changed while it was open"
    assert before.replacements <= after.replacements <= before.replacements + 1
    assert before.replace_copies <= after.replace_copies <= before.replace_copies + 1
    if now is not None:
        numbers = [copy.number for copy in now.copies]
        assert numbers == list(range(now.copies_before + 1, after.replace_copies + 1))
        assert sum(copy.outcome is None for copy in now.copies) <= 1
    assert all(copy.under_way for copy in after.strays)
    left = {copy.number for copy in before.strays} | ({copy.number for copy in was.copies} if was else set())
    assert {copy.number for copy in after.strays} <= left, "a copy went astray that was never sent"
    if was is not None and now is None:
        unknown = {copy.number for copy in was.copies if copy.outcome is CopyOutcome.UNKNOWN}
        assert unknown <= {copy.number for copy in after.strays}, "a copy that may be under way was forgotten"
    if after.in_force is not before.in_force:
        assert after.in_force is not None
        assert was is not None
        assert was.copies, "an order was replaced though nothing was sent"
        assert after.in_force.client_order_id == was.client_order_id


def leaves_us(copy: Copy) -> int:
    """Return from when on a copy's T counts: its claim if it bears an expiry, else the last moment it can leave at."""
    if copy.expires_at_us is not None:
        return copy.claimed_at_us
    return copy.claimed_at_us + 62_000_000 if copy.leaves_by_us is None else copy.leaves_by_us


def dead_at_us(copies: Iterable[Copy], capabilities: Capabilities) -> int | None:
    """Return from when on a "not found" is evidence: the declared time after the last possible send of any copy."""
    if capabilities.conclusive_after_s is None:
        return None
    return max(map(leaves_us, copies), default=0) + round(capabilities.conclusive_after_s * 1_000_000)


def are_dead(copies: Iterable[Copy], capabilities: Capabilities, lookup: LastLookup) -> bool:
    """Tell whether a query came after the death of every copy, by the steadier of the clocks there are."""
    copies = tuple(copies)
    dead = dead_at_us(copies, capabilities)
    if dead is None:
        return False
    if lookup.waited_us is None:
        return lookup.asked_at_us >= dead
    longest_us = max((leaves_us(copy) - copy.claimed_at_us for copy in copies), default=0)
    return lookup.waited_us >= longest_us + round((capabilities.conclusive_after_s or 0) * 1_000_000)


def is_forgotten(copies: Iterable[Copy], capabilities: Capabilities, lookup: LastLookup) -> bool:
    """Tell whether what a copy made may have ended so long before a query that the venue shows it no more."""
    forgets_s = capabilities.lookup_forgets_after_s
    earliest = min(copy.claimed_at_us for copy in copies)
    by_any_clock = max(lookup.asked_at_us - earliest, lookup.waited_us or 0)
    return forgets_s is not None and by_any_clock >= round(forgets_s * 1_000_000)


def refuses_repeats(order: Order, capabilities: Capabilities, now_us: int) -> bool:
    """Tell whether every copy, one sent now included, meets a venue that takes the id once."""
    if capabilities.duplicate_reply is DuplicateReply.ACCEPTS:
        return False
    if capabilities.unique_scope is UniqueScope.DAY:
        if capabilities.request_expiry_s is not None:
            longest_us = round(capabilities.request_expiry_s * 1_000_000)
        elif capabilities.conclusive_after_s is not None:
            leaves = [leaves_us(copy) - copy.claimed_at_us for copy in order.copies] or [62_000_000]
            longest_us = max(leaves) + round(capabilities.conclusive_after_s * 1_000_000)
        else:
            return False
        claims = [copy.claimed_at_us for copy in order.copies] + [now_us]
        return len({at // DAY_US for claim in claims for at in (claim, claim + longest_us)}) == 1
    return capabilities.unique_scope is UniqueScope.EVER


def knows_repeats(capabilities: Capabilities) -> bool:
    """Tell whether a venue refuses any repeat at all."""
    return capabilities.unique_scope is not UniqueScope.NONE and (
        capabilities.duplicate_reply is not DuplicateReply.ACCEPTS
    )


def check_send(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: steps.Send
) -> None:
    """Check that a copy may be sent: no other one can make a second order, and nothing speaks against sending at all."""
    under_way = order.copies_under_way
    outcomes = {copy.outcome for copy in order.copies}
    assert not under_way or refuses_repeats(order, capabilities, now_us), "a second copy could trade"
    if under_way and capabilities.lookup is not Lookup.NONE:
        assert lookup is not None, "sent without asking first"
        assert lookup.copies == len(order.copies), "asked before the last claim only"
        assert lookup.not_found, "sent though nobody said that it is not there"
    assert now_us < order.valid_until_us, "sent after its time to live"
    assert not order.parked
    assert not order.cancel_wanted
    assert order.status in {Status.RECORDED, Status.UNCERTAIN}
    assert CopyOutcome.DUPLICATE not in outcomes
    assert CopyOutcome.REJECTED not in outcomes, "sent again though the venue decided against it"
    if CopyOutcome.ABSENT in outcomes:
        assert knows_repeats(capabilities), "sent again where only its own word says that nothing is there"
    assert step.number == len(order.copies) + 1
    check_expiry(step.expires_at_us, capabilities, now_us, order.valid_until_us)


def check_expiry(expires_at_us: int | None, capabilities: Capabilities, now_us: int, valid_until_us: int) -> None:
    """Check that a request bears an expiry exactly where the venue honours one, in time."""
    assert (expires_at_us is None) == (capabilities.request_expiry_s is None)
    assert expires_at_us is None or now_us <= expires_at_us <= valid_until_us


def check_send_replace(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: steps.SendReplace
) -> None:
    """Check that a copy of a replace may be sent."""
    wanted = order.replacement
    assert wanted is not None
    assert order.status in {Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_REPLACE}, "its fate is not known"
    assert not order.cancel_wanted
    assert now_us < wanted.valid_until_us, "sent after its time to live"
    assert wanted.original_over is None, "what it is to replace is over"
    assert step.number == order.replace_copies + 1
    assert all(copy.outcome not in {None, CopyOutcome.REJECTED} for copy in wanted.copies)
    check_expiry(step.expires_at_us, capabilities, now_us, wanted.valid_until_us)
    if wanted.under_way and capabilities.lookup is not Lookup.NONE:
        assert lookup is not None, "sent again without asking first"
        assert lookup.replaces == order.replace_copies, "asked before the last claim only"
        assert lookup.as_in_force, "sent again though the order was not seen as it was"
        assert lookup.shown in LIVE
    if not wanted.copies:
        check_first_replace(order, wanted, capabilities, lookup, now_us)


def check_first_replace(
    order: Order, wanted: Replacement, capabilities: Capabilities, lookup: LastLookup | None, now_us: int
) -> None:
    """Check that a replace may begin: nothing that is under way can undo it, or make a second order of a freed id."""
    assert capabilities.replace is not ReplaceStyle.NONE
    assert order.venue_cum_quantity < order.quantity
    if wanted.client_order_id == order.live_id:
        check_held(order.strays, capabilities, lookup, now_us, may_be_unknown=False)
    elif not refuses_repeats(order, capabilities, now_us) and beside_ours(order):
        check_held(order.copies, capabilities, lookup, now_us, may_be_unknown=True)


def check_held(
    copies: tuple[Copy, ...],
    capabilities: Capabilities,
    lookup: LastLookup | None,
    now_us: int,
    *,
    may_be_unknown: bool,
) -> None:
    """Check that every one of these copies is dead."""
    if not copies:
        return
    dead = dead_at_us(copies, capabilities)
    if dead is None:
        assert may_be_unknown, "a copy that may be under way for ever could undo this"
    elif capabilities.lookup is Lookup.NONE:
        assert now_us >= dead, "another copy may be under way"
    else:
        assert lookup is not None
        assert are_dead(copies, capabilities, lookup), "another copy may be under way"


def beside_ours(order: Order) -> bool:
    """Tell whether a copy may be under way besides the one that made the order."""
    answered = any(copy.outcome is CopyOutcome.ACCEPTED for copy in order.copies)
    return len(order.copies_under_way) - (not answered) > 0


def check_step(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: steps.Step
) -> None:
    """Check that a step is safe, by rules written apart from those that chose it."""
    if isinstance(step, steps.Adopt):
        assert lookup is not None
        assert step.order is lookup.found
        assert lookup.terms == (0 if order.in_force is None else order.in_force.number), "asked before it was replaced"
        return
    if order.status in ENDED:
        assert step == steps.Rest()
    if order.status is Status.RECORDED and order.cancel_wanted:
        assert isinstance(step, steps.Withdraw), "cancelled before anything was sent"
    match step:
        case steps.Send():
            check_send(order, capabilities, lookup, now_us, step)
        case steps.SendReplace():
            check_send_replace(order, capabilities, lookup, now_us, step)
        case steps.SendCancel():
            check_send_cancel(order, capabilities, lookup, now_us, step)
        case steps.WaitUntil():
            assert step.at_us > now_us
        case steps.Ask() | steps.Scan():
            check_query(order, capabilities, step)
        case steps.Rest():
            pass
        case _:
            check_conclusion(order, capabilities, lookup, now_us, step)


def check_query(order: Order, capabilities: Capabilities, step: steps.Ask | steps.Scan) -> None:
    """Check that the venue is asked what it can be asked, about this order."""
    assert capabilities.lookup is (Lookup.DIRECT if isinstance(step, steps.Ask) else Lookup.SCAN)
    known = {order.client_order_id, order.live_id, order.replacement and order.replacement.client_order_id}
    assert step.client_order_id in known
    assert not isinstance(step, steps.Scan) or step.since_us < order.recorded_at_us


def check_conclusion(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: steps.Step
) -> None:
    """Check that what is concluded about an order follows from what is known of it."""
    match step:
        case steps.ConcludeAbsent():
            assert order.status is Status.UNCERTAIN
            assert lookup is not None
            assert lookup.copies == len(order.copies)
            assert lookup.not_found or lookup.shown is VenueStatus.REJECTED
            assert are_dead(order.copies, capabilities, lookup), "not found proves nothing yet, or never"
            if lookup.shown is None:
                assert not is_forgotten(order.copies, capabilities, lookup), "the venue may have forgotten it"
            assert step.asked_at_us == lookup.asked_at_us
            assert all(copy.outcome is not CopyOutcome.DUPLICATE for copy in order.copies)
        case steps.ConcludeNotReplaced():
            assert order.replacing
            assert order.replacement is not None
            assert order.replacement.original_over is not VenueStatus.REPLACED
            assert all(copy.outcome is not None for copy in order.replacement.copies)
            if order.replacement.under_way:
                assert lookup is not None
                assert lookup.replaces == order.replace_copies
                assert are_dead(order.replacement.copies, capabilities, lookup), "it may yet be replaced"
        case steps.DropReplace():
            assert order.replacement is not None
            assert not order.replacement.under_way, "dropped while it may be under way"
        case steps.Withdraw():
            assert order.status is Status.RECORDED
            assert order.cancel_wanted
        case steps.ExpireUnsent():
            assert order.status is Status.RECORDED
            proven = any(copy.outcome is CopyOutcome.ABSENT for copy in order.copies)
            assert now_us >= order.valid_until_us or (proven and not knows_repeats(capabilities))
        case steps.Park():
            assert order.status in {Status.UNCERTAIN, Status.PENDING_NEW} or order.replacing
            assert not order.parked
        case steps.TellRefused():
            assert order.status is Status.PENDING_CANCEL
            assert order.cancels[-1].outcome is CopyOutcome.REJECTED
            if capabilities.can_be_asked:
                assert lookup is not None
                assert lookup.cancels == len(order.cancels)
                assert lookup.not_found or lookup.shown is not None, "nobody said that it is still there"
        case _:
            raise AssertionError(f"no rule for {step}")


def check_send_cancel(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: steps.SendCancel
) -> None:
    """Check that a cancel may be sent: it must not make room for another copy of the order."""
    assert order.cancel_wanted
    assert order.status in WORKING
    assert step.number == len(order.cancels) + 1
    assert all(cancel.outcome is not None for cancel in order.cancels)
    assert order.replacement is None or order.replacement.copies, "cancelled while a replace waits to be sent"
    if beside_ours(order) and not refuses_repeats(order, capabilities, now_us):
        check_held(order.copies, capabilities, lookup, now_us, may_be_unknown=True)
