"""What an account did is told once, in order and without a gap, from lists that lag, fail and repeat themselves."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import pytest
from tests.engine import virtual_loop

from onefill.core.client_errors import ancestry
from onefill.core.errors import VenueError
from onefill.core.messages import ExecutionKind, ExecutionReport
from onefill.venues.ccxt.feed import OVERLAP_MS, Feed, Unanswered
from onefill.venues.ccxt.manners import Manners

START_MS = 1_795_000_000_000
A, B = "BTC/USDT", "ETH/USDT"


class OrderNotFound(Exception):
    """Named as ccxt's."""


class FakeVenue:
    """Lists what a test puts there; ``clock_difference_ms`` is by how much its clock is ahead of ours."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, ahead_ms: int = 0) -> None:
        self.loop = loop
        self.clock_difference_ms = ahead_ms
        self.trades: list[dict[str, Any]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.failing: set[str] = set()
        self.asked: list[tuple[str, Any]] = []
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.streams = False

    @property
    def exchange(self) -> Any:
        """There is no client behind it."""
        return self

    def now_ms(self) -> int:
        """Our clock."""
        return START_MS + round(self.loop.time() * 1000)

    def has(self, method: str) -> bool:
        """Tell whether there is a stream."""
        return self.streams and method == "watchMyTrades"

    async def read_clock(self) -> None:
        """The difference stands."""

    async def listen(self, method: str) -> Any:
        """Return what the stream tells next, or break."""
        assert method == "watch_my_trades"
        told = await self.told.get()
        if isinstance(told, Exception):
            raise told
        return told

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Answer as a venue that pages by time."""
        self.asked.append((method, arguments))
        if method == "fetch_my_trades":
            symbol, since_ms, limit = arguments
            if symbol in self.failing:
                raise ConnectionError("no way there")
            shown = [one for one in self.trades if one["symbol"] == symbol and one["timestamp"] >= since_ms]
            return sorted(shown, key=lambda one: one["timestamp"])[:limit]
        if method == "fetch_open_orders":
            return [one for one in self.orders.values() if one["status"] == "open" and one["symbol"] == arguments[0]]
        if method == "fetch_order":
            if arguments[0] not in self.orders:
                raise OrderNotFound(arguments[0])
            return self.orders[arguments[0]]
        raise AssertionError(method)

    def order(self, number: str, *, status: str = "open", filled: str = "0", symbol: str = A) -> dict[str, Any]:
        """Put an order there."""
        self.orders[number] = {
            "id": number,
            "clientOrderId": f"c{number}",
            "symbol": symbol,
            "side": "buy",
            "type": "limit",
            "amount": "2",
            "price": "100",
            "filled": filled,
            "status": status,
            "timestamp": self.now_ms() + self.clock_difference_ms,
        }
        return self.orders[number]

    def trade(self, name: str, number: str, *, symbol: str = A, at_ms: int | None = None) -> dict[str, Any]:
        """Put a trade there."""
        at_ms = self.now_ms() + self.clock_difference_ms if at_ms is None else at_ms
        made: dict[str, Any] = {"id": name, "order": number, "symbol": symbol, "side": "buy", "timestamp": at_ms}
        made |= {"amount": "1", "price": "100", "fee": {"cost": "0.1", "currency": "USDT"}}
        self.trades.append(made)
        return made


async def ask(question: Awaitable[Any]) -> Any:
    """Turn what goes wrong into VenueError, as the adapter does."""
    try:
        return await question
    except Exception as error:  # noqa: BLE001 - as the adapter does
        raise Unanswered(str(error), ancestry([type(error)])) from None


class Told:
    """Follows a feed and keeps what it tells; begins again after an error, as a route does."""

    def __init__(self, feed: Feed, after: int) -> None:
        self.reports: list[ExecutionReport] = []
        self.failures: list[str] = []
        self.task = asyncio.ensure_future(self._follow(feed, after))

    async def _follow(self, feed: Feed, after: int) -> None:
        while True:
            try:
                async for report in feed.follow(after):
                    assert report.position > after
                    after = report.position
                    self.reports.append(report)
            except VenueError as error:
                self.failures.append(str(error))
                await asyncio.sleep(0.1)

    @property
    def trades(self) -> list[str]:
        """The trades told, by id."""
        return [one.execution_id for one in self.reports if one.kind is ExecutionKind.TRADE]

    async def stop(self) -> None:
        """Stop following."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def feed_of(venue: FakeVenue, *, poll_s: float = 1.0) -> Feed:
    """Return a feed of one account."""
    return Feed(venue, Manners(), "main", ask, poll_s=poll_s, streams=venue.streams, clock_ms=venue.now_ms)


def play(scene: Any) -> None:
    """Play a scene in virtual time."""
    virtual_loop.run(scene)


def test_trades_are_told_once_with_their_orders_id_and_exact_numbers() -> None:
    """A trade bears the client id of its order, which is asked for once; reading the list again tells nothing twice."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        feed.meet(A)
        told = Told(feed, START_MS * 1000)
        venue.order("1")
        venue.trade("t1", "1")
        venue.trade("t2", "1")
        await asyncio.sleep(60)
        assert told.trades == ["t1", "t2"]
        first = told.reports[0]
        assert (first.client_order_id, first.venue_order_id) == ("c1", "1")
        assert (str(first.last_quantity), str(first.last_price), str(first.fee)) == ("1", "100", "0.1")
        assert sum(method == "fetch_order" for method, _ in venue.asked) == 1
        await told.stop()

    play(scene)


