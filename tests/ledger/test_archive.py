"""Archived days: in files that are proved, no longer in the ledger, and still part of one chain."""

import asyncio
from pathlib import Path

import pytest
from archive_kit import DAYS, ENTRIES, ORDERS, ROUTES, Archive, days_left, fill_days, trade_a_day
from postgres_days_kit import DAY, opened, owner_of

from onefill.core.audit_documents import InclusionProof, proof_fault
from onefill.core.errors import EntriesArchived
from onefill.service import audit_export, audit_proofs
from onefill.service.wiring import open_for_reading
from onefill.testing.ledger_kit import ALL

IN_A_DAY = ORDERS * ENTRIES
FIRST_DAY = IN_A_DAY + 1
"""Entries of a route on the first day: that by which it was taken comes on top."""


@pytest.fixture
def archive(postgres_url: str, tmp_path: Path) -> Archive:
    """Return a place for a ledger and its archive."""
    return Archive(postgres_url, tmp_path)


def test_whole_days_go_into_files_and_leave_the_ledger(archive: Archive) -> None:
    """Each route's day is a file that verifies by itself as an export; the ledger holds the later days only; a second run finds
    nothing to do."""

    async def main() -> None:
        await fill_days(archive)
        done = await archive.archive(DAY + 2)
        assert done.refused is None
        assert [(day.day, day.entries) for day in done.days] == [
            ("2024-10-04", 2 * FIRST_DAY),
            ("2024-10-05", 2 * IN_A_DAY),
        ]
        assert await days_left(archive.url) == [DAY + 2]
        names = [f"2024-10-0{day}/{n + 1}-{route}.ndjson.xz" for day in (4, 5) for n, route in enumerate(ROUTES)]
        assert await archive.files() == names == sorted(file.file for day in done.days for file in day.files)
        for name in names:
            found = audit_export.verify_export(archive.folder / name, archive.keys)
            assert found.holds, found.fault
        again = await archive.archive(DAY + 2)
        assert (again.days, again.refused) == ([], None)

    asyncio.run(main())


def test_the_chain_goes_on_from_the_archive(archive: Archive) -> None:
    """Without the archive the ledger verifies from its first entry on, says so, and the signed tree still proves what came
    before; with it, from the very first. What is written and signed later follows on, and a later day goes after it."""

    async def main() -> None:
        await fill_days(archive)
        await archive.archive(DAY + 2)
        for whole in (False, True):
            audit = await archive.verify(whole=whole)
            assert audit.holds, audit
            cut = FIRST_DAY + IN_A_DAY
            assert {route.first for route in audit.routes} == {1 if whole else cut + 1}
            assert [route.entries for route in audit.routes] == [cut + IN_A_DAY] * 2
            assert [route.checkpoints for route in audit.routes] == [1, 1]
            told = [note for note in audit.notes if "archived" in note]
            assert (told == []) is whole
            if told:
                assert "entries 1 to 25 are archived, the last of them in 2024-10-05/1-alpha.ndjson.xz" in told[0]
        async with opened(archive.url) as ledger:
            for route in ROUTES:
                await trade_a_day(await owner_of(ledger, DAY + DAYS, route), DAY + DAYS)
            await archive.sign(ledger)
        assert (await archive.verify(whole=False)).holds
        done = await archive.archive(DAY + DAYS)
        assert [day.day for day in done.days] == ["2024-10-06"]
        for whole in (False, True):
            audit = await archive.verify(whole=whole)
            assert audit.holds, audit
        assert await archive.replays()

    asyncio.run(main())


def test_a_ledger_of_which_all_is_archived(archive: Archive) -> None:
    """Routes that nobody used since may be archived to their last entry; they verify, and go on when they are used again, on a
    day after those that were archived, even if a clock says otherwise."""

    async def main() -> None:
        await fill_days(archive)
        await archive.archive(DAY + DAYS)
        assert await days_left(archive.url) == []
        for whole in (False, True):
            audit = await archive.verify(whole=whole)
            assert audit.holds, audit
        async with opened(archive.url) as ledger:
            await trade_a_day(await owner_of(ledger, DAY), DAY, "late")  # a clock that is days behind
            assert await days_left(archive.url) == [DAY + DAYS]
            await archive.sign(ledger)
        for whole in (False, True):
            audit = await archive.verify(whole=whole)
            assert audit.holds, audit

    asyncio.run(main())


