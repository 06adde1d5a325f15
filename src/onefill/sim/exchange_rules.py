"""What a simulated exchange allows: pure judgments of single requests, nothing is changed here."""

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from onefill.core.capabilities import ReplaceStyle, UniqueScope
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import LIVE, ReplaceRequest, SubmitRequest, VenueStatus
from onefill.core.values import OrderType, TimeInForce
from onefill.sim.dialect import DAY_US, Dialect
from onefill.sim.order_book import BookOrder, OrderBook

_ZERO = Decimal(0)
_ALPHABETS = {Alphabet.TEXT: "[A-Za-z0-9-]", Alphabet.ALPHANUMERIC: "[A-Za-z0-9]", Alphabet.HEX: "[0-9a-f]"}


class Rules:
    """The rules of one exchange: its dialect's and those of the instruments in ``books``."""

    def __init__(self, dialect: Dialect, books: Mapping[str, OrderBook]) -> None:
        self._dialect = dialect
        self._books = books
        self._id_pattern = _id_pattern(dialect.id_format)
        self._refuses_repeats = dialect.refuses_repeats

    def in_use(self, earlier: BookOrder | None, now: int) -> bool:
        """Tell whether an id may not come again, given the latest order under it."""
        # The latest order under an id is the only one that can clash: any older one was out of scope when it came.
        if earlier is None or not self._refuses_repeats:
            return False
        match self._dialect.unique_scope:
            case UniqueScope.EVER:
                return True
            case UniqueScope.DAY:
                return earlier.created_at_us // DAY_US == now // DAY_US
            case UniqueScope.OPEN:
                return earlier.status in LIVE
            case UniqueScope.NONE:
                return False

    def malformed(self, request: SubmitRequest) -> tuple[str, str] | None:
        """Return (code, reason) if no venue could make sense of the request."""
        price = request.price
        if request.parameters is not None:
            return "unknown_parameter", f"this venue knows none of the parameters {request.parameters[:80]}"
        if not request.account:
            return "invalid_account", "account is empty"
        if not self._id_pattern.fullmatch(request.client_order_id):
            return (
                "invalid_client_order_id",
                f"client order id {request.client_order_id[:80]!r} does not fit this venue",
            )
        if not request.quantity.is_finite() or request.quantity <= _ZERO:
            return "invalid_quantity", f"quantity {request.quantity} is not above zero"
        if request.order_type is OrderType.MARKET:
            return None if price is None else ("price_not_allowed", "a market order has no price")
        if price is None:
            return "price_required", "a limit order needs a price"
        if not price.is_finite() or price <= _ZERO:
            return "invalid_price", f"price {price} is not above zero"
        return None

    def refusal(self, request: SubmitRequest) -> tuple[str, str] | None:
        """Return (code, reason) if the instrument's rules do not allow the order."""
        book = self._books.get(request.instrument)
        if book is None:
            return "unknown_instrument", f"instrument {request.instrument!r} is not traded here"
        if not self._dialect.matching:
            if request.order_type is OrderType.MARKET:
                return "not_matching", "this venue does not match: a market order cannot rest"
            if request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
                return "not_matching", f"this venue does not match: an {request.time_in_force} order cannot rest"
        return book.off_grid(request)

    def replacement(
        self, request: ReplaceRequest, original: BookOrder, latest: BookOrder | None, now: int
    ) -> SubmitRequest | str:
        """Return the order that ``original`` is to become, or the reason why it may not.

        ``latest``: the last order under the client order id that ``request`` brings.
        """
        if request.side is not original.request.side:
            return "the side of an order may not change"
        if original.status not in LIVE:
            return f"order is already {original.status}"
        if original.status is VenueStatus.PENDING_NEW:
            return "order is not yet accepted"
        return self._id_problem(request, latest, now) or self._changed(request, original)

    def _id_problem(self, request: ReplaceRequest, latest: BookOrder | None, now: int) -> str | None:
        same = request.client_order_id == request.orig_client_order_id
        if self._dialect.replace is ReplaceStyle.KEEP:
            return None if same else "this venue keeps the client order id: a replace may not bring another one"
        if same:
            return "this venue does not keep the client order id: a replace must bring another one"
        if self.in_use(latest, now):
            return f"client order id {request.client_order_id!r} is in use"
        return None

    def _changed(self, request: ReplaceRequest, original: BookOrder) -> SubmitRequest | str:
        if request.order_type is not original.request.order_type:
            return "the order type may not change"
        if request.time_in_force is not original.request.time_in_force:
            return "the time in force may not change"
        if request.parameters is not None:
            return f"this venue knows none of the parameters {request.parameters[:80]}"
        wanted = msgspec.structs.replace(
            original.request,
            client_order_id=request.client_order_id,
            quantity=request.quantity,
            price=request.price,
        )
        problem = self.malformed(wanted) or self.refusal(wanted)
        if problem is not None:
            return f"{problem[0]}: {problem[1]}"
        if wanted.quantity < original.cum_quantity:
            return "quantity below what is executed"
        return wanted


def _id_pattern(form: IdFormat) -> re.Pattern[str]:
    room = form.max_length - len(form.prefix)
    return re.compile(f"{re.escape(form.prefix)}{_ALPHABETS[form.alphabet]}{{1,{room}}}", re.ASCII)
