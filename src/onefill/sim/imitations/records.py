"""What an imitation keeps of each order and trade beside the exchange: the exchange's own reports, read once and sorted."""

from collections import defaultdict
from decimal import Decimal

import msgspec

from onefill.core.messages import ExecutionKind, ExecutionReport
from onefill.core.values import EXACT
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import ExchangeOrder

_ZERO = Decimal(0)
_EVERYTHING = 1 << 60
_STARTS = (ExecutionKind.NEW, ExecutionKind.REPLACED)


class Traded(msgspec.Struct, frozen=True, gc=False):
    """One side's part in a match. ``match``: the number of the match, the same for both sides if both are the account's."""

    report: ExecutionReport
    match: int
    maker: bool

    @property
    def quantity(self) -> Decimal:
        """What was traded."""
        return self.report.last_quantity or _ZERO

    @property
    def price(self) -> Decimal:
        """At what price."""
        return self.report.last_price or _ZERO

    @property
    def value(self) -> Decimal:
        """Quantity times price."""
        return EXACT.multiply(self.quantity, self.price)

    @property
    def at_ms(self) -> int:
        """The exchange's time, in ms since 1970."""
        return self.report.transacted_at_us // 1000


class OrderRecord(msgspec.Struct):
    """An order's trades under its own number, and when it last changed (µs)."""

    updated_at_us: int = 0
    executed: Decimal = _ZERO
    value: Decimal = _ZERO
    trades: list[Traded] = msgspec.field(default_factory=list)


class Records:
    """The reports of one account of an exchange, by order and as a list of trades. Orders are named by their number.

    It follows the exchange: :meth:`read` takes in what is new, and everything else here does so by itself.
    """

    def __init__(self, exchange: Exchange, account: str) -> None:
        self._exchange = exchange
        self._account = account
        self._orders: defaultdict[int, OrderRecord] = defaultdict(OrderRecord)
        self._trades: list[Traded] = []
        self._told: list[tuple[ExecutionReport, Traded | None]] = []

    def order(self, number: int) -> ExchangeOrder | None:
        """Return the account's order of this number as it is now."""
        found = self._exchange.all_orders(number - 1, 1) if number > 0 else []
        return found[0] if found and found[0].account == self._account else None

    def orders(self, instrument: str) -> list[ExchangeOrder]:
        """Return every order of the account in an instrument, oldest first."""
        account = self._account
        return [one for one in self._exchange.all_orders() if one.instrument == instrument and one.account == account]

    def of(self, number: int) -> OrderRecord:
        """Return what there is about an order."""
        self.read()
        return self._orders[number]

    def trades(self, instrument: str | None = None) -> list[Traded]:
        """Return the account's trades, oldest first."""
        self.read()
        return [one for one in self._trades if instrument in (None, one.report.instrument)]

    def told(self, after: int) -> list[tuple[ExecutionReport, Traded | None]]:
        """Return every report but the first ``after``; the trade beside each that tells of one."""
        self.read()
        return self._told[after:]

    def read(self) -> None:
        """Take in the reports that are new."""
        for report in self._exchange.executions(self._account, len(self._told), _EVERYTHING):
            traded = self._traded(report) if report.kind is ExecutionKind.TRADE else None
            record = self._orders[number_of(report)]
            record.updated_at_us = report.transacted_at_us
            if traded is not None:
                record.trades.append(traded)
                record.executed += traded.quantity
                record.value = EXACT.add(record.value, traded.value)
                self._trades.append(traded)
            self._told.append((report, traded))

    def _traded(self, report: ExecutionReport) -> Traded:
        """Tell from the report before whose trade it is: the resting side of a match is always told first."""
        if not self._told:
            return Traded(report, report.position, maker=True)
        before, other = self._told[-1]
        if before.venue_order_id == report.venue_order_id:
            at_once = before.transacted_at_us == report.transacted_at_us
            taking = at_once and (before.kind in _STARTS or (other is not None and not other.maker))
            return Traded(report, report.position, maker=not taking)
        if (
            other is not None
            and other.maker
            and before.side is not report.side
            and (before.last_quantity, before.last_price) == (report.last_quantity, report.last_price)
        ):
            return Traded(report, other.match, maker=False)
        return Traded(report, report.position, maker=True)


def number_of(report: ExecutionReport) -> int:
    """Return the number of the order that a report is about."""
    return int(report.venue_order_id[1:])
