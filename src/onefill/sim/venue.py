"""The simulated exchange as a venue in the same process: the port without sockets."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping

from onefill.core.capabilities import Capabilities
from onefill.core.messages import (
    CancelReply,
    CancelRequest,
    ExecutionReport,
    Held,
    Holdings,
    Listed,
    LookupReply,
    NotSent,
    PositionsReply,
    Rejected,
    ReplaceRejected,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    Unknown,
)
from onefill.core.values import Instrument
from onefill.sim.exchange import Exchange

BATCH = 1000
"""Most reports taken from the exchange at a time."""
_CLOSED = NotSent("not connected: close() was called")


def wall_clock_us() -> int:
    """Return the time of day, µs since 1970."""
    return time.time_ns() // 1000


class SimulatedVenue:
    """:class:`~onefill.ports.venue.Venue` for one account of an :class:`~onefill.sim.exchange.Exchange`.

    Each call is one plain call into the exchange. Where acknowledgements are asynchronous, a timer of the running event
    loop brings the exchange to the moment they are due; ``clock_us`` must go as fast as that loop's time.
    """

    def __init__(self, exchange: Exchange, account: str, clock_us: Callable[[], int] = wall_clock_us) -> None:
        self._exchange = exchange
        self._account = account
        self._clock_us = clock_us
        self._timer: asyncio.TimerHandle | None = None
        self._asynchronous = exchange.dialect.acknowledges_asynchronously
        self._closed = False
        self._readers: set[asyncio.Event] = set()

    @property
    def capabilities(self) -> Capabilities:
        """What the exchange declares."""
        return self._exchange.capabilities

    @property
    def identity(self) -> str:
        """Nothing: an exchange in process has no name."""
        return ""

    async def start(self) -> None:
        """Take up what an earlier connection left pending."""
        self._closed = False
        self._arm()

    async def close(self) -> None:
        """End the streams, and send no more. What is pending stays pending until somebody calls the exchange again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for changed in self._readers:
            changed.set()

    async def instruments(self) -> Mapping[str, Instrument]:
        """Return the tradable instruments by symbol."""
        return self._exchange.instruments

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Hand a new order to the exchange. An order for another account is refused here: its fills would go unseen."""
        if self._closed:
            return _CLOSED
        if request.account != self._account:
            return Rejected(
                f"this connection trades for account {self._account!r} only; nothing was sent", "wrong_account"
            )
        reply = self._exchange.submit(request, self._clock_us())
        if self._asynchronous:
            self._arm()
        return reply

    async def cancel(self, request: CancelRequest) -> CancelReply:
        """Ask the exchange to cancel an order."""
        if self._closed:
            return _CLOSED
        return self._exchange.cancel(request, self._clock_us())

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        """Ask the exchange to give a live order other quantity and price, for this connection's account only."""
        if self._closed:
            return _CLOSED
        if request.account != self._account:
            return ReplaceRejected(f"this connection trades for account {self._account!r} only; nothing was sent")
        return self._exchange.replace(request, self._clock_us())

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        """Ask the exchange about a client order id."""
        return self._exchange.lookup(client_order_id, account, self._clock_us())

    async def scan(self, account: str, instrument: str, since_us: int) -> ScanReply:
        """List the account's orders in an instrument that are open, or ended or traded since ``since_us``."""
        return self._exchange.scan(account, instrument, since_us, self._clock_us())

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return the next reports after stream position ``after``."""
        return self._exchange.executions(self._account, after, BATCH)

    async def open_orders(self, account: str) -> ScanReply:
        """List the account's live orders, whoever sent them; unknown where the exchange does not list them."""
        if not self._exchange.dialect.lists_open_orders:
            return Unknown("this venue does not list open orders")
        self._exchange.advance(self._clock_us())
        return Listed(tuple(self._exchange.open_orders(account)))

    async def positions(self, account: str) -> PositionsReply:
        """Return what the account holds; unknown where the exchange does not tell."""
        if not self._exchange.dialect.tells_positions:
            return Unknown("this venue tells no positions")
        self._exchange.advance(self._clock_us())
        held = self._exchange.positions(account).items()
        return Holdings(tuple(Held(instrument=symbol, quantity=quantity) for symbol, quantity in held))

    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        """Return the next reports of the drop copy after its place ``after``; none where there is no drop copy."""
        return self._exchange.drop_copies(self._account, after, BATCH)

    def drop_copy(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield the drop copy's reports after its place ``after`` as they come, until :meth:`close`."""
        return self._follow(self._exchange.drop_copies, after)

    def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield reports after position ``after`` as they come, until :meth:`close`."""
        return self._follow(self._exchange.executions, after)

    async def _follow(
        self, page: Callable[[str, int, int], list[ExecutionReport]], after: int
    ) -> AsyncGenerator[ExecutionReport, None]:
        changed = asyncio.Event()
        unsubscribe = self._exchange.subscribe(self._account, changed.set)
        self._readers.add(changed)
        try:
            while not self._closed:
                changed.clear()
                batch = page(self._account, after, BATCH)
                for report in batch:
                    after = report.position
                    yield report
                if not batch:
                    await changed.wait()
        finally:
            self._readers.discard(changed)
            unsubscribe()

    def _arm(self) -> None:
        """Set a timer for the exchange's next due moment, unless one is set."""
        due = self._exchange.next_due_us()
        if due is None or self._timer is not None or self._closed:
            return
        delay_s = max(0, due - self._clock_us()) / 1_000_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._exchange.advance(self._clock_us())
        self._arm()
