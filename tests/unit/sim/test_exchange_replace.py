"""The simulated exchange: replaces (FIX OrderCancelReplaceRequest), where the id is kept and where it changes."""

from decimal import Decimal
from typing import Any

import pytest
from exchange_kit import DAY_US, NOON_US, accepted, cancel, exchange, limit, market, order, replace, replaced, told

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.messages import (
    Canceled,
    CancelRejected,
    DuplicateId,
    ExecutionKind,
    Found,
    Replaced,
    ReplaceRejected,
    ReplaceRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import chains

STYLES = pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])


def venue_of(style: ReplaceStyle, **dialect: Any) -> Exchange:
    """Return an exchange of this style on which account A has a live buy of 4 at 10, named x."""
    venue = exchange(replace=style, **dialect)
    venue.submit(limit("x", "buy", 4, 10), NOON_US)
    return venue


def new_name(style: ReplaceStyle) -> str:
    """Return the id that a replace of x brings in this style."""
    return "x" if style is ReplaceStyle.KEEP else "y"


def sell(venue: Exchange, quantity: object, price: object = "0.05") -> None:
    """Have account S sell so much at once to whoever bids at least ``price``."""
    name = f"s{len(venue.all_orders())}"
    venue.submit(limit(name, "sell", quantity, price, account="S", time_in_force=TimeInForce.IOC), NOON_US)


def rejected(reply: object, reason: str) -> ReplaceRejected:
    """Return the refusal if that is what it is, for this reason; fail otherwise."""
    assert isinstance(reply, ReplaceRejected), reply
    assert reason in reply.reason
    return reply


