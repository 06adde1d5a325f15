"""The rate limit of ccxt under the adapter: orders that cost nothing wait for nobody, and what was given up is not charged."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
from adapter_kit import client_of, expiring, run

from onefill.core.messages import Accepted
from onefill.sim.imitations.base import ACCOUNT
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.venues.ccxt.client import twin
from onefill.venues.ccxt.venue import CcxtVenue

CLIENT = {"enableRateLimit": True, "rateLimit": 100}
"""A question costs 3 at this venue, which makes 0.3 s; an order costs nothing."""


async def asked_and_given_up(client: Any, questions: int) -> None:
    """Ask so many questions, of which the limit lets none go, and wait for them no longer."""
    waiting = [asyncio.ensure_future(client.throttle(3)) for _ in range(questions)]
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def turn_s(client: Any) -> float:
    """Return how long a question waits for its turn, in seconds."""
    begun = time.monotonic()
    await client.throttle(3)
    return time.monotonic() - begun


def test_ccxt_charges_questions_that_were_given_up() -> None:
    """Plain ccxt: ten questions that nobody waits for any more hold up the next one by as much as if they were asked."""

    async def scenario() -> None:
        imitation = KrakenImitation()
        await imitation.start()
        try:
            async with client_of(imitation, **CLIENT) as client:
                await asked_and_given_up(client, 10)
                assert await turn_s(client) > 2
        finally:
            await imitation.close()

    run(scenario)


def test_what_was_given_up_is_not_charged_here() -> None:
    """Through the adapter's client they cost nothing: the next question waits for its own turn alone."""

    async def scenario() -> None:
        imitation = KrakenImitation()
        await imitation.start()
        try:
            async with client_of(imitation, **CLIENT) as client:
                assert isinstance(client, ccxt.kraken)
                await asked_and_given_up(twin(client), 10)
                assert await turn_s(twin(client)) < 1.5
        finally:
            await imitation.close()

    run(scenario)


def test_orders_that_cost_nothing_go_before_questions_that_wait() -> None:
    """Ten questions stand in line; an order is sent at once, well within its expiry."""

    async def scenario() -> None:
        imitation = KrakenImitation()
        await imitation.start()
        config = {**imitation.config(), **CLIENT}
        venue = CcxtVenue("kraken", ACCOUNT, config=config, url=imitation.url, timeout_s=20.0, streams=False)
        try:
            await venue.start()
            asked = [asyncio.ensure_future(venue.lookup("1" * 32, ACCOUNT, "BTC/USDT")) for _ in range(10)]
            await asyncio.sleep(0)
            begun = time.monotonic()
            reply = await venue.submit(expiring("2" * 32, quantity=Decimal(1)))
            assert isinstance(reply, Accepted), reply
            assert time.monotonic() - begun < 1.5
            assert not all(one.done() for one in asked)
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await venue.close()
            await imitation.close()

    run(scenario)