def test_a_gateway_goes_on_while_days_are_archived(archive: Archive) -> None:
    """A gateway that has the ledger open, and whose clock stopped on a day that is archived meanwhile, notices at its next
    commit and loses nothing: its entries go to a day that is still there."""

    async def main() -> None:
        await fill_days(archive)
        async with opened(archive.url) as ledger:
            owner = await owner_of(ledger, DAY + 2)
            await trade_a_day(owner, DAY + 2, "more")
            await archive.sign(ledger)
            done = await archive.archive(DAY + DAYS)
            assert done.refused is None
            await trade_a_day(owner, DAY + 2, "late")
            assert await days_left(archive.url) == [DAY + DAYS]
            cut = (await ledger.routes())[0].archived
            assert cut is not None
            assert len(await ledger.journal_rows("alpha", cut.last, ALL)) == IN_A_DAY
        assert (await archive.verify(whole=True)).holds

    asyncio.run(main())


def test_archived_entries_are_found_where_they_are(archive: Archive) -> None:
    """Whoever asks the ledger alone for an archived entry is told the file; with the archive named, proofs, exports and an
    order's history are those of a ledger that was never archived, byte for byte."""

    async def main() -> None:
        orders = await fill_days(archive)
        first = orders[0].intent_id

        async def all_of(*, whole: bool) -> tuple[list[bytes], object, object]:
            async with open_for_reading(archive.url, archive.folder if whole else None) as store:
                export = [chunk async for chunk in audit_export.export(store)]
                proof = await audit_proofs.prove(store, "alpha", 2)
                return export, proof, await store.history(first)

        before = await all_of(whole=False)
        await archive.archive(DAY + 2)
        assert b"".join((await all_of(whole=True))[0]) == b"".join(before[0])
        assert (await all_of(whole=True))[1:] == before[1:]
        async with open_for_reading(archive.url) as store:
            with pytest.raises(
                EntriesArchived, match=r"entry 2 is archived, in the file 2024-10-04/1-alpha\.ndjson\.xz"
            ):
                await audit_proofs.prove(store, "alpha", 2)
            with pytest.raises(EntriesArchived, match="begins with entry 26"):
                [chunk async for chunk in audit_export.export(store)]
            for after in (0, 24):
                with pytest.raises(EntriesArchived):
                    await store.outbox("alpha", after, 10)
            assert [row.entry.sequence for row in await store.outbox("alpha", 25, 2)] == [26, 27]
            with pytest.raises(EntriesArchived):
                await store.outbox_of("alpha", first, 0, 10)
            assert await store.history(first) == []
            # An entry that is still here is proved without the archive, by the tree that is kept of it.
            proof = await audit_proofs.prove(store, "alpha", 30)
            assert isinstance(proof, InclusionProof)
            assert proof_fault(proof, archive.keys.fault) is None

    asyncio.run(main())


@pytest.mark.parametrize("change", ["content", "missing", "cut"])
def test_an_archived_file_that_was_changed_is_found(archive: Archive, change: str) -> None:
    """A file that is not the one that was archived, or not there, breaks the verification with the archive at the first entry
    that it holds; the ledger alone still verifies."""

    async def main() -> None:
        await fill_days(archive)
        await archive.archive(DAY + 2)
        file = archive.folder / "2024-10-05" / "1-alpha.ndjson.xz"
        if change == "missing":
            file.unlink()
        else:
            whole = file.read_bytes()
            file.write_bytes(whole[:-40] if change == "cut" else whole[:200] + b"\x00" + whole[201:])
        assert (await archive.verify(whole=False)).holds
        audit = await archive.verify(whole=True)
        assert [str(route.fault).partition(": ")[0] for route in audit.routes] == ["entry 14", "None"]

    asyncio.run(main())
