"""The view: what is known of one symbol on several exchanges, as one aggregated book. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from heapq import merge
from itertools import islice

from msgspec import Struct

from crosstape.client import Book, ConsolidatedBook, ExchangeLevel, Level


class View(Struct, frozen=True):
    """An aggregated book, best levels first. `away` are exchanges that are left out, each with the reason."""

    symbol: str
    bids: tuple[ExchangeLevel, ...] = ()
    asks: tuple[ExchangeLevel, ...] = ()
    away: tuple[tuple[str, str], ...] = ()

    @property
    def is_crossed(self) -> bool:
        """Whether somebody bids at least what another asks, which happens between exchanges."""
        return bool(self.bids and self.asks) and self.bids[0].price >= self.asks[0].price


def consolidated_view(symbol: str, book: ConsolidatedBook) -> View:
    """The platform's own consolidated book."""
    return View(symbol, book.bids, book.asks, tuple((venue.exchange, venue.reason) for venue in book.stale))


def merged_view(symbol: str, books: Mapping[str, Book | ConsolidatedBook | str], depth: int) -> View:
    """The books of chosen exchanges, or the reason why one has none, merged: the best `depth` levels a side.

    At one price they stand in the order of `books`.
    """
    shown = [book for book in books.values() if isinstance(book, Book)]
    bids = merge(*([_placed(level, book) for level in book.bids] for book in shown), key=lambda level: -level.price)
    asks = merge(*([_placed(level, book) for level in book.asks] for book in shown), key=lambda level: level.price)
    return View(
        symbol,
        tuple(islice(bids, depth)),
        tuple(islice(asks, depth)),
        tuple((exchange, book) for exchange, book in books.items() if isinstance(book, str)),
    )


def _placed(level: Level, book: Book) -> ExchangeLevel:
    return ExchangeLevel(level.price, level.quantity, book.exchange)


def places(levels: Iterable[ExchangeLevel], width: int) -> int:
    """Decimals of a price: two, more where the prices need them and `width` characters hold them."""
    prices = [level.price for level in levels]
    needed = max((-_exponent(price) for price in prices), default=0)
    whole = max((len(f"{price:.0f}") for price in prices), default=1)
    return max(2, min(needed, width - whole - 1))


def _exponent(price: Decimal) -> int:
    exponent = price.normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
