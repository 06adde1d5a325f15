"""Whatever is done to one entry of a thousand is found, and the entry that is named is the right one."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from audit_kit import BASE, ROUTE, Rows, alter, audit, checkpoint, keys, make, read_rows, with_info, write

from onefill.core.audit import GENESIS, JournalRow, entry_hash
from onefill.service.audit import verify
from onefill.service.signing import PublicKeys, load_public

ENTRIES = 1000
SEQUENCE, INTENT, KIND, PAYLOAD, AT, EPOCH, PREVIOUS, HASH = range(8)
Case = tuple[str, list[JournalRow], int, dict[str, Any]]
"""What was done, the rows after it, the entry that must be named, what the attacker changed of the route."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Return a chain of a thousand entries that the real writer wrote to a real file."""
    path = make(tmp_path_factory.mktemp("chain") / "l.db", ENTRIES, parts=0)
    found = asyncio.run(read_rows(path))
    assert len(found.rows) == ENTRIES == found.info.journal_entries
    return found


def altered(row: JournalRow, **changes: Any) -> JournalRow:
    """Return a row with some columns changed."""
    if list(changes) == ["sequence"]:
        return (changes["sequence"], *row[1:])
    names = ("sequence", "intent_id", "kind", "payload", "at_us", "epoch", "previous_hash", "hash")
    given = dict(zip(names, row, strict=True)) | changes
    return tuple(given[name] for name in names)  # type: ignore[return-value]


def hashed(row: JournalRow) -> JournalRow:
    """Return a row with the hash that belongs to its content."""
    return altered(row, hash=entry_hash(row[PREVIOUS], ROUTE, *row[:PREVIOUS]))


def misses(chain: Rows, cases: Iterator[Case]) -> tuple[list[str], int]:
    """Verify altered chains as the command does. Return those in which another entry was named, and how many there were."""

    async def work() -> tuple[list[str], int]:
        missed, count = [], 0
        for done, rows, place, route in cases:
            count += 1
            found = (await verify(Rows(rows, chain.log, with_info(chain, **route)))).routes[0]  # type: ignore[arg-type]
            if found.fault is None or not found.fault.startswith(f"entry {place}: "):
                missed.append(f"{done}: entry {place} expected, told: {found.fault}")
        return missed, count

    return asyncio.run(work())


def flipped(data: bytes) -> bytes:
    """Return bytes with one bit changed."""
    return bytes([data[0] ^ 1]) + data[1:]


CHANGES: dict[str, Callable[[JournalRow], JournalRow]] = {
    "kind": lambda row: altered(row, kind=row[KIND] + "x"),
    "payload": lambda row: altered(row, payload=row[PAYLOAD].replace("t", "T", 1)),
    "payload, a space that means nothing": lambda row: altered(row, payload=row[PAYLOAD].replace(",", ", ", 1)),
    "at_us": lambda row: altered(row, at_us=row[AT] + 1),
    "epoch": lambda row: altered(row, epoch=row[EPOCH] + 1),
    "epoch, below the one before": lambda row: altered(row, epoch=0),
    "intent_id": lambda row: altered(row, intent_id=(row[INTENT] or 0) + 1),
    "intent_id, none": lambda row: altered(row, intent_id=None if row[INTENT] else 1),
    "previous_hash": lambda row: altered(row, previous_hash=flipped(row[PREVIOUS])),
    "hash": lambda row: altered(row, hash=flipped(row[HASH])),
    "sequence, far beyond": lambda row: altered(row, sequence=row[SEQUENCE] + 5000),
    "sequence, below the first": lambda row: altered(row, sequence=-row[SEQUENCE]),
}


def test_an_untouched_chain_holds(chain: Rows) -> None:
    """The rows in memory verify as the file does."""
    found = asyncio.run(verify(chain)).routes[0]  # type: ignore[arg-type]
    assert (found.fault, found.entries) == (None, ENTRIES)


