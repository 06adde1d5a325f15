"""The simulated exchange: matching, refusals, repeats, cancels, what a judge sees."""

from decimal import Decimal

import pytest
from exchange_kit import ACME, DAY_US, NOON_US, accepted, cancel, exchange, limit, market, order, told

from onefill.core.capabilities import (
    Capabilities,
    DuplicateReply,
    ExecutionIdScope,
    Lookup,
    ReplaceStyle,
    UniqueScope,
)
from onefill.core.errors import InvalidField
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import (
    Canceled,
    CancelRejected,
    CancelRequest,
    DuplicateId,
    Found,
    NotFound,
    Rejected,
    SubmitRequest,
    Throttled,
    TooLate,
    Unknown,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, TimeInForce
from onefill.sim.dialect import Dialect, Throttle, capabilities_of
from onefill.sim.exchange import Exchange


class TestMatching:
    def test_a_limit_order_with_nothing_to_trade_with_rests(self) -> None:
        """An order that crosses nothing is NEW, open, and reported once."""
        venue = exchange()
        shown = accepted(venue.submit(limit("a", "buy", 2, "9.95"), NOON_US)).order
        assert (shown.status, shown.cum_quantity, shown.venue_order_id) == (VenueStatus.NEW, 0, "X1")
        assert venue.open_orders("A") == [shown]
        (report,) = venue.executions("A", 0)
        assert (report.position, report.status, report.leaves_quantity) == (1, VenueStatus.NEW, 2)
        assert report.transacted_at_us == NOON_US

    def test_the_better_price_trades_first_and_then_the_earlier_order(self) -> None:
        """Price-time priority: 9.95 before 10, and at 10 the first come before the second; each at its own price."""
        venue = exchange()
        for name, price in (("late", 10), ("later", 10), ("best", "9.95")):
            venue.submit(limit(name, "sell", 1, price, account="S"), NOON_US)
        shown = accepted(venue.submit(limit("b", "buy", 2.5, 11), NOON_US)).order
        assert (shown.status, shown.cum_quantity) == (VenueStatus.FILLED, Decimal("2.5"))
        assert told(venue.executions("A", 0)) == ["b new", "b trade 1@9.95", "b trade 1@10", "b trade 0.5@10"]
        assert told(venue.executions("S", 3)) == ["best trade 1@9.95", "late trade 1@10", "later trade 0.5@10"]
        assert [one.client_order_id for one in venue.open_orders("S")] == ["later"]

    def test_the_rest_of_a_partly_filled_limit_order_rests(self) -> None:
        """What a limit order cannot trade at once stays in the book at its price, with what it traded on record."""
        venue = exchange()
        venue.submit(limit("s", "sell", 1, 10, account="S"), NOON_US)
        shown = accepted(venue.submit(limit("b", "buy", 3, 10), NOON_US)).order
        assert (shown.status, shown.cum_quantity) == (VenueStatus.PARTIALLY_FILLED, 1)
        assert venue.executions("A", 0)[-1].leaves_quantity == 2
        venue.submit(limit("s2", "sell", 2, 10, account="S"), NOON_US)
        assert venue.open_orders("A") == []

    @pytest.mark.parametrize(
        ("request_", "reports"),
        [
            (market("x", "buy", 1.5), ["x new", "x trade 1@10", "x trade 0.5@11"]),
            (market("x", "buy", 9), ["x new", "x trade 1@10", "x trade 1@11", "x canceled"]),
            (limit("x", "buy", 2, 10, time_in_force=TimeInForce.IOC), ["x new", "x trade 1@10", "x canceled"]),
            (limit("x", "buy", 1, 9, time_in_force=TimeInForce.IOC), ["x new", "x canceled"]),
            (limit("x", "buy", 2, 11, time_in_force=TimeInForce.FOK), ["x new", "x trade 1@10", "x trade 1@11"]),
            (limit("x", "buy", 2, 10, time_in_force=TimeInForce.FOK), ["x new", "x canceled"]),
            (market("x", "buy", 3, time_in_force=TimeInForce.FOK), ["x new", "x canceled"]),
        ],
    )
    def test_an_order_that_cannot_rest_trades_what_it_may_and_ends(
        self, request_: SubmitRequest, reports: list[str]
    ) -> None:
        """Market and IOC trade what is there, FOK all or nothing; the remainder is Canceled (FIX 4.4 D.34, D.35)."""
        venue = exchange()
        venue.submit(limit("s1", "sell", 1, 10, account="S"), NOON_US)
        venue.submit(limit("s2", "sell", 1, 11, account="S"), NOON_US)
        venue.submit(request_, NOON_US)
        assert told(venue.executions("A", 0)) == reports
        assert venue.open_orders("A") == []
        assert venue.executions("A", 0)[-1].leaves_quantity == 0

    def test_instruments_do_not_trade_with_each_other(self) -> None:
        """A buy of one instrument leaves a sell of another alone."""
        venue = exchange()
        venue.submit(limit("s", "sell", 1, 10, instrument="ZINC", account="S"), NOON_US)
        assert accepted(venue.submit(limit("b", "buy", 1, 10), NOON_US)).order.status is VenueStatus.NEW

    def test_without_matching_every_limit_order_rests(self) -> None:
        """With ``matching`` off crossing orders rest side by side, and what cannot rest is refused with the reason."""
        venue = exchange(matching=False)
        for request in (limit("s", "sell", 1, 10), limit("b", "buy", 1, 10)):
            assert accepted(venue.submit(request, NOON_US)).order.status is VenueStatus.NEW
        assert isinstance(venue.cancel(cancel("b"), NOON_US), Canceled)
        for request in (market("m", "buy", 1), limit("i", "buy", 1, 10, time_in_force=TimeInForce.IOC)):
            reply = venue.submit(request, NOON_US)
            assert isinstance(reply, Rejected)
            assert reply.code == "not_matching"


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "request_"),
        [
            ("unknown_instrument", order("x", "buy", 1, instrument="GOLD")),
            ("off_grid_quantity", order("x", "buy", "1.2")),
            ("off_grid_price", limit("x", "buy", 1, "10.01")),
            ("off_grid_price", limit("x", "buy", 1, "0.01")),
            ("off_grid_price", limit("x", "buy", 1, "1E-2000000")),
            ("below_minimum", order("x", "buy", "0.5")),
            ("quantity_too_large", order("x", "buy", "1E+30")),
            ("price_too_large", limit("x", "buy", 1, "1E+999999")),
            ("price_required", order("x", "buy", 1, price=None)),
            ("price_not_allowed", order("x", "buy", 1, order_type=OrderType.MARKET)),
            ("unknown_parameter", order("x", "buy", 1, parameters='{"postOnly":true}')),
            ("invalid_quantity", order("x", "buy", 0)),
            ("invalid_quantity", order("x", "buy", -1)),
            ("invalid_quantity", order("x", "buy", "NaN")),
            ("invalid_quantity", order("x", "buy", "sNaN")),
            ("invalid_price", limit("x", "buy", 1, "Infinity")),
            ("invalid_price", limit("x", "buy", 1, 0)),
            ("invalid_account", order("x", "buy", 1, account="")),
            ("invalid_client_order_id", order("", "buy", 1)),
            ("invalid_client_order_id", order("x" * 37, "buy", 1)),
            ("invalid_client_order_id", order("x\n", "buy", 1)),
            ("invalid_client_order_id", order("é", "buy", 1)),
        ],
    )
    def test_what_a_venue_would_refuse_is_rejected_with_a_code(self, code: str, request_: SubmitRequest) -> None:
        """A request that breaks a rule is Rejected, makes no order and no report, and leaves its id free."""
        venue = exchange()
        reply = venue.submit(request_, NOON_US)
        assert isinstance(reply, Rejected)
        assert reply.code == code
        assert reply.reason
        assert venue.all_orders() == []
        assert venue.executions(request_.account, 0) == []
        accepted(venue.submit(order("x", "buy", 1), NOON_US))

    def test_the_id_format_is_enforced(self) -> None:
        """A venue that takes ``0x`` and hexadecimal digits refuses everything else."""
        venue = exchange(id_format=IdFormat(alphabet=Alphabet.HEX, max_length=34, prefix="0x"))
        accepted(venue.submit(order("0xbeef", "buy", 1), NOON_US))
        for wrong in ("beef", "0xBEEF", "0x"):
            assert isinstance(venue.submit(order(wrong, "buy", 1), NOON_US), Rejected)

    def test_a_request_past_its_expiry_is_too_late_where_expiry_is_honoured(self) -> None:
        """The last good microsecond is the expiry itself; a venue without expiry ignores the field."""
        request = order("x", "buy", 1, expires_at_us=NOON_US)
        venue = exchange()
        assert isinstance(venue.submit(request, NOON_US + 1), TooLate)
        assert venue.all_orders() == []
        accepted(exchange().submit(request, NOON_US))
        accepted(exchange(request_expiry=False).submit(request, NOON_US + 1))

    def test_a_late_repeat_is_told_it_is_late(self) -> None:
        """A late copy of a live order gets TooLate, which says nothing about the live one."""
        venue = exchange()
        request = order("x", "buy", 1, expires_at_us=NOON_US)
        venue.submit(request, NOON_US)
        assert isinstance(venue.submit(request, NOON_US + 1), TooLate)
        assert len(venue.open_orders("A")) == 1

    def test_too_many_requests_are_throttled_and_not_taken(self) -> None:
        """With 10 a second and a burst of 2, the third waits a tenth of a second; another account is not held up."""
        venue = exchange(requests_per_s=10, burst=2)
        accepted(venue.submit(order("a", "buy", 1), NOON_US))
        assert isinstance(venue.cancel(cancel("a"), NOON_US), Canceled)
        reply = venue.submit(order("c", "buy", 1), NOON_US)
        assert reply == Throttled("too many requests", 0.1)
        assert isinstance(venue.cancel(cancel("a"), NOON_US), Throttled)
        accepted(venue.submit(order("c", "buy", 1, account="B"), NOON_US))
        assert isinstance(venue.submit(order("c", "buy", 1), NOON_US + 99_999), Throttled)
        accepted(venue.submit(order("c", "buy", 1), NOON_US + 100_000))

    def test_the_throttle_never_lets_more_than_its_rate_through(self) -> None:
        """Asked every 7 ms for ten seconds, a throttle of 30 a second lets its burst and 300 through."""
        throttle = Throttle(30, 5)
        passed = sum(throttle.take(NOON_US + at) == 0 for at in range(0, 10_000_000, 7_000))
        assert 300 <= passed <= 305


