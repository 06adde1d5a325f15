"""A person's part: what somebody may say of an order whose fate no automatic step can find out, and what forbids it."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_driver import Driven
from core_kit import copies, in_state, order, replacing, shown, us
from core_tables import venue_of

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.answers import Answer
from onefill.core.apply import advance
from onefill.core.errors import ContradictsEvidence, InvalidField
from onefill.core.events import CopyOutcome, Event, Source, Verdict
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueOrder, VenueStatus
from onefill.core.order import Order
from onefill.core.resolution import Seen, adopt, ended, may_be_forgotten, not_sent
from onefill.core.values import Side

NO_ANSWER = Seen(msg.Unknown("time-out"), msg.Unknown("time-out"))
NOTHING = Seen(msg.NotFound("none"), msg.Listed(()))
ASKED = venue_of("open lookup T5 new")
LISTED = venue_of("open scan T5")
MUTE = venue_of("none")
LATER_US = us(1000)


def found(*shows: VenueOrder) -> Seen:
    """Return a venue that answers a query with the first of these, and lists all of them."""
    return Seen(msg.Found(shows[0]), msg.Listed(shows))


def listed(*shows: VenueOrder) -> Seen:
    """Return a venue that cannot be asked by id, and lists these."""
    return Seen(None, msg.Listed(shows))


def say_adopt(of: Order, seen: Seen, number: str = "V1", **texts: str) -> Order:
    """Return the order after somebody said: it is this one."""
    said = {"by": "ann", "reason": "saw it", **texts}
    return advance(of, adopt(of, seen, number, said["by"], said["reason"]), LATER_US)


def say_not_sent(of: Order, seen: Seen, venue: Any = ASKED, now_us: int = LATER_US) -> Order:
    """Return the order after somebody said: nothing of it is there."""
    return advance(of, not_sent(of, venue, seen, "ann", "asked the desk", now_us), LATER_US)


def uncertain(text: str = "?0", **changes: Any) -> Order:
    """Return an order that waits for a person."""
    return in_state(Status.UNCERTAIN, parked=True, copies=copies(text), **changes)


def vanished(**changes: Any) -> Order:
    """Return an order that the venue took in and does not show any more, which waits for a person."""
    return in_state(Status.PENDING_NEW, parked=True, venue_order_id="V1", **changes)


def test_both_verdicts_are_on_record_with_name_and_reason() -> None:
    """What a person said is the first event of the entry, in the person's own words, trimmed."""
    (said, *_) = adopt(uncertain(), found(shown()), "V1", " ann ", " saw it ")
    assert said == ev.Resolved(Verdict.ADOPT, "ann", "saw it", "V1")
    (said,) = not_sent(uncertain(), ASKED, NOTHING, "ann", "asked the desk", LATER_US)
    assert said == ev.Resolved(Verdict.NOT_SENT, "ann", "asked the desk", None)


@pytest.mark.parametrize("before", [uncertain(), vanished()])
@pytest.mark.parametrize("seen", [found(shown()), listed(shown()), listed(shown(client_order_id=""))])
def test_an_order_that_the_venue_shows_is_adopted_as_it_shows_it(before: Order, seen: Seen) -> None:
    """By query or by list, with our id or (where the venue shows none) without: it is at the venue, and its submit answered."""
    done = say_adopt(before, seen)
    assert (done.status, done.parked, done.venue_order_id) == (Status.NEW, False, "V1")
    assert done.answer is not None
    assert msgspec.json.decode(done.answer, type=Answer).accepted


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (VenueStatus.FILLED, Status.NEW),  # until its executions are in
        (VenueStatus.CANCELED, Status.CANCELED),
        (VenueStatus.EXPIRED, Status.EXPIRED),
        (VenueStatus.REJECTED, Status.REJECTED),
    ],
)
def test_an_adopted_order_is_what_the_venue_shows_not_what_somebody_hopes(
    status: VenueStatus, expected: Status
) -> None:
    """Whoever says "it is this one" accepts what became of it; executions still come from the stream alone."""
    done = say_adopt(uncertain(), found(shown(status=status, cum_quantity=Decimal(4))))
    assert done.status is expected
    assert done.cum_quantity == 0


