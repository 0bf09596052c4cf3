"""Views of books: the best levels of one exchange's or of all, as values that only need encoding. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from heapq import merge
from itertools import islice, takewhile, zip_longest
from math import inf

from msgspec import Struct

from crosstape.common.market.book import OrderBook
from crosstape.common.market.decimals import are_positive_decimals
from crosstape.stream_hub.numbers import canonical

CHECKED_LEVELS = 10

Level = tuple[str, ...]
"""(price, quantity) or (price, quantity, exchange), canonical text."""


class MalformedBook(ValueError):
    """A price or a quantity is no plain positive decimal."""


class Sides(Struct, frozen=True):
    """Levels best first. Behind a horizon there may be others; None where these are all that its feed tells."""

    bids: Sequence[Level]
    asks: Sequence[Level]
    bid_horizon: str | None = None
    ask_horizon: str | None = None

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        return bool(self.bids and self.asks) and float(self.bids[0][0]) >= float(self.asks[0][0])

    @property
    def checksum(self) -> int:
        """CRC-32 that a client can compute from what it got: of the ten best levels a side, `price:quantity` (and
        `:exchange`) of bid and ask in turn, joined by colons, numbers without needless zeros."""
        pairs = zip_longest(self.bids[:CHECKED_LEVELS], self.asks[:CHECKED_LEVELS], fillvalue=())
        return zlib.crc32(":".join(part for pair in pairs for level in pair for part in level).encode())


class Venue(Struct, frozen=True):
    """One exchange's part in a consolidated book. `quote_alias` is its quote where another was asked for; `reason`
    says why it is left out, None when it is in; `age` is in seconds."""

    exchange: str
    symbol: str
    quote_alias: str | None
    reason: str | None
    age: float
    sequence: int


def view(book: OrderBook, depth: int) -> Sides:
    """The best `depth` levels a side. Raises MalformedBook."""
    bids, asks = book.top(depth)
    if not are_positive_decimals([text for level in (*bids, *asks) for text in level]):
        raise MalformedBook
    return Sides(
        [(canonical(price), canonical(quantity)) for price, quantity in bids],
        [(canonical(price), canonical(quantity)) for price, quantity in asks],
        *book.horizons(depth),
    )


def consolidate(sides: Sequence[tuple[str, Sides]], depth: int) -> Sides:
    """The best `depth` levels a side over all exchanges, (name, its sides) each: every level stays its exchange's. At
    one price they come in the order of `sides`. It ends at the nearest horizon of any: behind it one's are missing."""
    bids = merge(
        *([(*level, exchange) for level in part.bids] for exchange, part in sides),
        key=lambda level: -float(level[0]),
    )
    asks = merge(
        *([(*level, exchange) for level in part.asks] for exchange, part in sides), key=lambda level: float(level[0])
    )
    lowest = max((float(part.bid_horizon) for _, part in sides if part.bid_horizon is not None), default=-inf)
    highest = min((float(part.ask_horizon) for _, part in sides if part.ask_horizon is not None), default=inf)
    return Sides(
        list(takewhile(lambda level: float(level[0]) >= lowest, islice(bids, depth))),
        list(takewhile(lambda level: float(level[0]) <= highest, islice(asks, depth))),
    )
