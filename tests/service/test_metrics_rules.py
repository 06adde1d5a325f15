"""The alert rules and the dashboard: what they name exists, with the labels they use, and every alert says what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from metrics_kit import rules, speaks_of, tokens

from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.metrics import BY_NAME, CALLBACK_RESULTS, FIGURES, METRICS, MetricKind

ROOT = Path(__file__).resolve().parents[2]
RULES = rules((ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))
DASHBOARD = json.loads((ROOT / "deploy/grafana/onefill.json").read_text("utf-8"))
TARGET_LABELS = {"instance", "job"}
"""What Prometheus adds to every sample."""


def series() -> dict[str, set[str]]:
    """Return the names that the exposition has, each with its labels."""
    found: dict[str, set[str]] = {"up": set()}
    for metric in METRICS:
        if metric.kind is MetricKind.HISTOGRAM:
            found[f"{metric.name}_bucket"] = {*metric.labels, "le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = set(metric.labels)
        else:
            found[metric.name] = set(metric.labels)
    return found


def check(expression: str) -> set[str]:
    """Fail if an expression speaks of what is not exposed. Return the metrics it names."""
    exposed = series()
    metrics, groups = speaks_of(expression)
    assert metrics, expression
    for name, labels in metrics.items():
        assert name in exposed, f"{name} is not exposed: {expression}"
        assert labels <= exposed[name] | TARGET_LABELS, expression
        assert groups <= exposed[name] | TARGET_LABELS, f"{name} has no {groups - exposed[name]}: {expression}"
    return set(metrics)


def queries() -> list[tuple[str, str]]:
    """Return (panel, expression) of everything that the dashboard asks."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_the_reader_of_promql_knows_names_from_words() -> None:
    """Functions, keywords, label values, durations and variables are no metrics; grouped labels are told apart."""
    told = speaks_of('sum by (route, le) (rate(a_bucket{route=~"$route", kind!="b"}[5m] offset 1h)) > 0.5 and c == 1')
    assert told == ({"a_bucket": {"route", "kind"}, "c": set()}, {"route", "le"})
    for wrong in ("sum(a", "a)", "a{b]", "a ? b"):
        with pytest.raises(ValueError, match=r"PromQL|brackets"):
            tokens(wrong)


@pytest.mark.parametrize("wrong", ['  a: "x', "      - alert: a: b", "      - Alert x", "        expr: x > 1"])
def test_the_reader_of_rules_refuses_what_it_does_not_know(wrong: str) -> None:
    """A line that YAML might read otherwise than this reader is an error, not a guess."""
    with pytest.raises(ValueError, match=r"line|Unterminated"):
        rules(f"groups:\n{wrong}\n")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exposed_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """Names and labels exist; a time to hold, a severity, a summary, a first action and a page with its heading are there."""
    check(rule["expr"])
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["labels"]["severity"] in ("page", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["description"].endswith(".")
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert path.startswith("docs/")
    if path == "docs/metrics.md":
        assert f"### {rule['alert']}".lower() in (ROOT / path).read_text("utf-8").lower()
        assert anchor == rule["alert"].lower()
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    _, groups = speaks_of(rule["expr"])
    assert used <= groups | (TARGET_LABELS if rule["expr"].startswith("up") else set())


def test_every_alert_is_on_the_page() -> None:
    """docs/metrics.md tells of each alert with its very expression, its severity and its first action."""
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    for rule in RULES:
        section = page.partition(f"### {rule['alert']}\n")[2].partition("\n### ")[0]
        assert f"`{rule['expr']}`" in section
        assert rule["labels"]["severity"] in section
        assert rule["annotations"]["description"] in section
    assert re.findall(r"^### (Onefill\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_every_figure_has_an_alert_and_a_panel() -> None:
    """DRR, UOC, RDR, ICC and RBD are watched and shown; alerts and panels have distinct names."""
    alerts = set().union(*(check(rule["expr"]) for rule in RULES))
    panels = set().union(*(check(expression) for _, expression in queries()))
    for figure in FIGURES:
        names = check(figure.promql)
        assert names <= alerts, figure.short
        assert names <= panels, figure.short
        assert any(figure.short in title for title, _ in queries())
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    "name",
    [
        *("onefill_control_state", "onefill_route_failed", "onefill_ledger_failed", "onefill_lease_remaining_seconds"),
        *("onefill_open_incidents", "onefill_commit_latency_seconds_bucket", "onefill_stream_reconnects_total"),
        "onefill_callbacks_total",
        *("onefill_parked_orders", "onefill_reports_total", "up"),
        "onefill_ledger_standby_missing",
        *("onefill_subscriber_up", "onefill_subscriber_lag_seconds", "onefill_subscriber_stopped_orders"),
    ],
)
def test_what_must_wake_somebody_is_in_the_rules(name: str) -> None:
    """Control state, failures, lease, incidents, commits, streams, subscribers and the process itself each have a rule."""
    assert any(name in speaks_of(rule["expr"])[0] for rule in RULES)


@pytest.mark.parametrize(("title", "expression"), queries())
def test_a_panel_asks_for_what_is_exposed(title: str, expression: str) -> None:
    """Names and labels of every query of the dashboard exist."""
    assert title
    check(expression)


def test_every_metric_is_on_the_dashboard() -> None:
    """Nothing is exposed that no panel shows."""
    shown = set().union(*(speaks_of(expression)[0] for _, expression in queries()))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in BY_NAME else name for name in shown}
    assert bare == set(BY_NAME)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """A schema of today, a variable for the data source that every panel uses, the five rows, ids that differ, no overlap."""
    assert DASHBOARD["schemaVersion"] >= 39
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert check(variables["route"]["definition"].replace("label_values", "").strip("()").partition(",")[0])
    panels = DASHBOARD["panels"]
    rows = ["Safety", "Flow", "Executions", "Ledger", "Subscribers"]
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == rows
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_states_and_kinds_that_rules_select_exist() -> None:
    """A label value that a rule or panel names is one that is exposed."""
    known = {"normal", "degraded", "dup_risk", "safe", "unknown", "onefill", "$route"}
    known |= {str(status) for status in Status} | {str(kind) for kind in IncidentKind} | set(CALLBACK_RESULTS)
    for expression in [rule["expr"] for rule in RULES] + [expression for _, expression in queries()]:
        for _, text in (one for one in tokens(expression) if one[0] == "text"):
            assert set(text.strip('"').split("|")) <= known
