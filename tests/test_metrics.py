"""Metrics have one naming scheme, whoever defines them: a metric that deviates, or explains nothing, fails here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from docs.generator.modules import SERVICES, sources

PREFIXES = {
    "crosstape.ingestor": "ingestor",
    "crosstape.history": "history",
    "crosstape.stream_hub": "hub",
    "crosstape.twap_engine": "twap",
    "crosstape.auth": "auth",
    "crosstape.api_gateway": "gateway",
    "crosstape.common": "runtime",
}
BASE_UNITS = ("_seconds", "_bytes", "_ratio")
OTHER_UNITS = ("ns", "us", "ms", "milliseconds", "minutes", "hours", "kb", "mb", "mib", "percent", "bps")
LABELS = {
    "bucket", "cause", "code", "event", "exchange", "interval", "kind", "method", "reason", "route", "service",
    "source", "state", "status", "table", "topic", "upstream", "version",
}  # fmt: skip
"""Every label has few values, all of them ours: a new one must be thought about, and named here."""


def _metrics() -> Iterator[tuple[str, MetricWrapperBase]]:
    for package in (*SERVICES.values(), "crosstape.common"):
        for module, text in sources(package):
            if "prometheus_client import" in text:
                for value in vars(importlib.import_module(module)).values():
                    if isinstance(value, MetricWrapperBase) and _defined_in(value, text):
                        yield package, value


def _name(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    return family.name


def _defined_in(metric: MetricWrapperBase, text: str) -> bool:
    """As opposed to imported: the module has its name, and spells a counter's with `_total`."""
    return f'"{_name(metric)}{"_total" if isinstance(metric, Counter) else ""}"' in text


ALL = sorted({(package, metric) for package, metric in _metrics()}, key=lambda found: _name(found[1]))


def test_every_service_counts_something_and_every_definition_is_found() -> None:
    assert {package for package, _ in ALL} == set(PREFIXES)
    defined = {
        name
        for package in PREFIXES
        for _, text in sources(package)
        if "prometheus_client import" in text
        for name in re.findall(r'(?:Counter|Gauge|Histogram|Summary|Info|Enum)\(\s*"(\w+)"', text)
    }
    assert {name.removesuffix("_total") for name in defined} == {_name(metric) for _, metric in ALL}
    assert len(ALL) == len({_name(metric) for _, metric in ALL})


@pytest.mark.parametrize(("package", "metric"), ALL, ids=[_name(metric) for _, metric in ALL])
def test_a_metric_is_named_by_the_scheme_and_explains_itself(package: str, metric: MetricWrapperBase) -> None:
    name = _name(metric)
    prefix = f"crosstape_{PREFIXES[package]}_"
    assert name.startswith(prefix), f"metrics of {package} are called {prefix}..."
    words = name.removeprefix(prefix).split("_")
    assert all(re.fullmatch(r"[a-z0-9]+", word) for word in words)
    assert not set(words) & set(OTHER_UNITS), "units are seconds, bytes and ratios"
    assert "total" not in words, "only counters end in _total"
    assert isinstance(metric, Counter | Gauge | Histogram)
    if isinstance(metric, Histogram):
        assert name.endswith(BASE_UNITS), "a histogram says in its name what it measures"
    (family,) = metric.describe()
    assert re.match(r"[A-Z0-9].{5,}[^.]$", family.documentation), "help is a phrase"
    assert set(metric._labelnames) <= LABELS
    assert len(metric._labelnames) <= 3
