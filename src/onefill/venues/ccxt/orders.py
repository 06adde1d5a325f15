"""From ccxt's orders, trades and markets to values, read strictly: what is not shown is not made up."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from onefill.core.errors import InvalidField
from onefill.core.messages import (
    ExecutionKind,
    ExecutionReport,
    Held,
    Holdings,
    ReplaceRequest,
    SubmitRequest,
    VenueOrder,
    VenueStatus,
    legible,
)
from onefill.core.values import EXACT, MAX_DIGITS, Instrument, OrderType, Side, exact_decimal, name
from onefill.venues.ccxt.manners import Manners, Order, Trade

_ZERO: Final = Decimal(0)
_OVER: Final = {"canceled": VenueStatus.CANCELED, "expired": VenueStatus.EXPIRED, "rejected": VenueStatus.REJECTED}
ENDED: Final = frozenset({VenueStatus.CANCELED, VenueStatus.EXPIRED, VenueStatus.REJECTED, VenueStatus.FILLED})
_DECIMAL_PLACES, _SIGNIFICANT_DIGITS, _TICK_SIZE = 2, 3, 4
"""ccxt's words for what a market's precision is."""


class Expected(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What an order is known to be, for what a reply leaves out."""

    client_order_id: str
    instrument: str
    side: Side | None = None
    quantity: Decimal | None = None
    order_type: OrderType | None = None
    price: Decimal | None = None


def expected(request: SubmitRequest | ReplaceRequest) -> Expected:
    """Return what the reply to a request is to show."""
    return Expected(
        client_order_id=request.client_order_id,
        instrument=request.instrument,
        side=request.side,
        quantity=request.quantity,
        order_type=request.order_type,
        price=request.price if request.order_type is OrderType.LIMIT else None,
    )


class Strange(Exception):
    """What was shown is not what was asked about, or cannot be read. The text says what."""


def number(value: Any) -> Decimal | None:
    """Return a number of ccxt's as a Decimal, ``None`` where there is none. Raises Strange for what is no number."""
    if value is None or value == "":
        return None
    try:
        found = (
            value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else str(value))
        )
        return exact_decimal(found, "number")
    except (InvalidOperation, InvalidField) as problem:
        raise Strange(f"{str(value)[:40]!r} is no number: {problem}") from None


def replied(shown: Any, expected: Expected, manners: Manners) -> VenueOrder:
    """Return the order that the reply to a new one shows. Raises Strange."""
    return venue_order(manners.replied(shown), expected, manners)


def venue_order(shown: Any, expected: Expected, manners: Manners) -> VenueOrder:
    """Return the order that ccxt shows, what it leaves out taken from what is known of it. Raises Strange."""
    if not isinstance(shown, Mapping):
        raise Strange(f"the answer shows no order ({type(shown).__name__})")
    number_there = shown.get("id")
    if not number_there:
        raise Strange("the answer shows an order without the venue's number")
    client_order_id = manners.client_order_id(shown) or expected.client_order_id
    if expected.client_order_id not in ("", client_order_id):
        raise Strange(f"the answer is about another order ({client_order_id!r})")
    symbol = shown.get("symbol") or expected.instrument
    if expected.instrument not in ("", symbol):
        raise Strange(f"the answer is about another instrument ({symbol!r})")
    side = _choice(Side, shown.get("side"), expected.side)
    quantity = _first(number(shown.get("amount")), expected.quantity)
    if side is None or quantity is None or quantity <= _ZERO:
        raise Strange("the answer shows an order without side or quantity")
    price = _first(number(shown.get("price")), expected.price)
    order_type = _choice(OrderType, shown.get("type"), expected.order_type)
    if order_type is None and not manners.shows_prices:
        order_type = OrderType.LIMIT  # nor is that shown: nearly every order is one
    if order_type is None:
        raise Strange(f"the answer shows an order of type {shown.get('type')!r}")
    if order_type is OrderType.MARKET:
        price = None  # what such an order shows as its price is what it traded at
    elif price is None and manners.shows_prices:
        raise Strange("the answer shows a limit order without its price")
    done = number(shown.get("filled")) or _ZERO
    return VenueOrder(
        client_order_id=client_order_id,
        venue_order_id=str(number_there),
        instrument=str(symbol),
        side=side,
        quantity=quantity,
        order_type=order_type,
        price=price,
        status=_status(shown.get("status"), quantity, done, known="filled" in shown and shown["filled"] is not None),
        cum_quantity=done,
        reason=reason_of(shown),
    )


def reason_of(shown: Order) -> str | None:
    """Return the venue's words on why an order ended, where ccxt passes them on."""
    info = shown.get("info")
    if not isinstance(info, Mapping):
        return None
    for field in ("reject_reason", "rejectReason", "cancel_reason", "cancelReason", "reason"):
        said = info.get(field)
        if isinstance(said, str) and said.strip():
            return legible(said.strip()[:200])
    return None


