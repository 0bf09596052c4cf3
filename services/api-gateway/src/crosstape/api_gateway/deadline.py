"""asyncio.timeout for a deadline that every request has and few reach: all of them share one timer."""

from __future__ import annotations

import asyncio
from math import inf
from types import TracebackType


class Deadlines:
    """Those that run. The timer is touched only when it would be late, so most never see one made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def run(self, deadline: Deadline, seconds: float) -> None:
        """It ends in `seconds`, instead of at any other time."""
        deadline.at = self._loop.time() + seconds
        self._running.add(deadline)
        if deadline.at < self._timer_at:
            self._arm(deadline.at)

    def drop(self, deadline: Deadline) -> None:
        """It does not end any more."""
        self._running.discard(deadline)

    def _arm(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, inf
        now = self._loop.time()
        for deadline in [deadline for deadline in self._running if deadline.at <= now]:
            deadline.end()
        if self._running:
            self._arm(min(deadline.at for deadline in self._running))


class Deadline:
    """Leaves its block with TimeoutError when `seconds` have passed since it was entered or last moved.

    `task` is the one that enters it, for one block after the other until it is over.
    """

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[None], seconds: float):
        self._deadlines = deadlines
        self._task = task
        self._seconds = seconds
        self._is_over = False
        self.at = inf

    def __enter__(self) -> Deadline:
        self._cancelling = self._task.cancelling()
        self._deadlines.run(self, self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.drop(self)
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def move(self, seconds: float) -> None:
        """Count from now."""
        if not self._is_over:
            self._deadlines.run(self, seconds)

    def rest(self) -> None:
        """Nothing is counted until it is moved."""
        self._deadlines.drop(self)

    def end(self) -> None:
        """It is over now."""
        if not self._is_over:
            self._deadlines.drop(self)
            self._is_over = True
            self._task.cancel()
