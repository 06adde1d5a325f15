"""Orders moved by events: versions, answers, what cannot happen, and what each event leaves behind."""

import decimal
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import copies, in_state, intent, order, us

from onefill.core import events as ev
from onefill.core.answers import Answer, CancelAnswer, CancelResult, cancel_answer, unknown_key_answer
from onefill.core.apply import advance, apply
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Source
from onefill.core.lifecycle import ENDED, NEVER_SENT, UNANSWERED, WORKING, Status
from onefill.core.messages import VenueStatus


def acknowledged(status: VenueStatus = VenueStatus.NEW, cum: int = 0) -> ev.Acknowledged:
    """Return the venue's word that the order is there."""
    return ev.Acknowledged("V1", status, Decimal(cum), Source.REPLY)


def test_one_entry_raises_the_version_by_one_whatever_it_holds() -> None:
    """Several events in one journal entry are one step of the version."""
    before = in_state(Status.SENDING)
    after = advance(
        before, (ev.CopySettled(1, CopyOutcome.ACCEPTED, ""), acknowledged(), ev.CancelRecorded(None)), us(1)
    )
    assert after.version == before.version + 1
    assert after.cancel_wanted


@pytest.mark.parametrize("status", list(Status))
def test_an_answer_is_given_exactly_when_there_is_one(status: Status) -> None:
    """Recorded, sending, uncertain, pending_new and pending_cancel give none; every other state does, of that moment.

    Of pending_cancel alone nobody can say whether the venue ever accepted the order: see the next two tests.
    """
    after = advance(in_state(status), (ev.Anomaly("a"),), us(7))
    if status in {Status.RECORDED, Status.SENDING, Status.UNCERTAIN, Status.PENDING_NEW, Status.PENDING_CANCEL}:
        assert status in UNANSWERED
        assert after.answer is None
    else:
        assert after.answer is not None
        answer = msgspec.json.decode(after.answer, type=Answer)
        assert (answer.status, answer.answered_at_us, answer.client_order_id) == (status, us(7), "C1")
        assert answer.accepted == (status not in NEVER_SENT | {Status.REJECTED})


@pytest.mark.parametrize(
    "shows",
    [
        ev.Acknowledged("V1", VenueStatus.NEW, Decimal(0), Source.STREAM),
        ev.Acknowledged("V1", VenueStatus.FILLED, Decimal(10), Source.LOOKUP),
        ev.Traded("E1", Decimal(1), Decimal(1), "V1", Decimal(1)),
    ],
)
def test_an_order_that_was_accepted_while_it_is_to_be_cancelled_has_its_answer(shows: ev.Event) -> None:
    """Whoever submitted it is told that it was accepted as soon as the venue shows so, whatever becomes of the cancel."""
    pending = advance(in_state(Status.PENDING_NEW), (ev.CancelRecorded(None), ev.CancelClaimed(1)), us(1))
    assert pending.answer is None
    after = advance(pending, (shows,), us(2))
    assert after.answer is not None
    assert msgspec.json.decode(after.answer, type=Answer).status is Status.PENDING_CANCEL
    assert msgspec.json.decode(after.answer, type=Answer).accepted


@pytest.mark.parametrize(
    "says",
    [
        ev.CancelSettled(1, CopyOutcome.REJECTED, "r"),
        ev.Acknowledged("V1", VenueStatus.PENDING_NEW, Decimal(0), Source.STREAM),
    ],
)
def test_an_order_that_was_never_accepted_has_no_answer_while_it_is_to_be_cancelled(says: ev.Event) -> None:
    """Nothing but the venue's acceptance, or the end, answers the submit of an order that was pending."""
    pending = advance(in_state(Status.PENDING_NEW), (ev.CancelRecorded(None), ev.CancelClaimed(1)), us(1))
    assert advance(pending, (says,), us(2)).answer is None


def test_the_first_answer_stays() -> None:
    """What happens after the answer does not change a byte of it."""
    first = advance(in_state(Status.SENDING), (ev.CopySettled(1, CopyOutcome.ACCEPTED, ""), acknowledged()), us(1))
    traded = advance(first, (ev.Traded("E1", Decimal(10), Decimal(1), "V1", Decimal(10)),), us(2))
    assert traded.status is Status.FILLED
    assert traded.answer == first.answer


