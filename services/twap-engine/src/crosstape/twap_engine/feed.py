"""The live books and trades, as the bus brings them to this replica. It reads books back to their last snapshots, so a
process that starts can trade within moments."""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Counter

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Arrivals, Follower
from crosstape.common.bus.topics import BOOKS, TRADES
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import unless_stopped
from crosstape.exchanges.followed_book import said_at
from crosstape.twap_engine.benchmarks import Benchmarks
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.order import Market

log = structlog.get_logger(__name__)

BACK_SECONDS = 15.0
"""The ingestor publishes each book whole once in ten seconds."""
LATE_NS = 2 * NANOSECONDS
"""A record that took longer to come has waited: in an ingestor for the broker, or for us."""

UNDECODABLE = Counter("crosstape_twap_records_undecodable_total", "Records of the bus that could not be read")


class Feed:
    """Keeps `books` and `benchmarks` up to date. Repeats are harmless: levels are absolute, trades have ids.

    While it catches up with what stood in the log, books are not traded on: they are of the past. So is, from then on,
    a book whose newest record is late.
    """

    def __init__(self, bus: BusSettings, books: Books, benchmarks: Benchmarks, clock: Clock):
        self._bus = bus
        self._books = books
        self._benchmarks = benchmarks
        self._clock = clock
        self._epoch = ""
        self._has_begun = False
        self._current_since: int | None = None
        books.is_current = False

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the bus until `stop`."""
        await unless_stopped(stop, self._follow())

    async def _follow(self) -> None:
        async with Follower(self._bus, {BOOKS: BACK_SECONDS, TRADES: 0.0}) as follower:
            async for arrivals in follower.arrivals():
                self.take_in(arrivals)

    def take_in(self, arrivals: Arrivals) -> None:
        """Records of both topics. What they tell is as old as they are, however late they come."""
        heard: set[Market] = set()
        if arrivals.epoch != self._epoch or BOOKS.name in arrivals.gaps:
            self._epoch = arrivals.epoch
            heard |= self._books.restart()
        UNDECODABLE.inc(arrivals.undecodable)
        now, utc = self._clock.steady(), self._clock.utc()
        may_be_late = self._books.is_current
        for record in arrivals.records:
            if record.topic == BOOKS.name:
                event: BookEvent = record.value
                age = max(0, utc - said_at(event, record.time_ms))
                if self._books.apply(event, now - age, is_late=may_be_late and age > LATE_NS):
                    heard.add(Market(event.exchange, event.symbol))
            else:
                self._benchmarks.add(record.value, utc)
        self._books.is_current = arrivals.is_caught_up
        if not arrivals.is_caught_up:
            self._current_since = None
        elif self._current_since is None:
            self._current_since = now
        elif now - self._current_since >= BACK_SECONDS * NANOSECONDS:
            self._has_begun = True
        self._has_begun = self._has_begun or self._books.tradable_count(now) > 0
        self._benchmarks.heard(heard, now)

    def check(self) -> Check:
        """Up when at least one book may be traded on."""
        count = self._books.tradable_count(self._clock.steady())
        detail = {"live_books": count, "late_books": self._books.late_count, "caught_up": self._books.is_current}
        return Check(is_up=count > 0, detail=detail)

    def check_start(self) -> Check:
        """Up once a book could be traded on, or would have come whole if there were one: ccxt and some recordings have
        none. When no book can any more, all replicas have none: then their owners must still see their orders, and
        cancel them."""
        return Check(is_up=self._has_begun)
