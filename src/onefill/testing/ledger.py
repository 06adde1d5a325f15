"""The suite that every ledger must pass, shipped for people who write their own.

Subclass :class:`LedgerConformance`, say how the ledger is opened and how it crashes, and let pytest collect the subclass::

    class TestMyLedger(LedgerConformance):
        async def open_ledger(self) -> Ledger: ...
        async def crash(self, ledger: Ledger) -> None: ...

Each test is one fact, stated in its docstring; after each one the audit chain of every route is verified. Nothing here needs
a plugin: a test runs its own event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.audit import GENESIS, first_fault
from onefill.core.errors import Fenced, InvariantBroken, LedgerError, LedgerFailed
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.identity import key_digest
from onefill.core.intent import FINGERPRINT_VERSION, Intent, canonical, fingerprint
from onefill.core.messages import VenueStatus
from onefill.core.order import Order, advance, cancel_answer, unknown_key_answer
from onefill.core.position import Execution, Position, fold
from onefill.core.values import Side
from onefill.ports.ledger import (
    Change,
    Claim,
    ClientOrderIdTaken,
    Committed,
    CursorMove,
    ExecutionKnown,
    KeyTaken,
    Lease,
    Ledger,
    Loaded,
    NewIntent,
    Operation,
    OperationTaken,
    Outcome,
    Stale,
)

AT_US = 1_700_000_000_000_000
ACCOUNT, STRATEGY, ROUTE, OTHER_ROUTE, STREAM = "acct", "strat", "alpha", "beta", "executions"
ALL = 1_000_000
"""More than any test writes."""
TEXTS = (
    "Ærøskøbing, 東京, 🚀",
    "e\u0301 and \u00e9 are not the same key",
    "it's \"quoted\"; DROP TABLE intent; -- ' \\ \\\\ \\u0041 %s {} $1 ?1 :a",
    '{"json": [1, null]}',
    "tab\tand\nnewline\r\nand\x7f",
    " spaces at both ends ",
    "null",
    "0",
    "x" * 20_000,
    "\U0010ffff" * 300,
)
NUMBERS = ("1E-8", "0.00000001", "1234567890123456789012345678", "1E-28", "0.1", "100", "1.10", "9" * 28, "1E+5")
Result = Outcome | BaseException


class Owner:
    """Makes changes as a gateway does: the order moved on by its events, and the rows by which it then differs."""

    def __init__(self, ledger: Ledger, lease: Lease) -> None:
        self.ledger = ledger
        self.lease = lease
        self.number = lease.last_number
        self.at_us = AT_US

    def record(self, key: str, *, client_order_id: str | None = None, claimed: bool = True, **fields: object) -> Change:
        """Return the change that records a new intent and, unless told otherwise, claims its first copy."""
        self.number += 1
        given: dict[str, Any] = {
            "account": ACCOUNT,
            "strategy": STRATEGY,
            "instrument": "ACME",
            "side": Side.BUY,
            "quantity": Decimal(100),
            "price": Decimal("2.5"),
            "venue": self.lease.route,
        }
        order = Order(
            intent_id=self.lease.intent_id(self.number),
            key=key,
            client_order_id=client_order_id or f"{self.lease.route}-{self.lease.session}-{self.number}",
            intent=Intent(**{**given, **fields}),
            recorded_at_us=self.at_us,
            valid_until_us=self.at_us + 60_000_000,
        )
        body = canonical(order.intent)
        first: Event = ev.Recorded(key, order.client_order_id, msgspec.Raw(body), order.valid_until_us)
        claim = (ev.Claimed(1, self.at_us + 5_000_000),) if claimed else ()
        new = NewIntent(
            key_digest=key_digest(order.intent.account, order.intent.strategy, key),
            fingerprint_version=FINGERPRINT_VERSION,
            fingerprint=fingerprint(body),
            body=body,
        )
        return self.move(order, first, *claim, new=new)

    def move(self, before: Order, *events: Event, **parts: Any) -> Change:
        """Return the change that moves an order on."""
        self.at_us += 1
        order = advance(before, events, self.at_us)
        claims: tuple[Claim, ...] = ()
        settled: tuple[Claim, ...] = ()
        for cancels, old, now in ((False, before.copies, order.copies), (True, before.cancels, order.cancels)):
            claims += tuple(Claim(cancels, copy) for copy in now[len(old) :])
            settled += tuple(Claim(cancels, b) for a, b in zip(old, now, strict=False) if a != b)
        payload = msgspec.json.encode(events).decode()
        kind = str(type(events[0]).__struct_config__.tag)
        return self._change(kind=kind, payload=payload, order=order, claims=claims, settled=settled, **parts)

    def note(self, kind: str = "note", payload: str = "[]", **parts: Any) -> Change:
        """Return a change that belongs to the route and to no order."""
        self.at_us += 1
        return self._change(kind=kind, payload=payload, **parts)

    def _change(self, **parts: Any) -> Change:
        return Change(route=self.lease.route, epoch=self.lease.epoch, at_us=self.at_us, **parts)

    def trade(self, execution_id: str, order: Order | None = None, *, scope: str = "acct", **fields: Any) -> Execution:
        """Return an execution, of an order or of one that nobody here sent."""
        given: dict[str, Any] = {"quantity": Decimal(1), "price": Decimal("2.5"), "venue_order_id": "V1"}
        return Execution(
            intent_id=None if order is None else order.intent_id,
            scope=scope,
            execution_id=execution_id,
            account=ACCOUNT,
            strategy=STRATEGY,
            venue=self.lease.route,
            instrument="ACME",
            side=Side.BUY,
            client_order_id="stranger" if order is None else order.client_order_id,
            transacted_at_us=self.at_us,
            **{**given, **fields},
        )

    def fill(self, order: Order, execution_id: str, cursor: CursorMove | None = None, **fields: Any) -> Change:
        """Return the change that applies an execution to its order."""
        made = self.trade(execution_id, order, **fields)
        total = order.cum_quantity + made.quantity
        event = ev.Traded(execution_id, made.quantity, made.price, made.venue_order_id, total)
        return self.move(order, event, execution=made, cursor=cursor)

    def operation(self, order: Order | None, operation_key: str, *, key: str = "", **fields: Any) -> Operation:
        """Return a cancel under a key of its own."""
        return Operation(
            account=ACCOUNT,
            strategy=STRATEGY,
            key=key if order is None else order.key,
            operation_key=operation_key,
            intent_id=None if order is None else order.intent_id,
            requested_at_us=self.at_us,
            **fields,
        )

    async def commit(self, *changes: Change) -> list[Result]:
        """Hand in changes without waiting in between, and return what became of each."""
        return await asyncio.gather(*map(self.ledger.commit, changes), return_exceptions=True)

    async def put(self, change: Change) -> Order:
        """Commit one change that must succeed and return its order."""
        outcome = await self.ledger.commit(change)
        assert isinstance(outcome, Committed), outcome
        assert change.order is not None
        return change.order


class Bench:
    """The ledger under test, which may be closed, dropped and opened again on the way."""

    def __init__(self, case: "LedgerConformance", ledger: Ledger) -> None:
        self.case = case
        self.ledger = ledger

    async def owner(self, route: str = ROUTE, holder: str = "first") -> Owner:
        """Become the owner of a route."""
        return Owner(self.ledger, await self.ledger.acquire(route, holder, AT_US))

    async def reopen(self) -> None:
        """Close in good order and open again."""
        await self.ledger.close()
        self.ledger = await self.case.open_ledger()

    async def crash(self) -> None:
        """Drop the ledger where it stands and open again."""
        await self.case.crash(self.ledger)
        self.ledger = await self.case.open_ledger()

    async def load(self, key: str, account: str = ACCOUNT) -> Loaded:
        """Return an order that must be there."""
        loaded = await self.ledger.by_key(account, STRATEGY, key)
        assert loaded is not None, f"no order under {key!r}"
        return loaded

    async def all(self) -> dict[str, object]:
        """Return everything the port shows, to be compared."""
        routes = await self.ledger.routes()
        orders = await self.ledger.orders(0, ALL)
        return {
            "routes": routes,
            "orders": [await self.ledger.by_key(o.intent.account, o.intent.strategy, o.key) for o in orders],
            "open": {route.name: await self.ledger.open_orders(route.name) for route in routes},
            "executions": await self.ledger.executions(0, ALL),
            "journal": {route.name: await self.ledger.journal(route.name, 0, ALL) for route in routes},
            "cursors": {route.name: await self.ledger.cursor(route.name, STREAM) for route in routes},
            "positions": await self.ledger.positions(),
        }


async def verify_chains(ledger: Ledger, *, page: int = 500) -> None:
    """Assert that every route's journal is gap-free, hashes into itself and ends in the route's head."""
    for route in await ledger.routes():
        sequence, head = 0, GENESIS
        while entries := await ledger.journal(route.name, sequence, page):
            for entry in entries:
                fault = first_fault(entry, sequence + 1, head)
                assert fault is None, f"{route.name} entry {entry.sequence}: {fault}"
                sequence, head = entry.sequence, entry.hash
        assert route.head == head
        assert route.journal_entries == sequence


def _fact(scenario: Callable[[Any, Bench], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Make a test that pytest can call: open the ledger, run the scenario, verify the chain, close."""

    def test(self: "LedgerConformance") -> None:
        async def run() -> None:
            bench = Bench(self, await self.open_ledger())
            try:
                await scenario(self, bench)
                await verify_chains(bench.ledger)
            finally:
                await bench.ledger.close()

        asyncio.run(run())

    # Not functools.wraps: pytest would follow it, and take the bench for a fixture.
    test.__name__, test.__qualname__, test.__doc__ = scenario.__name__, scenario.__qualname__, scenario.__doc__
    return test


