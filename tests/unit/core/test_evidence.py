"""What a venue's words prove: every class of reply in every state, strangers under our id, and words that contradict."""

from decimal import Decimal
from typing import Any

import pytest
from core_kit import copies, in_state, intent, report, shown, trade, us

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.apply import advance
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.evidence import (
    changes_nothing,
    foreign_field,
    from_cancel_reply,
    from_lookup,
    from_report,
    from_submit_reply,
    from_venue_order,
    recovered,
    resurrected,
    was_unknown,
)
from onefill.core.lifecycle import ENDED, NEVER_SENT, WORKING, Status
from onefill.core.messages import ExecutionKind, VenueStatus
from onefill.core.order import Order, Terms
from onefill.core.values import OrderType, Side

LIVE = [VenueStatus.PENDING_NEW, VenueStatus.NEW, VenueStatus.PARTIALLY_FILLED, VenueStatus.FILLED]


def kinds(events: tuple[Event, ...]) -> list[str]:
    """Return the names of the events."""
    return [type(event).__name__ for event in events]


def after(before: Order, events: tuple[Event, ...]) -> Order:
    """Return the order after the events."""
    return advance(before, events, us(5))


# A reply to the copy under way: what it settles, and where it leads from each state that can await one.
SUBMIT_REPLIES = """
accepted   sending    accepted   new
accepted   uncertain  accepted   new
rejected   sending    rejected   rejected
rejected   uncertain  rejected   uncertain
too_late   sending    too_late   recorded
too_late   uncertain  too_late   uncertain
duplicate  sending    duplicate  uncertain
duplicate  uncertain  duplicate  uncertain
throttled  sending    throttled  recorded
throttled  uncertain  throttled  uncertain
not_sent   sending    not_sent   recorded
not_sent   uncertain  not_sent   uncertain
unknown    sending    unknown    uncertain
unknown    uncertain  unknown    uncertain
"""
REPLIES: dict[str, msg.SubmitReply] = {
    "accepted": msg.Accepted(shown()),
    "rejected": msg.Rejected("no funds"),
    "too_late": msg.TooLate("late"),
    "duplicate": msg.DuplicateId("seen"),
    "throttled": msg.Throttled("slow down", 1.5),
    "not_sent": msg.NotSent("refused connect"),
    "unknown": msg.Unknown("time-out"),
}


@pytest.mark.parametrize("row", [line for line in SUBMIT_REPLIES.splitlines() if line])
def test_a_reply_settles_its_copy_and_leads_where_the_table_says(row: str) -> None:
    """Each class of reply, to a first copy and to one beside an unknown copy, has the outcome and state of its row."""
    reply, status, outcome, expected = row.split()
    before = in_state(Status(status), copies=copies("~0" if status == "sending" else "?0 ~1"))
    number = len(before.copies)
    done = after(before, from_submit_reply(before, number, REPLIES[reply], us(5)))
    assert done.copies[-1].outcome == outcome
    assert done.status == expected
    assert (done.answer is not None) == (expected in {"new", "rejected"})


@pytest.mark.parametrize("reply", sorted(REPLIES))
@pytest.mark.parametrize("status", sorted(WORKING | ENDED))
def test_a_reply_after_better_news_leaves_the_state(status: Status, reply: str) -> None:
    """Once the stream has shown the order, a late reply to its copy settles the copy and moves nothing back."""
    before = in_state(status, copies=copies("~0"), venue_order_id="V1")
    done = after(before, from_submit_reply(before, 1, REPLIES[reply], us(5)))
    assert done.copies[0].outcome is not None
    if reply == "accepted" and status in NEVER_SENT | {Status.PENDING_NEW}:
        assert done.status is Status.NEW
    else:
        assert done.status is status


