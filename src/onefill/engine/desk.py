"""What callers can want of an order that is recorded: cancel it, replace it, or say what became of it.

Each wish is recorded before it is acted on, and acted on by the order's driver (:mod:`onefill.engine.sender`) once the order's
fate is known.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core import identity, resolution, values
from onefill.core.answers import cancel_answer, replace_answer, replace_of_unknown_key_answer, unknown_key_answer
from onefill.core.capabilities import Lookup, ReplaceStyle
from onefill.core.errors import (
    CannotReplace,
    ContradictsEvidence,
    InvalidField,
    KeyReused,
    OnefillError,
    RouteClosed,
    UnknownKey,
    VenueError,
)
from onefill.core.events import Verdict
from onefill.core.intent import Intent, first_difference, fit_terms
from onefill.core.lifecycle import ENDED
from onefill.core.order import Order
from onefill.core.query import query, scan_from_us
from onefill.core.steps import Ask, Scan
from onefill.core.values import OrderType
from onefill.engine.entry import Entry, Waiter, wait_for_answer
from onefill.engine.route import Route
from onefill.engine.sender import ask, scan, start_driver
from onefill.ports.clock import Clock
from onefill.ports.ledger import Committed, Ledger, Operation, RequestKind, VenueOrderTaken


class Desk:
    """Where the orders of a gateway are found by name."""

    def __init__(
        self, ledger: Ledger, routes: dict[str, Route], clock: Clock, missing: Callable[[str], OnefillError]
    ) -> None:
        self.ledger = ledger
        self.routes = routes
        self.clock = clock
        self.missing = missing
        """Returns what is told of a route that is not open here."""

    async def find(self, name: "OrderName") -> tuple[Route, Entry] | None:
        """Return an order and its route, from memory or from the ledger; ``None`` if it was never recorded."""
        digest = identity.key_digest(name.account, name.strategy, name.key)
        for route in self.routes.values():
            if digest in route.entries:
                return route, route.entries[digest]
        loaded = await self.ledger.by_key(name.account, name.strategy, name.key)
        if loaded is None:
            return None
        home = self.routes.get(loaded.order.intent.venue)
        if home is None:
            raise self.missing(loaded.order.intent.venue)
        return home, home.adopt(loaded)

    def any_route(self) -> Route:
        """Return the route that keeps what belongs to none. Raises RouteClosed while none is held here."""
        for route in self.routes.values():
            return route
        raise RouteClosed("no route is held here now, so that nothing can be recorded. Nothing was changed")


class OrderName(msgspec.Struct, frozen=True, gc=False):
    """What a caller names an order by."""

    account: str
    strategy: str
    key: str

    def operation(self, operation_key: str, found: tuple[Route, Entry] | None, at_us: int, **more: Any) -> Operation:
        """Return an operation on this order under a key of its own."""
        return Operation(
            account=self.account,
            strategy=self.strategy,
            key=self.key,
            operation_key=operation_key,
            intent_id=None if found is None else found[1].order.intent_id,
            requested_at_us=at_us,
            **more,
        )


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What a replace is to make of an order. ``None``: it stays as it is."""

    quantity: Decimal | None
    price: Decimal | None
    operation_key: str | None
    live_s: float

    @classmethod
    def checked(cls, quantity: object, price: object, operation_key: str | None, live_s: float) -> "Wish":
        """Return the wish with every field in its canonical form. Raises :class:`InvalidField`."""
        if quantity is None and price is None:
            raise InvalidField("quantity", "a replace needs a quantity or a price")
        return cls(
            None if quantity is None else values.positive_decimal(quantity, "quantity"),
            None if price is None else values.positive_decimal(price, "price"),
            operation_key,
            live_s,
        )


class Word(msgspec.Struct, frozen=True, gc=False):
    """What a person says of an order."""

    verdict: Verdict
    by: str
    reason: str
    venue_order_id: str | None


async def cancel(desk: Desk, name: OrderName, operation_key: str | None, wait_s: float) -> bytes:
    """Make an order go away; see :meth:`onefill.engine.gateway.Gateway.cancel`."""
    if operation_key is not None:
        values.caller_key(operation_key, "operation_key")
    while True:
        known = await _known(desk, name, operation_key, RequestKind.CANCEL)
        if known is not None and known.answer is not None:
            return known.answer
        found = await desk.find(name)
        now_us = desk.clock.now_us()
        operation = None if operation_key is None else name.operation(operation_key, found, now_us)
        if found is None:
            event = ev.CancelOfUnknownKey(name.key, operation_key or "")
            answer = await _answer_unknown(desk, operation, event, unknown_key_answer(name.key, now_us), name)
        else:
            answer = await _cancel_order(desk, *found, operation, wait_s)
        if answer is not None:
            return answer  # otherwise somebody else was first: look again


