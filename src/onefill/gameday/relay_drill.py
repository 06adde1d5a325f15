"""The drill of the relay: committed events told to a real broker by a process that is killed with -9 again and again.

A ledger is filled by a gateway that trades with a simulated exchange: orders that are filled, in parts, and cancelled. Then the
events are told three times: by the bare publisher, as fast as it goes; by a relay that is left alone; and by a relay that is
killed at random moments and started anew. Of the last one the broker must have every event, each with the id and the bytes
that the ledger gives it, in order per order; what is there twice must be the same. JetStream, which knows ids for a while, must
hold each once.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from onefill.core.errors import InvalidField
from onefill.core.intent import Intent
from onefill.core.relay import Message, Policy, Told
from onefill.core.values import Side, TimeInForce
from onefill.engine.relay import message_of_row
from onefill.gameday.processes import DrillFailed
from onefill.gameday.relay_process import (
    ACCOUNT,
    INSTRUMENT,
    ROUTE,
    STRATEGY,
    RelayDone,
    RelayOrder,
    open_gateway,
    open_ledger,
    publisher_to,
)
from onefill.ledger.sqlite import SqliteLedger
from onefill.testing.publisher_kit import Taken, disorder
from onefill.testing.server_process import ServerProcess

BARE, ALONE, KILLED = "BARE", "ALONE", "KILLED"
_IN_FLIGHT = 256
_PAGE = 5000
_LIFE_S = 900.0
_LONGEST_DELAY_S = 0.02


class RelayDrillSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is run. ``seed`` decides when the relay is killed; ``policy``: how it tells; ``measured``: for figures, too."""

    to: Literal["nats", "kafka"] = "nats"
    events: int = 100_000
    kills: int = 20
    seed: int = 1
    policy: Policy = Policy()
    measured: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.events < 100 or self.kills < 0:
            raise InvalidField("events, kills", "must be at least 100 events and 0 kills")


class RelayDrillResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. ``violations`` says in words what did not hold; empty is the only good value.

    * ``events``, ``orders``: in the ledger at the end, those of the restarts included.
    * ``kills_effective``: kills after which the broker had events that the ledger did not know to be told.
    * ``arrived``: messages that reached the broker; ``told_again``: those of them that had been there before; ``held``: what
      the broker keeps of them, which is less where it drops repeats.
    * ``missing``, ``strangers``, ``altered``, ``out_of_order``: how many.
    * ``bare_per_s``, ``relay_per_s``: events/s of the bare publisher and of a relay that is left alone; ``killed_per_s``: of
      the one that is killed, the time of all its starts included.
    """

    to: str
    events: int
    orders: int
    kills: int
    kills_effective: int
    arrived: int
    told_again: int
    held: int
    missing: int
    strangers: int
    altered: int
    out_of_order: int
    bare_per_s: int
    relay_per_s: int
    killed_per_s: int
    seconds: float
    violations: list[str]


Tell = Callable[[str, int, int], None]
"""Hears what is under way, how far, and of how much."""


class Broker(Protocol):
    """A broker, as the drill sees it. ``address``: where publishers find it."""

    address: str

    async def make(self, target: str, *, listen: bool) -> None:
        """Make a stream or topic. ``listen``: to what reaches it, for what comes below."""
        ...

    async def count(self, target: str) -> int:
        """Return how many messages have reached it so far, repeats included."""
        ...

    async def arrived(self, target: str) -> Sequence[Taken]:
        """Return everything that reached it, repeats included, in an order that keeps that of each order."""
        ...

    async def held(self, target: str) -> list[str]:
        """Return the ids of what it keeps."""
        ...


async def run_drill(settings: RelayDrillSettings, folder: Path, tell: Tell) -> RelayDrillResult:
    """Run the drill and return what came of it. Raises DrillFailed if it could not be carried out."""
    began = time.perf_counter()
    async with _broker(settings.to, folder) as broker:
        for target in (BARE, ALONE, KILLED):
            await broker.make(target, listen=target == KILLED)
        drill = _Drill(settings, folder / "orders.db", broker, tell)
        await drill.trade()
        bare_per_s, relay_per_s = (await drill.bare(), await drill.alone()) if settings.measured else (0.0, 0.0)
        killed_per_s, effective = await drill.killed()
        return await drill.judge(began, effective, bare_per_s, relay_per_s, killed_per_s)


@contextlib.asynccontextmanager
async def _broker(to: str, folder: Path) -> AsyncIterator[Broker]:
    from onefill.gameday import relay_brokers  # noqa: PLC0415 - needs packages that a gateway does not

    async with relay_brokers.kafka() if to == "kafka" else relay_brokers.nats(folder / "nats") as broker:
        yield broker


class _Drill:
    """One run over one ledger and one broker."""

    def __init__(self, settings: RelayDrillSettings, ledger: Path, broker: Broker, tell: Tell) -> None:
        self._settings = settings
        self._ledger = ledger
        self._broker = broker
        self._tell = tell
        self._draw = random.Random(settings.seed)  # noqa: S311 - decides when to kill

    # ------------------------------------------------------------------ the ledger

    async def trade(self) -> None:
        """Fill the ledger with events of orders that come, trade and go."""
        store = await open_ledger(str(self._ledger))
        gateway = await open_gateway(store)
        numbers = iter(range(self._settings.events))
        entries = 0

        async def one_after_another() -> None:
            nonlocal entries
            for number in numbers:
                for side, quantity in ((Side.BUY, 3), (Side.SELL, 1)):
                    intent = Intent(
                        account=ACCOUNT,
                        strategy=STRATEGY,
                        instrument=INSTRUMENT.symbol,
                        side=side,
                        quantity=Decimal(quantity),
                        price=Decimal(100),
                        time_in_force=TimeInForce.GTC,
                        venue=ROUTE,
                    )
                    await gateway.submit(intent, key=f"{number}-{side.value}")
                for side in (Side.BUY, Side.SELL):
                    await gateway.cancel(f"{number}-{side.value}", account=ACCOUNT, strategy=STRATEGY)
                (route,) = await store.routes()
                entries = route.journal_entries
                self._tell("committing events", min(entries, self._settings.events), self._settings.events)
                if entries >= self._settings.events:
                    return

        try:
            await asyncio.gather(*(one_after_another() for _ in range(_IN_FLIGHT)))
            await gateway.catch_up()
        finally:
            await gateway.close()

    async def _place(self, subscriber: str) -> tuple[int, int]:
        """Return how far the ledger knows a subscriber to be told, and how many entries there are."""
        ledger = await SqliteLedger.open_read_only(str(self._ledger))
        try:
            (route,) = await ledger.routes()
            places = {one.subscriber: one.position for one in await ledger.subscriptions(ROUTE)}
            return places.get(subscriber, 0), route.journal_entries
        finally:
            await ledger.close()

    async def _messages(self) -> list[Message]:
        """Return what is to be told: the message of every entry of the ledger."""
        ledger = await SqliteLedger.open_read_only(str(self._ledger))
        found: list[Message] = []
        try:
            while page := await ledger.outbox(ROUTE, found[-1].sequence if found else 0, _PAGE):
                found += map(message_of_row, page)
        finally:
            await ledger.close()
        return found

    # ------------------------------------------------------------------ telling

    async def bare(self) -> float:
        """Tell everything by the publisher alone, in batches as a relay makes them, and return the events per second."""
        messages, policy = await self._messages(), self._settings.policy
        publisher = publisher_to(self._settings.to, self._broker.address, BARE)
        await publisher.start()
        batches = iter([messages[n : n + policy.batch] for n in range(0, len(messages), policy.batch)])
        done = 0

        async def one_after_another() -> None:
            nonlocal done
            for batch in batches:
                outcomes = await publisher.publish(batch)
                if not all(isinstance(outcome, Told) for outcome in outcomes):
                    raise DrillFailed(f"the bare publisher was not taken: {outcomes}")
                done += len(batch)
                self._tell("the bare publisher", done, len(messages))

        began = time.perf_counter()
        try:
            await asyncio.gather(*(one_after_another() for _ in range(policy.in_flight)))
            return len(messages) / (time.perf_counter() - began)
        finally:
            await publisher.close()

    async def alone(self) -> float:
        """Tell everything by a relay that is left alone, and return the events per second."""
        self._tell("a relay left alone", 0, 1)
        async with self._relay(ALONE) as relay:
            done = await _done(relay)
        self._tell("a relay left alone", 1, 1)
        return done.told / done.seconds

    async def killed(self) -> tuple[float, int]:
        """Tell everything by a relay that is killed. Return the events per second, and how many kills had an effect."""
        kills, effective, position = self._settings.kills, 0, 0
        began = time.perf_counter()
        for number in range(kills):
            self._tell("a relay killed", number, kills)
            arrived = await self._broker.count(KILLED)
            reach = self._draw.uniform(0.3, 1.5) * self._settings.events / (kills + 1)
            async with self._relay(KILLED, max(int(reach), 1)) as relay:
                said = await relay.until(r'"reached"|"done"|Traceback', _LIFE_S)
                if said[0] == "Traceback":
                    raise DrillFailed(f"the relay failed: {relay.output()}")
                await asyncio.sleep(self._draw.uniform(0, _LONGEST_DELAY_S))
                await relay.kill()
            before, (position, _) = position, await self._place(KILLED)
            effective += await self._broker.count(KILLED) - arrived > position - before
        self._tell("a relay killed", kills, kills)
        async with self._relay(KILLED) as relay:
            await _done(relay)
        _, events = await self._place(KILLED)
        return events / (time.perf_counter() - began), effective

    @contextlib.asynccontextmanager
    async def _relay(self, target: str, reach: int | None = None) -> AsyncIterator[ServerProcess]:
        settings = self._settings
        order = RelayOrder(
            ledger=str(self._ledger),
            to=settings.to,
            address=self._broker.address,
            target=target,
            policy=settings.policy,
            reach=reach,
        )
        arguments = [sys.executable, "-m", "onefill.gameday.relay_process", msgspec.json.encode(order).decode()]
        process = await ServerProcess.start("relay", arguments)
        try:
            yield process
        finally:
            await process.kill()

    # ------------------------------------------------------------------ judging

    async def judge(
        self, began: float, effective: int, bare_per_s: float, relay_per_s: float, killed_per_s: float
    ) -> RelayDrillResult:
        """Compare what the broker has with what the ledger says."""
        messages = await self._messages()
        found = judged(messages, await self._broker.arrived(KILLED), await self._broker.held(KILLED))
        position, events = await self._place(KILLED)
        result = RelayDrillResult(
            to=self._settings.to,
            events=events,
            orders=len({message.lane for message in messages}) - 1,
            kills=self._settings.kills,
            kills_effective=effective,
            arrived=found.arrived,
            told_again=found.told_again,
            held=found.held,
            missing=found.missing,
            strangers=found.strangers,
            altered=found.altered,
            out_of_order=len(found.disorder),
            bare_per_s=round(bare_per_s),
            relay_per_s=round(relay_per_s),
            killed_per_s=round(killed_per_s),
            seconds=round(time.perf_counter() - began, 1),
            violations=[],
        )
        return msgspec.structs.replace(result, violations=[*violations(result, position), *found.disorder[:10]])


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker has, beside what a ledger says. See :class:`RelayDrillResult`."""

    arrived: int
    told_again: int
    held: int
    missing: int
    strangers: int
    altered: int
    disorder: list[str]