def test_only_a_rejection_or_the_order_itself_is_evidence() -> None:
    """Of all replies only an accepted order and a rejection end the uncertainty of a single copy."""
    decided = set()
    for name, reply in REPLIES.items():
        before = in_state(Status.SENDING)
        done = after(before, from_submit_reply(before, 1, reply, us(5)))
        if done.answer is not None:
            decided.add(name)
    assert decided == {"accepted", "rejected"}


@pytest.mark.parametrize(
    ("seconds", "pause_s"),
    [(0.0, 0), (1.5, 1.5), (-3.0, 0), (float("nan"), 0), (float("inf"), 86_400), (1e300, 86_400), (86_401.0, 86_400)],
)
def test_a_pause_that_a_venue_asks_for_is_kept_within_reason(seconds: float, pause_s: float) -> None:
    """The wanted pause counts from now; a nonsensical one neither breaks anything nor lasts longer than a day."""
    (settled,) = from_submit_reply(in_state(Status.SENDING), 1, msg.Throttled("slow", seconds), us(5))
    assert isinstance(settled, ev.CopySettled)
    assert settled.retry_at_us == us(5 + pause_s)


@pytest.mark.parametrize(
    ("seen", "kind", "status"),
    [
        (VenueStatus.PENDING_NEW, "Acknowledged", Status.PENDING_NEW),
        (VenueStatus.NEW, "Acknowledged", Status.NEW),
        (VenueStatus.PARTIALLY_FILLED, "Acknowledged", Status.NEW),
        (VenueStatus.FILLED, "Acknowledged", Status.NEW),
        (VenueStatus.CANCELED, "Canceled", Status.CANCELED),
        (VenueStatus.EXPIRED, "Expired", Status.EXPIRED),
        (VenueStatus.REJECTED, "Rejected", Status.REJECTED),
    ],
)
def test_an_order_found_is_adopted_as_the_venue_shows_it(seen: VenueStatus, kind: str, status: Status) -> None:
    """A status query that finds the order adopts its state; executed quantity still comes from executions alone."""
    before = in_state(Status.UNCERTAIN)
    events = from_lookup(before, msg.Found(shown(status=seen, cum_quantity=Decimal(4))))
    done = after(before, events)
    assert kinds(events) == [kind]
    assert done.status is status
    assert done.cum_quantity == 0
    assert done.venue_cum_quantity == (0 if seen is VenueStatus.REJECTED else 4)
    assert done.venue_order_id == "V1"


@pytest.mark.parametrize("reply", [msg.NotFound("none"), msg.Unknown("time-out")])
@pytest.mark.parametrize("status", list(Status))
def test_not_finding_an_order_proves_nothing_by_itself(status: Status, reply: msg.LookupReply) -> None:
    """A query without an order, or without an answer, makes no event in any state."""
    assert from_lookup(in_state(status), reply) == ()


FOREIGN: dict[str, dict[str, Any]] = {
    "client order id": {"client_order_id": "C2"},
    "instrument": {"instrument": "ZINC"},
    "side": {"side": Side.SELL},
    "quantity": {"quantity": Decimal("10.5")},
    "order_type": {"order_type": OrderType.MARKET},
    "price": {"price": Decimal("25.51")},
}

AS_WANTED = Terms(0, "C1", Decimal(10), Decimal("25.50"))


@pytest.mark.parametrize("field", FOREIGN)
def test_each_field_tells_a_stranger_from_our_order(field: str) -> None:
    """An order under our id that differs in any one field is not ours, and the field is named."""
    assert foreign_field(in_state(Status.SENDING), shown(**FOREIGN[field]), AS_WANTED) == field


def test_a_number_spelt_otherwise_is_no_difference() -> None:
    """Trailing zeros do not make a stranger of our order."""
    same = shown(quantity=Decimal("10.000"), price=Decimal("25.5"))
    assert foreign_field(in_state(Status.SENDING), same, AS_WANTED) is None


