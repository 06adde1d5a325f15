"""Time and copies: how long a claimed request may still have an effect, and what a venue does with a second copy."""

from collections.abc import Iterable

from onefill.core.capabilities import Capabilities, UniqueScope
from onefill.core.events import CopyOutcome
from onefill.core.order import Copy, Order
from onefill.core.steps import LastLookup

DAY_US = 86_400_000_000
SEND_WITHIN_US = 2_000_000
"""A claimed copy is handed to the venue's adapter within this time or never, so that there is a last possible send."""
_LONGEST_CALL_US = 60_000_000
"""How long a call may have lasted of whose claim it is not recorded."""
_FIRST_DELAY_US = 50_000
_LONGEST_DELAY_US = 5_000_000
PATIENT_DELAY_US = 60_000_000
"""The pause between tries that have long been in vain: what is left is for evidence or a person."""
PATIENT_AFTER = 12
"""After so many requests of one kind the pauses become patient ones."""


def delay_us(count: int) -> int:
    """Return the pause after the ``count``-th try in µs: 50 ms, doubling, at most 5 s."""
    return min(_FIRST_DELAY_US << min(max(count - 1, 0), 10), _LONGEST_DELAY_US)


def patient_delay_us(count: int) -> int:
    """Return the pause after the ``count``-th request in µs: as :func:`delay_us`, and a minute after the twelfth."""
    return delay_us(count) if count < PATIENT_AFTER else PATIENT_DELAY_US


def wait_until_us(since_us: int, until_us: int, now_us: int) -> int | None:
    """Return until when to wait, if there is anything to wait for. A clock that was set back behind ``since_us`` does not
    hold anything up.
    """
    return until_us if since_us <= now_us < until_us else None


def leaves_by_us(claimed_at_us: int, longest_call_us: int) -> int:
    """Return the last moment at which a claimed request's bytes can leave: it may be handed over late, and the adapter's
    call may last.
    """
    return claimed_at_us + SEND_WITHIN_US + longest_call_us


def expiry_us(capabilities: Capabilities, now_us: int, valid_until_us: int) -> int | None:
    """Return the expiry to stamp on a request, no later than the intent's own; ``None`` where the venue honours none."""
    if capabilities.request_expiry_s is None:
        return None
    return min(now_us + int(capabilities.request_expiry_s * 1_000_000), valid_until_us)


def too_late_to_send(copy: Copy, valid_until_us: int, now_us: int, waited_us: int) -> str | None:
    """Return why a claimed copy must not leave any more, or ``None``: the process may have slept since the claim.

    ``waited_us``: the time since the claim by a clock that nobody can set.
    """
    if now_us >= valid_until_us:
        return "its time to live ran out between claim and send"
    if copy.expires_at_us is not None and now_us >= copy.expires_at_us:
        return "its request expired between claim and send"
    if waited_us > SEND_WITHIN_US or not 0 <= now_us - copy.claimed_at_us <= SEND_WITHIN_US:
        return "too long between claim and send"
    return None


def dead_at_us(copies: Iterable[Copy], capabilities: Capabilities) -> int | None:
    """Return from when on no copy can still take effect, or ``None`` if the venue never makes that certain."""
    if capabilities.conclusive_after_s is None:
        return None
    wait_us = int(capabilities.conclusive_after_s * 1_000_000)
    return max((copy.claimed_at_us + _leaves_within_us(copy) + wait_us for copy in copies), default=0)


def all_dead(copies: Iterable[Copy], capabilities: Capabilities, lookup: LastLookup) -> bool:
    """Tell whether a query was begun when no copy could take effect any more.

    Within one process a clock decides that nobody can set. Across a restart only the time of day is left.
    """
    copies = tuple(copies)
    if capabilities.conclusive_after_s is None:
        return False
    if lookup.waited_us is None:
        at_us = dead_at_us(copies, capabilities)
        return at_us is not None and lookup.asked_at_us >= at_us
    wait_us = int(capabilities.conclusive_after_s * 1_000_000)
    return lookup.waited_us >= wait_us + max(map(_leaves_within_us, copies), default=0)


def may_be_forgotten(copies: Iterable[Copy], capabilities: Capabilities, lookup: LastLookup) -> bool:
    """Tell whether a query came so long after the first claim that what was made of it may have ended and been forgotten."""
    if capabilities.lookup_forgets_after_s is None:
        return False
    first_us = min((copy.claimed_at_us for copy in copies), default=lookup.asked_at_us)
    passed_us = max(lookup.asked_at_us - first_us, lookup.waited_us or 0)
    return passed_us >= int(capabilities.lookup_forgets_after_s * 1_000_000)


def under_way_for_us(copies: Iterable[Copy], capabilities: Capabilities, now_us: int, waited_us: int | None) -> int:
    """Return for how long, in µs, a copy's bytes may yet leave or, where T is known, take effect; at most zero: no more.

    ``waited_us``: the time since the last claim by a clock that nobody can set; ``None``: the time of day has to do.
    """
    wait_us = int((capabilities.conclusive_after_s or 0.0) * 1_000_000)
    left_us = 0
    for copy in copies:
        lasts_us = max(
            (copy.leaves_by_us or copy.claimed_at_us) - copy.claimed_at_us, _leaves_within_us(copy) + wait_us
        )
        passed_us = now_us - copy.claimed_at_us if waited_us is None else waited_us
        left_us = max(left_us, lasts_us - passed_us)
    return left_us


def _leaves_within_us(copy: Copy) -> int:
    if copy.expires_at_us is not None:
        return 0  # stamped on the claim: however late it leaves, the venue refuses it in time
    return latest_leave_us(copy) - copy.claimed_at_us


def latest_leave_us(copy: Copy) -> int:
    """Return the last moment at which a claimed copy's bytes can leave, also where its claim does not say."""
    if copy.leaves_by_us is None:
        return copy.claimed_at_us + SEND_WITHIN_US + _LONGEST_CALL_US
    return copy.leaves_by_us


def repeat_is_refused(order: Order, capabilities: Capabilities, now_us: int) -> bool:
    """Tell whether the venue refuses every copy but one, whatever became of the first (even filled or cancelled)."""
    if not capabilities.refuses_repeats:
        return False
    if capabilities.unique_scope is UniqueScope.EVER:
        return True
    if capabilities.unique_scope is UniqueScope.DAY:
        # Only while all copies, the next one included, arrive on one day of the venue.
        longest_us = _under_way_for_us(order.copies, capabilities)
        if longest_us is None:
            return False
        moments = [copy.claimed_at_us for copy in order.copies] + [now_us]
        return len({(moment + late) // DAY_US for moment in moments for late in (0, longest_us)}) == 1
    return False


def _under_way_for_us(copies: tuple[Copy, ...], capabilities: Capabilities) -> int | None:
    """Return how long after its claim a copy may still be taken by the venue, or ``None`` if nobody knows."""
    if capabilities.request_expiry_s is not None:
        return int(capabilities.request_expiry_s * 1_000_000)
    if capabilities.conclusive_after_s is None:
        return None
    leaves_us = max(map(_leaves_within_us, copies), default=SEND_WITHIN_US + _LONGEST_CALL_US)
    return leaves_us + int(capabilities.conclusive_after_s * 1_000_000)


def more_copies_than_orders(order: Order) -> bool:
    """Tell whether a copy may be under way besides the one that made the order we see."""
    answered = any(copy.outcome is CopyOutcome.ACCEPTED for copy in order.copies)
    return len(order.copies_under_way) > (0 if answered else 1)
