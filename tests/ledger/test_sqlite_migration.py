"""A ledger that an older Onefill made opens, loses nothing, and is as good as a new one afterwards."""

import asyncio
import contextlib
import importlib.resources
import shutil
import sqlite3
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec
import pytest
from faulty_vfs import Call, Disk, Fault, Kind, Unsynced

from onefill.core import events as ev
from onefill.core.answers import cancel_answer
from onefill.core.audit import Checkpoint, StoredCheckpoint
from onefill.core.control import ITSELF, Control, moved
from onefill.core.control import State as ControlState
from onefill.core.errors import LedgerError, LedgerFailed, LedgerInUse
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.incident import Finding, IncidentKind, opened
from onefill.core.lifecycle import Status
from onefill.core.merkle import Frontier
from onefill.core.messages import VenueStatus
from onefill.ledger.sqlite import SqliteLedger
from onefill.ledger.sqlite_file import APPLICATION_ID, VERSION
from onefill.ports.ledger import (
    ClientOrderIdTaken,
    CursorMove,
    ExecutionKnown,
    KeyTaken,
    OpeningPosition,
    OperationTaken,
    Stale,
)
from onefill.service import audit
from onefill.testing.ledger import Owner, verify_chains
from onefill.testing.ledger_kit import (
    ACCOUNT,
    ALL,
    AT_US,
    OTHER_ROUTE,
    ROUTE,
    STRATEGY,
    STREAM,
    TEXTS,
    accepted,
    ack,
    canceled,
    flat,
    kinds,
    replaced,
    wanted,
)

_NAMES_NOW = {"cancels": "kind", "folded_through": "(SELECT max(folded_through) FROM route)"}
"""What columns of older versions are in this one."""
SEED = bytes(range(16))
T = TypeVar("T")
State = dict[str, object]
PENDING = ev.Acknowledged("V1", VenueStatus.PENDING_NEW, Decimal(0), Source.REPLY)
UNKNOWN = ev.OutcomeUnknown(1, "timed out")
STATES: dict[Status, tuple[Event, ...]] = {
    Status.RECORDED: (ev.CopySettled(1, CopyOutcome.THROTTLED, "slow down", AT_US + 9),),
    Status.SENDING: (ev.Anomaly("odd"),),
    Status.UNCERTAIN: (UNKNOWN, ev.Claimed(2, None), ev.Parked("nobody can tell")),
    Status.PENDING_NEW: (PENDING,),
    Status.NEW: (accepted(), ack(TEXTS[0])),
    Status.PENDING_CANCEL: (accepted(), ack(), ev.CancelRecorded(None), ev.CancelClaimed(1)),
    Status.CANCELED: (accepted(), ack(), canceled(Decimal("0.125"))),
    Status.REJECTED: (ev.CopySettled(1, CopyOutcome.REJECTED, TEXTS[1]),),
    Status.EXPIRED: (accepted(), ack(), ev.Expired(Source.STREAM, "V1", Decimal(0))),
    Status.EXPIRED_UNSENT: (UNKNOWN, ev.ProvenAbsent(AT_US), ev.ExpiredUnsent("too late")),
    Status.CANCELED_UNSENT: (
        ev.CopySettled(1, CopyOutcome.NOT_SENT, "no"),
        ev.CancelRecorded(None),
        ev.Withdrawn("no"),
    ),
}
"""How an order gets into each state that every version knew, but for those that take an execution."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a loop of its own."""
    return asyncio.run(work)


async def open_at(path: Path, vfs: str | None = None) -> SqliteLedger:
    """Open a ledger for writing."""
    return await SqliteLedger.open(str(path), seed=SEED, holder="test", at_us=1, vfs=vfs, inline=True)


