"""What an order wants beside its terms, on its way to ccxt: every parameter is passed on, or the order is not sent."""

from collections.abc import Mapping
from typing import Any

import msgspec

from onefill.core.messages import SubmitRequest


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
