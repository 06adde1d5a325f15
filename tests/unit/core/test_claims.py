"""Time and copies: how long a claimed request may still have an effect, and what a venue does with a second copy."""

import msgspec
import pytest
from core_kit import SEEDED, copies, order, us
from core_rules import DAY_US
from core_tables import venue_of
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import claims
from onefill.core.capabilities import Capabilities
from onefill.core.lifecycle import Status
from onefill.core.order import Copy
from onefill.core.steps import LastLookup

S = 1_000_000


def lookup(asked: float, waited: float | None = None) -> LastLookup:
    """Return a query that found nothing, begun at that second, so long after the last claim by a clock nobody can set."""
    waited_us = None if waited is None else round(waited * S)
    return LastLookup(client_order_id="C1", asked_at_us=us(asked), count=1, not_found=True, waited_us=waited_us)


@pytest.mark.parametrize("count", range(1, 40))
def test_pauses_double_up_to_five_seconds(count: int) -> None:
    """The pause after the n-th try is 50 ms, doubling, never above 5 s and never shorter than the one before."""
    assert claims.delay_us(count) == min(50_000 * 2 ** (count - 1), 5_000_000)
    assert claims.delay_us(0) == 50_000


@pytest.mark.parametrize("count", range(40))
def test_pauses_become_patient_from_the_twelfth_on(count: int) -> None:
    """A request that was made twelve times in vain is made once a minute from then on, and before at the usual pace."""
    assert claims.patient_delay_us(count) == (60 * S if count >= 12 else claims.delay_us(count))


@pytest.mark.parametrize(
    ("since", "until", "now", "waits"),
    [(0, 5, 0, True), (0, 5, 4.999, True), (0, 5, 5, False), (0, 5, 9, False), (3, 5, 2.999, False), (3, 3, 3, False)],
)
def test_a_wait_lasts_until_its_end_and_never_begins_in_the_future(
    since: float, until: float, now: float, waits: bool
) -> None:
    """There is something to wait for between beginning and end only: a clock set back before the beginning holds nothing up."""
    assert claims.wait_until_us(us(since), us(until), us(now)) == (us(until) if waits else None)


@pytest.mark.parametrize("call_s", [0, 0.5, 30])
def test_a_claimed_request_leaves_within_hand_over_and_call(call_s: float) -> None:
    """The last moment at which bytes can leave is the claim, two seconds for handing it over, and the longest call."""
    assert claims.leaves_by_us(us(1), round(call_s * S)) == us(3 + call_s)


@pytest.mark.parametrize(
    ("expiry_s", "now", "valid_until", "expires"),
    [(None, 0, 30, None), (2.0, 0, 30, 2), (2.0, 29, 30, 30), (60, 0, 30, 30)],
)
def test_an_expiry_is_stamped_where_one_is_honoured_and_never_outlives_the_intent(
    expiry_s: float | None, now: float, valid_until: float, expires: float | None
) -> None:
    """The expiry is so many seconds from now, at most the end of the intent's own time; none where the venue honours none."""
    made = claims.expiry_us(Capabilities(request_expiry_s=expiry_s), us(now), us(valid_until))
    assert made == (None if expires is None else us(expires))


@pytest.mark.parametrize(
    ("expiry_s", "at", "late"),
    [
        (None, 0, None),
        (None, 2, None),
        (None, 2.000001, "too long"),
        (None, 29, "too long"),
        (None, -0.000001, "too long"),
        (None, 30, "time to live"),
        (1.0, 0.999999, None),
        (1.0, 1, "request expired"),
        (5.0, 2, None),
        (5.0, 2.000001, "too long"),
        (5.0, 5, "request expired"),
        (5.0, -1, "too long"),
        (5.0, 30, "time to live"),
    ],
)
def test_a_claimed_copy_leaves_in_time_or_never(expiry_s: float | None, at: float, late: str | None) -> None:
    """A process that slept since its claim does not send: past the time to live, the expiry, or two seconds.

    The two seconds hold for a copy that bears an expiry too: a clock that was set back must not make an old claim look
    fresh, and within them the lease's end is waited for.
    """
    (copy,) = copies("~0", expiry_s=expiry_s)
    told = claims.too_late_to_send(copy, us(30), us(at), 0)
    assert (told is None) == (late is None)
    assert late is None or late in (told or "")


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(("waited_s", "late"), [(0, False), (2, False), (2.000001, True), (3600, True)])
def test_a_claim_is_as_old_as_the_time_that_passed_whatever_the_clock_says(
    at: float, waited_s: float, late: bool
) -> None:
    """A process that slept while the clock was set back does not send: its claim only looks fresh."""
    (copy,) = copies("~0")
    told = claims.too_late_to_send(copy, us(30), us(at), round(waited_s * S))
    assert (told == "too long between claim and send") is late


