"""The SQLite ledger on a disk that fails, under a process that dies, and on files that are no ledgers."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec
import pytest
from faulty_vfs import Call, Disk, Fault, Kind, Plan, Unsynced

from onefill.core import events as ev
from onefill.core.answers import cancel_answer
from onefill.core.errors import InvariantBroken, LedgerError, LedgerFailed, LedgerInUse, LedgerTooNew, NotALedger
from onefill.core.events import CopyOutcome, Source
from onefill.core.messages import VenueStatus
from onefill.core.order import Order
from onefill.core.position import Position
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Change, Committed, CursorMove, Ledger
from onefill.testing.ledger import LedgerConformance, Owner, verify_chains
from onefill.testing.ledger_kit import ACCOUNT, ALL, AT_US, ROUTE, STRATEGY, STREAM

SEED = bytes(range(16))
HOURS = 3
KEYS = [[f"{hour}-{n}" for n in range(7)] for hour in range(HOURS)]
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a loop of its own."""
    return asyncio.run(work)


async def open_on(disk: Disk, path: Path, *, inline: bool = True) -> SqliteLedger:
    """Open a ledger on a disk that can fail."""
    return await SqliteLedger.open(str(path), seed=SEED, holder="test", at_us=1, vfs=disk.name, inline=inline)


async def open_at(path: Path, holder: str = "test") -> SqliteLedger:
    """Open a ledger on the real disk."""
    return await SqliteLedger.open(str(path), seed=SEED, holder=holder, at_us=1)


def connection(ledger: SqliteLedger) -> apsw.Connection:
    """Return the connection under a ledger, to set or ask what the port does not offer."""
    return ledger._file.connection


class TestSqliteLedgerLosingPower(LedgerConformance):
    """Conformance where a crash is a power loss: only what was synced is still there."""

    large_group = 600

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ledger.db"
        self.disk = Disk()

    async def open_ledger(self) -> Ledger:
        return await open_on(self.disk, self.path, inline=False)

    async def crash(self, ledger: Ledger) -> None:
        self.disk.off = True
        await ledger.close()
        self.disk.restore()


# A scripted day, of which every call to the disk may be the last.

State = dict[str, object]


async def read_all(ledger: SqliteLedger) -> State:
    """Return everything a ledger holds. Compared whole: order, claim, entry, execution and cursor must agree."""
    return {
        "routes": await ledger.routes(),
        "orders": [await ledger.by_key(ACCOUNT, STRATEGY, key) for keys in KEYS for key in keys],
        "count": len(await ledger.orders(0, ALL)),
        "open": await ledger.open_orders(ROUTE),
        "operations": [await ledger.operation(ACCOUNT, STRATEGY, keys[1], "op") for keys in KEYS],
        "executions": await ledger.executions(ROUTE, 0, ALL),
        "cursor": await ledger.cursor(ROUTE, STREAM),
        "positions": await ledger.positions(ROUTE),
        "journal": await ledger.journal(ROUTE, 0, ALL),
    }


