"""How a replace ends, what repeats what is known of it, and what a restart makes of one that is open."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import in_state, replacing, report, shown, trade, us

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.apply import advance
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.evidence import (
    changes_nothing,
    from_lookup,
    from_report,
    is_as_in_force,
    is_old_news,
    not_replaced,
    recovered,
    say_nothing_new,
)
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import ExecutionKind, VenueOrder, VenueStatus
from onefill.core.order import Order

IDS = ["C1", "C2"]
"""The id under which the order goes on: the same, or one of its own."""


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


# The end of a replace.
def test_what_was_not_replaced_goes_on_as_it_was() -> None:
    """The order keeps terms and id; copies that may still come are remembered, and the reason is told."""
    before = wanting("C2", "?1 r2 ?3")
    events = not_replaced(before, "no copy took effect")
    assert events == (ev.ReplaceRefused("no copy took effect"),)
    done = after(before, events)
    assert (done.status, done.reason, done.live_id, done.quantity) == (Status.NEW, "no copy took effect", "C1", 10)
    assert [copy.number for copy in done.strays] == [1, 3]


def test_what_was_not_replaced_and_is_over_was_cancelled() -> None:
    """An original that is over, and in whose place nothing goes on, ended: its executions are still waited for."""
    before = wanting("C2")
    before = after(before, (ev.Superseded(Source.STREAM, "V1", Decimal(4)),))
    done = after(before, not_replaced(before, "r"))
    assert (done.status, done.closed, done.venue_cum_quantity) == (Status.CANCELED, False, 4)


def test_an_original_that_is_over_without_a_number_can_end_too() -> None:
    """A record without the venue's number is no reason to fail."""
    before = msgspec.structs.replace(wanting("C2", original_over=VenueStatus.CANCELED), venue_order_id=None)
    assert after(before, not_replaced(before, "r")).status is Status.CANCELED


def test_the_end_of_an_order_ends_its_replace() -> None:
    """Filled, cancelled or expired meanwhile: no replace stays open, and its copies may be under way for all that."""
    for end in (
        ev.Traded("E1", Decimal(10), Decimal(1), "V1", Decimal(10)),
        ev.Canceled(Source.STREAM, "V1", Decimal(0)),
        ev.Expired(Source.STREAM, "V1", Decimal(0)),
        ev.Rejected("r", Source.STREAM, "V1"),
    ):
        done = after(wanting("C1", "?1 n2 ~3"), (end,))
        assert done.status in ENDED
        assert done.replacement is None
        assert [copy.number for copy in done.strays] == [1, 3]


# What repeats what is known.
def test_repeated_words_on_a_replace_need_no_entry() -> None:
    """An original known to be over, and a replace known to be refused, are told once; with a higher total they are news."""
    over = wanting("C2", original_over=VenueStatus.CANCELED)
    assert changes_nothing(over, ev.Superseded(Source.STREAM, "V1", Decimal(0)))
    assert not changes_nothing(over, ev.Superseded(Source.STREAM, "V1", Decimal(1)))
    assert not changes_nothing(wanting("C2"), ev.Superseded(Source.STREAM, "V1", Decimal(0)))
    assert changes_nothing(in_state(Status.NEW), ev.Superseded(Source.STREAM, "V1", Decimal(0)))
    assert changes_nothing(in_state(Status.NEW), ev.ReplaceRefused("r"))
    assert not changes_nothing(wanting("C2"), ev.ReplaceRefused("r"))
    for event in (
        ev.ReplaceRecorded(1, "C1", Decimal(5), None, 0, None),
        ev.ReplaceClaimed(1, None, None),
        ev.ReplaceSettled(1, CopyOutcome.UNKNOWN, ""),
        ev.Replaced(Source.STREAM, "C1", "V1", Decimal(5), None, Decimal(0)),
        ev.Resolved(ev.Verdict.ADOPT, "a", "r"),
    ):
        assert not say_nothing_new(wanting("C2"), (event,))


def test_a_replace_known_to_be_over_stays_as_it_ended() -> None:
    """Superseded after the replace is through changes nothing about the order."""
    done = in_state(Status.NEW)
    assert after(done, (ev.Superseded(Source.STREAM, "V1", Decimal(0)),)).replacement is None


def test_old_news_is_told_at_a_glance_by_the_id_in_force() -> None:
    """Most reports repeat that the order is there: only those under its live id and number, with no higher total."""
    order = wanting("C2")
    order = after(order, from_lookup(order, msg.Found(new("C2"))))
    fresh = {"client_order_id": "C2", "venue_order_id": "V2"}
    assert is_old_news(order, report(ExecutionKind.NEW, **fresh))
    for other in (
        {"client_order_id": "C1"},
        {"venue_order_id": "V1"},
        {"cum_quantity": Decimal(1)},
        {"instrument": "ZINC"},
        {"side": "sell"},
    ):
        assert not is_old_news(order, report(ExecutionKind.NEW, **{**fresh, **other}))
    assert not is_old_news(order, report(ExecutionKind.PENDING_NEW, **fresh))
    assert is_old_news(wanting("C1"), report(ExecutionKind.NEW))
    assert not is_old_news(in_state(Status.UNCERTAIN), report(ExecutionKind.NEW, venue_order_id=None))


def test_as_in_force_means_id_quantity_and_price_by_our_record() -> None:
    """What a replace gave it counts from the moment it is known, and the first terms no more."""
    order = wanting("C2")
    assert is_as_in_force(order, shown())
    assert not is_as_in_force(order, new("C2"))
    order = after(order, from_lookup(order, msg.Found(new("C2"))))
    assert not is_as_in_force(order, shown())
    assert is_as_in_force(order, new("C2", status=VenueStatus.FILLED))


# Restart.
def test_a_claimed_replace_without_an_outcome_was_maybe_sent() -> None:
    """After a crash every claimed copy of a replace may be under way, that of an open one and that of one that is over."""
    before = replacing("?3 ~4", strays="?1 ~2")
    events = recovered(before)
    assert [event.number for event in events if isinstance(event, ev.ReplaceSettled)] == [2, 4]
    done = after(before, events)
    assert done.status is Status.PENDING_REPLACE
    assert done.replacement is not None
    assert all(copy.outcome is CopyOutcome.UNKNOWN for copy in (*done.strays, *done.replacement.copies))
    assert recovered(done) == ()


def test_a_replace_that_was_never_sent_survives_a_restart_as_it_is() -> None:
    """A wish without a claim is not under way: nothing is to be recovered."""
    assert recovered(wanting("C2", "")) == ()


# Any word at any time.
@pytest.mark.parametrize("new_id", IDS)
@pytest.mark.parametrize("text", ["", "~1", "?1", "r1", "?1 r2"])
def test_every_word_can_be_taken_while_a_replace_is_open(new_id: str, text: str) -> None:
    """No report and no look-up of any kind and status, under any id of the order, breaks one that is being replaced."""
    before = wanting(new_id, text)
    for client_order_id in ("C1", "C2", "C9"):
        for status in VenueStatus:
            for quantity in (5, 10, 3):
                seen = shown(client_order_id=client_order_id, status=status, quantity=Decimal(quantity))
                after(before, from_lookup(before, msg.Found(seen)))
        for kind in ExecutionKind:
            told = trade(1, 1) if kind is ExecutionKind.TRADE else report(kind, order_quantity=Decimal(5))
            told = msgspec.structs.replace(told, client_order_id=client_order_id)
            done = after(before, from_report(before, told))
            assert (done.status in ENDED) <= (done.replacement is None)
