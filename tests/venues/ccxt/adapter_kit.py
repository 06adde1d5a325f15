"""What tests of manners share: an imitation that listens, the adapter connected to it, and requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

from onefill.core.messages import Accepted, CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.sim.venue import wall_clock_us
from onefill.venues.ccxt.client import Client
from onefill.venues.ccxt.venue import CcxtVenue

BTC = "BTC/USDT"


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 60.0) -> None:
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
async def connected(
    kind: type[Imitation],
    *,
    url: Callable[[Imitation], Awaitable[str]] | None = None,
    config_options: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[CcxtVenue, Any, Clock]]:
    """Serve an imitation; yield the adapter connected to it, the imitation and its clock.

    ``url`` gives another address to connect to, such as that of a link before the imitation. ``config_options`` are ccxt's.
    """
    clock = Clock()
    imitation = kind(clock_us=clock)
    await imitation.start()
    address = imitation.url if url is None else await url(imitation)
    given: dict[str, Any] = {"timeout_s": 5.0, "streams": False, "poll_s": 0.05, **settings}
    config = {**imitation.config(), "enableRateLimit": False, "options": config_options or {}}
    venue = CcxtVenue(kind.ccxt_id, ACCOUNT, config=config, url=address, **given)
    await venue.start()
    try:
        yield venue, imitation, clock
    finally:
        await venue.close()
        await imitation.close()


@contextlib.asynccontextmanager
async def calling(venue: CcxtVenue, imitation: Imitation) -> AsyncIterator[Client]:
    """Yield a client of its own to call a venue's manners with."""
    import ccxt.async_support as ccxt  # noqa: PLC0415 - takes most of a second

    from onefill.venues.ccxt.address import point  # noqa: PLC0415 - likewise

    made = getattr(ccxt, imitation.ccxt_id)({**imitation.config(), "enableRateLimit": False})
    client = Client(point(made, imitation.url), 5.0, own=True)
    await client.load()
    try:
        yield client
    finally:
        await client.close()


def soon_us(seconds: float = 3.0) -> int:
    """Return a moment from now, µs since 1970."""
    return wall_clock_us() + int(seconds * 1_000_000)


def order(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 100, **other: Any
) -> SubmitRequest:
    """Return a limit order in BTC/USDT that expires in a few seconds."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "order_type": OrderType.LIMIT,
        "price": None if price is None else Decimal(str(price)),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": soon_us(),
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(str(quantity)), **fields)


def market(client_order_id: str, side: str = "buy", quantity: object = 1, **other: Any) -> SubmitRequest:
    """Return a market order in BTC/USDT."""
    return order(client_order_id, side, quantity, None, **{"order_type": OrderType.MARKET, **other})


def cancel(client_order_id: str, venue_order_id: str | None = None, instrument: str = BTC) -> CancelRequest:
    """Return a cancel."""
    return CancelRequest(
        client_order_id=client_order_id, account=ACCOUNT, instrument=instrument, venue_order_id=venue_order_id
    )


def replace(
    client_order_id: str, venue_order_id: str | None, quantity: object, price: object, **other: Any
) -> ReplaceRequest:
    """Return a replace of a buy order that keeps its id."""
    fields: dict[str, Any] = {
        "client_order_id": client_order_id,
        "account": ACCOUNT,
        "instrument": BTC,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": soon_us(),
    } | other
    return ReplaceRequest(
        orig_client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        quantity=Decimal(str(quantity)),
        price=Decimal(str(price)),
        **fields,
    )


def by_another(imitation: Imitation, side: str, quantity: object, price: object, symbol: str = BTC) -> None:
    """Have somebody else's limit order come to the venue."""
    name = f"theirs{imitation.exchange.counts().submits}"
    theirs = order(name, side, quantity, price, account="somebody-else", instrument=symbol, expires_at_us=None)
    assert isinstance(imitation.exchange.submit(theirs, imitation.clock_us()), Accepted)