def test_a_trade_that_is_listed_late_is_told_all_the_same() -> None:
    """A trade that shows up after a later one of the same account is told, under a place that rises."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        feed.met("c1", "1", A)
        venue.order("1")
        told = Told(feed, START_MS * 1000)
        await asyncio.sleep(5)
        venue.trade("later", "1")
        await asyncio.sleep(3)
        venue.trade("earlier", "1", at_ms=START_MS + 2_000)
        await asyncio.sleep(5)
        assert told.trades == ["later", "earlier"]
        assert told.reports[0].position < told.reports[1].position
        await told.stop()

    play(scene)


def test_reading_on_from_any_place_misses_nothing_of_any_instrument() -> None:
    """While one instrument cannot be read, the others are told; whoever begins again from any place gets what was missed."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        for number, symbol in (("1", A), ("2", B)):
            venue.order(number, symbol=symbol)
            feed.met(f"c{number}", number, symbol)
        told = Told(feed, START_MS * 1000)
        await asyncio.sleep(2)
        venue.failing = {B}
        venue.trade("b1", "2", symbol=B)
        await asyncio.sleep(2 * OVERLAP_MS / 1000)
        venue.trade("a1", "1")
        await asyncio.sleep(5)
        assert "a1" in told.trades
        assert "b1" not in told.trades
        assert any("no way there" in failure for failure in told.failures)
        await told.stop()
        venue.failing = set()
        again = feed_of(venue)  # another process, from the durable place
        for number, symbol in (("1", A), ("2", B)):
            again.met(f"c{number}", number, symbol)
        anew = Told(again, told.reports[-1].position)
        await asyncio.sleep(2)
        assert "b1" in anew.trades
        await anew.stop()

    play(scene)


def test_a_clock_of_the_venue_that_is_minutes_off_hides_nothing() -> None:
    """Trades bear the venue's time. Where its clock is far behind or ahead of ours, all of them are told."""
    for ahead_ms in (-600_000, 600_000):

        async def scene(ahead_ms: int = ahead_ms) -> None:
            venue = FakeVenue(asyncio.get_running_loop(), ahead_ms=ahead_ms)
            feed = feed_of(venue)
            feed.met("c1", "1", A)
            venue.order("1")
            told = Told(feed, (START_MS + ahead_ms) * 1000)
            for number in range(5):
                await asyncio.sleep(30)
                venue.trade(f"t{number}", "1")
            await asyncio.sleep(5)
            assert told.trades == [f"t{number}" for number in range(5)]
            await told.stop()

        play(scene)


def test_an_order_that_ends_without_a_trade_is_told_and_one_that_traded_after_its_trades() -> None:
    """The end of a followed order is told once; its own executions come first, also those from before it was followed."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        for number in ("1", "2"):
            venue.order(number)
            feed.met(f"c{number}", number, A)
        told = Told(feed, START_MS * 1000)
        venue.trade("t1", "2")
        await asyncio.sleep(3)
        venue.order("1", status="canceled")
        venue.order("2", status="canceled", filled="1")
        await asyncio.sleep(30)
        kinds = [(one.client_order_id, one.kind) for one in told.reports]
        assert kinds.count(("c1", ExecutionKind.CANCELED)) == kinds.count(("c2", ExecutionKind.CANCELED)) == 1
        assert kinds.index(("c2", ExecutionKind.TRADE)) < kinds.index(("c2", ExecutionKind.CANCELED))
        assert str(next(one for one in told.reports if one.kind is ExecutionKind.CANCELED).cum_quantity) in "01"
        await told.stop()

    play(scene)


def test_an_order_that_cannot_be_told_does_not_keep_others_from_being_asked_about() -> None:
    """More orders than one round asks about are gone, the first of them unreadable: all the others' ends are told."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        for number in range(50):
            venue.order(str(number), status="canceled")
            feed.met(f"c{number}", str(number), A)
        for number in range(20):
            venue.orders[str(number)]["status"] = "closed"
            venue.orders[str(number)]["amount"] = None  # not to be read
        told = Told(feed, START_MS * 1000)
        await asyncio.sleep(120)
        assert {one.client_order_id for one in told.reports} == {f"c{number}" for number in range(20, 50)}
        await told.stop()

    play(scene)


