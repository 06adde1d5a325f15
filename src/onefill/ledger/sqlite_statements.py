"""The writing statements, each for any number of rows.

A group's rows are bound to one statement with a list of VALUES, so that a group takes few calls into SQLite: each call that
returns has to win the interpreter's lock back from a busy event loop. A statement is prepared once for each number of rows;
only some numbers are used, so that the prepared ones are found again.
"""

import re
from collections.abc import Sequence

import apsw
import msgspec

from onefill.core.errors import InvariantBroken
from onefill.ledger.sqlite_rows import Row, json_text

_FIELD = re.compile(r"\{(x?)(\d+)\}")
_SIZES = (384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Numbers of rows for which statements are prepared. Most groups under load are as large as a group can be."""


class Statement:
    """A statement over rows. ``{n}`` is column n of the row, ``{xn}`` the bytes that column n spells in hex.

    An insert lists its columns' values; an update refers to columns of the row anywhere behind SET.
    """

    def __init__(self, *, head: str, values: str = "", tail: str = "") -> None:
        self._head = head
        self._values = values
        self._tail = tail
        self._made: dict[tuple[int, int], str] = {}

    def run(self, db: apsw.Connection, batch: Sequence[Row]) -> int:
        """Execute over ``batch`` and return how many rows were touched."""
        touched, first, count = 0, 0, len(batch)
        while first < count:
            size = next(size for size in _SIZES if size <= count - first)
            some = batch if size == count else batch[first : first + size]
            width = len(some[0])
            statement = self._made.get((size, width))
            if statement is None:
                statement = self._made[size, width] = self._make(size, width)
            db.execute(statement, some[0] if size == 1 else [value for row in some for value in row])
            touched += db.changes()
            first += size
        return touched

    def _make(self, size: int, width: int) -> str:
        if self._values:
            # Every column of the row is listed once, in its order.
            row = "(" + _FIELD.sub(lambda m: "unhex(?)" if m[1] else "?", self._values) + ")"
            return f"{self._head} VALUES {','.join([row] * size)} {self._tail}"
        row = "(" + ",".join("?" * width) + ")"
        columns = ", ".join(f"c{n}" for n in range(width))
        body = _FIELD.sub(lambda m: f"unhex(v.c{m[2]})" if m[1] else f"v.c{m[2]}", f"{self._head} FROM v {self._tail}")
        return f"WITH v ({columns}) AS (VALUES {','.join([row] * size)}) {body}"


def _insert(table: str, columns: str, values: str, conflict: str = "") -> Statement:
    numbers = [int(match[2]) for match in _FIELD.finditer(values)]
    if numbers != list(range(len(columns.split(",")))):
        raise InvariantBroken(f"the columns of {table} are not those of its rows, in their order")
    return Statement(head=f"INSERT INTO {table} ({columns})", values=values, tail=conflict)


def _listed(template: str) -> str:
    return ", ".join(f"{{{field}}}" for field in template.split())


_STATE = (
    "status = {2}, version = {3}, cum_quantity = {4}, venue_cum_quantity = {5}, venue_order_id = {6}, reason = {7}, "
    "anomaly = {8}, parked = {9}, cancel_wanted = {10}, closed = {11}, answer = {12}, replaced = {13}, reversed_quantity = {14}"
)
INSERT_INTENT = _insert(
    "intent",
    "id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body, "
    "recorded_at_us, valid_until_us, status, reason, closed, answer",
    _listed("0 1 x2 3 4 5 6 7 x8 9 10 11 12 13 14 15"),
    "ON CONFLICT DO NOTHING",
)
UPDATE_INTENT = Statement(head=f"UPDATE intent SET {_STATE}", tail="WHERE intent.id = {0} AND intent.version = {1}")
INSERT_CLAIM = _insert(
    "attempt",
    "intent_id, kind, number, epoch, claimed_at_us, expires_at_us, leaves_by_us, outcome, reason, retry_at_us",
    _listed("0 1 2 3 4 5 6 7 8 9"),
)
SETTLE_CLAIM = Statement(
    head="UPDATE attempt SET outcome = {7}, reason = {8}, retry_at_us = {9}",
    tail="WHERE attempt.intent_id = {0} AND attempt.kind = {1} AND attempt.number = {2}",
)
KEEP_REPLACEMENT = _insert(
    "replacement",
    "intent_id, number, route, client_order_id, quantity, price, valid_until_us, operation_key, copies_before, original_over, "
    "outcome, since_us, version",
    _listed("0 1 2 3 4 5 6 7 8 9 10 11 12"),
    "ON CONFLICT (intent_id, number) DO UPDATE SET quantity = excluded.quantity, original_over = excluded.original_over, "
    "outcome = excluded.outcome, since_us = excluded.since_us, version = excluded.version",
)
INSERT_OPERATION = _insert(
    "operation",
    "key_digest, operation_key, account, strategy, key, intent_id, requested_at_us, kind, quantity, price, answer",
    _listed("x0 1 2 3 4 5 6 7 8 9 10"),
)
ANSWER_OPERATION = Statement(
    head="UPDATE operation SET answer = {10}",
    tail="WHERE operation.key_digest = {x0} AND operation.operation_key = {1} AND operation.answer IS NULL",
)
INSERT_EXECUTION = _insert(
    "execution",
    "route, scope, execution_id, intent_id, account, strategy, instrument, side, quantity, price, client_order_id, "
    "venue_order_id, transacted_at_us, recorded_at_us, kind, refers_to, fee, fee_currency, stream",
    _listed("0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18"),
)
KEEP_INCIDENT = _insert(
    "incident",
    "route, number, kind, subject, open, opened_at_us, version, body",
    _listed("0 1 2 3 4 5 6 7"),
    "ON CONFLICT (route, number) DO UPDATE SET open = excluded.open, version = excluded.version, body = excluded.body "
    "WHERE incident.version = excluded.version - 1",
)
KEEP_CONTROL = _insert(
    "control",
    "route, state, version, body",
    _listed("0 1 2 3"),
    "ON CONFLICT (route) DO UPDATE SET state = excluded.state, version = excluded.version, body = excluded.body "
    "WHERE control.version = excluded.version - 1",
)
INSERT_OPENING = _insert(
    "opening_position", "route, account, instrument, number, quantity, recorded_at_us", _listed("0 1 2 3 4 5")
)
INSERT_INBOX = _insert("inbox", "route, source, event_id, digest, recorded_at_us", _listed("0 1 2 x3 4"))
KEEP_STEP = _insert(
    "step",
    "route, key, step, attempt, begun_at_us, result, done_at_us, arguments",
    _listed("0 1 2 3 4 5 6 7"),
    "ON CONFLICT (route, key, step) DO UPDATE SET attempt = excluded.attempt, begun_at_us = excluded.begun_at_us, "
    "result = excluded.result, done_at_us = excluded.done_at_us, arguments = excluded.arguments WHERE step.result IS NULL "
    "AND step.attempt = excluded.attempt - (excluded.result IS NULL)",
)
KEEP_STOPPED = _insert(
    "subscription_stopped",
    "route, subscriber, intent_id, position, incident",
    _listed("0 1 2 3 4"),
    "ON CONFLICT (route, subscriber, intent_id) DO UPDATE SET position = excluded.position, incident = excluded.incident "
    "WHERE excluded.position >= subscription_stopped.position",
)
INSERT_JOURNAL = _insert(
    "journal", "id, intent_id, kind, payload, at_us, epoch, previous_hash, hash", _listed("0 1 2 3 4 5 6 7")
)
OTHER_WITH_VENUE_ORDER_ID = (
    "SELECT client_order_id FROM intent WHERE route = ? AND venue_order_id = ? AND id != ? LIMIT 1"
)
ID_IN_USE = (
    "SELECT 1 FROM intent WHERE route = ?1 AND client_order_id = ?2 UNION ALL SELECT 1 FROM replacement "
    "WHERE route = ?1 AND client_order_id = ?2 AND (intent_id, number) != (?3, ?4)"
)
START_SUBSCRIPTION = "INSERT INTO subscription (route, subscriber, position) VALUES (?, ?, 0) ON CONFLICT DO NOTHING"
MOVE_SUBSCRIPTION = "UPDATE subscription SET position = ? WHERE route = ? AND subscriber = ? AND position = ?"
FREE_STOPPED = "DELETE FROM subscription_stopped WHERE route = ? AND subscriber = ? AND intent_id = ?"
MOVE_CURSOR = "UPDATE cursor SET position = ? WHERE route = ? AND stream = ? AND position = ?"
START_CURSOR = "INSERT INTO cursor (route, stream, position) VALUES (?, ?, 0) ON CONFLICT DO NOTHING"
MOVE_ROUTE = "UPDATE route SET last_number = max(last_number, ?), last_sequence = ?, head = ? WHERE id = ?"
_NOT_INSERTED = (
    "SELECT json_group_array(value ->> 0) FROM json_each(?) WHERE NOT EXISTS "
    "(SELECT 1 FROM intent WHERE intent.id = value ->> 0 AND intent.key_digest = unhex(value ->> 2))"
)


def not_inserted(db: apsw.Connection, batch: Sequence[Row]) -> list[int]:
    """Return the ids of those new intents that met a taken key or client order id."""
    row = db.execute(_NOT_INSERTED, (json_text(batch),)).fetchone()
    return msgspec.json.decode(row[0] if row else "[]", type=list[int])
