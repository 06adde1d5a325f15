"""The imitation of Coinbase Advanced answers the real client library as the profile says the venue does."""

import asyncio
import contextlib
import datetime as dt
from typing import Any

import ccxt as ccxt_sync
import ccxt.async_support as ccxt
import pytest
from imitation_kit import Clock, by_another, run, served

from onefill.sim.imitations.coinbase import KEY_NAME, CoinbaseImitation
from onefill.venues.ccxt.address import point
from onefill.venues.profile import load

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
UUID = "11111111-1111-1111-1111-111111111111"


def test_markets_are_those_of_the_exchange_with_its_steps() -> None:
    """The library makes of the products the exchange's own symbols and steps."""

    async def scenario() -> None:
        async with served(CoinbaseImitation()) as client:
            await client.load_markets()
            assert client.symbols == [SYMBOL]
            market = client.markets[SYMBOL]
            assert market["precision"] == {"amount": 1e-08, "price": 0.01}
            assert (market["id"], market["spot"]) == ("BTC-USDT", True)

    run(scenario)


def test_a_repeat_is_answered_with_the_original_for_ever() -> None:
    """Open, filled or cancelled: the same id makes no second order, and the reply names the first."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 1, 100)
            for number, price in ((FIRST, 99), (SECOND, 100), (THIRD, 99)):
                params = {"client_order_id": number}
                made = await client.create_order(SYMBOL, "limit", "buy", 1, price, params)
                assert made["clientOrderId"] == number
                if number == THIRD:
                    await client.cancel_order(made["id"])
                again = await client.create_order(SYMBOL, "limit", "buy", 1, price, params)
                assert again["id"] == made["id"]
            states = {one["clientOrderId"]: one["status"] for one in await client.fetch_orders(SYMBOL)}
            assert states == {FIRST: "open", SECOND: "closed", THIRD: "canceled"}
            assert imitation.exchange.counts().duplicates == 3

    run(scenario)


def test_an_id_is_a_uuid_with_and_without_hyphens() -> None:
    """The exchange takes both for one; the client sees it as it wrote it."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"client_order_id": UUID})
            again = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"client_order_id": FIRST})
            assert again["id"] == made["id"]
            assert (await client.fetch_order(made["id"]))["clientOrderId"] == UUID
            assert [one.client_order_id for one in imitation.exchange.all_orders()] == [FIRST]

    run(scenario)


def test_a_refusal_comes_with_http_200_and_the_library_calls_it_a_mere_error() -> None:
    """``success: false``; the reason is in the text alone, for the library reads another field."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            await client.load_markets()
            for changes, reason in (
                ({"limit_price": "100.001"}, "INVALID_PRICE_PRECISION"),
                ({"base_size": "0.000000001"}, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
            ):
                with pytest.raises(ccxt.ExchangeError, match=reason) as error:
                    await client.v3PrivatePostBrokerageOrders(_order(**changes))
                assert type(error.value) is ccxt.ExchangeError
            with pytest.raises(ccxt.BadRequest, match="INVALID_ARGUMENT"):
                await client.v3PrivatePostBrokerageOrders({"product_id": "BTC-USDT"})
            for kind, written in (("limit_limit_gtd", {}), ("limit_limit_gtc", {"post_only": True})):
                with pytest.raises(ccxt.BadRequest, match="UNSUPPORTED_ORDER_CONFIGURATION"):
                    await client.v3PrivatePostBrokerageOrders({**_order(), "order_configuration": {kind: written}})
            assert imitation.exchange.counts().orders == 0

    run(scenario)


def test_fill_or_kill_and_immediate_or_cancel_do_what_they_say() -> None:
    """What cannot trade at once is gone. The library shows a fill-or-kill order without quantity and price."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 1, 100)
            for force, traded in (("FOK", 0), ("IOC", 1)):
                made = await client.create_order(SYMBOL, "limit", "buy", 2, 100, {"timeInForce": force})
                shown = await client.fetch_order(made["id"])
                assert (shown["status"], shown["filled"], shown["timeInForce"]) == ("canceled", traded, force)
                assert shown["amount"] == (None if force == "FOK" else 2)

    run(scenario)


