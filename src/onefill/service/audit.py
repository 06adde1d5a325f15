"""Verifying a ledger: every route's chain from its first entry to its head, the execution log against the chain, and the
stored positions against the execution log.

Streams in pages; memory does not grow with the ledger. It may run while a gateway writes: what is compared is what stood
there at one moment.
"""

from collections.abc import AsyncIterator, Callable
from decimal import Decimal

import msgspec

from onefill.core.audit import GENESIS, JournalEntry, first_fault
from onefill.core.position import Execution, Position
from onefill.core.values import plain
from onefill.engine.book import Book
from onefill.ports.ledger import Ledger, RouteInfo

_PAGE = 5000
_TELLS_OF_EXECUTIONS = ('"type":"traded"', '"type":"quarantined"')


class RouteAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying one route found. ``fault`` names the first bad entry, ``None`` if the chain holds."""

    route: str
    entries: int
    head: str
    fault: str | None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying a ledger found."""

    routes: list[RouteAudit]
    positions: list[str]
    """Where the stored positions differ from those computed anew from the executions."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.positions and all(route.fault is None for route in self.routes)


class _Told(msgspec.Struct, frozen=True):
    """An execution as an event of the journal tells it; other events have none."""

    type: str
    execution_id: str = ""
    quantity: Decimal = Decimal(0)
    price: Decimal = Decimal(0)


_events = msgspec.json.Decoder(list[_Told])


async def verify(ledger: Ledger, on_progress: Callable[[int], None] = lambda _: None) -> Audit:
    """Verify the whole ledger. ``on_progress`` hears how many entries were read since it was last called."""
    routes = [await _Route(ledger, route).verify(on_progress) for route in await ledger.routes()]
    return Audit(routes=routes, positions=await _position_faults(ledger))


class _Route:
    """The verification of one route."""

    def __init__(self, ledger: Ledger, route: RouteInfo) -> None:
        self._ledger = ledger
        self._route = route
        self._executions = _executions(ledger, route.name)
        self._sequence = 0
        self._previous = GENESIS
        self._epoch = 0

    async def verify(self, on_progress: Callable[[int], None]) -> RouteAudit:
        fault = await self._walk(on_progress)
        if fault is None and self._previous != self._route.head:
            fault = f"entry {self._sequence}: the chain does not end in the hash that the route holds"
        if fault is None:
            fault = await self._beyond()
        return RouteAudit(route=self._route.name, entries=self._sequence, head=self._previous.hex(), fault=fault)

    async def _walk(self, on_progress: Callable[[int], None]) -> str | None:
        """Follow the chain to where it ended when we began. Return the first fault."""
        last = self._route.journal_entries
        while self._sequence < last:
            page = await self._ledger.journal(self._route.name, self._sequence, min(_PAGE, last - self._sequence))
            if not page:
                return f"entry {self._sequence + 1}: is missing, and {last - self._sequence - 1} after it"
            for entry in page:
                fault = self._fault(entry) or await self._execution_fault(entry)
                if fault is not None:
                    return f"entry {self._sequence + 1}: {fault}"
                self._sequence, self._previous, self._epoch = entry.sequence, entry.hash, entry.epoch
            on_progress(len(page))
        return None

    def _fault(self, entry: JournalEntry) -> str | None:
        if entry.epoch < self._epoch:
            return f"carries epoch {entry.epoch} after epoch {self._epoch}"
        return first_fault(entry, self._sequence + 1, self._previous)

    async def _execution_fault(self, entry: JournalEntry) -> str | None:
        """Compare the executions of an entry with the execution log, which is in the same order."""
        if not any(mark in entry.payload for mark in _TELLS_OF_EXECUTIONS):
            return None
        for told in _events.decode(entry.payload):
            if told.type not in ("traded", "quarantined"):
                continue
            logged = await anext(self._executions, None)
            if logged is None:
                return f"execution {told.execution_id!r} is not in the execution log"
            wanted = (told.execution_id, told.quantity, told.price, entry.intent_id if told.type == "traded" else None)
            if wanted != (logged.execution_id, logged.quantity, logged.price, logged.intent_id):
                return (
                    f"tells of execution {told.execution_id!r}, {plain(told.quantity)} at {plain(told.price)}; the execution "
                    f"log has {logged.execution_id!r}, {plain(logged.quantity)} at {plain(logged.price)}, in its place"
                )
        return None

    async def _beyond(self) -> str | None:
        """Look for what stands in the ledger and in no chain. A gateway that writes meanwhile adds to both."""
        more = await self._ledger.journal(self._route.name, self._sequence, 1)
        logged = await anext(self._executions, None)
        now = next((route for route in await self._ledger.routes() if route.name == self._route.name), None)
        if now is None or now.journal_entries != self._route.journal_entries:
            return None
        if more:
            return f"entry {self._sequence + 1}: stands beyond the end that the route holds"
        return None if logged is None else f"execution {logged.execution_id!r} is in the log and in no entry"


async def _executions(ledger: Ledger, route: str) -> AsyncIterator[Execution]:
    after = 0
    while page := await ledger.executions(after, _PAGE):
        for _, execution in page:
            if execution.venue == route:
                yield execution
        after = page[-1][0]


async def _position_faults(ledger: Ledger) -> list[str]:
    """Compare the stored positions with the fold of exactly those executions that they claim to hold."""
    stored, through = await ledger.positions()
    book, after = Book(), 0
    while after < through and (page := await ledger.executions(after, _PAGE)):
        for place, execution in page:
            if place <= through:
                book.add(execution, place)
        after = page[-1][0]
    computed = {_name(position): position for position in book.positions()}
    faults = []
    for position in stored:
        other = computed.pop(_name(position), None)
        if other != position and (other is not None or position.executions):
            faults.append(f"{_name(position)}: stored {_sums(position)}; the executions give {_sums(other)}")
    faults += [f"{name}: is not stored; the executions give {_sums(missing)}" for name, missing in computed.items()]
    return faults


def _name(position: Position) -> str:
    return f"account {position.account}, strategy {position.strategy}, {position.venue}, {position.instrument}"


def _sums(position: Position | None) -> str:
    if position is None:
        return "none"
    value = f"value {plain(position.bought_value)} and {plain(position.sold_value)}"
    return f"bought {plain(position.bought)}, sold {plain(position.sold)}, {value}, {position.executions:,} fills"
