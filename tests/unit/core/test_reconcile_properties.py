"""An honest venue is never accused: whatever happens between the questions of a look, no difference lasts.

The core's own rules take in what the simulated exchange reports, late and in bursts; looks fall anywhere in between.
"""

from decimal import Decimal

from core_kit import NOON_US, SEEDED, intent
from hypothesis import event, given
from hypothesis import strategies as st
from reconcile_kit import GRACE_US

from onefill.core import events as ev
from onefill.core import evidence, executions
from onefill.core.apply import advance
from onefill.core.capabilities import ReplaceStyle
from onefill.core.events import Event
from onefill.core.lifecycle import WORKING
from onefill.core.messages import CancelRequest, LookupReply, ReplaceRequest, SubmitRequest
from onefill.core.order import Order
from onefill.core.position import STREAM, Execution
from onefill.core.reconcile import Comparison, Here, Key, Looked, There, Told, Watch, looked
from onefill.core.reconcile_rules import compare
from onefill.core.values import EXACT, Instrument, OrderType, Side, TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange

ACME = Instrument(symbol="ACME", price_tick=Decimal("0.01"), quantity_step=Decimal(1), min_quantity=Decimal(1))
EVENTS = (
    "submit",
    "submit lost",
    "sell",
    "sell more",
    "cancel",
    "cancel lost",
    "replace",
    "replace lost",
    "bust",
    "correct",
)
EVENTS += ("stranger", "tell", "tell all", "ask")
_STEPS = st.lists(st.sampled_from(EVENTS), max_size=3)
_LOOK = st.tuples(*[_STEPS] * 5)
"""What happens before a look, and between its four questions."""