def test_a_limit_order_shown_without_its_price_is_not_taken_for_ours() -> None:
    """A missing price is a difference: nothing is adopted in doubt."""
    assert foreign_field(in_state(Status.SENDING), shown(price=None), AS_WANTED) == "price"


@pytest.mark.parametrize("field", FOREIGN)
@pytest.mark.parametrize("status", [*LIVE, VenueStatus.CANCELED, VenueStatus.REJECTED])
def test_a_stranger_in_a_reply_parks_the_order(field: str, status: VenueStatus) -> None:
    """A reply that shows a stranger proves nothing about ours: it waits, uncertain and parked, with an anomaly."""
    before = in_state(Status.SENDING)
    done = after(before, from_submit_reply(before, 1, msg.Accepted(shown(status=status, **FOREIGN[field])), us(5)))
    assert (done.status, done.parked, done.venue_order_id) == (Status.UNCERTAIN, True, None)
    assert done.anomaly is not None
    assert field in done.anomaly
    assert done.copies[0].outcome is CopyOutcome.UNKNOWN


@pytest.mark.parametrize("status", list(Status))
def test_a_stranger_never_changes_the_state_of_a_known_order(status: Status) -> None:
    """In every state a stranger found under our id leaves an anomaly and adopts nothing of the stranger."""
    before = in_state(status)
    done = after(before, from_lookup(before, msg.Found(shown(side=Side.SELL, status=VenueStatus.FILLED))))
    assert done.anomaly is not None
    assert done.venue_order_id is None
    if status in {Status.SENDING, Status.UNCERTAIN}:
        assert (done.status, done.parked) == (Status.UNCERTAIN, True)
    else:
        assert (done.status, done.parked) == (status, False)


def test_the_same_stranger_is_recorded_once() -> None:
    """Finding the same stranger again makes no further journal entry."""
    before = in_state(Status.UNCERTAIN)
    found = msg.Found(shown(side=Side.SELL))
    assert from_lookup(after(before, from_lookup(before, found)), found) == ()


@pytest.mark.parametrize("status", sorted((WORKING | ENDED) - NEVER_SENT - {Status.REJECTED, Status.PENDING_REPLACE}))
def test_a_second_order_under_our_id_is_told(status: Status) -> None:
    """Our id under another number of the venue means two orders: told by look-up and by stream, whatever its state.

    But for one that is being replaced, or was: a replace may give it another number (see test_replace_evidence).
    """
    before = in_state(status, venue_order_id="V1")
    provisional = status is Status.PENDING_NEW  # a number given before acceptance may still change
    for seen in (*LIVE, VenueStatus.CANCELED, VenueStatus.EXPIRED):
        events = from_lookup(before, msg.Found(shown(status=seen, venue_order_id="V2")))
        assert ("Anomaly" in kinds(events)) != provisional
    for kind in (ExecutionKind.NEW, ExecutionKind.CANCELED, ExecutionKind.EXPIRED):
        assert ("Anomaly" in kinds(from_report(before, report(kind, venue_order_id="V2")))) != provisional
    traded = from_report(before, trade(1, 1, venue_order_id="V2"))
    assert kinds(traded)[0] == "Traded"
    assert ("Anomaly" in kinds(traded)) != provisional


def test_two_orders_under_our_id_are_recorded_once_whichever_speaks() -> None:
    """Words of the one and of the other order by turns do not fill the journal with the same anomaly."""
    order = in_state(Status.CANCELED, venue_order_id="V1")
    for number in ("V2", "V1", "V2", "V1"):
        told = from_report(order, report(ExecutionKind.NEW, venue_order_id=number))
        fresh = not all(changes_nothing(order, event) for event in told)
        assert fresh == (number == "V2" and order.anomaly is None)
        if fresh:
            order = after(order, told)


