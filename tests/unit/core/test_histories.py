"""Orders driven by the retry contract through random histories, whatever a venue may say, in any order, true or not.

After every journal entry the rules of :func:`core_rules.check_change` must hold, and before every step those of
:func:`core_rules.check_step`, both written apart from the code that they judge.
"""

from decimal import Decimal

import msgspec
from core_driver import Driven
from core_kit import NOON_US, report, shown, trade
from core_rules import DAY_US
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

from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.lifecycle import ENDED
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.values import Side

venues = st.builds(
    Capabilities,
    unique_scope=st.sampled_from(list(UniqueScope)),
    duplicate_reply=st.sampled_from([DuplicateReply.ERROR, DuplicateReply.ERROR, *DuplicateReply]),
    lookup=st.sampled_from([Lookup.DIRECT, *Lookup]),
    request_expiry_s=st.none() | st.just(2.0),
    conclusive_after_s=st.none() | st.just(5.0),
    replace=st.sampled_from(list(ReplaceStyle)),
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
pauses = st.sampled_from([0.0, 0.5, 20.0, -1.0, float("nan"), float("inf")])
replies = st.one_of(
    st.builds(msg.Accepted, shown_orders),
    st.builds(msg.Rejected, reasons),
    st.builds(msg.TooLate, reasons),
    st.builds(msg.DuplicateId, reasons),
    st.builds(msg.Throttled, reasons, pauses),
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
replace_replies = st.one_of(
    st.builds(msg.Replaced, shown_orders),
    st.builds(msg.ReplaceRejected, reasons, st.none() | shown_orders),
    st.builds(msg.TooLate, reasons),
    st.builds(msg.Throttled, reasons, pauses),
    st.builds(msg.NotSent, reasons),
    st.builds(msg.Unknown, reasons),
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
names = st.integers(0, 3)
"""Which of the order's ids a venue names, and which of its terms: see :meth:`Machine.about`."""


class Machine(RuleBasedStateMachine):
    """One order, driven by the retry contract; the process may crash at any time and the clock may be set."""

    driven: Driven
    executions = 0

    @initialize(capabilities=venues, near_midnight=st.booleans())
    def record(self, capabilities: Capabilities, near_midnight: bool) -> None:
        self.start(capabilities, near_midnight=near_midnight)

    def start(self, capabilities: Capabilities, *, near_midnight: bool) -> None:
        now_us = NOON_US + (DAY_US // 2 - 3_000_000 if near_midnight else 0)
        times = {"recorded_at_us": now_us, "valid_until_us": now_us + 30_000_000}
        self.driven = Driven(capabilities, now_us, **times)

    def awaiting_reply(self) -> bool:
        return self.driven.sending is not None

    def awaiting_cancel(self) -> bool:
        return self.driven.cancelling is not None

    def awaiting_replace(self) -> bool:
        return self.driven.replacing is not None

    def idle(self) -> bool:
        return self.driven.idle()

    def may_replace(self) -> bool:
        """A second replace is recorded only when the first is through, and none of an order that ended."""
        return self.driven.order.replacement is None and self.driven.status not in ENDED

    def about(self, seen: VenueOrder, name: int) -> VenueOrder:
        """Return what a venue shows under one of the order's ids: as it was, as it is, or as it is to be."""
        order = self.driven.order
        terms = [(order.client_order_id, order.intent.quantity, order.intent.price)] * 2
        terms.append((order.live_id, order.quantity, order.price))
        wanted = order.replacement
        terms.append((wanted.client_order_id, wanted.quantity, wanted.price) if wanted is not None else terms[-1])
        client_order_id, quantity, price = terms[name]
        changes: dict[str, object] = {"client_order_id": client_order_id}
        if seen.quantity == order.intent.quantity:
            changes["quantity"] = quantity
        if seen.price == order.intent.price:
            changes["price"] = price
        return msgspec.structs.replace(seen, **changes)

    def take(self, told: ExecutionReport, name: int) -> None:
        """Take in a report under one of the order's ids."""
        self.executions += 1
        seen = self.about(shown(), name)
        changes: dict[str, object] = {"execution_id": f"E{self.executions}", "client_order_id": seen.client_order_id}
        if told.kind is ExecutionKind.REPLACED:
            changes |= {"order_quantity": seen.quantity, "order_price": seen.price}
        self.driven.report(msgspec.structs.replace(told, **changes))

    def follow(self, reply: msg.LookupReply, name: int, times: int, *, roused: bool) -> None:
        """Take the contract's next steps until one needs the venue. Time passing always leads on."""
        driven, waits = self.driven, 0
        for _ in range(times):
            step = driven.next()
            if isinstance(step, steps.Ask | steps.Scan):
                found = isinstance(reply, msg.Found)
                driven.ask(step, msg.Found(self.about(reply.order, name)) if found else reply)
            elif isinstance(step, steps.WaitUntil) and roused:
                driven.pass_time(0.000001)
            elif isinstance(step, steps.Rest):
                return
            else:
                driven.perform(step)
                if not driven.idle():
                    return
            waits = waits + 1 if isinstance(step, steps.WaitUntil) and not roused else 0
            assert waits <= 2, "waiting leads to waiting"

    @rule()
    def crash(self) -> None:
        self.driven.restart()

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 5.0, 70.0]))
    def pass_time(self, seconds: float) -> None:
        self.driven.pass_time(seconds)

    @rule(seconds=st.sampled_from([-0.5, -10.0, -4000.0, 3.0, 4000.0]))
    def set_clock(self, seconds: float) -> None:
        self.driven.set_clock(seconds)

    @invariant()
    def the_journal_alone_makes_the_order(self) -> None:
        if hasattr(self, "driven"):
            assert self.driven.replayed() == self.driven.order

    @invariant()
    def there_is_a_safe_step(self) -> None:
        if hasattr(self, "driven"):
            self.driven.next()


class AnyVenue(Machine):
    """A venue that may say anything at any time, true or not."""

    @precondition(Machine.awaiting_reply)
    @rule(reply=replies)
    def reply(self, reply: msg.SubmitReply) -> None:
        self.driven.reply(reply)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_replies, name=names)
    def cancel_reply(self, reply: msg.CancelReply, name: int) -> None:
        self.driven.cancel_reply(self.named(reply, name))

    @precondition(Machine.awaiting_replace)
    @rule(reply=replace_replies, name=names)
    def replace_reply(self, reply: msg.ReplaceReply, name: int) -> None:
        self.driven.replace_reply(self.named(reply, name))

    def named(self, reply: msg.CancelReply | msg.ReplaceReply, name: int) -> msg.CancelReply | msg.ReplaceReply:
        """Return a reply that shows the order under one of its ids."""
        if isinstance(reply, msg.Canceled | msg.Replaced | msg.CancelRejected | msg.ReplaceRejected) and reply.order:
            return msgspec.structs.replace(reply, order=self.about(reply.order, name))
        return reply

    @rule(told=reports | trades, name=names)
    def report(self, told: ExecutionReport, name: int) -> None:
        self.take(told, name)

    @rule(reply=lookup_replies)
    def unasked_lookup(self, reply: msg.LookupReply) -> None:
        self.driven.see(reply)

    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel()

    @precondition(Machine.may_replace)
    @rule(
        quantity=st.sampled_from([3, 5, 10, 15]), price=st.sampled_from([None, "26"]), live_s=st.sampled_from([1, 30])
    )
    def want_replace(self, quantity: int, price: str | None, live_s: float) -> None:
        self.driven.want_replace(quantity, price, live_s=live_s)

    @precondition(Machine.idle)
    @rule(reply=lookup_replies, name=names, times=st.integers(1, 4), roused=st.booleans())
    def step(self, reply: msg.LookupReply, name: int, times: int, roused: bool) -> None:
        self.follow(reply, name, times, roused=roused)


