"""The simulated exchange behind HTTP and WebSocket: a thin shell, all decisions are made in :mod:`onefill.sim.exchange`.

Submit, cancel and replace are all POST, because HTTP clients silently resend GET, PUT and DELETE.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

import msgspec
from aiohttp import WSMsgType, web

from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRejected,
    CancelRequest,
    DuplicateId,
    ExecutionReport,
    Found,
    Held,
    Listed,
    NotFound,
    Rejected,
    Replaced,
    ReplaceRejected,
    ReplaceRequest,
    SubmitRequest,
    Throttled,
    TooLate,
)
from onefill.sim import exchange_admin
from onefill.sim import exchange_http as answers
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_callbacks import CallbackSender
from onefill.sim.venue import wall_clock_us
from onefill.venues import exchange_wire as wire

FRAME_REPORTS = 500
"""Most reports in one frame of the stream."""
PAGE_REPORTS = 10_000
"""Most reports in one page of ``GET /v1/executions``."""

Page = Callable[[str, int, int], list[ExecutionReport]]
"""Gives the next reports of an account after a place, at most so many."""
_decode_submit = msgspec.json.Decoder(SubmitRequest).decode
_decode_cancel = msgspec.json.Decoder(CancelRequest).decode
_decode_replace = msgspec.json.Decoder(ReplaceRequest).decode


class ExchangeServer:
    """Serves one :class:`~onefill.sim.exchange.Exchange`.

    ``clock_us`` gives the time in µs since 1970. An idle stream gets a heartbeat every ``heartbeat_s``; a reader that does
    not answer a ping for one and a half times ``ping_s`` is cut off. A stream is read from the exchange's own store by
    position as fast as its reader takes it, so that a slow reader holds up nobody and nothing is buffered for it.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock_us: Callable[[], int] = wall_clock_us,
        *,
        heartbeat_s: float = 1.0,
        ping_s: float = 20.0,
    ) -> None:
        self.exchange = exchange
        self.instance = uuid.uuid4().hex
        self._clock_us = clock_us
        self._heartbeat_s = heartbeat_s
        self._ping_s = ping_s
        self._runner: web.AppRunner | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._streams: set[web.WebSocketResponse] = set()
        self._callbacks = CallbackSender(exchange, clock_us, self.instance)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on ``host``; port 0 takes a free one. Return the port. Raises OSError if it cannot be had."""
        app = web.Application()
        app.router.add_post(wire.ORDERS, self._submit)
        app.router.add_post(wire.CANCEL, self._cancel)
        app.router.add_post(wire.REPLACE, self._replace)
        gets = {
            wire.ORDERS: self._lookup,
            wire.SCAN: self._scan,
            wire.DIALECT: self._dialect,
            wire.INSTRUMENTS: self._instruments,
            wire.OPEN_ORDERS: self._open_orders,
            wire.POSITIONS: self._positions,
            wire.EXECUTIONS: self._executions,
            wire.STREAM: self._stream,
            wire.DROP_COPIES: self._drop_copies,
            wire.DROP_COPY: self._drop_copy,
            wire.ALL_ORDERS: self._all_orders,
            wire.COUNTS: self._counts,
            wire.HEALTH: self._health,
        }
        for path, handler in gets.items():
            app.router.add_get(path, handler, allow_head=False)
        app.router.add_routes(exchange_admin.routes(self.exchange, self._clock_us))
        app.router.add_routes(self._callbacks.routes())
        app.on_shutdown.append(self._end_streams)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError:
            await self.close()
            raise
        self._arm()
        return int(runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening, end streams and connections. The exchange keeps its state."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._callbacks.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # ------------------------------------------------------------------ orders

    async def _submit(self, http: web.Request) -> web.Response:
        try:
            request = answers.decoded(_decode_submit, await http.read())
        except answers.Malformed as problem:
            return answers.malformed(problem)
        reply = self.exchange.submit(request, self._clock_us())
        self._arm()
        match reply:
            case Accepted(order):
                return answers.ok(wire.OrderBody(order))
            case Rejected(reason, code):
                return answers.refused(400, code or "rejected", reason)
            case TooLate(reason):
                return answers.refused(400, wire.REQUEST_EXPIRED, reason)
            case DuplicateId(reason):
                return answers.refused(409, wire.DUPLICATE_ID, reason)
            case Throttled():
                return answers.throttled(reply)

    async def _cancel(self, http: web.Request) -> web.Response:
        try:
            request = answers.decoded(_decode_cancel, await http.read())
        except answers.Malformed as problem:
            return answers.malformed(problem)
        reply = self.exchange.cancel(request, self._clock_us())
        match reply:
            case Canceled(order):
                return answers.ok(wire.OrderBody(order))
            case CancelRejected(reason, order):
                return answers.answer(400, wire.RefusalBody(code=wire.CANCEL_REJECTED, reason=reason, order=order))
            case Throttled():
                return answers.throttled(reply)

    async def _replace(self, http: web.Request) -> web.Response:
        try:
            request = answers.decoded(_decode_replace, await http.read())
        except answers.Malformed as problem:
            return answers.malformed(problem)
        reply = self.exchange.replace(request, self._clock_us())
        match reply:
            case Replaced(order):
                return answers.ok(wire.OrderBody(order))
            case ReplaceRejected(reason, order):
                return answers.answer(400, wire.RefusalBody(code=wire.REPLACE_REJECTED, reason=reason, order=order))
            case TooLate(reason):
                return answers.refused(400, wire.REQUEST_EXPIRED, reason)
            case Throttled():
                return answers.throttled(reply)

    async def _lookup(self, http: web.Request) -> web.Response:
        try:
            account, client_order_id = answers.text(http, "account"), answers.text(http, "client_order_id")
        except answers.Malformed as problem:
            return answers.malformed(problem)
        reply = self.exchange.lookup(client_order_id, account, self._clock_us())
        match reply:
            case Found(order):
                return answers.ok(wire.OrderBody(order))
            case NotFound(reason):
                return answers.refused(404, wire.NOT_FOUND, reason)
        return answers.refused(501, wire.NOT_SUPPORTED, reply.reason)

    async def _scan(self, http: web.Request) -> web.Response:
        try:
            account, instrument = answers.text(http, "account"), answers.text(http, "instrument")
            since_us = answers.number(http, "since_us", 0)
        except answers.Malformed as problem:
            return answers.malformed(problem)
        reply = self.exchange.scan(account, instrument, since_us, self._clock_us())
        if isinstance(reply, Listed):
            return answers.ok(wire.OrdersBody(reply.orders))
        return answers.refused(501, wire.NOT_SUPPORTED, reply.reason)

    # ----------------------------------------------------------------- reading

    async def _dialect(self, _: web.Request) -> web.Response:
        exchange = self.exchange
        return answers.ok(
            wire.DialectBody(exchange.capabilities, msgspec.Raw(answers.encode(exchange.dialect)), self.instance)
        )

    async def _instruments(self, _: web.Request) -> web.Response:
        return answers.ok(list(self.exchange.instruments.values()))

    async def _open_orders(self, http: web.Request) -> web.Response:
        try:
            account = answers.text(http, "account")
        except answers.Malformed as problem:
            return answers.malformed(problem)
        if not self.exchange.dialect.lists_open_orders:
            return answers.refused(501, wire.NOT_SUPPORTED, "this venue does not list open orders")
        self.exchange.advance(self._clock_us())
        return answers.ok(wire.OpenOrdersBody(account, tuple(self.exchange.open_orders(account))))

    async def _positions(self, http: web.Request) -> web.Response:
        try:
            account = answers.text(http, "account")
        except answers.Malformed as problem:
            return answers.malformed(problem)
        if not self.exchange.dialect.tells_positions:
            return answers.refused(501, wire.NOT_SUPPORTED, "this venue tells no positions")
        self.exchange.advance(self._clock_us())
        held = self.exchange.positions(account).items()
        positions = tuple(Held(instrument=symbol, quantity=quantity) for symbol, quantity in held)
        return answers.ok(wire.PositionsBody(account, positions))

    async def _executions(self, http: web.Request) -> web.Response:
        return self._page(http, self.exchange.executions)

    async def _drop_copies(self, http: web.Request) -> web.Response:
        return self._page(http, self.exchange.drop_copies) if self.exchange.dialect.drop_copy else _no_drop_copy()

    def _page(self, http: web.Request, page: Page) -> web.Response:
        try:
            account = answers.text(http, "account")
            after, limit = answers.number(http, "after", 0), answers.number(http, "limit", 1000)
        except answers.Malformed as problem:
            return answers.malformed(problem)
        self.exchange.advance(self._clock_us())
        return answers.ok(page(account, after, min(limit, PAGE_REPORTS)))

    async def _all_orders(self, http: web.Request) -> web.Response:
        """Everything that ever was, for judges; ``after`` (an order number) and ``limit`` page through it."""
        try:
            after, limit = answers.number(http, "after", 0), answers.number(http, "limit", -1)
        except answers.Malformed as problem:
            return answers.malformed(problem)
        self.exchange.advance(self._clock_us())
        return answers.ok(self.exchange.all_orders(after, None if limit < 0 else limit))

    async def _counts(self, _: web.Request) -> web.Response:
        self.exchange.advance(self._clock_us())
        return answers.ok(self.exchange.counts())

    async def _health(self, _: web.Request) -> web.Response:
        return answers.answer(200, {"status": "ok"})

    # ------------------------------------------------------------------ stream

    async def _stream(self, http: web.Request) -> web.StreamResponse:
        return await self._follow(http, self.exchange.executions)

    async def _drop_copy(self, http: web.Request) -> web.StreamResponse:
        if not self.exchange.dialect.drop_copy:
            return _no_drop_copy()
        return await self._follow(http, self.exchange.drop_copies)

    async def _follow(self, http: web.Request, page: Page) -> web.StreamResponse:
        try:
            account, after = answers.text(http, "account"), answers.number(http, "after", 0)
        except answers.Malformed as problem:
            return answers.malformed(problem)
        socket = web.WebSocketResponse(heartbeat=self._ping_s, timeout=1.0, compress=False, max_msg_size=4096)
        await socket.prepare(http)
        self._streams.add(socket)
        writer = asyncio.create_task(self._write_stream(socket, page, account, after))
        writer.add_done_callback(lambda done: None if done.cancelled() or done.exception() is None else _abort(http))
        try:
            # Reading is what answers pings and sees the close; what a reader says is ignored.
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    _abort(http)
                    break
        finally:
            self._streams.discard(socket)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await writer
        return socket

    async def _write_stream(self, socket: web.WebSocketResponse, page: Page, account: str, after: int) -> None:
        changed = asyncio.Event()
        unsubscribe = self.exchange.subscribe(account, changed.set)
        try:
            while not socket.closed:
                changed.clear()
                batch = page(account, after, FRAME_REPORTS)
                if not batch:
                    try:
                        async with asyncio.timeout(self._heartbeat_s):
                            await changed.wait()
                        continue
                    except TimeoutError:
                        self.exchange.advance(self._clock_us())
                # Waits while the reader is behind: aiohttp keeps at most its small write buffer.
                await socket.send_frame(answers.encode(batch), WSMsgType.TEXT)
                after += len(batch)
        finally:
            unsubscribe()

    async def _end_streams(self, _: web.Application) -> None:
        for socket in list(self._streams):
            await socket.close(code=1001, message=b"the exchange is closing")

    # -------------------------------------------------------------------- time

    def _arm(self) -> None:
        """Set a timer for the exchange's next due moment, unless one is set."""
        due = self.exchange.next_due_us()
        if due is None or self._timer is not None or self._runner is None:
            return
        delay_s = max(0, due - self._clock_us()) / 1_000_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.exchange.advance(self._clock_us())
        self._arm()


def _no_drop_copy() -> web.Response:
    return answers.refused(501, wire.NOT_SUPPORTED, "this venue has no drop copy")


def _abort(http: web.Request) -> None:
    """Drop the connection under a request without waiting for what is still to be sent."""
    transport = http.transport
    if transport is not None:
        transport.abort()
