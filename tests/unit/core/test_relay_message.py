"""What subscribers are told of a journal entry, and how often and how fast again."""

import json
import typing

import msgspec
import pytest

from onefill.core.audit import GENESIS, JournalEntry, entry_hash
from onefill.core.errors import InvalidField
from onefill.core.relay import ROUTE_LANE, Policy, message_id, message_of, wanted_of

_PAYLOAD = '[{"type":"acknowledged","venue_cum_quantity":"1.10"},{"type":"anomaly","reason":"π"}]'


def _entry(**other: typing.Any) -> JournalEntry:
    fields: dict[str, typing.Any] = {
        "route": "X",
        "sequence": 7,
        "intent_id": 5,
        "kind": "acknowledged",
        "payload": _PAYLOAD,
        "at_us": 1_750_000_000_000_000,
        "epoch": 1,
    } | other
    return JournalEntry(**fields, previous_hash=GENESIS, hash=entry_hash(GENESIS, **fields))


def test_a_message_says_what_the_entry_says() -> None:
    """The body carries the entry's events as they were hashed, with the names of their order."""
    entry = _entry()
    message = message_of(entry, "A", "s", "k", "s-1")
    body = json.loads(message.body)
    assert body == {
        "v": 1,
        "id": entry.hash.hex()[:32],
        "route": "X",
        "sequence": 7,
        "at_us": 1_750_000_000_000_000,
        "kind": "acknowledged",
        "account": "A",
        "strategy": "s",
        "key": "k",
        "client_order_id": "s-1",
        "events": json.loads(_PAYLOAD),
    }
    assert _PAYLOAD.encode() in message.body
    assert (message.id, message.lane, message.lane_name) == (body["id"], 5, "s-1")


def test_a_message_is_the_same_however_often_it_is_made() -> None:
    """TOLD-ONCE: id and bytes depend on the entry alone; every field of it that is hashed changes the id."""
    assert message_of(_entry(), "A", "s", "k", "s-1") == message_of(_entry(), "A", "s", "k", "s-1")
    others = ({"route": "Y"}, {"sequence": 8}, {"intent_id": 6}, {"payload": "[]"}, {"at_us": 1}, {"epoch": 2})
    assert len({message_id(_entry(**other).hash) for other in ({}, *others)}) == len(others) + 1


def test_what_belongs_to_no_order_shares_a_lane() -> None:
    """Entries of the route itself are told in order among themselves, under the route's name."""
    message = message_of(_entry(intent_id=None))
    assert (message.lane, message.lane_name, message.key) == (ROUTE_LANE, "X", None)


def test_a_filter_finds_any_event_of_an_entry() -> None:
    """An entry is wanted if one of its events is; without a list all are."""
    assert wanted_of(())(_PAYLOAD)
    assert wanted_of(["anomaly"])(_PAYLOAD)
    assert not wanted_of(["anomaly", "trade"])('[{"type":"recorded"}]')


def test_pauses_grow_to_a_bound() -> None:
    """Pauses double from the first to the longest; what the subscriber asks for counts where it is longer, up to the bound."""
    policy = Policy(pause_s=0.5, longest_pause_s=30)
    assert [policy.pause(tries) for tries in (0, 1, 2, 3, 7, 8, 10_000)] == [0.5, 0.5, 1, 2, 30, 30, 30]
    assert policy.pause(1, 4.0) == 4
    assert policy.pause(3, 0.1) == 2
    assert policy.pause(1, 1e9) == 30


@pytest.mark.parametrize(
    "field", ["batch", "in_flight", "window", "invalid_tries", "suspect_tries", "answer_s", "pause_s", "cursor_every_s"]
)
def test_a_policy_that_cannot_work_is_refused(field: str) -> None:
    """Zero, where something above zero is needed, is refused with the field's name."""
    with pytest.raises(InvalidField, match=f"^{field}: "):
        msgspec.structs.replace(Policy(), **{field: 0})
