"""``onefill exchange``: its options make the exchange that they name."""

import urllib.request
from pathlib import Path
from typing import Any

import ccxt
import msgspec
import pytest
from cli_kit import onefill, serve, started

from onefill.service.settings import load
from onefill.service.venue_settings import CcxtSettings
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.venues.ccxt.address import point


def got(url: str) -> Any:
    """Return what a GET gives."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the exchange of this test
        return msgspec.json.decode(answer.read())


def test_it_tells_what_it_is_asked_to_tell() -> None:
    """Fees, execution ids, the drop copy, and holdings to begin with."""
    with serve(
        *("exchange", "--fee-rate", "-0.001", "--fee-currency", "EUR", "--execution-revisions", "--drop-copy"),
        *("--holding", "A:BTC-USD:-1.5", "--holding", "A:X:Y:2", "--no-lists-open-orders"),
    ) as url:
        dialect = got(f"{url}/v1/dialect")
        told = {name: dialect["dialect"][name] for name in ("fee_rate", "fee_currency", "execution_ids")}
        assert told == {"fee_rate": "-0.001", "fee_currency": "EUR", "execution_ids": "given"}
        capabilities = dialect["capabilities"]
        names = ("execution_revisions", "drop_copy", "tells_positions", "lists_open_orders", "cumulative_fills_only")
        assert [capabilities[name] for name in names] == [True, True, True, False, False]
        held = {one["instrument"]: one["quantity"] for one in got(f"{url}/v1/positions?account=A")["positions"]}
        assert held == {"BTC-USD": "-1.5", "X:Y": "2"}


def test_it_can_tell_totals_without_ids() -> None:
    """And lists open orders unless told not to."""
    with serve("exchange", "--totals-only", "--no-execution-ids") as url:
        dialect = got(f"{url}/v1/dialect")
        assert dialect["dialect"]["execution_ids"] == "none"
        assert dialect["capabilities"]["cumulative_fills_only"]
        assert dialect["capabilities"]["lists_open_orders"]


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("--fee-rate", "1.5"), "fee_rate: 1.5 is not a part of the value"),
        (("--fee-rate", "much"), "--fee-rate: 'much' is not a plain decimal number"),
        (("--holding", "A:2"), "--holding: 'A:2' is not ACCOUNT:INSTRUMENT:QUANTITY"),
        (("--holding", "A:X:two"), "--holding: 'two' is not a plain decimal number"),
        (("--holding", "A:X:1", "--holding", "A:X:2"), "--holding: 'X' of account 'A' is given twice"),
        (("--execution-revisions", "--totals-only"), "execution_revisions: needs single executions with ids"),
        (("--imitate", "krake"), "--imitate: 'krake' is not imitated; there are: "),
        (("--imitate", "kraken", "--unique-scope", "ever"), "--unique-scope: does not go with --imitate"),
        (("--imitate", "kraken", "--instrument", "A:1:1"), "--instrument: does not go with --imitate"),
    ],
)
def test_what_means_nothing_is_refused(arguments: tuple[str, ...], wrong: str) -> None:
    """With the option, before anything is served."""
    result = onefill("exchange", "--port", "0", *arguments)
    assert result.code == 2
    assert wrong in result.err


@pytest.mark.parametrize("matching", [True, False])
def test_it_imitates_a_real_venue(matching: bool) -> None:
    """Its own API, over the same core: told not to match, it lets orders rest that would trade with each other."""
    with serve("exchange", "--imitate", "kraken", "--matching" if matching else "--no-matching") as url:
        client: Any = point(ccxt.kraken(KrakenImitation.config()), url)
        try:
            bought = client.create_order("BTC/USDT", "limit", "buy", 1, 200)
            client.create_order("BTC/USDT", "limit", "sell", 1, 200)
            found = client.fetch_order(bought["id"], "BTC/USDT")
            assert (found["status"], float(found["filled"])) == (("closed", 1.0) if matching else ("open", 0.0))
        finally:
            client.session.close()
        assert got(f"{url}/v1/counts")["submits"] == 2


def test_an_imitation_tells_how_it_is_reached(tmp_path: Path) -> None:
    """What stands below the first line of standard error is a settings file; the exports give the credentials it names."""
    with started("exchange", "--imitate", "okx", "--port", "0") as server:
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdout.readline()
        lines = [server.stderr.readline()]
        while not lines[-1].startswith("export IMITATION_PASSWORD="):
            lines.append(server.stderr.readline())
    file = tmp_path / "onefill.toml"
    file.write_text("".join(line for line in lines[1:] if not line.startswith("export ")))
    venue = load(file).venues["okx"]
    assert isinstance(venue, CcxtSettings)
    assert (venue.exchange, venue.profile, venue.credentials) == ("okx", "okx", "IMITATION")
    exported = [line.partition("=")[0] for line in lines if line.startswith("export ")]
    assert exported == [f"export IMITATION_{name}" for name in ("API_KEY", "SECRET", "PASSWORD")]
