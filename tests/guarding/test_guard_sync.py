"""A guarded synchronous client: its calls and results stay as they are, and a repeat trades once."""

import asyncio
import os
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest
from guard_kit import BTC, Venue, hang

import onefill
from onefill.service.wiring import open_for_reading
from onefill.sim.imitations import spoils

LOST = [spoils.drop, spoils.truncate, spoils.html, spoils.status(502), spoils.status(504), hang]


def order(exchange: Any, key: str = "k", amount: float = 0.5, price: float = 100, **beside: Any) -> Any:
    """Place a limit order."""
    return exchange.create_order(BTC, "limit", "buy", amount, price, params={"key": key}, **beside)


def test_arguments_and_result_are_ccxts(venue: Venue, ledger: Path) -> None:
    """The guarded call returns what the plain one returns but for the ids; the object is an instance of its class."""
    plain = venue.plain()
    with venue.guarded(ledger) as exchange:
        assert isinstance(exchange, ccxt.binance)
        ours = order(exchange)
        theirs = plain.create_order(BTC, "limit", "buy", 0.5, 100)
        different = {"info", "id", "clientOrderId", "timestamp", "datetime", "lastUpdateTimestamp"}
        assert {name: ours[name] for name in ours.keys() - different} == {
            name: theirs[name] for name in theirs.keys() - different
        }
        assert ours.keys() == theirs.keys()
        assert isinstance(ours["amount"], float)
        assert exchange.fetch_order(ours["id"], BTC)["clientOrderId"] == ours["clientOrderId"]
    plain.close()


@pytest.mark.parametrize("spoil", LOST)
def test_a_lost_reply_is_found_and_returned(venue: Venue, ledger: Path, spoil: Any) -> None:
    """However the reply is lost, the call returns the one order that is at the venue, and a repeat returns the same."""
    venue.spoil(spoil)
    with venue.guarded(ledger) as exchange:
        exchange.timeout = 500
        found = order(exchange)
        assert found["status"] == "open"
        assert found["amount"] == 0.5
        assert order(exchange) == found
    (only,) = venue.orders()
    assert found["clientOrderId"] == only.client_order_id


def test_the_same_lost_reply_makes_two_orders_with_plain_ccxt(venue: Venue) -> None:
    """What the guard is for: a retry of plain ccxt's call, after a time-out, buys twice."""
    venue.spoil(spoils.drop)
    exchange = venue.plain()
    with pytest.raises(ccxt.NetworkError):
        exchange.create_order(BTC, "limit", "buy", 0.5, 100)
    exchange.create_order(BTC, "limit", "buy", 0.5, 100)
    assert len(venue.orders()) == 2
    exchange.close()


def test_what_cannot_be_known_in_time_is_uncertain_and_goes_on_with_its_key(venue: Venue, ledger: Path) -> None:
    """With the venue gone the call raises OrderUncertain, a time-out of ccxt's too; with it back, its key returns the order."""

    async def vanish(_: Any) -> Any:
        threading.Thread(target=venue.go_away).start()
        await hang(_)

    venue.spoil(vanish)
    with venue.guarded(ledger) as exchange:
        exchange.timeout = 500
        with pytest.raises(onefill.OrderUncertain) as caught:
            order(exchange, wait_s=1.5)
        assert caught.value.key == "k"
        assert isinstance(caught.value, ccxt.RequestTimeout)
        venue.come_back()
        found = order(exchange, caught.value.key)
        assert found["clientOrderId"] == caught.value.client_order_id
    assert len(venue.orders()) == 1


def test_a_repeat_after_a_restart_returns_the_order(venue: Venue, ledger: Path) -> None:
    """Another guard over the same ledger asks the venue once, sends nothing, and returns the order as it is now."""
    with venue.guarded(ledger) as exchange:
        first = order(exchange)
    venue.by_another("sell", "0.2", "100")
    with venue.guarded(ledger) as exchange:
        again = order(exchange)
        assert (again["id"], again["filled"], again["remaining"]) == (first["id"], 0.2, 0.3)
        assert venue.asked("POST /api/v3/order") == 1


