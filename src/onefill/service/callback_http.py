"""``POST /callbacks/ROUTE`` of a running gateway: where venues send their callbacks.

2xx is said only once the effect is durable. What is to be sent again gets 503 with ``Retry-After``; what never helps to be sent
again gets 4xx. Answers and remarks hold no secret and no signature; answers also nothing of how things stand in here.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from aiohttp import web

from onefill.core.errors import (
    CallbackContradicts,
    CallbackNotHere,
    CallbackRefused,
    CallbackUnreadable,
    NotVerified,
)
from onefill.engine.outside import Outside
from onefill.service.callback_settings import CallbackPlan
from onefill.service.listening import url

PATH: Final = "/callbacks/"
MOST_AT_ONCE: Final = 64
"""Callbacks that are read or taken in at a time; more are to be sent again."""
_READ_S: Final = 10.0
_TAKE_S: Final = 30.0
"""For how long a sender is left waiting, where the ledger hangs. What was begun goes on."""
_STATUS: dict[type[CallbackRefused], int] = {
    NotVerified: 401,
    CallbackUnreadable: 422,
    CallbackContradicts: 409,
}


class CallbackAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer. ``repeated``: it was taken in before; ``reason``: why it was not."""

    taken: bool
    event_id: str | None = None
    repeated: bool = False
    reason: str | None = None


class _Doors:
    def __init__(self, gateway: Outside, plan: CallbackPlan, remark: Callable[[str], None]) -> None:
        self._gateway = gateway
        self._plan = plan
        self._remark = remark
        self._inside = 0
        self._remarked_at_s = float("-inf")
        self._unsaid = 0

    async def post(self, request: web.Request) -> web.Response:
        if self._inside >= MOST_AT_ONCE:
            return self._refused(503, "too many callbacks at once. Nothing was read: send the same again")
        self._inside += 1
        try:
            return await self._taken(request)
        finally:
            self._inside -= 1

    async def _taken(self, request: web.Request) -> web.Response:
        route = request.match_info["route"]
        try:
            async with asyncio.timeout(_READ_S):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._refused(413, f"the body is larger than {self._plan.most_body_bytes:,} bytes. Nothing was read")
        except TimeoutError:
            return self._refused(408, f"the body did not come within {_READ_S:g} s. Nothing was read")
        try:
            async with asyncio.timeout(_TAKE_S):
                receipt = await self._gateway.take_callback(route, request.headers.items(), body)
        except TimeoutError:
            return self._refused(503, f"it is not durable after {_TAKE_S:g} s, and may be later: send the same again")
        except CallbackNotHere:  # why is for those who run this, and told by the route's own state
            return self._refused(503, "it cannot be taken in here now. Nothing was changed: send the same again")
        except CallbackRefused as error:
            self._say(f"callback for {route!r:.80}: {error}")
            return self._refused(_STATUS[type(error)], str(error))
        except Exception as error:  # noqa: BLE001 - a defect is no reason for a venue to think that it was heard
            self._say(f"callback for {route!r:.80}: defect in Onefill ({type(error).__name__})")
            return self._refused(500, "a defect; the callback counts as not taken in")
        return _answer(200, CallbackAnswer(taken=True, event_id=receipt.event_id, repeated=receipt.repeated))

    def _say(self, text: str) -> None:
        """Remark something, once a second at most: anybody can send what is refused."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._remarked_at_s + 1.0:
            self._unsaid += 1
            return
        more = f" ({self._unsaid:,} more before it)" if self._unsaid else ""
        self._remarked_at_s, self._unsaid = now_s, 0
        self._remark(text + more)

    def _refused(self, status: int, reason: str) -> web.Response:
        answer = _answer(status, CallbackAnswer(taken=False, reason=reason))
        if status == 503:
            answer.headers["Retry-After"] = str(self._plan.retry_after_s)
        return answer


def _answer(status: int, body: CallbackAnswer) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


@contextlib.asynccontextmanager
async def serving(
    gateway: Outside, listening: socket.socket, plan: CallbackPlan, remark: Callable[[str], None]
) -> AsyncIterator[str]:
    """Take in callbacks on a socket that listens already. Gives the URL; ``remark`` hears of what was refused."""
    doors = _Doors(gateway, plan, remark)
    app = web.Application(client_max_size=plan.most_body_bytes)
    app.add_routes([web.post(PATH + "{route:.+}", doors.post)])
    # As it came: that is what was signed, and what its length is bounded by.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0, auto_decompress=False)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield url(listening)
    finally:
        await runner.cleanup()
