"""How many executions a second are applied durably, and how many repeats dropped, on an empty ledger and on one with a past."""

import asyncio
import time
from collections.abc import AsyncGenerator
from decimal import Decimal

from onefill.core.errors import InvariantBroken
from onefill.core.intent import Intent
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.position import STREAM
from onefill.core.values import EXACT, Instrument, Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings
from onefill.gameday.bench import Clock
from onefill.gameday.bench_places import Place
from onefill.gameday.old_ledger import Table
from onefill.ports.ledger import INTENT_NUMBER_BITS
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.venue import SimulatedVenue

ACCOUNT = "bench"
ROUTE = "bench"
ORDERS = 500
"""Orders at work among which the executions are spread."""
_LOT = Decimal("0.001")
_INSTRUMENT = Instrument(
    symbol="BTC-USD", price_tick=Decimal("0.01"), quantity_step=Decimal("0.001"), min_quantity=Decimal("0.001")
)
_PAGE = 1000


class Feed(SimulatedVenue):
    """A venue whose stream is what it is told, as fast as it is read. Its places go on from ``base``."""

    def __init__(self, exchange: Exchange, base: int) -> None:
        super().__init__(exchange, ACCOUNT)
        self._base = base
        self._reports: list[ExecutionReport] = []
        self._more = asyncio.Event()

    def tell(self, reports: list[ExecutionReport]) -> None:
        """Have these come next."""
        self._reports += reports
        self._more.set()

    def last_place(self) -> int:
        """Return the place of the last report."""
        return self._base + len(self._reports)

    async def executions(self, after: int) -> list[ExecutionReport]:
        """See :class:`onefill.ports.venue.Venue`."""
        first = max(after - self._base, 0)
        return self._reports[first : first + _PAGE]

    async def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """See :class:`onefill.ports.venue.Venue`."""
        while True:
            self._more.clear()
            for report in self._reports[max(after - self._base, 0) :]:
                after = report.position
                yield report
            await self._more.wait()


def _trades(orders: list[tuple[str, str]], count: int, first: int, place: int) -> list[ExecutionReport]:
    """Return ``count`` executions spread over orders (client order id, venue's number)."""
    made, now_us = [], time.time_ns() // 1000
    for number in range(count):
        client_order_id, venue_order_id = orders[number % len(orders)]
        made.append(
            ExecutionReport(
                position=place + number + 1,
                execution_id=f"{first + number:012d}",
                kind=ExecutionKind.TRADE,
                client_order_id=client_order_id,
                venue_order_id=venue_order_id,
                account=ACCOUNT,
                instrument=_INSTRUMENT.symbol,
                side=Side.BUY,
                last_quantity=_LOT,
                last_price=Decimal("200.10"),
                cum_quantity=EXACT.multiply(_LOT, Decimal(number // len(orders) + 1)),
                leaves_quantity=Decimal(1),
                status=VenueStatus.PARTIALLY_FILLED,
                transacted_at_us=now_us,
                fee=Decimal("0.0002"),
                fee_currency="USD",
            )
        )
    return made


async def executions(place: Place, count: int, repeats: int, feeds: dict[str, Feed]) -> dict[str, float]:
    """Apply ``count`` executions through the gateway's receiver, then tell ``repeats`` of them again.

    ``feeds``: the venues of places that were measured before. A venue that forgot what it told would be found to differ, and
    the reconciler at work on that would be measured too.
    """
    ledger = await place.open()
    if place.name not in feeds:
        exchange = Exchange(Dialect(matching=False), [_INSTRUMENT])
        feeds[place.name] = Feed(exchange, await ledger.cursor(ROUTE, STREAM))
    venue = feeds[place.name]
    settings = GatewaySettings(answer_wait_s=600.0, reply_timeout_s=600.0)
    gateway = Gateway(ledger, {ROUTE: venue}, clock=Clock(), holder="bench", settings=settings)
    async with gateway:
        held = sum(position.executions for position in gateway.positions())
        stamp = time.time_ns()
        intent = Intent(
            account=ACCOUNT,
            strategy="bench",
            instrument=_INSTRUMENT.symbol,
            side=Side.BUY,
            quantity=Decimal(1_000_000),
            price=Decimal("200.10"),
            time_in_force=TimeInForce.GTC,
        )
        answers = await asyncio.gather(*(gateway.submit(intent, key=f"{stamp}-{n}") for n in range(ORDERS)))
        orders = [(answer.client_order_id, answer.venue_order_id or "") for answer in answers]
        await gateway.reconcile(ROUTE)  # what an earlier measurement left to compare is no part of this one
        trades = _trades(orders, count, stamp, venue.last_place())
        began = time.perf_counter()
        venue.tell(trades)
        await gateway.catch_up()
        applied_s = time.perf_counter() - began
        told_again = [trades[n % count] for n in range(repeats)]
        last = venue.last_place()
        again = [_moved(report, last + n + 1) for n, report in enumerate(told_again)]
        began = time.perf_counter()
        venue.tell(again)
        await gateway.catch_up()
        dropped_s = time.perf_counter() - began
        counted = sum(position.executions for position in gateway.positions()) - held
    if counted != count:
        raise InvariantBroken(f"{count} executions, told again {repeats} times, moved the position {counted} times")
    return {"executions_per_s": count / applied_s, "duplicate_executions_per_s": repeats / dropped_s}


def _moved(report: ExecutionReport, position: int) -> ExecutionReport:
    values = {field: getattr(report, field) for field in report.__struct_fields__}
    return ExecutionReport(**{**values, "position": position})


def old_executions(place: Place, count: int) -> list[Table]:
    """Return one old execution for each of the first ``count`` old intents, and the position they make."""
    base = 1 << INTENT_NUMBER_BITS
    bought = EXACT.multiply(_LOT, Decimal(count))
    value = format(EXACT.multiply(bought, Decimal("200.1")), "f")
    return [
        Table(
            "execution",
            "id, route, scope, execution_id, intent_id, account, strategy, instrument, side, quantity, price, client_order_id, "
            "venue_order_id, transacted_at_us, recorded_at_us, kind, stream",
            (
                (
                    *(
                        place.execution_place(1, n),
                        1,
                        "bench",
                        f"{n:012d}",
                        base | n,
                        "bench",
                        "bench",
                        "BTC-USD",
                        "buy",
                    ),
                    *("0.001", "200.1", f"bench-20251009-00001-{n}-chk", f"X{n}", 0, 0, "trade", STREAM),
                )
                for n in range(1, count + 1)
            ),
        ),
        Table(
            "position",
            "account, strategy, venue, instrument, bought, sold, bought_value, sold_value, cost, fees, executions",
            [("bench", "bench", "bench", "BTC-USD", format(bought, "f"), "0", value, "0", value, "[]", count)],
        ),
    ]