def test_where_the_venue_cannot_show_it_any_more_the_ledger_does(venue: Venue, ledger: Path) -> None:
    """Numbers, words and ids are ccxt's; ``info`` tells where they come from."""
    with venue.guarded(ledger) as exchange:
        first = order(exchange)
    with venue.guarded(ledger) as exchange:
        venue.go_away()
        again = order(exchange, wait_s=5)
        assert (again["id"], again["amount"], again["price"], again["side"]) == (first["id"], 0.5, 100.0, "buy")
        assert (again["status"], again["filled"], again["symbol"]) == ("open", 0.0, BTC)
        assert again["info"]["onefill"]["key"] == "k"
        assert again.keys() == first.keys()
        venue.come_back()


def test_a_rejection_is_the_exception_that_ccxt_raises_also_on_repeats(venue: Venue, ledger: Path) -> None:
    """The class is ccxt's own; a repeat, also after a restart, raises it again and sends nothing."""
    refuse = spoils.status(400, '{"code":-2010,"msg":"Account has insufficient balance for requested action."}')
    venue.do(lambda imitation: imitation.unheard.append(lambda: refuse(None)))  # type: ignore[arg-type]
    for _ in range(2):
        with venue.guarded(ledger) as exchange:
            for _ in range(2):
                with pytest.raises(ccxt.InsufficientFunds, match="insufficient balance") as caught:
                    order(exchange)
                assert type(caught.value) is ccxt.InsufficientFunds
    assert venue.orders() == []


