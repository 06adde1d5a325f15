"""The look right before an order is written to its connection: a process may have been stopped since it was claimed."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest
import uvloop
from venue_kit import cancel, connected, order, replace, run, serving

from onefill.core.messages import Accepted, NotSent
from onefill.ports.venue import LastLook
from onefill.venues.exchange_client import ExchangeVenue

OVER = "the lease on the route ended between claim and send"


class Listener:
    """A server on threads of its own, which gives every request an answer that says nothing, until it is muted."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.got = b""
        self.some = threading.Event()
        self.connected = threading.Event()
        self.muted = False
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            self.connected.set()
            self._threads.append(threading.Thread(target=self._read, args=(connection,)))
            self._threads[-1].start()

    def _read(self, connection: socket.socket) -> None:
        while True:
            try:
                data = connection.recv(1 << 16)
                if not data:
                    return
                self.got += data
                self.some.set()
                if not self.muted:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                return  # it was closed from either side

    def close(self) -> None:
        """End every thread."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            connection.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Run the server."""
    made = Listener()
    yield made
    made.close()


def test_what_may_not_leave_is_surely_not_sent() -> None:
    """No order, cancel or replace arrives, the reply says why, and when it may leave again everything works."""

    async def scenario() -> None:
        async with serving() as (exchange, url), connected(url) as venue:
            assert isinstance(venue, LastLook)
            assert isinstance(await venue.submit(order("x")), Accepted)
            before = exchange.counts()
            venue.last_look = lambda: OVER
            for work in (venue.submit(order("y")), venue.cancel(cancel("x")), venue.replace(replace("x", new="z"))):
                assert await work == NotSent(OVER)
            assert exchange.counts() == before
            venue.last_look = lambda: None
            assert isinstance(await venue.submit(order("y")), Accepted)
            assert [one.client_order_id for one in exchange.open_orders("A")] == ["x", "y"]

    run(scenario)


def test_the_look_comes_after_everything_that_takes_time(listener: Listener) -> None:
    """It is asked when the connection stands and the next thing is the first byte: of a refused request none is written."""

    async def scenario() -> None:
        venue = await _unstarted(listener.url)
        looks: list[bool] = []

        def look() -> str | None:
            looks.append(listener.connected.wait(10))
            return OVER

        venue.last_look = look
        assert await venue.submit(order("x")) == NotSent(OVER)
        await venue.close()
        assert looks == [True]
        assert listener.got == b""

    run(scenario)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_passed_the_look_is_written_at_once(
    listener: Listener, runner: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Not at the end of the event loop's turn: while the next request's look holds the loop up, the first has arrived."""
    arrived: list[bool] = []

    async def scenario() -> None:
        venue = await _unstarted(listener.url)

        both = asyncio.Event()

        def look() -> str | None:
            arrived.append(listener.some.wait(10) if arrived else False)
            if len(arrived) == 2:
                both.set()
            return None

        venue.last_look = look
        asked = [asyncio.ensure_future(venue.submit(order(name))) for name in ("x", "y")]
        await both.wait()
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await venue.close()

    runner(scenario())
    assert arrived == [False, True]


async def _unstarted(url: str) -> ExchangeVenue:
    """Return an adapter that can send although nothing there answers its questions."""
    venue = ExchangeVenue(url, "A", 20.0)
    venue._session = aiohttp.ClientSession(timeout=venue._timeout)
    return venue
