"""The book of one market as topic `books` tells it: verified once more, because the bus may lose an update. Pure."""

from __future__ import annotations

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, Level, OrderBook
from crosstape.exchanges import DIALECTS
from crosstape.exchanges.times import MILLISECOND

SILENT_NS = 12 * NANOSECONDS
"""A stream tells its whole book every ten seconds; of one that is silent for longer the ingestor has died."""
PAUSE_NS = 1 * NANOSECONDS
"""One that is silent for so long may have: the first stream of an ingestor that has just started is sure to go on."""


def said_at(event: BookEvent, time_ms: int) -> int:
    """When (Unix, ns) the ingestor said it. `time_ms` is its record's time, which is later where the record had to wait
    for the broker."""
    told = event.time if isinstance(event, BookStale) else event.time_received
    return min(told, time_ms * MILLISECOND)


class FollowedBook:
    """A kept book and whether it is right: until the first snapshot, and from a break until the next one, it is not,
    and `broken` says why.

    Two ingestors of one market know nothing of each other, and what one says does not fit into the other's book. So
    one `stream` is followed while it is right and speaks, and another one from its beginning or a copy on when it does
    not. One ingestor's streams follow each other, and the next one says that the one before has ended. `heard` is when
    (ns) the followed stream last said something.

    An ingestor that starts while the followed one has just spoken may be its next process, after a kill, or a second
    one. Its book is kept beside until that is known: the followed one speaks again, or it does not.
    """

    def __init__(self, exchange: str):
        self._exchange = exchange
        self._dialect = DIALECTS.get(exchange)
        self._beside: FollowedBook | None = None
        self._last_id: int | None = None
        self._has_ended = False
        self.stream = ""
        self.book = OrderBook()
        self.broken: str | None = "no snapshot yet"
        self.heard = 0

    def apply(self, event: BookEvent, said: int) -> bool:
        """Take in one event that was said at `said` (ns, any clock that is always the same); whether it changed or
        broke the book. Repeats, what the book already holds and what other streams say do not."""
        if is_another := event.stream != self.stream:
            if not self._may_turn_to(event, said):
                return self._hears_beside(event, said)
            self.stream, self._has_ended = event.stream, False
        self.heard = said
        if self._beside is not None and (is_another or not isinstance(event, BookStale)):
            self._beside = None
        if isinstance(event, BookStale):
            self.broken, self._has_ended = event.reason, True
            return True
        if event.is_snapshot:
            return (is_another or self._needs(event)) and self._take(event)
        if self.broken is not None:
            return False
        dialect = self._dialect
        if dialect is not None and not (follows := dialect.continues(self._last_id, event)):
            if follows is None:
                return False
            self.broken = "sequence"
            return True
        if (last_id := event.last_id) is not None:
            self._last_id = last_id
        self.book.apply(event)
        self.broken = None if dialect is None or dialect.verify(self.book, event) else "checksum"
        return True

    def lose(self, reason: str) -> None:
        """Events may be missing: there is no book until the next snapshot, `reason` says why."""
        self.broken, self._beside = reason, None

    def _take(self, snapshot: BookUpdate) -> bool:
        self._last_id = snapshot.last_id
        self.book.apply(snapshot)
        self.broken = None if self._dialect is None or self._dialect.verify(self.book, snapshot) else "checksum"
        return True

    def _hears_beside(self, event: BookEvent, said: int) -> bool:
        """Take in what is said beside the followed stream, and turn to it when that one is silent."""
        beside = self._beside
        if _is_first_of_all(event):
            self._beside = beside = FollowedBook(self._exchange)
        elif beside is None or beside.stream != event.stream:
            return False
        beside.apply(event, said)
        if beside.broken is not None:
            self._beside = None
            return False
        if self.broken is None and said - self.heard <= PAUSE_NS:
            return False
        self.stream, self.book, self.broken, self.heard = beside.stream, beside.book, None, said
        self._last_id, self._has_ended, self._beside = beside._last_id, False, None
        return True

    def _may_turn_to(self, event: BookEvent, said: int) -> bool:
        if isinstance(event, BookStale):
            return not self.stream  # which says why there is no book
        if not event.is_snapshot:
            return False
        ingestor, number = _parts(event.stream)
        followed, followed_number = _parts(self.stream)
        if ingestor == followed:
            return number > followed_number
        silence = said - self.heard
        return self.broken is not None or silence > (PAUSE_NS if _is_first_of_all(event) else SILENT_NS)

    def _needs(self, snapshot: BookUpdate) -> bool:
        """A stream has one beginning and one end; its copies are for who has no book, or another one than they tell:
        where no number says that they missed an update, the levels do."""
        if self._has_ended:
            return False
        if self.broken is not None:
            return True
        if not snapshot.is_copy:
            return False
        if snapshot.last_id is None:
            bids, asks = self.book.top(max(len(snapshot.bids), len(snapshot.asks)) + 1)
            return not (
                _agrees(bids, snapshot.bids, snapshot.bid_horizon)
                and _agrees(asks, snapshot.asks, snapshot.ask_horizon)
            )
        return snapshot.last_id != self._last_id or not self.book.knows(len(snapshot.bids), len(snapshot.asks))


def _agrees(best: list[Level], told: list[Level], horizon: str | None) -> bool:
    """Whether the best levels of a side are those that are told: up to the horizon, or all that there are."""
    return best[: len(told) + (horizon is None)] == told


def _is_first_of_all(event: BookEvent) -> bool:
    """Whether an ingestor that has just started begins with it."""
    return isinstance(event, BookUpdate) and event.is_snapshot and not event.is_copy and _parts(event.stream)[1] == 1


def _parts(stream: str) -> tuple[str, int]:
    """The ingestor's name and the number of a stream of it."""
    ingestor, _, number = stream.partition(".")
    return ingestor, int(number) if number.isdecimal() else 0
