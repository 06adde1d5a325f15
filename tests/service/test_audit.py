"""Verifying a ledger: whatever was altered after it was written is found and named, and a running writer is no alarm."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from run_kit import gateway, limit, make_exchange, run, run_text

from onefill.service.audit import Audit, verify
from onefill.service.wiring import open_for_reading

ROUTE = 1 << 40
"""Where the journal ids of the first route begin."""
REST = (
    "route, scope, intent_id, account, strategy, instrument, side, quantity, price, client_order_id, venue_order_id, "
    "transacted_at_us, recorded_at_us"
)


def audit(ledger: Path) -> Audit:
    """Return what verifying a ledger finds."""

    async def work() -> Audit:
        async with open_for_reading(ledger) as store:
            return await verify(store)

    return asyncio.run(work())


def alter(ledger: Path, statement: str, *values: object) -> None:
    """Change a closed ledger behind its back, its triggers removed."""
    with contextlib.closing(sqlite3.connect(ledger)) as db, db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(statement, values).rowcount > 0


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Return a closed ledger with two buys, two sells that filled them, and stored positions."""

    async def scenario() -> None:
        text = limit("a") + limit("b", side="sell") + limit("c", quantity="2") + limit("d", side="sell", quantity="2")
        async with gateway(tmp_path / "l.db", make_exchange()) as opened:
            await run_text(opened, tmp_path, text, in_flight=1)
            await opened.catch_up()

    run(scenario)
    return tmp_path / "l.db"


def test_an_untouched_ledger_holds(ledger: Path) -> None:
    """Every route's chain leads to its head, and positions follow from the executions."""
    found = audit(ledger)
    assert found.holds
    assert found.positions == []
    assert [(route.route, route.fault) for route in found.routes] == [("sim:main", None)]
    assert found.routes[0].entries > 8


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            f"UPDATE journal SET payload = replace(payload, '100', '101') WHERE id = {ROUTE + 2}",
            "entry 2: its content was changed after it was written",
        ),
        (f"UPDATE journal SET at_us = at_us + 1 WHERE id = {ROUTE + 3}", "entry 3: its content was changed"),
        (f"UPDATE journal SET hash = zeroblob(32) WHERE id = {ROUTE + 3}", "entry 3: its content was changed"),
        (
            f"UPDATE journal SET previous_hash = zeroblob(32) WHERE id = {ROUTE + 3}",
            "entry 3: does not follow from the entry before it",
        ),
        (f"UPDATE journal SET epoch = 0 WHERE id = {ROUTE + 4}", "entry 4: carries epoch 0 after epoch 1"),
        (f"DELETE FROM journal WHERE id = {ROUTE + 5}", "entry 5: expected sequence 5, found 6: entries are missing"),
        (f"DELETE FROM journal WHERE id > {ROUTE + 5}", "entry 6: is missing, and "),
        ("DELETE FROM journal", "entry 1: is missing, and "),
        ("UPDATE route SET head = zeroblob(32)", "the chain does not end in the hash that the route holds"),
        (
            "UPDATE route SET last_sequence = last_sequence - 1",
            "the chain does not end in the hash that the route holds",
        ),
        ("UPDATE route SET last_sequence = last_sequence + 1", ": is missing, and 0 after it"),
        ("UPDATE execution SET quantity = '9' WHERE id = 2", ", 1 at 100; the execution log has "),
        ("UPDATE execution SET price = '1' WHERE id = 1", " at 1, in its place"),
        ("UPDATE execution SET execution_id = 'E-none' WHERE id = 1", "the execution log has 'E-none', 1 at 100"),
        ("UPDATE execution SET intent_id = intent_id + 1 WHERE id = 1", ", in its place"),
        ("DELETE FROM execution WHERE id = 4", " is not in the execution log"),
        (
            f"INSERT INTO execution (id, execution_id, {REST}) SELECT 99, 'E-forged', {REST} FROM execution WHERE id = 1",
            "execution 'E-forged' is in the log and in no entry",
        ),
        ("UPDATE execution SET side = 'sell' WHERE id = 1", "with side 'buy'; the execution log has side 'sell'"),
        ("UPDATE execution SET account = 'x' WHERE id = 1", "with account 'main'; the execution log has account 'x'"),
        (
            "UPDATE execution SET strategy = 'x' WHERE id = 1",
            "with strategy 'blotter'; the execution log has strategy 'x'",
        ),
        (
            "UPDATE execution SET instrument = 'X' WHERE id = 1",
            "with instrument 'BTC-USD'; the execution log has instrument",
        ),
        ("UPDATE execution SET venue_order_id = 'X' WHERE id = 1", "; the execution log has venue_order_id 'X'"),
        (
            "UPDATE execution SET fee = '1', fee_currency = 'USD' WHERE id = 1",
            "fee None; the execution log has fee '1'",
        ),
        (
            "UPDATE execution SET kind = 'bust', refers_to = 'E9' WHERE id = 1",
            "with kind 'trade'; the execution log has kind 'bust'",
        ),
        ("UPDATE execution SET account = cast(x'ff' AS TEXT) WHERE id = 1", ": the execution log cannot be read: "),
    ],
)
def test_whatever_is_altered_is_found_and_named(ledger: Path, statement: str, fault: str) -> None:
    """Changed, deleted and added rows of journal and execution log, and a changed head, are told by entry."""
    alter(ledger, statement)
    found = audit(ledger)
    assert not found.holds
    assert fault in str(found.routes[0].fault)