@pytest.mark.parametrize(
    ("text", "expiry_s", "leaves_s", "venue", "dead"),
    [
        ("?0", None, 2.0, "open", None),
        ("?0", None, 2.0, "open T5", 7),
        ("?0", None, 3.5, "open T5", 8.5),
        ("?0", 2.0, 2.0, "open e2 T5", 5),  # T covers the expiry, and counts from the claim
        ("?0", 2.0, None, "open e2 T5", 5),
        ("?0", None, None, "open T5", 67),  # an old record: 2 s to hand over, and a call of up to a minute
        ("?0 ?8 n3", None, 2.0, "open T5", 15),  # the latest counts
    ],
)
def test_copies_are_dead_so_long_after_the_last_moment_they_can_leave_at(
    text: str, expiry_s: float | None, leaves_s: float | None, venue: str, dead: float | None
) -> None:
    """Copies are dead T after they can leave (after the claim, if they bear an expiry); without T that is never certain."""
    made = copies(text, expiry_s=expiry_s, leaves_s=leaves_s)
    assert claims.dead_at_us(made, venue_of(venue)) == (None if dead is None else us(dead))


def test_no_copies_are_dead_at_once() -> None:
    """Where nothing was sent, any query is conclusive."""
    assert claims.dead_at_us((), venue_of("open T5")) == 0
    assert claims.all_dead((), venue_of("open T5"), lookup(0))


@pytest.mark.parametrize(
    ("asked", "waited", "expiry_s", "dead"),
    [
        (6.999999, None, None, False),
        (7, None, None, True),
        (4.999999, None, 2.0, False),
        (5, None, 2.0, True),
        (1, 7, None, True),  # the clock was set back meanwhile: time has passed all the same
        (9999, 6.999999, None, False),  # it was set forward: time has not
        (1, 5, 2.0, True),
        (9999, 4.999999, 2.0, False),
    ],
)
def test_death_is_measured_by_a_clock_nobody_can_set_within_one_process(
    asked: float, waited: float | None, expiry_s: float | None, dead: bool
) -> None:
    """If the last claim was made by this process, only the time it measured counts; else the time of day, which is all."""
    venue = Capabilities(request_expiry_s=expiry_s, conclusive_after_s=5.0)
    assert claims.all_dead(copies("?0", expiry_s=expiry_s), venue, lookup(asked, waited)) is dead


@pytest.mark.parametrize("waited", [None, 1e6])
def test_without_a_conclusive_time_nothing_is_ever_dead(waited: float | None) -> None:
    """A venue that does not say when "not found" is conclusive never makes it so, by whatever clock."""
    assert not claims.all_dead(copies("?0"), Capabilities(), lookup(1e6, waited))
    assert not claims.all_dead((), Capabilities(), lookup(1e6, waited))


def test_the_copy_that_can_leave_last_decides_how_long_is_waited() -> None:
    """Of several copies the one that can leave latest after its claim is waited for, from the last claim on."""
    made = (*copies("?0", leaves_s=9), *copies("?1", leaves_s=2, first=2))
    venue = Capabilities(conclusive_after_s=5.0)
    assert not claims.all_dead(made, venue, lookup(0, 13.999999))
    assert claims.all_dead(made, venue, lookup(0, 14))


@SEEDED
@given(st.floats(0, 60), st.floats(0, 60), st.sampled_from([None, 2.0]), st.sampled_from([0.5, 5.0]))
def test_no_copy_leaves_after_absence_could_be_concluded(
    claimed: float, sent: float, expiry_s: float | None, conclusive_s: float
) -> None:
    """A copy that may still leave is younger than the time from which the venue's silence would prove its absence."""
    (copy,) = copies(f"~{claimed:.6f}", expiry_s=expiry_s)
    if claims.too_late_to_send(copy, us(10**6), us(sent), round(max(sent - claimed, 0) * S)) is None:
        dead = claims.dead_at_us([copy], Capabilities(request_expiry_s=expiry_s, conclusive_after_s=conclusive_s))
        assert dead is not None
        # T covers an expiry by declaration; without one it starts at the last moment at which the copy may leave.
        assert expiry_s is not None or us(sent) + round(conclusive_s * S) <= dead


