"""Orders moved by events that the core itself makes out of whatever a venue may say, in any order, true or not."""

import decimal
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_driver import DAY_US, Driven
from core_kit import NOON_US, copies, in_state, intent, order, report, shown, trade, us
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core import retry
from onefill.core.capabilities import Capabilities, DuplicateReply, UniqueScope
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Source
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status
from onefill.core.messages import ExecutionKind, VenueStatus
from onefill.core.order import Answer, CancelAnswer, CancelResult, advance, apply, cancel_answer, unknown_key_answer
from onefill.core.retry import LastLookup
from onefill.core.values import Side

venues = st.builds(
    Capabilities,
    unique_scope=st.sampled_from(list(UniqueScope)),
    duplicate_reply=st.just(DuplicateReply.ERROR),
    lookup_by_client_order_id=st.booleans(),
    request_expiry_s=st.none() | st.just(2.0),
    conclusive_after_s=st.none() | st.just(5.0),
)
amounts = st.sampled_from([Decimal(0), Decimal(1), Decimal(4), Decimal(10), Decimal(11)])
numbers = st.sampled_from(["V1", "V1", "V1", "V2"])
strange = st.sampled_from(
    [{}] * 12 + [{"instrument": "ZINC"}, {"side": "sell"}, {"quantity": Decimal(9)}, {"price": None}]
)
shown_orders = st.builds(
    lambda status, cum, number, other: shown(status=status, cum_quantity=cum, venue_order_id=number, **other),
    st.sampled_from(list(VenueStatus)),
    amounts,
    numbers,
    strange,
)
reasons = st.just("r")
replies = st.one_of(
    st.builds(msg.Accepted, shown_orders),
    st.builds(msg.Rejected, reasons),
    st.builds(msg.TooLate, reasons),
    st.builds(msg.DuplicateId, reasons),
    st.builds(msg.Throttled, reasons, st.sampled_from([0.0, 0.5, 20.0, -1.0, float("nan"), float("inf")])),
    st.builds(msg.NotSent, reasons),
    st.builds(msg.Unknown, reasons),
    st.builds(msg.Unknown, reasons),
)
cancel_replies = st.one_of(
    st.builds(msg.Canceled, shown_orders),
    st.builds(msg.CancelRejected, reasons, st.none() | shown_orders),
    st.builds(msg.Throttled, reasons, st.just(1.0)),
    st.builds(msg.NotSent, reasons),
    st.builds(msg.Unknown, reasons),
)
lookup_replies = st.one_of(
    st.builds(msg.Found, shown_orders),
    st.builds(msg.NotFound, reasons),
    st.builds(msg.NotFound, reasons),
    st.builds(msg.Unknown, reasons),
)
inconclusive = st.one_of(
    st.builds(msg.Unknown, reasons),
    st.builds(msg.Unknown, reasons),
    st.builds(msg.NotSent, reasons),
    st.builds(msg.TooLate, reasons),
    st.builds(msg.Throttled, reasons, st.sampled_from([0.0, 0.5])),
    st.sampled_from([msg.Unknown("r")] * 4 + [msg.Rejected("r"), msg.DuplicateId("r")]),
)
cancel_refusals = st.builds(msg.CancelRejected, reasons) | st.builds(msg.Unknown, reasons)
trades = st.builds(
    lambda quantity, cum, number: trade(quantity, cum, venue_order_id=number),
    st.sampled_from([1, 2, 4, 10]),
    amounts,
    numbers,
)
reports = st.builds(
    lambda kind, status, cum, number, side: report(
        kind, status=status, cum_quantity=cum, venue_order_id=number, side=side
    ),
    st.sampled_from([kind for kind in ExecutionKind if kind is not ExecutionKind.TRADE]),
    st.sampled_from([VenueStatus.PENDING_NEW, VenueStatus.NEW, VenueStatus.PARTIALLY_FILLED, VenueStatus.FILLED]),
    amounts,
    numbers,
    st.sampled_from(["buy"] * 9 + ["sell"]).map(Side),
)


