"""How commands talk: tables and progress for people, JSON for programs, errors on standard error, exit codes for scripts."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from onefill.core.errors import (
    CallerError,
    InvariantBroken,
    LedgerAltered,
    LedgerError,
    OnefillError,
    OrderUncertain,
    RouteClosed,
    VenueError,
)

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    SOME_REFUSED = 1
    """Finished, but some orders were refused or rejected."""
    BAD_INPUT = 2
    """Arguments, settings or file unusable; nothing was sent."""
    UNCERTAIN = 3
    """Some order's fate is not known yet: run it again."""
    UNAVAILABLE = 4
    """Ledger or venue cannot be used now."""
    BROKEN = 5
    """A promise does not hold, or a record was altered."""


def exit_code(error: OnefillError) -> ExitCode:
    """Return the exit code that an error ends a command with."""
    if isinstance(error, CallerError):
        return ExitCode.BAD_INPUT
    if isinstance(error, OrderUncertain):
        return ExitCode.UNCERTAIN
    if isinstance(error, InvariantBroken | LedgerAltered):
        return ExitCode.BROKEN
    if isinstance(error, LedgerError | VenueError | RouteClosed):
        return ExitCode.UNAVAILABLE
    return ExitCode.BROKEN


@contextlib.contextmanager
def told(*, as_json: bool) -> Iterator[None]:
    """Turn an Onefill error into a message and an exit code."""
    try:
        yield
    except OnefillError as error:
        code = exit_code(error)
        if as_json:
            print_json({"error": str(error), "kind": type(error).__name__, "exit_code": int(code)})
        else:
            errors.print(f"[bold red]error:[/] {_escape(str(error))}")
        raise typer.Exit(code) from None


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; each column is (heading, ``left`` or ``right``)."""
    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    console.print(table)


def progress(*, shown: bool) -> Progress:
    """Return a progress display on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=errors,
        disable=not shown,
        transient=False,
    )


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
