"""The port to a venue: what an adapter must do, and what it must never do. Its suite is :mod:`onefill.testing.venue`."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, runtime_checkable

from onefill.core.capabilities import Capabilities
from onefill.core.inbox import CallbackNews
from onefill.core.messages import (
    CancelReply,
    CancelRequest,
    ExecutionReport,
    LookupReply,
    PositionsReply,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
)
from onefill.core.values import Instrument


class Venue(Protocol):
    """One connection to one venue.

    An adapter sends each request at most once per call (no retry of its own, none in its HTTP client), bounds every call
    by a time-out, and says :class:`~onefill.core.messages.Unknown` when in doubt. Replies are values; an exception out of
    ``submit``, ``replace`` or ``cancel`` is taken as *unknown*. Where the venue tells that somebody else has a session for the
    account, or took this one's place, a call or stream raises :class:`~onefill.core.errors.SecondSession`: on a route that is
    lent for a time this is a sign of a second holder, and means SAFE.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this venue promises about repeats. Known after :meth:`start`."""
        ...

    @property
    def identity(self) -> str:
        """What the venue calls itself, if it does, otherwise empty: a ledger refuses a route whose venue became another."""
        ...

    async def start(self) -> None:
        """Connect and learn what is needed. Raises :class:`~onefill.core.errors.VenueError` if the venue cannot be used."""
        ...

    async def close(self) -> None:
        """Release connections. Requests under way may still arrive."""
        ...

    async def instruments(self) -> Mapping[str, Instrument]:
        """Return the tradable instruments by symbol."""
        ...

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Send a new order, once."""
        ...

    async def cancel(self, request: CancelRequest) -> CancelReply:
        """Ask for an order to be cancelled, once."""
        ...

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        """Ask for a live order to be given other quantity and price, once. Never called where there is no replace."""
        ...

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        """Ask what the venue knows about a client order id, dead orders included. Called where the look-up is direct."""
        ...

    async def scan(self, account: str, instrument: str, since_us: int) -> ScanReply:
        """List the account's orders in an instrument that are open, or that ended or traded since ``since_us``.

        Unknown where the venue cannot list them, or the list may be incomplete.
        """
        ...

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return the next reports after stream position ``after``; an empty list when there are none."""
        ...

    async def open_orders(self, account: str) -> ScanReply:
        """List every live order of an account, whoever sent it. Called where the venue declares ``lists_open_orders``.

        Unknown where the list cannot be had or may be incomplete.
        """
        ...

    async def positions(self, account: str) -> PositionsReply:
        """Return what an account holds. Called where the venue declares ``tells_positions``."""
        ...

    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        """As :meth:`executions`, of the second channel. Called where the venue declares ``drop_copy``.

        Its places are its own; it tells of the same executions, under the same execution ids.
        """
        ...

    def drop_copy(self, after: int) -> AsyncIterator[ExecutionReport]:
        """As :meth:`stream`, of the second channel."""
        ...

    def stream(self, after: int) -> AsyncIterator[ExecutionReport]:
        """Yield reports after position ``after``, without a gap, as they come. Ends or raises when the connection does."""
        ...


@runtime_checkable
class LastLook(Protocol):
    """A venue whose adapter looks once more right before an order, cancel or replace is written to the connection.

    Between the call and the first byte lie turns of the event loop, and a process may be stopped in any of them, for longer
    than its lease on the route. What the port to a :class:`Venue` may have in addition.
    """

    last_look: Callable[[], str | None]
    """Returns why nothing may leave now, ``None`` if it may; set by the gateway. The adapter then writes nothing of the request
    and says :class:`~onefill.core.messages.NotSent` with that reason."""


@runtime_checkable
class TimedStream(Protocol):
    """A venue without a numbered stream: the adapter makes places up from times. What the port may have in addition.

    Places are then µs since 1970 by the venue's clock. They rise, and need not rise by one; that nothing is missing is the
    adapter's own care. It may tell again what it told before, under higher places. A route that was never followed begins at
    the moment of its first start, not with the account's whole history.
    """

    places_are_times: bool
    """Always true; that the attribute is there is what tells."""

    def follow(self, client_order_id: str, venue_order_id: str | None, instrument: str) -> None:
        """Hear of an order that is open in the ledger when the gateway starts: its executions and its end are to be told."""
        ...


@runtime_checkable
class CallbackReader(Protocol):
    """A venue that also tells by callbacks: what the port to a :class:`Venue` may have in addition."""

    def read_callback(self, body: bytes) -> CallbackNews:
        """Return what the body of a callback tells, as the execution stream tells it. The body was shown to be genuine.

        Reads only: no question to the venue. Raises :class:`~onefill.core.errors.CallbackUnreadable` for anything else than
        news of this connection's own account.
        """
        ...
