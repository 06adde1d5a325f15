"""Incidents: how things stood is kept, six steps with progress that a crash does not lose, an end that a person gives."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import WHO, World, intent, life, until
from scripted_venue import hang, lose_request, reply
from virtual_loop import run

from onefill.core.capabilities import Lookup, UniqueScope
from onefill.core.control import State
from onefill.core.errors import CallerError, InvalidField, OrderUncertain
from onefill.core.events import Verdict
from onefill.core.incident import (
    STEPS,
    Incident,
    IncidentClosed,
    IncidentKind,
    Step,
    StepOutOfTurn,
    StepsLeft,
    UnknownIncident,
)
from onefill.core.messages import SubmitRequest, Unknown
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.gateway import Gateway

Make = Callable[..., World]
LISTS: dict[str, Any] = {"lists_open_orders": True}
BY = {"by": "ops"}


def stranger(world: World, client_order_id: str, quantity: int = 5, price: int = 90, side: str = "buy") -> str:
    """Somebody else sends an order in our account; return the venue's number of it."""
    reply = world.exchange.submit(
        SubmitRequest(
            client_order_id=client_order_id,
            account="A",
            instrument="ACME",
            side=Side(side),
            quantity=Decimal(quantity),
            order_type=OrderType.LIMIT,
            price=Decimal(price),
            time_in_force=TimeInForce.GTC,
            expires_at_us=None,
        ),
        world.clock.now_us(),
    )
    return str(reply.order.venue_order_id)  # type: ignore[union-attr]


async def one_incident(world: World, gateway: Gateway) -> Incident:
    """Have an execution come that nobody here sent, and return the incident once its snapshot was kept."""
    stranger(world, "foreign-1", price=110)
    world.offer(5, 110)
    await gateway.catch_up()
    return await with_snapshot(gateway)


async def with_snapshot(gateway: Gateway) -> Incident:
    """Return the one open incident, once it has a snapshot."""
    while True:
        [one] = await gateway.incidents()
        if one.snapshot is not None:
            return one
        await asyncio.sleep(0.01)