DEAD_BY_FILL, DEAD_BY_CANCEL, LIVE_ORDER = "filled", "canceled", "live"


class TestRepeats:
    @pytest.mark.parametrize(
        ("scope", "first_is", "same_day", "refused"),
        [
            (UniqueScope.EVER, LIVE_ORDER, True, True),
            (UniqueScope.EVER, DEAD_BY_FILL, True, True),
            (UniqueScope.EVER, DEAD_BY_CANCEL, False, True),
            (UniqueScope.DAY, LIVE_ORDER, True, True),
            (UniqueScope.DAY, DEAD_BY_FILL, True, True),
            (UniqueScope.DAY, DEAD_BY_FILL, False, False),
            (UniqueScope.DAY, LIVE_ORDER, False, False),
            (UniqueScope.OPEN, LIVE_ORDER, True, True),
            (UniqueScope.OPEN, LIVE_ORDER, False, True),
            (UniqueScope.OPEN, DEAD_BY_FILL, True, False),
            (UniqueScope.OPEN, DEAD_BY_CANCEL, True, False),
            (UniqueScope.NONE, LIVE_ORDER, True, False),
        ],
    )
    @pytest.mark.parametrize("reply", list(DuplicateReply))
    def test_an_id_is_refused_within_its_scope_and_makes_a_second_order_outside(
        self, scope: UniqueScope, first_is: str, same_day: bool, refused: bool, reply: DuplicateReply
    ) -> None:
        """The scope alone decides whether a repeat is a second order; the dialect decides what the refused one gets."""
        venue = exchange(unique_scope=scope, duplicate_reply=reply)
        request = limit("x", "buy", 1, 10)
        venue.submit(request, NOON_US)
        if first_is == DEAD_BY_FILL:
            venue.submit(limit("s", "sell", 1, 10, account="S"), NOON_US)
        elif first_is == DEAD_BY_CANCEL:
            venue.cancel(cancel("x"), NOON_US)
        answer = venue.submit(request, NOON_US if same_day else NOON_US + DAY_US)
        mine = [one for one in venue.all_orders() if one.account == "A"]
        if refused and reply is DuplicateReply.ERROR:
            assert isinstance(answer, DuplicateId)
        elif refused and reply is DuplicateReply.ORIGINAL:
            first = accepted(answer).order
            assert (first.venue_order_id, first.status) == (mine[0].venue_order_id, mine[0].status)
        else:
            assert accepted(answer).order.venue_order_id == mine[-1].venue_order_id
            assert len(mine) == 2
            return
        assert len(mine) == 1

    def test_the_original_is_shown_as_it_is_now(self) -> None:
        """A repeat answered with the first order shows what became of it since, not its first acknowledgement."""
        venue = exchange(duplicate_reply=DuplicateReply.ORIGINAL)
        venue.submit(limit("x", "buy", 2, 10), NOON_US)
        venue.submit(limit("s", "sell", 1, 10, account="S"), NOON_US)
        shown = accepted(venue.submit(limit("x", "buy", 2, 10), NOON_US)).order
        assert (shown.status, shown.cum_quantity) == (VenueStatus.PARTIALLY_FILLED, 1)

    def test_ids_are_unique_per_account(self) -> None:
        """Another account may use the same id, and neither sees the other's order."""
        venue = exchange()
        venue.submit(order("x", "buy", 1), NOON_US)
        other = accepted(venue.submit(order("x", "buy", 2, account="B"), NOON_US)).order
        assert venue.lookup("x", "B", NOON_US) == Found(other)

    def test_a_lookup_shows_the_latest_of_several_orders_under_one_id(self) -> None:
        """Where an id may be used again, the look-up shows the last order, dead or alive; an unused id is NotFound."""
        venue = exchange(unique_scope=UniqueScope.NONE)
        venue.submit(order("x", "buy", 1), NOON_US)
        venue.submit(order("x", "buy", 2), NOON_US)
        venue.cancel(cancel("x"), NOON_US)
        found = venue.lookup("x", "A", NOON_US)
        assert isinstance(found, Found)
        assert (found.order.venue_order_id, found.order.status) == ("X2", VenueStatus.CANCELED)
        assert isinstance(venue.lookup("y", "A", NOON_US), NotFound)
        assert isinstance(venue.lookup("x", "nobody", NOON_US), NotFound)

    @pytest.mark.parametrize("lookup", [Lookup.SCAN, Lookup.NONE])
    def test_a_venue_without_lookup_never_says_not_found(self, lookup: Lookup) -> None:
        """Where look-up is not offered the answer is Unknown, because nothing was looked up."""
        assert isinstance(exchange(lookup=lookup).lookup("x", "A", NOON_US), Unknown)