def _status(status: Any, quantity: Decimal, done: Decimal, *, known: bool) -> VenueStatus:
    if status in _OVER:
        return _OVER[str(status)]
    if status == "closed":
        # Ended with less executed than was wanted: the rest is not there any more.
        return VenueStatus.CANCELED if known and done < quantity else VenueStatus.FILLED
    if status in ("open", "canceling"):
        return VenueStatus.PARTIALLY_FILLED if done else VenueStatus.NEW
    return VenueStatus.PENDING_NEW  # not said: to be asked about


def _choice(kind: Any, shown: Any, otherwise: Any) -> Any:
    try:
        return kind(shown)
    except ValueError:
        return otherwise


def _first(shown: Decimal | None, otherwise: Decimal | None) -> Decimal | None:
    # Nought for a price means that the venue shows none.
    return shown if shown else otherwise


def listed(shown: Any, manners: Manners) -> VenueOrder:
    """Return one order of a list. Raises Strange."""
    return venue_order(shown, Expected(client_order_id="", instrument=""), manners)


def trade_report(
    trade: Trade, account: str, client_order_id: str, position: int, key: tuple[str, str]
) -> ExecutionReport:
    """Return a trade as a report of the execution stream. Raises Strange.

    The venue's trade list tells no totals of the order: the total is what this trade alone proves.
    """
    quantity, price = number(trade.get("amount")), number(trade.get("price"))
    side = _choice(Side, trade.get("side"), None)
    if not key[1] or side is None or quantity is None or price is None or quantity <= _ZERO:
        raise Strange(f"trade {key[1]!r} is shown without id, side, quantity or price")
    fee = trade.get("fee") or {}
    paid, currency = number(fee.get("cost")), fee.get("currency")
    return ExecutionReport(
        position=position,
        execution_id=key[1],
        kind=ExecutionKind.TRADE,
        client_order_id=client_order_id,
        venue_order_id=key[0],
        account=account,
        instrument=str(trade["symbol"]),
        side=side,
        last_quantity=quantity,
        last_price=price,
        cum_quantity=quantity,
        leaves_quantity=_ZERO,
        status=VenueStatus.PARTIALLY_FILLED,
        transacted_at_us=int(trade.get("timestamp") or 0) * 1000,
        fee=paid if paid is not None and currency else None,
        fee_currency=str(currency) if paid is not None and currency else None,
    )


def ending_report(order: VenueOrder, account: str, position: int, at_us: int) -> ExecutionReport | None:
    """Return that an order is over, as a report; ``None`` where it is not, or where its executions tell."""
    kinds = {
        VenueStatus.CANCELED: ExecutionKind.CANCELED,
        VenueStatus.EXPIRED: ExecutionKind.EXPIRED,
        VenueStatus.REJECTED: ExecutionKind.REJECTED,
    }
    if order.status not in kinds:
        return None
    return ExecutionReport(
        position=position,
        execution_id="",
        kind=kinds[order.status],
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        account=account,
        instrument=order.instrument,
        side=order.side,
        last_quantity=None,
        last_price=None,
        cum_quantity=order.cum_quantity,
        leaves_quantity=_ZERO,
        status=order.status,
        transacted_at_us=at_us,
        text=order.reason,
    )


def holdings(shown: Sequence[Mapping[str, Any]]) -> Holdings:
    """Return positions in contracts, the two sides of an instrument netted. Raises Strange."""
    held: dict[str, Decimal] = {}
    for one in shown:
        symbol, quantity = one.get("symbol"), number(one.get("contracts"))
        if not symbol or quantity is None:
            raise Strange(f"the position in {symbol!r} is shown without a quantity")
        signed = -abs(quantity) if one.get("side") == "short" else quantity
        held[symbol] = EXACT.add(held.get(symbol, _ZERO), signed)
    return Holdings(tuple(Held(instrument=name, quantity=quantity) for name, quantity in held.items() if quantity))


def instrument(market: Mapping[str, Any], precision_mode: int) -> Instrument | None:
    """Return a market as an instrument; ``None`` where it is not traded, or its symbol is no name that can be recorded."""
    if market.get("active") is False:
        return None
    try:
        symbol = name(market.get("symbol"), "symbol")
    except InvalidField:
        return None
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    step = _step(precision.get("amount"), precision_mode)
    least = number((limits.get("amount") or {}).get("min")) or step
    # The smallest order is on the grid, whatever rounding made of it.
    return Instrument(
        symbol=symbol,
        price_tick=_step(precision.get("price"), precision_mode),
        quantity_step=step,
        min_quantity=max(least, step),
    )


_FINEST: Final = Decimal(1).scaleb(-(MAX_DIGITS - 10))
"""Where a market does not say its steps, or they depend on the size of the number: the client's own check decides."""


def _step(precision: Any, mode: int) -> Decimal:
    found = number(precision)
    if found is None or mode == _SIGNIFICANT_DIGITS:
        return _FINEST
    if mode == _DECIMAL_PLACES:
        return Decimal(1).scaleb(-int(found))
    return found if found > _ZERO else _FINEST
