"""The guards of Onefill, each with a way of switching it off from outside.

A guard that can be switched off without simulation or search noticing is either not needed or not tested. Each mutant here
replaces one rule, wherever it has been imported, for as long as a ``with`` block lasts. Nothing in the code under test knows
of this.
"""

from typing import Any, Final

import msgspec

from onefill.core import (
    apply,
    audit,
    claims,
    evidence,
    identity,
    lease,
    position,
    query,
    resolution,
    retry,
    retry_live,
    steps,
)
from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.answers import cancel_answer, submit_answer
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.engine import desk, gateway, receiver, route, sender
from onefill.ledger import sqlite_rows, sqlite_write
from onefill.sim.mutant import Mutant, always
from onefill.sim.mutants_books import BOOKS
from onefill.sim.mutants_nodes import NODES

__all__ = ["MUTANTS", "Mutant"]
_with = msgspec.structs.replace


def _resend_without_asking(original: Any) -> Any:
    def step(order: Order, capabilities: Any, lookup: Any, now_us: int) -> Any:
        last = order.copies[-1] if order.copies else None
        waiting = order.status is Status.UNCERTAIN and last is not None and last.outcome is CopyOutcome.UNKNOWN
        if waiting and len(order.copies) < 3 and not order.cancel_wanted and now_us < order.valid_until_us:
            return retry.send(order, capabilities, now_us)
        return original(order, capabilities, lookup, now_us)

    return step


def _absent_at_once(_original: Any) -> Any:
    return lambda _copies, capabilities, _lookup: capabilities.conclusive_after_s is not None


def _no_time_to_leave(_original: Any) -> Any:
    return lambda _copy: 0


def _sent_although_unknown(_original: Any) -> Any:
    def step(order: Order, capabilities: Any, now_us: int) -> Any:
        if now_us >= order.valid_until_us or order.cancel_wanted:
            return steps.Rest() if order.parked else steps.Park("its time is over")
        resend_at_us = order.copies[-1].claimed_at_us + claims.delay_us(len(order.copies))
        if now_us < resend_at_us:
            return steps.WaitUntil(resend_at_us, "between attempts")
        return retry.send(order, capabilities, now_us)

    return step


def _new_id_per_copy(original: Any) -> Any:
    async def call(route_: Any, replies: Any, call_: Any, *arguments: Any) -> Any:
        if arguments and isinstance(arguments[0], msg.SubmitRequest):
            request = arguments[0]
            entry = route_.by_client_order_id.get(request.client_order_id)
            number = len(entry.order.copies) if entry is not None else 1
            if number > 1:
                fresh = identity.replacement_id(request.client_order_id, number, route_.capabilities.id_format)
                arguments = (_with(request, client_order_id=fresh),)
        return await original(route_, replies, call_, *arguments)

    return call


def _wire_before_claim(original: Any) -> Any:
    def record(self: Any, entry: Any, events: Any, *, new: Any = None, **more: Any) -> Any:
        future = original(self, entry, events, new=new, **more)
        if new is not None:
            sender.start_driver(self, entry, claimed=True)
        return future

    return record


def _claims_forgotten(_original: Any) -> Any:
    def recovered(order: Order) -> Any:
        reason = "the process ended before an outcome was recorded"
        submits = (ev.CopySettled(one.number, CopyOutcome.NOT_SENT, reason) for one in order.copies if not one.outcome)
        cancels = (
            ev.CancelSettled(one.number, CopyOutcome.UNKNOWN, reason) for one in order.cancels if not one.outcome
        )
        wanted = order.replacement
        replaces = order.strays + (() if wanted is None else wanted.copies)
        settled = (ev.ReplaceSettled(one.number, CopyOutcome.UNKNOWN, reason) for one in replaces if not one.outcome)
        return (*submits, *cancels, *settled)

    return recovered


def _unknown_is_rejected(original: Any) -> Any:
    def from_submit_reply(order: Order, number: int, reply: Any, now_us: int) -> Any:
        if isinstance(reply, msg.Unknown):
            reply = msg.Rejected(reply.reason)
        return original(order, number, reply, now_us)

    return from_submit_reply


def _duplicate_is_rejected(original: Any) -> Any:
    def from_submit_reply(order: Order, number: int, reply: Any, now_us: int) -> Any:
        if isinstance(reply, msg.DuplicateId):
            reply = msg.Rejected(reply.reason)
        return original(order, number, reply, now_us)

    return from_submit_reply


