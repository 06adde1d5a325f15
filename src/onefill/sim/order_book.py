"""A price-time book for one instrument. Prices are whole ticks inside, so that sorting and hashing stay cheap and exact."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from onefill.core.messages import SubmitRequest, VenueOrder, VenueStatus
from onefill.core.values import Instrument, OrderType, Side, TimeInForce

MAX_STEPS = 10**18
"""Largest quantity and price in steps. It keeps every sum of quantities exact in Decimal's default 28 digits."""
_ZERO = Decimal(0)


# Records live for ever and cannot form cycles: keeping them from the garbage collector keeps its passes short.
class BookOrder(msgspec.Struct, eq=False, gc=False):
    """One order as the exchange keeps it. ``number`` rises by one over the whole exchange, from 1.

    ``key`` orders limit prices within a side, best highest: ticks for bids, negated ticks for offers. ``place`` is what it
    is known by among the orders at its price. ``replaces`` and ``replaced_by`` are the numbers of its neighbours in a chain
    of replaces under changing ids, 0 where there is none. ``value`` (of what was executed) and ``told`` (the executed quantity
    last told) are kept only where totals are told. ``ended_us``: when it ended last.
    """

    number: int
    request: SubmitRequest
    status: VenueStatus
    cum_quantity: Decimal
    created_at_us: int
    place: int
    key: int = 0
    reports: int = 0
    reason: str | None = None
    orig_client_order_id: str | None = None
    replaces: int = 0
    replaced_by: int = 0
    value: Decimal = _ZERO
    told: Decimal = _ZERO
    ended_us: int = 0

    @property
    def leaves(self) -> Decimal:
        """The quantity that has not traded."""
        return self.request.quantity - self.cum_quantity

    @property
    def venue_order_id(self) -> str:
        """The exchange's own id of the order."""
        return f"X{self.number}"

    def view(self) -> VenueOrder:
        """Return the order as shown to its owner now."""
        request = self.request
        return VenueOrder(
            client_order_id=request.client_order_id,
            venue_order_id=f"X{self.number}",
            instrument=request.instrument,
            side=request.side,
            quantity=request.quantity,
            order_type=request.order_type,
            price=request.price,
            status=self.status,
            cum_quantity=self.cum_quantity,
            reason=self.reason,
        )


class ExchangeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as shown to a judge. ``created_at_us``: when the exchange took it in.

    Two orders linked by a replace are one order. ``orig_client_order_id``: whose place it took; ``replaced_by``: the
    ``venue_order_id`` of the order that goes on in its own place. Executed quantity counts along the chain, so the last
    link's is the chain's. See :func:`chains`.
    """

    number: int
    account: str
    client_order_id: str
    venue_order_id: str
    instrument: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    price: Decimal | None
    time_in_force: TimeInForce
    status: VenueStatus
    cum_quantity: Decimal
    created_at_us: int
    reason: str | None
    orig_client_order_id: str | None = None
    replaced_by: str | None = None


def judged(order: BookOrder) -> ExchangeOrder:
    """Return the order as shown to a judge now."""
    request = order.request
    return ExchangeOrder(
        number=order.number,
        account=request.account,
        client_order_id=request.client_order_id,
        venue_order_id=order.venue_order_id,
        instrument=request.instrument,
        side=request.side,
        quantity=request.quantity,
        order_type=request.order_type,
        price=request.price,
        time_in_force=request.time_in_force,
        status=order.status,
        cum_quantity=order.cum_quantity,
        created_at_us=order.created_at_us,
        reason=order.reason,
        orig_client_order_id=order.orig_client_order_id,
        replaced_by=f"X{order.replaced_by}" if order.replaced_by else None,
    )


def chains(orders: Iterable[ExchangeOrder]) -> list[list[ExchangeOrder]]:
    """Return the orders of one exchange with those linked by replaces put together, each chain from its first to its last.

    Links to orders that are not among ``orders`` are not followed.
    """
    by_id = {order.venue_order_id: order for order in orders}
    later = {order.replaced_by for order in by_id.values()}
    found = []
    for first in by_id.values():
        if first.venue_order_id in later:
            continue
        chain = [first]
        while (following := by_id.get(chain[-1].replaced_by or "")) is not None:
            chain.append(following)
        found.append(chain)
    return found


class BookSide:
    """The resting orders of one side: best price first, then first come."""

    def __init__(self) -> None:
        self._keys: list[int] = []  # ascending: the best is at the end, where taking it away is cheap
        self._levels: dict[int, OrderedDict[int, BookOrder]] = {}

    def add(self, order: BookOrder) -> None:
        """Put an order behind the others at its price."""
        level = self._levels.get(order.key)
        if level is None:
            # An OrderedDict and not a dict: the first of a dict whose head was deleted is found by walking over the gap.
            level = self._levels[order.key] = OrderedDict()
            insort(self._keys, order.key)
        level[order.place] = order

    def take_place(self, order: BookOrder, of: BookOrder) -> None:
        """Put ``order`` exactly where ``of`` rests, which leaves. Both are at one price."""
        order.key, order.place = of.key, of.place
        self._levels[of.key][of.place] = order

    def remove(self, order: BookOrder) -> None:
        """Take an order out. Raises KeyError if it does not rest here."""
        level = self._levels[order.key]
        del level[order.place]
        if not level:
            del self._levels[order.key]
            del self._keys[bisect_left(self._keys, order.key)]

    def best(self) -> BookOrder | None:
        """Return the order that trades next, or ``None``."""
        if not self._keys:
            return None
        return next(iter(self._levels[self._keys[-1]].values()))

    def holds(self, wanted: Decimal, limit: int | None) -> bool:
        """Tell whether at least ``wanted`` rests at ``limit`` or better (``None``: at any price)."""
        found = Decimal(0)
        for key in reversed(self._keys):
            if limit is not None and key < limit:
                return False
            for order in self._levels[key].values():
                found += order.leaves
                if found >= wanted:
                    return True
        return False

    def orders(self) -> list[BookOrder]:
        """Return the resting orders, best first."""
        return [order for key in reversed(self._keys) for order in self._levels[key].values()]


class OrderBook:
    """Both sides of one instrument."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._max_quantity = instrument.quantity_step * MAX_STEPS
        self._max_price = instrument.price_tick * MAX_STEPS
        self._bids = BookSide()
        self._offers = BookSide()

    def side(self, side: Side) -> BookSide:
        """Return the resting orders of ``side``."""
        return self._bids if side is Side.BUY else self._offers

    def against(self, side: Side) -> BookSide:
        """Return the resting orders that an order of ``side`` trades with."""
        return self._offers if side is Side.BUY else self._bids

    def off_grid(self, request: SubmitRequest) -> tuple[str, str] | None:
        """Return (code, reason) if quantity or price is not one this instrument trades in."""
        quantity, price, instrument = request.quantity, request.price, self.instrument
        # Sizes first: the remainder of a number far above its step cannot be computed exactly.
        if quantity > self._max_quantity:
            return "quantity_too_large", f"quantity {quantity} is above {self._max_quantity}"
        if quantity < instrument.min_quantity:
            return "below_minimum", f"quantity {quantity} is below the minimum of {instrument.min_quantity}"
        if quantity % instrument.quantity_step:
            return "off_grid_quantity", f"quantity {quantity} is not a multiple of {instrument.quantity_step}"
        if price is not None:
            if price > self._max_price:
                return "price_too_large", f"price {price} is above {self._max_price}"
            if price < instrument.price_tick or price % instrument.price_tick:
                return "off_grid_price", f"price {price} is not a multiple of {instrument.price_tick}"
        return None

    def key_of(self, request: SubmitRequest) -> int:
        """Return where a limit order on the grid sorts within its side."""
        if request.price is None:
            return 0
        ticks = int(request.price / self.instrument.price_tick)
        return ticks if request.side is Side.BUY else -ticks
