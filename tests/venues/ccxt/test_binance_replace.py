"""A replace on Binance spot through a gateway: done, refused, or half done; each is told as what it is."""

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from adapter_kit import BTC, adapter, by_another, run, started

from onefill.core.answers import ReplaceAnswer, ReplaceResult
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import ReplaceRejected
from onefill.core.values import Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.service.wiring import open_gateway
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_rest import Refusal

WHO = {"account": "main", "strategy": "replacing"}


@contextlib.asynccontextmanager
async def resting(folder: Path) -> AsyncIterator[tuple[BinanceSpot, Gateway]]:
    """Yield the venue and a gateway with an order to buy three that rests, under the key ``entry``."""
    quick = {"request_expiry_s": 0.5, "conclusive_after_s": 0.7}
    async with (
        started(BinanceSpot()) as venue,
        adapter(venue, overrides=quick) as ours,
        open_gateway(folder / "orders.db", venues={"binance": ours}) as gateway,
    ):
        assert isinstance(venue, BinanceSpot)
        wanted = Intent(
            **WHO,
            instrument=BTC,
            side=Side.BUY,
            quantity=Decimal(3),
            price=Decimal(100),
            time_in_force=TimeInForce.GTC,
        )
        await gateway.submit(wanted, key="entry")
        yield venue, gateway


async def replaced(gateway: Gateway) -> ReplaceAnswer:
    """Ask for four at 99, twice under one key: the answer is the same."""
    terms: dict[str, Any] = {"quantity": 4, "price": 99, "operation_key": "more"}
    answer = await gateway.replace("entry", **WHO, **terms)
    assert await gateway.replace("entry", **WHO, **terms) == answer
    return answer


def test_an_order_that_has_not_traded_goes_on_under_another_id(tmp_path: Path) -> None:
    """One order is live, with the wanted terms; what it trades is the intent's."""

    async def scenario() -> None:
        async with resting(tmp_path) as (venue, gateway):
            answer = await replaced(gateway)
            assert (answer.result, answer.quantity, answer.price) == (ReplaceResult.REPLACED, "4", "99")
            (live,) = venue.exchange.open_orders("main")
            assert live.client_order_id == answer.client_order_id
            by_another(venue, "sell", 4, 99)
            await gateway.catch_up()
            order = await gateway.order("entry", **WHO)
            assert (order.status, order.cum_quantity) == (Status.FILLED, 4)

    run(scenario)


def test_an_order_that_has_traded_stays_as_it_is(tmp_path: Path) -> None:
    """Even if nobody here had heard of the trade: the venue is asked to replace only what has not traded."""

    async def scenario() -> None:
        async with resting(tmp_path) as (venue, gateway):
            by_another(venue, "sell", 1, 100)
            answer = await replaced(gateway)
            assert answer.result is ReplaceResult.REFUSED
            (live,) = venue.exchange.open_orders("main")
            assert (live.quantity, live.cum_quantity, live.price) == (3, 1, 100)
            by_another(venue, "sell", 2, 100)
            await gateway.catch_up()
            assert [position.quantity for position in gateway.positions()] == [3]

    run(scenario)


def test_half_a_replace_is_told_as_an_order_that_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-2021: the order was cancelled and the next one refused. Nothing is live, and the answer says so."""

    async def scenario() -> None:
        async with resting(tmp_path) as (venue, gateway):

            def poor(_: object) -> None:
                raise Refusal(-2010, "Account has insufficient balance for requested action.")

            monkeypatch.setattr(venue.exchange, "replace", lambda *_: ReplaceRejected("it is no replace"))
            monkeypatch.setattr(venue, "submit", poor)
            answer = await replaced(gateway)
            assert (answer.result, answer.status, answer.changed) == (ReplaceResult.ENDED, Status.CANCELED, False)
            assert venue.exchange.open_orders("main") == []
            assert venue.requests["POST /api/v3/order/cancelReplace"] == 1

    run(scenario)
