"""The writing statements, each for one row and for many.

Many rows travel as one JSON text, so that a group takes one call into SQLite: each call that returns has to win the
interpreter's lock back from a busy event loop. A lone row is bound directly, which is quicker when nobody else waits.
"""

import re
from collections.abc import Sequence

import apsw
import msgspec

from onefill.ledger.sqlite_rows import Row, json_text

_FIELD = re.compile(r"\{(x?)(\d+)\}")


class Statement:
    """A statement over rows. ``{n}`` is column n of the row, ``{xn}`` the bytes that column n spells in hex.

    ``{rows}`` stands where the rows come from; what follows it must begin with a WHERE.
    """

    def __init__(self, template: str) -> None:
        self._one = _FIELD.sub(lambda m: f"unhex(?{int(m[2]) + 1})" if m[1] else f"?{int(m[2]) + 1}", template)
        self._one = self._one.replace("{rows}", "")
        self._many = _FIELD.sub(lambda m: f"unhex(v.value ->> {m[2]})" if m[1] else f"v.value ->> {m[2]}", template)
        self._many = self._many.replace("{rows}", "FROM json_each(?) AS v")

    def run(self, db: apsw.Connection, batch: Sequence[Row]) -> int:
        """Execute over ``batch`` and return how many rows were touched."""
        if not batch:
            return 0
        if len(batch) == 1:
            db.execute(self._one, batch[0])
        else:
            db.execute(self._many, (json_text(batch),))
        return db.changes()


def _insert(table: str, columns: str, values: str, conflict: str = "") -> Statement:
    return Statement(f"INSERT INTO {table} ({columns}) SELECT {values} {{rows}} WHERE true {conflict}")


def _listed(template: str) -> str:
    return ", ".join(f"{{{field}}}" for field in template.split())


_STATE = (
    "status = {2}, version = {3}, cum_quantity = {4}, venue_cum_quantity = {5}, venue_order_id = {6}, reason = {7}, "
    "anomaly = {8}, parked = {9}, cancel_wanted = {10}, closed = {11}, answer = {12}"
)
INSERT_INTENT = _insert(
    "intent",
    "id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body, "
    "recorded_at_us, valid_until_us, status",
    _listed("0 1 x2 3 4 5 6 7 x8 9 10 11 12"),
    "ON CONFLICT DO NOTHING",
)
UPDATE_INTENT = Statement(f"UPDATE intent SET {_STATE} {{rows}} WHERE intent.id = {{0}} AND intent.version = {{1}}")
INSERT_CLAIM = _insert(
    "attempt",
    "intent_id, kind, number, epoch, claimed_at_us, expires_at_us, leaves_by_us, outcome, reason, retry_at_us",
    _listed("0 1 2 3 4 5 6 7 8 9"),
)
SETTLE_CLAIM = Statement(
    "UPDATE attempt SET outcome = {7}, reason = {8}, retry_at_us = {9} {rows} "
    "WHERE attempt.intent_id = {0} AND attempt.kind = {1} AND attempt.number = {2}"
)
KEEP_REPLACEMENT = _insert(
    "replacement",
    "intent_id, number, route, client_order_id, quantity, price, valid_until_us, operation_key, copies_before, original_over, "
    "outcome",
    _listed("0 1 2 3 4 5 6 7 8 9 10"),
    "ON CONFLICT (intent_id, number) DO UPDATE SET quantity = excluded.quantity, original_over = excluded.original_over, "
    "outcome = excluded.outcome",
)
INSERT_OPERATION = _insert(
    "operation",
    "key_digest, operation_key, account, strategy, key, intent_id, requested_at_us, kind, quantity, price, answer",
    _listed("x0 1 2 3 4 5 6 7 8 9 10"),
)
ANSWER_OPERATION = Statement(
    "UPDATE operation SET answer = {10} {rows} "
    "WHERE operation.key_digest = {x0} AND operation.operation_key = {1} AND operation.answer IS NULL"
)
INSERT_EXECUTION = _insert(
    "execution",
    "route, scope, execution_id, intent_id, account, strategy, instrument, side, quantity, price, client_order_id, "
    "venue_order_id, transacted_at_us, recorded_at_us",
    _listed("0 1 2 3 4 5 6 7 8 9 10 11 12 13"),
)
INSERT_JOURNAL = _insert(
    "journal", "id, intent_id, kind, payload, at_us, epoch, previous_hash, hash", _listed("0 1 2 3 4 5 x6 x7")
)
OTHER_WITH_VENUE_ORDER_ID = (
    "SELECT client_order_id FROM intent WHERE route = ? AND venue_order_id = ? AND id != ? LIMIT 1"
)
ID_IN_USE = (
    "SELECT 1 FROM intent WHERE route = ?1 AND client_order_id = ?2 UNION ALL SELECT 1 FROM replacement "
    "WHERE route = ?1 AND client_order_id = ?2 AND (intent_id, number) != (?3, ?4)"
)
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
