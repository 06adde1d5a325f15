"""A guard over a ledger in PostgreSQL: the same, and the next process takes over where the last one ended."""

import asyncio
import time

from guard_kit import BTC, Venue

import onefill
from onefill.ledger import postgres_schema
from onefill.ledger.postgres_settings import place_of
from onefill.sim.imitations import spoils


def test_orders_are_recorded_in_a_database(venue: Venue, postgres_url: str) -> None:
    """A lost reply is one order; a guard that is opened after another one closed returns it under its key."""
    place = place_of(postgres_url)
    asyncio.run(postgres_schema.migrate(place, seed=bytes(16), at_us=time.time_ns() // 1000))
    venue.spoil(spoils.drop)
    numbers = set()
    for _ in range(2):
        exchange = onefill.guard(venue.plain(), postgres_url)
        numbers.add(exchange.create_order(BTC, "limit", "buy", 0.5, 100, key="k")["id"])
        exchange.close()

    async def main() -> None:
        async with onefill.guard(venue.asynchronous(), postgres_url) as other:
            numbers.add((await other.create_order(BTC, "limit", "buy", 0.5, 100, key="k"))["id"])

    asyncio.run(main())
    assert len(numbers) == 1
    assert len(venue.orders()) == 1
