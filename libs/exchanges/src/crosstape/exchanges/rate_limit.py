"""An exchange's rate limit as arithmetic: who may ask when. Nothing here sleeps or reads a clock."""

from __future__ import annotations

from crosstape.exchanges.dialect import RateLimit

_BURST = 0.1
"""The share of the limit that may be spent at once. The rest is the rate of refilling, so that no interval of the
limit's length sees more than the limit, wherever it begins."""


class TokenBucket:
    """Requests reserve their weight in the order they come; a heavy one goes into debt, and those after it wait."""

    def __init__(self, limit: RateLimit):
        self._capacity = max(1.0, limit.weight * _BURST)
        self._rate = limit.weight * (1 - _BURST) / limit.seconds
        self._tokens = self._capacity
        self._time = 0.0
        self._blocked_until = 0.0

    def reserve(self, weight: int, now: float) -> float:
        """Seconds to wait from `now` (s, monotonic) before a request of `weight` may be sent."""
        self._tokens = min(self._capacity, self._tokens + (now - self._time) * self._rate)
        self._time = now
        wait = max(0.0, min(weight, self._capacity) - self._tokens) / self._rate
        self._tokens -= weight
        return max(wait, self.blocked_for(now))

    def block(self, seconds: float, now: float) -> None:
        """The exchange refused us: nothing is sent for `seconds`."""
        self._blocked_until = max(self._blocked_until, now + seconds)

    def blocked_for(self, now: float) -> float:
        """Seconds until the exchange's refusal ends."""
        return max(0.0, self._blocked_until - now)
