"""The books of one socket: from frames to verified updates on the bus, and what is done for those that break."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.common.market.book import BookEvent, BookUpdate
from crosstape.common.waiting import pause
from crosstape.exchanges.answers import checked_levels
from crosstape.exchanges.dialect import Dialect, Event, MalformedFrame, Subscription
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.book_sync import BookSync
from crosstape.ingestor.feed import LONGEST_DELAY, Feed, backoff
from crosstape.ingestor.publish import Publisher

log = structlog.get_logger(__name__)

STEADY_SECONDS = 30.0
"""A book that is right so long after its connection began has come right: it was looked at twice whether it is crossed.
Were it longer, patience would outlast bad times in which now this book breaks and now that one."""
LONGEST_PATIENCE = 600.0


class BookHandler:
    """One book socket: verified updates to the bus; a broken book is stale at once and taken anew."""

    def __init__(self, dialect: Dialect, subscription: Subscription, rest: ExchangeRest, publisher: Publisher):
        self.subscription = subscription
        self._decode = subscription.decode
        self._rest = rest
        self._publisher = publisher
        self._instruments = {instrument.symbol: instrument for instrument in subscription.instruments}
        self.books = {symbol: BookSync(dialect, instrument) for symbol, instrument in self._instruments.items()}
        self._wanted: dict[str, int] = {}  # symbol → fetches that failed
        self._is_wanted = asyncio.Event()
        self._failures: Counter[str] = Counter()  # connections in a row that were left for the book
        self._connected = -math.inf
        self.feed: Feed | None = None

    @property
    def _is_heard(self) -> bool:
        return self.feed is not None and self.feed.is_heard

    def on_connected(self, now: int) -> None:
        self._connected = time.monotonic()
        self._restart("connected", now)

    def on_disconnected(self, now: int) -> None:
        self._restart("disconnected", now)

    def _restart(self, reason: str, now: int) -> None:
        for book in self.books.values():
            for event in book.restart(reason, now):
                self._publisher.book(event)

    def on_bus_lost(self, now: int) -> None:
        """What was published may be missing on the bus: books are ended and, where they are known to be right now, told
        whole."""
        for symbol, book in self.books.items():
            self._tell(symbol, book.lost_on_bus(now)[: 2 if self._is_heard else 1])

    def on_frame(self, payload: bytes, time_received: int) -> Sequence[Event]:
        try:
            events = self._decode(payload, time_received)
        except MalformedFrame:
            for symbol, book in self.books.items():
                self._tell(symbol, book.lost_frame(time_received))
            raise
        refusal: MalformedFrame | None = None
        for event in events:
            if isinstance(event, BookUpdate):
                book = self.books[event.symbol]
                try:
                    self._tell(event.symbol, book.update(checked_levels(event)))
                except MalformedFrame as error:
                    refusal = error
                    self._tell(event.symbol, book.refuse(event))
        if refusal is not None:
            raise refusal
        return events

    def _tell(self, symbol: str, events: Sequence[BookEvent]) -> None:
        for event in events:
            self._publisher.book(event)
        self._look_after(symbol, self.books[symbol])

    def _look_after(self, symbol: str, book: BookSync) -> None:
        """Leave the connection for a book that broke, but not again and again: it takes all its other books along,
        where any is right."""
        if book.is_broken and self.feed is not None:
            age, wait = time.monotonic() - self._connected, patience(self._failures[symbol])
            if age >= wait or (age >= LONGEST_DELAY and not any(one.is_live for one in self.books.values())):
                self._failures[symbol] += 1
                self._connected = math.inf
                self.feed.reconnect(f"the book of {symbol} broke")
        elif book.needs_snapshot and symbol not in self._wanted:
            self._wanted[symbol] = 0
            self._is_wanted.set()

    async def fetch_snapshots(self) -> None:
        """Fetch the snapshots that books need, one after the other while the bus takes them, until cancelled: of those
        that failed least often first the one of which least is known. One that is wanted anew waits for no other's next
        try."""
        failures = 0
        while True:
            await self._publisher.room()
            self._is_wanted.clear()
            self._wanted = {one: failed for one, failed in self._wanted.items() if self.books[one].needs_snapshot}
            if not self._wanted:
                await self._is_wanted.wait()
                continue
            symbol = min(self._wanted, key=lambda one: (self._wanted[one], self.books[one].known_levels))
            try:
                snapshot = await self._rest.book_snapshot(self._instruments[symbol])
            except ExchangeError as error:
                failures += 1
                exchange = self._instruments[symbol].exchange
                log.warning("book_snapshot_failed", exchange=exchange, symbol=symbol, error=error.message)
                self._wanted[symbol] += 1
                await pause(self._is_wanted, backoff(failures, 0.9))
                continue
            failures = 0
            del self._wanted[symbol]
            self._tell(symbol, self.books[symbol].snapshot(snapshot))

    async def publish_copies(self, every: float) -> None:
        """Publish each kept book whole once in `every` seconds, spread evenly, while its socket is heard: a copy says
        that the book is right now. While the bus is behind there is none: the next one will do. A crossed one is taken
        anew."""
        while True:
            for symbol, book in self.books.items():
                await asyncio.sleep(every / len(self.books))
                self._tell(symbol, book.check(time.time_ns()))
                if self._is_heard and not self._publisher.is_behind and (copy := book.copy(time.time_ns())) is not None:
                    self._publisher.book(copy)

    async def measure(self, every: float) -> None:
        """See once in `every` seconds to books of which too few levels are known or that are broken, until
        cancelled."""
        while True:
            for symbol, book in self.books.items():
                await asyncio.sleep(every / len(self.books))
                book.measure()
                if book.is_live and time.monotonic() - self._connected > STEADY_SECONDS:
                    self._failures.pop(symbol, None)
                self._look_after(symbol, book)


def patience(failures: int) -> float:
    """How old (s) a connection must be to be left for a book for which `failures` in a row were: each time twice as
    old."""
    return min(LONGEST_PATIENCE, 0.25 * 2.0 ** min(failures, 16)) if failures else 0.0
