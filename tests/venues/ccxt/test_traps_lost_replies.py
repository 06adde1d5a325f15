"""Lost replies at Bybit, Bitget and Hyperliquid: plain ccxt buys twice, with its own id and all; a gateway buys once.

All three take an id again once its order is filled, or at once. So a careful script that repeats with the same id is not safe
at any of them, and asking first is the only way.
"""

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest
from adapter_kit import by_another, client_of, decided, run
from aiohttp import web

from onefill.core.answers import Answer
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.values import Side, TimeInForce
from onefill.service.wiring import open_gateway
from onefill.sim.imitations import spoils
from onefill.sim.imitations.base import ACCOUNT, Imitation, Spoil
from onefill.sim.imitations.bitget import BitgetImitation
from onefill.sim.imitations.bybit import BybitImitation
from onefill.sim.imitations.hyperliquid import HyperliquidImitation
from onefill.venues.ccxt.venue import CcxtVenue

ENTRY = "0x" + "1" * 32
NATIVE: dict[type[Imitation], str] = {
    BybitImitation: "orderLinkId",
    BitgetImitation: "clientOid",
    HyperliquidImitation: "clientOrderId",
}
"""The name by which ccxt passes a client order id on."""
LOST: dict[str, Spoil] = {
    "the connection is dropped": spoils.drop,
    "the reply is torn": spoils.truncate,
    "502 from a gateway": spoils.status(502),
    "504 from a gateway": spoils.status(504),
}
PAGE = "a page for people, with status 200"
each_venue = pytest.mark.parametrize("kind", list(NATIVE), ids=lambda kind: kind.profile)


@contextlib.asynccontextmanager
async def offered(kind: type[Imitation]) -> AsyncIterator[tuple[Imitation, str]]:
    """Serve an imitation at which somebody else offers more than enough; yield it and its instrument."""
    imitation = kind()
    symbol = next(iter(imitation.exchange.instruments))
    await imitation.start()
    try:
        by_another(imitation, "sell", 10, 100, instrument=symbol)
        yield imitation, symbol
    finally:
        await imitation.close()


def bought(imitation: Imitation) -> Decimal:
    """Return how much the account bought, all in all."""
    decided(imitation)
    return sum((trade.last_quantity or Decimal(0) for trade in imitation.trades()), Decimal(0))


@each_venue
@pytest.mark.parametrize("fault", list(LOST))
def test_a_careful_script_that_repeats_with_its_own_id_buys_twice(kind: type[Imitation], fault: str) -> None:
    """An error after the venue has filled the order; the same call with the same id; two purchases."""

    async def scenario() -> None:
        async with offered(kind) as (imitation, symbol), client_of(imitation) as client:
            imitation.spoilt.append(LOST[fault])
            params = {NATIVE[kind]: ENTRY}
            with pytest.raises(ccxt.BaseError):
                await client.create_order(symbol, "limit", "buy", 1, 100, params)
            decided(imitation)
            await client.create_order(symbol, "limit", "buy", 1, 100, params)
            assert bought(imitation) == 2

    run(scenario)


async def submitted(imitation: Imitation, symbol: str, ledger: Path, **settings: Any) -> Answer:
    """Have a gateway of its own buy one, and return its answer."""
    venue = CcxtVenue(
        imitation.ccxt_id,
        ACCOUNT,
        config={**imitation.config(), "enableRateLimit": False},
        url=imitation.url,
        timeout_s=5.0,
        poll_s=0.05,
        streams=False,
        instruments=(symbol,),
        **settings,
    )
    wanted = Intent(
        account=ACCOUNT,
        strategy="trap",
        instrument=symbol,
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(100),
        time_in_force=TimeInForce.GTC,
    )
    async with open_gateway(ledger, venues={"drilled": venue}) as gateway:
        answer = await gateway.submit(wanted, key="entry")
        assert await gateway.submit(wanted, key="entry") == answer
        return answer


@each_venue
@pytest.mark.parametrize("fault", [*LOST, PAGE])
def test_the_gateway_buys_once_whatever_becomes_of_the_reply(kind: type[Imitation], fault: str, tmp_path: Path) -> None:
    """It asks first, and finds the order under the id that it left with."""

    async def scenario() -> None:
        async with offered(kind) as (imitation, symbol):
            imitation.spoilt.append(LOST.get(fault, spoils.html))
            answer = await submitted(imitation, symbol, tmp_path / "orders.db")
            mine = [one for one in imitation.exchange.all_orders() if one.account == ACCOUNT]
            assert [one.client_order_id for one in mine] == [answer.client_order_id]
            assert answer.status in (Status.FILLED, Status.NEW, Status.PARTIALLY_FILLED)
            assert bought(imitation) == 1

    run(scenario)


def test_a_status_of_unknown_oid_alone_ends_no_order(tmp_path: Path) -> None:
    """Hyperliquid's status query misses the order again and again; other lists have it."""

    async def scenario() -> None:
        async with offered(HyperliquidImitation) as (imitation, symbol):
            assert isinstance(imitation, HyperliquidImitation)
            imitation.blind = 1_000
            imitation.spoilt.append(spoils.drop)
            answer = await submitted(imitation, symbol, tmp_path / "orders.db")
            assert answer.status in (Status.FILLED, Status.NEW)
            assert bought(imitation) == 1

    run(scenario)


@each_venue
def test_an_order_that_never_arrived_is_sent_again_only_where_a_repeat_is_refused(
    kind: type[Imitation], tmp_path: Path
) -> None:
    """Not found until nothing can be under way: then the same id again, or, where nothing refuses a repeat, not at all."""

    async def scenario() -> None:
        async with offered(kind) as (imitation, symbol):
            imitation.unheard.append(lambda: web.Response(status=502, text="502"))
            overrides = {"request_expiry_s": 0.5, "conclusive_after_s": 1.0}
            answer = await submitted(imitation, symbol, tmp_path / "orders.db", overrides=overrides)
            if kind is HyperliquidImitation:
                assert answer.status is Status.EXPIRED_UNSENT
                assert bought(imitation) == 0
            else:
                assert answer.status in (Status.FILLED, Status.NEW)
                assert bought(imitation) == 1

    run(scenario)
