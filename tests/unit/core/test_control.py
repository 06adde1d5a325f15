"""Control states: what shuts a route, what opens it, and who (promise FAIL-CLOSED)."""

import itertools
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import SEEDED, us
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import control as controls
from onefill.core.control import (
    ITSELF,
    TRIGGERS,
    Control,
    Readings,
    ReleaseRefused,
    State,
    Thresholds,
    calm,
    finding,
    frozen,
    holding,
    judge,
    moved,
    refusal,
    released,
    said,
    still_excused,
    takes_orders,
    takes_replace,
    worst,
)
from onefill.core.errors import InvalidField
from onefill.core.incident import IncidentKind

N, D, R, S = State.NORMAL, State.DEGRADED, State.DUP_RISK, State.SAFE
T = Thresholds()
WHO = {"by": "ann@desk", "reason": "looked at it"}


def at(state: State, **more: Any) -> Control:
    """Return a control state since noon."""
    return Control(state=state, since_us=us(0), reason="before", version=3, **more)


def seen(**readings: Any) -> Readings:
    """Return readings of a busy route on which nothing else is wrong."""
    return Readings(**({"sent": 100, "new_orders": 100, "calm_since_us": us(-1000)} | readings))


def test_states_are_ordered_from_open_to_shut() -> None:
    """The worst of several is the most shut; of none NORMAL."""
    assert [state.rank for state in (N, D, R, S)] == [0, 1, 2, 3]
    assert worst([D, S, R]) is S
    assert worst([]) is N


@pytest.mark.parametrize(
    ("state", "new", "reducing"), [(N, True, True), (D, True, True), (R, False, True), (S, False, False)]
)
def test_what_a_state_takes(state: State, new: bool, reducing: bool) -> None:
    """DUP_RISK takes what only reduces, SAFE nothing new."""
    assert takes_orders(state, reduces=False) is new
    assert takes_orders(state, reduces=True) is reducing


@pytest.mark.parametrize(
    ("quantity", "price", "in_dup_risk"), [(9, 100, True), (10, 100, False), (11, 100, False), (9, 101, False)]
)
def test_what_a_state_lets_be_replaced(quantity: int, price: int, in_dup_risk: bool) -> None:
    """In DUP_RISK only to a smaller quantity at the same price, in SAFE to nothing, otherwise to anything."""
    old, new = (Decimal(10), Decimal(100)), (Decimal(quantity), Decimal(price))
    assert [takes_replace(state, old, new) for state in (N, D, R, S)] == [True, True, in_dup_risk, False]


RULES: list[tuple[dict[str, Any], State | None, str]] = [
    ({}, None, ""),
    ({"ack_timeouts": 9}, None, ""),
    ({"ack_timeouts": 10}, D, "10.0% of the copies sent had no known outcome (limit 10.0%)"),
    ({"sent": 19, "ack_timeouts": 19}, None, ""),
    ({"sent": 20, "ack_timeouts": 20}, D, "100.0% of the copies sent"),
    ({"duplicates": 4, "new_orders": 10}, None, ""),
    ({"duplicates": 5, "new_orders": 250}, D, "2.0% of the new orders were refused as duplicates (limit 2.0%)"),
    ({"duplicates": 5, "new_orders": 251}, None, ""),
    ({"duplicates": 9}, D, "9.0% of the new orders"),
    ({"duplicates": 10}, R, "10.0% of the new orders were refused as duplicates (limit 10.0%)"),
    ({"reconnects": 5}, None, ""),
    ({"reconnects": 6}, D, "6 times the execution stream broke (limit 6)"),
    ({"ack_p99_us": 4_999_999}, None, ""),
    ({"ack_p99_us": 5_000_000}, D, "5.0 s is what 1 of 100 replies took or more (limit 5 s)"),
    ({"duplicates_grew": 3, "uncertain_grew": 2}, None, ""),
    ({"duplicates_grew": 2, "uncertain_grew": 3}, None, ""),
    ({"duplicates_grew": 3, "uncertain_grew": 3}, D, "3 more refused duplicates and uncertain orders alike"),
    ({"uncertain": 19}, None, ""),
    ({"uncertain": 20}, R, "20 orders of unknown fate have piled up (limit 20)"),
    ({"uncertain": 100}, S, "100 orders of unknown fate: the venue's state is too uncertain (limit 100)"),
    ({"breaks": 1, "oldest_break_s": 301}, R, "breaks do not converge: 1, the oldest for 301 s (limit 1)"),
    ({"oldest_break_s": 299}, None, ""),
    ({"two_orders": 1}, R, "1 ids under which the venue has two orders (limit 1)"),
    ({"anomalies": 4}, None, ""),
    ({"anomalies": 5}, R, "5 contradictions of the venue are open (limit 5)"),
    ({"id_collisions": 1}, R, "1 client order ids were already in use (limit 1)"),
    ({"holders": 1}, S, "a second holder of the route is suspected, by 1 sign"),
    ({"ledger": 2}, S, "the ledger is unstable, by 2 signs"),
    ({"holders": 1, "uncertain": 20, "ack_timeouts": 90}, S, "a second holder"),
    ({"uncertain": 20, "ack_timeouts": 90}, R, "20 orders of unknown fate"),
]