def _too_late_is_rejected(original: Any) -> Any:
    def from_submit_reply(order: Order, number: int, reply: Any, now_us: int) -> Any:
        if isinstance(reply, msg.TooLate):
            reply = msg.Rejected(reply.reason)
        return original(order, number, reply, now_us)

    return from_submit_reply


def _refusal_ends_all(original: Any) -> Any:
    def settled(order: Order, event: Any, at_us: int) -> Any:
        after = original(order, event, at_us)
        if event.outcome is CopyOutcome.REJECTED and after.status is Status.UNCERTAIN:
            return _with(after, status=Status.REJECTED)
        return after

    return settled


def _over_is_over(_original: Any) -> Any:
    """Cancelled under its old id means cancelled, replace or no replace."""

    def superseded(order: Order, event: Any, at_us: int) -> Any:
        canceled = ev.Canceled(event.source, event.venue_order_id, event.venue_cum_quantity)
        return apply.apply(order, canceled, at_us)

    return superseded


def _no_epoch(original: Any) -> Any:
    def group(self: Any, handed_in: Any) -> Any:
        current = {name: found.epoch for name, found in self._routes().items()}
        return original(self, [_with(one, epoch=current.get(one.route, one.epoch)) for one in handed_in])

    return group


def _gaps_allowed(original: Any) -> Any:
    async def next_report(self: Any, stream: Any) -> Any:
        report = await original(self, stream)
        if report is not None and report.position > self._seen + 1:
            self._seen = report.position - 1  # what is missing is passed by
        return report

    return next_report


def _no_key(original: Any) -> Any:
    """Give every submit a key of its own in the index."""
    count = iter(range(1 << 60))

    def row(route_id: int, order: Order, new: Any) -> Any:
        made = original(route_id, order, new)
        made[2] = next(count).to_bytes(16, "big").hex() if order.version == 1 else made[2]
        return made

    return row


def _newest_answer(original: Any) -> Any:
    async def join(self: Any, route_: Any, entry: Any, intent: Any, wait_s: float) -> Any:
        await original(self, route_, entry, intent, wait_s)
        return submit_answer(entry.order, self._clock.now_us())

    return join


def _cancel_again(original: Any) -> Any:
    """Send a cancel also for what has ended, and tell the venue's refusal."""

    async def cancel_order(desk_: Any, route_: Any, entry: Any, operation: Any, wait_s: float) -> Any:
        answer = await original(desk_, route_, entry, operation, wait_s)
        if operation is None and entry.order.status is Status.FILLED:
            return cancel_answer(_with(entry.order, status=Status.NEW), desk_.clock.now_us(), changed=False)
        return answer

    return cancel_order


def _takes_any_order(_original: Any) -> Any:
    return lambda _order, _seen, _terms: None


def _stray_ignored(_original: Any) -> Any:
    return lambda *_args: None


def _stale_lookup(original: Any) -> Any:
    """Let a query speak of copies that were claimed after it was begun, by keeping it over a send."""
    kept: dict[str, Any] = {}

    def step(order: Order, capabilities: Any, lookup: Any, now_us: int) -> Any:
        if lookup is not None and lookup.not_found:
            kept[order.client_order_id] = lookup
        earlier = kept.get(order.client_order_id)
        if lookup is None and earlier is not None and order.status is Status.UNCERTAIN:
            lookup = _with(earlier, copies=len(order.copies), waited_us=earlier.waited_us)
        return original(order, capabilities, lookup, now_us)

    return step


def _trusts_anybody(_original: Any) -> Any:
    def not_sent(order: Order, _capabilities: Any, _seen: Any, by: str, reason: str, *_times: Any) -> Any:
        return (ev.Resolved(ev.Verdict.NOT_SENT, by, reason),)

    return not_sent


def _keeps_going(_original: Any) -> Any:
    def fail(self: Any, error: Any) -> None:
        """Say nothing, stop nothing."""

    return fail


def _wish_forgotten(_original: Any) -> Any:
    return lambda order, _event, _at_us: order


def _first_of_the_journal_only(_original: Any) -> Any:
    return lambda *_entry: bytes(32)


def _first_queries_count(_original: Any) -> Any:
    """Take the first answer, whichever order of the venue it shows."""

    def search(listed: Any, _client_order_id: str, _wanted: Any = None) -> Any:
        if isinstance(listed, msg.Listed) and listed.orders:
            return msg.Found(_with(listed.orders[0], client_order_id=_client_order_id))
        return msg.NotFound("nothing listed") if isinstance(listed, msg.Listed) else listed

    return search


