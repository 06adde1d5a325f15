"""Hyperliquid through ccxt.

ccxt signs an order when it is put together, and knows no expiry for it: ``expiresAfter`` is put in and the action signed anew
at the last moment. By itself it also approves a fee for its own makers and names them as referrer, with every client: that is
switched off.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.errors import VenueError
from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, TimeInForce
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade
from onefill.venues.ccxt.orders import Strange

MOST_FILLS: Final = 2_000
"""Most fills in one answer (info endpoint, user fills by time)."""
MOST_HISTORY: Final = 2_000
"""Most entries of the list of past orders, one for each state that an order was in (info endpoint, historical orders)."""
_STATES: Final = 3
"""As many entries as an order may take up there: open, and how it ended, and one to be careful."""


class HyperliquidManners(Manners):
    """``cloid``; an expiry that is signed with the order; found by its status, else among live orders, past ones and fills."""

    profile: ClassVar[str | None] = "hyperliquid"
    poll_s = 4.0
    """A list of fills weighs 20, and 1,200 a minute are granted."""
    config: ClassVar[Mapping[str, Any]] = {
        "options": {
            "approvedBuilderFee": True,  # so that no approval is sent
            "builderFee": False,
            "refSet": True,
            "fetchMarkets": {"types": ["spot", "swap"]},
        }
    }
    times_in_force: ClassVar[frozenset[TimeInForce]] = frozenset({TimeInForce.GTC, TimeInForce.IOC})
    page: ClassVar[int] = MOST_FILLS

    async def begin(self, call: Call) -> None:
        """Ask which kind of account it is."""
        await call("is_unified_enabled", "fetchBalance")

    # ---------------------------------------------------------------- requests

    def refuses(self, request: SubmitRequest) -> str | None:
        """Refuse a market order: there are none, and ccxt would send a limit order some way off a price that it is given."""
        if request.order_type is OrderType.MARKET:
            return "Hyperliquid has no market orders; send a limit order, IOC if it must not rest"
        return None

    def client_id(self, client_order_id: str) -> dict[str, Any]:
        """Return the id by ccxt's name for it, which becomes the order's ``c``."""
        return {"clientOrderId": client_order_id}

    def stamp(self, signing: Signing) -> None:
        """Sign the action anew, with the expiry, and without a builder who gets nothing."""
        action = signing.params.get("action")
        if signing.path != "exchange" or not isinstance(action, dict):
            return
        if (action.get("builder") or {}).get("f") == 0:
            action = {field: value for field, value in action.items() if field != "builder"}
        vault, nonce = signing.params.get("vaultAddress"), signing.params["nonce"]
        signing.params["action"] = action
        signing.params["expiresAfter"] = signing.expires_at_ms
        signing.params["signature"] = signing.exchange.sign_l1_action(action, nonce, vault, signing.expires_at_ms)

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel, once. The reply says ``success`` and names no order."""
        await super().cancel(call, request)
        return None

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Refuse: whether a modification counts what was executed is not known. Raises NotSupported."""
        from ccxt import NotSupported  # noqa: PLC0415 - an extra, and slow to import

        raise NotSupported("Hyperliquid's modify could execute more than is wanted; cancel, and send a new order")

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for the status, then among live orders, past orders and fills: the status alone misses live orders at times.

        Raises Strange if fills know the order and nothing shows it.
        """

        def wanted(order: Order) -> bool:
            return self.client_order_id(order) == client_order_id

        found = await self._found(call, instrument, ("", instrument, {"clientOrderId": client_order_id}), wanted)
        if found is not None:
            return found
        for fill in await call("fetch_my_trades", instrument):
            if self.trade_client_order_id(fill) == client_order_id:
                by_number = await self.find_by_number(call, str(fill["order"]), instrument)
                if by_number is None:
                    raise Strange(f"fills name the order, number {fill['order']}, and it is not shown")
                return by_number
        return None

    async def find_by_number(self, call: Call, venue_order_id: str, instrument: str) -> Order | None:
        """As :meth:`find`, by the venue's own number, without the fills."""
        arguments = (venue_order_id, instrument)
        return await self._found(call, instrument, arguments, lambda order: str(order["id"]) == venue_order_id)

    async def _found(
        self, call: Call, instrument: str, arguments: tuple[Any, ...], wanted: Callable[[Order], bool]
    ) -> Order | None:
        from ccxt import OrderNotFound  # noqa: PLC0415 - an extra, and slow to import

        try:
            shown: Order = await call("fetch_order", *arguments)
        except OrderNotFound:
            for method in ("fetch_open_orders", "fetch_orders"):
                listed: Sequence[Order] = [one for one in await call(method, instrument) if wanted(one)]
                if listed:
                    return max(listed, key=lambda one: (one.get("status") == "open", int(one["timestamp"] or 0)))
            return None
        return shown

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that are over, of those made since a moment. Raises Strange if the list may not go back so far."""
        listed: Sequence[Order] = await call("fetch_orders", None)
        oldest_ms = min((int(one["timestamp"] or 0) for one in listed), default=0)
        if len(listed) * _STATES >= MOST_HISTORY and oldest_ms > since_ms:
            raise Strange(f"the list of past orders may not go back to {since_ms} ms")
        return [
            one
            for one in listed
            if one["symbol"] == instrument and one["status"] != "open" and int(one["timestamp"] or 0) >= since_ms
        ]

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's fills in an instrument since a moment, page by page, oldest first.

        A page counts the fills of all instruments, so that only one of all tells whether it is full. Raises VenueError where
        more fills than fit on a page happened in one ms.
        """
        found: dict[tuple[str, str], Trade] = {}
        while True:
            page: Sequence[Trade] = await call("fetch_my_trades", None, since_ms)
            found |= {self.trade_key(fill): fill for fill in page if fill["symbol"] == instrument}
            if len(page) < self.page:
                return sorted(found.values(), key=lambda fill: (int(fill["timestamp"]), self.trade_key(fill)))
            last_ms = max(int(fill["timestamp"]) for fill in page)
            if last_ms <= since_ms:
                raise VenueError(
                    f"hyperliquid: {len(page)} fills in one ms, {since_ms}: those after them cannot be listed"
                )
            since_ms = last_ms

    # ----------------------------------------------------------------- reading

    def replied(self, shown: Order) -> Order:
        """Return a reply without a quantity: of an order that does not rest it tells what was executed, not the size."""
        return {**shown, "amount": None, "remaining": None}

    def trade_key(self, trade: Trade) -> tuple[str, str]:
        """Return the order's number, and what the venue tells a fill apart by: time, coin, tid and side together."""
        info = trade["info"]
        name = "-".join(str(info.get(field) or "") for field in ("time", "coin", "tid", "side"))
        return str(trade.get("order") or ""), name if info.get("tid") else ""

    def heard_trade(self, trade: Trade) -> Trade | None:
        """Have the list read: of a stream's fill ccxt takes the fee for USDC, whatever it was paid in."""
        return None

    def trade_client_order_id(self, trade: Trade) -> str:
        """Return ``cloid``, which a fill may show."""
        return str(trade["info"].get("cloid") or "")
