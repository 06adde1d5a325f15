"""Replacing: it happens once, waits for what is not known, and never makes a second order (promises ONE-ORDER, SAY-UNKNOWN)."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_world import WHO, World, intent, until
from scripted_venue import (
    hang,
    lose_replace_reply,
    lose_reply,
    lose_request,
    reply,
    take_replace,
)
from virtual_loop import run

from onefill.core.answers import CancelResult, ReplaceResult
from onefill.core.capabilities import Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import CannotReplace, InvalidField, KeyReused, OrderUncertain, UnknownKey
from onefill.core.lifecycle import Status
from onefill.core.messages import NotSent, Replaced, ReplaceRejected, Throttled, VenueStatus
from onefill.sim.order_book import chains

Make = Callable[..., World]
STYLES = [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID]
HABITS: list[dict[str, Any]] = [
    {"replace": ReplaceStyle.KEEP},
    {"replace": ReplaceStyle.NEW_ID},
    {"replace": ReplaceStyle.NEW_ID, "replaced_shows_as": VenueStatus.CANCELED},
    {"replace": ReplaceStyle.KEEP, "unique_scope": UniqueScope.OPEN, "lookup": Lookup.SCAN},
    {"replace": ReplaceStyle.NEW_ID, "unique_scope": UniqueScope.OPEN, "request_expiry": False},
]


def one_chain(world: World) -> Any:
    """Return the one order of the account, whose links are joined by replaces; fail if there are two."""
    made = chains(world.venue.orders())
    assert len(made) == 1
    return made[0][-1]


@pytest.mark.parametrize("habits", HABITS)
def test_a_replace_happens_once_and_a_repeat_changes_nothing(make_world: Make, habits: dict[str, Any]) -> None:
    """The venue's order has the new terms, the answer says under which id; a repeat, also after a restart, sends nothing."""
    world = make_world(**habits)

    async def main() -> None:
        async with world.gateway() as gateway:
            first = await gateway.submit(intent(), key="k")
            told = await gateway.replace("k", **WHO, quantity=12, price=101)
            assert (told.result, told.changed) == (ReplaceResult.REPLACED, True)
            assert (told.quantity, told.price, told.status) == ("12", "101", Status.NEW)
            assert told.orig_client_order_id == first.client_order_id
            kept = habits["replace"] is ReplaceStyle.KEEP
            assert (told.client_order_id == first.client_order_id) == kept
            again = await gateway.replace("k", **WHO, quantity=12, price=101)
            assert (again.result, again.changed) == (ReplaceResult.REPLACED, False)
        async with world.gateway() as gateway:
            again = await gateway.replace("k", **WHO, quantity=12)
            assert (again.result, again.changed) == (ReplaceResult.REPLACED, False)
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW
        assert world.venue.count("replace") == 1
        assert (one_chain(world).quantity, one_chain(world).price) == (12, 101)

    run(main)


