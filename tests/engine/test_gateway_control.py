"""Control states at work: what each lets through, and that it outlives the process."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from control_kit import ANN, D, N, R, S, claimed, kept, moves, plan, started, state
from gateway_world import WHO, World, intent, quantity, turns, until
from scripted_venue import land, lose_request, reply
from virtual_loop import run

from onefill.core.answers import CancelResult, ReplaceResult
from onefill.core.control import State, Thresholds
from onefill.core.errors import InvalidField, OrderUncertain, RouteClosed, UnknownVenue
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import NotSent, Throttled
from onefill.engine.controller import ControlPlan
from onefill.engine.gate import RouteShut

Make = Callable[..., World]

# ------------------------------------------------------------------------------ people


def test_freeze_is_durable_tells_callers_everything_and_outlives_the_process(world: World) -> None:
    """SAFE: a submit raises RouteClosed and records nothing, also after a restart; after the release the same key works."""

    async def main() -> None:
        gateway = await started(world)
        known = await gateway.submit(intent(), key="known")
        moved = await gateway.freeze(**ANN)
        assert (moved["X"].state, moved["X"].by, moved["X"].held) == (S, "ann@desk", True)
        assert kept(world) == [("safe", 1)]
        with pytest.raises(RouteShut) as told:
            await gateway.submit(intent(), key="new")
        for words in (
            "'X' is SAFE since 2",
            "by ann@desk: looks odd",
            "cancels only",
            'release LEDGER X --reason "..."',
        ):
            assert words in str(told.value)
        assert isinstance(told.value, RouteClosed)
        assert await gateway.submit(intent(), key="known") == known
        (incident,) = await world.ledger.incidents()
        assert (incident.kind, incident.summary) == (IncidentKind.CONTROL, "the route is SAFE: looks odd")
        await gateway.close()

        gateway = await started(world)
        assert state(gateway) is S
        with pytest.raises(RouteShut):
            await gateway.submit(intent(), key="new")
        assert await gateway.submit(intent(), key="known") == known
        assert world.rows("SELECT count(*) FROM intent") == [(1,)]
        await gateway.release("X", by="bob@desk", reason="was nothing")
        assert (await gateway.submit(intent(), key="new")).status is Status.NEW
        assert kept(world) == [("degraded", 2)]
        await gateway.release(by="bob@desk", reason="was nothing")
        assert kept(world) == [("normal", 3)]
        await gateway.release(by="bob@desk", reason="again")
        assert kept(world) == [("normal", 3)]
        (incident,) = await world.ledger.incidents()
        assert incident.converged_at_us is not None
        assert incident.open
        assert ['"before":"safe"' in one for one in moves(world)] == [False, True, False]
        assert '"by":"bob@desk"' in moves(world)[1]
        await gateway.close()

    run(main)


def test_freeze_and_release_refuse_what_makes_no_sense(world: World) -> None:
    """No name, an unknown route, a freeze that would open, a closed gateway: told, and nothing changes."""

    async def main() -> None:
        gateway = await started(world)
        with pytest.raises(InvalidField, match="reason"):
            await gateway.freeze(by="ann", reason="")
        with pytest.raises(UnknownVenue):
            await gateway.freeze("Y", **ANN)
        await gateway.freeze(**ANN)
        with pytest.raises(InvalidField, match="a freeze never opens"):
            await gateway.freeze("X", state=D, **ANN)
        assert await gateway.freeze(state=D, **ANN) == {}
        assert kept(world) == [("safe", 1)]
        await gateway.close()
        with pytest.raises(RouteClosed, match="is being closed"):
            await gateway.release(**ANN)

    run(main)


def test_a_release_whose_caller_gives_up_is_in_force_once_it_is_durable(world: World) -> None:
    """Memory and ledger never part; the next move has the next version."""

    async def main() -> None:
        gateway = await started(world)
        await gateway.freeze(**ANN)
        task = asyncio.ensure_future(gateway.release(**ANN))
        await turns(2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: state(gateway) is D)
        await gateway.freeze(**ANN)
        assert kept(world) == [("safe", 3)]
        assert gateway.failure() is None
        await gateway.close()

    run(main)


def test_status_shows_how_a_gateway_is(world: World) -> None:
    """State, since, reason, by, readings, orders, incidents, streams, epoch; the overall state is the worst."""

    async def main() -> None:
        gateway = await started(world, plan())
        await gateway.submit(intent(), key="k")
        await gateway.freeze(state=R, **ANN)
        status = gateway.status()
        (route,) = status.routes
        assert (status.state, route.route, route.state, route.by, route.reason) == (R, "X", R, "ann@desk", "looks odd")
        assert (route.open_orders, route.open_incidents, route.uncertain, route.epoch) == (1, 1, 0, 1)
        assert route.readings.sent == route.readings.new_orders == 1
        assert [one.stream for one in route.streams] == ["executions"]
        assert (route.lease_left_s, route.failure, route.automatic, route.held) == (None, None, True, True)
        await gateway.close()

    run(main)


# ---------------------------------------------------------------------------- DEGRADED


def test_degraded_paces_new_orders_and_records_them_at_once(world: World) -> None:
    """Ten at once: all are recorded, one leaves, then one each half second, in their order; NORMAL lets the rest go at once."""

    async def main() -> None:
        gateway = await started(world)
        await gateway.freeze(state=D, **ANN)
        began = asyncio.get_running_loop().time()
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}")) for n in range(10)]
        await asyncio.sleep(0.001)
        assert world.rows("SELECT count(*) FROM intent") == [(10,)]
        assert world.rows("SELECT count(*) FROM attempt") == [(1,)]
        await asyncio.sleep(2.1)
        times = claimed(world, began)
        assert len(times) == 5
        assert times == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0], abs=0.02)
        sent = [call.request.client_order_id for call in world.venue.calls if call.kind == "submit"]
        assert sent == [row[0] for row in world.rows("SELECT client_order_id FROM intent ORDER BY id LIMIT 5")]
        await gateway.release(**ANN)
        await asyncio.sleep(0.01)
        assert len(claimed(world)) == 10
        assert {(await task).status for task in tasks} == {Status.NEW}
        await gateway.close()

    run(main)


def test_an_order_whose_time_ends_while_it_waits_for_its_turn_is_never_sent(world: World) -> None:
    """EXPIRED_UNSENT is its answer; those behind it go on, and a cancelled one takes no turn."""

    async def main() -> None:
        gateway = await started(world)
        await gateway.freeze(state=D, **ANN)
        tasks = [
            asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}", time_to_live_s=0.7 if n < 8 else 30.0))
            for n in range(10)
        ]
        await asyncio.sleep(0.1)
        canceled = await gateway.cancel("k8", **WHO)
        assert canceled.result is CancelResult.NEVER_SENT
        statuses = [(await task).status for task in tasks]
        assert statuses == [Status.NEW] * 2 + [Status.EXPIRED_UNSENT] * 6 + [Status.CANCELED_UNSENT, Status.NEW]
        assert claimed(world)[2] == pytest.approx(1.0, abs=0.02)
        assert world.venue.count("submit") == 3
        await gateway.close()

    run(main)


@pytest.mark.parametrize("answer", [NotSent("refused"), Throttled("slow down", 0.1)])
def test_degraded_asks_before_any_further_copy(world: World, answer: Any) -> None:
    """Also after what surely was not sent; in NORMAL that is sent again without asking."""

    async def main() -> None:
        gateway = await started(world)
        world.venue.submits = [reply(answer)]
        await gateway.submit(intent(), key="in normal")
        in_normal = world.venue.kinds()
        await gateway.freeze(state=D, **ANN)
        del world.venue.calls[:]
        world.venue.submits = [reply(answer)]
        await gateway.submit(intent(), key="in degraded")
        assert in_normal == (["submit", "submit"] if isinstance(answer, NotSent) else ["submit", "lookup", "submit"])
        assert world.venue.kinds() == ["submit", "lookup", "submit"]
        await gateway.close()

    run(main)


def test_degraded_sends_nothing_again_while_the_venue_does_not_say_it_is_not_there(world: World) -> None:
    """A question without an answer is asked again; what it finds is adopted."""

    async def main() -> None:
        gateway = await started(world)
        await gateway.freeze(state=D, **ANN)

        async def took_it_after_all(venue: Any, request: Any) -> Any:
            await land(venue, request)
            return NotSent("so it seemed")

        world.venue.submits = [took_it_after_all]
        world.venue.muted = True
        world.venue.lookups = [lose_request, lose_request]
        assert (await gateway.submit(intent(), key="k")).status is Status.NEW
        assert world.venue.kinds() == ["submit", "lookup", "lookup", "lookup"]
        await gateway.close()

    run(main)


def test_degraded_stretches_the_pauses_between_queries(make_world: Make) -> None:
    """By ``degraded_patience``; so the fate of a lost order is found out later, and no later than its time to live asks for."""

    def gaps(state: State) -> list[float]:
        world = make_world()

        async def main() -> None:
            gateway = await started(world, ControlPlan(common=Thresholds(automatic=False, degraded_patience=3.0)))
            if state is not N:
                await gateway.freeze(state=state, **ANN)
            world.venue.submits = [lose_request] * 9
            world.venue.lookups = [lose_request] * 9
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="k", wait_s=5.0)
            await gateway.close()

        run(main)
        times = [call.at_us for call in world.venue.calls if call.kind == "lookup"]
        return [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(times)]

    normal, degraded = gaps(N), gaps(D)
    assert degraded[:3] == pytest.approx([3 * gap for gap in normal[:3]], abs=0.01)


def test_degraded_counts_for_orders_that_were_recorded_before_it(world: World) -> None:
    """Orders whose first copy was claimed and has not left go back, and leave slowly, asked for first."""

    async def main() -> None:
        gateway = await started(world)
        route = gateway._routes["X"]
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}")) for n in range(4)]
        await asyncio.sleep(0)
        pending = asyncio.ensure_future(gateway.freeze(state=D, **ANN))  # before any of them is durable
        await asyncio.sleep(0.01)
        await pending
        assert route.control.state is D
        assert world.venue.count("submit") == 1
        await asyncio.gather(*tasks)
        assert claimed(world) == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=0.06)
        assert len(world.venue.orders()) == 4
        await gateway.close()

    run(main)


# ---------------------------------------------------------------------------- DUP_RISK


def test_dup_risk_lets_only_cancels_and_reductions_through(make_world: Make) -> None:
    """A sell that fits into the position with what is open goes; one more does not, nor any buy. Cancels always go."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world)
        await gateway.submit(intent(quantity=10), key="long")
        world.offer(10, 100)
        await gateway.catch_up()
        assert quantity(gateway) == 10
        await gateway.submit(intent(quantity=5, price=90), key="resting")
        await gateway.freeze(state=R, **ANN)
        with pytest.raises(RouteShut, match="only cancels and what reduces a position"):
            await gateway.submit(intent(), key="buy")
        with pytest.raises(RouteShut):
            await gateway.submit(intent(side="sell", quantity=11, price=110), key="too much")
        assert (await gateway.submit(intent(side="sell", quantity=6, price=110), key="part")).status is Status.NEW
        with pytest.raises(RouteShut):
            await gateway.submit(intent(side="sell", quantity=5, price=110), key="two together")
        assert (await gateway.submit(intent(side="sell", quantity=4, price=110), key="rest")).status is Status.NEW
        assert (await gateway.cancel("resting", **WHO)).result is CancelResult.CANCELED
        await gateway.close()

    run(main)


