"""The collection of FIX's order state change matrices: that it is whole, and that its checks find what is wrong."""

import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from onefill.testing.fix_order_states import Collection, Matrix, Row, load, paths, quantity_faults
from onefill.testing.fix_order_states_arrivals import count, permutations, replays, tellable
from onefill.testing.fix_order_states_page import page
from onefill.testing.fix_order_states_play import SHOWN, kind_of, script

PAGE = Path(__file__).resolve().parents[2] / "docs/fix-order-states.md"
COLLECTION = load()
FIX_4_4 = {
    "A.1": "ab",
    "B.1": "abcdef",
    "C.1": "abc",
    "C.2": "a",
    "C.3": "abc",
    "D.1": "abc",
    "D.2": "abcd",
    "E.1": "abcde",
    "F.1": "abc",
    "G.1": "abc",
    "H.1": "abcd",
    "I.1": "ab",
    "J.1": "abcd",
    "K.1": "ab",
    "L.1": "ab",
}
"""FIX 4.4's own list, by group."""
TWINS = {
    "A.1.a": 1,
    "A.1.b": 2,
    "B.1.a": 3,
    "B.1.b": 4,
    "B.1.c": 5,
    "C.1.a": 6,
    "C.1.b": 7,
    "C.1.c": 8,
    "C.2.a": 9,
    "C.3.a": 10,
    "C.3.b": 11,
    "C.3.c": 12,
    "D.1.a": 13,
    "D.1.b": 14,
    "D.1.c": 15,
    "D.2.a": 16,
    "D.2.d": 17,
    "E.1.a": 18,
    "E.1.b": 19,
    "E.1.c": 20,
    "E.1.d": 21,
    "F.1.a": 22,
    "F.1.c": 23,
    "G.1.a": 24,
    "G.1.b": 25,
    "G.1.c": 26,
    "H.1.a": 27,
    "H.1.b": 28,
    "H.1.c": 29,
    "H.1.d": 30,
    "I.1.a": 32,
    "I.1.b": 33,
    "J.1.a": 34,
    "J.1.b": 35,
    "J.1.c": 36,
    "L.1.a": 37,
}
"""FIX 4.4's matrices that FIX 4.2 has too, and there their number."""
CHANGED = {
    "C.1.a": "a replaced order shows as new",
    "D.1.a": "an execution while the second replace is pending",
    "D.1.c": "the second replace may be refused",
    "D.2.d": "the refusal names the last order that was accepted",
    "E.1.c": "LeavesQty of the first restatement",
    "F.1.a": "the quantity of the repeat",
    "J.1.b": "late reports name the order, not its cancel",
}
"""What FIX 4.4 changed in them."""


def with_matrix(changed: Matrix) -> Collection:
    """Return the collection with one matrix changed."""
    matrices = tuple(changed if one.id == changed.id else one for one in COLLECTION.matrices)
    return msgspec.structs.replace(COLLECTION, matrices=matrices)


def test_no_matrix_is_missing() -> None:
    """There are exactly 85: the 37 of FIX 4.2, the 47 of FIX 4.4's list, and one of FIX 5.0 SP2."""
    found = [matrix.id for matrix in COLLECTION.matrices]
    of_4_2 = [f"4.2 D{number}" for number in range(1, 38)]
    of_4_4 = [f"4.4 {group}.{letter}" for group, letters in FIX_4_4.items() for letter in letters]
    sys.stdout.write(f"{len(found)} matrices: {len(of_4_2)} of FIX 4.2, {len(of_4_4)} of FIX 4.4\n")
    assert found == [*of_4_2, *of_4_4, "5.0SP2 E.1.f"]
    assert len(found) == 85


def test_the_roles_leave_out_what_the_data_says_and_nothing_else() -> None:
    """Three matrices cannot be told to an order of ours, and six cannot be produced by an exchange."""
    ours = [matrix.id for matrix in COLLECTION.matrices if not paths(matrix, COLLECTION.ours(matrix))]
    exchanged = [matrix.id for matrix in COLLECTION.matrices if not paths(matrix, COLLECTION.exchanged(matrix))]
    assert ours == ["4.2 D18", "4.4 E.1.a", "4.4 L.1.b"]
    assert exchanged == ["4.2 D18", "4.2 D23", "4.4 E.1.a", "4.4 F.1.c", "4.4 L.1.b", "5.0SP2 E.1.f"]


def cells(row: Row) -> tuple[object, ...]:
    """Return what a row says in words that both editions share. A refusal's OrderQty and a price of 0 say nothing."""
    kind = kind_of(row) if row.is_report else row.message
    told = (row.time, row.sender, kind, row.id, row.orig, row.status, row.exec_id, row.refers_to, row.alternative)
    quantity = None if row.message == "cancel_reject" else row.qty
    return (*told, quantity, row.cum, row.leaves, row.last or 0, row.price or 0)


def test_fix_4_4_repeats_fix_4_2_but_for_what_it_changed() -> None:
    """Of 36 matrices that both editions have, 29 are the same cell by cell, and 7 differ as named."""
    differ = []
    for name, number in TWINS.items():
        newer, older = COLLECTION.matrix(f"4.4 {name}").rows, COLLECTION.matrix(f"4.2 D{number}").rows
        if [cells(row) for row in newer] != [cells(row) for row in older]:
            differ.append(name)
    assert len(TWINS) == 36
    assert differ == list(CHANGED)


