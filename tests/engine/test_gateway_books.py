"""Two channels tell of the same executions: whichever is first, and whatever dies between them, each counts once."""

import asyncio
from typing import Any

import pytest
from gateway_books_kit import CHANNELS, Make, bust, correct, even, hold, kinds, log, receiver, state, stored_is_the_fold
from gateway_world import WHO, World, intent, quantity, turns, until
from scripted_venue import held, land
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.position import DROP_COPY, STREAM

OTHER = {STREAM: DROP_COPY, DROP_COPY: STREAM}


@pytest.fixture
def copied(make_world: Make) -> World:
    """A world whose exchange tells executions by a drop copy too."""
    return make_world(drop_copy=True)


async def _only(world: World, gateway: Any, channel: str) -> None:
    await receiver(gateway, channel).catch_up()
    await turns()
    assert log(world)
    assert {stream for _, stream in log(world)} == {channel}


@pytest.mark.parametrize("first", CHANNELS)
@pytest.mark.parametrize("recent", [0, 1000])
def test_whichever_channel_is_first_the_other_adds_nothing(copied: World, first: str, recent: int) -> None:
    """Executions, a bust and a correction by one channel, then all of them by the other: each is one row of the log."""

    async def main() -> None:
        gate = hold(copied, OTHER[first])
        async with copied.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            for size in (3, 2, 5):
                copied.offer(size, 100)
            await receiver(gateway, first).catch_up()
            assert quantity(gateway) == 10
            bust(copied)
            correct(copied, 1, 99, "E3")
            await _only(copied, gateway, first)
            assert quantity(gateway) == 4
            rows = log(copied)
            gate.set()
            assert await even(copied, gateway) == 4
            assert log(copied) == rows
            assert kinds(gateway) == []
            assert state(await gateway.order("k", **WHO)) == ("canceled", 4, 6, True)
        await stored_is_the_fold(copied)

    run(main)


@pytest.mark.parametrize("recent", [0, 1000])
@pytest.mark.parametrize("scope", list(ExecutionIdScope))
def test_both_channels_at_once_count_once(make_world: Make, scope: ExecutionIdScope, recent: int) -> None:
    """Both tell the same at the same moment, of several orders, open and closed: nothing is doubled, no route fails."""
    world = make_world(drop_copy=True, execution_id_scope=scope)

    async def main() -> None:
        async with world.gateway(recent_orders=recent) as gateway:
            await asyncio.gather(*(gateway.submit(intent(quantity=4), key=f"k{n}") for n in range(4)))
            for size in (3, 5, 6):
                world.offer(size, 100)
            assert await even(world, gateway) == 14
            for one in world.exchange.trades("A")[::2]:
                bust(world, one.execution_id, venue_order_id=one.venue_order_id)
            await even(world, gateway)
            assert len(log(world)) == 5 + 3
            assert kinds(gateway) == []

    run(main)


@pytest.mark.parametrize("first", CHANNELS)
def test_a_death_between_the_channels_doubles_nothing(copied: World, first: str) -> None:
    """One channel told, the process is killed, and the next one hears the same by the other: nothing moves."""

    async def main() -> None:
        gate = hold(copied, OTHER[first])
        gateway = await copied.start()
        await gateway.submit(intent(), key="k")
        copied.offer(4, 100)
        copied.offer(6, 100)
        bust(copied, live=True)
        await _only(copied, gateway, first)
        before = gateway.positions()
        assert quantity(gateway) == 4
        await copied.kill(gateway)
        gate.set()
        async with copied.gateway() as gateway:
            assert gateway.positions() == before
            assert await even(copied, gateway) == 4
            assert len(log(copied)) == 3
            assert state(await gateway.order("k", **WHO)) == ("partially_filled", 4, 6, False)
            assert kinds(gateway) == []

    run(main)


def test_a_muted_stream_leaves_the_drop_copy(copied: World) -> None:
    """What only the drop copy tells counts at once: fills, bust and correction; the stream adds nothing later."""

    async def main() -> None:
        gate = hold(copied, STREAM)
        async with copied.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            copied.offer(4, 100)
            copied.offer(2, 100)
            bust(copied, "E3")
            correct(copied, 3, 101, "E2")
            await _only(copied, gateway, DROP_COPY)
            assert quantity(gateway) == 3
            assert (await gateway.order("k", **WHO)).status == "partially_filled"
            gate.set()
            assert await even(copied, gateway) == 3
            assert {stream for _, stream in log(copied)} == {DROP_COPY}

    run(main)