@pytest.mark.parametrize("status", [Status.NEW, Status.PENDING_CANCEL])
def test_the_rejection_of_a_repeat_does_not_end_the_order(status: Status) -> None:
    """A rejection under another number than our order's is that of a repeated id: the order stands, with an anomaly."""
    before = in_state(status, venue_order_id="V1")
    told = report(ExecutionKind.REJECTED, venue_order_id="NONE", text="duplicate ClOrdID")
    assert after(before, from_report(before, told)).status is status
    same = report(ExecutionKind.REJECTED, venue_order_id="V1")
    assert after(before, from_report(before, same)).status is Status.REJECTED


@pytest.mark.parametrize("status", [Status.PARTIALLY_FILLED, Status.PENDING_CANCEL, Status.FILLED, Status.CANCELED])
def test_an_order_that_traded_cannot_become_rejected(status: Status) -> None:
    """A rejection of an order with executions is an anomaly, by whichever way it is told."""
    before = in_state(status, cum_quantity=Decimal(4), venue_order_id="V1")
    rejected = shown(status=VenueStatus.REJECTED)
    for events in (
        from_report(before, report(ExecutionKind.REJECTED)),
        from_lookup(before, msg.Found(rejected)),
        from_cancel_reply(
            in_state(Status.PENDING_CANCEL, cum_quantity=Decimal(4)), 1, msg.CancelRejected("r", rejected), us(5)
        ),
    ):
        assert "Rejected" not in kinds(events)
        assert "Anomaly" in kinds(events)
    assert after(before, from_lookup(before, msg.Found(rejected))).status is status


def test_an_order_rejected_in_reply_and_shown_live_is_told() -> None:
    """A venue that rejects an order and then shows it accepted leaves an anomaly: it may be live. Told once."""
    before = after(in_state(Status.SENDING), from_submit_reply(in_state(Status.SENDING), 1, msg.Rejected("no"), us(1)))
    assert before.status is Status.REJECTED
    for seen in (VenueStatus.NEW, VenueStatus.PARTIALLY_FILLED, VenueStatus.FILLED):
        found = msg.Found(shown(status=seen))
        events = resurrected(before, from_lookup(before, found))
        assert kinds(events) == ["Acknowledged", "Anomaly"]
        told = after(before, events)
        assert (told.status, told.answer) == (Status.REJECTED, before.answer)
        assert from_lookup(told, found) == ()


def test_late_news_of_an_order_that_the_venue_rejected_is_no_contradiction() -> None:
    """An acknowledgement older than the rejection, or a pending_new beside a rejecting reply, is no anomaly."""
    by_stream = in_state(Status.REJECTED, venue_order_id="V1")
    old = from_report(by_stream, report(ExecutionKind.NEW))
    assert resurrected(by_stream, old) == old
    assert all(changes_nothing(by_stream, event) for event in old)
    by_reply = in_state(Status.REJECTED)
    pending = from_report(by_reply, report(ExecutionKind.PENDING_NEW, status=VenueStatus.PENDING_NEW))
    assert resurrected(by_reply, pending) == pending
    assert all(changes_nothing(by_reply, event) for event in pending)


@pytest.mark.parametrize("status", sorted(NEVER_SENT))
@pytest.mark.parametrize("seen", [*LIVE, VenueStatus.CANCELED, VenueStatus.EXPIRED])
def test_an_order_held_for_unsent_that_is_found_is_adopted_and_told(status: Status, seen: VenueStatus) -> None:
    """The venue's order outranks what was concluded here; the contradiction is kept, and the answer stays."""
    before = advance(in_state(status), (ev.Anomaly("first"),), us(1))
    done = after(before, resurrected(before, from_lookup(before, msg.Found(shown(status=seen)))))
    assert done.status not in NEVER_SENT
    assert done.anomaly == f"the venue has an order that was {status} here"
    assert done.answer == before.answer


