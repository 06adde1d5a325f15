"""Ledgers that are measured on PostgreSQL: each in a schema of its own in the database that was named, dropped at the end."""

import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from onefill.core.audit import DAY_US
from onefill.core.errors import InvariantBroken
from onefill.gameday.bench_places import GROUP, ROUTE, Place
from onefill.gameday.old_ledger import CLAIM_COLUMNS, INTENT_COLUMNS, JOURNAL_COLUMNS, Table, old_rows, submit_rows
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_connect import connect, shut, troubles
from onefill.ledger.postgres_schema import migrate
from onefill.ledger.postgres_settings import place_of
from onefill.ports.ledger import Ledger

_CHUNK = 20_000
"""Rows in one COPY."""
_TYPES = {
    "intent": "bigint bigint bytea text text text text integer bytea text bigint bigint text",
    "attempt": "bigint smallint bigint bigint bigint bigint",
    "journal": "bigint bigint text text bigint bigint bytea bytea",
}
_DAYS = {"intent": ("recorded_at_us", ("first_day", "last_day")), "journal": ("at_us", ("day",))}
"""The time that a table's row tells, and the columns that hold its day."""
_COLUMNS = {"intent": INTENT_COLUMNS, "attempt": CLAIM_COLUMNS, "journal": JOURNAL_COLUMNS}


def in_schema(url: str, schema: str) -> str:
    """Return the URL of a ledger in another schema of the same database."""
    parts = urlsplit(url)
    options = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "schema"]
    return urlunsplit(parts._replace(query=urlencode([*options, ("schema", schema)])))