@pytest.mark.parametrize(("readings", "state", "reason"), RULES, ids=[str(rule[0]) for rule in RULES])
def test_what_shuts_a_route(readings: dict[str, Any], state: State | None, reason: str) -> None:
    """Each reading at its threshold and just below it; the worst of several decides, and says what was counted."""
    found = judge(at(N), seen(**readings), T, us(1))
    if state is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] is state
        assert found[1].startswith(reason)


@pytest.mark.parametrize(("readings", "state", "reason"), RULES, ids=[str(rule[0]) for rule in RULES])
def test_a_route_never_opens_because_less_is_wrong(readings: dict[str, Any], state: State | None, reason: str) -> None:
    """What asks for a less shut state, or the same, moves nothing; what asks for a more shut one does."""
    for before in (D, R, S):
        found = judge(at(before), seen(calm_since_us=None, **readings), T, us(1e6))
        shuts_more = state is not None and state.rank > before.rank
        assert (found is not None) is shuts_more


def test_without_automatic_only_people_move_a_route() -> None:
    """Whatever the readings are."""
    by_hand = Thresholds(automatic=False)
    assert judge(at(N), seen(holders=5), by_hand, us(1)) is None
    assert judge(at(D), seen(), by_hand, us(1e6)) is None


@pytest.mark.parametrize(
    ("readings", "quiet"),
    [
        ({}, True),
        ({"ack_timeouts": 3}, True),
        ({"ack_timeouts": 4}, False),
        ({"reconnects": 2}, True),
        ({"reconnects": 3}, False),
        ({"duplicates": 5, "new_orders": 1000}, True),
        ({"duplicates": 6, "new_orders": 1000}, False),
        ({"ack_p99_us": 2_000_000}, True),
        ({"ack_p99_us": 2_000_001}, False),
        ({"duplicates_grew": 2, "uncertain_grew": 9}, True),
        ({"duplicates_grew": 3, "uncertain_grew": 9}, False),
        ({"uncertain": 50}, True),
    ],
)
def test_degraded_is_left_at_lower_values_than_it_is_entered_at(readings: dict[str, Any], quiet: bool) -> None:
    """Calm is judged by what DEGRADED is left at; other states' readings are their own matter."""
    assert calm(seen(**readings), T) is quiet


@pytest.mark.parametrize(
    ("control", "calm_since_s", "now_s", "opens"),
    [
        (at(D), 0, 119.9, False),
        (at(D), 0, 120, True),
        (at(D), 50, 169.9, False),
        (at(D), 50, 170, True),
        (at(D), -500, 119.9, False),
        (at(D), None, 1e6, False),
        (at(D, held=True), -500, 1e6, False),
        (at(R), -500, 1e6, False),
        (at(S), -500, 1e6, False),
        (at(N), -500, 1e6, False),
        (at(D), 0, -1e6, False),
    ],
)
def test_degraded_ends_after_a_time_of_calm(
    control: Control, calm_since_s: float | None, now_s: float, opens: bool
) -> None:
    """``calm_s`` after the later of its beginning and of the last unrest, unless a person froze it; nothing else ends."""
    readings = seen(calm_since_us=None if calm_since_s is None else us(calm_since_s))
    found = judge(control, readings, T, us(now_s))
    assert found == ((N, "calm for 120 s") if opens else None)


