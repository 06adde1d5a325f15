"""A gateway and its venue beside one another: what differs gets an incident, and nothing is adjusted without one."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_world import WHO, World, intent, quantity, until
from scripted_venue import ScriptedVenue, given, hang, reply
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.errors import CallerError, InvalidField, UnknownVenue
from onefill.core.incident import Incident, IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, Listed, SubmitRequest, Unknown, VenueStatus
from onefill.core.reconcile import Report
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings, ReconcileSettings
from onefill.ports.ledger import OpeningPosition

Make = Callable[..., World]
_but = msgspec.structs.replace
TELLS = {"lists_open_orders": True, "tells_positions": True, "execution_id_scope": ExecutionIdScope.ACCOUNT}
BY_ITSELF = GatewaySettings(reconcile=ReconcileSettings(every_s=60, grace_s=10, blind_after_s=300))


class Leaving(ScriptedVenue):
    """A venue whose pages leave out some executions, or have more."""

    left_out: frozenset[str] = frozenset()

    async def executions(self, after: int) -> list[ExecutionReport]:
        page = await super().executions(after)
        return [one for one in page if one.execution_id not in self.left_out]


@pytest.fixture
def world(make_world: Make) -> World:
    """A venue that lists open orders and tells positions; a gateway that compares on command."""
    return make_world(**TELLS)


async def one_report(gateway: Gateway, **how: Any) -> Report:
    """Reconcile the one route."""
    (report,) = await gateway.reconcile(**how)
    return report


async def open_ones(gateway: Gateway) -> list[Incident]:
    """Return the open incidents by the ledger."""
    return await gateway.incidents()


def by_hand(world: World, amount: int = 7, side: Side = Side.BUY, price: int = 90) -> str:
    """Somebody sends an order for our account past the gateway. Returns the venue's number."""
    placed = world.exchange.submit(
        SubmitRequest(
            client_order_id=f"byhand{next(world._numbers)}",
            account="A",
            instrument="ACME",
            side=side,
            quantity=Decimal(amount),
            order_type=OrderType.LIMIT,
            price=Decimal(price),
            time_in_force=TimeInForce.GTC,
            expires_at_us=None,
        ),
        world.clock.now_us(),
    )
    return str(placed.order.venue_order_id)  # type: ignore[union-attr]


async def passed_by(world: World, gateway: Gateway) -> None:
    """Have the stream pass by the one trade of order k: it tells of the cancel in its place."""
    world.venue.muted = True
    await gateway.submit(intent(), key="k")
    world.offer(4, 100)
    await gateway.cancel("k", **WHO)
    new, trade, cancel = world.exchange.executions("A", 0)
    assert trade.kind is ExecutionKind.TRADE
    world.venue.streams = [given(new, _but(cancel, position=2))]
    world.venue.unmute()
    gateway._receivers["X"][0]._read_again()  # break off the muted stream: the next one is the one that skips
    await until(lambda: gateway._receivers["X"][0].seen >= 2)


def test_where_both_sides_agree_nothing_happens(world: World) -> None:
    """Open, part filled, filled and cancelled orders: a look shows no difference, opens nothing, and writes no entry."""

    async def main() -> None:
        async with world.gateway() as gateway:
            for key in "abcd":
                await gateway.submit(intent(), key=key)
            world.offer(14, 100)
            await gateway.cancel("d", **WHO)
            await gateway.catch_up()
            entries = world.rows("SELECT count(*) FROM journal")
            report = await one_report(gateway)
            assert (report.looks, report.failure) == (1, None)
            assert (report.orders_here, report.orders_there, report.executions, report.positions) == (2, 2, 2, 1)
            assert (report.in_flight, report.breaks, report.accounts) == ((), (), ("A",))
            assert world.rows("SELECT count(*) FROM journal") == entries
            assert await open_ones(gateway) == []

    run(main)


def test_a_missing_execution_is_taken_in_under_its_incident(world: World) -> None:
    """The stream has passed a trade by. It moves the position once, after the incident, and the journal names that; the order
    that waited for it is closed.
    """

    async def main() -> None:
        async with world.gateway() as gateway:
            await passed_by(world, gateway)
            order = await gateway.order("k", **WHO)
            assert (order.status, order.closed, quantity(gateway)) == (Status.CANCELED, False, 0)
            report = await one_report(gateway)
            assert (report.taken_in, report.breaks, report.converged) == (1, (), ("X-1",))
            assert quantity(gateway) == 4
            assert (await gateway.order("k", **WHO)).closed
            (incident,) = await open_ones(gateway)  # a person closes it
            assert (incident.kind, incident.subject) == (IncidentKind.MISSING_EXECUTION, order.client_order_id)
            assert incident.converged_at_us is not None
            opened, taken = world.rows(
                "SELECT id, payload FROM journal WHERE payload LIKE '%incident_opened%' OR payload LIKE '%\"incident\":%'"
            )
            assert opened[0] < taken[0]
            assert '"type":"traded"' in taken[1]
            assert '"incident":1' in taken[1]
            again = await one_report(gateway, full=True)
            assert (again.taken_in, again.in_flight) == (0, ())
            assert quantity(gateway) == 4

    run(main)


