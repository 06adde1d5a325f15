"""Who may open a PostgreSQL ledger, and what nobody may change in it (promise APPEND-ONLY)."""

import asyncio
import re
import sys

import asyncpg
import pytest
from postgres_kit import SEED, aside, opened, owner_of

from onefill.core.errors import LedgerError, LedgerTooNew, NotALedger, SettingsError
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_roles import WRITTEN
from onefill.ledger.postgres_schema import VERSION, migrate
from onefill.ledger.postgres_settings import place_of
from onefill.ports.ledger import Committed
from onefill.testing.ledger_kit import kinds

_WORD = "a-secret-word"
_CHANGES = (
    "UPDATE journal SET payload = '[]'",
    "DELETE FROM journal",
    "TRUNCATE journal",
    "UPDATE execution SET quantity = '1'",
    "DELETE FROM execution",
    "TRUNCATE execution",
    "UPDATE checkpoint SET at_us = 1",
    "DELETE FROM incident",
)
"""What a log's owner would have to do first is visible: switching a trigger off."""
_NOT_A_GATEWAYS = (
    *_CHANGES,
    "UPDATE intent SET body = '{}'",
    "UPDATE intent SET key = 'k2', key_digest = key_digest",
    "DELETE FROM intent",
    "DELETE FROM attempt",
    "UPDATE attempt SET claimed_at_us = 0",
    "UPDATE ledger SET seed = seed",
    "DELETE FROM route",
    "DROP TABLE journal",
    "ALTER TABLE journal DISABLE TRIGGER ALL",
    "CREATE TABLE mine (x int)",
)


def _as(url: str, role: str, word: str = _WORD) -> str:
    return re.sub("//.*@", f"//{role}:{word}@", url)


async def _with_an_order(url: str) -> None:
    async with opened(url) as ledger:
        owner = await owner_of(ledger)
        order = await owner.put(owner.record("k1"))
        assert kinds(await owner.commit(owner.fill(order, "e1"))) == [Committed]


def test_the_logs_cannot_be_changed_even_by_their_owner(postgres_url: str) -> None:
    """APPEND-ONLY: the server refuses to change, delete or empty entries and executions, also in a single partition."""

    async def run() -> None:
        await _with_an_order(postgres_url)
        async with aside(postgres_url) as session:
            parts = await session.fetch(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'journal'::regclass"
            )
            direct = [f"TRUNCATE {one['name']}" for one in parts]
            filled = [one["name"] for one in parts if await session.fetchval(f"SELECT count(*) FROM {one['name']}")]
            assert filled
            direct += [f"UPDATE {name} SET payload = '[]'" for name in filled]
            direct += [f"DELETE FROM {name}" for name in filled]
            await session.execute(
                "INSERT INTO checkpoint SELECT 1, 1, head, head, '', 1, 'k', decode(repeat('00', 64), 'hex') FROM route"
            )
            await session.execute("INSERT INTO incident VALUES (1, 1, 'k', 's', 1, 1, 1, '{}')")
            for statement in (*_CHANGES, *direct):
                with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                    await session.execute(statement)

    asyncio.run(run())


def test_a_gateways_role_adds_and_moves_and_changes_nothing_else(postgres_url: str) -> None:
    """APPEND-ONLY: with `onefill migrate --grant` a gateway works under a role that may change no word of the record."""

    async def run() -> None:
        async with aside(postgres_url) as session:
            await session.execute(f"CREATE ROLE narrow LOGIN PASSWORD '{_WORD}'")
        await migrate(place_of(postgres_url), seed=SEED, at_us=1, role="narrow")
        url = _as(postgres_url, "narrow")
        await _with_an_order(url)
        async with aside(url) as session:
            for statement in _NOT_A_GATEWAYS:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await session.execute(statement)
        async with aside(postgres_url) as session:
            await session.execute("DROP OWNED BY narrow; DROP ROLE narrow")

    asyncio.run(run())


def test_every_table_is_either_written_or_not(postgres_url: str) -> None:
    """A table that is added to the schema is either a gateway's to write, or one of the few that are not."""

    async def run() -> None:
        await migrate(place_of(postgres_url), seed=SEED, at_us=1)
        async with aside(postgres_url) as session:
            found = await session.fetch(
                "SELECT relname FROM pg_class WHERE relnamespace = 'onefill'::regnamespace AND relkind IN ('r', 'p') "
                "AND NOT relispartition"
            )
        assert {one["relname"] for one in found} == {*WRITTEN, "ledger", "migration", "archive"}

    asyncio.run(run())


def test_a_database_without_a_ledger_is_told_apart(postgres_url: str) -> None:
    """A gateway makes no schema by itself, and leaves a newer one alone; migrating twice changes nothing."""

    async def run() -> None:
        place = place_of(postgres_url)
        for opening in (PostgresLedger.open(postgres_url, holder="test"), PostgresLedger.open_read_only(postgres_url)):
            with pytest.raises(NotALedger, match="onefill migrate"):
                await opening
        assert await migrate(place, seed=SEED, at_us=1, check=True) == (0, 0)
        assert await migrate(place, seed=SEED, at_us=1) == (0, VERSION)
        assert await migrate(place, seed=bytes(16), at_us=2) == (VERSION, VERSION)
        async with aside(postgres_url) as session:
            assert await session.fetchval("SELECT seed FROM ledger") == SEED
            await session.execute("INSERT INTO migration (version) VALUES ($1)", VERSION + 1)
        for trying in (PostgresLedger.open(postgres_url, holder="test"), migrate(place, seed=SEED, at_us=1)):
            with pytest.raises(LedgerTooNew, match="newer Onefill"):
                await trying

    asyncio.run(run())


def test_two_who_migrate_at_once(postgres_url: str) -> None:
    """One of them makes the ledger, the others find it made."""

    async def run() -> None:
        place = place_of(postgres_url)
        found = await asyncio.gather(*(migrate(place, seed=SEED, at_us=1) for _ in range(4)))
        assert sorted(found) == [(0, VERSION), *[(VERSION, VERSION)] * 3]
        async with opened(postgres_url) as ledger:
            assert await ledger.routes() == []

    asyncio.run(run())


def test_no_error_shows_a_password(postgres_url: str) -> None:
    """Wrong passwords, hosts and options are told without the secret in the URL."""
    wrong = _as(postgres_url, "onefill")
    nobody = re.sub(r":\d+/", ":1/", wrong)

    async def run(url: str) -> str:
        with pytest.raises((LedgerError, SettingsError)) as caught:
            await PostgresLedger.open(url, holder="test")
        return str(caught.value)

    texts = [
        asyncio.run(run(url))
        for url in (
            wrong,
            nobody,
            f"{wrong}?readers=0",
            f"{wrong}?readers=x",
            f"{wrong}?schema=A-B",
            f"{wrong}?password={_WORD}",
        )
    ]
    for text in texts:
        assert _WORD not in text
    assert "28P01" in texts[0]
    assert "cannot be reached" in texts[1]
    assert "readers" in texts[2]
    assert "schema" in texts[4]


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asyncpg the error says which package to install."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(LedgerError, match=r"onefill\[postgresql\]"):
        asyncio.run(PostgresLedger.open_read_only("postgresql://localhost/orders"))
