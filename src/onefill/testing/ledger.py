"""The suite that every ledger must pass, shipped for people who write their own.

Subclass :class:`LedgerConformance`, say how the ledger is opened and how it crashes, and let pytest collect the subclass::

    class TestMyLedger(LedgerConformance):
        async def open_ledger(self) -> Ledger: ...
        async def crash(self, ledger: Ledger) -> None: ...

Each test is one fact, stated in its docstring; after each one the audit chain of every route is verified. Nothing here needs
a plugin: a test runs its own event loop.
"""

import asyncio
import itertools
from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core.answers import cancel_answer, unknown_key_answer
from onefill.core.errors import Fenced, InvariantBroken, LedgerError, LedgerFailed
from onefill.core.events import CopyOutcome
from onefill.core.order import Order
from onefill.core.position import Execution, fold
from onefill.core.values import Side
from onefill.ports.ledger import (
    Change,
    Committed,
    CursorMove,
    ExecutionKnown,
    KeyTaken,
    Loaded,
    OperationTaken,
    Stale,
)
from onefill.testing.ledger_books import BooksFacts
from onefill.testing.ledger_kit import (
    ACCOUNT,
    ALL,
    AT_US,
    NUMBERS,
    OTHER_ROUTE,
    ROUTE,
    STRATEGY,
    STREAM,
    TEXTS,
    Bench,
    Owner,
    accepted,
    ack,
    canceled,
    fact,
    flat,
    kinds,
    latest,
    verify_chains,
)
from onefill.testing.ledger_leases import LeaseFacts
from onefill.testing.ledger_orders import OrderFacts
from onefill.testing.ledger_replaces import ReplaceFacts
from onefill.testing.ledger_told import ToldFacts

__all__ = ["LedgerConformance", "Owner", "verify_chains"]


