"""A trap of plain ccxt at Deribit, sprung; and the same link and venue through a gateway, where it is harmless.

ccxt places orders there with GET, and aiohttp sends a GET again by itself when a connection it kept open breaks: one call,
two orders, no error. Nothing in ccxt is set to retry.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support
import pytest
from adapter_kit import BTC, connected, expiring, run

from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import Found, Unknown
from onefill.core.values import Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.ledger.sqlite import SqliteLedger
from onefill.service.wiring import SystemClock
from onefill.sim.imitations.base import Imitation
from onefill.sim.imitations.deribit import DeribitImitation
from onefill.sim.link import FaultyLink
from onefill.sim.link_plan import CALM, Fault, FaultKind, LinkPlan, LinkSettings
from onefill.sim.venue import wall_clock_us
from onefill.venues.ccxt.address import point


class CutOnce(LinkPlan):
    """Hangs up after the venue has carried out the first new order, in place of passing the reply on. Nothing else."""

    def __init__(self) -> None:
        super().__init__(LinkSettings())
        self.new_orders = 0

    def for_request(self, method: bytes, target: bytes, body: bytes, *, upgrade: bool = False) -> Fault:
        """Decide: only the first request for a new order loses its reply."""
        if b"/private/buy" not in target:
            return CALM
        self.new_orders += 1
        return Fault(FaultKind.CUT_AFTER_REQUEST) if self.new_orders == 1 else CALM


@contextlib.asynccontextmanager
async def before(imitation: Imitation) -> AsyncIterator[tuple[str, CutOnce]]:
    """Run the link before an imitation that listens; yield its address and its plan."""
    link = FaultyLink("127.0.0.1", int(imitation.url.rpartition(":")[2]), LinkSettings())
    link.plan = plan = CutOnce()
    port = await link.start()
    try:
        yield f"http://127.0.0.1:{port}", plan
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def plain(**config: Any) -> AsyncIterator[tuple[Any, DeribitImitation, CutOnce]]:
    """Yield a client of ccxt as it comes, before the link, with its markets loaded: a connection is kept open."""
    imitation = DeribitImitation()
    await imitation.start()
    try:
        async with before(imitation) as (url, plan):
            client = ccxt.async_support.deribit({**imitation.config(), **config})
            try:
                await point(client, url).load_markets()
                yield client, imitation, plan
            finally:
                await client.close()
    finally:
        await imitation.close()


def test_one_call_of_plain_ccxt_buys_twice() -> None:
    """``create_order`` is called once and returns one order without any error; the venue has two, under one label."""

    async def scenario() -> None:
        async with plain() as (client, imitation, plan):
            assert client.options.get("maxRetriesOnFailure") is None
            shown = await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "once"})
            made = imitation.exchange.all_orders()
            assert [one.client_order_id for one in made] == ["once", "once"]
            assert plan.new_orders == 2
            assert shown["status"] == "open", "and the caller is told of one"

    run(scenario)


def test_the_http_clients_own_resend_is_what_does_it() -> None:
    """With that switched off, which has no public name, the same call makes one order and raises."""

    async def scenario() -> None:
        async with plain() as (client, imitation, plan):
            client.session._retry_connection = False
            with pytest.raises(ccxt.async_support.ExchangeNotAvailable):
                await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "once"})
            assert (len(imitation.exchange.all_orders()), plan.new_orders) == (1, 1)

    run(scenario)


def test_the_synchronous_client_does_not_resend() -> None:
    """ccxt over requests raises after one order: the trap is that of the asynchronous client."""

    async def scenario() -> None:
        imitation = DeribitImitation()
        await imitation.start()
        try:
            async with before(imitation) as (url, plan):
                client = point(ccxt.deribit(imitation.config()), url)
                with contextlib.closing(client.session):
                    await asyncio.to_thread(client.load_markets)
                    with pytest.raises(ccxt.NetworkError):
                        await asyncio.to_thread(client.create_order, BTC, "limit", "buy", 1, 100, {"label": "once"})
                assert (len(imitation.exchange.all_orders()), plan.new_orders) == (1, 1)
        finally:
            await imitation.close()

    run(scenario)


def test_the_adapter_sends_once_and_says_that_it_does_not_know() -> None:
    """The same lost reply: one request, one order, an honest Unknown; and the label finds the order."""

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:

            async def through(imitation: Imitation) -> str:
                url, plans["link"] = await stack.enter_async_context(before(imitation))
                return url

            plans: dict[str, CutOnce] = {}
            venue, imitation, _ = await stack.enter_async_context(connected(DeribitImitation, url=through))
            reply = await venue.submit(expiring("once"))
            assert isinstance(reply, Unknown), reply
            assert (len(imitation.exchange.all_orders()), plans["link"].new_orders) == (1, 1)
            assert isinstance(await venue.lookup("once", "main", BTC), Found)

    run(scenario)


def test_through_a_gateway_there_is_exactly_one_order(tmp_path: Path) -> None:
    """The gateway asks by label, finds its order and answers with it; asked again under its key it answers the same."""

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:

            async def through(imitation: Imitation) -> str:
                url, plans["link"] = await stack.enter_async_context(before(imitation))
                return url

            plans: dict[str, CutOnce] = {}
            venue, imitation, _ = await stack.enter_async_context(connected(DeribitImitation, url=through))
            ledger = await SqliteLedger.open(
                str(tmp_path / "orders.db"), seed=bytes(16), holder="test", at_us=wall_clock_us()
            )
            wanted = Intent(
                account="main",
                strategy="trap",
                instrument=BTC,
                side=Side.BUY,
                quantity=Decimal(1),
                price=Decimal(100),
                time_in_force=TimeInForce.GTC,
            )
            async with Gateway(ledger, {"deribit": venue}, clock=SystemClock(), holder="test") as gateway:
                answer = await gateway.submit(wanted, key="entry")
                assert answer.status is Status.NEW, answer
                assert await gateway.submit(wanted, key="entry") == answer
            (made,) = imitation.exchange.all_orders()
            assert made.client_order_id == answer.client_order_id
            assert plans["link"].new_orders == 1

    run(scenario)
