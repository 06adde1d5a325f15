"""The venue as a gateway's process reaches it: one connection over the world's network to its exchange."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from onefill.core.capabilities import Capabilities
from onefill.core.errors import VenueError
from onefill.core.messages import (
    CancelReply,
    CancelRequest,
    ExecutionReport,
    Found,
    Held,
    Holdings,
    Listed,
    LookupReply,
    NotFound,
    NotSent,
    PositionsReply,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    Unknown,
)
from onefill.core.values import Instrument
from onefill.sim.history import Heard, Query, Reported, Request
from onefill.sim.world_feed import Feed

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
        self._longest_us = int(life.world.plan.settings.reply_timeout_s * 1.1e6)
        """How long after the call began bytes can leave, where nothing but T tells when a request is dead."""

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
        epoch = life.epoch
        await life.step("send before")
        if network.refuses(life, request):
            return NotSent("connection refused")
        held_s = network.holds_back_s(request)
        if held_s:
            await asyncio.sleep(held_s)  # the adapter's own queue: whoever gives up meanwhile sends nothing
        if life.dead:
            await self._world.loop.create_future()
        if self._world.plan.counts_on_t and self._world.at_us() - begun_us > self._longest_us:
            raise ConnectionError("the call had ended before its bytes left")
        against = None if isinstance(request, Query) else self._look()
        if against is not None:
            return NotSent(against)
        message, arrival = network.send(life, request, since_us, (begun_us, epoch))
        reply: object | None = None
        error = "the process died"
        try:
            if life.passes("send after"):
                await self._world.loop.create_future()
            life.stops_at("send after")
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

    def _look(self) -> str | None:
        """Return why nothing may leave now, as far as this adapter looks."""
        return None

    async def open_orders(self, account: str) -> ScanReply:
        """List the account's live orders."""
        await self._reach()
        return Listed(tuple(self._world.exchange.open_orders(account)))

    async def positions(self, account: str) -> PositionsReply:
        """Return what the account holds."""
        await self._reach()
        held = self._world.exchange.positions(account)
        return Holdings(tuple(Held(instrument=symbol, quantity=quantity) for symbol, quantity in held.items()))

    async def _reach(self) -> None:
        """Come to the exchange, if it can be reached."""
        await self._life.step("call before")
        await asyncio.sleep(self._world.network.stream_delay_s())
        if self._world.network.cut_off(self._life) or self._world.network.drops_question():
            raise VenueError("no connection")

    # ------------------------------------------------------------ the streams

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return the next reports after stream position ``after``."""
        return await self._page(self._world.network.feed, after)

    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        """Return the next reports of the second channel."""
        return await self._page(self._world.network.copies, after)

    async def _page(self, feed: Feed, after: int) -> list[ExecutionReport]:
        await self._life.step("call before")
        if self._world.network.cut_off(self._life):
            raise VenueError("no connection")
        return feed.reports(after)

    def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield reports after position ``after`` as they come; at times end, break, repeat or skip."""
        return self._follow(self._world.network.feed, after)

    def drop_copy(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Likewise, of the second channel."""
        return self._follow(self._world.network.copies, after)

    async def _follow(self, feed: Feed, after: int) -> AsyncGenerator[ExecutionReport, None]:
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
                batch = feed.reports(after)
                if not batch:
                    await changed.wait()
                    await asyncio.sleep(network.stream_delay_s())
                    continue
                ends, kept, skipped = feed.spoil(batch)
                if skipped:
                    after = batch[skipped - 1].position  # gone for this connection: only a gap shows that it was there
                for report in kept:
                    after = max(after, report.position)
                    if not life.dead:
                        told = feed.shown(report)
                        world.history.add(Reported(world.at_us(), life.number, told, feed.name))
                        yield told
                if ends:
                    return
        finally:
            unsubscribe()
            network.streams.remove(changed)


class LookingVenue(SimVenue):
    """The same with an adapter that looks once more right before the bytes leave."""

    def __init__(self, life: "Life") -> None:
        super().__init__(life)
        self.last_look: Callable[[], str | None] = super()._look

    def _look(self) -> str | None:
        return self.last_look()
