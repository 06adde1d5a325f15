"""How the imitation of Coinbase writes products, orders and fills."""

import datetime as dt
import re
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, Final

from onefill.core.messages import VenueStatus
from onefill.core.values import Instrument, OrderType, TimeInForce, plain
from onefill.sim.imitations.records import OrderRecord, Traded, scrambled
from onefill.sim.order_book import ExchangeOrder

_WIDE: Final = Context(prec=60, rounding=ROUND_DOWN)
_HEX: Final = "0123456789abcdef"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
STATES: Final = {
    VenueStatus.PENDING_NEW: "PENDING",
    VenueStatus.NEW: "OPEN",
    VenueStatus.PARTIALLY_FILLED: "OPEN",
    VenueStatus.FILLED: "FILLED",
    VenueStatus.CANCELED: "CANCELLED",
    VenueStatus.EXPIRED: "EXPIRED",
    VenueStatus.REJECTED: "FAILED",
}
_FORCES: Final = {
    TimeInForce.GTC: "GOOD_UNTIL_CANCELLED",
    TimeInForce.IOC: "IMMEDIATE_OR_CANCEL",
    TimeInForce.FOK: "FILL_OR_KILL",
}


class Product:
    """What can be traded, in the venue's words."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.base, _, self.quote = instrument.symbol.partition("/")
        self.name = f"{self.base}-{self.quote}"

    def body(self) -> dict[str, Any]:
        """Return the product as it is listed."""
        tick = plain(self.instrument.price_tick)
        return {
            "product_id": self.name,
            "price": "",
            "base_increment": plain(self.instrument.quantity_step),
            "quote_increment": tick,
            "price_increment": tick,
            "quote_min_size": "0.01",
            "quote_max_size": "150000000",
            "base_min_size": plain(self.instrument.min_quantity),
            "base_max_size": "100000000",
            "base_name": self.base,
            "quote_name": self.quote,
            "is_disabled": False,
            "status": "online",
            "trading_disabled": False,
            "product_type": "SPOT",
            "quote_currency_id": self.quote,
            "base_currency_id": self.base,
            "alias": "",
            "alias_to": [],
            "display_name": self.name,
        }


def order_body(record: OrderRecord, product: Product, kind: str, written: dict[str, Any]) -> dict[str, Any]:
    """Return an order as it is listed. ``kind`` and ``written`` are its configuration as it came."""
    order = record.order
    configured = dict(written)
    if "base_size" in written:
        configured["base_size"] = plain(order.quantity)
    if order.price is not None:
        configured["limit_price"] = plain(order.price)
    done = order.cum_quantity
    return {
        "order_id": record.native,
        "product_id": product.name,
        "user_id": uuid_of("user"),
        "order_configuration": {kind: configured},
        "side": order.side.value.upper(),
        "client_order_id": record.client_id,
        "status": STATES[order.status],
        "time_in_force": _FORCES[order.time_in_force],
        "created_time": moment(record.created_at_us),
        "completion_percentage": plain(
            _WIDE.divide(100 * done, order.quantity).quantize(Decimal("0.01"), context=_WIDE)
        ),
        "filled_size": plain(done),
        "average_filled_price": average(record.value, done),
        "fee": "",
        "number_of_fills": str(len(record.trades)),
        "filled_value": plain(record.value),
        "pending_cancel": False,
        "size_in_quote": "quote_size" in written,
        "total_fees": "0",
        "size_inclusive_of_fees": False,
        "total_value_after_fees": plain(record.value),
        "trigger_status": "INVALID_ORDER_TYPE",
        "order_type": "LIMIT" if order.order_type is OrderType.LIMIT else "MARKET",
        "reject_reason": "REJECT_REASON_UNSPECIFIED",
        "settled": order.status is VenueStatus.FILLED,
        "product_type": "SPOT",
        "reject_message": "",
        "cancel_message": order.reason or "",
        "last_fill_time": moment(record.trades[-1].report.transacted_at_us) if record.trades else None,
    }


def fill_body(traded: Traded, record: OrderRecord, product: Product) -> dict[str, Any]:
    """Return a fill of an order as it is listed."""
    report = traded.report
    at = moment(report.transacted_at_us)
    return {
        "entry_id": scrambled(f"record {report.position}", 64, _HEX),
        "trade_id": uuid_of(f"trade {report.position}"),
        "order_id": record.native,
        "trade_time": at,
        "trade_type": "FILL",
        "price": plain(traded.price),
        "size": plain(traded.quantity),
        "commission": plain(report.fee or Decimal(0)),
        "product_id": product.name,
        "sequence_timestamp": at,
        "liquidity_indicator": "UNKNOWN_LIQUIDITY_INDICATOR",
        "size_in_quote": False,
        "user_id": uuid_of("user"),
        "side": report.side.value.upper(),
    }


def average(value: Decimal, quantity: Decimal) -> str:
    """Return the average price of what was executed, as text."""
    return plain(_WIDE.divide(value, quantity)) if quantity else "0"


def order_number(order: ExchangeOrder) -> str:
    """Return the venue's number of an order."""
    return uuid_of(f"order {order.venue_order_id}")


def uuid_of(text: str) -> str:
    """Return something in the form of a UUID that stands for ``text``, always the same."""
    drawn = scrambled(text, 32, _HEX)
    return "-".join((drawn[:8], drawn[8:12], drawn[12:16], drawn[16:20], drawn[20:]))


def client_id_of(text: str) -> str:
    """Return a client's id as the exchange's core keeps it. A UUID is the same with and without hyphens."""
    return text.replace("-", "") if _UUID.fullmatch(text) else text


def moment(at_us: int) -> str:
    """Return a moment in µs since 1970 as text."""
    return f"{dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC):%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06d}Z"


def moment_us(text: str) -> int:
    """Return a moment written so, in µs since 1970; text that is none is before all time."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return -1
    return (at - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1) if at.tzinfo else -1
