"""A TCP link that misbehaves on purpose, to be put in front of any venue.

The client connects here instead of to the venue. Bytes go through unchanged; HTTP/1.1 is read only to know where one
request and its reply end, so that a :class:`~onefill.sim.link_plan.LinkPlan` can hurt one and spare the next. A request
is held until it is whole, because the plan looks at all of it; replies stream. After ``101 Switching Protocols``, and
with ``protocol="raw"`` from the start, bytes flow both ways and only delays, cuts and silence are possible.

What a client can and cannot tell:

* ``refuse`` cannot be chosen per connect by a listener, so it is a reset at accept, before a byte was read: the client
  is connected for a moment, and nothing it sent was taken. :meth:`FaultyLink.set_down` closes the listening socket, and
  then the kernel refuses.
* A client that goes away stops nothing: what it sent whole is delivered, later if it was held. Such ghosts are counted.
* A reset may overtake bytes on a real network. On one host the bytes sent before it arrive first.
* ``effective`` is counted on evidence, mostly the venue's reply, never on intention.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import BinaryIO, Literal

import msgspec

from onefill.core.errors import InvalidField
from onefill.sim.link_plan import (
    CALM,
    Fault,
    FaultKind,
    FaultRecord,
    Identify,
    LinkCounts,
    LinkPlan,
    LinkSettings,
    TunnelCut,
    identify_request,
)
from onefill.sim.link_wire import End, Framer, NotHttp

PATIENCE_S = 60.0
"""How long a venue may take to answer a client that has gone, on top of the longest delay set, in seconds."""

CONNECT_S = 10.0
"""How long a connect to the venue may take, in seconds."""

OnFault = Callable[[FaultRecord], None]


def trace_to(file: BinaryIO) -> OnFault:
    """Return a callback that writes each fault to ``file`` as a line of JSON, at once."""

    def write(record: FaultRecord) -> None:
        file.write(msgspec.json.encode(record) + b"\n")
        file.flush()

    return write


class FaultyLink:
    """A listening proxy to one venue. Not reusable after :meth:`close`.

    ``protocol``: ``"http"`` or ``"raw"`` (any other protocol over TCP, such as FIX). ``on_fault`` is told of every
    fault once its outcome is known; see :func:`trace_to`. ``identify`` is passed to the plan. :attr:`counts` is live.
    """

    def __init__(
        self,
        upstream_host: str,
        upstream_port: int,
        settings: LinkSettings,
        *,
        protocol: Literal["http", "raw"] = "http",
        on_fault: OnFault | None = None,
        identify: Identify = identify_request,
    ) -> None:
        if protocol not in ("http", "raw"):
            raise InvalidField("protocol", f"{protocol!r} is none of: http, raw")
        self.plan = LinkPlan(settings, identify)
        self.counts = LinkCounts()
        self.raw = protocol == "raw"
        self.patience_s = PATIENCE_S + max(settings.delay_request_ms[1], settings.delay_reply_ms[1]) / 1000
        self.held: set[asyncio.Future[None]] = set()
        self._venue = (upstream_host, upstream_port)
        self._on_fault = on_fault
        self._address = ("", 0)
        self._server: asyncio.Server | None = None
        self._ends: set[End] = set()
        self._tasks: dict[asyncio.Task[None], End] = {}  # with the client served
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port bound (``port`` 0: any free one). Raises :class:`OSError` if it cannot."""
        self._address = (host, port)
        await self.set_down(down=False)
        return self._address[1]

    async def set_down(self, down: bool, *, cut: bool = False) -> None:
        """Stop listening, so that the kernel refuses connects, or listen again on the same port.

        ``cut`` also resets the clients that are connected; otherwise they go on. What they sent whole is delivered.
        """
        if down and self._server is not None:
            self._server.close()
            self._server = None
        elif not down and self._server is None:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: End(self._accepted, self._gone), *self._address, backlog=1024)
            self._server = server
            self._address = (self._address[0], server.sockets[0].getsockname()[1])
        if cut:
            for client in self._tasks.values():
                client.reset()

    async def close(self) -> None:
        """Stop listening, drop all connections and all that was held. Returns when nothing is left running."""
        self._closed = True
        await self.set_down(down=True)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in tuple(self._ends):
            end.reset()
        if self._ends:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def _accepted(self, end: End) -> None:
        self._ends.add(end)
        if self._closed:
            end.reset()
            return
        self.counts.connections += 1
        number = self.counts.connections
        if self.plan.for_connection(number).kind is FaultKind.REFUSE:
            with self.recorded(FaultRecord(n=number, kind=FaultKind.REFUSE, method="", path="", effective=True)):
                end.reset()
            return
        task = asyncio.create_task(_Connection(self, end, number).serve())
        self._tasks[task] = end
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            context = {"message": "a connection of the link failed", "exception": problem, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)

    def _gone(self, end: End) -> None:
        self._ends.discard(end)
        if not self._ends and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def connect(self) -> End | None:
        """Open a connection to the venue; None if it cannot be reached."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, end = await loop.create_connection(lambda: End(self._ends.add, self._gone), *self._venue)
        except OSError:  # TimeoutError is one
            self.counts.unreachable += 1
            return None
        return end

    @contextlib.contextmanager
    def recorded(self, record: FaultRecord) -> Iterator[FaultRecord]:
        """Count a fault now, and tell of it when its outcome is known, even if the link is closed meanwhile."""
        count = self.counts.kinds[record.kind]
        count.injected += 1
        try:
            yield record
        finally:
            count.effective += record.effective
            if self._on_fault is not None:
                self._on_fault(record)


class _Connection:
    """One client connection: its requests one after the other, and the connection to the venue that carries them."""

    def __init__(self, link: FaultyLink, client: End, number: int) -> None:
        self.link, self.plan, self.counts = link, link.plan, link.counts
        self.client = client
        self.n = number  # of the connection, later of the request
        self.venue: End | None = None
        self.request = Framer()
        self.wire = b""  # the request, byte for byte
        self.idle = True
        self.switched = False
        self.orphaned: asyncio.TimerHandle | None = None
        client.on_end = self._client_ended

    async def serve(self) -> None:
        """Carry requests until either side ends."""
        try:
            if not self.link.raw:
                await self._requests()
            elif (venue := await self._connected()) is not None:
                await self._stream(venue, None)
        except NotHttp:
            self.counts.malformed += 1
            self.client.reset()
        finally:
            if self.orphaned is not None:
                self.orphaned.cancel()
            self.client.close()
            self._drop_venue()

    async def _requests(self) -> None:
        while self.client.open and await self._next_request():
            self.idle = False
            self.counts.requests += 1
            self.n = self.counts.requests
            request = self.request
            fault = self.plan.for_request(request.method, request.target, bytes(request.body), upgrade=request.upgrade)
            if fault.kind is FaultKind.NONE:
                await self._carry()
            else:
                with self._recorded(fault.kind) as record:
                    await _HURTS[fault.kind](self, fault, record)
            if self.switched and self.venue is not None:
                await self._stream(self.venue, self.plan.for_tunnel(request.target))
                return
            if self.venue is not None and self.venue.ended:
                return  # the venue closed its connection: so does the link
            self.idle = True

    async def _next_request(self) -> bool:
        """Wait until a whole request has come; False if the client ended first."""
        self.request = request = Framer()
        parts: list[bytes] = []
        while not request.complete:
            if not await self.client.arrival():
                return False
            data = self.client.take()
            used = request.feed(data)
            if used < len(data):
                self.client.put_back(data[used:])
                data = data[:used]
            parts.append(data)
            if request.expects_continue and request.headed and not request.complete:
                # The venue would say so, but it sees nothing before the request is whole.
                request.expects_continue = False
                await self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wire = parts[0] if len(parts) == 1 else b"".join(parts)
        return True

    def _recorded(self, kind: FaultKind) -> contextlib.AbstractContextManager[FaultRecord]:
        path = self.request.target.partition(b"?")[0].decode("latin-1")
        method = self.request.method.decode("latin-1")
        return self.link.recorded(FaultRecord(n=self.n, kind=kind, method=method, path=path))

    # The two connections

    def _client_ended(self, _: End) -> None:
        if not self.idle:
            # What was sent whole is still delivered and its reply awaited, but not for ever.
            self.orphaned = asyncio.get_running_loop().call_later(self.link.patience_s, self._drop_venue)

    def _venue_ended(self, venue: End) -> None:
        if self.idle and venue is self.venue:
            self.client.close()

    def _drop_venue(self) -> None:
        if self.venue is not None:
            self.venue.close()

    async def _connected(self) -> End | None:
        """Return the connection to the venue, a new one if need be; if there is none, reset the client."""
        if self.venue is None or self.venue.ended or not self.venue.open:
            self._drop_venue()
            self.venue = await self.link.connect()
            if self.venue is None:
                self.client.reset()
            else:
                self.venue.on_end = self._venue_ended
        return self.venue

    async def _send(self, venue: End) -> bool:
        """Send the request to the venue; True once it has begun to answer, which proves that it has the request."""
        client_gone = self.client.ended
        overtaken = tuple(self.link.held)
        self.counts.bytes_to_venue += len(self.wire)
        await venue.write(self.wire)
        if not await venue.arrival():
            self.counts.unreachable += 1
            return False
        self.counts.ghosts += client_gone
        for gate in overtaken:
            if not gate.done():
                gate.set_result(None)
        return True

    async def _deliver(self) -> End | None:
        """Send the request to the venue and return its connection once it answers; else reset the client."""
        venue = await self._connected()
        if venue is None or await self._send(venue):
            return venue
        self.client.reset()
        return None

    async def _pass_reply(self, venue: End, *, discard: bool = False) -> bool:
        """Read one reply to its end, passing it on as it comes; False if it breaks off, which resets the client."""
        reply = Framer(reply_to=self.request.method)
        while not reply.complete:
            if not await venue.arrival():
                if reply.until_close:
                    return True
                self.counts.unreachable += 1
                self.client.reset()
                return False
            data = venue.take()
            used = reply.feed(data)
            if used < len(data):
                venue.put_back(data[used:])
                data = data[:used]
            if not discard:
                self.counts.bytes_to_client += len(data)
                await self.client.write(data)
        self.switched = reply.status == 101 and not discard
        return True

    async def _carry(self) -> None:
        venue = await self._deliver()
        if venue is not None:
            await self._pass_reply(venue)

    # The faults of a request

    async def _black_hole(self, fault: Fault, record: FaultRecord) -> None:
        await self._silence(fault)
        record.effective = True

    async def _delay_request(self, fault: Fault, record: FaultRecord) -> None:
        await asyncio.sleep(fault.delay_ms / 1000)
        venue = await self._deliver()
        if venue is not None:
            record.effective = True
            await self._pass_reply(venue)

    async def _delay_reply(self, fault: Fault, record: FaultRecord) -> None:
        venue = await self._deliver()
        if venue is not None:
            await asyncio.sleep(fault.delay_ms / 1000)
            record.effective = True
            await self._pass_reply(venue)

    async def _cut_before_request(self, _: Fault, record: FaultRecord) -> None:
        record.effective = not self.client.ended
        self.client.reset()

    async def _cut_after_request(self, _: Fault, record: FaultRecord) -> None:
        venue = await self._deliver()
        if venue is not None:
            record.effective = await self._pass_reply(venue, discard=True)
        self.client.reset()

    async def _cut_inside_reply(self, fault: Fault, record: FaultRecord) -> None:
        venue = await self._deliver()
        if venue is None:
            return
        reply = Framer(reply_to=self.request.method)
        held, left = b"", -1  # -1: how much to pass is not known before the head has come
        while left and await venue.arrival():
            data = venue.take()
            reply.feed(data)
            held += data
            if left < 0 and reply.headed:
                left = fault.cut_point(reply.known_length)
            if left > 0:
                part, held = held[:left], b""
                left -= len(part)
                self.counts.bytes_to_client += len(part)
                await self.client.write(part)
        await self.client.flush()
        record.effective = not left and not self.client.ended
        self.client.reset()

    async def _duplicate(self, fault: Fault, record: FaultRecord) -> None:
        first = await self._deliver()
        if first is None:
            return
        answer, other = first, await self.link.connect()
        if other is not None and await self._send(other):
            record.effective = True
            if fault.second:
                answer, other = other, first
                answer.on_end = self._venue_ended
                self.venue = answer
        if other is not None:
            other.close()
        await self._pass_reply(answer)

    async def _reorder(self, fault: Fault, record: FaultRecord) -> None:
        # Opened by another connection's request once the venue answers that: sooner, ours might still be read first.
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.link.held.add(gate)
        try:
            await asyncio.wait({gate}, timeout=fault.delay_ms / 1000)
        finally:
            self.link.held.discard(gate)
        venue = await self._deliver()
        if venue is not None:
            record.effective = gate.done()
            await self._pass_reply(venue)

    async def _silence(self, fault: Fault) -> None:
        """Swallow what the client sends until it leaves or the hold is over, then close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.delay_ms / 1000):
                while await self.client.arrival():
                    self.client.take()
        self.client.close()

    # Streams of bytes

    async def _stream(self, venue: End, cut: TunnelCut | None) -> None:
        """Let bytes flow both ways until both sides have ended or a fault ends it."""
        with contextlib.ExitStack() as planned:
            record = planned.enter_context(self._recorded(FaultKind.STREAM_CUT)) if cut is not None else None
            fault = await self._flow(venue, cut)
            if fault.kind is not FaultKind.NONE and record is None:
                record = planned.enter_context(self._recorded(fault.kind))
            if fault.kind is FaultKind.STREAM_BLACK_HOLE:
                await self._silence(fault)
            elif fault.kind is FaultKind.STREAM_CUT:
                await self.client.flush()
                self.client.reset()
            if record is not None:
                record.effective = fault.kind is record.kind

    async def _flow(self, venue: End, cut: TunnelCut | None) -> Fault:
        """Run both directions; return the fault that ended them, or calm if both sides ended by themselves."""
        self.idle = False
        budget = None if cut is None else cut.after_bytes
        pumps = {
            asyncio.create_task(self._pump(self.client, venue, None)),
            asyncio.create_task(self._pump(venue, self.client, budget)),
        }
        pending, fault = pumps, CALM
        try:
            async with asyncio.timeout(None if cut is None else cut.after_ms / 1000):
                while pending and fault is CALM:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    fault = next((ended for task in done if (ended := task.result()) is not CALM), CALM)
        except TimeoutError:
            fault = Fault(FaultKind.STREAM_CUT)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        return fault

    async def _pump(self, source: End, target: End, budget: int | None) -> Fault:
        """Pass bytes one way; return the fault that stopped it, or calm when either side has ended.

        ``budget``: how many bytes may pass before the cut; None for no end.
        """
        down = target is self.client
        while target.open and await source.arrival():
            data = source.take()
            fault = self.plan.for_chunk(towards_client=down, data=data, raw=self.link.raw)
            if fault.kind is FaultKind.STREAM_DELAY:
                with self._recorded(fault.kind) as record:
                    await asyncio.sleep(fault.delay_ms / 1000)
                    record.effective = target.open
            elif fault.kind is FaultKind.STREAM_BLACK_HOLE:
                return fault
            elif fault.kind is FaultKind.STREAM_CUT:
                data = data[: fault.share * len(data) >> 64]
            if budget is not None:
                data = data[:budget]
                budget -= len(data)
            if down:
                self.counts.bytes_to_client += len(data)
            else:
                self.counts.bytes_to_venue += len(data)
            await target.write(data)
            if fault.kind is FaultKind.STREAM_CUT:
                return fault
            if budget == 0:
                return Fault(FaultKind.STREAM_CUT)
        target.finish()
        return CALM


_HURTS: dict[FaultKind, Callable[[_Connection, Fault, FaultRecord], Awaitable[None]]] = {
    FaultKind.BLACK_HOLE: _Connection._black_hole,
    FaultKind.DELAY_REQUEST: _Connection._delay_request,
    FaultKind.DELAY_REPLY: _Connection._delay_reply,
    FaultKind.CUT_BEFORE_REQUEST: _Connection._cut_before_request,
    FaultKind.CUT_AFTER_REQUEST: _Connection._cut_after_request,
    FaultKind.CUT_INSIDE_REPLY: _Connection._cut_inside_reply,
    FaultKind.DUPLICATE: _Connection._duplicate,
    FaultKind.REORDER: _Connection._reorder,
}
