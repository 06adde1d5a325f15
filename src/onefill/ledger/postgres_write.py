"""Writing groups of changes into PostgreSQL. The constraints decide; this code reports what they said.

The usual group is one call of the schema's function ``commit_group``: one round trip, one transaction. The rows of the group's
routes are updated first, from the epoch and the journal entry that this writer knows: that is the fence, and the lock under
which everything of a route is written. A refused group has written nothing. Keys that were taken are set aside and the others
written: one more round trip. Any other conflict halves the group, down to the single change, so that each gets its own outcome
and none spoils another. Every piece is a transaction of its own: within one, keys are met in order, so that two gateways that
record the same keys at the same time cannot block each other.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from onefill.core.audit import entry_hash
from onefill.core.errors import Fenced, InvariantBroken, LedgerError, LedgerFailed, require
from onefill.ledger import postgres_text as text
from onefill.ledger import sqlite_rows as rows
from onefill.ledger.batch import Batch, Conflict, digest_of
from onefill.ledger.postgres_connect import driver
from onefill.ledger.postgres_days import DAYS, day_of
from onefill.ledger.postgres_read import Reader
from onefill.ledger.postgres_session import Session
from onefill.ledger.postgres_statements import PARTS
from onefill.ports.ledger import (
    INTENT_NUMBER_BITS,
    Change,
    ClientOrderIdTaken,
    Committed,
    CursorMove,
    EventKnown,
    ExecutionKnown,
    KeyTaken,
    OperationTaken,
    Outcome,
    Stale,
    StepTaken,
    SubscriptionMove,
    VenueOrderTaken,
)

T = TypeVar("T")
Result = Outcome | LedgerError | InvariantBroken
_NUMBER = (1 << INTENT_NUMBER_BITS) - 1
_TRIES = 5
_MOVED, _TAKEN = "OF001", "OF002"
_BROKEN_RULES = ("22", "23502", "23514", "54", "42804")
"""SQLSTATEs, or their beginnings, of a row that cannot be: a defect, no conflict."""
_ROUTES = f"SELECT name, id, epoch, last_sequence, head, last_number, last_execution, {DAYS} FROM route"


class Head(msgspec.Struct):
    """Where a route stands: what the next commit goes on from."""

    route_id: int
    epoch: int
    last_sequence: int
    head: bytes
    last_number: int
    last_execution: int
    day: int | None = None
    """Of the last journal entry; ``None``: none of the route's entries are here."""
    floor: int | None = None
    """The first day that was not archived; ``None``: nothing was."""


class _Refused(Exception):
    """The group was not written. ``why``: a SQLSTATE; ``taken``: intents that met a taken key or client order id."""

    def __init__(self, why: str, said: str = "", taken: Sequence[int] = ()) -> None:
        self.why = why
        self.said = said
        self.taken = frozenset(taken)
        super().__init__(why)