def kinds(results: Sequence[object]) -> list[type]:
    """Return the type of each result: how a test names what it expects."""
    return [type(result) for result in results]


def _ack(order_id: str = "V1", cum: Decimal = Decimal(0)) -> ev.Acknowledged:
    return ev.Acknowledged(order_id, VenueStatus.NEW, cum, Source.REPLY)


def _accepted(number: int = 1) -> ev.CopySettled:
    return ev.CopySettled(number, CopyOutcome.ACCEPTED, "ok")


def _canceled(cum: Decimal = Decimal(0)) -> ev.Canceled:
    return ev.Canceled(Source.STREAM, "V1", cum, "asked for")


class LedgerConformance:
    """The facts. A subclass supplies :meth:`open_ledger` and :meth:`crash`; each test gets an instance of its own."""

    large_group = 3000
    """More changes than the ledger puts into one transaction."""

    async def open_ledger(self) -> Ledger:
        """Open this test's ledger: a new one the first time, afterwards the one that was closed or dropped."""
        raise NotImplementedError

    async def crash(self, ledger: Ledger) -> None:
        """Drop the ledger as a dying process does: no goodbye, and what it had not made durable may be gone.

        Afterwards :meth:`open_ledger` must find the same ledger, and what hung on the old object may fail.
        """
        raise NotImplementedError

    # Owners.

    @_fact
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

    @_fact
    async def test_an_earlier_owner_writes_nothing(self, bench: Bench) -> None:
        """ONE-WRITER: whatever a fenced owner hands in is refused and leaves no trace (order, execution, cursor, operation)."""
        old = await bench.owner()
        order = await old.put(old.record("k"))
        new = await bench.owner(holder="second")
        before = await bench.all()
        wish = old.operation(order, "op")
        results = await old.commit(
            old.record("k2"),
            old.move(order, _accepted(), _ack()),
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
        await new.put(new.move(order, _accepted(), _ack()))

    @_fact
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

    @_fact
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

    @_fact
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

    @_fact
    async def test_every_part_of_an_order_comes_back(self, bench: Bench) -> None:
        """Copies, cancels, outcomes, retry times, quantities, reasons, anomalies and flags read back as they were written."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        steps: list[tuple[Event, ...]] = [
            (ev.CopySettled(1, CopyOutcome.THROTTLED, "slow down", AT_US + 9_000_000),),
            (ev.Claimed(2, None),),
            (ev.OutcomeUnknown(2, "timed out"),),
            (ev.Parked("nobody can tell"),),
            (ev.Claimed(3, AT_US + 5),),
            (ev.CopySettled(3, CopyOutcome.ACCEPTED, "ok"), _ack(cum=Decimal("7.5"))),
            (ev.CancelRecorded(None), ev.CancelClaimed(1)),
            (ev.CancelSettled(1, CopyOutcome.REJECTED, "too busy"), ev.Anomaly("odd")),
            (ev.CancelClaimed(2),),
        ]
        for events in steps:
            order = await owner.put(owner.move(order, *events))
            assert (await bench.load("k")).order == order, events
        order = await owner.put(owner.fill(order, "e1", quantity=Decimal("3.25")))
        order = await owner.put(owner.move(order, _canceled(Decimal("7.5"))))
        await bench.crash()
        loaded = await bench.load("k")
        assert loaded.order == order
        assert loaded.execution_ids == {("acct", "e1")}

    @_fact
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

    @_fact
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

    @_fact
    async def test_a_key_that_comes_again_shows_the_first_order(self, bench: Bench) -> None:
        """KeyTaken carries the first order's content and, once there is one, its answer; in a group and across groups."""
        owner = await bench.owner()
        first, again, beside = owner.record("k"), owner.record("k", quantity=Decimal(7)), owner.record("k2")
        results = await owner.commit(first, again, beside)
        assert kinds(results) == [Committed, KeyTaken, Committed]
        assert first.order is not None
        order = await owner.put(owner.move(first.order, _accepted(), _ack()))
        late = await owner.ledger.commit(owner.record("k", quantity=Decimal(7)))
        assert isinstance(late, KeyTaken)
        assert order.answer is not None
        assert late.order.answer == order.answer
        assert late.order.intent.quantity == Decimal(100)

    @_fact
    async def test_the_same_change_twice_is_written_once(self, bench: Bench) -> None:
        """Handing in one change twice, at once or later, with or without a claim, writes it once."""
        owner = await bench.owner()
        for claimed in (True, False):
            change = owner.record(f"k{claimed}", claimed=claimed)
            results = [*await owner.commit(change, change), *await owner.commit(change)]
            assert kinds(results)[0] is Committed
            assert not any(isinstance(result, Committed) for result in results[1:])
        assert len(await bench.ledger.journal(ROUTE, 0, ALL)) == 3

    @_fact
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

    @_fact
    async def test_a_copy_is_claimed_once(self, bench: Bench) -> None:
        """A claim number is taken once, for copies and for cancels, even by somebody whose version is right."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.move(order, ev.OutcomeUnknown(1, "timed out")))
        for claim in (ev.Claimed(2, None), ev.CancelClaimed(1)):
            if isinstance(claim, ev.CancelClaimed):
                order = await owner.put(owner.move(order, _ack(), ev.CancelRecorded(None)))
            change = owner.move(order, claim)
            order = await owner.put(change)
            assert change.order is not None
            repeat = msgspec.structs.replace(change.order, version=order.version + 1)
            before = await bench.all()
            assert kinds(await owner.commit(msgspec.structs.replace(change, order=repeat))) == [Stale]
            assert await bench.all() == before

    @_fact
    async def test_a_stale_change_leaves_nothing(self, bench: Bench) -> None:
        """Of a change whose version has passed nothing is written; its neighbours in the group are."""
        owner = await bench.owner()
        moved, other = await owner.put(owner.record("k1")), await owner.put(owner.record("k2"))
        now = await owner.put(owner.move(moved, _accepted(), _ack()))
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
        assert [e.execution_id for _, e in await bench.ledger.executions(0, ALL)] == ["e2"]
        kinds_written = [entry.kind for entry in await bench.ledger.journal(ROUTE, 4, ALL)]
        assert kinds_written == ["traded", "recorded", "note"]

    @_fact
    async def test_of_two_changes_to_one_state_the_first_counts(self, bench: Bench) -> None:
        """Two changes made from the same state of an order, or of a cursor, do not merge: the second is refused."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        first, second = owner.move(order, _accepted(), _ack()), owner.move(order, ev.Anomaly("odd"))
        assert kinds(await owner.commit(first, second)) == [Committed, Stale]
        assert (await bench.load("k")).order == first.order
        moves = [owner.note(cursor=CursorMove(STREAM, 0, 5)), owner.note(cursor=CursorMove(STREAM, 0, 7))]
        skipping = [owner.note(cursor=CursorMove(STREAM, 5, 6)), owner.note(cursor=CursorMove(STREAM, 7, 8))]
        assert kinds(await owner.commit(*moves)) == [Committed, Stale]
        assert kinds(await owner.commit(*skipping)) == [Committed, Stale]
        assert await bench.ledger.cursor(ROUTE, STREAM) == 6

    @_fact
    async def test_changes_to_one_order_are_pipelined(self, bench: Bench) -> None:
        """Changes to one order need not wait for each other: handed in together they are applied in turn."""
        owner = await bench.owner()
        changes = [owner.record("k")]
        order = changes[0].order
        assert order is not None
        changes.append(owner.move(order, ev.OutcomeUnknown(1, "timed out")))
        changes.append(owner.move(_after(changes), _accepted(), _ack()))  # the same copy settled twice in a group
        changes.append(owner.move(_after(changes), ev.CancelRecorded(None), ev.CancelClaimed(1)))
        changes.append(owner.move(_after(changes), ev.CancelSettled(1, CopyOutcome.UNKNOWN, "timed out")))
        for n in range(40):
            changes.append(owner.fill(_after(changes), f"e{n}", CursorMove(STREAM, n, n + 1)))
        results = await owner.commit(*changes)
        assert set(kinds(results)) == {Committed}
        loaded = await bench.load("k")
        assert loaded.order == _after(changes)
        assert len(loaded.execution_ids) == 40
        assert await bench.ledger.cursor(ROUTE, STREAM) == 40

    @_fact
    async def test_what_follows_a_refused_change_is_refused(self, bench: Bench) -> None:
        """Changes pipelined behind a refused one to the same order are refused as well: memory was wrong."""
        owner = await bench.owner()
        order = await owner.put(owner.fill(await owner.put(owner.record("k")), "e1"))
        good = owner.fill(order, "e2")
        known = owner.fill(_after([good]), "e1")
        after = owner.fill(_after([known]), "e3")
        again = owner.record("k")
        results = await owner.commit(good, known, after, again, owner.move(_after([again]), _accepted(), _ack()))
        assert kinds(results) == [Committed, ExecutionKnown, Stale, KeyTaken, Stale]
        assert (await bench.load("k")).order == good.order

    # Executions and cursors.

    @_fact
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
        assert [e.execution_id for _, e in await bench.ledger.executions(0, ALL)] == ["e1", "e1", "e1", "e9"]

    @_fact
    async def test_executions_read_back_in_log_order(self, bench: Bench) -> None:
        """Pages of the execution log, of any size, give every execution once, at the place its commit named."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await owner.put(owner.record("k"))
        expected: dict[int, Execution] = {}
        for size in (1, 5, 17):
            made = [(other if n % 3 == 0 else owner).trade(f"{size}-{n}") for n in range(size)]
            made.append(owner.trade(f"{size}-order", order, quantity=Decimal("0.5")))
            changes = [(owner if e.venue == ROUTE else other).note(execution=e) for e in made[:-1]]
            changes.append(owner.fill(order, made[-1].execution_id, quantity=Decimal("0.5")))
            order = _after(changes)
            changes.insert(1, owner.note())  # places count executions, not changes
            results = await owner.commit(*changes)
            for change, result in zip(changes, results, strict=True):
                assert isinstance(result, Committed)
                assert (result.execution_place is None) == (change.execution is None)
                if change.execution is not None and result.execution_place is not None:
                    expected[result.execution_place] = change.execution
        assert len(expected) == 26
        for limit in (1, 4, 26, ALL):
            found: list[tuple[int, Execution]] = []
            while page := await bench.ledger.executions(found[-1][0] if found else 0, limit):
                assert len(page) <= limit
                found += page
            assert found == sorted(expected.items())

    @_fact
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
                owner.move(order, _accepted(), _ack()),
                owner.note(cursor=CursorMove("drop copy", 0, 3)),
            ]
            results = await owner.commit(*changes) if together else [(await owner.commit(c))[0] for c in changes]
            assert kinds(results) == [Committed, ExecutionKnown, Stale, Stale, Committed, Committed]
            assert await bench.ledger.cursor(route, STREAM) == 5
            assert await bench.ledger.cursor(route, "drop copy") == 3
            held = [e.execution_id for _, e in await bench.ledger.executions(0, ALL) if e.venue == route]
            assert held == ["e1"]
            again = owner.note(execution=owner.trade("e2"), cursor=CursorMove(STREAM, 5, 7))
            assert kinds(await owner.commit(again)) == [Committed]

    @_fact
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

    @_fact
    async def test_an_operation_is_answered_once(self, bench: Bench) -> None:
        """CANCEL-QUIET: an operation key is taken once and answered once; every repeat is shown the first."""
        owner = await bench.owner()
        order = await owner.put(owner.move(await owner.put(owner.record("k")), _accepted(), _ack()))
        asked = owner.operation(order, "op")
        order = await owner.put(owner.move(order, ev.CancelRecorded("op"), opened=(asked,)))
        assert (await bench.load("k")).operations == (asked,)
        later = msgspec.structs.replace(asked, requested_at_us=AT_US * 2)
        before = await bench.all()
        assert await owner.commit(owner.move(order, ev.CancelRecorded("op"), opened=(later,))) == [
            OperationTaken(asked)
        ]
        assert await bench.all() == before

        ended = owner.move(order, _canceled())
        answered = msgspec.structs.replace(asked, answer=cancel_answer(_after([ended]), AT_US, changed=True))
        order = await owner.put(msgspec.structs.replace(ended, answered=(answered,)))
        other = msgspec.structs.replace(asked, answer=b'"another answer"')
        repeat = owner.move(order, ev.CancelRecorded("op"), answered=(other,))
        assert await owner.commit(repeat) == [OperationTaken(answered)]
        assert await owner.commit(owner.note(opened=(later,))) == [OperationTaken(answered)]
        await bench.crash()
        assert await bench.ledger.operation(ACCOUNT, STRATEGY, "k", "op") == answered
        assert await bench.ledger.operation(ACCOUNT, STRATEGY, "k", "OP") is None
        assert (await bench.load("k")) == Loaded(order=order, execution_ids=frozenset(), operations=())

    @_fact
    async def test_operations_opened_and_answered_at_once(self, bench: Bench) -> None:
        """An operation may be opened with its answer, in one change or one group, and for a key that was never recorded."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        one = owner.operation(order, "one")
        first = owner.move(order, ev.CancelRecorded("one"), opened=(one,))
        two = owner.operation(order, "two")
        ended = owner.move(_after([first]), _canceled(), opened=(two,))
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

    @_fact
    async def test_an_operation_key_is_taken_once_however_many_try(self, bench: Bench) -> None:
        """Of many concurrent operations under one key exactly one is recorded; the others are shown that one."""
        owner = await bench.owner()
        await owner.put(owner.record("k"))
        made = [owner.operation(None, "op", key="k", answer=f'"{n}"'.encode()) for n in range(30)]
        results = await owner.commit(*(owner.note(opened=(operation,)) for operation in made))
        assert kinds(results) == [Committed] + [OperationTaken] * 29
        assert {result.operation for result in results if isinstance(result, OperationTaken)} == {made[0]}

    # Rules.

    @_fact
    async def test_a_row_that_breaks_the_rules_is_refused(self, bench: Bench) -> None:
        """What the life cycle forbids (an ended order without an answer) never gets in; the group's other changes do."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        good = owner.move(order, _accepted(), _ack())
        broken = msgspec.structs.replace(good, order=msgspec.structs.replace(_after([good]), answer=None))
        results = await owner.commit(owner.record("k1"), broken, owner.record("k2"))
        assert kinds(results) == [Committed, InvariantBroken, Committed]
        assert (await bench.load("k")).order == order
        await owner.put(good)

    @_fact
    async def test_open_orders_are_those_not_closed(self, bench: Bench) -> None:
        """An order is open until it ended and every execution that the venue counted is applied."""
        owner = await bench.owner()
        rejected = await owner.put(owner.record("rejected"))
        short = await owner.put(owner.record("short"))
        await owner.put(owner.record("open"))
        await owner.put(owner.move(rejected, ev.CopySettled(1, CopyOutcome.REJECTED, "no")))
        short = await owner.put(owner.move(short, _canceled(Decimal(1))))
        assert [loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)] == ["short", "open"]
        await owner.put(owner.fill(short, "e1"))
        assert [loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)] == ["open"]
        await bench.reopen()
        assert [loaded.order.key for loaded in await bench.ledger.open_orders(ROUTE)] == ["open"]
        assert [order.key for order in await bench.ledger.orders(0, ALL)] == ["rejected", "short", "open"]

    # Durability.

    @_fact
    async def test_answers_are_the_same_bytes_after_reopening(self, bench: Bench) -> None:
        """SAME-ANSWER, NO-LOSS: closing or crashing changes nothing that is read, to the byte."""
        owner = await bench.owner()
        orders = [await owner.put(owner.record(f"k{n}")) for n in range(5)]
        orders[0] = await owner.put(owner.move(orders[0], _accepted(), _ack('Zürich "1" \\')))
        orders[1] = await owner.put(owner.fill(orders[1], "e1", CursorMove(STREAM, 0, 1)))
        orders[2] = await owner.put(owner.move(orders[2], ev.CopySettled(1, CopyOutcome.REJECTED, "nö")))
        await bench.ledger.save_positions([fold(_flat(), Side.BUY, Decimal(1), Decimal("2.5"))], 1)
        before = await bench.all()
        for again in (bench.reopen, bench.crash, bench.reopen):
            await again()
            assert await bench.all() == before
            for order in orders[:3]:
                assert order.answer is not None
                assert (await bench.load(order.key)).order.answer == order.answer

    @_fact
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
            made = {order.intent_id for order in (_after([change]) for change in changes)}
            assert not made & used
            used |= made
            await again()
        assert {order.intent_id for order in await bench.ledger.orders(0, ALL)} == used

    @_fact
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
        for call in (old.orders(0, 1), old.move_cursor(ROUTE, 1, CursorMove(STREAM, 0, 1)), old.acquire(ROUTE, "x", 1)):
            (error,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(error, LedgerError)
        await old.close()

    @_fact
    async def test_a_crash_keeps_what_was_acknowledged(self, bench: Bench) -> None:
        """NO-LOSS: after a crash every acknowledged change is there, and every other one is there whole or not at all."""
        owner = await bench.owner()
        known = [owner.record(f"k{n}") for n in range(20)]
        assert set(kinds(await owner.commit(*known))) == {Committed}
        doubtful = [owner.fill(_after([change]), f"e{n}") for n, change in enumerate(known)]
        futures = [bench.ledger.commit(change) for change in doubtful]
        await bench.crash()
        await asyncio.gather(*futures, return_exceptions=True)
        journal = await bench.ledger.journal(ROUTE, 0, ALL)
        entered = [entry.intent_id for entry in journal if entry.kind == "traded"]
        executed = [execution.intent_id for _, execution in await bench.ledger.executions(0, ALL)]
        assert entered == executed
        for before, after in zip(known, doubtful, strict=True):
            loaded = await bench.load(_after([before]).key)
            applied = loaded.order.intent_id in executed
            assert loaded.order == _after([after if applied else before])
            assert bool(loaded.execution_ids) == applied

    @_fact
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
        written = [_after([change]) for change in changes if _after([change]).key != "k0" or change is changes[0]]
        assert [order.key for order in pages] == [order.key for order in written]

    # The rest.

    @_fact
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

    @_fact
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

    @_fact
    async def test_the_positions_projection_is_kept(self, bench: Bench) -> None:
        """The stored projection comes back with the place through which it is folded; a later save replaces it."""
        await bench.owner()
        assert await bench.ledger.positions() == ([], 0)
        one = fold(_flat(), Side.BUY, Decimal("0.00000001"), Decimal("12345.678"))
        other = fold(msgspec.structs.replace(_flat(), instrument="OTHER"), Side.SELL, Decimal(3), Decimal("1E-8"))
        await bench.ledger.save_positions([one, other], 2)
        one = fold(one, Side.SELL, Decimal(5), Decimal("0.1"))
        await bench.ledger.save_positions([one], 3)
        await bench.crash()
        positions, through = await bench.ledger.positions()
        assert through == 3
        assert sorted(positions, key=lambda position: position.instrument) == [one, other]

    @_fact
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

    @_fact
    async def test_a_zero_byte_survives(self, bench: Bench) -> None:
        """A venue's text may hold a zero byte, which some databases do not store as it is; it must not stop a ledger."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.move(order, ev.OutcomeUnknown(1, "a\x00b"), ev.Anomaly("\x00")))
        await bench.crash()
        assert (await bench.load("k")).order == order

    @_fact
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
        for _, execution in await bench.ledger.executions(0, ALL):
            assert {execution.quantity, execution.price} == {Decimal(execution.execution_id)}
        held = [msgspec.structs.replace(_flat(), instrument=f"i{n}", bought=Decimal(t)) for n, t in enumerate(NUMBERS)]
        await bench.ledger.save_positions(held, 0)
        found_positions, _ = await bench.ledger.positions()
        assert sorted(found_positions, key=lambda position: position.instrument) == held


def _after(changes: list[Change]) -> Order:
    """Return the order as the last change leaves it."""
    order = changes[-1].order
    assert order is not None
    return order


def _flat() -> Position:
    return Position(account=ACCOUNT, strategy=STRATEGY, venue=ROUTE, instrument="ACME")
