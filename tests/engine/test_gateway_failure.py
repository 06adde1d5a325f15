"""When the ledger fails or the route is lost: nothing more is sent, everybody is told, and a new start recovers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_world import WHO, World, intent, quantity, turns, until
from scripted_venue import held, land, lose_reply, reply
from virtual_loop import run

from onefill.core.errors import Fenced, LedgerFailed, OnefillError, OrderUncertain, RouteClosed
from onefill.core.lifecycle import Status
from onefill.core.messages import NotSent
from onefill.engine.gateway import Gateway

Make = Callable[..., World]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("group", range(1, 6))
def test_a_ledger_that_fails_stops_every_send_and_a_new_start_recovers(
    make_world: Make, group: int, durable: bool
) -> None:
    """FAIL-CLOSED at each commit in turn, whether or not it got to the disk: no venue call after it, all callers are told,
    nothing that was not durable is answered, and after a new start there is one order per key and the true position.
    """
    world = make_world()
    world.venue.submits = [land, lose_reply, land]
    told: dict[str, Any] = {}
    calls_then: list[int] = []

    async def main() -> None:
        gateway = await world.start()
        commits = world.ledger.ledger._commits
        apply, count = commits._apply, [0]

        def counting(changes: Any) -> Any:
            count[0] += 1
            if count[0] == group:
                calls_then.append(len(world.venue.calls))
                if durable:
                    apply(changes)
                raise LedgerFailed("the disk failed")
            return apply(changes)

        commits._apply = counting

        async def one(key: str) -> None:
            try:
                told[key] = await gateway.submit_raw(intent(), key=key)
                told[f"{key}/op"] = await gateway.cancel_raw(key, **WHO, operation_key="op")
            except (LedgerFailed, RouteClosed) as error:
                told.setdefault(key, error)

        waiting = [asyncio.ensure_future(one(key)) for key in "abc"]
        world.offer(3, 100)
        await asyncio.wait_for(asyncio.gather(*waiting), 30)
        if calls_then:
            assert isinstance(gateway.failure(), LedgerFailed)
            assert len(world.venue.calls) == calls_then[0]
            with pytest.raises((RouteClosed, LedgerFailed)):
                await gateway.submit(intent(), key="new")
            with pytest.raises((RouteClosed, LedgerFailed)):
                await gateway.cancel("new", **WHO, operation_key="op")
            for key in "abc":
                try:
                    again = await gateway.submit_raw(intent(), key=key)
                except (RouteClosed, LedgerFailed):
                    continue
                assert world.rows("SELECT answer FROM intent WHERE key = ?", key) == [(again.decode(),)]
        await gateway.close()
        async with world.gateway() as gateway:
            for key in "abc":
                answer = await gateway.submit_raw(intent(), key=key)
                if isinstance(told[key], bytes):
                    assert answer == told[key]
            await asyncio.sleep(10)
            await gateway.catch_up()
            assert quantity(gateway) == sum(order.cum_quantity for order in world.venue.orders())
        assert sorted(len(orders) for orders in world.truth().values()) == [1, 1, 1]

    run(main)
    assert calls_then, "the failure never came"


def test_a_fenced_gateway_sends_and_writes_nothing_more(world: World) -> None:
    """ONE-WRITER: once another owner has the route, the first one's new orders, resends and cancels stay here."""
    gate = asyncio.Event()
    second = world.connection()
    world.venue.submits = [land, reply(NotSent("refused")), held(gate)]

    async def main() -> None:
        store = await world.store()
        first = await world.start(ledger=store)
        await first.submit(intent(), key="a")
        tasks = [asyncio.ensure_future(first.submit(intent(), key=key)) for key in "bc"]
        await until(lambda: world.venue.count("submit") == 3)
        other = await world.start(second, ledger=store)
        sent, entries = len(world.venue.calls), world.rows("SELECT count(*) FROM journal WHERE epoch = 1")
        results = await asyncio.gather(
            first.submit(intent(), key="new"), first.cancel("a", **WHO), *tasks, return_exceptions=True
        )
        gate.set()
        await asyncio.sleep(20)
        assert all(isinstance(result, Fenced | RouteClosed) for result in results), results
        assert len(world.venue.calls) == sent
        assert world.rows("SELECT count(*) FROM journal WHERE epoch = 1") == entries
        with pytest.raises((Fenced, RouteClosed)):
            await first.submit(intent(), key="new")
        assert (await other.submit(intent(), key="new")).accepted
        assert (await other.cancel("a", **WHO)).result == "canceled"
        await other.submit(intent(), key="b")
        await other.submit(intent(), key="c")
        await other.catch_up()
        before = world.rows("SELECT * FROM position"), world.rows("SELECT folded_through FROM route")
        store.ledger.close, close = _nothing, store.ledger.close  # type: ignore[method-assign]
        await first.close()
        assert (world.rows("SELECT * FROM position"), world.rows("SELECT folded_through FROM route")) == before
        store.ledger.close = close  # type: ignore[method-assign]
        await other.close()
        assert all(len(orders) == 1 for orders in world.truth().values())

    run(main)


