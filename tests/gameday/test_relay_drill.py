"""The drill of the relay, small, and that it notices what must not be."""

import asyncio
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from onefill.core.relay import Policy
from onefill.gameday.relay_drill import RelayDrillResult, RelayDrillSettings, judged, run_drill, violations
from onefill.testing.publisher_kit import Taken, entry_message


@pytest.mark.parametrize("to", ["nats", "kafka"])
def test_nothing_is_lost_or_out_of_order_when_a_relay_is_killed(to: Literal["nats", "kafka"], tmp_path: Path) -> None:
    """TOLD-ONCE: a relay killed with -9 while it tells a real broker: every event is there, in order, repeats the same."""
    settings = RelayDrillSettings(to=to, events=1000, kills=2, seed=3, policy=Policy(batch=32), measured=False)
    result = asyncio.run(run_drill(settings, tmp_path, lambda _what, _done, _total: None))
    assert result.violations == []
    assert result.events >= 1000
    assert result.kills_effective > 0
    assert result.told_again > 0
    assert result.arrived == result.events + result.told_again
    assert result.held == (result.events if to == "nats" else result.arrived)


_MESSAGES = [entry_message(sequence, sequence % 3) for sequence in range(1, 31)]
_GOOD = [Taken(message.id, message.body) for message in _MESSAGES]


def test_what_is_as_it_should_be_passes() -> None:
    """Everything, with a repeat from a place further back, is in order and nobody's loss."""
    found = judged(_MESSAGES, [*_GOOD[:20], *_GOOD[10:]], [one.id for one in _GOOD])
    assert (found.arrived, found.told_again, found.held) == (40, 10, 30)
    assert (found.missing, found.strangers, found.altered, found.disorder) == (0, 0, 0, [])


@pytest.mark.parametrize(
    ("what", "arrived"),
    [
        ("missing", _GOOD[:9] + _GOOD[10:]),
        ("strangers", [*_GOOD, Taken(entry_message(99, 2).id, entry_message(99, 2).body)]),
        ("altered", [*_GOOD[:9], Taken(_GOOD[9].id, _GOOD[9].body + b" "), *_GOOD[10:]]),
        ("disorder", [*_GOOD[:9], _GOOD[12], *_GOOD[10:12], _GOOD[9], *_GOOD[13:]]),
    ],
)
def test_what_must_not_be_is_noticed(what: str, arrived: list[Taken]) -> None:
    """An event that is missing, unknown, changed, or first told after a later one of its order, is counted as that."""
    found = msgspec.structs.asdict(judged(_MESSAGES, arrived, [one.id for one in _GOOD]))
    wrong = {name for name in ("missing", "strangers", "altered", "disorder") if found[name]}
    assert wrong == {what}


def test_a_drill_that_proves_nothing_fails() -> None:
    """Kills that came at no harmful moment, a place short of the end, and a stream with repeats are told in words."""
    good = RelayDrillResult(
        to="nats",
        events=30,
        orders=2,
        kills=2,
        kills_effective=1,
        arrived=40,
        told_again=10,
        held=30,
        missing=0,
        strangers=0,
        altered=0,
        out_of_order=0,
        bare_per_s=1,
        relay_per_s=1,
        killed_per_s=1,
        seconds=1.0,
        violations=[],
    )
    assert violations(good, 30) == []
    for other, position, words in (
        ({"kills_effective": 0, "told_again": 0}, 30, "proved nothing"),
        ({"told_again": 0}, 30, "nothing was told again"),
        ({"held": 31}, 30, "31 messages of 30"),
        ({"missing": 1}, 30, "1 events of the ledger"),
        ({}, 29, "place is 29"),
    ):
        (said,) = violations(msgspec.structs.replace(good, **other), position)
        assert words in said
