"""What tests of manners share: the adapter's calls over a real client of an imitation, and orders to send by them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar

import ccxt.async_support

from onefill.core.messages import Accepted, CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.client import Client
from onefill.venues.ccxt.manners import Manners
from onefill.venues.ccxt.witness import Witness, watched_by
from onefill.venues.profile import load

Kind = TypeVar("Kind", bound=Manners)


class Calling:
    """The adapter's own calls over a client. ``stamped``: in how many ms what is signed expires; ``None``: never."""

    def __init__(self, client: Any, manners: Manners) -> None:
        self._client = Client(client, 10.0, own=False)
        self._manners = manners
        self.exchange = self._client.exchange
        self.stamped: int | None = None

    async def __call__(self, method: str, *arguments: Any) -> Any:
        expires_at_ms = None if self.stamped is None else time.time_ns() // 1_000_000 + self.stamped
        with watched_by(Witness(lambda: None, expires_at_ms, self._manners.stamp)):
            return await self._client(method, *arguments)


@contextlib.asynccontextmanager
async def client_of(imitation: Imitation, **config: Any) -> AsyncIterator[Any]:
    """Yield the real async client, markets loaded, of an imitation that listens."""
    client = getattr(ccxt.async_support, imitation.ccxt_id)({**imitation.config(), "enableRateLimit": False, **config})
    try:
        await point(client, imitation.url).load_markets()
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def called(imitation: Imitation, kind: type[Kind]) -> AsyncIterator[tuple[Calling, Kind]]:
    """Yield a call over the real client, and manners after the profile, of an imitation that is started and closed here."""
    await imitation.start()
    try:
        manners = kind(load(kind.profile or "").wire)
        async with client_of(imitation) as client:
            yield Calling(client, manners), manners
    finally:
        await imitation.close()


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 60.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


def decided(imitation: Imitation) -> None:
    """Have the exchange decide all that it has taken in, whatever time it is."""
    while (due := imitation.exchange.next_due_us()) is not None:
        imitation.exchange.advance(due)


def order(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 100, **other: Any
) -> SubmitRequest:
    """Return a limit order in BTC/USDT."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": "BTC/USDT",
        "order_type": OrderType.LIMIT,
        "price": None if price is None else Decimal(str(price)),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(str(quantity)), **fields)


def cancel(client_order_id: str, venue_order_id: str | None = None, instrument: str = "BTC/USDT") -> CancelRequest:
    """Return a cancel."""
    return CancelRequest(
        client_order_id=client_order_id, account=ACCOUNT, instrument=instrument, venue_order_id=venue_order_id
    )


def replace(old: str, quantity: object = 2, price: object = 100, **other: Any) -> ReplaceRequest:
    """Return a replace of the buy order ``old`` that keeps its id."""
    fields: dict[str, Any] = {
        "client_order_id": old,
        "account": ACCOUNT,
        "instrument": "BTC/USDT",
        "venue_order_id": None,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return ReplaceRequest(
        orig_client_order_id=old, quantity=Decimal(str(quantity)), price=Decimal(str(price)), **fields
    )


def by_another(imitation: Imitation, side: str, quantity: object, price: object, **other: Any) -> None:
    """Have somebody else's limit order come to the venue, and all that is taken in be decided."""
    decided(imitation)
    name = f"0x{imitation.exchange.counts().submits:032x}"
    request = order(name, side, quantity, price, **{"account": "other", **other})
    assert isinstance(imitation.exchange.submit(request, imitation.clock_us()), Accepted)
    decided(imitation)


async def place(call: Calling, manners: Manners, request: SubmitRequest) -> Any:
    """Send a new order as the adapter does, and return what ccxt makes of the reply."""
    price = None if request.price is None else float(request.price)
    return await call(
        "create_order",
        request.instrument,
        request.order_type.value,
        request.side.value,
        float(request.quantity),
        price,
        manners.new_order(request),
    )
