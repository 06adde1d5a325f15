"""What simulated worlds exercised: counts per kind of venue, and faults by the step they hit.

A fault is *injected* when the world's plan lets it happen and *effective* when it hit the window in which it can do harm: a
lost reply that nobody waited for proves nothing. A run in which a fault was never effective has not tested it.
"""

from collections import Counter

import msgspec

from onefill.core import messages as msg
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import EXECUTED, SubmitRequest
from onefill.core.position import DROP_COPY, STREAM, Kind
from onefill.sim.checkers import Verdict, Violation
from onefill.sim.checkers_index import Index
from onefill.sim.history import (
    Acquired,
    Began,
    Commit,
    Ended,
    Failed,
    Fault,
    Heard,
    Lost,
    Reported,
    Sent,
)
from onefill.sim.simulate_nodes import count_nodes, hit_node
from onefill.sim.world_network import step_of
from onefill.sim.world_nodes import nodes_name

COUNTS = (
    "worlds",
    "orders",
    "crashes",
    "lost acks",
    "ghosts",
    "duplicate replies",
    "resends",
    "adoptions",
    "parked",
    "resolved",
    "cancels",
    "replaces",
    "lost replaces",
    "takeovers",
    "clock steps",
    "outages",
    "fills",
    "told twice",
    "second channel first",
    "busts",
    "corrections",
    "restated",
    "incidents",
    "control moves",
)
"""What is counted, in the order of the report."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that a world broke."""

    seed: int
    profile: str
    promise: str
    text: str
    at_us: int

    @property
    def replay(self) -> str:
        """What to run to see it again."""
        return f"python -m onefill.sim.simulate --seed {self.seed} --trace"


class Injected(msgspec.Struct, kw_only=True):
    """A fault at a step: how often it happened, hit the window, and was in a world that broke a promise."""

    injected: int = 0
    effective: int = 0
    violations: int = 0


class Tally(msgspec.Struct, kw_only=True):
    """What a number of worlds exercised and how they were judged."""

    families: dict[str, Counter[str]] = {}
    nodes: dict[str, Counter[str]] = {}
    """Of the worlds with several nodes, by their number: ``nodes-2``."""
    faults: dict[str, Injected] = {}
    cases: Counter[str] = msgspec.field(default_factory=Counter)
    broken: list[Broken] = []
    records: int = 0
    virtual_s: float = 0.0
    longest_s: float = 0.0

    @property
    def worlds(self) -> int:
        """How many worlds were run."""
        return sum(counts["worlds"] for counts in self.families.values())

    def add(self, index: Index, verdicts: dict[str, Verdict]) -> None:
        """Take in one world."""
        counts = self.families.setdefault(index.plan.profile.family, Counter())
        counts.update(count(index))
        if index.plan.nodes.name:
            self.nodes.setdefault(nodes_name(index.plan.hosts), Counter()).update(count_nodes(index))
        self.records += len(index.records)
        self.virtual_s += index.run.lasted_s
        self.longest_s = max(self.longest_s, index.run.lasted_s)
        violations: list[Violation] = []
        for promise, verdict in verdicts.items():
            self.cases[promise] += verdict.cases
            violations += verdict.violations
        for name, effective in faults(index):
            kept = self.faults.setdefault(name, Injected())
            kept.injected += 1
            kept.effective += effective
            kept.violations += bool(violations)
        self.broken += [
            Broken(
                seed=index.plan.seed,
                profile=index.plan.name,
                promise=violation.promise,
                text=violation.text,
                at_us=violation.at_us,
            )
            for violation in violations
        ]

    def merge(self, other: "Tally") -> None:
        """Take in another tally."""
        for family, counts in other.families.items():
            self.families.setdefault(family, Counter()).update(counts)
        for nodes, counts in other.nodes.items():
            self.nodes.setdefault(nodes, Counter()).update(counts)
        for name, more in other.faults.items():
            kept = self.faults.setdefault(name, Injected())
            kept.injected += more.injected
            kept.effective += more.effective
            kept.violations += more.violations
        self.cases.update(other.cases)
        self.broken += other.broken
        self.records += other.records
        self.virtual_s += other.virtual_s
        self.longest_s = max(self.longest_s, other.longest_s)


