"""What tests of the reconciliation share: both sides of an account, an order live on both, and looks at them."""

from decimal import Decimal
from typing import Any

from core_kit import copies, intent, order, us

from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.executions import name
from onefill.core.incident import Incident, opened
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder, VenueStatus
from onefill.core.order import Order
from onefill.core.position import STREAM, Execution
from onefill.core.reconcile import Comparison, Difference, Here, Looked, There, Told, Watch, looked
from onefill.core.reconcile_rules import compare
from onefill.core.values import OrderType, Side

GRACE_US = 10_000_000
LISTS = Capabilities(
    lists_open_orders=True, tells_positions=True, execution_id_scope=ExecutionIdScope.ACCOUNT, conclusive_after_s=5.0
)
TOTALS = Capabilities(lists_open_orders=True, tells_positions=True, cumulative_fills_only=True)


def live(**changes: Any) -> Order:
    """Return our order as it rests at the venue under V1 since noon, with changes."""
    fields: dict[str, Any] = {
        "status": Status.NEW,
        "copies": copies("a0"),
        "venue_order_id": "V1",
        "answer": b"{}",
        "version": 3,
    }
    return order(**(fields | changes))


def shown(**changes: Any) -> VenueOrder:
    """Return that order as the venue lists it, with changes."""
    fields: dict[str, Any] = {
        "client_order_id": "C1",
        "venue_order_id": "V1",
        "instrument": "ACME",
        "side": Side.BUY,
        "quantity": Decimal(10),
        "order_type": OrderType.LIMIT,
        "price": Decimal("25.50"),
        "status": VenueStatus.NEW,
        "cum_quantity": Decimal(0),
    }
    return VenueOrder(**(fields | changes))


def report(execution_id: str = "E1", quantity: int | None = 4, **changes: Any) -> ExecutionReport:
    """Return the report of a trade in that order, the second of the stream, at second 100."""
    traded = None if quantity is None else Decimal(quantity)
    fields: dict[str, Any] = {
        "position": 2,
        "execution_id": execution_id,
        "kind": ExecutionKind.TRADE,
        "client_order_id": "C1",
        "venue_order_id": "V1",
        "account": "A",
        "instrument": "ACME",
        "side": Side.BUY,
        "last_quantity": traded,
        "last_price": Decimal("25.50"),
        "cum_quantity": traded or Decimal(0),
        "leaves_quantity": Decimal(6),
        "status": VenueStatus.PARTIALLY_FILLED,
        "transacted_at_us": us(100),
    }
    return ExecutionReport(**(fields | changes))


def told(*reports: ExecutionReport, capabilities: Capabilities = LISTS, stream: str = STREAM) -> tuple[Told, ...]:
    """Return reports as a look reads them."""
    return tuple(Told(stream, one, name(one, capabilities)) for one in reports)


def row(execution_id: str = "E1", quantity: int = 4, **changes: Any) -> Execution:
    """Return that trade as the ledger has it."""
    fields: dict[str, Any] = {
        "intent_id": 1,
        "scope": "A",
        "execution_id": execution_id,
        "account": "A",
        "strategy": "momentum",
        "venue": "sim",
        "instrument": "ACME",
        "side": Side.BUY,
        "quantity": Decimal(quantity),
        "price": Decimal("25.50"),
        "client_order_id": "C1",
        "venue_order_id": "V1",
        "transacted_at_us": us(100),
    }
    return Execution(**(fields | changes))


def here(*orders: Order, at_s: float = 100, **more: Any) -> Here:
    """Return the ledger's side: these orders, the same before and after the venue was asked."""
    open_ones = tuple(one for one in orders if not one.closed)
    known = {(one.scope, one.execution_id): one for one in more.pop("log", ())}
    fields: dict[str, Any] = {
        "account": "A",
        "at_us": us(at_s),
        "orders": open_ones,
        "now": open_ones,
        "named": {one.live_id: one for one in orders} | {one.client_order_id: one for one in orders},
        "known": known,
        "taken_in": {STREAM: 9},
    }
    return Here(**(fields | more))


def there(*orders: VenueOrder, at_s: float = 100, **more: Any) -> There:
    """Return the venue's side: these live orders, and nothing of the rest."""
    return There(**({"asked_at_us": us(at_s), "orders": orders} | more))


def seen(ours: Here, theirs: There, capabilities: Capabilities = LISTS, **more: Any) -> Comparison:
    """Return what a look at both shows."""
    return compare(ours, theirs, capabilities, GRACE_US, **more)


def kinds(ours: Here, theirs: There, capabilities: Capabilities = LISTS) -> list[tuple[str, str]]:
    """Return kind and subject of every difference."""
    return [(str(one.kind), one.subject) for one in seen(ours, theirs, capabilities).differences]


def only(ours: Here, theirs: There, capabilities: Capabilities = LISTS) -> Difference:
    """Return the one difference that there is."""
    (found,) = seen(ours, theirs, capabilities).differences
    return found


def looks(*at: tuple[float, Comparison], watch: Watch | None = None, open_ones: tuple[Incident, ...] = ()) -> Looked:
    """Return what the last of these looks comes to, each at a second after noon."""
    assert at
    result = Looked(watch=watch or Watch())
    for at_s, comparison in at:
        result = looked(result.watch, comparison, open_ones, GRACE_US, us(at_s))
    return result


def incident(difference: Difference, number: int = 1) -> Incident:
    """Return the open incident about a difference."""
    first = looks((0, Comparison(differences=(difference,))), (20, Comparison(differences=(difference,))))
    return opened(first.findings[0], "X", number, us(20))


__all__ = ["intent", "us"]
