"""The life-cycle table against an expectation written separately: every state with every signal, the illegal ones too.

Each row says: in this state, on this signal, comes that. Where it depends on the order, the words are

* ``by-quantity``: ``new`` with nothing executed, ``partially_filled`` with some, ``filled`` with all of it;
* ``filled-or-stays``: ``filled`` with all of it executed, else no change;
* ``as-it-was``: ``filled`` with all of it executed; else ``pending_replace`` while a replace is open, ``pending_new`` if the
  venue never accepted the order (nobody may be told that it is live), and by quantity if it did;
* ``spent``: ``uncertain`` while another copy may be under way, else ``recorded``;
* ``refused``: ``uncertain`` while another copy may be under way, else ``rejected``;
* ``filled-or-canceled``: ``filled`` with all of it executed, else ``canceled``: a bust took from it and nothing trades on;
* ``turned-away``: ``refused``, by a gate here;
* ``stays``: no change; ``-``: cannot happen.
"""

import itertools
from decimal import Decimal
from typing import NamedTuple

import msgspec
import pytest
from core_kit import copies, in_state, order, replacement, us

from onefill.core import events as ev
from onefill.core.apply import apply, can, next_status
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.lifecycle import ENDED, NEVER_SENT, TABLE, UNANSWERED, WORKING, Signal, Status, To
from onefill.core.messages import VenueStatus
from onefill.core.order import Order

