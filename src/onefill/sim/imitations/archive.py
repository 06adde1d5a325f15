"""What an imitation tells of orders and trades that are over, read from the exchange's own reports as they come."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from decimal import Decimal

from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport
from onefill.core.values import EXACT, Side
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import ExchangeOrder

_ZERO = Decimal(0)


class Archive:
    """One account's orders and trades, by the exchange's numbers of the orders (1, 2, ...).

    Every call reads on in the account's reports first; bring the exchange to its time before that.
    """

    def __init__(self, exchange: Exchange, account: str) -> None:
        self._exchange = exchange
        self._account = account
        self._read = 0
        self._trades: list[ExecutionReport] = []
        self._of: dict[int, list[ExecutionReport]] = {}
        self._changed_at_us: dict[int, int] = {}
        self._ended: list[int] = []
        self._invented: set[str] = set()
        self._known = 0
        self._named: dict[str, list[int]] = {}

    def _read_on(self) -> None:
        for report in self._exchange.executions(self._account, self._read, 1 << 60):
            self._read = report.position
            number = number_of(report.venue_order_id)
            self._changed_at_us[number] = report.transacted_at_us
            if report.kind is ExecutionKind.TRADE:
                self._trades.append(report)
                self._of.setdefault(number, []).append(report)
            if report.status not in LIVE:
                self._ended.append(number)

    def invented(self, prefix: str = "") -> str:
        """Return a client order id, 32 hexadecimal digits, for an order that comes without one."""
        made = f"{prefix}{(1 << 127) + len(self._invented):032x}"
        self._invented.add(made)
        return made

    def shown_id(self, client_order_id: str) -> str:
        """Return the client order id as its owner sees it: empty if it was invented here."""
        return "" if client_order_id in self._invented else client_order_id

    def order(self, number: int) -> ExchangeOrder | None:
        """Return the order of a number as it is now; ``None`` if there is none."""
        found = self._exchange.all_orders(number - 1, 1) if number > 0 else []
        return found[0] if found and found[0].account == self._account else None

    def named(self, client_order_id: str) -> list[int]:
        """Return the numbers of the orders that came under a client order id, oldest first. Nobody knows an invented one."""
        for order in self._exchange.all_orders(self._known):
            self._known = order.number
            if order.account == self._account and order.client_order_id not in self._invented:
                self._named.setdefault(order.client_order_id, []).append(order.number)
        return self._named.get(client_order_id, [])

    def live(self) -> list[ExchangeOrder]:
        """Return the orders that can still trade, oldest first."""
        open_orders = self._exchange.open_orders(self._account)
        return self.numbered(number_of(order.venue_order_id) for order in open_orders)

    def ended(self) -> list[int]:
        """Return the numbers of the orders that are over, in the order in which they ended."""
        self._read_on()
        return self._ended

    def numbered(self, numbers: Iterable[int]) -> list[ExchangeOrder]:
        """Return the orders of these numbers, as far as there are such."""
        return [order for order in map(self.order, numbers) if order is not None]

    def trades(self) -> list[ExecutionReport]:
        """Return the account's trades, oldest first; ``position`` rises from one to the next."""
        self._read_on()
        return self._trades

    def trades_between(self, since_ms: int, until_ms: int) -> list[ExecutionReport]:
        """Return the account's trades from one moment through another, oldest first."""
        trades = self.trades()
        first = bisect_left(trades, since_ms, key=_at_ms)
        return trades[first : bisect_right(trades, until_ms, key=_at_ms)]

    def trades_of(self, number: int) -> list[ExecutionReport]:
        """Return the trades of one order, oldest first."""
        self._read_on()
        return self._of.get(number, [])

    def value_of(self, number: int) -> Decimal:
        """Return what was paid or received for what an order executed."""
        value = _ZERO
        for trade in self.trades_of(number):
            value = EXACT.add(value, EXACT.multiply(trade.last_quantity or _ZERO, trade.last_price or _ZERO))
        return value

    def balances(self, granted: Decimal) -> dict[str, tuple[Decimal, Decimal]]:
        """Return by currency what the account holds and what of that live orders bind. Of each it was ``granted`` so much."""
        totals: dict[str, Decimal] = {}
        bound: dict[str, Decimal] = {}
        for symbol in self._exchange.instruments:
            for currency in currencies_of(symbol):
                totals[currency], bound[currency] = granted, _ZERO
        for trade in self.trades():
            base, quote = currencies_of(trade.instrument)
            quantity = trade.last_quantity or _ZERO
            value = EXACT.multiply(quantity, trade.last_price or _ZERO)
            sign = 1 if trade.side is Side.BUY else -1
            totals[base] = EXACT.add(totals[base], quantity * sign)
            totals[quote] = EXACT.subtract(totals[quote], value * sign)
        for order in self.live():
            base, quote = currencies_of(order.instrument)
            leaves = order.quantity - order.cum_quantity
            if order.side is Side.SELL:
                bound[base] += leaves
            else:
                bound[quote] = EXACT.add(bound[quote], EXACT.multiply(leaves, order.price or _ZERO))
        return {currency: (total, bound[currency]) for currency, total in totals.items()}

    def changed_at_us(self, order: ExchangeOrder) -> int:
        """Return when an order was last told of, at the latest when it came (µs since 1970)."""
        self._read_on()
        return self._changed_at_us.get(order.number, order.created_at_us)


def currencies_of(symbol: str) -> tuple[str, str]:
    """Return base and quote of a unified symbol, ``BTC/USDT`` or ``BTC/USDC:USDC``."""
    base, _, quote = symbol.partition(":")[0].partition("/")
    return base, quote


def number_of(venue_order_id: str) -> int:
    """Return the exchange's number in its own spelling of it, ``X17``."""
    return int(venue_order_id[1:])


def _at_ms(trade: ExecutionReport) -> int:
    return trade.transacted_at_us // 1000
