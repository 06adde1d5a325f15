"""Traps of plain ccxt at Kraken, each sprung; and the same venue and faults through a gateway, where they are harmless.

A client order id counts among open orders only, and ccxt cannot look one up: who repeats a call buys twice, and so does who
asks first. Each order here trades at once, so that by the time of a retry its id is free again.
"""

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest
from adapter_kit import by_another, client_of, run

from onefill.core.answers import Answer
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.values import Side, TimeInForce
from onefill.service.wiring import open_gateway
from onefill.sim.imitations import spoils
from onefill.sim.imitations.base import ACCOUNT, Imitation, Spoil
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.venues.ccxt.venue import CcxtVenue

SYMBOL = "BTC/USDT"
ENTRY = "c0ffee00000040008000000000000001"
LOST: dict[str, Spoil] = {
    "the connection is dropped": spoils.drop,
    "the reply is torn": spoils.truncate,
    "a page for people, with status 200": spoils.html,
    "502 from a gateway": spoils.status(502),
    "520 from a gateway": spoils.status(520),
    "the venue is busy": spoils.status(200, '{"error":["EService:Busy"]}', "application/json"),
    "the deadline, it says": spoils.status(200, '{"error":["EService:Deadline elapsed"]}', "application/json"),
    "words that nobody knows": spoils.status(200, '{"error":["EOrder:Something went wrong"]}', "application/json"),
}


@contextlib.asynccontextmanager
async def offered() -> AsyncIterator[KrakenImitation]:
    """Serve an imitation at which somebody else offers more than enough."""
    imitation = KrakenImitation()
    await imitation.start()
    try:
        by_another(imitation, "sell", 10, 100)
        yield imitation
    finally:
        await imitation.close()


def bought(imitation: Imitation) -> Decimal:
    """Return how much the account bought, all in all."""
    return sum((trade.last_quantity or Decimal(0) for trade in imitation.trades()), Decimal(0))


async def buy(client: Any) -> Any:
    """Buy one at a price at which it trades at once."""
    return await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"clientOrderId": ENTRY})


# -------------------------------------------------------------------- plain ccxt


def test_the_id_of_a_filled_order_buys_again() -> None:
    """Trap 1: the very same call, with the very same client order id, makes a second order once the first is filled."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            first, second = await buy(client), await buy(client)
            assert first["id"] != second["id"]
            assert bought(imitation) == 2

    run(scenario)


@pytest.mark.parametrize("fault", [name for name in LOST if not name.startswith("a page")])
def test_a_script_that_asks_before_it_repeats_buys_twice(fault: str) -> None:
    """After an error it looks for its order by the client order id. ccxt sends that as another field: it is not found."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            imitation.spoilt.append(LOST[fault])
            for _ in range(3):
                try:
                    await buy(client)
                except ccxt.BaseError:
                    with contextlib.suppress(ccxt.BaseError):
                        assert await client.fetch_order(None, SYMBOL, {"clientOrderId": ENTRY})
                        break
                    continue
                break
            assert bought(imitation) == 2

    run(scenario)


def test_a_page_with_status_200_looks_like_an_order() -> None:
    """Trap 4: nothing is raised, and the order has no number."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            imitation.spoilt.append(spoils.html)
            shown = await buy(client)
            assert shown["id"] is None
            assert bought(imitation) == 1

    run(scenario)


# ------------------------------------------------------------------ through Onefill


async def submitted(imitation: Imitation, ledger: Path) -> Answer:
    """Have a gateway of its own buy one, and return its answer."""
    venue = CcxtVenue(
        imitation.ccxt_id,
        ACCOUNT,
        config={**imitation.config(), "enableRateLimit": False},
        url=imitation.url,
        timeout_s=5.0,
        poll_s=0.05,
        instruments=(SYMBOL,),
    )
    wanted = Intent(
        account=ACCOUNT,
        strategy="trap",
        instrument=SYMBOL,
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(100),
        time_in_force=TimeInForce.GTC,
    )
    async with open_gateway(ledger, venues={"kraken": venue}) as gateway:
        answer = await gateway.submit(wanted, key="entry")
        assert await gateway.submit(wanted, key="entry") == answer
        return answer


@pytest.mark.parametrize("fault", list(LOST))
def test_the_gateway_buys_once_whatever_becomes_of_the_reply(fault: str, tmp_path: Path) -> None:
    """It asks for the open and the closed orders under its id, and finds the one that there is."""

    async def scenario() -> None:
        async with offered() as imitation:
            imitation.spoilt.append(LOST[fault])
            answer = await submitted(imitation, tmp_path / "orders.db")
            mine = [one for one in imitation.exchange.all_orders() if one.account == ACCOUNT]
            assert [one.client_order_id for one in mine] == [answer.client_order_id]
            assert answer.status in (Status.FILLED, Status.NEW)
            assert bought(imitation) == 1
            assert imitation.exchange.counts().submits == 2, "its own, and the offer"

    run(scenario)


def test_a_second_gateway_with_the_same_ledger_and_key_buys_nothing_more(tmp_path: Path) -> None:
    """After a restart the key gets its first answer, and the venue sees no further order."""

    async def scenario() -> None:
        async with offered() as imitation:
            imitation.spoilt.append(spoils.drop)
            first = await submitted(imitation, tmp_path / "orders.db")
            again = await submitted(imitation, tmp_path / "orders.db")
            assert again.client_order_id == first.client_order_id
            assert bought(imitation) == 1

    run(scenario)
