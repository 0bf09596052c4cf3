"""One timer for a connection, whatever is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Watchdog:
    """Calls `bite` when what was to come by a moment has not. The moment may be moved with every request: the timer is
    touched only when it would be late, so most are never made."""

    def __init__(self, bite: Callable[[], None]):
        self._loop = asyncio.get_running_loop()
        self._bite = bite
        self._until = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def wait(self, seconds: float) -> None:
        """Bite in so many seconds, instead of at any other time."""
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer_at > self._until:
            self._arm()

    def rest(self) -> None:
        """Nothing is waited for."""
        self._until = inf

    def stop(self) -> None:
        """For good."""
        self._until = inf
        if self._timer:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer_at = self._until
        self._timer = self._loop.call_at(self._until, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._until == inf:
            return
        if self._loop.time() < self._until:
            self._arm()
        else:
            self._until = inf
            self._bite()
