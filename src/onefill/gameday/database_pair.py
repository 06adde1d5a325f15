"""A PostgreSQL primary and its synchronous standby, as a drill has them: the one is killed, the other promoted, and so on."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from onefill.testing.postgres import PostgresServer, server_folder, url_of

DATABASE = "onefill"


class DatabasePair:
    """Two servers, one of them the primary. Commits wait for the other one's disk at all times."""

    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self.primary = primary
        self.standby = standby
        self.servers = (primary, standby)
        """The two, in an order that stays."""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, version: int = 16) -> AsyncIterator["DatabasePair"]:
        """Make both and run them until this is left."""
        with server_folder() as folder, contextlib.ExitStack() as ends:
            first = await asyncio.to_thread(PostgresServer.make, folder / "a", version=version, name="a")
            ends.callback(first.close)
            await asyncio.to_thread(first.start)
            await asyncio.to_thread(first.require_standby)
            await asyncio.to_thread(first.create_database, DATABASE)
            second = await asyncio.to_thread(first.standby, folder / "b", "b")
            ends.callback(second.close)
            await asyncio.to_thread(first.wait_for_standby)
            yield cls(first, second)

    def url(self, **options: object) -> str:
        """Return the URL of the database, which names both servers."""
        return url_of(self.servers, DATABASE, **options)

    async def kill_primary(self) -> None:
        """Kill the primary with -9, all of it."""
        await asyncio.to_thread(self.primary.kill)

    async def fail_over(self) -> float:
        """Promote the standby after its primary was killed. Returns when it took writes, by the steady clock.

        It goes on waiting for a standby with every commit, so nothing is acknowledged before :meth:`make_standby`.
        """
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary
        return time.monotonic()

    async def make_standby(self, *, rewind: bool = False) -> None:
        """Make the killed server the standby of the one that took its place."""
        await asyncio.to_thread(self.standby.follow, self.primary, rewind=rewind)
        await asyncio.to_thread(self.primary.wait_for_standby)
