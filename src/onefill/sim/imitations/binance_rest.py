"""What Binance's spot and USD-M interfaces share: signed requests with a recvWindow, errors by number, trades by id."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from aiohttp import web

from onefill.core.errors import InvalidField
from onefill.core.messages import (
    LIVE,
    Accepted,
    DuplicateId,
    Found,
    Rejected,
    SubmitRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce, choice, exact_decimal
from onefill.sim import exchange_http as answers
from onefill.sim.imitations.base import ACCOUNT, KEYS, Imitation
from onefill.sim.imitations.records import Records, Traded, number_of
from onefill.sim.imitations.streams import Streams
from onefill.sim.order_book import ExchangeOrder

ORDERS_FROM: Final = 4_000_000_000
"""Order ids are the exchange's numbers above this."""
TRADES_FROM: Final = 28_000_000
"""Trade ids are the numbers of matches above this. One id names a match: both sides of a match with oneself have it."""
DEFAULT_WINDOW_MS: Final = 5_000
MAX_WINDOW_MS: Final = 60_000
AHEAD_US: Final = 1_000_000
"""A request from so far ahead of the venue's clock is refused."""
HOUR_MS: Final = 3_600_000
MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 500

_STATUSES: Final = {
    VenueStatus.FILLED: "FILLED",
    VenueStatus.CANCELED: "CANCELED",
    VenueStatus.REPLACED: "CANCELED",
    VenueStatus.REJECTED: "REJECTED",
    VenueStatus.EXPIRED: "EXPIRED",
}
_TIMES_IN_FORCE: Final = (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
_LOT: Final = frozenset({"below_minimum", "off_grid_quantity", "quantity_too_large"})
_PRICE: Final = frozenset({"off_grid_price", "price_too_large"})
_IDS: Final = r"'^[\.A-Z\:/a-z0-9_-]{1,36}$'"


class Refusal(Exception):
    """The venue's refusal: its number, its text, and the HTTP status it comes with."""

    def __init__(self, code: int, text: str, status: int = 400, **more: object) -> None:
        super().__init__(text)
        self.body = {"code": code, "msg": text, **more}
        self.status = status

    def reply(self) -> web.Response:
        """Return it as it is sent."""
        headers = {"Retry-After": "1"} if self.status == 429 else {}
        return web.json_response(self.body, status=self.status, headers=headers)


def refusing(code: int, text: str, status: int = 400) -> Callable[[], web.Response]:
    """Return what refuses the next new order unheard, for :attr:`Imitation.unheard`."""
    return Refusal(code, text, status).reply


INSUFFICIENT_BALANCE = refusing(-2010, "Account has insufficient balance for requested action.")
"""-2010 has many meanings. This one is no duplicate."""
OVERLOADED = refusing(
    -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.", 503
)


def unexpected_response(_: web.Response) -> web.StreamResponse:
    """-1006 for an order that was carried out: what became of it is not known to the front end."""
    text = "An unexpected response was received from the message bus. Execution status unknown."
    return Refusal(-1006, text, 500).reply()


def backend_timeout(_: web.Response) -> web.StreamResponse:
    """-1007 for an order that was carried out."""
    text = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return Refusal(-1007, text, 408).reply()


class Asked:
    """A signed request that is in time. ``expires_at_us``: it may not be matched after this moment."""

    def __init__(self, params: Mapping[str, str], expires_at_us: int) -> None:
        self.params = params
        self.expires_at_us = expires_at_us

    def get(self, name: str) -> str | None:
        """Return a parameter, ``None`` if it was not sent or is empty."""
        return self.params.get(name) or None

    def text(self, name: str) -> str:
        """Return a parameter that must be there. Raises :class:`Refusal`."""
        value = self.get(name)
        if value is None:
            raise malformed(name)
        return value

    def whole(self, name: str) -> int | None:
        """Return a parameter that is a whole number. Raises :class:`Refusal`."""
        value = self.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) < 19):
            raise malformed(name)
        return int(value)

    def number(self, name: str) -> Decimal | None:
        """Return a parameter that is a decimal number. Raises :class:`Refusal`."""
        value = self.get(name)
        if value is None:
            return None
        try:
            return exact_decimal(value, name)
        except InvalidField:
            raise malformed(name) from None

    @property
    def limit(self) -> int:
        """How many rows are asked for."""
        wanted = self.whole("limit")
        return DEFAULT_LIMIT if wanted is None else min(wanted, MAX_LIMIT)


