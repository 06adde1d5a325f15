"""Checks about several nodes: who may write and send on a route, judged by the world's own time."""

from collections.abc import Iterator

from onefill.core.incident import IncidentKind
from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.history import (
    Acquired,
    Commit,
    Ended,
    Fault,
    Leased,
    Moved,
    Query,
    Refused,
    Sent,
    Suspected,
    ToldThrough,
)

_TIME_TO_TELL_US = 3_000_000
_TIME_TO_NOTICE_US = 900_000
"""A node looks at the routes every 0.2 s of its own time."""


def one_writer(index: Index) -> Verdict:
    """Whoever had lost the route wrote nothing, and began to send nothing: not after another one had got it, and not after
    the lease was over by the ledger's clock, got or not.

    Bytes that their process was about to hand over when it was stopped leave late: there what counts is when it began to. Not
    so where the venue's adapter looks once more right before the bytes leave.
    """
    judge = _Writers(index)
    for record in index.records:
        if isinstance(record, Acquired):
            judge.acquired(record)
        elif isinstance(record, Leased):
            judge.leased(record)
        elif isinstance(record, Commit | Moved | ToldThrough):
            judge.wrote(record)
        elif isinstance(record, Sent) and not isinstance(record.request, Query):
            judge.sent(record)
    return judge.verdict


class _Writers:
    """Who has a route while a history is gone through."""

    def __init__(self, index: Index) -> None:
        self.verdict = Verdict(promise="ONE-WRITER")
        self._nodes = index.plan.nodes
        self._epoch = 0
        self._since_us = 0
        self._until_us: dict[int, int | None] = {}
        """When the lease of each epoch ends, by the ledger's clock."""
        self._doubled: dict[int, int] = {}
        """Epochs whose lease the ledger forgot, and when they would have ended: until then two may send in good faith."""

    def acquired(self, record: Acquired) -> None:
        if record.epoch <= self._epoch:
            self.verdict.broken(f"gw{record.life} got epoch {record.epoch} after {self._epoch}", record.at_us)
        until_us = self._until_us.get(self._epoch)
        if until_us is not None and record.at_us < until_us:
            if self._nodes.forgotten_at_s is not None:
                self._doubled[self._epoch] = until_us
            else:
                told = f"gw{record.life} got epoch {record.epoch} while {self._epoch} had {_s(until_us)} to go to"
                self.verdict.broken(told, record.at_us)
        self._epoch, self._since_us = record.epoch, record.at_us
        self._until_us[record.epoch] = record.until_us

    def leased(self, record: Leased) -> None:
        self.verdict.cases += 1
        if record.epoch != self._epoch:
            told = f"gw{record.life} was lent epoch {record.epoch} anew during {self._epoch}"
            self.verdict.broken(told, record.at_us)
        self._until_us[record.epoch] = record.at_us if record.until_us is None else record.until_us

    def wrote(self, record: Commit | Moved | ToldThrough) -> None:
        self.verdict.cases += self._epoch > 1
        if record.epoch != self._epoch:
            told = f"gw{record.life} committed under epoch {record.epoch} during {self._epoch}"
            self.verdict.broken(told, record.at_us)

    def sent(self, record: Sent) -> None:
        until_us = self._until_us.get(record.epoch)
        self.verdict.cases += self._epoch > 1 or until_us is not None
        begun_us = record.at_us if self._nodes.looks else record.begun_us
        if begun_us <= self._doubled.get(record.epoch, -1):
            return
        if record.epoch != self._epoch and begun_us > self._since_us:
            told = f"gw{record.life} began to send #{record.message} under epoch {record.epoch} during {self._epoch}"
            self.verdict.broken(told, begun_us)
        elif until_us is not None and begun_us > until_us:
            told = f"gw{record.life} began to send #{record.message} when its lease was over since {_s(until_us)}"
            self.verdict.broken(told, begun_us)


def _s(at_us: int) -> str:
    return f"{at_us / 1e6:.6f}"


def split_brain(index: Index) -> Verdict:
    """Whoever lost a route while its own lease lasted said so; whoever holds the route shut it for that, under an incident; and
    nobody said so without such a cause.
    """
    verdict = Verdict(promise="SPLIT-BRAIN")
    verdict.cases += sum(isinstance(one, Refused) and one.outcome == "Fenced" for one in index.records)
    lost = list(_lost_early(index))
    early = {epoch for _, epoch, _, _ in lost}
    suspected: set[tuple[int, int]] = set()
    for record in index.records:
        if isinstance(record, Suspected):
            verdict.cases += 1
            suspected.add((record.life, record.epoch))
            if record.epoch not in early:
                verdict.broken(f"gw{record.life} suspected a second holder, and there was none", record.at_us)
    for life, epoch, at_us, left_us in lost:
        if left_us > _TIME_TO_NOTICE_US and not _hindered(index, life, at_us):
            verdict.cases += 1
            if (life, epoch) not in suspected:
                verdict.broken(f"gw{life} lost epoch {epoch} while its lease lasted, and told nobody", at_us)
    if index.run.rested:
        _acted_on(index, verdict)
    return verdict


def _acted_on(index: Index, verdict: Verdict) -> None:
    acted = [entry.payload for entry in index.run.journal if '"type":"holders_suspected"' in entry.payload]
    for one in index.run.suspicions:
        verdict.cases += 1
        if not any(f'"number":{one.number},' in payload for payload in acted):
            verdict.broken(f"suspicion {one.number} ({one.reason}) was noted, and nobody acted on it")
    kinds = {incident.kind for incident in index.run.incidents}
    if index.run.suspicions and IncidentKind.SPLIT_BRAIN not in kinds:
        verdict.broken("two holders were suspected, and there is no incident of it")


def _lost_early(index: Index) -> Iterator[tuple[int, int, int, int]]:
    """Yield who lost which epoch when to another, and for how long its lease would have lasted by the ledger's clock."""
    owner: Acquired | None = None
    until_us = 0
    for record in index.records:
        if isinstance(record, Acquired):
            if owner is not None and until_us > record.at_us:
                yield owner.life, owner.epoch, record.at_us, until_us - record.at_us
            owner, until_us = record, record.until_us or 0
        elif isinstance(record, Leased) and owner is not None and record.epoch == owner.epoch:
            until_us = record.until_us or 0


def _hindered(index: Index, life: int, at_us: int) -> bool:
    """Tell whether something kept a process from noticing what became of its route, or from telling."""
    if index.plan.nodes.drifts:
        return True  # by the time of day its lease may have been over
    for one in index.records:
        if isinstance(one, Fault) and one.name == "ledger cut":
            return True
        stopped = isinstance(one, Ended) or (isinstance(one, Fault) and one.name in _STOPS)
        near = at_us - 8_000_000 < one.at_us < at_us + _TIME_TO_TELL_US
        if stopped and near and getattr(one, "life", 0) in (0, life):
            return True
    return False


_STOPS = frozenset({"pause", "suspension", "clock step", "ledger fails"})
