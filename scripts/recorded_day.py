"""A recorded day of orders through a faulty link, killed with -9 at 20 moments for each dialect, against a clean run.

python scripts/recorded_day.py FILE [--dialects ever,day,open] [--kills 20] [--seed 1] [--limit ROWS] [--json]
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, errors, print_json, print_table, progress
from onefill.core.capabilities import UniqueScope
from onefill.core.errors import OnefillError
from onefill.gameday.recorded_day import DayResult, DaySettings, run_day


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="order events in Bitstamp's form, .csv or .csv.xz")
    parser.add_argument("--dialects", default="ever,day,open", help="scopes of client-id uniqueness, comma separated")
    parser.add_argument("--kills", type=int, default=20, help="kill -9 so often per dialect")
    parser.add_argument("--seed", type=int, default=1, help="decides faults and kills")
    parser.add_argument("--faults", default="rough", help="calm, rough or storm")
    parser.add_argument("--limit", type=int, help="only the file's first rows")
    parser.add_argument("--in-flight", type=int, default=256, help="rows under way at once")
    parser.add_argument("--keep", type=Path, help="keep ledgers and answers in this new folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _report(results: list[DayResult]) -> None:
    rows: list[list[str]] = []
    for name in DayResult.__struct_fields__:
        if name == "faults":
            kinds = sorted({kind for result in results for kind in result.faults})
            rows += [
                [f"  {kind.replace('_', ' ')}", *(f"{r.faults.get(kind, 0):,}" for r in results)] for kind in kinds
            ]
        elif name not in {"dialect", "violations"}:
            rows.append([name.replace("_", " "), *(f"{getattr(result, name):,}" for result in results)])
    print_table("The recorded day", [("", "left"), *((f"{r.dialect}", "right") for r in results)], rows)
    for result in results:
        for violation in result.violations:
            errors.print(f"{result.dialect}: {violation}", markup=False)


def main() -> int:
    """Run the drill; 0 if everything held, 5 if not, 2 if the arguments or the file cannot be used."""
    given = _arguments()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="onefill-day-"))
    try:
        folder.mkdir(parents=True, exist_ok=given.keep is None)
        settings = DaySettings(
            file=given.file,
            dialects=tuple(UniqueScope(scope) for scope in given.dialects.split(",")),
            kills=given.kills,
            seed=given.seed,
            faults=given.faults,
            limit=given.limit,
            in_flight=given.in_flight,
        )
        with progress(shown=not given.json) as bar:
            tasks = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total, note="requests at the venue")
                bar.update(tasks[what], completed=done)

            results = run_loop(run_day(settings, folder, tell))
    except (OnefillError, OSError, ValueError) as error:
        errors.print(f"error: {error}", markup=False)
        return ExitCode.BAD_INPUT
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        print_json(results)
    else:
        _report(results)
    return ExitCode.BROKEN if any(result.violations for result in results) else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
