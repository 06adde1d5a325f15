"""An imitation of Binance spot, as far as ccxt uses it.

A client order id is unique among open orders only; a request must be matched within its recvWindow; a cancel's reply has the
cancel's own id where one expects the order's; cancelReplace ends one order and begins another, whose quantity counts from zero.
"""

import contextlib
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final

from aiohttp import WSMsgType, web

from onefill.core.capabilities import DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import (
    LIVE,
    Canceled,
    Replaced,
    ReplaceRequest,
    SubmitRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import EXACT, OrderType, Side
from onefill.sim.dialect import Dialect
from onefill.sim.imitations.base import ACCOUNT, cancel_of
from onefill.sim.imitations.binance_rest import (
    TRADES_FROM,
    Asked,
    Binance,
    Refusal,
    filters,
    malformed,
    new_id,
    order_id,
    rate_limits,
)
from onefill.sim.imitations.binance_streams import Event, news_of, spot_words
from onefill.sim.imitations.records import Traded, currencies_of, number_of
from onefill.sim.order_book import ExchangeOrder

_ZERO: Final = Decimal(0)
_SUBSCRIBE: Final = "userDataStream.subscribe.signature"
_HELD: Final = Decimal(1_000_000)
"""What the account has of each coin to begin with. Nobody checks that it suffices."""


class BinanceSpot(Binance):
    """Binance spot: REST under ``/api/v3``, the user data stream under ``/ws-api/v3``."""

    profile: ClassVar[str] = "binance_spot"
    ccxt_id: ClassVar[str] = "binance"
    prefix: ClassVar[str] = "/api/v3"
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.OPEN,
        duplicate_reply=DuplicateReply.ERROR,
        lookup=Lookup.DIRECT,
        replace=ReplaceStyle.NEW_ID,
        replaced_shows_as=VenueStatus.CANCELED,
        conclusive_after_s=15.0,
        lists_open_orders=True,
        day_orders_expire=False,
        fee_rate=Decimal("0.001"),
        fee_currency="USDT",
        id_format=IdFormat(alphabet=Alphabet.TEXT, max_length=36),
    )

    def __init__(self, **other: Any) -> None:
        super().__init__(**other)
        self._carried: dict[int, Decimal] = {}
        """By the number of an order that replaced another: what was executed before it began, which is no part of it."""

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return keys, and the options that keep a client to spot: other markets and coins' networks are not imitated."""
        options = {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False}
        return {**super().config(), "options": options}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        at = self.prefix
        return (
            web.get(f"{at}/ping", self._ping),
            web.get(f"{at}/time", self._time),
            web.get(f"{at}/exchangeInfo", self._exchange_info),
            web.post(f"{at}/order", self.signed(self._new, new_order=True)),
            web.get(f"{at}/order", self.signed(self.query)),
            web.delete(f"{at}/order", self.signed(self._cancel)),
            web.post(f"{at}/order/cancelReplace", self.signed(self._cancel_replace)),
            web.get(f"{at}/openOrders", self.signed(self.open_orders)),
            web.get(f"{at}/allOrders", self.signed(self.orders_since)),
            web.get(f"{at}/myTrades", self.signed(self.trades_since)),
            web.get(f"{at}/account", self.signed(self._account)),
            web.get("/ws-api/v3", self._ws_api),
        )

    # ------------------------------------------------------------- market data

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, _: web.Request) -> web.Response:
        return web.json_response({"serverTime": self.clock_us() // 1000})

    async def _exchange_info(self, _: web.Request) -> web.Response:
        symbols = []
        for symbol, instrument in self.exchange.instruments.items():
            base, quote = currencies_of(symbol)
            symbols.append(
                {
                    "symbol": self.native(symbol),
                    "status": "TRADING",
                    "baseAsset": base,
                    "baseAssetPrecision": 8,
                    "quoteAsset": quote,
                    "quotePrecision": 8,
                    "quoteAssetPrecision": 8,
                    "orderTypes": ["LIMIT", "MARKET"],
                    "cancelReplaceAllowed": True,
                    "isSpotTradingAllowed": True,
                    "isMarginTradingAllowed": False,
                    "filters": filters(instrument, Decimal(9_000_000)),
                    "permissions": ["SPOT"],
                }
            )
        about = {"timezone": "UTC", "serverTime": self.clock_us() // 1000, "exchangeFilters": []}
        return web.json_response({**about, "rateLimits": rate_limits(), "symbols": symbols})

    # ------------------------------------------------------------------ stream

    async def _ws_api(self, http: web.Request) -> web.WebSocketResponse:
        """Serve the WebSocket API, of which there is the user data stream alone."""
        words = spot_words(self.native, lambda number: self._carried.get(number, _ZERO))
        async with contextlib.AsyncExitStack() as told:
            socket = await told.enter_async_context(self.streams.opened(http))
            subscriptions = itertools.count()
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                asked = message.json()
                try:
                    if asked.get("method") != _SUBSCRIBE:
                        raise Refusal(-1000, "Unknown method.")
                    params = {name: str(value) for name, value in (asked.get("params") or {}).items()}
                    self.admit(params, params.get("apiKey"))
                except Refusal as refusal:
                    await socket.send_json({"id": asked.get("id"), "status": refusal.status, "error": refusal.body})
                    continue
                number, news = next(subscriptions), news_of(self, words)
                result = {"subscriptionId": number}
                await socket.send_json({"id": asked.get("id"), "status": 200, "result": result, "rateLimits": []})
                events = functools.partial(_enveloped, news, number)
                await told.enter_async_context(self.streams.telling(socket, events))
        return socket

    # ------------------------------------------------------------------ orders

    def duplicate(self) -> Refusal:
        """Return the refusal of a client order id that an open order has."""
        return Refusal(-2010, "Duplicate order sent.")

    def _new(self, asked: Asked) -> object:
        return self._made(self.submit(self.wanted(asked)), asked)

    def _made(self, order: ExchangeOrder, asked: Asked) -> dict[str, object]:
        """Return an order as the reply to its making shows it, as fully as the request asks."""
        wanted = asked.get("newOrderRespType") or ("FULL" if order.order_type is OrderType.LIMIT else "RESULT")
        shown: dict[str, object] = {
            "symbol": self.native(order.instrument),
            "orderId": order_id(order),
            "orderListId": -1,
            "clientOrderId": order.client_order_id,
            "transactTime": order.created_at_us // 1000,
        }
        if wanted == "ACK":
            return shown
        shown |= self._terms(order) | {"workingTime": order.created_at_us // 1000}
        if wanted == "FULL":
            shown["fills"] = [_fill(one) for one in self.records.of(order.number).trades]
        return shown

    def _terms(self, order: ExchangeOrder) -> dict[str, object]:
        record = self.records.of(order.number)
        return {
            "price": _eight(order.price or _ZERO),
            "origQty": _eight(order.quantity - self._carried.get(order.number, _ZERO)),
            "executedQty": _eight(record.executed),
            "origQuoteOrderQty": _eight(_ZERO),
            "cummulativeQuoteQty": _eight(record.value),
            "status": self.status(order),
            "timeInForce": order.time_in_force.upper(),
            "type": order.order_type.upper(),
            "side": order.side.upper(),
            "selfTradePreventionMode": "NONE",
        }

    def shown(self, order: ExchangeOrder) -> dict[str, object]:
        """Return an order as a question about it is answered."""
        changed_us = self.records.of(order.number).changed_at_us
        return {
            "symbol": self.native(order.instrument),
            "orderId": order_id(order),
            "orderListId": -1,
            "clientOrderId": order.client_order_id,
            **self._terms(order),
            "stopPrice": _eight(_ZERO),
            "icebergQty": _eight(_ZERO),
            "time": order.created_at_us // 1000,
            "updateTime": changed_us // 1000,
            "isWorking": True,
            "workingTime": order.created_at_us // 1000,
        }

    def _cancel(self, asked: Asked) -> object:
        order = self._cancelable(asked, self.find(asked))
        match self.exchange.cancel(cancel_of(order), self.clock_us()):
            case Canceled():
                return self._canceled(order.number, asked.get("newClientOrderId"))
            case Throttled():
                raise self.throttled()
        raise _unknown_order()

    def _cancelable(self, asked: Asked, order: ExchangeOrder | None) -> ExchangeOrder:
        """Return an order that is live and that the request's restriction lets through. Raises :class:`Refusal`."""
        if order is None or order.status not in LIVE:
            raise _unknown_order()
        allowed = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}
        restriction = asked.get("cancelRestrictions")
        if restriction is not None and restriction not in allowed:
            raise malformed("cancelRestrictions")
        if restriction is not None and self.status(order) != allowed[restriction]:
            raise Refusal(-2011, "Order was not canceled due to cancel restrictions.")
        return order

    def _canceled(self, number: int, given_id: str | None) -> dict[str, object]:
        """Return the reply to a cancel: ``clientOrderId`` is the cancel's own id, the order's stands beside it."""
        order = self.numbered(number)
        return {
            "symbol": self.native(order.instrument),
            "origClientOrderId": order.client_order_id,
            "orderId": order_id(order),
            "orderListId": -1,
            "clientOrderId": given_id or new_id(),
            "transactTime": self.records.of(number).changed_at_us // 1000,
            **self._terms(order),
        }

    # ----------------------------------------------------------- cancelReplace

    def _cancel_replace(self, asked: Asked) -> object:
        if asked.text("cancelReplaceMode") != "STOP_ON_FAILURE":
            raise Refusal(-1130, "Data sent for parameter 'cancelReplaceMode' is not valid.")
        wanted = self.wanted(asked)
        try:
            original = self._cancelable(asked, self.find(asked, "cancelOrderId", "cancelOrigClientOrderId"))
        except Refusal as why:
            raise _partial(-2022, "Order cancel-replace failed.", 400, why.body, None) from None
        made = self._successor(wanted, original)
        gone = self._canceled(original.number, asked.get("cancelNewClientOrderId"))
        if isinstance(made, Refusal):
            raise _partial(-2021, "Order cancel-replace partially failed.", 409, gone, made.body)
        new = self._made(made, asked)
        results = {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS"}
        return {**results, "cancelResponse": gone, "newOrderResponse": new}

    def _successor(self, wanted: SubmitRequest, original: ExchangeOrder) -> ExchangeOrder | Refusal:
        """End an order and make the next; a refusal of the next does not bring the first one back.

        The exchange is told of a replace where it is one by its rules, so that a judge sees one order that goes on.
        """
        request = ReplaceRequest(
            client_order_id=wanted.client_order_id,
            orig_client_order_id=original.client_order_id,
            account=ACCOUNT,
            instrument=original.instrument,
            venue_order_id=original.venue_order_id,
            side=wanted.side,
            quantity=wanted.quantity + original.cum_quantity,
            order_type=wanted.order_type,
            price=wanted.price,
            time_in_force=wanted.time_in_force,
            expires_at_us=wanted.expires_at_us,
        )
        match self.exchange.replace(request, self.clock_us() + self.queue_us):
            case Replaced(order):
                number = number_of(order.venue_order_id)
                self._carried[number] = original.cum_quantity
                return self.numbered(number)
            case TooLate():
                raise self.too_late()
            case Throttled():
                raise self.throttled()
        self.exchange.cancel(cancel_of(original), self.clock_us())
        try:
            return self.submit(wanted)
        except Refusal as why:
            return why

    # --------------------------------------------------------- trades, balances

    def trade(self, traded: Traded) -> dict[str, object]:
        """Return a trade as the account's list of trades has it."""
        report = traded.report
        return {
            "symbol": self.native(report.instrument),
            "id": TRADES_FROM + traded.match,
            "orderId": order_id(self.numbered(traded.number)),
            "orderListId": -1,
            "price": _eight(traded.price),
            "qty": _eight(traded.quantity),
            "quoteQty": _eight(traded.value),
            "commission": _eight(report.fee or _ZERO),
            "commissionAsset": report.fee_currency or "USDT",
            "time": traded.at_ms,
            "isBuyer": report.side is Side.BUY,
            "isMaker": traded.maker,
            "isBestMatch": True,
        }

    def _account(self, _: Asked) -> object:
        fees: defaultdict[str, Decimal] = defaultdict(Decimal)
        for one in self.records.trades():
            quote = currencies_of(one.report.instrument)[1]
            fees[quote] = EXACT.add(fees[quote], one.report.fee or _ZERO)
        balances = [
            {"asset": coin, "free": _eight(total - fees[coin] - bound), "locked": _eight(bound)}
            for coin, (total, bound) in self.records.balances(_HELD).items()
        ]
        about = {
            "canTrade": True,
            "accountType": "SPOT",
            "updateTime": self.clock_us() // 1000,
            "permissions": ["SPOT"],
        }
        return {**about, "balances": balances}


def _enveloped(news: Callable[[], Iterable[Event]], subscription: int) -> Iterable[Event]:
    return ({"subscriptionId": subscription, "event": event} for event in news())


def _eight(number: Decimal) -> str:
    return format(number, ".8f")


def _unknown_order() -> Refusal:
    return Refusal(-2011, "Unknown order sent.")


def _partial(code: int, text: str, status: int, cancel: object, new: object) -> Refusal:
    """Return the refusal of a cancelReplace, with what became of both halves."""
    failed = code == -2022
    data = {
        "cancelResult": "FAILURE" if failed else "SUCCESS",
        "newOrderResult": "NOT_ATTEMPTED" if failed else "FAILURE",
        "cancelResponse": cancel,
        "newOrderResponse": new,
    }
    return Refusal(code, text, status, data=data)


def _fill(traded: Traded) -> dict[str, object]:
    return {
        "price": _eight(traded.price),
        "qty": _eight(traded.quantity),
        "commission": _eight(traded.report.fee or _ZERO),
        "commissionAsset": traded.report.fee_currency or "USDT",
        "tradeId": TRADES_FROM + traded.match,
    }
