"""Which minutes got trades, when each is due to be closed and which of its seconds before that.

Pure: time comes from outside.
"""

from __future__ import annotations

import itertools
import math

from msgspec import Struct

from crosstape.history.portions import portions

Market = tuple[str, str]
Minute = tuple[str, str, int]
"""(exchange, symbol, Unix s)."""

LONGEST_WAIT = 60.0
"""Seconds after which a minute is closed all the same: one that never gets quiet, and those of other partitions while
one catches up. Much less than the writer lets closing be behind, or each would wait for the other."""
MINUTE_SECONDS = 60
SPAN = 3_600
"""Minutes closed together lie within one hour, so that one query's time range stays short."""
RECENT = 120
"""Seconds in which a second is closed before its minute is: an older minute is due itself."""


class Touch(Struct):
    """`rows` trades of a minute came between `first` and `last` (monotonic s); `since` (Unix s) is the first second
    whose bar may not be what the tape says. Of one that `is_late` it may have been told before that it has no trade."""

    first: float
    last: float
    rows: int
    since: int
    is_late: bool = False


class Seconds(Struct, frozen=True):
    """Seconds [start, end) of the open minutes `minutes`, to be closed."""

    minutes: list[Minute]
    start: int
    end: int


class TouchedMinutes:
    """Minutes to close, by when they were touched. A minute is due once it is over, all that reached the bus until
    then is stored and no trade came for a while. Its seconds are due before, each once the same is true of it.

    `reached` (Unix s) says until when all that reached the bus is stored, `taken_at` (monotonic s) when the newest of
    what is stored was taken from it: what came since may hold more of a minute that seems quiet.
    """

    def __init__(self, *, grace: float, quiet: float):
        self._grace = grace
        self._quiet = quiet
        self._touches: dict[Minute, Touch] = {}
        self._taken: dict[Minute, Touch] = {}
        self._behind_at = -math.inf
        self.reached = 0.0
        self.taken_at = math.inf

    def __len__(self) -> int:
        return len(self._touches)

    def touch(self, minute: Minute, rows: int, now: float, since: int, *, is_behind: bool = False) -> None:
        """`rows` trades of `minute` were stored at `now` (monotonic s), none of them before `since` (Unix s). Where all
        of them `is_behind` others of their market, the minute may have counted as one without trades."""
        touch = self._touches.get(minute)
        if touch is None:
            is_late = is_behind and minute[2] + MINUTE_SECONDS <= self.reached - self._grace
            self._touches[minute] = Touch(now, now, rows, since, is_late)
        else:
            touch.last = now
            touch.rows += rows
            touch.since = min(touch.since, since)

    def fell_behind(self, now: float) -> None:
        """At `now` (monotonic s) much is still to be stored: a minute that gets nothing for a while may only
        have to wait for other partitions' turn."""
        self._behind_at = now

    def forget(self) -> None:
        """Others may close these minutes from now on, but for those that only lost trades: nobody would find them. What
        was stored says nothing of the partitions that are ours now."""
        self._touches = {minute: touch for minute, touch in (self._taken | self._touches).items() if not touch.rows}
        self._taken = {}
        self.reached = 0.0

    def longest_wait(self, now: float, wall: float) -> float:
        """For how many seconds at `now` (monotonic s; `wall` is Unix s) one of them has been touched and over; 0 when
        none is. One of a time to come, as a wrong clock makes it, keeps nobody waiting."""
        touches = itertools.chain(self._touches.items(), self._taken.items())
        return max([0.0, *(self._waited(m[2], touch, now, wall) for m, touch in touches)])

    def due(self, now: float, wall: float, *, max_rows: int) -> dict[Minute, Touch]:
        """Take minutes that are due at `now` (monotonic s; `wall` is Unix s): those that lie within an hour, as many as
        hold `max_rows` together and one query can name, at least one if any is due. Until the next call they count as
        waiting, and can be given back."""
        ready = sorted((m for m, touch in self._touches.items() if self._is_due(m[2], touch, now, wall)), key=_place)
        taken: dict[Minute, Touch] = {}
        weight = 0
        for minute in next(portions(ready), ()):
            if taken and (weight >= max_rows or minute[2] // SPAN != ready[0][2] // SPAN):
                break
            taken[minute] = self._touches.pop(minute)
            weight += max(1, taken[minute].rows)
        self._taken = taken
        return taken

    def give_back(self) -> None:
        """What was taken last could not be closed, and goes on waiting."""
        for minute, taken in self._taken.items():
            later = self._touches.get(minute, taken)
            if later is not taken:
                later.first = taken.first
                later.rows += taken.rows
                later.since = min(taken.since, later.since)
                later.is_late = taken.is_late
            self._touches[minute] = later
        self._taken = {}

    def due_seconds(self, now: float, wall: float) -> Seconds | None:
        """Take the seconds of recent minutes that are due at `now` (monotonic s; `wall` is Unix s), None when there are
        none."""
        end = int(self._settled_until(wall))
        ready = [m for m, touch in self._touches.items() if m[2] >= end - RECENT and touch.since < end]
        if not ready or now - self._behind_at < self._quiet:
            return None
        minutes = next(portions(sorted(ready, key=lambda minute: self._touches[minute].since)))
        start = self._touches[minutes[0]].since
        for minute in minutes:
            self._touches[minute].since = end
        return Seconds(minutes, start, end)

    def give_back_seconds(self, seconds: Seconds) -> None:
        """They could not be closed."""
        for minute in seconds.minutes:
            if (touch := self._touches.get(minute)) is not None:
                touch.since = min(touch.since, seconds.start)

    def _is_due(self, minute: int, touch: Touch, now: float, wall: float) -> bool:
        if self._waited(minute, touch, now, wall) >= LONGEST_WAIT:
            return True
        is_quiet = min(now, self.taken_at) - max(touch.last, self._behind_at) >= self._quiet
        return is_quiet and minute + MINUTE_SECONDS <= self._settled_until(wall)

    def _waited(self, minute: int, touch: Touch, now: float, wall: float) -> float:
        """For how many seconds `minute` has been touched and over."""
        return min(now - touch.first, wall - self._grace - minute - MINUTE_SECONDS)

    def _settled_until(self, wall: float) -> float:
        """Until when (Unix s) all trades are stored, but for late ones."""
        return min(self.reached, wall) - self._grace


def _place(minute: Minute) -> tuple[int, int, str, str]:
    """Neighbours in the table are closed together: their rows share granules."""
    exchange, symbol, second = minute
    return (second // SPAN, second, exchange, symbol)
