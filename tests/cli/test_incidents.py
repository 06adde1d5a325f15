"""``onefill incidents``: listed, shown, worked step by step and closed, from the command line alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import QUICK, Venue, limit, onefill, serve
from incidents_kit import by_hand, run

from onefill import ExchangeVenue, sync
from onefill.core.incident import STEPS


@pytest.fixture(scope="module")
def market() -> Iterator[Venue]:
    """Run an exchange on which orders trade."""
    with serve("exchange", "--instrument", "BTC-USD:0.01:0.00000001", *QUICK) as url:
        yield Venue(url)


@pytest.fixture
def name(tmp_path: Path, ledger: Path, market: Venue, account: str) -> Iterator[str]:
    """Return the name of an incident: somebody bought by hand in our account, and more of it is still live there."""
    run(tmp_path, ledger, market, account, limit("k", "1", "50"))
    by_hand(market, account, f"{account}-desk", "buy", "3", "105")
    by_hand(market, "maker", f"{account}-m", "sell", "1", "105")
    for _ in range(20):
        run(tmp_path, ledger, market, account, limit("k", "1", "50"))
        found = onefill("incidents", ledger, "--json").json
        if found and found[0]["snapshot"] is not None:
            break  # a run that ends too soon leaves it to the next one
    yield f"exchange:{account}-1"
    for one in market.orders(account):  # the book is shared: nothing stays in it
        if one.status in {"new", "partially_filled"}:
            by_hand(
                market,
                "maker",
                f"{one.client_order_id}-x",
                "sell",
                str(one.quantity - one.cum_quantity),
                str(one.price),
            )


def test_it_is_listed_and_shown_with_all_that_is_known(ledger: Path, name: str) -> None:
    """Evidence, how things stood, the runbook without a tick, and the exact command that comes next."""
    listed = onefill("incidents", ledger)
    assert listed.code == 0
    assert name in listed.out
    [one] = onefill("incidents", ledger, "--json").json
    assert (one["name"], one["kind"], one["next_step"]) == (name, "stranger_execution", "freeze")
    assert one["snapshot"]["venue_said"] == "2 listed"
    shown = onefill("incidents", "show", ledger, name)
    assert shown.out.count("[ ]") == len(STEPS)
    assert "trade E" in shown.out
    assert f"onefill incidents step {ledger} {name} freeze" in shown.out
    assert onefill("incidents", "show", ledger, name, "--json").json == one
    assert onefill("incidents", "show", ledger, name, "--markdown").out.startswith("# Incident exchange:")


def test_the_whole_runbook_by_command(tmp_path: Path, ledger: Path, market: Venue, account: str, name: str) -> None:
    """Steps without the venue need no gateway; those with it open one; what is unintended is cancelled by its number."""
    why = tmp_path / "why.md"

    def step(which: str, *more: object) -> tuple[int, str]:
        done = onefill("incidents", "step", ledger, name, which, *more)
        return done.code, done.out + done.err

    assert step("snapshot")[0] == 2  # not its turn
    assert step("freeze", "--note", "looks odd", "--by", "eve")[0] == 0
    assert step("snapshot", "--venue", market.url)[0] == 0
    assert step("resolve-uncertain")[0] == 0
    blind = step("cancel_residuals")
    assert blind[0] == 1
    assert "the venue was not asked" in blind[1]
    number = next(one.number for one in market.orders(account) if one.client_order_id.endswith("desk"))
    listed = step("cancel_residuals", "--venue", market.url)
    assert listed[0] == 1
    assert f"--venue-order X{number}" in listed[1]
    assert step("cancel_residuals", "--venue", market.url, "--venue-order", f"X{number}")[0] == 0
    assert {one.status for one in market.orders(account) if one.number == number} == {"canceled"}
    assert onefill("incidents", "resolve", ledger, name, "--reason", "too early").code == 2
    parity = onefill("incidents", "step", ledger, name, "replay", "--json")
    assert parity.code == 0
    assert parity.json["result"].startswith("parity: ")
    assert step("postmortem", "--out", why)[0] == 0
    ended = onefill("incidents", "resolve", ledger, name, "--reason", "bought by hand", "--by", "eve", "--json").json
    assert (ended["resolved_by"], ended["resolution"]) == ("eve", "bought by hand")
    assert [one["skipped"] for one in ended["steps"]] == [False] * len(STEPS)
    assert onefill("incidents", ledger, "--json").json == []
    assert [one["name"] for one in onefill("incidents", ledger, "--all", "--json").json] == [name]
    assert "eve" in why.read_text()
    assert onefill("audit", "verify", "--ledger", ledger).code == 0
    assert step("replay")[0] == 2  # it is closed


def test_mistakes_are_told_and_change_nothing(ledger: Path, market: Venue, name: str) -> None:
    """An unknown incident or step, a skip without reason, another venue, a file that is there: exit code 2 each."""
    before = onefill("incidents", "show", ledger, name, "--json").json
    for arguments in (
        ("show", ledger, "X-9"),
        ("step", ledger, "X-9", "freeze"),
        ("step", ledger, name, "dance"),
        ("step", ledger, name, "freeze", "--skip"),
        ("step", ledger, name, "freeze", "--venue", "nowhere"),
        ("resolve", ledger, name, "--reason", " ", "--force"),
    ):
        done = onefill("incidents", *arguments)
        assert (done.code, done.out) == (2, ""), (arguments, done)
        assert done.err.startswith("error: ")
    assert onefill("incidents", "show", ledger, name, "--json").json == before
    forced = onefill("incidents", "resolve", ledger, name, "--reason", "a drill", "--force", "--json").json
    assert forced["resolution"] == "a drill (with steps left)"


def test_a_ledger_without_incidents_says_so(tmp_path: Path, ledger: Path, market: Venue, account: str) -> None:
    """Nothing on standard output, a word on standard error; a file that is no ledger is an error."""
    run(tmp_path, ledger, market, account, limit("k", "1", "10"))
    done = onefill("incidents", ledger)
    assert (done.code, done.out, done.err) == (0, "", "no open incidents\n")
    assert onefill("incidents", tmp_path / "nothing.db").code == 4


def test_a_running_gateway_is_asked_by_its_socket(ledger: Path, market: Venue, account: str, name: str) -> None:
    """While it has the ledger, commands do the steps through it, with its own connection to the venue."""
    number = next(one.number for one in market.orders(account) if one.client_order_id.endswith("desk"))
    venues = {f"exchange:{account}": ExchangeVenue(market.url, account)}
    with sync.open(ledger, venues=venues) as gateway:
        for step in ("freeze", "snapshot", "resolve_uncertain"):
            assert onefill("incidents", "step", ledger, name, step).code == 0
        more = ("--venue-order", f"X{number}")
        assert onefill("incidents", "step", ledger, name, "cancel_residuals", *more).code == 0
        assert onefill("incidents", "step", ledger, name, "snapshot").code == 2  # not its turn
        assert onefill("incidents", "step", ledger, name, "replay").code == 0
        assert onefill("incidents", "step", ledger, name, "postmortem", "--skip", "--note", "a drill").code == 0
        assert onefill("incidents", "resolve", ledger, name, "--reason", "a drill").code == 0
        assert not gateway.incident(name).open
        assert name not in [one.name for one in gateway.incidents()]
        assert onefill("replay", ledger).code == 0  # beside it
    assert {one.status for one in market.orders(account) if one.number == number} == {"canceled"}


def test_the_plain_gateway_works_the_runbook_too(ledger: Path, market: Venue, account: str, name: str) -> None:
    """The same methods without ``await``."""
    with sync.open(ledger, venues={f"exchange:{account}": ExchangeVenue(market.url, account)}) as gateway:
        assert [one.name for one in gateway.incidents()] == [name]
        for step in STEPS:
            assert gateway.step(name, step, by="eve", skip=True, note="a drill").done
        assert gateway.resolve_incident(name, "eve", "a drill").resolved_by == "eve"
