"""The real core, asked by the exhaustive search: orders, replies and look-ups as numbers, every answer remembered.

Nothing of the core is decided here again. Every rule is called through its module (``retry.next_step``, never a name imported
from there), so that a rule which a test or a mutant puts in its place takes effect. Answers are remembered for one search
only: the core is pure, so the same question has the same answer.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from onefill.core import apply, claims, evidence, identity, retry, steps
from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core import query as queries
from onefill.core.capabilities import Capabilities, Lookup, ReplaceStyle
from onefill.core.events import CopyOutcome, Event
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.order import Copy, Order
from onefill.core.steps import LastLookup, Step
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.explore_state import (
    BASE_QUANTITY,
    CALL_US,
    CANCEL,
    SECOND_US,
    SUBMIT,
    Booked,
    Report,
    Scenario,
    View,
)

STATUSES: Final = (
    VenueStatus.PENDING_NEW,
    VenueStatus.NEW,
    VenueStatus.PARTIALLY_FILLED,
    VenueStatus.FILLED,
    VenueStatus.CANCELED,
    VenueStatus.REJECTED,
    VenueStatus.REPLACED,
)
_ANSWERED: Final = b"answered"
_NO_TEXT: Final = "."
_PRICE: Final = Decimal(100)
_NUMBERS: Final = tuple(map(Decimal, range(50)))
_with = msgspec.structs.replace


class Core:
    """The core's answers for one venue's capabilities. ``start_us``: the time of day at which the world begins."""

    def __init__(self, capabilities: Capabilities, scenario: Scenario) -> None:
        self.capabilities = capabilities
        day_us = claims.DAY_US
        midnight_us = day_us // 2 if scenario.midnight_s is None else int(scenario.midnight_s * SECOND_US)
        self.start_us: int = 20_000 * day_us - midnight_us
        self._lifetime_us = int(scenario.lifetime_s * SECOND_US)
        self.orders: list[Order] = []
        self._order_numbers: dict[Order, int] = {}
        self.replies: list[msg.SubmitReply | msg.CancelReply | msg.ReplaceReply] = [msg.Unknown("no reply")]
        self.reply_views: list[View | None] = [None]
        self._reply_numbers: dict[tuple[str, View | None], int] = {}
        self.lookups: list[LastLookup | None] = [None]
        self._lookup_numbers: dict[LastLookup | None, int] = {None: 0}
        self._steps: dict[tuple[int, int, int], Step] = {}
        self._moved: dict[tuple[object, ...], int] = {}
        self.unknown: list[int] = []
        """Per order: how many of its copies have an unknown outcome."""
        self._intern(_nothing())

    # ------------------------------------------------------------------ orders

    def _intern(self, order: Order) -> int:
        order = _plain(order)
        number = self._order_numbers.get(order)
        if number is None:
            number = self._order_numbers[order] = len(self.orders)
            self.orders.append(order)
            self.unknown.append(sum(copy.outcome is CopyOutcome.UNKNOWN for copy in order.copies))
        return number

    def new(self, intent: int, wall_us: int) -> int:
        """Record an intent: the order before its first claim."""
        key = ("new", intent, wall_us)
        if key not in self._moved:
            order = Order(
                intent_id=intent + 1,
                key=f"key {intent + 1}",
                client_order_id=f"C{intent + 1}",
                intent=_INTENT,
                recorded_at_us=wall_us,
                valid_until_us=wall_us + self._lifetime_us,
            )
            self._moved[key] = self._intern(order)
        return self._moved[key]

    def commit(self, number: int, events: tuple[Event, ...], wall_us: int) -> int:
        """Return the order after one journal entry."""
        key = (number, events, wall_us)
        moved = self._moved.get(key)
        if moved is None:
            moved = self._moved[key] = self._intern(apply.advance(self.orders[number], events, wall_us))
        return moved

    def step(self, number: int, lookup: int, wall_us: int) -> Step:
        """Return the core's next step."""
        key = (number, lookup, wall_us)
        step = self._steps.get(key)
        if step is None:
            step = retry.next_step(self.orders[number], self.capabilities, self.lookups[lookup], wall_us)
            self._steps[key] = step
        return step

    def recovered(self, number: int, wall_us: int) -> int:
        """Return the order as a process that starts takes it up."""
        events = evidence.recovered(self.orders[number])
        return self.commit(number, events, wall_us) if events else number

    def wish(self, number: int, quantity: int, wall_us: int) -> int:
        """Return the order once a replace is recorded, as the engine does it."""
        order = self.orders[number]
        new_id = order.live_id
        if self.capabilities.replace is ReplaceStyle.NEW_ID:
            new_id = self.client_order_id(order.intent_id - 1, order.replacements + 1)
        recorded = ev.ReplaceRecorded(
            order.replacements + 1, new_id, _NUMBERS[quantity], _PRICE, wall_us + self._lifetime_us, None
        )
        return self.commit(number, (recorded,), wall_us)

    # ----------------------------------------------------------------- evidence

    def settle(self, number: int, what: int, request: int, reply: int, wall_us: int) -> int:
        """Return the order after the reply to a claimed request; the same where its outcome is known already."""
        key = (number, what, request, reply, wall_us)
        moved = self._moved.get(key)
        if moved is None:
            moved = number
            if any(copy.number == request and copy.outcome is None for copy in copies_of(self.orders[number], what)):
                events = self._reply_events(self.orders[number], what, request, reply, wall_us)
                moved = self.commit(number, events, wall_us) if events else number
            self._moved[key] = moved
        return moved

    def _reply_events(self, order: Order, what: int, request: int, reply: int, wall_us: int) -> tuple[Event, ...]:
        said = self.replies[reply]
        if what == SUBMIT:
            return evidence.resurrected(order, evidence.from_submit_reply(order, request, said, wall_us))  # type: ignore[arg-type]
        if what == CANCEL:
            return evidence.from_cancel_reply(order, request, said, wall_us)  # type: ignore[arg-type]
        return evidence.from_replace_reply(order, request, said, wall_us)  # type: ignore[arg-type]

    def unsent(self, number: int, what: int, request: int, wall_us: int) -> int:
        """Return the order after a claimed request that surely did not leave."""
        return self.settle(number, what, request, self.reply("not_sent", None), wall_us)

    def told(self, number: int, report: Report, wall_us: int) -> int:
        """Return the order after a report of the stream; the same where it says nothing new."""
        key = (number, report, wall_us)
        moved = self._moved.get(key)
        if moved is None:
            order, told = self.orders[number], self._report(report)
            events: tuple[Event, ...] = ()
            if told.kind is ExecutionKind.TRADE:
                events = evidence.from_report(order, told)
            elif not evidence.is_old_news(order, told):
                events = evidence.resurrected(order, evidence.from_report(order, told))
                events = () if evidence.say_nothing_new(order, events) else events
            moved = self._moved[key] = self.commit(number, events, wall_us) if events else number
        return moved

    def adopt(self, number: int, found: VenueOrder, wall_us: int) -> int:
        """Return the order after a query that found it."""
        key = (number, found, wall_us)
        moved = self._moved.get(key)
        if moved is None:
            order = self.orders[number]
            events = evidence.resurrected(order, evidence.from_lookup(order, msg.Found(found)))
            moved = self._moved[key] = self.commit(number, events, wall_us) if events else number
        return moved

    # ----------------------------------------------------------------- messages

    def reply(self, kind: str, view: View | None) -> int:
        """Return the number of a venue's reply."""
        number = self._reply_numbers.get((kind, view))
        if number is None:
            number = self._reply_numbers[kind, view] = len(self.replies)
            self.replies.append(_REPLIES[kind](None if view is None else self.shown(view)))
            self.reply_views.append(view)
        return number

    def shown(self, view: View) -> VenueOrder:
        """Return an order as the venue shows it."""
        intent, client_id, number, quantity, cum, status = view
        return VenueOrder(
            client_order_id=self.client_order_id(intent, client_id),
            venue_order_id=f"V{number}",
            instrument=_INTENT.instrument,
            side=_INTENT.side,
            quantity=_NUMBERS[quantity],
            order_type=OrderType.LIMIT,
            price=_PRICE,
            status=STATUSES[status],
            cum_quantity=_NUMBERS[cum],
        )

    def _report(self, report: Report) -> ExecutionReport:
        intent, client_id, number, quantity, cum, status = report.view
        kind = ExecutionKind(report.kind)
        replaced, traded = kind is ExecutionKind.REPLACED, kind is ExecutionKind.TRADE
        return ExecutionReport(
            position=1,
            execution_id=f"E{number}-{cum}",
            kind=kind,
            client_order_id=self.client_order_id(intent, client_id),
            venue_order_id=f"V{number}",
            account=_INTENT.account,
            instrument=_INTENT.instrument,
            side=_INTENT.side,
            last_quantity=_NUMBERS[report.last] if traded else None,
            last_price=_PRICE if traded else None,
            cum_quantity=_NUMBERS[cum],
            leaves_quantity=_NUMBERS[max(quantity - cum, 0)],
            status=STATUSES[status],
            transacted_at_us=self.start_us,
            orig_client_order_id=self.client_order_id(intent, report.orig) if replaced else None,
            order_quantity=_NUMBERS[quantity] if replaced else None,
            order_price=_PRICE if replaced else None,
        )

    def client_order_id(self, intent: int, number: int) -> str:
        """Return the id an order has first (0), or after its n-th replace."""
        first = f"C{intent + 1}"
        return first if number == 0 else identity.replacement_id(first, number, self.capabilities.id_format)

    def client_id_of(self, order: Order, client_order_id: str) -> int:
        """Return which of an order's ids this is: 0 for the first, n for that of its n-th replace."""
        numbers = range(order.replacements + 1)
        known = (n for n in numbers if self.client_order_id(order.intent_id - 1, n) == client_order_id)
        return next(known, -1)

    # ------------------------------------------------------------------- queries

    def query(
        self, number: int, step: Step, book: tuple[Booked, ...], last: int, wall_us: int, waited_us: int
    ) -> tuple[int, ...]:
        """Return the numbers of what a query begun now may say: a list comes in any order. ``waited_us`` below zero: since an
        earlier process's claim.
        """
        if not isinstance(step, steps.Ask | steps.Scan):
            raise TypeError(f"{step} is no query")
        client_id = step.client_order_id
        found = tuple(self.shown(one.view) for one in book if not (one.hidden or one.forgotten))
        replies: tuple[msg.LookupReply, ...]
        if isinstance(step, steps.Scan):
            lists = (found, found[::-1]) if len(found) > 1 else (found,)
            replies = tuple(queries.search(msg.Listed(one), client_id, self.orders[number]) for one in lists)
        else:
            under_it = [one for one in found if one.client_order_id == client_id]
            replies = (msg.Found(under_it[-1]) if under_it else msg.NotFound(""),)
        said = (self.looked(number, client_id, reply, last, wall_us, waited_us) for reply in replies)
        return tuple(dict.fromkeys(said))

    def looked(
        self, number: int, client_id: str, reply: msg.LookupReply, last: int, wall_us: int, waited_us: int
    ) -> int:
        """Return the number of the look-up that had this reply."""
        before = self.lookups[last]
        lookup = queries.looked_up(
            self.orders[number],
            client_id,
            reply,
            before,
            asked_at_us=wall_us,
            waited_us=waited_us if waited_us >= 0 else None,
        )
        silent = isinstance(reply, msg.Unknown)
        count = 1 if before is None else self.count_after(before.count, silent=silent)
        return self.lookup_number(_with(lookup, count=count))

    def count_after(self, count: int, *, silent: bool) -> int:
        """Return the next query's count. The clock stops once a second at most, and there is room for four queries in it:
        where nothing else happens they say the same, so the count goes from one to five and to six. From there on only the
        pause depends on it, until a query without an answer is the twentieth: one such stands for as many as that takes.
        """
        if count < queries.LOOKUPS_BEFORE_PARKING:
            return queries.LOOKUPS_BEFORE_PARKING
        if count >= queries.LOOKUPS_WITHOUT_ANSWER or silent:
            return queries.LOOKUPS_WITHOUT_ANSWER
        return queries.LOOKUPS_BEFORE_PARKING + 1

    def lookup_number(self, lookup: LastLookup | None) -> int:
        """Return the number of a look-up."""
        number = self._lookup_numbers.get(lookup)
        if number is None:
            number = self._lookup_numbers[lookup] = len(self.lookups)
            self.lookups.append(lookup)
        return number

    def adopted(self, lookup: int) -> int:
        """Return the look-up after what it found was taken in."""
        last = self.lookups[lookup]
        return 0 if last is None else self.lookup_number(_with(last, found=None))

    def leaves_by_us(self, wall_us: int) -> int:
        """Return until when a request claimed now can leave."""
        return claims.leaves_by_us(wall_us, CALL_US)

    @property
    def asks(self) -> bool:
        """Whether the venue can be asked for an order."""
        return self.capabilities.lookup is not Lookup.NONE


