"""The imitation of OKX, driven by the real client: what it answers is what that client reads."""

from typing import Any

import ccxt.async_support as ccxt
import pytest
from imitation_kit import by_another, imitated, run

from onefill.sim.imitations.known import IMITATIONS
from onefill.sim.imitations.okx import FILLS_US, HISTORY_US, UNFILLED_US, OkxImitation
from onefill.venues.profile import load

BTC = "BTC/USDT"
SWAP = "BTC/USDT:USDT"


def test_it_is_registered_under_its_profile_and_behaves_as_the_profile_says() -> None:
    """The dialect's habits are those of the profile that it is coded to."""
    assert IMITATIONS["okx"] is OkxImitation
    believed, dialect = load("okx").capabilities, OkxImitation.dialect
    for name in ("unique_scope", "duplicate_reply", "lookup", "replace", "cancel_by_client_order_id", "id_format"):
        assert getattr(dialect, name) == getattr(believed, name), name
    assert dialect.request_expiry_s == believed.request_expiry_s


def test_its_markets_are_read_by_the_client() -> None:
    """A spot pair and a linear perpetual, each with the steps of the core's instrument."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            markets = await client.load_markets()
            assert set(markets) == {BTC, SWAP}
            assert (markets[SWAP]["id"], markets[SWAP]["contractSize"]) == ("BTC-USDT-SWAP", 0.01)
            for symbol, listed in imitation.exchange.instruments.items():
                assert markets[symbol]["precision"]["price"] == float(listed.price_tick)
                assert markets[symbol]["limits"]["amount"]["min"] == float(listed.min_quantity)
            assert set(client.currencies) >= {"BTC", "USDT"}
            assert await client.fetch_time() > 0

    run(scenario)


def test_a_reply_shows_the_ids_and_nothing_of_the_order() -> None:
    """ccxt sends a batch of one; what it returns has neither state nor quantity until the order is asked about."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            order = await client.create_order(BTC, "limit", "buy", 2, 100, {"clientOrderId": "mine"})
            assert imitation.requests["POST /api/v5/trade/batch-orders"] == 1
            assert (order["clientOrderId"], order["status"], order["amount"]) == ("mine", None, None)
            shown = await client.fetch_order(order["id"], BTC)
            assert (shown["status"], shown["amount"], shown["price"]) == ("open", 2.0, 100.0)
            canceled = await client.cancel_order(None, BTC, {"clientOrderId": "mine"})
            assert (canceled["id"], canceled["status"]) == (order["id"], None)
            assert (await client.fetch_order(order["id"], BTC))["status"] == "canceled"

    run(scenario)


def test_an_id_is_unique_among_pending_orders_only() -> None:
    """51016 while it is pending; used again after that it makes another order, and the look-up shows the latest."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            first = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "again"})
            with pytest.raises(ccxt.InvalidOrder, match="51016"):
                await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "again"})
            await client.cancel_order(first["id"], BTC)
            second = await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "again"})
            found = await client.fetch_order(None, BTC, {"clientOrderId": "again"})
            assert found["id"] == second["id"] != first["id"]
            assert [one.status.value for one in imitation.exchange.all_orders()] == ["canceled", "new"]

    run(scenario)


def test_exp_time_counts_in_the_header_and_not_in_the_body() -> None:
    """ccxt puts it into the body, where a late request is taken all the same; in the header it is refused: 50036."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, clock):
            exp_time = client.milliseconds() + 3000
            clock.ahead_us = 3_500_000
            await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "body", "expTime": exp_time})
            assert len(imitation.exchange.all_orders()) == 1
            client.headers = {"expTime": str(exp_time)}
            with pytest.raises(ccxt.ExchangeError, match="50036") as caught:
                await client.create_order(BTC, "limit", "buy", 1, 100, {"clientOrderId": "header"})
            assert type(caught.value) is ccxt.ExchangeError, "ccxt knows no such code"
            with pytest.raises(ccxt.ExchangeError, match="50036"):
                await client.edit_order(None, BTC, "limit", "buy", 2, 100, {"clOrdId": "body"})
            await client.cancel_order(None, BTC, {"clientOrderId": "body"})
            assert imitation.exchange.counts().too_late == 2
            assert imitation.exchange.counts().canceled == 1, "a cancel has no expiry"

    run(scenario)


