"""The PostgreSQL ledger passes the suite that every ledger must pass, on the oldest and the newest server it is made for."""

import asyncio
import re
from collections.abc import Iterator

import asyncpg
import pytest

from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_schema import migrate
from onefill.ledger.postgres_settings import place_of
from onefill.ports.ledger import Lease, Ledger
from onefill.testing.ledger import LedgerConformance
from onefill.testing.postgres import PostgresServer

SEED = bytes(range(16))
# The suite says what time it is. The server believes it: its clock is one function of the schema.
_CLOCK = (
    "CREATE OR REPLACE FUNCTION {schema}.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS "
    "$$ SELECT current_setting('onefill.now_us')::bigint $$"
)
_ROLE = "DO $$ BEGIN CREATE ROLE gateway LOGIN PASSWORD 'a-word'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"


class DatedLedger(PostgresLedger):
    """A ledger whose server's clock shows what the suite says."""

    async def _date(self, at_us: int) -> None:
        await self._alone(lambda writer: writer.single(lambda db: db.execute(f"SET onefill.now_us = {at_us}")))

    async def acquire(
        self, route: str, holder: str, at_us: int, *, venue: str = "", lease_us: int | None = None
    ) -> Lease:
        await self._date(at_us)
        return await super().acquire(route, holder, at_us, venue=venue, lease_us=lease_us)

    async def renew(self, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        await self._date(at_us)
        await super().renew(route, epoch, at_us, lease_us)


class TestPostgres18(LedgerConformance):
    """On the newest server."""

    server = "newest_postgres"
    schemas = 0

    @pytest.fixture(autouse=True)
    def _place(self, request: pytest.FixtureRequest) -> Iterator[None]:
        server: PostgresServer = request.getfixturevalue(self.server)
        type(self).schemas += 1
        self.schema = f"suite_{type(self).schemas}"
        self.url = server.url("postgres", schema=self.schema)
        self.made = False
        yield
        asyncio.run(self._admin(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE"))

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(place_of(self.url).url)
        await connection.execute(statement)
        await connection.close()

    async def open_ledger(self) -> Ledger:
        if not self.made:
            await self._make()
            await self._admin(_CLOCK.format(schema=self.schema))
            self.made = True
        return await DatedLedger.open(self.gateways_url, holder=self.schema)

    async def _make(self) -> None:
        await migrate(place_of(self.url), seed=SEED, at_us=1)
        self.gateways_url = self.url

    async def crash(self, ledger: Ledger) -> None:
        # The server ends the sessions as it does when their process is gone; the old object finds out by itself.
        await self._admin(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onefill {self.schema}'"
        )
        await ledger.close()


class TestPostgres16(TestPostgres18):
    """On the oldest server, by a role that may do only what ``onefill migrate --grant`` lets it."""

    server = "postgres"

    async def _make(self) -> None:
        await self._admin(_ROLE)
        await migrate(place_of(self.url), seed=SEED, at_us=1, role="gateway")
        self.gateways_url = re.sub("//.*@", "//gateway:a-word@", self.url)
