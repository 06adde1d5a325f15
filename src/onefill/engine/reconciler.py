"""Compares a route with its venue: on start, from time to time, when a stream came back, and when somebody asks.

A look asks the venue once for open orders, positions and the executions since the place through which both sides agreed, reads
the ledger, and lets the rules (:mod:`onefill.core.reconcile`) judge. What lasts gets an incident. One thing is then repaired,
under that incident's number: executions that the stream has passed by are taken in. All else is left to a person.

What a look costs depends on open orders, positions and on what was executed since the one before it, not on history. Only
where an execution is in doubt is the venue's stream read from its beginning.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core import reconcile as core
from onefill.core.errors import CallerError, InvalidField, OnefillError, RouteClosed
from onefill.core.events import RouteEvent
from onefill.core.incident import Finding, Incident, IncidentKind
from onefill.core.reconcile import BLIND, Comparison, Difference, Item, Looked, Report, Watch
from onefill.core.reconcile_rules import compare
from onefill.engine.book import Book
from onefill.engine.incident_book import Noted
from onefill.engine.receiver import Receiver
from onefill.engine.reconcile_reading import Blind, Reading, Readings
from onefill.engine.route import Route
from onefill.ports.ledger import Committed, CursorMove, OpeningPosition

_VENUE = "the venue"
_LOOKS_ON_COMMAND = 4


class Reconciler:
    """The comparison of one route with its venue."""

    def __init__(self, route: Route, receivers: list[Receiver], book: Book) -> None:
        self._route = route
        self._settings = route.settings.reconcile
        self._receivers = {one.stream: one for one in receivers}
        self._readings = Readings(route, receivers, book)
        self._watch = Watch()
        self._waiting: tuple[Difference, ...] = ()
        self._searched: set[Item] = set()
        """Breaks for which the venue's whole stream was searched."""
        self._again = False
        """Something was taken in: the next look shows what it came to."""
        self._blind_since_s: float | None = None
        self._looked_at_s = float("-inf")
        self._opened: set[str] = set()
        """Accounts whose holdings from before the first order are settled."""
        self._one_at_a_time = asyncio.Lock()
        self._due = asyncio.Event()

    def start(self) -> None:
        """Begin to look by itself, unless the settings say not to."""
        if self._settings.every_s is not None:
            for receiver in self._receivers.values():
                receiver.came_back = self._due.set
            self._route.spawn(self._route.loop.create_task(self._run(self._settings.every_s)))

    def meet(self, account: str) -> None:
        """An order of this account is about to be recorded: see what it holds, if that was never seen."""
        if account in self._opened or self._settings.every_s is None or not self._route.capabilities.tells_positions:
            return
        self._opened.add(account)  # asked once; if that fails, every later look tries
        self._route.spawn(self._route.loop.create_task(self._meet(account)))

    async def _meet(self, account: str) -> None:
        async with self._one_at_a_time:
            self._opened.discard(account)
            with contextlib.suppress(Blind):
                await self._open_accounts(await self._readings.read(full=False, accounts=(account,)))

    async def _run(self, every_s: float) -> None:
        route, grace_s = self._route, self._settings.grace_s
        while route.failure is None and not route.closing:
            try:
                report = await self.look()
            except RouteClosed:
                return
            pause_s = every_s
            if self._again:
                pause_s = 0.0
            elif self._waiting or report.failure is not None:
                pause_s = min(every_s, grace_s)
            self._due.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), pause_s)
                # The stream came back. It may break again at once: no more than one look in each grace window.
                await asyncio.sleep(max(self._looked_at_s + grace_s - route.loop.time(), 0))

    async def reconcile(self, *, full: bool = False) -> Report:
        """Look, and look again until nothing is in flight any more or that has lasted. ``full``: from the first execution."""
        report = await self.look(full=full)
        for _ in range(_LOOKS_ON_COMMAND - 1):
            if report.failure is not None or not (self._again or self._waiting):
                break
            if not self._again:
                await asyncio.sleep(self._settings.grace_s)
            more = await self.look(full=full)
            report = msgspec.structs.replace(
                more,
                looks=report.looks + more.looks,
                converged=tuple(dict.fromkeys((*report.converged, *more.converged))),
                taken_in=report.taken_in + more.taken_in,
            )
        return report

    async def look(self, *, full: bool = False) -> Report:
        """Compare once, open and converge incidents, and take in what was missing. A venue that cannot be asked is told of."""
        route = self._route
        async with self._one_at_a_time:
            if route.failure is not None or route.closing:
                raise RouteClosed(f"route {route.name!r} is not open: nothing can be compared")
            self._again = False
            try:
                reading, seen = await self._compared(full)
            except Blind as error:
                return await self._blind(str(error), full)
            finally:
                self._looked_at_s = route.loop.time()
            return await self._judge(reading, seen)

    async def _compared(self, full: bool) -> tuple[Reading, Comparison]:
        reading = await self._readings.read(full=full)
        await self._open_accounts(reading)
        seen = self._comparison(reading)
        if not full and self._needs_history(seen):
            reading = await self._readings.read(full=True)
            seen = self._comparison(reading)
        return reading, seen

    def _comparison(self, reading: Reading) -> Comparison:
        grace_us = self._grace_us
        capabilities = self._route.capabilities
        pairs = [reading.sides(account, self._readings.openings) for account in reading.accounts]
        return core.together(
            compare(here, there, capabilities, grace_us, history=reading.history) for here, there in pairs
        )

    @property
    def _grace_us(self) -> int:
        return round(self._settings.grace_s * 1_000_000)

    def _needs_history(self, seen: Comparison) -> bool:
        """Tell whether a difference is met that only the whole stream can settle: an execution out of its place, or none."""
        needed = False
        for one in seen.differences:
            if one.kind is IncidentKind.EXTRA_EXECUTION and one.subject.startswith(core.EXECUTION):
                needed = needed or self._route.incidents.get(*one.about) is None
            elif one.kind is IncidentKind.MISSING_EXECUTION and not one.missing and one.item in self._watch.met:
                needed = needed or one.item not in self._searched
                self._searched.add(one.item)
        return needed

    # ------------------------------------------------------------------ what comes of it

    async def _judge(self, reading: Reading, seen: Comparison) -> Report:
        route, now_us = self._route, self._route.clock.now_us()
        looked = core.looked(self._watch, seen, self._lasting(), self._grace_us, now_us)
        self._watch, self._waiting = looked.watch, looked.waiting
        self._searched = {item for item in self._searched if item in looked.watch.met}
        sighted = (core.BLIND_INCIDENT,) if reading.failure is None else ()
        names = await self._keep(looked, (*looked.converged, *sighted), now_us)
        taken = await self._take_in(looked)
        self._again = bool(taken)
        places = self._readings.next_places(reading, looked)
        await self._readings.keep_places(places)
        if reading.failure is None:
            self._blind_since_s = None
        else:
            await self._count_blindness(reading.failure)
        return Report(
            route=route.name,
            at_us=now_us,
            looks=1,
            full=reading.history,
            failure=reading.failure,
            accounts=tuple(reading.accounts),
            orders_here=len(reading.orders),
            orders_there=reading.orders_there,
            executions=reading.executions,
            positions=reading.positions_there,
            in_flight=tuple(one.summary for one in looked.waiting),
            breaks=tuple(one.name for one in self._lasting()),
            converged=names,
            taken_in=taken,
        )

    def _lasting(self) -> list[Incident]:
        return [one for one in self._route.incidents.open() if core.is_lasting(one, self._receivers)]

    async def _keep(self, looked: Looked, converged: Iterable[core.Subject], now_us: int) -> tuple[str, ...]:
        """Make it durable that breaks were found and that others are gone. Returns the names of those that are gone."""
        book = self._route.incidents
        gone: list[Incident] = []
        changed, told = book.note(looked.findings, now_us)
        for kind, subject in converged:
            one, word = book.converge(kind, subject, now_us)
            gone += one
            changed, told = changed + one, told + word
        await self._record((changed, told))
        return tuple(one.name for one in gone)

    async def _record(self, noted: Noted) -> None:
        changed, told = noted
        if told:
            outcome = await asyncio.shield(self._route.record_route_event(*told, incidents=changed))
            if not isinstance(outcome, Committed):
                raise OnefillError(f"the ledger refused an incident: {outcome}")

    async def _take_in(self, looked: Looked) -> int:
        """Take in the executions that are missing here, each under the incident about it."""
        taken = 0
        for one in looked.breaks:
            incident = self._route.incidents.get(*one.about)
            if incident is None:
                continue
            for told in sorted(one.missing, key=lambda told: told.report.position):
                taken += await self._receivers[told.stream].take_again(told.report, incident.number)
        return taken

    # ------------------------------------------------------------------------ blindness

    async def _blind(self, why: str, full: bool) -> Report:
        await self._count_blindness(why)
        return Report(
            route=self._route.name,
            at_us=self._route.clock.now_us(),
            looks=1,
            full=full,
            failure=why,
            in_flight=tuple(one.summary for one in self._waiting),
            breaks=tuple(one.name for one in self._lasting()),
        )

    async def _count_blindness(self, why: str) -> None:
        """Note that the venue could not be compared with; once that has lasted, in an incident."""
        route, now_s = self._route, self._route.loop.time()
        if self._blind_since_s is None:
            self._blind_since_s = now_s
        blind_s = now_s - self._blind_since_s
        known = route.incidents.get(*core.BLIND_INCIDENT)
        if blind_s < self._settings.blind_after_s or (known is not None and known.converged_at_us is None):
            return
        now_us = route.clock.now_us()
        found = Finding(
            kind=IncidentKind.STREAM,
            subject=BLIND,
            summary=f"the venue could not be compared with for {blind_s:.0f} s: breaks would go unseen",
            evidence=(f"{_VENUE}, asked until {now_us}: {why}",),
            first_seen_at_us=now_us - round(blind_s * 1_000_000),
        )
        await self._record(route.incidents.note((found,), now_us))

    # --------------------------------------------------------------- opening positions

    async def _open_accounts(self, reading: Reading) -> None:
        """Record what accounts held before anything was executed for them, once. Later nobody but a person says so."""
        for account in reading.accounts:
            holds = reading.holds_there.get(account)
            if account in self._opened or holds is None:
                continue
            route, marker = self._route, f"opened {account}"
            if not await route.ledger.cursor(route.name, marker):
                move = CursorMove(marker, 0, 1)
                held = {name: amount for name, amount in sorted(holds.items()) if amount}
                if held and not reading.has_executions(account):
                    await self._open(account, held, "the venue", "held before the first execution", move)
                else:
                    await route.ledger.move_cursor(route.name, route.lease.epoch, move)
            self._opened.add(account)

    async def _open(
        self, account: str, held: dict[str, Decimal], by: str, reason: str, move: CursorMove | None = None
    ) -> None:
        route = self._route
        opening, told = [], list[RouteEvent]()
        for instrument, quantity in held.items():
            earlier = self._readings.openings.get((account, instrument))
            number = 1 if earlier is None else earlier.number + 1
            opening.append(OpeningPosition(account=account, instrument=instrument, quantity=quantity, number=number))
            told.append(ev.PositionOpened(account, instrument, quantity, by, reason))
        outcome = await asyncio.shield(route.record_route_event(*told, cursor=move, opening=tuple(opening)))
        if not isinstance(outcome, Committed):
            raise OnefillError(f"the ledger refused an opening position: {outcome}")
        self._readings.openings.update({(one.account, one.instrument): one for one in opening})
        if route.risk is not None:
            route.risk.opened(opening)

    async def accept_position(self, account: str, instrument: str, *, by: str, reason: str) -> OpeningPosition:
        """Take the venue's word on a position, as a person wants it who knows why: the opening position is corrected by it.

        Needs an open incident about the position, and a moment in which nothing of it is executed. Raises
        :class:`~onefill.core.errors.CallerError`, :class:`~onefill.core.errors.InvalidField`, VenueError.
        """
        for field, text in (("by", by), ("reason", reason)):
            if not text.strip():
                raise InvalidField(field, "a position is accepted by somebody, with a reason")
        subject = core.position_subject(account, instrument)
        async with self._one_at_a_time:
            incident = self._route.incidents.get(IncidentKind.POSITION, subject)
            if incident is None:
                raise CallerError(
                    f"there is no open incident about the position of {subject} on route {self._route.name!r}. "
                    "Nothing was changed"
                )
            _, seen = await self._compared(full=False)
            found = next((one for one in seen.differences if one.about == (IncidentKind.POSITION, subject)), None)
            if found is None:
                raise CallerError(f"the position of {subject} does not differ now. Nothing was changed")
            if found.amount is None:
                raise CallerError(
                    f"executions in {subject} are under way, or were a moment ago: what differs beside them is not certain. "
                    "Nothing was changed; try again when it is quiet"
                )
            earlier = self._readings.openings.get((account, instrument))
            held = found.amount if earlier is None else earlier.quantity + found.amount
            why = f"{reason} (incident {incident.name})"
            await self._open(account, {instrument: held}, by, why)
            return self._readings.openings[account, instrument]
