"""The client that most of us have written once: send, and if no answer comes, send again.

It is no straw man: it has a time-out, bounded retries with exponential back-off, and it retries only on what looks like a
failure of the network or the server. Each attempt gets a fresh client order id, as most client libraries do by default.
"""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence

import aiohttp

from onefill.core.values import OrderType, TimeInForce, plain
from onefill.gameday.demo_orders import ACCOUNT, INSTRUMENT, DemoIntent
from onefill.venues import exchange_wire as wire

MAX_ATTEMPTS = 4
"""How often one order is sent at most: once, and three retries."""
FIRST_PAUSE_S = 0.1
"""The pause before the first retry in seconds; it doubles."""


class NaiveClient:
    """Sends orders to ``url``, ``in_flight`` at a time, waiting ``timeout_s`` for each answer.

    ``seed`` makes its client order ids, so that a run can be repeated. ``on_attempt`` hears of each attempt.
    """

    def __init__(
        self, url: str, *, seed: int, in_flight: int, timeout_s: float, on_attempt: Callable[[], None]
    ) -> None:
        self._url = url + wire.ORDERS
        self._seed = seed
        self._slots = asyncio.Semaphore(in_flight)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._on_attempt = on_attempt
        self.attempts: dict[str, int] = {}
        """How often each key's order was sent."""
        self.intent_of: dict[str, str] = {}
        """The key behind each client order id."""
        self.sent = 0
        """Attempts in all."""
        self.unanswered = 0
        """Attempts without an answer."""
        self.given_up: list[str] = []
        """Keys whose last attempt failed too."""

    async def send_all(self, intents: Sequence[DemoIntent]) -> None:
        """Send every order; return when each was answered or given up."""
        async with aiohttp.ClientSession(timeout=self._timeout) as session, asyncio.TaskGroup() as group:
            for intent in intents:
                await self._slots.acquire()
                group.create_task(self._send(session, intent))

    async def _send(self, session: aiohttp.ClientSession, intent: DemoIntent) -> None:
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                if await self._answered(session, self._order(intent, attempt)):
                    return
                if attempt < MAX_ATTEMPTS:
                    await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
            self.given_up.append(intent.key)
        finally:
            self._slots.release()

    async def _answered(self, session: aiohttp.ClientSession, order: dict[str, str | None]) -> bool:
        try:
            async with session.post(self._url, json=order) as response:
                await response.read()
                if response.status < 500:
                    return True
        except (aiohttp.ClientError, TimeoutError):
            pass
        self.unanswered += 1
        return False

    def _order(self, intent: DemoIntent, attempt: int) -> dict[str, str | None]:
        draw = random.Random(f"{self._seed} {intent.key} {attempt}")  # noqa: S311 - repeatable on purpose
        client_order_id = uuid.UUID(bytes=draw.randbytes(16), version=4).hex
        self.attempts[intent.key] = attempt
        self.sent += 1
        self.intent_of[client_order_id] = intent.key
        self._on_attempt()
        return {
            "client_order_id": client_order_id,
            "account": ACCOUNT,
            "instrument": INSTRUMENT.symbol,
            "side": intent.side.value,
            "quantity": plain(intent.quantity),
            "order_type": OrderType.LIMIT.value,
            "price": plain(intent.price),
            "time_in_force": TimeInForce.DAY.value,
            "expires_at_us": None,
        }
