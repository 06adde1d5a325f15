"""Where ledgers are that are measured: SQLite files in a folder. :mod:`onefill.gameday.bench_postgres` has the other kind."""

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from onefill.gameday.old_ledger import (
    CLAIM_COLUMNS,
    INTENT_COLUMNS,
    JOURNAL_COLUMNS,
    Table,
    old_rows,
    submit_rows,
)
from onefill.ledger.sqlite import SqliteLedger
from onefill.ledger.sqlite_file import LedgerFile, open_file
from onefill.ports.ledger import Ledger

GROUP = 256
"""Submits in one commit, where groups are measured."""
ROUTE = "bench"


class Place(Protocol):
    """Where one ledger is."""

    @property
    def name(self) -> str:
        """What finds it again from another process."""
        ...

    async def open(self) -> Ledger:
        """Open it for writing, making it if it is not there."""
        ...

    async def open_read_only(self) -> Ledger:
        """Open it for reading."""
        ...

    async def write(self, tables: Sequence[Table]) -> None:
        """Write rows straight into it, past every rule but the schema's. Nobody has it open."""
        ...

    def execution_place(self, route_id: int, number: int) -> int:
        """Return the place in the log of a route's ``number``-th execution, if it is the ledger's only route."""
        ...


class Places(Protocol):
    """Makes ledgers to be measured, and knows what the bare database does with the same rows."""

    async def fresh(self, name: str) -> Place:
        """Return the place of a new ledger."""
        ...

    def find(self, name: str) -> Place:
        """Return the place of a ledger made before, by its name."""
        ...

    async def floor_commit(self, count: int) -> list[float]:
        """Return the µs that a bare loop takes to commit the rows of one submit, one commit each."""
        ...

    async def floor_group(self, count: int) -> float:
        """Return how many submits' rows a bare loop commits per second in groups of :data:`GROUP`."""
        ...


def without_warm_up(took: list[float]) -> list[float]:
    """Return the measurements without the first tenth."""
    return took[len(took) // 10 :]


class SqlitePlace:
    """A ledger file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    async def open(self) -> Ledger:
        """See :class:`Place`."""
        return await SqliteLedger.open(
            str(self._path), seed=os.urandom(16), holder="bench", at_us=time.time_ns() // 1000
        )

    async def open_read_only(self) -> Ledger:
        """See :class:`Place`."""
        return await SqliteLedger.open_read_only(str(self._path))

    async def write(self, tables: Sequence[Table]) -> None:
        """See :class:`Place`."""
        file = _made(self._path)
        file.connection.execute("BEGIN IMMEDIATE")
        for table in tables:
            marks = ", ".join("?" * len(table.columns.split(",")))
            file.connection.executemany(f"INSERT INTO {table.name} ({table.columns}) VALUES ({marks})", table.rows)  # noqa: S608
        file.connection.execute(
            "UPDATE route SET folded_through = coalesce((SELECT max(id) FROM execution WHERE route = route.id), 0) "
            "WHERE EXISTS (SELECT 1 FROM position)"
        )
        file.connection.execute("COMMIT")
        file.close()

    def execution_place(self, route_id: int, number: int) -> int:
        """See :class:`Place`."""
        return number if route_id else 0


def _made(path: Path) -> LedgerFile:
    return open_file(str(path), seed=bytes(16), holder="bench", at_us=0)


class SqlitePlaces:
    """Ledger files in a folder; its file system is what is measured."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count(1)

    @property
    def folder(self) -> Path:
        """Where the files are made."""
        return self._folder

    async def fresh(self, name: str) -> Place:
        """See :class:`Places`."""
        return SqlitePlace(self._folder / f"{name}-{next(self._count)}.db")

    def find(self, name: str) -> Place:
        """See :class:`Places`."""
        return SqlitePlace(Path(name))

    async def _with_route(self, name: str) -> LedgerFile:
        place = await self.fresh(name)
        await place.write(old_rows(ROUTE, 0))
        return _made(Path(place.name))

    async def floor_commit(self, count: int) -> list[float]:
        """See :class:`Places`."""
        floor = await self.floor()
        took = [floor.commit() for _ in range(count)]
        floor.close()
        return took

    async def floor(self) -> "Floor":
        """Return what commits the rows of one submit at a time, for measurements that take turns with others."""
        return Floor(await self._with_route("floor"))

    async def floor_group(self, count: int) -> float:
        """See :class:`Places`."""
        file = await self._with_route("floor-group")
        db, rows = file.connection, submit_rows(0)
        groups = [[next(rows) for _ in range(GROUP)] for _ in range(count // GROUP)]
        began = time.perf_counter_ns()
        for group in groups:
            db.execute("BEGIN IMMEDIATE")
            for number, statement in enumerate(_STATEMENTS[:-1]):
                db.executemany(statement, (one[number] for one in group))
            db.execute(_STATEMENTS[-1], group[-1][-1])  # the route's row once per group
            db.execute("COMMIT")
        seconds = (time.perf_counter_ns() - began) / 1e9
        file.close()
        return len(groups) * GROUP / seconds


class Floor:
    """A ledger file that is written without Onefill: the bare limit of what a durable commit can be."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._rows = submit_rows(0)

    def commit(self) -> float:
        """Commit the rows of one submit, and return the µs that it took."""
        one, db = next(self._rows), self._file.connection
        began = time.perf_counter_ns()
        db.execute("BEGIN IMMEDIATE")
        for statement, row in zip(_STATEMENTS, one, strict=True):
            db.execute(statement, row)
        db.execute("COMMIT")
        return (time.perf_counter_ns() - began) / 1000

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _insert(table: str, columns: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"  # noqa: S608


_STATEMENTS = (
    _insert("intent", INTENT_COLUMNS),
    _insert("attempt", CLAIM_COLUMNS),
    _insert("journal", JOURNAL_COLUMNS),
    "UPDATE route SET last_number = ?, last_sequence = ?, head = ? WHERE id = ?",
)