class TestWhatAReplaceDoes:
    def test_a_kept_order_has_the_wanted_quantity_and_price_under_its_own_names(self) -> None:
        """KEEP: the same ids, one REPLACED report that tells quantity, price, executed and leaves."""
        venue = venue_of(ReplaceStyle.KEEP)
        sell(venue, 1)
        shown = replaced(venue.replace(replace("x", 3, "9.95"), NOON_US + 5))
        assert (shown.client_order_id, shown.venue_order_id) == ("x", "X1")
        assert (shown.quantity, shown.price, shown.cum_quantity) == (3, Decimal("9.95"), 1)
        assert shown.status is VenueStatus.PARTIALLY_FILLED
        assert venue.lookup("x", "A", NOON_US) == Found(shown)
        assert venue.open_orders("A") == [shown]
        report = venue.executions("A", 0)[-1]
        assert told([report]) == ["x replaced"]
        assert (report.orig_client_order_id, report.order_quantity, report.order_price) == ("x", 3, Decimal("9.95"))
        assert (report.cum_quantity, report.leaves_quantity) == (1, 2)
        assert (report.status, report.transacted_at_us) == (VenueStatus.PARTIALLY_FILLED, NOON_US + 5)

    def test_under_a_new_id_another_order_goes_on_with_what_is_executed(self) -> None:
        """NEW_ID: the old order is REPLACED and dead, the new one has a number of its own and the executed quantity."""
        venue = venue_of(ReplaceStyle.NEW_ID)
        sell(venue, 1)
        shown = replaced(venue.replace(replace("x", 3, "9.95", "y"), NOON_US + 5))
        assert (shown.client_order_id, shown.venue_order_id) == ("y", "X3")
        assert (shown.quantity, shown.cum_quantity, shown.status) == (3, 1, VenueStatus.PARTIALLY_FILLED)
        assert venue.open_orders("A") == [shown]
        old = venue.lookup("x", "A", NOON_US)
        assert isinstance(old, Found)
        assert (old.order.status, old.order.quantity, old.order.cum_quantity) == (VenueStatus.REPLACED, 4, 1)
        assert told(venue.executions("A", 2)) == ["y replaced"]
        report = venue.executions("A", 2)[0]
        assert (report.orig_client_order_id, report.order_quantity, report.order_price) == ("x", 3, Decimal("9.95"))
        assert (report.venue_order_id, report.cum_quantity, report.leaves_quantity) == ("X3", 1, 2)
        sell(venue, 9)
        assert told(venue.executions("A", 3)) == ["y trade 2@9.95"]
        assert venue.executions("A", 3)[0].cum_quantity == 3

    def test_a_replaced_order_may_show_as_cancelled(self) -> None:
        """Where replaced orders show as CANCELED, their cancellation is told before the replacement, and no word of it."""
        venue = venue_of(ReplaceStyle.NEW_ID, replaced_shows_as=VenueStatus.CANCELED)
        replaced(venue.replace(replace("x", 3, 10, "y"), NOON_US))
        assert told(venue.executions("A", 1)) == ["x canceled", "y replaced"]
        cancellation = venue.executions("A", 1)[0]
        assert (cancellation.status, cancellation.leaves_quantity, cancellation.text) == (VenueStatus.CANCELED, 0, None)
        assert cancellation.orig_client_order_id is None
        old = venue.lookup("x", "A", NOON_US)
        assert isinstance(old, Found)
        assert old.order.status is VenueStatus.CANCELED
        assert venue.counts().canceled == 0

    @STYLES
    @pytest.mark.parametrize("price", [10, 11])
    def test_the_executed_quantity_ends_the_order_filled(self, style: ReplaceStyle, price: int) -> None:
        """A replace to exactly what is executed leaves nothing: FILLED, out of the book, told once, nothing more trades."""
        venue = venue_of(style)
        sell(venue, 1.5)
        shown = replaced(venue.replace(replace("x", 1.5, price, new_name(style)), NOON_US))
        assert (shown.status, shown.quantity, shown.cum_quantity) == (
            VenueStatus.FILLED,
            Decimal("1.5"),
            Decimal("1.5"),
        )
        assert venue.open_orders("A") == []
        assert venue.book("ACME") == ([], [])
        (report,) = venue.executions("A", 2)
        assert (report.kind, report.status, report.leaves_quantity) == (ExecutionKind.REPLACED, VenueStatus.FILLED, 0)
        assert isinstance(venue.cancel(cancel(new_name(style)), NOON_US), CancelRejected)

    @STYLES
    def test_another_price_is_matched_at_once(self, style: ReplaceStyle) -> None:
        """A bid raised to an offer trades before the reply, at the offer's price, and the rest rests at the new price."""
        venue = venue_of(style)
        venue.submit(limit("s", "sell", 1, 11, account="S"), NOON_US)
        shown = replaced(venue.replace(replace("x", 4, 12, new_name(style)), NOON_US))
        assert (shown.status, shown.cum_quantity) == (VenueStatus.PARTIALLY_FILLED, 1)
        name = new_name(style)
        assert told(venue.executions("A", 1)) == [f"{name} replaced", f"{name} trade 1@11"]
        assert venue.executions("A", 1)[0].status is VenueStatus.NEW
        bids, offers = venue.book("ACME")
        assert [(one.client_order_id, one.price) for one in bids] == [(name, 12)]
        assert offers == []

    @STYLES
    def test_a_replace_that_trades_whole_leaves_nothing_open(self, style: ReplaceStyle) -> None:
        """A replacement that finds all it wants is FILLED in its own reply and neither open nor in the book."""
        venue = venue_of(style)
        venue.submit(limit("s", "sell", 9, 11, account="S"), NOON_US)
        assert replaced(venue.replace(replace("x", 5, 11, new_name(style)), NOON_US)).status is VenueStatus.FILLED
        assert venue.open_orders("A") == []
        assert venue.book("ACME")[0] == []

    @STYLES
    @pytest.mark.parametrize(
        ("quantity", "price", "first"),
        [(3, 10, True), (4, 10, True), (5, 10, False), (4, "10.05", True), (4, "9.95", False)],
    )
    def test_only_more_quantity_or_another_price_costs_the_place(
        self, style: ReplaceStyle, quantity: object, price: object, first: bool
    ) -> None:
        """Less quantity at the same price stays first in the queue; more of it, or a worse price, goes behind the next."""
        venue = venue_of(style)
        venue.submit(limit("next", "buy", 1, 10), NOON_US)
        venue.submit(limit("last", "buy", 1, 10), NOON_US)
        replaced(venue.replace(replace("x", quantity, price, new_name(style)), NOON_US))
        names = [one.client_order_id for one in venue.book("ACME")[0]]
        assert names == ([new_name(style), "next", "last"] if first else ["next", "last", new_name(style)])

    def test_a_place_is_kept_through_many_reductions(self) -> None:
        """Successors of successors stay where the first one stood, and leave that place cleanly."""
        venue = venue_of(ReplaceStyle.NEW_ID)
        venue.submit(limit("next", "buy", 1, 10), NOON_US)
        for old, new, quantity in (("x", "y", 3), ("y", "z", 2)):
            replaced(venue.replace(replace(old, quantity, 10, new), NOON_US))
        assert [one.client_order_id for one in venue.book("ACME")[0]] == ["z", "next"]
        sell(venue, 2.5)
        assert [one.client_order_id for one in venue.book("ACME")[0]] == ["next"]

    def test_a_worse_place_loses_to_a_better_price_already_there(self) -> None:
        """Orders that return to an old price stand behind those that stayed, whatever their numbers are."""
        venue = venue_of(ReplaceStyle.KEEP)
        venue.submit(limit("next", "buy", 1, 10), NOON_US)
        for price in ("9.95", 10):
            replaced(venue.replace(replace("x", 4, price), NOON_US))
        assert [one.client_order_id for one in venue.book("ACME")[0]] == ["next", "x"]

    @STYLES
    def test_without_matching_a_replace_changes_the_order_and_no_more(self, style: ReplaceStyle) -> None:
        """Where nothing is matched a replace is still done and told, and the order can be cancelled after it."""
        venue = venue_of(style, matching=False)
        venue.submit(limit("s", "sell", 9, 9, account="S"), NOON_US)
        shown = replaced(venue.replace(replace("x", 7, 11, new_name(style)), NOON_US))
        assert (shown.status, shown.cum_quantity, shown.quantity) == (VenueStatus.NEW, 0, 7)
        assert isinstance(venue.cancel(cancel(new_name(style)), NOON_US), Canceled)

    @STYLES
    def test_a_day_order_ends_with_its_day_after_a_replace(self, style: ReplaceStyle) -> None:
        """A replaced DAY order is EXPIRED at midnight, once, under the name it has then."""
        venue = exchange(replace=style)
        venue.submit(limit("x", "buy", 4, 10, time_in_force=TimeInForce.DAY), NOON_US)
        wanted = replace("x", 3, 9, new_name(style), time_in_force=TimeInForce.DAY)
        replaced(venue.replace(wanted, NOON_US))
        venue.advance(NOON_US + DAY_US)
        assert told(venue.executions("A", 2)) == [f"{new_name(style)} expired"]
        assert venue.open_orders("A") == []
        assert venue.book("ACME") == ([], [])
        assert venue.counts().expired == 1


