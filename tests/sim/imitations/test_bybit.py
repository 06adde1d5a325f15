"""The imitation of Bybit answers the real client library as the venue's documentation says."""

from typing import Any

import ccxt.async_support as ccxt
import msgspec
import pytest
from client_kit import by_another, decided
from imitation_kit import Clock, run, served

from onefill.sim.dialect import Dialect, capabilities_of
from onefill.sim.imitations.bybit import FORGOTTEN_MS, RECENT, WEEK_MS, BybitImitation
from onefill.venues.profile import load

SYMBOL = "BTC/USDT"


async def buy(client: Any, link: str | None, quantity: float = 1, price: float = 100, **other: Any) -> Any:
    """Have a limit order made, with or without an id."""
    params = other if link is None else {"orderLinkId": link, **other}
    return await client.create_order(SYMBOL, "limit", "buy", quantity, price, params)


def test_it_promises_what_the_profile_says() -> None:
    """The dialect is coded to the profile, in all that the retry contract reads; what is forgotten is the imitation's part."""
    profile, dialect = load("bybit").capabilities, capabilities_of(BybitImitation.dialect)
    assert msgspec.structs.replace(dialect, lookup_forgets_after_s=FORGOTTEN_MS / 1000) == profile


def test_markets_are_those_of_the_exchange_with_its_steps() -> None:
    """The library makes of the instruments the exchange's own symbols and steps."""

    async def scenario() -> None:
        async with served(BybitImitation()) as client:
            assert client.symbols == [SYMBOL]
            market = client.markets[SYMBOL]
            assert (market["id"], market["type"]) == ("BTCUSDT", "spot")
            assert market["precision"] == {"amount": 1e-08, "price": 0.01}
            assert abs(await client.fetch_time() - client.milliseconds()) < 60_000

    run(scenario)


def test_a_new_order_is_answered_with_ids_only_and_is_not_to_be_found_before_it_is_decided() -> None:
    """The acknowledgement is asynchronous: found nowhere at first, live a moment later."""
    imitation = BybitImitation(dialect=Dialect(acknowledges_asynchronously=True, acknowledge_delay_us=3_600_000_000))

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, "one", 0.5, 100.25)
            assert (len(made["id"]), made["clientOrderId"], made["status"]) == (19, "one", None)
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order(made["id"], SYMBOL, {"acknowledged": True})
            assert await client.fetch_open_orders(SYMBOL) == []
            decided(imitation)
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"], shown["status"]) == (made["id"], "one", "open")
            assert (shown["amount"], shown["price"], shown["filled"]) == (0.5, 100.25, 0)

    run(scenario)


def test_an_order_that_breaks_the_instruments_rules_is_taken_in_and_rejected_later() -> None:
    """Only history tells, with the reason."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            body = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "orderLinkId": "one"}
            reply = await client.private_post_v5_order_create({**body, "qty": "1", "price": "100.001"})
            assert reply["retCode"] == 0
            decided(imitation)
            (shown,) = await client.fetch_canceled_and_closed_orders(SYMBOL, None, None, {"orderLinkId": "one"})
            assert shown["status"] == "rejected"
            assert "multiple of 0.01" in shown["info"]["rejectReason"]

    run(scenario)


def test_an_id_is_refused_while_its_order_is_open_and_taken_again_once_it_is_filled() -> None:
    """170141, InvalidOrder to the library; the narrower of the venue's two statements on ids."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first = await buy(client, "one")
            with pytest.raises(ccxt.InvalidOrder, match='"retCode":170141'):
                await buy(client, "one")
            by_another(imitation, "sell", 1, 100)
            second = await buy(client, "one")
            decided(imitation)
            assert second["id"] != first["id"]
            shown = await client.fetch_open_orders(SYMBOL, None, None, {"orderLinkId": "one"})
            assert {one["id"]: one["status"] for one in shown} == {first["id"]: "closed", second["id"]: "open"}
            assert imitation.exchange.counts().duplicates == 1

    run(scenario)


def test_orders_without_an_id_are_all_taken() -> None:
    """What a plain script does: nothing tells its second order from the first."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            assert (await buy(client, None))["clientOrderId"] is None
            await buy(client, None)
            decided(imitation)
            shown = await client.fetch_open_orders(SYMBOL)
            assert [one["clientOrderId"] for one in shown] == [None, None]

    run(scenario)


def test_a_request_outside_its_window_is_refused() -> None:
    """10002 for what comes late, by ``X-BAPI-RECV-WINDOW``, and for what is dated a second ahead; nothing is made of it."""
    clock = Clock()
    imitation = BybitImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation) as client:
            client.options["recvWindow"] = 2000
            for seconds in (3, -2):
                clock.ahead_us = seconds * 1_000_000
                with pytest.raises(ccxt.InvalidNonce, match='"retCode":10002'):
                    await buy(client, "one")
                with pytest.raises(ccxt.InvalidNonce, match='"retCode":10002'):
                    await client.cancel_order(None, SYMBOL, {"orderLinkId": "one"})
                with pytest.raises(ccxt.InvalidNonce, match='"retCode":10002'):
                    await client.fetch_open_orders(SYMBOL)
            clock.ahead_us = 1 * 1_000_000
            await buy(client, "one")
            assert imitation.exchange.counts().orders == 1

    run(scenario)


def test_the_librarys_fetch_sends_none_as_a_number_and_finds_nothing() -> None:
    """A trap: ``fetch_order(None, ..., {"orderLinkId": ...})`` asks for ``orderId=None``, which goes before the id."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, "one")
            decided(imitation)
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order(None, SYMBOL, {"orderLinkId": "one", "acknowledged": True})
            found = await client.fetch_order(made["id"], SYMBOL, {"acknowledged": True})
            assert found["clientOrderId"] == "one"

    run(scenario)


