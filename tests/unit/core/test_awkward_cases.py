"""The awkward cases of repeating requests, one test named for each: the steps taken, and the end.

Those of replaces are in :mod:`test_awkward_replaces`. The order is driven by the real contract against a venue of a few lines
(:mod:`core_venue`) that decides by ids, expiries and its own clock. ``made`` counts the orders it made: never more than one
(promise ONE-ORDER).
"""

import msgspec
import pytest
from core_driver import Driven
from core_kit import report, shown
from core_tables import venue_of
from core_venue import Small, there

from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.answers import (
    CancelAnswer,
    CancelResult,
    cancel_answer,
    unknown_key_answer,
)
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, VenueStatus
from onefill.core.order import Order
from onefill.core.values import Side


def told_of_cancel(order: Order, *, changed: bool = True) -> CancelAnswer:
    """Return what whoever wanted the order gone is told."""
    return msgspec.json.decode(cancel_answer(order, 0, changed=changed), type=CancelAnswer)


# "Not found" while the first request is still under way.


@pytest.mark.parametrize("late_s", [1, 3, 7])
def test_a_ghost_that_arrives_after_not_found_is_adopted(late_s: int) -> None:
    """Where ids are unique among open orders, "not found" is not believed before every copy is dead: the ghost is found."""
    small = Small("open lookup T5", f"late {late_s}").follow()
    assert small.steps == ["ask", "adopt"]
    assert (small.order.status, small.made, len(small.order.copies)) == (Status.NEW, 1, 1)


def test_a_ghost_meets_a_venue_that_refuses_repeats_for_ever() -> None:
    """There a resend is safe at once, and the ghost, arriving after it, is refused as the repeat."""
    small = Small("ever lookup T5", "late 3", "ok").follow()
    small.pass_time(10)
    small.hear()
    assert small.steps == ["ask", "send 2"]
    assert (small.order.status, small.made) == (Status.NEW, 1)


def test_a_ghost_on_a_venue_that_never_makes_absence_certain_waits_for_a_person() -> None:
    """Without T nothing is ever resent; the ghost that comes long after is found all the same, and adopted."""
    small = Small("open lookup", "late 100").follow()
    assert small.steps == ["ask", "park"]
    assert small.order.parked
    small.pass_time(150)
    small.follow()
    assert small.steps == ["ask", "park", "ask", "adopt"]
    assert (small.order.status, small.made) == (Status.NEW, 1)


def test_a_ghost_that_the_venue_refuses_after_its_expiry_is_no_order() -> None:
    """A copy that bears an expiry and comes after it is refused; then absence is proven, and the resend is the only order."""
    small = Small("open lookup e2 T5", "late 4", "ok").follow()
    assert small.steps == ["ask", "absent", "send 2"]
    assert (small.order.status, small.made) == (Status.NEW, 1)


# Unique among open orders only, and the first order already filled.


@pytest.mark.parametrize("venue", ["open lookup T5", "open scan T5", "open lookup", "none lookup T5"])
def test_an_id_that_is_free_again_because_its_order_filled_is_not_sent_again(venue: str) -> None:
    """The trap: the reply is lost, the order fills, its id is free. While queries lag nothing is sent; then it is found."""
    small = Small(venue, "reply lost")
    small.fill(10)
    small.answers = ["blind", "blind", "failed", "ok"]
    small.follow()
    word = "scan" if "scan" in venue else "ask"
    assert small.steps == [word, "adopt"]
    assert (small.order.status, small.order.venue_cum_quantity, small.made) == (Status.NEW, 10, 1)
    small.hear()
    assert (small.order.status, small.order.closed, len(small.order.copies)) == (Status.FILLED, True, 1)


def test_an_id_that_is_free_again_is_a_persons_where_nothing_can_be_asked() -> None:
    """Without a look-up such a venue gets no second copy at all; its executions tell in the end."""
    small = Small("open T5", "reply lost").follow()
    small.fill(10)
    assert (small.steps, small.order.status, small.order.parked) == (["park"], Status.UNCERTAIN, True)
    small.hear()
    assert (small.order.status, small.made, small.order.parked) == (Status.FILLED, 1, False)