def test_a_copy_proven_absent_that_turns_up_is_told() -> None:
    """An order that appears after its absence was concluded means a wrong declaration: adopted, with an anomaly."""
    before = in_state(Status.RECORDED, copies=copies("x0"))
    by_stream = resurrected(before, from_report(before, report(ExecutionKind.NEW)))
    assert kinds(by_stream) == ["Acknowledged", "Anomaly"]
    assert kinds(from_report(before, trade(1, 1))) == ["Traded", "Anomaly"]
    unsent = in_state(Status.RECORDED, copies=copies("t0"))
    assert kinds(resurrected(unsent, from_report(unsent, report(ExecutionKind.NEW)))) == ["Acknowledged"]


@pytest.mark.parametrize("status", sorted(set(Status) - NEVER_SENT - {Status.REJECTED, Status.RECORDED}))
def test_news_of_other_orders_is_passed_on_as_it_is(status: Status) -> None:
    """Only orders held not to be there can be resurrected."""
    events = from_report(in_state(status), report(ExecutionKind.NEW))
    assert resurrected(in_state(status), events) is events


@pytest.mark.parametrize("status", list(Status))
def test_a_trade_counts_in_every_state(status: Status) -> None:
    """An execution of our order is applied whatever we thought of it; where it contradicts, an anomaly says so."""
    before = in_state(status)
    events = from_report(before, trade(3, 3))
    done = after(before, events)
    assert done.cum_quantity == 3
    assert ("Anomaly" in kinds(events)) == (status in NEVER_SENT | {Status.REJECTED})


@pytest.mark.parametrize(
    ("had", "quantity", "excess"), [(8, "3", "1"), (10, "0.5", "0.5"), (0, "10.000000001", "0.000000001")]
)
def test_an_overfill_counts_and_is_told(had: int, quantity: str, excess: str) -> None:
    """More executed than ordered is real exposure: it is applied, and the anomaly says how much too much."""
    before = in_state(Status.FILLED if had == 10 else Status.NEW, cum_quantity=Decimal(had))
    events = from_report(before, trade(quantity, 10))
    assert kinds(events) == ["Traded", "Anomaly"]
    done = after(before, events)
    assert done.cum_quantity == had + Decimal(quantity)
    assert done.anomaly == f"overfill: {excess} more than the order's quantity was executed"
    assert done.leaves_quantity == 0


def test_an_overfill_too_small_for_the_default_precision_is_seen() -> None:
    """The comparison is exact: one part in 10^38 too much is an overfill."""
    before = in_state(Status.PARTIALLY_FILLED, cum_quantity=Decimal("9" * 20), intent=intent(quantity=Decimal(10**20)))
    exact = from_report(before, trade("1", 0))
    assert kinds(exact) == ["Traded"]
    assert kinds(from_report(before, trade("1.0000000000000000001", 0))) == ["Traded", "Anomaly"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"last_quantity": None},
        {"last_price": None},
        {"last_quantity": Decimal(0)},
        {"last_quantity": Decimal(-1)},
        {"last_quantity": Decimal("NaN")},
        {"last_quantity": Decimal("Infinity")},
        {"last_price": Decimal("NaN")},
        {"last_price": Decimal("-Infinity")},
    ],
)
def test_a_trade_without_usable_numbers_is_not_applied(wrong: dict[str, Any]) -> None:
    """A trade without a finite price and a finite quantity above zero would poison the position: an anomaly instead."""
    assert kinds(from_report(in_state(Status.NEW), trade(1, 1, **wrong))) == ["Anomaly"]


@pytest.mark.parametrize("wrong", [{"instrument": "ZINC"}, {"side": Side.SELL}])
@pytest.mark.parametrize("kind", list(ExecutionKind))
def test_a_report_on_another_instrument_or_side_is_not_ours(kind: ExecutionKind, wrong: dict[str, Any]) -> None:
    """A report under our id that names another instrument or side changes nothing but the anomaly."""
    told = trade(1, 1, **wrong) if kind is ExecutionKind.TRADE else report(kind, **wrong)
    assert kinds(from_report(in_state(Status.NEW), told)) == ["Anomaly"]