def test_a_market_buy_names_its_cost_or_by_hand_its_quantity() -> None:
    """The library sends what it is to cost; as much is bought as there is for that, in whole steps."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 1, 100)
            by_another(imitation, SYMBOL, "sell", 5, 200)
            made = await client.create_order(SYMBOL, "market", "buy", 3, 100)
            shown = await client.fetch_order(made["id"])
            assert (shown["status"], shown["filled"], shown["average"]) == ("closed", 2, 150)
            params = {"order_configuration": {"market_market_ioc": {"base_size": "2"}}}
            made = await client.create_order(SYMBOL, "market", "buy", 1, 1, params)
            assert (await client.fetch_order(made["id"]))["filled"] == 2
            by_another(imitation, SYMBOL, "buy", 1, 90)
            made = await client.create_order(SYMBOL, "market", "sell", 1)
            assert (await client.fetch_order(made["id"]))["average"] == 90
            await client.create_order(SYMBOL, "market", "buy", 2, 200)
            with pytest.raises(ccxt.ExchangeError, match="INVALID_NO_LIQUIDITY"):
                await client.create_order(SYMBOL, "market", "buy", 1, 200)

    run(scenario)


def test_cancels_have_a_flag_each() -> None:
    """One of two orders is dead: its flag is down, and the library hides the one that was cancelled."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first = await client.create_order(SYMBOL, "limit", "buy", 1, 100)
            second = await client.create_order(SYMBOL, "limit", "buy", 1, 100)
            shown = await client.cancel_order(first["id"], SYMBOL)
            assert (shown["id"], shown["status"]) == (first["id"], None)
            numbers = [first["id"], second["id"], UUID]
            with pytest.raises(ccxt.BadRequest):
                await client.cancel_orders(numbers, SYMBOL)
            assert await client.fetch_open_orders(SYMBOL) == []
            raw = await client.v3PrivatePostBrokerageOrdersBatchCancel({"order_ids": [UUID]})
            assert raw["results"] == [{"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER", "order_id": UUID}]

    run(scenario)