async def the_day(ledger: SqliteLedger, step: Callable[[], Awaitable[None]]) -> None:
    """Run the script. ``step`` is called after each acknowledged transaction."""
    connection(ledger).wal_autocheckpoint(20)  # the log is folded into the file several times on the way
    orders: dict[str, Order] = {}

    async def put(*changes: Change) -> None:
        for outcome in await asyncio.gather(*map(ledger.commit, changes)):
            assert isinstance(outcome, Committed), outcome
        orders.update({change.order.key: change.order for change in changes if change.order is not None})
        await step()

    taken = ev.Acknowledged("V1", VenueStatus.NEW, Decimal(0), Source.REPLY)
    cursor = 0
    for hour in range(HOURS):
        owner = Owner(ledger, await ledger.acquire(ROUTE, "test", AT_US))
        await step()
        first, second, *rest = KEYS[hour]
        await put(owner.record(first))
        await put(owner.record(second))
        await put(*map(owner.record, rest))
        await put(owner.move(orders[first], ev.CopySettled(1, CopyOutcome.ACCEPTED, "ok"), taken))
        await put(owner.move(orders[second], ev.OutcomeUnknown(1, "timed out")))
        await put(owner.move(orders[second], ev.Claimed(2, None)))
        await put(owner.fill(orders[first], "e1", CursorMove(STREAM, cursor, cursor + 1), scope=first))
        fills = [
            owner.fill(orders[key], "e1", CursorMove(STREAM, n, n + 1), scope=key)
            for n, key in enumerate(rest, cursor + 1)
        ]
        await put(*fills)
        cursor += 1 + len(rest)
        assert await ledger.move_cursor(ROUTE, owner.lease.epoch, CursorMove(STREAM, cursor, cursor + 5))
        cursor += 5
        await step()
        wanted = ev.ReplaceRecorded(1, f"{first}-r", Decimal(90), Decimal("2.5"), AT_US + 9, None)
        await put(owner.move(orders[first], wanted, ev.ReplaceClaimed(1, None, AT_US + 5)))
        shown = ev.Replaced(Source.REPLY, f"{first}-r", "V1b", Decimal(90), Decimal("2.5"), Decimal(1))
        await put(owner.move(orders[first], ev.ReplaceSettled(1, CopyOutcome.ACCEPTED, "ok"), shown))
        await ledger.renew(ROUTE, owner.lease.epoch, AT_US + hour, 0)
        await step()
        wish = owner.operation(orders[second], "op")
        await put(owner.move(orders[second], ev.CancelRecorded("op"), opened=(wish,)))
        ended = owner.move(orders[second], ev.Canceled(Source.STREAM, "V2", Decimal(0), "asked for"))
        assert ended.order is not None
        done = msgspec.structs.replace(wish, answer=cancel_answer(ended.order, AT_US, changed=True))
        await put(msgspec.structs.replace(ended, answered=(done,)))
        held = Position(account=ACCOUNT, strategy=STRATEGY, venue=ROUTE, instrument="ACME", executions=cursor)
        await ledger.save_positions(ROUTE, [held], cursor)
        await step()
        await put(owner.note(execution=owner.trade(f"stranger {hour}"), cursor=CursorMove(STREAM, cursor, cursor + 1)))
        cursor += 1
        await put(*(owner.fill(orders[key], "e2", scope=key) for key in rest))


class Day:
    """A run of the script on a disk that kept a log, and what had been acknowledged by which call."""

    def __init__(self, path: Path, prepare: str = "") -> None:
        self.disk = Disk()
        self.path = path
        self.states: list[State] = []
        """What the ledger held when it was first open, then after each step."""
        self.acknowledged_at: list[int] = []
        """How many calls the disk had seen by then."""
        run(self._live(prepare))

    async def _live(self, prepare: str) -> None:
        ledger = await open_on(self.disk, self.path)
        connection(ledger).execute(prepare)

        async def step() -> None:
            self.states.append(await read_all(ledger))
            self.acknowledged_at.append(len(self.disk.calls))

        await step()
        await the_day(ledger, step)
        await ledger.close()

    def allowed(self, acknowledged: int) -> list[State]:
        """Return the states that may be found if so many were acknowledged: that one, or the one that was under way."""
        return self.states[max(acknowledged - 1, 0) : acknowledged + 1]

    def acknowledged_by(self, calls: int) -> int:
        """Return how many states were acknowledged before the disk's next call."""
        return sum(at <= calls for at in self.acknowledged_at)

    def violations(self, unsynced: Unsynced, seeds: int, place: Path) -> tuple[list[str], int]:
        """Cut the power after every call. Return what was wrong afterwards and how many different disks that made."""
        scratch = Disk()
        found: dict[tuple[tuple[str, bytes], ...], State] = {}
        wrong: list[str] = []
        for calls in range(len(self.disk.calls) + 1):
            for seed in range(seeds):
                files = self.disk.after_power_loss(calls, unsynced, seed=calls * seeds + seed)
                image = tuple(sorted(files.items()))
                if image not in found:
                    folder = place / str(len(found))
                    folder.mkdir()
                    for path, content in image:
                        (folder / Path(path).name).write_bytes(content)
                    found[image] = run(self._recover(scratch, folder))
                    shutil.rmtree(folder)
                if found[image] not in self.allowed(self.acknowledged_by(calls)):
                    wrong.append(f"power lost after call {calls}, unsynced {unsynced.value}, seed {seed}")
        return wrong, len(found)

    async def _recover(self, scratch: Disk, place: Path) -> State:
        ledger = await open_on(scratch, place / self.path.name)
        try:
            return await examine(ledger)
        finally:
            await ledger.close()
            scratch.calls.clear()


