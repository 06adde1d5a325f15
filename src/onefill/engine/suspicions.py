"""What others suspect of a route that is held here: read from the ledger, and answered by SAFE (promise FAIL-CLOSED).

The one who notices a second holder is as a rule the one who was fenced. It notes that beside the route; whoever holds the route
reads it, takes no new exposure from then on, and leaves it to a person to find out what happened.
"""

import asyncio
import contextlib

from onefill.core import split_brain
from onefill.core.errors import LedgerError
from onefill.core.split_brain import HoldersSuspected
from onefill.engine.controller import Controller
from onefill.ports.ledger import Committed, CursorMove


class Suspicions:
    """Watches for suspicions of one route."""

    def __init__(self, controller: Controller, every_s: float = split_brain.LOOK_EVERY_S) -> None:
        self._controller = controller
        self._route = controller.route
        self._every_s = every_s
        self._through = 0

    def start(self) -> None:
        """Begin to watch, where the route is lent for a time: elsewhere there are no two holders by a mistake of time."""
        if self._route.settings.lease_s is not None:
            self._route.spawn(self._route.loop.create_task(self._watch()))

    async def _watch(self) -> None:
        route = self._route
        known = False
        while route.failure is None and not route.closing:
            try:
                if not known:
                    self._through = await route.ledger.cursor(route.name, split_brain.CURSOR)
                    known = True
                await self.look()
            except LedgerError:
                if route.failure is not None:
                    return  # otherwise it could not be read: it stays where it is until it can be
            with contextlib.suppress(TimeoutError):  # a node hears of them with its looks at all routes
                async with asyncio.timeout(self._every_s):
                    await route.noted.wait()
            route.noted.clear()

    async def look(self) -> None:
        """Act on what was noted since the last look."""
        route = self._route
        for one in await route.ledger.suspicions(route.name, self._through):
            told = HoldersSuspected(one.number, one.epoch, one.holder, one.reason)
            move = CursorMove(split_brain.CURSOR, self._through, one.number)
            if isinstance(await self._controller.suspect(told, move), Committed):
                self._through = one.number