def test_a_cancel_does_not_free_the_id_for_a_copy_under_way() -> None:
    """Near midnight two copies may be under way, and the id is as good as unique among open orders: the cancel waits."""
    driven = Driven(venue_of("day lookup e2 T5"))
    driven.reply(msg.Unknown("time-out"))
    driven.pass_time(1)
    step = driven.next()
    assert isinstance(step, steps.Ask)
    driven.ask(step, msg.NotFound("none"))
    second = driven.next()
    assert isinstance(second, steps.Send)
    driven.perform(second)
    driven.reply(msg.Accepted(shown()))
    driven.set_clock(86_400)  # a new day by the time of day: yesterday's id is free
    driven.want_cancel()
    assert isinstance(driven.next(), steps.Ask)
    driven.ask(steps.Ask("C1"), msg.Found(shown()))
    driven.perform(driven.next())
    assert isinstance(driven.next(), steps.WaitUntil)
    driven.pass_time(6)
    driven.ask(steps.Ask("C1"), msg.Found(shown()))
    driven.perform(driven.next())
    assert driven.next() == steps.SendCancel(1)


def test_a_duplicate_reply_for_an_order_with_other_content_is_an_incident() -> None:
    """Somebody's order is under our id: it is fetched, compared, not adopted; nothing is sent; a person is told."""
    small = Small("ever lookup T5", "rejected")
    small.driven = Driven(small.capabilities)
    small.orders = [shown(side=Side.SELL, venue_order_id="V9")]
    small.driven.reply(msg.DuplicateId("seen"))
    small.follow()
    assert small.steps == ["ask", "adopt"]
    assert (small.order.status, small.order.parked, small.order.venue_order_id) == (Status.UNCERTAIN, True, None)
    assert small.order.anomaly == "the venue has another order under C1: its side differs"
    small.pass_time(100)
    small.follow()
    assert len(small.order.copies) == 1


def test_a_duplicate_reply_for_our_own_order_is_the_order() -> None:
    """The first copy was taken and its reply lost; the resend is called a duplicate: fetched, compared, adopted."""
    small = Small("ever lookup", "reply lost", "ok")
    small.answers = ["blind", "ok"]
    small.follow()
    assert small.steps == ["ask", "send 2", "ask", "adopt"]
    assert (small.order.status, small.made) == (Status.NEW, 1)


def test_a_duplicate_reply_whose_order_never_shows_is_a_persons() -> None:
    """The venue says that something is there, and shows nothing: never sent again, and never called absent."""
    small = Small("ever lookup T5", "reply lost", "ok")
    small.answers = ["blind"]
    small.follow()
    assert small.steps == ["ask", "send 2", "ask", "park"]
    small.pass_time(1000)
    small.follow()
    assert (small.order.status, small.order.parked, small.made) == (Status.UNCERTAIN, True, 1)


# Replies and executions lost, late, crossing.


def test_ack_and_fill_both_lost_are_found_and_counted_once() -> None:
    """The query shows the order filled; that moves no position. The stream, read again, brings the execution: once."""
    small = Small("ever lookup", "reply lost")
    small.fill(10)
    small.follow()
    assert small.steps == ["ask", "adopt"]
    assert (small.order.cum_quantity, small.order.venue_cum_quantity, small.order.closed) == (0, 10, False)
    small.hear()
    assert (small.order.status, small.order.cum_quantity, small.order.closed) == (Status.FILLED, 10, True)
    assert small.made == 1


def test_a_fill_without_any_ack_is_an_order() -> None:
    """Only the execution comes, by the stream, before anybody asked: the order is there, and its submit is answered."""
    small = Small("none", "reply lost")
    small.fill(4)
    small.reports = small.reports[-1:]
    small.hear()
    assert (small.order.status, small.order.cum_quantity) == (Status.PARTIALLY_FILLED, 4)
    assert small.order.answer is not None
    assert small.follow().steps == []


