"""Alerts name series that exist, fire when they must and only then, and each has a page that says what to do."""

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from crosstape.api_gateway.metrics import begin_upstream
from crosstape.ingestor.series import begin_series, begin_socket_series
from deploy.k8s import prometheus_rule
from tests.deploy import code
from tests.deploy.alert_cases import CASES
from tests.deploy.containers import compose_containers
from tests.deploy.promql import TARGET_LABELS, problems
from tests.deploy.tools import ROOT, promtool

PROMETHEUS = ROOT / "deploy/prometheus"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
STEP = "30s"
LOOK = "29m"
NO_PROMTOOL = "no promtool: not on PATH, and `apt-get download prometheus` gives none here (its rules are still parsed)"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_complete(name: str) -> None:
    rule = ALERTS[name]
    assert rule["for"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"docs/runbooks/{_page(name)}.md"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_asks_series_and_labels_that_the_services_have(name: str) -> None:
    assert not problems(ALERTS[name]["expr"], code.metrics())


@pytest.mark.parametrize("name", ALERTS)
def test_summary_shows_only_labels_that_the_alert_has(name: str) -> None:
    shown = set(re.findall(r"\$labels\.(\w+)", ALERTS[name]["annotations"]["summary"]))
    left: Any = promql_parser.parse(ALERTS[name]["expr"])
    while isinstance(left, promql_parser.BinaryExpr | promql_parser.ParenExpr):
        left = left.lhs if isinstance(left, promql_parser.BinaryExpr) else left.expr
    while isinstance(left, promql_parser.Call):
        left = left.args[-1]
    if isinstance(left, promql_parser.AggregateExpr):
        has = frozenset(left.modifier.labels if left.modifier else ())
    else:
        selector = getattr(left, "vector_selector", left)
        has = TARGET_LABELS | code.metrics().get(selector.name, frozenset())
    assert shown <= has


def test_a_renamed_metric_and_a_lost_label_are_noticed() -> None:
    """The checks above can fail."""
    metrics = {"a_total": frozenset({"exchange"})}
    assert problems("rate(b_total[5m])", metrics) == ["no process exposes b_total"]
    assert problems('rate(a_total{state="x"}[5m])', metrics) == ["a_total has no label state"]
    assert problems("sum by (route) (rate(a_total[5m]))", metrics)
    assert not problems("sum by (exchange) (rate(a_total[5m]))", metrics)


@pytest.mark.parametrize("name", [name for name in ALERTS if "increase(" in ALERTS[name]["expr"]])
def test_what_an_alert_counts_is_there_before_it_first_happens(name: str) -> None:
    """In a series that begins at 1 Prometheus sees no increase: what happens once would fire nothing."""
    metrics = code.metrics()
    begin_series("toy")
    begin_socket_series("toy")
    begin_upstream("toy")
    importlib.import_module("crosstape.auth.audit")  # which knows the events
    there = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    counted = set(re.findall(r"increase\((\w+)", ALERTS[name]["expr"]))
    assert counted <= there & metrics.keys()


def test_alerts_of_processes_watch_every_service_by_the_name_of_its_job() -> None:
    jobs = {container.name for container in compose_containers() if container.module}
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    (static,) = scrape["static_configs"]
    ports = {
        container.name: container.environment["CROSSTAPE_PORT"]
        for container in compose_containers()
        if container.module
    }
    assert set(static["targets"]) == {f"{name}:{port}" for name, port in ports.items()}
    for name in ("ServiceDown", "ServiceRestarting"):
        (pattern,) = re.findall(r'job=~"([^"]+)"', ALERTS[name]["expr"])
        assert all(re.fullmatch(pattern, job) for job in jobs)
    missed = re.findall(r'absent\(up\{job="([^"]+)"\}\)', ALERTS["ServiceAbsent"]["expr"])
    assert set(missed) == {job for job in jobs if not job.startswith("ingestor-")}


def test_kubernetes_has_the_same_alerts() -> None:
    hint = "run: python deploy/k8s/prometheus_rule.py"
    assert prometheus_rule.RESOURCE.read_text() == prometheus_rule.rendered(), hint
    resource = yaml.safe_load(prometheus_rule.RESOURCE.read_text())
    assert resource["spec"] == yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())


def test_every_alert_has_a_case() -> None:
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("name", CASES)
def test_cases_are_of_series_that_the_services_have(name: str) -> None:
    known = code.metrics().keys() | {"up"}
    case = CASES[name]
    assert {series.partition("{")[0] for series in case.fires | case.quiet | case.gone} <= known


def test_prometheus_takes_its_configuration_and_rules() -> None:
    program = promtool() or pytest.skip(NO_PROMTOOL)
    done = subprocess.run(
        [program, "check", "config", "prometheus.yml"], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_alerts_fire_when_they_must_and_only_then(tmp_path: Path) -> None:
    program = promtool() or pytest.skip(NO_PROMTOOL)
    for name, case in CASES.items():  # a suite for each: promtool evaluates every rule of a suite's files in each test
        (tmp_path / f"{name}.rules").write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [ALERTS[name]]}]}))
        firing = [series for series in (case.fires, case.gone) if series]
        tests = [*(_test(name, series, 1) for series in firing), _test(name, case.quiet, 0)]
        suite = {"rule_files": [f"{name}.rules"], "evaluation_interval": STEP, "tests": tests}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(suite))
    command = [program, "test", "rules", *(f"{name}.yml" for name in CASES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(CASES)


def _test(name: str, series: dict[str, str], firing: int) -> dict[str, Any]:
    """One test of promtool: whether the alert fires in the end."""
    expression = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    return {
        "interval": STEP,
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {"expr": expression, "eval_time": LOOK, "exp_samples": [{"labels": "{}", "value": firing}]}
        ],
    }


def _page(alert: str) -> str:
    """FeedSilent is told in feed-silent.md."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()
