"""Replies that are lost on purpose: the order is made, and the client is told something else or nothing."""

import asyncio
from typing import Any

import aiohttp
import ccxt
import pytest
from imitation_kit import run, served

from onefill.sim.imitations import spoils
from onefill.sim.imitations.base import Spoil
from onefill.sim.imitations.binance import BinanceSpot
from onefill.venues.ccxt.address import point

BTC = "BTC/USDT"


def buy(client: Any) -> Any:
    """Send an order with an id."""
    return client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "lost"})


@pytest.mark.parametrize(
    ("spoil", "kind", "cause"),
    [
        (spoils.drop, ccxt.ExchangeNotAvailable, aiohttp.ServerDisconnectedError),
        (spoils.truncate, ccxt.ExchangeError, aiohttp.ClientPayloadError),
        (spoils.status(502), ccxt.ExchangeNotAvailable, None),
        (spoils.status(504, "Gateway Timeout"), ccxt.RequestTimeout, None),
    ],
)
def test_the_client_sees_an_error_and_the_order_is_there(
    spoil: Spoil, kind: type[Exception], cause: type[Exception] | None
) -> None:
    """Each spoil hits one new order, after the venue has carried it out."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            venue.spoilt.append(spoil)
            with pytest.raises(kind) as caught:
                await buy(client)
            assert type(caught.value) is kind
            found = caught.value.__cause__
            assert found is None if cause is None else isinstance(found, cause)
            assert venue.exchange.counts().orders == 1
            assert (await client.fetch_order(None, BTC, {"clientOrderId": "lost"}))["status"] == "open"

    run(scenario)


def test_a_page_with_status_200_looks_like_an_order_without_an_id() -> None:
    """HTML where JSON is expected: ccxt returns an order whose id is None, and raises nothing."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            venue.spoilt.append(spoils.html)
            assert (await buy(client))["id"] is None
            assert venue.exchange.counts().orders == 1

    run(scenario)


@pytest.mark.parametrize("spoil", [spoils.drop, spoils.truncate])
def test_the_blocking_client_sees_an_error_too(spoil: Spoil) -> None:
    """A cut connection reaches the synchronous client as an error, and the order is there."""

    async def scenario() -> None:
        venue = BinanceSpot()
        await venue.start()
        venue.spoilt.append(spoil)
        try:
            await asyncio.to_thread(blocking, venue)
        finally:
            await venue.close()
        assert venue.exchange.counts().orders == 1

    def blocking(venue: BinanceSpot) -> None:
        client = point(ccxt.binance(venue.config()), venue.url)
        try:
            with pytest.raises(ccxt.BaseError):
                buy(client)
        finally:
            client.session.close()

    run(scenario)
