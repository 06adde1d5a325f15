"""``make explore``: the whole search over several processes, with progress, figures and a shortest counterexample."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from onefill.core.capabilities import Capabilities
from onefill.sim.explore import SCENARIOS, Result, applies, combinations
from onefill.sim.explore_checks import PROMISES
from onefill.sim.explore_search import Bounds, Search, Searched
from onefill.sim.explore_state import Scenario

_CHUNK: Final = 4
Job = tuple[str, Capabilities, Scenario, Bounds]


def jobs(bounds: Bounds, only: Sequence[str], scenarios: Sequence[str]) -> list[Job]:
    """Return the searches to make: those whose venue has every text of ``only`` in its name, in these scenarios (or all)."""
    return [
        (name, capabilities, scenario, bounds)
        for name, capabilities in combinations()
        if all(text in name for text in only)
        for scenario in SCENARIOS
        if applies(scenario, capabilities) and (not scenarios or scenario.name in scenarios)
    ]


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
        yield from pool.imap_unordered(search, todo, _CHUNK)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search as the arguments say. Returns 1 if a promise is broken."""
    chosen = _parser().parse_args(arguments)
    bounds = Bounds(states=chosen.max_states, seconds=chosen.seconds, ignore=frozenset(chosen.ignore))
    todo = jobs(bounds, chosen.only, chosen.scenario)
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
    parser.add_argument(
        "--max-states", type=int, default=8_000, help="most states of one search (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="most seconds of one search (default: %(default)g)"
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
    """The figures of all searches at one venue, or in one scenario."""

    name: str
    searches: int
    complete: int
    states: int
    transitions: int
    depth: int
    doubled: int
    states_per_s: int
    violations: int


def _lines(searches: Iterable[Searched], *, by_venue: bool) -> list[Line]:
    groups: dict[str, list[Searched]] = {}
    for one in searches:
        groups.setdefault(one.venue if by_venue else one.scenario, []).append(one)
    return [_line(name, group) for name, group in sorted(groups.items())]


def _line(name: str, group: list[Searched]) -> Line:
    states = sum(one.states for one in group)
    return Line(
        name,
        len(group),
        sum(one.complete for one in group),
        states,
        sum(one.transitions for one in group),
        max(one.depth for one in group),
        sum(one.doubled for one in group),
        round(states / max(sum(one.seconds for one in group), 1e-9)),
        sum(one.violation is not None for one in group),
    )


def _figures(result: Result, elapsed_s: float) -> dict[str, object]:
    violation = result.violation
    return {
        "states": result.states,
        "transitions": result.transitions,
        "depth": result.depth,
        "searches": len(result.searches),
        "complete": result.complete,
        "doubled": result.doubled,
        "elapsed_s": round(elapsed_s, 1),
        "states_per_s": round(result.states / elapsed_s),
        "combinations": _lines(result.searches, by_venue=True),
        "scenarios": _lines(result.searches, by_venue=False),
        "violations": [one.violation for one in result.searches if one.violation is not None],
        "violation": violation,
    }


def _show(result: Result, elapsed_s: float) -> None:
    console = Console()
    for by_venue, title in ((True, "by combination of capabilities"), (False, "by scenario")):
        table = Table(title=title)
        for heading in Line.__struct_fields__:
            table.add_column(heading.replace("_", " "), justify="left" if heading == "name" else "right", no_wrap=True)
        for line in _lines(result.searches, by_venue=by_venue):
            figures = msgspec.structs.astuple(line)
            table.add_row(*(one if isinstance(one, str) else f"{one:,}" for one in figures))
        console.print(table)
    console.print(
        f"{result.states:,} distinct states, {result.transitions:,} transitions, depth {result.depth}, in "
        f"{len(result.searches):,} searches ({result.complete:,} of them complete), {elapsed_s:.0f} s, "
        f"{result.states / elapsed_s:,.0f} states/s. In {result.doubled:,} states the network had made a second order out "
        f"of one request."
    )
    broken = {one.violation.promise for one in result.searches if one.violation is not None}
    if result.violation is None:
        console.print("No promise is broken.")
        return
    console.print(f"BROKEN: {', '.join(sorted(broken))}. The shortest way into it:")
    console.print(result.violation.text(), markup=False, highlight=False, soft_wrap=True)