@pytest.mark.parametrize("column", CHANGES)
def test_every_change_of_every_entry_is_found_at_that_entry(chain: Rows, column: str) -> None:
    """Each column of each of the thousand entries."""

    def cases() -> Iterator[Case]:
        for at, row in enumerate(chain.rows):
            changed = CHANGES[column](row)
            assert changed != row
            yield f"{column} of {at + 1}", [*chain.rows[:at], changed, *chain.rows[at + 1 :]], at + 1, {}

    missed, count = misses(chain, cases())
    assert missed == []
    assert count == ENTRIES


def test_every_change_with_a_new_hash_is_found_at_the_next_entry(chain: Rows) -> None:
    """An attacker who gives the entry the hash of its new content breaks the entry after it; of the last, the route's head."""

    def cases() -> Iterator[Case]:
        for at, row in enumerate(chain.rows):
            changed = hashed(altered(row, payload='[{"type":"note"}]'))
            place = min(at + 2, ENTRIES)
            yield f"rewritten {at + 1}", [*chain.rows[:at], changed, *chain.rows[at + 1 :]], place, {}

    missed, count = misses(chain, cases())
    assert missed == []
    assert count == ENTRIES


@pytest.mark.parametrize("renumbered", [False, True])
def test_every_deletion_is_found_where_the_entry_was(chain: Rows, renumbered: bool) -> None:
    """Also if the rest is numbered anew and the route's count made to fit."""

    def cases() -> Iterator[Case]:
        for at in range(ENTRIES):
            rest = chain.rows[at + 1 :]
            if renumbered:
                rest = [altered(row, sequence=row[SEQUENCE] - 1) for row in rest]
            place = at if renumbered and at == ENTRIES - 1 else at + 1
            route = {"journal_entries": ENTRIES - 1} if renumbered else {}
            yield f"deleted {at + 1}", [*chain.rows[:at], *rest], place, route

    missed, count = misses(chain, cases())
    assert missed == []
    assert count == ENTRIES


@pytest.mark.parametrize("valid", [False, True])
@pytest.mark.parametrize("counted", [False, True])
def test_every_insertion_is_found(chain: Rows, valid: bool, counted: bool) -> None:
    """A copy of another entry is named itself; one that follows rightly from the one before, the entry that stood there.

    The rest is numbered anew, with the route's count made to fit or not.
    """

    def cases() -> Iterator[Case]:
        for at in range(ENTRIES + 1):
            rest = [altered(row, sequence=row[SEQUENCE] + 1) for row in chain.rows[at:]]
            if valid:
                before = chain.rows[at - 1] if at else None
                previous, epoch = (before[HASH], before[EPOCH]) if before else (GENESIS, 1)
                put_in = hashed((at + 1, None, "note", '[{"type":"note"}]', 1, epoch, previous, GENESIS))
                place = at + 2
            else:
                put_in = altered(chain.rows[(at + 500) % ENTRIES], sequence=at + 1)
                place = at + 1
            if valid:  # at the end it is the head that is another one, or the entry stands beyond it
                place = min(place, max(ENTRIES + counted, at + 1))
            route = {"journal_entries": ENTRIES + 1} if counted else {}
            yield f"inserted after {at}", [*chain.rows[:at], put_in, *rest], place, route

    missed, count = misses(chain, cases())
    assert missed == []
    assert count == ENTRIES + 1


@pytest.mark.parametrize("distance", [1, 2, 337, 999])
def test_every_swap_is_found_at_the_first_of_the_two(chain: Rows, distance: int) -> None:
    """Neighbours and entries far apart, each with the other's number."""

    def cases() -> Iterator[Case]:
        for at in range(ENTRIES - distance):
            rows = list(chain.rows)
            one, other = rows[at], rows[at + distance]
            rows[at] = altered(other, sequence=one[SEQUENCE])
            rows[at + distance] = altered(one, sequence=other[SEQUENCE])
            yield f"swapped {at + 1} and {at + distance + 1}", rows, at + 1, {}

    missed, count = misses(chain, cases())
    assert missed == []
    assert count == ENTRIES - distance


