"""``onefill bench``: what this machine does, beside the bare limit of the same run."""

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import errors, print_json, print_table, told
from onefill.gameday import bench as measure
from onefill.gameday import bench_books as books
from onefill.gameday import bench_scaling as scaling
from onefill.gameday.bench import Scale
from onefill.gameday.bench_audit import audit_entries_per_s
from onefill.gameday.bench_places import Place, Places, SqlitePlaces, without_warm_up
from onefill.gameday.bench_postgres import PostgresPlaces
from onefill.gameday.old_ledger import old_rows
from onefill.service.audit import verify

_ANY_LEDGER = {
    "submit_to_wire_over_floor": ("at most", 2.0),
    "executions_small_over_large": ("at most", 1.3),
    "recovery_s_large": ("at most", 1.0),
    "submit_to_wire_large_over_small": ("at most", 1.3),
    "rss_large_over_small": ("at most", 1.3),
}
_FILE = _ANY_LEDGER | {
    "submits_per_s_1024": ("at least", 10_000.0),
    "lifecycles_per_s": ("at least", 5_000.0),
    "executions_per_s": ("at least", 15_000.0),
    "duplicate_executions_per_s": ("at least", 60_000.0),
    "audit_entries_per_s": ("at least", 200_000.0),
    "guard_added_over_commit": ("at most", 3.0),
}
_RECOVERY, _IDLE = "recovery", "idle"
_POSTGRESQL = _ANY_LEDGER | {"submits_per_s_1024": ("at least", 6_000.0)}


def bench(
    ledger: Annotated[
        str | None,
        typer.Option(
            help="A database, postgresql://...: measured in schemas of its own, dropped at the end. Else files."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write files; its file system is what is measured.")
    ] = None,
    old_intents: Annotated[int, typer.Option(help="The larger number of old intents.", min=2000)] = 1_000_000,
    random_keys: Annotated[bool, typer.Option("--random-keys", help="Old keys without order, as hashes are.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the work: a look, not a figure.")] = False,
    probe: Annotated[str | None, typer.Option(hidden=True)] = None,
    part: Annotated[str, typer.Option(hidden=True)] = _RECOVERY,
    as_json: options.Json = False,
) -> None:
    """Measure this machine: submit to wire, throughput, duplicates, recovery and memory, beside the bare database."""
    scale = Scale(old_intents=(1_000, old_intents))
    if quick:
        scale = _quick(old_intents)
    with told(as_json=as_json), _places(ledger, folder) as places:
        if probe is not None:
            _in_own_process(places.find(probe), part, scale, quick=quick)
            return
        again = [*(["--ledger", ledger] if ledger else []), *(["--quick"] if quick else [])]
        figures = _measure(places, scale, again, random_keys=random_keys)
        if ledger is not None:
            figures |= run_loop(_several(places, scale, again))
        if as_json:
            print_json(figures)
        else:
            _report(figures, _FILE if ledger is None else _POSTGRESQL)


def _quick(old_intents: int) -> Scale:
    return Scale(
        rounds=2,
        commits=150,
        floor_rows=5_120,
        sequential=300,
        submits=5_000,
        lifecycles=4_000,
        rounds_per_figure=1,
        executions=5_000,
        scaling=3_000,
        idle_routes=50,
        idle_s=3.0,
        audit_entries=50_000,
        guarded=60,
        old_intents=(1_000, min(old_intents, 50_000)),
    )


@contextlib.contextmanager
def _places(ledger: str | None, folder: Path | None) -> Iterator[Places]:
    if ledger is None:
        with tempfile.TemporaryDirectory(dir=folder, prefix="onefill-bench-") as made:
            yield SqlitePlaces(Path(made))
        return
    places = PostgresPlaces(ledger)
    try:
        yield places
    finally:
        run_loop(places.drop())


def _tell(text: str) -> None:
    errors.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False)


def _measure(places: Places, scale: Scale, again: list[str], *, random_keys: bool) -> dict[str, float]:
    figures = run_loop(_idle(places, scale))
    figures |= _guard(places, scale)
    for _ in range(scale.rounds_per_figure):
        _raise(figures, run_loop(measure.throughput(places, scale, _tell)))
    for size, count in zip(("small", "large"), scale.old_intents, strict=True):
        _tell(f"making a ledger with {count:,} old intents")
        place = run_loop(_old(places, size, count, random_keys=random_keys))
        _tell("recovery and submit to wire on it")
        figures[f"old_intents_{size}"] = count
        figures |= {f"{name}_{size}": value for name, value in _apart(place, _RECOVERY, again).items()}
        if size == "large":
            figures |= run_loop(_books(places, place, count, scale))
    for name in ("submit_to_wire_us_p50", "rss_mb", "recovery_s"):
        ratio = figures[f"{name}_large"] / figures[f"{name}_small"]
        figures[name.replace("_us_p50", "").replace("_mb", "") + "_large_over_small"] = ratio
    return figures


