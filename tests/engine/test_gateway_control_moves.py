"""Control states that come and go by themselves: by what was counted, by incidents, by a ledger that fails."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from control_kit import ANN, D, N, R, S, events_of, kept, moves, plan, started, state
from gateway_world import World, intent, turns, until
from scripted_venue import given, land, lose_reply, lose_request
from virtual_loop import run

from onefill.core.control import ITSELF, Control, ReleaseRefused, State, Thresholds
from onefill.core.errors import Fenced, LedgerFailed, RouteClosed
from onefill.core.incident import Finding, IncidentKind
from onefill.core.messages import DuplicateId
from onefill.engine.controller import ControlPlan
from onefill.engine.gateway import Gateway
from onefill.ports.ledger import Stale

Make = Callable[..., World]

# -------------------------------------------------------------------------- by itself


async def busy(gateway: Gateway, count: int, name: str = "k") -> None:
    """Send some orders and wait for their answers, or for that there is none."""
    submits = [gateway.submit(intent(quantity=1), key=f"{name}{n}", wait_s=1.0) for n in range(count)]
    await asyncio.gather(*submits, return_exceptions=True)


def test_ack_timeouts_make_it_degraded_and_calm_ends_it(world: World) -> None:
    """Durably, by itself, with what was counted as the reason; after the window and ``calm_s`` it is NORMAL again."""

    async def main() -> None:
        gateway = await started(world, plan())
        world.venue.submits = [lose_reply] * 5
        await busy(gateway, 10)
        await asyncio.sleep(1.5)
        (route,) = gateway.status().routes
        assert (route.state, route.by, route.held) == (D, ITSELF, False)
        assert route.reason == "50.0% of the copies sent had no known outcome (limit 10.0%)"
        assert kept(world) == [("degraded", 1)]
        assert await world.ledger.incidents() == []
        await asyncio.sleep(20 + 29)
        assert state(gateway) is D
        await asyncio.sleep(3)
        assert state(gateway) is N
        assert kept(world) == [("normal", 2)]
        assert '"reason":"calm for 30 s"' in moves(world)[1]
        await gateway.close()

    run(main)


def test_refused_duplicates_past_the_threshold_are_dup_risk_until_a_person_releases_it(world: World) -> None:
    """With an incident in the same commit; never by itself back; released, counting begins anew."""

    async def main() -> None:
        gateway = await started(world, plan())

        async def taken_twice(venue: Any, request: Any) -> Any:
            await land(venue, request)
            return DuplicateId("seen before")

        world.venue.submits = [taken_twice] * 5
        await busy(gateway, 6)
        await until(lambda: state(gateway) is R, within_s=3)
        change = next(one for one in world.ledger.changes if one.control is not None)
        assert [one.kind for one in change.incidents] == [IncidentKind.CONTROL]
        assert [one["type"] for one in events_of(change)] == ["control_moved", "incident_opened"]
        await asyncio.sleep(600)
        assert state(gateway) is R
        await gateway.release(**ANN)
        assert state(gateway) is D
        await asyncio.sleep(32)
        assert state(gateway) is N
        await gateway.close()

    run(main)


def test_uncertain_orders_that_pile_up_are_dup_risk_and_more_of_them_safe(world: World) -> None:
    """Not at once but when they have been so for a while. A release is refused while they are; with force it holds until
    there are more.
    """

    async def main() -> None:
        gateway = await started(world, plan(uncertain_safe=5, least_sent=1000))
        world.venue.submits = [lose_request] * 1000
        world.venue.lookups = [lose_request] * 10000
        await busy(gateway, 3)
        assert state(gateway) is N
        await until(lambda: state(gateway) is R, within_s=8)
        await turns()
        with pytest.raises(ReleaseRefused, match="3 orders of unknown fate have piled up"):
            await gateway.release(**ANN)
        assert kept(world) == [("dup_risk", 1)]
        await gateway.release(force=True, **ANN)
        await asyncio.sleep(8)
        assert (state(gateway), gateway.status().routes[0].excused) == (D, {"uncertain": 3})
        await busy(gateway, 2, "more")
        await until(lambda: state(gateway) is S, within_s=12)
        await turns()
        (incident,) = await world.ledger.incidents()
        assert incident.kind is IncidentKind.CONTROL
        assert incident.evidence[-1].startswith("5 orders of unknown fate: the venue's state is too uncertain")
        await gateway.close()

    run(main)


@pytest.mark.parametrize(
    ("kind", "shut"),
    [(IncidentKind.SPLIT_BRAIN, S), (IncidentKind.LEDGER, S), (IncidentKind.TWO_ORDERS, R), (IncidentKind.POSITION, R)],
)
def test_open_incidents_shut_the_route_until_they_are_closed(world: World, kind: IncidentKind, shut: State) -> None:
    """Signs of a second holder or a sick ledger, two orders under one id, a break that does not converge."""

    async def main() -> None:
        gateway = await started(world, plan())
        route = gateway._routes["X"]
        found = Finding(kind=kind, subject="s", summary="seen")
        await route.record_route_event(findings=(found,))
        await asyncio.sleep(1.5)
        if kind is IncidentKind.POSITION:
            assert state(gateway) is N
            await asyncio.sleep(300)
        assert state(gateway) is shut
        incidents = {one.kind: one for one in await world.ledger.incidents()}
        about = kind if shut is S else IncidentKind.CONTROL
        assert incidents[about].open
        with pytest.raises(ReleaseRefused, match="onefill incidents"):
            await gateway.release(**ANN)
        gone, events = route.incidents.converge(kind, "s", world.clock.now_us())
        await route.record_route_event(*events, incidents=gone)
        if shut is S:
            gone, events = route.incidents.converge(kind, "", world.clock.now_us())
            await route.record_route_event(*events, incidents=gone)
        await gateway.release(**ANN)
        assert state(gateway) is D
        await gateway.close()

    run(main)


def test_streams_that_break_make_it_degraded(world: World) -> None:
    """So many within a window."""

    async def main() -> None:
        world.venue.streams = [given(error=OSError("broken"))] * 8
        gateway = await started(world, plan())
        await until(lambda: state(gateway) is D, within_s=20)
        assert "times the execution stream broke" in gateway.status().routes[0].reason
        await gateway.close()

    run(main)


def test_slow_replies_make_it_degraded(world: World) -> None:
    """By the time within which 99 of 100 came."""

    async def late_reply(venue: Any, request: Any) -> Any:
        await asyncio.sleep(3)
        return await land(venue, request)

    async def main() -> None:
        gateway = await started(world, plan(ack_p99_s_enter=2.0, ack_p99_s_leave=1.0))
        world.venue.submits = [late_reply] * 3
        world.venue.muted = True
        await busy(gateway, 3)
        await until(lambda: state(gateway) is D, within_s=20)
        assert "is what 1 of 100 replies took or more" in gateway.status().routes[0].reason
        await gateway.close()

    run(main)


def test_a_ledger_that_fails_and_a_lost_route_are_safe_in_memory(make_world: Make) -> None:
    """Nothing can be written: the status says SAFE and why, and a person is told that only opening it again helps."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world, plan())
        world.ledger.break_down(durable=False)
        with pytest.raises(LedgerFailed):
            await gateway.submit(intent(), key="k")
        (route,) = gateway.status().routes
        assert (route.state, route.by) == (S, ITSELF)
        assert route.failure == "LedgerFailed: the disk failed"
        assert route.readings.ledger == 1
        assert await gateway.freeze(**ANN) == {}
        for call in (gateway.freeze, gateway.release):
            with pytest.raises(RouteClosed, match="Open the ledger again"):
                await call("X", **ANN)
        await gateway.close()
        gateway = await started(world, plan())
        assert state(gateway) is N
        route_there = gateway._routes["X"]
        route_there.fail(Fenced("X", 2, 3))
        assert gateway.status().routes[0].readings.holders == 1
        assert state(gateway) is S
        with pytest.raises(RouteClosed):
            await gateway.submit(intent(), key="k")
        await gateway.close()

    run(main)


