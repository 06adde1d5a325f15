"""The imitation of Deribit, driven by the real client: what it answers is what that client reads."""

from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import pytest
from imitation_kit import by_another, imitated, run

from onefill.sim.imitations.deribit import RECENT_ORDERS_US, RECENT_TRADES_US, DeribitImitation
from onefill.sim.imitations.known import IMITATIONS
from onefill.venues.profile import load

BTC = "BTC/USDT"
SWAP = "BTC/USDC:USDC"


def test_it_is_registered_under_its_profile_and_behaves_as_the_profile_says() -> None:
    """The dialect's habits are those of the profile that it is coded to."""
    assert IMITATIONS["deribit"] is DeribitImitation
    believed, dialect = load("deribit").capabilities, DeribitImitation.dialect
    for name in ("unique_scope", "duplicate_reply", "lookup", "replace", "cancel_by_client_order_id"):
        assert getattr(dialect, name) is getattr(believed, name), name
    assert (dialect.request_expiry_s, dialect.tells_positions) == (believed.request_expiry_s, True)


def test_its_markets_are_read_by_the_client() -> None:
    """A spot pair and a linear perpetual, each with the steps of the core's instrument."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            markets = await client.load_markets()
            assert set(markets) == {BTC, SWAP}
            assert (markets[BTC]["id"], markets[BTC]["type"]) == ("BTC_USDT", "spot")
            assert (markets[SWAP]["id"], markets[SWAP]["type"], markets[SWAP]["linear"]) == (
                "BTC_USDC-PERPETUAL",
                "swap",
                True,
            )
            for symbol, listed in imitation.exchange.instruments.items():
                assert markets[symbol]["precision"]["price"] == float(listed.price_tick)
                assert markets[symbol]["limits"]["amount"]["min"] == float(listed.min_quantity)
            assert await client.fetch_time() > 0

    run(scenario)


def test_orders_cancels_and_edits_go_out_as_get() -> None:
    """No order is ever sent with POST, which is what lets HTTP clients send one again by themselves."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            order = await client.create_order(BTC, "limit", "buy", 2, 100, {"label": "mine"})
            await client.edit_order(order["id"], BTC, "limit", "buy", 3, 101)
            await client.cancel_order(order["id"], BTC)
            methods = {key.split()[0] for key in imitation.requests}
            assert methods == {"GET"}
            for what in ("buy", "edit", "cancel"):
                assert imitation.requests[f"GET /api/v2/private/{what}"] == 1

    run(scenario)


def test_an_order_trades_and_shows_exact_numbers() -> None:
    """Average price and trades of a reply are those of what it traded with; the label comes back."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            by_another(imitation, BTC, "sell", "1", "100")
            by_another(imitation, BTC, "sell", "2", "103")
            order = await client.create_order(BTC, "market", "buy", 3, None, {"label": "mine"})
            assert (order["status"], order["filled"], order["average"]) == ("closed", 3.0, 102.0)
            assert [trade["amount"] for trade in order["trades"]] == [1.0, 2.0]
            assert {trade["order"] for trade in order["trades"]} == {order["id"]}
            assert order["info"]["label"] == "mine"
            assert order["clientOrderId"] is None, "ccxt does not read the label"
            assert order["id"].startswith("BTC_USDT-")

    run(scenario)


def test_a_label_is_a_remark_and_nothing_is_refused_for_it() -> None:
    """Two orders under one label are two orders, and both are shown by it; so are two without any label."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            first = await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "twice"})
            second = await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "twice"})
            assert first["id"] != second["id"]
            shown = await client.private_get_get_order_state_by_label({"currency": "BTC", "label": "twice"})
            assert [one["order_id"] for one in shown["result"]] == [first["id"], second["id"]]
            for _ in range(2):
                nameless = await client.create_order(BTC, "limit", "buy", 1, 100)
                assert nameless["info"]["label"] == ""
            assert len(imitation.exchange.all_orders()) == 4

    run(scenario)


def test_orders_are_shown_by_their_currency_only() -> None:
    """A swap is listed under what it is settled in, a spot pair under its base; the wrong currency shows nothing."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, _, _clock):
            await client.create_order(SWAP, "limit", "buy", 1, 100, {"label": "swap"})
            assert len(await by_label(client, "swap", "USDC")) == 1
            assert await by_label(client, "swap", "BTC") == []
            assert await client.fetch_open_orders() == [], "ccxt asks for BTC where no symbol is given"
            every = await client.private_get_get_open_orders()
            assert len(every["result"]) == 1

    run(scenario)


def test_an_order_after_its_valid_until_is_refused_as_timed_out() -> None:
    """Code 13888, which ccxt does not know: a bare ExchangeError whose text has the code. Nothing was made."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, clock):
            valid_until = client.milliseconds() + 3000
            clock.ahead_us = 3_500_000
            with pytest.raises(ccxt.ExchangeError, match=r'13888.*"timed_out"') as caught:
                await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "late", "valid_until": valid_until})
            assert type(caught.value) is ccxt.ExchangeError
            order = await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "late"})
            with pytest.raises(ccxt.ExchangeError, match="timed_out"):
                await client.edit_order(order["id"], BTC, "limit", "buy", 2, 100, {"valid_until": valid_until})
            assert len(imitation.exchange.all_orders()) == 1
            assert imitation.exchange.counts().too_late == 2

    run(scenario)


