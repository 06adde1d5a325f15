"""Every kind of break, at the edge of its grace window, and beside each what looks like it and is none."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import copies, intent, replacing, us
from reconcile_kit import (
    GRACE_US,
    LISTS,
    TOTALS,
    here,
    incident,
    kinds,
    live,
    looks,
    only,
    report,
    row,
    seen,
    shown,
    there,
    told,
)

from onefill.core.capabilities import Capabilities
from onefill.core.incident import BREAKS, IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, VenueStatus
from onefill.core.order import Order, Terms
from onefill.core.position import DROP_COPY, STREAM, Kind
from onefill.core.reconcile import Comparison, Here, There, together
from onefill.core.values import OrderType, Side

_but = msgspec.structs.replace
NOTHING: list[tuple[str, str]] = []
STRANGER = shown(client_order_id="byhand", venue_order_id="V9")
RAN_OUT = live(cum_quantity=Decimal(4), venue_cum_quantity=Decimal(4), status=Status.PARTIALLY_FILLED)

BROKEN: dict[IncidentKind, tuple[str, Here, There]] = {
    IncidentKind.UNKNOWN_AT_VENUE: ("C1", here(live()), there()),
    IncidentKind.UNKNOWN_HERE: ("A V9", here(live()), there(shown(), STRANGER)),
    IncidentKind.QUANTITY: ("C1", here(live()), there(shown(quantity=Decimal(7)))),
    IncidentKind.PRICE: ("C1", here(live()), there(shown(price=Decimal(26)))),
    IncidentKind.STATE: ("C1", here(live(status=Status.CANCELED)), there(shown())),
    IncidentKind.MISSING_EXECUTION: ("C1", here(live(venue_cum_quantity=Decimal(4))), there(shown())),
    IncidentKind.EXTRA_EXECUTION: ("execution A E1", here(RAN_OUT, rows=(row(),)), there(whole=True, orders=None)),
    IncidentKind.POSITION: ("A ACME", here(holds={"ACME": Decimal(4)}), there(orders=None, holds={"ACME": Decimal(9)})),
}


def test_every_kind_of_break_is_here() -> None:
    """Nothing that reconciliation can find is left without its test."""
    assert set(BROKEN) == BREAKS


@pytest.mark.parametrize("kind", sorted(BREAKS))
def test_a_difference_is_a_break_when_it_outlives_the_grace_window(kind: IncidentKind) -> None:
    """Met once, or twice a moment before the window's end, it may be in flight; met again at its end, it is a break."""
    subject, ours, theirs = BROKEN[kind]
    comparison = seen(ours, theirs)
    (difference,) = comparison.differences
    assert (difference.kind, difference.subject) == (kind, subject)
    once = looks((0, comparison))
    assert (once.findings, once.waiting) == ((), (difference,))
    early = looks((0, comparison), (GRACE_US / 1e6 - 0.000001, comparison))
    assert (early.findings, early.waiting) == ((), (difference,))
    at_the_edge = looks((0, comparison), (GRACE_US / 1e6, comparison))
    (found,) = at_the_edge.findings
    assert (found.kind, found.subject, found.first_seen_at_us) == (kind, subject, us(0))
    assert at_the_edge.waiting == ()
    assert found.summary
    assert len(found.evidence) >= 2
    assert any("ledger" in line for line in found.evidence)
    assert any("venue" in line for line in found.evidence)


@pytest.mark.parametrize("kind", sorted(BREAKS))
def test_a_long_time_between_two_looks_is_not_enough_without_the_second(kind: IncidentKind) -> None:
    """However old a difference is: met in one look only, it is none yet; gone in between, it begins anew."""
    _, ours, theirs = BROKEN[kind]
    comparison = seen(ours, theirs, history=True)
    nothing = Comparison(orders=True, positions=True, history=True)
    assert looks((0, comparison), (600, nothing), (1200, comparison)).findings == ()
    assert looks((0, comparison), (600, nothing), (1200, comparison), (1210, comparison)).findings != ()


