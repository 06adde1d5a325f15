"""The days by which a PostgreSQL ledger's journal is partitioned, and making their partitions ahead."""

import asyncio
import contextlib
from typing import Any

from onefill.core.audit import DAY_US
from onefill.core.errors import LedgerError
from onefill.ledger.postgres_connect import connect, shut, troubles
from onefill.ledger.postgres_settings import PostgresPlace

AHEAD = 14
"""Days beyond today that partitions are made for."""
_LOCK_MS = 200
"""How long what is done to partitions waits for others, and lets others wait behind it."""
DAYS = "(SELECT max(day) FROM journal_day WHERE journal_day.route = route.id), (SELECT max(day) + 1 FROM archive)"
"""Columns about a route: the day of its last journal entry, and the first day that was not archived."""
_SORT_S = 3600.0
_EVERY_S, _AGAIN_S = 3600.0, 20.0
"""How often a gateway looks, and how soon again after it could not."""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('onefill journal ' || current_schema()))"
"""Held by whoever changes partitions."""
ADD_DAY = "INSERT INTO journal_day (route, day, first_sequence) VALUES ($1, $2, $3)"


def day_of(at_us: int, last: int | None, floor: int | None) -> int:
    """Return the day of a journal entry made at ``at_us``: never before that of the entry before, nor one that was archived."""
    day = at_us // DAY_US
    if last is not None and last > day:
        day = last
    return floor if floor is not None and floor > day else day


async def make_days(connection: Any, *, sort: bool) -> int:
    """Make the partitions of the coming days that have none, from today by the server's clock, and return how many were made.

    ``sort``: entries that had to do without one until now get theirs; nobody writes meanwhile. Without it, such days are left
    as they are. One transaction; raises what the driver raises, also where the role may not do that.
    """
    async with connection.transaction():
        if sort:
            await connection.execute(ONE_AT_A_TIME)  # whoever migrates waits for another who does
        await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
        await connection.execute(ONE_AT_A_TIME)
        if sort and await connection.fetchval("SELECT EXISTS (SELECT FROM journal_rest)"):
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute("SELECT journal_sort_rest()", timeout=_SORT_S)
        return int(await connection.fetchval("SELECT journal_add_ahead($1)", AHEAD))


class DaysAhead:
    """Makes the coming days' partitions while a gateway runs, where its role may do that.

    What goes wrong here stops no order: entries for whose day there is no partition have one for all such days.
    """

    def __init__(self, place: PostgresPlace, holder: str) -> None:
        self._place = place
        self._holder = holder
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _work(self) -> None:
        while True:
            wait_s = _AGAIN_S
            with contextlib.suppress(LedgerError, *troubles()):
                await self._make()
                wait_s = _EVERY_S
            await asyncio.sleep(wait_s)

    async def _make(self) -> None:
        # A connection of its own: a partition that waits for somebody must not hold up orders.
        connection = await connect(self._place, self._holder, writer=False)
        try:
            await make_days(connection, sort=False)
        finally:
            await shut(connection)
