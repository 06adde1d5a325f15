"""An order driven as the engine drives it, one journal entry at a time, with what must hold checked after every one."""

from decimal import Decimal

import msgspec
from core_kit import order

from onefill.core import events as ev
from onefill.core import evidence, retry
from onefill.core.capabilities import Capabilities, DuplicateReply, UniqueScope
from onefill.core.events import CopyOutcome, Event
from onefill.core.lifecycle import ENDED, NEVER_SENT, UNANSWERED, WORKING, Status
from onefill.core.messages import CancelReply, ExecutionKind, ExecutionReport, LookupReply, SubmitReply
from onefill.core.order import Answer, Order, advance
from onefill.core.retry import LastLookup

FINAL = ENDED - NEVER_SENT
DAY_US = 86_400_000_000
_decode = msgspec.json.Decoder(tuple[Event, ...])


class Driven:
    """One order, its journal, and what the engine keeps beside it in memory."""

    def __init__(self, capabilities: Capabilities, now_us: int, **changes: object) -> None:
        self.capabilities = capabilities
        self.first = self.order = order(**changes)
        self.lookup: LastLookup | None = None
        self.traded = Decimal(0)
        self.anomalies = 0
        self.journal: list[tuple[bytes, int]] = []
        claim = retry.send(self.order, capabilities, now_us)
        body = msgspec.Raw(b"{}")
        recorded = ev.Recorded(self.order.key, self.order.client_order_id, body, self.order.valid_until_us)
        self.commit((recorded, ev.Claimed(claim.number, claim.expires_at_us)), now_us)

    @property
    def sending(self) -> int | None:
        """The number of the copy whose reply is awaited."""
        return next((copy.number for copy in self.order.copies if copy.outcome is None), None)

    @property
    def cancelling(self) -> int | None:
        """The number of the cancel whose reply is awaited."""
        return next((copy.number for copy in self.order.cancels if copy.outcome is None), None)

    def commit(self, events: tuple[Event, ...], now_us: int) -> None:
        """Advance the order by one journal entry and check every invariant of an order."""
        if not events:
            return
        before, self.order = self.order, advance(self.order, events, now_us)
        self.journal.append((msgspec.json.encode(events), now_us))
        self.traded += sum((event.quantity for event in events if isinstance(event, ev.Traded)), Decimal(0))
        self.anomalies += any(isinstance(event, ev.Anomaly) for event in events)
        check_change(before, self.order, self.traded)

    def replayed(self) -> Order:
        """Return the order as the journal alone makes it."""
        again = self.first
        for events, at_us in self.journal:
            again = advance(again, _decode.decode(events), at_us)
        return again

    def take_reply(self, reply: SubmitReply, now_us: int) -> None:
        """Take the reply to the copy under way."""
        assert self.sending is not None
        events = evidence.from_submit_reply(self.order, self.sending, reply, now_us)
        self.commit(evidence.resurrected(self.order, events), now_us)

    def take_cancel_reply(self, reply: CancelReply, now_us: int) -> None:
        """Take the reply to the cancel under way."""
        assert self.cancelling is not None
        self.commit(evidence.from_cancel_reply(self.order, self.cancelling, reply), now_us)

    def take_report(self, report: ExecutionReport, now_us: int) -> None:
        """Take a report that was not taken before."""
        events = evidence.from_report(self.order, report)
        if report.kind is not ExecutionKind.TRADE:
            events = evidence.resurrected(self.order, events)
        if not all(evidence.changes_nothing(self.order, event) for event in events):
            self.commit(events, now_us)

    def take_lookup(self, reply: LookupReply, now_us: int) -> None:
        """Take what a status query said."""
        self.commit(evidence.resurrected(self.order, evidence.from_lookup(self.order, reply)), now_us)

    def restart(self, now_us: int) -> None:
        """Lose what was in memory, as a crash does."""
        self.lookup = None
        self.commit(evidence.recovered(self.order), now_us)

    def want_cancel(self, now_us: int) -> None:
        """Record that somebody wants the order gone."""
        if self.order.status not in ENDED:
            self.commit((ev.CancelRecorded(None),), now_us)

    def next(self, now_us: int) -> retry.Step:
        """Return the next step, after checking that it is safe."""
        step = retry.next_step(self.order, self.capabilities, self.lookup, now_us)
        check_step(self.order, self.capabilities, self.lookup, now_us, step)
        return step

    def perform(self, step: retry.Step, now_us: int) -> None:
        """Perform a step that is a decision or a claim. Asking and waiting are the caller's."""
        match step:
            case retry.Send():
                self.lookup = None
                self.commit((ev.Claimed(step.number, step.expires_at_us),), now_us)
            case retry.SendCancel():
                self.commit((ev.CancelClaimed(step.number),), now_us)
            case retry.ConcludeAbsent():
                self.commit((ev.ProvenAbsent(step.asked_at_us),), now_us)
            case retry.ExpireUnsent():
                self.commit((ev.ExpiredUnsent(step.reason),), now_us)
            case retry.Withdraw():
                self.commit((ev.Withdrawn(step.reason),), now_us)
            case retry.Park():
                self.commit((ev.Parked(step.reason),), now_us)
            case retry.TellRefused():
                self.commit((ev.CancelRefused(step.reason),), now_us)


