"""A venue without a numbered stream: places are times, lists are read again, and each execution moves the position once."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from gateway_world import WHO, World, intent, life, quantity, until
from scripted_venue import lose_reply, lose_request
from timed_venue import TimedVenue
from virtual_loop import run

from onefill.core.errors import OrderUncertain
from onefill.core.lifecycle import Status
from onefill.core.messages import CancelRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce

Make = Callable[..., World]
TELLS = {"lists_open_orders": True, "tells_positions": True}


def timed(world: World) -> TimedVenue:
    """Return a new connection to the world's exchange, and make it the world's."""
    world.venue = TimedVenue(world.exchange, world.clock.now_us)
    return world.venue


def held_there(world: World) -> Decimal:
    """Return what the exchange says the account holds."""
    return world.exchange.positions("A").get("ACME", Decimal(0))


def test_a_route_begins_at_its_first_start(make_world: Make) -> None:
    """What the account did an hour before the first start is not ours: nothing of it is recorded, no incident is opened."""
    world = make_world(**TELLS)

    async def main() -> None:
        world.exchange.submit(_request("old"), world.clock.now_us())
        world.offer(3, 100)
        await asyncio.sleep(3600)
        async with world.gateway(timed(world)) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(12, 100)  # 7 left of the old order, 5 of ours
            await until(lambda: quantity(gateway) == 5)
            assert world.rows("SELECT count(*) FROM execution WHERE intent_id IS NULL") == [(1,)]  # the 7 of now
        cursor = world.rows("SELECT position FROM cursor WHERE stream = 'executions'")
        assert cursor[0][0] >= world.clock.now_us() - 60_000_000

    run(main)


def _request(client_order_id: str) -> Any:
    return SubmitRequest(
        client_order_id=client_order_id,
        account="A",
        instrument="ACME",
        side=Side.BUY,
        quantity=Decimal(10),
        order_type=OrderType.LIMIT,
        price=Decimal(100),
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )


def test_fills_of_a_process_that_was_down_are_told_after_it_and_each_counts_once(make_world: Make) -> None:
    """Filled in part while it ran, and more while it was down: the next process tells what is missing, and nothing twice."""
    world = make_world(**TELLS)

    async def main() -> None:
        async with world.gateway(timed(world)) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await until(lambda: quantity(gateway) == 4)
        world.offer(5, 100)
        await asyncio.sleep(86_400)
        venue = timed(world)
        async with world.gateway(venue) as gateway:
            assert [one[2] for one in venue.followed] == ["ACME"]
            await until(lambda: quantity(gateway) == 9)
            await gateway.catch_up()
            (report,) = await gateway.reconcile()
            assert (report.breaks, report.in_flight, report.failure) == ((), (), None)
            assert await gateway.incidents() == []
        async with world.gateway(timed(world)) as gateway:
            await gateway.catch_up()
            assert quantity(gateway) == 9 == held_there(world)
        assert world.rows("SELECT count(*) FROM execution") == [(2,)]

    run(main)


def test_an_order_that_somebody_cancelled_at_the_venue_is_told(make_world: Make) -> None:
    """The end of an order comes from asking about what is not listed any more, also where it ended while nobody ran."""
    world = make_world(**TELLS)

    async def main() -> None:
        async with world.gateway(timed(world)) as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.submit(intent(), key="l", allow_similar=True)
            first, second = world.venue.orders()
            _cancel(world, first)
            await until(lambda: len(gateway.open_orders()) == 1)
            assert (await gateway.order("k", **WHO)).status is Status.CANCELED
        _cancel(world, second)
        async with world.gateway(timed(world)) as gateway:
            await until(lambda: not gateway.open_orders())
            assert (await gateway.order("l", **WHO)).status is Status.CANCELED

    run(main)


def _cancel(world: World, order: Any) -> None:
    request = CancelRequest(
        client_order_id=order.client_order_id, account="A", instrument="ACME", venue_order_id=order.venue_order_id
    )
    world.exchange.cancel(request, world.clock.now_us())


def test_reconciliation_finds_what_the_lists_hid(make_world: Make) -> None:
    """A trade that the venue lists minutes late differs as a position first, under an incident, and is then taken in once."""
    world = make_world(**TELLS)

    async def main() -> None:
        venue = timed(world)
        async with world.gateway(venue) as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.reconcile()  # what the account held before is known from here on
            world.offer(4, 100)
            trades = [one.execution_id for one in world.exchange.executions("A", 0) if one.last_quantity]
            venue.lists.hidden = set(trades)
            await asyncio.sleep(30)
            assert quantity(gateway) == 0
            await gateway.reconcile()
            await asyncio.sleep(60)
            (report,) = await gateway.reconcile()
            assert report.breaks
            venue.lists.hidden = set()
            (report,) = await gateway.reconcile()
            assert (report.taken_in, quantity(gateway)) == (1, 4)
            await gateway.reconcile()
            await asyncio.sleep(60)
            (report,) = await gateway.reconcile()
            assert (report.taken_in, report.breaks, quantity(gateway)) == (0, (), 4)

    run(main)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_and_whenever_it_dies_the_position_is_the_venues(make_world: Make, seed: int) -> None:
    """Random orders, fills, lost requests and replies, lists that fail, and a process that dies at random commits: in the end
    each order is there once at most, and the position is what the venue says.
    """
    world = make_world(**TELLS, conclusive_after_s=5.0)
    draw = random.Random(f"timed {seed}")
    keys = [f"k{number}" for number in range(6)]

    async def trade() -> None:
        gateway = await world.start(timed(world))
        for key in keys:
            world.venue.submits = draw.choice([[], [], [lose_reply], [lose_request], [lose_request, lose_reply]])
            with contextlib.suppress(OrderUncertain):
                await gateway.submit(intent(), key=key, allow_similar=True, wait_s=draw.choice([0.01, 3.0]))
            world.venue.lists.down = draw.random() < 0.2
            if draw.random() < 0.6:
                world.offer(draw.randint(1, 14), 100)
            await asyncio.sleep(draw.choice([0.0, 0.5, 4.0]))
            world.venue.lists.down = False
        await until(lambda: not any(one.status is Status.UNCERTAIN for one in gateway.open_orders()), within_s=120)
        await until(lambda: quantity(gateway) == held_there(world), within_s=120)
        (report,) = await gateway.reconcile()
        assert (report.breaks, report.failure) == ((), None)
        await gateway.close()

    for _ in range(4):
        left = draw.randint(3, 40)

        def dies(name: str, left: list[int] = [left]) -> str | None:  # noqa: B006 - counts down in one life
            if name != "commit":
                return None
            left[0] -= 1
            return draw.choice(["before", "after"]) if left[0] == 0 else None

        world.point = dies
        if not life(world, trade):
            break
    else:
        world.point = lambda _: None
        assert not life(world, trade)
    ids = [order.client_order_id for order in world.venue.orders()]
    assert len(ids) == len(set(ids)) == len(keys)
