"""The simulated exchange and time: later acknowledgements, the end of the day, the clock."""

from exchange_kit import DAY_US, NOON_US, accepted, cancel, exchange, limit, order, told

from onefill.core.capabilities import UniqueScope
from onefill.core.messages import (
    Canceled,
    DuplicateId,
    Found,
    TooLate,
    VenueStatus,
)
from onefill.core.values import TimeInForce


class TestAsynchronousAcknowledgement:
    def test_an_order_is_pending_until_its_moment_and_then_new_and_matched(self) -> None:
        """The reply is PENDING_NEW; NEW and the fills come on the stream when the delay is over, at the venue's time."""
        venue = exchange(acknowledges_asynchronously=True, acknowledge_delay_us=100)
        venue.submit(limit("s", "sell", 1, 10, account="S"), NOON_US)
        assert accepted(venue.submit(limit("b", "buy", 1, 10), NOON_US + 10)).order.status is VenueStatus.PENDING_NEW
        assert venue.next_due_us() == NOON_US + 100
        venue.advance(NOON_US + 109)
        assert venue.executions("A", 0) == []
        found = venue.lookup("b", "A", NOON_US + 109)
        assert isinstance(found, Found)
        assert found.order.status is VenueStatus.PENDING_NEW
        venue.advance(NOON_US + 5_000)
        assert told(venue.executions("A", 0)) == ["b new", "b trade 1@10"]
        assert venue.executions("A", 0)[0].transacted_at_us == NOON_US + 110
        assert venue.next_due_us() is None

    def test_a_rule_broken_shows_on_the_stream_only(self) -> None:
        """An off-grid order is first acknowledged as pending and later REJECTED with the reason."""
        venue = exchange(acknowledges_asynchronously=True, acknowledge_delay_us=100)
        accepted(venue.submit(limit("x", "buy", 1, "10.01"), NOON_US))
        venue.advance(NOON_US + 100)
        (report,) = venue.executions("A", 0)
        assert (report.status, report.leaves_quantity) == (VenueStatus.REJECTED, 0)
        assert report.text is not None
        assert report.text.startswith("off_grid_price")
        assert venue.open_orders("A") == []

    def test_a_pending_order_is_a_live_order_for_repeats_and_cancels(self) -> None:
        """A repeat of a pending id is refused, and a pending order can be cancelled for good."""
        venue = exchange(acknowledges_asynchronously=True, unique_scope=UniqueScope.OPEN)
        venue.submit(order("x", "buy", 1), NOON_US)
        assert isinstance(venue.submit(order("x", "buy", 1), NOON_US), DuplicateId)
        assert isinstance(venue.cancel(cancel("x"), NOON_US), Canceled)
        venue.advance(NOON_US + DAY_US)
        assert told(venue.executions("A", 0)) == ["x canceled"]

    def test_what_is_due_happens_before_the_call_that_comes_after(self) -> None:
        """Results depend on when calls are made, not on whether anybody called ``advance`` in between."""
        lazy, busy = (exchange(acknowledges_asynchronously=True, acknowledge_delay_us=10) for _ in range(2))
        for venue in (lazy, busy):
            venue.submit(limit("s", "sell", 1, 10), NOON_US)
        for at in range(100):
            busy.advance(NOON_US + at)
        for venue in (lazy, busy):
            assert isinstance(venue.cancel(cancel("s"), NOON_US + 100), Canceled)
        assert lazy.executions("A", 0) == busy.executions("A", 0)


class TestTime:
    def test_day_orders_end_at_midnight(self) -> None:
        """At midnight UTC a live DAY order is EXPIRED, at that time; a GTC order and a new DAY order stay."""
        venue = exchange()
        venue.submit(order("day", "buy", 1, time_in_force=TimeInForce.DAY), NOON_US)
        venue.submit(order("gtc", "buy", 1), NOON_US)
        midnight = NOON_US + DAY_US // 2
        venue.advance(midnight - 1)
        assert len(venue.open_orders("A")) == 2
        venue.submit(order("next", "buy", 1, time_in_force=TimeInForce.DAY), midnight)
        assert told(venue.executions("A", 2)) == ["day expired", "next new"]
        assert venue.executions("A", 2)[0].transacted_at_us == midnight
        assert [one.client_order_id for one in venue.open_orders("A")] == ["gtc", "next"]
        venue.advance(midnight + 5 * DAY_US)
        assert [one.client_order_id for one in venue.open_orders("A")] == ["gtc"]

    def test_an_order_acknowledged_after_midnight_belongs_to_the_new_day(self) -> None:
        """A pending DAY order that becomes NEW after midnight meets no order of the day before, and lives that day."""
        venue = exchange(acknowledges_asynchronously=True, acknowledge_delay_us=100)
        midnight = NOON_US + DAY_US // 2
        venue.submit(order("old", "sell", 1, time_in_force=TimeInForce.DAY), NOON_US)
        venue.submit(order("new", "buy", 1, time_in_force=TimeInForce.DAY), midnight - 50)
        venue.advance(midnight + DAY_US // 2)
        assert told(venue.executions("A", 0)) == ["old new", "old expired", "new new"]
        venue.advance(midnight + DAY_US)
        assert told(venue.executions("A", 3)) == ["new expired"]

    def test_day_orders_stay_where_the_dialect_says_so(self) -> None:
        """With ``day_orders_expire`` off nothing ends at midnight."""
        venue = exchange(day_orders_expire=False)
        venue.submit(order("day", "buy", 1, time_in_force=TimeInForce.DAY), NOON_US)
        venue.advance(NOON_US + 9 * DAY_US)
        assert len(venue.open_orders("A")) == 1

    def test_the_clock_never_runs_backwards(self) -> None:
        """An earlier time counts as the latest one seen, so an expired request cannot be revived by a clock set back."""
        venue = exchange()
        venue.advance(NOON_US + 10)
        assert isinstance(venue.submit(order("x", "buy", 1, expires_at_us=NOON_US), NOON_US), TooLate)
