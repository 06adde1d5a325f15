"""Kraken's private WebSocket (version 2) as imitated: the channel of executions, told the account's news as it comes."""

import itertools
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.values import OrderType, plain
from onefill.sim.exchange import Exchange
from onefill.sim.imitations.kraken_words import moment, trade_id
from onefill.sim.imitations.records import OrderRecord, Records, Traded, number_of
from onefill.sim.imitations.streams import Streams

LAST_TRADES: Final = 50
"""So many trades stand in a snapshot that has trades."""
_ENDS: Final = {
    ExecutionKind.CANCELED: "canceled",
    ExecutionKind.EXPIRED: "expired",
    ExecutionKind.REPLACED: "amended",
}


class ExecutionChannel:
    """The channel ``executions`` of one account. ``token`` is what a subscriber must show."""

    def __init__(self, exchange: Exchange, account: str, records: Records, token: str) -> None:
        self.streams = Streams(exchange, account)
        self._records = records
        self._token = token

    async def serve(self, http: web.Request) -> web.WebSocketResponse:
        """Answer what a subscriber asks, until it leaves."""
        async with self.streams.opened(http) as socket:
            await socket.send_json({"channel": "status", "type": "update", "data": [{"system": "online"}]})
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                asked = message.json()
                if asked.get("method") == "ping":
                    await socket.send_json({"method": "pong", "req_id": asked.get("req_id")})
                    continue
                params = asked.get("params") or {}
                known = asked.get("method") == "subscribe" and params.get("channel") == "executions"
                refusal = None if known else "Unsupported method or channel"
                if known and params.get("token") != self._token:
                    refusal = "ESession:Invalid session"
                await socket.send_json(_answer(asked, refusal))
                if refusal is None:
                    async with self.streams.telling(socket, _News(self, params).due):
                        await _until_closed(socket)
        return socket

    def snapshot(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the open orders and, where they are wanted, the latest trades, in one list as the venue does."""
        found: list[dict[str, Any]] = []
        if params.get("snap_orders", True):
            found += [self._state(record, "new", whole=True) for record in self._records.live()]
        if params.get("snap_trades", False):
            found += [self._trade(traded) for traded in self._records.trades()[-LAST_TRADES:]]
        return found

    def after(self, place: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the events since a place of the exchange's stream, and the place reached."""
        news = self._records.told(place)
        return place + len(news), [event for report, traded in news for event in self._events(report, traded)]

    def _events(self, report: ExecutionReport, traded: Traded | None) -> Iterator[dict[str, Any]]:
        record = self._records.of(number_of(report.venue_order_id))
        at = {"timestamp": moment(report.transacted_at_us)}
        if traded is not None:
            # A trade that fills the order says so in an event of its own.
            yield self._trade(traded)
            if report.status is VenueStatus.FILLED:
                yield self._state(record, "filled") | at
        elif report.kind is ExecutionKind.NEW:
            yield self._state(record, "pending_new", whole=True) | at
            yield self._state(record, "new") | at
        elif report.kind in _ENDS:
            yield self._state(record, _ENDS[report.kind], whole=report.kind is ExecutionKind.REPLACED) | at

    def _state(self, record: OrderRecord, kind: str, *, whole: bool = False) -> dict[str, Any]:
        order = record.order
        live = "partially_filled" if order.cum_quantity else "new"
        event: dict[str, Any] = {
            "order_id": record.native,
            "cl_ord_id": record.client_id,
            "order_userref": 0,
            "exec_type": kind,
            "order_status": live if kind in ("new", "amended") else kind,
            "cum_qty": _number(order.cum_quantity),
            "cum_cost": _number(record.value),
            "timestamp": moment(record.changed_at_us),
        }
        if order.reason:
            event["reason"] = order.reason
        if not whole:
            return event
        limit = {"limit_price": _number(order.price)} if order.price is not None else {}
        return (
            event
            | limit
            | {
                "symbol": order.instrument,
                "side": order.side.value,
                "order_type": "limit" if order.order_type is OrderType.LIMIT else "market",
                "order_qty": _number(order.quantity),
                "time_in_force": order.time_in_force.value.upper(),
            }
        )

    def _trade(self, traded: Traded) -> dict[str, Any]:
        report, record = traded.report, self._records.of(traded.number)
        return {
            "order_id": record.native,
            "cl_ord_id": record.client_id,
            "order_userref": 0,
            "exec_id": trade_id(traded),
            "exec_type": "trade",
            "trade_id": report.position,
            "symbol": report.instrument,
            "side": report.side.value,
            "last_qty": _number(traded.quantity),
            "last_price": _number(traded.price),
            "liquidity_ind": "t",
            "cost": _number(traded.value),
            "order_status": "partially_filled",
            "order_type": record.order.order_type.value,
            "fees": [{"asset": report.instrument.partition("/")[2], "qty": _number(report.fee or Decimal(0))}],
            "timestamp": moment(report.transacted_at_us),
        }


class _News:
    """What one subscriber is told: a snapshot, then one event in each message, numbered."""

    def __init__(self, channel: ExecutionChannel, params: dict[str, Any]) -> None:
        self._channel = channel
        self._params = params
        self._place, _ = channel.after(0)
        self._numbers = itertools.count(1)
        self._begun = False

    def due(self) -> Iterable[Any]:
        """Return the messages that are due."""
        if not self._begun:
            self._begun = True
            yield self._message("snapshot", self._channel.snapshot(self._params))
        self._place, events = self._channel.after(self._place)
        for event in events:
            yield self._message("update", [event])

    def _message(self, kind: str, data: list[dict[str, Any]]) -> dict[str, Any]:
        return {"channel": "executions", "type": kind, "data": data, "sequence": next(self._numbers)}


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            return
        asked = message.json()
        if asked.get("method") == "ping":
            await socket.send_json({"method": "pong", "req_id": asked.get("req_id")})
        else:
            await socket.send_json(_answer(asked, "Already subscribed"))


def _answer(asked: dict[str, Any], refusal: str | None) -> dict[str, Any]:
    common = {"method": asked.get("method"), "req_id": asked.get("req_id"), "success": refusal is None}
    return common | ({"error": refusal} if refusal is not None else {"result": {"channel": "executions"}})


def _number(value: Decimal) -> msgspec.Raw:
    # The venue writes numbers there, not text; written out from the exact one, none is rounded here.
    return msgspec.Raw(plain(value).encode())
