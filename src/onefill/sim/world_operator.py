"""The person at the end of a world, who knows the truth and says it of every order that waits for a person.

Some of them also say what is wrong, where the venue can be asked: that must be refused (:class:`ContradictsEvidence`).
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from onefill.core.capabilities import Lookup
from onefill.core.events import Verdict
from onefill.core.lifecycle import ENDED
from onefill.core.messages import LIVE, VenueStatus
from onefill.core.order import Order
from onefill.engine.gateway import Gateway
from onefill.sim.history import Answered
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.world_life import Life
from onefill.sim.world_plan import ACCOUNT, STRATEGY

if TYPE_CHECKING:
    from onefill.sim.world import World

_TRIES = 30
_PAUSE_S = 5.0
LIE = "a lie: "
"""What the content of a wrong word begins with in the history."""


class Operator:
    """Resolves what is parked."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def resolve(self, life: Life, order: Order) -> None:
        """Say what became of a parked order, until it is believed."""
        world = self._world
        if world.plan.operator_lies and world.plan.dialect.lookup is not Lookup.NONE:
            await self._lie(life, order)
        for _ in range(_TRIES):
            while world.network.under_way(world.ids_of(order)):  # noqa: ASYNC110 - virtual time
                # A person who knows the truth also knows that it may still change.
                await asyncio.sleep(1.0)
            now = next((one for one in life.gateway.open_orders() if one.key == order.key), None)
            if now is None or not now.parked:
                return
            said = await self._say(life, now, *self._truth(now))
            if said.answer is not None:
                return
            await asyncio.sleep(_PAUSE_S)

    async def deny(self, life: Life, order: Order) -> None:
        """Say of an order whose fate is known that it was never sent."""
        if order.status in ENDED:
            await self._say(life, order, Verdict.NOT_SENT, None, lie=True)

    async def end_forgotten(self, life: Life) -> bool:
        """Say of every order that is live here and over at the venue that it ended; return whether there was one."""
        world, any_ended = self._world, False
        over = {one.venue_order_id for one in world.exchange.all_orders() if one.status not in LIVE}
        for order in life.gateway.open_orders():
            if order.venue_order_id in over and not order.replacing:
                said = await self._say(life, order, Verdict.ENDED, None)
                any_ended = any_ended or said.answer is not None
        return any_ended

    async def deny_live(self, life: Life) -> None:
        """Say of orders that are live at the venue, and shown there, that they ended."""
        world = self._world
        if world.plan.dialect.lookup is Lookup.NONE:
            return
        live = {one.venue_order_id for one in world.exchange.all_orders() if one.status in LIVE}
        for order in life.gateway.open_orders()[:3]:
            number = order.venue_order_id
            if number in live and world.seen_by_readers(number or ""):
                await self._say(life, order, Verdict.ENDED, None, lie=True)

    def _truth(self, order: Order) -> tuple[Verdict, str | None]:
        wanted = order.client_order_id
        if order.replacement is not None and order.replacing:
            wanted = order.replacement.client_order_id
        for one in self._world.exchange.all_orders():
            # What was rejected never was an order: nothing of it is there.
            if one.client_order_id == wanted and one.status is not VenueStatus.REJECTED and _is_wanted(order, one):
                return Verdict.ADOPT, one.venue_order_id
        return Verdict.NOT_SENT, None

    async def _lie(self, life: Life, order: Order) -> None:
        verdict, number = self._truth(order)
        if verdict is Verdict.NOT_SENT:
            # Of a replaced order, a venue that forgets can say nothing against any number.
            if not (order.replacing and self._world.plan.dialect.lookup_forgets_after_s is not None):
                await self._say(life, order, Verdict.ADOPT, "X99999", lie=True)
        elif self._world.seen_by_readers(number or ""):
            await self._say(life, order, Verdict.NOT_SENT, None, lie=True)

    async def _say(
        self, life: Life, order: Order, verdict: Verdict, number: str | None, *, lie: bool = False
    ) -> Answered:
        async def work(gateway: Gateway) -> bytes:
            resolved: Awaitable[Order] = gateway.resolve(
                order.key,
                account=ACCOUNT,
                strategy=STRATEGY,
                verdict=verdict,
                venue_order_id=number,
                by="operator",
                reason="looked it up",
            )
            return str((await resolved).status).encode()

        content = f"{LIE if lie else ''}{verdict} {number or ''}".rstrip()
        return await self._world.callers.call(life, ("resolve", order.key, content, None), work)


def _is_wanted(order: Order, there: ExchangeOrder) -> bool:
    """Tell whether an order of the venue can be what is asked about: after a replace that keeps the id, by its terms."""
    wanted = order.replacement
    if wanted is None or not order.replacing or order.gets_new_id:
        return True
    return (there.quantity, there.price) == (wanted.quantity, wanted.price)