def check_change(before: Order, after: Order, traded: Decimal) -> None:
    """Check what must hold of every change of an order, whatever caused it."""
    assert after.version == before.version + 1
    assert after.client_order_id == before.client_order_id
    assert after.intent is before.intent
    assert before.answer is None or after.answer == before.answer, "an answer changed"
    assert (after.answer is None) <= (after.status in UNANSWERED or before.answer is None)
    if after.status not in UNANSWERED:
        assert after.answer is not None
    if before.answer is None and after.answer is not None:
        assert msgspec.json.decode(after.answer, type=Answer).status is after.status
    assert after.cum_quantity == traded, "executed quantity is not the sum of the executions"
    assert after.venue_cum_quantity >= before.venue_cum_quantity
    assert after.leaves_quantity >= 0
    assert not after.closed or after.status in ENDED
    for copies, old in ((after.copies, before.copies), (after.cancels, before.cancels)):
        assert [copy.number for copy in copies] == list(range(1, len(copies) + 1))
        assert len(old) <= len(copies) <= len(old) + 1
    assert sum(copy.outcome is None for copy in after.copies) <= 1
    if before.status in FINAL:
        assert after.status is before.status, "a terminal state was left"
    if before.status in NEVER_SENT and after.status is not before.status and after.status is not Status.REJECTED:
        assert after.anomaly is not None, "the venue has an order that was never sent, and nobody is told"
    if after.status is Status.RECORDED:
        assert not after.copies_under_way
    if after.status is Status.FILLED:
        assert after.cum_quantity >= after.intent.quantity
    if after.status in {Status.NEW, Status.PARTIALLY_FILLED}:
        assert (after.cum_quantity > 0) == (after.status is Status.PARTIALLY_FILLED)
        assert after.cum_quantity < after.intent.quantity
    assert not after.parked or after.status in {Status.UNCERTAIN, Status.RECORDED}
    assert not (after.cancel_wanted and after.status in ENDED)
    if after.cum_quantity > after.intent.quantity:
        assert after.anomaly is not None, "more was executed than ordered, and nobody is told"


def dead_at_us(order: Order, capabilities: Capabilities) -> int | None:
    """Return from when on a "not found" is evidence: the declared time after the last possible send of any copy."""
    if capabilities.conclusive_after_s is None:
        return None
    last = max(
        (
            c.claimed_at_us if c.expires_at_us is not None else c.claimed_at_us + retry.SEND_WITHIN_US
            for c in order.copies
        ),
        default=0,
    )
    return last + round(capabilities.conclusive_after_s * 1_000_000)


