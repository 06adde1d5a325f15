"""The risk gates one by one: at the limit, just above it, market orders, and the order in which they judge."""

from decimal import Decimal
from typing import Any

import pytest
from core_kit import intent

from onefill.core.errors import InvalidField
from onefill.core.risk import FINAL, Exposure, Gate, OwnOrder, Twin, judge
from onefill.core.risk_limits import InForce, Limits, Risk, SelfCrossing, WithoutReference
from onefill.core.values import OrderType, Side


def limits(**given: Any) -> InForce:
    """Return the limits in force where these are set for all."""
    return Risk(limits=Limits(**given)).in_force("A", "s", "ACME")


def exposure(**given: Any) -> Exposure:
    """Return an exposure, numbers given as text."""
    numbers = {name: Decimal(value) if isinstance(value, str) else value for name, value in given.items()}
    return Exposure(**numbers)


def gate(order: dict[str, Any], limit: dict[str, Any], stands: dict[str, Any], *, allow_similar: bool = False) -> str:
    """Return which gate refuses a buy of 10 at 25.50 with these changes, or nothing."""
    refusal = judge(intent(**order), limits(**limit), exposure(**stands), allow_similar=allow_similar)
    return "" if refusal is None else str(refusal.gate)


MARKET: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None}
SELL: dict[str, Any] = {"side": Side.SELL}
MARKET_SELL: dict[str, Any] = MARKET | SELL


@pytest.mark.parametrize(
    ("order", "limit", "stands", "expected"),
    [
        # size
        ({}, {"max_quantity": 10}, {}, ""),
        ({}, {"max_quantity": "9.999"}, {}, "size"),
        (MARKET, {"max_quantity": 9}, {}, "size"),
        # notional
        ({}, {"max_notional": 255}, {}, ""),
        ({}, {"max_notional": "254.99"}, {}, "notional"),
        ({}, {"max_notional": 255}, {"reference": "30"}, ""),  # a buy trades at its price or below
        (SELL, {"max_notional": 255}, {"reference": "25.51"}, "notional"),  # a sell at its price or above
        (SELL, {"max_notional": 255}, {}, ""),
        (MARKET, {"max_notional": 255}, {"reference": "25.5"}, ""),
        (MARKET, {"max_notional": 255}, {"reference": "25.51"}, "notional"),
        (MARKET_SELL, {"max_notional": 255}, {"reference": "25.51"}, "notional"),
        (MARKET, {"max_notional": 255}, {}, "notional"),
        (MARKET, {"max_notional": 255, "without_reference": "pass"}, {}, ""),
        # collar
        ({"price": 105}, {"collar": "0.05"}, {"reference": "100"}, ""),
        ({"price": "105.01"}, {"collar": "0.05"}, {"reference": "100"}, "collar"),
        ({"price": 1}, {"collar": "0.05"}, {"reference": "100"}, ""),  # far from trading does no harm
        (SELL | {"price": 95}, {"collar": "0.05"}, {"reference": "100"}, ""),
        (SELL | {"price": "94.99"}, {"collar": "0.05"}, {"reference": "100"}, "collar"),
        (SELL | {"price": 1000}, {"collar": "0.05"}, {"reference": "100"}, ""),
        ({"price": 101}, {"collar": 0}, {"reference": "100"}, "collar"),
        (MARKET, {"collar": "0.05"}, {}, ""),  # it names no price
        ({}, {"collar": "0.05"}, {}, "collar"),
        ({}, {"collar": "0.05", "without_reference": "pass"}, {}, ""),
        # position
        ({}, {"max_position": 10}, {}, ""),
        ({}, {"max_position": 9}, {}, "position"),
        (MARKET, {"max_position": 9}, {}, "position"),
        (MARKET_SELL, {"max_position": 9}, {}, "position"),
        ({}, {"max_position": 20}, {"account_position": "6", "account_open": "4"}, ""),
        ({}, {"max_position": 20}, {"account_position": "6", "account_open": "4.1"}, "position"),
        (SELL, {"max_position": 20}, {"account_position": "-6", "account_open": "4"}, ""),
        (SELL, {"max_position": 20}, {"account_position": "-6", "account_open": "4.1"}, "position"),
        (SELL, {"max_position": 5}, {"account_position": "100"}, ""),  # what takes risk away
        (SELL, {"max_position": 5}, {"account_position": "4"}, "position"),  # but not past zero and out again
        ({}, {"max_position": 0}, {"account_position": "-10"}, ""),
        ({}, {"max_position": 0}, {}, "position"),
        ({}, {"max_strategy_position": 10}, {"account_position": "50"}, ""),
        ({}, {"max_strategy_position": 10}, {"strategy_open": "1"}, "position"),
        # open orders
        ({}, {"max_open_orders": 3}, {"open_orders": 2}, ""),
        ({}, {"max_open_orders": 3}, {"open_orders": 3}, "open_orders"),
        ({}, {"max_open_orders": 0}, {}, "open_orders"),
        # rate
        ({}, {"max_orders_per_s": 3}, {"orders_last_s": 2}, ""),
        ({}, {"max_orders_per_s": 3}, {"orders_last_s": 3}, "rate"),
        # self-crossing
        ({"price": 99}, {}, {"facing": OwnOrder("o", Decimal(100))}, ""),
        ({"price": 100}, {}, {"facing": OwnOrder("o", Decimal(100))}, "self_crossing"),
        (SELL | {"price": 101}, {}, {"facing": OwnOrder("o", Decimal(100))}, ""),
        (SELL | {"price": 100}, {}, {"facing": OwnOrder("o", Decimal(100))}, "self_crossing"),
        (MARKET, {}, {"facing": OwnOrder("o", Decimal(100))}, "self_crossing"),
        ({"price": 1}, {}, {"facing": OwnOrder("o", None)}, "self_crossing"),
        (MARKET, {"self_crossing": "allow"}, {"facing": OwnOrder("o", None)}, ""),
        # suspected duplicate
        ({}, {"similar_window_s": 2}, {"twin": Twin("o", 2_000_000)}, ""),
        ({}, {"similar_window_s": 2}, {"twin": Twin("o", 1_999_999)}, "similar"),
        ({}, {}, {"twin": Twin("o", 1_999_999)}, "similar"),
        ({}, {"similar_window_s": 0}, {"twin": Twin("o", 0)}, ""),
    ],
)
def test_each_gate_at_its_limit_and_above(
    order: dict[str, Any], limit: dict[str, Any], stands: dict[str, Any], expected: str
) -> None:
    """What is exactly at a limit passes, what is above it is refused by that gate."""
    assert gate(order, limit, stands) == expected


