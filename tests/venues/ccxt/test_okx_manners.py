"""OKX's manners, through the adapter and the real client, against the imitation."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from adapter_kit import BTC, by_another, calling, cancel, connected, expiring, market, replace, run, soon_us
from aiohttp import web

from onefill.core.errors import VenueError
from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRejected,
    DuplicateId,
    Found,
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
from onefill.sim.imitations.okx import FILLS_US, UNFILLED_US, OkxImitation
from onefill.sim.imitations.okx_words import refusal
from onefill.venues.ccxt import okx as manners_module
from onefill.venues.ccxt.manners import manners_of
from onefill.venues.ccxt.okx import OkxManners
from onefill.venues.profile import load

SWAP = "BTC/USDT:USDT"


def test_they_are_found_by_ccxts_name_of_the_venue() -> None:
    """``okx`` is spoken to in its own manners, after its own profile."""
    assert manners_of("okx") is OkxManners
    assert load("okx").wire.client_id_parameter == "clOrdId"


@pytest.mark.parametrize("method", ["privatePostTradeBatchOrders", "privatePostTradeOrder"])
def test_the_expiry_goes_into_the_header(method: str) -> None:
    """Whether ccxt sends the order as a batch of one, as it does by itself, or alone: to the millisecond."""

    async def scenario() -> None:
        async with connected(OkxImitation, config_options={"createOrder": method}) as (venue, imitation, _):
            expires_at_us = soon_us()
            sent: list[Any] = []
            carried = imitation.exchange.submit
            imitation.exchange.submit = lambda request, now: sent.append(request) or carried(request, now)
            reply = await venue.submit(expiring("mine", expires_at_us=expires_at_us))
            assert isinstance(reply, Accepted), reply
            assert reply.order.status is VenueStatus.PENDING_NEW, "the reply shows no state: it is asked for"
            assert sent[0].expires_at_us == expires_at_us // 1000 * 1000
            path = "batch-orders" if method.endswith("BatchOrders") else "order"
            assert imitation.requests[f"POST /api/v5/trade/{path}"] == 1

    run(scenario)


def test_what_comes_after_its_expiry_is_too_late_and_made_nothing() -> None:
    """Code 50036, which ccxt does not know; an amend has an expiry too."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, imitation, clock):
            made = await venue.submit(expiring("kept"))
            assert isinstance(made, Accepted)
            clock.ahead_us = 60_000_000
            reply = await venue.submit(expiring("late"))
            assert isinstance(reply, TooLate), reply
            again = await venue.replace(
                replace("kept", 2, 90, venue_order_id=made.order.venue_order_id, expires_at_us=soon_us())
            )
            assert isinstance(again, TooLate), again
            (only,) = imitation.exchange.all_orders()
            assert (only.client_order_id, only.quantity) == ("kept", 1)

    run(scenario)


def test_a_pending_id_is_a_duplicate_and_the_latest_order_is_found() -> None:
    """The repeat of a live order is told as one; a look-up shows the latest order under an id, dead ones included."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, _, _clock):
            made = await venue.submit(expiring("again"))
            assert isinstance(made, Accepted)
            assert isinstance(await venue.submit(expiring("again")), DuplicateId)
            found = await venue.lookup("again", "main", BTC)
            assert isinstance(found, Found)
            assert (found.order.status, found.order.quantity, found.order.price) == (VenueStatus.NEW, 1, 100)
            await venue.cancel(cancel("again", found.order.venue_order_id))
            later = await venue.submit(expiring("again", quantity=2, time_in_force=TimeInForce.IOC))
            assert isinstance(later, Accepted)
            found = await venue.lookup("again", "main", BTC)
            assert isinstance(found, Found)
            assert found.order.venue_order_id == later.order.venue_order_id != made.order.venue_order_id
            assert found.order.status is VenueStatus.CANCELED
            assert isinstance(await venue.lookup("never", "main", BTC), NotFound)

    run(scenario)


def test_a_cancel_is_taken_in_and_its_outcome_is_asked_for() -> None:
    """By number or by id; what is dead or unknown is refused."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, _, _clock):
            for label, by_number in (("a", True), ("b", False)):
                made = await venue.submit(expiring(label))
                assert isinstance(made, Accepted)
                number = made.order.venue_order_id if by_number else None
                reply = await venue.cancel(cancel(label, number))
                assert isinstance(reply, Unknown)
                assert reply.answered
                found = await venue.lookup(label, "main", BTC)
                assert isinstance(found, Found)
                assert found.order.status is VenueStatus.CANCELED
                assert isinstance(await venue.cancel(cancel(label, number)), CancelRejected)
            assert isinstance(await venue.cancel(cancel("never")), CancelRejected)

    run(scenario)


