"""Asking before repeating: what follows a time-out, for every kind of venue and every fate of the first copy."""

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest
from gateway_world import World, intent, until
from scripted_venue import Step, fail, hang, late, lose_reply, lose_request, reply
from virtual_loop import run

from onefill.core.capabilities import DuplicateReply, UniqueScope
from onefill.core.errors import OrderUncertain, RouteClosed
from onefill.core.lifecycle import Status
from onefill.core.messages import Found, NotFound, Rejected, Unknown, VenueOrder, VenueStatus
from onefill.core.values import OrderType, Side
from onefill.engine.settings import GatewaySettings
from onefill.ports.ledger import Stale

Make = Callable[..., World]
FATES: dict[str, Callable[[], Step]] = {
    "landed": lambda: lose_reply,
    "lost": lambda: lose_request,
    "ghost": lambda: late(1.2),
}
REPEATABLE = {UniqueScope.EVER, UniqueScope.DAY}


@pytest.mark.parametrize("mute", [True, False])
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.parametrize("scope", list(UniqueScope))
def test_after_a_time_out_the_venue_is_asked_and_sent_only_what_its_habits_allow(
    make_world: Make, scope: UniqueScope, lookup: bool, fate: str, mute: bool
) -> None:
    """ASK-FIRST, for every scope, look-up or none, stream or none, and every fate of the first copy: never two orders."""
    world = make_world(unique_scope=scope, lookup=lookup)
    world.venue.submits = [FATES[fate]()]
    world.venue.muted = mute
    answered = []

    async def main() -> None:
        async with world.gateway() as gateway:
            try:
                answered.append(await gateway.submit(intent(), key="k", wait_s=25))
            except OrderUncertain:
                answered.append(None)
            world.venue.unmute()

    run(main)
    calls = world.venue.calls
    first, resends = calls[0], [call for call in calls[1:] if call.kind == "submit"]
    assert len(world.venue.orders()) <= 1
    assert len(world.venue.ids()) == 1
    if fate == "landed" and not mute:
        assert len(calls) == 1, "the stream told before anybody had to ask"
    elif lookup:
        assert calls[1].kind == "lookup"
        if scope not in REPEATABLE:
            assert all(call.at_us >= first.at_us + 5_000_000 for call in resends)
        if scope is UniqueScope.NONE and fate == "lost":
            # Nothing at the venue would stop a second order: the first is said to be absent, and not sent again.
            assert answered[0].status is Status.EXPIRED_UNSENT
            assert not resends
        else:
            assert answered[0].status is Status.NEW
            assert bool(resends) == (fate == "lost" or (fate == "ghost" and scope in REPEATABLE))
    elif scope in REPEATABLE:
        assert resends, "the venue tells a repeat from a first copy, so the repeat is the question"
        # A venue that calls the id a duplicate and shows nothing leaves it to the stream.
        assert (answered[0] is None) == (fate == "landed" and mute)
    else:
        assert not resends
        assert (answered[0] is None) == (fate == "lost" or mute)


@pytest.mark.parametrize("scope", [UniqueScope.EVER, UniqueScope.DAY, UniqueScope.OPEN])
@pytest.mark.parametrize("duplicate_reply", [DuplicateReply.ERROR, DuplicateReply.ORIGINAL])
@pytest.mark.parametrize("lookup", [True, False])
def test_a_ghost_of_a_filled_order_is_no_second_order(
    make_world: Make, scope: UniqueScope, duplicate_reply: DuplicateReply, lookup: bool
) -> None:
    """However late the first copy comes, and although the order that a resend made has filled meanwhile, there is one order.

    The exchange is the real one: it takes the id of a filled order again where ids are unique among open orders only.
    """
    effective = 0
    for half_s in range(15):
        world = make_world(unique_scope=scope, duplicate_reply=duplicate_reply, lookup=lookup)
        arrived: list[object] = []
        world.venue.submits = [late(half_s / 2 + 0.1, land_reply=arrived.append)]
        world.offer(5, 100, side="buy")

        async def main(world: World = world, arrived: list[object] = arrived) -> None:
            async with world.gateway() as gateway:
                task = asyncio.ensure_future(gateway.submit(intent(side="sell", quantity=5), key="k", wait_s=60))
                await until(lambda: arrived, step_s=0.05)
                await asyncio.sleep(10)
                if scope is not UniqueScope.OPEN or lookup:
                    assert (await task).accepted
                    await gateway.catch_up()
                    assert (await gateway.order("k", account="A", strategy="s")).status is Status.FILLED
                else:
                    task.cancel()

        run(main)
        assert len(world.venue.orders()) <= 1
        effective += world.venue.count("submit") > 1
    assert effective or (scope is UniqueScope.OPEN and not lookup)