def _guard(places: Places, scale: Scale) -> dict[str, float]:
    """Measure what the guard adds to ccxt, where there is ccxt; its ledger is a file."""
    if not isinstance(places, SqlitePlaces):
        return {}
    if importlib.util.find_spec("ccxt") is None:
        _tell("the guard is not measured: ccxt is not installed")
        return {}
    from onefill.gameday import bench_guard  # noqa: PLC0415 - these load ccxt
    from onefill.guarding.entrance import guard  # noqa: PLC0415 - likewise

    _tell("calls of ccxt, plain and guarded")
    return run_loop(bench_guard.added(places.folder, guard, scale.guarded))


def _raise(best: dict[str, float], found: dict[str, float], suffix: str = "") -> None:
    """Keep the higher of two figures."""
    for name, value in found.items():
        best[name + suffix] = max(value, best.get(name + suffix, 0.0))


async def _old(places: Places, size: str, count: int, *, random_keys: bool) -> Place:
    place = await places.fresh(f"old-{size}")
    await place.write(old_rows(measure.ROUTE, count, random_keys=random_keys))
    return place


async def _books(places: Places, old: Place, count: int, scale: Scale) -> dict[str, float]:
    """Measure executions on an empty ledger and on one with as many old executions as orders, by turns; then the audit."""
    await old.write(books.old_executions(old, count))
    best: dict[str, float] = {}
    feeds: dict[str, books.Feed] = {}
    for number in range(scale.rounds_per_figure):
        _tell(
            f"executions, on an empty ledger and on {count:,} old ones, round {number + 1} of {scale.rounds_per_figure}"
        )
        for suffix, place in (("", await places.fresh("executions")), ("_large", old)):
            _raise(best, await books.executions(place, scale.executions, scale.executions * 4, feeds), suffix)
    best["executions_small_over_large"] = best["executions_per_s"] / best["executions_per_s_large"]
    _tell("audit verify")
    for _ in range(scale.rounds_per_figure):
        _raise(best, await audit_entries_per_s(await places.fresh("audit"), scale.audit_entries, verify))
    return best


async def _idle(places: Places, scale: Scale) -> dict[str, float]:
    """Measure the bare commit and submit to wire by turns."""
    floors, submits = [], []
    for number in range(scale.rounds):
        _tell(f"bare commits and idle submits, round {number + 1} of {scale.rounds}")
        floors.append(without_warm_up(await places.floor_commit(scale.commits)))
        submits.append(await measure.submit_to_wire(await places.fresh("idle"), scale.commits))
    floor_us = median(measure.percentile(took, 0.5) for took in floors)
    wire_us = median(measure.percentile(took, 0.5) for took in submits)
    return {
        "floor_commit_us_p50": floor_us,
        "floor_group_per_s": await places.floor_group(scale.floor_rows),
        "submit_to_wire_us_p50": wire_us,
        "submit_to_wire_us_p99": median(measure.percentile(took, 0.99) for took in submits),
        "submit_to_wire_over_floor": wire_us / floor_us,
    }


def _in_own_process(place: Place, part: str, scale: Scale, *, quick: bool) -> None:
    """Measure what needs a process of its own: memory, a fresh start, or one of several gateways."""
    if part == _RECOVERY:
        print_json(run_loop(measure.probe(place, 300 if quick else 2000)))
    elif part == _IDLE:
        print_json(run_loop(scaling.idle_routes(place, scale.idle_routes, scale.idle_s)))
    else:
        run_loop(scaling.worker(place, part, scale.scaling))


async def _several(places: Places, scale: Scale, again: list[str]) -> dict[str, float]:
    """Measure several gateway processes on one database, each with a route of its own; and many routes in one of them."""
    best: dict[str, float] = {}
    for _ in range(scale.rounds_per_figure):
        for number in scale.gateways:
            _tell(f"{number} gateway processes")
            place = await places.fresh("gateways")
            commands = [[*_again(place, again), "--part", f"{measure.ROUTE}-{n}"] for n in range(number)]
            _raise(best, {f"submits_per_s_gateways_{number}": await scaling.gateways(commands, scale.scaling)})
    _tell(f"{scale.idle_routes} routes on which nothing happens, {scale.idle_s:g} s")
    return best | _apart(await places.fresh("idle"), _IDLE, again)


def _again(place: Place, again: list[str]) -> list[str]:
    return [sys.executable, "-m", "onefill", "bench", "--probe", place.name, *again]


def _apart(place: Place, part: str, again: list[str]) -> dict[str, float]:
    command = [*_again(place, again), "--part", part]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    return dict(json.loads(done.stdout))


def _report(figures: dict[str, float], targets: dict[str, tuple[str, float]]) -> None:
    rows = []
    for name, value in figures.items():
        target = targets.get(name)
        wanted = "" if target is None else f"{target[0]} {target[1]:g}"
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"
        rows.append((name, shown, wanted))
    print_table("", [("figure", "left"), ("value", "right"), ("aim", "left")], rows)
