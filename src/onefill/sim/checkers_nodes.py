"""Checks about several nodes: who may write and send on a route, judged by the world's own time."""

from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.history import Acquired, Commit, Leased, Moved, Query, Sent


def one_writer(index: Index) -> Verdict:
    """Whoever had lost the route wrote nothing, and began to send nothing: not after another one had got it, and not after
    the lease was over by the ledger's clock, got or not.

    Bytes that their process was about to hand over when it was stopped leave late: what counts is when it began to.
    """
    verdict = Verdict(promise="ONE-WRITER")
    epoch, since_us = 0, 0
    until_us: dict[int, int | None] = {}
    for record in index.records:
        if isinstance(record, Acquired):
            if record.epoch <= epoch:
                verdict.broken(f"gw{record.life} got epoch {record.epoch} after {epoch}", record.at_us)
            until = until_us.get(epoch)
            if epoch and until is not None and record.at_us < until:
                verdict.broken(
                    f"gw{record.life} got epoch {record.epoch} while {epoch} had {_s(until)} to go to", record.at_us
                )
            epoch, since_us = record.epoch, record.at_us
            until_us[epoch] = record.until_us
        elif isinstance(record, Leased):
            verdict.cases += 1
            if record.epoch != epoch:
                verdict.broken(f"gw{record.life} was lent epoch {record.epoch} anew during {epoch}", record.at_us)
            until_us[record.epoch] = record.at_us if record.until_us is None else record.until_us
        elif isinstance(record, Commit | Moved):
            verdict.cases += epoch > 1
            if record.epoch != epoch:
                verdict.broken(f"gw{record.life} committed under epoch {record.epoch} during {epoch}", record.at_us)
        elif isinstance(record, Sent) and not isinstance(record.request, Query):
            until = until_us.get(record.epoch)
            verdict.cases += epoch > 1 or until is not None
            if record.epoch != epoch and record.begun_us > since_us:
                text = f"gw{record.life} began to send #{record.message} under epoch {record.epoch} during {epoch}"
                verdict.broken(text, record.at_us)
            elif until is not None and record.begun_us > until:
                text = f"gw{record.life} began to send #{record.message} when its lease was over since {_s(until)}"
                verdict.broken(text, record.begun_us)
    return verdict


def _s(at_us: int) -> str:
    return f"{at_us / 1e6:.6f}"
