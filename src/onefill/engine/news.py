"""How far a route's journal has grown, and who wants to hear when it grows."""

import asyncio
from collections.abc import Callable

from onefill.ports.ledger import Committed, Outcome


class JournalNews:
    """The head of one route's journal, as far as this process knows."""

    def __init__(self) -> None:
        self.head = 0
        """The last entry that is durable."""
        self.listeners: list[Callable[[], object]] = []
        """Called whenever the journal has grown. Must return at once: an order's way goes through here."""

    def heard(self, done: "asyncio.Future[Outcome]") -> None:
        """Take in what became of a change."""
        if done.cancelled() or done.exception() is not None:
            return
        outcome = done.result()
        if isinstance(outcome, Committed):
            self.head = max(self.head, outcome.sequence)
            for tell in self.listeners:
                tell()
