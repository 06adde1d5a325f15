"""Hyperliquid, spot, as far as ccxt speaks to it: all is a POST, to ``/exchange`` for actions and ``/info`` for questions.

Errors come with HTTP 200. A repeated ``cloid`` makes a second order: what the venue does there is not verified, and this is the
worst of it. A modification ends one order and makes another of its own size, under the same ``cloid``. Signatures are not
verified.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
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
    SubmitRequest,
    Throttled,
    TooLate,
    VenueOrder,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce, plain
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import Dialect
from onefill.sim.imitations.base import ACCOUNT, Imitation, cancel_of
from onefill.sim.imitations.reading import Refused, Unreadable, body_of, text_of
from onefill.sim.imitations.records import Records, Traded, currencies_of, number_of
from onefill.sim.order_book import ExchangeOrder

WALLET: Final = "0xd31b822b233346334737c953fde6f92d745c5b8d"
"""The one user. The key belongs to it, and to nothing anywhere else."""
PRIVATE_KEY: Final = "0x" + "4f" * 32
HYPE_USDC: Final = Instrument(
    symbol="HYPE/USDC", price_tick=Decimal("0.001"), quantity_step=Decimal("0.01"), min_quantity=Decimal("0.01")
)
MOST_FILLS: Final = 2_000
MOST_HISTORY: Final = 2_000
_DAY_MS: Final = 86_400_000
_SPOT: Final = 10_000
"""What is added to a spot market's index to make its asset number."""
_FIRST_OID: Final = 77_738_308
_FIRST_TID: Final = 118_906_512_037_719
_GRANTED: Final = Decimal(1_000_000)
_MOST_DECIMALS: Final = 8
_SIGNIFICANT: Final = 5
_ZERO: Final = Decimal(0)
_CLOID: Final = re.compile(r"0x[0-9a-f]{32}", re.ASCII)
_TIMES: Final[Mapping[str, TimeInForce]] = {"Gtc": TimeInForce.GTC, "Ioc": TimeInForce.IOC}
_ERRORS: Final[Mapping[str, str]] = {
    "off_grid_price": "Price must be divisible by tick size.",
    "off_grid_quantity": "Order has invalid size.",
    "below_minimum": "Order has zero size.",
}
_FULL: Final[Mapping[str, Any]] = {
    "orderType": "Limit",
    "reduceOnly": False,
    "isTrigger": False,
    "triggerPx": "0.0",
    "triggerCondition": "N/A",
    "isPositionTpsl": False,
    "children": [],
}
"""What orders of a plain kind have in full lists besides."""
_DEAD: Final = "Order was never placed, already canceled, or filled."


