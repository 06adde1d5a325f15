"""Venues that forget orders, searched exhaustively: "not found" after too long is no proof; who takes it for one is caught."""

from collections.abc import Callable

import pytest

from onefill.core import retry, retry_live
from onefill.core.capabilities import Capabilities, Lookup, ReplaceStyle, UniqueScope
from onefill.core.order import Order
from onefill.core.steps import LastLookup
from onefill.sim.explore import applies, combinations, explore, forgetful, venues
from onefill.sim.explore_search import Bounds, Counterexample
from onefill.sim.explore_worlds import LARGE, SMALL
from onefill.sim.mutants import MUTANTS

VENUES = dict(forgetful())
OPEN = "open-error/lookup-direct/expiry/conclusive/sync/replace-{}/cancel-by-number/forgets"
MUTANT = next(one for one in MUTANTS if one.attribute == "may_be_forgotten")


def _searched(venue: str, *ignore: str) -> Counterexample | None:
    """Search the one small world of a forgetful venue to its end, or to the first broken promise."""
    bounds = Bounds(states=50_000, seconds=600.0, settle_every=29, ignore=frozenset(ignore))
    result = explore([(venue, VENUES[venue])], bounds, scenarios=SMALL)
    assert len(result.searches) == 1
    assert result.violation is not None or result.complete == 1
    return result.violation


@pytest.mark.parametrize("venue", [name for name in VENUES if "replace-none" in name])
def test_a_forgetful_venue_breaks_no_promise_until_the_rule_is_off(venue: str) -> None:
    """With the rule every world is searched and none breaks; without it an order that was live and ended counts as recorded."""
    assert _searched(venue) is None
    with MUTANT.applied():
        violation = _searched(venue)
    assert violation is not None
    assert violation.promise == "SAY-UNKNOWN"
    assert violation.reason == "order 1 is recorded, and the venue has it"
    text = violation.text()
    assert text.index("somebody else cancels V1 at the venue") < text.index("the venue forgets V1")
    assert text.index("the venue forgets V1") < text.index("ConcludeAbsent")


def test_without_the_rule_a_second_order_is_made() -> None:
    """Where the id of an order that ended is taken again, the further copy makes an order beside the forgotten one."""
    with MUTANT.applied():
        violation = _searched(OPEN.format("none"), "SAY-UNKNOWN", "FALSE-ALARM")
    assert violation is not None
    assert violation.promise == "ONE-ORDER"
    assert "copies 1 and 2 of order 1 made an order each" in violation.reason
    assert violation.text().index("the venue forgets V1") < violation.text().index("the venue makes V2")


def test_a_replace_is_not_held_for_void_because_its_order_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replace made was cancelled and forgotten: without the rule for replaces, news of it contradict the ledger."""
    venue = OPEN.format("new_id")
    assert _searched(venue) is None
    monkeypatch.setattr(retry_live, "may_be_forgotten", lambda *_: False)
    violation = _searched(venue)
    assert violation is not None
    assert violation.promise == "FALSE-ALARM"
    assert "a replace that was held to have come to nothing" in violation.reason


def test_who_cannot_know_any_more_waits_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that may be forgotten is parked with a reason: without that, asking would go on for ever and nobody know."""
    why_in_vain: Callable[..., str | None] = retry._why_in_vain

    def never_forgotten(order: Order, capabilities: Capabilities, lookup: LastLookup, now_us: int) -> str | None:
        vain = why_in_vain(order, capabilities, lookup, now_us)
        return None if vain is not None and "forgotten" in vain else vain

    monkeypatch.setattr(retry, "_why_in_vain", never_forgotten)
    violation = _searched(OPEN.format("none"))
    assert violation is not None
    assert violation.promise == "CONVERGES"


def test_forgetful_venues_are_searched_besides_the_others() -> None:
    """They are few and none of them is one of the others; each has one small world, which the others do not have."""
    assert [*dict(venues())] == [*dict(combinations()), *VENUES]
    assert {one.unique_scope for one in VENUES.values()} == {UniqueScope.NONE, UniqueScope.OPEN, UniqueScope.EVER}
    assert {one.lookup for one in VENUES.values()} == {Lookup.DIRECT, Lookup.SCAN}
    assert {one.replace for one in VENUES.values()} == set(ReplaceStyle)
    for name, capabilities in venues():
        own = [one for one in SMALL + LARGE if applies(one, capabilities)]
        if name in VENUES:
            assert [one.forgetful for one in own] == [True]
            assert own[0] in SMALL
        else:
            assert not any(one.forgetful for one in own)