def test_realtime_shows_the_last_500_that_are_over_and_history_all_of_them() -> None:
    """After a restart of the venue only history knows what is over."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, "one")
            by_another(imitation, "sell", 1, 100)
            assert await client.fetch_open_orders(SYMBOL) == []
            found = await client.fetch_order(made["id"], SYMBOL, {"acknowledged": True})
            assert (found["status"], found["filled"], found["average"]) == ("closed", 1, 100)
            imitation.forget_recent()
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order(made["id"], SYMBOL, {"acknowledged": True})
            (shown,) = await client.fetch_closed_orders(SYMBOL)
            assert (shown["id"], shown["status"]) == (made["id"], "closed")

    run(scenario)


def test_history_forgets_after_a_day_what_was_cancelled_without_a_trade() -> None:
    """What was executed stays."""
    clock = Clock()
    imitation = BybitImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation) as client:
            client.options["recvWindow"] = WEEK_MS
            for link in ("traded", "untouched"):
                await buy(client, link, 2)
            by_another(imitation, "sell", 1, 100)
            for link in ("traded", "untouched"):
                await client.cancel_order(None, SYMBOL, {"orderLinkId": link})
            imitation.forget_recent()
            assert len(await client.fetch_canceled_and_closed_orders(SYMBOL)) == 2
            clock.forward(FORGOTTEN_MS / 1000 + 60)
            (shown,) = await client.fetch_canceled_and_closed_orders(SYMBOL)
            assert shown["clientOrderId"] == "traded"
            assert await client.fetch_canceled_and_closed_orders(SYMBOL, None, None, {"orderLinkId": "untouched"}) == []

    run(scenario)


def test_only_500_orders_that_are_over_stay_in_realtime() -> None:
    """The one before them is left to history."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = [await buy(client, None) for _ in range(RECENT + 1)]
            by_another(imitation, "sell", RECENT + 1, 100)
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order(made[0]["id"], SYMBOL, {"acknowledged": True})
            assert (await client.fetch_order(made[1]["id"], SYMBOL, {"acknowledged": True}))["status"] == "closed"

    run(scenario)


def test_a_cancel_names_either_id_and_one_of_a_dead_order_is_refused() -> None:
    """170213, OrderNotFound to the library, for what is over and for what never was."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first, _ = await buy(client, "one"), await buy(client, "two")
            decided(imitation)
            assert (await client.cancel_order(first["id"], SYMBOL))["clientOrderId"] == "one"
            assert (await client.cancel_order(None, SYMBOL, {"orderLinkId": "two"}))["clientOrderId"] == "two"
            for number, params in ((first["id"], {}), (None, {"orderLinkId": "two"}), (None, {"orderLinkId": "3"})):
                with pytest.raises(ccxt.OrderNotFound, match='"retCode":170213'):
                    await client.cancel_order(number, SYMBOL, params)
            assert [one["status"] for one in await client.fetch_canceled_orders(SYMBOL)] == ["canceled"] * 2

    run(scenario)


def test_what_is_cancelled_after_a_part_has_traded_is_closed_to_the_library() -> None:
    """A trap: PartiallyFilledCanceled reads ``closed``, as if it were filled."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, "one", 2)
            by_another(imitation, "sell", 1, 100)
            await client.cancel_order(made["id"], SYMBOL)
            found = await client.fetch_order(made["id"], SYMBOL, {"acknowledged": True})
            assert found["info"]["orderStatus"] == "PartiallyFilledCanceled"
            assert (found["status"], found["filled"], found["amount"]) == ("closed", 1, 2)

    run(scenario)