class SilentVenue(Machine):
    """A venue that says little about the order for long: copies are lost, refused for now or never leave."""

    quiet_for = 0

    @precondition(Machine.awaiting_reply)
    @rule(reply=inconclusive)
    def reply(self, reply: msg.SubmitReply) -> None:
        self.driven.reply(reply)

    @precondition(Machine.idle)
    @rule(found=st.sampled_from([False] * 5 + [None]), times=st.integers(2, 20), roused=st.booleans())
    def step(self, found: bool | None, times: int, roused: bool) -> None:
        self.quiet_for += 1
        self.follow(msg.Unknown("r") if found is None else msg.NotFound("r"), 0, times, roused=roused)

    @precondition(lambda self: self.quiet_for > 4)
    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel()

    @precondition(lambda self: self.quiet_for > 7 and len(self.driven.order.copies) > 1)
    @rule(told=reports | trades)
    def speak(self, told: ExecutionReport) -> None:
        self.take(told, 0)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_refusals)
    def cancel_reply(self, reply: msg.CancelReply) -> None:
        self.driven.cancel_reply(reply)


class StubbornVenue(Machine):
    """A venue that has the order, and is slow to cancel or replace it."""

    @initialize(
        capabilities=venues, status=st.sampled_from([VenueStatus.NEW, VenueStatus.PENDING_NEW]), lost=st.booleans()
    )
    def record(self, capabilities: Capabilities, status: VenueStatus, lost: bool) -> None:
        self.start(capabilities, near_midnight=False)
        if lost:
            self.driven.reply(msg.Unknown("r"))
            self.driven.see(msg.Found(shown(status=status)))
        else:
            self.driven.reply(msg.Accepted(shown(status=status)))

    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel()

    @precondition(Machine.may_replace)
    @rule(quantity=st.sampled_from([3, 15]))
    def want_replace(self, quantity: int) -> None:
        self.driven.want_replace(quantity)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_refusals | cancel_refusals | cancel_replies)
    def cancel_reply(self, reply: msg.CancelReply) -> None:
        self.driven.cancel_reply(reply)

    @precondition(Machine.awaiting_replace)
    @rule(reply=st.sampled_from([msg.Unknown("r")] * 4 + [msg.NotSent("r"), msg.ReplaceRejected("r")]))
    def replace_reply(self, reply: msg.ReplaceReply) -> None:
        self.driven.replace_reply(reply)

    @precondition(Machine.idle)
    @rule(
        status=st.sampled_from([VenueStatus.NEW, VenueStatus.NEW, VenueStatus.PENDING_NEW, VenueStatus.CANCELED, None]),
        name=st.sampled_from([2, 2, 3]),
        times=st.integers(2, 9),
    )
    def step(self, status: VenueStatus | None, name: int, times: int) -> None:
        reply = msg.Unknown("r") if status is None else msg.Found(shown(status=status))
        self.follow(reply, name, times, roused=False)

    @rule(quantity=st.sampled_from(["0.5", "1"]), name=names)
    def trade(self, quantity: str, name: int) -> None:
        self.take(trade(quantity, quantity), name)


