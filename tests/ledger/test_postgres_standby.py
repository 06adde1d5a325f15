"""Synchronous standbys: required, lost, back again, and promoted in place of a primary that was killed."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from postgres_kit import SEED, opened, owner_of, until, with_options

from onefill.core.errors import LedgerError, LedgerFailed
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_schema import migrate, wanted
from onefill.ledger.postgres_settings import place_of
from onefill.ledger.postgres_watch import Standby
from onefill.ports.ledger import Committed, KeyTaken
from onefill.testing.ledger_kit import ALL, kinds, verify_chains
from onefill.testing.postgres import PostgresServer, server_folder, url_of

_STRICT = {"require_synchronous_standby": "true"}


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Run a primary that waits for its standby."""
    with server_folder() as folder, PostgresServer.running(folder / "primary") as primary:
        primary.require_standby()
        standby = primary.standby(folder / "standby", "standby")
        try:
            primary.wait_for_standby()
            yield primary, standby
        finally:
            standby.close()


async def _sees(ledger: PostgresLedger, state: Standby) -> None:
    async def ask() -> Standby:
        return ledger.standby

    await until(ask, state)


def test_without_the_standby_nothing_is_acknowledged(pair: tuple[PostgresServer, PostgresServer]) -> None:
    """NO-LOSS, FAIL-CLOSED: once the standby is gone a commit fails in bounded time, and people are told.

    With it back the route can be taken again, and what was not acknowledged is found under its key.
    """
    primary, standby = pair
    url = with_options(primary.create_database("orders"), commit_timeout_s=1, **_STRICT)
    told: list[str] = []

    async def run() -> None:
        async with opened(url, tell=told.append) as ledger:
            assert ledger.standby is Standby.THERE
            owner = await owner_of(ledger)
            await owner.put(owner.record("k1"))
            await asyncio.to_thread(standby.kill)
            async with asyncio.timeout(10):
                results = await owner.commit(owner.record("k2"), owner.record("k3"))
            assert kinds(results) == [LedgerFailed, LedgerFailed]
            await _sees(ledger, Standby.LOST)
            assert "the standby is lost" in told[0]
            assert kinds(await owner.commit(owner.record("k4"))) == [LedgerFailed]
            await asyncio.to_thread(standby.start)
            await _sees(ledger, Standby.THERE)
            assert "the standby is back" in told[-1]
            again = await owner_of(ledger)
            (known,) = await again.commit(again.record("k2"))
            assert isinstance(known, KeyTaken)  # it was on the primary, and not acknowledged
            assert kinds(await again.commit(again.record("k5"))) == [Committed]
            await verify_chains(ledger)

    asyncio.run(run())


def test_where_it_is_allowed_commits_go_on_without_the_standby(pair: tuple[PostgresServer, PostgresServer]) -> None:
    """``on_standby_lost=degrade``: acknowledged on the primary's word, and said so; with the standby back, not any more."""
    primary, standby = pair
    url = with_options(primary.create_database("orders"), commit_timeout_s=1, on_standby_lost="degrade", **_STRICT)
    told: list[str] = []

    async def level(ledger: PostgresLedger) -> object:
        return await ledger._alone(lambda writer: writer.single(lambda db: db.fetchval("SHOW synchronous_commit")))

    async def run() -> None:
        async with opened(url, tell=told.append) as ledger:
            owner = await owner_of(ledger)
            await asyncio.to_thread(standby.kill)
            async with asyncio.timeout(10):
                assert kinds(await owner.commit(owner.record("k1"))) == [Committed]
            assert ledger.standby is Standby.LOST
            assert "primary's word alone" in told[0]
            async with asyncio.timeout(1):  # it does not wait for it each time
                assert kinds(await owner.commit(owner.record("k2"))) == [Committed]
            await asyncio.to_thread(standby.start)
            await _sees(ledger, Standby.THERE)
            assert kinds(await owner.commit(owner.record("k3"))) == [Committed]
            assert await level(ledger) == "on"

    asyncio.run(run())


