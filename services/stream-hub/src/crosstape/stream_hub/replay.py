"""Replay: history through the same protocol at a chosen speed, then live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Protocol

from msgspec import Struct

from crosstape.common.errors import InvalidTimeFormat, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, BarStatus, Interval
from crosstape.common.market.trade import Trade, TradeId
from crosstape.common.time import parse_time
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.flow import DAY
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState
from crosstape.stream_hub.numbers import EXACT, ZERO

NEAR_SECONDS = 3.0
"""This close to the present, a replay asks history once more and goes live."""
REMEMBERED_SECONDS = 1_200
"""Ids of trades as young as this are remembered, so that none is sent again live. The rings are shorter."""
BACKLOG_BYTES = 256 * 1024
AT_ONCE = 200
"""Messages between two looks at how much the client has still to read."""
FASTEST = 1e6

Item = tuple[int, Callable[[], Build]]
"""When it happened (ns), and what makes its message when its turn has come."""


class Span(Struct, frozen=True):
    """From when to when (ns; None: until the present), and how many times faster than it happened."""

    start: int
    end: int | None
    speed: float


def read_span(asked: Mapping[str, object], now: int) -> Span | None:
    """`from`, `to` and `speed` of a message or an address; None without `from`. Raises ValidationFailed."""
    if asked.get("from") is None:
        return None
    start = _time(asked, "from")
    end = _time(asked, "to") if asked.get("to") is not None else None
    try:
        speed = float(str(asked.get("speed", 1)))
    except ValueError:
        speed = 0.0
    if not 0 < speed <= FASTEST:
        raise ValidationFailed(f"speed must be a number above 0, at most {FASTEST:g}.", {"parameter": "speed"})
    if start >= (now if end is None else end):
        raise ValidationFailed("from must lie before to, and before now.", {"parameter": "from"})
    return Span(start, None if end is None or end >= now else end, speed)


def _time(asked: Mapping[str, object], name: str) -> int:
    try:
        return parse_time(str(asked[name]), unix=True).nanoseconds
    except InvalidTimeFormat as error:
        raise ValidationFailed(f"{name}: {error.message}", {"parameter": name}) from None


class Source(Protocol):
    """What can be replayed."""

    def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        """What happened in [start, end) ns, by time."""
        ...


class TradeSource:
    """The trades of one market. `sent` are the ids of those that may still be in the hub's ring."""

    def __init__(self, market: MarketState, history: History, build: Callable[[Trade], Build]):
        self._market = market
        self._history = history
        self._build = build
        self.sent: dict[TradeId, None] = {}

    async def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        market = self._market
        async with contextlib.aclosing(self._history.trades(market.exchange, market.symbol, start, end)) as pages:
            async for page in pages:
                remembered = time.time_ns() - REMEMBERED_SECONDS * NANOSECONDS
                for trade in page:
                    if trade.trade_id in self.sent:
                        continue
                    if trade.time >= remembered:
                        self.sent[trade.trade_id] = None
                    yield trade.time, partial(self._build, trade)


class BarSource:
    """The bars of one market and interval, each when it closes. `sent` are the revisions by open time."""

    def __init__(self, market: MarketState, interval: Interval, history: History):
        self._market = market
        self._interval = interval
        self._history = history
        self.sent: dict[int, int] = {}

    async def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        market, interval = self._market, self._interval
        channel = market.bars_channel(interval)
        first, last = start // NANOSECONDS, -(-end // NANOSECONDS)
        for bar in await self._history.bars(market.exchange, market.symbol, interval, first, last):
            if bar.status is BarStatus.PROVISIONAL or self.sent.get(bar.open_time, -1) >= bar.revision:
                continue
            self.sent[bar.open_time] = bar.revision
            closed_at = interval.close_time(bar.open_time) * NANOSECONDS
            yield closed_at, partial(messages.bar, "bar_close", channel, bar, None)


async def day_so_far(market: MarketState, moment: int, history: History) -> Decimal:
    """The volume delta from 00:00 UTC to `moment` (ns). Raises ServiceUnavailable."""
    second = moment // NANOSECONDS
    minute = second // 60 * 60
    total = ZERO
    for bar in await history.bars(market.exchange, market.symbol, Interval.M1, second // DAY * DAY, minute):
        total = EXACT.add(total, Decimal(bar.volume_delta))
    trades = history.trades(market.exchange, market.symbol, minute * NANOSECONDS, moment)
    async with contextlib.aclosing(trades) as pages:
        async for page in pages:
            for trade in page:
                total = EXACT.add(total, Decimal(messages.volume_delta(trade)))
    return total


async def merged(sources: Sequence[Source], start: int, end: int) -> AsyncGenerator[Item, None]:
    """The items of all sources by time."""
    async with contextlib.AsyncExitStack() as stack:
        feeds = [await stack.enter_async_context(contextlib.aclosing(source.items(start, end))) for source in sources]
        heads = {feed: head for feed in feeds if (head := await anext(feed, None)) is not None}
        while heads:
            feed = min(heads, key=lambda one: heads[one][0])
            yield heads[feed]
            following = await anext(feed, None)
            if following is None:
                del heads[feed]
            else:
                heads[feed] = following


class Several:
    """Sources as one."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = sources

    def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        return merged(self._sources, start, end)


class Listener(Protocol):
    """Who gets the replay."""

    def send(self, build: Build, /) -> None: ...
    def backlog(self) -> int: ...


async def replay(sources: Sequence[Source], span: Span, listener: Listener) -> None:
    """Send everything of `span` at its pace; return at its end, or as near to the present as history is.

    Raises ServiceUnavailable.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    start = span.start
    sent = 0
    while True:
        now = time.time_ns()
        end = now if span.end is None else span.end
        async with contextlib.aclosing(merged(sources, start, end)) as items:
            async for moment, make in items:
                sent += 1
                wait = began + (moment - span.start) / span.speed / NANOSECONDS - loop.time()
                if wait > 0 or sent % AT_ONCE == 0:
                    await asyncio.sleep(max(0.0, wait))
                while listener.backlog() > BACKLOG_BYTES:
                    await asyncio.sleep(0.01)
                listener.send(make())
        due = began + (end - span.start) / span.speed / NANOSECONDS - loop.time()
        if span.end is not None:
            if due > 0:
                await asyncio.sleep(due)
            return
        if time.time_ns() - now <= NEAR_SECONDS * NANOSECONDS:
            return
        start = max(span.start, end - int(NEAR_SECONDS * 4) * NANOSECONDS)
