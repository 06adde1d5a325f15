"""The exhaustive search itself: that it finds what is broken, says how, and finds nothing where nothing is."""

import pytest

from onefill.core import retry, retry_live
from onefill.core.capabilities import Capabilities, DuplicateReply, UniqueScope
from onefill.sim.explore import SCENARIOS, UNIQUENESS, combinations, explore
from onefill.sim.explore_run import jobs, main
from onefill.sim.explore_search import Bounds, Searched

COMBINATIONS = dict(combinations())
OPEN = "open-error/lookup-none/no-expiry/never-conclusive/sync/replace-none/cancel-by-number"


def _scenario(name: str) -> tuple:
    return tuple(one for one in SCENARIOS if one.name == name)


def _bare(searched: Searched) -> tuple[object, ...]:
    return (
        searched.states,
        searched.transitions,
        searched.depth,
        searched.complete,
        searched.doubled,
        searched.settled,
    )


def test_the_search_finds_the_two_order_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believing that a venue which is unique among open orders refuses every repeat makes two orders, and the way is told."""
    for module in (retry, retry_live):
        monkeypatch.setattr(module, "repeat_is_refused", lambda *_: True)
    bounds = Bounds(states=60_000, ignore=frozenset({"ASK-FIRST"}))
    result = explore([(OPEN, COMBINATIONS[OPEN])], bounds, scenarios=_scenario("send"))
    assert result.violation is not None
    assert result.violation.promise == "ONE-ORDER"
    text = result.violation.text()
    assert "copies 1 and 2 of order 1 made an order each" in text
    assert text.index("sends submit 1") < text.index("V1: new → filled") < text.index("the venue makes V2")
    assert result.violation.states <= result.states


def test_a_resend_while_a_copy_is_under_way_is_caught_at_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same broken rule breaks ASK-FIRST already where the second copy is claimed, before it makes an order."""
    monkeypatch.setattr(retry, "repeat_is_refused", lambda *_: True)
    result = explore([(OPEN, COMBINATIONS[OPEN])], Bounds(states=60_000), scenarios=_scenario("send"))
    assert result.violation is not None
    assert result.violation.promise == "ASK-FIRST"


def test_the_same_search_has_the_same_counts() -> None:
    """Nothing in a search depends on chance, on hashes' seeds or on what was searched before."""
    chosen = list(COMBINATIONS.items())[::97]
    runs = [explore(chosen, Bounds(states=400, seconds=1e9), go_on=True) for _ in range(2)]
    assert [_bare(one) for one in runs[0].searches] == [_bare(one) for one in runs[1].searches]


def test_every_combination_is_searched() -> None:
    """Every value of every capability that decides about repeats is combined with every other, and has a search."""
    assert len(COMBINATIONS) == len(set(COMBINATIONS.values())) == 7 * 3 * 2 * 2 * 2 * 3 * 2
    searched = {job[0] for job in jobs(Bounds(), (), ())}
    kept = {
        name for name in COMBINATIONS if "replace-none" in name or "replace-keep" in name or "replace-new_id" in name
    }
    assert searched == kept


def test_uniqueness_without_refusals_is_none() -> None:
    """The pairs that are left out are read as no uniqueness, so leaving them out leaves nothing out."""
    left_out = {(scope, reply) for scope in UniqueScope for reply in DuplicateReply} - set(UNIQUENESS.values())
    assert left_out
    for scope, reply in left_out:
        assert not Capabilities(unique_scope=scope, duplicate_reply=reply).refuses_repeats


def test_the_command_reports_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` gives states, depth and rates per combination; a name that nothing has is refused."""
    arguments = ["--json", "--jobs", "1", "--max-states", "50", "--only", OPEN, "--scenario", "send"]
    assert main(arguments) == 0
    assert '"states":50' in capsys.readouterr().out
    assert main(["--only", "no such venue"]) == 2