def test_a_killed_primary_is_followed_by_its_standby(pair: tuple[PostgresServer, PostgresServer]) -> None:
    """NO-LOSS: with both hosts in the URL the ledger finds the new primary by itself; everything acknowledged is there."""
    primary, standby = pair
    primary.create_database("orders")
    url = url_of([primary, standby], "orders")

    async def run() -> None:
        async with opened(url) as ledger:
            owner, acknowledged = await owner_of(ledger), set()
            for n in range(20):
                changes = [owner.record(f"{n}-{one}") for one in range(10)]
                if n == 10:
                    asyncio.get_running_loop().run_in_executor(None, primary.kill)
                results = await owner.commit(*changes)
                pairs = zip(changes, results, strict=True)
                acknowledged |= {change.order.key for change, result in pairs if isinstance(result, Committed)}
            assert len(acknowledged) >= 100
            await asyncio.to_thread(standby.promote)
            standby.require_standby("")  # until it has a standby of its own
            again = await owner_of(ledger)
            assert again.lease.epoch > owner.lease.epoch
            assert acknowledged <= {order.key for order in await ledger.orders(0, ALL)}
            assert kinds(await again.commit(again.record("after"))) == [Committed]
            await verify_chains(ledger)

    asyncio.run(run())


def test_a_server_that_waits_for_no_standby_is_refused(postgres_url: str) -> None:
    """NO-LOSS: where a synchronous standby is required and none is named, a gateway does not start; what to do is said."""

    async def run() -> None:
        with pytest.raises(LedgerError, match="synchronous_standby_names is empty"):
            async with opened(with_options(postgres_url, **_STRICT)):
                pass

    asyncio.run(run())


def test_a_server_that_stops_waiting_is_noticed_with_the_next_commit(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    """NO-LOSS: somebody who empties synchronous_standby_names under a running gateway stops it; a standby cannot be written."""
    primary, standby = pair
    url = with_options(primary.create_database("orders"), **_STRICT)

    async def run() -> None:
        async with opened(url) as ledger:
            owner = await owner_of(ledger)
            await asyncio.to_thread(primary.require_standby, "")
            (result,) = await owner.commit(owner.record("k"))
            assert isinstance(result, LedgerFailed)
            assert await ledger.orders(0, ALL) == []
        with pytest.raises(LedgerError):
            await PostgresLedger.open(standby.url("orders"), holder="test")

    asyncio.run(run())


def test_a_role_that_cannot_see_the_standby_says_so(pair: tuple[PostgresServer, PostgresServer]) -> None:
    """Not seeing a standby is not having one, and is told; where commits would go on without it, it is refused at the start."""
    primary, _ = pair
    url = primary.create_database("orders")
    primary.sql("CREATE ROLE blind LOGIN PASSWORD 'a-word'")
    blind, told = re.sub("//.*@", "//blind:a-word@", url), list[str]()

    async def run() -> None:
        await migrate(place_of(url), seed=SEED, at_us=1, role="blind")
        with pytest.raises(LedgerError, match="pg_monitor"):
            await PostgresLedger.open(with_options(blind, on_standby_lost="degrade"), holder="test")
        with pytest.raises(LedgerError, match="pg_monitor"):
            await PostgresLedger.open(with_options(blind, **_STRICT), holder="test")
        async with opened(blind, tell=told.append) as ledger:
            assert ledger.standby is Standby.UNSEEN
            assert "pg_monitor" in told[0]
            await asyncio.to_thread(primary.sql, "GRANT pg_monitor TO blind")
            await _sees(ledger, Standby.THERE)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ("", 0),
        (" ", 0),
        ("*", 1),
        ("a, b", 1),
        ("FIRST 2 (a, b, c)", 2),
        ("any 3 (*)", 3),
        ("2 (a, b)", 2),
        ("first", 1),
    ],
)
def test_how_many_standbys_are_wanted(names: str, count: int) -> None:
    """The server's own ways of naming its synchronous standbys are understood."""
    assert wanted(names) == count
