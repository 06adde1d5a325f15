"""What counts as a reduction."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.risk import reduces
from onefill.core.values import Side

QUANTITIES = st.integers(min_value=1, max_value=30).map(Decimal)
POSITIONS = st.integers(min_value=-40, max_value=40).map(Decimal)
OPEN = st.integers(min_value=0, max_value=30).map(Decimal)


@pytest.mark.parametrize(
    ("side", "quantity", "account", "strategy", "account_open", "strategy_open", "expected"),
    [
        (Side.SELL, "5", "5", "5", "0", "0", True),
        (Side.SELL, "5", "4.9", "5", "0", "0", False),
        (Side.SELL, "5", "5", "4.9", "0", "0", False),
        (Side.SELL, "3", "5", "5", "2", "2", True),
        (Side.SELL, "3", "5", "5", "2.1", "0", False),
        (Side.SELL, "3", "9", "5", "2.1", "2.1", False),
        (Side.BUY, "5", "-5", "-5", "0", "0", True),
        (Side.BUY, "5", "5", "5", "0", "0", False),
        (Side.BUY, "5", "-5", "5", "0", "0", False),
        (Side.BUY, "1", "0", "0", "0", "0", False),
        (Side.SELL, "1", "0", "0", "0", "0", False),
    ],
)
def test_a_reduction_stays_within_both_positions(
    side: Side, quantity: str, account: str, strategy: str, account_open: str, strategy_open: str, expected: bool
) -> None:
    """The account's and the strategy's position must hold it, with what is open on its side already."""
    assert (
        reduces(
            side, Decimal(quantity), Decimal(account), Decimal(strategy), Decimal(account_open), Decimal(strategy_open)
        )
        is expected
    )


@given(st.sampled_from(Side), st.lists(QUANTITIES, max_size=8), POSITIONS, POSITIONS, OPEN)
def test_reductions_together_never_open_a_position(
    side: Side, quantities: list[Decimal], account: Decimal, strategy: Decimal, already_open: Decimal
) -> None:
    """However many are let through one after the other, all of their fills leave each position on its side or flat."""
    opened = already_open
    let_through = Decimal(0)
    for quantity in quantities:
        if reduces(side, quantity, account, strategy, opened, opened):
            opened += quantity
            let_through += quantity
    if let_through:
        sign = 1 if side is Side.BUY else -1
        for position in (account, strategy):
            assert (position + sign * opened) * position >= 0


@given(st.sampled_from(Side), QUANTITIES, POSITIONS, POSITIONS, OPEN, OPEN)
def test_both_sides_are_judged_alike(
    side: Side, quantity: Decimal, account: Decimal, strategy: Decimal, opened: Decimal, mine: Decimal
) -> None:
    """Turning every sign and the side around changes nothing."""
    other = Side.SELL if side is Side.BUY else Side.BUY
    assert reduces(side, quantity, account, strategy, opened, mine) is reduces(
        other, quantity, -account, -strategy, opened, mine
    )
