"""Bitget v2 through ccxt, spot, on a classic account.

ccxt asks by itself which kind of account it is, takes any failure of that question for "classic", and keeps that for ever.
So it is told: a unified account is set by ``options = {"uta": true}``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, Side
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade

KEPT_MS: Final = 90 * 86_400_000
"""How far back orders that are over, and fills, are listed (v2 documentation, history orders, fills)."""
_PLACE: Final = ("place-order",)
_FUTURE_MS: Final = 60_000


class BitgetManners(Manners):
    """``clientOid`` on everything, ``requestTime`` and ``receiveWindow`` as a new order is signed, lists read before an id."""

    profile: ClassVar[str | None] = "bitget"
    config: ClassVar[Mapping[str, Any]] = {"options": {"uta": False}}

    # ---------------------------------------------------------------- requests

    def refuses(self, request: SubmitRequest) -> str | None:
        """Refuse a market buy, which is meant in the quote currency, and contracts: for them no expiry is documented."""
        if ":" in request.instrument:
            return "Bitget's profile holds for spot: that an order of contracts expires is not documented"
        if request.order_type is OrderType.MARKET and request.side is Side.BUY:
            return "Bitget takes the size of a market buy in the quote currency; send a limit order, IOC if it must not rest"
        return None

    def stamp(self, signing: Signing) -> None:
        """Have a new order be good until the expiry: so long after ``requestTime``, by ``receiveWindow``."""
        if signing.path.endswith(_PLACE):
            signing.params["requestTime"] = str(signing.now_ms)
            signing.params["receiveWindow"] = str(signing.left_ms)

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel, once. The reply has ids only, and says that the cancel was taken in."""
        if request.venue_order_id is not None:
            await call("cancel_order", request.venue_order_id, request.instrument)
        else:
            await call("cancel_order", None, request.instrument, {"clientOid": request.client_order_id})
        return None

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Refuse: cancel-replace makes a new order of the size given, whatever was executed meanwhile. Raises NotSupported."""
        from ccxt import NotSupported  # noqa: PLC0415 - an extra, and slow to import

        raise NotSupported("Bitget's cancel-replace could execute more than is wanted; cancel, and send a new order")

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for one order by ``clientOid``. Its id goes in the place of a number too: ccxt puts that into its message."""
        shown: Order = await call("fetch_order", client_order_id, instrument, {"clientOid": client_order_id})
        return shown

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return the live orders, page by page."""
        return await self._pages(call, "fetch_open_orders", instrument, None)

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that are over, of those made since a moment, within the last 90 days."""
        start_ms, until = _window(call, since_ms)
        return await self._pages(call, "fetch_canceled_and_closed_orders", instrument, start_ms, until)

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's fills in an instrument since a moment, within the last 90 days, oldest first."""
        start_ms, until = _window(call, since_ms)
        shown = await self._pages(call, "fetch_my_trades", instrument, start_ms, until)
        found = {self.trade_key(trade): trade for trade in shown}
        return sorted(found.values(), key=lambda trade: (int(trade["timestamp"]), self.trade_key(trade)))

    async def _pages(
        self,
        call: Call,
        method: str,
        instrument: str | None,
        since_ms: int | None,
        params: Mapping[str, Any] | None = None,
    ) -> list[Mapping[str, Any]]:
        """Return a list of the venue's to its end: each page goes on before the lowest id of the one before."""
        found: list[Mapping[str, Any]] = []
        asked = dict(params or {})
        while True:
            page: Sequence[Mapping[str, Any]] = await call(method, instrument, since_ms, self.page, dict(asked))
            found += page
            lowest = min((int(one["id"]) for one in page), default=0)
            if len(page) < self.page or asked.get("idLessThan") == str(lowest):
                return found
            asked["idLessThan"] = str(lowest)

    # ----------------------------------------------------------------- reading

    def heard_trade(self, trade: Trade) -> Trade | None:
        """Have the list read: of a stream's fill ccxt reads another time, and a fee that was received as one that was paid."""
        return None


def _window(call: Call, since_ms: int) -> tuple[int, dict[str, Any]]:
    """Return from when to ask, and until when: 90 days at most, and a little beyond now, as the venue's clock may be ahead."""
    now_ms = int(call.exchange.milliseconds())
    return max(since_ms, now_ms + _FUTURE_MS - KEPT_MS), {"endTime": now_ms + _FUTURE_MS}