def test_cancels_and_amends_of_what_is_dead_have_their_own_codes() -> None:
    """HTTP 200 each time; unknown, cancelled and filled are told apart."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            with pytest.raises(ccxt.OrderNotFound, match="51400"):
                await client.cancel_order("1753197687182819999", BTC)
            with pytest.raises(ccxt.OrderNotFound, match="51503"):
                await client.edit_order("1753197687182819999", BTC, "limit", "buy", 2, 100)
            canceled = await client.create_order(BTC, "limit", "buy", 1, 100)
            await client.cancel_order(canceled["id"], BTC)
            with pytest.raises(ccxt.OrderNotFound, match="51401"):
                await client.cancel_order(canceled["id"], BTC)
            with pytest.raises(ccxt.OrderNotFound, match="51509"):
                await client.edit_order(canceled["id"], BTC, "limit", "buy", 2, 100)
            by_another(imitation, BTC, "sell", "1", "100")
            filled = await client.create_order(BTC, "limit", "buy", 1, 100)
            with pytest.raises(ccxt.OrderNotFound, match="51402"):
                await client.cancel_order(filled["id"], BTC)
            with pytest.raises(ccxt.ExchangeError, match="51510"):
                await client.edit_order(filled["id"], BTC, "limit", "buy", 2, 100)

    run(scenario)


def test_an_amend_keeps_both_ids_and_counts_what_is_filled() -> None:
    """By number or by client id; a size not above what is filled ends the order as filled."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            order = await client.create_order(BTC, "limit", "buy", 4, 100, {"clientOrderId": "kept"})
            by_another(imitation, BTC, "sell", "2", "100")
            taken = await client.edit_order(order["id"], BTC, "limit", "buy", 3, 99)
            assert (taken["id"], taken["amount"], taken["status"]) == (order["id"], None, None)
            shown = await client.fetch_order(None, BTC, {"clientOrderId": "kept"})
            assert (shown["id"], shown["amount"], shown["price"], shown["filled"]) == (order["id"], 3.0, 99.0, 2.0)
            await client.edit_order(None, BTC, "limit", "buy", 1, 99, {"clOrdId": "kept"})
            shown = await client.fetch_order(order["id"], BTC)
            assert (shown["status"], shown["filled"], shown["amount"]) == ("closed", 2.0, 2.0)

    run(scenario)


def test_refusals_have_the_venues_codes() -> None:
    """Each with HTTP 200 and the code in the data, and no order is made."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            await client.load_markets()
            base = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit", "sz": "1", "px": "100"}
            cases: list[tuple[dict[str, str], type[Exception], str]] = [
                ({"sz": "0.000000001"}, ccxt.InvalidOrder, "51020"),
                ({"sz": "0.000000015"}, ccxt.InvalidOrder, "51121"),
                ({"px": "100.001"}, ccxt.BadRequest, "51000"),
                ({"instId": "BTC-EUR"}, ccxt.BadSymbol, "51001"),
                ({"clOrdId": "with-hyphen"}, ccxt.BadRequest, "51000"),
                ({"ordType": "maybe"}, ccxt.BadRequest, "51000"),
                ({"tdMode": "free"}, ccxt.BadRequest, "51000"),
                ({"ordType": "market"}, ccxt.BadRequest, "tgtCcy"),
            ]
            for change, kind, code in cases:
                with pytest.raises(kind, match=code):
                    await client.private_post_trade_order({**base, **change})
            with pytest.raises(ccxt.OrderNotFound, match="51603"):
                await client.fetch_order(None, BTC, {"clientOrderId": "never"})
            client.apiKey = "somebody's"
            with pytest.raises(ccxt.AuthenticationError, match="50111"):
                await client.private_post_trade_order(base)
            assert imitation.exchange.all_orders() == []

    run(scenario)


def test_of_a_batch_some_may_be_refused() -> None:
    """Code 2 with HTTP 200, which ccxt takes for no error at all: the refused order comes back as one."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, _, _clock):
            await client.load_markets()
            wanted: list[dict[str, Any]] = [
                {"symbol": BTC, "type": "limit", "side": "buy", "amount": 1, "price": 100, "params": {"clOrdId": name}}
                for name in ("a", "a")
            ]
            first, second = await client.create_orders(wanted)
            assert (first["status"], second["status"]) == (None, "rejected")
            assert second["info"]["sCode"] == "51016"

    run(scenario)


