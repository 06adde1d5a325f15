"""The venue as a gateway's process reaches it: one connection over the world's network to its exchange."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from onefill.core.capabilities import Capabilities
from onefill.core.errors import VenueError
from onefill.core.messages import (
    CancelReply,
    CancelRequest,
    ExecutionReport,
    Found,
    Listed,
    LookupReply,
    NotFound,
    NotSent,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    Unknown,
)
from onefill.core.values import Instrument
from onefill.sim.history import Heard, Query, Reported, Request

if TYPE_CHECKING:
    from onefill.sim.world_life import Life


class SimVenue:
    """:class:`~onefill.ports.venue.Venue` for one life of a gateway."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._world = life.world
        self._closed = False
        self.capabilities: Capabilities = life.world.exchange.capabilities
        self.identity = "exchange"

    async def start(self) -> None:
        """Connect."""
        await self._life.step("call before")

    async def close(self) -> None:
        """Let go of the connection. Requests under way may still arrive."""
        self._closed = True

    async def instruments(self) -> Mapping[str, Instrument]:
        """Return the tradable instruments by symbol."""
        await self._life.step("call before")
        return self._world.exchange.instruments

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Send a new order, once."""
        reply: SubmitReply = await self._call(request)
        return reply

    async def cancel(self, request: CancelRequest) -> CancelReply:
        """Ask for an order to be cancelled, once."""
        reply: CancelReply = await self._call(request)
        return reply

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        """Ask for a live order to be given other quantity and price, once."""
        reply: ReplaceReply = await self._call(request)
        return reply

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        """Ask what the venue knows about a client order id."""
        reply = await self._call(Query(client_order_id))
        return reply if isinstance(reply, Found | NotFound) else Unknown(getattr(reply, "reason", "no answer"))

    async def scan(self, account: str, instrument: str, since_us: int) -> ScanReply:
        """List the account's orders that are open, or that ended or traded since ``since_us``."""
        reply = await self._call(Query(""), since_us)
        return reply if isinstance(reply, Listed) else Unknown(getattr(reply, "reason", "no answer"))

    async def _call(self, request: Request, since_us: int = 0) -> Any:
        """Send a request and return the reply. A killed process never returns from here."""
        life, network, begun_us = self._life, self._world.network, self._world.at_us()
        await life.step("send before")
        if network.refuses(life, request):
            return NotSent("connection refused")
        held_s = network.holds_back_s(request)
        if held_s:
            await asyncio.sleep(held_s)  # the adapter's own queue: whoever gives up meanwhile sends nothing
        if life.dead:
            await self._world.loop.create_future()
        message, arrival = network.send(life, request, since_us, begun_us)
        reply: object | None = None
        error = "the process died"
        try:
            if life.passes("send after"):
                await self._world.loop.create_future()
            reply = await arrival
            await life.step("reply before")
            return reply
        except asyncio.CancelledError:
            error = "no reply in time"
            raise
        except ConnectionError as caught:
            error = str(caught)
            raise
        finally:
            if not life.dead:
                self._world.history.add(Heard(self._world.at_us(), life.number, message, reply, error))

    # ------------------------------------------------------------- the stream

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return the next reports after stream position ``after``."""
        await self._life.step("call before")
        if self._world.network.cut_off(self._life):
            raise VenueError("no connection")
        return self._world.network.reports(after)

    async def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield reports after position ``after`` as they come; at times end, break, repeat or skip."""
        life, world, network = self._life, self._world, self._world.network
        changed = asyncio.Event()
        unsubscribe = world.exchange.subscribe(world.account, changed.set)
        network.streams.append(changed)
        session = network.session
        try:
            await asyncio.sleep(network.stream_delay_s())
            while not (self._closed or life.dead):
                changed.clear()
                if network.session != session or network.cut_off(life):
                    raise ConnectionResetError("the stream broke")
                batch = network.reports(after)
                if not batch:
                    await changed.wait()
                    await asyncio.sleep(network.stream_delay_s())
                    continue
                ends, kept, skipped = network.spoil_stream(batch)
                if skipped:
                    after = batch[skipped - 1].position  # gone for this connection: only a gap shows that it was there
                for report in kept:
                    after = max(after, report.position)
                    if not life.dead:
                        world.history.add(Reported(world.at_us(), life.number, report))
                        yield report
                if ends:
                    return
        finally:
            unsubscribe()
            network.streams.remove(changed)
