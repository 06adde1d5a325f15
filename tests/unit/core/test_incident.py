"""Incidents: evidence without repeats, a runbook in its order, an end that somebody gives."""

import msgspec
import pytest

from onefill.core import incident as incidents
from onefill.core.errors import InvalidField
from onefill.core.incident import (
    MOST_EVIDENCE,
    MOST_LISTED,
    MOST_NOTES,
    STEPS,
    Finding,
    Incident,
    IncidentClosed,
    IncidentKind,
    Snapshot,
    Step,
    StepDone,
    StepOutOfTurn,
    StepsLeft,
)


def opened(**other: object) -> Incident:
    """Return an incident that has just opened."""
    found = Finding(kind=IncidentKind.POSITION, subject="A ACME", summary="differs", evidence=("a",))
    return msgspec.structs.replace(incidents.opened(found, "X", 3, 1_000_000), **other)


def done(step: Step) -> StepDone:
    """Return a step that was done."""
    return StepDone(step=step, at_us=2_000_000, by="ops", result="ok")


def test_what_adds_nothing_changes_nothing() -> None:
    """The same evidence again is no change; new evidence is, up to a bound; what had gone and is back is open again."""
    one = opened()
    again = Finding(kind=one.kind, subject=one.subject, summary="differs", evidence=("a",))
    assert incidents.seen_again(one, again) is None
    more = incidents.seen_again(one, msgspec.structs.replace(again, evidence=tuple(map(str, range(50)))))
    assert more is not None
    assert (len(more.evidence), more.seen, more.version) == (MOST_EVIDENCE, 2, 2)
    gone = incidents.converged(one, 5)
    assert gone is not None
    assert incidents.converged(gone, 6) is None
    back = incidents.seen_again(gone, again)
    assert back is not None
    assert back.converged_at_us is None


def test_what_people_did_has_room_of_its_own() -> None:
    """A note is kept beside full evidence, and notes have a bound too."""
    one = opened(evidence=tuple(map(str, range(MOST_EVIDENCE))))
    noted = incidents.noted(one, ("cancelled it",))
    assert noted.evidence[-1] == "cancelled it"
    assert noted.version == one.version + 1
    for _ in range(3):
        noted = incidents.noted(noted, ("x",) * 100)
    assert len(noted.evidence) == MOST_NOTES


def test_the_steps_are_done_in_their_order_once() -> None:
    """Any step but the next is refused, and so is every step once the incident is closed."""
    one = opened()
    for step in STEPS:
        for other in STEPS:
            if other is not step:
                with pytest.raises(StepOutOfTurn):
                    incidents.stepped(one, done(other))
        assert one.next_step is step
        one = incidents.stepped(one, done(step))
    assert one.next_step is None
    with pytest.raises(StepOutOfTurn, match="every step is done"):
        incidents.check_turn(one, Step.REPLAY)
    closed = incidents.resolved(one, "ops", "seen to", 9)
    with pytest.raises(IncidentClosed):
        incidents.stepped(closed, done(Step.FREEZE))
    with pytest.raises(IncidentClosed):
        incidents.resolved(closed, "ops", "again", 10)


@pytest.mark.parametrize("count", range(len(STEPS)))
def test_it_is_not_closed_with_steps_left_unless_forced(count: int) -> None:
    """The refusal names each step that is left; force closes it all the same."""
    one = opened()
    for step in STEPS[:count]:
        one = incidents.stepped(one, done(step))
    with pytest.raises(StepsLeft) as told:
        incidents.resolved(one, "ops", "seen to", 9)
    assert all(step in str(told.value) for step in STEPS[count:])
    assert not incidents.resolved(one, "ops", "seen to", 9, force=True).open


@pytest.mark.parametrize(("by", "reason", "field"), [(" ", "x", "by"), ("ops", "", "reason")])
def test_somebody_closes_it_for_a_reason(by: str, reason: str, field: str) -> None:
    """Neither may be missing, also with force."""
    with pytest.raises(InvalidField) as told:
        incidents.resolved(opened(), by, reason, 9, force=True)
    assert told.value.field == field


def test_a_snapshot_names_so_many_and_says_how_many_more() -> None:
    """What is kept of a thousand positions is bounded, and nothing is hidden."""
    lines = [str(n) for n in range(MOST_LISTED + 7)]
    assert incidents.listed(lines) == (*lines[:MOST_LISTED], "and 7 more")
    assert incidents.listed(lines[:3]) == ("0", "1", "2")
    kept = incidents.with_snapshot(opened(), Snapshot(at_us=1))
    assert (kept.version, kept.snapshot) == (2, Snapshot(at_us=1))
