"""What the figures mean: histograms, ratios, durations of breaks, and the pages that are made from the definitions."""

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import incident as incidents
from onefill.core import metrics
from onefill.core.incident import Finding, Incident, IncidentKind
from onefill.core.metrics import BY_NAME, FIGURES, METRICS, Breaks, Histogram, LedgerMeasures, MetricKind

ROOT = Path(__file__).resolve().parents[3]
SECOND = 1_000_000


def a_break(
    first_seen_at_us: int | None = None, *, kind: IncidentKind = IncidentKind.QUANTITY, at_us: int = 0
) -> Incident:
    """Return an incident as it is opened."""
    found = Finding(kind=kind, subject="o", summary="differs", first_seen_at_us=first_seen_at_us)
    return incidents.opened(found, "X", 1, at_us)


def converged(incident: Incident, at_us: int) -> Incident:
    """Return it after its difference was gone."""
    gone = incidents.converged(incident, at_us)
    assert gone is not None
    return gone


@given(st.lists(st.integers(0, 3000), max_size=30), st.lists(st.integers(1, 2000), min_size=1, max_size=8, unique=True))
def test_a_histogram_counts_by_inclusive_bounds(values: list[int], bounds: list[int]) -> None:
    """Each value is in the first bucket whose bound it does not exceed; count and sum are those of all values."""
    histogram = Histogram(tuple(sorted(bounds)))
    for value in values:
        histogram.observe(value)
    below = -1
    for bound, count in zip([*sorted(bounds), math.inf], histogram.counts, strict=True):
        assert count == sum(below < value <= bound for value in values)
        below = int(bound) if bound < math.inf else below
    assert (histogram.count, histogram.total) == (len(values), sum(values))


def test_quantiles_are_bounds_of_buckets() -> None:
    """The median of 1, 2 and 30 is in the bucket up to 2; the last is beyond all bounds; of nothing there is none."""
    histogram = Histogram((1, 2, 10))
    assert math.isnan(histogram.quantile(0.5))
    for value in (1, 2, 30):
        histogram.observe(value)
    assert (histogram.quantile(0), histogram.quantile(0.5), histogram.quantile(1)) == (1, 2, math.inf)


def test_bounds_rise() -> None:
    """Every histogram's bounds are whole numbers that rise."""
    for bounds in (metrics.LATENCY_US, metrics.LAG_US, metrics.BREAK_US, metrics.ATTEMPTS, metrics.CHANGES):
        assert list(bounds) == sorted(set(bounds))
        assert all(isinstance(bound, int) for bound in bounds)


@pytest.mark.parametrize(
    ("numerator", "denominator", "value"), [(1, 4, 0.25), (0, 4, 0.0), (2, 0, math.inf), (5, 4, 1.25)]
)
def test_a_ratio_is_what_promql_makes_of_it(numerator: int, denominator: int, value: float) -> None:
    """Something out of nothing is infinite, so that it is above every threshold."""
    assert metrics.ratio(numerator, denominator) == value


def test_nothing_out_of_nothing_is_no_number() -> None:
    """A rate without new orders is not zero, it is unknown; no threshold is passed by it."""
    assert math.isnan(metrics.ratio(0, 0))


def test_a_break_counts_from_its_first_sight() -> None:
    """First seen at 2 s, in an incident at 5 s, gone at 9 s: 7 s; without an earlier sight it counts from the incident."""
    for first_seen, lasted in ((2 * SECOND, 7), (None, 4)):
        breaks = Breaks()
        opened = a_break(first_seen, at_us=5 * SECOND)
        breaks.changed(opened, 5 * SECOND)
        assert breaks.oldest_us(8 * SECOND) == (lasted - 1) * SECOND
        breaks.changed(converged(opened, 9 * SECOND), 9 * SECOND)
        assert (breaks.duration_us.total, breaks.oldest_us(99 * SECOND)) == (lasted * SECOND, 0)


def test_a_break_that_comes_back_is_another() -> None:
    """It counts from when it was back, not from the first time; what a person does meanwhile changes nothing."""
    breaks = Breaks()
    opened = a_break(at_us=0)
    breaks.changed(opened, 0)
    gone = converged(opened, 3 * SECOND)
    breaks.changed(gone, 3 * SECOND)
    noted = msgspec.structs.replace(gone, version=gone.version + 1)
    breaks.changed(noted, 50 * SECOND)
    back = incidents.seen_again(noted, Finding(kind=opened.kind, subject="o", summary="differs"))
    assert back is not None
    breaks.changed(back, 100 * SECOND)
    breaks.changed(msgspec.structs.replace(back, version=back.version + 1), 101 * SECOND)
    breaks.changed(converged(back, 104 * SECOND), 104 * SECOND)
    assert (breaks.duration_us.count, breaks.duration_us.total) == (2, 7 * SECOND)


def test_only_breaks_have_a_duration() -> None:
    """An incident of another kind, one closed before it converged, and one that had converged at the start count nothing."""
    breaks = Breaks()
    stream = a_break(kind=IncidentKind.STREAM)
    breaks.changed(stream, 0)
    breaks.changed(converged(stream, 5), 5)
    opened = a_break()
    breaks.changed(opened, 0)
    breaks.changed(msgspec.structs.replace(opened, resolved_at_us=5), 5)
    breaks.load([converged(opened, 5), stream])
    assert (breaks.duration_us.count, breaks.oldest_us(SECOND)) == (0, 0)


def test_a_break_that_was_open_at_the_start_still_lasts() -> None:
    """It is taken up with the time of its first sight, however long ago that was in another process."""
    breaks = Breaks()
    breaks.load([a_break(SECOND, at_us=4 * SECOND)])
    assert breaks.oldest_us(11 * SECOND) == 10 * SECOND


def test_a_ledger_counts_groups_and_their_changes() -> None:
    """One commit of 3 changes in 1.5 ms is one of each."""
    ledger = LedgerMeasures()
    ledger.committed(0.0015, 3)
    assert (ledger.commit_us.total, ledger.group.total, ledger.commit_us.count) == (1500, 3, 1)


def test_a_label_names_no_account() -> None:
    """What stands after a colon may be an account: the route's number in the ledger stands there instead."""
    assert metrics.route_label("paper:ACC-4711", 3) == "paper:3"
    assert metrics.route_label("paper", 3) == "paper"


def test_names_follow_the_conventions() -> None:
    """All begin with onefill_; counters and nothing else end in _total; durations are in seconds, shares are ratios."""
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("onefill_")
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
        assert not any(unit in metric.name for unit in ("_ms", "_us", "millis", "percent", "duration_s_"))
        assert set(metric.labels) <= {"route", "kind", "state", "subscriber"}
        assert metric.help
        assert not metric.help.endswith(".")


def test_every_figure_has_its_counters() -> None:
    """The five figures are defined, each by PromQL over metrics that are exposed."""
    assert [figure.short for figure in FIGURES] == ["DRR", "UOC", "RDR", "ICC", "RBD"]
    for figure in FIGURES:
        assert any(name in figure.promql for name in BY_NAME)


def test_the_page_says_what_the_code_says() -> None:
    """docs/metrics.md holds the definitions and the table of every metric as they are made from the code."""
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    assert metrics.markdown_figures() in page
    assert metrics.markdown_metrics() in page
    assert metrics.renewed(page) == page
