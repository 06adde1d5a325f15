"""``onefill audit``: what an auditor types, from a key to a proof, and how each answer reads to people and to programs."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from cli_kit import Venue, blotter, limit, onefill
from test_manners import on_terminal


class Signed:
    """A ledger whose run signed it, with its key pair and its checkpoints outside."""

    def __init__(self, folder: Path, exchange: Venue) -> None:
        self.key, self.public, self.outside = folder / "k.pem", folder / "k.pem.pub", folder / "c.ndjson"
        self.ledger = folder / "orders.db"
        self.route = "exchange:audited"
        made = onefill("audit", "keygen", self.key)
        assert (made.code, made.err) == (0, "")
        settings = folder / "s.toml"
        settings.write_text(f'[audit]\nkey = "{self.key}"\ncheckpoints = "{self.outside}"\n')
        file = blotter(folder, limit("a"), limit("b"))
        run = ("run", file, "--ledger", self.ledger, "--venue", exchange.url, "--account", "audited")
        assert onefill(*run, "--settings", settings).code == 0


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, exchange: Venue) -> Signed:
    """Return such a ledger."""
    return Signed(tmp_path_factory.mktemp("signed"), exchange)


def test_a_run_signs_what_it_wrote(signed: Signed) -> None:
    """The ledger verifies against the public key and the file outside, named in either way."""
    for named in ((signed.ledger,), ("--ledger", signed.ledger)):
        trusted = ("--public-key", signed.public, "--checkpoints", signed.outside)
        done = onefill("audit", "verify", *named, *trusted)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"{signed.route}: ")
        assert done.out.endswith(" entries, chain holds, 2 checkpoints in agreement\n")
    found = onefill("audit", "verify", signed.ledger, *trusted, "--json").json
    assert (found["holds"], found["notes"], found["checkpoints"]) == (True, [], [])


def test_without_a_key_it_is_said_that_checkpoints_were_not_verified(signed: Signed) -> None:
    """To people on standard error, to programs in the document."""
    done = onefill("audit", "verify", signed.ledger)
    assert done.code == 0
    assert done.err.startswith(
        "checkpoints were not verified: the chain agrees with 1 checkpoint, but without a public key"
    )
    assert onefill("audit", "verify", signed.ledger, "--json").json["notes"] == [done.err.rstrip("\n")]


def test_verifying_shows_its_progress_on_a_terminal(signed: Signed) -> None:
    """How many entries of how many; into a pipe or file nothing of it goes."""
    seen = on_terminal("audit", "verify", signed.ledger)
    assert "verifying" in seen
    assert "100%" in seen


def test_another_key_is_not_trusted(signed: Signed, tmp_path: Path) -> None:
    """Exit code 5, and which key was given."""
    onefill("audit", "keygen", tmp_path / "other")
    done = onefill("audit", "verify", signed.ledger, "--public-key", tmp_path / "other.pub")
    assert done.code == 5
    assert "checkpoints: BROKEN: exchange:audited: the ledger's checkpoint of " in done.out


def test_a_cut_end_is_told_by_the_file_outside(signed: Signed, tmp_path: Path) -> None:
    """Head, tail and stored checkpoint gone together: without the file the ledger verifies, with it it does not."""
    path = tmp_path / "l.db"
    with contextlib.closing(sqlite3.connect(signed.ledger)) as one, contextlib.closing(sqlite3.connect(path)) as db:
        one.backup(db)
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("DELETE FROM journal WHERE id = (SELECT max(id) FROM journal)")
        db.execute(
            "UPDATE route SET last_sequence = last_sequence - 1, head = (SELECT hash FROM journal ORDER BY id DESC)"
        )
        db.execute("DELETE FROM checkpoint")
        db.commit()
    assert onefill("audit", "verify", path).code == 0
    done = onefill("audit", "verify", path, "--public-key", signed.public, "--checkpoints", signed.outside)
    assert done.code == 5
    assert "chain BROKEN at entry " in done.out
    assert f"(checkpoint {signed.outside} line 1): the end was cut off" in done.out
    made = onefill("audit", "checkpoint", path, "--key", signed.key, "--out", signed.outside)
    assert made.code == 5
    assert "Nothing was signed" in made.err


def test_a_checkpoint_is_made_by_hand(signed: Signed, tmp_path: Path) -> None:
    """Only where something is new; a ledger that is not there is not made."""
    done = onefill("audit", "checkpoint", signed.ledger, "--key", signed.key)
    assert (done.code, done.out) == (0, "")
    assert done.err == "nothing to sign: no route has grown since its last checkpoint\n"
    assert onefill("audit", "checkpoint", signed.ledger, "--key", signed.key, "--json").json == []
    none = onefill("audit", "checkpoint", tmp_path / "none.db", "--key", signed.key)
    assert (none.code, list(tmp_path.iterdir())) == (4, [])
    onefill("audit", "keygen", tmp_path / "second")
    made = onefill(
        "audit", "checkpoint", signed.ledger, "--key", tmp_path / "second", "--out", tmp_path / "c", "--json"
    ).json
    assert [one["route"] for one in made] == [signed.route]
    assert (tmp_path / "c").read_bytes().count(b"\n") == 1


def test_an_entry_is_proved_to_somebody_without_the_ledger(signed: Signed, tmp_path: Path) -> None:
    """From the proof's file and the public key; a changed one fails with exit code 5."""
    file = tmp_path / "proof.json"
    done = onefill("audit", "prove", signed.ledger, signed.route, 2, "--out", file)
    assert done.code == 0
    assert f"check it with `onefill audit check-proof {file} --public-key KEY.pub`" in done.out
    checked = onefill("audit", "check-proof", file, "--public-key", signed.public)
    assert checked.code == 0
    assert checked.out.startswith(f"holds: entry 2 of route {signed.route} is one of the ")
    assert "recorded: " in checked.out
    found = onefill("audit", "check-proof", file, "--public-key", signed.public, "--json").json
    assert (found["holds"], found["proof"]["entry"]["sequence"]) == (True, 2)
    printed = onefill("audit", "prove", signed.route, 2, "--ledger", signed.ledger)
    assert printed.out == file.read_text()
    file.write_text(file.read_text().replace('"epoch": 1', '"epoch": 2'))
    failed = onefill("audit", "check-proof", file, "--public-key", signed.public)
    assert failed.code == 5
    assert (
        failed.err
        == f"error: {file}: does not hold: the entry's hash does not follow from what the entry says: it was changed\n"
    )


