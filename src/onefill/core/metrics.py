"""What is measured, and what each figure means exactly. Pure: definitions, histograms of whole numbers, and the sums over them.

Numerators and denominators are counters, so that whoever reads them can take a rate over any window; the ratios beside them
are for people. :data:`FIGURES` says what the five safety figures are, :data:`METRICS` lists everything that is exposed.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from onefill.core.incident import BREAKS, Incident, IncidentKind

MICRO = 1_000_000
LATENCY_US = tuple(
    round(one * MICRO)
    for one in (
        *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
        *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    )
)
"""Upper bounds for what takes from 50 µs to half a minute."""
LAG_US = tuple(round(one * MICRO) for one in (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600))
BREAK_US = tuple(round(one * MICRO) for one in (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400))
ATTEMPTS = (1, 2, 3, 4, 5, 8, 13, 20)
CHANGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 768, 1536)
MOST_LAG_US = 86_400 * MICRO
"""A report that is older than a day when it is taken in says more about clocks than about the stream."""
TAKEN, REPEATED, UNVERIFIED, UNREADABLE, CONTRADICTORY, SENT_AWAY = CALLBACK_RESULTS = (
    "taken",
    "repeated",
    "unverified",
    "unreadable",
    "contradictory",
    "sent_away",
)
"""What becomes of a callback."""
COLLISIONS = frozenset({IncidentKind.FOREIGN_ORDER, IncidentKind.TWO_ORDERS})
"""Incidents that show one of our client order ids used for another order at the venue."""


class Histogram:
    """Counts of whole numbers by fixed upper bounds (inclusive), and their sum. The last bucket has no bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int) -> None:
        """Take in one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were taken in."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Return the upper bound of the bucket with the ``share``-quantile; infinite in the last one, NaN without values."""
        wanted, seen = math.ceil(share * self.count), 0
        if self.count == 0:
            return math.nan
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= max(wanted, 1):
                return bound
        return math.inf


class LedgerMeasures:
    """What a ledger times while it works. Written by the one thread that has the connection."""

    __slots__ = ("commit_us", "group", "waiting")

    def __init__(self) -> None:
        self.commit_us = Histogram(LATENCY_US)
        """From the begin of a group's transaction until it is durable."""
        self.group = Histogram(CHANGES)
        """Changes in one commit."""
        self.waiting = Histogram(CHANGES)
        """Changes that waited when a group was begun, those in it included."""

    def committed(self, took_s: float, changes: int) -> None:
        """A group of changes is durable."""
        self.commit_us.observe(int(took_s * 1_000_000))
        self.group.observe(changes)


def ratio(numerator: int, denominator: int) -> float:
    """Return their ratio as PromQL gives it: NaN for nothing out of nothing, infinite for something out of nothing."""
    if denominator:
        return numerator / denominator
    return math.inf if numerator else math.nan


def detected_at_us(incident: Incident) -> int:
    """Return when the divergence was first met, which may be before it was old enough for an incident."""
    return incident.opened_at_us if incident.first_seen_at_us is None else incident.first_seen_at_us


class Breaks:
    """How long the breaks of the reconciliation last (RBD), by the incidents as they become durable."""

    __slots__ = ("began_at_us", "duration_us")

    def __init__(self) -> None:
        self.began_at_us: dict[tuple[IncidentKind, str], int] = {}
        """The breaks that last, with when each was detected."""
        self.duration_us = Histogram(BREAK_US)

    def load(self, incidents: Iterable[Incident]) -> None:
        """Take up those that lasted when the process started."""
        for one in incidents:
            if one.kind in BREAKS and one.open and one.converged_at_us is None:
                self.began_at_us[one.key] = detected_at_us(one)

    def changed(self, incident: Incident, at_us: int) -> None:
        """Take in an incident as it is after a durable change."""
        if incident.kind not in BREAKS:
            return
        if not incident.open:
            self.began_at_us.pop(incident.key, None)  # a person closed it: it did not converge, or has been counted
        elif incident.converged_at_us is not None:
            began = self.began_at_us.pop(incident.key, None)
            if began is not None:
                self.duration_us.observe(max(incident.converged_at_us - began, 0))
        elif incident.key not in self.began_at_us:  # new, or back after it had converged: another break
            self.began_at_us[incident.key] = detected_at_us(incident) if incident.seen == 1 else at_us

    def oldest_us(self, now_us: int) -> int:
        """Return how long the oldest break has lasted by now; 0 if there is none."""
        return max((now_us - began for began in self.began_at_us.values()), default=0)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """The exact meaning of one safety figure."""

    short: str
    name: str
    numerator: str
    denominator: str
    counts: str
    leaves_out: str
    at_zero: str
    window: str
    promql: str


