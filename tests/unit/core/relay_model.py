"""A relay's rules played against a ledger and a subscriber that are a few lists: what each has at every moment."""

from hypothesis import strategies as st

from onefill.core.audit import GENESIS, JournalEntry, entry_hash
from onefill.core.relay import TOLD, Gone, Invalid, Message, Outcome, Policy, Unavailable, message_of
from onefill.core.relay_lanes import Batch, Lanes, Move, Stop

POLICY = Policy(batch=3, in_flight=2, window=6, invalid_tries=1, suspect_tries=2, most_stopped=3)
OUTCOMES = st.sampled_from(
    [TOLD, TOLD, TOLD, Invalid("no"), Unavailable(reason="down"), Unavailable(reason="500", suspect=True)]
)


def message(sequence: int, lane: int) -> Message:
    """Return the message of the entry at a place, of a lane."""
    fields = ("X", sequence, lane or None, "trade", '[{"type":"trade"}]', sequence * 10, 1)
    names = ("route", "sequence", "intent_id", "kind", "payload", "at_us", "epoch")
    made = entry_hash(GENESIS, *fields)
    entry = JournalEntry(**dict(zip(names, fields, strict=True)), previous_hash=GENESIS, hash=made)  # type: ignore[arg-type]
    return message_of(entry, client_order_id=f"o{lane}" if lane else None)


class Model:
    """One subscriber of one journal, whose entries belong to the given lanes; a lane below zero is not wanted."""

    def __init__(self, lanes: list[int], policy: Policy = POLICY) -> None:
        self.journal = [message(sequence, max(lane, 0)) for sequence, lane in enumerate(lanes, 1)]
        self.wanted = {sequence for sequence, lane in enumerate(lanes, 1) if lane >= 0}
        self.policy = policy
        self.now_s = 0.0
        self.taken: list[Message] = []
        """By the subscriber, in its order, with repeats."""
        self.position = 0
        self.stopped: dict[int, Stop] = {}
        self.skipped: set[int] = set()
        self.under_way: list[Batch] = []
        self.start()

    # ---------------------------------------------------------------- what a relay does

    def start(self) -> None:
        """A process begins: all it knows is in the ledger."""
        self.under_way.clear()
        self.lanes = Lanes(self.policy, self.position, self.stopped.values())
        for stop in self.stopped.values():
            if stop.incident == 0:
                self.lanes.resume(stop)

    def read(self, most: int = 2) -> None:
        """Read on, where there is room, and those that catch up."""
        after = self.lanes.read_through
        for one in self.journal[after : after + min(most, self.lanes.room)]:
            self.lanes.read(one.sequence, one if one.sequence in self.wanted else None)
        while (wants := self.lanes.wants()) is not None:
            lane, told = wants
            found = [one for one in self.journal if one.lane == lane and one.sequence > told][:2]
            self.lanes.feed(lane, [(one.sequence, one if one.sequence in self.wanted else None) for one in found])

    def begin(self) -> bool:
        """Begin a call, if one may be begun."""
        batch = self.lanes.next_batch(self.now_s)
        if batch is None:
            return False
        lanes = [one.lane for one in batch.messages]
        assert len(set(lanes)) == len(lanes) <= self.policy.batch
        under_way = [one.lane for call in self.under_way for one in call.messages]
        assert not set(under_way) & set(lanes), "two messages of a lane are under way"
        assert len(self.under_way) < self.policy.in_flight
        assert not {lane for lane, stop in self.stopped.items() if stop.incident} & set(lanes), "a stopped lane is told"
        self.under_way.append(batch)
        return True

    def answer(self, which: int, outcomes: list[Outcome], *, heard: bool = True) -> None:
        """A call comes back; ``heard``: or what became of it is lost with the process."""
        batch = self.under_way.pop(which % len(self.under_way))
        for one, outcome in zip(batch.messages, outcomes, strict=True):
            if outcome is TOLD:
                self.taken.append(one)
                self.check_order()
        if heard:
            self.lanes.took(batch, outcomes, self.now_s)

    def keep(self, *, durable: bool = True, heard: bool = True) -> None:
        """Keep the place; ``durable``: in the ledger, ``heard``: and the relay lives to know."""
        move = self.lanes.move()
        if move is None or not durable:
            return
        self._move(move)
        if heard:
            self.lanes.moved(move)

    def _move(self, move: Move) -> None:
        assert move.previous == self.position
        self.position = move.position
        self.stopped |= {stop.lane: stop for stop in move.stopped}
        for lane in move.freed:
            del self.stopped[lane]
        self.check_place()

    def stop(self) -> None:
        """Stop every lane whose event is not taken, in the ledger and then in memory."""
        for lane in list(self.lanes.poisoned):
            made = self.lanes.stop_of(lane, 7)
            self.stopped[lane] = made
            self.lanes.stop(made)
            self.check_place()

    def person(self, *, skip: bool) -> None:
        """Somebody lets every stopped order go on, and the relay begins anew."""
        for lane, stop in self.stopped.items():
            position = stop.position
            if skip and stop.incident:
                position = next(
                    (m.sequence for m in self.journal if m.lane == lane and m.sequence > position), position
                )
                self.skipped.add(position)
            self.stopped[lane] = Stop(lane, position, 0)
        self.start()

    # ---------------------------------------------------------------- what must hold

    def _due(self, lane: int) -> list[int]:
        found = [one.sequence for one in self.journal if one.lane == lane]
        return [sequence for sequence in found if sequence in self.wanted and sequence not in self.skipped]

    def check_order(self) -> None:
        """No event is taken before every earlier one of its order was."""
        newest = self.taken[-1]
        known = {one.sequence for one in self.taken}
        missing = [sequence for sequence in self._due(newest.lane) if sequence < newest.sequence]
        assert set(missing) <= known, f"{newest.sequence} was taken before {set(missing) - known}"

    def check_place(self) -> None:
        """The ledger's place is behind nothing that was not taken, but for what belongs to stopped orders."""
        known = {one.sequence for one in self.taken}
        for lane in {one.lane for one in self.journal}:
            stop = self.stopped.get(lane)
            through = self.position if stop is None else stop.position
            missing = [sequence for sequence in self._due(lane) if sequence <= through and sequence not in known]
            assert not missing, f"the place {through} of lane {lane} is beyond {missing}"

    def finish(self) -> None:
        """Nothing fails any more: whatever is stopped goes on, and everything is told."""
        self.start()
        for _ in range(20 * len(self.journal) + 50):
            self.now_s += 60
            self.read(most=1000)
            while self.begin():
                pass
            while self.under_way:
                self.answer(0, [TOLD] * len(self.under_way[0].messages))
            self.stop()
            self.keep()
            if any(stop.incident for stop in self.stopped.values()):
                self.person(skip=False)
        assert self.position == len(self.journal)
        assert not self.stopped
        known = {one.sequence for one in self.taken}
        assert self.wanted - self.skipped <= known
        assert self.lanes.waiting == 0
        assert self.lanes.oldest_us is None


def gone_or(outcomes: list[Outcome], *, gone: bool) -> list[Outcome]:
    """Return the outcomes, the first as one of a subscriber that wants nothing more if ``gone``."""
    return [Gone("410"), *outcomes[1:]] if gone else outcomes
