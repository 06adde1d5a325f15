"""How commands talk: tables and progress for people, JSON for programs, errors on standard error, exit codes for scripts.

A terminal gets colours, bars and tables that fit it. A pipe or a file gets plain lines of any width, one row each, so that
``grep`` and ``cut`` work on them.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import typer
from rich.console import Console

from onefill.core.errors import (
    CallerError,
    ContradictsEvidence,
    InvariantBroken,
    LedgerAltered,
    LedgerError,
    OnefillError,
    OrderUncertain,
    RouteClosed,
    VenueError,
)

if TYPE_CHECKING:
    from rich.progress import Progress

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
    """Ledger, venue or a file to write cannot be used now."""
    BROKEN = 5
    """A promise does not hold, a record was altered, or Onefill itself has a defect."""
    DIVERGED = 6
    """Ledger and venue differ, and it lasts: there is an incident."""
    INTERRUPTED = 130
    """Ctrl-C (143: told to end by SIGTERM). Running the same command again finishes."""
    TERMINATED = 143
    PIPE_CLOSED = 141
    """Whoever read the output has gone."""


class OutputFailed(OnefillError):
    """A file that was asked for could not be written. It says nothing about any order."""


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with a row of a file: where, and what. ``field`` is a column's name."""

    line: int | None
    field: str | None
    problem: str


class BadRows(CallerError):
    """A file with rows that cannot be used, each of them named. Nothing was sent."""

    def __init__(self, text: str, problems: Sequence[Problem]) -> None:
        super().__init__(text)
        self.problems = list(problems)


def exit_code(error: OnefillError) -> ExitCode:
    """Return the exit code that an error ends a command with."""
    if isinstance(error, CallerError):
        return ExitCode.BAD_INPUT
    if isinstance(error, OrderUncertain):
        return ExitCode.UNCERTAIN
    if isinstance(error, InvariantBroken | LedgerAltered):
        return ExitCode.BROKEN
    if isinstance(error, LedgerError | VenueError | RouteClosed | OutputFailed):
        return ExitCode.UNAVAILABLE
    return ExitCode.BROKEN


@contextlib.contextmanager
def told(*, as_json: bool) -> Iterator[None]:
    """Turn whatever ends a command into a message (one JSON document with ``as_json``) and an exit code."""
    try:
        try:
            yield
            sys.stdout.flush()
        except OnefillError as error:
            _tell(error, exit_code(error), as_json=as_json)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            stopped = OnefillError("interrupted. What was acknowledged is kept; the same command again finishes")
            _tell(stopped, ExitCode.INTERRUPTED, as_json=as_json, kind="Interrupted")
        except Exception as error:  # noqa: BLE001 - the last one to hear of it
            errors.print(traceback.format_exc(), markup=False, soft_wrap=True)
            text = f"defect in Onefill ({type(error).__name__}: {error}). What was acknowledged is kept: run the same "
            text += "command again, nothing is sent twice; and please report this"
            _tell(OnefillError(text), ExitCode.BROKEN, as_json=as_json, kind=type(error).__name__)
    except BrokenPipeError:
        _pour_away()
        raise typer.Exit(ExitCode.PIPE_CLOSED) from None


def _tell(error: OnefillError, code: ExitCode, *, as_json: bool, kind: str | None = None) -> None:
    if as_json:
        document: dict[str, Any] = {"error": str(error), "kind": kind or type(error).__name__, "exit_code": int(code)}
        if isinstance(error, BadRows):
            document["problems"] = error.problems
        if isinstance(error, ContradictsEvidence):
            document["evidence"] = error.evidence
        print_json(document)
        sys.stdout.flush()
    elif errors.is_terminal:
        errors.print(f"[bold red]error:[/] {_escape(printable(str(error)))}")
    else:
        _write(sys.stderr, f"error: {printable(str(error))}\n")
    raise typer.Exit(code) from None


def _pour_away() -> None:
    # What is still buffered would be flushed, and complained about, when the interpreter ends.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    _write(sys.stdout, msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_json_line(value: Any) -> None:
    """Write one JSON document on one line, at once: for commands that go on."""
    _write(sys.stdout, msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """Return text in which nothing can steer a terminal: control characters (but line ends) are shown as codes."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def say(text: str) -> None:
    """Write text to standard output, as it is."""
    _say(console, sys.stdout, text)


def remark(text: str) -> None:
    """Write text to standard error, as it is."""
    _say(errors, sys.stderr, text)


def _say(where: Console, stream: TextIO, text: str) -> None:
    if where.is_terminal:
        where.print(printable(text), markup=False)
    else:
        _write(stream, printable(text) + "\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # an ASCII-only output
        stream.write(text.encode("ascii", "backslashreplace").decode())


def print_table(
    title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()
) -> None:
    """Print a table; each column is (heading, ``left`` or ``right``).

    On a terminal too narrow for it, the columns named in ``spare`` are left out, the first one first.
    """
    title, shown = printable(title), [[printable(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        _plain_table(title, columns, shown)
        return
    left_out: list[str] = []
    for heading in spare:
        if _width(columns, shown) <= console.width:
            break
        place = [name for name, _ in columns].index(heading)
        columns = [column for n, column in enumerate(columns) if n != place]
        shown = [[cell for n, cell in enumerate(row) if n != place] for row in shown]
        left_out.append(heading)
    _rich_table(title, columns, shown)
    if left_out:
        hint = f"left out for want of width: {', '.join(left_out)} (shown with --json, or when piped)"
        console.print(hint, style="dim", markup=False)


def _widths(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> list[int]:
    cells = [[heading for heading, _ in columns], *rows]
    return [max(len(line) for row in cells for line in (row[n].split("\n"))) for n in range(len(columns))]


def _width(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> int:
    return sum(width + 3 for width in _widths(columns, rows)) + 1


def _plain_table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    lines = [title] if title else []
    widths = _widths(columns, rows)
    for row in [[heading for heading, _ in columns], *rows]:
        cells = [
            cell.rjust(width) if justify == "right" else cell.ljust(width)
            for cell, width, (_, justify) in zip(row, widths, columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    _write(sys.stdout, "\n".join(lines) + "\n")


def _rich_table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 - costs every command time, is needed on terminals only
    from rich.table import Table  # noqa: PLC0415

    if title:
        console.print(title, markup=False)
    table = Table(box=box.SIMPLE_HEAD)
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    console.print(table)


def progress(*, shown: bool) -> "Progress":
    """Return a progress display on standard error. It shows nothing unless that is a terminal."""
    from rich.progress import (  # noqa: PLC0415 - costs every command time
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=errors,
        disable=not (shown and errors.is_terminal),
        transient=False,
    )


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
