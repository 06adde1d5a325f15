"""``onefill run``: send a file of orders, once."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, errors, print_json, print_table, progress, told
from onefill.core.errors import CallerError
from onefill.engine.gateway import Gateway
from onefill.engine.route import Counts
from onefill.service import blotter, runner
from onefill.service import settings as settings_file
from onefill.service.blotter import Defaults, Format, Row
from onefill.service.runner import RowOutcome, RowResult, Summary

_HOUR_S = 3600.0


def run(
    file: Annotated[Path, typer.Argument(help="Orders as CSV; .xz and .gz are unpacked.", dir_okay=False)],
    ledger: options.Ledger,
    venue: options.VenueOption,
    form: Annotated[Format, typer.Option("--format", help="How the file is written.")] = Format.BLOTTER,
    account: Annotated[str, typer.Option(help="Account of rows that name none.")] = "main",
    strategy: Annotated[str, typer.Option(help="Strategy of rows that name none.")] = "blotter",
    instrument: Annotated[str, typer.Option(help="Instrument of a recorded day.")] = "BTC-USD",
    strict: Annotated[bool, typer.Option("--strict", help="Check the whole file before anything is sent.")] = False,
    in_flight: Annotated[int, typer.Option(help="Rows under way at once.", min=1, max=10_000)] = 64,
    answers: Annotated[Path | None, typer.Option(help="Write every row's answer here, as JSON lines.")] = None,
    time_to_live_s: Annotated[
        float, typer.Option(help="How long after its first run a row may still be sent.", min=0.001)
    ] = _HOUR_S,
    wait_s: Annotated[float | None, typer.Option(help="How long to wait for one row's answer.", min=0.001)] = None,
    timeout_s: options.TimeoutS = None,
    client_order_ids: options.IdSchemeOption = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Send a file of orders. Run it again, or after a kill: nothing is sent twice and the same answers come back."""
    with told(as_json=as_json):
        configured = options.with_gateway_settings(options.load_settings(settings), client_order_ids=client_order_ids)
        name, venue_settings = settings_file.venue(configured, venue, timeout_s)
        defaults = Defaults(account=account, strategy=strategy, instrument=instrument)
        rows, accounts = _scan(file, form, defaults)

        async def work() -> tuple[Summary, dict[str, Counts]]:
            async with options.opened(ledger, name, venue_settings, accounts, configured) as gateway:
                if strict:
                    _refuse_bad(file, blotter.read(file, form, defaults), gateway, name, accounts)
                with progress(shown=not as_json) as bar, _Answers(answers) as keep:
                    task = bar.add_task(file.name, total=rows, note="")

                    def heard(result: RowResult) -> None:
                        keep.add(result)
                        bar.update(task, advance=1, note=_note(gateway))

                    work = runner.Runner(
                        gateway,
                        route_of=lambda account: options.route_name(name, account),
                        in_flight=in_flight,
                        time_to_live_s=time_to_live_s,
                        wait_s=wait_s,
                        on_result=heard,
                    )
                    summary = await work.run(blotter.read(file, form, defaults))
                    await gateway.catch_up()
                return summary, gateway.counts()

        summary, counts = run_loop(work())
        _report(file, summary, counts, as_json=as_json)
        raise typer.Exit(_code(summary))


def _scan(file: Path, form: Format, defaults: Defaults) -> tuple[int, set[str]]:
    """Read the file once: how many rows, and for which accounts."""
    count, accounts = 0, {defaults.account}
    for row in blotter.read(file, form, defaults):
        count += 1
        if isinstance(row, blotter.SubmitRow):
            accounts.add(row.intent.account)
        elif isinstance(row, blotter.CancelRow):
            accounts.add(row.account)
    return count, accounts


def _refuse_bad(file: Path, rows: Iterator[Row], gateway: Gateway, name: str, accounts: set[str]) -> None:
    instruments = gateway.instruments(options.route_name(name, min(accounts)))
    problems = runner.check(rows, instruments)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:20])
        more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise CallerError(f"{file}: {len(problems)} rows cannot be used; nothing was sent\n{shown}{more}")


def _note(gateway: Gateway) -> str:
    sent = resent = unknown = 0
    for counts in gateway.counts().values():
        sent, resent, unknown = sent + counts.copies_sent, resent + counts.resends, unknown + counts.unknown_outcomes
    return f"sent {sent}, no reply {unknown}, sent again {resent}"


class _Answers:
    """Writes answers as JSON lines in the order of the file's lines, whatever order they come in."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._part = None if path is None else path.with_name(path.name + ".part")
        self._file: IO[bytes] | None = None
        self._kept: list[RowResult] = []

    def __enter__(self) -> "_Answers":
        if self._part is not None:
            try:
                self._file = self._part.open("wb")
            except OSError as error:
                raise CallerError(f"--answers {self._part}: cannot be written: {error.strerror}") from error
        return self

    def add(self, result: RowResult) -> None:
        if self._file is not None:
            self._kept.append(result)

    def __exit__(self, *_: object) -> None:
        if self._file is None or self._part is None or self._path is None:
            return
        for result in sorted(self._kept, key=lambda kept: kept.line):
            self._file.write(msgspec.json.encode(result) + b"\n")
        self._file.close()
        os.replace(self._part, self._path)


def _report(file: Path, summary: Summary, counts: dict[str, Counts], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "file": file.name,
                "rows": summary.rows,
                "outcomes": summary.outcomes,
                "errors": summary.errors,
                "routes": counts,
            }
        )
        return
    rows = [(outcome.replace("_", " "), f"{count:,}") for outcome, count in sorted(summary.outcomes.items())]
    print_table(f"{file.name}: {summary.rows:,} rows", [("outcome", "left"), ("rows", "right")], rows)
    for route, count in counts.items():
        errors.print(
            f"{route}: {count.intents:,} new intents, {count.copies_sent:,} orders and {count.cancels_sent:,} cancels sent, "
            f"{count.unknown_outcomes:,} without a reply, {count.lookups:,} look-ups, {count.adopted:,} found there, "
            f"{count.resends:,} sent again, {count.replayed_answers:,} answered from the ledger"
        )
    for error in summary.errors:
        errors.print(error, markup=False)


def _code(summary: Summary) -> ExitCode:
    if summary.outcomes.get(RowOutcome.UNCERTAIN):
        return ExitCode.UNCERTAIN
    refused = (RowOutcome.BAD, RowOutcome.REJECTED, RowOutcome.EXPIRED_UNSENT, RowOutcome.CANCEL_REFUSED)
    return ExitCode.SOME_REFUSED if any(summary.outcomes.get(outcome) for outcome in refused) else ExitCode.DONE