class Sides:
    """A ledger of values and an exchange, with the reports between them under way."""

    def __init__(self, dialect: Dialect) -> None:
        self.exchange = Exchange(dialect, [ACME])
        self.capabilities = self.exchange.capabilities
        self.orders: dict[str, Order] = {}
        self.by_id: dict[str, str] = {}
        self.rows: list[Execution] = []
        self.taken_in = 0
        self.now_us = NOON_US
        self.watch = Watch()
        self._count = 0

    # ------------------------------------------------------------------------ events

    def happen(self, what: str) -> None:
        """Let one thing happen."""
        self.now_us += 1000
        name, _, lost = what.partition(" ")
        if name == "tell":
            self.tell(None if lost == "all" else 1)
        elif name == "ask":
            for order in list(self.orders.values()):
                self._learn(order, evidence.from_lookup(order, self._lookup(order)))
        elif name == "sell":
            self._order("maker", Side.SELL, 3 if lost else 1, TimeInForce.IOC)
        elif name == "stranger":
            if (
                not self.capabilities.cumulative_fills_only
            ):  # a stranger's total is no execution: his position is a break
                self._order("A", Side.BUY, 2, TimeInForce.GTC)
        elif name in ("bust", "correct"):
            self._amend(name)
        elif name == "submit":
            self._submit(lost == "lost")
        else:
            live = [order for order in self.orders.values() if order.status in WORKING and order.replacement is None]
            if live and name == "cancel":
                self._cancel(live[-1], lost == "lost")
            elif live and self.capabilities.replace is not ReplaceStyle.NONE:
                self._replace(live[-1], lost == "lost")

    def _id(self) -> str:
        self._count += 1
        return f"c{self._count}"

    def _lookup(self, order: Order) -> LookupReply:
        wanted = order.replacement.client_order_id if order.replacement is not None else order.live_id
        return self.exchange.lookup(wanted, "A", self.now_us)

    def _order(self, account: str, side: Side, quantity: int, until: TimeInForce) -> SubmitRequest:
        request = SubmitRequest(
            client_order_id=self._id(),
            account=account,
            instrument="ACME",
            side=side,
            quantity=Decimal(quantity),
            order_type=OrderType.LIMIT,
            price=Decimal("25.50"),
            time_in_force=until,
            expires_at_us=None,
        )
        if account != "A" or side is not Side.BUY or quantity == 2:
            self.exchange.submit(request, self.now_us)
        return request

    def _submit(self, lost: bool) -> None:
        request = self._order("A", Side.BUY, 10, TimeInForce.GTC)
        order = Order(
            intent_id=self._count,
            key=request.client_order_id,
            client_order_id=request.client_order_id,
            intent=intent(time_in_force=TimeInForce.GTC),
            recorded_at_us=self.now_us,
            valid_until_us=self.now_us + 30_000_000,
        )
        self.by_id[order.client_order_id] = order.client_order_id
        order = self._learn(order, (ev.Claimed(1, None, self.now_us),))
        reply = self.exchange.submit(request, self.now_us)
        told = (ev.OutcomeUnknown(1, "lost"),) if lost else evidence.from_submit_reply(order, 1, reply, self.now_us)
        self._learn(order, told)

    def _cancel(self, order: Order, lost: bool) -> None:
        number = len(order.cancels) + 1
        order = self._learn(order, (ev.CancelRecorded(None), ev.CancelClaimed(number)))
        request = CancelRequest(
            client_order_id=order.live_id, account="A", instrument="ACME", venue_order_id=order.venue_order_id
        )
        reply = self.exchange.cancel(request, self.now_us)
        if not lost:
            self._learn(order, evidence.from_cancel_reply(order, number, reply, self.now_us))

    def _replace(self, order: Order, lost: bool) -> None:
        if order.status not in ("new", "partially_filled"):
            return
        keeps = self.capabilities.replace is ReplaceStyle.KEEP
        new_id = order.live_id if keeps else self._id()
        self.by_id[new_id] = order.client_order_id
        number, quantity = order.replacements + 1, 20 - order.quantity + 4
        wanted = ev.ReplaceRecorded(number, new_id, quantity, order.price, self.now_us + 30_000_000, None)
        copy = order.replace_copies + 1
        order = self._learn(order, (wanted, ev.ReplaceClaimed(copy, None, self.now_us)))
        request = ReplaceRequest(
            client_order_id=new_id,
            orig_client_order_id=order.live_id,
            account="A",
            instrument="ACME",
            venue_order_id=order.venue_order_id,
            side=Side.BUY,
            quantity=quantity,
            order_type=OrderType.LIMIT,
            price=order.price,
            time_in_force=TimeInForce.GTC,
            expires_at_us=None,
        )
        reply = self.exchange.replace(request, self.now_us)
        if not lost:
            self._learn(order, evidence.from_replace_reply(order, copy, reply, self.now_us))

    def _amend(self, how: str) -> None:
        trades = [one for one in self.exchange.trades("A") if one.counts]
        if not trades or self.capabilities.cumulative_fills_only:
            return
        chosen = trades[-1]
        named = {"client_order_id": chosen.client_order_id, "venue_order_id": chosen.venue_order_id}
        if how == "bust":
            self.exchange.bust("A", chosen.latest_id, self.now_us, **named)
        else:
            self.exchange.correct("A", chosen.latest_id, Decimal(1), Decimal(25), self.now_us, **named)

    def _learn(self, order: Order, events: tuple[Event, ...]) -> Order:
        if events and not evidence.say_nothing_new(order, events):
            order = advance(order, events, self.now_us)
        self.orders[order.client_order_id] = order
        return order

    # ------------------------------------------------------------------------ the stream

    def tell(self, count: int | None) -> None:
        """Take in the next reports of the stream, as the receiver does."""
        for report in self.exchange.executions("A", self.taken_in)[:count]:
            self.taken_in = report.position
            order = self.orders.get(self.by_id.get(report.client_order_id, ""))
            if not executions.tells_execution(report, self.capabilities):
                if order is not None and not evidence.is_old_news(order, report):
                    self._learn(order, evidence.from_report(order, report))
                continue
            named = executions.name(report, self.capabilities)
            if named.key in {(row.scope, row.execution_id) for row in self.rows}:
                continue
            if order is None:
                taken = executions.quarantined(report, named, None, None, STREAM, "sim")
            else:
                rows = [row for row in self.rows if row.intent_id == order.intent_id]
                taken = executions.take(order, report, named, self.capabilities, rows=rows)
                self._learn(order, taken.events)
            if taken.execution is not None:
                self.rows.append(taken.execution)

    # ------------------------------------------------------------------------ looking

    def look(self, between: tuple[list[str], ...]) -> Looked:
        """Read both sides as the reconciler does, with things happening between the questions."""
        self._let(between[0])
        at_us, taken_in, counted = self.now_us, self.taken_in, list(self.rows)
        before = tuple(order for order in self.orders.values() if not order.closed)
        asked_at_us = self.now_us
        listed = tuple(self.exchange.open_orders("A"))
        self._let(between[1])
        held = self.exchange.positions("A")
        self._let(between[2])
        told = tuple(
            Told(STREAM, one, executions.name(one, self.capabilities))
            for one in self.exchange.executions("A", 0)
            if executions.tells_execution(one, self.capabilities)
        )
        self._let(between[3])
        holds = Decimal(0)
        for row in executions.effective(counted):
            holds = EXACT.add(holds, row.quantity if row.side is Side.BUY else -row.quantity)
        known = {(row.scope, row.execution_id): row for row in self.rows}
        early: set[Key] = {(row.scope, row.execution_id) for row in counted}
        here = Here(
            account="A",
            at_us=at_us,
            orders=before,
            now=tuple(self.orders[order.client_order_id] for order in before),
            named={one: self.orders[first] for one, first in self.by_id.items()},
            known=known,
            rows=tuple(counted),
            taken_in={STREAM: taken_in},
            holds={"ACME": holds},
            uncounted=frozenset(known.keys() - early),
        )
        there = There(asked_at_us=asked_at_us, orders=listed, executions=told, whole=True, holds=held)
        seen: Comparison = compare(here, there, self.capabilities, GRACE_US, history=True)
        result = looked(self.watch, seen, (), GRACE_US, self.now_us)
        self.watch = result.watch
        self._let(between[4])
        return result

    def _let(self, steps: list[str]) -> None:
        for step in steps:
            self.happen(step)


