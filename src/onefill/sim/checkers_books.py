"""Checks about executions, positions, incidents and control states."""

from collections import Counter, defaultdict
from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core.control import State
from onefill.core.executions import effective
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import ENDED
from onefill.core.order import Order
from onefill.core.position import Execution, Position, fold_all
from onefill.core.values import EXACT, Side
from onefill.ports.ledger import RequestKind
from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.dialect import ExecutionIds
from onefill.sim.exchange_desk import ExchangeTrade
from onefill.sim.history import Commit
from onefill.sim.world_plan import ACCOUNT, STRATEGY, SYMBOL

_ZERO = Decimal(0)
_ROUNDED = Decimal("1e-20")
"""Prices that are derived from averages are rounded, and so are values made of them."""
_events = msgspec.json.Decoder(tuple[ev.Event | ev.RouteEvent, ...])


def fill_once(index: Index) -> Verdict:
    """What counts here is what counts at the exchange, each execution once, whatever was told twice, by two channels, in
    another order, busted or corrected; orders and positions follow from it.
    """
    verdict = Verdict(promise="FILL-ONCE")
    run = index.run
    if not run.rested:
        return verdict  # not caught up: CONVERGES tells
    counted = [trade for trade in run.trades if trade.counts]
    verdict.cases += len(run.trades)
    here = _counting(run.executions)
    _compare_orders(verdict, here, counted)
    names = Counter((one.scope, one.execution_id) for one in run.executions)
    for name, count in names.items():
        if count > 1:
            verdict.broken(f"execution {name} stands {count} times in the log")
    if not index.plan.dialect.cumulative_fills_only and index.plan.dialect.execution_ids is ExecutionIds.GIVEN:
        _compare_each(verdict, here, counted)
    _compare_positions(verdict, index, here)
    for order in run.orders:
        chains = index.chains.get(order.key, [])
        executed = sum((chain[-1].cum_quantity for chain in chains), _ZERO)
        if order.cum_quantity != executed:
            verdict.broken(f"{order.key} has {order.cum_quantity} executed, {executed} at the exchange")
    return verdict


def _counting(rows: list[Execution]) -> list[Execution]:
    """Return the executions that count, order by order, strangers' included."""
    orders: dict[object, list[Execution]] = defaultdict(list)
    for row in rows:
        orders[row.intent_id if row.intent_id is not None else row.venue_order_id].append(row)
    return [row for rows_of_one in orders.values() for row in effective(rows_of_one)]


def _compare_orders(verdict: Verdict, here: list[Execution], there: list[ExchangeTrade]) -> None:
    """Compare, for each of the exchange's orders, quantity and value."""
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [_ZERO] * 4)
    for offset, rows in ((0, here), (2, there)):
        for row in rows:
            kept = sums[row.venue_order_id]
            kept[offset] = EXACT.add(kept[offset], row.quantity)
            kept[offset + 1] = EXACT.add(kept[offset + 1], EXACT.multiply(row.quantity, row.price))
    for number, (mine, my_value, theirs, their_value) in sums.items():
        if mine != theirs:
            verdict.broken(f"of {number} {mine} is executed here, and {theirs} at the exchange")
        elif abs(my_value - their_value) > _ROUNDED:
            verdict.broken(f"{mine} of {number} came to {my_value} here, and to {their_value} at the exchange")


def _compare_each(verdict: Verdict, here: list[Execution], there: list[ExchangeTrade]) -> None:
    """Compare execution by execution, where the venue names them."""
    mine = Counter((one.venue_order_id, one.execution_id, one.quantity, one.price) for one in here)
    theirs = Counter((one.venue_order_id, one.latest_id, one.quantity, one.price) for one in there)
    for execution, count in (theirs - mine).items():
        verdict.broken(f"execution {' '.join(map(str, execution))} is missing here ({count})")
    for execution, count in (mine - theirs).items():
        verdict.broken(f"execution {' '.join(map(str, execution))} was taken in {count} time(s) too often")


def _compare_positions(verdict: Verdict, index: Index, here: list[Execution]) -> None:
    """The gateway's position is the fold of its strategy's executions, to the last digit of profit and fees."""
    empty = Position(account=ACCOUNT, strategy=STRATEGY, venue=index.plan_route, instrument=SYMBOL)
    own = [row for row in index.run.executions if row.intent_id is not None]
    expected = fold_all(empty, effective(own))
    held = next((one for one in index.run.positions if one.strategy == STRATEGY), empty)
    if held != expected:
        verdict.broken(f"the position is {_sums(held)}; its executions give {_sums(expected)}")
    bought = sum((row.quantity if row.side is Side.BUY else -row.quantity for row in here), _ZERO)
    truth = index.run.held - Decimal(index.plan.books.holding)
    if bought != truth:
        verdict.broken(f"executions here move the account by {bought}, and it moved by {truth} at the exchange")
    if any(one.strategy != STRATEGY for one in index.run.positions):
        verdict.broken("an execution of nobody's order is in a strategy's position")