# A reply to a cancel: what becomes of the cancel, and where it leads from pending_cancel.
CANCEL_REPLIES: list[tuple[msg.CancelReply, CopyOutcome, Status]] = [
    (msg.Canceled(shown(status=VenueStatus.CANCELED)), CopyOutcome.ACCEPTED, Status.CANCELED),
    (msg.Canceled(shown(status=VenueStatus.FILLED)), CopyOutcome.ACCEPTED, Status.PENDING_CANCEL),
    (msg.Canceled(shown(status=VenueStatus.NEW)), CopyOutcome.ACCEPTED, Status.PENDING_CANCEL),
    (msg.CancelRejected("too late"), CopyOutcome.REJECTED, Status.PENDING_CANCEL),
    (msg.CancelRejected("too late", shown(status=VenueStatus.CANCELED)), CopyOutcome.REJECTED, Status.CANCELED),
    (msg.CancelRejected("too late", shown(status=VenueStatus.EXPIRED)), CopyOutcome.REJECTED, Status.EXPIRED),
    (msg.CancelRejected("too late", shown(status=VenueStatus.NEW)), CopyOutcome.REJECTED, Status.PENDING_CANCEL),
    (msg.Throttled("slow", 1.0), CopyOutcome.THROTTLED, Status.PENDING_CANCEL),
    (msg.NotSent("refused connect"), CopyOutcome.NOT_SENT, Status.PENDING_CANCEL),
    (msg.Unknown("time-out"), CopyOutcome.UNKNOWN, Status.PENDING_CANCEL),
]


@pytest.mark.parametrize(("reply", "outcome", "status"), CANCEL_REPLIES)
def test_a_cancels_reply_settles_it_and_proves_what_it_shows(
    reply: msg.CancelReply, outcome: CopyOutcome, status: Status
) -> None:
    """Each class of reply settles the cancel; only an order shown as ended ends ours, and no refusal is final alone."""
    before = in_state(Status.PENDING_CANCEL)
    done = after(before, from_cancel_reply(before, 1, reply, us(5)))
    assert done.cancels[0].outcome is outcome
    assert done.status is status


@pytest.mark.parametrize("status", sorted(ENDED - NEVER_SENT))
@pytest.mark.parametrize("number", range(len(CANCEL_REPLIES)))
def test_a_cancels_reply_after_the_end_changes_no_state(status: Status, number: int) -> None:
    """A cancel answered after the order ended by other news settles the cancel and leaves the state."""
    before = in_state(status, cancels=copies("~1"), venue_order_id="V1")
    done = after(before, from_cancel_reply(before, 1, CANCEL_REPLIES[number][0], us(5)))
    assert done.status is status
    assert done.cancels[0].outcome is not None


@pytest.mark.parametrize("status", list(Status))
def test_every_report_can_be_taken_in_every_state(status: Status) -> None:
    """No report of any kind and status breaks an order in any state; what ended by a venue's word stays as it ended."""
    before = in_state(status, venue_order_id=None if status in NEVER_SENT else "V1")
    for kind in ExecutionKind:
        for seen in VenueStatus:
            told = trade(1, 1) if kind is ExecutionKind.TRADE else report(kind, status=seen)
            done = after(before, resurrected(before, from_report(before, told)))
            if status in ENDED - NEVER_SENT:
                assert done.status is status


@pytest.mark.parametrize("status", list(Status))
def test_a_repeated_report_changes_nothing(status: Status) -> None:
    """Taking in any report but a trade a second time needs no journal entry: the first left nothing to add."""
    for kind in set(ExecutionKind) - {ExecutionKind.TRADE}:
        before = in_state(status)
        told = report(kind, status=VenueStatus.PENDING_NEW if kind is ExecutionKind.PENDING_NEW else VenueStatus.NEW)
        once = after(before, resurrected(before, from_report(before, told)))
        again = resurrected(once, from_report(once, told))
        if kind is ExecutionKind.REJECTED and once.status is not Status.REJECTED:
            continue  # a rejection of what ended otherwise is kept each time
        assert all(changes_nothing(once, event) for event in again), (kind, again)


