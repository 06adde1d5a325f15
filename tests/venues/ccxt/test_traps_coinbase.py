"""A trap of plain ccxt at Coinbase, sprung; and the same venue and faults through a gateway, where it is harmless.

The venue answers a repeat with the first order, so that a client order id would protect for ever. ccxt drops the unified
``clientOrderId`` and sends a random one with every call: whoever relies on it, and repeats, has two orders.
"""

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest
from adapter_kit import by_another, client_of, run
from aiohttp import web

from onefill.core.answers import Answer
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.values import Side, TimeInForce
from onefill.service.wiring import open_gateway
from onefill.sim.imitations import spoils
from onefill.sim.imitations.base import ACCOUNT, Imitation, Spoil
from onefill.sim.imitations.coinbase import CoinbaseImitation
from onefill.venues.ccxt.venue import CcxtVenue

SYMBOL = "BTC/USDT"
ENTRY = "c0ffee00-0000-4000-8000-000000000001"
LOST: dict[str, Spoil] = {
    "the connection is dropped": spoils.drop,
    "the reply is torn": spoils.truncate,
    "a page for people, with status 200": spoils.html,
    "502 from a gateway": spoils.status(502),
    "504 from a gateway": spoils.status(504),
    "the venue's own error": spoils.status(500, '{"error":"internal_server_error"}', "application/json"),
}


@contextlib.asynccontextmanager
async def offered() -> AsyncIterator[CoinbaseImitation]:
    """Serve an imitation at which somebody else offers more than enough."""
    imitation = CoinbaseImitation()
    await imitation.start()
    try:
        by_another(imitation, "sell", 10, 100)
        yield imitation
    finally:
        await imitation.close()


def bought(imitation: Imitation) -> Decimal:
    """Return how much the account bought, all in all."""
    return sum((trade.last_quantity or Decimal(0) for trade in imitation.trades()), Decimal(0))


async def until_it_works(client: Any, params: dict[str, Any]) -> Any:
    """Buy one at a price at which it trades at once, as a script does that tries again after an error."""
    for _ in range(3):
        with contextlib.suppress(ccxt.BaseError):
            return await client.create_order(SYMBOL, "limit", "buy", 1, 100, params)
    raise AssertionError("three tries failed")


# -------------------------------------------------------------------- plain ccxt


def test_the_unified_client_order_id_never_leaves() -> None:
    """The venue sees another id at each call, and the caller, who gave one, gets that in return."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            shown = [
                await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"clientOrderId": ENTRY}) for _ in range(2)
            ]
            seen = [one.client_order_id for one in imitation.exchange.all_orders() if one.account == ACCOUNT]
            assert len(set(seen)) == 2
            assert all(one.startswith("ccxt-") for one in seen)
            assert [one["clientOrderId"] for one in shown] == seen
            assert bought(imitation) == 2

    run(scenario)


@pytest.mark.parametrize("fault", [name for name in LOST if not name.startswith("a page")])
def test_a_careful_script_that_repeats_with_its_own_id_buys_twice(fault: str) -> None:
    """An error after the venue has taken the order; the same call, the same ``clientOrderId``; two purchases."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            imitation.spoilt.append(LOST[fault])
            await until_it_works(client, {"clientOrderId": ENTRY})
            assert bought(imitation) == 2

    run(scenario)


def test_under_the_venues_own_name_the_id_protects() -> None:
    """With ``client_order_id`` the very same script buys once: the venue answers with the first order."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            imitation.spoilt.append(spoils.drop)
            shown = await until_it_works(client, {"client_order_id": ENTRY})
            assert shown["clientOrderId"] == ENTRY
            assert bought(imitation) == 1
            assert imitation.exchange.counts().duplicates == 1

    run(scenario)


def test_a_page_with_status_200_looks_like_an_order() -> None:
    """Trap 4: nothing is raised, the order has no number, and the script goes on as if it had bought nothing."""

    async def scenario() -> None:
        async with offered() as imitation, client_of(imitation) as client:
            imitation.spoilt.append(spoils.html)
            try:
                shown = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"clientOrderId": ENTRY})
            except ccxt.BaseError as error:
                raise AssertionError(f"it raised {error!r}") from error
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
    async with open_gateway(ledger, venues={"coinbase": venue}) as gateway:
        answer = await gateway.submit(wanted, key="entry")
        assert await gateway.submit(wanted, key="entry") == answer
        return answer


@pytest.mark.parametrize("fault", list(LOST))
def test_the_gateway_buys_once_whatever_becomes_of_the_reply(fault: str, tmp_path: Path) -> None:
    """Its own id leaves under the venue's name, in its form; the order is found in the list, or sent again as the same one."""

    async def scenario() -> None:
        async with offered() as imitation:
            imitation.spoilt.append(LOST[fault])
            answer = await submitted(imitation, tmp_path / "orders.db")
            mine = [one for one in imitation.exchange.all_orders() if one.account == ACCOUNT]
            assert [one.client_order_id for one in mine] == [answer.client_order_id]
            assert imitation.records.order(mine[0].number) == mine[0]
            assert "-" in (imitation.records.of(mine[0].number).client_id or "")
            assert answer.status in (Status.FILLED, Status.NEW)
            assert bought(imitation) == 1

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


def test_a_refusal_is_told_as_one_though_ccxt_has_no_class_for_it(tmp_path: Path) -> None:
    """``success: false`` with a reason of the venue's list: the order is rejected, and not left open for a person."""

    async def scenario() -> None:
        async with offered() as imitation:
            refusal = (
                '{"success":false,"order_id":"","failure_reason":"UNKNOWN_FAILURE_REASON",'
                '"error_response":{"error":"INSUFFICIENT_FUND","message":"not enough","error_details":""}}'
            )
            imitation.unheard.append(lambda: web.Response(text=refusal, content_type="application/json"))
            answer = await submitted(imitation, tmp_path / "orders.db")
            assert answer.status is Status.REJECTED
            assert "INSUFFICIENT_FUND" in (answer.reason or "")
            assert bought(imitation) == 0

    run(scenario)
