"""The audit chain: every journal entry carries a hash over itself and the entry before (promise APPEND-ONLY).

Changing, dropping, inserting or moving an entry breaks the chain at that place. A chain alone cannot show that its *end*
was cut off or that the whole was written anew; signed checkpoints kept elsewhere do (:class:`Checkpoint`).
"""

import hashlib
from collections.abc import Sequence

import msgspec

JournalRow = tuple[int, int | None, str, str, int, int, bytes, bytes]
"""An entry without its route, as a page of many: sequence, intent_id, kind, payload, at_us, epoch, previous_hash, hash."""
DAY_US = 86_400_000_000
GENESIS = bytes(32)
"""The hash before a route's first entry."""


class JournalEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One entry of a route's journal. ``payload`` is the JSON text of its events, exactly as hashed."""

    route: str
    sequence: int
    intent_id: int | None
    kind: str
    payload: str
    at_us: int
    epoch: int
    previous_hash: bytes
    hash: bytes


def entry_hash(
    previous: bytes, route: str, sequence: int, intent_id: int | None, kind: str, payload: str, at_us: int, epoch: int
) -> bytes:
    """Return the hash of an entry: SHA-256 over the previous hash and the entry's canonical JSON."""
    body = msgspec.json.encode((1, route, sequence, intent_id, kind, payload, at_us, epoch))
    return hashlib.sha256(previous + body).digest()


def first_fault(entry: JournalEntry, expected_sequence: int, expected_previous: bytes) -> str | None:
    """Return what is wrong with an entry, given the one before it, or ``None``."""
    if entry.sequence != expected_sequence:
        return f"expected sequence {expected_sequence}, found {entry.sequence}: entries are missing or out of order"
    if entry.previous_hash != expected_previous:
        return "does not follow from the entry before it"
    made = entry_hash(
        entry.previous_hash,
        entry.route,
        entry.sequence,
        entry.intent_id,
        entry.kind,
        entry.payload,
        entry.at_us,
        entry.epoch,
    )
    if made != entry.hash:
        return "its content was changed after it was written"
    return None


class ChainEnd(msgspec.Struct, frozen=True, gc=False):
    """How far a route's chain was followed: its last entry's sequence, hash and epoch."""

    sequence: int = 0
    hash: bytes = GENESIS
    epoch: int = 0


class Archived(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A part of a route's journal that is no longer in the ledger, but in a file: a day's entries, ``first`` to ``last``.

    Everything before it is archived as well. ``head`` is the hash of entry ``last``, ``epoch`` its epoch: what the entries
    after it follow from. ``executions``: the execution log through this place is told of by archived entries. ``frontier`` is
    the Merkle tree over the first ``last`` entries, as :meth:`onefill.core.merkle.Frontier.to_bytes` writes it.
    """

    day: int
    """Counted from 1970."""
    first: int
    last: int
    head: bytes
    epoch: int
    executions: int
    frontier: bytes
    file: str
    """Its name in the archive's folder."""
    sha256: bytes
    """Of the file."""

    @property
    def end(self) -> ChainEnd:
        """Where the chain stands behind it."""
        return ChainEnd(self.last, self.head, self.epoch)


class Fault(msgspec.Struct, frozen=True, gc=False):
    """What is wrong with a chain, and at which entry it begins."""

    sequence: int
    problem: str

    def __str__(self) -> str:
        return f"entry {self.sequence}: {self.problem}"


_encode = msgspec.json.Encoder().encode


def follow(route: str, rows: Sequence[JournalRow], end: ChainEnd) -> tuple[ChainEnd, Fault | None]:
    """Follow a route's chain over its next entries. Return where it ended, and what is wrong with the entry behind that.

    The same rules as :func:`first_fault`, for many entries: every hash is computed from the stored columns, in one loop with
    nothing in it but that.
    """
    sha256, encode = hashlib.sha256, _encode
    sequence, previous, last_epoch = end.sequence, end.hash, end.epoch
    for row in rows:
        found, intent_id, kind, payload, at_us, epoch, previous_hash, made = row
        if (
            found != sequence + 1
            or previous_hash != previous
            or made != sha256(previous + encode((1, route, found, intent_id, kind, payload, at_us, epoch))).digest()
            or epoch < last_epoch
        ):
            end = ChainEnd(sequence, previous, last_epoch)
            return end, Fault(sequence + 1, _problem(route, row, end))
        sequence, previous, last_epoch = found, made, epoch
    return ChainEnd(sequence, previous, last_epoch), None


def _problem(route: str, row: JournalRow, end: ChainEnd) -> str:
    if row[0] == end.sequence + 1 and isinstance(row[5], int) and row[5] < end.epoch:
        return f"carries epoch {row[5]} after epoch {end.epoch}"
    fault = first_fault(entry_of(route, row), end.sequence + 1, end.hash)
    return fault or "cannot be told from what it says"  # never: whatever the loop found, first_fault finds too


def entry_of(route: str, row: JournalRow) -> JournalEntry:
    """Return the journal entry of a row."""
    return JournalEntry(
        route=route,
        sequence=row[0],
        intent_id=row[1],
        kind=row[2],
        payload=row[3],
        at_us=row[4],
        epoch=row[5],
        previous_hash=row[6],
        hash=row[7],
    )


class Checkpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Somebody who holds a key saw the first ``size`` entries of a route at ``at_us``, and signed what stands for them.

    ``head`` is the hash of entry ``size``, in which the chain up to there ends; ``root`` that of the Merkle tree over the
    entries' hashes (:mod:`onefill.core.merkle`).
    """

    route: str
    size: int
    root: bytes
    head: bytes
    at_us: int
    key_id: str
    """Which key signed: the first 16 hex digits of SHA-256 over the raw public key."""
    signature: bytes

    def note(self) -> bytes:
        """Return the bytes that are signed."""
        return note(self.route, self.size, self.root, self.head, self.at_us)


def note(route: str, size: int, root: bytes, head: bytes, at_us: int) -> bytes:
    """Return the canonical bytes of a checkpoint, which its signature is over: what it is, format version, then its fields."""
    return _encode(("onefill checkpoint", 1, route, size, root.hex(), head.hex(), at_us))


class StoredCheckpoint(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint as the ledger keeps it. ``frontier`` is the tree at its size, from which the next one goes on.

    The frontier is not signed: whoever uses it checks that it gives the root that is.
    """

    checkpoint: Checkpoint
    frontier: bytes
