"""What must hold of the next step for any order, venue, last query and clock; and that the steps lead to an end."""

from decimal import Decimal

import msgspec
from core_driver import Driven
from core_kit import OUTCOMES, SEEDED, order, replacement, shown, us
from core_rules import check_step
from hypothesis import given, settings
from hypothesis import strategies as st

from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.capabilities import Capabilities, Lookup, ReplaceStyle, UniqueScope
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import ENDED, WORKING, Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Copy, Order, Replacement
from onefill.core.retry import next_step
from onefill.core.steps import LastLookup

MANY = settings(SEEDED, max_examples=800)
seconds = st.sampled_from([0.0, 0.04, 0.05, 0.5, 1.0, 2.0, 3.0, 5.0, 6.99, 7.0, 9.0, 20.0, 29.99, 30.0, 45.0])
venues = st.builds(
    Capabilities,
    unique_scope=st.sampled_from(list(UniqueScope)),
    duplicate_reply=st.sampled_from(["error", "error", "original", "accepts"]),
    lookup=st.sampled_from([Lookup.DIRECT, *Lookup]),
    request_expiry_s=st.none() | st.sampled_from([2.0, 60.0]),
    conclusive_after_s=st.none() | st.sampled_from([0.5, 5.0, 60.0]),
    lookup_forgets_after_s=st.none() | st.sampled_from([6.0, 3600.0]),
    replace=st.sampled_from(list(ReplaceStyle)),
)
SETTLED = [outcome for outcome in OUTCOMES.values() if outcome not in {None, CopyOutcome.UNKNOWN}]
CAN_REPLACE = [Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_REPLACE, Status.PENDING_CANCEL]


