"""The imitation of Hyperliquid answers the real client library as the venue's documentation and its users say."""

from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import msgspec
import pytest
from client_kit import by_another as by_another_in
from imitation_kit import Clock, run, served

from onefill.sim.dialect import Dialect, capabilities_of
from onefill.sim.imitations.hyperliquid import HYPE_USDC, PRIVATE_KEY, WALLET, HyperliquidImitation
from onefill.venues.profile import load

SYMBOL = "HYPE/USDC"
FIRST, SECOND = "0x" + "1" * 32, "0x" + "2" * 32
QUIET = {"approvedBuilderFee": True, "builderFee": False, "refSet": True}


def by_another(imitation: HyperliquidImitation, side: str, quantity: object, price: object) -> None:
    """Have somebody else's limit order come to the venue."""
    by_another_in(imitation, side, quantity, price, SYMBOL)


async def buy(client: Any, cloid: str | None, quantity: float = 1, price: float = 40, **other: Any) -> Any:
    """Have a limit order made, with or without an id."""
    params = other if cloid is None else {"clientOrderId": cloid, **other}
    return await client.create_order(SYMBOL, "limit", "buy", quantity, price, params)


def test_it_promises_what_the_profile_says() -> None:
    """The dialect is coded to the profile. It decides at once and forgets nothing, which the profile does not count on."""
    profile, dialect = load("hyperliquid").capabilities, capabilities_of(HyperliquidImitation.dialect)
    assert profile.acknowledges_asynchronously
    forgets = profile.lookup_forgets_after_s
    assert msgspec.structs.replace(dialect, acknowledges_asynchronously=True, lookup_forgets_after_s=forgets) == profile


def test_the_wallet_is_that_of_the_key() -> None:
    """The library signs with the one and names the other."""
    assert ccxt.hyperliquid.eth_get_address_from_private_key(PRIVATE_KEY) == WALLET


def test_markets_are_those_of_the_exchange_with_its_steps() -> None:
    """The library makes a price's decimals of five significant digits of the price that the venue tells."""

    async def scenario() -> None:
        for tick, step in (("0.001", "0.01"), ("1", "1"), ("0.0001", "0.0001"), ("0.0000001", "1")):
            one = msgspec.structs.replace(
                HYPE_USDC, price_tick=Decimal(tick), quantity_step=Decimal(step), min_quantity=Decimal(step)
            )
            async with served(HyperliquidImitation(instruments=[one])) as client:
                market = client.markets[SYMBOL]
                assert client.symbols == [SYMBOL]
                assert market["precision"] == {"amount": float(step), "price": float(tick)}
        for tick, step in (("0.0001", "0.00001"), ("0.05", "1")):
            one = msgspec.structs.replace(HYPE_USDC, price_tick=Decimal(tick), quantity_step=Decimal(step))
            with pytest.raises(ccxt.BaseError, match=r"(decimals of price and size|power of ten)"):
                async with served(HyperliquidImitation(instruments=[one])):
                    pass

    run(scenario)


def test_a_new_order_that_rests_is_answered_with_ids_only() -> None:
    """What it is has to be asked."""

    async def scenario() -> None:
        async with served(HyperliquidImitation()) as client:
            made = await buy(client, FIRST, 0.5, 40.123)
            assert (made["clientOrderId"], made["status"], made["amount"]) == (FIRST, None, None)
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"], shown["status"]) == (made["id"], FIRST, "open")
            assert (shown["amount"], shown["price"], shown["filled"]) == (0.5, 40.123, 0)

    run(scenario)


def test_what_was_executed_at_once_reads_as_the_whole_order() -> None:
    """A trap: of an IOC order for 2 that got 1 the library shows amount 1, filled 1."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, "sell", 1, 40)
            made = await buy(client, FIRST, 2, timeInForce="IOC")
            assert (made["amount"], made["filled"], made["average"]) == (1, 1, 40)
            found = await client.fetch_order(made["id"], SYMBOL)
            assert (found["amount"], found["filled"], found["status"]) == (2, 1, "canceled")

    run(scenario)


def test_an_ioc_order_that_finds_nobody_is_an_error() -> None:
    """It was never placed; its status is ``iocCancelRejected`` ever after."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            by_another(imitation, "sell", 1, 40.001)
            with pytest.raises(ccxt.InvalidOrder, match="could not immediately match"):
                await buy(client, FIRST, timeInForce="IOC")
            found = await client.fetch_order("", SYMBOL, {"clientOrderId": FIRST})
            assert found["info"]["status"] == "iocCancelRejected"
            assert imitation.exchange.counts().orders == 1

    run(scenario)


