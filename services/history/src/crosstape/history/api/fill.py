"""Empty intervals of a page: filled where the feed was connected, never where nobody listened. Pure."""

from __future__ import annotations

import enum

import msgspec
from msgspec import Raw, Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.history.api.bars import BarQuery, BarRow
from crosstape.history.api.spans import Spans

_ZERO = Raw(b"0")
_QUOTED_ZERO = Raw(b'"0"')


class Fill(enum.StrEnum):
    """What stands in an empty interval: nothing, zeros, or the close before it."""

    NONE = "none"
    ZERO = "zero"
    FFILL = "ffill"


class FilledBar(Struct, frozen=True):
    """A bar in which nobody traded: all its prices are one, its volumes zero, and it says that it is filled."""

    timestamp: int
    open: Raw
    high: Raw
    low: Raw
    close: Raw
    volume: Raw
    volume_delta: Raw
    trades: int
    status: str
    revision: int
    volume_unknown: Raw
    filled: bool = True


def oldest_intervals(query: BarQuery, limit: int) -> BarQuery:
    """The part of `query` that is its first `limit` intervals. They are counted one by one: months differ in length."""
    end = query.first_open
    for _ in range(limit):
        end = query.interval.close_time(end)
    return msgspec.structs.replace(query, end=min(query.end, end))


def newest_intervals(query: BarQuery, limit: int) -> BarQuery:
    """The part of `query` that is its last `limit` intervals."""
    start = query.end
    for _ in range(limit):
        start = query.interval.open_time(start - 1)
    return msgspec.structs.replace(query, start=max(query.start, start))


def fill_bars(
    rows: list[BarRow], query: BarQuery, coverage: Spans, fill: Fill, close_before: Raw | None, stored_until: int
) -> list[BarRow | FilledBar]:
    """`rows` (those of all of the query's range) and the empty intervals between them, oldest first.

    `close_before` is the close of the last bar before the range; until one is known, FFILL leaves intervals out. Those
    that end after `stored_until` (Unix s) may yet get trades.
    """
    by_open = {row.timestamp: row for row in rows}
    zero = _QUOTED_ZERO if query.quote_decimals else _ZERO
    filled: list[BarRow | FilledBar] = []
    price = close_before if fill is Fill.FFILL else zero
    open_time = query.first_open
    while open_time < query.end:
        close_time = query.interval.close_time(open_time)
        row = by_open.get(open_time)
        if row is not None:
            filled.append(row)
            price = row.close if fill is Fill.FFILL else zero
        elif price is not None and coverage.covers(open_time * NANOSECONDS, close_time * NANOSECONDS):
            status = "final" if close_time <= stored_until else "provisional"
            filled.append(FilledBar(open_time, price, price, price, price, zero, zero, 0, status, 0, zero))
        open_time = close_time
    return filled