@pytest.mark.parametrize("fate", [lose_replace_reply, lose_request])
@pytest.mark.parametrize("mute", [True, False])
@pytest.mark.parametrize("habits", HABITS)
def test_a_replace_whose_reply_is_lost_is_done_once(
    make_world: Make, habits: dict[str, Any], mute: bool, fate: Any
) -> None:
    """Whether the request or its reply was lost, with the stream or without, the order ends up with the terms, once."""
    world = make_world(**habits)
    world.venue.replaces = [fate]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.venue.muted = mute
            told = await gateway.replace("k", **WHO, quantity=7)
            assert (told.result, told.quantity) == (ReplaceResult.REPLACED, "7")
            world.venue.unmute()
            assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
        assert one_chain(world).status is VenueStatus.CANCELED
        assert one_chain(world).quantity == 7
        if fate is lose_request:
            copies = [call.request for call in world.venue.calls if call.kind == "replace"]
            assert len(copies) == 2
            assert len({(one.client_order_id, one.orig_client_order_id) for one in copies}) == 1

    run(main)


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_waits_while_the_acknowledgement_is_unknown(make_world: Make, style: ReplaceStyle) -> None:
    """A replace of an order whose fate is open is remembered, also over a crash, and sent once the order is known."""
    world = make_world(replace=style)
    world.venue.submits = [lose_reply]
    world.venue.muted = True
    world.venue.lookups = [hang] * 50

    async def main() -> None:
        gateway = await world.start()
        with pytest.raises(OrderUncertain):
            await gateway.submit(intent(), key="k", wait_s=1)
        with pytest.raises(OrderUncertain):
            await gateway.replace("k", **WHO, price=99, operation_key="r", wait_s=1)
        assert world.venue.count("replace") == 0
        await world.kill(gateway)
        world.venue.lookups = []
        async with world.gateway() as gateway:
            told = await gateway.replace("k", **WHO, price=99, operation_key="r")
            assert (told.result, told.price) == (ReplaceResult.REPLACED, "99")
        assert world.venue.count("replace") == 1
        assert one_chain(world).price == 99

    run(main)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("wanted", "result", "status"),
    [
        (9, ReplaceResult.REPLACED, Status.PARTIALLY_FILLED),
        (6, ReplaceResult.REPLACED, Status.FILLED),
        (5, ReplaceResult.REFUSED, Status.PARTIALLY_FILLED),
    ],
    ids=["above", "equal", "below"],
)
def test_a_replace_that_crosses_a_fill(
    make_world: Make, style: ReplaceStyle, wanted: int, result: ReplaceResult, status: Status
) -> None:
    """6 of 10 are filled while the replace is under way: above that it stands, at it the order is filled, below it refused."""
    world = make_world(replace=style)

    async def crossing(venue: Any, request: Any) -> Any:
        world.offer(6, 100)
        return await take_replace(venue, request)

    world.venue.replaces = [crossing]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            told = await gateway.replace("k", **WHO, quantity=wanted)
            assert told.result is result
            await gateway.catch_up()
            order = await gateway.order("k", **WHO)
            assert (order.status, order.cum_quantity, order.anomaly) == (status, 6, None)
            assert order.quantity == (10 if result is ReplaceResult.REFUSED else wanted)
        one_chain(world)

    run(main)


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_comes_after_the_fill_reports_it(make_world: Make, style: ReplaceStyle) -> None:
    """The order filled while the replace was on its way: the venue refuses, and whoever asked is told of the fill."""
    world = make_world(replace=style)

    async def crossing(venue: Any, request: Any) -> Any:
        world.offer(10, 100)
        return await take_replace(venue, request)

    world.venue.replaces = [crossing]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            told = await gateway.replace("k", **WHO, quantity=20)
            assert (told.result, told.status, told.cum_quantity) == (ReplaceResult.FILLED, Status.FILLED, "10")

    run(main)


@pytest.mark.parametrize("habits", HABITS)
def test_a_chain_of_replaces_is_one_order(make_world: Make, habits: dict[str, Any]) -> None:
    """Ten replaces, each with a lost reply, fills in between: one chain at the venue, every execution counted once."""
    world = make_world(**habits)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(quantity=30), key="k")
            for n in range(10):
                world.venue.replaces = [lose_replace_reply]
                told = await gateway.replace("k", **WHO, price=100 + n % 2 + 1, quantity=30 + n, wait_s=300)
                assert told.result is ReplaceResult.REPLACED
                world.offer(2, 1)
            await gateway.catch_up()
            order = await gateway.order("k", **WHO)
            assert (order.cum_quantity, order.quantity, order.anomaly) == (20, 39, None)
            assert (await gateway.cancel("k", **WHO)).cum_quantity == "20"
        assert one_chain(world).cum_quantity == 20

    run(main)