def test_a_similar_order_passes_where_it_is_said_to_be_wanted() -> None:
    """``allow_similar`` opens that one gate and no other."""
    stands = {"twin": Twin("o", 0)}
    assert not gate({}, {}, stands, allow_similar=True)
    assert gate({}, {"max_quantity": 1}, stands, allow_similar=True) == "size"


def test_without_limits_no_gate_but_the_two_that_are_always_on_refuses() -> None:
    """An empty [risk] means: no self-crossing, and no suspected duplicate within two seconds."""
    assert Risk().in_force("A", "s", "ACME") == InForce()
    assert (InForce().self_crossing, InForce().similar_window_s) == (SelfCrossing.REFUSE, 2.0)
    assert InForce().without_reference is WithoutReference.REFUSE
    assert not gate(
        {"quantity": 10**20}, {}, {"account_position": "1000000", "open_orders": 9999, "orders_last_s": 999}
    )


EVERYTHING: dict[Gate, tuple[dict[str, Any], dict[str, Any]]] = {
    Gate.SIZE: ({"max_quantity": 1}, {}),
    Gate.NOTIONAL: ({"max_notional": 1}, {}),
    Gate.COLLAR: ({"collar": 0}, {"reference": "1"}),
    Gate.POSITION: ({"max_position": 1}, {}),
    Gate.OPEN_ORDERS: ({"max_open_orders": 1}, {"open_orders": 1}),
    Gate.RATE: ({"max_orders_per_s": 1}, {"orders_last_s": 1}),
    Gate.SELF_CROSSING: ({}, {"facing": OwnOrder("o", None)}),
    Gate.SIMILAR: ({}, {"twin": Twin("o", 0)}),
}


