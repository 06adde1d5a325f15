"""What a call of an exchange library's means: its key, the order it wants, and what it may not bring along.

The guard (:mod:`onefill.guarding`) stands in front of a client object that somebody else's code calls. What is decided about a
call is decided here, from values alone.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField, KeyMissing, NotGuarded
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.core.values import OrderType, TimeInForce, plain

KEY: Final = "key"
"""Under this name a call brings its key, as a keyword or among its ``params``."""


class Keys(StrEnum):
    """What becomes of a call that brings no key."""

    REQUIRED = "required"
    """It is refused."""
    DERIVED = "derived"
    """It gets one, from its content, the place it was called from, and the time."""


# ----------------------------------------------------------------------- methods

GUARDED: Final = frozenset({"create_order", "cancel_order", "edit_order"})
HELPERS: Final = frozenset(
    {
        "create_limit_order",
        "create_limit_buy_order",
        "create_limit_sell_order",
        "create_market_order",
        "create_market_buy_order",
        "create_market_sell_order",
        "create_post_only_order",
        "create_reduce_only_order",
        "create_stop_order",
        "create_stop_limit_order",
        "create_stop_market_order",
        "create_stop_loss_order",
        "create_take_profit_order",
        "create_trigger_order",
        "create_trailing_amount_order",
        "create_trailing_percent_order",
        "create_order_with_take_profit_and_stop_loss",
        "edit_limit_order",
        "edit_limit_buy_order",
        "edit_limit_sell_order",
        "edit_order_with_client_order_id",
        "cancel_order_with_client_order_id",
        "cancel_unified_order",
    }
)
"""The library's own short forms: they end in one of the guarded methods."""
_PLACING: Final = re.compile(r"(create|edit)_(\w+_)?orders?(_ws|_with_\w+)?")
_PLACING_TOO: Final = frozenset({"close_position", "close_all_positions", "create_convert_trade"})


def goes_past(method: str) -> bool:
    """Tell whether a method (in snake case) would place or change orders past the guarded ones."""
    if method in GUARDED or method in HELPERS:
        return False
    return method in _PLACING_TOO or _PLACING.fullmatch(method) is not None


def camel_case(method: str) -> str:
    """Return the library's other name of a method: ``createOrder`` for ``create_order``."""
    first, *rest = method.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def refused_method(exchange: str, method: str) -> NotGuarded:
    """Return the refusal of a method that goes past the guard."""
    return NotGuarded(
        method,
        f"{exchange}.{method}() places or changes orders past the guard; nothing was sent. Use create_order, cancel_order or "
        f"edit_order, or, if a repeat of it may have its effect twice, allow it: onefill.guard(..., allow=({method!r},))",
    )


# -------------------------------------------------------------------------- keys


def take_key(params: Mapping[str, Any] | None, keyword: str | None) -> tuple[str | None, dict[str, Any]]:
    """Return the key that a call brings, if any, and its parameters without it. The caller's own dict is left as it is.

    Raises :class:`InvalidField` for a key that cannot be used, and for two that differ.
    """
    rest = dict(params or {})
    among = rest.pop(KEY, None)
    if among is not None and keyword is not None and among != keyword:
        raise InvalidField(KEY, "is given twice, as a keyword and in params, and the two differ")
    key = among if keyword is None else keyword
    return (None if key is None else values.caller_key(key)), rest


def missing_key(method: str) -> KeyMissing:
    """Return the refusal of a call without a key."""
    return KeyMissing(
        f"{method}() was called without a key; nothing was sent. Give one that stands for the decision to trade, the same "
        f"for every try of it: {method}(..., params={{'key': 'rebalance-2026-11-21'}}), or have keys made from what is "
        "called: onefill.guard(..., keys='derived')"
    )


def derived_key(intent: Intent, site: str, bucket: int) -> str:
    """Return the key of a call that brought none: of its content, its place in the caller's code and a bucket of time."""
    fields = {name: str(getattr(intent, name)) for name in intent.__struct_fields__}
    text = msgspec.json.encode((fields, site, bucket), order="sorted")
    return "derived-" + hashlib.sha256(text).hexdigest()[:32]


# -------------------------------------------------------------------- parameters

