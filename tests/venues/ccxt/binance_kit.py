"""What the tests of Binance over ccxt share: an imitation, calls as the adapter makes them, and the adapter itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import ccxt.async_support

from onefill.core.messages import Accepted, CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.venues.ccxt import client as clients
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.client import Client
from onefill.venues.ccxt.manners import Manners, manners_of
from onefill.venues.ccxt.venue import CcxtVenue
from onefill.venues.profile import load

SPOT, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 60.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


class Noted:
    """Calls of a client, each noted by its name."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.exchange = client.exchange
        self.calls: list[str] = []

    async def __call__(self, method: str, *arguments: Any) -> Any:
        self.calls.append(method)
        return await self._client(method, *arguments)


@contextlib.asynccontextmanager
async def started(imitation: Imitation) -> AsyncIterator[Imitation]:
    """Have an imitation listen."""
    await imitation.start()
    try:
        yield imitation
    finally:
        await imitation.close()


@contextlib.asynccontextmanager
async def calling(imitation: Imitation) -> AsyncIterator[tuple[Noted, Manners]]:
    """Serve an imitation; yield calls to it as the adapter makes them, and the venue's manners."""
    kind = manners_of(imitation.ccxt_id)
    async with started(imitation):
        exchange = clients.make(imitation.ccxt_id, _unlimited(imitation), kind, url=imitation.url, testnet=False)
        client = Client(exchange, 10.0, own=True)
        try:
            await client.load()
            yield Noted(client), kind(load(kind.profile or "").wire)
        finally:
            await client.close()


@contextlib.asynccontextmanager
async def adapter(imitation: Imitation, **other: Any) -> AsyncIterator[CcxtVenue]:
    """Yield the adapter, started, over an imitation that listens."""
    given = {"config": _unlimited(imitation), "url": imitation.url, "streams": False, "poll_s": 0.05} | other
    venue = CcxtVenue(imitation.ccxt_id, ACCOUNT, **given)
    try:
        await venue.start()
        yield venue
    finally:
        await venue.close()


@contextlib.asynccontextmanager
async def plain(imitation: Imitation, **config: Any) -> AsyncIterator[Any]:
    """Yield ccxt as anybody uses it, of an imitation that listens."""
    client = getattr(ccxt.async_support, imitation.ccxt_id)({**imitation.config(), **config})
    try:
        await point(client, imitation.url).load_markets()
        yield client
    finally:
        await client.close()


def _unlimited(imitation: Imitation) -> dict[str, Any]:
    keys = {name: value for name, value in imitation.config().items() if name != "options"}
    return {**keys, "enableRateLimit": False}


def order(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 100, **other: Any
) -> SubmitRequest:
    """Return a limit order, good till cancelled, on spot unless said otherwise."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": SPOT,
        "order_type": OrderType.LIMIT,
        "price": None if price is None else Decimal(str(price)),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(str(quantity)), **fields)


def cancel(client_order_id: str, venue_order_id: str | None = None, instrument: str = SPOT) -> CancelRequest:
    """Return a cancel."""
    return CancelRequest(
        client_order_id=client_order_id, account=ACCOUNT, instrument=instrument, venue_order_id=venue_order_id
    )


def replace(old: str, new: str, quantity: object = 2, price: object = 100, **other: Any) -> ReplaceRequest:
    """Return a replace of the buy order ``old``, which goes on as ``new``."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": SPOT,
        "venue_order_id": None,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return ReplaceRequest(
        client_order_id=new,
        orig_client_order_id=old,
        quantity=Decimal(str(quantity)),
        price=Decimal(str(price)),
        **fields,
    )


def by_another(imitation: Imitation, side: str, quantity: object, price: object, instrument: str = SPOT) -> None:
    """Have somebody else's limit order come to the venue."""
    number = imitation.exchange.counts().submits
    other = order(f"other-{number}", side, quantity, price, account="somebody-else", instrument=instrument)
    assert isinstance(imitation.exchange.submit(other, imitation.clock_us()), Accepted)
