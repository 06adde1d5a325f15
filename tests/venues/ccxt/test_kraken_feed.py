"""Executions at Kraken: the stream says that there is something, the list says what."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from adapter_kit import BTC, by_another, connected, expiring, run

from onefill.core.errors import InvalidField
from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRequest,
    ExecutionKind,
    ExecutionReport,
    Unknown,
    VenueStatus,
)
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.venues.ccxt.kraken import Kraken
from onefill.venues.ccxt.venue import CcxtVenue
from onefill.venues.profile import load

FIRST, SECOND = "1" * 32, "2" * 32
HALF_AN_HOUR_S = 1_800.0


async def next_of(stream: AsyncIterator[ExecutionReport], kind: ExecutionKind) -> ExecutionReport:
    """Return the next report of a kind."""
    async for report in stream:
        if report.kind is kind:
            return report
    raise AssertionError("the stream ended")


def test_what_the_stream_tells_has_the_lists_read_at_once() -> None:
    """Lists that are read every half an hour by themselves tell of fills and of a cancel by hand as they happen."""

    async def scenario() -> None:
        settings = {"streams": True, "poll_s": HALF_AN_HOUR_S, "instruments": (BTC,)}
        async with connected(KrakenImitation, **settings) as (venue, imitation, _):
            stream = venue.stream(0)
            waiting = asyncio.ensure_future(next_of(stream, ExecutionKind.TRADE))
            while not imitation.exchange.listeners("main"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            for number, client_order_id in enumerate((FIRST, SECOND)):
                reply = await venue.submit(expiring(client_order_id, price=100 + number))
                assert isinstance(reply, Accepted)
                by_another(imitation, "sell", "0.5", 100 + number)
                told = await waiting
                assert (told.client_order_id, told.last_quantity) == (
                    client_order_id,
                    expiring(FIRST, quantity="0.5").quantity,
                )
                waiting = asyncio.ensure_future(next_of(stream, ExecutionKind.TRADE))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    run(scenario)


def test_an_order_that_a_person_cancels_is_told_as_ended() -> None:
    """The event of the cancel names neither symbol nor anything else but the number: the order is asked about."""

    async def scenario() -> None:
        settings = {"streams": True, "poll_s": HALF_AN_HOUR_S, "instruments": (BTC,)}
        async with connected(KrakenImitation, **settings) as (venue, imitation, clock):
            reply = await venue.submit(expiring(FIRST))
            assert isinstance(reply, Accepted)
            waiting = asyncio.ensure_future(next_of(venue.stream(0), ExecutionKind.CANCELED))
            while not imitation.exchange.listeners("main"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            by_hand = CancelRequest(client_order_id=FIRST, account="main", instrument=BTC, venue_order_id=None)
            assert isinstance(imitation.exchange.cancel(by_hand, clock()), Canceled)
            told = await waiting
            assert (told.client_order_id, told.status) == (FIRST, VenueStatus.CANCELED)

    run(scenario)


def test_a_cancels_reply_decides_nothing_and_a_lookup_does() -> None:
    """The venue's count says that it was taken, and shows no order."""

    async def scenario() -> None:
        async with connected(KrakenImitation) as (venue, _, __):
            reply = await venue.submit(expiring(FIRST))
            assert isinstance(reply, Accepted)
            number = reply.order.venue_order_id
            asked = CancelRequest(client_order_id=FIRST, account="main", instrument=BTC, venue_order_id=number)
            cancelled = await venue.cancel(asked)
            assert isinstance(cancelled, Unknown)
            assert cancelled.answered

    run(scenario)


def test_a_clock_that_tells_whole_seconds_is_not_taken_for_one_that_is_behind() -> None:
    """Only a difference that a second cannot explain counts: expiries and places go by it."""

    async def scenario() -> None:
        async with connected(KrakenImitation) as (venue, _, clock):
            await venue._client.read_clock()
            assert venue._client.clock_difference_ms == 0
            clock.ahead_us = 30_000_000
            await venue._client.read_clock()
            assert 29_000 <= venue._client.clock_difference_ms <= 31_000

    run(scenario)


def test_the_user_reference_is_not_taken_for_a_client_order_id() -> None:
    """ccxt shows the one where it finds no other: ``0`` in every event of the stream."""
    manners = Kraken(load("kraken").wire)
    assert manners.client_order_id({"clientOrderId": "0", "info": {"order_userref": 0, "cl_ord_id": FIRST}}) == FIRST
    assert manners.client_order_id({"clientOrderId": "7", "info": {"userref": 7}}) == ""
    assert manners.client_order_id({"clientOrderId": FIRST}) == ""


def test_trades_of_the_stream_are_left_to_the_list() -> None:
    """Their ids may be other ones there, and events that are no trades come among them."""
    assert Kraken(load("kraken").wire).heard_trade({"id": "T1", "order": "O1", "amount": "1"}) is None


@pytest.mark.parametrize("exchange", ["kraken", "bitstamp"])
def test_a_test_network_that_is_not_there_is_said_to_be_none(exchange: str) -> None:
    """Kraken's has no address in ccxt, and others have no name there at all: the setting is refused, in words."""
    with pytest.raises(InvalidField, match="no test network"):
        CcxtVenue(exchange, "main", testnet=True)
