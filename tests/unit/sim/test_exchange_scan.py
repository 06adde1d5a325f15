"""The simulated exchange: listing an account's orders."""

from typing import Any

import pytest
from exchange_kit import DAY_US, NOON_US, cancel, exchange, limit, market, order, replace

from onefill.core.capabilities import Lookup, ReplaceStyle
from onefill.core.errors import InvalidField
from onefill.core.messages import (
    CancelRejected,
    DuplicateId,
    Found,
    Listed,
    NotFound,
    ReplaceRejected,
    Unknown,
    VenueStatus,
)
from onefill.core.values import TimeInForce
from onefill.sim.exchange import Exchange


def listed(venue: Exchange, since_us: int, **other: Any) -> list[str]:
    """Return the client order ids that a scan of account A and ACME shows."""
    asked: dict[str, Any] = {"account": "A", "instrument": "ACME", "since_us": since_us, "now_us": NOON_US} | other
    reply = venue.scan(**asked)
    assert isinstance(reply, Listed), reply
    return [one.client_order_id for one in reply.orders]


def test_it_shows_what_is_open_and_what_ended_or_traded_since() -> None:
    """Old open orders are listed whatever the time; dead ones from the microsecond of their last event on."""
    venue = exchange()
    venue.submit(limit("old", "buy", 1, 9), NOON_US)
    venue.submit(limit("dead", "buy", 1, 10), NOON_US)
    venue.submit(limit("traded", "buy", 2, 10), NOON_US)
    venue.cancel(cancel("dead"), NOON_US + 5)
    venue.submit(market("s", "sell", 1, account="S"), NOON_US + 9)
    assert listed(venue, NOON_US) == ["old", "dead", "traded"]
    assert listed(venue, NOON_US + 5) == ["old", "dead", "traded"]
    assert listed(venue, NOON_US + 6) == ["old", "traded"]
    venue.submit(market("s2", "sell", 1, account="S"), NOON_US + 9)
    assert listed(venue, NOON_US + 9) == ["old", "traded"]
    assert listed(venue, NOON_US + 10) == ["old"]


def test_it_shows_the_orders_as_they_are() -> None:
    """Each listed order is what a look-up of its id shows, dead ones included."""
    venue = exchange()
    for name in ("x", "y"):
        venue.submit(order(name, "buy", 1), NOON_US)
    venue.cancel(cancel("x"), NOON_US)
    reply = venue.scan("A", "ACME", NOON_US, NOON_US)
    assert isinstance(reply, Listed)
    assert [(one.client_order_id, one.status) for one in reply.orders] == [
        ("x", VenueStatus.CANCELED),
        ("y", VenueStatus.NEW),
    ]
    assert [venue.lookup(name, "A", NOON_US).order for name in "xy"] == list(reply.orders)  # type: ignore[union-attr]


@pytest.mark.parametrize("shown", [VenueStatus.REPLACED, VenueStatus.CANCELED])
def test_it_shows_both_sides_of_a_replace(shown: VenueStatus) -> None:
    """The order that another took the place of ended then, and is listed although nothing is reported under its id."""
    venue = exchange(replace=ReplaceStyle.NEW_ID, replaced_shows_as=shown)
    venue.submit(limit("x", "buy", 2, 10), NOON_US)
    venue.replace(replace("x", 1, 10, "y"), NOON_US + 5)
    assert listed(venue, NOON_US + 5) == ["x", "y"]
    assert listed(venue, NOON_US + 6) == ["y"]


def test_it_keeps_to_the_account_and_the_instrument() -> None:
    """Other accounts' orders and those in other instruments are not shown; where there are none the list is empty."""
    venue = exchange()
    venue.submit(order("x", "buy", 1), NOON_US)
    venue.submit(order("z", "buy", 1, instrument="ZINC"), NOON_US)
    venue.submit(order("b", "buy", 1, account="B"), NOON_US)
    assert listed(venue, 0) == ["x"]
    assert listed(venue, 0, instrument="ZINC") == ["z"]
    assert listed(venue, 0, account="nobody") == []


def test_it_is_as_of_now() -> None:
    """What is due by the moment of the scan has happened: pending orders are decided, DAY orders are over."""
    venue = exchange(acknowledges_asynchronously=True, acknowledge_delay_us=10)
    venue.submit(order("x", "buy", 1, time_in_force=TimeInForce.DAY), NOON_US)
    first, last = (venue.scan("A", "ACME", 0, NOON_US + after) for after in (10, DAY_US))
    assert isinstance(first, Listed)
    assert isinstance(last, Listed)
    assert [one.status for one in (*first.orders, *last.orders)] == [VenueStatus.NEW, VenueStatus.EXPIRED]


@pytest.mark.parametrize(("lookup", "lists"), [(Lookup.DIRECT, True), (Lookup.SCAN, True), (Lookup.NONE, False)])
def test_where_orders_cannot_be_listed_nothing_is_said(lookup: Lookup, lists: bool) -> None:
    """A venue that lists nothing answers Unknown, never an empty list."""
    assert isinstance(exchange(lookup=lookup).scan("A", "ACME", 0, NOON_US), Listed if lists else Unknown)


def test_a_venue_may_show_what_ended_for_a_while_only() -> None:
    """From then on neither query nor list nor a refused cancel shows it; its id stays as used as it was."""
    venue = exchange(lookup_forgets_after_s=60.0)
    venue.submit(limit("dead", "buy", 1, 10), NOON_US)
    venue.submit(limit("live", "buy", 1, 10), NOON_US)
    venue.cancel(cancel("dead"), NOON_US + 5)
    until_us = NOON_US + 5 + 60_000_000
    for now_us, shown in ((until_us - 1, ["dead", "live"]), (until_us, ["live"])):
        assert listed(venue, NOON_US, now_us=now_us) == shown
        assert isinstance(venue.lookup("dead", "A", now_us), Found if "dead" in shown else NotFound)
        refused = venue.cancel(cancel("dead"), now_us)
        assert isinstance(refused, CancelRejected)
        assert (refused.order is not None) is ("dead" in shown)
    assert isinstance(venue.lookup("live", "A", until_us), Found)
    assert isinstance(venue.submit(limit("dead", "buy", 1, 10), until_us), DuplicateId)
    assert venue.capabilities.lookup_forgets_after_s == 60.0


def test_a_time_to_forget_that_is_none_is_refused() -> None:
    """It is above zero, or absent."""
    with pytest.raises(InvalidField, match="lookup_forgets_after_s"):
        exchange(lookup_forgets_after_s=0.0)


def test_a_venue_may_refuse_without_showing_the_order() -> None:
    """Then a refused cancel and a refused replace only say no; otherwise both show the order as it is."""
    for barely in (False, True):
        venue = exchange(refuses_barely=barely)
        venue.submit(limit("a", "buy", 1, 10), NOON_US)
        venue.cancel(cancel("a"), NOON_US)
        refused = venue.cancel(cancel("a"), NOON_US), venue.replace(replace("a", 2, 10), NOON_US)
        assert [type(one) for one in refused] == [CancelRejected, ReplaceRejected]
        assert [getattr(one, "order", None) is None for one in refused] == [barely, barely]
