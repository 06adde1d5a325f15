"""Traps of plain ccxt at Binance, each sprung; and the same venue and faults through a gateway, where they are harmless.

A client order id protects only while its order is open. A reply that is lost, torn or not the venue's says nothing about the
order. Each order here trades at once, so that by the time of a retry its id is free again.
"""

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest
from adapter_kit import BTC, PERPETUAL, adapter, by_another, client_of, run, started

from onefill.core.answers import Answer
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.values import Side, TimeInForce
from onefill.service.wiring import open_gateway
from onefill.sim.imitations import spoils
from onefill.sim.imitations.base import Imitation, Spoil
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_rest import backend_timeout, unexpected_response
from onefill.sim.imitations.binance_usdm import BinanceUsdm
from onefill.sim.link import FaultyLink
from onefill.sim.link_plan import CALM, Fault, FaultKind, LinkPlan, LinkSettings
from onefill.venues.ccxt.address import point

LOST: dict[str, Spoil] = {
    "the connection is dropped": spoils.drop,
    "the reply is torn": spoils.truncate,
    "a page for people, with status 200": spoils.html,
    "502 from a gateway": spoils.status(502),
    "504 from a gateway": spoils.status(504),
    "-1006": unexpected_response,
    "-1007": backend_timeout,
}


@contextlib.asynccontextmanager
async def offered(kind: type[Imitation], symbol: str) -> AsyncIterator[Imitation]:
    """Serve an imitation at which somebody else offers more than enough."""
    async with started(kind()) as venue:
        by_another(venue, "sell", 10, 100, symbol)
        yield venue


def bought(venue: Imitation) -> Decimal:
    """Return how much the account bought, all in all."""
    return sum((trade.last_quantity or Decimal(0) for trade in venue.trades()), Decimal(0))


def buy(client: Any, client_order_id: str) -> Any:
    """Buy one at a price at which it trades at once."""
    return client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": client_order_id})


# -------------------------------------------------------------------- plain ccxt


def test_the_id_of_a_filled_order_buys_again() -> None:
    """Trap 1: the very same call, with the very same client order id, makes a second order once the first is filled."""

    async def scenario() -> None:
        async with offered(BinanceSpot, BTC) as venue, client_of(venue) as client:
            first, second = await buy(client, "entry"), await buy(client, "entry")
            assert first["clientOrderId"] == second["clientOrderId"] == "entry"
            assert first["id"] != second["id"]
            assert bought(venue) == 2

    run(scenario)


@pytest.mark.parametrize("fault", [name for name in LOST if not name.startswith("a page")])
def test_a_naive_retry_after_a_lost_reply_buys_twice(fault: str) -> None:
    """Trap 1, as it happens: an error, a careful script that keeps its client order id and calls again, two purchases."""

    async def scenario() -> None:
        async with offered(BinanceSpot, BTC) as venue, client_of(venue) as client:
            venue.spoilt.append(LOST[fault])
            for _ in range(3):
                try:
                    await buy(client, "entry")
                except ccxt.BaseError:
                    continue
                break
            assert bought(venue) == 2

    run(scenario)


def test_ccxts_own_retries_buy_twice() -> None:
    """``maxRetriesOnFailure`` does the same by itself, without an error."""

    async def scenario() -> None:
        async with offered(BinanceSpot, BTC) as venue, client_of(venue) as client:
            client.options["maxRetriesOnFailure"] = 3
            venue.spoilt.append(spoils.drop)
            assert (await buy(client, "entry"))["status"] == "closed"
            assert bought(venue) == 2

    run(scenario)


def test_a_torn_reply_looks_like_a_refusal() -> None:
    """Trap 4: a bare ExchangeError, the class of refusals, and not the NetworkError that a script would retry or look into."""

    async def scenario() -> None:
        async with offered(BinanceSpot, BTC) as venue, client_of(venue) as client:
            venue.spoilt.append(spoils.truncate)
            with pytest.raises(ccxt.ExchangeError) as caught:
                await buy(client, "entry")
            assert type(caught.value) is ccxt.ExchangeError
            assert not isinstance(caught.value, ccxt.NetworkError)
            assert isinstance(caught.value.__cause__, aiohttp.ClientPayloadError)
            assert bought(venue) == 1

    run(scenario)


