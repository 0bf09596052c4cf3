"""From snapshot and updates to a verified book, or to the word that it is stale. Pure: no socket, no clock."""

from __future__ import annotations

import secrets

from msgspec.structs import force_setattr

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import Dialect

MAX_BUFFERED = 5_000
"""Updates kept while a snapshot is on its way; one that takes longer is asked for again."""
COPY_DEPTH = 1_000
"""Levels a side in the copies that are published for readers who come later."""
SNAPSHOT_LATE_NS = NANOSECONDS
"""A snapshot that the socket sends may come so long after the first update; it does not where frames were lost."""
LEAST_LEVELS = 500
"""A fetched book that knows fewer of a side, and not all there are, is fetched anew."""


class BookSync:
    """The book of one market by its exchange's rules.

    Every call returns what to publish: verified updates, a snapshot after each (re)start, one BookStale when the book
    broke. What lies between a snapshot and the end of its book is one stream, and marked so: each BookSync has a name
    of its own, and numbers its streams from 1 on. `needs_snapshot` says that a snapshot must be fetched; `is_broken`
    that the socket's own must be awaited on a new connection. A socket that sends its own sends it before any update:
    where updates come without it, it was lost.
    """

    def __init__(self, dialect: Dialect, instrument: Instrument):
        self._dialect = dialect
        self._instrument = instrument
        self._fetches_snapshot = dialect.book_snapshot(instrument) is not None
        self._buffer: list[BookUpdate] = []
        self._last_id: int | None = None
        self._name = secrets.token_urlsafe(6)
        self._streams = 0
        self._stream = ""
        self._is_short = False
        self._began_crossed = False
        self._waits_since: int | None = None
        self._has_checksum = False
        self.book = OrderBook()
        self.is_live = False
        self.is_broken = False

    @property
    def needs_snapshot(self) -> bool:
        if not self._fetches_snapshot:
            return False
        return self._is_short if self.is_live else bool(self._buffer)

    @property
    def known_levels(self) -> int:
        """Of the side of which less is known; 0 while there is no book."""
        return min(len(self.book.bids), len(self.book.asks)) if self.is_live else 0

    @property
    def _hides_lost_frames(self) -> bool:
        """Whether neither sequence numbers nor checksums would show a lost update (Coinbase's level2_batch)."""
        return self._last_id is None and not self._has_checksum

    @property
    def _hides_lost_records(self) -> bool:
        """Whether readers would not see at once that the bus lost an update: a checksum is of the best levels alone."""
        return self._last_id is None

    def lost_frame(self, time: int) -> list[BookEvent]:
        """A frame of this socket could not be read: a book that cannot notice is broken."""
        return self._break("malformed frame", time) if self.is_live and self._hides_lost_frames else []

    def lost_on_bus(self, time: int) -> list[BookEvent]:
        """Updates that were published may be missing: where no number tells, readers begin anew with another stream,
        and need not wait for the next copy."""
        if not self.is_live or not self._hides_lost_records:
            return []
        ended = self._ended("bus", time)
        self._begin_stream()
        return [ended, self._copy(time)]

    def refuse(self, update: BookUpdate) -> list[BookEvent]:
        """An update of this book from the socket holds what is no number: the book does not go on without it."""
        return self._break("malformed frame", update.time_received)

    def restart(self, reason: str, time: int) -> list[BookEvent]:
        """The connection is new or gone: what was known no longer holds."""
        self.is_broken, self._waits_since = False, None
        return self._stale(reason, time)

    def update(self, update: BookUpdate) -> list[BookEvent]:
        """One update from the socket. It becomes part of the stream."""
        if update.is_snapshot:
            return self._start(update)
        if self.is_live:
            if self._is_short:
                self._keep(update)
            return self._apply(update)
        if self._fetches_snapshot:
            self._keep(update)
        else:
            self._wait_on(update.time_received)
        return []

    def snapshot(self, snapshot: BookUpdate) -> list[BookEvent]:
        """The snapshot that was fetched: with the updates buffered meanwhile it makes the book. It does not

        - where it is older than all of them: another one is needed;
        - where there are none: the connection that it was fetched for has ended, and nothing would tell how the book
          went on;
        - where the book is live, which goes on with more levels.
        """
        return self._widen(snapshot) if self.is_live else self._begin(snapshot)

    def check(self, time: int) -> list[BookEvent]:
        """Look for what no update tells: that the snapshot is late, or that the book is crossed. Where its snapshot was
        so too, the exchange matches nothing for a while, as in an auction: then it is right, and readers show no
        crossed book."""
        if not self.is_live:
            if self._waits_since is not None:
                self._wait_on(time)
            return []
        is_crossed = self.book.is_crossed()
        if is_crossed and not self._began_crossed:
            return self._break("crossed", time)
        self._began_crossed = is_crossed
        return []

    def measure(self) -> None:
        """Look how much of the book is known: where it runs short a snapshot is needed, and the book lives on."""
        if self.is_live and not self._is_short and not self.book.knows(LEAST_LEVELS, LEAST_LEVELS):
            self._is_short = True

    def copy(self, time: int) -> BookUpdate | None:
        """The kept book as a snapshot for readers who come later; None while there is none."""
        return self._copy(time) if self.is_live else None

    def _wait_on(self, now: int) -> None:
        self._waits_since = now if self._waits_since is None else self._waits_since
        self.is_broken = self.is_broken or now - self._waits_since > SNAPSHOT_LATE_NS

    def _keep(self, update: BookUpdate) -> None:
        self._buffer.append(update)
        del self._buffer[:-MAX_BUFFERED]

    def _begin(self, snapshot: BookUpdate) -> list[BookEvent]:
        buffered, self._buffer = self._buffer, []
        if not buffered:
            return []
        events = self._start(snapshot)
        for update in buffered:
            if not self.is_live:
                self._buffer.append(update)
                continue
            events += self._apply(update)
        return events if self.is_live else []

    def _start(self, snapshot: BookUpdate) -> list[BookEvent]:
        ended = self._stale("restarted", snapshot.time_received)
        self.book.apply(snapshot)
        self._last_id, self._has_checksum = snapshot.last_id, snapshot.checksum is not None
        if not self._dialect.verify(self.book, snapshot):
            return ended + self._break("checksum", snapshot.time_received)
        self.is_live = True
        self.is_broken = False
        self._began_crossed = self.book.is_crossed()
        self._begin_stream()
        force_setattr(snapshot, "stream", self._stream)
        return [*ended, snapshot]

    def _apply(self, update: BookUpdate) -> list[BookEvent]:
        dialect = self._dialect
        follows = dialect.continues(self._last_id, update)
        if follows is None:
            return []
        if not follows:
            broken = self._break("sequence", update.time_received)
            self._buffer += [update] if self._fetches_snapshot else []
            return broken
        self.book.apply(update)
        if (last_id := update.last_id) is not None:
            self._last_id = last_id
        if not dialect.verify(self.book, update):
            return self._break("checksum", update.time_received)
        force_setattr(update, "stream", self._stream)
        return [update]

    def _widen(self, snapshot: BookUpdate) -> list[BookEvent]:
        """Know more levels of the book that goes on. A snapshot that the kept updates do not join is left: another one
        is needed."""
        book, last_id = OrderBook(), snapshot.last_id
        book.apply(snapshot)
        for update in self._buffer:
            follows = self._dialect.continues(last_id, update)
            if follows is None:
                continue
            if not follows:
                return []
            book.apply(update)
            last_id = update.last_id
        if (last_id or 0) < (self._last_id or 0):
            return []
        self.book, self._last_id = book, last_id
        self._is_short = False
        self._buffer.clear()
        return [self._copy(snapshot.time_received)]

    def _copy(self, time: int) -> BookUpdate:
        bids, asks = self.book.top(COPY_DEPTH)
        bid_horizon, ask_horizon = self.book.horizons(COPY_DEPTH)
        return BookUpdate(
            self._instrument.exchange,
            self._instrument.symbol,
            is_snapshot=True,
            bids=bids,
            asks=asks,
            time=time,
            time_received=time,
            last_id=self._last_id,
            stream=self._stream,
            is_copy=True,
            bid_horizon=bid_horizon,
            ask_horizon=ask_horizon,
        )

    def _break(self, reason: str, time: int) -> list[BookEvent]:
        self.is_broken = not self._fetches_snapshot
        return self._stale(reason, time)

    def _stale(self, reason: str, time: int) -> list[BookEvent]:
        was_live = self.is_live
        self.book = OrderBook()
        self.is_live = self._is_short = False
        self._buffer.clear()
        return [self._ended(reason, time)] if was_live else []

    def _ended(self, reason: str, time: int) -> BookStale:
        return BookStale(self._instrument.exchange, self._instrument.symbol, reason, time, self._stream)

    def _begin_stream(self) -> None:
        self._streams += 1
        self._stream = f"{self._name}.{self._streams}"