async def examine(ledger: SqliteLedger) -> State:
    """Return what a recovered ledger holds, after checking that it is sound and can go on."""
    state = await read_all(ledger)
    assert connection(ledger).pragma("integrity_check") == "ok"
    owner = Owner(ledger, await ledger.acquire(ROUTE, "after", AT_US))
    assert isinstance(await ledger.commit(owner.record("after")), Committed)
    await verify_chains(ledger)
    return state


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The script run once without a fault."""
    return Day(tmp_path_factory.mktemp("day") / "day.db")


@pytest.mark.parametrize(
    ("unsynced", "seeds", "least"), [(Unsynced.LOST, 1, 70), (Unsynced.KEPT, 1, 800), (Unsynced.MIXED, 2, 1100)]
)
def test_power_may_fail_between_any_two_calls(
    day: Day, unsynced: Unsynced, seeds: int, least: int, tmp_path: Path
) -> None:
    """NO-LOSS: wherever the power fails, what was acknowledged is there, and what was under way is there whole or not."""
    wrong, disks = day.violations(unsynced, seeds, tmp_path)
    points = (len(day.disk.calls) + 1) * seeds
    print(f"{points} crash points, {disks} different disks, unsynced {unsynced.value}")  # noqa: T201 - how much was searched
    assert wrong == []
    # A shorter script or another cache setting must not quietly shrink the search.
    assert disks >= least
    assert len(day.states) >= 40
    folded = [call for call in day.disk.calls if call.kind is Kind.WRITE and not call.suffix]
    assert len(folded) >= 150, "the log was hardly ever folded into the file"


def test_the_search_finds_a_ledger_that_does_not_sync(tmp_path: Path) -> None:
    """The canary: with ``synchronous = NORMAL``, which does not sync each commit, the same search finds losses."""
    careless = Day(tmp_path / "day.db", "PRAGMA synchronous = NORMAL")
    (tmp_path / "lost").mkdir()
    wrong, _ = careless.violations(Unsynced.LOST, 1, tmp_path / "lost")
    assert len(wrong) > 100


class Live:
    """The script on a disk with a plan for what fails, up to the failure."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.disk = Disk()
        self.disk.plan = plan
        self.acknowledged = 0
        self.error: LedgerError | None = None
        self.refused: list[object] = []
        """What became of everything tried after the failure."""
        self.retries = 0
        """Calls to the disk made by those tries."""

    async def go(self) -> None:
        """Run until the script ends or fails; try to go on; then close."""

        async def step() -> None:
            self.acknowledged += 1

        try:
            ledger = await open_on(self.disk, self.path)
        except LedgerError as error:
            self.error = error
            return
        try:
            await step()
            await the_day(ledger, step)
        except LedgerError as error:
            self.error = error
            seen = len(self.disk.calls) + len(self.disk.faults)
            tries = [
                ledger.commit(Change(route=ROUTE, epoch=1, at_us=AT_US, kind="note", payload="[]")),
                ledger.move_cursor(ROUTE, 1, CursorMove(STREAM, 0, 1)),
                ledger.save_positions(ROUTE, [], 0),
                ledger.acquire(ROUTE, "test", AT_US),
                ledger.renew(ROUTE, 1, AT_US, 1),
            ]
            self.refused = await asyncio.gather(*tries, return_exceptions=True)
            self.retries = len(self.disk.calls) + len(self.disk.faults) - seen
        finally:
            await ledger.close()

    def check_failed_closed(self) -> None:
        """Assert that a failure was told as one, naming the file, and that nothing was taken or tried after it."""
        if self.error is None:
            return
        assert str(self.path) in str(self.error)
        if self.acknowledged:
            assert isinstance(self.error, LedgerFailed)
            assert [type(result) for result in self.refused] == [LedgerFailed] * 5
        assert self.retries == 0

    async def recover(self, day: Day) -> None:
        """Open again, check what is there, go on, and check that not even a power loss now takes any of it away."""
        self.disk.plan = None
        ledger = await open_on(self.disk, self.path)
        try:
            assert await examine(ledger) in day.allowed(self.acknowledged)
            before = await read_all(ledger)
            self.disk.off = True
        finally:
            await ledger.close()
        self.disk.restore(Unsynced.LOST)
        ledger = await open_on(self.disk, self.path)
        try:
            assert await read_all(ledger) == before
            await verify_chains(ledger)
        finally:
            await ledger.close()


def nth(kind: Kind, number: int, fault: Fault, suffix: str | None = None, *, sticky: bool = False) -> Plan:
    """Return a plan by which such call ``number`` (from 0) fails, and every later one too if the fault is sticky."""
    seen = 0

    def plan(_index: int, call: Call) -> Fault | None:
        nonlocal seen
        if call.kind is not kind or suffix not in {None, call.suffix}:
            return None
        seen += 1
        return fault if seen == number + 1 or (sticky and seen > number) else None

    return plan


def count(day: Day, kind: Kind, suffix: str | None = None) -> int:
    """Return how many such calls the script makes."""
    return sum(call.kind is kind and suffix in {None, call.suffix} for call in day.disk.calls)


