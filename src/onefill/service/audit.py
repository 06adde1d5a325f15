"""Verifying a ledger: every route's chain from its first entry to its head, and positions against the execution log.

Streams in pages; memory does not grow with the ledger.
"""

from collections.abc import Callable

import msgspec

from onefill.core.audit import GENESIS, first_fault
from onefill.core.position import Position
from onefill.engine.book import Book, rebuild
from onefill.ports.ledger import Ledger, RouteInfo

_PAGE = 5000


class RouteAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying one route found. ``fault`` names the first bad entry, ``None`` if the chain holds."""

    route: str
    entries: int
    head: str
    fault: str | None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying a ledger found."""

    routes: list[RouteAudit]
    positions_agree: bool
    """The stored positions, folded on, equal those computed anew from every execution."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return self.positions_agree and all(route.fault is None for route in self.routes)


async def verify(ledger: Ledger, on_progress: Callable[[int], None] = lambda _: None) -> Audit:
    """Verify the whole ledger. ``on_progress`` hears how many entries were read since it was last called."""
    routes = [await _verify_route(ledger, route, on_progress) for route in await ledger.routes()]
    book = Book()
    await book.load(ledger)
    return Audit(routes=routes, positions_agree=_moved(book.positions()) == _moved(await rebuild(ledger)))


def _moved(positions: list[Position]) -> list[Position]:
    return [position for position in positions if position.executions]


async def _verify_route(ledger: Ledger, route: RouteInfo, on_progress: Callable[[int], None]) -> RouteAudit:
    sequence, previous, epoch, fault = 0, GENESIS, 0, None
    while fault is None and sequence < route.journal_entries:
        page = await ledger.journal(route.name, sequence, min(_PAGE, route.journal_entries - sequence))
        if not page:
            fault = f"entry {sequence + 1}: is missing, and {route.journal_entries - sequence - 1} after it"
            break
        for entry in page:
            problem = first_fault(entry, sequence + 1, previous)
            if problem is None and entry.epoch < epoch:
                problem = f"carries epoch {entry.epoch} after epoch {epoch}"
            if problem is not None:
                fault = f"entry {sequence + 1}: {problem}"
                break
            sequence, previous, epoch = entry.sequence, entry.hash, entry.epoch
        on_progress(len(page))
    if fault is None and previous != route.head:
        fault = f"entry {sequence}: the chain does not end in the hash that the route holds"
    return RouteAudit(route=route.name, entries=sequence, head=previous.hex(), fault=fault)
