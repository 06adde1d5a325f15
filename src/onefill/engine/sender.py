"""Drives one order through the steps that the retry contract names, until there is nothing left to do.

Claim, then wire: every copy is claimed in the ledger, durably and by number, before its bytes can leave. Whatever happens
after that and before the outcome is recorded reads as *maybe sent*.
"""

import asyncio
import typing
from collections.abc import Awaitable, Callable

import msgspec

from onefill.core import claims, evidence, retry, steps
from onefill.core import events as ev
from onefill.core.errors import InvariantBroken, RouteClosed
from onefill.core.events import CopyOutcome, Event
from onefill.core.lifecycle import Status
from onefill.core.messages import (
    CancelReply,
    CancelRequest,
    Found,
    LookupReply,
    NotSent,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    Unknown,
)
from onefill.core.order import Copy, Order
from onefill.core.query import looked_up, search
from onefill.core.steps import LastLookup
from onefill.engine.entry import Entry
from onefill.engine.route import Route
from onefill.ports.ledger import Committed

Reply = typing.TypeVar("Reply", SubmitReply, CancelReply, ReplaceReply, LookupReply, ScanReply)
_SUBMIT_REPLIES, _CANCEL_REPLIES, _REPLACE_REPLIES, _LOOKUP_REPLIES, _SCAN_REPLIES = map(
    typing.get_args, (SubmitReply, CancelReply, ReplaceReply, LookupReply, ScanReply)
)
_BEFORE_SENDING = (steps.Send, steps.Ask, steps.Scan, steps.WaitUntil)
_Decision = (
    steps.ConcludeAbsent
    | steps.ConcludeNotReplaced
    | steps.ExpireUnsent
    | steps.Withdraw
    | steps.Park
    | steps.TellRefused
    | steps.DropReplace
)
_SETTLING = (ev.CopySettled, ev.OutcomeUnknown, ev.CancelSettled, ev.ReplaceSettled)
_STALE_PAUSE_US = 5_000_000
_MOST_TRIES = 20
"""Times a reply is brought to the ledger while other news of the order comes in between. Never reached in practice."""


def start_driver(route: Route, entry: Entry, *, claimed: bool = False) -> None:
    """Start the order's driver, or make a waiting one look again. ``claimed``: its first copy was claimed just now."""
    if entry.driver is not None:
        entry.rouse()
        return
    if not route.closing:
        entry.driver = route.loop.create_task(_drive(route, entry, claimed=claimed))


async def _drive(route: Route, entry: Entry, *, claimed: bool) -> None:
    try:
        if claimed:
            await _send(route, entry, entry.order.copies[-1].number)
        elif not entry.unrecorded:
            # A closed order that came back to life: nobody waits any more for replies that an earlier process asked for.
            await _commit(route, entry, evidence.recovered(entry.order))
        await _step_on(route, entry)
    except asyncio.CancelledError:
        if not route.closing:
            route.fail(RouteClosed("a task of the gateway was cancelled from outside"))
        raise
    except BaseException as error:  # a defect or a dead ledger: fail closed
        route.fail(error)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
    finally:
        entry.driver = None
        if entry.order.closed:
            route.release(entry)


async def _step_on(route: Route, entry: Entry) -> None:
    """Take the order's steps, one after the other, until it rests."""
    lookup: LastLookup | None = None
    while route.failure is None and not route.leaving:
        now_us = route.clock.now_us()
        step = retry.next_step(entry.order, route.capabilities, lookup, now_us)
        # A clock that was set back must not make an old order look fresh.
        stale = not isinstance(step, steps.Rest) and route.loop.time() >= entry.stale_at_s
        if stale and entry.order.status is Status.RECORDED and isinstance(step, _BEFORE_SENDING):
            step = steps.ExpireUnsent("its time to live ran out before it could be sent")
        step = route.gate.step(entry, step, lookup, now_us)
        if isinstance(step, steps.Rest):
            return
        if isinstance(step, steps.Ask | steps.Scan):
            lookup = await _ask(route, entry, step, lookup)
        elif isinstance(step, steps.Adopt):
            lookup = await _adopt(route, entry, step, lookup)
        elif isinstance(step, steps.WaitUntil):
            await _wait(route, entry, step.at_us)
        elif isinstance(step, steps.Send | steps.SendCancel | steps.SendReplace):
            lookup = None
            if stale and isinstance(step, steps.Send):
                await _wait(route, entry, now_us + _STALE_PAUSE_US)
            else:
                await _send_next(route, entry, step)
        else:
            await _commit(route, entry, _decided(entry.order, step))


def _decided(order: Order, step: _Decision) -> tuple[Event, ...]:
    if isinstance(step, steps.ConcludeAbsent):
        return (ev.ProvenAbsent(step.asked_at_us),)
    if isinstance(step, steps.ConcludeNotReplaced | steps.DropReplace):
        return evidence.not_replaced(order, step.reason)
    kinds: dict[type, type[ev.ExpiredUnsent | ev.Withdrawn | ev.Parked | ev.CancelRefused]] = {
        steps.ExpireUnsent: ev.ExpiredUnsent,
        steps.Withdraw: ev.Withdrawn,
        steps.Park: ev.Parked,
        steps.TellRefused: ev.CancelRefused,
    }
    return (kinds[type(step)](step.reason),)


