"""Between the core's values and rows. Rows travel to and from SQLite as JSON text, a whole group in one statement.

One statement for a group matters more than it seems: SQLite is called without the interpreter's lock, and each call that
returns has to win it back from a busy event loop. Two calls per order would cost more than the disk does.
"""

from decimal import Decimal
from typing import Any

import msgspec

from onefill.core.audit import JournalEntry
from onefill.core.events import CopyOutcome
from onefill.core.intent import from_canonical
from onefill.core.lifecycle import Status
from onefill.core.order import Copy, Order
from onefill.core.position import Execution, Position
from onefill.core.values import Side
from onefill.ports.ledger import Change, Claim, NewIntent, Operation

Row = list[Any]

ORDER_COLUMNS = (
    "id, key, client_order_id, body, recorded_at_us, valid_until_us, status, version, cum_quantity, venue_cum_quantity, "
    "venue_order_id, reason, anomaly, parked, cancel_wanted, answer"
)
COPY_COLUMNS = "intent_id, cancels, number, claimed_at_us, expires_at_us, outcome, reason, retry_at_us"
OPERATION_COLUMNS = "account, strategy, key, operation_key, intent_id, requested_at_us, answer"
EXECUTION_COLUMNS = (
    "execution.id, intent_id, scope, execution_id, account, strategy, route.name, instrument, side, quantity, price, "
    "client_order_id, venue_order_id, transacted_at_us"
)
POSITION_COLUMNS = "account, strategy, venue, instrument, bought, sold, bought_value, sold_value, executions"


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
    ]


def is_fresh(order: Order) -> bool:
    """Tell whether an order is as a new row shows it: everything that is not in ``intent_row`` at its default."""
    return (
        order.version == 1
        and not order.cum_quantity
        and not order.venue_cum_quantity
        and order.venue_order_id is None
        and order.reason is None
        and order.anomaly is None
        and order.answer is None
        and not (order.parked or order.cancel_wanted or order.closed)
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
    ]


def claim_row(intent_id: int, epoch: int, claim: Claim) -> Row:
    """Return the row of a claimed or settled copy."""
    copy = claim.copy
    return [
        intent_id,
        int(claim.cancels),
        copy.number,
        epoch,
        copy.claimed_at_us,
        copy.expires_at_us,
        copy.outcome,
        copy.reason,
        copy.retry_at_us,
    ]


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
    ]


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
        position.executions,
    ]


def to_order(row: Row, copies: tuple[Copy, ...] = (), cancels: tuple[Copy, ...] = ()) -> Order:
    """Return the order of a row with ``ORDER_COLUMNS``."""
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
        copies=copies,
        cancels=cancels,
        answer=None if answer is None else answer.encode(),
    )


def to_copy(row: Row) -> tuple[int, bool, Copy]:
    """Return (intent id, whether it is a cancel's, copy) of a row with ``COPY_COLUMNS``."""
    outcome = None if row[5] is None else CopyOutcome(row[5])
    return row[0], bool(row[1]), Copy(row[2], row[3], row[4], outcome, row[6], row[7])


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
        executions=row[8],
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
