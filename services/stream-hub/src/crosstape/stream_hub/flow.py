"""Flow: the running volume delta of one market, exact, by UTC day and since any moment."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from crosstape.common.market.bar import NANOSECONDS, Bar, Interval
from crosstape.common.market.trade import Trade
from crosstape.stream_hub.minutes import Minute
from crosstape.stream_hub.numbers import EXACT, ZERO
from crosstape.stream_hub.rollup import roll_up

MINUTE = 60
DAY = 86_400
DETAILED_SECONDS = 7_200
"""How long the bars of minutes are kept, not only their sums: a bar of an hour can be made of them at any time."""


class AnchoredSum:
    """The volume delta of everything from `start` (ns) on: `value`, kept up to date by the flow that it is added to."""

    __slots__ = ("start", "value")

    def __init__(self, start: int, value: Decimal):
        self.start = start
        self.value = value


class Flow:
    """Minutes since `known_from` (Unix s, a midnight; None while history has not answered yet), and their sums.

    The trades added are distinct. `sums` are kept up to date while they are there.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, Minute] = {}
        self._days: dict[int, Decimal] = {}
        self.sums: dict[AnchoredSum, None] = {}
        self.known_from: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of any minute."""
        return not self._minutes

    def add(self, trade: Trade) -> None:
        """A new trade."""
        open_time = trade.time // NANOSECONDS // MINUTE * MINUTE
        minute = self._minute(open_time)
        before = minute.delta
        minute.add(trade)
        self._changed(open_time, before, minute.delta, trade.time)

    def tell(self, bar: Bar) -> None:
        """A minute's bar that history stored. One from before `known_from` says nothing: its trades count as they come,
        and what the minute was until then has been let go."""
        if self.known_from is not None and bar.open_time < self.known_from:
            return
        minute = self._minute(bar.open_time)
        before = minute.delta
        minute.tell(bar)
        self._changed(bar.open_time, before, minute.delta, (bar.open_time + MINUTE) * NANOSECONDS - 1)

    def found(self, bars: Iterable[Bar], known_from: int) -> None:
        """What history knows of the minutes from `known_from` on that are closed."""
        for bar in bars:
            self.tell(bar)
        self.known_from = known_from

    def cvd(self, second: int) -> Decimal | None:
        """The sum from 00:00 UTC of the day that holds `second` until now; None where that is not known."""
        if self.known_from is None or second < self.known_from:
            return None
        return self._days.get(second // DAY * DAY, ZERO)

    def sum_before(self, second: int) -> Decimal:
        """The sum of the minutes from `known_from` on that end by `second`."""
        total = ZERO
        for open_time, minute in self._minutes.items():
            if (self.known_from or 0) <= open_time and open_time + MINUTE <= second:
                total = EXACT.add(total, minute.delta)
        return total

    def sum_since_known(self) -> Decimal:
        """The sum of all minutes from `known_from` on."""
        return self.sum_before(1 << 62)

    def bar(self, interval: Interval, start: int, end: int) -> Bar | None:
        """The minutes that open in [start, end) as one bar of `interval`, which opens at its multiple; None when they
        have no trade. Not for starts longer ago than DETAILED_SECONDS."""
        found = [
            bar
            for open_time in sorted(self._minutes)
            if start <= open_time < end and (bar := self._minutes[open_time].bar(open_time)) is not None
        ]
        return roll_up(found, interval) if found else None

    def prune(self, now: int) -> None:
        """Let go what nobody will ask for at `now` (Unix s): details of long ago, and days before the one that the
        oldest details belong to."""
        detailed = now - DETAILED_SECONDS
        oldest = detailed // DAY * DAY
        for open_time in [open_time for open_time in self._minutes if open_time < oldest]:
            del self._minutes[open_time]
        for open_time, minute in self._minutes.items():
            if open_time < detailed:
                minute.settle()
        self._days = {day: value for day, value in self._days.items() if day >= oldest}
        if self.known_from is not None:
            self.known_from = max(self.known_from, oldest)

    def _minute(self, open_time: int) -> Minute:
        minute = self._minutes.get(open_time)
        if minute is None:
            minute = self._minutes[open_time] = Minute()
        return minute

    def _changed(self, open_time: int, before: Decimal, after: Decimal, moment: int) -> None:
        """What happened at `moment` (ns) made the delta of a minute another one."""
        if before == after:
            return
        change = EXACT.subtract(after, before)
        day = open_time // DAY * DAY
        self._days[day] = EXACT.add(self._days.get(day, ZERO), change)
        for one in self.sums:
            if moment >= one.start:
                one.value = EXACT.add(one.value, change)
