"""The imitation of Kraken answers the real client library as the venue's documentation says."""

import asyncio
import contextlib
import datetime as dt
from typing import Any

import aiohttp
import ccxt as ccxt_sync
import ccxt.async_support as ccxt
import pytest
from imitation_kit import Clock, by_another, run, served

from onefill.core.values import plain
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.venues.ccxt.address import point
from onefill.venues.profile import load

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32


def test_markets_are_those_of_the_exchange_with_its_steps() -> None:
    """The library makes of the pairs the exchange's own symbols and steps."""

    async def scenario() -> None:
        async with served(KrakenImitation()) as client:
            await client.load_markets()
            assert client.symbols == [SYMBOL]
            market = client.markets[SYMBOL]
            assert market["precision"] == {"amount": 1e-08, "price": 0.01}
            assert market["id"] == "XBTUSDT"
            assert (market["base"], market["quote"]) == ("BTC", "USDT")

    run(scenario)


def test_a_new_order_is_answered_without_its_state_and_without_the_client_id() -> None:
    """AddOrder tells a description and the number; what became of the order has to be asked."""

    async def scenario() -> None:
        async with served(KrakenImitation()) as client:
            made = await client.create_order(SYMBOL, "limit", "buy", 0.5, 100.25, {"clientOrderId": FIRST})
            assert made["id"].startswith("O")
            assert (made["clientOrderId"], made["status"], made["filled"]) == (None, None, None)
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"], shown["status"]) == (made["id"], FIRST, "open")
            assert (shown["amount"], shown["price"], shown["filled"]) == (0.5, 100.25, 0)

    run(scenario)


def test_an_id_is_refused_while_its_order_is_open_and_makes_a_second_order_once_it_is_filled() -> None:
    """Uniqueness holds among open orders only: the trap that makes a client id no key."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": FIRST})
            with pytest.raises(ccxt.ExchangeError, match="EOrder:Duplicate order"):
                await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": FIRST})
            by_another(imitation, SYMBOL, "sell", 1, 100)
            second = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": FIRST})
            assert second["id"] != first["id"]
            assert imitation.exchange.counts().duplicates == 1
            closed = await client.fetch_closed_orders(SYMBOL, None, None, {"clientOrderId": FIRST})
            assert [(one["id"], one["status"]) for one in closed] == [(first["id"], "closed")]
            opened = await client.fetch_open_orders(SYMBOL, None, None, {"clientOrderId": FIRST})
            assert [one["id"] for one in opened] == [second["id"]]

    run(scenario)


def test_a_request_after_its_deadline_is_refused_and_one_too_far_ahead_is_wrong() -> None:
    """``deadline`` is a moment, at most 60 s away; the order does not come to be after it."""
    clock = Clock()

    async def scenario() -> None:
        async with served(KrakenImitation(clock_us=clock)) as client:
            deadline = _in(clock, 5)
            clock.forward(6)
            with pytest.raises(ccxt.ExchangeError, match="EService:Deadline elapsed"):
                await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"deadline": deadline})
            for wrong in (_in(clock, 61), "soon", "2026-11-21T12:00:00"):
                with pytest.raises(ccxt.ExchangeError, match="EGeneral:Invalid arguments:deadline"):
                    await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"deadline": wrong})
            assert await client.fetch_open_orders(SYMBOL) == []
            made = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"deadline": _in(clock, 5)})
            with pytest.raises(ccxt.ExchangeError, match="EService:Deadline elapsed"):
                await client.edit_order(made["id"], SYMBOL, "limit", "buy", 2, 100, {"deadline": deadline})

    run(scenario)


def test_fill_or_kill_and_immediate_or_cancel_do_what_they_say() -> None:
    """What cannot trade at once is gone."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 1, 100)
            for force, traded in (("FOK", 0), ("IOC", 1)):
                made = await client.create_order(SYMBOL, "limit", "buy", 2, 100, {"timeInForce": force})
                shown = await client.fetch_order(made["id"])
                assert (shown["status"], shown["filled"]) == ("canceled", traded)
            by_another(imitation, SYMBOL, "sell", 1, 102)
            made = await client.create_order(SYMBOL, "market", "buy", 1)
            shown = await client.fetch_order(made["id"])
            assert (shown["status"], shown["filled"], shown["average"]) == ("closed", 1, 102)

    run(scenario)


