"""Control states behind the plain calls of :mod:`onefill.sync`, over the real clock and the real ledger thread."""

from pathlib import Path

import pytest
from control_kit import ANN
from gateway_world import ACME, WHO, intent
from scripted_venue import ScriptedVenue

import onefill.sync
from onefill.core.answers import CancelResult
from onefill.core.control import State, Thresholds
from onefill.core.errors import RouteClosed
from onefill.engine.controller import ControlPlan
from onefill.service.wiring import SystemClock
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange


def test_freeze_release_and_status_from_plain_code(tmp_path: Path) -> None:
    """The same as of the async gateway; the thresholds are handed on."""
    venue = ScriptedVenue(Exchange(Dialect(), [ACME]), SystemClock().now_us)
    plan = ControlPlan(common=Thresholds(rising=9))
    with onefill.sync.open(tmp_path / "orders.db", venues={"X": venue}, control=plan) as gateway:
        gateway.submit(intent(), key="k")
        assert gateway.status().state is State.NORMAL
        assert gateway._open._controllers["X"].thresholds.rising == 9
        assert gateway.freeze(**ANN)["X"].state is State.SAFE
        with pytest.raises(RouteClosed, match="is SAFE since"):
            gateway.submit(intent(), key="new")
        assert gateway.cancel("k", **WHO).result is CancelResult.CANCELED
        assert gateway.release("X", **ANN)["X"].state is State.DEGRADED
        assert gateway.release("X", force=True, **ANN)["X"].state is State.NORMAL
    with pytest.raises(RouteClosed, match="is not open"):
        gateway.status()
