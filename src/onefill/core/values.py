"""The words of an order: sides, types, times in force, exact decimals and instruments.

Numbers are :class:`decimal.Decimal` from end to end. A float is refused: 0.1 is not a tenth in binary, and a price is.
"""

import decimal
import functools
import math
import re
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import msgspec

from onefill.core.errors import InvalidField

MAX_DIGITS = 28
"""Most digits a quantity or price may have, written out without an exponent, and most of them behind the point."""
EXACT = decimal.Context(prec=1000, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero])
"""Sums and products that are never rounded, whatever the decimal context of the caller's own program is."""

_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)
Choice = TypeVar("Choice", bound=StrEnum)
MAX_NAME = 64
MAX_KEY = 200
MAX_PARAMETERS = 4096
"""Most bytes that an order's parameters may have in their one spelling."""
_read_json = msgspec.json.Decoder(float_hook=Decimal).decode
_write_json = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class Side(StrEnum):
    """Side (FIX tag 54)."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """OrdType (FIX tag 40)."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """TimeInForce (FIX tag 59)."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class Instrument(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """What may be traded and in which steps.

    ``price_tick`` is the smallest price step, ``quantity_step`` the smallest quantity step, ``min_quantity`` the
    smallest order, all in the instrument's own units.
    """

    symbol: str
    price_tick: Decimal
    quantity_step: Decimal
    min_quantity: Decimal


def exact_decimal(value: object, field: str) -> Decimal:
    """Return ``value`` as a finite Decimal.

    Takes a Decimal, an int, or text in plain notation (``-12.50``). Raises :class:`InvalidField` for floats, NaN,
    infinities, exponents and anything with more than :data:`MAX_DIGITS` digits.
    """
    if isinstance(value, str):
        if not _PLAIN.fullmatch(value):
            raise InvalidField(field, f"{value[:40]!r} is not a plain decimal number such as 12.50")
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
        if not number.is_finite():
            raise InvalidField(field, f"{number} is not a finite number")
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, float):
        raise InvalidField(field, f"{value!r} is a float, which is not exact; pass Decimal or text")
    else:
        raise InvalidField(field, f"expected a Decimal, an int or text, got {type(value).__name__}")
    _, digits, exponent = number.as_tuple()
    if len(digits) + max(int(exponent), 0) > MAX_DIGITS or int(exponent) < -MAX_DIGITS:
        raise InvalidField(field, f"has more than {MAX_DIGITS} digits")
    return number


def positive_decimal(value: object, field: str) -> Decimal:
    """Return ``value`` as a Decimal above zero, or raise :class:`InvalidField`."""
    number = exact_decimal(value, field)
    if number <= 0:
        raise InvalidField(field, f"{plain(number)} is not above zero")
    return number


def plain(number: Decimal) -> str:
    """Return the one canonical text of a number: no exponent, no trailing zeros, no negative zero."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def on_grid(number: Decimal, step: Decimal, field: str) -> Decimal:
    """Return ``number`` if it is a multiple of ``step``; otherwise raise :class:`InvalidField`. Nothing is ever rounded."""
    try:
        off = EXACT.remainder(number, step)
    except decimal.InvalidOperation:
        raise InvalidField(field, f"{plain(number)} is too large for steps of {plain(step)}") from None
    if off:
        raise InvalidField(field, f"{plain(number)} is not a multiple of {plain(step)}; numbers are never rounded here")
    return number


@functools.lru_cache(maxsize=4096)
def _is_name(value: str) -> bool:
    return len(value) <= MAX_NAME and _NAME.fullmatch(value) is not None


def name(value: object, field: str) -> str:
    """Return a name (account, strategy, instrument, venue): ASCII letters, digits and ``._:/@+-``, at most 64 long."""
    if isinstance(value, str) and _is_name(value):
        return value
    shown = repr(value[:MAX_NAME]) if isinstance(value, str) else type(value).__name__
    allowed = "letters, digits and ._:/@+-, first a letter or digit"
    raise InvalidField(field, f"{shown} is not a name (1 to {MAX_NAME} of {allowed})")


def caller_key(value: object, field: str = "key") -> str:
    """Return a caller's key: 1 to 200 printable characters. It is compared byte for byte, never folded or trimmed."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY or not value.isprintable() or value != value.strip():
        shown = repr(value[:40]) if isinstance(value, str) else type(value).__name__
        raise InvalidField(field, f"{shown} is not a key (1 to {MAX_KEY} printable characters, no space at either end)")
    return value


def choice(kind: type[Choice], value: object, field: str) -> Choice:
    """Return the member of ``kind`` spelt ``value`` in any case, or raise :class:`InvalidField` naming the choices."""
    if isinstance(value, kind):
        return value
    try:
        return kind(str(value).strip().lower())
    except ValueError:
        raise InvalidField(field, f"{str(value)[:40]!r} is none of: {', '.join(kind)}") from None


def json_object(value: object, field: str) -> str | None:
    """Return a JSON object, given as text or as a dict, in its one spelling: sorted, no space, each number as it was.

    ``None`` for an empty one. Raises :class:`InvalidField` for what is none, for values that JSON does not have, and for more
    than :data:`MAX_PARAMETERS` bytes.
    """
    try:
        read = _read_json(value) if isinstance(value, str) else value
        if not isinstance(read, dict):
            raise InvalidField(field, f"expected a JSON object, got {type(read).__name__}")
        _check_json(read, field)
        # A float is written once before it is read, so that it is spelt as when the text comes back.
        text = _write_json(read if isinstance(value, str) else _read_json(_write_json(read)))
    except (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise InvalidField(field, f"is not a JSON object: {error}") from None
    if len(text) > MAX_PARAMETERS:
        raise InvalidField(field, f"has {len(text):,} bytes; the most is {MAX_PARAMETERS:,}")
    return text.decode() if read else None


def _check_json(value: object, field: str) -> None:
    """Raise unless every part is one of JSON's own kinds: anything else would be written as something it is not."""
    if isinstance(value, dict):
        for part in value.values():
            _check_json(part, field)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_json(part, field)
    elif isinstance(value, float | Decimal | int):
        if not math.isfinite(value):  # also a number that is written out and is beyond what a float can be
            raise InvalidField(field, f"holds {value}, which is not a finite number")
    elif value is not None and not isinstance(value, str):
        raise InvalidField(field, f"holds a {type(value).__name__}, which JSON does not have")
