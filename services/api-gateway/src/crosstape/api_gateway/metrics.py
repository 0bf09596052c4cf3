"""What the gateway counts. Labels come from the route table, never from what a client wrote."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Histogram(
    "crosstape_gateway_request_seconds",
    "Time to answer a request, to the last byte",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
UPSTREAM_FAILURES = Counter(
    "crosstape_gateway_upstream_failures_total",
    "Requests that a service failed: unreachable, timeout, broken, foreign_error, breaker_open",
    ["upstream", "reason"],
)
BREAKER_STATE = Gauge("crosstape_gateway_breaker_state", "0 closed, 1 open, 2 probing", ["upstream"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def method_label(method: str) -> str:
    """`method`, or `other`: clients may invent methods."""
    return method if method in _METHODS else "other"
