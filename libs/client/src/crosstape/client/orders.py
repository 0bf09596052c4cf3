"""TWAP orders: a quantity bought or sold in equal slices over a time, never beyond its limit price."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.client.calls import Call, get, path

Side = Literal["buy", "sell"]
OrderStatus = Literal["open", "closed", "cancelled"]


class TwapOrder(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order to submit. `duration` and `interval` are seconds; without an `exchange` it takes the best of all.

    Without an `order_id` the SDK makes one, so that submitting may be repeated when an answer is lost.
    """

    symbol: str
    side: Side
    total_quantity: Decimal
    limit_price: Decimal
    duration: int
    interval: int
    exchange: str | None = None
    order_id: str | None = None


class OrderAccepted(Struct, frozen=True):
    """The receipt: of the first order, and in `orders` one of each when there were several. `quote_aliases` are by
    exchange the quotes that stand in for the one asked for: its limit price counts in those there. `warnings` say what
    is probably not meant."""

    message: str
    order_id: str
    orders: tuple[OrderAccepted, ...] = ()
    quote_aliases: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


class OrderSummary(Struct, frozen=True, kw_only=True):
    """An order as the list shows it."""

    order_id: str
    username: str
    symbol: str
    duration: int
    interval: int
    order_status: str
    status: str


class OrderMarket(Struct, frozen=True, kw_only=True):
    """Where an order may be filled. `quote_alias` is the market's quote where another was asked for."""

    exchange: str
    symbol: str
    quote_alias: str | None = None


class Execution(Struct, frozen=True, kw_only=True):
    """A fill."""

    price: Decimal
    quantity: Decimal
    timestamp: dt.datetime
    exchange: str | None = None


class Benchmark(Struct, frozen=True, kw_only=True):
    """The market's own average prices from the order's start to the last of its slices that ran; None where nothing was
    seen. `twap` is over the `seconds` in which its mid price was known."""

    twap: Decimal | None = None
    vwap: Decimal | None = None
    seconds: Decimal = Decimal()


class Slippage(Struct, frozen=True, kw_only=True):
    """How much worse than each price the order was filled, in basis points (negative: better)."""

    arrival: Decimal | None = None
    twap: Decimal | None = None
    vwap: Decimal | None = None


class OrderProgress(Struct, frozen=True, kw_only=True):
    """`filled` is the part of the quantity, 0 to 1; `slices_missed` are those whose time passed without them,
    `slices_short` counts by reason (`price_beyond_limit`, `no_live_book` and others) those that got less than they
    asked for."""

    filled: Decimal
    slices: int
    slices_run: int
    slices_missed: int
    slices_short: dict[str, int] = {}


class Order(Struct, frozen=True, kw_only=True):
    """An order in full. `close_reason` says how a closed one ended: completed, expired or cancelled. Times are UTC.

    `notional` and `fees` are in quote; `arrival_price` is the market's mid price when it was accepted, or the first one
    seen afterwards. `executions_left_out` says how many older fills `executions` has not: all count in the sums.
    """

    order_id: str
    username: str
    symbol: str
    side: Side
    duration: int
    interval: int
    total_quantity: Decimal
    limit_price: Decimal
    status: str
    executions: tuple[Execution, ...]
    close_reason: str | None = None
    exchange: str | None = None
    markets: tuple[OrderMarket, ...] = ()
    filled_quantity: Decimal | None = None
    average_price: Decimal | None = None
    notional: Decimal | None = None
    fees: Decimal | None = None
    arrival_price: Decimal | None = None
    benchmark: Benchmark = Benchmark()
    slippage_bps: Slippage = Slippage()
    progress: OrderProgress | None = None
    created_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    estimated_completion: dt.datetime | None = None
    warnings: tuple[str, ...] = ()
    executions_left_out: int = 0


def submit_twap(*orders: TwapOrder) -> Call[OrderAccepted]:
    """Submit one order, or several of which all are accepted or none. Raises Conflict for an `order_id` in use, and
    where more orders would be open than an account may have."""
    if not orders:
        raise ValueError("There is no order to submit.")
    named = [
        order if order.order_id else msgspec.structs.replace(order, order_id=f"twap_{uuid.uuid4().hex}")
        for order in orders
    ]
    body = named[0] if len(named) == 1 else named
    return Call("POST", "/orders/twap", OrderAccepted, body=body, is_repeatable=True)


def orders(
    *,
    order_id: str | None = None,
    username: str | None = None,
    status: OrderStatus | None = None,
    symbol: str | None = None,
    limit: int | None = None,
) -> Call[list[OrderSummary]]:
    """The caller's orders (an admin's: everybody's, or those of `username`): the newest `limit`, 100 if left out, 1000
    at most."""
    return get(
        "/orders",
        list[OrderSummary],
        order_id=order_id,
        username=username,
        status=status,
        symbol=symbol,
        limit=limit,
    )


def order(order_id: str, *, username: str | None = None) -> Call[Order]:
    """One order with its fills; an admin says whose with `username` where several users have one of its name. Raises
    OrderNotFound, and Conflict where that is not said."""
    return get(path("orders", order_id), Order, username=username)


def cancel_order(order_id: str, *, username: str | None = None) -> Call[Order]:
    """Cancel an open order, as `order` finds it; what is filled stays. Raises Conflict when it is not open."""
    return Call("DELETE", path("orders", order_id), Order, query={"username": username})
