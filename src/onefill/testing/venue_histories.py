"""Random histories: whatever was asked and lost on the way, in the end the adapter's view and the venue's are the same."""

import functools
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal

from onefill.core.capabilities import Lookup, ReplaceStyle
from onefill.core.messages import (
    LIVE,
    Accepted,
    Found,
    Listed,
    NotSent,
    Rejected,
    Replaced,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.testing.venue_bench import BACK_US, Bench, VenueUnderTest, bounded, fact, until
from onefill.testing.venue_kit import Ability
from onefill.testing.venue_questions import same_state
from onefill.testing.venue_stream import Traded, caught_up


class History:
    """One venue's day, made up step by step."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.chance = random.Random(seed)  # noqa: S311 - the same seed must give the same history
        self.sent: list[str] = []
        self.made: list[Traded] = []
        kit = bench.kit
        self._losses: list[Callable[[], Awaitable[None]]] = [
            lose
            for ability, lose in (
                (Ability.LOSE_REPLY, kit.lose_reply),
                (Ability.LOSE_REQUEST, kit.lose_request),
                (Ability.GARBLE_REPLY, kit.garble_reply),
            )
            if ability not in kit.cannot
        ]

    async def step(self) -> None:
        """Do one thing, and look at what is said of it."""
        await self.chance.choice((self._submit, self._submit, self._fill, self._fill, self._cancel, self._replace))()

    async def _perhaps_lost(self) -> bool:
        if not self._losses or self.chance.random() > 0.3:
            return False
        await self.chance.choice(self._losses)()
        return True

    async def _live(self) -> list[VenueOrder]:
        """Return the live orders, the best bid last. What the venue has not decided yet is waited for."""
        await until(self._decided, "an order is never decided")
        live = [order for order in await self.bench.truth() if order.status in LIVE]
        return sorted(live, key=lambda order: order.price or Decimal(0))

    async def _decided(self) -> bool:
        return all(order.status is not VenueStatus.PENDING_NEW for order in await self.bench.truth())

    async def _submit(self) -> None:
        bench = self.bench
        quantity = bench.kit.quantity + self.chance.randint(0, 9) * bench.instrument.quantity_step
        request = bench.order(quantity=quantity)
        lost = await self._perhaps_lost()
        reply = await bench.submit(request)
        assert isinstance(reply, Unknown if lost else Accepted), reply
        self.sent.append(request.client_order_id)

    async def _fill(self) -> None:
        live = await self._live()
        if not live:
            return
        best, step = live[-1], self.bench.instrument.quantity_step
        left = best.quantity - best.cum_quantity
        part = self.bench.part(self.chance.choice((2, 3, 5))) + self.chance.randint(0, 3) * step
        # No rest is left that would be too small to trade: a venue may not take so small an order against it.
        quantity = left if left < part + self.bench.part(8) else part
        await self.bench.filled(best, quantity)
        assert best.price is not None
        self.made.append(Traded(best.client_order_id, quantity, best.price))

    async def _cancel(self) -> None:
        bench, live = self.bench, await self._live()
        if not live:
            return
        order = await bench.shown(self.chance.choice(live).client_order_id)
        if await self._perhaps_lost():
            reply = await bench.cancel(bench.cancelling(order, by_number=True))
            assert isinstance(reply, Unknown | NotSent), reply
        else:
            await bench.cancelled(order)

    async def _replace(self) -> None:
        bench, live = self.bench, await self._live()
        if not bench.kit.replaces_traded:
            live = [order for order in live if not order.cum_quantity]
        if not live or bench.capabilities.replace is ReplaceStyle.NONE:
            return
        order = await bench.shown(self.chance.choice(live).client_order_id)
        request = bench.replacing(order)
        lost = await self._perhaps_lost()
        reply = await bench.replace(request)
        # An adapter may ask how the order stands before it answers, and so know more than the reply said.
        assert isinstance(reply, Replaced | Unknown | NotSent if lost else Replaced), reply
        if isinstance(reply, Replaced):
            now = await bench.shown(request.client_order_id)
            assert (now.quantity, now.price) == (request.quantity, request.price)
        if request.client_order_id != order.client_order_id:
            self.sent.append(request.client_order_id)

    async def shown(self, name: str) -> bool:
        """Tell whether the adapter shows the order under an id as the venue has it, or that there is none."""
        bench, kit = self.bench, self.bench.kit
        if await bench.truths(name):
            await bench.shown(name)
        true = (await bench.truths(name))[-1:]
        reply = await bounded(bench.venue.lookup(name, kit.account, kit.instrument))
        assert not isinstance(reply, Rejected)
        if isinstance(reply, Unknown) and true and true[0].status not in LIVE and not kit.shows_ended:
            return True
        if bench.capabilities.lookup is Lookup.DIRECT and not isinstance(reply, Unknown):
            found = [reply.order] if isinstance(reply, Found) else []
            return len(found) == len(true) and all(map(same_state, found, true))
        listed = await bounded(bench.venue.scan(kit.account, kit.instrument, kit.now_us() - BACK_US))
        if not isinstance(listed, Listed):
            return bench.capabilities.lookup is Lookup.NONE
        under = [order for order in listed.orders if order.client_order_id == name][-1:]
        return len(under) == len(true) and all(map(same_state, under, true))


class HistoryFacts(VenueUnderTest):
    """The adapter's view and the venue's."""

    histories = 3
    """How many days are made up."""
    steps = 25
    """How long each one is."""

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_whatever_happens_both_sides_agree(self, bench: Bench) -> None:
        """After any history of orders, fills, cancels, replaces and losses, every order and execution is shown as it is."""
        made: list[Traded] = []
        for seed in range(self.histories):
            if seed:
                await self._clear(bench)
            history = History(bench, seed)
            for _ in range(self.steps):
                await history.step()
            for name in history.sent:
                await until(functools.partial(history.shown, name), f"seed {seed}: {name} is not shown as it is")
            made += history.made
            await caught_up(bench, made)
            await bench.reconnect()

    async def _clear(self, bench: Bench) -> None:
        """End what is live, so that the next day begins with an empty book."""
        for order in await bench.truth():
            if order.status in LIVE:
                await bench.cancelled(await bench.shown(order.client_order_id))
