"""How Binance spot and USD-M are spoken to, through the real ccxt client against their imitations."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from adapter_kit import BTC, PERPETUAL, Calling, adapter, by_another, called, cancel, order, replace, run, started

from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRejected,
    DuplicateId,
    Found,
    Listed,
    NotFound,
    Rejected,
    Replaced,
    ReplaceRejected,
    TooLate,
    Unknown,
    VenueStatus,
)
from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.base import Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_rest import INSUFFICIENT_BALANCE, backend_timeout, unexpected_response
from onefill.sim.imitations.binance_usdm import BinanceUsdm
from onefill.venues.ccxt.binance import BinanceManners
from onefill.venues.ccxt.client import twin
from onefill.venues.ccxt.manners import manners_of

BOTH = pytest.mark.parametrize(("kind", "symbol"), [(BinanceSpot, BTC), (BinanceUsdm, PERPETUAL)])
Kind = Callable[..., Imitation]


class Clock:
    """A clock set by hand, for venue and client."""

    def __init__(self) -> None:
        self.now_us = 1_763_755_200_000_000

    def __call__(self) -> int:
        return self.now_us

    def forward(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now_us += int(seconds * 1_000_000)

    def drives(self, call: Calling) -> None:
        """Have a client go by this clock."""
        call.exchange.milliseconds = lambda: self.now_us // 1000


@BOTH
def test_an_order_is_sent_found_listed_and_cancelled(kind: Kind, symbol: str) -> None:
    """Accepted, Found by its id, among the open orders, Canceled: each shows the client order id that was given."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue) as ours:
            made = await ours.submit(order("mine-1", instrument=symbol))
            assert isinstance(made, Accepted)
            found = await ours.lookup("mine-1", "main", symbol)
            listed = await ours.open_orders("main")
            assert isinstance(found, Found)
            assert isinstance(listed, Listed)
            assert found.order == made.order
            assert listed.orders == (made.order,)
            canceled = await ours.cancel(cancel("mine-1", made.order.venue_order_id, symbol))
            assert isinstance(canceled, Canceled)
            assert (canceled.order.client_order_id, canceled.order.status) == ("mine-1", VenueStatus.CANCELED)
            assert isinstance(await ours.lookup("nobody", "main", symbol), NotFound)

    run(scenario)


@BOTH
def test_a_cancel_by_the_client_order_id_alone(kind: Kind, symbol: str) -> None:
    """A cancel needs no number; one of a dead order is CancelRejected."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue) as ours:
            await ours.submit(order("mine-1", instrument=symbol))
            assert isinstance(await ours.cancel(cancel("mine-1", None, symbol)), Canceled)
            assert isinstance(await ours.cancel(cancel("mine-1", None, symbol)), CancelRejected)

    run(scenario)


@BOTH
def test_the_time_left_is_the_requests_recv_window(kind: Kind, symbol: str) -> None:
    """An expiry becomes the recvWindow of the signed request; the venue refuses what is matched after it."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue) as ours:
            expires_at_us = venue.clock_us() + 2_000_000
            seen: list[dict[str, Any]] = []
            admit = venue.admit  # type: ignore[attr-defined]
            venue.admit = lambda params, key: (seen.append(dict(params)), admit(params, key))[1]  # type: ignore[attr-defined]
            await ours.submit(order("in-time", instrument=symbol, expires_at_us=expires_at_us))
            (sent,) = seen
            ends_at_ms = int(sent["timestamp"]) + int(sent["recvWindow"])
            assert ends_at_ms == expires_at_us // 1000
            # Also where time passes between the two, as in a process that stands still: the window does not move with it.
            later, stamp = 0, ours.manners.stamp

            def slow(signing: Any) -> None:
                nonlocal later
                stamp(signing)
                later = 1500

            raw, real = ours._client.raw, ours._client.raw.milliseconds
            ours.manners.stamp = slow  # type: ignore[method-assign]
            raw.__class__ = type("Slow", (type(raw),), {"milliseconds": lambda _: real() + later})
            ours._client.exchange = twin(raw)
            expires_at_us = venue.clock_us() + 2_000_000
            await ours.submit(order("stands-still", instrument=symbol, expires_at_us=expires_at_us))
            assert int(seen[-1]["timestamp"]) + int(seen[-1]["recvWindow"]) == expires_at_us // 1000
            ours.manners.stamp, later = stamp, 0  # type: ignore[method-assign]
            venue.queue_us = 3_000_000  # type: ignore[attr-defined]
            late = await ours.submit(order("late", instrument=symbol, expires_at_us=venue.clock_us() + 2_000_000))
            assert isinstance(late, TooLate)
            assert venue.exchange.counts().orders == 2

    run(scenario)


