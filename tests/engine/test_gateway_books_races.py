"""Executions while something else goes on: two receivers over one order, refusals, callers who give up, slow reads."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_books_kit import (
    CHANNELS,
    Make,
    bust,
    by_hand,
    correct,
    even,
    hold,
    kinds,
    log,
    receiver,
    reword,
    state,
    stored_is_the_fold,
)
from gateway_world import WHO, World, intent, quantity, turns, until
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.messages import EXECUTED
from onefill.core.position import DROP_COPY, STREAM
from onefill.core.risk_limits import Risk
from onefill.ports.ledger import Stale


@pytest.fixture
def copied(make_world: Make) -> World:
    """A world whose exchange tells executions by a drop copy too."""
    return make_world(drop_copy=True)


def slow(world: World, *names: str, rounds: int = 3) -> None:
    """Have these calls of the ledger take some turns of the loop before and after they read."""
    for name in names:
        real = getattr(world.ledger.ledger, name)

        async def call(*arguments: Any, real: Any = real, **named: Any) -> Any:
            await turns(rounds)
            found = await real(*arguments, **named)
            await turns(rounds)
            return found

        setattr(world.ledger.ledger, name, call)


READS = ("by_client_order_id", "by_key", "executions_of", "executions_of_position", "cursor")


@pytest.mark.parametrize("recent", [0, 1000])
@pytest.mark.parametrize("what", ["bust", "correct"])
def test_two_receivers_read_one_order_at_the_same_time(copied: World, what: str, recent: int) -> None:
    """Both channels tell a bust or correction while the ledger is slow: one row, and the risk desk counts it once."""
    copied.risk = Risk()

    async def main() -> None:
        gates = [hold(copied, channel) for channel in CHANNELS]
        async with copied.gateway(recent_orders=recent) as gateway:
            await gateway.submit(intent(), key="k")
            for gate in gates:
                gate.set()
            copied.offer(10, 100)
            assert await even(copied, gateway) == 10
            slow(copied, *READS)
            if what == "bust":
                bust(copied, live=True)
            else:
                correct(copied, 7, 100, live=True)
            left = await even(copied, gateway)
            assert len(log(copied)) == 2
            desk = gateway._routes["X"].risk
            assert desk._account("A", "ACME").position == left
            assert desk._open_orders == {("A", "s"): 1}
            assert [entry.order.key for entry in gateway._routes["X"].entries.values()] == ["k"]
            answer = await gateway.cancel("k", **WHO)
            assert answer.result == "canceled"

    run(main)


@pytest.mark.parametrize("recent", [0, 1000])
def test_several_amendments_by_both_channels_while_the_ledger_is_slow(copied: World, recent: int) -> None:
    """Many busts and corrections of closed orders, by two channels, with slow reads: books and risk desk stay even."""
    copied.risk = Risk()

    async def main() -> None:
        async with copied.gateway(recent_orders=recent) as gateway:
            for n in range(3):
                await gateway.submit(intent(quantity=4), key=f"k{n}", allow_similar=True)
            for size in (1, 2, 1, 4, 3, 1):
                copied.offer(size, 100)
            assert await even(copied, gateway) == 12
            slow(copied, *READS)
            names = [trade.execution_id for trade in copied.exchange.trades("A")]
            for n in (0, 1, 3):
                bust(copied, names[n], live=n == 1)
            correct(copied, 1, 101, names[4], live=True)
            left = await even(copied, gateway)
            assert gateway._routes["X"].risk._account("A", "ACME").position == left
            assert kinds(gateway) == []

    run(main)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_refused_bust_is_read_again(copied: World, channel: str) -> None:
    """The ledger refuses a bust that either channel brings: it is read again, and counts once."""

    async def main() -> None:
        gate = hold(copied, DROP_COPY if channel == STREAM else STREAM)
        async with copied.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            copied.offer(4, 100)
            copied.offer(3, 100)
            await receiver(gateway, channel).catch_up()
            refused: list[Any] = []

            def spoil(change: Any) -> Any:
                if change.kind == "trade_amended" and len(refused) < 3:
                    refused.append(change)
                    return Stale("made up")
                return None

            copied.ledger.spoil = spoil
            bust(copied, "E2")
            correct(copied, 1, 100, "E3")
            copied.offer(2, 100)
            await receiver(gateway, channel).catch_up()
            assert len(refused) >= 2
            gate.set()
            assert await even(copied, gateway) == 3
            assert len(log(copied)) == 5
            assert kinds(gateway) == []

    run(main)


def test_a_bust_behind_a_refused_change_while_the_lease_has_run_out(world: World) -> None:
    """What is executed is taken in whether or not anything may be sent: the route does not close because of it."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await even(world, gateway)
            refused: list[Any] = []

            def spoil(change: Any) -> Any:
                if change.execution is not None and not refused:
                    refused.append(change)
                    return Stale("made up")
                return None

            world.ledger.spoil = spoil
            route = gateway._routes["X"]
            until_s, route.lease_until_s = route.lease_until_s, 0.0
            world.offer(3, 100)
            bust(world, "E2")
            await until(lambda: len(log(world)) == 3)
            route.lease_until_s = until_s
            assert refused
            assert await even(world, gateway) == 3

    run(main)


