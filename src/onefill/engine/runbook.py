"""Incidents and their runbook: a snapshot of each soon after it opened, six steps with progress that is kept, and the end.

Every step is one commit: what it found and that it is done. After a crash between two steps the runbook goes on at the next
one; a crash inside a step leaves it to be done again, which does no harm. People decide: a step that would change something
at the venue does so only for what they name.
"""

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from onefill.core import control as controls
from onefill.core import events as ev
from onefill.core import incident as incidents
from onefill.core.answers import CancelAnswer
from onefill.core.control import Control, State
from onefill.core.errors import CallerError, InvalidField, InvariantBroken, OnefillError, RouteClosed, UnknownVenue
from onefill.core.events import RouteEvent
from onefill.core.incident import (
    Incident,
    IncidentClosed,
    Snapshot,
    Step,
    StepDone,
    StepResult,
    UnknownIncident,
)
from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.core.position import Position
from onefill.core.postmortem import document
from onefill.core.values import plain
from onefill.engine import residuals
from onefill.engine.book import Book
from onefill.engine.desk import Desk, OrderName, cancel
from onefill.engine.postmortem import facts_of
from onefill.engine.receiver import Receiver
from onefill.engine.replay import replay_route
from onefill.engine.residuals import order_line, venue_line
from onefill.engine.route import Route
from onefill.ports.clock import Clock
from onefill.ports.ledger import Committed, Ledger

