"""The judge of the failover drills must be able to condemn: each promise, broken on purpose, is named."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from onefill.core.answers import submit_answer
from onefill.core.identity import key_digest
from onefill.core.intent import Intent
from onefill.core.order import Order
from onefill.core.position import Execution
from onefill.core.values import Instrument, Side
from onefill.engine.gateway import Gateway
from onefill.gameday import failover_judge as judging
from onefill.gameday.load import STRATEGY, Acknowledged
from onefill.gameday.node_words import route_of
from onefill.ledger.sqlite import SqliteLedger
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_desk import ExchangeTrade
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.venue import SimulatedVenue, wall_clock_us

ACCOUNT, KEYS = "acct1", ("k1", "k2")
COIN = Instrument(
    symbol="BTC-USD", price_tick=Decimal("0.01"), quantity_step=Decimal("0.001"), min_quantity=Decimal("0.001")
)


class Clock:
    def now_us(self) -> int:
        return wall_clock_us()


class World(msgspec.Struct, frozen=True):
    """What is true after a buy and a sell that traded with each other."""

    acknowledged: list[Acknowledged]
    recorded: dict[bytes, Order]
    book: list[ExchangeOrder]
    trades: list[ExchangeTrade]
    log: list[Execution]

    def orders(self, **changed: object) -> list[str]:
        """Judge the orders with something changed."""
        given = {"acknowledged": self.acknowledged, "recorded": self.recorded, "book": self.book, **changed}
        return judging.judge_orders(**given)  # type: ignore[arg-type]


async def _play(folder: Path) -> World:
    exchange = Exchange(Dialect(), [COIN])
    ledger = await SqliteLedger.open(str(folder / "orders.db"), seed=bytes(16), holder="judge", at_us=1)
    venues = {route_of(ACCOUNT): SimulatedVenue(exchange, ACCOUNT)}
    async with Gateway(ledger, venues, clock=Clock(), holder="judge") as gateway:
        acknowledged = []
        for key, side in zip(KEYS, (Side.BUY, Side.SELL), strict=True):
            intent = Intent(
                account=ACCOUNT,
                strategy=STRATEGY,
                instrument=COIN.symbol,
                side=side,
                quantity=Decimal("0.5"),
                price=Decimal(100),
            )
            answer = await gateway.submit_raw(intent, key=key)
            acknowledged.append(Acknowledged(ACCOUNT, key, answer, 0.0, 1.0))
        await gateway.catch_up()
        log = await judging.read_executions(ledger, route_of(ACCOUNT))
        recorded = await judging.read_orders(ledger)
        assert await judging.judge_chains(ledger) == []
    book, trades = list(exchange.all_orders()), exchange.trades(ACCOUNT)
    return World(acknowledged, recorded, book, trades, log)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return two orders that traded with each other, and all that is known of them."""
    return asyncio.run(_play(tmp_path))


def test_what_is_true_is_not_condemned(world: World) -> None:
    """Orders and executions that agree on all sides break no promise."""
    assert len(world.book) == len(world.trades) == len(world.log) == 2
    assert world.orders() == []
    assert judging.judge_executions(ACCOUNT, world.trades, world.log) == []


def test_an_acknowledged_order_that_the_ledger_lost_is_named(world: World) -> None:
    """NO-LOSS: an answer without its order in the ledger."""
    digest = key_digest(ACCOUNT, STRATEGY, "k1")
    found = world.orders(recorded={key: order for key, order in world.recorded.items() if key != digest})
    assert found[0] == "NO-LOSS: acknowledged, and not in the ledger: k1"
    assert found[1].startswith("LEDGER-FIRST: at the exchange, and not in the ledger")


def test_another_answer_than_the_ledgers_is_named(world: World) -> None:
    """SAME-ANSWER: a caller has other bytes than the ledger."""
    order = world.recorded[key_digest(ACCOUNT, STRATEGY, "k2")]
    other = msgspec.structs.replace(world.acknowledged[1], answer=submit_answer(order, 5))
    assert world.orders(acknowledged=[world.acknowledged[0], other]) == [
        "SAME-ANSWER: the ledger holds another answer than a caller has: k2"
    ]


def test_an_accepted_order_that_is_not_at_the_exchange_is_named(world: World) -> None:
    """NO-LOSS: an order acknowledged as accepted is there."""
    assert world.orders(book=world.book[:1]) == ["NO-LOSS: acknowledged as accepted, and not at the exchange: k2"]


def test_a_second_order_of_an_intent_is_named(world: World) -> None:
    """ONE-ORDER: two orders under one client order id."""
    (found,) = world.orders(book=[*world.book, world.book[0]])
    assert found.startswith("ONE-ORDER: more than one order at the exchange")


def test_lost_doubled_and_altered_executions_are_named(world: World) -> None:
    """FILL-ONCE: the ledger's log and the exchange's trades are the same, each once, number by number."""

    def judged(trades: Sequence[ExchangeTrade], log: Sequence[Execution]) -> list[str]:
        return [text.partition(":")[2].strip() for text in judging.judge_executions(ACCOUNT, trades, log)]

    first, second = world.log[0].execution_id, world.log[1].execution_id
    assert judged(world.trades, world.log[:1]) == [f"executions of acct1 that the ledger does not have: {second}"]
    assert judged(world.trades[:1], world.log) == [f"executions of acct1 that the exchange does not have: {second}"]
    assert judged(world.trades, [*world.log, world.log[0]]) == [
        f"executions of acct1 that the exchange does not have: {first}",
        f"executions of acct1 that the ledger has twice: {first}",
    ]
    altered = [msgspec.structs.replace(world.log[0], quantity=Decimal("0.4")), world.log[1]]
    assert len(judged(world.trades, altered)) == 2
