"""A venue without a numbered stream: its executions are read from lists, by the adapter's own feed, over an exchange."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from scripted_venue import ScriptedVenue

from onefill.core.client_errors import ancestry
from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport
from onefill.core.values import plain
from onefill.sim.exchange import Exchange
from onefill.venues.ccxt.feed import Feed, Unanswered
from onefill.venues.ccxt.manners import Manners

STATUS = {"filled": "closed", "canceled": "canceled", "expired": "expired", "rejected": "rejected"}


class OrderNotFound(Exception):
    """Named as the client library's."""


class Lists:
    """What the client library would answer. While ``down`` nothing is answered; ``hidden`` trades are not listed."""

    clock_difference_ms = 0

    def __init__(self, exchange: Exchange, account: str, now_us: Any) -> None:
        self.exchange = exchange
        self.account = account
        self.now_us = now_us
        self.down = False
        self.hidden: set[str] = set()
        self.asked: list[tuple[Any, ...]] = []

    def has(self, _: str) -> bool:
        """There are no streams."""
        return False

    async def read_clock(self) -> None:
        """The venue's clock is ours."""

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Answer from the exchange."""
        await asyncio.sleep(0.001)
        self.asked.append((method, *arguments))
        if self.down:
            raise ConnectionError("no way there")
        self.exchange.advance(self.now_us())
        if method == "fetch_my_trades":
            symbol, since_ms, limit = arguments
            told = self.exchange.executions(self.account, 0, 1 << 40)
            found = [self._trade(one) for one in told if one.kind is ExecutionKind.TRADE and one.instrument == symbol]
            return [one for one in found if one["timestamp"] >= since_ms and one["id"] not in self.hidden][:limit]
        orders = [one for one in self.exchange.all_orders() if one.account == self.account]
        if method == "fetch_open_orders":
            return [self._order(one) for one in orders if one.status in LIVE]
        shown = [self._order(one) for one in orders if one.venue_order_id == arguments[0]]
        if method != "fetch_order" or not shown:
            raise OrderNotFound(str(arguments))
        return shown[0]

    def _trade(self, told: ExecutionReport) -> dict[str, Any]:
        assert told.last_quantity is not None
        assert told.last_price is not None
        return {
            "id": told.execution_id,
            "order": told.venue_order_id,
            "symbol": told.instrument,
            "side": told.side.value,
            "timestamp": told.transacted_at_us // 1000,
            "amount": plain(told.last_quantity),
            "price": plain(told.last_price),
        }

    def _order(self, kept: Any) -> dict[str, Any]:
        return {
            "id": kept.venue_order_id,
            "clientOrderId": kept.client_order_id,
            "symbol": kept.instrument,
            "side": kept.side.value,
            "type": kept.order_type.value,
            "amount": plain(kept.quantity),
            "price": None if kept.price is None else plain(kept.price),
            "filled": plain(kept.cum_quantity),
            "status": STATUS.get(kept.status.value, "open"),
        }


class TimedVenue(ScriptedVenue):
    """One account's connection, whose stream has times for places."""

    places_are_times = True

    def __init__(self, exchange: Exchange, now_us: Any) -> None:
        super().__init__(exchange, now_us)
        self.lists = Lists(exchange, self.account, now_us)
        self.followed: list[tuple[str, str | None, str]] = []
        self.feed = Feed(
            self.lists,
            Manners(),
            self.account,
            _ask,
            poll_s=1.0,
            streams=False,
            clock_ms=lambda: now_us() // 1000,
        )

    def follow(self, client_order_id: str, venue_order_id: str | None, instrument: str) -> None:
        """Hear of an order that is open."""
        self.followed.append((client_order_id, venue_order_id, instrument))
        self.feed.met(client_order_id, venue_order_id, instrument)

    async def submit(self, request: Any) -> Any:
        """Send a new order; what is shown of it is followed."""
        self.feed.meet(request.instrument)
        return self._met(await super().submit(request))

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> Any:
        """Ask for an order; what is shown is followed."""
        return self._met(await super().lookup(client_order_id, account, instrument))

    def _met(self, reply: Any) -> Any:
        order = getattr(reply, "order", None)
        if order is not None:
            self.feed.met(order.client_order_id, order.venue_order_id, order.instrument)
        return reply

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return what there is after a place."""
        return await self.feed.page(after)

    def stream(self, after: int) -> AsyncIterator[ExecutionReport]:
        """Follow the lists."""
        return self.feed.follow(after)


async def _ask(question: Awaitable[Any]) -> Any:
    try:
        return await question
    except Exception as error:  # noqa: BLE001 - as the adapter does
        raise Unanswered(str(error), ancestry([type(error)])) from None
