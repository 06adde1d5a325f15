"""A venue that does as it is told, call by call, over a simulated exchange, and remembers what it was asked and when.

Each list (``submits``, ``cancels``, ``replaces``, ``lookups``, ``scans``, ``listings``, ``holdings``, ``streams``,
``drop_copy_streams``) holds what the next calls do; when it is empty, a call does what an honest venue does. A step is an async
function of the venue and the request.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from onefill.core.capabilities import Capabilities
from onefill.core.messages import CancelRequest, ExecutionReport, Held, Holdings, Listed, ReplaceRequest, SubmitRequest
from onefill.core.values import Instrument
from onefill.sim.exchange import Exchange

Step = Callable[["ScriptedVenue", Any], Awaitable[Any]]


class Call(msgspec.Struct, frozen=True):
    """One call of the gateway. ``seen`` is what the ledger file held at that moment, read by somebody else."""

    kind: str
    request: Any
    at_us: int
    seen: Any


class ScriptedVenue:
    """One account's connection to an exchange, with faults on order."""

    def __init__(
        self,
        exchange: Exchange,
        now_us: Callable[[], int],
        *,
        account: str = "A",
        capabilities: Capabilities | None = None,
        look: Callable[[str], Any] = lambda _: None,
    ) -> None:
        self.exchange = exchange
        self.now_us = now_us
        self.account = account
        self.identity = ""
        self.capabilities = capabilities or exchange.capabilities
        self.instruments_listed = dict(exchange.instruments)
        self.look = look
        self.calls: list[Call] = []
        self.submits: list[Step] = []
        self.cancels: list[Step] = []
        self.lookups: list[Step] = []
        self.replaces: list[Step] = []
        self.scans: list[Step] = []
        self.listings: list[Step] = []
        self.holdings: list[Step] = []
        self.drop_copy_streams: list[Callable[[ScriptedVenue, int], AsyncIterator[ExecutionReport]]] = []
        self.streams: list[Callable[[ScriptedVenue, int], AsyncIterator[ExecutionReport]]] = []
        self.before_call: Callable[[], Awaitable[None]] | None = None
        """Awaited at the start of every call that reaches for the venue."""
        self.closed = 0
        self.muted = False
        """While true, the streams deliver nothing."""
        self._stirred: list[asyncio.Event] = []

    # --------------------------------------------------------------- the port

    async def start(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1

    async def instruments(self) -> Mapping[str, Instrument]:
        return self.instruments_listed

    async def submit(self, request: SubmitRequest) -> Any:
        return await self._do("submit", self.submits, land, request, request.client_order_id)

    async def cancel(self, request: CancelRequest) -> Any:
        return await self._do("cancel", self.cancels, take_cancel, request, request.client_order_id)

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> Any:
        return await self._do("lookup", self.lookups, show, client_order_id, client_order_id)

    async def replace(self, request: ReplaceRequest) -> Any:
        return await self._do("replace", self.replaces, take_replace, request, request.orig_client_order_id)

    async def scan(self, account: str, instrument: str, since_us: int) -> Any:
        return await self._do("scan", self.scans, list_orders, (account, instrument, since_us), "")

    async def open_orders(self, account: str) -> Any:
        return await self._do("open_orders", self.listings, list_open, account, "")

    async def positions(self, account: str) -> Any:
        return await self._do("positions", self.holdings, show_positions, account, "")

    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        return self.exchange.drop_copies(self.account, after)

    def drop_copy(self, after: int) -> AsyncIterator[ExecutionReport]:
        if self.drop_copy_streams:
            return self.drop_copy_streams.pop(0)(self, after)
        return follow(self, after, self.exchange.drop_copies)

    async def executions(self, after: int) -> list[ExecutionReport]:
        return self.exchange.executions(self.account, after)

    def stream(self, after: int) -> AsyncIterator[ExecutionReport]:
        return self.streams.pop(0)(self, after) if self.streams else follow(self, after)

    # ------------------------------------------------------------ for the test

    async def _do(self, kind: str, steps: list[Step], honest: Step, request: Any, client_order_id: str) -> Any:
        self.calls.append(Call(kind, request, self.now_us(), self.look(client_order_id)))
        if self.before_call is not None:
            await self.before_call()
        return await (steps.pop(0) if steps else honest)(self, request)

    def kinds(self) -> list[str]:
        """Return the calls so far, by kind."""
        return [call.kind for call in self.calls]

    def count(self, kind: str) -> int:
        """Return how many calls of a kind there were."""
        return self.kinds().count(kind)

    def ids(self) -> set[str]:
        """Return every client order id that was ever sent."""
        return {call.request.client_order_id for call in self.calls if call.kind == "submit"}

    def orders(self) -> list[Any]:
        """Return every order that the account ever had at the exchange."""
        return [order for order in self.exchange.all_orders() if order.account == self.account]

    def unmute(self) -> None:
        """Let the stream deliver again."""
        self.muted = False
        for changed in self._stirred:
            changed.set()


# ------------------------------------------------------------------------ steps


async def land(venue: ScriptedVenue, request: SubmitRequest) -> Any:
    """The request arrives, and so does the reply."""
    return venue.exchange.submit(request, venue.now_us())


async def lose_request(_venue: ScriptedVenue, _request: Any) -> Any:
    """The request is lost on the way."""
    raise TimeoutError("no reply")


async def lose_reply(venue: ScriptedVenue, request: SubmitRequest) -> Any:
    """The request arrives, the reply is lost."""
    venue.exchange.submit(request, venue.now_us())
    raise TimeoutError("no reply")


async def hang(_venue: ScriptedVenue, _request: Any) -> Any:
    """Nothing is heard, ever."""
    await asyncio.get_running_loop().create_future()


def late(after_s: float, *, land_reply: Callable[[Any], None] = lambda _: None) -> Step:
    """The request is under way for ``after_s``; the caller hears nothing."""

    async def step(venue: ScriptedVenue, request: SubmitRequest) -> Any:
        def arrive() -> None:
            land_reply(venue.exchange.submit(request, venue.now_us()))

        asyncio.get_running_loop().call_later(after_s, arrive)
        raise TimeoutError("no reply")

    return step


def reply(value: Any) -> Step:
    """Nothing arrives, and this comes back."""

    async def step(_venue: ScriptedVenue, _request: Any) -> Any:
        return value

    return step


def fail(error: BaseException) -> Step:
    """Nothing arrives, and this is raised."""

    async def step(_venue: ScriptedVenue, _request: Any) -> Any:
        raise error

    return step


def held(until: asyncio.Event, then: Step = land) -> Step:
    """Go on with ``then`` once the event is set."""

    async def step(venue: ScriptedVenue, request: Any) -> Any:
        await until.wait()
        return await then(venue, request)

    return step


async def take_cancel(venue: ScriptedVenue, request: CancelRequest) -> Any:
    """The cancel arrives, and so does its reply."""
    return venue.exchange.cancel(request, venue.now_us())


async def lose_cancel_reply(venue: ScriptedVenue, request: CancelRequest) -> Any:
    """The cancel arrives, the reply is lost."""
    venue.exchange.cancel(request, venue.now_us())
    raise TimeoutError("no reply")


async def take_replace(venue: ScriptedVenue, request: ReplaceRequest) -> Any:
    """The replace arrives, and so does its reply."""
    return venue.exchange.replace(request, venue.now_us())


async def lose_replace_reply(venue: ScriptedVenue, request: ReplaceRequest) -> Any:
    """The replace arrives, the reply is lost."""
    venue.exchange.replace(request, venue.now_us())
    raise TimeoutError("no reply")


async def list_orders(venue: ScriptedVenue, asked: tuple[str, str, int]) -> Any:
    """Answer a scan truthfully."""
    return venue.exchange.scan(*asked, venue.now_us())


async def list_open(venue: ScriptedVenue, account: str) -> Any:
    """Tell truthfully which orders are live."""
    return Listed(tuple(venue.exchange.open_orders(account)))


async def show_positions(venue: ScriptedVenue, account: str) -> Any:
    """Tell truthfully what the account holds."""
    held = venue.exchange.positions(account).items()
    return Holdings(tuple(Held(instrument=symbol, quantity=quantity) for symbol, quantity in held))


async def show(venue: ScriptedVenue, client_order_id: str) -> Any:
    """Answer a status query truthfully."""
    return venue.exchange.lookup(client_order_id, venue.account, venue.now_us())


# ---------------------------------------------------------------------- streams


async def follow(
    venue: ScriptedVenue, after: int, page: Callable[[str, int], list[ExecutionReport]] | None = None
) -> AsyncIterator[ExecutionReport]:
    """Deliver what there is and what comes, without a gap. ``page``: of another channel than the execution stream."""
    changed = asyncio.Event()
    venue._stirred.append(changed)
    unsubscribe = venue.exchange.subscribe(venue.account, changed.set)
    try:
        while True:
            changed.clear()
            batch = [] if venue.muted else (page or venue.exchange.executions)(venue.account, after)
            for report in batch:
                yield report
                after = report.position
            if not batch:
                await changed.wait()
    finally:
        venue._stirred.remove(changed)
        unsubscribe()


def given(*reports: ExecutionReport, error: BaseException | None = None) -> Any:
    """Return a stream that delivers exactly these reports, then ends or raises."""

    async def stream(_venue: ScriptedVenue, _after: int) -> AsyncIterator[ExecutionReport]:
        for report in reports:
            yield report
        if error is not None:
            raise error

    return stream
