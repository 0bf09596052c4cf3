"""The bounded list of a market's trades, in columns: 41 bytes a trade instead of a tuple's 200."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from crosstape.exchange_sim.matching import Side


class Trade(NamedTuple):
    """`number` is the market's consecutive id; exchanges with other ids derive them from it. `sequence` is
    the book's update id right after the trade. Price in ticks, quantity in lots, `side` is the taker's."""

    number: int
    time_ns: int
    price: int
    quantity: int
    side: Side
    sequence: int


class TradeHistory:
    """The newest `limit` trades, ascending in number and in time; older ones are forgotten in blocks."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.numbers = array("q")
        self.times = array("q")
        self.prices = array("q")
        self.quantities = array("q")
        self.sequences = array("q")
        self.buys = array("b")

    def __len__(self) -> int:
        return len(self.numbers)

    def append(self, trade: Trade) -> None:
        self.numbers.append(trade.number)
        self.times.append(trade.time_ns)
        self.prices.append(trade.price)
        self.quantities.append(trade.quantity)
        self.sequences.append(trade.sequence)
        self.buys.append(trade.side == "buy")
        if len(self.numbers) > self.limit + max(1, self.limit // 8):
            surplus = len(self.numbers) - self.limit
            for column in self.columns():
                del column[:surplus]

    def columns(self) -> "tuple[array[int], ...]":
        return (self.numbers, self.times, self.prices, self.quantities, self.sequences, self.buys)

    def row(self, index: int) -> Trade:
        return Trade(
            self.numbers[index], self.times[index], self.prices[index], self.quantities[index],
            "buy" if self.buys[index] else "sell", self.sequences[index],
        )  # fmt: skip

    def rows(self, start: int, stop: int) -> list[Trade]:
        return [self.row(index) for index in range(max(0, start), min(stop, len(self)))]

    def last(self, count: int) -> list[Trade]:
        return self.rows(len(self) - count, len(self))

    def from_number(self, number: int, count: int) -> list[Trade]:
        """The first `count` trades whose number is at least `number`."""
        start = bisect_left(self.numbers, number)
        return self.rows(start, start + count)

    def before_number(self, number: int, count: int) -> list[Trade]:
        """The last `count` trades whose number is below `number`."""
        stop = bisect_left(self.numbers, number)
        return self.rows(stop - count, stop)

    def from_time(self, time_ns: int, count: int) -> list[Trade]:
        start = bisect_left(self.times, time_ns)
        return self.rows(start, start + count)

    def before_time(self, time_ns: int, count: int) -> list[Trade]:
        stop = bisect_left(self.times, time_ns)
        return self.rows(stop - count, stop)

    def between(self, start_ns: int, end_ns: int) -> Iterator[Trade]:
        for index in range(bisect_left(self.times, start_ns), bisect_left(self.times, end_ns)):
            yield self.row(index)