def test_cancels_of_orders_that_ended_have_two_codes() -> None:
    """Filled: 10010, which ccxt calls OrderNotFound; cancelled: 11044, which it calls InvalidOrder; unknown: 10004."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            by_another(imitation, BTC, "sell", "1", "100")
            filled = await client.create_order(BTC, "limit", "buy", 1, 100)
            with pytest.raises(ccxt.OrderNotFound, match="10010"):
                await client.cancel_order(filled["id"], BTC)
            resting = await client.create_order(BTC, "limit", "buy", 1, 90)
            ended = await client.cancel_order(resting["id"], BTC)
            assert (ended["status"], ended["info"]["cancel_reason"]) == ("canceled", "user_request")
            with pytest.raises(ccxt.InvalidOrder, match="11044"):
                await client.cancel_order(resting["id"], BTC)
            with pytest.raises(ccxt.InvalidOrder, match="11044"):
                await client.edit_order(resting["id"], BTC, "limit", "buy", 2, 90)
            with pytest.raises(ccxt.OrderNotFound, match="10004"):
                await client.cancel_order("BTC_USDT-17", BTC)

    run(scenario)


def test_cancel_by_label_ends_every_live_order_under_it() -> None:
    """The reply counts them."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, _, _clock):
            for _ in range(2):
                await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "many"})
            await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "other"})
            assert (await client.private_get_cancel_by_label({"label": "many"}))["result"] == 2
            assert [one["info"]["label"] for one in await client.fetch_open_orders(BTC)] == ["other"]

    run(scenario)


def test_an_edit_keeps_order_and_label_and_counts_what_is_executed() -> None:
    """The same number, the wanted amount in all; less than what is executed is refused."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            order = await client.create_order(BTC, "limit", "buy", 4, 100, {"label": "kept"})
            by_another(imitation, BTC, "sell", "1", "100")
            edited = await client.edit_order(order["id"], BTC, "limit", "buy", 3, 99)
            assert (edited["id"], edited["amount"], edited["price"]) == (order["id"], 3.0, 99.0)
            assert (edited["filled"], edited["info"]["label"]) == (1.0, "kept")
            with pytest.raises(ccxt.ExchangeError, match="below what is executed"):
                await client.edit_order(order["id"], BTC, "limit", "buy", 0.5, 99)

    run(scenario)


def test_refusals_have_the_venues_codes() -> None:
    """Each as ccxt's source lists it, and no order is made."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            await client.load_markets()
            base = {"instrument_name": "BTC_USDT", "amount": "1", "type": "limit", "price": "100"}
            cases: list[tuple[dict[str, str], type[Exception], str]] = [
                ({"amount": "0.000000001"}, ccxt.InvalidOrder, "10002"),
                ({"amount": "0"}, ccxt.InvalidOrder, "10021"),
                ({"price": "100.001"}, ccxt.InvalidOrder, "10043"),
                ({"instrument_name": "BTC_EUR"}, ccxt.ExchangeError, "13020"),
                ({"type": "stop_limit"}, ccxt.BadRequest, "-32602"),
                ({"label": "x" * 65}, ccxt.BadRequest, "-32602"),
                ({"time_in_force": "for ever"}, ccxt.BadRequest, "-32602"),
                ({"amount": "much"}, ccxt.BadRequest, "-32602"),
            ]
            for change, kind, code in cases:
                with pytest.raises(kind, match=code):
                    await client.private_get_buy({**base, **change})
            client.apiKey = "somebody's"
            with pytest.raises(ccxt.AuthenticationError, match="13004"):
                await client.private_get_buy(base)
            assert imitation.exchange.all_orders() == []

    run(scenario)