def drawn_copies(draw: st.DrawFn, outcomes: list[CopyOutcome], least: int, most: int, first: int = 1) -> list[Copy]:
    """Draw copies claimed at any moments, a clock set back included."""
    drawn = draw(st.lists(st.tuples(seconds, st.booleans(), st.sampled_from(outcomes)), min_size=least, max_size=most))
    return [
        Copy(number, us(at), us(at + 2) if expires else None, outcome, leaves_by_us=us(at + 3))
        for number, (at, expires, outcome) in enumerate(drawn, first)
    ]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Draw an order in any state, with copies, cancels and replaces that can have led there."""
    status = draw(st.sampled_from([*Status, Status.PENDING_REPLACE, Status.PENDING_CANCEL]))
    least = 0 if status in ENDED | {Status.RECORDED} else 1
    can_be = [*SETTLED, CopyOutcome.UNKNOWN, CopyOutcome.UNKNOWN]
    if status is Status.RECORDED:
        can_be = [one for one in SETTLED if one not in {CopyOutcome.DUPLICATE, CopyOutcome.REJECTED}]
    copies = drawn_copies(draw, can_be, least, 4)
    with_outcome = msgspec.structs.replace
    if status is Status.SENDING:
        copies[-1] = with_outcome(copies[-1], outcome=None)
    if status is Status.UNCERTAIN and all(copy.outcome in SETTLED for copy in copies):
        open_question = draw(st.sampled_from([CopyOutcome.UNKNOWN, CopyOutcome.DUPLICATE]))
        copies[0] = with_outcome(copies[0], outcome=open_question)
    cancels: list[Copy] = []
    if status is Status.PENDING_CANCEL:
        cancels = drawn_copies(draw, [CopyOutcome.REJECTED, CopyOutcome.REJECTED, CopyOutcome.UNKNOWN], 1, 6)
    wanted, strays = drawn_replaces(draw, status)
    executed = 4 if status is Status.PARTIALLY_FILLED else 0
    return order(
        status=status,
        copies=tuple(copies),
        cancels=tuple(cancels),
        cancel_wanted=status is Status.PENDING_CANCEL or (status not in ENDED and draw(st.booleans())),
        parked=status in {Status.UNCERTAIN, Status.PENDING_NEW, Status.PENDING_REPLACE} and draw(st.booleans()),
        cum_quantity=Decimal(executed),
        venue_cum_quantity=Decimal(draw(st.sampled_from([executed, 4, 10]))) if status in WORKING else Decimal(0),
        valid_until_us=us(draw(st.sampled_from([30.0, 30.0, 4000.0]))),
        answer=b"{}" if status in WORKING - {Status.PENDING_NEW} else None,
        venue_order_id="V1" if status in WORKING else None,
        replacement=wanted,
        replacements=0 if wanted is None else wanted.number,
        replace_copies=0 if wanted is None else wanted.copies_before + len(wanted.copies),
        strays=strays,
    )


def drawn_replaces(draw: st.DrawFn, status: Status) -> tuple[Replacement | None, tuple[Copy, ...]]:
    """Draw an open replace, sent or not, and copies of an earlier one that may be under way."""
    may_have = status not in ENDED and status is not Status.RECORDED
    if not may_have or (status is not Status.PENDING_REPLACE and draw(st.booleans())):
        return None, ()
    strays = drawn_copies(draw, [CopyOutcome.UNKNOWN], 0, 2) if status in CAN_REPLACE else []
    sent: list[Copy] = []
    over = None
    if status in {Status.PENDING_REPLACE, Status.PENDING_CANCEL}:
        least = 1 if status is Status.PENDING_REPLACE else 0
        unlike = {CopyOutcome.DUPLICATE, CopyOutcome.ABSENT}
        outcomes = [one for one in SETTLED if one not in unlike] + [CopyOutcome.UNKNOWN] * 4
        sent = drawn_copies(draw, outcomes, least, 3, first=len(strays) + 1)
        over = draw(st.sampled_from([None, None, VenueStatus.CANCELED, VenueStatus.REPLACED])) if sent else None
    wanted = replacement(
        number=2 if strays else 1,
        client_order_id=draw(st.sampled_from(["C1", "C2"])) if over is None else "C2",
        quantity=Decimal(draw(st.sampled_from([5, 15]))),
        valid_until_us=us(draw(st.sampled_from([30.0, 4000.0]))),
        copies=tuple(sent),
        copies_before=len(strays),
        original_over=over,
    )
    return wanted, tuple(strays)


@st.composite
def lookups(draw: st.DrawFn, made: Order) -> LastLookup | None:
    """Draw a last query of an order, begun at any moment, after or before its latest claims."""
    if draw(st.booleans()):
        return None
    said = draw(st.sampled_from(["missed", "failed", "as it is", "otherwise", "over", "rejected"]))
    known = [made.client_order_id] + ([made.replacement.client_order_id] if made.replacement is not None else [])
    late = st.sampled_from([0, 0, 0, 1])
    return LastLookup(
        client_order_id=draw(st.sampled_from(known)),
        asked_at_us=us(draw(seconds)),
        count=draw(st.integers(1, 9)),
        not_found=said == "missed",
        shown={
            "as it is": VenueStatus.NEW,
            "otherwise": VenueStatus.NEW,
            "over": VenueStatus.CANCELED,
            "rejected": VenueStatus.REJECTED,
        }.get(said),
        as_in_force=said in {"as it is", "over"},
        copies=max(len(made.copies) - draw(late), 0),
        cancels=max(len(made.cancels) - draw(late), 0),
        replaces=max(made.replace_copies - draw(late), 0),
        waited_us=draw(st.none() | st.sampled_from([0, 4_000_000, 8_000_000, 70_000_000])),
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Order, LastLookup | None]:
    """Draw an order and the last query of it."""
    made = draw(orders())
    return made, draw(lookups(made))


@MANY
@given(situations(), venues, seconds, st.sampled_from([0.0, 43_170.0]))
def test_every_step_is_safe_for_any_order_venue_and_clock(
    situation: tuple[Order, LastLookup | None], capabilities: Capabilities, now: float, shift: float
) -> None:
    """Whatever the order, the venue and the clock (set back or not, at noon or near midnight), the step is a safe one.

    The rules are those of :func:`core_rules.check_step`: among them no copy while another may be under way unless repeats
    are refused, none without asking where asking is possible, none late, parked or cancelled, and no early conclusion. Nor
    is a venue hammered with questions.
    """
    made, lookup = shifted(*situation, round(shift * 1_000_000))
    now_us = us(now + shift)
    step = next_step(made, capabilities, lookup, now_us)
    check_step(made, capabilities, lookup, now_us, step)
    asked, asks = lookup, 0
    while isinstance(step, steps.Ask | steps.Scan):  # without an answer it is not asked again at once
        asks += 1
        assert asks <= 2, "asked again and again"
        asked = LastLookup(
            client_order_id=step.client_order_id,
            asked_at_us=now_us,
            count=1 if asked is None else asked.count + 1,
            not_found=False,
            copies=len(made.copies),
            cancels=len(made.cancels),
            replaces=made.replace_copies,
        )
        step = next_step(made, capabilities, asked, now_us)


@MANY
@given(situations(), venues, seconds)
def test_waiting_leads_to_another_step(
    situation: tuple[Order, LastLookup | None], capabilities: Capabilities, now: float
) -> None:
    """At the end of a wait there is something else to do, or at most one more wait: no wait leads round in a circle."""
    (made, lookup), now_us = situation, us(now)
    for _ in range(2):
        step = next_step(made, capabilities, lookup, now_us)
        if not isinstance(step, steps.WaitUntil):
            return
        assert step.at_us > now_us
        now_us = step.at_us
    assert not isinstance(next_step(made, capabilities, lookup, now_us), steps.WaitUntil)


def shifted(made: Order, lookup: LastLookup | None, by_us: int) -> tuple[Order, LastLookup | None]:
    """Return the same order and query at another time of day."""

    def later(copy: Copy) -> Copy:
        times = {name: getattr(copy, name) for name in ("claimed_at_us", "expires_at_us", "leaves_by_us")}
        moved = {name: None if at is None else at + by_us for name, at in times.items()}
        return msgspec.structs.replace(copy, **moved)

    wanted = made.replacement
    if wanted is not None:
        wanted = msgspec.structs.replace(
            wanted, valid_until_us=wanted.valid_until_us + by_us, copies=tuple(map(later, wanted.copies))
        )
    moved = msgspec.structs.replace(
        made,
        recorded_at_us=made.recorded_at_us + by_us,
        valid_until_us=made.valid_until_us + by_us,
        copies=tuple(map(later, made.copies)),
        cancels=tuple(map(later, made.cancels)),
        strays=tuple(map(later, made.strays)),
        replacement=wanted,
    )
    if lookup is not None:
        lookup = msgspec.structs.replace(lookup, asked_at_us=lookup.asked_at_us + by_us)
    return moved, lookup


class AtLast:
    """A venue that answers everything from now on, truly."""

    def __init__(self, driven: Driven, *, there: bool) -> None:
        self.driven = driven
        self.there = there
        self.first_id, self.first_quantity = driven.order.live_id, driven.order.quantity
        wanted = driven.order.replacement
        over = wanted is not None and wanted.original_over is not None
        self.replaced_by = wanted if wanted is not None and over and wanted.under_way else None
        self.ended = over

    def shows(self, client_order_id: str) -> msg.LookupReply:
        """Answer a query."""
        order, new = self.driven.order, self.replaced_by
        if not self.there:
            return msg.NotFound("none")
        if new is not None and client_order_id == new.client_order_id:
            return msg.Found(shown(client_order_id=client_order_id, venue_order_id="V2", quantity=new.quantity))
        if client_order_id != self.first_id:
            return msg.NotFound("none")
        status = VenueStatus.NEW
        if self.ended:
            over = order.replacement.original_over if order.replacement is not None else None
            status = over or VenueStatus.CANCELED
        return msg.Found(shown(quantity=self.first_quantity, status=status))

    def take(self, step: steps.Step) -> None:
        """Perform one step, and answer it."""
        driven = self.driven
        match step:
            case steps.Ask() | steps.Scan():
                driven.ask(step, self.shows(step.client_order_id))
            case steps.Send():
                driven.perform(step)
                known = driven.capabilities.unique_scope in {UniqueScope.EVER, UniqueScope.DAY} and self.there
                driven.reply(msg.DuplicateId("seen") if known else msg.Accepted(shown()))
                self.there = True
            case steps.SendCancel():
                driven.perform(step)
                number = driven.order.venue_order_id or "V1"
                live = driven.order.live_id
                seen = shown(
                    client_order_id=live,
                    venue_order_id=number,
                    quantity=driven.order.quantity,
                    status=VenueStatus.CANCELED,
                )
                self.ended = True
                driven.cancel_reply(msg.Canceled(seen))
            case steps.SendReplace():
                driven.perform(step)
                wanted = driven.order.replacement
                assert wanted is not None
                new = shown(client_order_id=wanted.client_order_id, venue_order_id="V2", quantity=wanted.quantity)
                self.first_quantity, self.first_id = wanted.quantity, wanted.client_order_id
                driven.replace_reply(msg.Replaced(new))
            case _:
                driven.perform(step)


def finish(driven: Driven, *, there: bool) -> int:
    """Follow the contract with a venue that answers everything from now on; return the number of steps it took.

    ``there``: whether one of the copies under way had reached the venue.
    """
    driven.restart()
    venue = AtLast(driven, there=there)
    for count in range(1, 400):
        step = driven.next()
        parked_before = driven.order.parked
        if isinstance(step, steps.Rest):
            return count
        venue.take(step)
        found = driven.lookup is not None and driven.lookup.found is not None
        if driven.order.parked and parked_before and not found:
            return count  # asked once more since it was parked: a person is told, and asking goes on
    raise AssertionError(f"no end after 400 steps: {driven.order}")


@settings(SEEDED, max_examples=600)
@given(orders(), venues, seconds, st.booleans())
def test_a_venue_that_answers_at_last_brings_every_order_to_its_place(
    made: Order, capabilities: Capabilities, now: float, there: bool
) -> None:
    """From any state the steps lead, in a bounded number, to an order that ended, works at the venue, or is parked.

    It is parked only where no automatic step is safe: the venue cannot be asked and does not tell repeats from first
    copies, or it says not found and never makes that conclusive (or so late that it may have forgotten), or it calls the id
    a duplicate that it does not show. A replace comes to an end too, unless nothing can decide it.
    """
    there = (there and bool(made.copies_under_way)) or made.status in WORKING
    driven = Driven(capabilities, us(now))
    driven.order = driven.first = made
    driven.traded = made.cum_quantity
    taken = finish(driven, there=there)
    end = driven.order
    assert taken < 200
    assert end.status in ENDED | WORKING | {Status.UNCERTAIN}
    if end.status is Status.UNCERTAIN and not made.parked:
        assert end.parked
        outcomes = {copy.outcome for copy in end.copies}
        duplicate = CopyOutcome.DUPLICATE in outcomes
        never = capabilities.conclusive_after_s is None or capabilities.lookup_forgets_after_s is not None
        assert duplicate or not capabilities.can_be_asked or (never and not there)
    if there and capabilities.can_be_asked and made.status not in ENDED:
        assert end.status in ENDED | WORKING
    told = "TellRefused" in driven.taken  # five refusals were among what was drawn
    if made.cancel_wanted and end.status in WORKING and not end.parked and not told:
        assert end.venue_cum_quantity >= end.most_quantity, "a wanted cancel was forgotten"
    if end.replacement is not None and not made.parked:
        undecided = end.parked or end.venue_cum_quantity >= end.most_quantity
        assert undecided or end.status in {Status.PENDING_NEW, Status.UNCERTAIN}, "a replace was forgotten"
