"""A day that somebody still needs, or that cannot be proved, stays where it is."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from archive_kit import DAYS, ROUTES, Archive, days_left, fill_days, trade_a_day
from postgres_days_kit import DAY, connected, made, opened, owner_of

from onefill.core.errors import CallerError, LedgerAltered, LedgerError, LedgerInUse
from onefill.ledger import postgres_archive
from onefill.ledger.postgres_archive import Archiver
from onefill.ledger.postgres_settings import place_of
from onefill.ports.ledger import StoppedLane, SubscriptionMove
from onefill.service import archive as service
from onefill.service.archive import Terms
from onefill.service.archive import archive as archive_ledger
from onefill.service.archive_folder import NoArchive
from onefill.testing.ledger_kit import accepted, ack, canceled
from onefill.testing.postgres import PostgresServer

ALL_DAYS = list(range(DAY, DAY + DAYS))


@pytest.fixture
def archive(postgres_url: str, tmp_path: Path) -> Archive:
    """Return a place for a ledger and its archive."""
    return Archive(postgres_url, tmp_path)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's main."""
    asyncio.run(main)


async def move(
    archive: Archive, previous: int, position: int, *stopped: StoppedLane, freed: tuple[int, ...] = ()
) -> None:
    """Move the subscriber `desk` on."""
    async with opened(archive.url) as ledger:
        owner = await owner_of(ledger, DAY + DAYS)
        told = SubscriptionMove(subscriber="desk", previous=previous, position=position, stopped=stopped, freed=freed)
        assert await ledger.move_subscription("alpha", owner.lease.epoch, told)


def test_a_subscriber_that_was_not_told_yet_keeps_its_days(archive: Archive) -> None:
    """Days go up to the one that a subscriber still has to be told of, and it is named. Told, the next run goes on."""

    async def main() -> None:
        await fill_days(archive)
        await move(archive, 0, 20)
        done = await archive.archive(DAY + DAYS)
        assert [day.day for day in done.days] == ["2024-10-04"]
        assert done.refused is not None
        assert (
            "2024-10-05, route 'alpha': subscriber 'desk' was told through entry 20, and the day ends with entry 25"
            in done.refused
        )
        assert await days_left(archive.url) == [*ALL_DAYS[1:], DAY + DAYS]
        await move(archive, 20, 25)
        done = await archive.archive(DAY + 2)
        assert ([day.day for day in done.days], done.refused) == (["2024-10-05"], None)
        assert (await archive.verify(whole=True)).holds

    run(main())


@pytest.mark.parametrize("lane", ["order", "route"])
def test_a_stopped_lane_keeps_the_days_that_it_needs(archive: Archive, lane: str) -> None:
    """A subscriber that is past a day, but for an order (or the route itself) that it is not told of for now, needs it still;
    of an order only the days that it has entries on."""

    async def main() -> None:
        orders = await fill_days(archive)
        stopped = next(o.intent_id for o in orders if o.key == f"alpha-{DAY + 1}-0") if lane == "order" else 0
        await move(archive, 0, 37, StoppedLane(stopped, 13 if lane == "order" else 0, 7))
        done = await archive.archive(DAY + DAYS)
        assert [day.day for day in done.days] == (["2024-10-04"] if lane == "order" else [])
        assert done.refused is not None
        assert "is not told the events of" in done.refused
        assert "until incident 7 is closed" in done.refused
        await move(archive, 37, 38, freed=(stopped,))
        assert (await archive.archive(DAY + DAYS)).refused is None

    run(main())


def test_an_open_order_keeps_its_days_unless_told_otherwise(archive: Archive) -> None:
    """An order's history is in one place while it is open. Who archives it all the same loses nothing: it goes on, ends, and
    the whole verifies and replays."""

    async def main() -> None:
        async with made(archive.url, *ALL_DAYS) as ledger:
            owners = [await owner_of(ledger, DAY, route) for route in ROUTES]
            owner = owners[0]
            order = await owner.put(owner.record("patient"))
            order = await owner.put(owner.move(order, accepted(), ack()))
            order = await owner.put(owner.fill(order, "P1"))
            for day in ALL_DAYS:
                for one in owners:
                    await trade_a_day(one, day)
            await archive.sign(ledger)
        done = await archive.archive(DAY + 1)
        assert done.days == []
        assert done.refused is not None
        assert "route 'alpha': order 'patient' (account acct, strategy strat) is still open" in done.refused
        done = await archive.archive(DAY + 1, open_orders=True)
        assert ([day.day for day in done.days], done.refused) == (["2024-10-04"], None)
        async with opened(archive.url) as ledger:
            owner = await owner_of(ledger, DAY + DAYS)
            loaded = (await ledger.open_orders("alpha"))[0]
            assert loaded.order == order
            assert loaded.execution_ids == {("acct", "P1")}
            filled = await owner.put(owner.fill(loaded.order, "P2"))
            await owner.put(owner.move(filled, canceled(filled.cum_quantity)))
            await archive.sign(ledger)
        for whole in (False, True):
            audit = await archive.verify(whole=whole)
            assert audit.holds, audit
        assert await archive.replays()

    run(main())


