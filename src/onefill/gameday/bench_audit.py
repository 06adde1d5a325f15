"""How fast a journal is verified: a ledger file as a day of trading leaves it, and the time that verifying it takes.

Of three journal entries one tells of an execution: each order is recorded and claimed, acknowledged, and traded whole.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.audit import GENESIS, entry_hash
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.intent import Intent, canonical
from onefill.core.messages import VenueStatus
from onefill.core.position import STREAM
from onefill.core.values import Side
from onefill.engine.book import load_all
from onefill.gameday.bench_places import Place
from onefill.gameday.old_ledger import JOURNAL_COLUMNS, ROUTE_COLUMNS, Table
from onefill.ports.ledger import INTENT_NUMBER_BITS, Ledger

Verify = Callable[[Ledger], Awaitable[Any]]
"""Verifies a ledger. What it returns has ``holds``."""
ROUNDS = 3
"""Throughput is the best of so many: what else runs on a machine only ever slows it."""
_PER_ORDER = 3
_ROUTE, _ROUTE_ID, _ACCOUNT, _STRATEGY, _INSTRUMENT = "bench:main", 1, "main", "momentum", "BTC-USD"
_AT_US = 1_760_000_000_000_000
_EXECUTION = (
    "id, route, scope, execution_id, intent_id, account, strategy, instrument, side, quantity, price, client_order_id, "
    "venue_order_id, transacted_at_us, recorded_at_us, fee, fee_currency, kind, stream"
)


async def audit_entries_per_s(place: Place, entries: int, verify: Verify) -> dict[str, float]:
    """Make a ledger with about so many entries and verify it, executions and positions included."""
    payload_bytes = await make_ledger(place, entries)
    size = entries // _PER_ORDER * _PER_ORDER
    took, worked = [], []
    for _ in range(ROUNDS):
        ledger = await place.open_read_only()
        try:
            began, began_work = time.perf_counter(), time.process_time()
            found = await verify(ledger)
            took.append(time.perf_counter() - began)
            worked.append(time.process_time() - began_work)
        finally:
            await ledger.close()
        if not found.holds:
            raise RuntimeError(f"{place.name}: what was just written does not verify: {found}")
    return {
        "audit_entries": float(size),
        "audit_payload_bytes": payload_bytes / size,
        "audit_entries_per_s": size / min(took),
        "audit_entries_per_cpu_s": size / min(worked),
    }


async def make_ledger(place: Place, entries: int) -> int:
    """Make the ledger, its positions stored. Return how many bytes of payload it has."""
    payload_bytes = await _fill(place, entries // _PER_ORDER)
    ledger = await place.open()
    try:
        book = await load_all(ledger)
        for info in await ledger.routes():
            await book.save(ledger, info.name)
    finally:
        await ledger.close()
    return payload_bytes


async def _fill(place: Place, orders: int) -> int:
    head, sequence, payload_bytes = GENESIS, 0, 0

    def entries() -> Iterator[tuple[object, ...]]:
        nonlocal head, sequence, payload_bytes
        for number in range(1, orders + 1):
            intent_id = _ROUTE_ID << INTENT_NUMBER_BITS | number
            for kind, events in _life(number):
                sequence += 1
                payload, at_us = msgspec.json.encode(events).decode(), _AT_US + sequence * 100
                made = entry_hash(head, _ROUTE, sequence, intent_id, kind, payload, at_us, 1)
                yield (_ROUTE_ID << INTENT_NUMBER_BITS | sequence, intent_id, kind, payload, at_us, 1, head, made)
                head = made
                payload_bytes += len(payload)

    def routes() -> Iterator[tuple[object, ...]]:
        yield (_ROUTE_ID, _ROUTE, 1, "bench", 0, orders, sequence, head)

    await place.write(
        [
            Table("journal", JOURNAL_COLUMNS, entries()),
            Table("execution", _EXECUTION, (_execution(place, number) for number in range(1, orders + 1))),
            Table("route", ROUTE_COLUMNS, routes()),
        ]
    )
    return payload_bytes


def _side(number: int) -> Side:
    return Side.SELL if number % 2 == 0 else Side.BUY


def _price(number: int) -> Decimal:
    return Decimal(6_500_000 + number * 7919 % 100_000).scaleb(-2)


def _client_order_id(number: int) -> str:
    return f"{_STRATEGY}-20251009-00001-{number}-c5k"


def _life(number: int) -> Iterator[tuple[str, tuple[Event, ...]]]:
    at_us, quantity, price = _AT_US + number * 300, Decimal("0.25"), _price(number)
    intent = Intent(
        account=_ACCOUNT,
        strategy=_STRATEGY,
        instrument=_INSTRUMENT,
        side=_side(number),
        quantity=quantity,
        price=price,
        venue=_ROUTE,
    )
    body = msgspec.Raw(canonical(intent))
    recorded = ev.Recorded(f"rebalance-{number}", _client_order_id(number), body, at_us + 30_000_000)
    yield "recorded", (recorded, ev.Claimed(1, at_us + 2_000_000, at_us + 2_500_000))
    shown = ev.Acknowledged(f"V{number:09d}", VenueStatus.NEW, Decimal(0), Source.REPLY)
    yield "copy_settled", (ev.CopySettled(1, CopyOutcome.ACCEPTED, "", None), shown)
    yield (
        "traded",
        (
            ev.Traded(
                execution_id=f"E{number:012d}",
                quantity=quantity,
                price=price,
                venue_order_id=f"V{number:09d}",
                venue_cum_quantity=quantity,
                transacted_at_us=at_us,
                fee=Decimal("0.01"),
                fee_currency="USD",
            ),
        ),
    )


def _execution(place: Place, number: int) -> tuple[object, ...]:
    at_us, text = _AT_US + number * 300, format(_price(number), "f")
    return (
        *(
            place.execution_place(_ROUTE_ID, number),
            _ROUTE_ID,
            _ACCOUNT,
            f"E{number:012d}",
            _ROUTE_ID << INTENT_NUMBER_BITS | number,
            _ACCOUNT,
            _STRATEGY,
        ),
        *(_INSTRUMENT, _side(number).value, "0.25", text, _client_order_id(number), f"V{number:09d}", at_us, at_us),
        *("0.01", "USD", "trade", STREAM),
    )
