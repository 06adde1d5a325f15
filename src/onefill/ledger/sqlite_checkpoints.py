"""What verification reads and keeps: raw pages of journal and execution log, and signed checkpoints.

Rows come as SQLite gives them, with nothing built from them: verifying is bound by how fast they come.
"""

from typing import Any

import apsw

from onefill.core.audit import Checkpoint, JournalRow, StoredCheckpoint
from onefill.core.audit_executions import ExecutionRow
from onefill.core.errors import LedgerError
from onefill.ports.ledger import INTENT_NUMBER_BITS

_JOURNAL = (
    "SELECT id - ?, intent_id, kind, payload, at_us, epoch, previous_hash, hash FROM journal "
    "WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
)
_HASHES = "SELECT hash FROM journal WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
_EXECUTIONS = (
    "SELECT id, intent_id, execution_id, account, strategy, instrument, side, quantity, price, client_order_id, "
    "venue_order_id, transacted_at_us, kind, refers_to, fee, fee_currency, "
    "(SELECT cast(payload AS BLOB) FROM journal WHERE journal.intent_id = execution.intent_id ORDER BY id LIMIT 1) "
    "FROM execution NOT INDEXED WHERE id > ? AND route = ? ORDER BY id LIMIT ?"
)
_COLUMNS = "size, root, head, at_us, key_id, signature, frontier"


def _route_id(db: apsw.Connection, route: str) -> int | None:
    row = db.execute("SELECT id FROM route WHERE name = ?", (route,)).fetchone()
    return None if row is None else int(row[0])


def journal_rows(db: apsw.Connection, route: str, after: int, limit: int) -> list[JournalRow]:
    """Return a page of a route's journal."""
    route_id = _route_id(db, route)
    if route_id is None:
        return []
    base = route_id << INTENT_NUMBER_BITS
    rows: list[Any] = db.execute(_JOURNAL, (base, base + after, base + (1 << INTENT_NUMBER_BITS), limit)).fetchall()
    return rows


def journal_hashes(db: apsw.Connection, route: str, after: int, limit: int) -> list[bytes]:
    """Return the stored hashes of a page of a route's journal."""
    route_id = _route_id(db, route)
    if route_id is None:
        return []
    base = route_id << INTENT_NUMBER_BITS
    found: list[Any] = db.execute(_HASHES, (base + after, base + (1 << INTENT_NUMBER_BITS), limit)).fetchall()
    return [row[0] for row in found]


def execution_rows(db: apsw.Connection, route: str, after: int, limit: int) -> list[ExecutionRow]:
    """Return a page of a route's part of the execution log."""
    route_id = _route_id(db, route)
    if route_id is None:
        return []
    return [ExecutionRow(*row) for row in db.execute(_EXECUTIONS, (after, route_id, limit))]


def save(db: apsw.Connection, stored: StoredCheckpoint) -> None:
    """Keep a checkpoint, as part of the caller's transaction. One of the same size that is kept already stays."""
    checkpoint = stored.checkpoint
    route_id = _route_id(db, checkpoint.route)
    if route_id is None:
        raise LedgerError(f"route {checkpoint.route!r}: is not in this ledger; no checkpoint of it was kept")
    db.execute(
        f"INSERT INTO checkpoint (route, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            *(route_id, checkpoint.size, checkpoint.root, checkpoint.head, checkpoint.at_us, checkpoint.key_id),
            *(checkpoint.signature, stored.frontier),
        ),
    )


def read(db: apsw.Connection, route: str, after: int, limit: int) -> list[StoredCheckpoint]:
    """Return a page of a route's checkpoints, by size."""
    return _read(db, route, "size > ? ORDER BY size LIMIT ?", (after, limit))


def newest(db: apsw.Connection, route: str) -> StoredCheckpoint | None:
    """Return a route's largest checkpoint."""
    found = _read(db, route, "true ORDER BY size DESC LIMIT 1", ())
    return found[0] if found else None


def _read(db: apsw.Connection, route: str, rest: str, bindings: tuple[int, ...]) -> list[StoredCheckpoint]:
    statement = f"SELECT {_COLUMNS} FROM checkpoint WHERE route = (SELECT id FROM route WHERE name = ?) AND {rest}"
    return [
        StoredCheckpoint(
            Checkpoint(
                route=route, size=row[0], root=row[1], head=row[2], at_us=row[3], key_id=row[4], signature=row[5]
            ),
            row[6],
        )
        for row in db.execute(statement, (route, *bindings))
    ]