def test_what_nobody_signed_is_not_archived(archive: Archive) -> None:
    """Without a checkpoint that covers a day's last entry the day stays, unless it is told to go unsigned. A checkpoint by a
    key that was not given is no proof."""

    async def main() -> None:
        await fill_days(archive, sign=False)
        done = await archive.archive(DAY + 1)
        assert done.days == []
        assert done.refused is not None
        assert "route 'alpha': no signed checkpoint covers entry 13" in done.refused
        done = await archive_ledger(archive.url, DAY + 1, archive.folder, Terms(keys=None))
        assert [day.day for day in done.days] == ["2024-10-04"]
        (archive.folder.parent / "other").mkdir()
        other = Archive(archive.url, archive.folder.parent / "other")
        async with opened(archive.url) as ledger:
            await other.sign(ledger)
        with pytest.raises(LedgerAltered, match="says it was signed with key"):
            await archive.archive(DAY + 2)
        assert await days_left(archive.url) == ALL_DAYS[1:]
        assert (await other.verify(whole=False)).holds

    run(main())


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE journal SET payload = '[]' WHERE id = (1::bigint << 40) + 3", "entry 3: its content was changed"),
        (
            "DELETE FROM journal WHERE id = (1::bigint << 40) + 3",
            "holds 25 entries of this day, and its routes know of 26",
        ),
        ("UPDATE execution SET quantity = '7' WHERE id = 1 AND route = 1", "tells of execution"),
        ("UPDATE checkpoint SET signature = decode(repeat('ab', 64), 'hex')", "was not signed with key"),
        ("UPDATE checkpoint SET root = decode(repeat('ab', 32), 'hex')", "was not signed with key"),
        ("UPDATE journal_day SET first_sequence = 2 WHERE day = 20000 AND route = 1", "its routes know of 25"),
    ],
)
def test_what_does_not_hold_is_not_archived(archive: Archive, statement: str, told: str) -> None:
    """Entries, executions and checkpoints that were altered behind the triggers' back stay as they are, to be looked at."""

    async def main() -> None:
        await fill_days(archive)
        async with connected(archive.url) as db:
            await db.execute("SET session_replication_role = replica")
            await db.execute(statement)
        with pytest.raises(LedgerError, match=told):
            await archive.archive(DAY + 1)
        assert await days_left(archive.url) == ALL_DAYS

    run(main())


def test_folders_that_are_not_this_ledgers(archive: Archive, tmp_path: Path) -> None:
    """Nothing goes into a folder that is not there, that holds other things, or another ledger's archive; and a file under the
    name of one that is to be written is not overwritten."""

    async def main() -> None:
        await fill_days(archive)
        folder, archive.folder = archive.folder, tmp_path / "nowhere"
        with pytest.raises(NoArchive, match="is no folder"):
            await archive.archive(DAY + 1)
        archive.folder = tmp_path
        with pytest.raises(NoArchive, match="holds no archive"):
            await archive.archive(DAY + 1)
        archive.folder = folder
        (folder / "ledger.json").write_text('{"type":"onefill_archive","version":1,"ledger":"another"}')
        with pytest.raises(NoArchive, match="is another ledger's archive"):
            await archive.archive(DAY + 1)
        (folder / "ledger.json").rename(
            folder / "ledger.json.part"
        )  # as a run that was killed at its very first file leaves it
        (folder / "lost+found").mkdir()
        assert (await archive.archive(DAY)).days == []
        day = folder / "2024-10-04"
        day.mkdir()
        (day / "1-alpha.ndjson.xz").write_bytes(b"something else")
        with pytest.raises(LedgerAltered, match="1-alpha"):
            await archive.archive(DAY + 1)
        assert (day / "1-alpha.ndjson.xz").read_bytes() == b"something else"
        assert await days_left(archive.url) == ALL_DAYS

    run(main())


