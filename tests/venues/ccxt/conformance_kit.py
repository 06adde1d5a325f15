"""The venue suite over an imitation and the adapter for ccxt, with a wire between them that can be cut.

A venue's test says which imitation::

    class TestBinanceSpot(CcxtConformance):
        imitation = BinanceSpot

``price`` and ``quantity`` are set there too where those below do not suit the imitation's instrument.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from onefill.core.messages import Rejected, SubmitRequest, VenueOrder
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.ports.venue import Venue
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.testing.venue import CuttableWire, Sent, VenueConformance, VenueKit, WireFault
from onefill.venues.ccxt.venue import CcxtVenue

OTHERS = "somebody-else"


class CcxtKit(VenueKit):
    """One imitation. ``settings`` are those of the adapter."""

    account = ACCOUNT
    other_account = OTHERS
    own_numbers = True

    def __init__(self, imitation: Imitation, price: Decimal, quantity: Decimal, settings: dict[str, Any]) -> None:
        self.imitation = imitation
        self.instrument = next(iter(imitation.exchange.instruments))
        self.price, self.quantity = price, quantity
        self._settings = settings
        self._others = 0
        self._refused_here = 0
        self._wire: CuttableWire | None = None

    async def begin(self) -> "CcxtKit":
        """Listen."""
        self._wire = CuttableWire("127.0.0.1", await self.imitation.start())
        await self._wire.start()
        return self

    @property
    def wire(self) -> CuttableWire:
        assert self._wire is not None
        return self._wire

    @property
    def url(self) -> str:
        """Where the adapter finds the imitation."""
        return f"http://127.0.0.1:{self.wire.port}"

    def venue(self, answer_s: float) -> Venue:
        given: dict[str, Any] = {
            "url": self.url,
            "timeout_s": answer_s,
            "instruments": (self.instrument,),
            "poll_s": 0.05,
            **self._settings,
        }
        config = {**self.imitation.config(), "enableRateLimit": False, **given.pop("config", {})}
        return CcxtVenue(self.imitation.ccxt_id, self.account, config=config, **given)

    def now_us(self) -> int:
        return self.imitation.clock_us()

    # ------------------------------------------------------------------- truth

    async def truth(self) -> Sequence[VenueOrder]:
        exchange = self.imitation.exchange
        exchange.advance(self.now_us())
        return [
            VenueOrder(
                client_order_id=order.client_order_id,
                venue_order_id=order.venue_order_id,
                instrument=order.instrument,
                side=order.side,
                quantity=order.quantity,
                order_type=order.order_type,
                price=order.price,
                status=order.status,
                cum_quantity=order.cum_quantity,
            )
            for order in exchange.all_orders()
            if order.account == self.account
        ]

    async def sent(self) -> Sent:
        counts = self.imitation.exchange.counts()
        return Sent(counts.submits - self._others + self._refused_here, counts.cancels, counts.replaces)

    # ------------------------------------------------------------------- others

    async def fill(self, order: VenueOrder, quantity: Decimal) -> None:
        self._others += 1
        reply = self.imitation.exchange.submit(
            SubmitRequest(
                client_order_id=f"{self.imitation.dialect.id_format.prefix}{self._others:020x}",
                account=OTHERS,
                instrument=self.instrument,
                side=Side.SELL,
                quantity=quantity,
                order_type=OrderType.LIMIT,
                price=order.price,
                time_in_force=TimeInForce.GTC,
                expires_at_us=None,
            ),
            self.now_us(),
        )
        assert not isinstance(reply, Rejected), reply
        self.imitation.arm()

    def refused(self, request: SubmitRequest) -> SubmitRequest:
        exchange: Any = self.imitation.exchange
        carry_out = exchange.submit

        def refuse(*_: Any) -> Rejected:
            exchange.submit = carry_out
            self._refused_here += 1
            return Rejected("quantity is not a multiple of the step", "off_grid_quantity")

        exchange.submit = refuse
        return request

    # ------------------------------------------------------------------- faults

    async def lose_reply(self) -> None:
        self.wire.arm(WireFault.LOSE_REPLY)

    async def lose_request(self) -> None:
        self.wire.arm(WireFault.LOSE_REQUEST)

    async def garble_reply(self) -> None:
        self.wire.arm(WireFault.GARBLE_REPLY)

    async def go_away(self) -> None:
        await self.wire.go_away()

    async def fall_silent(self) -> None:
        self.wire.fall_silent()

    async def come_back(self) -> None:
        await self.wire.come_back()

    async def cut_streams(self) -> None:
        self.wire.cut()

    async def close(self) -> None:
        await self.wire.close()
        await self.imitation.close()


class CcxtConformance(VenueConformance):
    """The whole suite over one imitation."""

    imitation: ClassVar[type[Imitation]]
    price: ClassVar[Decimal] = Decimal("60000.13")
    quantity: ClassVar[Decimal] = Decimal("0.12345678")
    settings: ClassVar[dict[str, Any]] = {}
    kit_type: ClassVar[type[CcxtKit]] = CcxtKit

    async def kit(self) -> VenueKit:
        return await self.kit_type(self.imitation(), self.price, self.quantity, dict(self.settings)).begin()

    def not_shown(self, name: str, why: str) -> None:
        """An imitation can do everything: there is nothing that is not shown."""
        raise AssertionError(f"{name}: {why}")
