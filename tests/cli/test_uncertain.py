"""``onefill uncertain``: what waits for evidence or for a person is listed with everything that is known of it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import (
    PATIENCE_S,
    Venue,
    account_of,
    blotter,
    limit,
    onefill,
    patiently,
    process,
    serve,
    started,
)
from test_manners import ANSI, on_terminal
from uncertain_kit import LISTS_ONLY, NOTHING_IS_CONCLUSIVE, Way, quick, run, until, way_to

from onefill.cli import uncertain_command

LOSE_SUBMITS = {"POST /v1/orders"}


@pytest.fixture(scope="module")
def lists_only() -> Iterator[str]:
    """Run an exchange that can only be listed, and on which "not found" proves nothing."""
    with serve("exchange", *LISTS_ONLY) as url:
        yield url


@pytest.fixture
def way(lists_only: str) -> Iterator[Way]:
    """Return a way there, on which lists come without client order ids."""
    with way_to(lists_only) as way:
        way.blank_ids = True
        yield way


@pytest.fixture(scope="module")
def account_of_all() -> str:
    """Return the account of the orders that no test changes."""
    return account_of(__name__)


@pytest.fixture(scope="module")
def parked(tmp_path_factory: pytest.TempPathFactory, lists_only: str, account_of_all: str) -> Path:
    """Return a ledger with b (known to be there) and k, alike, which is there but was left for a person."""
    folder = tmp_path_factory.mktemp("parked")
    ledger = folder / "orders.db"
    with way_to(lists_only) as way:
        way.blank_ids = True
        assert run(folder, ledger, way.url, account_of_all, limit("b"), limit("c", "2")).code == 0
        way.lost = LOSE_SUBMITS
        assert run(folder, ledger, way.url, account_of_all, limit("k"), wait_s=1.5).code == 3
    return ledger


def listed(ledger: Path, *more: object) -> tuple[int, Any]:
    """Return the exit code and the document of ``onefill uncertain --json``."""
    done = onefill("uncertain", "--ledger", ledger, "--json", *more)
    return done.code, done.json


def test_an_order_left_for_a_person_is_listed_with_all_evidence(parked: Path, account_of_all: str) -> None:
    """Key, ids, intent, times, each claimed copy with its outcome and reason, why it was parked, and its journal; code 3."""
    code, (case,) = listed(parked)
    assert code == 3
    assert (case["key"], case["account"], case["strategy"], case["status"]) == (
        "k",
        account_of_all,
        "blotter",
        "uncertain",
    )
    assert (case["instrument"], case["side"], case["quantity"], case["price"]) == ("BTC-USD", "buy", "1", "100")
    assert case["live_client_order_id"] == case["client_order_id"]
    assert case["parked"] is True
    assert case["parked_because"] == "maybe sent; an order like it is listed without a client order id"
    assert case["recorded_at_us"] <= case["parked_at_us"] < case["valid_until_us"]
    (copy,) = case["requests"]
    assert (copy["request"], copy["number"], copy["outcome"]) == ("submit", 1, "unknown")
    assert copy["reason"].startswith("no whole answer: ")
    assert copy["leaves_by_us"] > copy["claimed_at_us"]
    assert (case["executions"], case["anomalies"], case["awaited_until_us"]) == ([], [], None)
    assert [entry["kind"] for entry in case["history"]] == ["recorded", "outcome_unknown", "parked"]


def test_without_the_venue_its_part_is_said_to_be_unknown(parked: Path) -> None:
    """What only the venue's capabilities tell is left open, never guessed, and it is said how to have it."""
    _, (case,) = listed(parked)
    assert (case["next"], case["conclusive_from_us"], case["venue_says"]) == (None, None, None)
    done = onefill("uncertain", "--ledger", parked)
    assert "not known: name the venue with --venue, or its profile in --settings" in done.out


def test_a_settings_profile_tells_the_rest_without_asking(tmp_path: Path, parked: Path) -> None:
    """With a profile that knows all capabilities the next step is in words, made from the contract; nobody is asked."""
    settings = tmp_path / "s.toml"
    settings.write_text('[venues.exchange]\nurl = "http://127.0.0.1:9"\nprofile = "binance_spot"\n')
    _, (case,) = listed(parked, "--settings", settings)
    assert case["conclusive_from_us"] > case["requests"][0]["claimed_at_us"]
    assert case["next"].startswith(f"asks for {case['client_order_id']}")
    assert case["venue_says"] is None


