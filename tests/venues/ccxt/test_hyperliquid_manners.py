"""Hyperliquid's manners, through the real client library against the imitation."""

from collections.abc import Awaitable
from typing import Any

import ccxt.async_support as ccxt
import ccxt.pro as streaming
import pytest
from adapter_kit import Calling, called, cancel, place, replace, run
from adapter_kit import by_another as by_another_in
from adapter_kit import order as order_in

from onefill.core.errors import VenueError
from onefill.core.messages import Accepted, Rejected, SubmitRequest, VenueStatus
from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.base import ACCOUNT
from onefill.sim.imitations.hyperliquid import MOST_FILLS, HyperliquidImitation
from onefill.venues.ccxt import hyperliquid
from onefill.venues.ccxt import manners as base
from onefill.venues.ccxt.hyperliquid import HyperliquidManners
from onefill.venues.ccxt.orders import Strange
from onefill.venues.ccxt.venue import CcxtVenue

SYMBOL = "HYPE/USDC"
FIRST, SECOND = "0x" + "1" * 32, "0x" + "2" * 32


def order(
    client_order_id: str, side: str = "buy", quantity: object = 1, price: object = 40, **other: Any
) -> SubmitRequest:
    """Return a limit order in HYPE/USDC."""
    return order_in(client_order_id, side, quantity, price, **{"instrument": SYMBOL, **other})


def by_another(imitation: HyperliquidImitation, side: str, quantity: object, price: object) -> None:
    """Have somebody else's limit order come to the venue."""
    by_another_in(imitation, side, quantity, price, instrument=SYMBOL)


def noted(call: Calling) -> list[Any]:
    """Return the bodies of the actions that are sent from now on."""
    bodies: list[Any] = []
    fetch = call.exchange.fetch

    async def watched(url: str, method: str, headers: Any, body: Any) -> Any:
        if url.endswith("/exchange"):
            bodies.append(call.exchange.parse_json(body))
        answer: Awaitable[Any] = fetch(url, method, headers, body)
        return await answer

    call.exchange.fetch = watched
    return bodies


def test_they_are_those_of_hyperliquid() -> None:
    """Registered under the library's name, with the profile of the same name."""
    assert base.manners_of("hyperliquid") is HyperliquidManners
    assert HyperliquidManners.profile == "hyperliquid"


def test_the_expiry_is_signed_with_the_order() -> None:
    """``expiresAfter`` is in the body and in the signature; the venue honours it; a cancel, which is not stamped, has none."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            bodies = noted(call)
            call.stamped = 5000
            await place(call, manners, order(FIRST))
            call.stamped = None
            await manners.cancel(call, cancel(FIRST, instrument=SYMBOL))
            sent = bodies[0]
            assert 0 < sent["expiresAfter"] - call.exchange.milliseconds() <= 5000
            signed = call.exchange.sign_l1_action(sent["action"], sent["nonce"], None, sent["expiresAfter"])
            assert sent["signature"] == signed
            assert sent["signature"] != call.exchange.sign_l1_action(sent["action"], sent["nonce"])
            assert "expiresAfter" not in bodies[1]
            late_us = imitation.clock_us() + 6_000_000
            imitation.clock_us = lambda: late_us
            call.stamped = 5000
            with pytest.raises(ccxt.ExchangeError, match="expired"):
                await place(call, manners, order(SECOND))
            assert imitation.exchange.counts().too_late == 1

    run(scenario)


def test_nothing_is_signed_but_what_was_asked_for() -> None:
    """No builder's fee, no referrer: one order is one action, and the order names no builder."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        await imitation.start()
        venue = CcxtVenue("hyperliquid", ACCOUNT, config=HyperliquidImitation.config(), url=imitation.url)
        try:
            await venue.start()
            assert imitation.requests["POST /exchange"] == 0
            asked = imitation.requests["POST /info"]
            bodies = noted(venue._client)  # type: ignore[arg-type]
            reply = await venue.submit(order(FIRST, expires_at_us=imitation.clock_us() + 5_000_000))
            assert isinstance(reply, Accepted)
            assert [body["action"]["type"] for body in bodies] == ["order"]
            assert "builder" not in bodies[0]["action"]
            assert imitation.requests["POST /info"] == asked
        finally:
            await venue.close()
            await imitation.close()

    run(scenario)


