"""What the imitation venues share: the server, the judge's view, and replies that are spoilt on purpose.

An imitation speaks one venue's own HTTP and WebSocket API, as far as the client library uses it, and decides nothing itself:
matching, uniqueness of client order ids and expiry are those of :class:`~onefill.sim.exchange.Exchange` in its dialect.
"""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final

from aiohttp import web

from onefill.core.messages import CancelRequest, ExecutionKind, ExecutionReport, ReplaceRequest
from onefill.core.values import Instrument
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.venue import wall_clock_us
from onefill.venues import exchange_wire as wire

ACCOUNT: Final = "main"
"""The one account that an imitation has for its clients."""
KEYS: Final = {"apiKey": "imitation-key", "secret": "imitation-secret", "password": "imitation-password"}
BTC_USDT: Final = Instrument(
    symbol="BTC/USDT",
    price_tick=Decimal("0.01"),
    quantity_step=Decimal("0.00000001"),
    min_quantity=Decimal("0.00000001"),
)

Spoil = Callable[[web.Response], Awaitable[web.StreamResponse] | web.StreamResponse]
"""Takes the reply that a request got and returns what is sent in its place."""


class Imitation:
    """One venue's imitation. Subclasses say what it is called, how it behaves, and what it answers.

    ``dialect`` and ``instruments`` replace those of the class; ``clock_us`` gives the time in µs since 1970.
    """

    profile: ClassVar[str] = ""
    """The profile that it is coded to (:mod:`onefill.venues.profile`)."""
    ccxt_id: ClassVar[str] = ""
    """What the client library calls the venue."""
    dialect: ClassVar[Dialect] = Dialect()
    instruments: ClassVar[tuple[Instrument, ...]] = (BTC_USDT,)
    """Symbols are the client library's unified ones."""

    def __init__(
        self,
        *,
        dialect: Dialect | None = None,
        instruments: Iterable[Instrument] | None = None,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self.exchange = Exchange(dialect or self.dialect, tuple(instruments or self.instruments))
        self.clock_us = clock_us
        self.url = ""
        self.spoilt: collections.deque[Spoil] = collections.deque()
        """What happens to the replies to the next new orders, one each, after the venue has carried them out."""
        self.unheard: collections.deque[Callable[[], web.Response]] = collections.deque()
        """What the next new orders get, one each, in place of being carried out."""
        self.requests: collections.Counter[str] = collections.Counter()
        """How often each ``METHOD path`` was answered."""
        self._runner: web.AppRunner | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ server

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        raise NotImplementedError

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on ``host``; port 0 takes a free one. Return the port. Raises OSError if it cannot be had."""
        app = web.Application()
        app.on_response_prepare.append(self._note)
        app.router.add_routes(self.routes())
        app.router.add_get(wire.ALL_ORDERS, self._all_orders)
        app.router.add_get(wire.COUNTS, self._counts)
        app.router.add_get(wire.HEALTH, self._health)
        app.on_shutdown.append(self._end_streams)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=1024).start()
        except OSError:
            await self.close()
            raise
        bound = int(self._runner.addresses[0][1])
        self.url = f"http://{host}:{bound}"
        return bound

    async def close(self) -> None:
        """Stop listening. The exchange keeps its state."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open, as a venue does that restarts. Imitations with streams say how."""

    async def _end_streams(self, _: web.Application) -> None:
        await self.end_streams()

    async def _note(self, http: web.Request, _: web.StreamResponse) -> None:
        self.requests[f"{http.method} {http.path}"] += 1

    # ------------------------------------------------------------------ orders

    async def new_order(self, carry_out: Callable[[], web.Response]) -> web.StreamResponse:
        """Return the reply to a new order, which ``carry_out`` hands to the exchange; spoilt, if it is that one's turn."""
        if self.unheard:
            return self.unheard.popleft()()
        reply = carry_out()
        self.arm()
        if not self.spoilt:
            return reply
        spoilt = self.spoilt.popleft()(reply)
        return spoilt if isinstance(spoilt, web.StreamResponse) else await spoilt

    def arm(self) -> None:
        """Have what falls due later at the exchange happen at its time."""
        due = self.exchange.next_due_us()
        if due is None or self._timer is not None or self._runner is None:
            return
        delay_s = max(0, due - self.clock_us()) / 1_000_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.exchange.advance(self.clock_us())
        self.arm()

    def trades(self, instrument: str | None = None) -> list[ExecutionReport]:
        """Return the account's trades so far, oldest first; ``position`` is a number that suits as the venue's trade id."""
        self.exchange.advance(self.clock_us())
        reports = self.exchange.executions(ACCOUNT, 0, 1 << 60)
        return [one for one in reports if one.kind is ExecutionKind.TRADE and instrument in (None, one.instrument)]

    # ------------------------------------------------------------------- judge

    async def _all_orders(self, http: web.Request) -> web.Response:
        after, limit = answers.number(http, "after", 0), answers.number(http, "limit", -1)
        self.exchange.advance(self.clock_us())
        return answers.ok(self.exchange.all_orders(after, None if limit < 0 else limit))

    async def _counts(self, _: web.Request) -> web.Response:
        self.exchange.advance(self.clock_us())
        return answers.ok(self.exchange.counts())

    async def _health(self, _: web.Request) -> web.Response:
        return answers.answer(200, {"status": "ok"})

    # ------------------------------------------------------------------ client

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return what a client of the library needs besides the address to work with this imitation: keys and options."""
        return dict(KEYS)


def cancel_of(order: ExchangeOrder) -> CancelRequest:
    """Return the cancel of an order, by the exchange's number of it."""
    return CancelRequest(
        client_order_id=order.client_order_id,
        account=ACCOUNT,
        instrument=order.instrument,
        venue_order_id=order.venue_order_id,
    )


def amend_of(
    order: ExchangeOrder, quantity: Decimal, price: Decimal | None, expires_at_us: int | None = None
) -> ReplaceRequest:
    """Return the request that gives an order another quantity and price. It keeps its ids, and the rest of its terms."""
    return ReplaceRequest(
        client_order_id=order.client_order_id,
        orig_client_order_id=order.client_order_id,
        account=ACCOUNT,
        instrument=order.instrument,
        venue_order_id=order.venue_order_id,
        side=order.side,
        quantity=quantity,
        order_type=order.order_type,
        price=price,
        time_in_force=order.time_in_force,
        expires_at_us=expires_at_us,
    )


def decimals_of(step: Decimal) -> int:
    """Return the digits behind the point of a step of price or quantity."""
    return max(0, -int(step.normalize().as_tuple().exponent))
