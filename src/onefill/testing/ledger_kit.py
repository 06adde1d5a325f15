"""What the ledger suite works with: an owner that makes changes as a gateway does, a bench, and how a fact becomes a test."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core.apply import advance, apply
from onefill.core.audit import GENESIS, first_fault
from onefill.core.events import CopyOutcome, Event, Source
from onefill.core.identity import key_digest
from onefill.core.intent import FINGERPRINT_VERSION, Intent, canonical, fingerprint
from onefill.core.messages import VenueStatus
from onefill.core.order import Copy, Order, Replacement
from onefill.core.position import Execution, Position
from onefill.core.values import Side
from onefill.ports.ledger import (
    Change,
    Claim,
    Committed,
    CursorMove,
    Lease,
    Ledger,
    Loaded,
    NewIntent,
    Operation,
    Outcome,
    ReplacementChange,
    RequestKind,
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
        for asked, old, now in (
            (RequestKind.SUBMIT, before.copies, order.copies),
            (RequestKind.CANCEL, before.cancels, order.cancels),
        ):
            claims += tuple(Claim(asked, copy) for copy in now[len(old) :])
            settled += tuple(Claim(asked, b) for a, b in zip(old, now, strict=False) if a != b)
        walk = _ReplaceWalk(before, events, self.at_us)
        payload = msgspec.json.encode(events).decode()
        given = {
            "kind": str(type(events[0]).__struct_config__.tag),
            "payload": payload,
            "order": order,
            "claims": claims + walk.claims,
            "settled": settled + walk.settled,
            "replacement": walk.change(order),
        }
        return self._change(**{**given, **parts})

    def note(self, kind: str = "note", payload: str = "[]", **parts: Any) -> Change:
        """Return a change that belongs to the route and to no order."""
        self.at_us += 1
        return self._change(kind=kind, payload=payload, **parts)

    def _change(self, **parts: Any) -> Change:
        return Change(route=self.lease.route, epoch=self.lease.epoch, at_us=self.at_us, **parts)

    def trade(self, execution_id: str, order: Order | None = None, *, scope: str = "acct", **fields: Any) -> Execution:
        """Return an execution, of an order or of one that nobody here sent."""
        given: dict[str, Any] = {"quantity": Decimal(1), "price": Decimal("2.5"), "venue_order_id": "V1"}
        given["instrument"] = "ACME"
        return Execution(
            intent_id=None if order is None else order.intent_id,
            scope=scope,
            execution_id=execution_id,
            account=ACCOUNT,
            strategy=STRATEGY,
            venue=self.lease.route,
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

    def restatement(self, order: Order) -> ReplacementChange:
        """Return the row that keeps the terms which the venue gave an order by itself."""
        terms = order.in_force
        assert terms is not None
        made = Replacement(
            number=terms.number,
            client_order_id=terms.client_order_id,
            quantity=terms.quantity,
            price=terms.price,
            valid_until_us=0,
            copies_before=order.replace_copies,
            since_us=terms.since_us,
        )
        return ReplacementChange(replacement=made, new_id=False, outcome="replaced")

    def operation(self, order: Order | None, operation_key: str, *, key: str = "", **fields: Any) -> Operation:
        """Return an operation under a key of its own: a cancel, unless told otherwise."""
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


class _ReplaceWalk:
    """What a change does to replaces, found by going through its events: the state after them does not show a replace that
    is over, nor its copies.
    """

    def __init__(self, before: Order, events: tuple[Event, ...], at_us: int) -> None:
        self.claims: tuple[Claim, ...] = ()
        self.settled: tuple[Claim, ...] = ()
        self._before = before
        self._last: tuple[Replacement, bool] | None = None
        order = before
        for event in events:
            self._see(order)
            if isinstance(event, ev.ReplaceSettled):
                self._settle(order, event)
            order = apply(order, event, at_us)
            self._see(order)
            if isinstance(event, ev.ReplaceClaimed) and order.replacement is not None:
                self.claims += (Claim(RequestKind.REPLACE, order.replacement.copies[-1]),)

    def _see(self, order: Order) -> None:
        if order.replacement is not None:
            self._last = (order.replacement, order.gets_new_id)

    def _settle(self, order: Order, event: ev.ReplaceSettled) -> None:
        known: tuple[Copy, ...] = order.strays + (() if order.replacement is None else order.replacement.copies)
        changes = {"outcome": event.outcome, "reason": event.reason, "retry_at_us": event.retry_at_us}
        self.settled += tuple(
            Claim(RequestKind.REPLACE, msgspec.structs.replace(copy, **changes))
            for copy in known
            if copy.number == event.number
        )

    def change(self, after: Order) -> ReplacementChange | None:
        """Return the row's change: the replace was recorded, or is over, or its original is known to be."""
        if self._last is None:
            return None
        last, new_id = self._last
        if after.replacement is None:
            done = after.in_force is not None and after.in_force.number == last.number
            return ReplacementChange(replacement=last, new_id=new_id, outcome="replaced" if done else "refused")
        before = self._before.replacement
        if before is not None and before.number == last.number and before.original_over == last.original_over:
            return None
        return ReplacementChange(replacement=last, new_id=new_id)


