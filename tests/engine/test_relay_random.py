"""Relays in random lives: subscribers that fail in every way, people's words, and a process that dies at any call."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

import pytest
from gateway_world import World, life, until
from relay_kit import Listener, journal, start, stopped, told_all, trade

from onefill.core.errors import OnefillError
from onefill.core.relay import TOLD, Gone, Invalid, Message, Outcome, Policy, Unavailable

SAID = {"by": "ann", "reason": "r"}
POLICY = Policy(
    batch=3, in_flight=2, window=12, answer_s=2, invalid_tries=2, suspect_tries=3, most_stopped=3, cursor_every_s=0.05
)


class Wayward(Listener):
    """Takes, refuses, fails, hangs and raises, by chance."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.honest = False

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        if self.honest:
            return await super().publish(messages)
        mood = self.chance.random()
        await asyncio.sleep(self.chance.choice((0, 0, 0.01, 0.5)))
        if mood < 0.05:
            await asyncio.sleep(100)
        if mood < 0.1:
            raise OSError("the line broke")
        outcomes = [self._outcome() for _ in messages]
        self.taken += [one for one, outcome in zip(messages, outcomes, strict=True) if outcome is TOLD]
        if mood > 0.95:
            raise OSError("the line broke after it was taken")
        return outcomes

    def _outcome(self) -> Outcome:
        kinds: list[Outcome] = [
            TOLD,
            Invalid("no"),
            Unavailable(reason="away"),
            Unavailable(reason="500", suspect=True),
            Unavailable(reason="429", retry_after_s=1.0),
            Gone("410"),
        ]
        (outcome,) = self.chance.choices(kinds, (60, 6, 6, 6, 3, 0.5))
        return outcome


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_everything_is_told_in_order(world: World, seed: int) -> None:
    """TOLD-ONCE: after any lives whatever, once faults stop and people let the stopped go on, every entry was told, an order's
    first in order, and every repeat has the id that it had.
    """
    chance = random.Random(seed)
    listener = Wayward(chance)
    numbers = iter(range(10_000))
    for _ in range(4):
        fatal = chance.randrange(20, 200)
        calls = iter(range(1, 1_000_000))

        def point(_name: str, fatal: int = fatal, calls: Any = calls) -> str | None:
            return chance.choice(("before", "after")) if next(calls) == fatal else None

        world.point = point

        async def work() -> None:
            gateway = await start(world, listener, policy=POLICY)
            for _ in range(chance.randrange(2, 6)):
                await trade(gateway, *(f"k{next(numbers)}" for _ in range(chance.randrange(1, 4))))
                await asyncio.sleep(chance.choice((0, 0.1, 5, 60)))
                with contextlib.suppress(OnefillError):
                    await _word(gateway, chance)
            await gateway.close()

        life(world, work)
    world.point = lambda _: None
    listener.honest = True

    async def last() -> None:
        gateway = await start(world, listener, policy=POLICY)
        await gateway.resume_subscriber("s0", **SAID)
        await until(lambda: stopped(gateway) == {})
        await told_all(world, gateway)
        sequences = await journal(world)
        await gateway.close()
        assert sorted(set(listener.sequences())) == sequences
        for lane in {one.lane for one in listener.taken}:
            first = list(dict.fromkeys(one.sequence for one in listener.taken if one.lane == lane))
            assert first == sorted(first)
        assert len({(one.sequence, one.id, one.body) for one in listener.taken}) == len(sequences)

    assert not life(world, last)


async def _word(gateway: Any, chance: random.Random) -> None:
    said = chance.random()
    if said < 0.3:
        await gateway.resume_subscriber("s0", **SAID)
    elif said < 0.4:
        await gateway.rewind_subscriber("s0", chance.randrange(3), **SAID)  # refused where that is forward
    elif said < 0.5:
        await gateway.subscribers()