class PostgresPlace:
    """A schema."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = in_schema(url, schema)
        self._schema = schema

    @property
    def name(self) -> str:
        """The schema's name."""
        return self._schema

    async def open(self) -> Ledger:
        """See :class:`onefill.gameday.bench_places.Place`."""
        return await PostgresLedger.open(self._url, holder="bench")

    async def open_read_only(self) -> Ledger:
        """See :class:`onefill.gameday.bench_places.Place`."""
        return await PostgresLedger.open_read_only(self._url, holder="bench")

    async def make(self) -> None:
        """Make the ledger."""
        await migrate(place_of(self._url), seed=os.urandom(16), at_us=time.time_ns() // 1000)

    async def drop(self) -> None:
        """Drop it with everything in it."""
        async with self.connected() as connection:
            await connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")

    async def write(self, tables: Sequence[Table]) -> None:
        """See :class:`onefill.gameday.bench_places.Place`."""
        async with self.connected() as connection:
            for table in tables:
                columns, made = _with_days(table)
                for rows in _chunks(made):
                    await connection.copy_records_to_table(
                        table.name, schema_name=self._schema, records=rows, columns=columns
                    )
            await connection.execute(
                "UPDATE route SET last_execution = found.last, folded_through = CASE WHEN found.folded THEN found.last "
                "ELSE folded_through END FROM (SELECT route, max(id) AS last, EXISTS (SELECT 1 FROM position) AS folded "
                "FROM execution GROUP BY route) AS found WHERE found.route = route.id"
            )
            await connection.execute(
                "INSERT INTO journal_day (route, day, first_sequence) SELECT id >> 40, day, min(id & 1099511627775) "
                "FROM journal GROUP BY 1, 2 ON CONFLICT DO NOTHING"
            )
            await connection.execute("VACUUM ANALYZE")
            with contextlib.suppress(
                *troubles()
            ):  # only some roles may; without it, it comes while something is measured
                await connection.execute("CHECKPOINT")

    def execution_place(self, route_id: int, number: int) -> int:
        """See :class:`onefill.gameday.bench_places.Place`."""
        return number if route_id else 0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """Connect to the server, without a limit on how long a statement may take."""
        connection = await connect(place_of(self._url), "bench", writer=True)
        try:
            await connection.execute("SET statement_timeout = 0")
            yield connection
        finally:
            await shut(connection)


def _with_days(table: Table) -> tuple[list[str], Iterable[tuple[object, ...]]]:
    """Return a table's columns and rows with the days that PostgreSQL keeps beside the times."""
    columns = [column.strip() for column in table.columns.split(",")]
    if table.name not in _DAYS:
        return columns, table.rows
    time_column, days = _DAYS[table.name]
    place = columns.index(time_column)

    def rows() -> Iterator[tuple[object, ...]]:
        for row in table.rows:
            at_us = row[place]
            if not isinstance(at_us, int):
                raise InvariantBroken(f"{table.name}.{time_column} is no time: {at_us!r}")
            yield (*row, *([at_us // DAY_US] * len(days)))

    return [*columns, *days], rows()


def _chunks(rows: Iterable[tuple[object, ...]]) -> Iterator[list[tuple[object, ...]]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk


class PostgresPlaces:
    """Schemas in one database; its server, and the way to it, are what is measured."""

    def __init__(self, url: str) -> None:
        place_of(url)  # what is wrong with it is told before anything is made
        self._url = url
        self._made: list[PostgresPlace] = []
        self._prefix = f"onefill_bench_{os.urandom(4).hex()}"

    async def fresh(self, name: str) -> Place:
        """See :class:`onefill.gameday.bench_places.Places`."""
        return await self._fresh(name)

    async def _fresh(self, name: str) -> PostgresPlace:
        schema = f"{self._prefix}_{len(self._made) + 1}_{name.replace('-', '_')}"
        place = PostgresPlace(self._url, schema)
        self._made.append(place)
        await place.make()
        return place

    def find(self, name: str) -> Place:
        """See :class:`onefill.gameday.bench_places.Places`."""
        return PostgresPlace(self._url, name)

    async def drop(self) -> None:
        """Drop every ledger that was made."""
        for place in self._made:
            await place.drop()

    async def floor_commit(self, count: int) -> list[float]:
        """Commit the rows of one submit after the other, each by one prepared statement in one round trip."""
        place = await self._fresh("floor")
        await place.write(old_rows(ROUTE, 0))
        took, rows = [], submit_rows(0)
        async with place.connected() as connection:
            statement = await connection.prepare(_one_submit())
            for _ in range(count):
                given = [value for row in next(rows) for value in row]
                began = time.perf_counter_ns()
                await statement.fetch(*given)
                took.append((time.perf_counter_ns() - began) / 1000)
        return took

    async def floor_group(self, count: int) -> float:
        """Commit the rows of :data:`GROUP` submits at a time, each group by one prepared statement."""
        place = await self._fresh("floor-group")
        await place.write(old_rows(ROUTE, 0))
        rows = submit_rows(0)
        groups = []
        for _ in range(count // GROUP):
            submits = [next(rows) for _ in range(GROUP)]
            columns = [
                list(column) for number in range(3) for column in zip(*(one[number] for one in submits), strict=True)
            ]
            groups.append([*columns, *submits[-1][-1]])
        async with place.connected() as connection:
            statement = await connection.prepare(_many_submits())
            began = time.perf_counter_ns()
            for group in groups:
                await statement.fetch(*group)
            seconds = (time.perf_counter_ns() - began) / 1e9
        return len(groups) * GROUP / seconds


_ROUTE_SQL = "UPDATE route SET last_number = ${}, last_sequence = ${}, head = ${} WHERE id = ${}"
_Rows = Callable[[Sequence[str], int], str]
"""Makes the source of rows from the columns' types and the number of the first parameter."""


def _one_submit() -> str:
    """Return the statement that writes one submit's rows."""

    def values(types: Sequence[str], first: int) -> str:
        return f"SELECT {', '.join(f'${first + n}::{kind}' for n, kind in enumerate(types))}"

    return _statement(values)


def _many_submits() -> str:
    """Return the statement that writes the rows of many, given as arrays, one per column."""

    def arrays(types: Sequence[str], first: int) -> str:
        given = ", ".join(f"${first + n}::{kind}[]" for n, kind in enumerate(types))
        return f"SELECT * FROM unnest({given})"  # noqa: S608 - numbers and types from here

    return _statement(arrays)


def _statement(rows: _Rows) -> str:
    """Return one statement that writes everything. The rows are of today, so that they go where a gateway's go."""
    parts, first, today = [], 1, time.time_ns() // 1000 // DAY_US
    for table, columns in _COLUMNS.items():
        types = _TYPES[table].split()
        days = _DAYS.get(table, ("", ()))[1]
        into, values = ", ".join([columns, *days]), ", ".join(["v.*", *([str(today)] * len(days))])
        parts.append(f"w_{table} AS (INSERT INTO {table} ({into}) SELECT {values} FROM ({rows(types, first)}) AS v)")  # noqa: S608
        first += len(types)
    return f"WITH {', '.join(parts)} {_ROUTE_SQL.format(first, first + 1, first + 2, first + 3)}"
