"""Risk gates: what is judged before an order is claimed. Pure: limits, exposure and an order in, a refusal or nothing out.

Exposure is counted at its worst: every order that may be or come to be at the venue fills in full, those of uncertain fate
included, and nothing on the other side helps.
"""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

import msgspec

from onefill.core.intent import Intent
from onefill.core.lifecycle import ENDED
from onefill.core.order import Order
from onefill.core.risk_limits import InForce, SelfCrossing, WithoutReference
from onefill.core.values import EXACT, Side, plain

_ZERO = Decimal(0)
_ONE = Decimal(1)


class Gate(StrEnum):
    """The gates, in the order in which they judge. The first that refuses is named."""

    SIZE = "size"
    NOTIONAL = "notional"
    COLLAR = "collar"
    POSITION = "position"
    OPEN_ORDERS = "open_orders"
    RATE = "rate"
    SELF_CROSSING = "self_crossing"
    SIMILAR = "similar"


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Which gate refused, and why."""

    gate: Gate
    reason: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.reason}"


class OwnOrder(msgspec.Struct, frozen=True, gc=False):
    """An open order of the same account. ``price`` is ``None`` for a market order."""

    key: str
    price: Decimal | None


class Twin(msgspec.Struct, frozen=True, gc=False):
    """An order like this one under another key, and how long ago it was taken."""

    key: str
    age_us: int


class Exposure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How things stand for one order at its venue, before it.

    Positions are net quantities, above zero where long. ``account_open`` and ``strategy_open``: the most that the open orders
    on the order's own side can still trade, in its instrument.
    """

    account_position: Decimal = _ZERO
    account_open: Decimal = _ZERO
    strategy_position: Decimal = _ZERO
    strategy_open: Decimal = _ZERO
    open_orders: int = 0
    """Of the strategy in the account, in all instruments."""
    orders_last_s: int = 0
    """Taken within the last second, likewise."""
    facing: OwnOrder | None = None
    """The open order of the account on the other side with the best price."""
    twin: Twin | None = None
    """The last order with the same content under another key, however long ago."""
    reference: Decimal | None = None
    """The last known price of the instrument."""


def reduces(
    side: Side,
    quantity: Decimal,
    account_position: Decimal,
    strategy_position: Decimal,
    account_open: Decimal,
    strategy_open: Decimal,
) -> bool:
    """Tell whether an order can only bring a position nearer to zero, whatever else fills.

    Positions are net quantities, above zero where long. ``account_open`` and ``strategy_open``: the most that the open orders
    of the account and of the strategy can still trade on the same side as this order. It and they must together stay within
    both positions, so that two reductions cannot together open one.
    """
    return _within(side, quantity, account_position, account_open) and _within(
        side, quantity, strategy_position, strategy_open
    )


def _within(side: Side, quantity: Decimal, position: Decimal, opened: Decimal) -> bool:
    to_close = position if side is Side.SELL else EXACT.minus(position)
    return to_close > _ZERO and EXACT.add(quantity, opened) <= to_close


def can_trade(order: Order) -> Decimal:
    """Return the most that an order can still add to its position.

    Until its end that is its whole quantity, or that of a replace that is wanted if it is more; then only what the venue has
    counted and not told of yet.
    """
    most = order.counted_quantity
    if order.status in ENDED:
        if order.closed:
            return _ZERO
    else:
        most = max(most, order.quantity)
        if order.replacement is not None:
            most = max(most, order.replacement.quantity)
    return max(EXACT.subtract(most, order.cum_quantity), _ZERO)


def prices(order: Order) -> tuple[Decimal | None, ...]:
    """Return the prices at which an open order may stand at the venue; ``None`` is any."""
    if order.replacement is None or order.replacement.price == order.price:
        return (order.price,)
    return (order.price, order.replacement.price)


# ------------------------------------------------------------------------ gates