@pytest.mark.parametrize("kind", sorted(BREAKS))
def test_a_break_converges_when_a_look_that_would_have_met_it_does_not(kind: IncidentKind) -> None:
    """The first such look says so; a look that could not see it says nothing; one that is gone is not said to go again."""
    _, ours, theirs = BROKEN[kind]
    comparison = seen(ours, theirs)
    lasting = incident(comparison.differences[0])
    still = looks((0, comparison), (20, comparison), (30, comparison), open_ones=(lasting,))
    assert still.converged == ()
    clear = Comparison(orders=True, positions=True, history=True)
    assert looks((0, comparison), (20, clear), open_ones=(lasting,)).converged == (lasting.key,)
    gone = _but(lasting, converged_at_us=us(20))
    assert looks((20, clear), open_ones=(gone,)).converged == ()
    blind = Comparison(undecided=frozenset({lasting.key}))
    assert looks((0, comparison), (20, blind), open_ones=(lasting,)).converged == ()
    kept = looks((0, comparison), (5, blind), (20, comparison))
    assert kept.findings != ()  # it was not gone in between


@pytest.mark.parametrize("kind", [IncidentKind.QUANTITY, IncidentKind.PRICE])
def test_other_content_is_another_difference(kind: IncidentKind) -> None:
    """Two looks that show different terms show two differences, of which none was met twice."""
    _, ours, theirs = BROKEN[kind]
    other = there(shown(quantity=Decimal(8), price=Decimal(27)))
    assert looks((0, seen(ours, theirs)), (20, seen(ours, other))).findings == ()


def test_what_cannot_be_in_flight_is_a_break_in_the_second_look() -> None:
    """An execution that the stream has passed by does not come by waiting."""
    ours, theirs = here(live()), there(shown(), executions=told(report()))
    difference = only(ours, theirs)
    assert (difference.kind, difference.may_be_in_flight) == (IncidentKind.MISSING_EXECUTION, False)
    comparison = seen(ours, theirs)
    assert looks((0, comparison)).findings == ()
    assert looks((0, comparison), (0.001, comparison)).findings != ()
    known = incident(difference)
    assert looks((0, comparison), open_ones=(known,)).findings != ()


# ------------------------------------------------------------------------ unknown at venue


@pytest.mark.parametrize("status", [Status.RECORDED, Status.SENDING, Status.UNCERTAIN])
def test_an_order_whose_fate_is_open_is_no_break(status: Status) -> None:
    """The retry contract asks about it: whether the venue lists it or not, and as what, is no difference."""
    mine = live(status=status, venue_order_id=None, answer=None)
    assert kinds(here(mine), there()) == NOTHING
    assert kinds(here(mine), there(shown(quantity=Decimal(3)))) == NOTHING


@pytest.mark.parametrize(
    ("mine", "after"),
    [
        (live(status=Status.PENDING_NEW), None),
        (live(), live(status=Status.FILLED, version=4)),
        (live(), live(status=Status.CANCELED, version=4)),
        (live(status=Status.UNCERTAIN), live()),
        (live(status=Status.FILLED, venue_cum_quantity=Decimal(0)), None),
        (live(copies=copies("a91")), None),
        (replacing("?92"), None),
    ],
    ids=[
        "pending_new",
        "filled meanwhile",
        "cancelled meanwhile",
        "only just known",
        "over",
        "just sent",
        "just replaced",
    ],
)
def test_an_order_that_need_not_be_listed_is_no_break(mine: Order, after: Order | None) -> None:
    """Not accepted yet, ended while the venue was asked, or sent within the grace window: the list says nothing of it."""
    assert kinds(here(mine, now=(after or mine,)), there()) == NOTHING


def test_an_order_that_lacks_an_execution_only_is_no_order_that_the_venue_lost() -> None:
    """The venue counts it as filled, or tells the execution that fills it: that is what is missing, and it says so."""
    counted = live(venue_cum_quantity=Decimal(10))
    assert kinds(here(counted), there()) == [("missing_execution", "C1")]
    filled = told(report(quantity=10, cum_quantity=Decimal(10), status=VenueStatus.FILLED))
    assert kinds(here(live()), there(executions=filled)) == [("missing_execution", "C1")]


def test_what_was_filled_and_taken_back_must_be_listed() -> None:
    """After a bust the venue's old count says no more that the order filled: not listed, it is unknown there."""
    busted = live(venue_cum_quantity=Decimal(10), reversed_quantity=Decimal(10))
    assert kinds(here(busted), there()) == [("unknown_at_venue", "C1")]


def test_a_venue_that_lists_none_is_not_one_without_orders() -> None:
    """Unknown is not empty: where the list cannot be had, no order is missing there, and nothing is gone."""
    comparison = seen(here(live()), there(orders=None))
    assert comparison.differences == ()
    assert not comparison.orders
    lasting = incident(only(here(live()), there()))
    assert looks((0, comparison), open_ones=(lasting,)).converged == ()


