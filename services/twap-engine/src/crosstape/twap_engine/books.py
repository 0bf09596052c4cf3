"""The live books, as topic `books` makes them, and which of them may be traded on. Pure: time is given.

A book may be traded on while it is whole (a snapshot came, no update is missing since, nothing said it is stale), its
market is being heard, and it is not crossed: a single exchange's book cannot be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal, localcontext

import msgspec

from crosstape.common.market.book import BookEvent, BookUpdate, Level, OrderBook
from crosstape.exchanges.followed_book import FollowedBook
from crosstape.twap_engine.order import Market, Side
from crosstape.twap_engine.schedule import EXACT

HASHED_LEVELS = 25
_encoder = msgspec.json.Encoder()


def book_hash(market: Market, bids: list[Level], asks: list[Level]) -> str:
    """SHA-256 (hex) of the JSON text `[exchange, symbol, bids, asks]` without spaces: each side's best 25 levels, best
    first, as `[price, quantity]` in the exchange's own decimal text."""
    return hashlib.sha256(_encoder.encode([market.exchange, market.symbol, bids, asks])).hexdigest()


class MarketBook:
    """The book of one market. `time` is its newest record's `time_received` (ns, the ingestor's clock), `heard` when
    anything last came of the market (our steady clock)."""

    def __init__(self, market: Market):
        self.market = market
        self._followed = FollowedBook(market.exchange)
        self.time = 0
        self.heard = 0
        self._absent: dict[tuple[Side, str], int] = {}
        self._hash = ""
        self._touch: tuple[Decimal, Decimal] | None = None

    @property
    def book(self) -> OrderBook:
        return self._followed.book

    @property
    def is_whole(self) -> bool:
        return self._followed.broken is None

    def apply(self, event: BookEvent) -> None:
        """Take in one record."""
        self._hash, self._touch = "", None
        if self._followed.apply(event) and self.is_whole and isinstance(event, BookUpdate):
            self.time = event.time_received
            if self._absent:
                self._note_absent(event)

    def restart(self) -> None:
        """Updates may be missing: the book holds no more until the next snapshot."""
        self._followed.broken = "the bus restarted"

    def _note_absent(self, update: BookUpdate) -> None:
        """Of the watched prices, note those that have left the book."""
        for side, kept, levels in ((Side.SELL, self.book.bids, update.bids), (Side.BUY, self.book.asks, update.asks)):
            prices = (
                [price for watched, price in self._absent if watched is side]
                if update.is_snapshot
                else [price for price, _ in levels if (side, price) in self._absent]
            )
            for price in prices:
                if price not in kept:
                    self._absent[side, price] = self.time

    def levels(self, side: Side) -> dict[str, str]:
        """The levels that an order of `side` takes from."""
        return self.book.asks if side is Side.BUY else self.book.bids

    def watch(self, side: Side, prices: Iterable[str]) -> None:
        """From now on note when one of these prices is not in the book."""
        for price in prices:
            if (side, price) not in self._absent:
                self._absent[side, price] = 0 if price in self.levels(side) else self.time

    def absent_at(self, side: Side, price: str) -> int:
        """When the price was last seen absent (book time), 0 when it was not since it is watched."""
        return self._absent.get((side, price), 0)

    def unwatch(self, side: Side, price: str) -> None:
        """Nobody asks for this price any more."""
        self._absent.pop((side, price), None)

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
    """Every market's book. A market of which nothing was heard for `silence` (ns, steady) is not trusted any more."""

    def __init__(self, silence: int):
        self._silence = silence
        self._books: dict[Market, MarketBook] = {}
        self.is_current = True
        """False while records of the past are read."""

    def apply(self, event: BookEvent, now: int) -> None:
        """Take in one record of topic `books`, which came at `now` (steady, ns)."""
        market = Market(event.exchange, event.symbol)
        book = self._books.get(market)
        if book is None:
            book = self._books[market] = MarketBook(market)
        book.apply(event)
        book.heard = now

    def hear(self, market: Market, now: int) -> None:
        """A sign of life of the market's ingestor: a trade, or its word that it is connected."""
        if (book := self._books.get(market)) is not None:
            book.heard = now

    def restart(self) -> None:
        """The log began anew or could not be followed: nothing that is known holds until the next snapshots."""
        for book in self._books.values():
            book.restart()

    def tradable(self, market: Market, now: int) -> MarketBook | None:
        """The market's book if it may be traded on at `now`."""
        book = self._books.get(market)
        if not self.is_current or book is None or not book.is_whole or now - book.heard > self._silence:
            return None
        touch = book.touch
        return None if touch is not None and touch[0] >= touch[1] else book

    def tradable_count(self, now: int) -> int:
        """How many books may be traded on."""
        return sum(self.tradable(market, now) is not None for market in self._books)

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
