"""Closing: minutes that got trades become bars, recomputed from the tape, stored, and only then told; so do the seconds
of a minute that is still open, and with their minute once more.

Repeats are harmless: a minute whose bars are what the tape says changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa
import structlog

from crosstape.common import tracing
from crosstape.common.bus.consumer import Share
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BARS, market_key
from crosstape.common.errors import DatabaseError
from crosstape.common.market.bar import Bar
from crosstape.history.sink import metrics
from crosstape.history.sink.bars import bar_columns, bar_places, bars_by_market, changed_bars, with_stored
from crosstape.history.sink.touched import MINUTE_SECONDS, Market, Minute, Seconds, Touch, TouchedMinutes
from crosstape.history.store import Store

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.25
STEP_ROWS = 350_000
"""Trades one step recomputes: about 100 ms of one core, so that the end of a minute is spread."""
RETRY_SECONDS = 1.0
RECORD_BARS = 5_000
"""Bars of one record at most: it has a largest size."""
LIVE_SHARE = 0.1
"""Of the time, at most, goes into seconds of open minutes: on a busy machine they are closed several at once."""


class Closing:
    """The one writer of bars. `store` is its own, so that it never waits for an insert of trades, nor they for it.

    `share` says which partitions of the topic of trades are ours; `is_closing`, whether the last step went well.
    """

    def __init__(self, store: Store, producer: Producer, touched: TouchedMinutes, share: Callable[[], Share]):
        self._store = store
        self._producer = producer
        self._touched = touched
        self._share = share
        self._must_reconcile = asyncio.Event()
        self._rests_until = 0.0
        self._untold: set[str] = set()
        self.is_closing = True

    def reconcile_soon(self) -> None:
        """Look for what another owner of our partitions, or this process before its end, left unclosed or untold."""
        self._must_reconcile.set()
        self._untold.clear()  # whoever owns them now tells what was stored last

    async def run(self, stop: asyncio.Event) -> None:
        """Close what is due until `stop`; what is open then is found again by the next start."""
        while not stop.is_set():
            try:
                await self.reconcile()
                busy = await self.step()
                self.is_closing = True
            except DatabaseError:
                busy = self.is_closing = False
                await asyncio.sleep(RETRY_SECONDS)
            if not busy:
                await asyncio.sleep(TICK_SECONDS)

    async def step(self) -> bool:
        """Close some of the minutes that are due, or else the seconds; whether there were minutes.

        Raises DatabaseError: what was not closed is due again.
        """
        due = self._touched.due(time.monotonic(), time.time(), max_rows=STEP_ROWS)
        metrics.BACKLOG.set(len(self._touched))
        if not due:
            if time.monotonic() >= self._rests_until and (
                seconds := self._touched.due_seconds(time.monotonic(), time.time())
            ):
                await self._close_seconds(seconds)
            return False
        with metrics.CLOSING_SECONDS.labels("1m").time(), tracing.trace("close minutes") as span:
            span.set_attribute("crosstape.minutes", len(due))
            try:
                counts = await self._close(due)
            except DatabaseError:
                self._touched.give_back()
                raise
        if suspects := [minute for minute, touch in due.items() if counts.get(minute) != touch.rows]:
            await self._count_conflicts(suspects)
        return True

    async def _close_seconds(self, seconds: Seconds) -> None:
        markets = _markets_of(seconds.minutes)
        started = time.monotonic()
        with metrics.CLOSING_SECONDS.labels("1s").time(), tracing.trace("close seconds") as span:
            span.set_attribute("crosstape.markets", len(markets))
            try:
                await self._renew([1], markets, seconds.start, seconds.end, [])
            except DatabaseError:
                self._touched.give_back_seconds(seconds)
                raise
        ended = time.monotonic()
        self._rests_until = ended + (ended - started) * (1 / LIVE_SHARE - 1)

    async def _close(self, due: Mapping[Minute, Touch]) -> dict[Minute, int]:
        markets = _markets_of(due)
        seconds = [second for *_, second in due]
        start, end = min(seconds), max(seconds) + MINUTE_SECONDS
        are_all = len(due) == len(markets) * (end - start) // MINUTE_SECONDS
        late = [minute for minute, touch in due.items() if touch.is_late]
        return _count(await self._renew([1, 60], markets, start, end, [] if are_all else list(due), late))

    async def _renew(
        self,
        intervals: list[int],
        markets: list[Market],
        start: int,
        end: int,
        minutes: list[Minute],
        late: Iterable[Minute] = (),
    ) -> dict[Market, list[Bar]]:
        """Store and tell the bars that are not what the tape says, and tell those that an earlier step may have stored
        before it failed; they are the answer."""
        place = {"intervals": intervals, "markets": markets, "start": start, "end": end, "minutes": minutes}
        stored = await self._store.arrow("stored_minutes", **place)
        tape = await self._store.arrow("tape_minutes", **place)
        changed = await asyncio.to_thread(changed_bars, tape, stored, late)
        news = with_stored(changed, stored, self._untold) if self._untold else changed
        if changed.num_rows:
            await self._store_bars(changed)
        bars = bars_by_market(zip(*news.to_pydict().values(), strict=True))
        await self._tell(bars)
        self._untold.difference_update(bar_places(news) if self._untold else ())
        return bars

    async def _store_bars(self, changed: pa.Table) -> None:
        try:
            await self._store.insert("bars", bar_columns(changed, self._share().of))
        except DatabaseError:
            self._untold.update(bar_places(changed))  # the store may have them all the same
            raise
        metrics.ROWS.labels("bars").inc(changed.num_rows)

    async def _tell(self, markets: dict[Market, list[Bar]]) -> None:
        await asyncio.gather(*(self._tell_market(market, bars) for market, bars in markets.items()))

    async def _tell_market(self, market: Market, bars: list[Bar]) -> None:
        for start in range(0, len(bars), RECORD_BARS):
            await self._producer.deliver(BARS, market_key(*market), bars[start : start + RECORD_BARS])

    async def _count_conflicts(self, minutes: list[Minute]) -> None:
        """Where more rows came than there are trades, some are copies: do they agree?"""
        seconds = [second for *_, second in minutes]
        markets = _markets_of(minutes)
        [(conflicts,)] = await self._store.rows(
            "conflicts", markets=markets, start=min(seconds), end=max(seconds) + MINUTE_SECONDS
        )
        if conflicts:
            metrics.CONFLICTS.inc(conflicts)
            log.warning("tape_conflicts", trades=conflicts, markets=markets[:5])

    async def reconcile(self) -> None:
        """Do what `reconcile_soon` asked for, if it did. Raises DatabaseError, and it is still to be done."""
        if not self._must_reconcile.is_set():
            return
        self._must_reconcile.clear()  # before it begins: what is asked for meanwhile may be of other partitions
        share = self._share()
        if not share.numbers:
            return
        ours = {"partitions": share.of, "assigned": [*share.numbers]}
        now = time.monotonic()
        try:
            unclosed = await self._store.rows("unclosed_minutes", **ours)
            for exchange, symbol, minute, rows in unclosed:
                self._touched.touch((exchange, symbol, minute), rows, now, minute)
            await self._tell(bars_by_market(await self._store.rows("latest_bars", **ours)))
        except DatabaseError:
            self._must_reconcile.set()
            raise
        log.info("reconciled", minutes=len(unclosed))


def _markets_of(minutes: Iterable[Minute]) -> list[Market]:
    return sorted({(exchange, symbol) for exchange, symbol, _ in minutes})


def _count(markets: dict[Market, list[Bar]]) -> dict[Minute, int]:
    """Trades of each minute that changed; and what operators see of it."""
    counts: dict[Minute, int] = {}
    for market, bars in markets.items():
        for bar in bars:
            if bar.interval == "1m":
                counts[(*market, bar.open_time)] = bar.trades
                metrics.BARS.labels(bar.status.value).inc()
    return counts