@BOTH
def test_no_window_is_longer_than_the_venue_takes(kind: Kind, symbol: str) -> None:
    """More than a minute is -1131; an expiry further away is stamped as a minute."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue) as ours:
            far = venue.clock_us() + 3_600_000_000
            assert isinstance(await ours.submit(order("far", instrument=symbol, expires_at_us=far)), Accepted)

    run(scenario)


@BOTH
def test_errors_are_told_apart_by_code_and_text(kind: Kind, symbol: str) -> None:
    """A duplicate, too little money, and -1006 and -1007 for orders that exist."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue) as ours:
            await ours.submit(order("mine-1", instrument=symbol))
            assert isinstance(await ours.submit(order("mine-1", instrument=symbol)), DuplicateId)
            venue.unheard.append(INSUFFICIENT_BALANCE)
            assert isinstance(await ours.submit(order("poor", instrument=symbol)), Rejected)
            for number, spoil in enumerate((unexpected_response, backend_timeout)):
                venue.spoilt.append(spoil)
                assert isinstance(await ours.submit(order(f"lost-{number}", instrument=symbol)), Unknown)
                assert isinstance(await ours.lookup(f"lost-{number}", "main", symbol), Found)

    run(scenario)


@BOTH
def test_a_market_order_takes_no_time_in_force(kind: Kind, symbol: str) -> None:
    """The venue refuses one (-1106): IOC is what a market order is anyway, and FOK is refused here, unsent."""

    async def scenario() -> None:
        async with started(kind()) as venue, adapter(venue) as ours:
            by_another(venue, "sell", "0.5", 100, symbol)
            market: dict[str, Any] = {"instrument": symbol, "order_type": OrderType.MARKET, "price": None}
            made = await ours.submit(order("ioc", time_in_force=TimeInForce.IOC, **market))
            assert isinstance(made, Accepted)
            assert (made.order.status, made.order.cum_quantity) == (VenueStatus.EXPIRED, Decimal("0.5"))
            refused = await ours.submit(order("fok", time_in_force=TimeInForce.FOK, **market))
            assert isinstance(refused, Rejected)
            assert venue.exchange.counts().orders == 2

    run(scenario)


def test_a_replace_on_spot_goes_on_under_the_new_id() -> None:
    """Replaced shows the new id, the wanted quantity and price; the old order is cancelled."""

    async def scenario() -> None:
        async with started(BinanceSpot()) as venue, adapter(venue) as ours:
            made = await ours.submit(order("one"))
            assert isinstance(made, Accepted)
            reply = await ours.replace(
                replace("one", 2, 101, client_order_id="two", venue_order_id=made.order.venue_order_id)
            )
            assert isinstance(reply, Replaced)
            assert (reply.order.client_order_id, reply.order.quantity, reply.order.price) == ("two", 2, 101)
            old = await ours.lookup("one", "main", BTC)
            assert isinstance(old, Found)
            assert old.order.status is VenueStatus.CANCELED

    run(scenario)


def test_a_replace_on_spot_of_what_has_traded_is_refused() -> None:
    """cancelReplace counts its quantity from zero, so it is asked for only if nothing was executed; else the order stays."""

    async def scenario() -> None:
        async with started(BinanceSpot()) as venue, adapter(venue) as ours:
            await ours.submit(order("one", quantity=3))
            by_another(venue, "sell", 1, 100)
            assert isinstance(await ours.replace(replace("one", 4, client_order_id="two")), ReplaceRejected)
            found = await ours.lookup("one", "main", BTC)
            assert isinstance(found, Found)
            assert (found.order.status, found.order.cum_quantity) == (VenueStatus.PARTIALLY_FILLED, 1)

    run(scenario)


