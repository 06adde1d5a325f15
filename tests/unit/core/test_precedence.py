"""Which of two states wins where both are true, and what gives a state back: a cancel or replace that is open, and trades."""

from decimal import Decimal

import pytest
from core_kit import accepted, in_state, replacement, us

from onefill.core import events as ev
from onefill.core.apply import advance, apply
from onefill.core.events import Source
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status


def test_pending_cancel_takes_precedence_over_a_partial_fill() -> None:
    """A trade while a cancel is pending counts, and the state stays pending_cancel until the order is full (FIX)."""
    before = in_state(Status.PENDING_CANCEL, cum_quantity=Decimal(4))
    partial = apply(before, ev.Traded("E1", Decimal(1), Decimal(1), "V1", Decimal(5)), us(2))
    assert (partial.status, partial.cum_quantity) == (Status.PENDING_CANCEL, 5)
    full = apply(partial, ev.Traded("E2", Decimal(5), Decimal(1), "V1", Decimal(10)), us(2))
    assert (full.status, full.cum_quantity) == (Status.FILLED, 10)


def test_a_refused_cancel_gives_the_state_back() -> None:
    """After a refused cancel an order that was accepted is what its executions make it: new, partially filled."""
    for cum, expected in ((0, Status.NEW), (4, Status.PARTIALLY_FILLED)):
        before = accepted(in_state(Status.PENDING_CANCEL, cum_quantity=Decimal(cum)))
        assert apply(before, ev.CancelRefused("too late"), us(2)).status is expected


def test_a_refused_cancel_makes_no_order_live_that_was_never_accepted() -> None:
    """An order that was pending when it was to be cancelled is pending again: nobody may be told that it is live."""
    before = advance(in_state(Status.PENDING_NEW), (ev.CancelRecorded(None), ev.CancelClaimed(1)), us(1))
    assert before.status is Status.PENDING_CANCEL
    after = advance(before, (ev.CancelRefused("unknown order"),), us(2))
    assert (after.status, after.answer, after.cancel_wanted) == (Status.PENDING_NEW, None, False)


def test_a_refused_cancel_leaves_an_open_replace_open() -> None:
    """A cancel that crossed a replace and was refused gives the order back to its replace."""
    before = in_state(Status.PENDING_REPLACE)
    before = advance(before, (ev.CancelRecorded(None), ev.CancelClaimed(1)), us(2))
    assert before.status is Status.PENDING_CANCEL
    after = advance(before, (ev.CancelRefused("too late"),), us(3))
    assert (after.status, after.replacement) == (Status.PENDING_REPLACE, before.replacement)


def test_pending_replace_takes_precedence_over_a_partial_fill() -> None:
    """A trade while a replace is open counts, and the state stays pending_replace while anything can be left (FIX)."""
    before = in_state(Status.PENDING_REPLACE, replacement=replacement("~1", quantity=Decimal(15)))
    partial = apply(before, ev.Traded("E1", Decimal(10), Decimal(1), "V1", Decimal(10)), us(2))
    assert (partial.status, partial.cum_quantity) == (Status.PENDING_REPLACE, 10)
    full = apply(partial, ev.Traded("E2", Decimal(5), Decimal(1), "V1", Decimal(15)), us(2))
    assert (full.status, full.cum_quantity) == (Status.FILLED, 15)


def test_an_order_whose_replace_would_make_it_smaller_is_not_filled_by_that_alone() -> None:
    """While a replace to 5 is open, 5 executed of 10 may be half of it: only the whole of the larger quantity is an end."""
    before = in_state(Status.PENDING_REPLACE)
    half = apply(before, ev.Traded("E1", Decimal(5), Decimal(1), "V1", Decimal(5)), us(2))
    assert half.status is Status.PENDING_REPLACE
    smaller = apply(half, ev.Replaced(Source.REPLY, "C1", "V1", Decimal(5), None, Decimal(5)), us(3))
    assert smaller.status is Status.FILLED
    kept = apply(half, ev.ReplaceRefused("no"), us(3))
    assert kept.status is Status.PARTIALLY_FILLED


@pytest.mark.parametrize("status", sorted(ENDED - NEVER_SENT))
def test_a_fill_that_comes_after_the_end_counts(status: Status) -> None:
    """A late execution raises the executed quantity and leaves the state: executions are the truth about positions."""
    after = apply(in_state(status), ev.Traded("E9", Decimal(3), Decimal(1), "V1", Decimal(3)), us(9))
    assert after.status is status
    assert after.cum_quantity == 3
    assert after.leaves_quantity == 0


def test_an_order_that_ended_is_open_until_its_executions_are_in() -> None:
    """An order cancelled by a venue that counts 4 executed is closed only once executions for 4 have been applied."""
    ended = apply(in_state(Status.NEW), ev.Canceled(Source.STREAM, "V1", Decimal(4)), us(1))
    assert ended.status is Status.CANCELED
    assert not ended.closed
    part = apply(ended, ev.Traded("E1", Decimal(3), Decimal(1), "V1", Decimal(3)), us(2))
    assert not part.closed
    assert apply(part, ev.Traded("E2", Decimal(1), Decimal(1), "V1", Decimal(4)), us(3)).closed
