"""The words of Deribit's API: instruments, numbers, states, errors, and how orders and trades are written."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

import msgspec
from aiohttp import web

from onefill.core.messages import ExecutionReport, VenueStatus
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.sim.exchange_http import encode
from onefill.sim.imitations.records import OrderRecord, Traded, totals
from onefill.sim.order_book import ExchangeOrder

API: Final = "/api/v2"
PERPETUAL: Final = Instrument(
    symbol="BTC/USDC:USDC",
    price_tick=Decimal(1),
    quantity_step=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
)
"""A linear perpetual: amounts are in its base currency."""

TIMES_IN_FORCE: Final = {
    "good_til_cancelled": TimeInForce.GTC,
    "immediate_or_cancel": TimeInForce.IOC,
    "fill_or_kill": TimeInForce.FOK,
}
_SPELT: Final = {meant: word for word, meant in TIMES_IN_FORCE.items()}
_STATES: Final = {
    VenueStatus.PENDING_NEW: "open",
    VenueStatus.NEW: "open",
    VenueStatus.PARTIALLY_FILLED: "open",
    VenueStatus.FILLED: "filled",
    VenueStatus.CANCELED: "cancelled",
    VenueStatus.EXPIRED: "cancelled",
    VenueStatus.REJECTED: "rejected",
}
REFUSALS: Final[Mapping[str, tuple[int, str]]] = {
    "unknown_instrument": (13020, "not_found"),
    "invalid_quantity": (10021, "invalid_amount"),
    "off_grid_quantity": (10021, "invalid_amount"),
    "quantity_too_large": (10021, "invalid_amount"),
    "below_minimum": (10002, "qty_too_low"),
    "off_grid_price": (10043, "price_wrong_tick"),
    "price_too_large": (10007, "price_too_high"),
    "invalid_price": (10023, "invalid_price"),
    "price_required": (10023, "invalid_price"),
}
"""Code and short message by the exchange's own code."""
_AVERAGE: Final = Context(prec=20, rounding=ROUND_HALF_EVEN)
_SERIAL: Final = 4_008_000_000
"""Order numbers begin above it, so that none looks like a small number of somebody else's."""


def plain(value: Decimal) -> msgspec.Raw:
    """Return a number as it stands in JSON, every digit of it."""
    return msgspec.Raw(f"{value:f}".encode())


def instrument_name(symbol: str) -> str:
    """Return what the venue calls a symbol of ccxt's: ``BTC_USDT`` for ``BTC/USDT``, ``BTC_USDC-PERPETUAL`` for a swap."""
    pair, _, settled = symbol.partition(":")
    return pair.replace("/", "_") + ("-PERPETUAL" if settled else "")


def currency_of(symbol: str) -> str:
    """Return the currency under which an instrument is listed: what a contract is settled in, else its base."""
    pair, _, settled = symbol.partition(":")
    return settled or pair.partition("/")[0]


def order_id(order: ExchangeOrder) -> str:
    """Return the venue's id of an order."""
    return f"{instrument_name(order.instrument).partition('-')[0]}-{_SERIAL + order.number}"


def listing(instrument: Instrument) -> dict[str, Any]:
    """Return an instrument as ``public/get_instruments`` lists it."""
    pair, _, settled = instrument.symbol.partition(":")
    base, _, quote = pair.partition("/")
    shown: dict[str, Any] = {
        "instrument_name": instrument_name(instrument.symbol),
        "kind": "future" if settled else "spot",
        "base_currency": base,
        "quote_currency": quote,
        "counter_currency": quote,
        "price_index": pair.replace("/", "_").lower(),
        "tick_size": plain(instrument.price_tick),
        "min_trade_amount": plain(instrument.min_quantity),
        "contract_size": plain(instrument.quantity_step),
        "taker_commission": msgspec.Raw(b"0.0005"),
        "maker_commission": msgspec.Raw(b"0.0000"),
        "is_active": True,
        "state": "open",
        "creation_timestamp": 1_534_242_287_000,
        "expiration_timestamp": 32_503_708_800_000,
    }
    if settled:
        shown |= {"settlement_currency": settled, "settlement_period": "perpetual", "future_type": "linear"}
    return shown


