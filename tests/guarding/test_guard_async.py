"""A guarded asynchronous client: the same on the user's own event loop."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pytest
from guard_kit import BTC, Venue, hang

import onefill
from onefill.sim.imitations import spoils
from onefill.venues.ccxt.address import point


async def order(exchange: Any, key: str = "k", **beside: Any) -> Any:
    """Place a limit order."""
    return await exchange.create_order(BTC, "limit", "buy", 0.5, 100, params={"key": key}, **beside)


@pytest.mark.parametrize("spoil", [spoils.drop, spoils.truncate, spoils.html, spoils.status(503), hang])
def test_a_lost_reply_is_found_and_returned(venue: Venue, ledger: Path, spoil: Any) -> None:
    """However the reply is lost, the call returns the one order at the venue; so does a repeat, also after a restart."""
    venue.spoil(spoil)

    async def main() -> None:
        for _ in range(2):
            exchange = onefill.guard(venue.asynchronous(timeout=500), ledger)
            assert isinstance(exchange, ccxt.async_support.binance)
            found = await order(exchange)
            assert (found["status"], found["amount"], found["price"]) == ("open", 0.5, 100.0)
            assert await order(exchange) == found
            await exchange.close()

    asyncio.run(main())
    assert len(venue.orders()) == 1


def test_an_object_with_streams_is_guarded_and_its_streams_stay_its_own(venue: Venue, ledger: Path) -> None:
    """Objects of ccxt.pro are asynchronous ones; the guard listens to none of their streams."""

    async def main() -> None:
        plain = point(ccxt.pro.binance({**venue.imitation.config(), "enableRateLimit": False}), venue.imitation.url)
        venue.spoil(spoils.drop)
        async with onefill.guard(plain, ledger, poll_s=0.05) as exchange:
            assert isinstance(exchange, ccxt.pro.binance)
            assert (await order(exchange))["status"] == "open"
            assert exchange.clients == {}
            with pytest.raises(onefill.NotGuarded):
                await exchange.create_order_ws(BTC, "limit", "buy", 0.5, 100)

    asyncio.run(main())
    assert len(venue.orders()) == 1


def test_tasks_with_one_key_place_one_order_and_short_forms_are_guarded(venue: Venue, ledger: Path) -> None:
    """Twenty calls at once, by two names, before the ledger was even opened: one order, the same result for each."""

    async def main() -> None:
        async with onefill.guard(venue.asynchronous(), ledger) as exchange:
            calls = [order(exchange) for _ in range(10)]
            calls += [exchange.createLimitBuyOrder(BTC, 0.5, 100, key="k") for _ in range(10)]
            got = await asyncio.gather(*calls)
            assert all(one == got[0] for one in got)

    asyncio.run(main())
    assert len(venue.orders()) == 1


def test_of_two_orders_under_one_key_at_once_one_is_refused(venue: Venue, ledger: Path) -> None:
    """However the calls interleave, the misuse gets KeyReused and never the other's order."""

    async def main() -> None:
        async with onefill.guard(venue.asynchronous(), ledger) as exchange:
            for number in range(30):
                calls = [asyncio.ensure_future(order(exchange, f"k{number}"))]
                for turn in range(4):
                    other = exchange.create_order(BTC, "limit", "buy", 0.6 + turn, 100, key=f"k{number}")
                    calls.append(asyncio.ensure_future(other))
                    for _ in range(number):
                        await asyncio.sleep(0)
                got = await asyncio.gather(*calls, return_exceptions=True)
                placed = [one for one in got if isinstance(one, dict)]
                assert len(placed) == 1
                assert [type(one) for one in got if not isinstance(one, dict)] == [onefill.KeyReused] * 4
                made = venue.orders()
                assert len(made) == number + 1
                assert float(made[-1].quantity) == placed[0]["amount"]

    asyncio.run(main())


