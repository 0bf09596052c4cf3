"""OKX's book checksum as it was until 2026-06-23: CRC32 over the 25 best levels a side.

Source: www.okx.com/docs-v5/en, "Checksum". It is kept for frames recorded before; today's frames send 0.
"""

from __future__ import annotations

import zlib
from itertools import chain, zip_longest

from crosstape.common.market.book import OrderBook

_LEVELS = 25


def checksum(book: OrderBook) -> int:
    """Bid, ask, bid, ask, ...: price and quantity, joined by colons; where one side ends the other goes on."""
    pairs = zip_longest(*book.top(_LEVELS), fillvalue=())
    texts = chain.from_iterable(chain.from_iterable(pairs))
    return zlib.crc32(":".join(texts).encode())
