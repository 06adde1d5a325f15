"""``onefill venues check``: harmless questions to a real venue with the user's own account, and what came of them."""

import difflib
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, print_table, remark, told
from onefill.core.errors import CallerError, InvalidField
from onefill.core.values import positive_decimal
from onefill.service.venue_settings import CcxtSettings

if TYPE_CHECKING:
    from onefill.service.venue_check import Report


def check(
    name: Annotated[str, typer.Argument(help="A venue of the settings file; without one a profile, or ccxt's name.")],
    settings: options.SettingsFile = None,
    testnet: Annotated[bool, typer.Option("--testnet", help="Without --settings: the venue's test network.")] = False,
    credentials: Annotated[
        str | None, typer.Option(help="Without --settings: how the variables' names begin. [default: NAME in capitals]")
    ] = None,
    instrument: Annotated[str | None, typer.Option(help="What to ask about, as ccxt writes it.")] = None,
    with_order: Annotated[
        bool, typer.Option("--with-order", help="Also place and cancel one small order, on a test network only.")
    ] = False,
    price: Annotated[str | None, typer.Option(help="That order's price. [default: half the last price]")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before that order.")] = False,
    as_json: options.Json = False,
) -> None:
    """Try on a real venue or its test network what the gateway builds on, with your own account, and tell what held.

    Questions only: markets, clock, balances, open orders, an id that cannot exist, own trades. Credentials come from the
    environment and are never shown or kept. Exit codes: 0 nothing was found against it, 2 arguments or credentials missing,
    4 the venue cannot be reached, 5 something did not hold.
    """
    with told(as_json=as_json):
        venue_name, venue = _named(name, settings, testnet=testnet, credentials=credentials)
        far = None if price is None else positive_decimal(price, "--price")
        if with_order:
            _confirm(venue, yes=yes, as_json=as_json)
        field = "--credentials" if settings is None else f"venues.{venue_name}.credentials"
        report = run_loop(_check(venue_name, venue, field, instrument, far, with_order=with_order))
        code = ExitCode.DONE if report.holds else ExitCode.BROKEN
        if as_json:
            print_json({**_json(report), "exit_code": int(code)})
        else:
            _print(report)
        raise typer.Exit(code)


def _named(name: str, path: Path | None, *, testnet: bool, credentials: str | None) -> tuple[str, CcxtSettings]:
    if path is None:
        exchange = _exchange(name)
        prefix = (credentials or name.upper()).replace("-", "_")
        if credentials is None and not any(one.startswith(f"{prefix}_") for one in os.environ):
            raise InvalidField(
                "--credentials", f"the environment has nothing that begins with {prefix}_; nothing was asked"
            )
        return name, CcxtSettings(exchange=exchange, credentials=prefix, testnet=testnet)
    if testnet or credentials is not None:
        raise InvalidField("--testnet, --credentials", "stand in the settings file where one is given")
    configured = options.load_settings(path).venues
    found = configured.get(name)
    if found is None:
        near = difflib.get_close_matches(name, configured, 3, 0.5) or sorted(configured)
        raise InvalidField("NAME", f"{name!r} is no venue of {path}; nearest: {', '.join(near) or 'it has none'}")
    if not isinstance(found, CcxtSettings):
        raise CallerError(
            f"venue {name!r} of {path} is a simulated exchange, which tells its habits itself: nothing to check"
        )
    return name, found


def _exchange(name: str) -> str:
    """Return what ccxt calls a venue that is named by its profile, or as ccxt does."""
    from onefill.venues.ccxt.known import MANNERS  # noqa: PLC0415 - only this command needs it

    by_profile = {kind.profile: ccxt_id for ccxt_id, kind in MANNERS.items() if kind.profile is not None}
    return by_profile.get(name, name)


def _confirm(venue: CcxtSettings, *, yes: bool, as_json: bool) -> None:
    from onefill.service.venue_check_order import refuse_real  # noqa: PLC0415 - ccxt takes its time

    refuse_real(venue)
    if yes:
        return
    if as_json:
        raise InvalidField("--with-order", "needs --yes with --json; nothing was asked and nothing was sent")
    remark(f"This places one small order at {venue.url or 'the test network'} of {venue.exchange}, and cancels it.")
    remark("Go on? Type yes.")
    if sys.stdin.readline().strip().lower() != "yes":
        raise CallerError("not confirmed; nothing was asked and nothing was sent")


async def _check(
    name: str, venue: CcxtSettings, field: str, instrument: str | None, price: Decimal | None, *, with_order: bool
) -> "Report":
    from onefill.service.venue_check import Checker  # noqa: PLC0415 - ccxt takes its time
    from onefill.service.venue_check_order import OrderCheck  # noqa: PLC0415

    checker = Checker(venue, field, instrument)
    try:
        await checker.run()
        if with_order:
            await OrderCheck(checker, price).run()
    finally:
        await checker.close()
    return checker.report(name)


def _json(report: "Report") -> dict[str, object]:
    return {
        "venue": report.venue,
        "exchange": report.exchange,
        "profile": report.profile,
        "network": report.network,
        "instrument": report.instrument,
        "holds": report.holds,
        "findings": report.findings,
    }


def _print(report: "Report") -> None:
    rows = [(one.check, str(one.verdict), f"{one.took_ms:,}", one.detail) for one in report.findings]
    columns = [("check", "left"), ("", "left"), ("ms", "right"), ("seen", "left")]
    title = f"{report.venue}: {report.exchange} through ccxt, {report.network}"
    print_table(f"{title}, profile {report.profile}" if report.profile else f"{title}, no profile", columns, rows)
    if not report.holds:
        remark(
            "what did not hold: override the capability in the settings, or mend the account, before orders go there"
        )
