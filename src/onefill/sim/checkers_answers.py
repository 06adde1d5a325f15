"""Checks about what callers were told."""

import msgspec

from onefill.core.answers import CancelAnswer, CancelResult
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status
from onefill.core.order import Order
from onefill.core.values import plain
from onefill.ports.ledger import RequestKind
from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.history import Answered, Called

_cancel_answer = msgspec.json.Decoder(CancelAnswer)
_NO_ANSWER = frozenset(
    {
        "OrderUncertain",
        "RouteClosed",
        "RouteShut",
        "RouteElsewhere",
        "LeaseLost",
        "LedgerError",
        "LedgerFailed",
        "Fenced",
        "gone",
        "gave up",
    }
)
"""What a caller may get instead of an answer, and then asks again. None of it says what became of the order."""


def content_of(order: Order) -> str:
    """Return an intent's content as the callers of a simulation write it."""
    intent = order.intent
    price = "market" if intent.price is None else plain(intent.price)
    return f"{intent.side} {plain(intent.quantity)} @ {price} {intent.time_in_force}"


def same_answer(index: Index) -> Verdict:
    """One key, one answer, byte for byte; other content under it is refused."""
    verdict = Verdict(promise="SAME-ANSWER")
    told: dict[tuple[str, str, str], bytes] = {}
    for call, (_, called) in index.called.items():
        answered = index.answer(call)
        order = index.orders.get(called.key)
        if called.what == "submit" and order is not None and called.content != content_of(order):
            verdict.cases += 1
            if answered.error not in _NO_ANSWER | {"KeyReused"}:
                verdict.broken(
                    f"call {call} brought other content under {called.key} and got {_said(answered)}", called.at_us
                )
            continue
        if called.what == "resolve" or (called.what != "submit" and called.operation_key is None):
            continue
        if answered.answer is None:
            if answered.error == "KeyReused" and called.what != "replace":
                verdict.broken(f"call {call} repeated {called.key} unchanged and was refused", called.at_us)
            continue
        verdict.cases += 1
        first = told.setdefault((called.what, called.key, called.operation_key or ""), answered.answer)
        if first != answered.answer:
            verdict.broken(
                f"{called.what} {called.key} was answered {first!r} and then {answered.answer!r}", answered.at_us
            )
    return verdict


def _said(answered: Answered) -> str:
    return repr(answered.answer) if answered.answer is not None else answered.error


_ENDS = {
    CancelResult.CANCELED: frozenset({Status.CANCELED}),
    CancelResult.FILLED: frozenset({Status.FILLED}),
    CancelResult.ENDED: frozenset({Status.REJECTED, Status.EXPIRED}),
    CancelResult.NEVER_SENT: NEVER_SENT,
}


def cancel_quiet(index: Index) -> Verdict:
    """A cancel tells what is true; of an order that was over, it changes nothing and says so."""
    verdict = Verdict(promise="CANCEL-QUIET")
    over, recorded = _moments(index)
    for call, (place, called) in index.called.items():
        if called.what != "cancel":
            continue
        verdict.cases += 1
        answered = index.answer(call)
        ended = over.get(called.key)
        if answered.answer is not None:
            known = recorded.get(called.key)
            wrong = _wrong_answer(index, called, answered.answer, was_over=ended is not None and ended < place)
            if wrong is not None and not (known is not None and known > place and "unknown" in wrong):
                verdict.broken(f"call {call}, cancel {called.key}: {wrong}", answered.at_us)
        elif answered.error == "UnknownKey":
            if called.operation_key is not None or recorded.get(called.key, place) < place:
                verdict.broken(f"call {call}: {called.key} was there and was called unknown", answered.at_us)
        elif answered.error not in _NO_ANSWER:
            verdict.broken(
                f"call {call}, cancel {called.key}, ended in {answered.error}: {answered.text}", answered.at_us
            )
    for place, commit in index.commits:
        order = commit.order
        if order is None or over.get(order.key, place) >= place:
            continue
        if any(claim.kind is RequestKind.CANCEL and claim.copy.outcome is None for claim in commit.claims):
            verdict.broken(f"a cancel of {order.key} was sent after it was {order.status}", commit.at_us)
    return verdict


def _moments(index: Index) -> tuple[dict[str, int], dict[str, int]]:
    """Return when each order was over in the ledger, and when it was recorded, as places in the history."""
    over: dict[str, int] = {}
    recorded: dict[str, int] = {}
    for place, commit in index.commits:
        if commit.order is not None:
            recorded.setdefault(commit.order.key, place)
            if commit.order.status in ENDED:
                over.setdefault(commit.order.key, place)
            else:
                over.pop(commit.order.key, None)  # it was there after all, and an anomaly says so
    return over, recorded


def _wrong_answer(index: Index, called: Called, raw: bytes, *, was_over: bool) -> str | None:
    answer = _cancel_answer.decode(raw)
    order = index.orders.get(called.key)
    if answer.result is CancelResult.UNKNOWN_KEY:
        return None if order is None or called.operation_key is not None else "unknown, and it was recorded"
    if order is None:
        return f"answered {answer.result}, and it was never recorded"
    if answer.result is CancelResult.REFUSED:
        return f"answered refused, and the order was over before: {order.status}" if was_over else None
    busted = answer.result is CancelResult.FILLED and order.reversed_quantity
    if order.status not in _ENDS[answer.result] and order.anomaly is None and not busted:
        return f"answered {answer.result}, and it is {order.status}"
    if was_over and answer.changed and called.operation_key is None:
        return "answered that it changed something, and the order was over before"
    return None


def no_loss(index: Index) -> Verdict:
    """What was acknowledged is in the ledger at the end: every commit, every answer."""
    verdict = Verdict(promise="NO-LOSS")
    journal = index.run.journal
    for _, commit in index.commits:
        verdict.cases += 1
        entry = journal[commit.sequence - 1] if commit.sequence <= len(journal) else None
        if entry is None or (entry.payload, entry.kind) != (commit.payload, commit.kind):
            verdict.broken(f"entry {commit.sequence} ({commit.kind}) was committed and is not there", commit.at_us)
    for call, (_, called) in index.called.items():
        answered = index.answer(call)
        if answered.answer is None or called.what == "resolve":
            continue
        verdict.cases += 1
        if called.what == "submit":
            order = index.orders.get(called.key)
            kept = None if order is None else order.answer
        elif called.operation_key is None:
            continue
        else:
            kept = index.run.operations.get((called.key, called.operation_key))
        if kept != answered.answer:
            verdict.broken(
                f"call {call} ({called.what} {called.key}) was answered, and the ledger holds {kept!r}", answered.at_us
            )
    return verdict
