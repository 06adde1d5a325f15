"""Between the core's values and rows. Rows travel to and from SQLite as JSON text, a whole group in one statement.

One statement for a group matters more than it seems: SQLite is called without the interpreter's lock, and each call that
returns has to win it back from a busy event loop. Two calls per order would cost more than the disk does.
"""

from decimal import Decimal
from typing import Any

import msgspec

from onefill.core.audit import JournalEntry
from onefill.core.control import Control
from onefill.core.events import CopyOutcome
from onefill.core.incident import Incident
from onefill.core.intent import from_canonical
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Copy, Order, Replacement, Terms
from onefill.core.position import Execution, Kind, Position
from onefill.core.values import Side
from onefill.ports.ledger import (
    Change,
    Claim,
    InboxEvent,
    NewIntent,
    OpeningPosition,
    Operation,
    ReplacementChange,
    RequestKind,
    StepRecord,
)

Row = list[Any]

ORDER_COLUMNS = (
    "id, key, client_order_id, body, recorded_at_us, valid_until_us, status, version, cum_quantity, venue_cum_quantity, "
    "venue_order_id, reason, anomaly, parked, cancel_wanted, answer, replaced, reversed_quantity"
)
COPY_COLUMNS = "intent_id, kind, number, claimed_at_us, expires_at_us, outcome, reason, retry_at_us, leaves_by_us"
REPLACEMENT_COLUMNS = (
    "intent_id, number, client_order_id, quantity, price, valid_until_us, operation_key, copies_before, original_over, "
    "outcome, since_us, version"
)
OPERATION_COLUMNS = "account, strategy, key, operation_key, intent_id, requested_at_us, answer, kind, quantity, price"
EXECUTION_COLUMNS = (
    "execution.id, intent_id, scope, execution_id, account, strategy, route.name, instrument, side, quantity, price, "
    "client_order_id, venue_order_id, transacted_at_us, kind, refers_to, fee, fee_currency, stream"
)
STEP_COLUMNS = "key, step, attempt, begun_at_us, result, done_at_us, arguments"
POSITION_COLUMNS = (
    "account, strategy, venue, instrument, bought, sold, bought_value, sold_value, cost, fees, executions"
)


KINDS = (RequestKind.SUBMIT, RequestKind.CANCEL, RequestKind.REPLACE)
"""Kinds of requests by their number in the table ``attempt``."""
_KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}


def json_text(rows: object) -> str:
    """Return rows as the JSON text that ``json_each`` reads."""
    return msgspec.json.encode(rows).decode()


def intent_row(route_id: int, order: Order, new: NewIntent) -> Row:
    """Return the row of a new intent, columns as in ``INSERT_INTENT``."""
    return [
        order.intent_id,
        route_id,
        new.key_digest.hex(),
        order.intent.account,
        order.intent.strategy,
        order.key,
        order.client_order_id,
        new.fingerprint_version,
        new.fingerprint.hex(),
        new.body.decode(),
        order.recorded_at_us,
        order.valid_until_us,
        order.status,
        order.reason,
        int(order.closed),
        None if order.answer is None else order.answer.decode(),
    ]


def is_fresh(order: Order) -> bool:
    """Tell whether an order is as a new row shows it: everything that is not in ``intent_row`` at its default.

    Only one that was refused at a gate is over as it is recorded.
    """
    refused = order.status is Status.REFUSED
    return (
        order.version == 1
        and not order.cum_quantity
        and not order.venue_cum_quantity
        and order.venue_order_id is None
        and order.anomaly is None
        and not (order.parked or order.cancel_wanted or order.replacements)
        and (refused or (order.reason is None and order.answer is None and not order.closed))
    )


def update_row(order: Order, expected_version: int) -> Row:
    """Return the row that moves an intent from ``expected_version`` on, columns as in ``UPDATE_INTENT``."""
    return [order.intent_id, expected_version, *_state(order)]


def _state(order: Order) -> Row:
    return [
        order.status,
        order.version,
        format(order.cum_quantity, "f") if order.cum_quantity else "0",
        format(order.venue_cum_quantity, "f") if order.venue_cum_quantity else "0",
        order.venue_order_id,
        order.reason,
        order.anomaly,
        int(order.parked),
        int(order.cancel_wanted),
        int(order.closed),
        None if order.answer is None else order.answer.decode(),
        int(order.replacements > 0),
        format(order.reversed_quantity, "f") if order.reversed_quantity else "0",
    ]


def claim_row(intent_id: int, epoch: int, claim: Claim) -> Row:
    """Return the row of a claimed or settled copy."""
    copy = claim.copy
    return [
        intent_id,
        _KIND_NUMBERS[claim.kind],
        copy.number,
        epoch,
        copy.claimed_at_us,
        copy.expires_at_us,
        copy.leaves_by_us,
        copy.outcome,
        copy.reason,
        copy.retry_at_us,
    ]


