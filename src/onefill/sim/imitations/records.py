"""What an imitation keeps of orders and trades beside the exchange: the exchange's own reports, read once and sorted."""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Final

import msgspec

from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport
from onefill.core.values import EXACT, Side
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import ExchangeOrder

BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ZERO = Decimal(0)
_EVERYTHING = 1 << 60
_STARTS = (ExecutionKind.NEW, ExecutionKind.REPLACED)


class Traded(msgspec.Struct, frozen=True, gc=False):
    """One side's part in a match. ``match``: the number of the match, the same for both sides if both are the account's."""

    report: ExecutionReport
    match: int
    maker: bool

    @property
    def number(self) -> int:
        """The number of the order."""
        return number_of(self.report.venue_order_id)

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


class OrderRecord(msgspec.Struct, eq=False, kw_only=True):
    """What there is about an order. ``number`` is the exchange's, ``native`` the imitated venue's; times are µs since 1970.

    ``client_id`` is the client's id, ``None`` where it gave none; ``executed`` and ``value`` are those of ``trades``.
    """

    exchange: Exchange
    number: int
    native: str
    client_id: str | None
    created_at_us: int
    changed_at_us: int
    ended_at_us: int | None = None
    executed: Decimal = _ZERO
    value: Decimal = _ZERO
    trades: list[Traded] = msgspec.field(default_factory=list)

    @property
    def order(self) -> ExchangeOrder:
        """The order as it is now."""
        return self.exchange.all_orders(self.number - 1, 1)[0]


