"""``onefill resolve``: a person's word is taken where nothing contradicts it, and kept with who and why."""

import json
import os
import pwd
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Result, Venue, limit, onefill, process, serve
from uncertain_kit import LISTS_ONLY, NOTHING_IS_CONCLUSIVE, Way, quick, run, until, way_to

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


@pytest.fixture
def parked(tmp_path: Path, ledger: Path, way: Way, account: str) -> Path:
    """Return a ledger with b and c (known to be there) and k, which is there like b but was left for a person."""
    assert run(tmp_path, ledger, way.url, account, limit("b"), limit("c", "2")).code == 0
    way.lost = LOSE_SUBMITS
    assert run(tmp_path, ledger, way.url, account, limit("k"), wait_s=1.5).code == 3
    way.lost = set()
    return ledger


def resolve(ledger: Path, venue: object, *said: object, reason: str = "seen in the venue's console") -> Result:
    """Say what became of order k."""
    return onefill("resolve", "k", *said, "--ledger", ledger, "--venue", venue, "--reason", reason)


def shown(ledger: Path, key: str = "k") -> Any:
    """Return the document of ``onefill show``."""
    return onefill("show", key, "--ledger", ledger, "--json").json


def decisions(ledger: Path) -> list[Any]:
    """Return what people decided, by the audit log."""
    return list(onefill("audit", "log", "--ledger", ledger, "--kind", "resolved", "--json").json)


def number_of(exchange: str, account: str, ledger: Path, key: str) -> str:
    """Return the exchange's own number of an order."""
    wanted = shown(ledger, key)["client_order_id"]
    return next(one.venue_order_id for one in Venue(exchange).orders(account) if one.client_order_id == wanted)


def test_what_contradicts_the_evidence_is_refused_and_changes_nothing(
    parked: Path, way: Way, lists_only: str, account: str
) -> None:
    """A number that is not there, another order's, one with other content, and "not sent" too early: exit code 2 and why."""
    before = shown(parked)
    b, c = (number_of(lists_only, account, parked, key) for key in "bc")
    b_id = shown(parked, "b")["client_order_id"]
    for said, evidence in (
        (("adopt", "X999"), "the venue lists no order X999 since it was recorded"),
        (("adopt", b), f"the venue's order {b} is {b_id} here"),
        (("adopt", c), f"the venue's order {c} is another one: its quantity differs"),
        (("not-sent",), r"a copy of it may still be under way, for another \d+\.\d s"),
        (("ended",), "it is uncertain, not live at the venue by what is known here"),
    ):
        done = resolve(parked, way.url, *said)
        assert (done.code, done.out) == (2, "")
        assert re.fullmatch(f"error: order 'k' stays as it is: {evidence}\n", done.err), done.err
        told = resolve(parked, way.url, *said, "--json")
        assert (told.code, told.json["kind"], told.json["exit_code"]) == (2, "ContradictsEvidence", 2)
        assert re.fullmatch(evidence, told.json["evidence"])
    assert shown(parked) == before
    assert decisions(parked) == []
    assert onefill("uncertain", "--ledger", parked).code == 3


def test_adopting_the_right_order_is_recorded_with_who_and_why(
    parked: Path, way: Way, lists_only: str, account: str
) -> None:
    """It is at the venue from then on; nothing is open any more, and show and audit log tell who said so and why."""
    number = number_of(lists_only, account, parked, "k")
    done = resolve(parked, way.url, "adopt", number, "--by", "Ada Lovelace")
    assert done.code == 0
    assert done.out.startswith(f"k is new as {number}, 0 filled\nrecorded (UTC)\n")
    said = f"resolved: verdict adopt, by Ada Lovelace, reason seen in the venue's console, venue order id {number}"
    assert said in done.out
    assert said in onefill("show", "k", "--ledger", parked).out
    assert said in onefill("audit", "log", "--ledger", parked).out
    (decision,) = decisions(parked)
    assert (decision["key"], decision["kind"]) == ("k", "resolved")
    assert [event["type"] for event in decision["events"]] == ["resolved", "acknowledged", "incident_converged"]
    assert decision["events"][1]["source"] == "person"
    now = shown(parked)
    assert (now["status"], now["venue_order_id"], now["parked"]) == ("new", number, False)
    assert onefill("uncertain", "--ledger", parked).code == 0
    assert onefill("audit", "verify", "--ledger", parked).code == 0
    assert len(Venue(lists_only).orders(account)) == 3
    again = resolve(parked, way.url, "not-sent")
    assert (again.code, again.err) == (2, "error: order 'k' stays as it is: its fate is known: it is new\n")


