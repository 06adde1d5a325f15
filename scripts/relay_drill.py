"""Committed events told to a real broker by a relay that is killed with -9 again and again: none lost, order per order kept.

python scripts/relay_drill.py [--events 100000] [--kills 20] [--to nats|kafka] [--seed 1] [--json]
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, errors, print_json, print_table, progress
from onefill.core.errors import OnefillError
from onefill.gameday.relay_drill import RelayDrillResult, RelayDrillSettings, run_drill


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000, help="committed before anything is told")
    parser.add_argument("--kills", type=int, default=20, help="kill -9 so often")
    parser.add_argument("--to", choices=("nats", "kafka"), default="nats", help="the broker")
    parser.add_argument("--seed", type=int, default=1, help="decides when the relay is killed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _report(result: RelayDrillResult) -> None:
    rows = [
        [name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else str(value)]
        for name in RelayDrillResult.__struct_fields__
        if name != "violations"
        for value in (getattr(result, name),)
    ]
    print_table("The relay drill", [("", "left"), ("", "right")], rows)
    for violation in result.violations:
        errors.print(violation, markup=False)


def main() -> int:
    """Run the drill; 0 if everything held, 5 if not, 2 if it could not be carried out."""
    given = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="onefill-relay-"))
    try:
        settings = RelayDrillSettings(to=given.to, events=given.events, kills=given.kills, seed=given.seed)
        with progress(shown=not given.json) as bar:
            tasks = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total, note="")
                bar.update(tasks[what], completed=done, total=total)

            result = run_loop(run_drill(settings, folder, tell))
    except (OnefillError, OSError) as error:
        errors.print(f"error: {error}", markup=False)
        return ExitCode.BAD_INPUT
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        print_json(result)
    else:
        _report(result)
    return ExitCode.BROKEN if result.violations else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