def test_a_builder_that_is_paid_on_purpose_stays() -> None:
    """Somebody's own options are theirs."""

    async def scenario() -> None:
        async with called(HyperliquidImitation(), HyperliquidManners) as (call, manners):
            call.exchange.options["builderFee"] = True
            call.stamped = 5000
            bodies = noted(call)
            await place(call, manners, order(FIRST))
            assert bodies[0]["action"]["builder"]["f"] == 10

    run(scenario)


def test_an_order_is_found_by_either_id_though_its_status_is_unknown() -> None:
    """Live: in the list of live orders. Over: in the list of past ones. ``None`` only if no list has it."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            made = await place(call, manners, order(FIRST))
            for state in ("open", "closed"):
                for blind in (0, 2):
                    imitation.blind = blind
                    by_id = await manners.find(call, FIRST, SYMBOL)
                    by_number = await manners.find_by_number(call, made["id"], SYMBOL)
                    assert by_id is not None
                    assert by_number is not None
                    assert (
                        (by_id["id"], by_id["status"]) == (by_number["id"], by_number["status"]) == (made["id"], state)
                    )
                by_another(imitation, "sell", 1, 40)
            assert await manners.find(call, SECOND, SYMBOL) is None
            assert await manners.find_by_number(call, "17", SYMBOL) is None

    run(scenario)


def test_an_order_that_only_its_fills_know_is_not_said_to_be_absent() -> None:
    """Asked for by its number then; if that does not show it either, nothing is known."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            made = await place(call, manners, order(FIRST))
            by_another(imitation, "sell", 1, 40)
            call.exchange.fetch_orders = nothing
            imitation.blind = 1
            found = await manners.find(call, FIRST, SYMBOL)
            assert found is not None
            assert found["id"] == made["id"]
            imitation.blind = 2
            with pytest.raises(Strange, match=f"number {made['id']}, and it is not shown"):
                await manners.find(call, FIRST, SYMBOL)

    async def nothing(*_: Any) -> list[Any]:
        return []

    run(scenario)


def test_what_was_executed_at_once_is_not_taken_for_the_orders_size() -> None:
    """An IOC order for 2 that got 1 is an order for 2."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        await imitation.start()
        venue = CcxtVenue("hyperliquid", ACCOUNT, config=HyperliquidImitation.config(), url=imitation.url)
        try:
            await venue.start()
            by_another(imitation, "sell", 1, 40)
            reply = await venue.submit(order(FIRST, quantity=2, time_in_force=TimeInForce.IOC))
            assert isinstance(reply, Accepted)
            assert (reply.order.quantity, reply.order.cum_quantity) == (2, 1)
            found = await venue.manners.find(venue._client, FIRST, SYMBOL)
            assert found is not None
            assert (found["amount"], found["filled"], found["status"]) == ("2", "1", "canceled")
        finally:
            await venue.close()
            await imitation.close()

    run(scenario)


def test_an_ioc_order_that_found_nobody_is_rejected() -> None:
    """By the reply, and by its status ever after."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            with pytest.raises(ccxt.InvalidOrder, match="could not immediately match"):
                await place(call, manners, order(FIRST, time_in_force=TimeInForce.IOC))
            found = await manners.find(call, FIRST, SYMBOL)
            assert found is not None
            assert (found["status"], found["filled"]) == ("rejected", "0")
            assert imitation.exchange.counts().orders == 0

    run(scenario)