async def _known(desk: Desk, name: OrderName, operation_key: str | None, kind: RequestKind) -> Operation | None:
    """Return what was recorded under an operation key. Raises KeyReused if it was another kind of wish."""
    if operation_key is None:
        return None
    known = await desk.ledger.operation(name.account, name.strategy, name.key, operation_key)
    if known is not None and known.kind is not kind:
        raise KeyReused(operation_key, "kind")
    return known


async def _answer_unknown(
    desk: Desk, operation: Operation | None, event: ev.RouteEvent, answer: bytes, name: OrderName
) -> bytes | None:
    if operation is None:
        raise UnknownKey(name.key, name.account, name.strategy)
    route = desk.any_route()
    route.admit()
    return await _keep_answer(route, operation, event, answer)


async def _keep_answer(route: Route, operation: Operation, event: ev.RouteEvent, answer: bytes) -> bytes | None:
    """Keep the answer of a wish that changes nothing. ``None``: the operation key has an answer already."""
    done = msgspec.structs.replace(operation, answer=answer)
    outcome = await asyncio.shield(route.record_route_event(event, opened=(done,)))
    return answer if isinstance(outcome, Committed) else None


async def _cancel_order(
    desk: Desk, route: Route, entry: Entry, operation: Operation | None, wait_s: float
) -> bytes | None:
    await route.make_sure(entry)
    order = entry.order
    if order.status in ENDED:
        answer = cancel_answer(order, desk.clock.now_us(), changed=False)
        if operation is None:
            return answer
        return await _keep_answer(route, operation, ev.CancelAnswered(operation.operation_key), answer)
    route.admit()
    if route.entries.get(entry.digest) is not entry:
        return None  # its key turned out to be another order's
    operation_key = None if operation is None else operation.operation_key
    if operation_key is not None and operation_key in entry.operations:
        operation = None  # recorded already: wait with the first
    waiter: Waiter = route.loop.create_future()
    entry.cancel_waiters.append((operation_key, waiter))
    if operation is not None or not order.cancel_wanted:
        event = ev.CancelRecorded(operation_key)
        if not await _recorded(route, entry, waiter, event, () if operation is None else (operation,)):
            return None
    return await wait_for_answer(waiter, entry, wait_s, route.deadlines)


async def _recorded(route: Route, entry: Entry, waiter: Waiter, event: ev.Event, opened: tuple[Operation, ...]) -> bool:
    """Record a wish for which ``waiter`` waits. False if the ledger refused it: the order is to be looked at again."""
    try:
        # Shielded: a caller who gives up must not keep the wish from being acted on.
        outcome = await asyncio.shield(route.record(entry, (event,), opened=opened))
    except BaseException:
        entry.drop(waiter)
        raise
    if isinstance(outcome, Committed):
        return True
    entry.drop(waiter)
    await route.make_sure(entry)
    return False


async def replace(desk: Desk, name: OrderName, wish: Wish, wait_s: float) -> bytes:
    """Give an order other quantity or price; see :meth:`onefill.engine.gateway.Gateway.replace`."""
    if wish.operation_key is not None:
        values.caller_key(wish.operation_key, "operation_key")
    until_s = asyncio.get_running_loop().time() + wait_s
    while True:
        known = await _known(desk, name, wish.operation_key, RequestKind.REPLACE)
        if known is not None:
            for field in ("quantity", "price"):
                if getattr(known, field) != getattr(wish, field):
                    raise KeyReused(known.operation_key, field)
            if known.answer is not None:
                return known.answer
        found = await desk.find(name)
        now_us = desk.clock.now_us()
        operation = None
        if wish.operation_key is not None:
            operation = name.operation(
                wish.operation_key,
                found,
                now_us,
                kind=RequestKind.REPLACE,
                quantity=wish.quantity,
                price=wish.price,
            )
        if found is None:
            event = ev.ReplaceAnswered(wish.operation_key or "")
            unknown = replace_of_unknown_key_answer(name.key, now_us)
            answer = await _answer_unknown(desk, operation, event, unknown, name)
        else:
            answer = await _replace_order(desk, *found, wish, operation, until_s)
        if answer is not None:
            return answer  # otherwise an earlier replace is through, or somebody else was first: look again


