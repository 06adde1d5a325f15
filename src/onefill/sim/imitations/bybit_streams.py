"""Bybit's private WebSocket as ccxt uses it: an authentication, and the topics of orders and of executions.

Nothing is told of the time before a subscription.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from onefill.core.messages import ExecutionReport
from onefill.sim.imitations import bybit_words as words
from onefill.sim.imitations.base import KEYS
from onefill.sim.imitations.records import Records, Traded, number_of
from onefill.sim.imitations.streams import Streams

Message = dict[str, Any]
_TOPICS: Final = ("order", "execution")
_BAD_KEY, _BAD_REQUEST = 10003, 10001


class Private:
    """The private WebSocket of the account."""

    def __init__(self, records: Records, streams: Streams) -> None:
        self._records = records
        self._streams = streams

    async def serve(self, http: web.Request) -> web.WebSocketResponse:
        """Answer one connection until it ends."""
        async with contextlib.AsyncExitStack() as told:
            socket = await told.enter_async_context(self._streams.opened(http))
            known, topics = False, set[str]()
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                asked = msgspec.json.decode(message.data, type=dict[str, Any])
                wanted = [str(one) for one in asked.get("args", ())]
                match asked.get("op"):
                    case "ping":
                        await socket.send_json({**_said(asked, "pong"), "args": []})
                    case "auth":
                        known = wanted[:1] == [KEYS["apiKey"]]
                        await socket.send_json(
                            _said(asked) if known else _refused(asked, _BAD_KEY, "API key is invalid.")
                        )
                    case "subscribe" if known and set(wanted) <= set(_TOPICS):
                        await socket.send_json(_said(asked))
                        for topic in [one for one in wanted if one not in topics]:
                            topics.add(topic)
                            await told.enter_async_context(self._streams.telling(socket, self._news(topic)))
                    case _:
                        await socket.send_json(_refused(asked, _BAD_REQUEST, "Request not authorized or topic unknown"))
        return socket

    def _news(self, topic: str) -> Callable[[], Iterable[Message]]:
        """Return what yields the messages of the reports that come from now on."""
        place = len(self._records.told(0))

        def news() -> Iterable[Message]:
            nonlocal place
            for report, traded in self._records.told(place):
                place = report.position
                if topic == "order" or traded is not None:
                    yield self._message(report, traded if topic == "execution" else None)

        return news

    def _message(self, report: ExecutionReport, traded: Traded | None) -> Message:
        record = self._records.of(number_of(report.venue_order_id))
        topic, shown = "order", words.shown_order(record)
        if traded is not None:
            topic, shown = "execution", words.shown_trade(traded, record)
        at_ms = report.transacted_at_us // 1000
        return {
            "id": f"{report.position}",
            "topic": topic,
            "creationTime": at_ms,
            "data": [{"category": "spot", **shown}],
        }


def _said(asked: Message, word: str = "") -> Message:
    said = {"success": True, "ret_msg": "", "op": word or asked.get("op"), "conn_id": "c24kbvp9s3h8-1"}
    return {**said, "req_id": asked["req_id"]} if "req_id" in asked else said


def _refused(asked: Message, code: int, reason: str) -> Message:
    return {**_said(asked), "success": False, "retCode": code, "ret_msg": reason}
