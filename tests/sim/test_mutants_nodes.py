"""The mutants of leases, epochs and what subscribers are told: each is noticed, and by the promise that it breaks."""

import pytest

from onefill.sim.mutants import MUTANTS
from onefill.sim.mutants_nodes import NODES
from onefill.sim.simulate import judged, seeds_of

_MOST_WORLDS = 150
_SOON: dict[str, set[str]] = {
    "a lease counts from the asking": {"ONE-WRITER", "SPLIT-BRAIN"},
    "the clock that nobody sets": {"SPLIT-BRAIN", "ONE-WRITER"},
    "an epoch is renewed by its own": {"ONE-WRITER"},
    "the epoch of every cursor": {"ONE-WRITER"},
    "a claim of the last holder is maybe sent": {"CONVERGES", "ASK-FIRST", "ONE-ORDER"},
    "a clock that stood still": {"SPLIT-BRAIN", "ONE-WRITER"},
    "one answer on every node": {"SAME-ANSWER"},
    "a lease that is over is no sign": {"SPLIT-BRAIN"},
    "a suspicion shuts the route": {"SPLIT-BRAIN"},
    "a place moves when it was told": {"TOLD-ONCE"},
    "an order's events in their order": {"TOLD-ONCE"},
    "an event's id is stable": {"TOLD-ONCE"},
    "an event's id is its own": {"TOLD-ONCE"},
    "silence is not taken for yes": {"TOLD-ONCE"},
    "told from where the last one stopped": {"TOLD-ONCE"},
}
"""Those that are noticed within some ten worlds, and by which promise. ``make mutants`` runs all."""


def test_every_one_is_in_the_list_and_looks_at_several_nodes() -> None:
    """``make mutants`` runs them, in worlds that have several nodes."""
    assert set(NODES) <= set(MUTANTS)
    assert len(NODES) >= 8
    assert {mutant.aim for mutant in NODES} == {"nodes-", "own-time", "forgetful"}
    assert set(_SOON) <= {mutant.guard for mutant in NODES}


@pytest.mark.parametrize("guard", _SOON)
def test_a_guard_that_is_switched_off_is_noticed(guard: str) -> None:
    """Within some worlds a promise breaks that holds there with the guard in place."""
    mutant = next(one for one in NODES if one.guard == guard)
    for seed in seeds_of(0, _MOST_WORLDS, mutant.aim):
        with mutant.applied():
            broken = {violation.promise for violation in judged(seed)[2]}
        if broken & _SOON[guard] and not judged(seed)[2]:
            return
    pytest.fail(f"{guard}: not noticed within {_MOST_WORLDS} worlds")