def test_growth_is_proved_too(signed: Signed, tmp_path: Path) -> None:
    """That the journal of the newest checkpoint begins with an older one's."""
    size = onefill("audit", "verify", signed.ledger, "--json").json["routes"][0]["entries"]
    file = tmp_path / "proof.json"
    shown = onefill("audit", "prove", signed.ledger, signed.route, size, "--growth", "--out", file, "--json").json
    assert (shown["proof"], shown["size"]) == (str(file), size)
    checked = onefill("audit", "check-proof", file, "--public-key", signed.public)
    assert checked.out.startswith(
        f"holds: the first {size} entries of route {signed.route} stand unchanged among the {size} "
    )


def test_an_export_is_verified_without_the_ledger(signed: Signed, tmp_path: Path) -> None:
    """From a file, packed or not, and as it comes from standard output."""
    file = tmp_path / "e.ndjson.xz"
    done = onefill("audit", "export", signed.ledger, "--out", file)
    assert (done.code, done.err) == (0, "")
    verified = onefill("audit", "verify-export", file, "--public-key", signed.public)
    assert (verified.code, verified.err) == (0, "")
    assert verified.out.endswith(" entries of 1 route, 1 checkpoint: holds\n")
    piped = tmp_path / "piped"
    piped.write_text(onefill("audit", "export", "--ledger", signed.ledger).out)
    assert onefill("audit", "verify-export", piped, "--json").json["holds"] is True
    piped.write_text(piped.read_text().replace("recorded", "recalled", 1))
    broken = onefill("audit", "verify-export", piped)
    assert broken.code == 5
    assert "BROKEN at line 4: exchange:audited: entry 2: its content was changed after it was written" in broken.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("verify",), "name the ledger once, as in `onefill audit verify orders.db` or with --ledger orders.db"),
        (("verify", "{ledger}", "--ledger", "{ledger}"), "name the ledger once"),
        (("verify", "{ledger}", "--public-key", "{key}"), "is not a public key in PEM form: it is a private one"),
        (("verify", "{ledger}", "--checkpoints", "/no/such"), "/no/such: cannot be read: No such file or directory"),
        (
            ("prove", "{ledger}", "x"),
            "expected LEDGER ROUTE SEQUENCE, as in `onefill audit prove orders.db exchange:main 17`",
        ),
        (("prove", "x", "y", "--ledger", "{ledger}"), "'x y': expected ROUTE SEQUENCE"),
        (("prove", "{ledger}", "x", "1"), "'x': is no route of this ledger; there are: exchange:audited"),
        (("check-proof", "{ledger}"), "--public-key: is missing; by it alone a proof is worth something"),
        (("check-proof", "{ledger}", "--public-key", "{key}.pub"), "is not a proof: "),
        (("keygen", "{key}"), "is there already and was left as it is"),
        (("export", "{ledger}", "--route", "x"), "'x': is no route of this ledger"),
        (("verify-export", "/no/such"), "/no/such: cannot be read: "),
        (("checkpoint", "{ledger}", "--key", "{key}.pub"), "(a public key: the private one has no .pub)"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(signed: Signed, arguments: tuple[str, ...], told: str) -> None:
    """Where it is wrong and what would be right, to people and to programs alike."""
    given = [one.format(ledger=signed.ledger, key=signed.key) for one in arguments]
    signed.public.chmod(0o600)  # so that it is looked into
    done = onefill("audit", *given)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    document = onefill("audit", *given, "--json").json
    assert (document["exit_code"], told in document["error"]) == (2, True)


def test_a_run_whose_checkpoint_cannot_be_made_says_so_last(tmp_path: Path, exchange: Venue, account: str) -> None:
    """The orders are done and told of; the exit code tells a script of what is missing."""
    onefill("audit", "keygen", tmp_path / "k")
    settings = tmp_path / "s.toml"
    settings.write_text(f'[audit]\nkey = "{tmp_path}/k"\ncheckpoints = "{tmp_path}/none/c"\n')
    run = ("run", blotter(tmp_path, limit("a")), "--ledger", tmp_path / "l.db", "--venue", exchange.url)
    done = onefill(*run, "--account", account, "--settings", settings)
    assert done.code == 4
    assert "accepted" in done.out
    assert "no checkpoint: " in done.err
    found = onefill(*run, "--account", account, "--settings", settings, "--json").json
    assert (found["outcomes"], found["exit_code"]) == ({"accepted": 1}, 4)
    assert "a checkpoint cannot be added" in found["checkpoint_failed"]
