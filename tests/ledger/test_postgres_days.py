"""The journal on PostgreSQL has one partition for each day, and nobody notices."""

import asyncio

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgres_days_kit import DAY, ROUTE, connected, made, opened, owner_of, partitions

from onefill.core.audit import DAY_US, GENESIS, ChainEnd, follow
from onefill.ledger.postgres_days import AHEAD, day_of, make_days
from onefill.ledger.postgres_schema import migrate
from onefill.ledger.postgres_settings import place_of
from onefill.ports.ledger import Committed
from onefill.testing.ledger_kit import ALL


def test_an_entry_is_in_its_days_partition_and_days_never_fall(postgres_url: str) -> None:
    """Each entry is in the partition of its time's day. With a clock that goes back, the day before goes on: the order of the
    days is that of the entries, for one route as for another."""

    async def main() -> None:
        async with made(postgres_url, DAY, DAY + 1) as ledger:
            owner = await owner_of(ledger, DAY)
            await ledger.commit(owner.note())
            owner.at_us = (DAY + 1) * DAY_US
            await ledger.commit(owner.note())
            owner.at_us = DAY * DAY_US  # an hour that comes a second time
            await ledger.commit(owner.note())
            other = await owner_of(ledger, DAY, "beta")
            await ledger.commit(other.note())
            # An owner that comes later with a clock behind does not fall back either.
            await owner_of(ledger, DAY)
            assert await partitions(postgres_url) == {"journal_2024_10_04": 4, "journal_2024_10_05": 3}
            async with connected(postgres_url) as db:
                days = await db.fetch("SELECT route, day, first_sequence FROM journal_day ORDER BY route, day")
                assert [tuple(row) for row in days] == [(1, DAY, 1), (1, DAY + 1, 3), (2, DAY, 1)]
            rows = await ledger.journal_rows(ROUTE, 0, ALL)
            assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
            assert follow(ROUTE, rows, ChainEnd(0, GENESIS))[1] is None

    asyncio.run(main())


def test_a_group_over_midnight(postgres_url: str) -> None:
    """Changes of one commit may belong to several days; each entry gets to its own, and an order's days span its entries."""

    async def main() -> None:
        async with made(postgres_url, DAY, DAY + 1, DAY + 2) as ledger:
            owner = await owner_of(ledger, DAY)
            first = owner.record("k1")
            futures = [ledger.commit(first)]
            for day in (DAY + 1, DAY + 2):
                owner.at_us = day * DAY_US
                futures += [ledger.commit(owner.record(f"k{day}")), ledger.commit(owner.note())]
            assert all(isinstance(outcome, Committed) for outcome in await asyncio.gather(*futures))
            assert list((await partitions(postgres_url)).values()) == [2, 2, 2]
            assert first.order is not None
            assert [entry.sequence for entry in await ledger.history(first.order.intent_id)] == [2]
            async with connected(postgres_url) as db:
                spans = await db.fetch("SELECT first_day, last_day FROM intent ORDER BY id")
                assert [tuple(row) for row in spans] == [(DAY, DAY), (DAY + 1, DAY + 1), (DAY + 2, DAY + 2)]

    asyncio.run(main())


def test_a_day_without_a_partition_fails_no_commit(postgres_url: str) -> None:
    """Entries of days that nothing was made for are kept and read like all others; `onefill migrate` gives them partitions of
    their own, and changes nothing in them."""

    async def main() -> None:
        async with made(postgres_url, DAY) as ledger:
            owner = await owner_of(ledger, DAY)
            for day in (DAY + 1, DAY + 40):
                owner.at_us = day * DAY_US
                assert isinstance(await ledger.commit(owner.note()), Committed)
            assert await partitions(postgres_url) == {"journal_2024_10_04": 1, "journal_rest": 2}
            before = await ledger.journal_rows(ROUTE, 0, ALL)
            assert [row[0] for row in before] == [1, 2, 3]
            await migrate(place_of(postgres_url), seed=b"", at_us=1)
            there = {"journal_2024_10_04": 1, "journal_2024_10_05": 1, "journal_2024_11_13": 1}
            assert await partitions(postgres_url) == there
            assert await ledger.journal_rows(ROUTE, 0, ALL) == before
            assert isinstance(await ledger.commit(owner.note()), Committed)

    asyncio.run(main())