def test_asking_the_venue_shows_what_may_be_the_order_and_marks_what_is_no_proof(parked: Path, way: Way) -> None:
    """Orders of the same content come as candidates, none as proof, and one that is another order here is named as that."""
    code, (case,) = listed(parked, "--venue", way.url)
    assert code == 3
    assert case["venue_says"]["listed"] == 3
    (by_id,) = case["venue_says"]["by_id"]
    assert (by_id["client_order_id"], by_id["answer"]) == (case["client_order_id"], "not_found")
    candidates = case["venue_says"]["candidates"]
    assert [(one["known_as_key"], one["proof"], one["bears_id"]) for one in candidates] == [
        (None, False, False),
        ("b", False, False),
    ]
    assert case["next"].endswith("goes on asking, and sends nothing: evidence or a person moves it")
    told = onefill("uncertain", "--ledger", parked, "--venue", way.url).out
    assert "is never conclusive at this venue" in told
    rows = [line for line in told.splitlines() if "alike, not proof" in line]
    assert [row.endswith("it is order b here") for row in rows] == [False, True]


def test_an_order_that_bears_the_id_comes_first_and_as_proof(parked: Path, way: Way) -> None:
    """Where the venue shows ids, the order under ours is found by it."""
    way.blank_ids = False
    _, (case,) = listed(parked, "--venue", way.url)
    first = case["venue_says"]["candidates"][0]
    assert (first["client_order_id"], first["proof"]) == (case["client_order_id"], True)
    assert case["next"] == "compares what the venue shows with what was wanted, and takes in what it proves"


def test_looking_changes_nothing(parked: Path, way: Way, lists_only: str, account_of_all: str) -> None:
    """Neither ledger nor venue: the journal is as it was, and no request but questions was made."""
    before, there = onefill("audit", "log", "--ledger", parked, "--json").out, Venue(lists_only).orders(account_of_all)
    way.swallowed = {f"POST /v1/orders{path}" for path in ("", "/cancel", "/replace")}
    assert listed(parked, "--venue", way.url)[0] == 3
    assert onefill("audit", "log", "--ledger", parked, "--json").out == before
    assert Venue(lists_only).orders(account_of_all) == there


def test_people_get_an_overview_and_one_block_for_each_order(parked: Path, account_of_all: str) -> None:
    """Plain lines when piped: who waits for what, the evidence, and what somebody may say."""
    done = onefill("uncertain", "--ledger", parked)
    assert done.code == 3
    lines = done.out.splitlines()
    assert lines[0].split() == ["key", "account", "strategy", "wanted", "status", "since", "waits", "for"]
    assert lines[1].startswith(f"k    {account_of_all}  blotter   buy 1 BTC-USD at 100  uncertain")
    assert lines[1].endswith("a person")
    for told in (
        "status  uncertain, parked, 0 filled, 1 open",
        "left to a person  ",
        "requests (UTC)",
        "history (UTC)",
        "a person may say  onefill resolve k adopt NUMBER | not-sent, with --reason",
        "parked: reason maybe sent; an order like it is listed without a client order id",
    ):
        assert told in done.out
    assert "\x1b" not in done.out


