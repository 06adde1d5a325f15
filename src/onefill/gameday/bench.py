"""What this machine does, beside the bare limit of the same run: the same rows written by a bare loop, same durability.

Everything runs on one file system, one measurement after the other. Nothing here is asserted; figures are printed.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import apsw
import msgspec

from onefill.core.errors import InvariantBroken
from onefill.core.intent import Intent
from onefill.core.messages import SubmitReply, SubmitRequest
from onefill.core.values import Instrument, Side
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings
from onefill.gameday.old_ledger import SUBMIT_STATEMENTS, fill, submit_rows
from onefill.ledger.sqlite import SqliteLedger
from onefill.ledger.sqlite_file import open_file
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.venue import SimulatedVenue

ACCOUNT = "bench"
ROUTE = "bench"
GROUP = 256
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


def floor_commit(path: Path, count: int) -> list[float]:
    """Return the µs that a bare loop takes to commit the rows of one submit, one commit each."""
    file = open_file(str(path), seed=bytes(16), holder="bench", at_us=0)
    db = file.connection
    fill(db, ROUTE, 0)
    rows = submit_rows(0)
    took = []
    for _ in range(count):
        one = next(rows)
        began = time.perf_counter_ns()
        db.execute("BEGIN IMMEDIATE")
        for statement, row in zip(SUBMIT_STATEMENTS, one, strict=True):
            db.execute(statement, row)
        db.execute("COMMIT")
        took.append((time.perf_counter_ns() - began) / 1000)
    file.close()
    return took[len(took) // 10 :]


def floor_group(path: Path, count: int) -> float:
    """Return how many submits' rows a bare loop commits per second in groups of :data:`GROUP`."""
    file = open_file(str(path), seed=bytes(16), holder="bench", at_us=0)
    db = file.connection
    fill(db, ROUTE, 0)
    rows = submit_rows(0)
    groups = [[next(rows) for _ in range(GROUP)] for _ in range(count // GROUP)]
    began = time.perf_counter_ns()
    for group in groups:
        _write_group(db, group)
    seconds = (time.perf_counter_ns() - began) / 1e9
    file.close()
    return len(groups) * GROUP / seconds


def _write_group(db: apsw.Connection, group: list[tuple[tuple[object, ...], ...]]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for number, statement in enumerate(SUBMIT_STATEMENTS[:-1]):
        db.executemany(statement, (one[number] for one in group))
    db.execute(SUBMIT_STATEMENTS[-1], group[-1][-1])  # the route's row once per group
    db.execute("COMMIT")


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


async def _open(path: Path, venue: SimulatedVenue) -> Gateway:
    ledger = await SqliteLedger.open(str(path), seed=os.urandom(16), holder="bench", at_us=Clock().now_us())
    gateway = Gateway(
        ledger, {ROUTE: venue}, clock=Clock(), holder="bench", settings=GatewaySettings(answer_wait_s=120)
    )
    await gateway.start()
    return gateway


def _exchange() -> Exchange:
    return Exchange(Dialect(), [_INSTRUMENT])


async def submit_to_wire(path: Path, count: int) -> list[float]:
    """Return the µs from the call of submit to the venue's, one order at a time."""
    venue = _TimedVenue(_exchange())
    gateway = await _open(path, venue)
    took = []
    for number in range(count):
        intent = order()
        began = time.perf_counter_ns()
        await gateway.submit(intent, key=f"idle-{began}-{number}")
        took.append((venue.at_wire_ns - began) / 1000)
    await gateway.close()
    return took[len(took) // 10 :]


async def _at_once(gateway: Gateway, count: int, in_flight: int, *, crossing: bool = False) -> float:
    """Submit ``count`` orders, ``in_flight`` at a time, and return the seconds until all answers are durable.

    ``crossing``: every second order sells, so that they fill in pairs.
    """
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await gateway.submit(order(Side.SELL if crossing and number % 2 else Side.BUY), key=f"k{number}")

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return time.perf_counter() - began


async def throughput(folder: Path, scale: Scale, tell: Progress) -> dict[str, float]:
    """Measure submits, duplicates (of open and of closed orders) and life cycles per second."""
    figures = {}
    for in_flight, count in ((1, scale.sequential), (64, scale.submits), (1024, scale.submits)):
        tell(f"submits, {in_flight} in flight")
        gateway = await _open(folder / f"submits-{in_flight}.db", SimulatedVenue(_exchange(), ACCOUNT))
        figures[f"submits_per_s_{in_flight}"] = count / await _at_once(gateway, count, in_flight)
        if in_flight == 1024:
            tell("duplicates")
            figures["duplicates_of_open_per_s"] = count / await _at_once(gateway, count, in_flight)
        await gateway.close()
    return figures | await _lifecycles(folder / "lifecycles.db", scale.lifecycles, tell)


async def _lifecycles(path: Path, count: int, tell: Progress) -> dict[str, float]:
    """Submit, acknowledgement, fill, position; then every key once more, when its order is closed and in the ledger only."""
    tell("life cycles")
    gateway = await _open(path, SimulatedVenue(_exchange(), ACCOUNT))
    began = time.perf_counter()
    await _at_once(gateway, count, 1024, crossing=True)
    await gateway.catch_up()
    lifecycles_s = time.perf_counter() - began
    traded = sum(position.executions for position in gateway.positions())
    await gateway.close()
    if traded != count:
        raise InvariantBroken(f"{count} orders that cross in pairs made {traded} executions")
    tell("duplicates of closed orders")
    gateway = await _open(path, SimulatedVenue(_exchange(), ACCOUNT))
    duplicates_s = await _at_once(gateway, count, 1024, crossing=True)
    await gateway.close()
    return {"lifecycles_per_s": count / lifecycles_s, "duplicates_per_s": count / duplicates_s}


async def probe(path: Path, count: int) -> dict[str, float]:
    """Measure opening, submitting and memory over a ledger that exists. Meant for a process of its own."""
    opened = []
    for _ in range(_OPENINGS):
        began = time.perf_counter()
        gateway = await _open(path, SimulatedVenue(_exchange(), ACCOUNT))
        opened.append(time.perf_counter() - began)
        await gateway.close()
    took = await submit_to_wire(path, count)
    return {
        "recovery_s": percentile(opened, 0.5),
        "submit_to_wire_us_p50": percentile(took, 0.5),
        "submit_to_wire_us_p99": percentile(took, 0.99),
        "rss_mb": resident_mb(),
    }
