"""The command line of the simulation: ``python -m onefill.sim.simulate``."""

import argparse
import sys
import time
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from onefill.sim.simulate import judged, run_in_processes, seeds_of, shortcomings
from onefill.sim.simulate_report import as_json, lines, world_lines
from onefill.sim.simulate_tally import Broken


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for. Returns 0 if every promise held and everything was exercised, else 1; 2: misuse."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _one(asked.seed, trace=asked.trace)
    seeds = seeds_of(asked.first, asked.seeds, asked.only)
    if not seeds:
        sys.stderr.write(f"simulate: no profile's name contains {asked.only!r}; --list shows them all\n")
        return 2
    began = time.monotonic()
    columns = (TextColumn("worlds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("worlds", total=len(seeds))
        result = run_in_processes(seeds, jobs=asked.jobs, on_worlds=lambda count: progress.advance(bar, count))
    took_s = time.monotonic() - began
    missing = shortcomings(result, complete=asked.only is None)
    if asked.json:
        sys.stdout.write(msgspec.json.encode(as_json(result, took_s, missing)).decode() + "\n")
    else:
        _write(lines(result, took_s, missing))
        if result.broken:
            _one(result.broken[0].seed, trace=True)
    return 1 if result.broken or missing else 0


def _one(seed: int, *, trace: bool) -> int:
    run, _, violations = judged(seed)
    broken = [
        Broken(seed=seed, profile=run.plan.name, promise=one.promise, text=one.text, at_us=one.at_us)
        for one in violations
    ]
    _write(world_lines(run, broken, all_of_it=trace))
    return 1 if broken else 0


def _write(text: Iterable[str]) -> None:
    for line in text:
        sys.stdout.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m onefill.sim.simulate", description="Run simulated worlds and judge every promise over each."
    )
    parser.add_argument("--seeds", type=int, default=2000, metavar="N", help="how many worlds (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed (default %(default)s)")
    parser.add_argument(
        "--only", metavar="TEXT", help="only worlds whose name contains this, such as open-error/lookup-scan or nodes-3"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--seed", type=int, metavar="SEED", help="run this one world")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happened")
    return parser