class TestCancels:
    def test_a_cancelled_order_is_dead_and_out_of_the_book(self) -> None:
        """A cancel ends the order, is reported once, and a crossing order finds nothing."""
        venue = exchange()
        venue.submit(limit("x", "buy", 1, 10), NOON_US)
        reply = venue.cancel(cancel("x"), NOON_US)
        assert isinstance(reply, Canceled)
        assert reply.order.status is VenueStatus.CANCELED
        assert told(venue.executions("A", 0)) == ["x new", "x canceled"]
        assert accepted(venue.submit(limit("s", "sell", 1, 10), NOON_US)).order.status is VenueStatus.NEW

    def test_a_cancel_of_a_dead_order_is_refused_with_the_order(self) -> None:
        """Who cancels what is filled or cancelled is shown the real state, and nothing is reported."""
        venue = exchange()
        venue.submit(limit("f", "buy", 1, 10), NOON_US)
        venue.submit(market("s", "sell", 1, account="S"), NOON_US)
        venue.submit(limit("c", "buy", 1, 10), NOON_US)
        venue.cancel(cancel("c"), NOON_US)
        before = venue.executions("A", 0)
        for name, status in (("f", VenueStatus.FILLED), ("c", VenueStatus.CANCELED)):
            reply = venue.cancel(cancel(name), NOON_US)
            assert isinstance(reply, CancelRejected)
            assert reply.order is not None
            assert reply.order.status is status
        assert venue.executions("A", 0) == before

    @pytest.mark.parametrize(
        "request_",
        [
            cancel("y"),
            cancel("x", account="B"),
            cancel("x", account="B", venue_order_id="X1"),
            cancel("x", instrument="ZINC"),
            cancel("y", venue_order_id="X1"),
            cancel("x", venue_order_id="X2"),
            cancel("x", venue_order_id="X01"),
            cancel("x", venue_order_id="X0"),
            cancel("x", venue_order_id="X" + "9" * 5000),
            cancel("x", venue_order_id=""),
        ],
    )
    def test_a_cancel_that_names_no_one_order_kills_none(self, request_: CancelRequest) -> None:
        """An unknown id, another account, or parts that contradict each other: unknown order, the live one lives on."""
        venue = exchange()
        venue.submit(order("x", "buy", 1), NOON_US)
        assert venue.cancel(request_, NOON_US) == CancelRejected("unknown order", None)
        assert len(venue.open_orders("A")) == 1

    def test_a_venue_that_cancels_by_its_own_number_only_needs_one(self) -> None:
        """Where the client order id does not do, a cancel with nothing else is refused and the order lives on."""
        venue = exchange(cancel_by_client_order_id=False)
        venue.submit(order("x", "buy", 1), NOON_US)
        assert isinstance(venue.cancel(cancel("x"), NOON_US), CancelRejected)
        assert len(venue.open_orders("A")) == 1
        assert isinstance(venue.cancel(cancel("x", venue_order_id="X1"), NOON_US), Canceled)
        assert venue.counts().cancels_rejected == 1

    def test_the_venue_order_id_picks_one_of_several_orders(self) -> None:
        """Without uniqueness the client order id means the latest order, the venue's own id any of them."""
        venue = exchange(unique_scope=UniqueScope.NONE)
        for _ in range(3):
            venue.submit(order("x", "buy", 1), NOON_US)
        venue.cancel(cancel("x"), NOON_US)
        venue.cancel(cancel("x", venue_order_id="X1"), NOON_US)
        assert [one.venue_order_id for one in venue.open_orders("A")] == ["X2"]


