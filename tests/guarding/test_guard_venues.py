"""Every imitated venue, through the guard: a lost reply is one order, whatever the venue's habits are."""

import asyncio
from pathlib import Path
from typing import Any

import ccxt
import pytest
from guard_kit import serving

import onefill
from onefill.sim.imitations import spoils
from onefill.sim.imitations.known import IMITATIONS
from onefill.venues import profile


@pytest.mark.parametrize("name", sorted(IMITATIONS))
def test_a_lost_reply_is_one_order_with_a_synchronous_client(name: str, tmp_path: Path) -> None:
    """It is returned, by the next try and after a restart too; then it is cancelled by its number, twice without an error."""
    with serving(IMITATIONS[name]) as venue:
        instrument = next(iter(venue.imitation.exchange.instruments.values()))
        what = (instrument.symbol, "limit", "buy", float(100 * instrument.min_quantity), 100.0)
        venue.spoil(spoils.drop)
        for _ in range(2):
            with venue.guarded(tmp_path / "orders.db") as exchange:
                found = exchange.create_order(*what, {"key": "k"})
                assert exchange.create_order(*what, {"key": "k"})["id"] == found["id"]
                assert (found["status"], found["amount"], found["symbol"]) == ("open", what[3], instrument.symbol)
        with venue.guarded(tmp_path / "orders.db") as exchange:
            for _ in range(2):
                assert exchange.cancel_order(found["id"], instrument.symbol)["status"] == "canceled"
        assert len(venue.orders()) == 1


@pytest.mark.parametrize("name", sorted(IMITATIONS))
def test_a_lost_reply_is_one_order_with_an_asynchronous_client(name: str, tmp_path: Path) -> None:
    """Lost in another way; then the order is edited, where the venue can do that, and cancelled."""
    with serving(IMITATIONS[name]) as venue:
        instrument = next(iter(venue.imitation.exchange.instruments.values()))
        amount = float(100 * instrument.min_quantity)
        venue.spoil(spoils.truncate)

        async def main() -> None:
            async with onefill.guard(venue.asynchronous(), tmp_path / "orders.db") as exchange:
                found = await exchange.create_order(instrument.symbol, "limit", "buy", amount, 100.0, {"key": "k"})
                assert found["status"] == "open"
                assert len(venue.orders()) == 1
                found = await edited(exchange, found)
                assert (await exchange.cancel_order(found["id"], instrument.symbol))["status"] == "canceled"

        async def edited(exchange: Any, found: Any) -> Any:
            asked = exchange.edit_order(found["id"], instrument.symbol, "limit", "buy", 2 * amount, 100.0)
            if profile.load(name).capabilities.replace is onefill.ReplaceStyle.NONE:
                with pytest.raises(onefill.CannotReplace, match="no replace"):
                    await asked
                return found
            made = await asked
            assert (made["amount"], made["status"]) == (2 * amount, "open")
            return made

        asyncio.run(main())
        assert [order.status for order in venue.orders()].count("new") == 0


def test_an_exchange_that_is_not_known_here_is_guarded_with_care(tmp_path: Path) -> None:
    """By ccxt's unified methods alone a lost reply is found in the lists; what is in none stays uncertain, for a person."""
    with serving() as venue:
        plain = venue.plain()
        plain.id = "elsewhere"
        exchange = onefill.guard(plain, tmp_path / "orders.db", wait_s=0.5)
        venue.spoil(spoils.drop)
        assert exchange.create_order("BTC/USDT", "limit", "buy", 0.5, 100, key="k")["status"] == "open"
        assert len(venue.orders()) == 1
        # A request that is lost on its way looks the same from here.
        venue.do(lambda imitation: imitation.unheard.append(lambda: spoils.drop(None)))
        for _ in range(2):
            with pytest.raises(onefill.OrderUncertain):
                exchange.create_order("BTC/USDT", "limit", "buy", 0.5, 100, key="l")
        assert len(venue.orders()) == 1
        exchange.close()


def test_a_market_that_is_spoken_to_in_another_way_is_not_guarded(tmp_path: Path) -> None:
    """Futures by Binance's spot object are refused by name; its own object for them is guarded."""
    with serving(IMITATIONS["binance_usdm"]) as venue:
        symbol = next(iter(venue.imitation.exchange.instruments))
        future = venue.plain().load_markets()[symbol]
    with serving() as venue:
        plain = venue.plain()
        plain.set_markets([*plain.load_markets().values(), future])
        exchange = onefill.guard(plain, tmp_path / "orders.db")
        with pytest.raises(onefill.NotGuarded, match="binanceusdm"):
            exchange.create_order(symbol, "limit", "buy", 1, 100, key="k")
        with pytest.raises(ccxt.BadSymbol):
            exchange.create_order("NO/THING", "limit", "buy", 1, 100, key="k")
        exchange.close()
