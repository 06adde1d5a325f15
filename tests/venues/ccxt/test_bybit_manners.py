"""Bybit's manners, through the real client library against the imitation."""

from typing import Any

import ccxt.async_support as ccxt
import pytest
from adapter_kit import by_another, called, cancel, decided, order, place, replace, run

from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.bybit import RECENT, WEEK_MS, BybitImitation
from onefill.venues.ccxt import manners as base
from onefill.venues.ccxt.bybit import KEPT_MS, BybitManners
from onefill.venues.ccxt.orders import Strange

SYMBOL = "BTC/USDT"


def test_they_are_those_of_bybit() -> None:
    """Registered under the library's name, with the profile of the same name."""
    assert base.manners_of("bybit") is BybitManners
    assert BybitManners.profile == "bybit"


def test_a_new_order_carries_its_id_and_time_in_force() -> None:
    """``orderLinkId`` as the profile names it."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            made = await place(call, manners, order("one", time_in_force=TimeInForce.IOC))
            assert made["clientOrderId"] == "one"
            decided(imitation)
            found = await manners.find(call, "one", SYMBOL)
            assert found is not None
            assert (found["id"], found["clientOrderId"], found["timeInForce"]) == (made["id"], "one", "IOC")

    run(scenario)


def test_the_window_ends_at_the_expiry_and_is_that_requests_alone() -> None:
    """What is stamped is honoured by the venue, and the client's own setting stays what it was."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            seen: list[Any] = []
            fetch = call.exchange.fetch

            async def noted(url: str, method: str, headers: Any, body: Any) -> Any:
                seen.append(headers["X-BAPI-RECV-WINDOW"])
                return await fetch(url, method, headers, body)

            await manners.begin(call)
            call.exchange.fetch = noted
            call.stamped = 1234
            await place(call, manners, order("one"))
            call.stamped = None
            await manners.find(call, "one", SYMBOL)
            assert 0 < int(seen[0]) <= 1234
            assert set(seen[1:]) == {"5000"}
            assert call.exchange.options["recvWindow"] == 5000
            imitation.clock_us = lambda: 2_000_000_000_000_000  # far ahead of ours
            call.stamped = 2000
            with pytest.raises(ccxt.InvalidNonce, match='"retCode":10002'):
                await place(call, manners, order("two"))
            assert imitation.exchange.counts().too_late == 1

    run(scenario)


def test_an_order_is_found_by_either_id_live_or_over_recent_or_old() -> None:
    """Realtime first; history for what realtime has forgotten; ``None`` for what neither has."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            made = await place(call, manners, order("one"))
            assert await manners.find(call, "nothing", SYMBOL) is None
            assert await manners.find_by_number(call, "17", SYMBOL) is None
            decided(imitation)
            for prepare, state in (
                (lambda: None, "open"),
                (lambda: by_another(imitation, "sell", 1, 100), "closed"),
                (imitation.forget_recent, "closed"),
            ):
                prepare()
                by_id = await manners.find(call, "one", SYMBOL)
                by_number = await manners.find_by_number(call, made["id"], SYMBOL)
                assert by_id is not None
                assert by_number is not None
                assert (by_id["id"], by_id["status"]) == (by_number["id"], by_number["status"]) == (made["id"], state)
            assert imitation.requests["GET /v5/order/history"] == 4

    run(scenario)


def test_a_market_buy_of_spot_is_refused_on_a_classic_account() -> None:
    """There the library would send the quantity as an amount of the quote currency."""
    imitation = BybitImitation()
    market: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None}

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            call.exchange.options["enableUnifiedMargin"] = call.exchange.options["enableUnifiedAccount"] = False
            await manners.begin(call)
            assert "quote currency" in (manners.refuses(order("one", **market)) or "")
            for wanted in (
                order("one"),
                order("one", "sell", **market),
                order("one", **market, instrument="BTC/USDT:USDT"),
            ):
                assert manners.refuses(wanted) is None
            call.exchange.options["enableUnifiedAccount"] = True
            await manners.begin(call)
            assert manners.refuses(order("one", **market)) is None
            await place(call, manners, order("one", **market))
            assert imitation.exchange.all_orders()[0].quantity == 1

    run(scenario)


def test_of_several_orders_under_one_id_the_live_one_is_shown_else_the_latest() -> None:
    """An id may be used again once its order is over."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            numbers = []
            for _ in range(2):
                numbers.append((await place(call, manners, order("one")))["id"])
                by_another(imitation, "sell", 1, 100)
                at_us = imitation.clock_us() + 1000
                imitation.clock_us = lambda at_us=at_us: at_us
            found = await manners.find(call, "one", SYMBOL)
            assert found is not None
            assert found["id"] == numbers[1]
            live = await place(call, manners, order("one"))
            decided(imitation)
            found = await manners.find(call, "one", SYMBOL)
            assert found is not None
            assert (found["id"], found["status"]) == (live["id"], "open")

    run(scenario)


