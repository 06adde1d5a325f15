"""``onefill bench``: what this machine does, beside the bare limit of the same run."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import errors, print_json, print_table, told
from onefill.gameday import bench as measure
from onefill.gameday import bench_books as books
from onefill.gameday.bench import Scale
from onefill.gameday.bench_audit import audit_entries_per_s
from onefill.gameday.old_ledger import fill
from onefill.ledger.sqlite_file import open_file
from onefill.service.audit import verify

_TARGETS = {
    "submit_to_wire_over_floor": ("at most", 2.0),
    "submits_per_s_1024": ("at least", 10_000.0),
    "lifecycles_per_s": ("at least", 5_000.0),
    "executions_per_s": ("at least", 15_000.0),
    "duplicate_executions_per_s": ("at least", 60_000.0),
    "executions_small_over_large": ("at most", 1.3),
    "audit_entries_per_s": ("at least", 200_000.0),
    "recovery_s_large": ("at most", 1.0),
    "submit_to_wire_large_over_small": ("at most", 1.3),
    "rss_large_over_small": ("at most", 1.3),
}


def bench(
    folder: Annotated[Path | None, typer.Option(help="Where to write; its file system is what is measured.")] = None,
    old_intents: Annotated[int, typer.Option(help="The larger number of old intents.", min=2000)] = 1_000_000,
    random_keys: Annotated[bool, typer.Option("--random-keys", help="Old keys without order, as hashes are.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the work: a look, not a figure.")] = False,
    probe: Annotated[Path | None, typer.Option(hidden=True)] = None,
    as_json: options.Json = False,
) -> None:
    """Measure this machine: submit to wire, throughput, duplicates, recovery and memory, beside the bare database."""
    if probe is not None:
        print_json(run_loop(measure.probe(probe, 300 if quick else 2000)))
        return
    scale = Scale(old_intents=(1_000, old_intents))
    if quick:
        scale = Scale(
            rounds=2,
            commits=150,
            floor_rows=5_120,
            sequential=300,
            submits=5_000,
            lifecycles=4_000,
            rounds_per_figure=1,
            executions=5_000,
            audit_entries=50_000,
            old_intents=(1_000, min(old_intents, 50_000)),
        )
    with told(as_json=as_json), tempfile.TemporaryDirectory(dir=folder, prefix="onefill-bench-") as made:
        figures = _measure(Path(made), scale, quick=quick, random_keys=random_keys)
        if as_json:
            print_json(figures)
        else:
            _report(figures)


def _tell(text: str) -> None:
    errors.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False)


def _measure(folder: Path, scale: Scale, *, quick: bool, random_keys: bool) -> dict[str, float]:
    figures = _idle(folder, scale)
    for number in range(scale.rounds_per_figure):
        rounds = folder / f"round-{number}"
        rounds.mkdir()
        found = run_loop(measure.throughput(rounds, scale, _tell))
        figures |= {name: max(value, figures.get(name, 0.0)) for name, value in found.items()}
    for size, count in zip(("small", "large"), scale.old_intents, strict=True):
        _tell(f"making a ledger with {count:,} old intents")
        path = folder / f"old-{size}.db"
        file = open_file(str(path), seed=bytes(16), holder="bench", at_us=0)
        fill(file.connection, measure.ROUTE, count, random_keys=random_keys)
        file.close()
        _tell("recovery and submit to wire on it")
        figures[f"old_intents_{size}"] = count
        figures |= {f"{name}_{size}": value for name, value in _probe(path, quick=quick).items()}
        if size == "large":
            figures |= _books(folder, path, count, scale)
    for name in ("submit_to_wire_us_p50", "rss_mb", "recovery_s"):
        ratio = figures[f"{name}_large"] / figures[f"{name}_small"]
        figures[name.replace("_us_p50", "").replace("_mb", "") + "_large_over_small"] = ratio
    return figures


def _books(folder: Path, old: Path, count: int, scale: Scale) -> dict[str, float]:
    """Measure executions on an empty ledger and on one with as many old executions as orders, by turns; then the audit."""
    file = open_file(str(old), seed=bytes(16), holder="bench", at_us=0)
    books.fill_executions(file.connection, count)
    file.close()
    best: dict[str, float] = {}
    for number in range(scale.rounds_per_figure):
        _tell(
            f"executions, on an empty ledger and on {count:,} old ones, round {number + 1} of {scale.rounds_per_figure}"
        )
        for suffix, path in (("", folder / f"executions-{number}.db"), ("_large", old)):
            found = run_loop(books.executions(path, scale.executions, scale.executions * 4))
            best |= {name + suffix: max(value, best.get(name + suffix, 0.0)) for name, value in found.items()}
    best["executions_small_over_large"] = best["executions_per_s"] / best["executions_per_s_large"]
    _tell("audit verify")
    for _ in range(scale.rounds_per_figure):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found = run_loop(audit_entries_per_s(Path(place), scale.audit_entries, verify))
        best |= {name: max(value, best.get(name, 0.0)) for name, value in found.items()}
    return best


def _idle(folder: Path, scale: Scale) -> dict[str, float]:
    """Measure the bare commit and submit to wire by turns."""
    floors, submits = [], []
    for number in range(scale.rounds):
        _tell(f"bare commits and idle submits, round {number + 1} of {scale.rounds}")
        floors.append(measure.floor_commit(folder / f"floor-{number}.db", scale.commits))
        submits.append(run_loop(measure.submit_to_wire(folder / f"idle-{number}.db", scale.commits)))
    floor_us = median(measure.percentile(took, 0.5) for took in floors)
    wire_us = median(measure.percentile(took, 0.5) for took in submits)
    return {
        "floor_commit_us_p50": floor_us,
        "floor_group_per_s": measure.floor_group(folder / "floor-group.db", scale.floor_rows),
        "submit_to_wire_us_p50": wire_us,
        "submit_to_wire_us_p99": median(measure.percentile(took, 0.99) for took in submits),
        "submit_to_wire_over_floor": wire_us / floor_us,
    }


def _probe(path: Path, *, quick: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "onefill", "bench", "--probe", str(path), *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    return dict(json.loads(done.stdout))


def _report(figures: dict[str, float]) -> None:
    rows = []
    for name, value in figures.items():
        target = _TARGETS.get(name)
        wanted = "" if target is None else f"{target[0]} {target[1]:g}"
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"
        rows.append((name, shown, wanted))
    print_table("", [("figure", "left"), ("value", "right"), ("aim", "left")], rows)