def test_orders_of_other_accounts_are_not_compared() -> None:
    """Each account is compared with itself: another account's order is neither missing here nor known by its id."""
    other = live(intent=intent(account="B"))
    assert kinds(here(orders=(), now=()), there()) == NOTHING
    assert kinds(here(orders=(), now=(), named={"C1": other}), there(shown())) == [("unknown_here", "A V1")]


# ---------------------------------------------------------------------------- unknown here


def test_an_order_of_ours_by_any_of_its_ids_is_no_stranger() -> None:
    """The first id, the one in force, the one that is wanted, and the venue's number alone all name it."""
    chained = live(in_force=Terms(1, "C2", Decimal(10), Decimal("25.50")), replacements=1)
    assert kinds(here(chained), there(shown(client_order_id="C2"))) == NOTHING
    wanted = replacing("?1", client_order_id="C2")
    named = {"C1": wanted, "C2": wanted}
    assert kinds(here(wanted, named=named), there(shown(client_order_id="C2", quantity=Decimal(5)))) == NOTHING
    assert kinds(here(wanted, named=named), there(shown())) == NOTHING
    assert kinds(here(live()), there(shown(client_order_id=""))) == NOTHING


def test_an_order_without_an_id_may_be_one_whose_fate_is_open() -> None:
    """Where the venue shows no ids, an order like an uncertain one may be that; one that is like none is a stranger."""
    open_one = live(status=Status.UNCERTAIN, venue_order_id=None)
    bare = shown(client_order_id="", venue_order_id="V7")
    assert kinds(here(open_one), there(bare)) == NOTHING
    assert kinds(here(open_one), there(_but(bare, quantity=Decimal(3)))) == [("unknown_here", "A V7")]


def test_a_dead_order_of_a_stranger_is_no_break() -> None:
    """A list may show what is over; only what is live can do harm."""
    assert kinds(here(live()), there(shown(), _but(STRANGER, status=VenueStatus.CANCELED))) == NOTHING


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (live(), (shown(), shown(venue_order_id="V2"))),
        (live(given_up=("C0",)), (shown(), shown(client_order_id="C0", venue_order_id="V2"))),
        (live(), (shown(), shown(client_order_id="C1", venue_order_id="V2", side=Side.SELL))),
    ],
    ids=["two under one id", "a replace that came to nothing", "another side"],
)
def test_a_second_order_under_an_id_of_ours_is_unknown_here(mine: Order, theirs: tuple[Any, ...]) -> None:
    """One order of ours does not make two at the venue."""
    named = {"C1": mine, "C0": mine}
    assert kinds(here(mine, named=named), there(*theirs)) == [("unknown_here", "A V2")]


# ------------------------------------------------------------------------ quantity, price, state


@pytest.mark.parametrize("seen_as", [(10, "25.50"), (5, "25.50"), (10, "26"), (5, "26")])
def test_terms_in_force_and_wanted_are_both_fine(seen_as: tuple[int, str]) -> None:
    """While a replace is under way the venue shows the order before or after it, or in between."""
    mine = replacing("?1", quantity=Decimal(5), price=Decimal(26))
    quantity, price = Decimal(seen_as[0]), Decimal(seen_as[1])
    assert kinds(here(mine), there(shown(quantity=quantity, price=price))) == NOTHING


def test_a_replace_that_came_through_meanwhile_leaves_both_terms_fine() -> None:
    """A list from before the replace is answered shows what was in force then."""
    before = replacing("?1", quantity=Decimal(5))
    after = live(in_force=Terms(1, "C1", Decimal(5), Decimal("25.50")), replacements=1)
    for quantity in (10, 5):
        ours = here(before, now=(after,), named={"C1": after})
        assert kinds(ours, there(shown(quantity=Decimal(quantity)))) == NOTHING


def test_terms_that_swing_are_not_one_lasting_difference() -> None:
    """Behind by one replace in two looks, each time by another: the numbers are the same, the differences are not."""
    first = live(in_force=Terms(2, "C1", Decimal(10), Decimal("25.50")), replacements=2)
    later = live(in_force=Terms(4, "C1", Decimal(10), Decimal("25.50")), replacements=4)
    theirs = there(shown(price=Decimal(26)))
    assert looks((0, seen(here(first), theirs)), (20, seen(here(later), theirs))).findings == ()


