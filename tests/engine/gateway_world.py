"""What tests of the engine share: a world of one ledger file, one exchange, and gateways that come and go over both."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
from scripted_venue import ScriptedVenue
from virtual_loop import VirtualLoop

from onefill.core.capabilities import Lookup
from onefill.core.errors import LedgerFailed
from onefill.core.intent import Intent
from onefill.core.messages import SubmitRequest
from onefill.core.risk_limits import Risk
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings, ReconcileSettings
from onefill.ledger.sqlite import SqliteLedger
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange

ACME = Instrument(symbol="ACME", price_tick=Decimal("0.01"), quantity_step=Decimal(1), min_quantity=Decimal(1))
NOON_US = 1_750_000_000 * 1_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
WHO = {"account": "A", "strategy": "s"}
ON_COMMAND = ReconcileSettings(every_s=None)
"""Ledger and venue are compared when a test asks for it, and not in between."""


def intent(**other: Any) -> Intent:
    """Return an order that rests: buy 10 ACME at 100."""
    fields: dict[str, Any] = {"instrument": "ACME", "side": "buy", "quantity": 10, "price": 100, "time_in_force": "gtc"}
    return Intent(**(WHO | fields | other))


class LoopClock:
    """Wall time that follows the running loop's, and can be set wrong."""

    def __init__(self) -> None:
        self.off_us = 0
        self.last_us = NOON_US

    def now_us(self) -> int:
        with contextlib.suppress(RuntimeError):
            self.last_us = NOON_US + round(asyncio.get_running_loop().time() * 1e6) + self.off_us
        return self.last_us


class WatchedLedger:
    """A ledger that counts every call, can die with its process at any of them, and lets commits be held back or spoilt."""

    def __init__(self, ledger: SqliteLedger, crashed: asyncio.Event, point: Callable[[str], str | None]) -> None:
        self.ledger = ledger
        self.crashed = crashed
        """The process is dead: nothing has any effect any more, and nothing returns."""
        self.point = point
        """Called at each call with its name; says whether the process dies ``before`` or ``after`` the effect, or not."""
        self.buried = False
        """The dead process is being cleared away: what it still calls ends."""
        self.changes: list[Any] = []
        self.spoil: Callable[[Any], Any] = lambda _: None
        """Maps a change to the outcome that is made up for it, or ``None`` to commit it."""

    @property
    def failure(self) -> Exception | None:
        return self.ledger.failure

    def commit(self, change: Any) -> "asyncio.Future[Any]":
        never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        when = None if self.crashed.is_set() else self.point("commit")
        if when == "before":
            self.crashed.set()
        if self.crashed.is_set():
            if self.buried:
                never.cancel()
            return never
        self.changes.append(change)
        made_up = self.spoil(change)
        if made_up is not None:
            never.get_loop().call_soon(lambda: never.done() or never.set_result(made_up))
            return never
        real = self.ledger.commit(change)
        if when == "after":
            real.add_done_callback(lambda _: self.crashed.set())
            return never
        return real

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.ledger, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            when = None if self.crashed.is_set() else self.point(name)
            result = None
            if when != "before" and not self.crashed.is_set():
                result = await real(*arguments, **named)
            if when is not None:
                self.crashed.set()
            if self.buried:
                raise asyncio.CancelledError
            if self.crashed.is_set():
                await asyncio.get_running_loop().create_future()
            return result

        return call

    def break_down(self, *, durable: bool) -> None:
        """Let the next group of changes fail; ``durable``: although it got to the disk."""
        commits = self.ledger._commits
        apply = commits._apply

        def failing(changes: Any) -> Any:
            if durable:
                apply(changes)
            raise LedgerFailed("the disk failed")

        commits._apply = failing