async def live_a_past(ledger: SqliteLedger) -> None:
    """Do everything that version 1 could."""
    other = Owner(ledger, await ledger.acquire(OTHER_ROUTE, "elsewhere", AT_US))
    await other.put(other.fill(await other.put(other.record("k")), "e1", CursorMove(STREAM, 0, 7)))
    await ledger.acquire(ROUTE, "an earlier owner", AT_US, venue="V-1")
    owner = Owner(ledger, await ledger.acquire(ROUTE, "the last owner", AT_US, venue="V-1"))
    await owner.put(owner.record("never claimed", claimed=False))
    for status, events in STATES.items():
        order = await owner.put(owner.record(status, client_order_id=f"id of {status}"))
        order = await owner.put(owner.move(order, *events))
        assert order.status is status
        if status in {Status.NEW, Status.PENDING_CANCEL, Status.REJECTED}:
            wish = owner.operation(order, "op")
            answer = cancel_answer(order, AT_US, changed=False) if status is Status.REJECTED else None
            wish = msgspec.structs.replace(wish, answer=answer)
            order = await owner.put(owner.move(order, ev.CancelRecorded("op"), opened=(wish,)))
    for number, outcome in enumerate(CopyOutcome, 2):
        order = await owner.put(owner.record(f"copy {outcome}"))
        order = await owner.put(owner.move(order, UNKNOWN, ev.Claimed(2, AT_US + number)))
        await owner.put(owner.move(order, ev.CopySettled(2, outcome, "so it was said", AT_US + number)))
    partly = await owner.put(owner.fill(await owner.put(owner.record("partly")), "e1", CursorMove(STREAM, 0, 1)))
    await owner.put(owner.fill(partly, "e2", quantity=Decimal("1E-8")))
    await owner.put(owner.fill(await owner.put(owner.record("filled")), "e3", quantity=Decimal(100)))
    seen = ev.Quarantined("stranger", "stranger", "V1", "ACME", "buy", Decimal(1), Decimal("2.5"))
    told = msgspec.json.encode((seen,)).decode()
    await owner.commit(
        owner.note("quarantined", told, execution=owner.trade("stranger"), cursor=CursorMove(STREAM, 1, 2))
    )
    unknown = owner.operation(None, "op", key="nobody's", answer=b'"unknown"')
    await owner.commit(owner.note(opened=(unknown,)))
    held = [
        msgspec.structs.replace(flat(), bought=Decimal(7), executions=1),
        msgspec.structs.replace(flat(), account="b"),
    ]
    await ledger.save_positions(ROUTE, held, 1)
    odd = Finding(kind=IncidentKind.OVERFILL, subject="C1", summary=TEXTS[0], evidence=(TEXTS[1],))
    shut = moved(Control(), ControlState.SAFE, "so it was said", ITSELF, AT_US)
    before = OpeningPosition(account=ACCOUNT, instrument="ACME", quantity=Decimal(5))
    await owner.commit(owner.note(incidents=(opened(odd, ROUTE, 1, AT_US),), control=shut, opening=(before,)))
    tree = Frontier().extended(heads := await ledger.journal_hashes(ROUTE, 0, 1))
    checkpoint = Checkpoint(
        route=ROUTE, size=1, root=tree.root(), head=heads[0], at_us=AT_US, key_id="k", signature=b"s" * 64
    )
    await ledger.save_checkpoint(StoredCheckpoint(checkpoint, tree.to_bytes()))


async def read_all(ledger: SqliteLedger) -> State:
    """Return everything a ledger holds."""
    routes = [route.name for route in await ledger.routes()]
    orders = await ledger.orders(0, ALL)
    keys = [*(order.key for order in orders), "nobody's"]
    return {
        "routes": await ledger.routes(),
        "orders": orders,
        "loaded": [await ledger.by_key(ACCOUNT, STRATEGY, key) for key in keys],
        "by id": [await ledger.by_client_order_id(o.intent.venue, o.client_order_id) for o in orders],
        "open": [await ledger.open_orders(route) for route in routes],
        "operations": [await ledger.operation(ACCOUNT, STRATEGY, key, "op") for key in keys],
        "executions": [await ledger.executions(route, 0, ALL) for route in routes],
        "cursors": [await ledger.cursor(route, STREAM) for route in routes],
        "positions": [await ledger.positions(route) for route in routes],
        "journal": [await ledger.journal(route, 0, ALL) for route in routes],
        "history": [await ledger.history(order.intent_id) for order in orders],
    }


