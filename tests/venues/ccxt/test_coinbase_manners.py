"""Coinbase's manners against the imitation: its own name of the client id, flags that are read, lists to their last page."""

import ccxt.async_support as ccxt
import pytest
from adapter_kit import by_another, called, cancel, order, place, replace, run

from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.coinbase import CoinbaseImitation
from onefill.venues.ccxt import coinbase
from onefill.venues.ccxt.coinbase import Coinbase
from onefill.venues.ccxt.manners import manners_of
from onefill.venues.ccxt.orders import Strange
from onefill.venues.last_look import KeptBack
from onefill.venues.profile import Wire, load

SYMBOL = "BTC/USDT"
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
UUID = "11111111-1111-1111-1111-111111111111"


def test_the_id_goes_out_as_a_uuid_under_its_own_name_and_comes_back_as_it_was() -> None:
    """32 digits are written with hyphens; what is no such id stays as it is."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            assert manners.client_id(FIRST) == {"client_order_id": UUID}
            made = await place(call, manners, order(FIRST))
            assert made["clientOrderId"] == UUID
            assert manners.client_order_id(made) == FIRST
            assert manners.client_order_id({"clientOrderId": "ccxt-" + UUID}) == "ccxt-" + UUID
            assert Coinbase(Wire()).client_id(FIRST) == {"client_order_id": FIRST}

    run(scenario)


def test_an_order_is_found_by_searching_the_list_for_its_id() -> None:
    """Open and ended; nothing under an id that was never sent."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            assert await manners.find(call, FIRST, SYMBOL) is None
            made = await place(call, manners, order(FIRST))
            await place(call, manners, order(SECOND))
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["status"], shown["amount"], shown["price"]) == (made["id"], "open", "1", "100")
            by_another(imitation, "sell", "1", "100")
            shown = await manners.find(call, FIRST, SYMBOL)
            assert shown is not None
            assert (shown["id"], shown["status"], shown["filled"]) == (made["id"], "closed", "1")
            by_number = await manners.find_by_number(call, made["id"], SYMBOL)
            assert by_number is not None
            assert manners.client_order_id(by_number) == FIRST

    run(scenario)


def test_an_id_that_is_not_among_what_was_searched_is_not_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more orders than are searched, nothing is known of the others."""
    monkeypatch.setattr(coinbase, "SEARCHED", 4)
    monkeypatch.setattr(Coinbase, "orders_page", 2)

    async def scenario() -> None:
        async with called(CoinbaseImitation(), Coinbase) as (call, manners):
            for number in range(5):
                await place(call, manners, order(f"{number:032x}"))
            assert await manners.find(call, f"{1:032x}", SYMBOL) is not None
            with pytest.raises(Strange, match="latest 4"):
                await manners.find(call, f"{0:032x}", SYMBOL)

    run(scenario)


def test_a_cancel_reads_the_flag_of_its_order() -> None:
    """An order that is dead is refused, one without a number is not asked for, and a reply without the flag says nothing."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            made = await place(call, manners, order(FIRST))
            assert await manners.cancel(call, cancel(FIRST, made["id"])) is None
            with pytest.raises(ccxt.BadRequest, match="UNKNOWN_CANCEL_ORDER"):
                await manners.cancel(call, cancel(FIRST, made["id"]))
            with pytest.raises(KeptBack):
                await manners.cancel(call, cancel(FIRST))

            class Silent:
                exchange = call.exchange

                async def __call__(self, *_: object) -> object:
                    return {"results": [{"success": True, "order_id": "another"}]}

            with pytest.raises(Strange, match="nothing about the order"):
                await manners.cancel(Silent(), cancel(FIRST, made["id"]))
            assert imitation.exchange.counts().cancels == 2

    run(scenario)


def test_a_replace_edits_shows_the_order_and_reads_whether_it_was_taken() -> None:
    """ccxt returns an edit that failed like one that did not."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            made = await place(call, manners, order(FIRST))
            shown = await manners.replace(call, replace(FIRST, 2, 101, venue_order_id=made["id"]), "limit")
            assert (shown["id"], manners.client_order_id(shown)) == (made["id"], FIRST)
            assert (shown["amount"], shown["price"], shown["status"]) == ("2", "101", "open")
            by_another(imitation, "sell", "2", "101")
            with pytest.raises(ccxt.BadRequest, match="ORDER_NOT_FOUND"):
                await manners.replace(call, replace(FIRST, 3, 101, venue_order_id=made["id"]), "limit")
            with pytest.raises(KeptBack):
                await manners.replace(call, replace(FIRST, 3, 101, venue_order_id=None), "limit")

    run(scenario)


def test_a_market_order_is_for_a_quantity_and_not_for_a_sum() -> None:
    """ccxt would name what a buy may cost, reckoned from a price. To be filled whole or not at all is a kind of its own."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            by_another(imitation, "sell", "3", "100")
            by_another(imitation, "buy", "3", "90")
            wanted = {"order_type": OrderType.MARKET, "price": None, "time_in_force": TimeInForce.IOC}
            for number, side in ((FIRST, "buy"), (SECOND, "sell")):
                made = await place(call, manners, order(number, side, 2, **wanted))
                shown = await manners.find_by_number(call, made["id"], SYMBOL)
                assert shown is not None
                assert (shown["type"], shown["amount"], shown["filled"]) == ("market", "2", "2")
            whole = order(THIRD, "buy", 2, **{**wanted, "time_in_force": TimeInForce.FOK})
            made = await place(call, manners, whole)
            shown = await manners.find_by_number(call, made["id"], SYMBOL)
            assert shown is not None
            assert (shown["amount"], shown["filled"], shown["status"]) == ("2", "0", "canceled")

    run(scenario)


