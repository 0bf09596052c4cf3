"""Books: of one exchange, and the consolidated one of all, with the checksum that proves them."""

from __future__ import annotations

import zlib
from decimal import Decimal
from itertools import zip_longest

from msgspec import Struct

from crosstape.client.calls import Call, get, path

CHECKED_LEVELS = 10


class Level(Struct, frozen=True, array_like=True):
    """A price and what can be had there."""

    price: Decimal
    quantity: Decimal


class ExchangeLevel(Struct, frozen=True, array_like=True):
    """The same, and where."""

    price: Decimal
    quantity: Decimal
    exchange: str


class Book(Struct, frozen=True, kw_only=True):
    """One exchange's book, best levels first. `timestamp` is the exchange's, in Unix seconds."""

    exchange: str
    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    timestamp: Decimal
    sequence: int
    checksum: int | None = None


class Venue(Struct, frozen=True, kw_only=True):
    """An exchange that is in a consolidated book. `quote_alias` is its quote where another was asked for."""

    exchange: str
    symbol: str
    age_ms: int
    sequence: int
    quote_alias: str | None = None


class StaleVenue(Struct, frozen=True, kw_only=True):
    """An exchange that is left out of a consolidated book, and why."""

    exchange: str
    symbol: str
    reason: str
    age_ms: int


class ConsolidatedBook(Struct, frozen=True, kw_only=True):
    """All exchanges' books in one, best levels first. `crossed`: some bid is not below some ask of another exchange."""

    symbol: str
    bids: tuple[ExchangeLevel, ...]
    asks: tuple[ExchangeLevel, ...]
    timestamp: Decimal
    sequence: int
    crossed: bool
    venues: tuple[Venue, ...] = ()
    stale: tuple[StaleVenue, ...] = ()
    checksum: int | None = None


def checksum(book: Book | ConsolidatedBook) -> int:
    """CRC-32 of the ten best levels a side as the platform defines it: `price:quantity` (and `:exchange`) of bid and
    ask in turn, joined by colons, numbers without needless zeros."""
    bids = [_text(level) for level in book.bids[:CHECKED_LEVELS]]
    asks = [_text(level) for level in book.asks[:CHECKED_LEVELS]]
    return zlib.crc32(":".join(text for pair in zip_longest(bids, asks) for text in pair if text).encode())


def _text(level: Level | ExchangeLevel) -> str:
    numbers = f"{_plain(level.price)}:{_plain(level.quantity)}"
    return f"{numbers}:{level.exchange}" if isinstance(level, ExchangeLevel) else numbers


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def is_intact(book: Book | ConsolidatedBook) -> bool:
    """Whether `book` is what its checksum says; one that has none cannot be told from an intact one."""
    return book.checksum is None or book.checksum == checksum(book)


def book(exchange: str, symbol: str, *, depth: int | None = None) -> Call[Book]:
    """The live book of one exchange."""
    return get(path("api", "v1", "book", exchange, symbol), Book, depth=depth)


def consolidated_book(symbol: str, *, depth: int | None = None) -> Call[ConsolidatedBook]:
    """The live book over all exchanges: every level with its exchange."""
    return get(path("api", "v1", "book", "consolidated", symbol), ConsolidatedBook, depth=depth)
