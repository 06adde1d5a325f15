"""The postmortem: every fact of the record on one page, and no text from outside can break it."""

import msgspec
import pytest

from onefill.core import events as ev
from onefill.core.audit import JournalEntry
from onefill.core.incident import STEPS, Incident, IncidentKind, Snapshot, Step, StepDone
from onefill.core.postmortem import MOST_LINES, Facts, document, escaped, span

S = 1_000_000
T0 = 1_750_000_000 * S


def entry(sequence: int, at_us: int, *events: object, intent_id: int | None = None) -> JournalEntry:
    """Return a journal entry of these events."""
    payload = msgspec.json.encode(events).decode()
    return JournalEntry(
        route="X",
        sequence=sequence,
        intent_id=intent_id,
        kind="",
        payload=payload,
        at_us=at_us,
        epoch=1,
        previous_hash=b"",
        hash=b"",
    )


INCIDENT = Incident(
    route="X",
    number=1,
    kind=IncidentKind.POSITION,
    subject="A ACME",
    opened_at_us=T0 + 90 * S,
    summary="the venue has 3, here are 2",
    evidence=("venue 3", "here 2"),
    first_seen_at_us=T0,
    snapshot=Snapshot(at_us=T0 + 91 * S, positions=("ACME 2",), venue_said="1 listed", offsets={"executions": 7}),
    steps=(StepDone(step=Step.FREEZE, at_us=T0 + 92 * S, by="ops", result="the route is safe"),),
    converged_at_us=T0 + 100 * S,
    resolved_at_us=T0 + 7290 * S,
    resolved_by="ops",
    resolution="a late fill",
)


def test_the_figures_follow_from_the_times() -> None:
    """Time to detect, to converge and to resolve, each from its two moments; what is missing is said to be."""
    text = document(Facts(incident=INCIDENT, written_at_us=T0))
    assert "| Time to detect (first seen to opened) | 90.000 s |" in text
    assert "| Time to converge (opened to the difference gone) | 10.000 s |" in text
    assert "| Time to resolve (opened to resolved) | 2.0 h |" in text
    young = msgspec.structs.replace(INCIDENT, first_seen_at_us=None, converged_at_us=None, resolved_at_us=None)
    assert document(Facts(incident=young, written_at_us=T0)).count("| not yet |") == 3
    assert span(5 * 86_400 * S) == "5.0 days"


def test_every_fact_has_its_place() -> None:
    """Timeline, executions, control moves, people and runbook are filled from the journal; cause and changes are left."""
    entries = (
        entry(4, T0, ev.RouteAcquired("process 1")),
        entry(5, T0 + S, ev.ControlMoved("safe", "normal", "odd", "ops")),
        entry(6, T0 + 2 * S, ev.IncidentStepped(1, Step.FREEZE, "ops", "the route is safe", False)),
        entry(7, T0 + 3 * S, ev.Resolved(ev.Verdict.NOT_SENT, "eve", "desk"), intent_id=9),
        entry(8, T0 + 4 * S, ev.IncidentSeen(1, ("more of it",))),
    )
    text = document(Facts(incident=INCIDENT, written_at_us=T0, entries=entries))
    parts = {part.split("\n", 1)[0]: part for part in text.split("\n## ")}
    assert "| 2025-06-15 15:06:41.000 | 5 |  | control moved: state safe" in parts["Timeline (UTC)"]
    assert "evidence more of it" in parts["Timeline (UTC)"]
    assert "normal to safe" in parts["Control states"]
    assert "| eve | order another: not\\_sent: desk |" in parts["Who did what"]
    assert parts["Runbook"].count("- [x]") == 1
    assert parts["Runbook"].count("- [ ]") == len(STEPS) - 1
    assert "To be written" in parts["Cause"]
    assert "timer, dedupe key, failover fencing" in parts["What changes"]
    assert "- executions: at 7" in parts["How things stood"]


def test_a_timeline_that_is_too_long_says_so() -> None:
    """The first lines are kept, and how many were left out is told."""
    entries = tuple(entry(n, T0 + n, ev.RouteAcquired("p")) for n in range(MOST_LINES + 5))
    text = document(Facts(incident=INCIDENT, written_at_us=T0, entries=entries, left_out=2))
    assert "7 more were left out" in text


HOSTILE = [
    "# Heading\n\n## Cause\n\nnothing happened",
    "x | y | z",
    "<script>alert(1)</script>",
    "[click](http://evil.example)",
    "![](http://evil.example/pixel.png)",
    "`code` *bold* _it_ ~~gone~~",
    "http://evil.example www.evil.example me@evil.example",
    "&lt;b&gt;",
    "a\r\n| --- |\x1b[31m\u202e\u2028b",
    "\\",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_stays_text(text: str) -> None:
    """In every place where it may stand it is on one line, and nothing in it marks, links, embeds or hides anything."""
    hostile = msgspec.structs.replace(
        INCIDENT, subject=text, summary=text, evidence=(text,), resolved_by=text, resolution=text
    )
    plain_page = document(Facts(incident=INCIDENT, written_at_us=T0))
    entries = (entry(4, T0, ev.RouteAcquired(text), ev.ControlMoved("safe", "normal", text, text)),)
    page = document(Facts(incident=hostile, written_at_us=T0, entries=entries))
    assert page.count("\n## ") == plain_page.count("\n## ")
    one = escaped(text)
    assert "\n" not in one
    assert all(char.isprintable() for char in one)
    bare = one.replace("\\\\", "")
    for mark in "`*_[]<>#|&@!":
        assert bare.count(mark) == bare.count("\\" + mark)
    assert "://" not in one
    for line in page.splitlines():
        if line.startswith("| "):
            cells = line.replace("\\\\", "").replace("\\|", "")
            assert cells.count("|") in {3, 4, 5, 6, 7, 8}
