"""Rates, and the rule that applies them (GCRA, the leaky bucket as a meter). Pure; times are whole microseconds."""

from __future__ import annotations

import re
from math import ceil

from msgspec import Struct

_TEXT = re.compile(r"(\d+(?:\.\d+)?)/s burst (\d+)")
_SECOND = 1_000_000


class Rate(Struct, frozen=True):
    """`burst` tokens at once, and one more every `interval` microseconds."""

    per_second: float
    burst: int
    interval: int

    @classmethod
    def of(cls, per_second: float, burst: int) -> Rate:
        """Raises ValueError for what would let nothing through, or is beyond what microseconds tell apart."""
        if not 0.001 <= per_second <= _SECOND or not 1 <= burst <= _SECOND:
            raise ValueError("a rate is 0.001 to 1000000 a second with a burst of 1 to 1000000")
        return cls(per_second, burst, round(_SECOND / per_second))

    @classmethod
    def parse(cls, text: object) -> Rate:
        """`20/s burst 60`; a Rate as it is. Raises ValueError."""
        if isinstance(text, Rate):
            return text
        found = _TEXT.fullmatch(str(text).strip())
        if not found:
            raise ValueError("is written like `20/s burst 60`")
        return cls.of(float(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.per_second:g}/s burst {self.burst}"


class Verdict(Struct, frozen=True):
    """What a bucket said: `retry_after` is 0 when the request may pass. Both times are in whole seconds."""

    limit: int
    remaining: int
    reset: int
    retry_after: int


def untouched(rate: Rate) -> Verdict:
    """What a bucket says from which nothing was ever taken."""
    return Verdict(rate.burst, rate.burst, 0, 0)


def verdict(rate: Rate, debt: float, early: float) -> Verdict:
    """`debt`: microseconds until the bucket is full. `early`: microseconds the request came too soon, 0 if it fits."""
    room = rate.burst * rate.interval - debt
    return Verdict(rate.burst, max(0, int(room // rate.interval)), ceil(debt / _SECOND), ceil(early / _SECOND))


def take(full_at: float, now: float, rate: Rate, cost: int) -> tuple[float, float, float]:
    """Take `cost` tokens from a bucket that is full at `full_at`: when it is full now, and `verdict`'s debt and early.

    What does not fit is not taken. `gcra.lua` is the same rule.
    """
    full_at = max(full_at, now)
    new = full_at + cost * rate.interval
    early = new - rate.burst * rate.interval - now
    if early > 0:
        return full_at, full_at - now, early
    return new, new - now, 0
