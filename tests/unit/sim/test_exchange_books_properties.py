"""Properties of the books: whatever is filled, busted, corrected and told again, the reports and the exchange agree."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgspec
from exchange_kit import ACME, NOON_US, ZINC, cancel, order, replace
from hypothesis import given, settings
from hypothesis import strategies as st

from onefill.core import executions
from onefill.core.capabilities import Capabilities, ExecutionIdScope, ReplaceStyle
from onefill.core.errors import InvalidField
from onefill.core.messages import LIVE, ExecutionReport, VenueStatus
from onefill.core.position import Execution, Position, fold_all
from onefill.core.values import TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import chains

ACCOUNTS = ("A", "B")
STEP = Decimal("0.5")
small = st.integers(2, 12)
price = st.sampled_from(["9.95", "10", "10.05"])
account = st.sampled_from(ACCOUNTS)
which = st.integers(0, 30)
submits = st.tuples(
    st.just("submit"),
    account,
    st.sampled_from(["buy", "sell"]),
    small,
    price,
    st.sampled_from(["gtc", "gtc", "gtc", "day", "ioc", "fok"]),
)
amendments = st.one_of(
    st.tuples(st.just("bust"), account, which, st.booleans()),
    st.tuples(st.just("correct"), account, which, small, price, st.booleans()),
)
others = st.one_of(
    st.tuples(st.just("cancel"), account, which),
    st.tuples(st.just("replace"), account, which, small, price),
    st.tuples(st.just("restate"), account, which, small, price),
    st.tuples(st.just("done"), account, which),
    st.tuples(st.just("retell"), account, which),
    st.tuples(st.just("redeliver"), account, which),
    st.tuples(st.just("pass"), st.sampled_from([1, 60_000_000, 86_400_000_000])),
)
OPENING = [("submit", "A", "buy", 12, "10", "gtc"), ("submit", "B", "sell", 7, "10", "day")]
"""Every script begins with a trade, so that there is something to amend."""
scripts = st.lists(st.one_of(submits, amendments, amendments, others), max_size=30).map(lambda more: OPENING + more)
dialects = st.fixed_dictionaries(
    {
        "replace": st.sampled_from([ReplaceStyle.KEEP, ReplaceStyle.NEW_ID]),
        "replaced_shows_as": st.sampled_from([VenueStatus.REPLACED, VenueStatus.CANCELED]),
        "execution_id_scope": st.sampled_from(ExecutionIdScope),
        "execution_revisions": st.booleans(),
    }
)


class Played:
    """An exchange after a script of moves. Moves that do not fit what is there are passed over."""

    def __init__(self, dialect: dict[str, Any], script: list[tuple[Any, ...]]) -> None:
        self.exchange = Exchange(Dialect(**dialect), [ACME, ZINC])
        self.now = NOON_US
        self.new_id = dialect["replace"] is ReplaceStyle.NEW_ID
        for number, (kind, *parts) in enumerate(script):
            try:
                getattr(self, kind)(number, *parts)
            except InvalidField:
                continue

    def submit(self, number: int, account: str, side: str, half: int, price: str, tif: str) -> None:
        request = order(
            f"o{number}", side, STEP * half, price=Decimal(price), time_in_force=TimeInForce(tif), account=account
        )
        self.exchange.submit(request, self.now)

    def mine(self, account: str) -> list[Any]:
        return [one for one in self.exchange.all_orders() if one.account == account]

    def cancel(self, number: int, account: str, place: int) -> None:
        if mine := self.mine(account):
            self.exchange.cancel(cancel(mine[place % len(mine)].client_order_id, account=account), self.now)

    def replace(self, number: int, account: str, place: int, half: int, price: str) -> None:
        if mine := self.mine(account):
            one = mine[place % len(mine)]
            new = f"r{number}" if self.new_id else None
            wanted = replace(one.client_order_id, STEP * half, price, new, side=one.side, account=account)
            wanted = msgspec.structs.replace(wanted, time_in_force=one.time_in_force)
            self.exchange.replace(wanted, self.now)

    def bust(self, number: int, account: str, place: int, live: bool) -> None:
        if trades := self.exchange.trades(account):
            one = trades[place % len(trades)]
            self.exchange.bust(account, one.latest_id, self.now, venue_order_id=one.venue_order_id, live=live)

    def correct(self, number: int, account: str, place: int, half: int, price: str, live: bool) -> None:
        if trades := self.exchange.trades(account):
            one = trades[place % len(trades)]
            terms = (STEP * half, Decimal(price))
            named = {"venue_order_id": one.venue_order_id}
            self.exchange.correct(account, one.execution_id, *terms, self.now, **named, live=live)

    def restate(self, number: int, account: str, place: int, half: int, price: str) -> None:
        if mine := self.mine(account):
            named = {"venue_order_id": mine[place % len(mine)].venue_order_id}
            self.exchange.restate(account, self.now, **named, quantity=STEP * half, price=Decimal(price))

    def done(self, number: int, account: str, place: int) -> None:
        if mine := self.mine(account):
            self.exchange.done_for_day(account, self.now, venue_order_id=mine[place % len(mine)].venue_order_id)

    def retell(self, number: int, account: str, place: int) -> None:
        self.exchange.retell(account, place + 1)

    def redeliver(self, number: int, account: str, place: int) -> None:
        self.exchange.redeliver(account, place)

    def pass_(self, number: int, us: int) -> None:
        self.now += us
        self.exchange.advance(self.now)


setattr(Played, "pass", Played.pass_)


def rows(reports: list[ExecutionReport], capabilities: Capabilities) -> list[Execution]:
    """Return the execution log that reports make: each name once, whatever comes again."""
    found: dict[tuple[str, str], Execution] = {}
    for report in reports:
        if not executions.tells_execution(report, capabilities):
            continue
        named = executions.name(report, capabilities)
        row = Execution(
            intent_id=1,
            scope=named.scope,
            execution_id=named.execution_id,
            account=report.account,
            strategy="s",
            venue="X",
            instrument=report.instrument,
            side=report.side,
            quantity=report.last_quantity or Decimal(0),
            price=report.last_price or Decimal(0),
            client_order_id=report.client_order_id,
            venue_order_id=report.venue_order_id,
            transacted_at_us=report.transacted_at_us,
            kind=named.kind,
            refers_to=named.refers_to,
        )
        assert found.setdefault(named.key, row) == row  # what is told again is the same
    return list(found.values())


def net(counted: list[Execution]) -> dict[str, Decimal]:
    """Return the positions that executions make, flat ones left out."""
    empty = Position(account="", strategy="", venue="", instrument="")
    by_instrument = defaultdict(list)
    for one in counted:
        by_instrument[one.instrument].append(one)
    folded = {symbol: fold_all(empty, those).quantity for symbol, those in sorted(by_instrument.items())}
    return {symbol: quantity for symbol, quantity in folded.items() if quantity}


@settings(max_examples=300, deadline=None)
@given(dialects, scripts, st.randoms(use_true_random=False))
def test_the_reports_tell_what_the_exchange_holds(dialect: dict[str, Any], script: list[Any], chance: Any) -> None:
    """Of each account: positions, executions that count, and the executed quantity of each order follow from its stream, and
    as well from its drop copy in any order.
    """
    played = Played(dialect | {"drop_copy": True}, script)
    exchange, capabilities = played.exchange, played.exchange.capabilities
    for name in ACCOUNTS:
        reports = exchange.executions(name, 0, 10**6)
        assert [report.position for report in reports] == list(range(1, len(reports) + 1))
        copies = exchange.drop_copies(name, 0, 10**6)
        assert [report.position for report in copies] == list(range(1, len(copies) + 1))
        chance.shuffle(copies)
        for channel in (reports, copies):
            counted = executions.effective(rows(channel, capabilities))
            assert net(counted) == exchange.positions(name)
            truth = [one for one in exchange.trades(name) if one.counts]
            assert sorted((one.venue_order_id, one.quantity, one.price) for one in counted) == sorted(
                (one.venue_order_id, one.quantity, one.price) for one in truth
            )
            for chain in chains(played.mine(name)):
                numbers = {one.venue_order_id for one in chain}
                executed = sum((one.quantity for one in counted if one.venue_order_id in numbers), Decimal(0))
                assert executed == chain[-1].cum_quantity


@settings(max_examples=200, deadline=None)
@given(dialects, scripts)
def test_an_order_never_has_more_executed_than_it_asks_for(dialect: dict[str, Any], script: list[Any]) -> None:
    """Through busts, corrections and restatements: filled exactly when all of it is executed; the book holds live orders, and
    never crosses.
    """
    played = Played(dialect, script)
    exchange = played.exchange
    resting = {one.number for side in exchange.book("ACME") for one in side}
    for one in exchange.all_orders():
        if one.replaced_by is None:
            assert 0 <= one.cum_quantity <= one.quantity
            assert one.cum_quantity < one.quantity or one.status not in LIVE
            if one.status is VenueStatus.FILLED:
                assert one.cum_quantity == one.quantity
        assert one.number not in resting or one.status in LIVE
    live = {one.venue_order_id for one in exchange.all_orders() if one.status in LIVE}
    assert {one.venue_order_id for name in ACCOUNTS for one in exchange.open_orders(name)} == live
    bids, offers = exchange.book("ACME")
    if bids and offers:
        assert bids[0].price is not None
        assert offers[0].price is not None
        assert bids[0].price < offers[0].price


@settings(max_examples=200, deadline=None)
@given(dialects, scripts)
def test_totals_say_the_same_as_single_executions(dialect: dict[str, Any], script: list[Any]) -> None:
    """Where only totals are told, the same moves make the same orders, trades and positions; what the last report of each
    order says is executed, and at what average, is what single executions add up to; and no single one is told.
    """
    script = [move for move in script if move[0] not in ("retell", "redeliver")]
    dialect = dialect | {"execution_revisions": False}
    single, total = Played(dialect, script).exchange, Played(dialect | {"cumulative_fills_only": True}, script).exchange
    assert total.all_orders() == single.all_orders()
    for name in ACCOUNTS:
        assert total.positions(name) == single.positions(name)
        terms = [(one.venue_order_id, one.quantity, one.price, one.counts) for one in single.trades(name)]
        assert [(one.venue_order_id, one.quantity, one.price, one.counts) for one in total.trades(name)] == terms
        last = {}
        for report in total.executions(name, 0, 10**6):
            assert (report.last_quantity, report.last_price, report.refers_to, report.fee) == (None,) * 4
            assert report.kind not in executions.EXECUTED
            assert (report.average_price is None) is (report.cum_quantity == 0)
            last[report.venue_order_id] = report
        links = {one.venue_order_id: one for one in single.all_orders()}
        for number, report in last.items():
            if links[number].replaced_by is not None:
                continue
            chain = next(c for c in chains(list(links.values())) if c[-1].venue_order_id == number)
            counted = [
                t for t in single.trades(name) if t.counts and t.venue_order_id in {o.venue_order_id for o in chain}
            ]
            assert report.cum_quantity == sum((one.quantity for one in counted), Decimal(0))
            if counted:
                value = sum((one.quantity * one.price for one in counted), Decimal(0))
                assert report.average_price is not None
                assert abs(report.average_price * report.cum_quantity - value) < Decimal("1e-20")


@settings(max_examples=100, deadline=None)
@given(dialects, scripts, st.sampled_from(["0.001", "-0.00025", "0"]))
def test_every_execution_tells_its_fee(dialect: dict[str, Any], script: list[Any], rate: str) -> None:
    """Exactly the rate's part of the value, of trades and corrections; nothing else has a fee."""
    exchange = Played(dialect | {"fee_rate": Decimal(rate), "fee_currency": "EUR"}, script).exchange
    for name in ACCOUNTS:
        for report in exchange.executions(name, 0, 10**6):
            if report.last_quantity is None or report.last_price is None:
                assert (report.fee, report.fee_currency) == (None, None)
            else:
                assert report.fee == report.last_quantity * report.last_price * Decimal(rate)
                assert report.fee_currency == "EUR"


