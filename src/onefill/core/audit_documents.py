"""What of the audit leaves a ledger, as JSON: entries, checkpoints, proofs. Each can be checked with no ledger at hand.

Hashes and signatures are hex. A payload is given as the text that was hashed, not as the JSON it holds: written anew by
another program, JSON may have other bytes.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from onefill.core import merkle
from onefill.core.audit import Checkpoint, JournalEntry, entry_hash

SignatureFault = Callable[[Checkpoint], str | None]
"""Tells what is wrong with a checkpoint's signature, by the keys that somebody trusts."""
_HEX_DIGITS = {"root": 64, "head": 64, "signature": 128, "hash": 64, "previous_hash": 64, "key_id": 16}


class BadDocument(ValueError):
    """The text is not the document that it should be."""


class EntryDocument(msgspec.Struct, frozen=True, kw_only=True, tag="entry", forbid_unknown_fields=True):
    """A journal entry."""

    route: str
    sequence: int
    intent_id: int | None
    kind: str
    payload: str
    at_us: int
    epoch: int
    previous_hash: str
    hash: str

    def entry(self) -> JournalEntry:
        """Return the entry. Raises BadDocument if a hash is none."""
        given: dict[str, Any] = _unhexed(self, "previous_hash", "hash")
        return JournalEntry(**given)


class CheckpointDocument(msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint", forbid_unknown_fields=True):
    """A signed checkpoint."""

    version: int
    route: str
    size: int
    root: str
    head: str
    at_us: int
    key_id: str
    signature: str

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint. Raises BadDocument if it is of another version, or a hash is none."""
        _require(self.version == 1, f"is of version {self.version}; this Onefill knows version 1")
        _require(self.size > 0, f"size {self.size} is not above zero")
        given: dict[str, Any] = _unhexed(self, "root", "head", "signature")
        del given["version"]
        return Checkpoint(**given)


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True, tag="inclusion_proof", forbid_unknown_fields=True):
    """Shows that an entry is one of those that a checkpoint stands for."""

    version: int
    entry: EntryDocument
    path: list[str]
    checkpoint: CheckpointDocument


class ConsistencyProof(msgspec.Struct, frozen=True, kw_only=True, tag="consistency_proof", forbid_unknown_fields=True):
    """Shows that what one checkpoint stands for begins with all that an older one stands for."""

    version: int
    older: CheckpointDocument
    path: list[str]
    checkpoint: CheckpointDocument


Proof = InclusionProof | ConsistencyProof
_proofs: msgspec.json.Decoder[Proof] = msgspec.json.Decoder(InclusionProof | ConsistencyProof)
_checkpoints = msgspec.json.Decoder(CheckpointDocument)


def entry_document(entry: JournalEntry) -> EntryDocument:
    """Return an entry as a document."""
    given = msgspec.structs.asdict(entry)
    return EntryDocument(**{**given, "previous_hash": entry.previous_hash.hex(), "hash": entry.hash.hex()})


def checkpoint_document(checkpoint: Checkpoint) -> CheckpointDocument:
    """Return a checkpoint as a document."""
    given = msgspec.structs.asdict(checkpoint)
    spelled = {name: given[name].hex() for name in ("root", "head", "signature")}
    return CheckpointDocument(version=1, **{**given, **spelled})


def checkpoint_line(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as one line of text."""
    return msgspec.json.encode(checkpoint_document(checkpoint)) + b"\n"


def read_checkpoint(line: bytes) -> Checkpoint:
    """Return the checkpoint that a line spells. Raises BadDocument."""
    try:
        return _checkpoints.decode(line).checkpoint()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadDocument(f"is not a checkpoint: {error}") from None


def inclusion_proof(entry: JournalEntry, path: list[bytes], checkpoint: Checkpoint) -> InclusionProof:
    """Return a proof as a document."""
    return InclusionProof(
        version=1,
        entry=entry_document(entry),
        path=[node.hex() for node in path],
        checkpoint=checkpoint_document(checkpoint),
    )


def consistency_proof(older: Checkpoint, path: list[bytes], checkpoint: Checkpoint) -> ConsistencyProof:
    """Return a proof as a document."""
    return ConsistencyProof(
        version=1,
        older=checkpoint_document(older),
        path=[node.hex() for node in path],
        checkpoint=checkpoint_document(checkpoint),
    )


def read_proof(text: bytes) -> Proof:
    """Return the proof that a document spells. Raises BadDocument."""
    try:
        proof = _proofs.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadDocument(f"is not a proof: {error}") from None
    _require(proof.version == 1, f"is a proof of version {proof.version}; this Onefill knows version 1")
    return proof


def proof_fault(proof: Proof, signature_fault: SignatureFault) -> str | None:
    """Return why a proof does not hold, or ``None``. Takes nothing but the proof and the keys. Raises BadDocument."""
    path, checkpoint = [_unhex("path", node, 64) for node in proof.path], proof.checkpoint.checkpoint()
    fault = signature_fault(checkpoint)
    if fault is not None:
        return f"its checkpoint {fault}"
    if isinstance(proof, InclusionProof):
        return _inclusion_fault(proof.entry.entry(), path, checkpoint)
    older = proof.older.checkpoint()
    fault = signature_fault(older)
    if fault is not None:
        return f"its older checkpoint {fault}"
    return _consistency_fault(older, path, checkpoint)


def _inclusion_fault(entry: JournalEntry, path: list[bytes], checkpoint: Checkpoint) -> str | None:
    if entry.route != checkpoint.route:
        return f"the entry is of route {entry.route!r}, the checkpoint of {checkpoint.route!r}"
    made = entry_hash(
        entry.previous_hash,
        *(entry.route, entry.sequence, entry.intent_id, entry.kind, entry.payload, entry.at_us, entry.epoch),
    )
    if made != entry.hash:
        return "the entry's hash does not follow from what the entry says: it was changed"
    if not merkle.inclusion_holds(entry.hash, entry.sequence - 1, checkpoint.size, path, checkpoint.root):
        return f"the path does not lead from entry {entry.sequence} to the signed root"
    return None


def _consistency_fault(older: Checkpoint, path: list[bytes], checkpoint: Checkpoint) -> str | None:
    if older.route != checkpoint.route:
        return f"the checkpoints are of two routes, {older.route!r} and {checkpoint.route!r}"
    if not merkle.consistency_holds(older.size, checkpoint.size, older.root, checkpoint.root, path):
        return f"the {checkpoint.size} entries do not begin with the {older.size} that were signed before"
    return None


def _unhexed(document: msgspec.Struct, *names: str) -> dict[str, Any]:
    given = msgspec.structs.asdict(document)
    for name in names:
        given[name] = _unhex(name, given[name], _HEX_DIGITS[name])
    return given


def _unhex(name: str, text: str, digits: int) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    # One spelling only: another one of the same bytes would be another document.
    _require(data.hex() == text and len(text) == digits, f"{name} is not {digits} hex digits, in small letters")
    return data


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise BadDocument(problem)
