"""What a venue's words prove of a replace: replies, look-ups and reports, true, late, lost and crossing."""

from decimal import Decimal
from typing import Any

import pytest
from core_kit import copies, in_state, replacing, report, shown, trade, us

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.apply import advance
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.evidence import (
    from_lookup,
    from_replace_reply,
    from_report,
    from_venue_order,
    not_replaced,
)
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status
from onefill.core.messages import ExecutionKind, VenueOrder, VenueStatus
from onefill.core.order import Order, Terms

IDS = ["C1", "C2"]
"""The id under which the order goes on: the same, or one of its own."""


def kinds(events: tuple[Event, ...]) -> list[str]:
    """Return the names of the events."""
    return [type(event).__name__ for event in events]


def after(before: Order, events: tuple[Event, ...]) -> Order:
    """Return the order after the events."""
    return advance(before, events, us(5)) if events else before


def wanting(new_id: str = "C1", text: str = "?1", **changes: Any) -> Order:
    """Return the order V1 (C1, 10) whose replace to 5 under this id is open."""
    return replacing(text, client_order_id=new_id, **changes)


def new(new_id: str = "C1", **changes: Any) -> VenueOrder:
    """Return the order as its replace makes it: V2 if it has an id of its own."""
    number = "V1" if new_id == "C1" else "V2"
    return shown(**{"client_order_id": new_id, "venue_order_id": number, "quantity": Decimal(5), **changes})


def replaced(order: Order) -> bool:
    """Tell whether the order has the terms of its replace."""
    return order.in_force is not None and order.replacement is None


# A reply to the copy under way: what it settles, and where it leads from pending_replace.
REPLIES: dict[str, tuple[msg.ReplaceReply, CopyOutcome]] = {
    "too late": (msg.TooLate("late"), CopyOutcome.TOO_LATE),
    "throttled": (msg.Throttled("slow down", 1.5), CopyOutcome.THROTTLED),
    "not sent": (msg.NotSent("refused connect"), CopyOutcome.NOT_SENT),
    "unknown": (msg.Unknown("time-out"), CopyOutcome.UNKNOWN),
    "rejected": (msg.ReplaceRejected("market closed"), CopyOutcome.REJECTED),
    "rejected, and live": (msg.ReplaceRejected("market closed", shown()), CopyOutcome.REJECTED),
}


@pytest.mark.parametrize("new_id", IDS)
@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_that_replaced_nothing_settles_its_copy_alone(name: str, new_id: str) -> None:
    """Each class of reply but the order itself speaks of its copy only: the replace stays open until the contract judges."""
    reply, outcome = REPLIES[name]
    before = wanting(new_id, "~1")
    done = after(before, from_replace_reply(before, 1, reply, us(5)))
    assert done.status is Status.PENDING_REPLACE
    assert done.replacement is not None
    (copy,) = done.replacement.copies
    assert copy.outcome is outcome
    assert copy.retry_at_us == (us(6.5) if outcome is CopyOutcome.THROTTLED else None)


@pytest.mark.parametrize("new_id", IDS)
def test_a_reply_with_the_wanted_order_replaces_it(new_id: str) -> None:
    """The order goes on with the wanted terms, under the id and number that the venue shows."""
    before = wanting(new_id, "~1")
    done = after(before, from_replace_reply(before, 1, msg.Replaced(new(new_id)), us(5)))
    assert (done.status, done.quantity, done.live_id) == (Status.NEW, 5, new_id)
    assert done.venue_order_id == ("V1" if new_id == "C1" else "V2")
    assert done.in_force == Terms(1, new_id, Decimal(5), Decimal("25.50"))
    assert (done.replacement, done.strays) == (None, ())
    assert done.client_order_id == "C1"


@pytest.mark.parametrize("new_id", IDS)
def test_a_reply_that_says_replaced_and_shows_another_order_proves_nothing(new_id: str) -> None:
    """Neither the wanted terms nor those in force: the copy's fate is unknown, and somebody is told."""
    before = wanting(new_id, "~1")
    done = after(before, from_replace_reply(before, 1, msg.Replaced(new(new_id, quantity=Decimal(6))), us(5)))
    assert not replaced(done)
    assert done.replacement is not None
    assert done.replacement.copies[0].outcome is CopyOutcome.UNKNOWN
    assert done.anomaly is not None


