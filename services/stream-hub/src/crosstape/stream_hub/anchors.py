"""Anchors: from when a volume delta is summed up, and the open bar of any interval. Both agree with the next tick."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal

from msgspec import Struct

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, Bar, Interval, fold_bars
from crosstape.common.market.trade import Trade
from crosstape.exchanges.times import MILLISECOND
from crosstape.stream_hub.flow import DAY, DETAILED_SECONDS, MINUTE, AnchoredSum
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState
from crosstape.stream_hub.messages import volume_delta
from crosstape.stream_hub.numbers import EXACT, ZERO, exact_sum
from crosstape.stream_hub.rollup import roll_up
from crosstape.stream_hub.span import read_time

HOUR = 3_600
CLOCKS_MS = 10_000
"""A trade's time may be later than its record's by so much: an exchange has a clock of its own."""
LONGEST_DAYS = 31
UTC_DAY, CONNECT = "utc_day", "connect"


class Anchor(Struct, frozen=True):
    """`name` as it is told; `time` (ns) where it is a moment of its own."""

    name: str
    time: int | None = None


def read_anchor(text: str, now: int) -> Anchor:
    """`utc_day`, `connect`, or a time in any form of the platform that lies before `now` (ns).

    Raises ValidationFailed, InvalidTimeFormat.
    """
    if text in (UTC_DAY, CONNECT):
        return Anchor(text)
    moment = read_time(text, "anchor")
    if not now - LONGEST_DAYS * DAY * NANOSECONDS <= moment <= now:
        raise ValidationFailed(f"anchor must lie in the last {LONGEST_DAYS} days.", {"parameter": "anchor"})
    return Anchor(text, moment)


async def sum_before(market: MarketState, anchor: int, history: History) -> Decimal:
    """What must be added to the sum of all minutes that `market` knows, to get the sum from `anchor` (ns) on.

    `market` is founded. Raises ServiceUnavailable.
    """
    flow = market.flow
    known_from = flow.known_from or 0
    second = anchor // NANOSECONDS
    minute = second // MINUTE * MINUTE
    part = ZERO if minute * NANOSECONDS == anchor else await _part(market, minute * NANOSECONDS, anchor, history)
    whole = await _sum_of_minutes(market, minute, known_from, history)
    if (flow.known_from or 0) != known_from:  # a day was let go meanwhile
        return await sum_before(market, anchor, history)
    if minute >= known_from:
        return EXACT.minus(EXACT.add(flow.sum_before(minute), part))
    return EXACT.subtract(whole, part)


async def day_so_far(market: MarketState, moment: int, history: History) -> Decimal:
    """The volume delta from 00:00 UTC to `moment` (ns), all of it from history. Raises ServiceUnavailable."""
    second = moment // NANOSECONDS
    minute = second // MINUTE * MINUTE
    whole = await _sum_of_minutes(market, second // DAY * DAY, minute, history)
    return EXACT.add(whole, await _sum_in_history(market, minute * NANOSECONDS, moment, history))


async def _sum_of_minutes(market: MarketState, start: int, end: int, history: History) -> Decimal:
    """The sum of the minutes that open in [start, end) Unix s; as hours where they are whole, since a month has 44,640
    minutes."""
    first, last = -(-start // HOUR) * HOUR, end // HOUR * HOUR
    if first >= last:
        first = last = end
    total = ZERO
    for interval, begin, until in ((Interval.M1, start, first), (Interval.H1, first, last), (Interval.M1, last, end)):
        if begin < until:
            bars = await history.bars(market.exchange, market.symbol, interval, begin, until)
            total = exact_sum((Decimal(bar.volume_delta) for bar in bars), total)
    return total


async def _part(market: MarketState, start: int, end: int, history: History) -> Decimal:
    """The sum over [start, end) ns: from our own tape where it reaches back so far, as history's is a second behind."""
    oldest_ms = market.ticks.oldest_ms
    if oldest_ms is not None and oldest_ms < start // MILLISECOND - CLOCKS_MS:
        return _sum(_own(market, start, end))
    return await _sum_in_history(market, start, end, history)


async def _sum_in_history(market: MarketState, start: int, end: int, history: History) -> Decimal:
    part = ZERO
    async with contextlib.aclosing(history.trades(market.exchange, market.symbol, start, end)) as pages:
        async for page in pages:
            part = EXACT.add(part, _sum(page))
    return part


def _own(market: MarketState, start: int, end: int) -> list[Trade]:
    """Our own trades of [start, end) ns."""
    ticks = market.ticks.since(start // MILLISECOND - CLOCKS_MS)
    return [tick.trade for tick in ticks if start <= tick.trade.time < end]


def _sum(trades: Iterable[Trade]) -> Decimal:
    return exact_sum(Decimal(volume_delta(trade)) for trade in trades)


async def anchored(market: MarketState, anchor: Anchor, history: History) -> tuple[Hashable, AnchoredSum | None]:
    """What tells sums apart, and the sum since the anchor; None for that of the day.

    The caller adds it to the market's flow before anything else happens. Since `connect` whatever arrives counts, of
    whatever time it is.
    """
    if anchor.name == UTC_DAY:
        return UTC_DAY, None
    if anchor.time is None:
        since = AnchoredSum(0, ZERO)
        return since, since
    before = await sum_before(market, anchor.time, history)
    return anchor.time, AnchoredSum(anchor.time, EXACT.add(market.flow.sum_since_known(), before))


class EarlierHours(Struct, frozen=True):
    """The part of an open bar that lies too long ago for the market's own minutes, as `bars` of history: of `span`
    (Unix s), None where there is no such part."""

    span: tuple[int, int] | None
    bars: Sequence[Bar]

    def holds(self, interval: Interval, now: int) -> bool:
        """Whether that is still the part at `now` (Unix s): every hour it is another."""
        return self.span == _earlier_span(interval, now)


async def earlier_hours(market: MarketState, interval: Interval, history: History) -> EarlierHours:
    """What history knows of the bar of now. Raises ServiceUnavailable."""
    span = _earlier_span(interval, int(time.time()))
    if span is None:
        return EarlierHours(None, [])
    return EarlierHours(span, await history.bars(market.exchange, market.symbol, Interval.H1, *span))


def open_bar(market: MarketState, interval: Interval, earlier: EarlierHours, now: int) -> Bar | None:
    """The bar of `now` (Unix s), up to the newest tick; None when it has no trade yet. `earlier` holds at that time."""
    start = interval.open_time(now)
    end = interval.close_time(start)
    if interval is Interval.S1:
        trades = _own(market, start * NANOSECONDS, end * NANOSECONDS)
        return next(iter(fold_bars(trades, interval)), None)
    own = market.flow.bar(interval, earlier.span[1] if earlier.span else start, end)
    parts = [bar for bar in (*earlier.bars, own) if bar is not None]
    return roll_up(parts, interval) if parts else None


def _earlier_span(interval: Interval, now: int) -> tuple[int, int] | None:
    start, until = interval.open_time(now), _own_from(now)
    return (start, until) if start < until else None


def _own_from(now: int) -> int:
    """From here (Unix s, a full hour) the market's own minutes are used."""
    return (now - DETAILED_SECONDS + HOUR) // HOUR * HOUR
