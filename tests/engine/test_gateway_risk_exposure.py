"""Exposure as the risk desk keeps it: exact through faults, refused commits, replaces and restarts, and never above a limit."""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from gateway_world import WHO, World, intent, turns, until
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_venue import (
    lose_cancel_reply,
    lose_replace_reply,
    lose_reply,
    lose_request,
)
from virtual_loop import run

from onefill.core import events as ev
from onefill.core.capabilities import ReplaceStyle
from onefill.core.lifecycle import ENDED, Status
from onefill.core.risk import can_trade
from onefill.core.risk_limits import Limits, Risk
from onefill.core.values import OrderType, Side
from onefill.engine.gateway import Gateway
from onefill.ports.ledger import OpeningPosition, Stale

ZERO = Decimal(0)
MOST = Decimal(25)


def limits(**changes: Any) -> Risk:
    """Return these limits for all. Orders just alike are allowed unless the window is given."""
    return Risk(limits=Limits(**({"similar_window_s": 0} | changes)))


def sums(gateway: Gateway) -> dict[Any, Any]:
    """Return what the desk of the only route holds, without what is zero."""
    desk = gateway._routes["X"].risk
    found: dict[Any, Any] = {}
    for key, totals in (*desk._accounts.items(), *desk._strategies.items()):
        found[key] = (totals.position, totals.open[Side.BUY], totals.open[Side.SELL])
    found["open"] = {pair: count for pair, count in desk._open_orders.items() if count}
    return {key: value for key, value in found.items() if value not in ((ZERO, ZERO, ZERO), {})}


def computed(gateway: Gateway) -> dict[Any, Any]:
    """Return the same, computed from the folded positions and every order in memory."""
    totals: dict[Any, list[Decimal]] = {}
    count: Counter[tuple[str, str]] = Counter()
    for held in gateway.positions():
        for key in ((held.account, held.instrument), (held.account, held.strategy, held.instrument)):
            totals.setdefault(key, [ZERO] * 3)[0] += held.quantity
    for entry in gateway._routes["X"].entries.values():
        of, side = entry.order.intent, 1 if entry.order.intent.side is Side.BUY else 2
        for key in ((of.account, of.instrument), (of.account, of.strategy, of.instrument)):
            totals.setdefault(key, [ZERO] * 3)[side] += can_trade(entry.order)
        if entry.order.status not in ENDED:
            count[of.account, of.strategy] += 1
    found: dict[Any, Any] = {key: tuple(three) for key, three in totals.items() if any(three)}
    return found | ({"open": dict(count)} if count else {})


def worst(gateway: Gateway) -> Decimal:
    """Return how far from zero the account could come, by the ledger's own figures."""
    position, buys, sells = computed(gateway).get(("A", "ACME"), (ZERO, ZERO, ZERO))
    return max(position + buys, sells - position)


# ---------------------------------------------------------------- any sequence

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.sampled_from(["buy", "sell"]),
            st.integers(1, 12),
            st.sampled_from([95, 100, 105]),
            st.sampled_from(["", "lost", "no reply"]),
            st.sampled_from(["s", "t"]),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("replace"), st.integers(0, 9), st.integers(1, 30), st.sampled_from([95, 100]), st.booleans()),
        st.tuples(st.just("offer"), st.sampled_from(["buy", "sell"]), st.integers(1, 12)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.5, 6.0])),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    max_size=14,
)


