"""Ladder: the levels that orders of one side may take, best price first over all their markets. Pure.

The ladders of one transaction share their levels, so what one order takes the next one does not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext

from msgspec import Struct

from crosstape.twap_engine.books import MarketBook
from crosstape.twap_engine.liquidity import Taken, available, is_forgotten, take
from crosstape.twap_engine.order import Fill, Shortfall, Side
from crosstape.twap_engine.schedule import EXACT

_FIRST_LEVELS = 32
"""Levels that are read from a book at first: few slices need more. Then as many again as are known."""
MOST_LEVELS = 1_000
"""Of one side of a market in one transaction: as many as the copies hold that the ingestors publish. Whatever an order
asks for, a walk ends soon, and so does what it fills."""

Entries = dict[str, Taken]
"""The entries of one market's side, by the price's text."""


class _Step(Struct):
    text: str
    price: Decimal
    left: Decimal


class MarketSide:
    """One side of one market's book while a transaction holds its entries: the levels, and what is left of each.

    `fee_rate` is the fraction of the notional that the exchange takes.
    """

    def __init__(self, book: MarketBook, side: Side, entries: Mapping[str, Taken], fee_rate: Decimal):
        self.book = book
        self.side = side
        self.fee_rate = fee_rate
        self.entries: Entries = dict(entries)
        self.is_touched = False
        self._steps: list[_Step] = []
        self._asked = 0
        self._first = 0
        book.watch_only(side, self.entries)

    def best(self) -> _Step | None:
        """The best level with something left, of the best MOST_LEVELS."""
        while True:
            while self._first < len(self._steps):
                step = self._steps[self._first]
                if step.left > 0:
                    return step
                self._first += 1
            if not self._read_more():
                return None

    def _read_more(self) -> bool:
        known = len(self._steps)
        if known < self._asked or known == MOST_LEVELS:
            return False
        self._asked = min(known + max(known, _FIRST_LEVELS), MOST_LEVELS)
        bids, asks = self.book.book.top(self._asked)
        levels = (asks if self.side is Side.BUY else bids)[known:]
        for price, quantity in levels:
            entry = self.entries.get(price)
            left = available(Decimal(quantity), entry, self.book.absent_at(self.side, price), self.book.time)
            self._steps.append(_Step(price, Decimal(price), left))
        return bool(levels)

    def take(self, step: _Step, quantity: Decimal) -> Fill:
        """Take `quantity`, at most what is left, from a level."""
        step.left -= quantity
        absent_at = self.book.absent_at(self.side, step.text)
        self.entries[step.text] = take(self.entries.get(step.text), quantity, absent_at, self.book.time)
        self.book.watch(self.side, step.text)
        self.is_touched = True
        market = self.book.market
        fee = step.price * quantity * self.fee_rate
        return Fill(market.exchange, market.symbol, step.price, quantity, fee, self.book.hash)

    def prune(self) -> Entries:
        """The entries that are still needed; called once what was taken is about to be stored."""
        return {
            price: entry
            for price, entry in self.entries.items()
            if not is_forgotten(entry, self.book.absent_at(self.side, price), self.book.time)
        }


def walk(sides: Sequence[MarketSide], quantity: Decimal, limit: Decimal) -> tuple[list[Fill], str]:
    """Take up to `quantity` at `limit` or better: the best price first, at equal prices the lower fee. The fills, one
    per exchange and price, and why they are not all of it (`""` when they are). At most MOST_LEVELS of each side."""
    fills: list[Fill] = []
    with localcontext(EXACT):
        while quantity > 0:
            offers = [(step, side) for side in sides if (step := side.best()) is not None]
            if not offers:
                return fills, Shortfall.NO_LIQUIDITY if sides else Shortfall.NO_LIVE_BOOK
            step, side = min(
                offers, key=lambda offer: (offer[0].price * offer[1].side.sign, offer[1].fee_rate, offer[1].book.market)
            )
            if step.price * side.side.sign > limit * side.side.sign:
                return fills, Shortfall.PRICE_BEYOND_LIMIT
            taken = min(quantity, step.left)
            fills.append(side.take(step, taken))
            quantity -= taken
    return fills, ""
