"""Load on several gateway processes: orders one after the other on every route, each until it is answered.

Some are given to all nodes at once.

A caller here does what a caller is told to do: whatever goes wrong, it calls again with the same key, at the next node.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal

import msgspec

from onefill.core.intent import Intent
from onefill.core.values import Side, TimeInForce
from onefill.gameday.node_words import route_of
from onefill.gameday.nodes import Node, NodeError, NodeGone
from onefill.gameday.processes import DrillFailed

STRATEGY = "load"
INSTRUMENT = "BTC-USD"
_WAIT_S = 0.15
"""How long a node is asked to wait for an answer. One that does not hold the route tells so after that time, too: so this is
part of what callers measure when routes move."""
_PRICE = Decimal(100)
"""Of all orders: so they trade, and few rest. A route opens the later the more orders are open on it."""
_PAUSE_S = 0.02
_MOST_PAUSE_S = 0.15
_TWICE = 0.1
"""The part of the orders that is given to all nodes at once."""
_AGAIN = frozenset(
    {"RouteElsewhere", "RouteClosed", "LeaseLost", "OrderUncertain", "LedgerFailed", "LedgerError", "Fenced"}
)
"""What a caller answers by calling again with the same key."""


class Callers:
    """What all callers have in common: whatever goes wrong, they call again with the same key, at the next node."""

    def __init__(self, nodes: Sequence[Node], accounts: Sequence[str]) -> None:
        self._nodes = list(nodes)
        self._at: dict[str, int] = dict.fromkeys(accounts, 0)
        """Which node is called for an account first."""
        self.retries = 0
        """Calls that had to be made again."""

    async def ask(self, account: str, call: Callable[[Node], Awaitable[bytes]], first: int | None = None) -> bytes:
        """Call until there is an answer: at the node ``first`` to begin with, or where the account was answered last.

        Raises NodeError for an error that calling again does not mend.
        """
        at, pause_s = self._at[account] if first is None else first, _PAUSE_S
        while True:
            try:
                answer = await call(self._nodes[at])
            except NodeGone:
                self.retries += 1
            except NodeError as error:
                if error.kind not in _AGAIN:
                    raise
                self.retries += 1
            else:
                if first is None:
                    self._at[account] = at
                return answer
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)
            at = (at + 1) % len(self._nodes)
            self._at[account] = at


class Acknowledged(msgspec.Struct, frozen=True, gc=False):
    """An order whose answer a caller has."""

    account: str
    key: str
    answer: bytes
    begun_s: float
    at_s: float


class Load(Callers):
    """Orders for every account, ``in_flight`` at a time, with a pause of ``think_s`` between an answer and the next order."""

    def __init__(
        self, nodes: Sequence[Node], accounts: Sequence[str], *, in_flight: int, think_s: float, seed: int
    ) -> None:
        super().__init__(nodes, accounts)
        self.accounts = list(accounts)
        self._in_flight = in_flight
        self._think_s = think_s
        self._draw = random.Random(f"load {seed}")  # noqa: S311 - orders to practise on
        self._last = dict.fromkeys(accounts, 0)
        self._stopping = False
        self._news = asyncio.Event()
        self.acknowledged: list[Acknowledged] = []
        self.twice = 0
        """Orders that were given to several nodes at once and answered by all of them."""
        self.differing: list[str] = []
        """Keys that got two different answers."""
        self.refused: list[str] = []
        """What no caller should hear."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Place orders until this is left; those begun are then answered first, if all goes well."""
        async with asyncio.TaskGroup() as workers:
            tasks = [
                workers.create_task(self._work(account)) for account in self.accounts for _ in range(self._in_flight)
            ]
            try:
                yield
            except BaseException:
                for task in tasks:
                    task.cancel()
                raise
            finally:
                self._stopping = True

    async def flowing(self, since_s: float, within_s: float) -> dict[str, float]:
        """Wait until every account has an answer to an order begun since then; return by how much later each got its first.

        Raises DrillFailed if one has none ``within_s`` of now.
        """
        found: dict[str, float] = {}
        read = len(self.acknowledged)
        while read > 0 and self.acknowledged[read - 1].at_s >= since_s:
            read -= 1
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for one in self.acknowledged[read:]:
                        if one.begun_s >= since_s:
                            found.setdefault(one.account, one.at_s - since_s)
                    read = len(self.acknowledged)
                    if len(found) == len(self.accounts):
                        return found
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            without = ", ".join(sorted(set(self.accounts) - found.keys()))
            raise DrillFailed(f"no new order was answered within {within_s:g} s on: {without}") from None

    def silence(self, account: str, since_s: float) -> float:
        """Return the longest time without an answer on an account since then, in seconds."""
        moments = [since_s, *(one.at_s for one in self.acknowledged if one.account == account and one.at_s > since_s)]
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)

    async def _work(self, account: str) -> None:
        while not self._stopping:
            self._last[account] += 1
            key = f"{account}-{self._last[account]:07d}"
            begun_s = time.monotonic()
            intent = self._intent(account)
            if self._draw.random() < _TWICE:
                answers = await asyncio.gather(*(self._answer(intent, key, at) for at in range(len(self._nodes))))
                self.twice += 1
                if len(set(answers)) > 1:
                    self.differing.append(key)
                answer = answers[0]
            else:
                answer = await self._answer(intent, key, None)
            if answer == b"":
                continue
            self.acknowledged.append(Acknowledged(account, key, answer, begun_s, time.monotonic()))
            self._news.set()
            await asyncio.sleep(self._think_s)

    def _intent(self, account: str) -> Intent:
        return Intent(
            account=account,
            strategy=STRATEGY,
            instrument=INSTRUMENT,
            side=self._draw.choice((Side.BUY, Side.SELL)),
            quantity=Decimal(self._draw.randint(1, 500)) / 1000,
            price=_PRICE,
            time_in_force=TimeInForce.GTC,
            venue=route_of(account),
        )

    async def _answer(self, intent: Intent, key: str, first: int | None) -> bytes:
        try:
            return await self.ask(intent.account, lambda node: node.submit(intent, key, _WAIT_S), first)
        except NodeError as error:
            self.refused.append(f"{key}: {error}")
            return b""
