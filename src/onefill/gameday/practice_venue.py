"""A venue to practise on: a simulated exchange behind sockets, a market maker, and a faulty link in front of it.

Two practice venues with the same settings hurt the same orders in the same way: the link knows a request by the order in it
and not by its client order id or expiry, so the k-th attempt at an order meets the same fault whoever makes it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal

import msgspec

from onefill.core.capabilities import UniqueScope
from onefill.core.messages import ExecutionKind, ExecutionReport, SubmitRequest
from onefill.core.values import Side, plain
from onefill.gameday.demo_orders import ACCOUNT, INSTRUMENT, make_market
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.sim.link import FaultyLink
from onefill.sim.link_plan import REQUEST_KINDS, FaultRecord, LinkCounts, LinkSettings, identify_request
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.venue import SimulatedVenue, wall_clock_us
from onefill.venues import exchange_wire as wire

DIALECT = Dialect(unique_scope=UniqueScope.OPEN, request_expiry_s=1.5, conclusive_after_s=2.0)
"""The hardest dialect that can be traded on safely: the id of a filled order is free again, so a late copy of its request
makes a second order. What saves the sender is that requests carry an expiry, and that this one can be asked."""

_HOST = "127.0.0.1"
_ORDERS = wire.ORDERS.encode()
_decode_submit = msgspec.json.Decoder(SubmitRequest).decode


class PracticeVenue:
    """What a drill can see of its venue, read from the exchange itself.

    ``fills``, ``position`` (BTC) and ``requests`` (order requests that reached the link) are live.
    """

    def __init__(self, faults: LinkSettings) -> None:
        self.exchange = Exchange(DIALECT, [INSTRUMENT])
        self.url = ""
        """Where clients connect: the link."""
        self.requests = 0
        self.fills = 0
        self.position = Decimal(0)
        self.fills_of: dict[str, int] = {}
        """How many fills there were under each client order id."""
        self._server = ExchangeServer(self.exchange)
        self._faults = faults
        self._link: FaultyLink | None = None
        self._told = 0
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self, on_news: Callable[[], None]) -> AsyncIterator[None]:
        """Listen, quote and follow the account's executions until this is left. ``on_news`` is called after each."""
        now_us = wall_clock_us()
        make_market(self.exchange, now_us)
        port = await self._server.start(_HOST)
        link = FaultyLink(_HOST, port, self._faults, identify=self._identify, on_fault=self._fault_ended)
        self._link = link
        follower: asyncio.Task[None] | None = None
        try:
            self.url = f"http://{_HOST}:{await link.start(_HOST)}"
            follower = asyncio.create_task(self._follow(on_news))
            yield
        finally:
            if follower is not None:
                follower.cancel()
                await asyncio.wait([follower])
            await link.close()
            await self._server.close()

    @property
    def counts(self) -> LinkCounts:
        """What the link has done so far."""
        return LinkCounts() if self._link is None else self._link.counts

    def orders(self) -> list[ExchangeOrder]:
        """Return every order the trading account ever had here."""
        return [order for order in self.exchange.all_orders() if order.account == ACCOUNT]

    async def filled(self, count: int) -> None:
        """Return once the account has had ``count`` fills."""
        while self.fills < count:
            await self._next_news()

    async def quiet(self) -> None:
        """Return once no request is held back any more: what was delayed has been delivered."""
        while self.counts.hurt > self._told:
            await self._next_news()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _follow(self, on_news: Callable[[], None]) -> None:
        async for report in SimulatedVenue(self.exchange, ACCOUNT).stream(0):
            if report.kind is ExecutionKind.TRADE:
                self._take(report)
                self._news.set()
                on_news()

    def _take(self, report: ExecutionReport) -> None:
        self.fills += 1
        self.fills_of[report.client_order_id] = self.fills_of.get(report.client_order_id, 0) + 1
        quantity = report.last_quantity or Decimal(0)
        self.position += quantity if report.side is Side.BUY else -quantity

    def _fault_ended(self, record: FaultRecord) -> None:
        if record.kind in REQUEST_KINDS:
            self._told += 1
            self._news.set()

    def _identify(self, method: bytes, target: bytes, body: bytes) -> bytes:
        if method == b"POST" and target == _ORDERS:
            self.requests += 1
        return identify_order(method, target, body)


def identify_order(method: bytes, target: bytes, body: bytes) -> bytes:
    """Return what makes a request itself: for a new order its content without what changes from attempt to attempt."""
    if method == b"POST" and target == _ORDERS:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            order = _decode_submit(body)
            price = "" if order.price is None else plain(order.price)
            return f"{order.account} {order.instrument} {order.side} {plain(order.quantity)} {price}".encode()
    return identify_request(method, target, body)