def test_a_part_that_traded_before_the_cancel_does_not_make_an_order_filled() -> None:
    """The library calls PartiallyFilledCanceled closed; here it is canceled."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            await place(call, manners, order("one", quantity=2))
            by_another(imitation, "sell", 1, 100)
            assert await manners.cancel(call, cancel("one")) is None
            for found in (await manners.find(call, "one", SYMBOL), (await manners.ended_orders(call, SYMBOL, 0))[0]):
                assert found is not None
                assert (found["status"], found["filled"]) == ("canceled", "1")

    run(scenario)


def test_a_cancel_names_the_number_where_it_is_known_and_the_id_otherwise() -> None:
    """Each once; a dead order is OrderNotFound, 170213."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            made = await place(call, manners, order("one"))
            await place(call, manners, order("two"))
            decided(imitation)
            await manners.cancel(call, cancel("one", made["id"]))
            await manners.cancel(call, cancel("two"))
            assert [one.status for one in imitation.exchange.all_orders()] == ["canceled", "canceled"]
            assert imitation.requests["POST /v5/order/cancel"] == 2
            with pytest.raises(ccxt.OrderNotFound, match='"retCode":170213'):
                await manners.cancel(call, cancel("two"))

    run(scenario)


def test_a_replace_names_the_order_by_either_and_keeps_its_id() -> None:
    """The quantity is the whole order's. The reply has ids only, so the order is looked at then."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            made = await place(call, manners, order("one"))
            decided(imitation)
            for venue_order_id, quantity in ((made["id"], 2), (None, 3)):
                wanted = replace("one", quantity, 99, venue_order_id=venue_order_id)
                shown = await manners.replace(call, wanted, "limit")
                assert (shown["id"], shown["clientOrderId"], shown["status"]) == (made["id"], "one", "open")
                assert (shown["amount"], shown["price"]) == (str(quantity), "99")

    run(scenario)


def test_what_became_of_an_amendment_that_was_taken_in_is_not_guessed() -> None:
    """The question behind it fails, or shows nothing: that is no refusal of the amendment."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            made = await place(call, manners, order("one"))
            decided(imitation)
            parse, shown = call.exchange.parse_orders, [[], OSError("cut")]

            def spoilt(*_: Any) -> Any:
                answer = shown[-1]
                if isinstance(answer, OSError):
                    raise answer
                return answer

            call.exchange.parse_orders = spoilt
            with pytest.raises(Strange, match="not known: OSError"):
                await manners.replace(call, replace("one", 2, venue_order_id=made["id"]), "limit")
            shown.pop()
            with pytest.raises(Strange, match="does not show the order"):
                await manners.replace(call, replace("one", 3, venue_order_id=made["id"]), "limit")
            call.exchange.parse_orders = parse
            found = await manners.find(call, "one", SYMBOL)
            assert found is not None
            assert (found["amount"], found["info"].get("rejectReason")) == ("3", None)

    run(scenario)