def count(index: Index) -> Counter[str]:
    """Return how often what happened in a world."""
    counts: Counter[str] = Counter(worlds=1, orders=len(index.run.orders), fills=len(index.run.executions))
    _count_messages(index, counts)
    _count_orders(index, counts)
    _count_books(index, counts)
    holder, hosts = "", {record.life: record.host for record in index.records if isinstance(record, Began)}
    for record in index.records:
        if isinstance(record, Ended):
            counts["crashes"] += record.killed
        elif isinstance(record, Acquired):
            counts["takeovers"] += holder not in ("", hosts[record.life])
            holder = hosts[record.life]
        elif isinstance(record, Fault):
            counts["clock steps"] += record.name == "clock step"
            counts["outages"] += record.name in ("partition", "exchange restart")
    return counts


def _count_messages(index: Index, counts: Counter[str]) -> None:
    not_found_us: dict[str, int] = {}
    asked: dict[int, int] = {}
    for client_order_id, sends in index.submits.items():
        counts["resends"] += len(sends) - 1
        asked.update((sent.message, sent.at_us) for _, sent in sends)
        not_found_us[client_order_id] = _first_not_found(index, client_order_id)
    for _, sent in index.sent:
        step = step_of(sent.request)
        arrivals = index.arrived.get(sent.message, [])
        told = index.heard.get(sent.message)
        unheard = told is None or told[1].reply is None
        counts["cancels"] += step == "cancel"
        counts["replaces"] += step == "replace"
        counts["lost replaces"] += step == "replace" and unheard
        if not isinstance(sent.request, SubmitRequest):
            continue
        made = [arrived for _, arrived in arrivals if arrived.born]
        counts["lost acks"] += bool(made) and unheard
        counts["ghosts"] += any(sent.at_us < not_found_us[sent.request.client_order_id] < one.at_us for one in made)
        repeats = (msg.DuplicateId, msg.Accepted)
        counts["duplicate replies"] += sum(isinstance(a.reply, repeats) and a.born is None for _, a in arrivals)


def _first_not_found(index: Index, client_order_id: str) -> int:
    """Return when a gateway first heard that an id is not there; -1 if never."""
    for _, sent in index.queries(client_order_id):
        told = index.heard.get(sent.message)
        if told is None:
            continue
        reply = told[1].reply
        missing = isinstance(reply, msg.Listed) and all(o.client_order_id != client_order_id for o in reply.orders)
        if missing or isinstance(reply, msg.NotFound):
            return told[1].at_us
    return -1


def _count_orders(index: Index, counts: Counter[str]) -> None:
    before: dict[str, tuple[Status, bool]] = {}
    for _, commit in index.commits:
        order = commit.order
        if order is None:
            continue
        status, parked = before.get(order.key, (Status.RECORDED, False))
        counts["parked"] += order.parked and not parked
        found = order.status not in (Status.UNCERTAIN, Status.RECORDED, Status.SENDING) and "lookup" in commit.payload
        counts["adoptions"] += status is Status.UNCERTAIN and found
        counts["resolved"] += commit.kind == "resolved"
        before[order.key] = (order.status, order.parked)


def _count_books(index: Index, counts: Counter[str]) -> None:
    told: set[tuple[object, ...]] = set()
    for record in index.records:
        if isinstance(record, Reported) and record.report.kind in EXECUTED:
            name = _execution(record)
            counts["told twice"] += name in told
            told.add(name)
        elif isinstance(record, Commit):
            counts["restated"] += record.kind == "restated"
            counts["incidents"] += record.payload.count('"type":"incident_opened"')
            counts["control moves"] += record.payload.count('"type":"control_moved"')
    for row in index.run.executions:
        counts["second channel first"] += row.stream == DROP_COPY
        counts["busts"] += row.kind is Kind.BUST
        counts["corrections"] += row.kind is Kind.CORRECT


