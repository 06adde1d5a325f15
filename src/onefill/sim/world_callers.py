"""Those who use the gateways of a world: impatient callers, others at the exchange, and the operator at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from onefill.core.errors import OnefillError
from onefill.core.messages import SubmitRequest
from onefill.core.values import OrderType, plain
from onefill.engine.gateway import Gateway
from onefill.sim.history import Answered, Called, Market
from onefill.sim.world_feed import OTHERS
from onefill.sim.world_life import Life
from onefill.sim.world_plan import ACCOUNT, STRATEGY, SYMBOL, Cancel, Replace, Submit, Trade

if TYPE_CHECKING:
    from onefill.sim.world import World

GONE = "gone"
"""The error of a call whose process died before it answered."""
GAVE_UP = "gave up"
"""The error of a call that its caller ended."""
_FINAL = frozenset({"KeyReused", "UnknownKey", "CannotReplace", "InvalidField", "UnknownVenue", "ContradictsEvidence"})
"""What is said to a caller whose request is wrong: repeating it is of no use."""


class Callers:
    """Performs the script's calls, each in the process of whatever gateway is there."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._calls = 0

    async def call(
        self,
        life: Life,
        called: tuple[str, str, str, str | None],
        work: Callable[[Gateway], Awaitable[bytes]],
        gives_up_after_s: float | None = None,
    ) -> Answered:
        """Make one call, and note what came of it."""
        world = self._world
        self._calls += 1
        number, (what, key, content, operation_key) = self._calls, called
        world.history.add(Called(world.at_us(), number, life.number, what, key, content, operation_key))

        async def inside() -> bytes:
            return await work(life.gateway)

        task = life.spawn(inside())
        if life.dead:
            task.cancel()
        done, _ = await asyncio.wait({task}, timeout=gives_up_after_s)
        gave_up = not done
        if gave_up:
            task.cancel()
            await asyncio.wait({task})
        if life.dead or task.cancelled():
            answered = Answered(world.at_us(), number, None, GAVE_UP if gave_up and not life.dead else GONE)
            if not task.cancelled():
                task.exception()
        elif (error := task.exception()) is not None:
            answered = Answered(world.at_us(), number, None, type(error).__name__, str(error)[:300])
            if not isinstance(error, OnefillError):
                world.complaints.append(f"call {number} ({what} {key}) raised {error!r}")
        else:
            answered = Answered(world.at_us(), number, task.result())
        world.history.add(answered)
        return answered

    async def _until_told(self, tries: int, attempt: Callable[[Life], Awaitable[Answered]]) -> None:
        world = self._world
        for _ in range(tries):
            life = await world.some_gateway()
            if life is None:
                return
            answered = await attempt(life)
            if answered.answer is not None or answered.error in _FINAL:
                return
            await asyncio.sleep(world.draw.choice((0.0, 0.03, 0.3)))

    async def submit(self, one: Submit) -> None:
        """Submit, and repeat it until there is an answer; first, if it is meant so, on every node at once."""
        if one.everywhere:
            nodes = self._world.supervisors.usable()
            at_once = [self.submit_once(life, one, one.wait_s) for life in nodes]
            told = await asyncio.gather(*at_once)
            if any(answered.answer is not None for answered in told):
                return
        await self._until_told(one.tries, lambda life: self.submit_once(life, one, one.wait_s))

    async def submit_once(self, life: Life, one: Submit, wait_s: float) -> Answered:
        """Submit once."""
        intent = one.intent
        price = "market" if intent.price is None else plain(intent.price)
        content = f"{intent.side} {plain(intent.quantity)} @ {price} {intent.time_in_force}"

        def work(gateway: Gateway) -> Awaitable[bytes]:
            return gateway.submit_raw(intent, key=one.key, time_to_live_s=one.time_to_live_s, wait_s=wait_s)

        return await self.call(life, ("submit", one.key, content, None), work, one.gives_up_after_s)

    async def cancel(self, one: Cancel) -> None:
        """Cancel, and repeat it until there is an answer."""
        await self._until_told(one.tries, lambda life: self.cancel_once(life, one.key, one.operation_key, one.wait_s))

    async def cancel_once(self, life: Life, key: str, operation_key: str | None, wait_s: float) -> Answered:
        """Cancel once."""

        def work(gateway: Gateway) -> Awaitable[bytes]:
            return gateway.cancel_raw(
                key, account=ACCOUNT, strategy=STRATEGY, operation_key=operation_key, wait_s=wait_s
            )

        return await self.call(life, ("cancel", key, "", operation_key), work)

    async def replace(self, one: Replace) -> None:
        """Replace, and repeat it until there is an answer."""
        quantity = "same" if one.quantity is None else plain(one.quantity)
        content = f"{quantity} @ {'same' if one.price is None else plain(one.price)}"

        def inside(gateway: Gateway) -> Awaitable[bytes]:
            return gateway.replace_raw(
                one.key,
                account=ACCOUNT,
                strategy=STRATEGY,
                quantity=one.quantity,
                price=one.price,
                operation_key=one.operation_key,
                wait_s=one.wait_s,
            )

        await self._until_told(
            one.tries,
            lambda life: self.call(life, ("replace", one.key, content, one.operation_key), inside),
        )

    def trade(self, one: Trade) -> None:
        """Let somebody else send an order, or somebody without a gateway one for our account."""
        world = self._world
        request = SubmitRequest(
            client_order_id=f"{OTHERS}{len(world.history.records)}",
            account=one.account,
            instrument=SYMBOL,
            side=one.side,
            quantity=Decimal(one.quantity),
            order_type=OrderType.LIMIT,
            price=Decimal(one.price),
            time_in_force=one.time_in_force,
            expires_at_us=None,
        )
        reply = world.exchange.submit(request, world.true_us())
        if one.account == world.account and (order := getattr(reply, "order", None)) is not None:
            world.note_birth(order, 0)
        text = f"account {one.account}: {one.side} {one.quantity} @ {one.price} {one.time_in_force} → {type(reply).__name__}"
        world.history.add(Market(world.at_us(), text))
        world.keep_exchange_going()