class HyperliquidImitation(Imitation):
    """Hyperliquid, spot."""

    profile: ClassVar[str] = "hyperliquid"
    ccxt_id: ClassVar[str] = "hyperliquid"
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.NONE,
        duplicate_reply=DuplicateReply.ACCEPTS,
        replace=ReplaceStyle.NONE,
        execution_id_scope=ExecutionIdScope.ORDER,
        request_expiry_s=5.0,
        conclusive_after_s=20.0,
        lists_open_orders=True,
        id_format=IdFormat(alphabet=Alphabet.HEX, max_length=34, prefix="0x"),
    )
    instruments: ClassVar[tuple[Instrument, ...]] = (HYPE_USDC,)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.records = Records(self.exchange, ACCOUNT)
        self.blind = 0
        """So many of the next answers to ``orderStatus`` are ``unknownOid``, whatever there is."""
        self._nonces: set[int] = set()
        self._unmatched: dict[str, dict[str, Any]] = {}
        """By ``cloid``: orders that were never placed, as nobody was there to trade with at once."""
        self._symbols = tuple(self.exchange.instruments)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        return (web.post("/info", self._info), web.post("/exchange", self._exchange))

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return a key and its address, and options that have the client load spot markets only."""
        options = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}
        return {"walletAddress": WALLET, "privateKey": PRIVATE_KEY, "options": options}

    # ------------------------------------------------------------------ actions

    async def _exchange(self, http: web.Request) -> web.StreamResponse:
        try:
            body = body_of(await http.read())
            action = body.get("action")
            if not isinstance(action, dict) or not isinstance(body.get("signature"), dict):
                raise Unreadable("Failed to deserialize the JSON body into the target type")
            self._use_up(body.get("nonce"))
            expires_at_ms = body.get("expiresAfter")
            expires_at_us = None if expires_at_ms is None else int(expires_at_ms) * 1000
            self.exchange.advance(self.clock_us())
            kind = text_of(action, "type")
            if kind == "order":
                requests = [self._new(order, expires_at_us) for order in action["orders"]]
                return await self.new_order(lambda: self._placed(requests))
            if expires_at_us is not None and self.clock_us() > expires_at_us:
                raise self._late()
            return self._acted(kind, action)
        except Refused as problem:
            return answers.ok({"status": "err", "response": problem.reason})
        except (Unreadable, InvalidField, KeyError, TypeError, ValueError) as problem:
            return web.Response(status=422, text=f"Failed to deserialize the JSON body into the target type: {problem}")

    def _acted(self, kind: str, action: Mapping[str, Any]) -> web.Response:
        match kind:
            case "cancel":
                found = [self._numbered(int(one["o"]), int(one["a"])) for one in action["cancels"]]
                return _done("cancel", [self._cancelled(order) for order in found])
            case "cancelByCloid":
                found = [self._named(text_of(one, "cloid"), int(one["asset"])) for one in action["cancels"]]
                return _done("cancel", [self._cancelled(order) for order in found])
            case "batchModify":
                return _done("order", [self._modified(one) for one in action["modifies"]])
            case "setReferrer" | "approveBuilderFee":
                return answers.ok({"status": "ok", "response": {"type": "default"}})
        raise Unreadable(f"unknown action {kind}")

    def _use_up(self, nonce: object) -> None:
        """Take a nonce, which counts once, and only near the venue's time. Raises :class:`Refused`."""
        if not isinstance(nonce, int):
            raise Unreadable("nonce is missing")
        now_ms = self.clock_us() // 1000
        if not now_ms - 2 * _DAY_MS < nonce < now_ms + _DAY_MS:
            raise Refused("err", f"Invalid nonce: {nonce} is not near {now_ms}")
        if nonce in self._nonces:
            raise Refused("err", f"Invalid nonce: duplicate nonce {nonce}")
        self._nonces.add(nonce)

    def _late(self) -> Refused:
        return Refused("err", f"Action expired before it was processed at {self.clock_us() // 1000}")

    def _new(self, order: Mapping[str, Any], expires_at_us: int | None) -> SubmitRequest:
        cloid = text_of(order, "c")
        if cloid and not _CLOID.fullmatch(cloid):
            raise Unreadable("c: expected a 128-bit hex string")
        return SubmitRequest(
            client_order_id=cloid or self.records.invented("0x"),
            account=ACCOUNT,
            instrument=self._symbol(int(order["a"])),
            side=Side.BUY if order["b"] else Side.SELL,
            quantity=values.exact_decimal(order["s"], "s"),
            order_type=OrderType.LIMIT,
            price=values.exact_decimal(order["p"], "p"),
            time_in_force=_TIMES[order["t"]["limit"]["tif"]],
            expires_at_us=expires_at_us,
        )

    def _symbol(self, asset: int) -> str:
        if not 0 <= asset - _SPOT < len(self._symbols):
            raise Refused("err", f"Invalid asset {asset}")
        return self._symbols[asset - _SPOT]

    def _placed(self, requests: Iterable[SubmitRequest]) -> web.Response:
        try:
            return _done("order", [self._submitted(request) for request in requests])
        except Refused as problem:
            return answers.ok({"status": "err", "response": problem.reason})

    def _submitted(self, request: SubmitRequest) -> dict[str, Any]:
        if request.time_in_force is TimeInForce.IOC and not self._late_by(request) and not self._crosses(request):
            self._note_unmatched(request)
            asset = self._symbols.index(request.instrument) + _SPOT
            return {"error": f"Order could not immediately match against any resting orders. asset={asset}"}
        reply = self.exchange.submit(request, self.clock_us())
        match reply:
            case Accepted(order=order):
                return self._standing(order)
            case TooLate():
                raise self._late()
            case Throttled():
                raise Refused("err", "Too many cumulative requests sent for cumulative volume traded.")
        asset = self._symbols.index(request.instrument) + _SPOT
        return {"error": f"{_ERRORS.get(getattr(reply, 'code', None) or '', reply.reason)} asset={asset}"}

    def _standing(self, order: VenueOrder) -> dict[str, Any]:
        """Return how a reply tells of a new order. What was executed at once is its whole size there, if nothing rests."""
        record = self.records.of(number_of(order.venue_order_id))
        named = {"oid": _FIRST_OID + record.number, "cloid": record.client_id}
        if order.status in LIVE:
            return {"resting": named}
        average = record.value / order.cum_quantity
        return {"filled": {"totalSz": plain(order.cum_quantity), "avgPx": plain(average), **named}}

    def _late_by(self, request: SubmitRequest) -> bool:
        return request.expires_at_us is not None and self.clock_us() > request.expires_at_us

    def _crosses(self, request: SubmitRequest) -> bool:
        """Tell whether there is anybody to trade with. An order that cannot be judged goes to the exchange."""
        bids, offers = self.exchange.book(request.instrument)
        against = offers if request.side is Side.BUY else bids
        if not against or request.price is None or against[0].price is None:
            return False
        best = against[0].price
        return best <= request.price if request.side is Side.BUY else best >= request.price

    def _note_unmatched(self, request: SubmitRequest) -> None:
        """Keep an order that was never placed as the status query shows it."""
        at_ms = self.clock_us() // 1000
        shown = {
            **self._described(request.instrument, request.side, request.price or _ZERO, request.quantity),
            "sz": plain(request.quantity),
            "oid": _FIRST_OID - len(self._unmatched),
            "timestamp": at_ms,
            "cloid": self.records.shown_id(request.client_order_id),
            **_FULL,
            "tif": "Ioc",
        }
        told = {"order": shown, "status": "iocCancelRejected", "statusTimestamp": at_ms}
        self._unmatched[request.client_order_id] = told

    def _cancelled(self, order: ExchangeOrder | None) -> object:
        if order is None:
            return {"error": _DEAD}
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        if isinstance(reply, Throttled):
            raise Refused("err", "Too many cumulative requests sent for cumulative volume traded.")
        return {"error": _DEAD} if isinstance(reply, CancelRejected) else "success"

    def _modified(self, modify: Mapping[str, Any]) -> dict[str, Any]:
        request = self._new(modify["order"], None)
        order = self._numbered(int(modify["oid"]), int(modify["order"]["a"]))
        if self._cancelled(order) != "success":
            return {"error": "Cannot modify canceled or filled order"}
        return self._submitted(request)

    def _numbered(self, oid: int, asset: int) -> ExchangeOrder | None:
        order = self.records.order(oid - _FIRST_OID)
        return order if order is not None and order.instrument == self._symbol(asset) else None

    def _named(self, cloid: str, asset: int) -> ExchangeOrder | None:
        """Return the live order under a ``cloid``, the latest if there are several; a dead one if none is live."""
        symbol = self._symbol(asset)
        under = (record.order for record in reversed(self.records.by_client(cloid)))
        found = [order for order in under if order.instrument == symbol]
        return next((order for order in found if order.status in LIVE), found[0] if found else None)

    # ---------------------------------------------------------------- questions

    async def _info(self, http: web.Request) -> web.StreamResponse:
        try:
            body = body_of(await http.read())
            self.exchange.advance(self.clock_us())
            return answers.ok(self._told(text_of(body, "type"), body))
        except (Unreadable, InvalidField, ValueError) as problem:
            return web.Response(status=422, text=f"Failed to deserialize the JSON body into the target type: {problem}")

    def _told(self, kind: str, body: Mapping[str, Any]) -> object:
        match kind:
            case "exchangeStatus":
                return {"time": self.clock_us() // 1000, "specialStatuses": None}
            case "spotMeta":
                return self._meta()
            case "spotMetaAndAssetCtxs":
                return [self._meta(), [_context(one, n) for n, one in enumerate(self.exchange.instruments.values())]]
            case "userAbstraction":
                return "default"
        mine = text_of(body, "user").lower() == WALLET.lower()
        match kind:
            case "orderStatus":
                return self._status(body.get("oid")) if mine else {"status": "unknownOid"}
            case "openOrders" | "frontendOpenOrders":
                live = self.records.live()[::-1] if mine else []
                return [self._order(record.order, full=kind == "frontendOpenOrders") for record in live]
            case "historicalOrders":
                return [self._with_status(order) for order in self._history()] if mine else []
            case "userFills":
                return [self._fill(trade) for trade in self.records.trades()[::-1][:MOST_FILLS]] if mine else []
            case "userFillsByTime":
                return [self._fill(trade) for trade in self._between(body)] if mine else []
            case "spotClearinghouseState":
                return {"balances": self._balances() if mine else []}
        raise Unreadable(f"unknown type {kind}")

    def _meta(self) -> object:
        coins = self._coins()
        tokens = [
            {"name": coin, "index": n, "szDecimals": self._size_decimals(coin), "weiDecimals": 8, "fullName": None}
            for n, coin in enumerate(coins)
        ]
        universe = [
            {"name": f"@{n}", "index": n, "tokens": [coins.index(coin) for coin in currencies_of(symbol)]}
            for n, symbol in enumerate(self._symbols)
        ]
        return {"tokens": tokens, "universe": universe}

    def _coins(self) -> list[str]:
        return sorted({coin for symbol in self._symbols for coin in currencies_of(symbol)})

    def _size_decimals(self, coin: str) -> int:
        """Return a token's decimals: those of the market in which it is traded."""
        for one in self.exchange.instruments.values():
            if currencies_of(one.symbol)[0] == coin:
                return _places(one, "quantity_step")
        return _MOST_DECIMALS

    def _balances(self) -> list[dict[str, Any]]:
        coins = self._coins()
        return [
            {"coin": coin, "token": coins.index(coin), "total": plain(total), "hold": plain(bound), "entryNtl": "0.0"}
            for coin, (total, bound) in self.records.balances(_GRANTED).items()
        ]

    def _status(self, oid: object) -> object:
        if self.blind:
            self.blind -= 1
            return {"status": "unknownOid"}
        if isinstance(oid, str):
            order = next((record.order for record in reversed(self.records.by_client(oid))), None)
        else:
            order = self.records.order(oid - _FIRST_OID) if isinstance(oid, int) else None
        told = self._unmatched.get(str(oid)) if order is None else self._with_status(order)
        return {"status": "unknownOid"} if told is None else {"status": "order", "order": told}

    def _history(self) -> list[ExchangeOrder]:
        """Return the last orders, latest first."""
        return [record.order for record in itertools.islice(self.records.newest_first(), MOST_HISTORY)]

    def _between(self, body: Mapping[str, Any]) -> list[Traded]:
        start, end = int(body.get("startTime") or 0), int(body.get("endTime") or 1 << 60)
        return self.records.trades_between(start, end)[:MOST_FILLS]

    # ------------------------------------------------------------------ spelling

    def _coin(self, symbol: str) -> str:
        return f"@{self._symbols.index(symbol)}"

    def _order(self, order: ExchangeOrder, *, full: bool = True) -> dict[str, Any]:
        shown: dict[str, Any] = {
            **self._described(order.instrument, order.side, order.price or _ZERO, order.quantity),
            "sz": plain(order.quantity - order.cum_quantity),
            "oid": _FIRST_OID + order.number,
            "timestamp": order.created_at_us // 1000,
            "cloid": self.records.shown_id(order.client_order_id),
        }
        return {**shown, **_FULL, "tif": order.time_in_force.capitalize()} if full else shown

    def _described(self, symbol: str, side: Side, price: Decimal, quantity: Decimal) -> dict[str, Any]:
        return {
            "coin": self._coin(symbol),
            "side": "B" if side is Side.BUY else "A",
            "limitPx": plain(price),
            "origSz": plain(quantity),
        }

    def _with_status(self, order: ExchangeOrder) -> dict[str, Any]:
        state = "open" if order.status in LIVE else "filled" if order.status is VenueStatus.FILLED else "canceled"
        at_ms = self.records.of(order.number).changed_at_us // 1000
        return {"order": self._order(order), "status": state, "statusTimestamp": at_ms}

    def _fill(self, traded: Traded) -> dict[str, Any]:
        trade = traded.report
        return {
            "coin": self._coin(trade.instrument),
            "side": "B" if trade.side is Side.BUY else "A",
            "dir": trade.side.capitalize(),
            "px": plain(traded.price),
            "sz": plain(traded.quantity),
            "time": traded.at_ms,
            "oid": _FIRST_OID + traded.number,
            "tid": _FIRST_TID + trade.position,
            "hash": f"0x{trade.position:064x}",
            "fee": plain(trade.fee or _ZERO),
            "feeToken": trade.fee_currency or currencies_of(trade.instrument)[1],
            "cloid": self.records.shown_id(trade.client_order_id),
        }


def _done(kind: str, statuses: list[Any]) -> web.Response:
    return answers.ok({"status": "ok", "response": {"type": kind, "data": {"statuses": statuses}}})


def _places(one: Instrument, field: str) -> int:
    """Return the decimal places of a step. Raises InvalidField for one that the venue cannot have."""
    step: Decimal = getattr(one, field)
    places = -step.adjusted()
    if step != Decimal(1).scaleb(-places) or not 0 <= places <= _MOST_DECIMALS:
        raise InvalidField(f"instruments.{one.symbol}.{field}", f"{step} is not a power of ten down to 1e-8")
    return places


def _context(one: Instrument, index: int) -> dict[str, Any]:
    """Return a market's context with a price from which clients make just the market's tick: five significant digits.

    Raises InvalidField if that cannot be: decimals of price and size are eight at most together.
    """
    places = _places(one, "price_tick")
    if places > _MOST_DECIMALS - _places(one, "quantity_step"):
        raise InvalidField(f"instruments.{one.symbol}", "more than 8 decimals of price and size together")
    whole = _SIGNIFICANT - places
    price = Decimal(10) ** (whole - 1) if whole > 0 else Decimal(1).scaleb(whole - 1)
    return {"coin": f"@{index}", "midPx": plain(price), "markPx": plain(price), "prevDayPx": plain(price)}