def test_a_replace_on_spot_that_failed_by_half_is_unknown() -> None:
    """-2021: the old order is cancelled and the new one was refused. Neither done nor without effect: it is looked up."""

    async def scenario() -> None:
        async with started(BinanceSpot()) as venue, adapter(venue) as ours:
            await ours.submit(order("one"))
            await ours.submit(order("taken", price=90))
            assert isinstance(await ours.replace(replace("one", 2, 91, client_order_id="taken")), Unknown)
            found = await ours.lookup("one", "main", BTC)
            assert isinstance(found, Found)
            assert found.order.status is VenueStatus.CANCELED

    run(scenario)


def test_a_replace_on_spot_of_a_dead_order_is_refused() -> None:
    """-2022: nothing was cancelled and nothing made."""

    async def scenario() -> None:
        async with started(BinanceSpot()) as venue, adapter(venue) as ours:
            await ours.submit(order("one"))
            await ours.cancel(cancel("one"))
            assert isinstance(await ours.replace(replace("one", client_order_id="two")), ReplaceRejected)
            assert venue.exchange.counts().orders == 1

    run(scenario)


@pytest.mark.parametrize("by_number", [True, False])
def test_a_replace_on_futures_keeps_the_id_and_may_be_repeated(by_number: bool) -> None:
    """The same modify a second time is refused as changing nothing (-5027): the order is as wanted, and that is said."""

    async def scenario() -> None:
        async with started(BinanceUsdm()) as venue, adapter(venue) as ours:
            made = await ours.submit(order("one", quantity=3, instrument=PERPETUAL))
            assert isinstance(made, Accepted)
            by_another(venue, "sell", 1, 100, PERPETUAL)
            number = made.order.venue_order_id if by_number else None
            wanted = replace("one", 2, 99, instrument=PERPETUAL, venue_order_id=number)
            for _ in range(2):
                reply = await ours.replace(wanted)
                assert isinstance(reply, Replaced)
                assert reply.order.venue_order_id == made.order.venue_order_id
                assert (reply.order.quantity, reply.order.cum_quantity, reply.order.price) == (2, 1, 99)

    run(scenario)


def test_a_replace_on_futures_of_what_is_not_there_is_refused() -> None:
    """No number is sent where none was found."""

    async def scenario() -> None:
        async with started(BinanceUsdm()) as venue, adapter(venue) as ours:
            assert isinstance(await ours.replace(replace("one", instrument=PERPETUAL)), ReplaceRejected)
            assert venue.requests["PUT /fapi/v1/order"] == 0

    run(scenario)


# ------------------------------------------------------------------------ trades