def test_an_amend_is_shown_by_the_order_itself() -> None:
    """Number and id stay, the quantity counts what is executed; what ended is not amended."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, imitation, _):
            made = await venue.submit(expiring("mine", quantity=4))
            assert isinstance(made, Accepted)
            by_another(imitation, "sell", 1, 100)
            number = made.order.venue_order_id
            for known, quantity in ((number, 3), (None, 5)):
                reply = await venue.replace(replace("mine", quantity, 99, venue_order_id=known))
                assert isinstance(reply, Replaced), reply
                assert (reply.order.quantity, reply.order.price, reply.order.cum_quantity) == (quantity, 99, 1)
                assert (reply.order.venue_order_id, reply.order.client_order_id) == (number, "mine")
            await venue.cancel(cancel("mine", number))
            assert isinstance(await venue.replace(replace("mine", 6, 99, venue_order_id=number)), ReplaceRejected)
            assert isinstance(await venue.replace(replace("never", 6, 99, venue_order_id=None)), ReplaceRejected)

    run(scenario)


def test_an_amend_whose_order_cannot_be_shown_is_unknown() -> None:
    """It was taken in; what became of it is not said."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, imitation, _):
            made = await venue.submit(expiring("mine"))
            assert isinstance(made, Accepted)

            async def broken(*_: Any) -> Any:
                raise VenueError("no answer")

            venue.manners.find_by_number = broken
            reply = await venue.replace(replace("mine", 2, 99, venue_order_id=made.order.venue_order_id))
            assert isinstance(reply, Unknown)
            assert "took the amend" in reply.reason
            assert imitation.exchange.all_orders()[0].quantity == 2

    run(scenario)


def test_lists_are_read_to_their_end() -> None:
    """Open and ended orders however many, in every instrument; cancelled ones among those that ended."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, _, clock):
            venue.manners.page = 2
            begun_us = clock()
            for number in range(5):
                await venue.submit(expiring(f"open{number}"))
                await venue.submit(expiring(f"ended{number}", time_in_force=TimeInForce.IOC))
            await venue.submit(expiring("swap", instrument=SWAP))
            listed = await venue.open_orders("main")
            assert isinstance(listed, Listed), listed
            assert {one.client_order_id for one in listed.orders} == {f"open{n}" for n in range(5)} | {"swap"}
            scanned = await venue.scan("main", BTC, begun_us)
            assert isinstance(scanned, Listed), scanned
            wanted = {f"{kind}{n}" for n in range(5) for kind in ("open", "ended")}
            assert {one.client_order_id for one in scanned.orders} == wanted

    run(scenario)


def test_lists_too_long_to_be_read_are_not_taken_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather no list than one that misses orders."""
    monkeypatch.setattr(manners_module, "_MOST_PAGES", 2)

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, _, _clock):
            venue.manners.page = 1
            for number in range(3):
                await venue.submit(expiring(f"open{number}"))
            listed = await venue.open_orders("main")
            assert isinstance(listed, Unknown)
            assert "more than 2 pages" in listed.reason

    run(scenario)


