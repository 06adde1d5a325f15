"""A ledger is used with the venue it has traded with, and no other."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from onefill.core.answers import Answer
from onefill.core.errors import OtherVenue
from onefill.core.intent import Intent
from onefill.core.values import Instrument, Side
from onefill.service.wiring import open_gateway
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.venues.exchange_client import ExchangeVenue

STEP = Decimal("0.01")


async def submit_once(ledger: Path, port: int, key: str) -> Answer:
    """Open the ledger against the exchange at a port and submit one order."""
    venue = ExchangeVenue(f"http://127.0.0.1:{port}", "main")
    intent = Intent(
        account="main", strategy="s", instrument="BTC-USD", side=Side.BUY, quantity=Decimal(1), price=Decimal(200)
    )
    async with open_gateway(ledger, venues={"sim": venue}) as gateway:
        return await gateway.submit(intent, key=key)


def make_server() -> ExchangeServer:
    """Return an exchange that has seen nothing."""
    instrument = Instrument(symbol="BTC-USD", price_tick=STEP, quantity_step=STEP, min_quantity=STEP)
    return ExchangeServer(Exchange(Dialect(), [instrument]))


def test_an_exchange_that_was_started_anew_is_refused(tmp_path: Path) -> None:
    """A fresh exchange at the same address is refused and gets no order; the old one is taken again."""

    async def run() -> None:
        first, second = make_server(), make_server()
        ledger = tmp_path / "orders.db"
        first_port, second_port = await first.start(), await second.start()
        try:
            answer = await submit_once(ledger, first_port, "k")
            with pytest.raises(OtherVenue, match="not the one this ledger has traded with"):
                await submit_once(ledger, second_port, "another")
            assert second.exchange.counts().submits == 0
            assert await submit_once(ledger, first_port, "k") == answer
            assert first.exchange.counts().submits == 1
        finally:
            await first.close()
            await second.close()

    asyncio.run(run())
