"""``onefill migrate``: makes a ledger, or brings it up to date."""

from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, say, told
from onefill.service import ledgers
from onefill.service.wiring import SystemClock, holder


def migrate(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")],
    check: Annotated[bool, typer.Option("--check", help="Only look: exit code 1 if there is something to do.")] = False,
    grant: Annotated[
        str | None, typer.Option("--grant", help="A role that may write the database from now on, as a gateway does.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a ledger, or bring it up to the version that this Onefill writes. Loses nothing; run twice it changes nothing.

    A file is brought up to date by whoever opens it for writing; a database, which several gateways share, only by this. Stop
    them first. On PostgreSQL it needs a role that may create a schema; --grant names the one that gateways use, which then may
    add to the record and not change it.
    """
    with told(as_json=as_json):
        done = run_loop(ledgers.migrate(ledger, holder=holder(), clock=SystemClock(), check=check, role=grant))
        due = done.now < done.newest
        if as_json:
            print_json(done)
        elif check:
            say(f"{done.ledger}: {_version(done.now)}; this Onefill writes version {done.newest}")
        elif done.before == done.now:
            say(f"{done.ledger}: is at version {done.now} already; nothing was changed")
        else:
            say(f"{done.ledger}: {_version(done.before)} before, version {done.now} now")
        if due:
            raise typer.Exit(ExitCode.SOME_REFUSED)


def _version(number: int) -> str:
    return f"version {number}" if number else "no ledger"
