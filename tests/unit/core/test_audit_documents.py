"""Checkpoints and proofs outside a ledger: one spelling, and nothing in them can be changed unnoticed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from onefill.core.audit import GENESIS, Checkpoint, JournalRow, entry_hash, entry_of, note
from onefill.core.audit_documents import (
    BadDocument,
    Proof,
    checkpoint_line,
    consistency_proof,
    inclusion_proof,
    proof_fault,
    read_checkpoint,
    read_proof,
)
from onefill.core.merkle import RangeRoots, consistency_ranges, inclusion_ranges, root_of

SIZE = 11


def rows() -> list[JournalRow]:
    """Return a chain."""
    made: list[JournalRow] = []
    previous = GENESIS
    for sequence in range(1, SIZE + 1):
        content = (sequence, 7, "traded", f'[{{"type":"note","é":{sequence}}}]', 1000 + sequence, 1)
        made.append((*content, previous, entry_hash(previous, "sim", *content)))
        previous = made[-1][7]
    return made


def signed(size: int, **changes: Any) -> Checkpoint:
    """Return a checkpoint of the chain's beginning. Who signed is not looked at here."""
    hashes = [row[7] for row in rows()][:size]
    given: dict[str, Any] = {"route": "sim", "size": size, "root": root_of(hashes), "head": hashes[-1]}
    return Checkpoint(**{**given, "at_us": 5, "key_id": "00112233aabbccdd", "signature": bytes(64), **changes})


def inclusion(sequence: int = 4) -> Proof:
    """Return the proof of an entry."""
    roots = RangeRoots(inclusion_ranges(sequence - 1, SIZE))
    roots.add([row[7] for row in rows()])
    return inclusion_proof(entry_of("sim", rows()[sequence - 1]), roots.roots(), signed(SIZE))


def growth(old: int = 6) -> Proof:
    """Return the proof that the chain began with its first entries."""
    roots = RangeRoots(consistency_ranges(old, SIZE))
    roots.add([row[7] for row in rows()])
    return consistency_proof(signed(old), roots.roots(), signed(SIZE))


def anyone(_: Checkpoint) -> str | None:
    """Find no fault with any signature."""
    return None


def test_what_is_signed_is_pinned() -> None:
    """The canonical bytes of a checkpoint never change: what was signed once can be verified by every later version."""
    assert note("exchange:main", 3, bytes(32), bytes(range(32)), 17) == (
        b'["onefill checkpoint",1,"exchange:main",3,"' + b"0" * 64 + b'",'
        b'"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",17]'
    )


def test_a_checkpoint_comes_back_from_its_line() -> None:
    """One line, one checkpoint, and the same again."""
    line = checkpoint_line(signed(3))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_checkpoint(line) == signed(3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda line: line[:-20], "is not a checkpoint: "),
        (lambda line: b"\xff", "is not a checkpoint: "),
        (lambda line: b"[]", "is not a checkpoint: "),
        (lambda line: line.replace(b'"version":1', b'"version":2'), "is of version 2; this Onefill knows version 1"),
        (lambda line: line.replace(b'"size":3', b'"size":0'), "size 0 is not above zero"),
        (lambda line: line.replace(b'"root":"', b'"root":"00'), "root is not 64 hex digits, in small letters"),
        (lambda line: line.replace(b'"head":"', b'"head":"x'), "head is not 64 hex digits"),
        (lambda line: line.replace(b'"version":1', b'"version":1,"more":1'), "is not a checkpoint: "),
    ],
)
def test_a_line_that_is_no_checkpoint_is_refused(change: Callable[[bytes], bytes], told: str) -> None:
    """Whatever is wrong with it is said."""
    with pytest.raises(BadDocument, match=told):
        read_checkpoint(change(checkpoint_line(signed(3))))


