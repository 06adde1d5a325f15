"""The life-cycle table against an expectation written separately: every state with every signal, the illegal ones too.

Each row says: in this state, on this signal, comes that. Where it depends on the order, the words are

* ``by-quantity``: ``new`` with nothing executed, ``partially_filled`` with some, ``filled`` with all of it;
* ``filled-or-stays``: ``filled`` with all of it executed, else no change;
* ``spent``: ``uncertain`` while another copy may be under way, else ``recorded``;
* ``refused``: ``uncertain`` while another copy may be under way, else ``rejected``;
* ``stays``: no change; ``-``: cannot happen.
"""

from decimal import Decimal

import pytest
from core_kit import copies, in_state, order, us

from onefill.core import events as ev
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.lifecycle import ENDED, NEVER_SENT, TABLE, UNANSWERED, WORKING, Signal, Status, To
from onefill.core.messages import VenueStatus
from onefill.core.order import Order, apply, can, next_status

EXPECTED = """
recorded          claim          sending
recorded          spent          -
recorded          refuse         -
recorded          unknown        -
recorded          absent         -
recorded          pending        pending_new
recorded          accept         by-quantity
recorded          trade          by-quantity
recorded          reject         rejected
recorded          cancel_claim   -
recorded          cancel_refuse  -
recorded          cancel         canceled
recorded          expire         expired
recorded          time_out       expired_unsent
recorded          withdraw       canceled_unsent

sending           claim          -
sending           spent          spent
sending           refuse         refused
sending           unknown        uncertain
sending           absent         -
sending           pending        pending_new
sending           accept         by-quantity
sending           trade          by-quantity
sending           reject         rejected
sending           cancel_claim   -
sending           cancel_refuse  -
sending           cancel         canceled
sending           expire         expired
sending           time_out       -
sending           withdraw       -

uncertain         claim          stays
uncertain         spent          spent
uncertain         refuse         refused
uncertain         unknown        stays
uncertain         absent         recorded
uncertain         pending        pending_new
uncertain         accept         by-quantity
uncertain         trade          by-quantity
uncertain         reject         rejected
uncertain         cancel_claim   -
uncertain         cancel_refuse  -
uncertain         cancel         canceled
uncertain         expire         expired
uncertain         time_out       -
uncertain         withdraw       -

pending_new       claim          -
pending_new       spent          stays
pending_new       refuse         stays
pending_new       unknown        stays
pending_new       absent         -
pending_new       pending        stays
pending_new       accept         by-quantity
pending_new       trade          by-quantity
pending_new       reject         rejected
pending_new       cancel_claim   pending_cancel
pending_new       cancel_refuse  -
pending_new       cancel         canceled
pending_new       expire         expired
pending_new       time_out       -
pending_new       withdraw       -

new               claim          -
new               spent          stays
new               refuse         stays
new               unknown        stays
new               absent         -
new               pending        stays
new               accept         stays
new               trade          by-quantity
new               reject         rejected
new               cancel_claim   pending_cancel
new               cancel_refuse  stays
new               cancel         canceled
new               expire         expired
new               time_out       -
new               withdraw       -

partially_filled  claim          -
partially_filled  spent          stays
partially_filled  refuse         stays
partially_filled  unknown        stays
partially_filled  absent         -
partially_filled  pending        stays
partially_filled  accept         stays
partially_filled  trade          by-quantity
partially_filled  reject         stays
partially_filled  cancel_claim   pending_cancel
partially_filled  cancel_refuse  stays
partially_filled  cancel         canceled
partially_filled  expire         expired
partially_filled  time_out       -
partially_filled  withdraw       -

pending_cancel    claim          -
pending_cancel    spent          stays
pending_cancel    refuse         stays
pending_cancel    unknown        stays
pending_cancel    absent         -
pending_cancel    pending        stays
pending_cancel    accept         stays
pending_cancel    trade          filled-or-stays
pending_cancel    reject         rejected
pending_cancel    cancel_claim   stays
pending_cancel    cancel_refuse  by-quantity
pending_cancel    cancel         canceled
pending_cancel    expire         expired
pending_cancel    time_out       -
pending_cancel    withdraw       -

filled            claim          -
filled            spent          stays
filled            refuse         stays
filled            unknown        stays
filled            absent         -
filled            pending        stays
filled            accept         stays
filled            trade          stays
filled            reject         stays
filled            cancel_claim   -
filled            cancel_refuse  stays
filled            cancel         stays
filled            expire         stays
filled            time_out       -
filled            withdraw       -

canceled          claim          -
canceled          spent          stays
canceled          refuse         stays
canceled          unknown        stays
canceled          absent         -
canceled          pending        stays
canceled          accept         stays
canceled          trade          stays
canceled          reject         stays
canceled          cancel_claim   -
canceled          cancel_refuse  stays
canceled          cancel         stays
canceled          expire         stays
canceled          time_out       -
canceled          withdraw       -

rejected          claim          -
rejected          spent          stays
rejected          refuse         stays
rejected          unknown        stays
rejected          absent         -
rejected          pending        stays
rejected          accept         stays
rejected          trade          stays
rejected          reject         stays
rejected          cancel_claim   -
rejected          cancel_refuse  stays
rejected          cancel         stays
rejected          expire         stays
rejected          time_out       -
rejected          withdraw       -

expired           claim          -
expired           spent          stays
expired           refuse         stays
expired           unknown        stays
expired           absent         -
expired           pending        stays
expired           accept         stays
expired           trade          stays
expired           reject         stays
expired           cancel_claim   -
expired           cancel_refuse  stays
expired           cancel         stays
expired           expire         stays
expired           time_out       -
expired           withdraw       -

expired_unsent    claim          -
expired_unsent    spent          stays
expired_unsent    refuse         stays
expired_unsent    unknown        stays
expired_unsent    absent         -
expired_unsent    pending        pending_new
expired_unsent    accept         by-quantity
expired_unsent    trade          by-quantity
expired_unsent    reject         rejected
expired_unsent    cancel_claim   -
expired_unsent    cancel_refuse  -
expired_unsent    cancel         canceled
expired_unsent    expire         expired
expired_unsent    time_out       -
expired_unsent    withdraw       -

canceled_unsent   claim          -
canceled_unsent   spent          stays
canceled_unsent   refuse         stays
canceled_unsent   unknown        stays
canceled_unsent   absent         -
canceled_unsent   pending        pending_new
canceled_unsent   accept         by-quantity
canceled_unsent   trade          by-quantity
canceled_unsent   reject         rejected
canceled_unsent   cancel_claim   -
canceled_unsent   cancel_refuse  -
canceled_unsent   cancel         canceled
canceled_unsent   expire         expired
canceled_unsent   time_out       -
canceled_unsent   withdraw       -
"""
ROWS = [(Status(a), Signal(b), word) for a, b, word in (line.split() for line in EXPECTED.splitlines() if line)]
EXECUTED = {"none": Decimal(0), "some": Decimal(4), "all": Decimal(10), "more": Decimal(11)}
SEEN = ("V1", Decimal(0))
CARRIERS: dict[Signal, Event] = {
    Signal.CLAIM: ev.Claimed(3, None),
    Signal.SPENT: ev.CopySettled(1, CopyOutcome.NOT_SENT, "r"),
    Signal.REFUSE: ev.CopySettled(1, CopyOutcome.REJECTED, "r"),
    Signal.UNKNOWN: ev.OutcomeUnknown(1, "r"),
    Signal.ABSENT: ev.ProvenAbsent(0),
    Signal.PENDING: ev.Acknowledged("V1", VenueStatus.PENDING_NEW, Decimal(0), Source.STREAM),
    Signal.ACCEPT: ev.Acknowledged("V1", VenueStatus.NEW, Decimal(0), Source.STREAM),
    Signal.TRADE: ev.Traded("E1", Decimal(1), Decimal(1), *SEEN),
    Signal.REJECT: ev.Rejected("r", Source.STREAM, "V1"),
    Signal.CANCEL_CLAIM: ev.CancelClaimed(1),
    Signal.CANCEL_REFUSE: ev.CancelRefused("r"),
    Signal.CANCEL: ev.Canceled(Source.STREAM, *SEEN),
    Signal.EXPIRE: ev.Expired(Source.STREAM, *SEEN),
    Signal.TIME_OUT: ev.ExpiredUnsent("r"),
    Signal.WITHDRAW: ev.Withdrawn("r"),
}
"""For each signal, an event that means it."""