# ------------------------------------------------------------------ through the file

PLACES = (1, 2, 334, 999, 1000)
FILE_CHANGES = {
    "kind": "UPDATE journal SET kind = kind || 'x' WHERE id = {id}",
    "payload": "UPDATE journal SET payload = replace(payload, '\"', '''') WHERE id = {id}",
    "at_us": "UPDATE journal SET at_us = at_us - 1 WHERE id = {id}",
    "epoch": "UPDATE journal SET epoch = epoch + 1 WHERE id = {id}",
    "intent_id": "UPDATE journal SET intent_id = coalesce(intent_id, 0) + 1 WHERE id = {id}",
    "previous_hash": "UPDATE journal SET previous_hash = randomblob(32) WHERE id = {id}",
    "hash": "UPDATE journal SET hash = randomblob(32) WHERE id = {id}",
    "sequence": "UPDATE journal SET id = id + 5000 WHERE id = {id}",
    "deletion": "DELETE FROM journal WHERE id = {id}",
    "text that is no text": "UPDATE journal SET payload = cast(x'5bff' AS TEXT) WHERE id = {id}",
}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a ledger of a thousand entries, its keys and its checkpoints outside, all of it as it should be."""
    folder = tmp_path_factory.mktemp("signed")
    signer, trusted, _ = keys(folder)
    path = make(folder / "l.db", 600)
    assert checkpoint(path, signer, folder / "c.ndjson") == 1
    asyncio.run(_grow(path, 400))
    assert checkpoint(path, signer, folder / "c.ndjson") == 1
    found = audit(path, trusted, folder / "c.ndjson")
    assert found.holds
    assert (found.routes[0].entries, found.routes[0].checkpoints) == (ENTRIES, 4)
    return folder


async def _grow(path: Path, entries: int) -> None:
    await write(path, entries, start=1_000_000)


@pytest.fixture
def ledger(signed: Path, tmp_path: Path) -> Path:
    """Return a copy of that ledger."""
    path = tmp_path / "l.db"
    with closing(sqlite3.connect(signed / "l.db")) as one, closing(sqlite3.connect(path)) as other:
        one.backup(other)
    return path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", FILE_CHANGES)
def test_a_change_in_the_file_is_found_at_its_entry(ledger: Path, change: str, place: int) -> None:
    """The same, through the file as an attacker meets it, its triggers dropped."""
    alter(ledger, FILE_CHANGES[change].format(id=BASE + place))
    assert str(audit(ledger).routes[0].fault).startswith(f"entry {place}: ")


@pytest.mark.parametrize(("one", "other"), [(1, 2), (1, 1000), (500, 501), (999, 1000), (3, 700)])
def test_a_swap_in_the_file_is_found_at_the_first(ledger: Path, one: int, other: int) -> None:
    """Two rows exchange their ids."""
    alter(
        ledger,
        f"UPDATE journal SET id = -1 WHERE id = {BASE + one}",
        f"UPDATE journal SET id = {BASE + one} WHERE id = {BASE + other}",
        f"UPDATE journal SET id = {BASE + other} WHERE id = -1",
    )
    assert str(audit(ledger).routes[0].fault).startswith(f"entry {one}: ")


@pytest.mark.parametrize("after", [0, 1, 499, 999, 1000])
def test_an_insertion_in_the_file_is_found(ledger: Path, after: int) -> None:
    """A copy of an entry, with all behind it moved up by one and the route's count made to fit."""
    alter(
        ledger,
        f"UPDATE journal SET id = -id WHERE id > {BASE + after}",
        "UPDATE journal SET id = 1 - id WHERE id < 0",
        f"INSERT INTO journal SELECT {BASE + after + 1}, intent_id, kind, payload, at_us, epoch, previous_hash, hash "
        f"FROM journal WHERE id = {BASE + (after or 3)}",
        "UPDATE route SET last_sequence = last_sequence + 1",
    )
    assert str(audit(ledger).routes[0].fault).startswith(f"entry {after + 1}: ")