def test_a_rejected_copy_is_not_the_order_while_another_copy_may_be() -> None:
    """Of two copies one shows as rejected: adopting that one would not answer the question, and saying not-sent may."""
    before = uncertain("?0 ?1")
    seen = found(shown(status=VenueStatus.REJECTED))
    with pytest.raises(ContradictsEvidence, match="was rejected"):
        say_adopt(before, seen)
    told = not_sent(before, venue_of("open lookup"), seen, "ann", "nothing there", LATER_US)
    assert advance(before, told, LATER_US).status is Status.CANCELED_UNSENT


@pytest.mark.parametrize(
    "seen", [NO_ANSWER, Seen(None, msg.Unknown("time-out")), Seen(msg.NotFound(""), msg.Unknown(""))]
)
def test_an_order_is_adopted_on_a_persons_word_alone_where_the_venue_cannot_say(seen: Seen) -> None:
    """Without an answer, or where nothing can be listed, the word counts; the source of what is believed is the person."""
    before = uncertain()
    events = adopt(before, seen, "V7", "ann", "from the broker's screen")
    assert events[1] == ev.Acknowledged("V7", VenueStatus.NEW, Decimal(0), Source.PERSON)
    done = advance(before, events, LATER_US)
    assert (done.status, done.venue_order_id) == (Status.NEW, "V7")


def test_nothing_of_it_is_there_ends_the_order_and_every_copy() -> None:
    """The order ends as never sent, nothing of it is ever sent again, and the reason names who said so."""
    done = say_not_sent(uncertain("?0 n1 ?2", cancel_wanted=True), NOTHING)
    assert (done.status, done.parked, done.cancel_wanted) == (Status.CANCELED_UNSENT, False, False)
    assert done.reason == "not sent, by ann: asked the desk"
    assert [copy.outcome for copy in done.copies] == [CopyOutcome.ABSENT, CopyOutcome.NOT_SENT, CopyOutcome.ABSENT]
    assert done.answer is not None
    assert not msgspec.json.decode(done.answer, type=Answer).accepted


def test_an_order_that_the_venue_took_in_and_forgot_can_be_called_not_sent() -> None:
    """A pending order that vanished was accepted in reply, which is no order there: the word ends it."""
    done = say_not_sent(vanished(copies=copies("a0")), NOTHING)
    assert done.status is Status.CANCELED_UNSENT


def test_an_order_held_for_not_sent_that_turns_up_is_adopted_and_told() -> None:
    """A person may be wrong: the venue's word outranks theirs, and the contradiction is kept."""
    driven = Driven(MUTE)
    driven.reply(msg.Unknown("time-out"))
    driven.perform(driven.next())
    driven.pass_time(100)
    driven.say_not_sent(NO_ANSWER)
    assert driven.status is Status.CANCELED_UNSENT
    assert driven.next() == steps.Rest()
    driven.see(msg.Found(shown()))
    assert driven.status is Status.NEW
    assert driven.order.anomaly == "the venue has an order that was canceled_unsent here"


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.UNCERTAIN, Status.PENDING_NEW}))
def test_an_order_whose_fate_is_known_is_nobodys_to_decide(status: Status) -> None:
    """Only an open question can be answered: the refusal says where the order stands, and it stays there."""
    before = in_state(status)
    for verdict in (
        lambda: adopt(before, found(shown()), "V1", "ann", "r"),
        lambda: not_sent(before, ASKED, NOTHING, "ann", "r", LATER_US),
    ):
        with pytest.raises(ContradictsEvidence, match=f"its fate is known: it is {status}"):
            verdict()