def test_the_gates_judge_in_their_order() -> None:
    """With everything wrong, each gate is named once those before it are content."""
    wrong = list(Gate)
    while wrong:
        limit: dict[str, Any] = {}
        stands: dict[str, Any] = {}
        for one in wrong:
            limit |= EVERYTHING[one][0]
            stands |= EVERYTHING[one][1]
        assert gate({}, limit, stands) == wrong.pop(0)


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (Gate.SIZE, "quantity 10 is above max_quantity 1. "),
        (Gate.NOTIONAL, "10 at 25.5 is 255, above max_notional 1. "),
        (Gate.COLLAR, "a buy at 25.5 is above 1, the reference price 1 + collar 0 of it. "),
        (
            Gate.POSITION,
            "the account could come to be 10 long of ACME (position 0, open to buy 0, and 10 more); max_position is 1, "
            "which leaves 1. ",
        ),
        (Gate.OPEN_ORDERS, "1 orders of the strategy are open; max_open_orders is 1. "),
        (Gate.RATE, "1 orders of the strategy were taken within the last second; max_orders_per_s is 1. "),
        (
            Gate.SELF_CROSSING,
            "a buy at 25.5 could trade with this account's own open order 'o' at the market; cancel that one first. ",
        ),
        (
            Gate.SIMILAR,
            "order 'o' with the same account, instrument, side, quantity and price was taken 0.000 s ago "
            "(similar_window_s is 2). If both are wanted, say allow_similar. ",
        ),
    ],
)
def test_a_refusal_says_what_is_allowed_and_what_to_do(one: Gate, told: str) -> None:
    """The text has the numbers, and says that the key is used up."""
    limit, stands = EVERYTHING[one]
    refusal = judge(intent(), limits(**limit), exposure(**stands))
    assert refusal is not None
    assert str(refusal) == f"{one}: {told}{FINAL}"


# ----------------------------------------------------------------------- scopes


def test_the_most_specific_scope_that_sets_a_limit_wins() -> None:
    """Instrument before strategy before account before all; each limit by itself."""
    risk = Risk(
        limits=Limits(max_quantity=1, max_notional=1, max_position=1, max_open_orders=1),
        accounts={"A": Limits(max_notional=2, max_position=2, max_open_orders=2)},
        strategies={"s": Limits(max_position=3, max_open_orders=3)},
        instruments={"ACME": Limits(max_open_orders=4)},
    )
    found = risk.in_force("A", "s", "ACME")
    assert (found.max_quantity, found.max_notional, found.max_position, found.max_open_orders) == (1, 2, 3, 4)
    assert risk.in_force("B", "t", "OTHER").max_open_orders == 1


def test_none_lifts_a_limit_and_what_is_left_out_stays() -> None:
    """A narrower scope can take a limit away."""
    risk = Risk(limits=Limits(max_quantity=1, collar="0.1"), strategies={"s": Limits(max_quantity=None)})
    assert risk.in_force("A", "s", "ACME").max_quantity is None
    assert risk.in_force("A", "s", "ACME").collar == Decimal("0.1")


def test_the_longest_window_of_any_scope_is_known() -> None:
    """Contents are remembered for that long."""
    assert Risk().longest_window_us == 2_000_000
    assert Risk(limits=Limits(similar_window_s=0)).longest_window_us == 0
    assert Risk(accounts={"A": Limits(similar_window_s=5)}).longest_window_us == 5_000_000
    assert Risk(accounts={"A": Limits(similar_window_s=1)}).longest_window_us == 2_000_000


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_quantity": 0.5}, "max_quantity: 0.5 is a float"),
        ({"max_notional": "-1"}, "max_notional: -1 is below zero"),
        ({"max_position": "many"}, "max_position: 'many' is not a plain decimal number"),
        ({"max_strategy_position": Decimal("NaN")}, "max_strategy_position: NaN is not a finite number"),
        ({"collar": 5}, "collar: 5 is not below 1; it is a fraction: 0.05 is 5 %"),
        ({"max_open_orders": -1}, "max_open_orders: -1 is not a whole number from zero on"),
        ({"max_open_orders": True}, "max_open_orders: True is not a whole number"),
        ({"max_orders_per_s": 1.5}, "max_orders_per_s: 1.5 is not a whole number"),
        ({"self_crossing": "maybe"}, "self_crossing: 'maybe' is none of: refuse, allow"),
        ({"without_reference": "x"}, "without_reference: 'x' is none of: refuse, pass"),
        ({"similar_window_s": float("nan")}, "similar_window_s: nan is not a number of seconds from 0 to 3600"),
        ({"similar_window_s": 3601}, "similar_window_s: 3601 is not a number of seconds"),
        ({"similar_window_s": "2"}, "similar_window_s: '2' is not a number of seconds"),
        ({"similar_window_s": None}, "similar_window_s: None is not a number of seconds"),
    ],
)
def test_a_limit_that_is_none_is_refused(given: dict[str, Any], told: str) -> None:
    """Each wrong limit is named with what it should be."""
    with pytest.raises(InvalidField) as caught:
        Limits(**given)
    assert str(caught.value).startswith(told)


def test_a_scope_of_an_impossible_name_is_refused() -> None:
    """It could never match an order."""
    with pytest.raises(InvalidField, match=r"strategies\.a b: 'a b' is not a name"):
        Risk(strategies={"a b": Limits()})
