"""How a running gateway stands now, as values: what its routes have counted, and what their memory shows."""

import math
from collections import Counter

import msgspec

from onefill.core.control import State
from onefill.core.incident import IncidentKind
from onefill.core.metrics import LedgerMeasures, route_label
from onefill.engine.measures import Counts, Measures
from onefill.engine.oversight import Oversight
from onefill.engine.receiver import Receiver
from onefill.engine.relay import Relay
from onefill.engine.route import Route
from onefill.ports.ledger import INTENT_NUMBER_BITS


class SubscriberReading(msgspec.Struct, frozen=True, kw_only=True):
    """One subscriber of a route. ``lag_s``: the age of the first entry that was read and not taken."""

    subscriber: str
    lag: int
    lag_s: float
    told: int
    again: int
    stopped: int
    up: bool


class RouteReading(msgspec.Struct, frozen=True, kw_only=True):
    """One route. ``label``: its name without what may be an account."""

    label: str
    counts: Counts
    measures: Measures
    control: State
    failed: bool
    uncertain: int
    parked: int
    paced: int
    orders: dict[str, int]
    """Orders that are not closed, by status."""
    incidents: dict[IncidentKind, int]
    oldest_break_s: float
    lease_s: float | None
    """For how long the route may still send; ``None``: until somebody else takes it."""
    lent_s: float | None
    """For how long it is held at a time, likewise."""
    positions: dict[str, int]
    """The last position taken in, by channel."""
    subscribers: tuple[SubscriberReading, ...] = ()


class LedgerReading(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger beneath all routes. ``measures`` is ``None`` where it keeps none."""

    measures: LedgerMeasures | None
    depth: int
    failed: bool
    standby: str | None
    """How it stands with the standby of its database; ``None`` where none is wanted."""


def routes(gateway: Oversight) -> list[RouteReading]:
    """Return how each route stands."""
    relays = gateway.relays()
    return [
        _reading(route, gateway._receivers.get(name, []), [one for one in relays if one.route is route])
        for name, route in gateway._routes.items()
    ]


def _subscriber(relay: Relay, now_us: int) -> SubscriberReading:
    lanes = relay.lanes
    oldest_us = None if lanes is None else lanes.oldest_us
    return SubscriberReading(
        subscriber=relay.subscriber.name,
        lag=0 if lanes is None else max(relay.route.news.head - lanes.told_through, 0),
        lag_s=0.0 if oldest_us is None else max(now_us - oldest_us, 0) / 1_000_000,
        told=relay.told,
        again=relay.again,
        stopped=0 if lanes is None else len(lanes.stopped),
        up=relay.problem is None and lanes is not None and lanes.gone is None and lanes.unavailable is None,
    )


def _reading(route: Route, receivers: list[Receiver], relays: list[Relay]) -> RouteReading:
    now_us = route.clock.now_us()
    working = [entry for entry in route.entries.values() if not entry.order.closed]
    remaining_s = route.lease_until_s - route.loop.time()
    return RouteReading(
        label=route_label(route.name, route.lease.intent_id(0) >> INTENT_NUMBER_BITS),
        counts=route.counts,
        measures=route.measures,
        control=route.control.state,
        failed=route.failure is not None,
        uncertain=route.measures.uncertain(working),
        parked=sum(entry.order.parked for entry in working),
        paced=len(route.gate.pace._queue),
        orders=dict(Counter(str(entry.order.status) for entry in working)),
        incidents=dict(Counter(one.kind for one in route.incidents.open())),
        oldest_break_s=max(route.measures.breaks.oldest_us(now_us), 0) / 1_000_000,
        lease_s=max(remaining_s, 0.0) if math.isfinite(remaining_s) else None,
        lent_s=route.settings.lease_s,
        positions={receiver.stream: receiver.seen for receiver in receivers},
        subscribers=tuple([_subscriber(relay, now_us) for relay in relays]),
    )


def ledger(gateway: Oversight) -> LedgerReading:
    """Return how the ledger stands."""
    store = gateway._ledger
    measures, depth = getattr(store, "measures", None), getattr(store, "depth", 0)
    return LedgerReading(
        measures=measures if isinstance(measures, LedgerMeasures) else None,
        depth=depth if isinstance(depth, int) else 0,
        failed=isinstance(getattr(store, "failure", None), Exception),
        standby=gateway.status().standby,
    )
