"""The executions channel of Kraken as imitated, watched by the real ccxt client: orders, trades, cuts and what comes after."""

import asyncio
from typing import Any

import aiohttp
import ccxt
import pytest
from imitation_kit import by_another, run, served

from onefill.sim.imitations.kraken import KrakenImitation

SYMBOL = "BTC/USDT"
FIRST, SECOND = "1" * 32, "2" * 32


async def watching(venue: KrakenImitation, watch: Any) -> "asyncio.Task[Any]":
    """Begin to watch, and return when the venue has the stream."""
    task = asyncio.create_task(watch)
    while not venue.exchange.listeners("main") and not task.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    return task


def test_orders_are_told_as_they_change() -> None:
    """New and cancelled. The library gives the user reference for a client order id; the id stands beside it.

    The event of a cancel names no symbol: who watches the orders of one symbol does not hear of it.
    """

    async def scenario() -> None:
        venue = KrakenImitation()
        async with served(venue, pro=True, newUpdates=True) as client:
            first = await watching(venue, client.watch_orders())
            made = await client.create_order(SYMBOL, "limit", "buy", 3, 100, {"cl_ord_id": FIRST})
            (told,) = await first
            assert (told["id"], told["status"], told["amount"]) == (made["id"], "open", 3)
            assert (told["clientOrderId"], told["info"]["cl_ord_id"]) == ("0", FIRST)
            ending = asyncio.create_task(client.cancel_order(made["id"], SYMBOL))
            while told["status"] == "open":
                (*_, told) = await client.watch_orders()
            await ending
            assert (told["id"], told["status"], told["symbol"]) == (made["id"], "canceled", None)
            assert told["info"]["cl_ord_id"] == FIRST

    run(scenario)


def test_trades_are_told_under_the_ids_that_the_list_has() -> None:
    """So it is here; that it is so at the venue is nowhere stated."""

    async def scenario() -> None:
        venue = KrakenImitation()
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades(SYMBOL))
            await client.create_order(SYMBOL, "limit", "buy", 3, 100)
            by_another(venue, SYMBOL, "sell", 2, 100)
            (told,) = await watched
            (listed,) = await client.fetch_my_trades(SYMBOL)
            for field in ("id", "order", "side", "amount", "price", "timestamp", "symbol"):
                assert told[field] == listed[field], field

    run(scenario)


def test_what_is_open_stands_at_the_beginning_and_its_trades_if_wanted() -> None:
    """One message, of which the library goes by the first event: the trades in it are taken for states of orders."""

    async def scenario() -> None:
        venue = KrakenImitation()
        async with served(venue, pro=True) as client:
            first = await client.create_order(SYMBOL, "limit", "buy", 3, 100, {"cl_ord_id": FIRST})
            by_another(venue, SYMBOL, "sell", 1, 100)
            second = await client.create_order(SYMBOL, "limit", "buy", 3, 99, {"cl_ord_id": SECOND})
            shown = {one["id"]: one for one in await client.watch_orders(SYMBOL, None, None, {"snap_trades": True})}
            assert shown.keys() == {first["id"], second["id"]}
            assert shown[first["id"]]["info"]["exec_type"] == "trade"
            assert shown[second["id"]]["info"]["cl_ord_id"] == SECOND

    run(scenario)


def test_a_stream_is_cut_and_begins_again() -> None:
    """A cut is an error to who listens; who listens again gets what is open then."""

    async def scenario() -> None:
        venue = KrakenImitation()
        async with served(venue, pro=True) as client:
            listening = await watching(venue, client.watch_orders(SYMBOL))
            await venue.end_streams()
            with pytest.raises(ccxt.NetworkError):
                await listening
            made = await client.create_order(SYMBOL, "limit", "buy", 3, 100)
            assert [one["id"] for one in await client.watch_orders(SYMBOL)] == [made["id"]]

    run(scenario)


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"method": "subscribe", "params": {"channel": "executions", "token": "another"}}, "ESession:Invalid session"),
        ({"method": "subscribe", "params": {"channel": "ticker"}}, "Unsupported method or channel"),
        ({"method": "ping"}, None),
    ],
)
def test_only_who_has_the_token_is_told(asked: dict[str, Any], refusal: str | None) -> None:
    """A ping is answered to anybody."""

    async def scenario() -> None:
        venue = KrakenImitation()
        await venue.start()
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{venue.url}/v2") as socket:
                assert (await socket.receive_json())["channel"] == "status"
                await socket.send_json({**asked, "req_id": 7})
                answer = await socket.receive_json()
                assert (answer["req_id"], answer.get("error")) == (7, refusal)
                assert venue.exchange.listeners("main") == 0
        finally:
            await venue.close()

    run(scenario)
