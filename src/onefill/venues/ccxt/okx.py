"""OKX's manners: the expiry goes into a header, an amend's outcome is asked for, and every list is read to its end."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from onefill.core.errors import VenueError
from onefill.core.messages import CancelRequest, ReplaceRequest
from onefill.core.values import EXACT, plain
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade
from onefill.venues.ccxt.orders import Strange

RECENT_FILLS_MS: Final = 71 * 3_600_000
"""How far back the list of recent fills surely reaches: the venue says three days, an hour is left for clocks."""
_STAMPED: Final = frozenset({"trade/order", "trade/batch-orders", "trade/amend-order", "trade/amend-batch-orders"})
_MOST_PAGES: Final = 200


class OkxManners(Manners):
    """OKX v5. An id may come again once its order ended, so what is known by its number is named by that."""

    profile: ClassVar[str | None] = "okx"
    page: ClassVar[int] = 100

    def client_id(self, client_order_id: str) -> dict[str, Any]:
        """Return the venue's own name of the id, which ccxt passes on as it is."""
        return {"clOrdId": client_order_id}

    def stamp(self, signing: Signing) -> None:
        """Put the expiry into the header: in the body, where ccxt would put it, the venue does not look."""
        if signing.path in _STAMPED:
            signing.headers["expTime"] = str(signing.expires_at_ms)

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel. The reply says that it was taken in; what came of it must be asked for."""
        if request.venue_order_id is not None:
            await call("cancel_order", request.venue_order_id, request.instrument)
        else:
            await call("cancel_order", None, request.instrument, {"clOrdId": request.client_order_id})
        return None

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Amend the order, once, and ask how it stands: the reply says only that the amend was taken in.

        Raises Strange if it was, and the order cannot be shown.
        """
        await super().replace(call, request, order_type)
        try:
            if request.venue_order_id is not None:
                shown = await self.find_by_number(call, request.venue_order_id, request.instrument)
            else:
                shown = await self.find(call, request.client_order_id, request.instrument)
        except Exception as error:  # noqa: BLE001 - it is about the question: the amend itself was taken
            raise Strange(f"the venue took the amend, and did not show the order: {type(error).__name__}") from None
        if shown is None:
            raise Strange("the venue took the amend, and shows no such order")
        return shown

    def replaced_id(self, request: ReplaceRequest) -> dict[str, Any]:
        """Return how the order is named: by its id where its number is not known. An amend gives it no other."""
        return {} if request.venue_order_id is not None else {"clOrdId": request.orig_client_order_id}

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for the latest order under an id."""
        shown: Order = await call("fetch_order", None, instrument, {"clOrdId": client_order_id})
        return shown

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order, page by page: ccxt's own method stops after a hundred."""
        asked = {} if instrument is None else {"instId": call.exchange.market(instrument)["id"]}
        return self._parsed(call, await self._pages(call, "privateGetTradeOrdersPending", asked, "ordId"))

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that ended or traded since a moment, cancelled ones too.

        The venue filters by when an order came, not by when it ended: all of its seven days are read.
        """
        market = call.exchange.market(instrument)
        asked = {"instType": _inst_type(market), "instId": market["id"]}
        rows = await self._pages(call, "privateGetTradeOrdersHistory", asked, "ordId")
        return self._parsed(call, [row for row in rows if int(row["uTime"]) >= since_ms])

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's fills since a moment, back from the latest by ``billId``: new ones do not move the pages."""
        market = call.exchange.market(instrument)
        asked = {"instType": _inst_type(market), "instId": market["id"], "begin": max(since_ms - 1, 0)}
        recent = since_ms >= call.exchange.milliseconds() - RECENT_FILLS_MS
        method = "privateGetTradeFills" if recent else "privateGetTradeFillsHistory"
        rows = await self._pages(call, method, asked, "billId")
        trades: Sequence[Trade] = call.exchange.parse_trades(rows, market)
        return sorted(trades, key=lambda trade: (int(trade["timestamp"]), int(trade["info"]["billId"])))

    async def _pages(self, call: Call, method: str, asked: Mapping[str, Any], name: str) -> list[Any]:
        """Return the rows of all pages, each read back from the last row of the one before."""
        rows: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            page = (await call(method, {**asked, "limit": self.page, **after}))["data"]
            rows |= {row[name]: row for row in page}
            if len(page) < self.page:
                return list(rows.values())
            after = {"after": min(page, key=lambda row: int(row[name]))[name]}
        raise VenueError(f"OKX lists more than {_MOST_PAGES} pages ({method}); they were not all read")

    def _parsed(self, call: Call, rows: Sequence[Any]) -> Sequence[Order]:
        shown: Sequence[Order] = call.exchange.parse_orders(list(rows))
        return shown

    # ----------------------------------------------------------------- reading

    def trade_client_order_id(self, trade: Trade) -> str:
        """Return the id of the trade's order, which ccxt leaves in the venue's own part."""
        return str(trade["info"].get("clOrdId") or "")

    def heard_trade(self, trade: Trade) -> Trade:
        """Return it with the fee as the list has it: of a stream's trades ccxt leaves the sign as the venue writes it."""
        fee, paid = trade.get("fee") or {}, trade["info"].get("fillFee")
        if not paid or fee.get("cost") is None:
            return trade
        return {**trade, "fee": {**fee, "cost": plain(EXACT.subtract(Decimal(0), Decimal(str(paid))))}}


def _inst_type(market: Mapping[str, Any]) -> str:
    """Return the kind of an instrument in the venue's word, without which it tells no history."""
    return {"spot": "SPOT", "swap": "SWAP", "future": "FUTURES", "option": "OPTION"}[market["type"]]
