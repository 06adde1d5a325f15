"""How the imitation of Kraken writes pairs, orders and trades."""

import datetime as dt
from collections.abc import Iterator
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, Final

from onefill.core.messages import VenueStatus
from onefill.core.values import Instrument, OrderType
from onefill.sim.imitations.base import decimals_of
from onefill.sim.imitations.records import OrderRecord, Traded, scrambled
from onefill.sim.order_book import ExchangeOrder

_ASSETS: Final = {
    "BTC": ("XXBT", "XBT"),
    "ETH": ("XETH", "ETH"),
    "USD": ("ZUSD", "USD"),
    "EUR": ("ZEUR", "EUR"),
}
"""What the venue calls assets, and their other names. Newer ones have no letter in front and are called what they are."""
_WIDE: Final = Context(prec=100, rounding=ROUND_DOWN)
_STATES: Final = {
    VenueStatus.PENDING_NEW: "pending",
    VenueStatus.NEW: "open",
    VenueStatus.PARTIALLY_FILLED: "open",
    VenueStatus.FILLED: "closed",
    VenueStatus.CANCELED: "canceled",
    VenueStatus.EXPIRED: "expired",
}


class Pair:
    """A tradable pair, in the venue's words."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        base, _, quote = instrument.symbol.partition("/")
        self.base, base_alias = _ASSETS.get(base, (base, base))
        self.quote, quote_alias = _ASSETS.get(quote, (quote, quote))
        self.altname = f"{base_alias}{quote_alias}"
        old = self.base != base_alias and self.quote != quote_alias
        self.name = f"{self.base}{self.quote}" if old else self.altname
        self.wsname = f"{base_alias}/{quote_alias}"
        self._aliases = ((self.base, base_alias), (self.quote, quote_alias))
        self.price_decimals = decimals_of(instrument.price_tick)
        self.lot_decimals = decimals_of(instrument.quantity_step)

    def body(self) -> dict[str, Any]:
        """Return the pair as AssetPairs shows it."""
        return {
            "altname": self.altname,
            "wsname": self.wsname,
            "aclass_base": "currency",
            "base": self.base,
            "aclass_quote": "currency",
            "quote": self.quote,
            "lot": "unit",
            "pair_decimals": self.price_decimals,
            "lot_decimals": self.lot_decimals,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, 0]],
            "fees_maker": [[0, 0]],
            "ordermin": amount(self.instrument.min_quantity, self.lot_decimals),
            "tick_size": amount(self.instrument.price_tick, self.price_decimals),
            "status": "online",
        }

    def assets(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the pair's two assets as Assets shows them."""
        for name, alias in self._aliases:
            yield name, {"aclass": "currency", "altname": alias, "decimals": 10, "status": "enabled"}


def order_body(record: OrderRecord, pair: Pair, *, with_trades: bool = False) -> dict[str, Any]:
    """Return an order as OpenOrders, ClosedOrders and QueryOrders show it."""
    order = record.order
    volume = amount(order.quantity, pair.lot_decimals)
    price = amount(order.price, pair.price_decimals) if order.price is not None else "0"
    limit = f"limit {price}" if order.order_type is OrderType.LIMIT else "market"
    body: dict[str, Any] = {
        "refid": None,
        "userref": None,
        "cl_ord_id": record.client_id,
        "status": _STATES[order.status],
        "reason": order.reason,
        "opentm": record.created_at_us / 1_000_000,
        "starttm": 0,
        "expiretm": 0,
        "descr": {
            "pair": pair.altname,
            "type": order.side.value,
            "ordertype": order.order_type.value,
            "price": price,
            "price2": "0",
            "leverage": "none",
            "order": f"{order.side} {volume} {pair.altname} @ {limit}",
            "close": "",
        },
        "vol": volume,
        "vol_exec": amount(order.cum_quantity, pair.lot_decimals),
        "cost": amount(record.value, pair.price_decimals),
        "fee": "0.00000",
        "price": amount(_average(record.value, order.cum_quantity), pair.price_decimals),
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "",
        "oflags": "fciq",
    }
    if record.ended_at_us is not None:
        body["closetm"] = record.ended_at_us / 1_000_000
    if with_trades:
        body["trades"] = [trade_id(traded) for traded in record.trades]
    return body


def trade_body(traded: Traded, record: OrderRecord, pair: Pair) -> dict[str, Any]:
    """Return a trade of an order as TradesHistory shows it."""
    report = traded.report
    return {
        "ordertxid": record.native,
        "postxid": spread_out("T", f"position {record.native}"),
        "pair": pair.name,
        "time": report.transacted_at_us / 1_000_000,
        "type": report.side.value,
        "ordertype": record.order.order_type.value,
        "price": amount(traded.price, pair.price_decimals),
        "cost": amount(traded.value, pair.price_decimals),
        "fee": amount(report.fee or Decimal(0), 5),
        "vol": amount(traded.quantity, pair.lot_decimals),
        "margin": "0.00000",
        "misc": "",
        "trade_id": report.position,
    }


def txid(order: ExchangeOrder) -> str:
    """Return the venue's number of an order."""
    return spread_out("O", f"order {order.venue_order_id}")


def trade_id(traded: Traded) -> str:
    """Return the venue's id of a trade."""
    return spread_out("T", f"trade {traded.report.position}")


def spread_out(letter: str, text: str) -> str:
    """Return an id in the venue's form, such as ``OQCLML-BW3P3-BUCMWZ``."""
    drawn = scrambled(text, 16)
    return f"{letter}{drawn[:5]}-{drawn[5:10]}-{drawn[10:]}"


def amount(number: Decimal, decimals: int) -> str:
    """Return a number with so many decimals. What is behind them is cut off, as the venue does with values."""
    return format(number.quantize(Decimal(1).scaleb(-decimals), context=_WIDE), "f")


def seconds(text: str) -> int:
    """Return a moment that is written in seconds since 1970, in µs; text that is no number is before all time."""
    try:
        return int(Decimal(text) * 1_000_000)
    except ArithmeticError:
        return -1


def moment(at_us: int) -> str:
    """Return a moment in µs since 1970 as text (RFC 3339)."""
    return f"{dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC):%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06d}Z"


def _average(value: Decimal, quantity: Decimal) -> Decimal:
    return _WIDE.divide(value, quantity) if quantity else Decimal(0)