def test_a_disk_that_lies_is_found_out(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not what was written into it is noticed before the day goes, for it is read back."""
    made = service.sync_folder

    def spoilt(folder: Path) -> None:
        made(folder)
        for file in folder.glob("2-beta*"):
            file.write_bytes(file.read_bytes()[:-60])

    async def main() -> None:
        await fill_days(archive)
        monkeypatch.setattr(service, "sync_folder", spoilt)
        with pytest.raises(LedgerAltered, match="2-beta"):
            await archive.archive(DAY + 1)
        assert await days_left(archive.url) == ALL_DAYS
        monkeypatch.setattr(service, "sync_folder", made)
        (archive.folder / "2024-10-04" / "2-beta.ndjson.xz").unlink()
        assert (await archive.archive(DAY + 1)).refused is None

    run(main())


def test_a_day_that_is_not_over_stays(archive: Archive) -> None:
    """By the database's clock, in UTC."""

    async def main() -> None:
        await fill_days(archive)
        async with connected(archive.url) as db:
            today = int(await db.fetchval("SELECT now_us() / 86400000000"))
        with pytest.raises(CallerError, match="is not over"):
            await archive.archive(today + 1)
        assert await days_left(archive.url) == ALL_DAYS

    run(main())


def test_one_archives_at_a_time(archive: Archive) -> None:
    """A second run is refused while the first is at work."""

    async def main() -> None:
        await fill_days(archive)
        first = await Archiver.open(place_of(archive.url))
        try:
            with pytest.raises(LedgerInUse, match="archiving it now"):
                await archive.archive(DAY + 1)
        finally:
            await first.close()
        assert len((await archive.archive(DAY + 1)).days) == 1

    run(main())


def test_a_reader_that_holds_the_journal_holds_up_no_order(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads the journal in one long transaction, as a backup does, a day cannot be dropped: the run gives up and
    leaves it, and orders are committed meanwhile."""
    monkeypatch.setattr(postgres_archive, "_TRIES", 3)

    async def main() -> None:
        await fill_days(archive)
        async with opened(archive.url) as ledger, connected(archive.url) as backup:
            owner = await owner_of(ledger, DAY + DAYS)
            async with backup.transaction():
                await backup.fetch("SELECT count(*) FROM journal")
                running = asyncio.create_task(archive.archive(DAY + 1))
                number = 0
                while not running.done():
                    number += 1
                    await owner.put(owner.record(f"meanwhile-{number}"))
                with pytest.raises(LedgerError, match="others read or write the journal without a pause"):
                    await running
                assert number > 10
            assert await days_left(archive.url) == [*ALL_DAYS, DAY + DAYS]
        assert (await archive.archive(DAY + 1)).refused is None
        assert (await archive.verify(whole=True)).holds

    run(main())


def test_a_file_ledger_is_not_archived(tmp_path: Path) -> None:
    """What is for PostgreSQL says so."""
    for name in (str(tmp_path / "orders.db"), "orders.db"):
        with pytest.raises(CallerError, match="only ledgers on PostgreSQL are archived"):
            run(_archived(name, tmp_path))


async def _archived(name: str, folder: Path) -> None:
    await archive_ledger(name, DAY, folder, Terms(keys=None))


@pytest.mark.parametrize("row_too", [False, True])
def test_executions_of_orders_from_archived_days_are_still_compared(archive: Archive, row_too: bool) -> None:
    """An execution on an order that was recorded on an archived day must be in the order's account: the ledger alone says so.
    Who changes the order's row as well is found with the archive, by the entry that recorded the order."""

    async def main() -> None:
        async with made(archive.url, *ALL_DAYS) as ledger:
            owner = await owner_of(ledger, DAY)
            order = await owner.put(owner.record("patient"))
            order = await owner.put(owner.move(order, accepted(), ack()))
            await archive.sign(ledger)
        await archive.archive(DAY + 1, open_orders=True)
        async with opened(archive.url) as ledger:
            owner = await owner_of(ledger, DAY + 1)
            await owner.put(owner.fill(order, "P1"))
        for whole in (False, True):
            assert (await archive.verify(whole=whole)).holds
        async with connected(archive.url) as db:
            await db.execute("SET session_replication_role = replica")
            await db.execute("UPDATE execution SET account = 'mine'")
            if row_too:
                await db.execute("""UPDATE intent SET body = replace(body, '"account":"acct"', '"account":"mine"')""")
        for whole in (False, True):
            audit = await archive.verify(whole=whole)
            fault = audit.routes[0].fault
            if not row_too:
                assert fault is not None
                assert "with account 'acct'; the execution log has account 'mine'" in fault
            elif whole:
                assert fault is not None
                assert fault.startswith("entry 2: cannot be read: ")
                assert "whose row in the ledger wants something else" in fault
            else:
                assert fault is None

    run(main())


def test_a_gateway_needs_no_rights_to_the_partitions(archive: Archive, postgres: PostgresServer) -> None:
    """A role that may read and write the tables, and owns none, trades: entries go into the partitions that there are, or into
    the one for the rest. It cannot archive, and is told why."""

    async def main() -> None:
        await fill_days(archive)
        role = "trader_" + place_of(archive.url).url.rpartition("/")[2].partition("?")[0]
        async with connected(archive.url) as db:
            for statement in (
                f"CREATE ROLE {role} LOGIN PASSWORD 'trade'",
                f"GRANT USAGE ON SCHEMA onefill TO {role}",
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA onefill TO {role}",
                "SELECT journal_add_day(20003)",
            ):
                await db.execute(statement)
        own, archive.url = (
            archive.url,
            f"postgresql://{role}:trade@127.0.0.1:{postgres.port}/{role.removeprefix('trader_')}",
        )
        try:
            async with opened(archive.url) as ledger:
                owner = await owner_of(ledger, DAY + DAYS)
                await trade_a_day(owner, DAY + DAYS)
                await trade_a_day(owner, DAY + DAYS + 1)
                assert len(await ledger.journal_rows("alpha", 37, 100)) == 25
            with pytest.raises(LedgerError, match="it must own the ledger's tables"):
                await archive.archive(DAY + 1)
        finally:
            archive.url = own
        assert await days_left(archive.url) == [*ALL_DAYS, DAY + DAYS, DAY + DAYS + 1]
        async with connected(archive.url) as db:
            await db.execute(f"DROP OWNED BY {role}")
            await db.execute(f"DROP ROLE {role}")

    run(main())