async def _commit(route: Route, entry: Entry, events: tuple[Event, ...]) -> bool:
    """Commit ``events``; if the ledger refuses them, read the order again and say False."""
    if not events:
        return True
    outcome = await route.record(entry, events)
    if isinstance(outcome, Committed):
        return True
    await route.reload(entry)
    return False


async def _send_next(route: Route, entry: Entry, step: steps.Send | steps.SendCancel | steps.SendReplace) -> None:
    """Claim the next copy of a request, durably, and send it."""
    leaves_by_us = leaves_by(route)
    if isinstance(step, steps.SendCancel):
        if await _commit(route, entry, (ev.CancelClaimed(step.number),)):
            await _cancel(route, entry, step.number)
    elif isinstance(step, steps.SendReplace):
        if await _commit(
            route, entry, (ev.ReplaceClaimed(step.number, route.bounded(step.expires_at_us), leaves_by_us),)
        ):
            await _replace(route, entry, step.number)
    elif await _commit(route, entry, (ev.Claimed(step.number, route.bounded(step.expires_at_us), leaves_by_us),)):
        if step.number > 1:
            route.counts.resends += 1
        else:
            route.counts.new_orders += 1
        await _send(route, entry, step.number)


def leaves_by(route: Route) -> int:
    """Return the last moment at which the bytes of a request claimed now can leave."""
    return claims.leaves_by_us(route.clock.now_us(), round(route.settings.reply_timeout_s * 1_000_000))


async def _call(
    route: Route, replies: tuple[type, ...], call: Callable[..., Awaitable[Reply]], *arguments: object
) -> Reply | Unknown:
    """Return the venue's reply, or Unknown whatever else came of the call: the bytes may have left."""
    try:
        reply = await route.deadlines.bound(call(*arguments), route.settings.reply_timeout_s)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Unknown("the call was cancelled inside the venue's client")  # nobody asked this task to end
    except Exception as error:  # noqa: BLE001 - see above
        route.notice(error)
        return Unknown(f"{type(error).__name__}: {error}")
    return reply if isinstance(reply, replies) else Unknown(f"the adapter returned {type(reply).__name__}, no reply")


def _not_to_be_sent(route: Route, entry: Entry, copy: Copy) -> str | None:
    """Return why a claimed copy must not leave after all, or ``None``. Much may have come in since it was claimed."""
    order = entry.order
    if order.status not in {Status.SENDING, Status.UNCERTAIN}:
        return f"the venue showed the order as {order.status} between claim and send"
    if any(other.outcome is CopyOutcome.REJECTED for other in order.copies):
        return "the venue rejected another copy between claim and send"
    return route.not_open() or _too_late(route, entry, copy, order.valid_until_us) or route.gate.stopped(entry)


def _too_late(route: Route, entry: Entry, copy: Copy, valid_until_us: int) -> str | None:
    claimed_at_s = route.loop.time() if entry.claimed_at_s is None else entry.claimed_at_s
    waited_us = int((route.loop.time() - claimed_at_s) * 1_000_000)
    return claims.too_late_to_send(copy, valid_until_us, route.clock.now_us(), waited_us)


async def _send(route: Route, entry: Entry, number: int) -> None:
    """Send a claimed copy and record what its reply proves."""
    order = entry.order
    copy = order.copies[number - 1]
    reason = _not_to_be_sent(route, entry, copy)
    if reason is not None:
        unsent = (ev.CopySettled(number, CopyOutcome.NOT_SENT, reason),)
        await _settle(route, entry, number, lambda _: unsent)
        return
    request = SubmitRequest(
        client_order_id=order.client_order_id,
        account=order.intent.account,
        instrument=order.intent.instrument,
        side=order.intent.side,
        quantity=order.intent.quantity,
        order_type=order.intent.order_type,
        price=order.intent.price,
        time_in_force=order.intent.time_in_force,
        expires_at_us=copy.expires_at_us,
        parameters=order.intent.parameters,
    )
    route.counts.copies_sent += 1
    route.measures.leaves(entry)
    reply: SubmitReply = await _call(route, _SUBMIT_REPLIES, route.venue.submit, request)
    route.measures.replied(route.counts, reply)
    now_us = route.clock.now_us()

    def proves(order: Order) -> tuple[Event, ...]:
        return evidence.resurrected(order, evidence.from_submit_reply(order, number, reply, now_us))

    await _settle(route, entry, number, proves)


async def _settle(
    route: Route,
    entry: Entry,
    number: int,
    proves: Callable[[Order], tuple[Event, ...]],
    open_copies: Callable[[Order], tuple[Copy, ...]] = lambda order: order.copies,
) -> None:
    """Record what became of a claimed copy. If the order had moved on, judge it anew by what the ledger holds."""
    for _ in range(_MOST_TRIES):
        order = entry.order
        events = proves(order)
        if not any(copy.number == number and copy.outcome is None for copy in open_copies(order)):
            # The stream told first what became of this copy. What the reply shows of the order counts all the same.
            events = tuple(event for event in events if not isinstance(event, _SETTLING))
            if not events or evidence.say_nothing_new(order, events):
                return
        if await _commit(route, entry, events):
            return
    raise InvariantBroken(f"order {entry.order.client_order_id}: the ledger refuses every outcome of copy {number}")


