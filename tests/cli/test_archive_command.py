"""``onefill archive``: a day of real orders goes into files; whoever sends them again still gets the first answers."""

import asyncio
import datetime as dt
from pathlib import Path

import asyncpg
import pytest
from cli_kit import Result, Venue, blotter, cancel, limit, onefill

from onefill.ledger.postgres_settings import place_of

_CLOCK = (
    "CREATE OR REPLACE FUNCTION onefill.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS "
    "$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 259200000000 $$"
)
ACCOUNT = "archived"


async def three_days_pass(url: str) -> None:
    """Move the database's clock on."""
    connection = await asyncpg.connect(place_of(url).url)
    await connection.execute(_CLOCK)
    await connection.close()


class Traded:
    """A PostgreSQL ledger with a signed day of orders, all of them over, three days later."""

    def __init__(self, url: str, folder: Path, exchange: Venue) -> None:
        self.url, self.exchange = url, exchange
        self.key, self.public, self.folder = folder / "k.pem", folder / "k.pem.pub", folder / "archive"
        self.folder.mkdir()
        self.route = f"exchange:{ACCOUNT}"
        assert onefill("migrate", url).code == 0
        assert onefill("audit", "keygen", self.key).code == 0
        self.settings = folder / "s.toml"
        self.settings.write_text(f'[audit]\nkey = "{self.key}"\ncheckpoints = "{folder}/c.ndjson"\n')
        self.file = blotter(folder, limit("a", "2"), limit("b"), cancel("a"), cancel("b"))
        self.first = self.run()
        asyncio.run(three_days_pass(url))

    def run(self) -> Result:
        """Send the file."""
        given = ("--venue", self.exchange.url, "--account", ACCOUNT, "--settings", self.settings)
        return onefill("run", self.file, "--ledger", self.url, *given, "--json")

    def archive(self, *more: object) -> Result:
        """Archive all that is there."""
        tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)
        return onefill("archive", self.url, "--before", tomorrow.isoformat(), "--to", self.folder, *more)


@pytest.fixture
def traded(postgres_url: str, tmp_path: Path, exchange: Venue) -> Traded:
    """Return such a ledger."""
    return Traded(postgres_url, tmp_path, exchange)


def test_a_day_is_archived_and_its_orders_are_sent_once(traded: Traded) -> None:
    """The file sent again after its day was archived gets the same answers, and the venue sees nothing of it; the record
    verifies and replays with the archive, and says where it begins without it."""
    assert traded.first.code == 0, traded.first
    orders = traded.exchange.orders(ACCOUNT)
    assert len(orders) == 2
    done = traded.archive("--public-key", traded.public)
    assert (done.code, done.err) == (0, "")
    assert " entries in 1 file, " in done.out
    assert traded.archive("--public-key", traded.public).out.startswith(
        "nothing to archive: no entries are older than "
    )

    again = traded.run()
    assert (again.code, again.json["rows"]) == (0, traded.first.json["rows"])
    assert traded.exchange.orders(ACCOUNT) == orders

    trusted = ("--public-key", traded.public)
    alone = onefill("audit", "verify", traded.url, *trusted)
    assert alone.code == 0, alone
    assert f"{traded.route}: entries " in alone.out
    assert "are archived, the last of them in " in alone.err
    whole = onefill("audit", "verify", traded.url, *trusted, "--archive", traded.folder)
    assert (whole.code, whole.err) == (0, ""), whole
    assert onefill("replay", traded.url, "--archive", traded.folder).code == 0
    cut = onefill("replay", traded.url)
    assert cut.code == 4
    assert "entry 1 is archived, in the file " in cut.err

    shown = onefill("show", "a", "--ledger", traded.url)
    assert "earlier entries may be archived" in shown.err
    assert "recorded" not in shown.out.partition("history")[2]
    full = onefill("show", "a", "--ledger", traded.url, "--archive", traded.folder)
    assert full.err == ""
    assert "recorded" in full.out.partition("history")[2]


def test_archived_entries_are_proved_and_exported_with_the_archive(traded: Traded, tmp_path: Path) -> None:
    """Alone, the ledger says which file has them."""
    assert traded.archive("--public-key", traded.public).code == 0
    proof, export = tmp_path / "proof.json", tmp_path / "all.ndjson"
    missing = onefill("audit", "prove", traded.url, traded.route, "2", "--out", proof)
    assert missing.code == 4
    assert "entry 2 is archived, in the file " in missing.err
    assert onefill("audit", "export", traded.url, "--out", export).code == 4
    named = ("--archive", traded.folder)
    assert onefill("audit", "prove", traded.url, traded.route, "2", "--out", proof, *named).code == 0
    assert onefill("audit", "check-proof", proof, "--public-key", traded.public).code == 0
    assert onefill("audit", "export", traded.url, "--out", export, *named).code == 0
    assert onefill("audit", "verify-export", export, "--public-key", traded.public).code == 0
    assert onefill("audit", "log", traded.url).out == ""


def test_what_is_refused_says_why(traded: Traded, tmp_path: Path) -> None:
    """Exit code 2 for what cannot be meant, 1 where a day stays because it is needed or cannot be proved."""
    for given, told in (
        ((), "--public-key: name the key that checkpoints are signed with"),
        (("--unsigned", "--public-key", traded.public), "--public-key: name the key"),
    ):
        refused = traded.archive(*given)
        assert (refused.code, refused.out) == (2, "")
        assert told in refused.err
    refused = onefill("archive", traded.url, "--before", "yesterday", "--to", traded.folder, "--unsigned")
    assert (refused.code, "--before: 'yesterday' is no day" in refused.err) == (2, True)
    refused = onefill(
        "archive", tmp_path / "orders.db", "--before", "2026-01-01", "--to", tmp_path, "--unsigned", "--json"
    )
    assert (refused.code, refused.json["kind"]) == (2, "CallerError")
    assert "only ledgers on PostgreSQL are archived" in refused.json["error"]
    traded.file.write_text(traded.file.read_text() + limit("c"))
    assert traded.run().code == 0
    refused = traded.archive("--public-key", traded.public, "--json")
    assert (refused.code, refused.json["days"]) == (1, [])
    assert "order 'c'" in refused.json["refused"]
    assert "is still open" in refused.json["refused"]
    done = traded.archive("--public-key", traded.public, "--open-orders", "--json")
    assert (done.code, done.json["refused"], len(done.json["days"])) == (0, None, 1)