def test_market_and_fill_or_kill_orders_are_refused_before_anything_is_sent() -> None:
    """There are none; what the library makes of a market order is another order."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        await imitation.start()
        venue = CcxtVenue("hyperliquid", ACCOUNT, config=HyperliquidImitation.config(), url=imitation.url)
        try:
            await venue.start()
            for wanted, code in (
                (order(FIRST, price=None, order_type=OrderType.MARKET), "cannot_be_passed_on"),
                (order(FIRST, time_in_force=TimeInForce.FOK), "time_in_force"),
            ):
                reply = await venue.submit(wanted)
                assert isinstance(reply, Rejected)
                assert reply.code == code
            assert imitation.requests["POST /exchange"] == 0
        finally:
            await venue.close()
            await imitation.close()

    run(scenario)


def test_a_cancel_names_the_number_where_it_is_known_and_the_id_otherwise() -> None:
    """Each once; the reply shows no order; a dead order is OrderNotFound."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            made = await place(call, manners, order(FIRST))
            await place(call, manners, order(SECOND))
            assert await manners.cancel(call, cancel(FIRST, made["id"], SYMBOL)) is None
            assert await manners.cancel(call, cancel(SECOND, instrument=SYMBOL)) is None
            assert [one.status for one in imitation.exchange.all_orders()] == [VenueStatus.CANCELED] * 2
            with pytest.raises(ccxt.OrderNotFound, match="never placed"):
                await manners.cancel(call, cancel(SECOND, instrument=SYMBOL))

    run(scenario)


def test_a_replace_is_not_sent() -> None:
    """The profile declares none; if somebody does, a modification is still not used."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            await place(call, manners, order(FIRST))
            with pytest.raises(ccxt.NotSupported, match="more than is wanted"):
                await manners.replace(call, replace(FIRST, 3, instrument=SYMBOL), "limit")
            assert imitation.exchange.all_orders()[0].quantity == 1

    run(scenario)


def test_trades_are_read_to_the_end_whatever_instruments_fill_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page counts the fills of all instruments. More in one ms than fit on it is said, not passed over."""
    monkeypatch.setattr("onefill.sim.imitations.hyperliquid.MOST_FILLS", 50)
    monkeypatch.setattr(HyperliquidManners, "page", 50)
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            start_us = imitation.clock_us()
            await place(call, manners, order(FIRST, quantity=130))
            for number in range(130):
                at_us = start_us + 1_000_000 + number // 20 * 1000
                imitation.clock_us = lambda at_us=at_us: at_us
                by_another(imitation, "sell", 1, 40)
            fills = await manners.trades(call, SYMBOL, 0)
            assert len({manners.trade_key(one) for one in fills}) == len(fills) == 130
            assert {manners.trade_client_order_id(one) for one in fills} == {FIRST}
            assert await manners.trades(call, "OTHER/USDC", 0) == []
            await place(call, manners, order(SECOND, quantity=60))
            for _ in range(60):
                by_another(imitation, "sell", 1, 40)
            with pytest.raises(VenueError, match="cannot be listed"):
                await manners.trades(call, SYMBOL, 0)

    assert MOST_FILLS == 2_000
    run(scenario)


def test_past_orders_are_listed_as_far_as_the_list_surely_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that may have been cut before the moment asked for is no answer."""
    imitation = HyperliquidImitation()

    async def scenario() -> None:
        async with called(imitation, HyperliquidManners) as (call, manners):
            since_ms = call.exchange.milliseconds() - 1000
            for cloid in (FIRST, SECOND):
                await place(call, manners, order(cloid))
            await manners.cancel(call, cancel(FIRST, instrument=SYMBOL))
            ended = await manners.ended_orders(call, SYMBOL, since_ms)
            assert [(manners.client_order_id(one), one["status"]) for one in ended] == [(FIRST, "canceled")]
            assert [manners.client_order_id(one) for one in await manners.open_orders(call, None)] == [SECOND]
            monkeypatch.setattr(hyperliquid, "MOST_HISTORY", 6)
            with pytest.raises(Strange, match="may not go back"):
                await manners.ended_orders(call, SYMBOL, since_ms)
            assert await manners.ended_orders(call, SYMBOL, since_ms + 10_000_000) == []

    run(scenario)


def test_what_a_stream_tells_is_read_from_the_list() -> None:
    """The library takes a stream's fee for USDC, whatever it was paid in."""
    fill = {
        "coin": "@0",
        "side": "B",
        "px": "40",
        "sz": "1",
        "time": 1,
        "oid": 2,
        "tid": 3,
        "fee": "0.1",
        "feeToken": "HYPE",
    }
    client = streaming.hyperliquid()
    assert client.parse_trade(fill)["fee"]["currency"] == "HYPE"
    assert client.parse_ws_trade(fill)["fee"]["currency"] == "USDC"
    assert HyperliquidManners().heard_trade(client.parse_ws_trade(fill)) is None
