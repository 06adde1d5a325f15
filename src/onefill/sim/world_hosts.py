"""What befalls the hosts of a world while it runs: processes that stand still, hosts that are cut off from the ledger."""

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from onefill.sim.history import Fault, Woke
from onefill.sim.world_nodes import ROUTE, Cut, Pause

if TYPE_CHECKING:
    from onefill.sim.world import World
    from onefill.sim.world_life import Life


class Fate(StrEnum):
    """What becomes of a call that a host makes to the ledger while it is cut off."""

    LATE = "it arrives when the cut is over"
    LOST = "it never arrives"
    UNANSWERED = "it takes effect, and its answer is late or lost"


class Held(msgspec.Struct, frozen=True, gc=False):
    """A call that came to a cut: its fate, for how long it hangs, whether it then fails, and when it arrives if it is late."""

    fate: Fate
    for_s: float
    fails: bool
    arrives_s: float


class Hosts:
    """See the module's text."""

    def __init__(self, world: "World") -> None:
        self._world = world
        nodes = world.plan.nodes
        self.patience_s = nodes.patience_s
        self._pauses = {(one.step, one.nth): one for one in nodes.pauses if one.step}
        self._standing: dict[int, tuple[float, bool]] = {}
        """Since when a process stands still, and whether its host is suspended; by the number of its life."""
        self._cut_until_s = [0.0] * world.plan.hosts
        self.quiet_at_s = 0.0
        """When every call has come to its end that was caught by a cut."""
        self._steps: dict[str, int] = {}
        self.handed_over: dict[int, float] = {}
        """Hosts whose gateway is to be ended in order, and for how long."""

    def schedule(self) -> None:
        """Set the timers for what befalls them at a time."""
        world, nodes = self._world, self._world.plan.nodes
        if nodes.rates or nodes.drifts:
            world.history.add(Fault(0, "clocks apart", "clock", f"rates {nodes.rates}, drifts {nodes.drifts}"))
        for one in nodes.pauses:
            if not one.step:
                world.loop.after(one.at_s, self._pause_host, one, context=world.context)
        for cut in nodes.cuts:
            world.loop.after(cut.at_s, self._cut, cut, context=world.context)
        if nodes.forgotten_at_s is not None:
            world.loop.after(nodes.forgotten_at_s, self._forget_lease, context=world.context)
        for one in nodes.handed_over:
            world.loop.after(one.at_s, self._hand_over, one, context=world.context)

    def calm(self) -> None:
        """End all of it: who stands still goes on, who is cut off is not."""
        self._pauses.clear()
        self.handed_over.clear()
        self._cut_until_s = [0.0] * len(self._cut_until_s)
        for life in self._world.supervisors.lives:
            self._wake(life, life.number)

    # --------------------------------------------------------------- standing

    def pauses_at(self, step: str, life: "Life") -> bool:
        """Make the process that comes to this step stand still from here on, if it is to. Tells whether it does."""
        if not self._pauses:
            return False
        count = self._steps[step] = self._steps.get(step, 0) + 1
        one = self._pauses.pop((step, count), None)
        if one is None:
            return False
        self.pause(life, one.for_s, step, suspends=one.suspends)
        return True

    def pause(self, life: "Life", for_s: float, step: str, *, suspends: bool = False) -> None:
        """Make a process stand still for a while, as SIGSTOP does; ``suspends``: the clock that nobody can set as well."""
        world = self._world
        if life.dead or life.closed or world.loop.stands(life):
            return
        name = "suspension" if suspends else "pause"
        world.history.add(Fault(world.at_us(), name, step, f"for {for_s:.3f} s", life.number))
        world.loop.stop_process(life)
        self._standing[life.number] = (world.loop.now_s, suspends)
        world.loop.after(for_s, self._wake, life, life.number, context=world.context)

    def _pause_host(self, one: Pause) -> None:
        for life in self._world.supervisors.lives:
            if life.host == one.host:
                self.pause(life, one.for_s, "any time", suspends=one.suspends)

    def _wake(self, life: "Life", number: int) -> None:
        since_s, suspends = self._standing.pop(number, (0.0, False))
        if self._world.loop.stands(life):
            stood_s = self._world.loop.now_s - since_s
            self._world.loop.let_go_on(life, suspended_s=stood_s if suspends else 0.0)
            self._world.history.add(Woke(self._world.at_us(), number))

    def _forget_lease(self) -> None:
        world = self._world
        world.history.add(Fault(world.at_us(), "lease forgotten", "ledger"))
        world.database.connection.execute(
            "UPDATE route SET lease_until_us = ? WHERE name = ?", (world.true_us(), ROUTE)
        )

    def _hand_over(self, one: Pause) -> None:
        self._world.history.add(Fault(self._world.at_us(), "hand-over", "route", f"by host{one.host}"))
        self.handed_over[one.host] = one.for_s

    # ---------------------------------------------------------- off the ledger

    def _cut(self, cut: Cut) -> None:
        world = self._world
        world.history.add(Fault(world.at_us(), "ledger cut", "network", f"of host{cut.host} for {cut.for_s:.3f} s"))
        self._cut_until_s[cut.host] = max(self._cut_until_s[cut.host], world.loop.now_s + cut.for_s)
        if cut.venue:
            world.network.part(cut.host, cut.for_s)

    def held(self, life: "Life", step: str) -> Held | None:
        """Return what becomes of a call to the ledger that a process makes now; ``None``: nothing is in its way."""
        world = self._world
        left_s = self._cut_until_s[life.host] - world.loop.now_s
        if left_s <= 0:
            return None
        fate = world.draw.choice(tuple(Fate))
        fails = fate is Fate.LOST or left_s > self.patience_s
        for_s = self.patience_s if fails else left_s
        self.quiet_at_s = max(self.quiet_at_s, world.loop.now_s + for_s)
        world.history.add(Fault(world.at_us(), f"ledger {_WORDS[fate]}", step, f"{left_s:.3f} s", life.number))
        return Held(fate, for_s, fails, left_s)


_WORDS = {Fate.LATE: "late", Fate.LOST: "unreached", Fate.UNANSWERED: "unanswered"}
