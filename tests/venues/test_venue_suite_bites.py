"""The suite of venue adapters can fail: each of its facts notices an adapter that breaks it, and passes one that does not."""

from typing import Any, ClassVar

import broken_venues as broken
import pytest
from exchange_conformance_kit import InProcessKit, SocketKit

from onefill.ports.venue import Venue
from onefill.sim.dialect import Dialect
from onefill.testing import venue_bench, venue_faults, venue_stream
from onefill.testing.venue import Ability, VenueConformance, VenueKit

STRICT = Dialect(lists_open_orders=True, tells_positions=True, drop_copy=True)
REPLACES_ANEW = Dialect(lists_open_orders=True, replace="new_id")
IN_PROCESS, SOCKETS = "in process", "sockets"
BREAKS: dict[str, tuple[type[broken.Whole], str, Dialect]] = {
    "test_an_order_is_taken_as_it_is": (broken.SendsTwice, IN_PROCESS, STRICT),
    "test_numbers_are_exact": (broken.Rounds, IN_PROCESS, STRICT),
    "test_every_spelling_of_an_id_round_trips": (broken.CutsIds, IN_PROCESS, STRICT),
    "test_what_passes_does_not_rest": (broken.ForgetsTimeInForce, IN_PROCESS, STRICT),
    "test_a_refusal_is_told_in_the_venues_words": (broken.HasNoWords, IN_PROCESS, STRICT),
    "test_another_account_is_refused": (broken.IgnoresAccounts, IN_PROCESS, STRICT),
    "test_an_expired_order_is_never_made": (broken.ForgetsExpiry, IN_PROCESS, STRICT),
    "test_a_repeat_of_an_open_order_gets_what_is_declared": (broken.CallsDuplicatesRejected, IN_PROCESS, STRICT),
    "test_a_repeat_of_a_filled_order_gets_what_is_declared": (broken.CallsDuplicatesRejected, IN_PROCESS, STRICT),
    "test_a_repeat_of_a_cancelled_order_gets_what_is_declared": (broken.CallsDuplicatesRejected, IN_PROCESS, STRICT),
    "test_a_lost_reply_is_unknown": (broken.CallsTheUnknownRejected, SOCKETS, STRICT),
    "test_a_lost_request_is_unknown": (broken.Resends, IN_PROCESS, STRICT),
    "test_a_reply_that_is_not_the_venues_is_unknown": (broken.CallsTheUnknownRejected, SOCKETS, STRICT),
    "test_a_lost_cancel_is_unknown": (broken.CallsTheUnknownRejected, SOCKETS, STRICT),
    "test_a_lost_replace_is_unknown": (broken.CallsTheUnknownRejected, SOCKETS, STRICT),
    "test_a_refused_connection_is_not_sent": (broken.DoubtsEverything, SOCKETS, STRICT),
    "test_it_cannot_start_while_nobody_listens": (broken.StartsAnyway, SOCKETS, STRICT),
    "test_closed_it_sends_nothing": (broken.NeverCloses, IN_PROCESS, STRICT),
    "test_every_connection_tells_the_same_of_the_venue": (broken.NamesItselfAnew, IN_PROCESS, STRICT),
    "test_an_id_that_was_never_used_is_not_found": (broken.FindsAnything, IN_PROCESS, STRICT),
    "test_an_order_is_found_as_it_is": (broken.ForgetsTheDead, IN_PROCESS, STRICT),
    "test_open_orders_are_all_and_only_those": (broken.ListsAPage, IN_PROCESS, STRICT),
    "test_positions_move_by_what_traded": (broken.CountsInFloats, IN_PROCESS, STRICT),
    "test_a_cancel_by_number_cancels_that_order": (broken.CancelsTwice, IN_PROCESS, STRICT),
    "test_a_cancel_by_client_order_id_does_as_declared": (broken.NeedsNumbers, IN_PROCESS, STRICT),
    "test_a_cancel_shows_what_had_traded": (broken.ForgetsWhatTraded, IN_PROCESS, STRICT),
    "test_a_filled_order_is_not_cancelled": (broken.TakesDeadForCancelled, IN_PROCESS, STRICT),
    "test_a_cancelled_order_stays_cancelled": (broken.RaisesOnCancels, IN_PROCESS, STRICT),
    "test_an_unknown_order_is_not_cancelled": (broken.RaisesOnCancels, IN_PROCESS, STRICT),
    "test_a_replace_does_as_declared": (broken.PretendsToReplace, IN_PROCESS, STRICT),
    "test_a_replace_counts_what_has_traded": (broken.ReplacesTheRest, IN_PROCESS, STRICT),
    "test_a_dead_order_is_not_replaced": (broken.ReplacesTheDead, IN_PROCESS, REPLACES_ANEW),
    "test_an_expired_replace_has_no_effect": (broken.ForgetsExpiry, IN_PROCESS, STRICT),
    "test_every_execution_is_told_once": (broken.RoundsPrices, IN_PROCESS, STRICT),
    "test_it_goes_on_from_any_place": (broken.SkipsOne, IN_PROCESS, STRICT),
    "test_it_survives_a_reconnect": (broken.NamesAnew, IN_PROCESS, STRICT),
    "test_a_stream_tells_what_comes": (broken.TellsThePastOnly, IN_PROCESS, STRICT),
    "test_a_stream_that_was_cut_loses_nothing": (broken.BeginsAnewNow, SOCKETS, STRICT),
    "test_a_drop_copy_tells_the_same": (broken.CopiesUnderOtherIds, IN_PROCESS, STRICT),
    "test_whatever_happens_both_sides_agree": (broken.ShowsTheFirstLook, IN_PROCESS, STRICT),
}
SILENCE = "test_silence_ends_by_itself"
"""An adapter without a time-out: shown below."""