@settings(max_examples=60, deadline=None)
@given(dialects, scripts)
def test_the_same_moves_make_the_same_day(dialect: dict[str, Any], script: list[Any]) -> None:
    """Nothing of it is left to chance."""
    one, other = (Played(dialect | {"drop_copy": True}, script).exchange for _ in range(2))
    for name in ACCOUNTS:
        assert one.executions(name, 0, 10**6) == other.executions(name, 0, 10**6)
        assert one.drop_copies(name, 0, 10**6) == other.drop_copies(name, 0, 10**6)


@settings(max_examples=100, deadline=None)
@given(dialects, scripts)
def test_without_ids_the_totals_name_the_executions(dialect: dict[str, Any], script: list[Any]) -> None:
    """As long as nothing is busted or corrected, which nobody could name: told again or not, each counts once."""
    script = [move for move in script if move[0] not in ("bust", "correct")]
    played = Played(dialect | {"execution_ids": "none", "execution_revisions": False, "drop_copy": True}, script)
    exchange, capabilities = played.exchange, played.exchange.capabilities
    for name in ACCOUNTS:
        for channel in (exchange.executions(name, 0, 10**6), exchange.drop_copies(name, 0, 10**6)):
            assert {report.execution_id for report in channel} <= {""}
            assert net(executions.effective(rows(channel, capabilities))) == exchange.positions(name)
