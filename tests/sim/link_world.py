"""What the tests of the faulty link share: a venue that records, a client that sees every byte, and a world of both."""

import asyncio
import contextlib
import socket
from typing import NamedTuple

from onefill.sim.link import FaultyLink
from onefill.sim.link_plan import LinkSettings

BOUND_S = 20
"""No test takes this long unless it hangs."""

ORDER = b"POST /orders?sig=x HTTP/1.1\r\nhOsT: v\r\nContent-Length: 7\r\n\r\n{\r\n\r\n1}"
LOOK = b"GET /orders/1 HTTP/1.1\r\nHost: v\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: v\r\n\r\n"


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\r\n\r\n\n\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n"
)


def answer(number, _request):
    """Reply to the n-th request with its number."""
    body = b'{"reply":%d}' % number
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Venue:
    """A venue that records exactly the bytes of every request, in the order in which they came."""

    def __init__(self, reply=answer, *, echo=False):
        self.reply, self.echo = reply, echo
        self.requests, self.connections, self.stream = [], 0, b""
        self.came = asyncio.Queue()
        self.writers = []
        self.tasks = set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            if not self.echo:
                while not await self.one(reader, writer):
                    pass
            while data := await reader.read(65536):
                self.stream += data
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def one(self, reader, writer):
        """Answer one request; true once it was switched to a stream."""
        request = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in request:
            request += await reader.readuntil(b"0\r\n\r\n")
        elif b"Content-Length: " in request:
            request += await reader.readexactly(int(request.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        self.requests.append(request)
        self.came.put_nowait(request)
        reply = self.reply(len(self.requests), request)
        if reply is None:
            raise ConnectionError
        writer.write(reply)
        await writer.drain()
        if b"Connection: close" in reply:
            raise ConnectionError
        return reply.startswith(b"HTTP/1.1 101")

    async def close(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.wait_closed()


class World(NamedTuple):
    """A venue, a link before it, and the faults as the link tells of them."""

    venue: Venue
    link: FaultyLink
    port: int
    faults: asyncio.Queue


@contextlib.asynccontextmanager
async def world(reply=answer, *, protocol="http", echo=False, **settings):
    """Run a venue and a link; afterwards nothing may be left running."""
    before = asyncio.all_tasks()
    venue, faults = Venue(reply, echo=echo), asyncio.Queue()
    link = FaultyLink(
        "127.0.0.1", await venue.start(), LinkSettings(**settings), protocol=protocol, on_fault=faults.put_nowait
    )
    try:
        yield World(venue, link, await link.start(), faults)
    finally:
        await link.close()
        await venue.close()
    assert asyncio.all_tasks() == before


def run(main):
    """Run a test's coroutine, bounded."""
    return asyncio.run(asyncio.wait_for(main(), BOUND_S))


class Client:
    """A bare socket, because the higher layers lose the bytes that came before a reset."""

    def __init__(self, port):
        self.port, self.got = port, b""

    async def __aenter__(self):
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        try:
            await self.loop.sock_connect(self.sock, ("127.0.0.1", self.port))
        except OSError:
            self.sock.close()
            raise
        return self

    async def __aexit__(self, *_):
        self.sock.close()

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def until(self, end):
        """Return what comes up to and including ``end``."""
        while end not in self.got:
            data = await self.loop.sock_recv(self.sock, 65536)
            assert data, f"closed after {self.got!r}"
            self.got += data
        head, tail, self.got = self.got.partition(end)
        return head + tail

    async def rest(self):
        """Return all that still comes and how it ends."""
        while True:
            try:
                data = await self.loop.sock_recv(self.sock, 65536)
            except ConnectionError:
                return self.got, "reset"
            if not data:
                return self.got, "closed"
            self.got += data


async def ask(port, data):
    """Send ``data`` over a new connection; return all that comes and how it ends."""
    async with Client(port) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(data)
        return await client.rest()


def counted(link, kind):
    """Return (injected, effective) of one kind, after checking that no other kind struck."""
    assert all(not count.injected for other, count in link.counts.kinds.items() if other is not kind)
    return link.counts.kinds[kind].injected, link.counts.kinds[kind].effective
