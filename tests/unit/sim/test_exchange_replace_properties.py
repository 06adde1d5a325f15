"""Replaces at the simulated exchange under arbitrary traffic: what must hold whatever is sent, and however often."""

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import msgspec
from exchange_kit import NOON_US, NaiveMatcher, cancel, exchange, limit, replace
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.capabilities import ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.messages import (
    LIVE,
    Accepted,
    ExecutionKind,
    ExecutionReport,
    Replaced,
    ReplaceRejected,
    ReplaceRequest,
    VenueStatus,
)
from onefill.core.values import Side, TimeInForce
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import ExchangeOrder, chains

STYLES = (ReplaceStyle.KEEP, ReplaceStyle.NEW_ID)
SHOWN = (VenueStatus.REPLACED, VenueStatus.CANCELED)
NAMES = "xabcd"
Step = tuple[str, dict[str, Any]]

quantities = st.integers(2, 12).map(lambda halves: Decimal(halves) / 2)
prices = st.integers(198, 203).map(lambda ticks: Decimal(ticks) * Decimal("0.05"))

wanted = st.fixed_dictionaries(
    {"old": st.sampled_from(NAMES), "new": st.sampled_from(NAMES), "quantity": quantities, "price": prices}
)
one_order = st.tuples(
    quantities,
    prices,
    st.lists(wanted, min_size=1, max_size=4),
    st.lists(
        st.tuples(st.just("replace"), st.integers(0, 3))
        | st.tuples(st.just("sell"), quantities)
        | st.tuples(st.just("offer"), st.tuples(quantities, prices))
        | st.tuples(st.just("cancel"), st.sampled_from(NAMES)),
        max_size=25,
    ),
)


def request_of(style: ReplaceStyle, what: dict[str, Any]) -> ReplaceRequest:
    """Return a replace as this style wants it: of x by x where ids are kept, else of any name by any other."""
    if style is ReplaceStyle.KEEP:
        return replace("x", what["quantity"], what["price"])
    return replace(what["old"], what["quantity"], what["price"], what["new"])


def run_one(venue: Exchange, style: ReplaceStyle, traffic: Any) -> Decimal:
    """Submit x, then send copies of a few replaces in any order with fills in between; return the most ever wanted."""
    quantity, price, asked, taken = traffic
    assert isinstance(venue.submit(limit("x", "buy", quantity, price), NOON_US), Accepted)
    requests = [request_of(style, what) for what in asked]
    for number, (kind, what) in enumerate(taken):
        now = NOON_US + number
        if kind == "replace":
            request = requests[what % len(requests)]
            check_reply(venue.replace(request, now), request)
        elif kind == "cancel":
            venue.cancel(cancel(what), now)
        else:
            amount, at, force = (what, "0.05", TimeInForce.IOC) if kind == "sell" else (*what, TimeInForce.GTC)
            venue.submit(limit(f"s{number}", "sell", amount, at, account="S", time_in_force=force), now)
    return max([quantity, *(request.quantity for request in requests)])


def check_reply(reply: object, request: ReplaceRequest) -> None:
    """Fail unless a reply says what its kind promises."""
    if isinstance(reply, Replaced):
        shown = reply.order
        assert (shown.client_order_id, shown.quantity, shown.price) == (
            request.client_order_id,
            request.quantity,
            request.price,
        )
        assert shown.status in LIVE or shown.status is VenueStatus.FILLED
    else:
        assert isinstance(reply, ReplaceRejected)
        assert reply.order is None or reply.order.client_order_id == request.orig_client_order_id


def mine(venue: Exchange) -> list[ExchangeOrder]:
    """Return account A's orders."""
    return [order for order in venue.all_orders() if order.account == "A"]


def traded(reports: list[ExecutionReport]) -> Decimal:
    """Return the quantity of all fills."""
    return sum((report.last_quantity or Decimal(0) for report in reports), Decimal(0))


@given(one_order, st.sampled_from(STYLES), st.sampled_from(SHOWN), st.sampled_from(list(UniqueScope)))
def test_copies_of_replaces_in_any_order_leave_one_order(
    traffic: Any, style: ReplaceStyle, shown: VenueStatus, scope: UniqueScope
) -> None:
    """However often and in whatever order replaces arrive, there is one chain, and at most its last link is live."""
    venue = exchange(replace=style, replaced_shows_as=shown, unique_scope=scope)
    run_one(venue, style, traffic)
    (chain,) = chains(mine(venue))
    assert all(order.status is shown and order.replaced_by for order in chain[:-1])
    assert chain[-1].replaced_by is None
    live = [order.venue_order_id for order in chain if order.status in LIVE]
    assert live == [order.venue_order_id for order in venue.open_orders("A")]
    assert live in ([], [chain[-1].venue_order_id])
    assert style is ReplaceStyle.NEW_ID or len(chain) == 1


@given(one_order, st.sampled_from(STYLES), st.sampled_from(list(UniqueScope)))
def test_what_is_executed_is_conserved_and_bounded(traffic: Any, style: ReplaceStyle, scope: UniqueScope) -> None:
    """The last link's executed quantity is the sum of all fills, what others sold, and never above the most wanted."""
    venue = exchange(replace=style, unique_scope=scope)
    most = run_one(venue, style, traffic)
    (chain,) = chains(mine(venue))
    fills = traded(venue.executions("A", 0))
    assert chain[-1].cum_quantity == fills == traded(venue.executions("S", 0)) <= most
    assert chain[-1].cum_quantity <= chain[-1].quantity
    assert (chain[-1].status is VenueStatus.FILLED) == (chain[-1].cum_quantity == chain[-1].quantity)