def test_a_caller_who_gives_up_a_reconciliation_loses_no_execution(make_world: Make) -> None:
    """An execution that is being taken in under an incident counts in the position although whoever asked goes away."""
    world = make_world(lists_open_orders=True, tells_positions=True)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await even(world, gateway)
            world.venue.muted = True
            world.offer(3, 100)
            report = world.exchange.executions("A", 0)[-1]
            taking: list[asyncio.Task[bool]] = []

            def give_up(change: Any) -> None:
                if change.execution is not None:
                    taking[0].cancel()

            world.ledger.spoil = give_up
            taking.append(asyncio.ensure_future(receiver(gateway, STREAM).take_again(report, 1)))
            await asyncio.gather(*taking, return_exceptions=True)
            assert taking[0].cancelled()
            await turns()
            assert quantity(gateway) == 7
            world.venue.unmute()
            assert await even(world, gateway) == 7
            assert len(log(world)) == 2
        await stored_is_the_fold(world)

    run(main)


def test_an_order_is_refused_while_the_receiver_reads_others_again(copied: World) -> None:
    """What is refused by another way, while a receiver reads refused orders again, neither ends it nor is forgotten."""

    async def main() -> None:
        async with copied.gateway() as gateway:
            hold(copied, DROP_COPY)
            for n in range(3):
                await gateway.submit(intent(quantity=4), key=f"k{n}")
            await gateway.catch_up()
            one, route = receiver(gateway, STREAM), gateway._routes["X"]
            late = [entry for entry in route.entries.values() if entry.order.key == "k2"]
            refusals, real = [False, True, True], copied.ledger.ledger.by_key

            def spoil(change: Any) -> Any:
                return (
                    Stale("made up") if change.execution is not None and len(refusals) > 1 and refusals.pop() else None
                )

            async def by_key(*name: str) -> Any:
                if late:
                    one._refused[late.pop()] = None  # as a reconciliation's execution does that the ledger refuses
                return await real(*name)

            copied.ledger.spoil = spoil
            copied.ledger.ledger.by_key = by_key  # type: ignore[method-assign]
            copied.offer(4, 100)
            copied.offer(4, 100)
            await until(lambda: len(refusals) == 1)
            await turns()
            copied.ledger.ledger.by_key = real  # type: ignore[method-assign]
            assert gateway.failure() is None
            await receiver(gateway, STREAM).catch_up()
            assert quantity(gateway) == 8

    run(main)


def test_positions_after_catch_up_are_those_of_the_log(copied: World) -> None:
    """While a bust is folded anew, the book says that it is not settled; afterwards it is the fold."""

    async def main() -> None:
        async with copied.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            copied.offer(10, 100)
            await even(copied, gateway)
            slow(copied, "executions_of_position", rounds=500)
            bust(copied, live=True)
            await gateway.catch_up()
            assert quantity(gateway) == 0

    run(main)


@pytest.mark.parametrize("scope", [ExecutionIdScope.ACCOUNT, ExecutionIdScope.ORDER])
@pytest.mark.parametrize("lives", ["one process", "a restart", "evicted"])
def test_a_foreign_execution_that_is_told_again_is_one_incident(
    make_world: Make, scope: ExecutionIdScope, lives: str
) -> None:
    """An execution under our id with another account, told by both channels and after a restart, stays one row and incident."""
    world = make_world(drop_copy=True, execution_id_scope=scope)
    for channel in CHANNELS:
        reword(world, channel, lambda one: _other_account(one) if one.kind in EXECUTED else None)

    async def main() -> None:
        gate = asyncio.Event() if lives == "one process" else hold_first(world)
        recent = 0 if lives == "evicted" else 1000
        gateway = await world.start(recent_orders=recent)
        await gateway.submit(intent(quantity=4), key="k")
        world.offer(2, 100)
        await receiver(gateway, STREAM).catch_up()
        if lives == "evicted":
            await gateway.cancel("k", **WHO)
        if lives == "a restart":
            await gateway.close()
            gateway = await world.start()
        gate.set()
        await gateway.catch_up()
        await turns()
        assert gateway.failure() is None
        assert quantity(gateway) == 0
        assert kinds(gateway) == ["foreign_execution"]
        assert len(log(world)) == 1
        assert (await gateway.order("k", **WHO)).anomaly is None
        await gateway.close()

    run(main)


