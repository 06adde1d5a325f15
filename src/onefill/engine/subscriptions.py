"""The subscribers of a gateway: a relay for each on every route, and what people see of them and do about them."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence

import msgspec

from onefill.core import relay_events as events
from onefill.core import values
from onefill.core.audit import DAY_US
from onefill.core.errors import CallerError, EntriesArchived, InvalidField, LedgerError, RouteClosed
from onefill.core.relay import ROUTE_LANE, message_id
from onefill.engine.event_stream import EventStream
from onefill.engine.relay import Begin, ByHand, Outlet, Relay, Subscriber, place_of
from onefill.engine.route import Route
from onefill.ports.ledger import Committed, Ledger, StoppedLane, Subscription, SubscriptionMove


class StoppedOrder(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order whose events a subscriber is not told of: from entry ``sequence`` of the route's journal on.

    ``order``: its client order id, or the route's name for events that belong to no order. ``event_id``, ``kind`` and
    ``at_us`` are of the first event not told, ``None`` where there is none. ``resumed``: it goes on, and is still behind.
    """

    order: str
    key: str | None
    account: str | None
    strategy: str | None
    incident: str | None
    resumed: bool
    sequence: int | None
    event_id: str | None
    kind: str | None
    at_us: int | None


class SubscriberStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a subscriber is on a route. ``position``: told through this entry of the journal, of ``head`` that there are.

    ``lag``: entries behind; ``oldest_us``: when the first of them was committed. What only a running relay knows is ``None``
    without one: ``told`` and ``again``, messages taken and told once more since the start; ``unavailable``: why the
    subscriber takes nothing now; ``gone``: why it is told nothing any more; ``problem``: why the relay itself cannot go on.
    """

    subscriber: str
    route: str
    position: int
    head: int
    lag: int
    oldest_us: int | None
    told: int | None = None
    again: int | None = None
    unavailable: str | None = None
    gone: str | None = None
    problem: str | None = None
    stopped: tuple[StoppedOrder, ...] = ()


class UnknownSubscriber(CallerError):
    """There is no subscriber of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"subscriber {name!r} is not known here; known: {', '.join(sorted(set(known))) or 'none'}. Nothing was changed"
        )


class Subscriptions:
    """The relays of one gateway, by route and subscriber."""

    def __init__(self, subscribers: Iterable[Subscriber]) -> None:
        self._subscribers: dict[str, Subscriber] = {}
        for one in subscribers:
            if one.name in self._subscribers:
                raise InvalidField("subscribers", f"two are named {one.name!r}; the ledger keeps one place for a name")
            self._subscribers[one.name] = one
        self._outlets: dict[str, Outlet] = {}
        self._relays: dict[str, dict[str, Relay]] = {}
        self._streams: dict[EventStream, None] = {}

    def start(self, route: Route) -> None:
        """Begin to tell of a route that this process has. What an earlier holding of it left is forgotten."""
        relays = self._relays[route.name] = {}
        for name, subscriber in self._subscribers.items():
            if subscriber.routes and not {route.name, route.name.partition(":")[0]} & set(subscriber.routes):
                continue
            outlet = self._outlets.get(name)
            if outlet is None:
                outlet = self._outlets[name] = Outlet(subscriber.publisher)
            relays[name] = Relay(route, subscriber, outlet)
            relays[name].start()

    async def stop(self, route: str) -> None:
        """Tell no more of a route."""
        for stream in [one for one in self._streams if one.route.name == route]:
            del self._streams[stream]
            stream.end(RouteClosed(f"route {route!r} is not held here any more: its events are told where it is"))
        relays = self._relays.pop(route, {})
        await asyncio.gather(*(relay.stop() for relay in relays.values()))

    async def stop_all(self) -> None:
        """Tell no more of any route."""
        routes = dict.fromkeys([*self._relays, *(one.route.name for one in self._streams)])
        await asyncio.gather(*(self.stop(route) for route in routes))

    async def close(self) -> None:
        """Let go of the publishers, once nothing is told any more."""
        await self.stop_all()
        outlets, self._outlets = self._outlets, {}
        await asyncio.gather(*(outlet.close() for outlet in outlets.values()))

    def stream(
        self,
        route: Route,
        subscriber: str | None,
        after: int | None,
        kinds: Collection[str],
        begin: Begin,
        *,
        by_hand: bool,
        keep_every_s: float,
    ) -> EventStream:
        """Return what gives a route's events to this process. Raises InvalidField."""
        if subscriber is not None:
            values.name(subscriber, "subscriber")
            if subscriber in self._subscribers:
                raise InvalidField("subscriber", f"{subscriber!r} is told by this gateway itself; take another name")
        made = EventStream(route, subscriber, after, kinds, begin, by_hand=by_hand, keep_every_s=keep_every_s)
        self._streams = {one: None for one in self._streams if not one.left}
        self._streams[made] = None
        return made

    def relays(self) -> list[Relay]:
        """Return the relays, by route and subscriber."""
        return [relay for _, relays in sorted(self._relays.items()) for _, relay in sorted(relays.items())]

    async def tell_rest(self, within_s: float) -> bool:
        """Wait until every relay has told what is committed by now, or the time is over. Tells whether they have."""
        waiting = [asyncio.ensure_future(relay.told_rest()) for relay in self.relays()]
        if not waiting:
            return True
        _, left = await asyncio.wait(waiting, timeout=within_s)
        for one in left:
            one.cancel()
        return not left

    async def status(self, routes: Iterable[Route]) -> list[SubscriberStatus]:
        """Return how every subscriber is that the ledger knows of these routes."""
        found = []
        for route in routes:
            route.news.found(
                {info.name: info.journal_entries for info in await route.ledger.routes()}.get(route.name, 0)
            )
            relays = self._relays.get(route.name, {})
            for one in await route.ledger.subscriptions(route.name):
                found.append(await status_of(route.ledger, one, route.news.head, relays.get(one.subscriber)))
        return found

    async def change(self, routes: Sequence[Route], subscriber: str, change: ByHand) -> list[SubscriberStatus]:
        """Change a subscriber's place on these routes, and return how it is then. Where a relay tells, it goes on from there.

        Raises UnknownSubscriber where no route knows it, and what the change does.
        """
        places = {route.name: await place_of(route, subscriber) for route in routes}
        chosen = [route for route in routes if places[route.name] is not None]
        if not chosen:
            known = [one.subscriber for route in routes for one in await route.ledger.subscriptions(route.name)]
            raise UnknownSubscriber(subscriber, known)
        for route in chosen:
            relay = self._relays.get(route.name, {}).get(subscriber)
            if relay is not None:
                await relay.by_hand(change)
            else:
                await change(route, places[route.name])
        return [one for one in await self.status(chosen) if one.subscriber == subscriber]


