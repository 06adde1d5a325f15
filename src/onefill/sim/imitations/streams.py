"""The WebSockets of an imitation: they are opened, told the account's news as it comes, and cut all at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import WSCloseCode, web

from onefill.sim.exchange import Exchange

_encode = msgspec.json.Encoder().encode
News = Callable[[], Iterable[Any]]
"""Returns the messages that are due since it was called last; each is sent as JSON."""


class Streams:
    """The open WebSockets of one account."""

    def __init__(self, exchange: Exchange, account: str) -> None:
        self._exchange = exchange
        self._account = account
        self._open: set[web.WebSocketResponse] = set()

    @contextlib.asynccontextmanager
    async def opened(self, http: web.Request) -> AsyncIterator[web.WebSocketResponse]:
        """Answer a request for a WebSocket, and know of it until the block ends."""
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(http)
        self._open.add(socket)
        try:
            yield socket
        finally:
            self._open.discard(socket)

    @contextlib.asynccontextmanager
    async def telling(self, socket: web.WebSocketResponse, news: News) -> AsyncIterator[None]:
        """Tell a WebSocket what is new, now and whenever the exchange reports, until the block ends."""
        woken = asyncio.Event()
        woken.set()
        end = self._exchange.subscribe(self._account, woken.set)
        task = asyncio.create_task(_tell(socket, news, woken))
        try:
            yield
        finally:
            end()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def cut(self) -> None:
        """Close every WebSocket that is open."""
        for socket in tuple(self._open):
            await socket.close(code=WSCloseCode.SERVICE_RESTART)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)


async def _tell(socket: web.WebSocketResponse, news: News, woken: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError):  # whoever listened is gone
        while not socket.closed:
            await woken.wait()
            woken.clear()
            for message in news():
                await socket.send_str(_encode(message).decode())
