"""Gemini's manners against its imitation: found by the native name, and every trade read, whatever its second."""

import pytest
from adapter_kit import Clock, by_another, called, connected, order, place, run

from onefill.core.errors import VenueError
from onefill.core.messages import Accepted, Found, Rejected
from onefill.core.values import OrderType
from onefill.sim.imitations.gemini import GeminiImitation
from onefill.venues.ccxt.gemini import Gemini
from onefill.venues.ccxt.manners import manners_of

SYMBOL = "BTC/USDT"
FIRST, SECOND = "1" * 32, "2" * 32


class _Listing(GeminiImitation):
    lists_by_client_id = True


@pytest.mark.parametrize("kind", [GeminiImitation, _Listing])
def test_an_order_is_found_by_its_client_id(kind: type[GeminiImitation]) -> None:
    """Whether the venue shows one order or a list of all under the id: the latest one, dead or alive."""
    imitation = kind()

    async def scenario() -> None:
        async with called(imitation, Gemini) as (call, manners):
            first = await place(call, manners, order(FIRST))
            second = await place(call, manners, order(FIRST))
            assert first["id"] != second["id"]
            await place(call, manners, order(SECOND, price=101))
            by_another(imitation, "sell", "0.25", "101")
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["status"], shown["clientOrderId"]) == (second["id"], "open", FIRST)
            shown = await manners.find(call, SECOND, SYMBOL)
            assert shown is not None
            assert (shown["amount"], shown["filled"], shown["price"]) == ("1", "0.25", "101")

    run(scenario)


def test_an_id_that_was_never_used_is_not_there() -> None:
    """By an error or by an empty list."""

    async def scenario() -> None:
        async with called(_Listing(), Gemini) as (call, manners):
            assert await manners.find(call, FIRST, SYMBOL) is None
        async with connected(GeminiImitation) as (venue, _, _):
            assert not isinstance(await venue.lookup(FIRST, "main", SYMBOL), Found)

    run(scenario)


def test_every_trade_is_read_whatever_the_page_and_the_second() -> None:
    """Pages begin at a whole second, so that trades are seen twice and none is missed; each tells its client id."""
    clock = Clock()
    imitation = GeminiImitation(clock_us=clock)

    async def scenario() -> None:
        async with called(imitation, Gemini) as (call, manners):
            await place(call, manners, order(FIRST, quantity=9))
            for number in range(9):
                by_another(imitation, "sell", "1", "100")
                clock.ahead_us += 1_000_000 if number % 3 == 2 else 100
            everything = await manners.trades(call, SYMBOL, 0)
            assert len(everything) == 9
            assert {manners.trade_client_order_id(one) for one in everything} == {FIRST}
            for size in (4, 5, 9, 10):
                manners.page = size  # type: ignore[misc]
                assert await manners.trades(call, SYMBOL, 0) == everything
                since_ms = int(everything[1]["timestamp"])
                wanted = [one for one in everything if int(one["timestamp"]) >= since_ms]
                assert await manners.trades(call, SYMBOL, since_ms) == wanted

    run(scenario)


def test_more_trades_in_a_second_than_come_at_once_are_no_answer() -> None:
    """What cannot be listed whole is said, and not taken for all."""
    imitation = GeminiImitation(clock_us=lambda: 1_763_755_200_000_000)

    async def scenario() -> None:
        async with called(imitation, Gemini) as (call, manners):
            await place(call, manners, order(FIRST, quantity=9))
            for _ in range(5):
                by_another(imitation, "sell", "1", "100")
            manners.page = 5  # type: ignore[misc]
            with pytest.raises(VenueError, match="in one second"):
                await manners.trades(call, SYMBOL, 0)

    run(scenario)


def test_a_market_order_is_refused_here() -> None:
    """The library would not send it, at any time: the order is over at once and not tried again."""

    async def scenario() -> None:
        async with connected(GeminiImitation) as (venue, imitation, _):
            reply = await venue.submit(order(FIRST, price=None, order_type=OrderType.MARKET))
            assert isinstance(reply, Rejected)
            assert "limit orders only" in reply.reason
            assert imitation.exchange.counts().submits == 0
            assert isinstance(await venue.submit(order(SECOND)), Accepted)

    run(scenario)


def test_the_venue_is_known_by_its_name() -> None:
    """These manners are those of what ccxt calls gemini."""
    assert manners_of("gemini") is Gemini
