"""The simulated exchange as a venue in the same process."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from exchange_kit import DAY_US, NOON_US, cancel, exchange, limit, order, replace

from onefill.core.capabilities import Lookup
from onefill.core.messages import (
    Accepted,
    Canceled,
    ExecutionReport,
    Found,
    Held,
    Holdings,
    Listed,
    NotFound,
    Rejected,
    Replaced,
    ReplaceRejected,
    Unknown,
    VenueStatus,
)
from onefill.core.values import TimeInForce
from onefill.ports.venue import Venue
from onefill.sim.venue import SimulatedVenue


def venue_at_noon(**dialect: Any) -> SimulatedVenue:
    """Return a venue for account A whose clock stands at noon."""
    return SimulatedVenue(exchange(**dialect), "A", lambda: NOON_US)


def test_it_is_a_venue_and_passes_calls_through() -> None:
    """The class satisfies the port, and each call gives what the exchange gives."""

    async def scenario() -> None:
        venue: Venue = venue_at_noon()
        await venue.start()
        assert set(await venue.instruments()) == {"ACME", "ZINC"}
        assert venue.capabilities.lookup is Lookup.DIRECT
        assert isinstance(await venue.submit(order("x", "buy", 1)), Accepted)
        assert isinstance(await venue.lookup("x", "A", "ACME"), Found)
        assert isinstance(await venue.lookup("y", "A", "ACME"), NotFound)
        reply = await venue.replace(replace("x", 2, 10))
        assert isinstance(reply, Replaced)
        assert await venue.scan("A", "ACME", NOON_US + 1) == Listed((reply.order,))
        assert isinstance(await venue.cancel(cancel("x")), Canceled)
        assert [report.position for report in await venue.executions(1)] == [2, 3]
        await venue.close()

    asyncio.run(scenario())


def test_an_order_for_another_account_is_refused_unsent() -> None:
    """A connection for one account takes no order for another, whose fills it would never see."""
    venue = venue_at_noon()
    reply = asyncio.run(venue.submit(order("x", "buy", 1, account="B")))
    assert isinstance(reply, Rejected)
    assert reply.code == "wrong_account"


def test_a_replace_for_another_account_is_refused_unsent() -> None:
    """A connection for one account changes no order of another, whose fills it would never see."""
    shared = exchange()
    shared.submit(order("x", "buy", 1, account="B"), NOON_US)
    venue = SimulatedVenue(shared, "A", lambda: NOON_US)
    assert isinstance(asyncio.run(venue.replace(replace("x", 2, 10, account="B"))), ReplaceRejected)
    assert shared.counts().replaces == 0


def test_a_scan_where_orders_are_not_listed_is_unknown() -> None:
    """An exchange that lists nothing does not answer with an empty list."""
    assert isinstance(asyncio.run(venue_at_noon(lookup=Lookup.NONE).scan("A", "ACME", 0)), Unknown)


def test_a_stream_gives_the_past_and_then_wakes_for_the_new() -> None:
    """A stream from a cursor gives the stored suffix, then waits, and goes on when something happens."""

    async def scenario() -> list[int]:
        venue = venue_at_noon()
        await venue.submit(order("x", "buy", 1))
        await venue.submit(order("y", "buy", 1))
        seen: list[ExecutionReport] = []
        enough = asyncio.Event()

        async def read() -> None:
            async for report in venue.stream(1):
                seen.append(report)
                if len(seen) == 3:
                    enough.set()

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        await venue.submit(order("z", "buy", 1))
        await venue.cancel(cancel("z"))
        async with asyncio.timeout(5):
            await enough.wait()
            await venue.close()
            await reader
        return [report.position for report in seen]

    assert asyncio.run(scenario()) == [2, 3, 4]


def test_a_stream_that_is_left_leaves_nothing_behind() -> None:
    """Closing a stream takes its listener off the exchange."""

    async def scenario() -> None:
        shared = exchange()
        venue = SimulatedVenue(shared, "A", lambda: NOON_US)
        await venue.submit(order("x", "buy", 1))
        stream = venue.stream(0)
        assert (await anext(stream)).position == 1
        assert shared.listeners("A") == 1
        await stream.aclose()
        assert shared.listeners("A") == 0

    asyncio.run(scenario())


def test_asynchronous_acknowledgements_come_by_themselves() -> None:
    """Where the exchange acknowledges later, the loop's timer brings the acknowledgement without another call."""

    async def scenario() -> list[VenueStatus]:
        loop = asyncio.get_running_loop()
        shared = exchange(acknowledges_asynchronously=True, acknowledge_delay_us=1_000)
        venue = SimulatedVenue(shared, "A", lambda: NOON_US + int(loop.time() * 1_000_000))
        await venue.start()
        reply = await venue.submit(limit("x", "buy", 1, 10))
        assert isinstance(reply, Accepted)
        assert reply.order.status is VenueStatus.PENDING_NEW
        await venue.submit(limit("y", "sell", 1, 10))
        seen = []
        async with asyncio.timeout(5):
            async for report in venue.stream(0):
                seen.append(report.status)
                if len(seen) == 4:
                    break
        await venue.close()
        return seen

    assert asyncio.run(scenario()) == [VenueStatus.NEW, VenueStatus.NEW, VenueStatus.FILLED, VenueStatus.FILLED]


