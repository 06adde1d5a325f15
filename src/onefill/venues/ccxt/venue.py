"""The adapter to real venues over the ccxt library.

A request leaves at most once per call: ccxt's own retries are off, and so are the HTTP client's. What an error means is decided
by :mod:`onefill.core.client_errors`; what a reply shows, by :mod:`onefill.venues.ccxt.orders`; how a venue is spoken to, by its
manners.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from onefill.core.capabilities import Capabilities, Lookup, ReplaceStyle
from onefill.core.client_errors import Asked, Verdict, ancestry, judge
from onefill.core.errors import InvalidField, VenueError
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    CancelRejected,
    CancelReply,
    CancelRequest,
    DuplicateId,
    ExecutionReport,
    Found,
    Listed,
    LookupReply,
    NotFound,
    NotSent,
    PositionsReply,
    Rejected,
    Replaced,
    ReplaceRejected,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    Throttled,
    TooLate,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, plain
from onefill.core.venue_words import overridden
from onefill.venues import profile as profiles
from onefill.venues.ccxt import careful, orders, parameters, telling
from onefill.venues.ccxt import client as clients
from onefill.venues.ccxt.client import Client
from onefill.venues.ccxt.feed import Feed, Unanswered
from onefill.venues.ccxt.manners import manners_of
from onefill.venues.ccxt.orders import Expected, Strange
from onefill.venues.ccxt.witness import Witness, watched_by

T = TypeVar("T")
_PAUSE_S: Final = 1.0
"""How long to wait after a refusal for rate that says no time."""
_MOST_KEPT: Final = 100_000
_START_PAUSES_S: Final = (0.2, 0.4, 0.8)
_FOR_GOOD: Final = frozenset({"AuthenticationError", "NotSupported", "ArgumentsRequired", "BadSymbol"})
"""What asking again does not mend."""


class CcxtVenue:
    """:class:`~onefill.ports.venue.Venue` for one account of one exchange that ccxt knows.

    * ``exchange``: what ccxt calls it (``"binance"``), or a client of ccxt, synchronous or asynchronous, that is set up. Such a
      client stays the caller's: it is not closed, its time-out holds, and its rate limit is shared.
    * ``account``: what orders here call the account; the venue's is the one that the keys belong to.
    * ``config``: what the client is constructed with: ``apiKey``, ``secret``, ``options``...
    * ``profile``: what is believed of the venue; by default that of the exchange, if there is one, else next to nothing.
      ``overrides`` replace single values, as :func:`~onefill.core.venue_words.overridden` takes them.
    * ``url``: another address, ``http://host:port``; ``testnet``: the venue's own network for tests.
    * ``instruments``: symbols whose executions are told from the start; the others are from their first order here on.
    * ``timeout_s`` bounds every call; ``poll_s``: how often lists are read where no stream runs; by
      default what suits the venue.

    Raises :class:`~onefill.core.errors.InvalidField`, and :class:`~onefill.core.errors.VenueError` if ccxt is not installed.
    """

    places_are_times = True

    def __init__(
        self,
        exchange: Any,
        account: str,
        *,
        config: Mapping[str, Any] | None = None,
        profile: str | None = None,
        url: str | None = None,
        testnet: bool = False,
        timeout_s: float = 10.0,
        instruments: Collection[str] = (),
        overrides: Mapping[str, Any] | None = None,
        poll_s: float | None = None,
        streams: bool = True,
    ) -> None:
        if timeout_s <= 0 or (poll_s is not None and poll_s <= 0):
            raise InvalidField("timeout_s" if timeout_s <= 0 else "poll_s", "is not above zero, in seconds")
        own = isinstance(exchange, str)
        self.ccxt_id: str = exchange if own else exchange.id
        kind = manners_of(self.ccxt_id)
        if own:
            exchange = clients.make(self.ccxt_id, config or {}, kind, url=url, testnet=testnet)
        self._account = account
        self._timeout_s = timeout_s
        self._client = Client(exchange, timeout_s, own=own, in_turn=kind.nonces_rise)
        known = profile or kind.profile
        self._profile = None if known is None else profiles.load(known)
        self.manners = kind(None if self._profile is None else self._profile.wire)
        self._codes = telling.codes(self._profile)
        self._capabilities = overridden(self._believed(), overrides or {})
        self.last_look: Callable[[], str | None] = _nothing_against_it
        """See :class:`onefill.ports.venue.LastLook`."""
        self._feed = Feed(
            self._client, self.manners, account, self._question, poll_s=poll_s or kind.poll_s, streams=streams
        )
        for symbol in instruments:
            self._feed.meet(symbol)
        self._ours: dict[str, None] = {}
        """Client order ids that were sent from here."""
        self.shown: dict[str, Any] = {}
        """By client order id: the order as ccxt showed it last, in a reply or when it was asked about."""
        self._markets: Mapping[str, Any] = {}
        self._closed = True

    # ------------------------------------------------------------------- the port

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says, as far as ccxt can do it, single values overridden."""
        return self._capabilities

    @property
    def identity(self) -> str:
        """Which exchange this is: a ledger is not to be used with another."""
        network = "test " if self._client.exchange.isSandboxModeEnabled else ""
        return f"ccxt {network}{self.ccxt_id}"

    async def start(self) -> None:
        """Load the markets, once. Raises VenueError if they, or what an account did, cannot be had there."""
        if not self._client.exchange.has.get("fetchMyTrades"):
            raise VenueError(
                f"{self.ccxt_id}: ccxt cannot list an account's own trades there, so that executions could not be told. "
                "Nothing was sent; use another connection to this venue"
            )
        self._markets = await self._patiently(self._client.load)
        await self._patiently(lambda: self.manners.begin(self._client))
        await self._client.read_clock()
        self._closed = False

    async def close(self) -> None:
        """Close the connections. Requests under way may still arrive; their callers get Unknown."""
        self._closed = True
        await self._client.close()

    async def instruments(self) -> Mapping[str, Instrument]:
        """Return the tradable markets by ccxt's unified symbol."""
        mode = self._client.exchange.precisionMode
        found = (orders.instrument(market, mode) for market in self._markets.values())
        return {one.symbol: one for one in found if one is not None}

    def follow(self, client_order_id: str, venue_order_id: str | None, instrument: str) -> None:
        """See :class:`onefill.ports.venue.TimedStream`."""
        self._feed.met(client_order_id, venue_order_id, instrument)

    @property
    def lock(self) -> threading.RLock:
        """Held during each call of a synchronous client: whoever else uses its connection should hold it too."""
        return self._client.lock

    async def owner(self, venue_order_id: str, instrument: str) -> str:
        """Return the client order id of the venue's order, asked for if it is not known, empty if it has none.

        Raises VenueError where the venue does not say.
        """
        return await self._feed.owner(venue_order_id, instrument)

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Send a new order, once. One for another account, or that cannot be passed on exactly, is refused here."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        expected = orders.expected(request)
        self._ours[request.client_order_id] = None
        self._feed.meet(request.instrument)
        exchange = self._client.exchange
        market_price, params = parameters.with_price(request, self.manners.new_order(request))
        arguments = (
            request.instrument,
            request.order_type.value,
            request.side.value,
            exchange.number_of(request.quantity),
            market_price if request.price is None else exchange.number_of(request.price),
            params,
        )
        witness = self._witness(request.expires_at_us)
        try:
            shown = await self._watched(witness, self._client("create_order", *arguments))
            order = orders.replied(shown, expected, self.manners)
        except Strange as problem:
            return Unknown(f"the venue answered, and {problem}")
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is called: it is judged by what was sent
            return await self._refused(error, witness, request)
        if order.status is VenueStatus.PENDING_NEW and self._capabilities.lookup is Lookup.NONE:
            order = await self._asked_by_number(order, expected)
        self._note(order, shown)
        return Accepted(order)

    async def _asked_by_number(self, order: VenueOrder, expected: Expected) -> VenueOrder:
        """Ask how an order stands whose reply did not say so, where nobody looks it up; as it was if there is no answer."""
        try:
            asked = self.manners.find_by_number(self._client, order.venue_order_id, order.instrument)
            found = orders.venue_order(await self._question(asked), expected, self.manners)
        except (VenueError, Strange):
            return order
        return found if found.venue_order_id == order.venue_order_id else order

    async def _refused(self, error: BaseException, witness: Witness, request: SubmitRequest) -> SubmitReply:
        reason, verdict = self._judged(error, witness, Asked.NEW_ORDER)
        match verdict:
            case Verdict.NEVER_SENT:
                return NotSent(reason)
            case Verdict.REFUSED_HERE | Verdict.REJECTED:
                return Rejected(reason, type(error).__name__)
            case Verdict.EXISTS:
                return DuplicateId(reason)
            case Verdict.TOO_LATE:
                return TooLate(reason)
            case Verdict.THROTTLED:
                return Throttled(reason, witness.retry_after_s or _PAUSE_S)
            case Verdict.REJECTED_LOOK:
                return await self._rejected_if_not_there(reason, type(error).__name__, request)
        return Unknown(reason)

    async def _rejected_if_not_there(self, reason: str, code: str, request: SubmitRequest) -> SubmitReply:
        """Something in front of the venue said no, as it seems: believe it only if the venue shows no order."""
        if self._capabilities.lookup is not Lookup.DIRECT:
            return Unknown(reason)
        found = await self.lookup(request.client_order_id, request.account, request.instrument)
        if isinstance(found, Found):
            return Accepted(found.order)
        return Rejected(reason, code) if isinstance(found, NotFound) else Unknown(reason)

    async def cancel(self, request: CancelRequest) -> CancelReply:
        """Ask for an order to be cancelled, once."""
        if request.venue_order_id is None and not self._capabilities.cancel_by_client_order_id:
            return CancelRejected(
                "this venue cancels by its own order number, which is not known yet; nothing was sent"
            )
        witness = self._witness(None)
        try:
            shown = await self._watched(witness, self.manners.cancel(self._client, request))
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            reason, verdict = self._judged(error, witness, Asked.CANCEL)
            match verdict:
                case Verdict.NEVER_SENT:
                    return NotSent(reason)
                case Verdict.THROTTLED | Verdict.TOO_LATE:
                    return Throttled(reason, witness.retry_after_s or _PAUSE_S)
                case Verdict.REFUSED_HERE | Verdict.REJECTED | Verdict.NOT_THERE:
                    return CancelRejected(reason)
            return Unknown(reason)
        self._feed.look_soon()
        return self._canceled(shown, request)

    def _canceled(self, shown: Any, request: CancelRequest) -> CancelReply:
        """Read a cancel's reply. Most venues confirm that the cancel was taken, and show nothing of the order."""
        if shown is None:
            return Unknown("the venue took the cancel, and shows no order; it is looked up", answered=True)
        expected = Expected(client_order_id=request.client_order_id, instrument=request.instrument)
        try:
            order = orders.venue_order(shown, expected, self.manners)
        except Strange as problem:
            return Unknown(f"the venue took the cancel, and {problem}; it is looked up", answered=True)
        if request.venue_order_id not in (None, order.venue_order_id):
            return Unknown(f"the cancel's reply is about another order ({order.venue_order_id!r})")
        if order.status is not VenueStatus.CANCELED or shown.get("filled") is None:
            return Unknown(
                f"the venue took the cancel, and shows the order as {order.status}; it is looked up", answered=True
            )
        self._note(order, shown)
        return Canceled(order)

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        """Ask for a live order to be given other quantity and price, once."""
        if request.account != self._account:
            return ReplaceRejected(f"this connection trades for account {self._account!r} only; nothing was sent")
        problem = parameters.inexact(self._client.exchange, request)
        if self._capabilities.replace is ReplaceStyle.NONE:
            problem = "this venue is not known to replace orders"
        if problem is not None:
            return ReplaceRejected(f"{problem}; nothing was sent")
        witness = self._witness(request.expires_at_us)
        try:
            asked = self.manners.replace(self._client, request, request.order_type.value)
            shown = await self._watched(witness, asked)
            order = orders.venue_order(shown, orders.expected(request), self.manners)
        except Strange as problem_shown:
            return Unknown(f"the venue answered, and {problem_shown}")
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            reason, verdict = self._judged(error, witness, Asked.REPLACE)
            match verdict:
                case Verdict.NEVER_SENT:
                    return NotSent(reason)
                case Verdict.TOO_LATE:
                    return TooLate(reason)
                case Verdict.THROTTLED:
                    return Throttled(reason, witness.retry_after_s or _PAUSE_S)
                case Verdict.REFUSED_HERE | Verdict.REJECTED | Verdict.NOT_THERE:
                    return ReplaceRejected(reason)
            return Unknown(reason)
        if (order.quantity, order.price) != (request.quantity, request.price) or order.status not in _TAKEN:
            return Unknown(f"the replace's reply shows {plain(order.quantity)} at {order.price}, {order.status}")
        self._note(order, shown)
        return Replaced(order)

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        """Ask what the venue knows about a client order id, once. Anything but its own clear word is Unknown."""
        witness = self._witness(None, looked_at=False)
        try:
            shown = await self._watched(witness, self.manners.find(self._client, client_order_id, instrument))
            if shown is None:
                return NotFound("the venue shows no order under this client order id")
            expected = Expected(client_order_id=client_order_id, instrument=instrument)
            order = orders.venue_order(shown, expected, self.manners)
        except Strange as problem:
            return Unknown(f"the venue answered, and {problem}")
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            reason, verdict = self._judged(error, witness, Asked.QUESTION)
            return NotFound(reason) if verdict is Verdict.NOT_THERE else Unknown(reason)
        if order.price is None and order.order_type is OrderType.LIMIT:
            self._feed.met(client_order_id, order.venue_order_id, instrument)
            return Unknown(
                f"order {order.venue_order_id} is shown without its price: it cannot be compared", answered=True
            )
        self._note(order, shown)
        return Found(order)

    async def scan(self, account: str, instrument: str, since_us: int) -> ScanReply:
        """List the account's orders in an instrument that are open, or ended or traded since ``since_us``."""
        try:
            live = await self._question(self.manners.open_orders(self._client, instrument))
            ended = await self._question(self.manners.ended_orders(self._client, instrument, since_us // 1000))
            # Open first: what ends in between stands in the second list.
            by_number = {str(one.get("id")): one for one in (*live, *ended)}
            found = tuple(orders.listed(one, self.manners) for one in by_number.values())
        except (VenueError, Strange) as problem:
            return Unknown(str(problem))
        for order in found:
            if order.client_order_id in self._ours:
                self._note(order, by_number[order.venue_order_id])
        return Listed(found)

    async def open_orders(self, account: str) -> ScanReply:
        """List every live order of the account, whoever sent it."""
        if not self._capabilities.lists_open_orders or account != self._account:
            return Unknown("this connection does not list the open orders of that account")
        try:
            shown = await self._question(self.manners.open_orders(self._client, None))
            listed = tuple(orders.listed(one, self.manners) for one in shown)
        except (VenueError, Strange) as problem:
            return Unknown(str(problem))
        return Listed(tuple(one for one in listed if one.status in LIVE))

    async def positions(self, account: str) -> PositionsReply:
        """Return what the account holds, in contracts, the two sides of an instrument netted."""
        if not self._capabilities.tells_positions or account != self._account:
            return Unknown("this connection does not tell the positions of that account")
        for name in self._feed.instruments:
            if name in self._markets and not self._markets[name].get("contract"):
                # It would be missing among the positions, which reads as flat.
                return Unknown(f"what is held of {name} is told as a balance: positions are those of contracts only")
        try:
            return orders.holdings(await self._question(self._client("fetch_positions")))
        except (VenueError, Strange) as problem:
            return Unknown(str(problem))

    async def balances(self) -> dict[str, Decimal]:
        """Return what the account holds of each asset. Raises VenueError."""
        shown = await self._question(self._client("fetch_balance"))
        try:
            total = {name: orders.number(value) for name, value in (shown.get("total") or {}).items()}
        except Strange as problem:
            raise VenueError(f"{self.ccxt_id}: {problem}") from None
        return {name: value for name, value in total.items() if value}

    async def executions(self, after: int) -> list[ExecutionReport]:
        """Return the next reports after a place. Raises VenueError if the venue did not answer."""
        return await self._feed.page(after)

    def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield reports after a place as they come. Raises VenueError; go on from the last place."""
        return self._feed.follow(after)

    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        """There is no second channel. Raises VenueError."""
        raise VenueError(f"{self.ccxt_id}: there is no drop copy over ccxt")

    def drop_copy(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """There is no second channel. Raises VenueError."""
        raise VenueError(f"{self.ccxt_id}: there is no drop copy over ccxt")

    # --------------------------------------------------------------------- inside

    def _believed(self) -> Capabilities:
        """Return what the profile says, no more than ccxt can do there; without a profile, next to nothing."""
        if self._profile is None:
            return careful.believed(self._client.exchange.has)
        has = self._client.exchange.has.get
        lists = bool(has("fetchOpenOrders"))
        given = self._profile.capabilities
        limits: dict[str, Any] = {"cumulative_fills_only": False, "drop_copy": False, "execution_revisions": False}
        if has("editOrder") is not True:  # a cancel and a new order made of one call would be two requests
            limits["replace"] = ReplaceStyle.NONE
        limits["lists_open_orders"] = given.lists_open_orders and lists
        limits["tells_positions"] = given.tells_positions and bool(has("fetchPositions"))
        return overridden(given, limits)

    def _refusal(self, request: SubmitRequest) -> Rejected | None:
        if request.account != self._account:
            return Rejected(
                f"this connection trades for account {self._account!r} only; nothing was sent", "wrong_account"
            )
        if request.time_in_force not in self.manners.times_in_force:
            takes = ", ".join(sorted(self.manners.times_in_force))
            return Rejected(
                f"{self.ccxt_id} has no orders of time in force {request.time_in_force}; it takes {takes}. Nothing was sent",
                "time_in_force",
            )
        reason = self.manners.refuses(request)
        if reason is not None:
            return Rejected(f"{reason}; nothing was sent", "cannot_be_passed_on")
        problem = parameters.clash(request, self.manners.new_order(request))
        if problem is not None:
            return Rejected(f"{problem}; nothing was sent", "parameters")
        problem = parameters.inexact(self._client.exchange, request)
        return None if problem is None else Rejected(f"{problem}; nothing was sent", "precision")

    def _note(self, order: VenueOrder, shown: Any) -> None:
        self.shown[order.client_order_id] = shown
        for kept in (self.shown, self._ours):
            while len(kept) > _MOST_KEPT:
                kept.pop(next(iter(kept)))
        over = order.status in orders.ENDED and not order.cum_quantity
        self._feed.met(order.client_order_id, order.venue_order_id, order.instrument, over=over)
        if order.cum_quantity or order.status in orders.ENDED:
            self._feed.look_soon()

    def _witness(self, expires_at_us: int | None, *, looked_at: bool = True) -> Witness:
        look = self.last_look if looked_at else _nothing_against_it
        expires_at_ms = None if expires_at_us is None else expires_at_us // 1000
        return Witness(look, expires_at_ms, self.manners.stamp)

    async def _watched(self, witness: Witness, call: Awaitable[T]) -> T:
        if self._closed:
            if asyncio.iscoroutine(call):
                call.close()
            witness.keep_back("not connected: start() was not called, or close() was")
            raise VenueError(witness.kept_back)
        try:
            with watched_by(witness):
                async with asyncio.timeout(self._timeout_s):
                    return await call
        finally:
            witness.abandon()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until it works, a few times: the way there may be faulty, and reading is harmless."""
        for pause_s in _START_PAUSES_S:
            try:
                return await self._question(ask())
            except Unanswered as error:
                if not _FOR_GOOD.isdisjoint(error.classes):
                    raise
            await asyncio.sleep(pause_s)
        return await self._question(ask())

    async def _question(self, call: Awaitable[T]) -> T:
        """Return what a question gets, each call of it bounded. Raises VenueError with what went wrong."""
        try:
            return await call
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError, VenueError):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is called, there is no answer
            told = f"{self.ccxt_id}: {telling.words(error)}; nothing was changed, ask again"
            raise Unanswered(told, ancestry([type(error)])) from None  # the library's own text holds signatures

    def _judged(self, error: BaseException, witness: Witness, asked: Asked) -> tuple[str, Verdict]:
        found = judge(witness.failure(error), asked, self._codes)
        told = witness.kept_back or telling.words(error)
        return f"{told} ({found.verdict}: {found.row.named})", found.verdict


_TAKEN: Final = LIVE | {VenueStatus.FILLED}


def _nothing_against_it() -> None:
    return None
