"""Binance spot and USD-M futures over ccxt.

Sources: ccxt 4.5.90, ``binance.py`` and ``binanceusdm.py``, for every request and parameter; Binance's REST documentation, as
the profiles ``binance_spot`` and ``binance_usdm`` name it, for what they mean.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from onefill.core.errors import VenueError
from onefill.core.messages import ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, TimeInForce
from onefill.venues.ccxt import parameters
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade

DAY_MS: Final = 86_400_000
_MAX_WINDOW_MS: Final = 60_000
"""The venue takes no longer recvWindow."""
_MOST_SPANS: Final = 32
"""So many empty spans are asked about one by one; a beginning further back is searched for by trade id."""

_CLOCKS_DIFFER_MS: Final = 3_600_000
"""A span that ends so much later than now, by our clock, reaches beyond now by the venue's."""
_LISTED_MS: Final = 90 * DAY_MS
_ELSEWHERE: Final = frozenset(
    {"type", "marginMode", "papi", "portfolioMargin", "sor", "SOR", "test"}
    | {"clientOrderId", "clientAlgoId", "newClientStrategyId"}
)
"""Parameters by which ccxt sends an order to another part of the venue, or gives it another id: a look-up would not find it."""
_TERMS: Final = frozenset({"symbol", "side", "quantity", "price", "cost", "quoteOrderQty", "timestamp", "signature"})
"""Parameters that would take the place of what the order itself says."""
_CONDITIONAL: Final = frozenset(
    {"triggerPrice", "stopPrice", "stopLossPrice", "takeProfitPrice"}
    | {"trailingPercent", "callbackRate", "trailingDelta"}
)
_ASTRAY: Final = ("marginMode", "defaultMarginMode", "papi", "defaultPapi", "portfolioMargin", "defaultPortfolioMargin")
"""Options by which ccxt chooses a part of the venue."""
_METHODS: Final = (
    "createOrder",
    "editContractOrder",
    "fetchOrder",
    "fetchOrders",
    "fetchOpenOrders",
    "cancelOrder",
    "fetchMyTrades",
)
"""Methods that have options of their own."""
_NO_CHANGE: Final = re.compile(r'"code"\s*:\s*-5027\b')


