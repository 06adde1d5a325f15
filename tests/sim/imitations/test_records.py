"""What an imitation keeps of trades: which match each belongs to, and whether it took or made."""

from decimal import Decimal

from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.imitations.base import BTC_USDT
from onefill.sim.imitations.records import Records


class Market:
    """An exchange, an account's records of it, and orders by number of seconds."""

    def __init__(self) -> None:
        self.exchange = Exchange(Dialect(), [BTC_USDT])
        self.records = Records(self.exchange, "ours")
        self._now_us = 0

    def order(self, account: str, side: str, quantity: int, price: int) -> int:
        """Send a limit order a second later than the last; return its number."""
        self._now_us += 1_000_000
        request = SubmitRequest(
            client_order_id=f"order-{self._now_us}",
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
