"""What a guarded call gives back: ccxt's order, or the very exception that ccxt would have raised."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import ccxt

from onefill.core import guard_rules as rules
from onefill.core.answers import Answer, ReplaceAnswer, ReplaceResult
from onefill.core.errors import InvalidField, OrderNotSent, OrderRefused, OrderUncertain, VenueError
from onefill.core.lifecycle import NEVER_SENT, Status
from onefill.core.order import Order

_MOST: Final = 10_000


class Uncertain(OrderUncertain, ccxt.RequestTimeout):  # type: ignore[misc] # ccxt has no types
    """As :class:`~onefill.core.errors.OrderUncertain`; also for code that catches ccxt's time-outs and calls again."""

    def __init__(self, of: OrderUncertain) -> None:
        self.key = of.key
        self.client_order_id = of.client_order_id
        Exception.__init__(self, *of.args)


class Unfit(InvalidField, ccxt.InvalidOrder):  # type: ignore[misc] # likewise
    """As :class:`~onefill.core.errors.InvalidField`; also for code that catches what ccxt raises when the venue refuses it."""

    def __init__(self, of: InvalidField) -> None:
        super().__init__(of.field, of.problem)


class Unreachable(VenueError, ccxt.NetworkError):  # type: ignore[misc] # likewise
    """As :class:`~onefill.core.errors.VenueError`; also for code that catches ccxt's network errors and calls again."""


def rejection(reason: str | None) -> Exception:
    """Return what ccxt raised when the venue rejected, by the recorded words; InvalidOrder where they do not tell."""
    text = reason or "the venue rejected the order"
    name, words = rules.rejection_parts(text)
    kind = getattr(ccxt, name or "", None)
    if isinstance(kind, type) and issubclass(kind, ccxt.BaseError):
        made: Exception = kind(words)
        return made
    return ccxt.InvalidOrder(text)  # type: ignore[no-any-return]


def failure_of(answer: Answer) -> Exception | None:
    """Return what a call with this answer raises, ``None`` where it returns the order."""
    if answer.status is Status.REFUSED:
        return OrderRefused(answer.key, answer.reason or "no reason was recorded")
    if answer.status is Status.REJECTED:
        return rejection(answer.reason)
    if answer.status in NEVER_SENT:
        return OrderNotSent(answer.key, answer.reason or answer.status.replace("_", " "))
    return None


def failure_of_edit(answer: ReplaceAnswer) -> Exception | None:
    """Return what an edit with this answer raises, ``None`` where it returns the order."""
    if answer.result is ReplaceResult.REPLACED:
        return None
    if answer.result is ReplaceResult.REFUSED:
        return rejection(answer.reason)
    ended = {ReplaceResult.FILLED: "it had filled", ReplaceResult.NEVER_SENT: "it was never sent"}
    why = ended.get(answer.result, f"it had ended ({answer.status})")
    return ccxt.InvalidOrder(f"order {answer.key!r} was not edited: {why}")  # type: ignore[no-any-return]


def _copied(shown: Any) -> Any:
    """Return a copy down to the values, which in ccxt's orders are text and numbers."""
    if type(shown) is dict:
        return {name: _copied(part) for name, part in shown.items()}
    return [_copied(part) for part in shown] if type(shown) is list else shown


class Results:
    """The orders that calls returned, by client order id: a repeat gets the same. Numbers are of the user's kind."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self._kept: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def get(self, name: str) -> dict[str, Any] | None:
        """Return what was returned before."""
        found = self._kept.get(name)
        return None if found is None else self.read(found)

    def keep(self, name: str, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what ccxt showed (numbers as text), and return it in the user's numbers."""
        self._kept[name] = shown
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return self.read(shown)

    def read(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ccxt showed in the user's numbers, as an object of the user's own."""
        made: dict[str, Any] = rules.with_numbers(_copied(shown), self._exchange.parse_number)
        return made

    def from_ledger(self, order: Order) -> dict[str, Any]:
        """Return an order as the ledger knows it, in ccxt's form; ``info`` tells that it comes from there."""
        shown = rules.as_shown(order)
        market = self._exchange.markets.get(order.intent.instrument)
        made: dict[str, Any] = self._exchange.safe_order(shown, market)
        return made
