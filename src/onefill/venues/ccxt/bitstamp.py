"""Bitstamp spot over ccxt: asked by its own methods where ccxt's leave out what counts.

The status of an order shows what is left of it and what was traded, but no price; the list of open orders shows what is left in
place of the quantity. ccxt reads the one without its side and quantity, and the other as if nothing had traded.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from onefill.core.messages import CancelRequest, ReplaceRequest
from onefill.core.values import EXACT, TimeInForce, plain
from onefill.venues.ccxt.manners import Call, Manners, Order, Trade
from onefill.venues.ccxt.orders import Strange, number

_ZERO: Final = Decimal(0)
_SIDES: Final = {"0": "buy", "1": "sell"}
_STATUSES: Final = {
    "In Queue": "open",
    "Open": "open",
    "Cancel pending": "canceling",
    "Finished": "closed",
    "Canceled": "canceled",
    "Expired": "expired",
}
_FORCES: Final = {TimeInForce.IOC: "ioc_order", TimeInForce.FOK: "fok_order"}
_TRADE: Final = "2"


class Bitstamp(Manners):
    """Bitstamp spot. ``client_order_id`` on create, look-up and cancel."""

    profile: ClassVar[str | None] = "bitstamp"
    shows_prices: ClassVar[bool] = False
    page: ClassVar[int] = 1000

    def time_in_force(self, wanted: TimeInForce) -> dict[str, Any]:
        """Return the venue's switch: ccxt says that it knows ``timeInForce`` here, and passes it on as it is."""
        return {} if wanted is TimeInForce.GTC else {_FORCES[wanted]: True}

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel, by number where it is known. The reply does not say how the order stands.

        ccxt's own method sends the number in any case, and the word None where there is none.
        """
        if request.venue_order_id is not None:
            await call("privatePostCancelOrder", {"id": request.venue_order_id})
        else:
            await call("privatePostCancelOrder", {"client_order_id": request.client_order_id})
        return None

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Ask for a replace, once, of an order that has not traded: the amount of the new order counts from zero.

        That it has not is asked before, and may be untrue when the replace arrives: that is why the profile declares none.
        Raises ccxt's InvalidOrder where it has traded or is not live.
        """
        before = await self._found(call, {"client_order_id": request.orig_client_order_id}, request.instrument)
        if before["status"] != "open" or number(before["filled"]):
            raise _refusal("the order has traded or is over, and a replace would not count that; nothing was changed")
        if request.venue_order_id not in (None, before["id"]):
            raise _refusal("the venue has another order under this id; nothing was changed")
        params = {"id": before["id"], "client_order_id": request.client_order_id}
        shown: Order = await call(
            "edit_order",
            before["id"],
            request.instrument,
            order_type,
            request.side.value,
            call.exchange.number_of(request.quantity),
            None if request.price is None else call.exchange.number_of(request.price),
            params,
        )
        info = shown.get("info")
        # ccxt takes the old order's id, which is told beside the new number, for the new order's.
        named = info.get("client_order_id") if isinstance(info, Mapping) else None
        return {**shown, "clientOrderId": named, "filled": "0"}

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for the order under an id, dead ones included; one that is live is looked for in the list that shows prices."""
        return await self._priced(call, {"client_order_id": client_order_id}, instrument)

    async def find_by_number(self, call: Call, venue_order_id: str, instrument: str) -> Order | None:
        """As :meth:`find`, by the venue's own number."""
        return await self._found(call, {"id": venue_order_id}, instrument)

    async def _priced(self, call: Call, named: dict[str, str], instrument: str) -> Order:
        shown = await self._found(call, named, instrument)
        if shown["status"] == "open":
            listed = await call("privatePostOpenOrdersAll")
            prices = {str(one["id"]): one.get("price") for one in listed}
            shown = {**shown, "price": prices.get(shown["id"])}
        return shown

    async def _found(self, call: Call, named: dict[str, str], instrument: str) -> dict[str, Any]:
        """Ask for the status of an order and read it. Raises Strange."""
        info = await call("privatePostOrderStatus", named)
        if not isinstance(info, Mapping) or not info.get("id"):
            raise Strange("the answer shows no order")
        market = call.exchange.market(instrument)
        left = number(info.get("amount_remaining"))
        if left is None:
            raise Strange("the answer does not show what is left of the order")
        done = _ZERO
        for trade in info.get("transactions") or ():
            quantity = number(trade.get(str(market["baseId"]).lower()))
            if quantity is None:
                raise Strange("the answer shows a trade of the order without its quantity")
            done = EXACT.add(done, quantity)
        return {
            "id": str(info["id"]),
            "clientOrderId": info.get("client_order_id"),
            "symbol": _symbol(call, info.get("market") or info.get("currency_pair"), instrument),
            "side": _SIDES.get(str(info.get("type"))),
            "amount": plain(EXACT.add(left, done)),
            "filled": plain(done),
            "remaining": plain(left),
            "status": _STATUSES.get(str(info.get("status"))),
            "timestamp": call.exchange.parse8601(info.get("datetime")),
            "info": info,
        }

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order. Where the list does not show the quantity beside what is left, each is asked about."""
        found: list[Order] = []
        for one in await call("privatePostOpenOrdersAll"):
            symbol = _symbol(call, one.get("market") or one.get("currency_pair"), None)
            if instrument not in (None, symbol):
                continue
            left, whole = number(one.get("amount")), number(one.get("amount_at_create"))
            if left is None or whole is None:
                shown = await self._found(call, {"id": str(one["id"])}, symbol)
                if shown["status"] in ("open", "canceling"):
                    found.append({**shown, "price": one.get("price")})
                continue
            found.append(
                {
                    "id": str(one["id"]),
                    "clientOrderId": one.get("client_order_id"),
                    "symbol": symbol,
                    "type": "limit",
                    "side": _SIDES.get(str(one.get("type"))),
                    "price": one.get("price"),
                    "amount": plain(whole),
                    "filled": plain(EXACT.subtract(whole, left)),
                    "status": "open",
                    "timestamp": call.exchange.parse8601(one.get("datetime")),
                    "info": one,
                }
            )
        return found

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades in an instrument since a moment, page by page, the latest first.

        New ones push older ones on to later pages: some are seen twice, none is missed. ccxt's method shows the first page.
        """
        market = call.exchange.market(instrument)
        found: dict[tuple[str, str], Trade] = {}
        first = 0
        while True:
            asked = {"pair": market["id"], "offset": first, "limit": self.page, "sort": "desc"}
            page: Sequence[Mapping[str, Any]] = await call("privatePostUserTransactionsPair", asked)
            for one in page:
                if str(one.get("type")) == _TRADE:
                    trade = call.exchange.parse_trade(one, market)
                    found[self.trade_key(trade)] = trade
            oldest = min((call.exchange.parse8601(one["datetime"]) for one in page), default=0)
            if len(page) < self.page or oldest < since_ms:
                break
            first += len(page)
        since = (trade for trade in found.values() if int(trade["timestamp"]) >= since_ms)
        return sorted(since, key=lambda trade: (int(trade["timestamp"]), int(trade["id"])))


def _refusal(reason: str) -> Exception:
    from ccxt import InvalidOrder  # noqa: PLC0415 - takes most of a second

    found: Exception = InvalidOrder(reason)
    return found


def _symbol(call: Call, shown: Any, otherwise: str | None) -> str:
    """Return ccxt's symbol of a market that the venue shows as ``BTC/USD``. Raises Strange."""
    if not shown and otherwise is not None:
        return otherwise
    found = call.exchange.markets_by_id.get(str(shown).replace("/", "").lower())
    if not found:
        raise Strange(f"the answer is about {shown!r}, which is no market that was loaded")
    return str(found[0]["symbol"])
