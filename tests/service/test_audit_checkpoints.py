"""Making checkpoints: each costs only what is new, signs only what was verified, and stands outside the ledger too."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from audit_kit import BASE, Clock, alter, audit, checkpoint, keys, make, opened, write
from run_kit import limit, make_exchange, run, run_text

import onefill
from onefill.core.audit_documents import checkpoint_line, read_checkpoint
from onefill.core.errors import LedgerAltered, OnefillError
from onefill.ledger.sqlite import SqliteLedger
from onefill.service.audit import verify
from onefill.service.audit_checkpoints import Checkpointer, CheckpointFile, CheckpointsUnwritable, Every
from onefill.service.audit_keeper import Keeper, KeptLedger
from onefill.service.audit_marks import read_outside
from onefill.service.settings import AuditSettings
from onefill.service.signing import KeyFileError, PublicKeys, load_public
from onefill.service.wiring import open_for_reading
from onefill.sim.venue import SimulatedVenue
from onefill.testing.ledger_kit import Owner


def grow(path: Path, entries: int, start: int = 1_000_000) -> None:
    """Add entries to a closed ledger."""
    asyncio.run(write(path, entries, start=start))


def in_ledger(path: Path, work: Callable[[SqliteLedger], Awaitable[Any]]) -> Any:
    """Run something over an open ledger."""

    async def scenario() -> Any:
        ledger = await opened(path)
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    return asyncio.run(scenario())


def test_checkpoints_are_in_the_ledger_and_outside(tmp_path: Path) -> None:
    """Both agree with the chain; one more is made only when the route has grown."""
    signer, trusted, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 300), tmp_path / "c.ndjson"
    assert [checkpoint(path, signer, file) for _ in range(3)] == [1, 0, 0]
    grow(path, 50)
    assert checkpoint(path, signer, file) == 1
    assert [read_checkpoint(line).size for line in file.read_bytes().splitlines(keepends=True)] == [300, 350]
    found = audit(path, trusted, file)
    assert (found.holds, found.notes, found.routes[0].checkpoints) == (True, [], 4)


def test_a_checkpoint_costs_only_the_new_entries(tmp_path: Path) -> None:
    """The tree goes on from the one before: what was signed is not read again."""
    signer, _, _ = keys(tmp_path)
    path = make(tmp_path / "l.db", 900)
    checkpoint(path, signer)
    grow(path, 20)
    seen: list[int] = []
    made = in_ledger(path, lambda ledger: Checkpointer(signer, None, Clock()).make(ledger, seen.append))
    assert (made[0].size, sum(seen)) == (920, 20)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (f"UPDATE journal SET payload = '[]' WHERE id = {BASE + 330}", "entry 330: its content was changed"),
        (f"DELETE FROM journal WHERE id = {BASE + 340}", "entry 340: expected sequence 340, found 341"),
        (f"DELETE FROM journal WHERE id > {BASE + 340}", "entry 341: is missing"),
        ("UPDATE route SET head = zeroblob(32)", "the chain does not end in the hash that the route holds"),
        (
            f"UPDATE journal SET hash = zeroblob(32) WHERE id = {BASE + 300}",
            "entry 300: is not the one that was signed",
        ),
        ("UPDATE checkpoint SET root = zeroblob(32)", "its checkpoint of 300 entries was not signed with key "),
        (
            "UPDATE checkpoint SET frontier = zeroblob(32)",
            "the tree that is kept with its checkpoint of 300 entries is an",
        ),
        (
            "UPDATE checkpoint SET frontier = zeroblob(length(frontier))",
            "the tree that is kept with its checkpoint of 300 entries is another one",
        ),
        ("UPDATE route SET last_sequence = 299", "300 entries were signed at "),
        ("UPDATE checkpoint SET size = 99999", "its checkpoint of 99999 entries was not signed with key "),
    ],
)
def test_nothing_is_signed_that_does_not_hold(tmp_path: Path, change: str, told: str) -> None:
    """What was altered since the last checkpoint, or of it, is named, and no checkpoint is made."""
    signer, _, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 300), tmp_path / "c.ndjson"
    checkpoint(path, signer, file)
    grow(path, 50)
    alter(path, change)
    before = file.read_bytes()
    with pytest.raises(LedgerAltered, match="Nothing was signed") as raised:
        checkpoint(path, signer, file)
    assert told in str(raised.value)
    assert file.read_bytes() == before


def test_a_ledger_that_was_made_anew_is_not_signed(tmp_path: Path) -> None:
    """Another ledger in its place, longer than what the file outside says was signed: its chain is another one."""
    signer, _, _ = keys(tmp_path)
    file = tmp_path / "c.ndjson"
    checkpoint(make(tmp_path / "one.db", 100), signer, file)
    asyncio.run(write(tmp_path / "other.db", 200, start=500))
    with pytest.raises(LedgerAltered, match="entry 100: is not the one that was signed at 2023-11-14 22:13:20 UTC"):
        checkpoint(tmp_path / "other.db", signer, file)


def test_another_key_takes_nothing_on_trust(tmp_path: Path) -> None:
    """It follows the whole chain from its beginning, and its checkpoints are trusted beside the old ones."""
    first, _, first_public = keys(tmp_path)
    second, _, _ = keys(tmp_path, "second")
    path = make(tmp_path / "l.db", 200)
    checkpoint(path, first)
    grow(path, 30)
    seen: list[int] = []
    in_ledger(path, lambda ledger: Checkpointer(second, None, Clock()).make(ledger, seen.append))
    assert sum(seen) == 230
    both = PublicKeys([load_public(first_public), second.public])
    assert audit(path, both).holds
    one = audit(path, PublicKeys([second.public]))
    assert one.checkpoints == [
        f"alpha: the ledger's checkpoint of 200 entries says it was signed with key {first.key_id}; given was {second.key_id}"
    ]


def test_a_checkpoint_that_got_into_the_ledger_only_is_added_later(tmp_path: Path) -> None:
    """As after a crash between the two, or with a file that could not be written then."""
    signer, trusted, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 60), tmp_path / "c.ndjson"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(
        CheckpointsUnwritable, match=r"folder: a checkpoint cannot be added: .*It is kept in the ledger"
    ):
        in_ledger(path, lambda ledger: Checkpointer(signer, _NoFile(folder), Clock()).make(ledger))
    assert checkpoint(path, signer, file) == 0
    assert audit(path, trusted, file).routes[0].checkpoints == 2


class _NoFile(CheckpointFile):
    def newest(self, keys: object) -> dict[str, Any]:
        """Return nothing: the place is no file."""
        return {}


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_was_not_written_to_its_end_is_mended(tmp_path: Path, cut: int) -> None:
    """A torn line is dropped, a whole one without its line end gets it; neither is a fault, and nothing else is touched."""
    signer, trusted, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 60), tmp_path / "c.ndjson"
    checkpoint(path, signer, file)
    grow(path, 10)
    checkpoint(path, signer, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    found = audit(path, trusted, file)
    assert found.holds
    assert found.notes == ([f"{file} line 2: was not written to its end, and was left out"] if cut > 1 else [])
    checkpoint(path, signer, file)
    assert file.read_bytes().count(b"\n") == 1 + (cut > 1)
    grow(path, 10, start=2_000_000)
    checkpoint(path, signer, file)
    assert audit(path, trusted, file).notes == []
    assert file.read_bytes().startswith(whole)


def test_a_file_that_others_wrote_into_is_not_added_to(tmp_path: Path) -> None:
    """A line that is no checkpoint of this key is told, with its number."""
    signer, trusted, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 60), tmp_path / "c.ndjson"
    forged = keys(tmp_path, "forger")[0].checkpoint("alpha", 9, bytes(32), bytes(32), 1)
    for line, told in (
        (b"hello\n", "line 1: is not a checkpoint"),
        (checkpoint_line(forged), "says it was signed with key"),
    ):
        file.write_bytes(line)
        with pytest.raises(LedgerAltered, match=f"{told}.*Nothing was signed or added"):
            checkpoint(path, signer, file)
        assert file.read_bytes() == line
        assert told in audit(path, trusted, file).checkpoints[0]


def test_a_route_that_is_gone_is_told(tmp_path: Path) -> None:
    """The file outside knows of it."""
    signer, trusted, _ = keys(tmp_path)
    file = tmp_path / "c.ndjson"
    checkpoint(make(tmp_path / "l.db", 60), signer, file)
    path = tmp_path / "other.db"
    asyncio.run(write(path, 10, route="beta"))
    assert audit(path, trusted, file).checkpoints == [
        f"{file} line 1: 60 entries of route alpha were signed; this ledger has no such route"
    ]


def test_several_routes_have_each_their_own(tmp_path: Path) -> None:
    """Two chains, two trees, one file."""
    signer, trusted, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 60), tmp_path / "c.ndjson"
    asyncio.run(write(path, 70, route="beta"))
    assert checkpoint(path, signer, file) == 2
    found = audit(path, trusted, file)
    assert [(route.route, route.checkpoints) for route in found.routes] == [("alpha", 2), ("beta", 2)]


def test_without_a_key_signatures_are_not_vouched_for(tmp_path: Path) -> None:
    """The chain is compared all the same, and it is said what that is worth."""
    signer, _, _ = keys(tmp_path)
    path = make(tmp_path / "l.db", 60)
    assert audit(path).notes == [
        "checkpoints were not verified: there are none to compare with, and no public key was given"
    ]
    checkpoint(path, signer)
    assert "without a public key nobody can tell who signed; give --public-key" in audit(path).notes[0]
    alter(path, "UPDATE checkpoint SET root = zeroblob(32)")
    assert "has another Merkle root than the entries" in str(audit(path).routes[0].fault)


def test_with_a_key_and_no_checkpoint_it_is_said_what_that_means(tmp_path: Path) -> None:
    """A chain that holds and was never signed shows no cut end."""
    _, trusted, _ = keys(tmp_path)
    found = audit(make(tmp_path / "l.db", 10), trusted)
    assert found.holds
    assert found.notes == [
        "no checkpoint agrees with the chain: a cut end, or a chain that was written anew, would not be seen"
    ]


def test_checkpoints_are_due_by_entries_and_by_time(tmp_path: Path) -> None:
    """Many new entries at once; few of them after a while; none never."""
    signer, _, _ = keys(tmp_path)
    path, clock = make(tmp_path / "l.db", 30), Clock()
    work = Checkpointer(signer, None, clock, Every(entries=40, seconds=10))

    async def later(seconds: float) -> bool:
        clock.at_us += round(seconds * 1_000_000)
        return bool(await asyncio.to_thread(in_ledger, path, work.due))

    async def scenario() -> list[bool]:
        seen = [await later(9.9), await later(0.1)]
        await asyncio.to_thread(in_ledger, path, work.make)
        seen += [await later(100)]
        await asyncio.to_thread(in_ledger, path, work.make)
        await write(path, 39, start=1000)
        seen += [await later(0)]
        await write(path, 1, start=2000)
        return [*seen, await later(0)]

    assert asyncio.run(scenario()) == [False, True, False, False, True]


# -------------------------------------------------------------- by a gateway itself


def gateway_run(tmp_path: Path, audit_settings: AuditSettings, key: str, tell: Any = None) -> None:
    """Trade through a gateway with these settings."""

    async def scenario() -> None:
        venues = {"sim:main": SimulatedVenue(make_exchange(), "main")}
        path = tmp_path / f"{key}.db"
        async with onefill.open(path, venues=venues, audit=audit_settings, on_audit_trouble=tell) as opened_gateway:
            await run_text(opened_gateway, tmp_path, limit(key))

    run(scenario)


def test_a_gateway_makes_its_last_checkpoint_when_it_closes(tmp_path: Path) -> None:
    """Of everything that it wrote, to the last entry."""
    _, trusted, _ = keys(tmp_path)
    settings = AuditSettings(key=str(tmp_path / "key"), checkpoints=str(tmp_path / "c.ndjson"))
    gateway_run(tmp_path, settings, "a")
    found = audit(tmp_path / "a.db", trusted, tmp_path / "c.ndjson")
    made = read_checkpoint((tmp_path / "c.ndjson").read_bytes())
    assert found.holds
    assert (made.route, made.size, found.routes[0].checkpoints) == ("sim:main", found.routes[0].entries, 2)


def test_a_gateway_makes_checkpoints_as_it_runs(tmp_path: Path) -> None:
    """As soon as one is due, and without anybody asking."""
    signer, _, _ = keys(tmp_path)
    file, path = tmp_path / "c.ndjson", make(tmp_path / "l.db", 30)

    async def scenario() -> None:
        ledger = await opened(path)
        made = asyncio.Event()

        class Noticed(Checkpointer):
            async def make(self, *arguments: Any) -> Any:
                """Make them, and say so."""
                try:
                    return await super().make(*arguments)
                finally:
                    made.set()

        work = Noticed(signer, CheckpointFile(file), Clock(), Every(entries=10))
        keeper = Keeper(work, pytest.fail, look_every_s=0.001)
        keeper.start(ledger)
        await made.wait()
        assert read_checkpoint(file.read_bytes()).size == 30
        await keeper.finish(ledger)
        await ledger.close()

    run(scenario)


def test_a_key_that_cannot_be_used_is_found_before_anything_starts(tmp_path: Path) -> None:
    """No ledger is made, nothing is sent."""
    settings = AuditSettings(key=str(tmp_path / "none"), checkpoints=str(tmp_path / "c.ndjson"))
    with pytest.raises(KeyFileError, match="none: cannot be read"):
        gateway_run(tmp_path, settings, "a")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_made_stops_no_order(tmp_path: Path) -> None:
    """The orders are sent and answered; whoever asked hears of it, or gets the error when all is closed."""
    keys(tmp_path)
    settings = AuditSettings(key=str(tmp_path / "key"), checkpoints=str(tmp_path / "missing" / "c.ndjson"))
    heard: list[OnefillError] = []
    gateway_run(tmp_path, settings, "a", heard.append)
    assert [type(error) for error in heard] == [CheckpointsUnwritable]
    with pytest.raises(CheckpointsUnwritable, match="orders are not touched by this"):
        gateway_run(tmp_path, settings, "b")
    for name in ("a", "b"):
        found = audit(tmp_path / f"{name}.db")
        assert found.holds
        assert found.routes[0].checkpoints == 1


def test_verifying_while_checkpoints_are_made_raises_no_alarm(tmp_path: Path) -> None:
    """A checkpoint of entries that came after the reader began is no cut end, and those before it are compared."""
    signer, trusted, _ = keys(tmp_path)
    path, file = make(tmp_path / "l.db", 30), tmp_path / "c.ndjson"

    async def scenario() -> None:
        ledger = await KeptLedger.open(str(path), seed=bytes(16), holder="test", at_us=1)
        ledger.keep(Keeper(Checkpointer(signer, CheckpointFile(file), Clock(), Every(entries=20)), pytest.fail, 0.001))
        owner = Owner(ledger, await ledger.acquire("alpha", "test", 1))
        agreed = 0
        async with open_for_reading(path) as store:
            for number in range(150):
                await owner.commit(*(owner.note() for _ in range(10)))
                outside = read_outside(trusted, *([file] if number > 100 and file.exists() else []))
                found = await verify(store, keys=trusted, outside=outside)
                assert found.holds, found
                assert agreed <= found.routes[0].checkpoints or number == 101
                agreed = found.routes[0].checkpoints
        await ledger.close()
        assert agreed > 4

    run(scenario, limit_s=60)
    assert audit(path, trusted, file).holds
