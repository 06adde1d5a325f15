"""Random histories: whatever the core makes of an order, a ledger gives back equal to what memory holds."""

import random
from decimal import Decimal

from onefill.core import events as ev
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Event, Source, Verdict
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Order
from onefill.ports.ledger import Change, Committed
from onefill.testing.ledger_kit import AT_US, ROUTE, Bench, LedgerUnderTest, Owner, fact, kinds, latest, replaced

_OUTCOMES = (
    CopyOutcome.REJECTED,
    CopyOutcome.TOO_LATE,
    CopyOutcome.THROTTLED,
    CopyOutcome.NOT_SENT,
    CopyOutcome.UNKNOWN,
)


class History:
    """One order's life, made up step by step of what can happen to it."""

    def __init__(self, owner: Owner, seed: int) -> None:
        self.owner = owner
        self.chance = random.Random(seed)  # noqa: S311 - the same seed must give the same history
        self.key = f"history {seed}"
        self.first: Change = owner.record(self.key, client_order_id=f"{self.key} id", claimed=seed % 3 > 0)
        """Records the order: to be committed before any step."""
        self.order: Order = latest([self.first])
        self.replaces = 0
        self.executions = 0

    def step(self) -> Change:
        """Return a change that can happen now."""
        while True:
            change = self._try()
            if change is not None:
                self.order = latest([change])
                return change

    def _try(self) -> Change | None:
        events = self.chance.choice(
            (self._of_copies, self._of_venue, self._of_cancel, self._of_replace, self._of_replace)
        )()
        order = self.order
        resent = order.parked and order.status is Status.RECORDED and any(isinstance(e, ev.Claimed) for e in events)
        if not events or resent:
            return None  # what is parked before it was sent is not sent
        try:
            if isinstance(events[0], ev.Traded):
                change = self.owner.fill(order, f"{self.key} {self.executions}", quantity=events[0].quantity)
                self.executions += 1
                return change
            return self.owner.move(order, *events)
        except InvariantBroken:
            return None

    def _moment(self) -> int | None:
        return self.chance.choice((None, AT_US + self.chance.randrange(10**7)))

    def _of_copies(self) -> tuple[Event, ...]:
        number = self.chance.randint(1, len(self.order.copies) + 1)
        if number > len(self.order.copies):
            return (ev.Claimed(number, self._moment(), self._moment()),)
        if self.chance.random() < 0.1:
            said = ev.Resolved(Verdict.NOT_SENT, "ann", "the venue says so")
            unsent: list[Event] = [ev.ProvenAbsent(AT_US), ev.Withdrawn("no"), ev.ExpiredUnsent("too late"), said]
            return (self.chance.choice(unsent),)
        if self.order.copies[number - 1].outcome is None and self.chance.random() < 0.5:
            return (ev.OutcomeUnknown(number, "timed out"),)
        return (ev.CopySettled(number, self.chance.choice(_OUTCOMES), "so it was said", self._moment()),)

    def _of_venue(self) -> tuple[Event, ...]:
        order, cum = self.order, Decimal(self.chance.randint(0, 5)) / 4
        if order.status in ENDED and self.chance.random() < 0.5:
            return ()
        choices: list[Event] = [
            ev.Acknowledged("V1", VenueStatus.NEW, cum, Source.LOOKUP),
            ev.Acknowledged("V1", VenueStatus.PENDING_NEW, Decimal(0), Source.REPLY),
            ev.Traded("", Decimal(self.chance.randint(1, 60)) / 8, Decimal(2), "V1", cum),
            ev.Anomaly("odd"),
            ev.Parked("nobody can tell"),
        ]
        if self.chance.random() < 0.06:  # the end of most histories
            choices = [
                ev.Canceled(Source.STREAM, "V1", cum),
                ev.Expired(Source.LOOKUP, "V1", cum),
                ev.Rejected("no", Source.STREAM),
                ev.Traded("", max(order.leaves_quantity, Decimal(1)), Decimal(2), "V1", cum),
            ]
        return (self.chance.choice(choices),)

    def _of_cancel(self) -> tuple[Event, ...]:
        cancels = self.order.cancels
        choices: list[Event] = [ev.CancelRecorded(None), ev.CancelRefused("no")]
        if self.order.cancel_wanted:
            choices.append(ev.CancelClaimed(len(cancels) + 1))
        if cancels:
            number = self.chance.randint(1, len(cancels))
            choices.append(ev.CancelSettled(number, self.chance.choice(_OUTCOMES), "so it was said", self._moment()))
        return (self.chance.choice(choices),)

    def _of_replace(self) -> tuple[Event, ...]:
        order = self.order
        open_one = order.replacement
        copies = order.strays + (() if open_one is None else open_one.copies)
        if copies and self.chance.random() < 0.4:
            number = self.chance.choice(copies).number
            done = ev.ReplaceSettled(number, self.chance.choice(_OUTCOMES), "so it was said", self._moment())
            return (done, replaced(order)) if open_one is not None and self.chance.random() < 0.4 else (done,)
        if open_one is None:
            return () if order.status in ENDED else self._wish()
        claim = ev.ReplaceClaimed(order.replace_copies + 1, self._moment(), self._moment())
        over = ev.Superseded(Source.STREAM, "V1", order.venue_cum_quantity)
        return self.chance.choice(((claim,), (claim,), (over,), (ev.ReplaceRefused("no"),), (replaced(order),)))

    def _wish(self) -> tuple[Event, ...]:
        order = self.order
        self.replaces += 1
        client_order_id = self.chance.choice((order.live_id, f"{self.key} id {self.replaces}"))
        quantity = Decimal(self.chance.randint(100, 800)) / 8
        price = self.chance.choice((None, Decimal("2.25")))
        key = self.chance.choice((None, "op"))
        wish = ev.ReplaceRecorded(order.replacements + 1, client_order_id, quantity, price, AT_US + 1, key)
        claim = ev.ReplaceClaimed(order.replace_copies + 1, None, self._moment())
        return (wish, claim) if order.status in (Status.NEW, Status.PARTIALLY_FILLED) else (wish,)


class HistoryFacts(LedgerUnderTest):
    """Memory and ledger tell the same story."""

    histories = 16
    """How many lives are made up."""
    steps = 50
    """How long each one is."""

    @fact
    async def test_a_loaded_order_equals_the_one_in_memory(self, bench: Bench) -> None:
        """Whatever happens to an order, in whatever order, one by one or in groups: read back it equals what memory holds."""
        owner = await bench.owner()
        lives = [History(owner, seed) for seed in range(self.histories)]
        for life in lives:
            assert kinds(await owner.commit(life.first)) == [Committed]
            left = self.steps
            while left > 0:
                size = min(left, life.chance.choice((1, 1, 2, 7)))
                left -= size
                changes = [life.step() for _ in range(size)]
                results = await owner.commit(*changes)
                assert set(kinds(results)) == {Committed}, (life.key, changes, results)
                loaded = await bench.load(life.key)
                assert loaded.order == life.order, (life.key, changes[-1].payload)
                assert len(loaded.execution_ids) == life.executions
                assert await bench.ledger.by_client_order_id(ROUTE, life.order.live_id) == loaded
        await bench.crash()
        for life in lives:
            assert (await bench.load(life.key)).order == life.order, life.key
        assert sum(life.order.replacements for life in lives) > 2 * len(lives)
        assert sum(life.order.in_force is not None for life in lives) > len(lives) // 3
