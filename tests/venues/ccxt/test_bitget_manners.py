"""Bitget's manners, through the real client library against the imitation."""

from typing import Any

import ccxt.async_support as ccxt
import ccxt.pro as streaming
import pytest
from adapter_kit import by_another, called, cancel, order, place, replace, run

from onefill.core.messages import Rejected
from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.base import ACCOUNT
from onefill.sim.imitations.bitget import BitgetImitation
from onefill.venues.ccxt import manners as base
from onefill.venues.ccxt.bitget import BitgetManners
from onefill.venues.ccxt.venue import CcxtVenue

SYMBOL = "BTC/USDT"
FIRST, SECOND = "1" * 32, "2" * 32


def test_they_are_those_of_bitget() -> None:
    """Registered under the library's name, with the profile of the same name."""
    assert base.manners_of("bitget") is BitgetManners
    assert BitgetManners.profile == "bitget"


def test_a_new_order_carries_its_id_and_time_in_force_and_is_found_by_either_id() -> None:
    """``clientOid`` as the profile names it."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with called(imitation, BitgetManners) as (call, manners):
            made = await place(call, manners, order(FIRST, time_in_force=TimeInForce.IOC))
            by_id = await manners.find(call, FIRST, SYMBOL)
            by_number = await manners.find_by_number(call, made["id"], SYMBOL)
            assert by_id is not None
            assert by_id == by_number
            assert (by_id["id"], by_id["clientOrderId"], by_id["timeInForce"]) == (made["id"], FIRST, "IOC")
            assert by_id["status"] == "canceled"

    run(scenario)


def test_an_order_that_is_not_there_is_order_not_found() -> None:
    """Where plain ccxt raises TypeError, which would prove nothing."""

    async def scenario() -> None:
        async with called(BitgetImitation(), BitgetManners) as (call, manners):
            with pytest.raises(ccxt.OrderNotFound):
                await manners.find(call, FIRST, SYMBOL)
            with pytest.raises(ccxt.OrderNotFound):
                await manners.find_by_number(call, "17", SYMBOL)

    run(scenario)


def test_the_window_ends_at_the_expiry_for_new_orders_only() -> None:
    """What is stamped is honoured by the venue; a cancel that is signed under the same watch gets nothing."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with called(imitation, BitgetManners) as (call, manners):
            bodies: list[Any] = []
            fetch = call.exchange.fetch

            async def noted(url: str, method: str, headers: Any, body: Any) -> Any:
                bodies.append(call.exchange.parse_json(body))
                return await fetch(url, method, headers, body)

            call.exchange.fetch = noted
            call.stamped = 1234
            await place(call, manners, order(FIRST))
            await manners.cancel(call, cancel(FIRST))
            assert 0 < int(bodies[0]["receiveWindow"]) <= 1234
            assert abs(int(bodies[0]["requestTime"]) - call.exchange.milliseconds()) < 60_000
            assert "receiveWindow" not in bodies[1]
            late_us = imitation.clock_us() + 5_000_000
            imitation.clock_us = lambda: late_us
            call.stamped = 3000
            with pytest.raises(ccxt.InvalidNonce, match='"code":"40008"'):
                await place(call, manners, order(SECOND))
            assert imitation.exchange.counts().too_late == 1

    run(scenario)


def test_a_cancel_names_the_number_where_it_is_known_and_the_id_otherwise() -> None:
    """Each once; the reply shows no order; a dead order is OrderNotFound, 43001."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with called(imitation, BitgetManners) as (call, manners):
            made = await place(call, manners, order(FIRST))
            await place(call, manners, order(SECOND))
            assert await manners.cancel(call, cancel(FIRST, made["id"])) is None
            assert await manners.cancel(call, cancel(SECOND)) is None
            assert [one.status for one in imitation.exchange.all_orders()] == ["canceled", "canceled"]
            with pytest.raises(ccxt.OrderNotFound, match='"code":"43001"'):
                await manners.cancel(call, cancel(SECOND))

    run(scenario)


def test_a_replace_is_not_sent() -> None:
    """The profile declares none; if somebody does, cancel-replace is still not used."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with called(imitation, BitgetManners) as (call, manners):
            await place(call, manners, order(FIRST))
            with pytest.raises(ccxt.NotSupported, match="more than is wanted"):
                await manners.replace(call, replace(FIRST, 3), "limit")
            assert imitation.exchange.all_orders()[0].quantity == 1

    run(scenario)


