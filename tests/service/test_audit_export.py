"""Exports and proofs from a ledger: whole, verifiable with nothing but the file and a public key, and not to be changed."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from audit_kit import BASE, ROUTE, alter, checkpoint, keys, make, write

from onefill.core.audit_documents import InclusionProof
from onefill.core.errors import LedgerAltered
from onefill.service.audit_export import ExportAudit, export, verify_export, writing
from onefill.service.audit_marks import CheckpointFileError
from onefill.service.audit_proofs import NoProof, ProofFails, check_proof, prove, prove_growth
from onefill.service.signing import PublicKeys
from onefill.service.wiring import open_for_reading


class Signed:
    """A ledger with two routes and checkpoints, the longer route of 2,500 entries."""

    def __init__(self, folder: Path) -> None:
        signer, self.trusted, self.public = keys(folder)
        self.path = make(folder / "l.db", 1200)
        asyncio.run(write(self.path, 40, route="beta"))
        checkpoint(self.path, signer)
        asyncio.run(write(self.path, 1300, start=1_000_000))
        checkpoint(self.path, signer)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Return that ledger."""
    return Signed(tmp_path_factory.mktemp("signed"))


def exported(path: Path, file: Path, route: str | None = None, after: int = 0) -> Path:
    """Export a ledger to a file."""

    async def work() -> None:
        async with open_for_reading(path) as store:
            with writing(file) as add:
                async for chunk in export(store, route, after):
                    add(chunk)

    asyncio.run(work())
    return file


@pytest.mark.parametrize("name", ["e.ndjson", "e.ndjson.gz", "e.ndjson.xz"])
def test_an_export_is_verified_by_itself(signed: Signed, tmp_path: Path, name: str) -> None:
    """Every route and entry, each checkpoint where it belongs, packed as the name says."""
    file = exported(signed.path, tmp_path / name)
    found = verify_export(file, signed.trusted)
    assert found == ExportAudit(routes=[ROUTE, "beta"], entries=2540, checkpoints=3, fault=None, notes=[])
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_the_same_ledger_gives_the_same_file(signed: Signed, tmp_path: Path) -> None:
    """Byte for byte, packed too: two people can compare what they have."""
    for name in ("e.ndjson", "e.ndjson.gz", "e.ndjson.xz"):
        one = exported(signed.path, tmp_path / name).read_bytes()
        assert exported(signed.path, tmp_path / name).read_bytes() == one


def test_a_part_is_verified_from_where_it_begins(signed: Signed, tmp_path: Path) -> None:
    """One route from some entry on; what cannot be compared in it is said."""
    found = verify_export(exported(signed.path, tmp_path / "e", ROUTE, 1000), signed.trusted)
    assert (found.routes, found.entries, found.checkpoints, found.fault) == ([ROUTE], 1500, 2, None)
    assert found.notes == [
        "it does not begin with the first entry: Merkle roots were not compared, only where the chain stood"
    ]
    assert verify_export(exported(signed.path, tmp_path / "e", ROUTE, 9999), None).entries == 0


Lines = list[bytes]


def _replace(at: int, old: bytes, new: bytes) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        assert old in lines[at]
        return [*lines[:at], lines[at].replace(old, new, 1), *lines[at + 1 :]]

    return change


