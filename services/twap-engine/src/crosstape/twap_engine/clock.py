"""Two clocks: UTC for what is written down, and one that no NTP step touches for waiting.

The second goes on while the machine is suspended, so a machine that slept finds its slices due (and mostly missed).
"""

from __future__ import annotations

import time

STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """What the engine asks; tests give their own."""

    def utc(self) -> int:
        """Nanoseconds since the epoch; may step."""
        return time.time_ns()

    def steady(self) -> int:
        """Nanoseconds since some moment; never steps."""
        return time.clock_gettime_ns(STEADY)
