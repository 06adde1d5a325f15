"""The private WebSocket of Bybit as imitated, watched by the real client library: orders, trades, cuts, strangers."""

import asyncio
from typing import Any

import ccxt
import msgspec
import pytest
from client_kit import by_another, decided
from imitation_kit import run, served

from onefill.sim.imitations.bybit import BybitImitation

SYMBOL = "BTC/USDT"


async def watching(venue: BybitImitation, watch: Any) -> "asyncio.Task[Any]":
    """Begin to watch, and return when the venue has the stream."""
    before = venue.exchange.listeners("main")
    task = asyncio.create_task(watch)
    while venue.exchange.listeners("main") == before and not task.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    return task


async def buy(venue: BybitImitation, client: Any, quantity: float = 3) -> Any:
    """Have an order made and decided on."""
    made = await client.create_order(SYMBOL, "limit", "buy", quantity, 100, {"orderLinkId": "mine"})
    decided(venue)
    return made


def test_orders_are_told_as_they_change() -> None:
    """New, partly filled, cancelled, with the client's id; what it was cancelled with is ``closed`` to the library."""

    async def scenario() -> None:
        venue = BybitImitation()
        async with served(venue, pro=True, newUpdates=True) as client:
            first = await watching(venue, client.watch_orders())
            made = await buy(venue, client)
            (told,) = await first
            assert (told["id"], told["clientOrderId"]) == (made["id"], "mine")
            assert (told["status"], told["filled"]) == ("open", 0)
            by_another(venue, "sell", 1, 100)
            (told,) = await client.watch_orders()
            assert (told["filled"], told["amount"], told["status"], told["average"]) == (1, 3, "open", 100)
            await client.cancel_order(made["id"], SYMBOL)
            (told,) = await client.watch_orders()
            assert (told["info"]["orderStatus"], told["filled"]) == ("PartiallyFilledCanceled", 1)

    run(scenario)


def test_trades_are_told_as_the_list_has_them() -> None:
    """Id, order, quantity, price, time, fee and the client's id are the same in both."""

    async def scenario() -> None:
        fees = {"fee_rate": "0.001", "fee_currency": "USDT"}
        dialect = msgspec.convert({**msgspec.to_builtins(BybitImitation.dialect), **fees}, type(BybitImitation.dialect))
        venue = BybitImitation(dialect=dialect)
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades())
            await buy(venue, client)
            by_another(venue, "sell", 2, 100)
            (told,) = await watched
            (listed,) = await client.fetch_my_trades(SYMBOL)
            for field in ("id", "order", "symbol", "side", "amount", "price", "timestamp", "fee"):
                assert told[field] == listed[field], field
            assert told["info"]["orderLinkId"] == "mine"
            assert listed["fee"]["cost"] == 0.2

    run(scenario)


def test_a_cut_stream_fails_and_can_be_opened_again() -> None:
    """What happens while nobody listens is not told afterwards; the list has it."""

    async def scenario() -> None:
        venue = BybitImitation()
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades())
            await venue.end_streams()
            with pytest.raises(ccxt.NetworkError):
                await watched
            await buy(venue, client)
            by_another(venue, "sell", 1, 100)
            watched = await watching(venue, client.watch_my_trades())
            by_another(venue, "sell", 2, 100)
            (told,) = await watched
            assert told["amount"] == 2
            assert len(await client.fetch_my_trades(SYMBOL)) == 2

    run(scenario)


def test_a_stranger_is_told_nothing() -> None:
    """Without the account's key there is an error and no stream."""

    async def scenario() -> None:
        venue = BybitImitation()
        async with served(venue, pro=True) as client:
            await client.is_unified_enabled()
            client.apiKey = "somebody's"
            with pytest.raises(ccxt.AuthenticationError, match="API key is invalid"):
                await client.watch_my_trades()
            assert venue.exchange.listeners("main") == 0

    run(scenario)
