"""``onefill reconcile``: what agrees, what differs, and exit codes for each, with a gateway running and without."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import QUICK, Result, Venue, limit, onefill, serve
from incidents_kit import by_hand

from onefill import ExchangeVenue, sync
from onefill.engine.settings import GatewaySettings, ReconcileSettings

HELD = "holder"
"""An account that held 5 to begin with."""


@pytest.fixture(scope="module")
def market() -> Iterator[Venue]:
    """Run an exchange that lists open orders and tells positions."""
    tells = ("--lists-open-orders", "--tells-positions", "--holding", f"{HELD}:BTC-USD:5")
    with serve("exchange", "--instrument", "BTC-USD:0.01:0.00000001", *tells, *QUICK) as url:
        yield Venue(url)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a settings file with a grace window that passes quickly, and no looks but those asked for."""
    path = tmp_path / "settings.toml"
    path.write_text("[reconcile]\nevery_s = 0\ngrace_s = 0.05\n")
    return path


@pytest.fixture
def ran(tmp_path: Path, ledger: Path, market: Venue, account: str, settings: Path) -> Path:
    """Return a ledger with one order that rests."""
    return _run(tmp_path, ledger, market, account, settings)


def _run(folder: Path, ledger: Path, market: Venue, account: str, settings: Path, price: str = "50") -> Path:
    file = folder / "orders.csv"
    file.write_text("key,instrument,side,quantity,type,price,time in force\n" + limit("k", "1", price))
    where = ("--ledger", ledger, "--venue", market.url, "--account", account, "--settings", settings)
    assert onefill("run", file, *where).code == 0
    return ledger


def reconcile(ledger: Path, market: Venue, settings: Path, *more: object) -> Result:
    """Compare a ledger with the market."""
    return onefill("reconcile", ledger, "--venue", market.url, "--settings", settings, *more)


def test_sides_that_agree_end_with_zero(ran: Path, market: Venue, settings: Path, account: str) -> None:
    """Counts of what was compared, for people and for programs; nothing is open."""
    done = reconcile(ran, market, settings)
    assert done.code == 0, done.err
    assert f"exchange:{account}" in done.out
    told = reconcile(ran, market, settings, f"exchange:{account}", "--full", "--json")
    assert told.code == 0
    (report,) = told.json
    assert (report["orders_here"], report["orders_there"], report["breaks"]) == (1, 1, [])
    assert (report["full"], report["failure"]) == (True, None)


def test_a_difference_that_lasts_ends_with_six(ran: Path, market: Venue, settings: Path, account: str) -> None:
    """A live order that nobody here sent: an incident, exit code 6, until it is gone."""
    by_hand(market, account, f"{account}-x", "buy", "2", "200")
    broken = reconcile(ran, market, settings)
    assert broken.code == 6, broken.err
    assert f"exchange:{account}-1" in broken.out
    assert "`onefill incidents LEDGER` tells what differs" in broken.err
    assert onefill("incidents", ran, "--json").json[0]["kind"] == "unknown_here"
    assert reconcile(ran, market, settings, "--json").code == 6
    by_hand(market, "maker", f"{account}-y", "sell", "2", "200")
    gone = reconcile(ran, market, settings, "--json")
    assert gone.code == 0, gone.out
    assert gone.json[0]["converged"] == [f"exchange:{account}-1"]


def test_a_position_is_accepted_by_a_person_who_says_why(
    tmp_path: Path, ledger: Path, market: Venue, settings: Path
) -> None:
    """Held before, and something was executed before anybody compared: a break, which only a person settles."""
    _run(tmp_path, ledger, market, HELD, settings, "60")
    by_hand(market, "maker", "held-m", "sell", "1", "60")
    route = f"exchange:{HELD}"
    accept = ("--accept-position", HELD, "BTC-USD")
    early = reconcile(ledger, market, settings, route, *accept, "--reason", "held before")
    assert early.code == 2
    assert "there is no open incident about the position" in early.err
    assert reconcile(ledger, market, settings).code == 6
    for given, told in (
        ((route, *accept), "--reason: is missing"),
        ((*accept, "--reason", "x"), "ROUTE: is missing"),
        ((route, "--reason", "x"), "--reason: goes with --accept-position only"),
    ):
        refused = reconcile(ledger, market, settings, *given)
        assert (refused.code, told in refused.err) == (2, True), refused.err
    by = ("--by", "Ada Lovelace", "--reason", "held before we came")
    done = reconcile(ledger, market, settings, route, *accept, *by)
    assert done.code == 0, done.err
    assert done.out == f"{HELD} held 5 BTC-USD before the first order, by Ada Lovelace: held before we came\n"
    assert reconcile(ledger, market, settings).code == 0
    log = onefill("audit", "log", "--ledger", ledger, "--kind", "position_opened", "--json").json
    assert [event["by"] for entry in log for event in entry["events"]] == ["Ada Lovelace"]


def test_a_running_gateway_is_asked(ledger: Path, market: Venue, account: str) -> None:
    """No venue need be named, and the ledger stays with its owner."""
    route = f"exchange:{account}"
    quick = GatewaySettings(reconcile=ReconcileSettings(every_s=None, grace_s=0.05))
    venues = {route: ExchangeVenue(market.url, account, 1.0)}
    with sync.open(ledger, venues=venues, settings=quick) as gateway:
        assert onefill("reconcile", ledger).code == 0
        by_hand(market, account, f"{account}-x", "buy", "2", "30")
        assert [one.route for one in gateway.reconcile()] == [route]
        told = onefill("reconcile", ledger, "--json")
        assert (told.code, told.json[0]["route"]) == (0, route)  # no account is known yet: nothing was ever sent
        unknown = onefill("reconcile", ledger, "elsewhere")
        assert unknown.code == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "--venue: is missing"),
        (("elsewhere",), "route 'elsewhere' is not in this ledger; there: exchange:"),
        (("--venue", "http://127.0.0.1:1", "--timeout-s", "0.1"), "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_compared_is_said(ran: Path, given: tuple[str, ...], told: str) -> None:
    """Without a venue, with a route that is not there, with a venue that does not answer: why, and no exit code of a break."""
    done = onefill("reconcile", ran, *given)
    assert done.code in (2, 4)
    assert told in done.err