def suite(kind: type[broken.Whole], where: str, dialect: Dialect) -> VenueConformance:
    """Return the suite over an adapter of that kind."""

    class InProcess(InProcessKit):
        def venue(self, answer_s: float) -> Venue:
            made: Any = kind(super().venue(answer_s))
            return made

    class Sockets(SocketKit):
        def venue(self, answer_s: float) -> Venue:
            made: Any = kind(super().venue(answer_s))
            return made

    class Suite(VenueConformance):
        async def kit(self) -> VenueKit:
            return InProcess(dialect) if where == IN_PROCESS else await Sockets(dialect).begin()

    return Suite()


@pytest.fixture(autouse=True)
def _soon_out_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come is not waited for long here."""
    for module in (venue_bench, venue_faults, venue_stream):
        for name, seconds in (("PATIENT_S", 1.0), ("TIGHT_S", 3.0), ("HASTY_S", 0.3)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, seconds)


@pytest.mark.parametrize("fact", BREAKS)
def test_a_broken_adapter_is_noticed(fact: str) -> None:
    """The fact fails over an adapter that breaks it, and holds over the same one unbroken."""
    kind, where, dialect = BREAKS[fact]
    getattr(suite(broken.Whole, where, dialect), fact)()
    with pytest.raises(AssertionError):
        getattr(suite(kind, where, dialect), fact)()


def test_an_adapter_that_waits_for_ever_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is not bounded by itself fails in the time that the suite gives it."""

    class Endless(SocketKit):
        def venue(self, answer_s: float) -> Venue:
            return super().venue(1000.0)

    class Suite(VenueConformance):
        async def kit(self) -> VenueKit:
            return await Endless(STRICT).begin()

    monkeypatch.setattr(venue_bench, "TIGHT_S", 0.5)
    with pytest.raises(AssertionError, match="did not end"):
        getattr(Suite(), SILENCE)()


def test_every_fact_is_shown_to_bite() -> None:
    """No fact of the suite is missing above."""
    facts = {name for name in dir(VenueConformance) if name.startswith("test_")}
    assert facts == {*BREAKS, SILENCE}


def test_what_a_kit_cannot_do_is_reported() -> None:
    """A fact that needs what the kit declares not to be able to do is reported as not shown, with the kit's reason."""

    class Kit(InProcessKit):
        cannot: ClassVar = {Ability.FILL: "nobody trades there"}

    class Suite(VenueConformance):
        async def kit(self) -> VenueKit:
            return Kit(STRICT)

    with pytest.raises(BaseException, match="the kit cannot fill: nobody trades there") as told:
        Suite().test_positions_move_by_what_traded()
    assert type(told.value).__name__ == "SkipTest"


def test_what_a_kit_leaves_out_undeclared_fails() -> None:
    """An ability that a kit neither has nor declares to lack fails the fact that needs it, and says what to write."""

    class Kit(InProcessKit):
        fill = VenueKit.fill

    class Suite(VenueConformance):
        async def kit(self) -> VenueKit:
            return Kit(STRICT)

    with pytest.raises(NotImplementedError, match=r"write VenueKit\.fill, or declare in cannot"):
        Suite().test_positions_move_by_what_traded()