def test_an_ack_that_arrives_after_the_resend_is_the_order_and_the_resend_its_duplicate() -> None:
    """Copy 1's ack comes by the stream while copy 2 awaits its reply; that reply, a duplicate, moves nothing back."""
    driven = Driven(venue_of("ever"))
    driven.reply(msg.Unknown("time-out"))
    driven.pass_time(1)
    assert driven.next() == steps.Send(2, None)
    driven.perform(driven.next())
    driven.report(report(ExecutionKind.NEW))
    assert driven.status is Status.NEW
    answer = driven.order.answer
    driven.reply(msg.DuplicateId("seen"))
    assert (driven.status, driven.order.answer, driven.order.anomaly) == (Status.NEW, answer, None)
    assert driven.next() == steps.Rest()


def test_an_ack_that_arrives_after_the_resend_was_accepted_with_another_number_is_told() -> None:
    """If the venue broke its word and made two orders, nothing heals it silently: an anomaly names both."""
    driven = Driven(venue_of("ever"))
    driven.reply(msg.Unknown("time-out"))
    driven.pass_time(1)
    driven.perform(driven.next())
    driven.reply(msg.Accepted(shown(venue_order_id="V2")))
    driven.report(report(ExecutionKind.NEW, venue_order_id="V1"))
    assert driven.order.anomaly == "the venue has two orders under C1: V1 and V2"


@pytest.mark.parametrize("by_stream", [True, False])
def test_an_asynchronous_ack_answers_nothing_until_the_venue_has_decided(by_stream: bool) -> None:
    """Taken in is not accepted: no answer; then the stream or a query tells, whichever comes first."""
    small = Small("open lookup T5", "pending")
    assert (small.order.status, small.order.answer) == (Status.PENDING_NEW, None)
    small.follow(until_s=1)
    assert set(small.steps) == {"ask", "adopt"}
    assert small.order.status is Status.PENDING_NEW
    small.accept()
    if by_stream:
        small.hear()
    else:
        small.follow(until_s=20)
    assert small.order.status is Status.NEW
    assert small.order.answer is not None
    assert len(small.order.copies) == 1


def test_an_asynchronous_refusal_is_a_rejection() -> None:
    """What was taken in may be refused: evidence, final, by query."""
    small = Small("open lookup T5", "pending")
    small.reject()
    small.follow()
    assert small.order.status is Status.REJECTED
    assert small.made == 1


def test_an_asynchronous_ack_that_never_comes_is_a_persons() -> None:
    """An order that was taken in and is not shown any more is never sent again."""
    small = Small("ever lookup T5", "pending")
    small.orders.clear()
    small.follow()
    assert small.steps == ["ask", "park"]
    assert (small.order.status, small.order.parked) == (Status.PENDING_NEW, True)


@pytest.mark.parametrize("venue", ["ever lookup", "open lookup T5", "open scan T5", "none lookup"])
def test_a_cancel_while_the_submit_is_uncertain_is_applied_once_the_order_is_known(venue: str) -> None:
    """The wish is remembered: the order is looked for, adopted, and then cancelled; it is not sent again meanwhile."""
    small = Small(venue, "reply lost", "ok")
    small.driven.want_cancel()
    small.follow()
    word = "scan" if "scan" in venue else "ask"
    assert small.steps == [word, "adopt", "cancel 1"]
    assert (small.order.status, small.made) == (Status.CANCELED, 1)
    assert told_of_cancel(small.order).result is CancelResult.CANCELED


@pytest.mark.parametrize("venue", ["ever lookup T5", "open lookup T5"])
def test_a_cancel_of_an_uncertain_order_that_is_not_there_means_it_is_never_sent(venue: str) -> None:
    """Proven absent, it is withdrawn here; nothing of it is sent again though there was time left."""
    small = Small(venue, "lost")
    small.driven.want_cancel()
    small.follow()
    assert small.steps == ["ask", "absent", "withdraw"]
    assert (small.order.status, small.made) == (Status.CANCELED_UNSENT, 0)
    assert told_of_cancel(small.order).result is CancelResult.NEVER_SENT