def test_an_edit_keeps_the_order_and_one_that_fails_looks_like_one_that_did_not() -> None:
    """``success: false`` with HTTP 200 raises nothing in the library: only ``info`` tells."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"client_order_id": FIRST})
            reply = await client.edit_order(made["id"], SYMBOL, "limit", "buy", 2, 101)
            assert (reply["id"], reply["info"]["success"]) == (None, True)
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"]) == (made["id"], FIRST)
            assert (shown["amount"], shown["price"]) == (2, 101)
            by_another(imitation, SYMBOL, "sell", 2, 101)
            for number, reason in ((made["id"], "ORDER_NOT_FOUND"), (UUID, "ORDER_NOT_FOUND")):
                failed = await client.edit_order(number, SYMBOL, "limit", "buy", 3, 101)
                assert failed["info"]["success"] is False
                assert failed["info"]["errors"][0]["edit_failure_reason"] == reason

    run(scenario)


def test_an_order_is_shown_by_its_number_alone_and_an_unknown_one_is_a_mere_error() -> None:
    """There is no query by client id; the library knows the words of "not found", and looks for them elsewhere."""

    async def scenario() -> None:
        async with served(CoinbaseImitation()) as client:
            await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"client_order_id": FIRST})
            for number in (FIRST, UUID):
                with pytest.raises(ccxt.ExchangeError, match="order with this orderID was not found") as error:
                    await client.fetch_order(number)
                assert not isinstance(error.value, ccxt.OrderNotFound)

    run(scenario)


def test_orders_and_fills_come_page_by_page_the_latest_first() -> None:
    """A cursor leads on, also when new ones have come; the library reads one page."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 300, 100)
            for _ in range(120):
                await client.create_order(SYMBOL, "limit", "buy", 1, 100)
            assert len(await client.fetch_orders(SYMBOL)) == 100
            assert len(await client.fetch_my_trades(SYMBOL)) == 100
            seen: set[str] = set()
            cursor = None
            while cursor != "":
                asked = {"limit": 50} if cursor is None else {"limit": 50, "cursor": cursor}
                shown = await client.v3PrivateGetBrokerageOrdersHistoricalFills(asked)
                cursor = shown["cursor"]
                seen |= {one["trade_id"] for one in shown["fills"]}
                await client.create_order(SYMBOL, "limit", "buy", 1, 100)
            assert len(seen) == 120
            first = await client.v3PrivateGetBrokerageOrdersHistoricalBatch({"limit": 100})
            assert first["has_next"] is True
            rest = await client.v3PrivateGetBrokerageOrdersHistoricalBatch({"limit": 100, "cursor": first["cursor"]})
            assert (len(rest["orders"]), rest["has_next"], rest["cursor"]) == (23, False, "")
            soon = dt.datetime.fromtimestamp(imitation.clock_us() // 1_000_000 + 60, dt.UTC).isoformat()
            later = await client.v3PrivateGetBrokerageOrdersHistoricalBatch({"start_date": soon})
            assert later["orders"] == []

    run(scenario)


def test_balances_follow_the_trades() -> None:
    """By the older list and by the newer one."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 2, 100)
            await client.create_order(SYMBOL, "limit", "buy", 2, 100)
            for params in ({}, {"v3": True}):
                total = (await client.fetch_balance(params))["total"]
                assert (total["BTC"], total["USDT"]) == (2, 999_800)

    run(scenario)


def test_only_a_token_of_the_key_for_this_request_and_in_time_is_taken() -> None:
    """A token is good for 120 s; that bounds no single request, for each has a new one."""

    async def scenario() -> None:
        with pytest.raises(ccxt.AuthenticationError):
            async with served(CoinbaseImitation(), apiKey="organizations/other/apiKeys/other"):
                raise AssertionError("another key was taken")
        clock = Clock()
        imitation = CoinbaseImitation(clock_us=clock)
        async with served(imitation) as client:
            clock.forward(180)
            with pytest.raises(ccxt.AuthenticationError):
                await client.create_order(SYMBOL, "limit", "buy", 1, 100)
        assert imitation.exchange.counts().submits == 0
        assert CoinbaseImitation.config()["apiKey"] == KEY_NAME

    run(scenario)


def test_a_reply_can_be_spoilt_after_the_order_was_taken() -> None:
    """What drills need: the client hears nothing, the venue has the order."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with served(imitation, timeout=300) as client:
            never = asyncio.Event()

            async def silence(reply: Any) -> Any:
                await never.wait()
                return reply

            await client.load_markets()
            imitation.spoilt.append(silence)
            with pytest.raises(ccxt.RequestTimeout):
                await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"client_order_id": FIRST})
            never.set()
            assert [one["clientOrderId"] for one in await client.fetch_open_orders(SYMBOL)] == [FIRST]

    run(scenario)


def test_the_synchronous_client_is_answered_likewise() -> None:
    """The same requests by another transport: an order is made, shown, changed and cancelled."""

    def session(url: str) -> None:
        client = point(ccxt_sync.coinbase(CoinbaseImitation.config()), url)
        with contextlib.closing(client.session):
            made = client.create_order(SYMBOL, "limit", "buy", 0.5, 100, {"client_order_id": FIRST})
            assert [one["clientOrderId"] for one in client.fetch_open_orders(SYMBOL)] == [FIRST]
            client.edit_order(made["id"], SYMBOL, "limit", "buy", 0.75, 101)
            assert client.fetch_order(made["id"])["amount"] == 0.75
            client.cancel_order(made["id"], SYMBOL)
            assert client.fetch_order(made["id"])["status"] == "canceled"
            assert client.fetch_my_trades(SYMBOL) == []

    async def scenario() -> None:
        imitation = CoinbaseImitation()
        await imitation.start()
        try:
            await asyncio.to_thread(session, imitation.url)
        finally:
            await imitation.close()

    run(scenario)


def test_the_dialect_is_what_the_profile_says() -> None:
    """The imitation promises no more and no less about repeats than the profile that it is coded to."""
    shown, promised = CoinbaseImitation().exchange.capabilities, load("coinbase").capabilities
    for name in ("unique_scope", "duplicate_reply", "lookup", "request_expiry_s", "conclusive_after_s", "replace"):
        assert getattr(shown, name) == getattr(promised, name), name
    assert shown.cancel_by_client_order_id is promised.cancel_by_client_order_id is False


def _order(**changes: str) -> dict[str, Any]:
    written = {"base_size": "1", "limit_price": "100"} | changes
    return {
        "client_order_id": FIRST,
        "product_id": "BTC-USDT",
        "side": "BUY",
        "order_configuration": {"limit_limit_gtc": written},
    }