def shown_order(record: OrderRecord) -> dict[str, Any]:
    """Return an order as every method shows it. Raises KeyError for a state that the venue has not."""
    order = record.order
    market = order.order_type is OrderType.MARKET
    shown: dict[str, Any] = {
        "order_id": record.native,
        "label": record.client_id or "",
        "instrument_name": instrument_name(order.instrument),
        "direction": order.side.value,
        "order_type": order.order_type.value,
        "order_state": _STATES[order.status],
        "time_in_force": _SPELT[order.time_in_force],
        "price": "market_price" if market or order.price is None else plain(order.price),
        "amount": plain(order.quantity),
        "filled_amount": plain(order.cum_quantity),
        "average_price": average(record.trades),
        "creation_timestamp": order.created_at_us // 1000,
        "last_update_timestamp": record.changed_at_us // 1000,
        "api": True,
        "web": False,
        "post_only": False,
        "reduce_only": False,
        "replaced": False,
        "is_liquidation": False,
    }
    if order.status is VenueStatus.CANCELED:
        shown["cancel_reason"] = "user_request"
    return shown


def average(trades: Sequence[Traded]) -> msgspec.Raw:
    """Return the average price of trades, 0 of none."""
    filled, value = totals(trades)
    return plain(_AVERAGE.divide(value, filled) if filled else Decimal(0))


def order_by_then(record: OrderRecord, report: ExecutionReport) -> dict[str, Any]:
    """Return an order as it was when it was reported."""
    before = [one for one in record.trades if one.report.position <= report.position]
    return {
        **shown_order(record),
        "order_state": _STATES[report.status],
        "filled_amount": plain(report.cum_quantity),
        "average_price": average(before),
        "last_update_timestamp": report.transacted_at_us // 1000,
    }


def shown_trade(traded: Traded, record: OrderRecord) -> dict[str, Any]:
    """Return a trade as every method shows it. Both sides of a match carry its id and its place in the sequence."""
    trade, name = traded.report, instrument_name(traded.report.instrument)
    quote = trade.instrument.partition(":")[0].partition("/")[2]
    return {
        "trade_id": f"{name.partition('-')[0]}-{traded.match}",
        "trade_seq": traded.match,
        "order_id": record.native,
        "label": record.client_id or "",
        "instrument_name": name,
        "direction": trade.side.value,
        "order_type": record.order.order_type.value,
        "price": plain(traded.price),
        "amount": plain(traded.quantity),
        "fee": plain(trade.fee or Decimal(0)),
        "fee_currency": trade.fee_currency or quote,
        "timestamp": traded.at_ms,
        "state": _STATES[trade.status],
        "liquidity": "M" if traded.maker else "T",
        "tick_direction": 0,
        "index_price": plain(traded.price),
        "matching_id": None,
        "post_only": False,
        "reduce_only": False,
        "api": True,
    }


def position(symbol: str, held: Decimal) -> dict[str, Any]:
    """Return what is held of a contract."""
    zero = plain(Decimal(0))
    return {
        "instrument_name": instrument_name(symbol),
        "kind": "future",
        "size": plain(held),
        "size_currency": plain(held),
        "direction": Side.BUY.value if held > 0 else Side.SELL.value,
        "average_price": zero,
        "mark_price": zero,
        "index_price": zero,
        "initial_margin": zero,
        "maintenance_margin": zero,
        "floating_profit_loss": zero,
        "realized_profit_loss": zero,
        "total_profit_loss": zero,
        "leverage": 50,
    }


def result(value: object, now_us: int) -> web.Response:
    """Return a success."""
    body = {"jsonrpc": "2.0", "result": value, "usIn": now_us, "usOut": now_us, "usDiff": 0, "testnet": False}
    return web.Response(body=encode(body), content_type="application/json")


def error(code: int, message: str, status: int = 400, data: Mapping[str, str] | None = None) -> web.Response:
    """Return a refusal: JSON-RPC's error object under an HTTP status of 400."""
    what: dict[str, object] = {"code": code, "message": message}
    if data:
        what["data"] = data
    body = {"jsonrpc": "2.0", "error": what, "testnet": False}
    return web.Response(status=status, body=encode(body), content_type="application/json")