def test_a_page_for_people_looks_like_a_success() -> None:
    """Trap 4: status 200 with HTML is an order without number and state, and no error."""

    async def scenario() -> None:
        async with offered(BinanceSpot, BTC) as venue, client_of(venue) as client:
            venue.spoilt.append(spoils.html)
            shown = await buy(client, "entry")
            assert (shown["id"], shown["status"]) == (None, None)
            assert bought(venue) == 1

    run(scenario)


class CutOnce(LinkPlan):
    """Hangs up after the venue has carried out the first request of a method, in place of passing the reply on."""

    def __init__(self, method: bytes) -> None:
        super().__init__(LinkSettings())
        self.method = method
        self.requests = 0

    def for_request(self, method: bytes, target: bytes, body: bytes, *, upgrade: bool = False) -> Fault:
        """Decide: only the first request of the method loses its reply."""
        if method != self.method:
            return CALM
        self.requests += 1
        return Fault(FaultKind.CUT_AFTER_REQUEST) if self.requests == 1 else CALM


@contextlib.asynccontextmanager
async def over_a_link(venue: Imitation, plan: CutOnce) -> AsyncIterator[Any]:
    """Yield a plain client that reaches the venue over a link; its connection is kept open."""
    link = FaultyLink("127.0.0.1", int(venue.url.rpartition(":")[2]), LinkSettings())
    link.plan = plan
    port = await link.start()
    try:
        async with client_of(venue) as client:
            yield point(client, f"http://127.0.0.1:{port}")
    finally:
        await link.close()


def test_a_cancel_that_worked_is_told_as_an_order_that_was_not_found() -> None:
    """A cancel is a DELETE, which aiohttp sends again by itself; the second copy finds nothing to cancel."""

    async def scenario() -> None:
        plan = CutOnce(b"DELETE")
        async with started(BinanceSpot()) as venue, over_a_link(venue, plan) as client:
            made = await buy(client, "entry")
            with pytest.raises(ccxt.OrderNotFound):
                await client.cancel_order(made["id"], BTC)
            assert plan.requests == 2
            assert (await client.fetch_order(made["id"], BTC))["status"] == "canceled"

    run(scenario)


def test_a_modify_that_worked_is_told_as_an_error() -> None:
    """On futures it is a PUT, which aiohttp sends again too; the second copy would change nothing, and is refused for that."""

    async def scenario() -> None:
        plan = CutOnce(b"PUT")
        async with started(BinanceUsdm()) as venue, over_a_link(venue, plan) as client:
            made = await client.create_order(PERPETUAL, "limit", "buy", 1, 100)
            with pytest.raises(ccxt.ExchangeError, match="No need to modify"):
                await client.edit_order(made["id"], PERPETUAL, "limit", "buy", 2, 100)
            assert plan.requests == 2
            assert (await client.fetch_order(made["id"], PERPETUAL))["amount"] == 2

    run(scenario)


# --------------------------------------------------------------- through Onefill


async def through_a_gateway(venue: Imitation, ledger: Path, symbol: str) -> Answer:
    """Submit the order under its key, over the real adapter; take in what it traded, and return the answer."""
    wanted = Intent(
        account="main",
        strategy="trap",
        instrument=symbol,
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(100),
        time_in_force=TimeInForce.GTC,
    )
    async with adapter(venue) as ours, open_gateway(ledger, venues={"binance": ours}) as gateway:
        answer = await gateway.submit(wanted, key="entry")
        assert await gateway.submit(wanted, key="entry") == answer, "the same key has the same answer"
        await gateway.catch_up()
        assert (await gateway.order("entry", account="main", strategy="trap")).status is Status.FILLED
        assert [position.quantity for position in gateway.positions()] == [1]
        return answer


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize(("kind", "symbol"), [(BinanceSpot, BTC), (BinanceUsdm, PERPETUAL)])
def test_through_a_gateway_it_buys_once(kind: type[Imitation], symbol: str, fault: str, tmp_path: Path) -> None:
    """Whatever became of the reply: one order, known to be filled; again after a restart under its key, still one."""

    async def scenario() -> None:
        async with offered(kind, symbol) as venue:
            venue.spoilt.append(LOST[fault])
            answer = await through_a_gateway(venue, tmp_path / "orders.db", symbol)
            assert await through_a_gateway(venue, tmp_path / "orders.db", symbol) == answer
            (made,) = [one for one in venue.exchange.all_orders() if one.account == "main"]
            assert made.client_order_id == answer.client_order_id
            assert bought(venue) == 1
            assert not venue.spoilt, "the reply was spoilt indeed"

    run(scenario)
