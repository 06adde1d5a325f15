"""Who may act on a route when several processes could: leases and epochs (promise ONE-WRITER)."""

import math

import pytest
from core_kit import SEEDED, us
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.lease import (
    CLOCK_RATE_MARGIN,
    RENEW_AFTER,
    Awaited,
    Held,
    bounded_us,
    holder_text,
    left_us,
    looked,
    may_send,
    may_take,
    node_of,
    refused,
    renew_at_s,
    renewal_limit_s,
    retry_renewal_s,
    send_until_s,
)


@pytest.mark.parametrize(
    ("held", "now", "free"),
    [
        (None, 0, True),
        (Held("a", 1, None), 0, True),
        (Held("a", 1, us(5)), 4.999999, False),
        (Held("a", 1, us(5)), 5, True),
        (Held("a", 1, us(5)), -1e6, False),
    ],
)
def test_a_route_is_granted_when_nobody_holds_it_for_a_time(held: Held | None, now: float, free: bool) -> None:
    """A route that was never taken, is not lent for a time, or whose lease is over may be taken; otherwise it may not."""
    assert may_take(held, us(now)) is free


def test_a_holder_may_send_until_shortly_before_its_lease_ends() -> None:
    """The holder uses 95 of 100 parts of its lease, counted from before it asked."""
    until_s = send_until_s(100.0, 10.0)
    assert until_s == pytest.approx(109.5)
    assert may_send(109.4, until_s)
    assert not may_send(until_s, until_s)
    assert not may_send(109.6, until_s)


def test_a_route_that_is_not_lent_for_a_time_may_be_used_for_ever() -> None:
    """A ledger file's own lock keeps a second process out: there is no end to wait for."""
    assert send_until_s(100.0, None) == math.inf
    assert may_send(1e12, send_until_s(100.0, None))


def test_a_lease_is_renewed_so_early_that_two_renewals_may_fail() -> None:
    """Three renewals, each a third of the lease after the one before, are begun before the holder must stop."""
    asked_s, lease_s = 100.0, 9.0
    times = [asked_s]
    while may_send(times[-1], send_until_s(asked_s, lease_s)):
        times.append(renew_at_s(times[-1], lease_s))
    assert len(times) - 2 >= 2
    assert renew_at_s(asked_s, lease_s) == pytest.approx(103.0)
    assert RENEW_AFTER * 2 < 1 - CLOCK_RATE_MARGIN


@SEEDED
@given(
    lease_s=st.floats(0.1, 3600),
    asking_s=st.floats(0, 30),
    rate=st.floats(1 - CLOCK_RATE_MARGIN + 0.001, 1 / (1 - CLOCK_RATE_MARGIN)),
    at_s=st.floats(0, 4000),
)
def test_two_holders_never_may_send_at_once(lease_s: float, asking_s: float, rate: float, at_s: float) -> None:
    """However long the asking took, whoever may still send holds a lease that the ledger gives to nobody else.

    As long as the holder's clock runs at least 95 parts while the ledger's runs 100.
    """
    asked_s = 50.0  # by the holder's clock; true time counts from there
    granted_at_s = asking_s  # true time when the ledger granted it, at the soonest when it was asked
    held = Held("a", 1, round((granted_at_s + lease_s) * 1_000_000))
    holders_clock_s = asked_s + at_s * rate
    if may_send(holders_clock_s, send_until_s(asked_s, lease_s)):
        assert not may_take(held, math.floor(at_s * 1_000_000))


def test_a_renewal_that_fails_is_tried_several_times_before_the_lease_is_over() -> None:
    """One that hangs is given up, and one that is refused is tried again, with time left for more."""
    lease_s = 6.0
    first_s = renew_at_s(0.0, lease_s)
    again_s = first_s + renewal_limit_s(lease_s) + retry_renewal_s(lease_s)
    assert may_send(again_s + retry_renewal_s(lease_s), send_until_s(0.0, lease_s))


@pytest.mark.parametrize(
    ("expires_us", "left", "bounded"),
    [(None, 1, None), (105, None, 105), (105, 9, 105), (105, 2, 102), (105, 0, 100)],
)
def test_a_request_expires_no_later_than_the_lease(
    expires_us: int | None, left: int | None, bounded: int | None
) -> None:
    """Where the venue honours an expiry and the route is lent for a time; an expiry is never made later."""
    assert bounded_us(expires_us, 100, left) == bounded


def test_what_is_left_of_a_lease_is_never_below_zero() -> None:
    """Where there is no end, there is nothing that could be left."""
    assert left_us(10.0, 12.5) == 2_500_000
    assert left_us(13.0, 12.5) == 0
    assert left_us(13.0, math.inf) is None


def test_a_holder_tells_its_node_and_its_process() -> None:
    """A process that is no node has no node's name; what is written can be read back."""
    assert holder_text("a", "process 7 on host") == "a, process 7 on host"
    assert node_of(holder_text("a", "process 7 on host")) == "a"
    assert node_of(holder_text(None, "process 7 on host")) is None


def test_a_lease_that_was_over_when_first_seen_is_no_measure_of_the_next_one() -> None:
    """Seen first long after its end, and then taken by another for 3 s: it is asked for at once, and the refusal tells."""
    first = looked(Awaited(), 50_000_000, 100.0)  # it ended 10 s ago, which nobody here can know
    again = looked(first, 63_000_000, 100.2)
    assert again.free_at_s <= 100.2
    told = looked(refused(2.8, 100.4), 63_000_000, 100.6)
    assert told.free_at_s == pytest.approx(103.2)
    assert looked(told, 64_000_000, 101.4).free_at_s == pytest.approx(104.2)