def test_a_cancel_takes_either_id_and_tells_only_a_count() -> None:
    """The reply names no order; a dead or unknown one gets ``EOrder:Unknown order``."""

    async def scenario() -> None:
        async with served(KrakenImitation()) as client:
            await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": FIRST})
            second = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": SECOND})
            reply = await client.cancel_order(None, SYMBOL, {"clientOrderId": FIRST})
            assert (reply["id"], reply["info"]["result"]) == (None, {"count": 1})
            await client.cancel_order(second["id"], SYMBOL)
            for number, params in (
                (second["id"], {}),
                (None, {"clientOrderId": FIRST}),
                ("OQQQQQ-QQQQQ-QQQQQQ", {}),
                (None, {"clientOrderId": THIRD}),
            ):
                with pytest.raises(ccxt.OrderNotFound, match="EOrder:Unknown order"):
                    await client.cancel_order(number, SYMBOL, params)

    run(scenario)


def test_an_amend_keeps_the_order_and_its_reply_carries_an_id_of_its_own() -> None:
    """``edit_order`` amends; the id that the library returns is the amend's, not the order's."""

    async def scenario() -> None:
        async with served(KrakenImitation()) as client:
            made = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": FIRST})
            reply = await client.edit_order(made["id"], SYMBOL, "limit", "buy", 2, 101)
            assert reply["id"] != made["id"]
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"]) == (made["id"], FIRST)
            assert (shown["amount"], shown["price"]) == (2, 101)
            await client.cancel_order(made["id"], SYMBOL)
            with pytest.raises(ccxt.InvalidOrder, match="EOrder:Unknown order"):
                await client.edit_order(made["id"], SYMBOL, "limit", "buy", 3, 101)

    run(scenario)


def test_the_librarys_look_up_by_client_id_asks_for_something_else() -> None:
    """``fetch_order`` with a client id sends it as ``userref``, which is another thing: a live order is not found."""

    async def scenario() -> None:
        async with served(KrakenImitation()) as client:
            made = await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"clientOrderId": FIRST})
            assert (await client.fetch_order(made["id"]))["clientOrderId"] == FIRST
            with pytest.raises(ccxt.InvalidOrder, match="EOrder:Unknown order"):
                await client.fetch_order(made["id"], SYMBOL, {"clientOrderId": FIRST})

    run(scenario)


def test_trades_come_fifty_at_a_time_newest_first_and_the_library_leaves_the_older_ones_out() -> None:
    """``ofs`` reads on; without it ``fetch_my_trades`` has the newest fifty, whatever ``since`` asks for."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, SYMBOL, "sell", 60, 100)
            for _ in range(60):
                await client.create_order(SYMBOL, "market", "buy", 1)
            assert len(await client.fetch_my_trades(SYMBOL, 1)) == 50
            older = await client.fetch_my_trades(SYMBOL, 1, None, {"ofs": 50})
            assert len(older) == 10
            newest = await client.fetch_my_trades(SYMBOL, 1)
            ids = {one["id"] for one in (*older, *newest)}
            assert len(ids) == 60
            assert all(one["order"] and one["amount"] == 1 and one["price"] == 100 for one in newest)
            assert await client.fetch_my_trades(SYMBOL, imitation.clock_us() // 1000 + 60_000) == []
            balance = await client.fetch_balance()
            assert (balance["BTC"]["total"], balance["USDT"]["total"]) == (60, 994_000)

    run(scenario)


def test_a_nonce_must_rise_unless_the_key_has_a_window() -> None:
    """A request that is overtaken by a later one is refused, or, with a window, taken once."""

    async def scenario() -> None:
        imitation = KrakenImitation()
        async with served(imitation) as client:
            await client.load_markets()
            spare = client.sign("OpenOrders", ["private"], "POST", {})
            await client.fetch_open_orders(SYMBOL)
            async with aiohttp.ClientSession() as session:

                async def post() -> Any:
                    async with session.post(spare["url"], data=spare["body"], headers=spare["headers"]) as reply:
                        return (await reply.json())["error"]

                assert await post() == ["EAPI:Invalid nonce"]
                imitation.nonce_window = 10_000
                assert await post() == []
                assert await post() == ["EAPI:Invalid nonce"]

    run(scenario)


def test_another_key_a_wrong_parameter_and_a_wrong_amount_are_refused() -> None:
    """In the venue's own words, with HTTP 200."""

    async def scenario() -> None:
        async with served(KrakenImitation(), apiKey="other") as client:
            with pytest.raises(ccxt.AuthenticationError, match="EAPI:Invalid key"):
                await client.fetch_balance()
        async with served(KrakenImitation()) as client:
            with pytest.raises(ccxt.InvalidOrder, match="EGeneral:Invalid arguments:volume minimum not met"):
                await client.privatePostAddOrder(_order(volume="0.000000001"))
            with pytest.raises(ccxt.InvalidOrder, match="EOrder:Invalid price"):
                await client.privatePostAddOrder(_order(price="100.001"))
            for wrong in ({"cl_ord_id": "x" * 19}, {"oflags": "post"}, {"price": "1e2"}):
                with pytest.raises(ccxt.ExchangeError, match=f"EGeneral:Invalid arguments:{next(iter(wrong))}"):
                    await client.privatePostAddOrder(_order(**wrong))
            with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
                await client.privatePostAddOrder(_order(pair="XXBTZUSD"))

    run(scenario)


