"""What a route counts and times while it works: whole numbers in fixed places, cheap enough for the way of every order."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from onefill.core import metrics
from onefill.core.incident import Incident, IncidentKind
from onefill.core.lifecycle import NEVER_SENT, Status
from onefill.core.messages import SubmitReply
from onefill.core.metrics import Breaks, Histogram
from onefill.core.order import Order
from onefill.engine.entry import Entry


class Counts(msgspec.Struct):
    """What a route has done since it was opened."""

    intents: int = 0
    new_orders: int = 0
    """Intents that became durable with the claim of their first copy."""
    replayed_answers: int = 0
    copies_sent: int = 0
    resends: int = 0
    lookups: int = 0
    cancels_sent: int = 0
    replaces_sent: int = 0
    unknown_outcomes: int = 0
    """Copies of new orders that got no reply, or one that decides nothing."""
    duplicate_replies: int = 0
    adopted: int = 0
    executions: int = 0
    reports: int = 0
    """Execution reports received, replays included."""
    replayed_reports: int = 0
    quarantined: int = 0
    id_collisions: int = 0
    """Intents and replaces that the ledger refused because their client order id is taken."""
    stream_reconnects: int = 0
    anomalies: int = 0


def ticks(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return what tells durations on this loop, in s: a fine clock, or the loop's own where it makes its own time."""
    stock = isinstance(loop, asyncio.BaseEventLoop) and type(loop).time is asyncio.BaseEventLoop.time
    if stock or type(loop).__module__.partition(".")[0] == "uvloop":
        return time.perf_counter
    return loop.time


class Measures:
    """The durations of one route. Every method is called from the event loop's thread."""

    __slots__ = (
        "_answerless",
        "_asked",
        "_recorded",
        "_ticks",
        "ack_us",
        "attempts",
        "breaks",
        "callbacks",
        "collisions",
        "lag_unusable",
        "lag_us",
        "lookup_us",
        "opened",
        "replies",
        "to_wire_us",
    )

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._recorded: dict[Entry, float] = {}
        """New intents whose first copy has not left, with when they were handed to the ledger."""
        self._answerless: dict[Entry, float | None] = {}
        """Orders of open fate, with when their first claim was durable; ``None`` if that was in an earlier life."""
        self._asked: dict[Entry, int] = {}
        """Orders of open fate that a question did not settle, with how many copies they had then."""
        self.to_wire_us = Histogram(metrics.LATENCY_US)
        self.ack_us = Histogram(metrics.LATENCY_US)
        self.attempts = Histogram(metrics.ATTEMPTS)
        self.lookup_us = Histogram(metrics.LATENCY_US)
        self.lag_us = Histogram(metrics.LAG_US)
        self.lag_unusable = 0
        self.replies: Counter[type] = Counter()
        self.opened: Counter[IncidentKind] = Counter()
        self.collisions = 0
        """Incidents that showed one of our ids used for another order at the venue."""
        self.breaks = Breaks()
        self.callbacks: Counter[str] = Counter()
        """What became of callbacks, by the words of :data:`onefill.core.metrics.CALLBACK_RESULTS`."""

    def recorded(self, entry: Entry) -> None:
        """A new intent is on its way into the ledger."""
        self._recorded[entry] = self._ticks()

    def durable(self, entry: Entry) -> None:
        """A new intent and the claim of its first copy are durable."""
        self._answerless[entry] = self._ticks()

    def taken_up(self, entry: Entry) -> None:
        """An order was read from the ledger."""
        if entry.order.answer is None:
            self._answerless.setdefault(entry, None)

    def leaves(self, entry: Entry) -> None:
        """A copy of an order is handed to the venue."""
        began = self._recorded.pop(entry, None)
        if began is not None:
            self.to_wire_us.observe(int((self._ticks() - began) * 1_000_000))

    def replied(self, counts: Counts, reply: SubmitReply) -> None:
        """A copy of a new order got its reply, or none in time."""
        self.replies[type(reply)] += 1
        kind = type(reply).__struct_config__.tag
        if kind == "unknown":
            counts.unknown_outcomes += 1
        elif kind == "duplicate_id":
            counts.duplicate_replies += 1

    def answered(self, entry: Entry, order: Order) -> None:
        """It is durable what became of an order. Only the first time counts."""
        if entry not in self._answerless:
            return
        began = self._answerless.pop(entry)
        self._recorded.pop(entry, None)
        if order.status in NEVER_SENT:
            return
        self.attempts.observe(len(order.copies))
        if began is not None:
            self.ack_us.observe(int((self._ticks() - began) * 1_000_000))

    def forget(self, entry: Entry) -> None:
        """An order leaves memory."""
        self._recorded.pop(entry, None)
        self._answerless.pop(entry, None)
        self._asked.pop(entry, None)

    def asks(self) -> float:
        """Return when a question to the venue begins."""
        return self._ticks()

    def asked(self, entry: Entry, began: float, *, found: bool) -> None:
        """The venue was asked about an order, and showed it or did not."""
        self.lookup_us.observe(int((self._ticks() - began) * 1_000_000))
        if found:
            self._asked.pop(entry, None)
        elif entry.order.status is Status.UNCERTAIN:
            self._asked[entry] = len(entry.order.copies)

    def uncertain(self, entries: Iterable[Entry]) -> int:
        """Return how many orders are of unknown fate although the venue was asked, or cannot be (UOC)."""
        settled = [entry for entry in self._asked if entry.order.status is not Status.UNCERTAIN]
        for entry in settled:
            del self._asked[entry]
        return sum(
            entry.order.status is Status.UNCERTAIN
            and (entry.order.parked or self._asked.get(entry) == len(entry.order.copies))
            for entry in entries
        )

    def took_in(self, told_at_us: int, now_us: int) -> None:
        """A report that is no replay was taken in; ``told_at_us`` is the venue's time of it."""
        lag_us = now_us - told_at_us
        if told_at_us > 0 and 0 <= lag_us <= metrics.MOST_LAG_US:
            self.lag_us.observe(lag_us)
        else:
            self.lag_unusable += 1

    def incidents(self, changed: Iterable[Incident], at_us: int) -> None:
        """Incidents were opened or changed, durably."""
        for one in changed:
            if one.version == 1:
                self.opened[one.kind] += 1
                self.collisions += one.kind in metrics.COLLISIONS
            self.breaks.changed(one, at_us)