_DIALECTS = st.builds(
    Dialect,
    lists_open_orders=st.just(value=True),
    tells_positions=st.just(value=True),
    replace=st.sampled_from([ReplaceStyle.KEEP, ReplaceStyle.NEW_ID]),
    execution_id_scope=st.sampled_from(["account", "order"]),
    cumulative_fills_only=st.booleans(),
)


@SEEDED
@given(_DIALECTS, st.lists(_LOOK, min_size=3, max_size=7))
def test_an_honest_venue_is_never_accused(dialect: Dialect, plan: list[tuple[list[str], ...]]) -> None:
    """Looks fall between any two things that happen; reports come later, but within the window. Strangers apart, whose live
    orders are a break by rights, nothing is ever found.
    """
    sides = Sides(dialect)
    differences = 0
    for between in plan:
        result = sides.look(between)
        accused = [one for one in result.findings if str(one.kind) != "unknown_here"]
        assert accused == []
        differences += len(result.waiting)
        sides.tell(None)  # whatever was under way has come when the next look falls
        sides.happen("ask")
        sides.now_us += GRACE_US
    event("differences in flight" if differences else "none")
    quiet: tuple[list[str], ...] = ([],) * 5
    last = sides.look(quiet)
    assert [one.kind for one in last.waiting if str(one.kind) != "unknown_here"] == []


def test_the_driver_meets_differences_that_pass() -> None:
    """What the test above relies on: things do differ in flight, and differ no more when the reports have come."""
    sides = Sides(Dialect(lists_open_orders=True, tells_positions=True))
    sides.happen("submit")
    sides.tell(None)
    sides.now_us += 2 * GRACE_US
    first = sides.look((["sell", "sell"], ["sell"], [], [], []))
    assert {str(one.kind) for one in first.waiting} == {"stream"}
    sides.tell(None)
    assert sides.look(([],) * 5).waiting == ()
    sides.rows.pop()
    sides.exchange.transfer("A", "ACME", Decimal(7))
    sides.now_us += GRACE_US
    broken = sides.look(([],) * 5)
    assert {str(one.kind) for one in broken.waiting} == {"missing_execution", "position"}
