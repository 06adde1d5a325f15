"""Random lives of a ledger: clocks that jump, routes that rest, days that are archived in between. Nothing of the journal is
lost, doubled or moved by any of it."""

import asyncio
import random
from pathlib import Path

import pytest
from archive_kit import ROUTES, Archive, days_left
from postgres_days_kit import DAY, made, opened, owner_of

from onefill.core.audit import DAY_US, JournalRow
from onefill.core.errors import EntriesArchived
from onefill.ledger.postgres import PostgresLedger
from onefill.service.wiring import open_for_reading
from onefill.testing.ledger_kit import ALL, Owner, accepted, ack, canceled

STEPS = 40
SPAN = 6
"""Days that the clocks wander over."""


class Life:
    """A ledger, what its journal must hold, and the dice."""

    def __init__(self, archive: Archive, seed: int) -> None:
        self.archive = archive
        self.dice = random.Random(seed)
        self.journal: dict[str, list[JournalRow]] = {route: [] for route in ROUTES}
        self.archived = 0
        self.refused = 0

    async def live(self) -> None:
        """Live, one step after the other."""
        async with made(self.archive.url, DAY, DAY + 2):  # the other days have to do without a partition at first
            pass
        left = STEPS
        while left:
            async with opened(self.archive.url) as ledger:
                owners = [await owner_of(ledger, DAY + self.dice.randrange(SPAN), route) for route in ROUTES]
                for _ in range(min(left, self.dice.randrange(1, 15))):
                    left -= 1
                    await self.step(ledger, owners)
                await self.note(ledger)
                await self.archive.sign(ledger)
            await self.check()

    async def step(self, ledger: PostgresLedger, owners: list[Owner]) -> None:
        """Trade on a route at some time, or archive some days."""
        owner = self.dice.choice(owners)
        await self.note(ledger)
        match self.dice.randrange(4):
            case 0:
                await self.archive.sign(ledger)
                done = await self.archive.archive(DAY + self.dice.randrange(SPAN + 2))
                self.archived += len(done.days)
                self.refused += done.refused is not None
            case _:
                owner.at_us = (DAY + self.dice.randrange(SPAN)) * DAY_US + self.dice.randrange(DAY_US)
                name = f"{owner.lease.route}-{self.dice.getrandbits(60)}"
                order = await owner.put(owner.record(name))
                order = await owner.put(owner.move(order, accepted(), ack(f"V{name}")))
                order = await owner.put(owner.fill(order, f"E{name}", venue_order_id=f"V{name}"))
                await owner.put(owner.move(order, canceled(order.cum_quantity)))

    async def note(self, ledger: PostgresLedger) -> None:
        """Note what came, as it was read right away."""
        for route, known in self.journal.items():
            known.extend(await ledger.journal_rows(route, len(known), ALL))

    async def check(self) -> None:
        """With the archive, the journal reads as it was noted, from anywhere; without it, from where the archive ends."""
        for whole in (True, False) if self.archived else (False,):
            audit = await self.archive.verify(whole=whole)
            assert audit.holds, audit
        if not self.archived:
            return
        async with open_for_reading(self.archive.url) as alone:
            for info in await alone.routes():
                known = self.journal[info.name]
                cut = 0 if info.archived is None else info.archived.last
                assert await alone.journal_rows(info.name, cut, ALL) == known[cut:]
                if cut:
                    with pytest.raises(EntriesArchived):
                        await alone.journal_rows(info.name, self.dice.randrange(cut), ALL)
        async with open_for_reading(self.archive.url, self.archive.folder) as store:
            for route, known in self.journal.items():
                for after in (0, self.dice.randrange(len(known)), len(known)):
                    limit = self.dice.choice([1, 7, ALL])
                    assert await store.journal_rows(route, after, limit) == known[after : after + limit]
            for order in await store.orders(0, ALL):
                history = await store.history(order.intent_id)
                assert [entry.kind for entry in history] == ["recorded", "copy_settled", "traded", "canceled"]


@pytest.mark.parametrize("seed", range(3))
def test_random_lives(postgres_url: str, tmp_path: Path, seed: int) -> None:
    """Days were archived on the way, and the record is whole after every part of the life."""

    async def main() -> None:
        life = Life(Archive(postgres_url, tmp_path), seed)
        await life.live()
        assert life.archived >= 2
        assert await life.archive.replays()
        await life.archive.archive(DAY + SPAN + 20)
        assert await days_left(life.archive.url) == []
        await life.check()

    asyncio.run(main())