def fail_at_each(day: Day, place: Path, plans: list[Plan]) -> list[Live]:
    """Run the script once per plan, checking each time how it failed and what could be recovered."""
    lives = []
    for number, plan in enumerate(plans):
        life = Live(place / f"{number}.db", plan)
        run(life.go())
        assert life.disk.faults, f"plan {number} never came to its fault"
        life.check_failed_closed()
        run(life.recover(day))
        lives.append(life)
    return lives


@pytest.mark.parametrize("sticky", [False, True])
def test_a_failed_sync_stops_the_ledger(day: Day, sticky: bool, tmp_path: Path) -> None:
    """Whichever sync fails, once or from then on: nothing more is taken, nothing tried again, nothing acknowledged lost."""
    numbers = range(0, count(day, Kind.SYNC), 1 if sticky else 2)
    lives = fail_at_each(day, tmp_path, [nth(Kind.SYNC, n, Fault.SYNC_ERROR, sticky=sticky) for n in numbers])
    assert sum(life.error is not None for life in lives) > len(lives) // 2


@pytest.mark.parametrize(("fault", "sticky"), [(Fault.FULL, True), (Fault.IO_ERROR, False)])
def test_a_failed_write_stops_the_ledger(day: Day, fault: Fault, sticky: bool, tmp_path: Path) -> None:
    """A full disk or a failing sector: nothing more is taken, nothing acknowledged is lost, and it opens once there is room."""
    numbers = range(0, count(day, Kind.WRITE), 11)
    lives = fail_at_each(day, tmp_path, [nth(Kind.WRITE, n, fault, sticky=sticky) for n in numbers])
    assert sum(life.error is not None for life in lives) > len(lives) // 2


@pytest.mark.parametrize("unsynced", [Unsynced.KEPT, Unsynced.MIXED])
def test_a_torn_write_and_then_no_power(day: Day, unsynced: Unsynced, tmp_path: Path) -> None:
    """Half a write to the log, then darkness: every acknowledged commit is there, the chain holds, the rest is whole or not."""
    for number in range(0, count(day, Kind.WRITE, "-wal"), 9):
        life = Live(tmp_path / f"{number}.db", nth(Kind.WRITE, number, Fault.TORN, "-wal"))
        run(life.go())
        assert life.error is not None or life.acknowledged == len(day.states)
        life.disk.restore(unsynced, seed=number)
        run(life.recover(day))


def test_every_waiting_commit_is_told_of_a_failed_sync(tmp_path: Path) -> None:
    """When a sync fails, the group under way and all that wait behind it get LedgerFailed; those before it are safe."""

    async def scenario() -> None:
        disk = Disk()
        ledger = await open_on(disk, tmp_path / "l.db", inline=False)
        owner = Owner(ledger, await ledger.acquire(ROUTE, "test", AT_US))
        disk.plan = nth(Kind.SYNC, 2, Fault.SYNC_ERROR, "-wal")
        changes = [owner.record(f"k{n}") for n in range(2000)]
        futures = [ledger.commit(change) for change in changes]
        results = await asyncio.gather(*futures, return_exceptions=True)
        calls = len(disk.calls)
        late = await asyncio.gather(ledger.commit(owner.record("late")), ledger.orders(0, 1), return_exceptions=True)
        assert [type(result) for result in late] == [LedgerFailed, LedgerFailed]
        assert len(disk.calls) == calls
        await ledger.close()
        done = [isinstance(result, Committed) for result in results]
        safe = done.index(False)
        assert 0 < safe < len(done) - 1
        assert not any(done[safe:])
        assert {str(result) for result in results[safe:]} == {str(results[safe])}
        disk.plan = None
        ledger = await open_on(disk, tmp_path / "l.db")
        kept = [order.key for order in await ledger.orders(0, ALL)]
        assert kept[:safe] == [f"k{n}" for n in range(safe)]
        await verify_chains(ledger)
        await ledger.close()

    run(scenario())


@pytest.mark.parametrize("first", ["a group", "a cursor"])
def test_nothing_queued_runs_after_a_failed_sync(first: str, tmp_path: Path) -> None:
    """Work that was already queued for the writer when a sync failed is refused too, not written behind the failure."""

    async def scenario() -> None:
        disk = Disk()
        ledger = await open_on(disk, tmp_path / "l.db", inline=False)
        owner = Owner(ledger, await ledger.acquire(ROUTE, "test", AT_US))
        move = CursorMove(STREAM, 0, 1)
        disk.plan = nth(Kind.SYNC, 0, Fault.SYNC_ERROR, "-wal")
        group = [ledger.commit(owner.record("k"))] if first == "a group" else []
        await asyncio.sleep(0)  # the group, if there is one, is with the writer now
        queued = [ledger.move_cursor(ROUTE, owner.lease.epoch, move), ledger.acquire(ROUTE, "behind", AT_US)]
        results = await asyncio.gather(*group, *queued, return_exceptions=True)
        results += await asyncio.gather(ledger.commit(owner.record("late")), return_exceptions=True)
        assert {type(result) for result in results} == {LedgerFailed}
        assert len(disk.faults) == 1
        await ledger.close()
        ledger = await open_on(disk, tmp_path / "l.db")
        (route,) = await ledger.routes()
        assert route.epoch == owner.lease.epoch
        await ledger.close()

    run(scenario())