class ForgetfulVenue(Machine):
    """A venue that has the order, is to replace it, and loses most of what it is told and says about that."""

    quiet_for = 0

    @initialize(capabilities=venues, replace=st.sampled_from([ReplaceStyle.KEEP, ReplaceStyle.NEW_ID]))
    def record(self, capabilities: Capabilities, replace: ReplaceStyle) -> None:
        self.start(msgspec.structs.replace(capabilities, replace=replace), near_midnight=False)
        self.driven.reply(msg.Accepted(shown()))
        self.driven.want_replace(5)

    @precondition(Machine.may_replace)
    @rule(quantity=st.sampled_from([3, 15]))
    def want_replace(self, quantity: int) -> None:
        self.driven.want_replace(quantity)

    @precondition(Machine.awaiting_replace)
    @rule(
        reply=st.sampled_from(
            [msg.Unknown("r")] * 5 + [msg.NotSent("r"), msg.Throttled("r", 1.0), msg.ReplaceRejected("r")]
        )
    )
    def replace_reply(self, reply: msg.ReplaceReply) -> None:
        self.driven.replace_reply(reply)

    @precondition(Machine.awaiting_cancel)
    @rule(reply=cancel_refusals)
    def cancel_reply(self, reply: msg.CancelReply) -> None:
        self.driven.cancel_reply(reply)

    @precondition(lambda self: self.quiet_for > 3)
    @rule()
    def want_cancel(self) -> None:
        self.driven.want_cancel()

    @precondition(Machine.idle)
    @rule(
        old=st.sampled_from([VenueStatus.NEW] * 6 + [VenueStatus.REPLACED, VenueStatus.CANCELED, None]),
        new=st.sampled_from([None] * 6 + [VenueStatus.NEW, VenueStatus.REJECTED]),
        times=st.integers(2, 20),
    )
    def step(self, old: VenueStatus | None, new: VenueStatus | None, times: int) -> None:
        """Let the venue show the order as it was, and the one that is to go on where that has an id of its own."""
        self.quiet_for += 1
        driven = self.driven
        for _ in range(times):
            step = driven.next()
            if isinstance(step, steps.Ask | steps.Scan):
                name, status = (2, old) if step.client_order_id == driven.order.live_id else (3, new)
                if status is None:
                    driven.ask(step, msg.NotFound("r"))
                else:
                    driven.ask(step, msg.Found(self.about(shown(status=status), name)))
            elif isinstance(step, steps.Rest):
                return
            else:
                driven.perform(step)
                if not driven.idle():
                    return

    @precondition(lambda self: self.quiet_for > 3)
    @rule(quantity=st.sampled_from(["0.5", "1"]), name=names)
    def trade(self, quantity: str, name: int) -> None:
        self.take(trade(quantity, quantity), name)


RUNS = settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_whatever_a_venue_says_no_rule_breaks() -> None:
    """True, late, repeated or contradictory words in any order break no rule, and the journal alone makes the order."""
    run_state_machine_as_test(AnyVenue, settings=RUNS)


def test_a_silent_venue_makes_nothing_unsafe() -> None:
    """However long the order's fate stays unknown, each step is safe, over many copies, crashes and clocks set back."""
    run_state_machine_as_test(SilentVenue, settings=RUNS)


def test_a_stubborn_venue_is_asked_to_cancel_and_replace_safely() -> None:
    """However often a venue refuses or loses a request, each step is safe and the order's state is what was shown."""
    run_state_machine_as_test(StubbornVenue, settings=RUNS)


def test_a_forgetful_venue_replaces_at_most_once_and_safely() -> None:
    """However many copies of replaces are lost, no other replace begins, and none is called undone, while one may act."""
    run_state_machine_as_test(ForgetfulVenue, settings=RUNS)