@given(one_order)
def test_a_repeat_at_once_changes_nothing_where_the_id_is_kept(traffic: Any) -> None:
    """KEEP: with every replace sent twice in a row, all orders, streams and books are as with each sent once."""
    quantity, price, asked, taken = traffic
    doubled = [step for step in taken for _ in range(2 if step[0] == "replace" else 1)]
    once, twice = exchange(), exchange()
    for venue, steps in ((once, taken), (twice, doubled)):
        run_one(venue, ReplaceStyle.KEEP, (quantity, price, asked, steps))
    for account in "AS":
        assert [timeless(one) for one in once.executions(account, 0)] == [
            timeless(one) for one in twice.executions(account, 0)
        ]
    assert mine(once) == mine(twice)


def timeless(report: ExecutionReport) -> ExecutionReport:
    """Return a report without its time and its order's name, which tell how many steps there were."""
    name = "s" if report.client_order_id.startswith("s") else report.client_order_id
    return msgspec.structs.replace(report, transacted_at_us=0, client_order_id=name)


@given(one_order, st.sampled_from(STYLES), st.sampled_from(SHOWN), st.sampled_from(list(ExecutionIdScope)))
def test_the_stream_tells_the_whole_chain(
    traffic: Any, style: ReplaceStyle, shown: VenueStatus, scope: ExecutionIdScope
) -> None:
    """A reader of the stream alone knows every order: its quantity, price, what is executed, and its end."""
    venue = exchange(replace=style, replaced_shows_as=shown, execution_id_scope=scope)
    run_one(venue, style, traffic)
    reports = venue.executions("A", 0)
    assert [report.position for report in reports] == list(range(1, len(reports) + 1))
    ids = {
        (report.venue_order_id if scope is ExecutionIdScope.ORDER else "", report.execution_id) for report in reports
    }
    assert len(ids) == len(reports)
    last: dict[str, ExecutionReport] = {}
    size: dict[str, tuple[Decimal | None, Decimal | None]] = {"x": (traffic[0], traffic[1])}
    executed = Decimal(0)
    for report in reports:
        earlier = last.get(report.venue_order_id)
        assert earlier is None or earlier.status in LIVE, "a report after the last one"
        executed += report.last_quantity or 0
        assert report.cum_quantity == executed
        if report.kind is ExecutionKind.REPLACED:
            assert report.orig_client_order_id in size
            size[report.client_order_id] = (report.order_quantity, report.order_price)
        else:
            assert (report.orig_client_order_id, report.order_quantity, report.order_price) == (None, None, None)
        assert report.leaves_quantity in (0, size[report.client_order_id][0] - executed)  # type: ignore[operator]
        last[report.venue_order_id] = report
    final = chains(mine(venue))[0][-1]
    assert size[final.client_order_id] == (final.quantity, final.price)
    assert (last[final.venue_order_id].status, executed) == (final.status, final.cum_quantity)


submits = st.fixed_dictionaries({"side": st.sampled_from(list(Side)), "quantity": quantities, "price": prices})
changes = st.fixed_dictionaries(
    {"which": st.integers(0, 40), "quantity": quantities, "price": st.none() | prices, "cancel": st.booleans()}
)
crowd = st.lists(st.tuples(st.just("submit"), submits) | st.tuples(st.just("change"), changes), max_size=50)


@given(crowd, st.sampled_from(STYLES))
def test_matching_with_replaces_agrees_with_a_second_matcher(taken: list[Step], style: ReplaceStyle) -> None:
    """Every trade, every queue and every remainder is what a naive matcher gets that moves orders by leaving and arriving."""
    venue, naive = exchange(replace=style), NaiveMatcher()
    for number, (kind, what) in enumerate(taken):
        name = f"n{number}"
        if kind == "submit":
            request = limit(name, what["side"], what["quantity"], what["price"])
            venue.submit(request, NOON_US)
            naive.submit(request)
        elif open_orders := venue.open_orders("A"):
            aim = open_orders[what["which"] % len(open_orders)]
            if what["price"] is None and what["cancel"]:
                venue.cancel(cancel(aim.client_order_id), NOON_US)
                naive.cancel(aim.client_order_id)
                continue
            price = aim.price if what["price"] is None else what["price"]
            new = name if style is ReplaceStyle.NEW_ID else aim.client_order_id
            asked = replace(aim.client_order_id, what["quantity"], price, new, side=aim.side)
            reply = venue.replace(asked, NOON_US)
            assert isinstance(reply, Replaced) == (what["quantity"] >= aim.cum_quantity)
            if isinstance(reply, Replaced):
                naive.replace(aim.client_order_id, limit(new, aim.side, what["quantity"], price))
    check_against(venue, naive)


def check_against(venue: Exchange, naive: NaiveMatcher) -> None:
    """Fail unless trades by id and price, and both queues in their order, are the same."""
    expected: Counter[tuple[str, Decimal]] = Counter()
    for resting, arriving, quantity, price in naive.trades:
        expected[resting, price] += quantity  # type: ignore[assignment]
        expected[arriving, price] += quantity  # type: ignore[assignment]
    told: dict[tuple[str, Decimal | None], Decimal] = defaultdict(Decimal)
    for report in venue.executions("A", 0, 10_000):
        if report.last_quantity is not None:
            told[report.client_order_id, report.last_price] += report.last_quantity
    assert told == dict(expected)
    for side, better in zip(venue.book("ACME"), (-1, 1), strict=True):
        kept = [one for one in naive.resting if one[0].side is (Side.BUY if better < 0 else Side.SELL)]
        kept.sort(key=lambda one: better * one[0].price)
        assert [(one.client_order_id, one.quantity - one.cum_quantity) for one in side] == [
            (one[0].client_order_id, one[1]) for one in kept
        ]
    assert sorted(one.client_order_id for one in venue.open_orders("A")) == sorted(
        one[0].client_order_id for one in naive.resting
    )