async def _ask(route: Route, entry: Entry, step: steps.Ask | steps.Scan, last: LastLookup | None) -> LastLookup:
    order = entry.order
    asked_at_us, asked_at_s = route.clock.now_us(), route.loop.time()
    route.counts.lookups += 1
    began = route.measures.asks()
    reply = await ask(route, order, step)
    route.measures.asked(entry, began, found=isinstance(reply, Found))
    waited_s = None if entry.claimed_at_s is None else asked_at_s - entry.claimed_at_s
    waited_us = None if waited_s is None else int(waited_s * 1_000_000)
    return looked_up(order, step.client_order_id, reply, last, asked_at_us=asked_at_us, waited_us=waited_us)


async def ask(route: Route, order: Order, step: steps.Ask | steps.Scan) -> LookupReply:
    """Return what the venue says of a client order id, asked once."""
    intent = order.intent
    if isinstance(step, steps.Scan):
        return search(await scan(route, order, step.since_us), step.client_order_id, order)
    reply: LookupReply = await _call(
        route, _LOOKUP_REPLIES, route.venue.lookup, step.client_order_id, intent.account, intent.instrument
    )
    return reply


async def scan(route: Route, order: Order, since_us: int) -> ScanReply:
    """Return what the venue lists of the order's account and instrument, asked once."""
    intent = order.intent
    reply: ScanReply = await _call(route, _SCAN_REPLIES, route.venue.scan, intent.account, intent.instrument, since_us)
    return reply


async def _adopt(route: Route, entry: Entry, step: steps.Adopt, lookup: LastLookup | None) -> LastLookup | None:
    order = entry.order
    if evidence.was_unknown(order):
        route.counts.adopted += 1
    await _commit(route, entry, evidence.resurrected(order, evidence.from_lookup(order, Found(step.order))))
    return None if lookup is None else msgspec.structs.replace(lookup, found=None)


async def _cancel(route: Route, entry: Entry, number: int) -> None:
    order = entry.order
    reason = route.not_open()
    if reason is None:
        request = CancelRequest(
            client_order_id=order.live_id,
            account=order.intent.account,
            instrument=order.intent.instrument,
            venue_order_id=order.venue_order_id,
        )
        route.counts.cancels_sent += 1
        reply: CancelReply = await _call(route, _CANCEL_REPLIES, route.venue.cancel, request)
    else:
        reply = NotSent(reason)
    now_us = route.clock.now_us()

    def proves(order: Order) -> tuple[Event, ...]:
        return evidence.from_cancel_reply(order, number, reply, now_us)

    await _settle(route, entry, number, proves, lambda order: order.cancels)


async def _replace(route: Route, entry: Entry, number: int) -> None:
    order = entry.order
    wanted = order.replacement
    reason = route.not_open() or route.gate.stopped_replace(order)
    if wanted is None or number <= wanted.copies_before:
        wanted, reason = None, "the replace came to an end between claim and send"
    elif reason is None:
        reason = _too_late(route, entry, wanted.copies[-1], wanted.valid_until_us)
    if wanted is not None and reason is None:
        request = ReplaceRequest(
            client_order_id=wanted.client_order_id,
            orig_client_order_id=order.live_id,
            account=order.intent.account,
            instrument=order.intent.instrument,
            venue_order_id=order.venue_order_id,
            side=order.intent.side,
            quantity=wanted.quantity,
            order_type=order.intent.order_type,
            price=wanted.price,
            time_in_force=order.intent.time_in_force,
            expires_at_us=wanted.copies[-1].expires_at_us,
            parameters=order.intent.parameters,
        )
        route.counts.replaces_sent += 1
        reply: ReplaceReply = await _call(route, _REPLACE_REPLIES, route.venue.replace, request)
    else:
        reply = NotSent(reason or "")
    now_us = route.clock.now_us()

    def proves(order: Order) -> tuple[Event, ...]:
        return evidence.from_replace_reply(order, number, reply, now_us)

    def claimed(order: Order) -> tuple[Copy, ...]:
        return order.strays + (() if order.replacement is None else order.replacement.copies)

    await _settle(route, entry, number, proves, claimed)


async def _wait(route: Route, entry: Entry, until_us: int) -> None:
    """Wait until a moment, or until there is news of the order."""
    loop = route.loop
    entry.wake = loop.create_future()
    at_s = loop.time() + max(until_us - route.clock.now_us(), 0) / 1_000_000
    if entry.order.status is Status.RECORDED:
        at_s = min(at_s, max(entry.stale_at_s, loop.time()))
    timer = loop.call_at(at_s, entry.rouse)
    try:
        await entry.wake
    finally:
        timer.cancel()
        entry.wake = None
