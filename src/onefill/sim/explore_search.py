"""Breadth first over the worlds of one scenario at one venue, and what came of it."""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from onefill.core.capabilities import Capabilities
from onefill.sim.explore_checks import Judge, doubled
from onefill.sim.explore_drive import Label, Successor
from onefill.sim.explore_moves import Moves
from onefill.sim.explore_settle import settles
from onefill.sim.explore_state import Scenario, Violation, World
from onefill.sim.explore_trace import tell

_LOOK_AT_CLOCK: Final = 256
"""States between two looks at the clock, and two reports of progress."""
_TOLD_FIRST: Final = 16
_TOLD_LAST: Final = 6
"""How many moves are told of a long way on, from its beginning and from its end."""


class Counterexample(msgspec.Struct, frozen=True, kw_only=True):
    """A shortest way into a broken promise, as lines to read."""

    promise: str
    reason: str
    venue: str
    scenario: str
    states: int
    """How many states had been visited when it was found."""
    trace: tuple[str, ...]

    def text(self) -> str:
        """Return it as a numbered trace."""
        lines = [f"{self.promise}: {self.reason}", f"  venue: {self.venue}", f"  world: {self.scenario}"]
        lines += [f"  {number:3} {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join(lines)


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """What one search found. ``complete``: every reachable state was visited. ``doubled``: states with a second order that
    the network made. ``settled``: states from which the way to the end was followed.
    """

    venue: str
    scenario: str
    states: int
    transitions: int
    depth: int
    seconds: float
    complete: bool
    doubled: int
    settled: int
    violation: Counterexample | None


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How far to search: states and seconds for one scenario at one venue, and which promises to leave out.

    ``settle_every``: from every so many-th state the way to the end is followed (promise CONVERGES); 0: from none.
    """

    states: int = 2_000
    seconds: float = 60.0
    ignore: frozenset[str] = frozenset()
    settle_every: int = 97


class Search:
    """One breadth-first search."""

    def __init__(self, venue: str, capabilities: Capabilities, scenario: Scenario, bounds: Bounds) -> None:
        self._venue = venue
        self._scenario = scenario
        self._bounds = bounds
        self._moves = Moves(capabilities, scenario)
        self._judge = Judge(self._moves.core, bounds.ignore)
        self._worlds: list[World] = []
        self._parents: list[int] = []
        self._labels: list[Label] = []
        self._depths: list[int] = []
        self._seen: set[World] = set()
        self._transitions = 0
        self._doubled = 0
        self._settled = 0
        self._found: Counterexample | None = None

    def run(self, progress: Callable[[int], None] | None = None) -> Searched:
        """Search until a promise is broken, everything is visited, or a bound is met."""
        began = time.monotonic()
        self._visit(self._moves.first(), -1, ("begin",))
        place, complete = 0, True
        while place < len(self._worlds) and self._found is None:
            if place % _LOOK_AT_CLOCK == 0:
                if progress is not None:
                    progress(len(self._worlds))
                if time.monotonic() - began > self._bounds.seconds:
                    complete = False
                    break
            complete = self._expand(place) and complete
            if len(self._worlds) >= self._bounds.states and place + 1 < len(self._worlds):
                complete = False
                break
            place += 1
        return Searched(
            venue=self._venue,
            scenario=self._scenario.name,
            states=len(self._worlds),
            transitions=self._transitions,
            depth=self._depths[-1],
            seconds=time.monotonic() - began,
            complete=complete and self._found is None,
            doubled=self._doubled,
            settled=self._settled,
            violation=self._found,
        )

    def _expand(self, place: int) -> bool:
        """Visit the successors of a world. False if the bound left some out."""
        world = self._worlds[place]
        for label, after, wrong in self._moves.successors(world):
            self._transitions += 1
            if wrong is not None and wrong.promise not in self._bounds.ignore:
                self._caught(wrong, place, label, after)
                return False
            if after not in self._seen:
                if len(self._worlds) >= self._bounds.states:
                    return False
                self._visit(after, place, label)
                if self._found is not None:
                    return False
        return True

    def _visit(self, world: World, parent: int, label: Label) -> None:
        self._seen.add(world)
        self._worlds.append(world)
        self._parents.append(parent)
        self._labels.append(label)
        self._depths.append(self._depths[parent] + 1 if parent >= 0 else 0)
        wrong = self._judge.world(world)
        if wrong is not None:
            self._caught(wrong, parent, label, world)
            return
        self._doubled += doubled(world)
        every = self._bounds.settle_every
        if every and len(self._worlds) % every == 0 and "CONVERGES" not in self._bounds.ignore:
            self._settled += 1
            wrong, more = settles(self._moves, world)
            if wrong is not None:
                self._caught(wrong, parent, label, world, more)

    def _caught(
        self, wrong: Violation, parent: int, label: Label, world: World, more: tuple[Successor, ...] = ()
    ) -> None:
        path: list[tuple[Label, World]] = [(label, world)]
        while parent >= 0:
            path.append((self._labels[parent], self._worlds[parent]))
            parent = self._parents[parent]
        path = path[::-1] + [(label, world) for label, world, _ in more]
        self._found = Counterexample(
            promise=wrong.promise,
            reason=wrong.reason,
            venue=self._venue,
            scenario=self._scenario.name,
            states=len(self._worlds),
            trace=_shortened(tell(self._moves.core, path), len(more)),
        )


def _shortened(trace: tuple[str, ...], settling: int) -> tuple[str, ...]:
    """Return a trace without the middle of a long way on, in which an order that comes to no end repeats itself."""
    left_out = settling - _TOLD_FIRST - _TOLD_LAST
    if left_out <= 1:
        return trace
    begin = len(trace) - settling + _TOLD_FIRST
    return (*trace[:begin], f"… {left_out} moves are left out …", *trace[begin + left_out :])
