"""``onefill status | freeze | release``: what each route lets through, and people's word on it."""

import asyncio
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import console, print_json, print_json_line, print_table, remark, say, told
from onefill.cli.person import person
from onefill.cli.read_commands import moment
from onefill.core.control import Control, State
from onefill.engine.controller import GatewayStatus, RouteStatus
from onefill.service import control_offline as offline
from onefill.service.control_offline import Overview
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.uncertain import span

_EVERY_S = 1.0
LedgerArgument = Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")]
RouteArgument = Annotated[
    str | None, typer.Argument(metavar="[ROUTE]", help="The route, as `onefill status` lists it; else all of them.")
]
By = Annotated[str | None, typer.Option(help="Who says so; else this system's user at this host.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


class Shut(StrEnum):
    """What a person can freeze a route to, as it is typed."""

    SAFE = "safe"
    DUP_RISK = "dup_risk"
    DEGRADED = "degraded"


def status(
    ledger: LedgerArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, once a second, until Ctrl-C.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show what each route of a ledger lets through, since when and why, and what is open on it.

    A running gateway is asked; without one the ledger tells what it knows. With --watch --json, one line each second.
    """
    with told(as_json=as_json):

        async def follow() -> None:
            while True:
                seen = await _overview(ledger)
                if as_json:
                    print_json_line(seen)
                else:
                    if console.is_terminal:
                        console.clear()
                    _print(seen)
                await asyncio.sleep(_EVERY_S)

        if watch:
            run_loop(follow())
        seen = run_loop(_overview(ledger))
        if as_json:
            print_json(seen)
        else:
            _print(seen)


async def _overview(ledger: str) -> Overview:
    try:
        return Overview.of(await ask(ledger, "status", GatewayStatus), running=True)
    except NotRunning:
        return Overview.of(await offline.status(ledger), running=False)


def freeze(
    ledger: LedgerArgument,
    reason: Reason,
    route: RouteArgument = None,
    by: By = None,
    state: Annotated[
        Shut, typer.Option(help="safe: cancels only; dup_risk: reductions too; degraded: slowly, asking first.")
    ] = Shut.SAFE,
    as_json: options.Json = False,
) -> None:
    """Shut a route, at once and durably, until somebody releases it. Works beside a running gateway and without one.

    A freeze never opens anything: with all routes meant, one that is shut more stays as it is.
    """
    with told(as_json=as_json):
        who, wanted = by or person(), State(state.value)

        async def work() -> dict[str, Control]:
            try:
                return await ask(ledger, "freeze", dict[str, Control], route=route, by=who, reason=reason, state=wanted)
            except NotRunning:
                return await offline.freeze(ledger, route, by=who, reason=reason, state=wanted)

        _tell(run_loop(work()), as_json=as_json, nothing="no route was less shut than that; nothing was changed")


def release(
    ledger: LedgerArgument,
    reason: Reason,
    route: RouteArgument = None,
    by: By = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although what shut it still holds; more of it shuts it again.")
    ] = False,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Open a route again: from SAFE and DUP_RISK to DEGRADED, which ends by itself once all is calm; from there to NORMAL.

    Refused with exit code 2 while what shut it holds, saying what to do first. Without a running gateway the thresholds
    are those of --settings.
    """
    with told(as_json=as_json):
        who = by or person()
        plan = options.load_settings(settings).control

        async def work() -> dict[str, Control]:
            try:
                return await ask(ledger, "release", dict[str, Control], route=route, by=who, reason=reason, force=force)
            except NotRunning:
                return await offline.release(ledger, route, plan, by=who, reason=reason, force=force)

        _tell(run_loop(work()), as_json=as_json, nothing="the ledger has no routes; nothing was changed")


# ---------------------------------------------------------------------- for people


def _tell(after: dict[str, Control], *, as_json: bool, nothing: str) -> None:
    if as_json:
        print_json(after)
    elif not after:
        remark(nothing)
    for route, control in () if as_json else after.items():
        say(f"{route} is {control.state.name}{_since(control.since_us)}, by {control.by}: {control.reason}")


def _since(at_us: int) -> str:
    return f" since {moment(at_us)[:19]} UTC" if at_us else ""


def _print(seen: Overview) -> None:
    where = "" if seen.running else ", by the ledger alone: no gateway runs"
    for away in seen.elsewhere:
        held = "held by nobody" if away.holder is None else f"held by {away.holder}"
        remark(f"{away.route}: {held}" + ("" if away.trouble is None else f"; here: {away.trouble}"))
    if seen.standby in ("lost", "unseen"):
        remark(f"the database's standby is {seen.standby}: what is committed now may be on one machine alone")
    if not seen.routes:
        remark(f"the ledger has no routes{where}" if not seen.elsewhere else "this gateway holds no route now")
        return
    columns = [
        ("route", "left"),
        ("state", "left"),
        ("since (UTC)", "left"),
        ("by", "left"),
        ("open", "right"),
        ("uncertain", "right"),
        ("incidents", "right"),
        ("epoch", "right"),
    ]
    rows = [
        (
            one.route,
            one.state.name,
            moment(one.since_us)[:19] if one.since_us else "",
            one.by if one.since_us or one.failure else "",
            str(one.open_orders),
            str(one.uncertain),
            str(one.open_incidents),
            str(one.epoch),
        )
        for one in seen.routes
    ]
    print_table(f"{seen.state.name}{where}", columns, rows, spare=("epoch", "by", "since (UTC)"))
    for one in seen.routes:
        facts = list(_facts(one))
        if facts:
            say(f"\n{one.route}")
        for name, value in facts:
            say(f"{name:>14}  {value}")


def _facts(one: RouteStatus) -> Iterator[tuple[str, str]]:
    if one.reason:
        yield "because", one.reason
    if one.failure is not None:
        yield "reopened by", "opening the ledger again: its state is in memory alone"
    elif one.state.rank >= State.DUP_RISK.rank or one.held:
        yield "reopened by", f'a person: onefill release LEDGER {one.route} --reason "..."'
    if one.excused:
        yield "excused", ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in sorted(one.excused.items()))
    for stream in one.streams:
        waiting = ", waiting for the next" if stream.waiting else ""
        yield stream.stream.replace("_", " "), f"read to {stream.position}{waiting}"
    if one.lag_p99_s is not None:
        yield "lag", f"99 of 100 reports within {one.lag_p99_s:g} s"
    if one.lease_left_s is not None:
        yield "lease", f"{span(round(one.lease_left_s * 1_000_000))} left"
    if one.readings is not None:
        seen = one.readings
        yield (
            "lately",
            f"{seen.sent} sent, {seen.new_orders} new orders, {seen.ack_timeouts} without a known outcome, "
            f"{seen.duplicates} refused as duplicates, {seen.reconnects} reconnects",
        )
