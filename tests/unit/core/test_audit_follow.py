"""Following a chain many entries at a time: the same rules as entry by entry, and the same words."""

import pytest

from onefill.core.audit import GENESIS, ChainEnd, Fault, JournalRow, entry_hash, entry_of, first_fault, follow


def row(sequence: int, previous: bytes, epoch: int = 1, payload: str = '[{"type":"note"}]') -> JournalRow:
    """Return an entry with the hash that belongs to it."""
    content = (sequence, None, "note", payload, 1000 + sequence, epoch)
    return (*content, previous, entry_hash(previous, "sim", *content))


def chain(*epochs: int, first: int = 1) -> list[JournalRow]:
    """Return a chain with an entry of each epoch."""
    made: list[JournalRow] = []
    for place, epoch in enumerate(epochs):
        made.append(row(first + place, made[-1][7] if made else GENESIS, epoch))
    return made


@pytest.mark.parametrize("cut", range(6))
def test_a_chain_is_followed_from_page_to_page(cut: int) -> None:
    """Wherever the pages are cut, the end is the same; no entries are no step."""
    rows = chain(1, 1, 2, 2, 5)
    middle, fault = follow("sim", rows[:cut], ChainEnd())
    assert (middle.sequence, fault) == (cut, None)
    assert follow("sim", rows[cut:], middle) == (ChainEnd(5, rows[-1][7], 5), None)


def test_an_epoch_that_falls_is_a_fault_even_if_every_hash_is_right() -> None:
    """A later owner fenced the earlier one: whoever wrote this entry had no right to."""
    end, fault = follow("sim", chain(1, 2, 1, 2), ChainEnd())
    assert end.sequence == 2
    assert fault == Fault(3, "carries epoch 1 after epoch 2")
    assert str(fault) == "entry 3: carries epoch 1 after epoch 2"


def test_a_number_left_out_is_a_fault_even_if_every_hash_is_right() -> None:
    """A chain that was written so: there is no entry 1, or no 3."""
    assert str(follow("sim", chain(1, 1, first=2), ChainEnd())[1]) == (
        "entry 1: expected sequence 1, found 2: entries are missing or out of order"
    )
    rows = chain(1, 1)
    fault = follow("sim", [*rows, row(4, rows[-1][7])], ChainEnd())[1]
    assert str(fault) == "entry 3: expected sequence 3, found 4: entries are missing or out of order"


@pytest.mark.parametrize(
    "changed",
    [
        (9, None, "note", "[]", 1, 1, GENESIS, GENESIS),
        (2, None, "note", "[]", 1, 1, GENESIS, GENESIS),
        (2, "1", "note", None, 1.5, 1, b"", b"x"),
        (2, None, None, b"\xff", None, 1, None, None),
        (None, None, None, None, None, None, None, None),
    ],
)
def test_what_is_found_in_many_is_what_is_found_in_one(changed: JournalRow) -> None:
    """The same entry, in the same words, whatever an altered table holds where text and numbers belong."""
    rows = chain(1, 1, 1)
    end, fault = follow("sim", [rows[0], changed, rows[2]], ChainEnd())
    assert end == ChainEnd(1, rows[0][7], 1)
    assert fault == Fault(2, str(first_fault(entry_of("sim", changed), 2, rows[0][7])))


def test_another_routes_entries_are_no_entries_of_this_one() -> None:
    """The route's name is in what is hashed."""
    assert follow("other", chain(1), ChainEnd())[1] == Fault(1, "its content was changed after it was written")
