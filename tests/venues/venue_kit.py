"""What tests of venue adapters share: requests, a real exchange server, a connected adapter, and a server that misbehaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core.capabilities import Capabilities
from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest, VenueOrder, VenueStatus
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.venues.exchange_client import ExchangeVenue

ACME = Instrument(symbol="ACME", price_tick=Decimal("0.05"), quantity_step=Decimal("0.5"), min_quantity=Decimal(1))
NOON_US = 1_750_000_000 * 1_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 30.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


def order(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 10, **other: Any
) -> SubmitRequest:
    """Return a limit order, account ``A``, instrument ACME, good till cancelled unless said otherwise."""
    fields: dict[str, Any] = {
        "account": "A",
        "instrument": "ACME",
        "order_type": OrderType.LIMIT,
        "price": Decimal(str(price)),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(str(quantity)), **fields)


def cancel(client_order_id: str, venue_order_id: str | None = None) -> CancelRequest:
    """Return a cancel, account ``A``, instrument ACME."""
    return CancelRequest(client_order_id=client_order_id, account="A", instrument="ACME", venue_order_id=venue_order_id)


def replace(old: str, quantity: object = 2, price: object = 10, new: str | None = None, **other: Any) -> ReplaceRequest:
    """Return a replace of the buy order ``old``, under the id ``new`` or its own, account ``A``, instrument ACME."""
    fields: dict[str, Any] = {
        "account": "A",
        "instrument": "ACME",
        "venue_order_id": None,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return ReplaceRequest(
        client_order_id=new or old,
        orig_client_order_id=old,
        quantity=Decimal(str(quantity)),
        price=Decimal(str(price)),
        **fields,
    )


def shown(client_order_id: str, status: VenueStatus = VenueStatus.NEW, **other: Any) -> VenueOrder:
    """Return an order as a venue might show it."""
    fields: dict[str, Any] = {
        "venue_order_id": "X1",
        "instrument": "ACME",
        "side": Side.BUY,
        "quantity": Decimal(1),
        "order_type": OrderType.LIMIT,
        "price": Decimal(10),
        "cum_quantity": Decimal(0),
    } | other
    return VenueOrder(client_order_id=client_order_id, status=status, **fields)


@contextlib.asynccontextmanager
async def serving(
    clock_us: Callable[[], int] = lambda: NOON_US, heartbeat_s: float = 1.0, **dialect: Any
) -> AsyncIterator[tuple[Exchange, str]]:
    """Run an exchange server on a free port of this machine; give the exchange and its URL."""
    exchange = Exchange(Dialect(**dialect), [ACME])
    server = ExchangeServer(exchange, clock_us, heartbeat_s=heartbeat_s)
    port = await server.start("127.0.0.1", 0)
    try:
        yield exchange, f"http://127.0.0.1:{port}"
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def connected(
    url: str, account: str = "A", timeout_s: float = 10.0, **settings: Any
) -> AsyncIterator[ExchangeVenue]:
    """Give a started adapter."""
    venue = ExchangeVenue(url, account, timeout_s, **settings)
    await venue.start()
    try:
        yield venue
    finally:
        await venue.close()


def http(status: int, body: bytes | object, *headers: str, length: int | None = None) -> bytes:
    """Return the bytes of an HTTP answer; ``length`` may lie about the body."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = [f"HTTP/1.1 {status} Something", f"Content-Length: {len(raw) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + raw


DIALECT_ANSWER = http(200, {"capabilities": Capabilities(), "dialect": {}}, "Connection: close")
KEPT_DIALECT_ANSWER = http(200, {"capabilities": Capabilities(), "dialect": {}})
HANG = b""


class OddServer:
    """A TCP server that reads whole HTTP requests and answers the n-th with ``script[n]`` (the last one from then on).

    Bytes are sent as they are; after ``keep`` the connection is kept open, otherwise it is closed; ``None`` closes without a
    word, and :data:`HANG` never answers. ``requests`` holds the first line of every request that came.
    """

    def __init__(self, *script: bytes | None, keep: bool = False) -> None:
        self.requests: list[str] = []
        self.came = asyncio.Event()
        self._script = script
        self._keep = keep
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> "OddServer":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if not self._keep else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        for line in head.lower().splitlines():
            if line.startswith("content-length:"):
                await reader.readexactly(int(line.partition(":")[2]))
        answer = self._script[min(len(self.requests), len(self._script) - 1)]
        self.requests.append(head.partition("\r\n")[0])
        self.came.set()
        if answer is None:
            return False
        if answer == HANG:
            await asyncio.Event().wait()
        writer.write(answer)
        await writer.drain()
        if not self._keep:
            writer.close()
            await writer.wait_closed()
        return self._keep