def meaning(word: str, status: Status, executed: str, *, under_way: bool) -> Status | None:
    """Return the state that a word of the table stands for, or ``None`` where nothing may happen."""
    match word:
        case "-":
            return None
        case "stays":
            return status
        case "by-quantity":
            return {"none": Status.NEW, "some": Status.PARTIALLY_FILLED}.get(executed, Status.FILLED)
        case "filled-or-stays":
            return status if executed in {"none", "some"} else Status.FILLED
        case "spent":
            return Status.UNCERTAIN if under_way else Status.RECORDED
        case "refused":
            return Status.UNCERTAIN if under_way else Status.REJECTED
        case _:
            return Status(word)


def variants(status: Status) -> list[tuple[str, bool, Order]]:
    """Return the order in a state with every amount executed, with and without a second copy under way."""
    made = []
    for executed, cum in EXECUTED.items():
        for under_way in (False, True):
            sent = copies("~0 ?1" if under_way else "~0 n1")
            made.append((executed, under_way, order(status=status, cum_quantity=cum, copies=sent)))
    return made


def test_the_expectation_names_every_pair_once() -> None:
    """The table above has one row for each state with each signal: 13 times 15."""
    assert [(status, signal) for status, signal, _ in ROWS] == [
        (status, signal) for status in Status for signal in Signal
    ]
    assert len(ROWS) == 195


