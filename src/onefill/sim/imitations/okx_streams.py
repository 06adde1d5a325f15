"""OKX's private WebSocket as ccxt uses it: a login, and the channel of orders, which tells each order as it was by then.

A fill is told by the order's own message, with the trade's number in it. Nothing is told of the time before a subscription.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from onefill.core.messages import ExecutionReport
from onefill.sim.imitations import okx_words as words
from onefill.sim.imitations.base import KEYS
from onefill.sim.imitations.records import Records, Traded, number_of
from onefill.sim.imitations.streams import Streams

Event = dict[str, Any]


class Private:
    """The private WebSocket of one account."""

    def __init__(self, records: Records, streams: Streams) -> None:
        self._records = records
        self._streams = streams

    async def serve(self, http: web.Request) -> web.WebSocketResponse:
        """Answer one connection until it ends."""
        async with contextlib.AsyncExitStack() as told:
            socket = await told.enter_async_context(self._streams.opened(http))
            known, channels = False, set[str]()
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                if message.data == "ping":
                    await socket.send_str("pong")
                    continue
                asked = msgspec.json.decode(message.data)
                argument = asked["args"][0]
                if asked["op"] == "login":
                    known = (argument["apiKey"], argument["passphrase"]) == (KEYS["apiKey"], KEYS["password"])
                    await socket.send_json(_said("login") if known else _error("60005", "Invalid apiKey"))
                elif asked["op"] != "subscribe" or argument.get("channel") != "orders":
                    await socket.send_json(_error("60012", f"Illegal request: {message.data}"))
                elif not known:
                    await socket.send_json(_error("60011", "Please log in"))
                else:
                    await socket.send_json({**_said("subscribe"), "arg": argument})
                    kind = str(argument.get("instType", "ANY"))
                    if kind not in channels:  # asked for once more, it is told once all the same
                        channels.add(kind)
                        await told.enter_async_context(self._streams.telling(socket, self._news(kind)))
        return socket

    def _news(self, kind: str) -> Callable[[], Iterable[Event]]:
        """Return what yields the messages of the reports that come from now on, of a kind of instruments."""
        place = len(self._records.told(0))

        def news() -> Iterable[Event]:
            nonlocal place
            new = self._records.told(place)
            place += len(new)
            for report, traded in new:
                if kind in ("ANY", words.inst_type(report.instrument)):
                    yield {"arg": {"channel": "orders", "instType": kind}, "data": [self._order(report, traded)]}

        return news

    def _order(self, report: ExecutionReport, traded: Traded | None) -> dict[str, str]:
        record = self._records.of(number_of(report.venue_order_id))
        shown = words.shown_order(record)
        before = [one for one in record.trades if one.report.position <= report.position]
        return {
            **shown,
            "state": words.state_word(report.status),
            "accFillSz": f"{report.cum_quantity:f}",
            "avgPx": words.average(before),
            "uTime": str(report.transacted_at_us // 1000),
            "tradeId": "",
            "fillPx": "",
            "fillSz": "0",
            "fillTime": "",
            "execType": "",
            "fillFee": "0",
            "fillFeeCcy": "",
            **({} if traded is None else words.shown_last_fill(traded)),
        }


def _said(event: str) -> Event:
    return {"event": event, "code": "0", "msg": "", "connId": "a4d3ae55"}


def _error(code: str, message: str) -> Event:
    return {"event": "error", "code": code, "msg": message, "connId": "a4d3ae55"}
