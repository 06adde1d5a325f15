"""What tests of imitation venues share: an imitation with a clock that is set by hand if wanted, and a real client of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest

from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import Imitation
from onefill.sim.venue import wall_clock_us
from onefill.venues.ccxt.address import point


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 30.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


class Clock:
    """The wall clock, moved by hand: ``ahead_us`` is added to it."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return wall_clock_us() + self.ahead_us

    def forward(self, seconds: float) -> None:
        """Let so much time pass."""
        self.ahead_us += int(seconds * 1_000_000)


@contextlib.asynccontextmanager
async def client_of(imitation: Imitation, *, pro: bool = False, **config: Any) -> AsyncIterator[Any]:
    """Run a real client of a started imitation, with its markets loaded; ``pro``: one that has streams."""
    library = ccxt.pro if pro else ccxt.async_support
    client = getattr(library, imitation.ccxt_id)({**imitation.config(), "enableRateLimit": False, **config})
    point(client, imitation.url)
    try:
        await client.load_markets()
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def served(imitation: Imitation, *, pro: bool = False, **config: Any) -> AsyncIterator[Any]:
    """Run an imitation and a real client of it."""
    await imitation.start()
    try:
        async with client_of(imitation, pro=pro, **config) as client:
            yield client
    finally:
        await imitation.close()


@contextlib.asynccontextmanager
async def imitated(kind: type[Imitation], **config: Any) -> AsyncIterator[tuple[Any, Imitation, Clock]]:
    """Run an imitation whose clock can be moved; yield a real client of it, the imitation and the clock."""
    clock = Clock()
    imitation = kind(clock_us=clock)
    async with served(imitation, **config) as client:
        yield client, imitation, clock


def by_another(imitation: Imitation, symbol: str, side: str, quantity: object, price: object) -> None:
    """Have somebody else's limit order come to the venue."""
    request = SubmitRequest(
        client_order_id=f"other{imitation.exchange.counts().orders}",
        account="somebody-else",
        instrument=symbol,
        side=Side(side),
        quantity=Decimal(str(quantity)),
        order_type=OrderType.LIMIT,
        price=Decimal(str(price)),
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )
    assert isinstance(imitation.exchange.submit(request, imitation.clock_us()), Accepted)


async def failure(kind: type[BaseException], call: Awaitable[Any]) -> str:
    """Wait for a call that must fail with an error of exactly this kind, and return its text."""
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind, f"only a kind of {kind.__name__}: {caught.value!r}"
    return str(caught.value)