class Machine(RuleBasedStateMachine):
    """One order, driven by the retry contract; the process may crash at any time and the clock may be set back."""

    driven: Driven
    now_us: int
    executions = 0

    @initialize(capabilities=venues, near_midnight=st.booleans())
    def record(self, capabilities: Capabilities, near_midnight: bool) -> None:
        self.start(capabilities, near_midnight=near_midnight)

    def start(self, capabilities: Capabilities, *, near_midnight: bool) -> None:
        self.now_us = NOON_US + (DAY_US // 2 - 3_000_000 if near_midnight else 0)
        times = {"recorded_at_us": self.now_us, "valid_until_us": self.now_us + 30_000_000}
        self.driven = Driven(capabilities, self.now_us, **times)

    def awaiting_reply(self) -> bool:
        return self.driven.sending is not None

    def awaiting_cancel(self) -> bool:
        return self.driven.cancelling is not None

    def idle(self) -> bool:
        return not self.awaiting_reply() and not self.awaiting_cancel()

    def take(self, told: msg.ExecutionReport) -> None:
        self.executions += 1
        self.driven.take_report(msgspec.structs.replace(told, execution_id=f"E{self.executions}"), self.now_us)

    def follow(self, reply: msg.LookupReply, times: int, *, roused: bool) -> None:
        """Take the contract's next steps until one needs the venue."""
        for _ in range(times):
            step = self.driven.next(self.now_us)
            if isinstance(step, retry.Ask):
                last = self.driven.lookup
                count = 1 if last is None else last.count + 1
                self.driven.lookup = LastLookup(self.now_us, count, isinstance(reply, msg.NotFound))
                self.driven.take_lookup(reply, self.now_us)
            elif isinstance(step, retry.WaitUntil):
                self.now_us += 1 if roused else step.at_us - self.now_us
            elif isinstance(step, retry.Rest):
                return
            else:
                self.driven.perform(step, self.now_us)
                if not self.idle():
                    return

    @rule()
    def crash(self) -> None:
        self.driven.restart(self.now_us)

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 5.0, -0.5, -10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)

    @invariant()
    def the_journal_alone_makes_the_order(self) -> None:
        if hasattr(self, "driven"):
            assert self.driven.replayed() == self.driven.order


class AnyVenue(Machine):
    """A venue that may say anything at any time, true or not."""

    @precondition(Machine.awaiting_reply)
    @rule(reply=replies)
    def reply(self, reply: msg.SubmitReply) -> None:
        self.driven.take_reply(reply, self.now_us)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_replies)
    def cancel_reply(self, reply: msg.CancelReply) -> None:
        self.driven.take_cancel_reply(reply, self.now_us)

    @rule(told=reports | trades)
    def report(self, told: msg.ExecutionReport) -> None:
        self.take(told)

    @rule(reply=lookup_replies)
    def unasked_lookup(self, reply: msg.LookupReply) -> None:
        self.driven.take_lookup(reply, self.now_us)

    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel(self.now_us)

    @precondition(Machine.idle)
    @rule(reply=lookup_replies, times=st.integers(1, 4), roused=st.booleans())
    def step(self, reply: msg.LookupReply, times: int, roused: bool) -> None:
        self.follow(reply, times, roused=roused)


class SilentVenue(Machine):
    """A venue that says little about the order for long: copies are lost, refused for now or never leave."""

    quiet_for = 0

    @precondition(Machine.awaiting_reply)
    @rule(reply=inconclusive)
    def reply(self, reply: msg.SubmitReply) -> None:
        self.driven.take_reply(reply, self.now_us)

    @precondition(Machine.idle)
    @rule(found=st.sampled_from([False] * 5 + [None]), times=st.integers(2, 20), roused=st.booleans())
    def step(self, found: bool | None, times: int, roused: bool) -> None:
        self.quiet_for += 1
        self.follow(msg.Unknown("r") if found is None else msg.NotFound("r"), times, roused=roused)

    @precondition(lambda self: self.quiet_for > 4)
    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel(self.now_us)

    @precondition(lambda self: self.quiet_for > 7 and len(self.driven.order.copies) > 1)
    @rule(told=reports | trades)
    def speak(self, told: msg.ExecutionReport) -> None:
        self.take(told)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_refusals)
    def cancel_reply(self, reply: msg.CancelReply) -> None:
        self.driven.take_cancel_reply(reply, self.now_us)


class StubbornVenue(Machine):
    """A venue that has the order and is slow to cancel it."""

    @initialize(
        capabilities=venues, status=st.sampled_from([VenueStatus.NEW, VenueStatus.PENDING_NEW]), lost=st.booleans()
    )
    def record(self, capabilities: Capabilities, status: VenueStatus, lost: bool) -> None:
        self.start(capabilities, near_midnight=False)
        if lost:
            self.driven.take_reply(msg.Unknown("r"), self.now_us)
            self.driven.take_lookup(msg.Found(shown(status=status)), self.now_us)
        else:
            self.driven.take_reply(msg.Accepted(shown(status=status)), self.now_us)

    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel(self.now_us)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_refusals | cancel_refusals | cancel_replies)
    def cancel_reply(self, reply: msg.CancelReply) -> None:
        self.driven.take_cancel_reply(reply, self.now_us)

    @precondition(Machine.idle)
    @rule(
        status=st.sampled_from([VenueStatus.NEW, VenueStatus.NEW, VenueStatus.PENDING_NEW, VenueStatus.CANCELED, None]),
        times=st.integers(2, 9),
    )
    def step(self, status: VenueStatus | None, times: int) -> None:
        reply = msg.Unknown("r") if status is None else msg.Found(shown(status=status))
        self.follow(reply, times, roused=False)

    @rule(quantity=st.sampled_from(["0.5", "1"]))
    def trade(self, quantity: str) -> None:
        self.take(trade(quantity, quantity))


