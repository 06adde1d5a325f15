"""An order against a venue that keeps its promises, over any way there and back: what is believed in the end is true.

The way loses, delays and repeats; the process crashes; clocks are set; somebody wants the order cancelled or replaced. The
venue (:mod:`core_venue`) does what its capabilities say and no more. Judged is what it holds, not what the contract says.
"""

from typing import Any

import core_driver
import pytest
from core_kit import SEEDED
from core_venue import Small
from hypothesis import given, settings
from hypothesis import strategies as st

from onefill.core import retry
from onefill.core.lifecycle import ENDED, NEVER_SENT, WORKING, Status
from onefill.core.messages import VenueStatus

scopes = st.sampled_from(["ever", "day", "open", "open", "none"])
looks = st.sampled_from(["lookup", "lookup", "scan", ""])
conclusive = st.sampled_from(["T5", "T5", ""])
styles = st.sampled_from(["keep", "new"])
FATES = [
    "ok",
    "ok",
    "reply lost",
    "reply lost",
    "lost",
    "late 2",
    "late 5",
    "late 7",
    "not sent",
    "throttled 1",
    "rejected",
]
fates = st.lists(st.sampled_from(FATES), min_size=1, max_size=6)
answers = st.lists(st.sampled_from(["ok", "ok", "failed"]), max_size=6)
times = st.sampled_from([0.01, 0.5, 2.0, 6.0, 40.0])
actions = st.lists(
    st.one_of(
        st.tuples(st.just("follow"), times),
        st.tuples(st.just("follow"), times),
        st.tuples(st.just("wait"), times),
        st.tuples(st.just("hear")),
        st.tuples(st.just("cancel")),
        st.tuples(st.just("replace"), st.sampled_from([3, 5, 8, 15])),
        st.tuples(st.just("replace, follow"), st.sampled_from([3, 5, 8, 15])),
        st.tuples(st.just("replace, follow"), st.sampled_from([3, 5, 8, 15])),
        st.tuples(st.just("fill"), st.sampled_from([1, 2, 4])),
        st.tuples(st.just("end"), st.sampled_from([VenueStatus.CANCELED, VenueStatus.EXPIRED])),
        st.tuples(st.just("trouble"), st.sampled_from([-4000.0, -3.0, 3.0, 4000.0])),
    ),
    min_size=2,
    max_size=12,
)


def act(small: Small, name: str, argument: Any, *, crashes: bool) -> None:
    """Let one thing happen."""
    now_s = small.driven.steady_us / 1_000_000
    match name:
        case "follow":
            small.follow(until_s=now_s + argument)
        case "wait":
            small.pass_time(argument)
        case "hear":
            small.hear()
        case "cancel":
            small.driven.want_cancel()
        case "trouble":
            small.driven.restart() if crashes else small.driven.set_clock(argument)
        case "replace" | "replace, follow":
            if small.order.replacement is None and small.order.status not in ENDED:
                small.driven.want_replace(argument, live_s=10)
            if name != "replace":
                small.follow(until_s=now_s + 1)
        case _:
            trade_or_end(small, name, argument)


def trade_or_end(small: Small, name: str, argument: Any) -> None:
    """Let something happen at the venue, if an order is live there."""
    for live in small.live:
        if name == "end":
            small.end(live, argument)
        elif live.status is not VenueStatus.PENDING_NEW:
            small.fill(min(argument, live.quantity - live.cum_quantity))


def calm_down(small: Small) -> None:
    """Let everything on its way arrive, and the venue answer everything from now on."""
    small.fates, small.answers = ["ok"], ["ok"]
    small.pass_time(30)
    for _ in range(8):
        small.hear()
        small.follow(until_s=small.driven.steady_us / 1_000_000 + 3600)
        small.pass_time(61)
        assert small.made <= 1, "two orders of one intent"


@settings(SEEDED, max_examples=700)
@given(scopes, looks, conclusive, styles, st.sampled_from(["", "", "e2"]), fates, answers, actions, st.booleans())
def test_what_is_believed_of_an_order_at_an_honest_venue_is_true(
    scope: str,
    look: str,
    t: str,
    style: str,
    expiry: str,
    on_the_way: list[str],
    queries: list[str],
    happens: list[tuple[Any, ...]],
    crashes: bool,
) -> None:
    """One order at most was made; what ended here is over there; what is live there is known here, with its true terms.

    Clocks are set only where requests bear no expiry: an expiry that a wrong clock stamps is another one than was meant.
    """
    small = Small(" ".join([scope, look, t, style, expiry]), *on_the_way)
    small.answers = [*queries, "ok"]
    for name, *argument in happens:
        if name == "trouble" and expiry and not crashes:
            continue
        act(small, name, *(argument or [None]), crashes=crashes)
        assert small.made <= 1, "two orders of one intent"
        assert len(small.live) <= 1
    calm_down(small)
    order = small.order
    if order.status in NEVER_SENT:
        assert small.made == 0, "called never sent, and it was"
    elif order.status in ENDED:
        assert not small.live, "called over, and it is live"
    if small.live and small.driven.capabilities.can_be_asked:
        (live,) = small.live
        assert order.status in WORKING, "live at the venue, and nobody here knows"
        if order.replacement is None:
            assert (order.live_id, order.quantity, order.price) == (live.client_order_id, live.quantity, live.price)
    assert order.cum_quantity == max((one.cum_quantity for one in small.orders), default=0)
    if small.driven.capabilities.can_be_asked and t:
        assert order.status in ENDED or small.live, "neither over nor live, though the venue could be asked"
        assert order.replacement is None, "a replace whose fate the venue knows is open"
        assert not order.parked or order.status in {Status.UNCERTAIN, Status.PENDING_NEW}


def test_a_careless_rule_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue counts: a contract that takes any venue for one that refuses repeats makes two orders here."""
    monkeypatch.setattr(core_driver, "check_step", lambda *_: None)
    monkeypatch.setattr(retry, "repeat_is_refused", lambda *_: True)
    small = Small("none lookup T5", "late 6", "ok").follow()
    small.pass_time(10)
    assert small.made == 2
