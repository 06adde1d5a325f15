"""The words of OKX's v5 API: instruments, states, refusals; how orders, fills and positions are written. Numbers are text."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from aiohttp import web

from onefill.core.messages import VenueStatus
from onefill.core.values import Instrument, OrderType, TimeInForce
from onefill.sim.exchange_http import encode
from onefill.sim.imitations.records import OrderRecord, Traded, totals

API: Final = "/api/v5"
SWAP: Final = Instrument(
    symbol="BTC/USDT:USDT", price_tick=Decimal("0.1"), quantity_step=Decimal("0.01"), min_quantity=Decimal("0.01")
)
"""A linear perpetual: sizes are in contracts of a hundredth of a bitcoin."""

ORDER_TYPES: Final = {
    "market": (OrderType.MARKET, TimeInForce.IOC),
    "limit": (OrderType.LIMIT, TimeInForce.GTC),
    "ioc": (OrderType.LIMIT, TimeInForce.IOC),
    "fok": (OrderType.LIMIT, TimeInForce.FOK),
}
_SPELT: Final = {meant: word for word, meant in ORDER_TYPES.items()}
_STATES: Final = {
    VenueStatus.PENDING_NEW: "live",
    VenueStatus.NEW: "live",
    VenueStatus.PARTIALLY_FILLED: "partially_filled",
    VenueStatus.FILLED: "filled",
    VenueStatus.CANCELED: "canceled",
    VenueStatus.EXPIRED: "canceled",
    VenueStatus.REJECTED: "canceled",
}
REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "unknown_instrument": ("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."),
    "invalid_client_order_id": ("51000", "Parameter clOrdId error"),
    "invalid_quantity": ("51000", "Parameter sz error"),
    "invalid_price": ("51000", "Parameter px error"),
    "price_required": ("51000", "Parameter px error"),
    "off_grid_quantity": ("51121", "Order quantity must be a multiple of the lot size."),
    "quantity_too_large": ("51202", "Market order amount exceeds the maximum amount."),
    "below_minimum": ("51020", "Your order should meet or exceed the minimum order amount."),
    "off_grid_price": ("51000", "Parameter px error"),
    "price_too_large": ("51006", "Order price is not within the price limit."),
}
"""sCode and sMsg by the exchange's own code."""
NO_SUCH: Final = ("51603", "Order does not exist")
TAKEN: Final = ("51016", "Client order ID already exists.")
EXPIRED: Final = (
    "50036",
    "The expTime can't be earlier than the current system time. Please adjust the expTime and try again.",
)
TOO_MANY: Final = ("50011", "Rate limit reached. Please refer to API documentation and throttle requests accordingly")
_AVERAGE: Final = Context(prec=20, rounding=ROUND_HALF_EVEN)
_SERIAL: Final = 1_753_197_687_182_819_000
_MATCHES: Final = 242_589_000


def inst_id(symbol: str) -> str:
    """Return what the venue calls a symbol of ccxt's: ``BTC-USDT`` for ``BTC/USDT``, ``BTC-USDT-SWAP`` for a swap."""
    pair, _, settled = symbol.partition(":")
    return pair.replace("/", "-") + ("-SWAP" if settled else "")


def inst_type(symbol: str) -> str:
    """Return the kind of an instrument, in the venue's word."""
    return "SWAP" if ":" in symbol else "SPOT"


def ord_id(number: int) -> str:
    """Return the venue's id of an order."""
    return str(_SERIAL + number)


def number_in(given: str) -> int:
    """Return the exchange's number of the order with this id, 0 if it is no id."""
    return max(0, int(given) - _SERIAL) if given.isascii() and given.isdecimal() and len(given) < 30 else 0


def bill_id(traded: Traded) -> int:
    """Return the number of a fill in the account's book: rising from one to the next, unlike that of the trade."""
    return _SERIAL + traded.report.position


def listing(instrument: Instrument) -> dict[str, str]:
    """Return an instrument as ``public/instruments`` lists it."""
    pair, _, settled = instrument.symbol.partition(":")
    base, _, quote = pair.partition("/")
    return {
        "instId": inst_id(instrument.symbol),
        "instType": inst_type(instrument.symbol),
        "baseCcy": "" if settled else base,
        "quoteCcy": "" if settled else quote,
        "settleCcy": settled,
        "uly": pair.replace("/", "-") if settled else "",
        "instFamily": pair.replace("/", "-") if settled else "",
        "ctType": "linear" if settled else "",
        "ctVal": "0.01" if settled else "",
        "ctValCcy": base if settled else "",
        "lotSz": f"{instrument.quantity_step:f}",
        "minSz": f"{instrument.min_quantity:f}",
        "tickSz": f"{instrument.price_tick:f}",
        "lever": "10",
        "state": "live",
        "listTime": "1548133413000",
        "expTime": "",
        "maxLmtSz": "9999999999",
        "maxMktSz": "1000000",
    }


def state_word(status: VenueStatus) -> str:
    """Return the venue's word for an order's state."""
    return _STATES[status]


def average(trades: Sequence[Traded]) -> str:
    """Return the average price of fills, empty for none."""
    filled, value = totals(trades)
    return f"{_AVERAGE.divide(value, filled):f}" if filled else ""


