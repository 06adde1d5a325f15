"""``make explore``: the whole search over several processes, with progress, figures and a shortest counterexample."""

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from onefill.core.capabilities import Capabilities
from onefill.sim.explore import Result, venues
from onefill.sim.explore_checks import PROMISES
from onefill.sim.explore_search import Bounds, Search, Searched
from onefill.sim.explore_state import Scenario
from onefill.sim.explore_worlds import LARGE, SCENARIOS, SMALL, applies

_SMALL: Final = Bounds(states=150_000, seconds=600.0, settle_every=29)
_SETTLE_EVERY: Final = 97
Job = tuple[str, Capabilities, Scenario, Bounds]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to search, and how far.

    Small worlds are searched completely. Of the larger ones each gets ``states``, and ``deep`` of them, drawn by ``seed`` and
    as many of each scenario as of the others, get ``deep_states``. ``only``: texts that a venue's name must have.
    """

    states: int = 1_000
    deep: int = 54
    deep_states: int = 60_000
    seed: int = 1
    seconds: float = 120.0
    only: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()


def jobs(plan: Plan) -> list[Job]:
    """Return the searches to make, the longest first."""
    kinds = [one for one in venues() if all(text in one[0] for text in plan.only)]
    chosen = [one for one in SCENARIOS if not plan.scenarios or one.name in plan.scenarios]
    pairs = [(venue, scenario) for scenario in chosen for venue in kinds if applies(scenario, venue[1])]
    drawn = _drawn([pair for pair in pairs if pair[1] in LARGE], plan)
    small = msgspec.structs.replace(_SMALL, ignore=plan.ignore)
    wide = Bounds(states=plan.states, seconds=plan.seconds, ignore=plan.ignore, settle_every=_SETTLE_EVERY)
    deep = msgspec.structs.replace(wide, states=plan.deep_states)
    found = []
    for (name, capabilities), scenario in pairs:
        far = deep if (name, scenario.name) in drawn else wide
        found.append((name, capabilities, scenario, small if scenario in SMALL else far))
    return sorted(found, key=lambda job: (job[3] is not deep, job[2] not in SMALL))


def _drawn(pairs: list[tuple[tuple[str, Capabilities], Scenario]], plan: Plan) -> set[tuple[str, str]]:
    """Return which of the larger worlds to search far into, by venue and scenario."""
    random, drawn = Random(plan.seed), []  # noqa: S311 - a sample, and the same one for the same seed
    for scenario in LARGE:
        names = [venue[0] for venue, other in pairs if other is scenario]
        drawn.append([(name, scenario.name) for name in random.sample(names, len(names))])
    by_turns = [pair for turn in itertools.zip_longest(*drawn) for pair in turn if pair is not None]
    return set(by_turns[: plan.deep])


def search(job: Job) -> Searched:
    """Make one search."""
    name, capabilities, scenario, bounds = job
    return Search(name, capabilities, scenario, bounds).run()


def run(todo: Sequence[Job], processes: int) -> Iterator[Searched]:
    """Make all searches, in so many processes, and return each as it ends."""
    if processes <= 1:
        yield from map(search, todo)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(search, todo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search as the arguments say. Returns 1 if a promise is broken."""
    chosen = _parser().parse_args(arguments)
    plan = Plan(
        states=chosen.max_states,
        deep=chosen.deep,
        deep_states=chosen.deep_states,
        seed=chosen.seed,
        seconds=chosen.seconds,
        only=tuple(chosen.only),
        scenarios=tuple(chosen.scenario),
        ignore=frozenset(chosen.ignore),
    )
    todo = jobs(plan)
    if not todo:
        sys.stderr.write("no combination of capabilities has such a name; --list shows them\n")
        return 2
    if chosen.list:
        sys.stdout.writelines(f"{name}\n" for name in dict.fromkeys(job[0] for job in todo))
        return 0
    began = time.monotonic()
    done = tuple(_watched(run(todo, chosen.jobs), len(todo), quiet=chosen.json))
    by_length = sorted((one.violation for one in done if one.violation is not None), key=lambda one: len(one.trace))
    result = Result(searches=done, violation=by_length[0] if by_length else None)
    elapsed_s = time.monotonic() - began
    if chosen.json:
        sys.stdout.buffer.write(msgspec.json.encode(_figures(result, elapsed_s)) + b"\n")
    else:
        _show(result, elapsed_s)
    return 0 if result.violation is None else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="explore", description="Exhaustive search of small worlds over the real core."
    )
    least = Plan()
    for option, default, text in (
        ("--max-states", least.states, "most states of a search of a larger world"),
        ("--deep", least.deep, "how many of the larger worlds to search further"),
        ("--deep-states", least.deep_states, "most states of those"),
        ("--seed", least.seed, "which ones those are"),
    ):
        parser.add_argument(option, type=int, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=least.seconds, help="most seconds of such a search (default: %(default)g)"
    )
    parser.add_argument(
        "--only", action="append", default=[], help="only venues whose name has this text; may be repeated"
    )
    parser.add_argument("--scenario", action="append", default=[], choices=[one.name for one in SCENARIOS])
    parser.add_argument(
        "--ignore", action="append", default=[], choices=PROMISES, help="go on past this broken promise"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="figures as JSON, without progress")
    parser.add_argument("--list", action="store_true", help="list the combinations and end")
    return parser


