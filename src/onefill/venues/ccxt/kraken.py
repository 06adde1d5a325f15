"""Kraken spot through ccxt: ids as ``cl_ord_id``, deadlines, and questions that ccxt's own methods do not ask in full."""

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import OrderType, TimeInForce
from onefill.venues.ccxt import parameters
from onefill.venues.ccxt.manners import Call, Manners, Order, Signing, Trade, bare_uuid
from onefill.venues.ccxt.orders import Strange
from onefill.venues.last_look import KeptBack

NEAREST_DEADLINE_MS: Final = 2_000
FARTHEST_DEADLINE_MS: Final = 60_000
"""What the venue takes as a deadline, from now (REST documentation, add order)."""
_STAMPED: Final = frozenset({"AddOrder", "AmendOrder"})
_TERMS: Final = frozenset(
    {"pair", "type", "ordertype", "volume", "timeinforce", "cost", "deadline", "clientOrderId", "validate"}
)
"""Parameters that would take the place of what the order itself says, or make no order at all."""


class Kraken(Manners):
    """Kraken spot. ``cl_ord_id`` on create, cancel and amend; look-up by open orders, then closed ones."""

    profile = "kraken"
    poll_s = 6.0
    """Its counter falls by one in three seconds, and a list of trades costs two."""
    nonces_rise = True
    page: ClassVar[int] = 50

    def refuses(self, request: SubmitRequest) -> str | None:
        """Refuse what would be another order at the venue, and a market order to be filled whole or not at all."""
        if request.order_type is OrderType.MARKET and request.time_in_force is TimeInForce.FOK:
            return "Kraken has no market order that is filled whole or not at all"
        for name, value in parameters.read(request.parameters).items():
            if name in _TERMS or (name == "price" and request.price is not None) or "viqc" in str(value):
                return f"parameters: {name!r} would take the place of what the order itself says"
        return None

    def new_order(self, request: SubmitRequest) -> dict[str, Any]:
        """Return the parameters of a new order. A market order passes by itself, and is given no time in force."""
        if request.order_type is OrderType.MARKET:
            return self.client_id(request.client_order_id)
        return super().new_order(request)

    def stamp(self, signing: Signing) -> None:
        """Put the deadline into an order or amend. Raises KeptBack if it is nearer than the venue takes."""
        if signing.path not in _STAMPED:
            return
        if signing.left_ms < NEAREST_DEADLINE_MS:
            raise KeptBack(f"its deadline is {signing.left_ms} ms away, and the venue takes none below 2 s")
        # A second is left for clocks that differ: an earlier deadline is always safe.
        at_ms = min(signing.expires_at_ms, signing.now_ms + FARTHEST_DEADLINE_MS - 1_000)
        signing.params[self.wire.expiry_parameter or "deadline"] = rfc3339(at_ms)

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel, by number where it is known. The reply is a count and shows no order."""
        if request.venue_order_id is not None:
            await call("cancel_order", request.venue_order_id, request.instrument)
        else:
            await call("cancel_order", None, request.instrument, {"cl_ord_id": request.client_order_id})
        return None

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Amend the order, once, and ask how it stands. It keeps number and id; the id in ccxt's reply is the amend's.

        Raises Strange if the amend was taken, and the order cannot be shown.
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
        """Return how the order is named: by its id where its number is not known."""
        return {} if request.venue_order_id is not None else {"cl_ord_id": request.orig_client_order_id}

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for the open order under an id, then for the latest closed one. In this order none is missed that ends between.

        ccxt's own look-up sends ``userref``, which is another thing. Raises Strange if the venue shows orders under other ids.
        """
        asked = {"cl_ord_id": client_order_id}
        opened = await self._asked(call, "privatePostOpenOrders", "open", asked)
        closed = [] if opened else await self._asked(call, "privatePostClosedOrders", "closed", asked)
        if any(self.client_order_id(order) != client_order_id for order in (*opened, *closed)):
            raise Strange("asked for one client order id, the venue shows orders that do not bear it")
        if opened:
            return opened[0]
        return max(closed, key=lambda order: int(order["timestamp"] or 0), default=None)

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that ended since a moment, page by page. ccxt's method has the latest fifty, by when they began."""
        found: dict[str, Order] = {}
        for first in itertools.count(0, self.page):
            # One second more: the venue leaves out what lies at the moment itself.
            asked = {"start": max(since_ms // 1000 - 1, 0), "closetime": "close", "ofs": first}
            page = await self._asked(call, "privatePostClosedOrders", "closed", asked)
            found |= {str(order["id"]): order for order in page}
            if len(page) < self.page:
                break
        return [order for order in found.values() if order["symbol"] == instrument]

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades in an instrument since a moment, page by page. ccxt's method has the latest fifty.

        New trades push older ones on to later pages: some are seen twice, none is missed.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for first in itertools.count(0, self.page):
            asked = {"start": max(since_ms // 1000 - 1, 0), "ofs": first, "consolidate_taker": "false"}
            shown = await call("privatePostTradesHistory", asked)
            page = shown["result"]["trades"]
            found |= {name: {**trade, "id": name} for name, trade in page.items()}
            if len(page) < self.page:
                break
        parsed = [call.exchange.parse_trade(trade) for trade in found.values()]
        wanted = [one for one in parsed if one["symbol"] == instrument and int(one["timestamp"]) >= since_ms]
        return sorted(wanted, key=lambda trade: (int(trade["timestamp"]), self.trade_key(trade)))

    # ----------------------------------------------------------------- reading

    def client_order_id(self, shown: Order) -> str:
        """Return the client order id that an order shows. ccxt gives the user reference, a number, where it finds none."""
        info = shown.get("info")
        return bare_uuid(str(info.get("cl_ord_id") or "")) if isinstance(info, Mapping) else ""

    def heard_trade(self, trade: Trade) -> Trade | None:
        """Have the list read in place of what a stream told.

        That a trade has the same id in both is nowhere stated, and ccxt takes every event of a message for a trade if the
        first one is.
        """
        return None

    async def _asked(self, call: Call, method: str, part: str, asked: dict[str, Any]) -> list[Order]:
        shown = await call(method, asked)
        orders: Mapping[str, Mapping[str, Any]] = shown["result"][part]
        return [call.exchange.parse_order({**order, "id": number}) for number, order in orders.items()]


def rfc3339(at_ms: int) -> str:
    """Return a moment in ms since 1970 as text, such as ``2026-11-21T12:00:00.250Z``."""
    whole, ms = divmod(at_ms, 1000)
    return f"{dt.datetime.fromtimestamp(whole, dt.UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