def test_a_price_of_an_order_at_the_market_means_nothing() -> None:
    """Venues show zero, the last price or none."""
    at_market = live(intent=intent(order_type=OrderType.MARKET, price=None))
    theirs = shown(order_type=OrderType.MARKET, price=Decimal(0))
    assert kinds(here(at_market), there(theirs)) == NOTHING


def test_an_order_that_ended_meanwhile_may_still_be_listed() -> None:
    """Over after the venue was asked, live before: the list may be from in between."""
    after = live(status=Status.CANCELED, version=4)
    assert kinds(here(live(), now=(after,), named={"C1": after}), there(shown())) == NOTHING


def test_an_order_that_is_over_at_the_venue_and_live_here_differs_in_state() -> None:
    """Where the venue shows it as over, that is said, and not that it is unknown there."""
    assert kinds(here(live()), there(shown(status=VenueStatus.CANCELED))) == [("state", "C1")]
    under_way = replacing("?1", client_order_id="C2")
    named = {"C1": under_way}
    assert kinds(here(under_way, named=named), there(shown(status=VenueStatus.REPLACED))) == NOTHING


# ---------------------------------------------------------------------------------- executions


def test_an_execution_behind_the_place_that_was_taken_in_is_on_its_way() -> None:
    """As long as the stream goes on, what it has not told yet comes; the look says so by another content each time."""
    theirs = there(shown(), executions=told(report(position=12)))
    first, later = (here(live(), taken_in={STREAM: place}) for place in (9, 11))
    assert [str(one.kind) for one in seen(first, theirs).differences] == ["stream"]
    assert looks((0, seen(first, theirs)), (20, seen(later, theirs))).findings == ()


def test_a_stream_that_stands_still_is_said_to() -> None:
    """Executions wait behind one place for the whole window: the incident is the stream's, and has them all."""
    waiting = told(report(position=12), report("E2", position=13, client_order_id="byhand"))
    theirs = there(shown(), executions=waiting)
    found = looks((0, seen(here(live()), theirs)), (10, seen(here(live()), theirs)))
    assert [(str(one.kind), one.subject) for one in found.findings] == [("stream", "executions")]
    assert found.breaks[0].missing == waiting


def test_an_execution_that_came_by_the_other_channel_is_not_missing() -> None:
    """The same execution id by the drop copy is the same execution."""
    both = (*told(report()), *told(report(position=1), stream=DROP_COPY))
    traded = here(RAN_OUT, log=(row(stream=DROP_COPY),), rows=(row(stream=DROP_COPY),))
    assert kinds(traded, there(shown(cum_quantity=Decimal(4)), executions=both, whole=True)) == NOTHING
    one_channel = there(shown(cum_quantity=Decimal(4)), executions=both[1:], whole=True)
    assert kinds(traded, one_channel) == NOTHING


def test_an_execution_of_a_stranger_that_is_kept_apart_is_no_break() -> None:
    """It is in the ledger, in no strategy's position, and in what the account holds."""
    theirs = told(report(client_order_id="byhand"))
    quarantined = row(intent_id=None, strategy="", client_order_id="byhand")
    ours = here(log=(quarantined,), rows=(quarantined,), holds={"ACME": Decimal(4)})
    assert kinds(ours, there(executions=theirs, whole=True, holds={"ACME": Decimal(4)})) == NOTHING
    passed_by = kinds(here(), there(executions=theirs))
    assert passed_by == [("missing_execution", "A ACME")]


def test_what_tells_of_no_execution_is_not_missing() -> None:
    """A trade without quantity, a bust of nothing, a stranger's total: the stream takes none of them in either."""
    empty = report(quantity=None)
    bust_of_nothing = report("E2", kind=ExecutionKind.TRADE_CANCEL, refers_to="")
    assert kinds(here(live()), there(shown(), executions=told(empty, bust_of_nothing))) == NOTHING


def test_executions_are_compared_by_what_counts() -> None:
    """A busted trade that the venue shows no more is not extra; a corrected one is shown by either of its ids."""
    bust = row("B1", 4, kind=Kind.BUST, refers_to="E1")
    undone = live(reversed_quantity=Decimal(4), venue_cum_quantity=Decimal(4))
    assert kinds(here(undone, rows=(row(), bust)), there(shown(), whole=True)) == NOTHING
    corrected = row("K1", 3, kind=Kind.CORRECT, refers_to="E1")
    ours = here(live(cum_quantity=Decimal(3), reversed_quantity=Decimal(1)), rows=(row(), corrected), log=(row(),))
    theirs = there(shown(cum_quantity=Decimal(3)), executions=told(report()), whole=True)
    assert kinds(ours, theirs) == NOTHING


