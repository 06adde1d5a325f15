"""A ledger that gets its signed checkpoints while a gateway runs, and a last one when it closes."""

import asyncio
import contextlib
from collections.abc import Callable

from onefill.core.errors import LedgerAltered, OnefillError
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Ledger
from onefill.service.audit_checkpoints import Checkpointer

_LOOK_EVERY_S = 1.0

Tell = Callable[[OnefillError], None]


class Keeper:
    """Makes checkpoints of a ledger as they are due. What goes wrong is told, and stops no order.

    Each trouble is told once, until it is another one. A ledger that was altered gets no further checkpoint.
    """

    def __init__(self, checkpointer: Checkpointer, tell: Tell, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._checkpointer = checkpointer
        self._tell = tell
        self._look_every_s = look_every_s
        self._told = ""
        self._altered = False
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, ledger: Ledger) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work(ledger))

    async def finish(self, ledger: Ledger) -> None:
        """Stop when what is under way is done, and make the last checkpoints."""
        self._stop.set()
        if self._task is not None:
            await self._task
        await self._try(ledger, due=True)

    async def _work(self, ledger: Ledger) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._look_every_s)
            if not self._stop.is_set():
                await self._try(ledger, due=False)

    async def _try(self, ledger: Ledger, *, due: bool) -> None:
        try:
            if not self._altered and (due or await self._checkpointer.due(ledger)):
                await self._checkpointer.make(ledger)
        except OnefillError as error:
            self._altered = isinstance(error, LedgerAltered)
            if str(error) != self._told:
                self._told = str(error)
                self._tell(error)


class KeptLedger(SqliteLedger):
    """A ledger whose last checkpoints are made when everything else is written, right before it closes."""

    keeper: Keeper | None = None

    def keep(self, keeper: Keeper) -> None:
        """Let ``keeper`` make the checkpoints from now on."""
        self.keeper = keeper
        keeper.start(self)

    async def close(self) -> None:
        """Finish what was handed in, make the last checkpoints, release the ledger."""
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            await keeper.finish(self)
        await super().close()


class KeptPostgresLedger(PostgresLedger):
    """The same on PostgreSQL."""

    keeper: Keeper | None = None

    def keep(self, keeper: Keeper) -> None:
        """Let ``keeper`` make the checkpoints from now on."""
        self.keeper = keeper
        keeper.start(self)

    async def close(self) -> None:
        """Finish what was handed in, make the last checkpoints, release the ledger."""
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            await keeper.finish(self)
        await super().close()
