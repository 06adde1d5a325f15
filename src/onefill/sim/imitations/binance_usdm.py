"""An imitation of Binance USD-M futures, as far as ccxt uses it.

As spot, but: a duplicate is -4116, a modify is a PUT that keeps both ids, a cancel's reply has the order's own id, and there
are positions.
"""

import secrets
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final

from aiohttp import web

from onefill.core.capabilities import DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import (
    LIVE,
    Canceled,
    Replaced,
    ReplaceRejected,
    Throttled,
    TooLate,
)
from onefill.core.position import Position, fold
from onefill.core.values import Instrument, OrderType, Side, plain
from onefill.sim.dialect import Dialect
from onefill.sim.imitations.base import ACCOUNT, KEYS, amend_of, cancel_of
from onefill.sim.imitations.binance_rest import (
    HOUR_MS,
    TRADES_FROM,
    Asked,
    Binance,
    Refusal,
    filters,
    malformed,
    order_id,
    rate_limits,
)
from onefill.sim.imitations.binance_streams import news_of, usdm_words
from onefill.sim.imitations.records import Traded, currencies_of
from onefill.sim.order_book import ExchangeOrder

BTC_PERPETUAL: Final = Instrument(
    symbol="BTC/USDT:USDT",
    price_tick=Decimal("0.1"),
    quantity_step=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
)
_ZERO: Final = Decimal(0)
_WALLET: Final = Decimal(1_000_000)
_FOREVER_MS: Final = 4_133_404_800_000
"""When a perpetual contract is delivered, as the venue says it."""


