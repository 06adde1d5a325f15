"""The imitation of Gemini answers the real client library as the venue's documentation says."""

import ccxt.async_support as ccxt
import pytest
from imitation_kit import by_another, imitated, run

from onefill.sim.imitations.gemini import GeminiImitation

BTC = "BTC/USDT"
FIRST = "suite-first-1"


def test_markets_and_their_steps_come_from_the_venues_web_page() -> None:
    """The library reads the steps from a page for people; asked to, it reads the API's own details."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            await client.load_markets()
            assert client.symbols == [BTC]
            assert client.markets[BTC]["precision"] == {"amount": 1e-08, "price": 0.01}
            assert imitation.requests["GET /"] == 1
        details = {
            "fetchMarketsFromAPI": {"fetchDetailsForAllSymbols": True},
            "fetchCurrencies": {"webApiEnable": False},
        }
        async with imitated(GeminiImitation, options=details) as (client, imitation, _):
            await client.load_markets()
            assert client.markets[BTC]["precision"] == {"amount": 1e-08, "price": 0.01}
            assert imitation.requests["GET /"] == 0

    run(scenario)


def test_an_id_is_never_checked() -> None:
    """The trap: a second request under one id makes a second order, while the first is live."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            made = [await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST}) for _ in range(2)]
            assert len({one["id"] for one in made}) == 2
            assert {one["clientOrderId"] for one in made} == {FIRST}
            assert {one["status"] for one in made} == {"open"}
            assert imitation.exchange.counts().open_orders == 2

    run(scenario)


def test_a_status_by_client_id_needs_the_venues_own_name_for_it() -> None:
    """The unified parameter is passed over and the number missed; the native one finds the latest order, dead or alive."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            made = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            by_another(imitation, BTC, "sell", "1", "100")
            with pytest.raises(ccxt.InvalidOrder, match="order_id"):
                await client.fetch_order(None, BTC, {"clientOrderId": FIRST})
            shown = await client.fetch_order(None, BTC, {"client_order_id": FIRST})
            assert (shown["id"], shown["status"], shown["filled"], shown["average"]) == (made["id"], "closed", 1, 100)
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order(None, BTC, {"client_order_id": "another"})
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order("1", BTC)

    run(scenario)


def test_a_cancel_takes_a_number_and_shows_what_is_true() -> None:
    """By client id nothing is cancelled; of a filled order the reply shows that it is filled."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            made = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            with pytest.raises(ccxt.InvalidOrder):
                await client.cancel_order(None, BTC, {"client_order_id": FIRST})
            assert imitation.exchange.counts().open_orders == 1
            assert (await client.cancel_order(made["id"]))["status"] == "canceled"
            assert (await client.cancel_order(made["id"]))["status"] == "canceled"
            filled = await client.create_order(BTC, "limit", "buy", 1, 100)
            by_another(imitation, BTC, "sell", "1", "100")
            assert (await client.cancel_order(filled["id"]))["status"] == "closed"
            with pytest.raises(ccxt.OrderNotFound):
                await client.cancel_order("1")

    run(scenario)


def test_a_nonce_must_rise() -> None:
    """A request that was overtaken by a later one makes no order; neither does one under another key."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            await client.load_markets()
            nonces = iter([20, 10, 30])
            client.incrementing_nonce = lambda: next(nonces)
            await client.create_order(BTC, "limit", "buy", 1, 100)
            with pytest.raises(ccxt.InvalidNonce):
                await client.create_order(BTC, "limit", "buy", 1, 100)
            await client.create_order(BTC, "limit", "buy", 1, 100)
            client.apiKey = "account-another"
            client.incrementing_nonce = lambda: 40
            with pytest.raises(ccxt.AuthenticationError):
                await client.create_order(BTC, "limit", "buy", 1, 100)
            assert imitation.exchange.counts().submits == 2

    run(scenario)


def test_times_in_force_are_options() -> None:
    """What cannot trade at once is cancelled; the library sends no market order at all."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            by_another(imitation, BTC, "sell", "1", "100")
            for force, traded in (("FOK", 0), ("IOC", 1)):
                made = await client.create_order(BTC, "limit", "buy", 2, 100, {"timeInForce": force})
                assert (made["status"], made["filled"]) == ("canceled", traded)
            submits = imitation.exchange.counts().submits
            with pytest.raises(ccxt.ExchangeError, match="limit orders only"):
                await client.create_order(BTC, "market", "buy", 1)
            assert imitation.exchange.counts().submits == submits

    run(scenario)


def test_trades_since_a_moment_are_the_earliest_and_without_one_the_latest() -> None:
    """So one pages forward; each trade tells its order's number and client id."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, imitation, _):
            made = await client.create_order(BTC, "limit", "buy", 4, 100, {"clientOrderId": FIRST})
            for quantity in ("0.5", "1", "1.5"):
                by_another(imitation, BTC, "sell", quantity, "100")
            trades = await client.fetch_my_trades(BTC)
            assert [one["amount"] for one in trades] == [0.5, 1, 1.5]
            assert {(one["order"], one["info"]["client_order_id"]) for one in trades} == {(made["id"], FIRST)}
            asked = {"symbol": "btcusdt", "limit_trades": 2}
            latest = await client.privatePostV1Mytrades(asked)
            assert [one["amount"] for one in latest] == ["1.5", "1"]
            earliest = await client.privatePostV1Mytrades({**asked, "timestamp": 0})
            assert [one["amount"] for one in earliest] == ["1", "0.5"]

    run(scenario)


def test_what_the_market_does_not_take_is_refused_in_words() -> None:
    """Each refusal has its reason, and the library its class for it."""

    async def scenario() -> None:
        async with imitated(GeminiImitation) as (client, _, _):
            good = {"symbol": "btcusdt", "amount": "1", "price": "100", "side": "buy", "type": "exchange limit"}
            for change, kind in (
                ({"symbol": "nocoin"}, ccxt.BadRequest),
                ({"amount": "0.000000001"}, ccxt.InvalidOrder),
                ({"price": "100.001"}, ccxt.InvalidOrder),
                ({"side": "up"}, ccxt.InvalidOrder),
                ({"type": "exchange stop"}, ccxt.InvalidOrder),
                ({"options": ["auction-only"]}, ccxt.BadRequest),
                ({"client_order_id": "x" * 200}, ccxt.BadRequest),
            ):
                with pytest.raises(kind):
                    await client.privatePostV1OrderNew({**good, **change})
            await client.privatePostV1OrderNew(good)
            (listed,) = await client.fetch_open_orders(BTC)
            assert (listed["amount"], listed["price"], listed["side"]) == (1, 100, "buy")
            assert (await client.fetch_balance())["total"] == {"BTC": 1_000_000, "USDT": 1_000_000}

    run(scenario)
