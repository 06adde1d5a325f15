"""Deribit's manners, through the adapter and the real client, against the imitation."""

from decimal import Decimal
from typing import Any

import pytest
from adapter_kit import BTC, by_another, calling, cancel, connected, expiring, market, replace, run, soon_us

from onefill.core.errors import VenueError
from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRejected,
    ExecutionKind,
    Found,
    Held,
    Holdings,
    Listed,
    NotFound,
    Rejected,
    Replaced,
    ReplaceRejected,
    Throttled,
    TooLate,
    Unknown,
    VenueStatus,
)
from onefill.core.values import TimeInForce
from onefill.sim.imitations.deribit import RECENT_ORDERS_US, RECENT_TRADES_US, DeribitImitation
from onefill.sim.imitations.deribit_words import error
from onefill.venues.ccxt.deribit import DeribitManners
from onefill.venues.ccxt.manners import manners_of
from onefill.venues.profile import load

SWAP = "BTC/USDC:USDC"


def test_they_are_found_by_ccxts_name_of_the_venue() -> None:
    """``deribit`` is spoken to in its own manners, after its own profile."""
    assert manners_of("deribit") is DeribitManners
    assert load("deribit").wire.client_id_parameter == "label"


def test_an_order_carries_its_label_and_its_expiry() -> None:
    """The label is what it is found by; ``valid_until`` is the request's own expiry, in ms."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            expires_at_us = soon_us()
            sent: list[Any] = []
            carried = imitation.exchange.submit
            imitation.exchange.submit = lambda request, now: sent.append(request) or carried(request, now)
            reply = await venue.submit(expiring("mine", expires_at_us=expires_at_us))
            assert isinstance(reply, Accepted), reply
            assert (reply.order.client_order_id, reply.order.status) == ("mine", VenueStatus.NEW)
            assert reply.order.venue_order_id.startswith("BTC_USDT-")
            assert sent[0].expires_at_us == expires_at_us // 1000 * 1000
            found = await venue.lookup("mine", "main", BTC)
            assert found == Found(reply.order)

    run(scenario)


def test_what_comes_after_its_expiry_is_too_late_and_made_nothing() -> None:
    """Code 13888, which ccxt files under no class of its own, is judged by itself: too late, of a replace too."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, clock):
            made = await venue.submit(expiring("kept"))
            assert isinstance(made, Accepted)
            clock.ahead_us = 60_000_000
            reply = await venue.submit(expiring("late"))
            assert isinstance(reply, TooLate), reply
            again = await venue.replace(
                replace("kept", 2, 90, venue_order_id=made.order.venue_order_id, expires_at_us=soon_us())
            )
            assert isinstance(again, TooLate), again
            assert len(imitation.exchange.all_orders()) == 1
            assert imitation.exchange.all_orders()[0].quantity == 1

    run(scenario)


def test_times_in_force_arrive() -> None:
    """IOC and FOK go out by ccxt's word for them and come back as the venue's."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            by_another(imitation, "sell", 1, 100)
            part = await venue.submit(expiring("ioc", quantity=2, time_in_force=TimeInForce.IOC))
            assert isinstance(part, Accepted)
            assert (part.order.status, part.order.cum_quantity) == (VenueStatus.CANCELED, 1)
            none = await venue.submit(expiring("fok", time_in_force=TimeInForce.FOK))
            assert isinstance(none, Accepted)
            assert (none.order.status, none.order.cum_quantity) == (VenueStatus.CANCELED, 0)
            kinds = [one.time_in_force for one in imitation.exchange.all_orders() if one.account == "main"]
            assert kinds == [TimeInForce.IOC, TimeInForce.FOK]
            day = await venue.submit(expiring("day", time_in_force=TimeInForce.DAY))
            assert isinstance(day, Rejected)

    run(scenario)


def test_a_label_finds_dead_orders_too_long_after_their_end() -> None:
    """Filled or cancelled, recent or not: what the recent orders do not show any more stands in the history."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, clock):
            by_another(imitation, "sell", 1, 100)
            await venue.submit(market("filled"))
            await venue.submit(expiring("ended", time_in_force=TimeInForce.IOC))
            await venue.submit(expiring("open"))
            for ahead_us in (0, RECENT_ORDERS_US + 1_000_000):
                clock.ahead_us = ahead_us
                for label, status in (("filled", VenueStatus.FILLED), ("ended", VenueStatus.CANCELED)):
                    found = await venue.lookup(label, "main", BTC)
                    assert isinstance(found, Found), (label, found)
                    assert found.order.status is status
                assert isinstance(await venue.lookup("open", "main", BTC), Found)
                assert isinstance(await venue.lookup("never", "main", BTC), NotFound)

    run(scenario)


