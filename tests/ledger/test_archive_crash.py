"""``onefill archive`` killed with -9 at any point: a day is in the ledger, or it is in the archive."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from archive_kit import Archive, days_left, fill_days
from postgres_days_kit import DAY, connected

from onefill.ledger.postgres_archive import date_of

DAYS = 8


def start(archive: Archive, before: int) -> "subprocess.Popen[str]":
    """Run the command in a process of its own."""
    given = [archive.url, "--before", date_of(before), "--to", str(archive.folder), "--public-key", str(archive.public)]
    return subprocess.Popen(
        [sys.executable, "-m", "onefill", "archive", *given, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def killed_when(child: "subprocess.Popen[str]", reached: Callable[[], Awaitable[bool]]) -> None:
    """Kill the process as soon as it has reached a point, and no later."""
    try:
        async with asyncio.timeout(60):
            while not await reached():
                assert child.poll() is None, child.communicate()
                await asyncio.sleep(0)
    finally:
        child.kill()
        child.communicate()


async def archived(archive: Archive) -> list[int]:
    """Return the days that the ledger knows to be archived."""
    async with connected(archive.url) as db:
        return [row[0] for row in await db.fetch("SELECT DISTINCT day FROM archive ORDER BY day")]


async def check(archive: Archive, *, done: int) -> None:
    """Assert that every day is in one place, that ``done`` of them are archived, and that the whole holds."""
    days = list(range(DAY, DAY + DAYS))
    assert await archived(archive) == days[:done]
    assert await days_left(archive.url) == days[done:]
    for whole in (True, False) if done else (False,):
        audit = await archive.verify(whole=whole)
        assert audit.holds, audit


async def finish(archive: Archive) -> None:
    """Run the command again, to its end, and assert that all is archived."""
    async with asyncio.timeout(60):
        child = start(archive, DAY + DAYS)
        out, err = await asyncio.to_thread(child.communicate)
        assert child.returncode == 0, (out, err)
    await check(archive, done=DAYS)
    assert await archive.replays()
    left = [path.name for path in archive.folder.rglob("*") if path.name.endswith(".part")]
    assert left == []


@pytest.fixture
def archive(postgres_url: str, tmp_path: Path) -> Archive:
    """Return a place for a ledger and its archive."""
    return Archive(postgres_url, tmp_path)


def test_killed_while_a_file_is_written(archive: Archive) -> None:
    """A file that was begun is no part of the archive; the next run writes it anew."""

    async def main() -> None:
        await fill_days(archive, days=DAYS)
        async with connected(archive.url) as other, other.transaction():
            # Of each page the entries are read, then the checkpoints: there it stops, with the file open.
            await other.execute("LOCK TABLE checkpoint IN ACCESS EXCLUSIVE MODE")
            child = start(archive, DAY + DAYS)

            async def begun() -> bool:
                return any(archive.folder.rglob("*.xz.part"))

            await killed_when(child, begun)
            assert await archive.files() == []
        await check(archive, done=0)
        await finish(archive)

    asyncio.run(main())


def test_killed_between_the_file_and_the_ledger(archive: Archive) -> None:
    """The day's files are whole and durable, and the ledger has not let go of it: the next run uses the files as they are."""

    async def main() -> None:
        await fill_days(archive, days=DAYS)
        async with connected(archive.url) as other, connected(archive.url) as watcher, other.transaction():
            await other.execute("SELECT FROM route WHERE name = 'beta' FOR UPDATE")
            child = start(archive, DAY + DAYS)

            async def waiting() -> bool:
                found = await watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'onefill archive' "
                    "AND wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"
                )
                return bool(found)

            await killed_when(child, waiting)
            written = {name: (archive.folder / name).stat().st_mtime_ns for name in await archive.files()}
            assert len(written) == 2
        await check(archive, done=0)
        await finish(archive)
        assert {name: (archive.folder / name).stat().st_mtime_ns for name in written} == written

    asyncio.run(main())


def test_killed_again_and_again(archive: Archive) -> None:
    """Killed as soon as a further day is archived, wherever it is by then: each time all days are accounted for, and the runs
    together archive all of them."""

    async def main() -> None:
        await fill_days(archive, days=DAYS)
        kills = 0
        while (done := len(await archived(archive))) < DAYS - 1:
            child = start(archive, DAY + DAYS)
            async with connected(archive.url) as watcher:

                async def further(watcher: object = watcher, done: int = done) -> bool:
                    count = await watcher.fetchval("SELECT count(DISTINCT day) FROM archive")  # type: ignore[attr-defined]
                    return bool(count > done)

                await killed_when(child, further)
            kills += 1
            await check(archive, done=len(await archived(archive)))
        assert kills >= 2
        await finish(archive)

    asyncio.run(main())
