"""``onefill reconcile``: the ledger and the venue beside one another, now."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, print_table, remark, say, told
from onefill.cli.person import person
from onefill.core.errors import CallerError, InvalidField, OnefillError
from onefill.core.reconcile import Report
from onefill.core.values import plain
from onefill.engine.gateway import Gateway
from onefill.ports.ledger import OpeningPosition
from onefill.service import settings as settings_file
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.settings import Settings
from onefill.service.venue_settings import AnyVenue
from onefill.service.wiring import open_for_reading

LedgerArgument = Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")]
RouteArgument = Annotated[
    str | None, typer.Argument(metavar="[ROUTE]", help="The route, as `onefill status` lists it; else all of them.")
]


def reconcile(
    ledger: LedgerArgument,
    route: RouteArgument = None,
    full: Annotated[bool, typer.Option("--full", help="Every execution, from the first on.")] = False,
    accept_position: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--accept-position",
            metavar="ACCOUNT INSTRUMENT",
            help="Take the venue's word on this position, which an open incident is about.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="With --accept-position: why, for the audit log.")] = None,
    by: Annotated[str | None, typer.Option(help="Likewise: who says so; else this system's user at this host.")] = None,
    venue: Annotated[
        str | None, typer.Option("--venue", help="Where no gateway runs: a venue of the settings file, or a URL.")
    ] = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Compare ledger and venue: open orders, executions and positions. What differs and lasts gets an incident.

    Works beside a running gateway and without one. Executions that are missing here are taken in under their incident;
    nothing else is adjusted. Exit code 6 if a difference lasts, 4 if the venue could not be compared with.
    """
    with told(as_json=as_json):
        configured = options.load_settings(settings)
        named = None if venue is None else settings_file.venue(configured, venue, timeout_s)
        if accept_position is not None:
            _accept(ledger, route, accept_position, by, reason, named, configured, as_json=as_json)
            return
        if reason is not None or by is not None:
            raise InvalidField("--reason" if reason is not None else "--by", "goes with --accept-position only")

        async def work() -> list[Report]:
            try:
                return await ask(ledger, "reconcile", list[Report], route=route, full=full)
            except NotRunning:
                async with _opened(ledger, route, named, configured) as gateway:
                    return await gateway.reconcile(full=full)

        reports = run_loop(work())
        if as_json:
            print_json([msgspec.to_builtins(one) for one in reports])
        else:
            _print(reports)
        if any(one.breaks for one in reports):
            raise typer.Exit(ExitCode.DIVERGED)
        if any(one.failure is not None for one in reports):
            raise typer.Exit(ExitCode.UNAVAILABLE)


def _accept(
    ledger: str,
    route: str | None,
    position: tuple[str, str],
    by: str | None,
    reason: str | None,
    named: tuple[str, AnyVenue] | None,
    configured: Settings,
    *,
    as_json: bool,
) -> None:
    account, instrument = position
    if route is None:
        raise InvalidField("ROUTE", "is missing: a position belongs to one route. Nothing was changed")
    if reason is None:
        raise InvalidField("--reason", "is missing: a position is accepted for a reason. Nothing was changed")
    who = person() if by is None else by
    words = {"by": who, "reason": reason}

    async def work() -> OpeningPosition:
        try:
            return await ask(
                ledger, "accept_position", OpeningPosition, route=route, account=account, instrument=instrument, **words
            )
        except NotRunning:
            async with _opened(ledger, route, named, configured) as gateway:
                return await gateway.accept_position(route, account, instrument, **words)

    opening = run_loop(work())
    if as_json:
        print_json({**msgspec.structs.asdict(opening), "quantity": plain(opening.quantity), "route": route, "by": who})
    else:
        say(f"{account} held {plain(opening.quantity)} {instrument} before the first order, by {who}: {reason}")


@contextlib.asynccontextmanager
async def _opened(
    ledger: str, route: str | None, named: tuple[str, AnyVenue] | None, configured: Settings
) -> AsyncIterator[Gateway]:
    """Open a gateway with those routes of a ledger that are to be compared, all at one venue."""
    async with open_for_reading(ledger) as store:
        routes = [one.name for one in await store.routes()]
    if route is not None and route not in routes:
        raise CallerError(f"route {route!r} is not in this ledger; there: {', '.join(sorted(routes)) or 'none'}")
    wanted = routes if route is None else [route]
    places = [one.rpartition(":") for one in wanted]
    if named is None:
        names = {name for name, _, _ in places}
        known = configured.venues.get(next(iter(names))) if len(names) == 1 else None
        named = options.needed(None if known is None else (next(iter(names)), known))
    name, venue = named
    accounts = {account for place, _, account in places if place == name}
    if not accounts:
        raise CallerError(
            f"--venue: no route of {name!r} is {'asked for' if route else 'in this ledger'}; there: "
            f"{', '.join(sorted(routes)) or 'none'}. Name the venue as it was named then"
        )
    on_command = msgspec.structs.replace(configured.gateway.reconcile, every_s=None)
    gateway_settings = msgspec.structs.replace(configured.gateway, reconcile=on_command)
    configured = msgspec.structs.replace(configured, gateway=gateway_settings)
    async with options.opened(ledger, name, venue, accounts, configured) as gateway:
        with contextlib.suppress(OnefillError, TimeoutError):  # the report tells of it
            await gateway.catch_up()
        yield gateway


def _print(reports: list[Report]) -> None:
    columns = [
        ("route", "left"),
        ("orders here", "right"),
        ("at the venue", "right"),
        ("executions", "right"),
        ("positions", "right"),
        ("taken in", "right"),
        ("in flight", "right"),
        ("breaks", "left"),
        ("converged", "left"),
    ]
    rows = [
        (
            one.route,
            f"{one.orders_here:,}",
            _count(one.orders_there),
            f"{one.executions:,}",
            _count(one.positions),
            str(one.taken_in),
            str(len(one.in_flight)),
            ", ".join(one.breaks) or "none",
            ", ".join(one.converged) or "none",
        )
        for one in reports
    ]
    print_table("", columns, rows, spare=("positions", "executions", "taken in"))
    for one in reports:
        for summary in one.in_flight:
            say(f"{one.route}: may be in flight: {summary}")
        if one.failure is not None:
            remark(f"{one.route}: could not be compared with its venue: {one.failure}")
    if any(one.breaks for one in reports):
        remark("`onefill incidents LEDGER` tells what differs, and what to do")


def _count(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"
