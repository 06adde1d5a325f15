"""Corners in which a rule was once wrong, each by its smallest example."""

from decimal import Decimal

import msgspec
import pytest
from core_driver import Driven
from core_kit import copies, in_state, order, replacing, report, shown, us
from core_tables import venue_of

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.apply import advance
from onefill.core.events import CopyOutcome
from onefill.core.evidence import from_lookup, from_report
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import ExecutionKind, VenueStatus
from onefill.core.query import looked_up, search
from onefill.core.resolution import Seen, not_sent
from onefill.core.retry import next_step
from onefill.core.values import Side


def test_an_order_found_filled_as_it_was_is_not_called_replaced():
    """10 -> 5 wanted at the same price, the id is kept, and the venue shows 10 of 10 filled: too late, not replaced."""
    before = replacing("?1", client_order_id="C1")
    seen = shown(status=VenueStatus.FILLED, cum_quantity=Decimal(10))
    assert not any(isinstance(e, ev.Replaced) for e in from_lookup(before, msg.Found(seen)))


def test_one_rejection_told_twice_does_not_settle_two_copies():
    """Copy 1 is live, its ack lost. Copy 2 is rejected as a repeat, by the stream. Copy 1's fate is open."""
    driven = Driven(venue_of("ever"))
    driven.reply(msg.Unknown("time-out"))
    driven.pass_time(1)
    driven.perform(driven.next())
    driven.report(report(ExecutionKind.REJECTED, venue_order_id="V2", status=VenueStatus.REJECTED, text="duplicate"))
    assert driven.status is Status.UNCERTAIN
    assert [copy.outcome for copy in driven.order.copies] == [CopyOutcome.UNKNOWN, CopyOutcome.REJECTED]


@pytest.mark.parametrize("status", [Status.PENDING_CANCEL, Status.PENDING_REPLACE])
def test_a_rejected_copy_does_not_end_an_order_whose_other_copy_may_come(status):
    """As from new and pending_new: the venue decides about each copy by itself."""
    before = in_state(status, copies=copies("?0 a1"), venue_order_id="V1")
    told = from_report(before, report(ExecutionKind.REJECTED, venue_order_id="V1", status=VenueStatus.REJECTED))
    assert advance(before, told, us(5)).status not in ENDED


@pytest.mark.parametrize("row", ["cancel", "replace"])
def test_a_clock_set_back_does_not_hold_up_what_waits_for_copies_to_die(row):
    """The clock was set back an hour: every copy is dead for an hour of true time, and nobody asks."""
    if row == "cancel":
        made = order(status=Status.NEW, copies=copies("?0 ?1"), cancel_wanted=True, venue_order_id="V1")
        step = next_step(made, venue_of("open lookup T5"), None, us(-3600))
    else:
        made = replacing("", strays="?1", client_order_id="C1")
        step = next_step(made, venue_of("open lookup T5 keep"), None, us(-3600))
    assert not isinstance(step, steps.WaitUntil) or step.at_us <= us(-3600) + 60_000_000


def test_a_replace_that_a_person_denied_and_the_venue_shows_is_told():
    """Somebody said "not replaced" (no T, so nothing contradicts), and then the order shows under the new id."""
    before = msgspec.structs.replace(replacing("?1", client_order_id="C2"), parked=True)
    seen = Seen(msg.Found(shown()), msg.Listed((shown(),)))
    kept = advance(before, not_sent(before, venue_of("open lookup new"), seen, "ann", "r", us(99)), us(99))
    told = from_report(
        kept, report(ExecutionKind.REPLACED, client_order_id="C2", venue_order_id="V2", order_quantity=Decimal(5))
    )
    assert advance(kept, told, us(100)).anomaly is not None if told else False


def test_a_list_that_shows_the_replaced_order_without_an_id_does_not_say_that_it_is_not_there():
    """As for the order itself: an order like the one that is to go on, listed without an id, may be it."""
    wanted = replacing("?1", client_order_id="C2")
    listed = msg.Listed((shown(client_order_id="", venue_order_id="V2", quantity=Decimal(5)),))
    assert isinstance(search(listed, "C2", wanted), msg.Unknown)


def test_a_person_can_close_an_order_whose_id_a_stranger_holds():
    """The venue refused our only copy as a duplicate of somebody else's order: ours is not there, and no T is awaited."""
    before = in_state(Status.UNCERTAIN, parked=True, copies=copies("d0"))
    stranger = shown(side=Side.SELL, venue_order_id="V9")
    seen = Seen(msg.Found(stranger), msg.Listed((stranger,)))
    assert not_sent(before, venue_of("ever lookup T5"), seen, "ann", "somebody else's order", us(1000))


def test_a_list_that_leaves_it_open_is_for_a_person_soon_and_proves_nothing():
    """An order like ours listed without an id, again and again: nothing is sent or concluded, even after every copy died."""
    made = order(status=Status.UNCERTAIN, copies=copies("?0"))
    seen = msg.Listed((shown(client_order_id=""),))
    lookup = None
    for _ in range(5):
        reply = search(seen, made.client_order_id, made)
        lookup = looked_up(made, made.client_order_id, reply, lookup, asked_at_us=us(1000), waited_us=None)
    assert isinstance(next_step(made, venue_of("open scan T5"), lookup, us(2000)), steps.Park)