class BinanceManners(Manners):
    """What spot and futures share."""

    page: ClassVar[int] = 1000
    elsewhere: ClassVar[frozenset[str]] = _ELSEWHERE
    """Parameters with which an order could not be looked up."""
    instead: ClassVar[str] = ""
    """What to do for an instrument that is none of these."""
    listing: ClassVar[str] = ""
    """ccxt's name of the venue's own list of open orders."""
    span_ms: ClassVar[int] = DAY_MS
    """The longest time between ``startTime`` and ``endTime`` of one question."""
    kept_ms: ClassVar[int | None] = None
    """How far back the venue lists trades, where it says so; older ones are not asked for."""

    async def begin(self, call: Call) -> None:
        """Refuse a client whose options lead its questions elsewhere than its orders. Raises VenueError."""
        options = call.exchange.options
        for place, held in (("options", options), *((f"options[{name!r}]", options.get(name)) for name in _METHODS)):
            for name in _ASTRAY:
                if isinstance(held, Mapping) and held.get(name):
                    raise VenueError(
                        f"{call.exchange.id}: with {name!r} in {place} of its client, ccxt asks about orders in another "
                        "part of the venue than where they are placed, and would not find them. Take it out; nothing was sent"
                    )

    def refuses(self, request: SubmitRequest) -> str | None:
        """Refuse what would be another order at the venue, or one that is not found again where it is looked for."""
        if not self.covers(request.instrument):
            return f"{request.instrument} is not traded under the profile {self.profile}; {self.instead}"
        if request.order_type is OrderType.MARKET and request.time_in_force is TimeInForce.FOK:
            return "Binance has no market order that is filled whole or not at all"
        for name in parameters.read(request.parameters):
            if name in self.elsewhere:
                return f"parameters: with {name!r} ccxt would place the order where it is not found again"
            if name in _TERMS:
                return f"parameters: {name!r} would take the place of what the order itself says"
        return None

    def new_order(self, request: SubmitRequest) -> dict[str, Any]:
        """Return the parameters of a new order; the venue takes no time in force on a market order."""
        if request.order_type is OrderType.MARKET:
            return self.client_id(request.client_order_id)
        return super().new_order(request)

    def stamp(self, signing: Signing) -> None:
        """Give the request the time it has left as its recvWindow. The venue counts it from the time stamp, set now as well."""
        signing.params["recvWindow"] = min(signing.left_ms, _MAX_WINDOW_MS)

    def client_order_id(self, shown: Order) -> str:
        """Return the order's id; a spot cancel's reply has the cancel's own in its place, and the order's beside it."""
        info = shown.get("info")
        original = info.get("origClientOrderId") if isinstance(info, Mapping) else None
        return str(original or shown.get("clientOrderId") or "")

    def covers(self, instrument: str) -> bool:
        """Tell whether an instrument (ccxt's symbol) is one of these."""
        raise NotImplementedError

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order. Without an instrument ccxt's own method raises, unless an option is set: a list is read."""
        if instrument is not None:
            return await super().open_orders(call, instrument)
        shown: Sequence[Order] = call.exchange.parse_orders(await call(self.listing, {}))
        return shown

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return every order made since a moment, and every order that traded since; ccxt's own list has filled ones only.

        An older order that was cancelled since, without a trade, is not among them: the venue lists by the time of making, and
        those of the last 90 days.
        """
        found: dict[str, Order] = {}
        start = max(since_ms, call.exchange.milliseconds() - _LISTED_MS)
        while True:  # once at least: our clock may be behind the venue's
            until = {"until": start + self.span_ms}
            listed: Sequence[Order] = await call("fetch_orders", instrument, start, self.page, until)
            new = {str(one["id"]): one for one in listed}
            stuck = len(listed) >= self.page and not new.keys() - found.keys()
            if stuck:
                raise VenueError(
                    f"more than {self.page} orders in {instrument} were made in one ms; they cannot be listed"
                )
            found |= new
            if len(listed) >= self.page:
                start = max(int(one["timestamp"]) for one in listed)
                continue
            start += self.span_ms + 1
            if start > call.exchange.milliseconds():
                break
        for trade in await self.trades(call, instrument, since_ms):
            number = str(trade["order"])
            if number not in found:
                found[number] = await call("fetch_order", number, instrument)
        return list(found.values())

    # ------------------------------------------------------------------ trades

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades since a moment. Only the first page is asked for by time; from it on, ids lead.

        The id of a match with oneself stands for two trades, so each page begins with the last id of the page before.
        """
        page, whole = await self._first_page(call, instrument, since_ms)
        found = {self.trade_key(trade): trade for trade in page}
        while not whole:
            last = max(_id(trade) for trade in page)
            page = await call("fetch_my_trades", instrument, None, self.page, {"fromId": last})
            found |= {self.trade_key(trade): trade for trade in page}
            whole = len(page) < self.page
            if not whole and max(_id(trade) for trade in page) == last:
                raise VenueError(f"{instrument}: a page of trades from {last} on led nowhere; nothing was taken in")
        since = (trade for trade in found.values() if int(trade["timestamp"]) >= since_ms)
        return sorted(since, key=lambda trade: (int(trade["timestamp"]), _id(trade), str(trade["order"])))

    async def _first_page(self, call: Call, instrument: str, since_ms: int) -> tuple[Sequence[Trade], bool]:
        """Return the first trades at or after a moment, and whether there are no more than these."""
        now_ms: int = call.exchange.milliseconds()
        start = since_ms if self.kept_ms is None else max(since_ms, now_ms - self.kept_ms)
        page: Sequence[Trade]
        if now_ms - start > _MOST_SPANS * self.span_ms:
            first = await self._searched(call, instrument, since_ms)
            if first is None:
                return (), True
            page = await call("fetch_my_trades", instrument, None, self.page, {"fromId": first})
            return page, len(page) < self.page
        while True:  # once at least: our clock may be behind the venue's
            end = start + self.span_ms
            page = await call("fetch_my_trades", instrument, start, self.page, {"until": end})
            if page:
                return page, len(page) < self.page and end > now_ms + _CLOCKS_DIFFER_MS
            start = end + 1
            if start > now_ms:
                return (), True

    async def _searched(self, call: Call, instrument: str, since_ms: int) -> int | None:
        """Find that trade by halving the ids between the account's first and its latest: they rise with time."""

        async def one(params: dict[str, Any]) -> Trade | None:
            page: Sequence[Trade] = await call("fetch_my_trades", instrument, None, 1, params)
            return page[0] if page else None

        first, latest = await one({"fromId": 1}), await one({})
        if first is None or latest is None or int(latest["timestamp"]) < since_ms:
            return None
        before, after = _id(first), _id(latest)
        if int(first["timestamp"]) >= since_ms:
            return before
        while after - before > 1:
            middle = (before + after) // 2
            trade = await one({"fromId": middle})
            if trade is None or int(trade["timestamp"]) >= since_ms:
                after = middle
            else:
                before = max(_id(trade), middle)
        return after


