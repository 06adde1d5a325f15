"""The relay: tells one subscriber of one route's journal, from the place that the ledger keeps for it (promise TOLD-ONCE).

It runs beside the orders and never in their way: it reads what is committed, a bounded window of it, and a subscriber that
is slow, dead or wrong keeps nothing waiting but itself. Whatever goes wrong in here, it begins again at the ledger's place;
so nothing is left out, and what is told twice has the same id. Only the route's owner tells: moving the place is fenced.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

import msgspec

from onefill.core import relay_events as events
from onefill.core import values
from onefill.core.errors import Fenced, LedgerAltered, LedgerError, OnefillError, require
from onefill.core.events import IncidentEvent
from onefill.core.incident import Finding, Incident, IncidentKind
from onefill.core.messages import legible
from onefill.core.relay import ROUTE_LANE, Message, Outcome, Policy, Unavailable, message_of, wanted_of
from onefill.core.relay_lanes import Batch, Lanes, Move, Poison, Stop
from onefill.engine.route import Route
from onefill.ports.ledger import Committed, OutboxRow, StoppedLane, Subscription, SubscriptionMove
from onefill.ports.publisher import Publisher

ByHand = Callable[[Route, Subscription | None], Awaitable[None]]
"""What a person does to a subscriber's place on a route, given what it is."""
_PAGE = 256
"""Journal entries read at once: few enough that orders on the same loop do not notice."""
_LANE_PAGE = 64
"""Of an order that catches up."""
_CLOSE_S = 5.0
"""How long a publisher may take to let go."""
_STOP_S = 1.0
"""How long calls may take to end that are given up, and the place to be kept at the end."""


class Begin(StrEnum):
    """Where a subscriber begins that the ledger does not know yet."""

    FIRST = "first"
    """At the first entry of the journal."""
    NOW = "now"
    """Behind the last one."""


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told, and how. ``name`` is under what the ledger keeps its place: another name begins anew.

    ``kinds``: only entries with an event of one of these; ``routes``: only these; none means all.
    """

    name: str
    publisher: Publisher
    policy: Policy = Policy()
    kinds: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    begin: Begin = Begin.FIRST

    def __post_init__(self) -> None:
        """Refuse a name that cannot be one."""
        values.name(self.name, "subscriber")


class Outlet:
    """A subscriber's publisher as the relays of all routes share it: made ready before its first use, and after it failed."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._ready = False
        self._starting = asyncio.Lock()

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """See :meth:`onefill.ports.publisher.Publisher.publish`."""
        async with self._starting:
            if not self._ready:
                await self._publisher.start()
                self._ready = True
        try:
            outcomes = await self._publisher.publish(messages)
        except Exception:
            self._ready = False
            raise
        require(len(outcomes) == len(messages), f"{len(messages)} messages and {len(outcomes)} outcomes")
        return outcomes

    async def close(self) -> None:
        """Let go of the publisher, whatever it makes of that."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await self._publisher.close()


class _MovedByHand(Exception):
    """A person changed the subscriber's place: begin again from there."""


