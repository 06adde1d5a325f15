"""One small order on a test network, far from the market: what the venue does about its client order id.

It is placed once, looked up, sent again under the same id, and cancelled. Whatever happens, the end is an attempt to cancel,
and a word about what may be left.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, Final

from onefill.core.capabilities import DuplicateReply
from onefill.core.errors import CallerError
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    CancelRequest,
    DuplicateId,
    Found,
    Rejected,
    SubmitRequest,
    VenueOrder,
    VenueStatus,
)
from onefill.core.values import OrderType, Side, TimeInForce, plain
from onefill.service.venue_check import Checker, NotAsked, NotHeld, new_id
from onefill.service.venue_settings import CcxtSettings

_FAR: Final = Decimal("0.5")
"""The order's price as a part of the last price: it buys, so that it does not trade."""
_LOOKS: Final = 10
_PAUSE_S: Final = 0.5
"""A venue may show an order or its end a moment after it said so."""


def refuse_real(venue: CcxtSettings) -> None:
    """Raise CallerError unless this is a test network, or an address of the user's own such as an imitation's."""
    if not venue.testnet and venue.url is None:
        raise CallerError(
            "--with-order: this is the real venue, and an order there is an order. It is for test networks: set testnet. "
            "Nothing was asked and nothing was sent"
        )


