"""Takes in a venue's callbacks: verified, known by an id, applied once through what takes in the execution stream.

A callback's effect, its journal entry and the note that it was taken in are one commit. Where it tells several reports they are
applied in turn, and the note goes in with the last: a process that dies in between leaves a callback that comes again, whose
first reports are then known. An execution counts once, whether a callback, the stream or a drop copy tells of it first.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from onefill.core import metrics
from onefill.core.errors import (
    CallbackContradicts,
    CallbackNotHere,
    CallbackUnreadable,
    Fenced,
    InvalidField,
    LedgerError,
    NotVerified,
    RouteClosed,
)
from onefill.core.executions import Taken
from onefill.core.inbox import CallbackNews, Headers, Receipt, Verifier, digest, event_id_of, verify
from onefill.core.incident import Finding, IncidentKind
from onefill.core.messages import ExecutionReport
from onefill.core.outside_events import CallbackTaken
from onefill.core.position import CALLBACK
from onefill.engine.entry import Entry
from onefill.engine.intake import Intake, sound
from onefill.engine.route import Pending, Route
from onefill.engine.sender import start_driver
from onefill.ports.ledger import Committed, EventKnown, InboxEvent, Outcome
from onefill.ports.venue import CallbackReader

_RESULTS: dict[type[BaseException], str] = {
    CallbackUnreadable: metrics.UNREADABLE,
    CallbackContradicts: metrics.CONTRADICTORY,
}
_MOST_TRIES = 10
"""How often a callback is applied anew after the ledger refused it, before it is left to come again."""


class _Note(NamedTuple):
    """That a callback was taken in: for the ledger, and for the journal."""

    row: InboxEvent
    event: CallbackTaken


class Inbox(Intake):
    """The callbacks of one route."""

    def __init__(self, route: Route, verifier: Verifier) -> None:
        """Raises :class:`InvalidField` if the route's venue tells nothing by callbacks."""
        if not isinstance(route.venue, CallbackReader):
            raise InvalidField(
                "callbacks", f"the adapter of venue {route.name!r} reads none; its execution stream tells the same"
            )
        super().__init__(route, CALLBACK)
        self._reader: CallbackReader = route.venue
        self.verifier = verifier
        """Replaced when keys are."""
        self._turn = asyncio.Lock()
        """One callback at a time changes orders in memory; several wait for the ledger together."""
        self._in_hand: dict[str, asyncio.Event] = {}
        """By event id: a repeat waits for what becomes of the first."""
        self._tasks: set[asyncio.Task[Receipt]] = set()
        self._pending: list[Pending] = []
        self._note: _Note | None = None
        """Goes in with the next change."""

    async def take(self, headers: Headers, body: bytes) -> Receipt:
        """See :meth:`onefill.engine.outside.Outside.take_callback`."""
        route = self._route
        try:
            verified = verify(self.verifier, headers, body, route.clock.now_us())
        except NotVerified:
            route.measures.callbacks[metrics.UNVERIFIED] += 1
            raise
        # Whoever sends may hang up. What was begun is finished, so that memory hears of it.
        work = route.loop.create_task(self._taken_in(verified.event_id, body))
        self._tasks.add(work)
        work.add_done_callback(self._ended)
        return await asyncio.shield(work)

    def _ended(self, work: "asyncio.Task[Receipt]") -> None:
        self._tasks.discard(work)
        if work.cancelled():
            return
        error = work.exception()  # whoever sent may be gone: it is no news to the loop
        if error is None:
            result = metrics.REPEATED if work.result().repeated else metrics.TAKEN
        else:
            result = _RESULTS.get(type(error), metrics.SENT_AWAY)
        self._route.measures.callbacks[result] += 1

    def _replayed(self, count: int = 1) -> None:
        """Not counted: RDR is about replays of a stream, and what callbacks repeat is no news of it."""

    async def close(self) -> None:
        """Wait until what was begun has its end. The route takes nothing new any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _taken_in(self, told_id: str | None, body: bytes) -> Receipt:
        self._admit()
        try:
            news, event_id = await self._read(told_id, body)
            while (before := self._in_hand.get(event_id)) is not None:
                await before.wait()
            ended = self._in_hand[event_id] = asyncio.Event()
            try:
                return await self._once(news, event_id, digest(body))
            finally:
                del self._in_hand[event_id]
                ended.set()
        except (LedgerError, RouteClosed) as error:
            raise CallbackNotHere(self._route.name, str(error)) from error

    def _admit(self) -> None:
        """Raise unless this process has the route: what it cannot keep is to come again."""
        try:
            self._route.admit()
        except RouteClosed as error:
            raise CallbackNotHere(self._route.name, str(error)) from error

    async def _once(self, news: CallbackNews, event_id: str, made: bytes) -> Receipt:
        """Take in a callback that is genuine, however often the ledger wants to be read again before."""
        row = InboxEvent(source=CALLBACK, event_id=event_id, digest=made)
        note = _Note(row, CallbackTaken(CALLBACK, event_id, made.hex(), len(news.reports)))
        for _ in range(_MOST_TRIES):
            known = await self._route.ledger.inbox_event(self._route.name, CALLBACK, event_id)
            if known is not None:
                return await self._repeated(known.digest, row)
            outcomes = await self._applied(news.reports[:-1], None)
            if _all_durable(outcomes):  # before the last, with which it counts as taken in
                outcomes = await self._applied(news.reports[-1:], note)
                if _all_durable(outcomes):
                    return Receipt(event_id=event_id, repeated=False, reports=len(news.reports))
            await self._read_refused()
            for one in outcomes:
                if isinstance(one, EventKnown):
                    return await self._repeated(one.digest, row)
        raise CallbackNotHere(self._route.name, "the orders that it tells of changed too often meanwhile")

    async def _read(self, told_id: str | None, body: bytes) -> tuple[CallbackNews, str]:
        """Return what a callback tells and what it is known by; what cannot be read needs an incident."""
        try:
            news = self._reader.read_callback(body)
            return news, event_id_of(told_id, news.event_id, body)
        except CallbackUnreadable as error:
            subject = told_id or f"sha256:{digest(body).hex()[:16]}"
            await self._noted(subject, f"callback {subject}: cannot be read", str(error))
            raise

    async def _applied(self, reports: tuple[ExecutionReport, ...], note: _Note | None) -> list[Outcome]:
        """Apply reports, the note of the callback with them, and return what the ledger says to each change."""
        async with self._turn:
            self._admit()
            self._pending, self._note = [], note
            for report in reports:
                await self._take_in(sound(report.legible()))
            if note is not None and self._note is not None:  # nothing was changed with which it could go in
                self._note = None
                self._pending.append(self._route.record_route_event(note.event, inbox=note.row))
            pending = self._pending
        return [await asyncio.shield(one) for one in pending]

    def _keep(self, entry: Entry | None, report: ExecutionReport, taken: Taken) -> None:
        note, self._note = self._note, None
        if note is None:
            self._pending.append(self._record(entry, taken, None))
        else:
            self._pending.append(self._record(entry, taken, None, told=(note.event,), inbox=note.row))

    def _read_again(self) -> None:
        """What was refused is seen by the outcome."""

    async def _read_refused(self) -> None:
        await self._drain()
        while self._refused:
            entry = next(iter(self._refused))
            del self._refused[entry]
            await self._route.reload(entry)
            start_driver(self._route, entry)

    async def _repeated(self, known: bytes, row: InboxEvent) -> Receipt:
        """Return the receipt of a repeat. Raises :class:`CallbackContradicts`, with an incident, if its body is another."""
        if known == row.digest:
            return Receipt(event_id=row.event_id, repeated=True)
        told = f"first {known.hex()}, now {row.digest.hex()} (SHA-256 of the bodies)"
        await self._noted(row.event_id, f"callback {row.event_id}: came again with another body", told)
        raise CallbackContradicts(row.event_id)

    async def _noted(self, subject: str, summary: str, evidence: str) -> None:
        """Have an incident about a callback, durably, unless the very same is known."""
        route = self._route
        found = Finding(
            kind=IncidentKind.CONTRADICTION, subject=f"callback {subject}", summary=summary, evidence=(evidence,)
        )
        changed, told = route.incidents.note((found,), route.clock.now_us())
        if told:
            try:
                await asyncio.shield(route.record_route_event(*told, incidents=changed))
            except Fenced as error:
                raise CallbackNotHere(route.name, str(error)) from error


def _all_durable(outcomes: Iterable[Outcome]) -> bool:
    return all(isinstance(one, Committed) for one in outcomes)