def test_a_higher_total_is_news_even_after_the_end() -> None:
    """A venue that counts more executed than before has told something: executions are still to come."""
    ended = in_state(Status.CANCELED, venue_order_id="V1")
    for event in (
        ev.Canceled(Source.LOOKUP, "V1", Decimal(4)),
        ev.Expired(Source.LOOKUP, "V1", Decimal(4)),
        ev.Acknowledged("V1", VenueStatus.NEW, Decimal(4), Source.LOOKUP),
    ):
        assert not changes_nothing(ended, event)
        assert not advance(ended, (event,), us(1)).closed


def test_what_changes_the_order_is_never_called_idle() -> None:
    """Trades, claims and outcomes always need a journal entry."""
    for event in (
        ev.Traded("E1", Decimal(1), Decimal(1), "V1", Decimal(1)),
        ev.CopySettled(1, CopyOutcome.ACCEPTED, ""),
        ev.OutcomeUnknown(1, ""),
        ev.Claimed(2, None),
    ):
        assert not any(changes_nothing(in_state(status), event) for status in Status)


@pytest.mark.parametrize(("text", "expected"), [("~0", "uncertain"), ("?0 ~1", "uncertain"), ("n0 ~1", "uncertain")])
def test_a_claim_without_an_outcome_was_maybe_sent(text: str, expected: str) -> None:
    """After a crash a claim without an outcome means maybe sent, never not sent."""
    before = in_state(Status.UNCERTAIN if "?" in text else Status.SENDING, copies=copies(text))
    events = recovered(before)
    assert kinds(events) == ["OutcomeUnknown"]
    done = after(before, events)
    assert done.status == expected
    assert done.copies[-1].outcome is CopyOutcome.UNKNOWN
    assert recovered(done) == ()


@pytest.mark.parametrize("status", sorted(WORKING | ENDED))
def test_a_restart_moves_no_known_state(status: Status) -> None:
    """An order that evidence placed stays there over a restart; its open copies and cancels become unknown."""
    before = in_state(status, copies=copies("~0"), cancels=copies("n1 ~2"))
    done = after(before, recovered(before))
    assert done.status is status
    assert done.copies[0].outcome is CopyOutcome.UNKNOWN
    assert done.cancels[1].outcome is CopyOutcome.UNKNOWN
    assert done.cancels[0].outcome is CopyOutcome.NOT_SENT


def test_nothing_open_means_nothing_to_recover() -> None:
    """An order without open claims needs no journal entry at a restart."""
    assert recovered(in_state(Status.NEW)) == ()
    assert recovered(in_state(Status.UNCERTAIN)) == ()


def test_a_recorded_order_with_an_open_claim_is_a_defect() -> None:
    """The one state in which nothing is under way cannot hold an open claim."""
    with pytest.raises(InvariantBroken):
        recovered(in_state(Status.RECORDED, copies=copies("~0")))


@pytest.mark.parametrize("status", list(Status))
def test_finding_an_order_answers_a_question_only_while_there_is_one(status: Status) -> None:
    """Only an order whose first reply is awaited, or whose fate is uncertain, is an open question."""
    assert was_unknown(in_state(status)) == (status in {Status.SENDING, Status.UNCERTAIN})


def test_a_look_up_of_a_parked_order_that_finds_ours_frees_it() -> None:
    """Evidence moves a parked order: it is adopted and no longer parked."""
    before = in_state(Status.UNCERTAIN, parked=True)
    done = after(before, from_venue_order(before, shown(), Source.LOOKUP))
    assert (done.status, done.parked) == (Status.NEW, False)
