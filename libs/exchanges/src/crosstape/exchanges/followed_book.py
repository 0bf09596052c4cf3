"""The book of one market as topic `books` tells it: verified once more, because the bus may lose an update. Pure."""

from __future__ import annotations

from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, OrderBook
from crosstape.exchanges import DIALECTS


class FollowedBook:
    """A kept book and whether it is right: until the first snapshot, and from a break until the next one, it is not,
    and `broken` says why."""

    def __init__(self, exchange: str):
        self._dialect = DIALECTS.get(exchange)
        self._last_id: int | None = None
        self.book = OrderBook()
        self.broken: str | None = "no snapshot yet"

    def apply(self, event: BookEvent) -> bool:
        """Take in one event; whether it changed or broke the book. Repeats and what the book already holds do not."""
        if isinstance(event, BookStale):
            self.broken = event.reason
            return True
        if event.is_snapshot:
            if self.broken is None and self._is_older(event):
                return False
        elif self.broken is not None:
            return False
        elif self._dialect is not None and not (follows := self._dialect.continues(self._last_id, event)):
            if follows is None:
                return False
            self.broken = "sequence"
            return True
        self.book.apply(event)
        if event.is_snapshot or event.last_id is not None:
            self._last_id = event.last_id
        is_right = self._dialect is None or self._dialect.verify(self.book, event)
        self.broken = None if is_right else "checksum"
        return True

    def _is_older(self, snapshot: BookUpdate) -> bool:
        """A second ingestor's whole book may lag behind the updates of the first."""
        return None not in (snapshot.last_id, self._last_id) and (snapshot.last_id or 0) < (self._last_id or 0)
