"""Risk gates behind plain calls."""

import time
from pathlib import Path

from gateway_world import ACME, intent
from scripted_venue import ScriptedVenue

import onefill.sync
from onefill import Limits, Risk, Status
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange


def test_plain_code_has_the_same_gates(tmp_path: Path) -> None:
    """Limits, reference prices and allow_similar reach the gateway through :mod:`onefill.sync`."""
    venue = ScriptedVenue(Exchange(Dialect(), [ACME]), lambda: time.time_ns() // 1000)
    risk = Risk(limits=Limits(collar="0.1", similar_window_s=3600))
    with onefill.sync.open(str(tmp_path / "orders.db"), venues={"X": venue}, risk=risk) as gateway:
        assert str(gateway.submit(intent(), key="a").reason).startswith("collar: ")
        gateway.reference_price("X", "ACME", "100")
        assert gateway.submit(intent(), key="b").status is Status.NEW
        assert str(gateway.submit(intent(), key="c").reason).startswith("similar: ")
        assert gateway.submit(intent(), key="d", allow_similar=True).status is Status.NEW
    assert len(venue.orders()) == 2
