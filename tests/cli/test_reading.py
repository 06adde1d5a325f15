"""``orders``, ``show``, ``cancel``, ``positions`` and ``audit verify``: what a person sees, and what a program gets."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Venue, blotter, limit, onefill, serve


@pytest.fixture(scope="module")
def market() -> Iterator[Venue]:
    """Run an exchange that matches."""
    with serve("exchange") as url:
        yield Venue(url)


@pytest.fixture
def traded(tmp_path: Path, ledger: Path, market: Venue, account: str) -> Path:
    """Return a ledger with a bought 1 and a sold 0.4 that met, and an open buy at another price."""
    file = blotter(tmp_path, limit("a"), limit("b", "0.4", side="sell"), limit("c", "2", price="1.5"))
    done = onefill(
        "run", file, "--ledger", ledger, "--venue", market.url, "--account", account, "--in-flight", 1, "--json"
    )
    assert done.code == 0, done
    assert onefill("cancel", "a", "--ledger", ledger, "--venue", market.url).out == "a is canceled, 0.4 filled\n"
    return ledger


def test_orders_are_one_line_each_when_piped(traded: Path, account: str) -> None:
    """Plain columns of full width, without colours or frames."""
    done = onefill("orders", "--ledger", traded)
    assert done.code == 0
    lines = [line.split()[:9] for line in done.out.splitlines()]
    assert lines[0] == ["key", "account", "strategy", "instrument", "side", "quantity", "price", "status", "filled"]
    assert lines[1:] == [
        ["a", account, "blotter", "BTC-USD", "buy", "1", "100", "canceled", "0.4"],
        ["b", account, "blotter", "BTC-USD", "sell", "0.4", "100", "filled", "0.4"],
        ["c", account, "blotter", "BTC-USD", "buy", "2", "1.5", "new", "0"],
    ]
    assert "\x1b" not in done.out
    assert [line.split()[0] for line in onefill("orders", "--ledger", traded, "--limit", 1).out.splitlines()] == [
        "key",
        "c",
    ]
    assert [one["key"] for one in onefill("orders", "--ledger", traded, "--open", "--json").json] == ["c"]


def test_positions_follow_from_the_executions(traded: Path, account: str) -> None:
    """From the projection and from every execution alike; numbers as plain text in JSON."""
    for more in ((), ("--recompute",)):
        (one,) = onefill("positions", "--ledger", traded, "--json", *more).json
        assert (one["account"], one["instrument"], one["venue"]) == (account, "BTC-USD", f"exchange:{account}")
        assert (one["bought"], one["sold"], one["quantity"], one["executions"]) == ("0.4", "0.4", "0", 2)
        assert onefill("positions", "--ledger", traded, *more).out.splitlines()[1].split() == [
            account, "blotter", f"exchange:{account}", "BTC-USD", "0", "0", "0.4", "0.4", "2",
        ]  # fmt: skip


def test_show_tells_all_that_happened_to_one_order(traded: Path) -> None:
    """What was wanted, where it stands, and its history in order with times that people read."""
    done = onefill("show", "a", "--ledger", traded)
    assert done.code == 0
    assert "wanted  buy 1 BTC-USD at 100, gtc\n" in done.out
    assert "status  canceled, 0.4 filled, 0 open\n" in done.out
    told = [
        done.out.index(word) for word in ("recorded: ", "claimed: ", "acknowledged: ", "traded: ", "cancel recorded")
    ]
    assert told == sorted(told)
    assert "_us" not in done.out
    document = onefill("show", "a", "--ledger", traded, "--json").json
    assert (document["status"], document["cum_quantity"], document["leaves_quantity"]) == ("canceled", "0.4", "0")
    assert document["history"][0]["kind"] == "recorded"
    assert document["attempts"][0]["outcome"] == "accepted"


def test_cancelling_again_changes_nothing_and_says_so(traded: Path, market: Venue) -> None:
    """A cancelled order, a filled one: exit code 0, the real state, and no request for them."""
    where = ("--ledger", traded, "--venue", market.url)
    assert onefill("cancel", "a", *where).out == "nothing changed: a is canceled, 0.4 filled\n"
    assert onefill("cancel", "b", *where).out == "nothing changed: b is filled, 0.4 filled\n"
    told = onefill("cancel", "b", *where, "--json").json
    assert (told["result"], told["changed"], told["status"], told["cum_quantity"]) == ("filled", False, "filled", "0.4")


def test_a_key_that_is_not_there_is_told(traded: Path, market: Venue) -> None:
    """Exit code 2 and where to look; the account asked for is named."""
    for arguments in (("show", "nope"), ("cancel", "nope", "--venue", market.url)):
        done = onefill(*arguments, "--ledger", traded)
        text = "key 'nope': this ledger has no such order; nothing was changed. See `onefill orders`"
        assert (done.code, done.err) == (2, f"error: {text}\n")
        assert onefill(*arguments, "--ledger", traded, "--json").json == {
            "error": text,
            "kind": "NoSuchOrder",
            "exit_code": 2,
        }
    done = onefill("show", "a", "--ledger", traded, "--account", "other", "--strategy", "s")
    assert done.err.startswith("error: key 'a', account 'other', strategy 's': this ledger has no such order; ")


def test_a_key_of_several_scopes_asks_which(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """All of them are named; account and strategy decide, either where it is enough."""
    file = tmp_path / "orders.csv"
    rows = [f"k,BTC-USD,buy,{n},limit,50,{account},s{n}\n" for n in (1, 2)]
    file.write_text("key,instrument,side,quantity,type,price,account,strategy\n" + "".join(rows))
    assert onefill("run", file, "--ledger", ledger, "--venue", exchange.url, "--account", account).code == 0
    for arguments in (("show", "k"), ("show", "k", "--account", account), ("cancel", "k", "--venue", exchange.url)):
        done = onefill(*arguments, "--ledger", ledger)
        assert done.code == 2
        assert done.err == (
            f"error: key 'k' was used by several (account/strategy): {account}/s1, {account}/s2. Nothing was changed; "
            "say which with --account and --strategy\n"
        )
    assert onefill("show", "k", "--ledger", ledger, "--strategy", "s2", "--json").json["quantity"] == "2"


def test_an_empty_ledger_says_so(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """No empty tables; JSON gives empty lists; there is nothing to verify but the opening of the route."""
    assert (
        onefill("run", blotter(tmp_path), "--ledger", ledger, "--venue", exchange.url, "--account", account).code == 0
    )
    for arguments, text in (
        (("orders",), "no orders"),
        (("orders", "--open"), "no open orders"),
        (("positions",), "no positions: nothing was executed"),
    ):
        done = onefill(*arguments, "--ledger", ledger)
        assert (done.code, done.out, done.err) == (0, "", text + "\n")
        assert onefill(*arguments, "--ledger", ledger, "--json").json == []
    assert onefill("audit", "verify", "--ledger", ledger).out == f"exchange:{account}: 1 entries, chain holds\n"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE journal SET payload = replace(payload, 'buy', 'sell') WHERE payload LIKE '%buy%'",
            "BROKEN at entry 2: its ",
        ),
        ("DELETE FROM journal WHERE id = (SELECT max(id) - 1 FROM journal)", ": entries are missing or out of order"),
        ("UPDATE route SET head = zeroblob(32)", ": the chain does not end in the hash that the route holds"),
        ("UPDATE position SET bought = '7'", "positions: BROKEN: account "),
        ("UPDATE execution SET quantity = '0.5'", "; the execution log has "),
    ],
)
def test_an_altered_record_is_told_with_exit_code_5(traded: Path, statement: str, told: str) -> None:
    """The entry or position is named, the file is to be kept, and ``--json`` says the same to a program."""
    assert onefill("audit", "verify", "--ledger", traded).code == 0
    with contextlib.closing(sqlite3.connect(traded)) as db, db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(statement).rowcount > 0
    done = onefill("audit", "verify", "--ledger", traded)
    assert done.code == 5
    assert told in done.out
    assert done.err == "the record does not hold. Keep this file as it is, and compare it with a copy made earlier\n"
    found = onefill("audit", "verify", "--ledger", traded, "--json")
    assert (found.code, found.json["holds"]) == (5, False)
    assert found.json["positions"] or found.json["routes"][0]["fault"]
