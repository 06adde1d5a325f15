"""Executions at Coinbase: the user channel tells totals, the list of fills tells what they are made of."""

import asyncio
from decimal import Decimal

from adapter_kit import BTC, by_another, connected, expiring, run

from onefill.core.messages import Accepted, ExecutionKind, ExecutionReport
from onefill.sim.imitations.coinbase import CoinbaseImitation

FIRST = "1" * 32
HALF_AN_HOUR_S = 1_800.0


def test_a_partial_fill_has_the_list_read_at_once() -> None:
    """Lists that are read every half an hour by themselves tell each fill of a resting order as it happens."""

    async def scenario() -> None:
        settings = {"streams": True, "poll_s": HALF_AN_HOUR_S, "instruments": (BTC,)}
        async with connected(CoinbaseImitation, **settings) as (venue, imitation, _):
            reply = await venue.submit(expiring(FIRST, quantity=3))
            assert isinstance(reply, Accepted)
            told: list[ExecutionReport] = []
            more = asyncio.Event()

            async def listen() -> None:
                async for report in venue.stream(0):
                    if report.kind is ExecutionKind.TRADE:
                        told.append(report)
                        more.set()

            listening = asyncio.create_task(listen())
            while not imitation.exchange.listeners("main"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            for number in range(3):
                by_another(imitation, "sell", "0.5", 100)
                while len(told) <= number:
                    more.clear()
                    await more.wait()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            assert [(one.client_order_id, one.last_quantity) for one in told] == [(FIRST, Decimal("0.5"))] * 3
            assert len({one.execution_id for one in told}) == 3

    run(scenario)