def test_dup_risk_lets_replaces_only_make_smaller(make_world: Make) -> None:
    """At the same price; SAFE lets none through. A repeat of a known operation key has its answer in every state."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world)
        await gateway.submit(intent(quantity=10), key="k")
        first = await gateway.replace_raw("k", quantity=9, operation_key="r1", **WHO)
        await gateway.freeze(state=R, **ANN)
        for wish in ({"quantity": 11}, {"price": 99}, {"quantity": 5, "price": 101}):
            with pytest.raises(RouteShut):
                await gateway.replace("k", **wish, **WHO)
        assert (await gateway.replace("k", quantity=8, **WHO)).result is ReplaceResult.REPLACED
        await gateway.freeze(state=S, **ANN)
        with pytest.raises(RouteShut):
            await gateway.replace("k", quantity=7, **WHO)
        assert await gateway.replace_raw("k", quantity=9, operation_key="r1", **WHO) == first
        assert (await gateway.cancel("k", **WHO)).result is CancelResult.CANCELED
        await gateway.close()

    run(main)


@pytest.mark.parametrize("shut", [R, S])
@pytest.mark.parametrize("status", [Status.RECORDED, Status.UNCERTAIN])
def test_what_is_recorded_is_held_and_goes_on_after_the_release(world: World, shut: State, status: Status) -> None:
    """An order in its pause, or one whose fate is asked for: no further copy while the route is shut; one order in the end."""

    async def main() -> None:
        gateway = await started(world)
        world.venue.submits = [reply(NotSent("no way"))] if status is Status.RECORDED else [lose_request]
        task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
        await until(lambda: world.venue.count("submit") == 1)
        await gateway.freeze(state=shut, **ANN)
        await asyncio.sleep(20)
        assert world.venue.count("submit") == 1
        assert world.rows("SELECT count(*) FROM attempt") == [(1,)]
        await gateway.release(**ANN)
        assert (await task).status is Status.NEW
        assert world.venue.count("submit") == 2
        assert len(world.venue.orders()) == 1
        await gateway.close()

    run(main)


def test_what_is_held_beyond_its_time_to_live_is_never_sent(world: World) -> None:
    """It ends EXPIRED_UNSENT while the route is shut, and a cancel ends it at any time."""

    async def main() -> None:
        gateway = await started(world)
        world.venue.submits = [reply(NotSent("no way"))] * 2
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key=key, time_to_live_s=10.0)) for key in ("a", "b")]
        await until(lambda: world.venue.count("submit") == 2)
        await gateway.freeze(**ANN)
        assert (await gateway.cancel("b", **WHO)).result is CancelResult.NEVER_SENT
        assert [(await task).status for task in tasks] == [Status.EXPIRED_UNSENT, Status.CANCELED_UNSENT]
        assert world.venue.count("submit") == 2
        await gateway.close()

    run(main)


def test_a_copy_that_was_claimed_does_not_leave_a_route_that_was_shut_meanwhile(world: World) -> None:
    """FAIL-CLOSED between claim and send: it is settled as not sent, and goes on after the release."""

    async def main() -> None:
        gateway = await started(world)
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}")) for n in range(3)]
        await asyncio.sleep(0)
        await gateway.freeze(**ANN)
        await asyncio.sleep(1)
        assert world.venue.count("submit") == 0
        assert world.rows("SELECT DISTINCT outcome FROM attempt") == [("not_sent",)]
        await gateway.release(**ANN)
        await gateway.release(**ANN)
        assert {(await task).status for task in tasks} == {Status.NEW}
        assert len(world.venue.orders()) == 3
        await gateway.close()

    run(main)


@pytest.mark.parametrize("shut", [R, S])
def test_a_replace_that_waits_is_held_too(make_world: Make, shut: State) -> None:
    """It is not sent while the route is shut, and is after the release."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world)
        await gateway.submit(intent(quantity=10), key="k")
        world.venue.replaces = [reply(NotSent("no way"))]
        task = asyncio.ensure_future(gateway.replace("k", quantity=20, **WHO))
        await until(lambda: world.venue.count("replace") == 1)
        await gateway.freeze(state=shut, **ANN)
        await asyncio.sleep(10)
        assert world.venue.count("replace") == 1
        await gateway.release(**ANN)
        assert (await task).result is ReplaceResult.REPLACED
        assert world.venue.count("replace") == 2
        await gateway.close()

    run(main)