def test_ended_orders_are_recent_for_half_an_hour() -> None:
    """After that neither number nor label shows them, only the history that is asked for as historical."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, _, clock):
            order = await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "old", "timeInForce": "IOC"})
            assert order["status"] == "canceled"
            assert len(await by_label(client, "old")) == 1
            assert await client.fetch_closed_orders(BTC) == [], "history leaves out what never traded"
            unfilled = {"include_unfilled": True}
            assert len(await client.fetch_closed_orders(BTC, None, None, unfilled)) == 1
            clock.ahead_us = RECENT_ORDERS_US + 1_000_000
            assert await by_label(client, "old") == []
            with pytest.raises(ccxt.OrderNotFound, match="10004"):
                await client.fetch_order(order["id"], BTC)
            assert await client.fetch_closed_orders(BTC, None, None, unfilled) == []
            assert len(await client.fetch_closed_orders(BTC, None, None, {**unfilled, "historical": True})) == 1

    run(scenario)


def test_trades_are_told_page_by_page_and_by_their_sequence() -> None:
    """``has_more`` says that there are further ones; ``start_seq`` reads on; after a day they are historical."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, clock):
            for _ in range(5):
                by_another(imitation, BTC, "sell", "1", "100")
            start = client.milliseconds() - 1000
            await client.create_order(BTC, "limit", "buy", 5, 100, {"label": "five"})
            asked = {"instrument_name": "BTC_USDT", "start_timestamp": start, "count": 2, "sorting": "asc"}
            page = (await client.private_get_get_user_trades_by_instrument_and_time(asked))["result"]
            assert (len(page["trades"]), page["has_more"]) == (2, True)
            after = {"instrument_name": "BTC_USDT", "start_seq": int(page["trades"][-1]["trade_seq"]) + 1, "count": 10}
            rest = (await client.private_get_get_user_trades_by_instrument(after))["result"]
            assert (len(rest["trades"]), rest["has_more"]) == (3, False)
            ids = [trade["trade_id"] for trade in page["trades"] + rest["trades"]]
            assert len(set(ids)) == 5
            assert [trade["id"] for trade in await client.fetch_my_trades(BTC, start, 5)] == ids
            assert len(await client.fetch_my_trades(BTC)) == 5
            assert (await client.fetch_my_trades(None, None, 1))[0]["info"]["label"] == "five"
            clock.ahead_us = RECENT_TRADES_US + 1_000_000
            assert await client.fetch_my_trades(BTC, start, 10) == []
            assert len(await client.fetch_my_trades(BTC, start, 10, {"historical": True})) == 5

    run(scenario)


def test_both_sides_of_a_match_with_oneself_carry_one_trade_id() -> None:
    """The id names the match: only with the order it tells two executions of the account apart."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, _, _clock):
            sold = await client.create_order(BTC, "limit", "sell", 1, 100, {"label": "a"})
            bought = await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "b"})
            trades = await client.fetch_my_trades(BTC)
            assert len({trade["id"] for trade in trades}) == 1
            assert {trade["order"] for trade in trades} == {sold["id"], bought["id"]}
            assert {trade["order"]: trade["takerOrMaker"] for trade in trades}[bought["id"]] == "taker"
            of_one = (await client.private_get_get_user_trades_by_order({"order_id": sold["id"]}))["result"]
            assert [trade["order_id"] for trade in of_one] == [sold["id"]]

    run(scenario)


def test_positions_are_those_of_contracts_and_spot_moves_funds() -> None:
    """A swap makes a position; what was bought of a pair is among the funds."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            by_another(imitation, SWAP, "buy", "2", "100")
            await client.create_order(SWAP, "market", "sell", 2)
            by_another(imitation, BTC, "sell", "3", "50")
            await client.create_order(BTC, "market", "buy", 3)
            (held,) = await client.fetch_positions()
            assert (held["symbol"], held["side"], abs(held["contracts"])) == (SWAP, "short", 2.0)
            balance = await client.fetch_balance()
            assert (balance["BTC"]["total"], balance["USDT"]["total"]) == (1_000_003.0, 999_850.0)
            assert (await client.fetch_balance({"code": "BTC"}))["BTC"]["total"] == 1_000_003.0

    run(scenario)


def test_a_reply_can_be_spoilt_after_the_order_was_made() -> None:
    """The order exists and its label finds it, whatever became of the reply."""

    async def scenario() -> None:
        async with imitated(DeribitImitation) as (client, imitation, _):
            imitation.spoilt.append(lambda _: aiohttp.web.Response(status=502, text="<html>bad gateway</html>"))
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await client.create_order(BTC, "limit", "buy", 1, 100, {"label": "spoilt"})
            (found,) = await by_label(client, "spoilt")
            assert found["order_state"] == "open"

    run(scenario)


async def by_label(client: Any, label: str, currency: str = "BTC") -> list[Any]:
    """Return what the status query by label shows."""
    reply = await client.private_get_get_order_state_by_label({"currency": currency, "label": label})
    shown: list[Any] = reply["result"]
    return shown