async def _nothing() -> None:
    """Leave the ledger open for the other gateway."""


def test_a_fenced_gateway_that_noticed_nothing_closes_cleanly(world: World) -> None:
    """A gateway that lost its route without having tried to write closes without an error and spoils no position."""
    second = world.connection()

    async def main() -> None:
        store = await world.store()
        first = await world.start(ledger=store)
        await first.submit(intent(), key="a")
        world.offer(3, 100)
        await first.submit(intent(price=1), key="far")
        await first.catch_up()
        assert first._receivers["X"][0]._seen > first._receivers["X"][0]._moved  # the cursor is to be kept at the close
        world.venue.muted = True
        other = await world.start(second, ledger=store)
        await other.submit(intent(strategy="t", price=101), key="b")
        world.offer(4, 101)
        await other.catch_up()
        await other._book.save(store, "X")
        store.ledger.close, close = _nothing, store.ledger.close  # type: ignore[method-assign]
        await first.close()
        store.ledger.close = close  # type: ignore[method-assign]
        assert quantity(other) == 7
        await world.kill(other)
        async with world.gateway() as third:
            assert quantity(third) == 7

    run(main)


def test_a_claim_that_became_durable_as_the_route_closed_is_not_sent(world: World) -> None:
    """An order whose commit succeeds in the moment in which the route fails is not sent, and is known not to have been."""

    async def main() -> None:
        async with world.gateway() as gateway:
            route = gateway._routes["X"]
            task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await turns(1)
            real = route.drive

            def drive(*arguments: Any, **named: Any) -> None:
                real(*arguments, **named)
                route.fail(RouteClosed("made up"))

            route.drive = drive
            with pytest.raises(RouteClosed):
                await task
            await turns()
            assert not world.venue.calls
            assert world.look(route.entries.popitem()[1].order.client_order_id)["copies"] == ["not_sent"]
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).accepted
        assert world.venue.count("lookup") == 0

    run(main)


def test_a_cancel_that_was_claimed_as_the_route_closed_is_not_sent(world: World) -> None:
    """A route that fails while a cancel is being claimed makes no further venue call; the next start sends the cancel."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")

            def spoil(change: Any) -> None:
                if change.kind == "cancel_claimed":
                    gateway._routes["X"].fail(RouteClosed("made up"))

            world.ledger.spoil = spoil
            with pytest.raises(RouteClosed):
                await gateway.cancel("k", **WHO)
            await turns()
            assert not world.venue.count("cancel")
        async with world.gateway() as gateway:
            assert (await gateway.cancel("k", **WHO)).result == "canceled"

    run(main)


@pytest.mark.parametrize("what", ["driver", "receiver"])
def test_a_task_that_somebody_cancels_closes_the_route(world: World, what: str) -> None:
    """A program that cancels every task it finds does not leave a gateway that only looks alive."""
    gate = asyncio.Event()
    world.venue.submits = [held(gate)]

    async def main() -> None:
        async with world.gateway() as gateway:
            waiting = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await until(lambda: world.venue.calls)
            route = gateway._routes["X"]
            (entry,) = route.entries.values()
            task = entry.driver if what == "driver" else gateway._receivers["X"][0]._task
            assert task is not None
            task.cancel()
            with pytest.raises(RouteClosed, match="from outside"):
                await waiting
            with pytest.raises(RouteClosed):
                await gateway.submit(intent(), key="l")
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW
        assert len(world.venue.orders()) == 1

    run(main)


def test_an_answer_in_memory_that_never_became_durable_is_not_given(world: World) -> None:
    """SAME-ANSWER: if the commit of the answer fails, repeats are refused; the next start gives the answer that lasts."""

    async def main() -> None:
        async with world.gateway() as gateway:

            async def break_down(venue: Any, request: Any) -> Any:
                world.ledger.break_down(durable=False)
                return await land(venue, request)

            world.venue.submits = [break_down]
            for _ in range(3):
                with pytest.raises((LedgerFailed, RouteClosed)):
                    await gateway.submit_raw(intent(), key="k")
            with pytest.raises((LedgerFailed, RouteClosed)):
                await gateway.cancel_raw("k", **WHO)
        async with world.gateway() as gateway:
            first = await gateway.submit_raw(intent(), key="k")
            assert await gateway.submit_raw(intent(), key="k") == first
        assert len(world.venue.orders()) == 1

    run(main)


def test_a_venue_that_cannot_start_leaves_nothing_open(make_world: Make) -> None:
    """If the second venue fails at the start, the first is closed and the ledger released."""
    world = make_world()

    async def main() -> None:
        broken = world.connection()

        async def start() -> None:
            raise OSError("no route to host")

        broken.start = start  # type: ignore[method-assign]
        store = await world.store()
        gateway = Gateway(store, {"X": world.venue, "Y": broken}, clock=world.clock, holder="test")
        with pytest.raises(OSError, match="no route"):
            await gateway.start()
        assert world.venue.closed
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")

    run(main)


def test_a_venue_that_cannot_close_does_not_keep_the_ledger(world: World) -> None:
    """An error of a venue's close is raised after everything else was closed."""
    honest = world.venue.close

    async def close() -> None:
        raise OSError("stuck")

    async def main() -> None:
        world.venue.close = close  # type: ignore[method-assign]
        gateway = await world.start()
        await gateway.submit(intent(), key="k")
        with pytest.raises(OSError, match="stuck"):
            await gateway.close()
        world.venue.close = honest  # type: ignore[method-assign]
        async with world.gateway() as gateway:
            assert (await gateway.cancel("k", **WHO)).changed

    run(main)