async def status_of(ledger: Ledger, kept: Subscription, head: int, relay: Relay | None = None) -> SubscriberStatus:
    """Return how a subscriber is on a route, by the ledger and by the relay if one runs."""
    lanes = None if relay is None else relay.lanes
    position = kept.position if lanes is None else lanes.told_through
    oldest_us = None if lanes is None else lanes.oldest_us
    if oldest_us is None and position < head:
        with contextlib.suppress(EntriesArchived):  # then it cannot be told at all, and the relay says so
            rows = await ledger.outbox(kept.route, position, 1)
            oldest_us = rows[0].entry.at_us if rows else None
    return SubscriberStatus(
        subscriber=kept.subscriber,
        route=kept.route,
        position=position,
        head=head,
        lag=max(head - position, 0),
        oldest_us=oldest_us,
        told=None if relay is None else relay.told,
        again=None if relay is None else relay.again,
        unavailable=None if lanes is None else lanes.unavailable,
        gone=None if lanes is None else lanes.gone,
        problem=None if relay is None else relay.problem,
        stopped=tuple([await _stopped_order(ledger, kept.route, lane) for lane in kept.stopped]),
    )


async def _stopped_order(ledger: Ledger, route: str, lane: StoppedLane) -> StoppedOrder:
    rows = await ledger.outbox_of(route, lane.intent_id, lane.position, 1)
    first = rows[0] if rows else None
    found = [] if lane.intent_id == ROUTE_LANE else await ledger.orders(lane.intent_id - 1, 1)
    order = next((one for one in found if one.intent_id == lane.intent_id), None)
    return StoppedOrder(
        order=route if order is None else order.client_order_id,
        key=None if order is None else order.key,
        account=None if order is None else order.intent.account,
        strategy=None if order is None else order.intent.strategy,
        incident=f"{route}-{lane.incident}" if lane.incident else None,
        resumed=lane.incident == 0,
        sequence=None if first is None else first.entry.sequence,
        event_id=None if first is None else message_id(first.entry.hash),
        kind=None if first is None else first.entry.kind,
        at_us=None if first is None else first.entry.at_us,
    )


