"""One gateway in a process of its own, for drills that kill it, pause it and cut it off.

``python -m onefill.gameday.node_process JOB.json`` opens the gateway, writes ``{"listening": PORT}``, and then does what comes
over that port. SIGTERM ends it in good order; it is killed with the process that started it.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from onefill.core import lease as leases
from onefill.core.errors import LedgerError, OnefillError, VenueError
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings, NodeSettings
from onefill.gameday.node_words import Cancel, NodeJob, Request, Said, Submit, route_of
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_settings import is_url
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Ledger
from onefill.sim.venue import wall_clock_us
from onefill.venues.exchange_client import ExchangeVenue

_OPEN_TRIES = 600
_OPEN_PAUSE_S = 0.05
_LINE = 1 << 20
_request = msgspec.json.Decoder(Request)
_encode = msgspec.json.Encoder().encode


class _Clock:
    def now_us(self) -> int:
        return wall_clock_us()


@contextlib.asynccontextmanager
async def _opened(job: NodeJob) -> AsyncIterator[Gateway]:
    """Open the gateway, as often as it takes: a supervisor would start it again until it runs."""
    for number in range(_OPEN_TRIES):
        try:
            gateway = await _gateway(job)
            break
        except (LedgerError, VenueError):
            if number == _OPEN_TRIES - 1:
                raise
            await asyncio.sleep(_OPEN_PAUSE_S)
    try:
        yield gateway
    finally:
        await gateway.close()


async def _gateway(job: NodeJob) -> Gateway:
    process = f"process {os.getpid()} on {socket.gethostname()}"
    holder = leases.holder_text(None if job.lease_s is None else job.name, process)
    ledger: Ledger
    if is_url(job.ledger):
        ledger = await PostgresLedger.open(job.ledger, holder=holder)
    else:
        ledger = await SqliteLedger.open(job.ledger, seed=os.urandom(16), holder=holder, at_us=wall_clock_us())
    venues = {route_of(account): ExchangeVenue(job.venue, account, job.timeout_s) for account in job.accounts}
    settings = GatewaySettings(
        client_order_ids=job.client_order_ids, time_to_live_s=job.time_to_live_s, lease_s=job.lease_s
    )
    node = None if job.lease_s is None else NodeSettings(name=job.name)
    gateway = Gateway(ledger, venues, clock=_Clock(), holder=holder, settings=settings, node=node)
    await gateway.start()
    return gateway


async def _do(gateway: Gateway, request: Request) -> bytes:
    if isinstance(request, Submit):
        return await gateway.submit_raw(request.intent, key=request.key, wait_s=request.wait_s)
    if isinstance(request, Cancel):
        return await gateway.cancel_raw(
            request.key,
            account=request.account,
            strategy=request.strategy,
            operation_key=request.operation_key,
            wait_s=request.wait_s,
        )
    await gateway.hand_over(request.route, request.to, by="the drill")
    return b"null"


class _Desk:
    """Answers requests as they are done, in any order."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take requests from one connection until it ends."""
        while line := await reader.readline():
            task = asyncio.get_running_loop().create_task(self._one(_request.decode(line), writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            said = Said(number=request.number, answer=msgspec.Raw(await _do(self._gateway, request)))
        except OnefillError as error:
            said = Said(number=request.number, error=type(error).__name__, text=str(error))
        writer.write(_encode(said) + b"\n")


async def _run(job: NodeJob) -> None:
    async with _opened(job) as gateway:
        server = await asyncio.start_server(_Desk(gateway).serve, "127.0.0.1", 0, limit=_LINE)
        port = server.sockets[0].getsockname()[1]
        sys.stdout.write(f'{{"listening": "{port}"}}\n')
        sys.stdout.flush()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        server.close()


def _die_with_parent() -> None:
    """Ask the system for a kill when the drill is gone: a paused process would notice nothing by itself."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)


def main() -> None:
    """Run the job whose file is named."""
    import uvloop  # noqa: PLC0415 - not on every system

    _die_with_parent()
    uvloop.run(_run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=NodeJob)))


if __name__ == "__main__":
    main()
