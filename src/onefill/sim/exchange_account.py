"""What a simulated exchange keeps per account: its orders by id, what it holds, and its streams of reports."""

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.messages import EXECUTED, LIVE, ExecutionKind, ExecutionReport
from onefill.core.values import EXACT, Side
from onefill.sim.dialect import Dialect, ExecutionIds, Throttle
from onefill.sim.order_book import BookOrder

_ZERO = Decimal(0)
_TRADE, _RESTATED = ExecutionKind.TRADE, ExecutionKind.RESTATED
_BUY = Side.BUY
_WIDE = Context(prec=100, rounding=ROUND_HALF_EVEN)
_PRICE_STEP = Decimal(1).scaleb(-28)


class Counts(msgspec.Struct, kw_only=True):
    """How often what happened. ``submits``, ``cancels`` and ``replaces`` count requests; the rest counts their outcomes.

    ``orders`` counts the order that goes on under a new id after a replace as one of its own. ``replaced`` leaves out
    repeats that changed nothing. ``reports`` counts a report that is told again as one more.
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
    busted: int = 0
    corrected: int = 0
    reports: int = 0


class Account:
    """One account. ``latest`` has the last order under each client order id, ``open`` the live ones by number.

    ``held`` is what it holds by instrument. ``trades`` has the report of each trade as it is in truth, with an execution id
    and a price whatever the dialect tells; ``amendments`` the busts and corrections of each, by its place in ``trades``.
    ``reports`` is what the stream tells, ``copies`` what the drop copy tells; ``retold``: a report came a second time.
    """

    __slots__ = (
        "_copies",
        "_dialect",
        "_execution_ids",
        "_fee_rate",
        "_number",
        "_plain",
        "_revision",
        "_scope",
        "_totals",
        "amendments",
        "copies",
        "held",
        "held_copies",
        "latest",
        "listeners",
        "open",
        "reports",
        "retold",
        "throttle",
        "trades",
    )

    def __init__(self, throttle: Throttle | None, dialect: Dialect, holdings: Mapping[str, Decimal]) -> None:
        self.latest: dict[str, BookOrder] = {}
        self.open: dict[int, BookOrder] = {}
        self.held: dict[str, Decimal] = dict(holdings)
        self.trades: list[ExecutionReport] = []
        self.amendments: dict[int, list[ExecutionReport]] = {}
        self.reports: list[ExecutionReport] = []
        self.retold = False
        self.copies: list[ExecutionReport] = []
        self.held_copies: list[ExecutionReport] | None = None
        self.listeners: list[Callable[[], None]] = []
        self.throttle = throttle
        self._dialect = dialect
        self._scope = dialect.execution_id_scope
        self._execution_ids: dict[str, int] = {}
        self._number = 0
        self._revision = ".01" if dialect.execution_revisions else ""
        self._fee_rate = dialect.fee_rate
        self._totals = dialect.cumulative_fills_only
        self._copies = dialect.drop_copy
        with_ids = dialect.execution_ids is ExecutionIds.GIVEN
        self._plain = with_ids and not (self._totals or dialect.execution_revisions or self._copies)

    def close(self, order: BookOrder, now: int) -> None:
        """Have an order be live no more, from ``now`` (µs) on."""
        del self.open[order.number]
        order.ended_us = now

    # ----------------------------------------------------------------- telling

    def trade(self, order: BookOrder, quantity: Decimal, price: Decimal | None, now: int) -> None:
        """Take in a trade of an order that has it in its total already. Where only totals are told, it is not told."""
        self.move(order.request.side, order.request.instrument, quantity)
        report = self.made(order, _TRADE, now, quantity, price)
        self.trades.append(report)
        if self._totals:
            order.value = EXACT.add(order.value, EXACT.multiply(quantity, price or _ZERO))
        else:
            self.tell(report, order)

    def report(
        self, order: BookOrder, kind: ExecutionKind, now: int, *, orig_client_order_id: str | None = None
    ) -> None:
        """Tell what became of an order at ``now`` (µs); with ``orig_client_order_id``, by a replace."""
        self.tell(self.made(order, kind, now, orig_client_order_id=orig_client_order_id), order)

    def made(
        self,
        order: BookOrder,
        kind: ExecutionKind,
        now: int,
        last_quantity: Decimal | None = None,
        last_price: Decimal | None = None,
        *,
        orig_client_order_id: str | None = None,
    ) -> ExecutionReport:
        """Return a report of an order as it is, under the next execution id."""
        request = order.request
        changed = orig_client_order_id is not None or kind is _RESTATED
        fee = None
        if self._fee_rate is not None and last_quantity is not None and last_price is not None:
            fee = EXACT.multiply(EXACT.multiply(last_quantity, last_price), self._fee_rate)
        return ExecutionReport(
            position=len(self.reports) + 1,
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
            order_quantity=request.quantity if changed else None,
            order_price=request.price if changed else None,
            fee=fee,
            fee_currency=None if fee is None else self._dialect.fee_currency,
        )

    def tell(self, report: ExecutionReport, order: BookOrder) -> None:
        """Put a report on the stream and, if it tells of executions of ``order``, on the drop copy, in the dialect's words."""
        if not self._plain:
            executed = report.kind in EXECUTED if not self._totals else order.cum_quantity != order.told
            report = self._worded(report, order)
            if executed and self._copies:
                self._copy(report)
        self.reports.append(report)
        for wake in self.listeners:
            wake()

    def wake(self) -> None:
        """Tell the readers that there is something new."""
        for wake in self.listeners:
            wake()

    def _worded(self, report: ExecutionReport, order: BookOrder) -> ExecutionReport:
        changes: dict[str, object] = {}
        if self._dialect.execution_ids is ExecutionIds.NONE:
            changes = {"execution_id": "", "refers_to": None}
        if self._totals:
            order.told = order.cum_quantity
            kind = ExecutionKind.ORDER_STATUS if report.kind in EXECUTED else report.kind
            left_out = dict.fromkeys(("last_quantity", "last_price", "fee", "fee_currency", "refers_to"))
            changes |= {"kind": kind, "average_price": _average(order), **left_out}
        elif self._dialect.execution_revisions and report.kind is ExecutionKind.TRADE_CORRECT:
            changes |= {"kind": ExecutionKind.TRADE, "refers_to": None}
        return msgspec.structs.replace(report, **changes) if changes else report

    def _copy(self, report: ExecutionReport) -> None:
        if self.held_copies is not None:
            self.held_copies.append(report)
        else:
            self.copies.append(msgspec.structs.replace(report, position=len(self.copies) + 1))

    # ------------------------------------------------------------ telling again

    def retell(self, first: int, last: int) -> int:
        """Tell the reports from place ``first`` through ``last`` again, under new places. Return how many."""
        again = self.reports[first - 1 : last]
        self.reports.extend(renumbered(again, len(self.reports)))
        self.retold = self.retold or bool(again)
        self.wake()
        return len(again)

    def add_copies(self, reports: Iterable[ExecutionReport]) -> int:
        """Tell these reports on the drop copy, under new places. Return how many."""
        added = renumbered(reports, len(self.copies))
        self.copies.extend(added)
        self.wake()
        return len(added)

    # --------------------------------------------------------------- positions

    def move(self, side: Side, instrument: str, quantity: Decimal) -> None:
        """Have the account hold that much more or, by a sale, less."""
        change = EXACT.add if side is _BUY else EXACT.subtract
        self.held[instrument] = change(self.held.get(instrument, _ZERO), quantity)

    def _execution_id(self, order: BookOrder) -> str:
        order.reports += 1
        match self._scope:
            case ExecutionIdScope.ACCOUNT:
                number = self._number = self._number + 1
            case ExecutionIdScope.INSTRUMENT:
                symbol = order.request.instrument
                number = self._execution_ids[symbol] = self._execution_ids.get(symbol, 0) + 1
            case ExecutionIdScope.ORDER:
                number = order.reports
        return f"E{number}{self._revision}"


def renumbered(reports: Iterable[ExecutionReport], after: int) -> list[ExecutionReport]:
    """Return the reports at the places from ``after`` + 1 on."""
    return [msgspec.structs.replace(report, position=place) for place, report in enumerate(reports, after + 1)]


def _average(order: BookOrder) -> Decimal | None:
    if not order.cum_quantity:
        return None
    average = _WIDE.divide(order.value, order.cum_quantity)
    return average.quantize(_PRICE_STEP, context=_WIDE).normalize(_WIDE)
