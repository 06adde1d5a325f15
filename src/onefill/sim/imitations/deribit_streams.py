"""Deribit's WebSocket as ccxt uses it: JSON-RPC, an authentication, and the channels of a user's orders and trades.

Nothing is told of the time before a subscription.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from onefill.core.messages import ExecutionReport
from onefill.sim.imitations.base import KEYS
from onefill.sim.imitations.records import Records, Traded
from onefill.sim.imitations.streams import Streams

Event = dict[str, Any]


class Socket:
    """The WebSocket of one account. ``order`` and ``trade`` show what a report tells of either."""

    def __init__(
        self,
        records: Records,
        streams: Streams,
        order: Callable[[ExecutionReport], Event],
        trade: Callable[[Traded], Event],
    ) -> None:
        self._records = records
        self._streams = streams
        self._order = order
        self._trade = trade

    async def serve(self, http: web.Request) -> web.WebSocketResponse:
        """Answer one connection until it ends."""
        async with contextlib.AsyncExitStack() as told:
            socket = await told.enter_async_context(self._streams.opened(http))
            known = False
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                asked = msgspec.json.decode(message.data)
                given = asked.get("params") or {}
                if asked["method"] == "public/auth":
                    known = given.get("client_id") == KEYS["apiKey"]
                    answer: Event = {"result": {"access_token": "imitated", "token_type": "bearer", "expires_in": 900}}
                    if not known:
                        answer = _error(13004, "invalid_credentials")
                elif asked["method"] != "private/subscribe":
                    answer = _error(-32601, "Method not found")
                elif not known:
                    answer = _error(13009, "unauthorized")
                else:
                    answer = {"result": given["channels"]}
                await socket.send_json({"jsonrpc": "2.0", "id": asked.get("id"), **answer})
                if known and asked["method"] == "private/subscribe":
                    for channel in given["channels"]:
                        await told.enter_async_context(self._streams.telling(socket, self._news(channel)))
        return socket

    def _news(self, channel: str) -> Callable[[], Iterable[Event]]:
        """Return what yields the notifications of a channel from now on."""
        place = len(self._records.told(0))
        trades = channel.startswith("user.trades.")

        def news() -> Iterable[Event]:
            nonlocal place
            new = self._records.told(place)
            place += len(new)
            for report, traded in new:
                if not trades:
                    yield _notification(channel, self._order(report))
                elif traded is not None:
                    yield _notification(channel, [self._trade(traded)])

        return news


def _notification(channel: str, data: object) -> Event:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def _error(code: int, message: str) -> Event:
    return {"error": {"code": code, "message": message}}
