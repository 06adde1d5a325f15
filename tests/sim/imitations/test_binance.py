"""Binance spot as imitated, asked by the real ccxt client: orders, repeats, look-ups, expiry and errors."""

import asyncio
from typing import Any

import ccxt
import msgspec
import pytest
from imitation_kit import Clock, client_of, failure, run, served

from onefill.core.messages import VenueStatus
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_rest import INSUFFICIENT_BALANCE, OVERLOADED, backend_timeout, unexpected_response
from onefill.venues.ccxt.address import point

BTC = "BTC/USDT"


def limit(
    client: Any, client_order_id: str, side: str = "buy", amount: float = 1, price: float = 100, **params: Any
) -> Any:
    """Send a limit order."""
    return client.create_order(BTC, "limit", side, amount, price, {"clientOrderId": client_order_id, **params})


def test_an_order_is_made_filled_and_found_by_either_id() -> None:
    """What ccxt reads from a new order, a trade against it and both look-ups agrees."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            made = await limit(client, "first", amount=0.5)
            assert (made["status"], made["clientOrderId"], made["filled"]) == ("open", "first", 0)
            sold = await client.create_order(BTC, "market", "sell", 0.2)
            assert (sold["status"], sold["average"], sold["trades"][0]["price"]) == ("closed", 100, 100)
            for found in (
                await client.fetch_order(made["id"], BTC),
                await client.fetch_order(None, BTC, {"clientOrderId": "first"}),
            ):
                assert (found["id"], found["status"], found["filled"], found["cost"]) == (made["id"], "open", 0.2, 20)
            assert [one["id"] for one in await client.fetch_open_orders(BTC)] == [made["id"]]
            assert [one["id"] for one in await client.fetch_orders(BTC)] == [made["id"], sold["id"]]

    run(scenario)


def test_the_id_of_an_open_order_is_refused_as_a_duplicate() -> None:
    """While its order is open, a client order id gets -2010 with the text that tells a duplicate, and makes nothing."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            await limit(client, "same")
            text = await failure(ccxt.InvalidOrder, limit(client, "same"))
            assert '"code":-2010' in text.replace(" ", "")
            assert "Duplicate order sent." in text
            assert venue.exchange.counts().orders == 1

    run(scenario)


@pytest.mark.parametrize("ended_by", ["fill", "cancel"])
def test_the_id_of_an_ended_order_makes_a_second_order(ended_by: str) -> None:
    """Uniqueness ends with the order: after a fill or a cancel the same id is taken again."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            first = await limit(client, "same")
            if ended_by == "fill":
                await client.create_order(BTC, "market", "sell", 1)
            else:
                await client.cancel_order(first["id"], BTC)
            second = await limit(client, "same")
            assert second["id"] != first["id"]
            assert len([one for one in venue.exchange.all_orders() if one.client_order_id == "same"]) == 2
            found = await client.fetch_order(None, BTC, {"clientOrderId": "same"})
            assert found["id"] == second["id"]

    run(scenario)


def test_minus_2010_alone_is_no_duplicate() -> None:
    """Too little money has the same number as a duplicate and another text."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            venue.unheard.append(INSUFFICIENT_BALANCE)
            text = await failure(ccxt.InsufficientFunds, limit(client, "poor"))
            assert "insufficient balance" in text
            assert venue.exchange.counts().orders == 0

    run(scenario)


def test_what_is_not_there_is_minus_2013_on_a_question_and_minus_2011_on_a_cancel() -> None:
    """Look-up of an unknown id, cancel of an unknown and of a filled order: ccxt calls all of them OrderNotFound."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            asked = client.fetch_order(None, BTC, {"clientOrderId": "nobody"})
            assert "-2013" in await failure(ccxt.OrderNotFound, asked)
            assert "-2011" in await failure(ccxt.OrderNotFound, client.cancel_order("4000000009", BTC))
            filled = await limit(client, "filled")
            await client.create_order(BTC, "market", "sell", 1)
            assert "-2011" in await failure(ccxt.OrderNotFound, client.cancel_order(filled["id"], BTC))
            assert venue.exchange.all_orders()[0].status is VenueStatus.FILLED

    run(scenario)


def test_the_reply_to_a_cancel_has_the_cancels_own_id_in_the_place_of_the_orders() -> None:
    """``clientOrderId`` of the reply is made up for the cancel; the order's stands in ``origClientOrderId``."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            await limit(client, "mine")
            canceled = await client.cancel_order(None, BTC, {"clientOrderId": "mine"})
            assert canceled["status"] == "canceled"
            assert canceled["clientOrderId"] != "mine"
            assert canceled["info"]["origClientOrderId"] == "mine"

    run(scenario)


