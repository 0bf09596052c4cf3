"""Order book: levels, updates, and the kept book of one market."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

_RESORT = 4
"""Where more than a fourth of the prices came or went, sorting anew is cheaper than finding each one's place."""
_MOST_CHANGES = 4_096
"""An order that was not asked for during so many changes is no longer kept."""

Level = tuple[str, str]
"""(price, quantity) as decimal text. In an update the quantity is absolute and zero removes the level."""

_ZERO = f"0.{'0' * 40}"
"""No text of a zero sorts after this one, and of every other decimal each does: a comparison costs less than a look at
the digits, and every level of every update is asked."""


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
    update; order is made when somebody looks, and from then on kept. It is made by float: two decimals of at most 15
    significant digits never share one, and no market quotes more.
    """

    __slots__ = ("_ask_order", "_bid_order", "asks", "bids")

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self._bid_order = _Order(self.bids)
        self._ask_order = _Order(self.asks)

    def apply(self, update: BookUpdate) -> None:
        """Apply a snapshot or an update in the exchange's order. Sequence and checksum are the caller's to verify."""
        if update.is_snapshot:
            for side, order in ((self.bids, self._bid_order), (self.asks, self._ask_order)):
                side.clear()
                order.forget()
        if update.bids:
            self._bid_order.apply(update.bids)
        if update.asks:
            self._ask_order.apply(update.asks)

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """The best `depth` levels of (bids, asks), best first."""
        bids, asks = self.bids, self.asks
        highest = self._bid_order.ascending()[: -depth - 1 : -1]
        lowest = self._ask_order.ascending()[:depth]
        return [(price, bids[price]) for _, price in highest], [(price, asks[price]) for _, price in lowest]

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels of each side, as an exchange with a fixed-depth feed does."""
        if (excess := len(self.bids) - depth) > 0:
            self._bid_order.drop(slice(None, excess))
        if len(self.asks) > depth:
            self._ask_order.drop(slice(depth, None))

    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask, which no single exchange's book can be."""
        if not self.bids or not self.asks:
            return False
        return max(map(float, self.bids)) >= min(map(float, self.asks))


class _Order:
    """The order of one side's prices. Until it is first asked for nothing is kept; then which prices came or went."""

    __slots__ = ("_ascending", "_changed", "_side")

    def __init__(self, side: dict[str, str]):
        self._side = side
        self._ascending: list[tuple[float, str]] = []
        self._changed: set[str] | None = None

    def forget(self) -> None:
        """Keep nothing until asked again."""
        self._changed = None

    def apply(self, levels: Sequence[Level]) -> None:
        """Set the levels of the side."""
        side, changed = self._side, self._changed
        if changed is None:
            for price, quantity in levels:
                if quantity > _ZERO:
                    side[price] = quantity
                elif price in side:
                    del side[price]
            return
        for price, quantity in levels:
            if quantity > _ZERO:
                if price not in side:
                    changed.add(price)
                side[price] = quantity
            elif price in side:
                del side[price]
                changed.add(price)
        if len(changed) > _MOST_CHANGES:
            self.forget()

    def ascending(self) -> list[tuple[float, str]]:
        """Every price of the side, the lowest first."""
        changed = self._changed
        if changed is None or len(changed) * _RESORT > len(self._side):
            return self._sort()
        for price in changed:
            level = (float(price), price)
            place = bisect_left(self._ascending, level)
            is_there = self._ascending[place : place + 1] == [level]
            if is_there and price not in self._side:
                del self._ascending[place]
            elif not is_there and price in self._side:
                self._ascending.insert(place, level)
        changed.clear()
        return self._ascending if len(self._ascending) == len(self._side) else self._sort()

    def drop(self, places: slice) -> None:
        """Remove the levels at `places` of the order."""
        ascending = self.ascending()
        for _, price in ascending[places]:
            del self._side[price]
        del ascending[places]

    def _sort(self) -> list[tuple[float, str]]:
        self._ascending = sorted((float(price), price) for price in self._side)
        self._changed = set()
        return self._ascending