def test_the_answer_is_pinned() -> None:
    """The bytes of an answer for known values, so that an upgrade cannot spell a stored answer otherwise."""
    after = advance(in_state(Status.SENDING), (acknowledged(),), us(1))
    assert after.answer == (
        b'{"key":"k","account":"A","strategy":"momentum","venue":"sim","client_order_id":"C1","venue_order_id":"V1",'
        b'"status":"new","cum_quantity":"0","reason":null,"answered_at_us":1749988801000000}'
    )


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (order(), ev.Claimed(2, None)),
        (in_state(Status.UNCERTAIN), ev.Claimed(1, None)),
        (in_state(Status.SENDING), ev.CopySettled(2, CopyOutcome.NOT_SENT, "")),
        (in_state(Status.SENDING), ev.OutcomeUnknown(0, "")),
        (in_state(Status.NEW), ev.CancelClaimed(2)),
        (in_state(Status.NEW), ev.CancelSettled(1, CopyOutcome.UNKNOWN, "")),
        (in_state(Status.FILLED), ev.Parked("")),
        (in_state(Status.SENDING), ev.Parked("")),
        (in_state(Status.NEW), ev.ReplaceClaimed(1, None, None)),
        (in_state(Status.NEW), ev.ReplaceRecorded(2, "C1", Decimal(5), None, 0, None)),
        (in_state(Status.PENDING_REPLACE), ev.ReplaceRecorded(2, "C1", Decimal(5), None, 0, None)),
        (in_state(Status.PENDING_REPLACE), ev.ReplaceClaimed(1, None, None)),
        (in_state(Status.PENDING_REPLACE), ev.ReplaceClaimed(3, None, None)),
        (in_state(Status.PENDING_REPLACE), ev.ReplaceSettled(2, CopyOutcome.UNKNOWN, "")),
        (in_state(Status.NEW), ev.Replaced(Source.REPLY, "C1", "V1", Decimal(5), None, Decimal(0))),
        (in_state(Status.NEW, version=3), ev.Recorded("k", "C1", msgspec.Raw(b"{}"), 0)),
    ],
)
def test_what_cannot_happen_is_a_defect(before: Any, event: Any) -> None:
    """Copies out of turn, outcomes of copies never claimed, two replaces at once, parking what ended, recording twice."""
    with pytest.raises(InvariantBroken):
        apply(before, event, us(1))


@pytest.mark.parametrize("status", list(Status))
def test_what_is_open_can_be_parked(status: Status) -> None:
    """Any order whose fate a person may have to decide, also one at the venue whose replace is open, and no other."""
    if status in WORKING | {Status.UNCERTAIN, Status.RECORDED}:
        parked = apply(in_state(status), ev.Parked("why"), us(1))
        assert (parked.status, parked.parked, parked.reason) == (status, True, "why")
    else:
        with pytest.raises(InvariantBroken, match="is not parked"):
            apply(in_state(status), ev.Parked("why"), us(1))


def test_a_claim_counts_as_maybe_sent_until_its_outcome_is_known() -> None:
    """A copy without an outcome, or with an unknown one, is under way; every other outcome settles it."""
    for letter, under_way in {"~": 1, "?": 1, "n": 0, "t": 0, "l": 0, "d": 0, "r": 0, "a": 0, "x": 0}.items():
        assert len(order(copies=copies(f"{letter}0")).copies_under_way) == under_way


def test_absence_settles_every_copy_under_way_and_no_other() -> None:
    """Proof of absence turns unknown copies into absent ones and leaves answered ones as they are."""
    before = in_state(Status.UNCERTAIN, copies=copies("?0 n1 ?2 l3"))
    after = apply(before, ev.ProvenAbsent(us(9)), us(9))
    assert [copy.outcome for copy in after.copies] == [
        *(CopyOutcome.ABSENT, CopyOutcome.NOT_SENT, CopyOutcome.ABSENT, CopyOutcome.TOO_LATE)
    ]
    assert after.status is Status.RECORDED


def test_a_refusal_decides_once_no_other_copy_can_turn_up() -> None:
    """With one copy refused and one unknown the order is uncertain; when the other is proven absent it is rejected."""
    before = in_state(Status.UNCERTAIN, copies=copies("?0 ~1"))
    refused = advance(before, (ev.CopySettled(2, CopyOutcome.REJECTED, "no funds"),), us(1))
    assert refused.status is Status.UNCERTAIN
    assert refused.answer is None
    decided = advance(refused, (ev.ProvenAbsent(us(9)),), us(9))
    assert (decided.status, decided.reason) == (Status.REJECTED, "no funds")


def test_the_venues_total_never_falls() -> None:
    """A reply older than what the stream already told does not lower the venue's executed quantity."""
    later = apply(in_state(Status.SENDING), ev.Traded("E1", Decimal(4), Decimal(1), "V1", Decimal(4)), us(1))
    assert apply(later, acknowledged(cum=0), us(2)).venue_cum_quantity == 4


def test_evidence_ends_the_waiting_of_a_parked_order() -> None:
    """A parked order that the venue shows, rejects or cancels is no longer parked."""
    parked = in_state(Status.UNCERTAIN, parked=True)
    for event in (
        acknowledged(),
        ev.Rejected("r", Source.STREAM, "V1"),
        ev.Canceled(Source.STREAM, "V1", Decimal(0)),
        ev.Traded("E1", Decimal(1), Decimal(1), "V1", Decimal(1)),
    ):
        assert not advance(parked, (event,), us(1)).parked


