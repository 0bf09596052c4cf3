"""Closing: minutes that got trades become bars, recomputed from the tape, stored, and only then told; so do the seconds
of a minute that is still open, and with their minute once more.

Repeats are harmless: a minute whose bars are what the tape says changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog

from crosstape.common import tracing
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BARS, market_key
from crosstape.common.errors import DatabaseError
from crosstape.common.market.bar import Bar
from crosstape.history.sink import metrics
from crosstape.history.sink.bars import bar_columns, bars_by_market, changed_bars
from crosstape.history.sink.touched import MINUTE_SECONDS, Market, Minute, Seconds, TouchedMinutes
from crosstape.history.store import Store

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.25
STEP_ROWS = 350_000
"""Trades one step recomputes: about 100 ms of one core, so that the end of a minute is spread."""
RETRY_SECONDS = 1.0
LIVE_SHARE = 0.1
"""Of the time, at most, goes into seconds of open minutes: on a busy machine they are closed several at once."""


class Closing:
    """The one writer of bars. `store` is its own, so that it never waits for an insert of trades, nor they for it."""

    def __init__(self, store: Store, producer: Producer, touched: TouchedMinutes):
        self._store = store
        self._producer = producer
        self._touched = touched
        self._must_reconcile = asyncio.Event()
        self._rests_until = 0.0

    def reconcile_soon(self) -> None:
        """Look for what another owner of the partitions, or this process before its end, left unclosed."""
        self._must_reconcile.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Close what is due until `stop`; what is open then is found again by the next start."""
        while not stop.is_set():
            try:
                if self._must_reconcile.is_set():
                    await self._reconcile()
                    self._must_reconcile.clear()
                busy = await self.step()
            except DatabaseError:
                busy = False
                await asyncio.sleep(RETRY_SECONDS)
            if not busy:
                await asyncio.sleep(TICK_SECONDS)

    async def step(self) -> bool:
        """Close some of the minutes that are due, or else the seconds; whether there were minutes.

        Raises DatabaseError, having closed none.
        """
        due = self._touched.due(time.monotonic(), time.time(), max_rows=STEP_ROWS)
        metrics.BACKLOG.set(len(self._touched))
        if not due:
            if time.monotonic() >= self._rests_until and (seconds := self._touched.due_seconds(time.time())):
                await self._close_seconds(seconds)
            return False
        with metrics.CLOSING_SECONDS.labels("1m").time(), tracing.trace("close minutes") as span:
            span.set_attribute("crosstape.minutes", len(due))
            try:
                await self._close(due)
            except DatabaseError:
                for minute, rows in due.items():
                    self._touched.touch(minute, rows, time.monotonic(), minute[2])
                raise
        return True

    async def _close_seconds(self, seconds: Seconds) -> None:
        markets = _markets_of(seconds.minutes)
        started = time.monotonic()
        with metrics.CLOSING_SECONDS.labels("1s").time(), tracing.trace("close seconds") as span:
            span.set_attribute("crosstape.markets", len(markets))
            try:
                await self._renew([1], markets, seconds.start, seconds.end, [])
            except DatabaseError:
                self._touched.give_back(seconds)
                raise
        ended = time.monotonic()
        self._rests_until = ended + (ended - started) * (1 / LIVE_SHARE - 1)

    async def _close(self, due: dict[Minute, int]) -> None:
        markets = _markets_of(due)
        seconds = [second for *_, second in due]
        start, end = min(seconds), max(seconds) + MINUTE_SECONDS
        are_all = len(due) == len(markets) * (end - start) // MINUTE_SECONDS
        counts = _count(await self._renew([1, 60], markets, start, end, [] if are_all else list(due)))
        if suspects := [minute for minute, rows in due.items() if counts.get(minute) != rows]:
            await self._count_conflicts(suspects)

    async def _renew(
        self, intervals: list[int], markets: list[Market], start: int, end: int, minutes: list[Minute]
    ) -> dict[Market, list[Bar]]:
        """Store and tell the bars that are not what the tape says; they are the answer."""
        place = {"intervals": intervals, "markets": markets, "start": start, "end": end, "minutes": minutes}
        stored = await self._store.arrow("stored_minutes", **place)
        tape = await self._store.arrow("tape_minutes", **place)
        changed = await asyncio.to_thread(changed_bars, tape, stored)
        if not changed.num_rows:
            return {}
        await self._store.insert("bars", bar_columns(changed))
        metrics.ROWS.labels("bars").inc(changed.num_rows)
        bars = bars_by_market(zip(*changed.to_pydict().values(), strict=True))
        await self._tell(bars)
        return bars

    async def _tell(self, markets: dict[Market, list[Bar]]) -> None:
        await asyncio.gather(
            *(self._producer.deliver(BARS, market_key(*market), bars) for market, bars in markets.items() if bars)
        )

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

    async def _reconcile(self) -> None:
        now = time.monotonic()
        unclosed = await self._store.rows("unclosed_minutes")
        for exchange, symbol, minute, rows in unclosed:
            self._touched.touch((exchange, symbol, minute), rows, now, minute)
        await self._tell(bars_by_market(await self._store.rows("latest_bars")))
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
