"""The live books, as topic `books` makes them, and which of them may be traded on. Pure: time is given.

A book may be traded on while it is whole (a snapshot came, no update is missing since, nothing said it is stale), is
being heard without delay, its best levels are known, and it is not crossed: of such a book nothing is matched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from decimal import Decimal, localcontext

import msgspec

from crosstape.common.market.book import BookEvent, BookUpdate, Level, OrderBook
from crosstape.exchanges.followed_book import FollowedBook
from crosstape.twap_engine.liquidity import CLOCK_FAULT_NS
from crosstape.twap_engine.order import Market, Side
from crosstape.twap_engine.schedule import EXACT

HASHED_LEVELS = 25
_encoder = msgspec.json.Encoder()


def book_hash(market: Market, bids: list[Level], asks: list[Level]) -> str:
    """SHA-256 (hex) of the JSON text `[exchange, symbol, bids, asks]` without spaces: each side's best 25 levels, best
    first, as `[price, quantity]` in the exchange's own decimal text."""
    return hashlib.sha256(_encoder.encode([market.exchange, market.symbol, bids, asks])).hexdigest()


class MarketBook:
    """The book of one market. `time` is its newest record's `time_received` (ns, the ingestor's clock), and goes back
    for no other ingestor's clock. `heard` is when the stream that is followed last said something (our steady clock);
    `is_late` says that it took long to come here."""

    def __init__(self, market: Market):
        self.market = market
        self._followed = FollowedBook(market.exchange)
        self.time = 0
        self.is_late = False
        self._absent: dict[Side, dict[str, int]] = {side: {} for side in Side}
        self._hash = ""
        self._touch: tuple[Decimal, Decimal] | None = None

    @property
    def book(self) -> OrderBook:
        return self._followed.book

    @property
    def is_whole(self) -> bool:
        return self._followed.broken is None

    @property
    def heard(self) -> int:
        return self._followed.heard

    def apply(self, event: BookEvent, said: int, *, is_late: bool = False) -> bool:
        """Take in one record, which was said at `said` (steady, ns); whether its stream is the one that is followed."""
        before = self._followed.stream
        is_changed = self._followed.apply(event, said)
        if event.stream != self._followed.stream:
            return False
        self.is_late = is_late
        if is_changed:
            self._hash, self._touch = "", None
            if self.is_whole and isinstance(event, BookUpdate):
                if not self.time - CLOCK_FAULT_NS <= event.time_received <= self.time:
                    self.time = event.time_received
                self._note_absent(event, is_whole=event.is_snapshot or before != event.stream)
        return True

    def restart(self) -> None:
        """Updates may be missing: the book holds no more until the next snapshot."""
        self._followed.lose("the bus restarted")

    def _note_absent(self, update: BookUpdate, *, is_whole: bool) -> None:
        """Of the watched prices, note those that have left the book: all, or those that `update` names."""
        for side, levels in ((Side.SELL, update.bids), (Side.BUY, update.asks)):
            if not (watched := self._absent[side]):
                continue
            for price in list(watched) if is_whole else [price for price, _ in levels if price in watched]:
                if self._lacks(side, price):
                    watched[price] = self.time

    def _lacks(self, side: Side, price: str) -> bool:
        return self.book.lacks_ask(price) if side is Side.BUY else self.book.lacks_bid(price)

    def watch(self, side: Side, price: str) -> None:
        """From now on note when this price is not in the book."""
        watched = self._absent[side]
        if price not in watched:
            watched[price] = self.time if self._lacks(side, price) else 0

    def watch_only(self, side: Side, prices: Collection[str]) -> None:
        """From now on note of these prices when one is not in the book, and of no other: nobody asks for those."""
        before = self._absent[side]
        self._absent[side] = {price: before[price] for price in prices if price in before}
        for price in prices:
            self.watch(side, price)

    def absent_at(self, side: Side, price: str) -> int:
        """When the price was last seen absent (book time), 0 when it was not since it is watched."""
        return self._absent[side].get(price, 0)

    @property
    def touch(self) -> tuple[Decimal, Decimal] | None:
        """(best bid, best ask); None when a side is empty."""
        if self._touch is None:
            bids, asks = self.book.top(1)
            if bids and asks:
                self._touch = (Decimal(bids[0][0]), Decimal(asks[0][0]))
        return self._touch

    @property
    def hash(self) -> str:
        """The name of the book as it is now, see `book_hash`."""
        if not self._hash:
            self._hash = book_hash(self.market, *self.book.top(HASHED_LEVELS))
        return self._hash


class Books:
    """Every market's book. One of which nothing was heard for `silence` (ns, steady) is not trusted any more."""

    def __init__(self, silence: int):
        self._silence = silence
        self._books: dict[Market, MarketBook] = {}
        self.is_current = True
        """False while records of the past are read."""

    def apply(self, event: BookEvent, said: int, *, is_late: bool = False) -> bool:
        """Take in one record of topic `books`, which was said at `said` (steady, ns); whether its stream is followed.
        After one that is late there are more to come: until one is not, the book is of the past."""
        market = Market(event.exchange, event.symbol)
        book = self._books.get(market)
        if book is None:
            book = self._books[market] = MarketBook(market)
        return book.apply(event, said, is_late=is_late)

    def restart(self) -> set[Market]:
        """The log began anew or could not be followed: nothing that is known holds until the next snapshots. The
        markets whose books are broken now."""
        for book in self._books.values():
            book.restart()
        return set(self._books)

    def tradable(self, market: Market, now: int) -> MarketBook | None:
        """The market's book if it may be traded on at `now`."""
        book = self._books.get(market)
        if not self.is_current or book is None or not book.is_whole or book.is_late or now - book.heard > self._silence:
            return None
        touch = book.touch
        if touch is None:
            return book if book.book.knows(1, 1) else None
        return None if touch[0] >= touch[1] else book

    def tradable_count(self, now: int) -> int:
        """How many books may be traded on."""
        return sum(self.tradable(market, now) is not None for market in self._books)

    @property
    def late_count(self) -> int:
        """Of how many books the newest record took too long to come: by our clock, which may be wrong itself."""
        return sum(book.is_late for book in self._books.values())

    def mid(self, markets: Iterable[Market], now: int) -> Decimal | None:
        """The middle between the best bid and the best ask of all tradable books of `markets`."""
        return self.lasting_mid(markets, now)[0]

    def lasting_mid(self, markets: Iterable[Market], now: int) -> tuple[Decimal | None, int]:
        """The same, and until when (steady, ns) it holds if nothing more is heard of these markets."""
        found = [
            (book.touch, book.heard)
            for market in markets
            if (book := self.tradable(market, now)) is not None and book.touch is not None
        ]
        if not found:
            return None, now
        with localcontext(EXACT):
            mid = (max(touch[0] for touch, _ in found) + min(touch[1] for touch, _ in found)) / 2
        return mid, min(heard for _, heard in found) + self._silence