def replacement_row(route_id: int, intent_id: int, change: ReplacementChange) -> Row:
    """Return the row of a replace, columns as in ``KEEP_REPLACEMENT``."""
    wanted = change.replacement
    return [
        intent_id,
        wanted.number,
        route_id,
        wanted.client_order_id if change.new_id else None,
        format(wanted.quantity, "f"),
        _digits(wanted.price),
        wanted.valid_until_us,
        wanted.operation_key,
        wanted.copies_before,
        wanted.original_over,
        change.outcome,
        wanted.since_us,
        change.version,
    ]


def _digits(number: Decimal | None) -> str | None:
    return None if number is None else format(number, "f")


def operation_row(key_digest: bytes, operation: Operation) -> Row:
    """Return the row of an operation."""
    return [
        key_digest.hex(),
        operation.operation_key,
        operation.account,
        operation.strategy,
        operation.key,
        operation.intent_id,
        operation.requested_at_us,
        operation.kind,
        _digits(operation.quantity),
        _digits(operation.price),
        None if operation.answer is None else operation.answer.decode(),
    ]


def execution_row(route_id: int, change: Change, execution: Execution) -> Row:
    """Return the row of an execution."""
    return [
        route_id,
        execution.scope,
        execution.execution_id,
        execution.intent_id,
        execution.account,
        execution.strategy,
        execution.instrument,
        execution.side,
        format(execution.quantity, "f"),
        format(execution.price, "f"),
        execution.client_order_id,
        execution.venue_order_id,
        execution.transacted_at_us,
        change.at_us,
        execution.kind,
        execution.refers_to,
        _digits(execution.fee),
        execution.fee_currency,
        execution.stream,
    ]


def incident_row(route_id: int, incident: Incident) -> Row:
    """Return the row of an incident, columns as in ``KEEP_INCIDENT``."""
    return [
        route_id,
        incident.number,
        incident.kind,
        incident.subject,
        int(incident.open),
        incident.opened_at_us,
        incident.version,
        msgspec.json.encode(incident).decode(),
    ]


def control_row(route_id: int, control: Control) -> Row:
    """Return the row of a control state, columns as in ``KEEP_CONTROL``."""
    return [route_id, control.state, control.version, msgspec.json.encode(control).decode()]


def opening_row(route_id: int, opening: OpeningPosition, at_us: int) -> Row:
    """Return the row of an opening position."""
    return [route_id, opening.account, opening.instrument, opening.number, format(opening.quantity, "f"), at_us]


def inbox_row(route_id: int, event: InboxEvent, at_us: int) -> Row:
    """Return the row of a callback."""
    return [route_id, event.source, event.event_id, event.digest.hex(), at_us]


def step_row(route_id: int, record: StepRecord) -> Row:
    """Return the row of a user's step, columns as in ``KEEP_STEP``."""
    result = None if record.result is None else record.result.decode()
    begun = [route_id, record.key, record.step, record.attempt, record.begun_at_us]
    return [*begun, result, record.done_at_us, record.arguments]


def to_step(row: Row) -> StepRecord:
    """Return the step of a row with ``STEP_COLUMNS``."""
    return StepRecord(
        key=row[0],
        step=row[1],
        attempt=row[2],
        begun_at_us=row[3],
        result=None if row[4] is None else row[4].encode(),
        done_at_us=row[5],
        arguments=row[6],
    )


def position_row(position: Position) -> Row:
    """Return the row of a position."""
    return [
        position.account,
        position.strategy,
        position.venue,
        position.instrument,
        format(position.bought, "f"),
        format(position.sold, "f"),
        format(position.bought_value, "f"),
        format(position.sold_value, "f"),
        format(position.cost, "f"),
        json_text([[currency, format(amount, "f")] for currency, amount in position.fees]),
        position.executions,
    ]


def was_replaced(row: Row) -> bool:
    """Tell whether a replace was ever recorded for the order of a row with ``ORDER_COLUMNS``."""
    return bool(row[16])


def to_order(row: Row, copies: tuple[Copy, ...] = (), cancels: tuple[Copy, ...] = ()) -> Order:
    """Return the order of a row with ``ORDER_COLUMNS``, without its replaces: see :func:`with_replaces`."""
    answer = row[15]
    return Order(
        intent_id=row[0],
        key=row[1],
        client_order_id=row[2],
        intent=from_canonical(row[3]),
        recorded_at_us=row[4],
        valid_until_us=row[5],
        status=Status(row[6]),
        version=row[7],
        cum_quantity=Decimal(row[8]),
        venue_cum_quantity=Decimal(row[9]),
        venue_order_id=row[10],
        reason=row[11],
        anomaly=row[12],
        parked=bool(row[13]),
        cancel_wanted=bool(row[14]),
        reversed_quantity=Decimal(row[17]),
        copies=copies,
        cancels=cancels,
        answer=None if answer is None else answer.encode(),
    )


