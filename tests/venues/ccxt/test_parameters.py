"""What an order wants beside its terms reaches ccxt whole and unchanged, or the order is refused here."""

from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import ccxt
import msgspec
import pytest
from adapter_kit import BTC, connected, run, soon_us
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.messages import Accepted, Rejected, Replaced, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.binance import BinanceSpot
from onefill.venues.ccxt import parameters
from onefill.venues.ccxt.client import twin


def wanted(text: str | None, **other: Any) -> SubmitRequest:
    """Return a limit order with these parameters."""
    fields: dict[str, Any] = {
        "client_order_id": "A1",
        "account": "main",
        "instrument": BTC,
        "side": Side.BUY,
        "quantity": Decimal("0.5"),
        "order_type": OrderType.LIMIT,
        "price": Decimal(100),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": soon_us(),
        "parameters": text,
    }
    return SubmitRequest(**{**fields, **other})


def recorded(venue: Any) -> list[dict[str, list[str]]]:
    """Return what is sent from now on, one dictionary of form fields for each request with a body."""
    sent: list[dict[str, list[str]]] = []
    raw = venue._client.raw
    real = raw.fetch

    async def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        if body:
            sent.append(parse_qs(body))
        return await real(url, method, headers, body)

    raw.__dict__["fetch"] = fetch
    return sent


def test_every_parameter_is_passed_on_as_it_was_given() -> None:
    """Numbers, text and truth values reach the request beside what the order itself sets."""

    async def main() -> None:
        async with connected(BinanceSpot) as (venue, _, _):
            sent = recorded(venue)
            text = '{"icebergQty":0.10,"selfTradePreventionMode":"EXPIRE_TAKER"}'
            assert isinstance(await venue.submit(wanted(text)), Accepted)
            assert sent[-1]["icebergQty"] == ["0.1"]
            assert sent[-1]["selfTradePreventionMode"] == ["EXPIRE_TAKER"]
            assert sent[-1]["newClientOrderId"] == ["A1"]

    run(main)


@pytest.mark.parametrize("name", ["newClientOrderId", "timeInForce"])
def test_a_parameter_never_takes_the_place_of_what_the_order_says(name: str) -> None:
    """One that is set from the order itself is refused before anything is sent."""

    async def main() -> None:
        async with connected(BinanceSpot) as (venue, imitation, _):
            text = msgspec.json.encode({name: "X"}).decode()
            reply = await venue.submit(wanted(text, time_in_force=TimeInForce.IOC))
            assert isinstance(reply, Rejected)
            assert name in reply.reason
            assert imitation.exchange.all_orders() == []

    run(main)


def test_a_replace_that_makes_another_order_brings_the_parameters_again() -> None:
    """On a venue where a replace is a new order, that one is to be like the first."""

    async def main() -> None:
        async with connected(BinanceSpot) as (venue, _, _):
            text = '{"selfTradePreventionMode":"EXPIRE_TAKER"}'
            placed = await venue.submit(wanted(text))
            assert isinstance(placed, Accepted)
            sent = recorded(venue)
            reply = await venue.replace(
                ReplaceRequest(
                    client_order_id="A2",
                    orig_client_order_id="A1",
                    account="main",
                    instrument=BTC,
                    venue_order_id=placed.order.venue_order_id,
                    side=Side.BUY,
                    quantity=Decimal("0.25"),
                    order_type=OrderType.LIMIT,
                    price=Decimal(99),
                    time_in_force=TimeInForce.GTC,
                    expires_at_us=soon_us(),
                    parameters=text,
                )
            )
            assert isinstance(reply, Replaced)
            assert sent[0]["selfTradePreventionMode"] == ["EXPIRE_TAKER"]

    run(main)


def test_the_price_of_a_market_order_is_ccxts_price_argument() -> None:
    """It is taken out of the parameters for that; a limit order's own price stays where it is."""
    at_market = wanted('{"price":100.5,"x":1}', order_type=OrderType.MARKET, price=None)
    assert parameters.with_price(at_market, {"own": 1}) == (100.5, {"x": 1, "own": 1})
    assert parameters.with_price(wanted(None), {"own": 1}) == (None, {"own": 1})


@pytest.mark.parametrize("name", ["amount_to_precision", "price_to_precision", "decimal_to_precision"])
def test_a_client_that_cuts_in_its_own_way_is_asked(name: str) -> None:
    """What a script has put into the client decides what would be sent, and is not passed by."""
    exchange = twin(ccxt.binance())
    market = {"symbol": BTC, "precision": {"amount": 0.01, "price": 0.01}}
    exchange.__dict__.update(precisionMode=ccxt.TICK_SIZE, markets={BTC: market})
    request = wanted(None, quantity=Decimal("0.5"), price=Decimal(100))
    assert parameters.inexact(exchange, request) is None
    exchange.__dict__[name] = lambda *_: "0.25"
    assert "would send" in str(parameters.inexact(exchange, request))


@given(
    quantity=st.decimals("0.000001", "1000", places=6),
    price=st.none() | st.decimals("0.0001", "100000", places=4),
    steps=st.tuples(*[st.sampled_from([0.01, 0.00001, 1e-6, 0.5, 5, 1000])] * 2),
    mode=st.sampled_from([ccxt.TICK_SIZE, ccxt.DECIMAL_PLACES]),
)
def test_numbers_on_the_markets_steps_are_those_that_ccxt_leaves(
    quantity: Decimal, price: Decimal | None, steps: tuple[float, float], mode: int
) -> None:
    """What is let through without asking ccxt is just what ccxt's own cutting leaves as it is, in every kind of precision."""
    if mode == ccxt.DECIMAL_PLACES:
        steps = (4, 2)
    exchange = twin(ccxt.binance())
    market = {"symbol": BTC, "precision": {"amount": steps[0], "price": steps[1]}}
    exchange.__dict__.update(precisionMode=mode, markets={BTC: market})
    request = wanted(None, quantity=quantity, price=price)
    allowed = parameters.inexact(exchange, request) is None
    try:
        cut = Decimal(exchange.amount_to_precision(BTC, float(quantity)))
        cut_price = None if price is None else Decimal(exchange.price_to_precision(BTC, float(price)))
    except ccxt.InvalidOrder:
        assert not allowed
    else:
        assert allowed == ((cut, cut_price) == (quantity, price))
