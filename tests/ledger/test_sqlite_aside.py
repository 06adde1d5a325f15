"""Reading for subscribers has a connection and a thread of its own."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from onefill.core.errors import LedgerFailed
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import OutboxRow


async def _open(path: Path) -> SqliteLedger:
    return await SqliteLedger.open(str(path), seed=bytes(16), holder="test", at_us=1)


def test_reading_for_subscribers_waits_for_no_writer_and_holds_none_up(tmp_path: Path) -> None:
    """While the writer's thread is busy the outbox is read, and while the outbox is read the writer commits."""

    async def main() -> None:
        ledger = await _open(tmp_path / "o.db")
        await ledger.acquire("X", "test", 1)
        busy = threading.Event()
        holding = asyncio.ensure_future(ledger._commits.call(lambda: busy.wait(60)))
        rows: list[OutboxRow] = await ledger.outbox("X", 0, 10)
        assert [row.entry.sequence for row in rows] == [1]
        assert not holding.done()
        busy.set()
        await holding
        busy.clear()
        assert ledger._aside is not None
        reading = asyncio.ensure_future(ledger._aside.read(lambda _: busy.wait(60)))
        await ledger.acquire("X", "test", 2)
        assert not reading.done()
        busy.set()
        await reading
        assert len(await ledger.outbox("X", 0, 10)) == 2
        assert len(await ledger.outbox_of("X", 0, 1, 10)) == 1
        await ledger.close()

    asyncio.run(main())


def test_closed_it_reads_nothing_and_leaves_no_files_open(tmp_path: Path) -> None:
    """After close nothing more is read, the thread has ended, and the next writer finds the file free."""

    async def main() -> None:
        ledger = await _open(tmp_path / "o.db")
        await ledger.acquire("X", "test", 1)
        await ledger.outbox("X", 0, 10)
        await ledger.close()
        with pytest.raises(LedgerFailed):
            await ledger.outbox("X", 0, 10)
        assert not any(thread.name.startswith("onefill-aside") for thread in threading.enumerate())
        assert [name for name in os.listdir(tmp_path) if name.endswith("-wal")] == []
        again = await _open(tmp_path / "o.db")
        assert len(await again.outbox("X", 0, 10)) == 1
        await again.close()

    asyncio.run(main())
