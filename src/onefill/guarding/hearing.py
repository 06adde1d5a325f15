"""The adapter behind a guard: it also lets whoever waits for a new order hear the venue's reply at once."""

import asyncio
from typing import Any

from onefill.core.capabilities import Lookup
from onefill.core.messages import LIVE, Accepted, SubmitReply, SubmitRequest, VenueOrder, VenueStatus
from onefill.venues.ccxt.venue import CcxtVenue

_TAKEN = LIVE | {VenueStatus.FILLED}


class HearingVenue(CcxtVenue):
    """A :class:`~onefill.venues.ccxt.venue.CcxtVenue` that tells of accepted orders before they are recorded as such.

    The claim of the copy is durable by then, so that after a crash the venue is asked and shows the order. Where it cannot be
    asked, and for every reply but a plain yes, what is recorded is waited for.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._waiting: dict[str, list[asyncio.Future[bool]]] = {}

    def hear(self, client_order_id: str, told: "asyncio.Future[bool]") -> None:
        """Have ``told`` become true when a reply shows this order as taken."""
        if self.capabilities.lookup is not Lookup.NONE:
            self._waiting.setdefault(client_order_id, []).append(told)

    def unhear(self, client_order_id: str, told: "asyncio.Future[bool]") -> None:
        """Nobody waits on ``told`` any more."""
        waiting = self._waiting.get(client_order_id, [])
        if told in waiting:
            waiting.remove(told)
        if not waiting:
            self._waiting.pop(client_order_id, None)

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Send a new order, once."""
        reply = await super().submit(request)
        if isinstance(reply, Accepted) and _is_as_asked(request, reply.order):
            for told in self._waiting.get(request.client_order_id, []):
                if not told.done():
                    told.set_result(True)
        return reply


def _is_as_asked(request: SubmitRequest, order: VenueOrder) -> bool:
    wanted = (request.client_order_id, request.instrument, request.side, request.order_type, request.quantity)
    shown = (order.client_order_id, order.instrument, order.side, order.order_type, order.quantity)
    return wanted == shown and order.price == request.price and order.status in _TAKEN