EXPECTED = """
recorded          claim          sending
recorded          spent          -
recorded          refuse         -
recorded          unknown        -
recorded          absent         -
recorded          pending        pending_new
recorded          accept         by-quantity
recorded          trade          by-quantity
recorded          reject         refused
recorded          cancel_claim   -
recorded          cancel_refuse  -
recorded          replace_claim  -
recorded          replace        -
recorded          replace_refuse stays
recorded          cancel         canceled
recorded          expire         expired
recorded          time_out       expired_unsent
recorded          withdraw       canceled_unsent
recorded          gate           turned-away
recorded          amend          by-quantity
recorded          reopen         -

sending           claim          -
sending           spent          spent
sending           refuse         refused
sending           unknown        uncertain
sending           absent         -
sending           pending        pending_new
sending           accept         by-quantity
sending           trade          by-quantity
sending           reject         refused
sending           cancel_claim   -
sending           cancel_refuse  -
sending           replace_claim  -
sending           replace        -
sending           replace_refuse stays
sending           cancel         canceled
sending           expire         expired
sending           time_out       -
sending           withdraw       -
sending           gate           -
sending           amend          by-quantity
sending           reopen         -

uncertain         claim          stays
uncertain         spent          spent
uncertain         refuse         refused
uncertain         unknown        stays
uncertain         absent         recorded
uncertain         pending        pending_new
uncertain         accept         by-quantity
uncertain         trade          by-quantity
uncertain         reject         refused
uncertain         cancel_claim   -
uncertain         cancel_refuse  -
uncertain         replace_claim  -
uncertain         replace        -
uncertain         replace_refuse stays
uncertain         cancel         canceled
uncertain         expire         expired
uncertain         time_out       -
uncertain         withdraw       canceled_unsent
uncertain         gate           -
uncertain         amend          by-quantity
uncertain         reopen         -

pending_new       claim          -
pending_new       spent          stays
pending_new       refuse         stays
pending_new       unknown        stays
pending_new       absent         -
pending_new       pending        stays
pending_new       accept         by-quantity
pending_new       trade          by-quantity
pending_new       reject         refused
pending_new       cancel_claim   pending_cancel
pending_new       cancel_refuse  -
pending_new       replace_claim  -
pending_new       replace        -
pending_new       replace_refuse stays
pending_new       cancel         canceled
pending_new       expire         expired
pending_new       time_out       -
pending_new       withdraw       canceled_unsent
pending_new       gate           -
pending_new       amend          by-quantity
pending_new       reopen         -

new               claim          -
new               spent          stays
new               refuse         stays
new               unknown        stays
new               absent         -
new               pending        stays
new               accept         stays
new               trade          by-quantity
new               reject         refused
new               cancel_claim   pending_cancel
new               cancel_refuse  stays
new               replace_claim  pending_replace
new               replace        -
new               replace_refuse stays
new               cancel         canceled
new               expire         expired
new               time_out       -
new               withdraw       -
new               gate           -
new               amend          by-quantity
new               reopen         -

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
partially_filled  replace_claim  pending_replace
partially_filled  replace        -
partially_filled  replace_refuse stays
partially_filled  cancel         canceled
partially_filled  expire         expired
partially_filled  time_out       -
partially_filled  withdraw       -
partially_filled  gate           -
partially_filled  amend          by-quantity
partially_filled  reopen         -

pending_replace   claim          -
pending_replace   spent          stays
pending_replace   refuse         stays
pending_replace   unknown        stays
pending_replace   absent         -
pending_replace   pending        stays
pending_replace   accept         stays
pending_replace   trade          filled-or-stays
pending_replace   reject         refused
pending_replace   cancel_claim   pending_cancel
pending_replace   cancel_refuse  stays
pending_replace   replace_claim  stays
pending_replace   replace        by-quantity
pending_replace   replace_refuse by-quantity
pending_replace   cancel         canceled
pending_replace   expire         expired
pending_replace   time_out       -
pending_replace   withdraw       -
pending_replace   gate           -
pending_replace   amend          filled-or-stays
pending_replace   reopen         -

pending_cancel    claim          -
pending_cancel    spent          stays
pending_cancel    refuse         stays
pending_cancel    unknown        stays
pending_cancel    absent         -
pending_cancel    pending        stays
pending_cancel    accept         stays
pending_cancel    trade          filled-or-stays
pending_cancel    reject         refused
pending_cancel    cancel_claim   stays
pending_cancel    cancel_refuse  as-it-was
pending_cancel    replace_claim  -
pending_cancel    replace        filled-or-stays
pending_cancel    replace_refuse filled-or-stays
pending_cancel    cancel         canceled
pending_cancel    expire         expired
pending_cancel    time_out       -
pending_cancel    withdraw       -
pending_cancel    gate           -
pending_cancel    amend          filled-or-stays
pending_cancel    reopen         -

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
filled            replace_claim  -
filled            replace        stays
filled            replace_refuse stays
filled            cancel         stays
filled            expire         stays
filled            time_out       -
filled            withdraw       -
filled            gate           -
filled            amend          filled-or-canceled
filled            reopen         by-quantity

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
canceled          replace_claim  -
canceled          replace        stays
canceled          replace_refuse stays
canceled          cancel         stays
canceled          expire         stays
canceled          time_out       -
canceled          withdraw       -
canceled          gate           -
canceled          amend          stays
canceled          reopen         -

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
rejected          replace_claim  -
rejected          replace        stays
rejected          replace_refuse stays
rejected          cancel         stays
rejected          expire         stays
rejected          time_out       -
rejected          withdraw       -
rejected          gate           -
rejected          amend          stays
rejected          reopen         -

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
expired           replace_claim  -
expired           replace        stays
expired           replace_refuse stays
expired           cancel         stays
expired           expire         stays
expired           time_out       -
expired           withdraw       -
expired           gate           -
expired           amend          stays
expired           reopen         -

expired_unsent    claim          -
expired_unsent    spent          stays
expired_unsent    refuse         stays
expired_unsent    unknown        stays
expired_unsent    absent         -
expired_unsent    pending        pending_new
expired_unsent    accept         by-quantity
expired_unsent    trade          by-quantity
expired_unsent    reject         refused
expired_unsent    cancel_claim   -
expired_unsent    cancel_refuse  -
expired_unsent    replace_claim  -
expired_unsent    replace        -
expired_unsent    replace_refuse -
expired_unsent    cancel         canceled
expired_unsent    expire         expired
expired_unsent    time_out       -
expired_unsent    withdraw       -
expired_unsent    gate           -
expired_unsent    amend          by-quantity
expired_unsent    reopen         -

canceled_unsent   claim          -
canceled_unsent   spent          stays
canceled_unsent   refuse         stays
canceled_unsent   unknown        stays
canceled_unsent   absent         -
canceled_unsent   pending        pending_new
canceled_unsent   accept         by-quantity
canceled_unsent   trade          by-quantity
canceled_unsent   reject         refused
canceled_unsent   cancel_claim   -
canceled_unsent   cancel_refuse  -
canceled_unsent   replace_claim  -
canceled_unsent   replace        -
canceled_unsent   replace_refuse -
canceled_unsent   cancel         canceled
canceled_unsent   expire         expired
canceled_unsent   time_out       -
canceled_unsent   withdraw       -
canceled_unsent   gate           -
canceled_unsent   amend          by-quantity
canceled_unsent   reopen         -

refused           claim          -
refused           spent          stays
refused           refuse         stays
refused           unknown        stays
refused           absent         -
refused           pending        pending_new
refused           accept         by-quantity
refused           trade          by-quantity
refused           reject         refused
refused           cancel_claim   -
refused           cancel_refuse  -
refused           replace_claim  -
refused           replace        -
refused           replace_refuse -
refused           cancel         canceled
refused           expire         expired
refused           time_out       -
refused           withdraw       -
refused           gate           -
refused           amend          by-quantity
refused           reopen         -
"""
ROWS = [(Status(a), Signal(b), word) for a, b, word in (line.split() for line in EXPECTED.splitlines() if line)]
EXECUTED = {"none": Decimal(0), "some": Decimal(4), "all": Decimal(10), "more": Decimal(11)}
SEEN = ("V1", Decimal(0))


