"""Bybit v5 through ccxt.

ccxt's ``fetch_order`` sends ``orderId=None`` for an order that is named by its client id only, and its lists show one page. So
orders are found by ccxt's list methods, with the id as a filter, and every list is read to its end by its cursor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade
from onefill.venues.ccxt.orders import Strange
from onefill.venues.profile import Wire

WEEK_MS: Final = 7 * 86_400_000
"""Longest stretch of time that one question about history or executions may cover (v5 documentation, execution list)."""
KEPT_MS: Final = 730 * 86_400_000
"""How far back executions are kept (ccxt 4.5.90, features of fetchMyTrades)."""
_ORDERS_PAGE: Final = 50


class BybitManners(Manners):
    """``orderLinkId`` on everything; ``recvWindow`` set as a request is signed; realtime orders first, then history."""

    profile: ClassVar[str | None] = "bybit"
    config: ClassVar[Mapping[str, Any]] = {"options": {"fetchMarkets": {"types": ["spot", "linear", "inverse"]}}}

    def __init__(self, wire: Wire | None = None) -> None:
        super().__init__(wire)
        self._unified = False

    async def begin(self, call: Call) -> None:
        """Ask which kind of account it is."""
        _, self._unified = await call("is_unified_enabled")

    # ---------------------------------------------------------------- requests

    def refuses(self, request: SubmitRequest) -> str | None:
        """Refuse a market buy of spot on a classic account: the venue reads its quantity in the quote currency there."""
        if self._unified or ":" in request.instrument or request.side is not Side.BUY:
            return None
        if request.order_type is OrderType.MARKET:
            return "Bybit takes the quantity of a classic account's market buy in the quote currency; send a limit order, IOC"
        return None

    def stamp(self, signing: Signing) -> None:
        """Have the window end at the expiry: ccxt sends ``X-BAPI-RECV-WINDOW`` from its options, counted from the timestamp."""
        signing.options["recvWindow"] = signing.left_ms

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel, once. The reply has ids only, and says that the cancel was taken in."""
        if request.venue_order_id is not None:
            await call("cancel_order", request.venue_order_id, request.instrument)
        else:
            await call("cancel_order", None, request.instrument, {"orderLinkId": request.client_order_id})
        return None

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Ask for an amendment, once, and look at the order: the reply has ids only, and comes before it is decided.

        Raises Strange where the order is not shown then: the amendment was taken in, and nothing more is known.
        """
        shown = await super().replace(call, request, order_type)
        try:
            found = await self.find_by_number(call, str(shown["id"]), request.instrument)
        except Exception as problem:  # noqa: BLE001 - whatever went wrong with the question, the request is out
            raise Strange(f"took the amendment in; what became of it is not known: {type(problem).__name__}") from None
        if found is None:
            raise Strange("took the amendment in, and does not show the order")
        return found

    def replaced_id(self, request: ReplaceRequest) -> dict[str, Any]:
        """Return how the order is named where its number is not known. It keeps its id: an amendment can bring no other."""
        return {} if request.venue_order_id is not None else {"orderLinkId": request.orig_client_order_id}

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask the realtime orders (live ones and the last 500 that are over), then the history."""
        return await self._found(call, instrument, {"orderLinkId": client_order_id})

    async def find_by_number(self, call: Call, venue_order_id: str, instrument: str) -> Order | None:
        """As :meth:`find`, by the venue's own number."""
        return await self._found(call, instrument, {"orderId": venue_order_id})

    async def _found(self, call: Call, instrument: str, named: Mapping[str, Any]) -> Order | None:
        for method in ("fetch_open_orders", "fetch_canceled_and_closed_orders"):
            shown: Sequence[Order] = await call(method, instrument, None, None, dict(named))
            if shown:
                return _read(max(shown, key=_latest))
        return None

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order. Without an instrument: of each category and settlement coin that is loaded, one by one."""
        kinds = [{}] if instrument is not None else _kinds(call.exchange.markets)
        found: dict[str, Order] = {}
        for kind in kinds:
            for order in await self._pages(call, "fetch_open_orders", instrument, None, kind):
                found[str(order["id"])] = _read(order)
        return list(found.values())

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that are over, of those made since a moment: the history goes by the time of creation."""
        method = "fetch_canceled_and_closed_orders"
        return [_read(order) for order in await self._weeks(call, method, instrument, since_ms)]

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades in an instrument since a moment, week by week and page by page, oldest first."""
        found = {self.trade_key(one): one for one in await self._weeks(call, "fetch_my_trades", instrument, since_ms)}
        return sorted(found.values(), key=lambda trade: (int(trade["timestamp"]), self.trade_key(trade)))

    async def _weeks(self, call: Call, method: str, instrument: str, since_ms: int) -> list[Mapping[str, Any]]:
        now_ms = int(call.exchange.milliseconds())
        start_ms = max(since_ms, now_ms - KEPT_MS)
        found: list[Mapping[str, Any]] = []
        while True:
            # The last week reaches beyond now: the venue's clock may be ahead of ours.
            end_ms = start_ms + WEEK_MS
            found += await self._pages(call, method, instrument, start_ms, {"endTime": end_ms})
            if end_ms > now_ms:
                return found
            start_ms = end_ms + 1

    async def _pages(
        self, call: Call, method: str, instrument: str | None, since_ms: int | None, params: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        """Return a list of the venue's to its end. The cursor stands in the raw form of one entry of a page."""
        limit = self.page if method == "fetch_my_trades" else _ORDERS_PAGE
        found: list[Mapping[str, Any]] = []
        asked: dict[str, Any] = dict(params)
        seen: set[str] = set()
        while True:
            page: Sequence[Mapping[str, Any]] = await call(method, instrument, since_ms, limit, dict(asked))
            found += page
            cursor = next((entry["info"]["nextPageCursor"] for entry in page if "nextPageCursor" in entry["info"]), "")
            if not cursor or cursor in seen:
                return found
            seen.add(cursor)
            asked["cursor"] = cursor

    # ----------------------------------------------------------------- reading

    def trade_client_order_id(self, trade: Trade) -> str:
        """Return ``orderLinkId``, which every execution shows."""
        return str(trade["info"].get("orderLinkId") or "")

    def heard_trade(self, trade: Trade) -> Trade | None:
        """Return what is a trade; of other executions the stream tells, and the list that is asked for does not."""
        return trade if trade["info"].get("execType") == "Trade" else None


def _read(order: Order) -> Order:
    """Return an order as it is: ccxt calls one closed that was cancelled after it had traded in part.

    ``rejectReason`` says EC_NoError of every order that was not rejected, and is left out then.
    """
    info = order["info"]
    if info.get("rejectReason") == "EC_NoError":
        info = {field: value for field, value in info.items() if field != "rejectReason"}
    state = {"status": "canceled"} if info.get("orderStatus") == "PartiallyFilledCanceled" else {}
    return {**order, **state, "info": info}


def _latest(order: Order) -> tuple[bool, int]:
    return order.get("status") == "open", int(order.get("timestamp") or 0)


def _kinds(markets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of one list of live orders each: the venue lists contracts by settlement coin."""
    kinds: dict[tuple[Any, ...], dict[str, Any]] = {}
    for market in markets.values():
        if market["spot"]:
            kinds["spot",] = {"type": "spot"}
        elif market["linear"] or market["inverse"]:
            category = "linear" if market["linear"] else "inverse"
            settle = market["settleId"] or market["settle"]
            kinds[category, settle] = {"type": "swap", "subType": category, "settleCoin": settle}
    return list(kinds.values())
