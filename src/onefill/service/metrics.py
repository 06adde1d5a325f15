"""Prometheus' view of a gateway. Everything is read at the moment of the scrape; nothing global, labels of bounded number."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from onefill.core import metrics
from onefill.core.control import State
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import SubmitReply
from onefill.core.metrics import Histogram, MetricKind
from onefill.engine import readings
from onefill.engine.oversight import Oversight
from onefill.engine.readings import LedgerReading, RouteReading

Value = float | Histogram
Samples = Iterable[tuple[tuple[str, ...], Value]]
"""Label values after the route, each with its value."""

_STATUSES = [str(status) for status in Status]
_REPLIES = {kind: str(kind.__struct_config__.tag) for kind in SubmitReply.__args__}
_MICRO = frozenset(name for name in metrics.BY_NAME if name.endswith("_seconds"))
"""Their histograms are kept in µs."""


def _plain(read: Callable[[RouteReading], Value]) -> Callable[[RouteReading], Samples]:
    return lambda route: [((), read(route))]


def _count(name: str) -> Callable[[RouteReading], Samples]:
    return lambda route: [((), getattr(route.counts, name))]


def _subscribers(field: str) -> Callable[[RouteReading], Samples]:
    return lambda route: [((one.subscriber,), float(getattr(one, field))) for one in route.subscribers]


def _optional(value: float | None) -> Samples:
    return [] if value is None else [((), value)]


_OF_ROUTE: dict[str, Callable[[RouteReading], Samples]] = {
    "onefill_new_orders_total": _count("new_orders"),
    "onefill_duplicate_rejects_total": _count("duplicate_replies"),
    "onefill_duplicate_reject_ratio": _plain(
        lambda route: metrics.ratio(route.counts.duplicate_replies, route.counts.new_orders)
    ),
    "onefill_uncertain_orders": _plain(lambda route: route.uncertain),
    "onefill_parked_orders": _plain(lambda route: route.parked),
    "onefill_reports_total": _count("reports"),
    "onefill_replayed_reports_total": _count("replayed_reports"),
    "onefill_replay_drop_ratio": _plain(
        lambda route: metrics.ratio(route.counts.replayed_reports, route.counts.reports)
    ),
    "onefill_id_collisions_total": lambda route: [
        (("ledger",), route.counts.id_collisions),
        (("venue",), route.measures.collisions),
    ],
    "onefill_break_duration_seconds": _plain(lambda route: route.measures.breaks.duration_us),
    "onefill_oldest_break_age_seconds": _plain(lambda route: route.oldest_break_s),
    "onefill_control_state": lambda route: [((str(state),), float(route.control is state)) for state in State],
    "onefill_route_failed": _plain(lambda route: float(route.failed)),
    "onefill_open_incidents": lambda route: [((str(kind),), route.incidents.get(kind, 0)) for kind in IncidentKind],
    "onefill_incidents_opened_total": lambda route: [
        ((str(kind),), route.measures.opened[kind]) for kind in IncidentKind
    ],
    "onefill_lease_remaining_seconds": lambda route: _optional(route.lease_s),
    "onefill_lease_seconds": lambda route: _optional(route.lent_s),
    "onefill_orders": lambda route: [((status,), route.orders.get(status, 0)) for status in _STATUSES],
    "onefill_submits_sent_total": _count("copies_sent"),
    "onefill_resends_total": _count("resends"),
    "onefill_replies_total": lambda route: [((tag,), route.measures.replies[kind]) for kind, tag in _REPLIES.items()],
    "onefill_answers_replayed_total": _count("replayed_answers"),
    "onefill_cancels_sent_total": _count("cancels_sent"),
    "onefill_replaces_sent_total": _count("replaces_sent"),
    "onefill_lookups_total": _count("lookups"),
    "onefill_adopted_total": _count("adopted"),
    "onefill_anomalies_total": _count("anomalies"),
    "onefill_ack_latency_seconds": _plain(lambda route: route.measures.ack_us),
    "onefill_submit_to_wire_seconds": _plain(lambda route: route.measures.to_wire_us),
    "onefill_attempts": _plain(lambda route: route.measures.attempts),
    "onefill_lookup_latency_seconds": _plain(lambda route: route.measures.lookup_us),
    "onefill_paced_orders": _plain(lambda route: route.paced),
    "onefill_executions_total": _count("executions"),
    "onefill_quarantined_executions_total": _count("quarantined"),
    "onefill_stream_lag_seconds": _plain(lambda route: route.measures.lag_us),
    "onefill_stream_lag_unusable_total": _plain(lambda route: route.measures.lag_unusable),
    "onefill_stream_position": lambda route: [((name,), place) for name, place in route.positions.items()],
    "onefill_stream_reconnects_total": _count("stream_reconnects"),
    "onefill_callbacks_total": lambda route: [
        ((result,), route.measures.callbacks[result]) for result in metrics.CALLBACK_RESULTS
    ],
    "onefill_subscriber_lag_entries": _subscribers("lag"),
    "onefill_subscriber_lag_seconds": _subscribers("lag_s"),
    "onefill_subscriber_told_total": _subscribers("told"),
    "onefill_subscriber_told_again_total": _subscribers("again"),
    "onefill_subscriber_stopped_orders": _subscribers("stopped"),
    "onefill_subscriber_up": _subscribers("up"),
}

_OF_LEDGER: dict[str, Callable[[LedgerReading], Value | None]] = {
    "onefill_commit_latency_seconds": lambda ledger: None if ledger.measures is None else ledger.measures.commit_us,
    "onefill_commit_group_changes": lambda ledger: None if ledger.measures is None else ledger.measures.group,
    "onefill_commit_waiting_changes": lambda ledger: None if ledger.measures is None else ledger.measures.waiting,
    "onefill_ledger_queue_changes": lambda ledger: ledger.depth,
    "onefill_ledger_failed": lambda ledger: float(ledger.failed),
    "onefill_ledger_standby_missing": lambda ledger: float(ledger.standby in ("lost", "unseen")),
}


class GatewayCollector(Collector):
    """Reads a gateway whenever it is scraped. To be used from the gateway's own thread."""

    def __init__(self, gateway: Oversight) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Family]:
        """Return every metric that :data:`onefill.core.metrics.METRICS` lists, in its order."""
        routes, ledger = readings.routes(self._gateway), readings.ledger(self._gateway)
        for metric in metrics.METRICS:
            if metric.name in _OF_LEDGER:
                value = _OF_LEDGER[metric.name](ledger)
                yield _family(metric, [] if value is None else [((), value)])
            else:
                read = _OF_ROUTE[metric.name]
                yield _family(
                    metric, [((route.label, *labels), value) for route in routes for labels, value in read(route)]
                )


def _family(metric: metrics.Metric, samples: Samples) -> Family:
    if metric.kind is MetricKind.HISTOGRAM:
        drawn = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples:
            if isinstance(value, Histogram):
                buckets, total = _buckets(value, 1_000_000 if metric.name in _MICRO else 1)
                drawn.add_metric(labels, buckets, total)
        return drawn
    kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if not isinstance(value, Histogram):
            family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram, unit: int) -> tuple[list[tuple[str, float]], float]:
    bounds = [f"{bound / unit:.12g}" if unit > 1 else f"{bound:g}" for bound in histogram.bounds]
    seen, drawn = 0, []
    for bound, count in zip([*bounds, "+Inf"], histogram.counts, strict=True):
        seen += count
        drawn.append((bound, float(seen)))
    return drawn, histogram.total / unit


def registry(gateway: Oversight) -> CollectorRegistry:
    """Return a registry of this gateway's own."""
    made = CollectorRegistry(auto_describe=False)
    made.register(GatewayCollector(gateway))
    return made
