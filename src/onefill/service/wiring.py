"""The composition root: a gateway from a ledger's name and some venues."""

import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping

from onefill.core.errors import LedgerError
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.venue import Venue


class SystemClock:
    """The computer's clock."""

    def now_us(self) -> int:
        """Return the time in µs since 1970."""
        return time.time_ns() // 1000


def holder() -> str:
    """Return how this process names itself to others: process, host."""
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextlib.asynccontextmanager
async def open_gateway(
    ledger: str | os.PathLike[str], *, venues: Mapping[str, Venue], settings: GatewaySettings | None = None
) -> AsyncIterator[Gateway]:
    """Open a gateway over the ledger file ``ledger``, made if missing, and ``venues``, each a route by its name.

    Raises LedgerInUse, NotALedger, LedgerTooNew or LedgerError for the file, VenueError for a venue that cannot be used.
    """
    path = os.fspath(ledger)
    if "://" in path:
        raise LedgerError(f"{path}: only a file name can be a ledger in this version")
    clock = SystemClock()
    store = await SqliteLedger.open(path, seed=os.urandom(16), holder=holder(), at_us=clock.now_us())
    try:
        gateway = Gateway(store, venues, clock=clock, holder=holder(), settings=settings)
    except BaseException:
        await store.close()
        raise
    async with gateway:
        yield gateway


@contextlib.asynccontextmanager
async def open_for_reading(ledger: str | os.PathLike[str]) -> AsyncIterator[SqliteLedger]:
    """Open an existing ledger for reading, also while a gateway writes it."""
    store = await SqliteLedger.open_read_only(os.fspath(ledger))
    try:
        yield store
    finally:
        await store.close()