class TestRepeats:
    def test_a_repeat_changes_nothing_where_the_id_is_kept(self) -> None:
        """KEEP: the second copy is answered Replaced with the order as it is by then, and nothing is told or lost."""
        venue = venue_of(ReplaceStyle.KEEP)
        venue.submit(limit("next", "buy", 1, 10), NOON_US)
        request = replace("x", 3, 10)
        replaced(venue.replace(request, NOON_US))
        sell(venue, 1)
        before = venue.executions("A", 0)
        assert replaced(venue.replace(request, NOON_US)).cum_quantity == 1
        assert venue.executions("A", 0) == before
        assert [one.client_order_id for one in venue.book("ACME")[0]] == ["x", "next"]
        counts = venue.counts()
        assert (counts.replaces, counts.replaced, counts.replaces_rejected) == (2, 1, 0)

    @pytest.mark.parametrize("scope", list(UniqueScope))
    def test_a_repeat_finds_its_original_dead_where_the_id_changes(self, scope: UniqueScope) -> None:
        """NEW_ID: whatever ids the venue takes again, the second copy is refused, with the original as it is."""
        venue = venue_of(ReplaceStyle.NEW_ID, unique_scope=scope)
        request = replace("x", 3, 10, "y")
        replaced(venue.replace(request, NOON_US))
        before = venue.executions("A", 0)
        refusal = rejected(venue.replace(request, NOON_US), "already replaced")
        assert refusal.order is not None
        assert (refusal.order.client_order_id, refusal.order.status) == ("x", VenueStatus.REPLACED)
        assert venue.executions("A", 0) == before
        assert len(venue.open_orders("A")) == 1
        assert venue.counts().replaces_rejected == 1

    @pytest.mark.parametrize(
        ("scope", "y_is_live", "next_day", "refused"),
        [
            (UniqueScope.EVER, True, False, True),
            (UniqueScope.EVER, False, True, True),
            (UniqueScope.DAY, False, False, True),
            (UniqueScope.DAY, True, True, False),
            (UniqueScope.OPEN, True, True, True),
            (UniqueScope.OPEN, False, False, False),
            (UniqueScope.NONE, True, False, False),
        ],
    )
    def test_the_new_id_is_judged_like_that_of_a_new_order(
        self, scope: UniqueScope, y_is_live: bool, next_day: bool, refused: bool
    ) -> None:
        """A new id in use within the scope refuses the replace, shows the original, and leaves it as it was."""
        venue = venue_of(ReplaceStyle.NEW_ID, unique_scope=scope)
        venue.submit(limit("y", "buy", 1, 9), NOON_US)
        if not y_is_live:
            venue.cancel(cancel("y"), NOON_US)
        before = venue.lookup("x", "A", NOON_US)
        reply = venue.replace(replace("x", 3, 10, "y"), NOON_US + DAY_US * next_day)
        assert isinstance(reply, ReplaceRejected) == refused
        if refused:
            assert "in use" in rejected(reply, "").reason
            assert venue.lookup("x", "A", NOON_US) == before == Found(rejected(reply, "").order)  # type: ignore[arg-type]

    def test_where_repeats_are_taken_no_new_id_is_refused(self) -> None:
        """A venue that takes any id for a new order takes any for a replace too."""
        venue = venue_of(ReplaceStyle.NEW_ID, duplicate_reply=DuplicateReply.ACCEPTS)
        venue.submit(limit("y", "buy", 1, 9), NOON_US)
        assert replaced(venue.replace(replace("x", 3, 10, "y"), NOON_US)).venue_order_id == "X3"

    def test_the_new_id_is_taken_for_new_orders_and_the_old_one_stays_so(self) -> None:
        """After a replace neither id makes a second order where ids are unique for ever."""
        venue = venue_of(ReplaceStyle.NEW_ID)
        replaced(venue.replace(replace("x", 3, 10, "y"), NOON_US))
        for name in "xy":
            assert isinstance(venue.submit(limit(name, "buy", 1, 10), NOON_US), DuplicateId)


