"""What tests of the service layer share: a simulated exchange, a real gateway over a real ledger, and rows from text."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import onefill
from onefill.core.values import Instrument
from onefill.service.blotter import Defaults, Format, Row, read
from onefill.service.runner import Runner, Summary
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.venue import SimulatedVenue

BTC = Instrument(
    symbol="BTC-USD", price_tick=Decimal("0.01"), quantity_step=Decimal("0.001"), min_quantity=Decimal("0.001")
)
HEADER = "key,instrument,side,quantity,type,price,time in force,account,strategy\n"


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 20.0) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    asyncio.run(bounded())


def make_exchange(**dialect: Any) -> Exchange:
    """Return an exchange that trades BTC-USD."""
    return Exchange(Dialect(**dialect), [BTC])


@contextlib.asynccontextmanager
async def gateway(
    ledger: Path, exchange: Exchange, accounts: tuple[str, ...] = ("main",)
) -> AsyncIterator[onefill.Gateway]:
    """Open a gateway with one route ``sim:ACCOUNT`` for each account."""
    venues = {f"sim:{account}": SimulatedVenue(exchange, account) for account in accounts}
    async with onefill.open(ledger, venues=venues) as opened:
        yield opened


def rows(folder: Path, text: str) -> list[Row]:
    """Return the rows of a blotter with this text below the header."""
    path = folder / "rows.csv"
    path.write_text(HEADER + text)
    return list(read(path, Format.BLOTTER, Defaults()))


def limit(key: str, side: str = "buy", quantity: str = "1", price: str = "100", account: str = "") -> str:
    """Return the line of a limit order."""
    return f"{key},BTC-USD,{side},{quantity},limit,{price},gtc,{account},\n"


def cancel(key: str) -> str:
    """Return the line of a cancel."""
    return f"{key},,,,cancel,,,,\n"


def runner(opened: onefill.Gateway, **settings: Any) -> Runner:
    """Return a runner over routes ``sim:ACCOUNT``."""
    return Runner(opened, route_of=lambda account: f"sim:{account}", **settings)


async def run_text(opened: onefill.Gateway, folder: Path, text: str, **settings: Any) -> Summary:
    """Run a blotter with this text below the header."""
    return await runner(opened, **settings).run(rows(folder, text))
