"""Kraken's manners: client ids in full, deadlines when signed, and questions that miss nothing, against the imitation."""

from unittest.mock import ANY

import ccxt.async_support as ccxt
import pytest
from adapter_kit import by_another, called, cancel, order, place, replace, run

from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.venues.ccxt.kraken import Kraken, rfc3339
from onefill.venues.ccxt.manners import Signing, manners_of
from onefill.venues.ccxt.orders import Strange
from onefill.venues.last_look import KeptBack
from onefill.venues.profile import load

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
NOW_MS = 1_763_755_200_000


def test_an_order_is_found_by_its_client_id_open_and_ended() -> None:
    """Among open orders, else among closed ones; nothing under an id that was never sent."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with called(imitation, Kraken) as (call, manners):
            assert await manners.find(call, FIRST, SYMBOL) is None
            made = await place(call, manners, order(FIRST))
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["status"], manners.client_order_id(shown)) == (made["id"], "open", FIRST)
            assert (shown["amount"], shown["price"]) == ("1.00000000", "100.00")
            by_another(imitation, "sell", "1", "100")
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["status"], shown["filled"]) == (made["id"], "closed", "1.00000000")
            by_number = await manners.find_by_number(call, made["id"], SYMBOL)
            assert by_number is not None
            assert manners.client_order_id(by_number) == FIRST

    run(scenario)


def test_of_two_orders_under_one_id_the_open_one_is_found_else_the_later_one() -> None:
    """As the venue allows an id again once its order has ended."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with called(imitation, Kraken) as (call, manners):
            by_another(imitation, "sell", "1", "100")
            first = await place(call, manners, order(FIRST))
            second = await place(call, manners, order(FIRST))
            assert first["id"] != second["id"]
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert shown["id"] == second["id"]
            await manners.cancel(call, cancel(FIRST))
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["status"]) == (second["id"], "canceled")

    run(scenario)


@pytest.mark.parametrize("bears", [None, SECOND])
def test_an_order_that_does_not_bear_the_id_is_never_taken_for_it(bears: str | None) -> None:
    """Should the venue pass over what it was asked for, it decides nothing: neither is it found, nor is it not there."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with called(imitation, Kraken) as (call, manners):

            class PassesOver:
                exchange = call.exchange

                async def __call__(self, method: str, asked: dict[str, str]) -> object:
                    return await call(method, {name: value for name, value in asked.items() if name != "cl_ord_id"})

            await call("create_order", SYMBOL, "limit", "buy", 1, 100, {} if bears is None else {"cl_ord_id": bears})
            with pytest.raises(Strange, match="do not bear it"):
                await manners.find(PassesOver(), FIRST, SYMBOL)
            (live,) = await manners.open_orders(call, SYMBOL)
            await call("cancel_order", live["id"], SYMBOL)
            with pytest.raises(Strange, match="do not bear it"):
                await manners.find(PassesOver(), FIRST, SYMBOL)

    run(scenario)


def test_an_id_shown_as_a_uuid_with_hyphens_is_the_same() -> None:
    """Whichever way the venue writes it."""
    shown = {"info": {"cl_ord_id": "11111111-1111-1111-1111-111111111111"}}
    assert _manners().client_order_id(shown) == FIRST


def test_a_cancel_names_number_or_client_id_and_shows_no_order() -> None:
    """The reply is a count, so nothing is made of it."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with called(imitation, Kraken) as (call, manners):
            await place(call, manners, order(FIRST))
            second = await place(call, manners, order(SECOND))
            assert await manners.cancel(call, cancel(FIRST)) is None
            assert await manners.cancel(call, cancel(SECOND, second["id"])) is None
            assert await manners.open_orders(call, SYMBOL) == []
            with pytest.raises(ccxt.OrderNotFound):
                await manners.cancel(call, cancel(FIRST))

    run(scenario)


@pytest.mark.parametrize("by_number", [True, False])
def test_a_replace_amends_and_shows_the_orders_number_not_the_amends(by_number: bool) -> None:
    """ccxt's reply carries the amend's id as if it were the order's."""

    async def scenario() -> None:
        async with called(KrakenImitation(), Kraken) as (call, manners):
            made = await place(call, manners, order(FIRST))
            number = made["id"] if by_number else None
            shown = await manners.replace(call, replace(FIRST, 2, 101, venue_order_id=number), "limit")
            assert (shown["id"], shown["clientOrderId"]) == (made["id"], FIRST)
            assert (shown["amount"], shown["price"], shown["filled"]) == ("2.00000000", "101.00", "0.00000000")
            assert await manners.find(call, FIRST, SYMBOL) == {**shown, "trades": [], "info": ANY}

    run(scenario)


