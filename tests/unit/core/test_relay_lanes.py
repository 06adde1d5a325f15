"""What a relay does next (promise TOLD-ONCE): order, completeness, the cursor, poison, and going on after it."""

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay_model import OUTCOMES, Model

from onefill.core.relay import TOLD, Gone, Invalid, Policy, Unavailable
from onefill.core.relay_lanes import Lanes, Stop

DOWN = Unavailable(reason="down")
SUSPECT = Unavailable(reason="500", suspect=True)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "read",
                "begin",
                "begin",
                "answer",
                "answer",
                "keep",
                "stop",
                "wait",
                "crash",
                "lost",
                "person",
                "half",
                "skip",
            ]
        ),
        st.integers(0, 3),
        st.lists(OUTCOMES, min_size=3, max_size=3),
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=14), STEPS)
def test_whatever_happens_everything_is_told_in_order(lanes: list[int], steps: list[tuple[str, int, Any]]) -> None:
    """TOLD-ONCE: with answers lost, calls failing, crashes between any two steps and people's words at any time, no event is
    taken before an earlier one of its order, the cursor is never beyond what was not taken, and in the end all are taken.
    """
    model = Model(lanes)
    for step, which, outcomes in steps:
        if step == "read":
            model.read()
        elif step == "begin":
            model.begin()
        elif step in ("answer", "lost") and model.under_way:
            batch = model.under_way[which % len(model.under_way)]
            model.answer(which, outcomes[: len(batch.messages)], heard=step == "answer")
            if step == "lost":
                model.start()
        elif step == "keep":
            model.keep()
        elif step == "stop":
            model.stop()
        elif step == "wait":
            model.now_s += (0.05, 0.3, 5.0, 60.0)[which]
        elif step == "half":
            model.keep(heard=False)  # the process dies between the commit and the knowledge of it
            model.start()
        elif step == "crash":
            model.start()
        elif step in ("person", "skip"):
            model.stop()
            model.person(skip=step == "skip")
    model.finish()


def _told(model: Model) -> list[int]:
    return [one.sequence for one in model.taken]


def _round(model: Model, outcome: Any = TOLD) -> None:
    while model.begin():
        pass
    while model.under_way:
        messages = model.under_way[0].messages
        model.answer(0, [outcome(one) if callable(outcome) else outcome for one in messages])


def test_a_lane_has_one_message_under_way() -> None:
    """Of one order the next event leaves only after the one before it was taken; others share the call."""
    model = Model([1, 1, 2, 1, 3], Policy(batch=10))
    model.read(10)
    assert model.begin()
    assert [one.sequence for one in model.under_way[0].messages] == [1, 3, 5]
    assert not model.begin()
    model.answer(0, [TOLD, TOLD, TOLD])
    assert model.begin()
    assert [one.sequence for one in model.under_way[0].messages] == [2]


def test_the_window_bounds_what_is_held() -> None:
    """A subscriber that takes nothing makes nobody read on: at most a window of entries is held, whatever the journal holds."""
    model = Model([1 + n % 3 for n in range(100)], Policy(window=8, batch=2))
    for _ in range(50):
        model.read(100)
        _round(model, DOWN)
        model.now_s += 60
    assert model.lanes.read_through == 8
    assert model.lanes.room == 0
    assert model.lanes.waiting == 8
    assert model.lanes.oldest_us == 10


def test_entries_nobody_wants_do_not_fill_the_window() -> None:
    """What a filter leaves out takes no room, and the cursor moves through it."""
    model = Model([-1] * 50 + [1], Policy(window=2))
    for _ in range(26):
        model.read(2)
    assert model.lanes.read_through == 51
    assert model.lanes.told_through == 50
    model.finish()


def test_an_unreachable_subscriber_stops_no_order() -> None:
    """While nothing at all is taken, failures count against no event, however many there are; the pauses grow to a bound."""
    model = Model([1, 2], Policy(pause_s=1, longest_pause_s=8, suspect_tries=2))
    model.read()
    begun = []
    for _ in range(400):
        model.now_s += 0.25
        if model.begin():
            begun.append(model.now_s)
            model.answer(0, [SUSPECT] * len(model.lanes._lanes))
    assert not model.lanes.poisoned
    assert model.lanes.unavailable == "500"
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert pauses[:5] == [1, 2, 4, 8, 8]
    model.finish()
    assert model.lanes.unavailable is None


