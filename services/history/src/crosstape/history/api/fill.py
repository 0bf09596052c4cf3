"""Empty intervals of a page: filled where the feed was connected, never where nobody listened or trades lack. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from crosstape.common.market.bar import NANOSECONDS
from crosstape.history.api.bars import BarQuery, BarRow
from crosstape.history.api.ledger import Ledger, lost
from crosstape.history.api.spans import Span, Spans

_ZERO = Raw(b"0")
_QUOTED_ZERO = Raw(b'"0"')


class Fill(enum.StrEnum):
    """What stands in an empty interval: nothing, zeros, or the close before it."""

    NONE = "none"
    ZERO = "zero"
    FFILL = "ffill"


class FilledBar(BarRow, frozen=True):
    """A bar in which nobody traded: all its prices are one, its volumes zero, and it says that it is filled."""

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


def empty_span(rows: list[BarRow], query: BarQuery) -> Span | None:
    """From the first to the last of the query's intervals that have none of `rows` (Unix s); None when all have one."""
    opened = {row.timestamp for row in rows}
    empty: list[Span] = []
    open_time = query.first_open
    while open_time < query.end:
        close_time = query.interval.close_time(open_time)
        if open_time not in opened:
            empty.append((open_time, close_time))
        open_time = close_time
    return (empty[0][0], empty[-1][1]) if empty else None


def fillable(ledger: Ledger, traded: Iterable[Span]) -> Spans:
    """When (ns) nothing can have been missed: somebody listened, nothing is lost and nobody has `traded` (ns)."""
    heard = Spans(ledger.heard)
    missed = Spans([*((start, end + 1) for start, end, _ in lost(ledger, heard)), *traded])
    return Spans(part for span in heard for part in missed.lacking(*span))


def fill_bars(
    rows: list[BarRow], query: BarQuery, certain: Spans, fill: Fill, close_before: Raw | None, stored_until: int
) -> list[BarRow]:
    """`rows` (those of all of the query's range) and the empty intervals between them of which it is `certain` (ns)
    that nothing was missed, oldest first.

    `close_before` is the close of the last bar before the range; until one is known, FFILL leaves intervals out. Those
    that end after `stored_until` (Unix s) may yet get trades.
    """
    by_open = {row.timestamp: row for row in rows}
    zero = _QUOTED_ZERO if query.quote_decimals else _ZERO
    filled: list[BarRow] = []
    price = close_before if fill is Fill.FFILL else zero
    open_time = query.first_open
    while open_time < query.end:
        close_time = query.interval.close_time(open_time)
        row = by_open.get(open_time)
        if row is not None:
            filled.append(row)
            price = row.close if fill is Fill.FFILL else zero
        elif price is not None and certain.covers(open_time * NANOSECONDS, close_time * NANOSECONDS):
            status = "final" if close_time <= stored_until else "provisional"
            filled.append(FilledBar(open_time, price, price, price, price, zero, zero, 0, status, 0, zero))
        open_time = close_time
    return filled