def test_nothing_is_adjusted_before_the_incident_is_durable(world: World) -> None:
    """If the ledger refuses the incident, the execution is not taken in."""

    async def main() -> None:
        gateway = await world.start()
        await passed_by(world, gateway)
        world.ledger.ledger._commits._apply = None  # any further commit fails
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the broken ledger raises
            await gateway.reconcile()
        assert quantity(gateway) == 0
        await gateway.close()

    run(main)


def test_an_order_that_the_venue_lost_is_an_incident_and_no_more(world: World) -> None:
    """Live here, not listed there: after the grace window an incident; the order stays as it is, and nothing is sent."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await asyncio.sleep(30)
            sent = world.venue.count("submit"), world.venue.count("cancel")
            world.venue.listings = [reply(Listed(()))] * 2
            report = await one_report(gateway)
            assert (report.looks, report.breaks) == (2, ("X-1",))
            (incident,) = await open_ones(gateway)
            assert incident.kind is IncidentKind.UNKNOWN_AT_VENUE
            assert incident.first_seen_at_us is not None
            assert incident.opened_at_us - incident.first_seen_at_us >= 10_000_000
            assert (await gateway.order("k", **WHO)).status is Status.NEW
            assert (world.venue.count("submit"), world.venue.count("cancel")) == sent
            found = await one_report(gateway)  # it is listed again
            assert (found.breaks, found.converged) == ((), ("X-1",))
            assert [one.open for one in await open_ones(gateway)] == [True]

    run(main)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (IncidentKind.QUANTITY, {"quantity": Decimal(9)}),
        (IncidentKind.PRICE, {"price": Decimal(101)}),
        (IncidentKind.STATE, {"status": VenueStatus.EXPIRED}),
    ],
)
def test_other_terms_or_another_end_at_the_venue_are_incidents(
    world: World, kind: IncidentKind, change: dict[str, Any]
) -> None:
    """The venue lists the order otherwise than it is here, in two looks: one incident of that kind, nothing changed."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            before = await gateway.order("k", **WHO)
            (listed,) = world.exchange.open_orders("A")
            world.venue.listings = [reply(Listed((_but(listed, **change),)))] * 2
            assert (await one_report(gateway)).breaks == ("X-1",)
            assert [one.kind for one in await open_ones(gateway)] == [kind]
            assert await gateway.order("k", **WHO) == before

    run(main)


