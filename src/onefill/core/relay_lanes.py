"""What a relay does next: what may be told now, what a failure means, which orders are stopped, how far the cursor may move.

Pure: entries, outcomes and the time in seconds go in; batches and moves of the cursor come out. Rules:

* Of one lane at most one message is under way, the oldest not taken. So order holds whatever a publisher does with a batch.
* The cursor moves through what was taken, filtered out, or belongs to a lane that is stopped, and never past anything else.
* A subscriber that cannot be reached is asked again for ever, and nothing is counted. A message that it will not take is told
  a bounded number of times; then its lane stops, and the others go on.
* A lane that goes on is told from where it stopped, out of the ledger, and becomes like the others once it has caught up.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from onefill.core.errors import require
from onefill.core.relay import Gone, Invalid, Message, Outcome, Policy, Told, Unavailable


class Stop(msgspec.Struct, frozen=True, gc=False):
    """A lane that is stopped: told through ``position``. ``incident`` 0: it is to go on."""

    lane: int
    position: int
    incident: int


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Messages to be told together, each of another lane."""

    messages: tuple[Message, ...]
    begun_s: float
    told_before: int
    """How many messages the subscriber had taken when the batch was made."""


class Poison(msgspec.Struct, frozen=True, gc=False):
    """A message that was told as often as it may be, and not taken."""

    message: Message
    reason: str
    tries: int