def test_a_cancel_of_an_order_that_never_left_means_it_is_never_sent() -> None:
    """Between two attempts, none of which left, the cancel ends it at once."""
    small = Small("none", "not sent")
    small.driven.want_cancel()
    small.follow()
    assert (small.steps, small.order.status, small.made) == (["withdraw"], Status.CANCELED_UNSENT, 0)


def test_a_cancel_of_an_uncertain_order_is_remembered_over_a_crash() -> None:
    """A process that died while sending finds claim and wish in the ledger: ask, adopt, cancel."""
    small = Small("open lookup T5", "crash", "ok")
    small.driven.want_cancel()
    small.driven.restart()
    small.follow()
    assert small.steps == ["ask", "adopt", "cancel 1"]
    assert (small.order.status, small.made) == (Status.CANCELED, 1)


@pytest.mark.parametrize("filled", [10, 4])
def test_a_cancel_that_crosses_a_fill_reports_the_fill(filled: int) -> None:
    """Filled first: the refusal is looked into, and whoever asked is told of the fill. In part: the rest is cancelled."""
    small = there("ever lookup")
    small.driven.want_cancel()
    small.fill(filled)
    small.follow()
    small.hear()
    told = told_of_cancel(small.order)
    if filled == 10:
        assert small.steps == ["cancel 1", "ask", "adopt"]
        assert (small.order.status, told.result, told.changed) == (Status.FILLED, CancelResult.FILLED, False)
    else:
        assert small.steps == ["cancel 1"]
        assert (small.order.status, told.result, told.cum_quantity) == (Status.CANCELED, CancelResult.CANCELED, "4")
    assert small.order.closed


def test_a_cancel_whose_reply_is_lost_is_looked_into() -> None:
    """The order is found cancelled; or live, and the same cancel is sent again, which is harmless."""
    done = there("open lookup", "reply lost")
    done.driven.want_cancel()
    done.follow()
    assert (done.steps, done.order.status) == (["cancel 1", "ask", "adopt"], Status.CANCELED)
    lost = there("open lookup", "lost", "ok")
    lost.driven.want_cancel()
    lost.follow()
    assert (lost.steps, lost.order.status) == (["cancel 1", "ask", "adopt", "cancel 2"], Status.CANCELED)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (Status.CANCELED, CancelResult.CANCELED),
        (Status.FILLED, CancelResult.FILLED),
        (Status.REJECTED, CancelResult.ENDED),
    ],
)
def test_a_cancel_of_an_order_that_ended_changes_nothing_and_says_so(status: Status, result: CancelResult) -> None:
    """Of a cancelled, filled or rejected order: no step is taken, and the answer names the end (CANCEL-QUIET)."""
    small = Small("ever lookup", "rejected" if status is Status.REJECTED else "ok")
    if status is Status.FILLED:
        small.fill(10)
    if status is Status.CANCELED:
        small.end(small.live[0], VenueStatus.CANCELED)
    small.hear()
    assert small.order.status is status
    small.driven.want_cancel()
    assert small.follow().steps == []
    told = told_of_cancel(small.order, changed=False)
    assert (told.result, told.changed, told.status) == (result, False, status)


def test_a_cancel_of_an_unknown_order_says_so() -> None:
    """A key under which nothing was ever recorded is answered as that; nothing is sent."""
    told = msgspec.json.decode(unknown_key_answer("k", 0), type=CancelAnswer)
    assert (told.result, told.changed, told.client_order_id) == (CancelResult.UNKNOWN_KEY, False, None)


