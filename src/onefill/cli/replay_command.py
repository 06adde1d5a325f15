"""``onefill replay``: the record, replayed from its first entry through the same consumer into an empty book."""

from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, print_table, progress, remark, say, told
from onefill.cli.read_commands import position_json
from onefill.core.errors import CallerError
from onefill.core.replay import RouteReplay
from onefill.service import replay as service
from onefill.service import settings as settings_file
from onefill.service.replay import StreamCheck
from onefill.service.wiring import open_for_reading


def replay(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")],
    route: Annotated[str | None, typer.Option(help="Only this route.")] = None,
    times: Annotated[int, typer.Option(help="How often every report is fed.", min=1)] = 2,
    venue: Annotated[
        str | None, typer.Option("--venue", help="Read this venue's streams from their beginning too: a name or a URL.")
    ] = None,
    archive: options.Archive = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Replay the journal into an empty book, and compare orders and positions with what is stored.

    Only reads, also beside a running gateway. Exit code 5 without parity; 3 if a venue tells of executions that the ledger
    lacks.
    """
    with told(as_json=as_json):
        named = None if venue is None else settings_file.venue(options.load_settings(settings), venue, timeout_s)

        async def work() -> tuple[list[RouteReplay], list[StreamCheck]]:
            async with open_for_reading(ledger, archive) as store:
                names, entries = await service.choose(store, route)
                with progress(shown=True) as bar:
                    task = bar.add_task("replaying", total=entries, note="")
                    found = await service.replay(
                        store, names, times=times, on_progress=lambda count: bar.update(task, advance=count)
                    )
                checks: list[StreamCheck] = []
                if named is not None:
                    name, venue_settings = named
                    mine = [one for _, one in found if one.route.startswith(f"{name}:")]
                    if not mine:
                        raise CallerError(f"--venue: no route of this ledger is of {name!r}. Nothing was changed")
                    for replayer in mine:
                        link = options.connection(name, venue_settings, replayer.route.removeprefix(f"{name}:"))
                        checks += await service.ask_and_close(store, replayer, link)
                return [one for one, _ in found], checks

        found, checks = run_loop(work())
        if as_json:
            print_json(
                {"parity": all(one.parity for one in found), "routes": [_json(one) for one in found], "venue": checks}
            )
        else:
            _print(found, checks)
        if not all(one.parity for one in found):
            raise typer.Exit(ExitCode.BROKEN)
        if any(check.missing for check in checks):
            raise typer.Exit(ExitCode.UNCERTAIN)


def _json(one: RouteReplay) -> dict[str, object]:
    return {
        "route": one.route,
        "parity": one.parity,
        "entries": one.entries,
        "events": one.events,
        "orders": one.orders,
        "open_orders": one.still_open,
        "executions": one.executions,
        "quarantined": one.quarantined,
        "duplicates": one.duplicates,
        "reversed_orders": one.reversed_orders,
        "differing": one.differing,
        "differences": one.differences,
        "positions": [position_json(position) for position in one.positions],
    }


def _print(found: list[RouteReplay], checks: list[StreamCheck]) -> None:
    if not found:
        remark("the ledger has no routes: there is nothing to replay")
        return
    columns = [
        ("route", "left"),
        ("entries", "right"),
        ("events", "right"),
        ("orders", "right"),
        ("executions", "right"),
        ("repeats dropped", "right"),
        ("kept apart", "right"),
        ("reversed", "right"),
        ("parity", "left"),
    ]
    rows = [
        (
            one.route,
            f"{one.entries:,}",
            f"{one.events:,}",
            f"{one.orders:,}",
            f"{one.executions:,}",
            f"{one.duplicates:,}",
            f"{one.quarantined:,}",
            f"{one.reversed_orders:,}",
            "yes" if one.parity else "NO",
        )
        for one in found
    ]
    print_table("", columns, rows, spare=("reversed", "kept apart", "events"))
    for one in found:
        for difference in one.differences:
            say(f"{one.route}: {difference}")
        if one.differing > len(one.differences):
            say(f"{one.route}: and {one.differing - len(one.differences):,} more")
    for check in checks:
        say(
            f"{check.route}, {check.stream}: {check.executions:,} executions in {check.reports:,} reports, "
            f"{check.known:,} known, {check.missing:,} not in the ledger"
        )
        for lack in check.lacking:
            say(
                f"  {lack.position}: {lack.execution_id} {lack.side} {lack.quantity} {lack.instrument} at {lack.price} "
                f"({lack.client_order_id or 'no client order id'})"
            )