def _watched(searches: Iterable[Searched], count: int, *, quiet: bool) -> Iterator[Searched]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("searching", total=count)
        states = broken = 0
        for one in searches:
            states += one.states
            broken += one.violation is not None
            progress.update(bar, advance=1, description=f"{states:,} states, {broken} broken")
            yield one


class Line(msgspec.Struct, frozen=True):
    """The figures of all searches at one venue, at venues of one kind, or in one scenario."""

    name: str
    searches: int
    complete: int
    states: int
    moves: int
    depth: int
    states_per_s: int
    broken: int
    doubled: int


_SHOWN: Final = {"searches": 8, "complete": 8, "states": 11, "moves": 11, "depth": 5, "states_per_s": 8, "broken": 6}
"""The columns of a table that fits 80 columns, and their least widths."""


def _by_venue(one: Searched) -> str:
    return one.venue


def _by_uniqueness(one: Searched) -> str:
    return one.venue.partition("/")[0]


def _by_scenario(one: Searched) -> str:
    return one.scenario


def _lines(searches: Iterable[Searched], name: Callable[[Searched], str]) -> list[Line]:
    groups: dict[str, list[Searched]] = {}
    for one in searches:
        groups.setdefault(name(one), []).append(one)
    return [_line(name, groups[name]) for name in sorted(groups)]


def _line(name: str, group: list[Searched]) -> Line:
    states = sum(one.states for one in group)
    return Line(
        name,
        len(group),
        sum(one.complete for one in group),
        states,
        sum(one.transitions for one in group),
        max(one.depth for one in group),
        round(states / max(sum(one.seconds for one in group), 1e-9)),
        sum(one.violation is not None for one in group),
        sum(one.doubled for one in group),
    )


def _figures(result: Result, elapsed_s: float) -> dict[str, object]:
    return {
        "states": result.states,
        "transitions": result.transitions,
        "depth": result.depth,
        "searches": len(result.searches),
        "complete": result.complete,
        "doubled": result.doubled,
        "elapsed_s": round(elapsed_s, 1),
        "states_per_s": round(result.states / elapsed_s),
        "combinations": _lines(result.searches, _by_venue),
        "uniqueness": _lines(result.searches, _by_uniqueness),
        "scenarios": _lines(result.searches, _by_scenario),
        "violations": [one.violation for one in result.searches if one.violation is not None],
        "violation": result.violation,
    }


def _table(title: str, lines: Iterable[Line]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True, min_width=14)
    for name, width in _SHOWN.items():
        table.add_column(name.replace("_per_", "/"), justify="right", no_wrap=True, min_width=width)
    for line in lines:
        table.add_row(line.name, *(f"{getattr(line, name):,}" for name in _SHOWN))
    return table


def _show(result: Result, elapsed_s: float) -> None:
    console = Console()
    console.print(_table("By scenario", _lines(result.searches, _by_scenario)), "")
    console.print(_table("By what the venue does with a repeated id", _lines(result.searches, _by_uniqueness)), "")
    small = {one.name for one in SMALL}
    of_small = [one for one in result.searches if one.scenario in small]
    venues = len({one.venue for one in result.searches})
    console.print(
        f"{result.states:,} distinct states, {result.transitions:,} transitions, depth {result.depth}, in "
        f"{len(result.searches):,} searches at {venues} kinds of venue, {elapsed_s:.0f} s, "
        f"{result.states / elapsed_s:,.0f} states/s.\nComplete: {result.complete:,} searches, of the {len(of_small):,} of "
        f"small worlds {sum(one.complete for one in of_small):,}. In {result.doubled:,} states the network had made a second "
        f"order out of one request."
    )
    broken = {one.violation.promise for one in result.searches if one.violation is not None}
    if result.violation is None:
        console.print("No promise is broken.")
        return
    console.print(f"BROKEN: {', '.join(sorted(broken))}. The shortest way into it:")
    console.print(result.violation.text(), markup=False, highlight=False, soft_wrap=True)
