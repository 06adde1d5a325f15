"""The SQLite ledger passes the suite that every ledger must pass."""

import shutil
from pathlib import Path

import pytest

from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Ledger
from onefill.testing.ledger import LedgerConformance

SEED = bytes(range(16))


class TestSqliteLedger(LedgerConformance):
    """With its writer thread, as a service runs it."""

    inline = False

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.lives = 0

    @property
    def path(self) -> Path:
        return self.folder / f"life-{self.lives}.db"

    async def open_ledger(self) -> Ledger:
        return await SqliteLedger.open(str(self.path), seed=SEED, holder="suite", at_us=1, inline=self.inline)

    async def crash(self, ledger: Ledger) -> None:
        # What a killed process leaves behind is its files as they are. The next life gets a copy of them, taken while
        # the first still has them open; closing that one later cannot reach the copy.
        left = self.path
        self.lives += 1
        for suffix in ("", "-wal"):
            source = left.with_name(left.name + suffix)
            if source.exists():
                shutil.copyfile(source, self.path.with_name(self.path.name + suffix))
        await ledger.close()


class TestSqliteLedgerInline(TestSqliteLedger):
    """On the event loop itself, as a simulation runs it."""

    inline = True