@pytest.mark.parametrize("field", ["by", "reason"])
@pytest.mark.parametrize("text", ["", "   ", "two\nlines", "bell\x07", "x" * 501])
def test_a_word_without_name_or_reason_is_none(field: str, text: str) -> None:
    """Both texts are to say something, on one line: they are what an auditor will read."""
    with pytest.raises(InvalidField, match=field):
        say_adopt(uncertain(), found(shown()), **{field: text})
    texts = {"by": "ann", "reason": "r", field: text}
    with pytest.raises(InvalidField, match=field):
        not_sent(uncertain(), ASKED, NOTHING, texts["by"], texts["reason"], LATER_US)


def test_a_reason_may_fill_its_line() -> None:
    """500 characters are allowed."""
    assert say_adopt(uncertain(), found(shown()), reason="x" * 500).status is Status.NEW


def test_a_number_that_is_no_name_is_refused() -> None:
    """The venue's number is a name, not a line of text."""
    with pytest.raises(InvalidField, match="venue_order_id"):
        say_adopt(uncertain(), found(shown()), "two words")


REFUSED_ADOPTIONS: dict[str, tuple[Order, Seen, str, str]] = {
    "another number was given": (vanished(), NO_ANSWER, "V2", "the venue itself gave it the number V1"),
    "a list without it": (uncertain(), listed(shown(venue_order_id="V9")), "V1", "the venue lists no order V1"),
    "an empty list": (uncertain(), Seen(msg.Unknown(""), msg.Listed(())), "V1", "the venue lists no order V1"),
    "another one under its id": (
        uncertain(),
        Seen(msg.Found(shown(venue_order_id="V9")), msg.Unknown("")),
        "V1",
        "the venue shows another order under its id: V9",
    ),
    "another client order id": (uncertain(), listed(shown(client_order_id="C9")), "V1", "its client order id differs"),
    "another instrument": (uncertain(), found(shown(instrument="ZINC")), "V1", "its instrument differs"),
    "another side": (uncertain(), found(shown(side=Side.SELL)), "V1", "its side differs"),
    "another quantity": (uncertain(), found(shown(quantity=Decimal(9))), "V1", "its quantity differs"),
    "another price": (uncertain(), found(shown(price=Decimal(26))), "V1", "its price differs"),
    "no id and another side": (
        uncertain(),
        listed(shown(client_order_id="", side=Side.SELL)),
        "V1",
        "its side differs",
    ),
}


@pytest.mark.parametrize("case", REFUSED_ADOPTIONS)
def test_an_adoption_against_the_evidence_is_refused(case: str) -> None:
    """What the venue shows otherwise is not overruled by a person: the refusal names the evidence, and nothing changes."""
    before, seen, number, evidence = REFUSED_ADOPTIONS[case]
    with pytest.raises(ContradictsEvidence, match=evidence) as told:
        adopt(before, seen, number, "ann", "r")
    assert "stays as it is" in str(told.value)


