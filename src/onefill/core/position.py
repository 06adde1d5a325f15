"""Executions and positions. A position is a fold over the execution log, never a number that is incremented in place.

Sums of quantities and values are exact. The cost of the open quantity follows the average-cost method: a closing trade takes
its share out, rounded half to even at :data:`COST_DIGITS` decimal places where it does not come out even. What was rounded is
not lost: realised profit is what was received less what was paid plus the cost of what is still open, always, so that a
position that is flat has realised exactly the difference of its two sums.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum

import msgspec

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.messages import ExecutionReport
from onefill.core.values import EXACT, Side

COST_DIGITS = 28
"""Decimal places to which the cost of a closed part is rounded, and the average price shown."""
_WIDE = Context(prec=200, rounding=ROUND_HALF_EVEN)
_STEP = Decimal(1).scaleb(-COST_DIGITS)
_ZERO = Decimal(0)
STREAM = "executions"
"""The name of a venue's own execution stream."""
DROP_COPY = "drop_copy"
"""The name of a second channel by which executions are told."""
CALLBACK = "callback"
"""The name under which the log has what a venue's callback told first."""


class Kind(StrEnum):
    """What a row of the execution log tells."""

    TRADE = "trade"
    CORRECT = "correct"
    """Another execution had this quantity and price instead."""
    BUST = "bust"
    """Another execution does not count."""


class Execution(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One row of the execution log. ``intent_id`` is ``None`` where it is quarantined: it moves no position.

    ``refers_to``: the execution that a correction or bust speaks of. ``fee``: what was paid, below zero if received.
    ``stream``: by which channel it came first.
    """

    intent_id: int | None
    scope: str
    execution_id: str
    account: str
    strategy: str
    venue: str
    instrument: str
    side: Side
    quantity: Decimal
    price: Decimal
    client_order_id: str
    venue_order_id: str
    transacted_at_us: int
    kind: Kind = Kind.TRADE
    refers_to: str | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    stream: str = STREAM


def dedupe_scope(report: ExecutionReport, scope: ExecutionIdScope) -> str:
    """Return within what this report's execution id is unique. Too wide would drop fills, too narrow would double them."""
    if scope is ExecutionIdScope.ACCOUNT:
        return report.account
    if scope is ExecutionIdScope.INSTRUMENT:
        return f"{report.account}\n{report.instrument}"
    # Ids may come again where a venue lets them, so that two orders have one; the venue's number tells them apart.
    return f"{report.account}\n{report.client_order_id}\n{report.venue_order_id}"


class Position(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a strategy holds of an instrument in an account at a venue, and the sums it follows from."""

    account: str
    strategy: str
    venue: str
    instrument: str
    bought: Decimal = _ZERO
    sold: Decimal = _ZERO
    bought_value: Decimal = _ZERO
    """Sum of quantity x price over buys, in the price's currency."""
    sold_value: Decimal = _ZERO
    cost: Decimal = _ZERO
    """What the open quantity cost; of a short one, below zero: what was received for it."""
    fees: tuple[tuple[str, Decimal], ...] = ()
    """Sum of the fees by currency, in the order of the currencies' names."""
    executions: int = 0
    """How many executions count in it."""

    @property
    def quantity(self) -> Decimal:
        """Net quantity: positive is long."""
        return EXACT.subtract(self.bought, self.sold)

    @property
    def average_price(self) -> Decimal | None:
        """The average price of the open quantity, for showing; ``None`` while it is flat."""
        quantity = self.quantity
        return _WIDE.divide(self.cost, quantity).quantize(_STEP, context=_WIDE).normalize(_WIDE) if quantity else None

    @property
    def realised(self) -> Decimal:
        """The realised profit before fees, in the price's currency."""
        return EXACT.add(EXACT.subtract(self.sold_value, self.bought_value), self.cost)


def fold(
    position: Position,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    fee: Decimal | None = None,
    fee_currency: str | None = None,
) -> Position:
    """Return the position after one more execution."""
    value = EXACT.multiply(quantity, price)
    changes: dict[str, object] = {
        "cost": _cost_after(position, side, quantity, price, value),
        "executions": position.executions + 1,
    }
    if side is Side.BUY:
        changes["bought"] = EXACT.add(position.bought, quantity)
        changes["bought_value"] = EXACT.add(position.bought_value, value)
    else:
        changes["sold"] = EXACT.add(position.sold, quantity)
        changes["sold_value"] = EXACT.add(position.sold_value, value)
    if fee is not None and fee_currency is not None:
        fees = dict(position.fees)
        fees[fee_currency] = EXACT.add(fees.get(fee_currency, _ZERO), fee)
        changes["fees"] = tuple(sorted(fees.items()))
    return msgspec.structs.replace(position, **changes)


def _cost_after(position: Position, side: Side, quantity: Decimal, price: Decimal, value: Decimal) -> Decimal:
    was, cost = position.quantity, position.cost
    signed = value if side is Side.BUY else -value
    if not was or (was > 0) is (side is Side.BUY):
        return EXACT.add(cost, signed)
    open_before = abs(was)
    if quantity == open_before:
        return _ZERO
    if quantity > open_before:  # the rest opens a position on the other side
        rest = EXACT.multiply(EXACT.subtract(quantity, open_before), price)
        return rest if side is Side.BUY else -rest
    share = _WIDE.divide(_WIDE.multiply(cost, quantity), open_before).quantize(_STEP, context=_WIDE)
    return EXACT.subtract(cost, share).normalize(_WIDE)


def fold_all(empty: Position, executions: Iterable[Execution]) -> Position:
    """Return the position after these executions, all of them trades that count."""
    position = empty
    for one in executions:
        position = fold(position, one.side, one.quantity, one.price, one.fee, one.fee_currency)
    return position


def positions_key(execution: Execution) -> tuple[str, str, str, str]:
    """Return by what the position that an execution belongs to is found."""
    return execution.account, execution.strategy, execution.venue, execution.instrument