class TestRefusals:
    @STYLES
    @pytest.mark.parametrize(
        ("reason", "change"),
        [
            ("quantity below what is executed", {"quantity": 1}),
            ("off_grid_quantity", {"quantity": "2.2"}),
            ("off_grid_price", {"price": "10.01"}),
            ("below_minimum", {"quantity": "0.5"}),
            ("quantity_too_large", {"quantity": "1E+30"}),
            ("invalid_quantity", {"quantity": 0}),
            ("invalid_quantity", {"quantity": "sNaN"}),
            ("invalid_price", {"price": "NaN"}),
            ("price_required", {"price": None}),
            ("order type", {"order_type": OrderType.MARKET, "price": None}),
            ("time in force", {"time_in_force": TimeInForce.DAY}),
            ("side", {"side": Side.SELL}),
        ],
    )
    def test_what_may_not_be_is_refused_with_the_order_untouched(
        self, style: ReplaceStyle, reason: str, change: dict[str, Any]
    ) -> None:
        """A replace that breaks a rule is refused with the reason and the order, which nothing happened to."""
        venue = venue_of(style)
        sell(venue, 1.5)
        before, told_before = venue.all_orders(), venue.executions("A", 0)
        fields: dict[str, Any] = {"quantity": 3, "price": 10} | change
        quantity, price = fields.pop("quantity"), fields.pop("price")
        refusal = rejected(venue.replace(replace("x", quantity, price, new_name(style), **fields), NOON_US), reason)
        assert refusal.order == venue.open_orders("A")[0]
        assert (venue.all_orders(), venue.executions("A", 0)) == (before, told_before)
        assert [one.client_order_id for one in venue.book("ACME")[0]] == ["x"]
        assert venue.counts().replaces_rejected == 1

    @pytest.mark.parametrize("new", ["", "é", "y" * 37])
    def test_a_new_id_must_fit_the_venue(self, new: str) -> None:
        """An id that a new order could not have, a replacement cannot have either."""
        request = replace("x", 3, 10, "y")
        venue = venue_of(ReplaceStyle.NEW_ID)
        fields = {name: getattr(request, name) for name in request.__struct_fields__} | {"client_order_id": new}
        rejected(venue.replace(ReplaceRequest(**fields), NOON_US), "invalid_client_order_id")

    def test_each_style_refuses_the_other_ones_ids(self) -> None:
        """Where ids are kept a new one is refused; where they change the old one is, even if repeats are taken."""
        rejected(venue_of(ReplaceStyle.KEEP).replace(replace("x", 3, 10, "y"), NOON_US), "keeps")
        lax = venue_of(ReplaceStyle.NEW_ID, duplicate_reply=DuplicateReply.ACCEPTS)
        rejected(lax.replace(replace("x", 3, 10), NOON_US), "does not keep")

    def test_a_venue_without_replace_refuses_it(self) -> None:
        """Where orders cannot be replaced the answer says so and the order lives on."""
        venue = venue_of(ReplaceStyle.NONE)
        rejected(venue.replace(replace("x", 3, 10), NOON_US), "does not replace")
        assert venue.open_orders("A")[0].quantity == 4

    @STYLES
    @pytest.mark.parametrize(
        "request_",
        [
            replace("q", 3, 10),
            replace("", 3, 10, "y", venue_order_id="X1"),
            replace("x", 3, 10, account="B"),
            replace("x", 3, 10, account="B", venue_order_id="X1"),
            replace("x", 3, 10, instrument="ZINC"),
            replace("q", 3, 10, venue_order_id="X1"),
            replace("x", 3, 10, venue_order_id="X2"),
            replace("x", 3, 10, venue_order_id=""),
        ],
    )
    def test_a_replace_that_names_no_one_order_changes_none(
        self, style: ReplaceStyle, request_: ReplaceRequest
    ) -> None:
        """An unknown id, another account, or parts that contradict each other: unknown order, without one shown."""
        venue = venue_of(style)
        before = venue.all_orders()
        assert venue.replace(request_, NOON_US) == ReplaceRejected("unknown order", None)
        assert venue.all_orders() == before

    @STYLES
    def test_a_dead_order_is_not_replaced(self, style: ReplaceStyle) -> None:
        """Filled and cancelled orders stay what they are, and the refusal shows it."""
        for kill, status in ((lambda v: sell(v, 4), "filled"), (lambda v: v.cancel(cancel("x"), NOON_US), "canceled")):
            venue = venue_of(style)
            kill(venue)
            refusal = rejected(venue.replace(replace("x", 9, 10, new_name(style)), NOON_US), f"already {status}")
            assert refusal.order is not None
            assert refusal.order.status == status

    @STYLES
    def test_an_order_not_yet_accepted_is_not_replaced(self, style: ReplaceStyle) -> None:
        """While an order is PENDING_NEW a replace is refused; once it is NEW the same request works."""
        venue = venue_of(style, acknowledges_asynchronously=True, acknowledge_delay_us=100)
        request = replace("x", 3, 10, new_name(style))
        refusal = rejected(venue.replace(request, NOON_US), "not yet accepted")
        assert refusal.order is not None
        assert refusal.order.status is VenueStatus.PENDING_NEW
        assert isinstance(venue.replace(request, NOON_US + 100), Replaced)
        assert told(venue.executions("A", 0)) == ["x new", f"{new_name(style)} replaced"]

    @STYLES
    def test_a_late_replace_is_refused_where_expiry_is_honoured(self, style: ReplaceStyle) -> None:
        """After its expiry a copy is TooLate, even of an order that is dead; the last good moment is the expiry."""
        request = replace("x", 3, 10, new_name(style), expires_at_us=NOON_US)
        venue = venue_of(style)
        assert isinstance(venue.replace(request, NOON_US + 1), TooLate)
        assert venue.counts().too_late == 1
        assert isinstance(venue_of(style).replace(request, NOON_US), Replaced)
        assert isinstance(venue_of(style, request_expiry=False).replace(request, NOON_US + 1), Replaced)

    def test_replaces_count_against_the_rate(self) -> None:
        """A replace takes from the same allowance as submits and cancels, and is not looked at when there is none."""
        venue = venue_of(ReplaceStyle.KEEP, requests_per_s=10, burst=2)
        assert isinstance(venue.replace(replace("x", 3, 10), NOON_US), Replaced)
        assert venue.replace(replace("x", 2, 10), NOON_US) == Throttled("too many requests", 0.1)
        assert venue.open_orders("A")[0].quantity == 3


