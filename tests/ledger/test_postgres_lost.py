"""A lost connection, a lost lock and a lost server: what is known stays known, what is not stops the route."""

import asyncio
import contextlib
from collections.abc import Iterator

import psutil
import pytest
from postgres_kit import aside, cut, opened, owner_of, until, with_options

from onefill.core.errors import Fenced, LedgerError, LedgerFailed
from onefill.ports.ledger import Committed, KeyTaken
from onefill.testing.ledger_kit import ACCOUNT, ALL, OTHER_ROUTE, ROUTE, STRATEGY, kinds, verify_chains
from onefill.testing.postgres import PostgresServer, server_folder

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'onefill test' AND wait_event_type = 'Lock'"
_HOLD = "SELECT 1 FROM route WHERE name = $1 FOR UPDATE"


def test_a_connection_lost_while_nothing_is_under_way_is_made_again(postgres_url: str) -> None:
    """The next commit, renewal and read after it succeed under the same epoch, as if nothing had happened."""

    async def run() -> None:
        async with opened(postgres_url) as ledger:
            owner = await owner_of(ledger)
            order = await owner.put(owner.record("k1"))
            await cut(postgres_url, noticed_by=ledger)
            assert [one.key for one in await ledger.orders(0, ALL)] == ["k1"]
            assert kinds(await owner.commit(owner.record("k2"), owner.fill(order, "e1"))) == [Committed, Committed]
            await cut(postgres_url, noticed_by=ledger)
            await ledger.renew(ROUTE, owner.lease.epoch, 1, 1_000_000)
            await cut(postgres_url, noticed_by=ledger)
            assert kinds(await owner.commit(owner.record("k3"))) == [Committed]
            assert ledger.failure is None
            await verify_chains(ledger)

    asyncio.run(run())


def test_a_commit_that_is_cut_off_stops_its_route_until_it_is_taken_again(postgres_url: str) -> None:
    """FAIL-CLOSED: the change, and all that waited behind it, end with LedgerFailed; so does every later one of the route.

    Another route goes on. Taken again the route knows what is true, and nothing is there twice.
    """

    async def run() -> None:
        async with opened(postgres_url) as ledger:
            owner, other = await owner_of(ledger), await owner_of(ledger, OTHER_ROUTE)
            await owner.put(owner.record("before"))
            async with aside(postgres_url) as blocker, blocker.transaction():
                await blocker.fetch(_HOLD, ROUTE)
                under_way = [asyncio.ensure_future(ledger.commit(owner.record(f"k{n}"))) for n in range(3)]
                async with aside(postgres_url) as session:
                    await until(lambda: session.fetchval(_WAITING), 1)
                late = ledger.commit(owner.record("late"))
                await cut(postgres_url)
                results = await asyncio.gather(*under_way, late, return_exceptions=True)
            assert kinds(results) == [LedgerFailed] * 4
            assert isinstance(ledger.failure, LedgerFailed)
            assert kinds(await owner.commit(owner.record("later"))) == [LedgerFailed]
            assert kinds(await other.commit(other.record("elsewhere"))) == [Committed]
            again = await owner_of(ledger)
            assert again.lease.epoch > owner.lease.epoch
            assert ledger.failure is None
            assert kinds(await owner.commit(owner.record("by the old epoch"))) == [Fenced]
            assert kinds(await again.commit(again.record("before"), again.record("k0"))) == [KeyTaken, Committed]
            await verify_chains(ledger)

    asyncio.run(run())


def test_a_commit_that_waits_too_long_for_a_lock_has_failed(postgres_url: str) -> None:
    """FAIL-CLOSED: somebody who holds the route's row for longer than ``commit_timeout_s`` makes the commit fail, not hang."""

    async def run() -> None:
        url = with_options(postgres_url, commit_timeout_s=0.3)
        async with opened(url) as ledger:
            owner = await owner_of(ledger)
            async with aside(url) as blocker, blocker.transaction():
                await blocker.fetch(_HOLD, ROUTE)
                async with asyncio.timeout(10):
                    (result,) = await owner.commit(owner.record("k"))
                assert isinstance(result, LedgerFailed)
            again = await owner_of(ledger)
            assert kinds(await again.commit(again.record("k"))) == [Committed]

    asyncio.run(run())


def test_a_cancelled_call_leaves_the_ledger_usable(postgres_url: str) -> None:
    """Somebody who no longer waits for a renewal does not stop what others commit."""

    async def run() -> None:
        async with opened(postgres_url) as ledger:
            owner = await owner_of(ledger)
            async with aside(postgres_url) as blocker, blocker.transaction():
                await blocker.fetch(_HOLD, ROUTE)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await ledger.renew(ROUTE, owner.lease.epoch, 1, 1_000_000)
            assert kinds(await owner.commit(owner.record("k"))) == [Committed]

    asyncio.run(run())


