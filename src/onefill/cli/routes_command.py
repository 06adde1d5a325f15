"""``onefill routes``: who holds which route, and handing one over."""

from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.listing import LIST, Listing
from onefill.cli.loop import run_loop
from onefill.cli.output import print_json, print_table, remark, say, told
from onefill.cli.person import person
from onefill.cli.read_commands import moment
from onefill.service import routes as service
from onefill.service.routes import RouteHeld
from onefill.service.wiring import SystemClock, holder, open_for_reading

routes_app = typer.Typer(cls=Listing, help="Who holds which route; handing one over.", no_args_is_help=True)
LedgerArgument = Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")]


@routes_app.command(LIST)
def list_routes(ledger: LedgerArgument, as_json: options.Json = False) -> None:
    """List every route with its holder, its epoch, and until when it is lent. Only reads, also beside running gateways."""
    with told(as_json=as_json):

        async def read() -> list[RouteHeld]:
            async with open_for_reading(ledger) as store:
                return await service.routes(store, SystemClock())

        found = run_loop(read())
        if as_json:
            print_json(found)
        elif not found:
            remark("the ledger has no routes")
        else:
            _print(found)


@routes_app.command("hand-over")
def hand_over(
    ledger: LedgerArgument,
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="The route, as it is listed.")],
    to: Annotated[str | None, typer.Option(metavar="NODE", help="The node that is to have it; else any other.")] = None,
    within_s: Annotated[float, typer.Option(help="How long to wait until somebody else has it.", min=0)] = 5.0,
    by: Annotated[str | None, typer.Option(help="Who says so; else this system's user at this host.")] = None,
    as_json: options.Json = False,
) -> None:
    """Have the holder of a route give it to another node, without a lease running out. Works from any machine.

    Orders that come meanwhile are taken a moment later by the next holder. Exit code 2 if nobody took it in time.
    """
    with told(as_json=as_json):
        moved = run_loop(
            service.hand_over(
                ledger, route, to, by=by or person(), holder=holder(), clock=SystemClock(), within_s=within_s
            )
        )
        if as_json:
            print_json(moved)
        else:
            say(
                f"{moved.route} went from {moved.before} to {moved.holder} (epoch {moved.epoch}) in {moved.took_s:.2f} s"
            )


def _print(found: list[RouteHeld]) -> None:
    columns = [
        ("route", "left"),
        ("holder", "left"),
        ("epoch", "right"),
        ("since (UTC)", "left"),
        ("lease", "right"),
        ("", "left"),
    ]
    rows = [
        (
            one.route,
            one.holder if one.held is not False else f"nobody (before: {one.holder})",
            str(one.epoch),
            moment(one.acquired_at_us)[:19],
            "" if one.left_s is None else ("over" if not one.held else f"{one.left_s:.1f} s left"),
            "; ".join(_remarks(one)),
        )
        for one in found
    ]
    print_table(f"{len(found)} route{'s' if len(found) > 1 else ''}", columns, rows, spare=("", "since (UTC)"))


def _remarks(one: RouteHeld) -> list[str]:
    found = []
    if one.asked is not None:
        found.append(f"{one.asked.by} wants it handed over to {one.asked.to or 'another node'}")
    if one.suspicions:
        found.append(f"a second holder was suspected {one.suspicions} time{'s' if one.suspicions > 1 else ''}")
    return found
