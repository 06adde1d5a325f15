"""Reconciliation: ledger, the venue's open orders, executions and positions beside one another, and what is made of it.

The two sides are never read at the same moment. A difference may be in flight: a report under way, a list a little old. So one
look proves nothing. :class:`Watch` keeps what was met; what is met again, unchanged, after the grace window is a break and
needs an incident (promise NO-SILENT-HEAL). The rules that compare are in :mod:`onefill.core.reconcile_rules`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from onefill.core.executions import Name
from onefill.core.incident import BREAKS, Finding, Incident, IncidentKind
from onefill.core.messages import ExecutionReport, VenueOrder
from onefill.core.order import Order
from onefill.core.position import Execution

Key = tuple[str, str]
"""By what an execution is deduped: (scope, execution id)."""
Subject = tuple[IncidentKind, str]
"""By what an incident is unique among the open ones of a route."""
Item = tuple[IncidentKind, str, str]
"""A subject, and in what exactly the sides differ."""
BLIND = "reconciliation"
"""The subject of the incident about a venue that cannot be compared with."""
BLIND_INCIDENT: Subject = (IncidentKind.STREAM, BLIND)
LOOKS = 2
"""So often a difference must be met before it is a break."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """A report of an execution, as the venue tells it now. ``stream``: by which of its channels."""

    stream: str
    report: ExecutionReport
    named: Name


class Here(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the ledger has of one account.

    ``orders``: those that were not closed at ``at_us``, before the venue was asked. ``now``: the same after it was asked,
    and ``named``, by any of their ids, those that the venue tells of.

    ``known``: of the executions that the venue tells, those that the ledger has. ``rows``: what it has recorded since the
    place through which the two were compared before. ``taken_in``: through where each stream was durably taken in.

    ``holds``: what is held of each instrument, over all strategies: the opening position and every execution, also those of
    strangers. ``uncounted``: the executions of ``known`` that were recorded too late to be in it.
    """

    account: str
    at_us: int
    orders: tuple[Order, ...] = ()
    now: tuple[Order, ...] = ()
    named: Mapping[str, Order] = {}
    known: Mapping[Key, Execution] = {}
    rows: tuple[Execution, ...] = ()
    taken_in: Mapping[str, int] = {}
    holds: Mapping[str, Decimal] = {}
    uncounted: frozenset[Key] = frozenset()


