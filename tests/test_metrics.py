"""The figures on /metrics: right, bounded, added up over workers."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import CONTENT_TYPE, MAX_MODELS, MAX_SERIES, Metrics

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(metrics: Metrics) -> Figures:
    """What a Prometheus server reads."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def figure(metrics: Metrics, name: str, **labels: str) -> float:
    return figures(metrics)[name, frozenset(labels.items())]


def test_content_type_is_the_one_prometheus_expects() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=")


def test_every_family_is_rendered_before_anything_happened() -> None:
    text = Metrics().render().decode()
    for name in (
        "requests_total counter", "overhead_seconds histogram", "upstream_first_byte_seconds histogram",
        "reserve_seconds histogram", "settle_seconds histogram", "holds_open gauge", "refusals_total counter",
        "tokens_total counter", "cost_usd_total counter", "settlements_total counter", "spool_records gauge",
        "ledger_batch_size histogram", "ledger_retries_total counter",
        "client_disconnects_total counter", "auth_failures_total counter", "upstream_connections gauge",
        "event_loop_lag_seconds gauge", "draining gauge", "overrun_tokens_total counter", "overrun_usd_total counter",
    ):  # fmt: skip
        assert f"# TYPE gateway_{name}\n" in text
    assert "process_resident_memory_bytes" in text


def test_call_is_counted_by_route_class_and_dialect() -> None:
    metrics = Metrics()
    for status in (200, 200, 429):
        metrics.call_finished("/v1/messages", status, "anthropic", 0.0007)
    labels = {"route": "/v1/messages", "dialect": "anthropic"}
    assert figure(metrics, "gateway_requests_total", status_class="2xx", **labels) == 2
    assert figure(metrics, "gateway_requests_total", status_class="4xx", **labels) == 1


def test_observation_is_in_every_bucket_from_its_bound_up() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.0011, 7.0):
        metrics.reserved(seconds)
    assert figure(metrics, "gateway_reserve_seconds_bucket", le="0.0005") == 0
    assert figure(metrics, "gateway_reserve_seconds_bucket", le="0.001") == 1
    assert figure(metrics, "gateway_reserve_seconds_bucket", le="0.0025") == 2
    assert figure(metrics, "gateway_reserve_seconds_bucket", le="1.0") == 2
    assert figure(metrics, "gateway_reserve_seconds_bucket", le="+Inf") == 3
    assert figure(metrics, "gateway_reserve_seconds_count") == 3
    assert figure(metrics, "gateway_reserve_seconds_sum") == 7.0021


def test_usage_is_counted_in_tokens_and_dollars() -> None:
    metrics = Metrics(["gpt-4o"])
    for _ in range(2):
        metrics.usage_charged(
            "gpt-4o", 1_500_000_000, input_tokens=100, output_tokens=20, cached_tokens=64, reasoning_tokens=8
        )
    counted = {
        kind: figure(metrics, "gateway_tokens_total", model="gpt-4o", kind=kind)
        for kind in ("input", "output", "cached", "reasoning")
    }
    assert counted == {"input": 200, "output": 40, "cached": 128, "reasoning": 16}
    assert figure(metrics, "gateway_cost_usd_total", model="gpt-4o") == 3.0


def test_facts_of_the_ledger_are_counted() -> None:
    metrics = Metrics()
    metrics.settled("reported", "completed", 0.002, overrun_tokens=5)
    metrics.settled("counted", "client_left", 0.002, overrun_tokens=0, overrun_nano_usd=1_500_000)
    metrics.ledger_batch(3, 0.001)
    metrics.ledger_retried("deadlock")
    metrics.holds_are_open(4)
    metrics.ledger_spooled(2)
    assert figure(metrics, "gateway_settlements_total", source="reported", outcome="completed") == 1
    assert figure(metrics, "gateway_overrun_tokens_total") == 5
    assert figure(metrics, "gateway_overrun_usd_total") == 0.0015
    assert figure(metrics, "gateway_settle_seconds_count") == 2
    assert figure(metrics, "gateway_ledger_batch_size_sum") == 3
    assert figure(metrics, "gateway_ledger_retries_total", cause="deadlock") == 1
    assert figure(metrics, "gateway_holds_open") == 4


