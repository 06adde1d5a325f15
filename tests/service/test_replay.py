"""Replaying a ledger: the journal alone gives what is stored, and whatever was changed in either is named."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from onefill.core.audit import GENESIS, entry_hash
from onefill.core.errors import CallerError
from onefill.core.intent import Intent
from onefill.core.messages import SubmitRequest
from onefill.core.position import Position
from onefill.core.replay import RouteReplay
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.engine.replay import replay_route
from onefill.engine.settings import GatewaySettings
from onefill.ledger.sqlite import SqliteLedger
from onefill.service import replay as service
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.venue import SimulatedVenue
from onefill.sim.virtual_loop import run

ACME = Instrument(symbol="ACME", price_tick=Decimal("0.01"), quantity_step=Decimal(1), min_quantity=Decimal(1))
NOON_US = 1_750_000_000_000_000


class Clock:
    """Time that stands still, but for one step with every look."""

    def __init__(self) -> None:
        self.at_us = NOON_US

    def now_us(self) -> int:
        self.at_us += 10
        return self.at_us


class Day:
    """A day's trading in one account, over a ledger file."""

    def __init__(self, folder: Path, **dialect: Any) -> None:
        self.path = folder / "orders.db"
        self.clock = Clock()
        self.exchange = Exchange(Dialect(**{"fee_rate": Decimal("0.001")} | dialect), [ACME])
        self.venue = SimulatedVenue(self.exchange, "A", self.clock.now_us)
        self._sent = 0

    async def _open(self) -> SqliteLedger:
        """Open the ledger file. Power is not cut here, so syncing is left out."""
        ledger = await SqliteLedger.open(
            str(self.path), seed=bytes(16), holder="test", at_us=self.clock.now_us(), inline=True
        )
        ledger._file.connection.execute("PRAGMA synchronous = OFF")
        return ledger

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[SqliteLedger]:
        ledger = await self._open()
        try:
            yield ledger
        finally:
            await ledger.close()

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[Gateway]:
        settings = GatewaySettings(recent_orders=2)
        ledger = await self._open()
        async with Gateway(ledger, {"X": self.venue}, clock=self.clock, holder="test", settings=settings) as gateway:
            yield gateway

    async def order(
        self, gateway: Gateway, key: str, side: str, quantity: int, price: int, strategy: str = "s"
    ) -> None:
        intent = Intent(
            account="A",
            strategy=strategy,
            instrument="ACME",
            side=side,
            quantity=quantity,
            price=price,
            time_in_force="gtc",
        )
        await gateway.submit(intent, key=key)

    def other(self, side: str, quantity: int, price: int, account: str = "M") -> None:
        """Somebody else trades."""
        self._sent += 1
        self.exchange.submit(
            SubmitRequest(
                client_order_id=f"m{self._sent}",
                account=account,
                instrument="ACME",
                side=Side(side),
                quantity=Decimal(quantity),
                order_type=OrderType.LIMIT,
                price=Decimal(price),
                time_in_force=TimeInForce.GTC,
                expires_at_us=None,
            ),
            self.clock.now_us(),
        )

    async def trade(self, gateway: Gateway) -> None:
        """A position is built, turned over and partly closed, by fills of several sizes; one order stays open."""
        for number in range(12):
            side, price = ("buy", 100 + number) if number % 3 else ("sell", 90 - number)
            await self.order(gateway, f"k{number}", side, 7, price, strategy="st"[number % 2])
            for size in (1, 2, 4):
                self.other("sell" if side == "buy" else "buy", size, price)
        await self.order(gateway, "grows", "buy", 2, 60)
        await gateway.replace("grows", account="A", strategy="s", quantity=4, price=61)
        self.other("sell", 3, 61)
        await self.order(gateway, "rests", "buy", 5, 50)
        await gateway.cancel("k0", account="A", strategy="s")
        await gateway.catch_up()

    def forge(self, change: Callable[[apsw.Connection], None], *, rechain: bool = True) -> None:
        """Change the closed file as somebody could who has it; ``rechain``: and write the chain anew behind it."""
        connection = apsw.Connection(str(self.path))
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")]
        for name in names:
            connection.execute(f"DROP TRIGGER {name}")
        change(connection)
        if rechain:
            _rechain(connection)
        connection.close()


def _rechain(connection: apsw.Connection) -> None:
    previous, last = GENESIS, 0
    statement = "SELECT id, intent_id, kind, payload, at_us, epoch FROM journal ORDER BY id"
    for place, intent_id, kind, payload, at_us, epoch in list(connection.execute(statement)):
        last = place & ((1 << 40) - 1)
        made = entry_hash(previous, "X", last, intent_id, kind, payload, at_us, epoch)
        connection.execute("UPDATE journal SET previous_hash = ?, hash = ? WHERE id = ?", (previous, made, place))
        previous = made
    connection.execute("UPDATE route SET head = ?, last_sequence = ?", (previous, last))


