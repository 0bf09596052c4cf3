"""The book of one market as subscribers see it: what the bus tells, where it stands there, and whether it is heard."""

from __future__ import annotations

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent, OrderBook
from crosstape.exchanges.followed_book import FollowedBook, said_at

FRESH_SECONDS = 25.0
"""A book of which its ingestor said nothing for so long is stale. It speaks at least every ten seconds."""


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
        self.was_heard = False

    @property
    def book(self) -> OrderBook:
        return self._followed.book

    @property
    def broken(self) -> str | None:
        return self._followed.broken

    def apply(self, event: BookEvent, offset: int, time_ms: int) -> bool:
        """One event of the topic, whose record is of `time_ms`; whether it changed anything. Repeats, updates that
        the book already holds and what another ingestor says of it do not."""
        self.was_heard = True
        if not self._followed.apply(event, said_at(event, time_ms)):
            return False
        self.offset = offset
        if self.broken is None:
            self.time = event.time
        return True

    def refuse(self, reason: str) -> str:
        """The book cannot be shown, though it follows the exchange's rules; returns `reason`."""
        self._followed.broken = reason
        return reason

    def restart(self) -> None:
        """The log began anew: updates may be missing."""
        self._followed.lose("the bus restarted")
        self.offset = 0

    def age(self, now: float) -> float:
        """Seconds since the ingestor that is followed last said something of the book."""
        return max(0.0, now - self._followed.heard / NANOSECONDS)

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
        return None if self.book.knows(1, 1) else "short"