class _Group:
    """A group's rows, and where it leaves its routes."""

    def __init__(self, changes: Sequence[Change], heads: dict[str, Head]) -> None:
        self.before = {change.route: heads[change.route] for change in changes}
        self.after = {name: msgspec.structs.replace(head) for name, head in self.before.items()}
        self.results: list[Result] = []
        self.journal: list[rows.Row] = []
        self.intents: list[rows.Row] = []
        self.days: list[rows.Row] = []
        self._last_day: dict[int, int] = {}
        """By order: the day of its last entry."""
        self.batch = Batch()
        for change in changes:
            self._add(change, self.after[change.route])

    def _add(self, change: Change, head: Head) -> None:
        order = change.order
        self.batch.add(change, head.route_id)
        place = None
        if change.execution is not None:
            head.last_execution = place = head.last_execution + 1
            self.batch.executions[-1].insert(0, place)
        intent_id = None if order is None else order.intent_id
        if change.new is not None and intent_id is not None:
            head.last_number = max(head.last_number, intent_id & _NUMBER)
        head.last_sequence += 1
        sequence, previous, epoch = head.last_sequence, head.head, change.epoch
        made = entry_hash(previous, change.route, sequence, intent_id, change.kind, change.payload, change.at_us, epoch)
        id_ = (head.route_id << INTENT_NUMBER_BITS) | sequence
        day = day_of(change.at_us, head.day, head.floor)
        if day != head.day:
            self.days.append([head.route_id, day, sequence])
            head.day = day
        if change.new is not None and order is not None:
            require(rows.is_fresh(order), f"intent {order.intent_id}: more is set than a new intent has")
            row = rows.intent_row(head.route_id, order, change.new)
            row[2], row[8] = change.new.key_digest, change.new.fingerprint
            self.intents.append([*row, day])
        if intent_id is not None:
            self._last_day[intent_id] = day
        self.journal.append([id_, intent_id, change.kind, change.payload, change.at_us, epoch, previous, made, day])
        head.head = made
        self.results.append(Committed(sequence, place))

    def parameters(self, *, needs_standby: bool) -> list[Any]:
        """Return what the function is called with."""
        routes = sorted(self.before, key=lambda name: self.before[name].route_id)
        batch = self.batch
        tables: list[Sequence[rows.Row]] = [
            [self._route(name) for name in routes],
            self.intents,
            batch.claims,
            [[*row[:3], *row[7:10]] for row in batch.settled.values()],
            [[*row, self._last_day[row[0]]] for row in batch.updates.values()],
            [[route_id, move.stream, move.previous, move.position] for (route_id, _), move in batch.cursors.items()],
            batch.executions,
            self.journal,
        ]
        given: list[Any] = [needs_standby]
        for table, (_, kinds) in zip(tables, PARTS, strict=True):
            given += text.columns(table, kinds) if table else [None] * len(kinds)
        rare = batch.rare()
        if self.days:
            rare["days"] = self.days
        given.append(
            None if not rare else rows.json_text({name: text.stored_all(found) for name, found in rare.items()})
        )
        return given

    def _route(self, name: str) -> rows.Row:
        old, new = self.before[name], self.after[name]
        return [
            *(old.route_id, old.epoch, old.last_sequence, new.last_sequence, new.head),
            *(new.last_number, new.last_execution),
        ]


