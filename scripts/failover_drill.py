"""Real PostgreSQL with a synchronous standby, two gateways, a load of orders; then things are killed, paused and cut off.

python scripts/failover_drill.py [--rounds 10] [--blows database,gateway,both,pause,...] [--version 16] [--json]
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, errors, print_json, print_table, progress
from onefill.core.errors import OnefillError
from onefill.gameday.failover import Blow, FailoverResult, FailoverSettings, run_failover


def _arguments() -> argparse.Namespace:
    default = FailoverSettings()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blows", default=",".join(Blow), help="what happens, comma separated")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="rounds of each")
    parser.add_argument("--nodes", type=int, default=default.nodes, help="gateway processes")
    parser.add_argument("--accounts", type=int, default=default.accounts, help="accounts, each a route")
    parser.add_argument("--in-flight", type=int, default=default.in_flight, help="orders under way on each account")
    parser.add_argument(
        "--lease-s", type=float, default=default.lease_s, help="for how long a route is lent, in seconds"
    )
    parser.add_argument("--load-s", type=float, default=default.load_s, help="undisturbed load before each round")
    parser.add_argument("--version", type=int, default=default.version, help="PostgreSQL 16 or 18")
    parser.add_argument("--rewind", action="store_true", help="make the new standby by pg_rewind")
    parser.add_argument("--seed", type=int, default=default.seed, help="decides the orders")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _report(result: FailoverResult) -> None:
    rows: list[list[str]] = [["PostgreSQL", str(result.version)], ["lease", f"{result.lease_s:g} s"]]
    for name in ("acknowledged", "orders", "executions", "retries", "twice"):
        rows.append([name, f"{getattr(result, name):,}"])
    rows += [[f"  {what}", f"{count:,}"] for what, count in result.kills.items() if count]
    rows += [[f"slowest to go on: {blow}", f"{took_s:.2f} s"] for blow, took_s in result.slowest_s.items()]
    if result.slowest_handover_s is not None:
        rows.append(["slowest planned handover", f"{result.slowest_handover_s:.2f} s"])
    rows += [[f"incidents: {kind}", f"{count:,}"] for kind, count in sorted(result.incidents.items())]
    rows += [
        ["seconds", f"{result.seconds:g}"],
        ["late", str(len(result.late))],
        ["violations", str(len(result.violations))],
    ]
    print_table("The failover drill", [("", "left"), ("", "right")], rows)
    for problem in (*result.violations, *result.late):
        errors.print(problem, markup=False)


def main() -> int:
    """Run the drill; 0 if everything held and in time, 5 if not, 2 if it could not be carried out."""
    given = vars(_arguments())
    as_json = given.pop("json")
    folder = Path(tempfile.mkdtemp(prefix="onefill-failover-"))
    try:
        settings = msgspec.convert(given | {"blows": given["blows"].split(",")}, FailoverSettings)
        with progress(shown=not as_json) as bar:
            task = bar.add_task("starting", total=1, note="rounds")

            def tell(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)

            result = run_loop(run_failover(settings, folder, tell))
    except (OnefillError, OSError, ValueError) as error:
        errors.print(f"error: {error}", markup=False)
        return ExitCode.BAD_INPUT
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(result)
    else:
        _report(result)
    return ExitCode.BROKEN if result.violations or result.late else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