class Relay:
    """One subscriber of one route."""

    def __init__(self, route: Route, subscriber: Subscriber, outlet: Outlet) -> None:
        self.route = route
        self.subscriber = subscriber
        self._outlet = outlet
        self._wanted = wanted_of(subscriber.kinds)
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        """Set whenever something may have been taken."""
        self._results: deque[tuple[Batch, Sequence[Outcome]]] = deque()
        self._place = asyncio.Lock()
        """Held while the ledger's place is changed."""
        self._by_hand = False
        self._finish = False
        self._moved_at_s = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._before = (0, 0)
        """Messages told, and told again, before the last beginning."""
        self.lanes: Lanes | None = None
        """As it stands; ``None`` before the ledger was read."""
        self.problem: str | None = None
        """Why the relay itself cannot go on, as it was last; it tries again."""

    @property
    def told(self) -> int:
        """How many messages the subscriber has taken since the start."""
        return self._before[0] + (0 if self.lanes is None else self.lanes.told)

    @property
    def again(self) -> int:
        """How many it was told once more, because it had not been known to have them."""
        return self._before[1] + (0 if self.lanes is None else self.lanes.again)

    def start(self) -> None:
        """Begin to tell. Ends with the route, or by :meth:`stop`."""
        self._task = self.route.loop.create_task(self._run())
        self.route.spawn(self._task)
        self.route.news.listeners.append(self._news)

    async def stop(self) -> None:
        """Tell nothing more, and keep the place where that is possible at once."""
        if self._task is None:
            return
        self._finish = True
        self._wake.set()
        _, left = await asyncio.wait([self._task], timeout=2 * _STOP_S)
        for task in left:
            task.cancel()
        if self.lanes is not None and self.route.failure is None and not left:
            self._moved_at_s = float("-inf")
            with contextlib.suppress(OnefillError, TimeoutError, _MovedByHand):  # then more is told again
                async with asyncio.timeout(_STOP_S):
                    await self._keep_place(self.lanes)

    async def told_through(self, sequence: int) -> None:
        """Wait until everything through an entry was taken, left out, or belongs to an order that is stopped.

        Of a subscriber that wants nothing more nothing is awaited.
        """
        while self.lanes is None or (self.lanes.told_through < sequence and self.lanes.gone is None):
            self._moved.clear()
            await self._moved.wait()

    async def told_rest(self) -> None:
        """Wait until all that is committed by now was. How much that is, is known once the beginning was read."""
        while self.lanes is None:
            self._moved.clear()
            await self._moved.wait()
        await self.told_through(self.route.news.head)

    def _news(self) -> None:
        self._wake.set()

    async def by_hand(self, change: ByHand) -> None:
        """Let a person's word change the ledger's place, and go on from what it is then. Raises what the change does."""
        async with self._place:
            self._by_hand = True  # also where it fails: what memory holds is read again
            self._wake.set()
            await change(self.route, await place_of(self.route, self.subscriber.name))

    # ------------------------------------------------------------------ the loop

    def _over(self) -> bool:
        return self._finish or self.route.closing or self.route.failure is not None

    async def _run(self) -> None:
        failures = 0
        try:
            while not self._over():
                try:
                    await self._follow()
                except _MovedByHand:
                    pass
                except Fenced as error:
                    self.route.fail(error)  # another owner has the route, and tells
                except Exception as error:  # noqa: BLE001 - orders go on, and so does this: it is told and tried again
                    failures = failures + 1 if self.lanes is None or not self.lanes.told else 1
                    self.problem = f"{type(error).__name__}: {error}"
                    await asyncio.sleep(self.subscriber.policy.pause(failures))
        finally:
            if self._news in self.route.news.listeners:
                self.route.news.listeners.remove(self._news)

    async def _follow(self) -> None:
        """Tell what is there, from the ledger's place on, until the route closes."""
        self._before = (self.told, self.again)
        self.lanes = None
        lanes = self.lanes = await self._begin()
        self._results.clear()
        calls: dict[asyncio.Task[None], None] = {}  # in the order of their beginning: a run can be repeated exactly
        try:
            while not self._over():
                self._wake.clear()
                while self._results:
                    lanes.took(*self._results.popleft(), self._now_s())
                await self._stop_poisoned(lanes)
                await self._read(lanes)
                await self._catch_up(lanes)
                while (batch := lanes.next_batch(self._now_s())) is not None:
                    call = self.route.loop.create_task(self._tell(batch))
                    calls[call] = None
                    call.add_done_callback(calls.pop)
                await self._keep_place(lanes)
                self.problem = None
                self._moved.set()
                await self._pause(lanes)
        finally:
            under_way = list(calls)
            for call in under_way:
                call.cancel()
            if under_way:
                await asyncio.wait(under_way, timeout=_STOP_S)
            while self._results:
                lanes.took(*self._results.popleft(), self._now_s())

    def _now_s(self) -> float:
        return self.route.loop.time()

    async def _pause(self, lanes: Lanes) -> None:
        """Wait until something has happened or something is due. What came meanwhile has set the wake."""
        if self._may_read(lanes):
            await asyncio.sleep(0)
            return
        dues = [lanes.due_s(self._now_s())]
        if lanes.move() is not None:
            dues.append(self._moved_at_s + self.subscriber.policy.cursor_every_s)
        due_s = min((one for one in dues if one is not None), default=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due_s is None else max(due_s - self._now_s(), 0)):
                await self._wake.wait()

    async def _begin(self) -> Lanes:
        route, name = self.route, self.subscriber.name
        async with self._place:
            self._by_hand = False
            heads = {info.name: info.journal_entries for info in await route.ledger.routes()}
            route.news.found(heads.get(route.name, 0))
            place = await place_of(route, name)
            if place is None:
                position = 0 if self.subscriber.begin is Begin.FIRST else route.news.head
                await self._move(SubscriptionMove(subscriber=name, previous=0, position=position))
                place = Subscription(route=route.name, subscriber=name, position=position)
        stops = [Stop(one.intent_id, one.position, one.incident) for one in place.stopped]
        lanes = Lanes(self.subscriber.policy, place.position, stops)
        for stop in stops:
            if stop.incident == 0:
                lanes.resume(stop)
        return lanes

    # ------------------------------------------------------------------ reading

    def _may_read(self, lanes: Lanes) -> bool:
        """Tell whether there is something to read and room for it: not in small bits while much is under way."""
        room = lanes.room
        few = min(_PAGE, self.subscriber.policy.window) // 4
        behind = lanes.read_through < self.route.news.head
        return behind and lanes.gone is None and room > 0 and (room >= few or not lanes.waiting)

    async def _read(self, lanes: Lanes) -> None:
        if not self._may_read(lanes):
            return
        limit = min(lanes.room, _PAGE, self.route.news.head - lanes.read_through)
        rows = await self.route.ledger.outbox(self.route.name, lanes.read_through, limit)
        for row in rows:
            if row.entry.sequence != lanes.read_through + 1:
                break
            lanes.read(row.entry.sequence, self._message(row))
        else:
            if rows:
                return
        raise LedgerAltered(
            f"route {self.route.name!r}: entry {lanes.read_through + 1} of the journal is not there, and subscriber "
            f"{self.subscriber.name!r} was not told of it. Nothing behind it is told; bring it back, or move the subscriber on "
            "with `onefill subscribers rewind --leave-out`"
        )

    def _message(self, row: OutboxRow) -> Message | None:
        return message_of_row(row) if self._wanted(row.entry.payload) else None

    async def _catch_up(self, lanes: Lanes) -> None:
        """Read on those orders that were stopped and go on."""
        while lanes.gone is None and (wants := lanes.wants()) is not None:
            lane, after = wants
            rows = await self.route.ledger.outbox_of(self.route.name, lane, after, _LANE_PAGE)
            lanes.feed(lane, [(row.entry.sequence, self._message(row)) for row in rows])

    # ------------------------------------------------------------------ telling

    async def _tell(self, batch: Batch) -> None:
        policy = self.subscriber.policy
        outcomes: Sequence[Outcome]
        try:
            async with asyncio.timeout(policy.answer_s):
                outcomes = await self._outlet.publish(batch.messages)
        except TimeoutError:
            outcomes = [Unavailable(reason=f"no answer within {policy.answer_s:g} s")] * len(batch.messages)
        except Exception as error:  # noqa: BLE001 - whatever a publisher does, orders and other subscribers go on
            outcomes = [Unavailable(reason=f"{type(error).__name__}: {error}")] * len(batch.messages)
        self._results.append((batch, outcomes))
        self._wake.set()

    # ------------------------------------------------------------------ the place

    async def _keep_place(self, lanes: Lanes) -> None:
        """Note in the ledger what was taken, now and then."""
        soon = self._now_s() < self._moved_at_s + self.subscriber.policy.cursor_every_s
        if not self._by_hand and (soon or lanes.move() is None):
            return
        async with self._place:
            if self._by_hand:
                raise _MovedByHand
            move = lanes.move()
            if move is not None:
                await self._move(self._subscription_move(move), move.freed)
                lanes.moved(move)
                self._moved_at_s = self._now_s()

    def _subscription_move(self, move: Move) -> SubscriptionMove:
        return SubscriptionMove(
            subscriber=self.subscriber.name,
            previous=move.previous,
            position=move.position,
            stopped=tuple(StoppedLane(stop.lane, stop.position, stop.incident) for stop in move.stopped),
            freed=move.freed,
        )

    async def _move(self, move: SubscriptionMove, freed: Sequence[int] = ()) -> None:
        route = self.route
        gone: list[Incident] = []
        told: list[IncidentEvent] = []
        over = [subject(self.subscriber.name, await lane_name(route, lane)) for lane in freed]
        if self.lanes is not None and self.lanes.told and self.lanes.gone is None:
            over.append(self.subscriber.name)  # it had wanted nothing more, and takes something again
        for about in over:
            converged, noted = route.incidents.converge(IncidentKind.SUBSCRIBER, about, route.clock.now_us())
            gone += converged
            told += noted
        if told:
            outcome = await asyncio.shield(route.record_route_event(*told, incidents=tuple(gone), subscription=move))
            moved = isinstance(outcome, Committed)
        else:
            moved = await route.ledger.move_subscription(route.name, route.lease.epoch, move)
        if not moved:
            raise LedgerError(_elsewhere(route, self.subscriber.name))

    async def _stop_poisoned(self, lanes: Lanes) -> None:
        """Stop the orders with an event that is not taken: the stop and its incident are one commit."""
        if lanes.gone is not None:
            await self._note_gone(lanes.gone)
        if not lanes.poisoned:
            return
        route, name = self.route, self.subscriber.name
        async with self._place:
            if self._by_hand:
                raise _MovedByHand
            noted: list[Incident] = []
            told: list[IncidentEvent] = []
            stops: list[Stop] = []
            stopped: list[events.LaneStopped] = []
            for lane, poison in lanes.poisoned.items():
                found, words = route.incidents.note((_finding(name, poison),), route.clock.now_us())
                noted += found
                told += words
                incident = route.incidents.get(IncidentKind.SUBSCRIBER, subject(name, poison.message.lane_name))
                stop = lanes.stop_of(lane, 0 if incident is None else incident.number)
                stops.append(stop)
                stopped.append(_stopped(name, poison, stop))
            lanes_now = tuple(StoppedLane(stop.lane, stop.position, stop.incident) for stop in stops)
            move = SubscriptionMove(
                subscriber=name, previous=lanes.position, position=lanes.position, stopped=lanes_now
            )
            outcome = await asyncio.shield(
                route.record_route_event(*stopped, *told, incidents=tuple(noted), subscription=move)
            )
            if not isinstance(outcome, Committed):
                raise LedgerError(_elsewhere(route, name))
            for stop in stops:
                lanes.stop(stop)

    async def _note_gone(self, reason: str) -> None:
        route, name = self.route, self.subscriber.name
        known = route.incidents.get(IncidentKind.SUBSCRIBER, name)
        if known is None or known.converged_at_us is not None:
            finding = Finding(
                kind=IncidentKind.SUBSCRIBER,
                subject=name,
                summary=f"subscriber {name} wants nothing more, and is told nothing: {legible(reason)}",
                evidence=(legible(reason) or "",),
            )
            await asyncio.shield(route.record_route_event(findings=(finding,)))


