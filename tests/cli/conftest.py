"""One exchange for all tests of the command line, in a process of its own as users start it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import QUICK, Venue, account_of, serve


@pytest.fixture(scope="session")
def exchange() -> Iterator[Venue]:
    """Run ``onefill exchange``, whose orders all rest: tests share it, and must not trade with each other."""
    with serve("exchange", "--instrument", "BTC-USD:0.01:0.00000001", "--no-matching", *QUICK) as url:
        yield Venue(url)


@pytest.fixture
def account(request: pytest.FixtureRequest) -> str:
    """Return an account that no other test uses."""
    return account_of(request.node.nodeid)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Return a place for a ledger."""
    return tmp_path / "orders.db"