@pytest.mark.parametrize(("status", "signal", "word"), ROWS)
def test_a_signal_leads_where_the_table_says(status: Status, signal: Signal, word: str) -> None:
    """Each pair leads where the expectation says, for every amount executed and copy under way, or cannot happen."""
    for executed, under_way, before in variants(status):
        settled = order(
            status=status, cum_quantity=before.cum_quantity, copies=copies("n0 ?1" if under_way else "n0 n1")
        )
        expected = meaning(word, status, executed, under_way=under_way)
        assert can(settled, signal) == (expected is not None)
        if expected is None:
            with pytest.raises(InvariantBroken, match=f"{signal} cannot happen in state {status}"):
                next_status(settled, signal)
        else:
            assert next_status(settled, signal) is expected


@pytest.mark.parametrize(("status", "signal", "word"), ROWS)
def test_an_event_moves_the_order_as_its_signal_does(status: Status, signal: Signal, word: str) -> None:
    """The event that carries a signal leads to the same state, by the numbers as they are after it."""
    for executed, under_way, after in variants(status):
        before = after
        if signal is Signal.TRADE:
            before = order(status=status, cum_quantity=after.cum_quantity - 1, copies=after.copies)
        if signal is Signal.ABSENT:
            under_way = False  # noqa: PLW2901 - it settles every copy
        expected = meaning(word, status, executed, under_way=under_way)
        if expected is None:
            with pytest.raises(InvariantBroken):
                apply(before, CARRIERS[signal], us(2))
        else:
            assert apply(before, CARRIERS[signal], us(2)).status is expected


def test_every_branch_of_a_conditional_target_is_reached() -> None:
    """Each outcome of each conditional target comes out of some pair of the table."""
    reached: dict[To, set[str]] = {target: set() for target in To}
    for status, row in TABLE.items():
        for signal, target in row.items():
            if isinstance(target, To):
                for _, _, before in variants(status):
                    sent = copies("n0 ?1" if len(before.copies_under_way) > 1 else "n0 n1")
                    to = next_status(order(status=status, cum_quantity=before.cum_quantity, copies=sent), signal)
                    reached[target].add("same" if to is status else to)
    assert reached[To.SAME] == {"same"}
    assert reached[To.BY_QUANTITY] == {"new", "partially_filled", "filled", "same"}
    assert reached[To.FILLED_OR_SAME] == {"filled", "same"}
    assert reached[To.BY_COPIES] == {"uncertain", "recorded", "same"}
    assert reached[To.REFUSED_BY_COPIES] == {"uncertain", "rejected", "same"}