def test_replaces_at_once_go_one_after_the_other(world: World) -> None:
    """Alike replaces at the same time make one request; different ones are both done, one after the other."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            alike = [
                gateway.replace("k", **WHO, quantity=11, operation_key=f"r{n}" if n % 2 else None) for n in range(6)
            ]
            answers = await asyncio.gather(*alike)
            assert {answer.result for answer in answers} == {ReplaceResult.REPLACED}
            assert world.venue.count("replace") == 1
            answers = await asyncio.gather(*(gateway.replace("k", **WHO, quantity=n) for n in (12, 13)))
            assert {answer.result for answer in answers} == {ReplaceResult.REPLACED}
        assert {call.request.quantity for call in world.venue.calls if call.kind == "replace"} == {11, 12, 13}
        assert one_chain(world).quantity in {12, 13}

    run(main)


def test_on_a_venue_that_keeps_the_id_a_further_replace_waits_for_a_stray_copy(make_world: Make) -> None:
    """A late copy of the first replace would undo the second, so the second is not sent before that copy must be dead."""
    world = make_world(replace=ReplaceStyle.KEEP, conclusive_after_s=5.0)
    landed: list[Any] = []

    async def stray(venue: Any, request: Any) -> Any:
        asyncio.get_running_loop().call_later(
            1.5, lambda: landed.append(venue.exchange.replace(request, venue.now_us()))
        )
        raise TimeoutError

    world.venue.replaces = [stray]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            begun = asyncio.get_running_loop().time()
            await gateway.replace("k", **WHO, quantity=11)
            assert not landed
            told = await gateway.replace("k", **WHO, quantity=12)
            assert told.result is ReplaceResult.REPLACED
            assert landed, "the stray copy came while the second replace waited"
            assert asyncio.get_running_loop().time() - begun >= 5.0
        assert one_chain(world).quantity == 12

    run(main)


@pytest.mark.parametrize("habits", HABITS)
@pytest.mark.parametrize("fate", [lose_replace_reply, lose_request])
def test_a_cancel_while_a_replace_is_uncertain_ends_the_order(
    make_world: Make, habits: dict[str, Any], fate: Any
) -> None:
    """Whatever became of the replace, the cancel finds the order that is live, and nothing is left at the venue."""
    world = make_world(**habits)
    world.venue.replaces = [fate]
    world.venue.muted = True

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            replacing = asyncio.ensure_future(gateway.replace("k", **WHO, quantity=12, wait_s=100))
            await until(lambda: world.venue.count("replace") == 1)
            told = await gateway.cancel("k", **WHO, wait_s=100)
            assert (told.result, told.status) == (CancelResult.CANCELED, Status.CANCELED)
            answer = await replacing
            assert answer.result in {ReplaceResult.REPLACED, ReplaceResult.REFUSED, ReplaceResult.ENDED}
            world.venue.unmute()
            await gateway.catch_up()
        assert one_chain(world).status is VenueStatus.CANCELED

    run(main)


def test_what_is_to_be_cancelled_is_not_replaced(world: World) -> None:
    """A replace that was not sent yet is dropped when a cancel comes."""
    world.venue.submits = [hang]

    async def main() -> None:
        async with world.gateway(reply_timeout_s=2.0) as gateway:
            submitting = asyncio.ensure_future(gateway.submit(intent(), key="k"))
            await until(lambda: world.venue.count("submit") == 1)
            replacing = asyncio.ensure_future(gateway.replace("k", **WHO, quantity=12))
            cancelling = asyncio.ensure_future(gateway.cancel("k", **WHO))
            await submitting
            assert (await replacing).result in {ReplaceResult.NEVER_SENT, ReplaceResult.ENDED, ReplaceResult.REFUSED}
            assert (await cancelling).result in {CancelResult.CANCELED, CancelResult.NEVER_SENT}
        assert world.venue.count("replace") == 0

    run(main)


def test_an_operation_key_replays_the_same_bytes_and_no_other_wish(world: World) -> None:
    """The answer under an operation key is the same for ever; the same key with other terms or another kind is refused."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            first = await gateway.replace_raw("k", **WHO, quantity=12, operation_key="r")
            await gateway.replace_raw("k", **WHO, quantity=14, operation_key="s")
            assert await gateway.replace_raw("k", **WHO, quantity=12, operation_key="r") == first
            for wish in ({"quantity": 13}, {"quantity": 12, "price": 100}):
                with pytest.raises(KeyReused):
                    await gateway.replace("k", **WHO, **wish, operation_key="r")
            with pytest.raises(KeyReused):
                await gateway.cancel("k", **WHO, operation_key="r")
        async with world.gateway() as gateway:
            assert await gateway.replace_raw("k", **WHO, quantity=12, operation_key="r") == first

    run(main)


def test_an_unknown_key_is_an_error_or_a_lasting_answer(world: World) -> None:
    """Without an operation key the caller is told; with one the answer stays, although the order is recorded later."""

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(UnknownKey):
                await gateway.replace("k", **WHO, quantity=1)
            told = await gateway.replace("k", **WHO, quantity=1, operation_key="r")
            assert told.result is ReplaceResult.UNKNOWN_KEY
            await gateway.submit(intent(), key="k")
            assert await gateway.replace("k", **WHO, quantity=1, operation_key="r") == told

    run(main)