@pytest.mark.parametrize("new_id", IDS)
def test_a_reply_that_says_replaced_and_shows_the_order_as_it_was_proves_nothing(new_id: str) -> None:
    """A venue that replies before it has done it is asked again: the copy may be under way."""
    before = wanting(new_id, "~1")
    events = from_replace_reply(before, 1, msg.Replaced(shown()), us(5))
    done = after(before, events)
    assert not replaced(done)
    assert done.replacement is not None
    assert done.replacement.copies[0].outcome is CopyOutcome.UNKNOWN
    assert done.anomaly is None


def test_the_reply_to_a_copy_whose_replace_is_over_moves_nothing() -> None:
    """A stray that is answered at last is settled, and forgotten; the replace that is open now is not touched."""
    before = replacing("?4", strays="?1 ?2")
    for reply in (msg.ReplaceRejected("r"), msg.Replaced(shown(quantity=Decimal(7))), msg.NotSent("r")):
        done = after(before, from_replace_reply(before, 1, reply, us(5)))
        assert [copy.number for copy in done.strays] == [2]
        assert done.replacement == before.replacement
        assert done.quantity == 10
    still = after(before, from_replace_reply(before, 1, msg.Unknown("r"), us(5)))
    assert [copy.number for copy in still.strays] == [1, 2]


@pytest.mark.parametrize("status", sorted(ENDED - NEVER_SENT))
@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_after_the_end_changes_no_state(status: Status, name: str) -> None:
    """An order that ended by other news stays ended, whatever the reply to its replace says."""
    before = in_state(status, venue_order_id="V1", strays=copies("~1"), replacements=1, replace_copies=1)
    for reply in (REPLIES[name][0], msg.Replaced(shown(quantity=Decimal(5)))):
        done = after(before, from_replace_reply(before, 1, reply, us(5)))
        assert done.status is status
        assert done.replacement is None


# What a query shows under one of the order's ids while a replace is open, and what that proves.
@pytest.mark.parametrize("new_id", IDS)
@pytest.mark.parametrize("seen", [VenueStatus.NEW, VenueStatus.PARTIALLY_FILLED, VenueStatus.FILLED])
def test_an_order_found_with_the_wanted_terms_is_replaced(new_id: str, seen: VenueStatus) -> None:
    """The venue shows what was wanted: done, whatever became of the reply; executions come from the stream alone."""
    before = wanting(new_id)
    done = after(before, from_lookup(before, msg.Found(new(new_id, status=seen, cum_quantity=Decimal(4)))))
    assert replaced(done)
    assert (done.quantity, done.live_id, done.cum_quantity, done.venue_cum_quantity) == (5, new_id, 0, 4)
    assert [copy.number for copy in done.strays] == [1]


@pytest.mark.parametrize("new_id", IDS)
@pytest.mark.parametrize(
    ("seen", "status"), [(VenueStatus.CANCELED, Status.CANCELED), (VenueStatus.EXPIRED, Status.EXPIRED)]
)
def test_an_order_that_was_replaced_and_ended_is_both(new_id: str, seen: VenueStatus, status: Status) -> None:
    """The wanted terms on a dead order say that it was replaced, and then ended."""
    before = wanting(new_id)
    done = after(before, from_lookup(before, msg.Found(new(new_id, status=seen))))
    assert (done.status, done.quantity, replaced(done)) == (status, 5, True)


def test_pending_under_the_new_id_is_no_proof_of_a_replace() -> None:
    """An order that the venue has not accepted yet may be refused, and then the original goes on: by query and by stream."""
    before = wanting("C2")
    assert from_lookup(before, msg.Found(new("C2", status=VenueStatus.PENDING_NEW))) == ()
    told = report(ExecutionKind.PENDING_NEW, client_order_id="C2", venue_order_id="V2", status=VenueStatus.PENDING_NEW)
    assert from_report(before, told) == ()


def test_pending_under_the_same_id_is_the_order_that_was_there() -> None:
    """Where the id stays, nothing new can be pending under it: the terms alone count."""
    before = wanting("C1")
    assert replaced(after(before, from_lookup(before, msg.Found(new(status=VenueStatus.PENDING_NEW)))))


