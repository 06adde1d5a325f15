"""A recorded day's first orders through ccxt to imitations of real venues, over a faulty link, with kills; and plain ccxt.

python scripts/recorded_day_ccxt.py FILE [--venues binance_spot,kraken,...] [--orders 2000] [--kills 10] [--seed 1] [--json]
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, errors, print_json, print_table, progress
from onefill.core.errors import OnefillError
from onefill.gameday.recorded_ccxt import VENUES, PlainResult, VenueDrill, VenueResult, run_venues


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="order events in Bitstamp's form, .csv or .csv.xz")
    parser.add_argument("--venues", default=",".join(VENUES), help="imitations to drill, comma separated")
    parser.add_argument("--orders", type=int, default=2000, help="the day's first so many")
    parser.add_argument("--kills", type=int, default=10, help="kill -9 so often per venue")
    parser.add_argument("--seed", type=int, default=1, help="decides faults and kills")
    parser.add_argument("--faults", default="rough", help="calm, rough or storm")
    parser.add_argument("--in-flight", type=int, default=64, help="rows under way at once")
    parser.add_argument("--keep", type=Path, help="keep ledgers and answers in this new folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _figures(result: VenueResult | PlainResult, *but: str) -> dict[str, str]:
    names = [name for name in result.__struct_fields__ if name not in but]
    return {name.replace("_", " "): f"{getattr(result, name):,}" for name in names}


def _counted(results: list[dict[str, int]]) -> list[list[str]]:
    kinds = sorted({kind for counts in results for kind in counts})
    return [[f"  {kind.replace('_', ' ')}", *(f"{counts.get(kind, 0):,}" for counts in results)] for kind in kinds]


def _report(results: list[VenueResult]) -> None:
    columns = [("", "left"), *((result.venue, "right") for result in results)]
    figures = [_figures(result, "venue", "faults", "plain", "violations") for result in results]
    rows = [[name, *(one[name] for one in figures)] for name in figures[0]]
    print_table("Onefill", columns, rows + _counted([result.faults for result in results]))
    figures = [_figures(result.plain, "errors") for result in results]
    rows = [[name, *(one[name] for one in figures)] for name in figures[0]]
    print_table("Plain ccxt with a naive retry", columns, rows + _counted([result.plain.errors for result in results]))
    for result in results:
        for violation in result.violations:
            errors.print(f"{result.venue}: {violation}", markup=False)


def main() -> int:
    """Run the drill; 0 if everything held, 5 if not, 2 if the arguments or the file cannot be used."""
    given = _arguments()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="onefill-ccxt-"))
    try:
        folder.mkdir(parents=True, exist_ok=given.keep is None)
        settings = VenueDrill(
            file=given.file,
            venues=tuple(given.venues.split(",")),
            orders=given.orders,
            kills=given.kills,
            seed=given.seed,
            faults=given.faults,
            in_flight=given.in_flight,
        )
        with progress(shown=not given.json) as bar:
            tasks = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total, note="requests at the venue")
                bar.update(tasks[what], completed=done)

            results = run_loop(run_venues(settings, folder, tell))
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
