"""Bitstamp's manners against its imitation: what the venue's own methods show and the client library leaves out."""

import ccxt.async_support as ccxt
import pytest
from adapter_kit import by_another, called, cancel, connected, order, place, replace, run

from onefill.core.messages import Accepted, ExecutionKind, Found, TooLate, Unknown
from onefill.core.values import TimeInForce
from onefill.sim.imitations.bitstamp import GOOD_FOR_US, BitstampImitation
from onefill.venues.ccxt.bitstamp import Bitstamp
from onefill.venues.ccxt.manners import manners_of

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32


def test_an_order_is_found_with_its_quantity_and_while_it_is_live_with_its_price() -> None:
    """Quantity is what is left and what was traded; the price stands in the list of open orders only."""
    imitation = BitstampImitation()

    async def scenario() -> None:
        async with called(imitation, Bitstamp) as (call, manners):
            made = await place(call, manners, order(FIRST, quantity=3))
            by_another(imitation, "sell", "1.25", "100")
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["side"], shown["status"]) == (made["id"], "buy", "open")
            assert (shown["amount"], shown["filled"], shown["price"]) == ("3", "1.25", "100")
            by_another(imitation, "sell", "1.75", "100")
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["status"], shown["amount"], shown["filled"]) == ("closed", "3", "3")
            assert shown.get("price") is None
            with pytest.raises(ccxt.OrderNotFound):
                await manners.find(call, SECOND, SYMBOL)

    run(scenario)


def test_open_orders_are_listed_with_the_quantity_that_they_began_with() -> None:
    """Also where the venue does not list that: each order is then asked about."""
    imitation = BitstampImitation()

    async def scenario() -> None:
        async with called(imitation, Bitstamp) as (call, manners):
            await place(call, manners, order(FIRST, quantity=3))
            await place(call, manners, order(SECOND, "sell", 1, 200))
            by_another(imitation, "sell", "1", "100")
            whole = imitation._open_orders

            def without(form: dict[str, str]) -> object:
                listed = whole(form)
                assert isinstance(listed, list)
                return [{name: value for name, value in one.items() if name != "amount_at_create"} for one in listed]

            for shows in (whole, without):
                imitation._open_orders = shows
                listed = {one["clientOrderId"]: one for one in await manners.open_orders(call, SYMBOL)}
                assert listed.keys() == {FIRST, SECOND}
                first, second = listed[FIRST], listed[SECOND]
                assert [float(first[name]) for name in ("amount", "filled", "price")] == [3, 1, 100]
                assert (first["side"], second["side"], float(second["filled"])) == ("buy", "sell", 0)

    run(scenario)


def test_a_cancel_takes_either_name_and_shows_nothing() -> None:
    """By number, or by client id without a number; a dead order is not found."""
    imitation = BitstampImitation()

    async def scenario() -> None:
        async with called(imitation, Bitstamp) as (call, manners):
            made = await place(call, manners, order(FIRST))
            await place(call, manners, order(SECOND))
            assert await manners.cancel(call, cancel(FIRST, made["id"])) is None
            assert await manners.cancel(call, cancel(SECOND)) is None
            assert await manners.open_orders(call, None) == []
            for dead in (cancel(FIRST, made["id"]), cancel(SECOND)):
                with pytest.raises(ccxt.OrderNotFound):
                    await manners.cancel(call, dead)

    run(scenario)


def test_an_order_that_has_traded_is_not_replaced() -> None:
    """The new order's amount would count from zero; before any trade the replace goes out, and its reply is read right."""
    imitation = BitstampImitation()

    async def scenario() -> None:
        async with called(imitation, Bitstamp) as (call, manners):
            await place(call, manners, order(FIRST, quantity=3))
            shown = await manners.replace(call, replace(FIRST, 4, 101, client_order_id=SECOND), "limit")
            assert manners.client_order_id(shown) in ("", SECOND)
            (listed,) = await manners.open_orders(call, SYMBOL)
            assert (listed["id"], listed["clientOrderId"], float(listed["amount"])) == (shown["id"], SECOND, 4)
            by_another(imitation, "sell", "1", "101")
            with pytest.raises(ccxt.InvalidOrder, match="has traded"):
                await manners.replace(call, replace(SECOND, 5, 102, client_order_id=THIRD), "limit")
            assert imitation.exchange.counts().replaces == 1

    run(scenario)


def test_trades_are_read_page_by_page_back_to_the_moment() -> None:
    """None is missed, whatever the page, and what came before the moment is left out; each names its order's number."""
    imitation = BitstampImitation()

    async def scenario() -> None:
        async with called(imitation, Bitstamp) as (call, manners):
            made = await place(call, manners, order(FIRST, quantity=7))
            for _ in range(7):
                by_another(imitation, "sell", "1", "100")
            everything = await manners.trades(call, SYMBOL, 0)
            assert len(everything) == 7
            assert {manners.trade_key(one)[0] for one in everything} == {made["id"]}
            for size in (1, 2, 7, 8):
                manners.page = size  # type: ignore[misc]
                assert await manners.trades(call, SYMBOL, 0) == everything
            since_ms = int(everything[3]["timestamp"])
            assert await manners.trades(call, SYMBOL, since_ms) == [
                one for one in everything if int(one["timestamp"]) >= since_ms
            ]

    run(scenario)


def test_times_in_force_go_out_as_switches() -> None:
    """What is to trade at once does, and does not rest."""
    imitation = BitstampImitation()

    async def scenario() -> None:
        async with called(imitation, Bitstamp) as (call, manners):
            by_another(imitation, "sell", "1", "100")
            await place(call, manners, order(FIRST, quantity=2, time_in_force=TimeInForce.FOK))
            await place(call, manners, order(SECOND, quantity=2, time_in_force=TimeInForce.IOC))
            for name, traded in ((FIRST, "0"), (SECOND, "1")):
                shown = await manners.find(call, name, SYMBOL)
                assert shown is not None
                assert (shown["status"], float(shown["filled"])) == ("canceled", float(traded))

    run(scenario)


def test_an_order_that_is_over_is_not_compared_but_its_end_is_told() -> None:
    """After a restart a look-up of it is Unknown, for its price is not shown; the stream then tells what became of it."""

    async def scenario() -> None:
        async with connected(BitstampImitation) as (venue, imitation, _):
            request = order(FIRST)
            assert isinstance(await venue.submit(request), Accepted)
            assert isinstance(await venue.lookup(FIRST, request.account, SYMBOL), Found)
            assert (await venue.cancel(cancel(FIRST))) is not None
            reply = await venue.lookup(FIRST, request.account, SYMBOL)
            assert isinstance(reply, Unknown)
            assert reply.answered
            assert "without its price" in reply.reason
            async for report in venue.stream(imitation.clock_us() - 60_000_000):
                assert (report.kind, report.client_order_id) == (ExecutionKind.CANCELED, FIRST)
                break

    run(scenario)


def test_a_request_that_comes_too_late_is_told_as_that() -> None:
    """The signature's 150 seconds are all that ends a request there: after them it makes no order, and says so."""

    async def scenario() -> None:
        async with connected(BitstampImitation) as (venue, imitation, clock):
            clock.ahead_us = GOOD_FOR_US + 1_000_000
            assert isinstance(await venue.submit(order(FIRST)), TooLate)
            assert imitation.exchange.counts().submits == 0

    run(scenario)


def test_the_venue_is_known_by_its_name() -> None:
    """These manners are those of what ccxt calls bitstamp."""
    assert manners_of("bitstamp") is Bitstamp
