"""What tests of the audit share: a real chain, the same chain as rows that can be altered, and how a file is altered."""

import asyncio
import bisect
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.audit import JournalRow, StoredCheckpoint
from onefill.core.audit_executions import ExecutionRow
from onefill.core.events import Source
from onefill.core.messages import VenueStatus
from onefill.core.position import Position
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import RouteInfo
from onefill.service.audit import Audit, verify
from onefill.service.audit_checkpoints import Checkpointer, CheckpointFile
from onefill.service.audit_marks import read_outside
from onefill.service.signing import PublicKeys, Signer, load_public, load_signer, make_keys
from onefill.service.wiring import open_for_reading
from onefill.testing.ledger_kit import Owner

ROUTE = "alpha"
BASE = 1 << 40
"""Where the journal ids of the first route begin."""
AT_US = 1_700_000_000_000_000


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.at_us = AT_US

    def now_us(self) -> int:
        """Return the time."""
        return self.at_us


async def opened(path: Path) -> SqliteLedger:
    """Open a ledger for writing."""
    return await SqliteLedger.open(str(path), seed=bytes(16), holder="test", at_us=AT_US)


async def write(path: Path, entries: int, route: str = ROUTE, start: int = 0, parts: int = 4) -> None:
    """Add exactly so many entries to a route by the real writer: orders recorded, acknowledged and filled in ``parts``."""
    ledger = await opened(path)
    try:
        owner = Owner(ledger, await ledger.acquire(route, "test", AT_US + start))
        left, changes = entries - 1, []
        number = start
        while left > 0:
            number += 1
            recorded = owner.record(f"{route}-{number}")
            life, order = [recorded], recorded.order
            assert order is not None
            shown = ev.Acknowledged(f"V{number}", VenueStatus.NEW, order.cum_quantity, Source.STREAM)
            life.append(owner.move(order, shown))
            for part in range(parts):
                last = life[-1].order
                assert last is not None
                life.append(owner.fill(last, f"{route}-{number}-{part}", venue_order_id=f"V{number}"))
            changes += life[:left]
            left -= len(life[:left])
        for at in range(0, len(changes), 1000):
            for outcome in await owner.commit(*changes[at : at + 1000]):
                assert type(outcome).__name__ == "Committed", outcome
    finally:
        await ledger.close()


def make(path: Path, entries: int, parts: int = 4) -> Path:
    """Make a ledger with one route of so many entries."""
    asyncio.run(write(path, entries, parts=parts))
    return path


def keys(folder: Path, name: str = "key") -> tuple[Signer, PublicKeys, Path]:
    """Make a key pair; return who signs, who verifies, and the public key's file."""
    path = folder / name
    _, public = make_keys(path)
    return load_signer(path), PublicKeys([load_public(public)]), public


def checkpoint(path: Path, signer: Signer, file: Path | None = None) -> int:
    """Make the checkpoints of a closed ledger. Return how many were made."""

    async def work() -> int:
        ledger = await opened(path)
        try:
            outside = None if file is None else CheckpointFile(file)
            return len(await Checkpointer(signer, outside, Clock()).make(ledger))
        finally:
            await ledger.close()

    return asyncio.run(work())


def audit(path: Path, trusted: PublicKeys | None = None, *files: Path) -> Audit:
    """Return what verifying a ledger finds."""

    async def work() -> Audit:
        async with open_for_reading(path) as store:
            return await verify(store, keys=trusted, outside=read_outside(trusted, *files))

    return asyncio.run(work())


def alter(path: Path, *statements: str) -> None:
    """Change a closed ledger behind its back, its triggers and checks removed."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("PRAGMA ignore_check_constraints = 1")
        for statement in statements:
            db.execute(statement)


class Rows:
    """A ledger of one route in memory, as a reader meets it: rows by their sequence, and what the route holds."""

    def __init__(self, rows: Sequence[JournalRow], executions: Sequence[ExecutionRow], info: RouteInfo) -> None:
        self.rows = sorted(rows, key=lambda row: row[0])
        self.sequences = [row[0] for row in self.rows]
        self.log = list(executions)
        self.info = info
        self.stored: list[StoredCheckpoint] = []

    async def routes(self) -> list[RouteInfo]:
        """Return the one route."""
        return [self.info]

    async def journal_rows(self, route: str, after: int, limit: int) -> list[JournalRow]:
        """Return a page, as SQLite would by the entries' ids."""
        begin = bisect.bisect_right(self.sequences, after)
        return self.rows[begin : begin + limit]

    async def execution_rows(self, route: str, after: int, limit: int) -> list[ExecutionRow]:
        """Return a page of the execution log."""
        begin = bisect.bisect_right(self.log, after, key=lambda row: row.place)
        return self.log[begin : begin + limit]

    async def checkpoints(self, route: str, after: int, limit: int) -> list[StoredCheckpoint]:
        """Return the checkpoints."""
        return [stored for stored in self.stored if stored.checkpoint.size > after][:limit]

    async def positions(self, _route: str) -> tuple[list[Position], int]:
        """Return no positions."""
        return [], 0

    async def amended_positions(self, _route: str) -> set[tuple[str, str, str, str]]:
        """Return none."""
        return set()


async def read_rows(path: Path) -> Rows:
    """Read the one route of a ledger."""
    async with open_for_reading(path) as store:
        info = (await store.routes())[0]
        rows = await store.journal_rows(info.name, 0, info.journal_entries)
        log = await store.execution_rows(info.name, 0, info.journal_entries)
        found = Rows(rows, log, info)
        found.stored = await store.checkpoints(info.name, 0, info.journal_entries)
        return found


def with_info(of: Rows, **changes: Any) -> RouteInfo:
    """Return what the route holds, with changes."""
    return msgspec.structs.replace(of.info, **changes)
