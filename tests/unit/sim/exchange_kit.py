"""What tests of the simulated exchange share: two instruments, short ways to write requests, and a naive second matcher."""

from decimal import Decimal
from typing import Any

from onefill.core.messages import (
    Accepted,
    CancelRequest,
    ExecutionKind,
    ExecutionReport,
    Replaced,
    ReplaceRequest,
    SubmitRequest,
    VenueOrder,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange

ACME = Instrument(symbol="ACME", price_tick=Decimal("0.05"), quantity_step=Decimal("0.5"), min_quantity=Decimal(1))
ZINC = Instrument(symbol="ZINC", price_tick=Decimal(1), quantity_step=Decimal(1), min_quantity=Decimal(1))
NOON_US = 1_750_000_000 * 1_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
DAY_US = 86_400_000_000


def exchange(**dialect: Any) -> Exchange:
    """Return an exchange of the given dialect that trades ACME and ZINC."""
    return Exchange(Dialect(**dialect), [ACME, ZINC])


def limit(client_order_id: str, side: str, quantity: object, price: object, **other: Any) -> SubmitRequest:
    """Return a limit order, account ``A``, instrument ACME, good till cancelled unless said otherwise."""
    return order(client_order_id, side, quantity, price=Decimal(str(price)), order_type=OrderType.LIMIT, **other)


def market(client_order_id: str, side: str, quantity: object, **other: Any) -> SubmitRequest:
    """Return a market order."""
    return order(client_order_id, side, quantity, price=None, order_type=OrderType.MARKET, **other)


def order(client_order_id: str, side: str, quantity: object, **other: Any) -> SubmitRequest:
    """Return an order with defaults for everything not given."""
    fields: dict[str, Any] = {
        "account": "A",
        "instrument": "ACME",
        "order_type": OrderType.LIMIT,
        "price": Decimal(10),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return SubmitRequest(client_order_id=client_order_id, side=Side(side), quantity=Decimal(str(quantity)), **fields)


def cancel(
    client_order_id: str, *, account: str = "A", instrument: str = "ACME", venue_order_id: str | None = None
) -> CancelRequest:
    """Return a cancel."""
    return CancelRequest(
        client_order_id=client_order_id, account=account, instrument=instrument, venue_order_id=venue_order_id
    )


def replace(old: str, quantity: object, price: object, new: str | None = None, **other: Any) -> ReplaceRequest:
    """Return a replace of the buy order ``old``, under the id ``new`` or its own, with defaults for what is not given."""
    fields: dict[str, Any] = {
        "account": "A",
        "instrument": "ACME",
        "venue_order_id": None,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": None,
    } | other
    return ReplaceRequest(
        client_order_id=new or old,
        orig_client_order_id=old,
        quantity=Decimal(str(quantity)),
        price=None if price is None else Decimal(str(price)),
        **fields,
    )


def replaced(reply: object) -> VenueOrder:
    """Return the order if it was replaced; fail otherwise."""
    assert isinstance(reply, Replaced), reply
    return reply.order


def accepted(reply: object) -> Accepted:
    """Return the reply if the order was taken; fail otherwise."""
    assert isinstance(reply, Accepted), reply
    return reply


def told(reports: list[ExecutionReport]) -> list[str]:
    """Return each report as ``id kind [quantity@price]``, which a reader can check at a glance."""
    return [
        f"{report.client_order_id} {report.kind}"
        + (f" {report.last_quantity}@{report.last_price}" if report.kind is ExecutionKind.TRADE else "")
        for report in reports
    ]


class NaiveMatcher:
    """Price-time matching written a second time, slowly and plainly: one list, searched from the start each time."""

    def __init__(self) -> None:
        self.resting: list[list[Any]] = []  # [request, leaves], in order of arrival
        self.trades: list[tuple[str, str, Decimal, Decimal]] = []  # (resting id, arriving id, quantity, price)

    def submit(self, request: SubmitRequest) -> None:
        """Trade what can be traded, and let the rest rest where it may."""
        if (
            request.time_in_force is TimeInForce.FOK
            and sum(one[1] for one in self._crossing(request)) < request.quantity
        ):
            return
        self._arrive(request, request.quantity)

    def replace(self, client_order_id: str, request: SubmitRequest) -> None:
        """Make a resting order another one: less of it stays where it is, anything else leaves and arrives anew."""
        (place,) = [at for at, one in enumerate(self.resting) if one[0].client_order_id == client_order_id]
        old, old_leaves = self.resting[place]
        leaves = request.quantity - (old.quantity - old_leaves)
        if leaves and request.price == old.price and leaves <= old_leaves:
            self.resting[place] = [request, leaves]
            return
        del self.resting[place]
        if leaves:
            self._arrive(request, leaves)

    def _arrive(self, request: SubmitRequest, leaves: Decimal) -> None:
        for one in self._crossing(request):
            quantity = min(leaves, one[1])
            if quantity == 0:
                break
            self.trades.append((one[0].client_order_id, request.client_order_id, quantity, one[0].price))
            one[1] -= quantity
            leaves -= quantity
        self.resting = [one for one in self.resting if one[1]]
        if (
            leaves
            and request.order_type is OrderType.LIMIT
            and request.time_in_force in (TimeInForce.DAY, TimeInForce.GTC)
        ):
            self.resting.append([request, leaves])

    def cancel(self, client_order_id: str) -> None:
        """Take a resting order out."""
        self.resting = [one for one in self.resting if one[0].client_order_id != client_order_id]

    def _crossing(self, request: SubmitRequest) -> list[list[Any]]:
        buying = request.side is Side.BUY
        others = [
            one for one in self.resting if one[0].side is not request.side and one[0].instrument == request.instrument
        ]
        if request.price is not None:
            others = [
                one for one in others if (one[0].price <= request.price if buying else one[0].price >= request.price)
            ]
        return sorted(
            others, key=lambda one: one[0].price if buying else -one[0].price
        )  # sorted() keeps arrival within a price
