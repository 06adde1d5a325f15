"""The simulated exchange under arbitrary traffic: what must hold whatever is sent."""

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

from exchange_kit import DAY_US, NOON_US, NaiveMatcher, cancel, exchange, limit, market
from hypothesis import given, settings
from hypothesis import strategies as st

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, UniqueScope
from onefill.core.messages import LIVE, Accepted, Canceled, ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.values import Side, TimeInForce
from onefill.sim.exchange import Exchange

ACCOUNTS = ("A", "B")
Step = tuple[str, int, dict[str, Any]]

quantities = st.integers(2, 12).map(lambda halves: Decimal(halves) / 2)
prices = st.integers(198, 203).map(lambda ticks: Decimal(ticks) * Decimal("0.05"))
submits = st.fixed_dictionaries(
    {
        "account": st.sampled_from(ACCOUNTS),
        "side": st.sampled_from(list(Side)),
        "quantity": quantities,
        "price": st.none() | prices,
        "time_in_force": st.sampled_from(list(TimeInForce)),
    }
)
steps = st.lists(
    st.tuples(st.just("submit"), st.integers(0, 50), submits)
    | st.tuples(st.just("cancel"), st.integers(0, 50), st.fixed_dictionaries({"which": st.integers(0, 40)})),
    max_size=60,
)


def run(venue: Exchange, taken: list[Step], naive: NaiveMatcher | None = None) -> None:
    """Put the steps to the exchange, and to the naive matcher beside it; ids are numbered so that none repeats."""
    now = NOON_US
    for number, (kind, pause, what) in enumerate(taken):
        now += pause
        if kind == "submit":
            fields = dict(what)
            side, quantity, price = fields.pop("side"), fields.pop("quantity"), fields.pop("price")
            name = f"{fields['account']}-{number}"
            request = (
                market(name, side, quantity, **fields)
                if price is None
                else limit(name, side, quantity, price, **fields)
            )
            assert isinstance(venue.submit(request, now), Accepted)
            if naive is not None:
                naive.submit(request)
        else:
            venue.advance(now)
            known = venue.all_orders()
            if known:
                aim = known[what["which"] % len(known)]
                reply = venue.cancel(cancel(aim.client_order_id, account=aim.account), now)
                assert isinstance(reply, Canceled) == (aim.status in LIVE)
                if naive is not None:
                    naive.cancel(aim.client_order_id)
    venue.advance(now + 1_000_000)


def everything(venue: Exchange) -> dict[str, list[ExecutionReport]]:
    """Return the whole stream of each account."""
    return {account: venue.executions(account, 0, 10_000) for account in ACCOUNTS}


@given(steps)
def test_matching_agrees_with_a_second_matcher(taken: list[Step]) -> None:
    """Every trade (who, with whom, how much, at what price) and everything left resting is what a naive matcher gets."""
    venue, naive = exchange(), NaiveMatcher()
    run(venue, taken, naive)
    filled: Counter[str] = Counter()
    for resting, arriving, quantity, _ in naive.trades:
        filled[resting] += quantity  # type: ignore[assignment]
        filled[arriving] += quantity  # type: ignore[assignment]
    assert {one.client_order_id: one.cum_quantity for one in venue.all_orders() if one.cum_quantity} == dict(filled)
    assert Counter((quantity, price) for _, _, quantity, price in naive.trades for _ in range(2)) == Counter(
        (report.last_quantity, report.last_price)
        for reports in everything(venue).values()
        for report in reports
        if report.kind is ExecutionKind.TRADE
    )
    assert {(one[0].client_order_id, one[1]) for one in naive.resting} == {
        (one.client_order_id, one.quantity - one.cum_quantity) for side in venue.book("ACME") for one in side
    }


@given(steps, st.booleans())
def test_what_is_bought_is_sold(taken: list[Step], asynchronous: bool) -> None:
    """Over all accounts the quantity bought equals the quantity sold, and so does the money."""
    venue = exchange(acknowledges_asynchronously=asynchronous, acknowledge_delay_us=20)
    run(venue, taken)
    moved = {side: (Decimal(0), Decimal(0)) for side in Side}
    for reports in everything(venue).values():
        for report in reports:
            if report.last_quantity is not None and report.last_price is not None:
                quantity, money = moved[report.side]
                moved[report.side] = (quantity + report.last_quantity, money + report.last_quantity * report.last_price)
    assert moved[Side.BUY] == moved[Side.SELL]


@given(steps)
def test_the_book_at_rest_is_never_crossed_and_keeps_priority(taken: list[Step]) -> None:
    """The best bid is below the best offer; within a side prices get worse and, at one price, orders get later."""
    venue = exchange()
    run(venue, taken)
    bids, offers = venue.book("ACME")
    if bids and offers:
        assert bids[0].price < offers[0].price  # type: ignore[operator]
    assert [one.number for one in bids] == [
        one.number for one in sorted(bids, key=lambda one: (-one.price, one.number))
    ]  # type: ignore[operator]
    assert [one.number for one in offers] == [
        one.number for one in sorted(offers, key=lambda one: (one.price, one.number))
    ]
    resting = {one.venue_order_id for one in bids + offers}
    assert resting == {one.venue_order_id for account in ACCOUNTS for one in venue.open_orders(account)}


