"""An imitation of Gemini's spot REST API, as far as the client library uses it for orders.

Coded to the venue's documentation: client order ids are recommended to be unique and never checked, so that every request that
comes makes an order; nonces must rise; orders are cancelled by number; there are limit orders only. A cancel of what is over
gets the order as it is.
"""

import base64
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec
from aiohttp import web

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import LIVE, Accepted, SubmitRequest, Throttled, VenueStatus
from onefill.core.values import EXACT, OrderType, Side, TimeInForce, exact_decimal, plain
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import Dialect
from onefill.sim.imitations.base import ACCOUNT, KEYS, Imitation, cancel_of, decimals_of
from onefill.sim.imitations.reading import Refused, whole
from onefill.sim.imitations.records import OrderRecord, Records, Traded, currencies_of, number_of
from onefill.sim.order_book import ExchangeOrder

KEY: Final = f"account-{KEYS['apiKey']}"
"""The library takes keys of an account only, and tells them by this word."""
MOST_AT_ONCE: Final = 500
"""So many trades come at once; 50 if nothing is asked for."""
ORDERS_FROM: Final = 106_028_543_000
TRADES_FROM: Final = 73_621_746_000
_ZERO: Final = Decimal(0)
_MS_FROM: Final = 100_000_000_000
"""A time stamp above this is in milliseconds, below it in seconds."""
_OPTIONS: Final = {"immediate-or-cancel": TimeInForce.IOC, "fill-or-kill": TimeInForce.FOK}
_REFUSALS: Final = {
    "off_grid_price": "InvalidPrice",
    "price_too_large": "InvalidPrice",
    "invalid_price": "InvalidPrice",
    "invalid_client_order_id": "ClientOrderIdTooLong",
}
Asked = dict[str, Any]