class OrderCheck:
    """Tries one order. ``price`` stands in place of half the last price. Raises CallerError for a real venue."""

    def __init__(self, checker: Checker, price: Decimal | None) -> None:
        refuse_real(checker.settings)
        self._checker = checker
        self._venue = checker.venue
        self._price = price
        self._client_order_id = new_id(checker.venue)
        self._order: VenueOrder | None = None
        self._others: list[VenueOrder] = []
        """Orders that a repeat of the same id made."""

    async def run(self) -> None:
        """Make the checks, and cancel."""
        attempt = self._checker.attempt
        async with self._canceled_at_the_end():
            if await attempt("a new order", self._place):
                await attempt("look-up of a live order", self._look_up)
                await attempt("the same id again", self._repeat)

    @contextlib.asynccontextmanager
    async def _canceled_at_the_end(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._checker.attempt("cancel", self._cancel)
            if self._order is not None:
                await self._checker.attempt("look-up of a canceled order", self._look_up_dead)

    async def _request(self) -> SubmitRequest:
        symbol = self._checker.symbol
        instrument = self._checker.instruments[symbol]
        price = self._price
        if price is None:
            price = await self._last_price(symbol) * _FAR
        price = max(
            (price / instrument.price_tick).to_integral_value(ROUND_DOWN) * instrument.price_tick, instrument.price_tick
        )
        limits: Any = self._checker.client.exchange.market(symbol).get("limits") or {}
        cost = Decimal(str((limits.get("cost") or {}).get("min") or 0))
        steps = (cost / price / instrument.quantity_step).to_integral_value(ROUND_UP)
        expiry_s = self._venue.capabilities.request_expiry_s
        return SubmitRequest(
            client_order_id=self._client_order_id,
            account=self._checker.settings.account,
            instrument=symbol,
            side=Side.BUY,
            quantity=max(steps * instrument.quantity_step, instrument.min_quantity),
            order_type=OrderType.LIMIT,
            price=price,
            time_in_force=TimeInForce.GTC,
            expires_at_us=None if expiry_s is None else time.time_ns() // 1000 + int(expiry_s * 1_000_000),
        )

    async def _last_price(self, symbol: str) -> Decimal:
        if not self._checker.client.has("fetchTicker"):
            raise NotAsked("the last price cannot be had through ccxt; give one with --price")
        shown = (await self._checker.ask("fetch_ticker", symbol)).get("last")
        if not shown:
            raise NotAsked("the venue tells no last price; give one with --price")
        return Decimal(str(shown))

    async def _place(self) -> str:
        request = await self._request()
        reply = await self._venue.submit(request)
        if not isinstance(reply, Accepted):
            raise NotHeld(f"{type(reply).__name__}: {reply.reason}")
        self._order = reply.order
        terms = f"{plain(request.quantity)} {request.instrument} at {plain(request.price or Decimal(0))}"
        return f"{terms} is order {reply.order.venue_order_id} under {self._client_order_id}"

    async def _shown(self, wanted: frozenset[VenueStatus]) -> VenueOrder:
        """Return the order as it is found by its id, in a wanted state. Raises NotHeld."""
        seen = "nothing"
        for _ in range(_LOOKS):
            found = await self._venue.lookup(
                self._client_order_id, self._checker.settings.account, self._checker.symbol
            )
            if isinstance(found, Found):
                if found.order.status in wanted:
                    return found.order
                seen = f"order {found.order.venue_order_id} as {found.order.status}"
            else:
                seen = f"{type(found).__name__}: {found.reason}"
            await asyncio.sleep(_PAUSE_S)
        raise NotHeld(f"by its client order id the venue shows {seen}")

    async def _look_up(self) -> str:
        if not self._venue.capabilities.can_be_asked:
            raise NotAsked("not declared for this venue")
        found = await self._shown(LIVE)
        return f"found by its client order id: {found.venue_order_id}, {found.status}"

    async def _repeat(self) -> str:
        """Send the same id again while the order is open. What the profile says of that is what must come of it."""
        said = self._venue.capabilities
        reply = await self._venue.submit(await self._request())
        if isinstance(reply, Accepted):
            original = self._order is not None and reply.order.venue_order_id == self._order.venue_order_id
            if not original:
                self._others.append(reply.order)
            did, seen = (
                (DuplicateReply.ORIGINAL, "the first order came back")
                if original
                else (DuplicateReply.ACCEPTS, f"a second order, {reply.order.venue_order_id}, was made")
            )
        elif isinstance(reply, DuplicateId | Rejected):
            did, seen = DuplicateReply.ERROR, f"{type(reply).__name__}: {reply.reason}"
        else:
            raise NotHeld(f"{type(reply).__name__}: {reply.reason}")
        if did is DuplicateReply.ACCEPTS and said.refuses_repeats:
            raise NotHeld(f"{seen}; the venue is believed to refuse a repeat")
        if isinstance(reply, Rejected):
            raise NotHeld(f"{seen}; it is not known as the refusal of a repeat")
        return f"{seen} (believed: {said.duplicate_reply})"

    async def _cancel(self) -> str:
        left, seen = [], ""
        for order in filter(None, [self._order, *self._others]):
            reply = await self._venue.cancel(
                CancelRequest(
                    client_order_id=order.client_order_id,
                    account=self._checker.settings.account,
                    instrument=order.instrument,
                    venue_order_id=order.venue_order_id,
                )
            )
            seen = "canceled" if isinstance(reply, Canceled) else reply.reason
            if not await self._gone(order):
                left.append(order.venue_order_id)
        if left:
            raise NotHeld(f"{seen}; still listed as open: {', '.join(left)}. Cancel by hand")
        if self._order is None:
            raise NotAsked(
                f"no order is known to be there; if its reply was lost, {self._client_order_id} is its client order id"
            )
        return f"{seen}; none is open any more"

    async def _gone(self, order: VenueOrder) -> bool:
        for _ in range(_LOOKS):
            shown = await self._checker.bounded(self._venue.manners.open_orders(self._checker.client, order.instrument))
            if all(str(one.get("id")) != order.venue_order_id for one in shown):
                return True
            await asyncio.sleep(_PAUSE_S)
        return False

    async def _look_up_dead(self) -> str:
        if not self._venue.capabilities.can_be_asked:
            raise NotAsked("not declared for this venue")
        if self._others:
            raise NotAsked("more than one order bears the id now")
        if not self._venue.manners.shows_prices:
            raise NotAsked("this venue shows an order that is over without its terms; its end is told by the stream")
        found = await self._shown(frozenset(VenueStatus) - LIVE)
        return f"found by its client order id: {found.venue_order_id}, {found.status}"
