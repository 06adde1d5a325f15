"""A run in which all is well, made by hand, to be spoiled in one place at a time."""

from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.audit import JournalEntry
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, SubmitRequest, VenueStatus
from onefill.core.order import Copy, Order
from onefill.core.position import Execution, Position, fold_all
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.ports.ledger import Claim, RequestKind
from onefill.sim.checkers_index import Index
from onefill.sim.dialect import ExecutionIds
from onefill.sim.exchange_desk import ExchangeTrade
from onefill.sim.history import Commit, History, Record, Reported, Sent
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.world import Run
from onefill.sim.world_books import Books
from onefill.sim.world_nodes import ROUTE
from onefill.sim.world_plan import ACCOUNT, STRATEGY, SYMBOL, Plan, Weather, plan

with_ = msgspec.structs.replace
SCOPE = f"{ACCOUNT}\nc1\nX1"


@cache
def calm_plan() -> Plan:
    """Return a world of one kind, in which nothing befalls anything."""
    made = plan(0)
    dialect = with_(made.dialect, cumulative_fills_only=False, execution_ids=ExecutionIds.GIVEN)
    return with_(made, dialect=dialect, books=Books(), weather=Weather(), trades=())


def order(key: str = "k1", side: Side = Side.BUY, quantity: int = 5, executed: int = 5, **changes: Any) -> Order:
    """Return an order, filled unless something else is said."""
    intent = Intent(
        venue=ROUTE,
        account=ACCOUNT,
        strategy=STRATEGY,
        instrument=SYMBOL,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(100),
    )
    made = Order(
        intent_id=int(key[1:]),
        key=key,
        client_order_id=f"c{key[1:]}",
        intent=intent,
        recorded_at_us=1,
        valid_until_us=2,
        status=Status.FILLED if executed == quantity else Status.NEW,
        cum_quantity=Decimal(executed),
        venue_order_id=f"X{key[1:]}",
    )
    return with_(made, **changes)


def row(execution_id: str = "E1", quantity: int = 5, price: int = 100, **changes: Any) -> Execution:
    """Return an execution of the first order, as the log has it."""
    made = Execution(
        intent_id=1,
        scope=SCOPE,
        execution_id=execution_id,
        account=ACCOUNT,
        strategy=STRATEGY,
        venue=ROUTE,
        instrument=SYMBOL,
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(price),
        client_order_id="c1",
        venue_order_id="X1",
        transacted_at_us=7,
    )
    return with_(made, **changes)


def trade(execution_id: str = "E1", quantity: int = 5, price: int = 100, **changes: Any) -> ExchangeTrade:
    """Return the same, as the exchange has it."""
    made = ExchangeTrade(
        execution_id=execution_id,
        latest_id=execution_id,
        client_order_id="c1",
        venue_order_id="X1",
        instrument=SYMBOL,
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=None,
        transacted_at_us=7,
        counts=True,
    )
    return with_(made, **changes)


def report(position: int = 1, execution_id: str = "E1", **changes: Any) -> ExecutionReport:
    """Return the report that tells of it."""
    made = ExecutionReport(
        position=position,
        execution_id=execution_id,
        kind=ExecutionKind.TRADE,
        client_order_id="c1",
        venue_order_id="X1",
        account=ACCOUNT,
        instrument=SYMBOL,
        side=Side.BUY,
        last_quantity=Decimal(5),
        last_price=Decimal(100),
        cum_quantity=Decimal(5),
        leaves_quantity=Decimal(0),
        status=VenueStatus.FILLED,
        transacted_at_us=7,
    )
    return with_(made, **changes)


def empty() -> Position:
    """Return the strategy's position before anything."""
    return Position(account=ACCOUNT, strategy=STRATEGY, venue=ROUTE, instrument=SYMBOL)


def traded(execution_id: str = "E1", **changes: Any) -> ev.Traded:
    """Return the journal's word for it."""
    return with_(ev.Traded(execution_id, Decimal(5), Decimal(100), "X1", Decimal(5), 7), **changes)


def commit(*events: Any, order: Order | None = None, claims: tuple[Claim, ...] = (), at_us: int = 10) -> Commit:
    """Return the record of a change that became durable."""
    payload = msgspec.json.encode(events).decode()
    return Commit(at_us, 1, 1, 1, "made", payload, order, claims)


def entry(sequence: int, *events: Any, intent_id: int | None = None) -> JournalEntry:
    """Return an entry of the journal."""
    return JournalEntry(
        route=ROUTE,
        sequence=sequence,
        intent_id=intent_id,
        kind="made",
        payload=msgspec.json.encode(events).decode(),
        at_us=1,
        epoch=1,
        previous_hash=b"",
        hash=b"",
    )


def claim(kind: RequestKind = RequestKind.SUBMIT) -> Claim:
    """Return a claim of a first copy."""
    return Claim(kind, Copy(1, 5, None))


def sent(begun_us: int, client_order_id: str = "c1") -> Sent:
    """Return the record of a submit that left."""
    request = SubmitRequest(
        client_order_id=client_order_id,
        account=ACCOUNT,
        instrument=SYMBOL,
        side=Side.BUY,
        quantity=Decimal(5),
        order_type=OrderType.LIMIT,
        price=Decimal(100),
        time_in_force=TimeInForce.DAY,
        expires_at_us=None,
    )
    return Sent(begun_us, 1, 1, 1, begun_us, request)


def at_venue(number: int = 1, executed: int = 5) -> ExchangeOrder:
    """Return the first order, as the exchange has it."""
    return ExchangeOrder(
        number=number,
        account=ACCOUNT,
        client_order_id=f"c{number}",
        venue_order_id=f"X{number}",
        instrument=SYMBOL,
        side=Side.BUY,
        quantity=Decimal(5),
        order_type=OrderType.LIMIT,
        price=Decimal(100),
        time_in_force=TimeInForce.DAY,
        status=VenueStatus.FILLED,
        cum_quantity=Decimal(executed),
        created_at_us=1,
        reason=None,
    )


def history(*records: Record) -> History:
    """Return a history of these."""
    made = History()
    made.records.extend(records)
    return made


def run(**changes: Any) -> Run:
    """Return a run in which one order of five was executed once; ``changes`` are what is otherwise."""
    filled = order()
    made: dict[str, Any] = {
        "plan": calm_plan(),
        "history": history(Reported(5, 1, report()), commit(traded(), order=filled)),
        "born": {},
        "rested": True,
        "orders": [filled],
        "executions": [row()],
        "trades": [trade()],
        "held": Decimal(5),
        "positions": [fold_all(empty(), [row()])],
        "at_venue": [at_venue()],
        "journal": [entry(1, traded(), intent_id=1)],
    }
    return Run(**(made | changes))


def index(**changes: Any) -> Index:
    """Return the same for a judge."""
    return Index(run(**changes))
