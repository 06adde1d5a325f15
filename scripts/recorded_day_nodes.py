"""A recorded day of orders over PostgreSQL and two gateways, which are killed, paused and failed over at random.

python scripts/recorded_day_nodes.py FILE [--dialects ever,day,open] [--kills 12] [--pauses 6] [--failovers 2] [--json]
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, errors, print_json, print_table, progress
from onefill.core.errors import OnefillError
from onefill.core.intent import at_venue
from onefill.gameday.node_words import route_of
from onefill.gameday.recorded_nodes import (
    DayCancel,
    DaySubmit,
    NodesDayResult,
    NodesDaySettings,
    Row,
    run_nodes_day,
)
from onefill.service import blotter
from onefill.service.blotter import Defaults, Format


def _arguments() -> argparse.Namespace:
    default = NodesDaySettings(accounts=("x",))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="order events in Bitstamp's form, .csv or .csv.xz")
    parser.add_argument("--dialects", default="ever,day,open", help="scopes of client-id uniqueness, comma separated")
    parser.add_argument("--nodes", type=int, default=default.nodes, help="gateway processes")
    parser.add_argument(
        "--accounts", type=int, default=4, help="accounts, each a route, over which the rows are spread"
    )
    parser.add_argument("--kills", type=int, default=default.kills, help="kill -9 of a gateway so often per dialect")
    parser.add_argument("--pauses", type=int, default=default.pauses, help="pauses longer than a lease")
    parser.add_argument("--failovers", type=int, default=default.failovers, help="kill -9 of the primary database")
    parser.add_argument("--seed", type=int, default=default.seed, help="decides faults and blows")
    parser.add_argument("--faults", default=default.faults, help="calm, rough or storm")
    parser.add_argument("--limit", type=int, help="only the file's first rows")
    parser.add_argument("--in-flight", type=int, default=default.in_flight, help="rows under way at once")
    parser.add_argument(
        "--lease-s", type=float, default=default.lease_s, help="for how long a route is lent, in seconds"
    )
    parser.add_argument("--version", type=int, default=default.version, help="PostgreSQL 16 or 18")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _rows(file: Path, accounts: tuple[str, ...], limit: int | None) -> Iterator[Row]:
    """Yield the file's rows, each on the account that its key belongs to."""
    defaults = Defaults(account=accounts[0], strategy="blotter", instrument="BTC-USD", allow_similar=False)
    for row in itertools.islice(blotter.read(file, Format.BITSTAMP, defaults), limit):
        if isinstance(row, blotter.BadRow):
            continue
        account = accounts[zlib.crc32(row.key.encode()) % len(accounts)]
        if isinstance(row, blotter.SubmitRow):
            intent = msgspec.structs.replace(row.intent, account=account)
            yield DaySubmit(row.key, at_venue(intent, route_of(account)))
        else:
            yield DayCancel(row.key, account, row.strategy, row.operation_key)


def _report(results: list[NodesDayResult]) -> None:
    names = [name for name in NodesDayResult.__struct_fields__ if name not in {"dialect", "violations"}]
    rows = [[name.replace("_", " "), *(f"{getattr(result, name):,}" for result in results)] for name in names]
    headings = [("", "left"), *((f"{result.dialect}", "right") for result in results)]
    print_table("The recorded day over several gateways", headings, rows)
    for result in results:
        for violation in result.violations:
            errors.print(f"{result.dialect}: {violation}", markup=False)


def main() -> int:
    """Run the drill; 0 if everything held, 5 if not, 2 if the arguments or the file cannot be used."""
    given = vars(_arguments())
    file, limit, as_json = given.pop("file"), given.pop("limit"), given.pop("json")
    accounts = tuple(f"acct{number}" for number in range(1, given.pop("accounts") + 1))
    folder = Path(tempfile.mkdtemp(prefix="onefill-day-"))
    try:
        dialects = given["dialects"].split(",")
        settings = msgspec.convert(given | {"accounts": accounts, "dialects": dialects}, NodesDaySettings)
        rows = list(_rows(file, accounts, limit))
        with progress(shown=not as_json) as bar:
            tasks = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total, note="rows answered")
                bar.update(tasks[what], completed=done)

            results = run_loop(run_nodes_day(settings, rows, folder, tell))
    except (OnefillError, OSError, ValueError) as error:
        errors.print(f"error: {error}", markup=False)
        return ExitCode.BAD_INPUT
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(results)
    else:
        _report(results)
    return ExitCode.BROKEN if any(result.violations for result in results) else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
