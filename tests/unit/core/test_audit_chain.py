"""The audit chain: any change, loss, insertion or move is found, and found where it is."""

from typing import Any

import msgspec
import pytest
from core_kit import SEEDED
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.audit import GENESIS, JournalEntry, entry_hash, first_fault

bodies = st.lists(
    st.tuples(
        st.none() | st.integers(0, 3),
        st.sampled_from(["recorded", "claimed", "traded"]),
        st.text('[]{}":,ab1é\n', max_size=6),
        st.integers(0, 5),
        st.integers(1, 2),
    ),
    min_size=2,
    max_size=8,
)
OTHER_VALUE: dict[str, Any] = {
    "route": "other",
    "intent_id": 99,
    "kind": "other",
    "payload": "other",
    "at_us": -1,
    "epoch": 99,
    "hash": bytes([1]) * 32,
    "previous_hash": bytes([2]) * 32,
    "sequence": 99,
}


def chain(contents: list[tuple[Any, ...]], start: int = 1, previous: bytes = GENESIS) -> list[JournalEntry]:
    """Return a chain with these contents."""
    entries = []
    for sequence, (intent_id, kind, payload, at_us, epoch) in enumerate(contents, start):
        made = entry_hash(previous, "sim", sequence, intent_id, kind, payload, at_us, epoch)
        entries.append(
            JournalEntry(
                route="sim",
                sequence=sequence,
                intent_id=intent_id,
                kind=kind,
                payload=payload,
                at_us=at_us,
                epoch=epoch,
                previous_hash=previous,
                hash=made,
            )
        )
        previous = made
    return entries


def fault_at(entries: list[JournalEntry]) -> int | None:
    """Return the index of the first entry with a fault."""
    previous = GENESIS
    for index, entry in enumerate(entries):
        if first_fault(entry, index + 1, previous) is not None:
            return index
        previous = entry.hash
    return None


@SEEDED
@given(bodies)
def test_an_untouched_chain_has_no_fault(contents: list[tuple[Any, ...]]) -> None:
    """A chain as written passes, whatever its entries hold."""
    assert fault_at(chain(contents)) is None


@SEEDED
@given(bodies, st.data(), st.sampled_from(sorted(OTHER_VALUE)))
def test_a_changed_field_is_found_at_its_entry(
    contents: list[tuple[Any, ...]], data: st.DataObject, field: str
) -> None:
    """Changing any field of an entry, its hashes and sequence included, is found at that entry."""
    entries = chain(contents)
    index = data.draw(st.integers(0, len(entries) - 1))
    entries[index] = msgspec.structs.replace(entries[index], **{field: OTHER_VALUE[field]})
    assert fault_at(entries) == index


@SEEDED
@given(bodies, st.data())
def test_a_dropped_entry_is_found_where_it_is_missing(contents: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Dropping any entry but the last is found at the place where it was."""
    entries = chain(contents)
    index = data.draw(st.integers(0, len(entries) - 2))
    del entries[index]
    assert fault_at(entries) == index


@SEEDED
@given(bodies, st.data())
def test_a_dropped_entry_is_found_even_if_the_rest_is_numbered_anew(
    contents: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """Closing the gap in the numbers does not hide the loss."""
    entries = chain(contents)
    index = data.draw(st.integers(0, len(entries) - 2))
    del entries[index]
    entries = [msgspec.structs.replace(entry, sequence=place) for place, entry in enumerate(entries, 1)]
    assert fault_at(entries) == index


@SEEDED
@given(bodies, st.data())
def test_swapped_entries_are_found_at_the_first_of_them(contents: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Two entries that changed places are found at the first place, even with their numbers exchanged."""
    entries = chain(contents)
    low = data.draw(st.integers(0, len(entries) - 2))
    high = data.draw(st.integers(low + 1, len(entries) - 1))
    entries[low], entries[high] = entries[high], entries[low]
    assert fault_at(entries) == low
    for place in (low, high):
        entries[place] = msgspec.structs.replace(entries[place], sequence=place + 1)
    assert fault_at(entries) == low


@SEEDED
@given(bodies, st.data())
def test_an_inserted_entry_is_found(contents: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """An entry put in with a right hash of its own is found at the next one, which does not follow from it."""
    entries = chain(contents)
    index = data.draw(st.integers(0, len(entries) - 1))
    previous = entries[index].previous_hash
    put_in = chain([(None, "recorded", "put in", 0, 1)], start=index + 1, previous=previous)[0]
    rest = [msgspec.structs.replace(entry, sequence=entry.sequence + 1) for entry in entries[index:]]
    assert fault_at([*entries[:index], put_in, *rest]) == index + 1


@SEEDED
@given(bodies, st.data())
def test_a_rewritten_entry_breaks_the_one_after_it(contents: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Changing an entry and its hash together only moves the fault to the next entry."""
    entries = chain(contents)
    index = data.draw(st.integers(0, len(entries) - 2))
    forged = chain([(None, "traded", "forged", 0, 1)], start=index + 1, previous=entries[index].previous_hash)[0]
    entries[index] = forged
    assert fault_at(entries) == index + 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("sim", 1, None, "a", "b", 1, 1), ("sim", 1, None, "ab", "", 1, 1)),
        (("sim", 1, None, "a", "b", 1, 1), ("sim", 1, None, "", "ab", 1, 1)),
        (("sim1", 1, None, "a", "b", 1, 1), ("sim", 11, None, "a", "b", 1, 1)),
        (("sim", 1, None, 'a","b', "c", 1, 1), ("sim", 1, None, "a", 'b","c', 1, 1)),
        (("sim", 1, None, "a", "b", 1, 11), ("sim", 1, None, "a", "b", 11, 1)),
        (("sim", 1, None, "a", "b", 1, 1), ("sim", 1, 0, "a", "b", 1, 1)),
    ],
)
def test_content_cannot_be_shifted_between_fields(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Moving text from one field to its neighbour changes the hash: the fields are told apart."""
    assert entry_hash(GENESIS, *one) != entry_hash(GENESIS, *other)


def test_the_first_hash_is_pinned() -> None:
    """The hash of a known entry never changes, so that ledgers written today can be verified by later versions."""
    made = entry_hash(GENESIS, "sim", 1, 7, "recorded", '[{"type":"recorded"}]', 1_750_000_000_000_000, 1)
    assert made.hex() == "a629ff56e08b9edf1736981fdf946ed0877ec2eca763022d5a9ca3ca2cdf3ece"
