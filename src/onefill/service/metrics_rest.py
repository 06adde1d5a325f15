"""What can be said of the five safety figures from a ledger file alone, also while a gateway writes it."""

import msgspec

from onefill.core import metrics
from onefill.core.incident import BREAKS, Incident, IncidentKind
from onefill.core.lifecycle import Status
from onefill.ports.ledger_browse import BrowsableLedger, RouteSums

_COLLISIONS = metrics.COLLISIONS | {IncidentKind.ID_COLLISION}


class RestFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A route's figures over all its history. RDR is not among them: what was dropped as a replay is not recorded.

    ``drr`` is ``None`` without new orders. ``uncertain``: of unknown fate by the record; ``sending``: a reply was awaited at
    the last change, so that each is of unknown fate too unless a gateway is running. Ages are those at the time of reading.
    """

    route: str
    label: str
    """The route's name in Prometheus."""
    new_orders: int
    duplicate_rejects: int
    drr: float | None
    uncertain: int
    parked: int
    sending: int
    id_collisions: int
    """Incidents that show a client order id used for two orders. What the ledger refused leaves no trace in it."""
    breaks_converged: int
    break_mean_s: float | None
    break_longest_s: float | None
    break_oldest_open_s: float
    copies: dict[str, int]
    resends: int
    attempts: dict[int, int]
    executions: int
    quarantined: int
    orders: dict[str, int]
    open_incidents: dict[str, int]


async def read(store: BrowsableLedger, now_us: int) -> list[RestFigures]:
    """Return the figures of every route of a ledger."""
    incidents = await store.incidents(open_only=False)
    return [
        _figures(sums, [one for one in incidents if one.route == sums.route], now_us) for sums in await store.sums()
    ]


def _figures(sums: RouteSums, incidents: list[Incident], now_us: int) -> RestFigures:
    new_orders = sum(count for status, count in sums.orders.items() if status != Status.REFUSED)
    duplicates = sums.copies.get("duplicate", 0)
    breaks = [one for one in incidents if one.kind in BREAKS]
    lasted_s = [
        max(one.converged_at_us - metrics.detected_at_us(one), 0) / metrics.MICRO
        for one in breaks
        if one.converged_at_us is not None
    ]
    lasts = [one for one in breaks if one.open and one.converged_at_us is None]
    oldest_us = max((now_us - metrics.detected_at_us(one) for one in lasts), default=0)
    kinds = [str(one.kind) for one in incidents if one.open]
    return RestFigures(
        route=sums.route,
        label=metrics.route_label(sums.route, sums.route_id),
        new_orders=new_orders,
        duplicate_rejects=duplicates,
        drr=duplicates / new_orders if new_orders else None,
        uncertain=sums.orders.get(Status.UNCERTAIN, 0),
        parked=sums.parked,
        sending=sums.orders.get(Status.SENDING, 0),
        id_collisions=sum(one.kind in _COLLISIONS for one in incidents),
        breaks_converged=len(lasted_s),
        break_mean_s=sum(lasted_s) / len(lasted_s) if lasted_s else None,
        break_longest_s=max(lasted_s, default=None),
        break_oldest_open_s=max(oldest_us, 0) / metrics.MICRO,
        copies=sums.copies,
        resends=sum((copies - 1) * count for copies, count in sums.attempts.items()),
        attempts=sums.attempts,
        executions=sums.executions,
        quarantined=sums.quarantined,
        orders=sums.orders,
        open_incidents={kind: kinds.count(kind) for kind in sorted(set(kinds))},
    )