class BinanceUsdm(Binance):
    """Binance USD-M futures: REST under ``/fapi``, the user data stream under ``/private/ws``.

    One-way mode: an instrument has one position.
    """

    profile: ClassVar[str] = "binance_usdm"
    ccxt_id: ClassVar[str] = "binanceusdm"
    prefix: ClassVar[str] = "/fapi/v1"
    trade_window_ms: ClassVar[int] = 7 * 24 * HOUR_MS
    instruments: ClassVar[tuple[Instrument, ...]] = (BTC_PERPETUAL,)
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.OPEN,
        duplicate_reply=DuplicateReply.ERROR,
        lookup=Lookup.DIRECT,
        replace=ReplaceStyle.KEEP,
        conclusive_after_s=15.0,
        lists_open_orders=True,
        tells_positions=True,
        day_orders_expire=False,
        fee_rate=Decimal("0.0004"),
        fee_currency="USDT",
        id_format=IdFormat(alphabet=Alphabet.TEXT, max_length=36),
    )

    def __init__(self, **other: Any) -> None:
        super().__init__(**other)
        self._key = secrets.token_urlsafe(48)

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return keys, and the options that keep a client from asking for coins' networks."""
        return {**super().config(), "options": {"fetchCurrencies": False}}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        at = self.prefix
        return (
            web.get(f"{at}/ping", self._ping),
            web.get(f"{at}/time", self._time),
            web.get(f"{at}/exchangeInfo", self._exchange_info),
            web.post(f"{at}/order", self.signed(self._new, new_order=True)),
            web.put(f"{at}/order", self.signed(self._modify)),
            web.get(f"{at}/order", self.signed(self.query)),
            web.delete(f"{at}/order", self.signed(self._cancel)),
            web.get(f"{at}/openOrders", self.signed(self.open_orders)),
            web.get(f"{at}/allOrders", self.signed(self.orders_since)),
            web.get(f"{at}/userTrades", self.signed(self.trades_since)),
            web.get(f"{at}/leverageBracket", self.signed(self._brackets)),
            web.get("/fapi/v3/positionRisk", self.signed(self._positions)),
            web.get("/fapi/v3/account", self.signed(self._account)),
            web.post(f"{at}/listenKey", self._listen_key),
            web.put(f"{at}/listenKey", self._listen_key),
            web.get("/private/ws", self._private),
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
                    "pair": self.native(symbol),
                    "contractType": "PERPETUAL",
                    "deliveryDate": _FOREVER_MS,
                    "onboardDate": 1_569_398_400_000,
                    "status": "TRADING",
                    "baseAsset": base,
                    "quoteAsset": quote,
                    "marginAsset": quote,
                    "pricePrecision": -int(instrument.price_tick.as_tuple().exponent),
                    "quantityPrecision": -int(instrument.quantity_step.as_tuple().exponent),
                    "baseAssetPrecision": 8,
                    "quotePrecision": 8,
                    "filters": filters(instrument, Decimal(1000)),
                    "orderTypes": ["LIMIT", "MARKET"],
                    "timeInForce": ["GTC", "IOC", "FOK"],
                }
            )
        about = {"timezone": "UTC", "serverTime": self.clock_us() // 1000, "exchangeFilters": []}
        return web.json_response({**about, "rateLimits": rate_limits(), "symbols": symbols})

    def _brackets(self, _: Asked) -> object:
        bracket = {"bracket": 1, "notionalFloor": 0, "notionalCap": 50_000, "maintMarginRatio": 0.004, "cum": 0}
        return [{"symbol": self.native(name), "brackets": [bracket]} for name in self.exchange.instruments]

    # ------------------------------------------------------------------ stream

    async def _listen_key(self, http: web.Request) -> web.Response:
        """Give the account's listen key, the same as long as it lives; no signature is asked for."""
        if http.headers.get("X-MBX-APIKEY") != KEYS["apiKey"]:
            return Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401).reply()
        return web.json_response({"listenKey": self._key})

    async def _private(self, http: web.Request) -> web.StreamResponse:
        """Serve the user data stream to whoever has the listen key."""
        if http.query.get("listenKey") != self._key:
            return Refusal(-1125, "This listenKey does not exist.").reply()
        news = news_of(self, usdm_words(self.native))
        async with self.streams.opened(http) as socket, self.streams.telling(socket, news):
            async for _ in socket:
                pass  # nothing is asked for over it
        return socket

    # ------------------------------------------------------------------ orders

    def duplicate(self) -> Refusal:
        """Return the refusal of a client order id that an open order has."""
        return Refusal(-4116, "ClientOrderId is duplicated.")

    def too_late(self) -> Refusal:
        """Return the refusal by the matching engine of a request whose recvWindow ended before it was matched."""
        return Refusal(-5028, "Timestamp for this request is outside of the ME recvWindow.")

    def _new(self, asked: Asked) -> object:
        return self._terms(self.submit(self.wanted(asked)))

    def _terms(self, order: ExchangeOrder) -> dict[str, object]:
        record = self.records.of(order.number)
        average = record.value / record.executed if record.executed else _ZERO
        return {
            "orderId": order_id(order),
            "symbol": self.native(order.instrument),
            "status": self.status(order),
            "clientOrderId": order.client_order_id,
            "price": plain(order.price or _ZERO),
            "avgPrice": format(average, ".5f"),
            "origQty": plain(order.quantity),
            "executedQty": plain(record.executed),
            "cumQty": plain(record.executed),
            "cumQuote": plain(record.value),
            "timeInForce": order.time_in_force.upper(),
            "type": order.order_type.upper(),
            "reduceOnly": False,
            "closePosition": False,
            "side": order.side.upper(),
            "positionSide": "BOTH",
            "stopPrice": "0",
            "workingType": "CONTRACT_PRICE",
            "priceProtect": False,
            "origType": order.order_type.upper(),
            "priceMatch": "NONE",
            "selfTradePreventionMode": "NONE",
            "goodTillDate": 0,
            "updateTime": record.changed_at_us // 1000,
        }

    def shown(self, order: ExchangeOrder) -> dict[str, object]:
        """Return an order as a question about it is answered."""
        return {**self._terms(order), "time": order.created_at_us // 1000}

    def _cancel(self, asked: Asked) -> object:
        order = self.find(asked)
        if order is None or order.status not in LIVE:
            raise Refusal(-2011, "Unknown order sent.")
        return self._canceled(order)

    def _canceled(self, order: ExchangeOrder) -> object:
        match self.exchange.cancel(cancel_of(order), self.clock_us()):
            case Canceled():
                return self._terms(self.numbered(order.number))
            case Throttled():
                raise self.throttled()
        raise Refusal(-2011, "Unknown order sent.")

    def _modify(self, asked: Asked) -> object:
        """Give an order other quantity and price. What it has executed counts; a quantity no larger than that cancels it."""
        order = self.find(asked)
        quantity, price = asked.number("quantity"), asked.number("price")
        if quantity is None or price is None:
            raise malformed("quantity" if quantity is None else "price")
        if order is None or order.status not in LIVE:
            raise Refusal(-2013, "Order does not exist.")
        if order.order_type is not OrderType.LIMIT:
            raise Refusal(-5025, "Only limit order is supported.")
        if asked.text("side") != order.side.upper():
            raise Refusal(-1117, "Invalid side.")
        if (quantity, price) == (order.quantity, order.price):
            raise Refusal(-5027, "No need to modify the order.")
        if quantity <= order.cum_quantity:
            return self._canceled(order)
        request = amend_of(order, quantity, price, asked.expires_at_us)
        match self.exchange.replace(request, self.clock_us() + self.queue_us):
            case Replaced():
                return self._terms(self.numbered(order.number))
            case TooLate():
                raise self.too_late()
            case Throttled():
                raise self.throttled()
            case ReplaceRejected(reason):
                raise Refusal(-1111, f"Precision is over the maximum defined for this asset: {reason}.")

    # ------------------------------------------------------- trades, positions

    def trade(self, traded: Traded) -> dict[str, object]:
        """Return a trade as the account's list of trades has it."""
        report = traded.report
        return {
            "symbol": self.native(report.instrument),
            "id": TRADES_FROM + traded.match,
            "orderId": order_id(self.numbered(traded.number)),
            "side": report.side.upper(),
            "price": plain(traded.price),
            "qty": plain(traded.quantity),
            "realizedPnl": "0",
            "quoteQty": plain(traded.value),
            "commission": plain(report.fee or _ZERO),
            "commissionAsset": report.fee_currency or "USDT",
            "time": traded.at_ms,
            "positionSide": "BOTH",
            "buyer": report.side is Side.BUY,
            "maker": traded.maker,
        }

    def _positions(self, asked: Asked) -> object:
        wanted = self.instrument(asked).symbol if asked.get("symbol") is not None else None
        held = ((symbol, self._held(symbol)) for symbol in self.exchange.instruments if wanted in (None, symbol))
        return [self._position(symbol, position) for symbol, position in held if position.quantity]

    def _held(self, symbol: str) -> Position:
        position = Position(account=ACCOUNT, strategy="", venue=self.profile, instrument=symbol)
        for one in self.records.trades(symbol):
            position = fold(position, one.report.side, one.quantity, one.price)
        return position

    def _position(self, symbol: str, position: Position) -> dict[str, object]:
        entry = position.average_price or _ZERO
        mark = self.records.trades(symbol)[-1].price
        return {
            "symbol": self.native(symbol),
            "positionSide": "BOTH",
            "positionAmt": plain(position.quantity),
            "entryPrice": plain(entry),
            "breakEvenPrice": plain(entry),
            "markPrice": plain(mark),
            "unRealizedProfit": format((mark - entry) * position.quantity, ".8f"),
            "liquidationPrice": "0",
            "isolatedMargin": "0",
            "notional": plain(mark * position.quantity),
            "marginAsset": "USDT",
            "isolatedWallet": "0",
            "initialMargin": plain(abs(mark * position.quantity)),
            "maintMargin": "0",
            "positionInitialMargin": plain(abs(mark * position.quantity)),
            "openOrderInitialMargin": "0",
            "adl": 1,
            "bidNotional": "0",
            "askNotional": "0",
            "updateTime": self.clock_us() // 1000,
        }

    def _account(self, _: Asked) -> object:
        wallet = _WALLET
        for symbol in self.exchange.instruments:
            wallet += self._held(symbol).realised
        wallet -= sum((one.report.fee or _ZERO for one in self.records.trades()), _ZERO)
        shown = plain(wallet)
        asset = {
            "asset": "USDT",
            "walletBalance": shown,
            "marginBalance": shown,
            "availableBalance": shown,
            "initialMargin": "0",
            "maintMargin": "0",
            "unrealizedProfit": "0",
            "updateTime": self.clock_us() // 1000,
        }
        return {"totalWalletBalance": shown, "assets": [asset], "positions": []}
