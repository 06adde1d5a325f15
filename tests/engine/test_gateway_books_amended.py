"""Busts and corrections through the whole gateway: of open, closed, replaced and forgotten orders, in any order of arrival."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from gateway_books_kit import Make, bust, correct, even, hold, kinds, log, payloads, state, stored_is_the_fold, trades
from gateway_world import WHO, World, intent, quantity, until
from scripted_venue import hang
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope, ReplaceStyle
from onefill.core.position import STREAM

SCOPES = (ExecutionIdScope.ACCOUNT, ExecutionIdScope.ORDER)


@pytest.mark.parametrize("recent", [0, 1000])
def test_a_filled_order_that_a_bust_reopens_is_live_here_again(world: World, recent: int) -> None:
    """It counts among the open orders, trades on, can be cancelled, and every answer that was given stays."""

    async def main() -> None:
        async with world.gateway(recent_orders=recent) as gateway:
            answer = await gateway.submit_raw(intent(), key="k")
            world.offer(4, 100)
            world.offer(6, 100)
            assert await even(world, gateway) == 10
            assert gateway.open_orders() == []
            told = await gateway.cancel_raw("k", **WHO, operation_key="late")
            assert b'"filled"' in told
            bust(world, live=True)
            assert await even(world, gateway) == 4
            assert [order.key for order in gateway.open_orders()] == ["k"]
            assert state(await gateway.order("k", **WHO)) == ("partially_filled", 4, 6, False)
            world.offer(1, 100)
            assert await even(world, gateway) == 5
            assert await gateway.submit_raw(intent(), key="k") == answer
            assert await gateway.cancel_raw("k", **WHO, operation_key="late") == told
            assert (await gateway.cancel("k", **WHO, operation_key="now")).result == "canceled"
            assert await even(world, gateway) == 5
            assert world.truth() == {next(iter(world.venue.ids())): [("canceled", "5")]}
            assert gateway.open_orders() == []
        await stored_is_the_fold(world)

    run(main)


def test_a_reopened_order_does_not_wait_for_the_replies_of_an_earlier_process(world: World) -> None:
    """CONVERGES: it was filled while a cancel was under way, and the process died. Reopened by a bust, it can be cancelled."""

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(), key="k")
        world.venue.cancels.append(hang)
        cancel = asyncio.ensure_future(gateway.cancel("k", **WHO))
        await until(lambda: world.venue.count("cancel") == 1, within_s=2)
        world.offer(10, 100)
        assert (await cancel).result == "filled"
        await world.kill(gateway)
        async with world.gateway() as gateway:
            bust(world, live=True)
            assert await even(world, gateway) == 0
            assert (await gateway.cancel("k", **WHO, operation_key="now")).result == "canceled"
            assert world.truth() == {next(iter(world.venue.ids())): [("canceled", "0")]}

    run(main)


@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
@pytest.mark.parametrize("lives", [1, 2])
def test_a_reopened_order_can_be_replaced(make_world: Make, style: ReplaceStyle, lives: int) -> None:
    """After the bust, in the same process or the next: the replace is sent, takes effect and the rest is filled."""
    world = make_world(replace=style)

    async def main() -> None:
        gateway = await world.start()
        answer = await gateway.submit_raw(intent(), key="k")
        world.offer(4, 100)
        world.offer(6, 100)
        await even(world, gateway)
        bust(world, live=True)
        await even(world, gateway)
        if lives == 2:
            await gateway.close()
            gateway = await world.start()
            assert gateway.recovered == 1
        assert [order.key for order in gateway.open_orders()] == ["k"]
        assert (await gateway.replace("k", **WHO, quantity=7, price=101)).result == "replaced"
        world.offer(9, 100)
        assert await even(world, gateway) == 7
        assert state(await gateway.order("k", **WHO)) == ("filled", 7, 6, True)
        assert await gateway.submit_raw(intent(), key="k") == answer
        assert kinds(gateway) == []
        await gateway.close()
        await stored_is_the_fold(world)

    run(main)


def test_a_bust_of_a_filled_order_that_does_not_trade_on(world: World) -> None:
    """By the venue's word it is over: here it is cancelled with what is left, and it does not stay open."""

    async def main() -> None:
        async with world.gateway(recent_orders=0) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            await even(world, gateway)
            bust(world)
            assert await even(world, gateway) == 0
            assert state(await gateway.order("k", **WHO)) == ("canceled", 0, 10, True)
            assert gateway.open_orders() == []

    run(main)


