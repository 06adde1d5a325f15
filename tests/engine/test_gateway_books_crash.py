"""A process that dies at any ledger call around a bust, a correction or a total: the next one ends in the same state."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_books_kit import Make, agree, bust, by_hand, correct, kinds, log, state, trades
from gateway_world import WHO, World, intent, life, quantity, turns

from onefill.core.capabilities import ExecutionIdScope, ReplaceStyle

DIALECTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "drop copy, ids per order": {"drop_copy": True, "execution_id_scope": ExecutionIdScope.ORDER},
    "drop copy, evicted": {"drop_copy": True, "replace": ReplaceStyle.NEW_ID},
    "revisions": {"execution_revisions": True, "drop_copy": True},
    "totals": {"cumulative_fills_only": True, "drop_copy": True},
}


class Story:
    """Executions, a bust that reopens, a correction, a stranger, a cancel: done over by processes that die, until one ends."""

    def __init__(self, world: World, recent: int) -> None:
        self.world = world
        self.recent = recent
        self.points: list[str] = []
        self.plan: tuple[int, str] | None = None
        self.done: set[str] = set()
        self.answers: dict[str, bytes] = {}
        self.end: Any = None
        world.point = self._point

    def _point(self, name: str) -> str | None:
        self.points.append(name)
        return self.plan[1] if self.plan is not None and len(self.points) == self.plan[0] else None

    def live(self, plan: tuple[int, str] | None) -> bool:
        """Run a process that dies as planned. Returns whether it did."""
        self.plan, self.points = plan, []
        return life(self.world, self._day)

    def _once(self, what: str, *steps: Callable[[], object]) -> None:
        """The exchange does something, whatever becomes of our process."""
        if what not in self.done:
            self.done.add(what)
            for step in steps:
                step()

    async def _day(self) -> None:
        world, totals = self.world, self.world.exchange.dialect.cumulative_fills_only
        gateway = await world.start(recent_orders=self.recent)
        answer = await gateway.submit_raw(intent(), key="k")
        assert self.answers.setdefault("k", answer) == answer
        self._once("fill", lambda: world.offer(4, 100), lambda: world.offer(6, 100))
        await gateway.catch_up()
        await asyncio.sleep(0.01)
        if not totals:
            self._once("bust", lambda: bust(world, trades(world)[1], live=True))
        await gateway.catch_up()
        if not totals:
            self._once("correct", lambda: correct(world, 3, 99, trades(world)[0]))
        self._once("stranger", lambda: by_hand(world, 2, 101), lambda: world.offer(2, 101))
        await gateway.catch_up()
        told = await gateway.cancel_raw("k", **WHO, operation_key="c")
        assert self.answers.setdefault("c", told) == told
        self._once("late", lambda: world.exchange.retell("A"))
        await gateway.catch_up()
        await turns()
        assert gateway.failure() is None
        await agree(world.ledger, gateway.positions())
        end = self._told(gateway), state(await gateway.order("k", **WHO))
        await gateway.close()
        self.end = *end, sorted(log_without_channel(world)), _stored(world)

    def _told(self, gateway: Any) -> Any:
        open_ones = [order.key for order in gateway.open_orders()]
        return (
            str(quantity(gateway)),
            [str(one.bought_value) for one in gateway.positions()],
            sorted(kinds(gateway)),
            open_ones,
        )


def log_without_channel(world: World) -> list[str]:
    """Return the kinds of what the log holds: which channel was first may differ from life to life."""
    return [kind for kind, _ in log(world)]


def _stored(world: World) -> list[Any]:
    columns = "bought, sold, bought_value, sold_value, cost, executions"
    return world.rows(f"SELECT {columns} FROM position")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_crash_at_any_ledger_call_ends_in_the_same_books(make_world: Make, dialect: str) -> None:
    """Killed before or after each call to the ledger: position, order, log, incidents and stored projection are the same."""
    recent = 0 if "evicted" in dialect else 1000
    clean = Story(make_world(**DIALECTS[dialect]), recent)
    assert not clean.live(None)
    (net, *_), order, *_ = clean.end
    assert (net, order[:2]) == (("10", ("filled", 10)) if dialect == "totals" else ("3", ("canceled", 3)))
    effective = 0
    for plan in [(index, when) for index in range(1, len(clean.points) + 1) for when in ("before", "after")]:
        story = Story(make_world(**DIALECTS[dialect]), recent)
        died = story.live(plan)
        effective += died
        assert not died or not story.live(None), plan
        assert story.end == clean.end, plan
        assert not story.live(None), plan
        assert story.end == clean.end, plan
        story.world.close_eyes()
    assert effective == 2 * len(clean.points) > 40
