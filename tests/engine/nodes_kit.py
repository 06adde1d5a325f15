"""Several gateways over one ledger: what their tests share. Each node can lose the ledger, die, or be told another time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from gateway_world import ACME, ON_COMMAND, World
from scripted_venue import ScriptedVenue

from onefill.core.errors import LedgerError, LedgerFailed
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Subscriber
from onefill.engine.settings import GatewaySettings, NodeSettings
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange

LEASE_S = 5.0


class NodeLedger:
    """One node's way to the ledger that all share."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger
        self.cut = False
        """Nothing gets through: calls and commits hang until the cut is over, and then they fail."""
        self.takes_no_writes = False
        """Reading works, and whatever writes fails at once: as where the database waits in vain for its standby."""
        self.writes: list[str] = []
        self._hanging: list[asyncio.Future[Any]] = []

    def commit(self, change: Any) -> "asyncio.Future[Any]":
        if self.cut:
            return self._hang()
        if self.takes_no_writes:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(LedgerFailed("there is no standby"))
            return failed
        self.writes.append(change.kind)
        future: asyncio.Future[Any] = self.ledger.commit(change)
        return future

    async def close(self) -> None:
        """Stay open for the others."""

    def mend(self) -> None:
        """End the cut."""
        self.cut = False
        hanging, self._hanging = self._hanging, []
        for future in hanging:
            if not future.done():
                future.set_exception(LedgerError("the connection was lost"))

    def _hang(self) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._hanging.append(future)
        return future

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.ledger, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if self.cut:
                await self._hang()
            if self.takes_no_writes and name in {"acquire", "renew", "move_cursor", "save_positions"}:
                raise LedgerError("there is no standby")
            return await real(*arguments, **named)

        return call


class Clock:
    """The world's clock, as one node sees it. The file's lease is granted by the time of whoever asks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.off_us = 0

    def now_us(self) -> int:
        """Return the time in µs since 1970."""
        return self._world.clock.now_us() + self.off_us


class Node:
    """A gateway, and what its node has of its own."""

    def __init__(
        self,
        nodes: "Nodes",
        name: str,
        routes: Sequence[str],
        lease_s: float,
        subscribers: Sequence[Subscriber] = (),
        **wishes: Any,
    ) -> None:
        self.name = name
        self.ledger = NodeLedger(nodes.store)
        self.clock = Clock(nodes.world)
        self.venues = {route: nodes.connection(route) for route in routes}
        self.gateway = Gateway(
            self.ledger,  # type: ignore[arg-type]
            self.venues,
            clock=self.clock,
            holder=f"{name}, process 1 on test",
            settings=GatewaySettings(lease_s=lease_s, reconcile=ON_COMMAND),
            node=NodeSettings(name=name, **wishes),
            subscribers=subscribers,
        )

    @property
    def held(self) -> set[str]:
        """The routes that are open at this node."""
        return set(self.gateway._routes)

    def open(self, route: str) -> bool:
        """Tell whether a route takes orders at this node now."""
        return route in self.held and self.gateway._routes[route].at_work

    def sent(self, kind: str = "submit") -> int:
        """Return how many requests of a kind left this node."""
        return sum(venue.count(kind) for venue in self.venues.values())

    def die(self) -> None:
        """Let nothing that it does have any effect from now on, as kill -9 does."""
        self.ledger.cut = True
        for venue in self.venues.values():
            venue.muted = True
            venue.before_call = _never


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


class Nodes:
    """A world of several nodes. Whatever was started is closed at the end."""

    def __init__(self, world: World, store: Any) -> None:
        self.world = world
        self.store = store
        self.exchanges: dict[str, Exchange] = {}
        self._started: list[Node] = []

    def connection(self, route: str) -> ScriptedVenue:
        """Return one more connection to a route's exchange."""
        exchange = self.exchanges.setdefault(route, Exchange(Dialect(), [ACME]))
        return ScriptedVenue(exchange, self.world.clock.now_us)

    def orders(self, route: str) -> list[Any]:
        """Return every order that the account ever had at a route's exchange."""
        return self.connection(route).orders()

    async def start(
        self, name: str, routes: Sequence[str] = ("X",), *, lease_s: float = LEASE_S, **wishes: Any
    ) -> Node:
        """Start a node."""
        node = Node(self, name, routes, lease_s, **wishes)
        self._started.append(node)
        await node.gateway.start()
        return node

    async def close(self) -> None:
        """Close every node, dead ones too."""
        for node in self._started:
            closing = asyncio.ensure_future(node.gateway.close())
            while not closing.done():
                node.ledger.mend()
                await asyncio.sleep(0.05)
            closing.result()


@contextlib.asynccontextmanager
async def nodes(world: World) -> AsyncIterator[Nodes]:
    """A world's nodes over its one ledger file."""
    store = await world.store()
    made = Nodes(world, store)
    try:
        yield made
    finally:
        await made.close()
        await store.close()


async def took_s(what: Callable[[], object], within_s: float) -> float:
    """Wait until something holds, and return how long that took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not what():
        assert loop.time() - began_s < within_s, f"did not come about within {within_s} s"
        await asyncio.sleep(0.001)
    return loop.time() - began_s


async def outcome(work: Awaitable[Any]) -> Any:
    """Return what comes of something: its result or its exception."""
    (result,) = await asyncio.gather(work, return_exceptions=True)
    return result
