"""What the gateway says it will do after a time-out is what the retry contract does, and it never makes two orders."""

from typing import Any

import msgspec
import pytest
from core_kit import SEEDED
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import contract_play, steps
from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.contract_play import Played, Situation, play, possible
from onefill.core.contract_words import SITUATIONS, VENUE_CLASSES, Told, after_time_out, situations, tell
from onefill.core.lifecycle import Status
from onefill.core.retry import next_step

BY_NAME = {one.name: one for one in SITUATIONS}
OPEN, NO_LOOKUP = VENUE_CLASSES["open, asked, T"], VENUE_CLASSES["none, not asked"]


def told(situation: str, venue: str) -> Told:
    """Return a situation at a kind of venue, told."""
    return tell(BY_NAME[situation], VENUE_CLASSES[venue])


@st.composite
def capabilities(draw: st.DrawFn) -> Capabilities:
    """Any venue. Its T covers its own request expiry, as T's meaning demands."""
    expiry_s = draw(st.none() | st.sampled_from([0.5, 2.0, 30.0]))
    conclusive_s = draw(st.none() | st.sampled_from([0.1, 5.0, 40.0]))
    if expiry_s is not None and conclusive_s is not None:
        conclusive_s += expiry_s
    return Capabilities(
        unique_scope=draw(st.sampled_from(list(UniqueScope))),
        duplicate_reply=draw(st.sampled_from(list(DuplicateReply))),
        lookup=draw(st.sampled_from(list(Lookup))),
        request_expiry_s=expiry_s,
        conclusive_after_s=conclusive_s,
        replace=draw(st.sampled_from(list(ReplaceStyle))),
    )


@given(st.sampled_from(SITUATIONS), capabilities())
@SEEDED
def test_no_situation_makes_two_orders_anywhere(situation: Situation, of: Capabilities) -> None:
    """Whatever a venue promises, it makes one order or none of an intent; and every situation can be told."""
    if possible(situation, of) is None:
        assert play(situation, of).orders <= 1
    words = tell(situation, of)
    assert words.short
    assert words.words


