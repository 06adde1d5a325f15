"""What was archived is still known: whatever comes again from an archived day is recognised, and nothing is computed from
it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from archive_kit import DAYS, ROUTES, Archive, days_left, trade_a_day
from postgres_days_kit import DAY, connected, made, opened, owner_of

from onefill.core import events as ev
from onefill.core.audit import DAY_US
from onefill.core.errors import EntriesArchived
from onefill.core.incident import Incident, IncidentKind
from onefill.core.postmortem import Facts, document
from onefill.engine.postmortem import facts_of
from onefill.engine.subscriptions import first_entry_from, status_of
from onefill.ports.ledger import (
    ClientOrderIdTaken,
    Committed,
    CursorMove,
    EventKnown,
    ExecutionKnown,
    InboxEvent,
    KeyTaken,
    OperationTaken,
    StepRecord,
    StepTaken,
    Subscription,
    SubscriptionMove,
)
from onefill.service.wiring import open_for_reading
from onefill.testing.ledger_kit import ALL, STREAM, Bench, accepted, ack


@pytest.fixture
def archive(postgres_url: str, tmp_path: Path) -> Archive:
    """Return a place for a ledger and its archive."""
    return Archive(postgres_url, tmp_path)


def test_what_comes_again_from_an_archived_day_is_known(archive: Archive) -> None:
    """A key, a client order id, an execution, a cancel's key, a callback and a step that were taken in on a day that is
    archived since are recognised by the very constraints that did it on that day; a subscriber is not told anything twice, a
    venue's stream goes on where it was."""

    async def main() -> None:
        event = InboxEvent(source="venue", event_id="callback-1", digest=bytes(32))
        step = StepRecord(key="settle", step="book", attempt=1, begun_at_us=1)
        done = msgspec.structs.replace(step, result=b'"booked"', done_at_us=2)
        async with made(archive.url, DAY, DAY + 1) as ledger:
            owner = await owner_of(ledger, DAY)
            recorded = owner.record("k1")
            order = await owner.put(recorded)
            order = await owner.put(owner.move(order, accepted(), ack()))
            filled = await owner.put(owner.fill(order, "E1", CursorMove(STREAM, 0, 5), quantity=Decimal(100)))
            operation = owner.operation(filled, "cancel-1", answer=b'{"too":"late"}')
            for change in (
                owner.note("callback", inbox=event),
                owner.note("step", step=step),
                owner.note("step", step=done),
                owner.note("cancel", opened=(operation,)),
            ):
                assert isinstance(await ledger.commit(change), Committed)
            told = SubscriptionMove(subscriber="desk", previous=0, position=8)
            assert await ledger.move_subscription("alpha", owner.lease.epoch, told)
            await archive.sign(ledger)
        assert [day.entries for day in (await archive.archive(DAY + 1)).days] == [8]
        assert await days_left(archive.url) == []

        async with opened(archive.url) as ledger:
            owner = await owner_of(ledger, DAY + 1)
            loaded = await ledger.by_key("acct", "strat", "k1")
            assert loaded is not None
            again = msgspec.structs.replace(recorded, epoch=owner.lease.epoch)
            assert await ledger.commit(again) == KeyTaken(msgspec.structs.replace(loaded.order, copies=()))
            other = owner.record("k2", client_order_id=filled.client_order_id)
            assert await ledger.commit(other) == ClientOrderIdTaken(filled.client_order_id)
            twice = owner.fill(order, "E1")
            assert await ledger.commit(twice) == ExecutionKnown("E1")
            stranger = owner.note("quarantined", execution=owner.trade("E1"))
            assert await ledger.commit(stranger) == ExecutionKnown("E1")
            assert await ledger.commit(owner.note("cancel", opened=(operation,))) == OperationTaken(operation)
            assert await ledger.commit(owner.note("callback", inbox=event)) == EventKnown("callback-1", bytes(32))
            assert await ledger.commit(owner.note("step", step=step)) == StepTaken(done)
            assert await ledger.cursor("alpha", STREAM) == 5
            subscription = (await ledger.subscriptions("alpha"))[0]
            assert subscription.position == 8
            # From where it was told, the first it hears of is what came after the archived day.
            assert [row.entry.sequence for row in await ledger.outbox("alpha", 8, ALL)] == [9]
            assert owner.lease.last_number == 1
        assert (await archive.verify(whole=True)).holds

    asyncio.run(main())