def test_a_repeated_id_makes_a_second_order() -> None:
    """The worst of what the venue may do; the status shows the latest."""

    async def scenario() -> None:
        async with served(HyperliquidImitation()) as client:
            first, second = await buy(client, FIRST), await buy(client, FIRST)
            assert first["id"] != second["id"]
            assert len(await client.fetch_open_orders(SYMBOL)) == 2
            assert (await client.fetch_order("", SYMBOL, {"clientOrderId": FIRST}))["id"] == second["id"]

    run(scenario)


def test_the_status_may_be_unknown_for_an_order_that_is_open() -> None:
    """``unknownOid``, as users report; the list of open orders has it."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, FIRST)
            imitation.blind = 2
            for number, params in ((made["id"], {}), ("", {"clientOrderId": FIRST})):
                with pytest.raises(ccxt.OrderNotFound, match="unknownOid"):
                    await client.fetch_order(number, SYMBOL, params)
            assert [one["clientOrderId"] for one in await client.fetch_open_orders(SYMBOL)] == [FIRST]
            assert (await client.fetch_order(FIRST, SYMBOL))["id"] == made["id"]
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order("17", SYMBOL)

    run(scenario)


def test_a_late_action_does_nothing() -> None:
    """``expiresAfter`` is a moment. The library has no way to send it with an order."""
    clock = Clock()
    imitation = HyperliquidImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation, options={**HyperliquidImitation.config()["options"], **QUIET}) as client:
            request = client.create_orders_request(
                [{"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": "1", "price": "40", "params": {}}]
            )
            request["expiresAfter"] = client.milliseconds() + 5000
            clock.forward(6)
            with pytest.raises(ccxt.ExchangeError, match="expired"):
                await client.private_post_exchange(request)
            assert (imitation.exchange.counts().too_late, imitation.exchange.counts().orders) == (1, 0)
            await buy(client, FIRST, expiresAfter=1)
            assert imitation.exchange.counts().orders == 1

    run(scenario)


def test_a_nonce_counts_once_and_only_near_the_venues_time() -> None:
    """The very same bytes a second time are refused."""
    clock = Clock()
    imitation = HyperliquidImitation(clock_us=clock)

    async def scenario() -> None:
        async with served(imitation) as client:
            request = client.create_orders_request(
                [{"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": "1", "price": "40", "params": {}}]
            )
            assert (await client.private_post_exchange(request))["status"] == "ok"
            with pytest.raises(ccxt.ExchangeError, match="duplicate nonce"):
                await client.private_post_exchange(request)
            clock.forward(3 * 86_400)
            with pytest.raises(ccxt.ExchangeError, match="is not near"):
                await buy(client, FIRST)
            assert imitation.exchange.counts().orders == 1

    run(scenario)


def test_a_cancel_names_either_id_and_one_of_a_dead_order_is_refused() -> None:
    """With HTTP 200, and one text for all that is dead or never was."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            first, _ = await buy(client, FIRST, 2), await buy(client, SECOND)
            by_another(imitation, "sell", 1, 40)
            assert (await client.cancel_order(first["id"], SYMBOL))["info"] == "success"
            await client.cancel_order(None, SYMBOL, {"clientOrderId": SECOND})
            for number, params in ((first["id"], {}), (None, {"clientOrderId": SECOND}), ("17", {})):
                with pytest.raises(ccxt.OrderNotFound, match="never placed, already canceled, or filled"):
                    await client.cancel_order(number, SYMBOL, params)
            shown = await client.fetch_canceled_orders(SYMBOL)
            assert sorted((one["status"], one["filled"]) for one in shown) == [("canceled", 0), ("canceled", 1)]

    run(scenario)


