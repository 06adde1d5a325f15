"""A recorded day's orders as a venue behind ccxt takes them, and what makes two requests the same order."""

import csv
import hashlib
import lzma
from collections.abc import Iterator, Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from onefill.core.errors import CallerError
from onefill.core.values import Instrument, Side, plain

_QUANTITY: Final = frozenset({"quantity", "volume", "sz", "amount", "base_size", "qty", "size"})
_CONTENT: Final = _QUANTITY | {
    "symbol",
    "pair",
    "instid",
    "instrument_name",
    "product_id",
    "side",
    "type",
    "price",
    "px",
    "limit_price",
}
"""What an order's content is called in venues' requests."""
_CHANGING: Final = frozenset(
    {"timestamp", "signature", "nonce", "recvwindow", "deadline", "exptime", "valid_until", "receivewindow", "since"}
)
"""What is another at every attempt."""
_SIGNED: Final = {"a": "symbol", "b": "side", "p": "price", "s": "quantity"}
"""What the content of an order in a signed action (Hyperliquid) is called, spelt out."""
_SATOSHI: Final = Decimal("1E-8")
_HEADER: Final = "key,instrument,side,quantity,type,price,time in force,allow similar\n"


class DayOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One order of the day, on the instrument's steps. ``canceled``: the day cancels it again."""

    key: str
    side: Side
    quantity: Decimal
    price: Decimal
    canceled: bool = False

    @property
    def content(self) -> tuple[Side, Decimal | None, Decimal]:
        """What the order is, whatever it is called."""
        return self.side, self.price, self.quantity


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """The first orders of a day. ``rows`` are their keys as they come: an order first, then its cancel if it has one."""

    instrument: Instrument
    orders: dict[str, DayOrder]
    rows: list[str]

    def write(self, path: Path, keys: Mapping[str, str]) -> None:
        """Write a blotter of those orders that ``keys`` names, under the keys that it gives them."""
        seen: set[str] = set()
        with path.open("w", encoding="utf-8") as file:
            file.write(_HEADER)
            for key in self.rows:
                if key in keys:
                    file.write(self._line(self.orders[key], keys[key], cancel=key in seen))
                    seen.add(key)

    def _line(self, order: DayOrder, key: str, *, cancel: bool) -> str:
        if cancel:
            return f"{key},,,,cancel,,,\n"
        terms = f"{order.side},{plain(order.quantity)},limit,{plain(order.price)}"
        return f"{key},{self.instrument.symbol},{terms},gtc,yes\n"


def read_day(file: Path, instrument: Instrument, count: int) -> Day:
    """Return the first ``count`` orders of a recorded day in Bitstamp's form, with the cancels up to the last of them.

    Quantities and prices are cut to the instrument's steps. Where a step is a whole unit or more, orders are counted in the
    currency they are paid in: such contracts are. Raises CallerError if the file has fewer orders.
    """
    orders: dict[str, DayOrder] = {}
    rows: list[str] = []
    for row in _rows(file):
        key, known = row["id"], orders.get(row["id"])
        if row["action"] == "created" and known is None:
            if len(orders) == count:
                break
            orders[key] = _fitted(row, instrument)
            rows.append(key)
        elif row["action"] == "deleted" and known is not None and not known.canceled:
            orders[key] = msgspec.structs.replace(known, canceled=True)
            rows.append(key)
    if len(orders) < count:
        raise CallerError(f"{file}: has {len(orders):,} orders, and {count:,} are wanted")
    return Day(instrument=instrument, orders=orders, rows=rows)


def _rows(file: Path) -> Iterator[dict[str, str]]:
    opened = lzma.open if file.suffix == ".xz" else open
    try:
        with opened(file, "rt", encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)
    except (OSError, lzma.LZMAError) as error:
        raise CallerError(f"{file}: cannot be read: {error}") from error


def _fitted(row: dict[str, str], instrument: Instrument) -> DayOrder:
    price = _cut(Decimal(row["price"]), instrument.price_tick, instrument.price_tick)
    volume = Decimal(row["volume"]) * _SATOSHI
    counted = volume * price if instrument.quantity_step >= 1 else volume
    quantity = _cut(counted, instrument.quantity_step, instrument.min_quantity)
    side = Side.BUY if row["direction"] == "bid" else Side.SELL
    return DayOrder(key=row["id"], side=side, quantity=quantity, price=price)


def _cut(number: Decimal, step: Decimal, least: Decimal) -> Decimal:
    return max((number / step).to_integral_value(ROUND_DOWN) * step, least)


def order_in(target: bytes, body: bytes) -> list[tuple[str, str]] | None:
    """Return the content of the order that a request would place, without client order id, signature or time; or ``None``."""
    content = sorted({(name, _plain(value)) for name, value in _said(target, body) if name.lower() in _CONTENT})
    return content if any(name.lower() in _QUANTITY for name, _ in content) else None


def identify(method: bytes, target: bytes, body: bytes) -> bytes:
    """Return what makes a request to a venue itself, whoever makes it and however often.

    For an order that is its content; for anything else all but what is another at every attempt. See
    :class:`~onefill.sim.link_plan.LinkPlan`.
    """
    said = order_in(target, body)
    if said is None:
        said = sorted((name, value) for name, value in _said(target, body) if name.lower() not in _CHANGING)
    return hashlib.sha256(repr((method, target.partition(b"?")[0], said)).encode()).digest()


def _said(target: bytes, body: bytes) -> list[tuple[str, str]]:
    query = target.decode(errors="replace").partition("?")[2]
    return [*parse_qsl(query), *_of_body(body)]


def _of_body(body: bytes) -> Iterator[tuple[str, str]]:
    text = body.decode(errors="replace")
    try:
        yield from _of_document(msgspec.json.decode(text)) if text[:1] in ("{", "[") else parse_qsl(text)
    except msgspec.DecodeError:
        yield "body", text


def _of_document(document: Any) -> Iterator[tuple[str, str]]:
    """Yield what a JSON document says. Signed actions have names of one letter, some of which their signature has too."""
    action = document.get("action") if isinstance(document, dict) else None
    if not isinstance(action, dict):
        return _leaves("", document)
    if action.get("type") != "order":
        return _leaves("", action)
    named = [{_SIGNED.get(name, name): value for name, value in one.items()} for one in action["orders"]]
    return _leaves("", named)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield what a JSON document says, by the innermost names."""
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from _leaves(inner, part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(name, part)
    else:
        yield name, str(value)


def _plain(value: str) -> str:
    """Return one spelling of what may be a number."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return plain(number) if number.is_finite() else value


def same_id(client_order_id: str) -> str:
    """Return one spelling of a client order id: venues write some with hyphens."""
    return client_order_id.replace("-", "")