class Bench:
    """The ledger under test, which may be closed, dropped and opened again on the way."""

    def __init__(self, case: "LedgerUnderTest", ledger: Ledger) -> None:
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
            "executions": {route.name: await self.ledger.executions(route.name, 0, ALL) for route in routes},
            "journal": {route.name: await self.ledger.journal(route.name, 0, ALL) for route in routes},
            "cursors": {route.name: await self.ledger.cursor(route.name, STREAM) for route in routes},
            "positions": {route.name: await self.ledger.positions(route.name) for route in routes},
            "incidents": await self.ledger.incidents(open_only=False),
            "controls": {route.name: await self.ledger.control(route.name) for route in routes},
            "subscriptions": {route.name: await self.ledger.subscriptions(route.name) for route in routes},
            "opening": {route.name: await self.ledger.opening_positions(route.name) for route in routes},
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


def fact(scenario: Callable[[Any, Bench], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Make a test that pytest can call: open the ledger, run the scenario, verify the chain, close."""

    def test(self: "LedgerUnderTest") -> None:
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


def ack(order_id: str = "V1", cum: Decimal = Decimal(0)) -> ev.Acknowledged:
    """Return a reply that the order is new."""
    return ev.Acknowledged(order_id, VenueStatus.NEW, cum, Source.REPLY)


def accepted(number: int = 1) -> ev.CopySettled:
    """Return that a copy was accepted."""
    return ev.CopySettled(number, CopyOutcome.ACCEPTED, "ok")


def canceled(cum: Decimal = Decimal(0)) -> ev.Canceled:
    """Return that the venue cancelled the order."""
    return ev.Canceled(Source.STREAM, "V1", cum, "asked for")


def wanted(
    order: Order, client_order_id: str | None = None, quantity: str = "50", price: str | None = "2.25", **fields: Any
) -> ev.ReplaceRecorded:
    """Return that somebody wants an order replaced. ``client_order_id``: it goes on under this one; ``None``: the same."""
    given: dict[str, Any] = {"valid_until_us": AT_US + 30_000_000, "operation_key": None}
    return ev.ReplaceRecorded(
        number=order.replacements + 1,
        client_order_id=client_order_id or order.live_id,
        quantity=Decimal(quantity),
        price=None if price is None else Decimal(price),
        **{**given, **fields},
    )


def replaced(order: Order, venue_order_id: str = "V1") -> ev.Replaced:
    """Return that the venue shows the order with what its open replace wants."""
    asked = order.replacement
    assert asked is not None
    return ev.Replaced(
        Source.REPLY, asked.client_order_id, venue_order_id, asked.quantity, asked.price, order.venue_cum_quantity
    )


def latest(changes: list[Change]) -> Order:
    """Return the order as the last change leaves it."""
    order = changes[-1].order
    assert order is not None
    return order


def flat() -> Position:
    """Return a position without executions."""
    return Position(account=ACCOUNT, strategy=STRATEGY, venue=ROUTE, instrument="ACME")


class LedgerUnderTest:
    """What a suite needs of a ledger. Each test gets an instance of its own."""

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
