"""``onefill replay`` and ``onefill positions``: what is stored follows from the record, and people can see it."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from cli_kit import QUICK, Venue, limit, onefill, serve
from incidents_kit import by_hand, run


@pytest.fixture
def market() -> Iterator[Venue]:
    """Run an exchange on which orders trade for a fee, with a drop copy."""
    with serve(
        *("exchange", "--instrument", "BTC-USD:0.01:0.00000001", "--fee-rate", "0.001", "--fee-currency", "USD"),
        *("--drop-copy", *QUICK),
    ) as url:
        yield Venue(url)


@pytest.fixture
def traded(tmp_path: Path, ledger: Path, market: Venue, account: str) -> Path:
    """Return a ledger with a purchase at 100, half of it sold at 110, and an order that rests."""
    by_hand(market, "maker", f"{account}-1", "sell", "2", "100")
    run(tmp_path, ledger, market, account, limit("b", "2", "100"))
    by_hand(market, "maker", f"{account}-2", "buy", "1", "110")
    run(tmp_path, ledger, market, account, limit("s", "1", "110", "sell"), limit("r", "1", "20"))
    run(tmp_path, ledger, market, account, limit("r", "1", "20"))
    return ledger


def test_positions_show_what_was_earned(traded: Path) -> None:
    """Quantity, average price, realised profit and fees per currency, from the projection and from every execution."""
    [one] = onefill("positions", "--ledger", traded, "--json").json
    assert (one["quantity"], one["average_price"], one["realised"]) == ("1", "100", "10")
    assert one["fees"] == {"USD": "0.31"}
    assert onefill("positions", "--ledger", traded, "--recompute", "--json").json == [one]
    shown = onefill("positions", "--ledger", traded).out.split("\n")
    assert {"average", "realised", "fees"} <= set(shown[0].split())
    assert "0.31 USD" in shown[1]


def test_the_replay_proves_parity(traded: Path, market: Venue, account: str) -> None:
    """Both streams of the venue go through the same dedupe; the same positions result; repeats are counted."""
    done = onefill("replay", traded, "--times", "3", "--venue", market.url, "--json")
    assert done.code == 0, done
    [route] = done.json["routes"]
    assert (route["route"], route["parity"], route["executions"], route["duplicates"]) == (
        f"exchange:{account}",
        True,
        2,
        4,
    )
    assert route["positions"] == onefill("positions", "--ledger", traded, "--json").json
    assert {check["stream"]: check["missing"] for check in done.json["venue"]} == {"executions": 0, "drop_copy": 0}
    shown = onefill("replay", traded, "--route", f"exchange:{account}")
    assert shown.out.split("\n")[1].split()[-1] == "yes"


def test_what_the_ledger_lacks_is_named(traded: Path, market: Venue, account: str) -> None:
    """An execution that came while nobody listened: exit code 3, with its order and price."""
    by_hand(market, "maker", f"{account}-3", "sell", "1", "20")
    done = onefill("replay", traded, "--venue", market.url)
    assert done.code == 3
    assert "1 not in the ledger" in done.out
    assert "buy 1 BTC-USD at 20" in done.out
    assert onefill("replay", traded).code == 0


def test_a_changed_record_has_no_parity(traded: Path) -> None:
    """Exit code 5, and the first difference is named."""
    connection = apsw.Connection(str(traded))
    connection.execute("UPDATE position SET sold_value = '111'")
    connection.close()
    done = onefill("replay", traded)
    assert done.code == 5
    assert "realised is 11; the replay gives 10" in done.out
    assert onefill("replay", traded, "--json").json["parity"] is False


def test_mistakes_are_told(traded: Path, market: Venue) -> None:
    """An unknown route, a venue of no route, no ledger."""
    assert onefill("replay", traded, "--route", "X").code == 2
    assert onefill("replay", traded, "--venue", "nowhere").code == 2
    assert onefill("replay", traded, "--times", "0").code == 2
    assert onefill("replay", traded.with_name("nothing.db")).code == 4
