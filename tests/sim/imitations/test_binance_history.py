"""Binance spot as imitated: lists of trades and orders, and cancelReplace, asked by the real ccxt client."""

from typing import Any

import ccxt
from imitation_kit import Clock, failure, run, served

from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.order_book import chains

BTC = "BTC/USDT"
DAY_MS = 86_400_000


async def match(client: Any, times: int = 1) -> None:
    """Trade with oneself so many times."""
    for _ in range(times):
        await client.create_order(BTC, "limit", "buy", 1, 100)
        await client.create_order(BTC, "limit", "sell", 1, 100)


def test_both_sides_of_a_match_with_oneself_have_one_trade_id() -> None:
    """A trade id names the match: two orders of one account that trade with each other show the same id."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            await match(client)
            bought, sold = sorted(await client.fetch_my_trades(BTC), key=lambda one: one["side"])
            assert bought["id"] == sold["id"]
            assert bought["order"] != sold["order"]
            assert (bought["takerOrMaker"], sold["takerOrMaker"]) == ("maker", "taker")

    run(scenario)


def test_trades_are_paged_by_id() -> None:
    """fromId includes the trade it names; pages of two lead through all trades in order."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            await match(client, 3)
            everything = [(one["id"], one["order"]) for one in await client.fetch_my_trades(BTC)]
            assert len(everything) == 6
            from_second = await client.fetch_my_trades(BTC, None, 3, {"fromId": everything[2][0]})
            assert [(one["id"], one["order"]) for one in from_second] == everything[2:5]
            latest = await client.fetch_my_trades(BTC, None, 2)
            assert [(one["id"], one["order"]) for one in latest] == everything[4:]

    run(scenario)


def test_a_span_of_trades_is_at_most_a_day() -> None:
    """A beginning alone reaches one day; a longer span is -1127; a beginning beside fromId is -1128."""

    async def scenario() -> None:
        clock = Clock()
        async with served(BinanceSpot(clock_us=clock)) as client:
            start = clock() // 1000
            await match(client)
            clock.forward(30 * 3600)
            client.milliseconds = lambda: clock() // 1000
            await match(client)
            assert len(await client.fetch_my_trades(BTC, start)) == 2
            assert len(await client.fetch_my_trades(BTC, start + DAY_MS)) == 2
            assert len(await client.fetch_my_trades(BTC)) == 4
            asked = client.fetch_my_trades(BTC, start, 10, {"until": start + DAY_MS + 1})
            assert "-1127" in await failure(ccxt.BadRequest, asked)
            both = client.fetch_my_trades(BTC, start, 10, {"fromId": 1})
            assert "-1128" in await failure(ccxt.BadRequest, both)

    run(scenario)


def test_orders_are_listed_from_an_id_and_by_a_span() -> None:
    """allOrders lists dead orders too: from an order id on, or those made in a span of at most a day."""

    async def scenario() -> None:
        clock = Clock()
        async with served(BinanceSpot(clock_us=clock)) as client:
            made = [await client.create_order(BTC, "limit", "buy", 1, price) for price in (90, 91, 92)]
            await client.cancel_order(made[1]["id"], BTC)
            ids = [one["id"] for one in made]
            listed = await client.fetch_orders(BTC, None, None, {"orderId": int(ids[1])})
            assert [(one["id"], one["status"]) for one in listed] == [(ids[1], "canceled"), (ids[2], "open")]
            since = clock() // 1000 - 60_000
            assert [one["id"] for one in await client.fetch_orders(BTC, since, 2)] == ids[:2]
            far = client.fetch_orders(BTC, since, None, {"until": since + DAY_MS + 1})
            assert "-1127" in await failure(ccxt.BadRequest, far)

    run(scenario)


def test_an_edit_ends_the_order_and_begins_another() -> None:
    """cancelReplace: another number and id, the first is cancelled, and for a judge one order goes on."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            first = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "one"})
            second = await client.edit_order(first["id"], BTC, "limit", "buy", 2, 101, {"clientOrderId": "two"})
            assert (second["clientOrderId"], second["amount"], second["price"]) == ("two", 2, 101)
            assert second["id"] != first["id"]
            assert (await client.fetch_order(first["id"], BTC))["status"] == "canceled"
            assert len(chains(venue.exchange.all_orders())) == 1

    run(scenario)


def test_what_the_old_order_traded_is_no_part_of_the_new_one() -> None:
    """The quantity of a cancelReplace counts from zero: a partly filled order goes on with that much more."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            first = await client.create_order(BTC, "limit", "buy", 3, 100)
            await client.create_order(BTC, "limit", "sell", 2, 100)
            second = await client.edit_order(first["id"], BTC, "limit", "buy", 3, 100)
            assert (second["amount"], second["filled"], second["status"]) == (3, 0, "open")
            found = await client.fetch_order(second["id"], BTC)
            assert (found["amount"], found["filled"]) == (3, 0)

    run(scenario)


def test_an_edit_may_be_restricted_to_orders_that_have_not_traded() -> None:
    """cancelRestrictions ONLY_NEW: a partly filled order stays as it is, with -2022 and both halves of what happened."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            first = await client.create_order(BTC, "limit", "buy", 3, 100)
            await client.create_order(BTC, "limit", "sell", 2, 100)
            edit = client.edit_order(first["id"], BTC, "limit", "buy", 3, 99, {"cancelRestrictions": "ONLY_NEW"})
            text = await failure(ccxt.ExchangeError, edit)
            assert "-2022" in text
            assert "NOT_ATTEMPTED" in text
            assert "cancel restrictions" in text
            assert (await client.fetch_order(first["id"], BTC))["status"] == "open"

    run(scenario)


def test_an_edit_of_a_dead_order_makes_nothing() -> None:
    """STOP_ON_FAILURE: where there is nothing to cancel, nothing is made."""

    async def scenario() -> None:
        venue = BinanceSpot()
        async with served(venue) as client:
            first = await client.create_order(BTC, "limit", "buy", 1, 100)
            await client.cancel_order(first["id"], BTC)
            edit = client.edit_order(first["id"], BTC, "limit", "buy", 1, 99)
            assert "-2022" in await failure(ccxt.ExchangeError, edit)
            assert venue.exchange.counts().orders == 1

    run(scenario)


def test_an_edit_can_fail_by_half() -> None:
    """-2021: the new order was refused, here for its id, and the old one is cancelled all the same."""

    async def scenario() -> None:
        async with served(BinanceSpot()) as client:
            await client.create_order(BTC, "limit", "buy", 1, 90, {"clientOrderId": "taken"})
            first = await client.create_order(BTC, "limit", "buy", 1, 100)
            edit = client.edit_order(first["id"], BTC, "limit", "buy", 1, 99, {"clientOrderId": "taken"})
            text = await failure(ccxt.ExchangeError, edit)
            assert "-2021" in text
            assert "Duplicate order sent." in text
            assert (await client.fetch_order(first["id"], BTC))["status"] == "canceled"

    run(scenario)
