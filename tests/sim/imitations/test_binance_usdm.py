"""Binance USD-M futures as imitated, asked by the real ccxt client: where they differ from spot."""

from typing import Any

import ccxt
import pytest
from imitation_kit import Clock, by_another, failure, run, served

from onefill.sim.imitations.binance_usdm import BinanceUsdm

BTC = "BTC/USDT:USDT"


def limit(
    client: Any, client_order_id: str, side: str = "buy", amount: float = 1, price: float = 100, **params: Any
) -> Any:
    """Send a limit order."""
    return client.create_order(BTC, "limit", side, amount, price, {"clientOrderId": client_order_id, **params})


def test_an_order_is_made_filled_and_found() -> None:
    """What ccxt reads from a new order, trades, both look-ups and the lists agrees."""

    async def scenario() -> None:
        async with served(BinanceUsdm()) as client:
            made = await limit(client, "first", amount=0.5)
            assert (made["status"], made["clientOrderId"], made["symbol"]) == ("open", "first", BTC)
            sold = await client.create_order(BTC, "market", "sell", 0.2)
            assert (sold["status"], sold["average"]) == ("closed", 100)
            for found in (
                await client.fetch_order(made["id"], BTC),
                await client.fetch_order(None, BTC, {"clientOrderId": "first"}),
            ):
                assert (found["id"], found["status"], found["filled"]) == (made["id"], "open", 0.2)
            assert [one["id"] for one in await client.fetch_open_orders(BTC)] == [made["id"]]
            assert [one["id"] for one in await client.fetch_orders(BTC)] == [made["id"], sold["id"]]
            trades = await client.fetch_my_trades(BTC)
            assert {one["order"]: one["amount"] for one in trades} == {made["id"]: 0.2, sold["id"]: 0.2}

    run(scenario)


def test_a_duplicate_among_open_orders_is_minus_4116() -> None:
    """Its class stands in the futures map, which ccxt looks up by the real address: here it is a bare ExchangeError."""

    async def scenario() -> None:
        venue = BinanceUsdm()
        async with served(venue) as client:
            first = await limit(client, "same")
            assert "-4116" in await failure(ccxt.ExchangeError, limit(client, "same"))
            await client.cancel_order(first["id"], BTC)
            assert (await limit(client, "same"))["id"] != first["id"]
            assert venue.exchange.counts().orders == 2

    run(scenario)


def test_a_cancel_shows_the_orders_own_id() -> None:
    """Unlike on spot. What is dead or unknown is -2011, an unknown order asked about is -2013."""

    async def scenario() -> None:
        async with served(BinanceUsdm()) as client:
            await limit(client, "mine")
            canceled = await client.cancel_order(None, BTC, {"clientOrderId": "mine"})
            assert (canceled["status"], canceled["clientOrderId"]) == ("canceled", "mine")
            again = client.cancel_order(None, BTC, {"clientOrderId": "mine"})
            assert "-2011" in await failure(ccxt.OrderNotFound, again)
            asked = client.fetch_order(None, BTC, {"clientOrderId": "nobody"})
            assert "-2013" in await failure(ccxt.OrderNotFound, asked)

    run(scenario)


def test_a_modify_keeps_both_ids_and_counts_what_is_executed() -> None:
    """PUT gives the same order other quantity and price; the quantity is the whole one."""

    async def scenario() -> None:
        venue = BinanceUsdm()
        async with served(venue) as client:
            made = await limit(client, "mine", amount=3)
            await client.create_order(BTC, "market", "sell", 1)
            edited = await client.edit_order(made["id"], BTC, "limit", "buy", 2, 99)
            assert (edited["id"], edited["clientOrderId"]) == (made["id"], "mine")
            assert (edited["amount"], edited["filled"], edited["remaining"], edited["price"]) == (2, 1, 1, 99)
            assert venue.requests["PUT /fapi/v1/order"] == 1

    run(scenario)


def test_a_modify_that_changes_nothing_or_leaves_nothing() -> None:
    """-5027 for what the order already is; a quantity no larger than what is executed cancels it; a dead one is -2013."""

    async def scenario() -> None:
        async with served(BinanceUsdm()) as client:
            made = await limit(client, "mine", amount=3)
            await client.create_order(BTC, "market", "sell", 1)
            same = client.edit_order(made["id"], BTC, "limit", "buy", 3, 100)
            assert "-5027" in await failure(ccxt.ExchangeError, same)
            assert (await client.edit_order(made["id"], BTC, "limit", "buy", 1, 100))["status"] == "canceled"
            dead = client.edit_order(made["id"], BTC, "limit", "buy", 2, 100)
            assert "-2013" in await failure(ccxt.OrderNotFound, dead)

    run(scenario)


def test_the_window_is_checked_at_receipt_and_by_the_matching_engine() -> None:
    """-1021 for a request that comes too late, -5028 for one that came in time and was matched too late."""

    async def scenario() -> None:
        clock = Clock()
        venue = BinanceUsdm(clock_us=clock)
        async with served(venue) as client:
            clock.forward(3)
            assert "-1021" in await failure(ccxt.InvalidNonce, limit(client, "late", recvWindow=2000))
            clock.ahead_us = 0
            venue.queue_us = 3_000_000
            # ccxt knows this code for the exchange itself, whatever the address.
            assert "-5028" in await failure(ccxt.InvalidOrder, limit(client, "slow", recvWindow=2000))
            assert venue.exchange.counts().orders == 0

    run(scenario)


def test_positions_follow_trades() -> None:
    """A position shows side, contracts and the average price at which it was opened; a flat instrument is not listed."""

    async def scenario() -> None:
        venue = BinanceUsdm()
        async with served(venue) as client:
            assert await client.fetch_positions() == []
            await limit(client, "bid", amount=2)
            by_another(venue, BTC, "sell", 2, 100)
            (position,) = await client.fetch_positions()
            assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 2)
            assert position["entryPrice"] == 100
            await limit(client, "offer", "sell", amount=5, price=110)
            by_another(venue, BTC, "buy", 5, 110)
            (position,) = await client.fetch_positions()
            assert (position["side"], position["contracts"], position["entryPrice"]) == ("short", 3, 110)
            assert (await client.fetch_balance())["USDT"]["total"] == pytest.approx(1_000_020 - 0.0004 * 750)

    run(scenario)


def test_a_span_of_trades_is_at_most_a_week() -> None:
    """A longer one is -1127, and a beginning beside fromId is -1128."""

    async def scenario() -> None:
        clock = Clock()
        async with served(BinanceUsdm(clock_us=clock)) as client:
            start = clock() // 1000
            far = client.fetch_my_trades(BTC, start, 10, {"until": start + 8 * 86_400_000})
            assert "-1127" in await failure(ccxt.BadRequest, far)
            assert "-1128" in await failure(ccxt.BadRequest, client.fetch_my_trades(BTC, start, 10, {"fromId": 1}))

    run(scenario)