def test_not_sent_is_taken_once_no_copy_can_be_under_way_and_ends_the_order(
    tmp_path: Path, ledger: Path, way: Way, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is sent any more; the system's user at this host is named, and the answer is kept for the key."""
    settings = quick(tmp_path, way.url)
    where = ("--ledger", ledger, "--venue", "way", "--settings", settings)
    assert onefill("run", write(tmp_path, "b"), *where, "--account", account).code == 0
    way.swallowed = LOSE_SUBMITS
    file = write(tmp_path, "k")
    assert onefill("run", file, *where, "--account", account, "--wait-s", 1.5).code == 3
    way.swallowed = set()
    submits = Venue(way.exchange).submits()
    monkeypatch.setenv("LOGNAME", "somebody-else")
    words = ("resolve", "k", "not-sent", *where, "--reason", "the venue's desk says it has nothing", "--json")
    done = until(0, *words).json
    assert (done["status"], done["resolution"]["kind"]) == ("canceled_unsent", "resolved")
    said, gone = done["resolution"]["events"]
    assert gone["type"] == "incident_converged"
    assert said["verdict"] == "not_sent"
    assert said["by"] == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
    assert said["reason"] == "the venue's desk says it has nothing"
    again = onefill("run", file, *where, "--account", account, "--json")
    assert again.json["outcomes"] == {"canceled_unsent": 1}
    assert Venue(way.exchange).submits() == submits
    told = onefill("show", "k", "--ledger", ledger).out
    assert "canceled_unsent" in told
    assert "resolved: verdict not_sent, by " in told


def write(folder: Path, key: str) -> Path:
    """Write a blotter of one order."""
    path = folder / f"{key}.csv"
    path.write_text("key,instrument,side,quantity,type,price,time in force\n" + limit(key))
    return path


def test_not_sent_of_an_order_that_is_there_is_refused(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """The venue is asked first: what it shows then is true, and the order is live."""
    with way_to(exchange.url) as way:
        way.lost = LOSE_SUBMITS | {"GET /v1/orders"}
        settings = quick(tmp_path, way.url)
        where = ("--ledger", ledger, "--venue", "way", "--settings", settings)
        assert onefill("run", write(tmp_path, "k"), *where, "--account", account, "--wait-s", 0.5).code == 3
        assert onefill("uncertain", "--ledger", ledger).code == 3
        way.lost = set()
        done = onefill("resolve", "k", "not-sent", *where, "--reason", "it never got there")
    assert done.code == 2
    assert re.search(
        r"stays as it is: (its fate is known: it is new|the venue shows it now, as X\d+|the venue lists)", done.err
    )
    assert decisions(ledger) == []
    assert [order.status for order in exchange.orders(account)] == ["new"]


def test_while_the_venue_cannot_be_asked_not_sent_is_refused(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Evidence can still come, so the answer is to wait for it."""
    with way_to(exchange.url) as way:
        way.lost = LOSE_SUBMITS | {"GET /v1/orders"}
        settings = quick(tmp_path, way.url)
        where = ("--ledger", ledger, "--venue", "way", "--settings", settings)
        assert onefill("run", write(tmp_path, "k"), *where, "--account", account, "--wait-s", 0.5).code == 3
        way.lost = {"GET /v1/orders", "GET /v1/orders/scan"}
        done = onefill("resolve", "k", "not-sent", *where, "--reason", "it never got there")
    assert done.code == 2
    assert done.err.endswith("the venue could not be asked just now; say it again when it can\n")
    assert shown(ledger)["status"] == "uncertain"


def test_where_nothing_can_be_asked_a_person_is_believed_but_not_about_another_orders_number(
    tmp_path: Path, ledger: Path, account: str
) -> None:
    """A venue without look-up and lists: the number of an order of this ledger is refused, another one is taken."""
    with serve("exchange", "--lookup", "none", *NOTHING_IS_CONCLUSIVE) as url, way_to(url) as way:
        assert run(tmp_path, ledger, way.url, account, limit("b")).code == 0
        way.lost = LOSE_SUBMITS
        assert run(tmp_path, ledger, way.url, account, limit("k"), wait_s=0.5).code == 3
        b, k = (number_of(url, account, ledger, key) for key in "bk")
        done = resolve(ledger, way.url, "adopt", b)
        assert (done.code, f"the venue's order {b} is {shown(ledger, 'b')['client_order_id']} here" in done.err) == (
            2,
            True,
        )
        assert resolve(ledger, way.url, "adopt", k).code == 0
        assert shown(ledger)["venue_order_id"] == k


def test_what_the_stream_tells_counts_before_a_persons_word(tmp_path: Path, ledger: Path, account: str) -> None:
    """No look-up, no lists, every copy dead: the venue's reports are taken in first, and the order is there."""
    with serve("exchange", "--lookup", "none", *NOTHING_IS_CONCLUSIVE) as url, way_to(url) as way:
        where = ("--ledger", ledger, "--venue", "way", "--settings", quick(tmp_path, way.url))
        way.lost = LOSE_SUBMITS
        assert onefill("run", write(tmp_path, "k"), *where, "--account", account, "--wait-s", 0.5).code == 3
        (copy,) = shown(ledger)["attempts"]
        while time.time_ns() // 1000 <= copy["leaves_by_us"]:
            assert onefill("uncertain", "--ledger", ledger).code == 3
        quick(tmp_path, url)  # the way past the faults, on which executions are told
        done = onefill("resolve", "k", "not-sent", *where, "--reason", "it never got there")
        assert (done.code, done.err) == (2, "error: order 'k' stays as it is: its fate is known: it is new\n")
        assert decisions(ledger) == []


def test_it_can_be_resolved_from_another_process(
    tmp_path: Path, parked: Path, way: Way, lists_only: str, account: str
) -> None:
    """Processes of their own, one after the other: what one was told is there for the next."""
    number = number_of(lists_only, account, parked, "k")
    words = ("resolve", "k", "adopt", number, "--ledger", parked, "--venue", way.url, "--reason", "ticket 42", "--json")
    done = process(*words)
    assert done.code == 0, done
    assert json.loads(done.out)["resolution"]["events"][0]["reason"] == "ticket 42"
    assert process("uncertain", "--ledger", parked).code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("adopt",), "VENUE_ORDER_ID: adopt needs the venue's number of the order. Nothing was changed"),
        (("not-sent", "X1"), "VENUE_ORDER_ID: goes with adopt only. Nothing was changed"),
    ],
)
def test_words_that_mean_nothing_are_told_before_anything_is_opened(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    """Exit code 2; neither ledger nor venue is touched."""
    done = onefill("resolve", "k", *words, "--ledger", tmp_path / "l", "--venue", "http://127.0.0.1:9", "--reason", "x")
    assert (done.code, done.err) == (2, f"error: {told}\n")
    assert not list(tmp_path.iterdir())


def test_a_reason_must_say_something(parked: Path, way: Way) -> None:
    """Without one, or with an empty one, nothing is decided."""
    where = ("--ledger", parked, "--venue", way.url)
    assert onefill("resolve", "k", "adopt", "X1", *where).code == 2
    done = onefill("resolve", "k", "adopt", "X1", *where, "--reason", " ")
    assert (done.code, done.err.startswith("error: reason: ")) == (2, True)
    assert onefill("resolve", "k", "sent-maybe", *where, "--reason", "x").code == 2
    assert decisions(parked) == []


def test_help_fits_80_columns() -> None:
    """All three words and what they do."""
    done = onefill("resolve", "--help")
    assert (done.code, max(len(line) for line in done.out.splitlines()) <= 80) == (0, True)
    assert "adopt" in done.out
    assert "not-sent" in done.out
    assert "ended" in done.out
