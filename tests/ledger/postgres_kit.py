"""What the tests of the PostgreSQL ledger share: a database with a ledger, opened as a gateway does, and ways to disturb it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg

from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_schema import migrate
from onefill.ledger.postgres_settings import place_of
from onefill.ports.ledger import Ledger
from onefill.testing.ledger_kit import AT_US, ROUTE, Owner

SEED = bytes(range(16))
WAIT_S = 20.0


def with_options(url: str, **options: object) -> str:
    """Return a URL with more options of Onefill's own."""
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


@contextlib.asynccontextmanager
async def opened(url: str, holder: str = "test", **given: Any) -> AsyncIterator[PostgresLedger]:
    """Open a ledger, made if there is none."""
    if await migrate(place_of(url), seed=SEED, at_us=1, check=True) == (0, 0):
        await migrate(place_of(url), seed=SEED, at_us=1)
    ledger = await PostgresLedger.open(url, holder=holder, **given)
    try:
        yield ledger
    finally:
        await ledger.close()


async def owner_of(ledger: Ledger, route: str = ROUTE, holder: str = "test") -> Owner:
    """Take a route."""
    return Owner(ledger, await ledger.acquire(route, holder, AT_US))


@contextlib.asynccontextmanager
async def aside(url: str) -> AsyncIterator[Any]:
    """Give a plain session of the same database, for what a ledger does not do."""
    connection = await asyncpg.connect(
        place_of(url).url, server_settings={"search_path": place_of(url).settings.schema}
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def cut(url: str, holder: str = "test", *, noticed_by: PostgresLedger | None = None) -> None:
    """Have the server end every session of a holder, and wait until they are gone (and a ledger has heard of it)."""
    async with aside(url) as session:
        await session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", f"onefill {holder}"
        )
        await until(
            lambda: session.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", f"onefill {holder}"
            ),
            0,
        )
    if noticed_by is not None:
        session = noticed_by._session
        async with asyncio.timeout(WAIT_S):
            while session is not None and session.connected:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)


async def until(ask: Callable[[], Coroutine[Any, Any, object]], wanted: object, limit_s: float = WAIT_S) -> None:
    """Wait until an answer is what is wanted."""
    async with asyncio.timeout(limit_s):
        while await ask() != wanted:  # noqa: ASYNC110 - the server's state has no event to wait for
            await asyncio.sleep(0.01)
