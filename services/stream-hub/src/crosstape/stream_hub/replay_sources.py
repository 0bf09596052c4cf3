"""What can be replayed: the trades and bars of one market, from history, each once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Protocol

from crosstape.common.market.bar import NANOSECONDS, Bar, BarStatus, Interval
from crosstape.common.market.trade import Trade, TradeId
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState

OVERLAP_SECONDS = 12
"""A replay reads so much of what it has read once more when it asks history again, which may be late by that."""

Make = Callable[[], Build | None]
"""Makes a message when its turn has come; None if nobody wants it any more."""
Item = tuple[int, Make]
"""When it happened (ns), and what makes its message."""


class Source(Protocol):
    """What can be replayed."""

    def items(self, start: int, end: int, rows: int) -> AsyncGenerator[Item, None]:
        """What happened in [start, end) ns, by time; of history no more than so many `rows` are held at once."""
        ...


class TradeSource:
    """The trades of one market from `start` (ns) on. `sent` are the times (ns) by id of those that may come again: from
    history when it is asked on, or from the hub's ring."""

    def __init__(self, market: MarketState, history: History, build: Callable[[Trade], Build], start: int):
        self._market = market
        self._history = history
        self._build = build
        self._start = start
        self._kept = market.kept_trades()
        self.sent: dict[TradeId, int] = {}

    def is_new(self, trade: Trade) -> bool:
        """Whether a trade of the ring belongs behind what was sent."""
        return trade.time >= self._start and trade.trade_id not in self.sent

    async def items(self, start: int, end: int, rows: int) -> AsyncGenerator[Item, None]:
        market = self._market
        seam = end - OVERLAP_SECONDS * NANOSECONDS
        held = self._kept.now()
        self.sent = {one: moment for one, moment in self.sent.items() if moment >= start or one in held}
        async with contextlib.aclosing(self._history.trades(market.exchange, market.symbol, start, end, rows)) as pages:
            async for page in pages:
                self._kept.now()
                for trade in page:
                    if trade.trade_id in self.sent:
                        continue
                    if trade.time >= seam or trade.trade_id in held:
                        self.sent[trade.trade_id] = trade.time
                    yield trade.time, partial(self._build, trade)


class BarSource:
    """The bars of one market and interval that open from `start` (ns) on, each when it closes. `sent` are the revisions
    by open time of those that may come again: from history when it is asked on, or from the hub's ring."""

    def __init__(self, market: MarketState, interval: Interval, history: History, start: int):
        self._market = market
        self._interval = interval
        self._history = history
        self._start = self._next = -(-start // NANOSECONDS)
        self._kept = market.kept_bars(interval)
        self.sent: dict[int, int] = {}

    def is_new(self, bar: Bar) -> bool:
        """Whether a bar of the ring belongs behind what was sent."""
        return bar.open_time >= self._start and self.sent.get(bar.open_time, -1) < bar.revision

    async def items(self, start: int, end: int, rows: int) -> AsyncGenerator[Item, None]:
        market, interval = self._market, self._interval
        channel = market.bars_channel(interval)
        first, last = self._next, -(-end // NANOSECONDS)
        # The next pass begins with the first bar that this one finds open, or that is open without a trade yet. A
        # second may close as late as with its minute.
        whole = Interval.M1 if interval is Interval.S1 else interval
        self._next = max(first, whole.open_time(end // NANOSECONDS - OVERLAP_SECONDS))
        held = self._kept.now()
        self.sent = {one: revision for one, revision in self.sent.items() if one >= first or one in held}
        pages = self._history.bar_pages(market.exchange, market.symbol, interval, first, last, rows)
        async with contextlib.aclosing(pages):
            async for page in pages:
                self._kept.now()
                for bar in page:
                    if bar.status is BarStatus.PROVISIONAL:
                        self._next = min(self._next, bar.open_time)
                        continue
                    if self.sent.get(bar.open_time, -1) >= bar.revision:
                        continue
                    if bar.open_time >= self._next or bar.open_time in held:
                        self.sent[bar.open_time] = bar.revision
                    closed_at = interval.close_time(bar.open_time) * NANOSECONDS
                    yield closed_at, partial(messages.bar, "bar_close", channel, bar, None)


class Part(Protocol):
    """Whose messages a source makes."""

    has_left: bool


class Wanted:
    """A source until its part's client leaves the channel."""

    def __init__(self, source: Source, part: Part):
        self._source = source
        self._part = part

    async def items(self, start: int, end: int, rows: int) -> AsyncGenerator[Item, None]:
        async with contextlib.aclosing(self._source.items(start, end, rows)) as items:
            async for moment, make in items:
                yield moment, partial(self._unless_left, make)
                if self._part.has_left:
                    return

    def _unless_left(self, make: Make) -> Build | None:
        return None if self._part.has_left else make()