def test_a_strangers_live_order_is_unknown_here_until_it_is_gone(world: World) -> None:
    """What nobody here sent is named by the venue's number; it is not touched, and converges when it is over."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            number = by_hand(world)
            assert (await one_report(gateway)).breaks == ("X-1",)
            (incident,) = await open_ones(gateway)
            assert (incident.kind, incident.subject) == (IncidentKind.UNKNOWN_HERE, f"A {number}")
            world.offer(17, 90)
            await gateway.catch_up()
            report = await one_report(gateway)
            assert report.converged == ("X-1",)
            assert report.in_flight == ()  # the stranger's execution explains the position
            assert world.venue.count("cancel") == 0

    run(main)


def test_an_execution_that_the_venue_does_not_show_is_left_in_place(world: World) -> None:
    """Extra executions are never taken back: an incident, and the position as it was."""
    venue = Leaving(world.exchange, world.clock.now_us, look=world.look)
    world.venue = venue

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await gateway.catch_up()
            (trade,) = [one for one in world.exchange.executions("A", 0) if one.last_quantity]
            new = world.exchange.executions("A", 0)[0]
            pages = {0: [_but(new, position=1), _but(new, execution_id="E9", position=2)]}

            async def rewritten(after: int) -> list[ExecutionReport]:
                return pages.get(after, [])

            venue.executions = rewritten  # type: ignore[method-assign]
            report = await one_report(gateway, full=True)
            kinds = {one.kind: one for one in await open_ones(gateway)}
            assert set(kinds) == {IncidentKind.EXTRA_EXECUTION}
            assert kinds[IncidentKind.EXTRA_EXECUTION].subject == f"execution A {trade.execution_id}"
            assert (report.taken_in, quantity(gateway)) == (0, 4)
            del venue.executions  # type: ignore[attr-defined]
            assert (await one_report(gateway, full=True)).breaks == ()

    run(main)


def test_a_position_that_differs_is_an_incident_and_only_a_person_corrects_it(world: World) -> None:
    """A transfer at the venue: a break. It is accepted with a name and a reason, under the incident; then both sides agree."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await gateway.catch_up()
            assert (await one_report(gateway)).breaks == ()
            with pytest.raises(CallerError, match="no open incident about the position of A ACME"):
                await gateway.accept_position("X", "A", "ACME", by="Ada", reason="moved by hand")
            world.exchange.transfer("A", "ACME", Decimal(5))
            await asyncio.sleep(60)
            assert (await one_report(gateway)).breaks == ("X-1",)
            assert quantity(gateway) == 4
            with pytest.raises(InvalidField, match="reason"):
                await gateway.accept_position("X", "A", "ACME", by="Ada", reason=" ")
            with pytest.raises(UnknownVenue):
                await gateway.accept_position("Y", "A", "ACME", by="Ada", reason="moved by hand")
            accepted = await gateway.accept_position("X", "A", "ACME", by="Ada", reason="moved by hand")
            assert accepted == OpeningPosition(account="A", instrument="ACME", quantity=Decimal(5))
            report = await one_report(gateway)
            assert (report.breaks, report.converged) == ((), ("X-1",))
            with pytest.raises(CallerError, match="does not differ now"):
                await gateway.accept_position("X", "A", "ACME", by="Ada", reason="once more")
            world.exchange.transfer("A", "ACME", Decimal(-2))
            assert (await one_report(gateway)).breaks == ("X-1",)
            again = await gateway.accept_position("X", "A", "ACME", by="Ada", reason="and back")
            assert (again.quantity, again.number) == (3, 2)
            told = world.rows("SELECT payload FROM journal WHERE kind = 'position_opened' ORDER BY id")
            assert len(told) == 2
            assert '"by":"Ada"' in told[0][0]
            assert "moved by hand (incident X-1)" in told[0][0]
        async with world.gateway() as gateway:
            assert (await one_report(gateway)).breaks == ()
            assert quantity(gateway) == 4  # the strategies' position is what they executed

    run(main)


def test_what_was_held_before_the_first_order_is_no_break(make_world: Make) -> None:
    """The first time an account is met it is noted what it holds, by the venue's word, before anything of ours is executed."""
    world = make_world(BY_ITSELF, **TELLS)
    world.exchange.transfer("A", "ACME", Decimal(100))

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            await gateway.catch_up()
            await asyncio.sleep(130)
            assert await open_ones(gateway) == []
            assert quantity(gateway) == 4
            held = OpeningPosition(account="A", instrument="ACME", quantity=Decimal(100))
            assert await world.ledger.opening_positions("X") == [held]
            world.exchange.transfer("A", "ACME", Decimal(1))
            await asyncio.sleep(130)
            assert [one.kind for one in await open_ones(gateway)] == [IncidentKind.POSITION]

    run(main)


