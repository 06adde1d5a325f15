"""Executions at Binance by its user data stream: told at once, and none is lost when the stream is cut."""

import asyncio
from decimal import Decimal

import pytest
from adapter_kit import BTC, PERPETUAL, adapter, by_another, client_of, order, run, started

from onefill.core.messages import Accepted, ExecutionKind, ExecutionReport
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_rest import Binance
from onefill.sim.imitations.binance_usdm import BinanceUsdm
from onefill.venues.ccxt.venue import CcxtVenue

BOTH = pytest.mark.parametrize(("kind", "symbol"), [(BinanceSpot, BTC), (BinanceUsdm, PERPETUAL)])
NEVER_S = 600.0
"""So seldom are the lists read by themselves here that only a stream can tell anything in the time of a test."""


async def listened_to(venue: Binance) -> None:
    """Wait until the venue has a stream."""
    while not venue.streams:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


async def traded(reports: "asyncio.Queue[ExecutionReport]") -> tuple[str, Decimal | None]:
    """Return the next trade's client order id and quantity."""
    while True:
        report = await reports.get()
        if report.kind is ExecutionKind.TRADE:
            return report.client_order_id, report.last_quantity


async def collect(ours: CcxtVenue, reports: "asyncio.Queue[ExecutionReport]") -> None:
    """Follow the stream."""
    async for report in ours.stream(0):
        reports.put_nowait(report)


@BOTH
def test_a_trade_is_told_long_before_the_lists_are_due(kind: type[Binance], symbol: str) -> None:
    """Over the stream alone, and once, though the list that is read at its beginning has it too."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue, streams=True, poll_s=NEVER_S) as ours:
            assert isinstance(venue, Binance)
            reports: asyncio.Queue[ExecutionReport] = asyncio.Queue()
            task = asyncio.create_task(collect(ours, reports))
            await listened_to(venue)
            assert isinstance(await ours.submit(order("mine", quantity=3, instrument=symbol)), Accepted)
            for quantity in (Decimal(1), Decimal("0.5")):
                by_another(venue, "sell", quantity, 100, symbol)
                assert await traded(reports) == ("mine", quantity)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert reports.empty()

    run(scenario)


@BOTH
def test_what_is_traded_while_the_stream_is_cut_is_told_too(kind: type[Binance], symbol: str) -> None:
    """After every break the lists are read: a trade that no stream told is not lost."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue, streams=True, poll_s=NEVER_S) as ours:
            assert isinstance(venue, Binance)
            reports: asyncio.Queue[ExecutionReport] = asyncio.Queue()
            task = asyncio.create_task(collect(ours, reports))
            await listened_to(venue)
            await ours.submit(order("mine", quantity=3, instrument=symbol))
            by_another(venue, "sell", 1, 100, symbol)
            assert await traded(reports) == ("mine", 1)
            await venue.end_streams()
            by_another(venue, "sell", "0.5", 100, symbol)
            assert await traded(reports) == ("mine", Decimal("0.5"))
            await listened_to(venue)
            by_another(venue, "sell", "0.25", 100, symbol)
            assert await traded(reports) == ("mine", Decimal("0.25"))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario)


@BOTH
def test_the_end_of_an_order_is_told(kind: type[Binance], symbol: str) -> None:
    """An order that somebody cancels elsewhere ends here too, by its own id."""

    async def scenario() -> None:
        async with (
            started(kind()) as venue,
            adapter(venue, streams=True, poll_s=NEVER_S) as ours,
            client_of(venue) as elsewhere,
        ):
            assert isinstance(venue, Binance)
            reports: asyncio.Queue[ExecutionReport] = asyncio.Queue()
            task = asyncio.create_task(collect(ours, reports))
            await listened_to(venue)
            made = await ours.submit(order("mine", instrument=symbol))
            assert isinstance(made, Accepted)
            await elsewhere.cancel_order(made.order.venue_order_id, symbol)
            report = await reports.get()
            assert (report.kind, report.client_order_id) == (ExecutionKind.CANCELED, "mine")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario)
