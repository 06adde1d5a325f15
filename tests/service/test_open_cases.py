"""What is said of an order that waits: which ones do, how urgent they are, and what the real contract would do next."""

from decimal import Decimal

import msgspec
import pytest

from onefill.core import events as ev
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities
from onefill.core.contract_words import VENUE_CLASSES
from onefill.core.events import CopyOutcome, Source
from onefill.core.intent import Intent
from onefill.core.messages import NotFound, VenueStatus
from onefill.core.order import Order
from onefill.core.query import looked_up
from onefill.core.values import Side
from onefill.service.uncertain import OpenCase, outlook, span, waits

SECOND_US = 1_000_000
NOON_US = 20_000 * 86_400 * SECOND_US + 43_200 * SECOND_US
INTENT = Intent(
    account="a", strategy="s", instrument="X", side=Side.BUY, quantity=Decimal(1), price=Decimal(100), venue="v:a"
)
HEARD = (
    ev.CopySettled(1, CopyOutcome.ACCEPTED, ""),
    ev.Acknowledged("X1", VenueStatus.NEW, Decimal(0), Source.REPLY),
)
LOST = (ev.OutcomeUnknown(1, "no reply"),)
REPLACE_LOST = (
    ev.ReplaceRecorded(1, "C1", Decimal(2), Decimal(100), NOON_US + 60 * SECOND_US, None),
    ev.ReplaceClaimed(1, None, NOON_US + 3 * SECOND_US),
    ev.ReplaceSettled(1, CopyOutcome.UNKNOWN, "no reply"),
)


def sent(*later: tuple[ev.Event, ...]) -> Order:
    """Return an order whose first copy was claimed at noon, to live for 30 s, after what came later."""
    until_us = NOON_US + 30 * SECOND_US
    order = Order(
        intent_id=1, key="k", client_order_id="C", intent=INTENT, recorded_at_us=NOON_US, valid_until_us=until_us
    )
    recorded = ev.Recorded("k", "C", msgspec.Raw(b"{}"), until_us)
    order = advance(order, (recorded, ev.Claimed(1, None, NOON_US + 3 * SECOND_US)), NOON_US)
    for events in later:
        order = advance(order, events, NOON_US + SECOND_US)
    return order


@pytest.mark.parametrize(
    ("later", "waiting"),
    [
        ((), True),
        ((LOST,), True),
        ((LOST, (ev.Parked("nobody knows"),)), True),
        ((HEARD,), False),
        ((HEARD, REPLACE_LOST), True),
        ((HEARD, REPLACE_LOST, (ev.ReplaceRefused("too late"),)), False),
        ((HEARD, (ev.CancelRecorded(None), ev.CancelClaimed(1))), True),
        ((HEARD, (ev.CancelRecorded(None), ev.CancelClaimed(1), ev.CancelSettled(1, CopyOutcome.UNKNOWN, ""))), True),
        ((LOST, HEARD[1:]), False),
        ((HEARD, (ev.Canceled(Source.STREAM, "X1", Decimal(0)),)), False),
    ],
)
def test_what_waits_is_what_has_an_open_question(later: tuple[tuple[ev.Event, ...], ...], waiting: bool) -> None:
    """A reply that is lost or awaited, a replace or cancel of unknown fate, or a person's decision; nothing that is settled."""
    assert waits(sent(*later)) is waiting


def test_a_reply_is_awaited_until_its_bytes_cannot_leave_any_more() -> None:
    """Before that it is no case for a person; after it, it is uncertain whether or not a gateway has said so."""
    case = OpenCase(order=sent(), history=[])
    until_us = NOON_US + 3 * SECOND_US
    assert case.awaited_until_us(NOON_US + SECOND_US) == until_us
    assert not case.open_to_a_person(NOON_US + SECOND_US)
    assert case.awaited_until_us(until_us) is None
    assert case.open_to_a_person(until_us)
    assert OpenCase(order=sent(LOST), history=[]).open_to_a_person(NOON_US + SECOND_US)


ASKS, LISTS = "asks for C", "lists the venue's orders and searches them for C"
PERSON = "leaves it for a person (maybe sent; not found, which this venue never makes conclusive)"
UNASKED = (
    "leaves it for a person (maybe sent; the venue cannot be asked, and another copy is not safe there, "
    "or not wanted any more)"
)
AGAIN = "sends it again with the same id, as copy 2"


