"""What tests of imitations that decide a moment later share: having it done now, and orders of somebody else."""

from decimal import Decimal

from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations.base import Imitation


def decided(imitation: Imitation) -> None:
    """Have the exchange decide all that it has taken in, whatever time it is."""
    while (due := imitation.exchange.next_due_us()) is not None:
        imitation.exchange.advance(due)


def by_another(imitation: Imitation, side: str, quantity: object, price: object, instrument: str = "BTC/USDT") -> None:
    """Have somebody else's limit order come to the venue, and all that is taken in be decided."""
    decided(imitation)
    request = SubmitRequest(
        client_order_id=f"0x{imitation.exchange.counts().submits:032x}",
        account="other",
        instrument=instrument,
        side=Side(side),
        quantity=Decimal(str(quantity)),
        order_type=OrderType.LIMIT,
        price=Decimal(str(price)),
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )
    assert isinstance(imitation.exchange.submit(request, imitation.clock_us()), Accepted)
    decided(imitation)
