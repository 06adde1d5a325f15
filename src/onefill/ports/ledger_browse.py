"""What a ledger shows to people, beyond what a gateway needs of it."""

from typing import Protocol

import msgspec

from onefill.core.audit import JournalEntry
from onefill.core.order import Order
from onefill.ports.ledger import Ledger, Loaded


class RouteSums(msgspec.Struct, kw_only=True):
    """What the ledger holds of one route."""

    route: str
    route_id: int
    orders: dict[str, int] = {}
    """By status."""
    parked: int = 0
    copies: dict[str, int] = {}
    """Copies of new orders, by outcome; ``claimed``: none is known."""
    attempts: dict[int, int] = {}
    """How many orders had so many copies."""
    executions: int = 0
    quarantined: int = 0


class BrowsableLedger(Ledger, Protocol):
    """A ledger that can also be looked through."""

    async def last_orders(self, limit: int) -> list[Order]:
        """Return the ``limit`` orders recorded last, oldest first."""
        ...

    async def matching_keys(self, key: str) -> list[Loaded]:
        """Return the orders with this key, whatever their account and strategy: for people, who may not know those."""
        ...

    async def history(self, intent_id: int) -> list[JournalEntry]:
        """Return every journal entry of one order."""
        ...

    async def sums(self) -> list[RouteSums]:
        """Return sums over all that the ledger holds, by route. Reads whole tables."""
        ...