def test_an_order_that_ended_long_ago_is_told_as_ended() -> None:
    """Its number is not among the recent ones any more; the history has it, and the stream tells its end."""

    async def scenario() -> None:
        async with connected(DeribitImitation, instruments=(BTC,)) as (venue, imitation, clock):
            made = await venue.submit(expiring("old"))
            assert isinstance(made, Accepted)
            assert isinstance(imitation.exchange.cancel(cancel("old"), clock()), CancelRejected), "only by its number"
            ended = imitation.exchange.cancel(cancel("old", "X1"), clock())
            assert isinstance(ended, Canceled)
            clock.ahead_us = RECENT_ORDERS_US + 1_000_000
            told = venue.stream(0)
            report = await anext(told)
            assert (report.kind, report.client_order_id) == (ExecutionKind.CANCELED, "old")
            await told.aclose()
            async with calling(imitation, venue.manners) as call:
                assert await venue.manners.find_by_number(call, "BTC_USDT-17", BTC) is None

    run(scenario)


def test_a_history_too_long_to_be_read_says_nothing() -> None:
    """Where older orders fill more pages than are read, a label that shows nothing is unknown, not absent."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, clock):
            for number in range(11):
                await venue.submit(expiring(f"old{number}", time_in_force=TimeInForce.IOC))
            clock.ahead_us = RECENT_ORDERS_US + 1_000_000
            assert isinstance(await venue.lookup("never", "main", BTC), NotFound)
            venue.manners.page = 1
            reply = await venue.lookup("never", "main", BTC)
            assert isinstance(reply, Unknown)
            assert "longer than 10 pages" in reply.reason
            assert imitation.requests["GET /api/v2/private/get_order_history_by_instrument"] == 11

    run(scenario)


def test_a_contract_is_found_in_the_currency_that_settles_it() -> None:
    """A swap's label is asked for in USDC, once; a pair's in its base, then in what it is paid with."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            path = "GET /api/v2/private/get_order_state_by_label"
            await venue.submit(expiring("swap", instrument=SWAP))
            assert isinstance(await venue.lookup("swap", "main", SWAP), Found)
            assert imitation.requests[path] == 1
            await venue.submit(expiring("pair"))
            assert isinstance(await venue.lookup("pair", "main", BTC), Found)
            assert imitation.requests[path] == 2
            assert isinstance(await venue.lookup("pair", "main", SWAP), NotFound)

    run(scenario)


def test_two_orders_under_one_label_are_told_and_not_taken_for_one() -> None:
    """Nothing decides here which of them was meant: the look-up is unknown and names both numbers."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, _, _clock):
            numbers = []
            for _ in range(2):
                reply = await venue.submit(expiring("twice"))
                assert isinstance(reply, Accepted)
                numbers.append(reply.order.venue_order_id)
            found = await venue.lookup("twice", "main", BTC)
            assert isinstance(found, Unknown)
            assert all(number in found.reason for number in numbers)

    run(scenario)


def test_a_cancel_names_the_venues_number() -> None:
    """Without it the adapter sends nothing; the manners themselves look the number up. Dead orders are refused."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            made = await venue.submit(expiring("mine"))
            assert isinstance(made, Accepted)
            assert isinstance(await venue.cancel(cancel("mine")), CancelRejected)
            assert imitation.requests["GET /api/v2/private/cancel"] == 0
            reply = await venue.cancel(cancel("mine", made.order.venue_order_id))
            assert isinstance(reply, Canceled), reply
            again = await venue.cancel(cancel("mine", made.order.venue_order_id))
            assert isinstance(again, CancelRejected)
            await venue.submit(expiring("other"))
            async with calling(imitation, venue.manners) as call:
                shown = await venue.manners.cancel(call, cancel("other"))
                assert shown is not None
                assert shown["status"] == "canceled"
                with pytest.raises(VenueError, match="nothing was sent"):
                    await venue.manners.cancel(call, cancel("unheard-of"))

    run(scenario)


def test_a_replace_keeps_number_and_label() -> None:
    """The wanted quantity counts what is executed; an order that ended is refused."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            made = await venue.submit(expiring("mine", quantity=4))
            assert isinstance(made, Accepted)
            by_another(imitation, "sell", 1, 100)
            number = made.order.venue_order_id
            reply = await venue.replace(replace("mine", 3, 99, venue_order_id=number))
            assert isinstance(reply, Replaced), reply
            assert (reply.order.quantity, reply.order.price, reply.order.cum_quantity) == (3, 99, 1)
            assert (reply.order.venue_order_id, reply.order.client_order_id) == (number, "mine")
            await venue.cancel(cancel("mine", number))
            assert isinstance(await venue.replace(replace("mine", 5, 99, venue_order_id=number)), ReplaceRejected)

    run(scenario)


def test_open_orders_are_listed_in_every_currency() -> None:
    """ccxt would ask for one currency where no instrument is named; every live order is listed here."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, _, _clock):
            await venue.submit(expiring("pair"))
            await venue.submit(expiring("swap", instrument=SWAP))
            listed = await venue.open_orders("main")
            assert isinstance(listed, Listed)
            assert {one.client_order_id: one.instrument for one in listed.orders} == {"pair": BTC, "swap": SWAP}

    run(scenario)


