"""A process that dies at any of its calls: whatever the moment, one order, one answer, the true position."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_world import WHO, World, intent, life, quantity, until
from scripted_venue import ScriptedVenue, hang, land, lose_reply, take_cancel
from virtual_loop import run

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, UniqueScope
from onefill.engine.gateway import Gateway

Make = Callable[..., World]
DIALECTS: dict[str, dict[str, Any]] = {
    "ever": {},
    "ever, no look-up": {"lookup": False},
    "day, the original is answered": {"unique_scope": UniqueScope.DAY, "duplicate_reply": DuplicateReply.ORIGINAL},
    "open": {"unique_scope": UniqueScope.OPEN},
    "open, executions numbered per order": {
        "unique_scope": UniqueScope.OPEN,
        "execution_id_scope": ExecutionIdScope.ORDER,
    },
    "open, asynchronous": {
        "unique_scope": UniqueScope.OPEN,
        "acknowledges_asynchronously": True,
        "acknowledge_delay_us": 100_000,
    },
}
ANSWERED = {
    "before": "the request was lost",
    "after": "it arrived, the reply was lost",
    "ghost": "it arrives a second later",
}


class MortalVenue(ScriptedVenue):
    """A venue at whose calls the gateway's process can die."""

    world: World
    ghosts: list[Any]

    async def _do(self, kind: str, steps: list[Any], honest: Any, request: Any, client_order_id: str) -> Any:
        world = self.world
        when = None if world.crashed.is_set() else world.point(f"venue.{kind}")
        if when == "ghost":
            self.ghosts.append((land if kind == "submit" else take_cancel, request))
        result = None
        if when in {None, "after"} and not world.crashed.is_set():
            try:
                result = await super()._do(kind, steps, honest, request, client_order_id)
            except TimeoutError:
                if when is None:
                    raise
        if when is not None:
            world.crashed.set()
        if world.crashed.is_set():
            await asyncio.get_running_loop().create_future()
        return result