# --------------------------------------------------------------------------- people's words


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word that a subscriber is to be told of an order again. ``skip``: but not of the event that it refused.

    ``order``: the client order id, the caller's key, or the route's name; ``None``: of all that are stopped.
    """

    subscriber: str
    order: str | None
    skip: bool
    by: str
    reason: str

    async def __call__(self, route: Route, kept: Subscription | None) -> None:
        """Record it. Raises UnknownSubscriber, InvalidField, CallerError or LedgerError."""
        _said(self.by, self.reason)
        kept = _known(self.subscriber, kept)
        chosen: list[tuple[StoppedLane, StoppedOrder]] = []
        for lane in kept.stopped:
            found = await _stopped_order(route.ledger, route.name, lane)
            if lane.incident and (self.order is None or self.order in (found.order, found.key)):
                chosen.append((lane, found))
        if not chosen and self.order is not None:
            raise CallerError(
                f"subscriber {self.subscriber!r} on route {route.name!r}: {self.order!r} is not stopped; "
                "`onefill subscribers` lists what is. Nothing was changed"
            )
        if self.skip and len(chosen) > 1:
            raise CallerError(
                f"{self.order!r} names {len(chosen)} stopped orders: name one by its client order id. Nothing was changed"
            )
        if chosen:
            await self._record(route, kept, chosen)

    async def _record(
        self, route: Route, kept: Subscription, chosen: Sequence[tuple[StoppedLane, StoppedOrder]]
    ) -> None:
        told = []
        lanes = []
        for lane, found in chosen:
            skipped = self.skip and found.sequence is not None
            position = found.sequence if skipped and found.sequence is not None else lane.position
            lanes.append(StoppedLane(lane.intent_id, position, 0))
            told.append(
                events.LaneResumed(
                    subscriber=self.subscriber,
                    lane=found.order,
                    sequence=found.sequence or lane.position,
                    skipped=skipped,
                    by=self.by,
                    reason=self.reason,
                )
            )
        move = SubscriptionMove(
            subscriber=self.subscriber, previous=kept.position, position=kept.position, stopped=tuple(lanes)
        )
        await _commit(route, told, move)


class Rewind(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word that a subscriber is to be told what comes after entry ``position`` of the route's journal (again).

    Orders that are stopped stay so, at their own place. ``leave_out``: also where it was not told through ``position`` yet;
    what lies between is left out, for good.
    """

    subscriber: str
    position: int
    by: str
    reason: str
    leave_out: bool = False

    async def __call__(self, route: Route, kept: Subscription | None) -> None:
        """Record it. Raises UnknownSubscriber, InvalidField, EntriesArchived or LedgerError."""
        _said(self.by, self.reason)
        kept = _known(self.subscriber, kept)
        found = next((info for info in await route.ledger.routes() if info.name == route.name), None)
        head = 0 if found is None else found.journal_entries
        if found is not None and found.archived is not None and 0 <= self.position < found.archived.last:
            raise EntriesArchived(route.name, self.position + 1, found.archived.file, found.archived.last)
        if not 0 <= self.position <= head:
            raise InvalidField("position", f"{self.position} is not an entry of route {route.name!r}, which has {head}")
        if self.position > kept.position and not self.leave_out:
            raise InvalidField(
                "position",
                f"{self.subscriber!r} was told of route {route.name!r} through entry {kept.position} only; what lies between "
                f"that and {self.position} would never be told (leave_out does that). Nothing was changed",
            )
        told = events.SubscriberMoved(
            subscriber=self.subscriber,
            previous=kept.position,
            position=self.position,
            by=self.by,
            reason=self.reason,
        )
        move = SubscriptionMove(subscriber=self.subscriber, previous=kept.position, position=self.position)
        await _commit(route, [told], move)


async def _commit(
    route: Route, told: Sequence[events.LaneResumed | events.SubscriberMoved], move: SubscriptionMove
) -> None:
    if route.failure is not None or route.closing:
        raise RouteClosed(
            f"route {route.name!r} takes nothing now: {route.failure or 'it is being closed'}. Nothing was changed"
        )
    outcome = await asyncio.shield(route.record_route_event(*told, subscription=move))
    if not isinstance(outcome, Committed):
        raise LedgerError(
            f"route {route.name!r}: subscriber {move.subscriber!r} moved on meanwhile. Nothing was changed; say it again"
        )


def _said(by: str, reason: str) -> None:
    for field, text in (("by", by), ("reason", reason)):
        if not text.strip():
            raise InvalidField(field, "a subscriber's place is changed by somebody, with a reason")


def _known(subscriber: str, kept: Subscription | None) -> Subscription:
    if kept is None:
        raise UnknownSubscriber(subscriber, ())
    return kept


async def first_entry_from(ledger: Ledger, route: str, at_us: int) -> int:
    """Return behind which entry of a route's journal those begin that were committed at ``at_us`` or later.

    Raises EntriesArchived if some of them are in the archive.
    """
    low = high = 0
    for info in (one for one in await ledger.routes() if one.name == route):
        high = info.journal_entries
        if info.archived is not None:
            low = info.archived.last
            if at_us // DAY_US <= info.archived.day:
                raise EntriesArchived(route, low, info.archived.file, low)
    while (
        low < high
    ):  # times rise with the entries but for a clock that was set: then the first place found is told from
        middle = (low + high) // 2
        rows = await ledger.outbox(route, middle, 1)
        if rows and rows[0].entry.at_us >= at_us:
            high = middle
        else:
            low = middle + 1
    return low