def test_two_threads_with_one_key_place_one_order(venue: Venue, ledger: Path) -> None:
    """Both get the same order."""
    got: list[Any] = []
    with venue.guarded(ledger) as exchange:
        threads = [threading.Thread(target=lambda: got.append(order(exchange))) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert len(got) == 8
    assert all(one == got[0] for one in got)
    assert len(venue.orders()) == 1


def test_other_content_under_a_key_is_refused(venue: Venue, ledger: Path) -> None:
    """Amount, price, side and parameters belong to the key; nothing is sent for the misuse."""
    with venue.guarded(ledger) as exchange:
        order(exchange)
        for change in ({"amount": 0.6}, {"price": 101}):
            with pytest.raises(onefill.KeyReused):
                order(exchange, **change)
        with pytest.raises(onefill.KeyReused):
            exchange.create_order(BTC, "limit", "buy", 0.5, 100, {"key": "k", "icebergQty": 0.1})
        assert len(venue.orders()) == 1


def test_ccxts_short_forms_and_other_names_are_guarded(venue: Venue, ledger: Path) -> None:
    """The short forms take a key as a keyword or in params, in snake and in camel case, and one key is one order in all."""
    with venue.guarded(ledger) as exchange:
        one = exchange.create_limit_buy_order(BTC, 0.5, 100, {"key": "k"})
        assert exchange.createLimitBuyOrder(BTC, 0.5, 100, key="k") == one
        assert exchange.createOrder(BTC, "LIMIT", "BUY", 0.5, 100, key="k") == one
        assert exchange.create_limit_order(BTC, "buy", 0.5, 100, key="k") == one
        with pytest.raises(onefill.KeyMissing):
            exchange.create_market_buy_order(BTC, 0.5)
        assert len(venue.orders()) == 1


def test_numbers_are_those_that_ccxt_would_send(venue: Venue, ledger: Path) -> None:
    """A float is cut to the market's steps as ccxt itself cuts it, and no further."""
    with venue.guarded(ledger) as exchange:
        order(exchange, "a", 0.1 + 0.2, 100.014)
        plain = venue.plain()
        plain.create_order(BTC, "limit", "buy", 0.1 + 0.2, 100.014)
        plain.close()
    ours, theirs = venue.orders()
    assert (ours.quantity, ours.price) == (theirs.quantity, theirs.price)
    assert ours.quantity == Decimal("0.3")


def test_an_order_that_cannot_be_is_ccxts_invalid_order_too(venue: Venue, ledger: Path) -> None:
    """What a venue would refuse is refused before it is recorded, in a class that code for ccxt catches; the key stays free."""
    plain = venue.plain()
    plain.load_markets()[BTC]["limits"]["amount"]["min"] = 1
    exchange = onefill.guard(plain, ledger)
    for amount in (0.0000000001, 0, 0.5):
        with pytest.raises(ccxt.InvalidOrder):
            order(exchange, amount=amount)
    with pytest.raises(onefill.InvalidField, match="smallest order"):
        order(exchange)
    assert order(exchange, amount=1)["status"] == "open"
    exchange.close()


def test_a_risk_gates_refusal_has_its_own_error(venue: Venue, ledger: Path) -> None:
    """It is recorded under the key, and nothing is sent."""
    risk = onefill.Risk(limits=onefill.Limits(max_quantity=Decimal("0.1")))
    with venue.guarded(ledger, risk=risk) as exchange:
        for _ in range(2):
            with pytest.raises(onefill.OrderRefused) as caught:
                order(exchange)
            assert caught.value.key == "k"
        assert order(exchange, "small", 0.1)["status"] == "open"
    assert len(venue.orders()) == 1


def test_what_was_never_sent_says_so(venue: Venue, ledger: Path) -> None:
    """With nobody to connect to, the order's time runs out: it is told as never sent, for ever."""
    with venue.guarded(ledger, time_to_live_s=0.5) as exchange:
        venue.go_away()
        for _ in range(2):
            with pytest.raises(onefill.OrderNotSent) as caught:
                order(exchange)
            assert caught.value.key == "k"
        venue.come_back()
        with pytest.raises(onefill.OrderNotSent):
            order(exchange)
    assert venue.orders() == []


def test_what_trades_is_booked_in_the_ledger(venue: Venue, ledger: Path) -> None:
    """Executions are asked for while there are open orders; position and order stand in the ledger afterwards."""
    with venue.guarded(ledger, poll_s=0.05) as exchange:
        order(exchange)
        venue.by_another("sell", "0.5", "100")
        asked = venue.asked("GET /api/v3/myTrades")
        while venue.asked("GET /api/v3/myTrades") < asked + 3:
            exchange.fetch_balance()

    async def read() -> tuple[list[onefill.Order], list[onefill.Position]]:
        async with open_for_reading(ledger) as store:
            return await store.orders(0, 10), (await store.positions("binance"))[0]

    (booked,), (held,) = asyncio.run(read())
    assert (booked.status, booked.cum_quantity, booked.intent.account) == ("filled", Decimal("0.5"), "main")
    assert (held.quantity, held.strategy) == (Decimal("0.5"), "script")


def test_a_venue_that_cannot_be_reached_is_ccxts_network_error_too(venue: Venue, ledger: Path) -> None:
    """For code that waits and tries again: nothing is guarded then, and the same object can be guarded later."""
    plain = venue.plain()
    venue.go_away()
    for kind in (onefill.VenueError, ccxt.NetworkError):
        with pytest.raises(kind):
            onefill.guard(plain, ledger)
    venue.come_back()
    exchange = onefill.guard(plain, ledger)
    assert order(exchange)["status"] == "open"
    exchange.close()


def test_a_process_that_was_forked_has_no_guard(venue: Venue, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread behind it stayed in the other one: a call says so, and does not wait for ever."""
    with venue.guarded(ledger) as exchange:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(os, "getpid", lambda: -1)
            with pytest.raises(onefill.RouteClosed, match="forked"):
                order(exchange)
        assert order(exchange)["status"] == "open"


def test_reads_pass_through_and_so_does_their_retry(venue: Venue, ledger: Path) -> None:
    """What reads is ccxt's own, on the same object and state."""
    with venue.guarded(ledger) as exchange:
        order(exchange)
        assert len(exchange.fetch_open_orders(BTC)) == 1
        assert exchange.fetch_balance()["USDT"]["total"] > 0
        assert exchange.markets[BTC]["symbol"] == BTC
        exchange.options["mine"] = 1
        assert exchange.safe_string({"a": 1}, "a") == "1"


def test_after_close_nothing_is_taken_and_the_ledger_is_free(venue: Venue, ledger: Path) -> None:
    """A closed guard says so; another can open the ledger at once."""
    with venue.guarded(ledger) as exchange:
        order(exchange)
    with pytest.raises(onefill.RouteClosed):
        order(exchange, "other")
    exchange.close()
    with pytest.raises(onefill.CallerError, match="anew"):
        onefill.guard(exchange, ledger)
    plain = venue.plain()
    for _ in range(2):
        exchange = onefill.guard(plain, ledger)
        assert order(exchange)["status"] == "open"
        exchange.close()