_PAUSE_S = 1.0
"""Between two snapshots taken by themselves: a burst of incidents shares the next one."""
_AT_ONCE = 20
"""Incidents that get their snapshot in one commit."""
_MOST_RESULT = 4000
_MOST_TRIES = 10
_Change = tuple[tuple[RouteEvent, ...], tuple[Incident, ...]]
Freeze = Callable[[str, str, str], Awaitable[None]]


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says with a step. Only some steps use the last four."""

    by: str
    note: str = ""
    skip: bool = False
    keys: tuple[str, ...] = ()
    venue_orders: tuple[str, ...] = ()
    out: str | None = None
    times: int = 2


class Runbook:
    """The incidents of the routes of one process."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        routes: dict[str, Route],
        receivers: dict[str, list[Receiver]],
        book: Book,
        freeze: Freeze | None = None,
        wait_s: float | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._routes = routes
        self._receivers = receivers
        self._book = book
        self._freeze = freeze
        self._wait_s = wait_s
        """How long a cancel may take; ``None``: there is no venue here to cancel at."""
        self.folder = Path()
        """Where postmortems go that are given no path."""
        self._one_by_one = asyncio.Lock()
        self._steps: dict[Step, Callable[[Route, Incident, Given], Awaitable[StepResult]]] = {
            Step.FREEZE: self._do_freeze,
            Step.SNAPSHOT: self._do_snapshot,
            Step.RESOLVE_UNCERTAIN: self._do_uncertain,
            Step.CANCEL_RESIDUALS: self._do_residuals,
            Step.REPLAY: self._do_replay,
            Step.POSTMORTEM: self._do_postmortem,
        }

    # ---------------------------------------------------------------- snapshots by themselves

    def watch(self, route: Route) -> None:
        """Give every incident of a route that has none a snapshot, from now on and those from before."""
        route.spawn(route.loop.create_task(self._keep_snapshots(route)))

    async def _keep_snapshots(self, route: Route) -> None:
        changed = asyncio.Event()
        route.incidents.kept = changed.set
        while route.failure is None and not route.closing:
            changed.clear()
            wanting = [one.number for one in route.incidents.without_snapshot()]
            if not wanting:
                await changed.wait()
                continue
            made = await self.snapshot(route)
            for first in range(0, len(wanting), _AT_ONCE):
                try:
                    await self._keep_snapshot(route, wanting[first : first + _AT_ONCE], made)
                except OnefillError:
                    if route.failure is None:
                        raise
                    return  # the route is closed; whoever opens it takes the snapshot
            await asyncio.sleep(_PAUSE_S)

    async def _keep_snapshot(self, route: Route, numbers: Sequence[int], made: Snapshot) -> None:
        now = [route.incidents.numbered(number) for number in numbers]
        wanting = [one for one in now if one is not None and one.snapshot is None]
        if wanting:
            told = route.record_route_event(
                *(ev.IncidentSnapshot(one.number, made) for one in wanting),
                incidents=tuple(incidents.with_snapshot(one, made) for one in wanting),
            )
            # If the ledger refuses it, the next round finds them without one. Whoever gives up must not make memory forget it.
            await asyncio.shield(told)

    async def snapshot(self, route: Route) -> Snapshot:
        """Return how things stand on a route now."""
        at_us = self._clock.now_us()
        positions = [one for one in self._book.positions() if one.venue == route.name and one.quantity]
        live = [entry.order for entry in route.entries.values() if not entry.order.closed]
        seen = await residuals.at_venue(route, self._accounts(route))
        journal = {info.name: info.journal_entries for info in await self._ledger.routes()}
        return Snapshot(
            at_us=at_us,
            positions=incidents.listed([position_line(one) for one in positions]),
            open_here=incidents.listed([order_line(one) for one in live]),
            open_at_venue=incidents.listed([venue_line(one) for _, one in seen.orders]),
            venue_said=seen.missing or f"{len(seen.orders)} listed",
            offsets=await self._offsets(route),
            journal_sequence=journal.get(route.name, 0),
        )

    async def _offsets(self, route: Route) -> dict[str, int]:
        receivers = self._receivers.get(route.name)
        if receivers:
            return {receiver.stream: receiver.seen for receiver in receivers}
        names = ("executions", "drop_copy")
        found = {name: await self._ledger.cursor(route.name, name) for name in names}
        return {name: position for name, position in found.items() if position}

    def _accounts(self, route: Route) -> list[str]:
        """Return the accounts in which a route has traded, and those that its incidents name."""
        found = {one.account for one in self._book.positions() if one.venue == route.name}
        found |= {entry.order.intent.account for entry in route.entries.values()}
        strangers = incidents.IncidentKind.STRANGER_EXECUTION
        found |= {one.subject.rpartition(" ")[0] for one in route.incidents.open() if one.kind is strangers}
        return sorted(found)

    # ---------------------------------------------------------------- reading

    async def incidents(self, *, open_only: bool = True) -> list[Incident]:
        """Return the incidents, as they are in the ledger."""
        return await self._ledger.incidents(open_only=open_only)

    async def incident(self, name: str) -> Incident:
        """Return one incident. Raises UnknownIncident."""
        return await find_incident(self._ledger, name)

    # ---------------------------------------------------------------- steps

    async def step(self, name: str, step: Step, given: Given) -> StepResult:
        """Do a step of an incident's runbook, or skip it with a reason, and keep what came of it."""
        given = _checked(given)
        async with self._one_by_one:
            route, incident = await self._at_work(name)
            incidents.check_turn(incident, step)
            if given.skip:
                return await self._done(route, incident, step, given, f"skipped: {given.note}")
            return await self._steps[step](route, incident, given)

    async def resolve(self, name: str, by: str, reason: str, *, force: bool = False) -> Incident:
        """Close an incident. Raises InvalidField, IncidentClosed, or StepsLeft unless ``force``."""
        async with self._one_by_one:
            route, incident = await self._at_work(name)
            left = incident.next_step is not None
            reason = f"{reason.strip()} (with steps left)" if left and force and reason.strip() else reason.strip()
            by = by.strip()

            def closed(now: Incident) -> _Change:
                after = incidents.resolved(now, by, reason, self._clock.now_us(), force=force)
                return (ev.IncidentResolved(now.number, by, reason),), (after,)

            return await self._change(route, incident.number, closed)

    async def _at_work(self, name: str) -> tuple[Route, Incident]:
        kept = await self.incident(name)
        route = self._routes.get(kept.route)
        if route is None:
            raise CallerError(
                f"incident {name} is of route {kept.route!r}, which is not open here ({', '.join(self._routes) or 'none'} "
                "is). Nothing was changed"
            )
        if route.failure is not None:
            raise RouteClosed(f"route {route.name!r} is closed: {route.failure}. Nothing was changed")
        now = route.incidents.numbered(kept.number)
        if now is None:
            raise IncidentClosed(kept)
        return route, now

    async def _change(
        self, route: Route, number: int, make: Callable[[Incident], _Change], control: Control | None = None
    ) -> Incident:
        """Commit what ``make`` makes of an incident as it is then."""
        for _ in range(_MOST_TRIES):
            now = route.incidents.numbered(number)
            if now is None:
                raise IncidentClosed(await self.incident(f"{route.name}-{number}"))
            events, changed = make(now)
            outcome = await asyncio.shield(route.record_route_event(*events, incidents=changed, control=control))
            if isinstance(outcome, Committed):
                return changed[-1]
        raise InvariantBroken(f"incident {route.name}-{number}: the ledger refuses every change to it")

    async def _done(
        self,
        route: Route,
        incident: Incident,
        step: Step,
        given: Given,
        result: str,
        *,
        details: Sequence[str] = (),
        snapshot: Snapshot | None = None,
        control: Control | None = None,
    ) -> StepResult:
        """Keep that a step is done, in one commit with what it changed."""
        noted = f"{result}. {given.note}" if given.note and not given.skip else result
        noted = noted if len(noted) <= _MOST_RESULT else noted[: _MOST_RESULT - 1] + "…"
        done = StepDone(step=step, at_us=self._clock.now_us(), by=given.by, result=noted, skipped=given.skip)

        def made(now: Incident) -> _Change:
            told: list[RouteEvent] = []
            changed: list[Incident] = []
            if control is not None:
                before = route.control.state
                told.append(ev.ControlMoved(control.state, before, control.reason, control.by))
            if snapshot is not None:
                told.append(ev.IncidentSnapshot(now.number, snapshot))
                now = incidents.with_snapshot(now, snapshot)
                changed.append(now)
            told.append(ev.IncidentStepped(now.number, step, done.by, noted, done.skipped))
            changed.append(incidents.stepped(now, done))
            return tuple(told), tuple(changed)

        after = await self._change(route, incident.number, made, control)
        if control is not None:
            route.control = control
        return StepResult(incident=after, step=step, done=True, result=noted, details=tuple(details))

    async def _do_freeze(self, route: Route, incident: Incident, given: Given) -> StepResult:
        state, reason = route.control.state, given.note or f"incident {incident.name}"
        if state.rank >= State.DUP_RISK.rank:
            why = f"the route was {state} already: {route.control.reason} ({route.control.by})"
            return await self._done(route, incident, Step.FREEZE, given, why)
        if self._freeze is not None:
            await self._freeze(route.name, given.by, reason)
            told = f"the route is {route.control.state}; it was {state}"
            return await self._done(route, incident, Step.FREEZE, given, told)
        moved = controls.frozen(route.control, route.name, State.SAFE, given.by, reason, self._clock.now_us())
        told = f"the route is {State.SAFE}; it was {state}"
        return await self._done(route, incident, Step.FREEZE, given, told, control=moved)

    async def _do_snapshot(self, route: Route, incident: Incident, given: Given) -> StepResult:
        made = await self.snapshot(route)
        result = (
            f"{len(made.positions)} positions, {len(made.open_here)} open orders here; at the venue: {made.venue_said}; "
            f"journal at {made.journal_sequence}"
        )
        return await self._done(
            route, incident, Step.SNAPSHOT, given, result, details=snapshot_lines(made), snapshot=made
        )

    async def _do_uncertain(self, route: Route, incident: Incident, given: Given) -> StepResult:
        step = Step.RESOLVE_UNCERTAIN
        waiting = [
            entry.order
            for entry in route.entries.values()
            if entry.order.parked or entry.order.status is Status.UNCERTAIN
        ]
        if not waiting:
            return await self._done(route, incident, step, given, "no order of the route is uncertain")
        return StepResult(
            incident=incident,
            step=step,
            done=False,
            result=f"{len(waiting)} orders of the route are uncertain. Find out what became of each, then do this step again",
            details=tuple(map(order_line, waiting)),
            run=(
                "onefill uncertain --ledger LEDGER --venue VENUE",
                *(
                    f"onefill resolve {shlex.quote(one.key)} {said} --ledger LEDGER --venue VENUE --reason WHY"
                    for one in waiting
                    for said in ("adopt NUMBER", "not-sent")
                ),
            ),
        )

    async def _do_residuals(self, route: Route, incident: Incident, given: Given) -> StepResult:
        step, told = Step.CANCEL_RESIDUALS, list[tuple[bool, str]]()
        if (given.keys or given.venue_orders) and self._wait_s is None:
            raise CallerError("cancelling needs the venue: name it with --venue. Nothing was cancelled")
        told += await residuals.cancel_keys(route, given.keys, self._cancel)
        told += await self._cancel_numbers(route, incident, given)
        left = await residuals.find(route, self._accounts(route))
        outcomes = [text for _, text in told]
        details = [
            *outcomes,
            *(f"unintended: {venue_line(order)}: {why}" for _, order, why in left.unintended),
            *(f"to be cancelled, and not gone yet: {order_line(order)}" for order in left.to_cancel),
            *(f"live: {order_line(order)}" for order in left.intended),
        ]
        if left.missing:
            details.append(f"the venue's open orders: {left.missing}")
        clean = all(gone for gone, _ in told) and not (left.unintended or left.to_cancel or left.missing)
        if clean:
            kept = f"; {len(left.intended)} live orders stay" if left.intended else ""
            result = "; ".join([*outcomes, f"nothing unintended is live{kept}"])
            return await self._done(route, incident, step, given, result, details=details)
        run = [f"--venue VENUE --venue-order {shlex.quote(order.venue_order_id)}" for _, order, _ in left.unintended]
        run += [f"--venue VENUE --key {shlex.quote(order.key)}" for order in left.to_cancel]
        if self._wait_s is None:
            run.append("--venue VENUE")
        elif left.missing:
            run.append('--skip --note "what the desk says"')
        incident = route.incidents.numbered(incident.number) or incident
        return StepResult(
            incident=incident,
            step=step,
            done=False,
            result="something unintended is live, or not known to be gone" if not left.missing else left.missing,
            details=tuple(details),
            run=tuple(f"onefill incidents step LEDGER {incident.name} {step} {one}" for one in run),
        )

    async def _cancel_numbers(self, route: Route, incident: Incident, given: Given) -> list[tuple[bool, str]]:
        """Cancel by the venue's numbers. What is sent for an order unknown here is in the incident before it leaves."""
        if not given.venue_orders:
            return []
        seen = await residuals.at_venue(route, self._accounts(route))
        told = []
        for number in given.venue_orders:
            found = next(((account, one) for account, one in seen.orders if one.venue_order_id == number), None)
            if found is None:
                gone = not seen.missing
                why = "is not among the venue's open orders" if gone else f"not known: {seen.missing}"
                told.append((gone, f"the venue's order {number}: {why}"))
                continue
            entry = route.by_client_order_id.get(found[1].client_order_id)
            if entry is not None and not entry.order.closed and entry.order.venue_order_id in (None, number):
                told += await residuals.cancel_keys(route, (entry.order.key,), self._cancel)
                continue
            await self._note(route, incident, f"{given.by} has {venue_line(found[1])} cancelled at the venue")
            outcome = await residuals.cancel_at_venue(route, *found)
            await self._note(route, incident, outcome[1])
            told.append(outcome)
        return told

    async def _cancel(self, order: Order) -> str:
        name = OrderName(order.intent.account, order.intent.strategy, order.key)
        desk = Desk(self._ledger, self._routes, self._clock, lambda name: UnknownVenue(name, list(self._routes)))
        answer = msgspec.json.decode(await cancel(desk, name, None, self._wait_s or 0.0), type=CancelAnswer)
        return f"{answer.result}, {answer.cum_quantity} executed"

    async def _note(self, route: Route, incident: Incident, line: str) -> None:
        def made(now: Incident) -> _Change:
            return (ev.IncidentSeen(now.number, (line,)),), (incidents.noted(now, (line,)),)

        await self._change(route, incident.number, made)

    async def _do_replay(self, route: Route, incident: Incident, given: Given) -> StepResult:
        behind = ""
        for receiver in self._receivers.get(route.name, ()):
            try:
                await receiver.catch_up()
            except (OnefillError, TimeoutError, OSError) as error:
                behind = f"; the stream {receiver.stream} could not be read to its end ({error})"
        await self._book.settle(self._ledger)
        found, _ = await replay_route(self._ledger, route.name, times=given.times)
        result = (
            f"{found.entries} entries, {found.executions} executions applied, {found.duplicates} repeats dropped, "
            f"{found.quarantined} kept apart{behind}"
        )
        if found.parity:
            return await self._done(route, incident, Step.REPLAY, given, f"parity: {result}")
        return StepResult(
            incident=incident,
            step=Step.REPLAY,
            done=False,
            result=f"no parity, {found.differing} differences; the first: {found.differences[0]} ({result})",
            details=tuple(found.differences),
            run=("onefill replay LEDGER", "onefill audit verify LEDGER"),
        )

    async def _do_postmortem(self, route: Route, incident: Incident, given: Given) -> StepResult:
        path = self.folder / file_name(incident.name) if given.out is None else Path(given.out)
        text = document(await facts_of(self._ledger, incident, self._clock.now_us()))
        _write_new(path, text)
        return await self._done(route, incident, Step.POSTMORTEM, given, f"written to {path}")