def test_the_ledger_refusing_a_state_closes_the_route(world: World) -> None:
    """Somebody else moved it: what is in force is not known here any more, and whoever froze it is told."""

    async def main() -> None:
        gateway = await started(world)
        world.ledger.spoil = lambda change: Stale("moved on") if change.control is not None else None
        with pytest.raises(RouteClosed):
            await gateway.freeze(**ANN)
        assert "has another control state" in str(gateway.failure())
        await gateway.close()

    run(main)


def test_a_state_is_loaded_with_what_was_excused(world: World) -> None:
    """A restart does not undo a person's word."""

    async def main() -> None:
        gateway = await started(world, plan())
        route = gateway._routes["X"]
        await route.record_route_event(findings=(Finding(kind=IncidentKind.TWO_ORDERS, subject="s", summary="seen"),))
        await until(lambda: state(gateway) is R, within_s=3)
        await gateway.release(force=True, **ANN)
        await gateway.close()
        gateway = await started(world, plan())
        await asyncio.sleep(5)
        assert state(gateway) is D
        assert gateway._routes["X"].control == Control(
            state=D,
            since_us=gateway._routes["X"].control.since_us,
            reason="looks odd",
            by="ann@desk",
            version=2,
            excused={"two_orders": 1},
        )
        await gateway.close()

    run(main)


def test_sampling_does_not_grow_with_history(world: World) -> None:
    """The ring covers two windows, in a bounded number of samples, however often they are taken."""

    async def main() -> None:
        gateway = await started(world, plan(window_s=600.0, sample_s=0.1))
        controller = gateway._controllers["X"]
        await asyncio.sleep(3000)
        assert 100 < len(controller._samples) <= 602
        assert controller._samples[0].at_s <= 3000 - 1200 + 3
        await gateway.close()

    run(main)


def test_routes_have_thresholds_of_their_own() -> None:
    """By the route's name, or by its venue's, or the common ones."""
    common, venue, route = Thresholds(), Thresholds(rising=7), Thresholds(rising=8)
    found = ControlPlan(common=common, routes={"ex": venue, "ex:B": route})
    assert [found.of(name) for name in ("other", "ex", "ex:A", "ex:B")] == [common, venue, venue, route]
