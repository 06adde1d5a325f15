"""The facts about owners and orders that every ledger must hold to."""

import asyncio
from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core.errors import Fenced, OtherVenue
from onefill.core.events import CopyOutcome, Event
from onefill.ports.ledger import (
    Change,
    ClientOrderIdTaken,
    Committed,
    CursorMove,
    ExecutionKnown,
    KeyTaken,
    Loaded,
    Outcome,
    Stale,
)
from onefill.testing.ledger_kit import (
    ACCOUNT,
    ALL,
    AT_US,
    OTHER_ROUTE,
    ROUTE,
    STRATEGY,
    STREAM,
    Bench,
    LedgerUnderTest,
    accepted,
    ack,
    canceled,
    fact,
    kinds,
    latest,
)


class OrderFacts(LedgerUnderTest):
    """Owners, keys, claims, versions."""

    # Owners.

    @fact
    async def test_every_owner_gets_a_higher_epoch(self, bench: Bench) -> None:
        """Epochs of a route only rise, across reopening and crashes too, and no two owners share a session."""
        leases = []
        for again in (None, bench.reopen, bench.crash, None):
            if again is not None:
                await again()
            leases += [(await bench.owner()).lease, (await bench.owner()).lease]
        epochs = [lease.epoch for lease in leases]
        assert epochs == sorted(set(epochs))
        assert len({lease.session for lease in leases}) == len(leases)
        assert {(lease.route, lease.route_id) for lease in leases} == {(ROUTE, leases[0].route_id)}
        (route,) = await bench.ledger.routes()
        assert (route.name, route.epoch, route.holder) == (ROUTE, epochs[-1], "first")

    @fact
    async def test_a_route_remembers_which_venue_it_is(self, bench: Bench) -> None:
        """A route whose venue calls itself something else is refused, and nothing changes; one without a name is taken."""
        first = await bench.ledger.acquire(ROUTE, "first", AT_US, venue="V-1")
        (refused,) = await asyncio.gather(
            bench.ledger.acquire(ROUTE, "second", AT_US, venue="V-2"), return_exceptions=True
        )
        assert isinstance(refused, OtherVenue)
        (route,) = await bench.ledger.routes()
        assert (route.epoch, route.holder) == (first.epoch, "first")
        assert (await bench.ledger.acquire(ROUTE, "third", AT_US)).epoch == first.epoch + 1
        await bench.reopen()
        assert (await bench.ledger.acquire(ROUTE, "fourth", AT_US, venue="V-1")).epoch == first.epoch + 2

    @fact
    async def test_an_earlier_owner_writes_nothing(self, bench: Bench) -> None:
        """ONE-WRITER: whatever a fenced owner hands in is refused and leaves no trace (order, execution, cursor, operation)."""
        old = await bench.owner()
        order = await old.put(old.record("k"))
        new = await bench.owner(holder="second")
        before = await bench.all()
        wish = old.operation(order, "op")
        results = await old.commit(
            old.record("k2"),
            old.move(order, accepted(), ack()),
            old.fill(order, "e1", CursorMove(STREAM, 0, 1)),
            old.move(order, ev.CancelRecorded("op"), opened=(wish,)),
            old.note(execution=old.trade("e2"), cursor=CursorMove(STREAM, 0, 1)),
        )
        for result in results:
            assert isinstance(result, Fenced)
            assert (result.route, result.epoch, result.current) == (ROUTE, old.lease.epoch, new.lease.epoch)
        moved = await asyncio.gather(
            bench.ledger.move_cursor(ROUTE, old.lease.epoch, CursorMove(STREAM, 0, 1)), return_exceptions=True
        )
        assert kinds(moved) == [Fenced]
        assert await bench.all() == before
        assert await bench.ledger.operation(ACCOUNT, STRATEGY, "k", "op") is None
        await new.put(new.move(order, accepted(), ack()))

    @fact
    async def test_every_write_names_a_route_and_its_epoch(self, bench: Bench) -> None:
        """A route nobody took, an epoch that was never given and another route's epoch are refused; neighbours are not."""
        owner = await bench.owner()
        for _ in range(2):
            await bench.owner(OTHER_ROUTE)
        wrong = [("nowhere", owner.lease.epoch), (ROUTE, owner.lease.epoch + 1), (OTHER_ROUTE, owner.lease.epoch)]
        changes = [owner.record("before")]
        changes += [msgspec.structs.replace(owner.record(f"{r}{e}"), route=r, epoch=e) for r, e in wrong]
        results = await owner.commit(*changes, owner.record("after"))
        assert kinds(results) == [Committed, Fenced, Fenced, Fenced, Committed]
        assert [order.key for order in await bench.ledger.orders(0, ALL)] == ["before", "after"]
        for route, epoch in wrong:
            moved = bench.ledger.move_cursor(route, epoch, CursorMove(STREAM, 0, 1))
            assert kinds(await asyncio.gather(moved, return_exceptions=True)) == [Fenced]

    @fact
    async def test_what_was_under_way_when_the_owner_changed(self, bench: Bench) -> None:
        """A change handed in before another owner came is either in the journal before that owner or refused."""
        old = await bench.owner()
        futures = [bench.ledger.commit(old.record(f"k{n}")) for n in range(50)]
        new = await bench.owner(holder="second")
        results = await asyncio.gather(*futures, return_exceptions=True)
        written = [result.sequence for result in results if isinstance(result, Committed)]
        assert len(written) + kinds(results).count(Fenced) == len(results)
        entries = await bench.ledger.journal(ROUTE, 0, ALL)
        assert [entry.sequence for entry in entries if entry.kind == "recorded"] == written
        assert [entry.epoch for entry in entries] == sorted(entry.epoch for entry in entries)
        assert entries[-1].epoch == new.lease.epoch
        assert len(await bench.ledger.orders(0, ALL)) == len(written)

    # Recording.

    @fact
    async def test_what_was_recorded_comes_back(self, bench: Bench) -> None:
        """LEDGER-FIRST: an intent and its claim come back whole by key, by client order id and among the open orders."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        assert order.copies
        assert order.version == 1
        for loaded in (
            await bench.load("k"),
            await bench.ledger.by_client_order_id(ROUTE, order.client_order_id),
            *await bench.ledger.open_orders(ROUTE),
        ):
            assert loaded == Loaded(order=order, execution_ids=frozenset(), operations=())
        assert await bench.ledger.by_key(ACCOUNT, STRATEGY, "K") is None
        assert await bench.ledger.by_client_order_id(ROUTE, "other") is None
        assert await bench.ledger.by_client_order_id(OTHER_ROUTE, order.client_order_id) is None
        assert await bench.ledger.open_orders(OTHER_ROUTE) == []

    @fact
    async def test_every_part_of_an_order_comes_back(self, bench: Bench) -> None:
        """Copies, cancels, outcomes, retry times, quantities, reasons, anomalies, flags and parameters read back as written."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k", parameters='{"postOnly":true,"stop":99.50}'))
        steps: list[tuple[Event, ...]] = [
            (ev.CopySettled(1, CopyOutcome.THROTTLED, "slow down", AT_US + 9_000_000),),
            (ev.Claimed(2, None),),
            (ev.OutcomeUnknown(2, "timed out"),),
            (ev.Parked("nobody can tell"),),
            (ev.Claimed(3, AT_US + 5),),
            (ev.CopySettled(3, CopyOutcome.ACCEPTED, "ok"), ack(cum=Decimal("7.5"))),
            (ev.CancelRecorded(None), ev.CancelClaimed(1)),
            (ev.CancelSettled(1, CopyOutcome.REJECTED, "too busy"), ev.Anomaly("odd")),
            (ev.CancelClaimed(2),),
        ]
        for events in steps:
            order = await owner.put(owner.move(order, *events))
            assert (await bench.load("k")).order == order, events
        order = await owner.put(owner.fill(order, "e1", quantity=Decimal("3.25")))
        order = await owner.put(owner.move(order, canceled(Decimal("7.5"))))
        await bench.crash()
        loaded = await bench.load("k")
        assert loaded.order == order
        assert loaded.execution_ids == {("acct", "e1")}

    @fact
    async def test_keys_belong_to_an_account_and_a_strategy(self, bench: Bench) -> None:
        """The same key of another account or strategy is another order; on another route it is the same."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        results = await owner.commit(
            owner.record("k"),
            owner.record("k", account="acct2"),
            owner.record("k", strategy="strat2"),
            other.record("k"),
        )
        assert kinds(results) == [Committed, Committed, Committed, KeyTaken]
        assert (await bench.load("k")).order.intent.venue == ROUTE
        assert (await bench.load("k", "acct2")).order.intent.account == "acct2"

    # Races.

    @fact
    async def test_a_key_is_recorded_once_however_many_try(self, bench: Bench) -> None:
        """SAME-ANSWER: of many concurrent intents under one key exactly one is committed; the others are shown that one."""
        owner = await bench.owner()

        async def submit(number: int) -> tuple[Change, Outcome]:
            for _ in range(number % 9):
                await asyncio.sleep(0)  # spread over several groups
            change = owner.record("k", quantity=Decimal(1 + number % 4))
            return change, await bench.ledger.commit(change)

        tried = await asyncio.gather(*map(submit, range(60)))
        (winner,) = [change.order for change, outcome in tried if isinstance(outcome, Committed)]
        assert winner is not None
        for change, outcome in tried:
            if change.order is winner:
                continue
            assert isinstance(outcome, KeyTaken)
            assert (outcome.order.intent_id, outcome.order.intent) == (winner.intent_id, winner.intent)
        assert (await bench.load("k")).order == winner
        assert len(await bench.ledger.orders(0, ALL)) == 1
        assert [e.kind for e in await bench.ledger.journal(ROUTE, 0, ALL)] == ["route_acquired", "recorded"]

    @fact
    async def test_a_key_that_comes_again_shows_the_first_order(self, bench: Bench) -> None:
        """KeyTaken carries the first order's content and, once there is one, its answer; in a group and across groups."""
        owner = await bench.owner()
        first, again, beside = owner.record("k"), owner.record("k", quantity=Decimal(7)), owner.record("k2")
        results = await owner.commit(first, again, beside)
        assert kinds(results) == [Committed, KeyTaken, Committed]
        assert first.order is not None
        order = await owner.put(owner.move(first.order, accepted(), ack()))
        late = await owner.ledger.commit(owner.record("k", quantity=Decimal(7)))
        assert isinstance(late, KeyTaken)
        assert order.answer is not None
        assert late.order.answer == order.answer
        assert late.order.intent.quantity == Decimal(100)

    @fact
    async def test_the_same_change_twice_is_written_once(self, bench: Bench) -> None:
        """Handing in one change twice, at once or later, with or without a claim, writes it once."""
        owner = await bench.owner()
        for claimed in (True, False):
            change = owner.record(f"k{claimed}", claimed=claimed)
            results = [*await owner.commit(change, change), *await owner.commit(change)]
            assert kinds(results)[0] is Committed
            assert not any(isinstance(result, Committed) for result in results[1:])
        assert len(await bench.ledger.journal(ROUTE, 0, ALL)) == 3

    @fact
    async def test_client_order_ids_are_unique_on_a_route(self, bench: Bench) -> None:
        """SAME-ID: a second intent with a client order id of the route is refused, whole; another route may have it."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        first = await owner.put(owner.record("k1", client_order_id="same"))
        before = await bench.all()
        assert await owner.commit(owner.record("k2", client_order_id="same")) == [ClientOrderIdTaken("same")]
        assert await bench.all() == before
        results = await owner.commit(
            owner.record("k3", client_order_id="new"),
            owner.record("k4", client_order_id="new"),
            other.record("k5", client_order_id="same"),
        )
        assert results[1] == ClientOrderIdTaken("new")
        assert kinds(results) == [Committed, ClientOrderIdTaken, Committed]
        loaded = await bench.ledger.by_client_order_id(ROUTE, "same")
        assert loaded is not None
        assert loaded.order == first

    @fact
    async def test_a_copy_is_claimed_once(self, bench: Bench) -> None:
        """A claim number is taken once, for copies and for cancels, even by somebody whose version is right."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.move(order, ev.OutcomeUnknown(1, "timed out")))
        for claim in (ev.Claimed(2, None), ev.CancelClaimed(1)):
            if isinstance(claim, ev.CancelClaimed):
                order = await owner.put(owner.move(order, ack(), ev.CancelRecorded(None)))
            change = owner.move(order, claim)
            order = await owner.put(change)
            assert change.order is not None
            repeat = msgspec.structs.replace(change.order, version=order.version + 1)
            before = await bench.all()
            assert kinds(await owner.commit(msgspec.structs.replace(change, order=repeat))) == [Stale]
            assert await bench.all() == before

    @fact
    async def test_a_stale_change_leaves_nothing(self, bench: Bench) -> None:
        """Of a change whose version has passed nothing is written; its neighbours in the group are."""
        owner = await bench.owner()
        moved, other = await owner.put(owner.record("k1")), await owner.put(owner.record("k2"))
        now = await owner.put(owner.move(moved, accepted(), ack()))
        stale = owner.move(
            moved,
            ev.OutcomeUnknown(1, "timed out"),
            ev.Claimed(2, None),
            opened=(owner.operation(moved, "op"),),
            execution=owner.trade("e1", moved),
            cursor=CursorMove(STREAM, 0, 1),
        )
        results = await owner.commit(owner.fill(other, "e2"), stale, owner.record("k3"), owner.note())
        assert kinds(results) == [Committed, Stale, Committed, Committed]
        assert (await bench.load("k1")) == Loaded(order=now, execution_ids=frozenset(), operations=())
        assert (await bench.load("k2")).execution_ids == {("acct", "e2")}
        assert (await bench.load("k3")).order.version == 1
        assert await bench.ledger.cursor(ROUTE, STREAM) == 0
        assert await bench.ledger.operation(ACCOUNT, STRATEGY, "k1", "op") is None
        assert [e.execution_id for _, e in await bench.ledger.executions(ROUTE, 0, ALL)] == ["e2"]
        kinds_written = [entry.kind for entry in await bench.ledger.journal(ROUTE, 4, ALL)]
        assert kinds_written == ["traded", "recorded", "note"]

    @fact
    async def test_of_two_changes_to_one_state_the_first_counts(self, bench: Bench) -> None:
        """Two changes made from the same state of an order, or of a cursor, do not merge: the second is refused."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        first, second = owner.move(order, accepted(), ack()), owner.move(order, ev.Anomaly("odd"))
        assert kinds(await owner.commit(first, second)) == [Committed, Stale]
        assert (await bench.load("k")).order == first.order
        moves = [owner.note(cursor=CursorMove(STREAM, 0, 5)), owner.note(cursor=CursorMove(STREAM, 0, 7))]
        skipping = [owner.note(cursor=CursorMove(STREAM, 5, 6)), owner.note(cursor=CursorMove(STREAM, 7, 8))]
        assert kinds(await owner.commit(*moves)) == [Committed, Stale]
        assert kinds(await owner.commit(*skipping)) == [Committed, Stale]
        assert await bench.ledger.cursor(ROUTE, STREAM) == 6

    @fact
    async def test_changes_to_one_order_are_pipelined(self, bench: Bench) -> None:
        """Changes to one order need not wait for each other: handed in together they are applied in turn."""
        owner = await bench.owner()
        changes = [owner.record("k")]
        order = changes[0].order
        assert order is not None
        changes.append(owner.move(order, ev.OutcomeUnknown(1, "timed out")))
        changes.append(owner.move(latest(changes), accepted(), ack()))  # the same copy settled twice in a group
        changes.append(owner.move(latest(changes), ev.CancelRecorded(None), ev.CancelClaimed(1)))
        changes.append(owner.move(latest(changes), ev.CancelSettled(1, CopyOutcome.UNKNOWN, "timed out")))
        for n in range(40):
            changes.append(owner.fill(latest(changes), f"e{n}", CursorMove(STREAM, n, n + 1)))
        results = await owner.commit(*changes)
        assert set(kinds(results)) == {Committed}
        loaded = await bench.load("k")
        assert loaded.order == latest(changes)
        assert len(loaded.execution_ids) == 40
        assert await bench.ledger.cursor(ROUTE, STREAM) == 40

    @fact
    async def test_what_follows_a_refused_change_is_refused(self, bench: Bench) -> None:
        """Changes pipelined behind a refused one to the same order are refused as well: memory was wrong."""
        owner = await bench.owner()
        order = await owner.put(owner.fill(await owner.put(owner.record("k")), "e1"))
        good = owner.fill(order, "e2")
        known = owner.fill(latest([good]), "e1")
        after = owner.fill(latest([known]), "e3")
        again = owner.record("k")
        results = await owner.commit(good, known, after, again, owner.move(latest([again]), accepted(), ack()))
        assert kinds(results) == [Committed, ExecutionKnown, Stale, KeyTaken, Stale]
        assert (await bench.load("k")).order == good.order
