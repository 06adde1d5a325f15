"""Orders that are not passed on to Binance: they would be other orders there, or not be found again. Nothing is sent."""

import json
from typing import Any

import pytest
from adapter_kit import BTC, PERPETUAL, adapter, client_of, order, run, started

from onefill.core.errors import VenueError
from onefill.core.messages import Accepted, Listed, Rejected
from onefill.core.values import OrderType
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_usdm import BinanceUsdm
from onefill.venues.ccxt.binance import BinanceSpot as SpotManners
from onefill.venues.ccxt.binance import BinanceUsdm as UsdmManners
from onefill.venues.ccxt.venue import CcxtVenue

BOTH = pytest.mark.parametrize(("kind", "symbol"), [(BinanceSpot, BTC), (BinanceUsdm, PERPETUAL)])


async def told(kind: type[Imitation], symbol: str, given: dict[str, Any], **other: Any) -> tuple[Any, int]:
    """Return the reply to an order with parameters, and how many requests for one came to the venue."""
    async with started(kind()) as venue, adapter(venue) as ours:
        reply = await ours.submit(order("mine", instrument=symbol, parameters=json.dumps(given), **other))
        return reply, sum(count for path, count in venue.requests.items() if path.startswith("POST "))


@BOTH
@pytest.mark.parametrize(
    "given",
    [
        {"marginMode": "cross"},
        {"type": "margin"},
        {"portfolioMargin": True},
        {"sor": True},
        {"test": True},
        {"clientOrderId": "another"},
        {"clientAlgoId": "another"},
    ],
)
def test_what_would_not_be_found_again_is_refused(kind: type[Imitation], symbol: str, given: dict[str, Any]) -> None:
    """With these ccxt calls another part of the venue, or gives another id: a look-up would say that it is not there."""

    async def scenario() -> None:
        reply, sent = await told(kind, symbol, given)
        assert isinstance(reply, Rejected)
        assert next(iter(given)) in reply.reason
        assert sent == 0

    run(scenario)


@BOTH
@pytest.mark.parametrize("name", ["symbol", "side", "quantity", "price", "timestamp"])
def test_what_the_order_itself_says_cannot_be_said_otherwise(kind: type[Imitation], symbol: str, name: str) -> None:
    """ccxt lets a parameter win over the order's own quantity."""

    async def scenario() -> None:
        reply, sent = await told(kind, symbol, {name: "5"})
        assert (type(reply), sent) == (Rejected, 0)

    run(scenario)


def test_a_market_order_for_an_amount_of_money_is_refused() -> None:
    """With a price or a cost ccxt buys for so much money on spot: another quantity than the order's."""

    async def scenario() -> None:
        for given in ({"cost": "50"}, {"price": "50"}, {"quoteOrderQty": "50"}):
            reply, sent = await told(BinanceSpot, BTC, given, order_type=OrderType.MARKET, price=None)
            assert (type(reply), sent) == (Rejected, 0)

    run(scenario)


def test_a_conditional_order_is_refused_on_futures() -> None:
    """It goes to a service of its own there, under another kind of id, and a status query does not know it."""

    async def scenario() -> None:
        for name in ("triggerPrice", "stopLossPrice", "takeProfitPrice", "trailingPercent"):
            reply, sent = await told(BinanceUsdm, PERPETUAL, {name: "90"})
            assert (type(reply), sent) == (Rejected, 0)

    run(scenario)


@BOTH
def test_what_the_venue_is_told_besides_is_passed_on(kind: type[Imitation], symbol: str) -> None:
    """A parameter that changes neither place nor terms goes to the venue as it is."""

    async def scenario() -> None:
        reply, sent = await told(kind, symbol, {"selfTradePreventionMode": "NONE"})
        assert (type(reply), sent) == (Accepted, 1)

    run(scenario)


@pytest.mark.parametrize(
    ("instrument", "spot", "usdm"),
    [
        ("BTC/USDT", True, False),
        ("BTC/USDT:USDT", False, True),
        ("ETH/USDC:USDC", False, True),
        ("BTC/USDT:USDT-261225", False, True),
        ("BTC/USD:BTC", False, False),
        ("BTC/USD:BTC-261225", False, False),
        ("BTC/USDT:USDT-261225-70000-C", False, False),
    ],
)
def test_each_market_has_its_own_rules(instrument: str, spot: bool, usdm: bool) -> None:
    """ccxt's ``binance`` trades contracts too. Here each profile covers its own instruments, and coin-margined ones none."""
    assert (SpotManners().covers(instrument), UsdmManners().covers(instrument)) == (spot, usdm)
    assert (SpotManners().refuses(order("mine", instrument=instrument)) is None) is spot
    assert (UsdmManners().refuses(order("mine", instrument=instrument)) is None) is usdm


@BOTH
def test_all_open_orders_are_listed_with_a_client_as_it_comes(kind: type[Imitation], symbol: str) -> None:
    """A client of the user's own raises on a list without a symbol; the venue's list is read past that."""

    async def scenario() -> None:
        async with started(kind()) as venue, client_of(venue) as client:
            await client.create_order(symbol, "limit", "buy", 1, 100, {"clientOrderId": "mine"})
            with pytest.raises(Exception, match="WARNING"):
                await client.fetch_open_orders()
            ours = CcxtVenue(client, ACCOUNT, streams=False)
            await ours.start()
            listed = await ours.open_orders(ACCOUNT)
            await ours.close()
            assert isinstance(listed, Listed)
            assert [(one.client_order_id, one.instrument) for one in listed.orders] == [("mine", symbol)]

    run(scenario)


@pytest.mark.parametrize(
    "options",
    [
        {"defaultMarginMode": "cross"},
        {"portfolioMargin": True},
        {"fetchOrder": {"marginMode": "isolated"}},
        {"fetchMyTrades": {"papi": True}},
    ],
)
@BOTH
def test_a_client_that_would_look_elsewhere_is_not_used(
    kind: type[Imitation], symbol: str, options: dict[str, Any]
) -> None:
    """An order would be placed in one part of the venue and asked about in another, where it is not there: no start."""

    async def scenario() -> None:
        async with started(kind()) as venue, client_of(venue) as client:
            client.options.update(options)
            ours = CcxtVenue(client, ACCOUNT, streams=False)
            with pytest.raises(VenueError, match="Take it out"):
                await ours.start()
            await ours.close()
            assert symbol in client.markets

    run(scenario)