class Story:
    """One day's work, done over and over by processes that die, until one finishes it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: dict[str, bytes] = {}
        self.points: list[str] = []
        self.plan: tuple[int, str] | None = None
        self.offered = False
        world.venue = self.venue = MortalVenue(world.exchange, world.clock.now_us)
        self.venue.world, self.venue.ghosts = world, []
        world.point = self._point
        world.offer(5, 95, side="buy")

    def _point(self, name: str) -> str | None:
        self.points.append(name)
        return self.plan[1] if self.plan is not None and len(self.points) == self.plan[0] else None

    def live(self, plan: tuple[int, str] | None) -> bool:
        """Run a process that dies as planned. Returns whether it did."""
        self.plan, self.points = plan, []
        return life(self.world, self._day)

    async def _day(self) -> None:
        loop = asyncio.get_running_loop()
        for step, request in self.venue.ghosts:
            loop.call_later(1.0, lambda step=step, request=request: loop.create_task(step(self.venue, request)))
        self.venue.ghosts = []
        ticking = loop.create_task(self._tick())
        self.venue.submits = [lose_reply]
        gateway = await self.world.start()
        first, again, second = await asyncio.gather(
            gateway.submit_raw(intent(price=90), key="k1"),
            gateway.submit_raw(intent(price=90), key="k1"),
            gateway.submit_raw(intent(side="sell", quantity=5, price=92), key="k2"),
        )
        assert first == again
        self._keep("k1", first)
        self._keep("k2", second)
        await self._fill_to_four()
        self._keep("k1/c", await gateway.cancel_raw("k1", **WHO, operation_key="c"))
        await gateway.catch_up()
        await self._check(gateway)
        ticking.cancel()
        await gateway.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.world.exchange.advance(self.world.clock.now_us())

    def _keep(self, what: str, answer: bytes) -> None:
        assert self.answers.setdefault(what, answer) == answer, f"{what} was answered otherwise before"

    async def _fill_to_four(self) -> None:
        if not self.offered:
            self.offered = True
            self.world.offer(4, 90)
        await until(lambda: any(order.cum_quantity == 4 for order in self.venue.orders()))

    async def _check(self, gateway: Gateway) -> None:
        orders = [await gateway.order(key, **WHO) for key in ("k1", "k2")]
        assert self.world.truth() == {
            orders[0].client_order_id: [("canceled", "4")],
            orders[1].client_order_id: [("filled", "5")],
        }
        assert [str(order.status) for order in orders] == ["canceled", "filled"]
        assert [order.anomaly for order in orders] == [None, None]
        assert quantity(gateway) == -1
        assert b'"changed":true' in self.answers["k1/c"]


def moments(points: list[str]) -> list[tuple[int, str]]:
    """Return every way in which a life with these calls can end early."""
    return [
        (index, when)
        for index, name in enumerate(points, 1)
        for when in (ANSWERED if name in {"venue.submit", "venue.cancel"} else ("before", "after"))
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_crash_at_any_call_leaves_one_order_and_one_answer(
    make_world: Make, dialect: str, record_property: Callable[[str, object], None]
) -> None:
    """Killed before or after each ledger call and each venue call, requests lost, landed or late: the next process finishes
    the work, with the answers that were given before, and a third one finds nothing left to do.
    """
    clean = Story(make_world(**DIALECTS[dialect]))
    assert not clean.live(None)
    planned = moments(clean.points)
    effective = 0
    for plan in planned:
        story = Story(make_world(**DIALECTS[dialect]))
        effective += story.live(plan)
        assert not story.live(None), plan
        sent = len(story.venue.ids()), story.venue.count("submit"), story.venue.count("cancel")
        assert not story.live(None), plan
        assert (len(story.venue.ids()), story.venue.count("submit"), story.venue.count("cancel")) == sent
        story.world.close_eyes()
    assert effective == len(planned) > 40
    record_property("crash points", effective)
    print(f"{dialect}: {len(clean.points)} calls, {effective} crash points, all effective")  # noqa: T201 - shown by -rP


def test_a_claim_without_an_outcome_is_marked_maybe_sent_at_the_start(make_world: Make) -> None:
    """Whatever was claimed when the process died is *unknown* in the ledger before anything else happens to the order."""
    world = make_world()
    world.venue.submits, world.venue.cancels = [land, hang], [hang]

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(), key="a")
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key="b"))]
        tasks.append(asyncio.ensure_future(gateway.cancel("a", **WHO)))
        await until(lambda: len(world.venue.calls) == 3)
        await world.kill(gateway)
        for task in tasks:
            task.cancel()
        claimed = [world.look(client_order_id) for client_order_id in sorted(world.venue.ids())]
        assert [one["copies"] for one in claimed] == [["accepted"], ["claimed"]]
        assert claimed[0]["cancels"] == ["claimed"]
        asked = len(world.venue.calls)
        gateway = await world.start()
        await gateway.submit(intent(), key="b")
        await gateway.cancel("a", **WHO)
        seen = [call.seen for call in world.venue.calls[asked:]]
        assert [call.kind for call in world.venue.calls[asked : asked + 2]] == ["lookup", "lookup"]
        assert [one["status"] for one in seen[:2]] == ["pending_cancel", "uncertain"]
        assert [seen[0]["cancels"], seen[1]["copies"]] == [["unknown"], ["unknown"]]
        assert gateway.recovered == 2
        await gateway.close()

    run(main)


@pytest.mark.parametrize("dialect", ["open"])
def test_a_second_crash_during_the_recovery_changes_nothing(make_world: Make, dialect: str) -> None:
    """Killed at any call, and the process after it at any of its first calls: still one order and one answer."""
    clean = Story(make_world(**DIALECTS[dialect]))
    clean.live(None)
    effective = 0
    for number, first in enumerate(moments(clean.points)):
        probe = Story(make_world(**DIALECTS[dialect]))
        probe.live(first)
        probe.live(None)
        choices = moments(probe.points)
        # Every fifteenth moment, each time beginning at another: all are met in some combination.
        for second in choices[number % 15 :: 15]:
            story = Story(make_world(**DIALECTS[dialect]))
            assert story.live(first)
            effective += story.live(second)
            assert not story.live(None), (first, second)
    assert effective > 150
    print(f"{dialect}: {effective} pairs of crashes, all effective")  # noqa: T201 - shown by -rP


def test_the_story_does_end_badly_where_the_engine_forgets(make_world: Make) -> None:
    """The canary of the tests above: without what the ledger recorded, a crash does make a second order."""
    doubles = 0
    for plan in [(index, "after") for index in range(5, 30)]:
        world = make_world(unique_scope=UniqueScope.OPEN)
        story = Story(world)
        story.live(plan)
        for path in Path(world.path).parent.glob("orders.db*"):
            path.unlink()
        try:
            story.live(None)
        except AssertionError:
            doubles += any(len(orders) > 1 for orders in world.truth().values()) or len(world.truth()) > 2
    assert doubles