@pytest.mark.parametrize("recent", [0, 1000])
@pytest.mark.parametrize("what", ["bust", "correct"])
def test_an_amendment_before_its_execution(make_world: Make, what: str, recent: int) -> None:
    """The drop copy tells a bust or correction while the stream still owes the execution: the end is the same."""
    world = make_world(drop_copy=True)

    async def main() -> None:
        world.exchange.hold_drop_copies("A")
        gate = hold(world, STREAM)
        async with world.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            world.offer(6, 100)
            if what == "bust":
                bust(world, live=True)
            else:
                correct(world, 5, 99, live=True)
            world.exchange.release_drop_copies("A", [2, 0, 1])
            gate.set()
            assert await even(world, gateway) == (4 if what == "bust" else 9)
            assert len(log(world)) == 3
            (position,) = gateway.positions()
            assert position.bought_value == (400 if what == "bust" else 400 + 5 * 99)
            assert kinds(gateway) == []

    run(main)


@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("recent", [0, 1000])
def test_amendments_of_a_replaced_order(
    make_world: Make, style: ReplaceStyle, scope: ExecutionIdScope, recent: int
) -> None:
    """Executed before and after a replace, filled, then busted and corrected on both sides of it, by two channels."""
    world = make_world(replace=style, execution_id_scope=scope, drop_copy=True)

    async def main() -> None:
        async with world.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await even(world, gateway)
            assert (await gateway.replace("k", **WHO, quantity=12, price=101)).result == "replaced"
            world.offer(8, 100)
            assert await even(world, gateway) == 12
            first, second = world.exchange.trades("A")
            bust(world, first.execution_id, venue_order_id=first.venue_order_id, live=True)
            assert await even(world, gateway) == 8
            correct(world, 7, 100, second.execution_id, venue_order_id=second.venue_order_id)
            assert await even(world, gateway) == 7
            assert state(await gateway.order("k", **WHO)) == ("partially_filled", 7, 5, False)
            world.offer(5, 101)
            assert await even(world, gateway) == 12
            assert (await gateway.order("k", **WHO)).status == "filled"
            assert kinds(gateway) == []
        await stored_is_the_fold(world)

    run(main)


@pytest.mark.parametrize("lives", ["one process", "a restart", "evicted"])
def test_a_correction_and_then_its_bust(world: World, lives: str) -> None:
    """Corrected twice and busted at last: only the last word counts, in whatever process it is heard."""

    async def main() -> None:
        gateway = await world.start(recent_orders=0 if lives == "evicted" else 1000)
        await gateway.submit(intent(quantity=4), key="k")
        world.offer(4, 100)
        first = trades(world)[0]
        steps: list[tuple[Any, int]] = [
            (lambda: correct(world, 3, 101, first), 3),
            (lambda: correct(world, 2, 102), 2),
            (lambda: bust(world), 0),
        ]
        for step, left in steps:
            if lives == "a restart":
                await gateway.close()
                await stored_is_the_fold(world)
                step()
                gateway = await world.start()
            else:
                step()
            assert await even(world, gateway) == left
            (position,) = gateway.positions()
            assert position.executions == (left > 0)
        assert [kind for kind, _ in log(world)] == ["trade", "correct", "correct", "bust"]
        await gateway.close()
        await stored_is_the_fold(world)

    run(main)


def test_the_same_bust_again_under_another_place_changes_nothing(world: World) -> None:
    """A stream that repeats itself, with a bust in it, moves neither position nor ledger, also after a restart."""

    async def main() -> None:
        for _ in range(2):
            async with world.gateway(recent_orders=0) as gateway:
                await gateway.submit(intent(), key="k")
                if not log(world):
                    world.offer(3, 100)
                    world.offer(4, 100)
                    bust(world)
                assert await even(world, gateway) == 3
                before = await gateway.order("k", **WHO)
                world.exchange.retell("A")
                assert await even(world, gateway) == 3
                assert await gateway.order("k", **WHO) == before
                assert len(log(world)) == 3

    run(main)