def test_every_live_order_is_listed_however_many_there_are() -> None:
    """Past the library's one page; of one instrument, and of all that is loaded."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            names = {f"o-{number}" for number in range(120)}
            for name in names:
                await place(call, manners, order(name))
            decided(imitation)
            for instrument in (SYMBOL, None):
                shown = await manners.open_orders(call, instrument)
                assert len(shown) == 120
                assert {manners.client_order_id(one) for one in shown} == names

    run(scenario)


def test_without_an_instrument_each_category_and_settlement_coin_is_asked_for() -> None:
    """The venue lists contracts by what they settle in, and the library asks for one coin only."""
    asked: list[Any] = []

    class Recorder:
        exchange = type(
            "Client",
            (),
            {
                "markets": {
                    symbol: {"spot": spot, "linear": linear, "inverse": inverse, "settleId": settle, "settle": settle}
                    for symbol, spot, linear, inverse, settle in (
                        ("BTC/USDT", True, None, None, None),
                        ("ETH/USDT", True, None, None, None),
                        ("BTC/USDT:USDT", False, True, False, "USDT"),
                        ("BTC/USDC:USDC", False, True, False, "USDC"),
                        ("BTC/USD:BTC", False, False, True, "BTC"),
                        ("BTC/USD:BTC-270326", False, False, True, "BTC"),
                    )
                }
            },
        )

        async def __call__(self, method: str, *arguments: Any) -> Any:
            asked.append((method, arguments[0], arguments[3]))
            return []

    async def scenario() -> None:
        assert await BybitManners().open_orders(Recorder(), None) == []

    run(scenario)
    assert asked == [
        ("fetch_open_orders", None, {"type": "spot"}),
        ("fetch_open_orders", None, {"type": "swap", "subType": "linear", "settleCoin": "USDT"}),
        ("fetch_open_orders", None, {"type": "swap", "subType": "linear", "settleCoin": "USDC"}),
        ("fetch_open_orders", None, {"type": "swap", "subType": "inverse", "settleCoin": "BTC"}),
    ]


def test_trades_are_read_to_the_end_page_by_page_and_week_by_week() -> None:
    """350 in one moment, newer ones in a later week: all of them, each once, oldest first, with their order's id."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            start_us = imitation.clock_us()
            for name, days, count in (("one", 0, 350), ("two", 8, 3), ("three", 20, 120)):
                at_us = start_us + days * 86_400_000_000
                imitation.clock_us = lambda at_us=at_us: at_us
                call.exchange.milliseconds = lambda at_us=at_us: at_us // 1000
                await place(call, manners, order(name, quantity=count))
                for _ in range(count):
                    by_another(imitation, "sell", 1, 100)
            trades = await manners.trades(call, SYMBOL, start_us // 1000)
            assert [manners.trade_client_order_id(one) for one in trades] == ["one"] * 350 + ["two"] * 3 + [
                "three"
            ] * 120
            assert len({manners.trade_key(one) for one in trades}) == 473
            assert len(await manners.trades(call, SYMBOL, start_us // 1000 + WEEK_MS)) == 123
            ended = await manners.ended_orders(call, SYMBOL, start_us // 1000)
            assert [manners.client_order_id(one) for one in ended] == ["one", "two", "three"]

    run(scenario)


def test_what_lies_before_the_venues_memory_is_not_asked_for() -> None:
    """From the beginning of time means from two years ago: about a hundred questions, not three thousand."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            assert await manners.trades(call, SYMBOL, 0) == []
            assert imitation.requests["GET /v5/execution/list"] == KEPT_MS // WEEK_MS + 1

    run(scenario)


def test_more_ended_orders_than_realtime_keeps_are_all_listed() -> None:
    """History is read to its end, fifty at a time."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with called(imitation, BybitManners) as (call, manners):
            since_ms = call.exchange.milliseconds() - 1000
            for number in range(RECENT + 20):
                await place(call, manners, order(f"o-{number}"))
            by_another(imitation, "sell", RECENT + 20, 100)
            ended = await manners.ended_orders(call, SYMBOL, since_ms)
            assert {manners.client_order_id(one) for one in ended} == {f"o-{number}" for number in range(RECENT + 20)}

    run(scenario)


def test_only_trades_are_taken_from_a_stream() -> None:
    """Deleveraging, liquidation and settlement stand in no list that the library asks for: the lists decide."""
    read = ccxt.bybit().parse_trade
    raw = {"symbol": "BTCUSDT", "category": "spot", "execId": "1", "orderId": "2", "orderLinkId": "one", "side": "Buy"}
    heard = {kind: BybitManners().heard_trade(read({**raw, "execType": kind})) for kind in ("Trade", "AdlTrade")}
    assert heard["AdlTrade"] is None
    assert heard["Trade"] is not None
    assert BybitManners().trade_key(heard["Trade"]) == ("2", "1")
