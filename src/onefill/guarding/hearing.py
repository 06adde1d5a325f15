"""The adapter behind a guard: it also lets whoever waits for a new order hear the venue's reply at once."""

import asyncio
import operator
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from onefill.core.capabilities import Lookup
from onefill.core.intent import Intent
from onefill.core.messages import LIVE, Accepted, SubmitReply, SubmitRequest, VenueOrder, VenueStatus
from onefill.guarding.settings import call_timeout_s
from onefill.guarding.waiter import Waiter
from onefill.venues.ccxt.making import in_place
from onefill.venues.ccxt.venue import CcxtVenue

_TAKEN = LIVE | {VenueStatus.FILLED}
_content = operator.attrgetter(
    "account", "instrument", "side", "quantity", "order_type", "price", "time_in_force", "parameters"
)


class Waiting(msgspec.Struct, frozen=True, eq=False):
    """Somebody who waits for the reply to an order: on the loop, or in a thread."""

    intent: Intent
    told: "asyncio.Future[bool]"
    waiter: Waiter | None = None


class HearingVenue(CcxtVenue):
    """A :class:`~onefill.venues.ccxt.venue.CcxtVenue` that tells of accepted orders before they are recorded as such.

    The claim of the copy is durable by then, so that after a crash the venue is asked and shows the order. Where it cannot be
    asked, and for every reply but a plain yes, what is recorded is waited for.
    """

    def __init__(
        self,
        *arguments: Any,
        reads: Callable[[Mapping[str, Any]], Any],
        alone: Callable[[], bool],
        **settings: Any,
    ) -> None:
        """``reads`` returns what ccxt shows as the call returns it; ``alone``: whether nobody but one call needs the loop.

        The rest is the adapter's own.
        """
        super().__init__(*arguments, **settings)
        self._reads = reads
        self._alone = alone
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
        alone = self._may_hold_the_loop(request)
        with in_place(allowed=alone):
            reply = await super().submit(request)
        if isinstance(reply, Accepted) and _is_as_asked(request, reply.order):
            for one in self._wanting(request):
                if one.waiter is not None:
                    one.waiter.end(self._reads(self.shown[request.client_order_id]))
                    if alone:
                        one.waiter.let_hear()
                if not one.told.done():
                    one.told.set_result(True)
        return reply

    def _wanting(self, request: SubmitRequest) -> list[Waiting]:
        """Return who waits for just this order."""
        waiting = self._waiting.get(request.client_order_id, [])
        return [one for one in waiting if _is_wanted(one.intent, request)]

    def _may_hold_the_loop(self, request: SubmitRequest) -> bool:
        """Tell whether the loop may do nothing but this request: one call alone needs it, and waits longer than that takes."""
        longest_s = 2 * call_timeout_s(self._client.raw.timeout)  # to connect may take as long as to be answered
        waits = (one.waiter.left_s for one in self._wanting(request) if one.waiter is not None)
        return max(waits, default=0.0) >= longest_s and self._alone()


def _is_wanted(intent: Intent, request: SubmitRequest) -> bool:
    """Tell whether a request is this intent's. Another one under the same key is a misuse of it, and is told so elsewhere."""
    return bool(_content(intent) == _content(request))


def _is_as_asked(request: SubmitRequest, order: VenueOrder) -> bool:
    wanted = (request.client_order_id, request.instrument, request.side, request.order_type, request.quantity)
    shown = (order.client_order_id, order.instrument, order.side, order.order_type, order.quantity)
    return wanted == shown and order.price == request.price and order.status in _TAKEN