def test_a_drop_copy_that_is_late_and_in_another_order_adds_nothing(copied: World) -> None:
    """What the drop copy held back and told in reverse, and then once more, changes nothing."""

    async def main() -> None:
        async with copied.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            copied.exchange.hold_drop_copies("A")
            copied.offer(4, 100)
            copied.offer(6, 100)
            bust(copied, live=True)
            assert await even(copied, gateway) == 4
            copied.exchange.release_drop_copies("A", [2, 1, 0])
            copied.exchange.redeliver("A", 3, 1, 2)
            assert await even(copied, gateway) == 4
            assert len(log(copied)) == 3

    run(main)


def test_a_session_that_begins_anew_tells_all_again(copied: World) -> None:
    """Reports told again under new places, as a session does that begins anew, change neither order nor position."""

    async def main() -> None:
        async with copied.gateway(recent_orders=0) as gateway:
            await gateway.submit(intent(), key="k")
            copied.offer(10, 100)
            bust(copied, live=True)
            assert await even(copied, gateway) == 0
            before = await gateway.order("k", **WHO)
            assert copied.exchange.retell("A") == 3
            assert await even(copied, gateway) == 0
            assert (await gateway.order("k", **WHO)) == before

    run(main)


@pytest.mark.parametrize("first", CHANNELS)
def test_fills_and_a_bust_before_the_acknowledgement(copied: World, first: str) -> None:
    """Executed, busted and told by either channel before the reply to the submit: the answer is that it was accepted."""
    gate = asyncio.Event()

    async def silent(venue: Any, request: Any) -> Any:
        answer = await land(venue, request)
        await gate.wait()
        return answer

    copied.venue.submits = [silent]

    async def main() -> None:
        hold(copied, OTHER[first])
        async with copied.gateway() as gateway:
            task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await until(copied.venue.orders)
            copied.offer(10, 100)
            bust(copied, live=True)
            answer = await task
            assert answer.accepted
            gate.set()
            await receiver(gateway, first).catch_up()
            await turns()
            assert quantity(gateway) == 0
            assert [order.key for order in gateway.open_orders()] == ["k"]
            assert state(await gateway.order("k", **WHO)) == ("new", 0, 10, False)

    run(main)


@pytest.mark.parametrize("recent", [0, 1000])
def test_a_fill_after_a_cancel_and_its_bust(copied: World, recent: int) -> None:
    """A fill that comes after the cancellation counts, its bust takes it back, and the order stays cancelled and closes."""

    async def main() -> None:
        gates = [hold(copied, channel) for channel in CHANNELS]
        async with copied.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            copied.offer(4, 100)
            assert (await gateway.cancel("k", **WHO)).result == "canceled"
            bust(copied)
            for gate in gates:
                gate.set()
            assert await even(copied, gateway) == 0
            assert state(await gateway.order("k", **WHO)) == ("canceled", 0, 4, True)
            assert gateway.open_orders() == []

    run(main)


def test_executions_while_nobody_listened_count_after_a_restart(copied: World) -> None:
    """Fills, a bust and a correction between two processes are taken in by the next one, by both channels once."""

    async def main() -> None:
        async with copied.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            copied.offer(1, 100)
            assert await even(copied, gateway) == 1
        await stored_is_the_fold(copied)
        copied.offer(3, 100)
        bust(copied, "E2")
        correct(copied, 2, 100, "E3")
        copied.offer(4, 100)
        async with copied.gateway() as gateway:
            assert await even(copied, gateway) == 6
            assert len(log(copied)) == 5
        await stored_is_the_fold(copied)

    run(main)


def test_a_submit_that_waits_is_answered_by_the_drop_copy(copied: World) -> None:
    """While the reply and the stream are silent, an execution by the drop copy shows that the order is there."""
    copied.venue.submits = [held(asyncio.Event())]

    async def main() -> None:
        hold(copied, STREAM)
        async with copied.gateway() as gateway:
            task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await until(lambda: copied.venue.calls)
            await land(copied.venue, copied.venue.calls[0].request)
            copied.offer(4, 100)
            assert (await task).accepted
            assert quantity(gateway) == 4
            assert log(copied) == [("trade", DROP_COPY)]

    run(main)
