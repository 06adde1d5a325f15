"""Texts in PostgreSQL, which stores every character but U+0000. That one is written as two others, and back.

ESC 0 stands for U+0000 and ESC 1 for ESC itself, so that every text comes back as it went in and no two become the same.
"""

from collections.abc import Iterable, Sequence
from typing import Any

_ESC, _NUL = "\x1b", "\x00"


def stored(value: Any) -> Any:
    """Return a value as it is stored: a text without U+0000, anything else as it is."""
    if type(value) is not str and not isinstance(value, str):
        return value
    if _NUL in value or _ESC in value:
        return value.replace(_ESC, _ESC + "1").replace(_NUL, _ESC + "0")
    return value


def shown(value: Any) -> Any:
    """Return a stored value as it was."""
    if type(value) is str and _ESC in value:
        return value.replace(_ESC + "0", _NUL).replace(_ESC + "1", _ESC)
    return value


def stored_all(value: Any) -> Any:
    """Return lists of lists of values as they are stored."""
    return [stored_all(one) for one in value] if isinstance(value, (list, tuple)) else stored(value)


def row(record: Iterable[Any]) -> list[Any]:
    """Return a record's values as they were."""
    return [shown(value) for value in record]


def columns(rows: Sequence[Sequence[Any]], kinds: Sequence[str]) -> list[list[Any]]:
    """Return rows as the columns that the schema's function takes, as they are stored. ``kinds``: the columns' types."""
    return [
        [stored(value) for value in column] if kind == "text" else list(column)
        for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)
    ]