def amended(cum_quantity: str, *, live: bool) -> ev.TradeAmended:
    """Return the bust of an execution after which so much counts."""
    quantity, price, cum = Decimal(1), Decimal(1), Decimal(cum_quantity)
    return ev.TradeAmended("B1", "bust", "E1", quantity, price, cum, Decimal(1), "V1", cum, live)


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
    Signal.REPLACE_CLAIM: ev.ReplaceClaimed(2, None, None),
    Signal.REPLACE: ev.Replaced(Source.STREAM, "C1", "V1", Decimal(10), Decimal(26), Decimal(0)),
    Signal.REPLACE_REFUSE: ev.ReplaceRefused("r"),
    Signal.CANCEL: ev.Canceled(Source.STREAM, *SEEN),
    Signal.EXPIRE: ev.Expired(Source.STREAM, *SEEN),
    Signal.TIME_OUT: ev.ExpiredUnsent("r"),
    Signal.WITHDRAW: ev.Withdrawn("r"),
    Signal.GATE: ev.Refused("size", "r"),
    Signal.AMEND: amended("0", live=False),
    Signal.REOPEN: amended("0", live=True),
}
"""For each signal, an event that means it."""


class Variant(NamedTuple):
    """What may be true of an order in any state."""

    executed: str
    under_way: bool
    """A second copy may be under way."""
    answered: bool
    """The venue accepted it once, so that its submit has an answer."""
    replacing: bool
    """A replace was claimed whose fate is open (by one of another price)."""

    def order(self, status: Status, first: str = "n0") -> Order:
        """Return the order of which this is true."""
        wanted = replacement("~1", quantity=Decimal(10), price=Decimal(26)) if self.replacing else None
        return order(
            status=status,
            cum_quantity=EXECUTED[self.executed],
            copies=copies(f"{first} ?1" if self.under_way else f"{first} n1"),
            answer=b"{}" if self.answered else None,
            replacement=wanted,
            replacements=int(self.replacing),
            replace_copies=int(self.replacing),
        )


VARIANTS = [Variant(*fields) for fields in itertools.product(EXECUTED, *[(False, True)] * 3)]


def meaning(word: str, status: Status, of: Variant) -> Status | None:
    """Return the state that a word of the table stands for, or ``None`` where nothing may happen."""
    full = of.executed in {"all", "more"}
    by_quantity = Status.FILLED if full else Status.NEW if of.executed == "none" else Status.PARTIALLY_FILLED
    match word:
        case "-":
            return None
        case "stays":
            return status
        case "by-quantity":
            return by_quantity
        case "filled-or-stays" | "filled-or-canceled":
            other = status if word == "filled-or-stays" else Status.CANCELED
            return Status.FILLED if full else other
        case "as-it-was":
            if not full and of.replacing:
                return Status.PENDING_REPLACE
            return by_quantity if full or of.answered else Status.PENDING_NEW
        case "spent":
            return Status.UNCERTAIN if of.under_way else Status.RECORDED
        case "refused":
            return Status.UNCERTAIN if of.under_way else Status.REJECTED
        case _:
            return Status.REFUSED if word == "turned-away" else Status(word)


def test_the_expectation_names_every_pair_once() -> None:
    """The table above has one row for each state with each signal: 15 times 21."""
    assert [(status, signal) for status, signal, _ in ROWS] == [
        (status, signal) for status in Status for signal in Signal
    ]
    assert len(ROWS) == 315
    assert set(CARRIERS) == set(Signal)