def test_an_account_that_was_flat_has_no_second_first_time(make_world: Make) -> None:
    """Flat at its first look: what it holds later without an execution is a break, in this process and the next."""
    world = make_world(BY_ITSELF, **TELLS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await asyncio.sleep(1)
        world.exchange.transfer("A", "ACME", Decimal(3))
        async with world.gateway() as gateway:
            await asyncio.sleep(100)
            assert [one.kind for one in await open_ones(gateway)] == [IncidentKind.POSITION]
            assert await world.ledger.opening_positions("X") == []

    run(main)


def test_it_looks_by_itself_and_sees_breaks_come_and_go(make_world: Make) -> None:
    """Nobody asks: on start, then from time to time; the difference is met, lasts, is an incident, and converges."""
    world = make_world(BY_ITSELF, **TELLS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await asyncio.sleep(1)
            number = by_hand(world)
            await asyncio.sleep(64)
            assert await open_ones(gateway) == []  # met at second 60
            await asyncio.sleep(10)
            (incident,) = await open_ones(gateway)
            assert (incident.kind, incident.subject) == (IncidentKind.UNKNOWN_HERE, f"A {number}")
            world.offer(17, 90)
            await asyncio.sleep(61)
            gone, strange = await open_ones(gateway)
            assert strange.kind is IncidentKind.STRANGER_EXECUTION
            assert gone.converged_at_us is not None
            assert gone.converged_at_us - incident.opened_at_us <= 61_000_000

    run(main)


def test_it_looks_when_a_stream_came_back(make_world: Make) -> None:
    """A reconnect is a reason to compare at once; many in a row are reason for one look in each grace window."""
    world = make_world(BY_ITSELF, **TELLS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await asyncio.sleep(30)
            before = world.venue.count("open_orders")
            world.venue.streams = [given()] * 6
            gateway._receivers["X"][0]._read_again()
            await asyncio.sleep(0.5)
            assert world.venue.count("open_orders") == before + 1
            await asyncio.sleep(11)
            assert world.venue.count("open_orders") <= before + 3

    run(main)


def test_a_venue_that_cannot_be_compared_with_is_an_incident_in_the_end(make_world: Make) -> None:
    """Looks that fail find nothing and end nothing; once that has lasted, one incident, which converges with the next look.
    Orders go on meanwhile.
    """
    world = make_world(BY_ITSELF, **TELLS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await asyncio.sleep(20)
            world.venue.listings = [hang] * 100
            await asyncio.sleep(250)
            assert await open_ones(gateway) == []
            assert (await gateway.submit(intent(price=99), key="l")).accepted
            await asyncio.sleep(200)
            (incident,) = await open_ones(gateway)
            assert (incident.kind, incident.subject) == (IncidentKind.STREAM, "reconciliation")
            world.venue.listings = [reply(Unknown("busy"))]
            assert (await one_report(gateway)).failure is not None
            world.venue.listings = []
            assert (await one_report(gateway)).failure is None
            assert [one.converged_at_us is None for one in await open_ones(gateway)] == [False]

    run(main)


def test_a_break_lasts_across_a_restart(world: World) -> None:
    """Found by one process, it is the same incident for the next, which sees it gone."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            by_hand(world)
            assert (await one_report(gateway)).breaks == ("X-1",)
        async with world.gateway() as gateway:
            assert (await one_report(gateway)).breaks == ("X-1",)
            assert len(await open_ones(gateway)) == 1
            world.offer(17, 90)
            await gateway.catch_up()
            assert (await one_report(gateway)).converged == ("X-1",)

    run(main)


def test_a_stream_that_stands_still_has_its_executions_taken_in(world: World) -> None:
    """What waits at the venue while the stream is silent counts here after the window, once, also when it comes after all."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.catch_up()
            world.venue.muted = True
            world.offer(4, 100)
            report = await one_report(gateway)
            assert (report.taken_in, report.converged) == (1, ("X-1",))
            (incident,) = await open_ones(gateway)
            assert (incident.kind, incident.subject) == (IncidentKind.STREAM, "executions")
            assert quantity(gateway) == 4
            world.venue.unmute()
            await gateway.catch_up()
            assert quantity(gateway) == 4

    run(main)


def test_what_a_look_reads_does_not_grow_with_history(make_world: Make) -> None:
    """After many executions a look asks for the last few of them only, also in the next process."""
    settings = GatewaySettings(reconcile=ReconcileSettings(every_s=None, overlap=5))
    world = make_world(settings, **TELLS)

    async def main() -> None:
        for life in range(2):
            async with world.gateway() as gateway:
                for n in range(40):
                    await gateway.submit(intent(quantity=1), key=f"{life}.{n}")
                    world.offer(1, 100)
                await gateway.catch_up()
                first = await one_report(gateway)
                assert first.executions <= 45
                second = await one_report(gateway)
                assert (second.executions <= 5, second.breaks, second.in_flight) == (True, (), ())
                assert (await one_report(gateway, full=True)).executions == 40 * (life + 1)

    run(main)


def test_busts_and_corrections_agree_on_both_sides(world: World) -> None:
    """The venue busts one execution and corrects another: both sides count the same, in any look, a full one too."""

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(4, 100)
            world.offer(3, 100)
            await gateway.catch_up()
            first, second = (one.execution_id for one in world.exchange.trades("A"))
            world.exchange.bust("A", first, world.clock.now_us())
            world.exchange.correct("A", second, Decimal(2), Decimal(100), world.clock.now_us())
            for full in (False, True):
                report = await one_report(gateway, full=full)
                assert (report.in_flight, report.breaks) == ((), ()), full
            assert quantity(gateway) == 2
            assert await open_ones(gateway) == []

    run(main)