def test_sums_of_executions_are_exact_in_any_decimal_context() -> None:
    """Executed and remaining quantity keep every digit, whatever precision the caller's program set for itself."""
    whole = intent(quantity=Decimal("100000000000000000000"))
    with decimal.localcontext(prec=5):
        after = in_state(Status.NEW, intent=whole)
        for number, quantity in enumerate(("99999999999999999999", "0.0000000000000000001"), 1):
            fill = ev.Traded(f"E{number}", Decimal(quantity), Decimal(1), "V1", Decimal(0))
            after = advance(after, (fill,), us(number))
        assert after.cum_quantity == Decimal("99999999999999999999.0000000000000000001")
        assert after.leaves_quantity == Decimal("0.9999999999999999999")
        assert after.status is Status.PARTIALLY_FILLED


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_wish_to_cancel_what_ended_changes_nothing(status: Status) -> None:
    """Recording a cancel of an order that ended does not leave it wanting one (promise CANCEL-QUIET)."""
    after = advance(in_state(status), (ev.CancelRecorded("op"),), us(1))
    assert (after.status, after.cancel_wanted) == (status, False)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (Status.CANCELED, CancelResult.CANCELED),
        (Status.FILLED, CancelResult.FILLED),
        (Status.REJECTED, CancelResult.ENDED),
        (Status.EXPIRED, CancelResult.ENDED),
        (Status.EXPIRED_UNSENT, CancelResult.NEVER_SENT),
        (Status.CANCELED_UNSENT, CancelResult.NEVER_SENT),
        (Status.NEW, CancelResult.REFUSED),
        (Status.PARTIALLY_FILLED, CancelResult.REFUSED),
    ],
)
def test_a_cancel_is_told_what_is_true_of_the_order(status: Status, result: CancelResult) -> None:
    """Each end has its word; only a cancel that ended the order says that it changed anything."""
    for changed in (True, False):
        told = msgspec.json.decode(cancel_answer(in_state(status), us(1), changed=changed), type=CancelAnswer)
        assert (told.result, told.status) == (result, status)
        assert told.changed == (changed and status in {Status.CANCELED, Status.CANCELED_UNSENT})


def test_a_cancel_of_an_unknown_key_says_so() -> None:
    """The answer names no order and claims no state."""
    told = msgspec.json.decode(unknown_key_answer("k", us(1)), type=CancelAnswer)
    assert (told.result, told.status, told.client_order_id, told.changed) == (
        CancelResult.UNKNOWN_KEY,
        None,
        None,
        False,
    )


# A rejected order is that of one copy: the venue decides about each by itself.
@pytest.mark.parametrize(
    ("status", "text", "left", "expected"),
    [
        (Status.SENDING, "~0", "r", Status.REJECTED),
        (Status.UNCERTAIN, "?0", "r", Status.REJECTED),
        (Status.UNCERTAIN, "?0 ?1", "r?", Status.UNCERTAIN),
        (Status.PENDING_NEW, "?0 a1", "?r", Status.UNCERTAIN),  # the accepted one is the one that the venue speaks of
        (Status.PENDING_NEW, "a0", "r", Status.REJECTED),
        (Status.NEW, "?0 a1", "?r", Status.UNCERTAIN),
        (Status.NEW, "n0 a1", "nr", Status.REJECTED),
        (Status.UNCERTAIN, "r0 ?1", "r?", Status.UNCERTAIN),  # known already
        (Status.RECORDED, "x0", "x", Status.REJECTED),  # none may be under way, and one was
    ],
)
def test_a_rejected_order_settles_one_copy_and_ends_only_what_no_other_can_make(
    status: Status, text: str, left: str, expected: Status
) -> None:
    """While another copy may have been taken, the order is uncertain, and the rejected one's number is not its number."""
    letters = {None: "~", CopyOutcome.UNKNOWN: "?", CopyOutcome.NOT_SENT: "n", CopyOutcome.ABSENT: "x"}
    letters |= {CopyOutcome.REJECTED: "r", CopyOutcome.ACCEPTED: "a"}
    before = in_state(status, copies=copies(text))
    after = advance(before, (ev.Rejected("no funds", Source.STREAM, "V1"),), us(2))
    became = [letters[copy.outcome] for copy in after.copies]
    assert sorted(became) == sorted(left)
    assert "a" not in text or "".join(became) == left, "the venue spoke of the one that it had accepted"
    assert (after.status, after.reason) == (expected, "no funds")
    assert after.venue_order_id == (None if expected is Status.UNCERTAIN else "V1")


def test_an_order_that_ended_takes_no_replace_in() -> None:
    """What shows a replace of an order that ended, and has none open, says nothing about it any more."""
    before = in_state(Status.CANCELED)
    after = apply(before, ev.Replaced(Source.REPLY, "C2", "V2", Decimal(5), None, Decimal(0)), us(1))
    assert after == before
