"""Coinbase Advanced through ccxt: its own name of the client id, flags that are read, and lists to their last page.

There is no query by client id: an order is found by searching the list of orders.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce, plain
from onefill.venues.ccxt import parameters
from onefill.venues.ccxt.manners import Call, Manners, Order, Trade, bare_uuid
from onefill.venues.ccxt.orders import Strange
from onefill.venues.last_look import KeptBack

SEARCHED: Final = 2_000
"""So many of an instrument's latest orders are searched for a client id."""
_HEX: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ENDS: Final = {"EXPIRED": "expired", "FAILED": "rejected"}
"""What ccxt calls cancelled, and the venue does not."""
_TERMS: Final = frozenset(
    {"product_id", "side", "order_configuration", "cost", "clientOrderId", "preview", "test", "reduceOnly"}
)
"""Parameters that would take the place of what the order itself says, or make no order at all."""
_LISTED: Final = "v3PrivateGetBrokerageOrdersHistoricalBatch"
_FILLS: Final = "v3PrivateGetBrokerageOrdersHistoricalFills"


class Coinbase(Manners):
    """Coinbase Advanced Trade. ``client_order_id``, as a UUID where the profile says so; cancel and edit by number."""

    profile = "coinbase"
    config: ClassVar[Mapping[str, Any]] = {"options": {"fetchBalance": "v3PrivateGetBrokerageAccounts"}}
    page: ClassVar[int] = 250
    orders_page: ClassVar[int] = 1_000
    """Most fills and orders asked for at once, as ccxt does. A venue that shows fewer gives a cursor all the same."""

    # ---------------------------------------------------------------- requests

    def refuses(self, request: SubmitRequest) -> str | None:
        """Refuse what would be another order at the venue, or none at all."""
        for name in parameters.read(request.parameters):
            if name in _TERMS:
                return f"parameters: {name!r} would take the place of what the order itself says"
        return None

    def new_order(self, request: SubmitRequest) -> dict[str, Any]:
        """Return the parameters of ``create_order``. A market order names its quantity: ccxt would name what a buy may cost."""
        if request.order_type is not OrderType.MARKET:
            return super().new_order(request)
        kind = "market_market_fok" if request.time_in_force is TimeInForce.FOK else "market_market_ioc"
        params: dict[str, Any] = self.client_id(request.client_order_id)
        params["order_configuration"] = {kind: {"base_size": plain(request.quantity)}}
        if request.side is Side.BUY:
            params["createMarketBuyOrderRequiresPrice"] = False  # else ccxt wants a price, to reckon the cost from
        return params

    def client_id(self, client_order_id: str) -> dict[str, Any]:
        """Return how a new order is given its client order id. The unified name is dropped by ccxt, and a random id sent."""
        written = client_order_id
        if self.wire.client_id_as_uuid and _HEX.fullmatch(written):
            written = "-".join((written[:8], written[8:12], written[12:16], written[16:20], written[20:]))
        return {self.wire.client_id_parameter or "client_order_id": written}

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel by number, once, and read the flag of that order. The reply shows no order."""
        if request.venue_order_id is None:
            raise KeptBack("this venue cancels by its own order number, which is not known")
        asked = {"order_ids": [request.venue_order_id]}
        shown = await call("v3PrivatePostBrokerageOrdersBatchCancel", asked)
        flags = {one.get("order_id"): one.get("success") for one in shown.get("results") or ()}
        if flags.get(request.venue_order_id) is True:
            return None
        if flags.get(request.venue_order_id) is False:
            raise _refused(call, f"the cancel was refused: {shown}")
        raise Strange("the cancel's reply says nothing about the order")

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Edit the order, once, and ask how it stands. ccxt's own method returns an edit that failed as if it had not.

        Raises Strange if the edit was taken, and the order cannot be shown.
        """
        if request.venue_order_id is None:
            raise KeptBack("this venue edits by its own order number, which is not known")
        asked = {"order_id": request.venue_order_id, "size": plain(request.quantity)}
        if request.price is not None:
            asked["price"] = plain(request.price)
        shown = await call("v3PrivatePostBrokerageOrdersEdit", asked)
        if shown.get("success") is False:
            raise _refused(call, f"the edit was refused: {shown.get('errors')}")
        if shown.get("success") is not True:
            raise Strange("the edit's reply does not say whether it was taken")
        try:
            found = await self.find_by_number(call, request.venue_order_id, request.instrument)
        except Exception as error:  # noqa: BLE001 - it is about the question: the edit itself was taken
            raise Strange(f"the venue took the edit, and did not show the order: {type(error).__name__}") from None
        if found is None:
            raise Strange("the venue took the edit, and shows no such order")
        return found

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Search the instrument's orders for an id, the latest first. Raises Strange where there are too many to search."""
        asked = {"product_id": call.exchange.market(instrument)["id"]}
        found: list[Order] = []

        def seen(page: Sequence[Mapping[str, Any]]) -> bool:
            found.extend(self._order(call, one) for one in page)
            return len(found) >= SEARCHED or any(self.client_order_id(one) == client_order_id for one in found)

        whole = await self._pages(call, _LISTED, "orders", asked, seen)
        for one in found:
            if self.client_order_id(one) == client_order_id:
                return one
        if not whole:
            raise Strange(f"the order is not among the latest {len(found)}, and there are more")
        return None

    async def find_by_number(self, call: Call, venue_order_id: str, instrument: str) -> Order | None:
        """Ask for one order by its number."""
        shown: Order = await call("fetch_order", venue_order_id, instrument)
        return self._mended(shown)

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order, of one instrument or of all, to the last page."""
        return await self._orders(call, instrument, {"order_status": "OPEN"})

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that began since a moment, whatever became of them, and older ones that traded since.

        The venue lists orders by when they began: an older one that was cancelled since, and never traded, is not among them.
        """
        began = {"start_date": call.exchange.iso8601(since_ms)}
        found = {str(one["id"]): one for one in await self._orders(call, instrument, began)}
        for trade in await self.trades(call, instrument, since_ms):
            number = str(trade["order"])
            if number not in found:
                older = await self.find_by_number(call, number, instrument)
                if older is not None:
                    found[number] = older
        return list(found.values())

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's fills in an instrument since a moment, to the last page, oldest first.

        Raises Strange for a fill that takes back or corrects an earlier one: it must not be counted as one more.
        """
        asked = {
            "product_id": call.exchange.market(instrument)["id"],
            "start_sequence_timestamp": call.exchange.iso8601(since_ms),
        }
        fills: list[Mapping[str, Any]] = []

        def seen(page: Sequence[Mapping[str, Any]]) -> bool:
            fills.extend(page)
            return False

        await self._pages(call, _FILLS, "fills", asked, seen)
        for fill in fills:
            if fill.get("trade_type", "FILL") != "FILL":
                kind, number = fill["trade_type"], fill.get("order_id")
                raise Strange(f"the venue tells of a {kind} in its order {number}, which only a person can book")
        found: dict[tuple[str, str], Trade] = {}
        for fill in fills:
            trade = call.exchange.parse_trade(fill)
            twin = found.setdefault(self.trade_key(trade), trade)
            if twin["info"].get("entry_id") != fill.get("entry_id"):
                raise Strange(
                    f"the venue lists two fills of its order {trade['order']} under one trade id, {trade['id']}"
                )
        return sorted(found.values(), key=lambda trade: (int(trade["timestamp"]), self.trade_key(trade)))

    # ----------------------------------------------------------------- reading

    def client_order_id(self, shown: Order) -> str:
        """Return the client order id that an order shows, as it is written here: a UUID without its hyphens."""
        written = super().client_order_id(shown)
        return bare_uuid(written) if self.wire.client_id_as_uuid else written

    async def _orders(self, call: Call, instrument: str | None, asked: Mapping[str, Any]) -> list[Order]:
        """Return the orders that the venue lists, without those of which it does not say how much was wanted."""
        product = {} if instrument is None else {"product_id": call.exchange.market(instrument)["id"]}
        found: list[Order] = []

        def seen(page: Sequence[Mapping[str, Any]]) -> bool:
            found.extend(self._order(call, one) for one in page)
            return False

        await self._pages(call, _LISTED, "orders", {**asked, **product}, seen)
        return [one for one in found if one["amount"] is not None]

    async def _pages(
        self,
        call: Call,
        method: str,
        part: str,
        asked: Mapping[str, Any],
        enough: Callable[[Sequence[Mapping[str, Any]]], bool],
    ) -> bool:
        """Show ``enough`` page after page until it says so. Return whether the last page was seen. Raises Strange."""
        limit, cursor = self.page if method == _FILLS else self.orders_page, ""
        while True:
            leading = {"cursor": cursor} if cursor else {}
            shown = await call(method, {**asked, "limit": limit, **leading})
            before, cursor = cursor, str(shown.get("cursor") or "")
            last = not cursor or shown.get("has_next") is False
            if enough(shown[part]) or last:
                return last
            if cursor == before:
                raise Strange("the venue's list does not go on")

    def _order(self, call: Call, raw: Mapping[str, Any]) -> Order:
        shown: Order = call.exchange.parse_order(dict(raw))
        return self._mended(shown)

    def _mended(self, shown: Order) -> Order:
        """Return an order with what ccxt leaves out: quantity and price of all kinds, and how it ended."""
        info = shown.get("info") or {}
        written = next(iter((info.get("order_configuration") or {}).values()), None) or {}
        amount = shown.get("amount") or written.get("base_size")
        if amount is None and info.get("filled_size") not in (None, "", "0"):
            amount = info["filled_size"]  # an order for a sum of money: what it bought is all that it could
        status = _ENDS.get(str(info.get("status")), shown.get("status"))
        return {**shown, "amount": amount, "price": shown.get("price") or written.get("limit_price"), "status": status}


def _refused(call: Call, problem: str) -> Exception:
    from ccxt import BadRequest  # noqa: PLC0415 - whoever gets here has it loaded

    refused: Exception = BadRequest(f"{call.exchange.id} {problem}")
    return refused
