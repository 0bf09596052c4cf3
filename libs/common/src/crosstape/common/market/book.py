"""Order book: levels, updates, and the kept book of one market."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from msgspec import Struct

Level = tuple[str, str]
"""(price, quantity) as decimal text. In an update the quantity is absolute and zero removes the level."""


class BookUpdate(Struct, frozen=True, array_like=True, tag="update", gc=False):
    """A change of one market's order book, or (`is_snapshot`) all of it: readers then discard what they had.

    `first_id`/`last_id` are the exchange's sequence numbers of the first and last change inside, `previous_id` the
    last number of the update before where the exchange tells it, `checksum` the exchange's own where it sends one;
    each is None where the exchange has no such thing. Times are integer nanoseconds, `time` the exchange's.
    """

    exchange: str
    symbol: str
    is_snapshot: bool
    bids: list[Level]
    asks: list[Level]
    time: int
    time_received: int
    first_id: int | None = None
    last_id: int | None = None
    previous_id: int | None = None
    checksum: int | None = None


class BookStale(Struct, frozen=True, array_like=True, tag="stale", gc=False):
    """The book of a market is not to be shown until the next snapshot: `reason` says why."""

    exchange: str
    symbol: str
    reason: str
    time: int


BookEvent = BookUpdate | BookStale
"""What topic `books` carries."""


class OrderBook:
    """The kept book of one market: each side maps price to quantity, both as the exchange's text.

    An exchange spells one price one way within a market, so its text is the key and nothing is parsed to apply an
    update; order is made when somebody looks. It is made by float: two decimals of at most 15 significant digits never
    share one, and no market quotes more.
    """

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}

    def apply(self, update: BookUpdate) -> None:
        """Apply a snapshot or an update in the exchange's order. Sequence and checksum are the caller's to verify."""
        if update.is_snapshot:
            self.bids.clear()
            self.asks.clear()
        _apply_side(self.bids, update.bids)
        _apply_side(self.asks, update.asks)

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """The best `depth` levels of (bids, asks), best first."""
        bids = heapq.nlargest(depth, self.bids.items(), key=_price)
        asks = heapq.nsmallest(depth, self.asks.items(), key=_price)
        return bids, asks

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels of each side, as an exchange with a fixed-depth feed does."""
        if len(self.bids) > depth:
            self.bids = dict(heapq.nlargest(depth, self.bids.items(), key=_price))
        if len(self.asks) > depth:
            self.asks = dict(heapq.nsmallest(depth, self.asks.items(), key=_price))

    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask, which no single exchange's book can be."""
        if not self.bids or not self.asks:
            return False
        return max(map(float, self.bids)) >= min(map(float, self.asks))


def _price(level: Level) -> float:
    return float(level[0])


def _apply_side(side: dict[str, str], levels: Sequence[Level]) -> None:
    for price, quantity in levels:
        if quantity.strip("0.") == "":
            side.pop(price, None)
        else:
            side[price] = quantity
