"""Reading order files: a blotter of our own columns, or a recorded day in Bitstamp's form. Every error names line and field.

A row is a value: an order to submit, a cancel, or what is wrong with it. Nothing here sends anything.
"""

import csv
import gzip
import lzma
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

from onefill.core import values
from onefill.core.errors import CallerError, InvalidField
from onefill.core.intent import Intent
from onefill.core.values import OrderType, Side, TimeInForce

COLUMNS = ("key", "instrument", "side", "quantity", "type", "price", "time in force", "account", "strategy")
_REQUIRED = ("key", "instrument", "side", "quantity", "type")
_BITSTAMP_COLUMNS = ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction")
_SATOSHI = Decimal("1E-8")


class Format(StrEnum):
    """How a file of orders is written."""

    BLOTTER = "blotter"
    BITSTAMP = "bitstamp"


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What rows take that do not say it themselves."""

    account: str = "main"
    strategy: str = "blotter"
    instrument: str = "BTC-USD"
    """For recorded days, which are of one instrument."""


class SubmitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that places an order."""

    line: int
    key: str
    intent: Intent


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


class FileError(CallerError):
    """The file as a whole cannot be read."""


def read(path: Path, form: Format, defaults: Defaults) -> Iterator[Row]:
    """Yield a file's rows in order. ``.xz`` and ``.gz`` are unpacked on the way.

    Raises :class:`FileError` if the file cannot be read at all; a row that cannot be used is a :class:`BadRow`.
    """
    with _opened(path) as file:
        lines = csv.reader(file, strict=True)
        header = _header(path, lines)
        parse = _bitstamp if form is Format.BITSTAMP else _blotter
        columns = _columns(path, header, form)
        cancels: Counter[tuple[str, str, str]] = Counter()
        while True:
            try:
                cells = next(lines)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError, EOFError, lzma.LZMAError, OSError) as error:
                raise FileError(f"{path}: line {lines.line_num + 1} cannot be read: {error}") from error
            if not any(cell.strip() for cell in cells):
                continue
            line = lines.line_num
            if len(cells) != len(header):
                problem = f"has {len(cells)} columns, the header has {len(header)}"
                yield BadRow(line=line, key="", error=InvalidField("row", problem, line=line))
                continue
            row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
            try:
                parsed = parse(line, row, defaults, cancels)
            except InvalidField as error:
                yield BadRow(line=line, key=row.get("key", row.get("id", "")), error=error.at_line(line))
                continue
            if parsed is not None:
                yield parsed


def _opened(path: Path) -> IO[str]:
    try:
        if path.suffix == ".xz":
            return lzma.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be opened: {error.strerror or error}") from error


def _header(path: Path, lines: Iterator[list[str]]) -> list[str]:
    try:
        return next(lines)
    except StopIteration:
        raise FileError(f"{path}: is empty; the first line names the columns: {', '.join(COLUMNS)}") from None
    except (csv.Error, UnicodeDecodeError, EOFError, lzma.LZMAError, OSError) as error:
        raise FileError(f"{path}: line 1 cannot be read: {error}") from error


def _columns(path: Path, header: list[str], form: Format) -> list[str]:
    known = _BITSTAMP_COLUMNS if form is Format.BITSTAMP else COLUMNS
    required = _BITSTAMP_COLUMNS if form is Format.BITSTAMP else _REQUIRED
    columns = [cell.strip().lower() for cell in header]
    if form is Format.BLOTTER:
        columns = [{"tif": "time in force"}.get(column, column.replace("_", " ")) for column in columns]
    unknown = [column for column in columns if column not in known]
    missing = [column for column in required if column not in columns]
    doubled = [column for column, count in Counter(columns).items() if count > 1]
    problems = []
    if unknown:
        problems.append(f"unknown: {', '.join(repr(column) for column in unknown)}")
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    if doubled:
        problems.append(f"named twice: {', '.join(doubled)}")
    if problems:
        raise FileError(f"{path}: line 1, columns {'; '.join(problems)}. Known columns: {', '.join(known)}")
    return columns


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
    )
    return SubmitRow(line=line, key=key, intent=intent)


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
    return SubmitRow(line=line, key=key, intent=intent)
