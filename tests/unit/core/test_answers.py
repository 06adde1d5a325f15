"""What whoever wanted an order replaced is told, as bytes. Answers to submits and cancels: see test_order."""

from decimal import Decimal

import msgspec
import pytest
from core_kit import accepted, in_state

from onefill.core.answers import ReplaceAnswer, ReplaceResult, replace_answer, replace_of_unknown_key_answer
from onefill.core.lifecycle import Status
from onefill.core.order import Order, Terms


def replaced(status: Status) -> Order:
    """Return the order as a replace made it: 5 under C2."""
    terms = Terms(1, "C2", Decimal(5), Decimal("26.00"))
    made = in_state(status, in_force=terms, replacement=None, venue_order_id="V2", cum_quantity=Decimal(1))
    return accepted(made)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (Status.NEW, ReplaceResult.REFUSED),
        (Status.PARTIALLY_FILLED, ReplaceResult.REFUSED),
        (Status.PENDING_CANCEL, ReplaceResult.REFUSED),
        (Status.FILLED, ReplaceResult.FILLED),
        (Status.CANCELED, ReplaceResult.ENDED),
        (Status.REJECTED, ReplaceResult.ENDED),
        (Status.EXPIRED, ReplaceResult.ENDED),
        (Status.EXPIRED_UNSENT, ReplaceResult.NEVER_SENT),
        (Status.CANCELED_UNSENT, ReplaceResult.NEVER_SENT),
    ],
)
@pytest.mark.parametrize("changed", [True, False])
def test_a_replace_is_told_what_is_true_of_the_order(status: Status, result: ReplaceResult, changed: bool) -> None:
    """A replace that was not done names the end, or says that the order goes on; one that was done says so in any state."""
    told = msgspec.json.decode(replace_answer(replaced(status), 7, done=False, changed=changed), type=ReplaceAnswer)
    assert (told.result, told.changed, told.status, told.answered_at_us) == (result, False, status, 7)
    done = msgspec.json.decode(replace_answer(replaced(status), 7, done=True, changed=changed), type=ReplaceAnswer)
    assert (done.result, done.changed) == (ReplaceResult.REPLACED, changed)


def test_the_answer_to_a_replace_is_pinned() -> None:
    """The bytes of an answer for known values, with both ids of the chain, so that an upgrade cannot spell it otherwise."""
    assert replace_answer(replaced(Status.NEW), 7, done=True, changed=True) == (
        b'{"key":"k","result":"replaced","changed":true,"client_order_id":"C2","orig_client_order_id":"C1",'
        b'"venue_order_id":"V2","status":"new","quantity":"5","price":"26.00","cum_quantity":"1","reason":null,'
        b'"answered_at_us":7}'
    )


def test_a_market_order_has_no_price_to_tell() -> None:
    """A price that is none is told as none."""
    order = msgspec.structs.replace(replaced(Status.NEW), in_force=Terms(1, "C2", Decimal(5), None))
    assert msgspec.json.decode(replace_answer(order, 7, done=True, changed=True), type=ReplaceAnswer).price is None


def test_a_replace_of_an_unknown_key_says_so() -> None:
    """The answer names no order and claims no state."""
    told = msgspec.json.decode(replace_of_unknown_key_answer("k", 7), type=ReplaceAnswer)
    assert (told.result, told.changed, told.client_order_id, told.status) == (
        ReplaceResult.UNKNOWN_KEY,
        False,
        None,
        None,
    )
