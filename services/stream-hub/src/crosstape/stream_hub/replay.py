"""Replay: history through the same protocol at a chosen speed, then live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from crosstape.common.errors import InvalidTimeFormat, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, Bar, BarStatus, Interval
from crosstape.common.market.trade import Trade, TradeId
from crosstape.common.time import parse_time
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.flow import DAY
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState
from crosstape.stream_hub.numbers import EXACT, ZERO
from crosstape.stream_hub.reading import Reader, has_read
from crosstape.stream_hub.ring import Ring

NEAR_SECONDS = 3.0
"""This close to the present, a replay asks history once more and goes live."""
OVERLAP_SECONDS = 12
"""A replay reads so much of what it has read once more when it asks history again, which may be late by that."""
AT_ONCE = 200
"""Messages between two looks at how much the client has still to read."""
FASTEST = 1e6

Entry = TypeVar("Entry")
Key = TypeVar("Key")

Item = tuple[int, Callable[[], Build | None]]
"""When it happened (ns), and what makes its message when its turn has come; None if nobody wants it any more."""


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


class Kept(Generic[Entry, Key]):
    """What the hub's ring can tell, also of old trades and bars, if a repair brought them just now: their keys.

    Only what came since the last look is read: a whole ring takes as long as thousands of messages.
    """

    def __init__(self, ring: Ring[Entry], key: Callable[[Entry], Key]):
        self._ring = ring
        self._key = key
        self._keys: set[Key] = set()
        self._place: int | None = None

    def anew(self) -> set[Key]:
        """Those of all that is in the ring, and of nothing that was."""
        self._keys, self._place = set(), None
        return self.now()

    def now(self) -> set[Key]:
        """The same, and perhaps some that have left the ring since they were first looked for."""
        new = None if self._place is None else self._ring.after(self._place)
        self._keys |= {self._key(entry) for _, entry in (self._ring if new is None else new)}
        self._place = self._ring.newest
        return self._keys


class TradeSource:
    """The trades of one market from `start` (ns) on. `sent` are the times (ns) by id of those that may come again: from
    history when it is asked on, or from the hub's ring."""

    def __init__(self, market: MarketState, history: History, build: Callable[[Trade], Build], start: int):
        self._market = market
        self._history = history
        self._build = build
        self._start = start
        self._kept = Kept(market.ticks, lambda tick: tick.trade.trade_id)
        self.sent: dict[TradeId, int] = {}

    def is_new(self, trade: Trade) -> bool:
        """Whether a trade of the ring belongs behind what was sent."""
        return trade.time >= self._start and trade.trade_id not in self.sent

    async def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        market = self._market
        seam = end - OVERLAP_SECONDS * NANOSECONDS
        held = self._kept.anew()
        self.sent = {one: moment for one, moment in self.sent.items() if moment >= start or one in held}
        async with contextlib.aclosing(self._history.trades(market.exchange, market.symbol, start, end)) as pages:
            async for page in pages:
                held = self._kept.now()
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
        self._kept = Kept(market.bars, lambda event: interval.open_time(event.bar.open_time))
        self.sent: dict[int, int] = {}

    def is_new(self, bar: Bar) -> bool:
        """Whether a bar of the ring belongs behind what was sent."""
        return bar.open_time >= self._start and self.sent.get(bar.open_time, -1) < bar.revision

    async def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        market, interval = self._market, self._interval
        channel = market.bars_channel(interval)
        first, last = self._next, -(-end // NANOSECONDS)
        # The next pass begins with the first bar that this one finds open, or that is open without a trade yet. Bars of
        # seconds close with their minute.
        whole = Interval.M1 if interval is Interval.S1 else interval
        self._next = max(first, whole.open_time(end // NANOSECONDS - OVERLAP_SECONDS))
        held = self._kept.anew()
        self.sent = {one: revision for one, revision in self.sent.items() if one >= first or one in held}
        pages = self._history.bar_pages(market.exchange, market.symbol, interval, first, last)
        async with contextlib.aclosing(pages):
            async for page in pages:
                held = self._kept.now()
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

    async def items(self, start: int, end: int) -> AsyncGenerator[Item, None]:
        async with contextlib.aclosing(self._source.items(start, end)) as items:
            async for moment, make in items:
                yield moment, partial(self._unless_left, make)
                if self._part.has_left:
                    return

    def _unless_left(self, make: Callable[[], Build | None]) -> Build | None:
        return None if self._part.has_left else make()


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


class Listener(Reader, Protocol):
    """Who gets the replay."""

    def send(self, build: Build, /) -> None: ...


async def replay(sources: Sequence[Source], span: Span, listener: Listener) -> None:
    """Send everything of `span` at its pace; return at its end, or as near to the present as history is.

    Raises ServiceUnavailable, and Closing when the client does not read.
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
                if wait > 0:
                    await asyncio.sleep(wait)
                if wait > 0 or sent % AT_ONCE == 0:
                    await has_read(listener)
                if (build := make()) is not None:
                    listener.send(build)
        due = began + (end - span.start) / span.speed / NANOSECONDS - loop.time()
        if span.end is not None:
            if due > 0:
                await asyncio.sleep(due)
            return
        if time.time_ns() - now <= NEAR_SECONDS * NANOSECONDS:
            return
        start = max(span.start, end - OVERLAP_SECONDS * NANOSECONDS)
