"""Incidents while no gateway runs: the runbook over a ledger alone, for every step that needs no venue."""

import contextlib
from collections.abc import AsyncIterator

from onefill.engine.book import Book
from onefill.engine.offline import hold_route
from onefill.engine.runbook import Runbook
from onefill.engine.settings import GatewaySettings
from onefill.service.ledgers import LedgerName, folder
from onefill.service.wiring import SystemClock, holder, open_to_sign


@contextlib.asynccontextmanager
async def open_runbook(ledger: LedgerName, route: str) -> AsyncIterator[Runbook]:
    """Take a route of an existing ledger, without its venue, and open its runbook.

    Raises LedgerInUse while a gateway has the ledger, LeaseHeld while another process's lease lasts.
    """
    async with open_to_sign(ledger) as store:
        clock, book = SystemClock(), Book()
        await book.load(store, route)
        held = await hold_route(route, store, clock, GatewaySettings(), holder())
        runbook = Runbook(store, clock, {route: held}, {}, book)
        runbook.folder = folder(ledger)
        try:
            yield runbook
        finally:
            await held.stop()