RUNS = settings(
    derandomize=True,
    deadline=None,
    max_examples=250,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_whatever_a_venue_says_no_rule_breaks() -> None:
    """True, late, repeated or contradictory words in any order break no rule, and the journal alone makes the order."""
    run_state_machine_as_test(AnyVenue, settings=RUNS)


def test_a_silent_venue_makes_nothing_unsafe() -> None:
    """However long the order's fate stays unknown, each step is safe, over many copies, crashes and clocks set back."""
    run_state_machine_as_test(SilentVenue, settings=RUNS)


def test_a_stubborn_venue_is_asked_to_cancel_safely() -> None:
    """However often a venue refuses or loses a cancel, each step is safe and the order's state is what was shown."""
    run_state_machine_as_test(StubbornVenue, settings=RUNS)


def acknowledged(status: VenueStatus = VenueStatus.NEW, cum: int = 0) -> ev.Acknowledged:
    """Return the venue's word that the order is there."""
    return ev.Acknowledged("V1", status, Decimal(cum), Source.REPLY)


def test_one_entry_raises_the_version_by_one_whatever_it_holds() -> None:
    """Several events in one journal entry are one step of the version."""
    before = in_state(Status.SENDING)
    after = advance(
        before, (ev.CopySettled(1, CopyOutcome.ACCEPTED, ""), acknowledged(), ev.CancelRecorded(None)), us(1)
    )
    assert after.version == before.version + 1
    assert after.cancel_wanted


@pytest.mark.parametrize("status", list(Status))
def test_an_answer_is_given_exactly_when_there_is_one(status: Status) -> None:
    """Recorded, sending, uncertain and pending_new give no answer; every other state does, of that moment."""
    after = advance(in_state(status), (ev.Anomaly("a"),), us(7))
    if status in {Status.RECORDED, Status.SENDING, Status.UNCERTAIN, Status.PENDING_NEW}:
        assert after.answer is None
    else:
        assert after.answer is not None
        answer = msgspec.json.decode(after.answer, type=Answer)
        assert (answer.status, answer.answered_at_us, answer.client_order_id) == (status, us(7), "C1")
        assert answer.accepted == (status not in NEVER_SENT | {Status.REJECTED})


def test_the_first_answer_stays() -> None:
    """What happens after the answer does not change a byte of it."""
    first = advance(in_state(Status.SENDING), (ev.CopySettled(1, CopyOutcome.ACCEPTED, ""), acknowledged()), us(1))
    traded = advance(first, (ev.Traded("E1", Decimal(10), Decimal(1), "V1", Decimal(10)),), us(2))
    assert traded.status is Status.FILLED
    assert traded.answer == first.answer


def test_the_answer_is_pinned() -> None:
    """The bytes of an answer for known values, so that an upgrade cannot spell a stored answer otherwise."""
    after = advance(in_state(Status.SENDING), (acknowledged(),), us(1))
    assert after.answer == (
        b'{"key":"k","account":"A","strategy":"momentum","venue":"sim","client_order_id":"C1","venue_order_id":"V1",'
        b'"status":"new","cum_quantity":"0","reason":null,"answered_at_us":1749988801000000}'
    )


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (order(), ev.Claimed(2, None)),
        (in_state(Status.UNCERTAIN), ev.Claimed(1, None)),
        (in_state(Status.SENDING), ev.CopySettled(2, CopyOutcome.NOT_SENT, "")),
        (in_state(Status.SENDING), ev.OutcomeUnknown(0, "")),
        (in_state(Status.NEW), ev.CancelClaimed(2)),
        (in_state(Status.NEW), ev.CancelSettled(1, CopyOutcome.UNKNOWN, "")),
        (in_state(Status.NEW), ev.Parked("")),
        (in_state(Status.SENDING), ev.Parked("")),
        (in_state(Status.NEW, version=3), ev.Recorded("k", "C1", msgspec.Raw(b"{}"), 0)),
    ],
)
def test_what_cannot_happen_is_a_defect(before: Any, event: Any) -> None:
    """Copies out of turn, outcomes of copies never claimed, parking a known order, recording twice: all are refused."""
    with pytest.raises(InvariantBroken):
        apply(before, event, us(1))


def test_a_claim_counts_as_maybe_sent_until_its_outcome_is_known() -> None:
    """A copy without an outcome, or with an unknown one, is under way; every other outcome settles it."""
    for letter, under_way in {"~": 1, "?": 1, "n": 0, "t": 0, "l": 0, "d": 0, "r": 0, "a": 0, "x": 0}.items():
        assert len(order(copies=copies(f"{letter}0")).copies_under_way) == under_way


