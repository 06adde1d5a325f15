"""What the tests of Kraken's and Coinbase's imitations share: a running imitation with the real client library before it."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt

from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import Imitation
from onefill.venues.ccxt.address import point

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 30.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def running(imitation: Imitation, **config: Any) -> AsyncIterator[Any]:
    """Serve an imitation; yield a client of the library that is pointed at it."""
    await imitation.start()
    client = point(getattr(ccxt, imitation.ccxt_id)({**imitation.config(), **config}), imitation.url)
    try:
        yield client
    finally:
        await client.close()
        await imitation.close()


def by_another(imitation: Imitation, side: str, quantity: str, price: str, number: int = 1) -> None:
    """Have somebody else's limit order come to the venue."""
    request = SubmitRequest(
        client_order_id=f"other-{number}",
        account="other",
        instrument=SYMBOL,
        side=Side(side),
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        price=Decimal(price),
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )
    assert isinstance(imitation.exchange.submit(request, imitation.clock_us()), Accepted)


class Clock:
    """A clock that stands until it is moved, in µs since 1970."""

    def __init__(self) -> None:
        self.now_us = 1_763_755_200_000_000

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        """Move on."""
        self.now_us += int(seconds * 1_000_000)

    def rfc3339(self, after_s: float) -> str:
        """Return a moment so many seconds from now as text."""
        moment = dt.datetime.fromtimestamp(self.now_us / 1_000_000 + after_s, dt.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
