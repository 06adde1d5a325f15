"""Incidents: what was found to differ, with evidence, a runbook that resumes, and an end that a person gives it.

A divergence between ledger, venue, executions and positions opens one, and nothing is adjusted without one (promise
NO-SILENT-HEAL). That a difference is gone again is noted; only a person closes the incident, with a reason. Of one kind about
one subject at most one is open on a route: the ledger's unique constraint says so.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from onefill.core.errors import CallerError, InvalidField

MOST_EVIDENCE = 20
"""Lines of evidence kept per incident: the first ones."""
MOST_TEXT = 500
MOST_NOTES = 200
"""Lines of evidence in all, with what people did about it."""
MOST_LISTED = 100
"""Positions and orders that a snapshot names, of each kind: the first ones, and how many more there are."""


class IncidentKind(StrEnum):
    """What an incident is about. The first eight are breaks of the reconciliation."""

    UNKNOWN_AT_VENUE = "unknown_at_venue"
    """The ledger has a live order, and the venue does not."""
    UNKNOWN_HERE = "unknown_here"
    """The venue has a live order that nobody here sent."""
    QUANTITY = "quantity"
    """Ledger and venue differ in an order's quantity."""
    PRICE = "price"
    STATE = "state"
    """The order is over for one of both and live for the other."""
    MISSING_EXECUTION = "missing_execution"
    """The venue counts an execution that the ledger does not have."""
    EXTRA_EXECUTION = "extra_execution"
    """The ledger has an execution that the venue does not show."""
    POSITION = "position"
    STRANGER_EXECUTION = "stranger_execution"
    """An execution of an order that nobody here sent; it is in no strategy's position."""
    FOREIGN_EXECUTION = "foreign_execution"
    """An execution under one of our ids with another account, instrument or side; it is in no strategy's position."""
    OVERFILL = "overfill"
    """More was executed than the order's quantity."""
    TWO_ORDERS = "two_orders"
    """The venue has two orders under one client order id (promise ONE-ORDER)."""
    RESURRECTED = "resurrected"
    """The venue shows an order that was held not to be there."""
    FOREIGN_ORDER = "foreign_order"
    """The venue has an order with other content under one of our ids."""
    CONTRADICTION = "contradiction"
    """The venue's word contradicts what was known, in another way."""
    RESTATED = "restated"
    """The venue changed an order's terms by itself."""
    UNCERTAIN = "uncertain"
    """An order waits for evidence or a person."""
    ID_COLLISION = "id_collision"
    STREAM = "stream"
    """An execution stream shows a lasting gap, or stands still."""
    SPLIT_BRAIN = "split_brain"
    """Two holders of a route are suspected."""
    LEDGER = "ledger"
    CONTROL = "control"
    """The route was put into DUP_RISK or SAFE."""
    SUBSCRIBER = "subscriber"
    """A subscriber will not take an order's event, or nothing at all: it is not told of that order, or of anything."""


BREAKS = frozenset(list(IncidentKind)[:8])
"""The kinds that the reconciliation finds. They converge by themselves or not; either way a person closes them."""


class Step(StrEnum):
    """The runbook (DESIGN, incidents), in its order."""

    FREEZE = "freeze"
    """Take no new risk on the route."""
    SNAPSHOT = "snapshot"
    """Keep ledger positions, the venue's open orders and the stream offsets as they are now."""
    RESOLVE_UNCERTAIN = "resolve_uncertain"
    """Find out the fate of every uncertain order, by query or by the broker's desk."""
    CANCEL_RESIDUALS = "cancel_residuals"
    """Cancel what should not be at the venue."""
    REPLAY = "replay"
    """Read the execution stream again through the same consumer and verify that the positions are the same."""
    POSTMORTEM = "postmortem"
    """Write down what happened and which control changes."""


STEPS = tuple(Step)