def shown_order(record: OrderRecord) -> dict[str, str]:
    """Return an order as every list and look-up shows it."""
    order, last = record.order, record.trades[-1] if record.trades else None
    order_type = "market" if order.order_type is OrderType.MARKET else _SPELT[order.order_type, order.time_in_force]
    return {
        "ordId": ord_id(order.number),
        "clOrdId": record.client_id or "",
        "instId": inst_id(order.instrument),
        "instType": inst_type(order.instrument),
        "side": order.side.value,
        "posSide": "net",
        "tdMode": "cross" if ":" in order.instrument else "cash",
        "ordType": order_type,
        "tgtCcy": "base_ccy" if order_type == "market" and ":" not in order.instrument else "",
        "px": "" if order.price is None else f"{order.price:f}",
        "sz": f"{order.quantity:f}",
        "accFillSz": f"{order.cum_quantity:f}",
        "avgPx": average(record.trades),
        "fillPx": f"{last.price:f}" if last else "",
        "fillSz": f"{last.quantity:f}" if last else "0",
        "fillTime": str(last.at_ms) if last else "",
        "tradeId": str(_MATCHES + last.match) if last else "",
        "state": state_word(order.status),
        "fee": "0",
        "feeCcy": "",
        "cancelSource": "1" if order.status is VenueStatus.CANCELED else "",
        "reduceOnly": "false",
        "tag": "",
        "cTime": str(order.created_at_us // 1000),
        "uTime": str((record.changed_at_us) // 1000),
    }


def shown_fill(traded: Traded, client_id: str) -> dict[str, str]:
    """Return a fill as the lists show it. Both sides of a match carry its ``tradeId``; a ``billId`` is one side's own."""
    report = traded.report
    fee = report.fee or Decimal(0)
    return {
        "instId": inst_id(report.instrument),
        "instType": inst_type(report.instrument),
        "tradeId": str(_MATCHES + traded.match),
        "ordId": ord_id(traded.number),
        "clOrdId": client_id,
        "billId": str(bill_id(traded)),
        "side": report.side.value,
        "posSide": "net",
        "fillPx": f"{traded.price:f}",
        "fillSz": f"{traded.quantity:f}",
        "execType": "M" if traded.maker else "T",
        "fee": f"{-fee:f}",
        "feeCcy": report.fee_currency or report.instrument.partition(":")[0].partition("/")[2],
        "ts": str(traded.at_ms),
        "fillTime": str(traded.at_ms),
        "tag": "",
    }


def shown_last_fill(traded: Traded) -> dict[str, str]:
    """Return a fill as the message of its order tells it; a fee that was paid is below zero."""
    fill = shown_fill(traded, "")
    return {
        "tradeId": fill["tradeId"],
        "fillPx": fill["fillPx"],
        "fillSz": fill["fillSz"],
        "fillTime": fill["fillTime"],
        "execType": fill["execType"],
        "fillFee": fill["fee"],
        "fillFeeCcy": fill["feeCcy"],
    }


def position(symbol: str, held: Decimal) -> dict[str, str]:
    """Return what is held of a contract, in net mode: below zero short."""
    return {
        "instId": inst_id(symbol),
        "instType": inst_type(symbol),
        "posSide": "net",
        "pos": f"{held:f}",
        "posId": "1",
        "mgnMode": "cross",
        "avgPx": "",
        "markPx": "",
        "notionalUsd": "",
        "upl": "",
        "lever": "10",
        "imr": "",
        "mmr": "",
    }


def did(number: int, client_id: str, at_us: int) -> dict[str, str]:
    """Return that an order, an amend or a cancel was taken: the ids, and nothing of the order."""
    return {
        "ordId": ord_id(number),
        "clOrdId": client_id,
        "tag": "",
        "reqId": "",
        "ts": str(at_us // 1000),
        "sCode": "0",
        "sMsg": "",
    }


def did_not(why: tuple[str, str], ord_id: str, client_id: str) -> dict[str, str]:
    """Return why an order, an amend or a cancel was not taken."""
    return {"ordId": ord_id, "clOrdId": client_id, "tag": "", "reqId": "", "sCode": why[0], "sMsg": why[1]}


def answer(data: Sequence[Mapping[str, Any]]) -> web.Response:
    """Return what a question gets."""
    return _reply({"code": "0", "msg": "", "data": list(data)})


def results(data: Sequence[Mapping[str, str]]) -> web.Response:
    """Return what requests get: code 0 if all were taken, 1 if none was, 2 if some were. HTTP 200 in any case."""
    failed = sum(one["sCode"] != "0" for one in data)
    code = "0" if not failed else "1" if failed == len(data) else "2"
    message = {"0": "", "1": "All operations failed", "2": "Bulk operation partially succeeded."}[code]
    return _reply({"code": code, "msg": message, "data": list(data)})


def refusal(why: tuple[str, str], status: int = 200) -> web.Response:
    """Return what a request gets that was refused as a whole."""
    return _reply({"code": why[0], "msg": why[1], "data": []}, status)


def _reply(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type="application/json")