def test_a_cancel_of_an_order_that_the_venue_calls_unknown_is_told_after_five_refusals() -> None:
    """A venue that forgot a live order refuses every cancel and shows nothing: the order stays as it is known; it is said."""
    small = there("ever lookup")
    small.orders.clear()
    small.driven.want_cancel()
    small.follow()
    assert small.steps[-1] == "refused"
    assert len(small.order.cancels) == 5
    assert (small.order.status, small.order.cancel_wanted) == (Status.NEW, False)
    assert told_of_cancel(small.order).result is CancelResult.REFUSED


def test_two_cancels_at_once_send_one() -> None:
    """The second wish finds the first one's request under way, and both are answered by the one end."""
    small = there("ever lookup")
    small.driven.want_cancel()
    small.driven.want_cancel()
    step = small.driven.next()
    assert step == steps.SendCancel(1)
    small.driven.perform(step)
    small.driven.want_cancel()
    assert small.driven.next() == steps.Rest()
    small.driven.cancel_reply(msg.Canceled(shown(status=VenueStatus.CANCELED)))
    assert (small.order.status, len(small.order.cancels)) == (Status.CANCELED, 1)


def test_two_cancels_whose_replies_are_both_lost_end_the_order_once() -> None:
    """A repeated cancel can only end the order it names: the second finds it ended, and says the same."""
    small = there("none", "reply lost", "reply lost", "ok")
    small.driven.want_cancel()
    small.follow()
    assert small.steps == ["cancel 1", "cancel 2", "cancel 3"]
    assert (small.order.status, small.order.anomaly) == (Status.CANCELED, None)


@pytest.mark.parametrize(
    ("venue", "steps_taken", "status"),
    [
        ("ever lookup T5", ["ask", "send", "ask", "absent", "expire"], Status.EXPIRED_UNSENT),
        ("open lookup T5", ["ask", "absent", "expire"], Status.EXPIRED_UNSENT),
        ("ever lookup", ["ask", "send", "ask", "park"], Status.UNCERTAIN),
        ("ever", ["send", "park"], Status.UNCERTAIN),
        ("open", ["park"], Status.UNCERTAIN),
    ],
)
def test_a_time_to_live_that_runs_out_while_uncertain_ends_the_sending_and_nothing_else(
    venue: str, steps_taken: list[str], status: Status
) -> None:
    """After it no copy is sent; the order's fate is found out all the same: EXPIRED UNSENT on proof, else a person's."""
    small = Small(venue, "lost", valid_until_us=Driven(venue_of(venue)).now_us + 3_000_000).follow()
    words = [step.split()[0] for step in small.steps]
    taken = [word for place, word in enumerate(words) if place == 0 or word != words[place - 1]]
    while taken[:2] == ["ask", "send"] and taken[2:4] == ["ask", "send"]:
        taken = taken[2:]
    assert taken == steps_taken
    assert (small.order.status, small.made) == (status, 0)
    assert all(copy.claimed_at_us < small.order.valid_until_us for copy in small.order.copies)


def test_an_order_whose_time_ran_out_while_uncertain_is_adopted_if_it_is_there() -> None:
    """It got there in time: that nobody knew is no reason to call it expired."""
    small = Small("open lookup T5", "reply lost", valid_until_us=Driven(venue_of("none")).now_us + 1_000_000)
    small.answers = ["failed"] * 9 + ["ok"]
    small.follow()
    assert (small.steps, small.order.status, small.made) == (["ask", "adopt"], Status.NEW, 1)


def test_a_throttled_submit_is_looked_up_and_sent_again_after_the_pause() -> None:
    """Nothing before the pause is over; then a look, since a busy venue may refuse at one door what it took at another."""
    small = Small("open lookup T5", "throttled 2", "ok").follow()
    assert small.steps == ["ask", "send 2"]
    assert small.order.copies[1].claimed_at_us >= small.order.copies[0].claimed_at_us + 2_000_000
    assert (small.order.status, small.made) == (Status.NEW, 1)
    taken = Small("open lookup T5", "reply lost", "ok")
    taken.driven = Driven(taken.capabilities)
    taken.driven.reply(msg.Throttled("slow down", 1.0))
    assert (taken.follow().steps, taken.order.status, taken.made) == (["ask", "adopt"], Status.NEW, 1)


