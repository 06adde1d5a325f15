"""The imitation of Bitget answers the real client library as the venue's documentation says."""

import asyncio
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import msgspec
import pytest
from client_kit import by_another
from imitation_kit import Clock, run, served

from onefill.sim.dialect import Dialect, capabilities_of
from onefill.sim.imitations.base import BTC_USDT
from onefill.sim.imitations.bitget import KEPT_MS, BitgetImitation
from onefill.venues.profile import load

SYMBOL = "BTC/USDT"
FIRST, SECOND = "1" * 32, "2" * 32


async def buy(client: Any, client_oid: str | None, quantity: float = 1, price: float = 100, **other: Any) -> Any:
    """Have a limit order made, with or without an id."""
    params = other if client_oid is None else {"clientOid": client_oid, **other}
    return await client.create_order(SYMBOL, "limit", "buy", quantity, price, params)


def test_it_promises_what_the_profile_says() -> None:
    """The dialect is coded to the profile. It decides at once, takes longer ids and forgets nothing: nobody counts on that."""
    profile, dialect = load("bitget").capabilities, capabilities_of(BitgetImitation.dialect)
    assert profile.acknowledges_asynchronously
    kept = {"id_format": profile.id_format, "lookup_forgets_after_s": profile.lookup_forgets_after_s}
    assert msgspec.structs.replace(dialect, acknowledges_asynchronously=True, **kept) == profile


def test_markets_are_those_of_the_exchange_with_its_steps() -> None:
    """The venue tells decimal places; a step that is no power of ten cannot be told, and is refused."""

    async def scenario() -> None:
        async with served(BitgetImitation()) as client:
            assert client.symbols == [SYMBOL]
            market = client.markets[SYMBOL]
            assert (market["id"], market["type"]) == ("BTCUSDT", "spot")
            assert market["precision"] == {"amount": 1e-08, "price": 0.01}
            assert abs(await client.fetch_time() - client.milliseconds()) < 60_000
        odd = msgspec.structs.replace(BTC_USDT, price_tick=Decimal("0.05"))
        with pytest.raises(ccxt.ExchangeError, match=r"0\.05 is not a power of ten"):
            async with served(BitgetImitation(instruments=[odd])):
                pass

    run(scenario)


def test_a_new_order_is_answered_with_ids_only() -> None:
    """What became of it has to be asked; an order without an id gets one of the venue's own."""

    async def scenario() -> None:
        async with served(BitgetImitation()) as client:
            made = await buy(client, FIRST, 0.5, 100.25)
            assert (len(made["id"]), made["clientOrderId"], made["status"]) == (19, FIRST, None)
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"], shown["status"]) == (made["id"], FIRST, "open")
            assert (shown["amount"], shown["price"], shown["filled"]) == (0.5, 100.25, 0)
            assert (await buy(client, None))["clientOrderId"] != (await buy(client, None))["clientOrderId"]

    run(scenario)


def test_an_id_is_refused_while_its_order_is_open_and_taken_again_once_it_is_filled() -> None:
    """40786, which the library has no class for: a bare ExchangeError."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first = await buy(client, FIRST)
            with pytest.raises(ccxt.ExchangeError, match='"code":"40786"') as caught:
                await buy(client, FIRST)
            assert type(caught.value) is ccxt.ExchangeError
            by_another(imitation, "sell", 1, 100)
            second = await buy(client, FIRST)
            assert second["id"] != first["id"]
            found = await client.fetch_order("", SYMBOL, {"clientOid": FIRST})
            assert (found["id"], found["status"]) == (second["id"], "open")

    run(scenario)


def test_an_order_is_found_by_either_id_live_or_over() -> None:
    """``orderInfo`` shows dead orders too."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, FIRST, 2)
            by_another(imitation, "sell", 2, 100)
            for number, params in ((made["id"], {}), ("", {"clientOid": FIRST})):
                found = await client.fetch_order(number, SYMBOL, params)
                assert (found["id"], found["status"], found["filled"]) == (made["id"], "closed", 2)
                assert (found["average"], found["cost"]) == (100, 200)

    run(scenario)