@pytest.mark.parametrize(
    ("venue", "refused"),
    [
        ("ever", True),
        ("ever accepts", False),
        ("day", False),
        ("day e2", True),
        ("day T5", True),
        ("day T5 accepts", False),
        ("open e2 T5", False),
        ("none e2 T5", False),
    ],
)
def test_what_a_venue_refuses_whatever_became_of_the_first(venue: str, refused: bool) -> None:
    """Every copy but one is refused where ids are unique for ever, or for a day that is long enough, and never else.

    Unique among open orders is no such promise: the first order may be filled, and its id free again.
    """
    assert claims.repeat_is_refused(order(copies=copies("?0")), venue_of(venue), us(1)) is refused


@pytest.mark.parametrize(
    ("claimed", "now", "venue", "refused"),
    [
        ("?43190", 43_197.999999, "day e2", True),
        ("?43190", 43_198, "day e2", False),  # it may be taken up after midnight
        ("?43190", 43_197.999999, "day e2 T5", True),  # nothing is taken after its expiry, whatever T is
        ("?43190", 43_198, "day e2 T5", False),
        ("?43190", 43_192.999999, "day T5", True),  # without an expiry: 2 s to leave, and then T
        ("?43190", 43_193, "day T5", False),
        ("?43199", 43_201, "day T5", False),  # the first was sent yesterday
        ("?43199", 43_201, "day e2", False),
        ("?43201", 43_202, "day T5", True),
        ("?43201", 43_199, "day T5", False),  # the clock was set back into yesterday
        ("?43196", 43_290, "day T5", False),  # the first may have been taken up today
    ],
)
def test_a_day_ends_where_a_copy_may_be_under_way_over_midnight(
    claimed: str, now: float, venue: str, refused: bool
) -> None:
    """Unique for a day counts only while every copy, and the next one, must arrive on one day in UTC."""
    assert us(43_200) % DAY_US == 0
    capabilities = venue_of(venue)
    made = order(copies=copies(claimed, expiry_s=capabilities.request_expiry_s))
    assert claims.repeat_is_refused(made, capabilities, us(now)) is refused


def test_where_nothing_was_sent_yet_a_day_ends_earlier_than_any_call() -> None:
    """Of a copy whose call is not known yet the longest there may be counts."""
    for at, refused in ((43_200 - 67.000001, True), (43_200 - 67, False)):
        assert claims.repeat_is_refused(order(), venue_of("day T5"), us(at)) is refused


@pytest.mark.parametrize(
    ("text", "more"),
    [("a0", False), ("?0", False), ("~0", False), ("?0 ?1", True), ("?0 a1", True), ("?0 r1", False), ("x0 a1", False)],
)
def test_one_unanswered_copy_is_taken_for_the_one_that_made_the_order(text: str, more: bool) -> None:
    """Of an order that is at the venue a copy may be under way besides its own, if one was answered or two are open."""
    assert claims.more_copies_than_orders(order(status=Status.NEW, copies=copies(text))) is more


def test_a_copy_knows_whether_it_may_have_an_effect() -> None:
    """Claimed or unknown means under way; any answer, and proven absence, means done with."""
    for letter, under_way in {"~": 1, "?": 1, "n": 0, "t": 0, "l": 0, "d": 0, "r": 0, "a": 0, "x": 0}.items():
        (copy,) = copies(f"{letter}0")
        assert copy.under_way == bool(under_way)


def test_a_copy_of_an_older_record_is_given_the_longest_call() -> None:
    """A record without the last moment of leaving is read as the slowest there may have been, never as the fastest."""
    (old,) = copies("?0", leaves_s=None)
    assert old == msgspec.convert(msgspec.to_builtins(old), Copy)
    (new,) = copies("?0", leaves_s=60)
    venue = Capabilities(conclusive_after_s=5.0)
    old_dead, new_dead = (claims.dead_at_us([copy], venue) for copy in (old, new))
    assert old_dead is not None
    assert new_dead is not None
    assert old_dead >= new_dead


def test_a_query_long_after_the_first_claim_may_have_come_too_late() -> None:
    """From so long after the first claim as the venue may take to forget, by whichever clock says more."""
    first, second = copies("?0 ?50")
    venue = Capabilities(lookup_forgets_after_s=100.0)
    cases = ((99.9, None, False), (100, None, True), (-50, None, False), (-50, 100, True), (60, 40, False))
    for at, waited, forgotten in cases:
        assert claims.may_be_forgotten([second, first], venue, lookup(at, waited)) is forgotten, (at, waited)
    assert not claims.may_be_forgotten([first], Capabilities(), lookup(1e9))