def test_degraded_does_not_end_while_its_own_trigger_holds() -> None:
    """Even if calm was said to be since long ago."""
    assert judge(at(D), seen(ack_timeouts=50), T, us(1e6)) is None


def test_what_was_excused_shuts_the_route_again_only_once_it_is_more() -> None:
    """An excuse counts for states of things, not for what is counted in the window, and goes down with them."""
    control = at(D, excused={"uncertain": 25, "id_collisions": 9})
    assert judge(control, seen(uncertain=25, calm_since_us=None), T, us(1)) is None
    assert judge(control, seen(uncertain=26), T, us(1)) is not None
    assert judge(control, seen(id_collisions=1), T, us(1)) is not None
    less = still_excused(control, seen(uncertain=21))
    assert less.excused == {"uncertain": 21}
    assert still_excused(at(D), seen()).excused == {}
    assert still_excused(control, seen()).excused == {}


def test_a_move_keeps_what_was_excused_and_counts_versions() -> None:
    """The next version, with who, why and when."""
    now = moved(at(D, excused={"uncertain": 3}, held=True), R, "why", ITSELF, us(9))
    assert now == Control(
        state=R, since_us=us(9), reason="why", by=ITSELF, version=4, held=False, excused={"uncertain": 3}
    )


@pytest.mark.parametrize(
    ("control", "readings", "kind", "lines"),
    [
        (at(N), {}, None, 0),
        (at(D), {"ack_timeouts": 90}, None, 0),
        (at(R), {"uncertain": 20}, IncidentKind.CONTROL, 2),
        (at(R), {"uncertain": 20, "two_orders": 1}, IncidentKind.CONTROL, 3),
        (at(S), {"holders": 1}, IncidentKind.SPLIT_BRAIN, 2),
        (at(S), {"ledger": 1}, IncidentKind.LEDGER, 2),
        (at(S), {}, IncidentKind.CONTROL, 1),
        (msgspec.structs.replace(at(S), by="ann"), {"holders": 1}, IncidentKind.CONTROL, 2),
    ],
)
def test_a_move_into_dup_risk_or_safe_has_an_incident(
    control: Control, readings: dict[str, Any], kind: IncidentKind | None, lines: int
) -> None:
    """Of the kind that is its reason, with every trigger as evidence; a person's freeze is about control alone."""
    found = finding(control, seen(**readings), T)
    if kind is None:
        assert found is None
    else:
        assert found is not None
        assert (found.kind, found.subject, len(found.evidence)) == (kind, "", lines)
        assert found.summary == f"the route is {control.state.name}: before"


def test_every_trigger_can_be_said_and_names_real_thresholds() -> None:
    """Table and settings belong together; what a person does first is told of each."""
    for trigger in TRIGGERS:
        assert trigger.enter in T.__struct_fields__
        assert trigger.leave == "" or trigger.leave in T.__struct_fields__
        assert trigger.first
        assert said(trigger, seen(), T)
        assert (trigger.leave != "" or trigger.reading == "rising") is (trigger.state is D)
    assert not holding(at(N), seen(), T)


@pytest.mark.parametrize("who", [{"by": " "}, {"reason": ""}, {"by": "a\nb"}, {"reason": "x" * 501}])
def test_freeze_and_release_want_a_name_and_a_reason(who: dict[str, str]) -> None:
    """A line each, that says something."""
    by, reason = (WHO | who)["by"], (WHO | who)["reason"]
    with pytest.raises(InvalidField, match=f"^{next(iter(who))}: is to be a line of 1 to 500 characters"):
        frozen(at(N), "X", S, by, reason, us(1))
    with pytest.raises(InvalidField, match=f"^{next(iter(who))}: is to be a line of 1 to 500 characters"):
        released(at(S), "X", seen(), T, by, reason, us(1), force=True)


