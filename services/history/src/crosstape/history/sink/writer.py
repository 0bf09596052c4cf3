"""The sink's loop: a batch from the bus into the store, then its dead letters, then the commit.

A batch that comes again changes nothing: a trade is its identity, a ledger event too. While the store is away nothing
is committed and the bus keeps what comes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

from crosstape.common import tracing
from crosstape.common.bus.consumer import MAX_DEAD_LETTER_BYTES, Batch, Consumer
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import DEAD_LETTERS, LEDGER, TRADES, DeadLetter, market_key
from crosstape.common.errors import DatabaseError
from crosstape.common.market.ledger import Coverage, Gap, LedgerEvent
from crosstape.common.market.trade import TradeBatch
from crosstape.history.portions import portions
from crosstape.history.sink import metrics
from crosstape.history.sink.id_ranges import IdRanges
from crosstape.history.sink.rows import MinuteRows, TradeRows, coverage_rows, gap_rows, trade_rows
from crosstape.history.sink.soundness import Rejected, Unsound, accept, is_sound_event
from crosstape.history.sink.touched import Market, Minute, TouchedMinutes
from crosstape.history.store import Store

log = structlog.get_logger(__name__)

LONGEST_RETRY_SECONDS = 5.0
LONGEST_BACKLOG_SECONDS = 300.0
"""While closing is further behind, nothing more is taken: `unclosed_minutes` looks back ten minutes."""
BEHIND_SECONDS = 2.0
"""A sink whose full batch is older catches up."""


_CONSUMING = {
    "messaging.system": "kafka",
    "messaging.destination.name": TRADES.name,
    "messaging.operation.name": "store",
    "messaging.operation.type": "process",
}


class Writer:
    """Stores batches; `touched` tells the closing which minutes they changed. `store` is its own."""

    def __init__(self, store: Store, producer: Producer, touched: TouchedMinutes):
        self._store = store
        self._producer = producer
        self._touched = touched
        self._ranges = IdRanges()
        self.is_storing = True

    async def run(self, consumer: Consumer, stop: asyncio.Event, *, flush_rows: int, flush_seconds: float) -> None:
        """Take batches until `stop`; the one in hand takes effect."""
        batches = consumer.batches(max_records=flush_rows, max_age=flush_seconds, weigh=_weigh)
        ranges = self._ranges
        async for batch in batches:
            arrived, taken_at = time.time(), time.monotonic()
            if batch.is_full and arrived - batch.oldest_ms / 1000 > BEHIND_SECONDS:
                self._touched.fell_behind(taken_at)
            if len(batch):
                await self.write(batch)
                await consumer.commit(batch)
            else:
                metrics.LAG_SECONDS.set(0.0)
            if self._ranges is ranges:  # else it was taken before the partitions were shared out as they are now
                self._touched.reached = batch.oldest_ms / 1000 if batch.is_full else arrived
                self._touched.taken_at = taken_at
            while self._is_closing_behind() and not stop.is_set():
                await asyncio.sleep(LONGEST_RETRY_SECONDS)
            if stop.is_set():
                break
            ranges = self._ranges

    def forget(self) -> None:
        """Others may have stored what comes after what we know."""
        self._ranges = IdRanges()

    def _is_closing_behind(self) -> bool:
        return self._touched.longest_wait(time.monotonic(), time.time()) > LONGEST_BACKLOG_SECONDS

    async def write(self, batch: Batch) -> None:
        """Return once everything in `batch` is stored or a dead letter, however long the store is away."""
        with tracing.batch("store trades", batch.contexts, attributes=_CONSUMING) as span:
            span.set_attribute("messaging.batch.message_count", len(batch))
            await self._write(batch)

    async def _write(self, batch: Batch) -> None:
        started = time.perf_counter()
        trades: list[TradeBatch] = batch.records.get(TRADES.name, [])
        events: list[LedgerEvent] = batch.records.get(LEDGER.name, [])
        rows, rejected = await asyncio.to_thread(sound_rows, trades, time.time_ns())
        if rows.table.num_rows:
            await self._until_stored(lambda: self.store_trades(rows))
        sound = [event for event in events if is_sound_event(event)]
        if sound:
            await self._until_stored(lambda: self.store_events(sound))
        metrics.FLUSH_SECONDS.observe(time.perf_counter() - started)
        if batch.oldest_ms:
            metrics.LAG_SECONDS.set(max(0.0, time.time() - batch.oldest_ms / 1000))
        unsound = [_event_letter(event) for event in events if not is_sound_event(event)]
        await self._put_aside([*batch.dead_letters, *map(_trade_letter, rejected), *unsound])

    async def store_trades(self, rows: TradeRows) -> None:
        """Insert `rows` and say which minutes they changed. Raises DatabaseError."""
        ranges = self._ranges
        moved = await self._minutes_losing_trades(ranges, rows.minutes)
        await self._store.insert("trades", rows.table)
        behind = [ranges.is_behind(minute) for minute in rows.minutes]
        ranges.add(rows.minutes)
        now = time.monotonic()
        for minute, is_behind in zip(rows.minutes, behind, strict=True):
            place = (minute.exchange, minute.symbol, minute.minute)
            self._touched.touch(place, minute.rows, now, minute.since, is_behind=is_behind)
        for place in moved:
            self._touched.touch(place, 0, now, place[2])
        metrics.ROWS.labels("trades").inc(rows.table.num_rows)

    async def _minutes_losing_trades(self, ranges: IdRanges, minutes: list[MinuteRows]) -> set[Minute]:
        """The minutes from which a copy that says another time could take a trade away."""
        for unknown in portions(ranges.unknown(minutes)):
            newest = {(e, s): seq for e, s, seq in await self._store.rows("newest_ids", markets=unknown)}
            for market in unknown:
                ranges.learn(market, newest.get(market, -1))
        found: set[Minute] = set()
        unfamiliar: dict[Market, tuple[int, int]] = {}
        for rows in minutes:
            overlapped = ranges.overlapped(rows)
            if overlapped is None:
                market = (rows.exchange, rows.symbol)
                first, last = unfamiliar.get(market, (rows.first_seq, rows.last_seq))
                unfamiliar[market] = (min(first, rows.first_seq), max(last, rows.last_seq))
            else:
                found.update(overlapped)
        for (exchange, symbol), (first, last) in unfamiliar.items():
            stored = await self._store.rows("minutes_of_ids", exchange=exchange, symbol=symbol, first=first, last=last)
            found.update((exchange, symbol, minute) for (minute,) in stored)
        return found

    async def store_events(self, events: list[LedgerEvent]) -> None:
        """Insert ledger events. Raises DatabaseError."""
        if gaps := [event for event in events if isinstance(event, Gap)]:
            await self._store.insert("gaps", gap_rows(gaps))
            metrics.ROWS.labels("gaps").inc(len(gaps))
        if intervals := [event for event in events if isinstance(event, Coverage)]:
            await self._store.insert("coverage", coverage_rows(intervals))
            metrics.ROWS.labels("coverage").inc(len(intervals))

    async def _until_stored(self, store: Callable[[], Awaitable[None]]) -> None:
        delay = 0.1
        while True:
            try:
                await store()
            except DatabaseError as error:
                self.is_storing = False
                metrics.STORE_FAILURES.inc()
                log.warning("store_away", error=error.error_code, retry_seconds=delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
            else:
                self.is_storing = True
                return

    async def _put_aside(self, letters: list[DeadLetter]) -> None:
        for (key, reason), count in Counter((letter.key, letter.reason) for letter in letters).items():
            metrics.DEAD_LETTERS.labels(reason if reason in metrics.REASONS else metrics.UNDECODABLE).inc(count)
            exchange, _, symbol = key.partition(":")
            log.warning("dead_letters", exchange=exchange, symbol=symbol, reason=reason, count=count)
        for letter in letters:
            await self._producer.deliver(DEAD_LETTERS, letter.key.encode(), letter)


def sound_rows(batches: list[TradeBatch], now: int) -> tuple[TradeRows, list[Rejected]]:
    """What of `batches` the tape can hold at `now` (ns), and what it cannot."""
    try:
        return trade_rows(batches, now), []
    except Unsound:
        accepted, rejected = accept(batches, now)
        return trade_rows(accepted, now), rejected


def _weigh(record: TradeBatch | LedgerEvent) -> int:
    return len(record) if isinstance(record, TradeBatch) else 1


def _trade_letter(rejected: Rejected) -> DeadLetter:
    batch = rejected.batch
    key = market_key(batch.exchange, batch.symbol).decode("utf-8", "replace")
    value = TRADES.codec.encode(batch)[:MAX_DEAD_LETTER_BYTES]
    return DeadLetter(TRADES.name, -1, -1, key, rejected.reason, value)


def _event_letter(event: LedgerEvent) -> DeadLetter:
    key = market_key(event.exchange, event.symbol).decode("utf-8", "replace")
    return DeadLetter(LEDGER.name, -1, -1, key, metrics.LEDGER_EVENT, LEDGER.codec.encode(event))