def test_what_is_not_there_is_an_empty_list_and_the_library_stumbles_over_it() -> None:
    """A trap: asked by ``clientOid`` alone it raises TypeError, not OrderNotFound; with any text for a number it does not."""

    async def scenario() -> None:
        async with served(BitgetImitation()) as client:
            with pytest.raises(TypeError):
                await client.fetch_order(None, SYMBOL, {"clientOid": FIRST})
            for number, params in (("17", {}), ("x", {}), (FIRST, {"clientOid": FIRST})):
                with pytest.raises(ccxt.OrderNotFound):
                    await client.fetch_order(number, SYMBOL, params)

    run(scenario)


def test_a_new_order_after_its_window_is_refused() -> None:
    """``requestTime`` and ``receiveWindow`` (60 s at most): 40008 after it, nothing is made. Without a window: 30 s of skew."""
    clock = Clock()
    imitation = BitgetImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation) as client:
            at_ms = client.milliseconds()
            clock.forward(3)
            with pytest.raises(ccxt.InvalidNonce, match='"code":"40008"'):
                await buy(client, FIRST, requestTime=str(at_ms), receiveWindow="2000")
            with pytest.raises(ccxt.InvalidNonce, match='"code":"40008"'):
                await buy(client, FIRST, receiveWindow="2000")
            assert imitation.exchange.counts().too_late == 2
            for wrong in ("60001", "0", "soon"):
                with pytest.raises(ccxt.ExchangeError, match='"code":"40017"'):
                    await buy(client, FIRST, receiveWindow=wrong)
            clock.forward(28)
            with pytest.raises(ccxt.InvalidNonce, match='"code":"40008"'):
                await buy(client, FIRST)
            assert imitation.exchange.counts().orders == 0
            client.options["timeDifference"] = -31_000
            await buy(client, FIRST, receiveWindow="60000")
            assert imitation.exchange.counts().orders == 1

    run(scenario)


def test_a_cancel_names_either_id_and_one_of_a_dead_order_is_refused() -> None:
    """43001 for what is over and for what never was."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first, _ = await buy(client, FIRST, 2), await buy(client, SECOND)
            by_another(imitation, "sell", 1, 100)
            assert (await client.cancel_order(first["id"], SYMBOL))["clientOrderId"] == FIRST
            assert (await client.cancel_order(None, SYMBOL, {"clientOid": SECOND}))["clientOrderId"] == SECOND
            for number, params in ((first["id"], {}), (None, {"clientOid": SECOND}), (None, {"clientOid": "3"})):
                with pytest.raises(ccxt.OrderNotFound, match='"code":"43001"'):
                    await client.cancel_order(number, SYMBOL, params)
            shown = await client.fetch_canceled_orders(SYMBOL)
            assert sorted((one["status"], one["filled"]) for one in shown) == [("canceled", 0), ("canceled", 1)]

    run(scenario)


def test_what_is_wrong_with_an_order_is_said_at_once() -> None:
    """By the venue's codes: decimals, size, symbol, parameters, rate."""
    imitation = BitgetImitation(dialect=Dialect(requests_per_s=5))

    async def scenario() -> None:
        async with served(imitation) as client:
            order = {"symbol": "BTCUSDT", "side": "buy", "orderType": "limit", "price": "1", "size": "1"}
            for wrong, code in (
                ({"price": "1.001"}, "40808"),
                ({"symbol": "ACME"}, "40034"),
                ({"size": "1e3"}, "40017"),
                ({"force": "post_only"}, "40017"),
                ({"orderType": "market"}, "40017"),
            ):
                with pytest.raises(ccxt.ExchangeError, match=f'"code":"{code}"'):
                    await client.privateSpotPostV2SpotTradePlaceOrder({**order, **wrong})
            assert imitation.exchange.counts().orders == 0
            refused = await asyncio.gather(*(buy(client, None) for _ in range(7)), return_exceptions=True)
            assert any(isinstance(one, ccxt.DDoSProtection) and '"code":"429"' in str(one) for one in refused)

    run(scenario)