def _execution(told: Reported) -> tuple[object, ...]:
    report = told.report
    return report.venue_order_id, report.kind, report.execution_id, report.cum_quantity


# ------------------------------------------------------------------ faults


def faults(index: Index) -> list[tuple[str, bool]]:
    """Return every fault of a world as ``fault at step``, with whether it hit the window in which it can do harm."""
    found = []
    for place, record in enumerate(index.records):
        if isinstance(record, Fault):
            found.append((f"{record.name} at {record.step}", _hit(index, place, record)))
    return found


_OF_A_MESSAGE = frozenset({"request lost", "request late", "reply lost", "reply late", "connection cut", "doubled"})


def _hit(index: Index, place: int, fault: Fault) -> bool:
    if fault.name in _OF_A_MESSAGE:
        return _hit_message(index, fault.name, int(fault.detail[1:].split()[0]))
    of_a_node = hit_node(index, place, fault)
    if of_a_node is not None:
        return of_a_node
    if fault.name == "ledger fails":
        return any(isinstance(one, Failed) and one.life == fault.life for one in index.records[place:])
    if fault.name in ("crash", "clock step", "stall"):
        return _at_work(index, place) > 0
    if fault.name in ("partition", "exchange restart"):
        return _cut_something(index, place)
    if fault.step == "drop copy" or fault.name in ("hidden", "told again"):
        return _hit_channel(index, place, fault)
    if fault.name == "held back":
        return any(sent.at_us - sent.begun_us > 20_000 for _, sent in index.sent if _begun_before(sent, fault))
    if fault.name == "halt":
        return any(isinstance(getattr(one, "reply", None), msg.Rejected) for one in index.records[place:])
    if fault.name == "stream repeats":
        return any(isinstance(one, Reported) for one in index.records[place : place + 6])
    return True


def _hit_channel(index: Index, place: int, fault: Fault) -> bool:
    """Tell whether what a channel did to its reports reached a gateway: a change of order by a report after it, a repeat by one
    that was told before, and what was hidden by the incident about it.
    """
    after = index.records[place:]
    if fault.name == "hidden":
        return any(isinstance(one, Commit) and '"kind":"missing_execution"' in one.payload for one in after)
    stream = DROP_COPY if fault.step == "drop copy" else STREAM
    told = [one for one in after if isinstance(one, Reported) and one.stream == stream]
    if fault.name != "told again":
        return bool(told)
    return len({_execution(one) for one in told}) < len(told)


def _begun_before(sent: Sent, fault: Fault) -> bool:
    return sent.begun_us <= fault.at_us <= sent.at_us and step_of(sent.request) == fault.step


def _hit_message(index: Index, name: str, message: int) -> bool:
    arrivals = index.arrived.get(message, [])
    told = index.heard.get(message)
    unheard = told is None or told[1].reply is None
    if name == "request lost":
        return unheard
    if name == "request late":
        return any(told is None or told[0] < place for place, _ in arrivals)
    if name == "doubled":
        return len(arrivals) > 1
    return bool(arrivals) and unheard


def _at_work(index: Index, place: int) -> int:
    """Return how many orders were recorded and not over at a place of the history."""
    status: dict[str, Status] = {}
    for at, commit in index.commits:
        if at > place:
            break
        if commit.order is not None:
            status[commit.order.key] = commit.order.status
    return sum(one not in ENDED for one in status.values())


def _cut_something(index: Index, place: int) -> bool:
    for record in index.records[place:]:
        if isinstance(record, Lost) and record.why in ("cut off", "restart", "lost"):
            return True
        if isinstance(record, Fault) and record.name == "connection refused":
            return True
        if isinstance(record, Heard) and record.reply is None:
            return True
    return False