class There(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the venue has of one account, by its own word. ``None`` is unknown, which is not empty.

    ``orders`` and ``holds`` were asked for at ``asked_at_us`` or later; ``executions``, in the order of each channel, after
    both. ``whole``: no execution is left out that the ledger can have recorded since the compared place.
    """

    asked_at_us: int
    orders: tuple[VenueOrder, ...] | None = None
    executions: tuple[Told, ...] = ()
    whole: bool = False
    holds: Mapping[str, Decimal] | None = None


class Difference(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something in which the two sides differ. ``content`` says in what exactly: as long as it is the same, so is the
    difference.

    ``may_be_in_flight``: time may settle it. ``missing``: the executions that the ledger would have to take in. ``amount``:
    by how much a position differs, where nothing under way can have a part in it.
    """

    kind: IncidentKind
    subject: str
    content: str
    summary: str
    evidence: tuple[str, ...]
    may_be_in_flight: bool = True
    missing: tuple[Told, ...] = ()
    amount: Decimal | None = None

    @property
    def about(self) -> Subject:
        """What its incident is about."""
        return self.kind, self.subject

    @property
    def item(self) -> Item:
        """By what it is known again."""
        return self.kind, self.subject, self.content


class Comparison(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one look at one or more accounts shows.

    ``orders``, ``positions``, ``history``: whether the venue's open orders, its positions, and its executions from the first
    on were there to be compared. ``blind``: the venue lists open orders, and did not this time. ``shown``: subjects about
    executions that the venue tells of. ``undecided``: subjects about which this look cannot say anything.
    """

    differences: tuple[Difference, ...] = ()
    orders: bool = False
    blind: bool = False
    positions: bool = False
    history: bool = False
    shown: frozenset[str] = frozenset()
    undecided: frozenset[Subject] = frozenset()

    def decides(self, about: Subject) -> bool:
        """Tell whether the look would have met a difference about this, if there were one."""
        kind, subject = about
        if about in self.undecided:
            return False
        if kind is IncidentKind.POSITION:
            return self.positions
        if subject.startswith(EXECUTION):
            return self.history or subject in self.shown
        if kind is IncidentKind.MISSING_EXECUTION:
            return not self.blind
        if kind is IncidentKind.STREAM:
            return True
        return self.orders


EXECUTION = "execution "
"""What subjects about a single execution begin with."""


def execution_subject(key: Key) -> str:
    """Return the subject of a difference about a single execution."""
    return f"{EXECUTION}{' '.join(key[0].split(chr(10)))} {key[1]}"


def position_subject(account: str, instrument: str) -> str:
    """Return the subject of a difference between positions."""
    return f"{account} {instrument}"


def together(comparisons: Iterable[Comparison]) -> Comparison:
    """Return the comparisons of a route's accounts as one: nothing was seen that was not seen of every account."""
    kept = list(comparisons)
    return Comparison(
        differences=tuple(difference for one in kept for difference in one.differences),
        orders=bool(kept) and all(one.orders for one in kept),
        blind=any(one.blind for one in kept),
        positions=bool(kept) and all(one.positions for one in kept),
        history=bool(kept) and all(one.history for one in kept),
        shown=frozenset(subject for one in kept for subject in one.shown),
        undecided=frozenset(about for one in kept for about in one.undecided),
    )


class Met(msgspec.Struct, frozen=True, gc=False):
    """Since when a difference is met, and in how many looks."""

    first_seen_at_us: int
    looks: int = 1


class Watch(msgspec.Struct, frozen=True, gc=False):
    """The differences met in the last look, each with its history. Changed by :func:`looked` only."""

    met: Mapping[Item, Met] = {}


class Looked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a look makes of things: the breaks, what is to wait, and the breaks that are gone."""

    watch: Watch
    breaks: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()
    waiting: tuple[Difference, ...] = ()
    converged: tuple[Subject, ...] = ()


def looked(watch: Watch, seen: Comparison, open_breaks: Iterable[Incident], grace_us: int, now_us: int) -> Looked:
    """Return what becomes of the differences after one more look.

    A difference is a break once it was met, with the same content, in two looks at least and for the grace window, unless it
    cannot be in flight: then two looks suffice. What cannot be in flight and belongs to a break that is open is part of it at
    once. A break converges when a look that would have met it does not.
    """
    lasting = {one.key for one in open_breaks if one.converged_at_us is None}
    met: dict[Item, Met] = {}
    breaks: list[Difference] = []
    waiting: list[Difference] = []
    for difference in seen.differences:
        before = watch.met.get(difference.item)
        since = Met(now_us) if before is None else Met(min(before.first_seen_at_us, now_us), before.looks + 1)
        met[difference.item] = since
        (breaks if _is_break(difference, since, difference.about in lasting, grace_us, now_us) else waiting).append(
            difference
        )
    for item, since in watch.met.items():
        if item not in met and not seen.decides(item[:2]):
            met[item] = since  # neither met again nor gone
    still = {item[:2] for item in met}
    gone = sorted(about for about in lasting if about not in still and seen.decides(about))
    return Looked(
        watch=Watch(met),
        breaks=tuple(breaks),
        findings=_findings(breaks, met),
        waiting=tuple(waiting),
        converged=tuple(gone),
    )


def _is_break(difference: Difference, since: Met, known: bool, grace_us: int, now_us: int) -> bool:
    if not difference.may_be_in_flight:
        return known or since.looks >= LOOKS
    return since.looks >= LOOKS and now_us - since.first_seen_at_us >= grace_us


def _findings(breaks: Iterable[Difference], met: Mapping[Item, Met]) -> tuple[Finding, ...]:
    """Return one finding per subject, with the evidence of all its differences."""
    by_subject: dict[Subject, list[Difference]] = {}
    for one in breaks:
        by_subject.setdefault(one.about, []).append(one)
    return tuple(
        Finding(
            kind=kind,
            subject=subject,
            summary=found[0].summary,
            evidence=tuple(dict.fromkeys(line for one in found for line in one.evidence)),
            first_seen_at_us=min(met[one.item].first_seen_at_us for one in found),
        )
        for (kind, subject), found in by_subject.items()
    )


def is_lasting(incident: Incident, streams: Iterable[str]) -> bool:
    """Tell whether an open incident is one that looks find and see gone, and is not gone yet."""
    watched = incident.kind in BREAKS or (incident.kind is IncidentKind.STREAM and incident.subject in streams)
    return watched and incident.open and incident.converged_at_us is None


class Report(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a reconciliation of one route came to. ``failure``: why the venue could not be compared with, if so.

    ``orders_here``, ``orders_there``: live orders of both sides; ``executions``: those the venue told of; ``positions``: how
    many it told. ``None``: the venue does not tell. ``in_flight``: differences that time may settle. ``breaks``: the
    incidents of those that lasted and are not gone; ``converged``: of those that are gone by this look. ``taken_in``:
    executions that were missing here and were taken in, each under an incident.
    """

    route: str
    at_us: int
    looks: int
    full: bool
    failure: str | None = None
    accounts: tuple[str, ...] = ()
    orders_here: int = 0
    orders_there: int | None = None
    executions: int = 0
    positions: int | None = None
    in_flight: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    converged: tuple[str, ...] = ()
    taken_in: int = 0