def _swap(lines: Lines) -> Lines:
    return [*lines[:7], lines[8], lines[7], *lines[9:]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_replace(0, b'"version":1', b'"version":2'), "line 1: is not the beginning of an export of version 1"),
        (lambda lines: lines[1:], "line 1: is not the beginning of an export of version 1"),
        (_replace(9, b'"at_us":1', b'"at_us":2'), "line 10: alpha: entry 8: its content was changed"),
        (lambda lines: lines[:9] + lines[10:], "line 10: alpha: entry 8: expected sequence 8, found 9"),
        (_swap, "line 8: alpha: entry 6: expected sequence 6, found 7"),
        (lambda lines: [*lines[:9], lines[8], *lines[9:]], "line 10: alpha: entry 8: expected sequence 8, found 7"),
        (_replace(9, b'"route":"alpha"', b'"route":"beta"'), "line 10: entry 8 is of route beta, which is not the one"),
        (_replace(9, b'"previous_hash":"', b'"previous_hash":"0'), "line 10: previous_hash is not 64 hex digits"),
        (_replace(9, b'"type":"entry"', b'"type":"other"'), "line 10: is not a line of an export: "),
        (_replace(1, b'"last":2500', b'"last":2501'), "line 2505: alpha: entry 2501: is missing, and 0 after it"),
        (
            _replace(1, b'"head":"', b'"head":"0'),
            "line 2505: alpha: entry 2500: is not the one in which the route is said",
        ),
        (_replace(1202, b'"size":1200', b'"size":1201'), "line 1203: a checkpoint of 1201 entries of alpha does not"),
        (
            _replace(1202, b'"at_us":1', b'"at_us":2'),
            "line 1203: the checkpoint of 1200 entries of alpha was not signed",
        ),
        (lambda lines: lines[:1202] + lines[1203:], "counts 2540 entries and 3 checkpoints; there are (2540, 2)"),
        (lambda lines: lines[:-1], "the file has no end: it was cut off, or not written to its end"),
        (lambda lines: [*lines, lines[-1]], "stands behind the end"),
        (lambda lines: [*lines[:-1], lines[1]], "route alpha comes a second time"),
        (lambda lines: [*lines[:-1], lines[0]], "begins an export inside an export"),
        (lambda lines: [*lines[:-1], lines[-1][:-5]], "is not a line of an export: "),
    ],
)
def test_whatever_is_changed_in_an_export_is_named(
    signed: Signed, tmp_path: Path, change: Callable[[Lines], Lines], told: str
) -> None:
    """With the line, and the entry where it is one."""
    file = exported(signed.path, tmp_path / "e")
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    found = verify_export(file, signed.trusted)
    assert not found.holds
    assert told in str(found.fault)


@pytest.mark.parametrize("name", ["e.gz", "e.xz"])
def test_a_packed_export_that_breaks_off_is_told(signed: Signed, tmp_path: Path, name: str) -> None:
    """It says that it breaks off, not that its record was changed."""
    file = exported(signed.path, tmp_path / name)
    file.write_bytes(file.read_bytes()[:-5000])
    assert "the file breaks off: " in str(verify_export(file, signed.trusted).fault)
    file.write_bytes(b"no such thing")
    with pytest.raises(CheckpointFileError, match=r"cannot be read: .*Nothing was verified"):
        verify_export(file, signed.trusted)


def test_without_a_key_an_export_vouches_for_nobody(signed: Signed, tmp_path: Path) -> None:
    """And says so; with a key and no checkpoint, likewise."""
    assert verify_export(exported(signed.path, tmp_path / "e"), None).notes == [
        "signatures were not verified: give --public-key"
    ]
    path = make(tmp_path / "l.db", 10)
    found = verify_export(exported(path, tmp_path / "e"), signed.trusted)
    assert found.notes == ["there is no checkpoint in the file: nothing shows that it is the chain that was signed"]


def test_a_ledger_with_a_gap_is_not_exported(signed: Signed, tmp_path: Path) -> None:
    """No file is left behind, and an older one of that name stays."""
    path = make(tmp_path / "l.db", 50)
    alter(path, f"DELETE FROM journal WHERE id = {BASE + 7}")
    (tmp_path / "e").write_text("mine")
    with pytest.raises(LedgerAltered, match="of the entries 1 to 50 some are missing"):
        exported(path, tmp_path / "e")
    assert (tmp_path / "e").read_text() == "mine"
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(NoProof, match="'gamma': is no route of this ledger"):
        exported(signed.path, tmp_path / "e", "gamma")
    with pytest.raises(CheckpointFileError, match="is not a plain file"):
        exported(signed.path, Path("/dev/null"))


# ------------------------------------------------------------------------- proofs


def proved(path: Path, sequence: int, route: str = ROUTE) -> InclusionProof:
    """Return the proof of an entry."""

    async def work() -> InclusionProof:
        async with open_for_reading(path) as store:
            return await prove(store, route, sequence)

    return asyncio.run(work())


def written(folder: Path, proof: object) -> Path:
    """Write a proof to a file."""
    path = folder / "proof.json"
    path.write_bytes(msgspec.json.encode(proof))
    return path