def schema_of(path: Path) -> list[tuple[Any, ...]]:
    """Return every table, index and trigger of a file, as its makers wrote them."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def version_of(path: Path) -> int:
    """Return the version that a file says it has."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


class Past:
    """A ledger of an older version, as files, and what this version must make of it."""

    def __init__(self, place: Path, version: int) -> None:
        self.version = version
        self.state: State = {}
        source, old = place / "source.db", place / "old.db"
        run(self._live(source))
        self._write_old(source, old)
        self.files = {suffix: old.with_name(old.name + suffix).read_bytes() for suffix in ("", "-wal")}
        """The file and its log as a killed writer leaves them: part of the ledger is in the log only."""

    async def _live(self, path: Path) -> None:
        ledger = await open_at(path)
        await live_a_past(ledger)
        self.state = await read_all(ledger)
        if self.version < 3:
            self.state["positions"] = [([], 0), ([], 0)]  # a projection, folded anew
        else:
            positions = [await ledger.positions(route) for route in (OTHER_ROUTE, ROUTE)]
            self.state["positions"] = [
                (held, 1) for held, _ in positions
            ]  # the place was the ledger's, not the route's
        await ledger.close()

    def _write_old(self, source: Path, old: Path) -> None:
        """Write the same rows by the older version's schema."""
        folder = importlib.resources.files("onefill.ledger").joinpath("schema")
        schema = "\n".join(folder.joinpath(f"{n:04}.sql").read_text("utf-8") for n in range(1, self.version + 1))
        writing = old.with_name("writing.db")
        with (
            contextlib.closing(sqlite3.connect(source)) as new,
            contextlib.closing(apsw.Connection(str(writing))) as db,
        ):
            db.pragma("journal_mode", "wal")
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {self.version}"
            db.execute(f"BEGIN; {schema}; {marks}; COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
                named = ", ".join(_NAMES_NOW.get(column, column) if table != "route" else column for column in columns)
                rows = new.execute(f"SELECT {named} FROM {table}").fetchall()
                assert rows or table in {"sqlite_stat1", "replacement"}, table
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{writing}{suffix}", f"{old}{suffix}")

    def put(self, path: Path) -> None:
        """Put the old files there, as this path."""
        for suffix, content in self.files.items():
            path.with_name(path.name + suffix).write_bytes(content)

    def put_on(self, disk: Disk, path: Path) -> None:
        """Put the old files onto a disk that can fail."""
        self.put(path)
        for suffix, content in self.files.items():
            disk.calls += [Call(Kind.WRITE, f"{path}{suffix}", 0, content), Call(Kind.SYNC, f"{path}{suffix}")]


@pytest.fixture(scope="module", params=range(1, VERSION))
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """One ledger of each older version for all tests."""
    return Past(tmp_path_factory.mktemp("past"), request.param)


def test_an_old_ledger_loses_nothing(past: Past, tmp_path: Path) -> None:
    """NO-LOSS, APPEND-ONLY: an old ledger shows every order, copy, operation, execution and entry, and its chain holds."""
    path = tmp_path / "l.db"
    past.put(path)
    assert version_of(path) == past.version

    async def scenario() -> None:
        for _ in range(2):
            ledger = await open_at(path)
            assert await read_all(ledger) == past.state
            await verify_chains(ledger)
            found = await audit.verify(ledger)
            assert [route.fault for route in found.routes] == [None, None]
            assert ledger._file.connection.pragma("integrity_check") == "ok"
            await ledger.close()

    run(scenario())
    assert version_of(path) == VERSION
    statuses = {loaded.order.status for loaded in past.state["loaded"] if loaded is not None}  # type: ignore[attr-defined]
    assert statuses == set(Status) - {Status.PENDING_REPLACE, Status.REFUSED}  # the comparison was worth something


def test_an_old_ledger_becomes_one_like_a_new_one(past: Past, tmp_path: Path) -> None:
    """Brought up to date, a ledger has the very tables, indexes and triggers of a new one."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    past.put(old)
    for path in (old, new):
        run(run_and_close(path))
    assert schema_of(old) == schema_of(new)
    assert {"intent", "attempt", "replacement", "incident", "checkpoint"} <= {name for _, name, _, _ in schema_of(old)}


async def run_and_close(path: Path) -> None:
    """Open a ledger for writing, and close it."""
    await (await open_at(path)).close()


def test_the_rules_hold_for_old_rows_too(past: Past, tmp_path: Path) -> None:
    """Keys, ids, claims, executions and operations of the old ledger are taken, and its orders go on, with replaces too."""
    path = tmp_path / "l.db"
    past.put(path)

    async def scenario() -> None:
        ledger = await open_at(path)
        epochs = {route.name: route.epoch for route in await ledger.routes()}
        owner = Owner(ledger, await ledger.acquire(ROUTE, "now", AT_US, venue="V-1"))
        assert owner.lease.epoch == epochs[ROUTE] + 1
        loaded = await ledger.by_key(ACCOUNT, STRATEGY, Status.NEW)
        assert loaded is not None
        order = loaded.order
        results = await owner.commit(
            owner.record(Status.NEW),
            owner.record("fresh", client_order_id=f"id of {Status.NEW}"),
            owner.fill(order, "e1"),
            owner.note(opened=(owner.operation(order, "op"),)),
            owner.move(order, wanted(order, f"id of {Status.CANCELED}")),
        )
        assert kinds(results) == [KeyTaken, ClientOrderIdTaken, ExecutionKnown, OperationTaken, ClientOrderIdTaken]
        again = owner.move(order, ev.Anomaly("odd"))
        claim = owner.move(
            await owner.put(owner.record("other")), ev.OutcomeUnknown(1, "x"), ev.Claimed(2, None)
        ).claims
        taken = [msgspec.structs.replace(claim[0], copy=order.copies[0])]
        assert kinds(await owner.commit(msgspec.structs.replace(again, claims=tuple(taken)))) == [Stale]
        order = await owner.put(owner.move(order, wanted(order, "a new id"), ev.ReplaceClaimed(1, None, AT_US)))
        order = await owner.put(owner.move(order, replaced(order)))
        found = await ledger.by_client_order_id(ROUTE, "a new id")
        assert found is not None
        assert found.order == order
        await verify_chains(ledger)
        await ledger.close()
        with contextlib.closing(sqlite3.connect(path)) as db:
            for statement in ("UPDATE journal SET kind = 'x'", "DELETE FROM execution", "DELETE FROM replacement"):
                with pytest.raises(sqlite3.IntegrityError, match=r"append-only|are kept"):
                    db.execute(statement)

    run(scenario())


# When it goes wrong on the way.


def brought_up_to_date(past: Past, place: Path) -> tuple[Disk, Path, int]:
    """Open the old ledger on a disk that keeps a log. Return also how many calls the disk had seen before."""
    disk, path = Disk(), place / "l.db"
    past.put_on(disk, path)
    before = len(disk.calls)

    async def scenario() -> None:
        await (await open_at(path, disk.name)).close()

    run(scenario())
    return disk, path, before


@pytest.mark.parametrize("unsynced", list(Unsynced))
def test_power_may_fail_while_it_is_brought_up_to_date(past: Past, unsynced: Unsynced, tmp_path: Path) -> None:
    """NO-LOSS: wherever the power fails on the way, the file is of the old version or of this one, whole, and opens again."""
    disk, path, before = brought_up_to_date(past, tmp_path)
    found: set[int] = set()
    for calls in range(before, len(disk.calls) + 1):
        place = tmp_path / str(calls)
        place.mkdir()
        for name, content in disk.after_power_loss(calls, unsynced, seed=calls).items():
            (place / Path(name).name).write_bytes(content)
        shutil.copytree(place, place / "look")
        found.add(version_of(place / "look" / path.name))

        async def recover(file: Path = place / path.name) -> State:
            ledger = await open_at(file)
            try:
                assert ledger._file.connection.pragma("integrity_check") == "ok"
                return await read_all(ledger)
            finally:
                await ledger.close()

        assert run(recover()) == past.state, f"power lost after call {calls}"
        shutil.rmtree(place)
    assert found == {past.version, VERSION}
    assert len(disk.calls) - before > 50


@pytest.mark.parametrize(
    ("kind", "fault"), [(Kind.WRITE, Fault.FULL), (Kind.WRITE, Fault.IO_ERROR), (Kind.SYNC, Fault.SYNC_ERROR)]
)
def test_a_failure_on_the_way_leaves_the_old_ledger(past: Past, kind: Kind, fault: Fault, tmp_path: Path) -> None:
    """A full or failing disk: whoever opens it is told, no half of it is kept, and it opens once the disk is well again."""
    calls, _, before = brought_up_to_date(past, tmp_path)
    places = [n for n, call in enumerate(calls.calls) if n >= before and call.kind is kind]
    told: list[str] = []
    for place in places[:: 1 if kind is Kind.SYNC else 7]:
        disk, path = Disk(), tmp_path / f"{place}.db"
        past.put_on(disk, path)
        disk.plan = lambda index, _call, place=place: fault if index == place else None

        async def attempt(path: Path = path, disk: Disk = disk) -> None:
            await (await open_at(path, disk.name)).close()

        with contextlib.suppress(LedgerFailed):  # a log that cannot be folded in at the end stops nobody
            try:
                run(attempt())
            except LedgerFailed as error:
                told.append(str(error))
                raise
        assert disk.faults
        disk.restore()

        async def again(path: Path = path, disk: Disk = disk) -> None:
            ledger = await open_at(path, disk.name)
            assert await read_all(ledger) == past.state
            await ledger.close()

        run(again())
    assert all(".db: " in text and str(tmp_path) in text for text in told)
    assert any(f"could not be brought from version {past.version} to {VERSION}" in text for text in told)


# Reading and sharing.


def test_an_old_ledger_is_not_read_before_it_is_up_to_date(past: Past, tmp_path: Path) -> None:
    """A reader changes no file: it says that the ledger is to be opened for writing once, and reads it afterwards."""
    path = tmp_path / "l.db"
    past.put(path)
    with pytest.raises(
        LedgerError,
        match=rf"older Onefill \(ledger version {past.version}, this one reads {VERSION}\).*for writing once",
    ) as told:
        run(SqliteLedger.open_read_only(str(path)))
    assert str(path) in str(told.value)
    assert "untouched" in str(told.value)
    assert {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in past.files} == past.files

    async def scenario() -> None:
        await run_and_close(path)
        ledger = await SqliteLedger.open_read_only(str(path))
        assert await read_all(ledger) == past.state
        await ledger.close()

    run(scenario())


def test_an_old_ledger_in_use_is_left_alone(past: Past, tmp_path: Path) -> None:
    """ONE-WRITER: while an older Onefill has the ledger, it is refused, naming the holder, and stays as it is."""
    path = tmp_path / "l.db"
    past.put(path)
    with contextlib.closing(apsw.Connection(f"{path}-owner")) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerInUse, match="in use by test"):
            run(open_at(path))
    assert version_of(path) == past.version