@pytest.mark.parametrize("by_stream", [False, True])
def test_a_new_order_that_was_refused_settles_one_copy_and_leaves_the_original(by_stream: bool) -> None:
    """The refusal of the order that was to go on is no rejection of ours: the original is live, and may have to be found."""
    before = wanting("C2", "?1 ?2")

    def says(order: Order) -> tuple[Event, ...]:
        if by_stream:
            refused = report(ExecutionKind.REJECTED, client_order_id="C2", venue_order_id="V2", text="no funds")
            return from_report(order, refused)
        return from_lookup(order, msg.Found(new("C2", status=VenueStatus.REJECTED, reason="no funds")))

    done = after(before, says(before))
    assert done.status is Status.PENDING_REPLACE
    assert done.replacement is not None
    assert [copy.outcome for copy in done.replacement.copies] == [CopyOutcome.REJECTED, CopyOutcome.UNKNOWN]
    assert says(done) == (), "told once"
    settled = wanting("C2", "r1")
    assert says(settled) == ()


@pytest.mark.parametrize("seen", [VenueStatus.CANCELED, VenueStatus.REPLACED])
def test_an_original_that_is_over_leaves_open_whether_the_new_one_goes_on(seen: VenueStatus) -> None:
    """Where a replace gives another id, the end of the original is half of the news: the order is not called cancelled."""
    before = wanting("C2")
    events = from_lookup(before, msg.Found(shown(status=seen, cum_quantity=Decimal(4))))
    assert kinds(events) == ["Superseded"]
    done = after(before, events)
    assert done.status is Status.PENDING_REPLACE
    assert done.replacement is not None
    assert done.replacement.original_over is seen
    assert done.venue_cum_quantity == 4
    assert from_lookup(done, msg.Found(shown(status=seen, cum_quantity=Decimal(4)))) == (), "told once"
    assert from_lookup(done, msg.Found(shown(status=seen, cum_quantity=Decimal(5)))) != (), "a higher total is news"


def test_the_stream_says_the_same_of_an_original_that_is_over() -> None:
    """A CANCELED report of the original while a replace is open may be the replace's own."""
    before = wanting("C2")
    events = from_report(before, report(ExecutionKind.CANCELED, cum_quantity=Decimal(2)))
    assert events == (ev.Superseded(Source.STREAM, "V1", Decimal(2)),)
    assert after(before, events).status is Status.PENDING_REPLACE


def test_where_the_id_stays_a_cancelled_order_is_cancelled() -> None:
    """A replace under the same id ends nothing: the end is the order's own, and the replace came to nothing."""
    before = wanting("C1")
    for events in (
        from_lookup(before, msg.Found(shown(status=VenueStatus.CANCELED))),
        from_report(before, report(ExecutionKind.CANCELED)),
    ):
        done = after(before, events)
        assert (done.status, done.replacement, done.quantity) == (Status.CANCELED, None, 10)
        assert [copy.number for copy in done.strays] == [1]


def test_an_order_found_filled_as_it_was_filled_before_its_replace() -> None:
    """Filled with the terms it had: the replace came too late, every copy finds it dead, and its executions end it."""
    before = wanting("C2", "?1 r2 ~3")
    seen = shown(status=VenueStatus.FILLED, cum_quantity=Decimal(10))
    events = from_lookup(before, msg.Found(seen))
    assert kinds(events) == ["Acknowledged", "ReplaceSettled", "ReplaceSettled"]
    done = after(before, events)
    assert done.replacement is not None
    outcomes = [copy.outcome for copy in done.replacement.copies]
    assert outcomes == [CopyOutcome.ABSENT, CopyOutcome.REJECTED, CopyOutcome.ABSENT]
    assert (done.status, done.quantity, done.venue_cum_quantity) == (Status.PENDING_REPLACE, 10, 10)
    filled = after(done, from_report(done, trade(10, 10)))
    assert (filled.status, filled.replacement, filled.strays) == (Status.FILLED, None, ())


@pytest.mark.parametrize("new_id", IDS)
def test_an_order_found_live_as_it_was_proves_nothing_of_a_copy_under_way(new_id: str) -> None:
    """It may yet be replaced: the acknowledgement says only that it is there."""
    before = wanting(new_id)
    events = from_lookup(before, msg.Found(shown()))
    assert events == () or kinds(events) == ["Acknowledged"]
    assert after(before, events).replacement == before.replacement