@pytest.mark.parametrize(("status", "signal", "word"), ROWS)
def test_a_signal_leads_where_the_table_says(status: Status, signal: Signal, word: str) -> None:
    """Each pair leads where the expectation says, whatever else is true of the order, or cannot happen."""
    for of in VARIANTS:
        settled = of.order(status)
        expected = meaning(word, status, of)
        assert can(settled, signal) == (expected is not None)
        if expected is None:
            with pytest.raises(InvariantBroken, match=f"{signal} cannot happen in state {status}"):
                next_status(settled, signal)
        else:
            assert next_status(settled, signal) is expected


@pytest.mark.parametrize(("status", "signal", "word"), ROWS)
def test_an_event_moves_the_order_as_its_signal_does(status: Status, signal: Signal, word: str) -> None:
    """The event that carries a signal leads to the same state, by the numbers as they are after it."""
    for of in VARIANTS:
        if signal in {Signal.REPLACE, Signal.REPLACE_CLAIM} and not of.replacing:
            continue  # nobody asked for it: see test_apply_replace
        if signal is Signal.REOPEN and status is not Status.FILLED:
            continue  # the same event says less of an order that was not filled
        before = of.order(status, "~0")
        carrier = CARRIERS[signal]
        if isinstance(carrier, ev.TradeAmended):
            carrier = msgspec.structs.replace(carrier, cum_quantity=before.cum_quantity)
        if signal is Signal.TRADE:
            before = msgspec.structs.replace(before, cum_quantity=before.cum_quantity - 1)
        # Absence settles every copy; and with the end of a replace none is open any more.
        after = of._replace(under_way=False) if signal is Signal.ABSENT else of
        expected = meaning(word, status, after)
        if expected is None:
            with pytest.raises(InvariantBroken):
                apply(before, carrier, us(2))
        else:
            assert apply(before, carrier, us(2)).status is expected


def test_every_branch_of_a_conditional_target_is_reached() -> None:
    """Each outcome of each conditional target comes out of some pair of the table."""
    reached: dict[To, set[str]] = {target: set() for target in To}
    for status, row in TABLE.items():
        for signal, target in row.items():
            if isinstance(target, To):
                for of in VARIANTS:
                    to = next_status(of.order(status), signal)
                    reached[target].add("same" if to is status else to)
    assert reached[To.SAME] == {"same"}
    assert reached[To.BY_QUANTITY] == {"new", "partially_filled", "filled", "same"}
    assert reached[To.AS_IT_WAS] == {"pending_new", "pending_replace", "new", "partially_filled", "filled"}
    assert reached[To.FILLED_OR_SAME] == {"filled", "same"}
    assert reached[To.FILLED_OR_CANCELED] == {"same", "canceled"}
    assert reached[To.BY_COPIES] == {"uncertain", "recorded", "same"}
    assert reached[To.REFUSED_BY_COPIES] == {"uncertain", "rejected", "same"}


def test_every_state_belongs_where_it_should() -> None:
    """The sets of states are what their names say and share nothing they should not."""
    assert ENDED | WORKING | {Status.RECORDED, Status.SENDING, Status.UNCERTAIN} == set(Status)
    assert not ENDED & WORKING
    assert not ENDED & UNANSWERED
    assert {Status.PENDING_NEW, Status.PENDING_CANCEL} == WORKING & UNANSWERED
    assert NEVER_SENT < ENDED
    assert set(TABLE) == set(Status)


@pytest.mark.parametrize("status", sorted(ENDED - NEVER_SENT))
def test_a_terminal_state_is_terminal(status: Status) -> None:
    """Nothing that a venue says moves an order that was filled, cancelled, rejected or expired (FIX: no way back), but the
    bust or correction of an execution, which takes from a filled one what made it so.
    """
    busted = {Signal.AMEND, Signal.REOPEN} if status is Status.FILLED else set()
    for signal in set(TABLE[status]) - busted:
        for of in VARIANTS:
            assert next_status(of.order(status), signal) is status


@pytest.mark.parametrize("status", sorted(NEVER_SENT | {Status.RECORDED}))
def test_evidence_outranks_what_was_concluded_here(status: Status) -> None:
    """An order held for unsent that the venue shows after all becomes what the venue shows."""
    shown = {Signal.PENDING: Status.PENDING_NEW, Signal.ACCEPT: Status.NEW, Signal.CANCEL: Status.CANCELED}
    shown |= {Signal.EXPIRE: Status.EXPIRED, Signal.REJECT: Status.REJECTED}
    for signal, expected in shown.items():
        assert next_status(in_state(status), signal) is expected
    assert apply(in_state(status), CARRIERS[Signal.TRADE], us(1)).status is Status.PARTIALLY_FILLED
