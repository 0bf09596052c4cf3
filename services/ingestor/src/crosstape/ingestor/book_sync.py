"""From snapshot and updates to a verified book, or to the word that it is stale. Pure: no socket, no clock."""

from __future__ import annotations

from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import Dialect

MAX_BUFFERED = 5_000
"""Updates kept while a snapshot is on its way; one that takes longer is asked for again."""


class BookSync:
    """The book of one market by its exchange's rules.

    Every call returns what to publish: verified updates, a snapshot after each (re)start, one BookStale when the book
    broke. `needs_snapshot` says that a snapshot must be fetched; `is_broken` that the socket's own must be awaited on
    a new connection. Where the socket sends its own it is the first that it says of a book: an update before it, after
    a frame that could not be read, shows that this was it.
    """

    def __init__(self, dialect: Dialect, instrument: Instrument):
        self._dialect = dialect
        self._instrument = instrument
        self._fetches_snapshot = dialect.book_snapshot(instrument) is not None
        self._buffer: list[BookUpdate] = []
        self._last_id: int | None = None
        self._was_live = False
        self._lacks_frame = False
        self._newest: BookUpdate | None = None
        self.book = OrderBook()
        self.is_live = False
        self.is_broken = False

    @property
    def needs_snapshot(self) -> bool:
        return self._fetches_snapshot and not self.is_live and bool(self._buffer)

    @property
    def is_blind(self) -> bool:
        """Whether neither sequence numbers nor checksums would show a lost update (Coinbase's level2_batch)."""
        newest = self._newest
        return self.is_live and newest is not None and newest.last_id is None and newest.checksum is None

    def lost_frame(self, time: int) -> list[BookEvent]:
        """A frame of this socket could not be read: a book that cannot notice is broken."""
        self._lacks_frame = not self.is_live
        return self._break("malformed frame", time) if self.is_blind else []

    def refuse(self, update: BookUpdate) -> list[BookEvent]:
        """An update of this book from the socket holds what is no number: the book does not go on without it."""
        return self._break("malformed frame", update.time_received)

    def restart(self, reason: str, time: int) -> list[BookEvent]:
        """The connection is new or gone: what was known no longer holds."""
        self._buffer.clear()
        self._last_id = None
        self.is_broken = self._lacks_frame = False
        return self._stale(reason, time)

    def update(self, update: BookUpdate) -> list[BookEvent]:
        """One update from the socket."""
        if update.is_snapshot:
            return self._start(update)
        if self.is_live:
            return self._apply(update)
        if self._fetches_snapshot:
            self._buffer.append(update)
            del self._buffer[:-MAX_BUFFERED]
        elif self._lacks_frame:
            self.is_broken = True
        return []

    def snapshot(self, snapshot: BookUpdate) -> list[BookEvent]:
        """The snapshot that was fetched: with the updates buffered meanwhile it makes the book, unless it is older
        than all of them, in which case another one is needed, or there are none: then the connection that it was
        fetched for has ended, and nothing would tell how the book went on."""
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
        self.book.apply(snapshot)
        self._newest, self._last_id = snapshot, snapshot.last_id
        if not self._dialect.verify(self.book, snapshot):
            return self._break("checksum", snapshot.time_received)
        self.is_live = self._was_live = True
        self.is_broken = False
        return [snapshot]

    def _apply(self, update: BookUpdate) -> list[BookEvent]:
        follows = self._dialect.continues(self._last_id, update)
        if follows is None:
            return []
        if not follows:
            broken = self._break("sequence", update.time_received)
            self._buffer += [update] if self._fetches_snapshot else []
            return broken
        self.book.apply(update)
        self._newest = update
        if update.last_id is not None:
            self._last_id = update.last_id
        if not self._dialect.verify(self.book, update):
            return self._break("checksum", update.time_received)
        return [update]

    def _break(self, reason: str, time: int) -> list[BookEvent]:
        self.is_broken = not self._fetches_snapshot
        return self._stale(reason, time)

    def _stale(self, reason: str, time: int) -> list[BookEvent]:
        self.book = OrderBook()
        self.is_live = False
        if not self._was_live:
            return []
        self._was_live = False
        return [BookStale(self._instrument.exchange, self._instrument.symbol, reason, time)]

    def whole(self, time: int, depth: int) -> BookUpdate | None:
        """The kept book as a snapshot for readers who come later; None while there is none."""
        if not self.is_live:
            return None
        bids, asks = self.book.top(depth)
        instrument = self._instrument
        return BookUpdate(
            instrument.exchange, instrument.symbol, True, bids, asks, time, time, None, self._last_id, None, None
        )