def test_a_modification_makes_a_new_order_of_its_own_size() -> None:
    """Assumed: what the old one executed does not count. The number is new, the id stays."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, FIRST, 2)
            by_another(imitation, "sell", 1, 40)
            edited = await client.edit_order(made["id"], SYMBOL, "limit", "buy", 2, 39, {"clientOrderId": FIRST})
            assert edited["id"] != made["id"]
            (shown,) = await client.fetch_open_orders(SYMBOL)
            assert (shown["id"], shown["clientOrderId"]) == (edited["id"], FIRST)
            assert (shown["amount"], shown["filled"]) == (2, 0)
            with pytest.raises(ccxt.ExchangeError, match="Cannot modify"):
                await client.edit_order(made["id"], SYMBOL, "limit", "buy", 2, 39, {"clientOrderId": FIRST})

    run(scenario)


def test_fills_are_told_one_by_one() -> None:
    """The last ones newest first, or from a moment on oldest first, with their order's ids and fee."""
    imitation = HyperliquidImitation(dialect=Dialect(fee_rate=Decimal("0.001"), fee_currency="USDC"))

    async def scenario() -> None:
        async with served(imitation) as client:
            made = await buy(client, FIRST, 3)
            by_another(imitation, "sell", 1, 40)
            by_another(imitation, "sell", 2, 40)
            for since in (None, client.milliseconds() - 60_000):
                fills = await client.fetch_my_trades(SYMBOL, since)
                assert [(one["order"], one["amount"], one["price"]) for one in fills] == [
                    (made["id"], 1, 40),
                    (made["id"], 2, 40),
                ]
                assert fills[0]["fee"] == {"cost": 0.04, "currency": "USDC"}
                assert {one["info"]["cloid"] for one in fills} == {FIRST}
            assert await client.fetch_my_trades(SYMBOL, client.milliseconds() + 60_000) == []
            assert [one["status"] for one in await client.fetch_closed_orders(SYMBOL)] == ["closed"]

    run(scenario)


def test_balances_follow_trades_and_live_orders() -> None:
    """What is bought is there, what is paid is not, and what is on offer is held."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with served(imitation) as client:
            before = await client.fetch_balance()
            await buy(client, FIRST, 2)
            by_another(imitation, "sell", 1, 40)
            after = await client.fetch_balance()
            assert after["HYPE"]["total"] - before["HYPE"]["total"] == 1
            assert after["USDC"]["total"] - before["USDC"]["total"] == -40
            assert after["USDC"]["used"] == 40
            client.walletAddress = "0x" + "0" * 40
            assert await client.fetch_open_orders(SYMBOL) == []
            assert await client.fetch_my_trades(SYMBOL) == []

    run(scenario)


def test_the_library_approves_a_fee_and_names_a_referrer_unasked() -> None:
    """A trap: a client that only loads markets sends two actions; every order then pays a builder, unless told otherwise."""
    loud, quiet = HyperliquidImitation(), HyperliquidImitation()

    async def scenario() -> None:
        async with served(loud):
            assert loud.requests["POST /exchange"] == 2
        async with served(quiet, options={**HyperliquidImitation.config()["options"], **QUIET}):
            assert quiet.requests["POST /exchange"] == 0

    run(scenario)


def test_what_is_wrong_with_an_order_is_said_at_once() -> None:
    """With HTTP 200 and a text for each order; 422 for what cannot be read."""
    imitation = HyperliquidImitation(dialect=Dialect(requests_per_s=1))

    async def scenario() -> None:
        async with served(imitation) as client:
            order = {"a": 10_000, "b": True, "p": "40", "s": "1", "r": False, "t": {"limit": {"tif": "Gtc"}}}

            async def send(**wrong: Any) -> Any:
                nonce = client.incrementing_nonce()
                action = {"type": "order", "orders": [{**order, **wrong}], "grouping": "na"}
                body = {"action": action, "nonce": nonce, "signature": client.sign_l1_action(action, nonce)}
                return await client.private_post_exchange(body)

            for wrong, told in (
                ({"a": 10_001}, "Invalid asset"),
                ({"c": "0x1"}, "422"),
                ({"t": {"limit": {"tif": "Fok"}}}, "422"),
                ({"s": "x"}, "422"),
            ):
                with pytest.raises(ccxt.BaseError, match=told):
                    await send(**wrong)
            with pytest.raises(ccxt.InvalidOrder, match="divisible by tick size"):
                await send(p="40.0001")
            with pytest.raises(ccxt.RateLimitExceeded, match="Too many cumulative requests"):
                await send()
            assert imitation.exchange.counts().orders == 0

    run(scenario)