def test_a_venue_that_promises_too_much_does_get_two_orders(make_world: Make) -> None:
    """The canary of the test above: if "not found" is declared conclusive while a copy is still welcome, there are two."""
    world = make_world(unique_scope=UniqueScope.OPEN, conclusive_after_s=0.5, request_expiry=False)
    world.venue.submits = [late(30.0)]
    world.offer(50, 100, side="buy")

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(side="sell", quantity=5), key="k", time_to_live_s=60, wait_s=60)
            await asyncio.sleep(30)
            await gateway.catch_up()
            order = await gateway.order("k", account="A", strategy="s")
            assert order.anomaly
            assert "two orders" in order.anomaly or "overfill" in order.anomaly

    run(main)
    assert len(world.venue.orders()) == 2


async def raises_cancelled(_venue: object, _request: object) -> object:
    """As a client does whose own inner task was cancelled."""
    raise asyncio.CancelledError


async def swallows_cancellation(_venue: object, _request: object) -> object:
    """As a client does that takes every end for its own."""
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        return Unknown("gave up")
    return None


async def turns_cancellation_into_an_error(_venue: object, _request: object) -> object:
    """As a client does whose cleanup fails."""
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        raise OSError("closed") from None


STRANGE = {
    "cancelled inside": raises_cancelled,
    "swallows the time limit": swallows_cancellation,
    "turns the time limit into an error": turns_cancellation_into_an_error,
    "never answers": hang,
    "returns nothing": reply(None),
    "returns a number": reply(7),
    "returns a look-up's reply": reply(NotFound("?")),
    "raises a type error": fail(TypeError("x")),
    "raises a lookup error": fail(KeyError("x")),
    "raises StopAsyncIteration": fail(StopAsyncIteration()),
    "raises a group": fail(ExceptionGroup("many", [OSError("x")])),
    "unknown": reply(Unknown("?")),
}


@pytest.mark.parametrize("how", STRANGE)
@pytest.mark.parametrize("kind", ["submit", "lookup", "cancel"])
def test_whatever_a_venue_call_comes_to_the_order_goes_on(make_world: Make, kind: str, how: str) -> None:
    """Odd exceptions, cancellations from inside, wrong types and silence are all *unknown*: of one order, not of the route."""
    world = make_world(GatewaySettings(reply_timeout_s=2.0))
    if kind == "submit":
        world.venue.submits = [STRANGE[how]] * 2
    elif kind == "lookup":
        world.venue.submits = [lose_reply]
        world.venue.lookups = [STRANGE[how]] * 2
        world.venue.muted = True
    else:
        world.venue.cancels = [STRANGE[how]] * 2

    async def main() -> None:
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW
            assert (await gateway.cancel("k", account="A", strategy="s")).result == "canceled"
            assert gateway.failure() is None
        assert len(world.venue.orders()) == 1

    run(main)


class Strange(BaseException):
    """Not an Exception, as some libraries' time-outs are not."""


@pytest.mark.parametrize("kind", ["submit", "lookup", "cancel"])
def test_an_exception_of_no_known_kind_closes_the_route(make_world: Make, kind: str) -> None:
    """What is no Exception closes the route with its name (FAIL-CLOSED), and nobody waits for ever; a restart recovers."""
    world = make_world()
    if kind == "lookup":
        world.venue.submits = [lose_reply]
        world.venue.muted = True
    getattr(world.venue, f"{kind}s").append(fail(Strange("odd")))

    async def main() -> None:
        async with world.gateway() as gateway:

            async def both() -> None:
                await gateway.submit(intent(), key="k")
                await gateway.cancel("k", account="A", strategy="s")

            with pytest.raises(RouteClosed, match="Strange: odd"):
                await both()
            assert gateway.failure() is not None
        world.venue.unmute()
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW
        assert len(world.venue.orders()) == 1

    run(main)


