"""An order driven as the engine drives it, one journal entry at a time, with what must hold checked after every one."""

from decimal import Decimal

import msgspec
from core_kit import order, us
from core_rules import check_change, check_step

from onefill.core import events as ev
from onefill.core import evidence, resolution, retry, steps
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities, ReplaceStyle
from onefill.core.claims import leaves_by_us
from onefill.core.events import Event
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import (
    CancelReply,
    ExecutionKind,
    ExecutionReport,
    Found,
    LookupReply,
    ReplaceReply,
    SubmitReply,
)
from onefill.core.order import Copy, Order
from onefill.core.query import looked_up
from onefill.core.steps import LastLookup

_decode = msgspec.json.Decoder(tuple[Event, ...])


class Driven:
    """One order, its journal, and what the engine keeps beside it in memory.

    ``now_us`` is the time of day, which somebody may set; ``steady_us`` is a clock that nobody can set. ``call_s``: how long
    a call may last until its reply is given up.
    """

    def __init__(
        self, capabilities: Capabilities, now_us: int | None = None, *, call_s: float = 1.0, **changes: object
    ) -> None:
        self.call_us = round(call_s * 1_000_000)
        self.capabilities = capabilities
        self.now_us = us(0) if now_us is None else now_us
        self.steady_us = 0
        self.claimed_at_us: int | None = None
        """When the last claim of this process was made, by the steady clock."""
        self.first = self.order = order(**changes)
        self.lookup: LastLookup | None = None
        self.traded = Decimal(0)
        self.anomalies = 0
        self.journal: list[tuple[bytes, int]] = []
        self.taken: list[str] = []
        """The names of the steps taken so far."""
        claim = retry.send(self.order, capabilities, self.now_us)
        body = msgspec.Raw(b"{}")
        recorded = ev.Recorded(self.order.key, self.order.client_order_id, body, self.order.valid_until_us)
        self._claim(ev.Claimed(claim.number, claim.expires_at_us, self._leaves_by_us), recorded)

    @property
    def _leaves_by_us(self) -> int:
        return leaves_by_us(self.now_us, self.call_us)

    @property
    def sending(self) -> int | None:
        """The number of the copy whose reply is awaited."""
        return _awaited(self.order.copies)

    @property
    def cancelling(self) -> int | None:
        """The number of the cancel whose reply is awaited."""
        return _awaited(self.order.cancels)

    @property
    def replacing(self) -> int | None:
        """The number of the copy of a replace whose reply is awaited, even if that replace is over."""
        wanted = self.order.replacement
        return _awaited(self.order.strays + (() if wanted is None else wanted.copies))

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now_us += round(seconds * 1_000_000)
        self.steady_us += round(seconds * 1_000_000)

    def set_clock(self, seconds: float) -> None:
        """Set the time of day by so much, while no time passes."""
        self.now_us += round(seconds * 1_000_000)

    def commit(self, events: tuple[Event, ...]) -> None:
        """Advance the order by one journal entry and check every invariant of an order."""
        if not events:
            return
        before, self.order = self.order, advance(self.order, events, self.now_us)
        self.journal.append((msgspec.json.encode(events), self.now_us))
        self.traded += sum((event.quantity for event in events if isinstance(event, ev.Traded)), Decimal(0))
        self.anomalies += any(isinstance(event, ev.Anomaly) for event in events)
        check_change(before, self.order, self.traded)

    def _claim(self, claim: Event, *before: Event) -> None:
        self.commit((*before, claim))
        self.claimed_at_us = self.steady_us

    def replayed(self) -> Order:
        """Return the order as the journal alone makes it."""
        again = self.first
        for events, at_us in self.journal:
            again = advance(again, _decode.decode(events), at_us)
        return again

    def reply(self, reply: SubmitReply) -> None:
        """Take the reply to the copy under way."""
        assert self.sending is not None
        events = evidence.from_submit_reply(self.order, self.sending, reply, self.now_us)
        self.commit(evidence.resurrected(self.order, events))

    def cancel_reply(self, reply: CancelReply) -> None:
        """Take the reply to the cancel under way."""
        assert self.cancelling is not None
        self.commit(evidence.from_cancel_reply(self.order, self.cancelling, reply, self.now_us))

    def replace_reply(self, reply: ReplaceReply) -> None:
        """Take the reply to the copy of a replace that is under way."""
        assert self.replacing is not None
        self.commit(evidence.from_replace_reply(self.order, self.replacing, reply, self.now_us))

    def report(self, report: ExecutionReport) -> None:
        """Take a report that was not taken before."""
        events = evidence.from_report(self.order, report)
        if report.kind is not ExecutionKind.TRADE:
            events = evidence.resurrected(self.order, events)
        if not evidence.say_nothing_new(self.order, events):
            self.commit(events)

    def see(self, reply: LookupReply) -> None:
        """Take in what the venue shows, unasked."""
        self.commit(evidence.resurrected(self.order, evidence.from_lookup(self.order, reply)))

    def restart(self) -> None:
        """Lose what was in memory, as a crash does."""
        self.lookup = self.claimed_at_us = None
        self.commit(evidence.recovered(self.order))

    def want_cancel(self) -> None:
        """Record that somebody wants the order gone."""
        if self.order.status not in ENDED:
            self.commit((ev.CancelRecorded(None),))

    def want_replace(self, quantity: object, price: object = None, *, live_s: float = 30.0) -> None:
        """Record that somebody wants another quantity or price. One at a time: see the engine's desk."""
        number = self.order.replacements + 1
        new = self.capabilities.replace is ReplaceStyle.NEW_ID
        wanted = ev.ReplaceRecorded(
            number=number,
            client_order_id=f"C1R{number}" if new else self.order.live_id,
            quantity=Decimal(str(quantity)),
            price=self.order.price if price is None else Decimal(str(price)),
            valid_until_us=self.now_us + round(live_s * 1_000_000),
            operation_key=None,
        )
        self.commit((wanted,))

    def say_adopt(self, seen: resolution.Seen, venue_order_id: str) -> None:
        """Let a person say: it is this one."""
        self.commit(resolution.adopt(self.order, seen, venue_order_id, "ann", "saw it on the screen"))

    def say_not_sent(self, seen: resolution.Seen) -> None:
        """Let a person say: nothing of it is there."""
        now_us = self.now_us
        self.commit(resolution.not_sent(self.order, self.capabilities, seen, "ann", "asked the desk", now_us))

    def next(self) -> steps.Step:
        """Return the next step, after checking that it is safe."""
        step = retry.next_step(self.order, self.capabilities, self.lookup, self.now_us)
        check_step(self.order, self.capabilities, self.lookup, self.now_us, step)
        return step

    def ask(self, step: steps.Ask | steps.Scan, reply: LookupReply) -> None:
        """Perform a query, which is answered at once. What it found is adopted by the next step."""
        waited_us = None if self.claimed_at_us is None else self.steady_us - self.claimed_at_us
        self.lookup = looked_up(
            self.order, step.client_order_id, reply, self.lookup, asked_at_us=self.now_us, waited_us=waited_us
        )

    def perform(self, step: steps.Step) -> None:
        """Perform a step that needs no word of the venue: a decision, a claim or a wait."""
        self.taken.append(type(step).__name__)
        match step:
            case steps.Send():
                self.lookup = None
                self._claim(ev.Claimed(step.number, step.expires_at_us, self._leaves_by_us))
            case steps.SendCancel():
                self.lookup = None
                self._claim(ev.CancelClaimed(step.number))
            case steps.SendReplace():
                self.lookup = None
                self._claim(ev.ReplaceClaimed(step.number, step.expires_at_us, self._leaves_by_us))
            case steps.Adopt():
                assert self.lookup is not None
                self.see(Found(step.order))
                self.lookup = msgspec.structs.replace(self.lookup, found=None)
            case steps.ConcludeAbsent():
                self.commit((ev.ProvenAbsent(step.asked_at_us),))
            case steps.ConcludeNotReplaced() | steps.DropReplace():
                self.commit(evidence.not_replaced(self.order, step.reason))
            case steps.ExpireUnsent():
                self.commit((ev.ExpiredUnsent(step.reason),))
            case steps.Withdraw():
                self.commit((ev.Withdrawn(step.reason),))
            case steps.Park():
                self.commit((ev.Parked(step.reason),))
            case steps.TellRefused():
                self.commit((ev.CancelRefused(step.reason),))
            case steps.WaitUntil():
                self.pass_time((step.at_us - self.now_us) / 1_000_000)

    def idle(self) -> bool:
        """Tell whether no reply is awaited."""
        return self.sending is None and self.cancelling is None and self.replacing is None

    @property
    def status(self) -> Status:
        """Where the order stands."""
        return self.order.status


def _awaited(copies: tuple[Copy, ...]) -> int | None:
    return next((copy.number for copy in copies if copy.outcome is None), None)