def test_a_trade_whose_order_is_not_shown_yet_waits_and_then_counts_as_a_strangers() -> None:
    """Right after it was made an order may not be found: its trade is held back. Two minutes later it is nobody's here."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        feed.meet(A)
        told = Told(feed, START_MS * 1000)
        venue.trade("young", "7")
        await asyncio.sleep(20)
        assert told.trades == []
        venue.order("7")
        await asyncio.sleep(20)
        assert [(one.execution_id, one.client_order_id) for one in told.reports] == [("young", "c7")]
        venue.trade("strange", "8")
        await asyncio.sleep(60)
        assert told.trades == ["young"]
        await asyncio.sleep(90)
        stranger = next(one for one in told.reports if one.execution_id == "strange")
        assert stranger.client_order_id == ""
        await told.stop()

    play(scene)


def test_a_stream_makes_news_come_sooner_and_its_gap_is_filled_from_the_lists() -> None:
    """A trade told by the stream comes at once; one that was missed while the stream was broken comes from the list."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        venue.streams = True
        feed = feed_of(venue, poll_s=10)
        feed.met("c1", "1", A)
        venue.order("1")
        told = Told(feed, START_MS * 1000)
        await asyncio.sleep(1)
        venue.told.put_nowait([venue.trade("heard", "1")])
        await asyncio.sleep(0.5)
        assert told.trades == ["heard"]
        venue.told.put_nowait(ConnectionError("the stream broke"))
        venue.trade("missed", "1")
        await asyncio.sleep(2)
        assert told.trades == ["heard", "missed"]
        venue.told.put_nowait([venue.trades[0], venue.trade("again", "1")])
        await asyncio.sleep(1)
        assert told.trades == ["heard", "missed", "again"]
        await told.stop()

    play(scene)


def test_a_page_tells_what_the_stream_has_not_and_an_earlier_place_tells_all_again() -> None:
    """From the place that the stream has reached there is only what it has not told; from before it, everything since."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue, poll_s=5)
        feed.met("c1", "1", A)
        venue.order("1")
        begin = START_MS * 1000
        told = Told(feed, begin)
        venue.trade("t1", "1", at_ms=START_MS + 1)
        await asyncio.sleep(11)
        reached = told.reports[-1].position
        assert await feed.page(reached) == []
        venue.trade("t2", "1")
        assert [one.execution_id for one in await feed.page(reached)] == ["t2"]
        whole = await feed.page(begin)
        assert [one.execution_id for one in whole] == ["t1", "t2"]
        assert await feed.page(whole[-1].position) in ([], whole[1:])
        await told.stop()

    play(scene)


def test_all_pages_are_read_also_where_many_trades_bear_one_moment() -> None:
    """Pages are read until one is short; trades on the border of a page are neither lost nor told twice."""

    class Small(Manners):
        page = 3

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        venue.order("1")
        for number in range(8):
            venue.trade(f"t{number}", "1", at_ms=START_MS + number // 2)
        found: Sequence[Mapping[str, Any]] = await Small().trades(venue, A, START_MS)
        assert [one["id"] for one in found] == [f"t{number}" for number in range(8)]

    play(scene)


def test_where_nothing_is_expected_the_venue_is_asked_seldom() -> None:
    """Without orders that may trade the lists are read fifteen times less often; without an instrument, not at all."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        told = Told(feed, START_MS * 1000)
        await asyncio.sleep(60)
        assert venue.asked == []
        feed.meet(A)
        await asyncio.sleep(150)
        asked = len(venue.asked)
        assert 8 <= asked <= 12
        venue.order("1")
        feed.met("c1", "1", A)
        await asyncio.sleep(30)
        assert len(venue.asked) - asked >= 30
        await told.stop()

    play(scene)


@pytest.mark.parametrize("missing", ["price", "amount", "side"])
def test_a_trade_that_cannot_be_read_stops_the_stream_and_says_so(missing: str) -> None:
    """A trade without a number is not made up and not passed by: the stream breaks with the reason."""

    async def scene() -> None:
        venue = FakeVenue(asyncio.get_running_loop())
        feed = feed_of(venue)
        feed.met("c1", "1", A)
        venue.order("1")
        venue.trade("t1", "1")[missing] = None
        told = Told(feed, START_MS * 1000)
        await asyncio.sleep(3)
        assert told.trades == []
        assert all("'t1'" in failure for failure in told.failures)
        assert told.failures
        await told.stop()

    play(scene)
