"""What Prometheus gets: every metric of the list, by its conventions, with labels of bounded number that give nothing away."""

import asyncio
import math
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from run_kit import gateway, make_exchange, run

from onefill.core.control import State
from onefill.core.incident import IncidentKind
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.metrics import BY_NAME, CALLBACK_RESULTS, METRICS
from onefill.service.metrics import registry

ACCOUNT = "secret-4711"


def an_order(**other: object) -> Intent:
    """Return an order that rests."""
    fields: dict[str, object] = {"account": ACCOUNT, "strategy": "strat", "instrument": "BTC-USD", "side": "buy"}
    fields |= {"quantity": 1, "price": 100, "time_in_force": "gtc", "venue": f"sim:{ACCOUNT}"}
    return Intent(**(fields | other))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The exposition of a gateway that sent two orders, one of them twice asked for, and had one execution."""
    folder = tmp_path_factory.mktemp("metrics")
    told: list[str] = []

    async def scenario() -> None:
        exchange = make_exchange()
        async with gateway(folder / "o.db", exchange, (ACCOUNT,)) as opened:
            for key in ("key-1", "key-2", "key-2"):
                await opened.submit(an_order(), key=key)
            await opened.submit(an_order(side="sell", quantity=Decimal("0.5")), key="key-3")
            await opened.catch_up()
            told.append(generate_latest(registry(opened)).decode())

    run(scenario)
    return told[0]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by name and labels; one that comes twice fails."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_every_metric_is_exposed_as_it_is_listed(text: str) -> None:
    """Names, kinds and help of the exposition are those of the list, no more and no fewer."""
    families = list(text_string_to_metric_families(text))
    listed = {(m.name.removesuffix("_total"), str(m.kind), m.help) for m in METRICS}
    assert {(f.name, f.type, f.documentation) for f in families} == listed
    assert len(families) == len(METRICS)


def test_labels_are_those_of_the_list_and_bounded(text: str) -> None:
    """Only route, kind and state, each with values from a fixed list; buckets add le."""
    kinds = {str(kind) for kind in IncidentKind} | {"ledger", "venue", "executions", "drop_copy"}
    kinds |= {"accepted", "rejected", "too_late", "duplicate_id", "throttled", "not_sent", "unknown", *CALLBACK_RESULTS}
    states = {str(state) for state in State} | {str(status) for status in Status}
    for family in text_string_to_metric_families(text):
        metric = BY_NAME.get(family.name) or BY_NAME[f"{family.name}_total"]
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
            assert sample.labels.get("route", "sim:1") == "sim:1"
            assert sample.labels.get("kind", "ledger") in kinds
            assert sample.labels.get("state", "normal") in states


def test_no_key_account_or_id_is_told(text: str) -> None:
    """The account in the route's name, keys, client order ids and the strategy appear nowhere."""
    for secret in (ACCOUNT, "4711", "key-1", "strat", "BTC"):
        assert secret not in text


def test_the_values_are_those_of_the_scenario(text: str) -> None:
    """Three new orders, one answer repeated, one trade between two of them, nothing uncertain, NORMAL."""
    found = {name: value for (name, labels), value in samples(text).items() if labels <= {("route", "sim:1")}}
    expected = {
        "onefill_new_orders_total": 3,
        "onefill_submits_sent_total": 3,
        "onefill_answers_replayed_total": 1,
        "onefill_duplicate_rejects_total": 0,
        "onefill_duplicate_reject_ratio": 0,
        "onefill_uncertain_orders": 0,
        "onefill_executions_total": 2,
        "onefill_ack_latency_seconds_count": 3,
        "onefill_submit_to_wire_seconds_count": 3,
        "onefill_attempts_sum": 3,
        "onefill_route_failed": 0,
        "onefill_ledger_failed": 0,
        "onefill_ledger_standby_missing": 0,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["onefill_commit_group_changes_sum"] >= 6
    assert "onefill_lease_remaining_seconds" not in found
    states = {
        dict(labels)["state"]: v for (name, labels), v in samples(text).items() if name == "onefill_control_state"
    }
    assert states == {"normal": 1, "degraded": 0, "dup_risk": 0, "safe": 0}


def test_histograms_are_cumulative_in_base_units(text: str) -> None:
    """Buckets rise to the count, end in +Inf, and durations are in seconds: the first bound is 50 µs, the last 30 s."""
    for family in text_string_to_metric_families(text):
        if family.type != "histogram":
            continue
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        count = next(sample.value for sample in family.samples if sample.name.endswith("_count"))
        values = [sample.value for sample in buckets]
        bounds = [float(sample.labels["le"]) for sample in buckets]
        assert values == sorted(values)
        assert bounds == sorted(set(bounds))
        assert (values[-1], bounds[-1]) == (count, math.inf)
        if family.name == "onefill_ack_latency_seconds":
            assert (bounds[0], bounds[-2]) == (0.00005, 30)


def test_before_anything_happened_the_ratios_are_no_numbers(tmp_path: Path) -> None:
    """Counters are there from the start with 0, for every kind, so that a first event is an increase."""

    async def scenario() -> None:
        async with gateway(tmp_path / "o.db", make_exchange(), ("a", "b")) as opened:
            found = samples(generate_latest(registry(opened)).decode())
            for route in ("sim:1", "sim:2"):
                assert math.isnan(found["onefill_duplicate_reject_ratio", frozenset({("route", route)})])
                assert math.isnan(found["onefill_replay_drop_ratio", frozenset({("route", route)})])
                for kind in ("ledger", "venue"):
                    key = frozenset({("route", route), ("kind", kind)})
                    assert found["onefill_id_collisions_total", key] == 0

    run(scenario)


def test_two_gateways_share_nothing(tmp_path: Path) -> None:
    """Each registry reads its own gateway, at the moment of the scrape."""

    async def scenario() -> None:
        async with (
            gateway(tmp_path / "1.db", make_exchange(), (ACCOUNT,)) as first,
            gateway(tmp_path / "2.db", make_exchange(), (ACCOUNT,)) as second,
        ):
            registries = [registry(first), registry(second)]
            await first.submit(an_order(), key="k")
            told = [samples(generate_latest(one).decode()) for one in registries]
            key = ("onefill_new_orders_total", frozenset({("route", "sim:1")}))
            assert [found[key] for found in told] == [1, 0]

    run(scenario)


def test_a_scrape_of_many_open_orders_leaves_the_loop_free(tmp_path: Path) -> None:
    """With 2,000 open orders one exposition takes less than a tenth of a second."""

    async def scenario() -> None:
        async with gateway(tmp_path / "o.db", make_exchange(), (ACCOUNT,)) as opened:
            await asyncio.gather(*(opened.submit(an_order(), key=f"k{n}") for n in range(2_000)))
            loop, one = asyncio.get_running_loop(), registry(opened)
            best_s = math.inf
            for _ in range(5):
                began = loop.time()
                text = generate_latest(one).decode()
                best_s = min(best_s, loop.time() - began)
            assert 'onefill_orders{route="sim:1",state="new"} 2000.0' in text
            assert best_s < 0.1

    run(scenario)