def test_how_things_stood_is_kept_right_after_an_incident_opened(make_world: Make) -> None:
    """Positions, open orders on both sides, the stream's place and the journal's end; the journal has it too."""
    world = make_world(**LISTS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await gateway.catch_up()
            one = await one_incident(world, gateway)
            made = one.snapshot
            assert one.kind is IncidentKind.STRANGER_EXECUTION
            assert made is not None
            assert made.positions == ("account A, strategy s, ACME: 4 at 100 on average, realised 0",)
            assert [line.split(":")[0].split()[1] for line in made.open_here] == ["k"]
            assert len(made.open_at_venue) == 1
            assert (made.venue_said, made.offsets) == ("1 listed", {"executions": gateway._receivers["X"][0].seen})
            assert made.at_us - one.opened_at_us < 1_000_000
            kinds = [row[0] for row in world.rows("SELECT kind FROM journal ORDER BY id")]
            assert kinds[made.journal_sequence - 1 :] == ["quarantined", "incident_snapshot"]

    run(main)


@pytest.mark.parametrize(
    ("dialect", "step", "said"),
    [
        ({}, None, "unknown, because the venue does not list open orders"),
        (LISTS, reply(Unknown("busy")), "unknown, because busy"),
        (LISTS, lose_request, "unknown, because no reply"),
        (LISTS, hang, "unknown, because no reply within 15 s"),
    ],
)
def test_a_venue_that_does_not_answer_is_said_to_be_unknown(
    make_world: Make, dialect: dict[str, Any], step: Any, said: str
) -> None:
    """The snapshot is kept all the same, within the time of one reply."""
    world = make_world(**dialect)
    world.venue.listings = [step] * (step is not None)

    async def main() -> None:
        async with world.gateway() as gateway:
            one = await one_incident(world, gateway)
            assert one.snapshot is not None
            assert one.snapshot.venue_said == said
            assert world.clock.now_us() - one.opened_at_us < 16_000_000

    run(main)


def test_many_incidents_at_once_share_one_look_at_the_venue(make_world: Make) -> None:
    """Thirty incidents cost the venue two questions at most, and each has a snapshot."""
    world = make_world(**LISTS)

    async def main() -> None:
        async with world.gateway() as gateway:
            route = gateway._routes["X"]
            from onefill.core.incident import Finding  # noqa: PLC0415

            for number in range(30):
                found = Finding(kind=IncidentKind.POSITION, subject=f"S{number}", summary="differs")
                route.record_route_event(findings=(found,))
            await asyncio.sleep(30)
            found_all = await gateway.incidents()
            assert len(found_all) == 30
            assert all(one.snapshot is not None for one in found_all)
            assert world.venue.count("open_orders") <= 2

    run(main)


def test_an_incident_without_a_snapshot_gets_one_after_a_restart(make_world: Make) -> None:
    """Killed before it was taken: the next process takes it, and its own time says how late."""
    world = make_world(**LISTS)
    world.venue.listings = [hang] * 3

    async def main() -> None:
        gateway = await world.start()
        stranger(world, "foreign-1", price=110)
        world.offer(5, 110)
        await gateway.catch_up()
        [one] = await gateway.incidents()
        assert one.snapshot is None
        await world.kill(gateway)
        world.venue.listings = []
        await asyncio.sleep(100)
        async with world.gateway() as gateway:
            one = await with_snapshot(gateway)
            assert one.snapshot is not None
            assert one.snapshot.at_us - one.opened_at_us >= 100_000_000

    run(main)


def test_the_runbook_from_the_first_step_to_the_end(make_world: Make) -> None:
    """Each step is done in its turn, its result kept with who did it; then the incident is closed with a reason."""
    world = make_world(**LISTS)
    path = Path(world.path).with_name("why.md")

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            number = stranger(world, "foreign-2", price=80)
            one = await one_incident(world, gateway)
            with pytest.raises(StepOutOfTurn, match="next is freeze"):
                await gateway.step(one.name, Step.SNAPSHOT, **BY)
            frozen = await gateway.step(one.name, "freeze", **BY, note="looks odd")
            assert frozen.done
            assert gateway._routes["X"].control.state is State.SAFE
            assert (await gateway.step(one.name, Step.SNAPSHOT, **BY)).done
            assert (await gateway.step(one.name, Step.RESOLVE_UNCERTAIN, **BY)).done
            listed = await gateway.step(one.name, Step.CANCEL_RESIDUALS, **BY)
            assert not listed.done
            assert next(line for line in listed.details if line.startswith("unintended")).endswith(
                "nobody here sent it"
            )
            again = f"onefill incidents step LEDGER {one.name} cancel_residuals --venue VENUE --venue-order {number}"
            assert listed.run == (again,)
            done = await gateway.step(one.name, Step.CANCEL_RESIDUALS, **BY, venue_orders=[number], keys=["k"])
            assert done.done, done
            assert done.details[:2] == (
                "key k: canceled, 0 executed",
                f"the venue's order {number}: cancelled, 0 executed",
            )
            assert {status for orders in world.truth().values() for status, _ in orders} == {"canceled", "filled"}
            replayed = await gateway.step(one.name, Step.REPLAY, **BY)
            assert replayed.result.startswith("parity: ")
            with pytest.raises(StepsLeft, match="postmortem is not done"):
                await gateway.resolve_incident(one.name, "ops", "another desk's order")
            assert (await gateway.step(one.name, Step.POSTMORTEM, **BY, out=str(path))).done
            ended = await gateway.resolve_incident(one.name, "ops", "another desk's order")
            assert (ended.resolved_by, ended.resolution) == ("ops", "another desk's order")
            assert [done.step for done in ended.steps] == list(STEPS)
            assert [f"ops has {number}" in line for line in ended.evidence].count(True) == 1
            with pytest.raises(IncidentClosed):
                await gateway.resolve_incident(one.name, "ops", "again")
            assert one.name not in [other.name for other in await gateway.incidents()]
            assert (await gateway.incident(one.name)) == ended
        text = path.read_text()
        assert "- [x] replay" in text
        assert "foreign-1" in text

    run(main)


def test_a_step_is_skipped_with_a_reason_only(make_world: Make) -> None:
    """Without one it is refused; with one it counts as done and is marked; force closes with steps left, and says so."""
    world = make_world()

    async def main() -> None:
        async with world.gateway() as gateway:
            one = await one_incident(world, gateway)
            for wrong in ({"by": "ops", "skip": True}, {"by": " "}):
                with pytest.raises(InvalidField):
                    await gateway.step(one.name, Step.FREEZE, **wrong)  # type: ignore[arg-type]
            skipped = await gateway.step(one.name, Step.FREEZE, **BY, skip=True, note="it is closed anyway")
            assert skipped.incident.steps[0].skipped
            assert gateway._routes["X"].control.state is State.NORMAL
            with pytest.raises(UnknownIncident):
                await gateway.step("X-99", Step.FREEZE, **BY)
            with pytest.raises(InvalidField):
                await gateway.step(one.name, "nothing", **BY)
            with pytest.raises(InvalidField):
                await gateway.resolve_incident(one.name, "ops", " ", force=True)
            ended = await gateway.resolve_incident(one.name, "ops", "a drill", force=True)
            assert ended.resolution == "a drill (with steps left)"

    run(main)


def test_an_uncertain_order_keeps_its_step_open(make_world: Make) -> None:
    """The step names the order and what to run; once a person has spoken, it is done."""
    world = make_world(lookup=Lookup.NONE, unique_scope=UniqueScope.NONE)
    world.venue.submits = [lose_request]

    async def main() -> None:
        async with world.gateway(time_to_live_s=1000) as gateway:
            with pytest.raises(OrderUncertain):
                await gateway.submit(intent(), key="k", wait_s=30)
            await until(lambda: [order.parked for order in gateway.open_orders()] == [True])
            one = await with_snapshot(gateway)
            assert one.kind is IncidentKind.UNCERTAIN
            for step in (Step.FREEZE, Step.SNAPSHOT):
                await gateway.step(one.name, step, **BY)
            waiting = await gateway.step(one.name, Step.RESOLVE_UNCERTAIN, **BY)
            assert not waiting.done
            assert waiting.run[0].startswith("onefill uncertain --ledger LEDGER")
            assert [line.split()[2:4] for line in waiting.run[1:]] == [["k", "adopt"], ["k", "not-sent"]]
            await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, by="ops", reason="desk")
            done = await gateway.step(one.name, Step.RESOLVE_UNCERTAIN, **BY)
            assert done.done
            assert done.incident.converged_at_us is not None

    run(main)


