"""One request admitted to a service, and what its breaker and the metrics hear of it."""

from __future__ import annotations

import time
from types import TracebackType

import structlog

from crosstape.api_gateway.failures import UpstreamFailed, unavailable
from crosstape.api_gateway.metrics import UPSTREAM_FAILURES
from crosstape.api_gateway.upstream import Upstream

log = structlog.get_logger(__name__)


class Trial:
    """Entering raises ServiceUnavailable while the breaker is open. UpstreamFailed inside counts against the service;
    its answer is raised in its place, unless an answer `has_begun`: then that one is just cut short.

    Set `is_answered` when the service has proved to be well.
    """

    def __init__(self, upstream: Upstream, request_id: str):
        self._upstream = upstream
        self._request_id = request_id
        self.has_begun = False
        self.is_answered = False

    def __enter__(self) -> Trial:
        upstream = self._upstream
        now = time.monotonic()
        if not upstream.breaker.admits(now):
            UPSTREAM_FAILURES.labels(upstream.name, "breaker_open").inc()
            raise unavailable(upstream.name, upstream.breaker.retry_after(now))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        upstream = self._upstream
        if isinstance(error, UpstreamFailed):
            upstream.breaker.failed(time.monotonic())
            UPSTREAM_FAILURES.labels(upstream.name, error.reason).inc()
            log.warning(
                "upstream_failed",
                upstream=upstream.name,
                reason=error.reason,
                cause=repr(error.__cause__),
                request_id=self._request_id,
            )
            if not self.has_begun:
                raise error.answer from error
            return True
        if self.is_answered:
            upstream.breaker.succeeded()
        else:
            upstream.breaker.abandoned()
        return False
