"""What a drill reads from a ledger, through the ledger's own port."""

from collections.abc import Sequence
from pathlib import Path

from onefill.core.errors import NotALedger
from onefill.ledger.sqlite import SqliteLedger


async def copies(path: Path, account: str, strategy: str, keys: Sequence[str]) -> dict[str, int]:
    """Return by key how many copies of each order were claimed, and so may have been sent."""
    store = await SqliteLedger.open_read_only(str(path))
    try:
        found = {}
        for key in keys:
            loaded = await store.by_key(account, strategy, key)
            found[key] = 0 if loaded is None else len(loaded.order.copies)
        return found
    finally:
        await store.close()


async def under_way(path: Path) -> int:
    """Return how many requests (orders and cancels) are claimed and without an outcome: what a crash has left in doubt."""
    try:
        store = await SqliteLedger.open_read_only(str(path))
    except NotALedger:
        return 0  # the blow came before there was one
    try:
        open_orders = [one.order for route in await store.routes() for one in await store.open_orders(route.name)]
    finally:
        await store.close()
    return sum(copy.outcome is None for order in open_orders for copy in (*order.copies, *order.cancels))
