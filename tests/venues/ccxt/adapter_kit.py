"""What tests of the adapter over ccxt share: an imitation that listens, clients and the adapter of it, and requests to send."""

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
from onefill.sim.venue import wall_clock_us
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.client import Client
from onefill.venues.ccxt.manners import Manners
from onefill.venues.ccxt.venue import CcxtVenue
from onefill.venues.ccxt.witness import Witness, watched_by
from onefill.venues.profile import load

BTC, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
Kind = TypeVar("Kind", bound=Manners)


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


def soon_us(seconds: float = 3.0) -> int:
    """Return a moment from now, µs since 1970."""
    return wall_clock_us() + int(seconds * 1_000_000)


# ---------------------------------------------------------------------- clients


@contextlib.asynccontextmanager
async def started(imitation: Imitation) -> AsyncIterator[Imitation]:
    """Have an imitation listen."""
    await imitation.start()
    try:
        yield imitation
    finally:
        await imitation.close()


@contextlib.asynccontextmanager
async def client_of(imitation: Imitation, **config: Any) -> AsyncIterator[Any]:
    """Yield the real async client, markets loaded, of an imitation that listens."""
    client = getattr(ccxt.async_support, imitation.ccxt_id)({**imitation.config(), "enableRateLimit": False, **config})
    try:
        await point(client, imitation.url).load_markets()
        yield client
    finally:
        await client.close()


class Calling:
    """The adapter's own calls over a client, each noted by its name.

    ``stamped``: in how many ms what is signed expires; ``None``: never.
    """

    def __init__(self, client: Any, manners: Manners) -> None:
        self._client = Client(client, 10.0, own=False)
        self._manners = manners
        self.exchange = self._client.exchange
        self.stamped: int | None = None
        self.calls: list[str] = []

    async def __call__(self, method: str, *arguments: Any) -> Any:
        self.calls.append(method)
        expires_at_ms = None if self.stamped is None else time.time_ns() // 1_000_000 + self.stamped
        with watched_by(Witness(lambda: None, expires_at_ms, self._manners.stamp)):
            return await self._client(method, *arguments)


@contextlib.asynccontextmanager
async def calling(imitation: Imitation, manners: Manners) -> AsyncIterator[Calling]:
    """Yield calls over a client of their own, of an imitation that listens."""
    async with client_of(imitation) as client:
        yield Calling(client, manners)


@contextlib.asynccontextmanager
async def called(imitation: Imitation, kind: type[Kind]) -> AsyncIterator[tuple[Calling, Kind]]:
    """Yield calls, and manners after the profile, of an imitation that is started and closed here."""
    manners = kind(load(kind.profile or "").wire)
    async with started(imitation), calling(imitation, manners) as call:
        yield call, manners


@contextlib.asynccontextmanager
async def adapter(imitation: Imitation, **settings: Any) -> AsyncIterator[CcxtVenue]:
    """Yield the adapter, started, over an imitation that listens."""
    config = {**imitation.config(), "enableRateLimit": False, "options": {}}
    given = {"config": config, "url": imitation.url, "timeout_s": 5.0, "streams": False, "poll_s": 0.05, **settings}
    venue = CcxtVenue(imitation.ccxt_id, ACCOUNT, **given)
    try:
        await venue.start()
        yield venue
    finally:
        await venue.close()


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
    async with started(kind(clock_us=clock)) as imitation:
        address = imitation.url if url is None else await url(imitation)
        config = {**imitation.config(), "enableRateLimit": False, "options": config_options or {}}
        async with adapter(imitation, **{"config": config, "url": address, **settings}) as venue:
            yield venue, imitation, clock


# --------------------------------------------------------------------- requests


def order(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 100, **other: Any
) -> SubmitRequest:
    """Return a limit order, good till cancelled, in BTC/USDT unless said otherwise."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "order_type": OrderType.LIMIT,
        "price": None if price is None else Decimal(str(price)),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(str(quantity)), **fields)


def expiring(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 100, **other: Any
) -> SubmitRequest:
    """Return such an order whose request expires in a few seconds."""
    return order(client_order_id, side, quantity, price, **{"expires_at_us": soon_us(), **other})


def market(client_order_id: str, side: str = "buy", quantity: object = 1, **other: Any) -> SubmitRequest:
    """Return a market order whose request expires in a few seconds."""
    return expiring(client_order_id, side, quantity, None, **{"order_type": OrderType.MARKET, **other})


def cancel(client_order_id: str, venue_order_id: str | None = None, instrument: str = BTC) -> CancelRequest:
    """Return a cancel."""
    return CancelRequest(
        client_order_id=client_order_id, account=ACCOUNT, instrument=instrument, venue_order_id=venue_order_id
    )


def replace(old: str, quantity: object = 2, price: object = 100, **other: Any) -> ReplaceRequest:
    """Return a replace of the buy order ``old``, which keeps its id if no ``client_order_id`` is given."""
    fields: dict[str, Any] = {
        "client_order_id": old,
        "account": ACCOUNT,
        "instrument": BTC,
        "venue_order_id": None,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return ReplaceRequest(
        orig_client_order_id=old, quantity=Decimal(str(quantity)), price=Decimal(str(price)), **fields
    )


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


# ----------------------------------------------------------------------- others


def decided(imitation: Imitation) -> None:
    """Have the exchange decide all that it has taken in, whatever time it is."""
    while (due := imitation.exchange.next_due_us()) is not None:
        imitation.exchange.advance(due)


def by_another(imitation: Imitation, side: str, quantity: object, price: object, instrument: str = BTC) -> None:
    """Have somebody else's limit order come to the venue, and all that is taken in be decided."""
    decided(imitation)
    name = f"{imitation.dialect.id_format.prefix}{imitation.exchange.counts().submits:020x}"
    theirs = order(name, side, quantity, price, account="somebody-else", instrument=instrument)
    assert isinstance(imitation.exchange.submit(theirs, imitation.clock_us()), Accepted)
    decided(imitation)