# Other processes.

COMMITTING = """
import asyncio, sys
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Committed
from onefill.testing.ledger_kit import AT_US, ROUTE, Owner

async def main(path, life):
    ledger = await SqliteLedger.open(path, seed=bytes(16), holder="child", at_us=1)
    ledger._file.connection.wal_autocheckpoint(50)
    owner = Owner(ledger, await ledger.acquire(ROUTE, "child", AT_US))

    async def submit(lane):
        for number in range(100_000):
            key = f"{life}-{lane}-{number}"
            assert isinstance(await ledger.commit(owner.record(key)), Committed)
            sys.stdout.write(key + "\\n")
            sys.stdout.flush()

    await asyncio.gather(*map(submit, range(8)))

asyncio.run(main(*sys.argv[1:]))
"""

HOLDING = """
import asyncio, sys
from onefill.ledger.sqlite import SqliteLedger
from onefill.testing.ledger_kit import AT_US, ROUTE, Owner

async def main(path):
    ledger = await SqliteLedger.open(path, seed=bytes(16), holder="desk 7, process 4711", at_us=1)
    owner = Owner(ledger, await ledger.acquire(ROUTE, "desk 7", AT_US))
    print("ready", flush=True)
    for line in sys.stdin:
        print(type(await ledger.commit(owner.record(line.strip()))).__name__, flush=True)

asyncio.run(main(sys.argv[1]))
"""

RACING = """
import asyncio, sys
from onefill.core.errors import LedgerInUse
from onefill.ledger.sqlite import SqliteLedger

async def main():
    print("ready", flush=True)
    while path := sys.stdin.readline().strip():
        try:
            found = await SqliteLedger.open(path, seed=bytes(16), holder="racer", at_us=1)
        except Exception as error:
            found = error
        known = isinstance(found, SqliteLedger | LedgerInUse)
        print(type(found).__name__ if known else repr(found), flush=True)
        sys.stdin.readline()
        if isinstance(found, SqliteLedger):
            await found.close()
        print("closed", flush=True)

asyncio.run(main())
"""