@BOTH
@pytest.mark.parametrize("page", [3, 4, 1000])
def test_trades_are_read_to_the_last_page(kind: Kind, symbol: str, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the page's size: no trade is left out or told twice, though two share each id."""

    async def scenario() -> None:
        async with called(kind(), manners_of(kind.ccxt_id)) as (call, manners):
            monkeypatch.setattr(type(manners), "page", page)
            for price in range(100, 107):
                for side in ("buy", "sell"):
                    await call("create_order", symbol, "limit", side, 1, price)
            found = await manners.trades(call, symbol, call.exchange.milliseconds() - 60_000)
            assert len(found) == len({manners.trade_key(trade) for trade in found}) == 14
            assert [Decimal(trade["price"]) for trade in found] == [p for p in range(100, 107) for _ in "bs"]

    run(scenario)


@pytest.mark.parametrize(
    ("kind", "symbol", "ago_days"),
    [(BinanceSpot, BTC, days) for days in (0.5, 3, 20, 400)]
    + [(BinanceUsdm, PERPETUAL, days) for days in (0.5, 20, 150)],
)
def test_trades_are_found_however_long_ago(kind: Kind, symbol: str, ago_days: float) -> None:
    """The first trade after a moment is found over empty days, by spans or by halving the ids; earlier ones are left out."""

    async def scenario() -> None:
        clock = Clock()
        async with called(kind(clock_us=clock), manners_of(kind.ccxt_id)) as (call, manners):
            clock.drives(call)

            async def match(times: int) -> None:
                for _ in range(2 * times):
                    side = "sell" if venue_open() else "buy"
                    await call("create_order", symbol, "limit", side, 1, 100)
                    clock.forward(1)

            def venue_open() -> bool:
                return bool(call.calls.count("create_order") % 2)

            await match(40)
            clock.forward(3600)
            since_ms = clock() // 1000
            clock.forward(60)
            await match(3)
            clock.forward(ago_days * 86_400)
            await match(1)
            found = await manners.trades(call, symbol, since_ms)
            assert len(found) == 8
            assert all(int(trade["timestamp"]) >= since_ms for trade in found)
            assert call.calls.count("fetch_my_trades") <= 40
            assert await manners.trades(call, symbol, clock() // 1000) == []
            assert len(await manners.trades(call, symbol, 0)) == 88

    run(scenario)


@BOTH
def test_what_came_lately_is_read_with_one_question(kind: Kind, symbol: str) -> None:
    """As the adapter asks every second or so: each question weighs 20 of the 6,000 that an address has in a minute."""

    async def scenario() -> None:
        async with called(kind(), manners_of(kind.ccxt_id)) as (call, manners):
            await call("create_order", symbol, "limit", "buy", 1, 100)
            await call("create_order", symbol, "limit", "sell", 1, 100)
            assert len(await manners.trades(call, symbol, call.exchange.milliseconds() - 60_000)) == 2
            assert call.calls.count("fetch_my_trades") == 1

    run(scenario)


@BOTH
def test_where_nothing_was_ever_traded_there_is_nothing(kind: Kind, symbol: str) -> None:
    """Neither way of looking for the first trade stumbles over an account that has none."""

    async def scenario() -> None:
        async with called(kind(), manners_of(kind.ccxt_id)) as (call, manners):
            now_ms = call.exchange.milliseconds()
            assert await manners.trades(call, symbol, now_ms - 3_600_000) == []
            assert await manners.trades(call, symbol, 0) == []

    run(scenario)


@BOTH
def test_a_clock_that_is_behind_the_venues_hides_nothing(kind: Kind, symbol: str) -> None:
    """A moment that is still to come by our clock is asked about all the same."""

    async def scenario() -> None:
        clock = Clock()
        async with called(kind(clock_us=clock), manners_of(kind.ccxt_id)) as (call, manners):
            clock.drives(call)
            since_ms = clock() // 1000
            made = await call("create_order", symbol, "limit", "buy", 1, 100)
            await call("create_order", symbol, "market", "sell", 1)
            call.exchange.milliseconds = lambda: clock() // 1000 - 900
            assert len(await manners.trades(call, symbol, since_ms)) == 2
            assert made["id"] in {one["id"] for one in await manners.ended_orders(call, symbol, since_ms)}

    run(scenario)


@BOTH
def test_ended_orders_are_all_orders_since(kind: Kind, symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled ones too, which ccxt's own list of closed orders leaves out; and an older one that traded since."""

    async def scenario() -> None:
        clock = Clock()
        venue = kind(clock_us=clock)
        async with called(venue, manners_of(venue.ccxt_id)) as (call, manners):
            clock.drives(call)
            old = await call("create_order", symbol, "limit", "buy", 1, 90)
            clock.forward(10 * 86_400)
            since_ms = clock() // 1000
            monkeypatch.setattr(type(manners), "page", 2)
            ids = []
            for price in range(91, 96):
                made = await call("create_order", symbol, "limit", "buy", 1, price)
                clock.forward(0.5)
                ids.append(made["id"])
                await call("cancel_order", made["id"], symbol)
            by_another(venue, "sell", 1, 90, symbol)
            clock.forward(1)
            found = {one["id"]: one["status"] for one in await manners.ended_orders(call, symbol, since_ms)}
            assert found == {**dict.fromkeys(ids, "canceled"), old["id"]: "closed"}

    run(scenario)


@BOTH
def test_the_manners_are_found_by_ccxts_name(kind: Kind, symbol: str) -> None:
    """Both of ccxt's names lead to manners that follow the profile of the imitation."""
    imitation = kind()
    manners = manners_of(imitation.ccxt_id)
    assert issubclass(manners, BinanceManners)
    assert manners.profile == imitation.profile
    assert symbol in imitation.exchange.instruments
