"""Which minutes got trades, when each is due to be closed and which of its seconds before that, and which other minutes
a batch may take trades from.

Pure: time comes from outside.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from crosstape.history.sink.rows import MinuteRows

Market = tuple[str, str]
Minute = tuple[str, str, int]
"""(exchange, symbol, Unix s)."""

LONGEST_WAIT = 5.0
"""Seconds after which a minute that never gets quiet is closed all the same."""
MINUTE_SECONDS = 60
SPAN = 3_600
"""Minutes closed together lie within one hour, so that one query's time range stays short."""
REMEMBERED_MINUTES = 4
RECENT = 120
"""Seconds in which a second is closed before its minute is: an older minute is due itself."""


class _Touch(Struct):
    """`since` (Unix s) is the first second whose bar may not be what the tape says."""

    first: float
    last: float
    rows: int
    since: int


class Seconds(Struct, frozen=True):
    """Seconds [start, end) of the open minutes `minutes`, to be closed."""

    minutes: list[Minute]
    start: int
    end: int


class TouchedMinutes:
    """Minutes to close, by when they were touched. A minute is due once it is over and no trade came for a while.

    Its seconds are due while it is open, each once it is over and all that reached the bus since is stored: `reached`
    (Unix s) says until when that is so.
    """

    def __init__(self, *, grace: float, quiet: float):
        self._grace = grace
        self._quiet = quiet
        self._touches: dict[Minute, _Touch] = {}
        self.reached = 0.0

    def __len__(self) -> int:
        return len(self._touches)

    def touch(self, minute: Minute, rows: int, now: float, since: int) -> None:
        """`rows` trades of `minute` were stored at `now` (monotonic s), none of them before `since` (Unix s)."""
        touch = self._touches.get(minute)
        if touch is None:
            self._touches[minute] = _Touch(now, now, rows, since)
        else:
            touch.last = now
            touch.rows += rows
            touch.since = min(touch.since, since)

    def longest_wait(self, now: float, wall: float) -> float:
        """For how many seconds at `now` (monotonic s; `wall` is Unix s) one of them has been touched and over; 0 when
        none is. One of a time to come, as a wrong clock makes it, keeps nobody waiting."""
        waits = (min(now - touch.first, wall - self._over(m[2])) for m, touch in self._touches.items())
        return max([0.0, *waits])

    def due(self, now: float, wall: float, *, max_rows: int) -> dict[Minute, int]:
        """Take minutes that are due at `now` (monotonic s; `wall` is Unix s), and how many rows each got: those
        that lie within an hour, as many as hold `max_rows` together, at least one if any is due."""
        ready = sorted((m for m, touch in self._touches.items() if self._is_due(m[2], touch, now, wall)), key=_place)
        taken: dict[Minute, int] = {}
        weight = 0
        for minute in ready:
            if taken and (weight >= max_rows or minute[2] // SPAN != ready[0][2] // SPAN):
                break
            taken[minute] = self._touches.pop(minute).rows
            weight += max(1, taken[minute])
        return taken

    def due_seconds(self, wall: float) -> Seconds | None:
        """Take the seconds of recent minutes that are due at `wall` (Unix s), None when there are none."""
        end = int(min(self.reached, wall) - self._grace)
        ready = [m for m, touch in self._touches.items() if m[2] >= end - RECENT and touch.since < end]
        if not ready:
            return None
        start = min(self._touches[minute].since for minute in ready)
        for minute in ready:
            self._touches[minute].since = end
        return Seconds(ready, start, end)

    def give_back(self, seconds: Seconds) -> None:
        """They could not be closed."""
        for minute in seconds.minutes:
            touch = self._touches[minute]
            touch.since = min(touch.since, seconds.start)

    def _is_due(self, minute: int, touch: _Touch, now: float, wall: float) -> bool:
        end = self._over(minute)
        if wall < end:
            return False
        is_overdue = now - touch.first >= MINUTE_SECONDS + LONGEST_WAIT and wall >= end + LONGEST_WAIT
        return is_overdue or now - touch.last >= self._quiet

    def _over(self, minute: int) -> float:
        """From when on (Unix s) `minute` may be closed."""
        return minute + MINUTE_SECONDS + self._grace


def _place(minute: Minute) -> tuple[int, int, str, str]:
    """Neighbours in the table are closed together: their rows share granules."""
    exchange, symbol, second = minute
    return (second // SPAN, second, exchange, symbol)


class IdRanges:
    """Which ids each market's newest minutes hold.

    A copy of a trade may say another time than the copy before it, and win: then the trade leaves a minute that the
    batch does not name. Ids grow with time, so a batch whose ids lie where another minute's do says which.
    """

    def __init__(self) -> None:
        self._newest: dict[Market, int] = {}
        self._minutes: dict[Market, dict[int, tuple[int, int]]] = {}

    def unknown(self, minutes: Iterable[MinuteRows]) -> list[Market]:
        """The markets that were not seen yet: `learn` their newest id first."""
        seen = dict.fromkeys((rows.exchange, rows.symbol) for rows in minutes)
        return [market for market in seen if market not in self._newest]

    def learn(self, market: Market, newest: int) -> None:
        """The store's greatest id of `market` is `newest`; -1 when it has none."""
        self._newest[market] = newest
        self._minutes[market] = {}

    def overlapped(self, rows: MinuteRows) -> list[Minute] | None:
        """The other minutes that hold ids among those of `rows`, or None when only the store can tell."""
        market = (rows.exchange, rows.symbol)
        known = self._minutes[market]
        if rows.first_seq <= self._newest[market] and rows.minute not in known:
            return None
        return [
            (*market, minute)
            for minute, (first, last) in known.items()
            if minute != rows.minute and first <= rows.last_seq and rows.first_seq <= last
        ]

    def add(self, minutes: Iterable[MinuteRows]) -> None:
        """`minutes` are stored now."""
        for rows in minutes:
            market = (rows.exchange, rows.symbol)
            self._newest[market] = max(rows.last_seq, self._newest[market])
            known = self._minutes[market]
            first, last = known.get(rows.minute, (rows.first_seq, rows.last_seq))
            known[rows.minute] = (min(first, rows.first_seq), max(last, rows.last_seq))
            if len(known) > REMEMBERED_MINUTES:
                del known[min(known)]