def test_every_state_belongs_where_it_should() -> None:
    """The sets of states are what their names say and share nothing they should not."""
    assert ENDED | WORKING | {Status.RECORDED, Status.SENDING, Status.UNCERTAIN} == set(Status)
    assert not ENDED & WORKING
    assert not ENDED & UNANSWERED
    assert {Status.PENDING_NEW} == WORKING & UNANSWERED
    assert NEVER_SENT < ENDED
    assert set(TABLE) == set(Status)


@pytest.mark.parametrize("status", sorted(ENDED - NEVER_SENT))
def test_a_terminal_state_is_terminal(status: Status) -> None:
    """Nothing that a venue says moves an order that was filled, cancelled, rejected or expired (FIX: no way back)."""
    for signal in TABLE[status]:
        for _, _, before in variants(status):
            assert next_status(before, signal) is status


@pytest.mark.parametrize("status", sorted(NEVER_SENT | {Status.RECORDED}))
def test_evidence_outranks_what_was_concluded_here(status: Status) -> None:
    """An order held for unsent that the venue shows after all becomes what the venue shows."""
    shown = {Signal.PENDING: Status.PENDING_NEW, Signal.ACCEPT: Status.NEW, Signal.CANCEL: Status.CANCELED}
    shown |= {Signal.EXPIRE: Status.EXPIRED, Signal.REJECT: Status.REJECTED}
    for signal, expected in shown.items():
        assert next_status(in_state(status), signal) is expected
    assert apply(in_state(status), CARRIERS[Signal.TRADE], us(1)).status is Status.PARTIALLY_FILLED


def test_pending_cancel_takes_precedence_over_a_partial_fill() -> None:
    """A trade while a cancel is pending counts, and the state stays pending_cancel until the order is full (FIX)."""
    before = in_state(Status.PENDING_CANCEL, cum_quantity=Decimal(4))
    partial = apply(before, ev.Traded("E1", Decimal(1), Decimal(1), "V1", Decimal(5)), us(2))
    assert (partial.status, partial.cum_quantity) == (Status.PENDING_CANCEL, 5)
    full = apply(partial, ev.Traded("E2", Decimal(5), Decimal(1), "V1", Decimal(10)), us(2))
    assert (full.status, full.cum_quantity) == (Status.FILLED, 10)


def test_a_refused_cancel_gives_the_state_back() -> None:
    """After a refused cancel the order is what its executions make it: new, partially filled."""
    for cum, expected in ((0, Status.NEW), (4, Status.PARTIALLY_FILLED)):
        before = in_state(Status.PENDING_CANCEL, cum_quantity=Decimal(cum))
        assert apply(before, ev.CancelRefused("too late"), us(2)).status is expected


@pytest.mark.parametrize("status", sorted(ENDED - NEVER_SENT))
def test_a_fill_that_comes_after_the_end_counts(status: Status) -> None:
    """A late execution raises the executed quantity and leaves the state: executions are the truth about positions."""
    after = apply(in_state(status), ev.Traded("E9", Decimal(3), Decimal(1), "V1", Decimal(3)), us(9))
    assert after.status is status
    assert after.cum_quantity == 3
    assert after.leaves_quantity == 0


def test_an_order_that_ended_is_open_until_its_executions_are_in() -> None:
    """An order cancelled by a venue that counts 4 executed is closed only once executions for 4 have been applied."""
    ended = apply(in_state(Status.NEW), ev.Canceled(Source.STREAM, "V1", Decimal(4)), us(1))
    assert ended.status is Status.CANCELED
    assert not ended.closed
    part = apply(ended, ev.Traded("E1", Decimal(3), Decimal(1), "V1", Decimal(3)), us(2))
    assert not part.closed
    assert apply(part, ev.Traded("E2", Decimal(1), Decimal(1), "V1", Decimal(4)), us(3)).closed
