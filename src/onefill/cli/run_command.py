"""``onefill run``: send a file of orders, once."""

import asyncio
import contextlib
import functools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import (
    BadRows,
    ExitCode,
    Problem,
    exit_code,
    print_json,
    print_table,
    remark,
    told,
)
from onefill.cli.run_progress import RunProgress
from onefill.core import values
from onefill.core.errors import CallerError, InvalidField, OnefillError
from onefill.core.intent import Intent
from onefill.engine.measures import Counts
from onefill.service import blotter, runner
from onefill.service import settings as settings_file
from onefill.service.blotter import Defaults, Format, Row
from onefill.service.in_order import InOrder, WholeFile
from onefill.service.ledgers import is_made
from onefill.service.order_file import FileError
from onefill.service.runner import RowOutcome, RowResult, Summary
from onefill.service.settings import Settings
from onefill.service.venue_settings import AnyVenue, CcxtSettings
from onefill.service.wiring import open_for_reading

_HOUR_S = 3600.0
_ACCOUNT = "main"
_SHOWN_NOTES = 20
_MOST_PROBLEMS = 200
_TELL_REST_S = 10.0
"""How long subscribers may take at the end; what is left is told the next time."""
_PATIENCE_S = 5.0
"""How long rows under way may still take after a first Ctrl-C."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is about."""

    file: Path
    form: Format
    defaults: Defaults
    ledger: str
    name: str
    """The venue's."""
    venue: AnyVenue
    settings: Settings
    in_flight: int
    time_to_live_s: float
    wait_s: float | None
    rows: int = 0
    accounts: frozenset[str] = frozenset()

    def read(self) -> Iterator[Row]:
        """Return the rows of the file, from its beginning."""
        return blotter.read(self.file, self.form, self.defaults)

    def route_of(self, account: str) -> str:
        """Return the route of an account."""
        return options.route_name(self.name, account)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    summary: Summary
    counts: dict[str, Counts]
    begun: int
    signal: int | None = None
    """The signal that ended it before its time."""
    audit_trouble: OnefillError | None = None
    """Why the last checkpoint was not made. It says nothing about any order."""