def test_what_cannot_be_replaced_is_refused_before_anything_is_recorded(make_world: Make) -> None:
    """No terms, wrong terms, a market order, a venue without replace: each is named, and the order goes on."""

    async def main() -> None:
        world = make_world()
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            for wish in ({}, {"quantity": 0}, {"quantity": "1.5"}, {"price": "0.001"}, {"price": -1}):
                with pytest.raises(InvalidField):
                    await gateway.replace("k", **WHO, **wish)
        world = make_world(replace=ReplaceStyle.NONE)
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            with pytest.raises(CannotReplace):
                await gateway.replace("k", **WHO, quantity=12)
            assert (await gateway.order("k", **WHO)).status is Status.NEW
        assert world.venue.count("replace") == 0

    run(main)


@pytest.mark.parametrize("first", [reply(NotSent("no connection")), reply(Throttled("slow down", 1.5))])
def test_a_replace_that_had_no_effect_is_sent_again(world: World, first: Any) -> None:
    """A copy that never left, or was refused for rate, is followed by another under the same ids, not before its time."""
    world.venue.replaces = [first]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            assert (await gateway.replace("k", **WHO, quantity=12)).result is ReplaceResult.REPLACED
        assert world.venue.count("replace") == 2

    run(main)


def test_a_refused_replace_leaves_the_order_as_it_was(world: World) -> None:
    """The venue's refusal is told in its words; the order keeps its terms and can be replaced again."""
    world.venue.replaces = [reply(ReplaceRejected("not now"))]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            told = await gateway.replace("k", **WHO, quantity=12)
            assert (told.result, told.reason, told.quantity) == (ReplaceResult.REFUSED, "not now", "10")
            assert (await gateway.replace("k", **WHO, quantity=12)).result is ReplaceResult.REPLACED

    run(main)


def test_a_replace_is_not_sent_after_its_time(world: World) -> None:
    """A replace that had to wait longer than its time to live is dropped, and whoever asks again is told so."""
    world.venue.submits = [lose_reply]
    world.venue.muted = True
    world.venue.lookups = [hang] * 3

    async def main() -> None:
        async with world.gateway() as gateway:
            submitting = asyncio.ensure_future(gateway.submit(intent(), key="k", wait_s=100))
            await until(lambda: world.venue.count("lookup") == 1)
            told = await gateway.replace("k", **WHO, quantity=12, time_to_live_s=5, wait_s=100)
            assert told.result is ReplaceResult.REFUSED
            assert (await submitting).accepted
        assert world.venue.count("replace") == 0
        assert one_chain(world).quantity == Decimal(10)

    run(main)


@pytest.mark.parametrize("style", STYLES)
def test_a_crash_at_any_call_of_a_replace_leaves_one_order(make_world: Make, style: ReplaceStyle) -> None:
    """The process dies before or after each call that a replace makes; the next one finishes it, with one order."""
    for when in ("before", "after"):
        for place in range(1, 9):
            world = make_world(replace=style)
            calls: list[str] = []

            def point(name: str, calls: list[str] = calls, place: int = place, when: str = when) -> str | None:
                calls.append(name)
                return when if len(calls) == place else None

            async def main(world: World = world, point: Any = point) -> None:
                gateway = await world.start()
                await gateway.submit(intent(), key="k")
                world.ledger.point = point
                replacing = asyncio.ensure_future(gateway.replace("k", **WHO, quantity=12, operation_key="r"))
                await asyncio.wait(
                    {replacing, asyncio.ensure_future(world.crashed.wait())}, return_when="FIRST_COMPLETED"
                )
                await world.kill(gateway)
                replacing.cancel()
                await asyncio.gather(replacing, return_exceptions=True)
                async with world.gateway() as gateway:
                    told = await gateway.replace("k", **WHO, quantity=12, operation_key="r")
                    assert told.result is ReplaceResult.REPLACED
                assert one_chain(world).quantity == 12

            run(main)


def test_a_venue_may_make_the_quantity_what_is_executed(world: World) -> None:
    """Less was wanted than is executed, and the venue answers with what is: that is in force, also after a restart."""

    async def crossing(venue: Any, request: Any) -> Any:
        world.offer(6, 100)
        made = await take_replace(venue, msgspec.structs.replace(request, quantity=Decimal(6)))
        assert isinstance(made, Replaced)
        return made

    world.venue.replaces = [crossing]

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            told = await gateway.replace("k", **WHO, quantity=5)
            assert (told.result, told.quantity) == (ReplaceResult.REPLACED, "6")
            await gateway.catch_up()
        async with world.gateway() as gateway:
            order = await gateway.order("k", **WHO)
            assert (order.status, order.quantity, order.cum_quantity) == (Status.FILLED, 6, 6)

    run(main)