class TestNames:
    def test_a_cancel_under_the_old_id_does_not_kill_the_order_that_goes_on(self) -> None:
        """Cancelling a replaced order is refused with what became of it; its successor needs its own name."""
        venue = venue_of(ReplaceStyle.NEW_ID)
        replaced(venue.replace(replace("x", 3, 10, "y"), NOON_US))
        reply = venue.cancel(cancel("x"), NOON_US)
        assert isinstance(reply, CancelRejected)
        assert reply.order is not None
        assert reply.order.status is VenueStatus.REPLACED
        assert isinstance(venue.cancel(cancel("y"), NOON_US), Canceled)

    def test_the_venue_order_id_picks_one_of_several_originals(self) -> None:
        """Without uniqueness the client order id means the latest order, the venue's own id any of them."""
        venue = venue_of(ReplaceStyle.NEW_ID, unique_scope=UniqueScope.NONE)
        venue.submit(limit("x", "buy", 2, 10), NOON_US)
        assert replaced(venue.replace(replace("x", 3, 9, "y", venue_order_id="X1"), NOON_US)).venue_order_id == "X3"
        assert [one.venue_order_id for one in venue.open_orders("A")] == ["X2", "X3"]

    @pytest.mark.parametrize(
        ("scope", "ids"),
        [
            (ExecutionIdScope.ACCOUNT, ["E1", "E2", "E3", "E4"]),
            (ExecutionIdScope.INSTRUMENT, ["E1", "E2", "E3", "E4"]),
            (ExecutionIdScope.ORDER, ["E1", "E2", "E1", "E2"]),
        ],
    )
    def test_execution_ids_stay_unique_in_their_scope(self, scope: ExecutionIdScope, ids: list[str]) -> None:
        """The order that goes on is a scope of its own where ids are unique per order only."""
        venue = venue_of(
            ReplaceStyle.NEW_ID, replaced_shows_as=VenueStatus.CANCELED, execution_id_scope=scope, matching=True
        )
        replaced(venue.replace(replace("x", 3, 10, "y"), NOON_US))
        venue.cancel(cancel("y"), NOON_US)
        assert told(venue.executions("A", 0)) == ["x new", "x canceled", "y replaced", "y canceled"]
        assert [report.execution_id for report in venue.executions("A", 0)] == ids

    def test_a_judge_can_follow_a_chain(self) -> None:
        """Orders linked by replaces are one order: links both ways, one chain, whatever other orders are about."""
        venue = venue_of(ReplaceStyle.NEW_ID)
        accepted(venue.submit(order("other", "buy", 1), NOON_US))
        for old, new in (("x", "y"), ("y", "z")):
            replaced(venue.replace(replace(old, 3, 9, new), NOON_US))
        everything = venue.all_orders()
        assert [(one.client_order_id, one.orig_client_order_id, one.replaced_by) for one in everything] == [
            ("x", None, "X3"),
            ("other", None, None),
            ("y", "x", "X4"),
            ("z", "y", None),
        ]
        assert [[one.client_order_id for one in chain] for chain in chains(everything)] == [["x", "y", "z"], ["other"]]

    def test_a_listener_hears_of_a_replace(self) -> None:
        """Whoever follows the account's stream is woken."""
        venue = venue_of(ReplaceStyle.KEEP)
        woken: list[int] = []
        venue.subscribe("A", lambda: woken.append(1))
        venue.replace(replace("x", 3, 10), NOON_US)
        venue.replace(replace("x", 3, 10), NOON_US)
        venue.replace(replace("x", 0, 10), NOON_US)
        assert woken == [1]

    def test_a_market_order_that_was_traded_away_is_not_replaced(self) -> None:
        """What cannot rest is over when its own reply comes."""
        venue = exchange()
        venue.submit(market("m", "buy", 1), NOON_US)
        refusal = rejected(
            venue.replace(replace("m", 2, None, order_type=OrderType.MARKET), NOON_US), "already canceled"
        )
        assert refusal.order is not None
