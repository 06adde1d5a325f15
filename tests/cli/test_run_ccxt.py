"""``onefill run`` through ccxt: the settings name the venue, the account and where the credentials are."""

from pathlib import Path

import pytest
from cli_kit import blotter, onefill
from imitated_kit import serving, settings_of

from onefill.sim.imitations.known import IMITATIONS

ROWS = ("a,BTC/USDT,buy,1,limit,100,gtc\n", "b,BTC/USDT,sell,2,limit,300,gtc\n", "b,,,,cancel,,\n")


def test_a_file_is_sent_once_through_ccxt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the account that the settings name; run again, nothing leaves, and the answers are the same."""
    with serving(IMITATIONS["binance_spot"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch, account="desk")
        line = ("run", blotter(tmp_path, *ROWS), "--settings", file, "--venue", "x", "--ledger", tmp_path / "orders.db")
        first = onefill(*line, "--answers", tmp_path / "1", "--json")
        again = onefill(*line, "--answers", tmp_path / "2", "--json")
        assert (first.code, again.code) == (0, 0)
        assert first.json["outcomes"] == {"accepted": 2, "canceled": 1}
        assert list(first.json["routes"]) == ["x:desk"]
        counts = venue.exchange.counts()
        assert (counts.submits, counts.cancels) == (2, 1)
        assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
        (left,) = venue.exchange.open_orders("main")
        assert (left.quantity, left.price) == (1, 100)


def test_another_account_is_refused_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials are of one account; a row of another is never sent with them."""
    with serving(IMITATIONS["binance_spot"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch, account="desk")
        done = onefill(
            *("run", blotter(tmp_path, *ROWS), "--settings", file, "--venue", "x", "--account", "other"),
            *("--ledger", tmp_path / "orders.db"),
        )
        assert done.code == 2
        assert "account: 'other' is not the account of [venues.x], which is 'desk'" in done.err
        assert venue.exchange.counts().submits == 0


def test_a_day_order_is_refused_where_the_venue_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without a time in force is one; nothing is sent in its place, and the words say what the venue takes."""
    with serving(IMITATIONS["binance_spot"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch)
        rows = blotter(tmp_path, "a,BTC/USDT,buy,1,limit,100,\n")
        done = onefill("run", rows, "--settings", file, "--venue", "x", "--ledger", tmp_path / "orders.db")
        assert done.code == 1
        assert "binance has no orders of time in force day; it takes fok, gtc, ioc. Nothing was sent" in done.err
        assert venue.exchange.counts().submits == 0


def test_credentials_that_are_not_there_are_named_and_nothing_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their variables; there is no ledger after that."""
    with serving(IMITATIONS["okx"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch)
        monkeypatch.delenv("X_PASSWORD")
        ledger = tmp_path / "orders.db"
        done = onefill("run", blotter(tmp_path, *ROWS), "--settings", file, "--venue", "x", "--ledger", ledger)
    assert done.code == 2
    assert done.err == "error: venues.x.credentials: the environment has no X_PASSWORD. Nothing was started\n"
    assert not ledger.exists()


def test_the_other_commands_work_over_ccxt_as_over_any_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two orders that trade with each other and one that rests: executions, reconciliation, replay, replace and cancel."""
    rows = ("a,BTC/USDT,buy,1,limit,100,gtc\n", "b,BTC/USDT,sell,1,limit,100,gtc\n", "c,BTC/USDT,buy,1,limit,50,gtc\n")
    ledger = tmp_path / "orders.db"
    with serving(IMITATIONS["okx"]) as venue:
        where = ("--settings", settings_of(tmp_path, venue, monkeypatch), "--venue", "x")
        sent = onefill("run", blotter(tmp_path, *rows), *where, "--ledger", ledger, "--in-flight", 1, "--json")
        assert (sent.code, sent.json["routes"]["x:main"]["executions"]) == (0, 2)
        assert onefill("uncertain", *where, "--ledger", ledger).code == 0
        (compared,) = onefill("reconcile", ledger, *where, "--json").json
        assert compared["breaks"] == []
        assert onefill("replay", ledger, *where).code == 0
        assert onefill("replace", "c", "--quantity", 2, *where, "--ledger", ledger).code == 0
        assert [one.quantity for one in venue.exchange.open_orders("main")] == [2]
        assert onefill("cancel", "c", *where, "--ledger", ledger).code == 0
        assert venue.exchange.open_orders("main") == []
