"""What the gateway counts. Labels come from the route table, never from what a client wrote."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from crosstape.common.runtime.metrics import begin

REQUESTS = Histogram(
    "crosstape_gateway_request_seconds",
    "Time to answer a request, to the last byte",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
_FAILURES = ("unreachable", "timeout", "busy", "identity", "foreign_error", "breaker_open")
UPSTREAM_FAILURES = Counter(
    "crosstape_gateway_upstream_failures_total",
    f"Requests that a service failed: {', '.join(_FAILURES)}",
    ["upstream", "reason"],
)
REFUSED = Counter(
    "crosstape_gateway_refused_total",
    "Connections that were refused before a request could be read, and requests whose bodies found no room (bodies)",
    ["reason"],
)
LIMITED = Counter("crosstape_gateway_limited_total", "Requests answered 429", ["bucket"])
LIMITER_SHARED = Gauge("crosstape_gateway_limiter_shared", "1: limits are counted in Redis, 0: in this process alone")
SOCKETS = Gauge("crosstape_gateway_sockets", "WebSockets that are passed through")
BREAKER_STATE = Gauge("crosstape_gateway_breaker_state", "0 closed, 1 open, 2 probing", ["upstream"])


def begin_upstream(name: str) -> None:
    """Have the failures of a service at 0."""
    begin(UPSTREAM_FAILURES, [name], _FAILURES)


_observers: dict[tuple[str, str, int], Callable[[float], None]] = {}


def observe_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count one answer; `status` 0 is one that never began."""
    key = (route, method_label(method), status)
    observe = _observers.get(key)
    if observe is None:
        observe = _observers[key] = REQUESTS.labels(route, key[1], status or "cut").observe
    observe(seconds)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def method_label(method: str) -> str:
    """`method`, or `other`: clients may invent methods."""
    return method if method in _METHODS else "other"