def test_other_facts_are_counted() -> None:
    metrics = Metrics()
    metrics.upstream_answered("openai", 0.3)
    metrics.call_refused("budget_exhausted")
    metrics.client_left()
    metrics.authentication_failed()
    metrics.upstream_connections_are("openai", 7)
    metrics.event_loop_lagged(0.25)
    metrics.calls_wait(7, 3)
    metrics.calls_wait(2, 5)
    metrics.draining()
    assert figure(metrics, "gateway_calls_waiting") == 2
    assert figure(metrics, "gateway_calls_turned_away_total") == 5
    assert figure(metrics, "gateway_upstream_first_byte_seconds_count", upstream="openai") == 1
    assert figure(metrics, "gateway_refusals_total", reason="budget_exhausted") == 1
    assert figure(metrics, "gateway_client_disconnects_total") == 1
    assert figure(metrics, "gateway_auth_failures_total") == 1
    assert figure(metrics, "gateway_upstream_connections", upstream="openai") == 7
    assert figure(metrics, "gateway_event_loop_lag_seconds") == 0.25
    assert figure(metrics, "gateway_draining") == 1


def test_unknown_model_is_counted_as_other_until_it_is_known() -> None:
    metrics = Metrics(["gpt-4o"])
    metrics.usage_charged("made-up", 0, input_tokens=1, output_tokens=0)
    metrics.know_models(["made-up"])
    metrics.usage_charged("made-up", 0, input_tokens=2, output_tokens=0)
    assert figure(metrics, "gateway_tokens_total", model="other", kind="input") == 1
    assert figure(metrics, "gateway_tokens_total", model="made-up", kind="input") == 2


def test_model_whose_name_begins_as_a_known_one_is_counted_as_that() -> None:
    metrics = Metrics(["claude-haiku-4*", "claude-haiku-4-5*", "gpt-4o"])
    metrics.estimates_calibrated("claude-haiku-4-5-20251001", 1_250)
    metrics.estimates_calibrated("claude-haiku-4", 900)
    metrics.estimates_calibrated("gpt-4o-of-somebody", 2_000)
    assert figure(metrics, "gateway_estimate_factor", model="claude-haiku-4-5") == 1.25
    assert figure(metrics, "gateway_estimate_factor", model="claude-haiku-4") == 0.9
    assert len([name for name, _ in figures(metrics) if name == "gateway_estimate_factor"]) == 2


def test_models_beyond_the_bound_are_counted_as_other() -> None:
    names = [f"model-{number}" for number in range(MAX_MODELS + 50)]
    metrics = Metrics(names)
    for name in names:
        metrics.usage_charged(name, 1, input_tokens=1, output_tokens=1)
    models = {dict(labels)["model"] for name, labels in figures(metrics) if name == "gateway_cost_usd_total"}
    assert len(models) == MAX_MODELS + 1
    assert figure(metrics, "gateway_tokens_total", model="other", kind="input") == 50


def test_series_of_any_label_are_bounded() -> None:
    metrics = Metrics()
    for number in range(MAX_SERIES + 100):
        metrics.call_refused(f"reason-{number}")
    reasons = [labels for name, labels in figures(metrics) if name == "gateway_refusals_total"]
    assert len(reasons) == MAX_SERIES + 1
    assert figure(metrics, "gateway_refusals_total", reason="other") == 100


def test_workers_add_up_and_one_that_closed_takes_its_gauges_along(tmp_path: Path) -> None:
    first, second = Metrics(directory=tmp_path), Metrics(directory=tmp_path)
    for metrics, calls in ((first, 1), (second, 2)):
        for _ in range(calls):
            metrics.client_left()
            metrics.reserved(0.002)
        metrics.holds_are_open(calls)
        metrics.event_loop_lagged(calls / 10)
        metrics.publish()
    assert figures(first) == figures(second)
    assert figure(first, "gateway_client_disconnects_total") == 3
    assert figure(first, "gateway_reserve_seconds_bucket", le="0.0025") == 3
    assert figure(first, "gateway_holds_open") == 3
    assert figure(first, "gateway_event_loop_lag_seconds") == 0.2
    second.close()
    assert figure(first, "gateway_client_disconnects_total") == 3
    assert figure(first, "gateway_holds_open") == 1


def test_killed_worker_leaves_its_counts_but_not_its_gauges(tmp_path: Path) -> None:
    program = """if True:
        import os, pathlib, sys
        from gateway.metrics import Metrics
        metrics = Metrics(directory=pathlib.Path(sys.argv[1]))
        metrics.client_left()
        metrics.holds_are_open(5)
        metrics.publish()
        os._exit(9)
    """
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, env={**os.environ}, check=False)  # noqa: S603
    survivor = Metrics(directory=tmp_path)
    assert figure(survivor, "gateway_client_disconnects_total") == 1
    assert figure(survivor, "gateway_holds_open") == 0