def test_absence_settles_every_copy_under_way_and_no_other() -> None:
    """Proof of absence turns unknown copies into absent ones and leaves answered ones as they are."""
    before = in_state(Status.UNCERTAIN, copies=copies("?0 n1 ?2 l3"))
    after = apply(before, ev.ProvenAbsent(us(9)), us(9))
    assert [copy.outcome for copy in after.copies] == [
        *(CopyOutcome.ABSENT, CopyOutcome.NOT_SENT, CopyOutcome.ABSENT, CopyOutcome.TOO_LATE)
    ]
    assert after.status is Status.RECORDED


def test_a_refusal_decides_once_no_other_copy_can_turn_up() -> None:
    """With one copy refused and one unknown the order is uncertain; when the other is proven absent it is rejected."""
    before = in_state(Status.UNCERTAIN, copies=copies("?0 ~1"))
    refused = advance(before, (ev.CopySettled(2, CopyOutcome.REJECTED, "no funds"),), us(1))
    assert refused.status is Status.UNCERTAIN
    assert refused.answer is None
    decided = advance(refused, (ev.ProvenAbsent(us(9)),), us(9))
    assert (decided.status, decided.reason) == (Status.REJECTED, "no funds")


def test_the_venues_total_never_falls() -> None:
    """A reply older than what the stream already told does not lower the venue's executed quantity."""
    later = apply(in_state(Status.SENDING), ev.Traded("E1", Decimal(4), Decimal(1), "V1", Decimal(4)), us(1))
    assert apply(later, acknowledged(cum=0), us(2)).venue_cum_quantity == 4


def test_evidence_ends_the_waiting_of_a_parked_order() -> None:
    """A parked order that the venue shows, rejects or cancels is no longer parked."""
    parked = in_state(Status.UNCERTAIN, parked=True)
    for event in (
        acknowledged(),
        ev.Rejected("r", Source.STREAM, "V1"),
        ev.Canceled(Source.STREAM, "V1", Decimal(0)),
        ev.Traded("E1", Decimal(1), Decimal(1), "V1", Decimal(1)),
    ):
        assert not advance(parked, (event,), us(1)).parked


def test_sums_of_executions_are_exact_in_any_decimal_context() -> None:
    """Executed and remaining quantity keep every digit, whatever precision the caller's program set for itself."""
    whole = intent(quantity=Decimal("100000000000000000000"))
    with decimal.localcontext(prec=5):
        after = in_state(Status.NEW, intent=whole)
        for number, quantity in enumerate(("99999999999999999999", "0.0000000000000000001"), 1):
            fill = ev.Traded(f"E{number}", Decimal(quantity), Decimal(1), "V1", Decimal(0))
            after = advance(after, (fill,), us(number))
        assert after.cum_quantity == Decimal("99999999999999999999.0000000000000000001")
        assert after.leaves_quantity == Decimal("0.9999999999999999999")
        assert after.status is Status.PARTIALLY_FILLED


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_wish_to_cancel_what_ended_changes_nothing(status: Status) -> None:
    """Recording a cancel of an order that ended does not leave it wanting one (promise CANCEL-QUIET)."""
    after = advance(in_state(status), (ev.CancelRecorded("op"),), us(1))
    assert (after.status, after.cancel_wanted) == (status, False)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (Status.CANCELED, CancelResult.CANCELED),
        (Status.FILLED, CancelResult.FILLED),
        (Status.REJECTED, CancelResult.ENDED),
        (Status.EXPIRED, CancelResult.ENDED),
        (Status.EXPIRED_UNSENT, CancelResult.NEVER_SENT),
        (Status.CANCELED_UNSENT, CancelResult.NEVER_SENT),
        (Status.NEW, CancelResult.REFUSED),
        (Status.PARTIALLY_FILLED, CancelResult.REFUSED),
    ],
)
def test_a_cancel_is_told_what_is_true_of_the_order(status: Status, result: CancelResult) -> None:
    """Each end has its word; only a cancel that ended the order says that it changed anything."""
    for changed in (True, False):
        told = msgspec.json.decode(cancel_answer(in_state(status), us(1), changed=changed), type=CancelAnswer)
        assert (told.result, told.status) == (result, status)
        assert told.changed == (changed and status in {Status.CANCELED, Status.CANCELED_UNSENT})


def test_a_cancel_of_an_unknown_key_says_so() -> None:
    """The answer names no order and claims no state."""
    told = msgspec.json.decode(unknown_key_answer("k", us(1)), type=CancelAnswer)
    assert (told.result, told.status, told.client_order_id, told.changed) == (
        CancelResult.UNKNOWN_KEY,
        None,
        None,
        False,
    )