def test_another_order_under_our_id_is_not_adopted(make_world: Make) -> None:
    """A look-up that shows an order which differs from ours leaves ours UNCERTAIN, with an anomaly, and sends nothing."""
    world = make_world()
    world.venue.submits = [lose_request]

    async def stranger(_venue: object, client_order_id: str) -> object:
        return Found(
            VenueOrder(
                client_order_id=client_order_id,
                venue_order_id="X77",
                instrument="ACME",
                side=Side.SELL,
                quantity=Decimal(10),
                order_type=OrderType.LIMIT,
                price=Decimal(100),
                status=VenueStatus.NEW,
                cum_quantity=Decimal(0),
            )
        )

    world.venue.lookups = [stranger] * 99

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="k")
            order = await gateway.order("k", account="A", strategy="s")
            assert (order.status, order.parked) == (Status.UNCERTAIN, True)
            assert "side differs" in (order.anomaly or "")
        assert world.venue.count("submit") == 1

    run(main)


def test_a_reply_that_the_ledger_refuses_is_judged_anew(make_world: Make) -> None:
    """If the order moved on while a reply was recorded, the reply is not lost: a rejection stays a rejection."""
    world = make_world(lookup=False, unique_scope=UniqueScope.NONE)
    world.venue.submits = [reply(Rejected("no"))]
    spoilt = []

    def spoil(change: object) -> object:
        if getattr(change, "kind", None) == "copy_settled" and len(spoilt) < 3:
            spoilt.append(change)
            return Stale("made up")
        return None

    async def main() -> None:
        async with world.gateway() as gateway:
            world.ledger.spoil = spoil
            assert (await gateway.submit(intent(), key="k")).status is Status.REJECTED
        assert len(spoilt) == 3
        assert world.venue.count("submit") == 1

    run(main)


def test_evidence_between_claim_and_send_stops_the_send(make_world: Make) -> None:
    """If the stream shows the order while its resend is being claimed, the resend does not leave."""
    world = make_world(unique_scope=UniqueScope.OPEN)
    world.venue.submits = [lose_reply]
    # A venue that shows nothing for longer than it promised.
    world.venue.lookups = [reply(NotFound("?"))] * 30
    world.venue.muted = True

    async def main() -> None:
        async with world.gateway() as gateway:
            world.offer(10, 100)

            def show(change: object) -> None:
                if getattr(change, "kind", None) == "claimed":
                    world.offer(10, 100)
                    world.venue.unmute()

            world.ledger.spoil = show
            release = world.ledger.ledger.commit

            def slowly(change: object) -> object:
                if getattr(change, "kind", None) != "claimed":
                    return release(change)
                outer = asyncio.get_running_loop().create_future()

                def later() -> None:
                    release(change).add_done_callback(lambda done: outer.set_result(done.result()))

                later()
                return outer

            world.ledger.ledger.commit = slowly  # type: ignore[method-assign]
            answer = await gateway.submit(intent(), key="k")
            assert answer.status in {Status.NEW, Status.FILLED}
        assert world.venue.count("submit") == 1
        assert len(world.venue.orders()) == 1

    run(main)


def test_a_clock_that_goes_back_delays_nothing_for_ever(make_world: Make) -> None:
    """An order whose fate is unknown is found, in ordinary time, although the clock was set back after its claim."""
    world = make_world()

    async def set_back(venue: object, request: object) -> object:
        world.clock.off_us -= 3_600_000_000
        return await lose_reply(venue, request)  # type: ignore[arg-type]

    world.venue.submits = [set_back]
    world.venue.muted = True

    async def main() -> None:
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW
        assert world.venue.count("submit") == 1

    run(main)


def test_thousands_of_uncertain_orders_are_taken_up(make_world: Make) -> None:
    """A start with two thousand orders of unknown fate asks about each, and each gets its answer."""
    world = make_world()
    count = 2000

    async def main() -> None:
        gateway = await world.start()
        world.venue.submits = [lose_reply, lose_request] * (count // 2)
        world.venue.lookups = [hang] * count
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}")) for n in range(count)]
        await until(lambda: world.venue.count("lookup") == count)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.kill(gateway)
        world.venue.lookups = []
        async with world.gateway() as gateway:
            assert gateway.recovered == count
            answers = await asyncio.gather(*(gateway.submit(intent(), key=f"k{n}") for n in range(count)))
            assert {answer.status for answer in answers} == {Status.NEW}
        assert len(world.venue.orders()) == count

    run(main)
