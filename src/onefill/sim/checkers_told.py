"""Checks about subscribers: what they were told of the journal, and what the ledger has of that."""

from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.history import Delivered, ToldThrough


def told_once(index: Index) -> Verdict:
    """A subscriber was told of every entry of the journal, of an order's in their order; what it was told again was the same;
    and the ledger never held that it was told of what it had not been.
    """
    verdict = Verdict(promise="TOLD-ONCE")
    first: dict[int, Delivered] = {}
    last_of_lane: dict[int, int] = {}
    names: dict[str, int] = {}
    through = 0
    for record in index.records:
        if isinstance(record, Delivered):
            verdict.cases += 1
            known = first.setdefault(record.sequence, record)
            if (known.id, known.digest) != (record.id, record.digest):
                verdict.broken(
                    f"entry {record.sequence} was told as {known.id}, and again as {record.id}", record.at_us
                )
            if names.setdefault(record.id, record.sequence) != record.sequence:
                verdict.broken(f"two entries were told as {record.id}", record.at_us)
            if known is record:
                before = last_of_lane.get(record.lane, 0)
                if record.sequence < before:
                    text = f"entry {record.sequence} of lane {record.lane} was told after {before}"
                    verdict.broken(text, record.at_us)
                last_of_lane[record.lane] = max(record.sequence, before)
        elif isinstance(record, ToldThrough):
            verdict.cases += 1
            missing = [place for place in range(through + 1, record.position + 1) if place not in first]
            if missing:
                text = f"the ledger had it that entry {record.position} was told, and {missing[0]} was not"
                verdict.broken(text, record.at_us)
            through = max(through, record.position)
    _all_told(index, verdict, first)
    return verdict


def _all_told(index: Index, verdict: Verdict, first: dict[int, Delivered]) -> None:
    if index.plan.nodes.hosts == 1 or not index.run.rested:
        return
    if not index.run.told:
        verdict.broken("the subscriber was not told of everything, long after the last fault")
    for entry in index.run.journal:
        told = first.get(entry.sequence)
        if index.run.told and entry.sequence <= max(first, default=0) and told is None:
            verdict.broken(f"entry {entry.sequence} ({entry.kind}) was never told")
        elif told is not None and (told.lane or None) != entry.intent_id:
            verdict.broken(f"entry {entry.sequence} was told as one of order {told.lane}, and is of {entry.intent_id}")