class GeminiImitation(Imitation):
    """Gemini spot."""

    profile = "gemini"
    ccxt_id = "gemini"
    dialect = Dialect(
        unique_scope=UniqueScope.NONE,
        duplicate_reply=DuplicateReply.ACCEPTS,
        replace=ReplaceStyle.NONE,
        cancel_by_client_order_id=False,
        request_expiry=False,
        conclusive_after_s=None,
        execution_id_scope=ExecutionIdScope.ORDER,
        fee_rate=Decimal("0.004"),
        fee_currency="USDT",
        lists_open_orders=True,
        id_format=IdFormat(alphabet=Alphabet.TEXT, max_length=36),
    )
    looks_at_nonces: ClassVar[bool] = True
    lists_by_client_id: ClassVar[bool] = False
    """Whether a status that is asked for by client id is a list of all orders under it. By default it is the latest one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records = Records(self.exchange, ACCOUNT, native)
        self._symbols = {market_id(one.symbol): one for one in self.exchange.instruments.values()}
        self._nonce = 0

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return keys of the form that the library takes."""
        return {**KEYS, "apiKey": KEY}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the methods of the API that are there, and the page that the library reads the markets' steps from."""
        yield web.get("/", self._page)
        yield web.get("/v1/symbols", self._listed)
        yield web.get("/v1/symbols/details/{symbol}", self._details)
        yield web.post("/v1/order/new", self._new_order)
        private: dict[str, Callable[[Asked], object]] = {
            "order/status": self._status,
            "order/cancel": self._cancel,
            "orders": self._open_orders,
            "mytrades": self._trades,
            "balances": self._balances,
        }
        for path, carry_out in private.items():
            yield web.post(f"/v1/{path}", self._private(carry_out))

    # ----------------------------------------------------------- market data

    async def _page(self, _: web.Request) -> web.Response:
        pairs = [
            [
                market_id(one.symbol).upper(),
                decimals_of(one.price_tick),
                decimals_of(one.quantity_step),
                plain(one.min_quantity),
                10,
                True,
            ]
            for one in self._symbols.values()
        ]
        data = msgspec.json.encode({"tradingPairs": pairs, "currencies": []}).decode()
        page = f'<html><script type="application/json" id="currencyData">{data}</script></html>'
        return web.Response(text=page, content_type="text/html")

    async def _listed(self, _: web.Request) -> web.Response:
        return answers.ok(list(self._symbols))

    async def _details(self, http: web.Request) -> web.Response:
        found = self._symbols.get(http.match_info["symbol"].lower())
        if found is None:
            return _error(Refused("InvalidSymbol", "An invalid symbol was specified", 400))
        base, quote = currencies_of(found.symbol)
        return answers.ok(
            {
                "symbol": market_id(found.symbol).upper(),
                "base_currency": base,
                "quote_currency": quote,
                "tick_size": float(found.quantity_step),
                "quote_increment": float(found.price_tick),
                "min_order_size": plain(found.min_quantity),
                "status": "open",
            }
        )

    # -------------------------------------------------------------- requests

    async def _new_order(self, http: web.Request) -> web.StreamResponse:
        return await self.new_order(lambda: self._reply(http, self._new))

    def _private(self, carry_out: Callable[[Asked], object]) -> Callable[[web.Request], Any]:
        async def handler(http: web.Request) -> web.Response:
            return self._reply(http, carry_out)

        return handler

    def _reply(self, http: web.Request, carry_out: Callable[[Asked], object]) -> web.Response:
        """Return what ``carry_out`` makes of a request that is signed in order, or the error."""
        try:
            asked = self._asked(http)
            self.exchange.advance(self.clock_us())
            result = carry_out(asked)
        except Refused as error:
            return _error(error)
        return answers.ok(result)

    def _asked(self, http: web.Request) -> Asked:
        """Return what the payload asks for, which is sent as a header. Raises Refused for a key or nonce that is wrong."""
        if http.headers.get("X-GEMINI-APIKEY") != KEY:
            raise Refused("InvalidApiKey", "Invalid API key", 400)
        try:
            asked = msgspec.json.decode(base64.b64decode(http.headers.get("X-GEMINI-PAYLOAD", "")), type=Asked)
        except (ValueError, msgspec.DecodeError):
            raise Refused("InvalidJson", "The JSON provided is invalid", 400) from None
        if asked.get("request") != http.path:
            raise Refused("EndpointMismatch", "The request was submitted to another endpoint", 400)
        nonce = whole(str(asked.get("nonce"))) or 0
        if self.looks_at_nonces and nonce <= self._nonce:
            raise Refused(
                "InvalidNonce", f"Nonce '{nonce}' has not increased since your last call to the Gemini API.", 400
            )
        self._nonce = nonce
        return {name: value for name, value in asked.items() if name not in ("request", "nonce") and value is not None}

    # ---------------------------------------------------------------- orders

    def _new(self, asked: Asked) -> object:
        now, client_id = self.clock_us(), asked.get("client_order_id")
        for unknown in asked.keys() - _NEW_ORDER:
            raise Refused("UnsupportedOption", f"{unknown} is not known here", 400)
        instrument = self._symbols.get(str(asked.get("symbol")).lower())
        if instrument is None:
            raise Refused("InvalidSymbol", "An invalid symbol was specified", 400)
        if asked.get("type") != "exchange limit":
            raise Refused("InvalidOrderType", "An unknown order type was provided", 400)
        options = asked.get("options") or []
        if len(options) > 1:
            raise Refused("ConflictingOptions", "New orders using a combination of options are not supported", 400)
        if options and options[0] not in _OPTIONS:
            raise Refused("UnsupportedOption", "This order execution option is not supported", 400)
        reply = self.exchange.submit(
            SubmitRequest(
                client_order_id=client_id or self.records.invented(),
                account=ACCOUNT,
                instrument=instrument.symbol,
                side=_side(asked),
                quantity=_number(asked, "amount", "InvalidQuantity"),
                order_type=OrderType.LIMIT,
                price=_number(asked, "price", "InvalidPrice"),
                time_in_force=_OPTIONS[options[0]] if options else TimeInForce.GTC,
                expires_at_us=None,
            ),
            now,
        )
        if isinstance(reply, Accepted):
            return self._shown(self.records.of(number_of(reply.order.venue_order_id)), options)
        if isinstance(reply, Throttled):
            raise Refused("RateLimit", "Requests were made too frequently", 429)
        reason = _REFUSALS.get(getattr(reply, "code", None) or "", "InvalidQuantity")
        raise Refused(reason, f"Invalid order for symbol {market_id(instrument.symbol).upper()}: {reply.reason}", 400)

    def _cancel(self, asked: Asked) -> object:
        record = self._numbered(asked)
        order = record.order
        self.exchange.cancel(cancel_of(order), self.clock_us())
        return self._shown(record)

    def _numbered(self, asked: Asked) -> OrderRecord:
        if "order_id" not in asked:
            raise Refused("MissingOrderField", "Required field 'order_id' was not specified", 400)
        record = self.records.by_native(str(asked["order_id"]))
        if record is None:
            raise Refused("OrderNotFound", f"Order {asked['order_id']} not found", 404)
        return record

    # ------------------------------------------------------------- questions

    def _status(self, asked: Asked) -> object:
        if "client_order_id" not in asked:
            return self._shown(self._numbered(asked))
        if "order_id" in asked:
            raise Refused("ConflictingOptions", "order_id and client_order_id may not be given together", 400)
        found = self.records.by_client(str(asked["client_order_id"]))
        if self.lists_by_client_id:
            return [self._shown(record) for record in found]
        if not found:
            raise Refused("OrderNotFound", f"Order {asked['client_order_id']} not found", 404)
        return self._shown(found[-1])

    def _shown(self, record: OrderRecord, options: list[str] | None = None) -> dict[str, Any]:
        order = record.order
        done = order.cum_quantity
        average = round(record.value / done, 8) if done else _ZERO
        over = {} if order.status in LIVE or order.status is VenueStatus.FILLED else {"reason": "Requested"}
        return {
            "order_id": record.native,
            "id": record.native,
            "symbol": market_id(order.instrument),
            "exchange": "gemini",
            "avg_execution_price": plain(average),
            "side": order.side.value,
            "type": "exchange limit",
            "timestamp": str(record.created_at_us // 1_000_000),
            "timestampms": record.created_at_us // 1000,
            "is_live": order.status in LIVE,
            "is_cancelled": order.status in (VenueStatus.CANCELED, VenueStatus.EXPIRED),
            "is_hidden": False,
            "was_forced": False,
            "executed_amount": plain(done),
            "options": options or [],
            "price": plain(order.price or _ZERO),
            "original_amount": plain(order.quantity),
            "remaining_amount": plain(EXACT.subtract(order.quantity, done)),
            **({} if record.client_id is None else {"client_order_id": record.client_id}),
            **over,
        }

    def _open_orders(self, _: Asked) -> object:
        return [self._shown(record) for record in reversed(self.records.live())]

    def _trades(self, asked: Asked) -> object:
        count = int(asked.get("limit_trades", 50))
        if not 0 < count <= MOST_AT_ONCE:
            raise Refused("InvalidLimit", f"limit_trades must be between 1 and {MOST_AT_ONCE}", 400)
        symbol = str(asked.get("symbol", "")).lower()
        found = [one for one in self.records.trades() if market_id(one.report.instrument) == symbol]
        if "timestamp" not in asked:
            return [self._trade(one) for one in found[::-1][:count]]
        stamp = int(asked["timestamp"])
        from_us = stamp * (1000 if stamp > _MS_FROM else 1_000_000)
        page = [one for one in found if one.report.transacted_at_us >= from_us][:count]
        return [self._trade(one) for one in page[::-1]]

    def _trade(self, traded: Traded) -> dict[str, Any]:
        trade, record = traded.report, self.records.of(traded.number)
        return {
            "price": plain(traded.price),
            "amount": plain(traded.quantity),
            "timestamp": trade.transacted_at_us // 1_000_000,
            "timestampms": traded.at_ms,
            "type": "Buy" if trade.side is Side.BUY else "Sell",
            "aggressor": False,
            "fee_currency": trade.fee_currency or "USDT",
            "fee_amount": plain(trade.fee or _ZERO),
            "tid": TRADES_FROM + trade.position,
            "order_id": record.native,
            "exchange": "gemini",
            "is_auction_fill": False,
            "is_clearing_fill": False,
            "symbol": market_id(trade.instrument).upper(),
            **({} if record.client_id is None else {"client_order_id": record.client_id}),
        }

    def _balances(self, _: Asked) -> object:
        held = sorted({coin for one in self._symbols.values() for coin in currencies_of(one.symbol)})
        amounts = {"amount": "1000000", "available": "1000000", "availableForWithdrawal": "1000000"}
        return [{"type": "exchange", "currency": coin, **amounts} for coin in held]


_NEW_ORDER: Final = frozenset({"client_order_id", "symbol", "amount", "price", "side", "type", "options"})
"""What the imitation knows of a new order's parameters; it refuses the rest, rather than pass over it."""


def _error(error: Refused) -> web.Response:
    body = {"result": "error", "reason": error.code, "message": error.reason}
    return answers.answer(error.status, body)


def _number(asked: Asked, field: str, refusal: str) -> Decimal:
    try:
        return exact_decimal(asked.get(field), field)
    except InvalidField:
        raise Refused(refusal, f"Invalid {field}", 400) from None


def _side(asked: Asked) -> Side:
    try:
        return Side(str(asked.get("side")))
    except ValueError:
        raise Refused("InvalidSide", "Invalid side", 400) from None


def native(order: ExchangeOrder) -> str:
    """Return the venue's number of an order."""
    return str(ORDERS_FROM + order.number)


def market_id(symbol: str) -> str:
    """Return what the venue calls an instrument."""
    return "".join(currencies_of(symbol)).lower()
