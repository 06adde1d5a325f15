"""Running many simulated worlds: ``make simulate SEEDS=10000``, or ``python -m onefill.sim.simulate``.

:func:`run_worlds` runs them in this process, for tests and for whoever switches a guard off from outside and wants to know
after how many worlds which promise breaks. A world that breaks a promise names its seed, and the seed replays it exactly.
"""

import concurrent.futures
import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator

from onefill.sim.checkers import CHECKS, checks_of
from onefill.sim.checkers_index import Index, Violation
from onefill.sim.simulate_nodes import NODE_COUNTS, TELLING_FAULTS
from onefill.sim.simulate_tally import COUNTS, Broken, Injected, Tally
from onefill.sim.world import Run, run_world
from onefill.sim.world_nodes import GRANTED, PAUSE_STEPS, how_many, nodes_name
from onefill.sim.world_plan import plan
from onefill.sim.world_profiles import profile_of, profiles

__all__ = ["Broken", "Result", "Tally", "judged", "run_in_processes", "run_worlds", "seeds_of", "shortcomings"]

_BATCH = 48
_ENOUGH_FOR_FAMILY = 180
"""Worlds of one family from which on a count that stays zero is a shortcoming of the run."""
_ENOUGH_FOR_GHOSTS = 500
"""The same for what is rare where a venue refuses late requests by their expiry."""
_ENOUGH_FOR_FAULTS = 3000
_NODES = (
    "",
    *(
        f"{nodes_name(count)}{forgets}{own}"
        for count in (2, 3)
        for forgets in ("", "-forgetful")
        for own in ("", "-own-time")
    ),
)
Result = Tally


def judged(seed: int) -> tuple[Run, Index, list[Violation]]:
    """Run one world and judge it."""
    run = run_world(plan(seed))
    index = Index(run)
    return run, index, [violation for check in checks_of(run).values() for violation in check(index).violations]


def run_worlds(
    seeds: Iterable[int], *, stop_at_first: bool = True, on_world: Callable[[], object] = lambda: None
) -> Result:
    """Run the worlds of ``seeds`` in this process and judge each.

    ``stop_at_first``: end with the first world that breaks a promise; :attr:`Tally.worlds` then says how many it took.
    """
    result = Tally()
    gc.collect()
    gc.freeze()  # what is there now is not looked through again for every few worlds
    try:
        for seed in seeds:
            index = Index(run_world(plan(seed)))
            result.add(index, {promise: check(index) for promise, check in checks_of(index.run).items()})
            on_world()
            if result.broken and stop_at_first:
                break
    finally:
        gc.unfreeze()
    return result


def _batch(seeds: list[int]) -> Tally:
    return run_worlds(seeds, stop_at_first=False)


def run_in_processes(
    seeds: list[int], *, jobs: int | None = None, on_worlds: Callable[[int], object] = lambda _: None
) -> Result:
    """As :func:`run_worlds`, without stopping, in ``jobs`` processes (default: one for each core)."""
    result = Tally()
    batches = [seeds[start : start + _BATCH] for start in range(0, len(seeds), _BATCH)]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs or os.cpu_count(), mp_context=context) as pool:
        for tally in pool.map(_batch, batches):
            result.merge(tally)
            on_worlds(tally.worlds)
    return result


def seeds_of(first: int, count: int, only: str | None = None) -> list[int]:
    """Return ``count`` seeds from ``first`` on; with ``only``, those whose name contains it: a kind of venue, ``nodes-2`` …"""
    if only is None:
        return list(range(first, first + count))
    if not any(only in f"{profile.name}/{nodes}" for profile in profiles() for nodes in _NODES):
        return []
    closely = any(word in only for word in ("forgetful", "own-time"))  # only the whole plan tells
    found: list[int] = []
    seed = first
    while len(found) < count:
        if only in f"{profile_of(seed).name}/{nodes_name(how_many(seed))}" or (
            closely and how_many(seed) > 1 and only in plan(seed).name
        ):
            found.append(seed)
        seed += 1
    return found


def shortcomings(result: Tally, *, complete: bool = True) -> list[str]:
    """Return what a run failed to show although no promise broke. ``complete``: it walked all kinds of venues."""
    found = [f"{promise}: no case was judged" for promise in CHECKS if not result.cases[promise]]
    for family, counts in sorted(result.families.items()):
        if counts["worlds"] >= _ENOUGH_FOR_FAMILY:
            found += [f"{family}: no {name}" for name in _demanded(family, counts["worlds"]) if not counts[name]]
    for nodes, counts in sorted(result.nodes.items()):
        if counts["worlds"] >= _ENOUGH_FOR_FAMILY:
            found += [f"{nodes}: no {name}" for name in NODE_COUNTS if not counts[name]]
    if complete and result.worlds >= _ENOUGH_FOR_FAULTS:
        for name in EXPECTED_FAULTS:
            if not result.faults.get(name, Injected()).effective:
                found.append(f"{name}: never effective")
    return found


def _demanded(family: str, worlds: int) -> Iterator[str]:
    """Yield what so many worlds of a family must show, where their venues allow it."""
    scope, lookup, expiry, conclusive = family.split("/")
    for name in COUNTS:
        if name in ("ghosts", "adoptions") and lookup == "none":
            continue  # nobody can ask
        if name == "ghosts" and expiry == "expiry" and worlds < _ENOUGH_FOR_GHOSTS:
            continue
        if name == "duplicate replies" and scope == "none":
            continue
        if name in ("parked", "resolved") and lookup != "none" and conclusive == "T":
            continue  # asking settles it
        yield name


EXPECTED_FAULTS = tuple(
    f"{name} at {step}"
    for name, steps in {
        "request lost": ("submit", "cancel", "replace", "query"),
        "request late": ("submit", "cancel", "replace", "query"),
        "reply lost": ("submit", "cancel", "replace", "query"),
        "reply late": ("submit", "cancel", "replace", "query"),
        "connection cut": ("submit", "cancel", "replace", "query"),
        "connection refused": ("submit", "cancel", "replace", "query"),
        "doubled": ("submit", "cancel", "replace", "query"),
        "held back": ("submit", "cancel", "replace", "query", "drop copy"),
        "crash": (
            "commit before",
            "commit after",
            "send before",
            "send after",
            "reply before",
            "call before",
            "call after",
            "any time",
        ),
        "stall": ("commit",),
        "ledger fails": ("commit",),
        "clock step": ("clock",),
        "partition": ("network",),
        "exchange restart": ("network",),
        "told again": ("stream", "drop copy"),
        "stream ends": ("stream", "drop copy"),
        "stream repeats": ("stream", "drop copy"),
        "stream skips": ("stream", "drop copy"),
        "shuffled": ("drop copy",),
        "hidden": ("stream",),
        "halt": ("venue",),
        "forgotten": ("query",),
        "pause": ("any time", GRANTED, *PAUSE_STEPS),
        "suspension": ("any time",),
        "ledger cut": ("network",),
        "ledger late": ("call", "commit"),
        "ledger unreached": ("call", "commit"),
        "ledger unanswered": ("call", "commit"),
        "hand-over": ("route",),
        "clocks apart": ("clock",),
        "lease forgotten": ("ledger",),
        **dict.fromkeys(TELLING_FAULTS, ("subscriber",)),
    }.items()
    for step in steps
)
"""Every fault at every step at which it can happen: each must have been effective in a long run."""


if __name__ == "__main__":
    import sys

    from onefill.sim.simulate_command import main

    sys.exit(main())