def test_a_server_that_forgot_what_it_acknowledged_is_noticed(postgres_url: str) -> None:
    """NO-LOSS: a server that knows less of a route than it had committed is not written to: a person has to look."""

    async def run() -> None:
        async with opened(postgres_url) as ledger:
            owner = await owner_of(ledger)
            await owner.put(owner.record("k1"))
            async with aside(postgres_url) as session:
                await session.execute("UPDATE route SET last_sequence = last_sequence - 1")
            await cut(postgres_url, noticed_by=ledger)
            (result,) = await owner.commit(owner.record("k2"))
            assert isinstance(result, LedgerFailed)
            assert "lost what it acknowledged" in str(result)
            assert await ledger.by_key(ACCOUNT, STRATEGY, "k2") is None

    asyncio.run(run())


def test_a_server_that_does_not_wait_for_its_disk_is_refused() -> None:
    """NO-LOSS: with fsync off a commit means nothing, so that a gateway does not start on such a server."""

    async def run(url: str) -> None:
        with pytest.raises(LedgerError, match="fsync = off"):
            async with opened(url):
                pass

    with server_folder() as folder, PostgresServer.running(folder / "loose", durable=False) as server:
        asyncio.run(run(server.create_database("orders")))


def test_a_server_that_stands_still_fails_commits_in_bounded_time() -> None:
    """FAIL-CLOSED: a server that answers nothing, over an old connection or a new one, keeps nobody waiting for long."""

    async def run(server: PostgresServer) -> None:
        url = server.create_database("orders", commit_timeout_s=0.5, connect_timeout_s=0.5)
        async with opened(url) as ledger:
            owner, other = await owner_of(ledger), await owner_of(ledger, OTHER_ROUTE)
            await owner.put(owner.record("k1"))
            with _standing_still(server):
                for one in (owner, other):
                    async with asyncio.timeout(10):
                        assert kinds(await one.commit(one.record("k2"))) == [LedgerFailed]
            again = await owner_of(ledger)
            assert kinds(await again.commit(again.record("k3"))) == [Committed]
            await verify_chains(ledger)

    with server_folder() as folder, PostgresServer.running(folder / "still") as server:
        asyncio.run(run(server))


@contextlib.contextmanager
def _standing_still(server: PostgresServer) -> Iterator[None]:
    first = psutil.Process(server.process)
    stopped = [first, *first.children(recursive=True)]
    for one in stopped:
        one.suspend()
    try:
        yield
    finally:
        for one in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()


def test_a_role_that_does_not_wait_for_its_commits_waits_here(postgres_url: str) -> None:
    """NO-LOSS: synchronous_commit = off for a database is put right in the sessions that write the ledger."""

    async def run() -> None:
        async with aside(postgres_url) as session:
            name = await session.fetchval("SELECT current_database()")
            await session.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        async with opened(postgres_url) as ledger:
            shown = await ledger._alone(lambda writer: writer.single(lambda db: db.fetchval("SHOW synchronous_commit")))
            assert shown == "on"

    asyncio.run(run())


def test_a_session_that_stands_still_is_ended_by_the_server(postgres_url: str) -> None:
    """A gateway that is stopped in the middle of anything keeps no lock: server and session bound statement, lock and pause."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

    async def run() -> None:
        async with opened(with_options(postgres_url, commit_timeout_s=0.7)) as ledger:
            for name in names:
                shown = await ledger._alone(
                    lambda writer, name=name: writer.single(lambda db: db.fetchval(f"SHOW {name}"))
                )
                assert shown == "700ms"

    asyncio.run(run())


def test_two_processes_on_one_database(postgres_url: str) -> None:
    """ONE-ORDER, ONE-WRITER: of a key recorded through two gateways at once one wins; a route taken over fences its owner."""

    async def run() -> None:
        async with opened(postgres_url) as first, opened(postgres_url, "second") as second:
            here, there = await owner_of(first), await owner_of(second, OTHER_ROUTE)
            results = await asyncio.gather(
                *(owner.ledger.commit(owner.record(f"k{n}")) for n in range(200) for owner in (here, there))
            )
            pairs = [set(map(type, results[n : n + 2])) for n in range(0, 400, 2)]
            assert pairs == [{Committed, KeyTaken}] * 200
            taken = await owner_of(second)
            assert kinds(await here.commit(here.record("late"))) == [Fenced]
            assert kinds(await taken.commit(taken.record("late"))) == [Committed]
            await verify_chains(first)

    asyncio.run(run())
