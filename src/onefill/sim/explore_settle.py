"""What becomes of a world once faults stop: the one way on in which everybody does what is due (promise CONVERGES).

Requests under way arrive, or are all lost (both ways are followed); replies come, the stream is read, a dead process is
replaced, the clock passes to the next moment that somebody waits for, and at last the venue fills what is live. Every order
must come to an end, with all its executions applied, or wait for a person with a reason.
"""

from typing import Final

import msgspec

from onefill.core.errors import OnefillError
from onefill.core.lifecycle import ENDED
from onefill.core.steps import WaitUntil
from onefill.sim.explore_drive import Successor
from onefill.sim.explore_moves import Moves
from onefill.sim.explore_state import CALL_US, CALLING, IDLE, PENDING, SECOND_US, Violation, World

_MOST_MOVES: Final = 300
_with = msgspec.structs.replace


def settles(moves: Moves, world: World) -> tuple[Violation | None, tuple[Successor, ...]]:
    """Return a violation and the way to it if some order comes to no end from here, else ``None``."""
    calm = _with(world, faults=0, cancels=0, replaces=0)
    ways = [calm] if not calm.net else [calm, _with(calm, net=())]
    for way in ways:
        wrong, path = _Way(moves, way).follow()
        if wrong is not None:
            return wrong, path
    return None, ()


class _Way:
    def __init__(self, moves: Moves, world: World) -> None:
        self._moves = moves
        self._calm = moves.calm
        self._world = world
        self._path: list[Successor] = []

    def follow(self) -> tuple[Violation | None, tuple[Successor, ...]]:
        try:
            for _ in range(_MOST_MOVES):
                if not self._move():
                    break
        except OnefillError as error:
            return Violation("INVARIANT", str(error)), tuple(self._path)
        for intent, number in enumerate(self._world.orders):
            order = self._moves.core.orders[number]
            if number and not (order.closed or order.parked):
                reason = f"order {intent + 1} comes to no end: {order.status}"
                return Violation("CONVERGES", reason), tuple(self._path)
        return None, ()

    def _take(self, found: list[Successor]) -> bool:
        if not found:
            return False
        label, world, _ = found[0]
        self._world = self._moves.canonical(world)
        self._path.append((label, self._world, None))
        return True

    def _move(self) -> bool:
        return (
            self._own()
            or self._read()
            or self._arrive()
            or self._act()
            or self._decide()
            or self._pass()
            or self._fill()
        )

    def _owner(self) -> int:
        world = self._world
        places = (place for place, one in enumerate(world.procs) if one.epoch == world.epoch and not one.paused)
        return next(places, -1)

    def _own(self) -> bool:
        """Have somebody own the route."""
        if self._owner() >= 0:
            return False
        world = _with(self._world, procs=())
        if world.now < world.until and self._moves.scenario.lease_s is not None:
            world = self._moves.pass_to(world, world.until)
        return self._take([(("start", world.epoch + 1), self._moves.start(world), None)])

    def _read(self) -> bool:
        return self._take(self._calm.stream(self._world, self._owner()))

    def _arrive(self) -> bool:
        return bool(self._world.net) and self._take(self._calm.arrive(self._world, 0))

    def _act(self) -> bool:
        world, place = self._world, self._owner()
        for intent, driver in enumerate(world.procs[place].drivers):
            if not world.orders[intent]:
                continue
            late = driver.phase == CALLING and not driver.reply
            if late and world.now < driver.since + CALL_US:
                world = self._moves.pass_to(world, driver.since + CALL_US)
            if self._take(self._calm.drive.act(world, place, intent)):
                return True
        return False

    def _decide(self) -> bool:
        pending = any(one.status == PENDING for one in self._world.book)
        return pending and self._take([one for one in self._calm.venue_moves(self._world) if one[0][0] == "decide"])

    def _pass(self) -> bool:
        """Let the clock pass to the next moment that a driver waits for, unless all is done."""
        world, place = self._world, self._owner()
        due = []
        for intent, driver in enumerate(world.procs[place].drivers):
            if world.orders[intent] and driver.phase == IDLE:
                order = self._moves.core.orders[world.orders[intent]]
                step = self._calm.drive.next_of(world, place, intent)
                if isinstance(step, WaitUntil) and not (order.status in ENDED or order.parked):
                    due.append(step.at_us - self._calm.drive.wall(world, world.procs[place]) + world.now)
        if not due:
            return False
        after = max(min(due), world.now + 1)
        if self._waits_for_fill(after):
            return False
        return self._take([(("tick", after), self._moves.pass_to(world, after), None)])

    def _waits_for_fill(self, after: int) -> bool:
        """A wait of minutes with something live at the venue is over when that trades."""
        return after > self._world.now + 30 * SECOND_US and any(one.live for one in self._world.book)

    def _fill(self) -> bool:
        return self._take([one for one in self._calm.venue_moves(self._world) if one[0][0] in {"fill", "appear"}])
