"""What simulated worlds with several nodes exercised: counts by the number of nodes, and which faults of hosts hit anything."""

from collections import Counter

from onefill.sim.checkers_index import Index
from onefill.sim.history import (
    Acquired,
    Began,
    Called,
    Commit,
    Delivered,
    Fault,
    Leased,
    Moved,
    Record,
    Refused,
    Suspected,
    Woke,
)

NODE_COUNTS = (
    "worlds",
    "epochs",
    "takeovers",
    "hand-overs",
    "stood still",
    "outlived by",
    "cut off",
    "late writes",
    "refused writes",
    "lost replies",
    "at once",
    "own clocks",
    "suspected",
    "told",
    "told again",
)
"""What is counted of them, in the order of the report: a node that stood still was *outlived by* its lease if another took the
route meanwhile; *late writes* reached the ledger after their node had given them up; *lost replies*: changes that were made and
not acknowledged; *at once*: submits of one key on several nodes at the same moment; *suspected*: words that the route may have
two holders; *told*: entries that the subscriber heard of.
"""

LEDGER_FAULTS = ("ledger late", "ledger unreached", "ledger unanswered")
TELLING_FAULTS = ("telling lost", "telling late", "telling unanswered", "telling refused")
_STILL = ("pause", "suspension")


def count_nodes(index: Index) -> Counter[str]:
    """Return how often what happened in a world with several nodes."""
    counts: Counter[str] = Counter(worlds=1, **{"own clocks": bool(index.plan.nodes.rates or index.plan.nodes.drifts)})
    host = {record.life: record.host for record in index.records if isinstance(record, Began)}
    owner, given_back = "", False
    told: set[int] = set()
    submitted: dict[tuple[str, int], set[int]] = {}
    for place, record in enumerate(index.records):
        if isinstance(record, Acquired):
            counts["epochs"] += 1
            if host[record.life] != owner and owner:
                counts["hand-overs" if given_back else "takeovers"] += 1
            owner, given_back = host[record.life], False
        elif isinstance(record, Leased):
            given_back = record.until_us is None
        elif isinstance(record, Fault):
            _count_fault(index, place, record, counts)
        elif isinstance(record, Suspected):
            counts["suspected"] += 1
        elif isinstance(record, Delivered):
            counts["told again" if record.sequence in told else "told"] += 1
            told.add(record.sequence)
        elif isinstance(record, Refused):
            counts["refused writes"] += record.outcome == "Fenced"
        elif isinstance(record, Called) and record.what == "submit":
            submitted.setdefault((record.key, record.at_us), set()).add(record.life)
    counts["at once"] += sum(len(lives) > 1 for lives in submitted.values())
    return counts


def _count_fault(index: Index, place: int, fault: Fault, counts: Counter[str]) -> None:
    if fault.name in _STILL:
        counts["stood still"] += 1
        counts["outlived by"] += lost_meanwhile(index, place, fault)
    elif fault.name == "ledger cut":
        counts["cut off"] += 1
    elif fault.name == "ledger late" and fault.step == "commit":
        counts["late writes"] += _comes_later(index, place, fault)
    elif fault.name == "ledger unanswered":
        counts["lost replies"] += 1


def hit_node(index: Index, place: int, fault: Fault) -> bool | None:
    """Tell whether a fault of a host hit the window in which it can do harm; ``None``: it is another kind of fault."""
    if fault.name in _STILL:
        return lost_meanwhile(index, place, fault)
    if fault.name == "ledger cut":
        return any(isinstance(one, Fault) and one.name in LEDGER_FAULTS for one in index.records[place:])
    if fault.name == "ledger late":
        return _comes_later(index, place, fault)
    if fault.name in LEDGER_FAULTS:
        return True
    if fault.name == "hand-over":
        return any(isinstance(one, Leased) and one.until_us is None for one in index.records[place:])
    if fault.name == "lease forgotten":
        return any(isinstance(one, Suspected) for one in index.records[place:])
    if fault.name in TELLING_FAULTS:
        return any(isinstance(one, Delivered) for one in index.records[place:])
    if fault.name == "clocks apart":
        return sum(isinstance(one, Acquired) for one in index.records) > 1
    return None


def lost_meanwhile(index: Index, place: int, fault: Fault) -> bool:
    """Tell whether somebody else got the route while a process stood still that had it."""
    owner = next((one.life for one in reversed(index.records[:place]) if isinstance(one, Acquired)), 0)
    if owner != fault.life:
        return False
    for record in index.records[place:]:
        if isinstance(record, Acquired):
            return True
        if isinstance(record, Woke) and record.life == fault.life:
            return False
    return False


def _comes_later(index: Index, place: int, fault: Fault) -> bool:
    """Tell whether what a host had sent to its ledger came there after the moment at which it was sent."""
    return any(_from(one, fault) and one.at_us > fault.at_us for one in index.records[place:])


def _from(record: Record, fault: Fault) -> bool:
    return isinstance(record, Commit | Refused | Acquired | Leased | Moved) and record.life == fault.life
