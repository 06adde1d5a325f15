"""``onefill metrics`` and ``onefill run --metrics``."""

from pathlib import Path

import msgspec
import pytest
from run_kit import gateway, make_exchange, run
from typer.testing import CliRunner

from onefill.cli import metrics_command, options
from onefill.cli.main import app
from onefill.core.errors import InvalidField
from onefill.core.intent import Intent
from onefill.service.settings import Settings


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with one order that rests."""
    path = tmp_path / "o.db"

    async def scenario() -> None:
        async with gateway(path, make_exchange()) as opened:
            wanted = Intent(
                account="main", strategy="s", instrument="BTC-USD", side="buy", quantity=1, price=100, venue="sim:main"
            )
            await opened.submit(wanted, key="k")

    run(scenario)
    return path


def test_the_figures_of_a_ledger_are_printed(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table for each route, with what each figure is made of; --json has the same numbers and both names."""
    monkeypatch.setattr(metrics_command, "run_loop", __import__("asyncio").run)
    told = CliRunner().invoke(app, ["metrics", str(ledger)])
    assert told.exit_code == 0
    assert "sim:main" in told.output
    assert "0 duplicate rejects / 1 new orders" in told.output
    told = CliRunner().invoke(app, ["metrics", str(ledger), "--json"])
    (figures,) = msgspec.json.decode(told.stdout)
    assert (figures["route"], figures["label"], figures["new_orders"], figures["drr"]) == ("sim:main", "sim:1", 1, 0)
    assert figures["orders"] == {"new": 1}


def test_a_ledger_that_is_not_there_is_no_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made, and the exit code says that it cannot be used."""
    monkeypatch.setattr(metrics_command, "run_loop", __import__("asyncio").run)
    told = CliRunner().invoke(app, ["metrics", str(tmp_path / "o.db"), "--json"])
    assert told.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_run_serves_where_it_is_told() -> None:
    """--metrics wins over the settings; without it they stay; a wrong one is named by the option."""
    settings = Settings()
    assert options.with_metrics(settings, None) is settings
    assert options.with_metrics(settings, "127.0.0.1:0").metrics.listen == "127.0.0.1:0"
    with pytest.raises(InvalidField, match="--metrics: '9464' is not of the form HOST:PORT"):
        options.with_metrics(settings, "9464")