@pytest.mark.parametrize(
    ("venue", "begins", "ends"),
    [
        ("ever, asked", ASKS, AGAIN),
        ("ever, not asked", AGAIN, AGAIN),
        ("open, asked, T", f"{ASKS}, again for ", f"holds it for absent, and {AGAIN}"),
        ("open, asked, no T", ASKS, PERSON),
        ("none, scan, no T", LISTS, PERSON),
        ("none, not asked", UNASKED, UNASKED),
    ],
)
def test_the_outlook_follows_the_contract_of_each_kind_of_venue(venue: str, begins: str, ends: str) -> None:
    """A lost reply 2 s ago: what is done first, and what it comes to if nothing new is shown."""
    said = outlook(sent(LOST), VENUE_CLASSES[venue], None, NOON_US + 2 * SECOND_US)
    assert said.startswith(begins)
    assert said.endswith(ends)


def test_an_awaited_reply_is_judged_as_after_a_restart() -> None:
    """A claim without an outcome means maybe sent: what is said is what a gateway that starts now would do."""
    for capabilities in VENUE_CLASSES.values():
        now_us = NOON_US + 5 * SECOND_US
        assert outlook(sent(), capabilities, None, now_us) == outlook(sent(LOST), capabilities, None, now_us)


def test_after_its_time_to_live_nothing_is_sent_again() -> None:
    """Whatever the venue would refuse: the words never speak of another copy then."""
    for capabilities in VENUE_CLASSES.values():
        assert "sends" not in outlook(sent(LOST), capabilities, None, NOON_US + 3600 * SECOND_US).replace(
            "sends nothing", ""
        )


def test_an_order_left_for_a_person_is_only_asked_for() -> None:
    """No words promise that anything is sent by itself; it is concluded where "not found" is evidence."""
    for capabilities in VENUE_CLASSES.values():
        said = outlook(sent(LOST, (ev.Parked("?"),)), capabilities, None, NOON_US + 3600 * SECOND_US)
        if capabilities.can_be_asked and capabilities.conclusive_after_s is not None:
            assert "holds it for absent, and ends it as never sent" in said
        else:
            assert said.endswith("evidence or a person moves it")
        assert "sends it" not in said


def test_a_venue_just_asked_in_vain_after_every_copy_died_is_evidence() -> None:
    """With the answer of now, the next step is the conclusion itself."""
    venue, order, now_us = VENUE_CLASSES["day, asked, T"], sent(LOST), NOON_US + 3600 * SECOND_US
    lookup = looked_up(order, "C", NotFound(""), None, asked_at_us=now_us, waited_us=None)
    assert outlook(order, venue, lookup, now_us).startswith("holds it for absent, and ends it as never sent")


def test_a_lost_replace_is_followed_too() -> None:
    """By its own id first; where a repeat is safe it is sent with the same ids."""
    said = outlook(sent(HEARD, REPLACE_LOST), VENUE_CLASSES["ever, asked"], None, NOON_US + 2 * SECOND_US)
    assert said == "asks for C1; if that tells nothing new: sends the replace with the same ids, as copy 2"


def test_when_not_found_becomes_conclusive_is_known_with_the_capabilities_only() -> None:
    """From the last moment at which bytes could leave, by the venue's own time; never where the venue never says."""
    case = OpenCase(order=sent(LOST), history=[])
    assert case.conclusive_from_us is None
    assert case.next_words(NOON_US) is None
    known = msgspec.structs.replace(case, capabilities=VENUE_CLASSES["day, asked, T"])
    assert known.conclusive_from_us == NOON_US + (3 + 60) * SECOND_US
    assert msgspec.structs.replace(case, capabilities=Capabilities()).conclusive_from_us is None


@pytest.mark.parametrize(
    ("us", "said"),
    [
        (0, "0.0 s"),
        (1_500_000, "1.5 s"),
        (150 * SECOND_US, "2 min"),
        (7300 * SECOND_US, "2 h"),
        (3 * 86_400 * SECOND_US, "3 days"),
    ],
)
def test_durations_are_said_in_the_largest_unit_that_fits(us: int, said: str) -> None:
    """At least two of a unit, so that little is lost."""
    assert span(us) == said
