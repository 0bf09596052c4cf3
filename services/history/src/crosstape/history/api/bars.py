"""Pages of bars of any interval: stored ones, longer ones rolled up from minutes, and the open ones from the tape."""

from __future__ import annotations

import time

import msgspec
import pyarrow as pa
from msgspec import Raw, Struct

from crosstape.common.bus.topics import TRADES
from crosstape.common.market.bar import Interval
from crosstape.history.api.markets import Market
from crosstape.history.store import Store

MINUTE = 60
RECENT = 3_600
"""Seconds in which a tape that is alive has closed minutes: a longer range costs more to look through."""


class BarRow(Struct, frozen=True):
    """One bar as the store answers it: numbers as their exact text, not parsed."""

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


_decoder = msgspec.json.Decoder(BarRow)


class BarQuery(Struct, frozen=True):
    """Bars of `interval` of `market` that open in [start, end), Unix s."""

    market: Market
    interval: Interval
    start: int
    end: int
    quote_decimals: bool = False

    @property
    def base(self) -> int:
        """The stored interval the bars are made of, in s."""
        return 1 if self.interval is Interval.S1 else MINUTE

    @property
    def is_stored(self) -> bool:
        return self.interval.seconds == self.base

    @property
    def first_open(self) -> int:
        """The first open time at or after `start`: an earlier bar would be made of a part of its trades."""
        aligned = self.interval.open_time(self.start)
        return aligned if aligned == self.start else self.interval.close_time(aligned)

    @property
    def last_close(self) -> int:
        """Where the last bar that opens before `end` ends."""
        if self.end <= self.first_open:
            return self.first_open
        return self.interval.close_time(self.interval.open_time(self.end - 1))


class ClosedBars:
    """Until when (Unix s) each market's seconds and minutes are closed, and its trades are stored: it only grows, so
    what was once read holds."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, int], int] = {}
        self._stored_until: dict[tuple[str, str], int] = {}

    async def hold(self, store: Store, query: BarQuery) -> bool:
        """Whether all bars of `query` are closed, so that nobody needs to look at the tape."""
        place = (query.market.exchange, query.market.symbol, query.base)
        if self._until.get(place, 0) < query.last_close <= time.time():
            exchange, symbol, base = place
            [(until,)] = await store.rows("closed_until", exchange=exchange, symbol=symbol, base=base)
            self._until[place] = until or 0
        return query.last_close <= self._until.get(place, 0)

    async def stored_until(self, store: Store, market: Market, end: int) -> int:
        """Until when (Unix s) all that the bus had of `market` is stored, as far as it matters before `end`.

        Coverage comes on another topic: the store may know that somebody listened, and not yet what was heard. Ask
        before you read what is stored, which may grow in between.
        """
        exchange, symbol = place = (market.exchange, market.symbol)
        known = self._stored_until.get(place, 0)
        now = int(time.time())
        if known < min(end, now - now % MINUTE):
            since = now - RECENT
            [(until,)] = await store.rows(
                "stored_until", exchange=exchange, symbol=symbol, base=MINUTE, since=since, partitions=TRADES.partitions
            )
            known = self._stored_until[place] = max(known, until)
        return known


async def oldest_bars(store: Store, query: BarQuery, closed: ClosedBars, *, limit: int, offset: int = 0) -> list[bytes]:
    """The first `limit` bars, oldest first, as JSON lines.

    A dense market is answered from a window as long as the page; only a sparse one needs the whole range. The window
    ends where a bar does, or its last one would be made of a part of its trades.
    """
    start, end = query.first_open, query.last_close
    name = "closed_bars" if await closed.hold(store, query) else "bars"
    window = query.interval.open_time(min(end, start + (limit + offset) * query.interval.seconds))
    if window < end:
        lines = await _lines(store, query, name, start, window, limit, offset)
        if len(lines) == limit:
            return lines
    return await _lines(store, query, name, start, end, limit, offset)


async def newest_bars(store: Store, query: BarQuery, *, limit: int) -> list[bytes]:
    """The last `limit` bars, oldest first, as JSON lines."""
    start, end = query.first_open, query.last_close
    window = query.interval.open_time(max(start, end - 2 * limit * query.interval.seconds))
    lines = await _lines(store, query, "newest_bars", max(start, window), end, limit, None)
    if len(lines) < limit and window > start:
        lines = await _lines(store, query, "newest_bars", start, end, limit, None)
    return lines[::-1]


async def count_bars(store: Store, query: BarQuery) -> int:
    """How many bars there are in the whole range."""
    [(count,)] = await store.rows(
        "counted_bars",
        base=query.base,
        seconds=query.interval.seconds,
        **_place(query, query.first_open, query.last_close),
    )
    return int(count)


async def bar_table(store: Store, query: BarQuery, *, limit: int) -> pa.Table:
    """The first `limit` bars, oldest first, as columns."""
    name, parameters = _named(query, "bars", query.first_open, query.last_close, limit, 0)
    return await store.arrow(name, **parameters)


async def bar_text(store: Store, query: BarQuery, layout: str, *, limit: int) -> bytes:
    """The first `limit` bars, oldest first, in one of ClickHouse's text formats."""
    name, parameters = _named(query, "bars", query.first_open, query.last_close, limit, 0)
    return await store.text(name, layout, **parameters)


async def _lines(
    store: Store, query: BarQuery, name: str, start: int, end: int, limit: int, offset: int | None
) -> list[bytes]:
    name, parameters = _named(query, name, start, end, limit, offset)
    return await store.json_lines(name, quote_decimals=query.quote_decimals, **parameters)


def _named(
    query: BarQuery, name: str, start: int, end: int, limit: int, offset: int | None
) -> tuple[str, dict[str, object]]:
    parameters: dict[str, object] = {"base": query.base, "limit": limit, **_place(query, start, end)}
    if offset is not None:
        parameters["offset"] = offset
    if not query.is_stored:
        name = name.replace("bars", "rolled_bars")
        parameters["seconds"] = query.interval.seconds
    return name, parameters


def _place(query: BarQuery, start: int, end: int) -> dict[str, object]:
    market = query.market
    return {"exchange": market.exchange, "symbol": market.symbol, "start": start, "end": end}


def bar_rows(lines: list[bytes]) -> list[BarRow]:
    """The lines as rows."""
    return [_decoder.decode(line) for line in lines]
