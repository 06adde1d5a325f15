"""Drives one order through the steps that the retry contract names, until there is nothing left to do.

Claim, then wire: every copy is claimed in the ledger, durably and by number, before its bytes can leave. Whatever happens
after that and before the outcome is recorded reads as *maybe sent*.
"""

import asyncio
import typing
from collections.abc import Awaitable, Callable

from onefill.core import events as ev
from onefill.core import evidence, retry
from onefill.core.errors import InvariantBroken, RouteClosed
from onefill.core.events import CopyOutcome, Event
from onefill.core.lifecycle import Status
from onefill.core.messages import (
    CancelReply,
    CancelRequest,
    Found,
    LookupReply,
    NotFound,
    SubmitReply,
    SubmitRequest,
    Unknown,
)
from onefill.core.order import Copy, Order
from onefill.core.retry import LastLookup
from onefill.engine.entry import Entry
from onefill.engine.route import Route, count_outcome
from onefill.ports.ledger import Committed

Reply = typing.TypeVar("Reply", SubmitReply, CancelReply, LookupReply)
_SUBMIT_REPLIES, _CANCEL_REPLIES, _LOOKUP_REPLIES = map(typing.get_args, (SubmitReply, CancelReply, LookupReply))
_BEFORE_SENDING = (retry.Send, retry.Ask, retry.WaitUntil)
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
    while route.failure is None:
        now_us = route.clock.now_us()
        step = retry.next_step(entry.order, route.capabilities, lookup, now_us)
        # A clock that was set back must not make an old order look fresh.
        stale = not isinstance(step, retry.Rest) and route.loop.time() >= entry.stale_at_s
        if stale and entry.order.status is Status.RECORDED and isinstance(step, _BEFORE_SENDING):
            step = retry.ExpireUnsent("its time to live ran out before it could be sent")
        if isinstance(step, retry.Rest):
            return
        if isinstance(step, retry.Ask):
            lookup = await _ask(route, entry, lookup)
        elif isinstance(step, retry.WaitUntil):
            await _wait(route, entry, step.at_us)
        elif isinstance(step, retry.Send):
            lookup = None
            if stale:
                await _wait(route, entry, now_us + _STALE_PAUSE_US)
            else:
                await _claim_and_send(route, entry, step)
        elif isinstance(step, retry.SendCancel):
            await _cancel(route, entry, step.number)
        else:
            await _commit(route, entry, _decided(step))


def _decided(
    step: retry.ConcludeAbsent | retry.ExpireUnsent | retry.Withdraw | retry.Park | retry.TellRefused,
) -> tuple[Event, ...]:
    if isinstance(step, retry.ConcludeAbsent):
        return (ev.ProvenAbsent(step.asked_at_us),)
    kinds: dict[type, type[ev.ExpiredUnsent | ev.Withdrawn | ev.Parked | ev.CancelRefused]] = {
        retry.ExpireUnsent: ev.ExpiredUnsent,
        retry.Withdraw: ev.Withdrawn,
        retry.Park: ev.Parked,
        retry.TellRefused: ev.CancelRefused,
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


async def _claim_and_send(route: Route, entry: Entry, step: retry.Send) -> None:
    if await _commit(route, entry, (ev.Claimed(step.number, step.expires_at_us),)):
        if step.number > 1:
            route.counts.resends += 1
        await _send(route, entry, step.number)


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
        return Unknown(f"{type(error).__name__}: {error}")
    return reply if isinstance(reply, replies) else Unknown(f"the adapter returned {type(reply).__name__}, no reply")


def _not_to_be_sent(route: Route, order: Order, copy: Copy) -> str | None:
    """Return why a claimed copy must not leave after all, or ``None``. Much may have come in since it was claimed."""
    if route.failure is not None or route.closing:
        return "the route closed between claim and send"
    if order.status not in {Status.SENDING, Status.UNCERTAIN}:
        return f"the venue showed the order as {order.status} between claim and send"
    return retry.too_late_to_send(order, copy, route.clock.now_us())


async def _send(route: Route, entry: Entry, number: int) -> None:
    """Send a claimed copy and record what its reply proves."""
    order = entry.order
    copy = order.copies[number - 1]
    reason = _not_to_be_sent(route, order, copy)
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
    )
    route.counts.copies_sent += 1
    reply: SubmitReply = await _call(route, _SUBMIT_REPLIES, route.venue.submit, request)
    now_us = route.clock.now_us()

    def proves(order: Order) -> tuple[Event, ...]:
        events = evidence.from_submit_reply(order, number, reply, now_us)
        count_outcome(route.counts, events)
        return evidence.resurrected(order, events)

    await _settle(route, entry, number, proves)


async def _settle(
    route: Route, entry: Entry, number: int, proves: Callable[[Order], tuple[Event, ...]], *, cancels: bool = False
) -> None:
    """Record what became of a claimed copy. If the order had moved on, judge it anew by what the ledger holds."""
    for _ in range(_MOST_TRIES):
        copies = entry.order.cancels if cancels else entry.order.copies
        if copies[number - 1].outcome is not None or await _commit(route, entry, proves(entry.order)):
            return
    raise InvariantBroken(f"order {entry.order.client_order_id}: the ledger refuses every outcome of copy {number}")


async def _ask(route: Route, entry: Entry, last: LastLookup | None) -> LastLookup:
    order = entry.order
    asked_at_us = route.clock.now_us()
    route.counts.lookups += 1
    reply: LookupReply = await _call(
        route,
        _LOOKUP_REPLIES,
        route.venue.lookup,
        order.client_order_id,
        order.intent.account,
        order.intent.instrument,
    )
    if isinstance(reply, Found):
        if evidence.was_unknown(entry.order):
            route.counts.adopted += 1
        await _commit(route, entry, evidence.resurrected(entry.order, evidence.from_lookup(entry.order, reply)))
    return LastLookup(asked_at_us, 1 if last is None else last.count + 1, isinstance(reply, NotFound))


async def _cancel(route: Route, entry: Entry, number: int) -> None:
    if not await _commit(route, entry, (ev.CancelClaimed(number),)) or route.failure is not None:
        return
    order = entry.order
    request = CancelRequest(
        client_order_id=order.client_order_id,
        account=order.intent.account,
        instrument=order.intent.instrument,
        venue_order_id=order.venue_order_id,
    )
    route.counts.cancels_sent += 1
    reply: CancelReply = await _call(route, _CANCEL_REPLIES, route.venue.cancel, request)
    await _settle(route, entry, number, lambda order: evidence.from_cancel_reply(order, number, reply), cancels=True)


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
