"""The risk desk alone: what it keeps of each order, and that it keeps no more than that."""

import itertools
import random
from decimal import Decimal
from typing import Any

import pytest
from gateway_world import intent
from msgspec.structs import replace

from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.core.risk import OwnOrder
from onefill.core.risk_limits import Limits, Risk
from onefill.core.values import OrderType, Side
from onefill.engine.risk_desk import RiskDesk

MARKET: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None, "time_in_force": "ioc"}


class Desk(RiskDesk):
    """A desk with a clock that is set by hand, and orders by number."""

    def __init__(self, **limits: Any) -> None:
        self.now_s = 100.0
        self.orders: dict[int, Order] = {}
        self._numbers = itertools.count(1)
        super().__init__(Risk(limits=Limits(**limits)), lambda: self.now_s)

    def take(self, **changes: Any) -> int:
        """Record an order and return its number."""
        number = next(self._numbers)
        before = Order(
            intent_id=number,
            key=f"k{number}",
            client_order_id=f"c{number}",
            intent=intent(**changes),
            recorded_at_us=0,
            valid_until_us=1,
        )
        self.orders[number] = before
        self.become(number, status=Status.SENDING)
        return number

    def become(self, number: int, **changes: Any) -> None:
        """Move an order on."""
        before = self.orders[number]
        self.orders[number] = replace(before, version=before.version + 1, **changes)
        self.changed(before, self.orders[number])

    def end(self, number: int) -> None:
        """Cancel an order at the venue."""
        self.become(number, status=Status.CANCELED)

    def gate(self, key: str = "new", **changes: Any) -> str:
        """Return which gate refuses an order."""
        refusal = self.judge(intent(**changes), key)
        return "" if refusal is None else str(refusal.gate)


@pytest.mark.parametrize("side", list(Side))
def test_the_best_of_many_own_orders_is_found_and_nothing_else_is_kept(side: Side) -> None:
    """Against a plain list, through orders that come, move and go in any order; memory follows the open orders."""
    desk = Desk(similar_window_s=0)
    rng = random.Random(7)
    live: dict[int, int] = {}
    best = max if side is Side.BUY else min
    for turn in range(6000):
        if len(live) < 20 and (not live or rng.random() < 0.5):
            price = rng.randint(90, 110)
            live[desk.take(side=side, price=price)] = price
        else:
            number = rng.choice(list(live))
            del live[number]
            desk.end(number)
        if turn < 3000 and turn % 3:
            continue  # also while nobody asks
        ladder = desk._ladders["A", "ACME", side]
        found = ladder.best()
        assert (None if found is None else found[1].price) == (best(live.values()) if live else None)
        assert len(ladder.heap) <= 3 * 21 + 16
    for number in live:
        desk.end(number)
    ladder = desk._ladders["A", "ACME", side]
    assert ladder.best() is None
    assert not (ladder.orders)
    assert not (ladder.heap)
    assert not (ladder.at_market)
    assert not (desk._held)
    assert not any(desk._open_orders.values())


def test_prices_that_nobody_asks_about_do_not_pile_up() -> None:
    """A strategy that only ever quotes one side makes the other side's heap no longer than its open orders ask for."""
    desk = Desk(similar_window_s=0)
    for price in range(1, 5000):
        desk.end(desk.take(price=price))
    assert len(desk._ladders["A", "ACME", Side.BUY].heap) <= 16
    assert not desk._held


def test_an_open_market_order_is_crossed_by_anything() -> None:
    """It comes before every price, until it ends."""
    desk = Desk(similar_window_s=0)
    desk.take(side="sell", price=200)
    market = desk.take(side="sell", **MARKET)
    assert desk._ladders["A", "ACME", Side.SELL].best() == (market, OwnOrder(f"k{market}", None))
    assert desk.gate(price=1) == "self_crossing"
    desk.end(market)
    assert desk.gate(price=199) == ""
    assert desk.gate(price=200) == "self_crossing"