CLIENT_IDS: Final = frozenset(
    {
        *("clientOrderId", "clientOrderID", "newClientOrderId", "client_order_id", "clientOid", "clOrdId", "clOrdID"),
        *("cl_ord_id", "orderLinkId", "cloid", "label", "userref", "client_id", "clientId", "origClientOrderId"),
    }
)
"""By these names venues are told a client order id, which is made here."""
PASSED_ON: Final = frozenset(
    {
        *("postOnly", "reduceOnly", "hedged", "positionSide", "positionIdx", "posSide", "tdMode", "leverage"),
        *("selfTradePreventionMode", "selfTradePrevention", "stp", "stpMode", "smpType", "iceberg", "icebergQty"),
    }
)
"""Parameters that change an order and not where it is kept: it is found, cancelled and followed like any other."""
CONDITIONAL: Final = frozenset(
    {
        *("triggerPrice", "stopPrice", "stopLossPrice", "takeProfitPrice", "stopLoss", "takeProfit", "trailingAmount"),
        *("trailingPercent", "trailingTriggerPrice", "trailingDelta", "triggerDirection"),
    }
)
"""Parameters that make an order wait for a price. Most venues keep such orders elsewhere, where they are not found."""
_CONDITIONAL_IN_PLACE: Final = frozenset({("binance", "spot"), ("kraken", "spot")})
"""Where a conditional order is one among the others, under the same client order id (read in ccxt 4.5.90)."""
_MARKETS: Final = {"binance": ("spot", "use ccxt.binanceusdm for its USD-M futures")}
"""Exchanges of which one kind of market is spoken to in the way that is known here."""
_TIMES: Final = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}


class Wanted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A call of ``create_order``, its numbers as the library itself would write them.

    ``market_price``: the price that came with a market order, as it came. ``market_type``: ccxt's word (spot, swap...).
    """

    exchange: str
    market_type: str
    symbol: str
    type: str
    side: str
    amount: str
    price: str | None
    market_price: float | str | None = None
    params: dict[str, Any] = {}


def intent_of(wanted: Wanted, *, account: str, strategy: str, venue: str, allowed: Collection[str] = ()) -> Intent:
    """Return what a call wants, as an intent.

    Raises :class:`InvalidField` for what no order can be, :class:`NotGuarded` for parameters with which an order might not be
    found again, unless they are among ``allowed``.
    """
    check_market(wanted.exchange, wanted.market_type)
    params = dict(wanted.params)
    time_in_force = _time_in_force(params)
    check_parameters(params, wanted.exchange, wanted.market_type, allowed)
    if wanted.market_price is not None:
        params["price"] = wanted.market_price
    kind = wanted.type.lower() if isinstance(wanted.type, str) else wanted.type
    if kind not in set(OrderType):
        raise NotGuarded(
            "type",
            f"type {str(wanted.type)[:40]!r} is not guarded; nothing was sent. Guarded are market and limit; "
            "what else is wanted of them goes into params",
        )
    return Intent(
        account=account,
        strategy=strategy,
        venue=venue,
        instrument=wanted.symbol,
        side=wanted.side,  # type: ignore[arg-type] # Intent checks and converts text
        order_type=kind,  # type: ignore[arg-type]
        quantity=_number(wanted.amount, "amount"),
        price=None if kind == OrderType.MARKET or wanted.price is None else _number(wanted.price, "price"),
        time_in_force=time_in_force,
        parameters=params,  # type: ignore[arg-type] # likewise
    )


def check_market(exchange: str, market_type: str) -> None:
    """Raise :class:`NotGuarded` unless orders in a market of this type are looked for where they are."""
    known, hint = _MARKETS.get(exchange, (market_type, ""))
    if market_type != known:
        raise NotGuarded(
            "symbol",
            f"{exchange}: {market_type} markets are not guarded, only {known}; nothing was sent. Instead, {hint}",
        )


def check_parameters(params: Iterable[str], exchange: str, market_type: str, allowed: Collection[str]) -> None:
    """Raise :class:`NotGuarded` unless an order with these parameters is kept, and found, where others are."""
    for name in params:
        if name in CLIENT_IDS:
            raise NotGuarded(
                name,
                f"params[{name!r}]: the client order id is made by Onefill; nothing was sent. Give yours as the key: "
                "params={'key': ...}; the order's own is in its result",
            )
        if name in PASSED_ON or name in allowed:
            continue
        if name in CONDITIONAL:
            if (exchange, market_type) in _CONDITIONAL_IN_PLACE:
                continue
            why = f"{exchange} may keep such an order apart from others, where a look-up after a lost reply does not find it"
        else:
            why = f"it is not known whether an order with it is found where {exchange}'s others are"
        raise NotGuarded(
            name,
            f"params[{name!r}] is not guarded: {why}; nothing was sent. If you know that it is found by its client order id "
            f"like any other, allow it: onefill.guard(..., allow=({name!r},))",
        )


def _time_in_force(params: dict[str, Any]) -> TimeInForce:
    """Take the time in force out of the parameters. One of the venue's own stays there."""
    given = params.pop("timeInForce", None)
    if given is None:
        return TimeInForce.GTC
    word = str(given).upper()
    if word == "PO":
        params["postOnly"] = True
        return TimeInForce.GTC
    if word not in _TIMES:
        raise NotGuarded(
            "timeInForce",
            f"timeInForce {str(given)[:40]!r} is not guarded; nothing was sent. Guarded: GTC, IOC, FOK, PO",
        )
    return _TIMES[word]