def test_recovered_orders_of_a_shut_route_are_held_from_the_start(world: World) -> None:
    """The state is there before the first of them is set going."""

    async def main() -> None:
        gateway = await started(world)
        world.venue.submits = [reply(NotSent("no way"))] * 3
        given = asyncio.ensure_future(gateway.submit(intent(), key="k", time_to_live_s=300.0))
        await until(lambda: world.venue.count("submit") == 1)
        await gateway.freeze(**ANN)
        await gateway.close()
        await asyncio.gather(given, return_exceptions=True)
        world.venue.submits = []
        gateway = await started(world)
        await asyncio.sleep(5)
        assert world.venue.count("submit") == 1
        await gateway.release(**ANN)
        assert (await gateway.submit(intent(), key="k", time_to_live_s=300.0)).status is Status.NEW
        await gateway.close()

    run(main)


def test_a_replace_of_unknown_fate_is_asked_for_and_not_repeated_while_the_route_is_shut(make_world: Make) -> None:
    """Its question goes on; a further copy leaves after the release."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world)
        await gateway.submit(intent(quantity=10), key="k")
        world.venue.replaces = [lose_request]
        task = asyncio.ensure_future(gateway.replace("k", quantity=20, **WHO))
        await until(lambda: world.venue.count("replace") == 1)
        await gateway.freeze(state=R, **ANN)
        await asyncio.sleep(1)
        assert world.venue.count("replace") == 1
        assert world.venue.count("lookup") > 2
        await gateway.release(**ANN)
        assert (await task).result is ReplaceResult.REPLACED
        assert world.venue.count("replace") == 2
        await gateway.close()

    run(main)


def test_an_order_that_is_busy_when_its_turn_comes_holds_up_nobody(world: World) -> None:
    """The next one is roused in its place; it comes again by itself."""

    async def main() -> None:
        gateway = await started(world)
        await gateway.freeze(state=D, **ANN)
        tasks = [asyncio.ensure_future(gateway.submit(intent(), key=f"k{n}")) for n in range(3)]
        await asyncio.sleep(0.1)
        second = next(one for one in gateway._routes["X"].entries.values() if one.order.key == "k1")
        waiting, second.wake = second.wake, None  # as while it asks the venue
        await asyncio.sleep(0.6)
        assert world.venue.count("submit") == 2
        second.wake = waiting
        second.rouse()
        assert {(await task).status for task in tasks} == {Status.NEW}
        assert claimed(world) == pytest.approx([0.0, 0.5, 1.0], abs=0.02)
        await gateway.close()

    run(main)
