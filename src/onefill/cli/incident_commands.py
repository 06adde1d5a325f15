"""``onefill incidents``: what was found to differ, with all that is known of it, its runbook, and its end."""

import contextlib
import shlex
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from onefill.cli import options
from onefill.cli.listing import LIST, Listing
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, print_table, remark, say, told
from onefill.cli.person import person
from onefill.cli.read_commands import moment
from onefill.core.errors import CallerError
from onefill.core.incident import STEPS, Incident, IncidentKind, Step, StepResult
from onefill.core.postmortem import document, span
from onefill.core.values import choice
from onefill.engine.gateway import Gateway
from onefill.engine.postmortem import facts_of
from onefill.engine.runbook import Given, Runbook, find_incident, snapshot_lines
from onefill.service import settings as settings_file
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.incidents import open_runbook
from onefill.service.ledgers import shown
from onefill.service.settings import Settings
from onefill.service.venue_settings import AnyVenue
from onefill.service.wiring import SystemClock, open_for_reading

T = TypeVar("T")
_NOT_DONE = {Step.REPLAY: ExitCode.BROKEN, Step.RESOLVE_UNCERTAIN: ExitCode.UNCERTAIN}
_WHAT = {
    Step.FREEZE: "take no new risk on the route",
    Step.SNAPSHOT: "keep how things stand now",
    Step.RESOLVE_UNCERTAIN: "find out the fate of every uncertain order",
    Step.CANCEL_RESIDUALS: "cancel what should not be at the venue; without --key or --venue-order it only lists",
    Step.REPLAY: "replay the executions, and verify that the positions are the same",
    Step.POSTMORTEM: "write the facts down as a Markdown file",
}


incidents_app = typer.Typer(
    cls=Listing, help="Incidents: what was found to differ, its evidence and runbook.", no_args_is_help=True
)
LedgerArgument = Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The incident, as it is listed.")]
By = Annotated[str | None, typer.Option(help="Who does it; else this system's user at this host.")]


