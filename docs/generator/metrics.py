"""The reference of metrics, from the modules that define them."""

from __future__ import annotations

import importlib

from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from docs.generator.modules import SERVICES, sources
from docs.generator.schemas import cell

PATH = "reference/metrics.md"

_HEAD = """# Metrics

This page lists every metric that the services count, as Prometheus sees it.

Each service answers `GET /metrics` on its own port, and `/livez` and `/readyz` for probes; only the gateway's are
reached through the platform's origin. Python's own process metrics (`process_*`, `python_*`) come besides. A histogram
has `_bucket`, `_sum` and `_count`. Labels are words of ours, never what a client wrote, so their number is bounded.
"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD]
    for service, package in {**SERVICES, "every service": "crosstape.common"}.items():
        found = sorted(_metrics(package), key=_name)
        if found:
            lines += [f"## {service}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
            lines += [_row(metric) for metric in found]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _metrics(package: str) -> set[MetricWrapperBase]:
    """Those that a module of the package holds; one that it only imported is the other's and has the same name."""
    return {
        value
        for name, text in sources(package)
        if "prometheus_client import" in text
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, MetricWrapperBase)
    }


def _name(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    return family.name + ("_total" if isinstance(metric, Counter) else "")


def _row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    meaning = family.documentation
    if isinstance(metric, Histogram):
        bounds = ", ".join(f"{bound:g}" for bound in metric._upper_bounds[:-1])
        meaning += f" (up to {bounds})"
    return f"| `{_name(metric)}` | {family.type} | {labels} | {cell(meaning)} |"
