"""Drives one order through the steps that the retry contract names, until there is nothing left to do.

Claim, then wire: every copy is claimed in the ledger, durably and by number, before its bytes can leave. Whatever happens
after that and before the outcome is recorded reads as *maybe sent*.
"""

import asyncio

from onefill.core import events as ev
from onefill.core import evidence, retry
from onefill.core.events import CopyOutcome, Event
from onefill.core.messages import (
    CancelRequest,
    Found,
    LookupReply,
    NotFound,
    SubmitRequest,
    Unknown,
)
from onefill.core.order import Order
from onefill.core.retry import LastLookup
from onefill.engine.entry import Entry
from onefill.engine.route import Route, count_outcome
from onefill.ports.ledger import Committed


def start_driver(route: Route, entry: Entry, *, claimed: bool = False) -> None:
    """Start the order's driver, or make a waiting one look again. ``claimed``: its first copy was claimed just now."""
    if entry.driver is not None:
        entry.rouse()
        return
    entry.driver = asyncio.get_running_loop().create_task(_drive(route, entry, claimed=claimed))
    route.spawn(entry.driver)


async def _drive(route: Route, entry: Entry, *, claimed: bool) -> None:
    try:
        if claimed:
            await _send(route, entry, entry.order.copies[-1].number)
        lookup: LastLookup | None = None
        while route.failure is None:
            step = retry.next_step(entry.order, route.capabilities, lookup, route.clock.now_us())
            if isinstance(step, retry.Rest):
                break
            if isinstance(step, retry.Ask):
                lookup = await _ask(route, entry, lookup)
            elif isinstance(step, retry.WaitUntil):
                await _wait(route, entry, step.at_us)
            elif isinstance(step, retry.Send):
                lookup = None
                await _claim_and_send(route, entry, step)
            elif isinstance(step, retry.SendCancel):
                await _cancel(route, entry, step.number)
            else:
                await _commit(route, entry, _decided(step))
    finally:
        entry.driver = None
        route.release(entry)


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


async def _send(route: Route, entry: Entry, number: int) -> None:
    """Send a claimed copy and record what its reply proves."""
    order = entry.order
    copy = order.copies[number - 1]
    now_us = route.clock.now_us()
    late = retry.too_late_to_send(order, copy, now_us)
    if late is not None:
        await _settle(route, entry, number, (ev.CopySettled(number, CopyOutcome.NOT_SENT, late),))
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
    try:
        async with asyncio.timeout(route.settings.reply_timeout_s):
            reply = await route.venue.submit(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, the bytes may have left
        reply = Unknown(f"{type(error).__name__}: {error}")
    events = evidence.from_submit_reply(entry.order, number, reply, route.clock.now_us())
    count_outcome(route.counts, events)
    await _settle(route, entry, number, evidence.resurrected(entry.order, events))


async def _settle(route: Route, entry: Entry, number: int, events: tuple[Event, ...]) -> None:
    if not await _commit(route, entry, events):
        # The order moved on meanwhile (a fill overtook the reply): the copy's outcome is still worth keeping.
        copies = entry.order.copies
        if number <= len(copies) and copies[number - 1].outcome is None:
            await _commit(route, entry, (ev.OutcomeUnknown(number, "its reply could not be recorded"),))


async def _ask(route: Route, entry: Entry, last: LastLookup | None) -> LastLookup:
    order = entry.order
    asked_at_us = route.clock.now_us()
    route.counts.lookups += 1
    reply: LookupReply
    try:
        async with asyncio.timeout(route.settings.reply_timeout_s):
            reply = await route.venue.lookup(order.client_order_id, order.intent.account, order.intent.instrument)
    except Exception as error:  # noqa: BLE001 - a question that failed says nothing
        reply = Unknown(f"{type(error).__name__}: {error}")
    if isinstance(reply, Found):
        if evidence.was_unknown(entry.order):
            route.counts.adopted += 1
        await _commit(route, entry, evidence.resurrected(entry.order, evidence.from_lookup(entry.order, reply)))
    return LastLookup(asked_at_us, 1 if last is None else last.count + 1, isinstance(reply, NotFound))


async def _cancel(route: Route, entry: Entry, number: int) -> None:
    if not await _commit(route, entry, (ev.CancelClaimed(number),)):
        return
    order: Order = entry.order
    request = CancelRequest(
        client_order_id=order.client_order_id,
        account=order.intent.account,
        instrument=order.intent.instrument,
        venue_order_id=order.venue_order_id,
    )
    route.counts.cancels_sent += 1
    try:
        async with asyncio.timeout(route.settings.reply_timeout_s):
            reply = await route.venue.cancel(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, the bytes may have left
        reply = Unknown(f"{type(error).__name__}: {error}")
    await _commit(route, entry, evidence.from_cancel_reply(entry.order, number, reply))


async def _wait(route: Route, entry: Entry, until_us: int) -> None:
    """Wait until a moment, or until there is news of the order."""
    loop = asyncio.get_running_loop()
    entry.wake = loop.create_future()
    timer = loop.call_later(max(until_us - route.clock.now_us(), 0) / 1_000_000, entry.rouse)
    try:
        await entry.wake
    finally:
        timer.cancel()
        entry.wake = None
