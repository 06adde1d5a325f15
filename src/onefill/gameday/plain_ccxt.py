"""Plain ccxt with the retry that most scripts have: after an error of the network it waits a little and sends again.

It is no straw man: attempts are few, the pause doubles, the time-out is set, and only what ccxt calls an error of the network
is repeated. Client order ids are those that ccxt makes by itself, where it makes any.
"""

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from onefill.core.values import Side, plain
from onefill.gameday.ccxt_orders import DayOrder
from onefill.venues.ccxt.address import point

MAX_ATTEMPTS = 4
"""How often one order is sent at most: once, and three retries."""
FIRST_PAUSE_S = 0.1
"""The pause before the first retry, in seconds; it doubles."""


class PlainCcxt:
    """Sends orders with ccxt's async client of ``exchange`` to ``url``, ``in_flight`` at a time."""

    def __init__(
        self,
        exchange: str,
        url: str,
        config: Mapping[str, Any],
        *,
        timeout_s: float,
        in_flight: int,
        on_attempt: Callable[[], None],
    ) -> None:
        self._library = importlib.import_module("ccxt.async_support")
        given = {**config, "timeout": round(timeout_s * 1000)}
        self._client: Any = point(getattr(self._library, exchange)(given), url)
        self._slots = asyncio.Semaphore(in_flight)
        self._on_attempt = on_attempt
        self.sent = 0
        """Attempts in all."""
        self.unanswered = 0
        """Attempts that ended in an error of the network."""
        self.refused = 0
        """Orders that ended in any other error."""
        self.given_up = 0
        """Orders whose last attempt failed too."""
        self.errors: dict[str, int] = {}
        """How often each class of error came."""

    async def send_all(self, symbol: str, orders: Iterable[DayOrder]) -> None:
        """Send every order; return when each was answered, refused or given up."""
        try:
            await self._markets()
            async with asyncio.TaskGroup() as group:
                for order in orders:
                    await self._slots.acquire()
                    group.create_task(self._send(symbol, order))
        finally:
            await self._client.close()

    async def _markets(self) -> None:
        """Load the markets. That is no order, and may be tried until it works."""
        for attempt in range(1, 11):
            try:
                await self._client.load_markets()
            except self._library.NetworkError:
                if attempt == 10:
                    raise
            else:
                return

    async def _send(self, symbol: str, order: DayOrder) -> None:
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                if await self._answered(symbol, order):
                    return
                if attempt < MAX_ATTEMPTS:
                    await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
            self.given_up += 1
        finally:
            self._slots.release()

    async def _answered(self, symbol: str, order: DayOrder) -> bool:
        self.sent += 1
        self._on_attempt()
        side = "buy" if order.side is Side.BUY else "sell"
        try:
            await self._client.create_order(symbol, "limit", side, plain(order.quantity), plain(order.price))
        except self._library.NetworkError as error:
            self._note(error)
            self.unanswered += 1
            return False
        except Exception as error:  # noqa: BLE001 - ccxt lets some of Python's own through; a script does not send again
            self._note(error)
            self.refused += 1
        return True

    def _note(self, error: Exception) -> None:
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1
