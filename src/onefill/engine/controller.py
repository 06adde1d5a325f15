"""Watches what a route goes through, and puts it into the control state that this calls for, durably.

What is counted is read off once per ``sample_s`` into a ring that covers two windows, so that the work does not grow with
history. A more shut state is in force at once and then made durable; a more open one is durable first.
"""

import asyncio
import functools
import math
from collections import deque
from collections.abc import Iterable

import msgspec

from onefill.core import control as controls
from onefill.core import events as ev
from onefill.core import split_brain
from onefill.core.control import ITSELF, Control, Readings, State, Thresholds
from onefill.core.errors import Fenced, LedgerError, OnefillError, RouteClosed
from onefill.core.incident import BREAKS, Finding, Incident, IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.metrics import Histogram
from onefill.core.split_brain import HoldersSuspected
from onefill.engine.receiver import Receiver
from onefill.engine.route import Pending, Route
from onefill.ports.ledger import Committed, CursorMove

_MOST_SAMPLES = 600
"""Samples that the ring holds at most, for windows of any length."""
_ANOMALIES = frozenset(
    {
        IncidentKind.RESURRECTED,
        IncidentKind.FOREIGN_ORDER,
        IncidentKind.FOREIGN_EXECUTION,
        IncidentKind.OVERFILL,
        IncidentKind.CONTRADICTION,
    }
)
_SLOWEST_US = 60_000_000
"""What a reply is taken to have lasted that came after the histogram's last bound."""


class ControlPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of a gateway's routes: those of a route by its name, or else the common ones."""

    common: Thresholds = Thresholds()
    routes: dict[str, Thresholds] = {}

    def of(self, route: str) -> Thresholds:
        """Return a route's thresholds. ``VENUE`` counts for ``VENUE:ACCOUNT`` too."""
        return self.routes.get(route) or self.routes.get(route.partition(":")[0]) or self.common


BY_HAND = ControlPlan(common=Thresholds(automatic=False))
"""Only people move a route."""


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far one of a route's execution streams is.

    ``position``: the last one taken in; ``waiting``: whether everything that came was taken in and the next is awaited.
    """

    stream: str
    position: int
    waiting: bool


class RouteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a route is now. Times in µs since 1970.

    ``failure``: why it is SAFE in memory alone: the ledger could not be written, or belongs to somebody else.
    ``automatic`` and ``readings``: ``None`` where no gateway runs.
    ``lag_p99_s``: the time from an execution at the venue to its being taken in here, within the window.
    """

    route: str
    state: State
    since_us: int
    reason: str
    by: str
    held: bool
    automatic: bool | None
    failure: str | None
    readings: Readings | None
    excused: dict[str, int]
    uncertain: int
    open_orders: int
    open_incidents: int
    streams: tuple[StreamStatus, ...]
    lag_p99_s: float | None
    epoch: int
    lease_left_s: float | None
    """``None`` where the route is not lent for a time."""


class NotHeld(msgspec.Struct, frozen=True, kw_only=True):
    """A route that another node holds. ``holder``: as of the last look; ``trouble``: why it was not taken here, or given up."""

    route: str
    holder: str | None
    trouble: str | None


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway is now. ``state`` is that of its most shut route; ``elsewhere``: the routes that it does not hold."""

    at_us: int
    state: State
    routes: tuple[RouteStatus, ...]
    elsewhere: tuple[NotHeld, ...] = ()
    standby: str | None = None
    """Of the ledger's database: ``there``, ``lost`` or ``unseen``; ``None`` where commits wait for none, or nobody knows."""


class _Sample(msgspec.Struct, frozen=True, gc=False):
    """Everything that only grows, as it was at a moment of the loop's clock, and how many orders were uncertain."""

    at_s: float
    sent: int
    resends: int
    ack_timeouts: int
    duplicates: int
    reconnects: int
    id_collisions: int
    uncertain: int
    ack: tuple[int, ...]
    lag: tuple[int, ...]


