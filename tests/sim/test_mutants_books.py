"""The mutants of executions, incidents, control states and reconciliation: each takes its guard's place and is noticed."""

import inspect
from typing import Any

import pytest

from onefill.sim.mutant import Mutant
from onefill.sim.mutants import MUTANTS
from onefill.sim.mutants_books import BOOKS
from onefill.sim.simulate import judged

_MOST_WORLDS = 200
_SOON: dict[str, set[str]] = {
    "one execution, two channels": {"FILL-ONCE"},
    "row with its effect": {"FILL-ONCE", "PARITY", "CONVERGES"},
    "a bust counts": {"FILL-ONCE"},
    "a bust folds anew": {"FILL-ONCE"},
    "a correction replaces": {"FILL-ONCE"},
    "a total is no fill": {"FILL-ONCE", "FALSE-ALARM", "NO-DEFECT"},
    "cost is exact": {"PARITY"},
    "a stranger has an incident": {"NO-SILENT-HEAL"},
    "who waits has an incident": {"NO-SILENT-HEAL"},
    "a person closes": {"NO-SILENT-HEAL"},
    "a close is told": {"INCIDENTS"},
    "incident with its change": {"NO-SILENT-HEAL"},
    "DUP_RISK takes reductions only": {"CONTROL"},
    "in flight is no break": {"FALSE-ALARM"},
    "a replay dedupes": {"PARITY"},
}
"""Those that are noticed within some ten worlds, and by which promise. ``make mutants`` runs all."""


def test_every_mutant_has_a_name_of_its_own_and_is_in_the_list() -> None:
    """``make mutants`` runs what is in the one list, and names it."""
    names = [mutant.guard for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert set(BOOKS) <= set(MUTANTS)
    assert len(BOOKS) >= 16
    assert set(_SOON) <= set(names)


def _accepts(mutated: Any, original: Any) -> bool:
    """Tell whether a mutant can be called in every way in which its guard is called by its own signature."""
    parameters = [one for one in inspect.signature(original).parameters.values() if one.kind is not one.VAR_KEYWORD]
    by_place = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    by_name = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    try:
        inspect.signature(mutated).bind(*by_place, **dict.fromkeys(by_name))
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_a_mutant_takes_what_its_guard_takes(mutant: Mutant) -> None:
    """A mutant that cannot be called as its guard is fails for that alone, and proves nothing about the guard."""
    original = getattr(mutant.owner, mutant.attribute)
    mutated = mutant.make(original)
    if not callable(original):
        assert type(mutated) is type(original)
        return
    assert inspect.iscoroutinefunction(mutated) is inspect.iscoroutinefunction(original)
    assert _accepts(mutated, original)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_a_guard_is_back_in_its_place_afterwards(mutant: Mutant) -> None:
    """A mutant lives as long as its block: then the guard is what it was."""
    before = vars(mutant.owner).get(mutant.attribute)
    with mutant.applied():
        assert vars(mutant.owner).get(mutant.attribute) is not before
    assert vars(mutant.owner).get(mutant.attribute) is before


@pytest.mark.parametrize("guard", _SOON)
def test_a_guard_that_is_switched_off_is_noticed(guard: str) -> None:
    """Within some worlds a promise breaks that holds there with the guard in place."""
    mutant = next(one for one in BOOKS if one.guard == guard)
    for seed in range(_MOST_WORLDS):
        with mutant.applied():
            broken = {violation.promise for violation in judged(seed)[2]}
        if broken & _SOON[guard] and not judged(seed)[2]:
            return
    pytest.fail(f"{guard}: not noticed within {_MOST_WORLDS} worlds")
