"""A subscriber of the nodes of a world, and the way to it: messages are lost, late, taken without an answer, and told again."""

import asyncio
import hashlib
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from onefill.core.relay import TOLD, Message, Outcome, Policy, Unavailable
from onefill.engine.relay import Subscriber
from onefill.sim.history import Delivered, Fault

if TYPE_CHECKING:
    from onefill.sim.world import World
    from onefill.sim.world_life import Life

NAME = "listener"
_PATIENCE_S = 0.6


class Listener:
    """Who hears, outside every process: what it took it has."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"listener {world.plan.seed}")  # noqa: S311 - of its own: changes nothing else
        self.bad = self._draw.choice((0.0, 0.05, 0.2, 0.4)) if world.plan.nodes.hosts > 1 else 0.0
        self.policy = Policy(
            batch=self._draw.choice((1, 4, 64)),
            in_flight=self._draw.choice((1, 2, 4)),
            window=self._draw.choice((16, 256)),
            answer_s=_PATIENCE_S,
            pause_s=0.05,
            longest_pause_s=1.0,
            cursor_every_s=self._draw.choice((0.02, 0.2, 1.0)),
        )
        self.heard: set[int] = set()
        """The entries of the journal that it was told of."""

    def calm(self) -> None:
        """End the faults on the way to it. What is late may still come."""
        self.bad = 0.0

    def fate(self, life: int) -> str:
        """Return what becomes of a call: nothing, or ``lost``, ``late``, ``unanswered``, ``refused``."""
        if not self.bad or self._draw.random() >= self.bad:
            return ""
        fate = self._draw.choice(("lost", "late", "unanswered", "refused"))
        self._world.history.add(Fault(self._world.at_us(), f"telling {fate}", "subscriber", life=life))
        return fate

    def delay_s(self, fate: str) -> float:
        """Return how long a call is on its way."""
        return self._draw.uniform(0.0, 2.5) if fate == "late" else self._draw.uniform(0.0005, 0.01)

    def take(self, life: int, messages: Sequence[Message]) -> None:
        """Hear of messages, for the first time or again."""
        for message in messages:
            self.heard.add(message.sequence)
            digest = hashlib.blake2b(message.body, digest_size=8).hexdigest()
            self._world.history.add(
                Delivered(self._world.at_us(), life, message.sequence, message.lane, message.id, digest)
            )


class SimPublisher:
    """:class:`~onefill.ports.publisher.Publisher` for one life of a gateway."""

    def __init__(self, life: "Life") -> None:
        self._life = life

    async def start(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go of the connection. What is under way may still arrive."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Tell messages, once."""
        life, world = self._life, self._life.world
        listener = world.listener
        await life.step("publish before")
        fate = listener.fate(life.number)
        if fate == "refused":
            return [Unavailable(reason="connection refused")] * len(messages)
        arrived: asyncio.Future[None] = world.loop.create_future()

        def arrives() -> None:
            listener.take(life.number, messages)
            if fate != "unanswered" and not arrived.done():
                arrived.set_result(None)

        if fate != "lost":
            world.loop.after(listener.delay_s(fate), arrives, context=world.context)
        await arrived
        await life.step("publish after")
        return [TOLD] * len(messages)


def subscriber_of(life: "Life") -> Subscriber:
    """Return the subscriber as a process tells it."""
    return Subscriber(name=NAME, publisher=SimPublisher(life), policy=life.world.listener.policy)