class TestExecutionIds:
    @pytest.mark.parametrize(
        ("scope", "ids"),
        [
            (ExecutionIdScope.ACCOUNT, ["E1", "E2", "E3", "E4"]),
            (ExecutionIdScope.INSTRUMENT, ["E1", "E1", "E2", "E3"]),
            (ExecutionIdScope.ORDER, ["E1", "E1", "E1", "E2"]),
        ],
    )
    def test_execution_ids_restart_in_each_scope(self, scope: ExecutionIdScope, ids: list[str]) -> None:
        """Ids are unique within the declared scope and no further: a wider dedupe key would drop real fills."""
        venue = exchange(execution_id_scope=scope)
        venue.submit(order("a", "buy", 1), NOON_US)
        venue.submit(order("z", "buy", 1, instrument="ZINC"), NOON_US)
        venue.submit(order("b", "buy", 1), NOON_US)
        venue.cancel(cancel("b"), NOON_US)
        assert [report.execution_id for report in venue.executions("A", 0)] == ids


class TestIntrospection:
    def test_a_judge_sees_every_order_in_order_of_arrival(self) -> None:
        """All orders of all accounts, dead ones included, can be read in pages, and the counts agree."""
        venue = exchange()
        venue.submit(order("x", "buy", 1), NOON_US)
        venue.submit(order("x", "buy", 1), NOON_US)
        venue.submit(order("y", "sell", 1, account="B"), NOON_US)
        venue.submit(order("z", "sell", 1, account="B", instrument="GOLD"), NOON_US)
        everything = venue.all_orders()
        assert [(one.number, one.account, one.client_order_id, one.status) for one in everything] == [
            (1, "A", "x", VenueStatus.FILLED),
            (2, "B", "y", VenueStatus.FILLED),
        ]
        assert venue.all_orders(1, 5) == everything[1:]
        counts = venue.counts()
        assert (counts.submits, counts.orders, counts.duplicates, counts.rejected, counts.trades) == (4, 2, 1, 1, 1)
        assert (counts.open_orders, counts.reports) == (0, 4)

    def test_a_listener_is_called_for_its_account_until_it_leaves(self) -> None:
        """Each new report of the account wakes its listeners, another account's report does not."""
        venue = exchange()
        woken: list[int] = []
        leave = venue.subscribe("A", lambda: woken.append(len(venue.executions("A", 0))))
        venue.submit(order("x", "buy", 1), NOON_US)
        venue.submit(order("y", "buy", 1, account="B"), NOON_US)
        leave()
        venue.cancel(cancel("x"), NOON_US)
        assert woken == [1]

    @pytest.mark.parametrize(
        ("after", "limit_", "positions"), [(0, 2, [1, 2]), (2, 9, [3]), (3, 9, []), (99, 9, []), (-5, 1, [1])]
    )
    def test_the_stream_is_read_by_position(self, after: int, limit_: int, positions: list[int]) -> None:
        """Reading after position n gives n+1 and on, at most so many; past the end there is nothing."""
        venue = exchange()
        for name in "abc":
            venue.submit(order(name, "buy", 1), NOON_US)
        assert [report.position for report in venue.executions("A", after, limit_)] == positions
        assert venue.executions("nobody", after, limit_) == []