def hold_first(world: World) -> asyncio.Event:
    """Have the drop copy tell its reworded reports only once the event is set."""
    gate = asyncio.Event()
    reworded = list(world.venue.drop_copy_streams)

    async def stream(venue: Any, after: int) -> Any:
        await gate.wait()
        async for report in reworded[0](venue, after):
            yield report

    world.venue.drop_copy_streams[:] = [stream] * 50
    return gate


def _other_account(report: Any) -> Any:
    return msgspec.structs.replace(report, account="B")


AWKWARD: dict[str, dict[str, Any]] = {
    "price too long": {"last_price": Decimal("1E+2000")},
    "price too fine": {"last_price": Decimal("1E-2000")},
    "quantity too long": {"last_quantity": Decimal("1E+2000")},
    "quantity too fine": {"last_quantity": Decimal("1E-2000")},
    "price NaN": {"last_price": Decimal("NaN")},
    "quantity below zero": {"last_quantity": Decimal(-2)},
    "quantity zero": {"last_quantity": Decimal(0)},
    "price infinite": {"last_price": Decimal("Infinity")},
}


@pytest.mark.parametrize("how", AWKWARD)
@pytest.mark.parametrize("of", ["ours", "a stranger's", "a correction"])
def test_numbers_that_cannot_be_counted_are_told_and_not_counted(make_world: Make, how: str, of: str) -> None:
    """A venue's nonsense in quantity or price opens an incident; the route goes on, and the next process starts."""
    world = make_world()
    changed = {"ours": "E2", "a stranger's": "E2", "a correction": "E3"}[of]

    def change(report: Any) -> Any:
        return msgspec.structs.replace(report, **AWKWARD[how]) if report.execution_id == changed else None

    reword(world, STREAM, change)

    async def main() -> None:
        async with world.gateway() as gateway:
            if of == "a stranger's":
                by_hand(world, 4)
            else:
                await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            if of == "a correction":
                correct(world, 3)
            await gateway.submit(intent(quantity=1), key="l")
            await gateway.catch_up()
            assert gateway.failure() is None
            assert quantity(gateway) == (4 if of == "a correction" else 0)
            assert len(kinds(gateway)) == 1
            if of == "a stranger's":
                (report,) = await gateway.reconcile()
                assert report.failure is None
        async with world.gateway() as gateway:
            await gateway.catch_up()
            assert quantity(gateway) == (4 if of == "a correction" else 0)

    run(main)


@pytest.mark.parametrize("fee", ["NaN", "sNaN", "Infinity", "1E+2000"])
def test_a_fee_that_cannot_be_counted_does_not_stop_the_execution(make_world: Make, fee: str) -> None:
    """The execution counts without a fee, a person is told, and the next process starts."""
    world = make_world(fee_rate=Decimal("0.001"))
    reword(
        world,
        STREAM,
        lambda one: msgspec.structs.replace(one, fee=Decimal(fee)) if one.execution_id == "E2" else None,
    )

    async def main() -> None:
        for _ in range(2):
            async with world.gateway() as gateway:
                await gateway.submit(intent(), key="k")
                if not log(world):
                    world.offer(4, 100)
                    world.offer(6, 100)
                assert await even(world, gateway) == 10
                (position,) = gateway.positions()
                assert position.fees == (("USD", Decimal("0.600")),)
                assert kinds(gateway) == ["contradiction"]

    run(main)


def test_a_bust_with_numbers_that_mean_nothing_counts(make_world: Make) -> None:
    """What a bust says of quantity and price is of no use to anybody: only what it refers to counts."""
    world = make_world()
    odd = {"last_quantity": Decimal("NaN"), "last_price": Decimal("1E+2000")}
    reword(world, STREAM, lambda one: msgspec.structs.replace(one, **odd) if one.execution_id == "E3" else None)

    async def main() -> None:
        for _ in range(2):
            async with world.gateway() as gateway:
                await gateway.submit(intent(), key="k")
                if not log(world):
                    world.offer(4, 100)
                    bust(world)
                assert await even(world, gateway) == 0
                assert world.rows("SELECT quantity, price FROM execution ORDER BY id")[1] == ("0", "0")
                assert state(await gateway.order("k", **WHO)) == ("new", 0, 4, False)

    run(main)


@pytest.mark.parametrize("time", [2**70, -(2**70), -1])
@pytest.mark.parametrize("execution_id", ["E1", "E2", "E3"])
def test_a_time_that_cannot_be_written_is_no_time(make_world: Make, time: int, execution_id: str) -> None:
    """A venue's nonsense in the time of any report stops neither the route nor the ledger."""
    world = make_world()
    wrong = {"transacted_at_us": time}
    reword(
        world, STREAM, lambda one: msgspec.structs.replace(one, **wrong) if one.execution_id == execution_id else None
    )

    async def main() -> None:
        for _ in range(2):
            async with world.gateway() as gateway:
                await gateway.submit(intent(), key="k")
                if not log(world):
                    world.offer(4, 100)
                    bust(world)
                assert await even(world, gateway) == 0

    run(main)
