"""FIX's order state change matrices through this project's own orders."""

import pytest

from onefill.core import executions
from onefill.core.apply import can
from onefill.core.lifecycle import Signal, Status
from onefill.testing.fix_order_states import Matrix, load, paths
from onefill.testing.fix_order_states_arrivals import faults
from onefill.testing.fix_order_states_play import CAPABILITIES, ROUTE, OurSide, script, set_up_ids

COLLECTION = load()
REFUSED_HERE = [name for name, limits in COLLECTION.our_view.items() if limits.stops]

EVERY = [pytest.param(matrix, id=matrix.id) for matrix in COLLECTION.matrices]


@pytest.mark.parametrize("matrix", EVERY)
def test_an_order_shows_what_each_row_says(matrix: Matrix) -> None:
    """State, quantity, executed and remaining quantity are those of the row, on every way through the matrix."""
    limits = COLLECTION.ours(matrix)
    ways = paths(matrix, limits)
    assert bool(ways) != bool(limits.none)
    found = []
    for path in ways:
        steps = script(path.rows, known=set_up_ids(COLLECTION, matrix))
        side = OurSide(COLLECTION, matrix, steps)
        for row in steps:
            side.play(row)
            found += side.faults(row)
        found += side.contradictions()
    assert found == []


@pytest.mark.parametrize("matrix", EVERY)
def test_the_order_of_arrival_decides_nothing(matrix: Matrix) -> None:
    """Replayed, permuted and shuffled, a matrix's messages end in the same state with the same executions applied."""
    assert faults(COLLECTION, matrix) == []


@pytest.mark.parametrize("name", ["4.2 D18", "4.4 E.1.a"])
def test_reports_without_an_id_touch_no_order(name: str) -> None:
    """Executions of an order that was given by telephone are kept apart: no order, no strategy's position."""
    matrix = COLLECTION.matrix(name)
    side = OurSide(COLLECTION, matrix, ())
    for row in matrix.rows:
        side.play(row)
    assert side.orders == {}
    trades = [report for report in side.strangers if executions.tells_execution(report, CAPABILITIES)]
    assert [report.last_quantity for report in trades] == [2000, 1000, 7000]
    for report in trades:
        named = executions.name(report, CAPABILITIES)
        taken = executions.quarantined(report, named, None, None, "executions", ROUTE)
        assert taken.execution is not None
        assert taken.execution.intent_id is None
        assert taken.events == ()


@pytest.mark.parametrize("name", REFUSED_HERE)
def test_a_filled_order_is_not_replaced(name: str) -> None:
    """Where the matrix replaces an order that has filled, this project's order is over and takes no replace."""
    matrix = COLLECTION.matrix(name)
    limits = COLLECTION.ours(matrix)
    steps = script(paths(matrix, limits)[0].rows)
    side = OurSide(COLLECTION, matrix, steps)
    for row in steps:
        side.play(row)
    assert next(row for row in matrix.rows if row.time == limits.stops).message == "replace_request"
    assert side.orders["X"].status is Status.FILLED
    assert not can(side.orders["X"], Signal.REPLACE_CLAIM)


def test_a_wrong_row_is_found() -> None:
    """An order that shows another state than the row is told: the runner compares."""
    matrix = COLLECTION.matrix("4.2 D1")
    steps = script(paths(matrix, COLLECTION.ours(matrix))[0].rows)
    side = OurSide(COLLECTION, matrix, steps)
    for row in steps[:2]:
        side.play(row)
    told = side.faults(steps[-1])
    assert [fault.split(" is ")[0] for fault in told] == [
        f"4.2 D1 at 5: {field}" for field in ("status", "cum_quantity", "leaves_quantity")
    ]
