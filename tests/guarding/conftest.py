"""Fixtures of the guard's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from guard_kit import Venue, serving


@pytest.fixture
def venue() -> Iterator[Venue]:
    """An imitation of Binance spot that listens."""
    with serving() as made:
        yield made


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where a ledger may be made."""
    return tmp_path / "orders.db"
