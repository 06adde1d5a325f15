"""What the guard adds to a call of plain ccxt, against one and the same server, beside a bare durable commit.

A plain call, a guarded one, a repeat of that and a bare commit alternate one by one, so that drift hits all. The repeat is
answered once what was written behind the call is durable, so that nothing of it falls into what comes next. What the guard adds
where calls follow each other at once is a figure of its own: there each waits for what was written behind the last one.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from onefill.gameday.bench import percentile
from onefill.gameday.bench_places import Floor, SqlitePlaces, without_warm_up
from onefill.gameday.processes import server
from onefill.sim.imitations.binance import BinanceSpot
from onefill.venues.ccxt.address import point

Guard = Callable[[Any, Path], Any]
"""Returns a guarded object for one of ccxt's, over the ledger in a file that is made."""
_ORDER: Final = ("BTC/USDT", "limit", "buy", 0.5, 100)
_SERVER: Final = ("exchange", "--imitate", "binance_spot", "--no-matching")


async def added(folder: Path, guard: Guard, calls: int) -> dict[str, float]:
    """Return the median µs of ``create_order`` in plain ccxt, and what the guard adds; asynchronous and synchronous.

    Files go into a new folder in ``folder``.
    """
    folder = folder / "guard"
    folder.mkdir()
    floor = await SqlitePlaces(folder).floor()
    try:
        async with server("imitation", folder, _SERVER) as listening:
            figures = await _asynchronous(folder, guard, floor, listening.url, calls)
            return figures | await asyncio.to_thread(_synchronous, folder, guard, floor, listening.url, calls)
    finally:
        floor.close()


def _client(library: Any, url: str) -> Any:
    return point(library.binance({**BinanceSpot.config(), "enableRateLimit": False}), url)


def _figures(plain: list[float], guarded: list[float], commits: list[float], suffix: str = "") -> dict[str, float]:
    usual, with_guard, commit = (percentile(without_warm_up(took), 0.5) for took in (plain, guarded, commits))
    return {
        f"ccxt_call_us_p50{suffix}": usual,
        f"guard_added_us_p50{suffix}": with_guard - usual,
        f"guard_commit_us_p50{suffix}": commit,
        f"guard_added_over_commit{suffix}": (with_guard - usual) / commit,
    }


async def _asynchronous(folder: Path, guard: Guard, floor: Floor, url: str, calls: int) -> dict[str, float]:
    import ccxt.async_support as library  # noqa: PLC0415 - takes most of a second

    plain, guarded = _client(library, url), guard(_client(library, url), folder / "guard.db")
    usual: list[float] = []
    with_guard: list[float] = []
    commits: list[float] = []
    await plain.load_markets()
    gc.collect()
    try:
        for number in range(calls):
            usual.append(await _timed(plain, {}))
            with_guard.append(await _timed(guarded, {"key": f"asynchronous-{number}"}))
            await guarded.create_order(*_ORDER, {"key": f"asynchronous-{number}"})
            commits.append(floor.commit())
        figures = _figures(usual, with_guard, commits)
        in_a_row = [await _timed(guarded, {"key": f"in-a-row-{number}"}) for number in range(calls)]
        figures["guard_added_us_p50_in_a_row"] = (
            percentile(without_warm_up(in_a_row), 0.5) - figures["ccxt_call_us_p50"]
        )
    finally:
        await guarded.close()
        await plain.close()
    return figures


async def _timed(exchange: Any, params: dict[str, str]) -> float:
    began = time.perf_counter_ns()
    await exchange.create_order(*_ORDER, params)
    return (time.perf_counter_ns() - began) / 1000


def _synchronous(folder: Path, guard: Guard, floor: Floor, url: str, calls: int) -> dict[str, float]:
    import ccxt as library  # noqa: PLC0415 - likewise

    plain, guarded = _client(library, url), guard(_client(library, url), folder / "guard-sync.db")
    usual: list[float] = []
    with_guard: list[float] = []
    commits: list[float] = []
    plain.load_markets()
    gc.collect()
    try:
        for number in range(calls):
            for exchange, params, took in (
                (plain, {}, usual),
                (guarded, {"key": f"synchronous-{number}"}, with_guard),
            ):
                began = time.perf_counter_ns()
                exchange.create_order(*_ORDER, params)
                took.append((time.perf_counter_ns() - began) / 1000)
            guarded.create_order(*_ORDER, {"key": f"synchronous-{number}"})
            commits.append(floor.commit())
    finally:
        guarded.close()
        plain.close()
    return _figures(usual, with_guard, commits, "_sync")
