"""Positions are a fold over the execution log: exact, and the same in whatever order the executions come."""

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from core_kit import SEEDED, trade
from hypothesis import example, given
from hypothesis import strategies as st

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.position import Position, dedupe_scope, fold
from onefill.core.values import Side

Fill = tuple[Side, Decimal, Decimal]
numbers = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(1, 10**28 - 1), st.integers(-28, 0)
)
fills = st.lists(st.tuples(st.sampled_from(list(Side)), numbers, numbers | numbers.map(lambda n: -n)), max_size=12)
FLAT = Position(account="A", strategy="s", venue="sim", instrument="ACME")
LONG_TAIL: list[Fill] = [
    (Side.BUY, Decimal("1234.123456789012345678"), Decimal("61234.12345")),
    (Side.BUY, Decimal("1E+20"), Decimal("0.000000000001")),
    (Side.SELL, Decimal("1E-18"), Decimal("99999999.99")),
]


def folded(executions: list[Fill]) -> Position:
    """Return the position after these executions."""
    position = FLAT
    for side, quantity, price in executions:
        position = fold(position, side, quantity, price)
    return position


@SEEDED
@given(fills, st.randoms(use_true_random=False))
@example(LONG_TAIL, None)
def test_the_order_of_executions_does_not_matter(executions: list[Fill], shuffle: object) -> None:
    """Any order of the same executions gives the same position, to the last digit."""
    other = list(reversed(executions))
    if shuffle is not None:
        shuffle.shuffle(other)  # type: ignore[attr-defined]
    assert folded(executions) == folded(other)


@SEEDED
@given(fills)
@example(LONG_TAIL)
def test_the_sums_are_exact(executions: list[Fill]) -> None:
    """Quantities and values equal the sums in rational arithmetic: no digit is ever rounded away."""
    position = folded(executions)
    for side, quantity, value in (
        (Side.BUY, position.bought, position.bought_value),
        (Side.SELL, position.sold, position.sold_value),
    ):
        mine = [(Fraction(q), Fraction(p)) for s, q, p in executions if s is side]
        assert Fraction(quantity) == sum((q for q, _ in mine), Fraction(0))
        assert Fraction(value) == sum((q * p for q, p in mine), Fraction(0))
    assert Fraction(position.quantity) == Fraction(position.bought) - Fraction(position.sold)
    assert position.executions == len(executions)


def test_the_callers_decimal_context_does_not_round_a_position() -> None:
    """A program that set its own decimal precision to four digits has the same position."""
    expected = folded(LONG_TAIL)
    with decimal.localcontext(prec=4):
        position = folded(LONG_TAIL)
        assert position == expected
        assert position.quantity == expected.quantity


def test_buying_and_selling_the_same_is_flat() -> None:
    """A position that was closed is exactly zero, and its two sums tell the result."""
    tenth = Decimal("0.1")
    position = folded([(Side.BUY, tenth, Decimal(3))] * 3 + [(Side.SELL, Decimal("0.3"), Decimal(4))])
    assert position.quantity == 0
    assert position.sold_value - position.bought_value == Decimal("0.3")


@pytest.mark.parametrize(
    ("scope", "differs_by"),
    [
        (ExecutionIdScope.ACCOUNT, {"account"}),
        (ExecutionIdScope.INSTRUMENT, {"account", "instrument"}),
        (ExecutionIdScope.ORDER, {"account", "client_order_id", "venue_order_id"}),
    ],
)
def test_an_execution_id_is_compared_within_its_declared_scope(scope: ExecutionIdScope, differs_by: set[str]) -> None:
    """Two reports share a scope unless they differ in a field that the venue's scope names.

    An order is named by both of its ids: where a venue lets a client order id come again, two orders have one.
    """
    base = dedupe_scope(trade(1, 1), scope)
    for field in ("account", "instrument", "client_order_id", "venue_order_id", "execution_id"):
        changed = dedupe_scope(trade(1, 1, **{field: "OTHER"}), scope)
        assert (changed != base) == (field in differs_by)


def test_scopes_of_different_fields_do_not_run_together() -> None:
    """An account and instrument joined otherwise make another scope: names hold no separator."""
    one = dedupe_scope(trade(1, 1, account="A", instrument="BC"), ExecutionIdScope.INSTRUMENT)
    other = dedupe_scope(trade(1, 1, account="AB", instrument="C"), ExecutionIdScope.INSTRUMENT)
    assert one != other
