"""Binance's user data streams: what they say of each report of the exchange.

Spot tells over its WebSocket API, after a signed subscription (``userDataStream.subscribe.signature``); futures over a
connection that is opened with a listen key. Both tell an order as it was when it happened, and nothing of the time before.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.values import OrderType, TimeInForce
from onefill.sim.imitations.binance_rest import TRADES_FROM, Binance, new_id, order_id
from onefill.sim.imitations.records import Records, Traded, number_of, totals
from onefill.sim.order_book import ExchangeOrder

_ZERO: Final = Decimal(0)
_HAPPENED: Final = {
    ExecutionKind.NEW: "NEW",
    ExecutionKind.TRADE: "TRADE",
    ExecutionKind.CANCELED: "CANCELED",
    ExecutionKind.EXPIRED: "EXPIRED",
    ExecutionKind.REJECTED: "REJECTED",
}
Event = dict[str, object]


class Told:
    """One report, put together with what the venue's event says besides. ``executed``, ``value``: of the order by then."""

    def __init__(self, order: ExchangeOrder, report: ExecutionReport, traded: Traded | None, records: Records) -> None:
        self.order = order
        self.report = report
        self.traded = traded
        trades = [one for one in records.of(order.number).trades if one.report.position <= report.position]
        self.executed, self.value = totals(trades)

    @property
    def happened(self) -> str:
        """The venue's word for what happened; empty for what it does not tell."""
        passing = self.order.order_type is OrderType.MARKET or self.order.time_in_force is not TimeInForce.GTC
        if self.report.kind is ExecutionKind.CANCELED and passing:
            return "EXPIRED"
        return _HAPPENED.get(self.report.kind, "")

    @property
    def status(self) -> str:
        """The venue's word for the order's state by then."""
        if self.report.status in LIVE:
            return "PARTIALLY_FILLED" if self.executed else "NEW"
        if self.report.status is VenueStatus.FILLED:
            return "FILLED"
        return self.happened

    def trade_id(self) -> int:
        """Return the trade's id, -1 where there is none."""
        return -1 if self.traded is None else TRADES_FROM + self.traded.match


Words = Callable[[Told], Event | None]


def news_of(venue: Binance, words: Words) -> Callable[[], Iterable[Event]]:
    """Return what yields the events of the reports that come from now on, in the words of a stream."""
    records = venue.records
    place = len(records.told(0))

    def news() -> Iterable[Event]:
        nonlocal place
        new = records.told(place)
        place += len(new)
        for report, traded in new:
            told = Told(venue.numbered(number_of(report.venue_order_id)), report, traded, records)
            event = words(told)
            if event is not None:
                yield event

    return news


def spot_words(native: Callable[[str], str], carried: Callable[[int], Decimal]) -> Words:
    """Return how spot says it (``executionReport``). ``carried``: what was executed before an order took another's place."""

    def words(told: Told) -> Event | None:
        order, report, traded = told.order, told.report, told.traded
        # An order that goes on in another's place is new; the other was cancelled.
        happened = "NEW" if report.kind is ExecutionKind.REPLACED else told.happened
        if not happened:
            return None
        by_cancel = happened == "CANCELED"
        fee = None if traded is None else report.fee
        return {
            "e": "executionReport",
            "E": report.transacted_at_us // 1000,
            "s": native(report.instrument),
            "c": new_id() if by_cancel else order.client_order_id,
            "S": order.side.upper(),
            "o": order.order_type.upper(),
            "f": order.time_in_force.upper(),
            "q": _eight(order.quantity - carried(order.number)),
            "p": _eight(order.price or _ZERO),
            "P": _eight(_ZERO),
            "F": _eight(_ZERO),
            "g": -1,
            "C": order.client_order_id if by_cancel else "",
            "x": happened,
            "X": told.status or happened,
            "r": "NONE",
            "i": order_id(order),
            "l": _eight(_ZERO if traded is None else traded.quantity),
            "z": _eight(told.executed),
            "L": _eight(_ZERO if traded is None else traded.price),
            "n": _eight(fee or _ZERO),
            "N": None if fee is None else report.fee_currency,
            "T": report.transacted_at_us // 1000,
            "t": told.trade_id(),
            "I": report.position,
            "w": report.status in LIVE,
            "m": traded is not None and traded.maker,
            "M": False,
            "O": order.created_at_us // 1000,
            "Z": _eight(told.value),
            "Y": _eight(_ZERO if traded is None else traded.value),
            "Q": _eight(_ZERO),
            "W": order.created_at_us // 1000,
            "V": "NONE",
        }

    return words


def usdm_words(native: Callable[[str], str]) -> Words:
    """Return how futures say it (``ORDER_TRADE_UPDATE``)."""

    def words(told: Told) -> Event | None:
        order, report, traded = told.order, told.report, told.traded
        happened = "AMENDMENT" if report.kind is ExecutionKind.REPLACED else told.happened
        if not happened:
            return None
        average = told.value / told.executed if told.executed else _ZERO
        at_ms = report.transacted_at_us // 1000
        shown: Event = {
            "s": native(report.instrument),
            "c": order.client_order_id,
            "S": order.side.upper(),
            "o": order.order_type.upper(),
            "f": order.time_in_force.upper(),
            "q": f"{order.quantity if report.order_quantity is None else report.order_quantity:f}",
            "p": f"{(order.price if report.order_price is None else report.order_price) or _ZERO:f}",
            "ap": format(average, ".5f"),
            "sp": "0",
            "x": happened,
            "X": told.status or "NEW",
            "i": order_id(order),
            "l": f"{_ZERO if traded is None else traded.quantity:f}",
            "z": f"{told.executed:f}",
            "L": f"{_ZERO if traded is None else traded.price:f}",
            "T": at_ms,
            "t": max(told.trade_id(), 0),
            "b": "0",
            "a": "0",
            "m": traded is not None and traded.maker,
            "R": False,
            "wt": "CONTRACT_PRICE",
            "ot": order.order_type.upper(),
            "ps": "BOTH",
            "cp": False,
            "rp": "0",
            "pP": False,
            "si": 0,
            "ss": 0,
            "V": "NONE",
            "pm": "NONE",
            "gtd": 0,
        }
        if traded is not None:
            shown |= {"N": report.fee_currency or "USDT", "n": f"{report.fee or _ZERO:f}"}
        return {"e": "ORDER_TRADE_UPDATE", "E": at_ms, "T": at_ms, "o": shown}

    return words


def _eight(number: Decimal) -> str:
    return format(number, ".8f")