def test_where_nothing_is_open_the_exit_code_is_0(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """Orders that rest at the venue are not uncertain."""
    assert run(tmp_path, ledger, exchange.url, account, limit("a")).code == 0
    done = onefill("uncertain", "--ledger", ledger)
    assert (done.code, done.out, done.err) == (0, "", "nothing is uncertain\n")
    assert listed(ledger) == (0, [])


def test_a_venue_that_cannot_be_asked_is_said_and_the_rest_is_shown(tmp_path: Path, ledger: Path, account: str) -> None:
    """On a venue without look-up and lists the order is parked at once; with the exchange dead, the ledger still tells all."""
    with serve("exchange", "--lookup", "none", *NOTHING_IS_CONCLUSIVE) as url, way_to(url) as way:
        way.lost = LOSE_SUBMITS
        assert run(tmp_path, ledger, way.url, account, limit("k"), wait_s=0.5).code == 3
        _, (case,) = listed(ledger, "--venue", way.url)
        assert (case["venue_says"]["by_id"], case["venue_says"]["listed"]) == ([], None)
        assert "does not list orders" in case["venue_says"]["not_listed_because"]
        assert case["next"] == "does nothing by itself: evidence or a person moves it"
        where = way.url
    done = onefill("uncertain", "--ledger", ledger, "--venue", where, "--timeout-s", 0.1)
    assert done.code == 3
    assert done.err.startswith("the venue could not be asked: ")
    assert "not known: its venue was not asked" in done.out
    assert "left to a person" in done.out


def test_after_a_kill_a_reply_is_awaited_for_as_long_as_it_may_come_and_then_counts_as_uncertain(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reply comes and the sender is killed with SIGKILL: listed at once, with exit code 3 from the first overdue one on."""
    with way_to(exchange.url) as way:
        way.held = LOSE_SUBMITS
        settings = quick(tmp_path, way.url, reply_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)
        file = blotter(tmp_path, *[limit(f"k{n}", str(n + 1)) for n in range(20)])
        where = ("--ledger", ledger, "--venue", "way", "--settings", settings)
        with started("run", file, *where, "--account", account) as child:
            until_some_are_sent(ledger)
            child.send_signal(signal.SIGKILL)
            child.wait(PATIENCE_S)
        code, sending = listed(ledger)
        assert code == 0
        assert {case["status"] for case in sending} == {"sending"}
        assert all(case["requests"][-1]["outcome"] is None for case in sending)
        ends = sorted(case["awaited_until_us"] for case in sending)
        for at_us in (ends[0] - 1, ends[0], ends[-1]):
            monkeypatch.setattr(uncertain_command, "SystemClock", lambda at_us=at_us: ClockAt(at_us))
            code, found = listed(ledger)
            overdue = sorted(case["awaited_until_us"] is None for case in found)
            assert overdue == sorted(end <= at_us for end in ends)
            assert code == (3 if any(overdue) else 0)
        code, asked = listed(ledger, *where[2:])
        assert code == 3
        assert all(case["venue_says"]["by_id"] for case in asked)


class ClockAt:
    """A clock that stands still."""

    def __init__(self, at_us: int) -> None:
        self._at_us = at_us

    def now_us(self) -> int:
        """Return the moment at which it stands."""
        return self._at_us


def until_some_are_sent(ledger: Path) -> None:
    """Return once there are orders whose reply is awaited; they alone give no exit code 3."""
    for _ in patiently():
        code, found = listed(ledger)  # 4 until the sender has made the ledger
        if code == 0 and found:
            return
    raise AssertionError("nothing was ever under way")


def test_the_list_can_be_had_beside_a_running_gateway(tmp_path: Path, ledger: Path, way: Way, account: str) -> None:
    """Another process holds the ledger for writing and waits for the answer: readers are not shut out."""
    assert run(tmp_path, ledger, way.url, account, limit("b")).code == 0
    way.lost = LOSE_SUBMITS
    file = blotter(tmp_path, limit("k"))
    where = ("--ledger", ledger, "--venue", way.url, "--account", account)
    with started("run", file, *where) as child:
        seen = until(3, "uncertain", "--ledger", ledger)
        assert "buy 1 BTC-USD at 100" in seen.out
        assert process("uncertain", "--ledger", ledger, "--venue", way.url).code == 3
        assert child.poll() is None


def test_help_fits_80_columns() -> None:
    """What is listed, and the exit codes, in plain words."""
    done = onefill("uncertain", "--help")
    assert done.code == 0
    assert max(len(line) for line in done.out.splitlines()) <= 80
    assert "Exit code 3" in done.out


def test_the_overview_fits_a_terminal_of_80_columns(parked: Path, way: Way) -> None:
    """Columns that do not fit are left out and named; long reasons are folded."""
    seen = ANSI.sub("", on_terminal("uncertain", "--ledger", parked, "--venue", way.url))
    assert "a person" in seen
    assert max(len(line.rstrip("\r").split("\r")[-1]) for line in seen.split("\n")) <= 80
