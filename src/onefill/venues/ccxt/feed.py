"""An account's executions and the ends of its orders, from lists that are read again and again and streams in between.

A list is what counts: it is read from a little before the last place, after every start, after every break of a stream, and
every so often while a stream runs. A stream only makes news come sooner. What was told before is told again after a start, and
dropped by its execution id (promise FILL-ONCE).

Places are times, µs since 1970. A report never has a place beyond the moment through which every instrument was read, so that
reading on from a place misses nothing of any of them.
"""

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from onefill.core.client_errors import ancestry
from onefill.core.errors import VenueError
from onefill.core.messages import ExecutionReport, VenueOrder
from onefill.venues.ccxt import orders
from onefill.venues.ccxt.manners import Manners, Order, Trade
from onefill.venues.ccxt.orders import ENDED, Expected, Strange

OVERLAP_MS: Final = 60_000
"""What is read again: a venue may list a trade later than one that came after it, and its clock is not ours."""
_MOST_ASKED: Final = 20
"""Orders that are asked about, one by one, in each round."""
_STREAM_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_LEAST_PAUSE_S: Final = 0.2
"""Between two rounds, whatever happens: the lists are not to use up what the venue grants for orders."""
_QUIET_FACTOR: Final = 15
"""So many times less often the lists are read where a stream runs, or nothing is expected."""
_OWNER_AFTER_MS: Final = 120_000
"""For so long after a trade its order may not be shown yet. After that it is taken for nobody's here."""
_NOT_FOR_US: Final = frozenset({"ArgumentsRequired", "NotSupported", "AuthenticationError"})
"""What ends listening for good: it would never be otherwise."""
_ORDERS_EVERY: Final = 5
"""In so many rounds, one looks at orders that may have ended."""
_MOST_KNOWN: Final = 200_000
_CLOCK_EVERY_MS: Final = 600_000

Ask = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Returns what a question gets, or raises VenueError with what went wrong."""


class Unanswered(VenueError):
    """A question was not answered as it was meant. ``classes``: the names of the library's class and of those above it."""

    def __init__(self, told: str, classes: tuple[str, ...]) -> None:
        super().__init__(told)
        self.classes = classes


class Followed(msgspec.Struct, gc=False):
    """An order whose executions and end are to be told. ``since_ms``: when it was met first."""

    client_order_id: str
    instrument: str
    since_ms: int


class _News(msgspec.Struct, frozen=True, gc=False):
    """What a round found, not placed yet."""

    at_us: int
    key: tuple[str, str]
    trade: Trade | None
    ended: VenueOrder | None
    client_order_id: str


