"""What an imitation keeps of orders and trades: by which ids orders are found, when they ended, which matches there were."""

from decimal import Decimal

from onefill.core.capabilities import UniqueScope
from onefill.core.messages import Accepted, Canceled, CancelRequest, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.imitations.base import BTC_USDT
from onefill.sim.imitations.records import Records


class Market:
    """An exchange, an account's records of it, and orders by number of seconds."""

    def __init__(self) -> None:
        self.exchange = Exchange(Dialect(unique_scope=UniqueScope.OPEN), [BTC_USDT])
        self.records = Records(self.exchange, "ours", lambda order: f"native-{order.number}")
        self._now_us = 0

    def order(self, account: str, side: str, quantity: int, price: int, client_order_id: str | None = None) -> int:
        """Send a limit order a second later than the last; return its number."""
        self._now_us += 1_000_000
        request = SubmitRequest(
            client_order_id=client_order_id or f"order-{self._now_us}",
            account=account,
            instrument=BTC_USDT.symbol,
            side=Side(side),
            quantity=Decimal(quantity),
            order_type=OrderType.LIMIT,
            price=Decimal(price),
            time_in_force=TimeInForce.GTC,
            expires_at_us=None,
        )
        reply = self.exchange.submit(request, self._now_us)
        assert isinstance(reply, Accepted)
        return int(reply.order.venue_order_id[1:])

    def cancel(self, number: int) -> None:
        """Cancel an order of ours a second later."""
        self._now_us += 1_000_000
        request = CancelRequest(
            client_order_id="", account="ours", instrument=BTC_USDT.symbol, venue_order_id=f"X{number}"
        )
        assert isinstance(self.exchange.cancel(request, self._now_us), Canceled)

    def trades(self) -> list[tuple[int, int, bool]]:
        """Return each trade's order, which match it belongs to counted from 1, and whether it made."""
        found = self.records.trades()
        matches = {match: place for place, match in enumerate(dict.fromkeys(one.match for one in found), 1)}
        return [(int(one.report.venue_order_id[1:]), matches[one.match], one.maker) for one in found]


def test_both_sides_of_a_match_with_oneself_are_one_match() -> None:
    """One order that takes two of the account's own: two matches, in each a maker and a taker."""
    market = Market()
    first, second = market.order("ours", "sell", 1, 100), market.order("ours", "sell", 1, 101)
    taker = market.order("ours", "buy", 2, 101)
    assert market.trades() == [(first, 1, True), (taker, 1, False), (second, 2, True), (taker, 2, False)]
    assert market.records.of(taker).executed == 2
    assert market.records.of(taker).value == 201


def test_a_match_with_somebody_else_is_a_match_of_its_own() -> None:
    """What was taken at once was taken; what rested and traded later was made; equal trades on two sides are not one."""
    market = Market()
    market.order("theirs", "sell", 2, 100)
    taker = market.order("ours", "buy", 1, 100)
    also = market.order("ours", "buy", 1, 100)
    maker = market.order("ours", "sell", 1, 100)
    market.order("theirs", "buy", 1, 100)
    assert market.trades() == [(taker, 1, False), (also, 2, False), (maker, 3, True)]


def test_an_order_that_rests_and_trades_twice_made_both() -> None:
    """Two others trade with it one after the other."""
    market = Market()
    maker = market.order("ours", "buy", 2, 100)
    market.order("theirs", "sell", 1, 100)
    market.order("theirs", "sell", 1, 100)
    assert market.trades() == [(maker, 1, True), (maker, 2, True)]


def test_an_order_takes_what_it_can_and_makes_the_rest() -> None:
    """It trades at once with one order of somebody else's, rests, and trades with another later."""
    market = Market()
    market.order("theirs", "sell", 1, 100)
    order = market.order("ours", "buy", 2, 100)
    market.order("theirs", "sell", 1, 100)
    assert market.trades() == [(order, 1, False), (order, 2, True)]


def test_reports_are_told_from_any_place_on() -> None:
    """Those of somebody else's orders are not among them, nor is an order of theirs the account's."""
    market = Market()
    ours, theirs = market.order("ours", "buy", 1, 100), market.order("theirs", "sell", 1, 100)
    kinds = [report.kind.value for report, _ in market.records.told(0)]
    assert kinds == ["new", "trade"]
    assert [report.kind.value for report, _ in market.records.told(1)] == ["trade"]
    assert market.records.order(ours) is not None
    assert market.records.order(theirs) is None


def test_an_order_is_found_by_the_venues_number_and_by_its_clients_id() -> None:
    """Of several under one id, which there may be one after the other, the oldest comes first; others' are never found."""
    market = Market()
    first = market.order("ours", "buy", 1, 100, "same")
    market.cancel(first)
    second = market.order("ours", "buy", 1, 100, "same")
    theirs = market.order("theirs", "buy", 1, 100, "theirs")
    found = market.records.by_native(f"native-{second}")
    assert found is not None
    assert (found.number, found.client_id) == (second, "same")
    assert [one.number for one in market.records.by_client("same")] == [first, second]
    assert market.records.by_native(f"native-{theirs}") is None
    assert market.records.by_client("theirs") == []
    assert [one.number for one in market.records.newest_first()] == [second, first]


def test_an_id_made_up_for_an_order_is_nobodys() -> None:
    """An order that came without an id has none, and is not found under the one that it has inside."""
    market = Market()
    made = market.records.invented()
    number = market.order("ours", "buy", 1, 100, made)
    assert market.records.of(number).client_id is None
    assert market.records.by_client(made) == []
    assert (market.records.shown_id(made), market.records.shown_id("own")) == (None, "own")
    assert market.records.invented() != made


def test_an_order_knows_when_it_came_changed_and_ended() -> None:
    """Orders that ended stand in the order in which they did, and no longer among those that are live."""
    market = Market()
    first, second = market.order("ours", "buy", 2, 100), market.order("ours", "buy", 1, 101)
    market.order("theirs", "sell", 2, 100)
    record = market.records.of(first)
    assert (record.created_at_us, record.changed_at_us, record.ended_at_us) == (1_000_000, 3_000_000, None)
    assert [one.number for one in market.records.live()] == [first]
    market.cancel(first)
    assert market.records.of(first) is record
    assert (record.changed_at_us, record.ended_at_us) == (4_000_000, 4_000_000)
    assert [one.number for one in market.records.ended()] == [second, first]
    assert market.records.live() == []
    assert [one.number for one in market.records.trades_between(3_000, 3_000)] == [second, first]
    assert market.records.trades_between(3_001, 9_000) == []


def test_balances_are_what_was_granted_and_traded_and_what_live_orders_bind() -> None:
    """Bought at 100 for one, and one more bid for at 90; then one offered of what is held."""
    market = Market()
    market.order("theirs", "sell", 1, 100)
    market.order("ours", "buy", 1, 100)
    market.order("ours", "buy", 1, 90)
    market.order("ours", "sell", 2, 200)
    held = market.records.balances(Decimal(1000))
    assert held == {"BTC": (Decimal(1001), Decimal(2)), "USDT": (Decimal(900), Decimal(90))}
