"""From the journal's word for an execution back to the report that it came from, and to what names it."""

from decimal import Decimal

from onefill.core import events as ev
from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.order import Order
from onefill.core.position import Execution, Kind, dedupe_scope
from onefill.core.values import Side, plain

Telling = ev.Traded | ev.TradeAmended | ev.Quarantined
"""The events that tell of an execution."""
_BY_SCOPE = {scope: Capabilities(execution_id_scope=scope) for scope in ExecutionIdScope}
_REPORTED = {
    Kind.TRADE: ExecutionKind.TRADE,
    Kind.CORRECT: ExecutionKind.TRADE_CORRECT,
    Kind.BUST: ExecutionKind.TRADE_CANCEL,
}


def is_old(event: Telling) -> bool:
    """Tell whether an event is from a version that told less of an execution: the rest is in the log alone."""
    return not event.transacted_at_us


def report_of(order: Order, event: ev.Traded | ev.TradeAmended, row: Execution) -> ExecutionReport:
    """Return the report that an event came from."""
    amends = isinstance(event, ev.TradeAmended)
    old = is_old(event)
    kind = Kind(event.kind) if isinstance(event, ev.TradeAmended) else Kind.TRADE
    total = f"total {plain(event.venue_cum_quantity)}"
    live = event.live if isinstance(event, ev.TradeAmended) else True
    return ExecutionReport(
        position=0,
        execution_id="" if event.execution_id == total and kind is Kind.TRADE else event.execution_id,
        kind=_REPORTED[kind],
        client_order_id=row.client_order_id if old else event.client_order_id or order.client_order_id,
        venue_order_id=event.venue_order_id,
        account=order.intent.account,
        instrument=order.intent.instrument,
        side=order.intent.side,
        last_quantity=event.quantity,
        last_price=event.price,
        cum_quantity=event.venue_cum_quantity,
        leaves_quantity=Decimal(0),
        status=VenueStatus.PARTIALLY_FILLED if live else VenueStatus.FILLED,
        transacted_at_us=row.transacted_at_us if old else event.transacted_at_us,
        refers_to=event.refers_to if amends and isinstance(event, ev.TradeAmended) else None,
        fee=row.fee if old else event.fee,
        fee_currency=row.fee_currency if old else event.fee_currency,
    )


def quarantined_report(event: ev.Quarantined, row: Execution) -> ExecutionReport:
    """Return the report that an execution came from which is kept apart."""
    old = is_old(event)
    total = row.execution_id.startswith("total ") and row.kind is Kind.TRADE
    return ExecutionReport(
        position=0,
        execution_id="" if total else event.execution_id,
        kind=_REPORTED[Kind(event.kind)],
        client_order_id=event.client_order_id,
        venue_order_id=event.venue_order_id,
        account=row.account if old else event.account,
        instrument=event.instrument,
        side=Side(event.side),
        last_quantity=event.quantity,
        last_price=event.price,
        cum_quantity=Decimal(row.execution_id.removeprefix("total ")) if total else Decimal(0),
        leaves_quantity=Decimal(0),
        status=VenueStatus.PARTIALLY_FILLED,
        transacted_at_us=row.transacted_at_us if old else event.transacted_at_us,
        refers_to=event.refers_to,
        fee=row.fee if old else event.fee,
        fee_currency=row.fee_currency if old else event.fee_currency,
    )


def naming(report: ExecutionReport, scope: str) -> Capabilities | None:
    """Return what makes this report's name unique in the scope that the log has; ``None`` if nothing does."""
    if is_total(report):
        return _BY_SCOPE[ExecutionIdScope.ORDER] if dedupe_scope(report, ExecutionIdScope.ORDER) == scope else None
    return next((found for kind, found in _BY_SCOPE.items() if dedupe_scope(report, kind) == scope), None)


def is_total(report: ExecutionReport) -> bool:
    """Tell whether a report is named by its place in the order's growing total."""
    return report.kind is ExecutionKind.TRADE and not report.execution_id
