"""The judge of the drills must be able to condemn."""

from decimal import Decimal

import msgspec

from onefill.core.messages import VenueStatus
from onefill.core.values import Side
from onefill.gameday.judge import OrderFacts, compare, count_orders

ONE = OrderFacts("a", Side.BUY, Decimal("236.47"), Decimal("2"), VenueStatus.NEW)
TWO = OrderFacts("b", Side.SELL, Decimal("237"), Decimal("1"), VenueStatus.CANCELED)


def test_equal_sets_are_equal_in_any_order() -> None:
    """The order of arrival does not count."""
    assert compare([ONE, TWO], [TWO, ONE]).equal


def test_a_second_order_under_an_id_is_a_duplicate() -> None:
    """Two orders with the same client order id are never equal to one, even if alike."""
    found = compare([ONE, TWO], [ONE, TWO, TWO])
    assert found.duplicates == ["b"]
    assert not found.equal


def test_a_missing_and_an_unexpected_order_are_named() -> None:
    """An order that is not there, and one that nobody wanted, are named by their ids."""
    found = compare([ONE], [TWO])
    assert (found.missing, found.unexpected) == (["a"], ["b"])
    assert not found.equal


def test_any_other_side_price_quantity_or_state_is_a_difference() -> None:
    """Each fact of an order counts by itself."""
    changes = [
        {"side": Side.SELL},
        {"price": Decimal("236.48")},
        {"price": None},
        {"quantity": Decimal("2.00000001")},
        {"status": VenueStatus.CANCELED},
    ]
    for change in changes:
        found = compare([ONE], [msgspec.structs.replace(ONE, **change)])
        assert found.differing == ["a"], change
        assert not found.equal


def test_orders_are_counted_by_the_intents_behind_them() -> None:
    """A second order of an intent, and an order that no intent explains, are duplicates; an intent without one is missing."""
    counted = count_orders(["k1", "k2"], {"a": "k1", "b": "k1"}, ["a", "b", "c"])
    assert (counted.orders, counted.duplicates, counted.missing) == (3, 2, 1)