class World:
    """Everything that outlives a gateway's process, and what makes new ones."""

    def __init__(self, folder: Path, settings: GatewaySettings | None = None, **dialect: Any) -> None:
        self.path = str(folder / "orders.db")
        self.clock = LoopClock()
        if isinstance(dialect.get("lookup"), bool):
            dialect["lookup"] = Lookup.DIRECT if dialect["lookup"] else Lookup.NONE
        self.exchange = Exchange(Dialect(**dialect), [ACME])
        self.settings = settings or GatewaySettings(reconcile=ON_COMMAND)
        self.venue = self.connection()
        self.risk: Risk | None = None
        self.now_s = 0.0
        self.crashed = asyncio.Event()
        self.point: Callable[[str], str | None] = lambda _: None
        self.ledger: WatchedLedger
        self._eyes: apsw.Connection | None = None
        self._numbers = itertools.count()

    def connection(self) -> ScriptedVenue:
        """Return one more connection to the exchange."""
        return ScriptedVenue(self.exchange, self.clock.now_us, look=self.look)

    async def store(self) -> WatchedLedger:
        """Open the ledger file. Power is not cut here, so syncing is left out."""
        await _make_file(Path(self.path))
        ledger = await SqliteLedger.open(
            self.path, seed=bytes(16), holder="test", at_us=self.clock.now_us(), inline=True
        )
        ledger._file.connection.execute("PRAGMA synchronous = OFF")
        return WatchedLedger(ledger, self.crashed, self.point)

    async def start(self, venue: Any = None, ledger: WatchedLedger | None = None, **settings: Any) -> Gateway:
        """Start a gateway. ``settings`` replaces single settings."""
        self.ledger = ledger or await self.store()
        chosen = GatewaySettings(**{f: getattr(self.settings, f) for f in self.settings.__struct_fields__} | settings)
        gateway = Gateway(
            self.ledger,
            {"X": venue or self.venue},
            clock=self.clock,
            holder="test",
            settings=chosen,
            risk=self.risk,
        )
        await gateway.start()
        return gateway

    @contextlib.asynccontextmanager
    async def gateway(self, venue: Any = None, **settings: Any) -> AsyncIterator[Gateway]:
        """A gateway that is closed at the end."""
        gateway = await self.start(venue, **settings)
        try:
            yield gateway
        finally:
            await gateway.close()

    async def kill(self, gateway: Gateway) -> None:
        """End a gateway as kill -9 does: nothing it still does has any effect."""
        self.crashed.set()
        self.crashed = asyncio.Event()
        for route in gateway._routes.values():
            route.closing = True
            tasks = [*route.tasks, *(entry.driver for entry in route.entries.values() if entry.driver)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.ledger.ledger._file.close()

    # ---------------------------------------------------------------- observing

    def rows(self, statement: str, *bindings: Any) -> list[Any]:
        """Read the ledger file as somebody else would: only what is committed."""
        if self._eyes is None:
            self._eyes = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
            self._eyes.execute("PRAGMA query_only = 1")
        return list(self._eyes.execute(statement, bindings))

    def look(self, client_order_id: str) -> dict[str, Any]:
        """Return what the file holds of an order: its status, and its copies and cancels with their outcomes."""
        found = self.rows(
            "SELECT status, cancel_wanted, (SELECT json_group_array(coalesce(outcome, 'claimed')) FROM (SELECT outcome FROM "
            "attempt WHERE intent_id = intent.id AND kind = 0 ORDER BY number)), (SELECT json_group_array(coalesce("
            "outcome, 'claimed')) FROM (SELECT outcome FROM attempt WHERE intent_id = intent.id AND kind = 1 "
            "ORDER BY number)) FROM intent WHERE client_order_id = ?",
            client_order_id,
        )
        if not found:
            return {}
        status, wanted, copies, cancels = found[0]
        return {"status": status, "cancel_wanted": wanted, "copies": _list(copies), "cancels": _list(cancels)}

    def close_eyes(self) -> None:
        """Let go of the file."""
        if self._eyes is not None:
            self._eyes.close()
            self._eyes = None

    # ------------------------------------------------------------- the other side

    def offer(self, quantity: int, price: int, side: str = "sell") -> None:
        """Somebody else sends an order."""
        self.exchange.submit(
            SubmitRequest(
                client_order_id=f"m{next(self._numbers)}",
                account="M",
                instrument="ACME",
                side=Side(side),
                quantity=Decimal(quantity),
                order_type=OrderType.LIMIT,
                price=Decimal(price),
                time_in_force=TimeInForce.IOC if side == "sell" else TimeInForce.GTC,
                expires_at_us=None,
            ),
            self.clock.now_us(),
        )

    def truth(self) -> dict[str, list[tuple[str, str]]]:
        """Return what the exchange has of the account: by client order id, (status, executed quantity) of each order."""
        found: dict[str, list[tuple[str, str]]] = {}
        for order in self.venue.orders():
            found.setdefault(order.client_order_id, []).append((str(order.status), str(order.cum_quantity)))
        return found


_made: list[bytes] = []


async def _make_file(path: Path) -> None:
    """Put an empty ledger there, unless there is one: a copy, as making one takes longer than most tests."""
    if path.exists():  # noqa: ASYNC240 - nothing else runs
        return
    if _made:
        path.write_bytes(_made[0])  # noqa: ASYNC240
        return
    ledger = await SqliteLedger.open(str(path), seed=bytes(16), holder="", at_us=NOON_US, inline=True)
    await ledger.close()
    _made.append(path.read_bytes())  # noqa: ASYNC240


def _list(text: str) -> list[str]:
    return text.strip("[]").replace('"', "").split(",") if text != "[]" else []


def quantity(gateway: Gateway) -> Decimal:
    """Return the net position in ACME."""
    return sum((position.quantity for position in gateway.positions()), Decimal(0))


async def until(what: Callable[[], object], within_s: float = 60.0, step_s: float = 0.001) -> None:
    """Let time pass until something holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not what():
        assert loop.time() < end, "did not come about in time"
        await asyncio.sleep(step_s)


async def turns(count: int = 20) -> None:
    """Let everybody else run, without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


async def given_up(work: Awaitable[Any], after_turns: int) -> None:
    """Start something and give it up after some turns of the loop, as ``asyncio.wait_for`` does."""
    task = asyncio.ensure_future(work)
    await turns(after_turns)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def life(world: World, work: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Run a process until its work is done or it dies, and tell whether it died. Time goes on from the life before."""
    loop = VirtualLoop(world.now_s)
    world.crashed = asyncio.Event()

    async def main() -> bool:
        working, dying = asyncio.ensure_future(work()), asyncio.ensure_future(world.crashed.wait())
        await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            dying.cancel()
            working.result()
        world.ledger.buried = True
        return not working.done()

    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(main())
    finally:
        world.now_s = loop.now_s
        world.crashed.set()
        world.ledger.ledger._file.close()