def test_days_are_made_ahead(postgres_url: str) -> None:
    """Whoever migrates makes today and the days to come; so does a gateway that opens the ledger. Both at once is no trouble,
    and today's entries in the table for the rest are left there by a gateway."""

    async def count() -> int:
        async with connected(postgres_url) as db:
            return int(await db.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'journal'::regclass"))

    async def main() -> None:
        await migrate(place_of(postgres_url), seed=bytes(16), at_us=1)
        assert await count() == AHEAD + 2  # today, and the one for the rest
        async with connected(postgres_url) as db:
            today = int(await db.fetchval("SELECT (now_us() / 86400000000)::integer"))
            for name in await db.fetch(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhrelid::regclass::text ~ '_2'"
            ):
                await db.execute(f"DROP TABLE {name[0]}")
        async with opened(postgres_url) as ledger:
            owner = await owner_of(ledger, today)
            async with asyncio.timeout(90):
                while await count() < AHEAD + 1:
                    await ledger.commit(owner.note())
        async with connected(postgres_url) as one, connected(postgres_url) as two:
            await asyncio.gather(make_days(one, sort=True), make_days(two, sort=False))
        assert await count() == AHEAD + 2

    asyncio.run(main())


def test_no_partition_can_be_rewritten(postgres_url: str) -> None:
    """The journal is append-only through every door: its own name and that of each partition, the one for the rest too."""

    async def main() -> None:
        async with made(postgres_url, DAY) as ledger:
            owner = await owner_of(ledger, DAY)
            owner.at_us = (DAY + 1) * DAY_US
            await ledger.commit(owner.note())
        async with connected(postgres_url) as db:
            for table in ("journal", "journal_2024_10_04", "journal_rest"):
                for statement in (f"UPDATE {table} SET kind = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                    with pytest.raises(asyncpg.PostgresError, match="the journal is append-only"):
                        await db.execute(statement)
        assert await partitions(postgres_url) == {"journal_2024_10_04": 1, "journal_rest": 1}

    asyncio.run(main())


def test_a_reading_opens_the_partitions_that_it_needs(postgres_url: str) -> None:
    """Whatever is read by sequence or by order takes locks on the partitions with the answer, and on no other of sixty."""
    days = range(DAY, DAY + 60)

    async def main() -> None:
        async with made(postgres_url, *days) as ledger:
            owner = await owner_of(ledger, DAY)
            first = owner.record("first")
            await ledger.commit(first)
            for day in days:
                owner.at_us = day * DAY_US
                await ledger.commit(owner.note())
            assert first.order is not None
        async with connected(postgres_url) as db:

            async def opened_by(statement: str) -> list[str]:
                async with db.transaction():
                    await db.fetch(statement)
                    found = await db.fetch(
                        "SELECT relation::regclass::text AS name FROM pg_locks JOIN pg_class ON oid = relation "
                        "WHERE pid = pg_backend_pid() AND relkind = 'r' AND relname ~ '^journal_[2r]' ORDER BY 1"
                    )
                return [row[0] for row in found]

            assert await opened_by("SELECT journal_page(1, 0, 2)") == ["journal_2024_10_04"]
            assert await opened_by("SELECT journal_page(1, 2, 2)") == ["journal_2024_10_04", "journal_2024_10_05"]
            assert await opened_by("SELECT journal_page(1, 40, 1)") == ["journal_2024_11_11"]
            assert await opened_by("SELECT journal_page(1, 61, 1000)") == ["journal_2024_12_02"]
            assert await opened_by(f"SELECT journal_page(1, 0, 1000, {first.order.intent_id})") == [
                "journal_2024_10_04"
            ]
            assert await opened_by(f"SELECT journal_recorded(ARRAY[{first.order.intent_id}])") == ["journal_2024_10_04"]
            assert len(await opened_by("SELECT * FROM journal")) == 60 + 1 + AHEAD + 1

    asyncio.run(main())


def test_a_day_that_has_just_begun_is_read_by_its_index(postgres_url: str) -> None:
    """The server has no statistics of a day's first entries. A page of them costs its own rows all the same, and an order's
    history its own entries: not the rest of the day."""

    async def main() -> None:
        async with made(postgres_url, DAY) as ledger:
            owner = await owner_of(ledger, DAY)
            changes = [owner.record(f"k{number}") for number in range(800)]
            await owner.commit(*changes)
            order = changes[400].order
            assert order is not None
        counted = (
            "SELECT coalesce(sum(seq_tup_read), 0)::bigint, coalesce(sum(idx_tup_fetch), 0)::bigint "
            "FROM pg_stat_xact_user_tables WHERE relname = 'journal_2024_10_04'"
        )
        async with connected(postgres_url) as db:

            async def fetched_by(statement: str) -> tuple[int, int]:
                async with db.transaction():
                    before = await db.fetchrow(counted)
                    await db.fetch(statement)
                    after = await db.fetchrow(counted)
                return after[0] - before[0], after[1] - before[1]

            assert await fetched_by("SELECT journal_page(1, 200, 10)") == (0, 10)
            assert await fetched_by(f"SELECT journal_page(1, 0, 10, {order.intent_id})") == (0, 1)
            assert await fetched_by(f"SELECT journal_recorded(ARRAY[{order.intent_id}])") == (0, 1)

    asyncio.run(main())


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.none() | st.integers(-100, 40_000))
def test_days_rise_whatever_the_clock_says(times: list[int], floor: int | None) -> None:
    """Of any times, in any order, the days that result never fall, never precede the first day that was not archived, and are
    the times' own wherever that allows it."""
    last: int | None = None
    for at_us in times:
        day = day_of(at_us, last, floor)
        assert day >= at_us // DAY_US
        assert last is None or day >= last
        assert floor is None or day >= floor
        assert day in {at_us // DAY_US, last, floor}
        last = day
