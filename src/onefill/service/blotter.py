"""Reading order files: a blotter of our own columns, or a recorded day in Bitstamp's form. Every error names line and field.

A row is a value: an order to submit, a cancel, or what is wrong with it. Nothing here sends anything.
"""

import contextlib
import csv
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField
from onefill.core.intent import Intent
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.service.order_file import FileError, Lines

COLUMNS = (
    "key",
    "instrument",
    "side",
    "quantity",
    "type",
    "price",
    "time in force",
    "account",
    "strategy",
    "allow similar",
    "parameters",
)
_BITSTAMP_COLUMNS = ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction")
_SATOSHI = Decimal("1E-8")


class Format(StrEnum):
    """How a file of orders is written."""

    BLOTTER = "blotter"
    BITSTAMP = "bitstamp"


_KNOWN = {Format.BLOTTER: COLUMNS, Format.BITSTAMP: _BITSTAMP_COLUMNS}
_REQUIRED = {Format.BLOTTER: COLUMNS[:5], Format.BITSTAMP: _BITSTAMP_COLUMNS}
_COLUMN_OF = {
    Format.BLOTTER: {"order_type": "type", "time_in_force": "time in force"},
    Format.BITSTAMP: {"quantity": "volume"},
}
"""How an intent's fields are called in the file."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What rows take that do not say it themselves."""

    account: str = "main"
    strategy: str = "blotter"
    instrument: str = "BTC-USD"
    """For recorded days, which are of one instrument."""
    allow_similar: bool = False
    """Every row is wanted, also where it is just like one before it (see the risk gates)."""


class SubmitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that places an order."""

    line: int
    key: str
    intent: Intent
    allow_similar: bool = False


class CancelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that cancels a key. ``operation_key`` tells this cancel from others of the same key in the file."""

    line: int
    key: str
    account: str
    strategy: str
    operation_key: str


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that cannot be used, and why."""

    line: int
    key: str
    error: InvalidField


Row = SubmitRow | CancelRow | BadRow


def read(path: Path, form: Format, defaults: Defaults) -> Iterator[Row]:
    """Yield a file's rows in order. ``.xz`` and ``.gz`` are unpacked on the way.

    Raises :class:`~onefill.service.order_file.FileError` if the file as a whole cannot be read; a row that cannot be used is
    a :class:`BadRow`.
    """
    with contextlib.closing(Lines(path)) as lines:
        rows = csv.reader(lines, strict=True)
        header = _header(path, lines, rows, form)
        columns = _columns(path, lines.number, header, form)
        parse = _bitstamp if form is Format.BITSTAMP else _blotter
        cancels: Counter[tuple[str, str, str]] = Counter()
        while True:
            line = lines.number + 1
            cells = _cells(lines, rows)
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
            try:
                if len(cells) != len(columns):
                    raise _wrong_count(len(cells), len(columns))
                parsed = parse(line, row, defaults, cancels)
            except InvalidField as error:
                named = InvalidField(_COLUMN_OF[form].get(error.field, error.field), error.problem, line=line)
                yield BadRow(line=line, key=row.get("key", row.get("id", "")), error=named)
                continue
            if parsed is not None:
                yield parsed


def _wrong_count(cells: int, columns: int) -> InvalidField:
    hint = "put a text that contains a comma in quotes" if cells > columns else "an empty one still needs its comma"
    return InvalidField("row", f"has {cells} columns, the header has {columns}; {hint}")


def _cells(lines: Lines, rows: Iterator[list[str]]) -> list[str] | None:
    """Return the next row, an empty list for a blank line, ``None`` at the end of the file."""
    first = lines.number + 1
    try:
        return next(rows, None)
    except csv.Error as error:
        problem = str(error)
        if "unexpected end of data" in problem:
            problem = 'a quote (") is opened here and never closed'
        elif "new-line character" in problem:
            problem = "its lines end in a bare carriage return; save it with LF or CRLF line ends"
        elif "expected after" in problem:
            problem = f'text after a closing quote (to line {lines.number}); write a quote inside a text as ""'
        raise lines.error(f"{problem}. Rows cannot be told apart from here on", first) from None


def _header(path: Path, lines: Lines, rows: Iterator[list[str]], form: Format) -> list[str]:
    header: list[str] | None = []
    while header is not None and not any(cell.strip() for cell in header):
        header = _cells(lines, rows)
    if header is None:
        raise FileError(f"{path}: is empty; its first line names the columns: {', '.join(_KNOWN[form])}")
    return header


def _columns(path: Path, line: int, header: list[str], form: Format) -> list[str]:
    known = _KNOWN[form]
    columns = _named(header, form)
    unknown = [column for column in columns if column not in known]
    missing = [column for column in _REQUIRED[form] if column not in columns]
    doubled = [column for column, count in Counter(columns).items() if count > 1]
    problems = []
    if unknown:
        problems.append(f"unknown: {', '.join(repr(column[:40]) for column in unknown[:10])}")
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    if doubled:
        problems.append(f"named twice: {', '.join(doubled)}")
    if problems:
        raise FileError(
            f"{path}: line {line}: columns {'; '.join(problems)}. Known columns: {', '.join(known)}{_hint(header, form)}"
        )
    return columns


def _named(header: list[str], form: Format) -> list[str]:
    columns = [cell.strip().lower() for cell in header]
    if form is Format.BLOTTER:
        columns = [{"tif": "time in force"}.get(column, column.replace("_", " ")) for column in columns]
    return columns


def _hint(header: list[str], form: Format) -> str:
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return ". Columns are told apart by commas"
    other = Format.BLOTTER if form is Format.BITSTAMP else Format.BITSTAMP
    if set(_REQUIRED[other]) <= set(_named(header, other)):
        return f". This looks like --format {other}"
    return ""


def _cancel(line: int, key: str, account: str, strategy: str, cancels: Counter[tuple[str, str, str]]) -> CancelRow:
    # The n-th cancel of a key in the file is an operation of its own, so that a second run gets the same answers.
    cancels[account, strategy, key] += 1
    number = cancels[account, strategy, key]
    return CancelRow(line=line, key=key, account=account, strategy=strategy, operation_key=f"cancel-{number}")


def _blotter(line: int, row: dict[str, str], defaults: Defaults, cancels: Counter[tuple[str, str, str]]) -> Row | None:
    key = values.caller_key(row["key"])
    account = values.name(row.get("account") or defaults.account, "account")
    strategy = values.name(row.get("strategy") or defaults.strategy, "strategy")
    if row["type"].lower() == "cancel":
        return _cancel(line, key, account, strategy, cancels)
    if row["type"].lower() not in set(OrderType):
        raise InvalidField("type", f"{row['type'][:40]!r} is none of: {', '.join(OrderType)}, cancel")
    intent = Intent(
        account=account,
        strategy=strategy,
        instrument=row["instrument"],
        side=row["side"],  # type: ignore[arg-type] # Intent checks and converts text
        quantity=row["quantity"],  # type: ignore[arg-type]
        order_type=row["type"],  # type: ignore[arg-type]
        price=row.get("price") or None,  # type: ignore[arg-type]
        time_in_force=row.get("time in force") or TimeInForce.DAY,  # type: ignore[arg-type]
        parameters=row.get("parameters") or None,
    )
    return SubmitRow(line=line, key=key, intent=intent, allow_similar=_allow_similar(row, defaults))


def _allow_similar(row: dict[str, str], defaults: Defaults) -> bool:
    said = row.get("allow similar", "").lower()
    if said not in {"", "yes", "no"}:
        raise InvalidField("allow similar", f"{said[:40]!r} is none of: yes, no")
    return said == "yes" if said else defaults.allow_similar


def _bitstamp(line: int, row: dict[str, str], defaults: Defaults, cancels: Counter[tuple[str, str, str]]) -> Row | None:
    key = values.caller_key(row["id"], "id")
    if row["action"] == "deleted":
        return _cancel(line, key, defaults.account, defaults.strategy, cancels)
    if row["action"] == "changed":
        return None  # the market's own fill
    if row["action"] != "created":
        raise InvalidField("action", f"{row['action'][:40]!r} is none of: created, changed, deleted")
    sides = {"bid": Side.BUY, "ask": Side.SELL}
    if row["direction"] not in sides:
        raise InvalidField("direction", f"{row['direction'][:40]!r} is none of: bid, ask")
    intent = Intent(
        account=defaults.account,
        strategy=defaults.strategy,
        instrument=defaults.instrument,
        side=sides[row["direction"]],
        quantity=values.positive_decimal(row["volume"], "volume") * _SATOSHI,
        price=values.positive_decimal(row["price"], "price"),
        time_in_force=TimeInForce.GTC,
    )
    return SubmitRow(line=line, key=key, intent=intent, allow_similar=defaults.allow_similar)
