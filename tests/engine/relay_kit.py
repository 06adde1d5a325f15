"""What tests of relays share: a subscriber that does as a test says, and a world whose gateways tell it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from gateway_world import ON_COMMAND, World, intent

from onefill.core.relay import TOLD, Message, Outcome, Policy
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Subscriber
from onefill.engine.settings import GatewaySettings

FAST = Policy(pause_s=0.1, longest_pause_s=5.0, answer_s=10.0)


class Listener:
    """A subscriber. ``reply`` decides what becomes of each message; what it takes is in ``taken``, in order."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.calls: list[list[Message]] = []
        self.reply: Callable[[Message], Outcome] = lambda _: TOLD
        self.before: Callable[[], Any] | None = None
        """Awaited at the beginning of each call."""
        self.starts = 0
        self.closed = 0

    async def start(self) -> None:
        self.starts += 1

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        self.calls.append(list(messages))
        if self.before is not None:
            await self.before()
        outcomes = [self.reply(one) for one in messages]
        self.taken += [one for one, outcome in zip(messages, outcomes, strict=True) if outcome is TOLD]
        return outcomes

    async def close(self) -> None:
        self.closed += 1

    def sequences(self) -> list[int]:
        """Return the entries it took, in its order."""
        return [one.sequence for one in self.taken]

    def ids(self) -> list[str]:
        """Return the ids of what it took, in its order."""
        return [one.id for one in self.taken]


async def start(world: World, *listeners: Listener, ledger: Any = None, **other: Any) -> Gateway:
    """Start a gateway that tells these, as ``s0``, ``s1``, ..."""
    world.ledger = ledger or await world.store()
    fields = {"policy": FAST} | other
    gateway = Gateway(
        world.ledger,
        {"X": world.venue},
        clock=world.clock,
        holder="test",
        settings=GatewaySettings(reconcile=ON_COMMAND),
        subscribers=[
            Subscriber(name=f"s{number}", publisher=listener, **fields) for number, listener in enumerate(listeners)
        ],
    )
    await gateway.start()
    return gateway


async def trade(gateway: Gateway, *keys: str) -> None:
    """Submit an order under each key, and wait for the answers."""
    for key in keys:
        await gateway.submit(intent(), key=key)


async def journal(world: World) -> list[int]:
    """Return the sequences of the whole journal of the route."""
    return [entry.sequence for entry in await world.ledger.journal("X", 0, 100_000)]


async def told_all(world: World, gateway: Gateway, subscriber: str = "s0", seconds: float = 600.0) -> None:
    """Wait until the subscriber's place in the ledger is the end of the journal."""
    async with asyncio.timeout(seconds):
        while await place(world, subscriber) != (await journal(world))[-1]:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.05)


async def place(world: World, subscriber: str = "s0") -> int:
    """Return the subscriber's place in the ledger."""
    kept = {one.subscriber: one.position for one in await world.ledger.subscriptions("X")}
    return kept.get(subscriber, -1)


def stopped(gateway: Gateway) -> dict[int, int] | None:
    """Return the stopped lanes of the first relay and their incidents, ``None`` before it has read its place."""
    lanes = gateway.relays()[0].lanes
    return None if lanes is None else {lane: stop.incident for lane, stop in lanes.stopped.items()}


def of_key(key: str, event: str = "") -> Callable[[Message], bool]:
    """Return what tells a message of the order under this key, with such an event."""
    return lambda one: one.key == key and (not event or event in {each["type"] for each in body(one)["events"]})


def body(message: Message) -> dict[str, Any]:
    """Return a message's body, read."""
    return dict(msgspec.json.decode(message.body))
