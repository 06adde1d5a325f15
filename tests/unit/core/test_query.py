"""Asking for an order: by its id where the venue can be asked, else by a scan, and at what pace."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import in_state, order, replacing, shown, us
from core_tables import venue_of

from onefill.core import messages as msg
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Terms
from onefill.core.query import LOOKUPS_BEFORE_PARKING, looked_up, query, query_again, search
from onefill.core.steps import Ask, LastLookup, Scan, WaitUntil
from onefill.core.values import Side


def last(**changes: Any) -> LastLookup:
    """Return a query in vain, begun at second 1, with changes."""
    fields: dict[str, Any] = {"client_order_id": "C1", "asked_at_us": us(1), "count": 1, "not_found": True}
    return LastLookup(**{**fields, **changes})


def test_a_venue_is_asked_by_id_where_it_can_be() -> None:
    """A venue with a status query is asked for the one id."""
    assert query(order(), venue_of("open lookup"), "C7") == Ask("C7")


def test_a_scan_reaches_back_further_than_clocks_differ() -> None:
    """A venue that can only be listed is listed from a minute before the order was recorded here: its clock is its own."""
    made = order(recorded_at_us=us(10))
    assert query(made, venue_of("open scan"), "C1") == Scan("C1", us(10) - 60_000_000)


@pytest.mark.parametrize(
    ("count", "parked", "pause_s"),
    [(1, False, 0.05), (4, False, 0.4), (9, False, 5), (500, False, 5), (5, True, 0.8), (6, True, 60), (500, True, 60)],
)
def test_the_pace_of_asking(count: int, parked: bool, pause_s: float) -> None:
    """Pauses double up to 5 s; once a person was told and asked for, the venue is asked once a minute."""
    made = in_state(Status.UNCERTAIN, parked=parked)
    asked = last(count=count)
    venue = venue_of("open lookup")
    assert query_again(made, venue, "C1", asked, us(1), "why") == WaitUntil(us(1 + pause_s), "why")
    just_before = us(1 + pause_s) - 1
    assert query_again(made, venue, "C1", asked, just_before, "why") == WaitUntil(us(1 + pause_s), "why")
    assert query_again(made, venue, "C1", asked, us(1 + pause_s), "why") == Ask("C1")


def test_a_clock_set_back_does_not_hold_up_a_query() -> None:
    """Behind the moment of the last query, the next one is due at once."""
    assert query_again(order(), venue_of("open scan"), "C1", last(), us(0), "") == query(
        order(), venue_of("open scan"), "C1"
    )


def test_patience_begins_after_a_person_was_told() -> None:
    """The count at which pauses of parked orders grow is the one at which orders are parked."""
    assert LOOKUPS_BEFORE_PARKING == 5


@pytest.mark.parametrize(
    ("reply", "not_found", "status", "as_in_force"),
    [
        (msg.NotFound("none"), True, None, False),
        (msg.Unknown("time-out"), False, None, False),
        (msg.Found(shown()), False, VenueStatus.NEW, True),
        (msg.Found(shown(status=VenueStatus.CANCELED)), False, VenueStatus.CANCELED, True),
        (msg.Found(shown(quantity=Decimal(9))), False, VenueStatus.NEW, False),
        (msg.Found(shown(side=Side.SELL)), False, VenueStatus.NEW, False),
    ],
)
def test_a_query_is_kept_as_what_it_said(
    reply: msg.LookupReply, not_found: bool, status: VenueStatus | None, as_in_force: bool
) -> None:
    """A query that failed says neither "not found" nor "shown"; one that found says with what status, and as we have it."""
    kept = looked_up(in_state(Status.UNCERTAIN), "C1", reply, None, asked_at_us=us(3), waited_us=7)
    assert (kept.not_found, kept.shown, kept.as_in_force) == (not_found, status, as_in_force)
    assert kept.found is (reply.order if isinstance(reply, msg.Found) else None)
    assert (kept.client_order_id, kept.asked_at_us, kept.count, kept.waited_us) == ("C1", us(3), 1, 7)


def test_a_query_knows_how_many_requests_had_been_claimed_when_it_was_begun() -> None:
    """Copies, cancels and copies of all replaces are counted, and the queries themselves from the last one on."""
    made = replacing("?3 ?4", strays="?1 ?2")
    kept = looked_up(made, "C1", msg.NotFound(""), last(count=8), asked_at_us=us(5), waited_us=None)
    assert (kept.copies, kept.cancels, kept.replaces) == (1, 0, 4)
    assert kept.count == 9
    cancelled = looked_up(in_state(Status.PENDING_CANCEL), "C1", msg.NotFound(""), None, asked_at_us=0, waited_us=None)
    assert (cancelled.copies, cancelled.cancels, cancelled.replaces) == (1, 1, 0)


def test_an_order_is_as_in_force_by_the_terms_that_its_last_replace_gave_it() -> None:
    """What counts is our record when the query was begun: not the wish whose fate is open."""
    wished = replacing("?1")
    for quantity, same in ((10, True), (5, False)):
        kept = looked_up(
            wished, "C1", msg.Found(shown(quantity=Decimal(quantity))), None, asked_at_us=0, waited_us=None
        )
        assert kept.as_in_force is same


def test_a_scan_finds_an_order_by_its_id_alone() -> None:
    """Likeness is no identity: an order that agrees in everything but the id is somebody else's."""
    twin, ours = shown(client_order_id="C9"), shown(side=Side.SELL)
    assert search(msg.Listed((twin, ours)), "C1") == msg.Found(ours)
    nothing = search(msg.Listed((twin, shown(client_order_id=""))), "C1")
    assert isinstance(nothing, msg.NotFound)
    assert isinstance(search(msg.Listed(()), "C1"), msg.NotFound)