def test_a_market_buy_of_spot_is_refused_before_anything_is_sent() -> None:
    """Its size would be read as an amount of the quote currency. A market sell passes; contracts do not."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        await imitation.start()
        venue = CcxtVenue("bitget", ACCOUNT, config=BitgetImitation.config(), url=imitation.url)
        try:
            await venue.start()
            market: dict[str, Any] = {"order_type": OrderType.MARKET, "time_in_force": TimeInForce.IOC}
            reply = await venue.submit(order(FIRST, price=None, **market))
            assert isinstance(reply, Rejected)
            assert reply.code == "cannot_be_passed_on"
            assert "quote currency" in reply.reason
            assert imitation.requests["POST /api/v2/spot/trade/place-order"] == 0
            for wanted in (order(FIRST, "sell", price=None, **market), order(FIRST)):
                assert venue.manners.refuses(wanted) is None
            assert "spot" in (venue.manners.refuses(order(FIRST, instrument="BTC/USDT:USDT")) or "")
        finally:
            await venue.close()
            await imitation.close()

    run(scenario)


def test_every_live_and_every_ended_order_is_listed_however_many_there_are() -> None:
    """Past the one page that the library shows."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with called(imitation, BitgetManners) as (call, manners):
            since_ms = call.exchange.milliseconds() - 1000
            names = {f"{number:032x}" for number in range(230)}
            for name in names:
                await place(call, manners, order(name))
            for instrument in (SYMBOL, None):
                shown = await manners.open_orders(call, instrument)
                assert len(shown) == 230
                assert {manners.client_order_id(one) for one in shown} == names
            by_another(imitation, "sell", 230, 100)
            ended = await manners.ended_orders(call, SYMBOL, since_ms)
            assert len(ended) == 230
            assert {manners.client_order_id(one) for one in ended} == names
            assert await manners.open_orders(call, SYMBOL) == []

    run(scenario)


def test_trades_are_read_to_the_end() -> None:
    """350 in one moment, each once; a full last page ends too; from the beginning of time means 90 days."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with called(imitation, BitgetManners) as (call, manners):
            made = await place(call, manners, order(FIRST, quantity=350))
            for count in (100, 250):
                for _ in range(count):
                    by_another(imitation, "sell", 1, 100)
                trades = await manners.trades(call, SYMBOL, 0)
                assert {one["order"] for one in trades} == {made["id"]}
                assert len({manners.trade_key(one) for one in trades}) == len(trades) == (100 if count == 100 else 350)

    run(scenario)


def test_what_a_stream_tells_is_read_from_the_list() -> None:
    """The library reads the very same fill otherwise there: when it was, and which way a fee went."""
    fill = {"symbol": "BTCUSDT", "tradeId": "1", "orderId": "2", "side": "buy", "priceAvg": "100", "size": "1"}
    paid = {"deduction": "no", "feeCoin": "USDT", "totalFee": "0.1"}
    client = streaming.bitget()
    listed = client.parse_trade({**fill, "cTime": "1", "uTime": "2", "feeDetail": paid})
    heard = client.parse_ws_trade({**fill, "cTime": "1", "uTime": "2", "feeDetail": [paid]})
    assert (listed["timestamp"], listed["fee"]["cost"]) == (1, -0.1)
    assert (heard["timestamp"], heard["fee"]["cost"]) == (2, 0.1)
    assert BitgetManners().heard_trade(heard) is None