def test_hex_has_one_spelling() -> None:
    """Capitals would spell the same bytes, and make another document."""
    line = checkpoint_line(signed(3, root=b"\xab" * 32))
    with pytest.raises(BadDocument, match="root is not 64 hex digits, in small letters"):
        read_checkpoint(line.replace(b"ab" * 32, b"AB" * 32))


@pytest.mark.parametrize("sequence", range(1, SIZE + 1))
def test_every_entry_is_proved(sequence: int) -> None:
    """From what was written to a file and read again, with no ledger."""
    proof = read_proof(msgspec.json.encode(inclusion(sequence)))
    assert proof_fault(proof, anyone) is None


@pytest.mark.parametrize("old", range(1, SIZE + 1))
def test_every_growth_is_proved(old: int) -> None:
    """Likewise, from every earlier size."""
    assert proof_fault(read_proof(msgspec.json.encode(growth(old))), anyone) is None


@pytest.mark.parametrize(
    ("part", "field", "value", "told"),
    [
        ("entry", "payload", "[]", "the entry's hash does not follow from what the entry says: it was changed"),
        ("entry", "at_us", 1, "the entry's hash does not follow"),
        ("entry", "kind", "x", "the entry's hash does not follow"),
        ("entry", "intent_id", None, "the entry's hash does not follow"),
        ("entry", "epoch", 2, "the entry's hash does not follow"),
        ("entry", "sequence", 5, "the entry's hash does not follow"),
        ("entry", "previous_hash", "00" * 32, "the entry's hash does not follow"),
        ("entry", "hash", "00" * 32, "the entry's hash does not follow"),
        ("entry", "route", "x", "the entry is of route 'x', the checkpoint of 'sim'"),
        ("checkpoint", "root", "00" * 32, "the path does not lead from entry 4 to the signed root"),
        ("checkpoint", "size", 20, "the path does not lead from entry 4 to the signed root"),
        ("checkpoint", "size", 3, "the path does not lead from entry 4 to the signed root"),
        (None, "path", [], "the path does not lead from entry 4 to the signed root"),
    ],
)
def test_a_changed_proof_does_not_hold(part: str | None, field: str, value: object, told: str) -> None:
    """Whichever of its fields is changed; what the signature covers is the signature's to find as well."""
    document = msgspec.json.decode(msgspec.json.encode(inclusion()))
    (document if part is None else document[part])[field] = value
    assert told in str(proof_fault(read_proof(msgspec.json.encode(document)), anyone))


def test_a_growth_that_did_not_happen_does_not_hold() -> None:
    """Another older root, or another route."""
    document = msgspec.json.decode(msgspec.json.encode(growth()))
    document["older"]["root"] = "00" * 32
    told = proof_fault(read_proof(msgspec.json.encode(document)), anyone)
    assert told == "the 11 entries do not begin with the 6 that were signed before"
    document["older"]["route"] = "x"
    told = proof_fault(read_proof(msgspec.json.encode(document)), anyone)
    assert told == "the checkpoints are of two routes, 'x' and 'sim'"


@pytest.mark.parametrize(
    ("make", "bad", "told"), [(inclusion, 11, "its"), (growth, 11, "its"), (growth, 6, "its older")]
)
def test_a_checkpoint_that_is_not_trusted_proves_nothing(make: Callable[[], Proof], bad: int, told: str) -> None:
    """Each checkpoint of a proof must be signed by a trusted key."""
    assert proof_fault(make(), lambda one: "is forged" if one.size == bad else None) == f"{told} checkpoint is forged"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"{}", "is not a proof: "),
        (b"\xff\xfe", "is not a proof: "),
        (msgspec.json.encode(inclusion()).replace(b'"version":1', b'"version":3', 1), "is a proof of version 3"),
    ],
)
def test_a_file_that_is_no_proof_is_refused(text: bytes, told: str) -> None:
    """It is said to be none, rather than to be one that does not hold."""
    with pytest.raises(BadDocument, match=told):
        read_proof(text)