def test_an_order_is_cancelled_and_edited_and_others_are_passed_through(venue: Venue, ledger: Path) -> None:
    """An edit and a cancel of ours, quietly repeated; a cancel of a foreign order goes to the venue as it is."""

    async def main() -> None:
        plain = venue.asynchronous()
        foreign = await plain.create_order(BTC, "limit", "buy", 0.1, 90)
        async with onefill.guard(venue.asynchronous(), ledger) as exchange:
            mine = await order(exchange)
            edited = await exchange.edit_order(mine["id"], BTC, "limit", "buy", 0.4, 99)
            assert (edited["amount"], edited["price"], edited["status"]) == (0.4, 99.0, "open")
            for _ in range(2):
                assert (await exchange.cancel_order(edited["id"], BTC))["status"] == "canceled"
            assert (await exchange.cancel_order(foreign["id"], BTC))["status"] == "canceled"
            with pytest.raises(ccxt.OrderNotFound):
                await exchange.cancel_order(foreign["id"], BTC)
        await plain.close()

    asyncio.run(main())


def test_a_call_that_is_broken_off_goes_on(venue: Venue, ledger: Path) -> None:
    """A task that is cancelled while it waits leaves the order to be had under its key."""

    async def main() -> None:
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()

        async def arrive(reply: Any) -> None:
            loop.call_soon_threadsafe(arrived.set)
            await hang(reply)

        venue.spoil(arrive)
        async with onefill.guard(venue.asynchronous(timeout=500), ledger) as exchange:
            task = asyncio.ensure_future(order(exchange))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await order(exchange))["status"] == "open"

    asyncio.run(main())
    assert len(venue.orders()) == 1


def test_a_ledger_that_cannot_be_opened_is_told_and_tried_again(venue: Venue, tmp_path: Path) -> None:
    """The first guarded call raises why; once it can be opened the next one works."""
    place = tmp_path / "there" / "orders.db"

    async def main() -> None:
        exchange = onefill.guard(venue.asynchronous(), place)
        with pytest.raises(onefill.LedgerError):
            await order(exchange)
        place.parent.mkdir()
        assert (await order(exchange))["status"] == "open"
        await exchange.close()

    asyncio.run(main())


def test_after_close_and_on_another_loop_it_says_so(venue: Venue, ledger: Path) -> None:
    """A closed guard takes nothing more, and one that was opened on another event loop neither."""
    exchange = onefill.guard(venue.asynchronous(), ledger)

    async def first() -> None:
        await order(exchange)

    async def other() -> None:
        with pytest.raises(onefill.RouteClosed, match="event loop"):
            await order(exchange)

    async def close() -> None:
        await exchange.close()
        with pytest.raises(onefill.RouteClosed, match="closed"):
            await order(exchange)

    with asyncio.Runner() as runner, asyncio.Runner() as another:
        runner.run(first())
        another.run(other())
        runner.run(close())


def test_ccxts_retries_are_off_for_orders_and_kept_for_reads(
    venue: Venue, ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With maxRetriesOnFailure set, plain ccxt repeats a lost order and tells a live one as refused; the guard does neither."""

    async def main() -> None:
        options = {**venue.imitation.config()["options"], "maxRetriesOnFailure": 3}
        plain = venue.asynchronous(options=options)
        venue.spoil(spoils.drop)
        with pytest.raises(ccxt.InvalidOrder, match="Duplicate"):
            await plain.create_order(BTC, "limit", "buy", 0.5, 100)
        assert len(venue.orders()) == 1
        await plain.close()
        with caplog.at_level(logging.WARNING, "onefill"):
            exchange = onefill.guard(venue.asynchronous(options=options), ledger)
        assert "maxRetriesOnFailure" in caplog.text
        venue.spoil(spoils.drop)
        sent = venue.asked("POST /api/v3/order")
        assert (await order(exchange))["status"] == "open"
        assert len(venue.orders()) == 2
        assert venue.asked("POST /api/v3/order") == sent  # the one whose connection was cut is not counted as answered
        assert exchange.handle_option_integer_and_params({}, "path", "maxRetriesOnFailure", 0)[0] == 3
        await exchange.close()

    asyncio.run(main())
