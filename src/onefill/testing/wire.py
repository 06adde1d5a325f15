"""A wire between an adapter and a venue's server that can be cut, for kits of the venue suite.

Bytes pass through as they are. What is hurt is the next request, whichever it is: its bytes or those of its reply. That is all
that a suite needs which sends one request and looks; for traffic hurt at random there is the faulty link of the simulation.
"""

import asyncio
import contextlib
from collections.abc import Callable
from enum import StrEnum
from typing import Final

CHUNK: Final = 1 << 16
_METHODS: Final = (b"POST ", b"GET ", b"PUT ", b"PATCH ", b"DELETE ")
_PAGE: Final = b"<html><body><h1>It works!</h1></body></html>"
GARBLED: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(_PAGE)
    + _PAGE
)
"""What stands in place of a garbled reply: a success with a page that says nothing."""


class WireFault(StrEnum):
    """What happens to one request."""

    LOSE_REQUEST = "lose_request"
    """It left the adapter and never arrives; the connection is reset."""
    LOSE_REPLY = "lose_reply"
    """It arrives and is answered; the adapter sees a reset in place of the reply."""
    GARBLE_REPLY = "garble_reply"
    """It arrives and is answered; the adapter gets :data:`GARBLED`."""


def begins_a_request(chunk: bytes) -> bool:
    """Tell whether bytes from the adapter begin an HTTP request that is none for a WebSocket."""
    return chunk.startswith(_METHODS) and b"upgrade: websocket" not in chunk.lower()


class CuttableWire:
    """Listens on a port of this machine and carries every connection to ``host:port``.

    ``hurts`` tells which bytes of the adapter begin a request that an armed fault strikes; it may be replaced. Not reusable
    after :meth:`close`.
    """

    def __init__(self, host: str, port: int, hurts: Callable[[bytes], bool] = begins_a_request) -> None:
        self._venue = (host, port)
        self.hurts = hurts
        self._armed: list[WireFault] = []
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = False
        self.port = 0
        self.requests = 0
        """How many requests came from the adapter that a fault might have struck."""

    async def start(self) -> None:
        """Listen, on a free port the first time, on the same one later."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=1024)
            self.port = int(self._server.sockets[0].getsockname()[1])

    def arm(self, fault: WireFault) -> None:
        """Have a fault strike the next request; armed more than once, one request each."""
        self._armed.append(fault)

    async def go_away(self) -> None:
        """Have connections refused, and those that are open reset."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.cut()

    def fall_silent(self) -> None:
        """Take every connection and swallow every byte."""
        self._silent = True

    async def come_back(self) -> None:
        """Carry again, where it was before. Connections that lost bytes are reset."""
        if self._silent:
            self._silent = False
            self.cut()
        await self.start()

    def cut(self) -> None:
        """Reset every connection that is open."""
        for connection in tuple(self._connections):
            connection.reset()

    async def close(self) -> None:
        """Let go of everything."""
        await self.go_away()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            with contextlib.suppress(OSError):
                await self._carry(connection, reader)
        except asyncio.CancelledError:
            connection.reset()
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _carry(self, connection: "_Connection", reader: asyncio.StreamReader) -> None:
        replies: asyncio.Task[None] | None = None
        try:
            while chunk := await reader.read(CHUNK):
                if self._silent:
                    continue
                fault = self._strike(chunk)
                if fault is WireFault.LOSE_REQUEST:
                    return
                connection.fault = fault or connection.fault
                if connection.venue is None:
                    back, connection.venue = await asyncio.open_connection(*self._venue)
                    replies = asyncio.ensure_future(self._carry_replies(connection, back))
                connection.venue.write(chunk)
                await connection.venue.drain()
        finally:
            if replies is not None:
                replies.cancel()
                await asyncio.gather(replies, return_exceptions=True)

    def _strike(self, chunk: bytes) -> WireFault | None:
        if not self.hurts(chunk):
            return None
        self.requests += 1
        return self._armed.pop(0) if self._armed else None

    async def _carry_replies(self, connection: "_Connection", back: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while chunk := await back.read(CHUNK):
                if self._silent:
                    continue
                if connection.fault is None:
                    connection.adapter.write(chunk)
                    await connection.adapter.drain()
                    continue
                if connection.fault is WireFault.GARBLE_REPLY:
                    connection.adapter.write(GARBLED)
                    await connection.adapter.drain()
                    connection.adapter.close()
                break
        if connection.fault is not WireFault.GARBLE_REPLY:
            connection.reset()


class _Connection:
    """One connection of the adapter, and the one to the venue that goes with it."""

    def __init__(self, adapter: asyncio.StreamWriter) -> None:
        self.adapter = adapter
        self.venue: asyncio.StreamWriter | None = None
        self.fault: WireFault | None = None

    def reset(self) -> None:
        """Drop both ends at once."""
        for end in (self.adapter, self.venue):
            if end is not None:
                end.transport.abort()
