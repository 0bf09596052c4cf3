"""The book of one market as the bus tells it: verified once more, because the bus may lose an update."""

from __future__ import annotations

from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, OrderBook
from crosstape.exchanges import DIALECTS

FRESH_SECONDS = 25.0
"""A market of which nothing is heard for so long is stale. Its ingestor speaks at least every ten seconds."""


class LiveBook:
    """The kept book. `offset` is the position of the newest event in it, `time` (ns) the exchange's of that event.

    Until the first snapshot, and from a break until the next one, there is nothing to show: `broken` says why.
    `was_heard`: there is a feed of this book, or was one.
    """

    def __init__(self, exchange: str, symbol: str):
        self.exchange = exchange
        self.symbol = symbol
        self._dialect = DIALECTS.get(exchange)
        self._last_id: int | None = None
        self.book = OrderBook()
        self.broken: str | None = "no snapshot yet"
        self.offset = 0
        self.time = 0
        self._heard = 0.0
        self.was_heard = False

    def apply(self, event: BookEvent, offset: int) -> None:
        """One event of the topic. Repeats and updates that the book already holds change nothing."""
        self.was_heard = True
        if isinstance(event, BookStale):
            self._break(event.reason, offset)
        elif event.is_snapshot:
            if self.broken is not None or not self._is_older(event):
                self._take(event, offset)
        elif self.broken is None:
            follows = True if self._dialect is None else self._dialect.continues(self._last_id, event)
            if follows:
                self._take(event, offset)
            elif follows is not None:
                self._break("sequence", offset)

    def _is_older(self, snapshot: BookUpdate) -> bool:
        """A second ingestor's whole book may lag behind the updates of the first."""
        return None not in (snapshot.last_id, self._last_id) and (snapshot.last_id or 0) < (self._last_id or 0)

    def _take(self, update: BookUpdate, offset: int) -> None:
        self.book.apply(update)
        if update.is_snapshot or update.last_id is not None:
            self._last_id = update.last_id
        if self._dialect is not None and not self._dialect.verify(self.book, update):
            self._break("checksum", offset)
            return
        self.broken = None
        self.offset, self.time = offset, update.time

    def _break(self, reason: str, offset: int) -> None:
        self.book = OrderBook()
        self._last_id = None
        self.broken = reason
        self.offset = offset

    def refuse(self, reason: str) -> str:
        """The book cannot be shown, though it follows the exchange's rules; returns `reason`."""
        self._break(reason, self.offset)
        return reason

    def restart(self) -> None:
        """The log began anew: updates may be missing."""
        self._break("the bus restarted", 0)

    def hear(self, now: float) -> None:
        """A sign of life of the market's feed at `now` (Unix s)."""
        self._heard = max(self._heard, now)

    def age(self, now: float) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, now - self._heard)

    def reason(self, now: float) -> str | None:
        """Why the book must not be shown at `now` (Unix s); None when it is right and fresh."""
        if self.broken is not None:
            return self.broken
        if self.age(now) > FRESH_SECONDS:
            return "silent"
        bids, asks = self.book.top(1)
        if bids and asks and float(bids[0][0]) >= float(asks[0][0]):
            return "crossed"
        return None
