"""How the imitation of Bybit spells orders, trades and instruments, in its answers and in its streams."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from onefill.core.messages import LIVE, VenueStatus
from onefill.core.values import Instrument, OrderType, plain
from onefill.sim.imitations.records import OrderRecord, Traded, currencies_of
from onefill.sim.order_book import ExchangeOrder

_FIRST_ORDER: Final = 1_321_052_653_536_515_584
_FIRST_EXECUTION: Final = 2_210_000_000_097_330_907
_ZERO: Final = Decimal(0)
_STATES: Final[Mapping[VenueStatus, str]] = {
    VenueStatus.PENDING_NEW: "Created",
    VenueStatus.NEW: "New",
    VenueStatus.PARTIALLY_FILLED: "PartiallyFilled",
    VenueStatus.FILLED: "Filled",
    VenueStatus.REJECTED: "Rejected",
}


def market_id(symbol: str) -> str:
    """Return what the venue calls an instrument."""
    return "".join(currencies_of(symbol))


def native(order: ExchangeOrder) -> str:
    """Return the venue's number of an order."""
    return str(_FIRST_ORDER + order.number)


def state_of(order: ExchangeOrder) -> str:
    """Return the state of an order in the venue's words."""
    if order.status in _STATES:
        return _STATES[order.status]
    return "PartiallyFilledCanceled" if order.cum_quantity else "Cancelled"


def shown_instrument(one: Instrument) -> dict[str, Any]:
    """Return an instrument as the list of instruments shows it."""
    base, quote_coin = currencies_of(one.symbol)
    return {
        "symbol": base + quote_coin,
        "baseCoin": base,
        "quoteCoin": quote_coin,
        "status": "Trading",
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": plain(one.quantity_step),
            "quotePrecision": "0.00000001",
            "minOrderQty": plain(one.min_quantity),
        },
        "priceFilter": {"tickSize": plain(one.price_tick)},
    }


def shown_order(record: OrderRecord) -> dict[str, Any]:
    """Return an order as lists and streams show it."""
    order, value = record.order, record.value
    live = order.status in LIVE
    return {
        "symbol": market_id(order.instrument),
        "orderId": record.native,
        "orderLinkId": record.client_id or "",
        "orderType": order.order_type.capitalize(),
        "side": order.side.capitalize(),
        "orderStatus": state_of(order),
        "timeInForce": order.time_in_force.upper(),
        "marketUnit": "baseCoin" if order.order_type is OrderType.MARKET else "",
        "price": plain(order.price or _ZERO),
        "qty": plain(order.quantity),
        "cumExecQty": plain(order.cum_quantity),
        "cumExecValue": plain(value),
        "avgPrice": plain(value / order.cum_quantity) if order.cum_quantity else "",
        "leavesQty": plain(order.quantity - order.cum_quantity if live else _ZERO),
        "rejectReason": order.reason or "EC_NoError",
        "cancelType": "CancelByUser" if order.status is VenueStatus.CANCELED else "UNKNOWN",
        "createdTime": str(order.created_at_us // 1000),
        "updatedTime": str(record.changed_at_us // 1000),
        "cumExecFee": "0",
    }


def shown_trade(traded: Traded, record: OrderRecord) -> dict[str, Any]:
    """Return a trade, likewise, and the order that it is of."""
    order, trade = record.order, traded.report
    fee = {} if trade.fee is None else {"feeCoin": trade.fee_currency}
    return {
        **fee,
        "symbol": market_id(trade.instrument),
        "orderId": record.native,
        "orderLinkId": record.client_id or "",
        "orderType": order.order_type.capitalize(),
        "orderPrice": plain(order.price or _ZERO),
        "orderQty": plain(order.quantity),
        "leavesQty": plain(trade.leaves_quantity),
        "side": trade.side.capitalize(),
        "execType": "Trade",
        "execId": str(_FIRST_EXECUTION + trade.position),
        "execPrice": plain(traded.price),
        "execQty": plain(traded.quantity),
        "execValue": plain(traded.value),
        "execFee": plain(trade.fee or _ZERO),
        "execTime": str(traded.at_ms),
    }
