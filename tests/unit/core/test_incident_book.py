"""A route's open incidents in memory: what findings make of them, and what stands when a ledger refuses a change."""

from collections.abc import Iterable

import msgspec
from core_kit import accepted, in_state, us

from onefill.core import events as ev
from onefill.core import incident as incidents
from onefill.core.incident import MOST_EVIDENCE, Finding, Incident, IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.engine.incident_book import NOTHING, IncidentBook

KIND, SUBJECT = IncidentKind.STRANGER_EXECUTION, "A ACME"
_but = msgspec.structs.replace


def finding(*evidence: str, kind: IncidentKind = KIND, subject: str = SUBJECT) -> Finding:
    """Return something that was found."""
    return Finding(kind=kind, subject=subject, summary=f"about {subject}", evidence=evidence)


def noted(book: IncidentBook, *evidence: str, at: int = 1, **about: str) -> Incident:
    """Note one finding and return its incident as it is then."""
    changed, _ = book.note([finding(*evidence, **about)], us(at))  # type: ignore[arg-type]
    (one,) = changed
    return one


def numbers(found: Iterable[Incident]) -> list[tuple[int, int]]:
    """Return (number, version) of incidents."""
    return [(one.number, one.version) for one in found]


def live() -> Order:
    """Return an order that is new at the venue."""
    return accepted(in_state(Status.NEW, venue_order_id="V1"))


def test_a_finding_opens_an_incident_under_the_next_number() -> None:
    """Numbers go on from the highest that was ever given, and the journal's word has what the incident has."""
    book = IncidentBook("X")
    book.load([], 7)
    changed, told = book.note([finding("one")], us(3))
    assert numbers(changed) == [(8, 1)]
    assert told == (ev.IncidentOpened(8, KIND, SUBJECT, f"about {SUBJECT}", ("one",)),)
    assert book.open() == [*changed]
    assert book.get(KIND, SUBJECT) == book.numbered(8) == changed[0]
    assert book.numbered(9) is None
    assert changed[0].opened_at_us == us(3)


def test_the_same_again_adds_what_is_new_and_nothing_else() -> None:
    """More evidence makes a new version that tells only what is new; what is known makes nothing."""
    book = IncidentBook("X")
    noted(book, "one")
    assert book.note([finding("one")], us(2)) == NOTHING
    changed, told = book.note([finding("one", "two")], us(3))
    assert numbers(changed) == [(1, 2)]
    assert told == (ev.IncidentSeen(1, ("two",)),)


def test_two_findings_at_once_make_two_versions() -> None:
    """Of one subject they are versions one after the other, of two they are two incidents."""
    book = IncidentBook("X")
    changed, told = book.note([finding("one"), finding("two"), finding("three", subject="B ACME")], us(1))
    assert numbers(changed) == [(1, 1), (1, 2), (2, 1)]
    assert len(told) == 3
    assert numbers(book.open()) == [(1, 2), (2, 1)]


def test_evidence_is_bounded() -> None:
    """However many executions a stranger makes, an incident keeps its first lines and is then left alone."""
    book = IncidentBook("X")
    for n in range(3 * MOST_EVIDENCE):
        book.note([finding(f"line {n}")], us(n))
    (one,) = book.open()
    assert len(one.evidence) == one.version == MOST_EVIDENCE


def test_a_difference_that_goes_and_comes_back() -> None:
    """It converges once; that it came back is told although the evidence is the same."""
    book = IncidentBook("X")
    noted(book, "one")
    changed, told = book.converge(KIND, SUBJECT, us(5))
    assert told == (ev.IncidentConverged(1),)
    assert changed[0].converged_at_us == us(5)
    assert book.converge(KIND, SUBJECT, us(6)) == NOTHING
    assert book.converge(KIND, "another", us(6)) == NOTHING
    again, told = book.note([finding("one")], us(7))
    assert (numbers(again), again[0].converged_at_us) == ([(1, 3)], None)
    assert told == (ev.IncidentSeen(1, ()),)


def test_a_refused_change_leaves_what_is_durable() -> None:
    """What the ledger refused is not there: an incident that was new is gone, another as it was, and no number comes twice."""
    book = IncidentBook("X")
    first = noted(book, "one")
    book.committed([first])
    second = noted(book, "two")
    other = noted(book, "x", subject="B ACME")
    book.refused([second, other])
    assert book.open() == [first]
    assert noted(book, "x", subject="B ACME").number == 3