def judged(messages: Sequence[Message], arrived: Sequence[Taken], held: Sequence[str]) -> Judgement:
    """Compare what reached a broker, and what it keeps, with the messages of the ledger."""
    body_of = {message.id: message.body for message in messages}
    came = {one.id for one in arrived}
    return Judgement(
        arrived=len(arrived),
        told_again=len(arrived) - len(came),
        held=len(held),
        missing=len(body_of.keys() - (came & set(held))),
        strangers=len((came | set(held)) - body_of.keys()),
        altered=sum(one.body != body_of.get(one.id, one.body) for one in arrived),
        disorder=disorder(arrived),
    )


def violations(result: RelayDrillResult, position: int) -> list[str]:
    """Say in words what did not hold. ``position``: how far the ledger knows the subscriber to be told."""
    found = []
    for name, what in (
        ("missing", "events of the ledger are not at the broker"),
        ("strangers", "events at the broker are not in the ledger"),
        ("altered", "events came with other bytes than the ledger's"),
    ):
        if getattr(result, name):
            found.append(f"{getattr(result, name)} {what}")
    if position != result.events:
        found.append(f"the ledger's place is {position}, of {result.events} entries")
    if result.to == "nats" and result.held != result.events:
        found.append(f"the stream holds {result.held} messages of {result.events} events: each was to be there once")
    if result.kills and not result.kills_effective:
        found.append("no kill came between telling and noting it: the drill proved nothing")
    if result.kills_effective and not result.told_again:
        found.append("nothing was told again although kills came between telling and noting it")
    return found


async def _done(relay: ServerProcess) -> RelayDone:
    said = await relay.until(r'^\{"done".*|Traceback', _LIFE_S)
    if said[0] == "Traceback":
        raise DrillFailed(f"the relay failed: {relay.output()}")
    done = msgspec.json.decode(said[0], type=RelayDone)
    if await relay.ended() != 0:
        raise DrillFailed(f"the relay did not close: {relay.output()}")
    if not done.done:
        raise DrillFailed(f"the relay told {done.told} messages, and not everything, within {done.seconds:.0f} s")
    return done