def test_a_request_outside_its_window_is_refused() -> None:
    """Too old by its recvWindow, or a second ahead of the venue's clock: -1021, and nothing is made."""

    async def scenario() -> None:
        clock = Clock()
        venue = BinanceSpot(clock_us=clock)
        async with served(venue) as client:
            clock.forward(3)
            late = await failure(ccxt.InvalidNonce, limit(client, "late", recvWindow=2000))
            assert "-1021" in late
            assert "recvWindow" in late
            assert (await limit(client, "in-time", recvWindow=9000))["status"] == "open"
            clock.forward(-5)
            assert "ahead" in await failure(ccxt.InvalidNonce, limit(client, "early"))
            assert venue.exchange.counts().orders == 1

    run(scenario)


def test_a_window_of_more_than_a_minute_is_refused() -> None:
    """-1131; its class is in the spot map, which ccxt looks up by the real address, so here it is a bare ExchangeError."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            assert "-1131" in await failure(ccxt.ExchangeError, limit(client, "long", recvWindow=60_001))

    run(scenario)


def test_the_window_is_checked_again_before_matching() -> None:
    """A request that came in time and waited too long inside the venue is refused as late, and nothing is made."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            venue.queue_us = 3_000_000
            assert "-1021" in await failure(ccxt.InvalidNonce, limit(client, "slow", recvWindow=2000))
            assert venue.exchange.counts().orders == 0
            assert venue.exchange.counts().too_late == 1

    run(scenario)


@pytest.mark.parametrize(
    ("spoil", "kind", "code"),
    [(unexpected_response, ccxt.OperationFailed, "-1006"), (backend_timeout, ccxt.RequestTimeout, "-1007")],
)
def test_an_order_may_exist_behind_minus_1006_and_minus_1007(spoil: Any, kind: type[Exception], code: str) -> None:
    """The venue says that the status is unknown; here the order was made."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            venue.spoilt.append(spoil)
            assert code in await failure(kind, limit(client, "lost"))
            assert (await client.fetch_order(None, BTC, {"clientOrderId": "lost"}))["status"] == "open"

    run(scenario)


def test_an_overloaded_venue_and_a_fast_client_get_refusals_that_made_nothing() -> None:
    """-1008 is thrown before the order is heard; more orders than the rate allows get HTTP 429."""

    async def scenario() -> None:
        venue = BinanceSpot(dialect=msgspec.structs.replace(BinanceSpot.dialect, requests_per_s=1, burst=1))
        async with served(venue) as client:
            venue.unheard.append(OVERLOADED)
            assert "-1008" in await failure(ccxt.ExchangeError, limit(client, "busy"))
            await limit(client, "first")
            assert "-1015" in await failure(ccxt.DDoSProtection, limit(client, "second"))
            assert venue.exchange.counts().orders == 1

    run(scenario)


def test_what_cannot_trade_at_once_expires() -> None:
    """IOC, FOK and market orders end EXPIRED with what they could not trade."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            await limit(client, "bid", amount=0.5)
            taker = await limit(client, "ioc", "sell", timeInForce="IOC")
            assert (taker["status"], taker["filled"]) == ("expired", 0.5)
            assert (await limit(client, "fok", "sell", timeInForce="FOK"))["status"] == "expired"
            assert (await client.create_order(BTC, "market", "sell", 1))["status"] == "expired"

    run(scenario)


def test_orders_off_the_grid_and_unknown_keys_are_refused() -> None:
    """A quantity below the step is a LOT_SIZE failure; a key that is not the account's gets 401 and -2015."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            client.amount_to_precision = lambda symbol, amount: str(amount)  # as a client with stale markets
            assert "LOT_SIZE" in await failure(
                ccxt.InvalidOrder, client.create_order(BTC, "limit", "buy", "0.000000005", 9)
            )
            async with client_of(venue, apiKey="stranger") as stranger:
                assert "-2015" in await failure(ccxt.AuthenticationError, limit(stranger, "no"))
            assert venue.exchange.counts().orders == 0

    run(scenario)


def test_balances_follow_trades_fees_and_what_rests() -> None:
    """What is bought is there, what was paid and the fee are gone, and what an open order may cost is locked."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            before = await client.fetch_balance()
            await limit(client, "bid", amount=2)
            held = await client.fetch_balance()
            assert held["USDT"]["used"] == 200
            assert held["USDT"]["total"] == before["USDT"]["total"]
            await limit(client, "offer", "sell", amount=2)
            after = await client.fetch_balance()
            assert after["USDT"]["used"] == 0
            assert after["BTC"]["total"] == before["BTC"]["total"]  # both sides were ours
            assert after["USDT"]["total"] == pytest.approx(before["USDT"]["total"] - 0.4)

    run(scenario)


def test_the_blocking_client_works_too() -> None:
    """The library's synchronous client makes, finds and cancels an order."""

    async def scenario() -> None:
        venue = BinanceSpot()
        await venue.start()
        try:
            await asyncio.to_thread(plain, venue)
        finally:
            await venue.close()

    def plain(venue: BinanceSpot) -> None:
        client = point(ccxt.binance(venue.config()), venue.url)
        made = limit(client, "plain")
        assert client.fetch_order(made["id"], BTC)["clientOrderId"] == "plain"
        assert client.cancel_order(made["id"], BTC)["status"] == "canceled"
        client.session.close()

    run(scenario)
