"""How far a route's journal has grown, and who wants to hear when it grows."""

import asyncio
from collections.abc import Callable

from onefill.ports.ledger import Committed, Outcome


class JournalNews:
    """The head of one route's journal, as far as this process knows."""

    def __init__(self) -> None:
        self.head = 0
        """The last entry of an acknowledged commit: it and all before it outlive the loss of the ledger's server. 0: not known.

        Others may be seen in the ledger already, and are told to nobody: they may be gone after a failover.
        """
        self.listeners: list[Callable[[], object]] = []
        """Called whenever the journal has grown. Must return at once: an order's way goes through here."""

    def found(self, head: int) -> None:
        """Take in where the journal ended when its route was taken: that commit was acknowledged."""
        self.head = self.head or head

    def heard(self, done: "asyncio.Future[Outcome]") -> None:
        """Take in what became of a change."""
        if done.cancelled() or done.exception() is not None:
            return
        outcome = done.result()
        if isinstance(outcome, Committed):
            self.head = max(self.head, outcome.sequence)
            for tell in self.listeners:
                tell()
