"""Those who keep a world's gateways running: one supervisor for each host, who starts another life where one has ended."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from onefill.core.errors import LeaseHeld, OnefillError
from onefill.sim.history import Failed, Ready
from onefill.sim.world_life import Life
from onefill.sim.world_nodes import ROUTE

if TYPE_CHECKING:
    from onefill.sim.world import World

_DEFECTS = frozenset({"InvariantBroken", "RouteClosed"})
"""Failures of a route that no fault explains."""


class Supervisors:
    """See the module's text."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.lives: list[Life] = []
        self._ready: list[Life] = []
        self.wanted = set(range(world.plan.hosts))
        """The hosts that are to have a gateway."""

    async def keep_running(self, host: int) -> None:
        """Be the supervisor of a host: start a gateway, and another when it ends."""
        world = self._world
        while host in self.wanted:
            life = Life(world, len(self.lives) + 1, host)
            self.lives.append(life)
            starting = life.spawn(life.gateway.start())
            await asyncio.wait({starting})
            if life.dead:
                await life.over
            elif starting.cancelled() or starting.exception() is not None:
                error = None if starting.cancelled() else starting.exception()
                if not isinstance(error, OnefillError):
                    world.complaints.append(f"gw{life.number} could not start: {error!r}")
                await life.close(f"{type(error).__name__}")
                await asyncio.sleep(self._retry_s(error))
                continue
            else:
                world.history.add(Ready(world.at_us(), life.number, life.gateway.recovered))
                self._ready.append(life)
                await self._watch(life)
                self._ready.remove(life)
            if host in self.wanted:
                down_s = world.hosts.handed_over.pop(host, None)
                at_random_s = world.draw.uniform(0, world.plan.downtime_s) if world.faulty else 0.05
                await asyncio.sleep(at_random_s if down_s is None else down_s)

    def _retry_s(self, error: BaseException | None) -> float:
        world = self._world
        if not isinstance(error, LeaseHeld):
            return 0.3
        return world.draw.uniform(0.05, 0.3) if world.plan.nodes.hosts > 1 else world.draw.uniform(0.3, 1.0)

    async def _watch(self, life: Life) -> None:
        world = self._world
        while life.host in self.wanted and not life.dead:
            failure = life.ledger.broken if world.plan.nodes.hosts > 1 else life.gateway.failure()
            if failure is not None:
                world.history.add(Failed(world.at_us(), life.number, f"{type(failure).__name__}: {failure}"))
                if not isinstance(failure, OnefillError) or type(failure).__name__ in _DEFECTS:
                    world.complaints.append(f"gw{life.number} failed: {failure!r}")
                await life.close("failed")
                return
            if life.host in world.hosts.handed_over and not life.stands():
                if not life.holds or world.draw.random() < 0.5:
                    await life.close("handed over")
                    return
                del world.hosts.handed_over[life.host]
                await asyncio.wait({life.spawn(self._hand_over(life))})
            await asyncio.wait({life.over}, timeout=0.2 if world.faulty else 2.0)
        await life.close("the end") if not life.dead else await life.over

    async def _hand_over(self, life: Life) -> None:
        with contextlib.suppress(OnefillError):
            await life.gateway.hand_over(ROUTE, by="operator")

    def usable(self) -> list[Life]:
        """Return the gateways that take orders, as far as those can know who call them."""
        return [life for life in self._ready if not (life.dead or life.closed) and life.gateway.failure() is None]

    async def some_gateway(self, *, holding: bool = False) -> Life | None:
        """Return a gateway that takes orders, once there is one. ``holding``: it has the route, as at the end it must."""
        world = self._world
        for _ in range(200):
            usable = [life for life in self.usable() if not life.stands()]
            if holding or not world.faulty:
                usable = [life for life in usable if life.holds]
            if usable:
                return world.draw.choice(usable)
            await asyncio.sleep(0.1)
        return None

    async def steady_gateway(self) -> Life | None:
        """Return the gateway that owns the route once faults are over. It stays alone."""
        world = self._world
        await asyncio.sleep(max(world.hosts.quiet_at_s - world.loop.now_s, 0) + 0.01)
        for _ in range(600):
            owner = next((life for life in self.usable() if life.number == world.owner and life.holds), None)
            if owner is not None:
                self.wanted.intersection_update({owner.host})
                return owner
            await asyncio.sleep(0.1)
        return None

    def forget(self) -> None:
        """Untie what holds each other."""
        for life in self.lives:
            life.tasks.clear()
        self.lives.clear()
        self._ready.clear()