def _terms_of_anybody(original: Any) -> Any:
    def same(order: Order, intent: Any) -> None:
        """Take any content under a known key."""

    return same


def _scope_of_report(report: Any, _scope: Any) -> str:
    return f"{report.account} {report.position}"


_AIM: Final = "ever-error/lookup-none"
_KEEPS: Final = "/T/sync/replace-keep"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant("status query before resend", "sends again at once", retry, "next_step", _resend_without_asking),
    Mutant("the wait until conclusive", "the first 'not found' is proof", claims, "all_dead", _absent_at_once),
    Mutant(
        "not found too late is no proof",
        "nothing is ever forgotten",
        claims,
        "may_be_forgotten",
        always(value=False),
        search_aim="/forgets",
    ),
    Mutant("time to leave counts", "T counts from the claim alone", claims, "_leaves_within_us", _no_time_to_leave),
    Mutant(
        "the venue's uniqueness",
        "believes that every repeat is refused",
        claims,
        "repeat_is_refused",
        always(value=True),
    ),
    Mutant("parking without look-up", "sends again and again", retry, "_without_lookup", _sent_although_unknown),
    Mutant("a look-up speaks of earlier copies only", "an old one counts", retry, "next_step", _stale_lookup),
    Mutant("one id for all copies", "every copy has its own", sender, "_call", _new_id_per_copy),
    Mutant("claim before wire", "sends while the claim is being written", route.Route, "record", _wire_before_claim),
    Mutant("a claim without outcome is maybe sent", "it reads as not sent", evidence, "recovered", _claims_forgotten),
    Mutant("unknown is a state", "no reply reads as rejected", evidence, "from_submit_reply", _unknown_is_rejected),
    Mutant("a duplicate exists", "it reads as rejected", evidence, "from_submit_reply", _duplicate_is_rejected),
    Mutant("late is not rejected", "a late copy ends the order", evidence, "from_submit_reply", _too_late_is_rejected),
    Mutant(
        "a refusal is of one copy",
        "it ends the order",
        apply,
        "_copy_settled",
        _refusal_ends_all,
        "ever-error/lookup-none",
    ),
    Mutant("expiry on the request", "none is stamped", claims, "expiry_us", always()),
    Mutant("time to live at the send", "a stale claim is sent", claims, "too_late_to_send", always()),
    Mutant("unique key", "the index takes a key twice", sqlite_rows, "intent_row", _no_key),
    Mutant("epoch of every write", "the ledger takes any epoch", sqlite_write.Writer, "_group", _no_epoch),
    Mutant("lease before the send", "sends when it is over", lease, "may_send", always(value=True)),
    Mutant("a lease is waited for", "anybody may take the route", lease, "may_take", always(value=True)),
    Mutant("dedupe key not too wide", "one scope for all", position, "dedupe_scope", always("")),
    Mutant(
        "dedupe key not too narrow", "every report is another", position, "dedupe_scope", lambda o: _scope_of_report
    ),
    Mutant("no gap in the stream", "what is missing is passed by", receiver.Receiver, "_next", _gaps_allowed),
    Mutant("compare before adopting", "any order under our id is ours", evidence, "foreign_field", _takes_any_order),
    Mutant("only the id decides", "the first order listed is ours", query, "search", _first_queries_count),
    Mutant("the answer is kept", "every repeat is told the latest", gateway.Gateway, "_join", _newest_answer),
    Mutant("same key, same content", "any content is taken", desk, "same_content", _terms_of_anybody),
    Mutant("a cancel of a filled order says so", "it says refused", desk, "_cancel_order", _cancel_again),
    Mutant("a cancel is remembered", "it is dropped", apply, "_cancel_recorded", _wish_forgotten),
    Mutant("a replaced order is not cancelled", "over is over", apply, "_superseded", _over_is_over),
    Mutant(
        "a stray replace is waited for",
        "the next one goes at once",
        retry_live,
        "_wait_for_death",
        _stray_ignored,
        _KEEPS,
    ),
    Mutant("a person may be wrong", "any word is taken", resolution, "not_sent", _trusts_anybody),
    Mutant("stop when in doubt", "a failed route goes on", route.Route, "fail", _keeps_going),
    Mutant("checksum of the journal", "every entry has the same", audit, "entry_hash", _first_of_the_journal_only),
    *BOOKS,
    *NODES,
)
