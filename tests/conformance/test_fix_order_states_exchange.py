"""FIX's order state change matrices with the simulated exchange as the sell side."""

import msgspec
import pytest

from onefill.core.capabilities import DuplicateReply, ReplaceStyle
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.testing.fix_order_states import Matrix, load, paths
from onefill.testing.fix_order_states_exchange import (
    ACKNOWLEDGE_US,
    CANCEL_REFUSED,
    INSTRUMENT,
    REJECTED_LATE,
    Drive,
    Habits,
    exchange_faults,
    produced,
    why_not,
)

COLLECTION = load()


def exchange(habits: Habits) -> Exchange:
    """Return an exchange of these habits."""
    repeats = DuplicateReply.ORIGINAL if habits.answers_repeats else DuplicateReply.ERROR
    dialect = Dialect(
        replace=ReplaceStyle.NEW_ID,
        duplicate_reply=repeats,
        acknowledges_asynchronously=habits.acknowledges_asynchronously,
        acknowledge_delay_us=ACKNOWLEDGE_US,
    )
    return Exchange(dialect, [INSTRUMENT])


@pytest.mark.parametrize("matrix", COLLECTION.matrices, ids=lambda matrix: matrix.id)
def test_an_exchange_says_what_a_matrix_says(matrix: Matrix) -> None:
    """Kinds, ids, states and quantities of its reports, and its answers, are the matrix's, on every way it can take."""
    limits = COLLECTION.exchanged(matrix)
    assert bool(produced(COLLECTION, matrix)) != bool(limits.none)
    assert exchange_faults(COLLECTION, matrix, exchange) == []


def test_the_ways_it_does_not_take_are_of_two_kinds() -> None:
    """Of 163 ways through, 147 are taken; the others reject what was accepted, or refuse to cancel what is live."""
    ways = [path for matrix in COLLECTION.matrices for path in paths(matrix, COLLECTION.exchanged(matrix))]
    reasons = [why_not(path) for path in ways]
    assert {*reasons} == {"", REJECTED_LATE, CANCEL_REFUSED}
    assert (len(ways), reasons.count("")) == (163, 147)


def test_another_report_is_found() -> None:
    """A matrix that says something else than the exchange reports does not hold: the drive compares."""
    matrix = COLLECTION.matrix("4.2 D32")
    path = produced(COLLECTION, matrix)[0]
    rows = tuple(row for row in path.rows if row.exec_type != "canceled")
    changed = msgspec.structs.replace(path, rows=rows)
    told = Drive(COLLECTION, matrix, changed, exchange).run()
    assert len(told) == 1
    assert "reported" in told[0]
