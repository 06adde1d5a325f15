"""``make mutants``: every guard switched off in turn, and which of simulation and search notices, after how many worlds.

Each mutant lives in a process of its own, so that one that hangs or breaks its process is a finding and not the end of the run.
The simulation stops at the first world that breaks a promise, the search at the first state that does. A mutant that neither
notices is a guard that is not needed or not tested: the run fails, and names it.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from onefill.sim.explore import SCENARIOS, applies, combinations, forgetful
from onefill.sim.explore_search import Bounds, Search
from onefill.sim.mutants import MUTANTS, Mutant
from onefill.sim.simulate import run_worlds, seeds_of

SIMULATION: Final = "simulation"
SEARCH: Final = "search"
NOT_SEARCHED: Final = "not a rule of the core"
_STATES_PER_SEARCH: Final = 3_000
_STATES_AIMED: Final = 50_000
"""Likewise where a mutant names the venues: they are few, and each is searched to its end."""
_GRACE_S: Final = 30.0
"""How much longer than it was told a judge may take before it counts as hung."""


class Caught(msgspec.Struct, frozen=True):
    """How one judge fared with one mutant.

    ``promise``: which was seen broken, empty if none was; ``after``: worlds (simulation) or states (search) until then, or in
    all; ``what``: the judge's own words.
    """

    judge: str
    promise: str
    after: int
    seconds: float
    what: str


class Row(msgspec.Struct, frozen=True):
    """One line of the matrix."""

    guard: str
    without: str
    simulation: Caught
    search: Caught

    @property
    def caught(self) -> bool:
        """Whether one of the judges noticed."""
        return bool(self.simulation.promise or self.search.promise)


def by_simulation(limit_s: float, worlds: int, aim: str = "") -> Caught:
    """Run simulated worlds until one breaks a promise, or the time or the worlds are over. ``aim``: only such profiles."""
    began, run, first_seed = time.monotonic(), 0, 0
    while run < worlds and time.monotonic() - began < limit_s:
        seeds = seeds_of(first_seed, 25, aim or None)
        first_seed = seeds[-1] + 1
        result = run_worlds(seeds)
        run += result.worlds
        if result.broken:
            first = result.broken[0]
            return Caught(SIMULATION, first.promise, run, time.monotonic() - began, f"seed {first.seed}: {first.text}")
    return Caught(SIMULATION, "", run, time.monotonic() - began, "")


def by_search(limit_s: float, aim: str = "") -> Caught:
    """Search small worlds until a state breaks a promise, or the time is over. ``aim``: only at such venues."""
    began, states = time.monotonic(), 0
    todo = [(venue, scenario) for venue in combinations() for scenario in SCENARIOS if applies(scenario, venue[1])]
    Random(1).shuffle(todo)  # noqa: S311 - neighbours are alike: a short search should see many kinds of venues
    todo += [(venue, scenario) for venue in forgetful() for scenario in SCENARIOS if applies(scenario, venue[1])]
    todo = [one for one in todo if aim in one[0][0]]
    most = _STATES_AIMED if aim else _STATES_PER_SEARCH
    for (name, capabilities), scenario in todo:
        left_s = limit_s - (time.monotonic() - began)
        if left_s <= 0:
            break
        found = Search(name, capabilities, scenario, Bounds(states=most, seconds=left_s)).run()
        states += found.states
        if found.violation is not None:
            what = f"{name}, {scenario.name}: {found.violation.reason}"
            return Caught(SEARCH, found.violation.promise, states, time.monotonic() - began, what)
    return Caught(SEARCH, "", states, time.monotonic() - began, "")


def _judge(place: int | None, judge: str, limit_s: float, worlds: int, told: Any) -> None:
    """Let one judge look at one mutant (or at none), in this process of its own, and tell what it saw."""

    mutant = None if place is None else MUTANTS[place]

    def look() -> Caught:
        if judge == SIMULATION:
            return by_simulation(limit_s, worlds, "" if mutant is None else mutant.aim)
        return by_search(limit_s, "" if mutant is None else mutant.search_aim)

    began = time.monotonic()
    try:
        if mutant is None:
            caught = look()
        else:
            with mutant.applied():
                caught = look()
    except BaseException as error:  # noqa: BLE001 - whatever the mutant broke: that it did is what is told
        what = f"{type(error).__name__}: {error}"
        caught = Caught(judge, "falls over", 0, time.monotonic() - began, what[:200])
    told.send(caught)


def look_at(place: int | None, judge: str, limit_s: float, worlds: int) -> Caught:
    """Return how a judge fares with the mutant at ``place`` of the list (``None``: with nothing switched off)."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_judge, args=(place, judge, limit_s, worlds, there), daemon=True)
    began = time.monotonic()
    process.start()
    there.close()
    try:
        if here.poll(limit_s + _GRACE_S):
            caught: Caught = here.recv()
            return caught
        return Caught(judge, "does not end", 0, time.monotonic() - began, f"no end within {limit_s + _GRACE_S:g} s")
    except EOFError:
        return Caught(judge, "falls over", 0, time.monotonic() - began, "the process ended without a word")
    finally:
        process.kill()
        process.join()
        here.close()


