"""What the faulty link stands on: a connection with backpressure and resets, and the boundaries of HTTP/1.1 messages.

Bytes are never changed here, only counted and cut into messages.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

import httptools

from onefill.core.errors import OnefillError

MAX_MESSAGE = 4 << 20
"""The largest request, and the largest head of a reply, in bytes: those are held whole."""

HIGH_WATER = 1 << 18
"""How many bytes a connection may have waiting to be read before its other side is made to wait."""

_RESET = struct.pack("ii", 1, 0)


class NotHttp(OnefillError):
    """The bytes are not HTTP/1.1 as this link understands it."""


class End(asyncio.Protocol):
    """One connection, with backpressure both ways. Whoever reads sees the bytes first and the end after them."""

    def __init__(self, made: Callable[["End"], None], gone: Callable[["End"], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.ended = False  # nothing more comes from the other side
        self.on_end: Callable[[End], None] | None = None
        self._made, self._gone = made, gone
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._arrival: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (called by the event loop)."""
        self.transport = cast(asyncio.Transport, transport)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        """Keep bytes until they are taken (called by the event loop)."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note that no more bytes come (called by the event loop)."""
        self._end()
        return True  # keep the other direction: a client may shut down its side and still wait for the reply

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everyone who waits here (called by the event loop)."""
        self.transport = None
        self._end()
        self.resume_writing()
        self._gone(self)

    def pause_writing(self) -> None:
        """Make writers wait (called by the event loop)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on (called by the event loop)."""
        self._writable.set()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _end(self) -> None:
        self._wake()
        if not self.ended:
            self.ended = True
            if self.on_end is not None:
                self.on_end(self)

    @property
    def open(self) -> bool:
        """Whether bytes can still be written here."""
        return self.transport is not None and not self.transport.is_closing()

    async def arrival(self) -> bool:
        """Wait until there are bytes to take, or none will come (False)."""
        while not self._chunks and not self.ended:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return bool(self._chunks)

    def take(self) -> bytes:
        """Return all bytes that have arrived."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()
        return data

    def put_back(self, data: bytes) -> None:
        """Return bytes taken too many, to be taken next."""
        if data:
            self._chunks.insert(0, data)
            self._size += len(data)

    async def write(self, data: bytes) -> None:
        """Send ``data`` and wait while the other side is slow. Does nothing once the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
            if not self._writable.is_set():
                await self._writable.wait()

    def close(self) -> None:
        """Close after what was written has left."""
        if self.transport is not None:
            self.transport.close()

    def finish(self) -> None:
        """Tell the other side that no more is written, and go on reading."""
        if self.transport is not None and not self.transport.is_closing() and self.transport.can_write_eof():
            with contextlib.suppress(OSError):
                self.transport.write_eof()

    async def flush(self) -> None:
        """Wait until all that was written has been handed to the kernel."""
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=0)
            await self._writable.wait()

    def reset(self) -> None:
        """Close at once, with a TCP reset; bytes still in our own buffers are dropped."""
        if self.transport is not None:
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class Framer:
    """Finds the end of one HTTP/1.1 message.

    The parser does not say where in its input a message ended, so it is fed pieces that end only where a message can:
    a whole head, then a counted body past it, or the lines of a chunked one.
    """

    def __init__(self, *, reply_to: bytes | None = None) -> None:
        self._reply_to = reply_to
        self.method, self.target, self.body = b"", b"", bytearray()
        self.upgrade = self.expects_continue = False
        self.consumed = 0
        self._start()

    def _start(self) -> None:
        self._parser: httptools.HttpRequestParser | httptools.HttpResponseParser
        self._parser = (httptools.HttpRequestParser if self._reply_to is None else httptools.HttpResponseParser)(self)
        self.complete = self.headed = self.until_close = False
        self._fresh, self._chunked, self._left = True, False, 0
        self._length: int | None = None
        self.status = 0

    def on_url(self, url: bytes) -> None:
        """Collect the target (called by the parser, perhaps in parts)."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the headers that frame the message (called by the parser)."""
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._chunked = b"chunked" in value.lower()
        elif name == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Note the end of the head (called by the parser)."""
        self.headed = True

    def on_body(self, body: bytes) -> None:
        """Collect the body of a chunked request (called by the parser)."""
        if self._reply_to is None:
            self.body += body

    def on_message_complete(self) -> None:
        """Note the end of a chunked message (called by the parser); other ends are counted here."""
        self.complete = self._chunked

    @property
    def known_length(self) -> int:
        """The length in bytes of the whole message, or, where its head does not say, of what came so far."""
        return self.consumed + self._left

    def feed(self, data: bytes) -> int:
        """Take bytes up to the end of the message and return how many. Raises :class:`NotHttp`."""
        at = 0
        while at < len(data) and not self.complete:
            stop = self._stop(data, at)
            if not self.headed or self._chunked:
                self._parse(data[at:stop])
            elif self._left:
                self._left -= stop - at
                self.complete = not self._left
                if self._reply_to is None:
                    self.body += data[at:stop]
            self.consumed += stop - at
            at = stop
            if self.consumed > MAX_MESSAGE and (self._reply_to is None or not self.headed):
                raise NotHttp(f"larger than {MAX_MESSAGE} bytes")
            if self.complete and 100 <= self.status < 200 and self.status != 101:
                self._start()  # an interim reply; the final one follows
        return at

    def _stop(self, data: bytes, at: int) -> int:
        if self._left:
            return min(len(data), at + self._left)
        if self.until_close:
            return len(data)
        if self._fresh:
            self._fresh = False
            end = data.find(b"\r\n\r\n", at)
            if end >= 0:
                return end + 4
        return data.find(b"\n", at) + 1 or len(data)

    def _parse(self, piece: bytes) -> None:
        headed = self.headed
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self.upgrade = True
        except httptools.HttpParserError as problem:
            raise NotHttp(str(problem)) from None
        if self.headed and not headed:
            self._plan_body()

    def _plan_body(self) -> None:
        if isinstance(self._parser, httptools.HttpRequestParser):
            self.method = self._parser.get_method()
            bodiless = not self._length and not self._chunked
            if self.method == b"CONNECT" or (self.upgrade and self._chunked):
                raise NotHttp("CONNECT and chunked upgrades are not understood")
        else:
            self.status = self._parser.get_status_code()
            bodiless = self._reply_to == b"HEAD" or self.status in (204, 304) or self.status < 200 or self._length == 0
            self.until_close = not bodiless and not self._chunked and self._length is None
        if bodiless:
            self.complete = True
        elif not self._chunked:
            self._left = self._length or 0