def test_residuals_that_cannot_be_listed_keep_their_step_open(make_world: Make) -> None:
    """Unknown is not clean: only a person's word, as a skip, goes on from there. A lost cancel is not a cancelled order."""
    world = make_world(**LISTS)

    async def main() -> None:
        async with world.gateway() as gateway:
            number = stranger(world, "foreign-2", price=80)
            one = await one_incident(world, gateway)
            for step in STEPS[:3]:
                await gateway.step(one.name, step, **BY)
            world.venue.cancels = [lose_request]
            lost = await gateway.step(one.name, Step.CANCEL_RESIDUALS, **BY, venue_orders=[number, "X99"])
            assert not lost.done
            assert lost.details[:2] == (
                f"the venue's order {number}: not known: no reply",
                "the venue's order X99: is not among the venue's open orders",
            )
            world.venue.listings = [reply(Unknown("busy"))]
            unknown = await gateway.step(one.name, Step.CANCEL_RESIDUALS, **BY)
            assert not unknown.done
            assert unknown.result == "unknown, because busy"

    run(main)


def test_a_postmortem_is_never_overwritten(make_world: Make) -> None:
    """A file that is there stays as it is, and the step is not done."""
    world = make_world(**LISTS)
    path = Path(world.path).with_name("why.md")
    path.write_text("mine")

    async def main() -> None:
        async with world.gateway() as gateway:
            one = await one_incident(world, gateway)
            for step in STEPS[:-1]:
                await gateway.step(one.name, step, **BY, skip=True, note="not needed")
            with pytest.raises(CallerError, match="is there already"):
                await gateway.step(one.name, Step.POSTMORTEM, **BY, out=str(path))
            assert path.read_text() == "mine"
            assert (await gateway.incident(one.name)).next_step is Step.POSTMORTEM
            gateway.keep_postmortems_in(path.parent)
            await gateway.step(one.name, Step.POSTMORTEM, **BY)
            assert path.with_name("postmortem-X-1.md").exists()

    run(main)


class Night:
    """One night's runbook, worked by processes that die, until one gets to its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.points: list[str] = []
        self.plan: tuple[int, str] | None = None
        self.orders = [stranger(world, "foreign-2", price=80)]
        stranger(world, "foreign-1", price=110)
        world.offer(5, 110)
        world.point = self._point

    def _point(self, name: str) -> str | None:
        self.points.append(name)
        return self.plan[1] if self.plan is not None and len(self.points) == self.plan[0] else None

    def live(self, plan: tuple[int, str] | None) -> bool:
        self.plan, self.points = plan, []
        return life(self.world, self._work)

    async def _work(self) -> None:
        gateway = await self.world.start()
        gateway.keep_postmortems_in(Path(self.world.path).parent)
        await gateway.catch_up()
        [one] = [one for one in await gateway.incidents(open_only=False) if one.kind is IncidentKind.STRANGER_EXECUTION]
        while one.open and (step := one.next_step) is not None:
            given: dict[str, Any] = {}
            if step is Step.CANCEL_RESIDUALS:
                given["venue_orders"] = self.orders
            if step is Step.POSTMORTEM:
                given["out"] = str(
                    Path(self.world.path).with_name(f"{len(list(Path(self.world.path).parent.iterdir()))}.md")
                )
            done = await gateway.step(one.name, step, **BY, **given)
            assert done.done, done
            one = done.incident
        if one.open:
            one = await gateway.resolve_incident(one.name, "ops", "another desk's")
        assert [done.step for done in one.steps] == list(STEPS)
        assert one.snapshot is not None
        await gateway.close()


def test_a_crash_at_any_call_loses_no_step(make_world: Make) -> None:
    """Killed before or after any call to the ledger: the next process goes on where the record ends, each step is done once."""
    clean = Night(make_world(**LISTS))
    assert not clean.live(None)
    planned = [(index, when) for index in range(1, len(clean.points) + 1) for when in ("before", "after")]
    effective = 0
    for plan in planned:
        night = Night(make_world(**LISTS))
        effective += night.live(plan)
        assert not night.live(None), plan
        payloads = [row[0] for row in night.world.rows("SELECT payload FROM journal ORDER BY id")]
        events = [event for payload in payloads for event in msgspec.json.decode(payload)]
        told = [event for event in events if event["type"] == "incident_stepped"]
        assert [event["step"] for event in told] == list(STEPS), plan
        assert sum(event["type"] == "incident_resolved" for event in events) == 1
        night.world.close_eyes()
    assert effective > 40
