"""The user channel of Coinbase as imitated, watched by the real ccxt client: growing totals, cuts and what comes after."""

import asyncio
from typing import Any

import aiohttp
import ccxt
import pytest
from imitation_kit import by_another, run, served

from onefill.sim.imitations.coinbase import CoinbaseImitation

SYMBOL = "BTC/USDT"
FIRST, SECOND = "1" * 32, "2" * 32


async def watching(venue: CoinbaseImitation, watch: Any) -> "asyncio.Task[Any]":
    """Begin to watch, and return when the venue has the stream."""
    task = asyncio.create_task(watch)
    while not venue.exchange.listeners("main") and not task.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    return task


async def told_until(client: Any, status: str, filled: float) -> Any:
    """Watch until an order is told with this state and total, and return it."""
    while True:
        for shown in reversed(await client.watch_orders()):
            if (shown["status"], shown["filled"]) == (status, filled):
                return shown


def test_orders_are_told_with_growing_totals() -> None:
    """What is open stands at the beginning; then each order as it changes, under its own client order id; no single trade."""

    async def scenario() -> None:
        venue = CoinbaseImitation()
        async with served(venue, pro=True) as client:
            made = await client.create_order(SYMBOL, "limit", "buy", 3, 100, {"client_order_id": FIRST})
            (told,) = await client.watch_orders()
            assert (told["id"], told["clientOrderId"], told["status"]) == (made["id"], FIRST, "open")
            watched = asyncio.create_task(told_until(client, "open", 1))
            await asyncio.sleep(0)
            by_another(venue, SYMBOL, "sell", 1, 100)
            told = await watched
            assert (told["remaining"], told["average"]) == (2, 100)
            watched = asyncio.create_task(told_until(client, "canceled", 1))
            await asyncio.sleep(0)
            await client.cancel_order(made["id"], SYMBOL)
            assert (await watched)["clientOrderId"] == FIRST
            assert client.has["watchMyTrades"] is False

    run(scenario)


def test_a_stream_is_cut_and_begins_again() -> None:
    """A cut is an error to who listens; who listens again gets what is open then."""

    async def scenario() -> None:
        venue = CoinbaseImitation()
        async with served(venue, pro=True) as client:
            await client.create_order(SYMBOL, "limit", "buy", 3, 100, {"client_order_id": FIRST})
            await client.watch_orders()
            listening = await watching(venue, client.watch_orders())
            await venue.end_streams()
            with pytest.raises(ccxt.NetworkError):
                await listening
            made = await client.create_order(SYMBOL, "limit", "buy", 3, 99, {"client_order_id": SECOND})
            assert made["id"] in {one["id"] for one in await client.watch_orders()}

    run(scenario)


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"type": "subscribe", "channel": "user", "jwt": "a.b.c"}, "authentication failure"),
        ({"type": "subscribe", "channel": "user"}, "authentication failure"),
        ({"type": "subscribe", "channel": "ticker"}, "unknown type or channel"),
    ],
)
def test_only_who_has_a_token_is_told(asked: dict[str, Any], refusal: str) -> None:
    """Whoever has none hears an error, and nothing of the account."""

    async def scenario() -> None:
        venue = CoinbaseImitation()
        await venue.start()
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{venue.url}/") as socket:
                await socket.send_json(asked)
                assert (await socket.receive_json()) == {"type": "error", "message": refusal}
                assert venue.exchange.listeners("main") == 0
        finally:
            await venue.close()

    run(scenario)