def test_a_refused_event_stops_its_own_order_alone() -> None:
    """A poison event is told as often as the policy says; then its order stops, in front of it, and all others go on."""
    model = Model([1, 2, 1, 2, 1], Policy(invalid_tries=3, window=100))
    model.read(100)
    tries = 0
    for _ in range(20):
        model.now_s += 60
        tries += sum(one.sequence == 3 for one in _heads(model))
        _round(model, lambda one: Invalid("no such account") if one.sequence == 3 else TOLD)
    assert tries == 3
    assert model.lanes.poisoned[1].tries == 3
    assert _told(model) == [1, 2, 4]
    model.stop()
    model.keep()
    assert (model.position, model.stopped) == (5, {1: Stop(1, 2, 7)})
    model.start()
    model.read(100)
    assert not model.begin(), "a stopped order is told after a start"
    model.finish()
    assert _told(model) == [1, 2, 4, 3, 5]


def _heads(model: Model) -> list[Any]:
    return [lane.messages[0] for number, lane in model.lanes._lanes.items() if number not in model.lanes.poisoned]


def test_one_that_fails_while_others_are_taken_is_poison_too() -> None:
    """An event that the subscriber breaks at counts as poison only through what is taken beside it."""
    model = Model([1] + [2] * 60, Policy(suspect_tries=4, window=100, batch=2))
    model.read(100)
    for _ in range(60):
        model.now_s += 60
        _round(model, lambda one: SUSPECT if one.lane == 1 else TOLD)
    assert model.lanes.poisoned[1].tries == 4
    assert len(_told(model)) == 60


def test_a_part_that_is_down_keeps_the_rest_going() -> None:
    """Where some messages are taken and others cannot be told, those are told again after a pause and count as nothing."""
    model = Model([1] + [2] * 30, Policy(window=100, batch=2))
    model.read(100)
    for _ in range(40):
        model.now_s += 60
        _round(model, lambda one: DOWN if one.lane == 1 else TOLD)
    assert not model.lanes.poisoned
    assert len(_told(model)) == 30
    assert model.lanes.told_through == 0


def test_too_many_stopped_orders_are_the_subscribers_fault() -> None:
    """Beyond the bound nothing more is stopped: the subscriber is left alone, and asked again after the longest pause."""
    model = Model([1, 2, 3, 4], Policy(invalid_tries=1, most_stopped=2, window=100, longest_pause_s=30))
    model.read(100)
    _round(model, Invalid("no"))
    assert sorted(model.lanes.poisoned) == [1, 2]
    model.stop()
    assert "2 orders are stopped already" in (model.lanes.unavailable or "")
    model.now_s += 29
    assert not model.begin()
    model.now_s += 2
    _round(model)
    assert sorted(_told(model)) == [3, 4]
    model.finish()


def test_a_subscriber_that_is_gone_is_told_nothing() -> None:
    """After its word that it wants nothing more no call is begun; what it did not take is not passed over."""
    model = Model([1, 2, 3], Policy(batch=1, in_flight=1))
    model.read(100)
    model.begin()
    model.answer(0, [TOLD])
    model.begin()
    model.answer(0, [Gone("410 Gone")])
    model.now_s += 1e6
    assert not model.begin()
    assert model.lanes.due_s(model.now_s) is None
    assert model.lanes.gone == "410 Gone"
    model.keep()
    assert model.position == 1
    model.finish()
    assert _told(model) == [1, 2, 3]


def test_an_order_that_goes_on_waits_for_nobody_and_comes_before_what_is_new() -> None:
    """A lane that is let go on is told out of the ledger from where it stopped, and only then what is read anew."""
    model = Model([1, 1, 1, 2, 1], Policy(window=100))
    model.position, model.stopped = 4, {1: Stop(1, 1, 0)}
    model.taken = [model.journal[0], model.journal[3]]
    model.start()
    model.read(100)
    for _ in range(5):
        _round(model)
        model.read(100)
    assert _told(model) == [1, 4, 2, 3, 5]
    model.keep()
    assert (model.position, model.stopped) == (5, {})


def test_nothing_is_due_where_nothing_is_to_be_told() -> None:
    """Without messages there is no time to wait for; with some it is now, or when the pause ends."""
    model = Model([1], Policy(pause_s=2))
    assert model.lanes.due_s(5.0) is None
    model.read()
    assert model.lanes.due_s(5.0) == 5.0
    model.now_s = 5.0
    _round(model, DOWN)
    assert model.lanes.due_s(5.5) == 7.0
    assert Lanes(Policy(), 3).told_through == 3


def test_an_order_that_stops_again_before_it_was_freed_stays_stopped() -> None:
    """An order that had caught up and is refused anew, all before the ledger heard of the first, is stopped there."""
    model = Model([1, 1])
    model.position, model.stopped = 1, {1: Stop(1, 1, 0)}
    model.taken = [model.journal[0]]
    model.start()
    model.now_s = 1.0
    wants = model.lanes.wants()
    assert wants == (1, 1)
    model.lanes.feed(1, [(2, model.journal[1])])
    model.read()
    _round(model, Invalid("no"))
    model.stop()
    model.keep()
    assert model.stopped == {1: Stop(1, 1, 7)}
    model.finish()