def copies_of(order: Order, what: int) -> tuple[Copy, ...]:
    """Return the claimed requests of one kind whose outcome may be open."""
    if what == SUBMIT:
        return order.copies
    if what == CANCEL:
        return order.cancels
    return order.strays + (() if order.replacement is None else order.replacement.copies)


def _plain(order: Order) -> Order:
    """Return an order without what nothing depends on: its version, its answer's bytes and the texts of reasons."""
    changes: dict[str, object] = {"version": 0, "reason": None, "answer": None if order.answer is None else _ANSWERED}
    for field in ("copies", "cancels", "strays"):
        copies: tuple[Copy, ...] = getattr(order, field)
        if any(copy.reason is not None for copy in copies):
            changes[field] = tuple(_with(copy, reason=None) for copy in copies)
    wanted = order.replacement
    if wanted is not None and any(copy.reason is not None for copy in wanted.copies):
        changes["replacement"] = _with(wanted, copies=tuple(_with(copy, reason=None) for copy in wanted.copies))
    return _with(order, **changes)


def _there(make: Callable[[VenueOrder], msg.SubmitReply | msg.CancelReply | msg.ReplaceReply]) -> "_Maker":
    def made(shown: VenueOrder | None) -> msg.SubmitReply | msg.CancelReply | msg.ReplaceReply:
        if shown is None:
            raise ValueError("this reply shows an order")
        return make(shown)

    return made