def _checked(given: Given) -> Given:
    by, note = given.by.strip(), given.note.strip()
    if not by:
        raise InvalidField("by", "a step is done by somebody")
    if given.skip and not note:
        raise InvalidField("note", "a step is skipped for a reason; say it")
    if given.times < 1:
        raise InvalidField("times", f"{given.times} is not above zero")
    return msgspec.structs.replace(given, by=by, note=note)


async def find_incident(ledger: Ledger, name: str) -> Incident:
    """Return an incident of a ledger by its name. Raises UnknownIncident."""
    found = [one for one in await ledger.incidents(open_only=False) if one.name == name]
    if not found:
        raise UnknownIncident(name)
    return found[0]


def position_line(position: Position) -> str:
    """Return a position as one line."""
    price = position.average_price
    at = "" if price is None else f" at {plain(price)} on average"
    return (
        f"account {position.account}, strategy {position.strategy}, {position.instrument}: {plain(position.quantity)}{at}, "
        f"realised {plain(position.realised)}"
    )


def snapshot_lines(made: Snapshot) -> list[str]:
    """Return a snapshot as lines."""
    return [
        *(f"position: {line}" for line in made.positions),
        *(f"open here: {line}" for line in made.open_here),
        *(f"open at the venue: {line}" for line in made.open_at_venue),
        f"the venue's open orders: {made.venue_said}",
        *(f"stream {name}: at {place}" for name, place in sorted(made.offsets.items())),
        f"journal: at entry {made.journal_sequence}",
    ]


def file_name(name: str) -> str:
    """Return the name of an incident's postmortem file."""
    return f"postmortem-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.md"


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises CallerError if it is, or cannot be written."""
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError:
        raise CallerError(f"{path} is there already and was left as it is; name another file with --out") from None
    except OSError as error:
        raise CallerError(f"{path}: cannot be written: {error.strerror or error}. Nothing was changed") from None