def run(
    file: Annotated[Path, typer.Argument(help="Orders as CSV; .xz and .gz are unpacked.")],
    ledger: options.Ledger,
    venue: options.VenueOption,
    form: Annotated[Format, typer.Option("--format", help="How the file is written.")] = Format.BLOTTER,
    account: Annotated[
        str | None,
        typer.Option(help="Account of rows that name none. [default: main, or the one of the venue's settings]"),
    ] = None,
    strategy: Annotated[str, typer.Option(help="Strategy of rows that name none.")] = "blotter",
    instrument: Annotated[str, typer.Option(help="Instrument of a recorded day.")] = "BTC-USD",
    allow_similar: Annotated[
        bool, typer.Option("--allow-similar", help="Rows are wanted also where they are just like others before them.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Check the whole file first; send nothing unless every row is usable.")
    ] = False,
    in_flight: Annotated[int, typer.Option(help="Rows under way at once.", min=1, max=10_000)] = 64,
    answers: Annotated[Path | None, typer.Option(help="Write every row's answer here, as JSON lines.")] = None,
    time_to_live_s: Annotated[
        float, typer.Option(help="Seconds after its first run in which a row may still be sent.", min=0.001)
    ] = _HOUR_S,
    wait_s: Annotated[float | None, typer.Option(help="Seconds to wait for one row's answer.", min=0.001)] = None,
    timeout_s: options.TimeoutS = None,
    client_order_ids: options.IdSchemeOption = None,
    metrics: options.MetricsOption = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Send a file of orders. Run it again, or after a kill: nothing is sent twice and the same answers come back.

    Rows have the columns key, instrument, side, quantity, type and, if wanted, price, time in force, account, strategy,
    allow similar; a row of type cancel cancels its key. Exit codes: 0 done, 1 some rows refused or rejected, 2 nothing was
    sent, 3 some order's fate is not known yet, 4 ledger or venue cannot be used, 5 a defect, 130 interrupted.
    """
    with told(as_json=as_json):
        configured = options.with_gateway_settings(options.load_settings(settings), client_order_ids=client_order_ids)
        configured = options.with_metrics(configured, metrics)
        name, venue_settings = settings_file.venue(configured, venue, timeout_s)
        account = account or (venue_settings.account if isinstance(venue_settings, CcxtSettings) else _ACCOUNT)
        for text, option in ((account, "--account"), (strategy, "--strategy"), (instrument, "--instrument")):
            values.name(text, option)
        job = _scanned(
            Job(
                file=file,
                form=form,
                defaults=Defaults(
                    account=account, strategy=strategy, instrument=instrument, allow_similar=allow_similar
                ),
                ledger=ledger,
                name=name,
                venue=venue_settings,
                settings=configured,
                in_flight=in_flight,
                time_to_live_s=time_to_live_s,
                wait_s=wait_s,
            )
        )
        with _answers(answers) as keep:
            ended = run_loop(_run(job, keep, strict=strict, as_json=as_json))
            failed_write = _finished(keep, ended)
        _report(job, ended, as_json=as_json, failed_write=failed_write)
        raise typer.Exit(_code(ended, failed_write))


def _scanned(job: Job) -> Job:
    """Read the file once: how many rows, and for which accounts. What cannot be read is found before anything is sent."""
    count, accounts = 0, {job.defaults.account}
    try:
        for row in job.read():
            count += 1
            if not isinstance(row, blotter.BadRow):
                account = row.intent.account if isinstance(row, blotter.SubmitRow) else row.account
                if account not in accounts:
                    with _at(row.line):
                        job.route_of(account)
                    accounts.add(account)
        job.route_of(job.defaults.account)
    except CallerError as error:
        where = "" if isinstance(error, FileError) else f"{job.file}: "
        end = "" if str(error).endswith("?") else "."
        raise FileError(f"{where}{error}{end} Nothing was sent") from None
    return msgspec.structs.replace(job, rows=count, accounts=frozenset(accounts))


@contextlib.contextmanager
def _at(line: int) -> Iterator[None]:
    try:
        yield
    except InvalidField as error:
        raise error.at_line(line) from None


async def _run(job: Job, keep: WholeFile | None, *, strict: bool, as_json: bool) -> Ended:
    if strict:
        await _refuse_bad(job)
    troubles: list[OnefillError] = []
    told_all = True
    async with options.opened(
        job.ledger,
        job.name,
        job.venue,
        job.accounts,
        job.settings,
        troubles.append,
        metrics=job.settings.metrics,
        tells=True,
        callbacks=job.settings.callbacks,
    ) as gateway:
        with RunProgress(job.file.name, job.rows, gateway, as_json=as_json) as shown:
            work = runner.Runner(
                gateway,
                route_of=job.route_of,
                in_flight=job.in_flight,
                time_to_live_s=job.time_to_live_s,
                wait_s=job.wait_s,
                on_result=shown.heard,
                in_order=None if keep is None else InOrder(functools.partial(_keep, keep)),
            )
            with _interruptible(work) as caught:
                try:
                    summary = await work.run(job.read())
                except FileError as error:
                    answered = f"{work.summary.rows:,} rows above it were answered and are kept; run the file again"
                    raise FileError(f"{error}. The file changed while it was being run: {answered}") from None
            if not caught:
                await gateway.catch_up()
                told_all = await gateway.tell_rest(_TELL_REST_S)
        ended = Ended(
            summary=summary, counts=gateway.counts(), begun=work.begun, signal=int(caught[0]) if caught else None
        )
    if not told_all:
        remark(
            "not every subscriber has all of it yet; the next run tells the rest. `onefill subscribers` says who lacks what"
        )
    return msgspec.structs.replace(ended, audit_trouble=troubles[-1] if troubles else None)


@contextlib.contextmanager
def _interruptible(work: runner.Runner) -> Iterator[list[signal.Signals]]:
    """Turn a first Ctrl-C or SIGTERM into an orderly stop, a second one into a quick one. Yields what was caught."""
    loop = asyncio.get_running_loop()
    caught: list[signal.Signals] = []
    timers: list[asyncio.TimerHandle] = []

    def stop(number: signal.Signals) -> None:
        caught.append(number)
        if len(caught) > 1:
            work.abandon()
            return
        work.stop()
        remark(f"stopping: rows under way are finished first, {_PATIENCE_S:g} s at most; again to stop at once")
        timers.append(loop.call_later(_PATIENCE_S, work.abandon))

    numbers = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError, ValueError):  # not on Windows, nor off the main thread
        for number in numbers:
            loop.add_signal_handler(number, stop, number)
    try:
        yield caught
    finally:
        for timer in timers:
            timer.cancel()
        with contextlib.suppress(NotImplementedError, ValueError):
            for number in numbers:
                loop.remove_signal_handler(number)


# ---------------------------------------------------------------------- --strict


async def _refuse_bad(job: Job) -> None:
    """Raise BadRows if any row cannot be used. Asks the venue and the ledger, and changes nothing at either."""
    venue = options.connection(job.name, job.venue, min(job.accounts))
    try:
        await venue.start()
        instruments = await venue.instruments()
    finally:
        await venue.close()
    async with _recorded(job.ledger) as recorded:
        problems = await runner.check(job.read(), instruments, job.route_of, recorded)
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"  … and {len(problems) - _MOST_PROBLEMS:,} more (--json lists them all)")
    count = f"{len(problems):,} problem{'s' if len(problems) > 1 else ''} in {job.rows:,} rows"
    raise BadRows("\n".join([f"{job.file}: {count}; nothing was sent", *lines]), [_problem(p) for p in problems])


@contextlib.asynccontextmanager
async def _recorded(ledger: str) -> AsyncIterator[Callable[[str, str, str], Awaitable[Intent | None]]]:
    """Give what tells the intent recorded under a key; of a ledger that is still to be made, nothing."""
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_for_reading(ledger)) if is_made(ledger) else None

        async def recorded(account: str, strategy: str, key: str) -> Intent | None:
            found = None if store is None else await store.by_key(account, strategy, key)
            return None if found is None else found.order.intent

        yield recorded


def _problem(error: CallerError) -> Problem:
    if isinstance(error, InvalidField):
        return Problem(error.line, error.field, error.problem)
    return Problem(None, None, str(error))


# --------------------------------------------------------------------- --answers


@contextlib.contextmanager
def _answers(path: Path | None) -> Iterator[WholeFile | None]:
    if path is None:
        yield None
        return
    file = WholeFile(path)
    try:
        file.open()
    except OSError as error:
        raise CallerError(f"--answers {path}: cannot be written: {error.strerror}. Nothing was sent") from error
    try:
        yield file
    finally:
        file.close()


def _keep(file: WholeFile, result: RowResult) -> None:
    file.write(msgspec.json.encode(result) + b"\n")


def _finished(keep: WholeFile | None, ended: Ended) -> str | None:
    """Give the answers their name once all are there. Return what went wrong."""
    if keep is None or ended.signal is not None:
        return None
    keep.finish()
    if keep.failure is None:
        return None
    reason = keep.failure.strerror or str(keep.failure)
    return f"--answers: could not be written: {reason}. Every answer is in the ledger; run again to write them"


# ------------------------------------------------------------------------ report


def _report(job: Job, ended: Ended, *, as_json: bool, failed_write: str | None) -> None:
    summary = ended.summary
    if as_json:
        print_json(
            {
                "file": job.file.name,
                "rows": summary.rows,
                "outcomes": summary.outcomes,
                "interrupted": ended.signal is not None,
                "not_begun": job.rows - ended.begun,
                "answers_failed": failed_write,
                "checkpoint_failed": None if ended.audit_trouble is None else str(ended.audit_trouble),
                "notes": summary.notes,
                "notes_left_out": summary.told - len(summary.notes),
                "routes": ended.counts,
                "exit_code": int(_code(ended, failed_write)),
            }
        )
        return
    if summary.rows == 0 and ended.signal is None:
        remark(f"{job.file.name}: no rows below the header; there was nothing to send")
        return
    rows = [(outcome.replace("_", " "), f"{count:,}") for outcome, count in sorted(summary.outcomes.items())]
    print_table(f"{job.file.name}: {summary.rows:,} rows", [("outcome", "left"), ("rows", "right")], rows)
    for route, count in ended.counts.items():
        remark(f"{route}: {_told_counts(count)}")
    shown = [note.error or "" for note in summary.notes[:_SHOWN_NOTES]]
    if summary.told > len(shown):
        shown.append(f"… and {summary.told - len(shown):,} more (--answers FILE tells of every row)")
    trouble = None if ended.audit_trouble is None else f"no checkpoint: {ended.audit_trouble}"
    for text in [*shown, *_advice(job, ended), *filter(None, [failed_write, trouble])]:
        remark(text)


def _told_counts(count: Counts) -> str:
    told = {
        "new": count.intents,
        "sent": count.copies_sent,
        "sent again": count.resends,
        "cancels sent": count.cancels_sent,
        "without a reply": count.unknown_outcomes,
        "look-ups": count.lookups,
        "found there": count.adopted,
        "answered from the ledger": count.replayed_answers,
        "executions": count.executions,
    }
    return ", ".join(f"{value:,} {name}" for name, value in told.items() if value) or "nothing to do"


def _advice(job: Job, ended: Ended) -> Iterator[str]:
    outcomes = ended.summary.outcomes
    if ended.signal is not None:
        under_way, rest = ended.begun - ended.summary.rows, job.rows - ended.begun
        yield (
            f"interrupted: {ended.summary.rows:,} rows were answered, {under_way:,} are under way and may be at the venue, "
            f"{rest:,} were not begun. The ledger knows each of them: run the same command again and it finishes, "
            "sending nothing twice"
        )
    elif outcomes.get(RowOutcome.UNCERTAIN):
        yield "uncertain orders may be live at the venue: run the same command again to learn their fate, nothing is sent twice"
    elif outcomes.get(RowOutcome.BAD):
        yield "bad rows were not sent, all others were: mend those lines and run the file again, only they are sent then"


def _code(ended: Ended, failed_write: str | None) -> ExitCode:
    outcomes = ended.summary.outcomes
    if ended.signal is not None:
        return ExitCode.TERMINATED if ended.signal == signal.SIGTERM else ExitCode.INTERRUPTED
    if outcomes.get(RowOutcome.UNCERTAIN):
        return ExitCode.UNCERTAIN
    if ended.audit_trouble is not None:
        return exit_code(ended.audit_trouble)
    if failed_write is not None:
        return ExitCode.UNAVAILABLE
    refused = (
        RowOutcome.BAD,
        RowOutcome.REJECTED,
        RowOutcome.REFUSED,
        RowOutcome.EXPIRED_UNSENT,
        RowOutcome.CANCEL_REFUSED,
    )
    return ExitCode.SOME_REFUSED if any(outcomes.get(outcome) for outcome in refused) else ExitCode.DONE