class Feed:
    """What one account does, told in order. ``call`` asks the venue; ``ask`` turns what goes wrong into VenueError."""

    def __init__(
        self,
        call: Any,
        manners: Manners,
        account: str,
        ask: Ask,
        *,
        poll_s: float,
        streams: bool,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._call = call
        self._manners = manners
        self._account = account
        self._ask = ask
        self._poll_s = poll_s
        self._streams = streams
        self._clock_ms = clock_ms
        self._clock_read_ms: int | None = None
        self.instruments: dict[str, None] = {}
        """What is followed, in the order in which it was met."""
        self._orders: dict[str, Followed] = {}
        """By the venue's number."""
        self._ids: dict[str, str] = {}
        """Client order ids by the venue's number."""
        self._told: set[tuple[str, str]] = set()
        """Trades that the stream now open has told."""
        self._place = 0
        """The last place that it gave."""
        self._woken = False
        """The lists are to be read soon."""
        self._heard: collections.deque[_News] = collections.deque()
        """What the streams told."""
        self._stirred = asyncio.Event()
        self._hurried = False
        """Something was executed or ended, as it seems: all lists are to be read."""
        self._round_s = 0.0
        """How long the last reading of the lists took."""

    def _now_ms(self) -> int:
        """Return the time by the venue's clock, as far as that is known: trades bear its time, not ours."""
        return self._clock_ms() + int(self._call.clock_difference_ms)

    # --------------------------------------------------------------- what is met

    def meet(self, instrument: str) -> None:
        """Follow an instrument from now on."""
        if instrument not in self.instruments:
            self.instruments[instrument] = None
            self._wake()

    def met(self, client_order_id: str, venue_order_id: str | None, instrument: str, *, over: bool = False) -> None:
        """Hear of an order of ours, by its number where that is known. ``over``: its end was told already."""
        self.meet(instrument)
        if not venue_order_id:
            return
        self._ids[venue_order_id] = client_order_id
        if over:
            self._orders.pop(venue_order_id, None)
        elif venue_order_id not in self._orders:
            self._orders[venue_order_id] = Followed(client_order_id, instrument, self._now_ms())
            self._stirred.set()  # no longer quiet; nothing says that there is news of it
        while len(self._ids) > _MOST_KNOWN:
            self._ids.pop(next(iter(self._ids)))

    # ------------------------------------------------------------------- streams

    async def follow(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        """Yield what happens after a place, as it comes. Raises VenueError where the venue cannot be asked."""
        self._place, self._told = after, set()
        since_ms = max(after // 1000 - OVERLAP_MS, 0)
        read_through: dict[str, int] = {}
        self._heard.clear()
        listeners = self._listeners()
        rounds = 0
        try:
            while True:
                self._woken = False
                begun_s = asyncio.get_running_loop().time()
                found, failure = await self._round(rounds, since_ms, read_through)
                self._round_s = asyncio.get_running_loop().time() - begun_s
                rounds += 1
                through_us = min(read_through.values(), default=self._now_ms()) * 1000
                for report in self._placed(found, through_us):
                    yield report
                if failure is not None:
                    raise failure
                async for news in self._until(listeners):
                    for report in self._placed([news], through_us):
                        yield report
        finally:
            for one in listeners:
                one.task.cancel()
            await asyncio.gather(*(one.task for one in listeners), return_exceptions=True)

    async def _round(
        self, rounds: int, since_ms: int, read_through: dict[str, int]
    ) -> tuple[list[_News], VenueError | None]:
        """Read the lists. Return what is new, and what went wrong with any of them; the others are read all the same."""
        if self._clock_read_ms is None or self._clock_ms() - self._clock_read_ms > _CLOCK_EVERY_MS:
            await self._call.read_clock()
            self._clock_read_ms = self._clock_ms()
        found: list[_News] = []
        failure: VenueError | None = None
        expected = {one.instrument for one in self._orders.values()}
        quiet_ms = self._poll_s * _QUIET_FACTOR * 999  # a little less than what is waited where nothing is expected
        for name in list(self.instruments):
            begun_ms = self._now_ms()
            read_ms = read_through.get(name)
            if read_ms is not None and name not in expected and not self._hurried and begun_ms < read_ms + quiet_ms:
                continue
            from_ms = min(read_through.get(name, since_ms + OVERLAP_MS), begun_ms) - OVERLAP_MS
            try:
                found += await self._trades(name, max(from_ms, 0))
            except VenueError as error:  # the others go on, and no place passes this one by
                failure = failure or error
                read_through.setdefault(name, since_ms + OVERLAP_MS)
            else:
                read_through[name] = begun_ms
        if self._hurried or rounds % _ORDERS_EVERY == 0:
            self._hurried = False
            try:
                await self._ends(found)
            except VenueError as error:
                failure = failure or error
        return found, failure

    def look_soon(self) -> None:
        """Have the lists read now: something was executed, or ended."""
        self._hurried = True
        self._wake()

    async def _until(self, listeners: Sequence["_Listener"]) -> AsyncGenerator[_News, None]:
        """Yield what the streams tell until it is time for the lists again."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        while True:
            while self._heard:
                yield self._heard.popleft()
            quiet = not self._orders or any(one.live for one in listeners)
            pause_s = self._poll_s * (_QUIET_FACTOR if quiet else 1)
            # Where questions wait for the rate limit, half of what it grants is left to those about single orders.
            pause_s = max(min(_LEAST_PAUSE_S, pause_s) if self._woken else pause_s, self._round_s)
            left_s = begun_s + pause_s - loop.time()
            if left_s <= 0:
                return
            self._stirred.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._stirred.wait()

    def _wake(self) -> None:
        self._woken = True
        self._stirred.set()

    def _placed(self, found: Iterable[_News], through_us: int) -> Iterable[ExecutionReport]:
        """Give each piece of news its place, and leave out what this stream has told."""
        for news in sorted(found, key=lambda one: (one.at_us, one.ended is not None, one.key)):
            if news.trade is not None and news.key in self._told:
                continue
            place = max(self._place + 1, min(news.at_us, through_us))
            report = self._report(news, place)
            if report is None:
                continue
            self._place = place
            if news.trade is not None:
                self._told.add(news.key)
            yield report

    def _report(self, news: _News, place: int) -> ExecutionReport | None:
        if news.trade is not None:
            try:
                return orders.trade_report(news.trade, self._account, news.client_order_id, place, news.key)
            except Strange as problem:
                raise VenueError(f"{problem}; nothing after it was taken in, and the lists are read again") from None
        return None if news.ended is None else orders.ending_report(news.ended, self._account, place, news.at_us)

    # --------------------------------------------------------------------- lists

    async def page(self, after: int) -> list[ExecutionReport]:
        """Return what there is after a place by now: for the place reached, what was not told; for an earlier one, all."""
        again = after < self._place or not self._place
        since_ms = max((after if again else self._place) // 1000 - OVERLAP_MS, 0)
        found: list[_News] = []
        for name in list(self.instruments):
            found += await self._trades(name, since_ms, again=again)
        # Asked again, everything gets the place that it got before: of two trades at one moment the second is not passed by.
        reports, place = [], 0 if again else after
        for news in sorted(found, key=lambda one: (one.at_us, one.key)):
            if not again and (news.key in self._told or news.at_us <= after != self._place):
                continue  # told by the stream, or on an earlier page of what it has not told
            place = max(place + 1, news.at_us)
            if place <= after:
                continue
            report = self._report(news, place)
            if report is not None:
                reports.append(report)
        return reports

    async def _trades(self, instrument: str, since_ms: int, *, again: bool = False) -> list[_News]:
        """Return the trades since a moment that this stream has not told, or all of them."""
        shown: Sequence[Trade] = await self._ask(self._manners.trades(self._call, instrument, since_ms))
        news = []
        for trade in shown:
            key = self._manners.trade_key(trade)
            if again or key not in self._told:
                news.append(await self._news(trade, key))
        return news

    async def _news(self, trade: Trade, key: tuple[str, str]) -> _News:
        client_order_id = self._manners.trade_client_order_id(trade) or self._ids.get(key[0])
        if client_order_id is None:
            client_order_id = await self._owner(key[0], str(trade["symbol"]), int(trade.get("timestamp") or 0))
        return _News(int(trade.get("timestamp") or 0) * 1000, key, trade, None, client_order_id)

    async def _owner(self, venue_order_id: str, instrument: str, traded_at_ms: int) -> str:
        """Return the client order id of an order, asked for once; empty where it has none: then it is not one of ours.

        Raises VenueError while its order is not shown, which is so for a moment after it was made.
        """
        if not venue_order_id:
            return ""
        shown = await self._by_number(venue_order_id, instrument)
        if shown is None and self._now_ms() < traded_at_ms + _OWNER_AFTER_MS:
            raise VenueError(
                f"the venue lists a trade of its order {venue_order_id} and does not show that order yet; it is asked again"
            )
        found = "" if shown is None else self._manners.client_order_id(shown)
        self._ids[venue_order_id] = found
        return found

    async def _by_number(self, venue_order_id: str, instrument: str) -> Order | None:
        """Return the order of a number, ``None`` where the venue shows none."""
        shown: Order | None = None
        try:
            shown = await self._ask(self._manners.find_by_number(self._call, venue_order_id, instrument))
        except Unanswered as error:
            if "OrderNotFound" not in error.classes:
                raise
        return shown

    async def owner(self, venue_order_id: str, instrument: str) -> str:
        """Return the client order id of an order; see :meth:`onefill.venues.ccxt.venue.CcxtVenue.owner`."""
        known = self._ids.get(venue_order_id)
        # Not shown is not kept as nobody's: the order may be too new.
        return await self._owner(venue_order_id, instrument, self._now_ms()) if known is None else known

    async def _ends(self, found: list[_News]) -> None:
        """Ask about followed orders that are not listed as live any more, and add what is over to ``found``."""
        for name in list(dict.fromkeys(one.instrument for one in self._orders.values())):
            shown = await self._ask(self._manners.open_orders(self._call, name))
            live = {str(one.get("id")) for one in shown}
            gone = [number for number, one in self._orders.items() if one.instrument == name and number not in live]
            for number in gone[:_MOST_ASKED]:
                found += await self._end_of(number)

    async def _end_of(self, venue_order_id: str) -> list[_News]:
        followed = self._orders.pop(venue_order_id)
        self._orders[venue_order_id] = followed  # the others come first next time
        shown = await self._by_number(venue_order_id, followed.instrument)
        if shown is None:
            return []  # some venues forget: what it became is not to be had, and what is told of others goes on
        expected = Expected(client_order_id=followed.client_order_id, instrument=followed.instrument)
        try:
            order = orders.venue_order(shown, expected, self._manners)
        except Strange as problem:
            raise VenueError(f"order {venue_order_id}: {problem}; it is asked about again") from None
        if order.status not in ENDED:
            return []
        news = [_News(self._now_ms() * 1000, (venue_order_id, ""), None, order, order.client_order_id)]
        if order.cum_quantity:
            # Executed long before it was met, perhaps: its trades are read from its beginning.
            begun_ms = int(shown.get("timestamp") or followed.since_ms) - OVERLAP_MS
            trades = await self._trades(followed.instrument, max(begun_ms, 0))
            news += [one for one in trades if one.key[0] == venue_order_id]
        self._orders.pop(venue_order_id, None)
        return news

    # ----------------------------------------------------------------- listening

    def _listeners(self) -> list["_Listener"]:
        if not self._streams:
            return []
        methods = {"watchMyTrades": self._heard_trades, "watchOrders": self._heard_orders}
        return [
            _Listener(self._call, method, hear, self.look_soon)
            for method, hear in methods.items()
            if self._call.has(method)
        ]

    async def _heard_trades(self, shown: Sequence[Trade]) -> None:
        for trade in shown:
            if trade.get("symbol") in self.instruments:
                # A copy: ccxt keeps its own, and writes another trade of the same id into it.
                heard = self._manners.heard_trade(dict(trade))
                if heard is None:
                    self.look_soon()
                    continue
                self._heard.append(await self._news(heard, self._manners.trade_key(heard)))
                self._stirred.set()

    async def _heard_orders(self, shown: Sequence[Order]) -> None:
        for one in shown:
            number, named = str(one.get("id") or ""), self._manners.client_order_id(one)
            if number and named:
                self._ids.setdefault(number, named)
            # Where trades have no stream of their own, what was executed shows in the order's total only.
            traded = not self._call.has("watchMyTrades") and bool(orders.number(one.get("filled")))
            if one.get("status") != "open" or traded:
                self.look_soon()


class _Listener:
    """Listens to one of ccxt's streams for as long as it lives; a break is told and it is opened again."""

    def __init__(
        self,
        call: Any,
        method: str,
        hear: Callable[[Sequence[Any]], Awaitable[None]],
        broken: Callable[[], None],
    ) -> None:
        self.live = False
        self.task = asyncio.ensure_future(self._run(call, method, hear, broken))

    async def _run(
        self,
        call: Any,
        method: str,
        hear: Callable[[Sequence[Any]], Awaitable[None]],
        broken: Callable[[], None],
    ) -> None:
        name = "watch_my_trades" if method == "watchMyTrades" else "watch_orders"
        pause_s = _STREAM_PAUSE_S
        while True:
            try:
                shown = await call.listen(name)
                if not self.live:
                    self.live, pause_s = True, _STREAM_PAUSE_S
                    broken()  # what came between the lists and the stream's beginning stands in the lists
                await hear(list(shown))
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a stream may fail in any way; the lists tell what it did not
                self.live = False
                if not _NOT_FOR_US.isdisjoint(ancestry([type(error)])):
                    return
                broken()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