async def replayed(day: Day, times: int = 2) -> RouteReplay:
    """Replay the closed file."""
    async with day.store() as ledger:
        return (await replay_route(ledger, "X", times=times))[0]


def shown(positions: Sequence[Position]) -> list[tuple[Any, ...]]:
    """Return what people read of positions."""
    return [(p.strategy, p.quantity, p.average_price, p.realised, p.fees, p.executions) for p in positions]


DIALECTS: dict[str, dict[str, Any]] = {
    "ids by account": {},
    "ids by order": {"execution_id_scope": "order"},
    "totals only": {"cumulative_fills_only": True},
    "told twice": {"drop_copy": True},
    "no execution ids": {"execution_ids": "none"},
    "revisions": {"execution_revisions": True},
    "a replace makes another order": {"replace": "new_id"},
    "asynchronous": {"acknowledges_asynchronously": True},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_journal_alone_gives_the_same_orders_and_positions(tmp_path: Path, dialect: str) -> None:
    """Quantity, average price, realised profit and fees are those of the gateway; every repeat is dropped."""
    day = Day(tmp_path, **DIALECTS[dialect])

    async def main() -> None:
        async with day.gateway() as gateway:
            await day.trade(gateway)
            stored = shown(gateway.positions())
            live, _ = await replay_route(gateway._ledger, "X", times=2)  # beside the gateway that writes
            assert live.differences == []
        found = await replayed(day, times=3)
        assert found.differences == []
        assert found.parity
        assert shown(found.positions) == stored
        assert (found.orders, found.still_open) == (14, 2)
        assert found.duplicates == 2 * found.executions > 0
        if dialect != "totals only":
            assert found.executions == 37
        by_total = dialect in {"totals only", "no execution ids"}  # growing totals have one order only
        assert found.reversed_orders == (0 if by_total else 12)

    run(main)


def test_an_empty_ledger_and_an_unknown_route(tmp_path: Path) -> None:
    """A route on which nothing happened has parity; one that is not there is named."""
    day = Day(tmp_path)

    async def main() -> None:
        async with day.gateway():
            pass
        assert (await replayed(day)).parity
        async with day.store() as ledger:
            with pytest.raises(CallerError, match="there: X"):
                await replay_route(ledger, "Y")
            with pytest.raises(CallerError, match="there: X"):
                await service.choose(ledger, "Y")

    run(main)


@pytest.mark.parametrize("dialect", ["ids by account", "ids by order", "revisions", "told twice"])
def test_busts_and_corrections_reopen_orders_and_still_agree(tmp_path: Path, dialect: str) -> None:
    """An order that was over goes on after a bust: it is replayed whole, and its position folded by what counts."""
    day = Day(tmp_path, **DIALECTS[dialect])

    async def main() -> None:
        async with day.gateway() as gateway:
            await day.trade(gateway)
            trades = day.exchange.trades("A")
            order = {"venue_order_id": trades[4].venue_order_id}
            day.exchange.bust("A", trades[4].execution_id, now_us=day.clock.now_us(), live=True, **order)
            order = {"venue_order_id": trades[10].venue_order_id}
            day.exchange.correct(
                "A",
                trades[10].execution_id,
                quantity=Decimal(1),
                price=Decimal("77.5"),
                now_us=day.clock.now_us(),
                **order,
            )
            await gateway.catch_up()
            await day.order(gateway, "after", "buy", 3, 120)
            day.other("sell", 3, 120)
            await gateway.catch_up()
            stored = shown(gateway.positions())
        found = await replayed(day)
        assert found.differences == []
        assert shown(found.positions) == stored
        assert found.executions == 40

    run(main)


def test_executions_that_nobody_here_sent_are_kept_apart(tmp_path: Path) -> None:
    """They are fed like all others, and move no position."""
    day = Day(tmp_path)

    async def main() -> None:
        async with day.gateway() as gateway:
            day.other("buy", 3, 70, account="A")
            day.other("sell", 3, 70)
            await gateway.catch_up()
        found = await replayed(day)
        assert (found.parity, found.quarantined, found.executions, found.positions) == (True, 1, 0, [])

    run(main)


def _payload(connection: apsw.Connection, kind: str, change: Callable[[Any], None]) -> None:
    place, text = next(
        iter(connection.execute("SELECT id, payload FROM journal WHERE kind = ? ORDER BY id LIMIT 1", (kind,)))
    )
    events = msgspec.json.decode(text)
    change(events)
    connection.execute("UPDATE journal SET payload = ? WHERE id = ?", (msgspec.json.encode(events).decode(), place))


def _set(statement: str) -> Callable[[apsw.Connection], None]:
    return lambda connection: list(connection.execute(statement)) and None


FORGED: dict[str, tuple[Callable[[apsw.Connection], None], str]] = {
    "an execution's price in the log": (_set("UPDATE execution SET price = '1' WHERE id = 3"), "price"),
    "an execution's quantity in the journal": (
        lambda db: _payload(db, "traded", lambda events: events[0].update(quantity="5")),
        "by the execution log",
    ),
    "an execution taken out of the log": (_set("DELETE FROM execution WHERE id = 3"), "execution log"),
    "one more in the log": (
        _set(
            "INSERT INTO execution SELECT 1000, route, scope, 'E999', intent_id, account, strategy, instrument, side, "
            "quantity, price, client_order_id, venue_order_id, transacted_at_us, recorded_at_us, kind, refers_to, fee, "
            "fee_currency, stream FROM execution WHERE id = 1"
        ),
        "in the log and in no entry",
    ),
    "an order's status": (_set("UPDATE intent SET reason = 'nothing' WHERE id & 255 = 2"), "its reason is 'nothing'"),
    "an order's answer": (
        _set("UPDATE intent SET answer = replace(answer, 'new', 'NEW') WHERE id & 255 = 13"),
        "its answer is",
    ),
    "an order that is gone": (_set("DELETE FROM intent WHERE id & 255 = 5"), "is not in the ledger"),
    "a stored position": (_set("UPDATE position SET cost = '1'"), "average price is"),
    "stored fees": (_set("UPDATE position SET fees = '[]'"), "fees is"),
    "a position that nobody traded": (
        _set("UPDATE position SET strategy = 'u' WHERE strategy = 's'"),
        "the stored projection",
    ),
    "an event that cannot have happened": (
        lambda db: _payload(db, "recorded", lambda events: events.append(dict(events[1]))),
        "cannot have happened",
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_was_changed_is_named(tmp_path: Path, what: str) -> None:
    """Also by somebody who writes the whole chain anew: the first difference says where."""
    change, said = FORGED[what]
    day = Day(tmp_path)

    async def main() -> None:
        async with day.gateway() as gateway:
            await day.trade(gateway)

    run(main)
    day.forge(change)

    async def judge() -> None:
        found = await replayed(day)
        assert not found.parity
        assert any(said in difference for difference in found.differences), found.differences

    run(judge)


@pytest.mark.parametrize("where", ["payload", "end"])
def test_a_broken_chain_ends_the_replay_there(tmp_path: Path, where: str) -> None:
    """Nothing behind the fault is believed; a cut end is seen by what the route holds."""
    day = Day(tmp_path)

    async def main() -> None:
        async with day.gateway() as gateway:
            await day.trade(gateway)

    run(main)
    statement = {
        "payload": "UPDATE journal SET payload = replace(payload, '7', '8') WHERE id & 255 = 9",
        "end": "DELETE FROM journal WHERE id = (SELECT max(id) FROM journal)",
    }[where]
    day.forge(_set(statement), rechain=False)

    async def judge() -> None:
        found = await replayed(day)
        assert found.differences[0].startswith("entry 9: " if where == "payload" else "entry "), found.differences
        assert not found.parity

    run(judge)


def test_a_venue_that_tells_more_is_told_of(tmp_path: Path) -> None:
    """Its stream goes through the same dedupe: what is known is dropped, what the ledger lacks is named."""
    day = Day(tmp_path)

    async def main() -> None:
        async with day.gateway() as gateway:
            await day.trade(gateway)
        day.other("sell", 4, 50)  # fills the orders that rest, while nobody listens
        async with day.store() as ledger:
            found, replayer = await replay_route(ledger, "X")
            assert found.parity
            [check] = await service.ask_and_close(ledger, replayer, day.venue)
            assert (check.executions, check.known, check.missing) == (39, 37, 2)
            assert [(lack.quantity, lack.price, lack.side) for lack in check.lacking] == [
                ("1", "61", "buy"),
                ("3", "50", "buy"),
            ]

    run(main)


def test_memory_follows_open_orders_and_not_history(tmp_path: Path) -> None:
    """After hundreds of orders that are over, the replay holds only those that are open."""
    day = Day(tmp_path)

    async def main() -> None:
        async with day.gateway() as gateway:
            for number in range(700):
                await day.order(gateway, f"k{number}", "buy", 1, 100)
                day.other("sell", 1, 100)
                await gateway.catch_up()
        async with day.store() as ledger:
            found, replayer = await replay_route(ledger, "X")
            assert found.parity
            assert found.orders == 700
            assert len(replayer._held) < 200

    run(main)
