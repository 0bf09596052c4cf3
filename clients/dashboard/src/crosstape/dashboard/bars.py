"""The bars of one market as they are now: history, the open bar, and every trade since. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from crosstape.client import Bar
from crosstape.client.bars import Interval
from crosstape.client.cvd import CvdTick
from crosstape.dashboard.intervals import DAY, open_of, seconds_of

MOST_BARS = 6_000


class BarSeries:
    """At most MOST_BARS bars, oldest first, each once. `version` grows when more changed than the newest bars."""

    def __init__(self, interval: Interval) -> None:
        self.interval = interval
        self.version = 0
        self._bars: list[Bar] = []
        self._live_from = 0

    @property
    def bars(self) -> Sequence[Bar]:
        return self._bars

    def begin(self, history: Iterable[Bar], open_bar: Bar | None, now: int) -> None:
        """Start anew: `history` up to the bar that was open at `now`, that bar itself, and from here on trades.

        History that was read a moment later may hold trades that are told once more: it counts only before that bar.
        """
        self._live_from = open_bar.timestamp if open_bar else open_of(now, self.interval)
        older = [bar for bar in self._bars if bar.timestamp < self._live_from]
        merged = {bar.timestamp: bar for bar in (*older, *history) if bar.timestamp < self._live_from}
        if open_bar:
            merged[open_bar.timestamp] = open_bar
        self._bars = [merged[timestamp] for timestamp in sorted(merged)][-MOST_BARS:]
        self.version += 1

    def tick(self, tick: CvdTick) -> None:
        """Count a trade. One that is older than the open bar changes nothing: the revised bar will be told."""
        timestamp = open_of(int(tick.timestamp), self.interval)
        newest = self._bars[-1] if self._bars else None
        if timestamp < self._live_from or (newest and timestamp < newest.timestamp):
            return
        if newest is None or newest.timestamp < timestamp:
            self._append(_first(timestamp, tick))
        elif newest.status == "provisional":
            self._bars[-1] = _with(newest, tick)

    def put(self, bar: Bar) -> None:
        """A bar as the platform says that it is: closed, or revised."""
        at = bisect_left(self._bars, bar.timestamp, key=lambda known: known.timestamp)
        if at == len(self._bars):
            self._append(bar)
        elif self._bars[at].timestamp == bar.timestamp:
            is_recent = at >= len(self._bars) - 2
            self.version += 0 if is_recent or self._bars[at] == bar else 1
            self._bars[at] = bar
        elif at:
            self._bars.insert(at, bar)
            self.version += 1

    def prepend(self, older: Iterable[Bar]) -> bool:
        """Add what lies before the first bar; whether there was any."""
        first = self._bars[0].timestamp if self._bars else self._live_from
        room = MOST_BARS - len(self._bars)
        found = [bar for bar in older if bar.timestamp < first][-room:] if room > 0 else []
        self._bars[:0] = found
        self.version += 1 if found else 0
        return bool(found)

    def _append(self, bar: Bar) -> None:
        self._bars.append(bar)
        del self._bars[:-MOST_BARS]


def _first(timestamp: int, tick: CvdTick) -> Bar:
    return Bar(
        timestamp=timestamp,
        open=tick.price,
        high=tick.price,
        low=tick.price,
        close=tick.price,
        volume=tick.quantity,
        volume_delta=tick.volume_delta,
        trades=1,
        status="provisional",
        revision=0,
        volume_unknown=tick.quantity if tick.side == "unknown" else Decimal(0),
    )


def _with(bar: Bar, tick: CvdTick) -> Bar:
    return replace(
        bar,
        high=max(bar.high, tick.price),
        low=min(bar.low, tick.price),
        close=tick.price,
        volume=bar.volume + tick.quantity,
        volume_delta=bar.volume_delta + tick.volume_delta,
        trades=bar.trades + 1,
        volume_unknown=bar.volume_unknown + (tick.quantity if tick.side == "unknown" else 0),
    )


def cvd_of(bars: Sequence[Bar], now: Decimal | None, interval: Interval) -> list[Decimal | None]:
    """The running volume delta at each bar's close, from 00:00 UTC of its day; None where the day's start is not known.

    `now` is the platform's own sum at the newest bar. Bars of a day or longer have one sum over all of them.
    """
    if seconds_of(interval) >= DAY:
        return list(_running(bars, Decimal(0)))
    sums: list[Decimal | None] = []
    begin = 0
    while begin < len(bars):
        day = bars[begin].timestamp // DAY
        end = next((at for at in range(begin, len(bars)) if bars[at].timestamp // DAY != day), len(bars))
        of_day = bars[begin:end]
        start: Decimal | None = Decimal(0) if begin or of_day[0].timestamp % DAY == 0 else None
        if end == len(bars) and now is not None:
            start = now - sum((bar.volume_delta for bar in of_day), Decimal(0))
        sums.extend(_running(of_day, start) if start is not None else [None] * len(of_day))
        begin = end
    return sums


def _running(bars: Sequence[Bar], start: Decimal) -> Iterable[Decimal]:
    for bar in bars:
        start += bar.volume_delta
        yield start