def test_what_was_opened_in_a_refused_change_and_kept_by_a_later_one_is_shown() -> None:
    """Two channels find the same; the change that opened the incident is refused, the one with more evidence is durable."""
    book = IncidentBook("X")
    first, second = noted(book, "by executions"), noted(book, "by drop_copy")
    book.refused([first])
    book.committed([second])
    assert book.open() == [second]
    assert book.get(*second.key) == second
    assert book.note([finding("by drop_copy")], us(9)) == NOTHING


def test_a_later_version_under_way_is_not_undone_by_an_earlier_commit() -> None:
    """Commits come in order; each makes durable what it carried, and memory stays ahead."""
    book = IncidentBook("X")
    first, second = noted(book, "one"), noted(book, "two")
    book.committed([first])
    assert book.open() == [second]
    assert book.without_snapshot() == [first]
    book.committed([second])
    book.committed([first])
    assert book.without_snapshot() == [second]


def test_a_closed_incident_stays_closed_whatever_was_under_way() -> None:
    """An earlier change that is durable only after a person closed the incident does not bring it back."""
    book = IncidentBook("X")
    first, second = noted(book, "one"), noted(book, "two")
    closed = incidents.resolved(second, "me", "seen", us(9), force=True)
    book.put(closed)
    assert book.open() == []
    book.committed([first])
    book.committed([second])
    assert book.open() == []
    book.committed([closed])
    assert book.open() == book.without_snapshot() == []
    assert noted(book, "one").number == 2


def test_what_opened_a_closed_incident_is_refused() -> None:
    """That the first of several changes was refused does not make the closing, which is under way, forgotten."""
    book = IncidentBook("X")
    first, second = noted(book, "one"), noted(book, "two")
    closed = incidents.resolved(second, "me", "seen", us(9), force=True)
    book.put(closed)
    book.refused([first])
    book.committed([second])
    book.committed([closed])
    assert book.open() == book.without_snapshot() == []


def test_a_closing_that_is_refused_leaves_it_open() -> None:
    """The ledger did not take a person's word: the incident is open, as it was."""
    book = IncidentBook("X")
    first = noted(book, "one")
    book.committed([first])
    closed = incidents.resolved(first, "me", "seen", us(9), force=True)
    book.put(closed)
    book.refused([closed])
    assert book.open() == [first]
    more = noted(book, "two")
    book.committed([more])
    assert book.open() == [more]


def test_what_is_put_is_as_somebody_changed_it() -> None:
    """A step of the runbook, say, is seen at once."""
    book = IncidentBook("X")
    changed = incidents.noted(noted(book, "one"), ("looked into",))
    book.put(changed)
    assert book.open() == [changed]


def test_load_takes_up_what_is_open() -> None:
    """After a restart the open ones are there, and whoever listens hears of what becomes durable."""
    before = IncidentBook("X")
    one = noted(before, "one")
    book, heard = IncidentBook("X"), []
    book.kept = lambda: heard.append(book.open())
    book.load([one], 4)
    assert book.open() == book.without_snapshot() == [one]
    assert noted(book, "x", subject="B ACME").number == 5
    book.committed([one])
    assert len(heard) == 1


def test_an_anomaly_of_an_order_is_an_incident_about_it() -> None:
    """Its evidence says what contradicts and how the order stood; another kind is another incident."""
    book = IncidentBook("X")
    order = live()
    overfill = ev.Anomaly("2 too many", IncidentKind.OVERFILL)
    changed, told = book.of_change(order, order, (overfill, ev.Anomaly("odd")), us(1))
    assert [(one.kind, one.subject) for one in changed] == [
        (IncidentKind.OVERFILL, order.client_order_id),
        (IncidentKind.CONTRADICTION, order.client_order_id),
    ]
    assert changed[0].evidence[0] == "2 too many"
    assert "V1" in changed[0].evidence[1]
    assert len(told) == 2


def test_an_order_that_waits_for_a_person_and_then_does_not() -> None:
    """Parked once it is one incident; when it waits no more, that converges, in the same change as a new anomaly."""
    book = IncidentBook("X")
    order = in_state(Status.UNCERTAIN)
    parked = _but(order, parked=True)
    changed, _ = book.of_change(order, parked, (ev.Parked("no step is left"),), us(1))
    assert numbers(changed) == [(1, 1)]
    assert book.of_change(parked, parked, (ev.Parked("no step is left"),), us(2)) == NOTHING
    changed, told = book.of_change(parked, order, (ev.Anomaly("odd"),), us(3))
    assert [type(one) for one in told] == [ev.IncidentOpened, ev.IncidentConverged]
    assert [one.kind for one in changed] == [IncidentKind.CONTRADICTION, IncidentKind.UNCERTAIN]