class Play:
    """One sequence of steps over one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gateway: Gateway
        self.orders: list[tuple[str, str]] = []
        self.calls: list[asyncio.Future[Any]] = []

    async def step(self, step: tuple[Any, ...]) -> None:
        kind, *rest = step
        await getattr(self, kind)(*rest)
        await turns(30)
        assert worst(self.gateway) <= MOST
        held = sum((order.cum_quantity for order in self.world.venue.orders() if order.side is Side.BUY), ZERO)
        held -= sum((order.cum_quantity for order in self.world.venue.orders() if order.side is Side.SELL), ZERO)
        assert abs(held) <= MOST

    async def submit(self, side: str, quantity: int, price: int, fault: str, strategy: str) -> None:
        self.world.venue.submits = {"": [], "lost": [lose_request], "no reply": [lose_reply]}[fault]
        key = f"k{len(self.orders)}"
        self.orders.append((strategy, key))
        wanted = intent(side=side, quantity=quantity, price=price, strategy=strategy)
        self.call(self.gateway.submit(wanted, key=key, time_to_live_s=4, wait_s=0.1))

    async def cancel(self, number: int, lost: bool) -> None:
        self.world.venue.cancels = [lose_cancel_reply] if lost else []
        if self.orders:
            strategy, key = self.orders[number % len(self.orders)]
            self.call(self.gateway.cancel(key, account="A", strategy=strategy, wait_s=0.1))

    async def replace(self, number: int, quantity: int, price: int, lost: bool) -> None:
        self.world.venue.replaces = [lose_replace_reply] if lost else []
        if self.orders:
            strategy, key = self.orders[number % len(self.orders)]
            call = self.gateway.replace(
                key, account="A", strategy=strategy, quantity=quantity, price=price, wait_s=0.1, time_to_live_s=4
            )
            self.call(call)

    async def offer(self, side: str, quantity: int) -> None:
        self.world.offer(quantity, 100, side)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def restart(self, killed: bool) -> None:
        if killed:
            await self.world.kill(self.gateway)
        else:
            await self.gateway.close()
        await self.end_calls()
        self.gateway = await self.world.start()

    def call(self, work: Any) -> None:
        self.calls.append(asyncio.ensure_future(work))

    async def end_calls(self) -> None:
        for call in self.calls:
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)
        self.calls.clear()

    async def through(self, steps: list[tuple[Any, ...]]) -> None:
        self.gateway = await self.world.start()
        for step in steps:
            await self.step(step)
        await asyncio.sleep(20)
        await self.end_calls()
        await self.gateway.catch_up()
        assert sums(self.gateway) == computed(self.gateway)
        await self.gateway.close()
        self.gateway = await self.world.start()
        assert sums(self.gateway) == computed(self.gateway)
        await self.gateway.close()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(STEPS, st.sampled_from([ReplaceStyle.KEEP, ReplaceStyle.NEW_ID]))
def test_no_sequence_takes_the_worst_case_above_the_limit(steps: list[tuple[Any, ...]], style: ReplaceStyle) -> None:
    """Whatever is submitted, filled, cancelled, replaced, lost and restarted: neither the worst case nor the venue's truth
    passes max_position, and in the end the sums are those of the ledger.
    """
    with TemporaryDirectory() as folder:
        world = World(Path(folder), replace=style)
        world.risk = limits(max_position=MOST, self_crossing="allow")
        try:
            run(lambda: Play(world).through(steps))
        finally:
            world.close_eyes()


# ------------------------------------------------------------ taken back exactly


def test_what_the_ledger_refuses_is_taken_back(world: World) -> None:
    """A change that was refused after memory ran ahead is read again, and the sums with it."""
    world.risk = limits(max_position=10)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="a")
            spoilt = []

            def spoil(change: Any) -> Any:
                if change.kind == "traded" and not spoilt:
                    spoilt.append(change)
                    return Stale("made up")
                return None

            world.ledger.spoil = spoil
            world.offer(4, 100)
            await until(lambda: spoilt)
            assert (await gateway.submit(intent(quantity=1), key="b")).status is Status.REFUSED
            await gateway.catch_up()
            assert sums(gateway) == computed(gateway)
            assert sums(gateway)["A", "ACME"] == (4, 6, 0)

    run(main)


@pytest.mark.parametrize("recent_orders", [0, 1000])
def test_a_repeat_of_a_closed_order_leaves_nothing_behind(world: World, recent_orders: int) -> None:
    """A key that is only in the ledger any more is counted as new until the ledger says so, and then not."""
    world.risk = limits(max_orders_per_s=3, similar_window_s=1)

    async def main() -> None:
        async with world.gateway(recent_orders=recent_orders) as gateway:
            first = await gateway.submit_raw(intent(), key="a")
            world.offer(10, 100)
            await gateway.catch_up()
            await asyncio.sleep(2)
            for _ in range(9):
                assert await gateway.submit_raw(intent(), key="a") == first
            assert sums(gateway) == computed(gateway)
            desk = gateway._routes["X"].risk
            assert not desk._undecided
            assert {order.key for order in gateway.open_orders()} == set()
            assert len(desk._recent) <= 1
            for n in range(3):
                assert (await gateway.submit(intent(quantity=n + 1), key=f"n{n}")).status is Status.NEW

    run(main)


@pytest.mark.parametrize(
    ("only", "new"),
    [
        ({"max_position": 60}, {}),
        ({"max_strategy_position": 60}, {}),
        ({"max_open_orders": 1}, {}),
        ({"max_orders_per_s": 1}, {}),
        ({"self_crossing": "refuse"}, {"side": "sell"}),
        ({"similar_window_s": 0.5}, {}),
    ],
)
def test_repeats_do_not_get_a_new_order_refused(world: World, only: dict[str, Any], new: dict[str, Any]) -> None:
    """A file that is run again: many keys of closed orders at once, and one that is new, which has room by itself."""
    world.risk = limits(**({"self_crossing": "allow", "max_quantity": 50} | only))

    async def main() -> None:
        async with world.gateway(recent_orders=0) as gateway:
            for n in range(5):
                await gateway.submit(intent(), key=f"k{n}")
                world.offer(10, 100)
                await gateway.catch_up()
                await asyncio.sleep(1)
            again = [gateway.submit(intent(), key=f"k{n}") for n in range(5)]
            large = gateway.submit(intent(quantity=51), key="large")
            told = await asyncio.gather(*again, gateway.submit(intent(**new), key="new"), large)
            assert [answer.status for answer in told] == [Status.NEW] * 6 + [Status.REFUSED]
        assert world.venue.count("submit") == 6

    run(main)


def test_a_gateway_without_limits_keeps_the_sums_too(world: World) -> None:
    """The control states ask for them."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="a")
            world.offer(4, 100)
            await gateway.catch_up()
            await gateway.submit(intent(side="sell", price=200, quantity=3), key="b")
            assert sums(gateway) == computed(gateway)
            assert sums(gateway)["A", "ACME"] == (4, 6, 3)
            assert not gateway._routes["X"].risk._ladders

    run(main)