def test_a_scan_shows_what_ended_without_a_trade_and_what_is_old() -> None:
    """The history is asked for unfilled orders too, page by page, and for historical ones where the moment is old."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, _, clock):
            venue.manners.page = 2
            begun_us = clock()
            for number in range(5):
                await venue.submit(expiring(f"no{number}", time_in_force=TimeInForce.IOC))
            await venue.submit(expiring("live"))
            for ahead_us in (0, RECENT_ORDERS_US + 1_000_000):
                clock.ahead_us = ahead_us
                listed = await venue.scan("main", BTC, begun_us - ahead_us)
                assert isinstance(listed, Listed), listed
                assert {one.client_order_id for one in listed.orders} == {f"no{n}" for n in range(5)} | {"live"}

    run(scenario)


def test_trades_are_read_without_gap_or_end_however_small_the_page() -> None:
    """Many in one millisecond, both sides of a match, recent and historical ones: each execution once."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, clock):
            for _ in range(7):
                by_another(imitation, "sell", 1, 100)
            await venue.submit(market("taker", quantity=7))
            await venue.submit(expiring("a", "sell", 2, 101))
            await venue.submit(expiring("b", "buy", 2, 101))
            since_ms = clock() // 1000 - 10_000
            async with calling(imitation, venue.manners) as call:
                for page in (2, 3, 1000):
                    venue.manners.page = page
                    told = await venue.manners.trades(call, BTC, since_ms)
                    keys = [venue.manners.trade_key(trade) for trade in told]
                    assert len(set(keys)) == len(keys) == 9
                    labels = [venue.manners.trade_client_order_id(trade) for trade in told]
                    assert sorted(labels) == ["a", "b", *["taker"] * 7]
                    assert sum(Decimal(trade["amount"]) for trade in told) == 11
                clock.ahead_us = RECENT_TRADES_US + 1_000_000
                by_another(imitation, "sell", 1, 100)
                await venue.submit(market("today", expires_at_us=soon_us(100_000)))
                old_ms = since_ms - 2 * RECENT_TRADES_US // 1000
                labels = [
                    venue.manners.trade_client_order_id(trade)
                    for trade in await venue.manners.trades(call, BTC, old_ms)
                ]
                assert len(labels) == 10
                assert labels[-1] == "today"

    run(scenario)


def test_executions_come_with_their_order_and_exact_numbers() -> None:
    """What the adapter tells names our order by its label, without asking for the order."""

    async def scenario() -> None:
        async with connected(DeribitImitation, instruments=(BTC,)) as (venue, imitation, _):
            by_another(imitation, "sell", "0.00000003", "100.07")
            await venue.submit(market("tiny", quantity="0.00000003"))
            (report,) = await venue.executions(0)
            assert (report.client_order_id, report.last_quantity, report.last_price) == (
                "tiny",
                Decimal("0.00000003"),
                Decimal("100.07"),
            )
            assert imitation.requests["GET /api/v2/private/get_order_state"] == 0

    run(scenario)


def test_positions_are_not_told_beside_a_pair() -> None:
    """What is held of a pair is no position there: left out it would read as flat, so that nothing is said."""

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            by_another(imitation, "buy", 2, 100, SWAP)
            await venue.submit(market("swap", "sell", 2, instrument=SWAP))
            assert await venue.positions("main") == Holdings((Held(instrument=SWAP, quantity=Decimal(-2)),))
            await venue.submit(expiring("pair"))
            assert isinstance(await venue.positions("main"), Unknown)

    run(scenario)


def test_codes_decide_where_ccxts_classes_do_not() -> None:
    """A general failure and a service that does not respond are unknown; a full queue is throttled; funds are a refusal."""
    cases = [
        (10001, "error", Unknown),
        (11094, "internal_server_error", Unknown),
        (13028, "temporarily_unavailable", Unknown),
        (10028, "too_many_requests", Throttled),
        (10047, "matching_engine_queue_full", Throttled),
        (10009, "not_enough_funds", Rejected),
        (10043, "price_wrong_tick", Rejected),
    ]

    async def scenario() -> None:
        async with connected(DeribitImitation) as (venue, imitation, _):
            for code, message, kind in cases:
                imitation.unheard.append(lambda code=code, message=message: error(code, message))
                reply = await venue.submit(expiring(f"case{code}"))
                assert isinstance(reply, kind), (code, reply)
            assert imitation.exchange.all_orders() == []

    run(scenario)