_SINCE_START = "counters since the gateway was opened; the gauge is over that whole time, alerts take five minutes"

FIGURES: tuple[Figure, ...] = (
    Figure(
        short="DRR",
        name="duplicate reject rate",
        numerator="replies of a venue to a new order that say its client order id is taken",
        denominator="new orders: intents that became durable together with the claim of their first copy",
        counts="every such reply, also to a resend of the same id, as it arrives",
        leaves_out="repeats of a key that the ledger answers; intents that a gate refused; replies to cancels and replaces; "
        "resends, in the denominator",
        at_zero="NaN without new orders and without duplicates; +Inf for duplicates without new orders",
        window=_SINCE_START,
        promql="sum by (route) (rate(onefill_duplicate_rejects_total[5m])) / "
        "sum by (route) (rate(onefill_new_orders_total[5m]))",
    ),
    Figure(
        short="UOC",
        name="uncertain order count",
        numerator="orders of which a copy may have been sent, whose reply timed out or was lost, and which a question to the "
        "venue begun after that did not settle; and those that wait for a person because no question can",
        denominator="none: a number of orders",
        counts="status `uncertain` and, since its last copy, a look-up or scan that came back without the order; or parked",
        leaves_out="orders whose reply is still awaited; orders that timed out and are being asked about for the first time "
        '(they are in `onefill_orders{state="uncertain"}`); cancels and replaces of unknown outcome',
        at_zero="0",
        window="now",
        promql="sum by (route) (onefill_uncertain_orders)",
    ),
    Figure(
        short="RDR",
        name="replay drop rate",
        numerator="execution reports that were received and dropped, since what they tell was taken in before",
        denominator="execution reports received, the dropped ones included",
        counts="one per receipt: at or before the stream's place; an execution id known in its scope; refused by the ledger "
        "as applied before",
        leaves_out="reports that are no replay and yet tell nothing new (an ack after the reply); executions nobody here "
        "asked for (they are kept apart)",
        at_zero="NaN before the first report",
        window=_SINCE_START,
        promql="sum by (route) (rate(onefill_replayed_reports_total[5m])) / sum by (route) (rate(onefill_reports_total[5m]))",
    ),
    Figure(
        short="ICC",
        name="id collision count",
        numerator="attempts to use a client order id for an order that another order has",
        denominator="none: a number of events",
        counts='kind="ledger": an intent or replace that the ledger refused because its id is taken, nothing was sent; '
        'kind="venue": an incident opened because the venue shows another order, or two, under one of our ids',
        leaves_out="resends of an order under its own id; a key used again with other content, which is refused before it "
        "gets an id; the same incident seen again",
        at_zero="0, which is the only good value",
        window="counter since the gateway was opened; alerts take fifteen minutes",
        promql="sum by (route) (increase(onefill_id_collisions_total[15m]))",
    ),
    Figure(
        short="RBD",
        name="reconciliation break duration",
        numerator="time from the first comparison that showed a divergence to the first that showed it gone",
        denominator="breaks that converged (for the mean)",
        counts="the eight kinds of break, once each time one converges; the grace time before the incident is in it; one "
        "that comes back is another break",
        leaves_out="what was gone within the grace time, which never was a break; breaks that a person closed before they "
        "converged; other incidents",
        at_zero="an empty histogram; the age of the oldest is 0 while nothing is broken",
        window="histogram of the converged since the gateway was opened; the age of the oldest that lasts, now",
        promql="max by (route) (onefill_oldest_break_age_seconds)",
    ),
)