def rewrite(path: Path, place: int, *, last: int = ENTRIES) -> None:
    """Change an entry as an attacker does who computes all later hashes anew, and cuts off what is behind ``last``.

    A ``place`` behind the last only cuts. Whatever else would give it away is made to fit.
    """
    with closing(sqlite3.connect(path)) as db, db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("DELETE FROM journal WHERE id > ?", (BASE + last,))
        rows = db.execute(
            "SELECT id - ?, intent_id, kind, payload, at_us, epoch, hash FROM journal WHERE id >= ? ORDER BY id",
            (BASE, BASE + min(place - 1, last)),
        ).fetchall()
        previous = rows.pop(0)[6] if place > 1 else GENESIS
        for sequence, intent_id, kind, payload, at_us, epoch, _ in rows:
            moved = at_us + 1 if sequence == place else at_us
            made = entry_hash(previous, ROUTE, sequence, intent_id, kind, payload, moved, epoch)
            db.execute(
                "UPDATE journal SET at_us = ?, previous_hash = ?, hash = ? WHERE id = ?",
                (moved, previous, made, BASE + sequence),
            )
            previous = made
        db.execute("UPDATE route SET head = ?, last_sequence = ?", (previous, last))
        if last < ENTRIES:  # what would give the cut away by other ways
            told = db.execute("SELECT count(*) FROM journal WHERE payload LIKE '%\"execution_id\"%'").fetchone()[0]
            db.execute("DELETE FROM execution WHERE id > ?", (told,))
            db.execute("UPDATE route SET folded_through = 0")
            db.execute("DELETE FROM position")


@pytest.mark.parametrize("stored_gone", [False, True])
@pytest.mark.parametrize(
    ("place", "told"), [(1, "entries 1 to 600"), (600, "entries 1 to 600"), (601, "entries 601 to 1000")]
)
def test_a_chain_written_anew_is_found_by_its_checkpoint_alone(
    signed: Path, ledger: Path, tmp_path: Path, place: int, told: str, stored_gone: bool
) -> None:
    """Every later hash computed anew: the chain itself holds. A checkpoint outside tells, and between which two it was done."""
    rewrite(ledger, place)
    if stored_gone:
        alter(ledger, "DELETE FROM checkpoint")
        assert audit(ledger).holds
    trusted = _trusted(signed)
    found = audit(ledger, trusted, signed / "c.ndjson")
    assert not found.holds
    fault = str(found.routes[0].fault)
    assert fault.startswith(f"{told}: are not those that were signed at 2023-11-14 22:13:20 UTC (checkpoint ")
    assert fault.endswith("): the chain was written anew")


@pytest.mark.parametrize("stored_gone", [False, True])
@pytest.mark.parametrize("last", [999, 600, 1])
def test_a_cut_end_is_found_by_the_checkpoint_alone(signed: Path, ledger: Path, last: int, stored_gone: bool) -> None:
    """Tail and head cut off together, checkpoints too: the file outside tells how many are missing."""
    rewrite(ledger, 1001, last=last)
    if stored_gone:
        alter(ledger, f"DELETE FROM checkpoint WHERE size > {last}")
        assert audit(ledger).holds
    found = audit(ledger, _trusted(signed), signed / "c.ndjson")
    size = 600 if last < 600 else ENTRIES
    assert str(found.routes[0].fault).startswith(
        f"entry {last + 1}: is missing, and {size - last - 1} after it: {size} entries were signed at "
    )
    assert str(found.routes[0].fault).endswith("): the end was cut off")


def _trusted(signed: Path) -> PublicKeys:
    return PublicKeys([load_public(signed / "key.pub")])