def test_all_trades_since_a_moment_are_read_though_they_come_fifty_at_a_time() -> None:
    """Oldest first, each once and without a gap, though new ones push the older ones on while they are read."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with called(imitation, Kraken) as (call, manners):
            by_another(imitation, "sell", "200", "100")
            for number in range(120):
                await place(call, manners, order(f"{number:032x}"))
            reads = 0

            class Meanwhile:
                exchange = call.exchange

                async def __call__(self, method: str, *arguments: object) -> object:
                    nonlocal reads
                    answer = await call(method, *arguments)
                    reads += 1
                    if reads == 1:
                        for number in range(120, 180):
                            await place(call, manners, order(f"{number:032x}"))
                    return answer

            trades = await manners.trades(Meanwhile(), SYMBOL, 0)
            everything = await manners.trades(call, SYMBOL, 0)
            keys = [manners.trade_key(one) for one in everything]
            assert len(set(keys)) == len(keys) == 180
            seen = {manners.trade_key(one) for one in trades}
            assert len(seen) == len(trades) >= 120
            unseen = [one["timestamp"] for one in everything if manners.trade_key(one) not in seen]
            assert min(unseen) >= trades[-1]["timestamp"]
            assert [one["timestamp"] for one in trades] == sorted(one["timestamp"] for one in trades)
            assert (trades[0]["amount"], trades[0]["price"]) == ("1.00000000", "100.00")
            last = int(everything[-1]["timestamp"])
            later = [manners.trade_key(one) for one in await manners.trades(call, SYMBOL, last)]
            assert later == [manners.trade_key(one) for one in everything if one["timestamp"] == last]
            assert await manners.trades(call, SYMBOL, last + 60_000) == []

    run(scenario, 60.0)


def test_orders_that_ended_since_a_moment_are_all_listed() -> None:
    """Also one that began before, and more than a page of them."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with called(imitation, Kraken) as (call, manners):
            long_ago = await place(call, manners, order(FIRST))
            for number in range(60):
                await place(call, manners, order(f"{number:032x}", time_in_force=TimeInForce.IOC))
            await place(call, manners, order(SECOND))
            await manners.cancel(call, cancel(FIRST))
            ended = await manners.ended_orders(call, SYMBOL, 0)
            assert len(ended) == 61
            assert long_ago["id"] in {one["id"] for one in ended}
            assert [one["clientOrderId"] for one in await manners.open_orders(call, None)] == [SECOND]
            assert await manners.ended_orders(call, SYMBOL, imitation.clock_us() // 1000 + 60_000) == []

    run(scenario)


def test_the_deadline_is_stamped_when_the_request_is_signed() -> None:
    """As a moment in the venue's form, on orders and amends alone; never later than the request's own expiry."""
    manners = _manners()
    for path in ("AddOrder", "AmendOrder"):
        signing = Signing("POST", path, ["private"], {"pair": "XBTUSDT"}, NOW_MS + 4_250, NOW_MS)
        manners.stamp(signing)
        assert signing.params == {"pair": "XBTUSDT", "deadline": "2025-11-21T20:00:04.250Z"}
    far = Signing("POST", "AddOrder", ["private"], {}, NOW_MS + 600_000, NOW_MS)
    manners.stamp(far)
    assert far.params["deadline"] == rfc3339(NOW_MS + 59_000)
    question = Signing("POST", "OpenOrders", ["private"], {}, NOW_MS + 4_250, NOW_MS)
    manners.stamp(question)
    assert question.params == {}


def test_a_deadline_nearer_than_the_venue_takes_keeps_the_request_back() -> None:
    """Below 2 s the venue refuses it anyway, in words that say nothing about lateness: it is not sent."""
    with pytest.raises(KeptBack, match="1999 ms"):
        _manners().stamp(Signing("POST", "AddOrder", ["private"], {}, NOW_MS + 1_999, NOW_MS))


@pytest.mark.parametrize("given", ['"volume": 2', '"cost": 50', '"oflags": "viqc"', '"validate": true', '"price": 90'])
def test_parameters_that_would_make_another_order_are_refused(given: str) -> None:
    """Unsent: ccxt lets them take the place of what the order itself says, or nothing is made of it."""
    manners = _manners()
    assert manners.refuses(order(FIRST)) is None
    assert manners.refuses(order(FIRST, parameters='{"oflags": "post"}')) is None
    assert "parameters" in (manners.refuses(order(FIRST, parameters=f"{{{given}}}")) or "")


def test_a_market_order_passes_without_a_time_in_force_and_never_whole_or_not_at_all() -> None:
    """It ends by itself; the venue has none that is filled whole or not at all."""
    manners = _manners()
    market = {"order_type": OrderType.MARKET, "price": None}
    assert manners.new_order(order(FIRST, time_in_force=TimeInForce.IOC, **market)) == {"cl_ord_id": FIRST}
    assert "whole" in (manners.refuses(order(FIRST, time_in_force=TimeInForce.FOK, **market)) or "")
    assert manners.new_order(order(FIRST, time_in_force=TimeInForce.FOK))["timeInForce"] == "FOK"


def test_the_manners_are_known_by_the_librarys_name() -> None:
    """And by no other class."""
    assert manners_of("kraken") is Kraken
    assert Kraken.profile == "kraken"
    assert _manners().client_id(THIRD) == {"cl_ord_id": THIRD}


def _manners() -> Kraken:
    return Kraken(load("kraken").wire)
