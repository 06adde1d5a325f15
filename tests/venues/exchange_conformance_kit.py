"""Kits of the venue suite over the simulated exchange: in this process, and over sockets."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from onefill.core.messages import SubmitRequest, VenueOrder
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.ports.venue import Venue
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.sim.venue import SimulatedVenue, wall_clock_us
from onefill.testing.venue import Ability, CuttableWire, Sent, VenueKit, WireFault
from onefill.venues.exchange_client import ExchangeVenue

COIN = Instrument(
    symbol="COIN", price_tick=Decimal("0.01"), quantity_step=Decimal("0.0001"), min_quantity=Decimal("0.0001")
)


class ExchangeKit(VenueKit):
    """What both have in common: the exchange is asked directly."""

    account = "main"
    instrument = COIN.symbol
    price = Decimal("97.13")
    quantity = Decimal("1.2345")

    def __init__(self, dialect: Dialect) -> None:
        self.exchange = Exchange(dialect, [COIN])
        self._others = 0

    async def truth(self) -> Sequence[VenueOrder]:
        self.exchange.advance(self.now_us())
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
            for order in self.exchange.all_orders()
            if order.account == self.account
        ]

    async def sent(self) -> Sent:
        counts = self.exchange.counts()
        return Sent(counts.submits - self._others, counts.cancels, counts.replaces)

    async def fill(self, order: VenueOrder, quantity: Decimal) -> None:
        self._others += 1
        self.exchange.submit(
            SubmitRequest(
                client_order_id=f"other-{self._others}",
                account="other",
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
        self.exchange.advance(self.now_us() + self.exchange.dialect.acknowledge_delay_us)

    def refused(self, request: SubmitRequest) -> SubmitRequest:
        return SubmitRequest(
            **{name: getattr(request, name) for name in request.__struct_fields__ if name != "quantity"},
            quantity=request.quantity + COIN.quantity_step / 2,
        )


class _Lossy:
    """An exchange that is called over a bad line."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.losses: list[bool] = []
        """Whether the next calls arrive before they are lost."""

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._exchange, name)
        if name not in {"submit", "cancel", "replace"} or not self.losses:
            return called
        arrives = self.losses.pop(0)

        def lost(*arguments: Any) -> None:
            if arrives:
                called(*arguments)
            raise ConnectionResetError("the line is dead")

        return lost


class InProcessKit(ExchangeKit):
    """The exchange in this process. There is no connection that could be refused, silent or cut, and no reply to garble."""

    cannot: ClassVar = dict.fromkeys(
        (Ability.GARBLE_REPLY, Ability.GO_AWAY, Ability.FALL_SILENT, Ability.CUT_STREAMS),
        "a call in process has no wire",
    )

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._line = _Lossy(self.exchange)

    def venue(self, answer_s: float) -> Venue:
        line: Any = self._line
        return SimulatedVenue(line, self.account, wall_clock_us)

    async def lose_reply(self) -> None:
        self._line.losses.append(True)

    async def lose_request(self) -> None:
        self._line.losses.append(False)

    async def close(self) -> None:
        return


class SocketKit(ExchangeKit):
    """The exchange's server, and a wire in front of it."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._server = ExchangeServer(self.exchange, heartbeat_s=0.2)
        self._wire: CuttableWire | None = None

    async def begin(self) -> "SocketKit":
        self._wire = CuttableWire("127.0.0.1", await self._server.start())
        await self._wire.start()
        return self

    @property
    def wire(self) -> CuttableWire:
        assert self._wire is not None
        return self._wire

    def venue(self, answer_s: float) -> Venue:
        return ExchangeVenue(f"http://127.0.0.1:{self.wire.port}", self.account, answer_s, start_attempts=2)

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
        await self._server.close()
