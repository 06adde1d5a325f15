"""What a ledger is told of a change: the difference between two states of an order."""

import msgspec

from onefill.core import events as ev
from onefill.core.answers import cancel_answer, replace_answer
from onefill.core.events import Event
from onefill.core.lifecycle import ENDED
from onefill.core.order import Copy, Order, Replacement, Terms
from onefill.ports.ledger import Claim, Operation, ReplacementChange, RequestKind

_Claims = tuple[Claim, ...]


def copies(before: Order, after: Order, events: tuple[Event, ...]) -> tuple[_Claims, _Claims]:
    """Return the copies of requests that were claimed, and those whose outcome became known."""
    claims: _Claims = ()
    settled: _Claims = ()
    if before.copies is not after.copies:
        claims, settled = _differing(RequestKind.SUBMIT, before.copies, after.copies)
    if before.cancels is not after.cancels:
        more_claims, more_settled = _differing(RequestKind.CANCEL, before.cancels, after.cancels)
        claims, settled = claims + more_claims, settled + more_settled
    if before.replacement is not after.replacement or before.strays is not after.strays:
        claims, settled = claims + _replaces_claimed(before, after), settled + _replaces_settled(before, events)
    return claims, settled


def _differing(kind: RequestKind, old: tuple[Copy, ...], new: tuple[Copy, ...]) -> tuple[_Claims, _Claims]:
    claims = tuple([Claim(kind, copy) for copy in new[len(old) :]])
    settled = tuple([Claim(kind, now) for was, now in zip(old, new, strict=False) if was is not now])
    return claims, settled


def _replaces_claimed(before: Order, after: Order) -> _Claims:
    if after.replacement is None:
        return ()
    new = [copy for copy in after.replacement.copies if copy.number > before.replace_copies]
    return tuple(Claim(RequestKind.REPLACE, copy) for copy in new)


def _replaces_settled(before: Order, events: tuple[Event, ...]) -> _Claims:
    """Return the copies of replaces that these events settle. What is settled may be gone from the state after them."""
    claimed = before.strays + (() if before.replacement is None else before.replacement.copies)
    by_number = {copy.number: copy for copy in claimed}
    return tuple(
        Claim(
            RequestKind.REPLACE,
            msgspec.structs.replace(
                by_number[event.number], outcome=event.outcome, reason=event.reason, retry_at_us=event.retry_at_us
            ),
        )
        for event in events
        if isinstance(event, ev.ReplaceSettled) and event.number in by_number
    )


def replacement(before: Order, after: Order) -> ReplacementChange | None:
    """Return how the row of the open replace changes, if it does."""
    was, now = before.replacement, after.replacement
    restated = after.in_force
    if restated is not None and restated is not before.in_force and (was is None or restated.number > was.number):
        return _restated(restated, after)
    if now is not None:
        if was is not None and was.original_over is now.original_over:
            return None
        return ReplacementChange(replacement=now, new_id=after.gets_new_id)
    if was is None:
        return None
    if after.in_force is None or after.in_force.number != was.number:
        return ReplacementChange(replacement=was, new_id=before.gets_new_id, outcome="refused")
    # What is in force may be other than what was wanted: never less than is executed.
    made = msgspec.structs.replace(was, quantity=after.in_force.quantity, since_us=after.in_force.since_us)
    return ReplacementChange(replacement=made, new_id=before.gets_new_id, outcome="replaced", version=after.version)


def _restated(terms: Terms, after: Order) -> ReplacementChange:
    """Return the row of terms that the venue gave an order by itself: kept like a replace that nobody asked for."""
    made = Replacement(
        number=terms.number,
        client_order_id=terms.client_order_id,
        quantity=terms.quantity,
        price=terms.price,
        valid_until_us=0,
        copies_before=after.replace_copies,
        since_us=terms.since_us,
    )
    return ReplacementChange(replacement=made, new_id=False, outcome="replaced", version=after.version)


def answered(
    waiting: dict[str, Operation], before: Order, order: Order, at_us: int, *, refused: bool
) -> tuple[Operation, ...]:
    """Return those of the waiting operations that get their answer by this change. ``refused``: the cancel was."""
    ended = order.status in ENDED
    over = before.replacement is not None and order.replacement is None
    done = []
    for operation in waiting.values():
        if operation.kind is RequestKind.REPLACE and (ended or over):
            answer = answer_of_replace(before, order, at_us)
        elif operation.kind is RequestKind.CANCEL and (ended or refused):
            answer = cancel_answer(order, at_us, changed=before.status not in ENDED)
        else:
            continue
        done.append(msgspec.structs.replace(operation, answer=answer))
    return tuple(done)


def answer_of_replace(before: Order, order: Order, at_us: int) -> bytes:
    """Return what is told of the replace that was open before this change and is over after it."""
    was, now = before.replacement, order.in_force
    return replace_answer(
        order, at_us, done=was is not None and now is not None and was.number == now.number, changed=True
    )


def ids(order: Order) -> tuple[str, ...]:
    """Return the client order ids under which news of an order may come, but for those long given up."""
    if order.in_force is None and order.replacement is None:
        return (order.client_order_id,)
    wanted = () if order.replacement is None else (order.replacement.client_order_id,)
    return (order.client_order_id, order.live_id, *wanted)