def _number(text: str, field: str) -> Decimal:
    try:
        return values.exact_decimal(text, field)
    except InvalidField:
        raise InvalidField(field, f"{str(text)[:40]!r} is not a plain decimal number") from None


# ----------------------------------------------------------------------- results

_NUMBERS: Final = (
    *("price", "amount", "cost", "average", "filled", "remaining", "triggerPrice", "stopPrice", "takeProfitPrice"),
    *("stopLossPrice", "rate"),
)
_NESTED: Final = ("fee", "fees", "trades")


def with_numbers(shown: Any, number: Callable[[str], Any]) -> Any:
    """Return an order as the library shows it with every number that is text read by ``number``; ``info`` stays as it is."""
    if isinstance(shown, list):
        return [with_numbers(one, number) for one in shown]
    if not isinstance(shown, Mapping):
        return shown
    made = dict(shown)
    for name in _NUMBERS:
        if isinstance(made.get(name), str):
            made[name] = number(made[name])
    for name in _NESTED:
        if name in made:
            made[name] = with_numbers(made[name], number)
    return made


_OPEN: Final = frozenset(
    {Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_NEW, Status.PENDING_REPLACE, Status.PENDING_CANCEL}
)
_WORDS: Final = {
    Status.FILLED: "closed",
    Status.CANCELED: "canceled",
    Status.CANCELED_UNSENT: "canceled",
    Status.EXPIRED: "expired",
    Status.EXPIRED_UNSENT: "expired",
    Status.REJECTED: "rejected",
    Status.REFUSED: "rejected",
}


def as_shown(order: Order) -> dict[str, Any]:
    """Return what the ledger knows of an order, in the library's words and numbers as text, for want of the venue's reply."""
    intent, done = order.intent, max(order.cum_quantity, order.venue_cum_quantity)
    return {
        "id": order.venue_order_id,
        "clientOrderId": order.live_id,
        "timestamp": order.recorded_at_us // 1000,
        "symbol": intent.instrument,
        "type": intent.order_type.value,
        "side": intent.side.value,
        "timeInForce": intent.time_in_force.value.upper(),
        "amount": plain(order.quantity),
        "price": None if order.price is None else plain(order.price),
        "filled": plain(done),
        "remaining": plain(max(order.quantity - done, Decimal(0))),
        "status": "open" if order.status in _OPEN else _WORDS.get(order.status),
        "info": {"onefill": {"key": order.key, "status": order.status.value, "from": "ledger"}},
    }


_REJECTION: Final = re.compile(r"([A-Z][A-Za-z]+): (.*?)( \((rejected|refused here)[a-z, ]*: [^()]*\))?", re.DOTALL)


def rejection_parts(reason: str) -> tuple[str | None, str]:
    """Return the library's exception that a recorded rejection begins with, if it does, and its words without our verdict."""
    found = _REJECTION.fullmatch(reason)
    return (None, reason) if found is None else (found[1], found[2])
