"""What tests of the guard share: an imitation of Binance that listens on a thread of its own, and clients of it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import ccxt
import ccxt.async_support

import onefill
from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.venues.ccxt.address import point

BTC = "BTC/USDT"
T = TypeVar("T")
PLAIN, ASYNCHRONOUS = ccxt.binance, ccxt.async_support.binance
"""The real classes, whatever a test puts in their place."""


class Venue:
    """An imitation, run on a thread of its own: plain code may be its client."""

    def __init__(self, kind: type[Imitation] = BinanceSpot) -> None:
        self.imitation = kind()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._run(self.imitation.start)

    def _run(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work(*arguments, **named), self._loop).result(10)

    def do(self, work: Callable[[Any], T]) -> T:
        """Return what ``work`` returns, called on the imitation's own thread."""

        async def done() -> T:
            return work(self.imitation)

        result: T = self._run(done)
        return result

    def go_away(self) -> None:
        """Stop listening: connections are refused from now on."""
        self._run(self.imitation.close)

    def come_back(self) -> None:
        """Listen again, at the same place, with all that was known."""
        self._run(self.imitation.start, port=self.port)

    def spoil(self, *spoils: Any) -> None:
        """Have the replies to the next new orders spoilt, one each."""
        self.do(lambda imitation: imitation.spoilt.extend(spoils))

    def orders(self) -> list[Any]:
        """Return every order that our account ever had."""
        return self.do(lambda one: [order for order in one.exchange.all_orders() if order.account == ACCOUNT])

    def asked(self, what: str) -> int:
        """Return how often ``METHOD path`` was asked for."""
        return self.do(lambda one: one.requests[what])

    def by_another(self, side: str, quantity: str, price: str) -> None:
        """Have somebody else's limit order come to the venue."""

        def submit(imitation: Imitation) -> None:
            request = SubmitRequest(
                client_order_id=f"theirs{imitation.exchange.counts().submits}",
                account="somebody-else",
                instrument=BTC,
                side=Side(side),
                quantity=Decimal(quantity),
                order_type=OrderType.LIMIT,
                price=Decimal(price),
                time_in_force=TimeInForce.GTC,
                expires_at_us=None,
            )
            assert isinstance(imitation.exchange.submit(request, imitation.clock_us()), Accepted)

        self.do(submit)

    def close(self) -> None:
        """Stop for good, and end what still hangs."""

        async def end() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self.go_away()
        self._run(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ----------------------------------------------------------------- clients

    def plain(self, **config: Any) -> Any:
        """Return a synchronous client of ccxt's."""
        kind = PLAIN if self.imitation.ccxt_id == "binance" else getattr(ccxt, self.imitation.ccxt_id)
        return point(kind({**self._config(), **config}), self.imitation.url)

    def asynchronous(self, **config: Any) -> Any:
        """Return an asynchronous client of ccxt's."""
        library = ccxt.async_support
        kind = ASYNCHRONOUS if self.imitation.ccxt_id == "binance" else getattr(library, self.imitation.ccxt_id)
        return point(kind({**self._config(), **config}), self.imitation.url)

    def _config(self) -> dict[str, Any]:
        return {**self.imitation.config(), "enableRateLimit": False, "timeout": 2000}

    @contextlib.contextmanager
    def guarded(self, ledger: Path, **settings: Any) -> Iterator[Any]:
        """Run a guarded synchronous client."""
        exchange = onefill.guard(self.plain(), ledger, **settings)
        try:
            yield exchange
        finally:
            exchange.close()


@contextlib.contextmanager
def serving(kind: type[Imitation] = BinanceSpot) -> Iterator[Venue]:
    """Run an imitation."""
    venue = Venue(kind)
    try:
        yield venue
    finally:
        venue.close()


async def hang(_: Any) -> Any:
    """Never answer."""
    await asyncio.Event().wait()