def matrix(places: Iterable[int], *, limit_s: float, worlds: int, jobs: int) -> Iterator[Row]:
    """Let both judges look at each mutant, several at a time, and return the lines as they come."""
    todo = [(place, judge) for place in places for judge in (SIMULATION, SEARCH)]

    def look(one: tuple[int, str]) -> Caught:
        place, judge = one
        if judge == SEARCH and not MUTANTS[place].in_core:
            return Caught(SEARCH, "", 0, 0.0, NOT_SEARCHED)
        return look_at(place, judge, limit_s if judge == SIMULATION else limit_s / 2, worlds)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        seen = pool.map(look, todo)
        for place, _ in todo[::2]:
            mutant: Mutant = MUTANTS[place]
            yield Row(mutant.guard, mutant.without, next(seen), next(seen))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the matrix guard x what caught it. Returns 1 if a guard can go unnoticed, 2 for wrong arguments."""
    chosen = _parser().parse_args(arguments)
    places = [place for place, mutant in enumerate(MUTANTS) if all(text in mutant.guard for text in chosen.only)]
    if not places:
        sys.stderr.write("no guard has such a name; --list shows them\n")
        return 2
    if chosen.list:
        sys.stdout.writelines(f"{MUTANTS[place].guard}: {MUTANTS[place].without}\n" for place in places)
        return 0
    sound = [look_at(None, judge, 20.0, 200) for judge in (SIMULATION, SEARCH)]
    if any(one.promise for one in sound):
        sys.stderr.write(f"with every guard in place a promise is broken already: {sound}\n")
        return 1
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=chosen.json) as progress:
        bar = progress.add_task("mutants", total=len(places))
        for row in matrix(places, limit_s=chosen.seconds, worlds=chosen.worlds, jobs=chosen.jobs):
            rows.append(row)
            progress.update(bar, advance=1, description=f"{sum(not one.caught for one in rows)} unnoticed")
    if chosen.json:
        figures = {"guards": len(rows), "caught": sum(row.caught for row in rows), "rows": rows}
        sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
    else:
        _show(rows)
    return 0 if all(row.caught for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutants", description="Every guard switched off in turn: who notices?")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="most time of a judge for one (default: %(default)g)"
    )
    parser.add_argument("--worlds", type=int, default=4_000, help="most worlds of one (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], help="only guards whose name has this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the matrix as JSON, without progress")
    parser.add_argument("--list", action="store_true", help="list the guards and end")
    return parser


def _show(rows: Sequence[Row]) -> None:
    table = Table(
        title="guard x what notices that it is switched off, and after how many worlds or states",
        caption="search: empty where the guard is no rule of the core, which is all that the search runs",
    )
    for heading in ("guard", "without it", "simulation", "worlds", "search", "states"):
        table.add_column(heading, justify="right" if heading in ("worlds", "states") else "left", overflow="fold")
    for row in rows:
        table.add_row(
            row.guard,
            row.without,
            row.simulation.promise or "-",
            f"{row.simulation.after:,}",
            row.search.promise or ("" if row.search.what == NOT_SEARCHED else "-"),
            "" if row.search.what == NOT_SEARCHED else f"{row.search.after:,}",
            style=None if row.caught else "red",
        )
    console = Console()
    console.print(table)
    for row in rows:
        if not row.caught:
            console.print(f"[red]nobody notices:[/red] {row.guard} ({row.without})")
    console.print(f"{sum(row.caught for row in rows)} of {len(rows)} noticed")


if __name__ == "__main__":
    sys.exit(main())
