"""Taking routes up and letting go of them: what a gateway does at its start and end, and whenever a route moves.

A route is open here, in full, or it is not here at all: callers see it once its orders were taken up and its streams are
followed, and see it no more before anything of it is stopped.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping

from onefill.core import split_brain, values
from onefill.core.errors import CallerError, LeaseLost, LedgerError, OnefillError, RouteElsewhere, UnknownVenue
from onefill.core.position import Execution
from onefill.core.risk_limits import Risk
from onefill.core.spread import HandOverAsked
from onefill.engine.campaign import Campaign
from onefill.engine.controller import BY_HAND, ControlPlan, NotHeld
from onefill.engine.entry import Entry
from onefill.engine.outside import Outside
from onefill.engine.receiver import DROP_COPY, Receiver
from onefill.engine.recovery import give_back, open_route, take_up
from onefill.engine.relay import Subscriber
from onefill.engine.risk_desk import open_desk
from onefill.engine.route import Route
from onefill.engine.settings import GatewaySettings, NodeSettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger, Outcome
from onefill.ports.venue import Venue

DRAIN_S = 0.25
"""How long a route that is handed over waits for replies that are under way. The next holder asks for those that come later."""
_TO_SUSPECT_S = 1.0
"""How long closing a route waits for a suspicion to be noted."""


class Holding(Outside):
    """See the module's text."""

    def __init__(
        self,
        ledger: Ledger,
        venues: Mapping[str, Venue],
        *,
        clock: Clock,
        holder: str,
        settings: GatewaySettings,
        risk: Risk | None = None,
        control: ControlPlan = BY_HAND,
        subscribers: Iterable[Subscriber] = (),
        node: NodeSettings | None = None,
    ) -> None:
        super().__init__(ledger, list(venues), clock, settings, control, subscribers)
        self._venues = {values.name(name, "venue"): venue for name, venue in venues.items()}
        self._holder = holder
        self._risk = risk
        self._opening: dict[str, Route] = {}
        """Routes that are being taken up, or stopped: nobody sees them."""
        self._started: set[str] = set()
        self._campaign = None if node is None else Campaign(ledger, list(self._venues), node, self._hold, clock.now_us)
        self._closing: asyncio.Task[None] | None = None
        if node is not None:
            self._look_every_s = split_brain.TOLD_LOOK_EVERY_S
        self.recovered = 0
        """Open orders taken up since the start."""

    async def _begin(self) -> None:
        """Take every route; or, where several nodes share the ledger, begin to ask for them."""
        if self._campaign is not None:
            await self._campaign.start()
            return
        for name in self._venues:
            await self._take(name)

    async def _take(self, name: str) -> Route:
        """Become a route's owner, take up its open orders, and show it. Raises what goes wrong, and leaves nothing behind."""
        venue = self._venues[name]
        if name not in self._started:
            await venue.start()
            self._started.add(name)
        route = await open_route(
            name, self._ledger, venue, self._clock, self._settings, holder=self._holder, fold=self._fold
        )
        self._opening[name] = route
        try:
            route.taken = functools.partial(self._taken, route)
            await self._book.load(self._ledger, name)
            self._guard(route)
            route.risk = await open_desk(self._risk, self._ledger, route.lease, self._book.positions(), self._clock)
            self.recovered += await take_up(route)
            receivers = self._receivers[name] = [Receiver(route)]
            if route.capabilities.drop_copy:
                receivers.append(Receiver(route, DROP_COPY))
            for receiver in receivers:
                await receiver.start()
            await self._oversee(route)
            self._listen(route)
        except BaseException:
            await self._let_go(route)
            raise
        self._routes[name] = self._opening.pop(name)
        return route

    async def _hold(self, name: str, over: Callable[[Route], object]) -> None:
        """Take a route and hold it until it is over here. ``over``: hears of it once it is held.

        Raises what kept it from being taken, or ended it, unless it was given up on purpose.
        """
        route = await self._take(name)
        over(route)
        try:
            await route.over.wait()
        finally:
            if self._closing is None:
                await asyncio.shield(self._let_go(route))
        if route.failure is not None:
            raise route.failure

    async def _let_go(self, route: Route) -> None:
        """Stop a route, and give it back. What was under way at the venue reads as *maybe sent* to the next holder."""
        name = route.name
        self._routes.pop(name, None)
        self._opening[name] = route
        if route.failure is None:
            await leave(route, DRAIN_S)
        route.closing = True
        async with contextlib.AsyncExitStack() as last_first:  # each step is taken whatever becomes of the others
            last_first.callback(self._forget, name)
            last_first.push_async_callback(give_back, route)
            last_first.push_async_callback(route.suspected, _TO_SUSPECT_S)
            last_first.push_async_callback(self._save_positions, route)
            why = LeaseLost(name, "it was given up here") if route.failure is None else route.failure
            last_first.push_async_callback(route.stop, why)
            for receiver in self._receivers.get(name, ()):
                last_first.push_async_callback(receiver.stop)
            last_first.push_async_callback(self._unlisten, name)
            last_first.push_async_callback(self._subscriptions.stop, name)

    def _forget(self, name: str) -> None:
        for kept in (self._receivers, self._controllers, self._reconcilers, self._opening):
            kept.pop(name, None)
        self._book.forget(name)

    async def _save_positions(self, route: Route) -> None:
        if route.failure is None:
            with contextlib.suppress(LedgerError):  # a projection: the next start folds it again
                await self._book.save(self._ledger, route.name)

    async def close(self) -> None:
        """Stop sending, keep every cursor, give the routes back, and close venues and ledger.

        Requests under way read as *maybe sent* next time. Whoever still waits for an answer gets :class:`RouteClosed`. May be
        called again, and goes on if the caller gives up.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._campaign is not None:
            await self._campaign.stop()
            await asyncio.gather(*(leave(route, DRAIN_S) for route in self._routes.values()))
        for route in self._routes.values():
            route.closing = True
        async with contextlib.AsyncExitStack() as last_first:  # as above
            last_first.push_async_callback(self._subscriptions.close)
            last_first.push_async_callback(self._ledger.close)
            for route in self._routes.values():
                last_first.push_async_callback(route.suspected, _TO_SUSPECT_S)
                last_first.push_async_callback(give_back, route)
                last_first.push_async_callback(self._save_positions, route)
            for venue in self._venues.values():
                last_first.push_async_callback(venue.close)
            for name, route in self._routes.items():
                last_first.push_async_callback(route.stop)
                for receiver in self._receivers.get(name, ()):
                    last_first.push_async_callback(receiver.stop)
            last_first.push_async_callback(self._close_outside)
            last_first.push_async_callback(self._subscriptions.stop_all)

    def _not_held(self) -> tuple[NotHeld, ...]:
        if self._campaign is None:
            return ()
        found = []
        for name in self._venues:
            if name not in self._routes:
                trouble = self._campaign.trouble(name)
                told = None if trouble is None else str(trouble)
                found.append(NotHeld(route=name, holder=self._campaign.holder(name), trouble=told))
        return tuple(found)

    def _missing(self, route: str) -> OnefillError:
        if route not in self._venues:
            return UnknownVenue(route, list(self._venues))
        return self._elsewhere(route, "Nothing was changed here")

    def _elsewhere(self, route: str, found: str) -> RouteElsewhere:
        """Return what is told of a route that another process holds. ``found``: how things stand."""
        if self._campaign is None:
            return RouteElsewhere(route, None, found)
        trouble = self._campaign.trouble(route)
        return RouteElsewhere(
            route, self._campaign.holder(route), found if trouble is None else f"{found} (here: {trouble})"
        )

    async def hand_over(self, route: str, to: str | None = None, *, by: str = "the gateway's user") -> None:
        """Give a route to the other nodes, or the one named ``to``. Returns once it is given back.

        Should nobody take it, this node asks for it again after a moment. ``by``: who wants it, shown with the route.
        Raises :class:`RouteElsewhere` if it is not held here, :class:`UnknownVenue`, and CallerError where one process has
        the ledger for itself.
        """
        if self._campaign is None:
            raise CallerError(
                "one process has this ledger for itself: there is nobody to hand a route over to. Nothing was changed"
            )
        if route not in self._routes:
            raise self._missing(route)
        await self._ledger.ask_hand_over(route, HandOverAsked(by=by, to=to, at_us=self._clock.now_us()))
        await self._campaign.hand_over(route)

    def _fold(self, route: Route, execution: Execution, place: int | None, amends: bool) -> None:
        if route not in (self._routes.get(route.name), self._opening.get(route.name)):
            return  # it is not held here any more: whoever holds it reads the log
        self._book.add(execution, place, amends=amends)
        route.risk.traded(execution)
        if route.closing:
            return
        if self._book.save_due(route.name):
            route.spawn(route.loop.create_task(self._book.save(self._ledger, route.name)))
        elif not self._book.settled:
            route.spawn(route.loop.create_task(self._book.settle(self._ledger)))

    def _taken(self, route: Route, entry: Entry, outcome: Outcome) -> None:
        raise NotImplementedError


async def leave(route: Route, for_s: float) -> None:
    """Begin nothing more on a route, and let what is under way come to its end, for so long at most."""
    route.leaving = True
    until_s = route.loop.time() + for_s
    while (busy := _busy(route)) and (left_s := until_s - route.loop.time()) > 0:
        await asyncio.wait(busy, timeout=left_s)


def _busy(route: Route) -> list[asyncio.Future[None]]:
    """Return what is worked on now: drivers of orders that wait for the venue or the ledger, and changes under way."""
    found: list[asyncio.Future[None]] = []
    for entry in route.entries.values():
        if entry.driver is not None and entry.wake is None:
            found.append(entry.driver)
        elif entry.pending:
            if entry.settled is None or entry.settled.done():
                entry.settled = route.loop.create_future()
            found.append(entry.settled)
    return found