class LedgerConformance(OrderFacts, LeaseFacts, ReplaceFacts, BooksFacts, ToldFacts):
    """All facts. A subclass supplies :meth:`open_ledger` and :meth:`crash`; each test gets an instance of its own."""

    # Executions and cursors.

    @fact
    async def test_an_execution_is_applied_once(self, bench: Bench) -> None:
        """FILL-ONCE: an execution is unique in (route, scope, id); a repeat leaves no effect, entry or cursor move."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.fill(order, "e1", CursorMove(STREAM, 0, 1)))
        before = await bench.all()
        for repeat in (
            owner.fill(order, "e1", CursorMove(STREAM, 1, 2)),
            owner.note(execution=owner.trade("e1", quantity=Decimal(5)), cursor=CursorMove(STREAM, 1, 2)),
        ):
            assert await owner.commit(repeat) == [ExecutionKnown("e1")]
            assert await bench.all() == before
        elsewhere = owner.fill(order, "e1", CursorMove(STREAM, 1, 2), scope="acct\nACME")
        twice = (owner.note(execution=owner.trade("e9")), owner.note(execution=owner.trade("e9")))
        results = await owner.commit(elsewhere, other.note(execution=other.trade("e1")), *twice)
        assert kinds(results) == [Committed, Committed, Committed, ExecutionKnown]
        assert (await bench.load("k")).execution_ids == {("acct", "e1"), ("acct\nACME", "e1")}
        assert await bench.ledger.cursor(ROUTE, STREAM) == 2
        assert [e.execution_id for _, e in await bench.ledger.executions(ROUTE, 0, ALL)] == ["e1", "e1", "e9"]

    @fact
    async def test_executions_read_back_in_log_order(self, bench: Bench) -> None:
        """Pages of the execution log, of any size, give every execution once, at the place its commit named."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await owner.put(owner.record("k"))
        expected: dict[str, dict[int, Execution]] = {ROUTE: {}, OTHER_ROUTE: {}}
        for size in (1, 5, 17):
            made = [(other if n % 3 == 0 else owner).trade(f"{size}-{n}") for n in range(size)]
            made.append(owner.trade(f"{size}-order", order, quantity=Decimal("0.5")))
            changes = [(owner if e.venue == ROUTE else other).note(execution=e) for e in made[:-1]]
            changes.append(owner.fill(order, made[-1].execution_id, quantity=Decimal("0.5")))
            order = latest(changes)
            changes.insert(1, owner.note())  # places count executions, not changes
            results = await owner.commit(*changes)
            for change, result in zip(changes, results, strict=True):
                assert isinstance(result, Committed)
                assert (result.execution_place is None) == (change.execution is None)
                if change.execution is not None and result.execution_place is not None:
                    expected[change.route][result.execution_place] = change.execution
        assert sum(map(len, expected.values())) == 26
        for route, limit in itertools.product(expected, (1, 4, 26, ALL)):
            found: list[tuple[int, Execution]] = []
            while page := await bench.ledger.executions(route, found[-1][0] if found else 0, limit):
                assert len(page) <= limit
                found += page
            assert found == sorted(expected[route].items())

    @fact
    async def test_a_refused_report_holds_the_cursor_back(self, bench: Bench) -> None:
        """A cursor moves only from where it stands: behind a refused report no later one moves it, in one group or several."""
        for together in (True, False):
            owner = await bench.owner(f"route{together}")
            route = owner.lease.route
            order = await owner.put(owner.record(f"k{together}"))
            changes = [
                owner.note(execution=owner.trade("e1"), cursor=CursorMove(STREAM, 0, 5)),
                owner.note(execution=owner.trade("e1"), cursor=CursorMove(STREAM, 5, 6)),
                owner.note(execution=owner.trade("e2"), cursor=CursorMove(STREAM, 6, 7)),
                owner.note(cursor=CursorMove(STREAM, 7, 8)),
                owner.move(order, accepted(), ack()),
                owner.note(cursor=CursorMove("drop copy", 0, 3)),
            ]
            results = await owner.commit(*changes) if together else [(await owner.commit(c))[0] for c in changes]
            assert kinds(results) == [Committed, ExecutionKnown, Stale, Stale, Committed, Committed]
            assert await bench.ledger.cursor(route, STREAM) == 5
            assert await bench.ledger.cursor(route, "drop copy") == 3
            held = [e.execution_id for _, e in await bench.ledger.executions(route, 0, ALL)]
            assert held == ["e1"]
            again = owner.note(execution=owner.trade("e2"), cursor=CursorMove(STREAM, 5, 7))
            assert kinds(await owner.commit(again)) == [Committed]

    @fact
    async def test_a_cursor_moves_only_from_where_it_stands(self, bench: Bench) -> None:
        """``move_cursor`` says False and changes nothing unless ``previous`` holds; streams and routes are separate."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        ledger, epoch = bench.ledger, owner.lease.epoch
        assert await ledger.cursor(ROUTE, STREAM) == 0
        assert await ledger.cursor("nowhere", STREAM) == 0
        assert not await ledger.move_cursor(ROUTE, epoch, CursorMove(STREAM, 3, 4))
        assert await ledger.move_cursor(ROUTE, epoch, CursorMove(STREAM, 0, 2**60))
        assert not await ledger.move_cursor(ROUTE, epoch, CursorMove(STREAM, 0, 7))
        assert await ledger.move_cursor(ROUTE, epoch, CursorMove("drop copy", 0, 1))
        assert await ledger.move_cursor(OTHER_ROUTE, other.lease.epoch, CursorMove(STREAM, 0, 9))
        entries = await ledger.journal(ROUTE, 0, ALL)
        await bench.crash()
        assert await bench.ledger.cursor(ROUTE, STREAM) == 2**60
        assert await bench.ledger.cursor(ROUTE, "drop copy") == 1
        assert await bench.ledger.cursor(OTHER_ROUTE, STREAM) == 9
        assert await bench.ledger.journal(ROUTE, 0, ALL) == entries

    # Operations.

    @fact
    async def test_an_operation_is_answered_once(self, bench: Bench) -> None:
        """CANCEL-QUIET: an operation key is taken once and answered once; every repeat is shown the first."""
        owner = await bench.owner()
        order = await owner.put(owner.move(await owner.put(owner.record("k")), accepted(), ack()))
        asked = owner.operation(order, "op")
        order = await owner.put(owner.move(order, ev.CancelRecorded("op"), opened=(asked,)))
        assert (await bench.load("k")).operations == (asked,)
        later = msgspec.structs.replace(asked, requested_at_us=AT_US * 2)
        before = await bench.all()
        assert await owner.commit(owner.move(order, ev.CancelRecorded("op"), opened=(later,))) == [
            OperationTaken(asked)
        ]
        assert await bench.all() == before

        ended = owner.move(order, canceled())
        answered = msgspec.structs.replace(asked, answer=cancel_answer(latest([ended]), AT_US, changed=True))
        order = await owner.put(msgspec.structs.replace(ended, answered=(answered,)))
        other = msgspec.structs.replace(asked, answer=b'"another answer"')
        repeat = owner.move(order, ev.CancelRecorded("op"), answered=(other,))
        assert await owner.commit(repeat) == [OperationTaken(answered)]
        assert await owner.commit(owner.note(opened=(later,))) == [OperationTaken(answered)]
        await bench.crash()
        assert await bench.ledger.operation(ACCOUNT, STRATEGY, "k", "op") == answered
        assert await bench.ledger.operation(ACCOUNT, STRATEGY, "k", "OP") is None
        assert (await bench.load("k")) == Loaded(order=order, execution_ids=frozenset(), operations=())

    @fact
    async def test_operations_opened_and_answered_at_once(self, bench: Bench) -> None:
        """An operation may be opened with its answer, in one change or one group, and for a key that was never recorded."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        one = owner.operation(order, "one")
        first = owner.move(order, ev.CancelRecorded("one"), opened=(one,))
        two = owner.operation(order, "two")
        ended = owner.move(latest([first]), canceled(), opened=(two,))
        done = [msgspec.structs.replace(op, answer=b'"gone"') for op in (one, two)]
        unknown = owner.operation(None, "one", key="k2", answer=unknown_key_answer("k2", AT_US))
        results = await owner.commit(
            first, msgspec.structs.replace(ended, answered=tuple(done)), owner.note(opened=(unknown,))
        )
        assert set(kinds(results)) == {Committed}
        for operation in (*done, unknown):
            found = await bench.ledger.operation(ACCOUNT, STRATEGY, operation.key, operation.operation_key)
            assert found == operation
        assert (await bench.load("k")).operations == ()

    @fact
    async def test_an_operation_key_is_taken_once_however_many_try(self, bench: Bench) -> None:
        """Of many concurrent operations under one key exactly one is recorded; the others are shown that one."""
        owner = await bench.owner()
        await owner.put(owner.record("k"))
        made = [owner.operation(None, "op", key="k", answer=f'"{n}"'.encode()) for n in range(30)]
        results = await owner.commit(*(owner.note(opened=(operation,)) for operation in made))
        assert kinds(results) == [Committed] + [OperationTaken] * 29
        assert {result.operation for result in results if isinstance(result, OperationTaken)} == {made[0]}

    # Rules.

    @fact
    async def test_a_row_that_breaks_the_rules_is_refused(self, bench: Bench) -> None:
        """What the life cycle forbids (an ended order without an answer) never gets in; the group's other changes do."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        good = owner.move(order, accepted(), ack())
        broken = msgspec.structs.replace(good, order=msgspec.structs.replace(latest([good]), answer=None))
        results = await owner.commit(owner.record("k1"), broken, owner.record("k2"))
        assert kinds(results) == [Committed, InvariantBroken, Committed]
        assert (await bench.load("k")).order == order
        await owner.put(good)

    @fact
    async def test_open_orders_are_those_not_closed(self, bench: Bench) -> None:
        """An order is open until it ended and every execution that the venue counted is applied."""
        owner = await bench.owner()
        rejected = await owner.put(owner.record("rejected"))
        short = await owner.put(owner.record("short"))
        await owner.put(owner.record("open"))
        await owner.put(owner.move(rejected, ev.CopySettled(1, CopyOutcome.REJECTED, "no")))
        short = await owner.put(owner.move(short, canceled(Decimal(1))))
        assert [loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)] == ["short", "open"]
        await owner.put(owner.fill(short, "e1"))
        assert [loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)] == ["open"]
        await bench.reopen()
        assert [loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)] == ["open"]
        assert [order.key for order in await bench.ledger.orders(0, ALL)] == ["rejected", "short", "open"]

    # Durability.

    @fact
    async def test_answers_are_the_same_bytes_after_reopening(self, bench: Bench) -> None:
        """SAME-ANSWER, NO-LOSS: closing or crashing changes nothing that is read, to the byte."""
        owner = await bench.owner()
        orders = [await owner.put(owner.record(f"k{n}")) for n in range(5)]
        orders[0] = await owner.put(owner.move(orders[0], accepted(), ack('Zürich "1" \\')))
        orders[1] = await owner.put(owner.fill(orders[1], "e1", CursorMove(STREAM, 0, 1)))
        orders[2] = await owner.put(owner.move(orders[2], ev.CopySettled(1, CopyOutcome.REJECTED, "nö")))
        await bench.ledger.save_positions(ROUTE, [fold(flat(), Side.BUY, Decimal(1), Decimal("2.5"))], 1)
        before = await bench.all()
        for again in (bench.reopen, bench.crash, bench.reopen):
            await again()
            assert await bench.all() == before
            for order in orders[:3]:
                assert order.answer is not None
                assert (await bench.load(order.key)).order.answer == order.answer

    @fact
    async def test_intent_numbers_are_never_used_again(self, bench: Bench) -> None:
        """A lease's ``last_number`` covers every intent ever recorded, in whatever order, so no id is made twice."""
        used: set[int] = set()
        for again in (bench.crash, bench.reopen, bench.crash):
            owner = await bench.owner()
            assert owner.lease.last_number >= max((n & 0xFFFFFFFFFF for n in used), default=0)
            owner.number += 3  # gaps are harmless
            changes = [owner.record(f"{owner.lease.epoch}-{n}") for n in range(5)]
            results = await owner.commit(*reversed(changes[1:]), changes[0])
            assert set(kinds(results)) == {Committed}
            made = {order.intent_id for order in (latest([change]) for change in changes)}
            assert not made & used
            used |= made
            await again()
        assert {order.intent_id for order in await bench.ledger.orders(0, ALL)} == used

    @fact
    async def test_closing_finishes_what_was_handed_in(self, bench: Bench) -> None:
        """``close`` makes everything handed in durable, however much it is; afterwards nothing is taken."""
        owner = await bench.owner()
        changes = [owner.record(f"k{n}") for n in range(self.large_group)]
        futures = [bench.ledger.commit(change) for change in changes]
        old = bench.ledger
        await bench.reopen()
        assert all(future.done() for future in futures)
        assert {type(future.result()) for future in futures} == {Committed}
        assert len(await bench.ledger.orders(0, ALL)) == len(changes)
        assert kinds(await owner.commit(owner.record("late"))) == [LedgerFailed]
        move = CursorMove(STREAM, 0, 1)
        for call in (
            old.orders(0, 1),
            old.move_cursor(ROUTE, 1, move),
            old.acquire(ROUTE, "x", 1),
            old.renew(ROUTE, 1, 1, 1),
        ):
            (error,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(error, LedgerError)
        await old.close()

    @fact
    async def test_a_crash_keeps_what_was_acknowledged(self, bench: Bench) -> None:
        """NO-LOSS: after a crash every acknowledged change is there, and every other one is there whole or not at all."""
        owner = await bench.owner()
        known = [owner.record(f"k{n}") for n in range(20)]
        assert set(kinds(await owner.commit(*known))) == {Committed}
        doubtful = [owner.fill(latest([change]), f"e{n}") for n, change in enumerate(known)]
        futures = [bench.ledger.commit(change) for change in doubtful]
        await bench.crash()
        await asyncio.gather(*futures, return_exceptions=True)
        journal = await bench.ledger.journal(ROUTE, 0, ALL)
        entered = [entry.intent_id for entry in journal if entry.kind == "traded"]
        executed = [execution.intent_id for _, execution in await bench.ledger.executions(ROUTE, 0, ALL)]
        assert entered == executed
        for before, after in zip(known, doubtful, strict=True):
            loaded = await bench.load(latest([before]).key)
            applied = loaded.order.intent_id in executed
            assert loaded.order == latest([after if applied else before])
            assert bool(loaded.execution_ids) == applied

    @fact
    async def test_a_large_group_keeps_its_order(self, bench: Bench) -> None:
        """Thousands of changes handed in at once are committed in the order of the calls, none twice, none left out."""
        owner = await bench.owner()
        changes = [owner.record(f"k{n}") for n in range(self.large_group)]
        changes[self.large_group // 2] = owner.record("k0")
        results = await owner.commit(*changes)
        assert kinds(results).count(KeyTaken) == 1
        sequences = [result.sequence for result in results if isinstance(result, Committed)]
        assert sequences == list(range(2, self.large_group + 1))
        pages: list[Order] = []
        while page := await bench.ledger.orders(pages[-1].intent_id if pages else 0, 999):
            pages += page
        written = [latest([change]) for change in changes if latest([change]).key != "k0" or change is changes[0]]
        assert [order.key for order in pages] == [order.key for order in written]

    # The rest.

    @fact
    async def test_two_routes_do_not_disturb_each_other(self, bench: Bench) -> None:
        """Routes share a ledger and nothing else: epochs, numbers, sequences, cursors and open orders are each its own."""
        one, two = await bench.owner(), await bench.owner(OTHER_ROUTE)
        changes: list[Change] = []
        for n in range(20):
            changes.append(one.record(f"one{n}", client_order_id=f"id{n}"))
            changes.append(two.record(f"two{n}", client_order_id=f"id{n}"))
            changes.append(two.note(execution=two.trade(f"e{n}"), cursor=CursorMove(STREAM, n, n + 1)))
        results = await one.commit(*changes)
        assert set(kinds(results)) == {Committed}
        sequences = [result.sequence for result in results if isinstance(result, Committed)]
        assert sequences[::3] == list(range(2, 22))
        assert sorted(sequences[1::3] + sequences[2::3]) == list(range(2, 42))
        again = await bench.owner(holder="second")
        assert kinds(await one.commit(one.note(), two.note(), again.note())) == [Fenced, Committed, Committed]
        assert {loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)} == {f"one{n}" for n in range(20)}
        assert await bench.ledger.cursor(ROUTE, STREAM) == 0
        assert await bench.ledger.cursor(OTHER_ROUTE, STREAM) == 20
        infos = {info.name: info for info in await bench.ledger.routes()}
        assert (infos[ROUTE].intents, infos[ROUTE].journal_entries) == (20, 23)
        assert (infos[OTHER_ROUTE].intents, infos[OTHER_ROUTE].journal_entries) == (20, 42)
        assert infos[OTHER_ROUTE].epoch == two.lease.epoch

    @fact
    async def test_the_journal_reads_in_pages(self, bench: Bench) -> None:
        """Pages of a journal join without gap or overlap; entries carry what was handed in."""
        owner = await bench.owner()
        notes = [owner.note("note", msgspec.json.encode([n]).decode()) for n in range(25)]
        await owner.commit(*notes)
        whole = await bench.ledger.journal(ROUTE, 0, ALL)
        assert [(e.kind, e.payload, e.at_us, e.epoch) for e in whole[1:]] == [
            (c.kind, c.payload, c.at_us, c.epoch) for c in notes
        ]
        for page in (1, 7, 26):
            await verify_chains(bench.ledger, page=page)
        assert await bench.ledger.journal(ROUTE, 26, 5) == []
        assert await bench.ledger.journal("nowhere", 0, 5) == []

    @fact
    async def test_the_positions_projection_is_kept(self, bench: Bench) -> None:
        """The stored projection comes back with the place through which it is folded; a later save replaces it."""
        await bench.owner()
        assert await bench.ledger.positions(ROUTE) == ([], 0)
        one = fold(flat(), Side.BUY, Decimal("0.00000001"), Decimal("12345.678"))
        other = fold(msgspec.structs.replace(flat(), instrument="OTHER"), Side.SELL, Decimal(3), Decimal("1E-8"))
        await bench.ledger.save_positions(ROUTE, [one, other], 2)
        one = fold(one, Side.SELL, Decimal(5), Decimal("0.1"))
        await bench.ledger.save_positions(ROUTE, [one], 3)
        await bench.crash()
        positions, through = await bench.ledger.positions(ROUTE)
        assert through == 3
        assert sorted(positions, key=lambda position: position.instrument) == [one, other]

    @fact
    async def test_texts_survive(self, bench: Bench) -> None:
        """Any text comes back as it went in: scripts, quotes, backslashes, control characters, twenty thousand letters."""
        owner = await bench.owner(holder=TEXTS[0])
        for text in TEXTS:
            order = await owner.put(owner.record(text, client_order_id=text))
            wish = owner.operation(order, text, answer=msgspec.json.encode(text))
            order = await owner.put(owner.move(order, ev.OutcomeUnknown(1, text), ev.Anomaly(text), opened=(wish,)))
            order = await owner.put(owner.fill(order, text, CursorMove(text, 0, 1), scope=text, venue_order_id=text))
            await owner.commit(owner.note(text, text))
            loaded = await bench.load(text)
            assert loaded.order == order
            assert loaded.execution_ids == {(text, text)}
            assert await bench.ledger.by_client_order_id(ROUTE, text) == loaded
            assert await bench.ledger.operation(ACCOUNT, STRATEGY, text, text) == wish
            assert await bench.ledger.cursor(ROUTE, text) == 1
            (entry,) = await bench.ledger.journal(ROUTE, (await bench.ledger.routes())[0].journal_entries - 1, 1)
            assert (entry.kind, entry.payload) == (text, text)
        before = await bench.all()
        await bench.crash()
        assert await bench.all() == before
        owner = await bench.owner(holder=TEXTS[2])
        assert set(kinds(await owner.commit(*(owner.record(text) for text in TEXTS)))) == {KeyTaken}

    @fact
    async def test_a_zero_byte_survives(self, bench: Bench) -> None:
        """A venue's text may hold a zero byte, which some databases do not store as it is; it must not stop a ledger."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.move(order, ev.OutcomeUnknown(1, "a\x00b"), ev.Anomaly("\x00")))
        await bench.crash()
        assert (await bench.load("k")).order == order

    @fact
    async def test_numbers_survive_exactly(self, bench: Bench) -> None:
        """Quantities and prices come back digit for digit, from 1E-28 to 28 digits; nothing passes through a float."""
        owner = await bench.owner()
        for text in NUMBERS:
            number = Decimal(text)
            order = await owner.put(owner.record(text, quantity=number, price=number))
            order = await owner.put(owner.fill(order, text, quantity=number, price=number))
            loaded = (await bench.load(text)).order
            assert loaded == order
            for found in (loaded.intent.quantity, loaded.intent.price, loaded.cum_quantity, loaded.venue_cum_quantity):
                assert found is not None
                assert found.compare(number) == 0
        for _, execution in await bench.ledger.executions(ROUTE, 0, ALL):
            assert {execution.quantity, execution.price} == {Decimal(execution.execution_id)}
        held = [msgspec.structs.replace(flat(), instrument=f"i{n}", bought=Decimal(t)) for n, t in enumerate(NUMBERS)]
        await bench.ledger.save_positions(ROUTE, held, 0)
        found_positions, _ = await bench.ledger.positions(ROUTE)
        assert sorted(found_positions, key=lambda position: position.instrument) == held
