"""Bars longer than a minute: history rolls them up, so it is asked for each before it is told. Told means stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.market.bar import Bar, BarStatus, Interval
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState
from crosstape.stream_hub.positions import LATER

MINUTE = 60
QUIET_SECONDS = 4.0
"""After so long the last minute of a bar had no trade, or its record would be here."""
RETRY_SECONDS = 1.0
REMEMBERED_BARS = 20

Kind = Literal["bar_close", "bar_revision"]
Minutes = Sequence[tuple[int, Bar]]
"""Stored minutes of one market with their positions, in the order in which they were told."""


class Telling(Struct, frozen=True):
    """The bar that opens at `open_time` (Unix s) is to be told, at `position` of its channel."""

    position: int
    kind: Kind
    open_time: int


def tellings(minutes: Minutes, interval: Interval, now: float) -> list[Telling]:
    """What the minutes say about the closed bars they are parts of at `now` (Unix s), by position.

    A bar closes with its last minute, or with the first that was told after it; if there is none yet, a while after
    its end, behind everything that is known of it.
    """
    told: list[Telling] = []
    touches: dict[int, list[int]] = {}
    for place, bar in minutes:
        touches.setdefault(interval.open_time(bar.open_time), []).append(place)
    for open_time, places in touches.items():
        end = interval.close_time(open_time)
        closers = [place for place, bar in minutes if bar.open_time + MINUTE >= end]
        if closers:
            close = min(closers)
        elif now >= end + QUIET_SECONDS:
            close = max(places) | LATER
        else:
            continue
        told.append(Telling(close, "bar_close", open_time))
        told += [Telling(place, "bar_revision", open_time) for place in places if place > close]
    return sorted(told, key=lambda telling: (telling.position, telling.open_time))


def behind(told: Sequence[Telling], position: int) -> list[Telling]:
    """What lies behind a position, each bar once, as it was last told; a close stays one."""
    newest: dict[int, Telling] = {}
    for telling in told:
        if telling.position > position:
            before = newest.get(telling.open_time)
            kind = before.kind if before else telling.kind
            newest[telling.open_time] = Telling(telling.position, kind, telling.open_time)
    return sorted(newest.values(), key=lambda telling: (telling.position, telling.open_time))


class RolledBars:
    """The channel of one market's bars of one interval, told up to `position`. `run` tells while somebody listens."""

    def __init__(self, market: MarketState, interval: Interval, history: History, outbox: Outbox):
        self._market = market
        self._interval = interval
        self._history = history
        self._wake = asyncio.Event()
        self._told: dict[int, Bar] = {}
        self.group = Group(outbox)
        told = tellings(self._minutes(), interval, time.time())
        self.position = told[-1].position if told else market.bars.newest
        market.bar_listeners[self] = None

    def close(self) -> None:
        """Nobody listens any more."""
        self._market.bar_listeners.pop(self, None)

    def minute(self, bar: Bar, position: int) -> None:
        """A stored minute says something new."""
        self._wake.set()

    async def run(self) -> None:
        """Tell what is due until cancelled."""
        while True:
            now = time.time()
            end = self._interval.close_time(self._interval.open_time(int(now - QUIET_SECONDS)))
            try:
                async with asyncio.timeout(min(end + QUIET_SECONDS - now, 3_600)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._tell()

    async def _tell(self) -> None:
        due = behind(tellings(self._minutes(), self._interval, time.time()), self.position)
        try:
            told = await self.fetch(due)
        except ServiceUnavailable:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)
            return
        for telling, bar in told:
            self.position = max(self.position, telling.position)
            if self._told.get(bar.open_time) == bar:
                continue
            self._told[bar.open_time] = bar
            if len(self._told) > REMEMBERED_BARS:
                del self._told[min(self._told)]
            self.group.publish(self.message(telling, bar), telling.position)

    async def fetch(self, due: Sequence[Telling]) -> list[tuple[Telling, Bar]]:
        """The bars as history answers them now, without those it says are open. Raises ServiceUnavailable."""
        if not due:
            return []
        opens = [telling.open_time for telling in due]
        market = self._market
        bars = await self._history.bars(market.exchange, market.symbol, self._interval, min(opens), max(opens) + 1)
        closed = {bar.open_time: bar for bar in bars if bar.status is not BarStatus.PROVISIONAL}
        return [(telling, closed[telling.open_time]) for telling in due if telling.open_time in closed]

    def message(self, telling: Telling, bar: Bar) -> Build:
        """The message of the channel."""
        return messages.bar(telling.kind, self._market.bars_channel(self._interval), bar, telling.position)

    def missed(self, since: int) -> list[Telling] | None:
        """What was told behind a position; None when some of it may be gone."""
        if since < self._market.bars.floor:
            return None
        return behind(tellings(self._minutes(), self._interval, time.time()), since)

    def _minutes(self) -> Minutes:
        return [(place, event.bar) for place, event in self._market.bars if event.bar.interval == Interval.M1]
