"""The port to a subscriber: where committed events are told. :mod:`onefill.testing.publisher` is the suite for each.

A publisher tells what it is given and says of every message what became of it. It keeps no place, counts no tries and keeps
no order between calls: all that is the relay's. It may be told the same message again, at any time, also by another process;
it hands on the message's ``id`` and the bytes of its ``body`` as they are.
"""

from collections.abc import Sequence
from typing import Protocol

from onefill.core.relay import Message, Outcome


class Publisher(Protocol):
    """What every publisher does. All methods are called from one event loop."""

    async def start(self) -> None:
        """Make ready. Called before the first :meth:`publish`, and once more after a failure that it raised.

        Raise anything to say that it cannot be used now; it is tried again.
        """
        ...

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Tell these messages, each of another lane, and return what became of each, in their order.

        ``Told`` only when the subscriber has the message as durably as it ever will. What is raised counts as
        ``Unavailable`` for all of them. May be called again before it returned, with other lanes; may be cancelled.
        """
        ...

    async def close(self) -> None:
        """Let go of everything. Called once, also when :meth:`start` never worked."""
        ...
