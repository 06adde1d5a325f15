"""Positions are a fold over the execution log: exact, and the same in whatever order the executions come."""

import decimal
from decimal import Decimal
from fractions import Fraction

import msgspec
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
    """Any order of the same executions gives the same quantities, values and count, to the last digit.

    What is realised depends on which came first, as it must: selling before buying opens a short position.
    """
    other = list(reversed(executions))
    if shuffle is not None:
        shuffle.shuffle(other)  # type: ignore[attr-defined]
    one, another = (msgspec.structs.replace(folded(them), cost=Decimal(0)) for them in (executions, other))
    assert one == another


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


small = st.decimals(min_value="0.001", max_value="1000", places=3)
usual = st.lists(st.tuples(st.sampled_from(list(Side)), small, small), max_size=14)


@SEEDED
@given(usual)
def test_no_rounding_is_ever_lost(executions: list[Fill]) -> None:
    """Realised profit is what was received less what was paid plus the cost of what is open; flat, it is the exact result."""
    position = folded(executions)
    received, paid, cost = (Fraction(n) for n in (position.sold_value, position.bought_value, position.cost))
    assert Fraction(position.realised) == received - paid + cost
    if not position.quantity:
        assert position.cost == 0
    else:
        assert (position.cost > 0) is (position.quantity > 0)


@SEEDED
@given(usual)
def test_the_cost_follows_the_average_method(executions: list[Fill]) -> None:
    """Against rational arithmetic: opening adds the value, closing takes out its share; off by less than the last digit kept
    for each close.
    """
    quantity = cost = Fraction(0)
    for side, size, price in executions:
        signed = Fraction(size) if side is Side.BUY else -Fraction(size)
        if quantity == 0 or (quantity > 0) is (signed > 0):
            cost += signed * Fraction(price)
        elif abs(signed) <= abs(quantity):
            cost -= cost * abs(signed) / abs(quantity)
        else:
            cost = (quantity + signed) * Fraction(price)
        quantity += signed
    position = folded(executions)
    assert Fraction(position.quantity) == quantity
    assert abs(Fraction(position.cost) - cost) <= len(executions) * Fraction(1, 10**26)


def test_a_worked_example() -> None:
    """Bought 100 at 10 and 100 at 12, sold 50 at 15: 150 at 11, realised 200; sold 200 more at 9: short 50 at 9."""
    ten, twelve = (Side.BUY, Decimal(100), Decimal(10)), (Side.BUY, Decimal(100), Decimal(12))
    first = folded([ten, twelve, (Side.SELL, Decimal(50), Decimal(15))])
    assert (first.quantity, first.average_price, first.realised) == (150, 11, 200)
    then = fold(first, Side.SELL, Decimal(200), Decimal(9))
    assert (then.quantity, then.average_price, then.realised) == (-50, 9, 200 - 2 * 150)
    assert then.cost == -450


def test_an_average_that_does_not_come_out_even() -> None:
    """A third is shown to 28 places, and what is left at the end is exact all the same."""
    thirds = [(Side.BUY, Decimal(1), Decimal(1)), (Side.BUY, Decimal(2), Decimal("0.5"))]
    position = folded(thirds)
    assert position.average_price == Decimal("0." + "6" * 27 + "7")
    closed = fold(fold(position, Side.SELL, Decimal(1), Decimal(1)), Side.SELL, Decimal(2), Decimal(1))
    assert (closed.quantity, closed.cost, closed.realised) == (0, 0, 1)
    assert closed.average_price is None


def test_fees_are_summed_by_currency() -> None:
    """Each fee counts in its own currency, a rebate against it; an execution without one changes none."""
    position = fold(FLAT, Side.BUY, Decimal(1), Decimal(10), Decimal("0.01"), "USD")
    position = fold(position, Side.BUY, Decimal(1), Decimal(10), Decimal("0.002"), "BNB")
    position = fold(position, Side.SELL, Decimal(1), Decimal(10), Decimal("-0.03"), "USD")
    position = fold(position, Side.SELL, Decimal(1), Decimal(10))
    assert position.fees == (("BNB", Decimal("0.002")), ("USD", Decimal("-0.02")))
    assert position.realised == 0