def test_a_careless_rule_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plays ask the real rules: a rule that resends at once makes two orders here, so the check above can fail."""

    def careless(order: Any, of: Capabilities, lookup: Any, now_us: int) -> steps.Step:
        if order.status is Status.UNCERTAIN:
            return steps.Send(len(order.copies) + 1, None)
        return next_step(order, of, lookup, now_us)

    assert play(BY_NAME["lost_found"], OPEN).orders == 1
    monkeypatch.setattr(contract_play, "next_step", careless)
    open_only = msgspec.structs.replace(OPEN, unique_scope=UniqueScope.NONE, duplicate_reply=DuplicateReply.ACCEPTS)
    assert play(BY_NAME["lost_found"], open_only).orders == 2


@pytest.mark.parametrize(
    ("situation", "venue", "short"),
    [
        ("lost_found", "ever, asked", "ask → adopt"),
        ("lost_found", "ever, not asked", "resend"),
        ("lost_found", "none, scan, no T", "scan → adopt"),
        ("lost_found", "none, not asked", "person"),
        ("lost_absent", "ever, asked", "ask → resend"),
        ("lost_absent", "day, asked, T", "ask → resend"),
        ("lost_absent", "open, asked, T", "ask… → absent → resend"),
        ("lost_absent", "open, asked, no T", "ask… → person"),
        ("lost_absent", "none, asked, T", "ask… → absent → end unsent"),
        ("lost_absent", "none, scan, no T", "scan… → person"),
        ("late", "open, asked, T", "ask… → adopt"),
        ("not_sent", "none, not asked", "resend (no connection) → resend"),
        ("throttled", "open, asked, T", "ask → resend"),
        ("throttled", "none, not asked", "resend"),
        ("too_late", "open, asked, T", "resend"),
        ("duplicate", "open, asked, T", "ask → adopt"),
        ("duplicate", "none, asked, T", "-"),
        ("duplicate_hidden", "ever, asked", "ask… → person"),
        ("rejected", "open, asked, T", "end"),
        ("cancel_found", "open, asked, T", "ask → adopt → cancel"),
        ("cancel_absent", "open, asked, T", "ask… → absent → end unsent"),
        ("expired", "open, asked, T", "ask… → absent → end unsent"),
        ("replace_done", "open, asked, T", "ask → adopt"),
        ("replace_undone", "open, asked, T", "ask → adopt → resend"),
    ],
)
def test_the_short_form_names_the_steps(situation: str, venue: str, short: str) -> None:
    """Each row against an expectation written separately."""
    assert told(situation, venue).short == short


def test_the_long_form_names_pauses_and_times() -> None:
    """When it asks, how often, when absence is certain, and that the id stays the same."""
    assert told("lost_absent", "open, asked, T").words == (
        "sends it: no reply; asks by id at 1 s: not found, again after 50 ms, 100 ms, 200 ms, … up to 5 s apart until "
        "17.35 s; at 17.35 s, with every copy dead, holds it for absent; sends it again with the same id at 17.35 s: accepted"
    )
    parked = told("lost_absent", "none, scan, no T").words
    assert parked.startswith(
        "sends it: no reply; lists open orders and fills and searches them at 1 s: not found, again"
    )
    assert parked.endswith("never makes conclusive); goes on listing, at most every 1 min")
    assert told("rejected", "none, not asked").words == "sends it: rejected, which is final"


@pytest.mark.parametrize("conclusive_s", [0.5, 3.0, 20.0, 160.0])
def test_absence_is_never_said_before_t(conclusive_s: float) -> None:
    """Counted from the claim where the request bears an expiry, from the last possible send elsewhere."""
    for expiry_s, last_send_s in ((0.25, 0.0), (None, 3.0)):
        of = msgspec.structs.replace(OPEN, request_expiry_s=expiry_s, conclusive_after_s=conclusive_s)
        played = play(BY_NAME["lost_absent"], of)
        said_at_s = next(move.at_s for move in played.moves if isinstance(move.step, steps.ConcludeAbsent))
        assert last_send_s + conclusive_s <= said_at_s <= last_send_s + conclusive_s + 5


@pytest.mark.parametrize(
    ("venue", "phrase"),
    [
        ("ever, asked", "ask first; not there: resend with the same id at once"),
        ("ever, not asked", "resend with the same id at once"),
        ("day, asked, T", "ask first; not there: resend with the same id at once"),
        ("open, asked, T", "ask first; absent only after 15 s, then resend with the same id"),
        ("open, asked, no T", "ask first; never resend; after 5 in vain a person decides"),
        ("none, scan, no T", "scan first; never resend; after 5 in vain a person decides"),
        ("none, not asked", "neither ask nor resend: a person decides"),
    ],
)
def test_one_phrase_says_what_follows_a_time_out(venue: str, phrase: str) -> None:
    """The same for every venue of a kind."""
    assert after_time_out(VENUE_CLASSES[venue]) == phrase


def test_a_play_that_outlasts_patience_is_cut_and_says_so() -> None:
    """A T of days is not played to its end; the phrase still names it."""
    patient = msgspec.structs.replace(OPEN, conclusive_after_s=864_000.0)
    played: Played = play(BY_NAME["lost_absent"], patient)
    assert played.cut
    assert tell(BY_NAME["lost_absent"], patient).words.endswith(", and so on")
    assert after_time_out(patient) == "ask first; absent only after 14400 min, then resend with the same id"


def test_what_cannot_happen_is_said_with_its_reason() -> None:
    """No duplicates where nothing is refused, no lateness without an expiry, no replace where there is none."""
    assert possible(BY_NAME["duplicate"], NO_LOOKUP) == "cannot happen: no id is ever refused there"
    assert possible(BY_NAME["too_late"], NO_LOOKUP) == "cannot happen: no expiry is honoured there"
    assert possible(BY_NAME["replace_done"], NO_LOOKUP) == "cannot happen: no replace there"
    assert all(possible(one, OPEN) is None for one in SITUATIONS)


def test_the_table_is_plain_data_and_complete() -> None:
    """A row for each situation, a cell for each venue, and all of it as JSON."""
    rows = situations()
    assert [row.name for row in rows] == list(BY_NAME)
    assert all(list(row.told) == list(VENUE_CLASSES) for row in rows)
    assert msgspec.json.decode(msgspec.json.encode(rows))[0]["told"]["ever, asked"]["orders"] == 1