class Writer:
    """Applies groups of changes over one connection, one after the other."""

    def __init__(self, session: Session, reader: Reader) -> None:
        self._session = session
        self._place = session.place
        self._reader = reader
        self._heads: dict[str, Head] = {}
        session.on_new.append(self._compare)

    async def _compare(self) -> None:
        """Read where the routes stand over a new connection, which may be to another server than the last."""
        await self._reader.renew()
        await self._refresh()

    async def together(self, work: "Callable[[Any], Awaitable[T]]") -> T:
        """Run ``work`` in one transaction. Raises LedgerFailed if it is not known what became of it."""
        async with self._session.limited() as db, db.transaction():
            await self._session.require_standby()
            return await work(db)

    async def single(self, work: "Callable[[Any], Awaitable[T]]") -> T:
        """Run ``work``, each statement of which is a transaction of its own."""
        async with self._session.limited() as db:
            return await work(db)

    def took(self, route: str, head: Head) -> None:
        """Note where a route stands that was taken."""
        self._heads[route] = head

    async def apply(self, changes: Sequence[Change]) -> list[Result]:
        """Commit a group durably and return each change's outcome, in order.

        Raises LedgerFailed if it is not known whether something was written: the ledger must be opened again and read.
        """
        return await self._apply(list(changes))

    async def move(
        self, route: str, epoch: int, *, cursor: CursorMove | None = None, subscription: SubscriptionMove | None = None
    ) -> bool:
        """Move a cursor without a journal entry. False: it does not stand where the mover thinks."""
        for _ in range(_TRIES):
            head = await self._head(route, epoch)
            group = _Group((), {})
            group.before = group.after = {route: head}
            if cursor is not None:
                group.batch.cursors[head.route_id, cursor.stream] = cursor
            if subscription is not None:
                group.batch.subscriptions.append((head.route_id, subscription))
            try:
                await self._send(group)
            except _Refused as refused:
                if refused.why != _MOVED:
                    return False
                await self._refresh()
                continue
            return True
        raise InvariantBroken(f"route {route!r}: its row changes under epoch {epoch} by somebody else's hand")

    async def _head(self, route: str, epoch: int) -> Head:
        head = self._heads.get(route)
        if head is None or head.epoch != epoch:
            await self._refresh()
            head = self._heads.get(route)
        if head is None or head.epoch != epoch:
            raise Fenced(route, epoch, None if head is None else head.epoch)
        return head

    async def _refresh(self) -> None:
        """Read again where the routes stand. Raises LedgerFailed if the server knows less than it acknowledged."""
        async with self._session.limited() as db:
            found = {text.shown(row[0]): Head(*row[1:]) for row in await db.fetch(_ROUTES)}
        for name, known in self._heads.items():
            now = found.get(name)
            if now is None or (now.epoch, now.last_sequence) < (known.epoch, known.last_sequence):
                stands = "nothing of it" if now is None else f"entry {now.last_sequence} under epoch {now.epoch}"
                raise LedgerFailed(
                    f"{self._place.name}: the server has lost what it acknowledged: of route {name!r} entry "
                    f"{known.last_sequence} under epoch {known.epoch} was committed, and the server has {stands}. A standby "
                    "that was not synchronous took over, or a copy was restored. Nothing was sent; compare with the venue "
                    "before anything else"
                )
        self._heads = found

    async def _apply(self, changes: list[Change], tries: int = _TRIES) -> list[Result]:
        if not all(self._owned(change) for change in changes):
            await self._refresh()
        fenced = {n: self._fenced(change) for n, change in enumerate(changes) if not self._owned(change)}
        aside, going = _repeated(changes, fenced)
        results = await self._write([changes[n] for n in going], tries) if going else []
        found: dict[int, Result] = {**fenced, **dict(zip(going, results, strict=True))}
        if aside:
            found |= dict(zip(aside, await self._set_aside([changes[n] for n in aside]), strict=True))
        return [found[n] for n in range(len(changes))]

    def _owned(self, change: Change) -> bool:
        head = self._heads.get(change.route)
        return head is not None and head.epoch == change.epoch

    def _fenced(self, change: Change) -> Fenced:
        head = self._heads.get(change.route)
        return Fenced(change.route, change.epoch, None if head is None else head.epoch)

    async def _write(self, changes: list[Change], tries: int) -> list[Result]:
        """Write changes whose routes are ours as far as is known, none of which repeats another."""
        try:
            if any(change.adopts is not None for change in changes):
                if len(changes) > 1:
                    raise Conflict  # what is before it in the group must be seen
                taken = await self._adopted_before(changes[0])
                if taken is not None:
                    return [taken]
            group = _Group(changes, self._heads)
            await self._send(group)
        except Conflict:
            refused = _Refused("OF003")
        except _Refused as error:
            refused = error
        else:
            self._heads |= group.after
            return group.results
        if refused.why == _MOVED:
            require(tries > 1, "a route's row changes under our epoch by somebody else's hand")
            await self._refresh()
            return await self._apply(changes, tries - 1)
        if refused.taken:
            return await self._without(changes, refused.taken)
        if len(changes) == 1:
            return [await self._diagnose(changes[0], refused)]
        half = len(changes) // 2
        return [*await self._apply(changes[:half]), *await self._apply(changes[half:])]

    async def _without(self, changes: list[Change], taken: frozenset[int]) -> list[Result]:
        out = {n for n, one in enumerate(changes) if one.new and one.order and one.order.intent_id in taken}
        require(out, "the schema's function named intents that were not in the group")
        going = [n for n in range(len(changes)) if n not in out]
        found: dict[int, Result] = {}
        if going:
            found |= dict(zip(going, await self._apply([changes[n] for n in going]), strict=True))
        aside = sorted(out)
        found |= dict(zip(aside, await self._set_aside([changes[n] for n in aside]), strict=True))
        return [found[n] for n in range(len(changes))]

    async def _set_aside(self, changes: list[Change]) -> list[Result]:
        """Return what stands in the way of new intents that were left out of a group."""
        digests = [change.new.key_digest for change in changes if change.new is not None]
        taken = await self._reader.orders_by_digest(digests)
        results: list[Result] = []
        for change, digest in zip(changes, digests, strict=True):
            order = taken.get(digest)
            if order is not None:
                results.append(KeyTaken(order))
            else:
                results.append(await self._met(change))
        return results

    async def _met(self, change: Change) -> Result:
        order = change.order
        if order is None:
            raise InvariantBroken("a new intent without its order")
        if await self._reader.id_in_use(change.route, order.client_order_id, None, 0):
            return ClientOrderIdTaken(order.client_order_id)
        if await self._reader.knows(order.intent_id):
            return Stale("the intent was handed in before")
        return (await self._apply([change]))[0]  # what it repeats was refused itself

    async def _send(self, group: _Group) -> None:
        """Have a group written and made durable. Raises _Refused if nothing was written, LedgerFailed if that is not known."""
        try:
            given = group.parameters(needs_standby=self._session.needs_standby)
            async with self._session.limited():
                answer = await self._session.call(*given)
        except (driver().exceptions.DataError, UnicodeEncodeError, msgspec.MsgspecError, OverflowError) as error:
            raise _Refused("22000", str(error)) from None  # of the driver, before anything was sent
        if answer is not None:
            said = msgspec.json.decode(answer)
            raise _Refused(said["why"], said.get("said") or "", said.get("taken") or ())

    async def _adopted_before(self, change: Change) -> VenueOrderTaken | None:
        intent_id = 0 if change.order is None else change.order.intent_id
        known = await self._reader.other_with_venue_order_id(change.route, str(change.adopts), intent_id)
        return None if known is None else VenueOrderTaken(known)

    async def _diagnose(self, change: Change, refused: _Refused) -> Result:
        if refused.why.startswith(_BROKEN_RULES):
            return InvariantBroken(
                f"the ledger refused a row that breaks its rules: {refused.said}. Nothing was written"
            )
        if refused.why == _TAKEN:
            return (await self._set_aside([change]))[0] if change.new is not None else Stale("met a taken key")
        for operation in (*change.opened, *change.answered):
            known = await self._reader.operation(digest_of(operation), operation.operation_key)
            if known is not None and (known.answer is not None or operation in change.opened):
                return OperationTaken(known)
        if change.execution is not None:
            name = (change.execution.scope, change.execution.execution_id)
            if await self._reader.executions_named(change.route, [name]):
                return ExecutionKnown(change.execution.execution_id)
        return (
            await self._known_before(change)
            or await self._id_taken(change)
            or Stale(f"the order had moved on: {refused.said or 'its version differs'}")
        )

    async def _known_before(self, change: Change) -> EventKnown | StepTaken | None:
        if change.inbox is not None:
            event = await self._reader.inbox_event(change.route, change.inbox.source, change.inbox.event_id)
            if event is not None:
                return EventKnown(event.event_id, event.digest)
        if change.step is not None:
            step = await self._reader.step(change.route, change.step.key, change.step.step)
            begun = change.step.attempt - (change.step.result is None)
            if step is not None and (step.result is not None or step.attempt != begun):
                return StepTaken(step)
        return None

    async def _id_taken(self, change: Change) -> ClientOrderIdTaken | None:
        if change.new is not None and change.order is not None:
            wanted, of, number = change.order.client_order_id, None, 0
        elif change.order is not None and change.replacement is not None and change.replacement.new_id:
            replacement = change.replacement.replacement
            wanted, of, number = replacement.client_order_id, change.order.intent_id, replacement.number
        else:
            return None
        if await self._reader.id_in_use(change.route, wanted, of, number):
            return ClientOrderIdTaken(wanted)
        return None


def _repeated(changes: Sequence[Change], left_out: dict[int, Fenced]) -> tuple[list[int], list[int]]:
    """Return the places of new intents that repeat an earlier one's key or client order id, and those of all others."""
    seen: set[object] = set()
    aside, going = [], []
    for n, change in enumerate(changes):
        if n in left_out:
            continue
        if change.new is None or change.order is None:
            going.append(n)
            continue
        names = (change.new.key_digest, (change.route, change.order.client_order_id), change.order.intent_id)
        if seen.isdisjoint(names):
            going.append(n)
        else:
            aside.append(n)
        seen.update(names)
    return aside, going