@pytest.mark.parametrize("sequence", [1, 2, 1200, 1201, 2047, 2048, 2049, 2500])
def test_an_entry_is_proved_with_no_ledger(signed: Signed, tmp_path: Path, sequence: int) -> None:
    """By the proof's file and the public key alone, under the newest checkpoint."""
    checked = check_proof(written(tmp_path, proved(signed.path, sequence)), signed.trusted)
    assert isinstance(checked, InclusionProof)
    assert (checked.entry.sequence, checked.checkpoint.size) == (sequence, 2500)


def test_growth_is_proved_with_no_ledger(signed: Signed, tmp_path: Path) -> None:
    """That the newest checkpoint's entries begin with those of an older one."""

    async def work() -> object:
        async with open_for_reading(signed.path) as store:
            with pytest.raises(NoProof, match="has no checkpoint of 7 entries"):
                await prove_growth(store, ROUTE, 7)
            return await prove_growth(store, ROUTE, 1200)

    checked = check_proof(written(tmp_path, asyncio.run(work())), signed.trusted)
    assert checked.checkpoint.size == 2500


def test_a_changed_or_forged_proof_fails(signed: Signed, tmp_path: Path) -> None:
    """What its entry says, what was signed, and by whom."""
    file = written(tmp_path, proved(signed.path, 17))
    genuine = file.read_text()
    for old, new, told in (
        ('"kind":"', '"kind":"x', "the entry's hash does not follow from what the entry says"),
        ('"size":2500', '"size":2501', "its checkpoint was not signed with key "),
    ):
        file.write_text(genuine.replace(old, new, 1))
        with pytest.raises(ProofFails, match=told):
            check_proof(file, signed.trusted)
    file.write_text(genuine)
    with pytest.raises(ProofFails, match=r"its checkpoint says it was signed with key .*; given was none"):
        check_proof(file, PublicKeys([]))
    document = json.loads(genuine)
    document["path"][0], document["path"][1] = document["path"][1], document["path"][0]
    file.write_text(json.dumps(document))
    with pytest.raises(ProofFails, match="the path does not lead from entry 17 to the signed root"):
        check_proof(file, signed.trusted)
    file.write_text("{")
    with pytest.raises(NoProof, match="is not a proof"):
        check_proof(file, signed.trusted)
    with pytest.raises(NoProof, match="cannot be read: No such file"):
        check_proof(tmp_path / "none", signed.trusted)


@pytest.mark.parametrize(
    ("route", "sequence", "told"),
    [
        (ROUTE, 0, "route alpha: has no entry 0; its entries are 1 to 2500"),
        (ROUTE, 2501, "route alpha: has no entry 2501"),
        ("gamma", 1, "'gamma': is no route of this ledger; there are: alpha, beta"),
    ],
)
def test_what_cannot_be_proved_is_told(signed: Signed, route: str, sequence: int, told: str) -> None:
    """An entry or route that is not there."""
    with pytest.raises(NoProof, match=told):
        proved(signed.path, sequence, route)


def test_an_entry_behind_the_last_checkpoint_waits_for_the_next(tmp_path: Path) -> None:
    """Without one there is nothing to prove it by; what makes one is said."""
    signer, _, _ = keys(tmp_path)
    path = make(tmp_path / "l.db", 10)
    with pytest.raises(NoProof, match="has no signed checkpoint; make one first with `onefill audit checkpoint`"):
        proved(path, 5)
    checkpoint(path, signer)
    asyncio.run(write(path, 10, start=1000))
    with pytest.raises(NoProof, match="entry 15 came after the newest checkpoint, which is of 10 entries"):
        proved(path, 15)


def test_an_altered_ledger_gives_no_proof(tmp_path: Path) -> None:
    """A proof that fails at whoever gets it would accuse the wrong one."""
    signer, _, _ = keys(tmp_path)
    path = make(tmp_path / "l.db", 10)
    checkpoint(path, signer)
    alter(path, f"UPDATE journal SET payload = '[]' WHERE id = {BASE + 5}")
    with pytest.raises(LedgerAltered, match="cannot be proved: the entry's hash does not follow"):
        proved(path, 5)
    assert proved(path, 6).entry.sequence == 6
    alter(path, f"UPDATE journal SET hash = zeroblob(32) WHERE id = {BASE + 2}")
    with pytest.raises(LedgerAltered, match="cannot be proved: the path does not lead from entry 6 to the signed root"):
        proved(path, 6)