def test_busts_on_both_sides_of_a_round_trip(world: World) -> None:
    """The average price and realised profit after a bust are those of trades that never happened otherwise."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(quantity=4), key="k0")
            world.offer(4, 100)
            await gateway.submit(intent(quantity=6, price=90), key="k1")
            world.offer(6, 90)
            world.offer(5, 95, side="buy")
            await gateway.submit(intent(side="sell", quantity=5, price=95), key="k2")
            assert await even(world, gateway) == 5
            bust(world, world.exchange.trades("A")[0].execution_id)
            assert await even(world, gateway) == 1
            (position,) = gateway.positions()
            assert (position.average_price, position.realised) == (90, 5 * 5)
            bust(world, world.exchange.trades("A")[2].execution_id)
            assert await even(world, gateway) == 6
            (position,) = gateway.positions()
            assert (position.cost, position.realised, position.executions) == (540, 0, 1)

    run(main)


def test_a_bust_while_a_cancel_waits(world: World) -> None:
    """The cancel of an order that a bust reopened meanwhile reaches the venue and is answered."""
    gate = asyncio.Event()

    async def slow(venue: Any, request: Any) -> Any:
        await gate.wait()
        return venue.exchange.cancel(request, venue.now_us())

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.venue.cancels = [slow]
            task = asyncio.ensure_future(gateway.cancel("k", **WHO))
            await asyncio.sleep(0.1)
            world.offer(10, 100)
            bust(world, live=True)
            gate.set()
            assert (await task).result in {"canceled", "filled"}
            await gateway.cancel("k", **WHO)
            assert await even(world, gateway) == 0
            order = await gateway.order("k", **WHO)
            assert world.truth() == {order.client_order_id: [(str(order.status), "0")]}
            assert (str(order.status), order.closed) == ("canceled", True)

    run(main)


def test_a_bust_and_its_effect_are_one_journal_entry(world: World) -> None:
    """What the bust did to the order is told with it, and each amendment has its own entry."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            bust(world)
            await even(world, gateway)
            ((told,),) = payloads(world, "trade_amended")
            assert (told["kind"], told["cum_quantity"], told["reversed_quantity"]) == ("bust", "0", "10")
            assert told["refers_to"] == trades(world)[0]

    run(main)


def test_several_positions_and_a_bust_in_one_of_them(world: World) -> None:
    """Only the position of the busted execution is folded anew; all are the log's fold."""

    async def main() -> None:
        async with world.gateway() as gateway:
            for n, strategy in enumerate(("s", "t", "u")):
                await gateway.submit(intent(strategy=strategy, quantity=n + 1), key="k")
            world.offer(6, 100)
            assert await even(world, gateway) == 6
            before = gateway.positions()
            bust(world, world.exchange.trades("A")[1].execution_id)
            assert await even(world, gateway) == 4
            after = gateway.positions()
            assert [one.quantity for one in after] == [1, 0, 3]
            assert (after[0], after[2]) == (before[0], before[2])
            assert after[1].fees == ()
        await stored_is_the_fold(world)

    run(main)


def test_the_projection_is_stored_while_a_bust_is_being_folded(world: World) -> None:
    """A close in the middle of a refold stores what the log says."""

    async def main() -> None:
        gateway = await world.start()
        await gateway.submit(intent(), key="k")
        world.offer(4, 100)
        world.offer(3, 100)
        await even(world, gateway)
        real = world.ledger.ledger.executions_of_position
        asked = asyncio.Event()

        async def never_at_first(*arguments: Any) -> Any:
            if not asked.is_set():
                asked.set()
                await asyncio.get_running_loop().create_future()
            return await real(*arguments)

        world.ledger.ledger.executions_of_position = never_at_first  # type: ignore[method-assign]
        bust(world)
        await asked.wait()
        world.offer(2, 100)
        await asyncio.sleep(1)
        assert quantity(gateway) == 7
        await gateway.close()
        await stored_is_the_fold(world)
        assert Decimal(world.rows("SELECT bought FROM position")[0][0]) == 6

    run(main)


@pytest.mark.parametrize("recent", [0, 1000])
def test_a_correction_upwards_that_is_busted_lets_the_order_close(world: World, recent: int) -> None:
    """The venue's total was higher for a while: a cancelled order does not wait for executions that will never come."""

    async def main() -> None:
        async with world.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(3, 100)
            correct(world, 7)
            assert await even(world, gateway) == 7
            bust(world)
            assert (await gateway.cancel("k", **WHO)).result == "canceled"
            assert await even(world, gateway) == 0
            assert state(await gateway.order("k", **WHO)) == ("canceled", 0, 7, True)
            assert gateway.open_orders() == []

    run(main)
