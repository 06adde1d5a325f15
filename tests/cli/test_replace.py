"""``onefill replace``: other quantity or price for a live order, once, on venues that keep its id and on those that do not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import QUICK, Result, Venue, cancel, limit, onefill, serve
from uncertain_kit import quick, run, way_to

STYLES = ("keep", "new_id")


@pytest.fixture(scope="module", params=STYLES)
def venue(request: pytest.FixtureRequest) -> Iterator[Venue]:
    """Run an exchange of each kind."""
    with serve("exchange", "--replace", request.param, "--no-matching", *QUICK) as url:
        yield Venue(url)


def replace(ledger: Path, venue: Venue, *more: object) -> Result:
    """Replace order k."""
    return onefill("replace", "k", "--ledger", ledger, "--venue", venue.url, *more)


def shown(ledger: Path, key: str = "k") -> Any:
    """Return the document of ``onefill show``."""
    return onefill("show", key, "--ledger", ledger, "--json").json


def live(venue: Venue, account: str) -> list[tuple[str, str, str]]:
    """Return (client order id, quantity, price) of the account's live orders at the venue."""
    found = [order for order in venue.orders(account) if order.status == "new"]
    return [(order.client_order_id, f"{order.quantity}", f"{order.price}") for order in found]


def test_a_replaced_order_has_the_new_terms_at_the_venue_and_here(
    tmp_path: Path, ledger: Path, venue: Venue, account: str
) -> None:
    """One live order, under the id that it is shown with here; what was left out stays; exit code 0."""
    assert run(tmp_path, ledger, venue.url, account, limit("k")).code == 0
    done = replace(ledger, venue, "--quantity", "2", "--price", "101.5")
    assert (done.code, done.out, done.err) == (0, "k is new, 2 at 101.5, 0 filled\n", "")
    assert replace(ledger, venue, "--price", "99").out == "k is new, 2 at 99, 0 filled\n"
    now = shown(ledger)
    assert live(venue, account) == [(now["in_force"]["client_order_id"], "2", "99")]
    assert (now["in_force"]["quantity"], now["in_force"]["price"], now["quantity"]) == ("2", "99", "1")
    told = onefill("show", "k", "--ledger", ledger).out
    assert f"in force  2 at 99, as {now['in_force']['client_order_id']}" in told
    assert "replaced: source reply, client order id " in told
    columns = onefill("orders", "--ledger", ledger).out.splitlines()[1].split()
    assert columns[5:8] == ["2", "99", "new"]


def test_an_order_that_is_so_already_is_left_as_it_is(tmp_path: Path, ledger: Path, venue: Venue, account: str) -> None:
    """Exit code 0, said as such, and the venue is not asked again."""
    assert run(tmp_path, ledger, venue.url, account, limit("k")).code == 0
    first = replace(ledger, venue, "--quantity", "2", "--json").json
    assert (first["result"], first["changed"], first["quantity"], first["price"]) == ("replaced", True, "2", "100")
    there = venue.orders(account)
    done = replace(ledger, venue, "--quantity", "2")
    assert (done.code, done.out) == (0, "nothing changed: k is new, 2 at 100, 0 filled\n")
    assert replace(ledger, venue, "--quantity", "2", "--json").json["changed"] is False
    assert venue.orders(account) == there


def test_an_operation_key_gets_the_first_answer_again(tmp_path: Path, ledger: Path, venue: Venue, account: str) -> None:
    """The same bytes, also after the order went on; other terms under that key are refused with exit code 2."""
    assert run(tmp_path, ledger, venue.url, account, limit("k")).code == 0
    first = replace(ledger, venue, "--quantity", "2", "--operation-key", "r1", "--json")
    assert replace(ledger, venue, "--quantity", "3").code == 0
    assert replace(ledger, venue, "--quantity", "2", "--operation-key", "r1", "--json") == first
    other = replace(ledger, venue, "--quantity", "4", "--operation-key", "r1")
    assert (other.code, other.out) == (2, "")
    assert "quantity differs" in other.err
    assert [quantity for _, quantity, _ in live(venue, account)] == ["3"]


