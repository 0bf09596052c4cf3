"""A price-time priority matching engine for one market: limit, market and cancel orders, in integer ticks
and lots.

Invariants (each is a property in the tests): the best bid is below the best ask after every operation;
within a price the oldest order trades first; what takers get is what makers lose; a level's quantity is its
orders' sum.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Literal, NamedTuple

Side = Literal["buy", "sell"]


class Fill(NamedTuple):
    """A taker order met a maker order at the maker's price; `update_id` is the book's right after."""

    maker_order_id: int
    taker_order_id: int
    price: int
    quantity: int
    taker_side: Side
    update_id: int


@dataclass(slots=True)
class Order:
    """What still rests of an order: `quantity` falls as it trades."""

    order_id: int
    side: Side
    price: int
    quantity: int


class Level:
    """Resting orders of one price, oldest first."""

    __slots__ = ("orders", "quantity")

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.quantity = 0


class BookSide:
    """One side's levels; `prices` ascend on both sides, so the best bid is last and the best ask first."""

    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.prices: list[int] = []
        self.levels: dict[int, Level] = {}
        self.order_count = 0

    @property
    def best(self) -> int | None:
        if not self.prices:
            return None
        return self.prices[-1] if self.side == "buy" else self.prices[0]

    def add(self, order: Order) -> None:
        level = self.levels.get(order.price)
        if level is None:
            level = self.levels[order.price] = Level()
            insort(self.prices, order.price)
        level.orders[order.order_id] = order
        level.quantity += order.quantity
        self.order_count += 1

    def reduce(self, order: Order, quantity: int) -> None:
        level = self.levels[order.price]
        order.quantity -= quantity
        level.quantity -= quantity
        if not order.quantity:
            del level.orders[order.order_id]
            self.order_count -= 1
        if not level.orders:
            del self.levels[order.price]
            del self.prices[bisect_left(self.prices, order.price)]

    def quantity_at(self, price: int) -> int:
        level = self.levels.get(price)
        return level.quantity if level else 0

    def top(self, depth: int) -> list[tuple[int, int]]:
        """(price, quantity) best first."""
        prices = self.prices[: -depth - 1 : -1] if self.side == "buy" else self.prices[:depth]
        levels = self.levels
        return [(price, levels[price].quantity) for price in prices]


class MatchingEngine:
    """`update_id` counts order events; `changed` gathers (side, price) of levels touched since it was last
    taken."""

    def __init__(self, *, first_update_id: int = 0) -> None:
        self.bids = BookSide("buy")
        self.asks = BookSide("sell")
        self.orders: dict[int, Order] = {}
        self.update_id = first_update_id
        self.changed: set[tuple[Side, int]] = set()
        self.last_order_id = 0

    def side(self, side: Side) -> BookSide:
        return self.bids if side == "buy" else self.asks

    def limit(self, side: Side, price: int, quantity: int) -> tuple[int, list[Fill]]:
        """Trades what crosses `price` and rests the remainder; answers (order id, fills)."""
        self.last_order_id += 1
        order = Order(self.last_order_id, side, price, quantity)
        fills = self._match(order)
        if order.quantity:
            self.side(side).add(order)
            self.orders[order.order_id] = order
            self._touch(side, price)
        return order.order_id, fills

    def market(self, side: Side, quantity: int) -> list[Fill]:
        """Trades at any price; what finds no maker is dropped."""
        self.last_order_id += 1
        return self._match(Order(self.last_order_id, side, -1, quantity))

    def cancel(self, order_id: int) -> bool:
        order = self.orders.pop(order_id, None)
        if order is None:
            return False
        self.side(order.side).reduce(order, order.quantity)
        self._touch(order.side, order.price)
        return True

    def take_changed(self) -> set[tuple[Side, int]]:
        changed, self.changed = self.changed, set()
        return changed

    def _touch(self, side: Side, price: int) -> None:
        self.update_id += 1
        self.changed.add((side, price))

    def _match(self, taker: Order) -> list[Fill]:
        opposite = self.asks if taker.side == "buy" else self.bids
        fills: list[Fill] = []
        while taker.quantity:
            best = opposite.best
            if best is None:
                break
            if taker.price >= 0 and (best > taker.price if taker.side == "buy" else best < taker.price):
                break
            maker = next(iter(opposite.levels[best].orders.values()))
            quantity = min(maker.quantity, taker.quantity)
            opposite.reduce(maker, quantity)
            taker.quantity -= quantity
            if not maker.quantity:
                del self.orders[maker.order_id]
            self._touch(opposite.side, best)
            fills.append(Fill(maker.order_id, taker.order_id, best, quantity, taker.side, self.update_id))
        return fills