@pytest.mark.parametrize("moment", range(12))
def test_close_at_any_moment_tells_all_who_wait_and_leaves_nothing(make_world: Make, moment: int) -> None:
    """A close during submits, cancels and catch-ups ends each with an answer or an error; the next start finishes the rest."""
    world = make_world()
    never = asyncio.Event()
    world.venue.submits = [land, held(never), lose_reply, reply(NotSent("refused"))]
    world.venue.cancels = [held(never)]

    async def main() -> None:
        gateway = await world.start()
        world.offer(1, 101, side="buy")
        work = [asyncio.ensure_future(gateway.submit(intent(), key=key)) for key in "abcd"]
        work += [asyncio.ensure_future(gateway.cancel("a", **WHO, operation_key=op)) for op in ("op", None)]
        work += [asyncio.ensure_future(gateway.catch_up())]
        await turns(moment)
        world.offer(2, 100)
        closing = [asyncio.ensure_future(gateway.close()) for _ in range(2)]
        results = await asyncio.gather(*work, *closing, return_exceptions=True)
        assert results[-2:] == [None, None]
        assert not [r for r in results if isinstance(r, BaseException) and not isinstance(r, OnefillError)], results
        assert not [r for r in results if isinstance(r, OrderUncertain)], results
        await gateway.close()
        sent = len(world.venue.calls)
        await asyncio.sleep(100)
        assert len(world.venue.calls) == sent
        with pytest.raises(OnefillError):
            await gateway.submit(intent(), key="late")
        with pytest.raises(OnefillError):
            await gateway.cancel("a", **WHO)
        async with world.gateway() as gateway:
            for key in "abcd":
                await gateway.submit(intent(), key=key, time_to_live_s=300)
            await gateway.catch_up()
            assert quantity(gateway) == sum(order.cum_quantity for order in world.venue.orders())
        assert all(len(orders) == 1 for orders in world.truth().values())

    run(main)


def test_close_ends_a_wait_for_a_commit_that_will_not_be_heard_of(world: World) -> None:
    """Whoever waits for an order's commits is told of the close, although the commit was abandoned with its driver."""

    async def main() -> None:
        gateway = await world.start()
        real = world.ledger.ledger.commit

        def silent(change: Any) -> Any:
            if change.kind == "copy_settled":
                return asyncio.get_running_loop().create_future()
            return real(change)

        world.ledger.ledger.commit = silent  # type: ignore[method-assign]
        world.venue.muted = True
        waiting = [asyncio.ensure_future(gateway.submit(intent(), key="k"))]
        await until(lambda: world.venue.calls)
        waiting += [asyncio.ensure_future(gateway.cancel("k", **WHO, operation_key=op)) for op in ("op", None)]
        await turns()
        await gateway.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, RouteClosed) for result in results), results

    run(main)


def test_a_close_whose_caller_gives_up_goes_on(world: World) -> None:
    """A time limit around close does not leave the ledger locked."""
    gate = asyncio.Event()
    honest = world.venue.close

    async def slow() -> None:
        await gate.wait()
        await honest()

    async def main() -> None:
        world.venue.close = slow  # type: ignore[method-assign]
        gateway = await world.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gateway.close(), 1)
        gate.set()
        await gateway.close()
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")

    run(main)
