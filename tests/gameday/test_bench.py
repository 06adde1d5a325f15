"""What is measured is real work: the bare loops write the rows they say, and what was made to be measured is gone after it."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

import onefill
from onefill.core.errors import InvariantBroken
from onefill.core.order import Order
from onefill.gameday import bench, bench_guard, bench_scaling
from onefill.gameday.bench_books import executions, old_executions
from onefill.gameday.bench_places import GROUP, Places, SqlitePlaces
from onefill.gameday.bench_postgres import PostgresPlaces, in_schema
from onefill.gameday.old_ledger import old_rows
from onefill.service.audit import verify

OLD = 400


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Return each kind of ledger that is measured."""
    if request.param == "sqlite":
        yield SqlitePlaces(tmp_path)
        return
    made = PostgresPlaces(request.getfixturevalue("postgres_url"))
    yield made
    asyncio.run(made.drop())


def test_a_ledger_with_a_past_is_one_that_the_gateway_could_have_written(places: Places) -> None:
    """Its chain verifies, new orders and executions go on from it, and an old key is still taken."""

    async def main() -> None:
        place = await places.fresh("old")
        await place.write(old_rows(bench.ROUTE, OLD))
        ledger = await place.open_read_only()
        assert (await verify(ledger)).holds
        await ledger.close()
        await place.write(old_executions(place, OLD))
        found = await bench.probe(place, 20)
        assert set(found) == {"recovery_s", "submit_to_wire_us_p50", "submit_to_wire_us_p99", "rss_mb"}
        await executions(places.find(place.name), 50, 200, {})  # raises if a repeat moved a position
        gateway = await bench.open_gateway(place)
        (position,) = gateway.positions()
        old = await gateway.submit(bench.order(), key="old-0000000001")
        await gateway.close()
        assert position.executions == OLD + 50
        assert old.status == "canceled"

    asyncio.run(main())


def test_the_bare_loops_commit_what_they_are_asked_for(places: Places) -> None:
    """As many commits as asked; whole groups; each figure above zero."""

    async def main() -> None:
        took = await places.floor_commit(30)
        assert len(took) == 30
        assert min(took) > 0
        assert await places.floor_group(2 * GROUP) > 0

    asyncio.run(main())


def test_the_bare_loops_on_postgresql_write_every_row(postgres_url: str) -> None:
    """A submit is a row in each of three tables, one by one as in groups, and the schemas are gone afterwards."""
    places = PostgresPlaces(postgres_url)

    async def counted() -> list[tuple[int, ...]]:
        connection = await asyncpg.connect(postgres_url)
        try:
            schemas = await connection.fetch(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'onefill%' ORDER BY 1"
            )
            return [
                tuple(
                    [
                        await connection.fetchval(f"SELECT count(*) FROM {name}.{table}")
                        for table in ("intent", "attempt", "journal")
                    ]
                )
                for (name,) in schemas
            ]
        finally:
            await connection.close()

    async def main() -> None:
        await places.floor_commit(30)
        await places.floor_group(GROUP)
        assert await counted() == [(30, 30, 30), (GROUP, GROUP, GROUP)]
        await places.drop()
        assert await counted() == []

    asyncio.run(main())


def test_several_gateways_are_measured_on_one_database(postgres_url: str) -> None:
    """Two processes, each with a route of its own, commit all their orders in one ledger."""
    places = PostgresPlaces(postgres_url)

    async def main() -> None:
        place = await places.fresh("gateways")
        again = [sys.executable, "-m", "onefill", "bench", "--quick", "--ledger", postgres_url, "--probe", place.name]
        count = 3000  # of --quick
        assert await bench_scaling.gateways([[*again, "--part", f"r{n}"] for n in range(2)], count) > 0
        ledger = await place.open_read_only()
        assert {info.name for info in await ledger.routes()} == {"r0", "r1"}
        assert len(await ledger.orders(0, 100_000)) == 2 * (count + count // 10)
        await ledger.close()
        await places.drop()

    asyncio.run(main())


def test_a_gateway_that_ends_early_gives_no_figure() -> None:
    """A process that fails is an error, not a fast one."""
    with pytest.raises(InvariantBroken, match="in place of 'ready'"):
        asyncio.run(bench_scaling.gateways([[sys.executable, "-c", "pass"]], 10))


def test_a_schema_is_chosen_in_the_url() -> None:
    """What else the URL says stays; a schema named before is replaced."""
    url = "postgresql://u:p@a:1,b:2/d?sslmode=disable&schema=x"
    assert in_schema(url, "y") == "postgresql://u:p@a:1,b:2/d?sslmode=disable&schema=y"


def test_what_the_guard_adds_is_measured_on_orders_that_are_placed(tmp_path: Path) -> None:
    """Plain and guarded calls of both kinds reach the server, each key is recorded once, and the figures are of one run."""
    calls = 12
    ledgers: list[Path] = []

    def guarded(exchange: object, ledger: Path) -> object:
        ledgers.append(ledger)
        return onefill.guard(exchange, ledger)

    async def main() -> None:
        await SqlitePlaces(tmp_path).floor_commit(1)  # files of other measurements are there already
        figures = await bench_guard.added(tmp_path, guarded, calls)
        names = {"ccxt_call_us_p50", "guard_added_us_p50", "guard_commit_us_p50", "guard_added_over_commit"}
        assert set(figures) == names | {f"{name}_sync" for name in names} | {"guard_added_us_p50_in_a_row"}
        assert figures["ccxt_call_us_p50"] > 0
        assert figures["guard_commit_us_p50_sync"] > 0
        orders = [await orders_in(ledger) for ledger in ledgers]
        assert [len({order.key for order in one}) for one in orders] == [2 * calls, calls]
        assert all(order.status == "new" for one in orders for order in one)

    async def orders_in(ledger: Path) -> list[Order]:
        opened = await SqlitePlaces(tmp_path).find(str(ledger)).open_read_only()
        found = await opened.orders(0, 1000)
        await opened.close()
        return found

    asyncio.run(main())