def with_replaces(order: Order, found: list[Row], copies: tuple[Copy, ...]) -> Order:
    """Return an order as its replaces left it. ``found``: all their rows, with ``REPLACEMENT_COLUMNS``; ``copies``: all their
    copies. Both ascend by number.
    """
    in_force: Terms | None = None
    live_id = order.client_order_id
    # Terms that the venue gave by itself may have come while a replace was open: what came last is in force.
    for row in sorted((row for row in found if row[9] == "replaced"), key=lambda row: (row[11], row[1])):
        live_id = live_id if row[2] is None else row[2]
        price = None if row[4] is None else Decimal(row[4])
        in_force = Terms(row[1], live_id, Decimal(row[3]), price, row[10])
    open_one = next((_open(row, live_id, copies) for row in found if row[9] is None), None)
    earlier = copies if open_one is None else copies[: open_one.copies_before]
    return msgspec.structs.replace(
        order,
        in_force=in_force,
        replacement=open_one,
        replacements=found[-1][1] if found else 0,
        replace_copies=copies[-1].number if copies else 0,
        strays=tuple(copy for copy in earlier if copy.under_way),
        given_up=tuple(row[2] for row in found if row[9] == "refused" and row[2] is not None),
    )


def _open(row: Row, live_id: str, copies: tuple[Copy, ...]) -> Replacement:
    _, number, new_id, quantity, price, valid_until_us, operation_key, before, original_over = row[:9]
    return Replacement(
        number=number,
        client_order_id=live_id if new_id is None else new_id,
        quantity=Decimal(quantity),
        price=None if price is None else Decimal(price),
        valid_until_us=valid_until_us,
        operation_key=operation_key,
        copies_before=before,
        copies=tuple(copy for copy in copies if copy.number > before),
        original_over=None if original_over is None else VenueStatus(original_over),
    )


def to_copy(row: Row) -> tuple[int, RequestKind, Copy]:
    """Return (intent id, what is asked for, copy) of a row with ``COPY_COLUMNS``."""
    outcome = None if row[5] is None else CopyOutcome(row[5])
    return row[0], KINDS[row[1]], Copy(row[2], row[3], row[4], outcome, row[6], row[7], row[8])


def to_operation(row: Row) -> Operation:
    """Return the operation of a row with ``OPERATION_COLUMNS``."""
    return Operation(
        account=row[0],
        strategy=row[1],
        key=row[2],
        operation_key=row[3],
        intent_id=row[4],
        requested_at_us=row[5],
        answer=None if row[6] is None else row[6].encode(),
        kind=RequestKind(row[7]),
        quantity=None if row[8] is None else Decimal(row[8]),
        price=None if row[9] is None else Decimal(row[9]),
    )


def to_execution(row: Row) -> tuple[int, Execution]:
    """Return (log place, execution) of a row with ``EXECUTION_COLUMNS``."""
    return row[0], Execution(
        intent_id=row[1],
        scope=row[2],
        execution_id=row[3],
        account=row[4],
        strategy=row[5],
        venue=row[6],
        instrument=row[7],
        side=Side(row[8]),
        quantity=Decimal(row[9]),
        price=Decimal(row[10]),
        client_order_id=row[11],
        venue_order_id=row[12],
        transacted_at_us=row[13],
        kind=Kind(row[14]),
        refers_to=row[15],
        fee=None if row[16] is None else Decimal(row[16]),
        fee_currency=row[17],
        stream=row[18],
    )


def to_position(row: Row) -> Position:
    """Return the position of a row with ``POSITION_COLUMNS``."""
    return Position(
        account=row[0],
        strategy=row[1],
        venue=row[2],
        instrument=row[3],
        bought=Decimal(row[4]),
        sold=Decimal(row[5]),
        bought_value=Decimal(row[6]),
        sold_value=Decimal(row[7]),
        cost=Decimal(row[8]),
        fees=tuple((currency, Decimal(amount)) for currency, amount in msgspec.json.decode(row[9])),
        executions=row[10],
    )


def to_entry(route: str, row: Row) -> JournalEntry:
    """Return the journal entry of a row (sequence, intent_id, kind, payload, at_us, epoch, previous_hash, hash)."""
    return JournalEntry(
        route=route,
        sequence=row[0],
        intent_id=row[1],
        kind=row[2],
        payload=row[3],
        at_us=row[4],
        epoch=row[5],
        previous_hash=row[6],
        hash=row[7],
    )
