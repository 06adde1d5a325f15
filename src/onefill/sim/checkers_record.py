"""Checks about the ledger, its owners, and the end of a world."""

from collections.abc import Sequence

import msgspec

from onefill.core.audit import GENESIS, JournalEntry, first_fault
from onefill.core.lifecycle import ENDED
from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.history import Answered, Called, Commit, Fault, Query, Refused, Sent


def fail_closed(index: Index) -> Verdict:
    """After its ledger failed, or somebody else took the route, a gateway began to send nothing as its owner."""
    verdict = Verdict(promise="FAIL-CLOSED")
    failed: dict[tuple[int, int], int] = {}
    dead: dict[int, int] = {}
    for record in index.records:
        if isinstance(record, Fault) and record.name == "ledger fails":
            dead[record.life] = record.at_us
        elif isinstance(record, Refused) and record.outcome == "Fenced":
            failed.setdefault((record.life, record.epoch), record.at_us)
        elif isinstance(record, Sent | Commit):
            since_us = dead.get(record.life, failed.get((record.life, record.epoch)))
            if since_us is None:
                continue
            if isinstance(record, Commit) and since_us < record.at_us:
                verdict.broken(f"gw{record.life} committed after its ledger had failed", record.at_us)
            elif isinstance(record, Sent) and not isinstance(record.request, Query) and record.begun_us > since_us:
                verdict.broken(f"gw{record.life} began to send #{record.message} after its ledger failed", record.at_us)
    failed.update({(life, 0): at_us for life, at_us in dead.items()})
    verdict.cases += len(failed)
    return verdict


def append_only(index: Index) -> Verdict:
    """The journal is one chain from its beginning to the head that the route holds, without a gap."""
    verdict = Verdict(promise="APPEND-ONLY")
    previous, epoch = GENESIS, 0
    for place, entry in enumerate(index.run.journal, 1):
        verdict.cases += 1
        fault = first_fault(entry, place, previous)
        if fault is None and entry.epoch < epoch:
            fault = f"carries epoch {entry.epoch} after {epoch}"
        if fault is not None:
            verdict.broken(f"entry {place}: {fault}")
            return verdict
        previous, epoch = entry.hash, entry.epoch
    verdict.cases += _notice_changes(verdict, index.run.journal)
    route = index.run.route
    if route is not None and (route.head, route.journal_entries) != (previous, len(index.run.journal)):
        verdict.broken("the chain does not end in the head that the route holds")
    return verdict


def _notice_changes(verdict: Verdict, journal: Sequence[JournalEntry]) -> int:
    """Change an entry in each way that leaves its place and its links as they are, and see that each is noticed."""
    if not journal:
        return 0
    place = len(journal) // 2
    entry = journal[place]
    changed = (
        msgspec.structs.replace(entry, payload=entry.payload + " "),
        msgspec.structs.replace(entry, kind=entry.kind + "x"),
        msgspec.structs.replace(entry, at_us=entry.at_us + 1),
        msgspec.structs.replace(entry, epoch=entry.epoch + 1),
        msgspec.structs.replace(entry, intent_id=(entry.intent_id or 0) + 1),
    )
    for one in changed:
        if first_fault(one, place + 1, entry.previous_hash) is None:
            verdict.broken(f"entry {place + 1} was changed, and nobody would notice: {one}")
    return len(changed)


def converges(index: Index) -> Verdict:
    """Once faults had stopped, every order was over or waited for a person, and after the person's word was over."""
    verdict = Verdict(promise="CONVERGES")
    verdict.cases += len(index.run.orders)
    for text in index.run.unrested:
        verdict.broken(f"{text}, long after the last fault")
    if index.run.rested:
        for order in index.run.orders:
            if order.status not in ENDED or not order.closed:
                verdict.broken(f"{order.key} is {order.status} at the end, executed {order.cum_quantity}")
            elif order.answer is None:
                verdict.broken(f"{order.key} is {order.status} and has no answer")
    called = {record.call for record in index.records if isinstance(record, Called)}
    answered = {record.call for record in index.records if isinstance(record, Answered)}
    for call in sorted(called - answered):
        verdict.broken(f"call {call} never returned")
    return verdict


def no_defect(index: Index) -> Verdict:
    """Nothing went wrong that no promise is about."""
    verdict = Verdict(promise="NO-DEFECT", cases=1)
    for text in index.run.complaints:
        verdict.broken(text)
    for text in index.run.leaked:
        verdict.broken(f"a task was left behind: {text}")
    return verdict