class StepDone(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A step of the runbook that was done (or, ``skipped``, found not to be needed). ``result``: what came of it."""

    step: Step
    at_us: int
    by: str
    result: str
    skipped: bool = False


class Snapshot(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How things stood. ``open_orders`` is the venue's list, or why there is none."""

    at_us: int
    positions: tuple[str, ...] = ()
    open_here: tuple[str, ...] = ()
    open_at_venue: tuple[str, ...] = ()
    venue_said: str = ""
    offsets: dict[str, int] = {}
    """The last position taken in of each execution stream."""
    journal_sequence: int = 0


class Incident(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One incident. ``version`` rises with every change. Times in µs since 1970.

    ``subject``: what it is about, an order's client id, an execution, an account's instrument; empty for the route itself.
    ``seen``: how often something new was noted of it. ``converged_at_us``: when the difference was last seen to be gone.
    """

    route: str
    number: int
    kind: IncidentKind
    subject: str
    opened_at_us: int
    summary: str
    evidence: tuple[str, ...] = ()
    version: int = 1
    seen: int = 1
    first_seen_at_us: int | None = None
    """When the difference was first met, before the time in which it may still be in flight."""
    snapshot: Snapshot | None = None
    steps: tuple[StepDone, ...] = ()
    converged_at_us: int | None = None
    resolved_at_us: int | None = None
    resolved_by: str | None = None
    resolution: str | None = None

    @property
    def name(self) -> str:
        """The id that people are told."""
        return f"{self.route}-{self.number}"

    @property
    def open(self) -> bool:
        """Whether nobody has closed it yet."""
        return self.resolved_at_us is None

    @property
    def key(self) -> tuple[IncidentKind, str]:
        """By what it is unique among the open ones of its route."""
        return self.kind, self.subject

    @property
    def next_step(self) -> Step | None:
        """The first step of the runbook that was not done yet."""
        done = {one.step for one in self.steps}
        return next((step for step in STEPS if step not in done), None)


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking for a step. ``done``: it is, and that is recorded; else ``result`` says what is missing.

    ``details``: what was found, one fact each. ``run``: what may be run next, as commands without the ledger's name.
    """

    incident: Incident
    step: Step
    done: bool
    result: str
    details: tuple[str, ...] = ()
    run: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a rule found that needs an incident."""

    kind: IncidentKind
    subject: str
    summary: str
    evidence: tuple[str, ...] = ()
    first_seen_at_us: int | None = None


class StepOutOfTurn(CallerError):
    """A step of the runbook was asked for that is not next, or was done."""

    def __init__(self, incident: Incident, step: Step) -> None:
        self.step = step
        due = incident.next_step
        said = "every step is done; resolve it with a reason" if due is None else f"next is {due}"
        super().__init__(f"incident {incident.name}: {step} is not what is to be done now: {said}. Nothing was changed")


class IncidentClosed(CallerError):
    """The incident was resolved before."""

    def __init__(self, incident: Incident) -> None:
        super().__init__(
            f"incident {incident.name} was resolved by {incident.resolved_by}: {incident.resolution}. Nothing was changed"
        )


class StepsLeft(CallerError):
    """An incident was to be resolved with steps of its runbook left."""

    def __init__(self, incident: Incident) -> None:
        left = [step for step in STEPS if step not in {one.step for one in incident.steps}]
        super().__init__(
            f"incident {incident.name}: {', '.join(left)} {'is' if len(left) == 1 else 'are'} not done. Do or skip each (a "
            "skip needs a reason), or resolve it all the same with force, which is recorded. Nothing was changed"
        )


class UnknownIncident(CallerError):
    """There is no incident of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"incident {name!r} is not in this ledger; `onefill incidents` lists those that are")


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def opened(found: Finding, route: str, number: int, at_us: int) -> Incident:
    """Return a new incident."""
    return Incident(
        route=route,
        number=number,
        kind=found.kind,
        subject=found.subject,
        opened_at_us=at_us,
        summary=_short(found.summary),
        evidence=tuple(map(_short, found.evidence[:MOST_EVIDENCE])),
        first_seen_at_us=found.first_seen_at_us,
    )


def seen_again(incident: Incident, found: Finding) -> Incident | None:
    """Return the incident after the same was found once more, or ``None`` if that adds nothing to it."""
    room = max(MOST_EVIDENCE - len(incident.evidence), 0)
    new = tuple(_short(line) for line in found.evidence if _short(line) not in incident.evidence)[:room]
    back = incident.converged_at_us is not None
    if not (new or back):
        return None
    return msgspec.structs.replace(
        incident,
        evidence=incident.evidence + new,
        seen=incident.seen + 1,
        converged_at_us=None,
        version=incident.version + 1,
    )


def converged(incident: Incident, at_us: int) -> Incident | None:
    """Return the incident after its difference was seen to be gone, or ``None`` if that is known."""
    if incident.converged_at_us is not None or not incident.open:
        return None
    return msgspec.structs.replace(incident, converged_at_us=at_us, version=incident.version + 1)


def with_snapshot(incident: Incident, snapshot: Snapshot) -> Incident:
    """Return the incident with how things stood."""
    return msgspec.structs.replace(incident, snapshot=snapshot, version=incident.version + 1)


def noted(incident: Incident, lines: tuple[str, ...]) -> Incident:
    """Return the incident with what somebody did about it among its evidence."""
    room = max(MOST_NOTES - len(incident.evidence), 0)
    evidence = incident.evidence + tuple(map(_short, lines))[:room]
    return msgspec.structs.replace(incident, evidence=evidence, version=incident.version + 1)


def check_turn(incident: Incident, step: Step) -> None:
    """Raise IncidentClosed or StepOutOfTurn unless this step is what is to be done now."""
    if not incident.open:
        raise IncidentClosed(incident)
    if incident.next_step is not step:
        raise StepOutOfTurn(incident, step)


def stepped(incident: Incident, done: StepDone) -> Incident:
    """Return the incident after a step of its runbook. Raises IncidentClosed or StepOutOfTurn."""
    check_turn(incident, done.step)
    return msgspec.structs.replace(incident, steps=(*incident.steps, done), version=incident.version + 1)


def listed(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines that a snapshot keeps of many."""
    more = len(lines) - MOST_LISTED
    return (*lines[:MOST_LISTED], f"and {more} more") if more > 0 else tuple(lines)


def resolved(incident: Incident, by: str, reason: str, at_us: int, *, force: bool = False) -> Incident:
    """Return the incident as a person closes it. ``force``: with steps of the runbook left.

    Raises InvalidField without a name or reason, IncidentClosed, StepsLeft.
    """
    for field, text in (("by", by), ("reason", reason)):
        if not text.strip():
            raise InvalidField(field, "an incident is closed by somebody, with a reason")
    if not incident.open:
        raise IncidentClosed(incident)
    if incident.next_step is not None and not force:
        raise StepsLeft(incident)
    return msgspec.structs.replace(
        incident, resolved_at_us=at_us, resolved_by=by, resolution=reason, version=incident.version + 1
    )
