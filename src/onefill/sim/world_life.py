"""One life of a gateway's process: what it owns, where it may die, and how it is cleared away.

Killed as by kill -9: from that moment nothing it does has any effect, because the only ways out of it, the ledger and the venue
(and the calls of those who use it), go through here. Its tasks are cancelled afterwards so that none is left.
"""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from onefill.engine.gateway import Gateway
from onefill.engine.settings import NodeSettings
from onefill.ledger.sqlite_write import Result
from onefill.ports.ledger import Change, SubscriptionMove
from onefill.sim.history import Acquired, Began, Commit, Ended, Leased, Moved, ToldThrough
from onefill.sim.world_ledger import ProcessLedger, record
from onefill.sim.world_loop import current
from onefill.sim.world_nodes import ROUTE
from onefill.sim.world_subscriber import subscriber_of
from onefill.sim.world_venue import LookingVenue, SimVenue

if TYPE_CHECKING:
    from onefill.sim.world import World

T = TypeVar("T")
_ROUNDS = 60
"""Turns of the loop that a killed process's tasks get to end in."""

_LONGEST_END_S = 5.0


class HostClock:
    """A host's wall clock: true time, and what it is off by."""

    def __init__(self, world: "World", host: int) -> None:
        self._world = world
        self._host = host

    def now_us(self) -> int:
        """Return what the host takes for the time, µs since 1970."""
        return self._world.wall_us(self._host)


class Life:
    """A process from its start to its end."""

    def __init__(self, world: "World", number: int, host: int) -> None:
        self.world = world
        self.number = number
        self.host = host
        self.dead = False
        """It was killed."""
        self.closed = False
        """It ended in order."""
        self.over: asyncio.Future[None] = world.loop.create_future()
        """Done when nothing of it is left."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.epoch = 0
        """Under which it believes to own the route."""
        nodes = world.plan.nodes
        self.rate, self.origin_s = (nodes.rates[host], nodes.origins_s[host]) if nodes.rates else (1.0, 0.0)
        """How fast its clock runs that nobody can set, and what that showed when the world began."""
        self.suspended_s = 0.0
        self.venue = LookingVenue(self) if nodes.looks else SimVenue(self)
        self.ledger = ProcessLedger(self, world.database)
        self.context = world.context.copy()
        self.context.run(current.set, self)
        world.history.add(Began(world.at_us(), number, f"host{host}"))
        self.gateway = Gateway(
            self.ledger,
            {ROUTE: self.venue},
            clock=HostClock(world, host),
            holder=f"host{host}",
            settings=world.plan.settings,
            control=world.plan.control,
            subscribers=(subscriber_of(self),) if world.plan.nodes.hosts > 1 else (),
            node=NodeSettings(name=f"host{host}") if world.plan.nodes.hosts > 1 else None,
        )

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run ``work`` inside this process."""
        return self.world.loop.create_task(work, context=self.context.copy())

    # ------------------------------------------------------------------ dying

    def passes(self, step: str) -> bool:
        """Tell whether the process is dead after it came to a step at which it may die."""
        if not self.dead and self.world.crashes_at(step, self.number):
            self.die(step)
        return self.dead

    async def step(self, step: str) -> None:
        """Come to a step at which the process may die, or be held up; does not return if it is dead."""
        if self.passes(step):
            await self.world.loop.create_future()
        if self.stops_at(step):
            await asyncio.sleep(0)  # this goes on when the process does
            if self.dead:
                await self.world.loop.create_future()
        delay_s = self.world.hold_up_s()
        if delay_s is not None:
            await asyncio.sleep(delay_s)
            if self.dead:
                await self.world.loop.create_future()

    def stops_at(self, step: str) -> bool:
        """Tell whether the process, which comes to this step, stands still from here on: until the loop is left, no longer."""
        return self.world.hosts.pauses_at(step, self)

    def stands(self) -> bool:
        """Tell whether the process stands still."""
        return self.world.loop.stands(self)

    def die(self, why: str) -> None:
        """End as by kill -9."""
        if self.dead or self.closed:
            return
        self.dead = True
        self.world.loop.let_go_on(self)  # to its end
        open_orders = len(self.gateway.open_orders())
        self.world.history.add(Ended(self.world.at_us(), self.number, killed=True, why=why, open_orders=open_orders))
        self.world.loop.call_soon(self._bury, context=self.world.context)

    def _bury(self) -> None:
        self.world.spawn(self._clear_away())

    async def _clear_away(self) -> None:
        for _ in range(_ROUNDS):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        else:
            self.world.leaked += [f"of killed gw{self.number}: {task.get_coro()!r}" for task in left]
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.exception()  # whatever it was, it happened to a dead process
        self.over.set_result(None)

    async def close(self, why: str) -> None:
        """End in order, unless it is killed meanwhile."""
        if not self.dead:
            await asyncio.wait({self.spawn(self.gateway.close())})
        if self.dead:
            await self.over
            return
        self.closed = True
        self.world.history.add(Ended(self.world.at_us(), self.number, killed=False, why=why))
        left = [task for task in self.tasks if not task.done()]
        if left:
            await asyncio.wait(left, timeout=_LONGEST_END_S)
        self.world.leaked += [f"of closed gw{self.number}: {task.get_coro()!r}" for task in left if not task.done()]
        self.over.set_result(None)

    # ------------------------------------------------------------- its ledger

    def acquired(self, epoch: int, lease_us: int | None) -> None:
        """Note that it became the route's owner, for how long."""
        self.world.owner = self.number
        now_us = self.world.at_us()
        self.world.history.add(Acquired(now_us, self.number, epoch, None if lease_us is None else now_us + lease_us))

    def renewed(self, epoch: int, lease_us: int) -> None:
        """Note that the route was lent to it anew, for how long; zero: it gave it back."""
        now_us = self.world.at_us()
        self.world.history.add(Leased(now_us, self.number, epoch, now_us + lease_us if lease_us else None))

    def moved(self, epoch: int, what: str) -> None:
        """Note a write that makes no entry of the journal."""
        self.world.history.add(Moved(self.world.at_us(), self.number, epoch, what))

    def told_through(self, epoch: int, move: SubscriptionMove) -> None:
        """Note that the subscriber's place in the ledger moved."""
        self.world.history.add(ToldThrough(self.world.at_us(), self.number, epoch, move.position))

    @property
    def holds(self) -> bool:
        """Whether callers find the route here."""
        return ROUTE in self.gateway.counts()

    def committed(self, change: Change, result: Result) -> None:
        """Note what became of a change."""
        made = record(change, result, self)
        self.world.history.add(made)
        if isinstance(made, Commit):
            self.world.note_ids(change)
            if change.subscription is not None:
                self.told_through(change.epoch, change.subscription)