READING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM intent").fetchone()[0])
connection.close()
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program of its own; leaving the ``with`` around it waits for its end."""
    given = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process wrote."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], text: str) -> str:
    """Write the process a line and return its answer."""
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
    return line_of(process)


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """NO-LOSS: a process killed with -9 at any moment, again and again, leaves every acknowledged order behind."""
    path = tmp_path / "l.db"
    chance = random.Random(20240229)
    acknowledged: list[str] = []
    for life in range(5):
        with start(COMMITTING, path, life) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 600)):
                acknowledged.append(line_of(process))
            process.send_signal(signal.SIGKILL)
            # What it had already written stays in the pipe; a line cut in half was not told to anybody.
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]

    async def check() -> None:
        ledger = await open_at(path)
        orders = await ledger.orders(0, ALL)
        assert len({order.intent_id for order in orders}) == len(orders)
        keys = {order.key for order in orders}
        assert set(acknowledged) <= keys
        for key in acknowledged[:: max(1, len(acknowledged) // 50)]:
            loaded = await ledger.by_key(ACCOUNT, STRATEGY, key)
            assert loaded is not None
            assert loaded.order.copies
        await examine(ledger)
        await ledger.close()

    run(check())
    assert len(acknowledged) > 500


def test_a_second_process_is_told_who_has_the_ledger(tmp_path: Path) -> None:
    """ONE-WRITER: a ledger in use is refused, naming the holder, under any name; its writer notices nothing."""
    path = tmp_path / "l.db"
    link = tmp_path / "link.db"
    with start(HOLDING, path) as process:
        assert line_of(process) == "ready"
        link.symlink_to(path)
        for name in (path, link):
            with pytest.raises(LedgerInUse, match=r"desk 7, process 4711.*Nothing was changed") as refused:
                run(open_at(name))
            assert str(name) in str(refused.value)
        assert tell(process, "k1") == "Committed"
        process.kill()
        process.wait()

        async def after() -> None:
            ledger = await open_at(path)
            assert [order.key for order in await ledger.orders(0, ALL)] == ["k1"]
            await examine(ledger)
            await ledger.close()

        run(after())


def test_of_processes_that_start_at_once_one_gets_the_ledger(tmp_path: Path) -> None:
    """ONE-WRITER: processes that open a ledger in the same instant, new or not, get it once; the others are refused."""
    racers = [start(RACING) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for process in racers:
            stack.enter_context(process)
            assert line_of(process) == "ready"
        for number in range(12):
            path = tmp_path / f"{number % 8}.db"
            for process in racers:
                assert process.stdin is not None
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
            told = sorted(line_of(process) for process in racers)
            assert told == ["LedgerInUse"] * 3 + ["SqliteLedger"], number
            for process in racers:
                assert tell(process, "close") == "closed"


def test_readers_beside_a_writer(tmp_path: Path) -> None:
    """A read-only ledger opens beside a running writer, sees what is committed, also later, and writes nothing."""
    path = tmp_path / "l.db"

    async def scenario(process: "subprocess.Popen[str]") -> None:
        ledger = await SqliteLedger.open_read_only(str(path))
        for number in range(3):
            assert tell(process, f"k{number}") == "Committed"
            assert len(await ledger.orders(0, ALL)) == number + 1
        (route,) = await ledger.routes()
        await verify_chains(ledger)
        change = Change(route=ROUTE, epoch=route.epoch, at_us=AT_US, kind="note", payload="[]")
        results = await asyncio.gather(
            ledger.commit(change),
            ledger.acquire(ROUTE, "thief", AT_US),
            ledger.renew(ROUTE, route.epoch, AT_US, 1),
            return_exceptions=True,
        )
        assert all(isinstance(result, LedgerError) for result in results)
        await ledger.close()
        assert tell(process, "k3") == "Committed"

    with start(HOLDING, path) as process:
        assert line_of(process) == "ready"
        run(scenario(process))
        process.kill()


@pytest.mark.parametrize("peek", ["read-only", "second writer"])
def test_looking_at_the_file_does_not_drop_the_writers_locks(peek: str, tmp_path: Path) -> None:
    """NO-LOSS: after this process opened the file once more, another program that reads and closes it deletes no log.

    POSIX drops all of a process's locks on a file when it closes any descriptor of it. SQLite programs that then find
    nobody else there fold the log into the file and delete it: what the writer commits afterwards would be nowhere.
    """
    path = tmp_path / "l.db"

    async def scenario() -> None:
        ledger = await open_at(path)
        owner = Owner(ledger, await ledger.acquire(ROUTE, "test", AT_US))
        await owner.put(owner.record("before"))
        if peek == "read-only":
            reader = await SqliteLedger.open_read_only(str(path))
            await reader.orders(0, 1)
            await reader.close()
        else:
            with pytest.raises(LedgerInUse):
                await open_at(path)
        with start(READING, path) as process:
            assert line_of(process) == "1"
        await owner.put(owner.record("after"))
        for suffix in ("", "-wal"):  # what a kill would leave
            shutil.copyfile(f"{path}{suffix}", tmp_path / f"copy.db{suffix}")
        await ledger.close()
        ledger = await open_at(tmp_path / "copy.db")
        assert [order.key for order in await ledger.orders(0, ALL)] == ["before", "after"]
        await ledger.close()

    run(scenario())


# Files that are no ledgers, or not any more.


def make_ledger(path: Path, orders: int = 3) -> None:
    """Make a ledger with a few rows in every table, and close it."""

    async def work() -> None:
        ledger = await open_at(path)
        owner = Owner(ledger, await ledger.acquire(ROUTE, "test", AT_US))
        for number in range(orders):
            order = await owner.put(owner.record(f"k{number}"))
            wish = owner.operation(order, "op", answer=b'"gone"')
            cursor = CursorMove(STREAM, number, number + 1)
            await owner.put(owner.fill(order, f"e{number}", cursor, scope=f"s{number}"))
            await owner.commit(owner.note(opened=(wish,)))
        held = Position(account=ACCOUNT, strategy=STRATEGY, venue=ROUTE, instrument="ACME")
        await ledger.save_positions(ROUTE, [held], orders)
        await ledger.close()

    run(work())


def _other_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (a)")
        other.commit()


def _other_database_with_a_log(path: Path) -> None:
    """Make another program's database whose writer was killed: part of it is in its log."""
    source = path.with_name("source")
    with contextlib.closing(sqlite3.connect(source)) as other:
        other.execute("PRAGMA journal_mode = wal")
        other.execute("CREATE TABLE t (a)")
        other.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{source}{suffix}", f"{path}{suffix}")