def malformed(name: str) -> Refusal:
    """Return the refusal of a request whose parameter is missing or means nothing."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def order_number(asked: Asked, name: str = "orderId") -> int | None:
    """Return the exchange's number of the order that a request names by the venue's id."""
    order_id = asked.whole(name)
    return None if order_id is None else max(order_id - ORDERS_FROM, 0)


def new_id() -> str:
    """Return a client id as the venue makes one up for a cancel."""
    return secrets.token_urlsafe(16).replace("-", "A").replace("_", "B")


Handler = Callable[[Asked], object]


class Binance(Imitation):
    """The common part. ``queue_us``: how long a request waits between its receipt and the matching engine.

    The recvWindow is checked at both ends of that wait.
    """

    prefix: ClassVar[str] = ""
    """Where the interface's paths begin."""
    trade_window_ms: ClassVar[int] = 24 * HOUR_MS
    """The longest time that a question about trades or orders may span."""

    def __init__(self, **other: Any) -> None:
        super().__init__(**other)
        self.queue_us = 0
        self.records = Records(self.exchange, ACCOUNT)
        self.streams = Streams(self.exchange, ACCOUNT)
        self._natives = {symbol: native(symbol) for symbol in self.exchange.instruments}
        self._symbols = {name: symbol for symbol, name in self._natives.items()}

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open."""
        await self.streams.cut()

    # ---------------------------------------------------------------- requests

    def signed(
        self, handler: Handler, *, new_order: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return what serves a signed request. ``handler`` returns the body or a whole reply, or raises :class:`Refusal`."""

        async def serve(http: web.Request) -> web.StreamResponse:
            params: dict[str, str] = dict(http.query)
            params.update({name: str(value) for name, value in (await http.post()).items()})
            try:
                asked = self.admit(params, http.headers.get("X-MBX-APIKEY"))
            except Refusal as refusal:
                return refusal.reply()

            def carry_out() -> web.Response:
                return self._answer(handler, asked)

            return await self.new_order(carry_out) if new_order else carry_out()

        return serve

    def admit(self, params: Mapping[str, str], key: str | None) -> Asked:
        """Return a signed request if its key is known and it came in time. Raises :class:`Refusal`."""
        if key != KEYS["apiKey"]:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        asked = Asked(params, 0)
        asked.text("signature")
        window_ms = asked.number("recvWindow")
        if window_ms is not None and window_ms > MAX_WINDOW_MS:
            raise Refusal(-1131, "recvWindow must be less than 60000.")
        stamp_ms = asked.whole("timestamp")
        if stamp_ms is None:
            raise malformed("timestamp")
        window_us = int((DEFAULT_WINDOW_MS if window_ms is None else window_ms) * 1000)
        asked.expires_at_us = stamp_ms * 1000 + window_us
        now = self.clock_us()
        if stamp_ms * 1000 >= now + AHEAD_US:
            raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now > asked.expires_at_us:
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
        self.exchange.advance(now)
        return asked

    def _answer(self, handler: Handler, asked: Asked) -> web.Response:
        try:
            body = handler(asked)
        except Refusal as refusal:
            return refusal.reply()
        return body if isinstance(body, web.Response) else answers.ok(body)

    def instrument(self, asked: Asked) -> Instrument:
        """Return the instrument that a request names. Raises :class:`Refusal`."""
        symbol = self._symbols.get(asked.text("symbol"))
        if symbol is None:
            raise Refusal(-1121, "Invalid symbol.")
        return self.exchange.instruments[symbol]

    def native(self, symbol: str) -> str:
        """Return what the venue calls an instrument."""
        return self._natives[symbol]

    # ------------------------------------------------------------------ orders

    def wanted(self, asked: Asked) -> SubmitRequest:
        """Return the new order that a request describes. Raises :class:`Refusal`."""
        instrument = self.instrument(asked)
        kind = asked.text("type")
        if kind not in ("LIMIT", "MARKET"):
            raise Refusal(-1116, "Invalid orderType.")
        time_in_force = asked.get("timeInForce")
        if kind == "MARKET" and time_in_force is not None:
            raise Refusal(-1106, "Parameter 'timeInForce' sent when not required.")
        time_in_force = "GTC" if kind == "MARKET" else time_in_force
        if time_in_force is None:
            raise malformed("timeInForce")
        if time_in_force.lower() not in _TIMES_IN_FORCE:
            raise Refusal(-1115, "Invalid timeInForce.")
        quantity = asked.number("quantity")
        if quantity is None:
            raise malformed("quantity")
        price = asked.number("price")
        if kind == "LIMIT" and price is None:
            raise malformed("price")
        side = asked.text("side")
        if side not in ("BUY", "SELL"):
            raise Refusal(-1117, "Invalid side.")
        return SubmitRequest(
            client_order_id=asked.get("newClientOrderId") or new_id(),
            account=ACCOUNT,
            instrument=instrument.symbol,
            side=choice(Side, side, "side"),
            quantity=quantity,
            order_type=choice(OrderType, kind, "type"),
            price=price,
            time_in_force=choice(TimeInForce, time_in_force, "timeInForce"),
            expires_at_us=asked.expires_at_us,
        )

    def submit(self, request: SubmitRequest) -> ExchangeOrder:
        """Hand an order to the exchange. Raises :class:`Refusal`."""
        match self.exchange.submit(request, self.clock_us() + self.queue_us):
            case Accepted(order):
                return self.numbered(number_of(order.venue_order_id))
            case DuplicateId():
                raise self.duplicate()
            case TooLate():
                raise self.too_late()
            case Throttled():
                raise self.throttled()
            case Rejected(reason, code):
                raise refused(reason, code)

    def duplicate(self) -> Refusal:
        """Return the refusal of a client order id that an open order has."""
        raise NotImplementedError

    def too_late(self) -> Refusal:
        """Return the refusal of a request whose recvWindow ended before it was matched."""
        return Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")

    def throttled(self) -> Refusal:
        """Return the refusal for rate."""
        return Refusal(-1015, "Too many new orders; current limit is 100 orders per 10 SECOND.", 429)

    def numbered(self, number: int) -> ExchangeOrder:
        """Return an order that exists."""
        order = self.records.order(number)
        if order is None:
            raise Refusal(-2013, "Order does not exist.")
        return order

    def find(self, asked: Asked, by_number: str = "orderId", by_id: str = "origClientOrderId") -> ExchangeOrder | None:
        """Return the order that a request names by either id or by both, dead ones included; ``None`` if there is none."""
        instrument = self.instrument(asked)
        number, client_order_id = order_number(asked, by_number), asked.get(by_id)
        if number is None and client_order_id is None:
            raise malformed(by_id)
        if number is None:
            reply = self.exchange.lookup(client_order_id or "", ACCOUNT, self.clock_us())
            if not isinstance(reply, Found):
                return None
            number = number_of(reply.order.venue_order_id)
        order = self.records.order(number)
        if order is None or order.instrument != instrument.symbol:
            return None
        return order if client_order_id in (None, order.client_order_id) else None

    def query(self, asked: Asked) -> object:
        """Answer a question about one order."""
        order = self.find(asked)
        if order is None:
            raise Refusal(-2013, "Order does not exist.")
        return self.shown(order)

    def open_orders(self, asked: Asked) -> object:
        """Answer a question about open orders, of one symbol or of all."""
        wanted = self.instrument(asked).symbol if asked.get("symbol") is not None else None
        live = self.exchange.open_orders(ACCOUNT)
        numbers = [number_of(one.venue_order_id) for one in live if wanted in (None, one.instrument)]
        return [self.shown(self.numbered(number)) for number in numbers]

    def orders_since(self, asked: Asked) -> object:
        """List orders: from an order id on, or of a span of time, otherwise the latest."""
        orders = self.records.orders(self.instrument(asked).symbol)
        first, limit = order_number(asked), asked.limit
        if first is not None:
            return [self.shown(one) for one in orders if one.number >= first][:limit]
        start, end = self.span(asked)
        within = [one for one in orders if _within(one.created_at_us // 1000, start, end)]
        return [self.shown(one) for one in (within[-limit:] if start is None else within[:limit])]

    def shown(self, order: ExchangeOrder) -> dict[str, object]:
        """Return an order as a question about it is answered."""
        raise NotImplementedError

    def status(self, order: ExchangeOrder) -> str:
        """Return the venue's word for an order's state."""
        if order.status in LIVE:
            return "PARTIALLY_FILLED" if self.records.of(order.number).executed else "NEW"
        passing = order.order_type is OrderType.MARKET or order.time_in_force is not TimeInForce.GTC
        if order.status is VenueStatus.CANCELED and passing:
            return "EXPIRED"
        return _STATUSES[order.status]

    # ------------------------------------------------------------------ trades

    def trades_since(self, asked: Asked) -> object:
        """List trades: from a trade id on, or of a span of time, otherwise the latest."""
        trades = self.records.trades(self.instrument(asked).symbol)
        first, limit = asked.whole("fromId"), asked.limit
        number = order_number(asked)
        timed = asked.get("startTime") is not None or asked.get("endTime") is not None
        if timed and (first is not None or number is not None):
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        if number is not None:
            trades = [one for one in trades if one.report.venue_order_id == f"X{number}"]
        if first is not None:
            return [self.trade(one) for one in trades if TRADES_FROM + one.match >= first][:limit]
        start, end = self.span(asked)
        within = [one for one in trades if _within(one.at_ms, start, end)]
        return [self.trade(one) for one in (within[-limit:] if start is None else within[:limit])]

    def span(self, asked: Asked) -> tuple[int | None, int | None]:
        """Return from when to when (ms) is asked for. A beginning without an end means the longest time from there."""
        start, end = asked.whole("startTime"), asked.whole("endTime")
        if start is not None and end is None:
            end = start + self.trade_window_ms
        if start is not None and end is not None and end - start > self.trade_window_ms:
            hours = self.trade_window_ms // HOUR_MS
            raise Refusal(-1127, f"More than {hours} hours between startTime and endTime.")
        return start, end

    def trade(self, traded: Traded) -> dict[str, object]:
        """Return a trade as the account's list of trades has it."""
        raise NotImplementedError


def native(symbol: str) -> str:
    """Return the venue's name of an instrument by the client library's: BTC/USDT:USDT is BTCUSDT."""
    return symbol.partition(":")[0].replace("/", "")


def order_id(order: ExchangeOrder) -> int:
    """Return the venue's id of an order."""
    return ORDERS_FROM + order.number


def refused(reason: str, code: str | None) -> Refusal:
    """Return the refusal of an order for what it says, by the exchange's own code."""
    if code == "invalid_client_order_id":
        return Refusal(-1100, f"Illegal characters found in parameter 'newClientOrderId'; legal range is {_IDS}.")
    if code in _LOT:
        return Refusal(-1013, "Filter failure: LOT_SIZE")
    if code in _PRICE:
        return Refusal(-1013, "Filter failure: PRICE_FILTER")
    return Refusal(-1013, f"Invalid order: {reason}.")


def rate_limits() -> list[dict[str, object]]:
    """Return the limits that the venue announces."""
    rows = (("REQUEST_WEIGHT", "MINUTE", 1, 6000), ("ORDERS", "SECOND", 10, 100))
    return [dict(zip(("rateLimitType", "interval", "intervalNum", "limit"), row, strict=True)) for row in rows]


def filters(instrument: Instrument, biggest: Decimal) -> list[dict[str, object]]:
    """Return the steps that an instrument trades in, as the venue says them."""
    tick, step, least = instrument.price_tick, instrument.quantity_step, instrument.min_quantity
    return [
        {"filterType": "PRICE_FILTER", "minPrice": f"{tick:f}", "maxPrice": "1000000.00", "tickSize": f"{tick:f}"},
        {"filterType": "LOT_SIZE", "minQty": f"{least:f}", "maxQty": f"{biggest:f}", "stepSize": f"{step:f}"},
    ]


def _within(at_ms: int, start: int | None, end: int | None) -> bool:
    return (start is None or at_ms >= start) and (end is None or at_ms <= end)