class Controller:
    """The control state of one route."""

    def __init__(self, route: Route, receivers: Iterable[Receiver] = ()) -> None:
        self.route = route
        self._receivers = list(receivers)
        self._samples: deque[_Sample] = deque()
        self._calm_since_us: int | None = None
        self._opening = asyncio.Lock()
        """Held while a person opens or shuts the route: nothing else moves it meanwhile."""
        self._begin()

    @property
    def thresholds(self) -> Thresholds:
        """What the route is judged by."""
        return self.route.gate.thresholds

    def start(self) -> None:
        """Begin to watch, if the route moves by itself."""
        if self.thresholds.automatic:
            self.sample()
            self.route.spawn(self.route.loop.create_task(self._watch()))

    async def _watch(self) -> None:
        route = self.route
        while route.failure is None and not route.closing:
            await asyncio.sleep(self.thresholds.sample_s)
            self.sample()

    # ------------------------------------------------------------------ reading

    def sample(self) -> None:
        """Take the readings and move the route if they call for it."""
        route = self.route
        if route.failure is not None or route.closing or self._opening.locked():
            return
        now_us = route.clock.now_us()
        now = self._sample()
        self._keep(now)
        readings = self._readings(now)
        if controls.calm(readings, self.thresholds):
            self._calm_since_us = now_us if self._calm_since_us is None else min(self._calm_since_us, now_us)
        else:
            self._calm_since_us = None
        readings = msgspec.structs.replace(readings, calm_since_us=self._calm_since_us)
        route.control = controls.still_excused(route.control, readings)
        move = controls.judge(route.control, readings, self.thresholds, now_us)
        if move is not None:
            state, reason = move
            self._move(controls.moved(route.control, state, reason, ITSELF, now_us), readings)

    def readings(self) -> Readings:
        """Return what was counted within the window up to now, and what is true now."""
        return self._readings(self._sample())

    def _readings(self, now: _Sample) -> Readings:
        route = self.route
        window_s = self.thresholds.window_s
        then, before = self._at(now.at_s - window_s), self._at(now.at_s - 2 * window_s)
        found = [one for one in route.incidents.open() if one.converged_at_us is None]
        kinds = [one.kind for one in found]
        now_us = route.clock.now_us()
        ages_s = [
            (now_us - (one.opened_at_us if one.first_seen_at_us is None else one.first_seen_at_us)) / 1_000_000
            for one in found
            if one.kind in BREAKS or one.kind is IncidentKind.STREAM
        ]
        duplicates = now.duplicates - then.duplicates
        return Readings(
            sent=now.sent - then.sent,
            new_orders=now.sent - now.resends - then.sent + then.resends,
            ack_timeouts=now.ack_timeouts - then.ack_timeouts,
            duplicates=duplicates,
            duplicates_grew=duplicates - (then.duplicates - before.duplicates),
            reconnects=now.reconnects - then.reconnects,
            ack_p99_us=int(_p99(route.measures.ack_us, now.ack, then.ack) or 0),
            id_collisions=now.id_collisions - then.id_collisions,
            uncertain=now.uncertain,
            uncertain_grew=now.uncertain - then.uncertain,
            breaks=sum(age >= self.thresholds.break_after_s for age in ages_s),
            oldest_break_s=max(ages_s, default=0.0),
            two_orders=kinds.count(IncidentKind.TWO_ORDERS),
            anomalies=sum(kind in _ANOMALIES for kind in kinds),
            holders=kinds.count(IncidentKind.SPLIT_BRAIN) + isinstance(route.failure, Fenced),
            ledger=kinds.count(IncidentKind.LEDGER)
            + (isinstance(route.failure, LedgerError) and not isinstance(route.failure, Fenced)),
            calm_since_us=self._calm_since_us,
        )

    def _sample(self) -> _Sample:
        route = self.route
        counts, measures = route.counts, route.measures
        return _Sample(
            at_s=route.loop.time(),
            sent=counts.copies_sent,
            resends=counts.resends,
            ack_timeouts=counts.unknown_outcomes,
            duplicates=counts.duplicate_replies,
            reconnects=counts.stream_reconnects,
            id_collisions=counts.id_collisions,
            uncertain=self._uncertain(),
            ack=tuple(measures.ack_us.counts),
            lag=tuple(measures.lag_us.counts),
        )

    def _uncertain(self) -> int:
        """Return how many orders' fate has been open for a while."""
        before_us = self.route.clock.now_us() - round(self.thresholds.uncertain_after_s * 1_000_000)
        count = 0
        for entry in self.route.entries.values():
            order = entry.order
            if order.parked or (order.status is Status.UNCERTAIN and order.copies[0].claimed_at_us <= before_us):
                count += 1
        return count

    def _keep(self, now: _Sample) -> None:
        apart_s = 2 * self.thresholds.window_s / _MOST_SAMPLES
        if now.at_s - self._samples[-1].at_s >= apart_s:
            self._samples.append(now)
        while len(self._samples) > 1 and self._samples[1].at_s <= now.at_s - 2 * self.thresholds.window_s:
            self._samples.popleft()

    def _at(self, at_s: float) -> _Sample:
        """Return the last sample from then or earlier, or else the first one."""
        found = self._samples[0]
        for one in self._samples:
            if one.at_s > at_s:
                break
            found = one
        return found

    def _begin(self) -> None:
        """Count from now on."""
        self._samples.clear()
        self._samples.append(self._sample())
        self._calm_since_us = None

    # ------------------------------------------------------------------- moving

    def _move(self, control: Control, readings: Readings) -> Pending:
        """Put the route into a state, in memory at once, and hand it to the ledger with the incident that belongs to it."""
        found = controls.finding(control, readings, self.thresholds)
        pending = self._record(control, () if found is None else (found,))
        self._take(control)
        return pending

    def suspect(self, told: HoldersSuspected, move: CursorMove) -> Pending:
        """Put the route into SAFE, also where it does not move by itself: it may have a second holder."""
        route = self.route
        found = (split_brain.finding(route.name, told),)
        if route.control.state is State.SAFE:
            return route.record_route_event(told, findings=found, cursor=move)
        reason = split_brain.reason(told)
        control = controls.moved(route.control, State.SAFE, reason, ITSELF, route.clock.now_us())
        pending = self._record(control, found, told=(told,), cursor=move)
        self._take(control)
        return pending

    def _record(
        self,
        control: Control,
        findings: tuple[Finding, ...],
        told: tuple[ev.RouteEvent, ...] = (),
        cursor: CursorMove | None = None,
    ) -> Pending:
        route = self.route
        event = ev.ControlMoved(control.state, route.control.state, control.reason, control.by)
        told = (event, *told)
        gone: tuple[Incident, ...] = ()
        if control.state.rank < State.DUP_RISK.rank:
            gone, noted = route.incidents.converge(IncidentKind.CONTROL, "", route.clock.now_us())
            told = (*told, *noted)
        pending = route.record_route_event(*told, findings=findings, incidents=gone, control=control, cursor=cursor)
        pending.add_done_callback(functools.partial(self._recorded, control))
        return pending

    def _take(self, control: Control) -> None:
        route = self.route
        if control.state is not route.control.state:
            route.gate.pace.begin()
        route.control = control
        route.gate.rouse(route.entries.values())

    def _recorded(self, control: Control, done: Pending) -> None:
        if not done.cancelled() and done.exception() is None and not isinstance(done.result(), Committed):
            self.route.fail(
                RouteClosed(
                    f"the ledger has another control state of route {self.route.name!r} than version {control.version}"
                )
            )

    @property
    def control(self) -> Control:
        """The control state that is in force."""
        return self.route.control

    def may_freeze(self, state: State) -> bool:
        """Tell whether a freeze can be recorded, and would not open the route."""
        return self.route.failure is None and state.rank >= self.route.control.state.rank

    async def freeze(self, state: State, by: str, reason: str) -> Control:
        """Shut the route, as a person wants it. Returns once it is durable."""
        route = self.route
        async with self._opening:
            self.check()
            control = controls.frozen(route.control, route.name, state, by, reason, route.clock.now_us())
            outcome = await asyncio.shield(self._move(control, self.readings()))
            if not isinstance(outcome, Committed):
                self.check()  # raises: the route is shut in memory, and nothing of it is durable
        return control

    def may_release(self, by: str, reason: str, *, force: bool) -> Control | None:
        """Return the control after a release, ``None`` if the route is open. Raises what :func:`released` raises."""
        route = self.route
        self.check()
        return controls.released(
            route.control,
            route.name,
            self.readings(),
            self.thresholds,
            by,
            reason,
            route.clock.now_us(),
            force=force,
        )

    async def release(self, by: str, reason: str, *, force: bool) -> Control:
        """Open the route, as a person wants it, once that is durable. What was counted before counts no more."""
        # A caller who gives up must not keep what is durable by then from being in force.
        return await asyncio.shield(self.route.loop.create_task(self._release(by, reason, force=force)))

    async def _release(self, by: str, reason: str, *, force: bool) -> Control:
        async with self._opening:
            control = self.may_release(by, reason, force=force)
            if control is not None:
                if isinstance(await self._record(control, ()), Committed):
                    self._begin()
                    self._take(control)
                else:
                    self.check()
        return self.route.control

    def check(self) -> None:
        """Raise unless the control state can be written."""
        route = self.route
        if route.failure is not None:
            raise RouteClosed(
                f"route {route.name!r} is SAFE in memory, and that cannot be recorded or released here: {route.failure}. "
                "Open the ledger again to recover"
            ) from route.failure
        if route.closing:
            raise RouteClosed(f"route {route.name!r} is being closed. Nothing was changed")

    # ------------------------------------------------------------------ telling

    def status(self) -> RouteStatus:
        """Return how the route is now."""
        route, control, now = self.route, self.route.control, self._sample()
        failed = route.failure
        then = self._at(now.at_s - self.thresholds.window_s)
        lag_us = _p99(route.measures.lag_us, now.lag, then.lag)
        lent = math.isfinite(route.lease_until_s)
        return RouteStatus(
            route=route.name,
            state=control.state if failed is None else State.SAFE,
            since_us=control.since_us,
            reason=control.reason if failed is None else str(failed),
            by=control.by if failed is None else ITSELF,
            held=control.held,
            automatic=self.thresholds.automatic,
            failure=None if failed is None else _named(failed),
            readings=self._readings(now),
            excused=control.excused,
            uncertain=sum(entry.order.status is Status.UNCERTAIN for entry in route.entries.values()),
            open_orders=sum(not entry.order.closed for entry in route.entries.values()),
            open_incidents=len(route.incidents.open()),
            streams=tuple(
                StreamStatus(stream=one.stream, position=one.seen, waiting=one.waiting) for one in self._receivers
            ),
            lag_p99_s=None if lag_us is None else lag_us / 1_000_000,
            epoch=route.lease.epoch,
            lease_left_s=max(route.lease_until_s - now.at_s, 0.0) if lent else None,
        )


def _named(error: OnefillError) -> str:
    return f"{type(error).__name__}: {error}"


def _p99(histogram: Histogram, now: tuple[int, ...], then: tuple[int, ...]) -> float | None:
    """Return what 99 of 100 values between two states of a histogram were at most; ``None`` if there were none."""
    within = Histogram(histogram.bounds)
    within.counts = [after - before for after, before in zip(now, then, strict=True)]
    if not within.count:
        return None
    return min(within.quantile(0.99), _SLOWEST_US)