def test_a_replace_below_what_was_filled_may_set_the_quantity_to_that() -> None:
    """FIX 4.4 matrix D.2.d: 7 were executed when 10 were to become 5; the venue makes it 7, which is filled, and done."""
    before = after(wanting("C1"), from_report(wanting("C1"), trade(7, 7)))
    seen = new(quantity=Decimal(7), cum_quantity=Decimal(7), status=VenueStatus.FILLED)
    done = after(before, from_lookup(before, msg.Found(seen)))
    assert (done.status, done.quantity, done.cum_quantity, done.anomaly) == (Status.FILLED, 7, 7, None)


def test_an_order_replaced_by_nobody_here_is_told() -> None:
    """REPLACED without a replace of ours, by query and by stream, is an anomaly and no end."""
    before = in_state(Status.NEW, venue_order_id="V1")
    by_query = from_lookup(before, msg.Found(shown(status=VenueStatus.REPLACED)))
    by_stream = from_report(
        before, report(ExecutionKind.REPLACED, order_quantity=Decimal(3), order_price=Decimal("25.50"))
    )
    for events in (by_query, by_stream):
        assert kinds(events) == ["Anomaly"]
        assert after(before, events).status is Status.NEW


# The execution stream.
@pytest.mark.parametrize("kind", [ExecutionKind.NEW, ExecutionKind.REPLACED])
def test_a_report_under_the_new_id_shows_that_it_is_there(kind: ExecutionKind) -> None:
    """Whatever the venue calls it, the new id in the stream says that the order goes on under it."""
    before = wanting("C2")
    told = report(kind, client_order_id="C2", venue_order_id="V2", order_quantity=Decimal(5), orig_client_order_id="C1")
    done = after(before, from_report(before, told))
    assert (replaced(done), done.live_id, done.venue_order_id) == (True, "C2", "V2")


@pytest.mark.parametrize(
    ("kind", "status"), [(ExecutionKind.CANCELED, Status.CANCELED), (ExecutionKind.EXPIRED, Status.EXPIRED)]
)
def test_the_end_of_the_new_order_is_the_end(kind: ExecutionKind, status: Status) -> None:
    """An end under the new id says that it was replaced, and then ended."""
    before = wanting("C2")
    done = after(before, from_report(before, report(kind, client_order_id="C2", venue_order_id="V2")))
    assert (done.status, done.quantity) == (status, 5)


def test_a_report_of_the_wanted_terms_under_the_same_id_replaces() -> None:
    """Where the id stays, the terms tell: those that were wanted prove it, others do not."""
    before = wanting("C1")
    terms = {"order_quantity": Decimal(5), "order_price": Decimal("25.50")}
    done = after(before, from_report(before, report(ExecutionKind.REPLACED, **terms)))
    assert (replaced(done), done.quantity) == (True, 5)
    for field, value in (("order_quantity", Decimal(6)), ("order_price", Decimal(26)), ("order_price", None)):
        events = from_report(before, report(ExecutionKind.REPLACED, **{**terms, field: value}))
        assert "Replaced" not in kinds(events)


def test_a_report_of_an_earlier_equal_replace_proves_nothing_of_a_later_one() -> None:
    """10 to 5, to 10, to 5 again (its reply lost): the stream's late word on the first is not the third's."""
    order = in_state(Status.NEW, venue_order_id="V1")
    for number, quantity in ((1, 5), (2, 10), (3, 5)):
        wanted = ev.ReplaceRecorded(number, "C1", Decimal(quantity), order.price, us(30), None)
        order = advance(order, (wanted, ev.ReplaceClaimed(number, None, us(3))), us(number))
        if number < 3:
            reply = msg.Replaced(shown(quantity=Decimal(quantity)))
            order = advance(order, from_replace_reply(order, number, reply, us(number)), us(number))
    order = advance(order, (ev.ReplaceSettled(3, CopyOutcome.UNKNOWN, "r"),), us(4))
    late = report(ExecutionKind.REPLACED, order_quantity=Decimal(5), order_price=order.price)
    assert from_report(order, late) == ()


