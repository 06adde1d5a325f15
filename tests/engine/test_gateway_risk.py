"""Risk gates in the gateway: what is refused is recorded, never sent, and answered the same for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_world import WHO, World, intent, turns, until
from scripted_venue import hang, lose_request, reply
from virtual_loop import run

from onefill.core.answers import CancelResult
from onefill.core.errors import CannotReplace, InvalidField, KeyReused, OrderUncertain, UnknownVenue
from onefill.core.lifecycle import Status
from onefill.core.messages import Rejected
from onefill.core.risk_limits import Limits, Risk
from onefill.core.values import OrderType
from onefill.engine.gateway import Gateway

Make = Callable[..., World]
MARKET: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None, "time_in_force": "ioc"}


def limits(**given: Any) -> Risk:
    """Return these limits for all. Orders just alike are allowed unless the window is given."""
    return Risk(limits=Limits(**({"similar_window_s": 0} | given)))


async def taken(gateway: Gateway, key: str, **order: Any) -> str:
    """Submit an order and return its status, or the gate that refused it."""
    allow_similar = order.pop("allow_similar", False)
    answer = await gateway.submit(intent(**order), key=key, allow_similar=allow_similar)
    if answer.status is not Status.REFUSED:
        return str(answer.status)
    assert not answer.accepted
    return str(answer.reason).split(":")[0]


# --------------------------------------------------------------------- refusals


def test_a_refused_intent_is_recorded_and_nothing_is_sent(world: World) -> None:
    """It is in the intent table and in the journal with its gate, it has no copy, and the venue hears nothing."""
    world.risk = limits(max_quantity=9)

    async def main() -> None:
        async with world.gateway() as gateway:
            answer = await gateway.submit(intent(), key="k")
            assert answer.status is Status.REFUSED
            assert answer.reason is not None
            assert answer.reason.startswith("size: quantity 10 is above max_quantity 9. ")
            assert "a new key" in answer.reason
            assert gateway.open_orders() == []
            assert (await gateway.order("k", **WHO)).status is Status.REFUSED
            assert (await gateway.cancel("k", **WHO)).result is CancelResult.NEVER_SENT
            with pytest.raises(KeyReused, match="quantity"):
                await gateway.submit(intent(quantity=5), key="k")
        assert not world.venue.calls
        assert world.rows("SELECT count(*) FROM attempt") == [(0,)]
        (payload,) = [row[0] for row in world.rows("SELECT payload FROM journal WHERE kind = 'recorded'")]
        assert '"type":"refused","gate":"size"' in payload
        assert "claimed" not in payload

    run(main)


@pytest.mark.parametrize("recent_orders", [0, 1000])
def test_a_refusal_is_the_same_bytes_whenever_it_is_asked_for(world: World, recent_orders: int) -> None:
    """At once, at the same time, from disk, after a restart, with the limits lifted, and with allow_similar."""
    world.risk = limits(max_position=5)

    async def main() -> None:
        async with world.gateway(recent_orders=recent_orders) as gateway:
            answers = set(await asyncio.gather(*(gateway.submit_raw(intent(), key="k") for _ in range(11))))
            await turns()
            answers.add(await gateway.submit_raw(intent(), key="k"))
            answers.add(await gateway.submit_raw(intent(), key="k", allow_similar=True))
        for risk in (None, limits(max_position=1000), limits(max_quantity=1)):
            world.risk = risk
            async with world.gateway(recent_orders=recent_orders) as gateway:
                answers.add(await gateway.submit_raw(intent(), key="k", allow_similar=True))
        assert len(answers) == 1
        assert world.rows("SELECT count(*) FROM intent") == [(1,)]
        assert not world.venue.calls

    run(main)


def test_an_order_that_was_taken_keeps_its_answer_under_stricter_limits(world: World) -> None:
    """The gates judge new intents only: a retry is no new exposure."""

    async def main() -> None:
        async with world.gateway() as gateway:
            first = await gateway.submit_raw(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
        world.risk = limits(max_quantity=1, max_orders_per_s=0)
        for recent_orders in (0, 1000):
            async with world.gateway(recent_orders=recent_orders) as gateway:
                assert await gateway.submit_raw(intent(), key="k") == first
                assert await gateway.submit_raw(intent(), key="k") == first
        assert world.venue.count("submit") == 1

    run(main)


def test_a_crash_before_the_refusal_is_durable_leaves_nothing(world: World) -> None:
    """Nothing was said, so that the retry is judged anew; what was said before a crash stays."""
    world.risk = limits(max_quantity=9)

    async def main() -> None:
        gateway = await world.start()
        world.ledger.point = lambda name: "before" if name == "commit" else None
        task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
        await turns()
        assert not task.done()
        task.cancel()
        await world.kill(gateway)
        world.risk = None
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW

    run(main)


def test_without_limits_nothing_is_refused(world: World) -> None:
    """No [risk] means no gates, not even the two that are on by default."""

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a") == "new"
            assert await taken(gateway, "b") == "new"
            assert await taken(gateway, "c", side="sell", price=100) in {"new", "filled"}

    run(main)


# ------------------------------------------------------------------- each gate


def test_orders_of_uncertain_fate_count_in_full(world: World) -> None:
    """An order that may be at the venue uses up the position limit, and its end without a fill gives it back."""
    world.risk = limits(max_position=15)
    world.venue.submits = [lose_request]
    world.venue.lookups = [hang]

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="a", wait_s=0.01, time_to_live_s=8)
            assert await taken(gateway, "b", quantity=6) == "position"
            assert await taken(gateway, "c", quantity=5) == "new"
            await until(lambda: all(order.key != "a" for order in gateway.open_orders()))
            assert await taken(gateway, "d", quantity=6) == "new"

    run(main)


def test_a_position_limit_counts_open_orders_and_fills_alike(world: World) -> None:
    """What fills goes from the open orders to the position: the sum stays; the other side has a room of its own."""
    world.risk = limits(max_position=20, self_crossing="allow")

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a") == "new"
            world.offer(4, 100)
            assert await taken(gateway, "b", quantity=10) == "new"
            await gateway.catch_up()
            assert await taken(gateway, "c", quantity=1) == "position"
            assert await taken(gateway, "d", side="sell", price=200, quantity=24) == "new"
            assert await taken(gateway, "e", side="sell", price=200, quantity=1) == "position"
            assert await taken(gateway, "f", side="sell", quantity=1, **MARKET) == "position"
            await gateway.cancel("b", **WHO)
            assert await taken(gateway, "g", quantity=10) == "new"
            assert await taken(gateway, "h", quantity=1) == "position"

    run(main)


def test_of_many_at_once_only_as_many_pass_as_may(world: World) -> None:
    """Decision and memory move together: ten submits at the same time never share one room."""
    world.risk = limits(max_position=35, max_open_orders=5)

    async def main() -> None:
        async with world.gateway() as gateway:
            told = await asyncio.gather(*(taken(gateway, f"k{n}") for n in range(10)))
            assert sorted(told) == ["new"] * 3 + ["position"] * 7
            told = await asyncio.gather(*(taken(gateway, f"s{n}", quantity=1) for n in range(10)))
            assert sorted(told) == ["new"] * 2 + ["open_orders"] * 8
        assert world.venue.count("submit") == 5

    run(main)


def test_open_orders_are_counted_by_account_and_strategy(world: World) -> None:
    """Another strategy has its own; an order that ends makes room."""
    world.risk = limits(max_open_orders=1)

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a") == "new"
            assert await taken(gateway, "b") == "open_orders"
            assert await taken(gateway, "a", strategy="t") == "new"
            world.offer(10, 100)
            await gateway.catch_up()
            assert await taken(gateway, "c") == "new"

    run(main)


def test_the_rate_is_that_of_any_second(world: World) -> None:
    """Of orders taken; what was refused does not count, and a restart goes on with the window where it stood."""
    world.risk = limits(max_orders_per_s=3, max_quantity=10)

    async def main() -> None:
        async with world.gateway() as gateway:
            assert [await taken(gateway, f"a{n}") for n in range(2)] == ["new", "new"]
            assert await taken(gateway, "big", quantity=11) == "size"
            await asyncio.sleep(0.5)
            assert [await taken(gateway, f"b{n}") for n in range(2)] == ["new", "rate"]
            await asyncio.sleep(0.4)
        async with world.gateway() as gateway:
            assert await taken(gateway, "c") == "rate"
            await asyncio.sleep(0.1)
            assert [await taken(gateway, f"d{n}") for n in range(3)] == ["new", "new", "rate"]

    run(main)


def test_an_account_does_not_trade_with_itself(world: World) -> None:
    """Prices that touch are refused, on both sides, for all strategies of an account; one behind the other is not."""
    world.risk = limits()

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a", side="sell", price=102) == "new"
            assert await taken(gateway, "b", side="sell", price=101) == "new"
            assert await taken(gateway, "c", price=100) == "new"
            assert await taken(gateway, "d", price=101, strategy="t") == "self_crossing"
            assert await taken(gateway, "e", side="sell", price=100) == "self_crossing"
            assert await taken(gateway, "f", **MARKET) == "self_crossing"
            await gateway.cancel("b", **WHO)
            assert await taken(gateway, "g", price=101) == "new"
            assert await taken(gateway, "h", price=102) == "self_crossing"

    run(main)


def test_an_order_of_uncertain_fate_is_not_crossed(world: World) -> None:
    """It may be at the venue; it is named in the reason."""
    world.risk = limits()
    world.venue.submits = [lose_request]
    world.venue.lookups = [hang]

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="lost", wait_s=0.01)
            answer = await gateway.submit(intent(side="sell"), key="b")
            assert answer.status is Status.REFUSED
            assert "'lost' at 100" in str(answer.reason)

    run(main)


def test_a_suspected_duplicate_needs_a_word(world: World) -> None:
    """The same order under another key, of any strategy of the account, within the window, and after a restart too."""
    world.risk = limits(similar_window_s=2)

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a") == "new"
            assert await taken(gateway, "b") == "similar"
            assert await taken(gateway, "b", allow_similar=True) == "similar"  # the key has its answer
            assert await taken(gateway, "a", strategy="t") == "similar"
            assert await taken(gateway, "c", allow_similar=True) == "new"
            for other in ({"quantity": 11}, {"price": 99}, {"side": "sell", "price": 200}):
                assert await taken(gateway, f"d{other}", **other) == "new"
            await asyncio.sleep(1.5)
        async with world.gateway() as gateway:
            assert await taken(gateway, "e") == "similar"
            await asyncio.sleep(0.5)
            assert await taken(gateway, "f") == "new"

    run(main)


def test_an_order_that_came_to_nothing_is_no_twin(world: World) -> None:
    """After a rejection, or a cancel before any fill, the same order may be sent at once; after a fill it is asked about."""
    world.risk = limits(similar_window_s=60)
    world.venue.submits = [reply(Rejected("no money", "funds"))]

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a") == "rejected"
            assert await taken(gateway, "b") == "new"
            await gateway.cancel("b", **WHO)
            assert await taken(gateway, "c") == "new"
            world.offer(10, 100)
            await gateway.catch_up()
            assert await taken(gateway, "d") == "similar"
        world.risk = limits(similar_window_s=60)
        async with world.gateway() as gateway:
            assert await taken(gateway, "e") == "similar"

    run(main)


def test_prices_are_judged_by_the_last_one_that_is_known(world: World) -> None:
    """A trade here, or what the caller says, whichever came last; with none the order is refused."""
    world.risk = limits(collar="0.1", max_notional=2000)

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "a") == "collar"
            assert await taken(gateway, "m", **MARKET) == "notional"
            gateway.reference_price("X", "ACME", 90)
            assert await taken(gateway, "b") == "collar"
            gateway.reference_price("X", "ACME", "100")
            assert await taken(gateway, "c") == "new"
            assert await taken(gateway, "d", price=110) == "new"
            assert await taken(gateway, "e", price="110.01") == "collar"
            world.offer(10, 110)
            await gateway.catch_up()
            assert await taken(gateway, "f", price=120) == "new"
            assert await taken(gateway, "g", quantity=19, **MARKET) == "notional"
            gateway.reference_price("X", "ACME", None)
            assert await taken(gateway, "h") == "collar"
            with pytest.raises(InvalidField, match="price"):
                gateway.reference_price("X", "ACME", 0)
            with pytest.raises(UnknownVenue):
                gateway.reference_price("Y", "ACME", 1)

    run(main)


# --------------------------------------------------------------------- replaces


@pytest.mark.parametrize("operation_key", [None, "r"])
def test_a_replace_that_a_gate_refuses_changes_nothing(world: World, operation_key: str | None) -> None:
    """It raises CannotReplace with the gate's text; nothing is recorded or sent, also under an operation key."""
    world.risk = limits(max_quantity=20, max_notional=1600, collar="0.2", max_position=25)

    async def main() -> None:
        async with world.gateway() as gateway:
            gateway.reference_price("X", "ACME", 100)
            assert await taken(gateway, "k") == "new"
            assert await taken(gateway, "l", quantity=10, price=99) == "new"
            assert await taken(gateway, "s", quantity=5, side="sell", price=115) == "new"
            for gate, terms in {
                "size": {"quantity": 21},
                "position": {"quantity": 16},
                "notional": {"quantity": 15, "price": 110},
                "collar": {"price": 121},
                "self_crossing": {"price": 115},
            }.items():
                with pytest.raises(CannotReplace, match=rf"cannot be replaced: {gate}: .* Nothing was changed"):
                    await gateway.replace("k", **WHO, operation_key=operation_key, **terms)
            assert world.venue.count("replace") == 0
            assert world.rows("SELECT count(*) FROM operation") == [(0,)]
            assert (await gateway.order("k", **WHO)).replacements == 0
            told = await gateway.replace("k", **WHO, quantity=15, price=101, operation_key=operation_key)
            assert told.quantity == "15"
            assert await taken(gateway, "m", quantity=1) == "position"

    run(main)