class Records:
    """The orders and trades of one account of an exchange. ``native`` makes the imitated venue's number of an order.

    It follows the exchange: :meth:`read` takes in what is new, and everything else here does so by itself. Bring the exchange
    to its time before that.
    """

    def __init__(self, exchange: Exchange, account: str, native: Callable[[ExchangeOrder], str] | None = None) -> None:
        self._exchange = exchange
        self._account = account
        self._native = native or _plain_number
        self._seen = 0
        self._orders: dict[int, OrderRecord] = {}
        self._by_native: dict[str, OrderRecord] = {}
        self._by_client: dict[str, list[OrderRecord]] = {}
        self._invented: set[str] = set()
        self._ended: list[OrderRecord] = []
        self._trades: list[Traded] = []
        self._told: list[tuple[ExecutionReport, Traded | None]] = []

    # ------------------------------------------------------------------ orders

    def of(self, number: int) -> OrderRecord:
        """Return what there is about an order of the account. Raises KeyError if there is none of this number."""
        self.read()
        return self._orders[number]

    def order(self, number: int) -> ExchangeOrder | None:
        """Return the account's order of this number as it is now."""
        self.read()
        record = self._orders.get(number)
        return None if record is None else record.order

    def by_native(self, native: str) -> OrderRecord | None:
        """Return the order under the venue's own number."""
        self.read()
        return self._by_native.get(native)

    def by_client(self, client_id: str) -> list[OrderRecord]:
        """Return the orders that came under a client's id, oldest first. Nobody knows an invented one."""
        self.read()
        return self._by_client.get(client_id, [])

    def newest_first(self) -> Iterator[OrderRecord]:
        """Yield every order, the newest first."""
        self.read()
        return reversed(self._orders.values())

    def orders(self, instrument: str) -> list[ExchangeOrder]:
        """Return every order of the account in an instrument, oldest first."""
        self.read()
        orders = (record.order for record in self._orders.values())
        return [one for one in orders if one.instrument == instrument]

    def live(self) -> list[OrderRecord]:
        """Return the orders that can still trade, oldest first."""
        self.read()
        return [self._orders[number_of(one.venue_order_id)] for one in self._exchange.open_orders(self._account)]

    def ended(self) -> list[OrderRecord]:
        """Return the orders that are over, in the order in which they ended."""
        self.read()
        return self._ended

    def invented(self, prefix: str = "") -> str:
        """Return a client order id, 32 hexadecimal digits, for an order that comes without one."""
        made = f"{prefix}{(1 << 127) + len(self._invented):032x}"
        self._invented.add(made)
        return made

    def shown_id(self, client_order_id: str) -> str | None:
        """Return a client order id as its owner knows it: ``None`` if it was invented here."""
        return None if client_order_id in self._invented else client_order_id

    # ------------------------------------------------------------------ trades

    def trades(self, instrument: str | None = None) -> list[Traded]:
        """Return the account's trades, oldest first; the ``position`` of their reports rises from one to the next."""
        self.read()
        return [one for one in self._trades if instrument in (None, one.report.instrument)]

    def trades_between(self, since_ms: int, until_ms: int) -> list[Traded]:
        """Return the account's trades from one moment through another, oldest first."""
        self.read()
        first = bisect_left(self._trades, since_ms, key=_at_ms)
        return self._trades[first : bisect_right(self._trades, until_ms, key=_at_ms)]

    def balances(self, granted: Decimal) -> dict[str, tuple[Decimal, Decimal]]:
        """Return by currency what the account holds and what of that live orders bind. Of each it was ``granted`` so much.

        Trades and orders in contracts change nothing, and fees are not looked at.
        """
        totals: dict[str, Decimal] = {}
        bound: dict[str, Decimal] = {}
        for symbol in self._exchange.instruments:
            for currency in currencies_of(symbol):
                totals[currency], bound[currency] = granted, _ZERO
        for trade in self.trades():
            if _is_contract(trade.report.instrument):
                continue
            base, quote = currencies_of(trade.report.instrument)
            sign = 1 if trade.report.side is Side.BUY else -1
            totals[base] = EXACT.add(totals[base], trade.quantity * sign)
            totals[quote] = EXACT.subtract(totals[quote], trade.value * sign)
        for order in self._exchange.open_orders(self._account):
            if _is_contract(order.instrument):
                continue
            base, quote = currencies_of(order.instrument)
            leaves = order.quantity - order.cum_quantity
            if order.side is Side.SELL:
                bound[base] += leaves
            else:
                bound[quote] = EXACT.add(bound[quote], EXACT.multiply(leaves, order.price or _ZERO))
        return {currency: (total, bound[currency]) for currency, total in totals.items()}

    # ----------------------------------------------------------------- reports

    def told(self, after: int) -> list[tuple[ExecutionReport, Traded | None]]:
        """Return every report but the first ``after``; the trade beside each that tells of one."""
        self.read()
        return self._told[after:]

    def read(self) -> None:
        """Take in the orders and reports that are new."""
        for order in self._exchange.all_orders(self._seen):
            self._seen = order.number
            if order.account == self._account:
                self._add(order)
        for report in self._exchange.executions(self._account, len(self._told), _EVERYTHING):
            traded = self._traded(report) if report.kind is ExecutionKind.TRADE else None
            record = self._orders[number_of(report.venue_order_id)]
            record.changed_at_us = report.transacted_at_us
            if report.status not in LIVE:
                if record.ended_at_us is None:
                    self._ended.append(record)
                record.ended_at_us = report.transacted_at_us
            if traded is not None:
                record.trades.append(traded)
                record.executed += traded.quantity
                record.value = EXACT.add(record.value, traded.value)
                self._trades.append(traded)
            self._told.append((report, traded))

    def _add(self, order: ExchangeOrder) -> None:
        client_id, at_us = self.shown_id(order.client_order_id), order.created_at_us
        record = OrderRecord(
            exchange=self._exchange,
            number=order.number,
            native=self._native(order),
            client_id=client_id,
            created_at_us=at_us,
            changed_at_us=at_us,
        )
        self._orders[order.number] = self._by_native[record.native] = record
        if client_id is not None:
            self._by_client.setdefault(client_id, []).append(record)

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


def totals(trades: Iterable[Traded]) -> tuple[Decimal, Decimal]:
    """Return the quantity and the value of trades."""
    quantity, value = _ZERO, _ZERO
    for one in trades:
        quantity, value = EXACT.add(quantity, one.quantity), EXACT.add(value, one.value)
    return quantity, value


def currencies_of(symbol: str) -> tuple[str, str]:
    """Return base and quote of a unified symbol, ``BTC/USDT`` or ``BTC/USDC:USDC``."""
    base, _, quote = symbol.partition(":")[0].partition("/")
    return base, quote


def number_of(venue_order_id: str) -> int:
    """Return the exchange's number in its own spelling of it, ``X17``."""
    return int(venue_order_id[1:])


def scrambled(text: str, length: int, alphabet: str = BASE32) -> str:
    """Return ``length`` characters of ``alphabet`` that stand for ``text``, always the same: for numbers that look drawn."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    characters = []
    for _ in range(length):
        number, place = divmod(number, len(alphabet))
        characters.append(alphabet[place])
    return "".join(characters)


def _plain_number(order: ExchangeOrder) -> str:
    return str(order.number)


def _is_contract(symbol: str) -> bool:
    return ":" in symbol


def _at_ms(trade: Traded) -> int:
    return trade.at_ms
