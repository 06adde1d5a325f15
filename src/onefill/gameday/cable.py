"""A cable between a node and something it talks to over TCP, which a drill can cut and mend.

A cut cable does what a network does that is cut in the middle: nobody is told. What was sent into it stays under way, and
arrives late once it is mended; connections that are made meanwhile get no answer.
"""

import asyncio
import contextlib
import time

_CHUNK = 65_536
_HOST = "127.0.0.1"


class Cable:
    """A listening forwarder to one address. ``watched``: bytes to look for in what the node sends; see :attr:`seen`."""

    def __init__(self, port: int, *, watched: tuple[bytes, ...] = ()) -> None:
        self._upstream = port
        self._watched = watched
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        """Where the node connects."""
        self.seen: list[float] = []
        """When the node sent something watched, by this process's steady clock."""

    async def __aenter__(self) -> "Cable":
        """Listen."""
        self._server = await asyncio.start_server(self._accepted, _HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing through from now on, in either direction."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through again, what was held back first."""
        self._whole.set()

    def seen_between(self, since_s: float, until_s: float = float("inf")) -> int:
        """Return how often the node sent something watched from then on, and before ``until_s``."""
        return sum(since_s <= at_s < until_s for at_s in self.seen)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = None
        try:
            await self._whole.wait()
            far_reader, far = await asyncio.open_connection(_HOST, self._upstream)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far, watch=True))
                both.create_task(self._pump(far_reader, writer, watch=False))
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, watch: bool) -> None:
        tail = b""
        with contextlib.suppress(OSError, RuntimeError):  # the other end is gone
            while data := await source.read(_CHUNK):
                if watch and self._watched:
                    tail = self._look(tail, data)
                await self._whole.wait()
                target.write(data)
                await target.drain()
        await self._whole.wait()
        with contextlib.suppress(OSError, RuntimeError):
            target.write_eof()

    def _look(self, tail: bytes, data: bytes) -> bytes:
        """Note what is watched in the bytes that came, also across two pieces; return what the next piece may go on from."""
        text = tail + data
        count = sum(text.count(one) for one in self._watched) - sum(tail.count(one) for one in self._watched)
        self.seen += [time.monotonic()] * count
        return text[-(max(map(len, self._watched)) - 1) :]