def _newer(path: Path) -> None:
    make_ledger(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")


def _shortened_header(path: Path) -> None:
    make_ledger(path)
    path.write_bytes(path.read_bytes()[:60])


def _random_after_magic(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + random.Random(7).randbytes(8192))


NOT_LEDGERS: list[tuple[Callable[[Path], object], type[LedgerError], str]] = [
    (lambda path: path.write_text("key,quantity\nk1,100\n"), NotALedger, "not a SQLite file.*name another file"),
    (lambda path: path.write_bytes(bytes(10_000)), NotALedger, "not a SQLite file.*name another file"),
    (_other_database, NotALedger, "database of another program.*name another file"),
    (_other_database_with_a_log, NotALedger, "database of another program.*name another file"),
    (_shortened_header, NotALedger, "restore a copy"),
    (_random_after_magic, NotALedger, "restore a copy"),
    (_newer, LedgerTooNew, r"version 99, this one knows \d+.*install the newer"),
    (Path.mkdir, NotALedger, "is a folder.*name a file"),
]


@pytest.mark.parametrize(("make", "error", "told"), NOT_LEDGERS)
def test_what_is_no_ledger_is_refused_untouched(
    make: Callable[[Path], object], error: type[LedgerError], told: str, tmp_path: Path
) -> None:
    """A file that is something else is refused, for writing and reading; the text names it and what to do; nothing changes."""
    path = tmp_path / "l.db"
    make(path)

    def contents() -> dict[str, bytes]:
        # SQLite may leave an empty log and its index beside a file that it only read.
        found = {p.name: p.read_bytes() for p in sorted(tmp_path.iterdir()) if p.is_file() and p.suffix != ".db-shm"}
        return {name: content for name, content in found.items() if content or not name.endswith("-wal")}

    before = contents()
    for opening in (open_at, lambda p: SqliteLedger.open_read_only(str(p))):
        with pytest.raises(error, match=told) as refused:
            run(opening(path))
        assert type(refused.value) is error
        assert str(path) in str(refused.value)
        assert "untouched" in str(refused.value) or path.is_dir()
        assert contents() == before


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """An empty file is a fresh ledger to a writer, and no ledger yet to a reader."""
    path = tmp_path / "l.db"
    path.touch()
    with pytest.raises(NotALedger, match="is empty"):
        run(SqliteLedger.open_read_only(str(path)))
    assert path.read_bytes() == b""
    make_ledger(path)


def test_a_place_that_does_not_exist(tmp_path: Path) -> None:
    """A missing folder is named; a missing file is made for a writer only."""
    with pytest.raises(LedgerError, match="its folder does not exist; make it first") as missing:
        run(open_at(tmp_path / "none" / "l.db"))
    assert str(tmp_path / "none" / "l.db") in str(missing.value)
    with pytest.raises(NotALedger, match="there is no such file"):
        run(SqliteLedger.open_read_only(str(tmp_path / "l.db")))
    assert list(tmp_path.iterdir()) == []


async def use_everything(path: Path) -> list[BaseException]:
    """Open a damaged ledger, read all of it, write to it, and return what was raised."""
    try:
        ledger = await open_at(path)
    except LedgerError as error:
        return [error]
    works: list[Callable[[], Awaitable[object]]] = [
        ledger.routes,
        lambda: ledger.positions(ROUTE),
        lambda: ledger.orders(0, ALL),
        lambda: ledger.open_orders(ROUTE),
        lambda: ledger.by_key(ACCOUNT, STRATEGY, "k1"),
        lambda: ledger.by_client_order_id(ROUTE, "none"),
        lambda: ledger.operation(ACCOUNT, STRATEGY, "k1", "op"),
        lambda: ledger.executions(ROUTE, 0, ALL),
        lambda: ledger.outbox(ROUTE, 0, ALL),
        lambda: ledger.subscriptions(ROUTE),
        lambda: ledger.journal(ROUTE, 0, ALL),
        lambda: ledger.cursor(ROUTE, STREAM),
        lambda: ledger.matching_keys("k1"),
        lambda: ledger.history((1 << 40) + 1),
        lambda: ledger.last_orders(ALL),
    ]
    raised: list[BaseException] = []

    async def attempt(work: Callable[[], Awaitable[object]]) -> object:
        try:
            return await work()
        except (LedgerError, InvariantBroken) as error:
            raised.append(error)
            return None

    try:
        for work in works:
            await attempt(work)
        lease = await attempt(lambda: ledger.acquire(ROUTE, "after", AT_US))
        if lease is not None:
            owner = Owner(ledger, lease)  # type: ignore[arg-type]
            for change in (owner.record("fresh"), owner.record("k1"), owner.note(execution=owner.trade("e9"))):
                await attempt(lambda change=change: ledger.commit(change))  # type: ignore[misc]
    finally:
        await ledger.close()
    return raised


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    """Whichever page is overwritten, and whichever byte flips, what fails is a LedgerError that names the file."""
    whole, path = tmp_path / "whole.db", tmp_path / "damaged.db"
    make_ledger(whole, 20)
    content = whole.read_bytes()
    chance = random.Random(11)
    damaged = []
    for start_of_page in range(0, len(content), 4096):
        damaged.append((start_of_page, chance.randbytes(4096)))
        damaged.append((start_of_page, bytes(4096)))
    used = [at for at in range(len(content)) if content[at]]
    damaged += [(at, bytes([content[at] ^ (1 << chance.randrange(8))])) for at in chance.sample(used, 250)]
    noticed = 0
    for at, data in damaged:
        path.write_bytes(content[:at] + data + content[at + len(data) :])
        raised = run(use_everything(path))
        noticed += bool(raised)
        for error in raised:
            if isinstance(error, InvariantBroken) and "refused a row" in str(error):
                continue  # the byte that flipped was in a rule of the schema
            assert isinstance(error, LedgerError), f"{data[:4]!r} at {at}: {error!r}"
            assert str(path) in str(error), f"{data[:4]!r} at {at}: {error!r}"
        for beside in tmp_path.glob("damaged.db-*"):
            beside.unlink()
    assert noticed > len(content) // 4096


# What the schema itself refuses.


def test_the_schema_refuses_rows_that_break_the_rules(tmp_path: Path) -> None:
    """Each CHECK holds on its own: a change that gets past the core is refused as InvariantBroken and leaves nothing."""

    async def scenario() -> None:
        ledger = await open_at(tmp_path / "l.db")
        owner = Owner(ledger, await ledger.acquire(ROUTE, "test", AT_US))
        order = await owner.put(owner.record("k"))
        good = owner.move(order, ev.OutcomeUnknown(1, "timed out"), ev.Claimed(2, None), ev.Parked("nobody can tell"))
        assert good.order is not None
        change = msgspec.structs.replace
        claim = good.claims[0]
        wrong = [
            change(good, order=change(good.order, status="limbo")),
            change(good, order=change(good.order, status="filled")),  # ended, yet unanswered
            change(good, order=change(good.order, status="sending")),  # parked, yet its reply is awaited
            change(good, claims=(change(claim, copy=change(claim.copy, number=0)),)),
            change(good, settled=(), claims=(change(claim, copy=change(claim.copy, outcome="maybe")),)),
            change(good, cursor=CursorMove(STREAM, 0, -1)),
            change(good, opened=(owner.operation(None, "op", key="k"),)),  # of no order, yet unanswered
            change(good, execution=change(owner.trade("e1", order), side="up")),
            change(good, at_us="noon"),
            change(good, kind=None),
        ]
        before = await read_all(ledger)
        for number, broken in enumerate(wrong):
            beside = owner.note()
            results = await owner.commit(broken, beside)
            assert [type(result) for result in results] == [InvariantBroken, Committed], (number, results)
            assert {**await read_all(ledger), "journal": 0, "routes": 0} == {**before, "journal": 0, "routes": 0}
        await owner.put(good)
        await verify_chains(ledger)
        await ledger.close()

    run(scenario())


@pytest.mark.parametrize("table", ["journal", "execution"])
def test_the_log_tables_are_append_only(table: str, tmp_path: Path) -> None:
    """APPEND-ONLY: the database itself refuses to change or delete a journal entry or an execution, for any program."""
    path = tmp_path / "l.db"
    make_ledger(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        rows = other.execute(f"SELECT * FROM {table}").fetchall()
        assert rows
        for statement in (
            f"UPDATE {table} SET intent_id = intent_id",
            f"DELETE FROM {table}",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                other.execute(statement)
            other.rollback()
        assert other.execute(f"SELECT * FROM {table}").fetchall() == rows


def test_a_pipe_is_no_ledger(tmp_path: Path) -> None:
    """What is neither file nor folder is refused by name, and nothing is made beside it."""
    pipe = tmp_path / "orders.db"
    os.mkfifo(pipe)

    async def scenario() -> None:
        with pytest.raises(NotALedger, match="is a device or a pipe"):
            await SqliteLedger.open(str(pipe), seed=bytes(16), holder="suite", at_us=1)

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == [pipe]
