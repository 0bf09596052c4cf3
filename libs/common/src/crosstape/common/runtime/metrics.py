"""What every process tells of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib.metadata import version
from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from crosstape.common.waiting import pause

LOOK_SECONDS = 0.5

BUILD = Gauge("crosstape_runtime_build_info", "1, labelled with the service and its version", ["service", "version"])
LOOP_LAG = Histogram(
    "crosstape_runtime_loop_lag_seconds",
    "How much later than asked the event loop came back to a timer, looked at twice a second",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)


def begin(metric: Counter | Gauge, *values: Iterable[str]) -> None:
    """Have a series at 0 for each combination of its labels' `values`, before anything has happened: Prometheus sees no
    increase in one that begins at 1."""
    for labels in product(*values):
        metric.labels(*labels)


def tell_build(service: str) -> None:
    """Say which service this process is, and of which version."""
    BUILD.labels(service, version("crosstape-common")).set(1)


async def watch_loop(stop: asyncio.Event) -> None:
    """Measure how late the event loop is, until `stop`."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        due = loop.time() + LOOK_SECONDS
        await pause(stop, LOOK_SECONDS)
        if not stop.is_set():
            LOOP_LAG.observe(max(0.0, loop.time() - due))