@incidents_app.command(LIST)
def list_incidents(
    ledger: LedgerArgument,
    every: Annotated[bool, typer.Option("--all", help="Those that are resolved too.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the open incidents of a ledger. Only reads, also beside a running gateway."""
    with told(as_json=as_json):

        async def read() -> list[Incident]:
            async with open_for_reading(ledger) as store:
                return await store.incidents(open_only=not every)

        found = run_loop(read())
        if as_json:
            print_json([incident_json(one) for one in found])
        elif not found:
            remark("no incidents" if every else "no open incidents")
        else:
            _print_list(found)


@incidents_app.command("show")
def show_incident(
    ledger: LedgerArgument,
    name: Name,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the postmortem would be written now.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show one incident: evidence, snapshot, runbook, and what to do next. Only reads."""
    with told(as_json=as_json):

        async def read() -> tuple[Incident, str]:
            async with open_for_reading(ledger) as store:
                found = await find_incident(store, name)
                if not markdown:
                    return found, ""
                return found, document(await facts_of(store, found, SystemClock().now_us()))

        found, text = run_loop(read())
        if as_json:
            print_json({**incident_json(found), "markdown": text} if markdown else incident_json(found))
        elif markdown:
            say(text.rstrip())
        else:
            _print_incident(found, ledger)


@incidents_app.command("step")
def step_incident(
    ledger: LedgerArgument,
    name: Name,
    step: Annotated[str, typer.Argument(metavar="STEP", help=f"One of: {', '.join(STEPS)}.")],
    note: Annotated[str, typer.Option(help="What there is to say; with --skip the reason.")] = "",
    skip: Annotated[bool, typer.Option("--skip", help="It is not needed.")] = False,
    key: Annotated[list[str] | None, typer.Option(help="With cancel_residuals: cancel the order of this key.")] = None,
    venue_order: Annotated[
        list[str] | None, typer.Option(help="With cancel_residuals: cancel the venue's order of this number.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With postmortem: the file.")] = None,
    times: Annotated[int, typer.Option(help="With replay: how often every report is fed.", min=1)] = 2,
    by: By = None,
    venue: Annotated[
        str | None, typer.Option("--venue", help="The route's venue: snapshot and cancel_residuals ask it.")
    ] = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Do the next step of an incident's runbook, and keep what came of it. A step that finds something left says what.

    Exit code 0 if it is done; otherwise 1, 3 if orders are uncertain, or 5 if the replay finds no parity.
    """
    with told(as_json=as_json):
        wanted = choice(Step, step.replace("-", "_"), "STEP")
        given = Given(
            by=person() if by is None else by,
            note=note,
            skip=skip,
            keys=tuple(key or ()),
            venue_orders=tuple(venue_order or ()),
            out=None if out is None else str(out.absolute()),
            times=times,
        )
        configured = options.load_settings(settings)
        named = None if venue is None else settings_file.venue(configured, venue, timeout_s)

        async def running() -> StepResult:
            return await ask(ledger, "step", StepResult, name=name, step=wanted, **msgspec.structs.asdict(given))

        async def through_gateway(gateway: Gateway) -> StepResult:
            if wanted is Step.RESOLVE_UNCERTAIN and not skip:
                await gateway.catch_up()  # what the venue has reported by now is evidence
            return await gateway.step(name, wanted, **msgspec.structs.asdict(given))

        async def alone(runbook: Runbook) -> StepResult:
            return await runbook.step(name, wanted, given)

        done = run_loop(_work(ledger, name, named, configured, (running, through_gateway, alone)))
        if as_json:
            print_json(
                {
                    **msgspec.structs.asdict(done),
                    "run": _runnable(done.run, ledger),
                    "incident": incident_json(done.incident),
                }
            )
        else:
            _print_result(done, ledger)
        if not done.done:
            raise typer.Exit(_NOT_DONE.get(wanted, ExitCode.SOME_REFUSED))


@incidents_app.command("resolve")
def resolve_incident(
    ledger: LedgerArgument,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why it is over, for the audit log.")],
    force: Annotated[bool, typer.Option("--force", help="With steps of the runbook left; the record says so.")] = False,
    by: By = None,
    as_json: options.Json = False,
) -> None:
    """Close an incident, for good. Refused while steps of its runbook are left, unless --force."""
    with told(as_json=as_json):
        who = person() if by is None else by

        async def running() -> Incident:
            return await ask(ledger, "resolve_incident", Incident, name=name, by=who, reason=reason, force=force)

        async def through_gateway(gateway: Gateway) -> Incident:
            return await gateway.resolve_incident(name, who, reason, force=force)

        async def alone(runbook: Runbook) -> Incident:
            return await runbook.resolve(name, who, reason, force=force)

        ended = run_loop(_work(ledger, name, None, Settings(), (running, through_gateway, alone)))
        if as_json:
            print_json(incident_json(ended))
        else:
            say(f"{ended.name} is resolved by {ended.resolved_by}: {ended.resolution}")


async def _work(
    ledger: str,
    name: str,
    named: tuple[str, AnyVenue] | None,
    configured: Settings,
    ways: tuple[Callable[[], Awaitable[T]], Callable[[Gateway], Awaitable[T]], Callable[[Runbook], Awaitable[T]]],
) -> T:
    """Do something to an incident: by the gateway that runs; else by one on its route if the venue is named; else alone."""
    running, through_gateway, alone = ways
    with contextlib.suppress(NotRunning):
        return await running()
    async with open_for_reading(ledger) as store:
        found = await find_incident(store, name)
    if named is None:
        async with open_runbook(ledger, found.route) as runbook:
            return await alone(runbook)
    venue_name, venue = named
    account = found.route.removeprefix(f"{venue_name}:")
    if account == found.route:
        raise CallerError(
            f"--venue: incident {name} is of route {found.route!r}; {venue_name!r} is not the venue of it. Nothing was "
            "changed; name the venue as it was named then (what stands before the account)"
        )
    async with options.opened(ledger, venue_name, venue, {account}, configured) as gateway:
        return await through_gateway(gateway)


# ---------------------------------------------------------------------- showing


def incident_json(one: Incident) -> dict[str, object]:
    """Return an incident as JSON values, with its name and what is to be done next."""
    return {"name": one.name, "next_step": one.next_step if one.open else None, **msgspec.structs.asdict(one)}


def _print_list(found: list[Incident]) -> None:
    columns = [
        ("name", "left"),
        ("kind", "left"),
        ("about", "left"),
        ("opened (UTC)", "left"),
        ("seen", "right"),
        ("stands", "left"),
        ("next step", "left"),
    ]
    rows = [
        (
            one.name,
            str(one.kind),
            one.subject or "the route",
            moment(one.opened_at_us)[:19],
            str(one.seen),
            _stands(one),
            _due(one) if one.open else "",
        )
        for one in found
    ]
    print_table("", columns, rows, spare=("seen", "opened (UTC)", "about"))


def _due(one: Incident) -> str:
    if one.kind is IncidentKind.SUBSCRIBER:  # nothing of it is about trading: there is nothing to freeze
        return "see onefill subscribers" if one.converged_at_us is None else "resolve"
    return str(one.next_step or "resolve")


def _stands(one: Incident) -> str:
    if not one.open:
        return "resolved"
    return "open" if one.converged_at_us is None else "gone, still open"


def _print_incident(one: Incident, ledger: str) -> None:
    for label, value in _facts(one):
        say(f"{label:>13}  {value}")
    say("\nevidence")
    for line in one.evidence:
        say(f"  {line}")
    if one.snapshot is None:
        say("\nno snapshot was taken yet")
    else:
        after = span(one.snapshot.at_us - one.opened_at_us)
        say(f"\nhow things stood at {moment(one.snapshot.at_us)}, {after} after it was opened")
        for line in snapshot_lines(one.snapshot):
            say(f"  {line}")
    say("\nrunbook")
    done = {step.step: step for step in one.steps}
    for step in STEPS:
        found = done.get(step)
        if found is None:
            say(f"  [ ] {step}: {_WHAT[step]}")
        else:
            say(
                f"  [x] {step}{' (skipped)' if found.skipped else ''}, {moment(found.at_us)[:19]}, {found.by}: {found.result}"
            )
    _print_next(one, ledger)


def _facts(one: Incident) -> Iterator[tuple[str, str]]:
    yield "incident", one.name
    yield "kind", str(one.kind)
    yield "about", one.subject or "the route"
    yield "summary", one.summary
    if one.first_seen_at_us is not None:
        yield "first seen", moment(one.first_seen_at_us)
    yield "opened", moment(one.opened_at_us)
    if one.seen > 1:
        yield "seen", f"{one.seen} times"
    if one.converged_at_us is not None:
        yield "gone since", moment(one.converged_at_us)
    if one.resolved_at_us is not None:
        yield "resolved", f"{moment(one.resolved_at_us)} by {one.resolved_by}: {one.resolution}"


def _print_result(done: StepResult, ledger: str) -> None:
    say(f"[{'x' if done.done else ' '}] {done.step}: {done.result}")
    for line in done.details:
        say(f"    {line}")
    if done.done:
        _print_next(done.incident, ledger)
        return
    say("\nnot done yet; run, as it fits, and then this step again")
    for line in _runnable(done.run, ledger):
        say(f"  {line}")


def _print_next(one: Incident, ledger: str) -> None:
    for line in _next(one, ledger):
        say(line)


def _next(one: Incident, ledger: str) -> Iterator[str]:
    if not one.open:
        return
    where = f"{shlex.quote(shown(ledger))} {shlex.quote(one.name)}"
    step = one.next_step
    yield "\nnext"
    if one.kind is IncidentKind.SUBSCRIBER:
        name = shlex.quote(one.subject.partition(" ")[0])
        yield f"  onefill subscribers {shlex.quote(shown(ledger))}    # what {name} is not told of, and since when"
        yield f'  onefill subscribers retry {shlex.quote(shown(ledger))} {name} --reason "..."    # once it is repaired'
        yield f'  onefill incidents resolve {where} --force --reason "..."    # the steps of the runbook are about trading'
        return
    if step is None:
        yield f'  onefill incidents resolve {where} --reason "..."'
        return
    asks = " --venue VENUE" if step in (Step.SNAPSHOT, Step.RESOLVE_UNCERTAIN, Step.CANCEL_RESIDUALS) else ""
    yield f"  onefill incidents step {where} {step}{asks}    # {_WHAT[step]}"


def _runnable(lines: tuple[str, ...], ledger: str) -> list[str]:
    return [line.replace(" LEDGER", f" {shlex.quote(shown(ledger))}") for line in lines]
