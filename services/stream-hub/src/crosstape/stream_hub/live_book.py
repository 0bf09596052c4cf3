"""The book of one market as subscribers see it: what the bus tells, where it stands there, and whether it is heard."""

from __future__ import annotations

from crosstape.common.market.book import BookEvent, OrderBook
from crosstape.exchanges.followed_book import FollowedBook

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
        self._followed = FollowedBook(exchange)
        self.offset = 0
        self.time = 0
        self._heard = 0.0
        self.was_heard = False

    @property
    def book(self) -> OrderBook:
        return self._followed.book

    @property
    def broken(self) -> str | None:
        return self._followed.broken

    def apply(self, event: BookEvent, offset: int) -> None:
        """One event of the topic. Repeats and updates that the book already holds change nothing."""
        self.was_heard = True
        if self._followed.apply(event):
            self.offset = offset
            if self.broken is None:
                self.time = event.time

    def refuse(self, reason: str) -> str:
        """The book cannot be shown, though it follows the exchange's rules; returns `reason`."""
        self._followed.broken = reason
        return reason

    def restart(self) -> None:
        """The log began anew: updates may be missing."""
        self._followed.broken = "the bus restarted"
        self.offset = 0

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
        try:
            bids, asks = self.book.top(1)
        except ValueError:  # a price that is no number: the exchange's rules say nothing of that
            return self.refuse("malformed")
        if bids and asks and float(bids[0][0]) >= float(asks[0][0]):
            return "crossed"
        return None