def test_news_of_an_order_that_was_replaced_moves_nothing() -> None:
    """Late words on the former id, an end among them, are not about the order that goes on."""
    order = wanting("C2")
    order = after(order, from_lookup(order, msg.Found(new("C2"))))
    for kind in set(ExecutionKind) - {ExecutionKind.TRADE}:
        assert from_report(order, report(kind)) == ()


def test_a_late_trade_of_the_former_order_counts_and_does_not_take_the_number_back() -> None:
    """Its executions are real; the order's number stays the new one, or a cancel by number would cancel nothing."""
    order = wanting("C2")
    order = after(order, from_lookup(order, msg.Found(new("C2"))))
    order = after(order, from_report(order, trade(1, 1, venue_order_id="V1")))
    assert (order.venue_order_id, order.cum_quantity, order.status) == ("V2", 1, Status.PARTIALLY_FILLED)
    assert order.anomaly is None


def test_a_trade_under_the_new_id_shows_that_it_is_there_and_counts() -> None:
    """The fill may overtake every other word on the replace."""
    before = wanting("C2")
    events = from_report(before, trade(2, 2, client_order_id="C2", venue_order_id="V2"))
    assert kinds(events) == ["Replaced", "Traded"]
    done = after(before, events)
    assert (done.status, done.cum_quantity, done.quantity, done.live_id) == (Status.PARTIALLY_FILLED, 2, 5, "C2")


def test_a_trade_under_the_same_id_says_nothing_of_the_replace() -> None:
    """Where the id stays, a trade may belong to the order as it was: it counts, and the replace stays open."""
    before = wanting("C1")
    done = after(before, from_report(before, trade(2, 2)))
    assert (done.status, done.cum_quantity) == (Status.PENDING_REPLACE, 2)
    assert done.replacement == before.replacement


def test_more_executed_under_the_new_id_than_it_may_is_told() -> None:
    """7 executed of an order that was to have 5 is an overfill, also before the reply to the replace."""
    before = wanting("C2")
    events = from_report(before, trade(7, 7, client_order_id="C2", venue_order_id="V2"))
    assert kinds(events) == ["Replaced", "Traded", "Anomaly"]
    assert after(before, events).anomaly == "overfill: 2 more than the order's quantity was executed"


def test_what_a_replace_would_make_room_for_is_no_overfill_yet() -> None:
    """12 executed while 10 may have become 15 may be right; when it turns out that 10 stayed, somebody is told."""
    before = wanting("C1", quantity=Decimal(15))
    order = after(before, from_report(before, trade(12, 12)))
    assert (order.status, order.anomaly) == (Status.PENDING_REPLACE, None)
    kept = after(order, not_replaced(order, "r"))
    assert (kept.status, kept.anomaly) == (Status.FILLED, "overfill: 2 more than the order's quantity was executed")
    done = after(order, from_lookup(order, msg.Found(shown(quantity=Decimal(15), cum_quantity=Decimal(12)))))
    assert (done.status, done.leaves_quantity, done.anomaly) == (Status.PARTIALLY_FILLED, 3, None)


def test_another_number_after_a_replace_is_no_second_order() -> None:
    """A replace may give the order another number, under the same id too, and late news name the earlier one."""
    order = wanting("C1")
    order = after(order, from_lookup(order, msg.Found(new(venue_order_id="V2"))))
    assert (order.venue_order_id, order.anomaly) == ("V2", None)
    late = from_report(order, report(ExecutionKind.NEW, venue_order_id="V1"))
    assert "Anomaly" not in kinds(late)
    assert "Anomaly" not in kinds(from_report(wanting("C1"), report(ExecutionKind.NEW, venue_order_id="V2")))


def test_a_replace_that_was_never_sent_is_done_by_nothing() -> None:
    """The wanted terms shown before any copy was claimed are somebody else's doing: a stranger, or a second order."""
    before = wanting("C2", "")
    assert not replaced(after(before, from_venue_order(before, new("C2"), Source.LOOKUP)))
    assert from_report(before, report(ExecutionKind.NEW, client_order_id="C2")) == ()
    kept = wanting("C1", "")
    events = from_lookup(kept, msg.Found(new()))
    assert kinds(events) == ["Anomaly"]
