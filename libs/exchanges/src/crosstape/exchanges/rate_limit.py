"""An exchange's rate limit as arithmetic: who may ask when. Nothing here sleeps or reads a clock."""

from __future__ import annotations

from crosstape.exchanges.dialect import RateLimit

_BURST = 0.1
"""The share of the limit that may be spent at once. The rest is the rate of refilling, so that no interval of the
limit's length sees more than the limit, wherever it begins."""


_ROUNDING = 1e-9


class TokenBucket:
    """Requests take their weight in the order they come; a heavy one goes into debt, and those after it wait."""

    def __init__(self, limit: RateLimit):
        self._capacity = max(1.0, limit.weight * _BURST)
        self._rate = limit.weight * (1 - _BURST) / limit.seconds
        self._tokens = self._capacity
        self._time = 0.0
        self._blocked_until = 0.0

    def take(self, weight: int, now: float) -> float:
        """0 where a request of `weight` is sent at `now` (s, monotonic), which is counted, else the seconds after which
        to ask again."""
        if now < self._blocked_until:
            return self._blocked_until - now
        self._tokens = min(self._capacity, self._tokens + (now - self._time) * self._rate)
        self._time = now
        lacking = min(weight, self._capacity) - self._tokens
        if lacking > _ROUNDING:
            return lacking / self._rate
        self._tokens -= weight
        return 0.0

    def block(self, seconds: float, now: float) -> None:
        """The exchange refused us: nothing is sent for `seconds`, and no burst when they are over."""
        if now + seconds > self._blocked_until:
            self._blocked_until = self._time = now + seconds
            self._tokens = 0.0

    def blocked_for(self, now: float) -> float:
        """Seconds until the exchange's refusal ends."""
        return max(0.0, self._blocked_until - now)
