"""A route's open incidents in memory: what becomes of findings, so that each is recorded with the change it is about."""

from collections.abc import Callable, Iterable

from onefill.core import events as ev
from onefill.core import incident as incidents
from onefill.core.events import Event, IncidentEvent
from onefill.core.incident import Finding, Incident, IncidentKind
from onefill.core.order import Order

Key = tuple[IncidentKind, str]
Noted = tuple[tuple[Incident, ...], tuple[IncidentEvent, ...]]
"""Incidents that change, and the journal's word for it."""
NOTHING: Noted = ((), ())


class IncidentBook:
    """The open incidents of one route. Memory runs ahead of the ledger by the changes under way."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._now: dict[Key, Incident] = {}
        self._kept: dict[Key, Incident] = {}
        """As the ledger has them."""
        self._closing: set[int] = set()
        """Numbers of those that somebody closed, where that is not durable yet."""
        self._last = 0
        self.kept: Callable[[], object] = _nobody
        """Called when incidents, as they are now, have become durable."""

    def load(self, kept: Iterable[Incident], last_number: int) -> None:
        """Take up what is open in the ledger. ``last_number``: the highest number ever given."""
        self._kept = {one.key: one for one in kept}
        self._now = dict(self._kept)
        self._last = last_number

    def open(self) -> list[Incident]:
        """Return the open ones, oldest first."""
        return sorted(self._now.values(), key=lambda one: one.number)

    def get(self, kind: IncidentKind, subject: str) -> Incident | None:
        """Return the open one of a kind about a subject."""
        return self._now.get((kind, subject))

    def numbered(self, number: int) -> Incident | None:
        """Return the open one with a number."""
        return next((one for one in self._now.values() if one.number == number), None)

    def without_snapshot(self) -> list[Incident]:
        """Return those of the durable ones of which nobody has kept yet how things stood, oldest first."""
        return sorted((one for one in self._kept.values() if one.snapshot is None), key=lambda one: one.number)

    def note(self, findings: Iterable[Finding], at_us: int) -> Noted:
        """Return what findings make of the incidents: new ones, more evidence, or nothing."""
        changed: list[Incident] = []
        events: list[IncidentEvent] = []
        for found in findings:
            known = self._now.get((found.kind, found.subject))
            if known is None:
                self._last += 1
                made = incidents.opened(found, self._route, self._last, at_us)
                events.append(ev.IncidentOpened(made.number, made.kind, made.subject, made.summary, made.evidence))
            else:
                again = incidents.seen_again(known, found)
                if again is None:
                    continue
                made = again
                events.append(ev.IncidentSeen(made.number, made.evidence[len(known.evidence) :]))
            self._now[made.key] = made
            changed.append(made)
        return tuple(changed), tuple(events)

    def converge(self, kind: IncidentKind, subject: str, at_us: int) -> Noted:
        """Return what it makes of an incident that its difference is gone."""
        known = self._now.get((kind, subject))
        gone = None if known is None else incidents.converged(known, at_us)
        if gone is None:
            return NOTHING
        self._now[gone.key] = gone
        return (gone,), (ev.IncidentConverged(gone.number),)

    def put(self, changed: Incident) -> None:
        """Take an incident as somebody changed it."""
        if changed.open:
            self._now[changed.key] = changed
        else:
            self._now.pop(changed.key, None)
            self._closing.add(changed.number)

    def committed(self, changed: Iterable[Incident]) -> None:
        """Note what is durable."""
        for one in changed:
            kept = self._kept.get(one.key)
            if not one.open:
                self._kept.pop(one.key, None)
                self._closing.discard(one.number)
            elif kept is None or kept.number != one.number or kept.version < one.version:
                self._kept[one.key] = one
                if one.number not in self._closing:  # an earlier change that carried it may have been refused
                    self._now.setdefault(one.key, one)
        self.kept()

    def refused(self, changed: Iterable[Incident]) -> None:
        """Go back to what is durable: the ledger refused a change that carried these."""
        for one in changed:
            if not one.open:
                self._closing.discard(one.number)
            kept = self._kept.get(one.key)
            if kept is None:
                self._now.pop(one.key, None)
            else:
                self._now[one.key] = kept

    def of_change(self, before: Order, after: Order, events: Iterable[Event], at_us: int) -> Noted:
        """Return what an order's change means: an anomaly or an order that waits for a person needs an incident, and an
        order that waits no more converges.
        """
        found = []
        for event in events:
            if isinstance(event, ev.Anomaly):
                found.append(_about(before, event.kind, event.reason))
            elif isinstance(event, ev.Parked) and not before.parked:
                found.append(_about(before, IncidentKind.UNCERTAIN, event.reason))
        noted = self.note(found, at_us) if found else NOTHING
        if before.parked and not after.parked:
            gone = self.converge(IncidentKind.UNCERTAIN, before.client_order_id, at_us)
            noted = (noted[0] + gone[0], noted[1] + gone[1])
        return noted


def _about(order: Order, kind: IncidentKind, reason: str) -> Finding:
    intent = order.intent
    line = (
        f"{order.status}, key {order.key}: {intent.side} {order.quantity:f} {intent.instrument}, executed "
        f"{order.cum_quantity:f} (venue: {order.venue_cum_quantity:f}), venue's number {order.venue_order_id or 'unknown'}"
    )
    summary = f"order {order.client_order_id}: {reason}"
    return Finding(kind=kind, subject=order.client_order_id, summary=summary, evidence=(reason, line))


def _nobody() -> None:
    pass