REFUSED_DENIALS: dict[str, tuple[Order, Any, Seen, int, str]] = {
    "a copy was accepted": (uncertain("?0 a1"), ASKED, NOTHING, LATER_US, "the venue accepted a copy"),
    "its id was called a duplicate": (uncertain("?0 d1"), ASKED, NOTHING, LATER_US, "called its id a duplicate"),
    "it traded": (uncertain(cum_quantity=Decimal(1)), ASKED, NOTHING, LATER_US, "executions of it are known"),
    "the venue counted trades": (
        vanished(venue_cum_quantity=Decimal(1)),
        ASKED,
        NOTHING,
        LATER_US,
        "executions of it are known",
    ),
    "the venue shows it": (uncertain(), ASKED, found(shown()), LATER_US, "the venue shows it now, as V1"),
    "the venue lists it": (uncertain(), LISTED, listed(shown()), LATER_US, "the venue shows it now"),
    "not found, but listed": (
        uncertain(),
        ASKED,
        Seen(msg.NotFound(""), msg.Listed((shown(),))),
        LATER_US,
        "the venue shows it now",
    ),
    "no answer": (uncertain(), ASKED, NO_ANSWER, LATER_US, "could not be asked just now"),
    "no answer, yet a list": (
        uncertain(),
        ASKED,
        Seen(msg.Unknown(""), msg.Listed(())),
        LATER_US,
        "could not be asked just now",
    ),
    "no list": (uncertain(), LISTED, Seen(None, msg.Unknown("")), LATER_US, "could not be asked just now"),
    "not asked": (uncertain(), ASKED, Seen(None, msg.Listed(())), LATER_US, "could not be asked just now"),
    "a copy may come": (uncertain(), ASKED, NOTHING, us(6.5), "may still be under way, for another 0.5 s"),
    "a copy may leave": (uncertain(), MUTE, NO_ANSWER, us(1), "may still be under way, for another 1.0 s"),
    "one of several may come": (uncertain("?0 ?4"), ASKED, NOTHING, us(10), "for another 1.0 s"),
}


@pytest.mark.parametrize("case", REFUSED_DENIALS)
def test_a_denial_against_the_evidence_is_refused(case: str) -> None:
    """Nothing is called not sent that may be there or still come: the refusal names the evidence, and nothing changes."""
    before, venue, seen, now_us, evidence = REFUSED_DENIALS[case]
    with pytest.raises(ContradictsEvidence, match=evidence) as told:
        not_sent(before, venue, seen, "ann", "r", now_us)
    assert "stays as it is" in str(told.value)


@pytest.mark.parametrize(
    ("venue", "seen", "at"),
    [
        (ASKED, NOTHING, 7),
        (LISTED, listed(shown(client_order_id="C9")), 7),
        (
            LISTED,
            Seen(msg.Unknown("no such call"), msg.Listed(())),
            7,
        ),  # a venue that is only listed answered by its list
        (MUTE, NO_ANSWER, 2),  # nothing can be asked: the last bytes have left, and the rest is the person's to know
        (venue_of("open lookup"), NOTHING, 2),
        (venue_of("none e2 T5"), NO_ANSWER, 7),
    ],
)
def test_a_denial_counts_from_the_moment_nothing_speaks_against_it(venue: Any, seen: Seen, at: float) -> None:
    """It is taken once every copy is dead (or, where no T is known, has left), and not a microsecond before."""
    assert say_not_sent(uncertain(), seen, venue, us(at)).status is Status.CANCELED_UNSENT
    with pytest.raises(ContradictsEvidence, match="under way"):
        not_sent(uncertain(), venue, seen, "ann", "r", us(at) - 1)


def test_a_copy_that_bears_an_expiry_is_waited_for_until_its_bytes_have_left() -> None:
    """T counts from the claim there, but a denial also waits for the last moment at which the bytes can leave."""
    before = in_state(Status.UNCERTAIN, copies=copies("?0", expiry_s=1, leaves_s=9))
    venue = venue_of("open lookup e1 T5")
    with pytest.raises(ContradictsEvidence, match=r"for another 1\.0 s"):
        not_sent(before, venue, NOTHING, "ann", "r", us(8))
    assert say_not_sent(before, NOTHING, venue, us(9)).status is Status.CANCELED_UNSENT


def parked_replace(new_id: str = "C1", text: str = "?1", **changes: Any) -> Order:
    """Return an order whose replace to 5 under this id waits for a person."""
    return msgspec.structs.replace(replacing(text, client_order_id=new_id, **changes), parked=True)


def as_wanted(new_id: str = "C1", **changes: Any) -> VenueOrder:
    """Return the order as its replace would make it."""
    return shown(**{"client_order_id": new_id, "quantity": Decimal(5), **changes})


