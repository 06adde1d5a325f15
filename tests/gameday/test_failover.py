"""The failover drills, one round of each, small: what is killed, paused or cut off costs no order and no execution."""

import asyncio
from pathlib import Path

import pytest

from onefill.core.errors import InvalidField
from onefill.gameday.failover import Blow, FailoverSettings, run_failover


def test_nothing_is_lost_or_doubled_whatever_is_killed_paused_or_cut_off(tmp_path: Path) -> None:
    """NO-LOSS, ONE-ORDER, FILL-ONCE, SAME-ANSWER, ONE-WRITER: over a primary with a synchronous standby and two gateways, under
    load, with kill -9 of either or both, a gateway paused for longer than its lease, and cut off on either side."""
    settings = FailoverSettings(rounds=1, accounts=2, in_flight=4, load_s=0.2, lease_s=1.0)
    result = asyncio.run(run_failover(settings, tmp_path, lambda *_: None))
    assert result.violations == []
    assert result.kills == {"databases": 2, "gateways": 2, "pauses": 1, "cuts": 2}
    assert [one.blow for one in result.rounds] == list(Blow)
    assert result.acknowledged > 50
    assert result.orders == result.acknowledged
    assert result.executions > 50
    assert result.twice > 0
    assert {one.late_sends for one in result.rounds if one.blow in {Blow.PAUSE, Blow.CUT_DATABASE}} == {0}


def test_what_cannot_be_run_is_refused() -> None:
    """A drill needs two nodes, and something to do."""
    with pytest.raises(InvalidField, match="two nodes"):
        FailoverSettings(nodes=1)