class _Asked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is to be judged: a new order, or an order as a replace would have it."""

    intent: Intent
    quantity: Decimal
    price: Decimal | None
    added: Decimal
    """By how much more can trade than before."""
    allow_similar: bool = False


_Judge = Callable[[_Asked, InForce, Exposure], str | None]


def _size(asked: _Asked, limits: InForce, _exposure: Exposure) -> str | None:
    if limits.max_quantity is None or asked.quantity <= limits.max_quantity:
        return None
    return f"quantity {plain(asked.quantity)} is above max_quantity {plain(limits.max_quantity)}"


def _notional(asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    if limits.max_notional is None:
        return None
    price = asked.price
    if price is None and exposure.reference is None:
        return _no_reference(asked, limits, "a market order has no value")
    if exposure.reference is not None and (price is None or asked.intent.side is Side.SELL):
        price = (
            exposure.reference if price is None else max(price, exposure.reference)
        )  # a sell trades at its price or above
    value = EXACT.multiply(asked.quantity, price or _ZERO)
    if value <= limits.max_notional:
        return None
    told = f"{plain(asked.quantity)} at {plain(price or _ZERO)} is {plain(value)}"
    return f"{told}, above max_notional {plain(limits.max_notional)}"


def _no_reference(asked: _Asked, limits: InForce, problem: str) -> str | None:
    if limits.without_reference is WithoutReference.PASS:
        return None
    known = f"{problem} while no reference price of {asked.intent.instrument} is known"
    return f'{known}; give one, or set without_reference to "pass"'


def _collar(asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    if limits.collar is None or asked.price is None:
        return None
    reference = exposure.reference
    if reference is None:
        return _no_reference(asked, limits, "a price cannot be judged")
    buys = asked.intent.side is Side.BUY
    edge = EXACT.multiply(reference, EXACT.add(_ONE, limits.collar) if buys else EXACT.subtract(_ONE, limits.collar))
    if asked.price <= edge if buys else asked.price >= edge:
        return None
    away = "above" if buys else "below"
    sign = "+" if buys else "-"
    return (
        f"a {asked.intent.side} at {plain(asked.price)} is {away} {plain(edge)}, "
        f"the reference price {plain(reference)} {sign} collar {plain(limits.collar)} of it"
    )


def _position(asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    account = ("the account", "max_position", limits.max_position, exposure.account_position, exposure.account_open)
    strategy = (
        "the strategy",
        "max_strategy_position",
        limits.max_strategy_position,
        exposure.strategy_position,
        exposure.strategy_open,
    )
    for whose, name, limit, position, opened in (account, strategy):
        if limit is None:
            continue
        signed = position if asked.intent.side is Side.BUY else EXACT.minus(position)
        before = EXACT.add(signed, opened)
        worst = EXACT.add(before, asked.added)
        if worst > limit:
            room = max(EXACT.subtract(limit, before), _ZERO)
            way = "long" if asked.intent.side is Side.BUY else "short"
            return (
                f"{whose} could come to be {plain(worst)} {way} of {asked.intent.instrument} "
                f"(position {plain(position)}, open to {asked.intent.side} {plain(opened)}, and {plain(asked.added)} more); "
                f"{name} is {plain(limit)}, which leaves {plain(room)}"
            )
    return None


def _open_orders(_asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    if limits.max_open_orders is None or exposure.open_orders < limits.max_open_orders:
        return None
    return f"{exposure.open_orders} orders of the strategy are open; max_open_orders is {limits.max_open_orders}"


def _rate(_asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    if limits.max_orders_per_s is None or exposure.orders_last_s < limits.max_orders_per_s:
        return None
    taken = f"{exposure.orders_last_s} orders of the strategy were taken within the last second"
    return f"{taken}; max_orders_per_s is {limits.max_orders_per_s}"


def _self_crossing(asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    facing = exposure.facing
    if facing is None or limits.self_crossing is SelfCrossing.ALLOW:
        return None
    if asked.price is not None and facing.price is not None:
        apart = asked.price < facing.price if asked.intent.side is Side.BUY else asked.price > facing.price
        if apart:
            return None
    return (
        f"a {asked.intent.side} {_at(asked.price)} could trade with this account's own open order {facing.key!r} "
        f"{_at(facing.price)}; cancel that one first"
    )


def _at(price: Decimal | None) -> str:
    return "at the market" if price is None else f"at {plain(price)}"


def _similar(asked: _Asked, limits: InForce, exposure: Exposure) -> str | None:
    twin = exposure.twin
    if twin is None or asked.allow_similar or twin.age_us >= limits.similar_window_us:
        return None
    return (
        f"order {twin.key!r} with the same account, instrument, side, quantity and price was taken {twin.age_us / 1e6:.3f} s "
        f"ago (similar_window_s is {limits.similar_window_s:g}). If both are wanted, say allow_similar"
    )


_GATES: dict[Gate, _Judge] = {
    Gate.SIZE: _size,
    Gate.NOTIONAL: _notional,
    Gate.COLLAR: _collar,
    Gate.POSITION: _position,
    Gate.OPEN_ORDERS: _open_orders,
    Gate.RATE: _rate,
    Gate.SELF_CROSSING: _self_crossing,
    Gate.SIMILAR: _similar,
}
FINAL = "This key keeps this answer: what is to be tried again needs a new key"
"""Ends the reason of every refused order."""


def judge(intent: Intent, limits: InForce, exposure: Exposure, *, allow_similar: bool = False) -> Refusal | None:
    """Return what the first gate that refuses a new order says, or ``None`` if none does."""
    asked = _Asked(
        intent=intent,
        quantity=intent.quantity,
        price=intent.price,
        added=intent.quantity,
        allow_similar=allow_similar,
    )
    for gate, refuses in _GATES.items():
        reason = refuses(asked, limits, exposure)
        if reason is not None:
            return Refusal(gate, f"{reason}. {FINAL}")
    return None


def judge_replace(
    order: Order, quantity: Decimal, price: Decimal | None, limits: InForce, exposure: Exposure
) -> Refusal | None:
    """Return what the first gate that refuses a replace says. What takes risk away is never refused."""
    raised, moved = quantity > order.quantity, price != order.price
    gates: list[Gate] = []
    if raised:
        gates += [Gate.SIZE, Gate.POSITION]
    if EXACT.multiply(quantity, price or _ZERO) > EXACT.multiply(order.quantity, order.price or _ZERO):
        gates.append(Gate.NOTIONAL)
    if moved:
        gates += [Gate.COLLAR, Gate.SELF_CROSSING]
    before = EXACT.add(order.cum_quantity, can_trade(order))
    added = max(EXACT.subtract(quantity, before), _ZERO)
    asked = _Asked(intent=order.intent, quantity=quantity, price=price, added=added)
    for gate, refuses in _GATES.items():
        if gate in gates and (reason := refuses(asked, limits, exposure)) is not None:
            return Refusal(gate, reason)
    return None
