"""The private WebSockets of OKX and Deribit as imitated, watched by the real ccxt client: orders, trades, cuts, strangers."""

import asyncio
from decimal import Decimal
from typing import Any

import ccxt
import msgspec
import pytest
from imitation_kit import by_another, run, served

from onefill.sim.imitations.base import Imitation
from onefill.sim.imitations.deribit import DeribitImitation
from onefill.sim.imitations.okx import OkxImitation

BTC = "BTC/USDT"
KINDS: list[type[Imitation]] = [OkxImitation, DeribitImitation]
BOTH = pytest.mark.parametrize("kind", KINDS)


def named(kind: type[Imitation], name: str) -> dict[str, str]:
    """Return how an order is given an id of the client's."""
    return {"clOrdId": name} if kind is OkxImitation else {"label": name}


def name_of(shown: Any) -> str:
    """Return the client's id that an order or trade shows."""
    return str(shown["info"].get("clOrdId") or shown["info"].get("label"))


def with_fees(kind: type[Imitation]) -> Imitation:
    """Return an imitation that takes a tenth of a percent."""
    fees = msgspec.structs.replace(kind.dialect, fee_rate=Decimal("0.001"), fee_currency="USDT")
    return kind(dialect=fees)


async def watching(venue: Imitation, watch: Any) -> "asyncio.Task[Any]":
    """Begin to watch, and return when the venue has the stream."""
    before = venue.exchange.listeners("main")
    task = asyncio.create_task(watch)
    while venue.exchange.listeners("main") == before and not task.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    return task


@BOTH
def test_orders_are_told_as_they_change(kind: type[Imitation]) -> None:
    """New, partly filled, cancelled: each message shows the order as it was then, with the client's id."""

    async def scenario() -> None:
        venue = kind()
        async with served(venue, pro=True, newUpdates=True) as client:
            first = await watching(venue, client.watch_orders(BTC if kind is DeribitImitation else None))
            made = await client.create_order(BTC, "limit", "buy", 3, 100, named(kind, "mine"))
            (told,) = await first
            assert (told["id"], told["status"], told["filled"]) == (made["id"], "open", 0)
            assert name_of(told) == "mine"
            by_another(venue, BTC, "sell", 1, 100)
            (told,) = await client.watch_orders()
            assert (told["filled"], told["amount"], told["status"], told["average"]) == (1, 3, "open", 100)
            await client.cancel_order(made["id"], BTC)
            (told,) = await client.watch_orders()
            assert (told["status"], told["filled"]) == ("canceled", 1)

    run(scenario)


@BOTH
def test_trades_are_told_as_the_list_has_them(kind: type[Imitation]) -> None:
    """Id, order, quantity, price and time of a watched trade are those of the list of trades."""

    async def scenario() -> None:
        venue = with_fees(kind)
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades())
            await client.create_order(BTC, "limit", "buy", 3, 100, named(kind, "mine"))
            by_another(venue, BTC, "sell", 2, 100)
            (told,) = await watched
            (listed,) = await client.fetch_my_trades(BTC)
            for field in ("id", "order", "symbol", "side", "amount", "price", "takerOrMaker", "timestamp"):
                assert told[field] == listed[field], field
            assert name_of(told) == name_of(listed) == "mine"
            assert listed["fee"] == {"cost": 0.2, "currency": "USDT"}

    run(scenario)


def test_ccxt_turns_the_fee_of_a_watched_trade_at_okx_round() -> None:
    """What was paid is above zero in the list, and below zero in the stream: a rebate, as ccxt reads it."""

    async def scenario() -> None:
        venue = with_fees(OkxImitation)
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades())
            await client.create_order(BTC, "limit", "buy", 3, 100)
            by_another(venue, BTC, "sell", 2, 100)
            (told,) = await watched
            (listed,) = await client.fetch_my_trades(BTC)
            assert (told["fee"]["cost"], listed["fee"]["cost"]) == (-0.2, 0.2)

    run(scenario)


@BOTH
def test_a_cut_stream_fails_and_can_be_opened_again(kind: type[Imitation]) -> None:
    """What happens while nobody listens is not told afterwards; the list has it."""

    async def scenario() -> None:
        venue = kind()
        async with served(venue, pro=True, newUpdates=True) as client:
            watched = await watching(venue, client.watch_my_trades())
            await venue.end_streams()
            with pytest.raises(ccxt.NetworkError):
                await watched
            await client.create_order(BTC, "limit", "buy", 3, 100)
            by_another(venue, BTC, "sell", 1, 100)
            watched = await watching(venue, client.watch_my_trades())
            by_another(venue, BTC, "sell", 2, 100)
            (told,) = await watched
            assert told["amount"] == 2
            assert len(await client.fetch_my_trades(BTC)) == 2

    run(scenario)


def test_a_stranger_is_told_nothing_at_okx() -> None:
    """Without the account's key there is an error and no stream."""

    async def scenario() -> None:
        venue = OkxImitation()
        async with served(venue, pro=True) as client:
            client.apiKey = "somebody's"
            with pytest.raises(ccxt.AuthenticationError, match="60005"):
                await client.watch_my_trades()
            assert venue.exchange.listeners("main") == 0

    run(scenario)


def test_a_stranger_waits_for_ever_at_deribit() -> None:
    """ccxt raises the refusal in a callback of its own, where nobody catches it: whoever watches hears nothing."""

    async def scenario() -> None:
        venue = DeribitImitation()
        async with served(venue, pro=True) as client:
            client.apiKey = "somebody's"
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().set_exception_handler(lambda _, said: refused.set_result(said["exception"]))
            watched = asyncio.create_task(client.watch_my_trades())
            assert "13004" in str(await refused)
            assert not watched.done()
            assert venue.exchange.listeners("main") == 0
            watched.cancel()
            await asyncio.gather(watched, return_exceptions=True)

    run(scenario)
