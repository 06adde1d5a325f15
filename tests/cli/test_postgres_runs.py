"""Everything a blotter goes through, over a PostgreSQL ledger: kills, repeats, cancels, replaces, and the record after."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from cli_kit import PATIENCE_S, Result, Venue, blotter, cancel, limit, onefill, process, started

LINES = [limit(f"k{n}") for n in range(200)] + [cancel(f"k{n}") for n in range(0, 200, 2)]


@pytest.fixture
def database(postgres_url: str) -> str:
    """Return the URL of a database with an empty ledger."""
    done = onefill("migrate", postgres_url)
    assert done.code == 0, done
    return postgres_url


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return settings by which a route that was left behind is soon free."""
    path = tmp_path / "settings.toml"
    path.write_text("[gateway]\nlease_s = 1.5\n")
    return path


def once_free(*arguments: object) -> Result:
    """Run a command, again and again while the route is still lent to a process that was killed."""
    until = time.monotonic() + PATIENCE_S
    while True:
        done = onefill(*arguments)
        if done.code != 4 or time.monotonic() > until:
            return done
        assert "LeaseHeld" in done.out, done


def test_a_run_killed_with_9_is_finished_by_the_next(
    tmp_path: Path, database: str, settings: Path, exchange: Venue, account: str
) -> None:
    """ONE-ORDER, NO-LOSS: killed at seeded points and run again, every order is there once and the record holds."""
    file = blotter(tmp_path, *LINES)
    run = ("run", file, "--ledger", database, "--venue", exchange.url, "--account", account, "--settings", settings)
    start = exchange.submits()
    for point in sorted(random.Random("kill -9 over postgresql").sample(range(1, 180), 2)):
        while exchange.submits() < start + point:  # a run that finds its route lent ends at once, and is begun again
            with started(*run, "--in-flight", "8") as child:
                while child.poll() is None and exchange.submits() < start + point:
                    pass
                child.kill()
                assert child.wait(PATIENCE_S) in (-signal.SIGKILL, 4)
    done = once_free(*run, "--json")
    assert done.code == 0, done
    assert done.json["outcomes"] == {"accepted": 200, "canceled": 100}
    orders = exchange.orders(account)
    assert len(orders) == len({order.client_order_id for order in orders}) == 200
    assert Counter(order.status for order in orders) == {"canceled": 100, "new": 100}
    again = onefill(*run, "--json").json
    assert again["outcomes"] == {"accepted": 200, "canceled": 100}
    assert exchange.orders(account) == orders
    assert onefill("audit", "verify", database).code == 0
    replayed = onefill("replay", database)
    assert replayed.code == 0, replayed
    compared = onefill("reconcile", database, "--venue", exchange.url, "--settings", settings)
    assert compared.code == 0, compared


def test_orders_over_a_database_are_cancelled_replaced_and_looked_at(
    tmp_path: Path, database: str, exchange: Venue, account: str
) -> None:
    """SAME-ANSWER, CANCEL-QUIET: the commands for a file work for a database, and none shows its password."""
    file = blotter(tmp_path, limit("a", "2"), limit("b", "3"))
    at, asked = ("--ledger", database, "--venue", exchange.url), ("--ledger", database)
    secret = database.partition("://")[2].partition("@")[0].partition(":")[2]
    assert len(secret) > 8
    done = [
        onefill("run", file, *at, "--account", account),
        onefill("replace", "a", *at, "--quantity", "1"),
        onefill("cancel", "b", *at),
        onefill("cancel", "b", *at),
        onefill("orders", *asked),
        onefill("show", "a", *asked),
        onefill("positions", *asked),
        onefill("uncertain", *asked),
        onefill("status", database),
        onefill("metrics", database),
        onefill("incidents", "list", database),
        onefill("audit", "log", database),
    ]
    assert [one.code for one in done] == [0] * len(done), done
    assert "is canceled, 0 filled" in done[2].out
    assert "nothing changed: b is canceled" in done[3].out
    assert [(order.quantity, order.status) for order in exchange.orders(account)] == [(3, "canceled"), (1, "new")]
    frozen = onefill("freeze", database, "--by", "ops", "--reason", "a test")
    refused = onefill("run", blotter(tmp_path, limit("c"), name="more.csv"), *at, "--account", account)
    assert (frozen.code, refused.code) == (0, 4)
    wrong = onefill("orders", "--ledger", database.replace(f":{secret}@", f":{secret}x@"))
    assert wrong.code == 4
    for one in (*done, frozen, refused, wrong):
        assert secret not in one.out + one.err


def test_a_ledger_file_and_a_database_are_migrated_by_one_command(tmp_path: Path, postgres_url: str) -> None:
    """`onefill migrate` makes either, says what it did, changes nothing the second time, and with --check only looks."""
    for ledger in (tmp_path / "orders.db", postgres_url):
        due = onefill("migrate", ledger, "--check", "--json")
        assert (due.code, due.json["now"]) == (1, 0)
        made = onefill("migrate", ledger, "--json").json
        assert (made["before"], made["now"]) == (0, made["newest"])
        again = onefill("migrate", ledger, "--json").json
        assert again["before"] == again["now"] == made["newest"]
        assert onefill("migrate", ledger, "--check").code == 0
    assert onefill("migrate", tmp_path / "orders.db", "--grant", "somebody").code == 2
    unknown = onefill("migrate", "mysql://user:secret@host/orders")
    assert unknown.code == 4
    assert "secret" not in unknown.err
    unmade = process("orders", "--ledger", postgres_url + "?schema=nothing")
    assert unmade.code == 4
    assert "onefill migrate" in unmade.err