class BinanceSpot(BinanceManners):
    """Binance spot.

    A replace is cancelReplace: the order ends and another begins, whose quantity counts from zero. So it is asked for with the
    restriction that nothing was executed; an order that has traded is refused, and stays as it is.
    """

    profile: ClassVar[str | None] = "binance_spot"
    instead: ClassVar[str] = "for futures connect to binanceusdm"
    listing: ClassVar[str] = "privateGetOpenOrders"
    config: ClassVar[Mapping[str, Any]] = {
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchMargins": False,
            "fetchCurrencies": False,
            "fetchOpenOrders": {"warnWithoutSymbol": False},
        }
    }

    def covers(self, instrument: str) -> bool:
        """Tell whether an instrument is a pair of coins: ccxt's client trades contracts too, by other rules."""
        return ":" not in instrument

    def replaced_id(self, request: ReplaceRequest) -> dict[str, Any]:
        """Return the new order's id, the old one's, and the restriction. Both names of the old one must fit."""
        named: dict[str, Any] = {"cancelOrigClientOrderId": request.orig_client_order_id}
        if request.venue_order_id is not None:
            named["cancelOrderId"] = request.venue_order_id
        return {**named, "newClientOrderId": request.client_order_id, "cancelRestrictions": "ONLY_NEW"}


class BinanceUsdm(BinanceManners):
    """Binance USD-M futures. A modify keeps both ids of the order."""

    profile: ClassVar[str | None] = "binance_usdm"
    instead: ClassVar[str] = "for spot connect to binance"
    listing: ClassVar[str] = "fapiPrivateGetOpenOrders"
    elsewhere: ClassVar[frozenset[str]] = _ELSEWHERE | _CONDITIONAL
    config: ClassVar[Mapping[str, Any]] = {
        "options": {
            "fetchCurrencies": False,
            "fetchOpenOrders": {"warnWithoutSymbol": False},
            # Positions are told without margin tiers; ccxt would ask for these before the first answer.
            "leverageBrackets": {},
        }
    }
    span_ms: ClassVar[int] = 7 * DAY_MS - 1
    kept_ms: ClassVar[int | None] = 180 * DAY_MS

    def covers(self, instrument: str) -> bool:
        """Tell whether an instrument is a contract that is margined in its quote currency, and no option."""
        pair, _, settled = instrument.partition(":")
        return settled.split("-")[0] == pair.partition("/")[2] and settled.count("-") < 2

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Ask for a modify, once. The venue refuses one that changes nothing (-5027): the order is then shown as it is."""
        if request.venue_order_id is None:
            shown = await self.find(call, request.orig_client_order_id, request.instrument)
            request = msgspec.structs.replace(request, venue_order_id=str((shown or {}).get("id") or ""))
        try:
            return await super().replace(call, request, order_type)
        except Exception as error:
            if not _NO_CHANGE.search(str(error)):
                raise
            found: Order = await call("fetch_order", request.venue_order_id, request.instrument)
            return found

    def replaced_id(self, request: ReplaceRequest) -> dict[str, Any]:
        """Return the order's own id, which stays; beside its number, both must fit."""
        return {"origClientOrderId": request.orig_client_order_id}


def _id(trade: Trade) -> int:
    return int(trade["id"])
