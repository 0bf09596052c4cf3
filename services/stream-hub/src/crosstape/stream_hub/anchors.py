"""Anchors: from when a volume delta is summed up, and the open bar of any interval. Both agree with the next tick."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterable
from decimal import Decimal
from functools import reduce

from msgspec import Struct

from crosstape.common.errors import InvalidTimeFormat, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, Bar, Interval, fold_bars
from crosstape.common.market.trade import Trade
from crosstape.common.time import parse_time
from crosstape.exchanges.times import MILLISECOND
from crosstape.stream_hub.flow import DETAILED_SECONDS, AnchoredSum
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState
from crosstape.stream_hub.messages import volume_delta
from crosstape.stream_hub.numbers import EXACT, ZERO
from crosstape.stream_hub.rollup import roll_up

HOUR = 3_600
MINUTE = 60
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
    try:
        moment = parse_time(text, unix=True).nanoseconds
    except InvalidTimeFormat:
        raise ValidationFailed("anchor must be utc_day, connect or a time.", {"parameter": "anchor"}) from None
    if not now - LONGEST_DAYS * 86_400 * NANOSECONDS <= moment <= now:
        raise ValidationFailed(f"anchor must lie in the last {LONGEST_DAYS} days.", {"parameter": "anchor"})
    return Anchor(text, moment)


async def sum_before(market: MarketState, anchor: int, history: History) -> Decimal:
    """What must be added to the sum of all minutes that `market` knows, to get the sum from `anchor` (ns) on.

    `market` is founded. Raises ServiceUnavailable.
    """
    flow, name = market.flow, (market.exchange, market.symbol)
    known_from = flow.known_from or 0
    second = anchor // NANOSECONDS
    minute = second // MINUTE * MINUTE
    part = ZERO if minute * NANOSECONDS == anchor else await _part(market, minute * NANOSECONDS, anchor, history)
    bars = await history.bars(*name, Interval.M1, minute, known_from) if minute < known_from else []
    if (flow.known_from or 0) != known_from:  # a day was let go meanwhile
        return await sum_before(market, anchor, history)
    if minute >= known_from:
        return EXACT.minus(EXACT.add(flow.sum_before(minute), part))
    earlier = reduce(EXACT.add, (Decimal(bar.volume_delta) for bar in bars), ZERO)
    return EXACT.subtract(earlier, part)


async def _part(market: MarketState, start: int, end: int, history: History) -> Decimal:
    """The sum over [start, end) ns: from our own tape where it reaches back so far, as history's is a second behind."""
    oldest_ms = market.ticks.oldest_ms
    if oldest_ms is not None and oldest_ms < start // MILLISECOND - CLOCKS_MS:
        return _sum(_own(market, start, end))
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
    return reduce(EXACT.add, (Decimal(volume_delta(trade)) for trade in trades), ZERO)


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


async def earlier_hours(market: MarketState, interval: Interval, history: History) -> list[Bar]:
    """The part of the open bar that lies too long ago for the market's own minutes, as bars of history.

    Raises ServiceUnavailable.
    """
    now = int(time.time())
    start, until = interval.open_time(now), _own_from(now)
    if start >= until:
        return []
    return await history.bars(market.exchange, market.symbol, Interval.H1, start, until)


def open_bar(market: MarketState, interval: Interval, earlier: list[Bar]) -> Bar | None:
    """The bar of now, up to the newest tick; None when it has no trade yet."""
    now = int(time.time())
    start = interval.open_time(now)
    end = interval.close_time(start)
    if interval is Interval.S1:
        trades = _own(market, start * NANOSECONDS, end * NANOSECONDS)
        return next(iter(fold_bars(trades, interval)), None)
    own = market.flow.bar(interval, max(start, _own_from(now) if earlier else start), end)
    parts = [bar for bar in (*earlier, own) if bar is not None]
    return roll_up(parts, interval) if parts else None


def _own_from(now: int) -> int:
    """From here (Unix s, a full hour) the market's own minutes are used."""
    return (now - DETAILED_SECONDS + HOUR) // HOUR * HOUR
