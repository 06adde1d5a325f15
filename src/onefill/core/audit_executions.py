"""The execution log against the chain: each of its rows must say what the journal entry says that took the execution in.

The chain protects what it tells. Of an execution that is its id, quantity, price, order, fee and time; whose it is, in which
instrument and on which side, is told by the entry that recorded the order, or by the event itself where nobody here sent it.
What an older entry does not tell is not compared.
"""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

import msgspec

from onefill.core.values import plain

MARK = '"execution_id":"'
"""Stands in the payload of every entry that tells of an execution: in a text inside it the quotes would be escaped."""
_TELLING = frozenset({"traded", "trade_amended", "quarantined"})


class ExecutionRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A row of the execution log as it stands there. ``recorded``: the payload of the entry that recorded its order."""

    place: int
    intent_id: int | None
    execution_id: str
    account: str
    strategy: str
    instrument: str
    side: str
    quantity: str
    price: str
    client_order_id: str
    venue_order_id: str
    transacted_at_us: int
    kind: str
    refers_to: str | None
    fee: str | None
    fee_currency: str | None
    recorded: bytes | None


class Told(msgspec.Struct, frozen=True, gc=False):
    """An execution as an event tells it. Other events have none of this; older ones less."""

    type: str
    execution_id: str = ""
    quantity: str | None = None
    price: str | None = None
    account: str | None = None
    instrument: str | None = None
    side: str | None = None
    client_order_id: str | None = None
    venue_order_id: str | None = None
    transacted_at_us: int = 0
    kind: str | None = None
    refers_to: str | None = None
    fee: str | None = None
    fee_currency: str | None = None


class _Intent(msgspec.Struct, frozen=True, gc=False):
    account: str | None = None
    strategy: str | None = None
    instrument: str | None = None
    side: str | None = None


class _First(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    intent: _Intent = _Intent()


_told = msgspec.json.Decoder(list[Told])
_recorded = msgspec.json.Decoder(list[_First])


def told_executions(payload: str) -> Iterator[Told]:
    """Return the executions that an entry tells of. Raises msgspec.DecodeError if it does not hold events."""
    return (told for told in _told.decode(payload) if told.type in _TELLING)


def execution_fault(told: Told, intent_id: int | None, logged: ExecutionRow | None) -> str | None:
    """Return where an entry and the row of the execution log that is its turn disagree, or ``None``.

    ``intent_id``: the order that the entry is about.
    """
    if logged is None:
        return f"execution {told.execution_id!r} is not in the execution log"
    if told.type == "quarantined":
        intent_id = None
    if _same_text(told, intent_id, logged):
        return None
    same = (
        told.execution_id == logged.execution_id
        and intent_id == logged.intent_id
        and _equal(told.quantity, logged.quantity)
        and _equal(told.price, logged.price)
    )
    if not same:
        return (
            f"tells of execution {told.execution_id!r}, {_plain(told.quantity)} at {_plain(told.price)}; the execution log has "
            f"{logged.execution_id!r}, {_plain(logged.quantity)} at {_plain(logged.price)}, in its place"
        )
    for field, wanted in _further(told, logged.recorded if intent_id is not None else None):
        found = getattr(logged, field)
        if wanted != found and not (field == "fee" and _equal(wanted, found)):
            return f"tells of execution {told.execution_id!r} with {field} {wanted!r}; the execution log has {field} {found!r}"
    return None


def _same_text(told: Told, intent_id: int | None, logged: ExecutionRow) -> bool:
    """Tell whether all is told, in the very words of the log: quicker than to ask for each field what is told of it."""
    return (
        intent_id is not None
        and logged.intent_id == intent_id
        and logged.execution_id == told.execution_id
        and logged.quantity == told.quantity
        and logged.price == told.price
        and logged.transacted_at_us == told.transacted_at_us
        and logged.fee == told.fee
        and logged.fee_currency == told.fee_currency
        and logged.venue_order_id == told.venue_order_id
        and logged.kind == (told.kind or "trade")
        and logged.refers_to == told.refers_to
        and told.client_order_id in (None, logged.client_order_id)
        and logged.recorded is not None
        # As core.intent.canonical spells it. Names have no quotes, and those in any text inside the entry are escaped.
        and (
            f'"account":"{logged.account}","strategy":"{logged.strategy}","instrument":"{logged.instrument}",'
            f'"side":"{logged.side}"'
        ).encode()
        in logged.recorded
    )


def _further(told: Told, recorded: bytes | None) -> Iterator[tuple[str, str | int | None]]:
    """Return what else is told of an execution: (column of the log, value)."""
    of_order = _intent(recorded)
    given: tuple[tuple[str, str | None], ...] = (
        ("account", told.account or of_order.account),
        ("strategy", of_order.strategy),
        ("instrument", told.instrument or of_order.instrument),
        ("side", told.side or of_order.side),
        ("client_order_id", told.client_order_id),
        ("venue_order_id", told.venue_order_id),
    )
    yield from ((field, value) for field, value in given if value is not None)
    yield "kind", told.kind or "trade"
    yield "refers_to", told.refers_to
    if told.transacted_at_us:  # so it is told whole: what is absent was not there
        yield "transacted_at_us", told.transacted_at_us
        yield "fee", told.fee
        yield "fee_currency", told.fee_currency


def _intent(recorded: bytes | None) -> _Intent:
    if recorded is None:
        return _Intent()
    try:
        return next((first.intent for first in _recorded.decode(recorded) if first.type == "recorded"), _Intent())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Intent()


def _equal(told: object, logged: object) -> bool:
    if told == logged or told is None:
        return told == logged
    try:
        return Decimal(str(told)) == Decimal(str(logged))
    except InvalidOperation:
        return False


def _plain(number: str | None) -> str:
    try:
        return plain(Decimal(number or ""))
    except InvalidOperation:
        return str(number)