def test_market_and_passing_orders() -> None:
    """Market sells, IOC and FOK orders end at once. For a market buy the library wants a price: it is in quote currency."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, "buy", 1.5, 100)
            sold = await client.create_order(SYMBOL, "market", "sell", 0.5)
            for force in ("FOK", "IOC"):
                await client.create_order(SYMBOL, "limit", "sell", 2, 100, {"timeInForce": force})
            shown = await client.fetch_canceled_and_closed_orders(SYMBOL)
            ended = {one["timeInForce"]: (one["status"], one["filled"]) for one in shown if one["id"] != sold["id"]}
            assert ended == {"FOK": ("canceled", 0), "IOC": ("canceled", 1)}
            assert (await client.fetch_order(sold["id"], SYMBOL))["status"] == "closed"
            with pytest.raises(ccxt.InvalidOrder, match="requires the price argument"):
                await client.create_order(SYMBOL, "market", "buy", 0.5)

    run(scenario)


def test_fills_are_told_one_by_one_newest_first_and_go_on_before_an_id() -> None:
    """``idLessThan``; a hundred at most on a page; the venue keeps 90 days."""
    clock = Clock()
    imitation = BitgetImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, FIRST, 130)
            for _ in range(130):
                by_another(imitation, "sell", 1, 100)
            start = client.milliseconds() - 60_000
            page = await client.fetch_my_trades(SYMBOL, start)
            assert len(page) == 100
            lowest = min(int(one["id"]) for one in page)
            rest = await client.fetch_my_trades(SYMBOL, start, None, {"idLessThan": str(lowest)})
            assert len({one["id"] for one in page + rest}) == 130
            assert {(one["order"], one["amount"], one["price"]) for one in page + rest} == {(made["id"], 1, 100)}
            with pytest.raises(ccxt.ExchangeError, match="90 days"):
                await client.fetch_my_trades(SYMBOL, start, None, {"endTime": start + KEPT_MS + 1})
            clock.forward(KEPT_MS / 1000 + 1)
            client.options["timeDifference"] = -KEPT_MS
            assert await client.fetch_my_trades(SYMBOL, start) == []

    run(scenario)


def test_a_fee_is_told_as_the_library_reads_it() -> None:
    """What was paid is below zero at the venue, above zero in the library."""
    imitation = BitgetImitation(dialect=Dialect(fee_rate=Decimal("0.001"), fee_currency="USDT"))

    async def scenario() -> None:
        async with served(imitation) as client:
            await buy(client, FIRST)
            by_another(imitation, "sell", 1, 100)
            (trade,) = await client.fetch_my_trades(SYMBOL)
            assert trade["fee"] == {"currency": "USDT", "cost": 0.1}

    run(scenario)


def test_balances_follow_trades_and_live_orders() -> None:
    """What is bought is there, what is paid is not, and what is on offer is frozen."""
    imitation = BitgetImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            before = await client.fetch_balance()
            await buy(client, FIRST, 2)
            by_another(imitation, "sell", 1, 100)
            after = await client.fetch_balance()
            assert after["BTC"]["total"] - before["BTC"]["total"] == 1
            assert after["USDT"]["total"] - before["USDT"]["total"] == -100
            assert after["USDT"]["used"] == 100

    run(scenario)


def test_an_unknown_key_is_refused() -> None:
    """40012, for the passphrase too."""

    async def scenario() -> None:
        async with served(BitgetImitation()) as client:
            for field in ("apiKey", "password"):
                kept = getattr(client, field)
                setattr(client, field, "another")
                with pytest.raises(ccxt.AuthenticationError, match='"code":"40012"'):
                    await buy(client, FIRST)
                with pytest.raises(ccxt.AuthenticationError, match='"code":"40012"'):
                    await client.fetch_open_orders(SYMBOL)
                setattr(client, field, kept)

    run(scenario)