@given(steps, st.booleans(), st.sampled_from(list(ExecutionIdScope)))
def test_the_stream_tells_the_whole_truth(taken: list[Step], asynchronous: bool, scope: ExecutionIdScope) -> None:
    """Positions rise by one, ids are unique in their scope, and each order's reports add up to the order."""
    venue = exchange(acknowledges_asynchronously=asynchronous, acknowledge_delay_us=20, execution_id_scope=scope)
    run(venue, taken)
    last: dict[str, ExecutionReport] = {}
    traded: dict[str, Decimal] = defaultdict(Decimal)
    for reports in everything(venue).values():
        assert [report.position for report in reports] == list(range(1, len(reports) + 1))
        scopes = {
            ExecutionIdScope.ACCOUNT: lambda report: "",
            ExecutionIdScope.INSTRUMENT: lambda report: report.instrument,
            ExecutionIdScope.ORDER: lambda report: report.venue_order_id,
        }
        assert len({(scopes[scope](report), report.execution_id) for report in reports}) == len(reports)
        for report in reports:
            earlier = last.get(report.venue_order_id)
            assert earlier is None or earlier.status in LIVE, "a report after the last one"
            traded[report.venue_order_id] += report.last_quantity or 0
            assert report.cum_quantity == traded[report.venue_order_id]
            last[report.venue_order_id] = report
    for order in venue.all_orders():
        assert order.status is last[order.venue_order_id].status
        assert order.cum_quantity == traded[order.venue_order_id] <= order.quantity
        assert (order.status is VenueStatus.FILLED) == (order.cum_quantity == order.quantity)


@given(steps, st.integers(0, 80), st.integers(1, 7))
def test_reading_from_any_cursor_in_any_pages_gives_the_same_suffix(taken: list[Step], after: int, page: int) -> None:
    """Whoever resumes after position n sees exactly what a reader from the start sees after n."""
    venue = exchange()
    run(venue, taken)
    read: list[ExecutionReport] = []
    while batch := venue.executions("A", after + len(read), page):
        read += batch
    assert read == venue.executions("A", 0, 10_000)[after:]


@given(steps, st.booleans())
def test_the_same_calls_give_the_same_reports(taken: list[Step], asynchronous: bool) -> None:
    """Nothing but the arguments decides: a second run gives the same streams, and the same orders."""
    first, second = (exchange(acknowledges_asynchronously=asynchronous) for _ in range(2))
    run(first, taken)
    run(second, taken)
    assert everything(first) == everything(second)
    assert first.all_orders() == second.all_orders()


class SlowScope:
    """Uniqueness written a second time: every order ever taken is kept and searched."""

    def __init__(self, scope: UniqueScope) -> None:
        self._scope = scope

    def refuses(self, venue: Exchange, account: str, name: str, now: int) -> bool:
        """Tell whether any order of the account within the scope has the name."""
        mine = [one for one in venue.all_orders() if (one.account, one.client_order_id) == (account, name)]
        if self._scope is UniqueScope.OPEN:
            mine = [one for one in mine if one.status in LIVE]
        if self._scope is UniqueScope.DAY:
            mine = [one for one in mine if one.created_at_us // DAY_US == now // DAY_US]
        return bool(mine) and self._scope is not UniqueScope.NONE


@settings(max_examples=200)
@given(
    st.sampled_from(list(UniqueScope)),
    st.sampled_from(list(DuplicateReply)),
    st.booleans(),
    st.lists(
        st.tuples(
            st.sampled_from(["submit", "cancel", "fill"]),
            st.sampled_from(ACCOUNTS),
            st.sampled_from("xyz"),
            st.integers(0, 3),
        ),
        max_size=30,
    ),
)
def test_a_repeat_makes_a_second_order_exactly_outside_the_scope(
    scope: UniqueScope, reply: DuplicateReply, asynchronous: bool, taken: list[tuple[str, str, str, int]]
) -> None:
    """However ids come back, an order is made exactly if no order in scope has the id, or if repeats are taken."""
    venue = exchange(
        unique_scope=scope, duplicate_reply=reply, acknowledges_asynchronously=asynchronous, day_orders_expire=False
    )
    slow, now = SlowScope(scope), NOON_US
    for number, (kind, account, name, thirds) in enumerate(taken):
        now += thirds * DAY_US // 3
        venue.advance(now)
        before = len(venue.all_orders())
        if kind == "submit":
            expected = reply is DuplicateReply.ACCEPTS or not slow.refuses(venue, account, name, now)
            venue.submit(limit(name, "buy", 1, 10, account=account), now)
            assert len(venue.all_orders()) == before + expected
        elif kind == "cancel":
            venue.cancel(cancel(name, account=account), now)
        else:
            venue.submit(limit(f"fill-{number}", "sell", 1, 10, account="S", time_in_force=TimeInForce.IOC), now)
