"""What this machine does, beside the bare limit of the same run: the same rows written by a bare loop, same durability.

Everything runs on one file system, one measurement after the other. Nothing here is asserted; figures are printed.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from decimal import Decimal

import msgspec

from onefill.core.errors import InvariantBroken
from onefill.core.intent import Intent
from onefill.core.messages import SubmitReply, SubmitRequest
from onefill.core.values import Instrument, Side
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings
from onefill.gameday.bench_places import Place, Places, without_warm_up
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.venue import SimulatedVenue

ACCOUNT = "bench"
ROUTE = "bench"
_OPENINGS = 9
_INSTRUMENT = Instrument(
    symbol="BTC-USD",
    price_tick=Decimal("0.01"),
    quantity_step=Decimal("0.00000001"),
    min_quantity=Decimal("0.00000001"),
)
Progress = Callable[[str], None]


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured. The defaults take about two minutes on two cores, most of it making a million old intents.

    Throughput is the best of ``rounds_per_figure``: what else runs on a machine only ever slows it.
    """

    rounds: int = 5
    commits: int = 500
    """Bare commits, and as many idle submits, in each round: the two alternate, so that drift hits both."""
    floor_rows: int = 51_200
    sequential: int = 2000
    submits: int = 30_000
    lifecycles: int = 20_000
    rounds_per_figure: int = 3
    executions: int = 30_000
    audit_entries: int = 300_000
    guarded: int = 500
    """Calls of the guard, and as many of plain ccxt and bare commits by turns."""
    scaling: int = 15_000
    """Submits of each process, where several gateways are measured."""
    gateways: tuple[int, ...] = (1, 2, 4)
    idle_routes: int = 250
    idle_s: float = 20.0
    old_intents: tuple[int, ...] = (1_000, 1_000_000)


class Clock:
    """The computer's clock."""

    def now_us(self) -> int:
        """Return µs since 1970."""
        return time.time_ns() // 1000


class _TimedVenue(SimulatedVenue):
    """Notes when each order gets to the wire."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange, ACCOUNT)
        self.at_wire_ns = 0

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        self.at_wire_ns = time.perf_counter_ns()
        return await super().submit(request)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def resident_mb() -> float:
    """Return the memory this process has resident, in MB."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource  # noqa: PLC0415 - not on every system; the peak is the next best figure

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def order(side: Side = Side.BUY) -> Intent:
    """Return an ordinary order."""
    return Intent(
        account=ACCOUNT,
        strategy="bench",
        instrument="BTC-USD",
        side=side,
        quantity=Decimal("1.5"),
        price=Decimal("200.10"),
    )


async def open_gateway(
    place: Place, *routes: str, venue: SimulatedVenue | None = None, lease_s: float | None = None
) -> Gateway:
    """Open a ledger and a gateway on it, with routes to exchanges of their own; no name: the usual one, to ``venue``."""
    settings = GatewaySettings(answer_wait_s=120, lease_s=lease_s)
    venues = {route: venue or SimulatedVenue(_exchange(), ACCOUNT) for route in routes or (ROUTE,)}
    gateway = Gateway(await place.open(), venues, clock=Clock(), holder="bench", settings=settings)
    await gateway.start()
    return gateway


def _exchange() -> Exchange:
    return Exchange(Dialect(), [_INSTRUMENT])


async def submit_to_wire(place: Place, count: int) -> list[float]:
    """Return the µs from the call of submit to the venue's, one order at a time."""
    venue = _TimedVenue(_exchange())
    gateway = await open_gateway(place, venue=venue)
    took = []
    for number in range(count):
        intent = order()
        began = time.perf_counter_ns()
        await gateway.submit(intent, key=f"idle-{began}-{number}")
        took.append((venue.at_wire_ns - began) / 1000)
    await gateway.close()
    return without_warm_up(took)


async def at_once(gateway: Gateway, count: int, in_flight: int, *, crossing: bool = False, prefix: str = "k") -> float:
    """Submit ``count`` orders, ``in_flight`` at a time, and return the seconds until all answers are durable.

    ``crossing``: every second order sells, so that they fill in pairs. ``prefix``: what the keys begin with.
    """
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await gateway.submit(order(Side.SELL if crossing and number % 2 else Side.BUY), key=f"{prefix}{number}")

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return time.perf_counter() - began


async def throughput(places: Places, scale: Scale, tell: Progress) -> dict[str, float]:
    """Measure submits, duplicates (of open and of closed orders) and life cycles per second."""
    figures = {}
    for in_flight, count in ((1, scale.sequential), (64, scale.submits), (1024, scale.submits)):
        tell(f"submits, {in_flight} in flight")
        gateway = await open_gateway(await places.fresh(f"submits-{in_flight}"))
        figures[f"submits_per_s_{in_flight}"] = count / await at_once(gateway, count, in_flight)
        if in_flight == 1024:
            tell("duplicates")
            figures["duplicates_of_open_per_s"] = count / await at_once(gateway, count, in_flight)
        await gateway.close()
    return figures | await _lifecycles(await places.fresh("lifecycles"), scale.lifecycles, tell)


async def _lifecycles(place: Place, count: int, tell: Progress) -> dict[str, float]:
    """Submit, acknowledgement, fill, position; then every key once more, when its order is closed and in the ledger only."""
    tell("life cycles")
    gateway = await open_gateway(place)
    began = time.perf_counter()
    await at_once(gateway, count, 1024, crossing=True)
    await gateway.catch_up()
    lifecycles_s = time.perf_counter() - began
    traded = sum(position.executions for position in gateway.positions())
    await gateway.close()
    if traded != count:
        raise InvariantBroken(f"{count} orders that cross in pairs made {traded} executions")
    tell("duplicates of closed orders")
    gateway = await open_gateway(place)
    duplicates_s = await at_once(gateway, count, 1024, crossing=True)
    await gateway.close()
    return {"lifecycles_per_s": count / lifecycles_s, "duplicates_per_s": count / duplicates_s}


async def probe(place: Place, count: int) -> dict[str, float]:
    """Measure opening, submitting and memory over a ledger that exists. Meant for a process of its own."""
    opened = []
    for _ in range(_OPENINGS):
        began = time.perf_counter()
        gateway = await open_gateway(place)
        opened.append(time.perf_counter() - began)
        await gateway.close()
    took = await submit_to_wire(place, count)
    return {
        "recovery_s": percentile(opened, 0.5),
        "submit_to_wire_us_p50": percentile(took, 0.5),
        "submit_to_wire_us_p99": percentile(took, 0.99),
        "rss_mb": resident_mb(),
    }