class Move(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How the subscriber's place in the ledger is to change."""

    previous: int
    position: int
    stopped: tuple[Stop, ...] = ()
    freed: tuple[int, ...] = ()


class _Lane:
    """Messages of one lane that were read and not taken, oldest first."""

    __slots__ = ("failures", "messages", "tries")

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.tries = 0
        """How often the first of them failed, whatever the reason."""
        self.failures = 0
        """How often that counts against it."""


class Lanes:
    """The state of one relay in memory, begun from its place in the ledger."""

    def __init__(self, policy: Policy, position: int, stopped: Iterable[Stop] = ()) -> None:
        self._policy = policy
        self.position = position
        """As the ledger has it."""
        self.read_through = position
        self.stopped = {stop.lane: stop for stop in stopped}
        """As the ledger has them."""
        self.poisoned: dict[int, Poison] = {}
        """Lanes that are to be stopped; nothing of them is told until :meth:`stop`."""
        self.told = 0
        self.again = 0
        """Messages told that had been told before, as far as this relay knows."""
        self.unavailable: str | None = None
        """Why the subscriber takes nothing now, ``None`` if it does or has not been asked."""
        self.gone: str | None = None
        """Why it is told nothing any more."""
        self._lanes: dict[int, _Lane] = {}
        self._ready: deque[int] = deque()
        self._later: list[tuple[float, int]] = []
        self._resumed: dict[int, int] = {}
        """Lanes that catch up, with the sequence through which each was read."""
        self._told_to: dict[int, int] = {}
        """Through what each of them was told, where the ledger does not have it yet."""
        self._freed: set[int] = set()
        self._order: deque[int] = deque()
        self._open: set[int] = set()
        """Sequences that were read for telling and not taken, in both; the first also has those since taken behind them."""
        self._at_us: dict[int, int] = {}
        self._under_way = 0
        self._down = 0
        """Failures in a row of the subscriber as a whole."""
        self._paused_until_s = float("-inf")

    # ------------------------------------------------------------------ reading

    @property
    def room(self) -> int:
        """How many more entries may be read."""
        return max(self._policy.window - len(self._order), 0)

    def read(self, sequence: int, message: Message | None) -> None:
        """Take in the next entry of the journal; ``message`` is ``None`` where the subscriber does not want it."""
        require(sequence == self.read_through + 1, f"entry {sequence} was read after {self.read_through}")
        self.read_through = sequence
        if message is None or message.lane in self.stopped:
            return
        self._order.append(sequence)
        self._open.add(sequence)
        self._at_us[sequence] = message.at_us
        self._add(message)

    def _add(self, message: Message) -> None:
        lane = self._lanes.get(message.lane)
        if lane is None:
            lane = self._lanes[message.lane] = _Lane()
            self._ready.append(message.lane)
        lane.messages.append(message)

    # ------------------------------------------------------------------ telling

    def next_batch(self, now_s: float) -> Batch | None:
        """Return what is to be told now, if anything. It is under way until :meth:`took`."""
        while self._later and self._later[0][0] <= now_s:
            self._ready.append(heapq.heappop(self._later)[1])
        if self.gone is not None or self._under_way >= self._policy.in_flight:
            return None
        if not self._ready or now_s < self._paused_until_s:
            return None
        heads: list[Message] = []
        while self._ready and len(heads) < self._policy.batch:
            lane = self._lanes[self._ready.popleft()]
            heads.append(lane.messages[0])
            self.again += lane.tries > 0
        self._under_way += 1
        return Batch(tuple(heads), now_s, self.told)

    def due_s(self, now_s: float) -> float | None:
        """Return when :meth:`next_batch` may have something that it has not now, if only time passes."""
        if self.gone is not None or self._under_way >= self._policy.in_flight:
            return None
        dues = [self._later[0][0]] if self._later else []
        if self._ready:
            dues.append(self._paused_until_s)
        return max(min(dues), now_s) if dues else None

    def took(self, batch: Batch, outcomes: Sequence[Outcome], now_s: float) -> None:
        """Take in what came of a batch, one outcome for each message."""
        require(len(outcomes) == len(batch.messages), f"{len(batch.messages)} messages and {len(outcomes)} outcomes")
        self._under_way -= 1
        pairs = list(zip(batch.messages, outcomes, strict=True))
        for message, outcome in pairs:
            if isinstance(outcome, Told):
                self._told(message)
        others = self.told > batch.told_before
        for message, outcome in pairs:
            if isinstance(outcome, Unavailable):
                self._unavailable(batch, message, outcome, now_s, others=others)
            elif isinstance(outcome, Invalid):
                self._failed(message, outcome.reason, self._policy.invalid_tries, now_s)
            elif isinstance(outcome, Gone):
                self.gone = outcome.reason
                self._ready.appendleft(message.lane)
        if others:
            self._down = 0
            self.unavailable = None

    def _told(self, message: Message) -> None:
        self.told += 1
        lane = self._lanes[message.lane]
        lane.messages.popleft()
        lane.tries = lane.failures = 0
        if message.lane in self._resumed:
            self._told_to[message.lane] = message.sequence
        else:
            self._close(message.sequence)
        if lane.messages:
            self._ready.append(message.lane)
        else:
            del self._lanes[message.lane]

    def _close(self, sequence: int) -> None:
        self._open.discard(sequence)
        self._at_us.pop(sequence, None)
        while self._order and self._order[0] not in self._open:
            self._order.popleft()

    def _unavailable(self, batch: Batch, message: Message, outcome: Unavailable, now_s: float, *, others: bool) -> None:
        if others and outcome.suspect:
            self._failed(message, outcome.reason, self._policy.suspect_tries, now_s)
            return
        lane = self._lanes[message.lane]
        lane.tries += 1
        if others:  # a part of the subscriber is down, such as one partition: the rest goes on
            pause_s = self._policy.pause(lane.tries, outcome.retry_after_s)
            heapq.heappush(self._later, (now_s + pause_s, message.lane))
            return
        self._ready.appendleft(message.lane)
        self._rest(batch.begun_s, outcome.reason, now_s, outcome.retry_after_s)

    def _rest(self, begun_s: float, reason: str, now_s: float, asked_s: float | None = None) -> None:
        """Leave the whole subscriber alone for a while. What was begun before the last pause says nothing more."""
        self.unavailable = reason
        if begun_s >= self._paused_until_s:
            self._down += 1
            self._paused_until_s = now_s + self._policy.pause(self._down, asked_s)

    def _failed(self, message: Message, reason: str, most: int, now_s: float) -> None:
        lane = self._lanes[message.lane]
        lane.tries += 1
        lane.failures += 1
        if lane.failures < most:
            heapq.heappush(self._later, (now_s + self._policy.pause(lane.tries), message.lane))
        elif message.lane not in self.stopped and len(self.stopped) + len(self.poisoned) >= self._policy.most_stopped:
            heapq.heappush(self._later, (now_s + self._policy.longest_pause_s, message.lane))
            self._paused_until_s = now_s + self._policy.longest_pause_s
            self.unavailable = f"{self._policy.most_stopped} orders are stopped already, and it refuses more: {reason}"
        else:
            self.poisoned[message.lane] = Poison(message, reason, lane.failures)

    # ------------------------------------------------------------------ stopping and going on

    def stop_of(self, lane: int, incident: int) -> Stop:
        """Return how a poisoned lane is to stand in the ledger: told up to its poison, stopped by an incident."""
        return Stop(lane, self.poisoned[lane].message.sequence - 1, incident)

    def stop(self, stop: Stop) -> None:
        """A poisoned lane is stopped, durably. What was read of it is left to be told later, from the ledger."""
        self._drop(stop.lane)
        self._resumed.pop(stop.lane, None)
        self._told_to.pop(stop.lane, None)
        self.stopped[stop.lane] = stop

    def _drop(self, lane: int) -> None:
        self.poisoned.pop(lane, None)
        found = self._lanes.pop(lane, None)
        for message in () if found is None else found.messages:
            self._close(message.sequence)

    def resume(self, stop: Stop) -> None:
        """A lane goes on from where the ledger says it stopped, by a person's word. Its messages come by :meth:`feed`."""
        require(stop.lane not in self._lanes, f"lane {stop.lane} is being told")
        self.stopped[stop.lane] = stop
        self._resumed[stop.lane] = stop.position

    @property
    def resting(self) -> list[Stop]:
        """The lanes that are stopped and do not go on."""
        return [stop for stop in self.stopped.values() if stop.lane not in self._resumed]

    def wants(self) -> tuple[int, int] | None:
        """Return a lane that catches up and has nothing left to tell, with the sequence through which it was read."""
        return next(((lane, after) for lane, after in self._resumed.items() if lane not in self._lanes), None)

    def feed(self, lane: int, entries: Sequence[tuple[int, Message | None]]) -> None:
        """Take in the next entries of a lane that catches up. It has, when none of them was read by the others.

        What comes behind :attr:`read_through` is left for then. Entries are as in :meth:`read`.
        """
        known = [(sequence, message) for sequence, message in entries if sequence <= self.read_through]
        if not known:
            del self._resumed[lane], self.stopped[lane]
            self._told_to.pop(lane, None)
            self._freed.add(lane)
            return
        self._resumed[lane] = known[-1][0]
        for _, message in known:
            if message is not None:
                self._add(message)

    # ------------------------------------------------------------------ the cursor

    @property
    def told_through(self) -> int:
        """Through which entry everything was taken, left out, or belongs to a lane that is stopped."""
        return self._order[0] - 1 if self._order else self.read_through

    @property
    def waiting(self) -> int:
        """Messages that were read and not taken."""
        return len(self._open)

    @property
    def oldest_us(self) -> int | None:
        """When the first entry that was read and not taken was committed."""
        return self._at_us[self._order[0]] if self._order else None

    def move(self) -> Move | None:
        """Return how the ledger is to be moved on, if it is to be."""
        told = tuple(
            msgspec.structs.replace(self.stopped[lane], position=position) for lane, position in self._told_to.items()
        )
        # Freed lanes that were stopped anew since are stopped.
        freed = tuple(sorted(self._freed - self.stopped.keys()))
        if self.told_through == self.position and not (told or freed):
            return None
        return Move(previous=self.position, position=self.told_through, stopped=told, freed=freed)

    def moved(self, move: Move) -> None:
        """The ledger was moved on, durably."""
        self.position = move.position
        for stop in move.stopped:
            if self._told_to.get(stop.lane) == stop.position:
                del self._told_to[stop.lane]
            if stop.lane in self.stopped:
                self.stopped[stop.lane] = stop
        self._freed.difference_update(move.freed)
