"""Waking those who wait for an order: with the stored bytes that have just become durable, and nothing else."""

from onefill.core.answers import cancel_answer, replace_answer
from onefill.core.lifecycle import ENDED
from onefill.core.order import Order
from onefill.engine.entry import Entry, Waiter
from onefill.ports.ledger import Change


def tell(entry: Entry, order: Order, change: Change, *, refused: bool) -> None:
    """Wake those whose answer has just become durable."""
    at_us = change.at_us
    if order.answer is not None and entry.answer_waiters:
        tell_answer(entry, order.answer)
    answers = {operation.operation_key: operation.answer for operation in change.answered}
    if entry.cancel_waiters and (order.status in ENDED or refused):
        waiters, entry.cancel_waiters = entry.cancel_waiters, []
        _give(waiters, answers, cancel_answer(order, at_us, changed=True))
    over = change.replacement
    if entry.replace_waiters and (order.status in ENDED or (over is not None and over.outcome is not None)):
        number = None if over is None else over.replacement.number
        told = [one for one in entry.replace_waiters if order.status in ENDED or one[0] == number]
        entry.replace_waiters = [one for one in entry.replace_waiters if one not in told]
        done = over is not None and over.outcome == "replaced"
        _give([one[1:] for one in told], answers, replace_answer(order, at_us, done=done, changed=True))


def _give(waiters: list[tuple[str | None, Waiter]], answers: dict[str, bytes | None], plain_answer: bytes) -> None:
    for operation_key, waiter in waiters:
        answer = None if operation_key is None else answers.get(operation_key)
        if not waiter.done():
            waiter.set_result(answer or plain_answer)


def tell_answer(entry: Entry, answer: bytes) -> None:
    """Give everybody who waits for the order's answer its stored bytes."""
    waiters, entry.answer_waiters = entry.answer_waiters, []
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(answer)