def test_too_late_and_impossible_are_told(tmp_path: Path, ledger: Path, venue: Venue, account: str) -> None:
    """A cancelled order: exit code 1 and how it ended. No terms, wrong steps, an unknown key: exit code 2, nothing changed."""
    assert run(tmp_path, ledger, venue.url, account, limit("k"), limit("open"), cancel("k")).code == 0
    done = replace(ledger, venue, "--quantity", "2")
    assert (done.code, done.out) == (1, "not replaced: k is canceled, 1 at 100, 0 filled\n")
    told = replace(ledger, venue, "--quantity", "2", "--json")
    assert (told.code, told.json["result"], told.json["changed"]) == (1, "ended", False)
    there = venue.orders(account)
    where = ("--ledger", ledger, "--venue", venue.url)
    for words, problem in (
        (("open",), "quantity: a replace needs a quantity or a price"),
        (("open", "--quantity", "0"), "quantity: "),
        (("open", "--price", "99.001"), "price: "),
        (("nobody", "--price", "99"), "key 'nobody': this ledger has no such order"),
    ):
        refused = onefill("replace", *words, *where)
        assert (refused.code, refused.out) == (2, ""), words
        assert refused.err.startswith(f"error: {problem}"), refused.err
    assert venue.orders(account) == there


def test_a_replace_whose_reply_is_lost_is_uncertain_until_it_is_asked_for(
    tmp_path: Path, ledger: Path, venue: Venue, account: str
) -> None:
    """Exit code 3 and listed as open; with the way there mended, the same command finds it done, once."""
    with way_to(venue.url) as way:
        settings = quick(tmp_path, way.url)
        where = ("--ledger", ledger, "--venue", "way", "--settings", settings)
        file = tmp_path / "k.csv"
        file.write_text("key,instrument,side,quantity,type,price,time in force\n" + limit("k"))
        assert onefill("run", file, *where, "--account", account).code == 0
        way.lost = {"POST /v1/orders/replace", "GET /v1/orders", "GET /v1/orders/scan"}
        done = onefill("replace", "k", "--quantity", "2", *where, "--wait-s", 0.5)
        assert done.code == 3
        assert "is UNCERTAIN" in done.err
        listed = onefill("uncertain", *where[:2], "--json")
        (case,) = listed.json
        assert (listed.code, case["status"], case["replacement"]["quantity"]) == (3, "pending_replace", "2")
        assert {one["request"] for one in case["requests"]} == {"submit", "replace"}
        assert "replace" in onefill("uncertain", *where).out
        way.lost = set()
        (asked,) = onefill("uncertain", *where, "--json").json
        assert any(one["proof"] for one in asked["venue_says"]["candidates"])
        assert onefill("replace", "k", "--quantity", "2", *where).code == 0
    assert [quantity for _, quantity, _ in live(venue, account)] == ["2"]
    assert onefill("uncertain", "--ledger", ledger).code == 0


def test_a_venue_without_replace_says_what_to_do_instead(tmp_path: Path, ledger: Path, account: str) -> None:
    """Exit code 2: cancel and send another; nothing was recorded or sent."""
    with serve("exchange", "--replace", "none", "--no-matching") as url:
        assert run(tmp_path, ledger, url, account, limit("k")).code == 0
        done = replace(ledger, Venue(url), "--quantity", "2")
        assert (done.code, done.out) == (2, "")
        assert "has no replace; cancel the order and send another. Nothing was changed" in done.err
        assert [quantity for _, quantity, _ in live(Venue(url), account)] == ["1"]


def test_a_filled_order_is_too_late(tmp_path: Path, ledger: Path, account: str) -> None:
    """Exit code 1, and the fill is told."""
    with serve("exchange") as url:
        assert run(tmp_path, ledger, url, account, limit("k"), limit("s", side="sell")).code == 0
        done = replace(ledger, Venue(url), "--quantity", "2")
    assert (done.code, done.out) == (1, "not replaced: k is filled, 1 at 100, 1 filled\n")


def test_help_fits_80_columns() -> None:
    """The exit codes in plain words."""
    done = onefill("replace", "--help")
    assert (done.code, max(len(line) for line in done.out.splitlines()) <= 80) == (0, True)
    assert "Exit codes: 0" in done.out
