"""A circuit breaker: leave a failing service alone for a while, then let one request find out."""

from __future__ import annotations

import enum


class BreakerState(enum.IntEnum):
    """The number is what the metric shows."""

    CLOSED = 0
    OPEN = 1
    PROBING = 2


class Breaker:
    """`failures` in a row open it for `open_seconds`; then one request probes: its outcome closes or opens it again.

    Times are seconds of any steady clock and come from outside. Every admitted request reports exactly one of
    `succeeded`, `failed` and `abandoned`; one whose answer may take long says `began` before.
    """

    def __init__(self, failures: int, open_seconds: float):
        self._limit = failures
        self._open_seconds = open_seconds
        self._failures = 0
        self._open_until = 0.0
        self.state = BreakerState.CLOSED

    def admits(self, now: float) -> bool:
        """Whether a request may go to the service. True in the open state makes it the probe."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.PROBING or now < self._open_until:
            return False
        self.state = BreakerState.PROBING
        return True

    def retry_after(self, now: float) -> int:
        """Whole seconds, at least 1, until asking again can help."""
        return max(1, -int(-(self._open_until - now) // 1))

    def began(self) -> None:
        """A good answer has begun: a probe has found out what it had to, however long its client takes to read it."""
        if self.state is BreakerState.PROBING:
            self.succeeded()

    def succeeded(self) -> None:
        """The service answered."""
        self._failures = 0
        self.state = BreakerState.CLOSED

    def failed(self, now: float) -> None:
        """The service could not be reached, was too slow or broke off."""
        self._failures += 1
        if self.state is not BreakerState.CLOSED or self._failures >= self._limit:
            self.state = BreakerState.OPEN
            self._open_until = now + self._open_seconds

    def abandoned(self) -> None:
        """The client left before the service could prove anything: the next request may probe."""
        if self.state is BreakerState.PROBING:
            self.state = BreakerState.OPEN