class MetricKind(StrEnum):
    """What a metric is, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One exposed metric: its name as PromQL has it, its labels, and what it says."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    help: str


_R, _RK, _RS, _RT = ("route",), ("route", "kind"), ("route", "state"), ("route", "subscriber")
_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

METRICS: tuple[Metric, ...] = (
    Metric(
        "onefill_new_orders_total", _C, _R, "Intents made durable with the claim of their first copy (DRR denominator)"
    ),
    Metric("onefill_duplicate_rejects_total", _C, _R, "Replies that say the client order id is taken (DRR numerator)"),
    Metric(
        "onefill_duplicate_reject_ratio", _G, _R, "DRR since the gateway was opened; NaN before the first new order"
    ),
    Metric(
        "onefill_uncertain_orders", _G, _R, "UOC: orders of unknown fate that a question to the venue did not settle"
    ),
    Metric("onefill_parked_orders", _G, _R, "Orders that wait for a person"),
    Metric("onefill_reports_total", _C, _R, "Execution reports received, replays included (RDR denominator)"),
    Metric("onefill_replayed_reports_total", _C, _R, "Execution reports dropped as taken in before (RDR numerator)"),
    Metric("onefill_replay_drop_ratio", _G, _R, "RDR since the gateway was opened; NaN before the first report"),
    Metric(
        "onefill_id_collisions_total",
        _C,
        _RK,
        "ICC: attempts to use a client order id that another order has, by who met it",
    ),
    Metric("onefill_break_duration_seconds", _H, _R, "RBD: from a divergence's first sight until it was gone"),
    Metric(
        "onefill_oldest_break_age_seconds",
        _G,
        _R,
        "How long the oldest break that lasts has lasted; 0 if there is none",
    ),
    Metric("onefill_control_state", _G, _RS, "1 for the control state that the route is in, 0 for the others"),
    Metric("onefill_route_failed", _G, _R, "1 once the route takes nothing more until the ledger is opened again"),
    Metric("onefill_open_incidents", _G, _RK, "Incidents that nobody has closed, by kind"),
    Metric("onefill_incidents_opened_total", _C, _RK, "Incidents opened, by kind"),
    Metric(
        "onefill_lease_remaining_seconds",
        _G,
        _R,
        "For how long this process may still send; absent without a lease time",
    ),
    Metric("onefill_lease_seconds", _G, _R, "For how long the route is held at a time; absent without a lease time"),
    Metric("onefill_orders", _G, _RS, "Orders that are not closed, by status"),
    Metric("onefill_submits_sent_total", _C, _R, "Copies of new orders handed to the venue"),
    Metric("onefill_resends_total", _C, _R, "Copies after the first"),
    Metric(
        "onefill_replies_total",
        _C,
        _RK,
        "Replies to copies of new orders, by kind; unknown: none came or it decides nothing",
    ),
    Metric(
        "onefill_answers_replayed_total", _C, _R, "Repeats of a key that got the stored answer or joined the first call"
    ),
    Metric("onefill_cancels_sent_total", _C, _R, "Cancel requests handed to the venue"),
    Metric("onefill_replaces_sent_total", _C, _R, "Replace requests handed to the venue"),
    Metric("onefill_lookups_total", _C, _R, "Questions to the venue about one order"),
    Metric("onefill_adopted_total", _C, _R, "Orders of unknown fate that a question found at the venue"),
    Metric("onefill_anomalies_total", _C, _R, "Contradictions noted on orders"),
    Metric(
        "onefill_ack_latency_seconds",
        _H,
        _R,
        "From the first claim's commit until accepted or rejected was durably known",
    ),
    Metric(
        "onefill_submit_to_wire_seconds", _H, _R, "From a new intent's way into the ledger until its first copy left"
    ),
    Metric("onefill_attempts", _H, _R, "Copies claimed of an order by when its fate became known"),
    Metric("onefill_lookup_latency_seconds", _H, _R, "How long a question to the venue about one order took"),
    Metric("onefill_paced_orders", _G, _R, "Orders that wait for their turn because the route is slowed down"),
    Metric("onefill_executions_total", _C, _R, "Executions made durable, each once"),
    Metric("onefill_quarantined_executions_total", _C, _R, "Executions kept apart, since nobody here sent their order"),
    Metric("onefill_stream_lag_seconds", _H, _R, "From the venue's time of a report until it was taken in"),
    Metric(
        "onefill_stream_lag_unusable_total", _C, _R, "Reports with a time that is missing, ahead, or over a day old"
    ),
    Metric("onefill_stream_position", _G, _RK, "The last position taken in, by channel"),
    Metric(
        "onefill_stream_reconnects_total", _C, _R, "Times that an execution stream ended or broke and was opened again"
    ),
    Metric(
        "onefill_callbacks_total",
        _C,
        _RK,
        "Callbacks from venues, by what became of them; sent_away: they are to come again",
    ),
    Metric("onefill_subscriber_lag_entries", _G, _RT, "Journal entries that the subscriber was not told through"),
    Metric(
        "onefill_subscriber_lag_seconds",
        _G,
        _RT,
        "Age of the first entry that was read and not taken; 0 if there is none",
    ),
    Metric("onefill_subscriber_told_total", _C, _RT, "Messages that the subscriber has taken"),
    Metric("onefill_subscriber_told_again_total", _C, _RT, "Messages told once more because a call had failed"),
    Metric("onefill_subscriber_stopped_orders", _G, _RT, "Orders that the subscriber is not told of"),
    Metric("onefill_subscriber_up", _G, _RT, "1 while the subscriber can be told, 0 while it takes nothing"),
    Metric("onefill_commit_latency_seconds", _H, (), "How long the ledger took to make one group of changes durable"),
    Metric("onefill_commit_group_changes", _H, (), "Changes in one commit"),
    Metric(
        "onefill_commit_waiting_changes", _H, (), "Changes that waited when a commit was begun, those in it included"
    ),
    Metric("onefill_ledger_queue_changes", _G, (), "Changes that wait for the commit under way, now"),
    Metric("onefill_ledger_failed", _G, (), "1 once the ledger takes nothing more until it is opened again"),
    Metric(
        "onefill_ledger_standby_missing", _G, (), "1 while no standby is known to confirm commits and one is wanted"
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def route_label(route: str, route_id: int) -> str:
    """Return how a route is named in metrics. What stands after a colon may be an account: its number stands there instead."""
    head, colon, _ = route.partition(":")
    return f"{head}:{route_id}" if colon else route


def markdown_figures() -> str:
    """Return the definitions of the five figures as they stand in docs/metrics.md."""
    parts = []
    for one in FIGURES:
        rows = (
            ("numerator", one.numerator),
            ("denominator", one.denominator),
            ("counts", one.counts),
            ("leaves out", one.leaves_out),
            ("at zero", one.at_zero),
            ("window", one.window),
            ("PromQL", f"`{one.promql}`"),
        )
        lines = [f"### {one.short}: {one.name}", "", "| | |", "|---|---|"]
        parts.append("\n".join([*lines, *(f"| {name} | {text} |" for name, text in rows)]))
    return "\n\n".join(parts)


def markdown_metrics() -> str:
    """Return the table of everything exposed as it stands in docs/metrics.md."""
    lines = ["| Metric | Kind | Labels | Says |", "|---|---|---|---|"]
    lines += [f"| `{m.name}` | {m.kind} | {', '.join(m.labels) or 'none'} | {m.help} |" for m in METRICS]
    return "\n".join(lines)


def renewed(page: str) -> str:
    """Return docs/metrics.md with what is made from the code in its two places."""
    for name, text in (("figures", markdown_figures()), ("metrics", markdown_metrics())):
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"\n<!-- end of {name} -->")
        page = f"{before}<!-- {name} -->\n{text}\n<!-- end of {name} -->{after}"
    return page