def test_an_execution_is_extra_only_where_everything_is_told() -> None:
    """A window with a gap, or one that ends too early, shows nothing to be too much."""
    ours = here(RAN_OUT, rows=(row(),))
    assert kinds(ours, there(shown(cum_quantity=Decimal(4)), whole=False)) == NOTHING


def test_a_total_below_ours_is_an_extra_execution() -> None:
    """The venue shows the order as less executed than it is here: a bust that nobody told, or a fill that was none."""
    assert kinds(here(RAN_OUT), there(shown(cum_quantity=Decimal(1)))) == [("extra_execution", "C1")]


def test_an_execution_with_other_numbers_differs_in_them() -> None:
    """The same id with another quantity or price is a difference of its own."""
    ours = here(RAN_OUT, log=(row(),))
    theirs = report(quantity=5, last_price=Decimal(26))
    found = kinds(ours, there(shown(cum_quantity=Decimal(4)), executions=told(theirs)))
    assert found == [("quantity", "execution A E1"), ("price", "execution A E1")]


def test_an_order_that_waits_for_an_execution_is_found_by_the_venues_count() -> None:
    """The stream has skipped the last report: the order has ended, is not closed, and would wait for ever."""
    waiting = live(status=Status.CANCELED, venue_cum_quantity=Decimal(4))
    assert not waiting.closed
    for theirs in (there(), there(orders=None)):
        assert kinds(here(waiting), theirs) == [("missing_execution", "C1")]
    coming = there(orders=None, executions=told(report(position=12)))
    assert kinds(here(waiting), coming) == [("stream", "executions")]  # what is on its way explains it
    busted = _but(waiting, reversed_quantity=Decimal(4))
    assert kinds(here(busted), there(orders=None)) == NOTHING


def test_a_shortfall_of_an_order_that_trades_on_is_not_one_lasting_difference() -> None:
    """Behind by as much in two looks, while executions come in: each time it is another one that is under way."""
    first = live(cum_quantity=Decimal(3), venue_cum_quantity=Decimal(4))
    later = live(cum_quantity=Decimal(5), venue_cum_quantity=Decimal(6))
    listed = there(orders=None)
    assert looks((0, seen(here(first), listed)), (20, seen(here(later), listed))).findings == ()


def test_where_totals_are_told_only_totals_are_compared() -> None:
    """A total that was passed by is no missing execution once a later one is applied; one above ours is."""
    passed = told(report("", 3, cum_quantity=Decimal(3)), capabilities=TOTALS)
    ours = here(RAN_OUT)
    assert kinds(ours, there(shown(cum_quantity=Decimal(4)), executions=passed, whole=True), TOTALS) == NOTHING
    above = told(report("", 2, cum_quantity=Decimal(6)), capabilities=TOTALS)
    theirs = there(shown(cum_quantity=Decimal(4)), executions=above)
    found = only(ours, theirs, TOTALS)
    assert (found.kind, found.missing) == (IncidentKind.MISSING_EXECUTION, above)
    behind = only(here(RAN_OUT, taken_in={STREAM: 1}), theirs, TOTALS)
    assert behind.kind is IncidentKind.STREAM


def test_executions_without_ids_are_known_by_their_place_in_the_total() -> None:
    """A venue that numbers nothing: the total after it names an execution, on both sides."""
    bare = Capabilities(lists_open_orders=True)
    theirs = told(report("", 4), capabilities=bare)
    name = theirs[0].named
    ours = row(name.execution_id, scope=name.scope)
    known = here(RAN_OUT, log=(ours,), rows=(ours,))
    assert kinds(known, there(shown(cum_quantity=Decimal(4)), executions=theirs, whole=True), bare) == NOTHING
    assert kinds(here(live()), there(shown(), executions=theirs), bare) == [("missing_execution", "C1")]


# ----------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("venue_holds", [0, 4, 7])
def test_executions_between_the_questions_are_no_break(venue_holds: int) -> None:
    """The venue may have answered before, between or after what it tells beyond our position."""
    theirs = there(
        orders=None,
        holds={"ACME": Decimal(venue_holds)},
        executions=told(report(position=12), report("E2", 3, position=13)),
    )
    differences = kinds(here(live(), taken_in={STREAM: 11}), theirs)
    assert ("position", "A ACME") not in differences


