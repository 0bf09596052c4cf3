"""The live books and trades, as the bus brings them to this replica. It reads books back to their last snapshots, so a
process that starts can trade within moments. The ledger tells every ten seconds which markets are still connected."""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Counter

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Arrivals, Follower
from crosstape.common.bus.topics import BOOKS, LEDGER, TRADES
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import unless_stopped
from crosstape.twap_engine.benchmarks import Benchmarks
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.order import Market

log = structlog.get_logger(__name__)

BACK_SECONDS = 65.0
"""The ingestor publishes each book whole once a minute."""

UNDECODABLE = Counter("crosstape_twap_records_undecodable_total", "Records of the bus that could not be read")


class Feed:
    """Keeps `books` and `benchmarks` up to date. Repeats are harmless: levels are absolute, trades have ids.

    While it catches up with what stood in the log, books are not traded on: they are of the past.
    """

    def __init__(self, bus: BusSettings, books: Books, benchmarks: Benchmarks, clock: Clock):
        self._bus = bus
        self._books = books
        self._benchmarks = benchmarks
        self._clock = clock
        self._epoch = ""
        books.is_current = False

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the bus until `stop`."""
        await unless_stopped(stop, self._follow())

    async def _follow(self) -> None:
        async with Follower(self._bus, {BOOKS: BACK_SECONDS, TRADES: 0.0, LEDGER: 0.0}) as follower:
            async for arrivals in follower.arrivals():
                self.take_in(arrivals)

    def take_in(self, arrivals: Arrivals) -> None:
        """Records of all three topics."""
        if arrivals.epoch != self._epoch:
            self._epoch = arrivals.epoch
            self._books.restart()
        UNDECODABLE.inc(arrivals.undecodable)
        now = self._clock.steady()
        heard: set[Market] = set()
        for record in arrivals.records:
            market = Market(record.value.exchange, record.value.symbol)
            heard.add(market)
            if record.topic == BOOKS.name:
                self._books.apply(record.value, now)
                continue
            self._books.hear(market, now)
            if record.topic == TRADES.name:
                self._benchmarks.add(record.value)
        self._books.is_current = arrivals.is_caught_up
        self._benchmarks.heard(heard, now)

    def check(self) -> Check:
        """Up when at least one book may be traded on."""
        count = self._books.tradable_count(self._clock.steady())
        return Check(is_up=count > 0, detail={"live_books": count, "caught_up": self._books.is_current})
