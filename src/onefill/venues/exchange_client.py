"""The adapter to the simulated exchange over HTTP and WebSocket.

What an answer means is decided by what was sent, not by how the failure is called:

* no connection was made (refused, DNS, connect time-out), or the last look kept the request back: nothing can have left,
  :class:`~onefill.core.messages.NotSent`;
* a status *with* the exchange's own JSON body: evidence, the matching reply;
* anything else, from a time-out to an HTML page: :class:`~onefill.core.messages.Unknown`, with the cause.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from yarl import URL

from onefill.core.capabilities import Capabilities
from onefill.core.errors import CallbackUnreadable, InvalidField, VenueError
from onefill.core.inbox import CallbackNews
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    CancelRejected,
    CancelReply,
    CancelRequest,
    DuplicateId,
    ExecutionReport,
    Found,
    Holdings,
    Listed,
    LookupReply,
    NotFound,
    NotSent,
    PositionsReply,
    Rejected,
    Replaced,
    ReplaceRejected,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    TooLate,
    Unknown,
    VenueStatus,
)
from onefill.core.values import Instrument
from onefill.core.venue_words import overridden
from onefill.sockets import owned_socket
from onefill.venues import exchange_replies as replies
from onefill.venues import exchange_wire as wire
from onefill.venues.exchange_replies import Answer
from onefill.venues.last_look import LookedAt

_MAX_PAUSE_S: Final = 1.0
_JSON: Final = {"Content-Type": "application/json"}

_encode = msgspec.json.Encoder().encode
_orders_body = msgspec.json.Decoder(wire.OrdersBody)
_callback_body = msgspec.json.Decoder(wire.CallbackBody)
_open_orders_body = msgspec.json.Decoder(wire.OpenOrdersBody)
_positions_body = msgspec.json.Decoder(wire.PositionsBody)
_dialect_body = msgspec.json.Decoder(wire.DialectBody)
_instrument_list = msgspec.json.Decoder(list[Instrument])
_report_list = msgspec.json.Decoder(list[ExecutionReport])
Body = TypeVar("Body")


class ExchangeVenue:
    """:class:`~onefill.ports.venue.Venue` for one account of a simulated exchange at ``url`` (``http://host:port``).

    ``timeout_s`` bounds every call, ``connect_timeout_s`` (half of it by default) the making of a connection.
    ``start_attempts`` bounds how often :meth:`start` and :meth:`instruments`, which change nothing, are tried, with pauses
    from ``pause_s`` doubling up to a second. A stream silent for ``silence_s`` counts as broken: the exchange sends
    heartbeats. ``connections`` is the most connections open at once. ``overrides`` are values, as
    :func:`~onefill.core.venue_words.overridden` takes them, that count in place of what the exchange declares.

    Raises :class:`~onefill.core.errors.InvalidField` for an unusable ``url``, time-out or override.
    """

    def __init__(
        self,
        url: str,
        account: str,
        timeout_s: float = 1.0,
        *,
        connect_timeout_s: float | None = None,
        start_attempts: int = 10,
        pause_s: float = 0.05,
        silence_s: float = 5.0,
        connections: int = 256,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            self._base = URL(url)
        except ValueError as problem:
            raise InvalidField("url", str(problem)) from None
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise InvalidField("url", f"{url!r} is not of the form http://host:port")
        if timeout_s <= 0 or silence_s <= 0 or start_attempts < 1:
            raise InvalidField("timeout_s", "time-outs must be above zero and start_attempts at least 1")
        self._account = account
        # Above the total, a connect time-out could never be told from one after the send.
        connect_s = min(connect_timeout_s or timeout_s / 2, timeout_s * 0.9)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=connect_s, sock_connect=connect_s)
        self._timeout_s = timeout_s
        self._attempts = start_attempts
        self._pause_s = pause_s
        self._silence_s = silence_s
        self._connections = connections
        self._overrides = dict(overrides or {})
        overridden(Capabilities(), self._overrides)  # what means nothing is refused now, before anything is connected
        self.last_look: Callable[[], str | None] = _nothing_against_it
        """See :class:`onefill.ports.venue.LastLook`."""
        self._session: aiohttp.ClientSession | None = None
        self._capabilities: Capabilities | None = None
        self._identity = ""
        self._orders_url = self._base.with_path(wire.ORDERS)
        self._cancel_url = self._base.with_path(wire.CANCEL)
        self._replace_url = self._base.with_path(wire.REPLACE)

    @property
    def capabilities(self) -> Capabilities:
        """What the exchange declares, single values overridden.

        Raises :class:`~onefill.core.errors.VenueError` before :meth:`start`.
        """
        if self._capabilities is None:
            raise VenueError(f"{self._base}: capabilities are known after start(); call it first")
        return self._capabilities

    @property
    def identity(self) -> str:
        """The exchange's own name for itself, drawn when it was started."""
        return self._identity

    async def start(self) -> None:
        """Connect and learn the dialect. Raises :class:`~onefill.core.errors.VenueError` if that fails repeatedly.

        Raises :class:`~onefill.core.errors.InvalidField` if an override does not go together with what is declared.
        """
        if self._session is None or self._session.closed:
            self._session = _session(self._timeout, self._connections)
        try:
            told = await self._read_patiently(wire.DIALECT, _dialect_body)
            self._capabilities = overridden(told.capabilities, self._overrides)
            self._identity = told.instance
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every connection. Requests under way may still arrive; their callers get Unknown."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def instruments(self) -> Mapping[str, Instrument]:
        """Return the tradable instruments by symbol. Raises VenueError if they cannot be had."""
        listed = await self._read_patiently(wire.INSTRUMENTS, _instrument_list)
        return {instrument.symbol: instrument for instrument in listed}

    # ------------------------------------------------------------------ orders

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Send a new order, once. An order for another account is refused here: its fills would go unseen."""
        if request.account != self._account:
            return Rejected(
                f"this connection trades for account {self._account!r} only; nothing was sent", "wrong_account"
            )
        answer = await self._exchange("POST", self._orders_url, _encode(request))
        if not isinstance(answer, Answer):
            return answer
        if answer.status == 200:
            order = replies.own_order(answer, request.client_order_id)
            return order if isinstance(order, Unknown) else Accepted(order)
        refusal = replies.refusal(answer)
        if refusal is None:
            return answer.strange()
        match answer.status, refusal.code:
            case 400, wire.REQUEST_EXPIRED:
                return TooLate(refusal.reason)
            case 400, code:
                return Rejected(refusal.reason, code)
            case 409, wire.DUPLICATE_ID:
                return DuplicateId(refusal.reason)
            case 429, wire.THROTTLED:
                return replies.throttled(refusal)
        return answer.strange()

    async def cancel(self, request: CancelRequest) -> CancelReply:
        """Ask for an order to be cancelled, once."""
        answer = await self._exchange("POST", self._cancel_url, _encode(request))
        if not isinstance(answer, Answer):
            return answer
        if answer.status == 200:
            order = replies.own_order(answer, request.client_order_id, request.venue_order_id)
            if isinstance(order, Unknown):
                return order
            return Canceled(order) if order.status is VenueStatus.CANCELED else answer.strange()
        refusal = replies.refusal(answer)
        if refusal is None:
            return answer.strange()
        match answer.status, refusal.code:
            case 400, wire.CANCEL_REJECTED:
                if not replies.about(refusal, request.client_order_id):
                    return answer.strange()
                return CancelRejected(refusal.reason, refusal.order)
            case 400, _:
                return CancelRejected(f"{refusal.code}: {refusal.reason}")
            case 429, wire.THROTTLED:
                return replies.throttled(refusal)
        return answer.strange()

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        """Ask for a live order to be given other quantity and price, once. One of another account is refused here."""
        if request.account != self._account:
            return ReplaceRejected(f"this connection trades for account {self._account!r} only; nothing was sent")
        answer = await self._exchange("POST", self._replace_url, _encode(request))
        if not isinstance(answer, Answer):
            return answer
        if answer.status == 200:
            order = replies.own_order(answer, request.client_order_id)
            if isinstance(order, Unknown):
                return order
            return Replaced(order) if replies.as_wanted(order, request) else answer.strange()
        refusal = replies.refusal(answer)
        if refusal is None:
            return answer.strange()
        match answer.status, refusal.code:
            case 400, wire.REQUEST_EXPIRED:
                return TooLate(refusal.reason)
            case 400, wire.REPLACE_REJECTED:
                said = ReplaceRejected(refusal.reason, refusal.order)
                return said if replies.about(refusal, request.orig_client_order_id) else answer.strange()
            case 400, _:
                return ReplaceRejected(f"{refusal.code}: {refusal.reason}")
            case 429, wire.THROTTLED:
                return replies.throttled(refusal)
        return answer.strange()

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        """Ask what the exchange knows about a client order id, once."""
        url = self._base.with_path(wire.ORDERS).with_query(account=account, client_order_id=client_order_id)
        answer = await self._exchange("GET", url)
        if isinstance(answer, NotSent):
            return Unknown(answer.reason)
        if not isinstance(answer, Answer):
            return answer
        if answer.status == 200:
            order = replies.own_order(answer, client_order_id)
            return order if isinstance(order, Unknown) else Found(order)
        refusal = replies.refusal(answer)
        if refusal is None:
            return answer.strange()
        # A 404 without the exchange's own words may come from anything on the way.
        if (answer.status, refusal.code) == (404, wire.NOT_FOUND):
            return NotFound(refusal.reason)
        return Unknown(f"{refusal.code}: {refusal.reason}")

    async def scan(self, account: str, instrument: str, since_us: int) -> ScanReply:
        """List the account's orders in an instrument that are open, or ended or traded since ``since_us``, with one try."""
        url = self._base.with_path(wire.SCAN)
        url = url.with_query(account=account, instrument=instrument, since_us=max(0, since_us))
        answer = await self._ask(url)
        if isinstance(answer, Unknown):
            return answer
        try:
            orders = _orders_body.decode(answer.body).orders
        except msgspec.DecodeError:
            return answer.strange()
        # A list about something else says nothing about what is missing in it.
        return Listed(orders) if all(order.instrument == instrument for order in orders) else answer.strange()

    async def open_orders(self, account: str) -> ScanReply:
        """List every live order of an account, with one try. A list of anything else is Unknown."""
        answer = await self._ask(self._base.with_path(wire.OPEN_ORDERS).with_query(account=account))
        if isinstance(answer, Unknown):
            return answer
        try:
            told = _open_orders_body.decode(answer.body)
        except msgspec.DecodeError:
            return answer.strange()
        once = len({order.venue_order_id for order in told.orders}) == len(told.orders)
        live = all(order.status in LIVE for order in told.orders)
        return Listed(told.orders) if told.account == account and once and live else answer.strange()

    async def positions(self, account: str) -> PositionsReply:
        """Ask what an account holds, once. Anything but each instrument once, in numbers, is Unknown."""
        answer = await self._ask(self._base.with_path(wire.POSITIONS).with_query(account=account))
        if isinstance(answer, Unknown):
            return answer
        try:
            told = _positions_body.decode(answer.body)
        except msgspec.DecodeError:
            return answer.strange()
        once = len({held.instrument for held in told.positions}) == len(told.positions)
        numbers = all(held.instrument and held.quantity.is_finite() for held in told.positions)
        return Holdings(told.positions) if told.account == account and once and numbers else answer.strange()

    async def _ask(self, url: URL) -> Answer | Unknown:
        """Return the 200 that a question gets, or why there is none."""
        answer = await self._exchange("GET", url)
        if isinstance(answer, NotSent):
            return Unknown(answer.reason)
        if isinstance(answer, Unknown) or answer.status == 200:
            return answer
        refusal = replies.refusal(answer)
        return answer.strange() if refusal is None else Unknown(f"{refusal.code}: {refusal.reason}")

    # ------------------------------------------------------------------ stream

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return the next reports after stream position ``after``. Raises VenueError if the exchange did not answer."""
        return await self._page(wire.EXECUTIONS, after)

    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        """As :meth:`executions`, of the drop copy. Raises VenueError too where there is none."""
        return await self._page(wire.DROP_COPIES, after)

    def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield reports after position ``after`` as they come. Ends when the exchange closes the stream.

        Raises :class:`~onefill.core.errors.VenueError` when the connection breaks or falls silent, and when a report is
        missing, repeated, or another account's. Whatever was yielded stands; go on from the last position.
        """
        return self._follow(wire.STREAM, after)

    def drop_copy(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """As :meth:`stream`, of the drop copy. Raises VenueError too where there is none."""
        return self._follow(wire.DROP_COPY, after)

    def read_callback(self, body: bytes) -> CallbackNews:
        """Return what a callback tells. Raises CallbackUnreadable unless it is this account's, and from this exchange."""
        try:
            told = _callback_body.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as problem:
            raise CallbackUnreadable(f"the body is not what this exchange sends ({problem})") from None
        if told.instance != self._identity:
            raise CallbackUnreadable("it comes from another exchange, or from one before it was started anew")
        if told.account != self._account or any(one.account != self._account for one in told.reports):
            raise CallbackUnreadable(f"it is about another account than {self._account!r}")
        return CallbackNews(told.reports, told.event_id)

    async def _page(self, path: str, after: int) -> list[ExecutionReport]:
        url = self._base.with_path(path).with_query(account=self._account, after=after)
        reports = await self._read(url, _report_list)
        if isinstance(reports, str):
            raise VenueError(f"{url}: {reports}; nothing was changed, ask again")
        self._check(reports, after)
        return reports

    async def _follow(self, path: str, after: int) -> AsyncGenerator[ExecutionReport, None]:
        url = self._base.with_path(path).with_query(account=self._account, after=after)
        socket = await self._open_socket(url)
        try:
            while True:
                try:
                    message = await socket.receive(self._silence_s)
                except TimeoutError:
                    raise VenueError(f"{url}: silent for {self._silence_s} s; connect again from {after}") from None
                if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                    return
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise VenueError(f"{url}: stream broke ({message.data!r}); connect again from {after}")
                try:
                    reports = _report_list.decode(message.data)
                except msgspec.DecodeError as problem:
                    raise VenueError(f"{url}: unreadable frame ({problem}); connect again from {after}") from None
                self._check(reports, after)
                for report in reports:
                    yield report
                    after = report.position
        finally:
            await socket.close()

    async def _open_socket(self, url: URL) -> aiohttp.ClientWebSocketResponse:
        session = self._session
        if session is None:
            raise VenueError(f"{url}: not connected; call start() first")
        # A reader that is behind must not wait for a close that stands behind everything unread.
        limits = aiohttp.ClientWSTimeout(ws_close=min(1.0, self._timeout_s))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await session.ws_connect(url, timeout=limits)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise VenueError(f"{url}: no stream ({replies.told(problem)}); try again") from None

    def _check(self, reports: list[ExecutionReport], after: int) -> None:
        """Raise VenueError unless the reports are this account's and follow position ``after`` without a gap."""
        for expected, report in enumerate(reports, after + 1):
            if report.position != expected:
                raise VenueError(
                    f"{self._base}: report {report.position} came where {expected} was due; read again from {after}"
                )
            if report.account != self._account:
                raise VenueError(
                    f"{self._base}: report {report.position} is account {report.account!r}'s, not {self._account!r}'s"
                )

    # -------------------------------------------------------------------- HTTP

    async def _exchange(self, method: str, url: URL, body: bytes | None = None) -> Answer | NotSent | Unknown:
        """Send one request and read its whole answer."""
        session = self._session
        if session is None or session.closed:
            return NotSent("not connected: start() was not called, or close() was")
        looked = None if body is None else LookedAt(body, self.last_look)
        try:
            # A redirect would send the order a second time.
            async with session.request(method, url, data=looked, headers=_JSON, allow_redirects=False) as response:
                return Answer(response.status, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            return NotSent(f"no connection: {replies.told(problem)}")
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            if looked is not None and looked.kept_back is not None:
                return NotSent(looked.kept_back)
            return Unknown(f"no whole answer: {replies.told(problem)}")

    async def _read(self, url: URL, decoder: "msgspec.json.Decoder[Body]") -> Body | str:
        """Return what a GET gives, or the text of what went wrong."""
        answer = await self._exchange("GET", url)
        if not isinstance(answer, Answer):
            return answer.reason
        if answer.status == 200:
            try:
                return decoder.decode(answer.body)
            except msgspec.DecodeError as problem:
                return f"unreadable answer ({problem})"
        return answer.strange().reason

    async def _read_patiently(self, path: str, decoder: "msgspec.json.Decoder[Body]") -> Body:
        """GET ``path`` until it works, a bounded number of times: the way there may be faulty, and reading is harmless."""
        url = self._base.with_path(path)
        pause_s = self._pause_s
        for attempt in range(1, self._attempts + 1):
            found = await self._read(url, decoder)
            if not isinstance(found, str):
                return found
            if attempt < self._attempts:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        raise VenueError(
            f"{url}: {self._attempts} attempts failed, the last with: {found}. "
            "Is the exchange running there (onefill exchange), and is the address right? No order was sent"
        )


def _session(timeout: aiohttp.ClientTimeout, connections: int) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, socket_factory=owned_socket),
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        raise_for_status=False,
    )
    # aiohttp resends GET, PUT and DELETE after a dropped connection, unasked; there is no public switch for it.
    setattr(session, "_retry_connection", False)  # noqa: B010 - the attribute is private, its name is all there is
    return session


def _nothing_against_it() -> None:
    return None
