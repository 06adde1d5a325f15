"""What the tests of Kraken's and Coinbase's manners share: a running imitation, and calls to a client of textual numbers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt

from onefill.core.messages import Accepted, CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import Imitation
from onefill.venues.ccxt.address import point

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32


class PlainCall:
    """Calls a client's methods."""

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange

    async def __call__(self, method: str, *arguments: Any) -> Any:
        return await getattr(self.exchange, method)(*arguments)


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 30.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def calling(imitation: Imitation, **config: Any) -> AsyncIterator[PlainCall]:
    """Serve an imitation; yield calls to a client with its markets loaded."""
    await imitation.start()
    client = point(getattr(ccxt, imitation.ccxt_id)({**imitation.config(), **config}), imitation.url)
    client.number_of = float
    try:
        await client.load_markets()
        client.number = str
        yield PlainCall(client)
    finally:
        await client.close()
        await imitation.close()


def by_another(imitation: Imitation, side: str, quantity: str, price: str, number: int = 1) -> None:
    """Have somebody else's limit order come to the venue."""
    other = order(f"other-{number}", side, quantity, price, account="other")
    assert isinstance(imitation.exchange.submit(other, imitation.clock_us()), Accepted)


def order(
    client_order_id: str, side: str = "buy", quantity: str = "1", price: str | None = "100", **other: Any
) -> SubmitRequest:
    """Return a limit order, good till cancelled unless said otherwise."""
    fields: dict[str, Any] = {
        "account": "main",
        "instrument": SYMBOL,
        "order_type": OrderType.LIMIT,
        "price": None if price is None else Decimal(price),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(quantity), **fields)


def cancel(client_order_id: str, venue_order_id: str | None = None) -> CancelRequest:
    """Return a cancel."""
    return CancelRequest(
        client_order_id=client_order_id, account="main", instrument=SYMBOL, venue_order_id=venue_order_id
    )


def replace(client_order_id: str, venue_order_id: str | None, quantity: str, price: str) -> ReplaceRequest:
    """Return a replace of a buy order that keeps its id."""
    return ReplaceRequest(
        client_order_id=client_order_id,
        orig_client_order_id=client_order_id,
        account="main",
        instrument=SYMBOL,
        venue_order_id=venue_order_id,
        side=Side.BUY,
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        price=Decimal(price),
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )


async def create(call: PlainCall, manners: Any, request: SubmitRequest) -> Any:
    """Send an order as the adapter does."""
    return await call(
        "create_order",
        request.instrument,
        request.order_type.value,
        request.side.value,
        float(request.quantity),
        None if request.price is None else float(request.price),
        manners.new_order(request),
    )
