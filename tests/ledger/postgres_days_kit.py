"""A PostgreSQL ledger whose owner says what day it is."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from onefill.core.audit import DAY_US
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_schema import migrate
from onefill.ledger.postgres_settings import place_of
from onefill.testing.ledger_kit import Owner

SEED = bytes(range(16))
DAY = 20_000
"""The first day of these tests: 2024-10-04."""
ROUTE = "alpha"


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Give a connection of the database's owner, to look at the tables themselves."""
    connection = await asyncpg.connect(place_of(url).url, server_settings={"search_path": "onefill"})
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def made(url: str, *days: int) -> AsyncIterator[PostgresLedger]:
    """Make a ledger with partitions for these days, and open it for writing."""
    await migrate(place_of(url), seed=SEED, at_us=1)
    async with connected(url) as db:
        for day in days:
            assert await db.fetchval("SELECT journal_add_day($1)", day)
    async with opened(url) as ledger:
        yield ledger


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresLedger]:
    """Open a ledger for writing."""
    ledger = await PostgresLedger.open(url, holder="test")
    try:
        yield ledger
    finally:
        await ledger.close()


async def owner_of(ledger: PostgresLedger, day: int, route: str = ROUTE) -> Owner:
    """Take a route on the morning of ``day``."""
    owner = Owner(ledger, await ledger.acquire(route, "test", day * DAY_US))
    owner.at_us = day * DAY_US
    return owner


async def partitions(url: str) -> dict[str, int]:
    """Return how many entries each of the journal's partitions holds, of those that hold any."""
    async with connected(url) as db:
        found = await db.fetch("SELECT tableoid::regclass::text AS name, count(*) FROM journal GROUP BY 1 ORDER BY 1")
        return {row[0]: row[1] for row in found}