@pytest.mark.parametrize("verdict", ["adopt", "not_sent"])
def test_a_replace_is_nobodys_to_decide_before_it_waits_for_a_person(verdict: str) -> None:
    """While automatic steps are left, the order at the venue is known, and its replace is not for a person."""
    before = replacing("?1")
    say = {
        "adopt": lambda: say_adopt(before, found(as_wanted())),
        "not_sent": lambda: say_not_sent(before, found(shown())),
    }
    with pytest.raises(ContradictsEvidence, match="its fate is known: it is pending_replace"):
        say[verdict]()


@pytest.mark.parametrize("new_id", ["C1", "C2"])
@pytest.mark.parametrize(
    "seen", [lambda new: found(as_wanted(new)), lambda new: listed(as_wanted("")), lambda _: NO_ANSWER]
)
def test_a_replace_that_was_done_is_adopted(new_id: str, seen: Callable[[str], Seen]) -> None:
    """By query, by list without ids, or on the word alone: the order goes on with the wanted terms under that number."""
    done = say_adopt(parked_replace(new_id), seen(new_id))
    assert (done.status, done.parked, done.replacement) == (Status.NEW, False, None)
    assert (done.quantity, done.live_id, done.venue_order_id) == (5, new_id, "V1")
    assert [copy.number for copy in done.strays] == [1]


def test_a_replaced_order_that_ended_is_adopted_with_its_end() -> None:
    """The order that went on may be over by now."""
    done = say_adopt(
        parked_replace("C2"), found(as_wanted("C2", venue_order_id="V2", status=VenueStatus.CANCELED)), "V2"
    )
    assert (done.status, done.quantity) == (Status.CANCELED, 5)


@pytest.mark.parametrize(
    ("new_id", "shows", "evidence"),
    [
        ("C1", shown(), "its quantity differs"),
        ("C2", shown(), "its client order id differs"),
        ("C2", as_wanted("C2", price=Decimal(26)), "its price differs"),
        ("C2", as_wanted("C9"), "its client order id differs"),
        ("C2", as_wanted("C2", venue_order_id="V9"), "the venue lists no order V1"),
    ],
)
def test_a_replace_is_not_adopted_against_the_evidence(new_id: str, shows: VenueOrder, evidence: str) -> None:
    """What is adopted as the replaced order must be it by id and terms; the order as it was is said to be not replaced."""
    with pytest.raises(ContradictsEvidence, match=evidence):
        say_adopt(parked_replace(new_id), found(shows))


@pytest.mark.parametrize(
    ("new_id", "venue", "seen"),
    [
        ("C1", venue_of("open lookup T5 keep"), found(shown())),
        ("C1", venue_of("open lookup keep"), found(shown())),
        ("C1", venue_of("open keep"), NO_ANSWER),
        ("C2", ASKED, found(shown())),
        ("C2", ASKED, NOTHING),
        ("C2", LISTED, listed(shown())),
    ],
)
def test_a_replace_that_was_not_done_leaves_the_order_as_it_is(new_id: str, venue: Any, seen: Seen) -> None:
    """For a replace, "not sent" says: not replaced. The order goes on with the terms it had, and its copies are strays."""
    done = say_not_sent(parked_replace(new_id), seen, venue)
    assert (done.status, done.parked, done.replacement, done.quantity) == (Status.NEW, False, None, 10)
    assert (done.live_id, done.venue_order_id) == ("C1", "V1")
    assert done.reason == "not sent, by ann: asked the desk"
    assert [copy.number for copy in done.strays] == [1]


def test_an_order_that_is_over_and_was_not_replaced_ended_as_cancelled() -> None:
    """Its original is cancelled at the venue, and by a person's word nothing goes on in its place: that is an end."""
    before = parked_replace("C2", original_over=VenueStatus.CANCELED)
    done = say_not_sent(before, Seen(msg.NotFound("none"), msg.Listed(())))
    assert (done.status, done.replacement, done.quantity) == (Status.CANCELED, None, 10)


