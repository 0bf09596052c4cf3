"""Kraken's rules for a kept book: its depth and its checksum, CRC32 over the digits of the ten best levels a side.

Source: docs.kraken.com/exchange/guides/websockets/book-checksum-v2 (2026-11-24); version 1 of the socket has the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache

from crosstape.common.market.book import Level, OrderBook

_LEVELS = 10


def cut_and_checksum(book: OrderBook, depth: int) -> int:
    """Drop the worst levels beyond `depth`, which the exchange never removes, and return the checksum of the rest.

    It takes asks from low to high, then bids from high to low: price and quantity without point and leading zeros.
    """
    book.truncate(depth)
    bids, asks = book.top(_LEVELS)
    return zlib.crc32((_digits(asks) + _digits(bids)).encode())


def _digits(levels: Sequence[Level]) -> str:
    return "".join(_without_point(price) + _without_point(quantity) for price, quantity in levels)


@lru_cache(maxsize=4_096)
def _without_point(number: str) -> str:
    """The best levels are mostly those of the frame before, of every market."""
    return number.replace(".", "").lstrip("0")