def test_what_is_computed_does_not_change(archive: Archive) -> None:
    """Orders, answers, executions, positions and all else but the journal read the same before and after: none of it is
    computed from the journal."""

    async def everything() -> dict[str, object]:
        async with opened(archive.url) as ledger:

            class Reading(Bench):
                """A bench that only looks."""

                def __init__(self) -> None:
                    self.ledger = ledger

            shown = await Reading().all() if not await ledger.archives("alpha") else await _without_journal(Reading())
            shown["routes"] = [msgspec.structs.replace(info, archived=None) for info in await ledger.routes()]
            shown["folded"] = {
                route: await ledger.executions_of_position("acct", "strat", route, "ACME", ALL) for route in ROUTES
            }
            del shown["journal"]
            return shown

    async def main() -> None:
        async with made(archive.url, *range(DAY, DAY + DAYS)) as ledger:
            for route in ROUTES:
                owner = await owner_of(ledger, DAY, route)
                for day in range(DAY, DAY + DAYS):
                    await trade_a_day(owner, day)
            await archive.sign(ledger)
        before = await everything()
        assert len(before["orders"]) == 24  # type: ignore[arg-type]
        assert (await archive.archive(DAY + DAYS)).refused is None
        assert await days_left(archive.url) == []
        assert await everything() == before

    asyncio.run(main())


async def _without_journal(bench: Bench) -> dict[str, object]:
    """Return everything, with an empty journal in place of one that is archived."""
    ledger = bench.ledger

    class Looking:
        def __getattr__(self, name: str) -> object:
            return getattr(ledger, name)

        async def journal(self, *_: object) -> list[object]:
            return []

    bench.ledger = Looking()  # type: ignore[assignment]
    return await bench.all()


def test_dedupe_has_no_day(archive: Archive) -> None:
    """None of the tables that recognise what comes again is emptied by archiving: not one row less."""
    tables = ("intent", "attempt", "operation", "execution", "cursor", "inbox", "step", "checkpoint", "subscription")

    async def counted() -> list[int]:
        async with connected(archive.url) as db:
            return [await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    async def main() -> None:
        async with made(archive.url, *range(DAY, DAY + DAYS)) as ledger:
            owner = await owner_of(ledger, DAY)
            for day in range(DAY, DAY + DAYS):
                await trade_a_day(owner, day)
            await archive.sign(ledger)
        before = await counted()
        assert before[:4] == [12, 12, 0, 12]
        await archive.archive(DAY + DAYS)
        assert await counted() == before

    asyncio.run(main())


def test_who_wants_to_be_told_of_archived_entries_hears_where_they_are(archive: Archive) -> None:
    """A subscriber's place is not put, by entry or by time, before what the ledger still holds: that would be told never, and
    nobody would notice. How subscribers are is shown all the same."""

    async def main() -> None:
        async with made(archive.url, *range(DAY, DAY + DAYS)) as ledger:
            owner = await owner_of(ledger, DAY)
            for day in range(DAY, DAY + DAYS):
                await trade_a_day(owner, day)
            await archive.sign(ledger)
        await archive.archive(DAY + 2)
        async with opened(archive.url) as ledger:
            for place in (DAY * DAY_US, (DAY + 2) * DAY_US - 1):
                with pytest.raises(EntriesArchived, match="2024-10-05"):
                    await first_entry_from(ledger, "alpha", place)
            assert await first_entry_from(ledger, "alpha", (DAY + 2) * DAY_US) == 25
            kept = Subscription(route="alpha", subscriber="late", position=3)
            status = await status_of(ledger, kept, head=37)
            assert (status.lag, status.oldest_us) == (34, None)

    asyncio.run(main())


def test_a_postmortem_says_what_it_lacks(archive: Archive) -> None:
    """Of an incident whose beginning was archived the timeline has what is still here, and names the file with the rest."""

    async def main() -> None:
        incident = Incident(
            number=1,
            route="alpha",
            kind=IncidentKind.SUBSCRIBER,
            subject="desk",
            summary="",
            opened_at_us=DAY * DAY_US + 5,
        )
        async with made(archive.url, DAY, DAY + 1) as ledger:
            owner = await owner_of(ledger, DAY)
            opened_by = ev.IncidentOpened(1, incident.kind, "desk", "", ())
            await ledger.commit(owner.note("incident_opened", msgspec.json.encode([opened_by]).decode()))
            owner.at_us = (DAY + 1) * DAY_US
            await ledger.commit(owner.note())
            await archive.sign(ledger)

        async def collected() -> Facts:
            async with open_for_reading(archive.url) as store:
                return await facts_of(store, incident, (DAY + 2) * DAY_US)

        before = await collected()
        assert (len(before.entries), before.archived) == (2, None)
        await archive.archive(DAY + 1)
        after = await collected()
        assert (after.entries, after.archived) == ((), "2024-10-04/1-alpha.ndjson.xz")
        assert "Earlier entries are archived, the last of them in 2024-10-04/1-alpha.ndjson.xz" in document(after)

    asyncio.run(main())