def test_an_order_that_ended_counts_until_its_executions_have_come(world: World) -> None:
    """Cancelled after a fill that the stream has not told of yet: what the venue counted may still move the position."""
    world.risk = limits(max_position=10)
    world.venue.muted = True

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="a")
            world.offer(4, 100)
            await gateway.cancel("a", **WHO)
            assert sums(gateway)["A", "ACME"] == (0, 4, 0)
            assert (await gateway.submit(intent(quantity=7), key="b")).status is Status.REFUSED
            assert (await gateway.submit(intent(quantity=6), key="c")).status is Status.NEW
            world.venue.unmute()
            await gateway.catch_up()
            assert sums(gateway)["A", "ACME"] == (4, 6, 0)

    run(main)


# -------------------------------------------------------------------- reductions


def test_two_reductions_cannot_together_open_a_position(world: World) -> None:
    """Of two sells of 6 from a position of 10, only one is a reduction; a retry of the first stays one."""

    async def main() -> None:
        async with world.gateway() as gateway:
            desk = gateway._routes["X"].risk
            await gateway.submit(intent(), key="a")
            assert not desk.can_only_reduce(intent(side="sell", quantity=1))
            world.offer(10, 100)
            await gateway.catch_up()
            sell = intent(side="sell", quantity=6, price=110)
            assert desk.can_only_reduce(sell)
            assert not desk.can_only_reduce(intent(side="buy", quantity=1))
            assert not desk.can_only_reduce(intent(side="sell", quantity=1, strategy="t"))
            assert not desk.can_only_reduce(intent(side="sell", quantity=1, account="B"))
            assert desk.can_only_reduce(intent(side="sell", quantity=10, order_type=OrderType.MARKET, price=None))
            await gateway.submit(sell, key="b")
            assert not desk.can_only_reduce(sell)
            assert desk.can_only_reduce(intent(side="sell", quantity=4))
            (b,) = gateway.open_orders()
            assert desk.still_only_reduces(b)
            assert desk.replace_only_reduces(b, Decimal(10))
            assert desk.replace_only_reduces(b, Decimal(1))
            assert not desk.replace_only_reduces(b, Decimal(11))

    run(main)


def test_what_was_held_before_the_first_order_belongs_to_the_account(world: World) -> None:
    """An opening position counts in the account's, at once and after a restart, and in no strategy's."""
    world.risk = limits(max_position=10, max_strategy_position=5)

    async def main() -> None:
        async with world.gateway() as gateway:
            route = gateway._routes["X"]
            for number, held in enumerate((3, 7), 1):
                opened = OpeningPosition(account="A", instrument="ACME", quantity=Decimal(held), number=number)
                told = ev.PositionOpened("A", "ACME", Decimal(held), "me", "it was there")
                await route.record_route_event(told, opening=(opened,))
            assert sums(gateway) == {("A", "ACME"): (7, 0, 0)}
            assert not route.risk.can_only_reduce(intent(side="sell", quantity=1))
        async with world.gateway() as gateway:
            assert sums(gateway) == {("A", "ACME"): (7, 0, 0)}
            assert (await gateway.submit(intent(quantity=4), key="a")).status is Status.REFUSED
            assert (await gateway.submit(intent(quantity=3), key="b")).status is Status.NEW
            assert (await gateway.submit(intent(side="sell", quantity=6, price=200), key="c")).status is Status.REFUSED

    run(main)