def test_lists_are_paged_back_by_id() -> None:
    """Pending and ended orders by ``ordId``, fills by ``billId``: what is earlier than ``after``, a hundred at most."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            ids = [(await client.create_order(BTC, "limit", "buy", 1, 100 + n))["id"] for n in range(5)]
            page = (await client.private_get_trade_orders_pending({"limit": 2}))["data"]
            assert [one["ordId"] for one in page] == [ids[4], ids[3]]
            page = (await client.private_get_trade_orders_pending({"after": ids[3]}))["data"]
            assert [one["ordId"] for one in page] == ids[2::-1]
            for _ in range(3):
                by_another(imitation, BTC, "sell", "1", "1")
            fills = (await client.private_get_trade_fills({"instId": "BTC-USDT", "limit": 2}))["data"]
            rest = (await client.private_get_trade_fills({"after": fills[-1]["billId"]}))["data"]
            assert [one["ordId"] for one in fills + rest] == [ids[2], ids[3], ids[4]]
            ended = (await client.private_get_trade_orders_history({"instType": "SPOT", "state": "filled"}))["data"]
            assert [one["ordId"] for one in ended] == ids[:1:-1]
            assert len(await client.fetch_closed_orders(BTC)) == 3
            assert [trade["order"] for trade in await client.fetch_my_trades(BTC)] == ids[:1:-1]

    run(scenario)


def test_what_is_old_stands_elsewhere_or_nowhere() -> None:
    """Fills of three days and orders of seven, then the history of each; cancelled without a fill, two hours."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, clock):
            by_another(imitation, BTC, "sell", "1", "100")
            filled = await client.create_order(BTC, "limit", "buy", 1, 100)
            unfilled = await client.create_order(BTC, "limit", "buy", 1, 100, {"timeInForce": "IOC"})
            assert (await client.fetch_order(unfilled["id"], BTC))["status"] == "canceled"
            asked = {"instType": "SPOT"}
            assert len((await client.private_get_trade_orders_history(asked))["data"]) == 2
            clock.ahead_us = UNFILLED_US + 1_000_000
            with pytest.raises(ccxt.OrderNotFound, match="51603"):
                await client.fetch_order(unfilled["id"], BTC)
            assert len((await client.private_get_trade_orders_history(asked))["data"]) == 1
            clock.ahead_us = FILLS_US + 1_000_000
            assert (await client.private_get_trade_fills())["data"] == []
            assert len((await client.private_get_trade_fills_history(asked))["data"]) == 1
            clock.ahead_us = HISTORY_US + 1_000_000
            assert (await client.private_get_trade_orders_history(asked))["data"] == []
            assert len((await client.private_get_trade_orders_history_archive(asked))["data"]) == 1
            assert (await client.fetch_order(filled["id"], BTC))["status"] == "closed"

    run(scenario)


def test_both_sides_of_a_match_carry_one_trade_id_and_bills_of_their_own() -> None:
    """Only with the order does the trade's id tell two executions of the account apart."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, _, _clock):
            sold = await client.create_order(BTC, "limit", "sell", 1, 100, {"clOrdId": "a"})
            bought = await client.create_order(BTC, "limit", "buy", 1, 100, {"clOrdId": "b"})
            trades = await client.fetch_my_trades(BTC)
            assert len({trade["id"] for trade in trades}) == 1
            assert len({trade["info"]["billId"] for trade in trades}) == 2
            assert {trade["order"]: trade["takerOrMaker"] for trade in trades} == {
                sold["id"]: "maker",
                bought["id"]: "taker",
            }
            assert {trade["info"]["clOrdId"] for trade in trades} == {"a", "b"}

    run(scenario)


def test_positions_are_those_of_contracts_and_spot_moves_funds() -> None:
    """A swap makes a position in net mode; what was bought of a pair is among the funds."""

    async def scenario() -> None:
        async with imitated(OkxImitation) as (client, imitation, _):
            by_another(imitation, SWAP, "buy", "2", "100")
            await client.create_order(SWAP, "market", "sell", 2)
            by_another(imitation, BTC, "sell", "3", "50")
            await client.create_order(BTC, "market", "buy", 3)
            (held,) = await client.fetch_positions()
            assert (held["symbol"], held["side"], held["contracts"]) == (SWAP, "short", 2.0)
            balance = await client.fetch_balance()
            assert (balance["BTC"]["total"], balance["USDT"]["total"]) == (1_000_003.0, 999_850.0)

    run(scenario)
