"""The audit chain: every journal entry carries a hash over itself and the entry before (promise APPEND-ONLY).

Changing, dropping, inserting or moving an entry breaks the chain at that place. A chain alone cannot show that its *end*
was cut off or that the whole was written anew; signed checkpoints kept elsewhere do.
"""

import hashlib

import msgspec

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