def test_quantities_add_up() -> None:
    """LeavesQty + CumQty is OrderQty in every report of a live order, but for three known misprints."""
    assert list(quantity_faults(COLLECTION)) == []
    assert len(COLLECTION.quantity_exceptions) == 3


def test_a_wrong_quantity_is_found() -> None:
    """A report whose LeavesQty is one too many is told, and so is an exception that is none any more."""
    matrix = COLLECTION.matrix("4.2 D1")
    place = next(place for place, row in enumerate(matrix.rows) if row.exec_type == "partial_fill")
    wrong = msgspec.structs.replace(matrix.rows[place], leaves=Decimal(8001))
    rows = (*matrix.rows[:place], wrong, *matrix.rows[place + 1 :])
    found = list(quantity_faults(with_matrix(msgspec.structs.replace(matrix, rows=rows))))
    assert [fault.split(":")[0] for fault in found] == ["4.2 D1 3"]
    mended = COLLECTION.matrix("4.2 D18")
    rows = tuple(msgspec.structs.replace(row, leaves=row.qty) if row.time == "2" else row for row in mended.rows)
    found = list(quantity_faults(with_matrix(msgspec.structs.replace(mended, rows=rows))))
    assert [fault.split(":")[0] for fault in found] == ["4.2 D18 2"]


def test_every_limit_has_its_reason() -> None:
    """Whatever is not run, differs, or is told to a person, says why, and names rows that there are."""
    for known in (COLLECTION.our_view, COLLECTION.exchange):
        for name, limits in known.items():
            times = {row.time for row in COLLECTION.matrix(name).rows}
            assert bool(limits.stops) == bool(limits.reason), name
            assert limits.stops == "" or limits.stops in times, name
            assert limits.none or limits.stops or limits.differs or limits.told or limits.set_up, name
            assert all(told.reason and told.time in times for told in limits.differs), name
    for pair in COLLECTION.order_matters:
        assert {pair.first, pair.second} <= {row.time for row in COLLECTION.matrix(pair.matrix).rows}
        assert pair.reason


def test_an_alternative_ends_its_way() -> None:
    """Each alternative is the last row of one way through, and no other way contains it."""
    for matrix in COLLECTION.matrices:
        main, *others = paths(matrix, msgspec.structs.replace(COLLECTION.ours(matrix), none="", stops=""))
        assert not any(row.alternative for row in main.rows)
        assert [path.rows[-1] for path in others] == [row for row in matrix.rows if row.alternative]
        assert all(row.alternative in COLLECTION.alternatives for row in matrix.rows if row.alternative)


def test_every_order_status_is_shown_somehow() -> None:
    """A status that is no state here is one of those that the table names as shown by quantity."""
    by_quantity = {"replaced", "stopped", "suspended", "calculated", "done_for_day"}
    statuses = {row.status for matrix in COLLECTION.matrices for row in matrix.rows if row.status}
    assert statuses <= {*SHOWN, *by_quantity}


def test_a_second_replace_waits_for_the_first() -> None:
    """Of two replaces at once the second goes out when the first is decided; what is said of it before is left out."""
    rows = COLLECTION.matrix("4.4 D.2.b").rows
    assert [row.time for row in script(rows)] == ["1", "2", "3", "4", "6", "8", "5", "9", "10"]
    rows = COLLECTION.matrix("4.4 D.2.d").rows
    assert [row.time for row in script(rows)] == ["1", "2", "3", "4", "6", "8", "9"]


def test_a_cancel_waits_for_the_order() -> None:
    """A cancel goes out when the venue is known to have the order."""
    rows = COLLECTION.matrix("4.4 B.1.e").rows
    assert [f"{row.time}{row.sender}" for row in script(rows)] == ["1in", "2out", "2in", "3out", "4out"]


def test_arrivals_are_what_they_say() -> None:
    """Permutations are all different and keep the requests' places; replays double what the sell side sends."""
    steps = script(tuple(row for row in COLLECTION.matrix("4.2 D4").rows if not row.alternative))
    made = list(permutations(steps, "seed"))
    assert len(made) == len({tuple(map(id, one)) for one in made}) == count(steps) == 48
    assert all([row.sender for row in one] == [row.sender for row in steps] for one in made)
    at_once, again = replays(steps)
    assert len(at_once) == len(again) == 2 * len(steps) - sum(row.sender == "in" for row in steps)
    assert again[: len(steps)] == steps


def test_only_a_pair_that_cannot_be_told_apart_is_left_out() -> None:
    """Of D20's arrivals exactly those are left out in which the second restatement comes before the first."""
    matrix = COLLECTION.matrix("4.2 D20")
    steps = script(tuple(row for row in matrix.rows if not row.alternative))
    for one in permutations(steps, "seed"):
        times = [row.time for row in one]
        assert tellable(COLLECTION, matrix, one) == (times.index("4") < times.index("7"))


def test_the_page_is_what_the_data_says() -> None:
    """docs/fix-order-states.md equals what is made from the data."""
    assert PAGE.read_text(encoding="utf-8") == page(COLLECTION)


@pytest.mark.parametrize("matrix", COLLECTION.matrices, ids=lambda matrix: matrix.id)
def test_a_matrix_says_where_it_is_from(matrix: Matrix) -> None:
    """Each matrix has a specification, a section of it and an address, and a title."""
    assert matrix.source.spec.startswith("FIX ")
    assert matrix.source.section
    assert matrix.source.address.startswith("https://")
    assert matrix.title
    assert matrix.rows
