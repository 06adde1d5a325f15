"""How many submits a second several gateway processes do on one database, each with a route of its own."""

import asyncio
import sys
import time
from collections.abc import Sequence

from onefill.core.errors import InvariantBroken
from onefill.core.lease import LEASE_S
from onefill.gameday.bench import ROUTE, at_once, open_gateway, resident_mb
from onefill.gameday.bench_places import Place

IN_FLIGHT = 1024
"""Submits under way in each process."""


async def worker(place: Place, route: str, count: int) -> None:
    """Be one gateway: open the route, say that it is ready, and once told to begin, submit and say how long it took."""
    gateway = await open_gateway(place, route)
    await at_once(gateway, count // 10, IN_FLIGHT, prefix=f"{route}-warm-up-")
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    await at_once(gateway, count, IN_FLIGHT, prefix=f"{route}-")
    _say("done")
    await gateway.close()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def idle_routes(place: Place, routes: int, seconds: float) -> dict[str, float]:
    """Measure what routes cost on which nothing happens: opening, memory, and work while they stand. For a process of its own.

    Each is lent for the usual time and renewed, and follows its venue's stream; what an adapter's own connections cost is not
    in it.
    """
    gateway = await open_gateway(place, "first", lease_s=LEASE_S)
    await gateway.close()
    before_mb, began = resident_mb(), time.perf_counter()
    gateway = await open_gateway(place, *(f"{ROUTE}-{number}" for number in range(routes)), lease_s=LEASE_S)
    opened_s = time.perf_counter() - began
    held_mb, worked = resident_mb() - before_mb, time.process_time()
    await asyncio.sleep(seconds)
    worked = time.process_time() - worked
    await gateway.close()
    return {
        "idle_routes": routes,
        "idle_routes_open_ms_each": opened_s * 1000 / routes,
        "idle_routes_memory_kb_each": held_mb * 1000 / routes,
        "idle_routes_work_us_per_s_each": worked * 1_000_000 / seconds / routes,
    }


class _Process:
    """One gateway."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise InvariantBroken("a gateway that is measured was started without pipes")
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, command: Sequence[str]) -> "_Process":
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    def begin(self) -> None:
        """Tell it to submit."""
        self._stdin.write(b"go\n")

    async def said(self, wanted: str) -> None:
        """Wait for its next line."""
        line = (await self._stdout.readline()).decode().strip()
        if line != wanted:
            raise InvariantBroken(
                f"a gateway that is measured said {line!r} in place of {wanted!r}; see its messages above"
            )

    async def end(self) -> None:
        """Wait for it to close."""
        await self._process.wait()

    async def kill(self) -> None:
        """Leave nothing behind."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def gateways(commands: Sequence[Sequence[str]], count: int) -> float:
    """Run one process per command, all at once, and return the submits per second of all of them together.

    The time is from the common start until the last one has all its answers, durable.
    """
    processes = [await _Process.start(command) for command in commands]
    try:
        for process in processes:
            await process.said("ready")
        began = time.perf_counter()
        for process in processes:
            process.begin()
        for process in processes:
            await process.said("done")
        seconds = time.perf_counter() - began
        for process in processes:
            await process.end()
    finally:
        for process in processes:
            await process.kill()
    return len(commands) * count / seconds