def test_an_amendment_keeps_ids_and_counts_what_is_executed() -> None:
    """``qty`` is the order's whole quantity; below what is executed it is refused."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, "one", 2)
            by_another(imitation, "sell", 1, 100)
            edited = await client.edit_order(made["id"], SYMBOL, "limit", "buy", 3, 99)
            assert (edited["id"], edited["clientOrderId"]) == (made["id"], "one")
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["amount"], shown["price"], shown["filled"]) == (made["id"], 3, 99, 1)
            with pytest.raises(ccxt.BadRequest, match="below what is executed"):
                await client.edit_order(None, SYMBOL, "limit", "buy", 0.5, 99, {"orderLinkId": "one"})
            with pytest.raises(ccxt.OrderNotFound, match='"retCode":170213'):
                await client.edit_order(None, SYMBOL, "limit", "buy", 1, 99, {"orderLinkId": "two"})

    run(scenario)


def test_market_and_passing_orders() -> None:
    """Market, IOC and FOK orders end at once with what there is to trade with."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, "sell", 1.5, 100)
            await client.create_order(SYMBOL, "market", "buy", 0.5, None, {"orderLinkId": "market"})
            await buy(client, "fok", 2, 100, timeInForce="FOK")
            await buy(client, "ioc", 2, 100, timeInForce="IOC")
            decided(imitation)
            shown = await client.fetch_canceled_and_closed_orders(SYMBOL)
            raw = {one["clientOrderId"]: (one["info"]["orderStatus"], one["filled"], one["average"]) for one in shown}
            assert raw["market"] == ("Filled", 0.5, 100)
            assert raw["ioc"] == ("PartiallyFilledCanceled", 1, 100)
            assert raw["fok"] == ("Cancelled", 0, None)

    run(scenario)


def test_lists_come_page_by_page_and_the_library_shows_one_page() -> None:
    """A trap: of 25 live orders ``fetch_open_orders`` shows 20, and says nothing of the rest. The cursor leads on."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            for number in range(25):
                await buy(client, f"o-{number}")
            decided(imitation)
            page = await client.fetch_open_orders(SYMBOL)
            assert len(page) == 20
            cursor = next(one["info"]["nextPageCursor"] for one in page if "nextPageCursor" in one["info"])
            rest = await client.fetch_open_orders(SYMBOL, None, None, {"cursor": cursor})
            assert {one["clientOrderId"] for one in page + rest} == {f"o-{number}" for number in range(25)}

    run(scenario)


def test_executions_are_told_one_by_one_for_a_week_at_most() -> None:
    """Each with ids of its order; a week from the start if no end is given, never more."""
    clock = Clock()
    imitation = BybitImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation) as client:
            client.options["recvWindow"] = 2 * WEEK_MS
            made = await buy(client, "one", 3)
            by_another(imitation, "sell", 1, 100)
            by_another(imitation, "sell", 2, 99)
            start = client.milliseconds() - 60_000
            trades = await client.fetch_my_trades(SYMBOL, start)
            assert [(one["order"], one["amount"], one["price"]) for one in trades] == [
                (made["id"], 1, 100),
                (made["id"], 2, 100),
            ]
            assert len({one["id"] for one in trades}) == 2
            assert trades[0]["info"]["orderLinkId"] == "one"
            clock.ahead_us = int((WEEK_MS / 1000 + 3600) * 1_000_000)
            assert await client.fetch_my_trades(SYMBOL) == []
            assert len(await client.fetch_my_trades(SYMBOL, start)) == 2
            assert await client.fetch_my_trades(SYMBOL, start - WEEK_MS - 1) == []
            with pytest.raises(ccxt.BadRequest, match="7 days"):
                await client.fetch_my_trades(SYMBOL, start, None, {"endTime": start + WEEK_MS + 1})

    run(scenario)


def test_balances_follow_trades_and_live_orders() -> None:
    """What is bought is there, what is paid is not, and what is on offer is bound."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            before = await client.fetch_balance()
            await buy(client, "one", 2)
            by_another(imitation, "sell", 1, 100)
            after = await client.fetch_balance()
            assert after["BTC"]["total"] - before["BTC"]["total"] == 1
            assert after["USDT"]["total"] - before["USDT"]["total"] == -100
            assert after["USDT"]["used"] == 100

    run(scenario)


def test_an_unknown_key_is_refused_and_the_account_is_a_unified_one() -> None:
    """10003. The library asks once which kind of account it is, before its first order."""
    imitation = BybitImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            await buy(client, "one")
            await buy(client, "two")
            assert imitation.requests["GET /v5/user/query-api"] == imitation.requests["GET /v5/account/info"] == 1
            assert client.options["enableUnifiedAccount"] is True
            client.apiKey = "another"
            with pytest.raises(ccxt.AuthenticationError, match='"retCode":10003'):
                await buy(client, "three")

    run(scenario)


def test_what_is_too_much_or_makes_no_sense_is_refused() -> None:
    """10006 for the rate, 170121 for the symbol, 10001 and 170130 for parameters."""
    imitation = BybitImitation(dialect=Dialect(requests_per_s=1))

    async def scenario() -> None:
        async with served(imitation) as client:
            order = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "price": "1"}
            for wrong, code in (
                ({"symbol": "ACME"}, 170121),
                ({"category": "linear"}, 10001),
                ({"qty": "1e3"}, 10001),
                ({"qty": "1", "timeInForce": "DAY"}, 170130),
                ({"qty": "1", "orderType": "Market"}, 170130),
            ):
                with pytest.raises((ccxt.BadRequest, ccxt.InvalidOrder), match=f'"retCode":{code}'):
                    await client.private_post_v5_order_create({**order, **wrong})
            await buy(client, "one")
            with pytest.raises(ccxt.RateLimitExceeded, match='"retCode":10006'):
                await buy(client, "two")

    run(scenario)