REFUSED_REPLACE_DENIALS: dict[str, tuple[Order, Any, Seen, int, str]] = {
    "the original is over as replaced": (
        parked_replace("C2", original_over=VenueStatus.REPLACED),
        ASKED,
        NOTHING,
        LATER_US,
        "the venue shows the order as replaced",
    ),
    "it is found under its new id": (
        parked_replace("C2"),
        ASKED,
        found(as_wanted("C2")),
        LATER_US,
        "shows the replace as done",
    ),
    "it is listed under its new id": (
        parked_replace("C2"),
        LISTED,
        listed(shown(), as_wanted("C2")),
        LATER_US,
        "shows the replace as done",
    ),
    "it has the wanted terms": (
        parked_replace(),
        venue_of("open lookup keep"),
        found(as_wanted()),
        LATER_US,
        "shows the replace as done",
    ),
    "no answer": (parked_replace("C2"), ASKED, NO_ANSWER, LATER_US, "could not be asked just now"),
    "a copy may come": (parked_replace("C2"), ASKED, found(shown()), us(7), "for another 1.0 s"),
    "a copy may leave": (parked_replace(), venue_of("open keep"), NO_ANSWER, us(2.5), "for another 0.5 s"),
}


@pytest.mark.parametrize("case", REFUSED_REPLACE_DENIALS)
def test_a_denial_of_a_replace_against_the_evidence_is_refused(case: str) -> None:
    """Nothing is called not replaced that was, or may still be: the refusal names the evidence, and nothing changes."""
    before, venue, seen, now_us, evidence = REFUSED_REPLACE_DENIALS[case]
    with pytest.raises(ContradictsEvidence, match=evidence):
        not_sent(before, venue, seen, "ann", "r", now_us)


@pytest.mark.parametrize(
    "events",
    [adopt(uncertain(), found(shown()), "V1", "a", "r"), not_sent(uncertain(), ASKED, NOTHING, "a", "r", LATER_US)],
)
def test_a_persons_word_survives_the_journal(events: tuple[Event, ...]) -> None:
    """What was said can be written and read back, so that the journal alone makes the order."""
    body = msgspec.json.encode(events)
    again = msgspec.json.decode(body, type=tuple[Event, ...])
    assert advance(uncertain(), again, LATER_US) == advance(uncertain(), events, LATER_US)


def test_the_refusal_names_the_order_and_the_evidence() -> None:
    """Key and evidence can be read by a program too."""
    with pytest.raises(ContradictsEvidence) as told:
        not_sent(order(key="K7"), ASKED, NOTHING, "ann", "r", LATER_US)
    assert (told.value.key, told.value.evidence) == ("K7", "its fate is known: it is recorded")


# --------------------------------------------------------- over, and shown no more

FORGETS = msgspec.structs.replace(ASKED, lookup_forgets_after_s=60.0)


def there(**changes: Any) -> Order:
    """Return an order that the venue accepted, live by what is known here."""
    fields: dict[str, Any] = {"copies": copies("a0"), "venue_order_id": "V1"}
    return in_state(changes.pop("status", Status.NEW), **(fields | changes))


@pytest.mark.parametrize("status", [Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_CANCEL])
@pytest.mark.parametrize(("venue", "seen"), [(FORGETS, NOTHING), (LISTED, NOTHING), (MUTE, NO_ANSWER)])
def test_an_order_that_ended_and_is_shown_no_more_is_ended(status: Status, venue: Any, seen: Seen) -> None:
    """It ends as cancelled, with what was executed, and with who said so and why; a cancel that is wished for is over."""
    executed = {"cum_quantity": Decimal(3), "venue_cum_quantity": Decimal(3)}
    before = there(status=status, cancels=copies("r1"), cancel_wanted=True, **executed)
    events = ended(before, venue, seen, " ann ", " seen in its history ", LATER_US)
    assert events[0] == ev.Resolved(Verdict.ENDED, "ann", "seen in its history", None)
    done = advance(before, events, LATER_US)
    assert (done.status, done.closed, done.cum_quantity, done.cancel_wanted) == (
        Status.CANCELED,
        True,
        Decimal(3),
        False,
    )
    assert done.reason == "ended, by ann: seen in its history"
    again = msgspec.json.decode(msgspec.json.encode(events), type=tuple[Event, ...])
    assert advance(before, again, LATER_US) == done