_Maker = Callable[[VenueOrder | None], msg.SubmitReply | msg.CancelReply | msg.ReplaceReply]
_REPLIES: Final[dict[str, _Maker]] = {
    "accepted": _there(msg.Accepted),
    "rejected": lambda _: msg.Rejected(_NO_TEXT),
    "too_late": lambda _: msg.TooLate(_NO_TEXT),
    "duplicate": lambda _: msg.DuplicateId(_NO_TEXT),
    "throttled": lambda _: msg.Throttled(_NO_TEXT, 0.5),
    "not_sent": lambda _: msg.NotSent(_NO_TEXT),
    "canceled": _there(msg.Canceled),
    "cancel_rejected": lambda shown: msg.CancelRejected(_NO_TEXT, shown),
    "replaced": _there(msg.Replaced),
    "replace_rejected": lambda shown: msg.ReplaceRejected(_NO_TEXT, shown),
}

_INTENT: Final = Intent(
    account="account",
    strategy="strategy",
    instrument="X",
    side=Side.BUY,
    quantity=_NUMBERS[BASE_QUANTITY],
    price=_PRICE,
    time_in_force=TimeInForce.DAY,
    venue="venue",
)


def _nothing() -> Order:
    """Return the order that stands for none."""
    return Order(
        intent_id=0,
        key="",
        client_order_id="",
        intent=_INTENT,
        recorded_at_us=0,
        valid_until_us=0,
        status=Status.RECORDED,
    )