def _sums(position: Position) -> str:
    fees = ", ".join(f"{amount} {currency}" for currency, amount in position.fees)
    return f"{position.quantity} for {position.cost}, realised {position.realised}, {position.executions} fills, {fees}"


def no_silent_heal(index: Index) -> Verdict:
    """Whatever contradicts, waits for a person or belongs to nobody has an incident, in the very entry that tells of it; what
    was taken in later is under one; and none is closed by itself.
    """
    verdict = Verdict(promise="NO-SILENT-HEAL")
    numbers: dict[int, tuple[IncidentKind, str]] = {}
    opened: set[tuple[IncidentKind, str]] = set()
    orders = {order.intent_id: order for order in index.run.orders}
    for entry in index.run.journal:
        events = _events.decode(entry.payload)
        for event in events:
            if isinstance(event, ev.IncidentOpened):
                if (event.kind, event.subject) in opened:
                    verdict.broken(f"entry {entry.sequence}: {event.kind} about {event.subject!r} is opened twice")
                numbers[event.number] = (event.kind, event.subject)
                opened.add((event.kind, event.subject))
            elif isinstance(event, ev.IncidentResolved):
                opened.discard(numbers[event.number])
                if event.by == "onefill":
                    verdict.broken(f"entry {entry.sequence}: incident {event.number} was closed by nobody")
        for event in events:
            for needed in _needs(event, orders.get(entry.intent_id or 0) or _named(event, index)):
                verdict.cases += 1
                if needed not in opened:
                    what = type(event).__name__.lower()
                    verdict.broken(f"entry {entry.sequence}: a {what} without an incident ({needed[0]}, {needed[1]})")
            number = getattr(event, "incident", None)
            if number is not None:
                verdict.cases += 1
                if number not in numbers:
                    verdict.broken(f"entry {entry.sequence}: an execution is taken in under incident {number}, unknown")
    return verdict


def _named(event: object, index: Index) -> Order | None:
    """Return the order by whose id a quarantined execution goes."""
    return index.orders.get(index.owner.get(event.client_order_id, "")) if isinstance(event, ev.Quarantined) else None


def _needs(event: object, order: Order | None) -> list[tuple[IncidentKind, str]]:
    if isinstance(event, ev.Anomaly) and order is not None:
        return [(event.kind, order.client_order_id)]
    if isinstance(event, ev.Parked) and order is not None:
        return [(IncidentKind.UNCERTAIN, order.client_order_id)]
    if isinstance(event, ev.Quarantined):
        if order is not None:
            return [(IncidentKind.FOREIGN_EXECUTION, order.client_order_id)]
        return [(IncidentKind.STRANGER_EXECUTION, f"{event.account} {event.instrument}")]
    return []


def control_holds(index: Index) -> Verdict:
    """In SAFE no copy of an order is claimed; in DUP_RISK only of one that cannot but reduce what is held, whatever of the
    open orders trades. Only a person opens a route that was shut.
    """
    verdict = Verdict(promise="CONTROL")
    state = State.NORMAL
    orders: dict[str, Order] = {}
    for _, commit in index.commits:
        if commit.order is not None:
            orders[commit.order.key] = commit.order
        for event in _events.decode(commit.payload) if "control_moved" in commit.payload else ():
            if isinstance(event, ev.ControlMoved):
                verdict.cases += 1
                to, by_itself = State(event.state), event.by == "onefill"
                if by_itself and to.rank < state.rank and state is not State.DEGRADED:
                    verdict.broken(f"the route went from {state} to {to} by itself: {event.reason}", commit.at_us)
                state = to
        if state.rank >= State.DUP_RISK.rank and _claims_order(commit):
            verdict.cases += 1
            if state is State.SAFE or not _only_reduces(commit.order, orders):
                key = commit.order.key if commit.order is not None else ""
                verdict.broken(f"a copy of {key} was claimed in {state}", commit.at_us)
    return verdict


def _claims_order(commit: Commit) -> bool:
    return any(claim.kind is RequestKind.SUBMIT for claim in commit.claims)


def _only_reduces(order: Order | None, orders: dict[str, Order]) -> bool:
    if order is None:
        return False
    side = order.intent.side
    held = sum(
        (one.cum_quantity if one.intent.side is Side.BUY else -one.cum_quantity for one in orders.values()), _ZERO
    )
    can_trade = sum(
        (
            max(one.most_quantity - one.cum_quantity, _ZERO)
            for one in orders.values()
            if one.intent.side is side and one.status not in ENDED
        ),
        _ZERO,
    )
    return can_trade <= (held if side is Side.SELL else -held)