def test_a_reply_can_be_spoilt_after_the_order_was_taken() -> None:
    """What drills need: the client hears nothing, the venue has the order."""
    imitation = KrakenImitation()

    async def scenario() -> None:
        async with served(imitation, timeout=300) as client:
            never = asyncio.Event()

            async def silence(reply: Any) -> Any:
                await never.wait()
                return reply

            await client.load_markets()
            imitation.spoilt.append(silence)
            with pytest.raises(ccxt.RequestTimeout):
                await client.create_order(SYMBOL, "limit", "buy", 1, 100, {"cl_ord_id": FIRST})
            never.set()
            assert [one["clientOrderId"] for one in await client.fetch_open_orders(SYMBOL)] == [FIRST]

    run(scenario)


def test_the_synchronous_client_is_answered_likewise() -> None:
    """The same requests by another transport: an order is made, shown, changed and cancelled."""

    def session(url: str) -> None:
        client = point(ccxt_sync.kraken(KrakenImitation.config()), url)
        with contextlib.closing(client.session):
            made = client.create_order(SYMBOL, "limit", "buy", 0.5, 100, {"cl_ord_id": FIRST})
            assert [one["clientOrderId"] for one in client.fetch_open_orders(SYMBOL)] == [FIRST]
            client.edit_order(made["id"], SYMBOL, "limit", "buy", 0.75, 101)
            assert client.fetch_order(made["id"])["amount"] == 0.75
            client.cancel_order(made["id"], SYMBOL)
            assert client.fetch_order(made["id"])["status"] == "canceled"
            assert client.fetch_my_trades(SYMBOL) == []

    async def scenario() -> None:
        imitation = KrakenImitation()
        await imitation.start()
        try:
            await asyncio.to_thread(session, imitation.url)
        finally:
            await imitation.close()

    run(scenario)


def test_the_dialect_is_what_the_profile_says() -> None:
    """The imitation promises no more and no less about repeats than the profile that it is coded to."""
    shown, promised = KrakenImitation().exchange.capabilities, load("kraken").capabilities
    for name in ("unique_scope", "duplicate_reply", "lookup", "request_expiry_s", "conclusive_after_s", "replace"):
        assert getattr(shown, name) == getattr(promised, name), name
    assert plain(KrakenImitation().exchange.instruments[SYMBOL].price_tick) == "0.01"


def _in(clock: Clock, seconds: float) -> str:
    return dt.datetime.fromtimestamp(clock() / 1_000_000 + seconds, dt.UTC).isoformat()


def _order(**changes: str) -> dict[str, str]:
    whole = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "1", "price": "100"}
    return whole | changes