def test_a_position_that_lags_behind_by_what_was_just_executed_is_no_break() -> None:
    """Executions of the last moments may be missing in what the venue says of positions; older ones may not."""
    ours = here(RAN_OUT, log=(row(),), holds={"ACME": Decimal(4)})
    just_now = there(orders=None, holds={}, executions=told(report(transacted_at_us=us(95))))
    assert kinds(ours, just_now) == NOTHING
    long_ago = there(orders=None, holds={}, executions=told(report(transacted_at_us=us(80))))
    assert kinds(ours, long_ago) == [("position", "A ACME")]


def test_an_execution_that_was_counted_late_is_not_counted_twice() -> None:
    """Recorded after our position was read, told by the venue, in its position or not: no difference."""
    traded = row(transacted_at_us=us(50))
    ours = here(RAN_OUT, log=(traded,), uncounted=frozenset({("A", "E1")}))
    for held in (0, 4):
        theirs = there(orders=None, holds={"ACME": Decimal(held)}, executions=told(report(transacted_at_us=us(50))))
        assert kinds(ours, theirs) == NOTHING


def test_a_bust_under_way_leaves_a_position_undecided() -> None:
    """By how much it will move the position is not known before it is taken in: neither a break nor the end of one."""
    bust = report("B1", kind=ExecutionKind.TRADE_CANCEL, refers_to="E1", position=12)
    ours = here(RAN_OUT, log=(row(),), holds={"ACME": Decimal(4)})
    comparison = seen(ours, there(orders=None, holds={}, executions=told(bust)))
    assert IncidentKind.POSITION not in {one.kind for one in comparison.differences}
    lasting = incident(only(*BROKEN[IncidentKind.POSITION][1:]))
    assert looks((0, comparison), open_ones=(lasting,)).converged == ()


def test_an_instrument_that_one_side_does_not_name_is_flat_there() -> None:
    """Not named by the venue is nothing held; not known here is nothing held here."""
    ours = here(holds={"ACME": Decimal(0), "BETA": Decimal(1)})
    theirs = there(orders=None, holds={"GAMMA": Decimal(-2)})
    assert kinds(ours, theirs) == [("position", "A BETA"), ("position", "A GAMMA")]
    assert kinds(ours, there(orders=None, holds=None)) == NOTHING


def test_how_much_a_position_differs_is_told_only_when_it_is_quiet() -> None:
    """Where executions were under way a moment ago, no amount is certain."""
    assert only(*BROKEN[IncidentKind.POSITION][1:]).amount == 5
    ours = here(RAN_OUT, log=(row(),), holds={"ACME": Decimal(4)})
    busy = there(orders=None, holds={"ACME": Decimal(9)}, executions=told(report()))
    assert only(ours, busy).amount is None


# ------------------------------------------------------------------------------------- looks


def test_accounts_are_seen_together_only_if_each_was() -> None:
    """One account whose list cannot be had leaves the route's list unknown."""
    full, bare = seen(here(live()), there(shown(), holds={})), seen(here(), there(orders=None))
    assert together([full]).orders
    assert together([full]).positions
    both = together([full, bare])
    assert (both.orders, both.positions, both.differences) == (False, False, ())
    assert not together([]).orders


def test_all_differences_about_one_subject_are_one_finding() -> None:
    """Five executions of an order that are missing are one break, with the evidence of each."""
    missing = told(*(report(f"E{n}", 1, position=n) for n in range(1, 6)))
    comparison = seen(here(live()), there(shown(), executions=missing))
    found = looks((0, comparison), (10, comparison))
    assert len(found.breaks) == 5
    (finding,) = found.findings
    assert len([line for line in finding.evidence if line.startswith("venue: trade E")]) == 5


def test_an_execution_that_is_shown_after_all_is_not_extra_any_more() -> None:
    """A break about one execution converges when the venue tells it, or when all was read and it is gone here."""
    lasting = incident(only(here(RAN_OUT, rows=(row(),)), there(orders=None, whole=True)))
    told_now = seen(here(RAN_OUT, log=(row(),)), there(orders=None, executions=told(report())))
    assert looks((0, told_now), open_ones=(lasting,)).converged == (lasting.key,)
    elsewhere = seen(here(RAN_OUT), there(orders=None, whole=True))
    assert looks((0, elsewhere), open_ones=(lasting,)).converged == ()
    everything = seen(here(RAN_OUT), there(orders=None, whole=True), LISTS, history=True)
    assert looks((0, everything), open_ones=(lasting,)).converged == (lasting.key,)