def refuses_repeats(order: Order, capabilities: Capabilities, now_us: int) -> bool:
    """Tell whether every copy, one sent now included, meets a venue that takes the id once."""
    if capabilities.duplicate_reply is DuplicateReply.ACCEPTS:
        return False
    if capabilities.unique_scope is UniqueScope.DAY:
        longest_s = max(capabilities.request_expiry_s or 0, capabilities.conclusive_after_s or 0)
        moments = [copy.claimed_at_us for copy in order.copies] + [now_us, now_us + round(longest_s * 1_000_000)]
        return len({moment // DAY_US for moment in moments}) == 1
    return capabilities.unique_scope is UniqueScope.EVER


def check_send(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: retry.Send
) -> None:
    """Check that a copy may be sent: no other one can make a second order, and nothing speaks against sending at all."""
    under_way = order.copies_under_way
    assert not under_way or refuses_repeats(order, capabilities, now_us), "a second copy could trade"
    if under_way and capabilities.lookup_by_client_order_id:
        assert lookup is not None, "sent without asking first"
        assert lookup.asked_at_us >= order.copies[-1].claimed_at_us, "asked before the last claim only"
        assert lookup.not_found, "sent though nobody said that it is not there"
    assert now_us < order.valid_until_us, "sent after its time to live"
    assert not order.parked
    assert not order.cancel_wanted
    assert order.status in {Status.RECORDED, Status.UNCERTAIN}
    assert all(copy.outcome is not CopyOutcome.DUPLICATE for copy in order.copies)
    assert step.number == len(order.copies) + 1
    assert (step.expires_at_us is None) == (capabilities.request_expiry_s is None)
    assert step.expires_at_us is None or now_us <= step.expires_at_us <= order.valid_until_us


def check_step(
    order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int, step: retry.Step
) -> None:
    """Check that a step is safe, by rules written apart from those that chose it."""
    under_way = order.copies_under_way
    asked = lookup is not None and bool(order.copies) and lookup.asked_at_us >= order.copies[-1].claimed_at_us
    if order.status in ENDED:
        assert step == retry.Rest()
    match step:
        case retry.Send():
            check_send(order, capabilities, lookup, now_us, step)
        case retry.ConcludeAbsent():
            dead = dead_at_us(order, capabilities)
            assert order.status is Status.UNCERTAIN
            assert not order.parked
            assert lookup is not None
            assert asked
            assert lookup.not_found
            assert dead is not None, "not found proves nothing at this venue"
            assert step.asked_at_us == lookup.asked_at_us >= dead, "not found proves nothing yet"
            assert all(copy.outcome is not CopyOutcome.DUPLICATE for copy in order.copies)
        case retry.Withdraw() | retry.ExpireUnsent():
            assert order.status is Status.RECORDED
            assert not under_way
            assert order.cancel_wanted or now_us >= order.valid_until_us
        case retry.SendCancel():
            assert order.cancel_wanted
            assert order.status in WORKING
            assert step.number == len(order.cancels) + 1
            assert all(cancel.outcome is not None for cancel in order.cancels)
            others = len(under_way) - (not any(copy.outcome is CopyOutcome.ACCEPTED for copy in order.copies))
            dead = dead_at_us(order, capabilities)
            if others > 0 and dead is not None and not refuses_repeats(order, capabilities, now_us):
                assert now_us >= dead, "cancelled while another copy may take the place of the cancelled order"
        case retry.WaitUntil():
            assert step.at_us > now_us
        case retry.Park():
            assert order.status is Status.UNCERTAIN
            assert not order.parked
        case retry.Ask():
            assert capabilities.lookup_by_client_order_id
        case retry.TellRefused():
            assert order.status is Status.PENDING_CANCEL
            assert order.cancels[-1].outcome is CopyOutcome.REJECTED
    if order.status is Status.RECORDED and order.cancel_wanted:
        assert isinstance(step, retry.Withdraw), "cancelled before anything was sent"
