"""asyncio.timeout for a deadline that is moved with every part of a stream: moving it on costs no timer."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """Leaves its block with TimeoutError when `seconds` have passed since it was made or last moved.

    `task` is the one that enters it.
    """

    def __init__(self, task: asyncio.Task[None], seconds: float):
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + seconds
        self._is_over = False

    def __enter__(self) -> Deadline:
        self._cancelling = self._task.cancelling()
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def move(self, seconds: float) -> None:
        """Count from now. An earlier deadline than before needs another timer, a later one does not."""
        self._at = self._loop.time() + seconds
        if self._at < self._timer_at and not self._is_over:
            self._timer.cancel()
            self._arm()

    def end(self) -> None:
        """It is over now."""
        if not self._is_over:
            self._timer.cancel()
            self._is_over = True
            self._task.cancel()

    def _tick(self) -> None:
        if self._loop.time() < self._at:
            self._arm()
        else:
            self.end()

    def _arm(self) -> None:
        self._timer_at = self._at
        self._timer = self._loop.call_at(self._at, self._tick)
