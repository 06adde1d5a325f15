"""What tests of imitations share: an imitation that listens with the real client before it, and somebody to trade with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt

from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import Imitation
from onefill.sim.venue import wall_clock_us
from onefill.venues.ccxt.address import point

BTC = "BTC/USDT"


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 30.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


class Clock:
    """The time of day, moved on by ``ahead_us``."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        """Return the time, µs since 1970."""
        return wall_clock_us() + self.ahead_us


@contextlib.asynccontextmanager
async def imitated(
    kind: type[Imitation], *, url: str | None = None, **config: Any
) -> AsyncIterator[tuple[Any, Imitation, Clock]]:
    """Serve an imitation and yield the client, the imitation and its clock."""
    clock = Clock()
    imitation = kind(clock_us=clock)
    await imitation.start()
    client = getattr(ccxt, kind.ccxt_id)({**kind.config(), "timeout": 5000, "enableRateLimit": False, **config})
    point(client, url or imitation.url)
    try:
        yield client, imitation, clock
    finally:
        await client.close()
        await imitation.close()


def other_side(
    imitation: Imitation, side: str, quantity: str, price: str, symbol: str = BTC, *, name: str = "theirs"
) -> str:
    """Have another account put a resting order into the book, or trade with one. Return its client order id."""
    count = len(imitation.exchange.all_orders())
    request = SubmitRequest(
        client_order_id=f"{name}{count}",
        account="somebody-else",
        instrument=symbol,
        side=Side(side),
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        price=Decimal(price),
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )
    reply = imitation.exchange.submit(request, imitation.clock_us())
    assert isinstance(reply, Accepted), reply
    return request.client_order_id