def test_of_several_orders_under_one_id_the_last_listed_is_found() -> None:
    """Venues list in order of age: the last one is the latest state, or the latest order, under the id."""
    first, second = shown(venue_order_id="V1"), shown(venue_order_id="V2")
    assert search(msg.Listed((first, shown(client_order_id="C2"), second)), "C1") == msg.Found(second)


def test_a_scan_that_failed_says_nothing() -> None:
    """No list is not an empty list."""
    failed = msg.Unknown("time-out")
    assert search(failed, "C1") is failed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, msg.Unknown),
        ({"status": VenueStatus.FILLED}, msg.Unknown),
        ({"client_order_id": "C9"}, msg.NotFound),  # it has an id, and that is another
        ({"instrument": "ZINC"}, msg.NotFound),
        ({"side": Side.SELL}, msg.NotFound),
        ({"quantity": Decimal(9)}, msg.NotFound),
        ({"price": Decimal(26)}, msg.NotFound),
    ],
)
def test_an_order_like_ours_without_an_id_leaves_it_open_whether_ours_is_there(
    changes: dict[str, Any], says: type
) -> None:
    """A list in which an order of our content bears no id at all does not say that ours is not there. Nor that it is."""
    listed = msg.Listed((shown(**{"client_order_id": "", **changes}),))
    assert type(search(listed, "C1", order())) is says
    assert type(search(listed, "C1")) is msg.NotFound
    named = msg.Listed((shown(client_order_id=""), shown(venue_order_id="V2")))
    assert search(named, "C1", order()) == msg.Found(shown(venue_order_id="V2"))


def test_an_order_is_like_ours_by_its_first_terms_and_by_those_in_force() -> None:
    """A replaced order may be listed as it was, or as it is; both leave it open."""
    terms = Terms(1, "C1", Decimal(5), Decimal(26))
    replaced = msgspec.structs.replace(in_state(Status.NEW), in_force=terms)
    for quantity, price, says in ((10, "25.50", msg.Unknown), (5, "26", msg.Unknown), (5, "25.50", msg.NotFound)):
        one = shown(client_order_id="", quantity=Decimal(quantity), price=Decimal(price))
        assert type(search(msg.Listed((one,)), "C1", replaced)) is says


def test_a_query_knows_by_which_terms_it_was_asked() -> None:
    """It remembers which replace had made the terms in force when it was begun."""
    terms = Terms(3, "C1", Decimal(5), None)
    made = msgspec.structs.replace(in_state(Status.NEW), in_force=terms)
    for of, number in ((in_state(Status.NEW), 0), (made, 3)):
        assert looked_up(of, "C1", msg.NotFound(""), None, asked_at_us=0, waited_us=None).terms == number
