"""Rules of the core that were wrong once: put back from outside, each is found by the search, and what is there now is not."""

from collections.abc import Callable

import msgspec
import pytest

from onefill.core import claims, query, retry, retry_live
from onefill.core.capabilities import Capabilities, UniqueScope
from onefill.core.lifecycle import TABLE, Signal, Status
from onefill.core.messages import Found, Listed, LookupReply, NotFound, ScanReply
from onefill.core.order import Copy, Order
from onefill.core.steps import LastLookup, Step
from onefill.sim.explore import SCENARIOS, combinations, explore
from onefill.sim.explore_search import Bounds, Counterexample

COMBINATIONS = dict(combinations())


def _searched(venue: str, scenario: str) -> Counterexample | None:
    """Search one small world to its end, or to the first broken promise."""
    name = f"{venue}/cancel-by-number"
    chosen = [one for one in SCENARIOS if one.name == scenario]
    result = explore([(name, COMBINATIONS[name])], Bounds(states=40_000, seconds=600.0), scenarios=chosen)
    assert result.violation is not None or result.complete == 1
    return result.violation


def _found(venue: str, scenario: str, put_back: Callable[[], None]) -> Counterexample:
    """Return what breaks with the old rule, having seen that nothing does without it."""
    assert _searched(venue, scenario) is None
    put_back()
    violation = _searched(venue, scenario)
    assert violation is not None
    return violation


def test_a_day_margin_without_the_time_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat counted as refused if claimed T before midnight; but a copy may leave late and arrive on the next day."""

    def repeat_is_refused(order: Order, capabilities: Capabilities, now_us: int) -> bool:
        if not capabilities.refuses_repeats or capabilities.unique_scope is not UniqueScope.DAY:
            return capabilities.refuses_repeats and capabilities.unique_scope is UniqueScope.EVER
        longest_us = int((capabilities.request_expiry_s or capabilities.conclusive_after_s or 0.0) * 1_000_000)
        moments = [copy.claimed_at_us for copy in order.copies] + [now_us]
        return len({(moment + late) // claims.DAY_US for moment in moments for late in (0, longest_us)}) == 1

    def put_back() -> None:
        for module in (claims, retry, retry_live):
            monkeypatch.setattr(module, "repeat_is_refused", repeat_is_refused)

    venue = "day-error/lookup-direct/no-expiry/conclusive/sync/replace-none"
    violation = _found(venue, "small-midnight", put_back)
    assert violation.promise == "ONE-ORDER"


def test_the_age_of_a_claim_by_the_time_of_day_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set back made an old claim look fresh: its copy left after it had been counted as dead."""
    now = claims.too_late_to_send

    def too_late_to_send(copy: Copy, valid_until_us: int, now_us: int, _waited_us: int) -> str | None:
        return now(copy, valid_until_us, now_us, 0)

    def put_back() -> None:
        monkeypatch.setattr(claims, "too_late_to_send", too_late_to_send)

    venue = "open-error/lookup-direct/no-expiry/conclusive/sync/replace-none"
    violation = _found(venue, "small-clock", put_back)
    assert violation.promise == "ASK-FIRST"
    assert "time of day of gateway 1 is set back" in violation.text()


def test_a_rejection_ended_an_order_of_which_another_copy_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream's rejection of one copy's order ended ours, and the other copy then made a live one."""

    def put_back() -> None:
        for status in (Status.SENDING, Status.UNCERTAIN, Status.PENDING_NEW, Status.NEW):
            monkeypatch.setitem(TABLE[status], Signal.REJECT, Status.REJECTED)

    venue = "ever-error/lookup-direct/expiry/conclusive/async/replace-none"
    violation = _found(venue, "small-send", put_back)
    assert violation.promise == "SAY-UNKNOWN"
    assert violation.reason == "order 1 is rejected, and it is live at the venue"


def test_a_query_from_before_a_replace_speaks_of_the_order_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an old query showed was taken for a stranger's order under our id, since the replaced one is another."""
    now = retry.next_step

    def next_step(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> Step:
        if lookup is not None:
            lookup = msgspec.structs.replace(lookup, terms=order.terms_number)
        return now(order, capabilities, lookup, now_us)

    def put_back() -> None:
        monkeypatch.setattr(retry, "next_step", next_step)

    venue = "none/lookup-direct/expiry/conclusive/sync/replace-keep"
    violation = _found(venue, "small-replace", put_back)
    assert violation.promise == "FALSE-ALARM"
    assert "the venue has another order under C1" in violation.reason


def test_the_last_order_listed_under_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected order listed behind the live one of another copy made the order count as rejected; a list has no order."""

    def search(listed: ScanReply, client_order_id: str, _wanted: Order | None = None) -> LookupReply:
        if not isinstance(listed, Listed):
            return listed
        under_it = [order for order in listed.orders if order.client_order_id == client_order_id]
        return Found(under_it[-1]) if under_it else NotFound("")

    def put_back() -> None:
        monkeypatch.setattr(query, "search", search)

    venue = "day-error/lookup-scan/expiry/conclusive/async/replace-none"
    violation = _found(venue, "small-send", put_back)
    assert violation.promise == "SAY-UNKNOWN"
    assert violation.reason == "order 1 is rejected, and it is live at the venue"