@pytest.mark.parametrize("before", [N, D, R, S])
@pytest.mark.parametrize("wanted", [N, D, R, S])
def test_a_freeze_never_opens(before: State, wanted: State) -> None:
    """To the same state it makes it a person's; to a less shut one it is refused."""
    if wanted is N or wanted.rank < before.rank:
        with pytest.raises(InvalidField, match="a freeze never opens anything"):
            frozen(at(before), "X", wanted, WHO["by"], WHO["reason"], us(1))
        return
    now = frozen(at(before), "X", wanted, WHO["by"], WHO["reason"], us(1))
    assert (now.state, now.held, now.by, now.reason, now.version) == (wanted, True, WHO["by"], WHO["reason"], 4)


def release(control: Control, *, force: bool = False, thresholds: Thresholds = T, **readings: Any) -> Control | None:
    """Release a route."""
    return released(control, "X", seen(**readings), thresholds, WHO["by"], WHO["reason"], us(1), force=force)


@pytest.mark.parametrize(("before", "after"), [(S, D), (R, D), (D, N)])
def test_a_release_leads_one_step_towards_normal(before: State, after: State) -> None:
    """From SAFE and DUP_RISK to DEGRADED, which then ends by itself; from DEGRADED to NORMAL. It is not held any more."""
    now = release(at(before, held=True))
    assert now is not None
    assert (now.state, now.held, now.by, now.reason) == (after, False, WHO["by"], WHO["reason"])


def test_a_release_of_an_open_route_changes_nothing() -> None:
    """It is safe to repeat."""
    assert release(at(N)) is None


@pytest.mark.parametrize(
    ("before", "readings", "first"),
    [
        (S, {"holders": 1}, "close them (`onefill incidents`)"),
        (S, {"uncertain": 20}, "onefill uncertain"),
        (R, {"id_collisions": 1}, "wait until it is out of the window"),
        (R, {"uncertain": 30, "breaks": 1}, "find out the fate of these orders"),
        (D, {"reconnects": 9}, "wait until it is out of the window"),
        (D, {"uncertain": 20}, "onefill resolve"),
    ],
)
def test_a_release_is_refused_while_what_shut_it_holds(before: State, readings: dict[str, Any], first: str) -> None:
    """Also what would only just shut it again. It says what, and what to do first; with force it is excused."""
    with pytest.raises(ReleaseRefused) as told:
        release(at(before), **readings)
    assert f"route 'X' stays {before.name}: " in str(told.value)
    assert first in str(told.value)
    assert "--force" in str(told.value)
    now = release(at(before), force=True, **readings)
    assert now is not None
    if "id_collisions" not in readings and "reconnects" not in readings:
        again = judge(now, seen(calm_since_us=None, **readings), T, us(2))
        assert again is None
        assert now.excused == readings


def test_a_release_is_not_refused_for_what_degraded_stands_for() -> None:
    """To DEGRADED it goes although acks are slow; and where the route does not move by itself nothing refuses."""
    now = release(at(S), ack_timeouts=90)
    assert now is not None
    assert now.state is D
    by_hand = release(at(S), thresholds=Thresholds(automatic=False), holders=1)
    assert by_hand is not None


def test_a_release_without_force_keeps_what_was_excused_before() -> None:
    """An earlier word still stands."""
    now = release(at(R, excused={"uncertain": 30}), uncertain=30)
    assert now is not None
    assert now.excused == {"uncertain": 30}


@pytest.mark.parametrize(("state", "allowed"), [(R, "cancels and what reduces"), (S, "cancels only")])
def test_a_refused_caller_is_told_all(state: State, allowed: str) -> None:
    """State, since when, why, by whom, what is allowed, that nothing happened, and the command that opens it."""
    text = refusal("ex:A", at(state), "2026-11-21 12:00:00 UTC")
    assert text.startswith(f"route 'ex:A' is {state.name} since 2026-11-21 12:00:00 UTC, put there by onefill: before.")
    assert allowed in text
    assert "nothing was recorded or sent" in text
    assert text.endswith('onefill release LEDGER ex:A --reason "..."')


