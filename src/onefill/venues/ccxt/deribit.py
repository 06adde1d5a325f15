"""Deribit's manners: an order is found by its label, and cancelled by the venue's own number only.

ccxt reads no label out of a reply, so it is read here. Trades are paged by the venue's own sequence, which has no gaps that
matter and no two trades at one place but the two sides of a match with oneself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.client_errors import ancestry
from onefill.core.errors import VenueError
from onefill.core.messages import CancelRequest
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade

RECENT_TRADES_MS: Final = 23 * 3_600_000
"""How far back the recent trades surely reach: the venue says a day, an hour is left for clocks and indexing."""
RECENT_ORDERS_MS: Final = 25 * 60_000
"""Likewise for orders that ended, for which the venue says half an hour."""
_STAMPED: Final = frozenset({"buy", "sell", "edit"})
_MOST_PAGES: Final = 10
"""Pages of older orders that a look-up reads; with more than that it does not say that an order is not there."""


class DeribitManners(Manners):
    """Deribit as ccxt has it: every request goes out as GET."""

    profile: ClassVar[str | None] = "deribit"
    page: ClassVar[int] = 1000

    def client_id(self, client_order_id: str) -> dict[str, Any]:
        """Return the label, which is what an order is found by; the venue refuses nothing for it."""
        return {"label": client_order_id}

    def stamp(self, signing: Signing) -> None:
        """Have the venue process the request before its expiry or not at all."""
        if signing.path in _STAMPED:
            signing.params["valid_until"] = signing.expires_at_ms

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Cancel by the venue's number. A label may name several orders, so without a number it is looked up first."""
        number = request.venue_order_id
        if number is None:
            shown = await self.find(call, request.client_order_id, request.instrument)
            if shown is None:
                raise VenueError(
                    f"Deribit shows no order under the label {request.client_order_id!r}, and a cancel must name the venue's "
                    "number; nothing was sent"
                )
            number = str(shown["id"])
        ended: Order = await call("cancel_order", number, request.instrument)
        return ended

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for the order under a label: among the recent ones, in each currency it may be listed under, then the older.

        Raises :class:`~onefill.core.errors.VenueError` if there are several: one request was carried out twice, and which of
        the two is meant is not for a program to say.
        """
        market = call.exchange.market(instrument)
        found: list[Any] = []
        for currency in _currencies(market):
            asked = {"currency": currency, "label": client_order_id}
            reply = await call("privateGetGetOrderStateByLabel", asked)
            found = [row for row in reply["result"] if row["instrument_name"] == market["id"]]
            if found:
                break
        if not found:
            # Half an hour after its end an order is not among the recent ones any more: not found there is not "never was".
            older = await self._history(call, market["id"], {"historical": True}, _MOST_PAGES)
            found = [row for row in older.values() if row.get("label") == client_order_id]
        if len(found) > 1:
            numbers = ", ".join(str(row["order_id"]) for row in found)
            raise VenueError(
                f"Deribit shows {len(found)} orders under the label {client_order_id!r} ({numbers}): one request was carried "
                "out more than once. Cancel what is too much by its number, then resolve the order by hand"
            )
        shown: Order | None = call.exchange.parse_order(found[0], market) if found else None
        return shown

    async def find_by_number(self, call: Call, venue_order_id: str, instrument: str) -> Order | None:
        """Ask for an order by its number, and in the older history if it is not among the recent ones any more."""
        try:
            return await super().find_by_number(call, venue_order_id, instrument)
        except Exception as error:
            if "OrderNotFound" not in ancestry([type(error)]):
                raise
        market = call.exchange.market(instrument)
        older = await self._history(call, market["id"], {"historical": True}, _MOST_PAGES)
        found = older.get(venue_order_id)
        shown: Order | None = None if found is None else call.exchange.parse_order(found, market)
        return shown

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order. Without an instrument ccxt would ask for one currency only."""
        if instrument is not None:
            return await super().open_orders(call, instrument)
        reply = await call("privateGetGetOpenOrders", {})
        shown: Sequence[Order] = call.exchange.parse_orders(reply["result"])
        return shown

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that ended since a moment, those that never traded included."""
        market = call.exchange.market(instrument)
        rows = await self._history(call, market["id"], {})
        if since_ms < call.exchange.milliseconds() - RECENT_ORDERS_MS:
            rows |= await self._history(call, market["id"], {"historical": True})
        ended = [row for row in rows.values() if int(row["last_update_timestamp"]) >= since_ms]
        shown: Sequence[Order] = call.exchange.parse_orders(ended, market)
        return shown

    async def _history(
        self, call: Call, name: str, which: Mapping[str, Any], most_pages: int | None = None
    ) -> dict[str, Any]:
        """Return all pages of ended orders by number. What ends meanwhile moves the others on: seen twice, not missed."""
        rows: dict[str, Any] = {}
        pages = 0
        while True:
            asked = {
                "instrument_name": name,
                "count": self.page,
                "offset": pages * self.page,
                "include_unfilled": True,
                **which,
            }
            page = (await call("privateGetGetOrderHistoryByInstrument", asked))["result"]
            rows |= {row["order_id"]: row for row in page}
            pages += 1
            if len(page) < self.page:
                return rows
            if pages == most_pages:
                raise VenueError(
                    f"Deribit's history of {name} is longer than {most_pages} pages: whether an order is in it is not known"
                )

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades since a moment: the recent ones, and the older ones where the moment asks for them.

        The recent ones first: what grows old in between is told among the older ones then.
        """
        market = call.exchange.market(instrument)
        rows = await self._pages(call, market["id"], since_ms, {})
        if since_ms < call.exchange.milliseconds() - RECENT_TRADES_MS:
            rows |= await self._pages(call, market["id"], since_ms, {"historical": True})
        trades: Sequence[Trade] = call.exchange.parse_trades(list(rows.values()), market)
        return sorted(trades, key=lambda trade: (int(trade["timestamp"]), int(trade["info"]["trade_seq"])))

    async def _pages(self, call: Call, name: str, since_ms: int, which: Mapping[str, Any]) -> dict[Any, Any]:
        """Return the trades by order and id, the first page by time and every further one by the venue's sequence."""
        asked = {"instrument_name": name, "count": self.page, "sorting": "asc", **which}
        rows: dict[Any, Any] = {}
        reply = await call("privateGetGetUserTradesByInstrumentAndTime", {**asked, "start_timestamp": since_ms})
        while True:
            page, more = reply["result"]["trades"], reply["result"]["has_more"]
            fresh = {(row["order_id"], row["trade_id"]): row for row in page}
            if more and not fresh.keys() - rows.keys():
                raise VenueError(
                    f"Deribit tells the same page of trades in {name} again and again; they are not complete"
                )
            rows |= fresh
            if not more:
                return rows
            # From the last one, not after it: its other side may be the first of the next page.
            last = max(int(row["trade_seq"]) for row in page)
            reply = await call("privateGetGetUserTradesByInstrument", {**asked, "start_seq": last})

    # ----------------------------------------------------------------- reading

    def client_order_id(self, shown: Order) -> str:
        """Return the label, which ccxt leaves in the venue's own part of the order."""
        return str(shown["info"].get("label") or "")

    def trade_client_order_id(self, trade: Trade) -> str:
        """Return the label of the trade's order."""
        return str(trade["info"].get("label") or "")


def _currencies(market: Mapping[str, Any]) -> tuple[str, ...]:
    """Return under which currencies the venue may list an instrument: what settles a contract, either side of a pair."""
    if market["contract"]:
        return (str(market["settleId"]),)
    return str(market["baseId"]), str(market["quoteId"])