NO_TICK = Instrument(symbol="X", price_tick=Decimal(0), quantity_step=Decimal(1), min_quantity=Decimal(1))


class TestSettings:
    @pytest.mark.parametrize(
        "settings",
        [
            {"request_expiry_s": 0.0},
            {"conclusive_after_s": -1.0},
            {"acknowledge_delay_us": -1},
            {"requests_per_s": 0},
            {"burst": 5},
            {"requests_per_s": 5, "burst": 0},
            {"lookup": False},
            {"replace": "sometimes"},
            {"replaced_shows_as": VenueStatus.FILLED},
        ],
    )
    def test_a_dialect_that_means_nothing_is_refused(self, settings: dict[str, object]) -> None:
        """A setting out of range is named when the dialect is made."""
        with pytest.raises(InvalidField, match=list(settings)[-1]):
            Dialect(**settings)  # type: ignore[arg-type]

    @pytest.mark.parametrize("broken", [[ACME, ACME], [NO_TICK]])
    def test_instruments_that_cannot_be_traded_are_refused(self, broken: list[Instrument]) -> None:
        """Two instruments under one symbol, or a step of zero, do not make an exchange."""
        with pytest.raises(InvalidField):
            Exchange(Dialect(), broken)

    def test_capabilities_say_what_the_dialect_does(self) -> None:
        """What is declared follows from the dialect; a venue that takes repeats declares no uniqueness."""
        strict = Dialect(unique_scope=UniqueScope.OPEN, request_expiry_s=3.0, conclusive_after_s=7.0)
        assert capabilities_of(strict) == Capabilities(
            unique_scope=UniqueScope.OPEN,
            duplicate_reply=DuplicateReply.ERROR,
            lookup=Lookup.DIRECT,
            cancel_by_client_order_id=True,
            replace=ReplaceStyle.KEEP,
            request_expiry_s=3.0,
            conclusive_after_s=7.0,
            execution_id_scope=ExecutionIdScope.ACCOUNT,
        )
        lax = Dialect(
            duplicate_reply=DuplicateReply.ACCEPTS,
            request_expiry=False,
            lookup=Lookup.NONE,
            conclusive_after_s=None,
            replace=ReplaceStyle.NONE,
            cancel_by_client_order_id=False,
        )
        assert capabilities_of(lax) == Capabilities(execution_id_scope=ExecutionIdScope.ACCOUNT)
        words = Dialect(lookup="scan", replace="new_id")  # type: ignore[arg-type]
        assert capabilities_of(words) == capabilities_of(Dialect(lookup=Lookup.SCAN, replace=ReplaceStyle.NEW_ID))
        assert capabilities_of(Dialect(unique_scope=UniqueScope.NONE)).duplicate_reply is DuplicateReply.ACCEPTS
