"""What watches over a gateway's routes, and what operations do with it: control states, reconciliation, incidents, replay.

The part of the gateway that people and not strategies call. Each of its subjects has a module of its own; this one only puts
them together.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from onefill.core import split_brain
from onefill.core.control import Control, State, worst
from onefill.core.errors import InvalidField, OnefillError, UnknownVenue
from onefill.core.incident import Incident, Step, StepResult
from onefill.core.reconcile import Report
from onefill.core.values import choice
from onefill.engine.book import Book
from onefill.engine.controller import BY_HAND, Controller, ControlPlan, GatewayStatus, NotHeld
from onefill.engine.event_stream import EventStream
from onefill.engine.receiver import Receiver
from onefill.engine.reconciler import Reconciler
from onefill.engine.relay import Begin, Relay, Subscriber
from onefill.engine.route import Route
from onefill.engine.runbook import Given, Runbook
from onefill.engine.settings import GatewaySettings
from onefill.engine.subscriptions import Resume, Rewind, SubscriberStatus, Subscriptions
from onefill.engine.suspicions import Suspicions
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger, OpeningPosition


class Oversight:
    """See the module's text."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        settings: GatewaySettings,
        control: ControlPlan = BY_HAND,
        subscribers: Iterable[Subscriber] = (),
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._routes: dict[str, Route] = {}
        self._receivers: dict[str, list[Receiver]] = {}
        self._book = Book()
        self._control = control
        self._controllers: dict[str, Controller] = {}
        self._reconcilers: dict[str, Reconciler] = {}
        self._subscriptions = Subscriptions(subscribers)
        self._look_every_s = split_brain.LOOK_EVERY_S
        """The pause between looks for suspicions of a second holder."""
        self._runbook = Runbook(
            ledger, clock, self._routes, self._receivers, self._book, self._freeze_for, settings.answer_wait_s
        )

    def _missing(self, route: str) -> OnefillError:
        """Return what is told of a route that is not open here."""
        return UnknownVenue(route, list(self._routes))

    def _guard(self, route: Route) -> None:
        """Give a route its thresholds, before anything of it is set going."""
        route.gate.thresholds = self._control.of(route.name)

    async def _oversee(self, route: Route) -> None:
        """Begin to watch over a route whose orders were taken up and whose streams are followed."""
        controller = self._controllers[route.name] = Controller(route, self._receivers[route.name])
        controller.start()
        Suspicions(controller, self._look_every_s).start()
        self._runbook.watch(route)
        reconciler = Reconciler(route, self._receivers[route.name], self._book)
        self._reconcilers[route.name] = reconciler
        route.meet = reconciler.meet
        reconciler.start()
        self._subscriptions.start(route)

    # ------------------------------------------------------------ control states

    def status(self) -> GatewayStatus:
        """Return how every route is now, and the state of the most shut one."""
        routes = tuple(controller.status() for controller in self._controllers.values())
        standby = getattr(self._ledger, "standby", None)  # not every ledger has one
        return GatewayStatus(
            at_us=self._clock.now_us(),
            state=worst([one.state for one in routes]),
            routes=routes,
            elsewhere=self._not_held(),
            standby=None if standby in (None, "not wanted") else str(standby),
        )

    def _not_held(self) -> tuple[NotHeld, ...]:
        """Return the routes that other nodes hold."""
        return ()

    async def freeze(
        self, route: str | None = None, *, by: str, reason: str, state: State = State.SAFE
    ) -> dict[str, Control]:
        """Shut a route, or all of them, as a person wants it; durably, with an incident where it is DUP_RISK or SAFE.

        A route that is shut more stays as it is where all are meant. Returns the control states after it. Raises
        :class:`InvalidField` and :class:`UnknownVenue`, and :class:`RouteClosed` where it cannot be recorded.
        """
        wanted = self._controllers_of(route)
        if route is None:
            wanted = [one for one in wanted if one.may_freeze(state)]
        for controller in wanted:
            await controller.freeze(state, by, reason)
        return {name: controller.control for name, controller in self._controllers.items() if controller in wanted}

    async def release(
        self, route: str | None = None, *, by: str, reason: str, force: bool = False
    ) -> dict[str, Control]:
        """Open a route, or all of them, as a person wants it: from SAFE and DUP_RISK to DEGRADED, from there to NORMAL.

        Raises :class:`ReleaseRefused` while what shut a route holds, unless ``force``; then nothing was changed anywhere.
        """
        wanted = self._controllers_of(route)
        for controller in wanted:
            controller.may_release(by, reason, force=force)
        for controller in wanted:
            await controller.release(by, reason, force=force)
        return {name: controller.control for name, controller in self._controllers.items() if controller in wanted}

    def _controllers_of(self, route: str | None) -> list[Controller]:
        if route is None:
            return list(self._controllers.values())
        if route not in self._controllers:
            raise self._missing(route)
        return [self._controllers[route]]

    # ------------------------------------------------------------ reconciliation

    async def reconcile(self, route: str | None = None, *, full: bool = False) -> list[Report]:
        """Compare a route, or all of them, with the venue, until nothing is in flight any more or that has lasted.

        ``full``: all executions, from the first on. What lasts gets an incident; executions that are missing here are taken in
        under it. A venue that cannot be asked is told of in the report. Raises :class:`UnknownVenue` and
        :class:`RouteClosed`.
        """
        return [await self._reconciler(name).reconcile(full=full) for name in self._named(route)]

    async def accept_position(
        self, route: str, account: str, instrument: str, *, by: str, reason: str
    ) -> OpeningPosition:
        """Take the venue's word on a position that an open incident is about: the opening position is corrected by it.

        Returns the opening position that counts from now on. Raises :class:`UnknownVenue`, :class:`InvalidField`, and
        CallerError where there is no such incident, nothing differs, or executions are under way.
        """
        return await self._reconciler(route).accept_position(account, instrument, by=by, reason=reason)

    def _named(self, route: str | None) -> list[str]:
        return list(self._reconcilers) if route is None else [route]

    def _reconciler(self, route: str) -> Reconciler:
        if route not in self._reconcilers:
            raise self._missing(route)
        return self._reconcilers[route]

    # -------------------------------------------------------------- subscribers

    def relays(self) -> list[Relay]:
        """Return what tells the subscribers, by route and subscriber."""
        return self._subscriptions.relays()

    def events(
        self,
        *,
        subscriber: str | None = None,
        after: int | None = None,
        route: str | None = None,
        kinds: Collection[str] = (),
        begin: Begin = Begin.FIRST,
        by_hand: bool = False,
        keep_every_s: float = 0.2,
    ) -> EventStream:
        """Return an asynchronous iterator over a route's events, in the journal's order, that waits for new ones.

        With ``subscriber``, a name of its own, it goes on behind the last event that this name had taken: an event counts as
        taken when the next one is asked for, or, ``by_hand``, by ``ack()``. The ledger notes that every ``keep_every_s`` (0:
        each time, which is a commit), before it waits, and at the end; after a crash the rest comes once more, with the same
        ids. A name that is new begins at the first event, or at the next one (``begin``). ``after``: begin behind this entry
        instead. ``kinds``: only entries with such an event. ``route`` may be left out where there is one.

        Raises :class:`InvalidField`, and :class:`UnknownVenue` or :class:`RouteElsewhere` where the route is not held here.
        """
        (held,) = self._one(route)
        return self._subscriptions.stream(
            held, subscriber, after, kinds, Begin(begin), by_hand=by_hand, keep_every_s=keep_every_s
        )

    async def tell_rest(self, within_s: float) -> bool:
        """Wait until every subscriber has what is committed by now, or the time is over. Tells whether they have."""
        return await self._subscriptions.tell_rest(within_s)

    async def subscribers(self, route: str | None = None) -> list[SubscriberStatus]:
        """Return how far each subscriber was told of a route, or of all, and which orders it is not told of."""
        return await self._subscriptions.status(self._meant(route))

    async def resume_subscriber(
        self,
        subscriber: str,
        order: str | None = None,
        *,
        by: str,
        reason: str,
        route: str | None = None,
        skip: bool = False,
    ) -> list[SubscriberStatus]:
        """Let a subscriber be told again of an ``order`` that was stopped, or of all that were.

        ``order``: its client order id, its key, or the route's name for events that belong to no order; it needs its
        ``route`` where there are several. ``skip``: the event that was refused is left out, for good. A subscriber that wanted
        nothing more is asked again. Raises UnknownSubscriber, :class:`InvalidField`, CallerError where nothing such is
        stopped, :class:`RouteClosed`.
        """
        word = Resume(subscriber=subscriber, order=order, skip=skip, by=by, reason=reason)
        routes = self._meant(route) if order is None else self._one(route)
        return await self._subscriptions.change(routes, subscriber, word)

    async def rewind_subscriber(
        self,
        subscriber: str,
        position: int,
        *,
        by: str,
        reason: str,
        route: str | None = None,
        leave_out: bool = False,
    ) -> list[SubscriberStatus]:
        """Tell a subscriber once more what comes after entry ``position`` of a route's journal.

        ``route`` may be left out where there is one. ``leave_out``: go there also if that is forward; what lies between is
        never told. Raises UnknownSubscriber, :class:`InvalidField`, :class:`RouteClosed`.
        """
        word = Rewind(subscriber=subscriber, position=position, by=by, reason=reason, leave_out=leave_out)
        return await self._subscriptions.change(self._one(route), subscriber, word)

    def _meant(self, route: str | None) -> list[Route]:
        if route is not None and route not in self._routes:
            raise self._missing(route)
        return list(self._routes.values()) if route is None else [self._routes[route]]

    def _one(self, route: str | None) -> list[Route]:
        found = self._meant(route)
        if len(found) != 1:
            raise InvalidField("route", f"is one of: {', '.join(self._routes)}; say which")
        return found

    # ---------------------------------------------------------------- incidents

    async def _freeze_for(self, route: str, by: str, reason: str) -> None:
        await self.freeze(route, by=by, reason=reason)

    def keep_postmortems_in(self, folder: Path) -> None:
        """Say where postmortems are written that are given no path."""
        self._runbook.folder = folder

    async def incidents(self, *, open_only: bool = True) -> list[Incident]:
        """Return the incidents, by route and number, as the ledger has them."""
        return await self._runbook.incidents(open_only=open_only)

    async def incident(self, name: str) -> Incident:
        """Return one incident. Raises :class:`~onefill.core.incident.UnknownIncident`."""
        return await self._runbook.incident(name)

    async def step(
        self,
        name: str,
        step: Step | str,
        *,
        by: str,
        note: str = "",
        skip: bool = False,
        keys: Sequence[str] = (),
        venue_orders: Sequence[str] = (),
        out: str | None = None,
        times: int = 2,
    ) -> StepResult:
        """Do the next step of an incident's runbook, or ``skip`` it for the reason in ``note``, and keep what came of it.

        ``keys``, ``venue_orders``: what *cancel_residuals* cancels; without any it lists. ``out``: where *postmortem* writes.
        ``times``: how often *replay* feeds every report. A step that finds something left to do is not done, and says what.
        Raises :class:`~onefill.core.incident.StepOutOfTurn`, ``IncidentClosed``, ``UnknownIncident``, :class:`InvalidField`.
        """
        given = Given(
            by=by, note=note, skip=skip, keys=tuple(keys), venue_orders=tuple(venue_orders), out=out, times=times
        )
        return await self._runbook.step(name, choice(Step, step, "step"), given)

    async def resolve_incident(self, name: str, by: str, reason: str, *, force: bool = False) -> Incident:
        """Close an incident, for good. Refused while steps of its runbook are left, unless ``force``.

        Raises :class:`InvalidField` without a name or reason, and what :meth:`step` raises.
        """
        return await self._runbook.resolve(name, by, reason, force=force)

    async def _catch_up_route(self, route: Route) -> None:
        """Return once every execution report that a route's venue has by now is durably taken in."""
        for receiver in self._receivers.get(route.name, ()):
            await receiver.catch_up()
        await self._book.settle(self._ledger)