def subject(subscriber: str, lane: str) -> str:
    """Return what an incident about an order that a subscriber is not told of is about."""
    return f"{subscriber} {lane}"


def message_of_row(row: OutboxRow) -> Message:
    """Return the message of a journal entry as the ledger gives it."""
    return message_of(row.entry, row.account, row.strategy, row.key, row.client_order_id)


async def place_of(route: Route, subscriber: str) -> Subscription | None:
    """Return how far a subscriber was told of a route, ``None`` if the ledger does not know it."""
    return next((one for one in await route.ledger.subscriptions(route.name) if one.subscriber == subscriber), None)


async def lane_name(route: Route, lane: int) -> str:
    """Return the name of a lane: the order's client order id, or the route's name."""
    if lane == ROUTE_LANE:
        return route.name
    found = await route.ledger.orders(lane - 1, 1)  # not from its entries: the first ones may be archived
    return found[0].client_order_id if found and found[0].intent_id == lane else route.name


def _finding(subscriber: str, poison: Poison) -> Finding:
    message, reason = poison.message, legible(poison.reason) or ""
    about = f"order {message.lane_name}" if message.lane != ROUTE_LANE else f"route {message.route} itself"
    return Finding(
        kind=IncidentKind.SUBSCRIBER,
        subject=subject(subscriber, message.lane_name),
        summary=f"subscriber {subscriber} does not take an event of {about}: {reason}",
        evidence=(
            f"event {message.id}, entry {message.sequence} of the journal, {message.kind}",
            f"told {poison.tries} times: {reason}",
        ),
    )


def _stopped(subscriber: str, poison: Poison, stop: Stop) -> events.LaneStopped:
    message = poison.message
    return events.LaneStopped(
        subscriber=subscriber,
        lane=message.lane_name,
        event_id=message.id,
        sequence=message.sequence,
        tries=poison.tries,
        reason=(legible(poison.reason) or "")[:500],
        incident=stop.incident,
    )


def _elsewhere(route: Route, subscriber: str) -> str:
    return (
        f"route {route.name!r}: the ledger has another place of subscriber {subscriber!r} than this process. Nothing was "
        "changed; it is read again"
    )
