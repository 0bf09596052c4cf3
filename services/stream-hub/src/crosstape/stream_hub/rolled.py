"""Bars longer than a minute: history rolls them up, so it is asked for each before it is told. Told means stored."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.market.bar import Bar, BarStatus, Interval
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState
from crosstape.stream_hub.tellings import SETTLED_SECONDS, Remembered, StoredMinute, Telling

RETRY_SECONDS = 1.0
REMEMBERED_BARS = 20


class RolledBars:
    """The channel of one market's bars of one interval, told up to `position`. `run` tells while somebody listens."""

    def __init__(self, market: MarketState, interval: Interval, history: History, outbox: Outbox):
        self._market = market
        self._interval = interval
        self._history = history
        self._wake = asyncio.Event()
        self._told: dict[int, Bar] = {}
        self.group = Group(outbox)
        self.position = self._told_so_far().until
        market.bar_listeners[self] = None

    def close(self) -> None:
        """Nobody listens any more."""
        self._market.bar_listeners.pop(self, None)

    def minute(self, bar: Bar, position: int) -> None:
        """A stored minute says something new."""
        self._wake.set()
        if time.time() > self._interval.close_time(self._interval.open_time(bar.open_time)):
            # its bar may close so much later; the broker's clock may be a little ahead
            asyncio.get_running_loop().call_later(SETTLED_SECONDS + RETRY_SECONDS, self._wake.set)

    async def run(self) -> None:
        """Tell what is due until cancelled."""
        while True:
            now = time.time()
            end = self._interval.close_time(self._interval.open_time(int(now - SETTLED_SECONDS)))
            try:
                async with asyncio.timeout(min(end + SETTLED_SECONDS - now, 3_600)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._tell()

    async def _tell(self) -> None:
        due = self._told_so_far().after(self.position)
        told: Sequence[tuple[Telling, Bar]] = ()
        with contextlib.suppress(ServiceUnavailable):
            told, _ = await self.fetch(due)
        if len(told) < len(due):  # history is away, or has not stored all of a bar yet
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)
        for telling, bar in told:
            self.position = max(self.position, telling.position)
            if self._told.get(bar.open_time) == bar:
                continue
            self._told[bar.open_time] = bar
            if len(self._told) > REMEMBERED_BARS:
                del self._told[min(self._told)]
            self.group.publish(self.message(telling, bar), telling.position)

    async def fetch(self, due: Sequence[Telling]) -> tuple[list[tuple[Telling, Bar]], bool]:
        """The bars as history answers them now, and whether these are all it has. It may say of one that it is open, as
        more of it is being stored: that one and those behind it are left for later. Raises ServiceUnavailable."""
        told: list[tuple[Telling, Bar]] = []
        if not due:
            return told, True
        opens = [telling.open_time for telling in due]
        market = self._market
        bars = await self._history.bars(market.exchange, market.symbol, self._interval, min(opens), max(opens) + 1)
        by_open = {bar.open_time: bar for bar in bars}
        for telling in due:
            bar = by_open.get(telling.open_time)
            if bar is not None and bar.status is BarStatus.PROVISIONAL:
                return told, False
            if bar is not None:
                told.append((telling, bar))
        return told, True

    def message(self, telling: Telling, bar: Bar) -> Build:
        """The message of the channel."""
        return messages.bar(telling.kind, self._market.bars_channel(self._interval), bar, telling.position)

    def missed(self, since: int) -> list[Telling] | None:
        """What was told behind a position; None when some of it may be gone."""
        return self._told_so_far().behind(since)

    def _told_so_far(self) -> Remembered:
        bars = self._market.bars
        minutes = [
            StoredMinute(place, time_ms / 1000, event.bar.open_time, event.kind == "bar_close")
            for place, time_ms, event in bars.timed()
            if event.bar.interval == Interval.M1
        ]
        so_far = self._market.long_bars(self._interval)
        so_far.look(minutes, bars.floor, bars.newest, time.time())
        return so_far
