"""Verifying and exporting need as much memory for ten times the entries: what was read is not kept."""

import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest
from audit_kit import checkpoint, keys, read_rows

from onefill.gameday.bench_audit import audit_entries_per_s, make_ledger
from onefill.gameday.bench_places import SqlitePlace
from onefill.ports.ledger import Ledger
from onefill.service.audit import verify
from onefill.service.audit_export import export, verify_export, writing
from onefill.service.wiring import open_for_reading

SMALL, LARGE = 6_000, 60_000


def peak(path: Path, file: Path) -> list[int]:
    """Return the most memory in use while a ledger is verified, exported, and its export verified, in bytes above before."""

    async def measured() -> list[int]:
        found = []
        async with open_for_reading(path) as store:
            tracemalloc.reset_peak()
            base = tracemalloc.get_traced_memory()[0]
            assert (await verify(store)).holds
            found.append(tracemalloc.get_traced_memory()[1] - base)
            tracemalloc.reset_peak()
            base = tracemalloc.get_traced_memory()[0]
            with writing(file) as add:
                async for chunk in export(store):
                    add(chunk)
            found.append(tracemalloc.get_traced_memory()[1] - base)
        tracemalloc.reset_peak()
        base = tracemalloc.get_traced_memory()[0]
        assert verify_export(file, None).holds
        return [*found, tracemalloc.get_traced_memory()[1] - base]

    return asyncio.run(measured())


def test_memory_does_not_grow_with_the_ledger(tmp_path: Path) -> None:
    """Ten times the entries, a checkpoint at the end so that the tree is built too: the peak is the same within a tenth."""
    signer, _, _ = keys(tmp_path)
    for size in (SMALL, LARGE):
        asyncio.run(make_ledger(SqlitePlace(tmp_path / f"{size}.db"), size))
        checkpoint(tmp_path / f"{size}.db", signer)
    gc.collect()
    gc.freeze()  # how often garbage is collected goes by all that lives in the process: here, by what is made from now on
    gc.collect()
    tracemalloc.start()
    try:
        peak(tmp_path / f"{SMALL}.db", tmp_path / "warm")
        small = peak(tmp_path / f"{SMALL}.db", tmp_path / "small")
        large = peak(tmp_path / f"{LARGE}.db", tmp_path / "large")
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    for before, after in zip(small, large, strict=True):
        assert after < before * 1.1 + 100_000, (small, large)


def test_the_measured_ledger_is_a_realistic_one(tmp_path: Path) -> None:
    """What a figure is measured on: about 300 bytes an entry, a third of them executions, all of it valid."""

    async def verified(ledger: Ledger) -> object:
        found = await verify(ledger)
        assert found.routes[0].entries == 3000
        return found

    figures = asyncio.run(audit_entries_per_s(SqlitePlace(tmp_path / "audit.db"), 3000, verified))
    assert figures["audit_entries"] == 3000
    assert 200 < figures["audit_payload_bytes"] < 400
    assert figures["audit_entries_per_s"] > 0
    assert len(asyncio.run(read_rows(tmp_path / "audit.db")).log) == 1000


def test_a_bench_of_what_does_not_verify_is_no_figure(tmp_path: Path) -> None:
    """Its speed would mean nothing."""

    class Broken:
        holds = False

    async def broken(_: Ledger) -> Broken:
        return Broken()

    with pytest.raises(RuntimeError, match="what was just written does not verify"):
        asyncio.run(audit_entries_per_s(SqlitePlace(tmp_path / "audit.db"), 30, broken))
