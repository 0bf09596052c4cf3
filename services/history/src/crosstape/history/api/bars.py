"""Pages of bars of any interval: stored ones, longer ones rolled up from minutes, and the open ones from the tape."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
import pyarrow as pa
from msgspec import Raw, Struct

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
            [(until,)] = await store.rows(
                "stored_until", exchange=exchange, symbol=symbol, base=MINUTE, since=now - RECENT
            )
            known = self._stored_until[place] = max(known, until)
        return known


async def oldest_bars(store: Store, query: BarQuery, closed: ClosedBars, *, limit: int, offset: int = 0) -> list[bytes]:
    """The first `limit` bars, oldest first, as JSON lines.

    A dense market is answered from a window as long as the page; only a sparse one needs the whole range. The window
    ends where a bar does, or its last one would be made of a part of its trades.
    """
    start, end = query.first_open, query.last_close
    if await closed.hold(store, query):
        name, more = "closed_bars", {"offset": offset}
    else:
        name, more = "bars", {"offset": offset} | await until(store, query, closed)
    window = query.interval.open_time(min(end, start + (limit + offset) * query.interval.seconds))
    if window < end:
        lines = await _lines(store, query, name, start, window, limit, more)
        if len(lines) == limit:
            return lines
    return await _lines(store, query, name, start, end, limit, more)


async def newest_bars(store: Store, query: BarQuery, closed: ClosedBars, *, limit: int) -> list[bytes]:
    """The last `limit` bars, oldest first, as JSON lines."""
    start, end = query.first_open, query.last_close
    more = await until(store, query, closed)
    window = query.interval.open_time(max(start, end - 2 * limit * query.interval.seconds))
    lines = await _lines(store, query, "newest_bars", max(start, window), end, limit, more)
    if len(lines) < limit and window > start:
        lines = await _lines(store, query, "newest_bars", start, end, limit, more)
    return lines[::-1]


async def until(store: Store, query: BarQuery, closed: ClosedBars) -> dict[str, int]:
    """The parameter by which a query knows which longer bars may yet get trades."""
    return {} if query.is_stored else {"stored_until": await closed.stored_until(store, query.market, query.last_close)}


async def count_bars(store: Store, query: BarQuery) -> int:
    """How many bars there are in the whole range."""
    [(count,)] = await store.rows(
        "counted_bars",
        base=query.base,
        seconds=query.interval.seconds,
        **_place(query, query.first_open, query.last_close),
    )
    return int(count)


async def traded_lately(store: Store, market: Market, base: int, start: int, end: int) -> list[int]:
    """The open times (Unix s) of the intervals of `base` seconds in [start, end) that hold trades which were stored a
    while ago at most, so that their bars may lack. Ask after you read bars and ledger: what is filled since is among
    them."""
    rows = await store.rows(
        "traded_lately", exchange=market.exchange, symbol=market.symbol, base=base, start=start, end=end
    )
    return [open_time for (open_time,) in rows]


async def bar_table(store: Store, query: BarQuery, more: Mapping[str, int], *, limit: int) -> pa.Table:
    """The first `limit` bars, oldest first, as columns. `more` is what `until` answered."""
    name, parameters = _named(query, "bars", query.first_open, query.last_close, limit)
    return await store.arrow(name, offset=0, **parameters, **more)


async def bar_text(store: Store, query: BarQuery, more: Mapping[str, int], layout: str, *, limit: int) -> bytes:
    """The same in one of ClickHouse's text formats."""
    name, parameters = _named(query, "bars", query.first_open, query.last_close, limit)
    return await store.text(name, layout, offset=0, **parameters, **more)


async def _lines(
    store: Store, query: BarQuery, name: str, start: int, end: int, limit: int, more: Mapping[str, int]
) -> list[bytes]:
    name, parameters = _named(query, name, start, end, limit)
    return await store.json_lines(name, quote_decimals=query.quote_decimals, **parameters, **more)


def _named(query: BarQuery, name: str, start: int, end: int, limit: int) -> tuple[str, dict[str, object]]:
    parameters: dict[str, object] = {"base": query.base, "limit": limit, **_place(query, start, end)}
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
