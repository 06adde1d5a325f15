"""``onefill callbacks``: take in what venues send, and look whether a callback that came would be held to be genuine."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop, told_to_end
from onefill.cli.output import print_json, print_json_line, remark, say, told
from onefill.core import inbox
from onefill.core.errors import CallerError, InvalidField, NotVerified, SettingsError
from onefill.service import settings as settings_file
from onefill.service.callback_settings import CallbackPlan
from onefill.service.settings import Settings
from onefill.service.venue_settings import AnyVenue

callbacks_app = typer.Typer(help="Callbacks from venues: take them in, or check one.", no_args_is_help=True)
Accounts = Annotated[list[str], typer.Option("--account", help="An account at the venue; may be given several times.")]
Listen = Annotated[str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where callbacks come in.")]
Needed = Annotated[Path, typer.Option("--settings", help="A TOML settings file with [venues.NAME.callbacks].")]


@callbacks_app.command()
def serve(
    ledger: options.Ledger,
    venue: options.VenueOption,
    settings: Needed,
    account: Accounts = ["main"],  # noqa: B006 - typer copies it
    listen: Listen = None,
    timeout_s: options.TimeoutS = None,
    metrics: options.MetricsOption = None,
    as_json: options.Json = False,
) -> None:
    """Hold the routes of a venue's accounts and take its callbacks in, at POST /callbacks/VENUE:ACCOUNT, until told to end.

    Execution streams are followed meanwhile, and open orders taken up. With --json the first line of output is
    {"listening": URL}.
    """
    with told(as_json=as_json):
        configured = options.with_metrics(settings_file.load(settings), metrics)
        name, venue_settings = settings_file.venue(configured, venue, timeout_s)
        if name not in configured.callbacks.venues:
            raise SettingsError(f"venues.{name}.callbacks: is missing in {settings}; it names the secrets")
        plan = _listening(configured.callbacks, listen)
        run_loop(_serve(ledger, name, venue_settings, account, configured, plan, as_json=as_json))


def _listening(plan: CallbackPlan, listen: str | None) -> CallbackPlan:
    if listen is None and plan.listen is None:
        raise InvalidField("--listen", "is missing, and the settings file has no callbacks.listen")
    try:
        return plan if listen is None else msgspec.structs.replace(plan, listen=listen)
    except InvalidField as error:
        raise InvalidField("--listen", error.problem) from None


async def _serve(
    ledger: str,
    name: str,
    venue: AnyVenue,
    accounts: list[str],
    settings: Settings,
    plan: CallbackPlan,
    *,
    as_json: bool,
) -> None:
    ended = told_to_end()

    def listening(url: str) -> None:
        if as_json:
            print_json_line({"listening": url})
        else:
            say(f"callbacks at {url}/callbacks/{options.route_name(name, accounts[0])}; Ctrl-C ends it")

    async with options.opened(
        ledger,
        name,
        venue,
        set(accounts),
        settings,
        metrics=settings.metrics,
        callbacks=plan,
        on_callbacks=listening,
        tells=True,
    ) as gateway:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 1.0)
            if (failure := gateway.failure()) is not None:
                raise failure


@callbacks_app.command()
def verify(
    body: Annotated[Path, typer.Argument(help="The body, byte for byte as it came.", dir_okay=False)],
    headers: Annotated[Path, typer.Option("--headers", help="Its headers, one a line: Name: value.", dir_okay=False)],
    venue: Annotated[str, typer.Option("--venue", help="A venue of the settings file.")],
    settings: Needed,
    at: Annotated[int | None, typer.Option(help="When it came, in seconds since 1970. [default: now]", min=0)] = None,
    as_json: options.Json = False,
) -> None:
    """Tell whether a callback would be held to be genuine, and if not, why. Nothing is taken in. Exit code 1 if not."""
    with told(as_json=as_json):
        found = settings_file.load(settings).callbacks.of(venue)
        if found is None:
            raise SettingsError(f"venues.{venue}.callbacks: is missing in {settings}; it names the secrets")
        at_us = time.time_ns() // 1000 if at is None else at * 1_000_000
        try:
            genuine = inbox.verify(found.verifier(f"venues.{venue}.callbacks"), _headers(headers), _read(body), at_us)
        except NotVerified as error:
            _say(as_json=as_json, genuine=False, reason=str(error))
            raise typer.Exit(1) from None
        _say(as_json=as_json, genuine=True, event_id=genuine.event_id, sent_at_us=genuine.sent_at_us)


def _say(*, as_json: bool, genuine: bool, **more: object) -> None:
    if as_json:
        print_json({"genuine": genuine, **more})
    else:
        say("genuine" if genuine else "not genuine")
        for name, value in more.items():
            remark(f"{name.replace('_', ' ')}: {value}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CallerError(f"{path}: cannot be read: {error.strerror or error}") from error


def _headers(path: Path) -> list[tuple[str, str]]:
    found = []
    for number, line in enumerate(_read(path).decode("latin-1").splitlines(), 1):
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            raise InvalidField("header", "is not of the form Name: value", line=number)
        if line.strip():
            found.append((name.strip(), value.strip()))
    return found
