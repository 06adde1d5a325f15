"""The adapter behind a guard: it also lets whoever waits for a new order hear the venue's reply at once."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from onefill.core.capabilities import Lookup
from onefill.core.intent import Intent
from onefill.core.messages import LIVE, Accepted, SubmitReply, SubmitRequest, VenueOrder, VenueStatus
from onefill.guarding.hands import Hands
from onefill.guarding.settings import call_timeout_s
from onefill.venues.ccxt import orders
from onefill.venues.ccxt.making import Maker, made_by
from onefill.venues.ccxt.orders import Strange
from onefill.venues.ccxt.venue import CcxtVenue

_TAKEN = LIVE | {VenueStatus.FILLED}
_CONTENT = ("account", "instrument", "side", "quantity", "order_type", "price", "time_in_force", "parameters")


class Waiting(msgspec.Struct, frozen=True, eq=False):
    """Somebody who waits for the reply to an order. Whoever waits in a thread may make the request for it there."""

    intent: Intent
    told: "asyncio.Future[bool]"
    hands: Hands | None = None


class HearingVenue(CcxtVenue):
    """A :class:`~onefill.venues.ccxt.venue.CcxtVenue` that tells of accepted orders before they are recorded as such.

    The claim of the copy is durable by then, so that after a crash the venue is asked and shows the order. Where it cannot be
    asked, and for every reply but a plain yes, what is recorded is waited for.
    """

    def __init__(self, *arguments: Any, reads: Callable[[Mapping[str, Any]], Any], **settings: Any) -> None:
        """``reads`` returns what ccxt shows as the call returns it. The rest is the adapter's own."""
        super().__init__(*arguments, **settings)
        self._reads = reads
        self._waiting: dict[str, list[Waiting]] = {}

    def hear(self, client_order_id: str, waiting: Waiting) -> None:
        """Have ``waiting.told`` become true when a reply shows just this order as taken."""
        if self.capabilities.lookup is not Lookup.NONE:
            self._waiting.setdefault(client_order_id, []).append(waiting)

    def unhear(self, client_order_id: str, waiting: Waiting) -> None:
        """Nobody waits there any more."""
        others = [one for one in self._waiting.pop(client_order_id, []) if one is not waiting]
        if others:
            self._waiting[client_order_id] = others

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Send a new order, once."""
        with made_by(self._maker(request)):
            reply = await super().submit(request)
        if isinstance(reply, Accepted) and _is_as_asked(request, reply.order):
            for one in self._waiting.get(request.client_order_id, []):
                if _is_wanted(one.intent, request) and not one.told.done():
                    one.told.set_result(True)
        return reply

    def _maker(self, request: SubmitRequest) -> Maker | None:
        """Return what has the request made in a thread that waits for it, which returns with a plain yes at once."""

        def read(shown: Any) -> Any:
            try:
                order = orders.replied(shown, orders.expected(request), self.manners)
            except Strange:
                return None
            return self._reads(shown) if _is_as_asked(request, order) else None

        longest_s = 2 * call_timeout_s(self._client.raw.timeout)  # to connect may take as long as to be answered
        for one in self._waiting.get(request.client_order_id, []):
            if one.hands is not None and _is_wanted(one.intent, request):
                maker = one.hands.maker(longest_s, read)
                if maker is not None:
                    return maker
        return None


def _is_wanted(intent: Intent, request: SubmitRequest) -> bool:
    """Tell whether a request is this intent's. Another one under the same key is a misuse of it, and is told so elsewhere."""
    return all(getattr(intent, field) == getattr(request, field) for field in _CONTENT)


def _is_as_asked(request: SubmitRequest, order: VenueOrder) -> bool:
    wanted = (request.client_order_id, request.instrument, request.side, request.order_type, request.quantity)
    shown = (order.client_order_id, order.instrument, order.side, order.order_type, order.quantity)
    return wanted == shown and order.price == request.price and order.status in _TAKEN