def test_trades_are_read_without_gap_or_end_however_small_the_page() -> None:
    """Many in one millisecond, both sides of a match; older than three days they come from the history."""

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, imitation, clock):
            for _ in range(7):
                by_another(imitation, "sell", 1, 100)
            await venue.submit(market("taker", quantity=7))
            await venue.submit(expiring("a", "sell", 2, 101))
            await venue.submit(expiring("b", "buy", 2, 101))
            since_ms = clock() // 1000 - 10_000
            async with calling(imitation, venue.manners) as call:
                for page in (1, 2, 3, 100):
                    venue.manners.page = page
                    for from_ms in (since_ms, since_ms - 2 * FILLS_US // 1000):
                        told = await venue.manners.trades(call, BTC, from_ms)
                        keys = [venue.manners.trade_key(trade) for trade in told]
                        assert len(set(keys)) == len(keys) == 9
                        names = [venue.manners.trade_client_order_id(trade) for trade in told]
                        assert names == [*["taker"] * 7, "a", "b"]
                        assert sum(Decimal(trade["amount"]) for trade in told) == 11
                assert imitation.requests["GET /api/v5/trade/fills"] > 0
                assert imitation.requests["GET /api/v5/trade/fills-history"] > 0

    run(scenario)


def test_an_order_that_the_venue_forgot_holds_up_no_news() -> None:
    """Cancelled by somebody else without a fill, two hours ago: asked for in vain, and everything else is told."""

    async def scenario() -> None:
        async with connected(OkxImitation, instruments=(BTC,)) as (venue, imitation, clock):
            made = await venue.submit(expiring("forgotten"))
            assert isinstance(made, Accepted)
            canceled = imitation.exchange.cancel(cancel("forgotten"), clock())
            assert isinstance(canceled, Canceled)
            clock.ahead_us = UNFILLED_US + 1_000_000
            told = venue.stream(0)
            for number in range(3):
                by_another(imitation, "sell", 1, 100)
                await venue.submit(market(f"next{number}", expires_at_us=soon_us(100_000)))
                report = await anext(told)
                assert report.client_order_id == f"next{number}"
            assert imitation.requests["GET /api/v5/trade/order"] > 0, "it was asked for"
            await told.aclose()

    run(scenario)


@pytest.mark.parametrize("streams", [False, True])
def test_a_fee_is_told_the_same_by_list_and_stream(streams: bool) -> None:
    """What was paid is above zero, whichever way it is heard: of the stream's trades ccxt leaves the venue's own sign."""
    fees = msgspec.structs.replace(OkxImitation.dialect, fee_rate=Decimal("0.001"), fee_currency="USDT")

    class WithFees(OkxImitation):
        dialect = fees

    async def scenario() -> None:
        # With streams the lists are read so seldom here that what is heard was told by the stream.
        poll_s = 100.0 if streams else 0.05
        async with connected(WithFees, instruments=(BTC,), streams=streams, poll_s=poll_s) as (venue, imitation, _):
            told = venue.stream(0)
            first = asyncio.ensure_future(anext(told))
            while streams and imitation.exchange.listeners("main") == 0:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            await venue.submit(expiring("mine", quantity=2))
            by_another(imitation, "sell", 2, 100)
            report = await first
            assert (report.client_order_id, report.last_quantity) == ("mine", 2)
            assert (report.fee, report.fee_currency) == (Decimal("0.2"), "USDT")
            await told.aclose()

    run(scenario)


def test_market_orders_are_in_the_base_currency() -> None:
    """By default the venue takes the size of a market buy for an amount of money; ccxt says otherwise, and so it arrives."""

    async def scenario() -> None:
        async with connected(OkxImitation, instruments=(BTC,)) as (venue, imitation, _):
            by_another(imitation, "sell", "0.00000003", "100.07")
            await venue.submit(market("tiny", quantity="0.00000003"))
            (report,) = await venue.executions(0)
            assert (report.client_order_id, report.last_quantity, report.last_price) == (
                "tiny",
                Decimal("0.00000003"),
                Decimal("100.07"),
            )
            assert imitation.requests["GET /api/v5/trade/order"] == 0, "the fill names its order"

    run(scenario)


def test_codes_decide_where_ccxts_classes_do_not() -> None:
    """Refusals as a whole, with HTTP 200: unknown, throttled, too late, rejected."""
    cases = [
        ("50004", Unknown),
        ("50026", Unknown),
        ("51149", Unknown),
        ("50011", Throttled),
        ("50061", Throttled),
        ("50037", TooLate),
        ("50102", TooLate),
        ("51008", Rejected),
        ("51000", Rejected),
    ]

    async def scenario() -> None:
        async with connected(OkxImitation) as (venue, imitation, _):
            for code, kind in cases:
                imitation.unheard.append(lambda code=code: refusal((code, "said so")))
                reply = await venue.submit(expiring(f"case{code}"))
                assert isinstance(reply, kind), (code, reply)
            imitation.unheard.append(lambda: web.json_response({"code": "1", "data": [{"sCode": "51008", "sMsg": ""}]}))
            assert isinstance(await venue.submit(expiring("funds")), Rejected)
            assert imitation.exchange.all_orders() == []

    run(scenario)
