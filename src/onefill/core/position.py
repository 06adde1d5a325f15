"""Executions and positions. A position is a fold over the execution log, never a number that is incremented in place."""

from decimal import Decimal

import msgspec

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.messages import ExecutionReport
from onefill.core.values import EXACT, Side


class Execution(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One trade as recorded. ``intent_id`` is ``None`` while it is quarantined: nobody here sent its order."""

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
    bought: Decimal = Decimal(0)
    sold: Decimal = Decimal(0)
    bought_value: Decimal = Decimal(0)
    """Sum of quantity x price over buys, in the price's currency."""
    sold_value: Decimal = Decimal(0)
    executions: int = 0

    @property
    def quantity(self) -> Decimal:
        """Net quantity: positive is long."""
        return EXACT.subtract(self.bought, self.sold)


def fold(position: Position, side: Side, quantity: Decimal, price: Decimal) -> Position:
    """Return the position after one more execution."""
    value = EXACT.multiply(quantity, price)
    if side is Side.BUY:
        return msgspec.structs.replace(
            position,
            bought=EXACT.add(position.bought, quantity),
            bought_value=EXACT.add(position.bought_value, value),
            executions=position.executions + 1,
        )
    return msgspec.structs.replace(
        position,
        sold=EXACT.add(position.sold, quantity),
        sold_value=EXACT.add(position.sold_value, value),
        executions=position.executions + 1,
    )
