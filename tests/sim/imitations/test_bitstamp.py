"""The imitation of Bitstamp answers the real client library as the venue's documentation says."""

from typing import Any

import ccxt.async_support as ccxt
import pytest
from imitation_kit import by_another, imitated, run

from onefill.sim.imitations.bitstamp import GOOD_FOR_US, BitstampImitation

BTC = "BTC/USDT"
FIRST, SECOND = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def test_markets_are_those_of_the_exchange_with_its_steps() -> None:
    """The library makes of the markets the exchange's own symbols and steps."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, _, _):
            await client.load_markets()
            assert client.symbols == [BTC]
            assert client.markets[BTC]["precision"] == {"amount": 1e-08, "price": 0.01}
            assert client.markets[BTC]["id"] == "btcusdt"

    run(scenario)


def test_an_id_is_refused_while_its_order_is_open() -> None:
    """400.019 for the id of a live order; after a fill the same id makes a second order."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, imitation, _):
            first = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            assert (first["clientOrderId"], first["status"], first["amount"]) == (FIRST, None, 1)
            with pytest.raises(ccxt.ExchangeError, match=r"400\.019"):
                await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            by_another(imitation, BTC, "sell", "1", "100")
            second = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            assert second["id"] != first["id"]
            shown = await client.fetch_order(None, BTC, {"clientOrderId": FIRST})
            assert shown["id"] == second["id"]

    run(scenario)


def test_the_status_of_an_order_shows_neither_its_price_nor_its_quantity() -> None:
    """What is left and what was traded is all there is; the library reads it without its quantity."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, imitation, _):
            made = await client.create_order(BTC, "limit", "buy", 2, 100, {"clientOrderId": FIRST})
            by_another(imitation, BTC, "sell", "0.5", "100")
            shown = await client.fetch_order(made["id"], BTC)
            assert (shown["status"], shown["filled"], shown["price"], shown["amount"]) == ("open", 0.5, None, None)
            assert shown["info"]["amount_remaining"] == "1.5"
            (listed,) = await client.fetch_open_orders(BTC)
            assert (listed["price"], listed["amount"]) == (100, 1.5)
            assert listed["info"]["amount_at_create"] == "2"
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order("1", BTC)

    run(scenario)


def test_a_cancel_through_the_library_names_no_order_by_its_client_id() -> None:
    """The library sends ``id=None`` beside the client's id; the venue's own method takes the id alone."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, _, _):
            made = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            with pytest.raises(ccxt.OrderNotFound):
                await client.cancel_order(None, BTC, {"client_order_id": FIRST})
            reply = await client.privatePostCancelOrder({"client_order_id": FIRST})
            assert str(reply["id"]) == made["id"]
            assert (await client.fetch_order(made["id"], BTC))["status"] == "canceled"
            with pytest.raises(ccxt.OrderNotFound):
                await client.cancel_order(made["id"], BTC)

    run(scenario)


def test_a_request_is_good_for_150_seconds_and_its_nonce_for_once() -> None:
    """What comes later, or a second time, makes no order; neither does anything under another key."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, imitation, clock):
            await client.load_markets()
            clock.ahead_us = GOOD_FOR_US + 1_000_000
            with pytest.raises(ccxt.InvalidNonce):
                await client.create_order(BTC, "limit", "buy", 1, 100)
            clock.ahead_us = 0
            client.uuid = lambda: "0" * 36
            await client.create_order(BTC, "limit", "buy", 1, 100)
            with pytest.raises(ccxt.InvalidNonce):
                await client.create_order(BTC, "limit", "buy", 1, 100)
            client.apiKey = "another"
            with pytest.raises(ccxt.AuthenticationError):
                await client.create_order(BTC, "limit", "buy", 1, 100)
            assert imitation.exchange.counts().submits == 1

    run(scenario)


def test_a_replace_makes_another_order_whose_amount_counts_from_zero() -> None:
    """The old order ends; the reply tells the old id, which the library takes for the new order's."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, imitation, _):
            made = await client.create_order(BTC, "limit", "buy", 2, 100, {"clientOrderId": FIRST})
            by_another(imitation, BTC, "sell", "0.5", "100")
            params = {"id": made["id"], "client_order_id": SECOND}
            reply = await client.edit_order(made["id"], BTC, "limit", "buy", 2, 101, params)
            assert reply["clientOrderId"] == FIRST
            assert (await client.fetch_order(made["id"], BTC))["status"] == "canceled"
            (listed,) = await client.fetch_open_orders(BTC)
            assert (listed["id"], listed["clientOrderId"], listed["amount"]) == (reply["id"], SECOND, 2)
            by_another(imitation, BTC, "sell", "2", "101")
            shown = await client.fetch_order(None, BTC, {"clientOrderId": SECOND})
            assert (shown["status"], shown["filled"]) == ("closed", 2)

    run(scenario)