@pytest.mark.parametrize(
    ("wrong", "field", "problem"),
    [
        ({"window_s": 0}, "window_s", "is not above zero"),
        ({"calm_s": -1}, "calm_s", "-1 is not a number from zero on"),
        ({"calm_s": float("nan")}, "calm_s", "nan is not a number from zero on"),
        ({"uncertain_risk": 0}, "uncertain_risk", "is not above zero"),
        ({"ack_timeout_share_enter": 1.5}, "ack_timeout_share_enter", "1.5 is more than 1"),
        ({"ack_timeout_share_leave": 0.1}, "ack_timeout_share_leave", "is not below ack_timeout_share_enter"),
        ({"reconnects_leave": 7}, "reconnects_leave", "is not below reconnects_enter"),
        ({"duplicate_share_risk": 0.01}, "duplicate_share_risk", "is below duplicate_share_enter"),
        ({"uncertain_safe": 5}, "uncertain_safe", "is below uncertain_risk"),
        ({"sample_s": 61}, "sample_s", "is longer than window_s"),
        ({"degraded_patience": 0.5}, "degraded_patience", "0.5 is below 1"),
    ],
)
def test_thresholds_that_cannot_work_are_refused(wrong: dict[str, Any], field: str, problem: str) -> None:
    """The field is named, with what is wrong about it."""
    with pytest.raises(InvalidField) as told:
        Thresholds(**wrong)
    assert told.value.field == field
    assert problem in told.value.problem


def test_a_threshold_to_leave_at_may_be_zero() -> None:
    """Then it takes complete silence."""
    assert not calm(seen(reconnects=1), Thresholds(reconnects_leave=0))


READINGS = st.builds(
    Readings,
    sent=st.integers(0, 60),
    new_orders=st.integers(0, 60),
    ack_timeouts=st.integers(0, 60),
    duplicates=st.integers(0, 12),
    duplicates_grew=st.integers(-5, 5),
    reconnects=st.integers(0, 8),
    ack_p99_us=st.sampled_from([0, 2_000_000, 3_000_000, 6_000_000]),
    id_collisions=st.sampled_from([0, 0, 0, 1]),
    uncertain=st.sampled_from([0, 0, 19, 20, 100]),
    uncertain_grew=st.integers(-5, 5),
    breaks=st.sampled_from([0, 0, 0, 1]),
    two_orders=st.sampled_from([0, 0, 0, 1]),
    anomalies=st.sampled_from([0, 0, 5]),
    holders=st.sampled_from([0, 0, 0, 1]),
    ledger=st.sampled_from([0, 0, 0, 1]),
)
STEPS = st.lists(st.tuples(READINGS, st.integers(1, 90)), min_size=1, max_size=60)


@SEEDED
@given(steps=STEPS, begin=st.sampled_from([N, D, R, S]))
def test_by_itself_a_route_only_shuts_but_for_degraded_and_never_flaps(
    steps: list[tuple[Readings, int]], begin: State
) -> None:
    """Over any course of readings: every move goes to a more shut state or from DEGRADED to NORMAL, and two returns to NORMAL
    are ``calm_s`` apart or more.
    """
    control, now_s, calm_since = at(begin), 0, None
    returns = []
    for readings, passes_s in steps:
        now_s += passes_s
        calm_since = (calm_since if calm_since is not None else us(now_s)) if calm(readings, T) else None
        move = judge(control, msgspec.structs.replace(readings, calm_since_us=calm_since), T, us(now_s))
        if move is None:
            continue
        if move[0].rank < control.state.rank:
            assert (control.state, move[0]) == (D, N)
            returns.append(now_s)
        control = moved(control, *move, ITSELF, us(now_s))
    assert all(later - earlier >= T.calm_s for earlier, later in itertools.pairwise(returns))


@SEEDED
@given(readings=READINGS, state=st.sampled_from([D, R, S]))
def test_what_was_forced_open_stays_open_while_nothing_gets_worse(readings: Readings, state: State) -> None:
    """Right after a forced release with its counting begun anew, the same state of things moves nothing."""
    now = released(at(state), "X", readings, T, WHO["by"], WHO["reason"], us(1), force=True)
    assert now is not None
    levels = {one.reading: getattr(readings, one.reading) for one in TRIGGERS if one.level}
    assert judge(now, Readings(**levels), T, us(2)) is None


def test_the_module_says_who_moves_it() -> None:
    """Machine and person are told apart by name."""
    assert Control().by == controls.ITSELF == "onefill"