def test_what_trades_after_somebody_called_it_ended_still_counts() -> None:
    """An execution that turns up later is booked as on every order that is over."""
    done = advance(there(), ended(there(), FORGETS, NOTHING, "ann", "r", LATER_US), LATER_US)
    late = ev.Traded("E1", Decimal(2), Decimal(25), "V1", Decimal(2), LATER_US)
    assert advance(done, (late,), LATER_US).cum_quantity == Decimal(2)


REFUSED_ENDS: dict[str, tuple[Order, Any, Seen, int, str]] = {
    "its fate is open": (uncertain(), FORGETS, NOTHING, LATER_US, "it is uncertain, not live"),
    "it is over": (there(status=Status.CANCELED), FORGETS, NOTHING, LATER_US, "it is canceled, not live"),
    "it has no number": (there(venue_order_id=None), FORGETS, NOTHING, LATER_US, "it is new, not live"),
    "it is shown": (there(), FORGETS, found(shown()), LATER_US, "the venue shows it now, as V1, new"),
    "its number is listed": (there(), LISTED, listed(shown(client_order_id="")), LATER_US, "shows it now, as V1"),
    "it is shown as over": (
        there(),
        FORGETS,
        found(shown(status=VenueStatus.CANCELED)),
        LATER_US,
        "the venue shows it now, as V1, canceled",
    ),
    "more was executed": (
        there(venue_cum_quantity=Decimal(4), cum_quantity=Decimal(1)),
        FORGETS,
        NOTHING,
        LATER_US,
        "the venue counted 4 executed, and 1 are known here",
    ),
    "a cancel is under way": (
        there(status=Status.PENDING_CANCEL, cancels=copies("~0")),
        FORGETS,
        NOTHING,
        LATER_US,
        "the reply to a cancel is awaited",
    ),
    "nobody could be asked": (there(), FORGETS, NO_ANSWER, LATER_US, "could not be asked just now"),
    "it may not be seen yet": (there(), FORGETS, NOTHING, us(6), "may still be under way"),
    "a replace is open": (replacing("?1"), FORGETS, NOTHING, LATER_US, "not live|what became of its replace"),
}


@pytest.mark.parametrize("case", REFUSED_ENDS)
def test_an_end_against_the_evidence_is_refused(case: str) -> None:
    """Nothing is called over that shows, may trade or still come: the refusal names the evidence, and nothing changes."""
    before, venue, seen, now_us, evidence = REFUSED_ENDS[case]
    with pytest.raises(ContradictsEvidence, match=evidence):
        ended(before, venue, seen, "ann", "r", now_us)


def test_a_replaced_order_that_may_be_forgotten_is_adopted_though_it_is_not_listed() -> None:
    """That the venue lists it no more says nothing then. A number that is none of the venue's own is still refused."""
    before = parked_replace("C2")
    with pytest.raises(ContradictsEvidence, match="lists no order V2"):
        adopt(before, NOTHING, "V2", "ann", "r")
    done = advance(before, adopt(before, NOTHING, "V2", "ann", "r", forgotten=True), LATER_US)
    assert (done.status, done.venue_order_id, done.terms_number) == (Status.NEW, "V2", 1)
    with pytest.raises(ContradictsEvidence, match="lists no order V2"):
        adopt(uncertain(), NOTHING, "V2", "ann", "r", forgotten=True)
    assert may_be_forgotten(there(), FORGETS, us(60))
    assert not may_be_forgotten(there(), FORGETS, us(60) - 1)
    assert not may_be_forgotten(there(), ASKED, us(10**6))