async def _replace_order(
    desk: Desk, route: Route, entry: Entry, wish: Wish, operation: Operation | None, until_s: float
) -> bytes | None:
    await route.make_sure(entry)
    order, now_us = entry.order, desk.clock.now_us()
    quantity, price = wish.quantity or order.quantity, wish.price or order.price
    pending = order.replacement
    already = pending is None and (order.quantity, order.price) == (quantity, price)
    if order.status in ENDED or already:
        answer = replace_answer(order, now_us, done=already and order.status not in ENDED, changed=False)
        if operation is None:
            return answer
        return await _keep_answer(route, operation, ev.ReplaceAnswered(operation.operation_key), answer)
    route.admit()
    if route.entries.get(entry.digest) is not entry:
        return None  # its key turned out to be another order's
    left_s = max(until_s - route.loop.time(), 0.0)
    operation_key = None if operation is None else operation.operation_key
    waiter: Waiter = route.loop.create_future()
    if pending is not None:
        mine = operation_key is not None and operation_key in entry.operations
        joins = mine or (operation is None and (pending.quantity, pending.price) == (quantity, price))
        entry.replace_waiters.append((pending.number, operation_key if joins else None, waiter))
        answer = await wait_for_answer(waiter, entry, left_s, route.deadlines)
        return answer if joins else None
    _check_replaceable(route, order, quantity, price)
    route.gate.admit_replace(order, quantity, price)
    refusal = route.risk.judge_replace(order, quantity, price)
    if refusal is not None:
        raise CannotReplace(order.key, str(refusal))
    number = order.replacements + 1
    event = ev.ReplaceRecorded(
        number=number,
        client_order_id=_next_id(route, order, number),
        quantity=quantity,
        price=price,
        valid_until_us=now_us + int(wish.live_s * 1_000_000),
        operation_key=operation_key,
    )
    entry.replace_waiters.append((number, operation_key, waiter))
    if not await _recorded(route, entry, waiter, event, () if operation is None else (operation,)):
        return None
    return await wait_for_answer(waiter, entry, left_s, route.deadlines)


def _next_id(route: Route, order: Order, number: int) -> str:
    if route.capabilities.replace is ReplaceStyle.KEEP:
        return order.live_id
    return identity.replacement_id(order.client_order_id, number, route.capabilities.id_format)


def _check_replaceable(route: Route, order: Order, quantity: Decimal, price: Decimal | None) -> None:
    if route.capabilities.replace is ReplaceStyle.NONE:
        raise CannotReplace(order.key, f"venue {route.name!r} has no replace; cancel the order and send another")
    if order.intent.order_type is not OrderType.LIMIT:
        raise CannotReplace(order.key, "it is a market order, which does not rest")
    if order.cancel_wanted:
        raise CannotReplace(order.key, "it is to be cancelled")
    instrument = route.instruments.get(order.intent.instrument)
    if instrument is None:
        raise InvalidField("instrument", f"{order.intent.instrument!r} is not traded at venue {route.name!r}")
    fit_terms(quantity, price, instrument)


async def resolve(desk: Desk, name: OrderName, word: Word, catch_up: Callable[[Route], Awaitable[None]]) -> Order:
    """Take a person's word for what became of an order; see :meth:`onefill.engine.gateway.Gateway.resolve`.

    ``catch_up`` takes in what the route's execution stream has by now.
    """
    found = await desk.find(name)
    if found is None:
        raise UnknownKey(name.key, name.account, name.strategy)
    route, entry = found
    try:
        await catch_up(route)
    except (VenueError, TimeoutError, OSError) as error:
        if word.verdict is not Verdict.ADOPT:
            raise ContradictsEvidence(
                name.key,
                f"its execution reports could not be read to their end just now ({error}); say it again when they can",
            ) from error
    while True:
        await route.make_sure(entry)
        route.admit()
        seen = await look(route, entry.order)
        await route.make_sure(entry)  # the stream may have told meanwhile
        order, now_us = entry.order, desk.clock.now_us()
        if word.verdict is Verdict.ADOPT:
            number = word.venue_order_id or ""
            forgotten = resolution.may_be_forgotten(order, route.capabilities, now_us)
            events = resolution.adopt(order, seen, number, word.by, word.reason, forgotten=forgotten)
        else:
            number = None
            waited_us = None
            if entry.claimed_at_s is not None:
                waited_us = int((route.loop.time() - entry.claimed_at_s) * 1_000_000)
            rule = resolution.not_sent if word.verdict is Verdict.NOT_SENT else resolution.ended
            events = rule(order, route.capabilities, seen, word.by, word.reason, now_us, waited_us)
        outcome = await asyncio.shield(route.record(entry, events, adopts=number))
        if isinstance(outcome, VenueOrderTaken):
            await route.reload(entry)
            raise ContradictsEvidence(name.key, f"the venue's order {number} is {outcome.client_order_id} here")
        if isinstance(outcome, Committed):
            start_driver(route, entry)
            return entry.order
        await route.reload(entry)


async def look(route: Route, order: Order) -> resolution.Seen:
    """Ask the venue for everything it can say of an order now, for a person to judge by."""
    listed = await scan(route, order, scan_from_us(order))
    lookup = None
    if route.capabilities.lookup is not Lookup.NONE:
        wanted = order.replacement
        step = query(order, route.capabilities, order.live_id if wanted is None else wanted.client_order_id)
        if isinstance(step, Ask | Scan):
            lookup = await ask(route, order, step)
    return resolution.Seen(lookup, listed)


def same_content(order: Order, intent: Intent) -> None:
    """Raise :class:`KeyReused` if a repeat of an order's key has other content."""
    field = first_difference(order.intent, intent)
    if field is not None:
        raise KeyReused(order.key, field)