@pytest.mark.parametrize(
    "name", ["cost", "order_configuration", "preview", "reduceOnly", "product_id", "clientOrderId"]
)
def test_parameters_that_would_make_another_order_are_refused(name: str) -> None:
    """Unsent: ccxt lets them take the place of what the order itself says."""
    manners = _manners()
    assert manners.refuses(order(FIRST)) is None
    assert manners.refuses(order(FIRST, parameters='{"retail_portfolio_id": "mine"}')) is None
    assert name in (manners.refuses(order(FIRST, parameters=f'{{"{name}": 1}}')) or "")


def test_every_kind_of_order_is_listed_with_quantity_and_price_and_its_own_end() -> None:
    """ccxt shows a fill-or-kill order without either, and calls what expired or failed cancelled."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            made = await place(call, manners, order(FIRST, time_in_force=TimeInForce.FOK))
            (shown,) = await manners.ended_orders(call, SYMBOL, 0)
            assert (shown["id"], shown["status"]) == (made["id"], "canceled")
            assert (shown["amount"], shown["price"]) == ("1", "100")
            for status, meant in (("EXPIRED", "expired"), ("FAILED", "rejected"), ("FILLED", "closed")):
                raw = {**shown["info"], "status": status}
                assert manners._order(call, raw)["status"] == meant

    run(scenario)


def test_lists_are_read_to_their_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open orders, orders since a moment, and fills, each once and the fills in order."""
    monkeypatch.setattr(Coinbase, "page", 7)
    monkeypatch.setattr(Coinbase, "orders_page", 7)
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            old = await place(call, manners, order(FIRST, "buy", "5", "99"))
            by_another(imitation, "sell", "20", "100")
            since_ms = imitation.clock_us() // 1000 + 1
            while imitation.clock_us() // 1000 <= since_ms:  # a moment that lies between the two
                await call("fetch_balance")
            for number in range(20):
                await place(call, manners, order(f"{number:032x}"))
            for number in range(20, 40):
                await place(call, manners, order(f"{number:032x}", price="98"))
            assert len(await manners.open_orders(call, None)) == len(await manners.open_orders(call, SYMBOL)) == 21
            assert old["id"] not in {one["id"] for one in await manners.ended_orders(call, SYMBOL, since_ms)}
            by_another(imitation, "sell", "1", "99")
            listed = await manners.ended_orders(call, SYMBOL, since_ms)
            assert len(listed) == len({one["id"] for one in listed}) == 41
            assert old["id"] in {one["id"] for one in listed}, "it began before, and traded since"
            trades = await manners.trades(call, SYMBOL, 0)
            assert len({manners.trade_key(one) for one in trades}) == len(trades) == 21
            assert [one["timestamp"] for one in trades] == sorted(one["timestamp"] for one in trades)
            assert (trades[0]["amount"], trades[0]["price"], trades[-1]["price"]) == ("1", "100", "99")

    run(scenario)


def test_a_fill_that_takes_another_back_is_not_counted_as_one_more() -> None:
    """The venue lists reversals and corrections among fills; ccxt passes over what they are. Nor is one passed over."""
    imitation = CoinbaseImitation()

    async def scenario() -> None:
        async with called(imitation, Coinbase) as (call, manners):
            by_another(imitation, "sell", "1", "100")
            await place(call, manners, order(FIRST))

            class Corrected:
                exchange = call.exchange

                async def __call__(self, method: str, *arguments: object) -> object:
                    shown = await call(method, *arguments)
                    return {**shown, "fills": [{**one, "trade_type": "REVERSAL"} for one in shown["fills"]]}

            class Twice:
                exchange = call.exchange

                async def __call__(self, method: str, *arguments: object) -> object:
                    shown = await call(method, *arguments)
                    return {**shown, "fills": [*shown["fills"], {**shown["fills"][0], "entry_id": "another"}]}

            assert len(await manners.trades(call, SYMBOL, 0)) == 1
            with pytest.raises(Strange, match="REVERSAL"):
                await manners.trades(Corrected(), SYMBOL, 0)
            with pytest.raises(Strange, match="two fills"):
                await manners.trades(Twice(), SYMBOL, 0)

    run(scenario)


def test_a_list_that_does_not_go_on_ends() -> None:
    """A cursor that stays the same would be asked for without end."""

    class Stuck:
        exchange = None

        async def __call__(self, *_: object) -> object:
            return {"orders": [], "cursor": "same", "has_next": True}

    async def scenario() -> None:
        with pytest.raises(Strange, match="does not go on"):
            await _manners().open_orders(Stuck(), None)

    run(scenario)


def test_the_manners_are_known_by_the_librarys_name() -> None:
    """And by no other class."""
    assert manners_of("coinbase") is Coinbase
    assert Coinbase.profile == "coinbase"


def _manners() -> Coinbase:
    return Coinbase(load("coinbase").wire)