def test_other_accounts_and_instruments_are_not_crossed() -> None:
    """What an order can trade with is of the same account and instrument."""
    desk = Desk(similar_window_s=0)
    desk.take(side="sell", price=100, account="B")
    desk.take(side="sell", price=100, instrument="OTHER")
    assert desk.gate(price=100) == ""


def test_an_order_that_was_never_recorded_is_taken_back_whole() -> None:
    """Leaves, executions that came for it, its place in the rate and among the contents."""
    desk = Desk(max_position=10, max_orders_per_s=1)
    number = desk.take()
    desk.become(number, cum_quantity=Decimal(4), venue_cum_quantity=Decimal(4), status=Status.PARTIALLY_FILLED)
    assert desk._accounts["A", "ACME"].position == 4
    assert desk.gate() == "position"
    desk.forgotten(desk.orders[number])
    assert (desk._accounts["A", "ACME"].position, desk._strategies["A", "s", "ACME"].position) == (0, 0)
    assert not (desk._held)
    assert not (desk._recent)
    assert not (desk._contents)
    assert desk.gate() == ""


def test_the_same_key_is_not_its_own_twin() -> None:
    """A retry of a key that is not in memory any more is judged like the first one; another strategy's key is another."""
    desk = Desk(similar_window_s=5)
    desk.take()
    assert desk.gate("k1") == ""
    assert desk.gate("k1", strategy="t") == "similar"
    assert desk.gate("k2") == "similar"
    desk.now_s += 5
    assert desk.gate("k2") == ""


def test_contents_are_forgotten_after_the_window() -> None:
    """Memory is bounded by what was taken within it."""
    desk = Desk(similar_window_s=1)
    for price in range(1, 500):
        desk.now_s += 0.1
        desk.end(desk.take(price=price, quantity=price))
        desk.become(desk.take(price=price), cum_quantity=Decimal(10), status=Status.FILLED)
        assert desk.gate(price=10**6) == ""
    assert len(desk._recent) <= 11
    assert len(desk._contents) <= 11
    assert len(desk._taken["A", "s"]) <= 22


def test_limits_are_those_of_the_scope() -> None:
    """The desk asks for what holds for the order's account, strategy and instrument."""
    desk = RiskDesk(
        Risk(
            limits=Limits(max_quantity=1),
            strategies={"t": Limits(max_quantity=20)},
            accounts={"B": Limits(max_quantity=5)},
        ),
        lambda: 0.0,
    )
    for changes, expected in (
        ({}, True),
        ({"strategy": "t"}, False),
        ({"account": "B"}, True),
        ({"account": "B", "strategy": "t"}, False),
    ):
        assert (desk.judge(intent(**changes), "k") is not None) is expected


def test_a_bust_takes_the_position_back() -> None:
    """What an execution is corrected to is what counts; an order that trades on by it is open again."""
    desk = Desk()
    number = desk.take()
    desk.become(number, cum_quantity=Decimal(10), venue_cum_quantity=Decimal(10), status=Status.FILLED)
    totals = desk._accounts["A", "ACME"]
    assert (totals.position, totals.open[Side.BUY], desk._open_orders["A", "s"]) == (10, 0, 0)
    desk.become(number, cum_quantity=Decimal(7), reversed_quantity=Decimal(3), status=Status.PARTIALLY_FILLED)
    assert (totals.position, totals.open[Side.BUY], desk._open_orders["A", "s"]) == (7, 3, 1)


def test_what_the_venue_counted_beyond_the_quantity_counts_too() -> None:
    """An overfill that is known by its total only is on its way into the position."""
    desk = Desk()
    number = desk.take()
    desk.become(number, venue_cum_quantity=Decimal(12), status=Status.NEW)
    assert desk._accounts["A", "ACME"].open[Side.BUY] == 12
    desk.become(number, cum_quantity=Decimal(12), status=Status.FILLED)
    assert (desk._accounts["A", "ACME"].position, desk._accounts["A", "ACME"].open[Side.BUY]) == (12, 0)
