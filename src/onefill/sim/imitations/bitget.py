"""Bitget v2, spot, a classic account, as far as ccxt speaks to it.

Replies to new orders and cancels have ids only. Lists come newest first, a page at a time, and go on before an id
(``idLessThan``). Errors come with HTTP 400. Market buys are given in the quote currency there, and are not served.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from aiohttp import web

from onefill.core import values
from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import (
    LIVE,
    Accepted,
    CancelRejected,
    DuplicateId,
    SubmitRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce, plain
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import Dialect
from onefill.sim.imitations.base import ACCOUNT, KEYS, Imitation, cancel_of
from onefill.sim.imitations.reading import Refused, Unreadable, body_of, text_of, whole
from onefill.sim.imitations.records import OrderRecord, Records, Traded, currencies_of, number_of
from onefill.sim.order_book import ExchangeOrder

MOST: Final = 100
"""Most entries of a page."""
KEPT_MS: Final = 90 * 86_400_000
"""How far back orders that are over, and fills, are listed."""
_LONGEST_MS: Final = 60_000
_SKEW_MS: Final = 30_000
_GRANTED: Final = Decimal(1_000_000)
_FIRST_ORDER: Final = 1_098_394_344_925_597_696
_FIRST_FILL: Final = 1_098_394_347_500_000_000
_ZERO: Final = Decimal(0)

_LATE, _BAD_KEY, _NO_SYMBOL, _BAD_PARAMETER, _PRECISION = "40008", "40012", "40034", "40017", "40808"
_DUPLICATE, _NO_ORDER, _TOO_SMALL, _TOO_MANY = "40786", "43001", "45110", "429"
_TIMES: Final[Mapping[str, TimeInForce]] = {"gtc": TimeInForce.GTC, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}
_STATES: Final[Mapping[VenueStatus, str]] = {
    VenueStatus.PENDING_NEW: "init",
    VenueStatus.NEW: "live",
    VenueStatus.PARTIALLY_FILLED: "partially_filled",
    VenueStatus.FILLED: "filled",
}
_CODES: Final[Mapping[str, str]] = {
    "unknown_instrument": _NO_SYMBOL,
    "off_grid_quantity": _PRECISION,
    "off_grid_price": _PRECISION,
    "below_minimum": _TOO_SMALL,
}


class BitgetImitation(Imitation):
    """Bitget v2, classic account, spot."""

    profile: ClassVar[str] = "bitget"
    ccxt_id: ClassVar[str] = "bitget"
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.OPEN,
        duplicate_reply=DuplicateReply.ERROR,
        replace=ReplaceStyle.NONE,
        execution_id_scope=ExecutionIdScope.ORDER,
        request_expiry_s=3.0,
        conclusive_after_s=10.0,
        id_format=IdFormat(alphabet=Alphabet.TEXT, max_length=36),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.records = Records(self.exchange, ACCOUNT, _native)
        self._symbols = {_market(symbol): symbol for symbol in self.exchange.instruments}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        return (
            web.get("/api/v2/public/time", self._answered(self._time)),
            web.get("/api/v2/spot/public/coins", self._answered(self._coins)),
            web.get("/api/v2/spot/public/symbols", self._answered(self._instruments)),
            web.get("/api/v2/margin/currencies", self._answered(lambda _: [])),
            web.get("/api/v2/spot/account/assets", self._answered(self._assets, key=True)),
            web.get("/api/v2/spot/trade/orderInfo", self._answered(self._info, key=True)),
            web.get("/api/v2/spot/trade/unfilled-orders", self._answered(self._unfilled, key=True)),
            web.get("/api/v2/spot/trade/history-orders", self._answered(self._history, key=True)),
            web.get("/api/v2/spot/trade/fills", self._answered(self._fills, key=True)),
            web.post("/api/v2/spot/trade/place-order", self._place),
            web.post("/api/v2/spot/trade/cancel-order", self._cancel),
        )

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return keys, and options that have the client load spot markets only and take the account for a classic one."""
        return {**KEYS, "options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "uta": False}}

    # ---------------------------------------------------------------- answering

    def _answered(
        self, handle: Callable[[web.Request], object], *, key: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(http: web.Request) -> web.StreamResponse:
            try:
                if key:
                    self._check_key(http)
                self.exchange.advance(self.clock_us())
                return self._ok(handle(http))
            except (Refused, InvalidField) as problem:
                return self._refused(problem)

        return answer

    def _ok(self, data: object) -> web.Response:
        return self._reply(200, "00000", "success", data)

    def _refused(self, problem: Exception) -> web.Response:
        code = str(problem.code) if isinstance(problem, Refused) else _BAD_PARAMETER
        return self._reply(429 if code == _TOO_MANY else 400, code, str(problem), None)

    def _reply(self, status: int, code: str, text: str, data: object) -> web.Response:
        time = self.clock_us() // 1000
        return answers.answer(status, {"code": code, "msg": text, "requestTime": time, "data": data})

    def _check_key(self, http: web.Request) -> None:
        if (
            http.headers.get("ACCESS-KEY") != KEYS["apiKey"]
            or http.headers.get("ACCESS-PASSPHRASE") != KEYS["password"]
        ):
            raise Refused(_BAD_KEY, "apikey/password is incorrect")
        stamp = whole(http.headers.get("ACCESS-TIMESTAMP", ""))
        if stamp is None or abs(stamp * 1000 - self.clock_us()) > _SKEW_MS * 1000:
            raise Refused(_LATE, "Request timestamp expired")

    # ---------------------------------------------------------------- reference

    def _time(self, _: web.Request) -> object:
        return {"serverTime": str(self.clock_us() // 1000)}

    def _coins(self, _: web.Request) -> object:
        coins = sorted({coin for symbol in self.exchange.instruments for coin in currencies_of(symbol)})
        return [{"coin": coin, "coinId": str(number), "chains": []} for number, coin in enumerate(coins, 1)]

    def _instruments(self, _: web.Request) -> object:
        return [_instrument(one) for one in self.exchange.instruments.values()]

    def _assets(self, _: web.Request) -> object:
        return [
            {"coin": coin, "available": plain(total - bound), "frozen": plain(bound), "locked": "0"}
            for coin, (total, bound) in self.records.balances(_GRANTED).items()
        ]

    # ----------------------------------------------------------------- requests

    async def _place(self, http: web.Request) -> web.StreamResponse:
        try:
            self._check_key(http)
            request = self._new(body_of(await http.read()), http)
        except (Refused, InvalidField, Unreadable) as problem:
            return self._refused(problem)
        return await self.new_order(lambda: self._submit(request))

    def _new(self, body: Mapping[str, Any], http: web.Request) -> SubmitRequest:
        market, side = text_of(body, "orderType") == "market", values.choice(Side, text_of(body, "side"), "side")
        if market and side is Side.BUY:
            raise Refused(_BAD_PARAMETER, "Parameter verification failed: a market buy is given in the quote currency")
        times = TimeInForce.IOC if market else _TIMES.get((text_of(body, "force") or "gtc").lower())
        if times is None:
            raise Refused(_BAD_PARAMETER, "Parameter verification failed force")
        return SubmitRequest(
            client_order_id=text_of(body, "clientOid") or self.records.invented(),
            account=ACCOUNT,
            instrument=self._symbol(body),
            side=side,
            quantity=values.positive_decimal(text_of(body, "size"), "size"),
            order_type=values.choice(OrderType, text_of(body, "orderType"), "orderType"),
            price=None if market else values.positive_decimal(text_of(body, "price"), "price"),
            time_in_force=times,
            expires_at_us=_expiry(body, http),
        )

    def _submit(self, request: SubmitRequest) -> web.Response:
        reply = self.exchange.submit(request, self.clock_us())
        match reply:
            case Accepted(order=order):
                return self._ok(_ids(self.records.of(number_of(order.venue_order_id))))
            case DuplicateId():
                return self._refused(Refused(_DUPLICATE, "Duplicate clientOid"))
            case TooLate():
                return self._refused(Refused(_LATE, "Request timestamp expired"))
            case Throttled():
                return self._refused(Refused(_TOO_MANY, "Too many requests"))
        return self._refused(Refused(_CODES.get(reply.code or "", _BAD_PARAMETER), reply.reason))

    async def _cancel(self, http: web.Request) -> web.StreamResponse:
        try:
            self._check_key(http)
            body = body_of(await http.read())
            symbol = self._symbol(body)
            self.exchange.advance(self.clock_us())
            record = next((one for one in self._carrying(body) if one.order.instrument == symbol), None)
            if record is None:
                raise Refused(_NO_ORDER, "The order does not exist")
            reply = self.exchange.cancel(cancel_of(record.order), self.clock_us())
            if isinstance(reply, Throttled):
                raise Refused(_TOO_MANY, "Too many requests")
            if isinstance(reply, CancelRejected):
                raise Refused(_NO_ORDER, "The order does not exist")
            return self._ok(_ids(record))
        except (Refused, InvalidField, Unreadable) as problem:
            return self._refused(problem)

    def _symbol(self, named: Mapping[str, Any]) -> str:
        symbol = self._symbols.get(text_of(named, "symbol"))
        if symbol is None:
            raise Refused(_NO_SYMBOL, "Parameter does not exist")
        return symbol

    # ---------------------------------------------------------------- questions

    def _carrying(self, named: Mapping[str, Any]) -> list[OrderRecord]:
        """Return the orders that carry the id asked for, the venue's before the client's, latest first."""
        order_id, client_oid = text_of(named, "orderId"), text_of(named, "clientOid")
        if order_id:
            record = self.records.by_native(order_id)
            return [] if record is None else [record]
        return self.records.by_client(client_oid)[::-1] if client_oid else []

    def _info(self, http: web.Request) -> object:
        return [_order(record) for record in self._carrying(http.query)[:1]]

    def _unfilled(self, http: web.Request) -> object:
        return self._orders(http, self.records.live()[::-1])

    def _history(self, http: web.Request) -> object:
        return self._orders(http, [one for one in self.records.newest_first() if one.order.status not in LIVE])

    def _orders(self, http: web.Request, records: Iterable[OrderRecord]) -> object:
        since, until = self._window(http)
        native = http.query.get("symbol")
        found = [
            record
            for record in records
            if native in (None, _market(record.order.instrument)) and since <= record.created_at_us // 1000 <= until
        ]
        return [_order(record) for record in _page(http, found, lambda record: int(record.native))]

    def _fills(self, http: web.Request) -> object:
        symbol = self._symbol(http.query)
        wanted = http.query.get("orderId")
        found = [
            trade
            for trade in reversed(self.records.trades_between(*self._window(http)))
            if trade.report.instrument == symbol and wanted in (None, self.records.of(trade.number).native)
        ]
        page = _page(http, found, lambda trade: _FIRST_FILL + trade.report.position)
        return [_fill(trade, self.records.of(trade.number)) for trade in page]

    def _window(self, http: web.Request) -> tuple[int, int]:
        """Return from when to when a question asks, in ms; nothing older than 90 days is shown."""
        start, end = answers.number(http, "startTime", 0), answers.number(http, "endTime", 1 << 60)
        if start > 0 and end < 1 << 60 and end - start > KEPT_MS:
            raise Refused(_BAD_PARAMETER, "startTime and endTime interval cannot be greater than 90 days")
        return max(start, self.clock_us() // 1000 - KEPT_MS), end


def _ids(record: OrderRecord) -> dict[str, str]:
    return {"orderId": record.native, "clientOid": record.client_id or f"auto-{record.number}"}


def _order(record: OrderRecord) -> dict[str, Any]:
    order = record.order
    return {
        **_ids(record),
        "userId": "1000000001",
        "symbol": _market(order.instrument),
        "orderType": order.order_type.value,
        "side": order.side.value,
        "force": order.time_in_force.value,
        "status": _STATES.get(order.status, "cancelled"),
        "price": plain(order.price or _ZERO),
        "size": plain(order.quantity),
        "baseVolume": plain(order.cum_quantity),
        "quoteVolume": plain(record.value),
        "priceAvg": plain(record.value / order.cum_quantity) if order.cum_quantity else "0",
        "cTime": str(order.created_at_us // 1000),
        "uTime": str(record.changed_at_us // 1000),
        "cancelReason": order.reason or "",
    }


def _fill(traded: Traded, record: OrderRecord) -> dict[str, Any]:
    trade = traded.report
    shown: dict[str, Any] = {
        "userId": "1000000001",
        "symbol": _market(trade.instrument),
        "orderId": record.native,
        "tradeId": str(_FIRST_FILL + trade.position),
        "orderType": record.order.order_type.value,
        "side": trade.side.value,
        "priceAvg": plain(traded.price),
        "size": plain(traded.quantity),
        "amount": plain(traded.value),
        "cTime": str(traded.at_ms),
        "uTime": str(traded.at_ms),
    }
    if trade.fee is not None:
        shown["feeDetail"] = {"deduction": "no", "feeCoin": trade.fee_currency, "totalFee": plain(-trade.fee)}
    return shown


def _market(symbol: str) -> str:
    return "".join(currencies_of(symbol))


def _native(order: ExchangeOrder) -> str:
    return str(_FIRST_ORDER + order.number)


def _expiry(body: Mapping[str, Any], http: web.Request) -> int | None:
    """Return until when a new order is acceptable (µs); without ``receiveWindow``, for as long as any."""
    window = text_of(body, "receiveWindow")
    if not window:
        return None
    stamp = whole(text_of(body, "requestTime") or http.headers.get("ACCESS-TIMESTAMP", ""))
    length = whole(window)
    if stamp is None or length is None or not 0 < length <= _LONGEST_MS:
        raise Refused(_BAD_PARAMETER, "Parameter verification failed receiveWindow")
    return (stamp + length) * 1000


def _instrument(one: Instrument) -> dict[str, Any]:
    base, quote = currencies_of(one.symbol)
    return {
        "symbol": base + quote,
        "baseCoin": base,
        "quoteCoin": quote,
        "minTradeAmount": plain(one.min_quantity),
        "maxTradeAmount": "0",
        "minTradeUSDT": "0",
        "takerFeeRate": "0",
        "makerFeeRate": "0",
        "pricePrecision": _decimals(one, "price_tick"),
        "quantityPrecision": _decimals(one, "quantity_step"),
        "quotePrecision": "8",
        "status": "online",
    }


def _decimals(one: Instrument, field: str) -> str:
    """Return the decimal places of a step. Raises InvalidField for one that is no power of ten: the venue has no other."""
    step: Decimal = getattr(one, field)
    places = -step.adjusted()
    if step != Decimal(1).scaleb(-places):
        raise InvalidField(f"instruments.{one.symbol}.{field}", f"{step} is not a power of ten")
    return str(places)


def _page(http: web.Request, found: list[Any], identity: Callable[[Any], int]) -> list[Any]:
    before = http.query.get("idLessThan")
    if before is not None:
        last = whole(before)
        if last is None:
            raise Refused(_BAD_PARAMETER, "Parameter verification failed idLessThan")
        found = [one for one in found if identity(one) < last]
    return found[: min(answers.number(http, "limit", MOST), MOST)]
