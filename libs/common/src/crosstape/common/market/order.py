"""Order events: what becomes of a parent order, as topic `orders` tells its owner."""

from __future__ import annotations

import enum

from msgspec import Struct


class OrderEventKind(enum.StrEnum):
    """`accepted` once, `slice` when a child order goes out, `fill` for each execution, then `closed` or `cancelled`."""

    ACCEPTED = "accepted"
    SLICE = "slice"
    FILL = "fill"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class OrderEvent(Struct, frozen=True, array_like=True, gc=False):
    """One event of a parent order. Its identity is (order_id, number): repeats are harmless.

    The key of its record is the `user_id`, so that the events of one owner stay in order. `number` counts the order's
    events from 0, `time` is integer nanoseconds. `price` and `quantity` are those of the slice or the fill,
    `filled_quantity` what is filled so far, all decimal text, empty where they say nothing; `reason` says why an order
    ended (`completed`, `expired`, `cancelled`), or why a slice got less than it asked for.
    """

    user_id: str
    username: str
    order_id: str
    number: int
    kind: OrderEventKind
    time: int
    exchange: str = ""
    symbol: str = ""
    side: str = ""
    price: str = ""
    quantity: str = ""
    filled_quantity: str = ""
    reason: str = ""
