"""Gemini spot over ccxt. The venue checks no id: nothing here makes a repeat safe, and Onefill makes none."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.errors import VenueError
from onefill.core.messages import SubmitRequest
from onefill.core.values import OrderType
from onefill.venues.ccxt.manners import Call, Manners, Order, Trade
from onefill.venues.ccxt.orders import Strange

_SECOND_MS: Final = 1000


class Gemini(Manners):
    """Gemini spot. ``client_order_id`` on create and look-up; a cancel takes the number only."""

    profile: ClassVar[str | None] = "gemini"
    nonces_rise = True
    page: ClassVar[int] = 500

    def refuses(self, request: SubmitRequest) -> str | None:
        """Return why an order cannot be passed on: ccxt knows limit orders only there."""
        if request.order_type is not OrderType.LIMIT:
            return f"gemini takes limit orders only, and this one is a {request.order_type} order"
        return super().refuses(request)

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for the order under an id, dead ones included; the latest, where the venue shows several.

        ccxt's own method asks for a number in any case, and does not know the unified name of the id.
        """
        answer = await call("privatePostV1OrderStatus", {"client_order_id": client_order_id})
        shown = answer if isinstance(answer, list) else [answer]
        if not all(isinstance(one, Mapping) and one.get("order_id") for one in shown):
            raise Strange("the answer shows no order")
        found = [call.exchange.parse_order(one) for one in shown]
        return max(found, key=lambda order: (int(order["timestamp"] or 0), int(order["id"])), default=None)

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades in an instrument since a moment: those on or after a second, page by page.

        ccxt's method leaves out what lies before the moment within its second, so that a whole page looks like the last one.
        """
        market = call.exchange.market(instrument)
        found: dict[tuple[str, str], Trade] = {}
        from_s = since_ms // _SECOND_MS
        while True:
            asked: dict[str, Any] = {"symbol": market["id"], "limit_trades": self.page, "timestamp": from_s}
            page: Sequence[Mapping[str, Any]] = await call("privatePostV1Mytrades", asked)
            new = {self.trade_key(one): one for one in (call.exchange.parse_trade(trade, market) for trade in page)}
            fresh = new.keys() - found.keys()
            found |= new
            if len(page) < self.page:
                break
            last_s = max(int(one["timestamp"]) for one in new.values()) // _SECOND_MS
            if not fresh or last_s == from_s:
                raise VenueError(f"{instrument}: more than {self.page} trades in one second cannot all be listed")
            from_s = last_s
        since = (trade for trade in found.values() if int(trade["timestamp"]) >= since_ms)
        return sorted(since, key=lambda trade: (int(trade["timestamp"]), int(trade["id"])))

    def trade_client_order_id(self, trade: Trade) -> str:
        """Return the client order id that a trade shows."""
        info = trade.get("info")
        return str(info.get("client_order_id") or "") if isinstance(info, Mapping) else ""