def test_a_replace_that_takes_risk_away_is_never_refused(world: World) -> None:
    """Less quantity, or a price that is worth less and further from trading, passes under limits that the order breaks."""

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "k") == "new"
        world.risk = limits(max_quantity=1, max_notional=1, max_position=1)
        async with world.gateway() as gateway:
            assert (await gateway.replace("k", **WHO, quantity=8)).quantity == "8"
            assert (await gateway.replace("k", **WHO, price=90)).price == "90"
            with pytest.raises(CannotReplace, match="size"):
                await gateway.replace("k", **WHO, quantity=9)

    run(main)


def test_a_replace_counts_from_its_recording(world: World) -> None:
    """While its fate is open the larger quantity counts, and both prices may be crossed by nothing."""
    world.risk = limits(max_position=20)
    world.venue.replaces = [hang]

    async def main() -> None:
        async with world.gateway() as gateway:
            assert await taken(gateway, "k") == "new"
            task = asyncio.ensure_future(gateway.replace("k", **WHO, quantity=15, price=105))
            await until(lambda: world.venue.count("replace"))
            assert await taken(gateway, "a", quantity=6) == "position"
            assert await taken(gateway, "b", side="sell", price=105) == "self_crossing"
            assert await taken(gateway, "c", side="sell", price=106) == "new"
            assert await taken(gateway, "d", quantity=5) == "new"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(main)
