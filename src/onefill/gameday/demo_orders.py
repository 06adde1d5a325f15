"""The orders of the demo: seeded, each intent unlike any other, and each sure to fill at once against a market maker."""

import csv
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from onefill.core.messages import Accepted, SubmitRequest
from onefill.core.values import Instrument, OrderType, Side, TimeInForce, plain
from onefill.gameday.processes import DrillFailed
from onefill.sim.exchange import Exchange

ACCOUNT = "main"
STRATEGY = "demo"
INSTRUMENT = Instrument(
    symbol="BTC-USD",
    price_tick=Decimal("0.01"),
    quantity_step=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
)
_BID, _OFFER = Decimal(60_000), Decimal(60_010)
_DEPTH = Decimal(10_000_000)
_FIRST_LIMIT = {Side.BUY: Decimal(61_000), Side.SELL: Decimal(59_000)}


class DemoIntent(msgspec.Struct, frozen=True):
    """One order of the blotter: a limit order that crosses the market."""

    key: str
    side: Side
    quantity: Decimal
    """In BTC."""
    price: Decimal
    """Limit in USD; no two intents have the same, which tells their requests apart."""

    @property
    def signed_quantity(self) -> Decimal:
        """By how much the order should move the position: positive for a buy."""
        return self.quantity if self.side is Side.BUY else -self.quantity


def make_intents(count: int, seed: int) -> list[DemoIntent]:
    """Return ``count`` intents; the same seed gives the same ones. About six in ten buy."""
    draw = random.Random(f"intents {seed}")  # noqa: S311 - orders to practise on
    intents = []
    for number in range(1, count + 1):
        side = Side.BUY if draw.random() < 0.6 else Side.SELL
        away = INSTRUMENT.price_tick * number
        price = _FIRST_LIMIT[side] + (away if side is Side.BUY else -away)
        quantity = INSTRUMENT.quantity_step * draw.randint(100, 5_000)
        intents.append(DemoIntent(f"demo-{number:06d}", side, quantity, price))
    return intents


def intended_position(intents: Sequence[DemoIntent]) -> Decimal:
    """Return the position in BTC that the intents add up to."""
    return sum((intent.signed_quantity for intent in intents), Decimal(0))


def write_blotter(path: Path, intents: Sequence[DemoIntent]) -> None:
    """Write the intents as a file for ``onefill run``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ("key", "instrument", "side", "quantity", "type", "price", "time in force", "account", "strategy")
        )
        for intent in intents:
            rows.writerow(
                (
                    intent.key,
                    INSTRUMENT.symbol,
                    intent.side.value,
                    plain(intent.quantity),
                    OrderType.LIMIT.value,
                    plain(intent.price),
                    TimeInForce.DAY.value,
                    ACCOUNT,
                    STRATEGY,
                )
            )


def make_market(exchange: Exchange, now_us: int) -> None:
    """Have another account quote both sides, deep enough for every order there may be."""
    for side, price in ((Side.BUY, _BID), (Side.SELL, _OFFER)):
        reply = exchange.submit(
            SubmitRequest(
                client_order_id=f"market-maker-{side.value}",
                account="maker",
                instrument=INSTRUMENT.symbol,
                side=side,
                quantity=_DEPTH,
                order_type=OrderType.LIMIT,
                price=price,
                time_in_force=TimeInForce.GTC,
                expires_at_us=None,
            ),
            now_us,
        )
        if not isinstance(reply, Accepted):
            raise DrillFailed(f"the exchange does not take the market maker's quote: {reply}")
