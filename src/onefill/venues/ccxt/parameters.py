"""What an order wants, on its way to ccxt: numbers go out as they are and every parameter is passed on, or nothing is sent."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from onefill.core.messages import ReplaceRequest, SubmitRequest
from onefill.core.values import EXACT, plain
from onefill.venues.ccxt import telling

TICK_SIZE: Final = 4
"""ccxt's word for a precision that is the step itself."""
_CCXTS_OWN: Final = (
    ("amount_to_precision", "ccxt.base.exchange"),
    ("price_to_precision", "ccxt.base.exchange"),
    ("decimal_to_precision", "ccxt.base.decimal_to_precision"),
)
"""What ccxt cuts numbers with, where neither an exchange's class nor the script has put something else in its place."""


def read(text: str | None) -> dict[str, Any]:
    """Return an order's parameters as ccxt takes them: numbers as they were given."""
    found: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
    return found


def clash(request: SubmitRequest, own: Mapping[str, Any]) -> str | None:
    """Return why an order's parameters cannot be passed on beside what is set here, ``None`` if they can."""
    for name in read(request.parameters):
        if name in own:
            return f"parameters: {name!r} is set from the order itself, and cannot be given beside it"
    return None


def with_price(request: SubmitRequest, own: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the price argument of a market order, which some venues want for its cost, and all parameters."""
    params = read(request.parameters)
    price = params.pop("price", None) if request.price is None else None
    return price, {**params, **own}


def inexact(exchange: Any, request: SubmitRequest | ReplaceRequest) -> str | None:
    """Return why the library would send another quantity or price than these, ``None`` if it sends just these."""
    symbol, quantity, price = request.instrument, request.quantity, request.price
    try:
        if _on_steps(exchange, request):
            return None
        sent = [Decimal(exchange.amount_to_precision(symbol, exchange.number_of(quantity)))]
        if price is not None:
            sent.append(Decimal(exchange.price_to_precision(symbol, exchange.number_of(price))))
    except Exception as error:  # noqa: BLE001 - it says why it will not send that
        return f"the client library takes exception to quantity or price: {telling.words(error)}"
    if sent[0] != quantity:
        return f"the client library would send quantity {plain(sent[0])} for {plain(quantity)} in {symbol}"
    if price is not None and sent[1] != price:
        return f"the client library would send price {plain(sent[1])} for {plain(price)} in {symbol}"
    return None


def _on_steps(exchange: Any, request: SubmitRequest | ReplaceRequest) -> bool:
    """Tell whether quantity and price are multiples of the market's steps, which ccxt leaves as they are.

    That saves most orders ccxt's own way of cutting, which takes several times as long. False: it has to be asked.
    """
    if exchange.precisionMode != TICK_SIZE or not all(
        getattr(getattr(exchange, method), "__module__", "") == module for method, module in _CCXTS_OWN
    ):
        return False
    steps = exchange.market(request.instrument)["precision"]
    wanted = [(request.quantity, steps["amount"])]
    if request.price is not None:
        wanted.append((request.price, steps["price"]))
    for number, step in wanted:
        exact = Decimal(str(step or 0))
        if exact <= 0 or EXACT.remainder(number, exact) != 0:
            return False
        exchange.number_of(number)
    return True
