"""Bybit v5, spot, as far as ccxt speaks to it.

A new order is answered with ids only, and before it is decided: until then it is not to be found. Live orders and the last 500
that are over are in one list (``realtime``), all that are over in another (``history``).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final
from urllib.parse import quote

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
    ReplaceRejected,
    SubmitRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import OrderType, Side, TimeInForce, plain
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import Dialect
from onefill.sim.imitations import bybit_words as words
from onefill.sim.imitations.base import ACCOUNT, KEYS, Imitation, amend_of, cancel_of
from onefill.sim.imitations.bybit_streams import Private
from onefill.sim.imitations.reading import Refused, Unreadable, body_of, text_of, whole
from onefill.sim.imitations.records import OrderRecord, Records, currencies_of, number_of
from onefill.sim.imitations.streams import Streams

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RECENT: Final = 500
"""How many orders that are over ``realtime`` still shows."""
WEEK_MS: Final = 7 * 86_400_000
"""Longest stretch of time that one question about history or executions covers."""
FORGOTTEN_MS: Final = 86_400_000
"""How long the history shows an order that ended without a trade."""
_AHEAD_MS: Final = 1_000
_GRANTED: Final = Decimal(1_000_000)
_ZERO: Final = Decimal(0)

_BAD_REQUEST, _LATE, _BAD_KEY, _TOO_MANY = 10001, 10002, 10003, 10006
_BAD_SYMBOL, _BAD_PARAMETER, _DUPLICATE, _NO_ORDER = 170121, 170130, 170141, 170213
_TIMES: Final[Mapping[str, TimeInForce]] = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_AT_WORK: Final = LIVE - {VenueStatus.PENDING_NEW}


class BybitImitation(Imitation):
    """Bybit v5, unified trading account, spot."""

    profile: ClassVar[str] = "bybit"
    ccxt_id: ClassVar[str] = "bybit"
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.OPEN,
        duplicate_reply=DuplicateReply.ERROR,
        replace=ReplaceStyle.KEEP,
        acknowledges_asynchronously=True,
        execution_id_scope=ExecutionIdScope.ORDER,
        request_expiry_s=2.0,
        conclusive_after_s=10.0,
        lists_open_orders=True,
        id_format=IdFormat(alphabet=Alphabet.TEXT, max_length=36),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.records = Records(self.exchange, ACCOUNT, words.native)
        self._symbols = {words.market_id(symbol): symbol for symbol in self.exchange.instruments}
        self._forgotten = 0
        self.streams = Streams(self.exchange, ACCOUNT)
        self._private = Private(self.records, self.streams)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        return (
            web.get("/v5/market/time", self._answered(self._time)),
            web.get("/v5/market/instruments-info", self._answered(self._instruments)),
            web.get("/v5/asset/coin/query-info", self._answered(self._coins, key=True)),
            web.get("/v5/user/query-api", self._answered(self._key, key=True)),
            web.get("/v5/account/info", self._answered(self._info, key=True)),
            web.get("/v5/account/wallet-balance", self._answered(self._balance, key=True)),
            web.get("/v5/order/realtime", self._answered(self._realtime, key=True)),
            web.get("/v5/order/history", self._answered(self._history, key=True)),
            web.get("/v5/execution/list", self._answered(self._executions, key=True)),
            web.get("/v5/private", self._private.serve),
            web.post("/v5/order/create", self._create),
            web.post("/v5/order/amend", self._posted(self._amend)),
            web.post("/v5/order/cancel", self._posted(self._cancel)),
        )

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return keys, and options that have the client load spot markets only."""
        return {**KEYS, "options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}}

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open."""
        await self.streams.cut()

    def forget_recent(self) -> None:
        """Show no order that is over by now in ``realtime`` any more, as after a restart of the venue."""
        self._forgotten = len(self.records.ended())

    # ---------------------------------------------------------------- answering

    def _answered(self, handle: Callable[[web.Request], dict[str, Any]], *, key: bool = False) -> Handler:
        async def answer(http: web.Request) -> web.StreamResponse:
            try:
                if key:
                    self._check(http, self._expires_at_us(http))
                self.exchange.advance(self.clock_us())
                return self._ok(handle(http))
            except (Refused, InvalidField, Unreadable) as problem:
                return self._refused(problem)

        return answer

    def _posted(self, handle: Callable[[Mapping[str, Any], int], dict[str, Any]]) -> Handler:
        async def answer(http: web.Request) -> web.StreamResponse:
            try:
                expires_at_us = self._expires_at_us(http)
                return self._ok(handle(body_of(await http.read()), expires_at_us))
            except (Refused, InvalidField, Unreadable) as problem:
                return self._refused(problem)

        return answer

    def _ok(self, result: dict[str, Any]) -> web.Response:
        return self._reply(0, "OK", result)

    def _refused(self, problem: Exception) -> web.Response:
        if isinstance(problem, Refused):
            return self._reply(problem.code, problem.reason, {})
        return self._reply(_BAD_REQUEST, f"Request parameter error: {problem}", {})

    def _reply(self, code: object, text: str, result: dict[str, Any]) -> web.Response:
        time = self.clock_us() // 1000
        return answers.ok({"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": time})

    def _expires_at_us(self, http: web.Request) -> int:
        """Return until when a request is acceptable. Raises :class:`Refused` for one without key, or dated in the future."""
        if http.headers.get("X-BAPI-API-KEY") != KEYS["apiKey"]:
            raise Refused(_BAD_KEY, "API key is invalid.")
        stamp, window = _whole(http, "X-BAPI-TIMESTAMP"), _whole(http, "X-BAPI-RECV-WINDOW")
        if stamp * 1000 >= self.clock_us() + _AHEAD_MS * 1000:
            raise self._late(stamp, window)
        return (stamp + window) * 1000

    def _check(self, http: web.Request, expires_at_us: int) -> None:
        if self.clock_us() > expires_at_us:
            raise self._late(_whole(http, "X-BAPI-TIMESTAMP"), _whole(http, "X-BAPI-RECV-WINDOW"))

    def _late(self, stamp: object, window: object) -> Refused:
        return Refused(
            _LATE,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{self.clock_us() // 1000}],recv_window[{window}]",
        )

    # ---------------------------------------------------------------- reference

    def _time(self, _: web.Request) -> dict[str, Any]:
        now = self.clock_us()
        return {"timeSecond": str(now // 1_000_000), "timeNano": str(now * 1000)}

    def _instruments(self, http: web.Request) -> dict[str, Any]:
        _spot(http.query)
        return {"category": "spot", "list": [words.shown_instrument(one) for one in self.exchange.instruments.values()]}

    def _coins(self, _: web.Request) -> dict[str, Any]:
        coins = sorted({coin for symbol in self.exchange.instruments for coin in currencies_of(symbol)})
        return {"rows": [{"coin": coin, "name": coin, "chains": []} for coin in coins]}

    def _key(self, _: web.Request) -> dict[str, Any]:
        return {"id": "13770661", "apiKey": KEYS["apiKey"], "readOnly": 0, "unified": 0, "uta": 1, "userID": 24600000}

    def _info(self, _: web.Request) -> dict[str, Any]:
        return {"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 6, "spotHedgingStatus": "OFF"}

    def _balance(self, _: web.Request) -> dict[str, Any]:
        coins = [
            {
                "coin": currency,
                "walletBalance": plain(total),
                "equity": plain(total),
                "locked": plain(bound),
                "borrowAmount": "0",
                "accruedInterest": "0",
                "totalOrderIM": "0",
                "totalPositionIM": "0",
            }
            for currency, (total, bound) in self.records.balances(_GRANTED).items()
        ]
        return {"list": [{"accountType": "UNIFIED", "coin": coins}]}

    # ----------------------------------------------------------------- requests

    async def _create(self, http: web.Request) -> web.StreamResponse:
        try:
            expires_at_us = self._expires_at_us(http)
            request = self._new(body_of(await http.read()), expires_at_us)
        except (Refused, InvalidField, Unreadable) as problem:
            return self._refused(problem)
        return await self.new_order(lambda: self._submit(request))

    def _new(self, body: Mapping[str, Any], expires_at_us: int) -> SubmitRequest:
        market = text_of(body, "orderType") == "Market"
        if market and text_of(body, "side") == "Buy" and text_of(body, "marketUnit") != "baseCoin":
            raise Refused(_BAD_PARAMETER, "Data sent for parameter 'marketUnit' is not valid.")
        times = TimeInForce.IOC if market else _TIMES.get(text_of(body, "timeInForce") or "GTC")
        if times is None:
            raise Refused(_BAD_PARAMETER, "Data sent for parameter 'timeInForce' is not valid.")
        return SubmitRequest(
            client_order_id=text_of(body, "orderLinkId") or self.records.invented(),
            account=ACCOUNT,
            instrument=self._symbol(body),
            side=values.choice(Side, text_of(body, "side"), "side"),
            quantity=values.positive_decimal(text_of(body, "qty"), "qty"),
            order_type=values.choice(OrderType, text_of(body, "orderType"), "orderType"),
            price=None if market else values.positive_decimal(text_of(body, "price"), "price"),
            time_in_force=times,
            expires_at_us=expires_at_us,
        )

    def _submit(self, request: SubmitRequest) -> web.Response:
        reply = self.exchange.submit(request, self.clock_us())
        match reply:
            case Accepted(order=order):
                return self._ok(_ids(self.records.of(number_of(order.venue_order_id))))
            case DuplicateId():
                return self._refused(Refused(_DUPLICATE, "Duplicate clientOrderId"))
            case TooLate():
                return self._refused(self._late("", ""))
            case Throttled():
                return self._refused(Refused(_TOO_MANY, "Too many visits!"))
        return self._refused(Refused(_BAD_PARAMETER, f"Data sent is not valid. {reply.reason}"))

    def _amend(self, body: Mapping[str, Any], expires_at_us: int) -> dict[str, Any]:
        self.exchange.advance(self.clock_us())
        record = self._named(body)
        order = record.order
        quantity, price = text_of(body, "qty"), text_of(body, "price")
        reply = self.exchange.replace(
            amend_of(
                order,
                values.positive_decimal(quantity, "qty") if quantity else order.quantity,
                values.positive_decimal(price, "price") if price else order.price,
                expires_at_us,
            ),
            self.clock_us(),
        )
        match reply:
            case TooLate():
                raise self._late("", "")
            case Throttled():
                raise Refused(_TOO_MANY, "Too many visits!")
            case ReplaceRejected(order=shown) if shown is None or shown.status not in LIVE:
                raise Refused(_NO_ORDER, "Order does not exist.")
            case ReplaceRejected(reason=reason):
                raise Refused(_BAD_REQUEST, reason)
        return _ids(record)

    def _cancel(self, body: Mapping[str, Any], expires_at_us: int) -> dict[str, Any]:
        if self.clock_us() > expires_at_us:
            raise self._late("", "")
        self.exchange.advance(self.clock_us())
        record = self._named(body)
        order = record.order
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        if isinstance(reply, Throttled):
            raise Refused(_TOO_MANY, "Too many visits!")
        if isinstance(reply, CancelRejected):
            raise Refused(_NO_ORDER, "Order does not exist.")
        return _ids(record)

    def _named(self, body: Mapping[str, Any]) -> OrderRecord:
        """Return the order that a request names, by the venue's number first; of several under one id the latest."""
        symbol = self._symbol(body)
        for record in self._carrying(body) or ():
            if record.order.instrument == symbol:
                return record
        raise Refused(_NO_ORDER, "Order does not exist.")

    def _carrying(self, named: Mapping[str, Any]) -> list[OrderRecord] | None:
        """Return the orders that carry the id asked for, latest first; ``None`` if none is asked for."""
        order_id, link = text_of(named, "orderId"), text_of(named, "orderLinkId")
        if order_id:
            record = self.records.by_native(order_id)
            return [] if record is None else [record]
        return self.records.by_client(link)[::-1] if link else None

    def _symbol(self, body: Mapping[str, Any]) -> str:
        _spot(body)
        symbol = self._symbols.get(text_of(body, "symbol"))
        if symbol is None:
            raise Refused(_BAD_SYMBOL, "Invalid symbol.")
        return symbol

    # ---------------------------------------------------------------- questions

    def _realtime(self, http: web.Request) -> dict[str, Any]:
        found = self._carrying(http.query)
        if found is None:
            found = self.records.live()[::-1]
        recent = {record.number for record in self.records.ended()[self._forgotten :][-RECENT:]}
        shown = [record for record in found if record.order.status in _AT_WORK or record.number in recent]
        return self._orders(http, shown)

    def _history(self, http: web.Request) -> dict[str, Any]:
        asked, status = self._carrying(http.query), http.query.get("orderStatus")
        since, until = self._window(http)
        shown = [
            record
            for record in (self.records.newest_first() if asked is None else asked)
            if record.order.status not in LIVE
            and not self._forgets(record)
            and status in (None, words.state_of(record.order))
            and since <= record.created_at_us // 1000 <= until
        ]
        return self._orders(http, shown)

    def _forgets(self, record: OrderRecord) -> bool:
        """Tell whether an order that ended without a trade is shown no more."""
        return not record.executed and self.clock_us() - record.changed_at_us > FORGOTTEN_MS * 1000

    def _orders(self, http: web.Request, records: Iterable[OrderRecord]) -> dict[str, Any]:
        _spot(http.query)
        native = http.query.get("symbol")
        found = [record for record in records if native in (None, words.market_id(record.order.instrument))]
        page, cursor = _page(http, found, lambda record: record.number, 50)
        return {
            "category": "spot",
            "list": [words.shown_order(record) for record in page],
            "nextPageCursor": cursor,
        }

    def _executions(self, http: web.Request) -> dict[str, Any]:
        _spot(http.query)
        since, until = self._window(http)
        native, wanted = http.query.get("symbol"), self._carrying(http.query)
        numbers = None if wanted is None else {record.number for record in wanted}
        found = [
            trade
            for trade in reversed(self.records.trades_between(since, until))
            if native in (None, words.market_id(trade.report.instrument))
            and (numbers is None or trade.number in numbers)
        ]
        page, cursor = _page(http, found, lambda trade: trade.report.position, 100)
        return {
            "category": "spot",
            "list": [words.shown_trade(trade, self.records.of(trade.number)) for trade in page],
            "nextPageCursor": cursor,
        }

    def _window(self, http: web.Request) -> tuple[int, int]:
        """Return from when to when a question asks, in ms: never more than a week, the last one if it does not say."""
        start, end = answers.number(http, "startTime", -1), answers.number(http, "endTime", -1)
        if start < 0 and end < 0:
            return self.clock_us() // 1000 - WEEK_MS, 1 << 60
        if start < 0 or end < 0:
            return (start, start + WEEK_MS) if end < 0 else (end - WEEK_MS, end)
        if end - start > WEEK_MS:
            raise Refused(_BAD_REQUEST, "The time range between startTime and endTime cannot exceed 7 days.")
        return start, end


def _page(http: web.Request, found: list[Any], place: Callable[[Any], int], most: int) -> tuple[list[Any], str]:
    """Return the next page, and the cursor of the one after it. Whatever is not empty has a cursor, the last page too."""
    limit = min(answers.number(http, "limit", 20 if most == 50 else 50), most)
    cursor = http.query.get("cursor", "")
    if cursor:
        first = cursor.partition(":")[0]
        if not first.isdecimal():
            raise Refused(_BAD_REQUEST, "cursor is invalid")
        found = [one for one in found if place(one) < int(first)]
    page = found[:limit]
    return page, quote(f"{place(page[-1])}:1,{place(page[-1])}:1", safe="") if page else ""


def _ids(record: OrderRecord) -> dict[str, Any]:
    return {"orderId": record.native, "orderLinkId": record.client_id or ""}


def _spot(named: Mapping[str, Any]) -> None:
    if text_of(named, "category") != "spot":
        raise Refused(_BAD_REQUEST, "Illegal category")


def _whole(http: web.Request, header: str) -> int:
    number = whole(http.headers.get(header, ""))
    if number is None:
        raise Refused(_BAD_REQUEST, f"header {header} is not a whole number")
    return number