def test_a_throttled_cancel_is_sent_again_after_the_pause() -> None:
    """The pause the venue asked for is kept."""
    small = there("open lookup", "throttled 7", "ok")
    small.driven.want_cancel()
    small.follow()
    first, second = small.order.cancels
    assert second.claimed_at_us >= first.claimed_at_us + 7_000_000
    assert small.order.status is Status.CANCELED


@pytest.mark.parametrize("seconds", [-3600, -20, 20, 86_400])
@pytest.mark.parametrize("venue", ["open lookup T5", "open scan T5", "none lookup T5"])
def test_a_clock_that_jumps_hastens_and_holds_up_nothing(venue: str, seconds: int) -> None:
    """A ghost is on its way for 6 s: however the clock is set meanwhile, it is not called absent, and it is found in time."""
    small = Small(venue, "late 6")
    small.follow(until_s=1)
    small.driven.set_clock(seconds)
    small.follow(until_s=60)
    assert (small.order.status, small.made) == (Status.NEW, 1)
    assert small.driven.steady_us <= 12_000_000


@pytest.mark.parametrize("seconds", [-3600, -20, 20, 86_400])
@pytest.mark.parametrize(("venue", "dead_s"), [("open lookup T5", 8), ("open scan T5", 8), ("open lookup e2 T5", 5)])
def test_a_clock_that_jumps_changes_nothing_about_when_absence_is_certain(
    venue: str, dead_s: int, seconds: int
) -> None:
    """The copy was lost: it is called absent once it is dead by a clock that nobody can set, soon after, and not before."""
    small = Small(venue, "lost")
    small.follow(until_s=1)
    small.driven.set_clock(seconds)
    small.follow(stop="absent")
    assert dead_s * 1_000_000 <= small.driven.steady_us <= (dead_s + 5) * 1_000_000


def test_a_clock_set_back_does_not_hold_up_a_cancel() -> None:
    """After the clock went back an hour, the next cancel is due at once, not in an hour."""
    small = there("none", "lost", "ok")
    small.driven.want_cancel()
    small.follow(stop="wait", until_s=0.01)
    small.driven.set_clock(-3600)
    small.follow(until_s=60)
    assert small.order.status is Status.CANCELED
    assert small.driven.steady_us <= 10_000_000


def test_a_wire_time_out_shorter_than_the_venues_expiry_believes_in_no_early_absence() -> None:
    """The call is given up after 1 s, the request stays good for 4: it arrives at 3 s, is found, and is the only order."""
    small = Small("open lookup e4 T9", "late 3", call_s=1.0).follow()
    assert small.steps == ["ask", "adopt"]
    assert (small.order.status, small.made) == (Status.NEW, 1)


def test_a_wire_time_out_longer_than_the_venues_expiry_waits_for_no_reply_that_cannot_count() -> None:
    """The call may last 30 s, the request 2: it is dead T after its claim, whatever the call still does."""
    small = Small("open lookup e2 T5", "late 20", "ok", call_s=30.0).follow()
    assert small.steps == ["ask", "absent", "send 2"]
    assert small.order.copies[1].claimed_at_us - small.order.copies[0].claimed_at_us < 15_000_000
    small.pass_time(60)
    small.hear()
    assert (small.order.status, small.made) == (Status.NEW, 1)


def test_a_wire_time_out_without_any_expiry_counts_before_absence_does() -> None:
    """The call may last 30 s and its request bears no expiry: absence counts from the last moment it can leave, 32 s, on."""
    small = Small("open lookup T5", "late 36", call_s=30.0).follow()
    assert small.steps == ["ask", "adopt"]
    assert (small.order.status, small.made) == (Status.NEW, 1)
    gone = Small("open lookup T5", "lost", call_s=30.0, valid_until_us=small.order.valid_until_us + 60_000_000)
    gone.follow(stop="absent")
    assert gone.driven.steady_us >= 37_000_000