@pytest.mark.parametrize("times", [1, 2])
def test_closing_is_harmless_at_any_time(times: int) -> None:
    """A venue that was never started can be closed, and closed again."""

    async def scenario() -> None:
        venue = venue_at_noon()
        for _ in range(times):
            await venue.close()

    asyncio.run(scenario())


def test_it_lists_open_orders_and_tells_positions_where_the_exchange_does() -> None:
    """Of any account, whoever sent the orders; time passes first. Where the exchange does neither, the answer is unknown."""

    async def scenario() -> None:
        market_place = exchange(lists_open_orders=True, tells_positions=True)
        market_place.submit(limit("d", "buy", 1, 9, time_in_force=TimeInForce.DAY), NOON_US)
        venue: Venue = SimulatedVenue(market_place, "A", lambda: NOON_US + DAY_US)
        market_place.submit(limit("x", "buy", 3, 10), NOON_US)
        market_place.submit(limit("y", "sell", 1, 10, account="B"), NOON_US)
        assert await venue.open_orders("A") == Listed(tuple(market_place.open_orders("A")))
        assert [order.client_order_id for order in market_place.open_orders("A")] == ["x"]
        assert await venue.positions("A") == Holdings((Held(instrument="ACME", quantity=Decimal(1)),))
        assert await venue.positions("C") == Holdings(())
        silent = venue_at_noon()
        assert isinstance(await silent.open_orders("A"), Unknown)
        assert isinstance(await silent.positions("A"), Unknown)

    asyncio.run(scenario())


def test_it_follows_the_drop_copy() -> None:
    """From its own place on, as it comes, told again included, until the venue is closed."""

    async def scenario() -> None:
        market_place = exchange(drop_copy=True)
        venue: Venue = SimulatedVenue(market_place, "A", lambda: NOON_US)
        market_place.submit(limit("x", "buy", 3, 10), NOON_US)
        reader = venue.drop_copy(1)
        waiting = asyncio.ensure_future(anext(reader))
        for name in "yz":
            market_place.submit(limit(name, "sell", 1, 10, account="B"), NOON_US)
        found = [await waiting]
        market_place.redeliver("A", 1)
        found.append(await anext(reader))
        await venue.close()
        assert await anext(reader, None) is None
        assert [(one.position, one.execution_id) for one in found] == [(2, "E3"), (3, "E2")]
        assert [one.execution_id for one in await venue.drop_copies(0)] == ["E2", "E3", "E2"]

    asyncio.run(scenario())