def test_times_in_force_are_switches_of_their_own() -> None:
    """``ioc_order`` and ``fok_order`` do what they say; the library's ``timeInForce`` arrives as nothing the venue knows."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, imitation, _):
            by_another(imitation, BTC, "sell", "1", "100")
            for switch, traded in (("fok_order", None), ("ioc_order", 1)):
                made = await client.create_order(BTC, "limit", "buy", 2, 100, {switch: True})
                shown = await client.fetch_order(made["id"], BTC)
                assert (shown["status"], shown["filled"]) == ("canceled", traded)
            with pytest.raises(ccxt.ExchangeError, match="timeInForce"):
                await client.create_order(BTC, "limit", "buy", 1, 100, {"timeInForce": "IOC"})
            by_another(imitation, BTC, "sell", "1", "102")
            made = await client.create_order(BTC, "market", "buy", 1)
            assert (await client.fetch_order(made["id"], BTC))["status"] == "closed"

    run(scenario)


def test_trades_come_in_pages_the_latest_first() -> None:
    """Offset and limit page; a sale is below zero; each trade names its order by number only."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, imitation, _):
            buy = await client.create_order(BTC, "limit", "buy", 3, 100, {"clientOrderId": FIRST})
            for quantity in ("0.5", "1", "1.5"):
                by_another(imitation, BTC, "sell", quantity, "100")
            by_another(imitation, BTC, "buy", "1", "99")
            await client.create_order(BTC, "limit", "sell", 1, 99)
            trades = await client.fetch_my_trades(BTC)
            assert [(one["side"], one["amount"], one["price"]) for one in trades] == [
                ("buy", 0.5, 100),
                ("buy", 1, 100),
                ("buy", 1.5, 100),
                ("sell", 1, 99),
            ]
            assert {one["order"] for one in trades[:3]} == {buy["id"]}
            assert all("client_order_id" not in one["info"] for one in trades)
            page = await client.privatePostUserTransactionsPair({"pair": "btcusdt", "offset": 1, "limit": 2})
            assert [one["btc"] for one in page] == ["1.5", "1"]

    run(scenario)


def test_what_the_market_does_not_take_is_refused_in_words() -> None:
    """Too many decimal places, an unknown market and a malformed id are refused, each by its code."""

    async def scenario() -> None:
        async with imitated(BitstampImitation) as (client, _, _):
            wrong: list[tuple[dict[str, Any], str]] = [
                ({"pair": "btcusdt", "amount": "0.000000001", "price": "100"}, r"400\.020|400\.026"),
                ({"pair": "nocoin", "amount": "1", "price": "100"}, r"400\.003"),
                ({"pair": "btcusdt", "amount": "1", "price": "100", "client_order_id": "no spaces"}, r"400\.008"),
                ({"pair": "btcusdt", "amount": "1", "price": "100", "ioc_order": True, "fok_order": True}, r"400\.024"),
                ({"pair": "btcusdt", "amount": "one", "price": "100"}, r"400\.026"),
            ]
            for asked, code in wrong:
                with pytest.raises(ccxt.ExchangeError, match=code):
                    await client.privatePostBuyPair(asked)
            balance = await client.fetch_balance()
            assert balance["total"] == {"BTC": 1_000_000, "USDT": 1_000_000}

    run(scenario)
