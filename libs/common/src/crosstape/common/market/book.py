"""Order book: levels, updates, and the kept book of one market."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
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

    `stream` names the unbroken run of one ingestor's events that this is one of, from one snapshot on: events of two
    streams do not fit together. It is `name.number`: the ingestor's name for itself, and its runs of this market from 1
    on. `is_copy` marks a snapshot that repeats what the stream has told so far, for readers who have no book. Beyond
    `bid_horizon` (lower) and `ask_horizon` (higher) a snapshot knows nothing of the book, nor do the updates after it;
    None where it knows all of the side.
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
    stream: str = ""
    is_copy: bool = False
    bid_horizon: str | None = None
    ask_horizon: str | None = None


class BookStale(Struct, frozen=True, array_like=True, tag="stale", gc=False):
    """The `stream` of a market's book has ended: who followed it has no book until a snapshot of another one, `reason`
    says why."""

    exchange: str
    symbol: str
    reason: str
    time: int
    stream: str = ""


BookEvent = BookUpdate | BookStale
"""What topic `books` carries."""


class OrderBook:
    """The kept book of one market: each side maps price to quantity, both as the exchange's text.

    An exchange spells one price one way within a market, so its text is the key and nothing is parsed to apply an
    update; order is made when somebody looks, and from then on kept. It is made by float: two decimals of at most 15
    significant digits never share one, and no market quotes more.

    Levels beyond a snapshot's horizon are learned only as they change. Whoever looks at the order sees none of them,
    and from then on they are gone from `bids` and `asks` too.
    """

    __slots__ = ("_ask_order", "_bid_order", "asks", "bids")

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self._bid_order = _Order(self.bids, is_best_last=True)
        self._ask_order = _Order(self.asks, is_best_last=False)

    def apply(self, update: BookUpdate) -> None:
        """Apply a snapshot or an update in the exchange's order. Sequence and checksum are the caller's to verify."""
        if update.is_snapshot:
            self._bid_order.restart(update.bid_horizon)
            self._ask_order.restart(update.ask_horizon)
        if bids := update.bids:
            self._bid_order.apply(bids)
        if asks := update.asks:
            self._ask_order.apply(asks)

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """The best `depth` levels of (bids, asks), best first."""
        bids, asks = self.bids, self.asks
        highest = self._bid_order.ascending()[: -depth - 1 : -1]
        lowest = self._ask_order.ascending()[:depth]
        return [(price, bids[price]) for _, price in highest], [(price, asks[price]) for _, price in lowest]

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels of each side, as an exchange with a fixed-depth feed does."""
        for side, order in ((self.bids, self._bid_order), (self.asks, self._ask_order)):
            if len(side) > depth:
                order.keep_best(depth)

    def horizons(self, depth: int) -> tuple[str | None, str | None]:
        """Up to which price the best `depth` levels tell (bids, asks); None where they tell all of the side."""
        return self._bid_order.horizon_of(depth), self._ask_order.horizon_of(depth)

    def knows(self, bids: int, asks: int) -> bool:
        """Whether it holds that many of the best levels of each side, or all that there are."""
        return self._bid_order.knows(bids) and self._ask_order.knows(asks)

    def lacks_bid(self, price: str) -> bool:
        """Whether it is known that there is no bid at `price`."""
        return self._bid_order.lacks(price)

    def lacks_ask(self, price: str) -> bool:
        """Whether it is known that there is no ask at `price`."""
        return self._ask_order.lacks(price)

    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask, as one exchange's are only while it matches nothing."""
        if not self.bids or not self.asks:
            return False
        return max(map(float, self.bids)) >= min(map(float, self.asks))


class _Order:
    """The order of one side's prices. Until it is first asked for nothing is kept; then which prices came or went."""

    __slots__ = ("_ascending", "_changed", "_horizon", "_is_best_last", "_side")

    def __init__(self, side: dict[str, str], *, is_best_last: bool):
        self._side = side
        self._is_best_last = is_best_last
        self._ascending: list[tuple[float, str]] = []
        self._changed: set[str] | None = None
        self._horizon: tuple[float, str] | None = None

    def restart(self, horizon: str | None) -> None:
        """Begin without levels; beyond `horizon` nothing will be known."""
        self._side.clear()
        self._changed = None
        self._horizon = None if horizon is None else (float(horizon), horizon)

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
            self._changed = None

    def ascending(self) -> list[tuple[float, str]]:
        """Every known price of the side, the lowest first."""
        ascending = self._in_order()
        if (horizon := self._horizon) is not None and ascending:
            if self._is_best_last:
                if ascending[0] < horizon:
                    self._drop(slice(bisect_left(ascending, horizon)))
            elif ascending[-1] > horizon:
                self._drop(slice(bisect_right(ascending, horizon), None))
        return ascending

    def _in_order(self) -> list[tuple[float, str]]:
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

    def keep_best(self, depth: int) -> None:
        """Remove all but the best `depth` levels."""
        excess = len(self.ascending()) - depth
        if excess > 0:
            self._drop(slice(excess) if self._is_best_last else slice(depth, None))

    def horizon_of(self, depth: int) -> str | None:
        """Up to which price the best `depth` levels tell the side; None for all of it."""
        ascending = self.ascending()
        if len(ascending) > depth:
            return ascending[-depth if self._is_best_last else depth - 1][1]
        return None if self._horizon is None else self._horizon[1]

    def knows(self, depth: int) -> bool:
        """Whether no level beyond the horizon may be among the best `depth`."""
        return self._horizon is None or len(self.ascending()) >= depth

    def lacks(self, price: str) -> bool:
        """Whether it is known that the side has no such price."""
        if price in self._side:
            return False
        if self._horizon is None:
            return True
        level = (float(price), price)
        return level >= self._horizon if self._is_best_last else level <= self._horizon

    def _drop(self, places: slice) -> None:
        ascending = self._ascending
        for _, price in ascending[places]:
            del self._side[price]
        del ascending[places]

    def _sort(self) -> list[tuple[float, str]]:
        self._ascending = sorted((float(price), price) for price in self._side)
        self._changed = set()
        return self._ascending
