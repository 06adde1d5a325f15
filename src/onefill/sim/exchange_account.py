"""What a simulated exchange keeps per account: its orders by id, and its execution stream."""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport
from onefill.sim.dialect import Throttle
from onefill.sim.order_book import BookOrder

_ZERO = Decimal(0)


class Counts(msgspec.Struct, kw_only=True):
    """How often what happened. ``submits``, ``cancels`` and ``replaces`` count requests; the rest counts their outcomes.

    ``orders`` counts the order that goes on under a new id after a replace as one of its own. ``replaced`` leaves out
    repeats that changed nothing.
    """

    submits: int = 0
    orders: int = 0
    open_orders: int = 0
    duplicates: int = 0
    too_late: int = 0
    rejected: int = 0
    throttled: int = 0
    trades: int = 0
    cancels: int = 0
    canceled: int = 0
    cancels_rejected: int = 0
    replaces: int = 0
    replaced: int = 0
    replaces_rejected: int = 0
    expired: int = 0
    reports: int = 0


class Account:
    """One account. ``latest`` has the last order under each client order id, ``open`` the live ones by number."""

    __slots__ = ("_execution_ids", "_scope", "latest", "listeners", "open", "reports", "throttle")

    def __init__(self, throttle: Throttle | None, scope: ExecutionIdScope) -> None:
        self.latest: dict[str, BookOrder] = {}
        self.open: dict[int, BookOrder] = {}
        self.reports: list[ExecutionReport] = []
        self.listeners: list[Callable[[], None]] = []
        self.throttle = throttle
        self._scope = scope
        self._execution_ids: dict[str, int] = {}

    def report(
        self,
        order: BookOrder,
        kind: ExecutionKind,
        now: int,
        last_quantity: Decimal | None = None,
        last_price: Decimal | None = None,
        *,
        orig_client_order_id: str | None = None,
    ) -> None:
        """Tell on the stream what became of an order at ``now`` (µs); with ``orig_client_order_id``, by a replace."""
        request = order.request
        reports = self.reports
        replaced = orig_client_order_id is not None
        reports.append(
            ExecutionReport(
                position=len(reports) + 1,
                execution_id=self._execution_id(order),
                kind=kind,
                client_order_id=request.client_order_id,
                venue_order_id=f"X{order.number}",
                account=request.account,
                instrument=request.instrument,
                side=request.side,
                last_quantity=last_quantity,
                last_price=last_price,
                cum_quantity=order.cum_quantity,
                leaves_quantity=order.leaves if order.status in LIVE else _ZERO,
                status=order.status,
                transacted_at_us=now,
                text=order.reason,
                orig_client_order_id=orig_client_order_id,
                order_quantity=request.quantity if replaced else None,
                order_price=request.price if replaced else None,
            )
        )
        for wake in self.listeners:
            wake()

    def _execution_id(self, order: BookOrder) -> str:
        order.reports += 1
        match self._scope:
            case ExecutionIdScope.ACCOUNT:
                number = len(self.reports) + 1
            case ExecutionIdScope.INSTRUMENT:
                symbol = order.request.instrument
                number = self._execution_ids[symbol] = self._execution_ids.get(symbol, 0) + 1
            case ExecutionIdScope.ORDER:
                number = order.reports
        return f"E{number}"
