"""Proofs under signed checkpoints: that an entry is in the journal, that a journal only grew. Checking needs no ledger."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onefill.core import merkle
from onefill.core.audit import Checkpoint, entry_of
from onefill.core.audit_documents import (
    BadDocument,
    ConsistencyProof,
    InclusionProof,
    Proof,
    consistency_proof,
    inclusion_proof,
    proof_fault,
    read_proof,
)
from onefill.core.errors import CallerError, LedgerAltered
from onefill.ports.ledger import Ledger, RouteInfo

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_PAGE = 5000
_MAX_PROOF_BYTES = 10_000_000
Progress = Callable[[int], None]
P = TypeVar("P", InclusionProof, ConsistencyProof)


class NoProof(CallerError):
    """There is nothing to prove it with."""


class ProofFails(LedgerAltered):
    """A proof does not hold."""


async def prove(ledger: Ledger, route: str, sequence: int, on_progress: Progress = lambda _: None) -> InclusionProof:
    """Return the proof that an entry is among those of the route's newest checkpoint. Raises NoProof or LedgerAltered."""
    info = await _info(ledger, route)
    if not 0 < sequence <= info.journal_entries:
        raise NoProof(f"route {route}: has no entry {sequence}; its entries are 1 to {info.journal_entries}")
    checkpoint = await _newest(ledger, route)
    if sequence > checkpoint.size:
        raise NoProof(
            f"route {route}: entry {sequence} came after the newest checkpoint, which is of {checkpoint.size} entries; "
            "make one first with `onefill audit checkpoint`"
        )
    rows = await ledger.journal_rows(route, sequence - 1, 1)
    if not rows or rows[0][0] != sequence:
        raise LedgerAltered(f"route {route}: entry {sequence} is missing")
    path = await _roots(ledger, info, checkpoint, merkle.inclusion_ranges(sequence - 1, checkpoint.size), on_progress)
    proof = inclusion_proof(entry_of(route, rows[0]), path, checkpoint)
    return _checked(proof, route)


async def prove_growth(
    ledger: Ledger, route: str, size: int, on_progress: Progress = lambda _: None
) -> ConsistencyProof:
    """Return the proof that the newest checkpoint's entries begin with those of the one of ``size``. Raises likewise."""
    info = await _info(ledger, route)
    page = await ledger.checkpoints(route, size - 1, 1)
    if not page or page[0].checkpoint.size != size:
        raise NoProof(
            f"route {route}: has no checkpoint of {size} entries; `onefill audit export` lists those there are"
        )
    checkpoint = await _newest(ledger, route)
    path = await _roots(ledger, info, checkpoint, merkle.consistency_ranges(size, checkpoint.size), on_progress)
    return _checked(consistency_proof(page[0].checkpoint, path, checkpoint), route)


async def _info(ledger: Ledger, route: str) -> RouteInfo:
    routes = await ledger.routes()
    for info in routes:
        if info.name == route:
            return info
    raise NoProof(
        f"{route!r}: is no route of this ledger; there are: {', '.join(one.name for one in routes) or 'none'}"
    )


async def _newest(ledger: Ledger, route: str) -> Checkpoint:
    stored = await ledger.newest_checkpoint(route)
    if stored is None:
        raise NoProof(f"route {route}: has no signed checkpoint; make one first with `onefill audit checkpoint`")
    return stored.checkpoint


async def _roots(
    ledger: Ledger, info: RouteInfo, checkpoint: Checkpoint, ranges: list[merkle.Range], on_progress: Progress
) -> list[bytes]:
    """Compute the roots over ranges of entries, reading every hash up to the checkpoint once.

    Of entries that are archived the tree is enough, unless one of them is to be proved.
    """
    found, done = merkle.RangeRoots(ranges), 0
    if info.archived is not None and info.archived.last <= checkpoint.size:
        try:
            begin = merkle.Frontier.from_bytes(info.archived.last, info.archived.frontier)
            found, done = merkle.RangeRoots(ranges, begin), begin.size
        except ValueError:
            pass  # the archived entries are asked for, and that tells where they are
    while done < checkpoint.size:
        page = await ledger.journal_hashes(checkpoint.route, done, min(_PAGE, checkpoint.size - done))
        if not page:
            raise LedgerAltered(f"route {checkpoint.route}: entry {done + 1} is missing, and was signed")
        found.add(page)
        done += len(page)
        on_progress(len(page))
    return found.roots()


def _checked(proof: P, route: str) -> P:
    # A proof that does not hold is worse than none: whoever gets it would think the record was altered.
    fault = proof_fault(proof, lambda _: None)
    if fault is not None:
        raise LedgerAltered(f"route {route}: cannot be proved: {fault}. See what `onefill audit verify` says")
    return proof


def check_proof(path: Path, keys: "PublicKeys") -> Proof:
    """Check a proof's file by the given keys, and nothing else. Raises NoProof, or ProofFails if it does not hold."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_PROOF_BYTES + 1)
        if len(text) > _MAX_PROOF_BYTES:
            raise NoProof(f"{path}: is too large for a proof")
        proof = read_proof(text)
        fault = proof_fault(proof, keys.fault)
    except OSError as error:
        raise NoProof(f"{path}: cannot be read: {error.strerror or error}") from error
    except BadDocument as error:
        raise NoProof(f"{path}: {error}") from error
    if fault is not None:
        raise ProofFails(f"{path}: does not hold: {fault}")
    return proof
