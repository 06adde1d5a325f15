"""Coinbase's WebSocket as imitated: the user channel, which tells orders with growing totals and no single executions."""

import itertools
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from aiohttp import WSMsgType, web

from onefill.core.messages import LIVE, VenueStatus
from onefill.core.values import EXACT, OrderType, plain
from onefill.sim.exchange import Exchange
from onefill.sim.imitations.coinbase_words import STATES, average, moment
from onefill.sim.imitations.records import OrderRecord, Records, number_of
from onefill.sim.imitations.streams import Streams

Json = dict[str, Any]


class UserChannel:
    """The channel ``user`` of one account. ``may`` tells whether a token is good."""

    def __init__(self, exchange: Exchange, account: str, records: Records, may: Callable[[str], bool]) -> None:
        self.streams = Streams(exchange, account)
        self._records = records
        self._may = may

    async def serve(self, http: web.Request) -> web.WebSocketResponse:
        """Answer what a subscriber asks, until it leaves."""
        async with self.streams.opened(http) as socket:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                asked = message.json()
                if asked.get("type") != "subscribe" or asked.get("channel") != "user":
                    await socket.send_json({"type": "error", "message": "unknown type or channel"})
                    continue
                if not self._may(str(asked.get("jwt") or "")):
                    await socket.send_json({"type": "error", "message": "authentication failure"})
                    continue
                await socket.send_json({"channel": "subscriptions", "events": [{"subscriptions": {"user": [""]}}]})
                async with self.streams.telling(socket, _News(self).due):
                    async for _ in socket:
                        pass
        return socket

    def snapshot(self) -> list[Json]:
        """Return what is open."""
        return [self._order(record) for record in self._records.live()]

    def after(self, place: int) -> tuple[int, list[Json]]:
        """Return the orders that something happened to since a place of the exchange's stream, and the place reached."""
        news = self._records.told(place)
        return place + len(news), [self._order(self._records.of(number_of(one.venue_order_id))) for one, _ in news]

    def _order(self, record: OrderRecord) -> Json:
        order = record.order
        left = EXACT.subtract(order.quantity, order.cum_quantity) if order.status in LIVE else Decimal(0)
        return {
            "order_id": record.native,
            "client_order_id": record.client_id,
            "cumulative_quantity": plain(order.cum_quantity),
            "leaves_quantity": plain(left),
            "avg_price": average(record.value, order.cum_quantity),
            "total_fees": "0",
            "status": STATES[order.status],
            "product_id": order.instrument.replace("/", "-"),
            "creation_time": moment(record.created_at_us),
            "order_side": order.side.value.upper(),
            "order_type": "Limit" if order.order_type is OrderType.LIMIT else "Market",
            "limit_price": plain(order.price) if order.price is not None else "0",
            "cancel_reason": "User requested cancel" if order.status is VenueStatus.CANCELED else "",
        }


class _News:
    """What one subscriber is told: a snapshot, then an update for each thing that happens."""

    def __init__(self, channel: UserChannel) -> None:
        self._channel = channel
        self._place, _ = channel.after(0)
        self._numbers = itertools.count()
        self._begun = False

    def due(self) -> Iterable[Any]:
        """Return the messages that are due."""
        if not self._begun:
            self._begun = True
            yield self._message("snapshot", self._channel.snapshot())
        self._place, orders = self._channel.after(self._place)
        for order in orders:
            yield self._message("update", [order])

    def _message(self, kind: str, orders: list[Json]) -> Json:
        return {
            "channel": "user",
            "client_id": "",
            "sequence_num": next(self._numbers),
            "events": [{"type": kind, "orders": orders}],
        }
