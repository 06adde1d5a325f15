"""``onefill archive``: whole days of a PostgreSQL ledger's journal go into files, and the ledger lets go of them."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.audit_command import PublicKeyFiles, keys_of, shown_progress
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, remark, say, told
from onefill.core.errors import CallerError, InvalidField
from onefill.service.audit import counted


def archive(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a PostgreSQL URL.")],
    before: Annotated[str, typer.Option("--before", metavar="YYYY-MM-DD", help="Days before this one (UTC) go.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="The archive's folder. One for each ledger.")],
    public_key: PublicKeyFiles = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Archive without a signed checkpoint that covers the day.")
    ] = False,
    open_orders: Annotated[
        bool, typer.Option("--open-orders", help="Archive entries of orders that are still open, too.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write whole days of the journal into files, prove each file, and only then drop the day. Loses no dedupe.

    Keys, client order ids, executions, callbacks and steps stay in the ledger for ever. Oldest day first; stops with exit code
    1 before a day that somebody still needs (a subscriber, an open order) or that no checkpoint covers. It may run beside
    gateways.
    """
    with told(as_json=as_json):
        from onefill.service.archive import Terms  # noqa: PLC0415 - only this command needs it
        from onefill.service.archive import archive as work  # noqa: PLC0415

        if (public_key is None) != unsigned:
            raise CallerError(
                "--public-key: name the key that checkpoints are signed with, or archive without any by --unsigned (not both). "
                "Nothing was done"
            )
        terms = Terms(keys=keys_of(public_key), open_orders=open_orders)
        with shown_progress("archiving", None) as on_progress:
            done = run_loop(work(ledger, _day(before), to, terms, on_progress))
        if as_json:
            print_json(done)
        else:
            for day in done.days:
                packed = sum(file.bytes for file in day.files)
                files = counted(len(day.files), "file")
                say(f"{day.day}: {counted(day.entries, 'entry', 'entries')} in {files}, {packed:,} bytes")
            if done.refused is not None:
                remark(done.refused)
            elif not done.days:
                say(f"nothing to archive: no entries are older than {before}")
        if done.refused is not None:
            raise typer.Exit(ExitCode.SOME_REFUSED)


def _day(text: str) -> int:
    try:
        return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days
    except ValueError:
        raise InvalidField("--before", f"{text!r} is no day; write it as 2026-01-31") from None
