"""What the publisher suite works with: the other side, messages of real entries, and a publisher that keeps them in memory."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from onefill.core.audit import GENESIS, JournalEntry, entry_hash
from onefill.core.relay import TOLD, Invalid, Message, Outcome, Unavailable, message_of
from onefill.ports.publisher import Publisher

AT_US = 1_750_000_000_000_000
TIGHT_S = 60.0
"""Longer than any call of a publisher may take here, in seconds: a bound for what must end by itself."""


class Taken(msgspec.Struct, frozen=True):
    """What a subscriber was told, once."""

    id: str
    body: bytes


class Subscriber(Protocol):
    """The other side of a publisher under test, and how it is made to fail."""

    def publisher(self, answer_s: float) -> Publisher:
        """Return a new publisher that tells it, not started; it waits for an answer for about ``answer_s``, in seconds."""
        ...

    async def taken(self) -> Sequence[Taken]:
        """Return everything that it was ever told and holds, in an order that keeps that of each lane."""
        ...

    def poison(self, message: Message) -> Message:
        """Return a message like this one that it will not take."""
        ...

    async def go_away(self) -> None:
        """Be out of reach: nobody listens. What it took is kept."""
        ...

    async def fall_silent(self) -> None:
        """Keep connections open, and answer nothing."""
        ...

    async def come_back(self) -> None:
        """Be as before, where publishers look for it."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class _Body(msgspec.Struct):
    route: str
    sequence: int
    client_order_id: str | None


_body = msgspec.json.Decoder(_Body)


def entry_message(
    sequence: int, lane: int, text: str = "", *, route: str = "alpha", name: str | None = None
) -> Message:
    """Return the message of a made-up journal entry. ``lane`` 0: of the route itself. ``text``: goes into its events."""
    fields: dict[str, Any] = {
        "route": route,
        "sequence": sequence,
        "intent_id": lane or None,
        "kind": "noted",
        "payload": msgspec.json.encode([{"type": "noted", "text": text}]).decode(),
        "at_us": AT_US + sequence,
        "epoch": 1,
    }
    entry = JournalEntry(**fields, previous_hash=GENESIS, hash=entry_hash(GENESIS, **fields))
    return message_of(entry, "acct", "strat", f"k{lane}", name or f"s-{lane}") if lane else message_of(entry)


def disorder(taken: Iterable[Taken]) -> list[str]:
    """Return what is wrong with the order of what was taken: within a lane nothing may first come after what is later."""
    latest: dict[tuple[str, str | None], int] = {}
    bodies: dict[str, bytes] = {}
    faults = []
    for one in taken:
        body = _body.decode(one.body)
        lane = (body.route, body.client_order_id)
        if one.id in bodies:
            if bodies[one.id] != one.body:
                faults.append(f"{one.id} came with two bodies")
        elif body.sequence <= latest.get(lane, 0):
            faults.append(f"{lane}: {body.sequence} came first after {latest[lane]}")
        bodies[one.id] = one.body
        latest[lane] = max(latest.get(lane, 0), body.sequence)
    return faults


class MemoryPublisher:
    """Tells a list. Set ``reachable`` to False and it takes nothing; ids in ``refused`` are never taken."""

    def __init__(self, taken: list[Taken], refused: Collection[str] = ()) -> None:
        self.taken = taken
        self.refused = refused
        self.reachable = True

    async def start(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        if not self.reachable:
            raise ConnectionRefusedError("nobody listens")

    async def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        return [self._tell(message) for message in messages]

    def _tell(self, message: Message) -> Outcome:
        if not self.reachable:
            return Unavailable(reason="nobody listens")
        if message.id in self.refused:
            return Invalid("refused")
        self.taken.append(Taken(message.id, message.body))
        return TOLD

    async def close(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        self.reachable = False
