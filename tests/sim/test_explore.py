"""The exhaustive search itself: that it finds what is broken, says how, and finds nothing where nothing is."""

import sys
from random import Random

import msgspec
import pytest

from onefill.core import query, retry, retry_live, steps
from onefill.core.capabilities import Capabilities, DuplicateReply, UniqueScope
from onefill.core.messages import NotFound, Unknown
from onefill.sim.explore import UNIQUENESS, combinations, explore, forgetful
from onefill.sim.explore_core import Core
from onefill.sim.explore_run import Plan, jobs, main
from onefill.sim.explore_search import Bounds, Searched
from onefill.sim.explore_worlds import LARGE, SCENARIOS, SMALL, applies

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
    runs = [explore(chosen, Bounds(states=200, seconds=1e9), go_on=True) for _ in range(2)]
    assert [_bare(one) for one in runs[0].searches] == [_bare(one) for one in runs[1].searches]


def test_an_order_that_comes_to_no_end_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for ever breaks CONVERGES, and the way that repeats itself is not told in full."""
    monkeypatch.setattr(
        retry, "_without_lookup", lambda _order, _venue, now_us: steps.WaitUntil(now_us + 1_000_000, "")
    )
    result = explore(
        [(OPEN, COMBINATIONS[OPEN])], Bounds(states=3_000, settle_every=1), scenarios=_scenario("small-send")
    )
    assert result.violation is not None
    assert result.violation.promise == "CONVERGES"
    assert "moves are left out" in result.violation.text()
    assert len(result.violation.trace) < 60


@pytest.mark.parametrize("unique", UNIQUENESS)
def test_no_promise_is_broken_at_any_venue(unique: str) -> None:
    """Every combination of capabilities has a small world, drawn by its name, and no state of it breaks a promise."""
    states = {}
    for name, capabilities in COMBINATIONS.items():
        if name.partition("/")[0] != unique:
            continue
        random = Random(name)
        drawn = random.choice([one for one in SMALL if applies(one, capabilities)])
        bounds = Bounds(states=2_000, seconds=600.0, settle_every=29)
        result = explore([(name, capabilities)], bounds, scenarios=[drawn])
        assert result.violation is None, result.violation.text()
        states[name] = result.states
        sys.stdout.write(f"{name}, {drawn.name}: {result.states} states, complete: {bool(result.complete)}\n")
    assert len(states) == len(COMBINATIONS) / len(UNIQUENESS)
    assert min(states.values()) > 10


def test_every_combination_is_searched() -> None:
    """Every value of every capability that decides about repeats is combined with every other, and has a small world that is
    searched completely and a larger one.
    """
    assert len(COMBINATIONS) == len(set(COMBINATIONS.values())) == 7 * 3 * 2 * 2 * 2 * 3 * 2
    todo = jobs(Plan())
    for kind in (tuple(one for one in SMALL if not one.forgetful), LARGE):
        assert {name for name, _, scenario, _ in todo if scenario in kind} == set(COMBINATIONS)
    forgetting = {name for name, _, scenario, _ in todo if scenario.forgetful}
    assert forgetting == set(dict(forgetful()))


def test_some_larger_worlds_are_searched_far() -> None:
    """As many of each scenario as of the others, the same for the same seed, and others for another."""
    plan = Plan(deep=18)

    def far(plan: Plan) -> list[tuple[str, str]]:
        return [(name, scenario.name) for name, _, scenario, bounds in jobs(plan) if bounds.states == plan.deep_states]

    assert sorted(name for _, name in far(plan)) == sorted([one.name for one in LARGE] * 2)
    assert far(plan) == far(plan)
    assert far(plan) != far(msgspec.structs.replace(plan, seed=2))


def test_the_count_of_queries_reaches_what_the_contract_counts_to() -> None:
    """Where queries are left out because they say the same, the count still comes to both numbers that decide something."""
    core = Core(COMBINATIONS[OPEN], SMALL[0])
    counts = [1]
    for _ in range(3):
        counts.append(core.count_after(counts[-1], silent=False))
    assert counts == [1, query.LOOKUPS_BEFORE_PARKING, 6, 6]
    assert core.count_after(6, silent=True) == query.LOOKUPS_WITHOUT_ANSWER
    order = core.new(0, core.start_us)
    last = 0
    for reply in (NotFound(""), NotFound(""), Unknown("")):
        last = core.looked(order, "C1", reply, last, core.start_us, 0)
    found = core.lookups[last]
    assert found is not None
    assert (found.count, found.not_found) == (query.LOOKUPS_WITHOUT_ANSWER, False)


def test_uniqueness_without_refusals_is_none() -> None:
    """The pairs that are left out are read as no uniqueness, so leaving them out leaves nothing out."""
    left_out = {(scope, reply) for scope in UniqueScope for reply in DuplicateReply} - set(UNIQUENESS.values())
    assert left_out
    for scope, reply in left_out:
        assert not Capabilities(unique_scope=scope, duplicate_reply=reply).refuses_repeats


def test_the_command_reports_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` gives states, depth and rates per combination; a name that nothing has is refused."""
    arguments = ["--json", "--jobs", "1", "--max-states", "50", "--deep", "0", "--only", OPEN, "--scenario", "send"]
    assert main(arguments) == 0
    assert '"states":50' in capsys.readouterr().out
    assert main(["--only", "no such venue"]) == 2


def test_the_tables_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No column collapses: every heading and every number is there in full."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--jobs", "1", "--max-states", "1200", "--deep", "0", "--only", OPEN, "--scenario", "send"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    heading = ["searches", "complete", "states", "moves", "depth", "states/s", "broken"]
    assert sum(line.split() == heading for line in lines) == 2
    assert any(line.split()[:4] == ["send", "1", "0", "1,200"] for line in lines)