def test_an_entry_beyond_the_end_is_found(ledger: Path) -> None:
    """A row added behind the last entry belongs to no chain."""
    end = audit(ledger).routes[0].entries
    alter(
        ledger,
        "INSERT INTO journal SELECT ?, intent_id, kind, payload, at_us, epoch, previous_hash, hash FROM journal WHERE id = ?",
        ROUTE + end + 1,
        ROUTE + end,
    )
    assert audit(ledger).routes[0].fault == f"entry {end + 1}: stands beyond the end that the route holds"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE position SET bought = '4'",
            "stored bought 4, sold 3, value 300 and 300, cost 0, 4 fills; the executions give bought 3",
        ),
        (
            "UPDATE position SET executions = 3",
            "3 fills; the executions give bought 3, sold 3, value 300 and 300, cost 0, 4 fills",
        ),
        (
            "UPDATE position SET account = 'other'",
            "account other, strategy blotter, sim:main, BTC-USD: stored bought 3",
        ),
        (
            "DELETE FROM position",
            "account main, strategy blotter, sim:main, BTC-USD: is not stored; the executions give",
        ),
        ("UPDATE route SET folded_through = folded_through - 1", "the executions give bought 3, sold 1,"),
    ],
)
def test_a_position_that_does_not_follow_from_the_executions_is_named(ledger: Path, statement: str, told: str) -> None:
    """The stored projection is compared with the fold of exactly the executions that it claims to hold."""
    alter(ledger, statement)
    found = audit(ledger)
    assert not found.holds
    assert found.routes[0].fault is None
    assert told in "\n".join(found.positions)


def test_verifying_beside_a_running_writer_raises_no_alarm(tmp_path: Path) -> None:
    """While orders and fills go in, every verification holds: a moving end is no altered record."""

    async def scenario() -> None:
        text = "".join(limit(f"b{n}") + limit(f"s{n}", side="sell") for n in range(300))
        exchange = make_exchange()
        seen: list[int] = []

        async def watch(done: Callable[[], bool]) -> None:
            async with open_for_reading(tmp_path / "l.db") as store:
                while not done():
                    found = await verify(store)
                    assert found.holds, found
                    seen.append(sum(route.entries for route in found.routes))

        async with gateway(tmp_path / "l.db", exchange) as opened:
            work = asyncio.create_task(run_text(opened, tmp_path, text, in_flight=8))
            await watch(work.done)
            await work
        assert len(set(seen)) > 1, "no verification saw the ledger grow"

    run(scenario, limit_s=60)
