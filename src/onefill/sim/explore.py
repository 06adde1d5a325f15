"""The exhaustive search: every order of events in small worlds, over the real core, for every combination of capabilities.

A world is what :mod:`~onefill.sim.explore_state` says: a durable ledger, gateway processes, requests under way and a venue. All
that can happen next is in :mod:`~onefill.sim.explore_moves`, with what is assumed of the network; what is checked, in
:mod:`~onefill.sim.explore_checks`. Rules are always called through the core's modules, so a rule that is replaced from outside
(a mutant, a canary) is the one that is searched.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.sim.explore_search import Bounds, Counterexample, Search, Searched
from onefill.sim.explore_state import CONCLUSIVE_S, EXPIRY_S, FORGETS_LATE_S, FORGETS_S, Scenario
from onefill.sim.explore_worlds import SCENARIOS, applies

__all__ = ["SCENARIOS", "UNIQUENESS", "Result", "applies", "combinations", "explore", "forgetful", "venues"]
UNIQUENESS: Final = {
    "none": (UniqueScope.NONE, DuplicateReply.ACCEPTS),
    **{
        f"{scope}-{reply}": (scope, reply)
        for scope in (UniqueScope.OPEN, UniqueScope.DAY, UniqueScope.EVER)
        for reply in (DuplicateReply.ERROR, DuplicateReply.ORIGINAL)
    },
}
"""What a venue does with a repeated id. A scope without refusals, or refusals without a scope, is no uniqueness."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What all searches found together. ``violation`` is the first one; ``states_until`` counts all states up to it."""

    searches: tuple[Searched, ...]
    violation: Counterexample | None

    @property
    def states(self) -> int:
        """Distinct states, over all searches."""
        return sum(one.states for one in self.searches)

    @property
    def transitions(self) -> int:
        """Moves that were tried."""
        return sum(one.transitions for one in self.searches)

    @property
    def depth(self) -> int:
        """The longest of the shortest ways into a state."""
        return max((one.depth for one in self.searches), default=0)

    @property
    def seconds(self) -> float:
        """Time spent searching, on one core."""
        return sum(one.seconds for one in self.searches)

    @property
    def complete(self) -> int:
        """How many searches visited every reachable state."""
        return sum(one.complete for one in self.searches)

    @property
    def doubled(self) -> int:
        """States with a second order that the network made of one request, which no sender can prevent."""
        return sum(one.doubled for one in self.searches)


def combinations() -> Iterator[tuple[str, Capabilities]]:
    """Return every combination of capabilities that the core or a venue can tell apart, each with its name."""
    for unique, lookup, expires, concludes, delayed, replace, by_id in itertools.product(
        UNIQUENESS, Lookup, (True, False), (True, False), (False, True), ReplaceStyle, (True, False)
    ):
        scope, reply = UNIQUENESS[unique]
        words = [
            unique,
            f"lookup-{lookup}",
            "expiry" if expires else "no-expiry",
            "conclusive" if concludes else "never-conclusive",
            "async" if delayed else "sync",
            f"replace-{replace}",
            "cancel-by-id" if by_id else "cancel-by-number",
        ]
        yield (
            "/".join(words),
            Capabilities(
                unique_scope=scope,
                duplicate_reply=reply,
                lookup=lookup,
                request_expiry_s=EXPIRY_S if expires else None,
                conclusive_after_s=CONCLUSIVE_S if concludes else None,
                acknowledges_asynchronously=delayed,
                cancel_by_client_order_id=by_id,
                replace=replace,
            ),
        )


def forgetful() -> Iterator[tuple[str, Capabilities]]:
    """Return venues that forget an order some time after its end, each with its name: later than "not found" proves absence."""
    for name, capabilities in combinations():
        if capabilities.unique_scope not in (UniqueScope.NONE, UniqueScope.OPEN, UniqueScope.EVER):
            continue
        if capabilities.conclusive_after_s is None or not capabilities.can_be_asked:
            continue  # there "not found" proves nothing anyway
        if capabilities.duplicate_reply is DuplicateReply.ORIGINAL:
            continue
        if capabilities.cancel_by_client_order_id or capabilities.acknowledges_asynchronously:
            continue
        after_s = FORGETS_S if capabilities.request_expiry_s is not None else FORGETS_LATE_S
        yield f"{name}/forgets", msgspec.structs.replace(capabilities, lookup_forgets_after_s=after_s)


def venues() -> Iterator[tuple[str, Capabilities]]:
    """Return all venues that are searched, each with its name."""
    yield from combinations()
    yield from forgetful()


def explore(
    chosen: Iterable[tuple[str, Capabilities]],
    bounds: Bounds,
    *,
    scenarios: Iterable[Scenario] = SCENARIOS,
    progress: Callable[[Searched], None] | None = None,
    go_on: bool = False,
) -> Result:
    """Search each scenario at each of the venues ``chosen``, in this process, until a promise is broken.

    ``go_on``: do not stop at the first broken promise, only leave that search. ``progress`` hears of every search that ends.
    """
    done: list[Searched] = []
    first: Counterexample | None = None
    kept = tuple(scenarios)
    for name, capabilities in chosen:
        for scenario in kept:
            if not applies(scenario, capabilities):
                continue
            searched = Search(name, capabilities, scenario, bounds).run()
            done.append(searched)
            first = first or searched.violation
            if progress is not None:
                progress(searched)
            if searched.violation is not None and not go_on:
                return Result(searches=tuple(done), violation=first)
    return Result(searches=tuple(done), violation=first)
