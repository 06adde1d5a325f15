"""The user data streams of Binance as imitated, watched by the real ccxt client: orders, trades, cuts and what comes after."""

import asyncio
from typing import Any

import ccxt
import pytest
from imitation_kit import by_another, failure, run, served

from onefill.sim.imitations.base import Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_rest import Binance
from onefill.sim.imitations.binance_usdm import BinanceUsdm

SPOT, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
BOTH = pytest.mark.parametrize(("kind", "symbol"), [(BinanceSpot, SPOT), (BinanceUsdm, PERPETUAL)])


async def watching(venue: Imitation, watch: Any) -> "asyncio.Task[Any]":
    """Begin to watch, and return when the venue has the stream."""
    before = venue.exchange.listeners("main")
    task = asyncio.create_task(watch)
    while venue.exchange.listeners("main") == before and not task.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    return task


@BOTH
def test_orders_are_told_as_they_change(kind: type[Binance], symbol: str) -> None:
    """New, partly filled, cancelled: each with the order's own client order id, whatever stands in the event's other id."""

    async def scenario() -> None:
        venue = kind()
        async with served(venue, pro=True, newUpdates=True) as client:
            first = await watching(venue, client.watch_orders(symbol))
            made = await client.create_order(symbol, "limit", "buy", 3, 100, {"clientOrderId": "mine"})
            (told,) = await first
            assert (told["id"], told["clientOrderId"], told["status"]) == (made["id"], "mine", "open")
            by_another(venue, symbol, "sell", 1, 100)
            (told,) = await client.watch_orders(symbol)
            assert (told["filled"], told["amount"], told["status"]) == (1, 3, "open")
            await client.cancel_order(made["id"], symbol)
            (told,) = await client.watch_orders(symbol)
            assert (told["status"], told["clientOrderId"], told["filled"]) == ("canceled", "mine", 1)

    run(scenario)


@BOTH
def test_trades_are_told_as_the_list_has_them(kind: type[Binance], symbol: str) -> None:
    """Id, order, quantity, price and fee of a watched trade are those of the list of trades."""

    async def scenario() -> None:
        venue = kind()
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades(symbol))
            await client.create_order(symbol, "limit", "buy", 3, 100)
            by_another(venue, symbol, "sell", 2, 100)
            (told,) = await watched
            (listed,) = await client.fetch_my_trades(symbol)
            for field in ("id", "order", "symbol", "side", "amount", "price", "takerOrMaker", "fee", "timestamp"):
                assert told[field] == listed[field], field

    run(scenario)


@BOTH
def test_a_cut_stream_fails_and_can_be_opened_again(kind: type[Binance], symbol: str) -> None:
    """What happens while nobody listens is not told afterwards; the lists have it."""

    async def scenario() -> None:
        venue = kind()
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades(symbol))
            await venue.end_streams()
            with pytest.raises(ccxt.NetworkError):
                await watched
            await client.create_order(symbol, "limit", "buy", 3, 100)
            by_another(venue, symbol, "sell", 1, 100)
            watched = await watching(venue, client.watch_my_trades(symbol))
            by_another(venue, symbol, "sell", 2, 100)
            assert [trade["amount"] for trade in await watched] == [2]
            assert [trade["amount"] for trade in await client.fetch_my_trades(symbol)] == [1, 2]

    run(scenario)


def test_a_replaced_order_on_spot_is_told_as_cancelled_and_the_next_as_new() -> None:
    """cancelReplace is two orders on the stream too."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue, pro=True) as client:
            first = await client.create_order(SPOT, "limit", "buy", 1, 100, {"clientOrderId": "one"})
            watched = await watching(venue, client.watch_orders(SPOT))
            await client.edit_order(first["id"], SPOT, "limit", "buy", 2, 100, {"clientOrderId": "two"})
            await watched
            told = {one["clientOrderId"]: one for one in client.orders}
            while "two" not in told:
                await client.watch_orders(SPOT)
                told = {one["clientOrderId"]: one for one in client.orders}
            assert (told["one"]["status"], told["two"]["status"], told["two"]["amount"]) == ("canceled", "open", 2)

    run(scenario)


def test_a_modified_order_on_futures_is_told_as_amended() -> None:
    """The same order, with its new quantity and price."""

    async def scenario() -> None:
        venue = BinanceUsdm()
        async with served(venue, pro=True) as client:
            made = await client.create_order(PERPETUAL, "limit", "buy", 1, 100, {"clientOrderId": "one"})
            watched = await watching(venue, client.watch_orders(PERPETUAL))
            await client.edit_order(made["id"], PERPETUAL, "limit", "buy", 2, 99)
            (told,) = await watched
            assert (told["id"], told["amount"], told["price"]) == (made["id"], 2, 99)
            assert told["info"]["x"] == "AMENDMENT"

    run(scenario)


@pytest.mark.parametrize(
    ("kind", "symbol", "raised"), [(BinanceSpot, SPOT, KeyError), (BinanceUsdm, PERPETUAL, ccxt.AuthenticationError)]
)
def test_a_stranger_gets_no_stream(kind: type[Binance], symbol: str, raised: type[Exception]) -> None:
    """A key that is not the account's is refused. On spot ccxt stumbles over the refusal itself, with a KeyError."""

    async def scenario() -> None:
        venue = kind()
        async with served(venue, pro=True, apiKey="stranger") as client:
            await failure(raised, client.watch_orders(symbol))
            assert venue.exchange.listeners("main") == 0

    run(scenario)
